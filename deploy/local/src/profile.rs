//! Which deployment a command is for, and as whom it calls: by the options of the command, or by a profile in a file.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use chassis::{TlsFiles, TrustDomain};
use clap::Args;
use http::Uri;
use serde::Deserialize;

use crate::Failure;
use crate::connect::{Clients, Identity, NEEDED, Urls};
use crate::keys::Keys;

/// Who the command is by its certificate, with the names that the services have for the same.
#[derive(Debug, Clone, Default, Args)]
pub struct TlsOptions {
    /// CA that signs the certificates of the services (PEM).
    #[arg(long, env = "TLS_CA_FILE", global = true)]
    pub tls_ca_file: Option<PathBuf>,
    /// Certificate chain of the operator (PEM).
    #[arg(long, env = "TLS_CERTIFICATE_FILE", global = true)]
    pub tls_certificate_file: Option<PathBuf>,
    /// Private key of that certificate (PEM).
    #[arg(long, env = "TLS_KEY_FILE", global = true)]
    pub tls_key_file: Option<PathBuf>,
    /// Trust domain of the SPIFFE ids in the services' certificates.
    #[arg(long, env = "TRUST_DOMAIN", global = true)]
    pub trust_domain: Option<TrustDomain>,
}

impl TlsOptions {
    /// The identity, if all of it is given; none if nothing is. `place` tells where it is from.
    fn identity(self, place: &str) -> Result<Option<Identity>, Failure> {
        let lacks = |key: &str| format!("{place}: {key} is missing; {NEEDED}");
        let none = self.tls_ca_file.is_none()
            && self.tls_certificate_file.is_none()
            && self.tls_key_file.is_none()
            && self.trust_domain.is_none();
        if none {
            return Ok(None);
        }
        let readable = |key: &str, file: Option<PathBuf>| -> Result<PathBuf, Failure> {
            let file = file.ok_or_else(|| lacks(key))?;
            match fs::File::open(&file) {
                Ok(_) => Ok(file),
                Err(error) => Err(format!("{place}: {key}: {}: {error}", file.display()).into()),
            }
        };
        Ok(Some(Identity {
            files: TlsFiles {
                ca: readable("tls_ca_file", self.tls_ca_file)?,
                certificate: readable("tls_certificate_file", self.tls_certificate_file)?,
                key: readable("tls_key_file", self.tls_key_file)?,
            },
            trust_domain: self.trust_domain.ok_or_else(|| lacks("trust_domain"))?,
        }))
    }
}

/// A deployment, as the file of profiles has it. Files are relative to that file's folder.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    plan_url: String,
    billing_url: String,
    account_url: String,
    payments_url: String,
    /// The test clocks of plan, billing, account-lifecycle and payments.
    clock_urls: Option<Vec<String>>,
    tls_ca_file: Option<PathBuf>,
    tls_certificate_file: Option<PathBuf>,
    tls_key_file: Option<PathBuf>,
    trust_domain: Option<String>,
    token_file: Option<PathBuf>,
    token_command: Option<Vec<String>>,
}

/// Where a token is from; a command may ask for it more than once, as tokens end.
#[derive(Debug)]
enum Token {
    File(PathBuf),
    Command(Vec<String>),
}

/// Where the services are, and as whom they are called.
#[derive(Debug)]
pub struct Deployment {
    /// Where the services are.
    pub urls: Urls,
    /// Where the rest is from, for errors.
    place: String,
    identity: Option<Identity>,
    token: Option<Token>,
}

impl Deployment {
    /// The one that the options of the command name.
    pub fn given(urls: Urls, tls: TlsOptions) -> Result<Self, Failure> {
        let place = "options".to_owned();
        let identity = tls.identity(&place)?;
        Ok(Self {
            urls,
            place,
            identity,
            token: None,
        })
    }

    /// The one that a file has under a name; `urls` has the test clocks if the file has none.
    pub fn read(file: &Path, name: &str, urls: Urls) -> Result<Self, Failure> {
        let shown = file.display();
        let text = fs::read_to_string(file).map_err(|error| format!("{shown}: {error}"))?;
        let profiles: BTreeMap<String, Profile> =
            serde_yaml_ng::from_str(&text).map_err(|error| format!("{shown}: {error}"))?;
        let names: Vec<String> = profiles.keys().cloned().collect();
        let named = profiles.into_iter().find(|(it, _)| it == name);
        let Some((_, profile)) = named else {
            let names = names.join(", ");
            return Err(format!("{shown}: there is no profile {name}, only: {names}").into());
        };
        profile.deployment(&format!("{shown}: {name}"), file, urls)
    }

    /// Clients of the services. They show the token of the profile; without one, who has no certificate is a local
    /// operator with every role, by the keys in a folder.
    pub fn clients(&self, keys: &Path) -> Result<Clients, Failure> {
        let token = match (&self.token, &self.identity) {
            (Some(token), _) => Some(token.read(&self.place)?),
            (None, Some(_)) => None,
            (None, None) => Some(Keys::open(keys)?.any_operator()?),
        };
        Clients::with(&self.urls, self.identity.as_ref(), token.as_deref())
    }
}

