//! The dependencies of RPC handlers and jobs: database, clock and clients.

use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use chassis::{Anchors, Caller, Clock, Config, Database, Owned, Pages, Peer, ServiceName};
use lettre::address::AddressError;
use lettre::message::Mailbox;
use lettre::{AsyncSmtpTransport, Tokio1Executor};
use proto::billing::v1::billing_service_client::BillingServiceClient;
use proto::payments::v1::payments_service_client::PaymentsServiceClient;
use proto::plan::v1::Catalogue;
use proto::plan::v1::plan_service_client::PlanServiceClient;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::ops::permit;

/// Time limit for one answer of the mail server.
const SMTP_TIMEOUT: Duration = Duration::from_secs(20);

/// A catalogue and when it was asked for; `None` before it was.
pub type InForce = Option<(Instant, Arc<Catalogue>)>;

/// What an RPC or a job needs besides its input.
#[derive(Clone)]
pub struct Ctx {
    /// The database. The connection's role sees only this service's schema.
    pub db: Database,
    /// The clock: system time, or the test clock.
    pub clock: Clock,
    /// Where the newest entries of the audit chain are anchored outside the database.
    pub anchors: Anchors,
    /// The key that seals this service's page tokens, shared by all its processes.
    pages: Pages,
    /// Client of the plan service.
    pub plan: PlanServiceClient<Peer>,
    /// Client of the billing service.
    pub billing: BillingServiceClient<Peer>,
    /// Client of the payments service.
    pub payments: PaymentsServiceClient<Peer>,
    /// The mail transport; `None` if no SMTP server is configured, in which case mail stays queued.
    pub mailer: Option<Mailer>,
    /// The domain of the mail-to-SMS gateway.
    pub sms_mail_domain: String,
    /// Seconds a worker holds the lease on one step of a closing or a deletion before another may take over.
    pub lease_seconds: i64,
    /// Wakes this process's jobs when an RPC has created work. Jobs of other processes poll.
    pub wake: Arc<Notify>,
    /// Tells the jobs that the process stops.
    pub stopping: CancellationToken,
    /// The catalogue that was in force when it was asked for last.
    pub catalogue: Arc<RwLock<InForce>>,
}

impl Ctx {
    /// Creates the context from the database and the configuration.
    pub fn new(db: Database, config: &Config) -> Result<Self, Box<dyn std::error::Error>> {
        let standing = config.test_clock_listen.is_some();
        let clock = if standing {
            Clock::Standing {
                db: db.clone(),
                schema: "account",
            }
        } else {
            Clock::System
        };
        Ok(Self {
            db,
            clock,
            anchors: config.anchors(),
            pages: Pages::default(),
            plan: PlanServiceClient::new(config.peer(ServiceName::Plan, &config.peers.plan_url)?),
            billing: BillingServiceClient::new(
                config.peer(ServiceName::Billing, &config.peers.billing_url)?,
            ),
            payments: PaymentsServiceClient::new(
                config.peer(ServiceName::Payments, &config.peers.payments_url)?,
            ),
            mailer: Mailer::of(config)?,
            sms_mail_domain: config.sms_mail_domain.clone(),
            // One step makes several remote calls, each with its own retries, so it gets a longer lease.
            lease_seconds: 4 * i64::from(config.lease_seconds),
            wake: Arc::default(),
            stopping: CancellationToken::new(),
            catalogue: Arc::default(),
        })
    }

    /// The same for jobs that run until `stop`.
    #[must_use]
    pub fn until(&self, stop: &CancellationToken) -> Self {
        Self {
            stopping: stop.clone(),
            ..self.clone()
        }
    }
}

/// The mail transport and its sender address.
#[derive(Clone)]
pub struct Mailer {
    /// The SMTP connection.
    pub transport: AsyncSmtpTransport<Tokio1Executor>,
    /// The sender address.
    pub from: Mailbox,
}

impl Mailer {
    /// The mailer of a configuration; `None` without an SMTP URL.
    fn of(config: &Config) -> Result<Option<Self>, Box<dyn std::error::Error>> {
        if config.smtp_url.0.is_empty() {
            return Ok(None);
        }
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&config.smtp_url.0);
        let transport = transport.map_err(|error| format!("SMTP_URL: {error}"))?;
        let from = config.mail_from.parse();
        let from = from.map_err(|error: AddressError| format!("MAIL_FROM: {error}"))?;
        Ok(Some(Self {
            transport: transport.timeout(Some(SMTP_TIMEOUT)).build(),
            from,
        }))
    }
}

impl Owned for Ctx {
    const SCHEMA: &'static str = "account";
    const ROOTS: &'static str = "account.roots";
    const ACCESS: &'static [chassis::Access] = crate::ACCESS;

    fn db(&self) -> &Database {
        &self.db
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    fn pages(&self) -> &Pages {
        &self.pages
    }

    async fn still_allowed(&self, caller: &Caller, asked: &[String]) -> Result<(), Status> {
        Ok(permit::still_entitled(self, caller, asked).await?)
    }
}
