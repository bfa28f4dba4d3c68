//! Sagas: an RPC begins them, and a job finishes those whose RPC was cut short.

pub mod authorize;
pub mod close;
pub mod commit_order;
pub mod erase;
pub mod history;
pub mod hold;
pub mod limit;
pub mod notify;
pub mod open_account;
pub mod permit;
pub mod purchase;
pub mod stood;
pub mod suspend;
pub mod tell_details;
