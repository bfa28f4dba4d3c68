//! From trial to paid and on: upgrades, changes at the next cycle, renewals and what follows when they fail,
//! through the services that decide them, with the numbers of the requirements.

use perdiem::connect::{Clients, request_id};
use proto::account::v1 as account;
use proto::account::v1::create_order_request::Kind;
use proto::account::v1::current_plan::State as PlanState;
use proto::billing::v1 as billing;
use proto::billing::v1::invoice::State as InvoiceState;
use proto::payments::v1 as payments;
use proto::plan::v1 as plan;
use proto::r#type::v1::{Amount, Money};
use tonic::{Code, Status};

use crate::harness::{Harness, instant, reason};
use crate::money::Shop;

const FAMILY: &str = "PLATFORM";
/// The morning of 15 April in India.
const BOUGHT: &str = "2026-04-15T04:00:00Z";
/// 15 May 00:00 in India.
const RENEWED: &str = "2026-05-14T18:30:00Z";

#[expect(clippy::unnecessary_wraps, reason = "as fields hold it")]
pub fn rupees(amount: &str) -> Option<Money> {
    Some(Money {
        currency_code: "INR".to_owned(),
        amount: amount.to_owned(),
    })
}

pub fn upgrade(plan: &str, cycle: &str, credit: &str) -> account::Upgrade {
    account::Upgrade {
        family_code: FAMILY.to_owned(),
        plan_code: plan.to_owned(),
        billing_cycle_code: cycle.to_owned(),
        credit_amount: rupees(credit),
        checklist_codes: vec!["FLOWS_WORKING".to_owned()],
        ..account::Upgrade::default()
    }
}

/// A trial of `india` in another state than its issuer, owned by the customer of the suite, with a card.
pub async fn trial(shop: &Shop, token: &str) -> String {
    let id = trial_without_method(shop).await;
    shop.card(&id, token).await;
    id
}

/// A trial of `india` in another state than its issuer, owned by the customer of the suite.
async fn trial_without_method(shop: &Shop) -> String {
    let request = account::CreateAccountRequest {
        profile_code: "india".to_owned(),
        display_name: "A trial".to_owned(),
        owner_user_id: shop.h.owner.clone(),
        request_id: request_id(),
        ..account::CreateAccountRequest::default()
    };
    // A person opens three; some tests ask for more.
    let mut client = shop.h.operator.account.clone();
    let made = client.create_account(request).await.unwrap().into_inner();
    let id = made.account.unwrap().account_id;
    shop.live_in(&id, "IN", "MH", false).await;
    id
}

pub async fn get(h: &Harness, id: &str) -> account::Account {
    at(h, id, None).await
}

pub async fn at(h: &Harness, id: &str, time: Option<&str>) -> account::Account {
    let request = account::GetAccountRequest {
        account_id: id.to_owned(),
        read_time: time.map(|it| perdiem::connect::timestamp(instant(it))),
    };
    let mut client = h.customer().account;
    let found = client.get_account(request).await.unwrap().into_inner();
    found.account.unwrap()
}

async fn plan_of(h: &Harness, id: &str) -> account::CurrentPlan {
    let request = account::GetCurrentPlanRequest {
        account_id: id.to_owned(),
        family_code: FAMILY.to_owned(),
    };
    let mut client = h.customer().account;
    let found = client.get_current_plan(request).await.unwrap();
    found.into_inner().current_plan.unwrap()
}

fn document(code: &str) -> account::KycDocument {
    account::KycDocument {
        document_code: code.to_owned(),
        file_name: format!("{code}.pdf"),
        file_type_code: "PDF".to_owned(),
        size_bytes: 40_000,
        digest: "ab".repeat(32),
    }
}

pub const DOCUMENTS: [&str; 4] = [
    "BUSINESS_IDENTITY",
    "BUSINESS_ADDRESS",
    "SIGNATORY_ID",
    "BUSINESS_PAN",
];

pub async fn submit(
    h: &Harness,
    id: &str,
    codes: &[&str],
) -> Result<account::KycSubmission, Status> {
    let request = account::SubmitKycRequest {
        account_id: id.to_owned(),
        country_code: "IN".to_owned(),
        legal_name: "Chai Pvt. Ltd.".to_owned(),
        signatory_is_director: true,
        documents: codes.iter().map(|code| document(code)).collect(),
        request_id: request_id(),
    };
    let answer = h.customer().account.submit_kyc(request).await?;
    Ok(answer.into_inner().kyc_submission.unwrap())
}

pub async fn review(
    h: &Harness,
    kyc: &account::KycSubmission,
    action: account::review_kyc_request::Action,
) -> Result<account::KycSubmission, Status> {
    use account::review_kyc_request::Action;
    let said = matches!(action, Action::Reject | Action::AskInformation);
    let request = account::ReviewKycRequest {
        kyc_id: kyc.kyc_id.clone(),
        action: action.into(),
        reason: if said { "the scan is cut" } else { "" }.to_owned(),
        request_id: request_id(),
    };
    let mut client = h.operator_with("KYC").account;
    let answer = client.review_kyc(request).await?;
    Ok(answer.into_inner().kyc_submission.unwrap())
}

pub async fn approved(h: &Harness, id: &str) {
    use account::review_kyc_request::Action;
    let kyc = submit(h, id, &DOCUMENTS).await.unwrap();
    review(h, &kyc, Action::TakeUp).await.unwrap();
    review(h, &kyc, Action::Approve).await.unwrap();
}

pub async fn quote(who: &Clients, id: &str, kind: Kind) -> Result<account::Order, Status> {
    let request = account::CreateOrderRequest {
        account_id: id.to_owned(),
        kind: Some(kind),
        request_id: request_id(),
    };
    let answer = who.account.clone().create_order(request).await?;
    Ok(answer.into_inner().order.unwrap())
}

pub async fn bought(
    h: &Harness,
    who: &Clients,
    id: &str,
    kind: Kind,
) -> Result<account::Order, Status> {
    let order = quote(who, id, kind).await?;
    h.confirm(who, &order).await?;
    h.commit(who, &order).await
}

/// Gives the billing details of an account, as its owner does.
async fn details(
    who: &Clients,
    id: &str,
    (country, reason): (&str, &str),
) -> Result<account::BillingDetails, Status> {
    let request = account::UpdateBillingDetailsRequest {
        account_id: id.to_owned(),
        billing_details: Some(account::BillingDetails {
            recipient_name: "Chai Pvt. Ltd.".to_owned(),
            country_code: country.to_owned(),
            state_code: "MH".to_owned(),
            ..account::BillingDetails::default()
        }),
        country_reason: reason.to_owned(),
        request_id: request_id(),
        ..account::UpdateBillingDetailsRequest::default()
    };
    let answer = who.account.clone().update_billing_details(request).await?;
    Ok(answer.into_inner().billing_details.unwrap())
}

#[tokio::test]
async fn an_account_that_is_taxed_says_where_before_it_buys_and_its_country_follows_its_kyc() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    h.advance(BOUGHT).await;
    let request = account::CreateAccountRequest {
        profile_code: "india".to_owned(),
        display_name: "A trial".to_owned(),
        owner_user_id: h.owner.clone(),
        request_id: request_id(),
        ..account::CreateAccountRequest::default()
    };
    let made = who.account.clone().create_account(request).await.unwrap();
    let id = made.into_inner().account.unwrap().account_id;
    shop.card(&id, "tok_ok").await;
    approved(h, &id).await;
    let asked = || Kind::Upgrade(upgrade("starter", "MONTHLY", "1000.00"));
    let precondition = |reason: &str| (Code::FailedPrecondition, reason.to_owned());
    assert_eq!(
        refused(quote(&who, &id, asked()).await),
        precondition("BILLING_DETAILS_REQUIRED")
    );
    // Another country than that of the KYC is an operator's word, with a reason.
    assert_eq!(
        refused(details(&who, &id, ("SG", "")).await),
        precondition("COUNTRY_FOLLOWS_KYC")
    );
    assert_eq!(
        refused(details(&who, &id, ("SG", "I say so")).await),
        (Code::PermissionDenied, "OPERATORS_ONLY".to_owned())
    );
    assert_eq!(
        refused(details(&h.operator, &id, ("SG", "")).await),
        (Code::InvalidArgument, "INVALID_FIELD".to_owned())
    );
    let given = details(&who, &id, ("", "")).await.unwrap();
    assert_eq!(given.country_code, "IN");
    let order = quote(&who, &id, asked()).await.unwrap();
    assert_eq!(order.total, rupees("3540.00"));
    h.confirm(&who, &order).await.unwrap();
    let order = h.commit(&who, &order).await.unwrap();
    assert_eq!(order.state(), account::order::State::Completed);

    details(&h.operator, &id, ("SG", "its seat has moved"))
        .await
        .unwrap();
    let kept = details(&who, &id, ("SG", "")).await.unwrap();
    assert_eq!(kept.country_code, "SG", "the owner changes the rest");
    let credit = || {
        Kind::CreditPurchase(account::CreditPurchase {
            amount: rupees("1000.00"),
            payment_method_id: String::new(),
        })
    };
    let quoted = quote(&who, &id, credit()).await.unwrap();
    assert_eq!(quoted.total, rupees("1000.00"));
    details(&who, &id, ("IN", "")).await.unwrap();
    let quoted = quote(&who, &id, credit()).await.unwrap();
    assert_eq!(quoted.total, rupees("1180.00"));
    assert_eq!(
        refused(details(&who, &id, ("SG", "")).await),
        precondition("COUNTRY_FOLLOWS_KYC")
    );

    // A KYC that is withdrawn, or submitted anew, does not let the country go.
    let withdraw = account::WithdrawKycRequest {
        account_id: id.clone(),
        reason: "the business has moved".to_owned(),
        request_id: request_id(),
    };
    h.operator_with("KYC")
        .account
        .withdraw_kyc(withdraw)
        .await
        .unwrap();
    assert_eq!(
        refused(details(&who, &id, ("SG", "")).await),
        precondition("COUNTRY_FOLLOWS_KYC")
    );
    submit(h, &id, &DOCUMENTS).await.unwrap();
    assert_eq!(
        refused(details(&who, &id, ("SG", "")).await),
        precondition("COUNTRY_FOLLOWS_KYC")
    );
    let given = details(&who, &id, ("", "")).await.unwrap();
    assert_eq!(given.country_code, "IN");
}

