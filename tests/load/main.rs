//! A load on a suite of its own, on loopback: a mix of real calls at rates that grow until they can't be served, each call
//! at its own time; then four times as many. Prints figures of each method, and fails when a promise is broken.
//!
//! `cargo run --release -p tests --bin load -- --seconds 20`
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program for developers: it prints, and stops at what it did not expect"
)]

use std::process::ExitCode;
use std::time::Duration;

use chassis::OperatorRole;
use chrono::{DateTime, Utc};
use clap::{Parser, Subcommand};
use cluster::{Cluster, Durability};
use perdiem::connect::{Clients, request_id, timestamp};
use perdiem::suite::SERVICES;
use proto::account::v1 as account;
use proto::account::v1::create_order_request::Kind;
use proto::billing::v1 as billing;
use proto::payments::v1 as payments;
use proto::plan::v1 as plan;
use tests::open_loop::{self, DEADLINE, Outcome, Step};
use tests::victim::{How, Random, Victim, credit, dollars, opening, plan_change};
use tonic::{Code, Status};

/// Where the suite listens: the services from here on, ten further their clocks.
const FIRST_PORT: u16 = 7541;
/// Customers, and as many operators, each on connections of their own: one caller gets only a share.
const CALLERS: usize = 16;
/// Accounts of each customer.
const ACCOUNTS: usize = 4;
/// How long each of the calls of an order may take.
const ORDER_PART: Duration = Duration::from_secs(3);
/// How long each growing rate is tried at most.
const STEP_MOST: Duration = Duration::from_secs(5);
/// How much memory a service may keep after the overload.
const MEMORY_MIB: u64 = 64;

/// The command line.
#[derive(Parser)]
struct Options {
    /// The seed of everything that looks random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// About how long it takes: a tenth for each rate, a quarter for the overload.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only these rates, in calls a second, instead of growing ones and an overload.
    #[arg(long, value_delimiter = ',')]
    rates: Vec<u32>,
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

/// What is called, and how many of a hundred calls are so.
const MIX: [(Call, &str, usize); 6] = [
    (Call::Balance, "GetBalance", 30),
    (Call::Plan, "GetEffectivePlan", 15),
    (Call::Account, "GetAccount", 15),
    (Call::Usage, "RecordUsage", 34),
    (Call::TopUp, "a top-up", 3),
    (Call::PlanChange, "a plan change", 3),
];

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    /// A read of `billing`.
    Balance,
    /// A read of `plan`.
    Plan,
    /// A read of `account-lifecycle`.
    Account,
    /// A usage event.
    Usage,
    /// An order of credit, from quote to commit.
    TopUp,
    /// An order of another plan, from quote to commit.
    PlanChange,
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
    let folder = tempfile::Builder::new()
        .prefix("perdiem-load-")
        .tempdir()
        .unwrap();
    let cluster = Cluster::open(&folder.path().join("pg"), Durability::Kept).unwrap();
    let how = How {
        first_port: FIRST_PORT,
        ..How::default()
    };
    let victim = Victim::start(&cluster, folder.path().to_owned(), how).await;
    println!("seed {}, PostgreSQL with fsync on", options.seed);
    let callers = Callers::new(&victim, options.seed).await;
    let time = Duration::from_secs(options.seconds);
    let step_time = (time / 10).clamp(Duration::from_secs(1), STEP_MOST);
    let mut broken = if options.rates.is_empty() {
        callers.grown(&victim, step_time, time / 4).await
    } else {
        callers.at_rates(&options.rates, step_time).await
    };
    broken.extend(differences(&victim).await);
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

/// Where the ledger does not agree with itself afterwards.
async fn differences(victim: &Victim) -> Vec<String> {
    let mut client = victim.operator.billing.clone();
    let request = billing::ReconcileRequest::default();
    let answer = client.reconcile(request).await.unwrap();
    answer.into_inner().differences
}

/// Who calls, and about what.
struct Callers {
    /// The seed of everything that looks random.
    seed: u64,
    /// When usage was.
    now: DateTime<Utc>,
    /// Operators with every role.
    operators: Vec<Clients>,
    /// Who orders.
    customers: Vec<Customer>,
}

/// A customer and their accounts.
struct Customer {
    /// Their clients.
    clients: Clients,
    /// The ids of their accounts.
    accounts: Vec<String>,
}

impl Callers {
    /// Customers with accounts that have a card, and operators.
    async fn new(victim: &Victim, seed: u64) -> Self {
        let keys = &victim.suite.keys;
        let clients = |token: String| Clients::new(&victim.urls, &token).unwrap();
        let operators = (0..CALLERS)
            .map(|number| {
                let name = format!("operator-{number}");
                clients(keys.operator(&name, OperatorRole::ALL).unwrap())
            })
            .collect();
        let mut customers = Vec::new();
        for number in 0..CALLERS {
            let owner = victim.user(&format!("customer-{number}")).await;
            let mut accounts = Vec::new();
            for _ in 0..ACCOUNTS {
                accounts.push(with_card(victim, &owner).await);
            }
            customers.push(Customer {
                clients: clients(keys.person(&owner).unwrap()),
                accounts,
            });
        }
        Self {
            seed,
            now: victim.now,
            operators,
            customers,
        }
    }

