//! A suite for a test: four service processes, a database cloned from a migrated template, clocks
//! that stand.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use cluster::{Cluster, Durability};
use perdiem::connect::{Clients, Urls, request_id, timestamp};
use perdiem::suite::{Database, Settings, Suite};
use perdiem::{catalogue, clock, demo};
use proto::account::v1 as account;
use proto::billing::v1 as billing;
use proto::plan::v1 as plan;
use proto::r#type::v1::Amount;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// How long a test waits for what is to come at once: minutes, since a machine may be busy. What takes longer has failed.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// The answer to a call that is sent again, as it is, where it is told to be, with patience: another holds what it needs, or
/// the machine is busy.
pub async fn persisting<T, F: Future<Output = Result<T, Status>>>(
    call: impl Fn() -> F,
) -> Result<T, Status> {
    const AGAIN: [Code; 4] = [
        Code::Aborted,
        Code::Unavailable,
        Code::ResourceExhausted,
        Code::DeadlineExceeded,
    ];
    let begun = std::time::Instant::now();
    loop {
        match call().await {
            Err(status) if AGAIN.contains(&status.code()) && begun.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            answer => return answer,
        }
    }
}

static CLUSTER: OnceCell<(Cluster, PathBuf)> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The cluster of this test binary. It stops, and its folder goes, when the binary has ended,
/// however it ended.
pub async fn cluster() -> &'static (Cluster, PathBuf) {
    CLUSTER
        .get_or_init(|| async {
            let folder = tempfile::Builder::new().prefix("perdiem-tests-").tempdir().unwrap().keep();
            let cluster = Cluster::open(&folder.join("pg"), Durability::ThrownAway).unwrap();
            let script = "while kill -0 $0 2>/dev/null; do sleep 1; done
                          kill -INT $1; for second in $(seq 60); do kill -0 $1 2>/dev/null || break; sleep 1; done
                          rm -rf \"$2\"";
            Command::new("sh")
                .args(["-c", script])
                .arg(std::process::id().to_string())
                .arg(cluster.pid().unwrap().to_string())
                .arg(&folder)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            Database::of(&cluster, "template").prepare().await.unwrap();
            (cluster, folder)
        })
        .await
}

/// A suite, its database as superuser, and an operator who may everything.
pub struct Harness {
    pub suite: Suite,
    pub db: PgPool,
    pub operator: Clients,
    pub urls: Urls,
    pub owner: String,
}

/// The path of a file under `tests/data`.
pub fn data(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("data")
        .join(file)
}

pub fn free_url() -> String {
    // Below the ports that connections going out are given, or one of these could take it.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 10_000).unwrap();
    let port =
        std::iter::repeat_with(|| 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000)
            .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
            .unwrap();
    format!("http://127.0.0.1:{port}")
}

/// A migrated database of its own.
pub async fn database() -> (Database, PathBuf) {
    let (cluster, folder) = cluster().await;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("test_{number}");
    let mut server = PgConnection::connect(&cluster.url("postgres", "postgres"))
        .await
        .unwrap();
    // Clones wait for each other: one template, one at a time.
    server.execute("SELECT pg_advisory_lock(1)").await.unwrap();
    server
        .execute(AssertSqlSafe(format!(
            "CREATE DATABASE {name} TEMPLATE template"
        )))
        .await
        .unwrap();
    let home = folder.join(&name);
    std::fs::create_dir_all(&home).unwrap();
    (Database::of(cluster, &name), home)
}

/// A migrated database in a cluster of its own: for a test that others would disturb, or that would disturb them.
pub struct Alone {
    pub database: Database,
    /// Stops before its folder goes.
    _cluster: Cluster,
    pub folder: TempDir,
}

impl Alone {
    pub async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("perdiem-").tempdir();
        let folder = folder.unwrap();
        let cluster = Cluster::open(&folder.path().join("pg"), Durability::ThrownAway).unwrap();
        let database = Database::of(&cluster, "alone");
        database.prepare().await.unwrap();
        Self {
            database,
            _cluster: cluster,
            folder,
        }
    }
}

/// The services' program, as built with the tests.
pub fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_suite-service").into()
}

/// Has runs made by the tests themselves, and no other: for those that are about the very runs they make.
pub const BY_HAND: (&str, &str) = ("run_schedule: AUTOMATIC", "run_schedule: MANUAL");

impl Harness {
    /// A suite at noon of 1 March 2026 with the shipped catalogue in force.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more of the environment.
    pub async fn start_with(environment: &[(&str, &str)]) -> Self {
        let mut harness = Self::with(environment).await;
        harness.set_clock("2026-03-01T12:00:00Z").await;
        catalogue::import(&harness.operator, &data("catalogue.yaml"), true)
            .await
            .unwrap();
        harness.owner = harness.user("owner").await;
        harness
    }

    /// A suite without catalogue, with more of the environment.
    pub async fn with(environment: &[(&str, &str)]) -> Self {
        Self::on(database().await, environment, true).await
    }

