//! The SQL of payments: one file for each table, one function for each statement.
//!
//! Every function takes the caller's connection, so that the caller decides what is one
//! transaction; one that reads rows of an account needs the tenant entered before.

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
