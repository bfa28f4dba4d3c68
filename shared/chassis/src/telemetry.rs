//! Logs as JSON lines, traces by OTLP, metrics by OTLP and Prometheus.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Key, KeyValue, global};
use opentelemetry_otlp::{WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_prometheus::ResourceSelector;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::{Certificate, ClientTlsConfig};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};
use x509_parser::pem::Pem;

use crate::room::Full;
use crate::version::{COMMIT, VERSION};
use crate::{Config, Database};

/// Upper bounds of the buckets of latencies, in seconds: from an answer out of memory to the longest deadline.
const SECONDS: [f64; 15] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
/// The longest pause between two exports of metrics and traces when the process ends.
const SHUTDOWN_TIME: Duration = Duration::from_secs(3);

/// The running telemetry of a process.
pub struct Telemetry {
    tracer: SdkTracerProvider,
    meter: SdkMeterProvider,
    registry: prometheus::Registry,
}

/// Starts logs, traces and metrics for `service`.
pub fn init_telemetry(service: &'static str, config: &Config) -> Result<Telemetry, Box<dyn Error>> {
    let otlp = config.otlp_endpoint.as_deref();
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.namespace", "perdiem"))
        .with_attribute(KeyValue::new("service.version", VERSION))
        .build();
    let (mut meter, registry) = prometheus_meter(resource.clone())?;
    let mut tracer = SdkTracerProvider::builder().with_resource(resource);
    if let Some(endpoint) = otlp {
        let spans = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_tls_config(collector_tls(config)?)
            .build()?;
        let metrics = opentelemetry_otlp::MetricExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_tls_config(collector_tls(config)?)
            .build()?;
        meter = meter.with_periodic_exporter(metrics);
        tracer = tracer.with_batch_exporter(spans);
    } else {
        // Trace ids are made all the same, for the logs and for those who are called.
        tracer = tracer.with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)));
    }
    let (meter, tracer) = (meter.build(), tracer.build());
    global::set_meter_provider(meter.clone());

    // One filter a layer: a global one would also drop the spans that OTLP exports; and without the
    // internals of the exporter's own calls, which would trace themselves for ever.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt::layer()
        .json()
        .with_writer(std::io::stderr)
        .with_filter(filter);
    let traced = match otlp {
        Some(_) => "info,chassis::trace=debug,h2=off,hyper=off,tonic=off,opentelemetry=off",
        None => "off,chassis::trace=info",
    };
    let traces = tracing_opentelemetry::layer()
        .with_tracer(tracer.tracer(service))
        .with_filter(EnvFilter::new(traced));
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

/// A provider of meters whose metrics the registry gives, each with the name of its service.
fn prometheus_meter(
    resource: Resource,
) -> Result<
    (
        opentelemetry_sdk::metrics::MeterProviderBuilder,
        prometheus::Registry,
    ),
    Box<dyn Error>,
> {
    let registry = prometheus::Registry::new();
    let exporter = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .with_resource_selector(ResourceSelector::KeyAllowList(
            [Key::new("service.name")].into(),
        ))
        .scope_info_enabled(false)
        .build()?;
    let meter = SdkMeterProvider::builder()
        .with_resource(resource)
        .with_reader(exporter);
    Ok((meter, registry))
}

/// Whom to trust for a collector at an https address: the public authorities, and the suite's own.
fn collector_tls(config: &Config) -> Result<ClientTlsConfig, Box<dyn Error>> {
    let tls = ClientTlsConfig::new().with_enabled_roots();
    Ok(match &config.tls_ca_file {
        Some(file) => tls.ca_certificate(Certificate::from_pem(std::fs::read(file)?)),
        None => tls,
    })
}

impl Telemetry {
    /// Sends what is left and ends.
    pub async fn shutdown(self) {
        let _ = tokio::task::spawn_blocking(move || {
            let _ = self.tracer.shutdown_with_timeout(SHUTDOWN_TIME);
            let _ = self.meter.shutdown_with_timeout(SHUTDOWN_TIME);
        })
        .await;
    }

    /// The metrics as Prometheus reads them.
    pub(crate) fn metrics(&self) -> impl Fn() -> String + Clone + Send + Sync + use<> {
        text_of(self.registry.clone())
    }
}

fn text_of(registry: prometheus::Registry) -> impl Fn() -> String + Clone + Send + Sync + use<> {
    move || {
        let encoder = prometheus::TextEncoder::new();
        let text = encoder.encode_to_string(&registry.gather());
        text.unwrap_or_default()
    }
}

