//! The ledger over time: credit that expires, and statements that add up.

use perdiem::connect::{request_id, timestamp};
use proto::billing::v1 as billing;
use proto::billing::v1::lot::Kind;
use proto::r#type::v1::Amount;

use tonic::Status;

use crate::harness::{Harness, instant, reason};

async fn grant(h: &Harness, account_id: &str, kind: Kind, amount: &str, expires: Option<&str>) {
    let request = billing::GrantCreditRequest {
        priority: 0,
        account_id: account_id.to_owned(),
        kind: kind.into(),
        amount: Some(Amount {
            currency_code: "USD".to_owned(),
            amount: amount.to_owned(),
        }),
        expire_time: expires.map(|at| timestamp(instant(at))),
        reason: "test".to_owned(),
        request_id: request_id(),
    };
    h.operator
        .billing
        .clone()
        .grant_credit(request)
        .await
        .unwrap();
}

async fn statement(h: &Harness, account_id: &str, month: &str) -> billing::GetStatementResponse {
    let request = billing::GetStatementRequest {
        account_id: account_id.to_owned(),
        month: month.to_owned(),
    };
    let mut client = h.operator.billing.clone();
    client.get_statement(request).await.unwrap().into_inner()
}

/// Millionths of an amount such as "-12.500000".
fn micros(amount: Option<&Amount>) -> i64 {
    let text = &amount.unwrap().amount;
    values::Amount::parse(text, values::Currency::Usd)
        .unwrap()
        .micros()
}

/// What the entries of a statement change of the balance.
fn moved(statement: &billing::GetStatementResponse) -> i64 {
    const CUSTOMERS: [&str; 4] = ["TRIAL", "PROMO", "PAID", "OVERDRAFT"];
    let counts = |account: &str| i64::from(CUSTOMERS.contains(&account));
    let change = |it: &billing::LedgerEntry| {
        micros(it.amount.as_ref()) * (counts(&it.credit_account) - counts(&it.debit_account))
    };
    statement.entries.iter().map(change).sum()
}

#[tokio::test]
async fn credit_is_forfeited_at_its_expiry_and_not_a_moment_before() {
    let h = Harness::start().await;
    let ac = h.account().await;
    grant(
        &h,
        &ac,
        Kind::Promo,
        "20.000001",
        Some("2026-03-10T00:00:00Z"),
    )
    .await;
    grant(&h, &ac, Kind::Paid, "30.00", None).await;

    h.advance("2026-03-09T23:59:59Z").await;
    assert_eq!(h.balance(&ac).await, "50.000001");
    let forfeited = "SELECT count(*) FROM billing.ledger_entries WHERE credit = 10";
    assert_eq!(h.count(forfeited).await, 0);

    h.advance("2026-03-10T00:00:00Z").await;
    assert_eq!(h.balance(&ac).await, "30.000000");
    assert_eq!(h.count(forfeited).await, 1);

    h.advance("2026-04-02T00:00:00Z").await;
    assert_eq!(h.count(forfeited).await, 1, "once");
    let march = statement(&h, &ac, "2026-03").await;
    let expired = march.entries.last().unwrap();
    assert_eq!(
        (
            expired.debit_account.as_str(),
            expired.credit_account.as_str(),
            expired.reason.as_str()
        ),
        ("PROMO", "FORFEITED", "EXPIRED")
    );
    assert_eq!(micros(expired.amount.as_ref()), 20_000_001);
    assert_eq!(
        expired.post_time,
        Some(timestamp(instant("2026-03-10T00:00:00Z")))
    );
    let mut client = h.operator.billing.clone();
    let reconciled = client
        .reconcile(billing::ReconcileRequest::default())
        .await
        .unwrap();
    assert_eq!(reconciled.into_inner().differences, Vec::<String>::new());
}

