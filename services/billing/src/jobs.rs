//! The work that the clock starts: one file for each job, one `step` in each.
//!
//! A `step` is called again and again, at once while it finds work, else after a pause. It may be
//! run twice or killed anywhere: what it does for one chunk, it does in one transaction.

pub mod ask_payments;
pub mod charge_rentals;
pub mod destroy_keys;
pub mod dun;
pub mod expire_lots;
pub mod finish_runs;
pub mod follow_movements;
pub mod follow_timelines;
pub mod invoice_usage;
pub mod recharge;
pub mod renew;
pub mod work_runs;
