//! Billing runs under fire: killed, shared, contended, parked, compared, approved.

use std::time::{Duration, Instant};

use perdiem::connect::{Clients, Urls, request_id};
use proto::billing::v1 as billing;
use proto::billing::v1::billing_run::State;
use proto::r#type::v1::Money;
use sqlx::AssertSqlSafe;
use uuid::Uuid;
use values::AccountId;

use crate::harness::{BY_HAND, Harness, PATIENCE, event, instant, reason};
use crate::money::rated;

/// Runs wait for approval.
pub const APPROVED: (&str, &str) = (
    "run_approval: {SUPPORT: NOT_REQUIRED}",
    "run_approval: {SUPPORT: REQUIRED}",
);

/// The id of the account `n`.
const ROOT: &str = "md5('a' || n)::uuid";
/// The same, with all accounts in the first two of a run's sixteen shards, one half in each.
const ROOT_OF_TWO_SHARDS: &str = "((n % 2)::text || substr(md5('a' || n), 2))::uuid";

/// Puts the accounts from `first` to `last`, whose ids are `root`, with one plan change each, usage and some
/// credit straight into the tables: the run is what is tested, not how they came there.
async fn seed_as(h: &Harness, root: &str, (first, last): (u32, u32)) {
    for sql in [
        "INSERT INTO plan.accounts SELECT md5('a' || n)::uuid, md5('a' || n)::uuid, 'global', '2026-03-01' FROM generate_series(1, $N) n",
        "INSERT INTO plan.segments SELECT md5('a' || n)::uuid, 'SUPPORT', '2026-03-01', '2026-04-15 10:00+00', 'production', 'v1', md5('a' || n)::uuid FROM generate_series(1, $N) n",
        "INSERT INTO plan.segments SELECT md5('a' || n)::uuid, 'SUPPORT', '2026-04-15 10:00+00', NULL, 'business', 'v1', md5('a' || n)::uuid FROM generate_series(1, $N) n",
        "INSERT INTO billing.accounts SELECT md5('a' || n)::uuid, md5('a' || n)::uuid, 'global', 'UTC', 'USD', n % 10 = 0, '2026-03-01' FROM generate_series(1, $N) n",
        "INSERT INTO billing.balances SELECT md5('a' || n)::uuid, 'USD', 0 FROM generate_series(1, $N) n",
        "INSERT INTO billing.usage_months SELECT '2026-04-01', md5('a' || n)::uuid, 'sms', 0, (n % 60000) * 1000000::bigint, 1 FROM generate_series(1, $N) n",
        "INSERT INTO billing.lots SELECT md5('a' || n)::uuid, md5('l' || n)::uuid, 3, 0, 1000000000, 1000000000, '2026-03-01' FROM generate_series(1, $N) n WHERE n % 3 <> 0",
        "INSERT INTO billing.ledger_entries SELECT md5('a' || n)::uuid, '2026-03-01', md5('e' || n)::uuid, 8, 3, 1000000000, 'USD', 'GRANT', md5('l' || n)::uuid FROM generate_series(1, $N) n WHERE n % 3 <> 0",
    ] {
        let numbers = format!("generate_series({first}, {last})");
        let sql = sql
            .replace("generate_series(1, $N)", &numbers)
            .replace(ROOT, root);
        sqlx::query(AssertSqlSafe(sql))
            .execute(&h.db)
            .await
            .unwrap();
    }
    sqlx::query("ANALYZE").execute(&h.db).await.unwrap();
}

/// Every row that a run leaves, as one digest: ids of runs and times of commits aside. What is told of open invoices
/// comes later, by another job.
async fn digest(h: &Harness) -> String {
    sqlx::query_scalar(
        "SELECT md5(string_agg(row, '|' ORDER BY row)) FROM (
            SELECT format('i %s %s %s %s %s', root_id, period_start, total_minor, from_balance_minor, state) AS row FROM billing.invoices
            UNION ALL
            SELECT format('l %s %s %s %s %s %s %s', i.root_id, l.line_number, t.plan_code, l.start_on, l.end_on, l.base_micros, l.amount_minor)
            FROM billing.invoice_lines l JOIN billing.invoices i USING (invoice_id) JOIN billing.terms t USING (terms_id)
            UNION ALL SELECT format('e %s %s %s %s %s', root_id, debit, credit, amount_micros, reason) FROM billing.ledger_entries
            UNION ALL SELECT format('o %s %s', root_id, remaining_micros) FROM billing.lots
            UNION ALL SELECT format('b %s %s', root_id, overdraft_micros) FROM billing.balances
            UNION ALL SELECT format('x %s %s %s', root_id, kind, balance_micros) FROM billing.outbox WHERE invoice_id IS NULL
        ) rows",
    )
    .fetch_one(&h.db)
    .await
    .unwrap()
}

