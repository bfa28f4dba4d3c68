//! Everything a service reads from its environment and command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::version::VERSION_AND_COMMIT;
use crate::{Anchors, TrustDomain};

/// The command line of a service.
#[derive(Debug, Parser)]
#[command(about = "A service of Perdiem.", long_about = None, version = VERSION_AND_COMMIT)]
pub struct Options {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What a service's binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves RPCs and runs jobs until SIGTERM.
    Serve(Config),
    /// Brings the schema up to date, as the role that owns it, and ends.
    Migrate {
        /// The database, as the role that owns the schema.
        #[arg(long, env = "MIGRATE_DATABASE_URL", hide_env_values = true)]
        migrate_database_url: String,
    },
    /// Reads the configuration, says what is wrong with it, and ends.
    CheckConfig(Config),
}

/// The configuration of `serve`. Each option is also an environment variable.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Address to serve on.
    #[arg(long, env = "LISTEN")]
    pub listen: SocketAddr,
    /// The database, as the role that only uses the schema.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// Connections to the database.
    #[arg(long, env = "DATABASE_CONNECTIONS", default_value_t = 16)]
    pub database_connections: u32,
    /// JSON Web Key Set (RS256, ES256, `EdDSA`) with the public keys that verify tokens.
    #[arg(long, env = "AUTH_KEYS_FILE")]
    pub auth_keys_file: PathBuf,
    /// Issuer of the tokens (`iss`); defaults to the issuer of `perdiem token`.
    #[arg(long, env = "TOKEN_ISSUER", default_value = "perdiem")]
    pub token_issuer: String,
    /// Audience of the tokens: their `aud` must be or contain this.
    #[arg(long, env = "TOKEN_AUDIENCE", default_value = "perdiem")]
    pub token_audience: String,
    /// Trust domain of the SPIFFE ids in callers' certificates: `spiffe://DOMAIN/service/NAME` is a service,
    /// `spiffe://DOMAIN/operator/NAME/ROLE[/ROLE…]` an operator. Ids of other domains are not accepted.
    #[arg(long, env = "TRUST_DOMAIN")]
    pub trust_domain: Option<TrustDomain>,
    /// Token with which this service authenticates to the other services if it has no certificate; refused in the
    /// production profile.
    #[arg(
        long,
        env = "SERVICE_TOKEN",
        hide_env_values = true,
        default_value = ""
    )]
    pub service_token: Secret,
    /// Certificate chain (PEM); with it, the key and the CA, TLS is mutual and required.
    #[arg(long, env = "TLS_CERTIFICATE_FILE", requires_all = ["tls_key_file", "tls_ca_file"])]
    pub tls_certificate_file: Option<PathBuf>,
    /// Private key (PEM).
    #[arg(long, env = "TLS_KEY_FILE")]
    pub tls_key_file: Option<PathBuf>,
    /// CA that signs the certificates of callers and peers (PEM).
    #[arg(long, env = "TLS_CA_FILE")]
    pub tls_ca_file: Option<PathBuf>,
    /// Address of the plaintext port for probes and Prometheus: `grpc.health.v1` (service `liveness`; readiness without
    /// a name), `/livez`, `/readyz` and `/metrics`. It asks for no certificate and no token, so only the kubelet and
    /// Prometheus should reach it.
    #[arg(long, env = "METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,
    /// Where traces and metrics go (OTLP over gRPC), http or https; the collector's certificate is by a public
    /// authority or by `TLS_CA_FILE`. Without it, traces are not recorded. `OTEL_TRACES_SAMPLER` and
    /// `OTEL_TRACES_SAMPLER_ARG` choose which part of them is.
    #[arg(long, env = "OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// Whether to serve gRPC reflection, to authenticated callers only.
    #[arg(long, env = "REFLECTION")]
    pub reflection: bool,
    /// Loopback address of the test clock; turns the standing clock on.
    #[arg(long, env = "TEST_CLOCK_LISTEN", value_parser = loopback)]
    pub test_clock_listen: Option<SocketAddr>,
    /// The profile. `production` requires TLS and refuses the test clock, and tokens of services and operators.
    #[arg(long, env = "PROFILE", default_value = "production", value_parser = ["production", "local"])]
    pub profile: String,
    /// Requests in flight before more are shed.
    #[arg(long, env = "MAX_IN_FLIGHT", default_value_t = 256)]
    pub max_in_flight: usize,
    /// Deadline of a job's call and of a request that brings none, and the most that one may bring, in seconds.
    #[arg(long, env = "DEADLINE_SECONDS", default_value_t = 30)]
    pub deadline_seconds: u64,
    /// Whether to run jobs.
    #[arg(long, env = "JOBS", default_value_t = true, action = clap::ArgAction::Set)]
    pub jobs: bool,
    /// Whether to only reconcile, as after a restore: compares with providers and the other services, moves no money, and
    /// refuses changes by anyone but operators.
    #[arg(long, env = "RECONCILE_ONLY")]
    pub reconcile_only: bool,
    /// Workers of a billing run in this process.
    #[arg(long, env = "RUN_WORKERS", default_value_t = 2)]
    pub run_workers: usize,
    /// Payers in a chunk of a billing run.
    #[arg(long, env = "RUN_CHUNK", default_value_t = 10_000)]
    pub run_chunk: usize,
    /// Seconds after which a lease may be taken over.
    #[arg(long, env = "LEASE_SECONDS", default_value_t = 10)]
    pub lease_seconds: u32,
    /// Seconds after which an unknown outcome is looked up at its provider first; later look-ups
    /// take ever longer, up to 17,280 times as long.
    #[arg(long, env = "LOOK_UP_SECONDS", default_value_t = 5)]
    pub look_up_seconds: u32,
    /// Stripe's API, or what stands for it.
    #[arg(long, env = "STRIPE_URL", default_value = "https://api.stripe.com")]
    pub stripe_url: String,
    /// Secret key of Stripe; without it Stripe is not offered.
    #[arg(
        long,
        env = "STRIPE_SECRET_KEY",
        hide_env_values = true,
        default_value = ""
    )]
    pub stripe_secret_key: Secret,
    /// What Stripe signs its webhooks with; without it none are taken.
    #[arg(
        long,
        env = "STRIPE_WEBHOOK_SECRET",
        hide_env_values = true,
        default_value = ""
    )]
    pub stripe_webhook_secret: Secret,
    /// Razorpay's API, or what stands for it.
    #[arg(long, env = "RAZORPAY_URL", default_value = "https://api.razorpay.com")]
    pub razorpay_url: String,
    /// Id of a key of Razorpay; without it Razorpay is not offered.
    #[arg(long, env = "RAZORPAY_KEY_ID", default_value = "")]
    pub razorpay_key_id: String,
    /// Secret of that key.
    #[arg(
        long,
        env = "RAZORPAY_KEY_SECRET",
        hide_env_values = true,
        default_value = ""
    )]
    pub razorpay_key_secret: Secret,
    /// What Razorpay signs its webhooks with; without it none are taken.
    #[arg(
        long,
        env = "RAZORPAY_WEBHOOK_SECRET",
        hide_env_values = true,
        default_value = ""
    )]
    pub razorpay_webhook_secret: Secret,
    /// Where a person is sent after confirming a payment, https; empty for nowhere: what has to be
    /// confirmed is refused then.
    #[arg(long, env = "PAYMENT_RETURN_URL", default_value = "")]
    pub payment_return_url: String,
    /// Address that providers' webhooks come to (HTTP/1); without it none are taken.
    #[arg(long, env = "WEBHOOK_LISTEN")]
    pub webhook_listen: Option<SocketAddr>,
    /// Mail server, such as `smtps://user:password@host`; without it mail waits to be sent.
    #[arg(long, env = "SMTP_URL", hide_env_values = true, default_value = "")]
    pub smtp_url: Secret,
    /// Whom mail is from.
    #[arg(long, env = "MAIL_FROM", default_value = "Perdiem <perdiem@localhost>")]
    pub mail_from: String,
    /// Domain of the gateway that sends mail to NUMBER@DOMAIN on as a message: verification codes go there.
    #[arg(long, env = "SMS_MAIL_DOMAIN", default_value = "sms.localhost")]
    pub sms_mail_domain: String,
    /// File outside the database that the newest entries of the audit are written to each minute; without it a tail
    /// that was cut off by who may change the database is not missed.
    #[arg(long, env = "AUDIT_FILE", requires = "audit_key")]
    pub audit_file: Option<PathBuf>,
    /// What the lines of that file are signed with, at least 32 characters.
    #[arg(long, env = "AUDIT_KEY", hide_env_values = true, default_value = "")]
    pub audit_key: Secret,
    /// A point at which the process ends as if it were killed; for tests, refused in the production profile.
    #[arg(long, env = "CRASH_AT", hide = true, default_value = "")]
    pub crash_at: String,
    /// The other services.
    #[command(flatten)]
    pub peers: Peers,
}