#[tokio::test]
async fn an_approved_kyc_moves_the_tax_country_that_was_given_before() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    let id = trial(&shop, "tok_ok").await;
    // What the set-up gave is an operator's word; the owner goes abroad before anybody looks.
    details(&who, &id, ("SG", "")).await.unwrap();
    approved(h, &id).await;
    let asked = Kind::Upgrade(upgrade("starter", "MONTHLY", "1000.00"));
    let order = quote(&who, &id, asked).await.unwrap();
    assert_eq!(order.total, rupees("3540.00"));
}

/// A trial that became a customer of `starter` on 15 April, by the month.
pub async fn subscriber(shop: &Shop, token: &str) -> String {
    shop.h.advance(BOUGHT).await;
    let id = trial(shop, token).await;
    approved(&shop.h, &id).await;
    let asked = Kind::Upgrade(upgrade("starter", "MONTHLY", "1000.00"));
    let order = bought(&shop.h, &shop.h.customer(), &id, asked)
        .await
        .unwrap();
    assert_eq!(order.state(), account::order::State::Completed);
    id
}

/// When an account's owner was told of a kind, and its first fact.
async fn told_of(h: &Harness, id: &str, kind: &str) -> Vec<(String, String)> {
    let request = account::ListNotificationsRequest {
        account_id: id.to_owned(),
        kind_code: kind.to_owned(),
        ..account::ListNotificationsRequest::default()
    };
    let told = h.customer().account.list_notifications(request).await;
    let told = told.unwrap().into_inner().notifications.into_iter();
    told.map(|it| {
        let at = perdiem::connect::instant(it.create_time).unwrap();
        (at.to_rfc3339(), it.facts[0].value.clone())
    })
    .collect()
}

pub fn change(plan: &str, cycle: &str) -> Kind {
    Kind::PlanChange(account::PlanChange {
        family_code: FAMILY.to_owned(),
        plan_code: plan.to_owned(),
        billing_cycle_code: cycle.to_owned(),
        ..account::PlanChange::default()
    })
}

/// The renewals of an account that were paid, each with its total, in order.
pub async fn renewals(shop: &Shop, id: &str) -> Vec<String> {
    let uuid = id.trim_start_matches("AC");
    let paid: Vec<i64> = sqlx::query_scalar(
        "SELECT total_minor FROM billing.collections
         WHERE root_id = $1::uuid AND purpose = 'RENEWAL' AND state = 'SUCCEEDED' ORDER BY created_at, collection_id",
    )
    .bind(uuid)
    .fetch_all(&shop.h.db)
    .await
    .unwrap();
    paid.iter()
        .map(|minor| format!("{}.{:02}", minor / 100, minor % 100))
        .collect()
}

async fn pending(h: &Harness, id: &str) -> Vec<(String, String)> {
    let request = account::ListPendingChangesRequest {
        account_id: id.to_owned(),
        family_code: FAMILY.to_owned(),
    };
    let mut client = h.customer().account;
    let found = client.list_pending_changes(request).await.unwrap();
    let found = found.into_inner().pending_changes.into_iter();
    found
        .map(|it| (it.to_plan_code, it.billing_cycle_code))
        .collect()
}

pub fn refused<T>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.err().expect("a refusal");
    (status.code(), reason(&status))
}

