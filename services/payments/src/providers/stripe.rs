//! Stripe, through its HTTP API: customers, payment methods, payment intents and refunds.
//!
//! A request carries our reference twice: as the idempotency key, so that repeated requests are deduplicated for at
//! least a day, and as metadata, by which the book is searched. The API version is pinned.

use chassis::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::StatusCode;
use serde_json::Value;
use uuid::Uuid;
use values::{Currency, Money};

use super::api::{self, Sent, text};
use super::{
    BookEntry, ChargeOrder, Contested, Instrument, Kind, NotAttached, Provider, RefundOrder,
    Sought, Unavailable,
};
use crate::domain::dispute;
use crate::domain::movement::Answer;
use crate::domain::token::Token;

/// API version of requests and responses.
const VERSION: &str = "2024-06-20";
/// Maximum of pages read from a book.
const PAGES_MAX: usize = 1_000;

/// Stripe.
pub struct Stripe {
    http: reqwest::Client,
    url: String,
    key: String,
    /// Page that the customer returns to if the charge names none; empty for none.
    return_url: String,
}

impl Stripe {
    /// Creates a client for Stripe at `url` with a secret key and a default return page.
    pub fn new(url: &str, key: &str, return_url: &str) -> Result<Self, Box<dyn std::error::Error>> {
        Ok(Self {
            http: api::client()?,
            url: url.trim_end_matches('/').to_owned(),
            key: key.to_owned(),
            return_url: return_url.to_owned(),
        })
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Sent {
        let request = request
            .bearer_auth(&self.key)
            .header("Stripe-Version", VERSION);
        api::send(request).await
    }

    async fn post(&self, path: &str, key: Uuid, form: &[(&str, String)]) -> Sent {
        let request = self.http.post(format!("{}{path}", self.url));
        let request = request.header("Idempotency-Key", key.to_string());
        self.send(request.form(form)).await
    }

    async fn get(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Option<Value>, Unavailable> {
        let request = self.http.get(format!("{}{path}", self.url)).query(query);
        match self.send(request).await {
            Sent::Answered(status, body) if status.is_success() => Ok(Some(body)),
            Sent::Answered(StatusCode::NOT_FOUND, _) => Ok(None),
            Sent::Answered(..) | Sent::Not | Sent::Unknown => Err(Unavailable),
        }
    }

    /// The payment method of a token.
    async fn method(&self, token: &Token) -> Result<Value, NotAttached> {
        let path = format!("/v1/payment_methods/{}", token.as_str());
        let found = self.get(&path, &[]).await;
        found
            .map_err(|Unavailable| NotAttached::Unavailable)?
            .ok_or_else(|| NotAttached::Refused("UNKNOWN_TOKEN".to_owned()))
    }

    /// Attaches a payment method to a customer; otherwise Stripe would allow only one charge with it.
    async fn own(&self, token: &Token, owner: Uuid) -> Result<(), NotAttached> {
        let key = |what: String| Uuid::new_v5(&owner, what.as_bytes());
        let form = [("metadata[perdiem_account]", owner.simple().to_string())];
        let customer = self
            .post("/v1/customers", key("customer".to_owned()), &form)
            .await;
        let customer = accepted(customer)?;
        let id = text(&customer, "/id").ok_or(NotAttached::Unavailable)?;
        let path = format!("/v1/payment_methods/{}/attach", token.as_str());
        let attached = self
            .post(
                &path,
                key(format!("attach {}", token.as_str())),
                &[("customer", id.to_owned())],
            )
            .await;
        accepted(attached).map(|_| ())
    }

    /// Checks that a customer belongs to this account, so that nobody can charge another account's token.
    async fn check_owner(&self, customer: &str, owner: Uuid) -> Result<(), NotAttached> {
        let path = format!("/v1/customers/{customer}");
        let found = self.get(&path, &[]).await;
        let found = found.map_err(|Unavailable| NotAttached::Unavailable)?;
        let whose = found
            .as_ref()
            .and_then(|it| text(it, "/metadata/perdiem_account"));
        if whose == Some(&owner.simple().to_string()) {
            return Ok(());
        }
        Err(NotAttached::Refused("TOKEN_OF_ANOTHER_ACCOUNT".to_owned()))
    }

    /// All pages of a list, newest first, as Stripe returns it.
    async fn list(&self, path: &str, query: &[(&str, String)]) -> Result<Vec<Value>, Unavailable> {
        let mut all: Vec<Value> = Vec::new();
        for _ in 0..PAGES_MAX {
            let mut query = query.to_vec();
            query.push(("limit", "100".to_owned()));
            if let Some(last) = all.last().and_then(|it| text(it, "/id")) {
                query.push(("starting_after", last.to_owned()));
            }
            let page = self.get(path, &query).await?.ok_or(Unavailable)?;
            let data = page.pointer("/data").and_then(Value::as_array);
            let data = data.ok_or(Unavailable)?;
            all.extend(data.iter().cloned());
            let more = page.pointer("/has_more").and_then(Value::as_bool);
            if data.is_empty() || more != Some(true) {
                return Ok(all);
            }
        }
        Err(Unavailable)
    }

    /// The customer of the charged method; `None` if the method or its customer is unknown.
    async fn customer_of(&self, sought: &Sought) -> Result<Option<String>, Unavailable> {
        let Some(token) = &sought.token else {
            return Ok(None);
        };
        match self.method(token).await {
            Ok(method) => Ok(text(&method, "/customer").map(str::to_owned)),
            Err(NotAttached::Refused(_)) => Ok(None),
            Err(NotAttached::Unavailable) => Err(Unavailable),
        }
    }

    async fn found(&self, sought: &Sought) -> Result<Option<Value>, Unavailable> {
        let collection = match sought.kind {
            Kind::Charge => "/v1/payment_intents",
            Kind::Refund => "/v1/refunds",
        };
        // A hint may name a related object instead, such as the charge of an intent.
        let names_it = match sought.kind {
            Kind::Charge => sought.provider_id.starts_with("pi_"),
            Kind::Refund => sought.provider_id.starts_with("re_"),
        };
        if names_it {
            let path = format!("{collection}/{}", sought.provider_id);
            return self.get(&path, &[]).await;
        }
        // Stripe's search lags by up to a minute and is not available to every account, so lists are used.
        let query = match sought.kind {
            Kind::Charge => {
                // System time even with a test clock, since the times are Stripe's.
                let now = Clock::System.now().await.map_err(|_| Unavailable)?;
                let since = now - sought.asked_for.first - SKEW;
                let until = now - sought.asked_for.last + SKEW;
                let mut query = vec![
                    ("created[gte]", since.timestamp().to_string()),
                    ("created[lte]", until.timestamp().to_string()),
                ];
                // Restricting to the customer keeps the list short, however many others pay at the same time.
                query.extend(self.customer_of(sought).await?.map(|it| ("customer", it)));
                query
            }
            Kind::Refund => vec![("payment_intent", sought.charge_id.clone())],
        };
        let reference = sought.reference.to_string();
        let ours = |it: &Value| text(it, METADATA) == Some(&reference);
        let found: Vec<Value> = self.list(collection, &query).await?;
        let mut found = found.into_iter().filter(ours);
        let first = found.next();
        if found.next().is_some() {
            tracing::error!(
                movement.reference = reference,
                "Stripe has two objects with the same reference"
            );
        }
        Ok(first)
    }

    /// The answer that a response to a charge gives. An intent that is over is cancelled before it counts as refused,
    /// since the holder of its client secret could still confirm it.
    async fn ended(&self, reference: Uuid, sent: Sent) -> Answer {
        let (status, body) = match sent {
            Sent::Answered(status, body) => (status, body),
            other @ (Sent::Not | Sent::Unknown) => return said(Kind::Charge, other),
        };
        let intent = body.pointer("/error/payment_intent").unwrap_or(&body);
        let Ok(now) = Clock::System.now().await else {
            return Answer::Unknown;
        };
        let id = text(intent, "/id")
            .filter(|_| is_over(intent, now))
            .map(str::to_owned);
        let Some(id) = id else {
            return said(Kind::Charge, Sent::Answered(status, body));
        };
        let reason = match text(intent, "/status") {
            Some("requires_action") if text(intent, REDIRECT).is_some() => "EXPIRED".to_owned(),
            // Without a redirect, the customer has no page to confirm on.
            Some("requires_action") => "AUTHENTICATION_REQUIRED".to_owned(),
            _ => refusal(&body),
        };
        let key = Uuid::new_v5(&reference, b"cancel");
        let path = format!("/v1/payment_intents/{id}/cancel");
        match self.post(&path, key, &[]).await {
            Sent::Answered(status, it)
                if status.is_success() && text(&it, "/status") == Some("canceled") =>
            {
                Answer::Refused {
                    retryable: retryable(&reason),
                    reason,
                }
            }
            Sent::Answered(..) | Sent::Not | Sent::Unknown => Answer::Unknown,
        }
    }
}

/// Whether an intent moves no money and would stay open for ever: it was refused, it has no page for the customer to
/// confirm on, or the customer has not confirmed within [`CONFIRM`].
fn is_over(intent: &Value, now: DateTime<Utc>) -> bool {
    let created = intent.pointer("/created").and_then(Value::as_i64);
    let late = (now - CONFIRM).timestamp();
    match text(intent, "/status") {
        Some("requires_payment_method") => true,
        Some("requires_action") => {
            text(intent, REDIRECT).is_none() || created.is_some_and(|created| created < late)
        }
        _ => false,
    }
}

/// How long a customer may take to confirm a charge, as with a payment link.
const CONFIRM: TimeDelta = TimeDelta::hours(24);

/// JSON pointer to the page on which the customer confirms an intent.
const REDIRECT: &str = "/next_action/redirect_to_url/url";
/// Maximum skew between Stripe's clock and ours.
const SKEW: TimeDelta = TimeDelta::minutes(10);

/// JSON pointer to our reference in an object's metadata.
const METADATA: &str = "/metadata/perdiem_reference";

/// The body of a successful response.
fn accepted(sent: Sent) -> Result<Value, NotAttached> {
    match sent {
        Sent::Answered(status, body) if status.is_success() => Ok(body),
        Sent::Answered(
            StatusCode::BAD_REQUEST | StatusCode::PAYMENT_REQUIRED | StatusCode::NOT_FOUND,
            body,
        ) => Err(NotAttached::Refused(refusal(&body))),
        Sent::Answered(..) | Sent::Not | Sent::Unknown => Err(NotAttached::Unavailable),
    }
}

/// The refusal reason in our format: Stripe's code in upper case, with two codes mapped to common ones.
fn refusal(body: &Value) -> String {
    let code = text(body, "/error/decline_code")
        .or_else(|| text(body, "/error/code"))
        .or_else(|| text(body, "/last_payment_error/decline_code"))
        .or_else(|| text(body, "/last_payment_error/code"))
        .or_else(|| text(body, "/failure_reason"));
    match code {
        Some("expired_card") => "CARD_EXPIRED".to_owned(),
        Some("expired_or_canceled_card") => "INSTRUMENT_EXPIRED".to_owned(),
        Some(code) => code.to_uppercase().chars().take(64).collect(),
        None => "REFUSED".to_owned(),
    }
}

/// Whether another attempt with the same method may succeed.
fn retryable(reason: &str) -> bool {
    matches!(
        reason,
        "INSUFFICIENT_FUNDS"
            | "PROCESSING_ERROR"
            | "TRY_AGAIN_LATER"
            | "ISSUER_NOT_AVAILABLE"
            | "REENTER_TRANSACTION"
            | "APPROVE_WITH_ID"
            | "CHARGE_DISPUTED"
    )
}

fn refused(body: &Value) -> Answer {
    let reason = refusal(body);
    Answer::Refused {
        retryable: retryable(&reason),
        reason,
    }
}

/// The answer that a response to a charge or a refund gives. Anything indefinite is unknown: a server fault, an
/// idempotency key conflict, a rate limit or a rejected API key.
fn said(kind: Kind, sent: Sent) -> Answer {
    let (status, body) = match sent {
        Sent::Not => return Answer::NotSent,
        Sent::Unknown => return Answer::Unknown,
        Sent::Answered(status, body) => (status, body),
    };
    let conflict = text(&body, "/error/type") == Some("idempotency_error");
    match status {
        status if status.is_success() => object(kind, &body),
        StatusCode::PAYMENT_REQUIRED => refused(&body),
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND if !conflict => refused(&body),
        _ => Answer::Unknown,
    }
}

/// The answer that a payment intent or a refund gives.
fn object(kind: Kind, it: &Value) -> Answer {
    let Some(provider_id) = text(it, "/id").map(str::to_owned) else {
        return Answer::Unknown;
    };
    let (status, amount) = match kind {
        Kind::Charge => (text(it, "/status"), "/amount_received"),
        Kind::Refund => (text(it, "/status"), "/amount"),
    };
    let action_url = text(it, REDIRECT).unwrap_or_default();
    match (kind, status) {
        (_, Some("succeeded")) => moved(it, amount).unwrap_or(Answer::Unknown),
        (Kind::Charge, Some("processing" | "requires_action"))
        | (Kind::Refund, Some("pending" | "requires_action")) => Answer::Pending {
            provider_id,
            action_url: action_url.to_owned(),
        },
        (Kind::Charge, Some("requires_payment_method" | "canceled"))
        | (Kind::Refund, Some("failed" | "canceled")) => refused(it),
        _ => Answer::Unknown,
    }
}

/// An answer for moved money; `None` if a field is malformed.
fn moved(it: &Value, amount: &str) -> Option<Answer> {
    let currency: Currency = text(it, "/currency")?.to_uppercase().parse().ok()?;
    // Stripe always returns the received amount; a stand-in for it may return only `amount`.
    let minor = it.pointer(amount).or_else(|| it.pointer("/amount"));
    let minor = minor.and_then(Value::as_i64)?;
    let created = it.pointer("/created").and_then(Value::as_i64)?;
    Some(Answer::Moved {
        provider_id: text(it, "/id")?.to_owned(),
        // An object that is not ours has no reference of ours.
        reference: text(it, METADATA)
            .and_then(|text| Uuid::try_parse(text).ok())
            .unwrap_or_default(),
        money: Money::from_minor(minor, currency),
        at: DateTime::from_timestamp(created, 0)?,
    })
}

fn order(reference: Uuid, money: Money) -> Vec<(&'static str, String)> {
    vec![
        ("amount", money.minor().to_string()),
        ("metadata[perdiem_reference]", reference.to_string()),
    ]
}

impl Provider for Stripe {
    fn window(&self) -> TimeDelta {
        TimeDelta::hours(24)
    }

    fn attach<'a>(
        &'a self,
        token: &'a Token,
        owner: Uuid,
    ) -> BoxFuture<'a, Result<Instrument, NotAttached>> {
        async move {
            let mut method = self.method(token).await?;
            if text(&method, "/customer").is_none() {
                self.own(token, owner).await?;
                method = self.method(token).await?;
            }
            let customer = text(&method, "/customer").ok_or(NotAttached::Unavailable)?;
            self.check_owner(customer, owner).await?;
            let card = |field: &str| text(&method, &format!("/card/{field}")).unwrap_or_default();
            let number = |field: &str| {
                let value = method.pointer(&format!("/card/{field}"));
                value.and_then(Value::as_i64)
            };
            let expiry = number("exp_year").zip(number("exp_month"));
            Ok(Instrument {
                network: card("brand").to_uppercase(),
                country: card("country").to_uppercase(),
                last_four: card("last4").to_owned(),
                expiry_month: expiry
                    .map(|(year, month)| format!("{year:04}-{month:02}"))
                    .unwrap_or_default(),
            })
        }
        .boxed()
    }

