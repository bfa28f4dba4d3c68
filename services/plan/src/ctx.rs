//! What an RPC needs besides its input.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use chassis::{Anchors, Clock, Config, Lanes, Owned};
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use values::AccountId;

use crate::document;
use crate::domain::catalogue::Catalogue;
use crate::error::Error;
use crate::store;
use crate::store::accounts::Account;

/// What an RPC needs besides its input.
#[derive(Clone)]
pub struct Ctx {
    /// The database, limited to this service's schema by its role.
    pub db: PgPool,
    /// The same database, for hot reads.
    pub lanes: Lanes,
    /// The time.
    pub clock: Clock,
    /// Where the newest entries of the audit go to.
    pub anchors: Anchors,
    /// Versions read before: a version never changes.
    catalogues: Arc<RwLock<HashMap<String, Arc<Catalogue>>>>,
}

impl Ctx {
    /// A context on `db` for a configuration.
    pub fn new(db: PgPool, config: &Config) -> Self {
        let clock = if config.test_clock_listen.is_some() {
            Clock::Standing {
                db: db.clone(),
                schema: "plan",
            }
        } else {
            Clock::System
        };
        Self {
            lanes: Lanes::beside(&db),
            db,
            clock,
            anchors: config.anchors(),
            catalogues: Arc::default(),
        }
    }

    /// The catalogue version `version`.
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

    /// Locks root accounts, whose timelines are about to change, and tells those that exist and the
    /// instant that the changes are dated by.
    ///
    /// The instant is read under the locks: what it dates is either seen by a billing run of the
    /// period that it lies in, or lies after that period (see `segments::all_changed`).
    pub async fn hold_timelines(
        &self,
        db: &mut PgConnection,
        roots: &[AccountId],
    ) -> Result<(Vec<(AccountId, Account)>, DateTime<Utc>), Error> {
        let known = store::accounts::lock(db, roots).await?;
        store::segments::hold(db).await?;
        Ok((known, self.clock.now_on(db).await?))
    }

    /// The catalogue version in force for new purchases.
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
