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
use std::time::Duration;

use chassis::{Command, Config, Server, serve};
use futures::FutureExt as _;
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

/// How long a job without work waits before it looks again.
const PAUSE: Duration = Duration::from_millis(250);

/// How often it is looked whether what was kept for a refund can be erased.
const MINUTE: Duration = Duration::from_mins(1);
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
async fn start(config: &Config) -> Result<(), Box<dyn Error>> {
    serve(config, async |_| {
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
            jobs: async move |stop| {
                let decide =
                    chassis::repeat("decide_sandbox", (PAUSE, &ctx.wake), &stop, async || {
                        jobs::decide_sandbox::step(&ctx).await
                    });
                let look_up =
                    chassis::repeat("look_up_movements", (PAUSE, &ctx.wake), &stop, async || {
                        jobs::look_up_movements::step(&ctx).await
                    });
                let process =
                    chassis::repeat("process_webhooks", (PAUSE, &ctx.wake), &stop, async || {
                        jobs::process_webhooks::step(&ctx).await
                    });
                let overdue =
                    chassis::repeat("tell_overdue", (PAUSE, &ctx.wake), &stop, async || {
                        jobs::tell_overdue::step(&ctx).await
                    });
                let contested = chassis::repeat(
                    "look_for_disputes",
                    (MINUTE, &ctx.wake),
                    &stop,
                    async || jobs::look_for_disputes::step(&ctx).await,
                );
                let listen = async {
                    let Some(address) = webhooks else {
                        return;
                    };
                    if let Err(error) = webhooks::serve(ctx.clone(), address, stop.clone()).await {
                        tracing::error!(%error, "the port of webhooks is closed");
                        // Without it nobody would notice: restarted, it is tried again.
                        stop.cancel();
                    }
                };
                let erase =
                    chassis::repeat("erase_methods", (MINUTE, &ctx.wake), &stop, async || {
                        jobs::erase_methods::step(&ctx).await
                    });
                let keep = chassis::keep_house(&ctx, &stop);
                tokio::join!(
                    decide, look_up, process, overdue, contested, erase, keep, listen
                );
            },
        })
    })
    .await
}
