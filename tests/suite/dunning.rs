//! Open invoices: what accounts that pay by invoice owe, its taxes, when it is due, and whatever pays it.

use std::sync::Arc;

use perdiem::connect::request_id;
use proto::account::v1 as account;
use proto::account::v1::create_order_request::Kind;
use proto::billing::v1 as billing;
use proto::billing::v1::invoice::State;
use proto::payments::v1 as payments;
use proto::r#type::v1::Money;
use serde_json::json;
use tokio::sync::Barrier;
use tonic::{Code, Status};

use crate::harness::{BY_HAND, PATIENCE};
use crate::money::{Shop, amount, rated, refused, taxes};
use crate::stripe::{Fake, send};

const MAY: &str = "2026-05-01T00:00:00Z";

#[expect(clippy::unnecessary_wraps, reason = "as the fields of messages are")]
fn dollars(amount: &str) -> Option<Money> {
    Some(Money {
        currency_code: "USD".to_owned(),
        amount: amount.to_owned(),
    })
}

/// An account that pays by invoice, in India where tax is asked, with an open invoice of April over 1,280.00 and tax.
async fn owing(shop: &Shop) -> (String, billing::Invoice) {
    let h = &shop.h;
    h.import_as("by-hand", &[BY_HAND]).await;
    let id = h.account_of("global", true).await;
    shop.live_in(&id, "IN", "KA", false).await;
    h.change("2026-04-15T10:00:00Z", &id, "business").await;
    h.used(&id, "2026-04-15T00:00:00Z", "40000.00").await;
    h.advance(MAY).await;
    h.bill("2026-04").await;
    // Whoever is to be told of it has been.
    h.advance("2026-05-01T00:00:01Z").await;
    let invoice = h.invoices(&id).await.remove(0);
    (id, invoice)
}

async fn record(
    shop: &Shop,
    request: &billing::RecordInvoicePaymentRequest,
) -> Result<billing::Invoice, Status> {
    let mut client = shop.h.operator_with("BILLING").billing;
    let answer = client.record_invoice_payment(request.clone()).await?;
    Ok(answer.into_inner().invoice.unwrap())
}

fn wire(
    invoice: &billing::Invoice,
    of: &str,
    reference: &str,
) -> billing::RecordInvoicePaymentRequest {
    billing::RecordInvoicePaymentRequest {
        invoice_id: invoice.invoice_id.clone(),
        amount: dollars(of),
        reference: reference.to_owned(),
        received_date: "2026-05-01".to_owned(),
        request_id: request_id(),
    }
}

/// Ends an invoice without its being paid: as void, or written off.
async fn end(shop: &Shop, invoice: &str, void: bool) -> Result<(), Status> {
    let mut client = shop.h.operator.billing.clone();
    let invoice_id = invoice.to_owned();
    if void {
        let request = billing::VoidInvoiceRequest {
            invoice_id,
            reason: "an error".to_owned(),
            request_id: request_id(),
        };
        client.void_invoice(request).await.map(|_| ())
    } else {
        let request = billing::MarkInvoiceUncollectibleRequest {
            invoice_id,
            request_id: request_id(),
        };
        client.mark_invoice_uncollectible(request).await.map(|_| ())
    }
}

/// What an owner was told of invoices, oldest first: kind, amount due, due date and reason.
async fn told(shop: &Shop, id: &str) -> Vec<String> {
    told_of(shop, id, "INVOICE_").await
}

/// The receipts that an account was sent for payments of open invoices, oldest first.
async fn receipts(shop: &Shop, id: &str) -> Vec<String> {
    told_of(shop, id, "PAYMENT_RECEIVED").await
}

/// The notifications of an account of the kinds with a prefix, with their facts, oldest first.
async fn told_of(shop: &Shop, id: &str, prefix: &str) -> Vec<String> {
    let request = account::ListNotificationsRequest {
        account_id: id.to_owned(),
        ..account::ListNotificationsRequest::default()
    };
    let mut client = shop.h.customer().account;
    let answer = client.list_notifications(request).await.unwrap();
    let mut told: Vec<String> = answer
        .into_inner()
        .notifications
        .into_iter()
        .filter(|it| it.kind_code.starts_with(prefix))
        .map(|it| {
            let facts: Vec<String> = it
                .facts
                .into_iter()
                .filter(|fact| fact.name != "invoice_number")
                .map(|fact| fact.value)
                .collect();
            format!("{} {}", it.kind_code, facts.join(" "))
        })
        .collect();
    told.reverse();
    told
}