#[tokio::test]
async fn credit_that_was_valid_at_a_cut_off_is_left_until_the_run_has_ended() {
    let h = Harness::start().await;
    h.import_as(
        "v2",
        &[(
            "run_approval: {SUPPORT: NOT_REQUIRED}",
            "run_approval: {SUPPORT: REQUIRED}",
        )],
    )
    .await;
    let ac = h.account().await;
    grant(&h, &ac, Kind::Promo, "700.00", Some("2026-04-02T00:00:00Z")).await;
    h.change("2026-03-20T10:00:00Z", &ac, "business").await;
    h.advance("2026-04-01T00:00:00Z").await;
    let run = h.bill("2026-03").await;
    // The run waits for approval until after the expiry, and settles as of its cut-off.
    h.advance("2026-04-04T00:00:00Z").await;
    let forfeited = "SELECT count(*) FROM billing.ledger_entries WHERE credit = 10";
    assert_eq!(h.count(forfeited).await, 0);
    let approve = billing::ApproveBillingRunRequest {
        billing_run_id: run.billing_run_id.clone(),
        request_id: request_id(),
    };
    let mut client = h.operator.billing.clone();
    client.approve_billing_run(approve).await.unwrap();
    perdiem::run::watch(&h.operator, &run.billing_run_id, true)
        .await
        .unwrap();
    h.advance("2026-04-04T01:00:00Z").await;
    let left: i64 = h
        .count("SELECT coalesce(sum(amount_micros), 0)::bigint FROM billing.ledger_entries WHERE credit = 10")
        .await;
    // 1,500.00 for 12 of 31 days is 580.65; the rest of 700.00 is forfeited.
    assert_eq!(
        (left, h.balance(&ac).await.as_str()),
        (119_350_000, "0.000000")
    );
}

#[tokio::test]
async fn credit_of_a_lower_number_is_spent_before_all_other() {
    let h = Harness::start().await;
    let ac = h.account().await;
    let mut client = h.operator.billing.clone();
    let request = |kind: Kind, priority| billing::GrantCreditRequest {
        account_id: ac.clone(),
        kind: kind.into(),
        amount: Some(Amount {
            currency_code: "USD".to_owned(),
            amount: "300.00".to_owned(),
        }),
        reason: "test".to_owned(),
        priority,
        request_id: request_id(),
        ..billing::GrantCreditRequest::default()
    };
    for (kind, priority) in [(Kind::Promo, 0), (Kind::Trial, 1), (Kind::Paid, -1)] {
        client.grant_credit(request(kind, priority)).await.unwrap();
    }
    let status = client.grant_credit(request(Kind::Promo, 101)).await;
    assert_eq!(reason(&status.unwrap_err()), "INVALID_FIELD");
    h.change("2026-03-20T10:00:00Z", &ac, "business").await;
    h.advance("2026-04-01T00:00:00Z").await;
    h.bill("2026-03").await;
    // 1,500.00 for 12 of 31 days is 580.65.
    let request = billing::GetBalanceRequest {
        account_id: ac.clone(),
        read_time: None,
    };
    let lots = client.get_balance(request).await.unwrap().into_inner().lots;
    let left = |it: &billing::Lot| (it.kind(), it.priority, micros(it.remaining.as_ref()));
    assert_eq!(
        lots.iter().map(left).collect::<Vec<_>>(),
        [(Kind::Promo, 0, 19_350_000), (Kind::Trial, 1, 300_000_000)]
    );
}

#[tokio::test]
async fn entries_that_no_lot_balance_or_refund_knows_are_told_by_reconcile() {
    let h = Harness::start().await;
    let ac = h.account().await;
    grant(&h, &ac, Kind::Promo, "20.00", None).await;
    for (debit, credit, lot, told) in [
        (13, 2, "gen_random_uuid()", "lot "),
        (4, 6, "NULL", "overdraft of "),
        (5, 6, "NULL", "open invoices of "),
        (8, 9, "NULL", "refunds of "),
    ] {
        let sql = format!(
            "INSERT INTO billing.ledger_entries (root_id, posted_at, entry_id, debit, credit, amount_micros, currency,
                                                 reason, lot_id)
             VALUES (gen_random_uuid(), now(), gen_random_uuid(), {debit}, {credit}, 5, 'USD', 'TEST', {lot})"
        );
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(&h.db)
            .await
            .unwrap();
        let mut client = h.operator.billing.clone();
        let request = billing::ReconcileRequest::default();
        let differences = client.reconcile(request).await.unwrap().into_inner();
        let differences = differences.differences;
        assert!(
            differences.iter().any(|it| it.starts_with(told)),
            "{told}: {differences:?}"
        );
    }
}

