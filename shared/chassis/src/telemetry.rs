//! Logs as JSON lines, traces by OTLP, metrics by OTLP and Prometheus.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use opentelemetry::metrics::Histogram;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// The running telemetry of a process.
pub struct Telemetry {
    tracer: Option<SdkTracerProvider>,
    meter: SdkMeterProvider,
    registry: prometheus::Registry,
}

/// Starts logs, traces and metrics for `service`.
pub fn init_telemetry(
    service: &'static str,
    otlp: Option<&str>,
) -> Result<Telemetry, Box<dyn Error>> {
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.namespace", "perdiem"))
        .build();
    let registry = prometheus::Registry::new();
    let exporter = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .build()?;
    let mut meter = SdkMeterProvider::builder()
        .with_resource(resource.clone())
        .with_reader(exporter);
    let mut tracer = None;
    if let Some(endpoint) = otlp {
        let spans = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .build()?;
        let metrics = opentelemetry_otlp::MetricExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .build()?;
        meter = meter.with_periodic_exporter(metrics);
        tracer = Some(
            SdkTracerProvider::builder()
                .with_resource(resource)
                .with_batch_exporter(spans)
                .build(),
        );
    }
    let meter = meter.build();
    global::set_meter_provider(meter.clone());

    // One filter a layer: a global one would also drop the spans that OTLP exports; and without the
    // internals of the exporter's own calls, which would trace themselves for ever.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt::layer()
        .json()
        .with_writer(std::io::stderr)
        .with_filter(filter);
    let traces = tracer.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(service))
            .with_filter(EnvFilter::new(
                "info,h2=off,hyper=off,tonic=off,opentelemetry=off",
            ))
    });
    let _ = tracing_subscriber::registry()
        .with(logs)
        .with(traces)
        .try_init();
    std::panic::set_hook(Box::new(
        |panic| tracing::error!(panic = %panic, "panicked"),
    ));
    Ok(Telemetry {
        tracer,
        meter,
        registry,
    })
}

/// Makes `span` part of the trace that `trace_parent` names.
pub fn adopt(span: &tracing::Span, trace_parent: &str) {
    let carrier =
        std::collections::HashMap::from([("traceparent".to_owned(), trace_parent.to_owned())]);
    let _ = span.set_parent(TraceContextPropagator::new().extract(&carrier));
}

impl Telemetry {
    /// Sends what is left and ends.
    pub async fn shutdown(self) {
        let _ = tokio::task::spawn_blocking(move || {
            if let Some(tracer) = self.tracer {
                let _ = tracer.shutdown();
            }
            let _ = self.meter.shutdown();
        })
        .await;
    }

    /// Answers any GET on `address` with the metrics as Prometheus reads them, until `stop`.
    pub async fn serve_metrics(
        &self,
        address: SocketAddr,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let listener = tokio::net::TcpListener::bind(address).await?;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return Ok(()),
            };
            let Ok((connection, _)) = accepted else {
                continue;
            };
            let registry = self.registry.clone();
            let answer =
                hyper::service::service_fn(move |_| {
                    let text = prometheus::TextEncoder::new()
                        .encode_to_string(&registry.gather())
                        .unwrap_or_default();
                    async {
                        Ok::<_, std::convert::Infallible>(http::Response::new(
                            http_body_util::Full::<bytes::Bytes>::from(text),
                        ))
                    }
                });
            let served = hyper::server::conn::http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(connection), answer);
            let _ = tokio::time::timeout(Duration::from_secs(5), served).await;
        }
    }
}

/// Counts and times the requests of a service.
#[derive(Clone)]
pub struct Requests(Histogram<f64>);

impl Requests {
    /// The instrument, of the process's meter.
    pub fn new() -> Self {
        let meter = global::meter("perdiem");
        Self(
            meter
                .f64_histogram("rpc.server.duration")
                .with_unit("s")
                .with_description("Time to the answer of a request.")
                .build(),
        )
    }

    /// Notes an answer; logs what an operator should look at.
    pub fn answered(&self, method: &str, code: Code, took: Duration) {
        let labels = [
            KeyValue::new("rpc.method", method.to_owned()),
            KeyValue::new("rpc.grpc.status_code", format!("{code:?}")),
        ];
        self.0.record(took.as_secs_f64(), &labels);
        tracing::debug!(rpc.code = ?code, duration_ms = took.as_millis(), "answered");
    }
}
