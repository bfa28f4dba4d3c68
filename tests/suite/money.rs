//! Money that comes in and goes back: collections, recharges, refunds, credit notes, rated usage, by
//! the services that decide them and the sandbox whose tokens decide the outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use perdiem::connect::{Clients, request_id};
use proto::account::v1 as account;
use proto::billing::v1 as billing;
use proto::billing::v1::collection::State;
use proto::payments::v1 as payments;
use proto::r#type::v1::{Amount, Money};
use tokio::sync::Barrier;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::between::Between;
use crate::deletion::found;
use crate::harness::{Harness, PATIENCE, persisting, reason};

/// A suite, and the clients of the service that sells.
pub struct Shop {
    /// The suite.
    pub h: Harness,
    /// The service that sells.
    pub seller: Clients,
}

impl Shop {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(environment: &[(&str, &str)]) -> Self {
        Self::of(Harness::start_with(environment).await)
    }

    /// The same on a suite that runs.
    pub fn of(h: Harness) -> Self {
        let token = h.suite.keys.service("account-lifecycle").unwrap();
        let seller = Clients::new(&h.urls, &token).unwrap();
        Self { h, seller }
    }

    /// A root account of `india` in a state, with a card by a sandbox token.
    pub async fn customer(&self, country: &str, state: &str, token: &str) -> String {
        let id = self.h.account_of("india", false).await;
        self.live_in(&id, country, state, false).await;
        self.card(&id, token).await;
        id
    }

    /// Has an account taxed in a country and state, whatever its KYC says.
    pub async fn live_in(&self, id: &str, country: &str, state: &str, export: bool) {
        let details = account::UpdateBillingDetailsRequest {
            account_id: id.to_owned(),
            billing_details: Some(account::BillingDetails {
                recipient_name: "A customer".to_owned(),
                country_code: country.to_owned(),
                state_code: state.to_owned(),
                export_supply: export,
                ..account::BillingDetails::default()
            }),
            country_reason: "a test".to_owned(),
            request_id: request_id(),
            ..account::UpdateBillingDetailsRequest::default()
        };
        let mut client = self.h.operator.account.clone();
        client.update_billing_details(details).await.unwrap();
    }

    pub async fn card(&self, id: &str, token: &str) -> String {
        let request = payments::AddPaymentMethodRequest {
            account_id: id.to_owned(),
            method_code: "CARD".to_owned(),
            provider_token: token.to_owned(),
            default_method: true,
            request_id: request_id(),
            ..payments::AddPaymentMethodRequest::default()
        };
        let mut client = self.seller.payments.clone();
        let added = client.add_payment_method(request).await.unwrap();
        added.into_inner().payment_method.unwrap().payment_method_id
    }

    /// A card by a sandbox token, and no other payment method.
    pub async fn only_card(&self, id: &str, token: &str) -> String {
        let added = self.card(id, token).await;
        let mut client = self.seller.payments.clone();
        let request = payments::ListPaymentMethodsRequest {
            account_id: id.to_owned(),
            ..payments::ListPaymentMethodsRequest::default()
        };
        let listed = client.list_payment_methods(request).await.unwrap();
        let listed = listed.into_inner().payment_methods.into_iter();
        for other in listed.filter(|it| it.payment_method_id != added) {
            let request = payments::RemovePaymentMethodRequest {
                account_id: id.to_owned(),
                payment_method_id: other.payment_method_id,
                request_id: request_id(),
            };
            client.remove_payment_method(request).await.unwrap();
        }
        added
    }

    pub async fn collect(
        &self,
        request: &billing::CollectOrderRequest,
    ) -> Result<billing::Collection, Status> {
        let mut client = self.seller.billing.clone();
        let answer = client.collect_order(request.clone()).await?;
        Ok(answer.into_inner().collection.unwrap())
    }

    async fn get(&self, it: &billing::Collection) -> billing::Collection {
        let request = billing::GetCollectionRequest {
            collection_id: it.collection_id.clone(),
        };
        let mut client = self.seller.billing.clone();
        let answer = client.get_collection(request).await.unwrap();
        answer.into_inner().collection.unwrap()
    }

