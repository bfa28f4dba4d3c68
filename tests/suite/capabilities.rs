//! What an account may do and why not, what it holds, whom a trial may call, and the mail that tells of it: each
//! by the services that decide it, with the numbers of the requirements.

use perdiem::connect::{Clients, request_id, timestamp};
use perdiem::mail::{self, Mail};
use proto::account::v1 as account;
use proto::account::v1::authorize_request::Capability;
use proto::account::v1::create_order_request::Kind;
use proto::billing::v1 as billing;
use proto::r#type::v1::Amount;
use tonic::{Code, Status};

use crate::harness::{Harness, PATIENCE, instant};
use crate::money::Shop;
use crate::subscriptions::{approved, bought, change, get, refused, subscriber, trial, upgrade};

const PHONE: &str = "+6598765432";
const INDIAN: &str = "+919876543210";

/// ALLOW, or why not.
pub async fn may(h: &Harness, id: &str, capability: Capability, number: &str) -> String {
    asked(h, id, capability, (number, None)).await.unwrap()
}

async fn asked(
    h: &Harness,
    id: &str,
    capability: Capability,
    (number, at): (&str, Option<&str>),
) -> Result<String, Status> {
    let request = account::AuthorizeRequest {
        account_id: id.to_owned(),
        capability: capability.into(),
        target_number: number.to_owned(),
        effective_time: at.map(|at| timestamp(instant(at))),
    };
    let answer = h.operator.account.clone().authorize(request).await?;
    let answer = answer.into_inner();
    let allowed = answer.decision() == account::authorize_response::Decision::Allow;
    assert_eq!(allowed, answer.reason.is_empty());
    Ok(if allowed {
        "ALLOW".to_owned()
    } else {
        answer.reason
    })
}

async fn record(who: &Clients, id: &str, kind: &str, sid: &str) -> Result<String, Status> {
    let request = account::CreateResourceRequest {
        account_id: id.to_owned(),
        kind_code: kind.to_owned(),
        sid: sid.to_owned(),
        display_name: format!("{kind} {sid}"),
        document: format!("{{\"of\": \"{sid}\"}}"),
        request_id: request_id(),
    };
    let answer = who.account.clone().create_resource(request).await?;
    Ok(answer.into_inner().resource.unwrap().resource_id)
}

async fn digests(who: &Clients, id: &str) -> Vec<(String, String, String)> {
    let request = account::ListResourcesRequest {
        account_id: id.to_owned(),
        ..account::ListResourcesRequest::default()
    };
    let found = who.account.clone().list_resources(request).await.unwrap();
    let found = found.into_inner().resources.into_iter();
    found
        .map(|it| (it.resource_id, it.sid, it.digest))
        .collect()
}

/// Mail to an address.
fn mails(h: &Harness, to: &str) -> Vec<Mail> {
    let all = mail::list(&h.suite.settings.mail_folder()).unwrap();
    all.into_iter().filter(|it| it.to.contains(to)).collect()
}

/// The words of a mail: quoted-printable breaks lines with a `=`, and writes what isn't ASCII in hex.
fn words(mail: &Mail) -> String {
    let joined = mail.source.replace("=\r\n", "").replace("=\n", "");
    joined.replace("=E2=82=B9", "₹")
}

/// The mails of a kind that an account was sent, when they have been sent.
async fn told(h: &Harness, id: &str, kind: &str) -> Vec<account::Notification> {
    let now = perdiem::clock::now(&h.urls).await.unwrap();
    perdiem::clock::advance(&h.urls, now).await.unwrap();
    let request = account::ListNotificationsRequest {
        account_id: id.to_owned(),
        kind_code: kind.to_owned(),
        ..account::ListNotificationsRequest::default()
    };
    let mut client = h.customer().account;
    let found = client.list_notifications(request).await.unwrap();
    found.into_inner().notifications
}

