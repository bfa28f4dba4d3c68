//! What a key of the catalogue does at two of its values, as its callers see it (D31). `data/catalogue-keys.csv` names
//! the test of each key; those of keys with stories of their own stand with these stories.

use perdiem::connect::request_id;
use proto::account::v1 as account;
use proto::account::v1::authorize_request::Capability;
use proto::account::v1::create_order_request::Kind;
use proto::account::v1::number_purchase::Purpose;
use proto::account::v1::order::State;
use tonic::{Code, Status};

use crate::capabilities::may;
use crate::closing::close;
use crate::deletion::receipt;
use crate::harness::Harness;
use crate::money::{Shop, rated};
use crate::purchases::whatsapp;
use crate::subscriptions::{
    DOCUMENTS, approved, get, quote, refused, rupees, submit, subscriber, trial, upgrade,
};

/// A trial that may be upgraded.
async fn upgradable(shop: &Shop) -> String {
    let id = trial(shop, "tok_ok").await;
    approved(&shop.h, &id).await;
    id
}

fn starter(cycle: &str, credit: &str) -> Kind {
    Kind::Upgrade(upgrade("starter", cycle, credit))
}

/// The price of the plan in a quote.
fn price(order: &account::Order) -> String {
    let plan = order.lines.iter().find(|it| it.kind_code == "SUBSCRIPTION");
    plan.unwrap().amount.clone().unwrap().amount
}

/// Commits an order after as many confirmations.
async fn committed(
    h: &Harness,
    order: &account::Order,
    confirmations: i32,
) -> Result<account::Order, Status> {
    let who = h.customer();
    for _ in 0..confirmations {
        h.confirm(&who, order).await?;
    }
    h.commit(&who, order).await
}

#[tokio::test]
async fn a_quote_holds_for_the_minutes_of_its_family() {
    let h = Harness::start().await;
    let who = h.customer();
    let (long, short) = (h.account().await, h.account().await);
    let order = h.quote(&who, &long, "business").await.unwrap();
    h.advance("2026-03-01T12:20:00Z").await;
    let done = committed(&h, &order, 2).await.unwrap();
    assert_eq!(done.state(), State::Completed);
    h.import_as("v2", &[("quote_ttl_minutes: 30", "quote_ttl_minutes: 10")])
        .await;
    let order = h.quote(&who, &short, "business").await.unwrap();
    h.advance("2026-03-01T12:40:00Z").await;
    let late = committed(&h, &order, 2).await;
    assert_eq!(refused(late), (Code::Aborted, "REQUOTE".to_owned()));
}

#[tokio::test]
async fn an_order_is_confirmed_as_often_as_its_family_says() {
    let h = Harness::start().await;
    let who = h.customer();
    let (twice, once) = (h.account().await, h.account().await);
    let order = h.quote(&who, &twice, "business").await.unwrap();
    assert_eq!(order.confirmations_required, 2);
    let early = refused(committed(&h, &order, 1).await);
    assert_eq!(early.1, "CONFIRMATION_MISSING");
    let fewer = ("confirmations_required: 2", "confirmations_required: 1");
    h.import_as("v2", &[fewer]).await;
    let order = h.quote(&who, &once, "business").await.unwrap();
    assert_eq!(order.confirmations_required, 1);
    let done = committed(&h, &order, 1).await.unwrap();
    assert_eq!(done.state(), State::Completed);
}

#[tokio::test]
async fn a_trial_has_the_credit_that_its_plan_says() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = trial(&shop, "tok_ok").await;
    assert_eq!(h.balance(&id).await, "500.000000");
    let more = ("credit: \"500.00\", max_w", "credit: \"700.00\", max_w");
    h.import_as("v2", &[more]).await;
    let id = trial(&shop, "tok_ok").await;
    assert_eq!(h.balance(&id).await, "700.000000");
}

