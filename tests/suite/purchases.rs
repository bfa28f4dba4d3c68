//! Orders that are paid from the balance, or give of it back: numbers, add-ons, refunds, each from quote to end and
//! through the months that follow.

use std::collections::BTreeSet;
use std::sync::Arc;

use perdiem::connect::{Clients, request_id};
use proto::account::v1 as account;
use proto::account::v1::authorize_request::Capability;
use proto::account::v1::create_order_request::Kind;
use proto::account::v1::number_purchase::Purpose;
use proto::billing::v1 as billing;
use tokio::sync::Barrier;
use tonic::{Code, Status};

use crate::capabilities::may;
use crate::closing::{close, consistent};
use crate::harness::Harness;
use crate::money::Shop;
use crate::subscriptions::{
    approved, bought, change, get, quote, refused, rupees, subscriber, trial, upgrade,
};

fn number(purpose: Purpose, wanted: &str) -> Kind {
    Kind::NumberPurchase(account::NumberPurchase {
        purpose: purpose.into(),
        number_type_code: "landline".to_owned(),
        country_code: "IN".to_owned(),
        number: wanted.to_owned(),
    })
}

fn production() -> Kind {
    number(Purpose::Production, "")
}

pub fn whatsapp() -> Kind {
    Kind::AddOnPurchase(account::AddOnPurchase {
        add_on_code: "whatsapp".to_owned(),
        payment_method_id: String::new(),
    })
}

async fn credit(shop: &Shop, id: &str, amount: &str) {
    let purchase = account::CreditPurchase {
        amount: rupees(amount),
        payment_method_id: String::new(),
    };
    let who = shop.h.customer();
    let order = bought(&shop.h, &who, id, Kind::CreditPurchase(purchase));
    order.await.unwrap();
}

async fn rentals(h: &Harness, id: &str) -> Vec<billing::Rental> {
    let request = billing::ListRentalsRequest {
        account_id: id.to_owned(),
        ..billing::ListRentalsRequest::default()
    };
    let found = h.operator.billing.clone().list_rentals(request).await;
    found.unwrap().into_inner().rentals
}

async fn release(who: &Clients, resource: &str) -> Result<(), Status> {
    let request = account::DeleteResourceRequest {
        resource_id: resource.to_owned(),
        request_id: request_id(),
    };
    who.account
        .clone()
        .delete_resource(request)
        .await
        .map(|_| ())
}