/// An order that pays an invoice, confirmed and committed.
async fn paid(
    shop: &Shop,
    id: &str,
    (invoice, method): (&str, &str),
) -> Result<account::Order, Status> {
    let customer = shop.h.customer();
    let request = account::CreateOrderRequest {
        account_id: id.to_owned(),
        kind: Some(Kind::InvoicePayment(account::InvoicePayment {
            invoice_id: invoice.to_owned(),
            payment_method_id: method.to_owned(),
        })),
        request_id: request_id(),
    };
    let quoted = customer.account.clone().create_order(request).await?;
    let order = quoted.into_inner().order.unwrap();
    assert_eq!(order.kind(), account::order::Kind::PayInvoice);
    shop.h.confirm(&customer, &order).await?;
    shop.h.commit(&customer, &order).await
}

#[tokio::test]
async fn an_open_invoice_has_its_taxes_and_is_due_by_the_terms_of_the_profile() {
    let shop = Shop::start().await;
    let (id, invoice) = owing(&shop).await;
    let igst = [("IGST", 1800, "230.40")];
    assert_eq!(taxes(&invoice.taxes), igst);
    assert_eq!(
        (amount(&invoice.total), amount(&invoice.amount_due)),
        ("1510.40", "1510.40")
    );
    assert_eq!(
        (invoice.state(), invoice.due_date.as_str()),
        (State::Open, "2026-05-31")
    );
    // What was previewed is what was billed.
    let request = billing::PreviewInvoiceRequest {
        account_id: id.clone(),
        family_code: "SUPPORT".to_owned(),
        month: "2026-04".to_owned(),
        ..billing::PreviewInvoiceRequest::default()
    };
    let mut client = shop.h.operator.billing.clone();
    let previewed = client.preview_invoice(request).await.unwrap().into_inner();
    let previewed = previewed.invoice.unwrap();
    assert_eq!(taxes(&previewed.taxes), igst);
    assert_eq!(amount(&previewed.total), "1510.40");
    // Tax is owed to its office, and is none of what was earned.
    let to = async |account: i64| {
        let sql = match account {
            6 => {
                "SELECT coalesce(sum(CASE WHEN credit = 6 THEN amount_micros ELSE -amount_micros END), 0)::bigint FROM billing.ledger_entries WHERE 6 IN (debit, credit)"
            }
            _ => {
                "SELECT coalesce(sum(CASE WHEN credit = 7 THEN amount_micros ELSE -amount_micros END), 0)::bigint FROM billing.ledger_entries WHERE 7 IN (debit, credit)"
            }
        };
        shop.h.count(sql).await
    };
    assert_eq!((to(6).await, to(7).await), (1_280_000_000, 230_400_000));
    shop.reconciles().await;

    // Its owner is told of it, with it; the same month billed for a prepaid account has no tax: its credit had.
    assert_eq!(
        told(&shop, &id).await,
        ["INVOICE_ISSUED USD 1510.40 2026-05-31"]
    );
    let request = billing::ListInvoicesRequest {
        only_open: true,
        ..billing::ListInvoicesRequest::default()
    };
    let open = client.list_invoices(request.clone()).await.unwrap();
    assert_eq!(open.into_inner().invoices.len(), 1);

    // Part of it is credited: its share of tax too. What is left is undone.
    let note = billing::CreateCreditNoteRequest {
        invoice_id: invoice.invoice_id.clone(),
        amount: dollars("151.04"),
        reason: "a day".to_owned(),
        request_id: request_id(),
        ..billing::CreateCreditNoteRequest::default()
    };
    client.create_credit_note(note).await.unwrap();
    assert_eq!((to(6).await, to(7).await), (1_152_000_000, 207_360_000));
    shop.reconciles().await;
    end(&shop, &invoice.invoice_id, true).await.unwrap();
    assert_eq!((to(6).await, to(7).await), (0, 0));
    shop.reconciles().await;
    let open = client.list_invoices(request).await.unwrap();
    assert!(open.into_inner().invoices.is_empty());
    shop.h.advance("2026-06-10T00:00:00Z").await;
    assert_eq!(
        told(&shop, &id).await.len(),
        1,
        "one that is void is not asked for"
    );
}

#[tokio::test]
async fn an_invoice_is_paid_by_the_account_s_method_when_it_is_due() {
    let shop = Shop::start().await;
    let (id, invoice) = owing(&shop).await;
    shop.card(&id, "tok_ok").await;
    shop.h.advance("2026-05-30T23:59:59Z").await;
    assert_eq!(shop.invoice(&invoice.invoice_id).await.state(), State::Open);
    shop.h.advance("2026-05-31T00:00:01Z").await;
    let paid = shop.invoice(&invoice.invoice_id).await;
    assert_eq!(
        (
            paid.state(),
            amount(&paid.paid_by_charge),
            amount(&paid.amount_due)
        ),
        (State::Paid, "1510.40", "0.00")
    );
    assert_eq!(
        told(&shop, &id).await.len(),
        1,
        "it was issued, and is never overdue"
    );
    shop.h.advance("2026-06-20T00:00:00Z").await;
    assert_eq!(
        shop.h
            .count("SELECT count(*) FROM payments.movements")
            .await,
        1
    );
    assert_eq!(shop.h.balance(&id).await, "0.000000");
    shop.reconciles().await;
}