    /// The collection once it is in a state.
    pub async fn until(&self, it: &billing::Collection, state: State) -> billing::Collection {
        let begun = Instant::now();
        loop {
            let now = self.get(it).await;
            if now.state() == state {
                return now;
            }
            let waited = begun.elapsed();
            assert!(waited < PATIENCE, "still {:?}", now.state());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a balance is as expected.
    pub async fn balance_is(&self, id: &str, expected: &str) {
        let begun = Instant::now();
        loop {
            let balance = self.h.balance(id).await;
            if balance == expected {
                return;
            }
            let waited = begun.elapsed();
            assert!(waited < PATIENCE, "{balance}, not {expected}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Usage that we rate: so many parts of a message.
    pub async fn texts(&self, id: &str, at: &str, parts: &str) {
        let event = rated(&request_id(), id, "sms", at, parts);
        self.h.record(vec![event]).await.unwrap();
    }

    async fn recharge(
        &self,
        id: &str,
        setting: billing::AutoRecharge,
    ) -> Result<billing::AutoRecharge, Status> {
        let request = billing::SetAutoRechargeRequest {
            account_id: id.to_owned(),
            auto_recharge: Some(setting),
            request_id: request_id(),
        };
        let mut client = self.seller.billing.clone();
        let answer = client.set_auto_recharge(request).await?;
        Ok(answer.into_inner().auto_recharge.unwrap())
    }

    async fn refund(
        &self,
        id: &str,
        amount: Option<Money>,
    ) -> Result<billing::RequestRefundResponse, Status> {
        let request = billing::RequestRefundRequest {
            account_id: id.to_owned(),
            amount,
            request_id: request_id(),
            ..billing::RequestRefundRequest::default()
        };
        let mut client = self.seller.billing.clone();
        Ok(client.request_refund(request).await?.into_inner())
    }

    pub async fn invoice(&self, id: &str) -> billing::Invoice {
        perdiem::invoice::get(&self.h.operator, id).await.unwrap()
    }

    /// Lots, overdrafts and invoices are what the entries say, and the sandbox's book has taken and
    /// given back what clearing says.
    pub async fn reconciles(&self) {
        let mut client = self.h.operator.billing.clone();
        let request = billing::ReconcileRequest::default();
        let answer = client.reconcile(request).await.unwrap().into_inner();
        assert_eq!(answer.differences, Vec::<String>::new());
        let (clearing, booked) = cleared(&self.h).await;
        assert_eq!(clearing, booked);
    }
}

/// What the ledger says that the provider has taken and not given back, and what its book says, in millionths.
pub async fn cleared(h: &Harness) -> (i64, i64) {
    let clearing = "SELECT coalesce(sum(CASE WHEN debit = 8 THEN amount_micros ELSE -amount_micros END), 0)::bigint
                    FROM billing.ledger_entries WHERE 8 IN (debit, credit) AND reason <> 'GRANT'";
    let booked = "SELECT coalesce(sum(CASE WHEN kind = 'CHARGE' THEN amount_minor ELSE -amount_minor END), 0)::bigint * 10000
                  FROM payments.sandbox_book WHERE state = 'SUCCEEDED'";
    (h.count(clearing).await, h.count(booked).await)
}

#[expect(clippy::unnecessary_wraps, reason = "as the fields of messages are")]
fn inr(amount: &str) -> Option<Money> {
    Some(Money {
        currency_code: "INR".to_owned(),
        amount: amount.to_owned(),
    })
}

fn line(kind: &str, amount: &str) -> billing::CollectionLine {
    billing::CollectionLine {
        kind: kind.to_owned(),
        amount: inr(amount),
        ..billing::CollectionLine::default()
    }
}

/// A new order of credits, charged to the default method.
pub fn credits(id: &str, amount: &str) -> billing::CollectOrderRequest {
    billing::CollectOrderRequest {
        account_id: id.to_owned(),
        order_id: format!("OR{}", Uuid::new_v4().simple()),
        lines: vec![line("CREDITS", amount)],
        request_id: request_id(),
        ..billing::CollectOrderRequest::default()
    }
}

fn switched_on() -> billing::AutoRecharge {
    billing::AutoRecharge {
        enabled: true,
        ..billing::AutoRecharge::default()
    }
}

pub fn rated(
    id: &str,
    account: &str,
    category: &str,
    at: &str,
    quantity: &str,
) -> billing::UsageEvent {
    billing::UsageEvent {
        category: category.to_owned(),
        quantity: quantity.to_owned(),
        price: None,
        ..crate::harness::event(id, account, at, "0")
    }
}

pub fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = result.unwrap_err();
    (status.code(), reason(&status))
}

pub fn taxes(lines: &[billing::TaxLine]) -> Vec<(&str, i32, &str)> {
    lines
        .iter()
        .map(|it| {
            let amount = it.amount.as_ref().unwrap().amount.as_str();
            (it.tax_code.as_str(), it.rate_bps, amount)
        })
        .collect()
}

#[expect(clippy::ref_option, reason = "as the fields of messages are")]
pub fn amount(of: &Option<Money>) -> &str {
    of.as_ref().map_or("", |money| &money.amount)
}

#[tokio::test]
async fn req_128_tax_is_shown_apart_and_does_not_become_credit() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "KA", "tok_ok").await;
    for (country, state, export, expected, total) in [
        (
            "IN",
            "KA",
            false,
            vec![("CGST", 900, "900.00"), ("SGST", 900, "900.00")],
            "11800.00",
        ),
        (
            "IN",
            "MH",
            false,
            vec![("IGST", 1800, "1800.00")],
            "11800.00",
        ),
        ("IN", "KA", true, vec![], "10000.00"),
        ("SG", "KA", false, vec![], "10000.00"),
    ] {
        shop.live_in(&id, country, state, export).await;
        let request = billing::PreviewCollectionRequest {
            account_id: id.clone(),
            lines: vec![line("CREDITS", "10000.00")],
        };
        let mut client = shop.seller.billing.clone();
        let quoted = client
            .preview_collection(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(taxes(&quoted.taxes), expected, "{country} {state} {export}");
        assert_eq!(amount(&quoted.amount), total);
    }
    shop.live_in(&id, "IN", "KA", false).await;
    let bought = shop.collect(&credits(&id, "10000.00")).await.unwrap();
    assert_eq!(bought.state(), State::Succeeded);
    assert_eq!(amount(&bought.amount), "11800.00");
    assert_eq!(shop.h.balance(&id).await, "10000.000000");

    let invoice = shop.invoice(&bought.invoice_id).await;
    assert_eq!(invoice.state(), billing::invoice::State::Paid);
    assert_eq!(
        (
            amount(&invoice.total),
            amount(&invoice.paid_by_charge),
            amount(&invoice.amount_due)
        ),
        ("11800.00", "11800.00", "0.00")
    );
    assert_eq!(
        taxes(&invoice.taxes),
        [("CGST", 900, "900.00"), ("SGST", 900, "900.00")]
    );
    assert_eq!(invoice.number, "IN-25-00000001");
    assert_eq!(invoice.lines[0].kind_code, "CREDITS");
    assert_eq!(shop.h.invoices(&id).await[0].invoice_id, bought.invoice_id);
    shop.reconciles().await;
}

#[tokio::test]
async fn each_half_of_a_split_tax_is_its_own_rate_on_the_taxable_value() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "KA", "tok_ok").await;
    let bought = shop.collect(&credits(&id, "1000.05")).await.unwrap();
    assert_eq!(amount(&bought.amount), "1180.05");
    let invoice = shop.invoice(&bought.invoice_id).await;
    assert_eq!(
        taxes(&invoice.taxes),
        [("CGST", 900, "90.00"), ("SGST", 900, "90.00")]
    );
    shop.reconciles().await;
}

#[tokio::test]
async fn what_is_sold_before_a_country_is_known_is_taxed_where_its_issuer_is() {
    let shop = Shop::start().await;
    let id = shop.h.account_of("india", false).await;
    shop.card(&id, "tok_ok").await;
    let bought = shop.collect(&credits(&id, "1000.00")).await.unwrap();
    assert_eq!(taxes(&bought.taxes), [("IGST", 1800, "180.00")]);
    shop.reconciles().await;
}

#[tokio::test]
async fn req_130_a_payment_told_twice_or_by_many_is_booked_once() {
    let shop = Arc::new(Shop::start().await);
    let id = shop.customer("IN", "MH", "tok_ok").await;
    let order = credits(&id, "1000.00");
    let barrier = Arc::new(Barrier::new(16));
    let mut calls = Vec::new();
    for _ in 0..16 {
        let (shop, barrier) = (shop.clone(), barrier.clone());
        // Half of them are retries of one intent, half intents of their own.
        let mut order = order.clone();
        if calls.len() % 2 == 0 {
            order.request_id = request_id();
        }
        calls.push(tokio::spawn(async move {
            barrier.wait().await;
            persisting(|| shop.collect(&order)).await
        }));
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let again = shop.collect(&order).await.unwrap();
    assert_eq!(again.state(), State::Succeeded);
    assert_eq!(shop.h.balance(&id).await, "1000.000000");
    assert_eq!(shop.h.invoices(&id).await.len(), 1);
    // The news of it, told from the beginning once more.
    sqlx::query("UPDATE billing.watch_positions SET resume_token = ''")
        .execute(&shop.h.db)
        .await
        .unwrap();
    shop.h.advance("2026-03-01T13:00:00Z").await;
    assert_eq!(shop.h.balance(&id).await, "1000.000000");
    let lots = "SELECT count(*) FROM billing.lots WHERE kind = 3";
    assert_eq!(shop.h.count(lots).await, 1);
    let other = billing::CollectOrderRequest {
        lines: vec![line("CREDITS", "999.00")],
        request_id: request_id(),
        ..order.clone()
    };
    assert_eq!(
        refused(shop.collect(&other).await),
        (Code::AlreadyExists, "COLLECTION_EXISTS".to_owned())
    );
    shop.reconciles().await;
}

#[tokio::test]
async fn req_129_slow_money_is_booked_when_it_has_arrived_and_a_decline_can_be_tried_again() {
    let shop = Shop::start().await;
    let slow = shop.customer("IN", "MH", "tok_slow_ok").await;
    let order = credits(&slow, "1000.00");
    let waiting = shop.collect(&order).await.unwrap();
    assert_eq!(waiting.state(), State::AwaitingSettlement);
    assert_eq!(waiting.invoice_id, "");
    assert_eq!(shop.h.balance(&slow).await, "0.000000");

    let bounced = shop.customer("IN", "MH", "tok_slow_bounced").await;
    let to_bounce = credits(&bounced, "1000.00");
    shop.collect(&to_bounce).await.unwrap();

    let asked = shop.customer("IN", "MH", "tok_3ds_ok").await;
    let confirming = shop.collect(&credits(&asked, "1000.00")).await.unwrap();
    assert_eq!(confirming.state(), State::Pending);
    assert!(confirming.action_url.starts_with("https://"));

    shop.h.advance("2026-03-04T12:00:00Z").await;
    assert_eq!(shop.get(&waiting).await.state(), State::Succeeded);
    assert_eq!(shop.get(&confirming).await.state(), State::Succeeded);
    assert_eq!(shop.h.balance(&slow).await, "1000.000000");
    let declined = shop.collect(&to_bounce).await.unwrap();
    assert_eq!(
        declined.state(),
        State::AwaitingSettlement,
        "the first answer"
    );
    let declined = shop.get(&declined).await;
    assert_eq!(declined.state(), State::Declined);
    assert_ne!(declined.failure_reason, "");
    assert_eq!(shop.h.balance(&bounced).await, "0.000000");

    // Another intent, by another card: the next attempt for the same order.
    let card = shop.card(&bounced, "tok_ok").await;
    let again = billing::CollectOrderRequest {
        payment_method_id: card,
        request_id: request_id(),
        ..to_bounce
    };
    let paid = shop.collect(&again).await.unwrap();
    assert_eq!(paid.state(), State::Succeeded);
    assert_eq!(paid.collection_id, declined.collection_id);
    assert_eq!(shop.h.balance(&bounced).await, "1000.000000");
    shop.reconciles().await;
}

#[tokio::test]
async fn what_payments_refuses_charges_nothing_and_leaves_the_order_to_be_tried_again() {
    let shop = Shop::start().await;
    let id = shop.h.account_of("india", false).await;
    shop.live_in(&id, "IN", "MH", false).await;
    let order = credits(&id, "1000.00");
    assert_eq!(
        refused(shop.collect(&order).await),
        (Code::FailedPrecondition, "NO_PAYMENT_METHOD".to_owned())
    );
    shop.card(&id, "tok_ok").await;
    let small = credits(&id, "100.00");
    assert_eq!(
        refused(shop.collect(&small).await),
        (Code::InvalidArgument, "BELOW_METHOD_MINIMUM".to_owned())
    );
    assert_eq!(
        refused(shop.collect(&order).await),
        (Code::FailedPrecondition, "NO_PAYMENT_METHOD".to_owned()),
        "the same intent has its answer"
    );
    let again = billing::CollectOrderRequest {
        request_id: request_id(),
        ..order
    };
    let paid = shop.collect(&again).await.unwrap();
    assert_eq!(paid.state(), State::Succeeded);
    assert_eq!(shop.h.balance(&id).await, "1000.000000");
    shop.reconciles().await;
}

#[tokio::test]
async fn every_outcome_that_nobody_was_told_of_is_booked_as_the_provider_s_book_says() {
    let shop = Shop::start_with(&[("LOOK_UP_SECONDS", "1")]).await;
    let mut expected = Vec::new();
    for (token, state) in [
        ("tok_timeout_after", State::Succeeded),
        ("tok_timeout_before", State::Succeeded),
        ("tok_timeout_declined", State::Declined),
        ("tok_wrong_amount", State::Parked),
    ] {
        let id = shop.customer("IN", "MH", token).await;
        let begun = shop.collect(&credits(&id, "1000.00")).await.unwrap();
        expected.push((id, begun, state));
    }
    for (id, begun, state) in &expected {
        let ended = shop.until(begun, *state).await;
        let balance = if ended.state() == State::Succeeded {
            "1000.000000"
        } else {
            "0.000000"
        };
        assert_eq!(shop.h.balance(id).await, balance, "{state:?}");
    }
    // An operator looks at the provider's book: one paisa more than the 1,180.00 was taken.
    let (id, begun, _) = expected.last().unwrap();
    let parked = shop.get(begun).await;
    let request = payments::ResolveMovementRequest {
        account_id: id.clone(),
        movement_id: parked.charge_id,
        outcome: payments::resolve_movement_request::Outcome::Moved.into(),
        amount: inr("1180.01"),
        provider_movement_id: "seen-in-the-book".to_owned(),
        settle_time: Some(perdiem::connect::timestamp(crate::harness::instant(
            "2026-03-01T12:00:00Z",
        ))),
        note: "one paisa more".to_owned(),
        request_id: request_id(),
    };
    let mut client = shop.h.operator.payments.clone();
    client.resolve_movement(request).await.unwrap();
    // All of it is the customer's, and what was to be bought is not.
    shop.balance_is(id, "1180.010000").await;
    let ended = shop.until(begun, State::Declined).await;
    assert_eq!(ended.failure_reason, "SETTLED_AMOUNT_DIFFERS");
    let refund = shop.refund(id, None).await.unwrap();
    assert_eq!(amount(&refund.amount), "1121.00", "and can go back");
}

#[tokio::test]
async fn what_arrives_by_a_charge_that_was_refused_is_credit() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_slow_ok").await;
    let order = credits(&id, "1000.00");
    let waiting = shop.collect(&order).await.unwrap();
    assert_eq!(waiting.state(), State::AwaitingSettlement);
    // As if `payments` had said that it takes no charge of it.
    sqlx::query(
        "UPDATE billing.collections SET state = 'DECLINED', charge_id = NULL, failure_reason = 'METHOD_CONTESTED'",
    )
    .execute(&shop.h.db)
    .await
    .unwrap();
    shop.h.advance("2026-03-04T12:00:00Z").await;
    shop.balance_is(&id, "1180.000000").await;
    let ended = shop.get(&waiting).await;
    assert_eq!(ended.state(), State::Declined);
    assert_eq!(ended.failure_reason, "SETTLED_AMOUNT_DIFFERS");
    assert_eq!(ended.charge_id, waiting.charge_id);
    // Told once more it is not credited again, and it is not asked for again.
    let again = billing::CollectOrderRequest {
        request_id: request_id(),
        ..order
    };
    assert_eq!(shop.collect(&again).await.unwrap(), ended);
    sqlx::query(
        "UPDATE billing.watch_positions
         SET resume_token = '900000000:900000000:/900000000:900000000:/50000/1-00000001'
         WHERE source = 'payments.movements'",
    )
    .execute(&shop.h.db)
    .await
    .unwrap();
    shop.h.advance("2026-03-05T12:00:00Z").await;
    assert_eq!(shop.h.balance(&id).await, "1180.000000");
    shop.reconciles().await;
    let refund = shop.refund(&id, None).await.unwrap();
    assert_eq!(amount(&refund.amount), "1121.00", "and can go back");
}

#[tokio::test]
async fn collections_survive_kills_of_billing_and_each_is_booked_once() {
    let mut shop = Shop::start_with(&[("LOOK_UP_SECONDS", "1")]).await;
    let mut customers = Vec::new();
    for _ in 0..8 {
        customers.push(shop.customer("IN", "MH", "tok_ok").await);
    }
    let mut begun = Vec::new();
    let mut kills = 0;
    for round in 0..6 {
        let mut calls = Vec::new();
        for id in &customers {
            let (order, mut client) = (credits(id, "1000.00"), shop.seller.billing.clone());
            let asked = order.clone();
            calls.push((
                order,
                tokio::spawn(async move { client.collect_order(asked).await.map(|_| ()) }),
            ));
        }
        tokio::time::sleep(Duration::from_millis(10 + 15 * round)).await;
        assert!(shop.h.suite.kill("billing").await);
        kills += 1;
        for (order, call) in calls {
            let _ = call.await.unwrap(); // Cut short or answered.
            begun.push(order);
        }
        shop.h.suite.spawn("billing", &[]).unwrap();
        shop.h.suite.wait_for("billing").await.unwrap();
    }
    for order in &begun {
        let begun = Instant::now();
        let ended = loop {
            match shop.collect(order).await {
                Ok(collection) => break collection,
                Err(status) => assert!(begun.elapsed() < PATIENCE, "{status:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        shop.until(&ended, State::Succeeded).await;
    }
    for id in &customers {
        assert_eq!(shop.h.balance(id).await, "6000.000000");
        assert_eq!(shop.h.invoices(id).await.len(), 6);
    }
    assert_eq!(kills, 6);
    // Numbers without a gap, though each was taken in a transaction that may have been cut short.
    let numbers = "SELECT max(number) - count(*) FROM billing.invoices";
    assert_eq!(shop.h.count(numbers).await, 0);
    shop.reconciles().await;
}

#[tokio::test]
async fn req_133_trial_credit_is_forfeited_by_the_first_purchase() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
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
    let mut client = shop.h.operator.billing.clone();
    client.grant_credit(trial).await.unwrap();
    let mut order = credits(&id, "1000.00");
    order.lines.insert(
        0,
        billing::CollectionLine {
            plan_code: "starter".to_owned(),
            billing_cycle_code: "MONTHLY".to_owned(),
            ..line("SUBSCRIPTION", "2000.00")
        },
    );
    let bought = shop.collect(&order).await.unwrap();
    // REQ-109: Starter 2,000.00 and credits of 1,000.00, tax 540.00, 3,540.00 in all.
    assert_eq!(amount(&bought.amount), "3540.00");
    assert_eq!(taxes(&bought.taxes), [("IGST", 1800, "540.00")]);
    assert_eq!(shop.h.balance(&id).await, "1000.000000");
    let forfeited =
        "SELECT sum(amount_micros)::bigint FROM billing.ledger_entries WHERE credit = 10";
    assert_eq!(shop.h.count(forfeited).await, 400_000_000);
    // 950.00 would be paid out, which is less than 1,000.00 (D32).
    let below = shop.refund(&id, None).await.unwrap_err();
    assert_eq!(reason(&below), "NOTHING_TO_REFUND");
    assert!(
        below.message().contains("less than INR 1000.00"),
        "{below:?}"
    );
    shop.collect(&credits(&id, "1000.00")).await.unwrap();
    let refund = shop.refund(&id, None).await.unwrap();
    assert_eq!(
        (amount(&refund.amount), amount(&refund.fee)),
        ("2242.00", "100.00"),
        "950.00 of each 1,000.00 and its tax of 18 %; nothing of the subscription"
    );
    shop.reconciles().await;
}

#[tokio::test]
async fn req_101_a_message_is_paid_by_its_parts_and_its_text_is_not_kept() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    shop.collect(&credits(&id, "1000.00")).await.unwrap();
    let message = |event: &str, category: &str, text: String| billing::UsageEvent {
        quantity: String::new(),
        message_text: Some(text),
        ..rated(event, &id, category, "2026-03-01T12:00:00Z", "")
    };
    let latin = message(
        "latin",
        "sms-outbound",
        format!("grylloblatta{}", "a".repeat(149)),
    );
    let hindi = message("hindi", "sms", "म".repeat(70));
    let empty = message("empty", "sms", String::new());
    let sent = vec![latin.clone(), hindi, empty];
    shop.h.record(sent.clone()).await.unwrap();
    // 2, 1 and 1 parts of 0.20.
    assert_eq!(shop.h.balance(&id).await, "999.200000");
    shop.h.record(sent).await.unwrap();
    assert_eq!(shop.h.balance(&id).await, "999.200000", "a repetition");
    let counted = rated("latin", &id, "sms-outbound", "2026-03-01T12:00:00Z", "2");
    shop.h.record(vec![counted]).await.unwrap();
    assert_eq!(shop.h.balance(&id).await, "999.200000", "the same event");

    let both = billing::UsageEvent {
        quantity: "2".to_owned(),
        ..latin
    };
    for (bad, field) in [
        (both, "events[0].quantity"),
        (
            message("call", "voice", "hello".to_owned()),
            "events[0].message_text",
        ),
        (
            message("long", "sms", "a".repeat(1_601)),
            "events[0].message_text",
        ),
    ] {
        let status = shop.h.record(vec![bad]).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(field), "{status:?}");
    }
    assert_eq!(shop.h.balance(&id).await, "999.200000");
    assert_eq!(found(&shop.h, "grylloblatta").await, Vec::<String>::new());
}

#[tokio::test]
async fn req_101_usage_sent_again_costs_what_it_cost_whatever_the_rates_are_now() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    shop.collect(&credits(&id, "1000.00")).await.unwrap();
    let sent = async |event: &str, parts: &str| {
        let event = rated(event, &id, "sms", "2026-03-01T12:00:00Z", parts);
        shop.h.record(vec![event]).await.unwrap();
        shop.h.balance(&id).await
    };
    assert_eq!(sent("one", "10").await, "998.000000");
    let dearer = [("per_part: \"0.20\"", "per_part: \"0.25\"")];
    shop.h.import_as("v2", &dearer).await;
    assert_eq!(sent("two", "4").await, "997.000000", "a new one");
    assert_eq!(sent("one", "10").await, "997.000000", "a repetition");
    assert_eq!(sent("one", "5").await, "998.000000", "a correction");
    shop.reconciles().await;
}

