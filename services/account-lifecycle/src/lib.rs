//! The account-lifecycle service: accounts, users and roles, permissions, and the journeys that cross services.
//!
//! It owns accounts and their states, users and roles, orders, tickets, KYC submissions, the resources that an account
//! holds, closings, and customer notifications. Every request of a customer enters the suite here: this service checks
//! the person's roles and then calls `plan`, `billing` and `payments` on their behalf.
//!
//! A request enters at [`rpc`]; `domain` decides; `store` holds the SQL; `ops` holds the sagas that an RPC begins and
//! [`jobs`] finishes; `clients` calls the other services.
//!
//! Invariants: a transaction sees one tenant's rows only; a caller without access gets the same answer as for an
//! account that does not exist; no transaction waits for another service; the remote steps of a saga carry request ids
//! derived from its row, so that each of them can be retried; `domain` knows neither the wire nor the database.

mod access;
mod clients;
mod ctx;
mod domain;
mod error;
mod jobs;
mod ops;
mod personal;
mod rpc;
mod store;

use std::error::Error;
use std::sync::Arc;

use chassis::{Command, Config, Server};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use proto::account::v1::account_service_server::AccountServiceServer;
use proto::account::v1::customer_service_server::CustomerServiceServer;
use tonic::service::Routes;

pub use access::ACCESS;
pub use ctx::Ctx;
pub use domain::closing::purge_at;
pub use personal::PLACES;

/// The migrations of this service's schema.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// Full names of the gRPC services in the contract.
const GRPC_NAMES: &[&str] = &[
    "perdiem.account.v1.AccountService",
    "perdiem.account.v1.CustomerService",
];
/// Largest request message accepted, in bytes.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Runs the command given on the command line.
pub fn run(command: Command) -> LocalBoxFuture<'static, Result<(), Box<dyn Error>>> {
    let peers = &["PLAN_URL", "BILLING_URL", "PAYMENTS_URL"];
    chassis::run(command, &MIGRATOR, peers, server)
}

/// Assembles the server: its gRPC routes, access table, clock and jobs.
fn server(config: &Config) -> Result<Server, Box<dyn Error>> {
    let db = chassis::connect(
        &config.database_url,
        "account-lifecycle",
        config.database_connections,
    )?;
    let ctx = Ctx::new(db.clone(), config)?;
    let accounts =
        AccountServiceServer::new(ctx.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let customers =
        CustomerServiceServer::new(ctx.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let due = ctx.clone();
    Ok(Server {
        name: "account-lifecycle",
        grpc_names: GRPC_NAMES,
        routes: Routes::new(accounts).add_service(customers),
        access: ACCESS,
        message_bytes_max: MESSAGE_BYTES_MAX,
        db,
        clock: ctx.clock.clone(),
        next_due: Arc::new(move |until| {
            let ctx = due.clone();
            async move { jobs::next_due(&ctx, until).await }.boxed()
        }),
        jobs: Box::new(move |stop| async move { jobs::run(&ctx, &stop).await }.boxed_local()),
        reconciling: &[],
    })
}
