//! The HTTP port for providers' webhooks. Events are verified, stored once and acknowledged at once. They are hints
//! only; the facts are looked up.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use chassis::Clock;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::ctx::Ctx;
use crate::domain::webhook;
use crate::providers::{self, REFERENCE};
use crate::store::Tenant;
use crate::store::webhooks::{self, Event};

/// Largest message accepted, in bytes.
const BODY_MAX: usize = 256 * 1024;
/// Maximum age of a signature, and maximum clock skew, in seconds.
const TOLERANCE_SECONDS: i64 = 300;
/// Longest id or type that is stored.
const TEXT_MAX: usize = 255;

/// Serves webhooks until `stop`.
pub async fn serve(ctx: Ctx, address: SocketAddr, stop: CancellationToken) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/webhooks/stripe", post(stripe))
        .route("/webhooks/razorpay", post(razorpay))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(ctx);
    chassis::serve_http(address, routes, stop).await
}

/// Receives an event of Stripe. 400 if the signature is invalid; 500 if the event could not be stored, so that Stripe
/// sends it again.
async fn stripe(State(ctx): State<Ctx>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let signature = headers
        .get("stripe-signature")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    // The age of a signature is measured in system time, even with a test clock.
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

/// Receives an event of Razorpay, like one of Stripe. Its signature covers no time, and its event id in the headers is
/// not signed, so that the digest of the body identifies the event.
async fn razorpay(State(ctx): State<Ctx>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let signature = headers.get("x-razorpay-signature");
    let signature = signature
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if !providers::is_signed(&ctx.razorpay_webhook_secret, &body, signature) {
        return StatusCode::BAD_REQUEST;
    }
    taken(&ctx, read_razorpay(&body)).await
}

/// Stores an event.
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
            tracing::error!(error = %chassis::Chain(&error), "a webhook event could not be stored; the provider will send it again");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

async fn keep(ctx: &Ctx, event: Event) -> sqlx::Result<()> {
    let received_at = ctx.clock.now().await?;
    let event = Event {
        received_at,
        ..event
    };
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    webhooks::receive(&mut tx, &event).await?;
    tx.commit().await
}

/// Whether a body is signed with `secret`: "t=SECONDS,v1=HEX" with a recent time. If there are several signatures, as
/// during a change of secrets, one valid signature suffices.
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

/// The event in a body, read from the given JSON pointers; `None` if it is not an event.
fn about(provider: &str, id: &str, body: &Value, at: [&str; 4]) -> Option<Event> {
    let text = |pointer: &str| {
        let text = body.pointer(pointer).and_then(Value::as_str);
        text.filter(|text| text.len() <= TEXT_MAX && !text.contains('\0'))
            .unwrap_or_default()
            .to_owned()
    };
    let [event_type, object_id, parent_id, reference] = at.map(text);
    if id.is_empty() || TEXT_MAX < id.len() || id.contains('\0') || event_type.is_empty() {
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
        state: webhook::State::Received,
        movement_id: None,
        delivery_count: 1,
        attempt_count: 0,
        failure_reason: None,
        received_at: chrono::DateTime::UNIX_EPOCH,
        processed_at: None,
    })
}

/// The event in a Stripe webhook.
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

/// The event in a Razorpay webhook. The event name starts with the kind of object, apart from disputes of payments.
fn read_razorpay(body: &[u8]) -> Option<Event> {
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
    let id = format!("sha256:{}", chassis::hex(&Sha256::digest(body)));
    about(
        "razorpay",
        &id,
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
        // The expected value is that of `printf '1700000000.{}' | openssl dgst -sha256 -hmac whsec_test`.
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
        // The samples are from razorpay.com/docs/webhooks, shortened.
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
            let event = read_razorpay(body).unwrap();
            let again = read_razorpay(body).unwrap();
            assert_eq!(event.provider_event_id, again.provider_event_id);
            assert_eq!(
                (
                    event.object_id.as_str(),
                    event.parent_id.as_str(),
                    event.reference.as_str()
                ),
                (object, "pay_1", reference)
            );
        }
        assert_eq!(read_razorpay(b"{}"), None);
        let ids = [paid.as_slice(), refunded].map(|body| read_razorpay(body).unwrap());
        assert_ne!(ids[0].provider_event_id, ids[1].provider_event_id);
    }
}
