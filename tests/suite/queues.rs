//! Work that jobs do: many rows side by side, and none that waits because others fail.

use std::time::{Duration, Instant};

use perdiem::connect::{request_id, timestamp};
use proto::account::v1 as account;
use proto::billing::v1 as billing;
use proto::payments::v1 as payments;
use proto::r#type::v1::{Amount, ParkedWork};
use tonic::Code;

use crate::harness::{Harness, PATIENCE, instant};
use crate::money::{Shop, refused};

/// How long work may take on a busy machine.
const LONG: Duration = Duration::from_mins(2);

/// Waits until a count of the database is as expected; gives how long that took.
async fn until(h: &Harness, sql: &'static str, expected: i64, at_most: Duration) -> Duration {
    let begun = Instant::now();
    loop {
        let count = h.count(sql).await;
        if count == expected {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < at_most, "{count}, not {expected}: {sql}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn run(h: &Harness, sql: &'static str) {
    sqlx::query(sql).execute(&h.db).await.unwrap();
}

#[tokio::test]
async fn thirty_accounts_that_are_refused_for_ever_do_not_keep_the_good_ones_waiting() {
    let h = Harness::start().await;
    for _ in 0..3 {
        h.account().await;
    }
    // Those that are refused are the oldest.
    run(
        &h,
        "WITH made AS (
            INSERT INTO account.roots (account_id, root_id)
            SELECT id, id FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, 30)) n RETURNING account_id
        )
        INSERT INTO account.accounts (root_id, account_id, profile_code, display_name, owner_id, type, invoiced, currency,
                                      created_at, upgraded_at)
        SELECT made.account_id, made.account_id, 'refused', '', a.owner_id, a.type, a.invoiced, a.currency,
               a.created_at - interval '1 day', a.upgraded_at
        FROM made, (SELECT * FROM account.accounts LIMIT 1) a",
    )
    .await;
    let failed =
        "SELECT count(*) FROM account.job_claims WHERE job = 'open_accounts' AND state = 'FAILED'";
    until(&h, failed, 30, PATIENCE).await;
    run(
        &h,
        "UPDATE account.accounts SET opened_at = NULL WHERE profile_code <> 'refused'",
    )
    .await;
    let waiting = "SELECT count(*) FROM account.accounts WHERE opened_at IS NULL AND profile_code <> 'refused'";
    until(&h, waiting, 0, Duration::from_secs(30)).await;
    // Each is tried at a growing distance, and has its reason.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let most =
        "SELECT max(failure_count)::bigint FROM account.job_claims WHERE job = 'open_accounts'";
    assert!(h.count(most).await <= 3, "tried thrice in 15 seconds");
    let reasons =
        "SELECT count(*) FROM account.job_claims WHERE job = 'open_accounts' AND reason <> ''";
    assert_eq!(h.count(reasons).await, 30);
    // A clock does not wait for what is refused.
    h.advance("2026-03-02T12:00:00Z").await;
}

/// The parked work of a job in `account-lifecycle`, as a support agent sees it.
async fn parked(h: &Harness, job: &str) -> Vec<ParkedWork> {
    let request = account::ListParkedWorkRequest {
        job_name: job.to_owned(),
        ..account::ListParkedWorkRequest::default()
    };
    let mut client = h.operator_with("SUPPORT_AGENT").account;
    let listed = client.list_parked_work(request).await.unwrap();
    listed.into_inner().parked_work
}

/// Has parked work tried again, as a support agent.
async fn retry(h: &Harness, work: &ParkedWork) -> ParkedWork {
    let request = account::RetryParkedWorkRequest {
        job_name: work.job_name.clone(),
        work_id: work.work_id.clone(),
        request_id: request_id(),
    };
    let mut client = h.operator_with("SUPPORT_AGENT").account;
    let retried = client.retry_parked_work(request).await.unwrap();
    retried.into_inner().parked_work.unwrap()
}

