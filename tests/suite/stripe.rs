//! The Stripe adapter: its contract against localstripe, run as a process, and what localstripe lacks
//! against a fake of our own: idempotency keys, outcomes that nobody is told of, webhooks.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Form, Path, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use perdiem::connect::{Clients, request_id};
use proto::billing::v1 as billing;
use proto::payments::v1 as payments;
use proto::payments::v1::{MovementState, Purpose};
use proto::r#type::v1::Money;
use ring::hmac;
use serde_json::{Value, json};
use tonic::Status;
use uuid::Uuid;

use crate::harness::{Harness, PATIENCE, free_url};

/// A suite whose payments ask Stripe at an address.
struct Shop {
    h: Harness,
    billing: Clients,
}

impl Shop {
    async fn start(stripe: &str, more: &[(&str, &str)]) -> Self {
        let mut environment = vec![
            ("STRIPE_URL", stripe),
            ("STRIPE_SECRET_KEY", "sk_test_perdiem"),
        ];
        environment.extend_from_slice(more);
        let h = Harness::start_with(&environment).await;
        let billing = Clients::new(&h.urls, &h.suite.keys.service("billing").unwrap()).unwrap();
        Self { h, billing }
    }

    /// A root account with a card by a token of Stripe.
    async fn card(&self, token: &str) -> (String, payments::PaymentMethod) {
        let account_id = self.h.account().await;
        let request = payments::AddPaymentMethodRequest {
            account_id: account_id.clone(),
            method_code: "CARD".to_owned(),
            provider_code: "stripe".to_owned(),
            provider_token: token.to_owned(),
            request_id: request_id(),
            ..payments::AddPaymentMethodRequest::default()
        };
        let mut client = self.h.operator.payments.clone();
        let added = client.add_payment_method(request).await.unwrap();
        (account_id, added.into_inner().payment_method.unwrap())
    }

    async fn charge(&self, account_id: &str, amount: &str) -> payments::Charge {
        let request = payments::CreateChargeRequest {
            account_id: account_id.to_owned(),
            amount: usd(amount),
            purpose: Purpose::Credits.into(),
            invoice_id: format!("IN{}", Uuid::new_v4().simple()),
            attempt_number: 1,
            request_id: request_id(),
            ..payments::CreateChargeRequest::default()
        };
        let mut client = self.billing.payments.clone();
        let begun = Instant::now();
        loop {
            match client.create_charge(request.clone()).await {
                Ok(charged) => return charged.into_inner().charge.unwrap(),
                // The provider is waited for longer than this call.
                Err(status) => assert!(begun.elapsed() < PATIENCE, "{status:?}"),
            }
        }
    }

    async fn refund(
        &self,
        charge: &payments::Charge,
        key: &str,
        amount: &str,
    ) -> Result<payments::Refund, Status> {
        let request = payments::CreateRefundRequest {
            account_id: charge.account_id.clone(),
            charge_id: charge.charge_id.clone(),
            amount: usd(amount),
            refund_key: key.to_owned(),
            attempt_number: 1,
            request_id: request_id(),
            ..payments::CreateRefundRequest::default()
        };
        let mut client = self.billing.payments.clone();
        Ok(client
            .create_refund(request)
            .await?
            .into_inner()
            .refund
            .unwrap())
    }

    async fn get(&self, charge: &payments::Charge) -> payments::Charge {
        let request = payments::GetChargeRequest {
            account_id: charge.account_id.clone(),
            charge_id: charge.charge_id.clone(),
        };
        let mut client = self.billing.payments.clone();
        let found = client.get_charge(request).await.unwrap().into_inner();
        found.charge.unwrap()
    }