#[tokio::test]
async fn req_078_req_082_req_111_numbers_are_bought_within_the_plan_and_rented_by_the_month() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    // A trial has one number of its own, free; production numbers it may not have (REQ-111).
    let first = trial(&shop, "tok_ok").await;
    let own = bought(h, &who, &first, number(Purpose::Trial, "+918000000001")).await;
    let own = own.unwrap();
    assert_eq!(own.state(), account::order::State::Completed);
    assert_eq!((own.total.clone(), own.lines.len()), (None, 0));
    let denied = |reason: &str| (Code::FailedPrecondition, reason.to_owned());
    let second = bought(h, &who, &first, number(Purpose::Trial, "")).await;
    assert_eq!(
        refused(second),
        (Code::ResourceExhausted, "OVER_QUOTA".to_owned())
    );
    assert_eq!(
        refused(bought(h, &who, &first, production()).await),
        denied("TRIAL_LIMIT")
    );
    assert!(rentals(h, &first).await.is_empty());

    let id = subscriber(&shop, "tok_ok_visa").await;
    assert_eq!(h.balance(&id).await, "1000.000000");
    let quoted = quote(&who, &id, production()).await.unwrap();
    assert_eq!(quoted.total, rupees("500.00"));
    assert_eq!(quoted.lines[0].kind_code, "RENTAL");
    let landline = bought(h, &who, &id, number(Purpose::Production, "+912200000001")).await;
    let landline = landline.unwrap();
    assert_eq!(landline.state(), account::order::State::Completed);
    assert_eq!(h.balance(&id).await, "500.000000");
    let request = account::GetResourceRequest {
        resource_id: landline.resource_id.clone(),
    };
    let held = who.account.clone().get_resource(request).await.unwrap();
    let held = held.into_inner().resource.unwrap();
    assert_eq!(
        (held.kind_code.as_str(), held.sid.as_str()),
        ("PHONE_NUMBER", "+912200000001")
    );
    // The same number again, and one that the balance does not cover: nothing is held, nothing paid.
    let again = bought(h, &who, &id, number(Purpose::Production, "+912200000001")).await;
    assert_eq!(
        refused(again),
        (Code::AlreadyExists, "RESOURCE_EXISTS".to_owned())
    );
    bought(h, &who, &id, production()).await.unwrap();
    assert_eq!(h.balance(&id).await, "0.000000");
    let poor = bought(h, &who, &id, production()).await;
    assert_eq!(refused(poor), denied("INSUFFICIENT_CREDIT"));
    let count = "SELECT count(*) FROM account.resources WHERE kind_code = 'PHONE_NUMBER'";
    assert_eq!(h.count(count).await, 2);

    // Starter: five, and not one more, whoever comes at once (REQ-082).
    credit(&shop, &id, "5000.00").await;
    let barrier = Arc::new(Barrier::new(8));
    let tries: Vec<_> = (0..8)
        .map(|_| {
            let (who, id, barrier) = (who.clone(), id.clone(), barrier.clone());
            tokio::spawn(async move {
                let order = quote(&who, &id, production()).await?;
                let request = account::ConfirmOrderRequest {
                    order_id: order.order_id.clone(),
                    request_id: request_id(),
                };
                who.account.clone().confirm_order(request).await?;
                barrier.wait().await;
                let request = account::CommitOrderRequest {
                    order_id: order.order_id,
                    request_id: request_id(),
                };
                who.account.clone().commit_order(request).await
            })
        })
        .collect();
    let mut won = 0;
    for one in tries {
        match one.await.unwrap() {
            Ok(_) => won += 1,
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted),
        }
    }
    assert_eq!(won, 3);
    assert_eq!(h.count(count).await, 5);
    assert_eq!(h.balance(&id).await, "3500.000000");
    assert_eq!(
        may(h, &id, Capability::BuyProductionNumber, "").await,
        "OVER_QUOTA"
    );
    consistent(h).await;

    // Each month begins on the day of the first, and is paid; what was released is not.
    release(&who, &landline.resource_id).await.unwrap();
    h.advance("2026-05-14T00:00:00Z").await;
    let before: Vec<_> = rentals(h, &id).await;
    assert_eq!(before.iter().filter(|it| it.end_time.is_some()).count(), 1);
    assert_eq!(h.balance(&id).await, "3500.000000");
    h.advance("2026-05-16T00:00:00Z").await;
    assert_eq!(h.balance(&id).await, "1500.000000", "four of 500.00");
    h.advance("2026-06-16T00:00:00Z").await;
    // The rest is owed: rental goes on while the balance is empty.
    assert_eq!(h.balance(&id).await, "-500.000000");
    consistent(h).await;
    close(&who, &id).await.unwrap();
    assert!(rentals(h, &id).await.iter().all(|it| it.end_time.is_some()));
    h.advance("2026-07-16T00:00:00Z").await;
    assert_eq!(h.balance(&id).await, "-500.000000");
}

/// The number of a trial, of a type.
fn of_trial(kind: &str) -> Kind {
    Kind::NumberPurchase(account::NumberPurchase {
        purpose: Purpose::Trial.into(),
        number_type_code: kind.to_owned(),
        country_code: "IN".to_owned(),
        number: String::new(),
    })
}

