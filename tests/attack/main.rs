//! Attacks on a running suite of its own, seeded and bounded, on loopback only: `attack SUBJECT`. Each prints what it
//! did and what it found, and fails when a promise is broken.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program for developers: it prints, and stops at what it did not expect"
)]

mod cancel;
mod hostile;
mod http1;
mod http2;
mod identities;
mod metrics;
mod overload;
mod raw;
mod roles;
mod silence;
mod tenants;
mod tls;
mod webhooks;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use cluster::{Cluster, Durability};
use tests::victim::{How, Random, Victim, dollars};

/// Where the suite listens: the services from here on, ten further their clocks.
const FIRST_PORT: u16 = 7501;
/// Where the suite takes webhooks.
const WEBHOOKS: &str = "127.0.0.1:7534";
/// What Stripe would sign them with.
const WEBHOOK_SECRET: &str = "whsec_attack";

/// The command line.
#[derive(Parser)]
struct Options {
    /// The seed of everything that looks random.
    #[arg(long, default_value_t = 1, global = true)]
    seed: u64,
    /// What is attacked.
    #[command(subcommand)]
    subject: Subject,
}

/// What can be attacked.
#[derive(Subcommand)]
enum Subject {
    /// Cancels reads at random microseconds, beside writers and jobs: nothing that was acknowledged may be lost.
    Cancel {
        /// How many reads.
        #[arg(long, default_value_t = 100_000)]
        calls: u64,
    },
    /// Resets calls as soon as they are sent, sends heads without bodies, opens connections and streams that say
    /// nothing: others are served, and the memory comes back.
    Silence {
        /// How many calls are reset.
        #[arg(long, default_value_t = 200_000)]
        resets: u64,
    },
    /// Calls as one customer with the ids of another: nothing tells them from ids that nobody has.
    Tenants,
    /// Calls random methods with tokens that are almost good: each is refused.
    Identities {
        /// How many calls.
        #[arg(long, default_value_t = 20_000)]
        calls: u64,
    },
    /// Floods of resets, continuations, settings and pings, and a message of 4 GiB: others are served, and the memory
    /// comes back.
    Http2 {
        /// How long each flood lasts.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Random messages at every method of every service: each is answered, and none as a fault of ours.
    Hostile {
        /// How many calls.
        #[arg(long, default_value_t = 20_000)]
        calls: u64,
    },
    /// Webhooks that are forged, replayed, repeated, reordered, huge and slow: nothing is moved, and each is answered
    /// in time.
    Webhooks {
        /// How many that are forged, and how many that are out of order.
        #[arg(long, default_value_t = 2_000)]
        events: usize,
        /// Also bodies that do not end, which takes half a minute.
        #[arg(long)]
        bodies: bool,
    },
    /// Callers without a certificate, or with one that is not good: no service talks to them.
    Tls,
    /// The database roles of the services try what they may not do: each attempt is refused.
    Roles,
    /// Floods, slow and huge requests and HTTP/2 at the plaintext port for metrics: others are served.
    Metrics {
        /// How long each flood lasts.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Four times the calls that can be served: at least half of those that can be are, the others are told when to
    /// come again, and soon all are served.
    Overload {
        /// How long the overload lasts.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Serves one service of the suite; how this program starts its own.
    #[command(hide = true)]
    Service {
        /// Which.
        name: String,
        /// What of it.
        #[command(subcommand)]
        command: Box<chassis::Command>,
    },
}

fn main() -> std::io::Result<ExitCode> {
    chassis::wait_for(act(Options::parse()))
}

/// Does what the command line asks.
async fn act(options: Options) -> ExitCode {
    if let Subject::Service { name, command } = options.subject {
        return match perdiem::service(&name, *command).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let folder = tempfile::Builder::new()
        .prefix("perdiem-attack-")
        .tempdir()
        .unwrap();
    let cluster = Cluster::open(&folder.path().join("pg"), Durability::ThrownAway).unwrap();
    let how = How {
        first_port: FIRST_PORT,
        environment: [
            ("WEBHOOK_LISTEN", WEBHOOKS),
            ("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        ..How::default()
    };
    let mut victim = Victim::start(&cluster, folder.path().to_owned(), how).await;
    let random = Random(options.seed);
    let broken = match options.subject {
        Subject::Cancel { calls } => cancel::attack(&victim, calls, random).await,
        Subject::Silence { resets } => silence::attack(&victim, resets).await,
        Subject::Tenants => tenants::attack(&victim, random).await,
        Subject::Identities { calls } => identities::attack(&victim, calls, random).await,
        Subject::Http2 { seconds } => http2::attack(&victim, Duration::from_secs(seconds)).await,
        Subject::Hostile { calls } => hostile::attack(&mut victim, calls, random).await,
        Subject::Webhooks { events, bodies } => {
            webhooks::attack(&victim, events, bodies, random).await
        }
        Subject::Tls => tls::attack(&mut victim).await,
        Subject::Roles => roles::attack(&victim).await,
        Subject::Metrics { seconds } => {
            metrics::attack(&mut victim, Duration::from_secs(seconds)).await
        }
        Subject::Overload { seconds } => {
            overload::attack(&victim, Duration::from_secs(seconds)).await
        }
        Subject::Service { .. } => Vec::new(),
    };
    victim.suite.stop().await;
    cluster.stop();
    for promise in &broken {
        println!("BROKEN: {promise}");
    }
    if broken.is_empty() {
        println!("every promise was kept");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