/// A text that is not shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "…" })
    }
}

/// Where the other services are.
#[derive(Debug, Clone, Args)]
pub struct Peers {
    /// `plan`.
    #[arg(long, env = "PLAN_URL", default_value = "http://127.0.0.1:7301")]
    pub plan_url: String,
    /// `billing`.
    #[arg(long, env = "BILLING_URL", default_value = "http://127.0.0.1:7302")]
    pub billing_url: String,
    /// `payments`.
    #[arg(long, env = "PAYMENTS_URL", default_value = "http://127.0.0.1:7304")]
    pub payments_url: String,
}

impl Config {
    /// Where the newest entries of the audit go to.
    pub fn anchors(&self) -> Anchors {
        Anchors::new(self.audit_file.clone(), self.audit_key.clone())
    }

    /// Faults in how callers are identified.
    fn faults_of_identity(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let production = self.profile == "production";
        let certificates = production || self.tls_certificate_file.is_some();
        if certificates && self.trust_domain.is_none() {
            faults.push("TRUST_DOMAIN must be set to identify callers by certificate".to_owned());
        }
        if production && !self.token_issuer.starts_with("https://") {
            faults.push("TOKEN_ISSUER must be https in the production profile".to_owned());
        }
        if production && !self.service_token.0.is_empty() {
            faults.push(
                "SERVICE_TOKEN is refused in the production profile: services have certificates"
                    .to_owned(),
            );
        }
        if self.token_issuer.is_empty() || self.token_audience.is_empty() {
            faults.push("TOKEN_ISSUER and TOKEN_AUDIENCE must not be empty".to_owned());
        }
        faults
    }