    /// The charge once it is in a state.
    async fn until(&self, charge: &payments::Charge, state: MovementState) -> payments::Charge {
        let begun = Instant::now();
        loop {
            let now = self.get(charge).await;
            if now.state() == state {
                return now;
            }
            let waited = begun.elapsed();
            assert!(waited < Duration::from_mins(2), "still {:?}", now.state());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as the fields of messages are")]
fn usd(amount: &str) -> Option<Money> {
    Some(Money {
        currency_code: "USD".to_owned(),
        amount: amount.to_owned(),
    })
}

/// localstripe as a process, stopped with its owner.
struct LocalStripe {
    process: Child,
    url: String,
}

impl Drop for LocalStripe {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl LocalStripe {
    /// Installs it beside the build where it is not yet, and starts it.
    async fn start() -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/tools/localstripe");
        if !folder.join("localstripe").is_dir() {
            let installed = Command::new("python3")
                .args(["-m", "pip", "install", "--quiet", "--target"])
                .arg(&folder)
                .arg("localstripe==1.15.10")
                .output();
            assert!(
                installed.as_ref().is_ok_and(|it| it.status.success()),
                "this test needs python3 with pip, to install localstripe: {installed:?}"
            );
        }
        let url = free_url();
        let port = url.rsplit(':').next().unwrap().to_owned();
        let process = Command::new("python3")
            .args(["-m", "localstripe", "--from-scratch", "--port", &port])
            .env("PYTHONPATH", &folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let it = Self { process, url };
        let begun = Instant::now();
        while it
            .request("GET", "/v1/payment_intents", &[])
            .await
            .is_none()
        {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "localstripe starts"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        it
    }

    async fn request(&self, method: &str, path: &str, form: &[(&str, &str)]) -> Option<Value> {
        let client = reqwest_client();
        let url = format!("{}{path}", self.url);
        let request = match method {
            "GET" => client.get(url),
            _ => client.post(url).form(form),
        };
        let answer = request.bearer_auth("sk_test_perdiem").send().await.ok()?;
        answer.json().await.ok()
    }

    /// The token of a new card.
    async fn token(&self, number: &str) -> String {
        let form = [
            ("type", "card"),
            ("card[number]", number),
            ("card[exp_month]", "12"),
            ("card[exp_year]", "2030"),
            ("card[cvc]", "123"),
        ];
        let made = self
            .request("POST", "/v1/payment_methods", &form)
            .await
            .unwrap();
        made["id"].as_str().unwrap().to_owned()
    }
}

pub fn reqwest_client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .tls_certs_only([])
        .build()
        .unwrap()
}

#[tokio::test]
async fn the_contract_of_stripe_is_kept_with_localstripe() {
    let stripe = LocalStripe::start().await;
    let shop = Shop::start(&stripe.url, &[("LOOK_UP_SECONDS", "1")]).await;
    let (account, method) = shop.card(&stripe.token("4242424242424242").await).await;
    assert_eq!(
        (
            method.network_code.as_str(),
            method.last_four.as_str(),
            method.expiry_month.as_str()
        ),
        ("VISA", "4242", "2030-12")
    );
    let charge = shop.charge(&account, "12.34").await;
    assert_eq!(charge.state(), MovementState::Succeeded, "{charge:?}");
    assert!(charge.provider_charge_id.starts_with("pi_"));
    let path = format!("/v1/payment_intents/{}", charge.provider_charge_id);
    let intent = stripe.request("GET", &path, &[]).await.unwrap();
    assert_eq!(
        (
            intent["amount"].as_i64(),
            intent["currency"].as_str(),
            intent["metadata"]["perdiem_reference"].as_str()
        ),
        (Some(1234), Some("usd"), Some(charge.provider_key.as_str()))
    );
    let part = shop.refund(&charge, "part", "2.34").await.unwrap();
    assert_eq!(part.state(), MovementState::Succeeded, "{part:?}");
    let rest = shop.refund(&charge, "rest", "10.00").await.unwrap();
    assert_eq!(rest.state(), MovementState::Succeeded, "{rest:?}");
    assert!(shop.refund(&charge, "more", "0.01").await.is_err());

    let (account, _) = shop.card(&stripe.token("4000000000000341").await).await;
    let declined = shop.charge(&account, "5.00").await;
    assert_eq!(declined.state(), MovementState::Declined, "{declined:?}");
    assert_eq!(declined.failure_reason, "CARD_DECLINED");

    let (account, _) = shop.card(&stripe.token("4000002500003155").await).await;
    let asks = shop.charge(&account, "5.00").await;
    // Nothing tells where the person would confirm: it is cancelled, and not left open.
    assert_eq!(asks.state(), MovementState::Declined, "{asks:?}");
    assert_eq!(asks.failure_reason, "AUTHENTICATION_REQUIRED");

    // One that nobody knows, and one that is another account's.
    let of_another = stripe.token("4242424242424242").await;
    shop.card(&of_another).await;
    for token in ["pm_unknown", &of_another] {
        let request = payments::AddPaymentMethodRequest {
            account_id: account.clone(),
            method_code: "CARD".to_owned(),
            provider_code: "stripe".to_owned(),
            provider_token: token.to_owned(),
            request_id: request_id(),
            ..payments::AddPaymentMethodRequest::default()
        };
        let mut client = shop.h.operator.payments.clone();
        let refused = client.add_payment_method(request).await.unwrap_err();
        assert_eq!(crate::harness::reason(&refused), "PROVIDER_TOKEN_REFUSED");
    }
}

/// A fake of Stripe with a book of its own, whose tokens say what becomes of a charge.
#[derive(Clone, Default)]
pub struct Fake {
    /// Answers by idempotency key, with the request they were given to.
    answered: Arc<Mutex<HashMap<String, (Value, Value)>>>,
    /// Payment intents by id.
    intents: Arc<Mutex<HashMap<String, Value>>>,
    /// How often each key was asked.
    asked: Arc<Mutex<HashMap<String, u32>>>,
    /// Disputes by id.
    disputes: Arc<Mutex<HashMap<String, Value>>>,
    /// Customers by payment method, and whose they are.
    customers: Arc<Mutex<HashMap<String, String>>>,
    /// Refunds by id.
    refunds: Arc<Mutex<HashMap<String, Value>>>,
    /// Whether nothing is answered now.
    down: Arc<AtomicBool>,
    /// Whether charges are made now and nobody is told, as when an outage begins with them.
    silent: Arc<AtomicBool>,
    /// Whether the book can be read now, and no charges are made.
    read_only: Arc<AtomicBool>,
    /// How often a payment intent was looked up by its id.
    looked_up: Arc<AtomicU32>,
}

impl Fake {
    pub async fn start() -> (Self, String) {
        let fake = Self::default();
        let routes = Router::new()
            .route("/v1/payment_methods/{id}", get(Self::method))
            .route("/v1/payment_methods/{id}/attach", post(Self::attach))
            .route("/v1/disputes", get(Self::opened))
            .route("/v1/disputes/{id}", get(Self::dispute))
            .route("/v1/refunds", post(Self::refund))
            .route("/v1/refunds/{id}", get(Self::refunded))
            .route("/v1/customers", post(Self::customer))
            .route("/v1/customers/{id}", get(Self::owner))
            .route("/v1/payment_intents", get(Self::list).post(Self::create))
            .route("/v1/payment_intents/{id}", get(Self::intent))
            .route("/v1/payment_intents/{id}/cancel", post(Self::cancel))
            .layer(from_fn_with_state(fake.clone(), Self::outage))
            .with_state(fake.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (fake, url)
    }

    async fn outage(State(fake): State<Self>, request: Request, next: Next) -> Response {
        let is = |mode: &AtomicBool| mode.load(Ordering::Relaxed);
        let charges = request.uri().path().starts_with("/v1/payment_intents");
        let asks = request.method() == Method::POST;
        let silent = is(&fake.silent) && charges;
        if is(&fake.down) || (is(&fake.read_only) && asks) || (silent && !asks) {
            return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({}))).into_response();
        }
        let answer = next.run(request).await;
        if silent {
            return (StatusCode::BAD_GATEWAY, Json(json!({}))).into_response();
        }
        answer
    }

    async fn method(State(fake): State<Self>, Path(id): Path<String>) -> Json<Value> {
        let customer = fake.customers.lock().unwrap().get(&id).cloned();
        Json(json!({"id": id, "customer": customer,
            "card": {"brand": "visa", "country": "IN", "last4": "4242", "exp_month": 12, "exp_year": 2030}}))
    }

    async fn dispute(State(fake): State<Self>, Path(id): Path<String>) -> Json<Value> {
        Json(fake.disputes.lock().unwrap()[&id].clone())
    }

    /// Two disputes a page, as the list of Stripe goes on after the last.
    async fn opened(
        State(fake): State<Self>,
        Query(query): Query<HashMap<String, String>>,
    ) -> Json<Value> {
        let since: i64 = query["created[gte]"].parse().unwrap();
        let disputes = fake.disputes.lock().unwrap();
        let mut ids: Vec<&String> = disputes
            .iter()
            .filter(|(_, it)| since <= it["created"].as_i64().unwrap())
            .map(|(id, _)| id)
            .collect();
        ids.sort();
        let after = query.get("starting_after").map_or("", String::as_str);
        let rest: Vec<_> = ids.into_iter().filter(|id| id.as_str() > after).collect();
        let page: Vec<&Value> = rest.iter().take(2).map(|id| &disputes[*id]).collect();
        Json(json!({"object": "list", "data": page, "has_more": page.len() < rest.len()}))
    }

    async fn refund(
        State(fake): State<Self>,
        Form(form): Form<HashMap<String, String>>,
    ) -> Json<Value> {
        let id = format!("re_{}", Uuid::new_v4().simple());
        let refund = json!({"id": id, "status": "succeeded", "currency": "usd",
            "amount": form["amount"].parse::<i64>().unwrap(), "created": 1_772_366_400,
            "metadata": {"perdiem_reference": form["metadata[perdiem_reference]"]}});
        fake.refunds.lock().unwrap().insert(id, refund.clone());
        Json(refund)
    }

    async fn refunded(State(fake): State<Self>, Path(id): Path<String>) -> Json<Value> {
        Json(fake.refunds.lock().unwrap()[&id].clone())
    }

    async fn customer(Form(form): Form<HashMap<String, String>>) -> Json<Value> {
        Json(json!({"id": format!("cus_{}", form["metadata[perdiem_account]"])}))
    }

    async fn owner(Path(id): Path<String>) -> Json<Value> {
        let account = id.trim_start_matches("cus_");
        Json(json!({"id": id, "metadata": {"perdiem_account": account}}))
    }

    async fn attach(
        State(fake): State<Self>,
        Path(id): Path<String>,
        Form(form): Form<HashMap<String, String>>,
    ) -> Json<Value> {
        let mut customers = fake.customers.lock().unwrap();
        customers.insert(id.clone(), form["customer"].clone());
        Json(json!({"id": id}))
    }

    async fn create(
        State(fake): State<Self>,
        headers: HeaderMap,
        Form(form): Form<HashMap<String, String>>,
    ) -> (StatusCode, Json<Value>) {
        let key = headers["idempotency-key"].to_str().unwrap().to_owned();
        assert_eq!(headers["stripe-version"], "2024-06-20");
        assert_eq!(headers["authorization"], "Bearer sk_test_perdiem");
        let times = {
            let mut asked = fake.asked.lock().unwrap();
            let times = asked.entry(key.clone()).or_default();
            *times += 1;
            *times
        };
        let request = json!(form);
        // "pm_slow_1": the first card of those that are slow.
        let token = form["payment_method"].rsplit_once('_').unwrap().0;
        if let Some((known, answer)) = fake.answered.lock().unwrap().get(&key) {
            if *known != request {
                let error = json!({"error": {"type": "idempotency_error"}});
                return (StatusCode::BAD_REQUEST, Json(error));
            }
            return (StatusCode::OK, Json(answer.clone()));
        }
        if token == "pm_lost" && times == 1 {
            return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"error": {}})));
        }
        let amount: i64 = form["amount"].parse().unwrap();
        let id = format!("pi_{}", key.replace('-', ""));
        let (status, received) = match token {
            "pm_3ds" => ("requires_action", 0),
            "pm_more" => ("succeeded", amount + 1),
            "pm_declined" | "pm_declined_untold" => ("requires_payment_method", 0),
            _ => ("succeeded", amount),
        };
        let intent = json!({"id": id, "status": status, "amount": amount, "amount_received": received,
            "currency": form["currency"], "created": chrono::Utc::now().timestamp(),
            "customer": form["customer"],
            "metadata": {"perdiem_reference": form["metadata[perdiem_reference]"]},
            "last_payment_error": {"decline_code": "insufficient_funds"},
            "next_action": {"redirect_to_url": {"url": "https://bank.example/confirm"}}});
        fake.answered
            .lock()
            .unwrap()
            .insert(key, (request, intent.clone()));
        fake.intents.lock().unwrap().insert(id, intent.clone());
        match token {
            "pm_slow" => {
                tokio::time::sleep(Duration::from_secs(12)).await;
                (StatusCode::OK, Json(intent))
            }
            "pm_late" => {
                tokio::time::sleep(Duration::from_millis(500)).await;
                (StatusCode::OK, Json(intent))
            }
            "pm_fault" | "pm_declined_untold" => (
                StatusCode::INTERNAL_SERVER_ERROR,
                Json(json!({"error": {}})),
            ),
            "pm_garbage" => (StatusCode::OK, Json(json!("?"))),
            // The connection is cut before the answer is whole.
            "pm_cut" => panic!("the connection of pm_cut is cut"),
            _ => (StatusCode::OK, Json(intent)),
        }
    }

    async fn intent(State(fake): State<Self>, Path(id): Path<String>) -> Json<Value> {
        fake.looked_up.fetch_add(1, Ordering::Relaxed);
        Json(fake.intents.lock().unwrap()[&id].clone())
    }

    async fn list(
        State(fake): State<Self>,
        Query(query): Query<HashMap<String, String>>,
    ) -> Json<Value> {
        assert!(query.contains_key("created[gte]") && query.contains_key("created[lte]"));
        let intents = fake.intents.lock().unwrap();
        // Only those of one payer are asked for, however many there are.
        let of_payer = |it: &&Value| it["customer"] == query["customer"];
        let all: Vec<Value> = intents.values().filter(of_payer).cloned().collect();
        Json(json!({"data": all, "has_more": false}))
    }

    async fn cancel(State(fake): State<Self>, Path(id): Path<String>) -> Json<Value> {
        let mut intents = fake.intents.lock().unwrap();
        let intent = intents.get_mut(&id).unwrap();
        assert_ne!(intent["status"], "succeeded");
        intent["status"] = json!("canceled");
        Json(intent.clone())
    }

    /// How often a payment intent was looked up by its id.
    pub fn look_ups(&self) -> u32 {
        self.looked_up.load(Ordering::Relaxed)
    }

    /// The only intent: its id, amount and currency.
    pub fn only_intent(&self) -> (String, i64, String) {
        let intents = self.intents.lock().unwrap();
        assert_eq!(intents.len(), 1);
        let it = intents.values().next().unwrap();
        let text = |field: &str| it[field].as_str().unwrap().to_owned();
        (text("id"), it["amount"].as_i64().unwrap(), text("currency"))
    }

    /// The person confirms the only intent.
    pub fn confirm_only_intent(&self) {
        let mut intents = self.intents.lock().unwrap();
        let it = intents.values_mut().next().unwrap();
        it["status"] = json!("succeeded");
        it["amount_received"] = it["amount"].clone();
    }

    /// The bank says something of a dispute.
    pub fn dispute_is(&self, id: &str, dispute: Value) {
        self.disputes.lock().unwrap().insert(id.to_owned(), dispute);
    }

    /// What the book has taken under a reference: how many intents, and how much in all.
    fn taken(&self, reference: &str) -> (usize, i64) {
        let intents = self.intents.lock().unwrap();
        let ours: Vec<&Value> = intents
            .values()
            .filter(|it| it["metadata"]["perdiem_reference"] == reference)
            .collect();
        let sum = ours
            .iter()
            .filter(|it| it["status"] == "succeeded")
            .map(|it| it["amount_received"].as_i64().unwrap())
            .sum();
        (ours.len(), sum)
    }
}

