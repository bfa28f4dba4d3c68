//! Starts the payments service.

use chassis::Options;
use clap::Parser as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    chassis::wait_for(payments::run(Options::parse().command))?
}
