//! The payments service: was it paid.
//!
//! It will own payment methods, charges and refunds; today it opens accounts, keeps the catalogue
//! and has the port to providers with its sandbox. A request enters at [`rpc`]; `store` remembers;
//! `providers` asks whoever moves the money.
//!
//! Invariants: no card number is ever taken, only providers' tokens; what a provider is asked is
//! kept before it is asked; an outcome that nobody knows is a state, never a guess; this service
//! calls no other.

mod access;
mod ctx;
mod error;
pub mod providers;
mod rpc;
mod store;

use std::error::Error;
use std::sync::Arc;

use chassis::{Command, Config, Server, serve};
use futures::FutureExt as _;
use proto::payments::v1::payments_service_server::PaymentsServiceServer;
use tonic::service::Routes;

pub use access::ACCESS;
pub use ctx::Ctx;

/// The schema of this service, as migrations.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// Its full name in the contract.
const GRPC_NAME: &str = "perdiem.payments.v1.PaymentsService";
/// The largest message that it takes: a catalogue document.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Does what the command line asks.
pub async fn run(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Migrate {
            migrate_database_url,
        } => Ok(chassis::migrate(&migrate_database_url, &MIGRATOR).await?),
        Command::CheckConfig(config) => match config.faults().as_slice() {
            [] => Ok(()),
            faults => Err(faults.join("\n").into()),
        },
        Command::Serve(config) => start(&config).await,
    }
}

/// Serves until it is told to stop.
async fn start(config: &Config) -> Result<(), Box<dyn Error>> {
    serve(config, async |_| {
        let db = chassis::connect(
            &config.database_url,
            "payments",
            config.database_connections,
        )?;
        let ctx = Ctx::new(db, config.test_clock_listen.is_some());
        let clock = ctx.clock.clone();
        let service = PaymentsServiceServer::new(ctx).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Server {
            name: "payments",
            grpc_name: GRPC_NAME,
            routes: Routes::new(service),
            access: ACCESS,
            clock,
            // No movement waits for an instant before charges are built.
            next_due: Arc::new(|_| async { Ok(None) }.boxed()),
            jobs: |_| async {},
        })
    })
    .await
}