impl Profile {
    /// What it says, from `place` in `file`.
    fn deployment(self, place: &str, file: &Path, urls: Urls) -> Result<Deployment, Failure> {
        let beside = |it: PathBuf| match file.parent() {
            Some(folder) => folder.join(it),
            None => it,
        };
        let domain = self.trust_domain.map(|it| it.parse::<TrustDomain>());
        let domain = domain.transpose();
        let tls = TlsOptions {
            tls_ca_file: self.tls_ca_file.map(beside),
            tls_certificate_file: self.tls_certificate_file.map(beside),
            tls_key_file: self.tls_key_file.map(beside),
            trust_domain: domain.map_err(|error| format!("{place}: trust_domain: {error}"))?,
        };
        let identity = tls.identity(place)?;
        let token = match (self.token_file, self.token_command) {
            (Some(_), Some(_)) => {
                let both = format!("{place}: token_file and token_command exclude each other");
                return Err(both.into());
            }
            (Some(file), None) => Some(Token::File(beside(file))),
            (None, Some(command)) => Some(Token::Command(command)),
            (None, None) => None,
        };
        for (key, url) in [
            ("plan_url", &self.plan_url),
            ("billing_url", &self.billing_url),
            ("account_url", &self.account_url),
            ("payments_url", &self.payments_url),
        ] {
            if identity.is_none() && url.starts_with("https://") {
                return Err(format!("{place}: {key} is https; {NEEDED}").into());
            }
            if (identity.is_some() || token.is_some())
                && url.starts_with("http://")
                && !is_local(url)
            {
                let why = "a token would be readable on its way; use https";
                return Err(format!("{place}: {key} is http; {why}").into());
            }
        }
        Ok(Deployment {
            urls: Urls {
                plan_url: self.plan_url,
                billing_url: self.billing_url,
                account_url: self.account_url,
                payments_url: self.payments_url,
                clock_urls: self.clock_urls.unwrap_or(urls.clock_urls),
            },
            place: place.to_owned(),
            identity,
            token,
        })
    }
}

/// Whether a URL names this machine.
fn is_local(url: &str) -> bool {
    let host = url.parse::<Uri>().ok();
    let host = host.as_ref().and_then(Uri::host).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|it| it.is_loopback())
}