#[tokio::test]
async fn one_that_can_t_be_paid_is_asked_for_again_and_paid_by_order() {
    let shop = Shop::start().await;
    let (id, invoice) = owing(&shop).await;
    let overdue = "INVOICE_OVERDUE USD 1510.40 2026-05-31 NO_PAYMENT_METHOD";
    for (until, times) in [
        ("2026-05-30T12:00:00Z", 0),
        ("2026-05-31T12:00:00Z", 1),
        ("2026-06-01T12:00:00Z", 2),
        ("2026-06-02T12:00:00Z", 2),
        ("2026-06-03T12:00:00Z", 3),
        ("2026-06-07T12:00:00Z", 4),
        ("2026-07-15T12:00:00Z", 4),
    ] {
        shop.h.advance(until).await;
        let told = told(&shop, &id).await;
        assert_eq!(told.len(), times + 1, "{until}: {told:?}");
        assert!(told.iter().skip(1).all(|it| it == overdue), "{told:?}");
    }
    assert_eq!(shop.invoice(&invoice.invoice_id).await.state(), State::Open);

    // Another's invoice is none; a card that declines pays nothing; one that works pays all, once.
    let other = shop.h.account_of("global", true).await;
    shop.live_in(&other, "US", "", false).await;
    let foreign = shop.card(&other, "tok_ok").await;
    assert_eq!(
        refused(paid(&shop, &other, (&invoice.invoice_id, &foreign)).await),
        (Code::NotFound, "INVOICE_NOT_FOUND".to_owned())
    );
    // Not even its sum is told.
    let orders = "SELECT count(*) FROM account.orders WHERE kind = 'PAY_INVOICE'";
    assert_eq!(shop.h.count(orders).await, 0);
    let bad = shop.card(&id, "tok_declined_insufficient_funds").await;
    let declined = paid(&shop, &id, (&invoice.invoice_id, &bad)).await.unwrap();
    assert_eq!(declined.state(), account::order::State::Failed);
    assert_eq!(shop.invoice(&invoice.invoice_id).await.state(), State::Open);
    let good = shop.card(&id, "tok_ok").await;
    let done = paid(&shop, &id, (&invoice.invoice_id, &good))
        .await
        .unwrap();
    assert_eq!(done.state(), account::order::State::Completed);
    assert_eq!(amount(&done.total), "1510.40");
    assert_eq!(done.invoice_id, invoice.invoice_id);
    let now = shop.invoice(&invoice.invoice_id).await;
    assert_eq!(
        (now.state(), amount(&now.amount_due)),
        (State::Paid, "0.00")
    );
    assert_eq!(
        refused(paid(&shop, &id, (&invoice.invoice_id, &good)).await),
        (Code::FailedPrecondition, "NOTHING_DUE".to_owned())
    );
    assert_eq!(shop.h.balance(&id).await, "0.000000");
    // What a late customer pays is receipted, with the invoice; what was declined is not.
    shop.h.advance("2026-07-15T12:00:01Z").await;
    assert_eq!(receipts(&shop, &id).await, ["PAYMENT_RECEIVED USD 1510.40"]);
    let mails = perdiem::mail::list(&shop.h.suite.settings.mail_folder()).unwrap();
    let receipt: Vec<_> = mails
        .iter()
        .filter(|it| it.subject.starts_with("We have received $1,510.40"))
        .collect();
    assert_eq!(receipt.len(), 1);
    assert!(receipt[0].source.contains("application/pdf"));
    shop.reconciles().await;
}

#[tokio::test]
async fn a_payment_in_part_is_receipted_with_what_is_still_due_and_once_for_two_readers() {
    let mut shop = Shop::start().await;
    let (id, invoice) = owing(&shop).await;
    record(&shop, &wire(&invoice, "10.40", "W1")).await.unwrap();
    shop.h.advance("2026-05-01T00:00:02Z").await;
    let receipt = ["PAYMENT_RECEIVED USD 10.40 USD 1500.00"];
    assert_eq!(receipts(&shop, &id).await, receipt);
    // Told once more from the beginning, as to a replica that has just begun.
    let begin =
        "UPDATE account.watch_positions SET resume_token = '' WHERE source = 'billing.balances'";
    assert!(shop.h.suite.kill("account-lifecycle").await);
    sqlx::query(begin).execute(&shop.h.db).await.unwrap();
    shop.h.suite.spawn("account-lifecycle", &[]).unwrap();
    shop.h.suite.wait_for("account-lifecycle").await.unwrap();
    shop.h.advance("2026-05-01T00:00:03Z").await;
    assert_eq!(receipts(&shop, &id).await, receipt);
    assert_eq!(told(&shop, &id).await.len(), 1);
}

