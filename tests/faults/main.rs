//! A campaign of faults against a suite of its own, on loopback: users open, pay, change, use, get back and close, a month
//! is billed, and all the while services are killed and frozen, the database crashes, connections are cut, delayed and
//! swallowed, and the sandbox provider times out, fails and duplicates. Nothing that was acknowledged may be lost, and
//! nothing done twice.
//!
//! `cargo run --release -p tests --bin faults -- --seconds 240`
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program for developers: it prints, and stops at what it did not expect"
)]

mod chaos;
mod checks;
mod journeys;
mod proxy;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use clap::{Parser, Subcommand};
use cluster::{Cluster, Durability};
use futures::future::join_all;
use perdiem::connect::{Clients, Urls};
use perdiem::keys::Keys;
use perdiem::suite::{SERVICES, Suite};
use sqlx::PgPool;
use tests::victim::{How, Random, Victim};

use crate::chaos::{CRASHES, CUTS, Done, KILLS, PAUSES, scaled};
use crate::journeys::{Book, User};
use crate::proxy::Edge;

/// Where the suite listens: the services from here on, ten further their clocks.
const FIRST_PORT: u16 = 7561;
/// Users at once.
const USERS: usize = 24;
/// Accounts that each of them has before anything goes wrong.
const BEFORE: usize = 2;
/// When these are opened.
const PREPARED: &str = "2026-03-31T12:00:00Z";
/// When the campaign begins: late usage has had its day, and the month is billed.
const MARCH_IS_BILLED: &str = "2026-04-02T06:00:00Z";
/// The same of the next month.
const APRIL_IS_BILLED: &str = "2026-05-02T06:00:00Z";
/// The source of all usage.
const SOURCE: &str = "faults";
/// Faults of the provider in four minutes, at least.
const PROVIDER_FAULTS: u64 = 200;
/// From when on each thing that users do must have been done.
const LONG_ENOUGH: u64 = 60;
/// How soon a call should be final.
const SOON: Duration = Duration::from_secs(5);
/// How many broken promises are kept.
const BROKEN_MOST: usize = 100;
/// Who calls whom; nobody is everybody outside the suite.
const EDGES: [(&str, &str); 9] = [
    ("", "plan"),
    ("", "billing"),
    ("", "account-lifecycle"),
    ("", "payments"),
    ("account-lifecycle", "plan"),
    ("account-lifecycle", "billing"),
    ("account-lifecycle", "payments"),
    ("billing", "plan"),
    ("billing", "payments"),
];
/// What the provider did wrong.
const WRONG_AT_PROVIDER: &str = "SELECT count(*) FROM payments.sandbox_book
    WHERE state = 'DECLINED' OR token LIKE 'tok_timeout%' OR token LIKE 'tok_duplicate%'
       OR (kind = 'REFUND' AND token LIKE 'tok_refund_timeout%')";

/// The command line.
#[derive(Parser)]
struct Options {
    /// The seed of everything that looks random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long the campaign lasts.
    #[arg(long, default_value_t = 240)]
    seconds: u64,
    /// Used by itself: a service of the suite.
    #[command(subcommand)]
    command: Option<Command>,
}

/// Used by itself.
#[derive(Subcommand)]
enum Command {
    /// Runs a service.
    #[command(hide = true)]
    Service {
        /// Which.
        name: String,
        /// What of it.
        #[command(subcommand)]
        command: Box<chassis::Command>,
    },
}

/// The suite, and everything that is done to it.
struct World {
    /// How long the campaign lasts.
    seconds: u64,
    /// When it ends, once it has begun.
    end: OnceLock<Instant>,
    /// The processes; whoever kills or freezes one holds this until all run again.
    suite: tokio::sync::Mutex<Suite>,
    /// The database server.
    cluster: Arc<Cluster>,
    /// Its database, as superuser.
    db: PgPool,
    /// The ways to the services.
    edges: Vec<Edge>,
    /// Where users call: the edges.
    called: Urls,
    /// Where the services listen.
    urls: Urls,
    /// Where their logs are.
    folder: PathBuf,
    /// What signs the tokens.
    keys: Keys,
    /// Where all clocks stand, in seconds.
    clock: AtomicI64,
    /// What was done.
    done: Done,
    /// The promises that were broken.
    broken: std::sync::Mutex<Vec<String>>,
}

fn main() -> std::io::Result<ExitCode> {
    chassis::wait_for(act(Options::parse()))
}