    /// A suite without catalogue on a database, with more of the environment; by a test clock or the machine's.
    pub async fn on(
        (database, folder): (Database, PathBuf),
        environment: &[(&str, &str)],
        test_clock: bool,
    ) -> Self {
        let urls = Urls {
            plan_url: free_url(),
            billing_url: free_url(),
            account_url: free_url(),
            payments_url: free_url(),
            clock_urls: (0..4).map(|_| free_url()).collect(),
        };
        let settings = Settings {
            program: program(),
            folder,
            urls: urls.clone(),
            test_clock,
            metrics: false,
            environment: environment
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        };
        let db = PgPool::connect_lazy(&database.url("postgres")).unwrap();
        let suite = Suite::start(settings, database).await.unwrap();
        let operator = Clients::new(&urls, &suite.keys.any_operator().unwrap()).unwrap();
        Self {
            suite,
            db,
            operator,
            urls,
            owner: String::new(),
        }
    }

    /// Sets every clock.
    pub async fn set_clock(&self, to: &str) {
        clock::set(&self.urls, instant(to)).await.unwrap();
    }

    /// Moves every clock, letting happen what falls due.
    pub async fn advance(&self, to: &str) {
        clock::advance(&self.urls, instant(to)).await.unwrap();
    }

    /// Clients of an operator with one role.
    pub fn operator_with(&self, role: &str) -> Clients {
        Clients::new(
            &self.urls,
            &self
                .suite
                .keys
                .operator("one", &[role.parse().unwrap()])
                .unwrap(),
        )
        .unwrap()
    }

    /// Clients of a person.
    pub fn person(&self, user: &str) -> Clients {
        Clients::new(&self.urls, &self.suite.keys.person(user).unwrap()).unwrap()
    }

    /// Clients of the person who owns every account made here.
    pub fn customer(&self) -> Clients {
        self.person(&self.owner)
    }

    /// A new user.
    pub async fn user(&self, name: &str) -> String {
        let request = account::CreateUserRequest {
            email: format!("{name}@example.com"),
            display_name: name.to_owned(),
            request_id: request_id(),
        };
        self.operator
            .account
            .clone()
            .create_user(request)
            .await
            .unwrap()
            .into_inner()
            .user
            .unwrap()
            .user_id
    }

    /// Makes a user the owner of the accounts made from here on.
    pub async fn own(&mut self, name: &str) {
        self.owner = self.user(name).await;
    }

