//! The gate of a service: who calls, may they, is there room, how long may it take, and the right
//! code when something breaks (R24 to R28).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Full;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::Instrument as _;

use crate::access::ANYONE;
use crate::client::BEHALF;
use crate::ending::{Ending, end};
use crate::frames::{Memory, Prompt, single_message};
use crate::incoming::Remote;
use crate::room::{Full as NoRoom, Room};
use crate::telemetry::Requests;
use crate::trace::{code_of, ended, received};
use crate::{Access, Caller, Identities, Refusal, Trip, internal};

/// A call ends so much before its caller's deadline: the server has a timer of its own, which
/// would say CANCELLED, and an answer needs time to arrive.
const MARGIN: Duration = Duration::from_millis(5);

/// The largest health check request: the name of a service.
const HEALTH_BYTES_MAX: usize = 1_024;
/// How long a health check request may take to arrive.
const HEALTH_TIME: Duration = Duration::from_secs(1);
/// How long the message of a unary call may take to arrive.
const MESSAGE_TIME: Duration = Duration::from_secs(10);
/// How long a stream of requests may send nothing.
const STREAM_IDLE: Duration = Duration::from_secs(30);

/// What is counted as one of [`GateLayer::memory`].
pub const UNIT_BYTES: usize = 16 * 1024;

/// Reflection, open to every authenticated caller.
static REFLECTION: Access = Access::stream("ServerReflectionInfo", ANYONE);

/// What the gate of a service knows.
#[derive(Clone)]
pub struct GateLayer {
    /// The full names of the services in the contract.
    pub services: &'static [&'static str],
    /// How callers are told apart.
    pub identities: Identities,
    /// Who may call what.
    pub access: &'static [Access],
    /// Room for messages that are still being read; work on them has not begun.
    pub reading: Room,
    /// Room for calls that are being worked on.
    pub working: Room,
    /// Room for streaming calls.
    pub streaming: Room,
    /// Room for reflection, whose answers are large compared with its requests.
    pub reflecting: Room,
    /// Room for whoever watches the health, which takes no caller.
    pub watching: Arc<Semaphore>,
    /// Ends the streams.
    pub stop: CancellationToken,
    /// The largest message that a method of the service takes.
    pub message_bytes_max: usize,
    /// Room for the messages that are held, in units of [`UNIT_BYTES`].
    pub memory: Room,
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
        if path.starts_with("/grpc.health.") {
            let inner = self.inner.clone();
            let inner = std::mem::replace(&mut self.inner, inner);
            return Box::pin(self.knows.clone().health(inner, request));
        }
        // Reflection answers are large, so only authenticated callers get them.
        let access = if path.starts_with("/grpc.reflection.") {
            Some(&REFLECTION)
        } else {
            let name = path.rsplit('/').next().unwrap_or_default();
            self.knows.access.iter().find(|it| it.method == name)
        };
        // An unknown method name stays out of metrics and traces, because callers can invent any number of them.
        let method = access.map_or("unknown", |it| it.method);
        let service = served(self.knows.services, path);
        let knows = self.knows.clone();
        let inner = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, inner);
        Box::pin(async move {
            let call = knows.requests.arrived(method);
            let caller = knows.identities.caller(&request);
            // Only a caller who is known may continue a trace, and with it decide whether it is recorded.
            let headers = caller.as_ref().map(|_| request.headers());
            let span = received(service, method, headers);
            let result = knows
                .pass(inner, request, access, caller)
                .instrument(span.clone())
                .await;
            let code = match &result {
                Ok(response) => code_of(response.headers()),
                Err(_) => Code::Unknown,
            };
            ended(&span, code);
            span.in_scope(|| call.answered(code));
            result
        })
    }
}