    /// Grows the rate until the calls can't be served, then calls four times as often; gives the broken promises.
    async fn grown(&self, victim: &Victim, step_time: Duration, time: Duration) -> Vec<String> {
        let call = |number: u32| self.call(number);
        let (knee, steps, mut broken) = open_loop::knee(step_time, call).await;
        if let Some(best) = steps.iter().max_by_key(|it| it.goodput()) {
            println!("{knee} calls a second can be served:");
            self.print(best);
        }
        if knee == 0 {
            return broken;
        }
        let memory = |(name, ..): (&'static str, _, _)| (name, victim.memory_mib(name));
        let before = SERVICES.map(memory);
        let (over, faults) = open_loop::overload(knee, time, call).await;
        broken.extend(faults);
        self.print(&over);
        for ((name, before), (_, after)) in before.into_iter().zip(SERVICES.map(memory)) {
            println!("memory of {name}: {before} MiB before the overload, {after} after");
            if before + MEMORY_MIB < after {
                broken.push(format!("{name}: memory grew from {before} to {after} MiB"));
            }
        }
        broken
    }

    /// Calls at each of the rates; gives the faults.
    async fn at_rates(&self, rates: &[u32], step_time: Duration) -> Vec<String> {
        let mut broken = Vec::new();
        for rate in rates {
            let call = |number: u32| self.call(number);
            let step = open_loop::step("given", (*rate).max(1), step_time, call).await;
            self.print(&step);
            let faults = step.count(Outcome::Fault);
            if faults != 0 {
                broken.push(format!("at {rate} calls a second, {faults} were faults"));
            }
        }
        broken
    }

    /// What the call of a number is: the same for the same seed.
    fn kind(&self, number: u32) -> Call {
        let mut place = Random(self.seed ^ (u64::from(number) << 20)).below(100);
        for (call, _, share) in MIX {
            if place < share {
                return call;
            }
            place -= share;
        }
        Call::Balance
    }

    /// A line for each kind of call: offered and served a second, and times from when a call was due.
    fn print(&self, step: &Step) {
        println!(
            "  {:<18} {:>8} {:>8} {:>9} {:>9} {:>9} {:>8} {:>6}",
            "", "offered", "served", "p50", "p99", "p99.9", "refused", "late"
        );
        for (call, name, _) in MIX {
            let mine = |it: &&open_loop::Answer| self.kind(it.number) == call;
            let all: Vec<_> = step.answers.iter().filter(mine).collect();
            let count = |of: Outcome| all.iter().filter(|it| it.outcome == of).count();
            let served = all.iter().filter(|it| it.outcome == Outcome::Served);
            let mut times: Vec<Duration> = served.map(|it| it.after).collect();
            times.sort_unstable();
            let per_mille = |part: usize| {
                let place = (times.len() * part).div_ceil(1_000).saturating_sub(1);
                let time = times.get(place).copied().unwrap_or_default();
                format!("{}.{} ms", time.as_millis(), time.as_micros() / 100 % 10)
            };
            println!(
                "  {name:<18} {:>8} {:>8} {:>9} {:>9} {:>9} {:>8} {:>6}",
                all.len(),
                times.len(),
                per_mille(500),
                per_mille(990),
                per_mille(999),
                count(Outcome::Refused),
                count(Outcome::Late)
            );
        }
    }

    /// One call.
    async fn call(&self, number: u32) -> Result<(), Status> {
        let mut random = Random(self.seed.rotate_left(32) ^ u64::from(number));
        let operator = &self.operators[random.below(CALLERS)];
        let customer = &self.customers[random.below(CALLERS)];
        let account_id = customer.accounts[random.below(ACCOUNTS)].clone();
        let answer = match self.kind(number) {
            Call::Balance => {
                let request = billing::GetBalanceRequest {
                    account_id,
                    ..billing::GetBalanceRequest::default()
                };
                let mut client = operator.billing.clone();
                client.get_balance(timed(request, DEADLINE)).await.map(drop)
            }
            Call::Plan => {
                let request = plan::GetEffectivePlanRequest {
                    account_id,
                    family_code: "SUPPORT".to_owned(),
                    ..plan::GetEffectivePlanRequest::default()
                };
                let request = timed(request, DEADLINE);
                let mut client = operator.plan.clone();
                client.get_effective_plan(request).await.map(drop)
            }
            Call::Account => {
                let request = account::GetAccountRequest {
                    account_id,
                    ..account::GetAccountRequest::default()
                };
                let mut client = customer.clients.account.clone();
                client.get_account(timed(request, DEADLINE)).await.map(drop)
            }
            Call::Usage => {
                let event = billing::UsageEvent {
                    event_id: request_id(),
                    account_id,
                    category: "sms".to_owned(),
                    usage_time: Some(timestamp(self.now)),
                    quantity: "1".to_owned(),
                    price: Some(dollars("0.01")),
                    ..billing::UsageEvent::default()
                };
                let request = billing::RecordUsageRequest {
                    source: "load".to_owned(),
                    events: vec![event],
                };
                let mut client = operator.billing.clone();
                client
                    .record_usage(timed(request, DEADLINE))
                    .await
                    .map(drop)
            }
            Call::TopUp => ordered(&customer.clients, account_id, credit("10.00")).await,
            Call::PlanChange => {
                let code = ["developer", "production", "business"][random.below(3)];
                ordered(&customer.clients, account_id, plan_change(code)).await
            }
        };
        // Two orders of one account at once, or the plan that it has: an answer like any other.
        answer.or_else(|status| {
            if matches!(status.code(), Code::FailedPrecondition | Code::Aborted) {
                Ok(())
            } else {
                Err(status)
            }
        })
    }
}

/// A new account of a user, with a card that is good.
async fn with_card(victim: &Victim, owner: &str) -> String {
    let mut client = victim.operator.account.clone();
    let made = client.create_account(opening(owner)).await.unwrap();
    let account_id = made.into_inner().account.unwrap().account_id;
    let card = payments::AddPaymentMethodRequest {
        account_id: account_id.clone(),
        method_code: "CARD".to_owned(),
        provider_token: "tok_ok".to_owned(),
        default_method: true,
        request_id: request_id(),
        ..payments::AddPaymentMethodRequest::default()
    };
    let mut client = victim.operator.payments.clone();
    client.add_payment_method(card).await.unwrap();
    account_id
}

/// An order from quote to commit, as its customer makes it.
async fn ordered(who: &Clients, account_id: String, kind: Kind) -> Result<(), Status> {
    let mut client = who.account.clone();
    let request = account::CreateOrderRequest {
        account_id,
        kind: Some(kind),
        request_id: request_id(),
    };
    let quoted = client.create_order(timed(request, ORDER_PART)).await?;
    let order = quoted.into_inner().order.unwrap();
    for _ in 0..order.confirmations_required {
        let request = account::ConfirmOrderRequest {
            order_id: order.order_id.clone(),
            request_id: request_id(),
        };
        client.confirm_order(timed(request, ORDER_PART)).await?;
    }
    let request = account::CommitOrderRequest {
        order_id: order.order_id,
        request_id: request_id(),
    };
    let request = timed(request, ORDER_PART);
    client.commit_order(request).await.map(drop)
}

/// A request with a deadline.
fn timed<T>(message: T, deadline: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(deadline);
    request
}
