//! Closing and what follows from it, by the services that decide it: who may, what is settled, what goes back,
//! and what stays as it is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use perdiem::connect::{Clients, request_id, timestamp};
use proto::account::v1 as account;
use proto::account::v1::account::{Mode, Status as Standing, SuspensionReason};
use proto::account::v1::closing::Option as Way;
use proto::account::v1::create_order_request::Kind;
use proto::billing::v1 as billing;
use proto::payments::v1 as payments;
use proto::plan::v1 as plan;
use proto::r#type::v1::{Amount, Money};
use tokio::sync::Barrier;
use tonic::{Code, Status};

use crate::harness::{Harness, PATIENCE, instant};
use crate::money::Shop;
use crate::subscriptions::{bought, change, get, refused, renewals, subscriber};

#[expect(clippy::unnecessary_wraps, reason = "as fields hold it")]
pub fn dollars(amount: &str) -> Option<Money> {
    Some(Money {
        currency_code: "USD".to_owned(),
        amount: amount.to_owned(),
    })
}

pub fn closing(id: &str, way: Way) -> account::CloseAccountRequest {
    account::CloseAccountRequest {
        account_id: id.to_owned(),
        option: way.into(),
        acknowledgement_codes: Vec::new(),
        request_id: request_id(),
    }
}

pub async fn close(who: &Clients, id: &str) -> Result<account::Account, Status> {
    let request = closing(id, Way::DeleteAllDataAndSettings);
    let answer = who.account.clone().close_account(request).await?;
    Ok(answer.into_inner().account.unwrap())
}

/// Buys credit by the default card.
async fn buys(shop: &Shop, id: &str, amount: &str) {
    let purchase = account::CreditPurchase {
        amount: dollars(amount),
        payment_method_id: String::new(),
    };
    let who = shop.h.customer();
    let order = bought(&shop.h, &who, id, Kind::CreditPurchase(purchase)).await;
    assert_eq!(order.unwrap().state(), account::order::State::Completed);
}

pub async fn granted(h: &Harness, id: &str, kind: billing::lot::Kind, amount: &str) {
    let request = billing::GrantCreditRequest {
        account_id: id.to_owned(),
        kind: kind.into(),
        amount: Some(Amount {
            currency_code: "USD".to_owned(),
            amount: amount.to_owned(),
        }),
        reason: "a test".to_owned(),
        request_id: request_id(),
        ..billing::GrantCreditRequest::default()
    };
    h.operator
        .billing
        .clone()
        .grant_credit(request)
        .await
        .unwrap();
}

pub async fn consistent(h: &Harness) {
    let request = billing::ReconcileRequest::default();
    let found = h.operator.billing.clone().reconcile(request).await.unwrap();
    assert!(found.into_inner().differences.is_empty());
}

