//! Reads that are cancelled at random microseconds, beside writers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::{join, join_all};
use perdiem::connect::{Clients, request_id, timestamp};
use proto::account::v1 as account;
use proto::billing::v1 as billing;
use proto::payments::v1 as payments;
use proto::plan::v1 as plan;
use tonic::{Code, Status};

use crate::{Random, Victim, dollars};

/// Root accounts that are read and written.
const ACCOUNTS: usize = 16;
/// Readers that cancel, each on connections of its own.
const READERS: usize = 8;
/// Writers that wait for their answers.
const WRITERS: usize = 4;
/// The longest that a reader waits, in microseconds.
const PATIENCE_MICROS: usize = 4_000;
/// Methods that are read.
const READS: usize = 8;

/// What the writers were told.
#[derive(Default)]
struct Book {
    granted: Vec<u64>,
    events: u64,
    settings: u64,
    internal: u64,
    refused: u64,
}

/// What became of the reads.
#[derive(Default)]
struct Reads {
    cancelled: AtomicU64,
    answered: AtomicU64,
    faults: AtomicU64,
}

/// Cancels `calls` reads, and goes on until the writers are done; gives the promises that were broken.
pub async fn attack(victim: &Victim, calls: u64, mut random: Random) -> Vec<String> {
    let accounts = join_all((0..ACCOUNTS).map(|_| victim.account())).await;
    let accounts: &[String] = &accounts;
    let token = victim.suite.keys.any_operator().unwrap();
    let clients = || Clients::new(&victim.urls, &token).unwrap();
    let left = &AtomicU64::new(calls);
    let writing = &AtomicU64::new(u64::try_from(WRITERS).unwrap());
    let reads = &Reads::default();

    let seeds: Vec<u64> = (0..READERS + WRITERS).map(|_| random.draw()).collect();
    let (read_seeds, write_seeds) = seeds.split_at(READERS);
    let readers = read_seeds.iter().map(|seed| {
        let (mut random, clients) = (Random(*seed), clients());
        async move {
            while take_one(left) || 0 < writing.load(Ordering::Relaxed) {
                let patience = u64::try_from(random.below(PATIENCE_MICROS)).unwrap();
                let account = accounts[random.below(ACCOUNTS)].clone();
                let read = read(&clients, random.below(READS), account, victim.now);
                let read = tokio::time::timeout(Duration::from_micros(patience), read).await;
                let counted = match read {
                    Err(_) => &reads.cancelled,
                    Ok(Err(status)) if is_fault(&status) => {
                        println!("a read: {status:?}");
                        &reads.faults
                    }
                    Ok(_) => &reads.answered,
                };
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let writers = write_seeds.iter().map(|seed| {
        let write = write(clients(), accounts, Random(*seed), (calls / 50, victim.now));
        async move {
            let book = write.await;
            writing.fetch_sub(1, Ordering::Relaxed);
            book
        }
    });
    let (_, books) = join(join_all(readers), join_all(writers)).await;
    verified(victim, accounts, reads, &books).await
}

/// Takes one of what is left; `false` when nothing is.
fn take_one(left: &AtomicU64) -> bool {
    let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| it.checked_sub(1));
    taken.is_ok()
}

/// Holds what is stored against what was acknowledged; gives the promises that were broken.
async fn verified(
    victim: &Victim,
    accounts: &[String],
    reads: &Reads,
    books: &[Book],
) -> Vec<String> {
    let mut broken = Vec::new();
    let told = |of: fn(&Book) -> u64| books.iter().map(of).sum::<u64>();
    let (events, settings) = (told(|it| it.events), told(|it| it.settings));
    let faults = reads.faults.load(Ordering::Relaxed) + told(|it| it.internal);
    println!(
        "{} reads cancelled, {} answered; acknowledged: {} grants, {events} events, {settings} settings; \
         {} writes refused; {faults} INTERNAL",
        reads.cancelled.load(Ordering::Relaxed),
        reads.answered.load(Ordering::Relaxed),
        told(|it| it.granted.iter().sum()),
        told(|it| it.refused),
    );
    if faults != 0 {
        broken.push(format!("{faults} answers were INTERNAL"));
    }
    let billing = &victim.operator.billing;
    for (index, account) in accounts.iter().enumerate() {
        let granted: u64 = books.iter().map(|it| it.granted[index]).sum();
        let request = billing::GetBalanceRequest {
            account_id: account.clone(),
            ..billing::GetBalanceRequest::default()
        };
        let balance = billing.clone().get_balance(request).await.unwrap();
        let balance = balance.into_inner().balance.unwrap().amount;
        if balance != format!("{granted}.000000") {
            broken.push(format!(
                "{account}: {granted} was granted, its balance is {balance}"
            ));
        }
        let request = billing::VerifyAuditRequest {
            account_id: account.clone(),
        };
        let audit = billing
            .clone()
            .verify_audit(request)
            .await
            .unwrap()
            .into_inner();
        if audit.broken_sequence != 0 {
            broken.push(format!(
                "{account}: its audit is broken at {}",
                audit.broken_sequence
            ));
        }
    }
    let stored = count(victim, "SELECT count(*) FROM billing.usage_events").await;
    if stored != events {
        broken.push(format!(
            "{events} events were acknowledged, {stored} are stored"
        ));
    }
    let audited = "SELECT count(*) FROM billing.audit_entries WHERE method = 'SetAutoRecharge'";
    let audited = count(victim, audited).await;
    if audited != settings {
        broken.push(format!(
            "{settings} settings were acknowledged, {audited} are in the audit"
        ));
    }
    broken.extend(left_open(victim).await);
    broken
}

/// What is broken if transactions were left open.
pub async fn left_open(victim: &Victim) -> Option<String> {
    // What was abandoned is rolled back in the background: a moment later nothing is left.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let open = "SELECT count(*) FROM pg_stat_activity
        WHERE state LIKE 'idle in transaction%' AND xact_start < now() - interval '1 second'";
    let open = count(victim, open).await;
    (open != 0).then(|| format!("{open} transactions are still open"))
}

/// One of the methods that read.
async fn read(
    clients: &Clients,
    method: usize,
    account_id: String,
    now: DateTime<Utc>,
) -> Result<(), Status> {
    let Clients {
        mut plan,
        mut billing,
        mut account,
        mut payments,
        ..
    } = clients.clone();
    match method {
        0 | 1 => {
            let request = billing::GetBalanceRequest {
                account_id,
                ..billing::GetBalanceRequest::default()
            };
            billing.get_balance(request).await.map(drop)
        }
        2 | 3 => {
            let month = now.format("%Y-%m").to_string();
            let request = billing::GetStatementRequest { account_id, month };
            billing.get_statement(request).await.map(drop)
        }
        4 => {
            let request = billing::VerifyAuditRequest { account_id };
            billing.verify_audit(request).await.map(drop)
        }
        5 => {
            let request = plan::GetCurrentPlanRequest {
                account_id,
                family_code: "SUPPORT".to_owned(),
            };
            plan.get_current_plan(request).await.map(drop)
        }
        6 => {
            let request = account::GetAccountRequest {
                account_id,
                ..account::GetAccountRequest::default()
            };
            account.get_account(request).await.map(drop)
        }
        _ => {
            let request = payments::VerifyAuditRequest { account_id };
            payments.verify_audit(request).await.map(drop)
        }
    }
}

/// Grants, records usage and sets recharging so many times; keeps what was acknowledged.
async fn write(
    clients: Clients,
    accounts: &[String],
    mut random: Random,
    (writes, now): (u64, DateTime<Utc>),
) -> Book {
    let mut book = Book {
        granted: vec![0; accounts.len()],
        ..Book::default()
    };
    let mut client = clients.billing;
    for _ in 0..writes {
        let index = random.below(accounts.len());
        let account_id = accounts[index].clone();
        let done = match random.below(3) {
            0 => {
                let request = billing::GrantCreditRequest {
                    account_id,
                    kind: billing::lot::Kind::Promo.into(),
                    amount: Some(dollars("1")),
                    reason: "attack".to_owned(),
                    request_id: request_id(),
                    ..billing::GrantCreditRequest::default()
                };
                let done = client.grant_credit(request).await.map(drop);
                book.granted[index] += u64::from(done.is_ok());
                done
            }
            1 => {
                let event = billing::UsageEvent {
                    event_id: format!("{:016x}", random.draw()),
                    account_id,
                    category: "sms".to_owned(),
                    usage_time: Some(timestamp(now)),
                    quantity: "1".to_owned(),
                    price: Some(dollars("0.01")),
                    ..billing::UsageEvent::default()
                };
                let request = billing::RecordUsageRequest {
                    source: "attack".to_owned(),
                    events: vec![event],
                };
                let done = client.record_usage(request).await.map(drop);
                book.events += u64::from(done.is_ok());
                done
            }
            _ => {
                let request = billing::SetAutoRechargeRequest {
                    account_id,
                    auto_recharge: Some(billing::AutoRecharge::default()),
                    request_id: request_id(),
                };
                let done = client.set_auto_recharge(request).await.map(drop);
                book.settings += u64::from(done.is_ok());
                done
            }
        };
        if let Err(status) = done {
            if is_fault(&status) {
                println!("a write: {status:?}");
                book.internal += 1;
            } else {
                book.refused += 1;
            }
        }
    }
    book
}

/// Whether an answer says that we are at fault. A connection on which too many calls were reset is closed.
pub fn is_fault(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Internal | Code::Unknown | Code::DataLoss
    ) && status.message() != "transport error"
}

async fn count(victim: &Victim, sql: &'static str) -> u64 {
    let count: i64 = sqlx::query_scalar(sql).fetch_one(&victim.db).await.unwrap();
    u64::try_from(count).unwrap()
}
