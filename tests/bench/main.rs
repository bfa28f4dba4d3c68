//! Measures the main job through the real services, beside what the database could do at best and
//! what a loop shaped like the peers does; prints ratios taken in one run.
//!
//! `cargo run --release -p tests --bin bench -- --accounts 100000 --rounds 5`
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program for developers: it prints, and stops at what it did not expect"
)]

mod calls;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use cluster::{Cluster, Durability};
use futures::future::join_all;
use perdiem::connect::{Clients, Urls, timestamp};
use perdiem::suite::{Database, SERVICES, Settings, Suite};
use proto::billing::v1 as billing;
use proto::plan::v1 as plan;
use proto::r#type::v1::Amount;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};
use uuid::Uuid;
use values::AccountId;

use crate::calls::Calls;

/// The command line.
#[derive(Parser)]
struct Options {
    /// Root accounts of the run, each with one plan change.
    #[arg(long, default_value_t = 100_000)]
    accounts: u32,
    /// How often run and raw COPY are measured, alternately.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Usage events to be ingested; 0 leaves ingestion out.
    #[arg(long, default_value_t = 500_000)]
    events: u32,
    /// Seconds of each measurement of hot reads and writes; 0 leaves them out.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Measures only the calls that a person waits for.
    #[arg(long)]
    calls_only: bool,
    /// A program that runs the services of another build, by `service NAME serve`: for before and after.
    #[arg(long)]
    services: Option<PathBuf>,
    /// Used by itself: a service of the suite.
    #[command(subcommand)]
    command: Option<Command>,
}

/// Used by itself.
#[derive(Subcommand)]
enum Command {
    /// Runs a service.
    Service {
        /// Which.
        name: String,
        /// What of it.
        #[command(subcommand)]
        command: Box<chassis::Command>,
    },
}

/// Everything that is measured on.
struct Bench {
    /// The four services, as processes.
    suite: Suite,
    /// The database they share, as its owner.
    db: PgPool,
    /// Clients that may do everything.
    operator: Clients,
    /// How many root accounts a run has.
    accounts: u32,
}

fn main() -> std::io::Result<()> {
    chassis::wait_for(act(Options::parse()))
}

/// Does what the command line asks.
async fn act(options: Options) {
    if let Some(Command::Service { name, command }) = options.command {
        perdiem::service(&name, *command).await.unwrap();
        return;
    }
    let folder = tempfile::Builder::new()
        .prefix("perdiem-bench-")
        .tempdir()
        .unwrap();
    let cluster = Cluster::open(&folder.path().join("pg"), Durability::Kept).unwrap();
    let program = options.services.clone();
    let program = program.unwrap_or_else(|| std::env::current_exe().unwrap());
    let place = (folder.path().to_owned(), program);
    let mut bench = Bench::start(&cluster, place, options.accounts).await;
    println!(
        "PostgreSQL with fsync on, {} accounts, two lines each",
        options.accounts
    );
    bench.seed().await;
    if !options.calls_only {
        bench.runs(options.rounds).await;
        if 0 < options.events {
            bench.ingestion(options.events).await;
        }
        if 0 < options.seconds {
            bench.hot(Duration::from_secs(options.seconds)).await;
        }
    }
    let postgres = u32::try_from(cluster.pid().unwrap()).unwrap();
    Calls::new(&bench, postgres).await.print().await;
    bench.replicate().await;
    let calls = Calls::new(&bench, postgres).await;
    calls
        .print_idle("suite of two replicas of each service")
        .await;
    bench.suite.stop().await;
    cluster.stop();
}

/// How many a second, whole.
fn per_second(count: u64, took: Duration) -> u128 {
    u128::from(count) * 1_000_000 / took.as_micros().max(1)
}

