//! Scripts with more than one caller: an RPC and a job, or several RPCs.

pub mod end_invoice;
pub mod ingest;
pub mod intake;
pub mod rate;
pub mod segments;
pub mod settle;
