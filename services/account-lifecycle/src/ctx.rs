//! What an RPC or a job needs besides its input.

use std::sync::Arc;
use std::time::Duration;

use chassis::{Anchors, Clock, Config, Owned, Peer};
use lettre::message::Mailbox;
use lettre::{AsyncSmtpTransport, Tokio1Executor};
use proto::billing::v1::billing_service_client::BillingServiceClient;
use proto::payments::v1::payments_service_client::PaymentsServiceClient;
use proto::plan::v1::plan_service_client::PlanServiceClient;
use sqlx::PgPool;
use tokio::sync::Notify;

/// How long the mail server may take to answer.
const SMTP_TIMEOUT: Duration = Duration::from_secs(20);

/// What an RPC or a job needs besides its input.
#[derive(Clone)]
pub struct Ctx {
    /// The database, limited to this service's schema by its role.
    pub db: PgPool,
    /// The time.
    pub clock: Clock,
    /// Where the newest entries of the audit go to.
    pub anchors: Anchors,
    /// The plan service.
    pub plan: PlanServiceClient<Peer>,
    /// The billing service.
    pub billing: BillingServiceClient<Peer>,
    /// The payments service.
    pub payments: PaymentsServiceClient<Peer>,
    /// What sends mail; `None` where mail waits.
    pub mailer: Option<Mailer>,
    /// The domain of the gateway that sends mail on as messages.
    pub sms_mail_domain: String,
    /// Seconds that one step of a closing or a deletion may take before another process goes on.
    pub lease_seconds: i64,
    /// Wakes the jobs of this process when there is work; those of others look by themselves.
    pub wake: Arc<Notify>,
}

impl Ctx {
    /// A context on `db` for a configuration.
    pub fn new(db: PgPool, config: &Config) -> Result<Self, Box<dyn std::error::Error>> {
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
            plan: PlanServiceClient::new(config.peer(&config.peers.plan_url)?),
            billing: BillingServiceClient::new(config.peer(&config.peers.billing_url)?),
            payments: PaymentsServiceClient::new(config.peer(&config.peers.payments_url)?),
            mailer: Mailer::of(config)?,
            sms_mail_domain: config.sms_mail_domain.clone(),
            // A step asks others, each with its tries.
            lease_seconds: 4 * i64::from(config.lease_seconds),
            wake: Arc::default(),
        })
    }
}

/// What sends mail.
#[derive(Clone)]
pub struct Mailer {
    /// The mail server.
    pub transport: AsyncSmtpTransport<Tokio1Executor>,
    /// Whom mail is from.
    pub from: Mailbox,
}

impl Mailer {
    /// The mail server of a configuration, if it has one.
    fn of(config: &Config) -> Result<Option<Self>, Box<dyn std::error::Error>> {
        if config.smtp_url.0.is_empty() {
            return Ok(None);
        }
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&config.smtp_url.0)?;
        Ok(Some(Self {
            transport: transport.timeout(Some(SMTP_TIMEOUT)).build(),
            from: config.mail_from.parse()?,
        }))
    }
}

impl Owned for Ctx {
    const SCHEMA: &'static str = "account";
    const ROOTS: &'static str = "account.roots";

    fn db(&self) -> &PgPool {
        &self.db
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn anchors(&self) -> &Anchors {
        &self.anchors
    }
}
