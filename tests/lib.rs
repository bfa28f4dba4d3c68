//! Tests across services: journeys, conformance, faults, hostile input, and the rules of the tree.
//!
//! The tests are in `suite/`, one test binary; `bench/` measures, `attack/` attacks, `load/` loads, `faults/` breaks,
//! `sample/` makes the sample.

pub mod hostile;
pub mod open_loop;
pub mod victim;
