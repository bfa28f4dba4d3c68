//! The SQL of payments: one file for each table, one function for each statement.
//!
//! Every function takes the caller's connection, so that the caller decides the transaction. A function that reads an
//! account's rows requires that the tenant has been entered.

pub mod accounts;
pub mod catalogues;
pub mod dispute_scans;
pub mod disputes;
pub mod methods;
pub mod movements;
pub mod outbox;
pub mod sandbox;
pub mod webhooks;

pub use chassis::{Tenant, enter};
