//! Health, on the gRPC port and on a plaintext port beside it, which also has the metrics.
//!
//! A process is *ready* while its own database answers and has every migration that the program knows; other services
//! and providers don't count, so that one outage does not spread. It is *alive* while it answers at all: restarting it
//! would not bring a database back.
//!
//! | asked | says |
//! |---|---|
//! | gRPC health of `""` or of the service's name, HTTP `/readyz` | whether it is ready |
//! | gRPC health of `liveness`, HTTP `/livez` | that it is alive |

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::{StatusCode, header};
use opentelemetry::metrics::Meter;
use sqlx::migrate::Migrator;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health as Asked, HealthServer};
use tonic_health::server::HealthReporter;

use crate::Database;
use crate::http::serve_http_2;

/// The name in gRPC health under which a process is alive.
const LIVENESS: &str = "liveness";
/// How often readiness is looked at while the process is ready: as often as a kubelet usually asks.
const WHILE_READY: Duration = Duration::from_secs(5);
/// How often it is looked at otherwise.
const OTHERWISE: Duration = Duration::from_millis(500);
/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The health of a process.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
    /// The full names of its services in the contract.
    names: &'static [&'static str],
    now: Arc<Mutex<Readiness>>,
}

/// Whether a process is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readiness {
    Ready,
    /// The database has not been asked yet.
    Starting,
    /// The database does not answer, or not in time.
    NoDatabase,
    /// The newest migration of the database, and the newest of the program.
    OldSchema {
        has: i64,
        needs: i64,
    },
    Stopping,
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Starting => f.write_str("not ready: starting"),
            Self::NoDatabase => f.write_str("not ready: the database does not answer"),
            Self::OldSchema { has, needs } => write!(
                f,
                "not ready: the schema has migration {has}, this program needs {needs}; run `migrate`"
            ),
            Self::Stopping => f.write_str("not ready: stopping"),
        }
    }
}

impl Health {
    /// The health of the services `names`, and what answers for it. It is not ready yet.
    pub async fn new(names: &'static [&'static str]) -> (Self, HealthServer<impl Asked>) {
        let (reporter, service) = tonic_health::server::health_reporter();
        let health = Self {
            reporter,
            names,
            now: Arc::new(Mutex::new(Readiness::Starting)),
        };
        health
            .reporter
            .set_service_status(LIVENESS, ServingStatus::Serving)
            .await;
        health.set(Readiness::Starting).await;
        (health, service)
    }

    /// Keeps readiness true to the database until `stop`; then it is not ready any more.
    pub async fn keep(&self, db: &Database, migrator: &Migrator, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                found = looked_at(db, migrator) => {
                    if let Some(found) = found && found != self.now() {
                        tracing::info!(readiness = %found, "readiness has changed");
                        self.set(found).await;
                    }
                }
                () = stop.cancelled() => break,
            }
            let pause = if self.now() == Readiness::Ready {
                WHILE_READY
            } else {
                OTHERWISE
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
        self.set(Readiness::Stopping).await;
    }

    fn now(&self) -> Readiness {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn set(&self, found: Readiness) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = found;
        let status = if found == Readiness::Ready {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for name in self.names.iter().chain(&[""]) {
            self.reporter.set_service_status(name, status).await;
        }
    }

    /// Observes readiness.
    pub fn observe(&self, meter: &Meter) {
        let health = self.clone();
        meter
            .u64_observable_gauge("perdiem.ready")
            .with_description("1 while the service is ready, else 0.")
            .with_callback(move |it| it.observe((health.now() == Readiness::Ready).into(), &[]))
            .build();
    }

    /// Serves health and metrics at `address`, without TLS and for everybody who reaches it, until `stop`.
    pub async fn serve(
        &self,
        address: SocketAddr,
        service: HealthServer<impl Asked>,
        metrics: impl Fn() -> String + Clone + Send + Sync + 'static,
        stop: CancellationToken,
    ) -> io::Result<()> {
        serve_http_2(address, self.routes(service, metrics), stop).await
    }

    fn routes(
        &self,
        service: HealthServer<impl Asked>,
        metrics: impl Fn() -> String + Clone + Send + Sync + 'static,
    ) -> Router {
        let health = self.clone();
        let ready = move || {
            let now = health.now();
            let status = if now == Readiness::Ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            std::future::ready((status, format!("{now}\n")))
        };
        let metrics = move || {
            let kind = [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)];
            std::future::ready((kind, metrics()))
        };
        Routes::new(service)
            .into_axum_router()
            .route("/livez", get(|| std::future::ready("alive\n")))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
    }
}

