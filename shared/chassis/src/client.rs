//! Calls of other services: identity and deadline go with them, and their trace (`trace.rs`); transport errors get the
//! codes that they mean.

use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use tonic::metadata::{AsciiMetadataValue, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::channel::PeerChannel;
use crate::tls::PeerTls;
use crate::trace::Traced;
use crate::{Config, ServiceName, Trip, internal};

/// Names the person or operator on whose behalf a service calls another.
pub const BEHALF: &str = "x-on-behalf-of";

/// A channel to another service that carries this service's identity, and the trace of each call.
pub type Peer = Traced<InterceptedService<PeerChannel, Carry>>;

/// Adds identity and deadline to each request.
#[derive(Clone)]
pub struct Carry {
    authorization: Option<AsciiMetadataValue>,
    /// For calls that no request leads to: a job's, and the opening of a stream.
    deadline: Duration,
}

impl Interceptor for Carry {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(authorization) = &self.authorization {
            request
                .metadata_mut()
                .insert("authorization", authorization.clone());
        }
        let trip = Trip::current();
        let remaining = trip.as_ref().and_then(Trip::remaining);
        request.set_timeout(remaining.unwrap_or(self.deadline));
        if let Some(trip) = trip
            && let Ok(whose) = MetadataValue::try_from(&trip.on_behalf_of)
            && !whose.is_empty()
        {
            request.metadata_mut().insert(BEHALF, whose);
        }
        Ok(request)
    }
}

impl Carry {
    /// A channel to `service` at `url` that connects on first use, with this service's identity. Where the host has
    /// several addresses, calls take turns over them.
    pub fn peer(
        service: ServiceName,
        url: &str,
        config: &Config,
    ) -> Result<Peer, Box<dyn std::error::Error>> {
        let uri: Uri = url.parse()?;
        let tls = if uri.scheme() == Some(&Scheme::HTTPS) {
            PeerTls::read(service, config)?
        } else {
            None
        };
        let channel = PeerChannel::new(service, uri, tls)?;
        let authorization = match config.service_token.0.as_str() {
            "" => None,
            token => {
                let mut value = MetadataValue::try_from(format!("Bearer {token}"))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Traced(InterceptedService::new(
            channel,
            Self {
                authorization,
                deadline: Duration::from_secs(config.deadline_seconds),
            },
        )))
    }
}

impl Config {
    /// A channel to `service` at `url`, as this service. With TLS, whoever is there must be that service.
    pub fn peer(
        &self,
        service: ServiceName,
        url: &str,
    ) -> Result<Peer, Box<dyn std::error::Error>> {
        Carry::peer(service, url, self)
    }
}

/// `status` with the code that it means: tonic's client says CANCELLED for its own timeout and UNKNOWN for a peer
/// that went away, and whoever stands between two services has faults of its own.
///
/// A fault of a peer is one of ours to whoever asked us: the log has what it said.
pub fn normalised(status: Status) -> Status {
    let code = match (status.code(), status.message()) {
        (Code::Cancelled, "Timeout expired") => Code::DeadlineExceeded,
        (Code::Unknown, message) if message.contains("transport error") => Code::Unavailable,
        (Code::Internal, message) if message.starts_with("h2 protocol error") => Code::Unavailable,
        (Code::Cancelled, _) => Code::Unavailable,
        (
            Code::Internal
            | Code::Unknown
            | Code::DataLoss
            | Code::Unauthenticated
            | Code::PermissionDenied,
            _,
        ) => {
            tracing::error!(code = ?status.code(), message = status.message(), "a fault of another service");
            return internal();
        }
        _ => return status,
    };
    Status::with_details(
        code,
        status.message().to_owned(),
        status.details().to_vec().into(),
    )
}

/// Whether another service will not do what it was asked, however often. It says so itself, with a reason; of what
/// comes without one nobody knows whether it was done.
pub fn is_refusal(status: &Status) -> bool {
    let refused = matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::AlreadyExists
            | Code::ResourceExhausted
    );
    // Whoever says when to try again, because of too many calls in flight for instance, has refused for now only.
    refused && status.get_details_error_info().is_some() && asks_for_patience(status).is_none()
}

