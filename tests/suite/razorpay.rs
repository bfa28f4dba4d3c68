//! The Razorpay adapter against a fake of our own: pages that ask the payer, mandates, refunds, webhooks, and
//! answers that get lost. Requests and signatures are compared with the documentation's samples beside the adapter.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use perdiem::connect::{Clients, request_id};
use proto::payments::v1 as payments;
use proto::payments::v1::{MovementState, Purpose};
use ring::hmac;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Harness, PATIENCE, free_url};
use crate::stripe::reqwest_client;
use crate::subscriptions::rupees;

/// What Razorpay has: its book, and which answers get lost.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    links: Vec<Value>,
    orders: Vec<Value>,
    payments: Vec<Value>,
    refunds: Vec<Value>,
    /// Paths, by their ends, of which the next answer gets lost after it was carried out.
    lost: Vec<&'static str>,
}

type Answered = (StatusCode, Json<Value>);

fn refused(description: &str) -> Answered {
    let error = json!({"error": {"code": "BAD_REQUEST_ERROR", "description": description,
        "reason": "input_validation_failed"}});
    (StatusCode::BAD_REQUEST, Json(error))
}

impl Book {
    /// `answer`, unless it gets lost.
    fn told(&mut self, path: &str, answer: Value) -> Answered {
        if let Some(place) = self.lost.iter().position(|end| *end == path) {
            self.lost.remove(place);
            return (StatusCode::BAD_GATEWAY, Json(json!({"error": {}})));
        }
        (StatusCode::OK, Json(answer))
    }

    fn payment(&mut self, order: &str, asked: &Value) -> String {
        let id = format!("pay_{}", self.payments.len());
        self.payments.push(
            json!({"id": id, "order_id": order, "amount": asked["amount"], "status": "captured",
            "currency": asked["currency"], "notes": asked["notes"], "created_at": 1_772_366_400}),
        );
        id
    }
}

