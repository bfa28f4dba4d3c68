//! Tests across services, in one binary. A suite of four processes is started for each test that
//! needs one, on a database of its own in a cluster that all share.
#![cfg(test)]
#![expect(
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::type_complexity,
    clippy::zombie_processes,
    clippy::unused_async,
    reason = "stories are read top to bottom; the watchdog of the cluster outlives the tests by design"
)]

mod access;
mod attempts;
mod audit;
mod between;
mod capabilities;
mod closing;
mod crashes;
mod deletion;
mod dunning;
mod harness;
mod hostile;
mod ledger;
mod model;
mod money;
mod oracle;
mod payments;
mod plans;
mod purchases;
mod races;
mod razorpay;
mod requests;
mod requirements;
mod runs;
mod stripe;
mod subscriptions;
mod support;
mod tidy;
mod usage;
mod vectors;