#[tokio::test]
async fn req_077_an_upgrade_waits_for_an_approved_kyc_and_takes_no_money_before() {
    use account::review_kyc_request::Action;
    let shop = Shop::start().await;
    let h = &shop.h;
    h.advance(BOUGHT).await;
    let id = trial(&shop, "tok_ok").await;
    let asked = || Kind::Upgrade(upgrade("starter", "MONTHLY", "1000.00"));
    let gate = (Code::FailedPrecondition, "KYC_NOT_APPROVED".to_owned());
    assert_eq!(refused(quote(&h.customer(), &id, asked()).await), gate);

    let without = refused(submit(h, &id, &DOCUMENTS[..3]).await);
    assert_eq!(
        without,
        (Code::InvalidArgument, "DOCUMENT_MISSING".to_owned())
    );
    let kyc = submit(h, &id, &DOCUMENTS).await.unwrap();
    assert_eq!(kyc.review_due_date, "2026-04-20", "three business days");
    assert_eq!(
        refused(submit(h, &id, &DOCUMENTS).await).1,
        "KYC_UNDER_REVIEW"
    );
    assert_eq!(
        refused(review(h, &kyc, Action::Approve).await).1,
        "KYC_NOT_IN_REVIEW"
    );
    assert_eq!(refused(quote(&h.customer(), &id, asked()).await), gate);
    review(h, &kyc, Action::TakeUp).await.unwrap();
    let asks = review(h, &kyc, Action::AskInformation).await.unwrap();
    assert_eq!(asks.reason, "the scan is cut");
    assert_eq!(refused(quote(&h.customer(), &id, asked()).await), gate);
    let again = submit(h, &id, &DOCUMENTS).await.unwrap();
    assert_eq!(again.kyc_id, kyc.kyc_id, "the same submission goes on");
    // What was refused is not acknowledged; each submission is, with the day of the decision.
    let received = told_of(h, &id, "KYC_SUBMITTED").await;
    let days: Vec<_> = received.iter().map(|(_, day)| day.as_str()).collect();
    assert_eq!(days, ["2026-04-20", "2026-04-20"]);
    review(h, &again, Action::TakeUp).await.unwrap();
    review(h, &again, Action::Reject).await.unwrap();
    assert_eq!(refused(quote(&h.customer(), &id, asked()).await), gate);
    let anew = submit(h, &id, &DOCUMENTS).await.unwrap();
    assert_ne!(anew.kyc_id, kyc.kyc_id);
    review(h, &anew, Action::TakeUp).await.unwrap();
    review(h, &anew, Action::Approve).await.unwrap();
    quote(&h.customer(), &id, asked()).await.unwrap();

    // Withdrawn after the quote, the gate is shut again.
    let request = account::WithdrawKycRequest {
        account_id: id.clone(),
        reason: "a forgery".to_owned(),
        request_id: request_id(),
    };
    let mut reviewer = h.operator_with("KYC").account;
    reviewer.withdraw_kyc(request).await.unwrap();
    assert_eq!(refused(quote(&h.customer(), &id, asked()).await), gate);
    // The owner is told of each question and decision, and not of a review that begins.
    let reviewed = told_of(h, &id, "KYC_REVIEWED").await;
    let mut states: Vec<_> = reviewed.iter().map(|(_, state)| state.as_str()).collect();
    states.sort_unstable();
    assert_eq!(
        states,
        [
            "ADDITIONAL_INFO_REQUIRED",
            "APPROVED",
            "REJECTED",
            "WITHDRAWN"
        ]
    );
    let none = "SELECT count(*) FROM payments.movements";
    assert_eq!(h.count(none).await, 0, "nothing was charged");
    let history = account::ListAccountHistoryRequest {
        account_id: id.clone(),
        state_code: "KYC".to_owned(),
        ..account::ListAccountHistoryRequest::default()
    };
    let told = h.customer().account.list_account_history(history).await;
    let told: Vec<_> = told.unwrap().into_inner().transitions;
    let told: Vec<_> = told.iter().rev().map(|it| it.to_code.as_str()).collect();
    let expected = [
        "PENDING",
        "IN_REVIEW",
        "ADDITIONAL_INFO_REQUIRED",
        "PENDING",
        "IN_REVIEW",
        "REJECTED",
        "PENDING",
        "IN_REVIEW",
        "APPROVED",
        "WITHDRAWN",
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn req_076_req_096_req_100_req_108_a_trial_is_upgraded_when_the_payment_has_succeeded() {
    let shop = Shop::start().await;
    let h = &shop.h;
    h.advance(BOUGHT).await;
    let id = trial(&shop, "tok_declined_insufficient_funds").await;
    approved(h, &id).await;
    let who = h.customer();
    let before = get(h, &id).await;
    assert_eq!(before.r#type(), account::account::Type::Trial);
    assert_eq!(plan_of(h, &id).await.state(), PlanState::Trial);

    // REQ-100: the first credit reaches the plan's minimum, which differs by plan.
    let asked = |plan: &str, credit: &str| Kind::Upgrade(upgrade(plan, "MONTHLY", credit));
    let below = (Code::InvalidArgument, "BELOW_MINIMUM".to_owned());
    assert_eq!(
        refused(quote(&who, &id, asked("starter", "999.99")).await),
        below
    );
    assert_eq!(
        refused(quote(&who, &id, asked("growth", "1000.00")).await),
        below
    );
    // REQ-080: exactly one plan.
    assert_eq!(
        refused(quote(&who, &id, asked("", "1000.00")).await).0,
        Code::InvalidArgument
    );
    // A trial's plan change is its upgrade; nobody goes back to a trial.
    assert_eq!(
        refused(quote(&who, &id, change("starter", "")).await).1,
        "UPGRADE_FIRST"
    );

    // REQ-096: the summary; REQ-079: self-checks are advice.
    let order = quote(&who, &id, asked("starter", "1000.00")).await.unwrap();
    let lines: Vec<_> = order
        .lines
        .iter()
        .map(|line| (line.kind_code.as_str(), line.amount.clone().unwrap().amount))
        .collect();
    assert_eq!(
        lines,
        [
            ("SUBSCRIPTION", "2000.00".to_owned()),
            ("CREDITS", "1000.00".to_owned()),
            ("IGST", "540.00".to_owned()),
        ]
    );
    assert_eq!(order.total, rupees("3540.00"));
    assert_eq!(order.warnings, ["INTEGRATION_TESTED_UNCHECKED"]);
    let offer = order.plan_offer.clone().unwrap();
    assert_eq!(offer.monthly_minimum, rupees("2000.00"));
    assert_eq!(offer.minimum_initial_credit, rupees("1000.00"));
    assert_eq!(offer.features.len(), 14);
    let prices: Vec<_> = offer
        .cycles
        .iter()
        .map(|it| it.price.clone().unwrap().amount)
        .collect();
    assert_eq!(
        prices,
        ["2000.00", "5700.00", "20400.00"],
        "REQ-097 to REQ-099"
    );

    // REQ-108: declined, it is still a trial, without credit.
    h.confirm(&who, &order).await.unwrap();
    let done = h.commit(&who, &order).await.unwrap();
    assert_eq!(done.state(), account::order::State::Failed);
    assert_eq!(done.failure_reason, "PAYMENT_DECLINED");
    assert_eq!(get(h, &id).await.r#type(), account::account::Type::Trial);
    assert_eq!(h.balance(&id).await, "500.000000", "as its trial began");

    // Paid, it is upgraded at once, and what is left of the trial's credit is forfeited (REQ-133).
    shop.card(&id, "tok_ok").await;
    let done = bought(h, &who, &id, asked("starter", "1000.00"))
        .await
        .unwrap();
    assert_eq!(done.state(), account::order::State::Completed);
    let now = get(h, &id).await;
    assert_eq!(now.r#type(), account::account::Type::Full);
    assert_eq!(now.account_id, before.account_id);
    let plan = plan_of(h, &id).await;
    assert_eq!(
        (plan.plan_code.as_str(), plan.state()),
        ("starter", PlanState::Active)
    );
    assert_eq!(plan.next_billing_date, "2026-05-15");
    assert_eq!(h.balance(&id).await, "1000.000000");
    let again = refused(quote(&who, &id, asked("growth", "5000.00")).await);
    assert_eq!(
        again,
        (Code::FailedPrecondition, "ALREADY_UPGRADED".to_owned())
    );
    // As it stood before: a trial.
    let then = at(h, &id, Some(BOUGHT)).await;
    assert_eq!(
        then.r#type(),
        account::account::Type::Full,
        "of this very instant"
    );
    h.advance("2026-04-16T00:00:00Z").await;
    let request = account::ListAccountHistoryRequest {
        account_id: id.clone(),
        state_code: "TYPE".to_owned(),
        ..account::ListAccountHistoryRequest::default()
    };
    let told = who
        .account
        .clone()
        .list_account_history(request)
        .await
        .unwrap();
    let told = told.into_inner().transitions;
    let told: Vec<_> = told.iter().map(|it| it.transition_code.as_str()).collect();
    assert_eq!(told, ["UPGRADED", "CREATED"]);
}

#[tokio::test]
async fn req_097_req_127_each_cycle_is_charged_at_its_start_once() {
    let shop = Shop::start().await;
    let id = subscriber(&shop, "tok_ok").await;
    let h = &shop.h;
    h.advance("2026-05-14T18:29:00Z").await;
    assert!(renewals(&shop, &id).await.is_empty());
    h.advance(RENEWED).await;
    assert_eq!(renewals(&shop, &id).await, ["2360.00"], "with tax");
    let first = h.invoices(&id).await.pop().unwrap();
    assert_eq!(
        first.lines[0].explanation,
        "starter, MONTHLY: first cycle, 1 month at 2000.00 = 2000.00"
    );
    h.advance("2026-06-14T18:30:00Z").await;
    h.advance("2026-07-01T00:00:00Z").await;
    assert_eq!(renewals(&shop, &id).await, ["2360.00", "2360.00"]);
    assert_eq!(h.balance(&id).await, "1000.000000", "apart from credit");
    assert_eq!(plan_of(h, &id).await.next_billing_date, "2026-07-15");
    let differences = h.operator.billing.clone();
    let mut differences = differences;
    let found = differences
        .reconcile(billing::ReconcileRequest::default())
        .await
        .unwrap();
    assert_eq!(found.into_inner().differences.len(), 0);
}

#[tokio::test]
async fn req_098_req_099_req_126_a_cycle_is_switched_by_support_and_from_the_next_renewal() {
    let shop = Shop::start().await;
    let id = subscriber(&shop, "tok_ok").await;
    let h = &shop.h;
    h.advance("2026-04-20T06:00:00Z").await;
    let request = || account::SwitchBillingCycleRequest {
        account_id: id.clone(),
        family_code: FAMILY.to_owned(),
        billing_cycle_code: "ANNUAL".to_owned(),
        request_id: request_id(),
    };
    let by_customer = h.customer().account.switch_billing_cycle(request()).await;
    assert_eq!(
        refused(by_customer),
        (Code::FailedPrecondition, "CONTACT_SUPPORT".to_owned())
    );
    let by_order = quote(&h.customer(), &id, change("starter", "ANNUAL")).await;
    assert_eq!(refused(by_order).1, "CONTACT_SUPPORT");
    let mut agent = h.operator_with("SUPPORT_AGENT").account;
    let switched = agent.switch_billing_cycle(request()).await.unwrap();
    let switched = switched.into_inner().pending_change.unwrap();
    assert_eq!(switched.billing_cycle_code, "ANNUAL");
    // A change of plan that comes to it keeps it: the two are one (C-23).
    bought(h, &h.customer(), &id, change("growth", ""))
        .await
        .unwrap();
    assert_eq!(
        pending(h, &id).await,
        [("growth".to_owned(), "ANNUAL".to_owned())]
    );
    bought(h, &h.customer(), &id, change("enterprise", ""))
        .await
        .unwrap_err();
    let request = account::WithdrawChangeRequest {
        account_id: id.clone(),
        family_code: FAMILY.to_owned(),
        request_id: request_id(),
    };
    h.customer().account.withdraw_change(request).await.unwrap();
    assert!(pending(h, &id).await.is_empty());
    agent
        .switch_billing_cycle(switch(&id, "ANNUAL"))
        .await
        .unwrap();
    h.advance(RENEWED).await;
    assert_eq!(
        renewals(&shop, &id).await,
        ["24072.00"],
        "20,400.00 and tax"
    );
    let newest = h.invoices(&id).await.remove(0);
    assert_eq!(
        newest.lines[0].explanation,
        "12 months at 2000.00 less 15.00% = 20400.00"
    );
    // Annual to monthly waits for the year's end.
    let back = agent.switch_billing_cycle(switch(&id, "MONTHLY")).await;
    let back = back.unwrap().into_inner().pending_change.unwrap();
    assert_eq!(
        back.effective_time,
        Some(perdiem::connect::timestamp(instant("2027-05-14T18:30:00Z")))
    );
}

fn switch(id: &str, cycle: &str) -> account::SwitchBillingCycleRequest {
    account::SwitchBillingCycleRequest {
        account_id: id.to_owned(),
        family_code: FAMILY.to_owned(),
        billing_cycle_code: cycle.to_owned(),
        request_id: request_id(),
    }
}

#[tokio::test]
async fn req_118_req_119_req_123_a_change_between_paid_plans_waits_for_the_next_cycle() {
    let shop = Shop::start().await;
    let id = subscriber(&shop, "tok_ok").await;
    let h = &shop.h;
    h.advance("2026-04-20T06:00:00Z").await;
    let who = h.customer();
    let order = bought(h, &who, &id, change("growth", "")).await.unwrap();
    assert_eq!(order.effect(), account::order::Effect::NextCycle);
    assert_eq!(
        order.effective_time,
        Some(perdiem::connect::timestamp(instant(RENEWED)))
    );
    assert_eq!(order.total, None, "nothing is charged today");
    assert_eq!(order.estimated_total, rupees("11800.00"), "with tax");
    let lost = |order: &account::Order| {
        let codes = order.losses.iter().map(|it| it.feature_code.clone());
        codes.collect::<Vec<_>>()
    };
    for gained in ["contact_center", "phone_numbers"] {
        assert!(!lost(&order).contains(&gained.to_owned()), "{gained}");
    }
    assert_eq!(
        pending(h, &id).await,
        [("growth".to_owned(), String::new())]
    );
    assert_eq!(plan_of(h, &id).await.plan_code, "starter");

    // Withdrawn, and chosen again.
    let request = || account::WithdrawChangeRequest {
        account_id: id.clone(),
        family_code: FAMILY.to_owned(),
        request_id: request_id(),
    };
    who.account
        .clone()
        .withdraw_change(request())
        .await
        .unwrap();
    let none = who.account.clone().withdraw_change(request()).await;
    assert_eq!(refused(none).1, "NO_PENDING_CHANGE");
    bought(h, &who, &id, change("growth", "")).await.unwrap();
    h.advance("2026-05-14T18:29:59Z").await;
    assert_eq!(plan_of(h, &id).await.plan_code, "starter");
    h.advance(RENEWED).await;
    assert_eq!(plan_of(h, &id).await.plan_code, "growth");
    assert_eq!(
        renewals(&shop, &id).await,
        ["11800.00"],
        "10,000.00 and tax"
    );

    // REQ-123: down again, what is lost is told, and holds until then.
    let down = quote(&who, &id, change("starter", "")).await.unwrap();
    assert_eq!(down.effect(), account::order::Effect::NextCycle);
    for gone in ["contact_center", "phone_numbers"] {
        assert!(lost(&down).contains(&gone.to_owned()), "{:?}", down.losses);
    }
    assert_eq!(
        (&down.total, &down.estimated_total),
        (&None, &rupees("2360.00"))
    );
    assert!(1 < down.lines.len() && down.lines.iter().all(|it| it.estimated));
    let check = async |feature: &str, used_count: i64| {
        let request = plan::CheckEntitlementRequest {
            account_id: id.clone(),
            feature_code: feature.to_owned(),
            used_count,
            ..plan::CheckEntitlementRequest::default()
        };
        let mut client = h.operator.plan.clone();
        client
            .check_entitlement(request)
            .await
            .unwrap()
            .into_inner()
            .allowed
    };
    h.confirm(&who, &down).await.unwrap();
    h.commit(&who, &down).await.unwrap();
    assert!(check("contact_center", 0).await && check("phone_numbers", 12).await);
    h.advance("2026-06-14T18:30:00Z").await;
    assert!(!check("contact_center", 0).await, "Growth's end");
    assert!(
        !check("phone_numbers", 12).await,
        "a 13th is over the quota of 5"
    );
    assert_eq!(renewals(&shop, &id).await, ["11800.00", "2360.00"]);
}

#[tokio::test]
async fn req_120_req_121_req_131_a_cancelled_plan_ends_with_its_period_and_a_new_one_begins_at_once()
 {
    let shop = Shop::start().await;
    let id = subscriber(&shop, "tok_ok").await;
    let h = &shop.h;
    h.advance("2026-04-20T06:00:00Z").await;
    let cancel = async || {
        let request = account::CancelSubscriptionRequest {
            account_id: id.clone(),
            family_code: FAMILY.to_owned(),
            request_id: request_id(),
        };
        let mut client = h.customer().account;
        client
            .cancel_subscription(request)
            .await
            .unwrap()
            .into_inner()
            .end_time
    };
    let end = Some(perdiem::connect::timestamp(instant(RENEWED)));
    assert_eq!(cancel().await, end);
    assert_eq!(cancel().await, end, "cancelled twice it ends once");
    assert_eq!(plan_of(h, &id).await.state(), PlanState::CancelAtPeriodEnd);
    let undo = || account::UndoCancellationRequest {
        account_id: id.clone(),
        family_code: FAMILY.to_owned(),
        request_id: request_id(),
    };
    h.customer()
        .account
        .undo_cancellation(undo())
        .await
        .unwrap();
    assert_eq!(plan_of(h, &id).await.state(), PlanState::Active);
    let twice = h.customer().account.undo_cancellation(undo()).await;
    assert_eq!(refused(twice).1, "NOT_CANCELLED");
    cancel().await;

    h.advance("2026-05-14T18:29:59Z").await;
    assert_eq!(get(h, &id).await.mode(), account::account::Mode::Normal);
    h.advance("2026-05-20T00:00:00Z").await;
    let limited = get(h, &id).await;
    assert_eq!(limited.mode(), account::account::Mode::Limited);
    assert_eq!(limited.limit_reason, "CANCELLED");
    assert_eq!(limited.status(), account::account::Status::Active);
    assert_eq!(plan_of(h, &id).await.state(), PlanState::Ended);
    assert!(
        renewals(&shop, &id).await.is_empty(),
        "no renewal is charged"
    );
    let then = at(h, &id, Some("2026-05-14T18:00:00Z")).await;
    assert_eq!(then.mode(), account::account::Mode::Normal);
    let then = at(h, &id, Some(RENEWED)).await;
    assert_eq!(then.mode(), account::account::Mode::Limited);

    // REQ-131: back at once, without the credit of a first purchase; a new cycle starts that day.
    let asked = Kind::Upgrade(upgrade("growth", "MONTHLY", "0.00"));
    let order = bought(h, &h.customer(), &id, asked).await.unwrap();
    assert_eq!(order.state(), account::order::State::Completed);
    assert_eq!(order.total, rupees("11800.00"));
    assert_eq!(get(h, &id).await.mode(), account::account::Mode::Normal);
    let plan = plan_of(h, &id).await;
    assert_eq!(
        (plan.plan_code.as_str(), plan.state()),
        ("growth", PlanState::Active)
    );
    assert_eq!(plan.next_billing_date, "2026-06-20");
    assert_eq!(h.balance(&id).await, "1000.000000");
    h.advance("2026-06-21T00:00:00Z").await;
    assert_eq!(renewals(&shop, &id).await, ["11800.00"]);
    assert_eq!(get(h, &id).await.mode(), account::account::Mode::Normal);
}

#[tokio::test]
async fn req_127_a_renewal_that_fails_is_tried_again_and_then_limits_the_account() {
    let shop = Shop::start().await;
    let id = subscriber(&shop, "tok_ok").await;
    let h = &shop.h;
    shop.only_card(&id, "tok_declined_insufficient_funds").await;
    let tries = async || {
        h.count("SELECT count(*) FROM payments.movements WHERE state = 'DECLINED'")
            .await
    };
    for (until, expected) in [
        ("2026-05-15T12:00:00Z", 1),
        ("2026-05-16T12:00:00Z", 2),
        ("2026-05-17T12:00:00Z", 2),
        ("2026-05-18T12:00:00Z", 3),
        ("2026-05-21T12:00:00Z", 3),
    ] {
        h.advance(until).await;
        assert_eq!(tries().await, expected, "{until}");
        assert_eq!(
            plan_of(h, &id).await.state(),
            PlanState::PastDue,
            "D13: it keeps its plan"
        );
        assert_eq!(get(h, &id).await.mode(), account::account::Mode::Normal);
    }
    h.advance("2026-05-22T12:00:00Z").await;
    assert_eq!(tries().await, 4);
    let limited = get(h, &id).await;
    assert_eq!(limited.mode(), account::account::Mode::Limited);
    assert_eq!(limited.limit_reason, "RENEWAL_FAILED");
    assert_eq!(plan_of(h, &id).await.state(), PlanState::Ended);
    h.advance("2026-07-01T00:00:00Z").await;
    assert_eq!(tries().await, 4, "it has ended");
    assert_eq!(
        h.count("SELECT count(*) FROM billing.subscriptions").await,
        0
    );
    // Its owner was told each time: when it is tried again, and in the end that the plan ends.
    let request = account::ListNotificationsRequest {
        account_id: id.clone(),
        kind_code: "RENEWAL_FAILED".to_owned(),
        ..account::ListNotificationsRequest::default()
    };
    let told = h.customer().account.list_notifications(request).await;
    let mut told: Vec<_> = told
        .unwrap()
        .into_inner()
        .notifications
        .into_iter()
        .map(|it| (it.facts[0].value.clone(), it.facts[1].clone()))
        .map(|(reason, then)| (reason, then.name, then.value))
        .collect();
    told.sort_by(|a, b| a.2.cmp(&b.2));
    let expected = [
        ("next_attempt_time", "2026-05-15T18:30:00+00:00"),
        ("next_attempt_time", "2026-05-17T18:30:00+00:00"),
        ("next_attempt_time", "2026-05-21T18:30:00+00:00"),
        ("plan_end_time", "2026-05-21T18:30:00+00:00"),
    ];
    told.sort();
    let expected = expected.map(|(name, at)| {
        let reason = "INSUFFICIENT_FUNDS".to_owned();
        (reason, name.to_owned(), at.to_owned())
    });
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_pending_change_is_replaced_and_withdrawn_only_where_the_policy_allows_it() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    let shipped = "replaceable: true, withdrawable: true";
    let withdraw = |id: &str| account::WithdrawChangeRequest {
        account_id: id.to_owned(),
        family_code: FAMILY.to_owned(),
        request_id: request_id(),
    };
    let growth = [("growth".to_owned(), String::new())];
    h.import_as(
        "v2",
        &[(shipped, "replaceable: false, withdrawable: false")],
    )
    .await;
    let held = subscriber(&shop, "tok_ok").await;
    bought(h, &who, &held, change("growth", "")).await.unwrap();
    assert_eq!(
        refused(quote(&who, &held, change("growth", "")).await),
        (Code::FailedPrecondition, "PENDING_CHANGE_EXISTS".to_owned())
    );
    let mut client = who.account.clone();
    assert_eq!(
        refused(client.withdraw_change(withdraw(&held)).await),
        (
            Code::FailedPrecondition,
            "CHANGE_NOT_WITHDRAWABLE".to_owned()
        )
    );
    assert_eq!(pending(h, &held).await, growth);
    // Where it may be, the second choice takes the place of the first.
    h.import_as("v3", &[]).await;
    let free = subscriber(&shop, "tok_ok").await;
    bought(h, &who, &free, change("growth", "")).await.unwrap();
    bought(h, &who, &free, change("growth", "")).await.unwrap();
    assert_eq!(pending(h, &free).await, growth);
    client.withdraw_change(withdraw(&free)).await.unwrap();
    assert!(pending(h, &free).await.is_empty());
    h.advance(RENEWED).await;
    assert_eq!(plan_of(h, &held).await.plan_code, "growth");
    assert_eq!(plan_of(h, &free).await.plan_code, "starter");
}

#[tokio::test]
async fn a_profile_that_asks_for_no_kyc_sells_without_one() {
    let shop = Shop::start().await;
    let h = &shop.h;
    h.import_as(
        "v2",
        &[(
            "kyc: {required: true, gates: [UPGRADE, BUY_PRODUCTION_NUMBER, GO_LIVE]}",
            "kyc: {required: false}",
        )],
    )
    .await;
    h.advance(BOUGHT).await;
    let id = trial(&shop, "tok_ok").await;
    let asked = Kind::Upgrade(upgrade("starter", "MONTHLY", "1000.00"));
    let order = bought(h, &h.customer(), &id, asked).await.unwrap();
    assert_eq!(order.state(), account::order::State::Completed);
    assert_eq!(plan_of(h, &id).await.plan_code, "starter");
}

/// Adds a payment method that does not become the default, unless it is the first one.
async fn method(shop: &Shop, id: &str, (code, token): (&str, &str), allowed: bool) -> String {
    let request = payments::AddPaymentMethodRequest {
        account_id: id.to_owned(),
        method_code: code.to_owned(),
        provider_token: token.to_owned(),
        app_code: if code == "UPI" { "PHONEPE" } else { "" }.to_owned(),
        off_session_allowed: allowed.then_some(true),
        request_id: request_id(),
        ..payments::AddPaymentMethodRequest::default()
    };
    let mut client = shop.seller.payments.clone();
    let added = client.add_payment_method(request).await.unwrap();
    added.into_inner().payment_method.unwrap().payment_method_id
}

/// The method of the newest charge of an account that has succeeded.
async fn charged(shop: &Shop, id: &str) -> String {
    let request = payments::ListChargesRequest {
        account_id: id.to_owned(),
        ..payments::ListChargesRequest::default()
    };
    let mut client = shop.h.operator.payments.clone();
    let charges = client.list_charges(request).await.unwrap().into_inner();
    let mut charges = charges.charges.into_iter();
    let paid = charges.find(|it| it.state() == payments::MovementState::Succeeded);
    paid.unwrap().payment_method_id
}

#[tokio::test]
async fn a_renewal_takes_the_card_that_paid_the_plan_else_one_that_its_owner_allowed() {
    let shop = Shop::start().await;
    let h = &shop.h;
    h.advance(BOUGHT).await;
    let id = trial_without_method(&shop).await;
    approved(h, &id).await;
    // UPI comes first and is the default; it asks its owner each time.
    let upi = method(&shop, &id, ("UPI", "tok_ok_upi"), false).await;
    let asked = |method: &str| {
        Kind::Upgrade(account::Upgrade {
            payment_method_id: method.to_owned(),
            checklist_codes: vec!["FLOWS_WORKING".to_owned(), "INTEGRATION_TESTED".to_owned()],
            ..upgrade("starter", "MONTHLY", "1000.00")
        })
    };
    let who = h.customer();
    let warned = ["NOT_RENEWED_AUTOMATICALLY"];
    let order = quote(&who, &id, asked("")).await.unwrap();
    assert_eq!(order.warnings, warned);
    let card = method(&shop, &id, ("CARD", "tok_ok_visa"), false).await;
    let order = quote(&who, &id, asked(&upi)).await.unwrap();
    assert_eq!(order.warnings, warned, "the card was not allowed");
    let order = quote(&who, &id, asked(&card)).await.unwrap();
    assert!(order.warnings.is_empty(), "{:?}", order.warnings);
    h.confirm(&who, &order).await.unwrap();
    let done = h.commit(&who, &order).await.unwrap();
    assert_eq!(done.state(), account::order::State::Completed);

    // The card that bought the plan pays its renewal, and not the one that paid for another family since.
    let other = method(&shop, &id, ("CARD", "tok_ok_mastercard"), false).await;
    let support = billing::CollectOrderRequest {
        account_id: id.clone(),
        order_id: format!("OR{}", uuid::Uuid::new_v4().simple()),
        payment_method_id: other.clone(),
        lines: vec![billing::CollectionLine {
            kind: "SUBSCRIPTION".to_owned(),
            amount: rupees("1000.00"),
            family_code: "SUPPORT".to_owned(),
            ..billing::CollectionLine::default()
        }],
        request_id: request_id(),
        ..billing::CollectOrderRequest::default()
    };
    let mut client = shop.seller.billing.clone();
    client.collect_order(support).await.unwrap();
    h.advance("2026-05-15T12:00:00Z").await;
    assert_eq!(renewals(&shop, &id).await, ["2360.00"]);
    assert_eq!(charged(&shop, &id).await, card);
    assert_eq!(plan_of(h, &id).await.state(), PlanState::Active);
    let next = quote(&who, &id, change("growth", "")).await.unwrap();
    assert!(!next.warnings.contains(&warned[0].to_owned()));

    // Without it no other is taken that was not allowed; then one is.
    let request = payments::RemovePaymentMethodRequest {
        account_id: id.clone(),
        payment_method_id: card,
        request_id: request_id(),
    };
    let mut client = shop.seller.payments.clone();
    client.remove_payment_method(request).await.unwrap();
    let next = quote(&who, &id, change("growth", "")).await.unwrap();
    assert!(next.warnings.contains(&warned[0].to_owned()));
    h.advance("2026-06-15T12:00:00Z").await;
    assert_eq!(plan_of(h, &id).await.state(), PlanState::PastDue);
    let same = method(&shop, &id, ("CARD", "tok_ok_mastercard"), true).await;
    assert_eq!(same, other);
    h.advance("2026-06-16T12:00:00Z").await;
    assert_eq!(renewals(&shop, &id).await, ["2360.00", "2360.00"]);
    assert_eq!(charged(&shop, &id).await, other);
    assert_eq!(plan_of(h, &id).await.state(), PlanState::Active);
    shop.reconciles().await;
}

#[tokio::test]
async fn a_cancellation_ends_the_tries_of_a_cycle_that_was_not_paid() {
    let shop = Shop::start().await;
    let id = subscriber(&shop, "tok_ok").await;
    let h = &shop.h;
    shop.only_card(&id, "tok_declined_insufficient_funds").await;
    // Half an hour into the cycle of May, which could not be paid.
    let half_past = "2026-05-14T19:00:00Z";
    h.advance(half_past).await;
    assert_eq!(plan_of(h, &id).await.state(), PlanState::PastDue);
    shop.texts(&id, half_past, "500").await;
    let request = account::CancelSubscriptionRequest {
        account_id: id.clone(),
        family_code: FAMILY.to_owned(),
        request_id: request_id(),
    };
    let cancelled = h.customer().account.cancel_subscription(request).await;
    let end = Some(perdiem::connect::timestamp(instant(half_past)));
    assert_eq!(cancelled.unwrap().into_inner().end_time, end);
    // A card that works since then is not charged the next day, nor on any other.
    shop.card(&id, "tok_ok").await;
    h.advance("2026-05-14T19:00:01Z").await;
    assert_eq!(plan_of(h, &id).await.state(), PlanState::Ended);
    let limited = get(h, &id).await;
    assert_eq!(limited.mode(), account::account::Mode::Limited);
    assert_eq!(limited.limit_reason, "CANCELLED");
    h.advance("2026-07-01T00:00:00Z").await;
    assert!(renewals(&shop, &id).await.is_empty());
    let tries =
        "SELECT count(*) FROM billing.collections WHERE purpose = 'RENEWAL' AND attempt_number > 1";
    assert_eq!(h.count(tries).await, 0);
    // What was used is what is owed: 500 parts of a message at 0.20.
    assert_eq!(h.balance(&id).await, "900.000000");
    shop.reconciles().await;
}

#[tokio::test]
async fn req_135_a_plan_that_is_not_sold_any_more_is_renewed_for_who_has_it() {
    let shop = Shop::start().await;
    let id = subscriber(&shop, "tok_ok").await;
    let h = &shop.h;
    h.import_as("v2", &[("  starter:", "  basic:")]).await;
    h.advance("2026-05-15T12:00:00Z").await;
    assert_eq!(renewals(&shop, &id).await, ["2360.00"]);
    assert_eq!(plan_of(h, &id).await.state(), PlanState::Active);
    h.advance("2026-06-15T12:00:00Z").await;
    assert_eq!(renewals(&shop, &id).await, ["2360.00", "2360.00"]);
}

#[tokio::test]
async fn a_cycle_that_was_paid_by_another_sum_waits_for_a_person_and_the_next_one_does_not() {
    let shop = Shop::start().await;
    let id = subscriber(&shop, "tok_ok").await;
    let h = &shop.h;
    shop.only_card(&id, "tok_wrong_amount").await;
    h.advance("2026-05-15T12:00:00Z").await;
    let request = payments::ListChargesRequest {
        account_id: id.clone(),
        ..payments::ListChargesRequest::default()
    };
    let mut client = h.operator.payments.clone();
    let charges = client.list_charges(request).await.unwrap().into_inner();
    let parked = charges.charges.first().unwrap();
    assert_eq!(parked.state(), payments::MovementState::Parked);
    let resolve = payments::ResolveMovementRequest {
        account_id: id.clone(),
        movement_id: parked.charge_id.clone(),
        outcome: payments::resolve_movement_request::Outcome::Moved.into(),
        amount: rupees("2360.01"),
        provider_movement_id: "seen-in-the-book".to_owned(),
        settle_time: Some(perdiem::connect::timestamp(instant("2026-05-15T11:00:00Z"))),
        note: "one paisa more".to_owned(),
        request_id: request_id(),
    };
    client.resolve_movement(resolve).await.unwrap();
    shop.balance_is(&id, "3360.010000").await;
    shop.card(&id, "tok_ok").await;
    h.advance("2026-06-15T12:00:00Z").await;
    assert_eq!(plan_of(h, &id).await.state(), PlanState::Active);
    assert_eq!(renewals(&shop, &id).await, ["2360.00"]);
}

#[tokio::test]
async fn req_127_a_cycle_that_is_due_is_paid_by_a_method_that_asks_its_owner() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    let id = subscriber(&shop, "tok_ok").await;
    // The same token: the card that it has.
    let card = shop.card(&id, "tok_ok").await;
    let upi = payments::AddPaymentMethodRequest {
        account_id: id.clone(),
        method_code: "UPI".to_owned(),
        provider_token: "tok_ok_upi".to_owned(),
        app_code: "PHONEPE".to_owned(),
        default_method: true,
        request_id: request_id(),
        ..payments::AddPaymentMethodRequest::default()
    };
    let upi = shop.seller.payments.clone().add_payment_method(upi).await;
    let upi = upi.unwrap().into_inner().payment_method.unwrap();
    let pay = |method: &str| {
        Kind::RenewalPayment(account::RenewalPayment {
            family_code: FAMILY.to_owned(),
            payment_method_id: method.to_owned(),
        })
    };
    let nothing = quote(&who, &id, pay(&upi.payment_method_id)).await;
    assert_eq!(
        refused(nothing),
        (Code::FailedPrecondition, "NOTHING_DUE".to_owned())
    );
    // UPI asks its owner each time: without the card that paid, the renewal can't be paid without them.
    let request = payments::RemovePaymentMethodRequest {
        account_id: id.clone(),
        payment_method_id: card,
        request_id: request_id(),
    };
    let mut client = shop.seller.payments.clone();
    client.remove_payment_method(request).await.unwrap();
    h.advance(RENEWED).await;
    assert_eq!(plan_of(h, &id).await.state(), PlanState::PastDue);
    assert!(renewals(&shop, &id).await.is_empty());
    // A method that is declined changes nothing of what is to come.
    let bad = shop.card(&id, "tok_declined_insufficient_funds").await;
    let order = bought(h, &who, &id, pay(&bad)).await.unwrap();
    assert_eq!(order.state(), account::order::State::Failed);
    let due = billing::GetSubscriptionRequest {
        account_id: id.clone(),
        family_code: FAMILY.to_owned(),
    };
    let due = h.operator.billing.clone().get_subscription(due).await;
    let due = due.unwrap().into_inner().subscription.unwrap();
    assert_eq!(due.retry_count, 1);
    assert_eq!(
        due.next_attempt_time,
        Some(perdiem::connect::timestamp(instant("2026-05-15T18:30:00Z")))
    );
    let order = bought(h, &who, &id, pay(&upi.payment_method_id))
        .await
        .unwrap();
    assert_eq!(order.state(), account::order::State::Completed);
    assert_eq!(order.total, rupees("2360.00"));
    assert!(!order.invoice_id.is_empty());
    h.advance("2026-05-16T00:00:00Z").await;
    assert_eq!(plan_of(h, &id).await.state(), PlanState::Active);
    assert_eq!(renewals(&shop, &id).await, ["2360.00"]);
    assert_eq!(
        refused(quote(&who, &id, pay(&upi.payment_method_id)).await).1,
        "NOTHING_DUE"
    );
    // The cycle day stays, and nothing is charged twice.
    h.advance("2026-06-10T00:00:00Z").await;
    assert_eq!(renewals(&shop, &id).await.len(), 1);
}

#[tokio::test]
async fn a_quote_refuses_a_method_that_the_commit_would_refuse() {
    let shop = Shop::start().await;
    let h = &shop.h;
    h.advance(BOUGHT).await;
    let id = trial_without_method(&shop).await;
    approved(h, &id).await;
    let card = method(&shop, &id, ("CARD", "tok_ok_visa"), false).await;
    let wire = payments::AddPaymentMethodRequest {
        account_id: id.clone(),
        method_code: "WIRE".to_owned(),
        request_id: request_id(),
        ..payments::AddPaymentMethodRequest::default()
    };
    let wire = shop.seller.payments.clone().add_payment_method(wire).await;
    let wire = wire.unwrap().into_inner().payment_method.unwrap();
    let wire = wire.payment_method_id;
    let other = trial_without_method(&shop).await;
    let theirs = method(&shop, &other, ("CARD", "tok_ok_mastercard"), false).await;
    let who = h.customer();
    let by = |method: &str| {
        Kind::Upgrade(account::Upgrade {
            payment_method_id: method.to_owned(),
            ..upgrade("starter", "MONTHLY", "1000.00")
        })
    };
    let unknown = "PM00000000000000000000000000000001";
    for method in [theirs.as_str(), unknown] {
        assert_eq!(
            refused(quote(&who, &id, by(method)).await),
            (Code::NotFound, "PAYMENT_METHOD_NOT_FOUND".to_owned())
        );
    }
    let not_by_wire = (Code::FailedPrecondition, "METHOD_NOT_AVAILABLE".to_owned());
    assert_eq!(refused(quote(&who, &id, by(&wire)).await), not_by_wire);
    let order = bought(h, &who, &id, by(&card)).await.unwrap();
    assert_eq!(order.state(), account::order::State::Completed);

    // Credit alone is not bought by wire either, and a method that was removed buys nothing.
    let credit = |method: &str| {
        Kind::CreditPurchase(account::CreditPurchase {
            amount: rupees("10000.00"),
            payment_method_id: method.to_owned(),
        })
    };
    assert_eq!(refused(quote(&who, &id, credit(&wire)).await), not_by_wire);
    assert_eq!(
        refused(quote(&who, &id, credit(&theirs)).await),
        (Code::NotFound, "PAYMENT_METHOD_NOT_FOUND".to_owned())
    );
    quote(&who, &id, credit(&card)).await.unwrap();
    let request = payments::RemovePaymentMethodRequest {
        account_id: id.clone(),
        payment_method_id: card.clone(),
        request_id: request_id(),
    };
    let mut client = shop.seller.payments.clone();
    client.remove_payment_method(request).await.unwrap();
    assert_eq!(
        refused(quote(&who, &id, credit(&card)).await),
        (
            Code::FailedPrecondition,
            "PAYMENT_METHOD_NOT_USABLE".to_owned()
        )
    );
}

/// A subscriber whose card has been removed.
async fn without_card(shop: &Shop) -> String {
    let id = subscriber(shop, "tok_ok").await;
    // The same token: the card that it has.
    let card = shop.card(&id, "tok_ok").await;
    let request = payments::RemovePaymentMethodRequest {
        account_id: id.clone(),
        payment_method_id: card,
        request_id: request_id(),
    };
    let mut client = shop.seller.payments.clone();
    client.remove_payment_method(request).await.unwrap();
    id
}

/// A subscriber without a payment method whose cycle of May has begun, and its open invoice.
async fn unpaid(shop: &Shop) -> (String, billing::Invoice) {
    let h = &shop.h;
    let id = without_card(shop).await;
    h.advance(RENEWED).await;
    assert_eq!(
        plan_of(h, &id).await.state(),
        PlanState::PastDue,
        "D13: it keeps its plan"
    );
    let open = h.invoices(&id).await.remove(0);
    assert_eq!(open.state(), InvoiceState::Open);
    assert_eq!(open.amount_due, rupees("2360.00"));
    assert_eq!(open.due_date, "2026-05-15");
    assert_eq!(
        periods(h, &id).await,
        days(&[
            ("INVOICE", "2026-05-15", "2026-06-15"),
            ("SUBSCRIPTION", "2026-05-15", "2026-06-15"),
        ])
    );
    shop.reconciles().await;
    (id, open)
}

/// Invoices and balances are what the entries say. The provider knows nothing of a bank transfer.
async fn balances(shop: &Shop) {
    let mut client = shop.h.operator.billing.clone();
    let answer = client.reconcile(billing::ReconcileRequest::default()).await;
    assert_eq!(
        answer.unwrap().into_inner().differences,
        Vec::<String>::new()
    );
}

/// Records a bank transfer that was received for an invoice on its first day.
async fn transferred(shop: &Shop, invoice: &billing::Invoice, of: &str) -> billing::Invoice {
    let request = billing::RecordInvoicePaymentRequest {
        invoice_id: invoice.invoice_id.clone(),
        amount: rupees(of),
        reference: format!("NEFT {of}"),
        received_date: "2026-05-15".to_owned(),
        request_id: request_id(),
    };
    let mut client = shop.h.operator_with("BILLING").billing;
    let answer = client.record_invoice_payment(request).await.unwrap();
    answer.into_inner().invoice.unwrap()
}

#[tokio::test]
async fn req_127_a_cycle_that_no_method_can_be_charged_for_is_an_open_invoice() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let (id, open) = unpaid(&shop).await;
    let issued = h.invoices(&id).await.len();
    // The retry days remind of it; none of them issues or charges anything.
    h.advance("2026-05-16T12:00:00Z").await;
    assert_eq!(told_of(h, &id, "RENEWAL_FAILED").await.len(), 2);
    assert_eq!(told_of(h, &id, "INVOICE_ISSUED").await.len(), 1);
    assert!(told_of(h, &id, "INVOICE_OVERDUE").await.is_empty());
    assert_eq!(h.invoices(&id).await.len(), issued);
    let paid = transferred(&shop, &open, "2360.00").await;
    assert_eq!(paid.state(), InvoiceState::Paid);
    // The plan goes on, and its day stays: the next cycle begins on 15 June.
    h.advance("2026-06-14T12:00:00Z").await;
    assert_eq!(plan_of(h, &id).await.state(), PlanState::Active);
    assert_eq!(get(h, &id).await.mode(), account::account::Mode::Normal);
    assert_eq!(told_of(h, &id, "RENEWAL_FAILED").await.len(), 2);
    assert_eq!(h.balance(&id).await, "1000.000000");
    h.advance("2026-06-14T18:30:00Z").await;
    assert_eq!(h.invoices(&id).await.len(), issued + 1);
    assert_eq!(
        periods(h, &id).await[0],
        days(&[("INVOICE", "2026-06-15", "2026-07-15")])[0]
    );
    assert!(renewals(&shop, &id).await.is_empty(), "nothing was charged");
    balances(&shop).await;
}

#[tokio::test]
async fn req_127_the_open_invoice_of_a_cycle_is_void_when_its_plan_ends() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let (id, open) = unpaid(&shop).await;
    h.advance("2026-05-21T12:00:00Z").await;
    assert_eq!(
        shop.invoice(&open.invoice_id).await.state(),
        InvoiceState::Open
    );
    h.advance("2026-05-22T12:00:00Z").await;
    let limited = get(h, &id).await;
    assert_eq!(limited.mode(), account::account::Mode::Limited);
    assert_eq!(limited.limit_reason, "RENEWAL_FAILED");
    let void = shop.invoice(&open.invoice_id).await;
    assert_eq!(void.state(), InvoiceState::Void);
    assert_eq!(void.amount_due, rupees("0.00"));
    assert_eq!(told_of(h, &id, "RENEWAL_FAILED").await.len(), 4);
    assert_eq!(h.balance(&id).await, "1000.000000");
    // A card that comes too late pays nothing of it.
    let card = shop.card(&id, "tok_ok").await;
    let asked = Kind::InvoicePayment(account::InvoicePayment {
        invoice_id: open.invoice_id.clone(),
        payment_method_id: card,
    });
    let late = quote(&h.customer(), &id, asked).await;
    assert_eq!(
        refused(late),
        (Code::FailedPrecondition, "NOTHING_DUE".to_owned())
    );
    h.advance("2026-07-01T00:00:00Z").await;
    assert!(renewals(&shop, &id).await.is_empty());
    shop.reconciles().await;
}

#[tokio::test]
async fn the_open_invoice_of_a_cycle_is_paid_by_a_card_that_was_added_since() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let (id, open) = unpaid(&shop).await;
    let issued = h.invoices(&id).await.len();
    shop.card(&id, "tok_ok").await;
    h.advance("2026-05-16T12:00:00Z").await;
    assert_eq!(renewals(&shop, &id).await, ["2360.00"]);
    assert_eq!(plan_of(h, &id).await.state(), PlanState::Active);
    let paid = shop.invoice(&open.invoice_id).await;
    assert_eq!(paid.state(), InvoiceState::Paid);
    assert_eq!(paid.number, open.number);
    assert_eq!(paid.paid_by_charge, rupees("2360.00"));
    assert_eq!(h.invoices(&id).await.len(), issued, "it is the only one");
    assert_eq!(h.balance(&id).await, "1000.000000");
    shop.reconciles().await;
}

#[tokio::test]
async fn what_is_left_of_the_open_invoice_of_a_cycle_is_paid_by_order_and_not_charged_before() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let (id, open) = unpaid(&shop).await;
    let part = transferred(&shop, &open, "360.00").await;
    assert_eq!(part.amount_due, rupees("2000.00"));
    let card = shop.card(&id, "tok_ok").await;
    h.advance("2026-05-16T12:00:00Z").await;
    assert!(renewals(&shop, &id).await.is_empty());
    assert_eq!(plan_of(h, &id).await.state(), PlanState::PastDue);
    let asked = Kind::InvoicePayment(account::InvoicePayment {
        invoice_id: open.invoice_id.clone(),
        payment_method_id: card,
    });
    let order = bought(h, &h.customer(), &id, asked).await.unwrap();
    assert_eq!(order.state(), account::order::State::Completed);
    assert_eq!(order.total, rupees("2000.00"));
    h.advance("2026-06-10T00:00:00Z").await;
    assert_eq!(plan_of(h, &id).await.state(), PlanState::Active);
    assert!(renewals(&shop, &id).await.is_empty());
    assert_eq!(h.balance(&id).await, "1000.000000");
    balances(&shop).await;
}