#[tokio::test]
async fn the_number_of_a_trial_is_rented_by_the_month_once_it_has_a_plan() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    let id = trial(&shop, "tok_ok_visa").await;
    approved(h, &id).await;
    // It is of a type that has a price, and free while the account is a trial.
    let unknown = quote(&who, &id, of_trial("satellite")).await;
    assert_eq!(
        refused(unknown),
        (Code::InvalidArgument, "INVALID_FIELD".to_owned())
    );
    let kept = bought(h, &who, &id, of_trial("landline")).await.unwrap();
    assert_eq!(h.balance(&id).await, "500.000000");
    assert!(rentals(h, &id).await.is_empty());

    // The quote of the first plan tells of it, beside what is paid at once.
    let first = || Kind::Upgrade(upgrade("starter", "MONTHLY", "1000.00"));
    let order = quote(&who, &id, first()).await.unwrap();
    let (rental, paid): (Vec<_>, Vec<_>) = order
        .lines
        .iter()
        .partition(|line| line.kind_code == "RENTAL");
    assert_eq!(rental.len(), 1);
    assert_eq!(rental[0].amount, rupees("500.00"));
    assert!(rental[0].estimated && paid.iter().all(|line| !line.estimated));
    let unexpected = "RENTAL_EXCEEDS_CREDIT".to_owned();
    assert!(!order.warnings.contains(&unexpected));
    h.confirm(&who, &order).await.unwrap();
    let done = h.commit(&who, &order).await.unwrap();
    assert_eq!(done.state(), account::order::State::Completed);
    assert_eq!(done.total, order.total);
    // The credit of the trial is forfeited, and the first month is taken from what was bought.
    assert_eq!(h.balance(&id).await, "500.000000");
    let rented = rentals(h, &id).await;
    assert_eq!(rented.len(), 1);
    assert_eq!(
        (rented[0].code.as_str(), rented[0].kind()),
        ("landline", billing::rental::Kind::Number)
    );

    // A month later in India, and no more once it is released.
    h.advance("2026-03-31T18:29:59Z").await;
    assert_eq!(h.balance(&id).await, "500.000000");
    h.advance("2026-03-31T18:30:00Z").await;
    assert_eq!(h.balance(&id).await, "0.000000");
    release(&who, &kept.resource_id).await.unwrap();
    h.advance("2026-05-02T00:00:00Z").await;
    assert_eq!(h.balance(&id).await, "0.000000");
    let rented = rentals(h, &id).await;
    assert!(rented.len() == 1 && rented[0].end_time.is_some());
    consistent(h).await;
}

#[tokio::test]
async fn a_trial_s_number_that_the_credit_does_not_cover_is_owed_and_the_quote_says_so() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    let id = trial(&shop, "tok_ok_visa").await;
    approved(h, &id).await;
    bought(h, &who, &id, of_trial("toll_free")).await.unwrap();
    let first = Kind::Upgrade(upgrade("starter", "MONTHLY", "1000.00"));
    let order = quote(&who, &id, first).await.unwrap();
    let told = "RENTAL_EXCEEDS_CREDIT".to_owned();
    assert!(order.warnings.contains(&told), "{:?}", order.warnings);
    h.confirm(&who, &order).await.unwrap();
    let done = h.commit(&who, &order).await.unwrap();
    assert_eq!(done.state(), account::order::State::Completed);
    assert_eq!(h.balance(&id).await, "-500.000000", "1,500.00 of 1,000.00");
    // One that is bought has to be covered.
    let poor = bought(h, &who, &id, production()).await;
    assert_eq!(refused(poor).1, "INSUFFICIENT_CREDIT");
    consistent(h).await;
}