impl Token {
    /// The token; `place` tells where it is asked for.
    fn read(&self, place: &str) -> Result<String, Failure> {
        let (key, text) = match self {
            Self::File(file) => {
                let told =
                    |error: io::Error| format!("{place}: token_file: {}: {error}", file.display());
                ("token_file", fs::read_to_string(file).map_err(told)?)
            }
            Self::Command(command) => {
                let key = "token_command";
                let [program, arguments @ ..] = command.as_slice() else {
                    return Err(format!("{place}: {key} is empty").into());
                };
                // It may ask whoever types: what it prints to standard error is seen.
                let mut run = Command::new(program);
                run.args(arguments)
                    .stdin(Stdio::inherit())
                    .stderr(Stdio::inherit());
                let told = |error: io::Error| format!("{place}: {key}: {program}: {error}");
                let output = run.output().map_err(told)?;
                if !output.status.success() {
                    let status = output.status;
                    return Err(format!("{place}: {key}: {program}: {status}").into());
                }
                let text = String::from_utf8(output.stdout);
                (
                    key,
                    text.map_err(|error| format!("{place}: {key}: {error}"))?,
                )
            }
        };
        match text.trim() {
            "" => Err(format!("{place}: {key} gives no token").into()),
            token => Ok(token.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// Where the local suite is.
    fn local() -> Urls {
        let url = || "http://127.0.0.1:1".to_owned();
        Urls {
            plan_url: url(),
            billing_url: url(),
            account_url: url(),
            payments_url: url(),
            clock_urls: vec!["http://127.0.0.1:2".to_owned()],
        }
    }

    /// A file of profiles beside files for TLS, which are empty, and a token.
    fn profiles(text: &str) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["ca.pem", "operator.pem", "operator.key"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::write(folder.path().join("token"), "from-a-file\n").unwrap();
        let file = folder.path().join("profiles.yaml");
        fs::write(&file, text).unwrap();
        (folder, file)
    }

    /// A profile with more lines; by http it is of this machine.
    fn profile(scheme: &str, more: &[&str]) -> String {
        let mut lines = vec!["staging:".to_owned()];
        for (name, port) in [("plan", 1), ("billing", 2), ("account", 3), ("payments", 4)] {
            let host = match scheme {
                "http" => "127.0.0.1".to_owned(),
                _ => format!("{name}.example"),
            };
            lines.push(format!("  {name}_url: {scheme}://{host}:{port}"));
        }
        lines.extend(more.iter().map(|it| format!("  {it}")));
        lines.join("\n")
    }

    static TLS: [&str; 4] = [
        "tls_ca_file: ca.pem",
        "tls_certificate_file: operator.pem",
        "tls_key_file: operator.key",
        "trust_domain: staging.example",
    ];

    fn read(text: &str) -> Result<Deployment, String> {
        let (_folder, file) = profiles(text);
        Deployment::read(&file, "staging", local()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_profile_has_addresses_certificates_and_a_token() {
        let (folder, file) = profiles(&profile("https", &TLS));
        let read = Deployment::read(&file, "staging", local()).unwrap();
        assert_eq!(read.urls.payments_url, "https://payments.example:4");
        assert_eq!(read.urls.clock_urls, local().clock_urls);
        let identity = read.identity.unwrap();
        assert_eq!(identity.files.ca, folder.path().join("ca.pem"));
        assert_eq!(identity.files.key, folder.path().join("operator.key"));
        assert_eq!(identity.trust_domain, "staging.example".parse().unwrap());
        assert!(read.token.is_none());

        let clocks = "clock_urls: ['http://127.0.0.1:9']";
        let read = self::read(&profile("http", &[clocks])).unwrap();
        assert_eq!(read.urls.clock_urls, ["http://127.0.0.1:9"]);
        assert!(read.identity.is_none());
    }

    #[test]
    fn a_token_is_what_a_file_holds_or_a_command_prints() {
        let (_folder, file) = profiles(&profile("http", &["token_file: token"]));
        let read = Deployment::read(&file, "staging", local()).unwrap();
        let token = |read: &Deployment| {
            let token = read.token.as_ref().unwrap().read(&read.place);
            token.map_err(|error| error.to_string())
        };
        assert_eq!(token(&read).unwrap(), "from-a-file");
        let by = |command: &str| {
            let line = format!("token_command: {command}");
            token(&self::read(&profile("http", &[line.as_str()])).unwrap())
        };
        assert_eq!(by("[echo, from-a-command]").unwrap(), "from-a-command");
        for (command, told) in [
            ("['false']", "exit status: 1"),
            ("['true']", "gives no token"),
            ("[/nowhere/at/all]", "/nowhere/at/all"),
            ("[]", "is empty"),
        ] {
            let refused = by(command).unwrap_err();
            assert!(refused.contains("staging: token_command"), "{refused}");
            assert!(refused.contains(told), "{refused}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_profile_is_told_by_file_and_key() {
        let without = |left_out: usize| -> Vec<&str> {
            let kept = TLS.iter().enumerate().filter(|(at, _)| *at != left_out);
            kept.map(|(_, line)| *line).collect()
        };
        let https = |more: &[&str]| profile("https", more);
        let one_url = "staging:\n  plan_url: http://plan.example:1\n".to_owned();
        for (text, key) in [
            (https(&[]), "staging: plan_url is https"),
            (
                profile("http", &["token_file: token"]).replace("127.0.0.1:3", "account.example:3"),
                "staging: account_url is http",
            ),
            (https(&without(0)), "staging: tls_ca_file is missing"),
            (
                https(&without(1)),
                "staging: tls_certificate_file is missing",
            ),
            (https(&without(2)), "staging: tls_key_file is missing"),
            (https(&without(3)), "staging: trust_domain is missing"),
            (
                https(&[&without(0)[..], &["tls_ca_file: none.pem"]].concat()),
                "staging: tls_ca_file: ",
            ),
            (
                https(&[&without(3)[..], &["trust_domain: No Domain"]].concat()),
                "staging: trust_domain: ",
            ),
            (
                profile("http", &["token_file: token", "token_command: [date]"]),
                "token_command",
            ),
            (profile("http", &["colour: blue"]), "unknown field `colour`"),
            (one_url, "missing field `billing_url`"),
        ] {
            let told = read(&text).unwrap_err();
            assert!(told.contains("profiles.yaml"), "{told}");
            assert!(told.contains("staging"), "{told}");
            assert!(told.contains(key), "{told}");
        }
        let (_folder, file) = profiles(&profile("http", &[]));
        let told = Deployment::read(&file, "prod", local()).unwrap_err();
        let told = told.to_string();
        assert!(told.contains("no profile prod, only: staging"), "{told}");
        let nowhere = Path::new("/nowhere/profiles.yaml");
        let told = Deployment::read(nowhere, "prod", local()).unwrap_err();
        assert!(told.to_string().contains("/nowhere/profiles.yaml"));
    }

    #[test]
    fn options_of_tls_are_given_all_or_none() {
        assert!(Deployment::given(local(), TlsOptions::default()).is_ok());
        let some = TlsOptions {
            trust_domain: Some("staging.example".parse().unwrap()),
            ..TlsOptions::default()
        };
        let told = Deployment::given(local(), some).unwrap_err().to_string();
        assert!(told.contains("options: tls_ca_file is missing"), "{told}");
    }
}