#[tokio::test]
async fn a_cycle_whose_open_invoice_is_voided_ends_its_plan() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let (id, open) = unpaid(&shop).await;
    let request = billing::VoidInvoiceRequest {
        invoice_id: open.invoice_id.clone(),
        reason: "an error".to_owned(),
        request_id: request_id(),
    };
    let mut client = h.operator_with("BILLING").billing;
    client.void_invoice(request).await.unwrap();
    shop.card(&id, "tok_ok").await;
    h.advance("2026-05-15T12:00:00Z").await;
    assert_eq!(plan_of(h, &id).await.state(), PlanState::Ended);
    h.advance("2026-06-01T00:00:00Z").await;
    assert!(renewals(&shop, &id).await.is_empty());
    shop.reconciles().await;
}

#[tokio::test]
async fn the_open_invoice_of_a_cycle_is_not_settled_while_its_plan_is_being_ended() {
    let shop = Shop::start().await;
    let (id, open) = unpaid(&shop).await;
    // As it is for as long as `plan` does not answer: its end is asked for, and the invoice is not void yet.
    let ending =
        "UPDATE billing.subscriptions SET state = 'ENDING', due_at = due_at + interval '1 year'";
    sqlx::query(ending).execute(&shop.h.db).await.unwrap();
    let pay = billing::RecordInvoicePaymentRequest {
        invoice_id: open.invoice_id.clone(),
        amount: rupees("2360.00"),
        reference: "NEFT".to_owned(),
        received_date: "2026-05-15".to_owned(),
        request_id: request_id(),
    };
    let credit = billing::CreateCreditNoteRequest {
        invoice_id: open.invoice_id.clone(),
        amount: rupees("2360.00"),
        reason: "an error".to_owned(),
        request_id: request_id(),
        refund_to_charge: false,
    };
    let mut client = shop.h.operator_with("BILLING").billing;
    let paid = client.record_invoice_payment(pay.clone()).await;
    assert_eq!(refused(paid).1, "PAYMENT_UNDER_WAY");
    let credited = client.create_credit_note(credit).await;
    assert_eq!(refused(credited).1, "PAYMENT_UNDER_WAY");
    let open = shop.invoice(&open.invoice_id).await;
    assert_eq!(open.state(), InvoiceState::Open);
    assert_eq!(open.amount_due, rupees("2360.00"));
    // Where the plan goes on, the same request is carried out.
    let on =
        "UPDATE billing.subscriptions SET state = 'PAST_DUE', due_at = due_at - interval '1 year'";
    sqlx::query(on).execute(&shop.h.db).await.unwrap();
    client.record_invoice_payment(pay).await.unwrap();
    shop.h.advance("2026-05-16T12:00:00Z").await;
    assert_eq!(plan_of(&shop.h, &id).await.state(), PlanState::Active);
    balances(&shop).await;
}

