//! Connections to the ports of a service. To that of gRPC their number is limited: that of those that have not begun
//! more than that of the others, and of the former the oldest is closed for a new one, so that silence shuts nobody out.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::either::Either;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tonic::transport::CertificateDer;
use tonic::transport::server::Connected;

use crate::ending::AGE_MAX;
use crate::tls::Tls;

/// Connections that the kernel holds until they are accepted. With fewer, a burst of them makes it drop what others
/// send: they believe to be connected, and wait.
const BACKLOG: u32 = 4_096;
/// Connections that are accepted and not yet served.
const ACCEPTED: usize = 256;
/// The most open connections that have begun; a further one is closed, which its client reports as UNAVAILABLE.
const CONNECTIONS: usize = 1_024;
/// The most open connections that have not begun; for a further one, the oldest is closed.
const SILENT: usize = 256;
/// The most that are open at once, with those that are not served yet.
pub const OPEN_MAX: usize = CONNECTIONS + SILENT + ACCEPTED;
/// When a connection is closed whatever it is used for. It has taken no new calls for a while then, and those that it
/// had are over, unless its client does not read their answers.
const CONNECTION_TIME: Duration = AGE_MAX
    .saturating_mul(2)
    .saturating_add(Duration::from_mins(2));
/// How long a client may take to send the first [`PREFACE_BYTES`].
const PREFACE_TIME: Duration = Duration::from_secs(10);
/// How long a TLS handshake may take, before the time for the preface begins.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// The length of the HTTP/2 preface.
const PREFACE_BYTES: usize = 24;
/// Pause after an `accept` that failed, for example because no file descriptors are left.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens at `address`.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections at `listener`, in a task of its own: nothing else that the process does holds it up.
pub fn incoming(listener: TcpListener, tls: Option<Tls>) -> ReceiverStream<io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(ACCEPTED);
    let accepting = async move {
        tokio::select! {
            () = accept(&listener, tls.as_ref(), &sender) => {}
            () = sender.closed() => {}
        }
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "ends when nobody takes what it accepts"
    )]
    tokio::spawn(accepting);
    ReceiverStream::new(receiver)
}

async fn accept(
    listener: &TcpListener,
    tls: Option<&Tls>,
    sender: &mpsc::Sender<io::Result<Connection>>,
) {
    let (room, silent) = (Arc::new(Semaphore::new(CONNECTIONS)), Silent::new(SILENT));
    let handshakes = TaskTracker::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // Small answers are sent at once (no Nagle delay).
        let _ = stream.set_nodelay(true);
        let (entered, room) = (silent.enter(), room.clone());
        let Some(tls) = tls else {
            let connection = Connection::new(Either::Left(stream), entered, room);
            if sender.send(Ok(connection)).await.is_err() {
                return;
            }
            continue;
        };
        let (acceptor, sender) = (tls.acceptor(), sender.clone());
        handshakes.spawn(async move {
            let secured = tokio::select! {
                secured = tokio::time::timeout(HANDSHAKE_TIME, acceptor.accept(stream)) => secured,
                () = entered.1.cancelled() => return,
            };
            match secured {
                Ok(Ok(stream)) => {
                    let stream = Either::Right(Box::new(stream));
                    let connection = Connection::new(stream, entered, room);
                    let _ = sender.send(Ok(connection)).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
                Err(_) => tracing::debug!("no TLS in time"),
            }
        });
    }
}

/// The connections that have not begun, oldest first.
#[derive(Clone)]
pub struct Silent(Arc<Mutex<Waiting>>);

struct Waiting {
    /// The most of them.
    most: usize,
    entered: u64,
    closed_by: BTreeMap<u64, CancellationToken>,
}

impl Silent {
    /// Room for so many.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Waiting {
            most,
            entered: 0,
            closed_by: BTreeMap::new(),
        })))
    }

    /// Adds a connection, and closes the oldest if there are too many: gives its place, and what is cancelled when it
    /// is the one to be closed.
    pub fn enter(&self) -> Entered {
        let closed = CancellationToken::new();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entered += 1;
        let number = waiting.entered;
        waiting.closed_by.insert(number, closed.clone());
        let many = waiting.most < waiting.closed_by.len();
        let oldest = many.then(|| waiting.closed_by.pop_first()).flatten();
        drop(waiting);
        if let Some((_, oldest)) = oldest {
            oldest.cancel();
        }
        let place = Place {
            silent: self.clone(),
            number,
        };
        (place, closed)
    }
}

