//! What the platform plans give, each as it is had: by the plan in force of an account, and as the offer shows it.

use chrono::{DateTime, TimeDelta, Utc};
use perdiem::connect::request_id;
use proto::account::v1 as account;
use proto::account::v1::authorize_request::Capability;
use proto::account::v1::create_order_request::Kind;
use proto::plan::v1 as plan;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::capabilities::may;
use crate::harness::{Harness, data, instant, reason};
use crate::money::Shop;
use crate::subscriptions::{approved, bought, get, quote, refused, rupees, trial, upgrade};

/// The value of a feature under the plan in force, and whether a level of it is allowed.
async fn has(h: &Harness, id: &str, feature: &str, level: &str) -> (String, bool) {
    let request = plan::CheckEntitlementRequest {
        account_id: id.to_owned(),
        feature_code: feature.to_owned(),
        level: level.to_owned(),
        ..plan::CheckEntitlementRequest::default()
    };
    let found = h.operator.plan.clone().check_entitlement(request).await;
    let found = found.unwrap().into_inner();
    (found.entitlement.unwrap().value, found.allowed)
}

/// A trial that has bought a plan.
async fn on(shop: &Shop, plan: &str, credit: &str) -> String {
    let id = trial(shop, &format!("tok_ok_{plan}")).await;
    approved(&shop.h, &id).await;
    let kind = Kind::Upgrade(upgrade(plan, "MONTHLY", credit));
    let order = bought(&shop.h, &shop.h.customer(), &id, kind).await;
    assert_eq!(order.unwrap().state(), account::order::State::Completed);
    id
}

/// A trial under a contract for `enterprise`, with its terms.
async fn under_contract(shop: &Shop) -> String {
    let h = &shop.h;
    let id = trial(shop, "tok_ok_contract").await;
    approved(h, &id).await;
    let entitlement = |code: &str, value: &str| plan::Entitlement {
        feature_code: code.to_owned(),
        value: value.to_owned(),
        ..plan::Entitlement::default()
    };
    let request = plan::CreateContractOfferRequest {
        account_id: id.clone(),
        plan_code: "enterprise".to_owned(),
        monthly_minimum: rupees("50000.00"),
        term_months: 12,
        entitlements: vec![
            entitlement("recording_days", "365"),
            entitlement("api_rate_limit", "2000"),
            entitlement("sla_uptime", "99.95"),
        ],
        expire_time: Some(perdiem::connect::timestamp(instant("2026-05-01T00:00:00Z"))),
        request_id: request_id(),
    };
    let mut sales = h.operator_with("SALES").plan;
    let offer = sales.create_contract_offer(request).await.unwrap();
    let request = plan::AcceptContractOfferRequest {
        offer_id: offer.into_inner().contract_offer.unwrap().offer_id,
        account_id: id.clone(),
        request_id: request_id(),
    };
    let mut seller = shop.seller.plan.clone();
    seller.accept_contract_offer(request).await.unwrap();
    let kind = Kind::Upgrade(upgrade("enterprise", "ANNUAL", "50000.00"));
    let order = bought(h, &h.customer(), &id, kind).await.unwrap();
    assert_eq!(order.state(), account::order::State::Completed);
    id
}

async fn ticket(h: &Harness, id: &str, channel: &str) -> Result<account::Ticket, Status> {
    let request = account::CreateTicketRequest {
        account_id: id.to_owned(),
        channel_code: channel.to_owned(),
        priority_code: "P2".to_owned(),
        subject: "A question".to_owned(),
        request_id: request_id(),
    };
    let made = h.customer().account.create_ticket(request).await?;
    Ok(made.into_inner().ticket.unwrap())
}

