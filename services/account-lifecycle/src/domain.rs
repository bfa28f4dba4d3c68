//! The rules of accounts and orders: pure functions without wire, database or clock.
#![warn(clippy::missing_errors_doc)]

pub mod account;
pub mod billing_details;
pub mod capability;
pub mod closing;
pub mod email_change;
pub mod kyc;
pub mod notice;
pub mod order;
pub mod permission;
pub mod recording;
pub mod whitelist;