    /// What is wrong with it beyond what a single option can say; one line each.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.faults_of_identity();
        let production = self.profile == "production";
        if production && self.test_clock_listen.is_some() {
            faults.push("TEST_CLOCK_LISTEN is refused in the production profile".to_owned());
        }
        if production && self.tls_certificate_file.is_none() {
            faults.push(
                "the production profile needs TLS_CERTIFICATE_FILE, TLS_KEY_FILE and TLS_CA_FILE"
                    .to_owned(),
            );
        }
        if !production && !self.listen.ip().is_loopback() && self.tls_certificate_file.is_none() {
            faults.push("LISTEN must be a loopback address when there is no TLS".to_owned());
        }
        if production && self.stripe_secret_key.0.starts_with("sk_test_") {
            faults
                .push("STRIPE_SECRET_KEY of tests is refused in the production profile".to_owned());
        }
        if production && !self.stripe_url.starts_with("https://") {
            faults.push("STRIPE_URL must be https in the production profile".to_owned());
        }
        if production && self.razorpay_key_id.starts_with("rzp_test_") {
            faults.push("RAZORPAY_KEY_ID of tests is refused in the production profile".to_owned());
        }
        if production && !self.razorpay_url.starts_with("https://") {
            faults.push("RAZORPAY_URL must be https in the production profile".to_owned());
        }
        if self.razorpay_key_id.is_empty() != self.razorpay_key_secret.0.is_empty() {
            faults.push("RAZORPAY_KEY_ID and RAZORPAY_KEY_SECRET belong together".to_owned());
        }
        if production && !self.crash_at.is_empty() {
            faults.push("CRASH_AT is refused in the production profile".to_owned());
        }
        if self.audit_file.is_some() && self.audit_key.0.len() < 32 {
            faults.push("AUDIT_FILE needs an AUDIT_KEY of at least 32 characters".to_owned());
        }
        let secrets = [&self.stripe_webhook_secret, &self.razorpay_webhook_secret];
        if self.webhook_listen.is_some() && secrets.iter().all(|secret| secret.0.is_empty()) {
            faults.push(
                "WEBHOOK_LISTEN needs STRIPE_WEBHOOK_SECRET or RAZORPAY_WEBHOOK_SECRET".to_owned(),
            );
        }
        for (name, value) in [
            ("RUN_CHUNK", self.run_chunk),
            ("RUN_WORKERS", self.run_workers),
            ("MAX_IN_FLIGHT", self.max_in_flight),
            (
                "LOOK_UP_SECONDS",
                usize::try_from(self.look_up_seconds).unwrap_or(1),
            ),
            (
                "LEASE_SECONDS",
                usize::try_from(self.lease_seconds).unwrap_or(1),
            ),
            (
                "DEADLINE_SECONDS",
                usize::try_from(self.deadline_seconds).unwrap_or(1),
            ),
        ] {
            if value == 0 {
                faults.push(format!("{name} must be above zero"));
            }
        }
        if 10_000 < self.run_chunk {
            faults.push("RUN_CHUNK is at most 10000".to_owned());
        }
        faults
    }
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "an address and port".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("must be a loopback address".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(options: &[&str]) -> Vec<String> {
        let always = [
            "service",
            "serve",
            "--listen=127.0.0.1:1",
            "--database-url=x",
            "--auth-keys-file=x",
            "--stripe-url=https://x",
        ];
        let options = always.iter().chain(options);
        let Command::Serve(config) = Options::try_parse_from(options).unwrap().command else {
            panic!("serve is serve");
        };
        config.faults()
    }

    #[test]
    fn the_version_names_the_commit() {
        let shown = Options::try_parse_from(["service", "--version"]).unwrap_err();
        let shown = shown.to_string();
        assert!(shown.contains(env!("CARGO_PKG_VERSION")), "{shown}");
        assert!(
            shown.contains(&format!("commit {}", crate::COMMIT)),
            "{shown}"
        );
    }

    #[test]
    fn in_production_callers_are_told_apart_by_trust_domain_and_issuer() {
        let tls = [
            "--profile=production",
            "--tls-certificate-file=x",
            "--tls-key-file=x",
            "--tls-ca-file=x",
        ];
        let whole = [
            "--trust-domain=prod.example",
            "--token-issuer=https://login.example",
        ];
        let with = |more: &[&str]| faults(&[&tls[..], more].concat());
        assert!(with(&whole).is_empty());
        let names = |faults: Vec<String>, name: &str| {
            assert!(faults.iter().any(|it| it.contains(name)), "{faults:?}");
        };
        names(with(&whole[1..]), "TRUST_DOMAIN");
        names(with(&whole[..1]), "TOKEN_ISSUER");
        let token = ["--service-token=x"];
        names(with(&[&whole[..], &token].concat()), "SERVICE_TOKEN");
        let nobody = ["--token-audience="];
        names(with(&[&whole[..], &nobody].concat()), "TOKEN_AUDIENCE");

        assert!(faults(&["--profile=local", "--service-token=x"]).is_empty());
        let local = ["--profile=local"];
        names(faults(&[&local[..], &tls[1..]].concat()), "TRUST_DOMAIN");
    }
}
