//! The port that providers' webhooks come to: verified, kept once, answered at once. What they say is
//! a hint; what counts is looked up.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use chassis::Clock;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::ctx::Ctx;
use crate::providers::{self, REFERENCE};
use crate::store::webhooks::{self, Event};

/// The largest message that is taken.
const BODY_MAX: usize = 256 * 1024;
/// How far the time in a signature may lie from ours, in seconds.
const TOLERANCE_SECONDS: i64 = 300;
/// The longest id or type that is kept.
const TEXT_MAX: usize = 255;

/// Serves until `stop`.
pub async fn serve(ctx: Ctx, address: SocketAddr, stop: CancellationToken) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/webhooks/stripe", post(stripe))
        .route("/webhooks/razorpay", post(razorpay))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(ctx);
    let listener = TcpListener::bind(address).await?;
    axum::serve(listener, routes)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
}

/// A message of Stripe: 400 for one that is not signed by it, 500 where it could not be kept, so that it
/// is sent again.
async fn stripe(State(ctx): State<Ctx>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let signature = headers
        .get("stripe-signature")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    // A signature grows old by the time of the world, whatever a test clock says.
    let Ok(now) = Clock::System.now().await else {
        return StatusCode::INTERNAL_SERVER_ERROR;
    };
    if !is_signed(
        signature,
        &body,
        &ctx.stripe_webhook_secret,
        now.timestamp(),
    ) {
        return StatusCode::BAD_REQUEST;
    }
    taken(&ctx, read(&body)).await
}

/// A message of Razorpay, as one of Stripe. Its id is in its headers; what it signs has no time.
async fn razorpay(State(ctx): State<Ctx>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    };
    let signature = header("x-razorpay-signature");
    if !providers::is_signed(&ctx.razorpay_webhook_secret, &body, signature) {
        return StatusCode::BAD_REQUEST;
    }
    taken(&ctx, read_razorpay(header("x-razorpay-event-id"), &body)).await
}

