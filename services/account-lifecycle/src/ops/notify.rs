//! Customer notifications: stored in the transaction of their event and sent by a job.

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::domain::notice::{Fact, Kind};
use crate::domain::notification::State;
use crate::error::Error;
use crate::store::accounts::Account;
use crate::store::notifications::{self, Notification};
use crate::store::{billing_details, users};

/// A notification to send.
#[derive(Debug, Clone)]
pub struct News {
    /// What it is about.
    pub kind: Kind,
    /// Identity of the event, the same on every retry.
    pub event: String,
    /// Facts to tell.
    pub facts: Vec<Fact>,
    /// Invoice to attach.
    pub invoice: Option<Uuid>,
}

/// Notifies the owner of an account or, if an invoice is attached, the recipient of its invoices.
pub async fn owner(
    db: &mut PgConnection,
    account: &Account,
    news: &News,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    // A closed account receives only the notice of its closing, as its data is being deleted.
    if account.closed_at.is_some() && news.kind != Kind::AccountClosed {
        return Ok(());
    }
    let of_invoices = match news.invoice {
        Some(_) => billing_details::get(db, account.root_id).await?,
        None => None,
    };
    let email = if let Some(details) = of_invoices.filter(|it| !it.email.is_empty()) {
        details.email
    } else {
        // The owner's login has been deleted, so there is nobody to notify.
        let Some(owner) = users::get(db, account.owner_id).await? else {
            return Ok(());
        };
        owner.email
    };
    to(db, account, (&email, news, ""), now).await
}

/// Notifies an email address, with a verification code or with `""`.
pub async fn to(
    db: &mut PgConnection,
    account: &Account,
    mail: (&str, &News, &str),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    queued(db, (account.root_id, account.account_id), mail, now).await
}

/// Notifies an email address about a login, with a code or with `""`. Such a mail is of no account, so that nobody else
/// who has a role in the user's accounts sees it. All tenants are entered.
pub async fn login(
    db: &mut PgConnection,
    mail: (&str, &News, &str),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    queued(db, (Uuid::nil(), Uuid::nil()), mail, now).await
}

/// Stores a notification, which a job sends.
async fn queued(
    db: &mut PgConnection,
    (root_id, account_id): (Uuid, Uuid),
    (email, news, secret): (&str, &News, &str),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let fact = |(name, value): &Fact| json!({"name": name, "value": value});
    let notification = Notification {
        root_id,
        account_id,
        notification_id: Uuid::now_v7(),
        event_key: news.event.clone(),
        kind_code: news.kind,
        email: email.to_owned(),
        facts: Value::Array(news.facts.iter().map(fact).collect()),
        secret: secret.to_owned(),
        invoice_id: news.invoice,
        state: State::Pending,
        attempt_count: 0,
        created_at: now,
        sent_at: None,
    };
    Ok(notifications::insert(db, &notification).await?)
}
