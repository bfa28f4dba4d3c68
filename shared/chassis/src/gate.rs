//! The gate of a service: who calls, may they, is there room, how long may it take, and the right
//! code when something breaks (R24 to R28).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::Instrument as _;

use crate::client::BEHALF;
use crate::telemetry::Requests;
use crate::{Access, Caller, Identities, Refusal, SingleMessage, Trip, internal};

/// A call ends so much before its caller's deadline: the server has a timer of its own, which
/// would say CANCELLED, and an answer needs time to arrive.
const MARGIN: Duration = Duration::from_millis(5);

/// What the gate of a service knows.
#[derive(Clone)]
pub struct GateLayer {
    /// How callers are told apart.
    pub identities: Identities,
    /// Who may call what.
    pub access: &'static [Access],
    /// Room for requests in flight.
    pub room: Arc<Semaphore>,
    /// Deadline of a request that brings none, and the most that one may bring.
    pub deadline: Duration,
    /// Counts and times requests.
    pub(crate) requests: Requests,
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate {
            inner,
            knows: self.clone(),
        }
    }
}

/// A service behind its gate.
#[derive(Clone)]
pub struct Gate<S> {
    inner: S,
    knows: GateLayer,
}

impl<S> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        // Health and reflection answer anyone, also under overload.
        if path.starts_with("/grpc.") {
            return Box::pin(self.inner.call(request));
        }
        let method = path.rsplit('/').next().unwrap_or_default().to_owned();
        let knows = self.knows.clone();
        let inner = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, inner);
        Box::pin(async move {
            let begun = Instant::now();
            let trace_parent = trace_parent(request.headers());
            let span = tracing::info_span!("rpc", rpc.method = %method, trace.id = trace_parent.get(3..35).unwrap_or_default());
            crate::telemetry::adopt(&span, &trace_parent);
            let result = knows
                .pass(inner, request, &method, trace_parent)
                .instrument(span.clone())
                .await;
            let code = match &result {
                Ok(response) => code_of(response.headers()),
                Err(_) => Code::Unknown,
            };
            span.in_scope(|| knows.requests.answered(&method, code, begun.elapsed()));
            result
        })
    }
}

impl GateLayer {
    async fn pass<S>(
        &self,
        mut inner: S,
        mut request: Request<Body>,
        method: &str,
        trace_parent: String,
    ) -> Result<Response<Body>, S::Error>
    where
        S: Service<Request<Body>, Response = Response<Body>>,
    {
        let refused = |refusal: Refusal, message: &str| {
            Ok(refusal
                .into_status("perdiem", message.to_owned())
                .into_http())
        };
        let Some(access) = self.access.iter().find(|access| access.method == method) else {
            return Ok(Status::unimplemented("no such method").into_http());
        };
        let Some(caller) = self.identities.caller(&request) else {
            return refused(
                Refusal::new(Code::Unauthenticated, "CALLER_UNKNOWN"),
                "send a token in the authorization header, or call with a certificate",
            );
        };
        if !access.allows(&caller) {
            return refused(
                Refusal::new(Code::PermissionDenied, "CALLER_NOT_ALLOWED")
                    .with("caller", &caller)
                    .with("method", method),
                "this caller may not call this method",
            );
        }
        let Ok(asked) = grpc_timeout(request.headers()) else {
            return refused(
                Refusal::invalid("INVALID_TIMEOUT"),
                "grpc-timeout does not read",
            );
        };
        let limit = asked.map_or(self.deadline, |asked| {
            asked.saturating_sub(MARGIN).min(self.deadline)
        });
        if limit.is_zero() {
            return Ok(Status::deadline_exceeded("deadline exceeded").into_http());
        }
        let Ok(_room) = self.room.clone().try_acquire_owned() else {
            return refused(
                Refusal::new(Code::Unavailable, "OVERLOADED")
                    .retry_after(Duration::from_millis(200)),
                "overloaded",
            );
        };
        let on_behalf_of = behalf(&caller, request.headers());
        request.extensions_mut().insert(caller);
        let deadline = (!access.streams).then(|| Instant::now() + limit);
        let request = if access.streams {
            request
        } else {
            request.map(|body| Body::new(SingleMessage::new(body)))
        };

        let trip = Trip {
            trace_parent,
            on_behalf_of,
            deadline,
        };
        let work = AssertUnwindSafe(trip.scope(inner.call(request))).catch_unwind();
        let done = match deadline {
            Some(at) => tokio::time::timeout_at(at, work).await,
            None => Ok(work.await),
        };
        match done {
            Err(_) => Ok(Status::deadline_exceeded("deadline exceeded").into_http()),
            Ok(Err(_)) => Ok(internal().into_http()),
            Ok(Ok(result)) => result.map(blamed_rightly),
        }
    }
}