/// The refunds of an account: charge's amount, refund's amount and state.
async fn refunds(shop: &Shop, id: &str) -> Vec<(String, payments::MovementState)> {
    let request = payments::ListRefundsRequest {
        account_id: id.to_owned(),
        ..payments::ListRefundsRequest::default()
    };
    let mut client = shop.seller.payments.clone();
    let found = client
        .list_refunds(request)
        .await
        .unwrap()
        .into_inner()
        .refunds;
    let mut found: Vec<_> = found
        .into_iter()
        .map(|it| (it.amount.clone().unwrap().amount, it.state()))
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn req_061_req_062_req_063_req_067_what_is_owed_is_settled_and_the_rest_goes_back() {
    let shop = Shop::start().await;
    let h = &shop.h;
    h.advance("2026-04-01T08:00:00Z").await;
    let id = h.account().await;
    shop.card(&id, "tok_ok").await;
    buys(&shop, &id, "500.00").await;
    granted(h, &id, billing::lot::Kind::Promo, "20.00").await;
    h.change("2026-04-01T09:00:00Z", &id, "business").await;
    h.used(&id, "2026-04-01T09:30:00Z", "40000.00").await;
    h.advance("2026-04-01T10:00:00Z").await;

    // What it would do, without doing it.
    let request = account::GetCloseOptionsRequest {
        account_id: id.clone(),
    };
    let options = h.customer().account.get_close_options(request).await;
    let options = options.unwrap().into_inner();
    assert_eq!(options.options.len(), 2);
    assert_eq!(options.estimated_settlement_amount, dollars("80.00"));
    // Promotional credit pays first (C-14): 60.00 of 500.00 pay the rest of 80.00.
    assert_eq!(options.estimated_refund_amount, dollars("440.00"));
    assert_eq!(h.balance(&id).await, "520.000000", "nothing has moved");

    let closed = close(&h.customer(), &id).await.unwrap();
    assert_eq!(closed.status(), Standing::Closed);
    let how = closed.closing.unwrap();
    assert_eq!(
        how.close_time,
        Some(timestamp(instant("2026-04-01T10:00:00Z")))
    );
    assert_eq!(
        how.purge_time,
        Some(timestamp(instant("2026-05-01T10:00:00Z")))
    );
    assert_eq!(how.settlement_amount, dollars("80.00"));
    assert_eq!(how.refund_amount, dollars("440.00"));
    assert_eq!(how.refund_due_date, "2026-04-15", "the tenth business day");
    assert_eq!(how.refund_ids.len(), 1);
    assert_eq!(
        refunds(&shop, &id).await,
        [("440.00".to_owned(), payments::MovementState::Succeeded)]
    );
    assert_eq!(h.balance(&id).await, "0.000000");
    let invoices = h.invoices(&id).await;
    assert_eq!(invoices.len(), 2, "the purchase and the closing");
    let lines = h.lines(&id).await;
    assert!(
        lines.contains(&("business".to_owned(), 1, "80.00".to_owned())),
        "{lines:?}"
    );
    for invoice in &invoices {
        let request = billing::RenderInvoiceRequest {
            invoice_id: invoice.invoice_id.clone(),
            ..billing::RenderInvoiceRequest::default()
        };
        let pdf = h
            .operator
            .billing
            .clone()
            .render_invoice(request)
            .await
            .unwrap();
        assert!(pdf.into_inner().pdf.starts_with(b"%PDF"));
    }
    // REQ-007: the run of the month does not bill it again.
    h.advance("2026-05-02T06:00:00Z").await;
    h.bill("2026-04").await;
    assert_eq!(h.invoices(&id).await.len(), 2);
    assert_eq!(h.balance(&id).await, "0.000000");
    // What is used afterwards is recorded, and nobody pays for it (D14).
    consistent(h).await;
}

#[tokio::test]
async fn what_a_closing_tells_is_what_it_does_at_the_instant_of_a_purchase_too() {
    let shop = Shop::start().await;
    let h = &shop.h;
    h.advance("2026-04-01T08:00:00Z").await;
    for (bought_at, settled) in [
        ("2026-04-01T09:00:00Z", None),
        ("2026-04-01T10:00:00Z", dollars("80.00")),
    ] {
        let id = h.account().await;
        shop.card(&id, "tok_ok").await;
        buys(&shop, &id, "500.00").await;
        h.used(&id, "2026-04-01T08:30:00Z", "40000.00").await;
        h.change(bought_at, &id, "business").await;
        if settled.is_some() {
            h.advance("2026-04-01T10:00:01Z").await;
        }
        let request = account::GetCloseOptionsRequest {
            account_id: id.clone(),
        };
        let told = h.customer().account.get_close_options(request).await;
        let told = told.unwrap().into_inner();
        let how = close(&h.customer(), &id).await.unwrap().closing.unwrap();
        assert_eq!(told.estimated_settlement_amount, settled, "{bought_at}");
        assert_eq!(how.settlement_amount, settled, "{bought_at}");
        assert_eq!(told.estimated_refund_amount, how.refund_amount);
    }
    consistent(h).await;
}

#[tokio::test]
async fn paid_credit_that_no_charge_brought_is_work_for_whoever_makes_transfers() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = h.account().await;
    granted(h, &id, billing::lot::Kind::Paid, "200.00").await;
    let request = account::GetCloseOptionsRequest {
        account_id: id.clone(),
    };
    let told = h.customer().account.get_close_options(request).await;
    assert_eq!(
        told.unwrap().into_inner().estimated_refund_amount,
        dollars("200.00")
    );
    let how = close(&h.customer(), &id).await.unwrap().closing.unwrap();
    assert_eq!(how.refund_amount, dollars("200.00"));
    assert_eq!(how.refund_ids.len(), 1);
    assert_eq!(h.balance(&id).await, "0.000000");
    let request = payments::ListRefundsRequest {
        account_id: id.clone(),
        ..payments::ListRefundsRequest::default()
    };
    let mut client = h.operator.payments.clone();
    let found = client.list_refunds(request).await.unwrap().into_inner();
    let refund = found.refunds[0].clone();
    assert_eq!(refund.state(), payments::MovementState::Parked);
    assert_eq!(
        (refund.parked_reason.as_str(), refund.charge_id.as_str()),
        ("MANUAL_BANK_TRANSFER", "")
    );
    consistent(h).await;
    // Its owner says where to, also after the closing, and whoever makes the transfer reads it.
    let given = account::SetPayoutDetailsRequest {
        account_id: id.clone(),
        holder_name: "Ann Example".to_owned(),
        account_number: "DE02120300000000202051".to_owned(),
        bank_code: "BYLADEM1001".to_owned(),
        request_id: request_id(),
    };
    let mut owner = h.customer().account;
    owner.set_payout_details(given.clone()).await.unwrap();
    let asked = account::GetPayoutDetailsRequest {
        account_id: id.clone(),
    };
    let mut clerk = h.operator_with("BILLING").account;
    let read = clerk.get_payout_details(asked.clone()).await.unwrap();
    assert_eq!(read.into_inner().account_number, given.account_number);
    let open = "SELECT count(*) FROM account.payout_details
                WHERE position('DE021203'::bytea IN sealed) > 0";
    assert_eq!(h.count(open).await, 0, "it is sealed");
    let request = payments::ResolveMovementRequest {
        account_id: id.clone(),
        movement_id: refund.refund_id,
        outcome: payments::resolve_movement_request::Outcome::Moved.into(),
        amount: dollars("200.00"),
        provider_movement_id: "TRANSFER-1".to_owned(),
        settle_time: Some(timestamp(instant("2026-03-01T12:00:00Z"))),
        note: "sent by the bank".to_owned(),
        request_id: request_id(),
    };
    client.resolve_movement(request).await.unwrap();
    let paid = "SELECT count(*) FROM billing.refunds WHERE state = 'SUCCEEDED'";
    let begun = Instant::now();
    while h.count(paid).await != 1 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    consistent(h).await;
    // With the last refund they go, and none are taken any more.
    h.advance("2026-03-01T14:00:00Z").await;
    let kept = "SELECT count(*) FROM account.payout_details";
    while h.count(kept).await != 0 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let none = clerk.get_payout_details(asked).await;
    assert_eq!(refused(none).1, "PAYOUT_DETAILS_NOT_FOUND");
    let late = account::SetPayoutDetailsRequest {
        request_id: request_id(),
        ..given
    };
    let late = owner.set_payout_details(late).await;
    assert_eq!(
        refused(late),
        (Code::FailedPrecondition, "NOTHING_DUE".to_owned())
    );
}

#[tokio::test]
async fn what_is_forfeited_is_told_before_by_the_closing_and_by_mail() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let of_600 = [
        ("fee_bps: 0 ", "fee_bps: 2000 "),
        ("minimum: \"0.01\"", "minimum: \"500.00\""),
    ];
    h.import_as("v2", &of_600).await;
    let id = h.account().await;
    shop.card(&id, "tok_ok").await;
    buys(&shop, &id, "600.00").await;
    let request = account::GetCloseOptionsRequest {
        account_id: id.clone(),
    };
    let told = h.customer().account.get_close_options(request).await;
    let told = told.unwrap().into_inner();
    assert_eq!(told.estimated_refund_amount, None);
    let lost = told.estimated_forfeited_amount.unwrap();
    assert_eq!(lost.amount, "600.000000");
    let how = close(&h.customer(), &id).await.unwrap().closing.unwrap();
    assert_eq!(how.refund_amount, None);
    assert_eq!(how.forfeited_amount.unwrap().amount, "600.000000");
    assert_eq!(h.balance(&id).await, "0.000000", "nothing stays");
    let request = account::ListNotificationsRequest {
        account_id: id.clone(),
        kind_code: "ACCOUNT_CLOSED".to_owned(),
        ..account::ListNotificationsRequest::default()
    };
    let notices = h.customer().account.list_notifications(request).await;
    let notices = notices.unwrap().into_inner().notifications;
    let facts = notices[0].facts.iter();
    let lost: Vec<_> = facts.filter(|it| it.name == "forfeited_amount").collect();
    assert_eq!(lost[0].value, "USD 600.00");
    consistent(h).await;
}

