//! Webhooks that a provider did not send, or sent before, or sends in any order: nothing is moved by them, and each is
//! answered in time.

use std::time::Duration;

use chassis::Clock;
use futures::future::{join, join_all};
use perdiem::connect::{Clients, request_id};
use proto::payments::v1 as payments;
use proto::r#type::v1::Money;
use ring::hmac;
use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::http1::{Answer, dribbled, sent};
use crate::silence::{MEMORY_MIB, beside};
use crate::{Random, Victim, WEBHOOK_SECRET, WEBHOOKS};

/// Webhooks that are under way at once.
const AT_ONCE: usize = 32;
/// How often one event is sent.
const DUPLICATES: usize = 200;
/// Bytes of a body that is too large.
const HUGE: usize = 4 << 20;
/// Connections that send a byte at a time.
const SLOW: usize = 64;
/// When a connection whose headers do not end is closed at the latest: several times the 5 seconds that they may take.
const HEAD_MOST: Duration = Duration::from_secs(20);
/// When a connection whose body does not end is closed at the latest: twice its longest life.
const BODY_MOST: Duration = Duration::from_mins(1);
/// How long what was received may wait for being processed.
const PROCESSED: Duration = Duration::from_mins(2);

/// What is known of a charge to whoever sends webhooks about it.
struct Charge {
    id: String,
    reference: String,
}

/// Sends so many webhooks of each kind; gives the promises that were broken.
pub async fn attack(
    victim: &Victim,
    events: usize,
    bodies: bool,
    mut random: Random,
) -> Vec<String> {
    let charge = charged(victim).await;
    let (before, memory) = (moved(victim).await, victim.memory_mib("payments"));
    let usual = beside(victim, tokio::time::sleep(Duration::from_secs(2))).await;
    let mut broken = Vec::new();
    let attack = async {
        broken.extend(forged(victim, &charge, events, &mut random).await);
        broken.extend(huge().await);
        broken.extend(repeated(victim, &charge).await);
        broken.extend(reordered(victim, &charge, events, &mut random).await);
        broken.extend(slow(bodies).await);
    };
    let served = beside(victim, attack).await;
    broken.extend(served.judged("webhooks", &usual));
    broken.extend(processed(victim).await);
    let after = moved(victim).await;
    if after != before {
        broken.push(format!("what was {before} is {after}"));
    }
    let grown = victim.memory_mib("payments");
    println!("memory of payments: {memory} MiB before, {grown} after");
    if memory + MEMORY_MIB < grown {
        broken.push(format!("memory grew from {memory} to {grown} MiB"));
    }
    broken
}

/// A charge that has not settled, so that there is something to move.
async fn charged(victim: &Victim) -> Charge {
    let account_id = victim.account().await;
    let request = payments::AddPaymentMethodRequest {
        account_id: account_id.clone(),
        method_code: "CARD".to_owned(),
        provider_token: "tok_slow_ok".to_owned(),
        default_method: true,
        request_id: request_id(),
        ..payments::AddPaymentMethodRequest::default()
    };
    let mut operator = victim.operator.payments.clone();
    operator.add_payment_method(request).await.unwrap();
    let request = payments::CreateChargeRequest {
        account_id,
        amount: Some(Money {
            currency_code: "USD".to_owned(),
            amount: "2000.00".to_owned(),
        }),
        purpose: payments::Purpose::Credits.into(),
        invoice_id: "IN0123456789abcdef0123456789abcdef".to_owned(),
        attempt_number: 1,
        request_id: request_id(),
        ..payments::CreateChargeRequest::default()
    };
    let token = victim.suite.keys.service("billing").unwrap();
    let mut billing = Clients::new(&victim.urls, &token).unwrap().payments;
    let charge = billing.create_charge(request).await.unwrap().into_inner();
    let charge = charge.charge.unwrap();
    Charge {
        id: charge.provider_charge_id,
        reference: charge.provider_key,
    }
}

/// What the books say of money that moved.
async fn moved(victim: &Victim) -> String {
    let sql = "SELECT concat_ws(' ',
            (SELECT string_agg(concat_ws(' ', movement_id, kind, state, amount_minor, settled_minor, refunded_minor), '; '
                               ORDER BY movement_id) FROM payments.movements),
            (SELECT count(*) FROM payments.disputes), 'disputes',
            (SELECT count(*) FROM billing.ledger_entries), 'entries')";
    sqlx::query_scalar(sql).fetch_one(&victim.db).await.unwrap()
}

/// How many events are kept of which a condition is true.
async fn kept(victim: &Victim, condition: &str) -> usize {
    let sql = format!("SELECT count(*) FROM payments.webhook_events WHERE {condition}");
    let count = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&victim.db);
    let count: i64 = count.await.unwrap();
    usize::try_from(count).unwrap()
}