/// How long a status asks to wait before the same is tried again.
fn asks_for_patience(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// Calls `call` up to three times while the peer is away or has no room, within the deadline of the request.
///
/// Only for what is safe to repeat: reads, and writes that carry a `request_id`.
pub async fn retried<T, F: Future<Output = Result<T, Status>>>(
    call: impl Fn() -> F,
) -> Result<T, Status> {
    const TRIES: u32 = 3;
    /// The longest pause between two tries; whoever asks for more is asked again by the caller's own caller or job.
    const PATIENCE: Duration = Duration::from_secs(1);
    let mut pause = Duration::from_millis(25);
    for _ in 1..TRIES {
        let status = match call().await.map_err(normalised) {
            Err(status) if status.code() == Code::Unavailable => status,
            Err(status)
                if status.code() == Code::ResourceExhausted
                    && asks_for_patience(&status).is_some() =>
            {
                status
            }
            other => return other,
        };
        let pause_now = asks_for_patience(&status).unwrap_or(pause);
        let left = Trip::current().and_then(|trip| trip.remaining());
        if PATIENCE < pause_now || left.is_some_and(|left| left < pause_now) {
            return Err(status);
        }
        tokio::time::sleep(pause_now).await;
        pause *= 4;
    }
    call().await.map_err(normalised)
}

/// Whether a service that answered so is away for now, or too busy: the same may succeed later.
pub fn is_away(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Cancelled
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::SocketAddr;
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, Mutex};

    use clap::Parser as _;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    use super::*;
    use crate::channel::{Resolve, Spread};
    use crate::incoming::{Remote, incoming, listen};
    use crate::tls::{self, Tls};
    use crate::{Command, Options, Refusal};

    /// The trust domain of the certificates.
    const DOMAIN: &str = "perdiem.local";

    /// The certificates of those who called.
    type Seen = Arc<Mutex<Vec<CertificateDer<'static>>>>;

    /// Certificates and keys of services, by one authority.
    fn services() -> PathBuf {
        Path::new(tls::tests::DATA).join("services")
    }

    fn certificate(name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(services().join(format!("{name}.pem"))).unwrap()
    }

    /// The configuration of a service with the certificate `name` of a folder.
    fn config(folder: &Path, name: &str, domain: &str) -> Config {
        let file = |what: &str, name: &str| {
            let file = folder.join(name);
            format!("--tls-{what}-file={}", file.display())
        };
        let options = [
            "service".to_owned(),
            "serve".to_owned(),
            "--listen=127.0.0.1:1".to_owned(),
            "--database-url=x".to_owned(),
            "--auth-keys-file=x".to_owned(),
            format!("--trust-domain={domain}"),
            file("certificate", &format!("{name}.pem")),
            file("key", &format!("{name}.key")),
            file("ca", "ca.pem"),
        ];
        let Command::Serve(config) = Options::try_parse_from(options).unwrap().command else {
            panic!("serve is serve");
        };
        config
    }

    /// Serves as a service with a configuration while `calls` are made to its URL. Connections don't last.
    async fn served<F: Future<Output = ()>>(
        config: &Config,
        calls: impl FnOnce(String, Seen) -> F,
    ) {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let seen = Seen::default();
        let noted = seen.clone();
        let (_reporter, health) = tonic_health::server::health_reporter();
        let health = InterceptedService::new(health, move |request: Request<()>| {
            let remote = request.extensions().get::<Remote>().unwrap();
            let certificate = remote.certificates.first().cloned();
            noted.lock().unwrap().extend(certificate);
            Ok::<_, Status>(request)
        });
        let server = tonic::transport::Server::builder()
            .max_connection_age(Duration::from_millis(100))
            .add_service(health)
            .serve_with_incoming(incoming(listener, Tls::read(config).unwrap()));
        tokio::select! {
            served = server => panic!("{served:?}"),
            () = calls(url, seen) => {}
        }
    }

    /// Calls as services do: a call that finds its connection closing is made again.
    async fn called(peer: &Peer) -> Result<(), Status> {
        let call = || {
            let mut client = HealthClient::new(peer.clone());
            async move { client.check(HealthCheckRequest::default()).await }
        };
        retried(call).await.map(drop)
    }

    #[tokio::test]
    async fn whoever_is_not_the_service_that_is_meant_is_not_called() {
        let plan = config(&services(), "plan", DOMAIN);
        served(&plan, |url, seen| async move {
            let billing = config(&services(), "billing", DOMAIN);
            let meant = billing.peer(ServiceName::Plan, &url).unwrap();
            called(&meant).await.unwrap();
            assert_eq!(*seen.lock().unwrap(), [certificate("billing")]);

            // By the right authority, and another service; of another trust domain; by another authority.
            let elsewhere = config(&services(), "billing", "elsewhere.local");
            let stranger = config(&Path::new(tls::tests::DATA).join("one"), "client", DOMAIN);
            for (config, service) in [
                (&billing, ServiceName::Payments),
                (&billing, ServiceName::Billing),
                (&elsewhere, ServiceName::Plan),
                (&stranger, ServiceName::Plan),
            ] {
                let peer = config.peer(service, &url).unwrap();
                let refused = called(&peer).await.unwrap_err();
                assert_eq!(refused.code(), Code::Unavailable, "{service}");
            }
            assert_eq!(seen.lock().unwrap().len(), 1, "nothing was sent");
        })
        .await;
    }

    #[tokio::test]
    async fn of_the_addresses_of_a_name_only_those_of_the_service_that_is_meant_are_called() {
        let plan = config(&services(), "plan", DOMAIN);
        served(&plan, |url, seen| async move {
            // One is connected to, and says nothing; it is never waited for.
            let silent = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
            let address = url.trim_start_matches("https://").parse().unwrap();
            let both = [silent.local_addr().unwrap(), address];
            let billing = config(&services(), "billing", DOMAIN);
            let peer = |service: ServiceName, addresses: &[SocketAddr]| {
                let addresses = addresses.to_vec();
                let resolve: Resolve =
                    Box::new(move || Box::pin(std::future::ready(Ok(addresses.clone()))));
                let tls = PeerTls::read(service, &billing).unwrap();
                let uri = Uri::from_static("https://plan:8443");
                let every = Duration::from_millis(20);
                let spread = Spread::new(service, uri, tls, resolve, every).unwrap();
                let carry = Carry {
                    authorization: None,
                    deadline: Duration::from_secs(30),
                };
                let channel = PeerChannel::Spread(Arc::new(spread));
                Traced(InterceptedService::new(channel, carry))
            };
            let meant = peer(ServiceName::Plan, &both);
            for _ in 0..10 {
                called(&meant).await.unwrap();
            }
            let billed = certificate("billing");
            assert!(seen.lock().unwrap().iter().all(|it| *it == billed));
            let before = seen.lock().unwrap().len();
            let other = peer(ServiceName::Payments, &both[1..]);
            let refused = called(&other).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unavailable);
            assert_eq!(seen.lock().unwrap().len(), before, "nothing was sent");
        })
        .await;
    }

    #[test]
    fn a_service_with_a_certificate_and_no_trust_domain_calls_nobody() {
        let config = Config {
            trust_domain: None,
            ..config(&services(), "billing", DOMAIN)
        };
        let refused = config.peer(ServiceName::Plan, "https://plan:8443").err();
        assert!(refused.unwrap().to_string().contains("TRUST_DOMAIN"));
    }

    /// Puts the certificate `name` where that of billing is.
    fn put(name: &str, folder: &Path) {
        for kind in ["pem", "key"] {
            let from = services().join(format!("{name}.{kind}"));
            fs::copy(from, folder.join(format!("billing.{kind}"))).unwrap();
        }
    }

    #[tokio::test]
    async fn a_renewed_certificate_is_that_of_the_next_connection_and_no_call_fails() {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(services().join("ca.pem"), folder.path().join("ca.pem")).unwrap();
        put("billing", folder.path());
        let billing = config(folder.path(), "billing", DOMAIN);
        let plan = config(&services(), "plan", DOMAIN);
        served(&plan, |url, seen| async move {
            let peer = billing.peer(ServiceName::Plan, &url).unwrap();
            called(&peer).await.unwrap();
            // While the files don't fit together, connections are made with what was read before.
            fs::write(folder.path().join("billing.key"), "").unwrap();
            for _ in 0..10 {
                called(&peer).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            put("renewed", folder.path());
            let renewed = certificate("renewed");
            let used = async {
                while seen.lock().unwrap().last() != Some(&renewed) {
                    called(&peer).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let used = tokio::time::timeout(Duration::from_mins(1), used).await;
            used.expect("the next connection has the new certificate");
            let old = certificate("billing");
            assert!(seen.lock().unwrap().contains(&old));
        })
        .await;
    }

    #[test]
    fn what_comes_between_two_services_is_no_refusal() {
        let codes = [
            Code::InvalidArgument,
            Code::NotFound,
            Code::FailedPrecondition,
            Code::AlreadyExists,
            Code::ResourceExhausted,
        ];
        for code in codes {
            let told = Refusal::new(code, "A_REASON").into_status("plan", "no".to_owned());
            assert!(is_refusal(&normalised(told)), "{code:?}");
            assert!(!is_refusal(&Status::new(code, "no")), "{code:?}");
        }
        let told = Refusal::new(Code::Unavailable, "OVERLOADED").into_status("plan", String::new());
        assert!(!is_refusal(&told));
        // A share of the room that is full says nothing of what was asked.
        let full = Refusal::new(Code::ResourceExhausted, "TOO_MANY_CALLS_IN_FLIGHT")
            .retry_after(Duration::from_millis(200))
            .into_status("perdiem", String::new());
        assert!(!is_refusal(&full));
        assert!(is_away(&full));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_without_room_is_asked_again_and_one_that_asks_for_long_patience_is_not() {
        let tries = std::cell::Cell::new(0);
        let asked = async |code, wait| {
            tries.set(0);
            let call = || {
                tries.set(tries.get() + 1);
                let full = Refusal::new(code, "A_REASON").retry_after(wait);
                async { Err::<(), _>(full.into_status("perdiem", String::new())) }
            };
            assert!(retried(call).await.is_err());
            tries.get()
        };
        let soon = Duration::from_millis(200);
        assert_eq!(asked(Code::ResourceExhausted, soon).await, 3);
        assert_eq!(asked(Code::Unavailable, soon).await, 3);
        assert_eq!(asked(Code::FailedPrecondition, soon).await, 1);
        let late = Duration::from_mins(1);
        assert_eq!(asked(Code::ResourceExhausted, late).await, 1);
    }

    #[test]
    fn a_fault_of_a_peer_is_ours_or_its_absence() {
        let cut = "h2 protocol error: http2 error";
        let meanings = [
            (Code::Internal, cut, Code::Unavailable),
            (Code::Unknown, "transport error", Code::Unavailable),
            (Code::Cancelled, "Timeout expired", Code::DeadlineExceeded),
            (Code::Cancelled, "operation was canceled", Code::Unavailable),
            (Code::Internal, "a secret", Code::Internal),
            (Code::Unknown, "a secret", Code::Internal),
            (Code::Unauthenticated, "a secret", Code::Internal),
            (Code::PermissionDenied, "a secret", Code::Internal),
        ];
        for (code, message, meant) in meanings {
            let status = normalised(Status::new(code, message));
            assert_eq!(status.code(), meant, "{message}");
            assert!(!status.message().contains("secret"));
        }
    }
}
