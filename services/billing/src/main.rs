//! Starts the billing service, or decrypts retained invoice recipients.

use std::error::Error;
use std::io::{Write as _, stdout};

use clap::Parser;

/// Commands of the billing binary.
#[derive(Parser)]
#[command(version = chassis::VERSION_AND_COMMIT)]
enum Command {
    /// Commands of every service.
    #[command(flatten)]
    Service(Box<chassis::Command>),
    /// Shows the invoice recipients of a deleted account, for authorities entitled to them by law (D24).
    RevealRecipients {
        /// The URL of the database.
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
        /// The account, `AC` and 32 hex digits.
        account_id: String,
    },
}

fn main() -> Result<(), Box<dyn Error>> {
    chassis::wait_for(act(Command::parse()))?
}

/// Does what the command line asks.
async fn act(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Service(command) => billing::run(*command).await,
        Command::RevealRecipients {
            database_url,
            account_id,
        } => {
            for (since, recipient) in billing::recipients(&database_url, &account_id).await? {
                writeln!(stdout(), "since {since}\n{recipient}\n")?;
            }
            Ok(())
        }
    }
}
