//! Serving: limits, health, reflection, the gate, jobs beside it, and stopping in good order.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use sqlx::migrate::Migrator;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::telemetry::Requests;
use crate::test_clock::{NextDue, serve_test_clock};
use crate::{
    Access, Clock, Command, Config, GateLayer, Identities, Keys, init_telemetry, migrate,
    stop_on_signal,
};

/// What a service brings to be served.
pub struct Server {
    /// Its name in logs, traces and metrics.
    pub name: &'static str,
    /// Its full name in the contract, for health.
    pub grpc_name: &'static str,
    /// Its methods.
    pub routes: Routes,
    /// Who may call what.
    pub access: &'static [Access],
    /// Its clock.
    pub clock: Clock,
    /// When it has work to do, for the test clock.
    pub next_due: NextDue,
    /// Its jobs, until the token is cancelled.
    pub jobs: Jobs,
}

/// Jobs that run until the token is cancelled.
pub type Jobs = Box<dyn FnOnce(CancellationToken) -> LocalBoxFuture<'static, ()>>;

/// Does what the command line of a service asks.
///
/// Boxed, so that each service is compiled once and not again in every program that starts it.
pub fn run(
    command: Command,
    migrator: &'static Migrator,
    make: fn(&Config) -> Result<Server, Box<dyn Error>>,
) -> LocalBoxFuture<'static, Result<(), Box<dyn Error>>> {
    async move {
        match command {
            Command::Migrate {
                migrate_database_url,
            } => Ok(migrate(&migrate_database_url, migrator).await?),
            Command::CheckConfig(config) => match config.faults().as_slice() {
                [] => Ok(()),
                faults => Err(faults.join("\n").into()),
            },
            Command::Serve(config) => serve(&config, make).await,
        }
    }
    .boxed_local()
}

/// Serves until SIGTERM or SIGINT: what has begun is finished, nothing new is taken.
async fn serve(
    config: &Config,
    make: fn(&Config) -> Result<Server, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    if let [fault, ..] = config.faults().as_slice() {
        return Err(fault.clone().into());
    }
    crate::crash::arm(&config.crash_at);
    let stop = stop_on_signal()?;
    let keys = Keys::from_jwks(&std::fs::read_to_string(&config.auth_keys_file)?)?;
    let server = make(config)?;
    let telemetry = init_telemetry(server.name, config.otlp_endpoint.as_deref())?;

    let (health, health_service) = tonic_health::server::health_reporter();
    health
        .set_service_status(server.grpc_name, tonic_health::ServingStatus::Serving)
        .await;
    let mut routes = server.routes.add_service(health_service);
    if config.reflection {
        for reflection in reflections()? {
            routes = reflection.added_to(routes);
        }
    }
    let gate = GateLayer {
        identities: Identities { keys },
        access: server.access,
        room: Arc::new(Semaphore::new(config.max_in_flight)),
        deadline: Duration::from_secs(config.deadline_seconds),
        requests: Requests::new(),
    };
    let grpc = transport(config)?.layer(gate).add_routes(routes);

    let listening = async {
        let ended = grpc
            .serve_with_shutdown(config.listen, async {
                stop.cancelled().await;
                health
                    .set_service_status(server.grpc_name, tonic_health::ServingStatus::NotServing)
                    .await;
                health
                    .set_service_status("", tonic_health::ServingStatus::NotServing)
                    .await;
            })
            .await;
        stop.cancel(); // A server that could not start takes the jobs with it.
        ended
    };
    let metrics = async {
        match config.metrics_listen {
            Some(address) => telemetry.serve_metrics(address, stop.clone()).await,
            None => Ok(()),
        }
    };
    let clock = async {
        match config.test_clock_listen {
            Some(address) => {
                serve_test_clock(address, server.clock, server.next_due, stop.clone()).await
            }
            None => Ok(()),
        }
    };
    let jobs = async {
        if config.jobs {
            (server.jobs)(stop.clone()).await;
        }
    };
    tracing::info!(service = server.name, listen = %config.listen, "serving");
    let (grpc, metrics, clock, ()) = tokio::join!(listening, metrics, clock, jobs);
    telemetry.shutdown().await;
    grpc?;
    metrics?;
    Ok(clock?)
}

/// HTTP/2 with every limit set (R28).
fn transport(config: &Config) -> Result<tonic::transport::Server, Box<dyn Error>> {
    let mut transport = tonic::transport::Server::builder()
        .max_concurrent_streams(100)
        .http2_max_header_list_size(16 * 1024)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .http2_max_local_error_reset_streams(Some(1024))
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_connection_age(Duration::from_mins(15))
        .max_connection_age_grace(Duration::from_mins(1))
        .tcp_nodelay(true);
    if let (Some(certificate), Some(key), Some(ca)) = (
        &config.tls_certificate_file,
        &config.tls_key_file,
        &config.tls_ca_file,
    ) {
        let identity = Identity::from_pem(std::fs::read(certificate)?, std::fs::read(key)?);
        let ca = Certificate::from_pem(std::fs::read(ca)?);
        transport =
            transport.tls_config(ServerTlsConfig::new().identity(identity).client_ca_root(ca))?;
    }
    Ok(transport)
}

/// Reflection in both versions: grpcurl asks for v1alpha, newer tools for v1.
fn reflections() -> Result<[Reflection; 2], Box<dyn Error>> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            // Without these, tools show error details as bytes.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let (v1, v1alpha) = (builder().build_v1()?, builder().build_v1alpha()?);
    Ok([
        Reflection(Box::new(move |routes| routes.add_service(v1))),
        Reflection(Box::new(move |routes| routes.add_service(v1alpha))),
    ])
}

/// A reflection service, whatever its type.
struct Reflection(Box<dyn FnOnce(Routes) -> Routes>);

impl Reflection {
    fn added_to(self, routes: Routes) -> Routes {
        (self.0)(routes)
    }
}
