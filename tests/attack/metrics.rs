//! The port for probes and Prometheus, which asks nobody who they are: whatever is sent to it, the service goes on
//! serving, and the port tells nothing but health and metrics.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::{join, join_all};
use perdiem::connect::Urls;
use tonic::Code;

use crate::Victim;
use crate::http1::{Answer, dribbled, got, sent};
use crate::http2::{SERVICE, floods};
use crate::raw::Raw;
use crate::silence::{MEMORY_MIB, beside};

/// Where the service that is attacked has its port.
const METRICS: &str = "127.0.0.1:7523";
/// Requests that are under way at once.
const AT_ONCE: usize = 64;
/// Connections that send a byte at a time: more than are answered at once.
const SLOW: usize = 300;
/// When each of them is closed at the latest: several times the 5 seconds that headers may take.
const SLOW_MOST: Duration = Duration::from_secs(20);
/// Bytes of what is too large.
const HUGE: usize = 4 << 20;

/// Attacks in four ways, each for a time; gives the promises that were broken.
pub async fn attack(victim: &mut Victim, time: Duration) -> Vec<String> {
    let listen = [("METRICS_LISTEN", METRICS.to_owned())];
    victim.suite.kill(SERVICE).await;
    victim.suite.spawn(SERVICE, &listen).unwrap();
    victim.suite.wait_for(SERVICE).await.unwrap();
    let victim = &*victim;
    let memory = victim.memory_mib(SERVICE);
    let usual = beside(victim, tokio::time::sleep(time)).await;
    let mut broken = Vec::new();
    let scraped = got(METRICS, "/metrics").await.unwrap_or_default();
    if !scraped.contains("perdiem") {
        broken.push(format!("there are no metrics: {scraped}"));
    }

    let attack = async { broken.extend(flood(time).await) };
    let served = beside(victim, attack).await;
    broken.extend(served.judged("requests", &usual));
    let attack = async {
        let (slow, huge) = join(slow(), huge()).await;
        broken.extend(slow);
        broken.extend(huge);
    };
    let served = beside(victim, attack).await;
    broken.extend(served.judged("slow and huge requests", &usual));
    let address: SocketAddr = METRICS.parse().unwrap();
    broken.extend(floods(victim, address, &usual, time).await);

    broken.extend(other_services(victim).await);
    let after = got(METRICS, "/metrics").await;
    match after {
        None => broken.push("there are no metrics any more".to_owned()),
        Some(text) if text.contains("made-up") => {
            broken.push("the metrics say what somebody made up".to_owned());
        }
        Some(text) => println!("{} bytes of metrics", text.len()),
    }
    let grown = victim.memory_mib(SERVICE);
    println!("memory: {memory} MiB before, {grown} after");
    if memory + MEMORY_MIB < grown {
        broken.push(format!("memory grew from {memory} to {grown} MiB"));
    }
    broken
}

/// Requests as fast as they are answered, for a time, also for what is not there.
async fn flood(time: Duration) -> Vec<String> {
    let begun = Instant::now();
    let done = join_all((0..AT_ONCE).map(|number| asked(number, begun, time))).await;
    let count: usize = done.iter().map(|it| it.0).sum();
    println!("{count} requests, {AT_ONCE} at once");
    done.into_iter().filter_map(|it| it.1).collect()
}

/// One request after another; gives how many, and what was wrong with one of them.
async fn asked(number: usize, begun: Instant, time: Duration) -> (usize, Option<String>) {
    let (mut answered, mut broken) = (0, None);
    while begun.elapsed() < time {
        let (path, expected) = match (number + answered) % 4 {
            0 => ("/metrics".to_owned(), 200),
            1 => ("/livez".to_owned(), 200),
            2 => ("/readyz".to_owned(), 200),
            _ => (format!("/made-up-{number}-{answered}"), 404),
        };
        let request = format!("GET {path} HTTP/1.1\r\nhost: made-up\r\nconnection: close\r\n\r\n");
        let answer = sent(METRICS, request.as_bytes()).await;
        if !fits(&path, answer, expected) {
            broken = Some(format!("{path} was answered {answer:?}"));
        }
        answered += 1;
    }
    (answered, broken)
}

/// Whether an answer is as it has to be. Also a process that is not ready says so: on a busy machine its database may
/// have been slow. What is not there may be told by HTTP or by gRPC.
fn fits(path: &str, answer: Answer, expected: u16) -> bool {
    let others: &[u16] = match path {
        "/readyz" => &[503],
        "/metrics" | "/livez" => &[],
        _ => &[200],
    };
    match answer {
        Answer::Status(status) => status == expected || others.contains(&status),
        Answer::Closed | Answer::Late => false,
    }
}

/// Connections that send a byte at a time: each is closed in time.
async fn slow() -> Vec<String> {
    const NOTHING: &[u8] = b"";
    const HEAD: &[u8] = b"GET /metrics HTTP/1.1\r\nx: y";
    let pause = Duration::from_millis(500);
    let one = |_| dribbled(METRICS, (NOTHING, HEAD), pause, SLOW_MOST);
    let times = join_all((0..SLOW).map(one)).await;
    let open = times.iter().filter(|it| it.is_none()).count();
    let longest = times.iter().flatten().max();
    println!("{SLOW} slow heads: the last was closed after {longest:?}");
    (open != 0)
        .then(|| format!("{open} slow heads were not closed"))
        .into_iter()
        .collect()
}

/// Requests that are too large, and what is none: each is refused.
async fn huge() -> Vec<String> {
    let large = "x".repeat(HUGE);
    let requests = [
        (
            "a path of 4 MiB",
            format!("GET /{large} HTTP/1.1\r\nhost: x\r\n\r\n"),
        ),
        (
            "a header of 4 MiB",
            format!("GET /metrics HTTP/1.1\r\nhost: {large}\r\n\r\n"),
        ),
        (
            "10,000 headers",
            format!("GET /metrics HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(10_000)),
        ),
        (
            "a body of 4 MiB",
            format!("POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: {HUGE}\r\n\r\n{large}"),
        ),
        ("no HTTP", "\0".repeat(4096)),
    ];
    let answers = join_all(requests.iter().map(|(_, it)| sent(METRICS, it.as_bytes()))).await;
    let mut broken = Vec::new();
    for ((name, _), answer) in requests.iter().zip(answers) {
        println!("{name}: {answer:?}");
        if !answer.is_refusal() {
            broken.push(format!("{name} was answered {answer:?}"));
        }
    }
    broken
}

/// By gRPC there is health, and none of the service's methods, whoever asks.
async fn other_services(victim: &Victim) -> Vec<String> {
    let token = victim.suite.keys.any_operator().unwrap();
    let bearer = [format!("Bearer {token}")];
    let raw = Raw::new(&format!("http://{METRICS}"));
    let mut broken = Vec::new();
    let health = raw.call("/grpc.health.v1.Health/Check", &[], Vec::new());
    if let Err(status) = health.await {
        broken.push(format!("health is not told: {status:?}"));
    }
    let method = "/perdiem.account.v1.AccountService/ListAccounts";
    let listed = raw.call(method, &bearer, Vec::new()).await;
    if !matches!(&listed, Err(status) if status.code() == Code::Unimplemented) {
        broken.push(format!("a method of the service is answered {listed:?}"));
    }
    // The same caller is served where they have to be.
    let raw = Raw::new(victim.urls.of(SERVICE));
    if let Err(status) = raw.call(method, &bearer, Vec::new()).await {
        broken.push(format!(
            "{}: {status:?}",
            Urls::address(victim.urls.of(SERVICE))
        ));
    }
    broken
}
