//! The four services as processes of their own, on a private PostgreSQL.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cluster::{Cluster, Durability, provision, url_of};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::process::{Child, Command};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::Failure;
use crate::connect::Urls;
use crate::keys::Keys;
use crate::mail;

/// The services, in the order in which they start; with the schema and the name in the contract.
pub const SERVICES: [(&str, &str, &str); 4] = [
    ("plan", "plan", "perdiem.plan.v1.PlanService"),
    (
        "payments",
        "payments",
        "perdiem.payments.v1.PaymentsService",
    ),
    ("billing", "billing", "perdiem.billing.v1.BillingService"),
    (
        "account-lifecycle",
        "account",
        "perdiem.account.v1.AccountService",
    ),
];
/// How long a service may take to be ready.
const START_PATIENCE: Duration = Duration::from_mins(1);
/// How long a service may take to stop before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// Where a database is, and whose.
#[derive(Debug, Clone)]
pub struct Database {
    /// The folder with the server's socket.
    pub socket_folder: PathBuf,
    /// The server's port.
    pub port: u16,
    /// The database's name.
    pub name: String,
}

impl Database {
    /// The database `name` of a cluster.
    pub fn of(cluster: &Cluster, name: &str) -> Self {
        let (folder, port) = cluster.socket();
        Self {
            socket_folder: folder.to_owned(),
            port,
            name: name.to_owned(),
        }
    }

    /// Its URL for a role.
    pub fn url(&self, role: &str) -> String {
        url_of(&self.socket_folder, self.port, role, &self.name)
    }

    /// Makes the roles and the database when they are missing, and migrates every schema as its
    /// owner.
    pub async fn prepare(&self) -> Result<(), Failure> {
        let server = url_of(&self.socket_folder, self.port, "postgres", "postgres");
        provision(&server, &self.name).await?;
        chassis::migrate(&self.url("plan_owner"), &plan::MIGRATOR).await?;
        chassis::migrate(&self.url("billing_owner"), &billing::MIGRATOR).await?;
        chassis::migrate(&self.url("account_owner"), &account_lifecycle::MIGRATOR).await?;
        chassis::migrate(&self.url("payments_owner"), &payments::MIGRATOR).await?;
        Ok(())
    }

    /// Drops the database, if it is there.
    pub async fn drop(&self) -> Result<(), Failure> {
        let mut server = PgConnection::connect(&url_of(
            &self.socket_folder,
            self.port,
            "postgres",
            "postgres",
        ))
        .await?;
        let sql = format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name);
        server.execute(AssertSqlSafe(sql)).await?;
        Ok(())
    }
}

/// How a suite is started.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The program that runs a service by `service NAME serve`.
    pub program: PathBuf,
    /// Where keys and logs are.
    pub folder: PathBuf,
    /// Where the services listen.
    pub urls: Urls,
    /// Whether the standing clocks are on.
    pub test_clock: bool,
    /// Whether health and metrics are served without TLS, at 7321 to 7324.
    pub metrics: bool,
    /// More of the environment, for every service.
    pub environment: Vec<(String, String)>,
}

impl Settings {
    /// Where the suite's mail is kept.
    pub fn mail_folder(&self) -> PathBuf {
        self.folder.join("mail")
    }
}

/// A running suite; its services stop when it does.
pub struct Suite {
    /// How it was started.
    pub settings: Settings,
    /// Its database.
    pub database: Database,
    /// Its keys.
    pub keys: Keys,
    /// Where its mail goes.
    pub mail_url: String,
    services: Vec<(String, Child)>,
}

impl Suite {
    /// Starts the four services on a prepared database and waits until each answers.
    pub async fn start(settings: Settings, database: Database) -> Result<Self, Failure> {
        let keys = Keys::open(&settings.folder.join("keys"))?;
        let mail_url = mail::open(&settings.mail_folder()).await?;
        let mut suite = Self {
            settings,
            database,
            keys,
            mail_url,
            services: Vec::new(),
        };
        for (name, ..) in SERVICES {
            suite.spawn(name, &[])?;
        }
        for (name, ..) in SERVICES {
            suite.wait_for(name).await?;
        }
        Ok(suite)
    }