#[tokio::test]
async fn req_101_usage_is_rated_debited_and_runs_the_balance_dry() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    shop.collect(&credits(&id, "1000.00")).await.unwrap();
    let at = "2026-03-01T12:00:00Z";
    let call = rated("call", &id, "voice-outbound", at, "195");
    let text = rated("text", &id, "sms-outbound", at, "3");
    shop.h
        .record(vec![call.clone(), text.clone()])
        .await
        .unwrap();
    // 4 pulses of 0.50 and 3 parts of 0.20.
    assert_eq!(shop.h.balance(&id).await, "997.400000");
    shop.h.record(vec![call, text.clone()]).await.unwrap();
    assert_eq!(shop.h.balance(&id).await, "997.400000", "a repetition");
    let shorter = rated("call", &id, "voice-outbound", at, "119");
    shop.h.record(vec![shorter]).await.unwrap();
    assert_eq!(shop.h.balance(&id).await, "998.400000", "a correction");
    // Settled elsewhere: recorded, and not debited.
    let mut elsewhere = crate::harness::event("elsewhere", &id, at, "5.00");
    elsewhere.price.as_mut().unwrap().currency_code = "INR".to_owned();
    shop.h.record(vec![elsewhere]).await.unwrap();
    assert_eq!(shop.h.balance(&id).await, "998.400000");
    let unknown = rated("fax", &id, "fax", at, "1");
    let status = shop.h.record(vec![text, unknown]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("events[1].price"), "{status:?}");

    let mut client = shop.seller.billing.clone();
    let mut news = client
        .watch_balances(billing::WatchBalancesRequest::default())
        .await
        .unwrap()
        .into_inner();
    shop.texts(&id, at, "4990").await;
    shop.texts(&id, at, "10").await;
    let mut told = Vec::new();
    for _ in 0..4 {
        let next = tokio::time::timeout(Duration::from_secs(10), news.message()).await;
        let next = next.unwrap().unwrap().unwrap();
        assert_eq!(next.account_id, id);
        told.push((next.threshold_code, next.below));
    }
    let named = |code: &str, below| (code.to_owned(), below);
    assert_eq!(
        told,
        [
            named("NOTIFY_BELOW", false),
            named("ZERO", false),
            named("NOTIFY_BELOW", true),
            named("ZERO", true)
        ]
    );
    // What the balance did not cover is owed, and paid by the next money first.
    assert_eq!(shop.h.balance(&id).await, "-1.600000");
    shop.collect(&credits(&id, "1000.00")).await.unwrap();
    assert_eq!(shop.h.balance(&id).await, "998.400000");
    shop.reconciles().await;
}

#[tokio::test]
async fn req_102_a_low_balance_is_filled_by_one_charge_up_to_the_monthly_cap() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    let off = shop.customer("IN", "MH", "tok_ok").await;
    for id in [&id, &off] {
        shop.collect(&credits(id, "1000.00")).await.unwrap();
    }
    let on = switched_on();
    let low = billing::AutoRecharge {
        threshold: inr("99.99"),
        ..on.clone()
    };
    assert_eq!(
        refused(shop.recharge(&id, low).await).0,
        Code::InvalidArgument
    );
    let set = shop.recharge(&id, on.clone()).await.unwrap();
    assert_eq!(
        (
            amount(&set.threshold),
            amount(&set.amount),
            set.mode.as_str()
        ),
        ("500.00", "5000.00", "ADD_AMOUNT")
    );
    let at = "2026-03-01T12:00:00Z";
    for id in [&id, &off] {
        shop.texts(id, at, "2600").await;
    }
    // 1,000.00 less 520.00 is 480.00: one charge of 5,000.00 and its tax.
    shop.balance_is(&id, "5480.000000").await;
    assert_eq!(shop.h.balance(&off).await, "480.000000");
    let charges = "SELECT count(*) FROM billing.collections WHERE order_id IS NULL";
    assert_eq!(shop.h.count(charges).await, 1);
    // Low again within minutes, it waits for the end of the cool-down.
    shop.texts(&id, at, "25000").await;
    shop.h.advance("2026-03-01T12:04:59Z").await;
    assert_eq!(shop.h.count(charges).await, 1);
    shop.h.advance("2026-03-01T12:06:00Z").await;
    shop.balance_is(&id, "5480.000000").await;
    assert_eq!(shop.h.count(charges).await, 2);
    // Three more in the month, an hour apart; the sixth has to wait for April.
    for hour in 13..16 {
        shop.h.advance(&format!("2026-03-01T{hour}:00:00Z")).await;
        shop.texts(&id, at, "25000").await;
        shop.balance_is(&id, "5480.000000").await;
    }
    assert_eq!(shop.h.count(charges).await, 5);
    shop.h.advance("2026-03-02T12:00:00Z").await;
    shop.texts(&id, at, "25000").await;
    shop.h.advance("2026-03-20T12:00:00Z").await;
    assert_eq!(shop.h.balance(&id).await, "480.000000", "the cap");
    shop.h.advance("2026-04-01T00:00:00Z").await;
    shop.balance_is(&id, "5480.000000").await;
    assert_eq!(shop.h.count(charges).await, 6);
    shop.reconciles().await;
}

/// How many recharges were charged, and the highest charge, in minor units.
async fn recharged(shop: &Shop) -> (i64, i64) {
    let made = "SELECT count(*) FROM billing.collections WHERE purpose = 'RECHARGE'";
    let most =
        "SELECT coalesce(max(total_minor), 0) FROM billing.collections WHERE purpose = 'RECHARGE'";
    (shop.h.count(made).await, shop.h.count(most).await)
}

#[tokio::test]
async fn an_automatic_charge_is_never_more_than_was_agreed_to_and_pauses_after_three_in_an_hour() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    let at = "2026-03-01T12:00:00Z";
    for _ in 0..5 {
        shop.texts(&id, at, "29000").await;
    }
    assert_eq!(shop.h.balance(&id).await, "-29000.000000");
    // 5,000.00 were agreed to: that and its tax, not the 35,400.00 that would close the gap.
    shop.recharge(&id, switched_on()).await.unwrap();
    shop.balance_is(&id, "-24000.000000").await;
    assert_eq!(recharged(&shop).await, (1, 5_900_00));
    // The rest waits for the next ones, after each cool-down.
    shop.h.advance("2026-03-01T12:05:00Z").await;
    shop.balance_is(&id, "-19000.000000").await;
    shop.h.advance("2026-03-01T12:10:00Z").await;
    shop.balance_is(&id, "-14000.000000").await;

    // Three within an hour: it pauses for the profile's day, and its owner is told.
    let setting = async || {
        let request = billing::GetAutoRechargeRequest {
            account_id: id.clone(),
        };
        let mut client = shop.seller.billing.clone();
        let answer = client.get_auto_recharge(request).await.unwrap();
        answer.into_inner().auto_recharge.unwrap()
    };
    let paused = setting().await;
    let until = crate::harness::instant("2026-03-02T12:10:00Z");
    assert!(paused.enabled);
    assert_eq!(
        paused.pause_end_time,
        Some(perdiem::connect::timestamp(until))
    );
    shop.h.advance("2026-03-02T12:09:59Z").await;
    assert_eq!(recharged(&shop).await, (3, 5_900_00));
    let told = account::ListNotificationsRequest {
        account_id: id.clone(),
        kind_code: "AUTO_RECHARGE_PAUSED".to_owned(),
        ..account::ListNotificationsRequest::default()
    };
    let listed = shop.h.customer().account.list_notifications(told).await;
    let facts: Vec<_> = listed
        .unwrap()
        .into_inner()
        .notifications
        .into_iter()
        .flat_map(|it| it.facts)
        .map(|fact| (fact.name, fact.value))
        .collect();
    let told = ("pause_end_time".to_owned(), until.to_rfc3339());
    assert_eq!(facts, [told]);
    shop.h.advance("2026-03-02T12:10:00Z").await;
    shop.balance_is(&id, "-9000.000000").await;
    assert_eq!(setting().await.pause_end_time, None);
    assert_eq!(recharged(&shop).await, (4, 5_900_00));
    shop.reconciles().await;
}

#[tokio::test]
async fn a_pause_of_recharging_ends_when_its_owner_sets_it_again() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    let at = "2026-03-01T12:00:00Z";
    for _ in 0..4 {
        shop.texts(&id, at, "25000").await;
    }
    shop.recharge(&id, switched_on()).await.unwrap();
    shop.h.advance("2026-03-01T12:20:00Z").await;
    assert_eq!(recharged(&shop).await, (3, 5_900_00));
    let again = shop.recharge(&id, switched_on()).await.unwrap();
    assert_eq!(again.pause_end_time, None);
    shop.balance_is(&id, "0.000000").await;
    // The three of before are agreed to: the fourth is the first of the next three.
    shop.h.advance("2026-03-01T12:25:00Z").await;
    shop.balance_is(&id, "5000.000000").await;
    assert_eq!(recharged(&shop).await, (5, 5_900_00));
}

#[tokio::test]
async fn a_sum_that_the_method_takes_no_charge_of_is_refused_when_it_is_set() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    let by = |amount: &str| billing::AutoRecharge {
        amount: inr(amount),
        ..switched_on()
    };
    let field = |status: &Status| {
        let bad = status.get_details_bad_request().unwrap();
        bad.field_violations[0].field.clone()
    };
    // A card is charged 1,000.00 or more.
    let low = shop.recharge(&id, by("999.99")).await.unwrap_err();
    assert_eq!(low.code(), Code::InvalidArgument);
    assert_eq!(field(&low), "auto_recharge.amount.amount");
    let exact = shop.recharge(&id, by("1000.00")).await.unwrap();
    assert_eq!(amount(&exact.amount), "1000.00");
    let bound = billing::AutoRecharge {
        maximum_amount: inr("5000.00"),
        ..switched_on()
    };
    let bound = shop.recharge(&id, bound).await.unwrap_err();
    assert_eq!(field(&bound), "auto_recharge.maximum_amount");

    // Filled up to 200.00, by at most 50.00 at once.
    let global = shop.h.account_of("global", false).await;
    shop.live_in(&global, "US", "", false).await;
    shop.card(&global, "tok_ok").await;
    let usd = |amount: &str| {
        Some(Money {
            currency_code: "USD".to_owned(),
            amount: amount.to_owned(),
        })
    };
    let up_to = billing::AutoRecharge {
        threshold: usd("60.00"),
        amount: usd("200.00"),
        ..switched_on()
    };
    let free = shop.recharge(&global, up_to.clone()).await;
    // What is asked for without a maximum is the balance to reach, at most.
    assert_eq!(amount(&free.unwrap().maximum_amount), "200.00");
    shop.balance_is(&global, "200.000000").await;
    let other = shop.h.account_of("global", false).await;
    shop.live_in(&other, "US", "", false).await;
    shop.card(&other, "tok_ok").await;
    let none = billing::AutoRecharge {
        maximum_amount: usd("0.00"),
        ..up_to.clone()
    };
    let none = shop.recharge(&other, none).await.unwrap_err();
    assert_eq!(field(&none), "auto_recharge.maximum_amount.amount");
    let bound = billing::AutoRecharge {
        maximum_amount: usd("50.00"),
        ..up_to
    };
    shop.recharge(&other, bound).await.unwrap();
    shop.balance_is(&other, "50.000000").await;
    shop.h.advance("2026-03-01T12:05:00Z").await;
    shop.balance_is(&other, "100.000000").await;
}

#[tokio::test]
async fn recharges_that_are_declined_wait_longer_and_then_stop_with_notice() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    shop.collect(&credits(&id, "1000.00")).await.unwrap();
    shop.card(&id, "tok_declined_insufficient_funds").await;
    let on = switched_on();
    shop.recharge(&id, on.clone()).await.unwrap();
    shop.texts(&id, "2026-03-01T12:00:00Z", "4000").await;
    let tries =
        "SELECT count(*) FROM billing.collections WHERE order_id IS NULL AND state = 'DECLINED'";
    let tried = async |at: &str, expected: i64| {
        shop.h.advance(at).await;
        assert_eq!(shop.h.count(tries).await, expected, "{at}");
    };
    tried("2026-03-01T12:30:00Z", 1).await;
    // Whatever is spent meanwhile.
    shop.texts(&id, "2026-03-01T12:00:00Z", "1").await;
    tried("2026-03-01T12:50:00Z", 1).await;
    tried("2026-03-01T14:00:00Z", 2).await;
    tried("2026-03-01T16:00:00Z", 2).await;
    tried("2026-03-01T19:00:00Z", 3).await;
    tried("2026-03-10T00:00:00Z", 3).await;
    let get = async || {
        let request = billing::GetAutoRechargeRequest {
            account_id: id.clone(),
        };
        let mut client = shop.seller.billing.clone();
        let answer = client.get_auto_recharge(request).await.unwrap();
        answer.into_inner().auto_recharge.unwrap()
    };
    let stopped = get().await;
    assert!(!stopped.enabled);
    assert_eq!(stopped.disable_reason, "INSUFFICIENT_FUNDS");
    let notices = async || {
        let request = account::ListNotificationsRequest {
            account_id: id.clone(),
            kind_code: "AUTO_RECHARGE_OFF".to_owned(),
            ..account::ListNotificationsRequest::default()
        };
        let mut client = shop.h.customer().account;
        let listed = client.list_notifications(request).await.unwrap();
        let listed = listed.into_inner().notifications;
        let facts = listed.into_iter().flat_map(|it| it.facts);
        facts.map(|fact| fact.value).collect::<Vec<_>>()
    };
    assert_eq!(notices().await, ["INSUFFICIENT_FUNDS"]);
    // Switched on again with a card that works, it acts at once.
    shop.card(&id, "tok_ok").await;
    shop.recharge(&id, on).await.unwrap();
    shop.balance_is(&id, "5199.800000").await;
    assert!(get().await.enabled);
    // Who takes money back does not want it charged again.
    shop.refund(&id, None).await.unwrap();
    assert_eq!(get().await.disable_reason, "REFUNDED");
    shop.h.advance("2026-03-11T00:00:00Z").await;
    assert_eq!(shop.h.balance(&id).await, "0.000000");
    assert_eq!(notices().await, ["REFUNDED", "INSUFFICIENT_FUNDS"]);

    // A card of a country whose cards are not charged so, the default one since it was switched on.
    let abroad = shop.h.account_of("global", false).await;
    shop.live_in(&abroad, "US", "", false).await;
    shop.card(&abroad, "tok_ok").await;
    let on = switched_on();
    let request = payments::AddPaymentMethodRequest {
        account_id: abroad.clone(),
        method_code: "CARD".to_owned(),
        provider_token: "tok_ok_visa".to_owned(),
        country_code: "IN".to_owned(),
        default_method: true,
        request_id: request_id(),
        ..payments::AddPaymentMethodRequest::default()
    };
    shop.recharge(&abroad, on).await.unwrap();
    shop.balance_is(&abroad, "20.000000").await;
    let mut client = shop.seller.payments.clone();
    client.add_payment_method(request).await.unwrap();
    let request = billing::StartRentalRequest {
        account_id: abroad.clone(),
        rental: Some(billing::Rental {
            rental_id: format!("RL{}", Uuid::new_v4().simple()),
            kind: billing::rental::Kind::Number.into(),
            code: "landline".to_owned(),
            monthly_price: Some(Amount {
                currency_code: "USD".to_owned(),
                amount: "15.00".to_owned(),
            }),
            ..billing::Rental::default()
        }),
        request_id: request_id(),
        ..billing::StartRentalRequest::default()
    };
    let mut selling = shop.seller.billing.clone();
    selling.start_rental(request).await.unwrap();
    shop.h.advance("2026-03-12T00:00:00Z").await;
    let off = "SELECT count(*) FROM billing.auto_recharges WHERE disable_reason = 'CARD_COUNTRY_EXCLUDED'";
    assert_eq!(shop.h.count(off).await, 1);
    let charges = payments::ListChargesRequest {
        account_id: abroad.clone(),
        ..payments::ListChargesRequest::default()
    };
    let charges = client.list_charges(charges).await.unwrap().into_inner();
    assert_eq!(charges.charges.len(), 1);

    let upi_only = shop.h.account_of("india", false).await;
    assert_eq!(
        refused(
            shop.recharge(
                &upi_only,
                billing::AutoRecharge {
                    enabled: true,
                    ..billing::AutoRecharge::default()
                }
            )
            .await
        ),
        (Code::FailedPrecondition, "NO_RECURRING_METHOD".to_owned())
    );
    let invoiced = shop.h.account_of("global", true).await;
    assert_eq!(
        refused(
            shop.recharge(&invoiced, billing::AutoRecharge::default())
                .await
        ),
        (Code::FailedPrecondition, "INVOICED_ACCOUNT".to_owned())
    );
    shop.reconciles().await;
}