/// The response, with tonic's own refusals of a message blamed on who sent it.
fn blamed_rightly(response: Response<Body>) -> Response<Body> {
    let message = response
        .headers()
        .get("grpc-message")
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let ours = message.starts_with(b"internal%20error") || message.starts_with(b"internal error");
    let code = code_of(response.headers());
    let (reason, text) = if code == Code::OutOfRange {
        ("MESSAGE_TOO_LARGE", "the message is too large")
    } else if code == Code::Internal && !ours {
        ("MALFORMED_MESSAGE", "the message does not read")
    } else {
        return response;
    };
    Refusal::invalid(reason)
        .into_status("perdiem", text.to_owned())
        .into_http()
}

/// The code in the headers of an answer without messages; OK otherwise.
fn code_of(headers: &HeaderMap) -> Code {
    headers
        .get("grpc-status")
        .map_or(Code::Ok, |value| Code::from_bytes(value.as_bytes()))
}

/// On whose behalf everything is done that a request leads to: a service tells, others do it for themselves.
fn behalf(caller: &Caller, headers: &HeaderMap) -> String {
    match caller {
        Caller::Person { .. } | Caller::Operator { .. } => caller.to_string(),
        Caller::Service { .. } => {
            let told = headers.get(BEHALF).and_then(|value| value.to_str().ok());
            told.filter(|it| it.len() <= 300)
                .unwrap_or_default()
                .to_owned()
        }
    }
}

/// The caller's `traceparent`, or a new one.
fn trace_parent(headers: &HeaderMap) -> String {
    let sent = headers
        .get("traceparent")
        .and_then(|value| value.to_str().ok());
    let whole = |text: &&str| {
        text.len() == 55
            && text.starts_with("00-")
            && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
    };
    sent.filter(whole).map_or_else(
        || {
            let (trace, span) = (
                uuid::Uuid::new_v4().simple().to_string(),
                uuid::Uuid::new_v4().simple().to_string(),
            );
            format!("00-{trace}-{}-01", span.get(..16).unwrap_or_default())
        },
        str::to_owned,
    )
}

/// The `grpc-timeout` header: at most eight digits and a unit.
fn grpc_timeout(headers: &HeaderMap) -> Result<Option<Duration>, ()> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| ())?;
    let (digits, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or(())?;
    if digits.is_empty() || 8 < digits.len() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(());
    }
    let count: u64 = digits.parse().map_err(|_| ())?;
    let duration = match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return Err(()),
    };
    Ok(Some(duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_writes_them() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            grpc_timeout(&headers)
        };
        assert_eq!(read("150m"), Ok(Some(Duration::from_millis(150))));
        assert_eq!(
            read("99999999H"),
            Ok(Some(Duration::from_hours(99_999_999)))
        );
        for bad in ["", "S", "1", "-1S", "1s", "123456789S", "1.5S"] {
            assert_eq!(read(bad), Err(()), "{bad}");
        }
        assert_eq!(grpc_timeout(&HeaderMap::new()), Ok(None));
    }
}
