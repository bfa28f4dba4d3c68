//! Tests across services, in one binary. A suite of four processes is started for each test that
//! needs one, on a database of its own in a cluster that all share.
#![cfg(test)]

mod access;
mod harness;
mod hostile;
mod oracle;
mod requirements;
mod runs;
mod support;
mod tidy;
mod usage;
mod vectors;
