//! Razorpay, through its HTTP API: payment links for UPI, net banking and cards; orders with recurring payments for
//! mandates; refunds.
//!
//! A token is either `upi`, `netbanking` or `card`, in which case the customer pays each charge on a Razorpay page, or
//! `cust_…-token_…`: a mandate of a customer whose notes name the account as `perdiem_account`. Requests carry our
//! reference as `reference_id` or `receipt`, each unique at Razorpay, and in the notes.

use chassis::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;
use values::{Currency, Money};

use super::api::{self, Sent, text};
use super::{
    BookEntry, ChargeOrder, Contested, Instrument, Kind, NotAttached, Provider, REFERENCE,
    RefundOrder, Sought, Unavailable,
};
use crate::domain::dispute::State;
use crate::domain::movement::Answer;
use crate::domain::token::Token;

/// Hours for which a payment link is valid.
const LINK_HOURS: i64 = 24;
/// Minutes within which a mandate payment is captured once its bank confirms it. Razorpay refunds payments that are
/// authorized later.
const CAPTURE_MINUTES: i64 = 12;
/// How long a failed payment may still be captured, with a margin for clock skew.
const UNDECIDED: TimeDelta = TimeDelta::minutes(CAPTURE_MINUTES + 10);
/// Entries per page of a list.
const PAGE: usize = 100;
/// Maximum of pages read from a book.
const PAGES_MAX: usize = 1_000;
/// JSON pointer to our reference in an object's notes.
const NOTE: &str = "/notes/perdiem_reference";

/// Razorpay.
pub struct Razorpay {
    http: reqwest::Client,
    url: String,
    key_id: String,
    key_secret: String,
    /// Page that the customer returns to if the charge names none; empty for none.
    return_url: String,
}

/// The meaning of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way<'t> {
    /// A payment method that the customer uses on a payment page.
    Asked(&'t str),
    /// A mandate.
    Saved {
        /// Razorpay's customer id.
        customer: &'t str,
        /// Razorpay's token id.
        token: &'t str,
    },
}

impl<'t> Way<'t> {
    /// Parses `token`; `None` if it is not a Razorpay token.
    fn of(token: &'t Token) -> Option<Self> {
        let text = token.as_str();
        if METHODS.contains(&text) {
            return Some(Self::Asked(text));
        }
        let (customer, token) = text.split_once('-')?;
        let reads = |id: &str, prefix: &str| {
            id.strip_prefix(prefix).is_some_and(|rest| {
                !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric())
            })
        };
        (reads(customer, "cust_") && reads(token, "token_"))
            .then_some(Self::Saved { customer, token })
    }
}

/// Payment methods that the customer uses on a payment page.
const METHODS: [&str; 3] = ["upi", "netbanking", "card"];

