//! Where the services are, and clients of them.

use std::task::{Context, Poll};
use std::time::Duration;

use chassis::{PeerTls, ServiceName, TlsFiles, TrustDomain, secured};
use chrono::{DateTime, Utc};
use clap::Args;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use proto::account::v1::account_service_client::AccountServiceClient;
use proto::account::v1::customer_service_client::CustomerServiceClient;
use proto::billing::v1::billing_service_client::BillingServiceClient;
use proto::clock::v1::test_clock_service_client::TestClockServiceClient;
use proto::payments::v1::payments_service_client::PaymentsServiceClient;
use proto::plan::v1::plan_service_client::PlanServiceClient;
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt as _;
use tower::Service;

use crate::Failure;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// What https needs.
pub const NEEDED: &str =
    "TLS needs tls_ca_file, tls_certificate_file, tls_key_file and trust_domain";
/// The header that tells, of a response or a failure, which address was called.
const CALLED: &str = "perdiem-called";

/// Where the services listen.
#[derive(Debug, Clone, Args)]
pub struct Urls {
    /// `plan`.
    #[arg(
        long,
        env = "PLAN_URL",
        default_value = "http://127.0.0.1:7301",
        global = true
    )]
    pub plan_url: String,
    /// `billing`.
    #[arg(
        long,
        env = "BILLING_URL",
        default_value = "http://127.0.0.1:7302",
        global = true
    )]
    pub billing_url: String,
    /// `account-lifecycle`.
    #[arg(
        long,
        env = "ACCOUNT_URL",
        default_value = "http://127.0.0.1:7303",
        global = true
    )]
    pub account_url: String,
    /// `payments`.
    #[arg(
        long,
        env = "PAYMENTS_URL",
        default_value = "http://127.0.0.1:7304",
        global = true
    )]
    pub payments_url: String,
    /// The test clocks of plan, billing, account-lifecycle and payments.
    #[arg(
        long,
        env = "CLOCK_URLS",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:7311,http://127.0.0.1:7312,http://127.0.0.1:7313,http://127.0.0.1:7314",
        global = true
    )]
    pub clock_urls: Vec<String>,
}

impl Urls {
    /// Where a service listens.
    pub fn of(&self, name: &str) -> &str {
        match name {
            "plan" => &self.plan_url,
            "billing" => &self.billing_url,
            "payments" => &self.payments_url,
            _ => &self.account_url,
        }
    }

    /// Where the test clock of a service listens.
    pub fn clock_of(&self, name: &str) -> &str {
        let place = match name {
            "plan" => 0,
            "billing" => 1,
            "payments" => 3,
            _ => 2,
        };
        self.clock_urls.get(place).map_or("", String::as_str)
    }

    /// Where a service of the local suite serves its metrics.
    pub fn metrics_of(name: &str) -> String {
        let place = match name {
            "plan" => 1,
            "billing" => 2,
            "payments" => 4,
            _ => 3,
        };
        format!("http://127.0.0.1:732{place}")
    }

    /// The address in a URL.
    pub fn address(url: &str) -> &str {
        url.rsplit('/').next().unwrap_or(url)
    }
}

/// How an address is connected to.
pub fn endpoint(url: &str) -> Result<Endpoint, Failure> {
    let endpoint = Endpoint::from_shared(url.to_owned());
    let endpoint = endpoint.map_err(|error| format!("{url}: {error}"))?;
    Ok(endpoint.connect_timeout(CONNECT).tcp_nodelay(true))
}

/// Who a command is, by its certificate, and which services it trusts.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its certificate, its key, and the authorities of the services.
    pub files: TlsFiles,
    /// The trust domain of the services: `spiffe://DOMAIN/service/NAME` must answer for NAME.
    pub trust_domain: TrustDomain,
}

