//! What an RPC or a job needs besides its input.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Instant;

use chassis::{Anchors, Clock, Config, Database, Owned, Pages, Peer, ServiceName};
use proto::payments::v1::payments_service_client::PaymentsServiceClient;
use proto::plan::v1::plan_service_client::PlanServiceClient;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use values::{Currency, Zone};

use crate::clients::Catalogue;
use crate::ops::intake::Intake;

/// A catalogue and when it was asked for; `None` before it was.
pub type InForce = Option<(Instant, Arc<Catalogue>)>;

/// What an RPC or a job needs besides its input.
#[derive(Clone)]
pub struct Ctx {
    /// The database, limited to this service's schema by its role.
    pub db: Database,
    /// The clock.
    pub clock: Clock,
    /// Where the newest audit entries are anchored.
    pub anchors: Anchors,
    /// The key that seals page tokens.
    pages: Pages,
    /// The plan service.
    pub plan: PlanServiceClient<Peer>,
    /// The payments service.
    pub payments: PaymentsServiceClient<Peer>,
    /// How this process works on billing runs.
    pub work: Work,
    /// The queue of usage waiting to be written.
    pub intake: Arc<Intake>,
    /// Wakes the jobs of this process when there is work. Jobs of other processes poll.
    pub wake: Arc<Notify>,
    /// Tells the jobs that the process stops.
    pub stopping: CancellationToken,
    /// Catalogue versions read before: a version never changes.
    pub catalogues: Arc<RwLock<HashMap<String, Arc<Catalogue>>>>,
    /// The version that was in force when it was asked for last.
    pub in_force: Arc<RwLock<InForce>>,
    /// Accounts read before: what is kept of them never changes.
    pub accounts: Arc<RwLock<HashMap<Uuid, AccountFacts>>>,
}

/// How a process works on billing runs.
#[derive(Debug, Clone)]
pub struct Work {
    /// The name of this process on the chunks it leases.
    pub worker: String,
    /// Payers per chunk in the runs it creates.
    pub chunk: i32,
    /// Lease duration in seconds.
    pub lease_seconds: i32,
}

/// Facts of an account that never change.
#[derive(Debug, Clone)]
pub struct AccountFacts {
    /// Its root.
    pub root: Uuid,
    /// Its profile.
    pub profile: Arc<str>,
    /// The time zone in which its days are computed.
    pub zone: Zone,
    /// The currency of its ledger.
    pub currency: Currency,
    /// The day it was created, in that time zone.
    pub created_on: chrono::NaiveDate,
}

impl Ctx {
    /// Creates a context on `db` from the configuration.
    pub fn new(db: Database, config: &Config) -> Result<Self, Box<dyn std::error::Error>> {
        let standing = config.test_clock_listen.is_some();
        let clock = if standing {
            Clock::Standing {
                db: db.clone(),
                schema: "billing",
            }
        } else {
            Clock::System
        };
        // Pages of billable segments are larger than other messages.
        let plan = PlanServiceClient::new(config.peer(ServiceName::Plan, &config.peers.plan_url)?)
            .max_decoding_message_size(16 << 20);
        let payments = PaymentsServiceClient::new(
            config.peer(ServiceName::Payments, &config.peers.payments_url)?,
        );
        let work = Work {
            worker: format!("{}-{}", std::process::id(), Uuid::new_v4().simple()),
            chunk: i32::try_from(config.run_chunk)?,
            lease_seconds: i32::try_from(config.lease_seconds)?,
        };
        Ok(Self {
            db,
            clock,
            anchors: config.anchors(),
            pages: Pages::default(),
            plan,
            payments,
            work,
            intake: Arc::default(),
            wake: Arc::default(),
            stopping: CancellationToken::new(),
            catalogues: Arc::default(),
            in_force: Arc::default(),
            accounts: Arc::default(),
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

impl Owned for Ctx {
    const SCHEMA: &'static str = "billing";
    const ROOTS: &'static str = "billing.accounts";
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
}