#[tokio::test]
async fn req_063_req_065_req_066_promotional_and_trial_credit_and_debts_are_not_refunded() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let promo = h.account().await;
    granted(h, &promo, billing::lot::Kind::Promo, "20.00").await;
    let how = close(&h.customer(), &promo).await.unwrap().closing.unwrap();
    assert_eq!(
        (how.refund_amount, how.refund_due_date.as_str()),
        (None, "")
    );
    assert_eq!(how.forfeited_amount.unwrap().amount, "20.000000");

    let both = h.account().await;
    shop.card(&both, "tok_ok").await;
    buys(&shop, &both, "80.00").await;
    granted(h, &both, billing::lot::Kind::Promo, "20.00").await;
    let how = close(&h.customer(), &both).await.unwrap().closing.unwrap();
    assert_eq!(how.refund_amount, dollars("80.00"));
    assert_eq!(how.forfeited_amount.unwrap().amount, "20.000000");

    // A debt stays on record, and the closing succeeds.
    h.advance("2026-04-01T08:00:00Z").await;
    let owing = h.account().await;
    h.change("2026-04-02T00:00:00Z", &owing, "production").await;
    h.advance("2026-04-10T10:00:00Z").await;
    let how = close(&h.customer(), &owing).await.unwrap().closing.unwrap();
    assert_eq!(
        how.settlement_amount,
        dollars("75.00"),
        "250.00 for 9 of 30 days"
    );
    assert_eq!(how.refund_amount, None);
    assert_eq!(h.balance(&owing).await, "-75.000000");

    // A trial: every box, and nothing back.
    let request = account::CreateAccountRequest {
        profile_code: "global".to_owned(),
        display_name: "A trial".to_owned(),
        owner_user_id: h.owner.clone(),
        request_id: request_id(),
        ..account::CreateAccountRequest::default()
    };
    let made = h.customer().account.create_account(request).await;
    let trial = made.unwrap().into_inner().account.unwrap().account_id;
    assert_eq!(h.balance(&trial).await, "15.000000", "its trial credit");
    let request = account::GetCloseOptionsRequest {
        account_id: trial.clone(),
    };
    let options = h.customer().account.get_close_options(request).await;
    let boxes = options.unwrap().into_inner().acknowledgement_codes;
    assert_eq!(boxes.len(), 4);
    let ticked = |count: usize| account::CloseAccountRequest {
        acknowledgement_codes: boxes[..count].to_vec(),
        ..closing(&trial, Way::Unspecified)
    };
    let missing = h.customer().account.close_account(ticked(3)).await;
    assert_eq!(
        refused(missing),
        (Code::InvalidArgument, "ACKNOWLEDGEMENT_MISSING".to_owned())
    );
    let closed = h.customer().account.close_account(ticked(4)).await;
    let how = closed
        .unwrap()
        .into_inner()
        .account
        .unwrap()
        .closing
        .unwrap();
    assert_eq!(how.refund_amount, None);
    assert_eq!(how.forfeited_amount.unwrap().amount, "15.000000");
    consistent(h).await;
}

#[tokio::test]
async fn req_039_req_040_req_041_req_057_req_058_who_may_close_and_how() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = h.account().await;
    let without = h
        .customer()
        .account
        .close_account(closing(&id, Way::Unspecified))
        .await;
    assert_eq!(
        refused(without),
        (Code::InvalidArgument, "OPTION_REQUIRED".to_owned())
    );
    // Only the owner; a stranger finds nothing.
    for role in ["ADMINISTRATOR", "DEVELOPER", "BILLING_MANAGER", "SUPPORT"] {
        let user = h.user(&role.to_lowercase()).await;
        let request = account::GrantRoleRequest {
            account_id: id.clone(),
            user_id: user.clone(),
            role_code: role.to_owned(),
            request_id: request_id(),
        };
        h.customer().account.grant_role(request).await.unwrap();
        let denied = refused(close(&h.person(&user), &id).await);
        assert_eq!(
            denied,
            (Code::PermissionDenied, "ROLE_NOT_ALLOWED".to_owned())
        );
    }
    let stranger = h.user("stranger").await;
    assert_eq!(
        refused(close(&h.person(&stranger), &id).await).0,
        Code::NotFound
    );
    // A fresh proof of who it is.
    let stale = h.suite.keys.person_proved(&h.owner, 16).unwrap();
    let stale = Clients::new(&h.urls, &stale).unwrap();
    assert_eq!(
        refused(close(&stale, &id).await),
        (Code::Unauthenticated, "REAUTH_REQUIRED".to_owned())
    );
    // Suspended for fraud: support only. For its balance: it may be closed.
    let suspend = |reason: SuspensionReason| account::SuspendAccountRequest {
        account_id: id.clone(),
        suspension_reason: reason.into(),
        note: String::new(),
        request_id: request_id(),
    };
    let by_owner = h
        .customer()
        .account
        .suspend_account(suspend(SuspensionReason::Fraud))
        .await;
    assert_eq!(refused(by_owner).1, "OPERATORS_ONLY");
    let mut risk = h.operator_with("RISK").account;
    risk.suspend_account(suspend(SuspensionReason::Fraud))
        .await
        .unwrap();
    assert_eq!(get(h, &id).await.status(), Standing::Suspended);
    assert_eq!(
        refused(close(&h.customer(), &id).await),
        (Code::FailedPrecondition, "CONTACT_SUPPORT".to_owned())
    );
    let reinstate = account::ReinstateAccountRequest {
        account_id: id.clone(),
        suspension_reason: SuspensionReason::Fraud.into(),
        note: "a mistake".to_owned(),
        request_id: request_id(),
    };
    risk.reinstate_account(reinstate).await.unwrap();
    assert_eq!(get(h, &id).await.status(), Standing::Active);
    close(&h.customer(), &id).await.unwrap();

    let invoiced = h.account_of("global", true).await;
    let denied = refused(close(&h.customer(), &invoiced).await);
    assert_eq!(
        denied,
        (
            Code::FailedPrecondition,
            "CONTACT_ACCOUNT_MANAGER".to_owned()
        )
    );
    let request = account::GetCloseOptionsRequest {
        account_id: invoiced.clone(),
    };
    let options = h.customer().account.get_close_options(request).await;
    let options = options.unwrap().into_inner();
    assert_eq!(
        (options.options.len(), options.contact_code.as_str()),
        (0, "CONTACT_ACCOUNT_MANAGER")
    );
    close(&h.operator_with("SALES"), &invoiced).await.unwrap();
}