/// What the database says of readiness; `None` if it can't be told, because all connections are in use: calls that
/// wait for each other say nothing of the database.
async fn looked_at(db: &Database, migrator: &Migrator) -> Option<Readiness> {
    let needs = migrator.iter().map(|it| it.version).max().unwrap_or(0);
    // After a restart of the database the first connection lent may still be one of before.
    for _ in 0..2 {
        let asked = db.schema_version(&migrator.table_name);
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(has)) => return Some(judged(has, needs)),
            Ok(Err(sqlx::Error::PoolTimedOut)) | Err(_) if db.occupancy().is_full() => return None,
            Ok(Err(_)) | Err(_) => {}
        }
    }
    Some(Readiness::NoDatabase)
}

/// What the newest migrations of a schema and of a program mean. A newer schema is good for an older program, so that
/// old and new replicas serve side by side while one follows the other.
const fn judged(has: i64, needs: i64) -> Readiness {
    if needs <= has {
        Readiness::Ready
    } else {
        Readiness::OldSchema { has, needs }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Empty};
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;
    use tonic::transport::Endpoint;
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    use super::*;

    /// A port of 127.0.0.1 that is free now.
    fn free() -> SocketAddr {
        let bound = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        bound.local_addr().unwrap()
    }

    async fn asked(at: SocketAddr, name: &str) -> i32 {
        let server = Endpoint::from_shared(format!("http://{at}")).unwrap();
        let channel = loop {
            if let Ok(channel) = server.connect().await {
                break channel;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let mut client = HealthClient::new(channel);
        let service = name.to_owned();
        let answer = client.check(HealthCheckRequest { service }).await.unwrap();
        answer.into_inner().status
    }

    async fn got(at: SocketAddr, path: &str) -> (StatusCode, String, String) {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
        let answer = client.get(format!("http://{at}{path}").parse().unwrap());
        let answer = answer.await.unwrap();
        let kind = answer.headers().get(header::CONTENT_TYPE);
        let kind = kind.unwrap().to_str().unwrap().to_owned();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }

    const NAMES: &[&str] = &["perdiem.plan.v1.PlanService", "perdiem.plan.v1.Other"];
    const SERVING: i32 = 1;
    const NOT_SERVING: i32 = 2;

    #[tokio::test]
    async fn probes_and_prometheus_are_answered_on_one_plaintext_port() {
        let (health, service) = Health::new(NAMES).await;
        let (at, stop) = (free(), CancellationToken::new());
        let serving = health.serve(at, service, || "up 1\n".to_owned(), stop.clone());
        let asking = async {
            for (readiness, status, code) in [
                (Readiness::Starting, NOT_SERVING, 503),
                (Readiness::Ready, SERVING, 200),
                (Readiness::NoDatabase, NOT_SERVING, 503),
                (Readiness::OldSchema { has: 3, needs: 4 }, NOT_SERVING, 503),
                (Readiness::Stopping, NOT_SERVING, 503),
            ] {
                health.set(readiness).await;
                for name in NAMES.iter().chain(&[""]) {
                    assert_eq!(asked(at, name).await, status, "{name}: {readiness}");
                }
                let (found, _, text) = got(at, "/readyz").await;
                assert_eq!((found.as_u16(), text), (code, format!("{readiness}\n")));
                // Whatever the database does, a restart would not help.
                assert_eq!(asked(at, LIVENESS).await, SERVING);
                assert_eq!(got(at, "/livez").await.0, StatusCode::OK);
            }
            let (_, kind, text) = got(at, "/metrics").await;
            assert_eq!(
                (kind.as_str(), text.as_str()),
                (prometheus::TEXT_FORMAT, "up 1\n")
            );
            stop.cancel();
        };
        let (served, ()) = tokio::join!(serving, asking);
        served.unwrap();
    }

    #[test]
    fn a_schema_is_ready_for_its_own_program_and_for_older_ones() {
        assert_eq!(judged(40, 40), Readiness::Ready);
        assert_eq!(judged(41, 40), Readiness::Ready);
        let old = judged(0, 40);
        assert_eq!(old, Readiness::OldSchema { has: 0, needs: 40 });
        assert!(old.to_string().ends_with("run `migrate`"), "{old}");
    }

    #[tokio::test]
    async fn a_service_without_its_database_is_not_ready_but_alive() {
        let (health, _service) = Health::new(NAMES).await;
        let url = format!("postgres://nobody@{}/none", free());
        let db = crate::connect(&url, "test", 2).unwrap();
        let (migrator, stop) = (Migrator::DEFAULT, CancellationToken::new());
        assert_eq!(health.now(), Readiness::Starting);
        let keeping = health.keep(&db, &migrator, &stop);
        let watching = async {
            while health.now() == Readiness::Starting {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(health.now(), Readiness::NoDatabase);
            stop.cancel();
        };
        tokio::join!(keeping, watching);
        assert_eq!(health.now(), Readiness::Stopping);
    }
}