#[tokio::test]
async fn req_122_refunds_follow_the_profile_to_the_payments_they_came_from() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    let first = shop.collect(&credits(&id, "2000.00")).await.unwrap();
    shop.h.advance("2026-03-02T12:00:00Z").await;
    let second = shop.collect(&credits(&id, "1500.00")).await.unwrap();
    shop.texts(&id, "2026-03-02T12:00:00Z", "2500").await;
    // The oldest was spent first: 1,500.00 of each is left.
    let refund = shop.refund(&id, None).await.unwrap();
    assert_eq!(
        (amount(&refund.amount), amount(&refund.fee)),
        ("3363.00", "150.00"),
        "2,850.00 and 513.00 of tax"
    );
    assert_eq!(refund.due_date, "2026-03-16", "10 business days");
    assert_eq!(refund.refund_ids.len(), 2);
    assert_eq!(shop.h.balance(&id).await, "0.000000");
    for (collection, expected) in [(&first, "1681.50"), (&second, "1681.50")] {
        let request = payments::GetChargeRequest {
            account_id: id.clone(),
            charge_id: collection.charge_id.clone(),
        };
        let mut client = shop.seller.payments.clone();
        let charge = client.get_charge(request).await.unwrap().into_inner();
        let charge = charge.charge.unwrap();
        assert_eq!(amount(&charge.refunded_amount), expected);
    }
    let states = "SELECT count(*) FROM billing.refunds WHERE state = 'SUCCEEDED'";
    assert_eq!(shop.h.count(states).await, 2);
    let fees = "SELECT sum(amount_micros)::bigint FROM billing.ledger_entries WHERE credit = 11";
    assert_eq!(shop.h.count(fees).await, 150_000_000);
    let on_its_way =
        "SELECT sum(CASE WHEN credit = 9 THEN amount_micros ELSE -amount_micros END)::bigint
                      FROM billing.ledger_entries WHERE 9 IN (debit, credit)";
    assert_eq!(shop.h.count(on_its_way).await, 0);

    assert_eq!(
        refused(shop.refund(&id, None).await),
        (Code::FailedPrecondition, "NOTHING_TO_REFUND".to_owned())
    );
    // Below the minimum, and older than the window of 90 days.
    shop.collect(&credits(&id, "1000.00")).await.unwrap();
    shop.texts(&id, "2026-03-02T12:00:00Z", "500").await;
    assert_eq!(
        refused(shop.refund(&id, None).await),
        (Code::FailedPrecondition, "NOTHING_TO_REFUND".to_owned())
    );
    shop.collect(&credits(&id, "5000.00")).await.unwrap();
    let some = shop.refund(&id, inr("2000.00")).await.unwrap();
    assert_eq!(amount(&some.amount), "2242.00");
    shop.h.advance("2026-06-15T00:00:00Z").await;
    assert_eq!(
        refused(shop.refund(&id, None).await),
        (Code::FailedPrecondition, "NOTHING_TO_REFUND".to_owned())
    );
    assert_eq!(shop.h.balance(&id).await, "3900.000000");
    shop.reconciles().await;
}

#[tokio::test]
async fn req_061_usage_that_cost_less_goes_back_to_the_credit_that_paid_for_it() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    let given = billing::GrantCreditRequest {
        account_id: id.clone(),
        kind: billing::lot::Kind::Promo.into(),
        amount: Some(Amount {
            currency_code: "INR".to_owned(),
            amount: "100.00".to_owned(),
        }),
        reason: "a test".to_owned(),
        request_id: request_id(),
        ..billing::GrantCreditRequest::default()
    };
    let mut client = shop.h.operator.billing.clone();
    client.grant_credit(given).await.unwrap();
    shop.collect(&credits(&id, "2000.00")).await.unwrap();
    let sent = async |event: &str, parts: &str| {
        let event = rated(event, &id, "sms", "2026-03-01T12:00:00Z", parts);
        shop.h.record(vec![event]).await.unwrap();
    };
    let (first, second) = (request_id(), request_id());
    // 100.00 of what was given, 300.00 of what was paid.
    sent(&first, "1000").await;
    sent(&second, "1000").await;
    assert_eq!(shop.h.balance(&id).await, "1700.000000");
    // Both turn out to have been nothing: what was paid is whole again, and what was given is that again.
    sent(&first, "0").await;
    assert_eq!(shop.h.balance(&id).await, "1900.000000");
    sent(&second, "0").await;
    assert_eq!(shop.h.balance(&id).await, "2100.000000");
    let lots = "SELECT count(*) FROM billing.lots WHERE remaining_micros = amount_micros";
    assert_eq!(shop.h.count(lots).await, 2, "and there is no other");
    let refund = shop.refund(&id, None).await.unwrap();
    assert_eq!(amount(&refund.amount), "2242.00", "1,900.00 and its tax");
    // What went back does not come back.
    sent(&first, "2000").await;
    sent(&first, "0").await;
    assert_eq!(shop.h.balance(&id).await, "100.000000");
    let given = "SELECT remaining_micros FROM billing.lots WHERE kind = 2";
    assert_eq!(shop.h.count(given).await, 100_000_000);
    assert_eq!(
        refused(shop.refund(&id, None).await),
        (Code::FailedPrecondition, "NOTHING_TO_REFUND".to_owned())
    );
    shop.reconciles().await;
}

#[tokio::test]
async fn what_a_gift_had_paid_never_becomes_money_and_transfers_are_one_piece_of_work() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    let given = async |kind: billing::lot::Kind, amount: &str, until: Option<&str>| {
        let request = billing::GrantCreditRequest {
            account_id: id.clone(),
            kind: kind.into(),
            amount: Some(Amount {
                currency_code: "INR".to_owned(),
                amount: amount.to_owned(),
            }),
            expire_time: until.map(|at| perdiem::connect::timestamp(crate::harness::instant(at))),
            reason: "a test".to_owned(),
            request_id: request_id(),
            ..billing::GrantCreditRequest::default()
        };
        let mut client = shop.h.operator.billing.clone();
        client.grant_credit(request).await.unwrap();
    };
    let promo = billing::lot::Kind::Promo;
    given(promo, "5000.00", Some("2026-03-10T00:00:00Z")).await;
    let sent = async |event: &str, parts: &str| {
        let event = rated(event, &id, "sms", "2026-03-01T12:00:00Z", parts);
        shop.h.record(vec![event]).await.unwrap();
    };
    let event = request_id();
    sent(&event, "20000").await;
    assert_eq!(shop.h.balance(&id).await, "1000.000000");
    shop.h.advance("2026-03-10T00:00:00Z").await;
    assert_eq!(shop.h.balance(&id).await, "0.000000");
    // It turns out to have been nothing: the gift would have been lost at its expiry.
    sent(&event, "0").await;
    assert_eq!(shop.h.balance(&id).await, "0.000000");
    let forfeited =
        "SELECT sum(amount_micros)::bigint FROM billing.ledger_entries WHERE credit = 10";
    assert_eq!(shop.h.count(forfeited).await, 5_000_000_000);
    assert_eq!(
        refused(shop.refund(&id, None).await),
        (Code::FailedPrecondition, "NOTHING_TO_REFUND".to_owned())
    );
    // What was owed and settled by a purchase since is credit again, of no payment that is known.
    let event = request_id();
    sent(&event, "10000").await;
    shop.collect(&credits(&id, "2000.00")).await.unwrap();
    sent(&event, "0").await;
    assert_eq!(shop.h.balance(&id).await, "2000.000000");
    assert_eq!(
        refused(shop.refund(&id, None).await),
        (Code::FailedPrecondition, "NOTHING_TO_REFUND".to_owned())
    );
    // Money that an operator recorded goes back, in one transfer.
    let paid = billing::lot::Kind::Paid;
    given(paid, "1500.00", None).await;
    given(paid, "1000.00", None).await;
    let refund = shop.refund(&id, None).await.unwrap();
    assert_eq!(
        (amount(&refund.amount), amount(&refund.fee)),
        ("2375.00", "125.00")
    );
    let transfers = "SELECT count(*) FROM billing.refunds WHERE manual AND amount_minor = 237500";
    assert_eq!(shop.h.count(transfers).await, 1);
    // Closed, it does not stay: somebody had paid it, and whoever makes the transfer finds out who.
    let request = account::GetCloseOptionsRequest {
        account_id: id.clone(),
    };
    let told = shop.h.customer().account.get_close_options(request).await;
    let told = told.unwrap().into_inner();
    assert_eq!(amount(&told.estimated_refund_amount), "1900.00");
    let closed = crate::closing::close(&shop.h.customer(), &id).await;
    let how = closed.unwrap().closing.unwrap();
    assert_eq!(amount(&how.refund_amount), "1900.00", "2,000.00 less 5 %");
    assert_eq!(how.refund_ids.len(), 1);
    assert_eq!(shop.h.balance(&id).await, "0.000000");
    let transfers = "SELECT count(*) FROM billing.refunds WHERE manual AND amount_minor = 190000";
    assert_eq!(shop.h.count(transfers).await, 1);
    let mut client = shop.h.operator.billing.clone();
    let request = billing::ReconcileRequest::default();
    let answer = client.reconcile(request).await.unwrap().into_inner();
    assert_eq!(answer.differences, Vec::<String>::new());
}

#[tokio::test]
async fn req_062_a_refund_that_is_not_paid_out_in_time_raises_one_alert() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_refund_expired").await;
    shop.collect(&credits(&id, "2000.00")).await.unwrap();
    let refund = shop.refund(&id, None).await.unwrap();
    assert_eq!(
        refund.due_date, "2026-03-13",
        "10 business days from a Sunday"
    );
    let alerts = || {
        let log = shop.h.suite.settings.folder.join("payments.log");
        let log = std::fs::read_to_string(log).unwrap();
        log.matches("a refund is overdue").count()
    };
    shop.h.advance("2026-03-13T23:59:59Z").await;
    assert_eq!(alerts(), 0);
    shop.h.advance("2026-03-14T00:00:00Z").await;
    assert_eq!(alerts(), 1);
    shop.h.advance("2026-03-20T00:00:00Z").await;
    assert_eq!(alerts(), 1, "it is told of once");
    let request = payments::ListRefundsRequest {
        account_id: id.clone(),
        overdue: true,
        ..payments::ListRefundsRequest::default()
    };
    let mut client = shop.seller.payments.clone();
    let listed = client.list_refunds(request).await.unwrap().into_inner();
    assert_eq!(listed.refunds.len(), 1);
}

