//! Starts the payments service.

use chassis::Options;
use clap::Parser as _;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    payments::run(Options::parse().command).await
}
