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

use chassis::{Clock, Command, Config, Server};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
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
pub fn run(command: Command) -> LocalBoxFuture<'static, Result<(), Box<dyn Error>>> {
    chassis::run(command, &MIGRATOR, server)
}

/// What is served.
fn server(config: &Config) -> Result<Server, Box<dyn Error>> {
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
        jobs: Box::new(move |stop| {
            async move { chassis::keep_house(&keeper, &stop).await }.boxed_local()
        }),
    })
}
