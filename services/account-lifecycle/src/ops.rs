//! Sagas: an RPC begins them, and a job finishes those whose RPC was cut short.

pub mod close;
pub mod commit_order;
pub mod history;
pub mod limit;
pub mod open_account;
pub mod permit;
pub mod suspend;
pub mod tell_details;