#[tokio::test]
async fn req_042_req_043_req_048_req_052_req_053_req_054_req_071_a_tree_closes_for_ever_at_one_instant()
 {
    let shop = Shop::start().await;
    let h = &shop.h;
    let (id, other) = (h.account().await, h.account().await);
    shop.card(&id, "tok_ok").await;
    buys(&shop, &id, "123.45").await;
    let mut subs = Vec::new();
    for _ in 0..3 {
        subs.push(h.subaccount(&id).await);
    }
    let suspend = account::SuspendAccountRequest {
        account_id: subs[0].clone(),
        suspension_reason: SuspensionReason::Parent.into(),
        note: String::new(),
        request_id: request_id(),
    };
    h.customer().account.suspend_account(suspend).await.unwrap();
    // By thirty-two at once, it closes once.
    let barrier = Arc::new(Barrier::new(32));
    let tries = (0..32).map(|_| {
        let (who, id, barrier) = (h.customer(), id.clone(), barrier.clone());
        tokio::spawn(async move {
            barrier.wait().await;
            close(&who, &id).await
        })
    });
    let tries: Vec<_> = tries.collect();
    let mut first = None;
    for one in tries {
        let closed = one.await.unwrap();
        // Who comes in between is told to come again.
        let Ok(closed) = closed else {
            assert_eq!(closed.unwrap_err().code(), Code::Aborted);
            continue;
        };
        let how = closed.closing.unwrap();
        assert_eq!(
            how.close_time,
            first.get_or_insert_with(|| how.clone()).close_time
        );
    }
    let how = first.unwrap();
    assert_eq!(how.refund_amount, dollars("123.45"));
    assert_eq!(refunds(&shop, &id).await.len(), 1);
    for sub in &subs {
        let closed = get(h, sub).await;
        assert_eq!(closed.status(), Standing::Closed);
        assert_eq!(closed.closing.unwrap().close_time, how.close_time);
    }
    h.advance("2026-03-02T00:00:00Z").await;
    let again = close(&h.customer(), &id).await.unwrap();
    assert_eq!(again.closing.unwrap().close_time, how.close_time);

    // There is no way out of it.
    let gone = (Code::FailedPrecondition, "ACCOUNT_CLOSED".to_owned());
    let change = Kind::PlanChange(account::PlanChange {
        family_code: "SUPPORT".to_owned(),
        plan_code: "business".to_owned(),
        ..account::PlanChange::default()
    });
    assert_eq!(refused(bought(h, &h.customer(), &id, change).await), gone);
    let purchase = Kind::CreditPurchase(account::CreditPurchase {
        amount: dollars("100.00"),
        payment_method_id: String::new(),
    });
    assert_eq!(refused(bought(h, &h.operator, &id, purchase).await), gone);
    let request = account::ReturnToServiceRequest {
        account_id: id.clone(),
        request_id: request_id(),
    };
    assert_eq!(
        refused(h.customer().account.return_to_service(request).await),
        gone
    );
    let request = account::CreateSubaccountRequest {
        parent_account_id: id.clone(),
        display_name: "One more".to_owned(),
        request_id: request_id(),
        ..account::CreateSubaccountRequest::default()
    };
    assert_eq!(
        refused(h.customer().account.create_subaccount(request).await),
        gone
    );
    let grant = billing::GrantCreditRequest {
        account_id: id.clone(),
        kind: billing::lot::Kind::Promo.into(),
        amount: Some(Amount {
            currency_code: "USD".to_owned(),
            amount: "1.00".to_owned(),
        }),
        reason: "too late".to_owned(),
        request_id: request_id(),
        ..billing::GrantCreditRequest::default()
    };
    assert_eq!(
        refused(h.operator.billing.clone().grant_credit(grant).await),
        gone
    );

    // The login and its other accounts stay, and it makes new ones.
    assert_eq!(get(h, &other).await.status(), Standing::Active);
    assert!(h.plan_at(&other, "2026-03-02T00:00:00Z").await.is_ok());
    assert!(h.plan_at(&id, "2026-03-02T00:00:00Z").await.is_err());
    let new = h.account().await;
    assert_ne!(new, id);
    assert_eq!(h.balance(&new).await, "0.000000");
    let history = account::ListAccountHistoryRequest {
        account_id: subs[0].clone(),
        state_code: "STATUS".to_owned(),
        ..account::ListAccountHistoryRequest::default()
    };
    let told = h.customer().account.list_account_history(history).await;
    let told = told.unwrap().into_inner().transitions;
    let told: Vec<_> = told.iter().map(|it| it.transition_code.as_str()).collect();
    assert_eq!(told, ["CLOSED", "SUSPENDED", "CREATED"]);
    consistent(h).await;
}

#[tokio::test]
async fn req_072_one_subaccount_closes_alone_and_without_refund() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = h.account().await;
    shop.card(&id, "tok_ok").await;
    buys(&shop, &id, "50.00").await;
    let (one, two) = (h.subaccount(&id).await, h.subaccount(&id).await);
    let closed = close(&h.customer(), &one).await.unwrap();
    assert_eq!(closed.status(), Standing::Closed);
    let how = closed.closing.unwrap();
    assert_eq!((how.refund_amount, how.refund_ids.len()), (None, 0));
    for open in [&id, &two] {
        assert_eq!(get(h, open).await.status(), Standing::Active);
    }
    assert_eq!(h.balance(&id).await, "50.000000");
    let then = account::GetAccountRequest {
        account_id: one.clone(),
        read_time: Some(timestamp(instant("2026-03-01T12:00:00Z"))),
    };
    h.advance("2026-03-03T00:00:00Z").await;
    assert!(h.customer().account.get_account(then).await.is_ok());
}

#[tokio::test]
async fn req_068_req_069_the_newest_payment_goes_back_first_and_none_beyond_what_it_brought() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = h.account().await;
    shop.card(&id, "tok_ok_a").await;
    buys(&shop, &id, "100.00").await;
    h.advance("2026-03-02T00:00:00Z").await;
    shop.card(&id, "tok_refund_fails_2").await;
    buys(&shop, &id, "50.00").await;
    // 30.00 are used up: the oldest is spent first.
    h.change("2026-03-02T01:00:00Z", &id, "production").await;
    h.change("2026-03-05T01:00:00Z", &id, "developer").await;
    h.advance("2026-03-06T00:00:00Z").await;
    let how = close(&h.customer(), &id).await.unwrap().closing.unwrap();
    // 250.00 for 3 of 31 days: the day of the change belongs to the plan that it brings.
    assert_eq!(how.settlement_amount, dollars("24.19"));
    assert_eq!(how.refund_amount, dollars("125.81"));
    let states = refunds(&shop, &id).await;
    let older = ("75.81".to_owned(), payments::MovementState::Succeeded);
    assert!(states.contains(&older), "{states:?}");
    assert!(states.iter().any(|(amount, _)| amount == "50.00"));
    // The provider declines twice; then it is paid back, once.
    h.advance("2026-03-10T00:00:00Z").await;
    let paid = refunds(&shop, &id).await;
    let paid: Vec<_> = paid
        .iter()
        .filter(|(_, state)| *state == payments::MovementState::Succeeded)
        .map(|(amount, _)| amount.as_str())
        .collect();
    assert_eq!(paid, ["50.00", "75.81"]);
    // The closing names the refunds that paid, not the attempts that failed.
    let request = payments::ListRefundsRequest {
        account_id: id.clone(),
        ..payments::ListRefundsRequest::default()
    };
    let found = h.operator.payments.clone().list_refunds(request).await;
    let found = found.unwrap().into_inner().refunds;
    let paid: BTreeSet<&str> = found
        .iter()
        .filter(|it| it.state() == payments::MovementState::Succeeded)
        .map(|it| it.refund_id.as_str())
        .collect();
    let named = get(h, &id).await.closing.unwrap().refund_ids;
    let named: BTreeSet<&str> = named.iter().map(String::as_str).collect();
    assert_eq!((named.len(), &named), (2, &paid));
    let at_closing: BTreeSet<&str> = how.refund_ids.iter().map(String::as_str).collect();
    assert_ne!(named, at_closing);
    consistent(h).await;
}

