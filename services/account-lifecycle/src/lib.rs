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
use std::time::Duration;

use chassis::{Command, Config, Server, serve};
use chrono::{DateTime, Utc};
use futures::FutureExt as _;
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
/// How long a job without work waits before it looks again.
const PAUSE: Duration = Duration::from_secs(1);
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

/// Serves until it is told to stop.
#[expect(clippy::too_many_lines, reason = "one job after the other")]
async fn start(config: &Config) -> Result<(), Box<dyn Error>> {
    serve(config, async |_| {
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
            // A saga that is under way is work due now.
            next_due: Arc::new(move |until| {
                let ctx = due.clone();
                async move {
                    // What others have told and was not taken notice of yet is due now; so is what is not known.
                    if jobs::any_due(&ctx).await?
                        || jobs::follow_timelines::any_due(&ctx).await.unwrap_or(true)
                        || jobs::follow_balances::any_due(&ctx).await.unwrap_or(true)
                    {
                        return Ok(Some(NOW));
                    }
                    jobs::next_due(&ctx, until).await
                }
                .boxed()
            }),
            jobs: async move |stop| {
                let open =
                    chassis::repeat("open_accounts", (PAUSE, &ctx.wake), &stop, async || {
                        jobs::open_accounts::step(&ctx).await
                    });
                let finish =
                    chassis::repeat("finish_orders", (PAUSE, &ctx.wake), &stop, async || {
                        jobs::finish_orders::step(&ctx).await
                    });
                let tell = chassis::repeat(
                    "tell_billing_details",
                    (PAUSE, &ctx.wake),
                    &stop,
                    async || jobs::tell_billing_details::step(&ctx).await,
                );
                let follow =
                    chassis::repeat("follow_timelines", (PAUSE, &ctx.wake), &stop, async || {
                        jobs::follow_timelines::step(&ctx).await
                    });
                let limit =
                    chassis::repeat("limit_accounts", (PAUSE, &ctx.wake), &stop, async || {
                        jobs::limit_accounts::step(&ctx).await
                    });
                let balances =
                    chassis::repeat("follow_balances", (PAUSE, &ctx.wake), &stop, async || {
                        jobs::follow_balances::step(&ctx).await
                    });
                let close =
                    chassis::repeat("finish_closings", (PAUSE, &ctx.wake), &stop, async || {
                        jobs::finish_closings::step(&ctx).await
                    });
                let send = chassis::repeat(
                    "send_notifications",
                    (PAUSE, &ctx.wake),
                    &stop,
                    async || jobs::send_notifications::step(&ctx).await,
                );
                let erase =
                    chassis::repeat("erase_accounts", (PAUSE, &ctx.wake), &stop, async || {
                        jobs::erase_accounts::step(&ctx).await
                    });
                let give_back =
                    chassis::repeat("give_back", (PAUSE, &ctx.wake), &stop, async || {
                        jobs::give_back::step(&ctx).await
                    });
                let release =
                    chassis::repeat("release_numbers", (PAUSE, &ctx.wake), &stop, async || {
                        jobs::release_numbers::step(&ctx).await
                    });
                let warn = chassis::repeat("warn_owners", (PAUSE, &ctx.wake), &stop, async || {
                    jobs::warn_owners::step(&ctx).await
                });
                let keep = chassis::keep_house(&ctx, &stop);
                tokio::join!(
                    open, finish, tell, follow, limit, balances, close, send, erase, give_back,
                    release, warn, keep
                );
            },
        })
    })
    .await
}