    /// Starts the process of a service, with more environment than the others.
    pub fn spawn(&mut self, name: &str, environment: &[(&str, String)]) -> Result<(), Failure> {
        let (_, schema, _) = SERVICES
            .iter()
            .find(|(service, ..)| *service == name)
            .ok_or("no such service")?;
        let Settings {
            program,
            folder,
            urls,
            test_clock,
            metrics,
            ..
        } = &self.settings;
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join(format!("{name}.log")))?;
        let mut command = Command::new(program);
        command
            .args(["service", name, "serve"])
            .env("PERDIEM_PARENT", std::process::id().to_string())
            .env("PROFILE", "local")
            .env("LISTEN", Urls::address(urls.of(name)))
            .env(
                "DATABASE_URL",
                self.database.url(&format!("{schema}_service")),
            )
            .env("AUTH_KEYS_FILE", &self.keys.public_file)
            .env("SERVICE_TOKEN", self.keys.service(name)?)
            .env("REFLECTION", "true")
            // What a run has used goes back to the machine: without these glibc keeps a fifth more.
            .env("MALLOC_ARENA_MAX", "2")
            .env("MALLOC_TRIM_THRESHOLD_", "4194304")
            .env("PLAN_URL", urls.of("plan"))
            .env("BILLING_URL", urls.of("billing"))
            .env("PAYMENTS_URL", urls.of("payments"))
            .env("SMTP_URL", &self.mail_url)
            .env(
                "AUDIT_FILE",
                self.settings.folder.join(format!("{name}.audit")),
            )
            .env("AUDIT_KEY", self.keys.audit_key())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        if *test_clock {
            command.env("TEST_CLOCK_LISTEN", Urls::address(urls.clock_of(name)));
        }
        if *metrics {
            command.env("METRICS_LISTEN", Urls::address(&Urls::metrics_of(name)));
        }
        command.envs(self.settings.environment.iter().cloned());
        command.envs(environment.iter().map(|(key, value)| (*key, value.clone())));
        self.services.push((name.to_owned(), command.spawn()?));
        Ok(())
    }

    /// Waits until a service is ready.
    pub async fn wait_for(&mut self, name: &str) -> Result<(), Failure> {
        let (.., full_name) = SERVICES
            .iter()
            .find(|(service, ..)| *service == name)
            .ok_or("no such service")?;
        let url = self.settings.urls.of(name).to_owned();
        let waiting = async {
            let request = HealthCheckRequest {
                service: (*full_name).to_owned(),
            };
            loop {
                if let Ok(channel) = Endpoint::from_shared(url.clone())?.connect().await
                    && let Ok(health) = HealthClient::new(channel).check(request.clone()).await
                    && health.into_inner().status() == ServingStatus::Serving
                {
                    return Ok::<(), Failure>(());
                }
                let ended = self
                    .services
                    .iter_mut()
                    .any(|(it, child)| it == name && child.try_wait().is_ok_and(|it| it.is_some()));
                if ended {
                    let log =
                        std::fs::read_to_string(self.settings.folder.join(format!("{name}.log")))
                            .unwrap_or_default();
                    let last: Vec<&str> = log.lines().rev().take(5).collect();
                    return Err(format!("{name} did not start: {}", last.join("\n")).into());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(START_PATIENCE, waiting)
            .await
            .map_err(|_| format!("{name} does not answer"))?
    }

    /// Kills the first process of a service that still runs, as a power cut would; gives whether
    /// there was one.
    pub async fn kill(&mut self, name: &str) -> bool {
        let Some(place) = self.services.iter().position(|(it, _)| it == name) else {
            return false;
        };
        let (_, mut child) = self.services.remove(place);
        child.kill().await.is_ok()
    }

    /// Whether the first process of a service has ended by itself.
    pub fn has_ended(&mut self, name: &str) -> bool {
        let process = self.services.iter_mut().find(|(it, _)| it == name);
        process.is_some_and(|(_, child)| child.try_wait().is_ok_and(|it| it.is_some()))
    }

    /// The process id of the first process of a service.
    pub fn pid(&self, name: &str) -> Option<u32> {
        self.services
            .iter()
            .find(|(it, _)| it == name)
            .and_then(|(_, child)| child.id())
    }

    /// The process ids of all processes of the services.
    pub fn pids(&self) -> Vec<u32> {
        let children = self.services.iter();
        children.filter_map(|(_, child)| child.id()).collect()
    }

    /// Asks every service to stop and waits until each has.
    pub async fn stop(mut self) {
        for (_, child) in &self.services {
            if let Some(pid) = child.id() {
                terminate(pid);
            }
        }
        for (_, child) in &mut self.services {
            if tokio::time::timeout(STOP_PATIENCE, child.wait())
                .await
                .is_err()
            {
                let _ = child.kill().await;
            }
        }
    }

    /// Waits until one of the services has ended, and says which.
    pub async fn ended(&mut self) -> String {
        let waits = self.services.iter_mut().map(|(name, child)| {
            Box::pin(async move {
                let _ = child.wait().await;
                name.clone()
            })
        });
        futures::future::select_all(waits).await.0
    }
}

/// Sends SIGTERM.
fn terminate(pid: u32) {
    let _ = std::process::Command::new("kill")
        .arg("-TERM")
        .arg(pid.to_string())
        .status();
}

/// Ends this process when the one that started it has gone: nothing of a suite outlives it.
pub fn end_with_parent() {
    #[expect(
        clippy::disallowed_methods,
        reason = "set by the suite for its services"
    )]
    let parent = std::env::var("PERDIEM_PARENT")
        .ok()
        .and_then(|pid| pid.parse::<u32>().ok());
    let Some(parent) = parent else { return };
    std::thread::spawn(move || {
        while std::os::unix::process::parent_id() == parent {
            std::thread::sleep(Duration::from_millis(200));
        }
        std::process::exit(1);
    });
}

/// Opens the private cluster in `folder`.
pub fn open_cluster(folder: &Path) -> Result<Cluster, Failure> {
    Ok(Cluster::open(&folder.join("postgres"), Durability::Kept)?)
}
