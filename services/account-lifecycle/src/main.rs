//! Starts the account-lifecycle service.

use chassis::Options;
use clap::Parser as _;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    account_lifecycle::run(Options::parse().command).await
}
