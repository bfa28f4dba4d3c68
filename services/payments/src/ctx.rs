//! What an RPC needs besides its input.

use chassis::{Clock, Owned};
use sqlx::PgPool;

/// What an RPC needs besides its input.
#[derive(Clone)]
pub struct Ctx {
    /// The database, limited to this service's schema by its role.
    pub db: PgPool,
    /// The time.
    pub clock: Clock,
}

impl Ctx {
    /// A context on `db`, by the machine's clock or the standing one.
    pub fn new(db: PgPool, standing_clock: bool) -> Self {
        let clock = if standing_clock {
            Clock::Standing {
                db: db.clone(),
                schema: "payments",
            }
        } else {
            Clock::System
        };
        Self { db, clock }
    }
}

impl Owned for Ctx {
    const SCHEMA: &'static str = "payments";

    fn db(&self) -> &PgPool {
        &self.db
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }
}
