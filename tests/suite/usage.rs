//! Usage: repeated, corrected, late and broken.

use std::time::{Duration, Instant};

use perdiem::connect::request_id;
use perdiem::usage::{Import, OnBroken, import};
use proto::billing::v1 as billing;
use tonic::Code;
use uuid::Uuid;
use values::AccountId;

use crate::closing::{close, consistent};
use crate::harness::{BY_HAND, Harness, PATIENCE, data, event, instant, reason};
use crate::money::{Shop, rated};
use crate::subscriptions::subscriber;

async fn sums(
    h: &Harness,
    account_id: &str,
    month: &str,
    daily: bool,
) -> Vec<(String, String, i64)> {
    let request = billing::SummarizeUsageRequest {
        account_id: account_id.to_owned(),
        month: month.to_owned(),
        daily,
    };
    let sums = h
        .operator
        .billing
        .clone()
        .summarize_usage(request)
        .await
        .unwrap()
        .into_inner()
        .sums;
    sums.into_iter()
        .map(|it| (it.date, it.price.unwrap().amount, it.event_count))
        .collect()
}

#[tokio::test]
async fn usage_belongs_to_the_month_of_its_family_s_zone() {
    let mut h = Harness::with(&[]).await;
    h.set_clock("2026-02-01T12:00:00Z").await;
    // Of the family SUPPORT only, which is the first.
    let zone = [("time_zone: UTC ", "time_zone: America/New_York ")];
    h.import_as("v2", &zone).await;
    h.own("owner").await;
    let ac = h.account().await;
    h.change("2026-02-01T15:00:00Z", &ac, "business").await;
    h.advance("2026-03-01T06:00:00Z").await;
    // 28 February 21:00 and 1 March 00:00 in New York.
    h.used(&ac, "2026-03-01T02:00:00Z", "40000.00").await;
    h.used(&ac, "2026-03-01T05:00:00Z", "3.00").await;
    let of = async |month| -> Vec<(String, i64)> {
        let sums = sums(&h, &ac, month, false).await.into_iter();
        sums.map(|(_, price, count)| (price, count)).collect()
    };
    assert_eq!(of("2026-02").await, [("40000.000000".to_owned(), 1)]);
    assert_eq!(of("2026-03").await, [("3.000000".to_owned(), 1)]);
    h.bill("2026-02").await;
    let billed = h.lines(&ac).await;
    assert_eq!(billed, [("business".to_owned(), 28, "2400.00".to_owned())]);
}

#[tokio::test]
async fn a_subaccount_s_days_are_those_of_its_root_whatever_the_catalogue_says_by_now() {
    let h = Harness::start().await;
    let root = h.account().await;
    // Of the family SUPPORT only, which is the first.
    let zone = [("time_zone: UTC ", "time_zone: America/New_York ")];
    h.import_as("v2", &zone).await;
    let sub = h.subaccount(&root).await;
    let zones = "SELECT count(DISTINCT time_zone) FROM billing.accounts";
    assert_eq!(h.count(zones).await, 1);
    h.advance("2026-04-01T03:00:00Z").await;
    for ac in [&root, &sub] {
        // The evening of 31 March in New York.
        h.used(ac, "2026-04-01T02:00:00Z", "3.00").await;
    }
    let april = sums(&h, &root, "2026-04", false).await;
    let april: Vec<_> = april.into_iter().map(|it| (it.1, it.2)).collect();
    assert_eq!(april, [("6.000000".to_owned(), 2)]);
}

