//! Traces: one tree of spans for one call, through every service, job and connection to the database that it leads to.
//!
//! The context travels as W3C `traceparent` and `tracestate`, read and written by OpenTelemetry's propagator. What does
//! work has a span; what looks for work has none: a job's polling, the streams that it follows, and health checks. A call
//! made outside a span tells its receiver so by an unsampled context, so that the receiver records none either.

use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use opentelemetry::Context as Trace;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{SpanContext, TraceContextExt as _, TraceFlags, TraceState};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};
use tonic::Code;
use tonic::body::Body;
use tower::Service;
use tracing::field::{Empty, display};
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The span of a received call: a child of the span that its headers name, or the root of a new trace.
///
/// `service` and `method` must be names that the contract has, not those that a caller sent.
pub fn received(service: &'static str, method: &'static str, headers: Option<&HeaderMap>) -> Span {
    let span = tracing::info_span!(
        "rpc",
        otel.name = format!("{service}/{method}"),
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = Empty,
        trace.id = Empty,
    );
    let parent = headers.map(|headers| {
        TraceContextPropagator::new().extract_with_context(&Trace::new(), &Read(headers))
    });
    if let Some(parent) = parent.filter(|it| it.span().span_context().is_valid()) {
        let _ = span.set_parent(parent);
    }
    named(span)
}

/// Runs a piece of work of a job in a trace of its own, named after the job.
pub async fn traced<T>(job: &'static str, work: impl Future<Output = T>) -> T {
    let span = tracing::info_span!(
        parent: None,
        "job",
        otel.name = job,
        otel.kind = "internal",
        job,
        trace.id = Empty,
    );
    work.instrument(named(span)).await
}

/// The span of a loan of a database connection; none outside a trace.
pub fn lent() -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    tracing::debug_span!(
        "database",
        otel.kind = "client",
        db.system.name = "postgresql"
    )
}

/// The span, with the id of its trace for the logs.
fn named(span: Span) -> Span {
    let context = span.context();
    let trace = context.span().span_context().trace_id();
    span.record("trace.id", display(trace));
    span
}

/// Records how a call ended.
pub fn ended(span: &Span, code: Code) {
    span.record("rpc.grpc.status_code", i32::from(code));
    // Refusals of a request are the caller's; these are faults.
    let fault = matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    );
    if fault {
        span.record("otel.status_code", "ERROR");
    }
}

/// A client of another service, each of whose calls has a span that the other service continues.
#[derive(Clone, Debug)]
pub struct Traced<S>(pub S);

impl<S, B> Service<Request<Body>> for Traced<S>
where
    S: Service<Request<Body>, Response = Response<B>> + 'static,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let span = called(request.uri().path());
        let context = if span.is_none() {
            unsampled()
        } else {
            span.context()
        };
        TraceContextPropagator::new().inject_context(&context, &mut Write(request.headers_mut()));
        let answer = span.in_scope(|| self.0.call(request));
        async move {
            let answer = answer.await;
            let code = match &answer {
                Ok(response) => code_of(response.headers()),
                Err(_) => Code::Unavailable,
            };
            ended(&Span::current(), code);
            answer
        }
        .instrument(span)
        .boxed()
    }
}

/// The span of a call to `path` of another service; none outside a trace.
fn called(path: &str) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    let name = path.trim_start_matches('/');
    let (service, method) = name.split_once('/').unwrap_or(("", name));
    tracing::info_span!(
        "call",
        otel.name = name,
        otel.kind = "client",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = Empty,
    )
}

/// A context that tells its receiver to record nothing.
fn unsampled() -> Trace {
    let ids = RandomIdGenerator::default();
    let (trace, span) = (ids.new_trace_id(), ids.new_span_id());
    let none = TraceFlags::default();
    let context = SpanContext::new(trace, span, none, false, TraceState::NONE);
    Trace::new().with_remote_span_context(context)
}

/// The code in the headers of an answer without messages; OK otherwise.
pub fn code_of(headers: &HeaderMap) -> Code {
    headers
        .get("grpc-status")
        .map_or(Code::Ok, |value| Code::from_bytes(value.as_bytes()))
}

/// Headers that a context is read from.
struct Read<'a>(&'a HeaderMap);

impl Extractor for Read<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

/// Headers that a context is written to.
struct Write<'a>(&'a mut HeaderMap);

impl Injector for Write<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value))
            && !value.is_empty()
        {
            self.0.insert(name, value);
        }
    }
}

/// Its tests, which lend others what records spans.
#[cfg(test)]
pub mod tests {
    use opentelemetry::trace::{SpanId, SpanKind, Status, TracerProvider as _};
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
    use tower::{ServiceExt as _, service_fn};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    const PLAN: &str = "perdiem.plan.v1.PlanService";
    const BILLING: &str = "perdiem.billing.v1.BillingService";