#[tokio::test]
async fn a_statement_opens_where_the_month_before_closed_and_adds_up() {
    let h = Harness::start().await;
    let ac = h.account().await;
    grant(&h, &ac, Kind::Paid, "100.00", None).await;
    h.change("2026-03-20T10:00:00Z", &ac, "business").await;
    h.advance("2026-04-01T00:00:00Z").await;
    h.bill("2026-03").await;
    h.advance("2026-04-10T00:00:00Z").await;
    grant(&h, &ac, Kind::Paid, "1000.00", None).await;

    let (march, april) = (
        statement(&h, &ac, "2026-03").await,
        statement(&h, &ac, "2026-04").await,
    );
    assert_eq!(
        (
            micros(march.opening_balance.as_ref()),
            micros(march.closing_balance.as_ref())
        ),
        (0, 100_000_000)
    );
    assert_eq!(march.closing_balance, april.opening_balance);
    // 1,500.00 for 12 of 31 days: 580.65, of which 100.00 was there; then 1,000.00 came.
    assert_eq!(micros(april.closing_balance.as_ref()), 519_350_000);
    for statement in [march, april] {
        let (opening, closing) = (
            statement.opening_balance.as_ref(),
            statement.closing_balance.as_ref(),
        );
        assert_eq!(micros(opening) + moved(&statement), micros(closing));
    }
    assert_eq!(h.balance(&ac).await, "519.350000");
}

#[tokio::test]
async fn an_open_invoice_is_undone_or_written_off_once_and_a_paid_one_never() {
    let h = Harness::start().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(h.account_of("global", true).await);
    }
    let prepaid = h.account().await;
    for ac in open.iter().chain([&prepaid]) {
        h.change("2026-03-20T10:00:00Z", ac, "business").await;
    }
    h.advance("2026-04-01T00:00:00Z").await;
    h.bill("2026-03").await;
    let invoice_of = async |ac: &String| h.invoices(ac).await.remove(0).invoice_id;
    let void = async |invoice_id: String| {
        let request = billing::VoidInvoiceRequest {
            invoice_id,
            reason: "issued by mistake".to_owned(),
            request_id: request_id(),
        };
        let voided = h.operator.billing.clone().void_invoice(request).await?;
        Ok::<_, Status>(voided.into_inner().invoice.unwrap())
    };
    let write_off = async |invoice_id: String| {
        let request = billing::MarkInvoiceUncollectibleRequest {
            invoice_id,
            request_id: request_id(),
        };
        let mut client = h.operator.billing.clone();
        let marked = client.mark_invoice_uncollectible(request).await?;
        Ok::<_, Status>(marked.into_inner().invoice.unwrap())
    };

    let voided = void(invoice_of(&open[0]).await).await.unwrap();
    assert_eq!(voided.state(), billing::invoice::State::Void);
    assert_eq!(voided.amount_due.unwrap().amount, "0.00");
    let written_off = write_off(invoice_of(&open[1]).await).await.unwrap();
    assert_eq!(written_off.state(), billing::invoice::State::Uncollectible);
    for refused in [
        void(invoice_of(&open[0]).await).await.unwrap_err(),
        void(invoice_of(&open[1]).await).await.unwrap_err(),
        write_off(invoice_of(&open[0]).await).await.unwrap_err(),
        void(invoice_of(&prepaid).await).await.unwrap_err(),
    ] {
        assert_eq!(reason(&refused), "INVOICE_NOT_OPEN");
    }

    // Both at once, many times: one of them.
    let contested = invoice_of(&open[2]).await;
    let (voids, writes) = tokio::join!(
        futures::future::join_all((0..8).map(|_| void(contested.clone()))),
        futures::future::join_all((0..8).map(|_| write_off(contested.clone()))),
    );
    let won = voids.iter().chain(&writes).filter(|it| it.is_ok()).count();
    assert_eq!(won, 1);
    let entries =
        "SELECT count(*) FROM billing.ledger_entries WHERE reason IN ('VOID', 'UNCOLLECTIBLE')";
    assert_eq!(h.count(entries).await, 3);
    let receivable = "SELECT sum(CASE WHEN debit = 5 THEN amount_micros ELSE 0 END - CASE WHEN credit = 5 THEN amount_micros ELSE 0 END)::bigint FROM billing.ledger_entries";
    assert_eq!(h.count(receivable).await, 0);
    let mut client = h.operator.billing.clone();
    let reconciled = client
        .reconcile(billing::ReconcileRequest::default())
        .await
        .unwrap();
    assert_eq!(reconciled.into_inner().differences, Vec::<String>::new());
}
