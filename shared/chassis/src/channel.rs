//! Connections to another service: one to the address that a URL has, or one to each address of the name that it has.
//!
//! The name of a headless Service has the address of each ready replica. It is resolved anew every few seconds while
//! calls are made, new addresses are connected to beside the calls, and those that are gone get no further ones. Calls
//! take turns over the connections that stand. A request whose body nobody has read was not sent, as a call has no
//! effect without its message: it goes to another replica. Whatever was sent is left to the caller, who knows whether it
//! may be repeated ([`retried`](crate::retried)).

use std::collections::BTreeSet;
use std::error::Error as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, Shared, join_all};
use futures::{FutureExt as _, TryFutureExt as _};
use http::uri::{InvalidUriParts, Scheme};
use http::{Request, Response, Uri};
use http_body::{Body as _, Frame};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::either::Either;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, TimeoutExpired};
use tower::{BoxError, Service, service_fn};

use crate::ServiceName;
use crate::tls::PeerTls;

/// How often the name of a service is resolved while it is called.
const EVERY: Duration = Duration::from_secs(5);
/// How long resolving a name may take.
const LOOK_UP_TIME: Duration = Duration::from_secs(2);
/// How long connecting may take, TLS included.
const DIAL_TIME: Duration = Duration::from_secs(1);
/// How long a connection is silent before its other end is asked for a sign of life.
const SILENCE: Duration = Duration::from_secs(2);
/// How long that sign may take; then the connection is closed, and its calls fail.
const SIGN_TIME: Duration = Duration::from_secs(3);
/// To how many replicas a request is given at most.
const TRIES: usize = 8;
/// How often a call that finds no replica has them looked for.
const LOOKS: usize = 2;

/// A channel to another service.
#[derive(Clone)]
pub enum PeerChannel {
    /// To the address in the URL.
    One(Channel),
    /// To each address of the name in the URL.
    Spread(Arc<Spread>),
}

impl PeerChannel {
    /// A channel to `service` at `uri` that connects on first use; with `tls`, nobody but that service is called.
    pub fn new(
        service: ServiceName,
        uri: Uri,
        tls: Option<PeerTls>,
    ) -> Result<Self, InvalidUriParts> {
        let https = uri.scheme() == Some(&Scheme::HTTPS);
        let host = host(&uri);
        let is_name = !host.is_empty() && host.parse::<IpAddr>().is_err();
        // What is https without TLS connects to nobody, as tonic refuses it.
        if is_name && (tls.is_some() || !https) {
            let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
            let host = host.to_owned();
            let resolve: Resolve = Box::new(move || looked_up(host.clone(), port).boxed());
            let spread = Spread::new(service, uri, tls, resolve, EVERY)?;
            return Ok(Self::Spread(Arc::new(spread)));
        }
        Ok(Self::One(match tls {
            Some(tls) => secured(uri, tls, DIAL_TIME)?,
            None => endpoint(uri).connect_lazy(),
        }))
    }
}

impl Service<Request<Body>> for PeerChannel {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::One(channel) => channel.poll_ready(cx).map_err(BoxError::from),
            Self::Spread(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self {
            Self::One(channel) => channel.call(request).map_err(BoxError::from).boxed(),
            Self::Spread(spread) => spread.clone().send(request).boxed(),
        }
    }
}

/// How other services are connected to.
fn endpoint(uri: Uri) -> Endpoint {
    Endpoint::from(uri)
        .connect_timeout(DIAL_TIME)
        .http2_keep_alive_interval(SILENCE)
        .keep_alive_timeout(SIGN_TIME)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .tcp_nodelay(true)
}

/// The same, where a connector of ours adds TLS: tonic adds none of its own to what is http, and requests say https
/// nevertheless.
fn endpoint_with_tls(uri: Uri) -> Result<Endpoint, InvalidUriParts> {
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    Ok(endpoint(Uri::from_parts(parts)?).origin(uri))
}