#[tokio::test]
async fn a_plan_begins_with_at_least_the_credit_that_it_says() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    let id = upgradable(&shop).await;
    quote(&who, &id, starter("MONTHLY", "1000.00"))
        .await
        .unwrap();
    let least = "minimum_initial_credit: \"1000.00\"";
    let more = "minimum_initial_credit: \"1500.00\"";
    h.import_as("v2", &[(least, more)]).await;
    let poor = quote(&who, &id, starter("MONTHLY", "1000.00")).await;
    assert_eq!(
        refused(poor),
        (Code::InvalidArgument, "BELOW_MINIMUM".to_owned())
    );
    quote(&who, &id, starter("MONTHLY", "1500.00"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_cycle_has_the_discount_that_its_family_gives() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    let id = upgradable(&shop).await;
    let quarter = || starter("QUARTERLY", "1000.00");
    let order = quote(&who, &id, quarter()).await.unwrap();
    assert_eq!(price(&order), "5700.00", "6,000.00 less 5 %");
    let more = ("discount_bps: 500}", "discount_bps: 1000}");
    h.import_as("v2", &[more]).await;
    let order = quote(&who, &id, quarter()).await.unwrap();
    assert_eq!(price(&order), "5400.00", "6,000.00 less 10 %");
}

#[tokio::test]
async fn a_sale_is_taxed_by_the_rate_of_its_country() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    let id = upgradable(&shop).await;
    let month = || starter("MONTHLY", "1000.00");
    let order = quote(&who, &id, month()).await.unwrap();
    assert_eq!(order.total, rupees("3540.00"), "3,000.00 and 18 %");
    h.import_as("v2", &[("rate_bps: 1800", "rate_bps: 1200")])
        .await;
    let order = quote(&who, &id, month()).await.unwrap();
    assert_eq!(order.total, rupees("3360.00"), "3,000.00 and 12 %");
}

#[tokio::test]
async fn a_quote_warns_of_what_the_profile_advises_to_have_done() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    let id = upgradable(&shop).await;
    let open = "INTEGRATION_TESTED_UNCHECKED".to_owned();
    // FLOWS_WORKING is done.
    let month = || starter("MONTHLY", "1000.00");
    let order = quote(&who, &id, month()).await.unwrap();
    assert!(order.warnings.contains(&open), "{:?}", order.warnings);
    let less = "advisory_checklist: [FLOWS_WORKING]";
    let shipped = "advisory_checklist: [INTEGRATION_TESTED, FLOWS_WORKING]";
    h.import_as("v2", &[(shipped, less)]).await;
    let order = quote(&who, &id, month()).await.unwrap();
    assert!(!order.warnings.contains(&open), "{:?}", order.warnings);
}

#[tokio::test]
async fn numbers_and_add_ons_cost_by_the_month_what_the_catalogue_says() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    let landline = || {
        Kind::NumberPurchase(account::NumberPurchase {
            purpose: Purpose::Production.into(),
            number_type_code: "landline".to_owned(),
            country_code: "IN".to_owned(),
            number: String::new(),
        })
    };
    let id = subscriber(&shop, "tok_ok").await;
    let number = quote(&who, &id, landline()).await.unwrap();
    let add_on = quote(&who, &id, whatsapp()).await.unwrap();
    assert_eq!(number.total, rupees("500.00"));
    assert_eq!(add_on.total, rupees("999.00"));
    let other = [
        ("landline: \"500.00\"", "landline: \"600.00\""),
        ("monthly: \"999.00\"", "monthly: \"499.00\""),
    ];
    h.import_as("v2", &other).await;
    // Whoever has a plan keeps its terms.
    let id = subscriber(&shop, "tok_ok").await;
    let number = quote(&who, &id, landline()).await.unwrap();
    let add_on = quote(&who, &id, whatsapp()).await.unwrap();
    assert_eq!(number.total, rupees("600.00"));
    assert_eq!(add_on.total, rupees("499.00"));
}

#[tokio::test]
async fn calls_and_messages_cost_what_the_rates_say() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = trial(&shop, "tok_ok").await;
    let at = "2026-03-01T12:00:00Z";
    let used = |name: &str| {
        vec![
            rated(&format!("a call {name}"), &id, "voice-outbound", at, "90"),
            rated(&format!("a text {name}"), &id, "sms-outbound", at, "10"),
        ]
    };
    h.record(used("as shipped")).await.unwrap();
    // 2 pulses of 60 seconds at 0.50, and 10 parts at 0.20.
    assert_eq!(h.balance(&id).await, "497.000000");
    let voice = "pulse_seconds: 60, per_pulse: \"0.50\"";
    let shorter = "pulse_seconds: 30, per_pulse: \"0.40\"";
    let text = ("per_part: \"0.20\"", "per_part: \"0.30\"");
    h.import_as("v2", &[(voice, shorter), text]).await;
    h.record(used("later")).await.unwrap();
    // 3 pulses of 30 seconds at 0.40, and 10 parts at 0.30.
    assert_eq!(h.balance(&id).await, "492.800000");
}

/// Papers of a type and size.
async fn papers(h: &Harness, id: &str, kind: &str, bytes: i64) -> Result<(), Status> {
    let document = |code: &&str| account::KycDocument {
        document_code: (*code).to_owned(),
        file_name: "a scan".to_owned(),
        file_type_code: kind.to_owned(),
        size_bytes: bytes,
        digest: "ab".repeat(32),
    };
    let request = account::SubmitKycRequest {
        account_id: id.to_owned(),
        country_code: "IN".to_owned(),
        legal_name: "Chai Pvt. Ltd.".to_owned(),
        signatory_is_director: true,
        documents: DOCUMENTS.iter().map(document).collect(),
        request_id: request_id(),
    };
    let answer = h.customer().account.submit_kyc(request).await;
    answer.map(|_| ())
}