fn fact<'n>(of: &'n account::Notification, name: &str) -> &'n str {
    let found = of.facts.iter().find(|it| it.name == name);
    &found.unwrap().value
}

async fn whitelisted(
    h: &Harness,
    id: &str,
    number: &str,
) -> Result<account::WhitelistedNumber, Status> {
    let request = account::CreateWhitelistedNumberRequest {
        account_id: id.to_owned(),
        number: number.to_owned(),
        request_id: request_id(),
    };
    let mut client = h.customer().account;
    let answer = client.create_whitelisted_number(request).await?;
    Ok(answer.into_inner().whitelisted_number.unwrap())
}

async fn verify(
    h: &Harness,
    it: &account::WhitelistedNumber,
    code: &str,
) -> Result<account::WhitelistedNumber, Status> {
    let request = account::VerifyWhitelistedNumberRequest {
        whitelisted_number_id: it.whitelisted_number_id.clone(),
        code: code.to_owned(),
        request_id: request_id(),
    };
    let mut client = h.customer().account;
    let answer = client.verify_whitelisted_number(request).await?;
    Ok(answer.into_inner().whitelisted_number.unwrap())
}

/// The code that was sent to a number last.
async fn code(h: &Harness, id: &str, number: &str) -> String {
    let all = told(h, id, "WHITELIST_CODE").await;
    assert!(
        all.iter()
            .all(|it| it.state() == account::notification::State::Sent)
    );
    assert!(
        all.iter()
            .all(|it| it.facts.iter().all(|it| it.name == "number")),
        "no code is shown"
    );
    let mails = mails(h, &format!("{number}@sms.localhost"));
    let source = &mails.last().unwrap().source;
    let at = source.find("Code: ").unwrap() + "Code: ".len();
    source[at..at + 6].to_owned()
}

async fn upgraded(shop: &Shop, id: &str, plan: &str, credit: &str) {
    approved(&shop.h, id).await;
    let who = shop.h.customer();
    let order = bought(
        &shop.h,
        &who,
        id,
        Kind::Upgrade(upgrade(plan, "MONTHLY", credit)),
    )
    .await;
    assert_eq!(order.unwrap().state(), account::order::State::Completed);
}

