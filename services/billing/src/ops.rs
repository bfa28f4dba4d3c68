//! Transaction scripts with more than one caller: an RPC and a job, or several RPCs.

pub mod bill_usage;
pub mod closing;
pub mod collect;
pub mod compare_charges;
pub mod compare_refunds;
pub mod contest;
pub mod credit;
pub mod dun;
pub mod end_invoice;
pub mod give_back;
pub mod ingest;
pub mod intake;
pub mod make_run;
pub mod off_session;
pub mod post_event;
pub mod rate;
pub mod recharge;
pub mod renewal;
pub mod rent;
pub mod schedule;
pub mod seal;
pub mod segments;
pub mod settle;
pub mod spend;
