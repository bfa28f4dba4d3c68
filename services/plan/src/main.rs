//! Starts the plan service.

use chassis::Options;
use clap::Parser as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    chassis::wait_for(plan::run(Options::parse().command))?
}
