//! Every step of every saga, killed before it, while another service carries it out, and after it: what is left half
//! done ends whole, once, within a minute. The table of (saga, step, point) is printed with its hits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use perdiem::connect::request_id;
use proto::account::v1 as account;
use proto::account::v1::create_order_request::Kind;
use proto::account::v1::number_purchase::Purpose;
use proto::payments::v1 as payments;

use crate::closing::{close, consistent, dollars};
use crate::harness::Harness;
use crate::money::Shop;
use crate::subscriptions::{approved, bought, get, quote, trial, upgrade};

/// How long a saga may take to end whole, as asked for.
const WHOLE: Duration = Duration::from_mins(1);

/// The services that a point lies in, and the points of a saga's steps in them.
type Points = &'static [(&'static str, &'static [&'static str])];

const UPGRADE: Points = &[
    (
        "account-lifecycle",
        &[
            "account.CommitOrder.step.after",
            "order.asked",
            "order.collected",
            "order.paid",
            "order.in_force",
            "order.ended",
            "account.CommitOrder.after",
        ],
    ),
    (
        "billing",
        &[
            "billing.CollectOrder.step.before",
            "billing.CollectOrder.step.after",
            "billing.CollectOrder.before",
            "billing.CollectOrder.after",
        ],
    ),
    (
        "payments",
        &[
            "payments.CreateCharge.step.before",
            "payments.CreateCharge.step.after",
            "payments.CreateCharge.before",
            "payments.CreateCharge.after",
        ],
    ),
    (
        "plan",
        &["plan.ApplyChange.before", "plan.ApplyChange.after"],
    ),
];

const NUMBER: Points = &[
    (
        "account-lifecycle",
        &[
            "account.CommitOrder.step.after",
            "number.held",
            "number.rented",
            "order.ended",
        ],
    ),
    (
        "billing",
        &["billing.StartRental.before", "billing.StartRental.after"],
    ),
];

const CLOSE: Points = &[
    (
        "account-lifecycle",
        &[
            "account.CloseAccount.step.after",
            "close.prepared",
            "close.ending",
            "close.plans_ended",
            "close.closed",
            "close.settled",
            "close.done",
        ],
    ),
    (
        "billing",
        &[
            "billing.PrepareClosing.before",
            "billing.PrepareClosing.after",
            "billing.SettleClosing.step.before",
            "billing.SettleClosing.step.after",
            "billing.SettleClosing.after",
        ],
    ),
    (
        "payments",
        &[
            "payments.CreateRefund.step.before",
            "payments.CreateRefund.step.after",
            "payments.CreateRefund.before",
            "payments.CreateRefund.after",
        ],
    ),
    (
        "plan",
        &["plan.CloseAccount.before", "plan.CloseAccount.after"],
    ),
];

const ERASE: Points = &[
    (
        "account-lifecycle",
        &["erase.taken", "erase.elsewhere", "erase.done"],
    ),
    (
        "plan",
        &["plan.EraseAccount.before", "plan.EraseAccount.after"],
    ),
    (
        "billing",
        &["billing.EraseAccount.before", "billing.EraseAccount.after"],
    ),
    (
        "payments",
        &[
            "payments.EraseAccount.before",
            "payments.EraseAccount.after",
        ],
    ),
];

/// A suite whose leases are short, and the table of what was hit.
struct Crashes {
    shop: Shop,
    saga: &'static str,
    hits: BTreeMap<(&'static str, &'static str), u32>,
}

impl Crashes {
    async fn of(saga: &'static str) -> Self {
        Self {
            shop: Shop::start_with(&[("LEASE_SECONDS", "1")]).await,
            saga,
            hits: BTreeMap::new(),
        }
    }

    /// Starts a service anew, to crash at a point, or nowhere.
    async fn restart(&mut self, service: &str, point: &str) {
        let suite = &mut self.shop.h.suite;
        suite.kill(service).await;
        let at = [("CRASH_AT", point.to_owned())];
        suite.spawn(service, &at).unwrap();
        suite.wait_for(service).await.unwrap();
    }