#[tokio::test]
async fn a_refund_is_tried_again_and_waits_for_a_bank_transfer_in_the_end() {
    let shop = Shop::start_with(&[("LOOK_UP_SECONDS", "1")]).await;
    let again = shop.customer("IN", "MH", "tok_refund_fails_2").await;
    let expired = shop.customer("IN", "MH", "tok_refund_expired").await;
    let untold = shop.customer("IN", "MH", "tok_refund_timeout").await;
    let never = shop.customer("IN", "MH", "tok_refund_fails_9").await;
    for id in [&again, &expired, &untold, &never] {
        shop.collect(&credits(id, "2000.00")).await.unwrap();
        let refund = shop.refund(id, None).await.unwrap();
        assert_eq!(amount(&refund.amount), "2242.00");
        assert_eq!(shop.h.balance(id).await, "0.000000");
    }
    let state = async |id: &str| -> String {
        sqlx::query_scalar("SELECT state FROM billing.refunds WHERE root_id = $1")
            .bind(id.parse::<values::AccountId>().unwrap().uuid())
            .fetch_one(&shop.h.db)
            .await
            .unwrap()
    };
    let until = async |id: &str, expected: &str| {
        let begun = Instant::now();
        while state(id).await != expected {
            let waited = begun.elapsed();
            assert!(waited < PATIENCE, "{}", state(id).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    until(&untold, "SUCCEEDED").await;
    until(&expired, "NEEDS_MANUAL").await;
    assert_eq!(state(&again).await, "RETRYING");
    shop.h.advance("2026-03-02T13:00:00Z").await;
    assert_eq!(state(&again).await, "RETRYING");
    shop.h.advance("2026-03-03T14:00:00Z").await;
    until(&again, "SUCCEEDED").await;
    // Four times by the card that paid, then by a transfer (REQ-069).
    shop.h.advance("2026-03-04T14:00:00Z").await;
    until(&never, "NEEDS_MANUAL").await;
    let tries = "SELECT count(*) FROM payments.movements m JOIN payments.movements c ON c.movement_id = m.subject_id
                 JOIN payments.methods by ON by.method_id = c.method_id
                 WHERE m.kind = 'REFUND' AND m.state = 'DECLINED' AND by.provider_token = 'tok_refund_fails_9'";
    assert_eq!(shop.h.count(tries).await, 4);

    // A person has made the transfer, and says so.
    let request = payments::ListRefundsRequest {
        account_id: expired.clone(),
        state: payments::MovementState::Parked.into(),
        ..payments::ListRefundsRequest::default()
    };
    let mut client = shop.h.operator.payments.clone();
    let parked = client.list_refunds(request).await.unwrap().into_inner();
    let request = payments::ResolveMovementRequest {
        account_id: expired.clone(),
        movement_id: parked.refunds[0].refund_id.clone(),
        outcome: payments::resolve_movement_request::Outcome::Moved.into(),
        amount: inr("2221.00"),
        provider_movement_id: "UTR-1".to_owned(),
        settle_time: Some(perdiem::connect::timestamp(crate::harness::instant(
            "2026-03-03T10:00:00Z",
        ))),
        note: "the bank kept 21.00".to_owned(),
        request_id: request_id(),
    };
    client.resolve_movement(request).await.unwrap();
    until(&expired, "SUCCEEDED").await;
    // What has not gone back is the customer's again.
    assert_eq!(shop.h.balance(&expired).await, "21.000000");
    let mut client = shop.h.operator.billing.clone();
    let request = billing::ReconcileRequest::default();
    let answer = client.reconcile(request).await.unwrap().into_inner();
    assert_eq!(answer.differences, Vec::<String>::new());
}

#[tokio::test]
async fn an_issuer_under_another_code_goes_on_with_the_numbers_of_its_prefix() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    shop.collect(&credits(&id, "1000.00")).await.unwrap();
    let renamed = ("  india_pvt:", "  india_ltd:");
    shop.h.import_as("v2", &[renamed]).await;
    shop.collect(&credits(&id, "1000.00")).await.unwrap();
    let invoices = shop.h.invoices(&id).await;
    let mut numbers: Vec<_> = invoices.iter().map(|it| it.number.as_str()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, ["IN-25-00000001", "IN-25-00000002"]);
    // Nor can a series be made that would print them again.
    let again = "INSERT INTO billing.invoice_series (issuer_code, fiscal_year, number_prefix) VALUES ('other', 2025, 'IN')";
    let refused = sqlx::query(again).execute(&shop.h.db).await.unwrap_err();
    let refused = refused.as_database_error().unwrap();
    assert_eq!(refused.constraint(), Some("invoice_series_prefix"));
}

#[tokio::test]
async fn trial_credit_outlasts_the_first_purchase_where_the_profile_keeps_it() {
    let shop = Shop::start().await;
    // The first replacement is that of the profile `global`, the second that of `india`.
    let keep = ("trial_on_upgrade: FORFEIT", "trial_on_upgrade: KEEP");
    shop.h.import_as("v2", &[keep, keep]).await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
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
    let mut client = shop.h.operator.billing.clone();
    client.grant_credit(trial).await.unwrap();
    shop.collect(&credits(&id, "1000.00")).await.unwrap();
    assert_eq!(shop.h.balance(&id).await, "1400.000000");
    shop.reconciles().await;
}

#[tokio::test]
async fn an_account_that_pays_by_invoice_has_auto_recharge_where_its_profile_offers_it() {
    let shop = Shop::start().await;
    let id = shop.h.account_of("global", true).await;
    let off = billing::AutoRecharge::default;
    assert_eq!(
        refused(shop.recharge(&id, off()).await),
        (Code::FailedPrecondition, "INVOICED_ACCOUNT".to_owned())
    );
    let offered = ("invoiced: false", "invoiced: true");
    shop.h.import_as("v2", &[offered]).await;
    shop.recharge(&id, off()).await.unwrap();
}

#[tokio::test]
async fn granted_credit_is_neither_sold_nor_refunded_and_the_answer_says_so() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    // A purchase can't bring credit that nobody pays for.
    for kind in ["PROMO", "TRIAL"] {
        let mut order = credits(&id, "1000.00");
        order.lines.push(line(kind, "100.00"));
        let status = shop.collect(&order).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        for part in ["lines[1].kind", "GrantCredit"] {
            assert!(status.message().contains(part), "{status:?}");
        }
    }
    assert_eq!(shop.h.balance(&id).await, "0.000000");
    let grant = billing::GrantCreditRequest {
        account_id: id.clone(),
        kind: billing::lot::Kind::Promo.into(),
        amount: Some(Amount {
            currency_code: "INR".to_owned(),
            amount: "5000.00".to_owned(),
        }),
        reason: "goodwill".to_owned(),
        request_id: request_id(),
        ..billing::GrantCreditRequest::default()
    };
    let mut client = shop.h.operator.billing.clone();
    client.grant_credit(grant).await.unwrap();
    let status = shop.refund(&id, inr("100.00")).await.unwrap_err();
    assert_eq!(reason(&status), "NOTHING_TO_REFUND");
    let told = "granted credit is never refunded";
    assert!(status.message().contains(told), "{status:?}");
    // What was paid goes back, and what was granted stays.
    shop.collect(&credits(&id, "3000.00")).await.unwrap();
    shop.refund(&id, None).await.unwrap();
    assert_eq!(shop.h.balance(&id).await, "5000.000000");
    shop.reconciles().await;
}

#[tokio::test]
async fn granted_credit_is_voided_with_a_reason_and_never_into_a_debt() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    let grant = billing::GrantCreditRequest {
        account_id: id.clone(),
        kind: billing::lot::Kind::Promo.into(),
        amount: Some(Amount {
            currency_code: "INR".to_owned(),
            amount: "500.00".to_owned(),
        }),
        reason: "by mistake".to_owned(),
        request_id: request_id(),
        ..billing::GrantCreditRequest::default()
    };
    let mut client = shop.h.operator.billing.clone();
    let given = client.grant_credit(grant).await.unwrap().into_inner();
    let given = given.lot.unwrap();
    shop.texts(&id, "2026-03-01T12:00:00Z", "500").await;
    assert_eq!(shop.h.balance(&id).await, "400.000000");
    let void = async |lot: &str, amount: Option<&str>| {
        let request = billing::VoidCreditRequest {
            account_id: id.clone(),
            lot_id: lot.to_owned(),
            amount: amount.map(|amount| Amount {
                currency_code: "INR".to_owned(),
                amount: amount.to_owned(),
            }),
            reason: "it was another account's".to_owned(),
            request_id: request_id(),
        };
        let mut client = shop.h.operator.billing.clone();
        let answer = client.void_credit(request).await?;
        Ok::<_, Status>(answer.into_inner().lot.unwrap().remaining.unwrap().amount)
    };
    assert_eq!(
        refused(void(&given.lot_id, Some("400.01")).await),
        (Code::FailedPrecondition, "CREDIT_EXCEEDED".to_owned())
    );
    let left = void(&given.lot_id, Some("150.00")).await.unwrap();
    assert_eq!(left, "250.000000");
    assert_eq!(void(&given.lot_id, None).await.unwrap(), "0.000000");
    assert_eq!(shop.h.balance(&id).await, "0.000000");
    assert_eq!(
        refused(void(&given.lot_id, None).await),
        (Code::NotFound, "CREDIT_NOT_FOUND".to_owned())
    );
    // What was paid for goes back by a refund.
    shop.collect(&credits(&id, "1000.00")).await.unwrap();
    let request = billing::GetBalanceRequest {
        account_id: id.clone(),
        read_time: None,
    };
    let bought = client.get_balance(request).await.unwrap().into_inner();
    assert_eq!(
        refused(void(&bought.lots[0].lot_id, None).await),
        (Code::FailedPrecondition, "CREDIT_WAS_PAID".to_owned())
    );
    // Nor what came of a correction: nobody granted it. It had been owed, and a purchase settled it.
    let event = request_id();
    let sent = async |parts: &str| {
        let event = rated(&event, &id, "sms", "2026-03-01T12:00:00Z", parts);
        shop.h.record(vec![event]).await.unwrap();
    };
    sent("10000").await;
    shop.collect(&credits(&id, "1000.00")).await.unwrap();
    sent("0").await;
    let request = billing::GetBalanceRequest {
        account_id: id.clone(),
        read_time: None,
    };
    let made = client.get_balance(request).await.unwrap().into_inner();
    let paid = billing::lot::Kind::Paid;
    let mut made = made.lots.iter();
    let made = made.find(|it| it.kind() == paid && it.invoice_id.is_empty());
    assert_eq!(
        refused(void(&made.unwrap().lot_id, None).await),
        (Code::FailedPrecondition, "CREDIT_NOT_GRANTED".to_owned())
    );
    let noted =
        "SELECT count(*) FROM billing.voided_credits WHERE reason = 'it was another account''s'";
    assert_eq!(shop.h.count(noted).await, 2);
    shop.reconciles().await;
}

#[tokio::test]
async fn a_credit_note_goes_back_to_the_charge_that_paid_its_invoice() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    let mut order = credits(&id, "1000.00");
    order.lines = vec![billing::CollectionLine {
        plan_code: "starter".to_owned(),
        billing_cycle_code: "MONTHLY".to_owned(),
        ..line("SUBSCRIPTION", "2000.00")
    }];
    let bought = shop.collect(&order).await.unwrap();
    assert_eq!(amount(&bought.amount), "2360.00");
    let request = billing::CreateCreditNoteRequest {
        invoice_id: bought.invoice_id.clone(),
        amount: inr("1180.00"),
        reason: "half of it was down".to_owned(),
        request_id: request_id(),
        refund_to_charge: true,
    };
    let mut client = shop.h.operator.billing.clone();
    client.create_credit_note(request).await.unwrap();
    assert_eq!(shop.h.balance(&id).await, "0.000000", "not to the balance");
    let paid = "SELECT count(*) FROM billing.refunds
                WHERE state = 'SUCCEEDED' AND amount_minor = 118000 AND tax_minor = 18000 AND lot_id IS NULL";
    let begun = Instant::now();
    while shop.h.count(paid).await != 1 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let request = payments::GetChargeRequest {
        account_id: id.clone(),
        charge_id: bought.charge_id.clone(),
    };
    let mut client = shop.seller.payments.clone();
    let charge = client.get_charge(request).await.unwrap().into_inner();
    let charge = charge.charge.unwrap();
    assert_eq!(amount(&charge.refunded_amount), "1180.00");
    shop.reconciles().await;
}

#[tokio::test]
async fn a_credit_note_takes_back_what_was_earned_and_never_more() {
    let shop = Shop::start().await;
    let note = async |invoice: &str, currency: &str, amount: &str| {
        let request = billing::CreateCreditNoteRequest {
            invoice_id: invoice.to_owned(),
            amount: Some(Money {
                currency_code: currency.to_owned(),
                amount: amount.to_owned(),
            }),
            reason: "goodwill".to_owned(),
            request_id: request_id(),
            ..billing::CreateCreditNoteRequest::default()
        };
        let mut client = shop.h.operator.billing.clone();
        let answer = client.create_credit_note(request).await?;
        Ok::<_, Status>(answer.into_inner().credit_note.unwrap())
    };
    // A purchase: 2,000.00 earned and its tax; the credits of 1,000.00 are the customer's anyway.
    let id = shop.customer("IN", "MH", "tok_ok").await;
    let mut order = credits(&id, "1000.00");
    order.lines.push(billing::CollectionLine {
        plan_code: "starter".to_owned(),
        billing_cycle_code: "MONTHLY".to_owned(),
        ..line("SUBSCRIPTION", "2000.00")
    });
    let bought = shop.collect(&order).await.unwrap();
    assert_eq!(
        refused(note(&bought.invoice_id, "INR", "2360.01").await),
        (
            Code::FailedPrecondition,
            "CREDIT_EXCEEDS_INVOICE".to_owned()
        )
    );
    let first = note(&bought.invoice_id, "INR", "1180.00").await.unwrap();
    assert_eq!(first.number, "INC-25-00000001");
    // Rule 53: what a credit note says.
    let invoice = shop.invoice(&bought.invoice_id).await;
    let [paper] = invoice.credit_notes.as_slice() else {
        panic!("{:?}", invoice.credit_notes);
    };
    assert_eq!(
        (&paper.number, &paper.invoice_number, &paper.issue_time),
        (&first.number, &invoice.number, &first.issue_time)
    );
    assert_eq!(taxes(&paper.taxes), [("IGST", 1800, "180.00")]);
    let said = paper.particulars.clone().unwrap();
    assert_eq!(said.title, "Credit note");
    assert_eq!(said.supplier.unwrap().tax_id, "29AAAAA0000A1Z5");
    assert_eq!(said.recipient.unwrap().display_name, "A customer");
    assert_eq!(said.place_of_supply, "27 Maharashtra");
    assert_eq!(amount(&said.taxable_value), "1000.00");
    assert_eq!(
        said.total_in_words,
        "Rupees one thousand one hundred eighty only"
    );
    assert_ne!(said.signature_note, "");
    let render = async |note: &str| {
        let request = billing::RenderInvoiceRequest {
            invoice_id: bought.invoice_id.clone(),
            credit_note_id: note.to_owned(),
        };
        let answer = shop
            .h
            .operator
            .billing
            .clone()
            .render_invoice(request)
            .await?;
        Ok::<_, Status>(answer.into_inner().pdf)
    };
    let pdf = render(&first.credit_note_id).await.unwrap();
    assert!(pdf.starts_with(b"%PDF-"));
    assert_ne!(pdf, render("").await.unwrap());
    let unknown = format!("CN{}", Uuid::nil().simple());
    assert_eq!(
        refused(render(&unknown).await).0,
        Code::InvalidArgument,
        "a credit note of another invoice"
    );
    assert_eq!(shop.h.balance(&id).await, "2180.000000");
    let tax = "SELECT sum(CASE WHEN credit = 7 THEN amount_micros ELSE -amount_micros END)::bigint
               FROM billing.ledger_entries WHERE 7 IN (debit, credit)";
    assert_eq!(
        shop.h.count(tax).await,
        360_000_000,
        "180.00 of 540.00 is taken back"
    );
    let invoice = shop.invoice(&bought.invoice_id).await;
    assert_eq!(amount(&invoice.credited), "1180.00");
    assert_eq!(
        refused(note(&bought.invoice_id, "INR", "1180.01").await),
        (
            Code::FailedPrecondition,
            "CREDIT_EXCEEDS_INVOICE".to_owned()
        )
    );

    // An open invoice of a run: what is due goes first, and when nothing is due it is paid.
    let owing = shop.h.account_of("global", true).await;
    shop.h
        .change("2026-03-20T10:00:00Z", &owing, "business")
        .await;
    shop.h.advance("2026-04-01T00:00:00Z").await;
    shop.h.bill("2026-03").await;
    let open = shop.h.invoices(&owing).await.remove(0);
    assert_eq!(amount(&open.amount_due), "580.65");
    note(&open.invoice_id, "USD", "80.65").await.unwrap();
    assert_eq!(
        amount(&shop.invoice(&open.invoice_id).await.amount_due),
        "500.00"
    );
    note(&open.invoice_id, "USD", "500.00").await.unwrap();
    let paid = shop.invoice(&open.invoice_id).await;
    assert_eq!(paid.state(), billing::invoice::State::Paid);
    assert_eq!(shop.h.balance(&owing).await, "0.000000");
    assert_eq!(
        refused(note(&open.invoice_id, "USD", "0.01").await),
        (
            Code::FailedPrecondition,
            "CREDIT_EXCEEDS_INVOICE".to_owned()
        )
    );
    let request = billing::ListCreditNotesRequest {
        account_id: owing,
        ..billing::ListCreditNotesRequest::default()
    };
    let mut client = shop.h.operator.billing.clone();
    let listed = client
        .list_credit_notes(request)
        .await
        .unwrap()
        .into_inner();
    let numbers: Vec<_> = listed
        .credit_notes
        .iter()
        .map(|it| it.number.as_str())
        .collect();
    assert_eq!(numbers, ["GLC-26-00000002", "GLC-26-00000001"]);
    shop.reconciles().await;
}

