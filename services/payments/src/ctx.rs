//! What an RPC or a job needs besides its input.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use chassis::{Anchors, Clock, Config, Owned};
use sqlx::{PgConnection, PgPool};
use tokio::sync::Notify;

use crate::document;
use crate::domain::catalogue::Catalogue;
use crate::error::Error;
use crate::providers::{Provider, Razorpay, Sandbox, Stripe};
use crate::store::catalogues;
use crate::store::movements::Movement;

/// How long a provider is waited for, in whole seconds.
const PATIENCE_SECONDS: i32 = 8;

/// What an RPC or a job needs besides its input.
#[derive(Clone)]
pub struct Ctx {
    /// The database, limited to this service's schema by its role.
    pub db: PgPool,
    /// The time.
    pub clock: Clock,
    /// Where the newest entries of the audit go to.
    pub anchors: Anchors,
    /// Whoever moves the money, by code.
    providers: Arc<HashMap<&'static str, Box<dyn Provider>>>,
    /// The provider of a method whose request names none.
    pub default_provider: &'static str,
    /// What Stripe signs its webhooks with; empty takes none.
    pub stripe_webhook_secret: Arc<str>,
    /// What Razorpay signs its webhooks with; empty takes none.
    pub razorpay_webhook_secret: Arc<str>,
    /// Seconds after which somebody else may finish what this process asks a provider.
    pub lease_seconds: i32,
    /// Seconds after which an unknown outcome is looked up first.
    pub look_up_seconds: i64,
    /// Wakes the jobs of this process when there is work; those of others look by themselves.
    pub wake: Arc<Notify>,
    /// Catalogue versions read before: a version never changes.
    catalogues: Arc<RwLock<HashMap<String, Arc<Catalogue>>>>,
}

impl Ctx {
    /// A context on `db` for a configuration.
    pub fn new(db: PgPool, config: &Config) -> Result<Self, Box<dyn std::error::Error>> {
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
            // It gives away what is paid for: never where there are customers.
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
        Ok(Self {
            default_provider,
            stripe_webhook_secret: config.stripe_webhook_secret.0.as_str().into(),
            razorpay_webhook_secret: config.razorpay_webhook_secret.0.as_str().into(),
            db,
            clock,
            anchors: config.anchors(),
            providers: Arc::new(providers),
            // Longer than a provider is waited for, twice.
            lease_seconds: i32::try_from(config.lease_seconds)?.max(2 * PATIENCE_SECONDS),
            look_up_seconds: i64::from(config.look_up_seconds),
            wake: Arc::default(),
            catalogues: Arc::default(),
        })
    }

    /// The provider of this code.
    pub fn provider(&self, code: &str) -> Result<&dyn Provider, Error> {
        self.providers
            .get(code)
            .map(Box::as_ref)
            .ok_or_else(|| Error::ProviderNotFound(code.to_owned()))
    }

    /// The codes of all providers.
    pub fn provider_codes(&self) -> impl Iterator<Item = &'static str> {
        self.providers.keys().copied()
    }

    /// The provider that a movement was written down for. This process may not have it, while others have:
    /// nothing is known of the movement then.
    pub fn asked(&self, movement: &Movement) -> Result<&dyn Provider, Error> {
        let code = movement.provider_code.as_str();
        self.providers
            .get(code)
            .map(Box::as_ref)
            .ok_or_else(|| Error::ProviderUnavailable(code.to_owned()))
    }

    /// The catalogue version `version`; the one imported last when it is empty.
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
