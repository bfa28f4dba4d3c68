//! Requests of HTTP/1.1, byte by byte where that is the attack.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer may take, on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It was answered with this status.
    Status(u16),
    /// The connection was closed without an answer.
    Closed,
    /// There was no answer in time.
    Late,
}

impl Answer {
    /// Whether the request was turned away, in time.
    pub fn is_refusal(self) -> bool {
        match self {
            Self::Status(status) => (400..500).contains(&status),
            Self::Closed => true,
            Self::Late => false,
        }
    }
}

/// Sends a request on a connection of its own; who has seen enough of it may answer before it is complete.
pub async fn sent(address: &str, request: &[u8]) -> Answer {
    match tokio::time::timeout(PATIENCE, exchanged(address, request)).await {
        Err(_) => Answer::Late,
        Ok(Err(_)) => Answer::Closed,
        Ok(Ok(start)) => {
            let digits = start.rsplit(' ').next().unwrap_or_default();
            digits.parse().map_or(Answer::Closed, Answer::Status)
        }
    }
}

/// The start of the answer, such as `HTTP/1.1 200`.
async fn exchanged(address: &str, request: &[u8]) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let (mut reader, mut writer) = stream.split();
    let reading = async {
        let mut start = [0; 12];
        reader.read_exact(&mut start).await?;
        io::Result::Ok(String::from_utf8_lossy(&start).into_owned())
    };
    let writing = async {
        let _ = writer.write_all(request).await;
        std::future::pending::<io::Result<String>>().await
    };
    tokio::select! {
        answer = reading => answer,
        answer = writing => answer,
    }
}

/// The body of the answer to a GET, if it came in time.
pub async fn got(address: &str, path: &str) -> Option<String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let read = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = tokio::time::timeout(PATIENCE, read).await.ok()?.ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some(body.to_owned())
}

/// Sends a start at once and then one byte a pause, over and over, until it is answered or closed; gives how long that
/// took, or nothing if it was still open after `patience`.
pub async fn dribbled(
    address: &str,
    (start, rest): (&[u8], &[u8]),
    pause: Duration,
    patience: Duration,
) -> Option<Duration> {
    let begun = Instant::now();
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return Some(begun.elapsed());
    };
    let _ = stream.write_all(start).await;
    for byte in rest.iter().cycle() {
        if patience < begun.elapsed() {
            return None;
        }
        if stream.write_all(std::slice::from_ref(byte)).await.is_err() {
            break;
        }
        let mut answer = [0; 64];
        let read = stream.read(&mut answer);
        if tokio::time::timeout(pause, read).await.is_ok() {
            break;
        }
    }
    Some(begun.elapsed())
}