#[tokio::test]
async fn req_133_a_cycle_that_nobody_could_charge_leaves_the_trial_s_credit() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = without_card(&shop).await;
    let trial = billing::GrantCreditRequest {
        account_id: id.clone(),
        kind: billing::lot::Kind::Trial.into(),
        amount: Some(Amount {
            currency_code: "INR".to_owned(),
            amount: "400.00".to_owned(),
        }),
        reason: "trial".to_owned(),
        request_id: request_id(),
        ..billing::GrantCreditRequest::default()
    };
    let mut client = h.operator.billing.clone();
    client.grant_credit(trial).await.unwrap();
    h.advance(RENEWED).await;
    assert_eq!(plan_of(h, &id).await.state(), PlanState::PastDue);
    assert_eq!(h.balance(&id).await, "1400.000000");
    shop.reconciles().await;
}

/// The days of the newest invoice, and of its lines: kind, first day, day after the last.
async fn periods(h: &Harness, id: &str) -> Vec<(String, String, String)> {
    let invoice = h.invoices(id).await.remove(0);
    let whole = (
        "INVOICE".to_owned(),
        invoice.period_start_date,
        invoice.period_end_date,
    );
    let lines = invoice.lines.into_iter();
    let lines = lines.map(|it| (it.kind_code, it.start_date, it.end_date));
    std::iter::once(whole).chain(lines).collect()
}

