//! Closing and what follows from it, by the services that decide it: who may, what is settled, what goes back,
//! and what stays as it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use perdiem::connect::{Clients, request_id, timestamp};
use proto::account::v1 as account;
use proto::account::v1::account::{Mode, Status as Standing, SuspensionReason};
use proto::account::v1::closing::Option as Way;
use proto::account::v1::create_order_request::Kind;
use proto::billing::v1 as billing;
use proto::payments::v1 as payments;
use proto::r#type::v1::{Amount, Money};
use tokio::sync::Barrier;
use tonic::{Code, Status};

use crate::harness::{Harness, instant};
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
    // 1,000.00 less 5 %, and its tax; the window of refunds does not count here.
    assert_eq!(how.refund_amount.unwrap().amount, "1121.00");
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
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "not {standing:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    until(Standing::Suspended).await;
    let reasons = get(h, &id).await.suspension_reasons;
    assert_eq!(reasons, [i32::from(SuspensionReason::Balance)]);
    buys(&shop, &id, "500.00").await;
    until(Standing::Active).await;
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
            assert!(begun.elapsed() < Duration::from_mins(1));
        }
        while refunds(&shop, id).await != [("10.00".to_owned(), payments::MovementState::Succeeded)]
        {
            assert!(begun.elapsed() < Duration::from_mins(1));
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
        (Code::FailedPrecondition, "ORDER_UNDER_WAY".to_owned())
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
        refused(prepare("2026-03-01T12:00:00Z").await).1,
        "PAYMENT_UNDER_WAY"
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
    let waits = refused(close(&h.customer(), &id).await);
    assert_eq!(
        waits,
        (Code::FailedPrecondition, "RUN_UNDER_WAY".to_owned())
    );
    assert_eq!(get(&h, &id).await.status(), Standing::Active);
    let approve = billing::ApproveBillingRunRequest {
        billing_run_id: run.clone(),
        request_id: request_id(),
    };
    let mut client = h.operator.billing.clone();
    client.approve_billing_run(approve).await.unwrap();
    perdiem::run::watch(&h.operator, &run, true).await.unwrap();
    h.advance("2026-04-01T00:00:01Z").await;
    let closed = close(&h.customer(), &id).await.unwrap();
    assert_eq!(closed.status(), Standing::Closed);
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
    // Its usage up to its closing counts; the others stay on the plan, and the payer pays.
    for id in [&ids[0], &ids[2]] {
        let plan = h.plan_at(id, "2026-04-20T00:00:00Z").await.unwrap();
        assert_eq!(plan.plan_code, "business");
        assert_eq!(plan.contract_id, contract.contract_id);
    }
    assert!(h.plan_at(&ids[1], "2026-04-10T00:00:01Z").await.is_err());
    h.advance("2026-05-02T06:00:00Z").await;
    h.bill("2026-04").await;
    let lines = h.lines(&ids[0]).await;
    assert_eq!(
        lines,
        [("business".to_owned(), 30, "2400.00".to_owned())],
        "6 % of 40,000.00"
    );
    assert!(h.invoices(&ids[1]).await.is_empty());
    assert!(h.invoices(&ids[2]).await.is_empty());
    consistent(h).await;
}