#[tokio::test]
async fn a_repeated_event_counts_once_and_a_corrected_one_with_its_last_values() {
    let h = Harness::start().await;
    let ac = h.account().await;
    h.advance("2026-04-20T00:00:00Z").await;
    let first = h
        .record(vec![
            event("e1", &ac, "2026-04-02T00:00:00Z", "5.00"),
            event("e2", &ac, "2026-04-03T00:00:00Z", "3.00"),
        ])
        .await
        .unwrap();
    assert_eq!(
        (
            first.recorded_count,
            first.repeated_count,
            first.corrected_count
        ),
        (2, 0, 0)
    );
    let again = h
        .record(vec![
            event("e1", &ac, "2026-04-02T00:00:00Z", "5.00"),
            event("e1", &ac, "2026-04-04T00:00:00Z", "6.000001"),
        ])
        .await
        .unwrap();
    assert_eq!(
        (
            again.recorded_count,
            again.repeated_count,
            again.corrected_count
        ),
        (0, 1, 1)
    );
    assert_eq!(
        sums(&h, &ac, "2026-04", false).await,
        [("2026-04-01".to_owned(), "9.000001".to_owned(), 2)]
    );
    let days = sums(&h, &ac, "2026-04", true).await;
    assert!(
        days.contains(&("2026-04-04".to_owned(), "6.000001".to_owned(), 1))
            && days.contains(&("2026-04-02".to_owned(), "0.000000".to_owned(), 0)),
        "{days:?}"
    );

    let request = billing::ListUsageRequest {
        account_id: ac.clone(),
        month: "2026-04".to_owned(),
        ..billing::ListUsageRequest::default()
    };
    let records = h
        .operator
        .billing
        .clone()
        .list_usage(request)
        .await
        .unwrap()
        .into_inner()
        .records;
    let lineage: Vec<_> = records
        .iter()
        .filter(|it| it.event.as_ref().unwrap().event_id == "e1")
        .map(|it| (it.revision, it.supersede_time.is_some()))
        .collect();
    assert_eq!(lineage, [(2, false), (1, true)]);
}

#[tokio::test]
async fn usage_that_comes_after_the_run_joins_the_next_month_and_keeps_its_day() {
    let h = Harness::start().await;
    let ac = h.account().await;
    h.change("2026-04-01T00:00:00Z", &ac, "business").await;
    h.advance("2026-05-01T00:00:00Z").await;
    h.used(&ac, "2026-04-10T00:00:00Z", "30000.00").await;
    h.bill("2026-04").await;
    let late = h
        .record(vec![event("late", &ac, "2026-04-20T00:00:00Z", "10000.00")])
        .await
        .unwrap();
    assert_eq!((late.recorded_count, late.late_count), (1, 1));
    assert_eq!(
        sums(&h, &ac, "2026-05", true).await,
        [("2026-04-20".to_owned(), "10000.000000".to_owned(), 1)]
    );
    h.advance("2026-06-01T00:00:00Z").await;
    h.used(&ac, "2026-05-10T00:00:00Z", "30000.00").await;
    h.bill("2026-05").await;
    let totals: Vec<_> = h
        .invoices(&ac)
        .await
        .into_iter()
        .map(|it| it.total.unwrap().amount)
        .collect();
    assert_eq!(totals, ["2400.00", "1800.00"], "newest first");
}

#[tokio::test]
async fn the_sums_of_a_month_are_updated_where_they_are() {
    let h = Harness::start().await;
    sqlx::query(
        "INSERT INTO billing.accounts
         SELECT md5('a' || n)::uuid, md5('a' || n)::uuid, 'global', 'UTC', 'USD', false, '2026-03-01'
         FROM generate_series(1, 400) n",
    )
    .execute(&h.db)
    .await
    .unwrap();
    let accounts: Vec<Uuid> = sqlx::query_scalar("SELECT account_id FROM billing.accounts")
        .fetch_all(&h.db)
        .await
        .unwrap();
    for batch in ["first", "second"] {
        let events = accounts.iter().map(|id| {
            let account = AccountId::from_uuid(*id).to_string();
            let id = format!("{batch}-{account}");
            event(&id, &account, "2026-03-01T12:00:00Z", "1.00")
        });
        let counts = h.record(events.collect()).await.unwrap();
        assert_eq!(counts.recorded_count, 400);
    }
    // A session tells what it counted once it has been idle for a while.
    let begun = Instant::now();
    let in_place = loop {
        let (updated, in_place): (i64, i64) = sqlx::query_as(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables
             WHERE schemaname = 'billing' AND relname = 'usage_months'",
        )
        .fetch_one(&h.db)
        .await
        .unwrap();
        if 400 <= updated {
            break in_place;
        }
        assert!(begun.elapsed() < PATIENCE, "{updated} updates are told");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(360 <= in_place, "{in_place} of 400 sums stay on their page");
}

#[tokio::test]
async fn a_batch_is_all_or_nothing_and_its_faults_are_told_by_index() {
    let h = Harness::start().await;
    let ac = h.account().await;
    let good = event("g", &ac, "2026-03-01T12:00:00Z", "1.00");
    let bad = |price: &str| event("b", &ac, "2026-03-01T12:00:00Z", price);
    let refused = h
        .record(vec![good.clone(), bad("1e3"), bad("0.0000001")])
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::InvalidArgument, "INVALID_FIELD")
    );
    assert!(
        refused.message().contains("events[1].price.amount")
            && refused.message().contains("events[2].price.amount"),
        "{}",
        refused.message()
    );
    let unknown = h
        .record(vec![
            good.clone(),
            event(
                "u",
                "AC00000000000000000000000000000001",
                "2026-03-01T12:00:00Z",
                "1",
            ),
        ])
        .await
        .unwrap_err();
    assert_eq!(reason(&unknown), "ACCOUNT_NOT_FOUND");
    let range = h
        .record(vec![
            event("x", &ac, "2026-03-01T12:00:00Z", "9000000000000"),
            event("y", &ac, "2026-03-01T12:00:00Z", "9000000000000"),
        ])
        .await
        .unwrap_err();
    assert_eq!(reason(&range), "INVALID_FIELD", "no sum is so large");
    assert_eq!(
        h.count("SELECT count(*) FROM billing.usage_events").await,
        0
    );
}

