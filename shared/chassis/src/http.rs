//! Ports beside the gRPC port: health and metrics (HTTP/1.1 and HTTP/2), and webhooks (HTTP/1.1).

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::incoming::{Place, Silent, listen};

/// The most open connections whose requests are answered; a further one waits with its first. Of those that wait, or
/// have sent none, the oldest is closed for a new one.
const CONNECTIONS: usize = 256;
/// The most open connections that have sent no request, or wait with it: several times a provider's burst of webhooks,
/// none of which has sent anything when it is accepted.
const SILENT: usize = 1_024;
/// The most that are open at once.
pub const OPEN_MAX: usize = CONNECTIONS + SILENT;
/// How long the headers of a request may take to arrive, including those of the first request of a connection.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// Maximum lifetime of a connection, even if it is in use.
const CONNECTION_TIME: Duration = Duration::from_secs(30);
/// How long requests in progress may take to finish when the service stops.
const STOP_TIME: Duration = Duration::from_secs(5);
/// Pause after an `accept` that failed, for example because no file descriptors are left.
const PAUSE: Duration = Duration::from_millis(100);

/// The most concurrent requests of an HTTP/2 connection.
const STREAMS: u32 = 16;
/// The most bytes of an HTTP/2 request's headers.
const HEADER_BYTES: u32 = 16 * 1024;

/// Serves `routes` at `address` by HTTP/1.1 until `stop`. Silent connections are closed, and the number of open
/// connections is limited.
pub async fn serve_http(
    address: SocketAddr,
    routes: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    serve(address, routes, stop, auto::Builder::http1_only).await
}

/// Like [`serve_http`], by HTTP/1.1 and by HTTP/2 without TLS, which gRPC needs.
pub(crate) async fn serve_http_2(
    address: SocketAddr,
    routes: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    serve(address, routes, stop, |both| both).await
}

async fn serve(
    address: SocketAddr,
    routes: Router,
    stop: CancellationToken,
    limited: fn(auto::Builder<TokioExecutor>) -> auto::Builder<TokioExecutor>,
) -> io::Result<()> {
    let mut protocol = limited(auto::Builder::new(TokioExecutor::new()));
    protocol
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME);
    protocol
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_BYTES);
    let protocol = Arc::new(protocol);
    let listener = listen(address)?;
    let (room, connections) = (Arc::new(Semaphore::new(CONNECTIONS)), TaskTracker::new());
    let silent = Silent::new(SILENT);
    let accepted = async {
        loop {
            let Ok((connection, _)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let (place, closed) = silent.enter();
            let service = Connection {
                routes: TowerToHyperService::new(routes.clone()),
                room: room.clone(),
                holds: Arc::new(Mutex::new((Some(place), None))),
            };
            let protocol = protocol.clone();
            connections.spawn(async move {
                let served = protocol.serve_connection(TokioIo::new(connection), service);
                tokio::select! {
                    _ = tokio::time::timeout(CONNECTION_TIME, served) => {}
                    () = closed.cancelled() => {}
                }
            });
        }
    };
    tokio::select! {
        () = accepted => {}
        () = stop.cancelled() => {}
    }
    connections.close();
    let _ = tokio::time::timeout(STOP_TIME, connections.wait()).await;
    Ok(())
}

/// The routes, for one connection.
struct Connection {
    routes: TowerToHyperService<Router>,
    room: Arc<Semaphore>,
    /// Its place among those that have sent no request or wait, or else that among the others.
    holds: Arc<Mutex<(Option<Place>, Option<OwnedSemaphorePermit>)>>,
}

impl Service<Request<Incoming>> for Connection {
    type Response = Response<Body>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Response<Body>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (routes, room, holds) = (self.routes.clone(), self.room.clone(), self.holds.clone());
        Box::pin(async move {
            let waits = {
                let holds = holds.lock().unwrap_or_else(PoisonError::into_inner);
                holds.0.is_some()
            };
            if waits {
                let permit = room.acquire_owned().await;
                let permit = permit.map_err(|_| io::ErrorKind::ConnectionRefused)?;
                let mut holds = holds.lock().unwrap_or_else(PoisonError::into_inner);
                *holds = (None, Some(permit));
            }
            let answer = routes.call(request);
            answer.await.map_err(|never| match never {})
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn silent_connections_keep_no_request_waiting() {
        let address = {
            let free = listen("127.0.0.1:0".parse().unwrap()).unwrap();
            free.local_addr().unwrap()
        };
        let stop = CancellationToken::new();
        let routes = Router::new().route("/", axum::routing::get(|| async { "served" }));
        let served = serve_http(address, routes, stop.clone());
        let asked = async {
            let silent = join_all((0..CONNECTIONS + 20).map(|_| TcpStream::connect(address))).await;
            assert!(silent.iter().all(Result::is_ok));
            let mut client = TcpStream::connect(address).await.unwrap();
            let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            client.write_all(request).await.unwrap();
            let mut answer = String::new();
            let read = client.read_to_string(&mut answer);
            tokio::time::timeout(HEAD_TIME / 2, read)
                .await
                .unwrap()
                .unwrap();
            assert!(answer.ends_with("served"), "{answer}");
            drop(silent);
            stop.cancel();
        };
        let (served, ()) = tokio::join!(served, asked);
        served.unwrap();
    }
}
