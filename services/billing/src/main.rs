//! Starts the billing service, or opens what it keeps sealed.

use std::error::Error;
use std::io::{Write as _, stdout};

use clap::Parser;

/// What billing's binary can do.
#[derive(Parser)]
enum Command {
    /// What every service can.
    #[command(flatten)]
    Service(Box<chassis::Command>),
    /// Shows whom the invoices of a deleted account went to, for those who may ask by law (D24).
    RevealRecipients {
        /// The database.
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
        /// The account, `AC` and 32 hex digits.
        account_id: String,
    },
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    match Command::parse() {
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
