//! Serving: limits, health, reflection, the gate, jobs beside it, and stopping in good order.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use opentelemetry::global;
use sqlx::migrate::Migrator;
use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::Router;
use tower::layer::util::{Identity, Stack};

use crate::check;
use crate::gate::UNIT_BYTES;
use crate::health::Health;
use crate::incoming::{Connection, incoming, listen};
use crate::reflection::reflected;
use crate::renewal::{Renewal, renew};
use crate::room::Room;
use crate::telemetry::{Requests, observe};
use crate::test_clock::{NextDue, serve_test_clock};
use crate::tls::Tls;
use crate::{
    Access, Clock, Command, Config, Database, GateLayer, Identities, descriptors, init_telemetry,
    migrate, stop_on_signal,
};

/// The most concurrent reflection streams.
const REFLECTIONS: usize = 16;
/// The most concurrent watches of the health.
const WATCHES: usize = 16;
/// The most memory for messages that are read or worked on.
const MESSAGES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The age at which a connection takes no new calls.
const CONNECTION_AGE: Duration = Duration::from_mins(15);
/// How long calls may take to finish when the service stops.
const DRAIN_TIME: Duration = Duration::from_secs(20);

/// What a service brings to be served.
pub struct Server {
    /// Its name in logs, traces and metrics.
    pub name: &'static str,
    /// The full names of its services in the contract, for health and reflection.
    pub grpc_names: &'static [&'static str],
    /// Its methods.
    pub routes: Routes,
    /// Who may call what.
    pub access: &'static [Access],
    /// The largest message that a method of it takes.
    pub message_bytes_max: usize,
    /// Its database, whose schema is that of the migrator.
    pub db: Database,
    /// Its clock.
    pub clock: Clock,
    /// When it has work to do, for the test clock.
    pub next_due: NextDue,
    /// Its jobs, until the token is cancelled.
    pub jobs: Jobs,
    /// The names of those that run in reconcile-only mode, too.
    pub reconciling: &'static [&'static str],
}

/// Jobs that run until the token is cancelled.
pub type Jobs = Box<dyn FnOnce(CancellationToken) -> LocalBoxFuture<'static, ()>>;

/// Runs the command that the command line of a service specifies; `peers` are the variables with the URLs of the
/// services that it calls, such as `PLAN_URL`.
///
/// Boxed, so that each service is compiled once and not again in every program that starts it.
pub fn run(
    command: Command,
    migrator: &'static Migrator,
    peers: &'static [&'static str],
    make: fn(&Config) -> Result<Server, Box<dyn Error>>,
) -> LocalBoxFuture<'static, Result<(), Box<dyn Error>>> {
    async move {
        match command {
            Command::Migrate {
                migrate_database_url,
            } => Ok(migrate(&migrate_database_url, migrator).await?),
            Command::CheckConfig(config) => {
                let mut faults = check::faults(&config, peers);
                if faults.is_empty() {
                    faults.extend(make(&config).err().map(|error| error.to_string()));
                }
                if !faults.iter().any(|it| it.starts_with("DATABASE_")) {
                    faults.extend(check::of_connection(&config).await);
                }
                Ok(check::none(faults)?)
            }
            Command::Serve(config) => {
                check::none(check::faults(&config, peers))?;
                serve(&config, migrator, make).await
            }
        }
    }
    .boxed_local()
}

