//! Operations that span services or are shared by RPCs and jobs. An RPC begins a saga; a job finishes it if the RPC was
//! cut short.

pub mod authorize;
pub mod close;
pub mod commit_order;
pub mod erase;
pub mod history;
pub mod hold;
pub mod limit;
pub mod notify;
pub mod open_account;
pub mod pay;
pub mod permit;
pub mod purchase;
pub mod renew;
pub mod seal;
pub mod soft_close;
pub mod stood;
pub mod suspend;
pub mod tell_details;
pub mod tell_standing;
