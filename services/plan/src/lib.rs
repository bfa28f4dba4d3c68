//! The plan service: what can be bought, which plan is in force when, and what a plan change does.
//!
//! It owns catalogue versions, timelines of dated segments, contracts, entitlements and ticket stamps. A request enters
//! at [`rpc`], which reads the wire and opens the transaction; `domain` decides; `store` holds the SQL; `document`
//! parses and checks catalogue documents.
//!
//! Invariants: no two segments of an account and family overlap (the database enforces it); the past of a timeline
//! never changes; a segment keeps the catalogue version that it was bought under; `domain` knows neither the wire nor
//! the database; this service calls no other service.

mod access;
mod ctx;
mod document;
mod domain;
mod error;
mod personal;
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
pub use personal::PLACES;

/// The migrations of this service's schema.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// Full name of the gRPC service in the contract.
const GRPC_NAMES: &[&str] = &["perdiem.plan.v1.PlanService"];
/// Largest request message accepted, in bytes: that of a catalogue document.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Runs the command given on the command line.
pub fn run(command: Command) -> LocalBoxFuture<'static, Result<(), Box<dyn Error>>> {
    chassis::run(command, &MIGRATOR, &[], server)
}

/// Assembles the server: its gRPC routes, access table and clock.
fn server(config: &Config) -> Result<Server, Box<dyn Error>> {
    let db = chassis::connect(&config.database_url, "plan", config.database_connections)?;
    let ctx = Ctx::new(db.clone(), config);
    let clock: Clock = ctx.clock.clone();
    let keeper = ctx.clone();
    let service = PlanServiceServer::new(ctx).max_decoding_message_size(MESSAGE_BYTES_MAX);
    Ok(Server {
        name: "plan",
        grpc_names: GRPC_NAMES,
        routes: Routes::new(service),
        access: ACCESS,
        message_bytes_max: MESSAGE_BYTES_MAX,
        db,
        clock,
        // Timelines are functions of an instant, so no work ever becomes due.
        next_due: Arc::new(|_| async { Ok(None) }.boxed()),
        jobs: Box::new(move |stop| {
            async move { chassis::keep_house(&keeper, &stop).await }.boxed_local()
        }),
        reconciling: &[],
    })
}
