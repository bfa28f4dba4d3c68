//! The dependencies of RPC handlers: database, clock and catalogues.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use chassis::{Anchors, Clock, Config, Database, Owned, Pages, PgConnection};
use chrono::{DateTime, Utc};
use values::AccountId;

use crate::document;
use crate::domain::catalogue::Catalogue;
use crate::error::Error;
use crate::store;
use crate::store::accounts::Account;

/// The dependencies of RPC handlers. Cheap to clone.
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
    /// Cache of catalogue versions; a version is immutable.
    catalogues: Arc<RwLock<HashMap<String, Arc<Catalogue>>>>,
}

impl Ctx {
    /// Creates the context from the database and the configuration.
    pub fn new(db: Database, config: &Config) -> Self {
        let clock = if config.test_clock_listen.is_some() {
            Clock::Standing {
                db: db.clone(),
                schema: "plan",
            }
        } else {
            Clock::System
        };
        Self {
            db,
            clock,
            anchors: config.anchors(),
            pages: Pages::default(),
            catalogues: Arc::default(),
        }
    }

    /// The catalogue version `version`; `CatalogueVersionNotFound` if it is not imported.
    pub async fn catalogue(
        &self,
        db: &mut PgConnection,
        version: &str,
    ) -> Result<Arc<Catalogue>, Error> {
        let cached = self
            .catalogues
            .read()
            .ok()
            .and_then(|cache| cache.get(version).cloned());
        if let Some(catalogue) = cached {
            return Ok(catalogue);
        }
        let stored = store::catalogues::get(db, version).await?;
        let stored = stored.ok_or_else(|| Error::CatalogueVersionNotFound(version.to_owned()))?;
        let catalogue = document::read(&stored.document)
            .map_err(|_| Error::StoredCatalogue(version.to_owned()))?;
        let catalogue = Arc::new(catalogue);
        if let Ok(mut cache) = self.catalogues.write() {
            cache.insert(version.to_owned(), catalogue.clone());
        }
        Ok(catalogue)
    }

    /// Locks root accounts whose timelines are about to change. Returns those that exist, and the instant to date the
    /// changes with.
    ///
    /// The instant is read under the locks. A billing run of the period in which it lies therefore sees the change, or
    /// the instant lies after that period (see `segments::all_changed`).
    pub async fn hold_timelines(
        &self,
        db: &mut PgConnection,
        roots: &[AccountId],
    ) -> Result<(Vec<(AccountId, Account)>, DateTime<Utc>), Error> {
        let known = store::accounts::hold_timelines(db, roots).await?;
        Ok((known, self.clock.now_on(db).await?))
    }

    /// The catalogue version that is active for new purchases.
    pub async fn active_catalogue(&self, db: &mut PgConnection) -> Result<Arc<Catalogue>, Error> {
        let version = store::catalogues::active(db)
            .await?
            .ok_or(Error::NoActiveCatalogue)?;
        self.catalogue(db, &version).await
    }
}

impl Owned for Ctx {
    const SCHEMA: &'static str = "plan";
    const ROOTS: &'static str = "plan.accounts";
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
