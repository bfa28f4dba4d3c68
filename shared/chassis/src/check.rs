//! Validates a configuration as `serve` would use it: it parses the values, opens the files and connects to the
//! database. Each fault is one line that names its variable and never shows a secret.

use std::error::Error;
use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr as _;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::tls::Tls;
use crate::{Chain, Config, Identities, descriptors};

/// The faults of a configuration, one line each.
pub struct Faults(Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not right:")?;
        self.0.iter().try_for_each(|fault| write!(f, "\n{fault}"))
    }
}

/// Shown when the program ends with this error; must keep the line breaks.
impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Faults {}

/// Fails if there are faults.
pub fn none(faults: Vec<String>) -> Result<(), Faults> {
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Faults(faults))
    }
}

/// All faults that show without connecting to the database; `peers` are the variables with the URLs of other
/// services.
pub fn faults(config: &Config, peers: &[&str]) -> Vec<String> {
    let mut faults = config.faults();
    faults.extend(of_database(config));
    faults.extend(of_urls(config, peers));
    faults.extend(of_files(config));
    faults.extend(descriptors::fault(config));
    faults
}

/// The fault in connecting to the database, if there is one.
pub async fn of_connection(config: &Config) -> Option<String> {
    let asked = async {
        let db = crate::connect(&config.database_url, "check-config", 1)?;
        db.acquire().await.map(drop)
    };
    let error = asked.await.err()?;
    Some(format!("DATABASE_URL: {}", Chain(&error)))
}

fn of_database(config: &Config) -> Vec<String> {
    let mut faults = Vec::new();
    if !(1..=1_000).contains(&config.database_connections) {
        faults.push("DATABASE_CONNECTIONS must be 1 to 1000".to_owned());
    }
    let url = config.database_url.as_str();
    let known = url.starts_with("postgres://") || url.starts_with("postgresql://");
    match PgConnectOptions::from_str(url) {
        Ok(options) if known => {
            let verified = match options.get_ssl_mode() {
                PgSslMode::VerifyCa | PgSslMode::VerifyFull => true,
                // A Unix socket does not leave the machine.
                PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer | PgSslMode::Require => {
                    options.get_socket().is_some()
                }
            };
            if config.profile == "production" && !verified {
                let fault = "DATABASE_URL must say sslmode=verify-full in the production profile";
                faults.push(fault.to_owned());
            }
        }
        Ok(_) | Err(_) => {
            let fault = "DATABASE_URL must be a URL such as postgres://ROLE@HOST/DATABASE";
            faults.push(fault.to_owned());
        }
    }
    faults
}

fn of_urls(config: &Config, peers: &[&str]) -> Vec<String> {
    let production = config.profile == "production";
    let mut faults = Vec::new();
    let called = [
        ("PLAN_URL", config.peers.plan_url.as_str()),
        ("BILLING_URL", &config.peers.billing_url),
        ("PAYMENTS_URL", &config.peers.payments_url),
    ];
    for (name, url) in called.into_iter().filter(|(name, _)| peers.contains(name)) {
        if !is_url(url, &["http", "https"]) {
            faults.push(format!("{name} must be a URL such as https://HOST:PORT"));
        } else if production && !url.starts_with("https://") {
            faults.push(format!("{name} must be https in the production profile"));
        }
    }
    let others = [
        ("STRIPE_URL", config.stripe_url.as_str(), ["http", "https"]),
        ("RAZORPAY_URL", &config.razorpay_url, ["http", "https"]),
        (
            "PAYMENT_RETURN_URL",
            &config.payment_return_url,
            ["http", "https"],
        ),
        (
            "OTLP_ENDPOINT",
            config.otlp_endpoint.as_deref().unwrap_or_default(),
            ["http", "https"],
        ),
        ("SMTP_URL", &config.smtp_url.0, ["smtp", "smtps"]),
    ];
    for (name, url, schemes) in others {
        if !url.is_empty() && !is_url(url, &schemes) {
            let [plain, secure] = schemes;
            faults.push(format!("{name} must be a URL, {plain} or {secure}"));
        }
    }
    faults
}

fn is_url(text: &str, schemes: &[&str]) -> bool {
    text.parse::<http::Uri>().is_ok_and(|uri| {
        let scheme = uri.scheme_str().unwrap_or_default();
        let host = uri.host().unwrap_or_default();
        schemes.contains(&scheme) && !host.is_empty()
    })
}

