//! The whole suite on one machine, and the operator's command line.
//!
//! It has no logic of the services: it starts them as processes of their own and talks to their
//! RPCs. Each file but `suite`, `keys`, `connect`, `profile` and `show` is one command.

pub mod account;
pub mod audit;
pub mod catalogue;
pub mod clock;
pub mod connect;
pub mod demo;
pub mod doctor;
pub mod event;
pub mod invoice;
pub mod journeys;
pub mod keys;
pub mod mail;
mod prepaid;
pub mod profile;
pub mod reconcile;
pub mod run;
pub mod show;
pub mod suite;
pub mod usage;

use std::error::Error;

use chassis::Command;

/// Any failure of a command; shown to whoever typed it.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Runs one of the four services in this process, until it ends or its parent does.
pub async fn service(name: &str, command: Command) -> Result<(), Box<dyn Error>> {
    suite::end_with_parent();
    match name {
        "plan" => plan::run(command).await,
        "billing" => billing::run(command).await,
        "account-lifecycle" => account_lifecycle::run(command).await,
        "payments" => payments::run(command).await,
        _ => Err(format!("no service {name}: plan, billing, account-lifecycle or payments").into()),
    }
}
