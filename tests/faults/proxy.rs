//! A small TCP proxy on an edge: it passes bytes on, late or never, and cuts what is connected.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Bytes that are passed on at once.
const CHUNK: usize = 16 << 10;

/// How an edge passes bytes on.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    /// How late.
    delay: Duration,
    /// Whether it swallows them.
    silent: bool,
    /// How often its connections were cut.
    cuts: u64,
}

/// From a caller to a service. Its proxy ends when it is dropped.
pub struct Edge {
    /// Who calls; empty for everybody outside the suite.
    pub from: &'static str,
    /// The service that is called.
    pub to: &'static str,
    /// Where the caller calls.
    pub url: String,
    weather: watch::Sender<Weather>,
    open: Arc<AtomicU64>,
    _serving: JoinSet<()>,
}

impl Edge {
    /// Passes on to an address what comes in at a free port.
    pub async fn start(from: &'static str, to: &'static str, address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (weather, seen) = watch::channel(Weather::default());
        let open = Arc::<AtomicU64>::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, address.to_owned(), seen, open.clone()));
        Self {
            from,
            to,
            url,
            weather,
            open,
            _serving: serving,
        }
    }

    /// Cuts every connection; gives whether there was one.
    pub fn cut(&self) -> bool {
        self.weather.send_modify(|it| it.cuts += 1);
        0 < self.open.load(Ordering::Relaxed)
    }

    /// Passes on late from now on.
    pub fn delay(&self, delay: Duration) {
        self.weather.send_modify(|it| it.delay = delay);
    }

    /// Swallows what comes from now on. A connection that lost something passes nothing on any more: whoever ends this
    /// must cut.
    pub fn silence(&self) {
        self.weather.send_modify(|it| it.silent = true);
    }

    /// Passes on at once again.
    pub fn calm(&self) {
        self.weather.send_modify(|it| {
            it.delay = Duration::ZERO;
            it.silent = false;
        });
    }
}

async fn serve(
    listener: TcpListener,
    address: String,
    weather: watch::Receiver<Weather>,
    open: Arc<AtomicU64>,
) {
    let mut connections = JoinSet::new();
    loop {
        if let Ok((caller, _)) = listener.accept().await {
            let pass = pass(caller, address.clone(), weather.clone(), open.clone());
            connections.spawn(pass);
        }
        while connections.try_join_next().is_some() {}
    }
}

/// One connection, until one side ends it or it is cut.
async fn pass(
    caller: TcpStream,
    address: String,
    weather: watch::Receiver<Weather>,
    open: Arc<AtomicU64>,
) {
    let cuts = weather.borrow().cuts;
    let Ok(service) = TcpStream::connect(&address).await else {
        return;
    };
    if caller.set_nodelay(true).is_err() || service.set_nodelay(true).is_err() {
        return;
    }
    open.fetch_add(1, Ordering::Relaxed);
    let (asked, answering) = caller.into_split();
    let (answered, asking) = service.into_split();
    tokio::select! {
        () = copy(asked, asking, weather.clone()) => {}
        () = copy(answered, answering, weather.clone()) => {}
        () = until_cut(weather.clone(), cuts) => {}
    }
    open.fetch_sub(1, Ordering::Relaxed);
}

async fn until_cut(mut weather: watch::Receiver<Weather>, cuts: u64) {
    while weather.borrow_and_update().cuts == cuts {
        if weather.changed().await.is_err() {
            return;
        }
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, weather: watch::Receiver<Weather>) {
    let mut buffer = vec![0_u8; CHUNK];
    let mut lost = false;
    loop {
        let count = from.read(&mut buffer).await.unwrap_or_default();
        if count == 0 {
            return;
        }
        let now = *weather.borrow();
        if !now.delay.is_zero() {
            tokio::time::sleep(now.delay).await;
        }
        // After what was swallowed, nothing that follows makes sense.
        lost |= now.silent;
        if !lost && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