#[tokio::test]
async fn money_received_outside_is_recorded_once_and_never_beyond_what_is_due() {
    let shop = Shop::start().await;
    let (id, invoice) = owing(&shop).await;
    let mut client = shop.h.operator_with("SALES").billing;
    let denied = client
        .record_invoice_payment(wire(&invoice, "1.00", "W1"))
        .await;
    assert_eq!(denied.unwrap_err().code(), Code::PermissionDenied);
    let bad = |change: fn(&mut billing::RecordInvoicePaymentRequest)| {
        let mut request = wire(&invoice, "10.40", "W1");
        change(&mut request);
        request
    };
    for (request, code) in [
        (
            bad(|it| it.amount = dollars("1510.41")),
            Code::InvalidArgument,
        ),
        (bad(|it| it.amount = dollars("0.00")), Code::InvalidArgument),
        (
            bad(|it| it.amount.as_mut().unwrap().currency_code = "INR".to_owned()),
            Code::InvalidArgument,
        ),
        (
            bad(|it| it.received_date = "2026-05-02".to_owned()),
            Code::InvalidArgument,
        ),
        (
            bad(|it| it.received_date = "yesterday".to_owned()),
            Code::InvalidArgument,
        ),
        (
            bad(|it| it.reference = String::new()),
            Code::InvalidArgument,
        ),
        (
            bad(|it| it.invoice_id = format!("IN{}", "0".repeat(32))),
            Code::NotFound,
        ),
    ] {
        assert_eq!(
            record(&shop, &request).await.unwrap_err().code(),
            code,
            "{request:?}"
        );
    }
    let part = wire(&invoice, "10.40", "W1");
    let left = record(&shop, &part).await.unwrap();
    assert_eq!(
        (left.state(), amount(&left.amount_due)),
        (State::Open, "1500.00")
    );
    assert_eq!(
        refused(end(&shop, &invoice.invoice_id, true).await),
        (Code::FailedPrecondition, "INVOICE_PAID_IN_PART".to_owned())
    );
    // The same reference again: by a retry, by another person, and for another sum.
    assert_eq!(record(&shop, &part).await.unwrap(), left);
    assert_eq!(
        record(&shop, &wire(&invoice, "10.40", "W1")).await.unwrap(),
        left
    );
    assert_eq!(
        refused(record(&shop, &wire(&invoice, "10.41", "W1")).await),
        (Code::AlreadyExists, "PAYMENT_EXISTS".to_owned())
    );
    let rest = record(&shop, &wire(&invoice, "1500.00", "W2"))
        .await
        .unwrap();
    assert_eq!(
        (rest.state(), amount(&rest.amount_due)),
        (State::Paid, "0.00")
    );
    assert_eq!(
        refused(record(&shop, &wire(&invoice, "0.01", "W3")).await),
        (Code::FailedPrecondition, "INVOICE_NOT_OPEN".to_owned())
    );
    shop.h.advance("2026-06-20T00:00:00Z").await;
    assert_eq!(told(&shop, &id).await.len(), 1);
    assert_eq!(
        receipts(&shop, &id).await.len(),
        2,
        "each payment has its receipt, once"
    );
    let mut client = shop.h.operator.billing.clone();
    let answer = client.reconcile(billing::ReconcileRequest::default()).await;
    assert_eq!(
        answer.unwrap().into_inner().differences,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn a_credit_note_gives_back_no_more_than_the_charge_had_paid() {
    let shop = Shop::start().await;
    let (id, invoice) = owing(&shop).await;
    record(&shop, &wire(&invoice, "510.40", "W1"))
        .await
        .unwrap();
    let card = shop.card(&id, "tok_ok").await;
    let order = paid(&shop, &id, (&invoice.invoice_id, &card)).await;
    assert_eq!(amount(&order.unwrap().total), "1000.00");
    let note = async |of: &str| {
        let request = billing::CreateCreditNoteRequest {
            invoice_id: invoice.invoice_id.clone(),
            amount: dollars(of),
            reason: "most of it was down".to_owned(),
            request_id: request_id(),
            refund_to_charge: true,
        };
        let mut client = shop.h.operator.billing.clone();
        client.create_credit_note(request).await.map(|_| ())
    };
    let exceeds = (Code::FailedPrecondition, "CREDIT_EXCEEDS_CHARGE".to_owned());
    assert_eq!(refused(note("1000.01").await), exceeds);
    note("600.00").await.unwrap();
    assert_eq!(refused(note("400.01").await), exceeds);
    // What a bank took back of it is gone, too.
    let lost = "INSERT INTO billing.disputes (root_id, dispute_id, collection_id, withheld_minor, taken_micros)
                SELECT root_id, gen_random_uuid(), collection_id, 39999, 0 FROM billing.collections
                WHERE purpose = 'INVOICE' AND state = 'SUCCEEDED'";
    sqlx::query(lost).execute(&shop.h.db).await.unwrap();
    assert_eq!(refused(note("0.02").await), exceeds);
    note("0.01").await.unwrap();
}

#[tokio::test]
async fn of_many_who_pay_one_invoice_at_once_its_due_is_taken_once() {
    let shop = Arc::new(Shop::start().await);
    let (id, invoice) = owing(&shop).await;
    let card = shop.card(&id, "tok_ok").await;
    let barrier = Arc::new(Barrier::new(16));
    let mut calls = Vec::new();
    for n in 0..16 {
        let (shop, barrier, id) = (shop.clone(), barrier.clone(), id.clone());
        let (invoice, card) = (invoice.clone(), card.clone());
        calls.push(tokio::spawn(async move {
            barrier.wait().await;
            if n % 2 == 0 {
                let request = wire(&invoice, "1510.40", &format!("W{n}"));
                record(&shop, &request).await.map(|_| true)
            } else {
                let order = paid(&shop, &id, (&invoice.invoice_id, &card)).await?;
                Ok(order.state() == account::order::State::Completed)
            }
        }));
    }
    let mut won = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(true) => won += 1,
            Ok(false) => {}
            Err(status) => {
                let reason = crate::harness::reason(&status);
                let known = ["INVOICE_NOT_OPEN", "NOTHING_DUE", "PAYMENT_UNDER_WAY"];
                assert!(known.contains(&reason.as_str()), "{status:?}");
            }
        }
    }
    assert_eq!(won, 1);
    let paid = shop.invoice(&invoice.invoice_id).await;
    assert_eq!(
        (paid.state(), amount(&paid.paid_by_charge)),
        (State::Paid, "1510.40")
    );
    let taken = "SELECT coalesce(sum(amount_micros), 0)::bigint FROM billing.ledger_entries WHERE debit = 8";
    assert_eq!(shop.h.count(taken).await, 1_510_400_000);
    assert_eq!(shop.h.balance(&id).await, "0.000000");
}