/// Sends an event as Stripe does; gives the status of the answer.
pub async fn send(hooks: &str, secret: &str, event: &Value) -> u16 {
    let (body, now) = (event.to_string(), chrono::Utc::now().timestamp());
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let sum = hmac::sign(&key, format!("{now}.{body}").as_bytes());
    let hex = sum.as_ref().iter().map(|byte| format!("{byte:02x}"));
    let signature = format!("t={now},v1={}", hex.collect::<String>());
    let answer = reqwest_client()
        .post(format!("{hooks}/webhooks/stripe"))
        .header("stripe-signature", signature)
        .body(body)
        .send()
        .await;
    answer.unwrap().status().as_u16()
}

#[tokio::test]
async fn what_stripe_did_not_tell_ends_as_its_book_says_and_nothing_is_charged_twice() {
    let (fake, url) = Fake::start().await;
    let shop = Arc::new(Shop::start(&url, &[("LOOK_UP_SECONDS", "1")]).await);
    let mut calls = Vec::new();
    for (token, ends, taken) in [
        ("pm_ok", MovementState::Succeeded, 1000),
        ("pm_declined", MovementState::Declined, 0),
        ("pm_slow", MovementState::Succeeded, 1000),
        ("pm_fault", MovementState::Succeeded, 1000),
        ("pm_garbage", MovementState::Succeeded, 1000),
        ("pm_cut", MovementState::Succeeded, 1000),
        ("pm_lost", MovementState::Succeeded, 1000),
        ("pm_declined_untold", MovementState::Declined, 0),
        ("pm_more", MovementState::Parked, 1001),
    ] {
        for number in 0..8 {
            let shop = shop.clone();
            calls.push(tokio::spawn(async move {
                let (account, _) = shop.card(&format!("{token}_{number}")).await;
                let charge = shop.charge(&account, "10.00").await;
                let ended = shop.until(&charge, ends).await;
                (token, ended, taken)
            }));
        }
    }
    for call in calls {
        let (token, ended, taken) = call.await.unwrap();
        assert_eq!(fake.taken(&ended.provider_key), (1, taken), "{token}");
        if ended.state() == MovementState::Declined {
            let id = format!("pi_{}", ended.provider_key.replace('-', ""));
            let status = fake.intents.lock().unwrap()[&id]["status"].clone();
            assert_eq!(
                status, "canceled",
                "{token}: nobody can confirm it any more"
            );
            assert_eq!(ended.failure_reason, "INSUFFICIENT_FUNDS", "{token}");
        }
    }
    let asked = fake.asked.lock().unwrap();
    assert!(
        asked.values().any(|times| 1 < *times),
        "one was asked again"
    );
}

