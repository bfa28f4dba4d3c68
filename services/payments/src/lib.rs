//! The payments service: was it paid.
//!
//! It owns payment methods, charges and refunds. A request enters at [`rpc`], which reads the wire;
//! `domain` decides, `store` remembers; `providers` asks whoever moves the money; [`jobs`] looks up
//! what nobody knows yet; `ops` holds the scripts that several of them run; `webhooks`
//! is the port that providers' messages come to; `document` reads the
//! catalogue.
//!
//! Invariants: no card number is ever taken, only providers' tokens; what a provider is asked is
//! written down before it is asked, under a reference that follows from what it is for; an outcome
//! that nobody knows is a state, left only by the provider's own word and never by a timer; a final
//! state is final, and no charge gives back more than it took (the database keeps both); this
//! service calls no other.

mod access;
mod ctx;
mod document;
pub mod domain;
mod error;
mod jobs;
mod ops;
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

/// The schema of this service, as migrations.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// Its full name in the contract.
const GRPC_NAME: &str = "perdiem.payments.v1.PaymentsService";
/// The largest message that it takes: a catalogue document.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Does what the command line asks.
pub fn run(command: Command) -> LocalBoxFuture<'static, Result<(), Box<dyn Error>>> {
    chassis::run(command, &MIGRATOR, server)
}

/// What is served.
fn server(config: &Config) -> Result<Server, Box<dyn Error>> {
    let db = chassis::connect(
        &config.database_url,
        "payments",
        config.database_connections,
    )?;
    let ctx = Ctx::new(db, config)?;
    let service =
        PaymentsServiceServer::new(ctx.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let due = ctx.clone();
    let webhooks = config.webhook_listen;
    Ok(Server {
        name: "payments",
        grpc_name: GRPC_NAME,
        routes: Routes::new(service),
        access: ACCESS,
        clock: ctx.clock.clone(),
        next_due: Arc::new(move |until| {
            let ctx = due.clone();
            async move { jobs::next_due(&ctx, until).await }.boxed()
        }),
        jobs: Box::new(move |stop| {
            async move { jobs::run(&ctx, webhooks, &stop).await }.boxed_local()
        }),
    })
}
