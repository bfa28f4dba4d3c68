//! Starts the account-lifecycle service.

use chassis::Options;
use clap::Parser as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    chassis::wait_for(account_lifecycle::run(Options::parse().command))?
}
