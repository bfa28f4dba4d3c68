//! The account-lifecycle service: who is it, may they, and the journeys that cross services.
//!
//! It owns accounts and their states, users and roles, orders, tickets, KYC, what an account holds and may
//! do, closings, and the mail that tells of them. A person's request enters here: roles are checked here, and
//! `plan`, `billing` and `payments` are asked on the person's behalf. A request enters at [`rpc`]; `domain`
//! decides, `store` remembers; `ops` holds the sagas that an RPC begins and [`jobs`] finishes; `clients` asks
//! the other services.
//!
//! Invariants: a transaction sees one tenant's rows; a stranger gets the answers of things that do
//! not exist; no transaction waits for another service; a saga's remote steps carry ids derived
//! from its row, so that any of them may be asked again; `domain` knows neither the wire nor the
//! database.

mod access;
mod clients;
mod ctx;
mod domain;
mod error;
mod jobs;
mod ops;
mod rpc;
mod store;

use std::error::Error;
use std::sync::Arc;

use chassis::{Command, Config, Server};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use proto::account::v1::account_service_server::AccountServiceServer;
use tonic::service::Routes;

pub use access::ACCESS;
pub use ctx::Ctx;

/// The schema of this service, as migrations.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// Its full name in the contract.
const GRPC_NAME: &str = "perdiem.account.v1.AccountService";
/// The largest message that it takes.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Does what the command line asks.
pub fn run(command: Command) -> LocalBoxFuture<'static, Result<(), Box<dyn Error>>> {
    chassis::run(command, &MIGRATOR, server)
}

/// What is served.
fn server(config: &Config) -> Result<Server, Box<dyn Error>> {
    let db = chassis::connect(
        &config.database_url,
        "account-lifecycle",
        config.database_connections,
    )?;
    let ctx = Ctx::new(db, config)?;
    let service =
        AccountServiceServer::new(ctx.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let due = ctx.clone();
    Ok(Server {
        name: "account-lifecycle",
        grpc_name: GRPC_NAME,
        routes: Routes::new(service),
        access: ACCESS,
        clock: ctx.clock.clone(),
        next_due: Arc::new(move |until| {
            let ctx = due.clone();
            async move { jobs::next_due(&ctx, until).await }.boxed()
        }),
        jobs: Box::new(move |stop| async move { jobs::run(&ctx, &stop).await }.boxed_local()),
    })
}
