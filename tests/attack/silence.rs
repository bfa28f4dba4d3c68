//! Callers that take room and give nothing: others are served, and what they took comes back.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::{join, join_all};
use perdiem::connect::{Clients, Urls, request_id};
use proto::account::v1 as account;
use proto::billing::v1 as billing;
use proto::payments::v1 as payments;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Status;

use crate::Victim;

/// Calls of one attacker that are under way at once.
const AT_ONCE: usize = 512;
/// Silent connections to a port: more than it has places of any kind.
const CONNECTIONS: usize = 1_500;
/// The most of them that it holds, a moment after they were opened.
const SILENT_MAX: usize = 256;
/// Connections of others that may come and go meanwhile.
const OTHERS: usize = 32;
/// For how long the calls of another caller are counted before the attacks.
const BEFORE: Duration = Duration::from_secs(5);
/// How long another caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a silent connection may be held.
const SILENCE: Duration = Duration::from_secs(20);
/// The part of the usual rate at which another caller must still be served. It is small, as the attack runs on the same
/// cores, and in the same process as that caller: most of what it loses, it loses there.
const LEAST: u64 = 20;
/// How much more memory a service may have after an attack than before it, in MiB.
pub const MEMORY_MIB: u64 = 64;

/// How another caller was served.
pub struct Served {
    calls: u64,
    refused: u64,
    took: Duration,
}

impl Served {
    /// Calls a minute.
    fn rate(&self) -> u64 {
        let millis = u64::try_from(self.took.as_millis()).unwrap();
        self.calls * 60_000 / millis.max(1)
    }

    /// What is broken if this is how a caller was served beside an attack, and `before` without one.
    pub fn judged(&self, attack: &str, before: &Self) -> Option<String> {
        let (rate, usual) = (self.rate(), before.rate());
        println!(
            "beside {attack}, another caller was served {rate} times a minute, before {usual} times, and refused {} times",
            self.refused
        );
        (LEAST * rate < usual || 0 < self.refused).then(|| {
            format!(
                "beside {attack}, another caller was served {rate} times a minute instead of {usual}, and refused {} times",
                self.refused
            )
        })
    }
}

/// Attacks in four ways; gives the promises that were broken.
pub async fn attack(victim: &Victim, resets: u64) -> Vec<String> {
    let before = beside(victim, tokio::time::sleep(BEFORE)).await;
    let mut broken = Vec::new();
    broken.extend(resets_flood(victim, resets, &before).await);
    broken.extend(silent_calls(victim, &before).await);
    broken.extend(silent_connections(victim, &before).await);
    broken
}

/// A person resets calls as soon as they are sent; another one is served meanwhile, and the memory comes back.
async fn resets_flood(victim: &Victim, resets: u64, usual: &Served) -> Vec<String> {
    let mut broken = Vec::new();
    let attacker = person(victim, "eve").await;
    let before = victim.memory_mib("account-lifecycle");
    let left = AtomicU64::new(resets);
    let flood = join_all((0..AT_ONCE).map(|_| {
        let (mut client, left) = (attacker.account.clone(), &left);
        async move {
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| it.checked_sub(1))
                .is_ok()
            {
                let call = client.list_accounts(account::ListAccountsRequest::default());
                let _ = tokio::time::timeout(Duration::from_micros(300), call).await;
            }
        }
    }));
    let served = beside(victim, flood).await;
    let peak = victim.memory_mib("account-lifecycle");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = victim.memory_mib("account-lifecycle");
    println!(
        "{resets} calls reset: memory {before} MiB before, {peak} at the end, {after} five seconds later"
    );
    if before + MEMORY_MIB < after {
        broken.push(format!("memory grew from {before} to {after} MiB"));
    }
    broken.extend(served.judged("a flood of resets", usual));
    broken
}

/// Calls and streams whose message never comes.
async fn silent_calls(victim: &Victim, usual: &Served) -> Option<String> {
    let token = victim
        .suite
        .keys
        .operator("mallory", &[chassis::OperatorRole::Billing]);
    let token = token.unwrap();
    let streams = join_all((0..AT_ONCE).map(|_| {
        // Each on a connection of its own: a connection has fewer streams than that.
        let clients = Clients::new(&victim.urls, &token).unwrap();
        async move {
            let silent = futures::stream::pending::<billing::StreamUsageRequest>();
            let mut client = clients.billing;
            let call = client.stream_usage(silent);
            let _ = tokio::time::timeout(Duration::from_secs(5), call).await;
        }
    }));
    let served = beside(victim, streams).await;
    served.judged(&format!("{AT_ONCE} silent streams"), usual)
}