#[tokio::test]
async fn money_for_an_invoice_that_was_undone_meanwhile_is_credit() {
    let shop = Shop::start().await;
    let (id, invoice) = owing(&shop).await;
    shop.card(&id, "tok_slow_ok").await;
    shop.h.advance("2026-05-31T00:00:01Z").await;
    let paying = "SELECT count(*) FROM billing.collections WHERE purpose = 'INVOICE' AND state = 'AWAITING_SETTLEMENT'";
    assert_eq!(shop.h.count(paying).await, 1);
    // No other payment begins, and none is recorded, while one is under way.
    assert_eq!(
        refused(record(&shop, &wire(&invoice, "1.00", "W1")).await),
        (Code::Aborted, "PAYMENT_UNDER_WAY".to_owned())
    );
    // Nor is it undone or written off: the money would arrive as credit for what stood open.
    for void in [true, false] {
        assert_eq!(
            refused(end(&shop, &invoice.invoice_id, void).await),
            (Code::Aborted, "PAYMENT_UNDER_WAY".to_owned())
        );
    }
    let note = billing::CreateCreditNoteRequest {
        invoice_id: invoice.invoice_id.clone(),
        amount: dollars("510.40"),
        reason: "goodwill".to_owned(),
        request_id: request_id(),
        ..billing::CreateCreditNoteRequest::default()
    };
    let mut client = shop.h.operator.billing.clone();
    client.create_credit_note(note).await.unwrap();
    shop.h.advance("2026-06-15T00:00:00Z").await;
    let paid = shop.invoice(&invoice.invoice_id).await;
    assert_eq!(
        (
            paid.state(),
            amount(&paid.paid_by_charge),
            amount(&paid.credited)
        ),
        (State::Paid, "1000.00", "510.40")
    );
    assert_eq!(shop.h.balance(&id).await, "510.400000");
    shop.reconciles().await;
}

#[tokio::test]
async fn an_invoice_that_its_owner_paid_by_another_sum_is_not_charged_again() {
    let shop = Shop::start().await;
    let (id, invoice) = owing(&shop).await;
    let card = shop.card(&id, "tok_wrong_amount").await;
    let order = paid(&shop, &id, (&invoice.invoice_id, &card)).await;
    assert_ne!(order.unwrap().state(), account::order::State::Completed);
    // A person looks at the provider's book: a cent more has moved.
    let request = payments::ListChargesRequest {
        account_id: id.clone(),
        ..payments::ListChargesRequest::default()
    };
    let mut client = shop.h.operator.payments.clone();
    let listed = client.list_charges(request).await.unwrap().into_inner();
    let request = payments::ResolveMovementRequest {
        account_id: id.clone(),
        movement_id: listed.charges[0].charge_id.clone(),
        outcome: payments::resolve_movement_request::Outcome::Moved.into(),
        amount: dollars("1510.41"),
        provider_movement_id: "seen".to_owned(),
        settle_time: Some(perdiem::connect::timestamp(crate::harness::instant(MAY))),
        note: "as the book says".to_owned(),
        request_id: request_id(),
    };
    client.resolve_movement(request).await.unwrap();
    shop.balance_is(&id, "1510.410000").await;
    shop.card(&id, "tok_ok").await;
    shop.h.advance("2026-06-20T00:00:00Z").await;
    let charges = "SELECT count(*) FROM payments.movements WHERE kind = 'CHARGE'";
    assert_eq!(shop.h.count(charges).await, 1, "it waits for a person");
    assert_eq!(shop.invoice(&invoice.invoice_id).await.state(), State::Open);
}