#[tokio::test]
async fn req_110_req_114_a_trial_calls_whitelisted_numbers_and_a_customer_any() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = trial(&shop, "tok_ok").await;
    assert_eq!(h.balance(&id).await, "500.000000", "its trial credit");
    for capability in [Capability::VoiceOut, Capability::SmsOut] {
        assert_eq!(may(h, &id, capability, PHONE).await, "NOT_WHITELISTED");
    }
    let listed = whitelisted(h, &id, PHONE).await.unwrap();
    let again = whitelisted(h, &id, PHONE).await;
    assert_eq!(refused(again).1, "WHITELISTED_NUMBER_EXISTS");
    assert_eq!(
        may(h, &id, Capability::SmsOut, PHONE).await,
        "NOT_WHITELISTED"
    );
    let sent = code(h, &id, PHONE).await;
    let wrong = if sent == "000000" { "000001" } else { "000000" };
    assert_eq!(
        refused(verify(h, &listed, wrong).await),
        (Code::FailedPrecondition, "CODE_WRONG".to_owned())
    );
    let verified = verify(h, &listed, &sent).await.unwrap();
    assert_eq!(
        verified.state(),
        account::whitelisted_number::State::Verified
    );
    for capability in [Capability::VoiceOut, Capability::SmsOut] {
        assert_eq!(may(h, &id, capability, PHONE).await, "ALLOW");
    }
    // A stranger knows nothing of it.
    let stranger = h.user("stranger").await;
    let request = account::DeleteWhitelistedNumberRequest {
        whitelisted_number_id: listed.whitelisted_number_id.clone(),
        request_id: request_id(),
    };
    let mut client = h.person(&stranger).account;
    let hidden = client.delete_whitelisted_number(request.clone()).await;
    assert_eq!(refused(hidden).1, "WHITELISTED_NUMBER_NOT_FOUND");

    // Upgraded it calls any number; texts to India need a registration, others do not.
    upgraded(&shop, &id, "starter", "1000.00").await;
    for number in [PHONE, "+4930123456", INDIAN] {
        assert_eq!(may(h, &id, Capability::VoiceOut, number).await, "ALLOW");
    }
    assert_eq!(may(h, &id, Capability::SmsOut, PHONE).await, "ALLOW");
    assert_eq!(
        may(h, &id, Capability::SmsOut, INDIAN).await,
        "DLT_REQUIRED"
    );
    let registration = account::CreateDltRegistrationRequest {
        account_id: id.clone(),
        country_code: "IN".to_owned(),
        entity_id: "1201159".to_owned(),
        headers: vec!["PERDIE".to_owned()],
        request_id: request_id(),
    };
    let mut client = h.customer().account;
    let made = client.create_dlt_registration(registration.clone()).await;
    let made = made.unwrap().into_inner().dlt_registration.unwrap();
    let twice = account::CreateDltRegistrationRequest {
        request_id: request_id(),
        ..registration
    };
    let twice = client.create_dlt_registration(twice).await;
    assert_eq!(refused(twice).1, "DLT_REGISTRATION_EXISTS");
    let registered = perdiem::clock::now(&h.urls).await.unwrap().to_rfc3339();
    assert_eq!(may(h, &id, Capability::SmsOut, INDIAN).await, "ALLOW");
    h.advance("2026-03-20T12:00:00Z").await;
    let revoke = account::RevokeDltRegistrationRequest {
        dlt_registration_id: made.dlt_registration_id,
        request_id: request_id(),
    };
    client.revoke_dlt_registration(revoke).await.unwrap();
    assert_eq!(
        may(h, &id, Capability::SmsOut, INDIAN).await,
        "DLT_REQUIRED"
    );
    let then = asked(h, &id, Capability::SmsOut, (INDIAN, Some(&registered))).await;
    assert_eq!(then.unwrap(), "ALLOW", "what was allowed stays so");
}

#[tokio::test]
async fn a_code_can_not_be_guessed_and_a_trial_has_so_many_numbers() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = trial(&shop, "tok_ok").await;
    let listed = whitelisted(h, &id, PHONE).await.unwrap();
    let sent = code(h, &id, PHONE).await;
    let wrong = if sent == "000000" { "000001" } else { "000000" };
    for _ in 0..5 {
        assert_eq!(refused(verify(h, &listed, wrong).await).1, "CODE_WRONG");
    }
    assert_eq!(refused(verify(h, &listed, &sent).await).1, "CODE_BLOCKED");
    let again = || account::SendWhitelistCodeRequest {
        whitelisted_number_id: listed.whitelisted_number_id.clone(),
        request_id: request_id(),
    };
    let mut client = h.customer().account;
    for _ in 1..5 {
        client.send_whitelist_code(again()).await.unwrap();
    }
    assert_eq!(
        refused(client.send_whitelist_code(again()).await),
        (Code::ResourceExhausted, "CODE_LIMIT".to_owned())
    );
    let last = code(h, &id, PHONE).await;
    // Nor by adding it again.
    let other = whitelisted(h, &id, INDIAN).await.unwrap();
    for (number, added) in [(PHONE, &listed), (INDIAN, &other)] {
        let request = account::DeleteWhitelistedNumberRequest {
            whitelisted_number_id: added.whitelisted_number_id.clone(),
            request_id: request_id(),
        };
        client.delete_whitelisted_number(request).await.unwrap();
        let again = whitelisted(h, &id, number).await;
        if number == PHONE {
            assert_eq!(refused(again).1, "CODE_LIMIT");
        } else {
            again.unwrap();
        }
    }
    h.advance("2026-03-01T12:10:00Z").await;
    assert_eq!(
        refused(verify(h, &listed, &last).await).1,
        "WHITELISTED_NUMBER_NOT_FOUND"
    );
    h.advance("2026-03-02T12:10:00Z").await;
    let listed = whitelisted(h, &id, PHONE).await.unwrap();
    let last = code(h, &id, PHONE).await;
    h.advance("2026-03-02T12:20:00Z").await;
    assert_eq!(refused(verify(h, &listed, &last).await).1, "CODE_EXPIRED");
    for n in 2..10 {
        whitelisted(h, &id, &format!("+659876540{n}"))
            .await
            .unwrap();
    }
    assert_eq!(
        refused(whitelisted(h, &id, "+6598765499").await),
        (Code::ResourceExhausted, "WHITELIST_LIMIT".to_owned())
    );
    let secrets =
        "SELECT count(*) FROM account.notifications WHERE secret <> '' AND state <> 'PENDING'";
    assert_eq!(h.count(secrets).await, 0);
}