#[tokio::test]
async fn the_same_batches_from_many_at_once_count_once() {
    let h = Harness::start().await;
    let ac = h.account().await;
    let batch: Vec<_> = (0..200)
        .map(|n| event(&format!("e{n}"), &ac, "2026-03-01T12:00:00Z", "1.00"))
        .collect();
    let sent = futures::future::join_all((0..16).map(|_| h.record(batch.clone()))).await;
    let recorded: i64 = sent
        .iter()
        .map(|it| it.as_ref().unwrap().recorded_count)
        .sum();
    assert_eq!(recorded, 200);
    assert_eq!(
        sums(&h, &ac, "2026-03", false).await,
        [("2026-03-01".to_owned(), "200.000000".to_owned(), 200)]
    );
}

#[tokio::test]
async fn a_file_with_broken_lines_is_refused_or_its_good_lines_are_kept() {
    let h = Harness::start().await;
    let text = std::fs::read_to_string(data("sample/broken.csv")).unwrap();
    let account = text
        .lines()
        .nth(1)
        .unwrap()
        .split(',')
        .nth(1)
        .unwrap()
        .to_owned();
    let request = proto::account::v1::CreateAccountRequest {
        profile_code: "global".to_owned(),
        display_name: "Edge cases".to_owned(),
        owner_user_id: h.user("edges").await,
        import_account_id: account.clone(),
        request_id: request_id(),
        ..proto::account::v1::CreateAccountRequest::default()
    };
    h.operator
        .account
        .clone()
        .create_account(request)
        .await
        .unwrap();
    let subaccount = text
        .lines()
        .find_map(|line| {
            line.split(',')
                .nth(1)
                .filter(|id| id.len() == 34 && *id != account)
        })
        .unwrap();
    let request = proto::account::v1::CreateSubaccountRequest {
        parent_account_id: account.clone(),
        display_name: "Its subaccount".to_owned(),
        import_account_id: subaccount.to_owned(),
        request_id: request_id(),
    };
    h.operator
        .account
        .clone()
        .create_subaccount(request)
        .await
        .unwrap();
    h.advance("2026-05-01T00:00:00Z").await;
    let how = |on_broken| Import {
        source: "own".to_owned(),
        on_broken,
        own_only: true,
        quiet: true,
    };
    let refused = import(
        &h.operator,
        &data("sample/broken.csv"),
        &how(OnBroken::Refuse),
    )
    .await
    .unwrap_err()
    .to_string();
    assert!(
        refused.contains("6 lines") && refused.contains("line 3:") && refused.contains("line 10:"),
        "{refused}"
    );
    assert_eq!(
        h.count("SELECT count(*) FROM billing.usage_events").await,
        0
    );
    let kept = import(
        &h.operator,
        &data("sample/broken.csv"),
        &how(OnBroken::Skip),
    )
    .await
    .unwrap();
    assert_eq!((kept.answer.recorded_count, kept.broken.len()), (4, 6));
}