/// Does what the command line asks.
async fn act(options: Options) -> ExitCode {
    if let Some(Command::Service { name, command }) = options.command {
        return match perdiem::service(&name, *command).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    println!("seed {}, {} seconds", options.seed, options.seconds);
    let folder = tempfile::Builder::new()
        .prefix("perdiem-faults-")
        .tempdir()
        .unwrap();
    let cluster = Cluster::open(&folder.path().join("pg"), Durability::Kept).unwrap();
    let world = World::start(cluster, folder.path().to_owned(), options.seconds).await;
    let book = campaign(&world, Random(options.seed)).await;
    checks::settled(&world).await;
    checks::afterwards(&world, &book).await;
    let faults = checks::count(&world.db, WRONG_AT_PROVIDER).await;
    world.judge(&book, u64::try_from(faults).unwrap());

    let World {
        suite,
        cluster,
        broken,
        ..
    } = world;
    suite.into_inner().stop().await;
    cluster.stop();
    let broken = broken.into_inner().unwrap_or_else(PoisonError::into_inner);
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

/// Lets users live and things go wrong; gives what the users were told.
async fn campaign(world: &World, mut random: Random) -> Book {
    let mut owners = Vec::new();
    for number in 0..USERS {
        owners.push(world.owner(number).await);
    }
    let users = |random: &mut Random| {
        let users = owners.iter();
        let users = users.map(|it| User::new(world, it, Random(random.draw())));
        users.collect::<Vec<_>>()
    };
    let before = users(&mut random).into_iter().map(|it| it.settle(BEFORE));
    let mut books = join_all(before).await;
    let begins = at(MARCH_IS_BILLED);
    perdiem::clock::set(&world.urls, begins).await.unwrap();
    world.stand_at(begins);

    let end = Instant::now() + Duration::from_secs(world.seconds);
    world.end.set(end).unwrap();
    let living = users(&mut random).into_iter().map(User::live);
    let spoiling = world.edges.iter();
    let spoiling = spoiling.map(|edge| chaos::network(world, edge, Random(random.draw())));
    let spoiling: Vec<_> = spoiling.collect();
    let (lives, (), _, (), looks) = tokio::join!(
        join_all(living),
        chaos::processes(world, Random(random.draw())),
        join_all(spoiling),
        chaos::time(world),
        checks::meanwhile(world),
    );
    println!(
        "the ledger agreed with itself {looks} times meanwhile, unless it says otherwise below"
    );
    books.extend(lives);
    let mut whole = Book::default();
    for book in books {
        whole.merge(book);
    }
    whole
}

impl World {
    /// Starts the suite, with a proxy on every edge.
    async fn start(cluster: Cluster, folder: PathBuf, seconds: u64) -> Self {
        let how = How {
            first_port: FIRST_PORT,
            clock: Some(at(PREPARED)),
            environment: [
                ("LEASE_SECONDS", "1"),
                ("LOOK_UP_SECONDS", "1"),
                ("DEADLINE_SECONDS", "5"),
                ("RUN_CHUNK", "10"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        };
        let victim = Victim::start(&cluster, folder.clone(), how).await;
        let mut edges = Vec::new();
        for (from, to) in EDGES {
            let address = Urls::address(victim.urls.of(to));
            edges.push(Edge::start(from, to, address).await);
        }
        let outside = |to: &str| {
            let edge = edges.iter().find(|it| it.from.is_empty() && it.to == to);
            edge.unwrap().url.clone()
        };
        let called = Urls {
            plan_url: outside("plan"),
            billing_url: outside("billing"),
            account_url: outside("account-lifecycle"),
            payments_url: outside("payments"),
            clock_urls: victim.urls.clock_urls.clone(),
        };
        let world = Self {
            seconds,
            end: OnceLock::new(),
            suite: tokio::sync::Mutex::new(victim.suite),
            cluster: Arc::new(cluster),
            db: victim.db,
            edges,
            called,
            urls: victim.urls,
            keys: Keys::open(&folder.join("keys")).unwrap(),
            folder,
            clock: AtomicI64::new(victim.now.timestamp()),
            done: Done::default(),
            broken: std::sync::Mutex::default(),
        };
        let mut suite = world.suite.lock().await;
        for (name, ..) in SERVICES {
            suite.kill(name).await;
            world.spawn(&mut suite, name);
            world.wait_for(&mut suite, name).await;
        }
        drop(suite);
        world
    }

    /// Starts a service that calls the others by its edges.
    fn spawn(&self, suite: &mut Suite, name: &str) {
        let edges = self.edges.iter().filter(|it| it.from == name);
        let environment: Vec<_> = edges
            .map(|it| {
                let variable = match it.to {
                    "plan" => "PLAN_URL",
                    "billing" => "BILLING_URL",
                    _ => "PAYMENTS_URL",
                };
                (variable, it.url.clone())
            })
            .collect();
        suite.spawn(name, &environment).unwrap();
    }

    /// Waits until a service is there, and starts it anew if it has ended.
    async fn wait_for(&self, suite: &mut Suite, name: &str) {
        if let Err(failure) = suite.wait_for(name).await {
            self.broke(failure.to_string());
            suite.kill(name).await;
            self.spawn(suite, name);
        }
    }

    /// A new user who owns accounts.
    async fn owner(&self, number: usize) -> String {
        let request = proto::account::v1::CreateUserRequest {
            email: format!("user-{number}@example.com"),
            display_name: format!("User {number}"),
            request_id: perdiem::connect::request_id(),
        };
        let mut client = self.operator().account;
        let made = client.create_user(request).await.unwrap();
        made.into_inner().user.unwrap().user_id
    }

    /// New connections of an operator with every role.
    fn operator(&self) -> Clients {
        Clients::new(&self.called, &self.keys.any_operator().unwrap()).unwrap()
    }

    /// New connections of a person who has just proved who they are.
    fn person(&self, user_id: &str) -> Clients {
        Clients::new(&self.called, &self.keys.person(user_id).unwrap()).unwrap()
    }

    /// Whether the campaign is over.
    fn is_over(&self) -> bool {
        self.is_over_for(Duration::ZERO)
    }

    /// Whether the campaign has been over for a time.
    fn is_over_for(&self, time: Duration) -> bool {
        let end = self.end.get();
        end.is_some_and(|end| *end + time <= Instant::now())
    }

    /// Where all clocks stand.
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.clock.load(Ordering::Relaxed), 0).unwrap()
    }

    /// Notes where all clocks stand, or are about to.
    fn stand_at(&self, at: DateTime<Utc>) {
        self.clock.store(at.timestamp(), Ordering::Relaxed);
    }

    /// Notes a promise that was broken.
    fn broke(&self, promise: String) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        if broken.len() < BROKEN_MOST {
            broken.push(promise);
        }
    }

    /// Says what was done, and whether that was enough.
    fn judge(&self, book: &Book, provider_faults: u64) {
        for promise in &book.broken {
            self.broke(promise.clone());
        }
        let done = &self.done;
        println!(
            "{} edges were slow for a while, {} swallowed everything",
            done.delays.get(),
            done.silences.get()
        );
        for (what, count, least) in [
            ("kills", done.kills.get(), KILLS),
            ("pauses", done.pauses.get(), PAUSES),
            ("crashes of the database", done.crashes.get(), CRASHES),
            ("cuts", done.cuts.get(), CUTS),
            ("faults of the provider", provider_faults, PROVIDER_FAULTS),
        ] {
            let least = scaled(least, self.seconds);
            println!("{count} {what} (at least {least})");
            if count < least {
                self.broke(format!("there were only {count} {what}, not {least}"));
            }
        }
        let orders = |what: &str| book.orders.get(what).map_or(0, Vec::len);
        for (what, count) in [
            ("accounts opened", book.accounts.len()),
            ("purchases of credit", orders("credit")),
            ("changes of plan", orders("plan")),
            ("refunds", orders("refund")),
            ("usage events", book.events.len()),
            ("grants", book.grants.len()),
            ("closings", book.closed.len()),
        ] {
            println!("acknowledged: {count} {what}");
            if count == 0 && LONG_ENOUGH <= self.seconds {
                self.broke(format!("there were no {what}"));
            }
        }
        for (reason, count) in &book.refused {
            println!("refused or not completed: {count} × {reason}");
        }
        let mut waits = book.waits.clone();
        waits.sort_unstable();
        let part = |of: usize| waits.get(waits.len() * of / 1_000).copied();
        println!(
            "{} tries for {} final answers, {} of them within {SOON:?}; p50 {:?}, p99 {:?}",
            book.tries,
            waits.len(),
            waits.partition_point(|it| *it <= SOON),
            part(500).unwrap_or_default(),
            part(990).unwrap_or_default()
        );
    }
}

/// An instant.
fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}