/// Connections that are opened and say nothing are closed, and others are served meanwhile.
async fn silent_connections(victim: &Victim, usual: &Served) -> Vec<String> {
    let mut broken = Vec::new();
    let ports = [
        ("gRPC", Urls::address(&victim.urls.payments_url).to_owned()),
        ("webhooks", crate::WEBHOOKS.to_owned()),
    ];
    for (name, address) in ports {
        let address: SocketAddr = address.parse().unwrap();
        let before = established(address);
        let mut held = (0, 0);
        let attack = async {
            let connections = join_all((0..CONNECTIONS).map(|_| TcpStream::connect(address))).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            held.0 = established(address);
            tokio::time::sleep(SILENCE).await;
            held.1 = established(address);
            drop(connections);
        };
        let served = beside(victim, attack).await;
        let (soon, late) = held;
        println!(
            "{CONNECTIONS} silent connections to {name}: its side had {before} before, {soon} a second later, \
             {late} after {SILENCE:?}"
        );
        if before + SILENT_MAX + OTHERS < soon || before + OTHERS < late {
            broken.push(format!(
                "of {CONNECTIONS} silent connections to {name}, {soon} were held, and {late} after {SILENCE:?}"
            ));
        }
        broken.extend(served.judged(&format!("silent connections to {name}"), usual));
    }
    broken
}

/// How many connections a service has at `address`, accepted or not. Its side counts: a client believes to be
/// connected also where the service has dropped it.
fn established(address: SocketAddr) -> usize {
    let port = format!(":{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let its = |line: &&str| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, _, state) = (columns.next(), columns.next(), columns.next());
        local.is_some_and(|it| it.ends_with(&port)) && state == Some("01")
    };
    table.lines().filter(its).count()
}

/// Runs an attack, and calls as somebody else until it is over; gives how that was served.
pub async fn beside(victim: &Victim, attack: impl Future<Output = impl Sized>) -> Served {
    let over = AtomicBool::new(false);
    let other = person(victim, "ann").await;
    let (mut calls, mut refused) = (0, 0);
    let begun = Instant::now();
    let calling = async {
        while !over.load(Ordering::Relaxed) {
            match tokio::time::timeout(PATIENCE, call(&other, victim)).await {
                Ok(Ok(())) => calls += 1,
                Ok(Err(status)) => {
                    println!("another caller: {status:?}");
                    refused += 1;
                }
                Err(_) => {
                    println!("another caller had no answer for {PATIENCE:?}");
                    refused += 1;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let attack = async {
        attack.await;
        over.store(true, Ordering::Relaxed);
    };
    join(attack, calling).await;
    Served {
        calls,
        refused,
        took: begun.elapsed(),
    }
}

/// A call of a person, and those of an operator to billing and, on a new connection each time, to both ports of
/// payments.
async fn call(other: &Clients, victim: &Victim) -> Result<(), Status> {
    let mine = account::ListAccountsRequest::default();
    other.account.clone().list_accounts(mine).await?;
    let runs = billing::ListBillingRunsRequest::default();
    victim
        .operator
        .billing
        .clone()
        .list_billing_runs(runs)
        .await?;
    let token = victim.suite.keys.any_operator().unwrap();
    let mut new = Clients::new(&victim.urls, &token).unwrap().payments;
    let events = payments::ListWebhookEventsRequest::default();
    new.list_webhook_events(events).await?;
    webhook()
        .await
        .map_err(|error| Status::from_error(error.into()))
}

/// A webhook that nobody signed, on a connection of its own: that it is refused is an answer.
async fn webhook() -> std::io::Result<()> {
    let mut stream = TcpStream::connect(crate::WEBHOOKS).await?;
    let request = b"POST /webhooks/stripe HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    if answer.starts_with(b"HTTP/1.1 4") {
        Ok(())
    } else {
        Err(std::io::ErrorKind::UnexpectedEof.into())
    }
}

/// Clients of a new user.
async fn person(victim: &Victim, name: &str) -> Clients {
    let request = account::CreateUserRequest {
        email: format!("{name}-{}@example.com", request_id()),
        display_name: name.to_owned(),
        request_id: request_id(),
    };
    let user = victim.operator.account.clone().create_user(request).await;
    let user = user.unwrap().into_inner().user.unwrap().user_id;
    let token = victim.suite.keys.person(&user).unwrap();
    Clients::new(&victim.urls, &token).unwrap()
}