#[tokio::test]
async fn req_083_req_084_req_088_req_089_req_090_req_091_req_093_req_115_what_each_plan_gives() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let first = trial(&shop, "tok_ok").await;
    let starter = on(&shop, "starter", "1000.00").await;
    let growth = on(&shop, "growth", "5000.00").await;
    let enterprise = under_contract(&shop).await;
    let paid = [&starter, &growth, &enterprise];

    // Voice and messages are open on every paid plan.
    for id in paid {
        assert_eq!(
            has(h, id, "voice_api", "FULL").await,
            ("FULL".to_owned(), true)
        );
        assert_eq!(
            has(h, id, "sms_api", "FULL").await,
            ("FULL".to_owned(), true)
        );
        assert_eq!(
            may(h, id, Capability::VoiceOut, "+6598765432").await,
            "ALLOW"
        );
        assert_eq!(may(h, id, Capability::SmsOut, "+6598765432").await, "ALLOW");
    }
    assert_eq!(
        has(h, &first, "sms_api", "FULL").await,
        ("WHITELISTED_ONLY".to_owned(), false)
    );
    // One value for each plan, in the order of the plans.
    for (feature, values) in [
        ("recording_days", ["30", "90", "365"]),
        ("analytics", ["STANDARD", "ADVANCED", "CUSTOM_DASHBOARDS"]),
        ("sla_uptime", ["99.50", "99.90", "99.95"]),
        ("webhook_delivery", ["STANDARD", "PRIORITY", "GUARANTEED"]),
        (
            "support_priority",
            ["NORMAL", "PRIORITY", "DEDICATED_ACCOUNT_MANAGER"],
        ),
    ] {
        for (id, value) in paid.into_iter().zip(values) {
            assert_eq!(has(h, id, feature, "").await.0, value, "{feature}");
        }
    }
    assert_eq!(
        has(h, &first, "sla_uptime", "").await,
        (String::new(), false)
    );
    // A level holds those below it, and none above.
    for (id, allowed) in paid.into_iter().zip([false, true, true]) {
        assert_eq!(has(h, id, "analytics", "ADVANCED").await.1, allowed);
        assert_eq!(has(h, id, "webhook_delivery", "PRIORITY").await.1, allowed);
    }
    // A recording of New Year expires with the days of the plan.
    let made: DateTime<Utc> = instant("2026-01-01T00:00:00Z");
    for (id, expires) in paid.into_iter().zip([
        "2026-01-31T00:00:00Z",
        "2026-04-01T00:00:00Z",
        "2027-01-01T00:00:00Z",
    ]) {
        let days: i64 = has(h, id, "recording_days", "").await.0.parse().unwrap();
        assert_eq!(made + TimeDelta::days(days), instant(expires));
    }
    // Tickets come by the channels of the plan, and are handled as it says.
    for (id, open, handled) in [
        (&first, &["EMAIL"][..], "NORMAL"),
        (&starter, &["EMAIL", "CHAT"], "NORMAL"),
        (&growth, &["EMAIL", "CHAT", "PHONE"], "PRIORITY"),
        (
            &enterprise,
            &["EMAIL", "CHAT", "PHONE"],
            "DEDICATED_ACCOUNT_MANAGER",
        ),
    ] {
        for channel in ["EMAIL", "CHAT", "PHONE"] {
            match ticket(h, id, channel).await {
                Ok(made) => {
                    assert!(open.contains(&channel), "{channel}");
                    assert_eq!(made.support_priority_code, handled);
                    let request = account::GetTicketRequest {
                        ticket_id: made.ticket_id.clone(),
                    };
                    let kept = h.customer().account.get_ticket(request).await.unwrap();
                    assert_eq!(kept.into_inner().ticket.unwrap(), made);
                }
                Err(status) => {
                    assert!(!open.contains(&channel), "{channel}: {status}");
                    assert_eq!(refused::<()>(Err(status)).1, "CHANNEL_NOT_IN_PLAN");
                }
            }
        }
    }
}