#[tokio::test]
async fn a_month_that_closes_while_late_usage_joins_it_passes_it_on() {
    let h = Harness::start().await;
    h.import_as("v2", &[BY_HAND]).await;
    let ac = h.account().await;
    h.advance("2026-05-01T00:00:00Z").await;
    let close = "INSERT INTO billing.usage_closings (profile_code, month, closed_at)
        SELECT profile_code, $1::date, now() FROM billing.accounts";
    let sql = sqlx::query(close).bind(instant("2026-03-01T00:00:00Z").date_naive());
    sql.execute(&h.db).await.unwrap();
    // As a run that is being created does it.
    let mut run = h.db.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock(7302, date '2026-04-01' - date '2000-01-01')")
        .execute(&mut *run)
        .await
        .unwrap();
    let late = h.record(vec![event("late", &ac, "2026-03-20T00:00:00Z", "5.00")]);
    let closing = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let sql = sqlx::query(close).bind(instant("2026-04-01T00:00:00Z").date_naive());
        sql.execute(&mut *run).await.unwrap();
        run.commit().await.unwrap();
    };
    let (late, ()) = tokio::join!(late, closing);
    assert_eq!(late.unwrap().late_count, 1);
    assert_eq!(sums(&h, &ac, "2026-04", false).await, []);
    assert_eq!(sums(&h, &ac, "2026-05", false).await.len(), 1);
}

#[tokio::test]
async fn the_same_correction_sent_many_times_at_once_counts_once() {
    let h = Harness::start().await;
    let ac = h.account().await;
    h.advance("2026-04-20T00:00:00Z").await;
    for round in 0..10 {
        let id = format!("e{round}");
        h.record(vec![event(&id, &ac, "2026-04-02T00:00:00Z", "5.00")])
            .await
            .unwrap();
        let calls =
            (0..16).map(|_| h.record(vec![event(&id, &ac, "2026-04-02T00:00:00Z", "7.00")]));
        let answers = futures::future::join_all(calls).await;
        let corrected: i64 = answers
            .into_iter()
            .map(|it| it.unwrap().corrected_count)
            .sum();
        assert_eq!(corrected, 1);
    }
    assert_eq!(
        sums(&h, &ac, "2026-04", false).await,
        [("2026-04-01".to_owned(), "70.000000".to_owned(), 10)]
    );
}

#[tokio::test]
async fn many_small_lots_pay_one_invoice() {
    let h = Harness::start().await;
    let ac = h.account().await;
    sqlx::query(
        "INSERT INTO billing.lots SELECT root_id, gen_random_uuid(), 3, 0, 1000000, 1000000, created_at
         FROM billing.accounts, generate_series(1, 400)",
    )
    .execute(&h.db)
    .await
    .unwrap();
    h.change("2026-04-01T00:00:00Z", &ac, "business").await;
    h.advance("2026-05-01T00:00:00Z").await;
    let run = h.bill("2026-04").await;
    assert_eq!((run.invoice_count, run.parked_count), (1, 0));
    let paid = "SELECT count(*) FROM billing.lots WHERE remaining_micros = 0";
    assert_eq!(h.count(paid).await, 400);
}

#[tokio::test]
async fn expired_credit_is_no_balance() {
    let h = Harness::start().await;
    let ac = h.account().await;
    sqlx::query(
        "INSERT INTO billing.lots (lot_id, root_id, kind, priority, amount_micros, remaining_micros, created_at, expires_at)
         SELECT gen_random_uuid(), root_id, 2, 0, 9000000, 9000000, created_at, '2026-04-01' FROM billing.accounts",
    )
    .execute(&h.db)
    .await
    .unwrap();
    h.advance("2026-03-31T23:59:59Z").await;
    assert_eq!(h.balance(&ac).await, "9.000000");
    h.advance("2026-04-01T00:00:00Z").await;
    assert_eq!(h.balance(&ac).await, "0.000000");
}