    fn charge<'a>(&'a self, asked: &'a ChargeOrder) -> BoxFuture<'a, Answer> {
        async move {
            // The look-up of the method comes first, so a failure here means that nothing was requested.
            let customer = match self.method(&asked.token).await {
                Ok(method) => text(&method, "/customer").map(str::to_owned),
                Err(NotAttached::Refused(reason)) => {
                    return Answer::Refused {
                        reason,
                        retryable: false,
                    };
                }
                Err(NotAttached::Unavailable) => return Answer::NotSent,
            };
            let mut form = order(asked.reference, asked.money);
            form.extend([
                ("currency", asked.money.currency().code().to_lowercase()),
                ("payment_method", asked.token.as_str().to_owned()),
                ("payment_method_types[]", "card".to_owned()),
                ("confirm", "true".to_owned()),
            ]);
            if let Some(customer) = customer {
                form.push(("customer", customer));
            }
            if asked.unattended {
                form.push(("off_session", "true".to_owned()));
            } else if let Some(url) = [&asked.return_url, &self.return_url]
                .into_iter()
                .find(|url| !url.is_empty())
            {
                form.push(("return_url", url.clone()));
            }
            let sent = self
                .post("/v1/payment_intents", asked.reference, &form)
                .await;
            self.ended(asked.reference, sent).await
        }
        .boxed()
    }