/// Keeps an event.
async fn taken(ctx: &Ctx, event: Option<Event>) -> StatusCode {
    let Some(event) = event else {
        return StatusCode::BAD_REQUEST;
    };
    match keep(ctx, event).await {
        Ok(()) => {
            ctx.wake.notify_waiters();
            StatusCode::OK
        }
        Err(error) => {
            tracing::error!(error = %chassis::Chain(&error), "a webhook was not kept");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

async fn keep(ctx: &Ctx, event: Event) -> sqlx::Result<()> {
    let received_at = ctx.clock.now().await?;
    let mut db = ctx.db.acquire().await?;
    let event = Event {
        received_at,
        ..event
    };
    webhooks::receive(&mut db, &event).await
}

/// Whether a body is signed by who knows `secret`: "t=SECONDS,v1=HEX", not long ago. Of several
/// signatures, as while a secret is changed, one must fit.
fn is_signed(signature: &str, body: &[u8], secret: &str, now: i64) -> bool {
    let mut time = None;
    let mut sums = Vec::new();
    for part in signature.split(',') {
        match part.trim().split_once('=') {
            Some(("t", text)) => time = Some(text),
            Some(("v1", text)) => sums.push(text),
            _ => {}
        }
    }
    let Some(time) = time else {
        return false;
    };
    let recent = time
        .parse::<i64>()
        .is_ok_and(|at| now.abs_diff(at) <= TOLERANCE_SECONDS.unsigned_abs());
    if !recent {
        return false;
    }
    let mut signed = format!("{time}.").into_bytes();
    signed.extend_from_slice(body);
    sums.into_iter()
        .any(|sum| providers::is_signed(secret, &signed, sum))
}

/// What an event is about, by where its body says so; `None` for what is no event.
fn about(provider: &str, id: &str, body: &Value, at: [&str; 4]) -> Option<Event> {
    let text = |pointer: &str| {
        let text = body.pointer(pointer).and_then(Value::as_str);
        text.filter(|text| text.len() <= TEXT_MAX && !text.contains('\0'))
            .unwrap_or_default()
            .to_owned()
    };
    let [event_type, object_id, parent_id, reference] = at.map(text);
    if id.is_empty() || TEXT_MAX < id.len() || event_type.is_empty() {
        return None;
    }
    Some(Event {
        webhook_event_id: Uuid::now_v7(),
        provider_code: provider.to_owned(),
        provider_event_id: id.to_owned(),
        event_type,
        object_id,
        parent_id,
        reference,
        state: "RECEIVED".to_owned(),
        movement_id: None,
        delivery_count: 1,
        attempt_count: 0,
        failure_reason: String::new(),
        received_at: chrono::DateTime::UNIX_EPOCH,
        processed_at: None,
    })
}

/// What an event of Stripe is about.
fn read(body: &[u8]) -> Option<Event> {
    let event: Value = serde_json::from_slice(body).ok()?;
    let id = event.pointer("/id").and_then(Value::as_str)?;
    let reference = format!("/data/object/metadata/{REFERENCE}");
    let at = [
        "/type",
        "/data/object/id",
        "/data/object/payment_intent",
        &reference,
    ];
    about("stripe", id, &event, at)
}

/// What an event of Razorpay is about: what its name begins with, or a dispute of it.
fn read_razorpay(id: &str, body: &[u8]) -> Option<Event> {
    let event: Value = serde_json::from_slice(body).ok()?;
    let name = event.pointer("/event").and_then(Value::as_str)?;
    let object = if name.starts_with("payment.dispute.") {
        "dispute"
    } else {
        name.split('.').next()?
    };
    let entity = format!("/payload/{object}/entity");
    let reference = if object == "payment_link" {
        format!("{entity}/reference_id")
    } else {
        format!("{entity}/notes/{REFERENCE}")
    };
    let (object_id, parent_id) = (format!("{entity}/id"), "/payload/payment/entity/id");
    about(
        "razorpay",
        id,
        &event,
        ["/event", &object_id, parent_id, &reference],
    )
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use ring::hmac;

    use super::*;

    #[test]
    fn only_a_recent_signature_by_the_secret_is_taken() {
        // As `printf '1700000000.{}' | openssl dgst -sha256 -hmac whsec_test` gives it.
        let sum = "35495024f4ef3f94e5a93e22221544c4b75e9a42300cd965ab81cb85cd994e91";
        let known = format!("t=1700000000,v1={sum}");
        assert!(is_signed(&known, b"{}", "whsec_test", 1_700_000_000));
        let signed = |time: i64, secret: &str, body: &[u8]| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
            let text = [format!("{time}.").as_bytes(), body].concat();
            let sum = hmac::sign(&key, &text);
            let sum = sum.as_ref().iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            format!("t={time},v1=00ff,v1={sum}")
        };
        let right = signed(1_700_000_000, "whsec_test", b"{}");
        assert!(is_signed(&right, b"{}", "whsec_test", 1_700_000_300));
        assert!(!is_signed(&right, b"{}", "whsec_test", 1_700_000_301));
        assert!(!is_signed(&right, b"{ }", "whsec_test", 1_700_000_000));
        assert!(!is_signed(&right, b"{}", "whsec_other", 1_700_000_000));
        let empty = signed(1_700_000_000, "", b"{}");
        assert!(!is_signed(&empty, b"{}", "", 1_700_000_000));
        for none in [
            "",
            "t=1700000000",
            "v1=00",
            "t=x,v1=zz",
            "t=1700000000,v1=0",
        ] {
            assert!(
                !is_signed(none, b"{}", "whsec_test", 1_700_000_000),
                "{none}"
            );
        }
    }

    #[test]
    fn an_event_says_what_it_is_about() {
        let event = read(
            br#"{"id": "evt_1", "type": "charge.refunded", "data": {"object": {"id": "ch_1",
                "payment_intent": "pi_1", "metadata": {"perdiem_reference": "abc"}}}}"#,
        )
        .unwrap();
        assert_eq!(
            (
                event.object_id.as_str(),
                event.parent_id.as_str(),
                event.reference.as_str()
            ),
            ("ch_1", "pi_1", "abc")
        );
        assert_eq!(read(b"{}"), None);
        assert_eq!(read(b"no"), None);
    }

    #[test]
    fn an_event_of_razorpay_says_what_it_is_about() {
        // The samples of razorpay.com/docs/webhooks, shortened.
        let paid = br#"{"entity": "event", "event": "payment_link.paid", "contains": ["payment_link", "order", "payment"],
            "payload": {"payment_link": {"entity": {"id": "plink_1", "reference_id": "abc", "status": "paid"}},
                "payment": {"entity": {"id": "pay_1", "notes": []}}}}"#;
        let refunded = br#"{"entity": "event", "event": "refund.processed", "contains": ["refund", "payment"],
            "payload": {"refund": {"entity": {"id": "rfnd_1", "notes": {"perdiem_reference": "def"}}},
                "payment": {"entity": {"id": "pay_1"}}}}"#;
        let disputed = br#"{"entity": "event", "event": "payment.dispute.created", "contains": ["payment", "dispute"],
            "payload": {"payment": {"entity": {"id": "pay_1"}}, "dispute": {"entity": {"id": "disp_1"}}}}"#;
        for (body, object, reference) in [
            (paid.as_slice(), "plink_1", "abc"),
            (refunded, "rfnd_1", "def"),
            (disputed, "disp_1", ""),
        ] {
            let event = read_razorpay("evt_1", body).unwrap();
            assert_eq!(
                (
                    event.object_id.as_str(),
                    event.parent_id.as_str(),
                    event.reference.as_str()
                ),
                (object, "pay_1", reference)
            );
            assert_eq!(read_razorpay("", body), None);
        }
        assert_eq!(read_razorpay("evt_1", b"{}"), None);
    }
}