#[tokio::test]
async fn a_soft_close_releases_the_number_that_was_kept_from_the_trial() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    let id = trial(&shop, "tok_ok_visa").await;
    approved(h, &id).await;
    bought(h, &who, &id, of_trial("landline")).await.unwrap();
    let first = Kind::Upgrade(upgrade("starter", "MONTHLY", "1000.00"));
    bought(h, &who, &id, first).await.unwrap();
    let request = crate::closing::closing(&id, account::closing::Option::KeepAccountData);
    who.account.clone().close_account(request).await.unwrap();
    let held = account::ListResourcesRequest {
        account_id: id.clone(),
        ..account::ListResourcesRequest::default()
    };
    let held = who.account.clone().list_resources(held).await.unwrap();
    assert_eq!(held.into_inner().resources, []);
    let rented = rentals(h, &id).await;
    assert!(rented.len() == 1 && rented[0].end_time.is_some());
    h.advance("2026-05-02T00:00:00Z").await;
    assert_eq!(h.balance(&id).await, "500.000000");
    consistent(h).await;
}

#[tokio::test]
async fn numbers_of_a_limited_account_are_rented_on_where_the_profile_says_so() {
    let shop = Shop::start().await;
    let h = &shop.h;
    h.import_as("v2", &[("charge_rental: false", "charge_rental: true")])
        .await;
    let who = h.customer();
    let id = subscriber(&shop, "tok_ok_visa").await;
    bought(h, &who, &id, production()).await.unwrap();
    assert_eq!(h.balance(&id).await, "500.000000");
    let request = account::CancelSubscriptionRequest {
        account_id: id.clone(),
        family_code: "PLATFORM".to_owned(),
        request_id: request_id(),
    };
    let mut client = who.account.clone();
    client.cancel_subscription(request).await.unwrap();
    h.advance("2026-05-20T00:00:00Z").await;
    assert_eq!(get(h, &id).await.mode(), account::account::Mode::Limited);
    assert_eq!(h.balance(&id).await, "0.000000", "the month is charged");
    consistent(h).await;
}

#[tokio::test]
async fn numbers_of_a_limited_account_are_held_without_rental() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    let id = subscriber(&shop, "tok_ok_visa").await;
    bought(h, &who, &id, production()).await.unwrap();
    let request = account::CancelSubscriptionRequest {
        account_id: id.clone(),
        family_code: "PLATFORM".to_owned(),
        request_id: request_id(),
    };
    who.account
        .clone()
        .cancel_subscription(request)
        .await
        .unwrap();
    h.advance("2026-05-20T00:00:00Z").await;
    assert_eq!(get(h, &id).await.mode(), account::account::Mode::Limited);
    assert_eq!(h.balance(&id).await, "500.000000", "a free month");
    // Back on a plan, the next month is paid.
    let back = Kind::Upgrade(upgrade("starter", "MONTHLY", "1000.00"));
    bought(h, &who, &id, back).await.unwrap();
    assert_eq!(h.balance(&id).await, "1500.000000");
    h.advance("2026-06-16T00:00:00Z").await;
    assert_eq!(h.balance(&id).await, "1000.000000");
    consistent(h).await;
}

