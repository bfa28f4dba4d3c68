//! The rules of payments: pure functions and states, without wire, database or clock.

#![warn(clippy::missing_errors_doc)]

pub mod breaker;
pub mod catalogue;
pub mod dispute;
pub mod movement;
pub mod sandbox;
pub mod token;
pub mod webhook;