#[tokio::test]
async fn a_customer_buys_credit_by_quote_confirmation_and_commit() {
    let shop = Shop::start().await;
    let id = shop.h.account_of("india", false).await;
    shop.card(&id, "tok_ok").await;
    let customer = shop.h.customer();
    let details = account::UpdateBillingDetailsRequest {
        account_id: id.clone(),
        billing_details: Some(account::BillingDetails {
            recipient_name: "Kaveri Tea".to_owned(),
            address: "7 Residency Road\nBengaluru".to_owned(),
            country_code: "IN".to_owned(),
            state_code: "KA".to_owned(),
            tax_id: "29BBBBB0000B1Z5".to_owned(),
            ..account::BillingDetails::default()
        }),
        request_id: request_id(),
        ..account::UpdateBillingDetailsRequest::default()
    };
    let mut client = customer.account.clone();
    client
        .update_billing_details(details.clone())
        .await
        .unwrap();
    let mode = account::UpdateBillingDetailsRequest {
        billing_mode: account::account::BillingMode::Invoiced.into(),
        request_id: request_id(),
        ..details
    };
    assert_eq!(
        refused(client.update_billing_details(mode).await),
        (Code::PermissionDenied, "OPERATORS_ONLY".to_owned())
    );
    let quote = async |amount: &str| {
        let purchase = account::CreditPurchase {
            amount: inr(amount),
            payment_method_id: String::new(),
        };
        let request = account::CreateOrderRequest {
            account_id: id.clone(),
            kind: Some(account::create_order_request::Kind::CreditPurchase(
                purchase,
            )),
            request_id: request_id(),
        };
        let mut client = shop.h.customer().account.clone();
        let answer = client.create_order(request).await?;
        Ok::<_, Status>(answer.into_inner().order.unwrap())
    };
    let order = quote("10000.00").await.unwrap();
    assert_eq!(order.kind(), account::order::Kind::BuyCredits);
    assert_eq!(order.state(), account::order::State::Quoted);
    let lines: Vec<_> = order
        .lines
        .iter()
        .map(|it| (it.kind_code.as_str(), amount(&it.amount), it.estimated))
        .collect();
    assert_eq!(
        lines,
        [
            ("CREDITS", "10000.00", false),
            ("CGST", "900.00", false),
            ("SGST", "900.00", false)
        ]
    );
    assert_eq!(amount(&order.total), "11800.00");
    assert_eq!(
        refused(shop.h.commit(&customer, &order).await),
        (Code::FailedPrecondition, "CONFIRMATION_MISSING".to_owned())
    );
    shop.h.confirm(&customer, &order).await.unwrap();
    let done = shop.h.commit(&customer, &order).await.unwrap();
    assert_eq!(done.state(), account::order::State::Completed);
    assert_eq!(shop.h.balance(&id).await, "10000.000000");
    let again = shop.h.commit(&customer, &order).await.unwrap();
    assert_eq!(again.invoice_id, done.invoice_id);
    assert_eq!(shop.h.balance(&id).await, "10000.000000");
    let invoice = shop.invoice(&done.invoice_id).await;
    assert_eq!(amount(&invoice.total), "11800.00");

    // An invoice keeps whom it went to, whatever the details are afterwards.
    let recipients = "SELECT count(*) FROM billing.recipients WHERE recipient LIKE 'Kaveri Tea%'";
    assert_eq!(shop.h.count(recipients).await, 1);

    // Where the tax has changed since the quote, nothing is charged.
    let quoted = quote("1000.00").await.unwrap();
    shop.h.confirm(&customer, &quoted).await.unwrap();
    shop.live_in(&id, "IN", "KA", true).await;
    assert_eq!(
        refused(shop.h.commit(&customer, &quoted).await),
        (Code::Aborted, "REQUOTE".to_owned())
    );
    // A decline is no refusal; slow money completes the order when it has arrived.
    shop.card(&id, "tok_declined_insufficient_funds").await;
    let order = quote("1000.00").await.unwrap();
    shop.h.confirm(&customer, &order).await.unwrap();
    let failed = shop.h.commit(&customer, &order).await.unwrap();
    assert_eq!(failed.state(), account::order::State::Failed);
    assert_eq!(failed.failure_reason, "PAYMENT_DECLINED");
    shop.card(&id, "tok_slow_ok").await;
    let order = quote("1000.00").await.unwrap();
    shop.h.confirm(&customer, &order).await.unwrap();
    let waiting = shop.h.commit(&customer, &order).await.unwrap();
    assert_eq!(waiting.state(), account::order::State::AwaitingSettlement);
    assert_eq!(shop.h.balance(&id).await, "10000.000000");
    shop.h.advance("2026-03-04T12:00:00Z").await;
    let request = account::GetOrderRequest {
        order_id: order.order_id.clone(),
    };
    let mut client = customer.account.clone();
    let order = client.get_order(request).await.unwrap().into_inner();
    assert_eq!(
        order.order.unwrap().state(),
        account::order::State::Completed
    );
    assert_eq!(shop.h.balance(&id).await, "11000.000000");
    shop.reconciles().await;
}

#[tokio::test]
async fn a_trial_buys_a_plan_before_credit_where_there_are_plans_and_is_full_by_credit_elsewhere() {
    let shop = Shop::start().await;
    let trial = async |profile: &str| {
        let request = account::CreateAccountRequest {
            profile_code: profile.to_owned(),
            display_name: "A trial".to_owned(),
            owner_user_id: shop.h.user(profile).await,
            r#type: account::account::Type::Trial.into(),
            request_id: request_id(),
            ..account::CreateAccountRequest::default()
        };
        let mut client = shop.h.operator.account.clone();
        let made = client.create_account(request).await.unwrap().into_inner();
        let id = made.account.unwrap().account_id;
        shop.card(&id, "tok_ok").await;
        id
    };
    let buy = async |id: &str, currency: &str| {
        let purchase = account::CreditPurchase {
            amount: Some(Money {
                currency_code: currency.to_owned(),
                amount: "1000.00".to_owned(),
            }),
            payment_method_id: String::new(),
        };
        let request = account::CreateOrderRequest {
            account_id: id.to_owned(),
            kind: Some(account::create_order_request::Kind::CreditPurchase(
                purchase,
            )),
            request_id: request_id(),
        };
        let mut client = shop.h.operator.account.clone();
        let order = client.create_order(request).await?.into_inner();
        let order = order.order.unwrap();
        shop.h.confirm(&shop.h.operator, &order).await?;
        shop.h.commit(&shop.h.operator, &order).await
    };
    let indian = trial("india").await;
    assert_eq!(
        refused(buy(&indian, "INR").await),
        (Code::FailedPrecondition, "UPGRADE_FIRST".to_owned())
    );
    let global = trial("global").await;
    assert_eq!(refused(buy(&global, "INR").await).0, Code::InvalidArgument);
    let done = buy(&global, "USD").await.unwrap();
    assert_eq!(done.state(), account::order::State::Completed);
    let request = account::GetAccountRequest {
        account_id: global,
        ..account::GetAccountRequest::default()
    };
    let mut client = shop.h.operator.account.clone();
    let account = client.get_account(request).await.unwrap().into_inner();
    assert_eq!(
        account.account.unwrap().r#type(),
        account::account::Type::Full
    );
}

#[tokio::test]
async fn credit_that_expires_is_told_and_fills_the_balance_where_that_is_on() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    let promo = billing::GrantCreditRequest {
        priority: 0,
        account_id: id.clone(),
        kind: billing::lot::Kind::Promo.into(),
        amount: Some(Amount {
            currency_code: "INR".to_owned(),
            amount: "900.00".to_owned(),
        }),
        expire_time: Some(perdiem::connect::timestamp(crate::harness::instant(
            "2026-03-05T00:00:00Z",
        ))),
        reason: "promo".to_owned(),
        request_id: request_id(),
    };
    let mut client = shop.h.operator.billing.clone();
    client.grant_credit(promo).await.unwrap();
    let on = switched_on();
    shop.recharge(&id, on).await.unwrap();
    shop.h.advance("2026-03-04T23:00:00Z").await;
    assert_eq!(shop.h.balance(&id).await, "900.000000");
    shop.h.advance("2026-03-05T00:00:00Z").await;
    shop.balance_is(&id, "5000.000000").await;
    let told = "SELECT count(*) FROM billing.outbox WHERE threshold_code = 'ZERO' AND fell";
    assert_eq!(shop.h.count(told).await, 1);
    shop.reconciles().await;
}

#[tokio::test]
async fn the_months_of_a_rental_are_those_of_the_profile_s_zone() {
    let shop = Shop::start().await;
    // 1 May, 00:30 in India, and 30 April in UTC.
    shop.h.advance("2026-04-30T19:00:00Z").await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    shop.collect(&credits(&id, "5000.00")).await.unwrap();
    let request = billing::StartRentalRequest {
        account_id: id.clone(),
        rental: Some(billing::Rental {
            rental_id: format!("RL{}", Uuid::new_v4().simple()),
            kind: billing::rental::Kind::AddOn.into(),
            code: "whatsapp".to_owned(),
            monthly_price: Some(Amount {
                currency_code: "INR".to_owned(),
                amount: "500.00".to_owned(),
            }),
            ..billing::Rental::default()
        }),
        request_id: request_id(),
        ..billing::StartRentalRequest::default()
    };
    let mut client = shop.seller.billing.clone();
    let begun = client.start_rental(request).await.unwrap().into_inner();
    let next = begun.rental.unwrap().next_charge_time.unwrap();
    // 1 June in India; the month of UTC would end on 31 May there.
    let expected = crate::harness::instant("2026-05-31T18:30:00Z");
    assert_eq!(next, perdiem::connect::timestamp(expected));
    assert_eq!(shop.h.balance(&id).await, "4500.000000");
}

#[tokio::test]
async fn two_replicas_send_one_mail_for_each_of_twenty_accounts() {
    let mut shop = Shop::start().await;
    let free = || {
        let url = crate::harness::free_url();
        url.trim_start_matches("http://").to_owned()
    };
    let environment = [("LISTEN", free()), ("TEST_CLOCK_LISTEN", free())];
    shop.h
        .suite
        .spawn("account-lifecycle", &environment)
        .unwrap();
    for _ in 0..20 {
        let id = shop.customer("IN", "MH", "tok_ok").await;
        let promo = billing::GrantCreditRequest {
            priority: 0,
            account_id: id,
            kind: billing::lot::Kind::Promo.into(),
            amount: Some(Amount {
                currency_code: "INR".to_owned(),
                amount: "900.00".to_owned(),
            }),
            expire_time: Some(perdiem::connect::timestamp(crate::harness::instant(
                "2026-03-05T00:00:00Z",
            ))),
            reason: "promo".to_owned(),
            request_id: request_id(),
        };
        let mut client = shop.h.operator.billing.clone();
        client.grant_credit(promo).await.unwrap();
    }
    shop.h.advance("2026-03-05T00:00:00Z").await;
    let told = "SELECT count(*) FROM account.notifications WHERE kind_code = 'BALANCE_EMPTY'";
    let begun = Instant::now();
    while shop.h.count(told).await < 20 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Told once more from the beginning, as to a replica that has just begun.
    sqlx::query(
        "UPDATE account.watch_positions SET resume_token = '' WHERE source = 'billing.balances'",
    )
    .execute(&shop.h.db)
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(shop.h.count(told).await, 20, "one for each account");
    let all = "SELECT count(*) - count(DISTINCT account_id) FROM account.notifications
               WHERE kind_code = 'BALANCE_EMPTY'";
    assert_eq!(shop.h.count(all).await, 0);
}