/// Forty charges by cards of their own, made while an outage begins.
async fn charges_in(outage: &AtomicBool, shop: &Arc<Shop>) -> Vec<payments::Charge> {
    let mut accounts = Vec::new();
    for number in 0..40 {
        accounts.push(shop.card(&format!("pm_ok_{number}")).await.0);
    }
    outage.store(true, Ordering::Relaxed);
    let calls = accounts.into_iter().map(|account| {
        let shop = shop.clone();
        tokio::spawn(async move { shop.charge(&account, "10.00").await })
    });
    let mut charges = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        charges.push(call.await.unwrap());
    }
    charges
}

/// Waits long enough for several look-ups, each of which reaches nobody: none makes the next one later.
async fn nothing_is_concluded(shop: &Shop, charges: &[payments::Charge]) {
    tokio::time::sleep(Duration::from_secs(18)).await;
    let counted = "SELECT coalesce(max(look_ups), 0)::bigint FROM payments.movements";
    assert_eq!(shop.h.count(counted).await, 0, "none counts");
    for charge in charges {
        assert_eq!(shop.get(charge).await.state(), MovementState::Unknown);
    }
}

/// Once a provider is back, all charges end as its book says, each taken once.
async fn all_are_looked_up(fake: &Fake, shop: &Shop, charges: &[payments::Charge]) {
    let recovered = Instant::now();
    for charge in charges {
        shop.until(charge, MovementState::Succeeded).await;
    }
    let waited = recovered.elapsed();
    assert!(waited < Duration::from_secs(30), "P6: 120 s, {waited:?}");
    for charge in charges {
        assert_eq!(fake.taken(&charge.provider_key), (1, 1000));
    }
}

#[tokio::test]
async fn p6_an_outage_makes_no_look_up_later_and_after_it_all_are_looked_up_at_once() {
    let (fake, url) = Fake::start().await;
    let shop = Arc::new(Shop::start(&url, &[("LOOK_UP_SECONDS", "1")]).await);
    // It begins with the charges: they are in the book, and nobody is told.
    let charges = charges_in(&fake.silent, &shop).await;
    fake.down.store(true, Ordering::Relaxed);
    nothing_is_concluded(&shop, &charges).await;
    // As an hour later: what was to be looked up in a day by then is not left to wait.
    sqlx::query(
        "UPDATE payments.movements SET look_at = clock_timestamp() + interval '1 day'
         WHERE movement_id IN (SELECT movement_id FROM payments.movements ORDER BY movement_id LIMIT 30)",
    )
    .execute(&shop.h.db)
    .await
    .unwrap();
    fake.silent.store(false, Ordering::Relaxed);
    fake.down.store(false, Ordering::Relaxed);
    all_are_looked_up(&fake, &shop, &charges).await;
}

#[tokio::test]
async fn p6_an_outage_in_which_the_book_can_be_read_makes_no_look_up_later() {
    let (fake, url) = Fake::start().await;
    let shop = Arc::new(Shop::start(&url, &[("LOOK_UP_SECONDS", "1")]).await);
    let charges = charges_in(&fake.read_only, &shop).await;
    nothing_is_concluded(&shop, &charges).await;
    fake.read_only.store(false, Ordering::Relaxed);
    all_are_looked_up(&fake, &shop, &charges).await;
}