#[tokio::test]
async fn req_049_req_050_req_051_req_059_req_064_a_soft_close_keeps_what_is_there() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = h.account().await;
    granted(h, &id, billing::lot::Kind::Promo, "20.00").await;
    h.change("2026-03-02T00:00:00Z", &id, "business").await;
    let request = closing(&id, Way::KeepAccountData);
    let kept = h.customer().account.close_account(request).await;
    let kept = kept.unwrap().into_inner().account.unwrap();
    assert_eq!(
        (kept.status(), kept.mode()),
        (Standing::Active, Mode::Dormant)
    );
    assert_eq!(kept.closing, None);
    let segment = h.plan_at(&id, "2026-03-02T00:00:01Z").await.unwrap();
    assert_eq!(segment.plan_code, "developer");
    assert_eq!(h.balance(&id).await, "20.000000");
    let request = || account::ReturnToServiceRequest {
        account_id: id.clone(),
        request_id: request_id(),
    };
    let back = h.customer().account.return_to_service(request()).await;
    let back = back.unwrap().into_inner().account.unwrap();
    assert_eq!(
        (back.account_id.as_str(), back.mode()),
        (id.as_str(), Mode::Normal)
    );
    let again = h.customer().account.return_to_service(request()).await;
    assert_eq!(refused(again).1, "ACCOUNT_NOT_DORMANT");

    // What the customer can't leave stands in the way, and then nothing is done.
    let bound = h.account().await;
    let contract = h.contract("business", &[&id, &bound]).await;
    assert_eq!(contract.payer_account_id, id);
    let blocked = h
        .customer()
        .account
        .close_account(closing(&bound, Way::KeepAccountData))
        .await;
    assert_eq!(
        refused(blocked),
        (Code::FailedPrecondition, "SOFT_CLOSE_BLOCKED".to_owned())
    );
    assert_eq!(get(h, &bound).await.mode(), Mode::Normal);
    // D16: who pays for a contract closes after another payer is named; a member just leaves.
    assert_eq!(refused(close(&h.customer(), &id).await).1, "CONTRACT_PAYER");
    close(&h.customer(), &bound).await.unwrap();
    assert_eq!(
        h.plan_at(&id, "2026-03-02T00:00:01Z")
            .await
            .unwrap()
            .plan_code,
        "business"
    );
}

#[tokio::test]
async fn req_073_closing_ends_renewals_recharges_and_pending_changes() {
    let shop = Shop::start().await;
    let id = subscriber(&shop, "tok_ok").await;
    let h = &shop.h;
    let request = billing::SetAutoRechargeRequest {
        account_id: id.clone(),
        auto_recharge: Some(billing::AutoRecharge {
            enabled: true,
            ..billing::AutoRecharge::default()
        }),
        request_id: request_id(),
    };
    let mut seller = shop.seller.billing.clone();
    seller.set_auto_recharge(request).await.unwrap();
    h.advance("2026-04-20T06:00:00Z").await;
    bought(h, &h.customer(), &id, change("growth", ""))
        .await
        .unwrap();
    let how = close(&h.customer(), &id).await.unwrap().closing.unwrap();
    // 1,000.00 less 5 % is less than is paid out (D32).
    assert_eq!(how.refund_amount, None);
    assert_eq!(how.forfeited_amount.unwrap().amount, "1000.000000");
    let charges = h
        .count("SELECT count(*) FROM payments.movements WHERE kind = 'CHARGE'")
        .await;
    h.advance("2026-06-20T00:00:00Z").await;
    assert!(renewals(&shop, &id).await.is_empty());
    let later = h
        .count("SELECT count(*) FROM payments.movements WHERE kind = 'CHARGE'")
        .await;
    assert_eq!(charges, later);
    consistent(h).await;
}