#[tokio::test]
async fn batches_that_share_a_transaction_are_counted_and_refused_each_for_itself() {
    let h = Harness::start().await;
    let ac = h.account().await;
    h.advance("2026-04-20T00:00:00Z").await;
    let at = "2026-04-02T00:00:00Z";
    let calls = (0..60).map(|n| {
        let events = match n % 20 {
            // More than a sum can hold: this batch is refused, and takes no other with it.
            7 => vec![
                event(&format!("a{n}"), &ac, at, "9000000000000.00"),
                event(&format!("b{n}"), &ac, at, "9000000000000.00"),
            ],
            // The same event within one batch: new, then repeated.
            8 => vec![
                event(&format!("c{n}"), &ac, at, "1.00"),
                event(&format!("c{n}"), &ac, at, "1.00"),
            ],
            _ => vec![event(&format!("d{n}"), &ac, at, "1.00")],
        };
        h.record(events)
    });
    for (answer, n) in futures::future::join_all(calls).await.into_iter().zip(0..) {
        match n % 20 {
            7 => assert_eq!(reason(&answer.unwrap_err()), "INVALID_FIELD"),
            8 => {
                let counts = answer.unwrap();
                assert_eq!(
                    (counts.recorded_count, counts.repeated_count),
                    (1, 1),
                    "{n}"
                );
            }
            _ => assert_eq!(answer.unwrap().recorded_count, 1, "{n}"),
        }
    }
    let expected = [("2026-04-01".to_owned(), "57.000000".to_owned(), 57)];
    assert_eq!(sums(&h, &ac, "2026-04", false).await, expected);
}

async fn unbilled_sums(h: &Harness, account_id: &str, month: &str) -> Vec<(String, i64)> {
    let request = billing::SummarizeUsageRequest {
        account_id: account_id.to_owned(),
        month: month.to_owned(),
        daily: false,
    };
    let found = h.operator.billing.clone().summarize_usage(request).await;
    let sums = found.unwrap().into_inner().unbilled_sums;
    sums.into_iter()
        .map(|it| (it.price.unwrap().amount, it.event_count))
        .collect()
}

#[tokio::test]
async fn req_075_usage_of_a_contract_member_from_its_closing_on_is_not_in_the_pool() {
    let h = Harness::start().await;
    h.advance("2026-04-01T00:00:00Z").await;
    let (payer, member) = (h.account().await, h.account().await);
    h.contract("business", &[&payer, &member]).await;
    h.used(&payer, "2026-04-01T01:00:00Z", "42000.00").await;
    h.advance("2026-04-10T12:00:00Z").await;
    close(&h.operator_with("SALES"), &member).await.unwrap();

    // The very instant, the afternoon of the closing, and three days later.
    let afternoon = [
        event("instant", &member, "2026-04-10T12:00:00Z", "1000.00"),
        event("afternoon", &member, "2026-04-10T15:00:00Z", "50000.00"),
    ];
    let answer = h.record(afternoon.to_vec()).await.unwrap();
    assert_eq!((answer.recorded_count, answer.unbilled_count), (2, 2));
    assert_eq!(answer.unbilled_account_ids, std::slice::from_ref(&member));
    h.advance("2026-04-13T12:00:00Z").await;
    let request = billing::StreamUsageRequest {
        source: "test".to_owned(),
        events: vec![
            event("later", &member, "2026-04-13T12:00:00Z", "50000.00"),
            event("afternoon", &member, "2026-04-10T15:00:00Z", "50000.00"),
        ],
    };
    let stream = tokio_stream::iter([request.clone(), request]);
    let answer = h.operator.billing.clone().stream_usage(stream).await;
    let answer = answer.unwrap().into_inner();
    assert_eq!((answer.recorded_count, answer.repeated_count), (1, 3));
    assert_eq!((answer.unbilled_count, answer.rejected_count), (4, 0));
    assert_eq!(answer.unbilled_account_ids, std::slice::from_ref(&member));

    // It is kept, shown as what it is, and in no sum that is billed.
    assert!(sums(&h, &member, "2026-04", false).await.is_empty());
    assert!(sums(&h, &member, "2026-04", true).await.is_empty());
    assert_eq!(
        unbilled_sums(&h, &member, "2026-04").await,
        [("101000.000000".to_owned(), 3)]
    );
    h.advance("2026-05-02T06:00:00Z").await;
    h.bill("2026-04").await;
    let lines = h.lines(&payer).await;
    let cents = |it: &str| it.replace('.', "").parse::<i64>().unwrap();
    let total: i64 = lines.iter().map(|it| cents(&it.2)).sum();
    assert_eq!(total, 2520_00, "6 % of 42,000.00: {lines:?}");
    consistent(&h).await;
}