fn days(expected: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    let owned = |(kind, from, until): &(&str, &str, &str)| {
        ((*kind).to_owned(), (*from).to_owned(), (*until).to_owned())
    };
    expected.iter().map(owned).collect()
}

#[tokio::test]
async fn the_invoice_of_a_plan_shows_the_cycle_that_is_paid_for() {
    let shop = Shop::start().await;
    let h = &shop.h;
    h.advance(BOUGHT).await;
    let id = trial(&shop, "tok_ok").await;
    approved(h, &id).await;
    let asked = Kind::Upgrade(upgrade("starter", "QUARTERLY", "1000.00"));
    bought(h, &h.customer(), &id, asked).await.unwrap();
    assert_eq!(
        periods(h, &id).await,
        days(&[
            ("INVOICE", "2026-04-15", "2026-07-15"),
            ("SUBSCRIPTION", "2026-04-15", "2026-07-15"),
            ("CREDITS", "2026-04-15", "2026-04-16"),
        ])
    );
    // A cycle of May that is paid three days late is that of May.
    let late = subscriber(&shop, "tok_ok").await;
    shop.only_card(&late, "tok_declined_insufficient_funds")
        .await;
    h.advance("2026-05-16T12:00:00Z").await;
    assert_eq!(plan_of(h, &late).await.state(), PlanState::PastDue);
    shop.only_card(&late, "tok_ok").await;
    h.advance("2026-05-18T12:00:00Z").await;
    assert_eq!(renewals(&shop, &late).await, ["2360.00"]);
    assert_eq!(
        periods(h, &late).await,
        days(&[
            ("INVOICE", "2026-05-15", "2026-06-15"),
            ("SUBSCRIPTION", "2026-05-15", "2026-06-15"),
        ])
    );
}

