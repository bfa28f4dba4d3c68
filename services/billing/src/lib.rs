//! The billing service: what each account owes, for which period, and why.
//!
//! It owns usage, rating, the ledger, invoices and billing runs. Requests enter at [`rpc`], which translates the wire
//! format; [`jobs`] start work by the clock; `ops` holds the transaction scripts that both share. `domain` decides,
//! `store` persists, `pdf` renders invoices, and `clients` calls `plan` and `payments`.
//!
//! Invariants: `domain` depends on neither wire nor database; a ledger row is one transfer and is never changed; a
//! payer has at most one invoice per family and period (a database constraint); invoice numbers have no gaps; no
//! transaction waits for another service; money moves only under the lock of its root account's balance.

mod access;
mod clients;
mod ctx;
pub mod domain;
mod error;
mod jobs;
mod ops;
mod pdf;
mod personal;
mod rpc;
mod store;

use std::error::Error;
use std::sync::Arc;

use chassis::{Command, Config, Server};
use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use proto::billing::v1::billing_service_server::BillingServiceServer;
use tonic::service::Routes;
use values::AccountId;

pub use access::ACCESS;
pub use ctx::Ctx;
pub use personal::PLACES;

/// The migrations of this service's schema.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// The full name of the gRPC service.
const GRPC_NAMES: &[&str] = &["perdiem.billing.v1.BillingService"];
/// The largest accepted message in bytes, enough for 10,000 usage events.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Jobs that run in reconcile-only mode, too. They read what `payments` knows, and post it.
const RECONCILING: &[&str] = &[
    "follow_movements",
    "post_events",
    "look_at_movements",
    "measure",
];

/// Runs the command given on the command line.
pub fn run(command: Command) -> LocalBoxFuture<'static, Result<(), Box<dyn Error>>> {
    chassis::run(command, &MIGRATOR, &["PLAN_URL", "PAYMENTS_URL"], server)
}

/// The invoice recipients of a deleted account with the time from which each applied, as far as they are retained. No
/// RPC returns them (D24).
pub async fn recipients(
    database_url: &str,
    account: &str,
) -> Result<Vec<(DateTime<Utc>, String)>, Box<dyn Error>> {
    let root = account.parse::<AccountId>()?.uuid();
    let db = chassis::connect(database_url, "billing", 1)?;
    let mut db = db.acquire().await?;
    let Some(kept) = store::retained::key(&mut db, root).await? else {
        return Ok(Vec::new());
    };
    let sealed = store::retained::list(&mut db, root).await?;
    let opened = sealed.into_iter().map(|(since, sealed)| {
        let text = ops::seal::opened(&kept.key, (root, since), &sealed);
        Ok((
            since,
            text.map_err(|_| "a sealed recipient can't be decrypted with the account's key")?,
        ))
    });
    opened.collect()
}

/// Builds the server from its configuration.
fn server(config: &Config) -> Result<Server, Box<dyn Error>> {
    let workers = config.run_workers;
    let db = chassis::connect(&config.database_url, "billing", config.database_connections)?;
    let ctx = Ctx::new(db.clone(), config)?;
    let service =
        BillingServiceServer::new(ctx.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let due = ctx.clone();
    Ok(Server {
        name: "billing",
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
            async move { jobs::run(&ctx, workers, &stop).await }.boxed_local()
        }),
        reconciling: RECONCILING,
    })
}