/// A place, and what is cancelled when it is given to another.
type Entered = (Place, CancellationToken);

/// The place of a connection that has not begun, returned when dropped.
pub struct Place {
    silent: Silent,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.silent.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.closed_by.remove(&self.number);
    }
}

/// Bytes in the clear, or by TLS.
type Bytes = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Who is at the other end of a connection; every request on it has it as an extension.
#[derive(Debug, Clone)]
pub struct Remote {
    /// The address.
    pub address: Option<SocketAddr>,
    /// The certificate, as verified, and those between it and the authority.
    pub certificates: Arc<Vec<CertificateDer<'static>>>,
}

/// A connection from a client.
pub struct Connection {
    stream: Bytes,
    /// What is expected of it first; `None` once that has arrived.
    begins: Option<Beginning>,
    /// Places of connections that have begun, and this one's.
    room: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
    /// When it is closed whatever it is used for.
    ends: Pin<Box<Sleep>>,
}

/// What a connection must send first.
struct Beginning {
    /// When it must have arrived.
    late: Pin<Box<Sleep>>,
    /// The bytes still to come.
    left: usize,
    /// Is over when the place was given to another.
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: Place,
}

impl Connection {
    fn new(stream: Bytes, (place, closed): Entered, room: Arc<Semaphore>) -> Self {
        Self {
            stream,
            begins: Some(Beginning {
                late: Box::pin(tokio::time::sleep(PREFACE_TIME)),
                left: PREFACE_BYTES,
                closed: Box::pin(closed.cancelled_owned()),
                _place: place,
            }),
            room,
            permit: None,
            ends: Box::pin(tokio::time::sleep(CONNECTION_TIME)),
        }
    }