#[tokio::test]
async fn req_037_req_132_an_empty_balance_suspends_and_money_lifts_it() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = h.account().await;
    shop.card(&id, "tok_ok").await;
    buys(&shop, &id, "100.00").await;
    h.change("2026-03-01T13:00:00Z", &id, "production").await;
    h.advance("2026-04-02T06:00:00Z").await;
    h.bill("2026-03").await;
    let until = async |standing: Standing| {
        let begun = Instant::now();
        while get(h, &id).await.status() != standing {
            assert!(begun.elapsed() < PATIENCE, "not {standing:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    until(Standing::Suspended).await;
    let reasons = get(h, &id).await.suspension_reasons;
    assert_eq!(reasons, [i32::from(SuspensionReason::Balance)]);
    buys(&shop, &id, "500.00").await;
    until(Standing::Active).await;
    // What was told long ago and is told again suspends nobody: the balance is not empty.
    let suspended = "SELECT count(*) FROM account.transitions WHERE transition_code = 'SUSPENDED'";
    assert_eq!(h.count(suspended).await, 1);
    let again =
        "UPDATE account.watch_positions SET resume_token = '' WHERE source = 'billing.balances'";
    sqlx::query(again).execute(&h.db).await.unwrap();
    h.advance("2026-04-02T06:00:01Z").await;
    let told = "SELECT count(*) FROM account.watch_positions
                WHERE source = 'billing.balances' AND resume_token <> ''";
    assert_eq!(h.count(told).await, 1);
    assert_eq!(h.count(suspended).await, 1);
    assert_eq!(get(h, &id).await.status(), Standing::Active);
    close(&h.customer(), &id).await.unwrap();
}

#[tokio::test]
async fn a_closing_cut_short_anywhere_is_finished_and_refunds_once() {
    let mut shop = Shop::start().await;
    let mut ids = Vec::new();
    for _ in 0..6 {
        let id = shop.h.account().await;
        shop.card(&id, "tok_ok").await;
        buys(&shop, &id, "10.00").await;
        ids.push(id);
    }
    for (n, id) in ids.iter().enumerate() {
        let who = shop.h.customer();
        let asked = {
            let id = id.clone();
            tokio::spawn(async move { close(&who, &id).await.map(|_| ()) })
        };
        tokio::time::sleep(Duration::from_millis(7 * u64::try_from(n).unwrap())).await;
        let victim = ["account-lifecycle", "billing", "plan"][n % 3];
        shop.h.suite.kill(victim).await;
        let _ = asked.await.unwrap();
        shop.h.suite.spawn(victim, &[]).unwrap();
        shop.h.suite.wait_for(victim).await.unwrap();
    }
    let begun = Instant::now();
    for id in &ids {
        // Whoever is told to try again does, and hears how it was closed.
        loop {
            match close(&shop.h.customer(), id).await {
                Ok(closed) if closed.status() == Standing::Closed => break,
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
            assert!(begun.elapsed() < PATIENCE);
        }
        while refunds(&shop, id).await != [("10.00".to_owned(), payments::MovementState::Succeeded)]
        {
            assert!(begun.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(shop.h.balance(id).await, "0.000000");
    }
    consistent(&shop.h).await;
}

#[tokio::test]
async fn req_055_support_deletes_a_login_whose_accounts_are_closed() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = h.account().await;
    let request = || account::DeleteUserRequest {
        user_id: h.owner.clone(),
        request_id: request_id(),
    };
    assert_eq!(
        refused(h.customer().account.delete_user(request()).await),
        (Code::FailedPrecondition, "CONTACT_SUPPORT".to_owned())
    );
    let mut support = h.operator_with("SUPPORT_AGENT").account;
    assert_eq!(
        refused(support.delete_user(request()).await).1,
        "USER_OWNS_ACCOUNT"
    );
    close(&h.customer(), &id).await.unwrap();
    support.delete_user(request()).await.unwrap();
    assert_eq!(
        refused(support.delete_user(request()).await).1,
        "USER_NOT_FOUND"
    );
    let request = account::CreateAccountRequest {
        profile_code: "global".to_owned(),
        display_name: "Too late".to_owned(),
        owner_user_id: h.owner.clone(),
        request_id: request_id(),
        ..account::CreateAccountRequest::default()
    };
    let late = h.operator.account.clone().create_account(request).await;
    assert_eq!(refused(late).1, "USER_NOT_FOUND");
}

#[tokio::test]
async fn a_closing_waits_for_payments_and_what_was_given_up_is_not_begun_again() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = h.account().await;
    shop.card(&id, "tok_slow_ok").await;
    let purchase = account::CreditPurchase {
        amount: dollars("50.00"),
        payment_method_id: String::new(),
    };
    let order = bought(h, &h.customer(), &id, Kind::CreditPurchase(purchase)).await;
    assert_ne!(order.unwrap().state(), account::order::State::Completed);
    assert_eq!(
        refused(close(&h.customer(), &id).await),
        (Code::Aborted, "ORDER_UNDER_WAY".to_owned())
    );
    let prepare = async |at: &str| {
        let request = billing::PrepareClosingRequest {
            account_id: id.clone(),
            close_time: Some(timestamp(instant(at))),
            request_id: request_id(),
            ..billing::PrepareClosingRequest::default()
        };
        shop.seller.billing.clone().prepare_closing(request).await
    };
    // Billing refuses by itself: a charge without an order may be under way too.
    assert_eq!(
        refused(prepare("2026-03-01T12:00:00Z").await),
        (Code::Aborted, "PAYMENT_UNDER_WAY".to_owned())
    );
    h.advance("2026-03-04T12:00:00Z").await;
    assert_eq!(h.balance(&id).await, "50.000000");

    // Prepared, the balance stands still; given up, it moves, and a call that comes late begins nothing.
    let at = "2026-03-04T12:00:00Z";
    prepare(at).await.unwrap();
    let grant = || billing::GrantCreditRequest {
        account_id: id.clone(),
        kind: billing::lot::Kind::Promo.into(),
        amount: Some(Amount {
            currency_code: "USD".to_owned(),
            amount: "1".to_owned(),
        }),
        reason: "test".to_owned(),
        request_id: request_id(),
        ..billing::GrantCreditRequest::default()
    };
    let mut operator = h.operator.billing.clone();
    assert_eq!(
        refused(operator.grant_credit(grant()).await).1,
        "ACCOUNT_CLOSED"
    );
    let abort = billing::AbortClosingRequest {
        account_id: id.clone(),
        close_time: Some(timestamp(instant(at))),
        request_id: request_id(),
    };
    let mut seller = shop.seller.billing.clone();
    seller.abort_closing(abort).await.unwrap();
    for late in [at, "2026-03-04T11:00:00Z"] {
        assert_eq!(refused(prepare(late).await).1, "NOT_CLOSING", "{late}");
    }
    operator.grant_credit(grant()).await.unwrap();
    h.advance("2026-03-05T12:00:00Z").await;
    let how = close(&h.customer(), &id).await.unwrap().closing.unwrap();
    assert_eq!(how.refund_amount, dollars("50.00"));
    assert_eq!(how.forfeited_amount.unwrap().amount, "1.000000");
    consistent(h).await;
}

#[tokio::test]
async fn sums_of_a_closing_are_shown_to_whom_the_balance_is_shown() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = h.account().await;
    shop.card(&id, "tok_ok").await;
    buys(&shop, &id, "600.00").await;
    let sums = async |who: &Clients| {
        let request = account::GetCloseOptionsRequest {
            account_id: id.clone(),
        };
        let told = who.account.clone().get_close_options(request).await;
        let told = told.unwrap().into_inner();
        [
            told.estimated_settlement_amount.map(|it| it.amount),
            told.estimated_refund_amount.map(|it| it.amount),
            told.estimated_forfeited_amount.map(|it| it.amount),
        ]
    };
    let [_, refund, _] = sums(&h.customer()).await;
    assert!(refund.is_some());
    // A developer may look at the account, and not at its money.
    let user = h.user("developer").await;
    let request = account::GrantRoleRequest {
        account_id: id.clone(),
        user_id: user.clone(),
        role_code: "DEVELOPER".to_owned(),
        request_id: request_id(),
    };
    h.customer().account.grant_role(request).await.unwrap();
    assert_eq!(sums(&h.person(&user)).await, [None, None, None]);
}

#[tokio::test]
async fn a_closing_waits_for_a_run_that_is_under_way() {
    let h = Harness::start().await;
    let by_hand = (
        "run_approval: {SUPPORT: NOT_REQUIRED}",
        "run_approval: {SUPPORT: REQUIRED}",
    );
    h.import_as("v2", &[by_hand]).await;
    let id = h.account().await;
    h.advance("2026-04-01T00:00:00Z").await;
    let run = perdiem::run::create(&h.operator, "SUPPORT", "2026-03", false);
    let run = run.await.unwrap().billing_run_id;
    let watched = perdiem::run::watch(&h.operator, &run, true).await.unwrap();
    assert_eq!(
        watched.state(),
        billing::billing_run::State::AwaitingApproval
    );
    let request = closing(&id, Way::DeleteAllDataAndSettings);
    let close = async || {
        let mut client = h.customer().account;
        client.close_account(request.clone()).await
    };
    // As a run that was halted while it issues invoices.
    let halted = "UPDATE billing.runs SET phase = 'SETTLE', state = 'HALTED'";
    sqlx::query(halted).execute(&h.db).await.unwrap();
    let request_of = account::GetCloseOptionsRequest {
        account_id: id.clone(),
    };
    let told = h.customer().account.get_close_options(request_of).await;
    let told = told.unwrap().into_inner().close_blockers;
    let told: Vec<_> = told
        .iter()
        .map(|it| {
            (
                it.reason.as_str(),
                it.resource.as_str(),
                it.remedy_code.as_str(),
            )
        })
        .collect();
    assert_eq!(told, [("RUN_UNDER_WAY", "SUPPORT", "WAIT")]);
    let waits = refused(close().await);
    assert_eq!(waits, (Code::Aborted, "RUN_UNDER_WAY".to_owned()));
    assert_eq!(get(&h, &id).await.status(), Standing::Active);
    let begun = "SELECT count(*) FROM account.closings";
    assert_eq!(h.count(begun).await, 0, "it is given up");
    let waiting = "UPDATE billing.runs SET phase = 'RATE', state = 'AWAITING_APPROVAL'";
    sqlx::query(waiting).execute(&h.db).await.unwrap();
    perdiem::run::approve(&h.operator, &run).await.unwrap();
    perdiem::run::watch(&h.operator, &run, true).await.unwrap();
    h.advance("2026-04-01T00:00:01Z").await;
    // The same request, which has no final answer yet.
    let closed = close().await.unwrap().into_inner().account.unwrap();
    assert_eq!(closed.status(), Standing::Closed);
}

#[tokio::test]
async fn req_039_a_run_that_waits_for_its_approval_keeps_nobody() {
    let h = Harness::start().await;
    let by_hand = (
        "run_approval: {SUPPORT: NOT_REQUIRED}",
        "run_approval: {SUPPORT: REQUIRED}",
    );
    h.import_as("v2", &[by_hand]).await;
    let (leaves, stays) = (h.account().await, h.account().await);
    for id in [&leaves, &stays] {
        h.change("2026-03-02T00:00:00Z", id, "business").await;
    }
    h.advance("2026-04-01T06:00:00Z").await;
    let run = perdiem::run::create(&h.operator, "SUPPORT", "2026-03", false);
    let run = run.await.unwrap().billing_run_id;
    let watched = perdiem::run::watch(&h.operator, &run, true).await.unwrap();
    assert_eq!(
        watched.state(),
        billing::billing_run::State::AwaitingApproval
    );
    // As if the run had not been able to rate it.
    let parked = "INSERT INTO billing.parked_accounts (run_id, root_id, reason, detail, parked_at)
                  SELECT run_id, root_id, 'SEGMENTS', 'it does not add up', now() FROM billing.runs, billing.accounts";
    sqlx::query(parked).execute(&h.db).await.unwrap();
    let request = account::GetCloseOptionsRequest {
        account_id: leaves.clone(),
    };
    let told = h.customer().account.get_close_options(request).await;
    let told = told.unwrap().into_inner();
    assert!(told.close_blockers.is_empty(), "{:?}", told.close_blockers);
    let closed = close(&h.customer(), &leaves).await.unwrap();
    let released = "DELETE FROM billing.parked_accounts";
    sqlx::query(released).execute(&h.db).await.unwrap();
    assert_eq!(closed.status(), Standing::Closed);
    let how = closed.closing.unwrap();
    assert_eq!(how.settlement_amount, told.estimated_settlement_amount);
    assert!(how.settlement_amount.is_some(), "March is owed");
    let of_march = async |id: &str| {
        let invoices = h.invoices(id).await.into_iter();
        invoices
            .filter(|it| it.period_start_date == "2026-03-01")
            .map(|it| it.total.unwrap().amount)
            .collect::<Vec<_>>()
    };
    let billed = of_march(&leaves).await;
    assert_eq!(billed.len(), 1, "by the closing");
    assert_eq!(of_march(&stays).await.len(), 0, "the run has billed nobody");

    // Approved at last, the run bills whoever is left, as much for the same days, and nobody twice.
    perdiem::run::approve(&h.operator, &run).await.unwrap();
    let done = perdiem::run::watch(&h.operator, &run, true).await.unwrap();
    assert_eq!(done.state(), billing::billing_run::State::Completed);
    assert_eq!(of_march(&leaves).await, billed);
    assert_eq!(of_march(&stays).await, billed);
    consistent(&h).await;
}

#[tokio::test]
async fn req_056_req_074_ways_to_close_are_told_and_the_owner_is_told_once_what_follows() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let options = async |id: &str| {
        let request = account::GetCloseOptionsRequest {
            account_id: id.to_owned(),
        };
        let told = h.customer().account.get_close_options(request).await;
        let told = told.unwrap().into_inner();
        let ways: Vec<_> = told.options().collect();
        (ways, told.acknowledgement_codes.len(), told.contact_code)
    };
    let request = account::CreateAccountRequest {
        profile_code: "global".to_owned(),
        display_name: "A trial".to_owned(),
        owner_user_id: h.owner.clone(),
        request_id: request_id(),
        ..account::CreateAccountRequest::default()
    };
    let made = h.customer().account.create_account(request).await.unwrap();
    let trial = made.into_inner().account.unwrap().account_id;
    assert_eq!(options(&trial).await, (vec![Way::Close], 4, String::new()));
    let full = h.account().await;
    let (ways, boxes, contact) = options(&full).await;
    assert_eq!(ways, [Way::DeleteAllDataAndSettings, Way::KeepAccountData]);
    assert_eq!((boxes, contact.as_str()), (0, ""));
    let invoiced = h.account_of("global", true).await;
    assert_eq!(
        options(&invoiced).await,
        (Vec::new(), 0, "CONTACT_ACCOUNT_MANAGER".to_owned())
    );

    // REQ-074: 80.00 refunded, due on the tenth business day, deleted thirty days later; told once.
    h.advance("2026-05-01T10:00:00Z").await;
    shop.card(&full, "tok_ok").await;
    buys(&shop, &full, "80.00").await;
    close(&h.customer(), &full).await.unwrap();
    close(&h.customer(), &full).await.unwrap();
    let request = account::ListNotificationsRequest {
        account_id: full.clone(),
        kind_code: "ACCOUNT_CLOSED".to_owned(),
        ..account::ListNotificationsRequest::default()
    };
    let told = h.customer().account.list_notifications(request).await;
    let told = told.unwrap().into_inner().notifications;
    assert_eq!(told.len(), 1);
    let fact = |name: &str| {
        let fact = told[0].facts.iter().find(|it| it.name == name);
        fact.map(|it| it.value.clone()).unwrap_or_default()
    };
    assert_eq!(told[0].email, "owner@example.com");
    assert_eq!(fact("refund_amount"), "USD 80.00");
    assert_eq!(fact("refund_due_date"), "2026-05-15");
    assert!(fact("purge_time").starts_with("2026-05-31T10:00:00"));
    assert!(fact("close_time").starts_with("2026-05-01T10:00:00"));
}

#[tokio::test]
async fn req_075_a_contract_goes_on_without_the_member_that_closes() {
    let shop = Shop::start().await;
    let h = &shop.h;
    h.advance("2026-04-01T00:00:00Z").await;
    let ids = [h.account().await, h.account().await, h.account().await];
    let contract = h.contract("business", &[&ids[0], &ids[1], &ids[2]]).await;
    h.used(&ids[0], "2026-04-01T01:00:00Z", "20000.00").await;
    h.used(&ids[2], "2026-04-01T01:00:00Z", "10000.00").await;
    h.advance("2026-04-10T00:00:00Z").await;
    h.used(&ids[1], "2026-04-09T12:00:00Z", "10000.00").await;
    close(&h.operator_with("SALES"), &ids[1]).await.unwrap();
    // Its usage counts on its days in the pool; the others stay on the plan, and the payer pays.
    for id in [&ids[0], &ids[2]] {
        let plan = h.plan_at(id, "2026-04-20T00:00:00Z").await.unwrap();
        assert_eq!(plan.plan_code, "business");
        assert_eq!(plan.contract_id, contract.contract_id);
    }
    assert!(h.plan_at(&ids[1], "2026-04-10T00:00:01Z").await.is_err());
    h.advance("2026-05-02T06:00:00Z").await;
    h.bill("2026-04").await;
    let lines = h.lines(&ids[0]).await;
    let line = |days, amount: &str| ("business".to_owned(), days, amount.to_owned());
    assert_eq!(
        lines,
        [line(9, "720.00"), line(21, "1260.00")],
        "6 % of 40,000.00 for 9 days, then of 30,000.00"
    );
    assert!(h.invoices(&ids[1]).await.is_empty());
    assert!(h.invoices(&ids[2]).await.is_empty());
    consistent(h).await;
}

#[tokio::test]
async fn req_075_a_day_of_a_contract_has_one_payer_also_when_a_member_closes_on_it() {
    let shop = Shop::start().await;
    let h = &shop.h;
    h.advance("2026-04-01T00:00:00Z").await;
    let ids = [h.account().await, h.account().await, h.account().await];
    let contract = h.contract("business", &[&ids[0], &ids[1], &ids[2]]).await;
    h.used(&ids[0], "2026-04-01T01:00:00Z", "30000.00").await;
    h.used(&ids[2], "2026-04-01T01:00:00Z", "30000.00").await;
    // One closes in the morning; in the evening another pays.
    h.advance("2026-04-16T08:00:00Z").await;
    close(&h.operator_with("SALES"), &ids[2]).await.unwrap();
    h.advance("2026-04-16T18:00:00Z").await;
    let request = plan::SetContractPayerRequest {
        contract_id: contract.contract_id,
        payer_account_id: ids[1].clone(),
        request_id: request_id(),
    };
    let mut plan = h.operator.plan.clone();
    plan.set_contract_payer(request).await.unwrap();
    h.advance("2026-05-02T06:00:00Z").await;
    h.bill("2026-04").await;
    let line = |days, amount: &str| ("business".to_owned(), days, amount.to_owned());
    assert_eq!(
        h.lines(&ids[0]).await,
        [line(15, "1800.00")],
        "3,600.00 x 15/30"
    );
    assert_eq!(
        h.lines(&ids[1]).await,
        [line(1, "120.00"), line(14, "840.00")],
        "60,000.00 on the last day of the one that closed, then 30,000.00"
    );
    assert!(h.invoices(&ids[2]).await.is_empty());
    consistent(h).await;
}

#[tokio::test]
async fn an_account_that_pays_by_invoice_is_closed_by_its_owner_where_the_profile_says_so() {
    let shop = Shop::start().await;
    let h = &shop.h;
    h.import_as("v2", &[("invoiced: OPERATOR_ONLY", "invoiced: OWNER")])
        .await;
    let invoiced = h.account_of("global", true).await;
    let closed = close(&h.customer(), &invoiced).await.unwrap();
    assert_eq!(closed.status(), Standing::Closed);
}

/// Two accounts under one contract: the first used 20,000 and paid until the 16th, the second used 40,000 and pays from
/// then on; the first closes on the 20th.
async fn payer_that_closes(shop: &Shop) -> [String; 2] {
    let h = &shop.h;
    h.advance("2026-04-01T00:00:00Z").await;
    let ids = [h.account().await, h.account().await];
    // What the first one owes is paid from its balance as it closes.
    shop.card(&ids[0], "tok_ok").await;
    buys(shop, &ids[0], "2000.00").await;
    let contract = h.contract("business", &[&ids[0], &ids[1]]).await;
    h.used(&ids[0], "2026-04-01T01:00:00Z", "20000.00").await;
    h.used(&ids[1], "2026-04-01T01:00:00Z", "40000.00").await;
    h.advance("2026-04-16T08:00:00Z").await;
    let request = plan::SetContractPayerRequest {
        contract_id: contract.contract_id,
        payer_account_id: ids[1].clone(),
        request_id: request_id(),
    };
    let mut plan = h.operator.plan.clone();
    plan.set_contract_payer(request).await.unwrap();
    h.advance("2026-04-20T10:00:00Z").await;
    close(&h.operator_with("SALES"), &ids[0]).await.unwrap();
    h.advance("2026-04-20T10:00:01Z").await;
    let line = ("business".to_owned(), 15, "1800.00".to_owned());
    assert_eq!(
        h.lines(&ids[0]).await,
        [line],
        "6 % of 60,000.00 is 3,600.00, x 15/30"
    );
    ids
}

#[tokio::test]
async fn req_016_what_a_payer_that_closes_and_the_next_one_pay_adds_up_to_the_month() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let ids = payer_that_closes(&shop).await;
    h.advance("2026-05-02T06:00:00Z").await;
    h.bill("2026-04").await;
    // 3,600.00 for the 20 days of both, and 6 % of 40,000.00 for the 10 days of one: 2,400.00 + 800.00 in all.
    let line = |days, amount: &str| ("business".to_owned(), days, amount.to_owned());
    assert_eq!(
        h.lines(&ids[0]).await,
        [line(15, "1800.00")],
        "the run bills nothing of it again"
    );
    assert_eq!(
        h.lines(&ids[1]).await,
        [line(5, "600.00"), line(10, "800.00")],
        "the closing day is the last of both"
    );
    consistent(h).await;
}