#[tokio::test]
async fn req_085_req_113_an_add_on_opens_what_the_plan_sells_beside_itself() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    let first = trial(&shop, "tok_ok").await;
    approved(h, &first).await;
    assert_eq!(
        may(h, &first, Capability::Whatsapp, "").await,
        "NOT_IN_PLAN"
    );
    assert_eq!(
        refused(bought(h, &who, &first, whatsapp()).await).1,
        "ADD_ON_NOT_OFFERED"
    );
    let id = subscriber(&shop, "tok_ok_visa").await;
    assert_eq!(
        may(h, &id, Capability::Whatsapp, "").await,
        "ADDON_REQUIRED"
    );
    let unknown = Kind::AddOnPurchase(account::AddOnPurchase {
        add_on_code: "telex".to_owned(),
        payment_method_id: String::new(),
    });
    assert_eq!(
        refused(quote(&who, &id, unknown).await),
        (Code::NotFound, "ADD_ON_NOT_FOUND".to_owned())
    );
    let booked = bought(h, &who, &id, whatsapp()).await.unwrap();
    assert_eq!(booked.total, rupees("999.00"));
    assert_eq!(h.balance(&id).await, "1.000000");
    assert_eq!(may(h, &id, Capability::Whatsapp, "").await, "ALLOW");
    assert_eq!(
        refused(quote(&who, &id, whatsapp()).await),
        (Code::AlreadyExists, "ADD_ON_EXISTS".to_owned())
    );
    // What can't be paid is not booked.
    let poor = subscriber(&shop, "tok_ok_mastercard").await;
    bought(h, &who, &poor, production()).await.unwrap();
    assert_eq!(
        refused(bought(h, &who, &poor, whatsapp()).await).1,
        "INSUFFICIENT_CREDIT"
    );
    assert_eq!(
        may(h, &poor, Capability::Whatsapp, "").await,
        "ADDON_REQUIRED"
    );
    assert_eq!(h.balance(&poor).await, "500.000000");

    // Paid each month while it is needed; free once the plan has it, and not sold then.
    credit(&shop, &id, "2000.00").await;
    h.advance("2026-05-16T00:00:00Z").await;
    assert_eq!(h.balance(&id).await, "1002.000000");
    let order = bought(h, &who, &id, change("growth", "")).await.unwrap();
    assert_eq!(order.state(), account::order::State::Completed);
    h.advance("2026-06-20T00:00:00Z").await;
    assert_eq!(h.balance(&id).await, "1002.000000", "Growth includes it");
    assert_eq!(may(h, &id, Capability::Whatsapp, "").await, "ALLOW");
    // Taken away by support, it is over with the month.
    let mut plan = h.operator.plan.clone();
    let remove = proto::plan::v1::RemoveAddOnRequest {
        account_id: id.clone(),
        add_on_code: "whatsapp".to_owned(),
        request_id: request_id(),
    };
    plan.remove_add_on(remove).await.unwrap();
    consistent(h).await;
}

#[tokio::test]
async fn req_122_a_refund_is_quoted_and_given_back_as_quoted_or_not_at_all() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    let id = subscriber(&shop, "tok_ok_visa").await;
    credit(&shop, &id, "2000.00").await;
    let ask = |amount: &str| {
        Kind::RefundOrder(account::RefundOrder {
            amount: if amount.is_empty() {
                None
            } else {
                rupees(amount)
            },
        })
    };
    let quoted = quote(&who, &id, ask("")).await.unwrap();
    // 3,000.00 of credit: 5 % are kept, and the tax on the rest goes back too.
    let lines: Vec<_> = quoted
        .lines
        .iter()
        .map(|it| (it.kind_code.as_str(), it.amount.clone().unwrap().amount))
        .collect();
    assert_eq!(
        lines,
        [
            ("REFUND", "-3363.00".to_owned()),
            ("FEE", "150.00".to_owned())
        ]
    );
    assert_eq!(
        h.balance(&id).await,
        "3000.000000",
        "a quote changes nothing"
    );
    // What is spent meanwhile makes it another sum.
    bought(h, &who, &id, production()).await.unwrap();
    h.confirm(&who, &quoted).await.unwrap();
    let status = h.commit(&who, &quoted).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    assert_eq!(h.balance(&id).await, "2500.000000");
    let done = bought(h, &who, &id, ask("")).await.unwrap();
    assert_eq!(done.state(), account::order::State::Completed);
    h.advance("2026-04-16T00:00:00Z").await;
    assert_eq!(h.balance(&id).await, "0.000000");
    let sum = "SELECT sum(amount_minor)::bigint FROM payments.movements WHERE kind = 'REFUND' AND state = 'SUCCEEDED'";
    assert_eq!(h.count(sum).await, 280_250, "2,375.00 and 18 % on it");
    assert_eq!(
        refused(quote(&who, &id, ask("")).await),
        (Code::FailedPrecondition, "NOTHING_TO_REFUND".to_owned())
    );
    consistent(h).await;
}

