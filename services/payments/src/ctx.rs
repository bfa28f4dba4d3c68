//! The dependencies of RPC handlers and jobs: database, clock and providers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use chassis::{Anchors, Clock, Config, Database, Owned, Pages, PgConnection};
use tokio::sync::Notify;

use crate::document;
use crate::domain::breaker::Breaker;
use crate::domain::catalogue::Catalogue;
use crate::error::Error;
use crate::providers::{Provider, Razorpay, Sandbox, Stripe};
use crate::store::catalogues;
use crate::store::movements::Movement;

/// Time limit for one answer of a provider, in whole seconds.
const PATIENCE_SECONDS: i32 = 8;

/// The dependencies of RPC handlers and jobs. Cheap to clone.
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
    /// The configured payment providers, by code.
    providers: Arc<HashMap<&'static str, Box<dyn Provider>>>,
    /// One circuit breaker per provider.
    breakers: Arc<HashMap<&'static str, Mutex<Breaker>>>,
    /// Provider of a payment method whose request names none.
    pub default_provider: &'static str,
    /// Secret that signs Stripe's webhooks; if empty, all are refused.
    pub stripe_webhook_secret: Arc<str>,
    /// Secret that signs Razorpay's webhooks; if empty, all are refused.
    pub razorpay_webhook_secret: Arc<str>,
    /// Seconds a worker holds the lease on a movement before another may take over.
    pub lease_seconds: i32,
    /// Seconds until the first look-up of an unknown outcome.
    pub look_up_seconds: i64,
    /// Wakes this process's jobs when an RPC has created work. Jobs of other processes poll.
    pub wake: Arc<Notify>,
    /// Cache of catalogue versions; a version is immutable.
    catalogues: Arc<RwLock<HashMap<String, Arc<Catalogue>>>>,
}

impl Ctx {
    /// Creates the context from the database and the configuration.
    pub fn new(db: Database, config: &Config) -> Result<Self, Box<dyn std::error::Error>> {
        let clock = if config.test_clock_listen.is_some() {
            Clock::Standing {
                db: db.clone(),
                schema: "payments",
            }
        } else {
            Clock::System
        };
        let mut providers: HashMap<&'static str, Box<dyn Provider>> = HashMap::new();
        if config.profile != "production" {
            // The sandbox moves no real money, so it must not exist in production.
            let sandbox = Sandbox::new(db.clone(), clock.clone());
            providers.insert("sandbox", Box::new(sandbox));
        }
        if !config.stripe_secret_key.0.is_empty() {
            let stripe = Stripe::new(
                &config.stripe_url,
                &config.stripe_secret_key.0,
                &config.payment_return_url,
            )?;
            providers.insert("stripe", Box::new(stripe));
        }
        if !config.razorpay_key_id.is_empty() {
            let key = (
                config.razorpay_key_id.as_str(),
                config.razorpay_key_secret.0.as_str(),
            );
            let razorpay = Razorpay::new(&config.razorpay_url, key, &config.payment_return_url)?;
            providers.insert("razorpay", Box::new(razorpay));
        }
        let default_provider = ["sandbox", "stripe"]
            .into_iter()
            .find(|code| providers.contains_key(code))
            .unwrap_or("razorpay");
        let breakers = providers
            .keys()
            .map(|code| (*code, Mutex::default()))
            .collect();
        Ok(Self {
            default_provider,
            stripe_webhook_secret: config.stripe_webhook_secret.0.as_str().into(),
            razorpay_webhook_secret: config.razorpay_webhook_secret.0.as_str().into(),
            db,
            clock,
            anchors: config.anchors(),
            pages: Pages::default(),
            breakers: Arc::new(breakers),
            providers: Arc::new(providers),
            // The lease outlasts two calls to a provider.
            lease_seconds: i32::try_from(config.lease_seconds)?.max(2 * PATIENCE_SECONDS),
            look_up_seconds: i64::from(config.look_up_seconds),
            wake: Arc::default(),
            catalogues: Arc::default(),
        })
    }

    /// The provider with this code; `ProviderNotFound` if it is not configured.
    pub fn provider(&self, code: &str) -> Result<&dyn Provider, Error> {
        self.providers
            .get(code)
            .map(Box::as_ref)
            .ok_or_else(|| Error::ProviderNotFound(code.to_owned()))
    }

    /// The codes of all configured providers.
    pub fn provider_codes(&self) -> impl Iterator<Item = &'static str> {
        self.providers.keys().copied()
    }

    /// Applies `act` to the circuit breaker of a provider; `None` for a provider that this process does not have.
    pub fn breaker<T>(&self, code: &str, act: impl FnOnce(&mut Breaker) -> T) -> Option<T> {
        let breaker = self.breakers.get(code)?;
        let mut breaker = breaker.lock().unwrap_or_else(PoisonError::into_inner);
        Some(act(&mut breaker))
    }

    /// The providers whose circuit breaker is open.
    pub fn unreachable(&self) -> Vec<String> {
        self.provider_codes()
            .filter(|code| self.breaker(code, |it| it.is_open()) == Some(true))
            .map(str::to_owned)
            .collect()
    }

    /// The provider of a movement; `ProviderUnavailable` if this process does not have it. Another process may have it,
    /// so nothing may be concluded about the movement.
    pub fn asked(&self, movement: &Movement) -> Result<&dyn Provider, Error> {
        let code = movement.provider_code.as_str();
        self.providers
            .get(code)
            .map(Box::as_ref)
            .ok_or_else(|| Error::ProviderUnavailable(code.to_owned()))
    }

    /// The catalogue version `version`, or the latest import if it is empty.
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
        let named = (!version.is_empty()).then_some(version);
        let text = catalogues::document(db, named)
            .await?
            .ok_or_else(|| Error::CatalogueVersionNotFound(version.to_owned()))?;
        let catalogue = document::read(&text).map_err(|_| Error::Stored("catalogue"))?;
        let catalogue = Arc::new(catalogue);
        if let Ok(mut cache) = self.catalogues.write() {
            cache.insert(catalogue.version.clone(), catalogue.clone());
        }
        Ok(catalogue)
    }
}

impl Owned for Ctx {
    const SCHEMA: &'static str = "payments";
    const ROOTS: &'static str = "payments.roots";
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