#[tokio::test]
async fn the_invoice_of_a_difference_shows_the_rest_of_the_running_cycle() {
    let shop = Shop::start().await;
    let h = &shop.h;
    h.import_as(
        "v2",
        &[(
            "- {when: {direction: UPGRADE}, effect: NEXT_CYCLE}",
            "- {when: {direction: UPGRADE}, effect: IMMEDIATE, charge: PRORATED_DIFFERENCE}",
        )],
    )
    .await;
    let id = subscriber(&shop, "tok_ok").await;
    h.advance("2026-04-20T06:00:00Z").await;
    let order = bought(h, &h.customer(), &id, change("growth", "")).await;
    assert_eq!(order.unwrap().state(), account::order::State::Completed);
    assert_eq!(
        periods(h, &id).await,
        days(&[
            ("INVOICE", "2026-04-20", "2026-05-15"),
            ("SUBSCRIPTION", "2026-04-20", "2026-05-15"),
        ])
    );
}

#[tokio::test]
async fn req_124_credit_is_the_same_after_two_years_of_renewals_and_two_changes_of_plan() {
    let shop = Shop::start().await;
    let id = subscriber(&shop, "tok_ok").await;
    let h = &shop.h;
    shop.texts(&id, BOUGHT, "1500").await;
    assert_eq!(h.balance(&id).await, "700.000000");
    let first = chrono::NaiveDate::from_ymd_opt(2026, 5, 16).unwrap();
    for month in 0..24 {
        let to = match month {
            5 => Some("growth"),
            12 => Some("starter"),
            _ => None,
        };
        if let Some(plan) = to {
            let order = bought(h, &h.customer(), &id, change(plan, "")).await;
            assert_eq!(order.unwrap().state(), account::order::State::Completed);
        }
        let day = first + chrono::Months::new(month);
        h.advance(&format!("{day}T00:00:00Z")).await;
    }
    let paid = renewals(&shop, &id).await;
    assert_eq!(paid.len(), 24);
    let dearer = paid.iter().filter(|it| *it != "2360.00").count();
    assert_eq!(dearer, 7, "of growth");
    assert_eq!(h.balance(&id).await, "700.000000");
    shop.reconciles().await;
}