    fn refund<'a>(&'a self, asked: &'a RefundOrder) -> BoxFuture<'a, Answer> {
        async move {
            let mut form = order(asked.reference, asked.money);
            form.push(("payment_intent", asked.charge_id.clone()));
            let sent = self.post("/v1/refunds", asked.reference, &form).await;
            said(Kind::Refund, sent)
        }
        .boxed()
    }

    fn look_up<'a>(
        &'a self,
        sought: &'a Sought,
    ) -> BoxFuture<'a, Result<Option<Answer>, Unavailable>> {
        async move {
            let Some(it) = self.found(sought).await? else {
                return Ok(None);
            };
            Ok(Some(match sought.kind {
                Kind::Charge => {
                    let sent = Sent::Answered(StatusCode::OK, it);
                    self.ended(sought.reference, sent).await
                }
                Kind::Refund => object(Kind::Refund, &it),
            }))
        }
        .boxed()
    }

    fn dispute<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Contested>, Unavailable>> {
        async move {
            let found = self.get(&format!("/v1/disputes/{id}"), &[]).await?;
            match found {
                // A dispute of a charge without an intent is not ours.
                Some(it) if text(&it, "/payment_intent").is_none() => Ok(None),
                Some(it) => contested(&it).map(Some).ok_or(Unavailable),
                None => Ok(None),
            }
        }
        .boxed()
    }

    fn disputes(&self, since: DateTime<Utc>) -> BoxFuture<'_, Result<Vec<String>, Unavailable>> {
        async move {
            let stretch = [("created[gte]", since.timestamp().to_string())];
            let found = self.list("/v1/disputes", &stretch).await?;
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
            let stretch = [
                ("created[gte]", from.timestamp().to_string()),
                ("created[lt]", until.timestamp().to_string()),
            ];
            let mut entries = Vec::new();
            for (kind, path) in [
                (Kind::Charge, "/v1/payment_intents"),
                (Kind::Refund, "/v1/refunds"),
            ] {
                for it in self.list(path, &stretch).await? {
                    entries.extend(entry(kind, &it));
                }
            }
            entries.reverse();
            Ok(entries)
        }
        .boxed()
    }
}

