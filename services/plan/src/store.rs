//! The SQL of plan: one file for each table, one function for each statement.
//!
//! Every function takes the caller's connection, so that the caller decides the transaction. Names are
//! schema-qualified; nothing depends on `search_path`.

pub mod accounts;
pub mod add_ons;
pub mod billable;
pub mod catalogues;
pub mod contract_offers;
pub mod contracts;
pub mod outbox;
pub mod segments;
pub mod ticket_stamps;