#[tokio::test]
async fn papers_are_taken_of_the_kinds_types_and_sizes_that_the_catalogue_lists() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let invalid = (Code::InvalidArgument, "INVALID_FIELD".to_owned());
    let missing = (Code::InvalidArgument, "DOCUMENT_MISSING".to_owned());
    let (large, small) = (2_000_000, 1_000_000);
    let id = trial(&shop, "tok_ok").await;
    assert_eq!(refused(submit(h, &id, &DOCUMENTS[..3]).await), missing);
    papers(h, &id, "PDF", large).await.unwrap();

    let shipped = "types: [PDF, JPG, PNG], max_mb: 5";
    let lighter = "types: [PDF, JPG, PNG], max_mb: 1";
    h.import_as("v2", &[(shipped, lighter)]).await;
    let id = trial(&shop, "tok_ok").await;
    assert_eq!(refused(papers(h, &id, "PDF", large).await), invalid);
    papers(h, &id, "PDF", small).await.unwrap();

    let images = "types: [JPG, PNG], max_mb: 5";
    h.import_as("v3", &[(shipped, images)]).await;
    let id = trial(&shop, "tok_ok").await;
    assert_eq!(refused(papers(h, &id, "PDF", small).await), invalid);
    papers(h, &id, "PNG", large).await.unwrap();

    let fewer = ("SIGNATORY_ID, BUSINESS_PAN, ", "SIGNATORY_ID, ");
    h.import_as("v4", &[fewer]).await;
    let id = trial(&shop, "tok_ok").await;
    submit(h, &id, &DOCUMENTS[..3]).await.unwrap();
}

#[tokio::test]
async fn papers_are_reviewed_within_the_business_days_of_the_catalogue() {
    let shop = Shop::start().await;
    let h = &shop.h;
    // The first of March is a Sunday.
    let id = trial(&shop, "tok_ok").await;
    let kyc = submit(h, &id, &DOCUMENTS).await.unwrap();
    assert_eq!(kyc.review_due_date, "2026-03-04");
    let longer = ("{standard: 3}", "{standard: 5}");
    h.import_as("v2", &[longer]).await;
    let id = trial(&shop, "tok_ok").await;
    let kyc = submit(h, &id, &DOCUMENTS).await.unwrap();
    assert_eq!(kyc.review_due_date, "2026-03-06");
}

#[tokio::test]
async fn data_are_deleted_after_the_days_of_the_profile() {
    let h = Harness::start().await;
    let who = h.customer();
    let (sooner, later) = (h.account().await, h.account().await);
    close(&who, &sooner).await.unwrap();
    h.import_as("v2", &[("data_purge_days: 30", "data_purge_days: 40")])
        .await;
    close(&who, &later).await.unwrap();
    h.advance("2026-03-31T12:00:00Z").await;
    receipt(&h, &sooner).await.unwrap();
    assert_eq!(refused(receipt(&h, &later).await).0, Code::NotFound);
    h.advance("2026-04-10T12:00:00Z").await;
    receipt(&h, &later).await.unwrap();
}

#[tokio::test]
async fn texts_wait_for_a_dlt_registration_in_the_countries_of_the_profile() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = subscriber(&shop, "tok_ok").await;
    let (india, singapore) = ("+919876543210", "+6598765432");
    let text = Capability::SmsOut;
    assert_eq!(may(h, &id, text, india).await, "DLT_REQUIRED");
    assert_eq!(may(h, &id, text, singapore).await, "ALLOW");
    let shipped = "required_for_sms_to: [IN]";
    h.import_as("v2", &[(shipped, "required_for_sms_to: [SG]")])
        .await;
    assert_eq!(may(h, &id, text, india).await, "ALLOW");
    assert_eq!(may(h, &id, text, singapore).await, "DLT_REQUIRED");
}

#[tokio::test]
async fn an_account_has_the_currency_and_the_families_of_its_profile() {
    let h = Harness::start().await;
    for (profile, currency, has, lacks) in [
        ("global", "USD", "SUPPORT", "PLATFORM"),
        ("india", "INR", "PLATFORM", "SUPPORT"),
    ] {
        let id = h.account_of(profile, false).await;
        assert_eq!(get(&h, &id).await.currency_code, currency);
        let plan = async |family: &str| {
            let request = account::GetCurrentPlanRequest {
                account_id: id.clone(),
                family_code: family.to_owned(),
            };
            h.customer().account.get_current_plan(request).await
        };
        plan(has).await.unwrap();
        assert_eq!(refused(plan(lacks).await).1, "FAMILY_NOT_OFFERED");
    }
}