#[tokio::test]
async fn what_was_refused_and_has_moved_after_all_is_not_charged_again() {
    let shop = Shop::start().await;
    let (id, _) = owing(&shop).await;
    shop.card(&id, "tok_declined_insufficient_funds").await;
    shop.h.advance("2026-05-31T00:00:01Z").await;
    let charges = "SELECT count(*) FROM payments.movements WHERE kind = 'CHARGE'";
    assert_eq!(shop.h.count(charges).await, 1);
    // Its bank answers late: the provider's book has it as paid.
    sqlx::query("UPDATE payments.sandbox_book SET state = 'SUCCEEDED'")
        .execute(&shop.h.db)
        .await
        .unwrap();
    let at = |text| Some(perdiem::connect::timestamp(crate::harness::instant(text)));
    let mut client = shop.h.operator.payments.clone();
    for mended in [true, false] {
        let request = payments::ReconcileRequest {
            start_time: at("2026-05-30T00:00:00Z"),
            end_time: at("2026-06-02T00:00:00Z"),
            apply: true,
            request_id: request_id(),
            ..payments::ReconcileRequest::default()
        };
        let told = client.reconcile(request).await.unwrap().into_inner();
        let told: Vec<bool> = told.differences.iter().map(|it| it.mended).collect();
        assert_eq!(told, [mended]);
    }
    let overturned = payments::ListChargesRequest {
        overturned: true,
        ..payments::ListChargesRequest::default()
    };
    let listed = client.list_charges(overturned.clone()).await.unwrap();
    let [charge] = listed.into_inner().charges.try_into().unwrap();
    assert_eq!(charge.state(), payments::MovementState::Declined);
    until(
        &shop,
        "SELECT count(*) FROM billing.dunnings WHERE next_at IS NULL",
        1,
    )
    .await;
    shop.h.advance("2026-06-20T00:00:00Z").await;
    assert_eq!(shop.h.count(charges).await, 1);
    // A person gives it back at the provider, and says so.
    let resolve = payments::ResolveMovementRequest {
        account_id: id.clone(),
        movement_id: charge.charge_id.clone(),
        outcome: payments::resolve_movement_request::Outcome::Refused.into(),
        note: "given back".to_owned(),
        request_id: request_id(),
        ..payments::ResolveMovementRequest::default()
    };
    client.resolve_movement(resolve.clone()).await.unwrap();
    let listed = client.list_charges(overturned).await.unwrap();
    assert!(listed.into_inner().charges.is_empty());
    let again = payments::ResolveMovementRequest {
        request_id: request_id(),
        ..resolve
    };
    assert_eq!(
        refused(client.resolve_movement(again).await).1,
        "MOVEMENT_NOT_PARKED"
    );
    // It is owed as before, and its tries go on.
    until(
        &shop,
        "SELECT count(*) FROM billing.dunnings WHERE next_at IS NOT NULL",
        1,
    )
    .await;
    shop.h.advance("2026-06-20T02:00:00Z").await;
    assert_eq!(shop.h.count(charges).await, 2);
}

