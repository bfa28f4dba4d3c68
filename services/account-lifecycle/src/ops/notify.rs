//! Telling the owner of an account by mail: written with what it tells of, sent by a job.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::notice::Fact;
use crate::error::Error;
use crate::store::accounts::Account;
use crate::store::notifications::{self, Notification};
use crate::store::{billing_details, users};

/// What is to be told.
#[derive(Debug, Clone)]
pub struct News<'a> {
    /// Its kind.
    pub kind: &'a str,
    /// What it tells of, the same on every retry.
    pub event: String,
    /// The facts.
    pub facts: Vec<Fact>,
    /// The invoice that goes with it.
    pub invoice: Option<Uuid>,
}

/// Tells the owner of an account; where an invoice goes with it, whoever gets the invoices.
pub async fn owner(
    db: &mut PgConnection,
    account: &Account,
    news: &News<'_>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    // A closed account is told that it is, and nothing more: its data are deleted.
    if account.closed_at.is_some() && news.kind != "ACCOUNT_CLOSED" {
        return Ok(());
    }
    let of_invoices = match news.invoice {
        Some(_) => billing_details::get(db, account.root_id).await?,
        None => None,
    };
    let email = if let Some(details) = of_invoices.filter(|it| !it.email.is_empty()) {
        details.email
    } else {
        // A login that was deleted is told nothing.
        let Some(owner) = users::get(db, account.owner_id).await? else {
            return Ok(());
        };
        owner.email
    };
    to(db, account, (&email, news, ""), now).await
}

/// Tells an address, with a code or without.
pub async fn to(
    db: &mut PgConnection,
    account: &Account,
    (email, news, secret): (&str, &News<'_>, &str),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let fact = |(name, value): &Fact| json!({"name": name, "value": value});
    let notification = Notification {
        root_id: account.root_id,
        account_id: account.account_id,
        notification_id: Uuid::now_v7(),
        event_key: news.event.clone(),
        kind_code: news.kind.to_owned(),
        email: email.to_owned(),
        facts: Value::Array(news.facts.iter().map(fact).collect()),
        secret: secret.to_owned(),
        invoice_id: news.invoice,
        state: "PENDING".to_owned(),
        attempt_count: 0,
        created_at: now,
        sent_at: None,
    };
    Ok(notifications::insert(db, &notification).await?)
}