    /// Notes that a service has ended at its point, and starts it without one.
    async fn crashed(&mut self, service: &'static str, point: &'static str) {
        let begun = Instant::now();
        while !self.shop.h.suite.has_ended(service) {
            assert!(begun.elapsed() < WHOLE, "{point} was not reached");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        *self.hits.entry((service, point)).or_default() += 1;
        self.restart(service, "").await;
    }

    /// The table: each cell is hit.
    fn told(&self, points: Points) {
        for (service, points) in points {
            for point in *points {
                let hits = self.hits.get(&(*service, *point)).copied();
                println!(
                    "{:<8} {service:<18} {point:<34} {}",
                    self.saga,
                    hits.unwrap_or(0)
                );
                assert_eq!(hits, Some(1), "{point}");
            }
        }
    }
}

/// Asks until it is done, as a caller does who is told that the service is away.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(done) = ask().await {
            return done;
        }
        assert!(begun.elapsed() < WHOLE, "{what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// An order that is quoted and confirmed, and what commits it.
async fn confirmed(h: &Harness, id: &str, kind: Kind) -> account::CommitOrderRequest {
    let who = h.customer();
    let order = quote(&who, id, kind).await.unwrap();
    h.confirm(&who, &order).await.unwrap();
    account::CommitOrderRequest {
        order_id: order.order_id,
        request_id: request_id(),
    }
}

/// Commits until the order is completed, with one request id; gives the order.
async fn committed(h: &Harness, request: &account::CommitOrderRequest) -> account::Order {
    let who = h.customer();
    until("the order is completed", async || {
        let answer = who.account.clone().commit_order(request.clone()).await;
        let order = answer.ok()?.into_inner().order?;
        if order.state() == account::order::State::Completed {
            return Some(order);
        }
        let request = account::GetOrderRequest {
            order_id: order.order_id,
        };
        let order = who.account.clone().get_order(request).await.ok()?;
        let order = order.into_inner().order?;
        (order.state() == account::order::State::Completed).then_some(order)
    })
    .await
}

#[tokio::test]
async fn an_upgrade_killed_at_any_step_is_paid_once_and_in_force() {
    let mut it = Crashes::of("UPGRADE").await;
    for (service, points) in UPGRADE {
        for point in *points {
            let id = trial(&it.shop, "tok_ok").await;
            approved(&it.shop.h, &id).await;
            let kind = Kind::Upgrade(upgrade("starter", "MONTHLY", "1000.00"));
            let request = confirmed(&it.shop.h, &id, kind).await;
            it.restart(service, point).await;
            let who = it.shop.h.customer();
            let first = {
                let request = request.clone();
                tokio::spawn(async move { who.account.clone().commit_order(request).await })
            };
            it.crashed(service, point).await;
            let _ = first.await.unwrap();
            let h = &it.shop.h;
            committed(h, &request).await;
            let now = get(h, &id).await;
            assert_eq!(now.r#type(), account::account::Type::Full, "{point}");
            let charges = payments::ListChargesRequest {
                account_id: id.clone(),
                ..payments::ListChargesRequest::default()
            };
            let charges = h.operator.payments.clone().list_charges(charges).await;
            assert_eq!(charges.unwrap().into_inner().charges.len(), 1, "{point}");
            assert_eq!(h.invoices(&id).await.len(), 1, "{point}");
            assert_eq!(h.balance(&id).await, "1000.000000", "{point}");
        }
    }
    consistent(&it.shop.h).await;
    it.told(UPGRADE);
}

#[tokio::test]
async fn a_number_bought_by_a_process_that_is_killed_is_held_once_and_paid_once() {
    let mut it = Crashes::of("NUMBER").await;
    for (service, points) in NUMBER {
        for point in *points {
            let id = trial(&it.shop, "tok_ok").await;
            approved(&it.shop.h, &id).await;
            let kind = Kind::Upgrade(upgrade("starter", "MONTHLY", "1000.00"));
            bought(&it.shop.h, &it.shop.h.customer(), &id, kind)
                .await
                .unwrap();
            let kind = Kind::NumberPurchase(account::NumberPurchase {
                purpose: Purpose::Production.into(),
                number_type_code: "landline".to_owned(),
                country_code: "IN".to_owned(),
                number: String::new(),
            });
            let request = confirmed(&it.shop.h, &id, kind).await;
            it.restart(service, point).await;
            let who = it.shop.h.customer();
            let first = {
                let request = request.clone();
                tokio::spawn(async move { who.account.clone().commit_order(request).await })
            };
            it.crashed(service, point).await;
            let _ = first.await.unwrap();
            let h = &it.shop.h;
            let order = committed(h, &request).await;
            let request = account::ListResourcesRequest {
                account_id: id.clone(),
                kind_code: "PHONE_NUMBER".to_owned(),
                ..account::ListResourcesRequest::default()
            };
            let held = h.customer().account.list_resources(request).await.unwrap();
            let held = held.into_inner().resources;
            assert_eq!(held.len(), 1, "{point}");
            assert_eq!(held[0].resource_id, order.resource_id, "{point}");
            assert_eq!(h.balance(&id).await, "500.000000", "{point}");
        }
    }
    consistent(&it.shop.h).await;
    it.told(NUMBER);
}

#[tokio::test]
async fn a_closing_killed_at_any_step_closes_and_refunds_once() {
    let mut it = Crashes::of("CLOSE").await;
    for (service, points) in CLOSE {
        for point in *points {
            let id = it.shop.h.account().await;
            it.shop.card(&id, "tok_ok").await;
            let purchase = account::CreditPurchase {
                amount: dollars("80.00"),
                payment_method_id: String::new(),
            };
            let kind = Kind::CreditPurchase(purchase);
            bought(&it.shop.h, &it.shop.h.customer(), &id, kind)
                .await
                .unwrap();
            it.restart(service, point).await;
            let who = it.shop.h.customer();
            let first = {
                let id = id.clone();
                tokio::spawn(async move { close(&who, &id).await.map(|_| ()) })
            };
            it.crashed(service, point).await;
            let _ = first.await.unwrap();
            let h = &it.shop.h;
            let who = h.customer();
            let closed = until("the account is closed", async || {
                let closed = close(&who, &id).await.ok()?;
                (closed.status() == account::account::Status::Closed).then_some(closed)
            })
            .await;
            let how = closed.closing.unwrap();
            assert_eq!(how.refund_amount, dollars("80.00"), "{point}");
            until("the refund is paid out", async || {
                let request = payments::ListRefundsRequest {
                    account_id: id.clone(),
                    ..payments::ListRefundsRequest::default()
                };
                let found = h.operator.payments.clone().list_refunds(request).await;
                let found = found.ok()?.into_inner().refunds;
                assert!(found.len() <= 1, "{point}");
                let paid = payments::MovementState::Succeeded;
                (found.first()?.state() == paid).then_some(())
            })
            .await;
            assert_eq!(h.balance(&id).await, "0.000000", "{point}");
        }
    }
    consistent(&it.shop.h).await;
    it.told(CLOSE);
}

#[tokio::test]
async fn a_deletion_killed_at_any_step_ends_with_one_receipt() {
    let mut it = Crashes::of("ERASE").await;
    let mut day: chrono::DateTime<chrono::Utc> = crate::harness::instant("2026-03-01T12:00:00Z");
    for (service, points) in ERASE {
        for point in *points {
            let id = it.shop.h.account().await;
            close(&it.shop.h.customer(), &id).await.unwrap();
            it.restart(service, point).await;
            day += chrono::TimeDelta::days(31);
            it.shop.h.set_clock(&day.to_rfc3339()).await;
            it.crashed(service, point).await;
            let h = &it.shop.h;
            let who = h.customer();
            let told = until("the receipt", async || {
                let request = account::GetDeletionReceiptRequest {
                    account_id: id.clone(),
                };
                let told = who.account.clone().get_deletion_receipt(request).await;
                told.ok()?.into_inner().deletion_receipt
            })
            .await;
            assert_eq!(told.parts.len(), 4, "{point}");
            assert_eq!(get(h, &id).await.display_name, "", "{point}");
        }
    }
    let told = "SELECT count(*) FROM account.transitions WHERE transition_code = 'ERASED'";
    let sagas: usize = ERASE.iter().map(|(_, points)| points.len()).sum();
    assert_eq!(it.shop.h.count(told).await, i64::try_from(sagas).unwrap());
    it.told(ERASE);
}