#[tokio::test]
async fn req_129_an_upgrade_whose_payment_bounces_fails_and_changes_nothing() {
    let shop = Shop::start().await;
    let h = &shop.h;
    h.advance(BOUGHT).await;
    let id = trial(&shop, "tok_slow_bounced").await;
    approved(h, &id).await;
    let before = h.balance(&id).await;
    let asked = Kind::Upgrade(upgrade("starter", "MONTHLY", "1000.00"));
    let order = bought(h, &h.customer(), &id, asked).await.unwrap();
    assert_eq!(order.state(), account::order::State::AwaitingSettlement);
    h.advance("2026-04-18T12:00:00Z").await;
    let request = account::GetOrderRequest {
        order_id: order.order_id,
    };
    let order = h.customer().account.get_order(request).await.unwrap();
    let order = order.into_inner().order.unwrap();
    assert_eq!(order.state(), account::order::State::Failed);
    assert_eq!(order.failure_reason, "PAYMENT_DECLINED");
    assert_eq!(get(h, &id).await.r#type(), account::account::Type::Trial);
    assert_eq!(h.balance(&id).await, before);
    assert!(h.invoices(&id).await.is_empty());
    shop.reconciles().await;
}

#[tokio::test]
async fn req_124_req_125_credit_outlasts_renewals_and_lapses_when_no_plan_is_paid_for() {
    let shop = Shop::start().await;
    let (id, other) = (
        subscriber(&shop, "tok_ok").await,
        subscriber(&shop, "tok_ok").await,
    );
    let h = &shop.h;
    let mut back = h.customer().account;
    for account_id in [&id, &other] {
        let request = account::CancelSubscriptionRequest {
            account_id: account_id.clone(),
            family_code: FAMILY.to_owned(),
            request_id: request_id(),
        };
        back.cancel_subscription(request).await.unwrap();
    }
    let expiries = async |id: &str| {
        let request = billing::GetBalanceRequest {
            account_id: id.to_owned(),
            read_time: None,
        };
        let mut client = h.operator.billing.clone();
        let answer = client.get_balance(request).await.unwrap().into_inner();
        let lots = answer.lots.into_iter();
        lots.map(|lot| lot.expire_time).collect::<Vec<_>>()
    };
    h.advance("2026-04-20T00:00:00Z").await;
    // 90 days after 15 May 00:00 in India.
    let lapse = Some(perdiem::connect::timestamp(instant("2026-08-12T18:30:00Z")));
    assert_eq!(expiries(&id).await, [lapse]);
    let undo = account::UndoCancellationRequest {
        account_id: id.clone(),
        family_code: FAMILY.to_owned(),
        request_id: request_id(),
    };
    back.undo_cancellation(undo.clone()).await.unwrap();
    h.advance("2026-04-20T00:00:01Z").await;
    assert_eq!(expiries(&id).await, [None], "undone, it lasts");
    let request = account::CancelSubscriptionRequest {
        account_id: id.clone(),
        family_code: FAMILY.to_owned(),
        request_id: request_id(),
    };
    back.cancel_subscription(request).await.unwrap();

    // On the 89th day a new plan gives it back.
    h.advance("2026-08-11T18:30:00Z").await;
    assert_eq!(get(h, &id).await.mode(), account::account::Mode::Limited);
    assert_eq!(h.balance(&id).await, "1000.000000");
    let asked = Kind::Upgrade(upgrade("starter", "MONTHLY", "1000.00"));
    bought(h, &h.customer(), &id, asked).await.unwrap();
    h.advance("2026-08-13T00:00:00Z").await;
    assert_eq!(h.balance(&id).await, "2000.000000");
    assert_eq!(expiries(&id).await, [None, None]);
    // On the 90th it expires, with an entry.
    assert_eq!(h.balance(&other).await, "0.000000");
    let expired = "SELECT count(*) FROM billing.ledger_entries WHERE reason = 'EXPIRED' AND amount_micros = 1000000000";
    assert_eq!(h.count(expired).await, 1);
    // Both were warned: once of the end of the plan, though cancelled twice, and once of the credit's.
    let (ends, lapses) = ("2026-05-14T18:30:00+00:00", "2026-08-12T18:30:00+00:00");
    for account in [&id, &other] {
        let warned = told_of(h, account, "PLAN_ENDING").await;
        let at = "2026-05-11T18:30:00+00:00".to_owned();
        assert_eq!(warned, [(at, ends.to_owned())]);
        let warned = told_of(h, account, "CREDIT_EXPIRING").await;
        let at = "2026-08-05T18:30:00+00:00".to_owned();
        assert_eq!(warned, [(at, lapses.to_owned())]);
        assert!(told_of(h, account, "TRIAL_ENDING").await.is_empty());
    }
}

#[tokio::test]
async fn req_127_a_success_in_between_renews_with_the_cycle_day_unchanged() {
    let shop = Shop::start().await;
    let h = &shop.h;
    h.advance("2026-03-31T04:00:00Z").await;
    let id = trial(&shop, "tok_ok").await;
    approved(h, &id).await;
    let asked = Kind::Upgrade(upgrade("starter", "MONTHLY", "1000.00"));
    bought(h, &h.customer(), &id, asked).await.unwrap();
    shop.only_card(&id, "tok_declined_insufficient_funds").await;
    h.advance("2026-05-01T06:00:00Z").await;
    assert_eq!(plan_of(h, &id).await.state(), PlanState::PastDue);
    shop.card(&id, "tok_ok").await;
    h.advance("2026-05-04T06:00:00Z").await;
    assert_eq!(plan_of(h, &id).await.state(), PlanState::Active);
    // 31 March, 30 April, 31 May: always from the anchor.
    assert_eq!(plan_of(h, &id).await.next_billing_date, "2026-05-31");
    assert_eq!(renewals(&shop, &id).await.len(), 1);
    h.advance("2026-05-31T12:00:00Z").await;
    assert_eq!(renewals(&shop, &id).await.len(), 2);
    assert_eq!(plan_of(h, &id).await.next_billing_date, "2026-06-30");
}

#[tokio::test]
async fn req_135_a_renewal_keeps_the_price_of_its_version() {
    let shop = Shop::start().await;
    let id = subscriber(&shop, "tok_ok").await;
    let h = &shop.h;
    h.import_as(
        "v2",
        &[(
            "monthly_minimum: \"2000.00\"",
            "monthly_minimum: \"2500.00\"",
        )],
    )
    .await;
    let other = trial(&shop, "tok_ok").await;
    approved(h, &other).await;
    let asked = Kind::Upgrade(upgrade("starter", "MONTHLY", "1000.00"));
    let order = bought(h, &h.customer(), &other, asked).await.unwrap();
    assert_eq!(order.total, rupees("4130.00"));
    h.advance(RENEWED).await;
    assert_eq!(renewals(&shop, &id).await, ["2360.00"]);
    assert_eq!(renewals(&shop, &other).await, ["2950.00"]);
}

#[tokio::test]
async fn req_134_an_upgrade_that_is_immediate_by_data_costs_its_difference_today() {
    let shop = Shop::start().await;
    let id = subscriber(&shop, "tok_ok").await;
    let h = &shop.h;
    let rule = "- {when: {direction: UPGRADE}, effect: NEXT_CYCLE}";
    let at_once = "- {when: {direction: UPGRADE}, effect: IMMEDIATE, charge: PRORATED_DIFFERENCE}";
    h.import_as("v2", &[(rule, at_once)]).await;
    h.advance("2026-04-20T06:00:00Z").await;
    let order = bought(h, &h.customer(), &id, change("growth", ""))
        .await
        .unwrap();
    // 8,000.00 for 25 of 30 days, and 18 %.
    assert_eq!(order.total, rupees("7866.67"));
    assert_eq!(order.state(), account::order::State::Completed);
    assert_eq!(plan_of(h, &id).await.plan_code, "growth");
    h.advance(RENEWED).await;
    assert_eq!(
        renewals(&shop, &id).await,
        ["11800.00"],
        "the day of the cycle stays"
    );
}

#[tokio::test]
async fn a_family_whose_upgrades_cost_their_difference_charges_it_at_once() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let rule = "- {when: {direction: UPGRADE}, effect: NEXT_CYCLE}";
    let at_once = "- {when: {direction: UPGRADE}, effect: IMMEDIATE}";
    let family = "proration: {mode: NONE, UPGRADE: PRORATED_DIFFERENCE}";
    h.import_as(
        "v2",
        &[(rule, at_once), ("proration: {mode: NONE}", family)],
    )
    .await;
    let id = subscriber(&shop, "tok_ok").await;
    h.advance("2026-04-20T06:00:00Z").await;
    let order = bought(h, &h.customer(), &id, change("growth", "")).await;
    // 8,000.00 for 25 of 30 days, and 18 %.
    assert_eq!(order.unwrap().total, rupees("7866.67"));
    assert_eq!(plan_of(h, &id).await.plan_code, "growth");
}

#[tokio::test]
async fn req_094_req_129_a_contract_is_offered_accepted_and_paid_by_cheque() {
    let shop = Shop::start().await;
    let h = &shop.h;
    h.advance(BOUGHT).await;
    let id = trial(&shop, "tok_ok").await;
    approved(h, &id).await;
    let asked = || Kind::Upgrade(upgrade("enterprise", "ANNUAL", "50000.00"));
    let status = quote(&h.customer(), &id, asked()).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status)),
        (Code::FailedPrecondition, "CONTACT_SALES".to_owned())
    );
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
        ],
        expire_time: Some(perdiem::connect::timestamp(instant("2026-05-01T00:00:00Z"))),
        request_id: request_id(),
    };
    let offer = h
        .operator_with("SALES")
        .plan
        .create_contract_offer(request)
        .await;
    let offer = offer.unwrap().into_inner().contract_offer.unwrap();
    assert_eq!(
        refused(quote(&h.customer(), &id, asked()).await).1,
        "CONTACT_SALES"
    );
    let request = plan::AcceptContractOfferRequest {
        offer_id: offer.offer_id,
        account_id: id.clone(),
        request_id: request_id(),
    };
    shop.seller
        .plan
        .clone()
        .accept_contract_offer(request)
        .await
        .unwrap();
    let request = payments::AddPaymentMethodRequest {
        account_id: id.clone(),
        method_code: "CHEQUE".to_owned(),
        request_id: request_id(),
        ..payments::AddPaymentMethodRequest::default()
    };
    let added = shop
        .seller
        .payments
        .clone()
        .add_payment_method(request)
        .await;
    let method = added.unwrap().into_inner().payment_method.unwrap();
    let by_cheque = Kind::Upgrade(account::Upgrade {
        payment_method_id: method.payment_method_id,
        ..upgrade("enterprise", "ANNUAL", "50000.00")
    });
    let order = bought(h, &h.customer(), &id, by_cheque).await.unwrap();
    assert_eq!(order.state(), account::order::State::AwaitingSettlement);
    // 12 × 50,000.00 less 15 %, 50,000.00 credit, and 18 %.
    assert_eq!(order.total, rupees("660800.00"));
    assert_eq!(get(h, &id).await.r#type(), account::account::Type::Trial);
    // Another upgrade has to wait for it.
    let second = bought(
        h,
        &h.customer(),
        &id,
        Kind::Upgrade(upgrade("starter", "MONTHLY", "1000.00")),
    )
    .await;
    assert_eq!(refused(second).1, "ORDER_UNDER_WAY");

    // What the catalogue becomes meanwhile changes nothing that was quoted.
    h.import_as(
        "v2",
        &[(
            "monthly_minimum: \"2000.00\"",
            "monthly_minimum: \"2500.00\"",
        )],
    )
    .await;
    let charges = payments::ListChargesRequest {
        account_id: id.clone(),
        ..payments::ListChargesRequest::default()
    };
    let charges = shop.seller.payments.clone().list_charges(charges).await;
    let charge = charges.unwrap().into_inner().charges.remove(0);
    let request = payments::SettleChargeRequest {
        charge_id: charge.charge_id,
        outcome: payments::settle_charge_request::Outcome::Settled.into(),
        reference: "cheque 42".to_owned(),
        account_id: id.clone(),
        amount: charge.amount,
        settle_time: Some(perdiem::connect::timestamp(instant(BOUGHT))),
        request_id: request_id(),
    };
    h.operator_with("BILLING")
        .payments
        .settle_charge(request)
        .await
        .unwrap();
    h.advance("2026-04-22T00:00:00Z").await;
    let now = get(h, &id).await;
    assert_eq!(now.r#type(), account::account::Type::Full);
    let current = plan_of(h, &id).await;
    assert_eq!(
        (
            current.plan_code.as_str(),
            current.billing_cycle_code.as_str()
        ),
        ("enterprise", "ANNUAL")
    );
    assert_eq!(h.balance(&id).await, "50000.000000");
    let entitled = plan::ListEntitlementsRequest {
        account_id: id.clone(),
    };
    let entitled = h.operator.plan.clone().list_entitlements(entitled).await;
    let entitled = entitled.unwrap().into_inner().entitlements;
    let of = |code: &str| entitled.iter().find(|it| it.feature_code == code).unwrap();
    assert_eq!(of("recording_days").value, "365");
    assert_eq!(of("api_rate_limit").figure, "2000");
}

#[tokio::test]
async fn a_trial_that_ends_is_limited_and_its_upgrade_restores_it() {
    let shop = Shop::start().await;
    let h = &shop.h;
    h.advance(BOUGHT).await;
    let id = trial(&shop, "tok_ok").await;
    approved(h, &id).await;
    // Its owner is warned three days before.
    h.advance("2026-04-19T03:59:59Z").await;
    assert!(told_of(h, &id, "TRIAL_ENDING").await.is_empty());
    h.advance("2026-04-22T03:59:59Z").await;
    assert_eq!(get(h, &id).await.mode(), account::account::Mode::Normal);
    h.advance("2026-04-22T04:00:00Z").await;
    let warned = told_of(h, &id, "TRIAL_ENDING").await;
    let ends = "2026-04-22T04:00:00+00:00".to_owned();
    assert_eq!(warned, [("2026-04-19T04:00:00+00:00".to_owned(), ends)]);
    let ended = get(h, &id).await;
    assert_eq!(ended.mode(), account::account::Mode::Limited);
    assert_eq!(ended.limit_reason, "TRIAL_EXPIRED");
    let asked = Kind::Upgrade(upgrade("starter", "QUARTERLY", "1000.00"));
    let order = bought(h, &h.customer(), &id, asked).await.unwrap();
    assert_eq!(
        order.total,
        rupees("7906.00"),
        "5,700.00, 1,000.00 and 18 %"
    );
    assert_eq!(get(h, &id).await.mode(), account::account::Mode::Normal);
    h.advance("2026-07-22T00:00:00Z").await;
    assert_eq!(renewals(&shop, &id).await, ["6726.00"]);
    assert_eq!(plan_of(h, &id).await.next_billing_date, "2026-10-22");
}