impl Razorpay {
    /// Creates a client for Razorpay at `url` with an API key and a default return page.
    pub fn new(
        url: &str,
        (key_id, key_secret): (&str, &str),
        return_url: &str,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        Ok(Self {
            http: api::client()?,
            url: url.trim_end_matches('/').to_owned(),
            key_id: key_id.to_owned(),
            key_secret: key_secret.to_owned(),
            return_url: return_url.to_owned(),
        })
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Sent {
        api::send(request.basic_auth(&self.key_id, Some(&self.key_secret))).await
    }

    async fn post(&self, path: &str, body: &Value) -> Sent {
        let request = self.http.post(format!("{}{path}", self.url));
        self.send(request.json(body)).await
    }

    async fn get(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Option<Value>, Unavailable> {
        let request = self.http.get(format!("{}{path}", self.url)).query(query);
        match self.send(request).await {
            Sent::Answered(status, body) if status.is_success() => Ok(Some(body)),
            // Razorpay answers 400 for an id that does not exist.
            Sent::Answered(StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST, _) => Ok(None),
            Sent::Answered(..) | Sent::Not | Sent::Unknown => Err(Unavailable),
        }
    }

    /// A list under a named field of a response.
    async fn list(
        &self,
        path: &str,
        query: &[(&str, String)],
        name: &str,
    ) -> Result<Vec<Value>, Unavailable> {
        let found = self.get(path, query).await?.ok_or(Unavailable)?;
        let items = found.get(name).and_then(Value::as_array);
        items.cloned().ok_or(Unavailable)
    }

    /// The payment link with our reference.
    async fn link(&self, reference: Uuid) -> Result<Option<Value>, Unavailable> {
        let query = [("reference_id", reference.to_string())];
        let found = self
            .list("/v1/payment_links", &query, "payment_links")
            .await?;
        let mut ours = found
            .into_iter()
            .filter(|it| text(it, "/reference_id") == Some(&reference.to_string()));
        Ok(ours.next())
    }

    /// The order with our reference, and the attempts to pay it.
    async fn order(&self, reference: Uuid) -> Result<Option<(String, Vec<Value>)>, Unavailable> {
        let query = [("receipt", reference.to_string())];
        let found = self.list("/v1/orders", &query, "items").await?;
        let ours = found
            .iter()
            .find(|it| text(it, "/receipt") == Some(&reference.to_string()));
        let Some(id) = ours.and_then(|it| text(it, "/id")) else {
            return Ok(None);
        };
        let path = format!("/v1/orders/{id}/payments");
        let payments = self.list(&path, &[], "items").await?;
        Ok(Some((id.to_owned(), payments)))
    }

    /// The refund with our reference.
    async fn refund_of(&self, charge: &str, reference: Uuid) -> Result<Option<Value>, Unavailable> {
        let path = format!("/v1/payments/{charge}/refunds");
        let query = [("count", PAGE.to_string())];
        let found = self.list(&path, &query, "items").await?;
        let mut ours = found.into_iter().filter(|it| {
            let told = text(it, NOTE).or_else(|| text(it, "/receipt"));
            told == Some(&reference.to_string())
        });
        Ok(ours.next())
    }

    /// Creates a payment link for the customer. Razorpay refuses a second link with the same reference, so the first
    /// one counts.
    async fn ask(&self, asked: &ChargeOrder, method: &str) -> Answer {
        if asked.unattended {
            return refused("AUTHENTICATION_REQUIRED");
        }
        let Ok(now) = Clock::System.now().await else {
            return Answer::NotSent;
        };
        let return_url = [&asked.return_url, &self.return_url]
            .into_iter()
            .find(|url| !url.is_empty());
        let body = link_request(asked, method, return_url.map(String::as_str), now);
        match self.post("/v1/payment_links", &body).await {
            Sent::Answered(status, it) if status.is_success() => link(&it),
            Sent::Answered(StatusCode::BAD_REQUEST, it) => match self.link(asked.reference).await {
                Ok(Some(first)) => link(&first),
                Ok(None) => refused(&reason(&it)),
                Err(Unavailable) => Answer::Unknown,
            },
            Sent::Not => Answer::NotSent,
            Sent::Answered(..) | Sent::Unknown => Answer::Unknown,
        }
    }

    /// Charges a mandate. An order is paid at most once, even if the request is repeated.
    async fn take(&self, asked: &ChargeOrder, (customer, token): (&str, &str)) -> Answer {
        let Ok(now) = Clock::System.now().await else {
            return Answer::NotSent;
        };
        let payer = match self.get(&format!("/v1/customers/{customer}"), &[]).await {
            Ok(Some(payer)) => payer,
            Ok(None) => return refused("UNKNOWN_TOKEN"),
            Err(Unavailable) => return Answer::NotSent,
        };
        let order = match self.post("/v1/orders", &order_request(asked)).await {
            Sent::Answered(status, it) if status.is_success() => it,
            Sent::Answered(StatusCode::BAD_REQUEST, it) => return refused(&reason(&it)),
            // A failed order creation moves no money.
            Sent::Answered(..) | Sent::Not | Sent::Unknown => return Answer::NotSent,
        };
        let Some(order) = text(&order, "/id") else {
            return Answer::NotSent;
        };
        let path = format!("/v1/orders/{order}/payments");
        match self.list(&path, &[], "items").await {
            Ok(tried) if !tried.is_empty() => return paid(asked.reference, &tried, now),
            Ok(_) => {}
            // An earlier request may have succeeded.
            Err(Unavailable) => return Answer::Unknown,
        }
        let body = recurring_request(asked, &payer, (order, customer, token));
        let sent = self.post("/v1/payments/create/recurring", &body).await;
        let payment = match sent {
            Sent::Answered(status, it) if status.is_success() => it,
            // Another process may have been faster.
            Sent::Answered(StatusCode::BAD_REQUEST, it) => {
                return match self.list(&path, &[], "items").await {
                    Ok(tried) if tried.is_empty() => refused(&reason(&it)),
                    Ok(tried) => paid(asked.reference, &tried, now),
                    Err(Unavailable) => Answer::Unknown,
                };
            }
            Sent::Not => return Answer::NotSent,
            Sent::Answered(..) | Sent::Unknown => return Answer::Unknown,
        };
        let Some(id) = text(&payment, "/razorpay_payment_id") else {
            return Answer::Unknown;
        };
        if let Some(signature) = text(&payment, "/razorpay_signature")
            && !is_signed(order, id, signature, &self.key_secret)
        {
            return Answer::Unknown;
        }
        match self.get(&format!("/v1/payments/{id}"), &[]).await {
            Ok(Some(it)) => paid(asked.reference, &[it], now),
            Ok(None) | Err(Unavailable) => Answer::Unknown,
        }
    }

    /// Everything created in a time range, newest first, as Razorpay returns it.
    async fn made(
        &self,
        path: &str,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<Vec<Value>, Unavailable> {
        let mut all = Vec::new();
        for page in 0..PAGES_MAX {
            let query = [
                ("from", from.timestamp().to_string()),
                // Razorpay includes the end of the range.
                ("to", (until.timestamp() - 1).to_string()),
                ("count", PAGE.to_string()),
                ("skip", (page * PAGE).to_string()),
            ];
            let found = self.list(path, &query, "items").await?;
            let full = found.len() == PAGE;
            all.extend(found);
            if !full {
                return Ok(all);
            }
        }
        Err(Unavailable)
    }
}

/// The request for a payment link.
fn link_request(
    asked: &ChargeOrder,
    method: &str,
    return_url: Option<&str>,
    now: DateTime<Utc>,
) -> Value {
    let shown = |it: &str| it == method;
    let mut body = json!({
        "amount": asked.money.minor(),
        "currency": asked.money.currency().code(),
        "accept_partial": false,
        "reference_id": asked.reference.to_string(),
        "description": "Your payment",
        "expire_by": (now + TimeDelta::hours(LINK_HOURS)).timestamp(),
        "notify": {"sms": false, "email": false},
        "reminder_enable": false,
        "notes": {REFERENCE: asked.reference.to_string()},
        "options": {"checkout": {"method": {
            "netbanking": shown("netbanking"), "card": shown("card"), "upi": shown("upi"), "wallet": false,
        }}},
    });
    if let (Some(url), Value::Object(fields)) = (return_url, &mut body) {
        fields.insert("callback_url".to_owned(), json!(url));
        fields.insert("callback_method".to_owned(), json!("get"));
    }
    body
}

/// The request for an order. The unique receipt prevents a second order with the same reference.
fn order_request(asked: &ChargeOrder) -> Value {
    json!({
        "amount": asked.money.minor(),
        "currency": asked.money.currency().code(),
        "payment": {"capture": "automatic", "capture_options": {"automatic_expiry_period": CAPTURE_MINUTES,
            "manual_expiry_period": CAPTURE_MINUTES, "refund_speed": "normal"}},
        "receipt": asked.reference.to_string(),
        "unique_receipt": true,
        "notes": {REFERENCE: asked.reference.to_string()},
    })
}

/// The request for a mandate payment.
fn recurring_request(
    asked: &ChargeOrder,
    payer: &Value,
    (order, customer, token): (&str, &str, &str),
) -> Value {
    json!({
        "email": text(payer, "/email").unwrap_or_default(),
        "contact": text(payer, "/contact").unwrap_or_default(),
        "amount": asked.money.minor(),
        "currency": asked.money.currency().code(),
        "order_id": order,
        "customer_id": customer,
        "token": token,
        "recurring": true,
        "description": "Your payment",
        "notes": {REFERENCE: asked.reference.to_string()},
    })
}

/// The request for a refund.
fn refund_request(asked: &RefundOrder) -> Value {
    json!({
        "amount": asked.money.minor(),
        "speed": "normal",
        "receipt": asked.reference.to_string(),
        "notes": {REFERENCE: asked.reference.to_string()},
    })
}

/// Whether Razorpay has signed that a payment pays an order.
fn is_signed(order: &str, payment: &str, signature: &str, secret: &str) -> bool {
    api::is_signed(secret, format!("{order}|{payment}").as_bytes(), signature)
}

/// The refusal reason in our format: Razorpay's reason in upper case, or else its error code.
fn reason(it: &Value) -> String {
    let told = [
        "/error/reason",
        "/error_reason",
        "/error/code",
        "/error_code",
    ]
    .into_iter()
    .find_map(|pointer| text(it, pointer).filter(|text| !text.is_empty()));
    match told.unwrap_or("refused") {
        "insufficient_funds" => "INSUFFICIENT_FUNDS".to_owned(),
        "card_expired" => "CARD_EXPIRED".to_owned(),
        told => told.to_uppercase().chars().take(64).collect(),
    }
}

/// A refusal; some reasons allow a retry with the same method.
fn refused(reason: &str) -> Answer {
    let retryable = matches!(
        reason,
        "INSUFFICIENT_FUNDS"
            | "GATEWAY_TECHNICAL_ERROR"
            | "BANK_TECHNICAL_ERROR"
            | "PAYMENT_TIMED_OUT"
    );
    Answer::Refused {
        reason: reason.to_owned(),
        retryable,
    }
}

/// The answer that a payment link gives.
fn link(it: &Value) -> Answer {
    let Some(id) = text(it, "/id") else {
        return Answer::Unknown;
    };
    match text(it, "/status") {
        Some("paid") => {
            let payments = it.pointer("/payments").and_then(Value::as_array);
            let payment = payments.and_then(|all| {
                all.iter()
                    .find(|one| text(one, "/status") == Some("captured"))
            });
            let moved = payment.and_then(|one| {
                let id = text(one, "/payment_id")?;
                moved(
                    (id, text(it, "/reference_id")?),
                    (one, text(it, "/currency")?),
                )
            });
            moved.unwrap_or(Answer::Unknown)
        }
        Some("created") => Answer::Pending {
            provider_id: id.to_owned(),
            action_url: text(it, "/short_url").unwrap_or_default().to_owned(),
        },
        Some("expired") => refused("EXPIRED"),
        Some("cancelled") => refused("CANCELLED"),
        _ => Answer::Unknown,
    }
}

/// The answer that the payments of an order give, of which at most one is captured. A failure that the customer did not
/// cause may still be captured if the bank answers late.
fn paid(reference: Uuid, tried: &[Value], now: DateTime<Utc>) -> Answer {
    let of = |status: &str| tried.iter().find(|it| text(it, "/status") == Some(status));
    // A payment that was refunded without a capture was authorized too late.
    let captured = |it: &&Value| it.pointer("/captured") != Some(&Value::Bool(false));
    if let Some(it) = of("captured").or_else(|| of("refunded").filter(captured)) {
        let moved = text(it, "/id").and_then(|id| {
            let reference = reference.to_string();
            moved((id, &reference), (it, text(it, "/currency")?))
        });
        return moved.unwrap_or(Answer::Unknown);
    }
    let undecided = |it: &&Value| {
        let created = it.pointer("/created_at").and_then(Value::as_i64);
        let recent = created.is_some_and(|created| (now - UNDECIDED).timestamp() < created);
        recent && text(it, "/error_source") != Some("customer")
    };
    let open = of("authorized").or_else(|| of("created"));
    if let Some(it) = open.or_else(|| of("failed").filter(undecided)) {
        return match text(it, "/id") {
            Some(id) => Answer::Pending {
                provider_id: id.to_owned(),
                action_url: String::new(),
            },
            None => Answer::Unknown,
        };
    }
    match tried.last().map(|it| (it, text(it, "/status"))) {
        Some((it, Some("failed"))) => refused(&reason(it)),
        Some((_, Some("refunded"))) => refused("PAYMENT_TIMED_OUT"),
        Some(_) | None => Answer::Unknown,
    }
}

/// The answer that a refund gives.
fn refund(it: &Value) -> Answer {
    let Some(id) = text(it, "/id") else {
        return Answer::Unknown;
    };
    match text(it, "/status") {
        Some("processed") => {
            let reference = text(it, NOTE).or_else(|| text(it, "/receipt"));
            let moved = text(it, "/currency")
                .and_then(|currency| moved((id, reference.unwrap_or_default()), (it, currency)));
            moved.unwrap_or(Answer::Unknown)
        }
        Some("pending") => Answer::Pending {
            provider_id: id.to_owned(),
            action_url: String::new(),
        },
        Some("failed") => refused(&reason(it)),
        _ => Answer::Unknown,
    }
}

/// An answer for moved money; `None` if a field is malformed.
fn moved((id, reference): (&str, &str), (it, currency): (&Value, &str)) -> Option<Answer> {
    let currency: Currency = currency.parse().ok()?;
    let minor = it.pointer("/amount").and_then(Value::as_i64)?;
    let created = it.pointer("/created_at").and_then(Value::as_i64)?;
    Some(Answer::Moved {
        provider_id: id.to_owned(),
        // A movement that is not ours has no reference of ours.
        reference: Uuid::try_parse(reference).unwrap_or_default(),
        money: Money::from_minor(minor, currency),
        at: DateTime::from_timestamp(created, 0)?,
    })
}

impl Provider for Razorpay {
    fn window(&self) -> TimeDelta {
        TimeDelta::hours(24)
    }

    fn attach<'a>(
        &'a self,
        token: &'a Token,
        owner: Uuid,
    ) -> BoxFuture<'a, Result<Instrument, NotAttached>> {
        async move {
            let refused = |reason: &str| NotAttached::Refused(reason.to_owned());
            let (customer, token) = match Way::of(token) {
                Some(Way::Asked(_)) => return Ok(Instrument::default()),
                Some(Way::Saved { customer, token }) => (customer, token),
                None => return Err(refused("UNKNOWN_TOKEN")),
            };
            let get = async |path: String| {
                let found = self.get(&path, &[]).await;
                found
                    .map_err(|Unavailable| NotAttached::Unavailable)?
                    .ok_or_else(|| refused("UNKNOWN_TOKEN"))
            };
            let payer = get(format!("/v1/customers/{customer}")).await?;
            if text(&payer, "/notes/perdiem_account") != Some(&owner.simple().to_string()) {
                return Err(refused("TOKEN_OF_ANOTHER_ACCOUNT"));
            }
            let found = get(format!("/v1/customers/{customer}/tokens/{token}")).await?;
            instrument(&found).ok_or_else(|| refused("TOKEN_NOT_CONFIRMED"))
        }
        .boxed()
    }

    fn charge<'a>(&'a self, asked: &'a ChargeOrder) -> BoxFuture<'a, Answer> {
        async move {
            match Way::of(&asked.token) {
                Some(Way::Asked(method)) => self.ask(asked, method).await,
                Some(Way::Saved { customer, token }) => self.take(asked, (customer, token)).await,
                None => refused("UNKNOWN_TOKEN"),
            }
        }
        .boxed()
    }

    fn refund<'a>(&'a self, asked: &'a RefundOrder) -> BoxFuture<'a, Answer> {
        async move {
            let path = format!("{}/v1/payments/{}/refund", self.url, asked.charge_id);
            let request = self
                .http
                .post(path)
                .header("X-Refund-Idempotency", asked.reference.to_string())
                .json(&refund_request(asked));
            match self.send(request).await {
                Sent::Answered(status, it) if status.is_success() => refund(&it),
                // An earlier request may have succeeded.
                Sent::Answered(StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND, it) => {
                    match self.refund_of(&asked.charge_id, asked.reference).await {
                        Ok(Some(first)) => refund(&first),
                        Ok(None) => refused(&reason(&it)),
                        Err(Unavailable) => Answer::Unknown,
                    }
                }
                Sent::Not => Answer::NotSent,
                Sent::Answered(..) | Sent::Unknown => Answer::Unknown,
            }
        }
        .boxed()
    }

    fn look_up<'a>(
        &'a self,
        sought: &'a Sought,
    ) -> BoxFuture<'a, Result<Option<Answer>, Unavailable>> {
        async move {
            match sought.kind {
                Kind::Charge => {
                    if let Some(found) = self.link(sought.reference).await? {
                        return Ok(Some(link(&found)));
                    }
                    // An order without a payment attempt moves no money.
                    let order = self.order(sought.reference).await?;
                    let tried = order.filter(|(_, tried)| !tried.is_empty());
                    let now = Clock::System.now().await.map_err(|_| Unavailable)?;
                    Ok(tried.map(|(_, tried)| paid(sought.reference, &tried, now)))
                }
                Kind::Refund => {
                    let found = self.refund_of(&sought.charge_id, sought.reference).await?;
                    Ok(found.as_ref().map(refund))
                }
            }
        }
        .boxed()
    }

    fn dispute<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Contested>, Unavailable>> {
        async move {
            match self.get(&format!("/v1/disputes/{id}"), &[]).await? {
                Some(it) => contested(&it).map(Some).ok_or(Unavailable),
                None => Ok(None),
            }
        }
        .boxed()
    }

    fn disputes(&self, since: DateTime<Utc>) -> BoxFuture<'_, Result<Vec<String>, Unavailable>> {
        async move {
            let now = Clock::System.now().await.map_err(|_| Unavailable)?;
            let found = self.made("/v1/disputes", since, now).await?;
            let ids = found.iter().filter_map(|it| text(it, "/id"));
            Ok(ids.map(str::to_owned).collect())
        }
        .boxed()
    }

    fn book(
        &self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> BoxFuture<'_, Result<Vec<BookEntry>, Unavailable>> {
        async move {
            let now = Clock::System.now().await.map_err(|_| Unavailable)?;
            let mut entries = Vec::new();
            for (kind, path) in [
                (Kind::Charge, "/v1/payments"),
                (Kind::Refund, "/v1/refunds"),
            ] {
                for it in self.made(path, from, until).await? {
                    entries.extend(entry(kind, &it, now));
                }
            }
            entries.reverse();
            Ok(entries)
        }
        .boxed()
    }
}

