//! The plan service: what can be bought, which plan is in force when, what a change would do.
//!
//! It owns catalogue versions, timelines of dated segments, contracts, entitlements and ticket
//! stamps. A request enters at [`rpc`], which reads the wire and opens the transaction; `domain`
//! decides, `store` remembers; `document` reads what people write.
//!
//! Invariants: no two segments of an account and family overlap (the database refuses it); a
//! timeline never changes before now; a segment keeps the catalogue version it was bought under;
//! `domain` knows neither the wire nor the database; this service calls nobody.

mod access;
mod ctx;
mod document;
mod domain;
mod error;
mod rpc;
mod store;

use std::error::Error;
use std::sync::Arc;

use chassis::{Clock, Command, Config, Server, serve};
use futures::FutureExt as _;
use proto::plan::v1::plan_service_server::PlanServiceServer;
use tonic::service::Routes;

pub use access::ACCESS;
pub use ctx::Ctx;

/// The schema of this service, as migrations.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// Its full name in the contract.
const GRPC_NAME: &str = "perdiem.plan.v1.PlanService";
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
        let db = chassis::connect(&config.database_url, "plan", config.database_connections)?;
        let ctx = Ctx::new(db, config);
        let clock: Clock = ctx.clock.clone();
        let keeper = ctx.clone();
        let service = PlanServiceServer::new(ctx).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Server {
            name: "plan",
            grpc_name: GRPC_NAME,
            routes: Routes::new(service),
            access: ACCESS,
            clock,
            // Timelines are functions of an instant: nothing here waits for one.
            next_due: Arc::new(|_| async { Ok(None) }.boxed()),
            jobs: async move |stop| chassis::keep_house(&keeper, &stop).await,
        })
    })
    .await
}
