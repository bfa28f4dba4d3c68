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
mod addresses;
mod attempts;
mod audit;
mod between;
mod budgets;
mod canary;
mod capabilities;
mod catalogue_keys;
mod closing;
mod commands;
mod connections;
mod crashes;
mod customers;
mod deletion;
mod deploy;
mod dunning;
mod hardening;
mod harness;
mod hostile;
mod ledger;
mod model;
mod money;
mod oracle;
mod payments;
mod plans;
mod purchases;
mod queues;
mod races;
mod razorpay;
mod reasons;
mod requests;
mod requirements;
mod restore;
mod runs;
mod search;
mod standing;
mod statements;
mod stripe;
mod subscriptions;
mod support;
mod tidy;
mod usage;
mod vectors;