#[tokio::test]
async fn an_event_that_can_not_be_posted_is_set_aside_shown_and_posted_once_that_is_mended() {
    let shop = Shop::start().await;
    let (first, second, good) = (
        shop.customer("IN", "MH", "tok_slow_ok").await,
        shop.customer("IN", "MH", "tok_slow_ok").await,
        shop.customer("IN", "MH", "tok_slow_ok").await,
    );
    for id in [&first, &second, &good] {
        shop.collect(&credits(id, "1000.00")).await.unwrap();
    }
    let root = |id: &str| id.parse::<values::AccountId>().unwrap().uuid();
    // As if a bug or a hand had taken the balances away.
    for id in [&first, &second] {
        sqlx::query("DELETE FROM billing.balances WHERE root_id = $1")
            .bind(root(id))
            .execute(&shop.h.db)
            .await
            .unwrap();
    }
    shop.h.advance("2026-03-04T12:00:00Z").await;
    shop.balance_is(&good, "1000.000000").await;
    let waiting = perdiem::event::list(&shop.h.operator, "", false).await;
    let waiting = waiting.unwrap();
    let of = |id: &str| waiting.iter().find(|it| it.account_id == *id).unwrap();
    assert_eq!(waiting.len(), 2, "{waiting:?}");
    assert!(of(&first).subject_id.starts_with("CH"), "{waiting:?}");
    assert_ne!(of(&first).reason, "");

    let again = billing::RetryUnpostedEventRequest {
        account_id: first.clone(),
        subject_id: of(&first).subject_id.clone(),
        request_id: request_id(),
    };
    let mut client = shop.h.operator.billing.clone();
    let refused = refused(client.retry_unposted_event(again.clone()).await);
    assert_eq!(
        refused,
        (Code::FailedPrecondition, "STILL_UNPOSTED".to_owned())
    );
    // A look at their charges in between sets them aside again: they wait as long as before.
    for sql in [
        "UPDATE billing.unposted_events
         SET attempt_count = 4, try_at = clock_timestamp() + interval '1 day', reason = 'before'",
        "UPDATE billing.collections SET look_at = clock_timestamp()",
    ] {
        sqlx::query(sql).execute(&shop.h.db).await.unwrap();
    }
    let looked_at = "SELECT count(*) FROM billing.unposted_events WHERE reason <> 'before'";
    let begun = Instant::now();
    while shop.h.count(looked_at).await < 2 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let waiting_on = "SELECT count(*) FROM billing.unposted_events
                      WHERE attempt_count = 4 AND clock_timestamp() + interval '12 hours' < try_at";
    assert_eq!(shop.h.count(waiting_on).await, 2);
    for id in [&first, &second] {
        sqlx::query("INSERT INTO billing.balances (root_id, currency) VALUES ($1, 'INR')")
            .bind(root(id))
            .execute(&shop.h.db)
            .await
            .unwrap();
    }
    // One by an operator, and once however often; the other by itself, at its next try.
    for _ in 0..2 {
        let again = billing::RetryUnpostedEventRequest {
            request_id: request_id(),
            ..again.clone()
        };
        let answer = client.retry_unposted_event(again).await.unwrap();
        let posted = answer.into_inner().unposted_event.unwrap();
        assert!(posted.post_time.is_some(), "{posted:?}");
    }
    assert_eq!(shop.h.balance(&first).await, "1000.000000");
    sqlx::query("UPDATE billing.unposted_events SET try_at = clock_timestamp()")
        .execute(&shop.h.db)
        .await
        .unwrap();
    shop.balance_is(&second, "1000.000000").await;
    let waiting = perdiem::event::list(&shop.h.operator, "", false).await;
    assert!(waiting.unwrap().is_empty());
    shop.reconciles().await;

    let huge = credits(&good, "9300000000000.00");
    let status = shop.collect(&huge).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("lines[0].amount"), "{status:?}");
}

#[tokio::test]
async fn news_of_a_restored_cluster_is_told_anew_and_what_was_missed_is_asked_for() {
    let shop = Shop::start().await;
    let first = shop.customer("IN", "MH", "tok_slow_ok").await;
    let second = shop.customer("IN", "MH", "tok_slow_ok").await;
    let waiting = shop.collect(&credits(&first, "1000.00")).await.unwrap();
    assert_eq!(waiting.state(), State::AwaitingSettlement);
    shop.h.advance("2026-03-01T12:00:01Z").await;
    let token = "SELECT count(*) FROM billing.watch_positions
                 WHERE source = 'payments.movements' AND resume_token LIKE '%/%/%/%-%'";
    assert_eq!(shop.h.count(token).await, 1, "a token has its cluster");
    // As after a cluster was restored that has far fewer transactions, and far fewer news, than the one that the token is
    // of: what is told next has a number that was used before.
    sqlx::query(
        "UPDATE billing.watch_positions
         SET resume_token = '900000000:900000000:/900000000:900000000:/50000/1-00000001'
         WHERE source = 'payments.movements'",
    )
    .execute(&shop.h.db)
    .await
    .unwrap();
    shop.h.advance("2026-03-04T12:00:00Z").await;
    shop.until(&waiting, State::Succeeded).await;
    shop.balance_is(&first, "1000.000000").await;

    // As if what was told of the second charge were lost.
    let waiting = shop.collect(&credits(&second, "1000.00")).await.unwrap();
    shop.h.advance("2026-03-04T12:00:01Z").await;
    sqlx::query(
        "UPDATE billing.watch_positions SET resume_token = '900000000:900000000:/900000000:900000000:/1/'
             || split_part(resume_token, '/', 4) WHERE source = 'payments.movements'",
    )
    .execute(&shop.h.db)
    .await
    .unwrap();
    shop.h.advance("2026-03-08T12:00:00Z").await;
    assert_eq!(
        shop.get(&waiting).await.state(),
        State::AwaitingSettlement,
        "nothing was told"
    );
    let compared = async || {
        let at = |text| Some(perdiem::connect::timestamp(crate::harness::instant(text)));
        let request = billing::ReconcileRequest {
            start_time: at("2026-03-01T00:00:00Z"),
            end_time: at("2026-03-09T00:00:00Z"),
            ..billing::ReconcileRequest::default()
        };
        let mut client = shop.h.operator.billing.clone();
        let answer = client.reconcile(request).await.unwrap();
        answer.into_inner().differences
    };
    let told = compared().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told.iter().all(|it| it.contains(&second)), "{told:?}");
    sqlx::query("UPDATE billing.collections SET look_at = clock_timestamp()")
        .execute(&shop.h.db)
        .await
        .unwrap();
    shop.until(&waiting, State::Succeeded).await;
    shop.balance_is(&second, "1000.000000").await;
    assert_eq!(compared().await, Vec::<String>::new());
    shop.reconciles().await;
}

#[tokio::test]
async fn a_refund_of_which_nothing_was_told_is_a_difference_and_is_asked_for() {
    let shop = Shop::start_with(&[("LOOK_UP_SECONDS", "1")]).await;
    let id = shop.customer("IN", "MH", "tok_refund_timeout").await;
    shop.collect(&credits(&id, "2000.00")).await.unwrap();
    shop.balance_is(&id, "2000.000000").await;
    shop.h.advance("2026-03-01T12:00:01Z").await;
    // What is told from here on is lost, as it may be after a restore.
    sqlx::raw_sql(
        "CREATE FUNCTION payments.lost() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER lost BEFORE INSERT ON payments.outbox FOR EACH ROW EXECUTE FUNCTION payments.lost()",
    )
    .execute(&shop.h.db)
    .await
    .unwrap();
    shop.refund(&id, None).await.unwrap();
    let until = async |sql: &'static str| {
        let begun = Instant::now();
        while shop.h.count(sql).await != 1 {
            assert!(begun.elapsed() < PATIENCE, "{sql}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    until("SELECT count(*) FROM payments.movements WHERE kind = 'REFUND' AND state = 'SUCCEEDED'")
        .await;
    shop.h.advance("2026-03-01T12:00:02Z").await;
    let waits = "SELECT count(*) FROM billing.refunds WHERE state = 'PROCESSING'";
    assert_eq!(shop.h.count(waits).await, 1, "nothing was told");
    let compared = async || {
        let at = |text| Some(perdiem::connect::timestamp(crate::harness::instant(text)));
        let request = billing::ReconcileRequest {
            start_time: at("2026-03-01T00:00:00Z"),
            end_time: at("2026-03-02T00:00:00Z"),
            ..billing::ReconcileRequest::default()
        };
        let mut client = shop.h.operator.billing.clone();
        let answer = client.reconcile(request).await.unwrap();
        answer.into_inner().differences
    };
    let told = compared().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("refund RF") && told[0].contains(&id),
        "{told:?}"
    );
    sqlx::query("UPDATE billing.refunds SET look_at = clock_timestamp()")
        .execute(&shop.h.db)
        .await
        .unwrap();
    until("SELECT count(*) FROM billing.refunds WHERE state = 'SUCCEEDED'").await;
    assert_eq!(compared().await, Vec::<String>::new());
    shop.reconciles().await;

    // As if `payments` had lost it by a restore.
    sqlx::query("UPDATE billing.refunds SET payments_refund_id = gen_random_uuid()")
        .execute(&shop.h.db)
        .await
        .unwrap();
    let told = compared().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("payments has no such refund"), "{told:?}");
}

#[tokio::test]
async fn a_booking_takes_no_number_of_an_identity_that_ends() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    shop.collect(&credits(&id, "1000.00")).await.unwrap();
    // As after two billion bookings: the series is there, and its identity has come to its end.
    sqlx::query("SELECT setval('billing.invoice_series_series_id_seq', 2147483647)")
        .execute(&shop.h.db)
        .await
        .unwrap();
    let paid = shop.collect(&credits(&id, "1000.00")).await.unwrap();
    assert_eq!(shop.until(&paid, State::Succeeded).await.failure_reason, "");
    assert_eq!(shop.h.balance(&id).await, "2000.000000");
    shop.reconciles().await;
}

#[tokio::test]
async fn each_line_of_an_indian_invoice_has_its_hsn_or_sac_code() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    let codes = async |invoice: &str| -> Vec<(String, String)> {
        let lines = shop.invoice(invoice).await.lines.into_iter();
        lines.map(|it| (it.kind_code, it.hsn_sac_code)).collect()
    };
    let coded = |kind: &str, code: &str| (kind.to_owned(), code.to_owned());
    let mut order = credits(&id, "1000.00");
    order.lines.push(billing::CollectionLine {
        family_code: "PLATFORM".to_owned(),
        plan_code: "starter".to_owned(),
        billing_cycle_code: "MONTHLY".to_owned(),
        ..line("SUBSCRIPTION", "2000.00")
    });
    let first = shop.collect(&order).await.unwrap();
    let expected = [coded("CREDITS", "998419"), coded("SUBSCRIPTION", "998315")];
    assert_eq!(codes(&first.invoice_id).await, expected);
    // Another catalogue has others; what was issued keeps those of its own.
    let changed = [("CREDITS: \"998419\"", "CREDITS: \"9984\"")];
    shop.h.import_as("v2", &changed).await;
    let later = shop.collect(&credits(&id, "1000.00")).await.unwrap();
    assert_eq!(codes(&later.invoice_id).await, [coded("CREDITS", "9984")]);
    assert_eq!(codes(&first.invoice_id).await, expected);
}

#[tokio::test]
async fn an_indian_invoice_has_each_field_of_rule_46() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "KA", "tok_ok").await;
    let details = account::UpdateBillingDetailsRequest {
        account_id: id.clone(),
        billing_details: Some(account::BillingDetails {
            recipient_name: "Kaveri Tea".to_owned(),
            address: "7 Residency Road\nBengaluru".to_owned(),
            country_code: "IN".to_owned(),
            state_code: "KA".to_owned(),
            tax_id: "29BBBBB0000B1Z5".to_owned(),
            ..account::BillingDetails::default()
        }),
        country_reason: "a test".to_owned(),
        request_id: request_id(),
        ..account::UpdateBillingDetailsRequest::default()
    };
    let mut client = shop.h.operator.account.clone();
    client.update_billing_details(details).await.unwrap();
    let mut order = credits(&id, "8000.00");
    order.lines.push(billing::CollectionLine {
        family_code: "PLATFORM".to_owned(),
        plan_code: "starter".to_owned(),
        billing_cycle_code: "MONTHLY".to_owned(),
        ..line("SUBSCRIPTION", "2000.00")
    });
    let bought = shop.collect(&order).await.unwrap();
    let invoice = shop.invoice(&bought.invoice_id).await;
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'/';
    assert!(invoice.number.len() <= 16 && invoice.number.bytes().all(fits));
    let said = invoice.particulars.clone().unwrap();
    assert_eq!(said.title, "Tax invoice");
    assert_eq!(
        said.supplier,
        Some(billing::Party {
            display_name: "Perdiem Example Pvt. Ltd.".to_owned(),
            address_lines: vec!["1 MG Road, Bengaluru".to_owned()],
            tax_id: "29AAAAA0000A1Z5".to_owned(),
            tax_id_label: "GSTIN".to_owned(),
        })
    );
    assert_eq!(
        said.recipient,
        Some(billing::Party {
            display_name: "Kaveri Tea".to_owned(),
            address_lines: vec!["7 Residency Road".to_owned(), "Bengaluru".to_owned()],
            tax_id: "29BBBBB0000B1Z5".to_owned(),
            tax_id_label: "GSTIN".to_owned(),
        })
    );
    assert_eq!(said.place_of_supply, "29 Karnataka");
    assert_eq!(
        said.reverse_charge_note,
        "Tax payable on reverse charge: No"
    );
    assert_eq!(said.export_statement, "");
    assert!(said.signature_note.contains("needs no signature"));
    assert_eq!(amount(&said.taxable_value), "10000.00");
    assert_eq!(
        said.total_in_words,
        "Rupees eleven thousand eight hundred only"
    );
    assert_eq!(said.payment_terms, "Paid at issue");
    assert_eq!(
        taxes(&invoice.taxes),
        [("CGST", 900, "900.00"), ("SGST", 900, "900.00")]
    );
    let [credit, plan] = invoice.lines.as_slice() else {
        panic!("{:?}", invoice.lines);
    };
    assert_eq!(credit.description, "Prepaid credit");
    let start = "Platform plan Starter, monthly";
    assert!(plan.description.starts_with(start), "{}", plan.description);
    for line in [credit, plan] {
        assert_eq!(line.quantity, "1");
        assert_eq!(line.unit_price, line.amount);
        assert_ne!(line.hsn_sac_code, "");
    }

    // What was issued stays; an export says that it is one, and where it goes.
    shop.h.advance("2026-03-01T18:00:00Z").await;
    for (country, place) in [("IN", "29 Karnataka"), ("SG", "SG")] {
        shop.live_in(&id, country, "KA", country == "IN").await;
        let export = shop.collect(&credits(&id, "1000.00")).await.unwrap();
        let export = shop.invoice(&export.invoice_id).await;
        assert!(export.taxes.is_empty());
        let said = export.particulars.unwrap();
        assert_eq!(said.place_of_supply, place);
        assert!(said.export_statement.contains("without payment"));
    }
    assert_eq!(shop.invoice(&bought.invoice_id).await, invoice);
}