/// A dispute; `None` if a field is malformed. The withheld amount is the sum of its entries in Stripe's ledger; without
/// entries it is the full amount while the dispute is open or lost.
fn contested(it: &Value) -> Option<Contested> {
    let currency: Currency = text(it, "/currency")?.to_uppercase().parse().ok()?;
    let number = |pointer: &str| it.pointer(pointer).and_then(Value::as_i64);
    let amount = number("/amount")?;
    let (state, held) = match text(it, "/status")? {
        "warning_needs_response" | "warning_under_review" => (dispute::State::Inquiry, false),
        "needs_response" | "under_review" => (dispute::State::Open, true),
        "won" => (dispute::State::Won, false),
        "lost" => (dispute::State::Lost, true),
        "warning_closed" | "charge_refunded" => (dispute::State::Withdrawn, false),
        _ => return None,
    };
    let entries = it
        .pointer("/balance_transactions")
        .and_then(Value::as_array);
    // Stripe's ledger may use another currency than the charge, in which case its sum is of no use here.
    let booked: Option<i64> = entries.filter(|all| !all.is_empty()).and_then(|all| {
        all.iter().try_fold(0_i64, |sum, entry| {
            let ours = text(entry, "/currency") == text(it, "/currency");
            sum.checked_add(ours.then(|| entry.pointer("/amount")?.as_i64())??)
        })
    });
    let withheld = booked.map_or(if held { amount } else { 0 }, |sum| {
        sum.saturating_neg().clamp(0, amount)
    });
    Some(Contested {
        provider_id: text(it, "/id")?.to_owned(),
        charge_id: text(it, "/payment_intent")?.to_owned(),
        money: Money::from_minor(amount, currency),
        withheld: Money::from_minor(withheld, currency),
        reason: text(it, "/reason").unwrap_or_default().to_owned(),
        state,
        evidence_due_at: number("/evidence_details/due_by")
            .and_then(|at| DateTime::from_timestamp(at, 0)),
        opened_at: DateTime::from_timestamp(number("/created")?, 0)?,
    })
}