impl Fake {
    async fn start() -> (Self, String) {
        let fake = Self::default();
        let routes = Router::new()
            .route("/v1/payment_links", get(Self::links).post(Self::link))
            .route("/v1/customers/{id}", get(Self::customer))
            .route("/v1/customers/{id}/tokens/{token}", get(Self::token))
            .route("/v1/orders", get(Self::orders).post(Self::order))
            .route("/v1/orders/{id}/payments", get(Self::tried))
            .route("/v1/payments/create/recurring", post(Self::recurring))
            .route("/v1/payments", get(Self::payments))
            .route("/v1/payments/{id}", get(Self::payment))
            .route("/v1/payments/{id}/refund", post(Self::refund))
            .route("/v1/payments/{id}/refunds", get(Self::refunds))
            .route("/v1/refunds", get(Self::all_refunds))
            .with_state(fake.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (fake, url)
    }

    async fn link(
        State(fake): State<Self>,
        headers: HeaderMap,
        Json(asked): Json<Value>,
    ) -> Answered {
        // rzp_test_perdiem:secret
        assert_eq!(
            headers["authorization"],
            "Basic cnpwX3Rlc3RfcGVyZGllbTpzZWNyZXQ="
        );
        let mut book = fake.0.lock().unwrap();
        if book
            .links
            .iter()
            .any(|it| it["reference_id"] == asked["reference_id"])
        {
            return refused("payment link with given reference_id already exists");
        }
        let id = format!("plink_{}", book.links.len());
        let mut link = asked;
        link["id"] = json!(id);
        link["status"] = json!("created");
        link["short_url"] = json!(format!("https://rzp.example/{id}"));
        link["payments"] = json!([]);
        book.links.push(link.clone());
        book.told("link", link)
    }

    async fn links(
        State(fake): State<Self>,
        Query(query): Query<HashMap<String, String>>,
    ) -> Json<Value> {
        let book = fake.0.lock().unwrap();
        let found = book
            .links
            .iter()
            .filter(|it| it["reference_id"] == query["reference_id"]);
        Json(json!({"payment_links": found.collect::<Vec<_>>()}))
    }

    async fn customer(Path(id): Path<String>) -> Json<Value> {
        let account = id.trim_start_matches("cust_");
        Json(
            json!({"id": id, "email": "payer@example.com", "contact": "9000090000",
            "notes": {"perdiem_account": account}}),
        )
    }

    async fn token(Path((_, token)): Path<(String, String)>) -> Json<Value> {
        Json(
            json!({"id": token, "method": "card", "recurring": true, "recurring_details": {"status": "confirmed"},
            "card": {"network": "Visa", "last4": "1111", "international": false, "expiry_month": 12,
                "expiry_year": 2030}}),
        )
    }

    async fn order(State(fake): State<Self>, Json(asked): Json<Value>) -> Answered {
        assert_eq!(asked["unique_receipt"], true);
        let mut book = fake.0.lock().unwrap();
        let known = book
            .orders
            .iter()
            .find(|it| it["receipt"] == asked["receipt"]);
        let order = known.cloned().unwrap_or_else(|| {
            let mut order = asked.clone();
            order["id"] = json!(format!("order_{}", book.orders.len()));
            order
        });
        if !book.orders.contains(&order) {
            book.orders.push(order.clone());
        }
        book.told("order", order)
    }

    async fn orders(
        State(fake): State<Self>,
        Query(query): Query<HashMap<String, String>>,
    ) -> Json<Value> {
        let book = fake.0.lock().unwrap();
        let found = book
            .orders
            .iter()
            .filter(|it| it["receipt"] == query["receipt"]);
        Json(json!({"items": found.collect::<Vec<_>>()}))
    }

    async fn tried(State(fake): State<Self>, Path(id): Path<String>) -> Json<Value> {
        let book = fake.0.lock().unwrap();
        let found = book.payments.iter().filter(|it| it["order_id"] == id);
        Json(json!({"items": found.collect::<Vec<_>>()}))
    }

    async fn recurring(State(fake): State<Self>, Json(asked): Json<Value>) -> Answered {
        let mut book = fake.0.lock().unwrap();
        let order = asked["order_id"].as_str().unwrap().to_owned();
        if book.payments.iter().any(|it| it["order_id"] == order) {
            return refused("the order is already paid");
        }
        let id = book.payment(&order, &asked);
        let signature = signed("secret", format!("{order}|{id}").as_bytes());
        let answer = json!({"razorpay_payment_id": id, "razorpay_order_id": order, "razorpay_signature": signature});
        book.told("recurring", answer)
    }

    async fn payment(State(fake): State<Self>, Path(id): Path<String>) -> Answered {
        let mut book = fake.0.lock().unwrap();
        let found = book.payments.iter().find(|it| it["id"] == id).cloned();
        book.told("payment", found.unwrap())
    }

    async fn payments(State(fake): State<Self>) -> Json<Value> {
        Json(json!({"items": fake.0.lock().unwrap().payments}))
    }

    async fn all_refunds(State(fake): State<Self>) -> Json<Value> {
        Json(json!({"items": fake.0.lock().unwrap().refunds}))
    }

    async fn refund(
        State(fake): State<Self>,
        Path(id): Path<String>,
        headers: HeaderMap,
        Json(asked): Json<Value>,
    ) -> Answered {
        let mut book = fake.0.lock().unwrap();
        let key = headers["x-refund-idempotency"].to_str().unwrap().to_owned();
        let known = book.refunds.iter().find(|it| it["key"] == key).cloned();
        let refund = known.unwrap_or_else(|| {
            json!({"id": format!("rfnd_{}", book.refunds.len()), "key": key, "payment_id": id, "currency": "INR",
                "amount": asked["amount"], "notes": asked["notes"], "status": "processed", "created_at": 1_772_366_400})
        });
        if !book.refunds.contains(&refund) {
            book.refunds.push(refund.clone());
        }
        book.told("refund", refund)
    }

    async fn refunds(State(fake): State<Self>, Path(id): Path<String>) -> Json<Value> {
        let book = fake.0.lock().unwrap();
        let found = book.refunds.iter().filter(|it| it["payment_id"] == id);
        Json(json!({"items": found.collect::<Vec<_>>()}))
    }

    /// The payer pays on the page of the link made last; gives the event that Razorpay sends.
    fn pays(&self) -> Value {
        let mut book = self.0.lock().unwrap();
        let place = book.links.len() - 1;
        let asked = book.links[place].clone();
        let id = book.payment("order_of_link", &asked);
        let link = &mut book.links[place];
        link["status"] = json!("paid");
        link["payments"] = json!([{"payment_id": id, "amount": asked["amount"], "status": "captured",
            "created_at": 1_772_366_400}]);
        json!({"entity": "event", "event": "payment_link.paid", "payload": {
            "payment_link": {"entity": link}, "payment": {"entity": {"id": id, "notes": []}}}})
    }

    /// The payer tries to pay by the link made last, and the bank says no.
    fn fails(&self) {
        let mut book = self.0.lock().unwrap();
        let asked = book.links.last().unwrap().clone();
        book.payment("order_of_link", &asked);
        let payment = book.payments.last_mut().unwrap();
        payment["status"] = json!("failed");
        payment["error_reason"] = json!("insufficient_funds");
    }

    fn loses(&self, what: &'static str) {
        self.0.lock().unwrap().lost.push(what);
    }

    /// How many payments and refunds there are.
    fn moved(&self) -> (usize, usize) {
        let book = self.0.lock().unwrap();
        (book.payments.len(), book.refunds.len())
    }
}

fn signed(secret: &str, what: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let sum = hmac::sign(&key, what);
    sum.as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

struct Shop {
    h: Harness,
    billing: Clients,
    hooks: String,
}

impl Shop {
    async fn start(razorpay: &str) -> Self {
        let hooks = free_url();
        let environment = [
            ("RAZORPAY_URL", razorpay),
            ("RAZORPAY_KEY_ID", "rzp_test_perdiem"),
            ("RAZORPAY_KEY_SECRET", "secret"),
            ("RAZORPAY_WEBHOOK_SECRET", "hook"),
            ("LOOK_UP_SECONDS", "1"),
        ];
        let mut h = Harness::start_with(&environment).await;
        // Its port is of one service, not of each.
        h.suite.kill("payments").await;
        let listen = [(
            "WEBHOOK_LISTEN",
            hooks.trim_start_matches("http://").to_owned(),
        )];
        h.suite.spawn("payments", &listen).unwrap();
        h.suite.wait_for("payments").await.unwrap();
        let billing = Clients::new(&h.urls, &h.suite.keys.service("billing").unwrap()).unwrap();
        Self { h, billing, hooks }
    }

    /// A root account in India.
    async fn indian(&self) -> String {
        let id = self.h.account_of("india", false).await;
        let token = self.h.suite.keys.service("account-lifecycle").unwrap();
        let mut client = Clients::new(&self.h.urls, &token).unwrap().payments;
        let facts = payments::UpdateAccountFactsRequest {
            account_id: id.clone(),
            country_code: "IN".to_owned(),
            request_id: request_id(),
        };
        client.update_account_facts(facts).await.unwrap();
        id
    }

    async fn method(
        &self,
        id: &str,
        code: &str,
        token: &str,
    ) -> Result<payments::PaymentMethod, String> {
        let request = payments::AddPaymentMethodRequest {
            account_id: id.to_owned(),
            method_code: code.to_owned(),
            provider_code: "razorpay".to_owned(),
            provider_token: token.to_owned(),
            app_code: if code == "UPI" { "PHONEPE" } else { "" }.to_owned(),
            network_code: if token == "card" { "VISA" } else { "" }.to_owned(),
            default_method: true,
            request_id: request_id(),
            ..payments::AddPaymentMethodRequest::default()
        };
        let added = self
            .h
            .operator
            .payments
            .clone()
            .add_payment_method(request)
            .await;
        let added = added.map_err(|status| crate::harness::reason(&status))?;
        Ok(added.into_inner().payment_method.unwrap())
    }

    async fn charge(&self, id: &str, unattended: bool) -> payments::Charge {
        let request = payments::CreateChargeRequest {
            account_id: id.to_owned(),
            amount: rupees("1000.00"),
            purpose: Purpose::Credits.into(),
            invoice_id: format!("IN{}", Uuid::new_v4().simple()),
            attempt_number: 1,
            unattended,
            request_id: request_id(),
            ..payments::CreateChargeRequest::default()
        };
        let charged = self.billing.payments.clone().create_charge(request).await;
        charged.unwrap().into_inner().charge.unwrap()
    }

    async fn reconcile(&self, apply: bool) -> payments::ReconcileResponse {
        let day = |text| Some(perdiem::connect::timestamp(crate::harness::instant(text)));
        let request = payments::ReconcileRequest {
            provider_code: "razorpay".to_owned(),
            start_time: day("2026-03-01T00:00:00Z"),
            end_time: day("2026-03-02T00:00:00Z"),
            apply,
            request_id: request_id(),
            ..payments::ReconcileRequest::default()
        };
        let mut client = self.h.operator.payments.clone();
        client.reconcile(request).await.unwrap().into_inner()
    }

    async fn until(&self, charge: &payments::Charge, state: MovementState) -> payments::Charge {
        let begun = Instant::now();
        loop {
            let request = payments::GetChargeRequest {
                account_id: charge.account_id.clone(),
                charge_id: charge.charge_id.clone(),
            };
            let found = self
                .billing
                .payments
                .clone()
                .get_charge(request)
                .await
                .unwrap();
            let found = found.into_inner().charge.unwrap();
            if found.state() == state {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "{found:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn hook(&self, event: &Value, signature: Option<&str>) -> u16 {
        let body = event.to_string();
        let sum = signed("hook", body.as_bytes());
        let sent = reqwest_client()
            .post(format!("{}/webhooks/razorpay", self.hooks))
            .header("x-razorpay-signature", signature.unwrap_or(&sum))
            // It is not signed: whoever has one message may send it under any id.
            .header("x-razorpay-event-id", request_id())
            .body(body)
            .send()
            .await;
        sent.unwrap().status().as_u16()
    }
}

#[tokio::test]
async fn a_payer_is_asked_on_a_page_and_what_a_webhook_hints_at_is_looked_up() {
    let (fake, url) = Fake::start().await;
    let shop = Shop::start(&url).await;
    let id = shop.indian().await;
    shop.method(&id, "UPI", "upi").await.unwrap();
    // The answer gets lost: the link is found by our reference, and there is one.
    fake.loses("link");
    let charge = shop.charge(&id, false).await;
    let charge = shop.until(&charge, MovementState::Pending).await;
    assert_eq!(charge.action_url, "https://rzp.example/plink_0");
    // An attempt that failed ends nothing: the page is open, and the payer tries again.
    fake.fails();
    for apply in [false, true] {
        let found = shop.reconcile(apply).await;
        assert_eq!(found.difference_count, 1);
        assert!(!found.differences[0].mended);
    }
    assert_eq!(
        shop.until(&charge, MovementState::Pending).await.state(),
        MovementState::Pending
    );
    let event = fake.pays();
    assert_eq!(shop.hook(&event, Some("00")).await, 400);
    for _ in 0..20 {
        assert_eq!(shop.hook(&event, None).await, 200);
    }
    let paid = shop.until(&charge, MovementState::Succeeded).await;
    assert_eq!(paid.settled_amount, rupees("1000.00"));
    assert_eq!(shop.reconcile(false).await.difference_count, 0);
    let kept = "SELECT count(*) FROM payments.webhook_events WHERE provider_code = 'razorpay'";
    assert_eq!(shop.h.count(kept).await, 1);
    // Nobody is there to be asked.
    shop.method(&id, "CARD", "card").await.unwrap();
    let declined = shop.charge(&id, true).await;
    assert_eq!(declined.state(), MovementState::Declined);
    assert_eq!(declined.failure_reason, "AUTHENTICATION_REQUIRED");
    assert_eq!(fake.moved(), (2, 0), "one of them failed");

    // It goes back once, though the answer gets lost.
    fake.loses("refund");
    let request = payments::CreateRefundRequest {
        account_id: id.clone(),
        charge_id: charge.charge_id.clone(),
        amount: rupees("400.00"),
        refund_key: "one".to_owned(),
        attempt_number: 1,
        request_id: request_id(),
        ..payments::CreateRefundRequest::default()
    };
    let mut client = shop.billing.payments.clone();
    client.create_refund(request).await.unwrap();
    let begun = Instant::now();
    let paid_out =
        "SELECT count(*) FROM payments.movements WHERE kind = 'REFUND' AND state = 'SUCCEEDED'
                    AND settled_minor = 40000";
    while shop.h.count(paid_out).await == 0 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(fake.moved(), (2, 1));
}

#[tokio::test]
async fn a_mandate_is_charged_once_whichever_answer_gets_lost() {
    let (fake, url) = Fake::start().await;
    let shop = Shop::start(&url).await;
    let id = shop.indian().await;
    let token = |of: &str| format!("cust_{}-token_1", of.trim_start_matches("AC"));
    let other = shop.indian().await;
    for bad in [token(&other), "wallet".to_owned()] {
        let refused = shop.method(&id, "CARD", &bad).await;
        assert_eq!(refused.unwrap_err(), "PROVIDER_TOKEN_REFUSED");
    }
    let card = shop.method(&id, "CARD", &token(&id)).await.unwrap();
    assert_eq!(
        (card.network_code.as_str(), card.last_four.as_str()),
        ("VISA", "1111")
    );
    let mut charges = 0;
    for lost in [None, Some("recurring"), Some("payment")] {
        if let Some(lost) = lost {
            fake.loses(lost);
        }
        let charge = shop.charge(&id, true).await;
        shop.until(&charge, MovementState::Succeeded).await;
        charges += 1;
        assert_eq!(fake.moved(), (charges, 0), "{lost:?}");
    }
    // An order moves no money: where its answer gets lost, another attempt may be made.
    fake.loses("order");
    let charge = shop.charge(&id, true).await;
    assert_eq!(charge.state(), MovementState::FailedNotSent);
    assert_eq!(fake.moved(), (charges, 0));
}
