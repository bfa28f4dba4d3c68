//! The SQL of account-lifecycle: one file for each table, one function for each statement.
//!
//! Every function takes the caller's connection, so that the caller decides the transaction. Names are
//! schema-qualified; nothing depends on `search_path`.

pub mod accounts;
pub mod billing_details;
pub mod closings;
pub mod dlt_registrations;
pub mod email_changes;
pub mod kyc_submissions;
pub mod members;
pub mod notifications;
pub mod orders;
pub mod payout_details;
pub mod recordings;
pub mod resources;
pub mod roots;
pub mod tickets;
pub mod transitions;
pub mod users;
pub mod watch_positions;
pub mod whitelisted_numbers;

pub use chassis::{Tenant, enter};

/// The variant that a text names. Only for what a function of the schema answers: of a column, sqlx knows the type
/// itself (`sqlx.toml`).
fn variant<T: Copy + std::fmt::Debug>(
    all: &[T],
    as_str: fn(T) -> &'static str,
    text: &str,
    column: &'static str,
) -> sqlx::Result<T> {
    let known = chassis::stored(all, as_str, &text, column);
    known.map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// The variants that some texts name.
fn variants<T: Copy + std::fmt::Debug>(
    all: &[T],
    as_str: fn(T) -> &'static str,
    texts: &[String],
    column: &'static str,
) -> sqlx::Result<Vec<T>> {
    let texts = texts.iter();
    texts.map(|it| variant(all, as_str, it, column)).collect()
}