/// A channel to a service that connects on first use. What is https is mutual TLS with whoever is that service by its
/// certificate.
pub fn channel(
    service: ServiceName,
    url: &str,
    identity: Option<&Identity>,
) -> Result<Channel, Failure> {
    if !url.starts_with("https://") {
        return Ok(endpoint(url)?.connect_lazy());
    }
    let identity = identity.ok_or_else(|| format!("{url} is https: {NEEDED}"))?;
    let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
    let (domain, files) = (identity.trust_domain.clone(), identity.files.clone());
    let tls = PeerTls::new(service, domain, files);
    let tls = tls.map_err(|error| format!("TLS with {url}: {error}"))?;
    Ok(secured(uri, tls, CONNECT)?)
}

/// A channel that adds a token to each request, and to each response and failure the address that was called.
#[derive(Clone)]
pub struct Authorized {
    channel: Channel,
    /// None for who is known by a certificate.
    bearer: Option<HeaderValue>,
    url: HeaderValue,
}

impl Service<Request<Body>> for Authorized {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let ready = self.channel.poll_ready(cx);
        ready.map_err(|error| Status::from_error(Box::new(error)))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(bearer) = &self.bearer {
            let headers = request.headers_mut();
            headers.insert(AUTHORIZATION, bearer.clone());
        }
        let (answer, url) = (self.channel.call(request), self.url.clone());
        async move {
            match answer.await {
                Ok(mut response) => {
                    response.headers_mut().insert(CALLED, url);
                    Ok(response)
                }
                Err(error) => {
                    let status = Status::from_error(Box::new(error));
                    let called = HeaderMap::from_iter([(HeaderName::from_static(CALLED), url)]);
                    let called = MetadataMap::from_headers(called);
                    Err(Status::with_metadata(
                        status.code(),
                        status.message(),
                        called,
                    ))
                }
            }
        }
        .boxed()
    }
}

/// Clients of the four services, all by one identity.
#[derive(Clone)]
pub struct Clients {
    /// `plan`.
    pub plan: PlanServiceClient<Authorized>,
    /// `billing`.
    pub billing: BillingServiceClient<Authorized>,
    /// `account-lifecycle`.
    pub account: AccountServiceClient<Authorized>,
    /// What people do with their own money, by `account-lifecycle`.
    pub customers: CustomerServiceClient<Authorized>,
    /// `payments`.
    pub payments: PaymentsServiceClient<Authorized>,
    /// What they connect with where there is TLS.
    pub(crate) identity: Option<Identity>,
}

impl Clients {
    /// Clients that show `token`; they connect on first use.
    pub fn new(urls: &Urls, token: &str) -> Result<Self, Failure> {
        Self::with(urls, None, Some(token))
    }

    /// Clients that show a token, if there is one, over TLS where a URL is https.
    pub fn with(
        urls: &Urls,
        identity: Option<&Identity>,
        token: Option<&str>,
    ) -> Result<Self, Failure> {
        let bearer = match token {
            Some(token) => {
                let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))?;
                bearer.set_sensitive(true);
                Some(bearer)
            }
            None => None,
        };
        let to = |service: ServiceName, url: &str| -> Result<Authorized, Failure> {
            Ok(Authorized {
                channel: channel(service, url, identity)?,
                bearer: bearer.clone(),
                url: HeaderValue::try_from(url)?,
            })
        };
        let account = to(ServiceName::AccountLifecycle, &urls.account_url)?;
        let billing = to(ServiceName::Billing, &urls.billing_url)?;
        Ok(Self {
            plan: PlanServiceClient::new(to(ServiceName::Plan, &urls.plan_url)?),
            billing: BillingServiceClient::new(billing).max_encoding_message_size(4 << 20),
            account: AccountServiceClient::new(account.clone()),
            customers: CustomerServiceClient::new(account),
            payments: PaymentsServiceClient::new(to(ServiceName::Payments, &urls.payments_url)?),
            identity: identity.cloned(),
        })
    }
}

/// The test clocks, in the order in which they are moved (D19).
pub async fn clocks(urls: &Urls) -> Result<Vec<TestClockServiceClient<Channel>>, Failure> {
    let mut clocks = Vec::new();
    for name in ["payments", "plan", "billing", "account-lifecycle"] {
        let channel = endpoint(urls.clock_of(name))?
            .connect()
            .await
            .map_err(|_| {
                format!(
                    "the test clock of {name} does not answer at {}: is `perdiem dev` running?",
                    urls.clock_of(name)
                )
            })?;
        clocks.push(TestClockServiceClient::new(channel));
    }
    Ok(clocks)
}