#[tokio::test]
async fn an_invoice_paid_by_overdraft_says_so_in_words_that_a_customer_understands() {
    let shop = Shop::start().await;
    let id = shop.h.account().await;
    assert_eq!(shop.h.balance(&id).await, "0.000000");
    shop.h.change("2026-03-20T10:00:00Z", &id, "business").await;
    shop.h.advance("2026-04-01T00:00:00Z").await;
    shop.h.bill("2026-03").await;
    let invoice = shop.h.invoices(&id).await.remove(0);
    assert_eq!(amount(&invoice.paid_from_balance), "580.65");
    assert_eq!(amount(&invoice.paid_by_overdraft), "580.65");
    let described = invoice.lines.iter().map(|it| it.description.as_str());
    let expected = "Support plan Business, 20 to 31 March 2026, 12 of 31 days";
    assert!(described.clone().any(|it| it == expected), "{invoice:?}");
    let said = invoice.particulars.unwrap();
    assert_eq!(said.title, "Invoice");
    assert_eq!(said.place_of_supply, "");
    let [note] = said.notes.as_slice() else {
        panic!("{:?}", said.notes);
    };
    assert!(note.starts_with("$580.65 of this invoice was paid by overdraft"));
}

#[tokio::test]
async fn an_invoice_is_rendered_as_pdf_on_as_many_pages_as_it_needs() {
    let shop = Shop::start().await;
    let render = async |id: &str| {
        let request = billing::RenderInvoiceRequest {
            invoice_id: id.to_owned(),
            ..billing::RenderInvoiceRequest::default()
        };
        let mut client = shop.h.operator.billing.clone();
        let answer = client.render_invoice(request).await?;
        let pdf = answer.into_inner().pdf;
        let file = shop.h.suite.settings.folder.join(format!("{id}.pdf"));
        std::fs::write(&file, &pdf).unwrap();
        Ok::<_, Status>(pdf)
    };
    let id = shop.customer("IN", "KA", "tok_ok").await;
    let facts = billing::UpdateAccountFactsRequest {
        account_id: id.clone(),
        recipient: "Kaveri Tea\n7 Residency Road".to_owned(),
        request_id: request_id(),
        ..billing::UpdateAccountFactsRequest::default()
    };
    let mut client = shop.seller.billing.clone();
    client.update_account_facts(facts).await.unwrap();
    let mut order = credits(&id, "1234567.00");
    order.lines.push(billing::CollectionLine {
        plan_code: "growth".to_owned(),
        billing_cycle_code: "ANNUAL".to_owned(),
        ..line("SUBSCRIPTION", "102000.00")
    });
    let bought = shop.collect(&order).await.unwrap();
    let pdf = render(&bought.invoice_id).await.unwrap();
    // Whom it goes to is what it was when it was issued.
    shop.h.advance("2026-03-01T18:00:00Z").await;
    let facts = billing::UpdateAccountFactsRequest {
        account_id: id.clone(),
        recipient: "Somebody Else".to_owned(),
        request_id: request_id(),
        ..billing::UpdateAccountFactsRequest::default()
    };
    let mut client = shop.seller.billing.clone();
    client.update_account_facts(facts).await.unwrap();
    assert_eq!(render(&bought.invoice_id).await.unwrap(), pdf);
    let later = shop.collect(&credits(&id, "1234567.00")).await.unwrap();
    assert_ne!(render(&later.invoice_id).await.unwrap().len(), pdf.len());
    assert!(
        pdf.starts_with(b"%PDF-") && pdf.len() < 100_000,
        "{}",
        pdf.len()
    );

    let busy = shop.h.account().await;
    shop.h.used(&busy, "2026-03-02T00:00:00Z", "40000.00").await;
    for day in 2..28 {
        let plan = if day % 2 == 0 {
            "business"
        } else {
            "production"
        };
        let at = format!("2026-03-{day:02}T10:00:00Z");
        shop.h.change(&at, &busy, plan).await;
    }
    shop.h.advance("2026-04-01T00:00:00Z").await;
    shop.h.bill("2026-03").await;
    let long = shop.h.invoices(&busy).await.remove(0);
    assert!(20 < long.lines.len());
    let longer = render(&long.invoice_id).await.unwrap();
    assert!(longer.starts_with(b"%PDF-"));
    assert_ne!(longer.len(), pdf.len());
    let unknown = format!("IN{}", Uuid::nil().simple());
    assert_eq!(
        refused(render(&unknown).await),
        (Code::NotFound, "INVOICE_NOT_FOUND".to_owned())
    );
}

#[tokio::test]
async fn one_recharge_is_under_way_at_a_time() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    shop.collect(&credits(&id, "1000.00")).await.unwrap();
    // Its bank takes two days.
    shop.card(&id, "tok_slow_ok").await;
    let on = switched_on();
    shop.recharge(&id, on).await.unwrap();
    let at = "2026-03-01T12:00:00Z";
    let charges = "SELECT count(*) FROM billing.collections WHERE purpose = 'RECHARGE'";
    for (until, parts) in [
        ("2026-03-01T13:00:00Z", "2600"),
        ("2026-03-02T13:00:00Z", "2000"),
        ("2026-03-03T11:00:00Z", "2000"),
    ] {
        shop.texts(&id, at, parts).await;
        shop.h.advance(until).await;
        assert_eq!(shop.h.count(charges).await, 1, "{until}");
    }
    shop.h.advance("2026-03-03T14:00:00Z").await;
    shop.balance_is(&id, "4680.000000").await;
    assert_eq!(shop.h.count(charges).await, 1);
    shop.reconciles().await;
}

#[tokio::test]
async fn one_charge_that_is_not_answered_holds_up_no_recharge_of_the_others() {
    const OTHERS: u32 = 12;
    let between = Between::start();
    let environment = [
        ("PAYMENTS_URL", between.url.as_str()),
        ("DEADLINE_SECONDS", "60"),
    ];
    let shop = Shop::start_with(&environment).await;
    between.to(shop.h.urls.clone());
    let mut ids = Vec::new();
    for _ in 0..=OTHERS {
        ids.push(shop.customer("IN", "MH", "tok_ok").await);
    }
    // The first charge is not answered before all others are.
    between.hold("payments.CreateCharge", OTHERS);
    for id in &ids {
        shop.recharge(id, switched_on()).await.unwrap();
    }
    for id in &ids {
        shop.balance_is(id, "5000.000000").await;
    }
    assert!(between.outlasted(), "they waited for the first");
    let charges = "SELECT count(*) FROM payments.movements WHERE kind = 'CHARGE'";
    assert_eq!(shop.h.count(charges).await, i64::from(OTHERS) + 1);
    shop.reconciles().await;
}

#[tokio::test]
async fn two_replicas_that_follow_from_one_position_take_each_piece_of_news_once() {
    const ACCOUNTS: i64 = 20;
    let mut shop = Shop::start().await;
    let address = |url: String| url.trim_start_matches("http://").to_owned();
    let second = crate::harness::free_url();
    let environment = [
        ("LISTEN", address(second.clone())),
        ("TEST_CLOCK_LISTEN", address(crate::harness::free_url())),
    ];
    shop.h.suite.spawn("billing", &environment).unwrap();
    let mut ids = Vec::new();
    for _ in 0..ACCOUNTS {
        let id = shop.customer("IN", "MH", "tok_slow_ok").await;
        shop.collect(&credits(&id, "1000.00")).await.unwrap();
        ids.push(id);
    }
    // The second answers, and so follows.
    let urls = perdiem::connect::Urls {
        billing_url: second,
        ..shop.h.urls.clone()
    };
    let replica = Clients::new(&urls, &shop.h.suite.keys.any_operator().unwrap()).unwrap();
    let begun = Instant::now();
    let request = billing::GetBalanceRequest {
        account_id: ids[0].clone(),
        ..billing::GetBalanceRequest::default()
    };
    while let Err(status) = replica.billing.clone().get_balance(request.clone()).await {
        assert!(begun.elapsed() < PATIENCE, "{status:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    shop.h.advance("2026-03-01T12:00:01Z").await;
    // Each position that either of them comes to is written down in the transaction of its effect.
    let first = shop
        .h
        .count("SELECT max(position) FROM payments.outbox")
        .await;
    for sql in [
        "CREATE TABLE public.taken (token text)",
        "CREATE FUNCTION public.note_taken() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
         BEGIN INSERT INTO public.taken VALUES (NEW.resume_token); RETURN NULL; END $$",
        "CREATE TRIGGER note_taken AFTER INSERT OR UPDATE ON billing.watch_positions FOR EACH ROW
         WHEN (NEW.source = 'payments.movements') EXECUTE FUNCTION public.note_taken()",
    ] {
        sqlx::query(sql).execute(&shop.h.db).await.unwrap();
    }
    shop.h.advance("2026-03-04T12:00:00Z").await;
    for id in &ids {
        shop.balance_is(id, "1000.000000").await;
    }
    let taken: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT o.position, count(t.token) FROM payments.outbox o
         LEFT JOIN public.taken t ON split_part(t.token, '/', 3)::bigint = o.position
         WHERE $1 < o.position GROUP BY o.position ORDER BY o.position",
    )
    .bind(first)
    .fetch_all(&shop.h.db)
    .await
    .unwrap();
    assert!(ids.len() <= taken.len(), "{taken:?}");
    assert!(taken.iter().all(|(_, times)| *times == 1), "{taken:?}");
    let lots = "SELECT count(*) FROM billing.lots WHERE kind = 3";
    assert_eq!(shop.h.count(lots).await, ACCOUNTS);
    shop.reconciles().await;
}

#[tokio::test]
async fn req_122_holidays_of_the_profile_are_no_business_days() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    // A Friday; the next one is a holiday in India.
    shop.h.advance("2026-09-25T12:00:00Z").await;
    shop.collect(&credits(&id, "2000.00")).await.unwrap();
    let refund = shop.refund(&id, None).await.unwrap();
    assert_eq!(refund.due_date, "2026-10-12");
}

#[tokio::test]
async fn a_balance_is_read_as_of_one_instant() {
    let shop = Shop::start().await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    let given = |amount: &str| billing::GrantCreditRequest {
        account_id: id.clone(),
        kind: billing::lot::Kind::Promo.into(),
        amount: Some(Amount {
            currency_code: "INR".to_owned(),
            amount: amount.to_owned(),
        }),
        reason: "a test".to_owned(),
        request_id: request_id(),
        ..billing::GrantCreditRequest::default()
    };
    let mut client = shop.h.operator.billing.clone();
    client.grant_credit(given("100.00")).await.unwrap();
    // 150.00 are used of 100.00 and given again, in turn: the balance is never anything between.
    let changes = async {
        let mut client = shop.h.operator.billing.clone();
        for _ in 0..150 {
            shop.texts(&id, "2026-03-01T12:00:00Z", "750").await;
            client.grant_credit(given("150.00")).await.unwrap();
        }
    };
    let read = async || -> std::convert::Infallible {
        loop {
            let balance = shop.h.balance(&id).await;
            let known = ["100.000000", "-50.000000"].contains(&balance.as_str());
            assert!(known, "{balance}");
        }
    };
    let readers = futures::future::join_all([(); 4].map(|()| read()));
    tokio::select! {
        () = changes => {}
        _ = readers => {}
    }
}

#[tokio::test]
async fn credit_that_has_expired_does_not_go_back_while_a_run_keeps_it() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let by_approval = [(
        "run_approval: {SUPPORT: NOT_REQUIRED}",
        "run_approval: {SUPPORT: REQUIRED}",
    )];
    h.import_as("v2", &by_approval).await;
    let billed = h.account().await;
    h.change("2026-03-20T10:00:00Z", &billed, "business").await;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    shop.collect(&credits(&id, "1000.00")).await.unwrap();
    h.advance("2026-04-01T00:00:00Z").await;
    h.bill("2026-03").await;
    // It expires while the run waits for its approval: nothing is forfeited until then.
    sqlx::query("UPDATE billing.lots SET expires_at = '2026-04-02T00:00:00Z'")
        .execute(&h.db)
        .await
        .unwrap();
    h.advance("2026-04-04T00:00:00Z").await;
    let kept = "SELECT count(*) FROM billing.lots WHERE 0 < remaining_micros";
    assert_eq!(h.count(kept).await, 1);
    assert_eq!(h.balance(&id).await, "0.000000");
    assert_eq!(
        refused(shop.refund(&id, None).await),
        (Code::FailedPrecondition, "NOTHING_TO_REFUND".to_owned())
    );
}
