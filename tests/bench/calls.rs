//! What a person waits for: each method at one call and at eight calls in flight, with its statements and transactions
//! as the database logs them, and with the processor time of the services and of `PostgreSQL`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::future::join_all;
use perdiem::connect::{Clients, request_id};
use proto::account::v1 as account;
use proto::billing::v1 as billing;
use proto::payments::v1 as payments;
use proto::plan::v1 as plan;
use proto::r#type::v1::{Amount, Money};
use sqlx::{AssertSqlSafe, Executor as _};

use crate::{Bench, Load, per_second};

/// Calls of a method one after another.
const ALONE: usize = 100;
/// Calls of it with [`AT_ONCE`] in flight.
const TOGETHER: usize = 400;
/// Calls in flight.
const AT_ONCE: usize = 8;
/// Calls of it, one after another, whose statements are counted.
const COUNTED: usize = 20;
/// Accounts, each for one call of each method.
const ALL: usize = ALONE + TOGETHER + COUNTED;
/// How long the idle suite is looked at.
const IDLE: Duration = Duration::from_secs(10);
/// What is left to do of a call when it has been answered is done after this.
const SETTLED: Duration = Duration::from_millis(300);
/// Of the processor time that the system tells: ticks a second.
const TICKS: u64 = 100;

/// A suite whose calls are measured.
pub struct Calls<'a> {
    bench: &'a Bench,
    /// The process id of the database server.
    postgres: u32,
    /// The database's log.
    log: PathBuf,
    /// Who owns the accounts.
    customer: Clients,
    owner: String,
    /// The service that may buy for customers.
    seller: Clients,
}

impl<'a> Calls<'a> {
    /// Makes the owner of what follows.
    pub async fn new(bench: &'a Bench, postgres: u32) -> Self {
        let request = account::CreateUserRequest {
            email: format!("{}@example.com", request_id()),
            display_name: "Bench".to_owned(),
            request_id: request_id(),
        };
        let made = bench.operator.account.clone().create_user(request).await;
        let owner = made.unwrap().into_inner().user.unwrap().user_id;
        let (urls, keys) = (&bench.suite.settings.urls, &bench.suite.keys);
        sqlx::raw_sql("ALTER SYSTEM SET log_line_prefix = 'db=%d %v '")
            .execute(&bench.db)
            .await
            .unwrap();
        Self {
            bench,
            postgres,
            log: bench.suite.database.socket_folder.join("log"),
            customer: Clients::new(urls, &keys.person(&owner).unwrap()).unwrap(),
            owner,
            seller: Clients::new(urls, &keys.service("account-lifecycle").unwrap()).unwrap(),
        }
    }