/// When a number is released, as shown; empty for never, or when it is not held.
async fn released(h: &Harness, id: &str) -> (usize, Vec<String>) {
    let request = account::ListResourcesRequest {
        account_id: id.to_owned(),
        kind_code: "PHONE_NUMBER".to_owned(),
        ..account::ListResourcesRequest::default()
    };
    let held = h.customer().account.list_resources(request).await.unwrap();
    let held = held.into_inner().resources;
    let seconds = held.iter().filter_map(|it| Some(it.release_time?.seconds));
    let at = |it| {
        chrono::DateTime::from_timestamp(it, 0)
            .unwrap()
            .to_rfc3339()
    };
    (held.len(), seconds.map(at).collect())
}

#[tokio::test]
async fn numbers_of_a_limited_account_are_released_after_the_days_of_the_policy_and_a_notice() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    let (id, back) = (
        subscriber(&shop, "tok_ok_visa").await,
        subscriber(&shop, "tok_ok_mastercard").await,
    );
    for of in [&id, &back] {
        bought(h, &who, of, production()).await.unwrap();
        let request = account::CancelSubscriptionRequest {
            account_id: of.clone(),
            family_code: "PLATFORM".to_owned(),
            request_id: request_id(),
        };
        let mut client = who.account.clone();
        client.cancel_subscription(request).await.unwrap();
    }
    assert_eq!(released(h, &id).await, (1, Vec::new()));
    // Limited from 15 May 00:00 in India: held for thirty days.
    h.advance("2026-06-13T18:29:59Z").await;
    let until = "2026-06-13T18:30:00+00:00".to_owned();
    assert_eq!(released(h, &id).await, (1, vec![until.clone()]));
    let request = account::ListNotificationsRequest {
        account_id: id.clone(),
        kind_code: "NUMBERS_AT_RISK".to_owned(),
        ..account::ListNotificationsRequest::default()
    };
    let told = who.account.clone().list_notifications(request).await;
    let told = told.unwrap().into_inner().notifications;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].facts[0].value, until);
    // Who comes back in time keeps them.
    let again = Kind::Upgrade(upgrade("starter", "MONTHLY", "1000.00"));
    bought(h, &who, &back, again).await.unwrap();
    h.advance("2026-06-13T18:30:00Z").await;
    assert_eq!(released(h, &id).await, (0, Vec::new()));
    assert_eq!(released(h, &back).await, (1, Vec::new()));
    h.advance("2026-06-14T18:30:00Z").await;
    assert!(rentals(h, &id).await[0].end_time.is_some());
    assert!(rentals(h, &back).await[0].end_time.is_none());
    consistent(h).await;
}

#[tokio::test]
async fn numbers_are_at_risk_while_the_balance_is_empty() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    let id = subscriber(&shop, "tok_ok_visa").await;
    for _ in 0..2 {
        bought(h, &who, &id, production()).await.unwrap();
    }
    // Empty since 15 April 04:00: ten days.
    h.advance("2026-04-20T00:00:00Z").await;
    let (_, until) = released(h, &id).await;
    assert_eq!(until, ["2026-04-25T04:00:00+00:00"; 2]);
    credit(&shop, &id, "1000.00").await;
    h.advance("2026-04-26T00:00:00Z").await;
    assert_eq!(released(h, &id).await, (2, Vec::new()));
    shop.texts(&id, "2026-04-26T00:00:00Z", "5000").await;
    h.advance("2026-05-05T23:59:59Z").await;
    assert_eq!(released(h, &id).await.0, 2);
    h.advance("2026-05-06T00:00:00Z").await;
    assert_eq!(released(h, &id).await.0, 0);
    consistent(h).await;
}

