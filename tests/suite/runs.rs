//! Billing runs under fire: killed, shared, contended, parked, compared, approved.

use std::time::{Duration, Instant};

use perdiem::connect::{Clients, Urls, request_id};
use proto::billing::v1 as billing;
use proto::billing::v1::billing_run::State;
use sqlx::AssertSqlSafe;

use crate::harness::{Harness, data, reason};

/// Puts `count` accounts with one plan change each, usage and some credit straight into the tables:
/// the run is what is tested, not how they came there.
async fn seed(h: &Harness, count: u32) {
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
        sqlx::query(AssertSqlSafe(sql.replace("$N", &count.to_string())))
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
    let h = Harness::with(environment).await;
    h.set_clock("2026-03-01T12:00:00Z").await;
    perdiem::catalogue::import(&h.operator, &data("catalogue.yaml"), true)
        .await
        .unwrap();
    seed(&h, accounts).await;
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
            ready.elapsed() < Duration::from_secs(20),
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

#[tokio::test]
async fn an_account_that_cannot_be_billed_is_parked_alone_and_released_when_it_can() {
    let h = ready(300, &[("RUN_CHUNK", "50")]).await;
    // One whose usage is out of range, one that billing does not know, one billed already.
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
    for sql in [too_much, more, unknown, billed] {
        sqlx::query(AssertSqlSafe(sql))
            .execute(&h.db)
            .await
            .unwrap();
    }
    let run = create(&h.operator).await;
    let run = finished(&h, &run.billing_run_id, Duration::from_mins(1)).await;
    assert_eq!((run.invoice_count, run.parked_count), (297, 3));
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
            "AMOUNT_OUT_OF_RANGE",
            "REFUSED_BY_DATABASE"
        ]
    );

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
    sqlx::query("LOCK TABLE billing.invoices IN EXCLUSIVE MODE")
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
        &[(
            "global_inc: {name: \"Perdiem Example Inc.\", address: \"1 Market Street, San Francisco, CA\", tax_id: null, country: US, state: CA, fiscal_year_start: \"01-01\"",
            "other_inc: {name: \"Other Inc.\", address: \"1 Market Street, San Francisco, CA\", tax_id: null, country: US, state: CA, fiscal_year_start: \"06-01\"",
        )],
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
    let refused = billing
        .plan
        .clone()
        .stream_billable_segments(request)
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "PERIOD_NOT_ENDED");
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
    h.import_as(
        "v2",
        &[(
            "run_approval: {SUPPORT: NOT_REQUIRED}",
            "run_approval: {SUPPORT: REQUIRED}",
        )],
    )
    .await;
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