/// A channel to the service that `tls` expects at `uri`, which connects on first use, and in `time`.
pub fn secured(uri: Uri, tls: PeerTls, time: Duration) -> Result<Channel, InvalidUriParts> {
    let endpoint = endpoint_with_tls(uri)?.connect_timeout(time);
    let connector = service_fn(move |uri: Uri| {
        let tls = tls.clone();
        async move { tls.connect(&uri).await.map(TokioIo::new) }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// The host in a URL. An IPv6 address has its brackets in a URL only.
pub fn host(uri: &Uri) -> &str {
    let host = uri.host().unwrap_or_default();
    host.trim_start_matches('[').trim_end_matches(']')
}

async fn looked_up(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host((host.as_str(), port)).await?;
    Ok(found.collect())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells the addresses of a service.
pub type Resolve = Box<dyn Fn() -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// Looking for replicas, which all who wait for it share.
type Looking = Shared<BoxFuture<'static, ()>>;

/// Spreads calls over the replicas of a service.
pub struct Spread {
    service: ServiceName,
    host: String,
    endpoint: Endpoint,
    tls: Option<PeerTls>,
    resolve: Resolve,
    every: Duration,
    /// Those that are connected to.
    live: watch::Sender<Vec<Arc<Replica>>>,
    /// Counts calls; whose turn it is follows.
    turn: AtomicUsize,
    look: Mutex<Look>,
}

/// A replica, by one connection: once that has ended, every request fails unsent.
struct Replica {
    address: SocketAddr,
    channel: Channel,
}

/// When and with what result replicas were looked for.
#[derive(Default)]
struct Look {
    begun: Option<Instant>,
    /// The last one; it may be over.
    running: Option<Looking>,
    /// The addresses that the name had last.
    known: BTreeSet<SocketAddr>,
}

impl Spread {
    /// Calls of `service`, as `uri` has it, at the addresses that `resolve` tells, which is asked every so often.
    pub fn new(
        service: ServiceName,
        uri: Uri,
        tls: Option<PeerTls>,
        resolve: Resolve,
        every: Duration,
    ) -> Result<Self, InvalidUriParts> {
        Ok(Self {
            service,
            host: host(&uri).to_owned(),
            endpoint: if tls.is_some() {
                endpoint_with_tls(uri)?
            } else {
                endpoint(uri)
            },
            tls,
            resolve,
            every,
            live: watch::Sender::new(Vec::new()),
            turn: AtomicUsize::new(0),
            look: Mutex::default(),
        })
    }

    /// Sends a request to one replica; to another if it was not sent.
    async fn send(self: Arc<Self>, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let (head, mut body) = request.into_parts();
        for _ in 0..TRIES {
            let Some(replica) = self.replica().await else {
                break;
            };
            let kept = Arc::new(Mutex::new(Some(body)));
            let lent = Body::new(Lent {
                kept: kept.clone(),
                body: None,
            });
            let request = Request::from_parts(head.clone(), lent);
            let error = match tower::ServiceExt::oneshot(replica.channel.clone(), request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let unsent = locked(&kept).take();
            body = match unsent {
                Some(body) if !body.is_end_stream() && !is_late(&error) => body,
                Some(_) | None => return Err(error.into()),
            };
            self.lose(&replica);
        }
        let service = self.service;
        let told = format!("no replica of {service} can be connected to");
        Err(Status::unavailable(told).into())
    }

    /// The replica whose turn it is; if there is none, it is waited for.
    async fn replica(self: &Arc<Self>) -> Option<Arc<Replica>> {
        for _ in 0..LOOKS {
            if let Some(replica) = self.next() {
                if self.is_due() {
                    drop(self.look());
                }
                return Some(replica);
            }
            let mut changes = self.live.subscribe();
            let connected = changes.wait_for(|live| !live.is_empty()).map(drop);
            tokio::select! {
                () = self.look() => {}
                () = connected => {}
            }
        }
        self.next()
    }

    fn next(&self) -> Option<Arc<Replica>> {
        let live = self.live.borrow();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        live.get(turn.checked_rem(live.len())?).cloned()
    }

    /// Whether it is time to look for replicas.
    fn is_due(&self) -> bool {
        let begun = locked(&self.look).begun;
        begun.is_none_or(|begun| self.every < begun.elapsed())
    }

    /// Leaves out a replica whose connection has ended, and looks whether it can be connected to again.
    fn lose(self: &Arc<Self>, lost: &Arc<Replica>) {
        self.keep(|it| !Arc::ptr_eq(it, lost));
        drop(self.look());
    }

    /// Keeps those connections only. Calls that are under way on the others go on.
    fn keep(&self, which: impl Fn(&Arc<Replica>) -> bool) {
        self.live.send_if_modified(|live| {
            let before = live.len();
            live.retain(&which);
            live.len() < before
        });
    }

    /// Looks for replicas, in a task of its own; whoever asks meanwhile shares it.
    fn look(self: &Arc<Self>) -> Looking {
        let mut look = locked(&self.look);
        if let Some(running) = &look.running
            && running.peek().is_none()
        {
            return running.clone();
        }
        let running = self.clone().looked().boxed().shared();
        look.begun = Some(Instant::now());
        look.running = Some(running.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "ends within seconds, and changes nothing but connections"
        )]
        tokio::spawn(running.clone());
        running
    }

    /// Resolves the name, leaves out those that are gone, and connects to those that are new.
    async fn looked(self: Arc<Self>) {
        let (service, host) = (self.service.text(), self.host.as_str());
        let found = tokio::time::timeout(LOOK_UP_TIME, (self.resolve)()).await;
        match found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            // While a name has no address, the last ones are as good as any.
            Ok(found) if found.is_empty() => tracing::warn!(service, host, "no address"),
            Ok(found) => locked(&self.look).known = found.into_iter().collect(),
            Err(error) => tracing::warn!(service, host, %error, "no address"),
        }
        let known = locked(&self.look).known.clone();
        self.keep(|it| known.contains(&it.address));
        let live: BTreeSet<SocketAddr> = self.live.borrow().iter().map(|it| it.address).collect();
        let new: Vec<SocketAddr> = known.difference(&live).copied().collect();
        join_all(new.into_iter().map(|address| self.dial(address))).await;
        if !known.is_empty() && self.live.borrow().is_empty() {
            tracing::warn!(service, host, ?known, "no replica can be connected to");
        }
    }

    /// Connects to a replica, if that is possible in time.
    async fn dial(&self, address: SocketAddr) {
        let service = self.service.text();
        match tokio::time::timeout(DIAL_TIME, self.connected(address)).await {
            Ok(Ok(channel)) => {
                let replica = Arc::new(Replica { address, channel });
                self.live.send_modify(|live| live.push(replica));
            }
            Ok(Err(error)) => tracing::debug!(service, %address, %error, "not connected"),
            Err(_) => tracing::debug!(service, %address, "not connected in time"),
        }
    }

    async fn connected(&self, address: SocketAddr) -> Result<Channel, BoxError> {
        let stream = TcpStream::connect(address).await?;
        // Small requests are sent at once (no Nagle delay).
        stream.set_nodelay(true)?;
        let stream = match &self.tls {
            Some(tls) => Either::Right(tls.secure(&self.host, stream).await?),
            None => Either::Left(stream),
        };
        let mut stream = Some(TokioIo::new(stream));
        // A connection that has ended is not made again in its place: whose turn it is would have to wait for it.
        let once = service_fn(move |_: Uri| {
            let ended = || io::Error::from(io::ErrorKind::NotConnected);
            std::future::ready(stream.take().ok_or_else(ended))
        });
        Ok(self.endpoint.connect_with_connector(once).await?)
    }
}

/// Whether a call failed as its time was over.
fn is_late(error: &tonic::transport::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<TimeoutExpired>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The body of a request, which can be taken back until it is first read; what then reads it fails.
struct Lent {
    kept: Arc<Mutex<Option<Body>>>,
    /// Once it was read.
    body: Option<Body>,
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.body.is_none() {
            let body = locked(&self.kept).take();
            self.body = body;
        }
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(Some(Err(Status::cancelled("sent to another replica")))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Some(body) => body.is_end_stream(),
            None => locked(&self.kept)
                .as_ref()
                .is_some_and(http_body::Body::is_end_stream),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};
    use tokio::runtime::Runtime;
    use tonic::Code;
    use tonic::service::interceptor::InterceptedService;
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    use super::*;
    use crate::incoming::{incoming, listen};
    use crate::retried;

    /// A replica that counts its calls, in a runtime of its own: it ends at once, as if killed.
    struct Server {
        address: SocketAddr,
        calls: Arc<AtomicUsize>,
        runtime: Option<Runtime>,
    }

    impl Server {
        fn start(ip: &str) -> Self {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let listener = {
                let _entered = runtime.enter();
                listen(format!("{ip}:0").parse().unwrap()).unwrap()
            };
            let address = listener.local_addr().unwrap();
            let calls = Arc::new(AtomicUsize::new(0));
            let counted = calls.clone();
            let (reporter, health) = tonic_health::server::health_reporter();
            let health = InterceptedService::new(health, move |request: tonic::Request<()>| {
                counted.fetch_add(1, Ordering::SeqCst);
                Ok::<_, Status>(request)
            });
            runtime.spawn(async move {
                let _reporter = reporter;
                let server = tonic::transport::Server::builder().add_service(health);
                server.serve_with_incoming(incoming(listener, None)).await
            });
            Self {
                address,
                calls,
                runtime: Some(runtime),
            }
        }

        fn calls(&self) -> usize {
            self.calls.load(Ordering::SeqCst)
        }

        fn stop(&mut self) {
            if let Some(runtime) = self.runtime.take() {
                runtime.shutdown_background();
            }
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            self.stop();
        }
    }

    /// The addresses that the name has.
    type Name = Arc<Mutex<Vec<SocketAddr>>>;

    fn name(addresses: &[SocketAddr]) -> Name {
        Arc::new(Mutex::new(addresses.to_vec()))
    }

    /// Calls spread over the addresses of `name`, which is resolved often.
    fn spread(name: &Name) -> Arc<Spread> {
        let name = name.clone();
        let resolve: Resolve = Box::new(move || {
            let addresses = name.lock().unwrap().clone();
            std::future::ready(Ok(addresses)).boxed()
        });
        let uri = Uri::from_static("http://plan:7301");
        let every = Duration::from_millis(20);
        Arc::new(Spread::new(ServiceName::Plan, uri, None, resolve, every).unwrap())
    }

    /// One call, without a retry of the caller's.
    async fn called_once(spread: &Arc<Spread>) -> Result<(), Status> {
        let mut client = HealthClient::new(PeerChannel::Spread(spread.clone()));
        let answer = client.check(HealthCheckRequest::default()).await;
        answer.map(drop)
    }

    /// A call as services make it.
    async fn called(spread: &Arc<Spread>) -> Result<(), Status> {
        retried(|| called_once(spread)).await
    }

    /// Calls until `done`.
    async fn called_until(spread: &Arc<Spread>, done: impl Fn() -> bool) {
        let calls = async {
            while !done() {
                called(spread).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let calls = tokio::time::timeout(Duration::from_mins(1), calls).await;
        calls.expect("calls reach whom they should");
    }

    /// An address at which nobody listens.
    fn nobody() -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    }

    #[tokio::test]
    async fn calls_take_turns_over_the_addresses_that_the_name_has_now() {
        let servers = ["127.0.0.1", "127.0.0.2", "127.0.0.3"].map(Server::start);
        let addresses = servers.each_ref().map(|it| it.address);
        let name = name(&addresses);
        let spread = spread(&name);
        called_until(&spread, || servers.iter().all(|it| 0 < it.calls())).await;
        let before = servers.each_ref().map(Server::calls);
        for _ in 0..30 {
            called_once(&spread).await.unwrap();
        }
        for (server, before) in servers.iter().zip(before) {
            assert_eq!(server.calls(), before + 10, "{}", server.address);
        }

        // One has left: after a while it is called no more.
        *name.lock().unwrap() = addresses[..2].to_vec();
        let live = || spread.live.borrow().len();
        called_until(&spread, || live() == 2).await;
        let before = servers[2].calls();
        for _ in 0..10 {
            called_once(&spread).await.unwrap();
        }
        assert_eq!(servers[2].calls(), before);

        // While the name has no address, those that are connected to are called.
        name.lock().unwrap().clear();
        tokio::time::sleep(spread.every * 2).await;
        for _ in 0..10 {
            called_once(&spread).await.unwrap();
        }

        // It is back.
        *name.lock().unwrap() = addresses.to_vec();
        called_until(&spread, || before < servers[2].calls()).await;
    }

    #[tokio::test]
    async fn a_replica_that_stops_fails_no_call() {
        let mut servers = ["127.0.0.1", "127.0.0.2"].map(Server::start);
        let name = name(&servers.each_ref().map(|it| it.address));
        let spread = spread(&name);
        called_until(&spread, || servers.iter().all(|it| 0 < it.calls())).await;
        servers[0].stop();
        let before = servers[1].calls();
        called_until(&spread, || before + 20 < servers[1].calls()).await;

        servers[1].stop();
        let gone = async {
            loop {
                if let Err(status) = called(&spread).await {
                    return status;
                }
            }
        };
        let gone = tokio::time::timeout(Duration::from_mins(1), gone).await;
        assert_eq!(gone.unwrap().code(), Code::Unavailable);

        // Others come in their place, at other addresses.
        let next = Server::start("127.0.0.3");
        *name.lock().unwrap() = vec![next.address];
        called(&spread).await.unwrap();
        assert!(0 < next.calls());
    }

    #[tokio::test]
    async fn what_was_not_sent_goes_to_another_replica() {
        let server = Server::start("127.0.0.2");
        let name = name(&[nobody(), server.address]);
        let spread = spread(&name);
        for turn in 1..=10 {
            called_once(&spread).await.unwrap();
            assert_eq!(server.calls(), turn);
            // A connection that has ended meanwhile.
            let address = nobody();
            let uri = format!("http://{address}").parse().unwrap();
            let channel = endpoint(uri).connect_lazy();
            let ended = Arc::new(Replica { address, channel });
            spread.live.send_modify(|live| live.insert(0, ended));
        }
    }

    #[tokio::test]
    async fn a_replica_that_is_silent_holds_a_call_for_seconds() {
        // It is connected to, as the kernel does that, and nobody reads what comes.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server::start("127.0.0.2");
        let name = name(&[silent.local_addr().unwrap(), server.address]);
        let spread = spread(&name);
        let calls = async {
            for _ in 0..3 {
                called(&spread).await.unwrap();
            }
        };
        let calls = tokio::time::timeout(Duration::from_mins(1), calls).await;
        calls.expect("the other replica answers");
        assert!(SILENCE + SIGN_TIME < Duration::from_secs(10));
    }

    #[tokio::test]
    async fn a_body_is_taken_back_until_it_is_read_and_never_after() {
        let lend = || {
            let body = Body::new(Full::new(Bytes::from_static(b"message")));
            let kept = Arc::new(Mutex::new(Some(body)));
            let lent = Lent {
                kept: kept.clone(),
                body: None,
            };
            (kept, lent)
        };
        let (kept, mut lent) = lend();
        let frame = lent.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "message");
        assert!(locked(&kept).take().is_none(), "it is sent");
        assert!(lent.is_end_stream());

        let (kept, mut lent) = lend();
        assert!(!lent.is_end_stream());
        assert!(locked(&kept).take().is_some());
        let read = lent.frame().await.unwrap();
        assert_eq!(read.unwrap_err().code(), Code::Cancelled);
    }

    #[tokio::test]
    async fn an_address_has_one_channel_and_a_name_one_for_each_address() {
        let channel = |url: &str| PeerChannel::new(ServiceName::Plan, url.parse().unwrap(), None);
        for url in ["http://127.0.0.1:7301", "http://[::1]:7301", "https://plan"] {
            assert!(matches!(channel(url), Ok(PeerChannel::One(_))), "{url}");
        }
        for url in ["http://plan:7301", "http://plan"] {
            assert!(matches!(channel(url), Ok(PeerChannel::Spread(_))), "{url}");
        }
    }
}