/// An event of Stripe about a charge, or about a dispute of it.
fn event(id: &str, kind: &str, charge: &Charge) -> String {
    let object = if kind.starts_with("charge.dispute.") {
        format!("du_{}", charge.id)
    } else {
        charge.id.clone()
    };
    let object = json!({
        "id": object,
        "payment_intent": charge.id,
        "amount_received": 200_000,
        "amount_refunded": 200_000,
        "status": "succeeded",
        "metadata": {"perdiem_reference": charge.reference},
    });
    json!({"id": id, "type": kind, "data": {"object": object}}).to_string()
}

/// What Stripe would sign a body with at a time.
fn signature(secret: &str, time: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let sum = hmac::sign(&key, format!("{time}.{body}").as_bytes());
    chassis::hex(sum.as_ref())
}

/// The machine's time, which signatures are measured by.
async fn now() -> i64 {
    Clock::System.now().await.unwrap().timestamp()
}

/// A request with a body and these headers.
fn request(path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST /webhooks/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

/// A webhook as Stripe sends it.
async fn genuine(body: &str) -> Vec<u8> {
    let time = now().await;
    let sum = signature(WEBHOOK_SECRET, time, body);
    let header = format!("stripe-signature: t={time},v1={sum}\r\n");
    request("stripe", &header, body)
}

/// Sends requests, so many at once; gives what each was answered.
async fn all_sent(requests: &[Vec<u8>]) -> Vec<Answer> {
    let mut answers = Vec::new();
    for batch in requests.chunks(AT_ONCE) {
        let sending = batch.iter().map(|it| sent(WEBHOOKS, it));
        answers.extend(join_all(sending).await);
    }
    answers
}

/// Webhooks with a signature that is not one, not of this body, or not of this time: none is kept.
async fn forged(
    victim: &Victim,
    charge: &Charge,
    count: usize,
    random: &mut Random,
) -> Vec<String> {
    let mut requests = Vec::new();
    for number in 0..count {
        let body = event(
            &format!("evt_forged_{number}"),
            "payment_intent.succeeded",
            charge,
        );
        let time = now().await;
        let later = i64::try_from(random.below(1_000_000)).unwrap();
        let good = signature(WEBHOOK_SECRET, time, &body);
        let (time, sum) = match random.below(8) {
            0 => (time, String::new()),
            1 => (time, signature("whsec_other", time, &body)),
            2 => (time, signature("", time, &body)),
            3 => (time, signature(WEBHOOK_SECRET, time, "{}")),
            // Long ago, or with another time than was signed.
            4 => {
                let time = time - 301 - later;
                (time, signature(WEBHOOK_SECRET, time, &body))
            }
            5 => (time - 1 - later, good),
            6 => (time, good[..random.below(good.len())].to_owned()),
            // With a margin for clocks that run and machines that are busy.
            _ => {
                let time = time + 3_600 + later;
                (time, signature(WEBHOOK_SECRET, time, &body))
            }
        };
        let header = match random.below(8) {
            0 => String::new(),
            1 => format!("stripe-signature: t={time},v0={sum}\r\n"),
            2 => format!("x-razorpay-signature: {sum}\r\n"),
            _ => format!("stripe-signature: t={time},v1={sum}\r\n"),
        };
        let path = ["stripe", "stripe", "stripe", "razorpay"][random.below(4)];
        requests.push(request(path, &header, &body));
    }
    let answers = all_sent(&requests).await;
    let mut broken = Vec::new();
    for (answer, request) in answers.iter().zip(&requests) {
        if !matches!(answer, Answer::Status(400..500)) {
            let request = String::from_utf8_lossy(request);
            broken.push(format!("forged and answered {answer:?}: {request}"));
        }
    }
    let kept = kept(victim, "provider_event_id LIKE 'evt_forged_%'").await;
    println!("{count} forged webhooks, {kept} of them kept");
    if kept != 0 {
        broken.push(format!("{kept} forged webhooks were kept"));
    }
    broken
}

/// Bodies and headers that are too large, and what is no webhook: each is refused.
async fn huge() -> Vec<String> {
    let large = "x".repeat(HUGE);
    let signed = genuine(&json!({"id": "evt_huge", "type": "x", "text": large}).to_string()).await;
    let endless = format!(
        "POST /webhooks/stripe HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{large}",
        1_u64 << 40
    );
    let header = format!("stripe-signature: {large}\r\n");
    let requests = [
        ("a body of 4 MiB, signed", signed),
        ("a body of 4 MiB", request("stripe", "", &large)),
        ("a chunk of 1 TiB", endless.into_bytes()),
        ("a header of 4 MiB", request("stripe", &header, "{}")),
        (
            "10,000 headers",
            request("stripe", &"x: y\r\n".repeat(10_000), "{}"),
        ),
        ("another path", request("../../etc/passwd", "", "{}")),
        ("no HTTP", vec![0xff; 4096]),
        ("no event, signed", genuine("[1]").await),
        ("no JSON, signed", genuine("\0\0\0").await),
    ];
    let answers = join_all(requests.iter().map(|(_, it)| sent(WEBHOOKS, it))).await;
    let mut broken = Vec::new();
    for ((name, _), answer) in requests.iter().zip(answers) {
        println!("{name}: {answer:?}");
        if !answer.is_refusal() {
            broken.push(format!("{name} was answered {answer:?}"));
        }
    }
    broken
}

/// One event many times, also with another body: it is kept once.
async fn repeated(victim: &Victim, charge: &Charge) -> Vec<String> {
    let mut requests = Vec::new();
    for number in 0..DUPLICATES {
        let kind = if number % 2 == 0 {
            "payment_intent.succeeded"
        } else {
            "charge.refunded"
        };
        requests.push(genuine(&event("evt_repeated", kind, charge)).await);
    }
    let mut broken = not_taken("repeated", &all_sent(&requests).await);
    let one = format!("provider_event_id = 'evt_repeated' AND delivery_count = {DUPLICATES}");
    if kept(victim, &one).await != 1 {
        broken.push(format!(
            "an event that was sent {DUPLICATES} times was not kept once, with that count"
        ));
    }
    println!("one event was sent {DUPLICATES} times");
    broken
}

/// The story of a charge in any order, and of charges that nobody has: each event is kept once.
async fn reordered(
    victim: &Victim,
    charge: &Charge,
    count: usize,
    random: &mut Random,
) -> Vec<String> {
    const STORY: [&str; 6] = [
        "payment_intent.created",
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "charge.refunded",
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
    ];
    let mut requests = Vec::new();
    for number in 0..count {
        let nobodys = Charge {
            id: format!("pi_{:016x}", random.draw()),
            reference: format!("{:032x}", random.draw()),
        };
        let about = [charge, &nobodys][number % 2];
        let body = event(
            &format!("evt_any_{number}"),
            STORY[number % STORY.len()],
            about,
        );
        requests.push(genuine(&body).await);
    }
    for last in (1..requests.len()).rev() {
        requests.swap(last, random.below(last + 1));
    }
    let mut broken = not_taken("reordered", &all_sent(&requests).await);
    let kept = kept(victim, "provider_event_id LIKE 'evt_any_%'").await;
    println!("{count} events in any order, {kept} of them kept");
    if kept != count {
        broken.push(format!("of {count} events in any order, {kept} were kept"));
    }
    broken
}

/// What is broken if genuine webhooks were answered so.
fn not_taken(what: &str, answers: &[Answer]) -> Vec<String> {
    let mut others = answers.iter().filter(|it| **it != Answer::Status(200));
    let first = others.next();
    first
        .map(|it| format!("{} {what} events: {it:?}", 1 + others.count()))
        .into_iter()
        .collect()
}

/// Connections that send a byte at a time: each is closed in time.
async fn slow(bodies: bool) -> Vec<String> {
    const NOTHING: &[u8] = b"";
    const BRACE: &[u8] = b"{";
    const HEAD: &[u8] = b"POST /webhooks/stripe HTTP/1.1\r\nx: y";
    const BODY: &[u8] =
        b"POST /webhooks/stripe HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\n\r\n";
    let pause = Duration::from_millis(500);
    let of = |count: usize, bytes: (&'static [u8], &'static [u8]), most: Duration| {
        join_all((0..count).map(move |_| dribbled(WEBHOOKS, bytes, pause, most)))
    };
    let count = if bodies { SLOW } else { 0 };
    let (heads, bodies) = join(
        of(SLOW, (NOTHING, HEAD), HEAD_MOST),
        of(count, (BODY, BRACE), BODY_MOST),
    )
    .await;
    let mut broken = Vec::new();
    for (name, times) in [("heads", heads), ("bodies", bodies)] {
        let open = times.iter().filter(|it| it.is_none()).count();
        let longest = times.iter().flatten().max();
        println!(
            "{} slow {name}: the last was closed after {longest:?}",
            times.len()
        );
        if open != 0 {
            broken.push(format!("{open} slow {name} were not closed"));
        }
    }
    broken
}

/// Waits until every event that was kept was looked at, apart from those of disputes: the suite has no key of Stripe to
/// read them with.
async fn processed(victim: &Victim) -> Option<String> {
    const WAITS: &str = "attempt_count = 0 AND event_type NOT LIKE 'charge.dispute.%'";
    let waiting = async {
        while 0 < kept(victim, WAITS).await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let done = tokio::time::timeout(PROCESSED, waiting).await;
    done.is_err()
        .then(|| format!("events were not looked at for {PROCESSED:?}"))
}
