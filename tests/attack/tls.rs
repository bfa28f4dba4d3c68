//! Callers of ports that ask for certificates: who has none of the authority is not talked to, and who has one that
//! names nobody is unknown.

use std::path::Path;
use std::time::{Duration, Instant};

use chassis::Who;
use perdiem::suite::SERVICES;
use tonic::Status;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tonic_types::StatusExt as _;

use crate::Victim;
use crate::raw::{Method, Raw, methods};

/// Where a second process of each service listens, with a certificate.
const PORTS: [u16; 4] = [7541, 7542, 7543, 7544];
/// How long such a process may take to start.
const START: Duration = Duration::from_mins(1);
/// How long an answer, or the end of a connection, may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Certificates of callers who are known.
const KNOWN: [&str; 2] = ["operator", "billing"];
/// Certificates that are not of the authority, or not of this time.
const UNFIT: [&str; 4] = ["another-authority", "no-authority", "expired", "too-early"];
/// Certificates of the authority that name nobody.
const NOBODY: [&str; 11] = [
    "another-domain",
    "longer-domain",
    "no-domain",
    "longer-path",
    "stranger",
    "two-names",
    "no-spiffe",
    "no-name",
    "no-role",
    "unknown-role",
    "person",
];

/// What a caller was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// An answer, or a refusal of what was asked.
    Answer,
    /// That they may not call the method.
    NotAllowed,
    /// That they are unknown.
    Unknown,
    /// Nothing: there is no connection.
    Nothing,
    /// Nothing, in the time that there was.
    Late,
}

/// Calls each service with each certificate; gives the promises that were broken.
pub async fn attack(victim: &mut Victim) -> Vec<String> {
    let methods = methods();
    let token = victim.suite.keys.any_operator().unwrap();
    let bearer = [format!("Bearer {token}")];
    let (mut broken, mut calls) = (Vec::new(), 0);
    for ((service, ..), port) in SERVICES.into_iter().zip(PORTS) {
        victim.suite.spawn(service, &environment(port)).unwrap();
        let of_operators = |it: &&Method| {
            let mut who = it.access.who.iter();
            let operators = who.any(|it| matches!(it, Who::Operator(_)));
            it.service == service && !it.access.streams && operators
        };
        let method = methods.iter().find(of_operators).unwrap();
        let begun = Instant::now();
        while called(port, Some("operator"), &[], method).await == Told::Nothing
            && begun.elapsed() < START
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut judge = |caller: &str, told: Told, expected: &[Told]| {
            calls += 1;
            if !expected.contains(&told) {
                broken.push(format!(
                    "{service}, {}: {caller} was told {told:?}",
                    method.path
                ));
            }
        };
        // A token makes up for no certificate.
        let told = called(port, None, &bearer, method).await;
        judge("a caller without a certificate", told, &[Told::Nothing]);
        let plain = Raw::new(&format!("http://127.0.0.1:{port}"));
        let told = told_by(&plain, &bearer, method).await;
        judge("a caller without TLS", told, &[Told::Nothing]);
        for name in UNFIT {
            let told = called(port, Some(name), &bearer, method).await;
            judge(name, told, &[Told::Nothing]);
        }
        for name in NOBODY {
            let told = called(port, Some(name), &[], method).await;
            judge(name, told, &[Told::Unknown]);
        }
        // At the end, so that it is seen that the service still serves.
        for name in KNOWN {
            let told = called(port, Some(name), &[], method).await;
            let expected: &[Told] = if name == "operator" {
                &[Told::Answer]
            } else {
                &[Told::Answer, Told::NotAllowed]
            };
            judge(name, told, expected);
        }
    }
    println!("{calls} calls with and without certificates");
    broken
}

/// The file with a certificate and its key.
fn file(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/tls");
    folder.join(format!("{name}.pem")).display().to_string()
}

/// What makes a second process of a service serve with a certificate, beside the first.
fn environment(port: u16) -> [(&'static str, String); 7] {
    [
        ("LISTEN", format!("127.0.0.1:{port}")),
        ("WEBHOOK_LISTEN", format!("127.0.0.1:{}", port + 10)),
        ("JOBS", "false".to_owned()),
        ("TRUST_DOMAIN", "perdiem.local".to_owned()),
        ("TLS_CERTIFICATE_FILE", file("server")),
        ("TLS_KEY_FILE", file("server")),
        ("TLS_CA_FILE", file("ca")),
    ]
}

/// Calls a method on a connection of its own with a certificate.
async fn called(port: u16, certificate: Option<&str>, bearer: &[String], method: &Method) -> Told {
    let pem = |name: &str| std::fs::read(file(name)).unwrap();
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(pem("ca")))
        .domain_name("localhost");
    if let Some(name) = certificate {
        tls = tls.identity(Identity::from_pem(pem(name), pem(name)));
    }
    let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}")).unwrap();
    let endpoint = endpoint.tls_config(tls).unwrap();
    told_by(&Raw::at(&endpoint), bearer, method).await
}

/// What an empty message to a method is answered.
async fn told_by(raw: &Raw, bearer: &[String], method: &Method) -> Told {
    let calling = raw.call(&method.path, bearer, Vec::new());
    match tokio::time::timeout(PATIENCE, calling).await {
        Err(_) => Told::Late,
        Ok(Ok(_)) => Told::Answer,
        Ok(Err(status)) => refused(&status),
    }
}

/// What a refusal says. Those of a service have a reason; what has none was not said by a service.
fn refused(status: &Status) -> Told {
    let reason = status.get_details_error_info().map(|it| it.reason);
    match reason.as_deref() {
        None => Told::Nothing,
        Some("CALLER_UNKNOWN") => Told::Unknown,
        Some("CALLER_NOT_ALLOWED") => Told::NotAllowed,
        Some(_) => Told::Answer,
    }
}
