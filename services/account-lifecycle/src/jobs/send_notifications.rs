//! Sends stored notifications by email, with retries while the mail server is unavailable.
//!
//! Delivery is at least once: a process that ends after the server's answer and before the commit sends the same mail
//! again. Its Message-ID is derived from the notification id, so that recipients can detect the duplicate.
//!
//! An email that is given up is parked: it is sent again when an operator asks for it.

use chassis::{Aside, PgConnection};
use chrono::{DateTime, Utc};
use lettre::address::AddressError;
use lettre::message::header::ContentType;
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::Error as SmtpError;
use lettre::{AsyncTransport as _, Message};
use tonic::Code;
use values::{InvoiceId, NotificationId};

use super::queue;
use crate::ctx::{Ctx, Mailer};
use crate::domain::notice::{self, Kind, Mail, Reader};
use crate::domain::notification::{Event, State, after};
use crate::domain::{email_change, whitelist};
use crate::error::Error;
use crate::store::notifications::{self, Notification};
use crate::store::{Tenant, accounts};

/// Name of this job.
const JOB: &str = "send_notifications";
/// Seconds that one attempt may take before another worker takes over.
const LEASE: i64 = 180;
/// Seconds until the second attempt; doubled for each later one, up to an hour.
const PAUSE: i64 = 10;
const PAUSE_MAX: i64 = 3_600;
/// Attempts, spread over three days, after which delivery is given up.
const ATTEMPTS_MAX: i32 = 80;
/// SMTP reply codes that refuse this mail permanently (RFC 5321).
const REFUSALS: std::ops::RangeInclusive<u16> = 550..=554;

/// Sends one notification, or makes those due again that an operator retries; returns how many it processed.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let Some(mailer) = &ctx.mailer else {
        return Ok(0);
    };
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let taken = notifications::take(&mut tx, LEASE).await?;
    tx.commit().await?;
    let Some(notification) = taken else {
        return again(ctx).await;
    };
    let id = notification.notification_id;
    let outcome = chassis::traced(JOB, sent(ctx, mailer, &notification)).await;
    let now = ctx.clock.now().await?;
    // An expired verification code is of no use any more.
    let late = !notification.secret.is_empty() && code_expiry(&notification) <= now;
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    match outcome {
        Ok(()) => end(&mut tx, &notification, Event::Delivered, now).await?,
        Err(NotSent::Again(why)) if notification.attempt_count < ATTEMPTS_MAX && !late => {
            tracing::warn!(notification.id = %id, why, "an email could not be sent and will be retried");
            let doublings = u32::try_from(notification.attempt_count - 1).unwrap_or(0);
            let pause = PAUSE.saturating_mul(1 << doublings.min(12)).min(PAUSE_MAX);
            notifications::put_off(&mut tx, id, pause).await?;
        }
        Err(NotSent::Again(why) | NotSent::Never(why)) => {
            tracing::error!(notification.id = %id, why, "an email could not be delivered and is given up");
            end(&mut tx, &notification, Event::GivenUp, now).await?;
            // A code is not sent later: it has expired, and is asked for anew.
            if notification.secret.is_empty() {
                let parked = Aside {
                    key: NotificationId::from_uuid(id).to_string(),
                    input: String::new(),
                };
                let failed = (notification.attempt_count, why.as_str());
                queue(ctx, JOB)
                    .park::<Ctx>(&mut tx, &parked, failed)
                    .await?;
            }
        }
    }
    tx.commit().await?;
    Ok(1)
}

/// Records how the delivery of a notification ended.
async fn end(
    db: &mut PgConnection,
    it: &Notification,
    event: Event,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let Some(state) = after(it.state, event) else {
        return Ok(());
    };
    let sent_at = (state == State::Sent).then_some(now);
    notifications::end(db, it.notification_id, state, sent_at).await
}

/// Makes emails pending again that were given up and that an operator retries; returns how many.
async fn again(ctx: &Ctx) -> Result<usize, Error> {
    let queue = queue(ctx, JOB);
    let due = async |limit| Ok::<_, Error>(queue.due_aside(ctx, limit).await?);
    let one = async |parked: &Aside| {
        let id: NotificationId = parked
            .key
            .parse()
            .map_err(|_| Error::Stored("key of a parked email"))?;
        let mut tx = ctx.db.begin_as(Tenant::All).await?;
        notifications::again(&mut tx, id.uuid()).await?;
        Ok::<_, Error>(tx.commit().await?)
    };
    queue.work(ctx, due, one).await
}

