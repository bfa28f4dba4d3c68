//! What the platform plans give, each as it is had: by the plan in force of an account, and as the offer shows it.

use chrono::{DateTime, TimeDelta, Utc};
use perdiem::connect::request_id;
use proto::account::v1 as account;
use proto::account::v1::authorize_request::Capability;
use proto::account::v1::create_order_request::Kind;
use proto::plan::v1 as plan;
use tonic::{Code, Status};

use crate::capabilities::may;
use crate::harness::{Harness, instant};
use crate::money::Shop;
use crate::subscriptions::{approved, bought, quote, refused, rupees, trial, upgrade};

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
