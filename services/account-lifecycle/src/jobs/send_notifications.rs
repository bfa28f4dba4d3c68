//! Sends mail that was written down with what it tells of; tried again while the mail server is away.
//!
//! A process that ends between the server's answer and the note of it sends the same mail again: by its
//! Message-ID, which is the notification's, whoever receives it can tell.

use lettre::message::header::ContentType;
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::{AsyncTransport as _, Message};
use serde_json::Value;
use tonic::Code;
use values::{AccountId, InvoiceId, NotificationId};

use crate::ctx::{Ctx, Mailer};
use crate::domain::notice;
use crate::domain::whitelist::CODE_LASTS;
use crate::error::Error;
use crate::store::notifications::{self, Notification};
use crate::store::{self, Tenant};

/// Seconds that one try may take before another makes it.
const LEASE: i64 = 180;
/// Seconds until the second try; each later one waits twice as long, up to an hour.
const PAUSE: i64 = 10;
const PAUSE_MAX: i64 = 3_600;
/// After so many tries, which take three days, it is given up.
const ATTEMPTS_MAX: i32 = 80;
/// What a mail server answers that does not take this mail, whoever sends it (RFC 5321).
const REFUSALS: std::ops::RangeInclusive<u16> = 550..=554;

/// Sends one notification; gives how many it looked at.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let Some(mailer) = &ctx.mailer else {
        return Ok(0);
    };
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::All).await?;
    let taken = notifications::take(&mut tx, LEASE).await?;
    tx.commit().await?;
    let Some(notification) = taken else {
        return Ok(0);
    };
    let id = notification.notification_id;
    let outcome = sent(ctx, mailer, &notification).await;
    let now = ctx.clock.now().await?;
    // A code that has expired helps nobody.
    let late = !notification.secret.is_empty() && notification.created_at + CODE_LASTS <= now;
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::All).await?;
    match outcome {
        Ok(()) => notifications::end(&mut tx, id, Some(now)).await?,
        Err(NotSent::Again(why)) if notification.attempt_count < ATTEMPTS_MAX && !late => {
            tracing::warn!(notification.id = %id, why, "mail was not sent");
            let doublings = u32::try_from(notification.attempt_count - 1).unwrap_or(0);
            let pause = PAUSE.saturating_mul(1 << doublings.min(12)).min(PAUSE_MAX);
            notifications::put_off(&mut tx, id, pause).await?;
        }
        Err(NotSent::Again(why) | NotSent::Never(why)) => {
            tracing::error!(notification.id = %id, why, "mail is given up");
            notifications::end(&mut tx, id, None).await?;
        }
    }
    tx.commit().await?;
    Ok(1)
}

/// Why mail was not sent.
enum NotSent {
    /// Another try may succeed.
    Again(String),
    /// None will.
    Never(String),
}

async fn sent(ctx: &Ctx, mailer: &Mailer, it: &Notification) -> Result<(), NotSent> {
    let pdf = match it.invoice_id.map(InvoiceId::from_uuid) {
        Some(id) => match ctx.rendered(id).await {
            Ok(pdf) => Some((format!("{id}.pdf"), pdf)),
            // What can't be shown to anybody does not hold the news back.
            Err(status) if status.code() == Code::FailedPrecondition => None,
            Err(status) => return Err(NotSent::Again(status.to_string())),
        },
        None => None,
    };
    let message = message(mailer, it, pdf).map_err(NotSent::Never)?;
    match mailer.transport.send(message).await {
        Ok(_) => Ok(()),
        Err(error)
            if error
                .status()
                .is_some_and(|code| REFUSALS.contains(&code.into())) =>
        {
            Err(NotSent::Never(error.to_string()))
        }
        Err(error) => Err(NotSent::Again(error.to_string())),
    }
}

fn message(
    mailer: &Mailer,
    it: &Notification,
    pdf: Option<(String, Vec<u8>)>,
) -> Result<Message, String> {
    let to: Mailbox = it
        .email
        .parse()
        .map_err(|error| format!("its address: {error}"))?;
    let facts = it.facts.as_array().into_iter().flatten();
    let text = |fact: &'_ Value, key: &str| -> String {
        let text = fact.get(key).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let facts: Vec<_> = facts
        .map(|it| (text(it, "name"), text(it, "value")))
        .collect();
    let facts = facts
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let account = AccountId::from_uuid(it.account_id).to_string();
    let body = notice::text(&account, facts, &it.secret);
    let id = NotificationId::from_uuid(it.notification_id);
    let mut parts = MultiPart::mixed().singlepart(SinglePart::plain(body));
    if let Some((name, pdf)) = pdf {
        let kind = ContentType::parse("application/pdf").map_err(|error| error.to_string())?;
        parts = parts.singlepart(Attachment::new(name).body(pdf, kind));
    }
    Message::builder()
        .from(mailer.from.clone())
        .to(to)
        .message_id(Some(format!("<{id}@perdiem>")))
        .subject(notice::subject(&it.kind_code))
        .multipart(parts)
        .map_err(|error| error.to_string())
}
