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
pub mod due;
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
pub mod unposted_events;
pub mod usage;
pub mod usage_bills;
pub mod voided_credits;
pub mod watch_positions;

/// Parses the currency code of a row.
pub fn currency(code: &str) -> sqlx::Result<Currency> {
    code.parse()
        .map_err(|_| sqlx::Error::Decode(format!("a currency column holds {code:?}").into()))
}

/// Converts minor units of a row's currency to millionths.
pub fn micros(minor: i64, code: &str) -> sqlx::Result<i64> {
    let money = Money::from_minor(minor, currency(code)?);
    let amount = money.amount();
    Ok(amount
        .map_err(|_| sqlx::Error::Decode("sum".into()))?
        .micros())
}

/// The name of the constraint that an error violated, if any.
pub fn violated(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error()?.constraint()
}