/// What a service refused, as an operator reads it: message, reason, the address that was called and the fields at
/// fault.
#[expect(clippy::needless_pass_by_value, reason = "what map_err gives")]
pub fn refused(status: Status) -> Failure {
    let mut text = status.message().to_owned();
    if let Some(info) = status.get_details_error_info() {
        text = format!("{text} ({:?}, {})", status.code(), info.reason);
    } else {
        text = format!("{text} ({:?})", status.code());
    }
    let called = status.metadata().get(CALLED);
    if let Some(url) = called.and_then(|url| url.to_str().ok()) {
        text = format!("{text} at {url}");
    }
    for violation in status
        .get_details_bad_request()
        .map(|it| it.field_violations)
        .unwrap_or_default()
    {
        text = format!("{text}\n  {}: {}", violation.field, violation.description);
    }
    text.into()
}

/// A new id of an intent.
pub fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// An instant, as sent.
pub fn timestamp(at: DateTime<Utc>) -> prost_types::Timestamp {
    chassis::wire::timestamp(at)
}

/// An instant, as received.
pub fn instant(at: Option<prost_types::Timestamp>) -> Option<DateTime<Utc>> {
    at.and_then(|at| DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::Code;
    use tonic::transport::{Certificate, Server, ServerTlsConfig};
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    use super::*;

    /// Certificates of services of the trust domain `perdiem.local`.
    const DATA: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/chassis/data/tls/services"
    );

    fn identity(domain: &str) -> Identity {
        let file = |name: &str| Path::new(DATA).join(name);
        Identity {
            files: TlsFiles {
                certificate: file("billing.pem"),
                key: file("billing.key"),
                ca: file("ca.pem"),
            },
            trust_domain: domain.parse().unwrap(),
        }
    }

    async fn ready(channel: Channel) -> Result<(), Status> {
        let mut client = HealthClient::new(channel);
        let answer = client.check(HealthCheckRequest::default()).await;
        answer.map(drop)
    }

    #[tokio::test]
    async fn over_tls_only_the_service_that_is_meant_is_called() {
        let read = |name: &str| std::fs::read(Path::new(DATA).join(name)).unwrap();
        let tls = ServerTlsConfig::new()
            .identity(tonic::transport::Identity::from_pem(
                read("plan.pem"),
                read("plan.key"),
            ))
            .client_ca_root(Certificate::from_pem(read("ca.pem")));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (_reporter, health) = tonic_health::server::health_reporter();
        let mut server = Server::builder().tls_config(tls).unwrap();
        let server = server
            .add_service(health)
            .serve_with_incoming(TcpListenerStream::new(listener));
        let calls = async {
            let ours = identity("perdiem.local");
            let meant = channel(ServiceName::Plan, &url, Some(&ours)).unwrap();
            ready(meant).await.unwrap();
            let elsewhere = identity("elsewhere.local");
            for (service, identity) in [
                (ServiceName::Billing, &ours),
                (ServiceName::Plan, &elsewhere),
            ] {
                let refused = ready(channel(service, &url, Some(identity)).unwrap()).await;
                assert_eq!(refused.unwrap_err().code(), Code::Unavailable, "{service}");
            }
        };
        tokio::select! {
            served = server => panic!("{served:?}"),
            () = calls => {}
        }
    }

    #[tokio::test]
    async fn https_without_certificates_is_refused_before_anything_is_sent() {
        let refused = channel(ServiceName::Plan, "https://plan:8443", None).err();
        let told = refused.unwrap().to_string();
        assert!(told.contains("https://plan:8443"), "{told}");
        assert!(told.contains("tls_certificate_file"), "{told}");
        let missing = Identity {
            files: TlsFiles {
                ca: "/nowhere/ca.pem".into(),
                ..identity("perdiem.local").files
            },
            ..identity("perdiem.local")
        };
        assert!(channel(ServiceName::Plan, "https://plan:8443", Some(&missing)).is_err());
    }
}
