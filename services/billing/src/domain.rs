//! The rules of billing: pure functions of their arguments, with no wire, database or clock.
#![warn(clippy::missing_errors_doc)]

pub mod charge;
pub mod credit;
pub mod dunning;
pub mod explanation;
pub mod lots;
pub mod numbers;
pub mod off_session;
pub mod parts;
pub mod rating;
pub mod recharge;
pub mod refund;
pub mod rental;
pub mod run;
pub mod tax;
pub mod threshold;
pub mod unit_price;
pub mod usage;
pub mod wording;