#[tokio::test]
async fn req_078_req_082_req_111_numbers_are_bought_by_kyc_and_quota() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    let id = trial(&shop, "tok_ok").await;
    let production = Capability::BuyProductionNumber;
    assert_eq!(may(h, &id, production, "").await, "TRIAL_LIMIT");
    assert_eq!(
        refused(record(&who, &id, "PHONE_NUMBER", "P1").await),
        (Code::FailedPrecondition, "TRIAL_LIMIT".to_owned())
    );
    assert_eq!(may(h, &id, Capability::BuyTrialNumber, "").await, "ALLOW");
    record(&who, &id, "TRIAL_NUMBER", "T1").await.unwrap();
    assert_eq!(
        may(h, &id, Capability::BuyTrialNumber, "").await,
        "OVER_QUOTA"
    );
    assert_eq!(
        refused(record(&who, &id, "TRIAL_NUMBER", "T2").await),
        (Code::ResourceExhausted, "OVER_QUOTA".to_owned())
    );
    let live = || account::GoLiveRequest {
        account_id: id.clone(),
        request_id: request_id(),
    };
    let mut client = h.customer().account;
    assert_eq!(refused(client.go_live(live()).await).1, "UPGRADE_FIRST");

    upgraded(&shop, &id, "starter", "1000.00").await;
    // The trial's number carries over, and is one of the five that Starter allows: four more are to be had.
    for n in 1..=4 {
        record(&who, &id, "PHONE_NUMBER", &format!("P{n}"))
            .await
            .unwrap();
    }
    assert_eq!(
        refused(record(&who, &id, "PHONE_NUMBER", "P5").await).1,
        "OVER_QUOTA"
    );
    // Whoever gives it up has five production numbers (REQ-111).
    let numbers = digests(&who, &id).await;
    let (of_trial, ..) = numbers.iter().find(|(_, sid, _)| sid == "T1").unwrap();
    let released = account::DeleteResourceRequest {
        resource_id: of_trial.clone(),
        request_id: request_id(),
    };
    client.delete_resource(released).await.unwrap();
    record(&who, &id, "PHONE_NUMBER", "P5").await.unwrap();
    assert_eq!(
        refused(record(&who, &id, "PHONE_NUMBER", "P6").await).1,
        "OVER_QUOTA"
    );
    assert_eq!(may(h, &id, production, "").await, "OVER_QUOTA");
    let numbers = digests(&who, &id).await;
    let (one, ..) = numbers.iter().find(|(_, sid, _)| sid == "P3").unwrap();
    let released = account::DeleteResourceRequest {
        resource_id: one.clone(),
        request_id: request_id(),
    };
    client.delete_resource(released).await.unwrap();
    assert_eq!(may(h, &id, production, "").await, "ALLOW");
    // Two at once for the last one: one gets it.
    let (a, b) = tokio::join!(
        record(&who, &id, "PHONE_NUMBER", "A"),
        record(&who, &id, "PHONE_NUMBER", "B")
    );
    assert!(a.is_ok() != b.is_ok());

    // Another profile's trial has as many as that says.
    let request = account::CreateAccountRequest {
        profile_code: "global".to_owned(),
        display_name: "A trial".to_owned(),
        owner_user_id: h.owner.clone(),
        request_id: request_id(),
        ..account::CreateAccountRequest::default()
    };
    let made = who.account.clone().create_account(request).await.unwrap();
    let global = made.into_inner().account.unwrap().account_id;
    record(&who, &global, "TRIAL_NUMBER", "T1").await.unwrap();
    assert_eq!(
        refused(record(&who, &global, "TRIAL_NUMBER", "T2").await).1,
        "TRIAL_LIMIT"
    );

    // Withdrawn KYC bars both (REQ-078).
    let withdraw = account::WithdrawKycRequest {
        account_id: id.clone(),
        reason: "documents expired".to_owned(),
        request_id: request_id(),
    };
    h.operator
        .account
        .clone()
        .withdraw_kyc(withdraw)
        .await
        .unwrap();
    assert_eq!(may(h, &id, production, "").await, "KYC_NOT_APPROVED");
    assert_eq!(refused(client.go_live(live()).await).1, "KYC_NOT_APPROVED");
    approved(h, &id).await;
    let went = client.go_live(live()).await.unwrap().into_inner();
    assert!(went.account.unwrap().live_time.is_some());
    let twice = client.go_live(live()).await.unwrap().into_inner();
    assert!(twice.account.unwrap().live_time.is_some());
}