#[tokio::test]
async fn usage_of_a_subaccount_is_billed_by_when_it_was_used_and_not_by_when_it_arrives() {
    let h = Harness::start().await;
    let root = h.account().await;
    let sub = h.subaccount(&root).await;
    h.change("2026-04-01T00:00:00Z", &root, "business").await;
    h.used(&root, "2026-04-01T01:00:00Z", "30000.00").await;
    h.advance("2026-04-10T12:00:00Z").await;
    close(&h.customer(), &sub).await.unwrap();
    h.advance("2026-04-13T12:00:00Z").await;
    let events = vec![
        event("before", &sub, "2026-04-10T11:59:59Z", "10000.00"),
        event("after", &sub, "2026-04-10T12:00:01Z", "20000.00"),
        event("open", &root, "2026-04-13T00:00:00Z", "5000.00"),
    ];
    let answer = h.record(events).await.unwrap();
    assert_eq!((answer.recorded_count, answer.unbilled_count), (3, 1));
    assert_eq!(answer.unbilled_account_ids, std::slice::from_ref(&sub));
    assert_eq!(
        sums(&h, &root, "2026-04", false).await,
        [("2026-04-01".to_owned(), "45000.000000".to_owned(), 3)]
    );
    // A correction goes by the time that it says.
    let moved = vec![
        event("before", &sub, "2026-04-10T12:00:00Z", "10000.00"),
        event("after", &sub, "2026-04-10T11:00:00Z", "20000.00"),
    ];
    let answer = h.record(moved).await.unwrap();
    assert_eq!((answer.corrected_count, answer.unbilled_count), (2, 1));
    assert_eq!(
        sums(&h, &root, "2026-04", false).await,
        [("2026-04-01".to_owned(), "55000.000000".to_owned(), 3)]
    );
}

#[tokio::test]
async fn a_closing_holds_off_the_usage_of_its_own_root_and_not_of_all() {
    let h = Harness::start().await;
    let lock = |id: &str| {
        let root = id.parse::<AccountId>().unwrap().uuid();
        -1 - i32::from(root.as_bytes()[15] % 64)
    };
    let closing = h.account().await;
    let mut other = h.account().await;
    while lock(&other) == lock(&closing) {
        other = h.account().await;
    }
    // As a closing that is being told of.
    let mut told = h.db.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock(7302, $1)")
        .bind(lock(&closing))
        .execute(&mut *told)
        .await
        .unwrap();
    let at = "2026-03-01T12:00:00Z";
    let brief = Duration::from_secs(5);
    let goes_on = tokio::time::timeout(brief, h.used(&other, at, "1.00"));
    assert!(goes_on.await.is_ok());
    let brief = Duration::from_millis(500);
    let held = h.record(vec![event("held", &closing, at, "1.00")]);
    assert!(tokio::time::timeout(brief, held).await.is_err());
    told.rollback().await.unwrap();
    h.used(&closing, at, "1.00").await;
}

#[tokio::test]
async fn messages_of_a_closed_subaccount_cost_nothing_also_when_they_came_before_billing_was_told()
{
    let shop = Shop::start().await;
    let h = &shop.h;
    let root = subscriber(&shop, "tok_ok_visa").await;
    let sub = h.subaccount(&root).await;
    h.advance("2026-04-20T06:00:00Z").await;
    assert_eq!(h.balance(&root).await, "1000.000000");
    // A source whose clock is ahead: recorded before the closing, used after it.
    let early = rated("early", &sub, "sms", "2026-04-20T07:00:00Z", "100");
    let before = rated("before", &sub, "sms", "2026-04-20T05:00:00Z", "50");
    h.record(vec![early.clone(), before]).await.unwrap();
    assert_eq!(h.balance(&root).await, "970.000000");
    close(&h.customer(), &sub).await.unwrap();
    assert_eq!(h.balance(&root).await, "990.000000", "20.00 came back");

    h.advance("2026-04-23T06:00:00Z").await;
    let later = rated("later", &sub, "sms", "2026-04-23T06:00:00Z", "1000");
    let late = rated("late", &sub, "sms", "2026-04-20T05:59:59Z", "10");
    let answer = h.record(vec![early, later, late]).await.unwrap();
    assert_eq!(
        (
            answer.recorded_count,
            answer.repeated_count,
            answer.unbilled_count
        ),
        (2, 1, 2)
    );
    assert_eq!(answer.unbilled_account_ids, std::slice::from_ref(&sub));
    assert_eq!(h.balance(&root).await, "988.000000", "ten that were before");

    let request = billing::ListUsageRequest {
        account_id: sub.clone(),
        month: "2026-04".to_owned(),
        ..billing::ListUsageRequest::default()
    };
    let found = h.operator.billing.clone().list_usage(request).await;
    let records = found.unwrap().into_inner().records;
    let shown: Vec<_> = records
        .iter()
        .map(|it| {
            let event = it.event.as_ref().unwrap();
            let price = event.price.as_ref().unwrap().amount.as_str();
            (event.event_id.as_str(), it.revision, it.unbilled, price)
        })
        .collect();
    for row in [
        ("early", 1, false, "20.000000"),
        ("early", 2, true, "0.000000"),
        ("later", 1, true, "0.000000"),
        ("late", 1, false, "2.000000"),
        ("before", 1, false, "10.000000"),
    ] {
        assert!(shown.contains(&row), "{row:?} in {shown:?}");
    }
    let unbilled = records.iter().filter(|it| it.unbilled);
    assert!(unbilled.clone().all(|it| it.billing_month.is_empty()));
    consistent(h).await;
}