/// A suite with Stripe, and an account of it with a card by a token.
async fn by_stripe(profile: &str, invoiced: bool, token: &str) -> (Shop, Fake, String, String) {
    let (fake, stripe) = Fake::start().await;
    let hooks = crate::harness::free_url();
    let environment = [
        ("STRIPE_URL", stripe.as_str()),
        ("STRIPE_SECRET_KEY", "sk_test_perdiem"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_test"),
        ("WEBHOOK_LISTEN", hooks.trim_start_matches("http://")),
    ];
    let shop = Shop::start_with(&environment).await;
    let id = if invoiced {
        owing(&shop).await.0
    } else {
        let id = shop.h.account_of(profile, false).await;
        shop.live_in(&id, "IN", "KA", false).await;
        id
    };
    let request = payments::AddPaymentMethodRequest {
        account_id: id.clone(),
        method_code: "CARD".to_owned(),
        provider_code: "stripe".to_owned(),
        provider_token: token.to_owned(),
        default_method: true,
        request_id: request_id(),
        ..payments::AddPaymentMethodRequest::default()
    };
    let mut client = shop.h.operator.payments.clone();
    client.add_payment_method(request).await.unwrap();
    (shop, fake, id, hooks)
}

/// Stripe says that the only charge of a suite is contested, won or lost, with all its money held back until it is won.
async fn contested(fake: &Fake, hooks: &str, status: &str) {
    let (intent, amount, currency) = fake.only_intent();
    let held = json!({"amount": -amount, "currency": currency});
    let booked = if status == "won" {
        json!([held, {"amount": amount, "currency": currency}])
    } else {
        json!([held])
    };
    let dispute = json!({"id": "dp_1", "payment_intent": intent, "amount": amount, "currency": currency,
        "created": 1_772_366_400, "status": status, "reason": "fraudulent", "balance_transactions": booked,
        "evidence_details": {"due_by": 1_781_049_600}});
    fake.dispute_is("dp_1", dispute);
    let event = json!({"id": format!("evt_{status}"), "type": "charge.dispute.updated",
        "data": {"object": {"id": "dp_1", "payment_intent": intent}}});
    assert_eq!(send(hooks, "whsec_test", &event).await, 200);
}

/// Waits until a count of the database is as expected.
async fn until(shop: &Shop, sql: &'static str, expected: i64) {
    let begun = std::time::Instant::now();
    loop {
        let count = shop.h.count(sql).await;
        if count == expected {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{count}, not {expected}: {sql}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// What is held back and not taken back from the customer yet.
const DISPUTED: &str = "SELECT coalesce(sum(CASE WHEN debit = 15 THEN amount_micros ELSE -amount_micros END), 0)::bigint
                        FROM billing.ledger_entries WHERE 15 IN (debit, credit)";

#[tokio::test]
async fn what_an_invoice_did_not_need_of_a_charge_that_is_lost_is_taken_back() {
    let (shop, fake, id, hooks) = by_stripe("global", true, "pm_3ds_1").await;
    shop.h.advance("2026-05-31T00:00:01Z").await;
    until(
        &shop,
        "SELECT count(*) FROM billing.collections WHERE purpose = 'INVOICE'",
        1,
    )
    .await;
    let invoice = shop.h.invoices(&id).await.remove(0);
    let note = billing::CreateCreditNoteRequest {
        invoice_id: invoice.invoice_id.clone(),
        amount: dollars("1510.40"),
        reason: "all of it".to_owned(),
        request_id: request_id(),
        ..billing::CreateCreditNoteRequest::default()
    };
    let mut client = shop.h.operator.billing.clone();
    client.create_credit_note(note).await.unwrap();
    fake.confirm_only_intent();
    let (intent, ..) = fake.only_intent();
    let event = json!({"id": "evt_paid", "type": "payment_intent.succeeded", "data": {"object": {"id": intent}}});
    assert_eq!(send(&hooks, "whsec_test", &event).await, 200);
    shop.balance_is(&id, "1510.400000").await;
    contested(&fake, &hooks, "lost").await;
    shop.balance_is(&id, "0.000000").await;
    assert_eq!(shop.h.count(DISPUTED).await, 0);
}

#[tokio::test]
async fn a_contested_card_is_not_charged_by_itself_until_that_is_won() {
    let (shop, fake, id, hooks) = by_stripe("global", true, "pm_ok_1").await;
    shop.h.advance("2026-05-31T00:00:01Z").await;
    contested(&fake, &hooks, "needs_response").await;
    until(&shop, DISPUTED, 1_510_400_000).await;
    shop.h.advance("2026-06-01T00:00:00Z").await;
    shop.h.bill("2026-05").await;
    let invoices = shop.h.invoices(&id).await;
    let may = invoices.iter().find(|it| it.state() == State::Open);
    let may = may.unwrap().invoice_id.clone();
    shop.h.advance("2026-07-01T00:00:01Z").await;
    assert_eq!(
        told(&shop, &id).await.last().unwrap(),
        "INVOICE_OVERDUE USD 1770.00 2026-07-01 METHOD_CONTESTED"
    );
    // One charge is all that Stripe was asked for.
    fake.only_intent();
    assert_eq!(
        told_of(&shop, &id, "CHARGEBACK_").await,
        ["CHARGEBACK_OPENED USD 1510.40 2026-06-10T00:00:00+00:00"]
    );
    // Stripe says it once more, and then the decision.
    contested(&fake, &hooks, "under_review").await;
    contested(&fake, &hooks, "won").await;
    until(&shop, DISPUTED, 0).await;
    shop.h.advance("2026-07-02T12:00:00Z").await;
    assert_eq!(shop.invoice(&may).await.state(), State::Paid);
    let told = told_of(&shop, &id, "CHARGEBACK_").await;
    assert_eq!(told.len(), 2, "once opened and once won: {told:?}");
    assert_eq!(told[1], "CHARGEBACK_WON USD 1510.40");
}

#[tokio::test]
async fn tax_of_a_refund_that_a_lost_charge_undoes_is_owed_again() {
    let (shop, fake, id, hooks) = by_stripe("india", false, "pm_ok_1").await;
    let request = billing::CollectOrderRequest {
        account_id: id.clone(),
        order_id: format!("OR{}", uuid::Uuid::new_v4().simple()),
        lines: vec![billing::CollectionLine {
            kind: "CREDITS".to_owned(),
            amount: Some(Money {
                currency_code: "INR".to_owned(),
                amount: "2000.00".to_owned(),
            }),
            ..billing::CollectionLine::default()
        }],
        request_id: request_id(),
        ..billing::CollectOrderRequest::default()
    };
    let mut client = shop.seller.billing.clone();
    client.collect_order(request).await.unwrap();
    let tax = "SELECT coalesce(sum(CASE WHEN credit = 7 THEN amount_micros ELSE -amount_micros END), 0)::bigint
                       FROM billing.ledger_entries WHERE 7 IN (debit, credit)";
    assert_eq!(shop.h.count(tax).await, 360_000_000);
    contested(&fake, &hooks, "needs_response").await;
    until(&shop, DISPUTED, 2_360_000_000).await;
    let request = billing::RequestRefundRequest {
        account_id: id.clone(),
        request_id: request_id(),
        ..billing::RequestRefundRequest::default()
    };
    client.request_refund(request).await.unwrap();
    assert_eq!(shop.h.balance(&id).await, "0.000000");
    assert_eq!(
        shop.h.count(tax).await,
        18_000_000,
        "with 1,900.00 go 342.00"
    );
    contested(&fake, &hooks, "lost").await;
    until(
        &shop,
        "SELECT count(*) FROM billing.refunds WHERE state = 'UNDONE'",
        1,
    )
    .await;
    // Its payer has all from the bank: the credit is gone, the fee of the refund is owed, and so is the tax.
    shop.balance_is(&id, "-100.000000").await;
    shop.h.advance("2026-03-01T12:00:01Z").await;
    let told = told_of(&shop, &id, "CHARGEBACK_").await;
    let lost = "CHARGEBACK_LOST INR 2360.00 INR 2000.000000";
    assert_eq!(told.len(), 2, "once opened and once lost: {told:?}");
    assert_eq!(told[1], lost, "what was taken from the balance");
    let disputed = "SELECT sum(disputed_micros)::bigint FROM billing.balances";
    assert_eq!(
        shop.h.count(disputed).await,
        100_000_000,
        "owed, and on no invoice"
    );
    assert_eq!(shop.h.count(tax).await, 360_000_000);
    assert_eq!(
        shop.h.count(DISPUTED).await,
        360_000_000,
        "the tax is our loss"
    );
}

#[tokio::test]
async fn req_037_usage_of_an_account_that_pays_by_invoice_is_on_one_each_month() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = h.account_of("india", true).await;
    shop.live_in(&id, "IN", "KA", false).await;
    let price = [("per_part: \"0.20\"", "per_part: \"0.203001\"")];
    h.import_as("v2", &price).await;
    let events = vec![
        rated(&request_id(), &id, "sms", "2026-03-01T11:00:00Z", "5"),
        rated(&request_id(), &id, "sms", "2026-03-01T11:30:00Z", "8"),
    ];
    h.record(events).await.unwrap();
    assert_eq!(h.balance(&id).await, "-2.639013");
    h.advance("2026-03-31T18:29:59Z").await;
    assert!(h.invoices(&id).await.is_empty());
    // What a dispute took back is owed, too, until it is paid: nothing was used for it.
    let owe = async |sql: &'static str| sqlx::query(sql).execute(&h.db).await.unwrap();
    owe("UPDATE billing.balances SET overdraft_micros = overdraft_micros + 7000000, disputed_micros = 7000000").await;
    h.advance("2026-04-02T00:00:00Z").await;
    let invoice = h.invoices(&id).await.remove(0);
    assert_eq!(
        amount(&invoice.total),
        "3.11",
        "2.63, and twice 9 % of it (D33)"
    );
    assert_eq!(invoice.lines[0].kind_code, "USAGE");
    assert_eq!(
        invoice.lines[0].explanation,
        "used before 2026-04-01 and not paid from credit = 2.63"
    );
    assert_eq!(
        (invoice.state(), invoice.due_date.as_str()),
        (State::Open, "2026-04-16"),
        "the first of its terms"
    );
    owe("UPDATE billing.balances SET overdraft_micros = overdraft_micros - 7000000, disputed_micros = 0").await;
    assert_eq!(h.balance(&id).await, "-0.009013", "parts of a paisa");
    shop.reconciles().await;
    // A month without usage has none.
    h.advance("2026-05-02T00:00:00Z").await;
    assert_eq!(h.invoices(&id).await.len(), 1);
    // One that pays from its balance has none either.
    assert_eq!(h.count("SELECT count(*) FROM billing.usage_bills").await, 1);
}
