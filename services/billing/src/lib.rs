//! The billing service: what is owed, for which days, and why.
//!
//! It owns usage, rating, the ledger, invoices and billing runs. A request enters at [`rpc`], which
//! reads the wire; `domain` decides, `store` remembers; [`jobs`] enters beside `rpc`, woken by the
//! clock; `ops` holds the scripts that both run; `pdf` sets invoices on
//! pages; `clients` asks `plan` and
//! `payments`.
//!
//! Invariants: `domain` knows neither the wire nor the database; a ledger row is one transfer and
//! is never changed; a payer has at most one invoice a family and period (the database refuses a
//! second); invoice numbers have no gap; no transaction waits for another service; money moves only
//! under the lock of its root account's balance.

mod access;
mod clients;
mod ctx;
pub mod domain;
mod error;
mod jobs;
mod ops;
mod pdf;
mod rpc;
mod store;

use std::error::Error;
use std::sync::Arc;

use chassis::{Command, Config, Server};
use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use proto::billing::v1::billing_service_server::BillingServiceServer;
use sqlx::{Connection as _, PgConnection};
use tonic::service::Routes;
use values::AccountId;

pub use access::ACCESS;
pub use ctx::Ctx;

/// The schema of this service, as migrations.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// Its full name in the contract.
const GRPC_NAME: &str = "perdiem.billing.v1.BillingService";
/// The largest message that it takes: 10,000 usage events.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Does what the command line asks.
pub fn run(command: Command) -> LocalBoxFuture<'static, Result<(), Box<dyn Error>>> {
    chassis::run(command, &MIGRATOR, server)
}

/// Whom the invoices of a deleted account went to, and since when, as far as it is kept: no RPC tells (D24).
pub async fn recipients(
    database_url: &str,
    account: &str,
) -> Result<Vec<(DateTime<Utc>, String)>, Box<dyn Error>> {
    let root = account.parse::<AccountId>()?.uuid();
    let mut db = PgConnection::connect(database_url).await?;
    let Some(kept) = store::retained::key(&mut db, root).await? else {
        return Ok(Vec::new());
    };
    let sealed = store::retained::list(&mut db, root).await?;
    let opened = sealed.into_iter().map(|(since, sealed)| {
        let text = ops::seal::opened(&kept.key, (root, since), &sealed);
        Ok((since, text.map_err(|_| "what is sealed does not open")?))
    });
    opened.collect()
}

/// What is served.
fn server(config: &Config) -> Result<Server, Box<dyn Error>> {
    let workers = config.run_workers;
    let db = chassis::connect(&config.database_url, "billing", config.database_connections)?;
    let ctx = Ctx::new(db, config)?;
    let service =
        BillingServiceServer::new(ctx.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let due = ctx.clone();
    Ok(Server {
        name: "billing",
        grpc_name: GRPC_NAME,
        routes: Routes::new(service),
        access: ACCESS,
        clock: ctx.clock.clone(),
        next_due: Arc::new(move |until| {
            let ctx = due.clone();
            async move { jobs::next_due(&ctx, until).await }.boxed()
        }),
        jobs: Box::new(move |stop| {
            async move { jobs::run(&ctx, workers, &stop).await }.boxed_local()
        }),
    })
}