async fn assert_numbers_have_no_gap(h: &Harness) {
    let gaps: i64 = sqlx::query_scalar(
        "SELECT max(number) - count(*) + count(*) - count(DISTINCT number) FROM billing.invoices",
    )
    .fetch_one(&h.db)
    .await
    .unwrap();
    assert_eq!(gaps, 0, "invoice numbers have a gap or a double");
    let reconciled = h
        .operator
        .billing
        .clone()
        .reconcile(billing::ReconcileRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(reconciled.differences, Vec::<String>::new());
}

async fn ready(accounts: u32, environment: &[(&str, &str)]) -> Harness {
    ready_as(ROOT, accounts, environment).await
}

async fn ready_as(root: &str, accounts: u32, environment: &[(&str, &str)]) -> Harness {
    let h = Harness::with(environment).await;
    h.set_clock("2026-03-01T12:00:00Z").await;
    h.import_as("v1", &[BY_HAND]).await;
    seed_as(&h, root, (1, accounts)).await;
    h.set_clock("2026-05-01T00:00:00Z").await;
    h
}

async fn create(clients: &Clients) -> billing::BillingRun {
    perdiem::run::create(clients, "SUPPORT", "2026-04", false)
        .await
        .unwrap()
}

async fn finished(h: &Harness, id: &str, patience: Duration) -> billing::BillingRun {
    let begun = Instant::now();
    loop {
        if let Ok(run) = perdiem::run::get(&h.operator, id).await
            && run.state() == State::Completed
        {
            return run;
        }
        assert!(begun.elapsed() < patience, "the run does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn chunks(h: &Harness) -> i64 {
    h.count("SELECT count(*) FROM billing.run_chunks").await
}

#[tokio::test]
async fn twenty_kills_leave_exactly_the_rows_of_an_undisturbed_run() {
    const ACCOUNTS: u32 = 10_000;
    let environment = [("RUN_CHUNK", "100"), ("LEASE_SECONDS", "1")];
    let undisturbed = ready(ACCOUNTS, &environment).await;
    let run = create(&undisturbed.operator).await;
    let calm = finished(&undisturbed, &run.billing_run_id, Duration::from_mins(2)).await;
    assert_eq!(calm.invoice_count, i64::from(ACCOUNTS));
    assert_numbers_have_no_gap(&undisturbed).await;
    let expected = digest(&undisturbed).await;
    let all_chunks = chunks(&undisturbed).await;
    undisturbed.suite.stop().await;

    let mut h = ready(ACCOUNTS, &environment).await;
    let run = create(&h.operator).await;
    let (mut within, mut points, mut slowest) = (0, Vec::new(), Duration::ZERO);
    for kill in 0_u32..20 {
        // At points spread over the run, whatever the machine's speed; never the same distance.
        let before = chunks(&h).await;
        let aim = (all_chunks * i64::from(kill + 1) / 22).max(before) + i64::from(kill % 3 != 0);
        let patience = Instant::now();
        while chunks(&h).await < aim.min(all_chunks - 1)
            && patience.elapsed() < Duration::from_secs(20)
        {
            tokio::time::sleep(Duration::from_millis(u64::from(kill * 7 % 5))).await;
        }
        let at = chunks(&h).await;
        assert!(h.suite.kill("billing").await);
        within += i32::from(0 < at && at < all_chunks);
        points.push(at);
        let restarted = Instant::now();
        h.suite.spawn("billing", &[]).unwrap();
        h.suite.wait_for("billing").await.unwrap();
        if at < all_chunks {
            while chunks(&h).await <= at && restarted.elapsed() < Duration::from_secs(15) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            slowest = slowest.max(restarted.elapsed());
        }
    }
    println!(
        "killed after chunks {points:?} of {all_chunks}, {within} within the run, resumed at the slowest after {slowest:?}"
    );
    assert!(
        15 <= within,
        "only {within} kills fell between the first and the last chunk"
    );
    assert!(
        slowest < Duration::from_secs(15),
        "resumed only after {slowest:?}"
    );

    let run = finished(&h, &run.billing_run_id, Duration::from_mins(2)).await;
    assert_eq!(
        (run.account_count, run.invoice_count, run.total),
        (calm.account_count, calm.invoice_count, calm.total)
    );
    assert_eq!(digest(&h).await, expected, "row for row");
    assert_numbers_have_no_gap(&h).await;
}

#[tokio::test]
async fn thirty_two_that_make_the_run_of_a_month_at_once_make_one() {
    let h = ready(500, &[]).await;
    let made = futures::future::join_all((0..32).map(|_| create(&h.operator))).await;
    let ids: std::collections::BTreeSet<_> =
        made.into_iter().map(|run| run.billing_run_id).collect();
    assert_eq!(ids.len(), 1);
    let run = finished(&h, ids.first().unwrap(), Duration::from_mins(1)).await;
    assert_eq!(run.invoice_count, 500);
    assert_eq!(h.count("SELECT count(*) FROM billing.runs").await, 1);
}

#[tokio::test]
async fn two_replicas_share_a_run_and_one_finishes_it_alone() {
    const ACCOUNTS: u32 = 6_000;
    let mut h = ready(
        ACCOUNTS,
        &[
            ("RUN_CHUNK", "50"),
            ("RUN_WORKERS", "1"),
            ("LEASE_SECONDS", "1"),
        ],
    )
    .await;
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let clock = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let environment = [
        ("LISTEN", format!("127.0.0.1:{port}")),
        ("TEST_CLOCK_LISTEN", format!("127.0.0.1:{clock}")),
    ];
    h.suite.spawn("billing", &environment).unwrap();
    let urls = Urls {
        billing_url: format!("http://127.0.0.1:{port}"),
        ..h.urls.clone()
    };
    let second = Clients::new(&urls, &h.suite.keys.any_operator().unwrap()).unwrap();
    let ready = Instant::now();
    while perdiem::run::get(&second, "RU00000000000000000000000000000001")
        .await
        .err()
        .is_none_or(|e| !e.to_string().contains("NOT_FOUND"))
    {
        assert!(
            ready.elapsed() < PATIENCE,
            "the second replica does not answer"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let run = create(&h.operator).await;
    let all = i64::from(ACCOUNTS / 50);
    while chunks(&h).await < all * 6 / 10 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let shares: Vec<i64> =
        sqlx::query_scalar("SELECT count(*) FROM billing.run_chunks GROUP BY worker")
            .fetch_all(&h.db)
            .await
            .unwrap();
    assert!(h.suite.kill("billing").await, "the first replica");
    let sum: i64 = shares.iter().sum();
    println!("chunks by replica at the kill: {shares:?}");
    assert_eq!(shares.len(), 2);
    assert!(
        shares.iter().all(|share| sum * 3 <= share * 10),
        "each at least 30 %: {shares:?}"
    );

    let ended = Instant::now();
    let finished = loop {
        let run = perdiem::run::get(&second, &run.billing_run_id)
            .await
            .unwrap();
        if run.state() == State::Completed {
            break run;
        }
        assert!(
            ended.elapsed() < Duration::from_mins(1),
            "the other does not finish"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(finished.invoice_count, i64::from(ACCOUNTS));
    let total: i64 = sqlx::query_scalar("SELECT sum(total_minor)::bigint FROM billing.invoices")
        .fetch_one(&h.db)
        .await
        .unwrap();
    assert_eq!(
        finished.total.unwrap().amount,
        format!("{}.{:02}", total / 100, total % 100)
    );
}

/// What the database has counted of the lots, as far as its sessions have told: rows that were updated, and rows that
/// were read by going through all of them.
async fn lots_counted(h: &Harness) -> (i64, i64) {
    sqlx::query_as(
        "SELECT n_tup_upd, seq_tup_read FROM pg_stat_user_tables WHERE schemaname = 'billing' AND relname = 'lots'",
    )
    .fetch_one(&h.db)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_run_and_a_batch_of_usage_read_no_lots_but_those_they_spend() {
    // So few that a plan for the very keys of a chunk goes through all lots.
    let h = ready(8_000, &[]).await;
    let run = create(&h.operator).await;
    let run = finished(&h, &run.billing_run_id, Duration::from_mins(2)).await;
    assert_eq!(run.invoice_count, 8_000);

    for sql in [
        "INSERT INTO billing.accounts SELECT md5('i' || n)::uuid, md5('i' || n)::uuid, 'india', 'Asia/Kolkata', 'INR', false, '2026-03-01' FROM generate_series(1, 400) n",
        "INSERT INTO billing.balances SELECT md5('i' || n)::uuid, 'INR', 0 FROM generate_series(1, 400) n",
        "INSERT INTO billing.lots SELECT md5('i' || n)::uuid, md5('m' || n)::uuid, 3, 0, 1000000000, 1000000000, '2026-03-01' FROM generate_series(1, 400) n",
    ] {
        execute(&h, sql).await;
    }
    let prepaid: Vec<Uuid> =
        sqlx::query_scalar("SELECT md5('i' || n)::uuid FROM generate_series(1, 400) n")
            .fetch_all(&h.db)
            .await
            .unwrap();
    let events = prepaid.into_iter().map(|id| {
        let account = AccountId::from_uuid(id).to_string();
        rated(
            &account,
            &account,
            "sms-outbound",
            "2026-05-01T00:00:00Z",
            "1",
        )
    });
    let counts = h.record(events.collect()).await.unwrap();
    assert_eq!(counts.recorded_count, 400);

    // Each entry of a lot is an update of it.
    let spent = h
        .count("SELECT count(*) FROM billing.ledger_entries WHERE debit = 3 AND reason IN ('INVOICE', 'USAGE')")
        .await;
    assert!(400 < spent, "{spent}");
    // A session tells what it counted once it has been idle for a while.
    let begun = Instant::now();
    let read = loop {
        let (updated, read) = lots_counted(&h).await;
        if spent <= updated {
            break read;
        }
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "{updated} of {spent} updates are told"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(
        read, 0,
        "rows of lots that were read by going through all of them"
    );
}

#[tokio::test]
async fn an_account_that_cannot_be_billed_is_parked_alone_and_released_when_it_can() {
    let h = ready(300, &[("RUN_CHUNK", "50")]).await;
    // One whose usage is out of range, one that billing does not know, one billed already, one whose plan was bought
    // under a version that plan does not have.
    let pick = |n: u32| format!("md5('a' || {n})::uuid");
    let too_much = format!(
        "UPDATE billing.usage_months SET price_micros = 9223372036854775807 WHERE root_id = {}",
        pick(1)
    );
    let more = format!(
        "INSERT INTO billing.usage_months SELECT '2026-04-01', {}, 'calls', 0, 9223372036854775807, 1",
        pick(1)
    );
    let unknown = format!(
        "DELETE FROM billing.accounts WHERE account_id = {}",
        pick(2)
    );
    let billed = format!(
        "INSERT INTO billing.invoices SELECT gen_random_uuid(), 99, 1, {}, 'SUPPORT', '2026-04-01', '2026-05-01', gen_random_uuid(), 'USD', 1, 0, 1, '2026-05-01'",
        pick(3)
    );
    let lost = format!(
        "UPDATE plan.segments SET catalogue_version = 'lost' WHERE root_id = {}",
        pick(4)
    );
    for sql in [too_much, more, unknown, billed, lost] {
        sqlx::query(AssertSqlSafe(sql))
            .execute(&h.db)
            .await
            .unwrap();
    }
    let run = create(&h.operator).await;
    let run = finished(&h, &run.billing_run_id, Duration::from_mins(1)).await;
    assert_eq!((run.invoice_count, run.parked_count), (296, 4));
    let request = billing::ListParkedAccountsRequest {
        billing_run_id: run.billing_run_id.clone(),
        ..billing::ListParkedAccountsRequest::default()
    };
    let parked = h
        .operator
        .billing
        .clone()
        .list_parked_accounts(request)
        .await
        .unwrap()
        .into_inner()
        .parked_accounts;
    let mut reasons: Vec<_> = parked.iter().map(|it| it.reason.clone()).collect();
    reasons.sort();
    assert_eq!(
        reasons,
        [
            "ACCOUNT_MISSING",
            "ALREADY_INVOICED",
            "AMOUNT_OUT_OF_RANGE",
            "CATALOGUE_MISSING"
        ]
    );
    let kept = "SELECT count(*) FROM billing.terms WHERE catalogue_version = 'lost'";
    assert_eq!(h.count(kept).await, 0, "nothing is made up");

    let held = parked
        .iter()
        .find(|it| it.reason == "AMOUNT_OUT_OF_RANGE")
        .unwrap()
        .account_id
        .clone();
    let release = async || {
        let request = billing::ReleaseParkedAccountRequest {
            billing_run_id: run.billing_run_id.clone(),
            account_id: held.clone(),
            request_id: request_id(),
        };
        h.operator
            .billing
            .clone()
            .release_parked_account(request)
            .await
    };
    assert_eq!(reason(&release().await.unwrap_err()), "STILL_PARKED");
    sqlx::query(AssertSqlSafe(format!(
        "UPDATE billing.usage_months SET price_micros = 0 WHERE root_id = {}",
        pick(1)
    )))
    .execute(&h.db)
    .await
    .unwrap();
    let invoice = release().await.unwrap().into_inner().invoice.unwrap();
    assert_eq!(
        invoice.total.unwrap().amount,
        "916.67",
        "250.00 x 14/30 + 1500.00 x 16/30"
    );
    assert_eq!(
        reason(&release().await.unwrap_err()),
        "PARKED_ACCOUNT_NOT_FOUND"
    );
}

#[tokio::test]
async fn a_run_keeps_its_chunks_and_its_catalogue_whatever_is_changed_meanwhile() {
    let mut h = ready(2_400, &[("RUN_CHUNK", "50"), ("RUN_WORKERS", "1")]).await;
    // A chunk has its numbers and can't be written: then its worker is killed.
    let mut lock = h.db.begin().await.unwrap();
    sqlx::query("LOCK TABLE billing.invoices IN SHARE ROW EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let run = create(&h.operator).await;
    while h.count("SELECT count(*) FROM billing.number_blocks").await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(h.suite.kill("billing").await);
    assert_eq!(chunks(&h).await, 0);
    // Another issuer and fiscal year for the same profile, and chunks of another size.
    h.import_as(
        "v2",
        &[
            BY_HAND,
            (
                "global_inc: {name: \"Perdiem Example Inc.\", address: \"1 Market Street, San Francisco, CA\", tax_id: null, country: US, state: CA, fiscal_year_start: \"01-01\"",
                "other_inc: {name: \"Other Inc.\", address: \"1 Market Street, San Francisco, CA\", tax_id: null, country: US, state: CA, fiscal_year_start: \"06-01\"",
            ),
        ],
    )
    .await;
    lock.rollback().await.unwrap();
    h.suite
        .spawn("billing", &[("RUN_CHUNK", "70".to_owned())])
        .unwrap();
    h.suite.wait_for("billing").await.unwrap();

    let run = finished(&h, &run.billing_run_id, Duration::from_mins(1)).await;
    assert_eq!((run.invoice_count, run.parked_count), (2_400, 0));
    assert_numbers_have_no_gap(&h).await;
    let series: Vec<(String, i16)> =
        sqlx::query_as("SELECT issuer_code, fiscal_year FROM billing.invoice_series")
            .fetch_all(&h.db)
            .await
            .unwrap();
    assert_eq!(series, [("global_inc".to_owned(), 2026)]);
}

#[tokio::test]
async fn a_run_sees_every_change_that_was_dated_before_it_began() {
    let h = ready(20, &[]).await;
    // A change that has read the clock and is not committed yet, as `plan` makes it.
    let mut change = h.db.begin().await.unwrap();
    for sql in [
        "SELECT pg_advisory_xact_lock_shared(1953066341)",
        "UPDATE plan.segments SET end_at = '2026-04-30 23:59:59+00' WHERE root_id = md5('a1')::uuid AND end_at IS NULL",
        "INSERT INTO plan.segments SELECT md5('a1')::uuid, 'SUPPORT', '2026-04-30 23:59:59+00', NULL, 'personalized', 'v1', md5('a1')::uuid",
    ] {
        sqlx::query(sql).execute(&mut *change).await.unwrap();
    }
    let run = create(&h.operator).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(chunks(&h).await, 0, "the run waits for the change");
    change.commit().await.unwrap();

    finished(&h, &run.billing_run_id, Duration::from_mins(1)).await;
    let last_day: i64 = h
        .count(
            "SELECT count(*) FROM billing.invoice_lines l JOIN billing.invoices i USING (invoice_id)
             JOIN billing.terms t USING (terms_id)
             WHERE i.root_id = md5('a1')::uuid AND t.plan_code = 'personalized' AND l.start_on = '2026-04-30'",
        )
        .await;
    assert_eq!(last_day, 1);
}

#[tokio::test]
async fn segments_of_a_period_that_still_runs_are_not_given_to_a_run() {
    let h = ready(1, &[]).await;
    let billing = Clients::new(&h.urls, &h.suite.keys.service("billing").unwrap()).unwrap();
    let request = proto::plan::v1::StreamBillableSegmentsRequest {
        family_code: "SUPPORT".to_owned(),
        period_start_date: "2026-05-01".to_owned(),
        period_end_date: "2026-06-01".to_owned(),
        shard_count: 1,
        ..proto::plan::v1::StreamBillableSegmentsRequest::default()
    };
    let asked = async |forecast: bool| {
        let request = proto::plan::v1::StreamBillableSegmentsRequest {
            forecast,
            ..request.clone()
        };
        let answer = billing.plan.clone().stream_billable_segments(request).await;
        answer.map(|_| ()).map_err(|refused| reason(&refused))
    };
    let not_ended = Err("PERIOD_NOT_ENDED".to_owned());
    h.set_clock("2026-05-10T00:00:00Z").await;
    assert_eq!(asked(false).await, not_ended);
    assert_eq!(asked(true).await, Ok(()), "a forecast");
    let june = proto::plan::v1::StreamBillableSegmentsRequest {
        period_start_date: "2026-06-01".to_owned(),
        period_end_date: "2026-07-01".to_owned(),
        forecast: true,
        ..request.clone()
    };
    let refused = billing.plan.clone().stream_billable_segments(june).await;
    assert_eq!(reason(&refused.unwrap_err()), "PERIOD_NOT_ENDED");
}

#[tokio::test]
async fn a_dry_run_of_the_running_month_is_a_forecast() {
    let h = Harness::start().await;
    let (whole, part) = (h.account().await, h.account().await);
    h.change("2026-04-01T00:00:00Z", &whole, "production").await;
    h.advance("2026-04-05T12:00:00Z").await;
    h.used(&whole, "2026-04-05T10:00:00Z", "10000.00").await;
    h.change("2026-04-11T00:00:00Z", &part, "production").await;
    h.advance("2026-04-15T12:00:00Z").await;
    h.used(&part, "2026-04-14T10:00:00Z", "1000.00").await;
    let runs = async |month: &str, dry_run: bool| {
        let request = billing::CreateBillingRunRequest {
            family_code: "SUPPORT".to_owned(),
            month: month.to_owned(),
            dry_run,
            request_id: request_id(),
        };
        let made = h
            .operator
            .billing
            .clone()
            .create_billing_run(request)
            .await?;
        Ok::<_, tonic::Status>(made.into_inner().billing_run.unwrap())
    };
    let forecast = runs("2026-04", true).await.unwrap();
    let forecast = finished(&h, &forecast.billing_run_id, Duration::from_mins(1)).await;
    // 4 % of 10,000.00 so far is 400.00. 4 % of 1,000.00 is 40.00, less than the minimum of 250.00, of which 20 days of
    // 30 are 166.67: the plan goes on to the month's end.
    let total = Money {
        currency_code: "USD".to_owned(),
        amount: "566.67".to_owned(),
    };
    assert_eq!((forecast.invoice_count, forecast.total), (2, Some(total)));
    assert_eq!(h.count("SELECT count(*) FROM billing.invoices").await, 0);
    // Neither is the real run of the month made, nor a forecast of one that has not begun.
    for (month, dry_run) in [("2026-04", false), ("2026-05", true)] {
        let refused = runs(month, dry_run).await.unwrap_err();
        assert_eq!(reason(&refused), "PERIOD_NOT_ENDED", "{month}");
    }
    // It closes nothing: what is used later in the month is billed with it.
    h.used(&whole, "2026-04-15T11:00:00Z", "10000.00").await;
    h.advance("2026-05-01T00:00:00Z").await;
    h.bill("2026-04").await;
    let lines = h.lines(&whole).await;
    let amounts: Vec<_> = lines.iter().map(|(_, _, amount)| amount.as_str()).collect();
    assert_eq!(amounts, ["800.00"]);
}

#[tokio::test]
async fn a_dry_run_settles_nothing_and_runs_are_compared() {
    let h = ready(200, &[]).await;
    let dry = perdiem::run::create(&h.operator, "SUPPORT", "2026-04", true)
        .await
        .unwrap();
    let dry = finished(&h, &dry.billing_run_id, Duration::from_mins(1)).await;
    assert_eq!(
        (
            dry.invoice_count,
            h.count("SELECT count(*) FROM billing.invoices").await
        ),
        (200, 0)
    );
    let real = create(&h.operator).await;
    let real = finished(&h, &real.billing_run_id, Duration::from_mins(1)).await;
    assert_eq!(real.total, dry.total);
    let request = billing::CompareBillingRunsRequest {
        billing_run_id: real.billing_run_id.clone(),
        other_billing_run_id: dry.billing_run_id,
    };
    let same = h
        .operator
        .billing
        .clone()
        .compare_billing_runs(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (same.added_count, same.removed_count, same.changed_count),
        (0, 0, 0)
    );
    let request = billing::ListRunOutcomesRequest {
        billing_run_id: real.billing_run_id,
        page_size: 150,
        ..billing::ListRunOutcomesRequest::default()
    };
    let page = h
        .operator
        .billing
        .clone()
        .list_run_outcomes(request.clone())
        .await
        .unwrap()
        .into_inner();
    let request = billing::ListRunOutcomesRequest {
        page_token: page.next_page_token,
        ..request
    };
    let rest = h
        .operator
        .billing
        .clone()
        .list_run_outcomes(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (
            page.outcomes.len(),
            rest.outcomes.len(),
            rest.next_page_token.as_str()
        ),
        (150, 50, "")
    );
}

#[tokio::test]
async fn a_run_waits_for_approval_where_policy_asks_and_can_be_halted() {
    let h = ready(100, &[]).await;
    h.import_as("v2", &[BY_HAND, APPROVED]).await;
    let run = create(&h.operator).await;
    let waiting = perdiem::run::watch(&h.operator, &run.billing_run_id, true)
        .await
        .unwrap();
    assert_eq!(
        (waiting.state(), waiting.invoice_count),
        (State::AwaitingApproval, 100)
    );
    assert_eq!(h.count("SELECT count(*) FROM billing.invoices").await, 0);
    let halt = billing::HaltBillingRunRequest {
        billing_run_id: run.billing_run_id.clone(),
        request_id: request_id(),
    };
    assert_eq!(
        reason(
            &h.operator
                .billing
                .clone()
                .halt_billing_run(halt)
                .await
                .unwrap_err()
        ),
        "BILLING_RUN_NOT_RUNNING"
    );
    let approve = billing::ApproveBillingRunRequest {
        billing_run_id: run.billing_run_id.clone(),
        request_id: request_id(),
    };
    h.operator
        .billing
        .clone()
        .approve_billing_run(approve)
        .await
        .unwrap();
    let done = finished(&h, &run.billing_run_id, Duration::from_mins(1)).await;
    assert_eq!(
        (
            done.invoice_count,
            h.count("SELECT count(*) FROM billing.invoices").await
        ),
        (100, 100)
    );
    assert_numbers_have_no_gap(&h).await;
}

/// Every number of every series is an invoice's, a parked account's or voided; none is two of them.
async fn assert_numbers_are_accounted_for(h: &Harness) {
    let wrong: i64 = h
        .count(
            "WITH numbers AS (
                SELECT series_id, number FROM billing.invoices
                UNION ALL SELECT series_id, number FROM billing.parked_accounts WHERE released_at IS NULL AND number IS NOT NULL
                UNION ALL SELECT series_id, generate_series(first_number, last_number) FROM billing.voided_numbers
             ), wanted AS (SELECT series_id, generate_series(1, next_number - 1) AS number FROM billing.invoice_series)
             SELECT (SELECT count(*) FROM numbers) - (SELECT count(*) FROM (SELECT DISTINCT * FROM numbers) n)
                  + (SELECT count(*) FROM wanted FULL JOIN (SELECT DISTINCT * FROM numbers) n USING (series_id, number)
                     WHERE wanted.number IS NULL OR n.number IS NULL)",
        )
        .await;
    assert_eq!(wrong, 0, "numbers that are nobody's, or of two");
}

async fn execute(h: &Harness, sql: &str) {
    sqlx::query(AssertSqlSafe(sql.to_owned()))
        .execute(&h.db)
        .await
        .unwrap();
}

#[tokio::test]
async fn bad_accounts_in_chunks_of_ten_thousand_hold_up_no_shard_however_short_the_lease() {
    const ACCOUNTS: u32 = 20_000;
    // The chunk of the services' default; as many bad accounts as workers, one in each shard.
    let environment = [("RUN_WORKERS", "2"), ("LEASE_SECONDS", "1")];
    let h = ready_as(ROOT_OF_TWO_SHARDS, ACCOUNTS, &environment).await;
    let bad: Vec<Uuid> = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT {ROOT_OF_TWO_SHARDS} FROM unnest(ARRAY[7001, 12002]) n"
    )))
    .fetch_all(&h.db)
    .await
    .unwrap();
    let refuse = format!(
        "ALTER TABLE billing.invoices ADD CONSTRAINT refuses CHECK (root_id NOT IN ('{}', '{}'))",
        bad[0], bad[1]
    );
    execute(&h, &refuse).await;
    // Each write takes a tenth of a second: all parts of a chunk take longer than a lease.
    for sql in [
        "CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.1); RETURN NULL; END'",
        "CREATE TRIGGER wait BEFORE INSERT ON billing.invoices FOR EACH STATEMENT EXECUTE FUNCTION public.wait()",
    ] {
        execute(&h, sql).await;
    }
    let run = create(&h.operator).await;
    let run = finished(&h, &run.billing_run_id, Duration::from_mins(1)).await;
    assert_eq!(
        (run.account_count, run.invoice_count, run.parked_count),
        (20_000, 19_998, 2)
    );
    assert_numbers_are_accounted_for(&h).await;
    let parts = "SELECT max(parts) FROM (SELECT count(*) AS parts FROM billing.run_chunks GROUP BY shard) s";
    let parts = h.count(parts).await;
    assert!(
        parts <= 16,
        "{parts} parts: one for each halving of 10,000, the bad one and the end"
    );
    let parked: Vec<(Uuid, String, String)> = sqlx::query_as(
        "SELECT root_id, reason, detail FROM billing.parked_accounts WHERE number IS NOT NULL ORDER BY root_id",
    )
    .fetch_all(&h.db)
    .await
    .unwrap();
    let mut expected: Vec<_> = bad
        .iter()
        .map(|it| (*it, "REFUSED_BY_DATABASE".to_owned(), "refuses".to_owned()))
        .collect();
    expected.sort();
    assert_eq!(parked, expected);

    // Mended and released, they have the numbers that were set aside for them.
    execute(&h, "ALTER TABLE billing.invoices DROP CONSTRAINT refuses").await;
    for it in bad {
        let request = billing::ReleaseParkedAccountRequest {
            billing_run_id: run.billing_run_id.clone(),
            account_id: AccountId::from_uuid(it).to_string(),
            request_id: request_id(),
        };
        let mut client = h.operator.billing.clone();
        client.release_parked_account(request).await.unwrap();
    }
    assert_numbers_have_no_gap(&h).await;
    let invoices = "SELECT count(*) FROM billing.invoices";
    assert_eq!(h.count(invoices).await, i64::from(ACCOUNTS));
}

#[tokio::test]
async fn one_bad_account_in_a_hundred_is_parked_and_all_others_are_billed() {
    const ACCOUNTS: u32 = 20_000;
    let h = ready_as(ROOT_OF_TWO_SHARDS, ACCOUNTS, &[("RUN_WORKERS", "2")]).await;
    for sql in [
        format!("CREATE TABLE public.bad AS SELECT {ROOT_OF_TWO_SHARDS} AS root_id FROM generate_series(1, {ACCOUNTS}) n WHERE n % 100 = (n / 100) % 2"),
        "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
         'BEGIN
              IF EXISTS (SELECT FROM public.bad b WHERE b.root_id = NEW.root_id) THEN
                  RAISE check_violation USING CONSTRAINT = ''refuses'';
              END IF;
              RETURN NEW;
          END'".to_owned(),
        "ALTER TABLE public.bad ADD PRIMARY KEY (root_id)".to_owned(),
        "CREATE TRIGGER refuse BEFORE INSERT ON billing.invoices FOR EACH ROW EXECUTE FUNCTION public.refuse()".to_owned(),
    ] {
        execute(&h, &sql).await;
    }
    let bad = h.count("SELECT count(*) FROM public.bad").await;
    assert!((190..=210).contains(&bad), "{bad}");
    let run = create(&h.operator).await;
    let run = finished(&h, &run.billing_run_id, Duration::from_mins(20)).await;
    assert_eq!(
        (run.account_count, run.invoice_count, run.parked_count),
        (i64::from(ACCOUNTS), i64::from(ACCOUNTS) - bad, bad)
    );
    assert_numbers_are_accounted_for(&h).await;
    let parked = "SELECT count(*) FROM billing.parked_accounts JOIN public.bad USING (root_id)
                  WHERE reason = 'REFUSED_BY_DATABASE' AND detail = 'refuses'";
    assert_eq!(h.count(parked).await, bad);
    // Each is found by at most 14 halvings of a chunk, and not by trying all accounts one by one.
    let parts = chunks(&h).await;
    assert!(parts <= 16 * bad, "{parts} parts for {bad} bad accounts");
}

#[tokio::test]
async fn payers_who_come_late_are_billed_after_those_whose_numbers_are_set_aside() {
    let mut h = ready_as(ROOT_OF_TWO_SHARDS, 100, &[]).await;
    // Chunks have their numbers and can't be written: then their worker is killed.
    let mut lock = h.db.begin().await.unwrap();
    sqlx::query("LOCK TABLE billing.invoices IN SHARE ROW EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let run = create(&h.operator).await;
    while h.count("SELECT count(*) FROM billing.number_blocks").await < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(h.suite.kill("billing").await);
    lock.rollback().await.unwrap();
    // Forty accounts that were opened before reach plan and billing only now, between the others.
    seed_as(&h, ROOT_OF_TWO_SHARDS, (101, 140)).await;
    h.suite.spawn("billing", &[]).unwrap();
    h.suite.wait_for("billing").await.unwrap();

    let run = finished(&h, &run.billing_run_id, Duration::from_mins(1)).await;
    assert_eq!(
        (run.account_count, run.invoice_count, run.parked_count),
        (140, 140, 0)
    );
    assert_numbers_have_no_gap(&h).await;
    let kept: i64 = h
        .count(
            "SELECT count(*) FROM billing.number_blocks b
             CROSS JOIN LATERAL unnest(b.payers) WITH ORDINALITY p(root_id, place)
             JOIN billing.invoices i ON i.root_id = p.root_id AND i.number = b.first_number + p.place - 1
             WHERE b.first_number + b.number_count <= 101",
        )
        .await;
    assert_eq!(
        kept, 100,
        "those of before have the numbers set aside for them"
    );
}

#[tokio::test]
async fn a_cancelled_run_accounts_for_its_numbers_and_another_bills_what_it_did_not() {
    let mut h = ready(300, &[("RUN_WORKERS", "2")]).await;
    // A payer whose balance another holds: all shards but its own are billed.
    let mut lock = h.db.begin().await.unwrap();
    sqlx::query("SELECT FROM billing.balances WHERE root_id = md5('a2')::uuid FOR UPDATE")
        .execute(&mut *lock)
        .await
        .unwrap();
    let first = create(&h.operator).await.billing_run_id;
    while chunks(&h).await < 15 || h.count("SELECT count(*) FROM billing.number_blocks").await < 16
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(h.suite.kill("billing").await);
    execute(&h, "UPDATE billing.runs SET state = 'HALTED'").await;
    lock.rollback().await.unwrap();
    h.suite.spawn("billing", &[]).unwrap();
    h.suite.wait_for("billing").await.unwrap();
    let billed = h.count("SELECT count(*) FROM billing.invoices").await;
    let left = 300 - billed;
    assert!(0 < left && left < 300, "{billed} are billed");

    // Closings wait for the run, of those whom it has billed and of others.
    let lifecycle = h.suite.keys.service("account-lifecycle").unwrap();
    let lifecycle = Clients::new(&h.urls, &lifecycle).unwrap();
    let closing = async |sql: &'static str| {
        let id: Uuid = sqlx::query_scalar(sql).fetch_one(&h.db).await.unwrap();
        let request = billing::PrepareClosingRequest {
            account_id: AccountId::from_uuid(id).to_string(),
            close_time: Some(perdiem::connect::timestamp(instant("2026-05-01T12:00:00Z"))),
            request_id: request_id(),
            dry_run: true,
        };
        let prepared = lifecycle.billing.clone().prepare_closing(request).await;
        prepared.map(|it| it.into_inner().settlement.unwrap().amount)
    };
    let of_left = "SELECT md5('a2')::uuid";
    let of_billed =
        "SELECT root_id FROM billing.invoices WHERE from_balance_minor > 0 ORDER BY number LIMIT 1";
    for sql in [of_left, of_billed] {
        assert_eq!(reason(&closing(sql).await.unwrap_err()), "RUN_UNDER_WAY");
    }

    let cancelled = perdiem::run::cancel(&h.operator, &first, "plans were wrong")
        .await
        .unwrap();
    assert_eq!(
        (cancelled.state(), cancelled.cancel_reason.as_str()),
        (State::Cancelled, "plans were wrong")
    );
    let voided: i64 = cancelled
        .voided_numbers
        .iter()
        .map(|it| it.number_count)
        .sum();
    assert_eq!((cancelled.invoice_count, voided), (billed, left));
    assert_numbers_are_accounted_for(&h).await;
    let again = perdiem::run::cancel(&h.operator, &first, "again").await;
    assert!(
        again
            .unwrap_err()
            .to_string()
            .contains("BILLING_RUN_NOT_UNDER_WAY")
    );
    let resume = billing::ResumeBillingRunRequest {
        billing_run_id: first.clone(),
        request_id: request_id(),
    };
    let resumed = h.operator.billing.clone().resume_billing_run(resume).await;
    assert_eq!(reason(&resumed.unwrap_err()), "BILLING_RUN_NOT_HALTED");

    // 250.00 for March, which no run has billed, 916.67 for April, and a day of May, 1500.00 x 1/31; who is
    // billed for April owes the day only, as months before a run are their runs'.
    assert_eq!(closing(of_left).await.unwrap(), "1215.06");
    assert_eq!(closing(of_billed).await.unwrap(), "48.39");

    let second = create(&h.operator).await;
    assert_ne!(second.billing_run_id, first);
    let second = finished(&h, &second.billing_run_id, Duration::from_mins(1)).await;
    assert_eq!((second.invoice_count, second.parked_count), (left, 0));
    assert_eq!(
        h.count("SELECT count(DISTINCT root_id) FROM billing.invoices")
            .await,
        300
    );
    assert_numbers_are_accounted_for(&h).await;
    let same = create(&h.operator).await;
    assert_eq!(same.billing_run_id, second.billing_run_id);
}

#[tokio::test]
async fn credit_expires_when_the_run_that_it_waited_for_is_cancelled() {
    let h = ready(20, &[]).await;
    execute(
        &h,
        "UPDATE billing.lots SET expires_at = '2026-05-01 06:00+00'",
    )
    .await;
    h.import_as("v2", &[APPROVED, BY_HAND]).await;
    let run = create(&h.operator).await.billing_run_id;
    perdiem::run::watch(&h.operator, &run, true).await.unwrap();
    h.set_clock("2026-05-01T12:00:00Z").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let left = "SELECT count(*) FROM billing.lots WHERE remaining_micros > 0";
    assert_eq!(h.count(left).await, 14, "the run may still spend it");
    perdiem::run::cancel(&h.operator, &run, "not this month")
        .await
        .unwrap();
    let begun = Instant::now();
    while 0 < h.count(left).await {
        assert!(begun.elapsed() < PATIENCE, "it stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The months of the real runs, in the order in which they were made, each with its state.
async fn real_runs(h: &Harness) -> Vec<(String, String)> {
    sqlx::query_as(
        "SELECT to_char(period_start, 'YYYY-MM'), state FROM billing.runs WHERE NOT dry_run ORDER BY run_id",
    )
    .fetch_all(&h.db)
    .await
    .unwrap()
}

/// The months that are told of as overdue, each with when its run was due.
async fn overdue(h: &Harness) -> Vec<(String, String)> {
    let request = billing::ListBillingRunsRequest::default();
    let mut client = h.operator.billing.clone();
    let listed = client.list_billing_runs(request).await.unwrap();
    let overdue = listed.into_inner().overdue_periods.into_iter();
    let due = |at| perdiem::connect::instant(at).unwrap().to_rfc3339();
    overdue.map(|it| (it.month, due(it.due_time))).collect()
}

fn completed(months: &[&str]) -> Vec<(String, String)> {
    let state = || "COMPLETED".to_owned();
    months
        .iter()
        .map(|it| ((*it).to_owned(), state()))
        .collect()
}

#[tokio::test]
async fn req_015_april_is_billed_by_itself_when_its_hours_of_grace_are_over() {
    let h = Harness::start().await;
    let ac = h.account().await;
    h.change("2026-04-01T00:00:00Z", &ac, "business").await;
    // The hours of grace of March are over with the 2nd of April.
    h.advance("2026-04-30T00:00:00Z").await;
    assert_eq!(real_runs(&h).await, completed(&["2026-03"]));
    h.advance("2026-05-01T23:59:59Z").await;
    assert_eq!(real_runs(&h).await.len(), 1, "it waits for late usage");
    let late = event("late", &ac, "2026-04-20T00:00:00Z", "40000.00");
    let taken = h.record(vec![late]).await.unwrap();
    assert_eq!((taken.recorded_count, taken.late_count), (1, 0));
    h.advance("2026-05-02T00:00:00Z").await;
    assert_eq!(real_runs(&h).await, completed(&["2026-03", "2026-04"]));
    let expected = [("business".to_owned(), 30, "2400.00".to_owned())];
    assert_eq!(h.lines(&ac).await, expected);
    // Whoever asks for it gets it: there is one.
    let run = h.bill("2026-04").await;
    let due = perdiem::connect::timestamp(instant("2026-05-02T00:00:00Z"));
    assert_eq!(run.cut_off_time, Some(due));
    assert_eq!(run.invoice_count, 1);
    assert!(overdue(&h).await.is_empty());
}

#[tokio::test]
async fn months_that_were_missed_are_billed_in_order() {
    let h = Harness::start().await;
    let ac = h.account().await;
    h.change("2026-03-10T10:00:00Z", &ac, "business").await;
    // As if the suite had been down for three months.
    h.set_clock("2026-06-10T00:00:00Z").await;
    h.advance("2026-06-10T00:00:01Z").await;
    let months = ["2026-03", "2026-04", "2026-05"];
    assert_eq!(real_runs(&h).await, completed(&months));
    assert_eq!(h.invoices(&ac).await.len(), 3);
    assert!(overdue(&h).await.is_empty(), "they are billed now");
    h.advance("2026-07-02T00:00:00Z").await;
    assert_eq!(real_runs(&h).await.len(), 4);
}

#[tokio::test]
async fn a_month_that_is_not_billed_a_day_later_is_told_of_until_it_is() {
    let h = Harness::start().await;
    let six_hours = ("usage_close_grace_hours: 24", "usage_close_grace_hours: 6");
    h.import_as("v2", &[six_hours, APPROVED]).await;
    h.account().await;
    h.advance("2026-04-01T05:59:59Z").await;
    assert!(real_runs(&h).await.is_empty());
    h.advance("2026-04-01T06:00:00Z").await;
    let waits = [("2026-03".to_owned(), "AWAITING_APPROVAL".to_owned())];
    assert_eq!(real_runs(&h).await, waits);
    h.advance("2026-04-02T05:59:59Z").await;
    assert!(overdue(&h).await.is_empty());
    h.advance("2026-04-02T06:00:00Z").await;
    let due = "2026-04-01T06:00:00+00:00".to_owned();
    assert_eq!(overdue(&h).await, [("2026-03".to_owned(), due)]);
    // The next month waits for it: usage and balances go in order.
    h.advance("2026-05-10T00:00:00Z").await;
    assert_eq!(real_runs(&h).await, waits);
    assert_eq!(overdue(&h).await.len(), 2);
    for month in ["2026-03", "2026-04"] {
        let run = perdiem::run::create(&h.operator, "SUPPORT", month, false);
        let approve = billing::ApproveBillingRunRequest {
            billing_run_id: run.await.unwrap().billing_run_id,
            request_id: request_id(),
        };
        let mut client = h.operator.billing.clone();
        client.approve_billing_run(approve).await.unwrap();
        // The next one is made, and waits for its approval.
        h.advance("2026-05-10T00:00:01Z").await;
    }
    assert_eq!(real_runs(&h).await, completed(&["2026-03", "2026-04"]));
    assert!(overdue(&h).await.is_empty());
}

#[tokio::test]
async fn a_month_whose_run_was_cancelled_is_a_person_s_and_holds_up_no_other() {
    let h = Harness::start().await;
    h.import_as("v2", &[APPROVED]).await;
    h.account().await;
    h.advance("2026-04-02T00:00:00Z").await;
    let march = perdiem::run::create(&h.operator, "SUPPORT", "2026-03", false);
    let march = march.await.unwrap().billing_run_id;
    perdiem::run::cancel(&h.operator, &march, "plans were wrong")
        .await
        .unwrap();
    h.advance("2026-05-03T00:00:00Z").await;
    let state = |month: &str, state: &str| (month.to_owned(), state.to_owned());
    assert_eq!(
        real_runs(&h).await,
        [
            state("2026-03", "CANCELLED"),
            state("2026-04", "AWAITING_APPROVAL")
        ]
    );
    let told: Vec<_> = overdue(&h).await.into_iter().map(|it| it.0).collect();
    assert!(told.contains(&"2026-03".to_owned()), "{told:?}");
}

#[tokio::test]
async fn a_run_that_was_made_and_cancelled_while_a_replica_waited_is_not_made_again() {
    let h = Harness::start().await;
    h.account().await;
    // As another replica that is making the run of March.
    let mut other = h.db.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock(1668050803)")
        .execute(&mut *other)
        .await
        .unwrap();
    h.set_clock("2026-04-02T00:00:00Z").await;
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let begun = Instant::now();
    while h.count(waiting).await == 0 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Under these locks all usage waits: it has counted all accounts before it asks for them.
    let counted = "SELECT count(DISTINCT w.pid) FROM pg_locks w JOIN pg_locks r ON r.pid = w.pid
                   WHERE w.locktype = 'advisory' AND NOT w.granted AND r.relation = 'billing.accounts'::regclass
                     AND r.database = w.database";
    assert_eq!(h.count(counted).await, h.count(waiting).await);
    sqlx::query(
        "INSERT INTO billing.runs (run_id, family_code, period_start, period_end, dry_run, phase, state, shard_count,
                                   expected_count, currency, catalogue_version, chunk_size, cut_off_at, created_at,
                                   completed_at, cancel_reason)
         VALUES (gen_random_uuid(), 'SUPPORT', '2026-03-01', '2026-04-01', false, 'SETTLE', 'CANCELLED', 16,
                 1, 'USD', 'v1', 100, now(), now(), now(), 'plans were wrong')",
    )
    .execute(&mut *other)
    .await
    .unwrap();
    other.commit().await.unwrap();
    h.advance("2026-04-02T00:00:01Z").await;
    assert_eq!(
        real_runs(&h).await,
        [("2026-03".to_owned(), "CANCELLED".to_owned())]
    );
}

#[tokio::test]
async fn a_family_by_hand_has_no_run_that_nobody_made() {
    let h = Harness::start().await;
    h.import_as("v2", &[BY_HAND]).await;
    h.account().await;
    h.advance("2026-04-30T00:00:00Z").await;
    assert!(real_runs(&h).await.is_empty());
    let told: Vec<_> = overdue(&h).await.into_iter().map(|it| it.0).collect();
    assert_eq!(told, ["2026-03"]);
    h.bill("2026-03").await;
    assert_eq!(real_runs(&h).await, completed(&["2026-03"]));
    assert!(overdue(&h).await.is_empty());
}