#[tokio::test]
async fn usage_after_the_closing_of_a_payer_counts_for_the_days_of_the_next_one() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let ids = payer_that_closes(&shop).await;
    // Within the hours of grace, after which the month is billed by itself.
    h.advance("2026-05-01T06:00:00Z").await;
    h.used(&ids[1], "2026-04-25T00:00:00Z", "30000.00").await;
    h.bill("2026-04").await;
    let line = |days, amount: &str| ("business".to_owned(), days, amount.to_owned());
    assert_eq!(
        h.lines(&ids[0]).await,
        [line(15, "1800.00")],
        "what is settled stays settled"
    );
    assert_eq!(
        h.lines(&ids[1]).await,
        [line(5, "900.00"), line(10, "1400.00")],
        "6 % of 90,000.00 x 5/30, then of 70,000.00 x 10/30"
    );
    consistent(h).await;
}

#[tokio::test]
async fn invoices_are_listed_newest_first_page_by_page_too() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let id = h.account().await;
    shop.card(&id, "tok_ok").await;
    // Two of one instant: the higher number is the newer one.
    for (at, amount) in [
        ("2026-03-02T00:00:00Z", "50.00"),
        ("2026-03-02T00:00:00Z", "60.00"),
        ("2026-03-02T01:00:00Z", "70.00"),
    ] {
        h.advance(at).await;
        buys(&shop, &id, amount).await;
    }
    let newest_first = ["70.00", "60.00", "50.00"];
    for account_id in [id.clone(), String::new()] {
        let mut request = billing::ListInvoicesRequest {
            account_id,
            page_size: 1,
            ..billing::ListInvoicesRequest::default()
        };
        let mut totals = Vec::new();
        loop {
            let mut client = h.operator.billing.clone();
            let page = client.list_invoices(request.clone()).await;
            let page = page.unwrap().into_inner();
            let shown = page.invoices.into_iter();
            totals.extend(shown.map(|it| it.total.unwrap().amount));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        assert_eq!(totals, newest_first);
    }
}