/// Observes what holds for every service: its build, its connections to the database, and when its certificate ends.
pub(crate) fn observe(meter: &Meter, db: &Database, certificate: Option<PathBuf>) {
    let build = [
        KeyValue::new("version", VERSION),
        KeyValue::new("commit", COMMIT),
    ];
    meter
        .u64_observable_gauge("perdiem.build.info")
        .with_description("1, with the version and the commit of the program as labels.")
        .with_callback(move |it| it.observe(1, &build))
        .build();
    let pool = db.clone();
    meter
        .u64_observable_gauge("db.client.connection.max")
        .with_description("The most connections to the database.")
        .with_callback(move |it| it.observe(pool.occupancy().max, &[]))
        .build();
    let pool = db.clone();
    meter
        .u64_observable_gauge("db.client.connection.count")
        .with_description("Open connections to the database, by state.")
        .with_callback(move |it| {
            let open = pool.occupancy();
            let state = |state| [KeyValue::new("state", state)];
            it.observe(open.used, &state("used"));
            it.observe(open.idle, &state("idle"));
        })
        .build();
    let pool = db.clone();
    meter
        .u64_observable_gauge("db.client.connection.pending_requests")
        .with_description("Calls and jobs that wait for a connection to the database.")
        .with_callback(move |it| it.observe(pool.occupancy().waiting, &[]))
        .build();
    if let Some(file) = certificate {
        meter
            .i64_observable_gauge("tls.certificate.not_after")
            .with_unit("s")
            .with_description("When the certificate in TLS_CERTIFICATE_FILE ends, as Unix time.")
            .with_callback(move |it| {
                if let Some(at) = not_after(&file) {
                    it.observe(at, &[]);
                }
            })
            .build();
    }
}