#[tokio::test]
async fn req_085_req_086_req_087_req_092_req_112_req_113_req_116_features_follow_the_plan() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = trial(&shop, "tok_ok").await;
    let features = [
        Capability::Campaign,
        Capability::Whatsapp,
        Capability::ContactCenter,
    ];
    let seen = async || {
        let mut seen = Vec::new();
        for capability in features {
            seen.push(may(h, &id, capability, "").await);
        }
        seen
    };
    let rate = async |count| {
        let request = account::CheckRateLimitRequest {
            account_id: id.clone(),
            request_count: count,
            window_seconds: 0,
        };
        let mut client = h.operator.account.clone();
        let answer = client.check_rate_limit(request).await.unwrap().into_inner();
        (answer.rate_limit_code, answer.limit_count, answer.allowed)
    };
    assert_eq!(seen().await, ["NOT_IN_PLAN"; 3]);
    assert_eq!(rate(200).await, ("STANDARD".to_owned(), 200, true));
    assert_eq!(rate(201).await, ("STANDARD".to_owned(), 200, false));
    h.advance("2026-04-15T04:00:00Z").await;
    upgraded(&shop, &id, "starter", "5000.00").await;
    assert_eq!(seen().await, ["ALLOW", "ADDON_REQUIRED", "NOT_IN_PLAN"]);
    bought(h, &h.customer(), &id, change("growth", ""))
        .await
        .unwrap();
    assert_eq!(seen().await, ["ALLOW", "ADDON_REQUIRED", "NOT_IN_PLAN"]);
    h.advance("2026-05-14T18:30:00Z").await;
    assert_eq!(seen().await, ["ALLOW"; 3]);
    let (class, limit, _) = rate(1).await;
    assert_eq!(class, "HIGHER");
    assert!(200 < limit);
    // What it was then is still told.
    let then = asked(
        h,
        &id,
        Capability::ContactCenter,
        ("", Some("2026-05-14T18:29:59Z")),
    );
    assert_eq!(then.await.unwrap(), "NOT_IN_PLAN");
}