#[tokio::test]
async fn req_079_req_080_req_095_plans_are_reviewed_and_one_is_named() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    let id = trial(&shop, "tok_ok").await;
    approved(h, &id).await;
    let request = account::ListAvailablePlansRequest {
        account_id: id.clone(),
        family_code: "PLATFORM".to_owned(),
    };
    let offers = who.account.clone().list_available_plans(request).await;
    let offers = offers.unwrap().into_inner().plans;
    let codes: Vec<_> = offers.iter().map(|it| it.plan_code.as_str()).collect();
    for plan in ["starter", "growth", "enterprise"] {
        assert!(codes.contains(&plan), "{codes:?}");
    }
    // The thirteen rows of the seed's table, and the minimum, each typed.
    for offer in &offers {
        assert_eq!(offer.features.len(), 14, "{}", offer.plan_code);
        assert!(offer.features.iter().all(|it| !it.kind.is_empty()));
    }

    // An upgrade without a plan, and with one that is none, is refused by its field.
    let nothing = quote(&who, &id, Kind::Upgrade(upgrade("", "MONTHLY", "1000.00"))).await;
    assert_eq!(
        refused(nothing),
        (Code::InvalidArgument, "INVALID_FIELD".to_owned())
    );
    let two = quote(
        &who,
        &id,
        Kind::Upgrade(upgrade("starter,growth", "MONTHLY", "1000.00")),
    );
    assert_eq!(refused(two.await).0, Code::InvalidArgument);

    // What is not ticked is a warning, and bars nobody (REQ-079).
    let unticked = Kind::Upgrade(account::Upgrade {
        checklist_codes: Vec::new(),
        ..upgrade("starter", "MONTHLY", "1000.00")
    });
    let quoted = quote(&who, &id, unticked.clone()).await.unwrap();
    for code in ["INTEGRATION_TESTED", "FLOWS_WORKING"] {
        assert!(
            quoted.warnings.iter().any(|it| it.contains(code)),
            "{:?}",
            quoted.warnings
        );
    }
    let order = bought(h, &who, &id, unticked).await.unwrap();
    assert_eq!(order.state(), account::order::State::Completed);
}

#[tokio::test]
async fn what_a_catalogue_says_of_support_is_shown() {
    let h = Harness::start().await;
    let request = plan::GetCatalogueRequest::default();
    let shown = h.operator.plan.clone().get_catalogue(request).await;
    let shown = shown.unwrap().into_inner().catalogue.unwrap();
    let hours = shown.support_hours.unwrap();
    assert_eq!(
        (
            hours.days_code.as_str(),
            hours.opening_time_of_day.as_str(),
            hours.closing_time_of_day.as_str(),
            hours.time_zone.as_str()
        ),
        ("MON-FRI", "06:00", "18:00", "America/Los_Angeles")
    );
    let priorities: Vec<_> = shown
        .priorities
        .iter()
        .map(|it| (it.priority_code.as_str(), it.production_only))
        .collect();
    assert_eq!(priorities, [("P1", true), ("P2", true), ("P3", false)]);
    let mut managed = shown.plans.iter().filter(|it| it.technical_account_manager);
    assert_eq!(managed.next().unwrap().plan_code, "personalized");
    assert!(managed.next().is_none());
    let india = shown.taxes.iter().find(|it| it.country_code == "IN");
    assert_eq!(india.unwrap().display_name, "GST");
}

#[tokio::test]
async fn each_week_of_the_hours_of_support_is_shown() {
    let h = Harness::start().await;
    for (version, days) in [("v2", "MON-SAT"), ("v3", "MON-SUN")] {
        let changed = format!("days: {days}");
        h.import_as(version, &[("days: MON-FRI", &changed)]).await;
        let request = plan::GetCatalogueRequest::default();
        let shown = h.operator.plan.clone().get_catalogue(request).await;
        let shown = shown.unwrap().into_inner().catalogue.unwrap();
        assert_eq!(shown.support_hours.unwrap().days_code, days);
    }
}

#[tokio::test]
async fn req_134_an_import_is_refused_with_the_path_the_line_and_the_reason_of_each_fault() {
    let h = Harness::start().await;
    let text = std::fs::read_to_string(data("catalogue.yaml")).unwrap();
    let text = text
        .replace("catalogue_version: \"v1\"", "catalogue_version: \"v2\"")
        .replacen("mode: DAILY ", "mode: NONE_FULL_MONTH ", 1)
        .replacen("default_on: false", "default_on: true", 1);
    let line = |what: &str| 1 + text.lines().position(|it| it.contains(what)).unwrap();
    let file = h.suite.settings.folder.join("faulty.yaml");
    std::fs::write(&file, &text).unwrap();
    let refused = perdiem::catalogue::import(&h.operator, &file, true).await;
    let told = refused.unwrap_err().to_string();
    let mode = line("NONE_FULL_MONTH");
    let by_itself = line("default_on: true");
    for expected in [
        format!("document.families.SUPPORT.proration.mode: line {mode}: DAILY"),
        format!(
            "document.account_profiles.global.auto_recharge.default_on: line {by_itself}: false"
        ),
    ] {
        assert!(told.contains(&expected), "{expected}\n{told}");
    }
    assert_eq!(told.matches(": line ").count(), 2, "{told}");
}