#[tokio::test]
async fn a_storm_of_webhooks_is_kept_once_and_what_it_hints_at_is_looked_up() {
    let (fake, stripe) = Fake::start().await;
    let port = free_url();
    let environment = [
        ("STRIPE_WEBHOOK_SECRET", "whsec_test"),
        ("WEBHOOK_LISTEN", port.trim_start_matches("http://")),
        // Without the webhook nobody would look for an hour.
        ("LOOK_UP_SECONDS", "3600"),
    ];
    let shop = Shop::start(&stripe, &environment).await;
    let (account, _) = shop.card("pm_3ds_1").await;
    let charge = shop.charge(&account, "10.00").await;
    assert_eq!(charge.state(), MovementState::Pending);
    assert_eq!(charge.action_url, "https://bank.example/confirm");

    let send = async |id: &str, reference: &str, secret: &str| {
        let event = json!({"id": id, "type": "payment_intent.succeeded",
            "data": {"object": {"id": charge.provider_charge_id, "metadata": {"perdiem_reference": reference}}}});
        send(&port, secret, &event).await
    };
    // A hint that says more than the book: nothing is taken over but the book.
    assert_eq!(
        send("evt_early", &charge.provider_key, "whsec_test").await,
        200
    );
    assert_eq!(
        send("evt_forged", &charge.provider_key, "whsec_other").await,
        400
    );
    assert_eq!(send("evt_alien", "somebody-else", "whsec_test").await, 200);
    let list = async || {
        let request = payments::ListWebhookEventsRequest::default();
        let mut client = shop.h.operator.payments.clone();
        let answer = client.list_webhook_events(request).await.unwrap();
        answer.into_inner().webhook_events
    };
    let begun = Instant::now();
    while list().await.iter().any(|it| it.attempt_count == 0) {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(list().await.len(), 2);
    assert_eq!(shop.get(&charge).await.state(), MovementState::Pending);

    // The person has confirmed; the news comes fifty times at once.
    {
        let mut intents = fake.intents.lock().unwrap();
        let intent = intents.get_mut(&charge.provider_charge_id).unwrap();
        intent["status"] = json!("succeeded");
        intent["amount_received"] = json!(1000);
    }
    let storm = (0..50).map(|_| send("evt_paid", &charge.provider_key, "whsec_test"));
    let answers = futures::future::join_all(storm).await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    let paid = shop.until(&charge, MovementState::Succeeded).await;
    assert_eq!(paid.settled_amount, usd("10.00"));
    let begun = Instant::now();
    let event = loop {
        let events = list().await;
        let event = events.iter().find(|it| it.provider_event_id == "evt_paid");
        let event = event.unwrap().clone();
        if event.state() == payments::webhook_event::State::Processed {
            break event;
        }
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(event.delivery_count, 50);
    assert_eq!(event.subject_id, charge.charge_id);
    let request = payments::ReplayWebhookEventRequest {
        webhook_event_id: event.webhook_event_id,
        request_id: request_id(),
    };
    let mut client = shop.h.operator.payments.clone();
    client.replay_webhook_event(request).await.unwrap();
    assert_eq!(shop.get(&charge).await, paid);
}

/// Waits until an event of the provider is processed; gives our id of it.
async fn processed(shop: &Shop, provider_event_id: &str) -> String {
    let begun = Instant::now();
    loop {
        let request = payments::ListWebhookEventsRequest::default();
        let mut client = shop.h.operator.payments.clone();
        let answer = client.list_webhook_events(request).await.unwrap();
        let events = answer.into_inner().webhook_events;
        let done = events.into_iter().find(|it| {
            it.provider_event_id == provider_event_id
                && it.state() == payments::webhook_event::State::Processed
        });
        if let Some(event) = done {
            return event.webhook_event_id;
        }
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_replay_of_an_old_event_says_what_it_did_and_undoes_no_final_state() {
    use payments::replay_webhook_event_response::Outcome;
    let (fake, stripe) = Fake::start().await;
    let port = free_url();
    let environment = [
        ("STRIPE_WEBHOOK_SECRET", "whsec_test"),
        ("WEBHOOK_LISTEN", port.trim_start_matches("http://")),
        // Nobody else looks.
        ("LOOK_UP_SECONDS", "3600"),
    ];
    let shop = Shop::start(&stripe, &environment).await;
    let (account, _) = shop.card("pm_3ds_1").await;
    let charge = shop.charge(&account, "10.00").await;
    let event = |id: &str, kind: &str| {
        json!({"id": id, "type": kind, "data": {"object": {
            "id": charge.provider_charge_id, "metadata": {"perdiem_reference": charge.provider_key}}}})
    };
    let stands = |status: &str, received: i64| {
        let mut intents = fake.intents.lock().unwrap();
        let intent = intents.get_mut(&charge.provider_charge_id).unwrap();
        intent["status"] = json!(status);
        intent["amount_received"] = json!(received);
    };
    let replay = async |id: &str| {
        let request = payments::ReplayWebhookEventRequest {
            webhook_event_id: id.to_owned(),
            request_id: request_id(),
        };
        let mut client = shop.h.operator.payments.clone();
        let answer = client.replay_webhook_event(request).await.unwrap();
        answer.into_inner()
    };
    let failed = event("evt_old", "payment_intent.payment_failed");
    assert_eq!(send(&port, "whsec_test", &failed).await, 200);
    let old = processed(&shop, "evt_old").await;
    assert_eq!(shop.get(&charge).await.state(), MovementState::Pending);
    stands("succeeded", 1000);
    // The first replay finds what has happened since; what the event said does not matter.
    assert_eq!(replay(&old).await.outcome(), Outcome::Changed);
    let paid = shop.get(&charge).await;
    assert_eq!(paid.state(), MovementState::Succeeded);
    let newer = event("evt_new", "payment_intent.succeeded");
    assert_eq!(send(&port, "whsec_test", &newer).await, 200);
    processed(&shop, "evt_new").await;
    assert_eq!(replay(&old).await.outcome(), Outcome::Unchanged);
    assert_eq!(shop.get(&charge).await, paid);

    // Nobody answers: nothing is concluded.
    fake.down.store(true, Ordering::Relaxed);
    assert_eq!(replay(&old).await.outcome(), Outcome::Unavailable);
    assert_eq!(shop.get(&charge).await, paid);
    fake.down.store(false, Ordering::Relaxed);
    assert_eq!(replay(&old).await.outcome(), Outcome::Unchanged);

    // The book says otherwise now: the state stays, and that it was contradicted is noted once.
    stands("canceled", 0);
    assert_eq!(replay(&old).await.outcome(), Outcome::Changed);
    let overturned = shop.get(&charge).await;
    assert_eq!(overturned.state(), MovementState::Succeeded);
    assert_eq!(overturned.settled_amount, paid.settled_amount);
    assert!(overturned.overturn_time.is_some());
    assert_eq!(replay(&old).await.outcome(), Outcome::Unchanged);
    assert_eq!(shop.get(&charge).await, overturned);
}

#[tokio::test]
async fn who_was_slow_does_not_undo_what_came_of_an_event_meanwhile() {
    let (fake, port, shop, _) = with_webhooks().await;
    let (account, _) = shop.card("pm_3ds_1").await;
    let charge = shop.charge(&account, "10.00").await;
    // The book can't be read, and what came of that can't be kept before another has processed the event.
    fake.down.store(true, Ordering::Relaxed);
    let mut other = shop.h.db.begin().await.unwrap();
    sqlx::query("SELECT FROM payments.movements FOR UPDATE")
        .execute(&mut *other)
        .await
        .unwrap();
    let event = json!({"id": "evt_1", "type": "payment_intent.succeeded", "data": {"object": {
        "id": charge.provider_charge_id, "metadata": {"perdiem_reference": charge.provider_key}}}});
    assert_eq!(send(&port, "whsec_test", &event).await, 200);
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'
                     AND EXISTS (SELECT FROM payments.job_claims WHERE job = 'process_webhooks')";
    let begun = Instant::now();
    while shop.h.count(waiting).await == 0 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let processed = "UPDATE payments.webhook_events SET state = 'PROCESSED', processed_at = now()";
    sqlx::query(processed).execute(&mut *other).await.unwrap();
    other.commit().await.unwrap();
    let at_it = "SELECT count(*) FROM payments.job_claims
                 WHERE job = 'process_webhooks' AND clock_timestamp() < held_until";
    while 0 < shop.h.count(at_it).await {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let undone = "SELECT count(*) FROM payments.webhook_events WHERE state <> 'PROCESSED'";
    assert_eq!(shop.h.count(undone).await, 0);
}

#[tokio::test]
async fn many_events_of_one_charge_are_processed_by_few_looks_into_the_book() {
    let (fake, port, shop, _) = with_webhooks().await;
    let (account, _) = shop.card("pm_3ds_1").await;
    let charge = shop.charge(&account, "10.00").await;
    let before = fake.look_ups();
    let storm = (0..300).map(|number| {
        let event = json!({"id": format!("evt_{number}"), "type": "payment_intent.succeeded", "data": {"object": {
            "id": charge.provider_charge_id, "metadata": {"perdiem_reference": charge.provider_key}}}});
        let port = port.clone();
        async move { send(&port, "whsec_test", &event).await }
    });
    let answers = futures::future::join_all(storm).await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    let left = "SELECT count(*) FROM payments.webhook_events WHERE state <> 'PROCESSED'";
    let begun = Instant::now();
    while 0 < shop.h.count(left).await {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        shop.h
            .count("SELECT count(*) FROM payments.webhook_events")
            .await,
        300
    );
    let looked = fake.look_ups() - before;
    assert!(looked <= 100, "{looked} looks into the book");
}

#[tokio::test]
async fn a_charge_that_nobody_confirms_ends_and_can_not_be_confirmed_any_more() {
    let (fake, stripe) = Fake::start().await;
    let shop = Shop::start(&stripe, &[("LOOK_UP_SECONDS", "1")]).await;
    let (account, _) = shop.card("pm_3ds_1").await;
    let charge = shop.charge(&account, "10.00").await;
    assert_eq!(charge.state(), MovementState::Pending);
    let set = |field: &str, value: Value| {
        let mut intents = fake.intents.lock().unwrap();
        intents.get_mut(&charge.provider_charge_id).unwrap()[field] = value;
    };
    let hours_ago = |hours: i64| json!(chrono::Utc::now().timestamp() - hours * 3_600);
    set("created", hours_ago(23));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(shop.get(&charge).await.state(), MovementState::Pending);
    set("created", hours_ago(25));
    let ended = shop.until(&charge, MovementState::Declined).await;
    assert_eq!(ended.failure_reason, "EXPIRED");
    let status = fake.intents.lock().unwrap()[&charge.provider_charge_id]["status"].clone();
    assert_eq!(status, "canceled");
}

/// A suite that Stripe sends webhooks to, their address, and who sells.
async fn with_webhooks() -> (Fake, String, Shop, Clients) {
    let (fake, stripe) = Fake::start().await;
    let port = free_url();
    let environment = [
        ("STRIPE_WEBHOOK_SECRET", "whsec_test"),
        ("WEBHOOK_LISTEN", port.trim_start_matches("http://")),
    ];
    let shop = Shop::start(&stripe, &environment).await;
    let seller = shop.h.suite.keys.service("account-lifecycle").unwrap();
    let seller = Clients::new(&shop.h.urls, &seller).unwrap();
    (fake, port, shop, seller)
}

/// Buys credit for 100.00 by billing; gives the account and the charge.
async fn buy(shop: &Shop, seller: &Clients, token: &str) -> (String, String) {
    let (account, _) = shop.card(token).await;
    let charge = buy_more(seller, &account).await;
    (account, charge)
}

/// Credit of 100.00 for an account with a card; gives its charge.
async fn buy_more(seller: &Clients, account: &str) -> String {
    let request = billing::CollectOrderRequest {
        account_id: account.to_owned(),
        order_id: format!("OR{}", Uuid::new_v4().simple()),
        lines: vec![billing::CollectionLine {
            kind: "CREDITS".to_owned(),
            amount: usd("100.00"),
            ..billing::CollectionLine::default()
        }],
        request_id: request_id(),
        ..billing::CollectOrderRequest::default()
    };
    let mut client = seller.billing.clone();
    let bought = client.collect_order(request).await.unwrap().into_inner();
    bought.collection.unwrap().charge_id
}

#[tokio::test]
async fn a_refund_that_comes_back_is_paid_out_by_a_bank_transfer() {
    let (fake, port, shop, seller) = with_webhooks().await;
    let (account, charge_id) = buy(&shop, &seller, "pm_ok_1").await;
    let request = billing::RequestRefundRequest {
        account_id: account.clone(),
        request_id: request_id(),
        ..billing::RequestRefundRequest::default()
    };
    let mut client = seller.billing.clone();
    client.request_refund(request).await.unwrap();
    let refunds = async |overturned| {
        let request = payments::ListRefundsRequest {
            account_id: account.clone(),
            overturned,
            ..payments::ListRefundsRequest::default()
        };
        let mut client = shop.h.operator.payments.clone();
        client
            .list_refunds(request)
            .await
            .unwrap()
            .into_inner()
            .refunds
    };
    let refunded = async || {
        let request = payments::GetChargeRequest {
            account_id: account.clone(),
            charge_id: charge_id.clone(),
        };
        let mut client = shop.billing.payments.clone();
        let charge = client.get_charge(request).await.unwrap().into_inner();
        charge.charge.unwrap().refunded_amount
    };
    let on_its_way = "SELECT coalesce(sum(CASE WHEN credit = 9 THEN amount_micros ELSE -amount_micros END), 0)::bigint
                      FROM billing.ledger_entries WHERE 9 IN (debit, credit)";
    let first = refunds(false).await.remove(0);
    assert_eq!(first.state(), MovementState::Succeeded);
    assert_eq!(refunded().await, first.amount);
    assert_eq!(shop.h.count(on_its_way).await, 0);

    // The card was closed: the money is back at Stripe, which tells so twice.
    let id = first.provider_refund_id.clone();
    {
        let mut book = fake.refunds.lock().unwrap();
        let refund = book.get_mut(&id).unwrap();
        refund["status"] = json!("failed");
        refund["failure_reason"] = json!("expired_or_canceled_card");
    }
    let event = json!({"id": "evt_back", "type": "refund.failed", "data": {"object": {"id": id,
        "metadata": {"perdiem_reference": first.provider_key}}}});
    for _ in 0..2 {
        assert_eq!(send(&port, "whsec_test", &event).await, 200);
    }
    let begun = Instant::now();
    let parked = loop {
        let found = refunds(false).await;
        if let Some(parked) = found.iter().find(|it| it.state() == MovementState::Parked) {
            break parked.clone();
        }
        assert!(begun.elapsed() < PATIENCE, "{found:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(parked.route(), payments::refund::Route::ManualBankTransfer);
    assert_eq!(parked.amount, first.amount);
    let overturned = refunds(true).await;
    assert_eq!(overturned.len(), 1);
    assert_eq!(overturned[0].refund_id, first.refund_id);
    assert_eq!(overturned[0].state(), MovementState::Succeeded);
    assert_eq!(
        refunded().await,
        first.amount,
        "it was set aside again, once"
    );

    // A person transfers it. All of it has gone back once, and is not on its way any more.
    let request = payments::ResolveMovementRequest {
        account_id: account.clone(),
        movement_id: parked.refund_id.clone(),
        outcome: payments::resolve_movement_request::Outcome::Moved.into(),
        amount: parked.amount.clone(),
        provider_movement_id: "UTR-1".to_owned(),
        settle_time: Some(perdiem::connect::timestamp(crate::harness::instant(
            "2026-03-01T00:00:00Z",
        ))),
        note: "seen in the bank's list".to_owned(),
        request_id: request_id(),
    };
    let mut client = shop.h.operator.payments.clone();
    client.resolve_movement(request).await.unwrap();
    let begun = Instant::now();
    while shop
        .h
        .count("SELECT count(*) FROM billing.refunds WHERE state = 'SUCCEEDED'")
        .await
        == 0
    {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(shop.h.count(on_its_way).await, 0);
    let clearing = "SELECT sum(CASE WHEN debit = 8 THEN amount_micros ELSE -amount_micros END)::bigint
                    FROM billing.ledger_entries WHERE 8 IN (debit, credit) AND reason <> 'PURCHASE'";
    let given_back = first
        .amount
        .unwrap()
        .amount
        .replace('.', "")
        .parse::<i64>()
        .unwrap();
    assert_eq!(shop.h.count(clearing).await, -given_back * 10_000);
    let mut client = shop.h.operator.billing.clone();
    let request = billing::ReconcileRequest::default();
    let answer = client.reconcile(request).await.unwrap().into_inner();
    assert_eq!(answer.differences, Vec::<String>::new());
}

#[tokio::test]
async fn a_contested_charge_is_held_back_and_its_credit_is_taken_back_when_it_is_lost() {
    let (fake, port, shop, seller) = with_webhooks().await;
    let buy = async |token: &str| buy(&shop, &seller, token).await;
    let mut sent = 0;
    // The bank says something of the dispute, and Stripe sends word of it.
    let mut say = async |id: &str, charge: &str, status: &str, booked: Value| {
        let request = payments::ListChargesRequest::default();
        let mut client = shop.billing.payments.clone();
        let charges = client.list_charges(request).await.unwrap().into_inner();
        let found = charges.charges.iter().find(|it| it.charge_id == charge);
        let intent = found.unwrap().provider_charge_id.clone();
        let dispute = json!({"id": id, "payment_intent": intent, "amount": 10_000, "currency": "usd",
            "created": 1_772_366_400, "status": status, "reason": "fraudulent", "balance_transactions": booked});
        fake.disputes.lock().unwrap().insert(id.to_owned(), dispute);
        sent += 1;
        let event = json!({"id": format!("evt_{sent}"), "type": "charge.dispute.updated",
            "data": {"object": {"id": id, "payment_intent": intent}}});
        assert_eq!(send(&port, "whsec_test", &event).await, 200);
    };
    let disputed = "SELECT coalesce(sum(CASE WHEN debit = 15 THEN amount_micros ELSE -amount_micros END), 0)::bigint
                    FROM billing.ledger_entries WHERE 15 IN (debit, credit)";
    let until = async |expected: i64| {
        let begun = Instant::now();
        while shop.h.count(disputed).await != expected {
            assert!(begun.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let refund = async |account: &str| {
        let request = billing::RequestRefundRequest {
            account_id: account.to_owned(),
            request_id: request_id(),
            ..billing::RequestRefundRequest::default()
        };
        let mut client = seller.billing.clone();
        client.request_refund(request).await.unwrap();
    };
    // One that is won: held back, no refund meanwhile, and back again.
    let (winner, charge) = buy("pm_ok_1").await;
    say(
        "dp_1",
        &charge,
        "needs_response",
        json!([{"amount": -10_000, "currency": "usd"}]),
    )
    .await;
    until(100_000_000).await;
    assert_eq!(shop.h.balance(&winner).await, "100.000000");
    refund(&winner).await;
    let waits = "SELECT count(*) FROM billing.refunds WHERE state = 'RETRYING'";
    assert_eq!(shop.h.count(waits).await, 1);
    let returned =
        json!([{"amount": -10_000, "currency": "usd"}, {"amount": 10_000, "currency": "usd"}]);
    say("dp_1", &charge, "won", returned).await;
    until(0).await;
    shop.h.advance("2026-03-02T13:00:00Z").await;
    let paid = "SELECT count(*) FROM billing.refunds WHERE state = 'SUCCEEDED'";
    assert_eq!(shop.h.count(paid).await, 1);

    // One that is lost: the credit is taken back, once, also where it was spent.
    let (loser, charge) = buy("pm_ok_2").await;
    say(
        "dp_2",
        &charge,
        "under_review",
        json!([{"amount": -10_000, "currency": "usd"}]),
    )
    .await;
    until(100_000_000).await;
    say(
        "dp_2",
        &charge,
        "lost",
        json!([{"amount": -10_000, "currency": "usd"}]),
    )
    .await;
    until(0).await;
    assert_eq!(shop.h.balance(&loser).await, "0.000000");
    say(
        "dp_2",
        &charge,
        "lost",
        json!([{"amount": -10_000, "currency": "usd"}]),
    )
    .await;
    shop.h.advance("2026-03-02T14:00:00Z").await;
    assert_eq!(shop.h.balance(&loser).await, "0.000000");
    // Decided anew for us: the money is back, and so is the credit.
    let returned =
        json!([{"amount": -10_000, "currency": "usd"}, {"amount": 10_000, "currency": "usd"}]);
    say("dp_2", &charge, "won", returned).await;
    let begun = Instant::now();
    while shop.h.balance(&loser).await != "100.000000" {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    say(
        "dp_2",
        &charge,
        "lost",
        json!([{"amount": -10_000, "currency": "usd"}]),
    )
    .await;
    let begun = Instant::now();
    while shop.h.balance(&loser).await != "0.000000" {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // One that is lost while its refund waits: what was to go back pays for it, once.
    let (refunded, charge) = buy("pm_ok_3").await;
    say(
        "dp_3",
        &charge,
        "under_review",
        json!([{"amount": -10_000, "currency": "usd"}]),
    )
    .await;
    until(100_000_000).await;
    refund(&refunded).await;
    assert_eq!(shop.h.balance(&refunded).await, "0.000000");
    say(
        "dp_3",
        &charge,
        "lost",
        json!([{"amount": -10_000, "currency": "usd"}]),
    )
    .await;
    until(0).await;
    assert_eq!(shop.h.balance(&refunded).await, "0.000000");
    let undone = "SELECT count(*) FROM billing.refunds WHERE state = 'UNDONE'";
    assert_eq!(shop.h.count(undone).await, 1);

    let request = payments::ListDisputesRequest {
        account_id: loser,
        ..payments::ListDisputesRequest::default()
    };
    let mut client = shop.h.operator.payments.clone();
    let listed = client.list_disputes(request).await.unwrap().into_inner();
    let [lost] = listed.disputes.as_slice() else {
        panic!("{listed:?}");
    };
    assert_eq!(lost.state(), payments::dispute::State::Lost);
    assert_eq!(lost.withheld_amount, usd("100.00"));
    let mut client = shop.h.operator.billing.clone();
    let request = billing::ReconcileRequest::default();
    let reconciled = client.reconcile(request).await.unwrap().into_inner();
    assert_eq!(reconciled.differences, Vec::<String>::new());
}

#[tokio::test]
async fn a_charge_that_is_lost_takes_its_own_credit_and_what_is_left_can_go_back() {
    let (fake, port, shop, seller) = with_webhooks().await;
    let (account, first) = buy(&shop, &seller, "pm_ok_1").await;
    // Else chance would say which is the older.
    shop.h.advance("2026-03-01T13:00:00Z").await;
    let second = buy_more(&seller, &account).await;
    let get = async |charge: &str| {
        let request = payments::GetChargeRequest {
            account_id: account.clone(),
            charge_id: charge.to_owned(),
        };
        let mut client = shop.billing.payments.clone();
        let found = client.get_charge(request).await.unwrap().into_inner();
        found.charge.unwrap()
    };
    let say = async |id: &str, charge: &str, status: &str, amount: i64| {
        let intent = get(charge).await.provider_charge_id;
        let dispute = json!({"id": id, "payment_intent": intent, "amount": amount, "currency": "usd",
            "created": 1_772_366_400, "status": status, "reason": "fraudulent",
            "balance_transactions": [{"amount": -amount, "currency": "usd"}]});
        fake.disputes.lock().unwrap().insert(id.to_owned(), dispute);
        let event = json!({"id": format!("evt_{id}_{status}"), "type": "charge.dispute.updated",
            "data": {"object": {"id": id, "payment_intent": intent}}});
        assert_eq!(send(&port, "whsec_test", &event).await, 200);
    };
    let until = async |sql: &'static str, expected: i64| {
        let begun = Instant::now();
        while shop.h.count(sql).await != expected {
            assert!(begun.elapsed() < PATIENCE, "{sql}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let refund = async || {
        let request = billing::RequestRefundRequest {
            account_id: account.clone(),
            request_id: request_id(),
            ..billing::RequestRefundRequest::default()
        };
        let mut client = seller.billing.clone();
        client.request_refund(request).await.unwrap();
    };
    // The newer one is lost: the credit of the older one is whole.
    say("dp_2", &second, "lost", 10_000).await;
    let left = "SELECT (sum(remaining_micros) / 1000000)::bigint FROM billing.lots";
    until(left, 100).await;
    // Its refund waits, as a fifth of it is contested too; that is lost, and the refund with it.
    say("dp_1", &first, "needs_response", 2_000).await;
    until(
        "SELECT count(*) FROM billing.disputes WHERE 0 < withheld_minor",
        2,
    )
    .await;
    refund().await;
    until(
        "SELECT count(*) FROM billing.refunds WHERE state = 'RETRYING'",
        1,
    )
    .await;
    say("dp_1", &first, "lost", 2_000).await;
    until(
        "SELECT count(*) FROM billing.refunds WHERE state = 'UNDONE'",
        1,
    )
    .await;
    // The rest can go back to where it came from.
    refund().await;
    until(
        "SELECT count(*) FROM billing.refunds WHERE state = 'SUCCEEDED'",
        1,
    )
    .await;
    assert_eq!(shop.h.balance(&account).await, "0.000000");
    let back = get(&first).await.refunded_amount.unwrap().amount;
    assert!(back.parse::<f64>().unwrap() <= 80.0, "{back}");
    let mut client = shop.h.operator.billing.clone();
    let request = billing::ReconcileRequest::default();
    let reconciled = client.reconcile(request).await.unwrap().into_inner();
    assert_eq!(reconciled.differences, Vec::<String>::new());
}

#[tokio::test]
async fn a_dispute_that_no_webhook_told_of_is_found_in_the_book() {
    let (fake, stripe) = Fake::start().await;
    let shop = Shop::start(&stripe, &[]).await;
    let seller = shop.h.suite.keys.service("account-lifecycle").unwrap();
    let seller = Clients::new(&shop.h.urls, &seller).unwrap();
    // What is bought has payments looked through the book again, once it is due.
    let buy = async |token: &str| {
        let (account_id, charge_id) = buy(&shop, &seller, token).await;
        let request = payments::GetChargeRequest {
            account_id,
            charge_id,
        };
        let mut client = shop.billing.payments.clone();
        let charge = client.get_charge(request).await.unwrap().into_inner();
        charge.charge.unwrap().provider_charge_id
    };
    let look = async || {
        let due = "UPDATE payments.dispute_scans SET next_at = '-infinity'";
        sqlx::query(due).execute(&shop.h.db).await.unwrap();
        buy(&format!("pm_ok_{}", Uuid::new_v4().simple())).await;
    };
    let withheld = async |expected: i64| {
        let begun = Instant::now();
        let sum = "SELECT coalesce(sum(CASE WHEN debit = 15 THEN amount_micros ELSE -amount_micros END), 0)::bigint
                   FROM billing.ledger_entries WHERE 15 IN (debit, credit)";
        while shop.h.count(sum).await != expected {
            assert!(begun.elapsed() < PATIENCE, "never {expected}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let now = chrono::Utc::now().timestamp();
    let contested = |id: &str, intent: &str, created: i64, status: &str| {
        let dispute = json!({"id": id, "payment_intent": intent, "amount": 10_000, "currency": "usd",
            "created": created, "status": status, "reason": "fraudulent", "balance_transactions": []});
        fake.disputes.lock().unwrap().insert(id.to_owned(), dispute);
    };
    let (one, other) = (buy("pm_ok_one").await, buy("pm_ok_other").await);
    // On two pages, with one that is another system's.
    contested("dp_1", "pi_of_another_system", now, "needs_response");
    contested("dp_2", &one, now, "needs_response");
    contested("dp_3", &other, now, "needs_response");
    // One that can't be kept keeps none of the others, and is not passed over.
    let nothing = json!({"id": "dp_0", "payment_intent": one, "amount": 0, "currency": "usd", "created": now,
        "status": "needs_response", "reason": "fraudulent", "balance_transactions": []});
    fake.dispute_is("dp_0", nothing);
    let done = "SELECT coalesce(max(extract(epoch FROM done_at) * 1000000), 0)::bigint FROM payments.dispute_scans
                WHERE provider_code = 'stripe'";
    let before = shop.h.count(done).await;
    look().await;
    withheld(200_000_000).await;
    assert_eq!(shop.h.count(done).await, before, "it was not all of it");
    fake.disputes.lock().unwrap().remove("dp_0");
    // One that is decided long after it was opened.
    contested("dp_2", &one, now - 100 * 86_400, "won");
    look().await;
    withheld(100_000_000).await;
    assert_eq!(
        shop.h
            .count("SELECT count(*) FROM payments.webhook_events")
            .await,
        0
    );
}
