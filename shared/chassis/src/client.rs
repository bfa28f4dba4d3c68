//! Calls of other services: identity, trace and deadline go with them; transport errors get the
//! codes that they mean.

use std::time::Duration;

use tonic::metadata::{AsciiMetadataValue, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::{Config, Trip, internal};

/// Names the person or operator on whose behalf a service calls another.
pub const BEHALF: &str = "x-on-behalf-of";

/// A channel to another service that carries this service's identity.
pub type Peer = InterceptedService<Channel, Carry>;

/// Adds identity, trace and deadline to each request.
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
        if let Some(trip) = trip {
            if let Ok(parent) = MetadataValue::try_from(&trip.trace_parent) {
                request.metadata_mut().insert("traceparent", parent);
            }
            if let Ok(whose) = MetadataValue::try_from(&trip.on_behalf_of)
                && !whose.is_empty()
            {
                request.metadata_mut().insert(BEHALF, whose);
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
            Self {
                authorization,
                deadline: Duration::from_secs(config.deadline_seconds),
            },
        ))
    }
}

impl Config {
    /// A channel to the service at `url`, as this service.
    pub fn peer(&self, url: &str) -> Result<Peer, Box<dyn std::error::Error>> {
        Carry::peer(url, self)
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
        (Code::Internal | Code::Unknown | Code::DataLoss | Code::Unauthenticated, _) => {
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
    refused && status.get_details_error_info().is_some()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Refusal;

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
        ];
        for (code, message, meant) in meanings {
            let status = normalised(Status::new(code, message));
            assert_eq!(status.code(), meant, "{message}");
            assert!(!status.message().contains("secret"));
        }
    }
}