    /// Records the spans of this thread until the guard is dropped. The exporter forgets them when the provider has gone.
    pub fn recorded() -> (
        InMemorySpanExporter,
        SdkTracerProvider,
        tracing::subscriber::DefaultGuard,
    ) {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exporter.clone())
            .build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(layer);
        let recording = tracing::subscriber::set_default(subscriber);
        (exporter, provider, recording)
    }

    /// A service that answers `code`.
    async fn plan(request: Request<Body>, code: Code) -> Result<Response<Body>, tonic::Status> {
        let span = received(PLAN, "GetPlan", Some(request.headers()));
        async {
            // A loan of a connection while it answers.
            drop(lent());
            ended(&Span::current(), code);
        }
        .instrument(span)
        .await;
        Ok(tonic::Status::new(code, "").into_http())
    }

    /// A call of `plan` as services make it.
    async fn call_plan(code: Code) {
        let client = Traced(service_fn(move |request: Request<Body>| {
            plan(request, code)
        }));
        let path = format!("/{PLAN}/GetPlan");
        let request = Request::post(path).body(Body::empty()).unwrap();
        assert!(client.oneshot(request).await.is_ok());
    }

    fn found<'s>(spans: &'s [SpanData], name: &str, kind: &SpanKind) -> &'s SpanData {
        let mut of = spans
            .iter()
            .filter(|it| it.name == name && it.span_kind == *kind);
        let first = of.next();
        assert!(of.next().is_none(), "one {name}: {spans:#?}");
        first.unwrap_or_else(|| panic!("no {name}: {spans:#?}"))
    }

    #[tokio::test]
    async fn a_call_is_one_tree_through_services_and_their_databases() {
        let (exporter, _provider, recording) = recorded();
        let mut headers = HeaderMap::new();
        let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        headers.insert("traceparent", sent.parse().unwrap());
        let span = received(BILLING, "GetInvoice", Some(&headers));
        // The work has a task of its own, as behind the gate.
        let work = tokio::task::LocalSet::new();
        let done = work.run_until(async {
            tokio::task::spawn_local(call_plan(Code::Unavailable).in_current_span()).await
        });
        done.instrument(span).await.unwrap();
        drop(recording);

        let spans = exporter.get_finished_spans().unwrap();
        assert_eq!(spans.len(), 4, "{spans:#?}");
        let plan = format!("{PLAN}/GetPlan");
        let root = found(&spans, &format!("{BILLING}/GetInvoice"), &SpanKind::Server);
        let made = found(&spans, &plan, &SpanKind::Client);
        let taken = found(&spans, &plan, &SpanKind::Server);
        let lent = found(&spans, "database", &SpanKind::Client);
        assert_eq!(root.parent_span_id.to_string(), "00f067aa0ba902b7");
        assert_eq!(made.parent_span_id, root.span_context.span_id());
        assert_eq!(taken.parent_span_id, made.span_context.span_id());
        assert_eq!(lent.parent_span_id, taken.span_context.span_id());
        for span in &spans {
            let trace = span.span_context.trace_id().to_string();
            assert_eq!(trace, "4bf92f3577b34da6a3ce929d0e0e4736");
        }
        assert!(matches!(taken.status, Status::Error { .. }));
        assert!(matches!(made.status, Status::Error { .. }));
    }

    #[tokio::test]
    async fn a_call_without_a_trace_begins_one_and_names_no_parent() {
        let (exporter, _provider, recording) = recorded();
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", "00-nonsense".parse().unwrap());
        drop(received(PLAN, "GetPlan", Some(&headers)));
        drop(recording);
        let spans = exporter.get_finished_spans().unwrap();
        let root = found(&spans, &format!("{PLAN}/GetPlan"), &SpanKind::Server);
        assert_eq!(root.parent_span_id, SpanId::INVALID);
    }

    #[tokio::test]
    async fn what_looks_for_work_makes_no_traces_and_what_does_it_makes_one() {
        let (exporter, _provider, recording) = recorded();
        drop(lent());
        call_plan(Code::Ok).await;
        assert!(exporter.get_finished_spans().unwrap().is_empty());

        traced("post_events", call_plan(Code::NotFound)).await;
        drop(recording);
        let spans = exporter.get_finished_spans().unwrap();
        let root = found(&spans, "post_events", &SpanKind::Internal);
        let made = found(&spans, &format!("{PLAN}/GetPlan"), &SpanKind::Client);
        assert_eq!(root.parent_span_id, SpanId::INVALID);
        assert_eq!(made.parent_span_id, root.span_context.span_id());
        // A refusal is no fault.
        assert_eq!(made.status, Status::Unset);
        let traces: std::collections::HashSet<_> =
            spans.iter().map(|it| it.span_context.trace_id()).collect();
        assert_eq!((spans.len(), traces.len()), (4, 1));
    }
}
