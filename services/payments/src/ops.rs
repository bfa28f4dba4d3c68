//! Scripts with more than one caller: an RPC and a job, or several RPCs.

pub mod ask;
pub mod look_up;
pub mod payer;
pub mod process_webhook;
pub mod take_dispute;
