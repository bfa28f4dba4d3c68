//! One service of the suite as a process of its own: `suite-service service NAME serve`.

use clap::{Parser, Subcommand};

/// The command line.
#[derive(Parser)]
struct Options {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// What it can do.
#[derive(Subcommand)]
enum Command {
    /// Runs a service.
    Service {
        /// Which.
        name: String,
        /// What of it.
        #[command(subcommand)]
        command: Box<chassis::Command>,
    },
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Command::Service { name, command } = Options::parse().command;
    chassis::wait_for(perdiem::service(&name, *command))?
}