/// Serves until SIGTERM or SIGINT: what has begun is finished, nothing new is taken.
async fn serve(
    config: &Config,
    migrator: &'static Migrator,
    make: fn(&Config) -> Result<Server, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    crate::crash::arm(&config.crash_at);
    descriptors::raise(config)?;
    let stop = stop_on_signal()?;
    let identities = Identities::read(config)?;
    let tls = Tls::read(config)?;
    let renewals = renewals(config, &identities, tls.as_ref());
    let server = make(config)?;
    let telemetry = init_telemetry(server.name, config)?;
    if config.reconcile_only {
        crate::reconciling::begin(server.reconciling);
        tracing::warn!("the service only reconciles: unset RECONCILE_ONLY to let it move money");
    }

    let (health, health_service) = Health::new(server.grpc_names).await;
    let meter = global::meter("perdiem");
    observe(&meter, &server.db, config.tls_certificate_file.clone());
    health.observe(&meter);
    let gate = gate(config, identities, &server, &stop);
    let mut routes = server.routes.add_service(health_service.clone());
    if config.reflection {
        routes = reflected(routes, server.grpc_names)?;
    }
    let grpc = transport().layer(gate).add_routes(routes);
    let incoming = incoming(listen(config.listen)?, tls);
    // Before the first answer that the service is ready: whoever waited for it may set the clock.
    let clock_listener = config.test_clock_listen.map(listen).transpose()?;

    let ready = (health.clone(), server.db.clone(), migrator);
    let answered = CancellationToken::new();
    let answering = answer(grpc, incoming, ready, (stop.clone(), answered.clone()));
    #[expect(
        clippy::disallowed_methods,
        reason = "awaited below; a job that computes holds up no call"
    )]
    let answering = tokio::spawn(answering);
    let metrics = async {
        match config.metrics_listen {
            Some(address) => {
                // Until the last answer, so that calls in flight are counted and probes are answered.
                let served = health
                    .serve(address, health_service, telemetry.metrics(), answered)
                    .await;
                stop.cancel(); // A port that can't be opened is reported at once and not at the end.
                served
            }
            None => Ok(()),
        }
    };
    let clock = async {
        match clock_listener {
            Some(listener) => {
                serve_test_clock(listener, server.clock, server.next_due, stop.clone()).await
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
    let renewing = renew(renewals, stop.clone());
    let (grpc, metrics, clock, (), ()) = tokio::join!(answering, metrics, clock, jobs, renewing);
    telemetry.shutdown().await;
    grpc??;
    metrics?;
    Ok(clock?)
}

/// Answers calls until the stop, and then those that have begun. However it ends, everything else is stopped too.
async fn answer(
    router: Router<Stack<GateLayer, Identity>>,
    incoming: ReceiverStream<io::Result<Connection>>,
    (health, db, migrator): (Health, Database, &'static Migrator),
    (stop, answered): (CancellationToken, CancellationToken),
) -> Result<(), tonic::transport::Error> {
    let _stops = (stop.clone().drop_guard(), answered.drop_guard());
    // Readiness is kept until the stop, which ends it.
    let ready = health.keep(&db, migrator, &stop);
    let served = router.serve_with_incoming_shutdown(incoming, ready);
    drained(served, &stop).await.unwrap_or_else(|| {
        let seconds = DRAIN_TIME.as_secs();
        tracing::warn!(seconds, "calls did not finish in time");
        Ok(())
    })
}

/// What `serving` ends with; `None` if it is still under way [`DRAIN_TIME`] after `stop`.
async fn drained<T>(serving: impl Future<Output = T>, stop: &CancellationToken) -> Option<T> {
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN_TIME).await;
    };
    tokio::select! {
        ended = serving => Some(ended),
        () = late => None,
    }
}

/// Files that are read anew when they change.
fn renewals(config: &Config, identities: &Identities, tls: Option<&Tls>) -> Vec<Renewal> {
    let (config, identities) = (config.clone(), identities.clone());
    let files = vec![config.auth_keys_file.clone()];
    let keys = Renewal::new("keys of tokens", files, move || identities.renew(&config));
    let certificates = tls.cloned().map(|tls| {
        let files = tls.files();
        Renewal::new("certificates", files, move || tls.renew())
    });
    [Some(keys), certificates].into_iter().flatten().collect()
}

/// The gate, with the limits of the configuration.
fn gate(
    config: &Config,
    identities: Identities,
    server: &Server,
    stop: &CancellationToken,
) -> GateLayer {
    GateLayer {
        services: server.grpc_names,
        identities,
        access: server.access,
        // Reading a message costs less than working on it.
        reading: Room::new(4 * config.max_in_flight),
        // The calls of one person or operator hold at most half of the database connections.
        working: Room::new(config.max_in_flight)
            .with_turns(usize::try_from(config.database_connections / 2).unwrap_or(usize::MAX)),
        streaming: Room::new(config.max_in_flight),
        reflecting: Room::new(REFLECTIONS),
        watching: Arc::new(Semaphore::new(WATCHES)),
        stop: stop.clone(),
        message_bytes_max: server.message_bytes_max,
        memory: Room::new(MESSAGES_BYTES_MAX / UNIT_BYTES),
        deadline: Duration::from_secs(config.deadline_seconds),
        requests: Requests::new(),
    }
}

/// HTTP/2 with every limit set (R28).
fn transport() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .max_concurrent_streams(100)
        .http2_max_header_list_size(16 * 1024)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .http2_max_local_error_reset_streams(Some(1024))
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        // With a grace, tonic would cut connections at its end with calls under way, and announce nothing before.
        // Without, their clients are told to open another, and calls have deadlines and streams an age.
        .max_connection_age(CONNECTION_AGE)
        .tcp_nodelay(true)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper_util::rt::TokioIo;
    use tokio::time::Instant;
    use tonic::Status;
    use tonic::body::Body;
    use tonic::transport::Endpoint;
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_does_not_finish_holds_up_no_stop() {
        let stop = CancellationToken::new();
        assert_eq!(drained(std::future::ready(1), &stop).await, Some(1));
        let begun = Instant::now();
        stop.cancel();
        assert_eq!(drained(std::future::pending::<()>(), &stop).await, None);
        assert_eq!(begun.elapsed(), DRAIN_TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_outlives_the_age_of_its_connection() {
        let slow = service_fn(|_: http::Request<Body>| async {
            tokio::time::sleep(3 * CONNECTION_AGE).await;
            Ok::<_, Infallible>(Status::ok("").into_http::<Body>())
        });
        let (near, far) = tokio::io::duplex(64 * 1024);
        let incoming = futures::stream::iter([Ok::<_, io::Error>(far)]);
        let served = transport().serve_with_incoming(slow, incoming);
        let mut near = Some(near);
        let connect = service_fn(move |_: http::Uri| {
            let io = near.take().map(TokioIo::new);
            let there = io.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
            std::future::ready(there)
        });
        let call = async {
            let endpoint = Endpoint::from_static("http://localhost");
            let channel = endpoint.connect_with_connector(connect).await.unwrap();
            channel.oneshot(http::Request::new(Body::empty())).await
        };
        let (_, answer) = tokio::join!(served, call);
        assert_eq!(answer.unwrap().headers()["grpc-status"], "0");
    }
}
