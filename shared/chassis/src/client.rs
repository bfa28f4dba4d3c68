//! Calls of other services: identity, trace and deadline go with them; transport errors get the
//! codes that they mean.

use std::time::Duration;

use tonic::metadata::{AsciiMetadataValue, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::{Config, Trip};

/// Names the person or operator on whose behalf a service calls another.
pub const BEHALF: &str = "x-on-behalf-of";

/// A channel to another service that carries this service's identity.
pub type Peer = InterceptedService<Channel, Carry>;

/// Adds identity, trace and deadline to each request.
#[derive(Clone)]
pub struct Carry {
    authorization: Option<AsciiMetadataValue>,
}

impl Interceptor for Carry {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(authorization) = &self.authorization {
            request
                .metadata_mut()
                .insert("authorization", authorization.clone());
        }
        if let Some(trip) = Trip::current() {
            if let Ok(parent) = MetadataValue::try_from(&trip.trace_parent) {
                request.metadata_mut().insert("traceparent", parent);
            }
            if let Ok(whose) = MetadataValue::try_from(&trip.on_behalf_of)
                && !whose.is_empty()
            {
                request.metadata_mut().insert(BEHALF, whose);
            }
            if let Some(remaining) = trip.remaining() {
                request.set_timeout(remaining);
            }
        }
        Ok(request)
    }
}

impl Carry {
    /// A channel to `url` that connects on first use, with this service's identity.
    pub fn peer(url: &str, config: &Config) -> Result<Peer, Box<dyn std::error::Error>> {
        let mut endpoint = Endpoint::from_shared(url.to_owned())?
            .connect_timeout(Duration::from_secs(1))
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(3))
            .keep_alive_while_idle(true)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .tcp_nodelay(true);
        if let (Some(certificate), Some(key), Some(ca)) = (
            &config.tls_certificate_file,
            &config.tls_key_file,
            &config.tls_ca_file,
        ) {
            let identity = Identity::from_pem(std::fs::read(certificate)?, std::fs::read(key)?);
            let ca = Certificate::from_pem(std::fs::read(ca)?);
            endpoint = endpoint
                .tls_config(ClientTlsConfig::new().identity(identity).ca_certificate(ca))?;
        }
        let authorization = match config.service_token.0.as_str() {
            "" => None,
            token => {
                let mut value = MetadataValue::try_from(format!("Bearer {token}"))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(InterceptedService::new(
            endpoint.connect_lazy(),
            Self { authorization },
        ))
    }
}

impl Config {
    /// A channel to the service at `url`, as this service.
    pub fn peer(&self, url: &str) -> Result<Peer, Box<dyn std::error::Error>> {
        Carry::peer(url, self)
    }
}

/// `status` with the code that it means: tonic's client says CANCELLED for its own timeout and
/// UNKNOWN for a peer that went away.
pub fn normalised(status: Status) -> Status {
    let code = match (status.code(), status.message()) {
        (Code::Cancelled, "Timeout expired") => Code::DeadlineExceeded,
        (Code::Unknown, message) if message.contains("transport error") => Code::Unavailable,
        (Code::Cancelled, _) => Code::Unavailable,
        _ => return status,
    };
    Status::with_details(
        code,
        status.message().to_owned(),
        status.details().to_vec().into(),
    )
}

/// Calls `call` up to three times while the peer is away, within the deadline of the request.
///
/// Only for what is safe to repeat: reads, and writes that carry a `request_id`.
pub async fn retried<T, F: Future<Output = Result<T, Status>>>(
    call: impl Fn() -> F,
) -> Result<T, Status> {
    const TRIES: u32 = 3;
    let mut pause = Duration::from_millis(25);
    for _ in 1..TRIES {
        let status = match call().await.map_err(normalised) {
            Err(status) if status.code() == Code::Unavailable => status,
            other => return other,
        };
        let asked = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay);
        let pause_now = asked.unwrap_or(pause);
        let left = Trip::current().and_then(|trip| trip.remaining());
        if left.is_some_and(|left| left < pause_now) {
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