#[tokio::test]
async fn req_117_what_a_trial_has_made_carries_over_unchanged() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    let id = trial(&shop, "tok_ok").await;
    for (kind, sid) in [
        ("FLOW", "F1"),
        ("FLOW", "F2"),
        ("API_KEY", "K1"),
        ("SETTING", "S1"),
    ] {
        record(&who, &id, kind, sid).await.unwrap();
    }
    for n in 0..4 {
        let member = h.user(&format!("member{n}")).await;
        let grant = account::GrantRoleRequest {
            account_id: id.clone(),
            user_id: member,
            role_code: "AGENT".to_owned(),
            request_id: request_id(),
        };
        h.customer().account.grant_role(grant).await.unwrap();
    }
    let members = async || {
        let request = account::ListMembersRequest {
            account_id: id.clone(),
            ..account::ListMembersRequest::default()
        };
        let answer = h.customer().account.list_members(request).await.unwrap();
        answer.into_inner().members
    };
    let before = (digests(&who, &id).await, members().await);
    assert_eq!((before.0.len(), before.1.len()), (4, 5));
    upgraded(&shop, &id, "starter", "1000.00").await;
    assert_eq!((digests(&who, &id).await, members().await), before);
    assert_eq!(
        refused(record(&who, &id, "FLOW", "F1").await),
        (Code::AlreadyExists, "RESOURCE_EXISTS".to_owned())
    );
    // A soft close keeps all but what the profile releases (REQ-050).
    record(&who, &id, "PHONE_NUMBER", "P1").await.unwrap();
    let request = account::CloseAccountRequest {
        account_id: id.clone(),
        option: account::closing::Option::KeepAccountData.into(),
        acknowledgement_codes: Vec::new(),
        request_id: request_id(),
    };
    who.account.clone().close_account(request).await.unwrap();
    assert_eq!(digests(&who, &id).await, before.0);
    assert_eq!(may(h, &id, Capability::Api, "").await, "DORMANT");
    assert_eq!(may(h, &id, Capability::Data, "").await, "ALLOW");
    let order = crate::subscriptions::quote(&who, &id, change("growth", "")).await;
    assert_eq!(refused(order).1, "ACCOUNT_DORMANT");
}

#[tokio::test]
async fn req_121_req_132_a_limited_or_empty_account_keeps_what_the_policy_leaves_it() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = trial(&shop, "tok_ok").await;
    whitelist_all(h, &id).await;
    // The credit is used up: nothing goes out, what comes in does.
    shop.texts(&id, "2026-03-01T12:00:00Z", "2500").await;
    shop.balance_is(&id, "0.000000").await;
    for capability in [Capability::VoiceOut, Capability::SmsOut] {
        assert_eq!(may(h, &id, capability, PHONE).await, "INSUFFICIENT_CREDIT");
    }
    for capability in [Capability::VoiceIn, Capability::SmsIn, Capability::Api] {
        assert_eq!(may(h, &id, capability, "").await, "ALLOW");
    }
    let empty = told(h, &id, "BALANCE_EMPTY").await;
    assert_eq!(empty.len(), 1);
    assert_eq!(fact(&empty[0], "balance"), "INR 0.000000");
    // The trial ends after its days.
    h.advance("2026-03-08T12:00:00Z").await;
    let limited = told(h, &id, "LIMITED").await;
    assert_eq!(fact(&limited[0], "reason"), "TRIAL_EXPIRED");
    for capability in [Capability::VoiceOut, Capability::SmsOut] {
        assert_eq!(may(h, &id, capability, PHONE).await, "LIMITED");
    }
    for capability in [
        Capability::VoiceIn,
        Capability::SmsIn,
        Capability::Login,
        Capability::Data,
        Capability::Billing,
    ] {
        assert_eq!(may(h, &id, capability, "").await, "ALLOW");
    }
    assert_eq!(
        may(h, &id, Capability::Upgrade, "").await,
        "KYC_NOT_APPROVED"
    );
    approved(h, &id).await;
    assert_eq!(may(h, &id, Capability::Upgrade, "").await, "ALLOW");

    // By the other profile an empty balance stops both directions at once.
    let global = h.account().await;
    assert_eq!(
        may(h, &global, Capability::VoiceIn, "").await,
        "INSUFFICIENT_CREDIT"
    );
    let request = billing::GrantCreditRequest {
        account_id: global.clone(),
        kind: billing::lot::Kind::Promo.into(),
        amount: Some(Amount {
            currency_code: "USD".to_owned(),
            amount: "1".to_owned(),
        }),
        reason: "test".to_owned(),
        request_id: request_id(),
        ..billing::GrantCreditRequest::default()
    };
    h.operator
        .billing
        .clone()
        .grant_credit(request)
        .await
        .unwrap();
    assert_eq!(may(h, &global, Capability::VoiceIn, "").await, "ALLOW");
    let before = asked(
        h,
        &global,
        Capability::VoiceIn,
        ("", Some("2026-03-08T11:00:00Z")),
    )
    .await;
    assert_eq!(
        before.unwrap_err().code(),
        Code::NotFound,
        "it was not there yet"
    );
}