fn of_files(config: &Config) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, file) in [
        ("TLS_CERTIFICATE_FILE", &config.tls_certificate_file),
        ("TLS_KEY_FILE", &config.tls_key_file),
        ("TLS_CA_FILE", &config.tls_ca_file),
    ] {
        if let Some(file) = file
            && let Err(error) = fs::read(file)
        {
            faults.push(format!("{name}: {}: {error}", file.display()));
        }
    }
    if faults.is_empty()
        && let Err(error) = Tls::read(config)
    {
        let what = "TLS_CERTIFICATE_FILE, TLS_KEY_FILE, TLS_CA_FILE";
        faults.push(format!("{what}: {}", Chain(error.as_ref())));
    }
    if let Err(error) = Identities::read(config) {
        let file = config.auth_keys_file.display();
        faults.push(format!("AUTH_KEYS_FILE: {file}: {error}"));
    }
    if let Some(file) = &config.audit_file
        && let Some(fault) = not_written(file)
    {
        faults.push(format!("AUDIT_FILE: {}: {fault}", file.display()));
    }
    faults
}

/// Why a file can't be appended to. The check does not create a missing file, which could then have the wrong owner.
fn not_written(file: &Path) -> Option<String> {
    if file.exists() {
        let opened = fs::OpenOptions::new().append(true).open(file);
        return opened.err().map(|error| error.to_string());
    }
    let folder = file.parent().filter(|it| !it.as_os_str().is_empty());
    let there = folder.is_none_or(Path::is_dir);
    (!there).then(|| "its folder does not exist".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{Command, Options};

    fn told(options: &[&str], peers: &[&str]) -> Vec<String> {
        let always = ["service", "serve", "--listen=127.0.0.1:1"];
        let options = always.iter().chain(options);
        let Command::Serve(config) = Options::try_parse_from(options).unwrap().command else {
            panic!("serve is serve");
        };
        faults(&config, peers)
    }

    #[test]
    fn all_faults_are_told_at_once_each_with_its_variable() {
        let told = told(
            &[
                "--profile=local",
                "--database-url=mysql://h/d",
                "--database-connections=0",
                "--auth-keys-file=/no/keys",
                "--plan-url=::bad",
                "--billing-url=::bad",
                "--smtp-url=ftp://x",
                "--tls-certificate-file=/no/certificate",
                "--tls-key-file=/no/key",
                "--tls-ca-file=/no/ca",
                "--trust-domain=prod.example",
                "--audit-file=/no/audit",
                "--audit-key=0123456789012345678901234567890123",
            ],
            &["PLAN_URL"],
        );
        for name in [
            "DATABASE_URL",
            "DATABASE_CONNECTIONS",
            "AUTH_KEYS_FILE",
            "PLAN_URL",
            "SMTP_URL",
            "TLS_CERTIFICATE_FILE",
            "TLS_KEY_FILE",
            "TLS_CA_FILE",
            "AUDIT_FILE",
        ] {
            let lines = told.iter().filter(|it| it.starts_with(name)).count();
            assert_eq!(lines, 1, "{name}: {told:?}");
        }
        // Nobody calls it.
        assert!(!told.iter().any(|it| it.contains("BILLING_URL")));
        let shown = format!("{:?}", none(told).unwrap_err());
        assert_eq!(shown.lines().count(), 10, "{shown}");
    }

    #[test]
    fn in_production_nothing_goes_in_the_clear() {
        let with = |database: &str| {
            let database = format!("--database-url={database}");
            let options = [
                database.as_str(),
                "--auth-keys-file=x",
                "--plan-url=http://plan:1",
            ];
            told(&options, &["PLAN_URL"])
        };
        let names = |faults: &[String], name: &str| faults.iter().any(|it| it.starts_with(name));
        let plain = with("postgres://r@h/d?sslmode=disable");
        assert!(names(&plain, "DATABASE_URL") && names(&plain, "PLAN_URL"));
        assert!(names(&with("postgres://r@h/d"), "DATABASE_URL"));
        let verified = with("postgres://r@h/d?sslmode=verify-full");
        assert!(!names(&verified, "DATABASE_URL"));
        let socket = with("postgres://r@%2Frun%2Fpg:5432/d");
        assert!(!names(&socket, "DATABASE_URL"));
    }
}