/// `a ÷ b` with two decimals.
fn ratio(a: u128, b: u128) -> String {
    let hundredths = a * 100 / b.max(1);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// The middle one; of an even number, the later.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

impl Bench {
    /// The four services with the sample catalogue, on an empty database.
    async fn start(
        cluster: &Cluster,
        (folder, program): (PathBuf, PathBuf),
        accounts: u32,
    ) -> Self {
        let database = Database::of(cluster, "bench");
        database.prepare().await.unwrap();
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let urls = Urls {
            plan_url: url(7401),
            billing_url: url(7402),
            account_url: url(7403),
            payments_url: url(7404),
            clock_urls: (7411..=7414).map(url).collect(),
        };
        // No other run than those that are measured.
        let shipped = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/catalogue.yaml");
        let text = std::fs::read_to_string(shipped).unwrap();
        let by_hand = text.replace("run_schedule: AUTOMATIC", "run_schedule: MANUAL");
        let catalogue = folder.join("catalogue.yaml");
        std::fs::write(&catalogue, by_hand).unwrap();
        let settings = Settings {
            program,
            folder,
            urls: urls.clone(),
            test_clock: false,
            metrics: false,
            environment: vec![("DATABASE_CONNECTIONS".to_owned(), "20".to_owned())],
        };
        let db = PgPool::connect(&database.url("postgres")).await.unwrap();
        let suite = Suite::start(settings, database).await.unwrap();
        let operator = Clients::new(&urls, &suite.keys.any_operator().unwrap()).unwrap();
        perdiem::catalogue::import(&operator, &catalogue, true)
            .await
            .unwrap();
        Self {
            suite,
            db,
            operator,
            accounts,
        }
    }

    /// Starts another replica of each service, which nobody calls.
    async fn replicate(&mut self) {
        for ((name, ..), port) in SERVICES.iter().zip(7421..) {
            let listen = ("LISTEN", format!("127.0.0.1:{port}"));
            self.suite.spawn(name, &[listen]).unwrap();
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    }

    /// Runs statements in which `$N` is the number of accounts.
    async fn sql(&self, text: &str) {
        let text = text.replace("$N", &self.accounts.to_string());
        sqlx::raw_sql(AssertSqlSafe(text))
            .execute(&self.db)
            .await
            .unwrap();
    }

    /// Accounts, segments, usage and credit, straight into the tables.
    async fn seed(&self) {
        let begun = Instant::now();
        self.sql("CREATE TABLE ids AS SELECT n, md5('a' || n)::uuid AS id FROM generate_series(1, $N) n ORDER BY 2").await;
        for text in [
            "INSERT INTO plan.accounts SELECT id, id, 'global', '2026-03-01' FROM ids",
            "INSERT INTO plan.segments SELECT id, 'SUPPORT', '2026-03-01', '2026-04-15 10:00+00', 'production', 'v1', id FROM ids",
            "INSERT INTO plan.segments SELECT id, 'SUPPORT', '2026-04-15 10:00+00', NULL, 'business', 'v1', id FROM ids",
            "INSERT INTO billing.accounts SELECT id, id, 'global', 'UTC', 'USD', false, '2026-03-01' FROM ids",
            "INSERT INTO billing.balances SELECT id, 'USD', 0 FROM ids",
            "INSERT INTO billing.usage_months SELECT '2026-04-01', id, 'sms', 0, (n % 60000) * 1000000::bigint, 1 FROM ids",
            "INSERT INTO billing.lots SELECT id, id, 3, 0, 10000000000000, 10000000000000, '2026-03-01' FROM ids",
            // Prepaid accounts whose usage is rated, each with credit.
            "CREATE TABLE indian AS SELECT gen_random_uuid() AS id FROM generate_series(1, 20000)",
            "INSERT INTO billing.accounts SELECT id, id, 'india', 'Asia/Kolkata', 'INR', false, '2026-03-01' FROM indian",
            "INSERT INTO billing.balances SELECT id, 'INR', 0 FROM indian",
            "INSERT INTO billing.lots SELECT id, id, 3, 0, 10000000000, 10000000000, '2026-03-01' FROM indian",
            "VACUUM ANALYZE",
        ] {
            self.sql(text).await;
        }
        println!("seeded in {:.1?}", begun.elapsed());
    }

    /// Puts everything as it was before the run.
    async fn reset(&self) {
        self.sql(
            "TRUNCATE billing.invoices, billing.invoice_lines, billing.ledger_entries, billing.runs, billing.run_shards,
                      billing.run_chunks, billing.number_blocks, billing.outbox, billing.usage_closings, billing.requests;
             UPDATE billing.lots SET remaining_micros = amount_micros WHERE remaining_micros <> amount_micros",
        )
        .await;
        self.sql("VACUUM ANALYZE billing.lots").await;
        self.sql("CHECKPOINT").await;
    }

    /// The billing run, beside raw COPY of all rows it writes and a loop shaped like the peers'.
    async fn runs(&self, rounds: usize) {
        let pid = self.suite.pid("billing").unwrap();
        let idle = resident(pid);
        let (mut runs, mut copies) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            self.reset().await;
            let begun = Instant::now();
            let made = perdiem::run::create(&self.operator, "SUPPORT", "2026-04", false)
                .await
                .unwrap();
            let run = perdiem::run::watch(&self.operator, &made.billing_run_id, true)
                .await
                .unwrap();
            let took = begun.elapsed();
            assert_eq!(run.invoice_count, i64::from(self.accounts));
            runs.push(took);
            let raw = self.raw_copy().await;
            copies.push(raw);
            println!(
                "round {}: run {took:.2?}, raw COPY of its rows {raw:.2?}",
                round + 1
            );
        }
        let (run, raw) = (median(runs), median(copies));
        let count = u64::from(self.accounts);
        let peer = self.peer_loop().await;
        println!(
            "billing run: {} accounts/s; raw COPY of all its rows: {} accounts/s",
            per_second(count, run),
            per_second(count, raw)
        );
        println!(
            "  run / raw COPY = {} (goal at most 1.25)",
            ratio(run.as_micros(), raw.as_micros())
        );
        println!(
            "  run / peer-shaped loop ({peer}/s) = {} x (goal at least 25)",
            ratio(per_second(count, run), peer)
        );
        println!(
            "  billing's memory: idle {idle} MiB, peak {} MiB (goal at most 64 MiB more)",
            peak(pid)
        );
    }

    /// The rows of the last run copied into equal tables with equal indexes, on one connection.
    async fn raw_copy(&self) -> Duration {
        let tables = ["invoices", "invoice_lines", "ledger_entries", "lots"];
        self.sql("DROP SCHEMA IF EXISTS raw CASCADE; CREATE SCHEMA raw")
            .await;
        let mut rows = Vec::new();
        for table in tables {
            self.sql(&format!(
                "CREATE TABLE raw.{table} (LIKE billing.{table} INCLUDING ALL)"
            ))
            .await;
            let mut db = self.db.acquire().await.unwrap();
            let mut out = db
                .copy_out_raw(&format!("COPY billing.{table} TO STDOUT (FORMAT binary)"))
                .await
                .unwrap();
            let mut bytes = Vec::new();
            while let Some(piece) = futures::StreamExt::next(&mut out).await {
                bytes.extend_from_slice(&piece.unwrap());
            }
            rows.push(bytes);
        }
        self.sql("CHECKPOINT").await;
        let mut db = self.db.acquire().await.unwrap();
        let begun = Instant::now();
        let mut tx = db.begin().await.unwrap();
        for (table, bytes) in tables.iter().zip(rows) {
            let mut copy = tx
                .copy_in_raw(&format!("COPY raw.{table} FROM STDIN (FORMAT binary)"))
                .await
                .unwrap();
            for piece in bytes.chunks(1 << 20) {
                copy.send(piece).await.unwrap();
            }
            copy.finish().await.unwrap();
        }
        tx.commit().await.unwrap();
        begun.elapsed()
    }

    /// One commit an account, one statement a row: accounts per second.
    async fn peer_loop(&self) -> u128 {
        const ACCOUNTS: u32 = 3_000;
        self.sql("TRUNCATE raw.invoices, raw.invoice_lines, raw.ledger_entries")
            .await;
        let ids: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM ids ORDER BY random() LIMIT 3000")
            .fetch_all(&self.db)
            .await
            .unwrap();
        let mut db: PgConnection = PgConnection::connect(&self.suite.database.url("postgres"))
            .await
            .unwrap();
        let begun = Instant::now();
        for (id, number) in ids.iter().zip(1_i64..) {
            let mut tx = db.begin().await.unwrap();
            for sql in [
                "SELECT segment.* FROM plan.segments segment WHERE root_id = $1",
                "SELECT usage.* FROM billing.usage_months usage WHERE billing_month = '2026-04-01' AND root_id = $1",
                "SELECT balance.* FROM billing.balances balance WHERE root_id = $1 FOR UPDATE",
            ] {
                sqlx::query(sql).bind(id).fetch_all(&mut *tx).await.unwrap();
            }
            sqlx::query("INSERT INTO raw.invoices VALUES ($1, 1, $2, $1, 'SUPPORT', '2026-04-01', '2026-05-01', NULL, 'USD', 100, 100, 2, now())").bind(id).bind(number).execute(&mut *tx).await.unwrap();
            for line in 1_i16..=2 {
                sqlx::query("INSERT INTO raw.invoice_lines VALUES ($1, $2, 1, NULL, '2026-04-01', '2026-04-15', 1, 50)").bind(id).bind(line).execute(&mut *tx).await.unwrap();
            }
            sqlx::query("INSERT INTO raw.ledger_entries VALUES ($1, now(), $1, 3, 6, 1000000, 'USD', 'INVOICE', $1, $1)").bind(id).execute(&mut *tx).await.unwrap();
            sqlx::query("UPDATE billing.lots SET remaining_micros = remaining_micros - 1 WHERE root_id = $1").bind(id).execute(&mut *tx).await.unwrap();
            tx.commit().await.unwrap();
        }
        per_second(u64::from(ACCOUNTS), begun.elapsed())
    }

    /// Usage through the client stream, two streams at once, beside raw COPY of the stored rows.
    async fn ingestion(&self, events: u32) {
        let (recorded, took) = self
            .ingest("bench", "SELECT id FROM ids LIMIT 20000", events)
            .await;
        self.sql("CREATE TABLE raw.usage_events (LIKE billing.usage_events INCLUDING ALL)")
            .await;
        let begun = Instant::now();
        self.sql("INSERT INTO raw.usage_events SELECT * FROM billing.usage_events WHERE source = 'bench'").await;
        let plain = begun.elapsed();
        println!(
            "usage ingestion: {} events/s, deduplicated and summed by day and month (goal at least 100000)",
            per_second(recorded, took)
        );
        println!(
            "  against INSERT … SELECT of the stored rows ({}/s): {}",
            per_second(recorded, plain),
            ratio(per_second(recorded, took), per_second(recorded, plain))
        );
        let (rated, rated_took) = self.ingest("rated", "SELECT id FROM indian", events).await;
        println!(
            "  rated and debited from 20000 balances: {} events/s, {} of the plain (goal at least 60000 events/s)",
            per_second(rated, rated_took),
            ratio(per_second(rated, rated_took), per_second(recorded, took))
        );
    }

    /// Sends usage of the accounts that a query gives in two streams; gives how much was recorded in how
    /// long. What the source "rated" sends has no price of its own.
    async fn ingest(&self, source: &str, accounts: &'static str, events: u32) -> (u64, Duration) {
        const BATCH: u32 = 5_000;
        let ids: Vec<Uuid> = sqlx::query_scalar(accounts)
            .fetch_all(&self.db)
            .await
            .unwrap();
        let now = timestamp(now());
        let price = (source != "rated").then(|| Amount {
            currency_code: "USD".to_owned(),
            amount: "0.0075".to_owned(),
        });
        let event = |n: u32| billing::UsageEvent {
            event_id: format!("bench-{n}"),
            account_id: AccountId::from_uuid(ids[usize::try_from(n).unwrap() % ids.len()])
                .to_string(),
            category: "sms-outbound".to_owned(),
            usage_time: Some(now),
            quantity: "1".to_owned(),
            price: price.clone(),
            message_text: None,
        };
        let halves: Vec<Vec<billing::StreamUsageRequest>> = (0..2)
            .map(|half| {
                let own = (0..events / BATCH).filter(|batch| batch % 2 == half);
                own.map(|batch| billing::StreamUsageRequest {
                    source: source.to_owned(),
                    events: (batch * BATCH..(batch + 1) * BATCH).map(event).collect(),
                })
                .collect()
            })
            .collect();
        let begun = Instant::now();
        let sent = join_all(halves.into_iter().map(async |batches| {
            self.operator
                .billing
                .clone()
                .stream_usage(futures::stream::iter(batches))
                .await
                .unwrap()
                .into_inner()
                .recorded_count
        }));
        let recorded: i64 = sent.await.into_iter().sum();
        (u64::try_from(recorded).unwrap(), begun.elapsed())
    }

    /// Hot reads and writes at 1, 16 and 64 in flight, beside the same statement sent directly.
    async fn hot(&self, length: Duration) {
        let ids: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM ids LIMIT 5000")
            .fetch_all(&self.db)
            .await
            .unwrap();
        let ids = &ids;
        let now = timestamp(now());
        for in_flight in [1_usize, 16, 64] {
            let read = load(in_flight, length, |n| {
                let mut client = self.operator.plan.clone();
                let account_id = AccountId::from_uuid(ids[n % ids.len()]).to_string();
                async move {
                    let request = plan::GetEffectivePlanRequest {
                        account_id,
                        family_code: "SUPPORT".to_owned(),
                        effective_time: Some(now),
                    };
                    client.get_effective_plan(request).await.unwrap();
                }
            })
            .await;
            let direct = PgPool::connect_with(self.db.connect_options().as_ref().clone())
                .await
                .unwrap();
            let sql = load(in_flight, length, |n| {
                let (db, id) = (direct.clone(), ids[n % ids.len()]);
                async move {
                    let sql = "SELECT * FROM plan.segments WHERE root_id = $1 AND family_code = 'SUPPORT' AND start_at <= now() ORDER BY start_at DESC LIMIT 1";
                    db.acquire().await.unwrap().fetch_one(sqlx::query(sql).bind(id)).await.unwrap();
                }
            })
            .await;
            let write = load(in_flight, length, |n| {
                let mut client = self.operator.billing.clone();
                let account_id = AccountId::from_uuid(ids[n % ids.len()]).to_string();
                async move {
                    let event = billing::UsageEvent {
                        event_id: Uuid::new_v4().to_string(),
                        account_id,
                        category: "sms".to_owned(),
                        usage_time: Some(now),
                        quantity: "1".to_owned(),
                        price: Some(Amount {
                            currency_code: "USD".to_owned(),
                            amount: "0.01".to_owned(),
                        }),
                        message_text: None,
                    };
                    client
                        .record_usage(billing::RecordUsageRequest {
                            source: "hot".to_owned(),
                            events: vec![event],
                        })
                        .await
                        .unwrap();
                }
            })
            .await;
            println!(
                "{in_flight} in flight: GetEffectivePlan {} ({} of the bare SELECT's {}), RecordUsage {write}",
                read,
                ratio(read.rate, sql.rate),
                sql.rate
            );
        }
    }
}

/// What a load came to.
struct Load {
    /// Calls a second.
    rate: u128,
    /// What half of the calls stayed below.
    p50: Duration,
    /// What 99 of 100 calls stayed below.
    p99: Duration,
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}/s p50 {:.2?} p99 {:.2?}",
            self.rate, self.p50, self.p99
        )
    }
}

