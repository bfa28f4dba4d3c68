//! What an RPC or a job needs besides its input.

use std::sync::Arc;

use chassis::{Clock, Config, Owned, Peer};
use proto::billing::v1::billing_service_client::BillingServiceClient;
use proto::payments::v1::payments_service_client::PaymentsServiceClient;
use proto::plan::v1::plan_service_client::PlanServiceClient;
use sqlx::PgPool;
use tokio::sync::Notify;

/// What an RPC or a job needs besides its input.
#[derive(Clone)]
pub struct Ctx {
    /// The database, limited to this service's schema by its role.
    pub db: PgPool,
    /// The time.
    pub clock: Clock,
    /// The plan service.
    pub plan: PlanServiceClient<Peer>,
    /// The billing service.
    pub billing: BillingServiceClient<Peer>,
    /// The payments service.
    pub payments: PaymentsServiceClient<Peer>,
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
            plan: PlanServiceClient::new(config.peer(&config.peers.plan_url)?),
            billing: BillingServiceClient::new(config.peer(&config.peers.billing_url)?),
            payments: PaymentsServiceClient::new(config.peer(&config.peers.payments_url)?),
            wake: Arc::default(),
        })
    }
}

impl Owned for Ctx {
    const SCHEMA: &'static str = "account";

    fn db(&self) -> &PgPool {
        &self.db
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }
}
