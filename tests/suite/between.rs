//! A proxy between the services of a suite: it passes each call on, but spoils the next ones of one method, or holds the
//! next one back.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::Response;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use perdiem::connect::Urls;
use tonic::service::Routes;
use tonic::{Code, Status};

use crate::harness::free_url;

/// The most bytes of a message that is spoiled.
const MESSAGE_MAX: usize = 1 << 20;

/// How a call is spoiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nobody is there, for once more than a caller tries by itself.
    Away,
    /// It fails before anything was done.
    Fails,
    /// It is carried out, and its answer never comes.
    NeverAnswers,
    /// It is carried out twice, and answered the second time.
    Repeats,
}

impl Fault {
    pub const ALL: [Self; 4] = [Self::Away, Self::Fails, Self::NeverAnswers, Self::Repeats];

    /// How many calls it spoils.
    pub const fn calls(self) -> u32 {
        match self {
            Self::Away => 4,
            Self::Fails | Self::NeverAnswers | Self::Repeats => 1,
        }
    }
}

/// What is to be spoiled, and how often it was.
struct Spoiling {
    method: &'static str,
    fault: Fault,
    hits: u32,
}

/// A method whose next call waits until others of it were answered.
struct Holding {
    method: &'static str,
    /// Whether that call has come.
    holds: bool,
    /// How many others are still to be answered.
    left: u32,
    /// Whether it was passed on after them.
    outlasted: bool,
}

/// Whether a path, such as `/perdiem.plan.v1.PlanService/ApplyChange`, is of a method, such as `plan.ApplyChange`.
fn is_of(path: &str, method: &str) -> bool {
    let (service, method) = method.split_once('.').unwrap();
    path.starts_with(&format!("/perdiem.{service}.")) && path.ends_with(&format!("/{method}"))
}

/// The proxy: all services are called at one address.
#[derive(Clone)]
pub struct Between {
    pub url: String,
    to: Arc<OnceLock<Urls>>,
    spoiling: Arc<Mutex<Option<Spoiling>>>,
    holding: Arc<Mutex<Option<Holding>>>,
    client: Client<HttpConnector, Body>,
}

impl Between {
    /// A proxy that answers nothing until it knows the suite.
    pub fn start() -> Self {
        let between = Self {
            url: free_url(),
            to: Arc::default(),
            spoiling: Arc::default(),
            holding: Arc::default(),
            client: Client::builder(TokioExecutor::new())
                .http2_only(true)
                .build_http(),
        };
        let app = Router::new().fallback(pass).with_state(between.clone());
        let address = Urls::address(&between.url).parse().unwrap();
        let server = tonic::transport::Server::builder().add_routes(Routes::from(app));
        tokio::spawn(server.serve(address));
        between
    }

    /// The suite whose calls are passed on.
    pub fn to(&self, urls: Urls) {
        assert!(self.to.set(urls).is_ok(), "one suite");
    }

    /// Spoils the next calls of a method, such as `plan.ApplyChange`.
    pub fn spoil(&self, method: &'static str, fault: Fault) {
        let spoiling = Spoiling {
            method,
            fault,
            hits: 0,
        };
        *self.spoiling.lock().unwrap() = Some(spoiling);
    }

    /// How many calls were spoiled since it was asked for.
    pub fn hits(&self) -> u32 {
        let spoiling = self.spoiling.lock().unwrap();
        spoiling.as_ref().map_or(0, |it| it.hits)
    }

    /// Holds the next call of a method, such as `payments.CreateCharge`, until so many others of it were answered.
    pub fn hold(&self, method: &'static str, others: u32) {
        let holding = Holding {
            method,
            holds: false,
            left: others,
            outlasted: false,
        };
        *self.holding.lock().unwrap() = Some(holding);
    }

    /// Whether the call that was held was passed on after the others: who made it had not given up before.
    pub fn outlasted(&self) -> bool {
        let holding = self.holding.lock().unwrap();
        holding.as_ref().is_some_and(|it| it.outlasted)
    }

    /// Whether a call is the one to be held.
    fn is_held(&self, path: &str) -> bool {
        let mut holding = self.holding.lock().unwrap();
        let found = holding.as_mut();
        found.is_some_and(|it| is_of(path, it.method) && !std::mem::replace(&mut it.holds, true))
    }

    /// Waits until the others were answered.
    async fn held(&self) {
        loop {
            if let Some(it) = self.holding.lock().unwrap().as_mut()
                && it.left == 0
            {
                it.outlasted = true;
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Notes that a call was answered.
    fn answered(&self, path: &str) {
        let mut holding = self.holding.lock().unwrap();
        if let Some(it) = holding.as_mut()
            && is_of(path, it.method)
        {
            it.left = it.left.saturating_sub(1);
        }
    }

    /// How this call is to be spoiled.
    fn fault_of(&self, path: &str) -> Option<Fault> {
        let mut spoiling = self.spoiling.lock().unwrap();
        let found = spoiling.as_mut()?;
        let fits = is_of(path, found.method);
        (fits && found.hits < found.fault.calls()).then(|| {
            found.hits += 1;
            found.fault
        })
    }

    async fn forward(&self, mut request: Request) -> Response {
        let to = self.to.get().and_then(|urls| {
            let service = request.uri().path().split('.').nth(1)?;
            Some(format!("{}{}", urls.of(service), request.uri().path()))
        });
        let Some(to) = to else {
            return Status::unavailable("the suite is not known yet").into_http();
        };
        *request.uri_mut() = to.parse().unwrap();
        match self.client.request(request).await {
            Ok(answer) => answer.map(Body::new),
            Err(error) => Status::unavailable(error.to_string()).into_http(),
        }
    }

    /// The same request again.
    async fn carried_out(&self, parts: &Parts, message: &axum::body::Bytes) -> Response {
        let request = Request::from_parts(parts.clone(), Body::from(message.clone()));
        self.forward(request).await
    }
}

async fn pass(State(between): State<Between>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if between.is_held(&path) {
        between.held().await;
        return between.forward(request).await;
    }
    let answer = spoiled(&between, request).await;
    between.answered(&path);
    answer
}

async fn spoiled(between: &Between, request: Request) -> Response {
    let Some(fault) = between.fault_of(request.uri().path()) else {
        return between.forward(request).await;
    };
    let (parts, body) = request.into_parts();
    let message = to_bytes(body, MESSAGE_MAX).await.unwrap();
    match fault {
        Fault::Away => Status::unavailable("spoiled").into_http(),
        Fault::Fails => Status::new(Code::Internal, "spoiled").into_http(),
        Fault::NeverAnswers => {
            let answer = between.carried_out(&parts, &message).await;
            to_bytes(answer.into_body(), MESSAGE_MAX).await.unwrap();
            std::future::pending().await
        }
        Fault::Repeats => {
            let first = between.carried_out(&parts, &message).await;
            to_bytes(first.into_body(), MESSAGE_MAX).await.unwrap();
            between.carried_out(&parts, &message).await
        }
    }
}
