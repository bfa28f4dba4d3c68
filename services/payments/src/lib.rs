//! The payments service: payment methods, charges, refunds and disputes.
//!
//! A request enters at [`rpc`], which reads the wire; `domain` decides; `store` holds the SQL; `providers` calls the
//! payment providers; [`jobs`] looks up movements whose outcome is unknown; `ops` holds the scripts shared by RPCs and
//! jobs; `webhooks` receives the providers' webhooks; `document` reads the catalogue.
//!
//! Invariants: no card number is ever accepted, only provider tokens; every request to a provider is stored before it
//! is sent, under a reference derived from its purpose; an unknown outcome is a state that only the provider's own
//! answer can end, never a timer; a terminal state never changes, and no charge is refunded beyond what it took (the
//! database enforces both); this service calls no other service.

mod access;
mod ctx;
mod document;
pub mod domain;
mod error;
mod jobs;
mod ops;
mod personal;
mod providers;
mod rpc;
mod store;
mod webhooks;

use std::error::Error;
use std::sync::Arc;

use chassis::{Command, Config, Server};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use proto::payments::v1::payments_service_server::PaymentsServiceServer;
use tonic::service::Routes;

pub use access::ACCESS;
pub use ctx::Ctx;
pub use personal::PLACES;

/// The migrations of this service's schema.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// Full name of the gRPC service in the contract.
const GRPC_NAMES: &[&str] = &["perdiem.payments.v1.PaymentsService"];
/// Largest request message accepted, in bytes: that of a catalogue document.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Jobs that run in reconcile-only mode, too. They read what providers know, and store it.
const RECONCILING: &[&str] = &[
    "decide_sandbox",
    "look_up_movements",
    "process_webhooks",
    "look_for_disputes",
    "measure",
];

/// Runs the command given on the command line.
pub fn run(command: Command) -> LocalBoxFuture<'static, Result<(), Box<dyn Error>>> {
    chassis::run(command, &MIGRATOR, &[], server)
}

/// Assembles the server: its gRPC routes, access table, clock, jobs and webhook port.
fn server(config: &Config) -> Result<Server, Box<dyn Error>> {
    let db = chassis::connect(
        &config.database_url,
        "payments",
        config.database_connections,
    )?;
    let ctx = Ctx::new(db.clone(), config)?;
    let service =
        PaymentsServiceServer::new(ctx.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let due = ctx.clone();
    let webhooks = config.webhook_listen;
    Ok(Server {
        name: "payments",
        grpc_names: GRPC_NAMES,
        routes: Routes::new(service),
        access: ACCESS,
        message_bytes_max: MESSAGE_BYTES_MAX,
        db,
        clock: ctx.clock.clone(),
        next_due: Arc::new(move |until| {
            let ctx = due.clone();
            async move { jobs::next_due(&ctx, until).await }.boxed()
        }),
        jobs: Box::new(move |stop| {
            async move { jobs::run(&ctx, webhooks, &stop).await }.boxed_local()
        }),
        reconciling: RECONCILING,
    })
}
