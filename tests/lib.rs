//! Tests across services: journeys, conformance, faults, hostile input, and the rules of the tree.
//!
//! All of it is in `suite/`, one test binary; `bench/` measures, `sample/` makes the sample.