/// A book entry for an object of ours; `None` for those of other systems that share the account.
fn entry(kind: Kind, it: &Value) -> Option<BookEntry> {
    let currency: Currency = text(it, "/currency")?.to_uppercase().parse().ok()?;
    Some(BookEntry {
        kind,
        reference: Uuid::try_parse(text(it, METADATA)?).ok()?,
        provider_id: text(it, "/id")?.to_owned(),
        money: Money::from_minor(it.pointer("/amount").and_then(Value::as_i64)?, currency),
        answer: object(kind, it),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answered(status: u16, body: Value) -> Sent {
        Sent::Answered(StatusCode::from_u16(status).unwrap(), body)
    }

    fn refusal_of(status: u16, body: Value) -> Option<(String, bool)> {
        let said = said(Kind::Charge, answered(status, body));
        let Answer::Refused { reason, retryable } = said else {
            return None;
        };
        Some((reason, retryable))
    }

    #[test]
    fn only_a_definite_answer_is_one() {
        let declined = json!({"error": {"type": "card_error", "code": "card_declined",
            "decline_code": "insufficient_funds"}});
        let reason = |text: &str, retryable| Some((text.to_owned(), retryable));
        assert_eq!(
            refusal_of(402, declined),
            reason("INSUFFICIENT_FUNDS", true)
        );
        let expired = json!({"error": {"type": "card_error", "code": "expired_card"}});
        assert_eq!(refusal_of(402, expired), reason("CARD_EXPIRED", false));
        let small = json!({"error": {"type": "invalid_request_error", "code": "amount_too_small"}});
        assert_eq!(refusal_of(400, small), reason("AMOUNT_TOO_SMALL", false));
        let conflict = json!({"error": {"type": "idempotency_error"}});
        for (status, body) in [
            (400, conflict.clone()),
            (409, conflict),
            (401, json!({"error": {}})),
            (429, json!({"error": {"code": "rate_limit"}})),
            (500, json!({"error": {}})),
            (503, json!({})),
            (
                200,
                json!({"id": "pi_1", "status": "requires_confirmation"}),
            ),
            (
                200,
                json!({"id": "pi_1", "status": "succeeded", "amount": 5}),
            ),
            (200, json!([])),
        ] {
            assert_eq!(said(Kind::Charge, answered(status, body)), Answer::Unknown);
        }
        assert_eq!(said(Kind::Charge, Sent::Not), Answer::NotSent);
        assert_eq!(said(Kind::Charge, Sent::Unknown), Answer::Unknown);
    }

    #[test]
    fn an_intent_that_nobody_can_or_will_confirm_is_over() {
        let now = DateTime::from_timestamp(1_772_366_400, 0).unwrap();
        let over = |status: &str, hours: i64, redirect: Option<&str>| {
            let created = (now - TimeDelta::hours(hours)).timestamp();
            let next = json!({"redirect_to_url": {"url": redirect}});
            is_over(
                &json!({"status": status, "created": created, "next_action": next}),
                now,
            )
        };
        let page = Some("https://bank.example/confirm");
        assert!(over("requires_payment_method", 0, None));
        assert!(over("requires_action", 0, None));
        assert!(!over("requires_action", 24, page));
        assert!(over("requires_action", 25, page));
        for status in ["processing", "succeeded", "canceled", "something_new"] {
            assert!(!over(status, 48, None), "{status}");
        }
    }

    #[test]
    fn a_dispute_says_what_is_held_back() {
        let dispute = |status: &str, booked: Value| {
            let it = json!({"id": "dp_1", "payment_intent": "pi_1", "amount": 1000, "currency": "usd", "created": 1,
                "status": status, "reason": "fraudulent", "balance_transactions": booked});
            let said = contested(&it)?;
            Some((said.state.as_str(), said.withheld.minor()))
        };
        assert_eq!(dispute("needs_response", json!([])), Some(("OPEN", 1000)));
        assert_eq!(
            dispute("under_review", json!([{"amount": -1000}])),
            Some(("OPEN", 1000))
        );
        assert_eq!(
            dispute(
                "won",
                json!([{"amount": -1000, "currency": "usd"}, {"amount": 1000, "currency": "usd"}])
            ),
            Some(("WON", 0))
        );
        assert_eq!(
            dispute("warning_under_review", json!([])),
            Some(("INQUIRY", 0))
        );
        assert_eq!(
            dispute("lost", json!([{"amount": -400, "currency": "usd"}])),
            Some(("LOST", 400))
        );
        assert_eq!(
            dispute("lost", json!([{"amount": -370, "currency": "eur"}])),
            Some(("LOST", 1000))
        );
        assert_eq!(dispute("something_new", json!([])), None);
    }

    #[test]
    fn an_intent_says_what_was_received_under_which_reference() {
        let reference = Uuid::from_u128(7);
        let intent = json!({"id": "pi_1", "status": "succeeded", "amount": 500, "amount_received": 499,
            "currency": "inr", "created": 1_700_000_000, "metadata": {"perdiem_reference": reference.to_string()}});
        assert_eq!(
            object(Kind::Charge, &intent),
            Answer::Moved {
                provider_id: "pi_1".to_owned(),
                reference,
                money: Money::from_minor(499, Currency::Inr),
                at: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
            }
        );
        let asks = json!({"id": "pi_2", "status": "requires_action",
            "next_action": {"redirect_to_url": {"url": "https://bank.example/confirm"}}});
        assert_eq!(
            object(Kind::Charge, &asks),
            Answer::Pending {
                provider_id: "pi_2".to_owned(),
                action_url: "https://bank.example/confirm".to_owned(),
            }
        );
        let failed =
            json!({"id": "re_1", "status": "failed", "failure_reason": "expired_or_canceled_card"});
        assert_eq!(
            object(Kind::Refund, &failed),
            Answer::Refused {
                reason: "INSTRUMENT_EXPIRED".to_owned(),
                retryable: false,
            }
        );
    }
}