    /// Prints a line for each method.
    #[expect(clippy::too_many_lines, reason = "a line for each method")]
    pub async fn print(&self) {
        self.print_idle("suite").await;
        let db = &self.bench.db;
        self.bench
            .sql("DROP TABLE IF EXISTS measure; CREATE TABLE measure (id uuid PRIMARY KEY, n bigint NOT NULL)")
            .await;
        println!("method: at 1 in flight, at {AT_ONCE} in flight; what one call costs");
        self.measure("(bare INSERT)", async |n| {
            let sql = "INSERT INTO measure VALUES (gen_random_uuid(), $1)";
            let n = i64::try_from(n).unwrap();
            db.execute(sqlx::query(sql).bind(n)).await.unwrap();
        })
        .await;
        self.measure("(bare SELECT)", async |_| {
            let sql = "SELECT * FROM plan.accounts ORDER BY account_id LIMIT 1";
            db.fetch_one(sql).await.unwrap();
        })
        .await;

        let (global, india) = (ids(), ids());
        self.measure("CreateAccount", async |n| {
            let id = self.create_account("global").await;
            global.borrow_mut()[n] = id;
        })
        .await;
        self.measure("GrantCredit", async |n| {
            let id = global.borrow()[n].clone();
            self.grant(&id).await;
        })
        .await;
        self.measure("GetAccount", async |n| {
            let request = account::GetAccountRequest {
                account_id: global.borrow()[n].clone(),
                ..account::GetAccountRequest::default()
            };
            let got = self.customer.account.clone().get_account(request).await;
            got.unwrap();
        })
        .await;
        self.measure("GetBalance", async |n| {
            let request = billing::GetBalanceRequest {
                account_id: global.borrow()[n].clone(),
                read_time: None,
            };
            let got = self
                .bench
                .operator
                .billing
                .clone()
                .get_balance(request)
                .await;
            got.unwrap();
        })
        .await;
        self.measure("GetCurrentPlan", async |n| {
            let request = account::GetCurrentPlanRequest {
                account_id: global.borrow()[n].clone(),
                family_code: "SUPPORT".to_owned(),
            };
            let mut client = self.customer.account.clone();
            client.get_current_plan(request).await.unwrap();
        })
        .await;
        self.measure("ListInvoices", async |n| {
            let request = billing::ListInvoicesRequest {
                account_id: global.borrow()[n].clone(),
                ..billing::ListInvoicesRequest::default()
            };
            let mut client = self.bench.operator.billing.clone();
            client.list_invoices(request).await.unwrap();
        })
        .await;
        self.measure("CheckEntitlement", async |n| {
            let request = plan::CheckEntitlementRequest {
                account_id: global.borrow()[n].clone(),
                feature_code: "phone_numbers".to_owned(),
                ..plan::CheckEntitlementRequest::default()
            };
            let mut client = self.bench.operator.plan.clone();
            client.check_entitlement(request).await.unwrap();
        })
        .await;
        self.measure("Authorize", async |n| {
            let request = account::AuthorizeRequest {
                account_id: global.borrow()[n].clone(),
                capability: account::authorize_request::Capability::Api.into(),
                ..account::AuthorizeRequest::default()
            };
            let mut client = self.bench.operator.account.clone();
            client.authorize(request).await.unwrap();
        })
        .await;

        let orders = RefCell::new(vec![account::Order::default(); ALL]);
        self.measure("CreateOrder", async |n| {
            let id = global.borrow()[n].clone();
            let order = self.quote(&id, change("business")).await;
            orders.borrow_mut()[n] = order;
        })
        .await;
        self.measure("ConfirmOrder", async |n| {
            let order = orders.borrow()[n].clone();
            self.confirm(&order).await;
        })
        .await;
        let confirmed = orders.borrow().clone();
        for order in &confirmed {
            for _ in 1..order.confirmations_required {
                self.confirm(order).await;
            }
        }
        self.measure("CommitOrder", async |n| {
            let order = orders.borrow()[n].clone();
            self.commit(&order).await;
        })
        .await;
        self.measure("a whole change of plan", async |n| {
            let id = global.borrow()[n].clone();
            self.ordered(&id, change("developer")).await;
        })
        .await;
        self.measure("an opening: CreateAccount, GrantCredit", async |_| {
            let id = self.create_account("global").await;
            self.grant(&id).await;
        })
        .await;

        let lanes = (0..AT_ONCE).map(async |lane| {
            for n in (lane..ALL).step_by(AT_ONCE) {
                let id = self.create_account("india").await;
                self.ready_to_buy(&id).await;
                india.borrow_mut()[n] = id;
            }
        });
        join_all(lanes).await;
        self.measure("a whole purchase of credit by card", async |n| {
            let id = india.borrow()[n].clone();
            let purchase = account::CreditPurchase {
                amount: Some(Money {
                    currency_code: "INR".to_owned(),
                    amount: "1000.00".to_owned(),
                }),
                payment_method_id: String::new(),
            };
            let kind = account::create_order_request::Kind::CreditPurchase(purchase);
            self.ordered(&id, kind).await;
        })
        .await;
        self.measure("CloseAccount", async |n| {
            let way = account::closing::Option::DeleteAllDataAndSettings;
            let request = account::CloseAccountRequest {
                account_id: global.borrow()[n].clone(),
                option: way.into(),
                acknowledgement_codes: Vec::new(),
                request_id: request_id(),
            };
            let closed = self.customer.account.clone().close_account(request).await;
            closed.unwrap();
        })
        .await;
    }

    /// Prints what the suite does while nobody calls.
    pub async fn print_idle(&self, which: &str) {
        let (statements, transactions, services, postgres) = self.idle().await;
        println!(
            "idle {which}: {transactions} transactions and {statements} statements in {IDLE:?}; processor time {services:?} \
             of the services, {postgres:?} of PostgreSQL"
        );
    }

    async fn idle(&self) -> (usize, usize, Duration, Duration) {
        tokio::time::sleep(Duration::from_secs(5)).await;
        self.logging(true).await;
        let (from, before) = (self.end(), self.processor_time());
        tokio::time::sleep(IDLE).await;
        let after = self.processor_time();
        let (statements, transactions) = self.since(from);
        self.logging(false).await;
        (
            statements,
            transactions,
            after.0.saturating_sub(before.0),
            after.1.saturating_sub(before.1),
        )
    }

