//! Starts the plan service.

use chassis::Options;
use clap::Parser as _;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    plan::run(Options::parse().command).await
}