/// The service that a path names; the first for a path that names none of them.
fn served(services: &[&'static str], path: &str) -> &'static str {
    let named = path.split('/').nth(1).unwrap_or_default();
    let mut found = services.iter().filter(|it| **it == named).chain(services);
    found.next().copied().unwrap_or_default()
}

impl GateLayer {
    /// Health checks are answered for everybody, even under overload; the request must be small and arrive soon. A
    /// watch lasts, and so it needs a place and has an end.
    async fn health<S>(
        self,
        mut inner: S,
        request: Request<Body>,
    ) -> Result<Response<Body>, S::Error>
    where
        S: Service<Request<Body>, Response = Response<Body>>,
    {
        let place = if request.uri().path().ends_with("/Watch") {
            match self.watching.try_acquire_owned() {
                Ok(place) => Some(place),
                Err(_) => return Ok(overloaded(&self.requests, NoRoom::Whole).into_http()),
            }
        } else {
            None
        };
        let (head, body) = request.into_parts();
        let message = single_message(body, HEALTH_BYTES_MAX, |_| Ok(()));
        let message = match tokio::time::timeout(HEALTH_TIME, message).await {
            Ok(Ok((message, _))) => message,
            Ok(Err(status)) => return Ok(status.into_http()),
            Err(_) => {
                return Ok(
                    Status::deadline_exceeded("the message did not arrive in time").into_http(),
                );
            }
        };
        let body = Body::new(Full::new(message));
        let response = inner.call(Request::from_parts(head, body)).await?;
        Ok(match place {
            Some(place) => {
                response.map(|body| Body::new(Ending::new(body, place, end(&self.stop))))
            }
            None => response,
        })
    }

    async fn pass<S>(
        &self,
        inner: S,
        request: Request<Body>,
        access: Option<&'static Access>,
        caller: Option<Caller>,
    ) -> Result<Response<Body>, S::Error>
    where
        S: Service<Request<Body>, Response = Response<Body>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Send + 'static,
    {
        let arrived = Instant::now();
        let admitted = match access {
            None => Err(Status::unimplemented("no such method")),
            Some(access) => self.admitted(access, caller, request.headers()),
        };
        let (access, caller, limit) = match admitted {
            Ok(admitted) => admitted,
            Err(status) => return Ok(status.into_http()),
        };
        let trip = Trip {
            on_behalf_of: behalf(&caller, request.headers()),
            deadline: (!access.streams).then(|| arrived + limit),
            permit: None,
        };
        if access.streams {
            self.streamed(inner, request, (access.method, caller), trip)
                .await
        } else {
            let done = tokio::time::timeout(limit, self.unary(inner, request, caller, trip)).await;
            done.unwrap_or_else(|_| Ok(Status::deadline_exceeded("deadline exceeded").into_http()))
        }
    }

    /// The caller and the deadline, if the headers of a request permit the call.
    fn admitted(
        &self,
        access: &'static Access,
        caller: Option<Caller>,
        headers: &HeaderMap,
    ) -> Result<(&'static Access, Caller, Duration), Status> {
        let refused =
            |refusal: Refusal, message: &str| refusal.into_status("perdiem", message.to_owned());
        let caller = caller.ok_or_else(|| {
            refused(
                Refusal::new(Code::Unauthenticated, "CALLER_UNKNOWN"),
                "send a token in the authorization header, or call with a certificate",
            )
        })?;
        if !access.allows(&caller) {
            return Err(refused(
                Refusal::new(Code::PermissionDenied, "CALLER_NOT_ALLOWED")
                    .with("caller", &caller)
                    .with("method", access.method),
                "this caller may not call this method",
            ));
        }
        let asked = grpc_timeout(headers).map_err(|()| {
            refused(
                Refusal::invalid("INVALID_TIMEOUT"),
                "grpc-timeout does not read",
            )
        })?;
        let limit = asked.map_or(self.deadline, |asked| {
            asked.saturating_sub(MARGIN).min(self.deadline)
        });
        if limit.is_zero() {
            return Err(Status::deadline_exceeded("deadline exceeded"));
        }
        Ok((access, caller, limit))
    }

    /// How memory is taken for a message of `caller` on the connection from `peer`.
    fn memory(&self, caller: &Caller, peer: Option<&str>) -> Memory {
        let (memory, requests) = (self.memory.clone(), self.requests.clone());
        let caller = caller.clone();
        let peer = peer.map(str::to_owned);
        Box::new(move |length| {
            let units = length.div_ceil(UNIT_BYTES).max(1);
            let taken = memory.take_many(units, &caller, peer.clone());
            taken.map_err(|full| overloaded(&requests, full))
        })
    }

    /// A unary call: its message is read completely, then the call is admitted or refused. The work runs to its end
    /// in its own task, even if the caller disconnects (R18).
    async fn unary<S>(
        &self,
        mut inner: S,
        request: Request<Body>,
        caller: Caller,
        trip: Trip,
    ) -> Result<Response<Body>, S::Error>
    where
        S: Service<Request<Body>, Response = Response<Body>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Send + 'static,
    {
        let peer = peer(&request);
        let (mut head, body) = request.into_parts();
        let message = match self.reading.take(&caller, peer.clone()) {
            Ok(_reading) => {
                let memory = self.memory(&caller, peer.as_deref());
                let message = single_message(body, self.message_bytes_max, memory);
                tokio::time::timeout(MESSAGE_TIME, message).await
            }
            Err(full) => return Ok(overloaded(&self.requests, full).into_http()),
        };
        let (message, memory) = match message {
            Ok(Ok(message)) => message,
            Ok(Err(status)) => return Ok(status.into_http()),
            Err(_) => {
                return Ok(
                    Status::deadline_exceeded("the message did not arrive in time").into_http(),
                );
            }
        };
        let permit = match self.working.take(&caller, peer) {
            Ok(permit) => permit,
            Err(full) => return Ok(overloaded(&self.requests, full).into_http()),
        };
        // If the caller disconnects before this point, no work has begun.
        let trip = trip.holding(permit.in_turn().await);
        head.extensions.insert(caller);
        let request = Request::from_parts(head, Body::new(Full::new(message)));
        let work = AssertUnwindSafe(trip.scope(inner.call(request))).catch_unwind();
        // What was read from the message takes memory for as long as it is worked on.
        let work = work.inspect(move |_| drop(memory));
        #[expect(
            clippy::disallowed_methods,
            reason = "awaited at once; when the caller disconnects, the work still has to finish"
        )]
        let done = tokio::spawn(work.in_current_span()).await;
        match done {
            // The hook logged the panic; its text is not sent to the caller.
            Err(_) | Ok(Err(_)) => Ok(internal().into_http()),
            Ok(Ok(result)) => result.map(blamed_rightly),
        }
    }

    /// A streaming call: it holds its permit until the stream ends, and work that it detached until that ends. A stream
    /// of requests must keep sending or is ended.
    async fn streamed<S>(
        &self,
        mut inner: S,
        request: Request<Body>,
        (method, caller): (&'static str, Caller),
        trip: Trip,
    ) -> Result<Response<Body>, S::Error>
    where
        S: Service<Request<Body>, Response = Response<Body>>,
    {
        let reflects = request.uri().path().starts_with("/grpc.reflection.");
        let room = if reflects {
            &self.reflecting
        } else {
            &self.streaming
        };
        let peer = peer(&request);
        let memory = self.memory(&caller, peer.as_deref());
        let trip = match room.take(&caller, peer) {
            Ok(permit) => trip.holding(permit),
            Err(full) => return Ok(overloaded(&self.requests, full).into_http()),
        };
        let held = (trip.permit.clone(), self.requests.stream(method));
        let most = self.message_bytes_max;
        let ends = end(&self.stop);
        let mut request =
            request.map(|body| Body::new(Prompt::new(body, STREAM_IDLE, (most, memory), ends)));
        request.extensions_mut().insert(caller);
        let work = AssertUnwindSafe(trip.scope(inner.call(request))).catch_unwind();
        match work.await {
            Err(_) => Ok(internal().into_http()),
            Ok(result) => result.map(|response| {
                let ends = end(&self.stop);
                blamed_rightly(response).map(|body| Body::new(Ending::new(body, held, ends)))
            }),
        }
    }
}

/// The connection that a request came on.
fn peer(request: &Request<Body>) -> Option<String> {
    let remote = request.extensions().get::<Remote>()?;
    remote.address.map(|address| address.to_string())
}

/// The error for a caller when there is no room.
fn overloaded(requests: &Requests, full: NoRoom) -> Status {
    requests.shed(full);
    match full {
        NoRoom::Whole => Refusal::new(Code::Unavailable, "OVERLOADED")
            .retry_after(Duration::from_millis(200))
            .into_status("perdiem", "overloaded".to_owned()),
        NoRoom::Share => Refusal::new(Code::ResourceExhausted, "TOO_MANY_CALLS_IN_FLIGHT")
            .retry_after(Duration::from_millis(200))
            .into_status(
                "perdiem",
                "the caller has reached its limit of concurrent calls; wait until some of them end"
                    .to_owned(),
            ),
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
    use std::convert::Infallible;

    use bytes::Bytes;
    use http_body_util::BodyExt as _;
    use tokio::sync::Notify;

    use super::*;
    use crate::{Keys, ServiceName};

    /// A gate with one place of each kind.
    fn gate() -> GateLayer {
        GateLayer {
            services: &["perdiem.plan.v1.PlanService"],
            identities: Identities {
                keys: Keys::from_jwks("{\"keys\": []}", "i", "a").unwrap(),
                people_only: true,
                trust_domain: None,
            },
            access: &[],
            reading: Room::new(1),
            working: Room::new(1),
            streaming: Room::new(1),
            reflecting: Room::new(1),
            watching: Arc::new(Semaphore::new(1)),
            stop: CancellationToken::new(),
            message_bytes_max: 1_024,
            memory: Room::new(1),
            deadline: Duration::from_secs(30),
            requests: Requests::new(),
        }
    }

    fn caller() -> Caller {
        Caller::Service {
            name: ServiceName::Billing,
        }
    }

    fn trip() -> Trip {
        Trip {
            on_behalf_of: String::new(),
            deadline: None,
            permit: None,
        }
    }

    /// A request of one empty message.
    fn request() -> Request<Body> {
        Request::new(Body::new(Full::new(Bytes::from_static(b"\0\0\0\0\0"))))
    }

    /// Whether the one place of a room is taken; a moment is given to what is about to return it.
    async fn is_taken(room: &Room) -> bool {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        room.take(&caller(), None).err() == Some(NoRoom::Whole)
    }

    #[tokio::test]
    async fn a_call_that_is_reset_keeps_its_place_until_its_work_ends() {
        let (begun, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (begins, ends) = (begun.clone(), end.clone());
        let service = tower::service_fn(move |_: Request<Body>| {
            let (begins, ends) = (begins.clone(), ends.clone());
            async move {
                begins.notify_one();
                ends.notified().await;
                Ok::<_, Infallible>(Response::new(Body::empty()))
            }
        });
        let gate = gate();
        let mut call = Box::pin(gate.unary(service, request(), caller(), trip()));
        tokio::select! {
            _ = &mut call => panic!("its work has not ended"),
            () = begun.notified() => {}
        }
        drop(call);
        assert!(is_taken(&gate.working).await);
        end.notify_one();
        assert!(!is_taken(&gate.working).await);
    }

    #[tokio::test]
    async fn a_message_takes_memory_until_its_work_ends_and_is_refused_where_there_is_none() {
        let gate = gate();
        let memory = gate.memory.clone();
        let service = tower::service_fn(move |_: Request<Body>| {
            assert_eq!(memory.take(&caller(), None).err(), Some(NoRoom::Whole));
            std::future::ready(Ok::<_, Infallible>(Response::new(Body::empty())))
        });
        let code = async || {
            let done = gate.unary(service.clone(), request(), caller(), trip());
            code_of(done.await.unwrap().headers())
        };
        assert_eq!(code().await, Code::Ok);
        assert!(!is_taken(&gate.memory).await);
        let _held = gate.memory.take(&caller(), None).unwrap();
        assert_eq!(code().await, Code::Unavailable);
    }

    #[tokio::test]
    async fn who_is_not_known_continues_no_trace() {
        let (exporter, _provider, recording) = crate::trace::tests::recorded();
        let service = tower::service_fn(|_: Request<Body>| {
            std::future::ready(Ok::<_, Infallible>(Response::new(Body::empty())))
        });
        let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut request = request();
        let headers = request.headers_mut();
        headers.insert("traceparent", HeaderValue::from_static(sent));
        let answer = gate().layer(service).call(request).await.unwrap();
        assert_ne!(code_of(answer.headers()), Code::Ok);
        drop(recording);
        let spans = exporter.get_finished_spans().unwrap();
        assert_eq!(spans.len(), 1, "{spans:#?}");
        let parents: Vec<_> = spans
            .iter()
            .map(|it| it.parent_span_id.to_string())
            .collect();
        assert_eq!(parents, ["0000000000000000"]);
    }

    #[tokio::test]
    async fn who_watches_the_health_has_a_place_until_the_service_stops() {
        let waits = tower::service_fn(|_: Request<Body>| {
            let body = http_body_util::StreamBody::new(futures::stream::pending::<
                Result<http_body::Frame<Bytes>, Status>,
            >());
            std::future::ready(Ok::<_, Infallible>(Response::new(Body::new(body))))
        });
        let gate = gate();
        let asked = async |method: &str| {
            let mut request = request();
            *request.uri_mut() = format!("/grpc.health.v1.Health/{method}").parse().unwrap();
            gate.clone().health(waits, request).await.unwrap()
        };
        let code = |response: &Response<Body>| code_of(response.headers());
        let watch = asked("Watch").await;
        assert_eq!(code(&watch), Code::Ok);
        assert_eq!(code(&asked("Watch").await), Code::Unavailable);
        assert_eq!(code(&asked("Check").await), Code::Ok);
        gate.stop.cancel();
        let trailers = watch.into_body().collect().await.unwrap();
        assert_eq!(code_of(trailers.trailers().unwrap()), Code::Unavailable);
        assert_eq!(gate.watching.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_stream_ends_when_the_service_stops() {
        let waits = tower::service_fn(|_: Request<Body>| {
            let body = http_body_util::StreamBody::new(futures::stream::pending::<
                Result<http_body::Frame<Bytes>, Status>,
            >());
            std::future::ready(Ok::<_, Infallible>(Response::new(Body::new(body))))
        });
        let gate = gate();
        let response = gate.streamed(waits, request(), ("WatchPlans", caller()), trip());
        let body = response.await.unwrap().into_body();
        assert!(is_taken(&gate.streaming).await);
        gate.stop.cancel();
        let trailers = body.collect().await.unwrap();
        assert_eq!(code_of(trailers.trailers().unwrap()), Code::Unavailable);
        assert!(!is_taken(&gate.streaming).await);
    }

    #[tokio::test]
    async fn a_stream_that_is_reset_keeps_its_place_until_what_it_detached_ends() {
        let (begun, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (begins, ends) = (begun.clone(), end.clone());
        let service = tower::service_fn(move |_: Request<Body>| {
            let (begins, ends) = (begins.clone(), ends.clone());
            async move {
                let work = async move {
                    begins.notify_one();
                    ends.notified().await;
                    Ok(())
                };
                let _ = crate::detached(work).await;
                Ok::<_, Infallible>(Response::new(Body::empty()))
            }
        });
        let gate = gate();
        let mut call =
            Box::pin(gate.streamed(service, request(), ("WatchPlans", caller()), trip()));
        tokio::select! {
            _ = &mut call => panic!("its work has not ended"),
            () = begun.notified() => {}
        }
        drop(call);
        assert!(is_taken(&gate.streaming).await);
        end.notify_one();
        assert!(!is_taken(&gate.streaming).await);
    }

    #[test]
    fn a_call_is_traced_by_the_service_that_its_path_names() {
        let services = &["a.v1.One", "a.v1.Two"];
        assert_eq!(served(services, "/a.v1.Two/Get"), "a.v1.Two");
        for path in ["/a.v1.One/Get", "/a.v1.Three/Get", "/", ""] {
            assert_eq!(served(services, path), "a.v1.One", "{path}");
        }
    }

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