    async fn measure(&self, name: &str, call: impl AsyncFn(usize)) {
        let before = self.processor_time();
        let alone = timed(0..ALONE, 1, &call).await;
        let together = timed(ALONE..ALONE + TOGETHER, AT_ONCE, &call).await;
        tokio::time::sleep(SETTLED).await;
        let after = self.processor_time();
        let calls = u32::try_from(ALONE + TOGETHER).unwrap();
        let services = after.0.saturating_sub(before.0) / calls;
        let postgres = after.1.saturating_sub(before.1) / calls;

        self.logging(true).await;
        let mut costs = Vec::new();
        for n in ALONE + TOGETHER..ALL {
            let from = self.end();
            call(n).await;
            costs.push(self.since(from));
        }
        self.logging(false).await;
        costs.sort_unstable();
        let (statements, transactions) = costs[COUNTED / 2];
        println!(
            "{name}: {alone}; {together}; {statements} statements, {transactions} transactions, processor time \
             {services:.2?} of the services, {postgres:.2?} of PostgreSQL"
        );
    }

    /// Has the database log each statement, or not.
    async fn logging(&self, on: bool) {
        let to = if on { "all" } else { "none" };
        let set = format!("ALTER SYSTEM SET log_statement = '{to}'");
        for sql in [set.as_str(), "SELECT pg_reload_conf()"] {
            self.bench.db.execute(AssertSqlSafe(sql)).await.unwrap();
        }
        // Sessions take it in with their next command.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    fn end(&self) -> usize {
        usize::try_from(std::fs::metadata(&self.log).unwrap().len()).unwrap()
    }

    /// How many statements and transactions there were since `from`, a place in the log.
    fn since(&self, from: usize) -> (usize, usize) {
        let log = std::fs::read(&self.log).unwrap();
        let text = String::from_utf8_lossy(&log[from..]);
        let mark = format!("db={} ", self.bench.suite.database.name);
        let (mut statements, mut transactions) = (0, BTreeSet::new());
        for rest in text.lines().filter_map(|line| line.strip_prefix(&mark)) {
            let Some((transaction, said)) = rest.split_once(' ') else {
                continue;
            };
            let sent = match said.strip_prefix("LOG:  statement: ") {
                Some(simple) => simple.split(';').filter(|it| !it.trim().is_empty()).count(),
                None => usize::from(said.starts_with("LOG:  execute ")),
            };
            if 0 < sent {
                statements += sent;
                transactions.insert(transaction.to_owned());
            }
        }
        (statements, transactions.len())
    }

    /// Of all services, and of the database server with its processes.
    fn processor_time(&self) -> (Duration, Duration) {
        let services = self.bench.suite.pids().into_iter();
        let services = services.map(|pid| ticks(pid, false)).sum();
        let children = children(self.postgres);
        let postgres = children.into_iter().map(|pid| ticks(pid, false));
        let postgres = postgres.sum::<u64>() + ticks(self.postgres, true);
        let time = |ticks: u64| Duration::from_millis(ticks * 1_000 / TICKS);
        (time(services), time(postgres))
    }

    async fn create_account(&self, profile: &str) -> String {
        let request = account::CreateAccountRequest {
            profile_code: profile.to_owned(),
            display_name: "An account".to_owned(),
            owner_user_id: self.owner.clone(),
            billing_mode: account::account::BillingMode::Prepaid.into(),
            r#type: account::account::Type::Full.into(),
            request_id: request_id(),
            ..account::CreateAccountRequest::default()
        };
        let mut client = self.bench.operator.account.clone();
        let made = client.create_account(request).await.unwrap().into_inner();
        made.account.unwrap().account_id
    }

    async fn grant(&self, id: &str) {
        let request = billing::GrantCreditRequest {
            account_id: id.to_owned(),
            kind: billing::lot::Kind::Promo.into(),
            amount: Some(Amount {
                currency_code: "USD".to_owned(),
                amount: "10".to_owned(),
            }),
            reason: "a benchmark".to_owned(),
            request_id: request_id(),
            ..billing::GrantCreditRequest::default()
        };
        let mut client = self.bench.operator.billing.clone();
        client.grant_credit(request).await.unwrap();
    }