#[tokio::test]
async fn d14_messages_that_arrive_after_their_closing_was_settled_are_kept_unbilled() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let root = subscriber(&shop, "tok_ok_visa").await;
    h.advance("2026-04-20T06:00:00Z").await;
    let early = rated("early", &root, "sms", "2026-04-20T05:00:00Z", "100");
    h.record(vec![early.clone()]).await.unwrap();
    close(&h.customer(), &root).await.unwrap();
    h.advance("2026-04-23T06:00:00Z").await;
    let late = rated("late", &root, "sms", "2026-04-20T05:30:00Z", "10");
    let answer = h.record(vec![early, late.clone(), late.clone()]).await;
    let answer = answer.unwrap();
    assert_eq!(
        (answer.recorded_count, answer.repeated_count),
        (1, 2),
        "what was settled stays so"
    );
    assert_eq!((answer.corrected_count, answer.late_count), (0, 0));
    assert_eq!(answer.unbilled_count, 2, "each time it comes");
    assert_eq!(answer.unbilled_account_ids, std::slice::from_ref(&root));
    assert_eq!(
        unbilled_sums(h, &root, "2026-04").await,
        [("0.000000".to_owned(), 1)]
    );
    let again = h.record(vec![late]).await.unwrap();
    assert_eq!((again.repeated_count, again.unbilled_count), (1, 1));
    consistent(h).await;
}

#[tokio::test]
async fn usage_of_an_erased_account_is_refused_event_by_event() {
    let h = Harness::start().await;
    let (gone, open) = (h.account().await, h.account().await);
    let sub = h.subaccount(&gone).await;
    close(&h.customer(), &gone).await.unwrap();
    // The whole tree is closed, and kept for thirty days.
    let early = event("early", &sub, "2026-03-01T13:00:00Z", "1.00");
    let answer = h.record(vec![early]).await.unwrap();
    assert_eq!((answer.unbilled_count, answer.rejections.len()), (1, 0));
    h.advance("2026-04-01T12:00:00Z").await;
    let events = vec![
        event("of-root", &gone, "2026-03-01T11:00:00Z", "1.00"),
        event("of-sub", &sub, "2026-04-01T11:00:00Z", "1.00"),
        event("of-other", &open, "2026-04-01T11:00:00Z", "1.00"),
    ];
    let answer = h.record(events).await.unwrap();
    assert_eq!((answer.recorded_count, answer.unbilled_count), (1, 0));
    let refused: Vec<_> = answer
        .rejections
        .iter()
        .map(|it| (it.event_id.as_str(), it.account_id.as_str(), it.reason()))
        .collect();
    let why = billing::usage_rejection::Reason::AccountErased;
    assert_eq!(
        refused,
        [
            ("of-root", gone.as_str(), why),
            ("of-sub", sub.as_str(), why)
        ]
    );
    let left = "SELECT count(*) FROM billing.usage_events WHERE event_id <> 'of-other'";
    assert_eq!(h.count(left).await, 0);
}
