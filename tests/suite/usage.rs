//! Usage: repeated, corrected, late and broken.

use perdiem::connect::request_id;
use perdiem::usage::{Import, OnBroken, import};
use proto::billing::v1 as billing;
use tonic::Code;

use crate::harness::{Harness, data, event, instant, reason};

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
    assert_eq!(reason(&range), "AMOUNT_OUT_OF_RANGE");
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
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
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
            7 => assert_eq!(reason(&answer.unwrap_err()), "AMOUNT_OUT_OF_RANGE"),
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