/// What a soft close has to end, each of every kind that there is.
#[tokio::test]
async fn req_050_nothing_that_recurs_outlives_a_soft_close() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let who = h.customer();
    h.advance("2026-04-15T04:00:00Z").await;
    let id = trial(&shop, "tok_ok").await;
    approved(h, &id).await;
    let yearly = Kind::Upgrade(upgrade("starter", "ANNUAL", "9000.00"));
    bought(h, &who, &id, yearly).await.unwrap();
    h.advance("2026-04-20T06:00:00Z").await;

    // Every kind of number that the catalogue rents, and every add-on that the plan sells.
    let mut plan = h.operator.plan.clone();
    let request = proto::plan::v1::GetCatalogueRequest::default();
    let catalogue = plan.get_catalogue(request).await.unwrap().into_inner();
    let rates = catalogue.catalogue.unwrap().rates.unwrap();
    for kind in &rates.number_rentals {
        let number = Kind::NumberPurchase(account::NumberPurchase {
            purpose: Purpose::Production.into(),
            number_type_code: kind.number_type_code.clone(),
            country_code: "IN".to_owned(),
            number: String::new(),
        });
        bought(h, &who, &id, number).await.unwrap();
    }
    let request = proto::plan::v1::ListEntitlementsRequest {
        account_id: id.clone(),
    };
    let found = plan.list_entitlements(request).await.unwrap().into_inner();
    for sold in found.entitlements.iter().filter(|it| it.value == "ADDON") {
        let add_on = Kind::AddOnPurchase(account::AddOnPurchase {
            add_on_code: sold.feature_code.clone(),
            payment_method_id: String::new(),
        });
        bought(h, &who, &id, add_on).await.unwrap();
    }
    // A change that is to come, and a balance that fills itself.
    let switch = account::SwitchBillingCycleRequest {
        account_id: id.clone(),
        family_code: "PLATFORM".to_owned(),
        billing_cycle_code: "MONTHLY".to_owned(),
        request_id: request_id(),
    };
    let mut agent = h.operator_with("SUPPORT_AGENT").account;
    agent.switch_billing_cycle(switch).await.unwrap();
    let recharge = billing::SetAutoRechargeRequest {
        account_id: id.clone(),
        auto_recharge: Some(billing::AutoRecharge {
            enabled: true,
            ..billing::AutoRecharge::default()
        }),
        request_id: request_id(),
    };
    let mut seller = shop.seller.billing.clone();
    seller.set_auto_recharge(recharge).await.unwrap();

    // A kind that comes to the contract has to come here too.
    let pool = prost_reflect::DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let kinds = pool.get_enum_by_name("perdiem.billing.v1.Rental.Kind");
    let kinds: BTreeSet<i32> = kinds.unwrap().values().map(|it| it.number()).collect();
    let mut rented: BTreeSet<i32> = rentals(h, &id).await.iter().map(|it| it.kind).collect();
    rented.insert(billing::rental::Kind::Unspecified.into());
    assert_eq!(rented, kinds);

    let request = crate::closing::closing(&id, account::closing::Option::KeepAccountData);
    let dormant = who.account.clone().close_account(request).await.unwrap();
    let dormant = dormant.into_inner().account.unwrap();
    assert_eq!(dormant.mode(), account::account::Mode::Dormant);
    let left = h.balance(&id).await;
    let charges = "SELECT count(*) FROM payments.movements WHERE kind = 'CHARGE'";
    let charged = h.count(charges).await;
    let ended = |rentals: Vec<billing::Rental>| rentals.iter().all(|it| it.end_time.is_some());
    assert!(ended(rentals(h, &id).await));
    let booked = "SELECT count(*) FROM plan.add_ons WHERE end_at IS NULL";
    assert_eq!(h.count(booked).await, 0);
    let request = proto::plan::v1::ListPendingChangesRequest {
        account_id: id.clone(),
        family_code: "PLATFORM".to_owned(),
    };
    let pending = plan.list_pending_changes(request).await.unwrap();
    assert!(pending.into_inner().pending_changes.is_empty());

    // A month later, and after the year: nothing is debited, charged or renewed.
    for at in ["2026-05-20T12:00:00Z", "2027-05-01T00:00:00Z"] {
        h.advance(at).await;
        assert_eq!(h.balance(&id).await, left, "{at}");
        assert_eq!(h.count(charges).await, charged, "{at}");
    }
    consistent(h).await;
}