/// The description of a mandate; `None` if it is not confirmed for recurring charges.
fn instrument(token: &Value) -> Option<Instrument> {
    let confirmed = match text(token, "/recurring_details/status") {
        Some(status) => status == "confirmed",
        None => token.pointer("/recurring").and_then(Value::as_bool) == Some(true),
    };
    if !confirmed {
        return None;
    }
    let card = |field: &str| text(token, &format!("/card/{field}")).unwrap_or_default();
    let number = |field: &str| {
        let value = token.pointer(&format!("/card/{field}"))?;
        value.as_i64().or_else(|| value.as_str()?.parse().ok())
    };
    let expiry = number("expiry_year").zip(number("expiry_month"));
    let foreign = token
        .pointer("/card/international")
        .and_then(Value::as_bool);
    Some(Instrument {
        network: card("network").to_uppercase(),
        country: if foreign == Some(false) { "IN" } else { "" }.to_owned(),
        last_four: card("last4").to_owned(),
        expiry_month: expiry
            .map(|(year, month)| format!("{year:04}-{month:02}"))
            .unwrap_or_default(),
    })
}

/// A dispute; `None` if a field is malformed.
fn contested(it: &Value) -> Option<Contested> {
    let currency: Currency = text(it, "/currency")?.parse().ok()?;
    let number = |pointer: &str| it.pointer(pointer).and_then(Value::as_i64);
    let amount = number("/amount")?;
    let soft = matches!(text(it, "/phase"), Some("fraud" | "retrieval"));
    let state = match text(it, "/status")? {
        "open" | "under_review" if soft => State::Inquiry,
        "open" | "under_review" => State::Open,
        "won" => State::Won,
        "lost" => State::Lost,
        "closed" => State::Withdrawn,
        _ => return None,
    };
    let withheld = number("/amount_deducted")?.clamp(0, amount);
    let at = |pointer: &str| number(pointer).and_then(|at| DateTime::from_timestamp(at, 0));
    Some(Contested {
        provider_id: text(it, "/id")?.to_owned(),
        charge_id: text(it, "/payment_id")?.to_owned(),
        money: Money::from_minor(amount, currency),
        withheld: Money::from_minor(withheld, currency),
        reason: text(it, "/reason_code").unwrap_or_default().to_owned(),
        state,
        evidence_due_at: at("/respond_by"),
        opened_at: at("/created_at")?,
    })
}