/// Keeps `in_flight` calls under way for `length`.
async fn load<F: Future<Output = ()>>(
    in_flight: usize,
    length: Duration,
    call: impl Fn(usize) -> F,
) -> Load {
    let begun = Instant::now();
    let call = &call;
    let each = join_all((0..in_flight).map(async |lane| {
        let (mut times, mut n) = (Vec::new(), lane);
        while begun.elapsed() < length {
            let sent = Instant::now();
            call(n).await;
            times.push(sent.elapsed());
            n += in_flight;
        }
        times
    }));
    let mut times: Vec<Duration> = each.await.into_iter().flatten().collect();
    let rate = per_second(u64::try_from(times.len()).unwrap(), begun.elapsed());
    times.sort_unstable();
    Load {
        rate,
        p50: times[times.len() / 2],
        p99: times[times.len() * 99 / 100],
    }
}

/// The time of now.
#[expect(
    clippy::disallowed_methods,
    reason = "the services run by the machine's clock here"
)]
fn now() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now()
}

/// A figure of `/proc/PID/status`, in MiB.
fn memory(pid: u32, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}

/// Resident memory, in MiB.
fn resident(pid: u32) -> u64 {
    memory(pid, "VmRSS")
}

/// Resident memory at its highest, in MiB.
fn peak(pid: u32) -> u64 {
    memory(pid, "VmHWM")
}
