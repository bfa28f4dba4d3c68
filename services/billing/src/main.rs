//! Starts the billing service.

use chassis::Options;
use clap::Parser as _;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    billing::run(Options::parse().command).await
}