    /// Puts the shipped catalogue in force under another version, with replacements.
    pub async fn import_as(&self, version: &str, replacements: &[(&str, &str)]) {
        let mut text = std::fs::read_to_string(data("catalogue.yaml")).unwrap();
        text = text.replace(
            "catalogue_version: \"v1\"",
            &format!("catalogue_version: \"{version}\""),
        );
        for (from, to) in replacements {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        let file = self.suite.settings.folder.join(format!("{version}.yaml"));
        std::fs::write(&file, text).unwrap();
        catalogue::import(&self.operator, &file, true)
            .await
            .unwrap();
    }

    /// A new root account of the profile `global`.
    pub async fn account(&self) -> String {
        self.account_of("global", false).await
    }

    /// A new root account of a profile, INVOICED or not.
    pub async fn account_of(&self, profile: &str, invoiced: bool) -> String {
        let mode = if invoiced {
            account::account::BillingMode::Invoiced
        } else {
            account::account::BillingMode::Prepaid
        };
        let request = account::CreateAccountRequest {
            profile_code: profile.to_owned(),
            display_name: "An account".to_owned(),
            owner_user_id: self.owner.clone(),
            billing_mode: mode.into(),
            r#type: account::account::Type::Full.into(),
            request_id: request_id(),
            ..account::CreateAccountRequest::default()
        };
        self.operator
            .account
            .clone()
            .create_account(request)
            .await
            .unwrap()
            .into_inner()
            .account
            .unwrap()
            .account_id
    }

    /// A new subaccount.
    pub async fn subaccount(&self, root: &str) -> String {
        let request = account::CreateSubaccountRequest {
            parent_account_id: root.to_owned(),
            display_name: "A subaccount".to_owned(),
            request_id: request_id(),
            ..account::CreateSubaccountRequest::default()
        };
        self.operator
            .account
            .clone()
            .create_subaccount(request)
            .await
            .unwrap()
            .into_inner()
            .account
            .unwrap()
            .account_id
    }

    /// Changes a support plan by the whole order flow, as the customer, at an instant.
    pub async fn change(&self, at: &str, account_id: &str, plan_code: &str) -> account::Order {
        self.advance(at).await;
        demo::change(&self.customer(), account_id, plan_code)
            .await
            .unwrap()
    }

    /// The quote of a change.
    pub async fn quote(
        &self,
        clients: &Clients,
        account_id: &str,
        plan_code: &str,
    ) -> Result<account::Order, Status> {
        let kind = account::create_order_request::Kind::PlanChange(account::PlanChange {
            family_code: "SUPPORT".to_owned(),
            plan_code: plan_code.to_owned(),
            ..account::PlanChange::default()
        });
        let request = account::CreateOrderRequest {
            account_id: account_id.to_owned(),
            kind: Some(kind),
            request_id: request_id(),
        };
        Ok(clients
            .account
            .clone()
            .create_order(request)
            .await?
            .into_inner()
            .order
            .unwrap())
    }

    pub async fn confirm(
        &self,
        clients: &Clients,
        order: &account::Order,
    ) -> Result<account::Order, Status> {
        let request = account::ConfirmOrderRequest {
            order_id: order.order_id.clone(),
            request_id: request_id(),
        };
        Ok(clients
            .account
            .clone()
            .confirm_order(request)
            .await?
            .into_inner()
            .order
            .unwrap())
    }

    pub async fn commit(
        &self,
        clients: &Clients,
        order: &account::Order,
    ) -> Result<account::Order, Status> {
        let request = account::CommitOrderRequest {
            order_id: order.order_id.clone(),
            request_id: request_id(),
        };
        Ok(clients
            .account
            .clone()
            .commit_order(request)
            .await?
            .into_inner()
            .order
            .unwrap())
    }

    /// Puts accounts under a contract; the first pays.
    pub async fn contract(&self, plan_code: &str, accounts: &[&str]) -> plan::Contract {
        let request = plan::CreateContractRequest {
            family_code: "SUPPORT".to_owned(),
            plan_code: plan_code.to_owned(),
            payer_account_id: accounts[0].to_owned(),
            member_account_ids: accounts.iter().map(|id| (*id).to_owned()).collect(),
            request_id: request_id(),
        };
        self.operator
            .plan
            .clone()
            .create_contract(request)
            .await
            .unwrap()
            .into_inner()
            .contract
            .unwrap()
    }

    /// Records one usage event.
    pub async fn used(&self, account_id: &str, at: &str, price: &str) {
        let event = event(&request_id(), account_id, at, price);
        self.record(vec![event]).await.unwrap();
    }

    pub async fn record(
        &self,
        events: Vec<billing::UsageEvent>,
    ) -> Result<billing::RecordUsageResponse, Status> {
        let request = billing::RecordUsageRequest {
            source: "test".to_owned(),
            events,
        };
        Ok(self
            .operator
            .billing
            .clone()
            .record_usage(request)
            .await?
            .into_inner())
    }

    /// Makes and follows the run of a month to its end.
    pub async fn bill(&self, month: &str) -> billing::BillingRun {
        let made = perdiem::run::create(&self.operator, "SUPPORT", month, false)
            .await
            .unwrap();
        perdiem::run::watch(&self.operator, &made.billing_run_id, true)
            .await
            .unwrap()
    }

    /// The invoices of an account, newest first, with their lines.
    pub async fn invoices(&self, account_id: &str) -> Vec<billing::Invoice> {
        let request = billing::ListInvoicesRequest {
            account_id: account_id.to_owned(),
            ..billing::ListInvoicesRequest::default()
        };
        let listed = self
            .operator
            .billing
            .clone()
            .list_invoices(request)
            .await
            .unwrap()
            .into_inner()
            .invoices;
        let mut whole = Vec::new();
        for invoice in listed {
            whole.push(
                perdiem::invoice::get(&self.operator, &invoice.invoice_id)
                    .await
                    .unwrap(),
            );
        }
        whole
    }

    /// The lines of the newest invoice: plan, days and amount.
    pub async fn lines(&self, account_id: &str) -> Vec<(String, i32, String)> {
        let newest = self.invoices(account_id).await.into_iter().next().unwrap();
        newest
            .lines
            .into_iter()
            .map(|line| {
                (
                    line.plan_code,
                    line.active_days,
                    line.amount.unwrap().amount,
                )
            })
            .collect()
    }

    /// The effective support plan at an instant.
    pub async fn plan_at(&self, account_id: &str, at: &str) -> Result<plan::Segment, Status> {
        let request = plan::GetEffectivePlanRequest {
            account_id: account_id.to_owned(),
            family_code: "SUPPORT".to_owned(),
            effective_time: Some(timestamp(instant(at))),
        };
        Ok(self
            .operator
            .plan
            .clone()
            .get_effective_plan(request)
            .await?
            .into_inner()
            .segment
            .unwrap())
    }

    pub async fn balance(&self, account_id: &str) -> String {
        let request = billing::GetBalanceRequest {
            read_time: None,
            account_id: account_id.to_owned(),
        };
        self.operator
            .billing
            .clone()
            .get_balance(request)
            .await
            .unwrap()
            .into_inner()
            .balance
            .unwrap()
            .amount
    }

    /// One number of the database.
    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.db).await.unwrap()
    }
}

/// A usage event of the category sms.
pub fn event(id: &str, account_id: &str, at: &str, price: &str) -> billing::UsageEvent {
    billing::UsageEvent {
        event_id: id.to_owned(),
        account_id: account_id.to_owned(),
        category: "sms".to_owned(),
        usage_time: Some(timestamp(instant(at))),
        quantity: "1".to_owned(),
        price: Some(Amount {
            currency_code: "USD".to_owned(),
            amount: price.to_owned(),
        }),
        message_text: None,
    }
}

pub fn instant(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The reason of a refusal.
pub fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}