/// A book entry for a payment or refund of ours; `None` for those of other systems that share the account.
fn entry(kind: Kind, it: &Value, now: DateTime<Utc>) -> Option<BookEntry> {
    let currency: Currency = text(it, "/currency")?.parse().ok()?;
    let reference = Uuid::try_parse(text(it, NOTE)?).ok()?;
    Some(BookEntry {
        kind,
        reference,
        provider_id: text(it, "/id")?.to_owned(),
        money: Money::from_minor(it.pointer("/amount").and_then(Value::as_i64)?, currency),
        answer: match kind {
            Kind::Charge => paid(reference, std::slice::from_ref(it), now),
            Kind::Refund => refund(it),
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const REFERENCE_OF_OURS: &str = "0198a6b2-0000-7000-8000-000000000001";

    fn asked(token: &str) -> ChargeOrder {
        ChargeOrder {
            reference: REFERENCE_OF_OURS.parse().unwrap(),
            token: Token::parse(token).unwrap(),
            money: Money::from_minor(1_000, Currency::Inr),
            unattended: false,
            return_url: String::new(),
        }
    }

    /// Each field with the type of its value, except those that a caller names freely.
    fn shape(value: &Value) -> BTreeSet<String> {
        fn add(path: &str, value: &Value, shape: &mut BTreeSet<String>) {
            match value {
                Value::Object(fields) if !path.ends_with("notes") => {
                    for (name, value) in fields {
                        add(&format!("{path}/{name}"), value, shape);
                    }
                }
                Value::Object(_) => drop(shape.insert(format!("{path} object"))),
                Value::Bool(_) => drop(shape.insert(format!("{path} bool"))),
                Value::Number(_) => drop(shape.insert(format!("{path} number"))),
                Value::String(_) => drop(shape.insert(format!("{path} string"))),
                Value::Null | Value::Array(_) => drop(shape.insert(format!("{path} other"))),
            }
        }
        let mut all = BTreeSet::new();
        add("", value, &mut all);
        all
    }

    /// Asserts that a request has only fields of the samples, with the same types.
    fn within(request: &Value, samples: &[Value]) {
        let known: BTreeSet<String> = samples.iter().flat_map(shape).collect();
        let ours = shape(request);
        let unknown: Vec<&String> = ours.difference(&known).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    // The samples are from razorpay.com/docs; each names its page.

    #[test]
    fn a_link_is_asked_for_as_in_the_sample() {
        // api/payments/payment-links/customise-payment-methods, and create-upi for the rest.
        let methods = json!({"amount": 1000, "currency": "INR", "accept_partial": true,
            "first_min_partial_amount": 100, "reference_id": "#523442", "description": "Payment for policy no #23456",
            "customer": {"name": "<name>", "contact": "<phone>", "email": "<email>"},
            "notify": {"sms": false, "email": true}, "reminder_enable": true,
            "options": {"checkout": {"method": {"netbanking": true, "card": true, "upi": false, "wallet": false}}}});
        let rest = json!({"expire_by": 1_691_097_057, "notes": {"policy_name": "Life Insurance Policy"},
            "callback_url": "https://example-callback-url.com/", "callback_method": "get"});
        let now = DateTime::from_timestamp(1_691_010_657, 0).unwrap();
        let request = link_request(&asked("upi"), "upi", Some("https://shop.example/"), now);
        within(&request, &[methods, rest]);
        assert_eq!(request["expire_by"], 1_691_097_057);
        let shown = &request["options"]["checkout"]["method"];
        assert_eq!(
            *shown,
            json!({"netbanking": false, "card": false, "upi": true, "wallet": false})
        );
        // Razorpay limits a reference to forty characters.
        assert_eq!(request["reference_id"], REFERENCE_OF_OURS);
    }

    #[test]
    fn a_link_says_what_was_paid_by_which_payment() {
        // api/payments/payment-links/update-upi, the answer.
        let sample = |reference: &str, status: &str| {
            json!({"accept_partial": false, "amount": 100, "amount_paid": 100, "cancelled_at": 0,
                "created_at": 1_602_522_293, "currency": "INR", "description": "Payment for Acme Inc",
                "expire_by": 1_653_347_540, "expired_at": 0, "id": "plink_Fo48rl281ENAg9",
                "order_id": "order_Fo491cL6NGAjkI", "payments": [{"amount": 100, "created_at": 1_602_522_351,
                "method": "upi", "payment_id": "pay_Fo49sHbQ78PCMI", "status": "captured"}],
                "reference_id": reference, "short_url": "https://rzp.io/i/XQiMe4w", "status": status, "upi_link": true})
        };
        let moved = |reference: Uuid| Answer::Moved {
            provider_id: "pay_Fo49sHbQ78PCMI".to_owned(),
            reference,
            money: Money::from_minor(100, Currency::Inr),
            at: DateTime::from_timestamp(1_602_522_351, 0).unwrap(),
        };
        let ours = REFERENCE_OF_OURS.parse().unwrap();
        assert_eq!(link(&sample(REFERENCE_OF_OURS, "paid")), moved(ours));
        assert_eq!(link(&sample("TS35", "paid")), moved(Uuid::nil()));
        assert_eq!(
            link(&sample(REFERENCE_OF_OURS, "created")),
            Answer::Pending {
                provider_id: "plink_Fo48rl281ENAg9".to_owned(),
                action_url: "https://rzp.io/i/XQiMe4w".to_owned(),
            }
        );
        assert_eq!(
            link(&sample(REFERENCE_OF_OURS, "expired")),
            refused("EXPIRED")
        );
        for odd in ["partially_paid", "something_new"] {
            assert_eq!(link(&sample(REFERENCE_OF_OURS, odd)), Answer::Unknown);
        }
    }

    #[test]
    fn a_mandate_is_charged_as_in_the_samples() {
        // api/payments/recurring-payments/cards/create-subsequent-payments; unique_receipt of
        // payment-gateway/s2s-integration/test-s2s/best-practices/retries-and-idempotency.
        let order = json!({"amount": 1000, "currency": "INR", "receipt": "Receipt No. 1",
            "notes": {"notes_key_1": "Tea, Earl Grey, Hot"}, "unique_receipt": true});
        // payments/payments/capture-settings/api.
        let capture = json!({"payment": {"capture": "automatic", "capture_options": {"automatic_expiry_period": 12,
            "manual_expiry_period": 7200, "refund_speed": "optimum"}}});
        within(&order_request(&asked("card")), &[order, capture]);
        let payment = json!({"email": "gaurav.kumar@example.com", "contact": "9876543210", "amount": 1000,
            "currency": "INR", "order_id": "order_1Aa00000000002", "customer_id": "cust_1Aa00000000001",
            "token": "token_1Aa00000000001", "recurring": true, "description": "Creating recurring payment for Gaurav Kumar",
            "notes": {"note_key 1": "Beam me up Scotty"}});
        let payer = json!({"email": "gaurav.kumar@example.com", "contact": "9876543210"});
        let ids = ("order_1", "cust_1", "token_1");
        within(
            &recurring_request(&asked("card"), &payer, ids),
            std::slice::from_ref(&payment),
        );
        assert_eq!(
            shape(&recurring_request(&asked("card"), &payer, ids)),
            shape(&payment)
        );
    }

    #[test]
    fn a_payment_is_signed_as_in_the_sample() {
        // payments/payment-gateway/web-integration/standard, "Generate Signature on Your Server".
        let (order, payment) = ("order_IEIaMR65cu6nz3", "pay_IH4NVgf4Dreq1l");
        let signature = "0d4e745a1838664ad6c9c9902212a32d627d68e917290b0ad5f08ff4561bc50f";
        let secret = "EnLs21M47BllR3X8PSFtjtbd";
        assert!(is_signed(order, payment, signature, secret));
        assert!(!is_signed(payment, order, signature, secret));
        assert!(!is_signed(order, payment, signature, "another"));
        assert!(!is_signed(order, payment, "", secret));
    }

    #[test]
    fn a_refund_is_asked_for_and_answered_as_in_the_samples() {
        // api/refunds/normal-refunds-idempotent and api/refunds/entity.
        let request = json!({"amount": 100, "speed": "normal", "receipt": "Receipt No. 31",
            "notes": {"notes_key_1": "Tea, Earl Grey, Hot"}});
        let order = RefundOrder {
            reference: REFERENCE_OF_OURS.parse().unwrap(),
            charge_reference: Uuid::nil(),
            charge_id: "pay_FgR9UMzgmKDJRi".to_owned(),
            money: Money::from_minor(10_000, Currency::Inr),
        };
        within(&refund_request(&order), &[request]);
        let entity = |status: &str, notes: Value| {
            json!({"id": "rfnd_FgRAHdNOM4ZVbO", "entity": "refund", "amount": 10_000, "currency": "INR",
                "payment_id": "pay_FgR9UMzgmKDJRi", "notes": notes, "receipt": null,
                "acquirer_data": {"arn": "10000000000000"}, "created_at": 1_600_856_650, "batch_id": null,
                "status": status, "speed_processed": "normal", "speed_requested": "normal"})
        };
        let ours = json!({"perdiem_reference": REFERENCE_OF_OURS});
        assert_eq!(
            refund(&entity("processed", ours.clone())),
            Answer::Moved {
                provider_id: "rfnd_FgRAHdNOM4ZVbO".to_owned(),
                reference: order.reference,
                money: order.money,
                at: DateTime::from_timestamp(1_600_856_650, 0).unwrap(),
            }
        );
        let pending = refund(&entity("pending", ours.clone()));
        assert!(matches!(pending, Answer::Pending { .. }));
        assert_eq!(refund(&entity("failed", ours)), refused("REFUSED"));
        let theirs = refund(&entity("processed", json!([])));
        assert!(matches!(theirs, Answer::Moved { reference, .. } if reference.is_nil()));
    }

    #[test]
    fn an_order_is_paid_by_its_captured_payment_whatever_failed_before() {
        let ours: Uuid = REFERENCE_OF_OURS.parse().unwrap();
        let tried = |status: &str| {
            json!({"id": format!("pay_{status}"), "amount": 1_000, "currency": "INR", "status": status,
                "created_at": 1_600_856_650, "error_code": "BAD_REQUEST_ERROR", "error_reason": "insufficient_funds"})
        };
        let said = |all: &[&str]| {
            let all: Vec<Value> = all.iter().map(|status| tried(status)).collect();
            paid(
                ours,
                &all,
                DateTime::from_timestamp(1_600_866_650, 0).unwrap(),
            )
        };
        assert!(
            matches!(said(&["failed", "captured"]), Answer::Moved { reference, .. } if reference == ours)
        );
        assert!(matches!(
            said(&["failed", "created"]),
            Answer::Pending { .. }
        ));
        assert!(matches!(said(&["authorized"]), Answer::Pending { .. }));
        assert_eq!(said(&["failed"]), refused("INSUFFICIENT_FUNDS"));
        assert_eq!(said(&["something_new"]), Answer::Unknown);
        assert_eq!(said(&[]), Answer::Unknown);
        // The bank may answer late, unless the customer caused the failure.
        let soon = DateTime::from_timestamp(1_600_857_000, 0).unwrap();
        let mut failed = tried("failed");
        assert!(matches!(
            paid(ours, &[failed.clone()], soon),
            Answer::Pending { .. }
        ));
        failed["error_source"] = json!("customer");
        assert_eq!(paid(ours, &[failed], soon), refused("INSUFFICIENT_FUNDS"));
        // The payment was authorized too late and refunded.
        let mut late = tried("refunded");
        assert!(matches!(said(&["refunded"]), Answer::Moved { .. }));
        late["captured"] = json!(false);
        assert_eq!(paid(ours, &[late], soon), refused("PAYMENT_TIMED_OUT"));
    }

    #[test]
    fn a_dispute_reads_as_in_the_sample() {
        // api/disputes/entity.
        let sample = |status: &str, phase: &str, deducted: i64| {
            json!({"id": "disp_AHfqOvkldwsbqt", "entity": "dispute", "payment_id": "pay_EsyWjHrfzb59eR",
                "amount": 10_000, "currency": "INR", "amount_deducted": deducted, "reason_code": "chargeback",
                "respond_by": 1_590_604_200, "status": status, "phase": phase, "created_at": 1_590_059_211})
        };
        let said =
            |it: &Value| contested(it).map(|said| (said.state.as_str(), said.withheld.minor()));
        assert_eq!(said(&sample("open", "chargeback", 0)), Some(("OPEN", 0)));
        assert_eq!(said(&sample("open", "retrieval", 0)), Some(("INQUIRY", 0)));
        assert_eq!(
            said(&sample("lost", "chargeback", 10_000)),
            Some(("LOST", 10_000))
        );
        assert_eq!(said(&sample("closed", "fraud", 0)), Some(("WITHDRAWN", 0)));
        assert_eq!(said(&sample("something_new", "fraud", 0)), None);
    }

    #[test]
    fn a_token_is_a_method_or_a_mandate_that_is_confirmed() {
        let way = |text: &str| {
            let token = Token::parse(text).unwrap();
            Way::of(&token).map(|way| format!("{way:?}"))
        };
        assert_eq!(way("upi").unwrap(), "Asked(\"upi\")");
        let saved = way("cust_1Aa00000000001-token_1Aa00000000001").unwrap();
        assert_eq!(
            saved,
            "Saved { customer: \"cust_1Aa00000000001\", token: \"token_1Aa00000000001\" }"
        );
        for none in [
            "wallet",
            "token_1",
            "cust_1-",
            "cust_1-card_1",
            "cust_-token_1",
        ] {
            assert_eq!(way(none), None, "{none}");
        }
        // api/payments/recurring-payments/cards/tokens, shortened.
        let token = |status: &str| {
            json!({"id": "token_FHfn3rIiM1Z8nr", "entity": "token", "method": "card", "card": {"entity": "card",
                "last4": "5449", "network": "MasterCard", "type": "credit", "issuer": "UTIB", "international": false,
                "expiry_month": 12, "expiry_year": 2021}, "recurring": true,
                "recurring_details": {"status": status, "failure_reason": null}})
        };
        let told = instrument(&token("confirmed")).unwrap();
        assert_eq!(
            (told.network.as_str(), told.last_four.as_str()),
            ("MASTERCARD", "5449")
        );
        assert_eq!(
            (told.country.as_str(), told.expiry_month.as_str()),
            ("IN", "2021-12")
        );
        assert_eq!(instrument(&token("rejected")), None);
    }
}