    /// Takes notice of what was read; an error if the connection has to be closed.
    fn noted(&mut self, bytes: usize, waits: bool, cx: &mut Context<'_>) -> io::Result<()> {
        if waits && self.ends.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let Some(begins) = &mut self.begins else {
            return Ok(());
        };
        begins.left = begins.left.saturating_sub(bytes);
        if begins.left == 0 {
            let permit = self.room.clone().try_acquire_owned();
            self.permit = Some(permit.map_err(|_| io::ErrorKind::ConnectionRefused)?);
            self.begins = None;
            return Ok(());
        }
        let over =
            begins.late.as_mut().poll(cx).is_ready() || begins.closed.as_mut().poll(cx).is_ready();
        if waits && over {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl Connected for Connection {
    type ConnectInfo = Remote;

    fn connect_info(&self) -> Remote {
        let (stream, certificates) = match &self.stream {
            Either::Left(stream) => (stream, None),
            Either::Right(secured) => {
                let (stream, session) = secured.get_ref();
                (stream, session.peer_certificates())
            }
        };
        Remote {
            address: stream.peer_addr().ok(),
            certificates: Arc::new(certificates.unwrap_or_default().to_vec()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let bytes = buffer.filled().len() - before;
        match self.noted(bytes, read.is_pending(), cx) {
            Ok(()) => read,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use futures::StreamExt as _;
    use futures::future::join_all;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::tls;

    /// A client at `address`, connected within a second.
    async fn connected(address: SocketAddr) -> Option<TcpStream> {
        let connect = TcpStream::connect(address);
        let connected = tokio::time::timeout(Duration::from_secs(1), connect).await;
        connected.ok().and_then(Result::ok)
    }

    /// How many connections at `address` the kernel has established on our side, accepted or not. The table may show one
    /// twice or not at all, as it changes while it is read.
    fn established(address: SocketAddr) -> usize {
        let port = format!(":{:04X}", address.port());
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let peers = table.lines().filter_map(|line| {
            let mut columns = line.split_whitespace().skip(1);
            let (local, peer, state) = (columns.next()?, columns.next()?, columns.next()?);
            (local.ends_with(&port) && state == "01").then_some(peer)
        });
        peers.collect::<HashSet<_>>().len()
    }

    #[tokio::test]
    async fn a_burst_of_connections_is_held_until_it_is_accepted() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let clients = join_all((0..150).map(|_| connected(address))).await;
        assert!(clients.iter().all(Option::is_some));
        let patience = async {
            while established(address) != 150 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let seen = tokio::time::timeout(Duration::from_secs(10), patience).await;
        assert!(seen.is_ok(), "{}", established(address));
    }

    /// Serves what comes in by reading it to its end; gives the address.
    fn served() -> SocketAddr {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = incoming(listener, None);
        #[expect(clippy::disallowed_methods, reason = "ends with the test")]
        tokio::spawn(async move {
            while let Some(Ok(mut connection)) = incoming.next().await {
                #[expect(clippy::disallowed_methods, reason = "ends with the test")]
                tokio::spawn(async move {
                    while !matches!(connection.read(&mut [0; 64]).await, Ok(0) | Err(_)) {}
                });
            }
        });
        address
    }

    /// Whether the other side closes a connection soon.
    async fn is_closed(client: &mut TcpStream) -> bool {
        let mut byte = [0; 1];
        let read = client.read(&mut byte);
        let read = tokio::time::timeout(Duration::from_millis(200), read).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    }

    #[tokio::test]
    async fn of_those_that_have_not_begun_the_oldest_is_closed() {
        let address = served();
        let mut begun = connected(address).await.unwrap();
        begun.write_all(&[b'x'; PREFACE_BYTES]).await.unwrap();
        let mut silent = Vec::new();
        for _ in 0..SILENT + 10 {
            silent.push(connected(address).await.unwrap());
        }
        for client in &mut silent[..5] {
            assert!(is_closed(client).await);
        }
        for client in silent.iter_mut().rev().take(5).chain([&mut begun]) {
            assert!(!is_closed(client).await);
        }
        // Now that some have begun, there is room for as many others.
        for client in silent.iter_mut().rev().take(12) {
            client.write_all(&[b'x'; PREFACE_BYTES]).await.unwrap();
        }
        assert!(!is_closed(&mut begun).await);
        let mut others = Vec::new();
        for _ in 0..10 {
            others.push(connected(address).await.unwrap());
        }
        assert!(!is_closed(&mut silent[10]).await);
    }

    #[tokio::test]
    async fn there_is_a_bound_for_those_that_have_begun() {
        let room = Arc::new(Semaphore::new(1));
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut pairs = Vec::new();
        for _ in 0..2 {
            let mut client = connected(address).await.unwrap();
            client.write_all(&[b'x'; PREFACE_BYTES]).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let place = Silent::new(SILENT).enter();
            pairs.push((
                client,
                Connection::new(Either::Left(stream), place, room.clone()),
            ));
        }
        let mut read = [0; PREFACE_BYTES];
        assert!(pairs[0].1.read_exact(&mut read).await.is_ok());
        let refused = pairs[1].1.read_exact(&mut read).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        drop(pairs);
        assert_eq!(room.available_permits(), 1);
    }

    #[tokio::test]
    async fn certificates_are_renewed_between_two_connections() {
        let folder = tempfile::tempdir().unwrap();
        let tls = tls::tests::tls(folder.path(), "one");
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = incoming(listener, Some(tls.clone()));
        for name in ["one", "two"] {
            let (client, connection) =
                tokio::join!(tls::tests::connected(address, name), incoming.next());
            let connection = connection.unwrap().unwrap();
            let remote = connection.connect_info();
            assert_eq!(*remote.certificates, [tls::tests::certificate(name)]);
            assert_eq!(
                remote.address,
                Some(client.unwrap().get_ref().0.local_addr().unwrap())
            );
            tls::tests::tls(folder.path(), "two");
            tls.renew().unwrap();
        }
        assert!(tls::tests::connected(address, "one").await.is_none());
    }

    #[tokio::test]
    async fn who_is_silent_after_the_handshake_is_late() {
        let folder = tempfile::tempdir().unwrap();
        let tls = tls::tests::tls(folder.path(), "one");
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = incoming(listener, Some(tls));
        let (client, connection) =
            tokio::join!(tls::tests::connected(address, "one"), incoming.next());
        let (_client, mut connection) = (client.unwrap(), connection.unwrap().unwrap());
        tokio::time::pause();
        let mut byte = [0; 1];
        let read = connection.read(&mut byte);
        let read = tokio::time::timeout(2 * PREFACE_TIME, read).await.unwrap();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn connections_are_accepted_while_nobody_takes_them() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = incoming(listener, None);
        let _clients = join_all((0..20).map(|_| connected(address))).await;
        let accepted = async {
            while incoming.as_ref().len() < 20 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let accepted = tokio::time::timeout(Duration::from_secs(5), accepted).await;
        accepted.unwrap();
        assert!(incoming.next().await.unwrap().is_ok());
        drop(incoming);
        tokio::time::timeout(Duration::from_secs(5), async {
            while connected(address).await.is_some() {}
        })
        .await
        .unwrap();
    }
}
