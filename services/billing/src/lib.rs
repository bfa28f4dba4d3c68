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
use std::time::Duration;

use chassis::{Command, Config, Server, serve};
use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use futures::future::join_all;
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
/// How long a job without work waits before it looks again.
const PAUSE: Duration = Duration::from_millis(250);
/// What a test clock is told of work that is due now.
const NOW: DateTime<Utc> = DateTime::<Utc>::MIN_UTC;

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

/// Serves until it is told to stop.
#[expect(clippy::too_many_lines, reason = "one job after the other")]
async fn start(config: &Config) -> Result<(), Box<dyn Error>> {
    let workers = config.run_workers;
    serve(config, async |_| {
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
            // A run that is under way is work due now; credit is forfeited when it expires.
            next_due: Arc::new(move |until| {
                let ctx = due.clone();
                async move {
                    let mut db = ctx.db.acquire().await?;
                    if store::runs::any_running(&mut db).await? {
                        return Ok(Some(NOW));
                    }
                    if store::collections::any_to_ask(&mut db).await? {
                        return Ok(Some(NOW));
                    }
                    let mut due = jobs::expire_lots::next_due(&mut db, until).await?;
                    for other in [
                        store::auto_recharges::next_due(&mut db, until).await?,
                        store::refunds::next_due(&mut db, until).await?,
                        store::subscriptions::next_due(&mut db, until).await?,
                        store::retained::next_due(&mut db, until).await?,
                        store::rentals::next_due(&mut db, until).await?,
                        store::dunnings::next_due(&mut db, until).await?,
                        store::usage_bills::next_due(&mut db, until).await?,
                    ] {
                        due = due.into_iter().chain(other).min();
                    }
                    drop(db);
                    // What others have told and was not taken notice of yet is due now; so is what is not known.
                    if jobs::follow_movements::any_due(&ctx).await.unwrap_or(true)
                        || jobs::follow_timelines::any_due(&ctx).await.unwrap_or(true)
                    {
                        due = Some(NOW);
                    }
                    Ok(due)
                }
                .boxed()
            }),
            jobs: async move |stop| {
                let work = join_all((0..workers).map(|_| {
                    chassis::repeat("work_runs", (PAUSE, &ctx.wake), &stop, async || {
                        jobs::work_runs::step(&ctx).await
                    })
                }));
                let finish =
                    chassis::repeat("finish_runs", (PAUSE, &ctx.wake), &stop, async || {
                        jobs::finish_runs::step(&ctx).await
                    });
                let expire =
                    chassis::repeat("expire_lots", (PAUSE, &ctx.wake), &stop, async || {
                        jobs::expire_lots::step(&ctx).await
                    });
                let follow =
                    chassis::repeat("follow_movements", (PAUSE, &ctx.wake), &stop, async || {
                        jobs::follow_movements::step(&ctx).await
                    });
                let ask = chassis::repeat("ask_payments", (PAUSE, &ctx.wake), &stop, async || {
                    jobs::ask_payments::step(&ctx).await
                });
                let recharge = chassis::repeat("recharge", (PAUSE, &ctx.wake), &stop, async || {
                    jobs::recharge::step(&ctx).await
                });
                let timelines =
                    chassis::repeat("follow_timelines", (PAUSE, &ctx.wake), &stop, async || {
                        jobs::follow_timelines::step(&ctx).await
                    });
                let renew = chassis::repeat("renew", (PAUSE, &ctx.wake), &stop, async || {
                    jobs::renew::step(&ctx).await
                });
                let destroy =
                    chassis::repeat("destroy_keys", (PAUSE, &ctx.wake), &stop, async || {
                        jobs::destroy_keys::step(&ctx).await
                    });
                let rent =
                    chassis::repeat("charge_rentals", (PAUSE, &ctx.wake), &stop, async || {
                        jobs::charge_rentals::step(&ctx).await
                    });
                let dun = chassis::repeat("dun", (PAUSE, &ctx.wake), &stop, async || {
                    jobs::dun::step(&ctx).await
                });
                let bill =
                    chassis::repeat("invoice_usage", (PAUSE, &ctx.wake), &stop, async || {
                        jobs::invoice_usage::step(&ctx).await
                    });
                let keep = chassis::keep_house(&ctx, &stop);
                tokio::join!(
                    work, finish, expire, follow, ask, recharge, timelines, renew, destroy, rent,
                    dun, bill, keep
                );
            },
        })
    })
    .await
}