    /// Gives an account an address and a card.
    async fn ready_to_buy(&self, id: &str) {
        let details = account::UpdateBillingDetailsRequest {
            account_id: id.to_owned(),
            billing_details: Some(account::BillingDetails {
                recipient_name: "A customer".to_owned(),
                country_code: "IN".to_owned(),
                state_code: "KA".to_owned(),
                ..account::BillingDetails::default()
            }),
            country_reason: "a benchmark".to_owned(),
            request_id: request_id(),
            ..account::UpdateBillingDetailsRequest::default()
        };
        let mut client = self.bench.operator.account.clone();
        client.update_billing_details(details).await.unwrap();
        let card = payments::AddPaymentMethodRequest {
            account_id: id.to_owned(),
            method_code: "CARD".to_owned(),
            provider_token: "tok_ok_visa".to_owned(),
            default_method: true,
            request_id: request_id(),
            ..payments::AddPaymentMethodRequest::default()
        };
        let mut client = self.seller.payments.clone();
        client.add_payment_method(card).await.unwrap();
    }

    async fn quote(&self, id: &str, kind: account::create_order_request::Kind) -> account::Order {
        let request = account::CreateOrderRequest {
            account_id: id.to_owned(),
            kind: Some(kind),
            request_id: request_id(),
        };
        let mut client = self.customer.account.clone();
        let made = client.create_order(request).await.unwrap().into_inner();
        made.order.unwrap()
    }

    async fn confirm(&self, order: &account::Order) {
        let request = account::ConfirmOrderRequest {
            order_id: order.order_id.clone(),
            request_id: request_id(),
        };
        let mut client = self.customer.account.clone();
        client.confirm_order(request).await.unwrap();
    }

    async fn commit(&self, order: &account::Order) {
        let request = account::CommitOrderRequest {
            order_id: order.order_id.clone(),
            request_id: request_id(),
        };
        let mut client = self.customer.account.clone();
        let done = client.commit_order(request).await.unwrap().into_inner();
        assert_eq!(
            done.order.unwrap().state(),
            account::order::State::Completed
        );
    }

    async fn ordered(&self, id: &str, kind: account::create_order_request::Kind) {
        let order = self.quote(id, kind).await;
        for _ in 0..order.confirmations_required {
            self.confirm(&order).await;
        }
        self.commit(&order).await;
    }
}

fn change(to: &str) -> account::create_order_request::Kind {
    account::create_order_request::Kind::PlanChange(account::PlanChange {
        family_code: "SUPPORT".to_owned(),
        plan_code: to.to_owned(),
        ..account::PlanChange::default()
    })
}

/// Room for the ids of the accounts.
fn ids() -> RefCell<Vec<String>> {
    RefCell::new(vec![String::new(); ALL])
}

/// Calls for each of `these`, with so many in flight.
async fn timed(
    these: std::ops::Range<usize>,
    in_flight: usize,
    call: &impl AsyncFn(usize),
) -> Load {
    let begun = Instant::now();
    let lanes = (0..in_flight).map(async |lane| {
        let mut times = Vec::new();
        for n in these.clone().skip(lane).step_by(in_flight) {
            let sent = Instant::now();
            call(n).await;
            times.push(sent.elapsed());
        }
        times
    });
    let mut times: Vec<Duration> = join_all(lanes).await.into_iter().flatten().collect();
    let rate = per_second(u64::try_from(times.len()).unwrap(), begun.elapsed());
    times.sort_unstable();
    Load {
        rate,
        p50: times[times.len() / 2],
        p99: times[times.len() * 99 / 100],
    }
}

/// The fields of `/proc/PID/stat` after the program's name.
fn stat(pid: u32) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = text
        .rsplit_once(')')
        .map(|(_, rest)| rest)
        .unwrap_or_default();
    rest.split_whitespace().map(str::to_owned).collect()
}

/// Processor time of a process, and of its ended children if asked for.
fn ticks(pid: u32, with_ended: bool) -> u64 {
    let fields = stat(pid);
    let field = |at: usize| {
        fields
            .get(at)
            .and_then(|it| it.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let own = field(11) + field(12);
    if with_ended {
        own + field(13) + field(14)
    } else {
        own
    }
}

/// The processes that a process has started.
fn children(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        stat(*pid)
            .get(1)
            .is_some_and(|it| *it == parent.to_string())
    })
    .collect()
}
