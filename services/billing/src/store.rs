//! The SQL of billing: one file for each table, one function for each statement.
//!
//! Every function takes the caller's connection, so that the caller decides what is one
//! transaction. Names are schema-qualified; nothing depends on `search_path`.

use values::{Currency, Money};

pub mod accounts;
pub mod auto_recharges;
pub mod closings;
pub mod collections;
pub mod copy;
pub mod credit_notes;
pub mod disputes;
pub mod dunnings;
pub mod invoice_payments;
pub mod invoices;
pub mod ledger;
pub mod numbers;
pub mod outbox;
pub mod outcomes;
pub mod parked;
pub mod recipients;
pub mod refunds;
pub mod rentals;
pub mod retained;
pub mod runs;
pub mod shards;
pub mod subscriptions;
pub mod terms;
pub mod usage;
pub mod usage_bills;
pub mod watch_positions;

/// The currency that a row names.
pub fn currency(code: &str) -> sqlx::Result<Currency> {
    code.parse()
        .map_err(|_| sqlx::Error::Decode("currency".into()))
}

/// Minor units of a row's currency in millionths.
pub fn micros(minor: i64, code: &str) -> sqlx::Result<i64> {
    let money = Money::from_minor(minor, currency(code)?);
    let amount = money.amount();
    Ok(amount
        .map_err(|_| sqlx::Error::Decode("sum".into()))?
        .micros())
}

/// Begins a part of the transaction that can be undone alone.
pub async fn savepoint(db: &mut sqlx::PgConnection) -> sqlx::Result<()> {
    sqlx::query("SAVEPOINT one").execute(db).await?;
    Ok(())
}

/// Undoes what was done since the savepoint.
pub async fn rollback_to_savepoint(db: &mut sqlx::PgConnection) -> sqlx::Result<()> {
    sqlx::query("ROLLBACK TO SAVEPOINT one").execute(db).await?;
    Ok(())
}

/// The name of the constraint that refused a row.
pub fn violated(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error()?.constraint()
}