/// Why an email was not sent.
enum NotSent {
    /// A retry may succeed.
    Again(String),
    /// No retry can succeed.
    Never(String),
}

async fn sent(ctx: &Ctx, mailer: &Mailer, it: &Notification) -> Result<(), NotSent> {
    let to = it.email.parse();
    let to: Mailbox = to
        .map_err(|error: AddressError| NotSent::Never(format!("invalid email address: {error}")))?;
    let reader = reader(ctx, it).await;
    let reader = reader.map_err(|error| NotSent::Again(chassis::Chain(&error).to_string()))?;
    let mail = written(it, &reader).map_err(NotSent::Never)?;
    let pdf = match it.invoice_id.map(InvoiceId::from_uuid) {
        Some(id) => match ctx.rendered(id).await {
            Ok(pdf) => Some((format!("{id}.pdf"), pdf)),
            // An invoice that can't be rendered must not hold the notification back.
            Err(status) if status.code() == Code::FailedPrecondition => None,
            Err(status) => return Err(NotSent::Again(status.to_string())),
        },
        None => None,
    };
    let message = message(&mailer.from, to, it, mail, pdf).map_err(NotSent::Never)?;
    match mailer.transport.send(message).await {
        Ok(_) => Ok(()),
        Err(error)
            if error
                .status()
                .is_some_and(|code| REFUSALS.contains(&code.into())) =>
        {
            Err(NotSent::Never(said(&error)))
        }
        Err(error) => Err(NotSent::Again(said(&error))),
    }
}

/// When the code in a notification expires.
fn code_expiry(it: &Notification) -> DateTime<Utc> {
    let lasts = if it.kind_code == Kind::EmailConfirm {
        email_change::CODE_LASTS
    } else {
        whitelist::CODE_LASTS
    };
    it.created_at + lasts
}

/// The account that a notification is about, as its words need it.
async fn reader(ctx: &Ctx, it: &Notification) -> Result<Reader, Error> {
    if it.account_id.is_nil() {
        return Ok(Reader::of_login());
    }
    let mut tx = ctx.db.begin_as(Tenant::Root(it.root_id)).await?;
    let account = accounts::get(&mut tx, it.account_id).await?;
    tx.commit().await?;
    ctx.reader(&account.ok_or(Error::Stored("account"))?).await
}

/// The words of a notification.
fn written(it: &Notification, reader: &Reader) -> Result<Mail, String> {
    let expires = code_expiry(it).to_rfc3339();
    let mut facts = it.facts();
    if !it.secret.is_empty() {
        facts.push(("code", it.secret.as_str()));
        facts.push(("code_expire_time", expires.as_str()));
    }
    notice::mail(it.kind_code, reader, &facts).map_err(|error| error.to_string())
}

/// The mail server's answer for the log: only its code, since servers may repeat the address in their text.
fn said(error: &SmtpError) -> String {
    match error.status() {
        Some(code) => format!("the mail server answered {code}"),
        None => error.to_string(),
    }
}

fn message(
    from: &Mailbox,
    to: Mailbox,
    it: &Notification,
    mail: Mail,
    pdf: Option<(String, Vec<u8>)>,
) -> Result<Message, String> {
    let id = NotificationId::from_uuid(it.notification_id);
    let message = Message::builder()
        .from(from.clone())
        .to(to)
        .message_id(Some(format!("<{id}@perdiem>")))
        .subject(mail.subject);
    let Some(html) = mail.html else {
        let message = message.singlepart(SinglePart::plain(mail.text));
        return message.map_err(|error| error.to_string());
    };
    let words = MultiPart::alternative_plain_html(mail.text, html);
    let mut parts = MultiPart::mixed().multipart(words);
    if let Some((name, pdf)) = pdf {
        let kind = ContentType::parse("application/pdf").map_err(|error| error.to_string())?;
        parts = parts.singlepart(Attachment::new(name).body(pdf, kind));
    }
    message.multipart(parts).map_err(|error| error.to_string())
}