#[tokio::test]
async fn a_catalogue_is_not_in_force_before_the_instant_that_it_names() {
    let h = Harness::start().await;
    let text = std::fs::read_to_string(data("catalogue.yaml")).unwrap();
    let from = "effective_from: \"2026-01-01T00:00:00Z\"";
    assert!(text.contains(from));
    let text = text
        .replace("catalogue_version: \"v1\"", "catalogue_version: \"v2\"")
        .replace(from, "effective_from: \"2026-05-01T00:00:00Z\"");
    let file = h.suite.settings.folder.join("may.yaml");
    std::fs::write(&file, &text).unwrap();
    let imported = perdiem::catalogue::import(&h.operator, &file, false).await;
    let imported = imported.unwrap();
    let activate = async || {
        let request = plan::ActivateCatalogueRequest {
            version: imported.version.clone(),
            digest: imported.digest.clone(),
            request_id: request_id(),
        };
        h.operator.plan.clone().activate_catalogue(request).await
    };
    h.advance("2026-04-30T23:59:59Z").await;
    let refused = activate().await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "CATALOGUE_NOT_EFFECTIVE")
    );
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.metadata["effectiveTime"], "2026-05-01T00:00:00+00:00");
    h.advance("2026-05-01T00:00:00Z").await;
    activate().await.unwrap();
}

#[tokio::test]
async fn req_088_recordings_are_kept_for_the_days_of_the_plan_in_force() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let (short, long) = (
        on(&shop, "starter", "1000.00").await,
        on(&shop, "growth", "5000.00").await,
    );
    let made = async |id: &str, kind: &str| {
        let request = account::CreateResourceRequest {
            account_id: id.to_owned(),
            kind_code: kind.to_owned(),
            sid: format!("{kind} of {id}"),
            document: "{}".to_owned(),
            request_id: request_id(),
            ..account::CreateResourceRequest::default()
        };
        let made = h.customer().account.create_resource(request).await;
        let made = made.unwrap().into_inner().resource.unwrap();
        perdiem::connect::instant(made.create_time).unwrap()
    };
    let mut at = DateTime::<Utc>::MIN_UTC;
    for id in [&short, &long] {
        made(id, "FLOW").await;
        at = made(id, "RECORDING").await;
    }
    let held = async |id: &str| -> usize {
        let request = account::ListResourcesRequest {
            account_id: id.to_owned(),
            ..account::ListResourcesRequest::default()
        };
        let held = h.customer().account.list_resources(request).await;
        held.unwrap().into_inner().resources.len()
    };
    for (days, expected) in [(30, [1, 2]), (90, [1, 1])] {
        let expiry = at + TimeDelta::days(days);
        let before = expiry - TimeDelta::seconds(1);
        let earlier = [if days == 30 { 2 } else { 1 }, 2];
        for (when, expected) in [(before, earlier), (expiry, expected)] {
            h.advance(&when.to_rfc3339()).await;
            let held = [held(&short).await, held(&long).await];
            assert_eq!(held, expected, "{days} days: {when}");
        }
    }
}

#[tokio::test]
async fn a_limited_account_keeps_its_support_by_mail() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = trial(&shop, "tok_ok").await;
    h.advance("2026-03-20T00:00:00Z").await;
    let now = get(h, &id).await;
    assert_eq!(now.mode(), account::account::Mode::Limited);
    ticket(h, &id, "EMAIL").await.unwrap();
    for channel in ["CHAT", "PHONE"] {
        assert_eq!(
            refused(ticket(h, &id, channel).await),
            (Code::FailedPrecondition, "CHANNEL_NOT_IN_PLAN".to_owned())
        );
    }
}
