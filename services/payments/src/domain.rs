//! The rules: pure functions and states, without wire, database or clock.

#![warn(clippy::missing_errors_doc)]

pub mod catalogue;
pub mod movement;
pub mod token;