/// Waits until the one item of a job that fails is parked, as after eleven failures more.
async fn parks(h: &Harness, job: &str) -> ParkedWork {
    let begun = Instant::now();
    loop {
        sqlx::query(
            "UPDATE account.job_claims SET failure_count = 11, held_until = clock_timestamp()
             WHERE job = $1 AND state = 'FAILED'",
        )
        .bind(job)
        .execute(&h.db)
        .await
        .unwrap();
        if let [work] = &parked(h, job).await[..] {
            return work.clone();
        }
        assert!(begun.elapsed() < LONG, "{job} parks nothing");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until nothing of a job is parked, claimed or delayed.
async fn nothing_left(h: &Harness, job: &str) {
    let begun = Instant::now();
    let left = "SELECT count(*) FROM account.job_claims WHERE job = $1";
    loop {
        let count: i64 = sqlx::query_scalar(left)
            .bind(job)
            .fetch_one(&h.db)
            .await
            .unwrap();
        if count == 0 {
            break;
        }
        assert!(begun.elapsed() < LONG, "{count} of {job}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(parked(h, job).await.is_empty());
}

#[tokio::test]
async fn what_is_parked_is_listed_with_its_reason_and_done_when_it_is_retried_once_that_is_mended()
{
    let h = Harness::start().await;
    let id = h.account().await;
    // The other services know the account by another profile, and refuse it.
    run(
        &h,
        "UPDATE account.accounts SET profile_code = 'refused', opened_at = NULL",
    )
    .await;
    let work = parks(&h, "open_accounts").await;
    let uuid = id.parse::<values::AccountId>().unwrap().uuid().to_string();
    assert_eq!(
        (
            work.job_name.as_str(),
            work.work_id.as_str(),
            work.failure_count
        ),
        ("open_accounts", uuid.as_str(), 12)
    );
    assert_ne!(work.reason, "");
    let (next, failed) = (&work.next_attempt_time, &work.fail_time);
    let wait = next.as_ref().unwrap().seconds - failed.as_ref().unwrap().seconds;
    assert!((86_000..=86_401).contains(&wait), "{wait} seconds");

    // Retried while the cause stands, it is parked again.
    retry(&h, &work).await;
    let thirteen =
        "SELECT count(*) FROM account.job_claims WHERE failure_count = 13 AND state = 'PARKED'";
    until(&h, thirteen, 1, LONG).await;
    assert_eq!(parked(&h, "").await.len(), 1);
    assert!(parked(&h, "give_back").await.is_empty());

    run(&h, "UPDATE account.accounts SET profile_code = 'global'").await;
    retry(&h, &work).await;
    nothing_left(&h, "open_accounts").await;
    let opened = "SELECT count(*) FROM account.accounts WHERE opened_at IS NOT NULL";
    assert_eq!(h.count(opened).await, 1);
    // What is done is parked no more.
    let request = account::RetryParkedWorkRequest {
        job_name: work.job_name,
        work_id: work.work_id,
        request_id: request_id(),
    };
    let mut client = h.operator.account.clone();
    assert_eq!(
        refused(client.retry_parked_work(request).await),
        (Code::NotFound, "PARKED_WORK_NOT_FOUND".to_owned())
    );
}

#[tokio::test]
async fn news_that_can_not_be_processed_is_put_aside_and_processed_once_the_cause_is_mended() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = shop.customer("IN", "MH", "tok_ok").await;
    let promo = billing::GrantCreditRequest {
        account_id: id.clone(),
        kind: billing::lot::Kind::Promo.into(),
        amount: Some(Amount {
            currency_code: "INR".to_owned(),
            amount: "900.00".to_owned(),
        }),
        expire_time: Some(timestamp(instant("2026-03-05T00:00:00Z"))),
        reason: "promo".to_owned(),
        request_id: request_id(),
        ..billing::GrantCreditRequest::default()
    };
    h.operator
        .billing
        .clone()
        .grant_credit(promo)
        .await
        .unwrap();
    run(
        h,
        "ALTER TABLE account.notifications ADD CONSTRAINT poisoned CHECK (kind_code <> 'BALANCE_EMPTY')",
    )
    .await;
    h.advance("2026-03-05T00:00:00Z").await;
    let work = parks(h, "follow_balances").await;
    assert!(work.work_id.starts_with(&format!("{id} ")), "{work:?}");
    assert!(work.reason.contains("poisoned"), "{work:?}");
    run(
        h,
        "ALTER TABLE account.notifications DROP CONSTRAINT poisoned",
    )
    .await;
    let told = "SELECT count(*) FROM account.notifications WHERE kind_code = 'BALANCE_EMPTY'";
    assert_eq!(h.count(told).await, 0);
    retry(h, &work).await;
    until(h, told, 1, LONG).await;
    nothing_left(h, "follow_balances").await;
}

#[tokio::test]
async fn mail_that_can_not_be_delivered_is_parked_and_sent_when_it_is_retried() {
    let h = Harness::start().await;
    h.account().await;
    run(
        &h,
        "INSERT INTO account.notifications (root_id, account_id, notification_id, event_key, kind_code, email, facts,
                                            secret, state, attempt_count, created_at)
         SELECT root_id, account_id, gen_random_uuid(), 'a test', 'BALANCE_LOW', 'nobody',
                '[{\"name\": \"balance\", \"value\": \"USD 9.50\"}]', '', 'PENDING', 0, created_at
         FROM account.accounts",
    )
    .await;
    let failed = "SELECT count(*) FROM account.notifications WHERE event_key = 'a test' AND state = 'FAILED'";
    until(&h, failed, 1, LONG).await;
    let parked = parked(&h, "send_notifications").await;
    assert_eq!(parked.len(), 1);
    let work = &parked[0];
    assert!(work.work_id.starts_with("NT"), "{work:?}");
    assert!(work.reason.contains("invalid email address"), "{work:?}");
    assert_eq!(work.next_attempt_time, None, "only on request");
    run(
        &h,
        "UPDATE account.notifications SET email = 'somebody@example.com' WHERE event_key = 'a test'",
    )
    .await;
    retry(&h, work).await;
    let sent =
        "SELECT count(*) FROM account.notifications WHERE event_key = 'a test' AND state = 'SENT'";
    until(&h, sent, 1, LONG).await;
    nothing_left(&h, "send_notifications").await;
}

#[tokio::test]
async fn parked_work_is_listed_newest_first_a_page_at_a_time() {
    let h = Harness::start().await;
    run(
        &h,
        "INSERT INTO billing.job_claims (job, key, state, token, held_until, failure_count, reason, failed_at)
         SELECT 'a_job', 'item.' || n, 'PARKED', gen_random_uuid(), now() + interval '1 day', 12, 'it is broken',
                now() - n * interval '1 hour'
         FROM generate_series(1, 5) n",
    )
    .await;
    let mut client = h.operator_with("AUDITOR").billing;
    let mut request = billing::ListParkedWorkRequest {
        page_size: 2,
        ..billing::ListParkedWorkRequest::default()
    };
    let mut listed = Vec::new();
    loop {
        let page = client.list_parked_work(request.clone()).await.unwrap();
        let page = page.into_inner();
        assert!(page.parked_work.len() <= 2);
        listed.extend(page.parked_work.into_iter().map(|it| it.work_id));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(listed, ["item.1", "item.2", "item.3", "item.4", "item.5"]);

    // In `payments` it is the same, and whoever keeps the books has it tried again.
    run(
        &h,
        "INSERT INTO payments.job_claims (job, key, state, token, held_until, failure_count, reason)
         VALUES ('process_webhooks', 'a subject', 'PARKED', gen_random_uuid(), now() + interval '1 day', 12, 'it is broken')",
    )
    .await;
    let mut client = h.operator_with("BILLING").payments;
    let request = payments::ListParkedWorkRequest::default();
    let listed = client.list_parked_work(request).await.unwrap().into_inner();
    assert_eq!(listed.parked_work.len(), 1);
    assert_eq!(listed.parked_work[0].reason, "it is broken");
    let request = payments::RetryParkedWorkRequest {
        job_name: "process_webhooks".to_owned(),
        work_id: "a subject".to_owned(),
        request_id: request_id(),
    };
    client.retry_parked_work(request).await.unwrap();
    let due = "SELECT count(*) FROM payments.job_claims WHERE held_until <= clock_timestamp()";
    assert_eq!(h.count(due).await, 1);
}