async fn whitelist_all(h: &Harness, id: &str) {
    let listed = whitelisted(h, id, PHONE).await.unwrap();
    let sent = code(h, id, PHONE).await;
    verify(h, &listed, &sent).await.unwrap();
}

#[tokio::test]
async fn req_044_req_045_req_046_req_047_a_closed_account_may_nothing_from_its_instant_on() {
    let shop = Shop::start().await;
    let id = subscriber(&shop, "tok_ok").await;
    let h = &shop.h;
    let more = Kind::CreditPurchase(account::CreditPurchase {
        amount: crate::subscriptions::rupees("1000.00"),
        payment_method_id: String::new(),
    });
    bought(h, &h.customer(), &id, more).await.unwrap();
    record(&h.customer(), &id, "PHONE_NUMBER", "P1")
        .await
        .unwrap();
    record(&h.customer(), &id, "FLOW", "F1").await.unwrap();
    h.advance("2026-04-20T06:00:00Z").await;
    let request = account::CloseAccountRequest {
        account_id: id.clone(),
        option: account::closing::Option::DeleteAllDataAndSettings.into(),
        acknowledgement_codes: Vec::new(),
        request_id: request_id(),
    };
    h.customer().account.close_account(request).await.unwrap();
    for capability in 1..=17 {
        let capability = Capability::try_from(capability).unwrap();
        let number = if matches!(capability, Capability::VoiceOut | Capability::SmsOut) {
            PHONE
        } else {
            ""
        };
        assert_eq!(may(h, &id, capability, number).await, "ACCOUNT_CLOSED");
        let at = Some("2026-04-20T06:00:00Z");
        let then = asked(h, &id, capability, (number, at)).await.unwrap();
        assert_eq!(then, "ACCOUNT_CLOSED");
    }
    let before = asked(h, &id, Capability::Api, ("", Some("2026-04-20T05:59:59Z"))).await;
    assert_eq!(before.unwrap(), "ALLOW");
    let held: Vec<_> = digests(&h.customer(), &id).await;
    let held: Vec<_> = held.iter().map(|(_, sid, _)| sid.as_str()).collect();
    assert_eq!(held, ["F1"], "its numbers are released");

    assert_eq!(get(h, &id).await.mode(), account::account::Mode::Normal);
    assert!(
        told(h, &id, "LIMITED").await.is_empty(),
        "it is closed, not limited"
    );

    // One notice with what follows (REQ-074), also where closing is asked for again.
    let again = account::CloseAccountRequest {
        account_id: id.clone(),
        option: account::closing::Option::DeleteAllDataAndSettings.into(),
        acknowledgement_codes: Vec::new(),
        request_id: request_id(),
    };
    h.customer().account.close_account(again).await.unwrap();
    let notices = told(h, &id, "ACCOUNT_CLOSED").await;
    assert_eq!(notices.len(), 1);
    let closing = get(h, &id).await.closing.unwrap();
    let refund = closing.refund_amount.unwrap();
    assert_eq!(
        fact(&notices[0], "refund_amount"),
        format!("INR {}", refund.amount)
    );
    assert_eq!(
        fact(&notices[0], "refund_due_date"),
        closing.refund_due_date
    );
    assert_eq!(fact(&notices[0], "purge_time"), "2026-05-20T06:00:00+00:00");
    let sent = mails(h, "owner@example.com");
    let sent = sent
        .iter()
        .filter(|it| it.subject == "Your account has been closed");
    assert_eq!(sent.count(), 1);
}

