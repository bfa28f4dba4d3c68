//! The rules of plans: pure functions without wire, database or clock.
#![warn(clippy::missing_errors_doc)]

pub mod catalogue;
pub mod catalogue_version;
pub mod change;
pub mod entitlement;
pub mod price;
pub mod timeline;