/// When the first certificate in a file ends, in seconds since 1970.
fn not_after(file: &Path) -> Option<i64> {
    let text = std::fs::read(file).ok()?;
    let pem = Pem::iter_from_buffer(&text).next()?.ok()?;
    let certificate = pem.parse_x509().ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// Counts and times the requests of a service.
#[derive(Clone)]
pub struct Requests {
    duration: Histogram<f64>,
    in_flight: UpDownCounter<i64>,
    streams: UpDownCounter<i64>,
    shed: Counter<u64>,
}

impl Requests {
    /// The instruments, of the process's meter.
    pub fn new() -> Self {
        Self::of(&global::meter("perdiem"))
    }

    fn of(meter: &Meter) -> Self {
        Self {
            duration: meter
                .f64_histogram("rpc.server.duration")
                .with_unit("s")
                .with_description("Time to the answer of a request.")
                .with_boundaries(SECONDS.to_vec())
                .build(),
            in_flight: meter
                .i64_up_down_counter("rpc.server.in_flight")
                .with_description("Requests that are not answered yet.")
                .build(),
            streams: meter
                .i64_up_down_counter("rpc.server.streams")
                .with_description("Answers that are open streams.")
                .build(),
            shed: meter
                .u64_counter("rpc.server.shed")
                .with_description("Requests refused because there was no room for them.")
                .build(),
        }
    }

    /// Notes that a request has arrived.
    pub fn arrived(&self, method: &'static str) -> InFlight {
        InFlight {
            open: Open::new(self.in_flight.clone(), method),
            duration: self.duration.clone(),
            begun: Instant::now(),
            code: Code::Cancelled,
        }
    }

    /// Notes that a stream is open until the answer is dropped.
    pub fn stream(&self, method: &'static str) -> Open {
        Open::new(self.streams.clone(), method)
    }

    /// Notes that there was no room for a request.
    pub fn shed(&self, full: Full) {
        let why = match full {
            Full::Whole => "OVERLOADED",
            Full::Share => "TOO_MANY_CALLS_IN_FLIGHT",
        };
        self.shed.add(1, &[KeyValue::new("reason", why)]);
    }
}

/// One of those that are counted while they last.
pub struct Open {
    counter: UpDownCounter<i64>,
    method: [KeyValue; 1],
}

impl Open {
    fn new(counter: UpDownCounter<i64>, method: &'static str) -> Self {
        let method = [KeyValue::new("rpc.method", method)];
        counter.add(1, &method);
        Self { counter, method }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.counter.add(-1, &self.method);
    }
}

/// A request that is not answered yet. Dropped without an answer, it was given up by its caller.
pub struct InFlight {
    open: Open,
    duration: Histogram<f64>,
    begun: Instant,
    code: Code,
}

impl InFlight {
    /// Notes the answer.
    pub fn answered(mut self, code: Code) {
        self.code = code;
        let took = self.begun.elapsed();
        tracing::debug!(rpc.code = ?code, duration_ms = took.as_millis(), "answered");
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let [method] = &self.open.method;
        let code = KeyValue::new("rpc.grpc.status_code", format!("{:?}", self.code));
        let labels = [method.clone(), code];
        self.duration
            .record(self.begun.elapsed().as_secs_f64(), &labels);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::MeterProvider as _;

    use super::*;

    /// A meter, and the text that Prometheus reads of it.
    fn measured() -> (SdkMeterProvider, impl Fn() -> String) {
        let resource = Resource::builder_empty().with_service_name("plan").build();
        let (provider, registry) = prometheus_meter(resource).unwrap();
        (provider.build(), text_of(registry))
    }

    fn value<'a>(text: &'a str, series: &str) -> Option<&'a str> {
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
    }

    #[tokio::test(start_paused = true)]
    async fn latencies_are_told_apart_from_a_millisecond_to_a_minute_for_each_method() {
        let (provider, text) = measured();
        let requests = Requests::of(&provider.meter("perdiem"));
        for (method, millis) in [("GetPlan", 2), ("GetPlan", 200), ("ListPlans", 40_000)] {
            let call = requests.arrived(method);
            tokio::time::advance(Duration::from_millis(millis)).await;
            call.answered(Code::Ok);
        }
        let text = text();
        let below = |method: &str, bound: &str| {
            let series = format!(
                "rpc_server_duration_seconds_bucket{{rpc_grpc_status_code=\"Ok\",rpc_method=\"{method}\",service_name=\"plan\",le=\"{bound}\"}}"
            );
            value(&text, &series).unwrap_or_else(|| panic!("{series} in\n{text}"))
        };
        assert_eq!(below("GetPlan", "0.001"), "0");
        assert_eq!(below("GetPlan", "0.0025"), "1");
        assert_eq!(below("GetPlan", "0.1"), "1");
        assert_eq!(below("GetPlan", "0.25"), "2");
        assert_eq!(below("ListPlans", "30"), "0");
        assert_eq!(below("ListPlans", "60"), "1");
    }

    #[test]
    fn a_call_is_in_flight_until_it_is_answered_or_given_up() {
        let (provider, text) = measured();
        let requests = Requests::of(&provider.meter("perdiem"));
        let series = "rpc_server_in_flight{rpc_method=\"GetPlan\",service_name=\"plan\"}";
        let (first, second) = (requests.arrived("GetPlan"), requests.arrived("GetPlan"));
        let stream = requests.stream("WatchPlans");
        assert_eq!(value(&text(), series), Some("2"));
        let streams = "rpc_server_streams{rpc_method=\"WatchPlans\",service_name=\"plan\"}";
        assert_eq!(value(&text(), streams), Some("1"));

        first.answered(Code::NotFound);
        drop((second, stream));
        let text = text();
        assert_eq!(value(&text, series), Some("0"));
        assert_eq!(value(&text, streams), Some("0"));
        for code in ["NotFound", "Cancelled"] {
            let count = format!(
                "rpc_server_duration_seconds_count{{rpc_grpc_status_code=\"{code}\",rpc_method=\"GetPlan\",service_name=\"plan\"}}"
            );
            assert_eq!(value(&text, &count), Some("1"), "{text}");
        }
    }

    #[test]
    fn calls_refused_for_lack_of_room_are_counted_by_reason() {
        let (provider, text) = measured();
        let requests = Requests::of(&provider.meter("perdiem"));
        requests.shed(Full::Whole);
        requests.shed(Full::Share);
        requests.shed(Full::Share);
        for (reason, count) in [("OVERLOADED", "1"), ("TOO_MANY_CALLS_IN_FLIGHT", "2")] {
            let series =
                format!("rpc_server_shed_total{{reason=\"{reason}\",service_name=\"plan\"}}");
            assert_eq!(value(&text(), &series), Some(count));
        }
    }

    #[tokio::test]
    async fn build_and_connections_are_told() {
        let (provider, text) = measured();
        let db = crate::connect("postgres://nobody@127.0.0.1:1/none", "test", 3).unwrap();
        observe(&provider.meter("perdiem"), &db, None);
        let text = text();
        let build = format!(
            "perdiem_build_info{{commit=\"{COMMIT}\",version=\"{VERSION}\",service_name=\"plan\"}}"
        );
        assert_eq!(value(&text, &build), Some("1"), "{text}");
        let told = |series: &str| value(&text, series).map(str::to_owned);
        let of = "service_name=\"plan\"";
        assert_eq!(
            told(&format!("db_client_connection_max{{{of}}}")),
            Some("3".to_owned())
        );
        for state in ["used", "idle"] {
            let series = format!("db_client_connection_count{{state=\"{state}\",{of}}}");
            assert_eq!(told(&series), Some("0".to_owned()), "{text}");
        }
        let waiting = format!("db_client_connection_pending_requests{{{of}}}");
        assert_eq!(told(&waiting), Some("0".to_owned()));
    }
}