#[tokio::test]
async fn req_109_an_upgrade_is_confirmed_by_mail_with_its_invoice_also_when_mail_was_down() {
    let shop = Shop::start_with(&[("SMTP_URL", "smtp://127.0.0.1:1")]).await;
    let h = &shop.h;
    let id = trial(&shop, "tok_ok").await;
    let details = account::UpdateBillingDetailsRequest {
        account_id: id.clone(),
        billing_details: Some(account::BillingDetails {
            recipient_name: "Asha Traders".to_owned(),
            address: "2 MG Road, Pune".to_owned(),
            country_code: "IN".to_owned(),
            state_code: "MH".to_owned(),
            email: "accounts@example.com".to_owned(),
            ..account::BillingDetails::default()
        }),
        request_id: request_id(),
        ..account::UpdateBillingDetailsRequest::default()
    };
    h.customer()
        .account
        .update_billing_details(details)
        .await
        .unwrap();
    upgraded(&shop, &id, "starter", "1000.00").await;
    let request = account::ListNotificationsRequest {
        account_id: id.clone(),
        kind_code: "UPGRADED".to_owned(),
        ..account::ListNotificationsRequest::default()
    };
    let waits = h.customer().account.list_notifications(request).await;
    let waits = waits.unwrap().into_inner().notifications;
    assert_eq!(waits.len(), 1);
    assert_eq!(waits[0].state(), account::notification::State::Pending);
    assert_eq!(waits[0].email, "accounts@example.com");
    let facts: Vec<_> = waits[0].facts.iter().map(|it| it.value.as_str()).collect();
    assert_eq!(facts[0], "starter");
    assert!(
        facts.iter().any(|it| it.ends_with("INR 540.00")),
        "{facts:?}"
    );
    assert_eq!(facts.last(), Some(&"INR 3540.00"));
    assert_eq!(waits[0].subject, "Your upgrade to Starter is confirmed");

    // With a mail server again it goes out, once, with the invoice.
    let mut shop = shop;
    let log = shop.h.suite.settings.folder.join("account-lifecycle.log");
    let begun = std::time::Instant::now();
    while !std::fs::read_to_string(&log)
        .unwrap()
        .contains("an email could not be sent")
    {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    shop.h.suite.kill("account-lifecycle").await;
    let url = shop.h.suite.mail_url.clone();
    shop.h
        .suite
        .spawn("account-lifecycle", &[("SMTP_URL", url)])
        .unwrap();
    shop.h.suite.wait_for("account-lifecycle").await.unwrap();
    // What it was sending when it was killed is taken up again three minutes later.
    let patience = std::time::Duration::from_mins(3) + PATIENCE;
    let begun = std::time::Instant::now();
    let mail = loop {
        let found = mails(&shop.h, "accounts@example.com");
        if let [mail] = &found[..] {
            break words(mail);
        }
        assert!(begun.elapsed() < patience, "{found:?}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    let number = fact(&waits[0], "invoice_number").to_owned();
    assert!(mail.contains(&number) && mail.contains("Content-Type: application/pdf"));
    // Once as text, once as HTML.
    assert_eq!(
        mail.matches("The total is ₹3,540.00, including tax.")
            .count(),
        2,
        "{mail}"
    );
    assert!(mail.contains("Content-Type: text/html"));
    let again = told(&shop.h, &id, "UPGRADED").await;
    assert_eq!(again[0].state(), account::notification::State::Sent);
    assert_eq!(mails(&shop.h, "accounts@example.com").len(), 1);
}
