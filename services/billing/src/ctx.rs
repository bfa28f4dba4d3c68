//! What an RPC or a job needs besides its input.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use chassis::{Anchors, Clock, Config, Owned, Peer};
use proto::payments::v1::payments_service_client::PaymentsServiceClient;
use proto::plan::v1::plan_service_client::PlanServiceClient;
use sqlx::PgPool;
use tokio::sync::Notify;
use uuid::Uuid;
use values::{Currency, Zone};

use crate::clients::Catalogue;
use crate::ops::intake::Intake;

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
    /// The payments service.
    pub payments: PaymentsServiceClient<Peer>,
    /// How this process works on runs.
    pub work: Work,
    /// Usage that waits to be written.
    pub intake: Arc<Intake>,
    /// Wakes the jobs of this process when there is work; those of others look by themselves.
    pub wake: Arc<Notify>,
    /// Catalogue versions read before: a version never changes.
    pub catalogues: Arc<RwLock<HashMap<String, Arc<Catalogue>>>>,
    /// Accounts read before: what is kept of them never changes.
    pub accounts: Arc<RwLock<HashMap<Uuid, AccountFacts>>>,
}

/// How a process works on runs.
#[derive(Debug, Clone)]
pub struct Work {
    /// The name of this process on the chunks that it does.
    pub worker: String,
    /// Payers in a chunk of the runs that it makes.
    pub chunk: i32,
    /// Seconds after which a lease may be taken over.
    pub lease_seconds: i32,
}

/// What never changes of an account.
#[derive(Debug, Clone)]
pub struct AccountFacts {
    /// Its root.
    pub root: Uuid,
    /// Its profile.
    pub profile: Arc<str>,
    /// The zone that makes its days.
    pub zone: Zone,
    /// The currency of its ledger.
    pub currency: Currency,
    /// The day it was created on.
    pub created_on: chrono::NaiveDate,
}

impl Ctx {
    /// A context on `db` for a configuration.
    pub fn new(db: PgPool, config: &Config) -> Result<Self, Box<dyn std::error::Error>> {
        let standing = config.test_clock_listen.is_some();
        let clock = if standing {
            Clock::Standing {
                db: db.clone(),
                schema: "billing",
            }
        } else {
            Clock::System
        };
        // Pages of segments are larger than other messages.
        let plan = PlanServiceClient::new(config.peer(&config.peers.plan_url)?)
            .max_decoding_message_size(16 << 20);
        let payments = PaymentsServiceClient::new(config.peer(&config.peers.payments_url)?);
        let work = Work {
            worker: format!("{}-{}", std::process::id(), Uuid::new_v4().simple()),
            chunk: i32::try_from(config.run_chunk)?,
            lease_seconds: i32::try_from(config.lease_seconds)?,
        };
        Ok(Self {
            db,
            clock,
            anchors: config.anchors(),
            plan,
            payments,
            work,
            intake: Arc::default(),
            wake: Arc::default(),
            catalogues: Arc::default(),
            accounts: Arc::default(),
        })
    }
}

impl Owned for Ctx {
    const SCHEMA: &'static str = "billing";
    const ROOTS: &'static str = "billing.accounts";

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
