//! Payments: methods, charges and refunds against the sandbox, whose own book is the judge.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use perdiem::connect::{Clients, request_id, timestamp};
use proto::payments::v1 as payments;
use proto::payments::v1::{MovementState, Purpose};
use proto::r#type::v1::Money;
use tokio::sync::Barrier;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::harness::{Harness, PATIENCE, instant, reason};

/// A suite with clients of the two services that call payments.
struct Payments {
    h: Harness,
    billing: Clients,
    account: Clients,
}

impl Payments {
    async fn start(environment: &[(&str, &str)]) -> Self {
        let h = Harness::start_with(environment).await;
        let clients =
            |service: &str| Clients::new(&h.urls, &h.suite.keys.service(service).unwrap()).unwrap();
        Self {
            billing: clients("billing"),
            account: clients("account-lifecycle"),
            h,
        }
    }

    /// A root account with a card by a sandbox token; gives both ids.
    async fn card(&self, token: &str) -> (String, String) {
        let account_id = self.h.account().await;
        let method = self.add(&account_id, "CARD", token, |_| {}).await.unwrap();
        (account_id, method.payment_method_id)
    }

    async fn add(
        &self,
        account_id: &str,
        method_code: &str,
        token: &str,
        change: impl FnOnce(&mut payments::AddPaymentMethodRequest),
    ) -> Result<payments::PaymentMethod, Status> {
        let mut request = payments::AddPaymentMethodRequest {
            account_id: account_id.to_owned(),
            method_code: method_code.to_owned(),
            provider_token: token.to_owned(),
            request_id: request_id(),
            ..payments::AddPaymentMethodRequest::default()
        };
        change(&mut request);
        let mut client = self.account.payments.clone();
        let added = client.add_payment_method(request).await?;
        Ok(added.into_inner().payment_method.unwrap())
    }

    async fn charge(
        &self,
        request: &payments::CreateChargeRequest,
    ) -> Result<payments::Charge, Status> {
        let mut client = self.billing.payments.clone();
        let charged = client.create_charge(request.clone()).await?;
        Ok(charged.into_inner().charge.unwrap())
    }

    async fn refund(
        &self,
        request: &payments::CreateRefundRequest,
    ) -> Result<payments::Refund, Status> {
        let mut client = self.billing.payments.clone();
        let refunded = client.create_refund(request.clone()).await?;
        Ok(refunded.into_inner().refund.unwrap())
    }

    async fn get(&self, charge: &payments::Charge) -> payments::Charge {
        let request = payments::GetChargeRequest {
            account_id: charge.account_id.clone(),
            charge_id: charge.charge_id.clone(),
        };
        let mut client = self.billing.payments.clone();
        client
            .get_charge(request)
            .await
            .unwrap()
            .into_inner()
            .charge
            .unwrap()
    }

    /// The charge once it is in a state.
    async fn until(&self, charge: &payments::Charge, state: MovementState) -> payments::Charge {
        let begun = Instant::now();
        loop {
            let now = self.get(charge).await;
            if now.state() == state {
                return now;
            }
            assert!(begun.elapsed() < PATIENCE, "still {:?}", now.state());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the sandbox's own book says it took under a reference, in minor units.
    async fn booked(&self, reference: &str) -> Vec<(String, i64)> {
        sqlx::query_as(
            "SELECT state, amount_minor FROM payments.sandbox_book WHERE provider_key = $1",
        )
        .bind(Uuid::parse_str(reference).unwrap())
        .fetch_all(&self.h.db)
        .await
        .unwrap()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as the fields of messages are")]
fn usd(amount: &str) -> Option<Money> {
    Some(Money {
        currency_code: "USD".to_owned(),
        amount: amount.to_owned(),
    })
}

/// A new intent to charge an account's default method.
fn charge_of(account_id: &str, amount: &str) -> payments::CreateChargeRequest {
    payments::CreateChargeRequest {
        account_id: account_id.to_owned(),
        amount: usd(amount),
        purpose: Purpose::Credits.into(),
        invoice_id: format!("IN{}", Uuid::new_v4().simple()),
        attempt_number: 1,
        request_id: request_id(),
        ..payments::CreateChargeRequest::default()
    }
}

fn refund_of(charge: &payments::Charge, key: &str, amount: &str) -> payments::CreateRefundRequest {
    payments::CreateRefundRequest {
        account_id: charge.account_id.clone(),
        charge_id: charge.charge_id.clone(),
        amount: usd(amount),
        refund_key: key.to_owned(),
        attempt_number: 1,
        request_id: request_id(),
        ..payments::CreateRefundRequest::default()
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = result.unwrap_err();
    (status.code(), reason(&status))
}

fn precondition(reason: &str) -> (Code, String) {
    (Code::FailedPrecondition, reason.to_owned())
}

#[tokio::test]
async fn req_103_req_104_req_105_methods_by_network_and_country() {
    let p = Payments::start(&[]).await;
    let indian = p.h.account_of("india", false).await;
    let elsewhere = p.h.account_of("india", false).await;
    for (account_id, country) in [(&indian, "IN"), (&elsewhere, "SG")] {
        let request = payments::UpdateAccountFactsRequest {
            account_id: account_id.clone(),
            country_code: country.to_owned(),
            request_id: request_id(),
        };
        p.account
            .payments
            .clone()
            .update_account_facts(request)
            .await
            .unwrap();
    }
    for network in ["visa", "mastercard", "rupay"] {
        let added = p
            .add(&elsewhere, "CARD", &format!("tok_ok_{network}"), |_| {})
            .await;
        assert_eq!(added.unwrap().network_code, network.to_uppercase());
    }
    assert_eq!(
        refused(p.add(&indian, "CARD", "tok_ok_amex", |_| {}).await),
        (Code::InvalidArgument, "METHOD_NOT_AVAILABLE".to_owned())
    );
    assert_eq!(
        refused(p.add(&indian, "CARD", "4242424242424242", |_| {}).await),
        (Code::InvalidArgument, "CARD_NUMBER_REFUSED".to_owned())
    );
    assert_eq!(
        refused(p.add(&indian, "CARD", "tok_stolen", |_| {}).await),
        precondition("PROVIDER_TOKEN_REFUSED")
    );
    let bank = |request: &mut payments::AddPaymentMethodRequest| request.bank_code = "HDFC".into();
    let app = |request: &mut payments::AddPaymentMethodRequest| request.app_code = "PHONEPE".into();
    p.add(&indian, "NET_BANKING", "tok_ok_bank", bank)
        .await
        .unwrap();
    p.add(&indian, "UPI", "tok_ok_upi", app).await.unwrap();
    // A bank and an app that the catalogue does not list.
    let bank_2 = |it: &mut payments::AddPaymentMethodRequest| it.bank_code = "CITI".into();
    let app_2 = |it: &mut payments::AddPaymentMethodRequest| it.app_code = "BHIM".into();
    let unlisted = (Code::InvalidArgument, "METHOD_NOT_AVAILABLE".to_owned());
    assert_eq!(
        refused(p.add(&indian, "NET_BANKING", "tok_ok_bank", bank_2).await),
        unlisted
    );
    assert_eq!(
        refused(p.add(&indian, "UPI", "tok_ok_upi", app_2).await),
        unlisted
    );
    assert_eq!(
        refused(p.add(&elsewhere, "NET_BANKING", "tok_ok_bank", bank).await),
        precondition("METHOD_NOT_AVAILABLE")
    );
    assert_eq!(
        refused(p.add(&elsewhere, "UPI", "tok_ok_upi", app).await),
        precondition("METHOD_NOT_AVAILABLE")
    );

    let eligible = async |account_id: &str, plan: &str, cycle: &str| {
        let request = payments::ListEligibleMethodsRequest {
            account_id: account_id.to_owned(),
            plan_code: plan.to_owned(),
            billing_cycle_code: cycle.to_owned(),
            purpose: Purpose::Subscription.into(),
            ..payments::ListEligibleMethodsRequest::default()
        };
        let mut client = p.billing.payments.clone();
        let listed = client
            .list_eligible_methods(request)
            .await
            .unwrap()
            .into_inner();
        listed.eligible_methods
    };
    let codes = |methods: &[payments::EligibleMethod]| -> Vec<String> {
        methods.iter().map(|it| it.method_code.clone()).collect()
    };
    let here = eligible(&indian, "starter", "MONTHLY").await;
    assert_eq!(codes(&here), ["CARD", "NET_BANKING", "UPI"]);
    assert_eq!(here[2].app_codes, ["GOOGLE_PAY", "PHONEPE", "PAYTM"]);
    assert_eq!(here[1].payment_methods.len(), 1);
    assert_eq!(
        codes(&eligible(&elsewhere, "growth", "ANNUAL").await),
        ["CARD"]
    );
    assert_eq!(
        codes(&eligible(&elsewhere, "enterprise", "ANNUAL").await),
        ["CARD", "WIRE", "CHEQUE"]
    );
}

#[tokio::test]
async fn a_charge_ends_as_its_token_says_and_an_attempt_is_one_charge() {
    let p = Payments::start(&[("LOOK_UP_SECONDS", "1")]).await;
    let (ac, method) = p.card("tok_ok").await;
    let request = charge_of(&ac, "25.00");
    let charge = p.charge(&request).await.unwrap();
    assert_eq!(charge.state(), MovementState::Succeeded);
    assert_eq!(charge.settled_amount, usd("25.00"));
    assert_eq!(charge.payment_method_id, method);
    // Whatever the request id, an attempt is one charge; with other values it is refused.
    let again = payments::CreateChargeRequest {
        request_id: request_id(),
        ..request.clone()
    };
    assert_eq!(p.charge(&again).await.unwrap(), charge);
    let other = payments::CreateChargeRequest {
        amount: usd("26.00"),
        request_id: request_id(),
        ..request.clone()
    };
    assert_eq!(
        refused(p.charge(&other).await),
        (Code::AlreadyExists, "CHARGE_EXISTS".to_owned())
    );
    assert_eq!(
        p.booked(&charge.provider_key).await,
        [("SUCCEEDED".to_owned(), 25_00)]
    );
    let second = payments::CreateChargeRequest {
        attempt_number: 2,
        request_id: request_id(),
        ..request
    };
    assert_eq!(
        refused(p.charge(&second).await),
        precondition("ATTEMPT_NOT_DECLINED")
    );

    let (ac, _) = p.card("tok_fails_1").await;
    let first = charge_of(&ac, "5.00");
    let declined = p.charge(&first).await.unwrap();
    assert_eq!(
        (
            declined.state(),
            declined.failure_reason.as_str(),
            declined.retryable
        ),
        (MovementState::Declined, "TRY_AGAIN_LATER", true)
    );
    let next = payments::CreateChargeRequest {
        attempt_number: 2,
        request_id: request_id(),
        ..first
    };
    let succeeded = p.charge(&next).await.unwrap();
    assert_eq!(succeeded.state(), MovementState::Succeeded);
    assert_ne!(succeeded.provider_key, declined.provider_key);

    let (ac, _) = p.card("tok_down").await;
    let not_sent = p.charge(&charge_of(&ac, "5.00")).await.unwrap();
    assert_eq!(not_sent.state(), MovementState::FailedNotSent);
    assert!(p.booked(&not_sent.provider_key).await.is_empty());

    let (ac, _) = p.card("tok_duplicate").await;
    let once = p.charge(&charge_of(&ac, "5.00")).await.unwrap();
    assert_eq!(once.state(), MovementState::Succeeded);
    assert_eq!(p.booked(&once.provider_key).await.len(), 1);

    for (token, ends) in [
        ("tok_timeout_after", MovementState::Succeeded),
        ("tok_timeout_declined", MovementState::Declined),
        ("tok_timeout_before", MovementState::Succeeded),
    ] {
        let (ac, _) = p.card(token).await;
        let unknown = p.charge(&charge_of(&ac, "7.00")).await.unwrap();
        assert!(
            !unknown.state().as_str_name().ends_with("SENT"),
            "{token}: {unknown:?}"
        );
        let known = p.until(&unknown, ends).await;
        let book = p.booked(&known.provider_key).await;
        assert_eq!(book.len(), 1, "{token}");
        assert_eq!(
            format!("MOVEMENT_STATE_{}", book[0].0),
            known.state().as_str_name(),
            "{token}"
        );
    }

    let removed = payments::RemovePaymentMethodRequest {
        account_id: charge.account_id.clone(),
        payment_method_id: method.clone(),
        request_id: request_id(),
    };
    p.account
        .payments
        .clone()
        .remove_payment_method(removed)
        .await
        .unwrap();
    let named = payments::CreateChargeRequest {
        payment_method_id: method,
        ..charge_of(&charge.account_id, "1.00")
    };
    assert_eq!(
        refused(p.charge(&named).await),
        precondition("PAYMENT_METHOD_NOT_USABLE")
    );
    let unnamed = charge_of(&charge.account_id, "1.00");
    assert_eq!(
        refused(p.charge(&unnamed).await),
        precondition("NO_PAYMENT_METHOD")
    );
}

#[tokio::test]
async fn two_thousand_unknown_outcomes_end_as_the_providers_book_says() {
    const MOVEMENTS: usize = 2_000;
    const TOKENS: [&str; 3] = [
        "tok_timeout_after",
        "tok_timeout_declined",
        "tok_timeout_before",
    ];
    let environment = [("LOOK_UP_SECONDS", "1"), ("LEASE_SECONDS", "1")];
    let mut p = Payments::start(&environment).await;
    let mut accounts = Vec::new();
    for token in TOKENS {
        accounts.push(p.card(token).await.0);
    }
    // The service is killed again and again meanwhile; whoever calls sends the same again.
    let requests: Vec<_> = (0..MOVEMENTS)
        .map(|n| charge_of(&accounts[n % 3], "3.00"))
        .collect();
    let (client, total) = (p.billing.payments.clone(), requests.len());
    let sending = tokio::spawn(async move {
        let sent = futures::stream::iter(requests).map(|request| {
            let mut client = client.clone();
            async move {
                loop {
                    match client.create_charge(request.clone()).await {
                        Ok(answer) => return answer.into_inner().charge.unwrap(),
                        Err(status) => {
                            let again = [
                                Code::Unavailable,
                                Code::Unknown,
                                Code::Cancelled,
                                Code::Aborted,
                                Code::DeadlineExceeded,
                                Code::Internal,
                            ];
                            assert!(again.contains(&status.code()), "{status:?}");
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                    }
                }
            }
        });
        sent.buffer_unordered(32).collect::<Vec<_>>().await
    });
    let mut kills = 0;
    while !sending.is_finished() && kills < 10 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        if sending.is_finished() {
            break;
        }
        assert!(p.h.suite.kill("payments").await);
        p.h.suite.spawn("payments", &[]).unwrap();
        p.h.suite.wait_for("payments").await.unwrap();
        kills += 1;
    }
    let charges = sending.await.unwrap();
    assert_eq!(charges.len(), total);

    let begun = Instant::now();
    let open = "SELECT count(*) FROM payments.movements WHERE state NOT IN ('SUCCEEDED', 'DECLINED', 'FAILED_NOT_SENT')";
    while 0 < p.h.count(open).await {
        assert!(
            begun.elapsed() < Duration::from_mins(2),
            "{} still open",
            p.h.count(open).await
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!(
        "{total} unknown outcomes, {kills} kills, all definite {:?} after the last call",
        begun.elapsed()
    );
    assert!(3 <= kills, "the service was killed only {kills} times");
    let count = p.h.count("SELECT count(*) FROM payments.movements").await;
    assert_eq!(count, i64::try_from(total).unwrap());
    // Every movement is as the book says; the book has each once, and none that is not ours.
    let differ = p
        .h
        .count(
            "SELECT count(*) FROM payments.movements m FULL JOIN payments.sandbox_book b USING (provider_key)
             WHERE m.state IS DISTINCT FROM b.state OR m.amount_minor IS DISTINCT FROM b.amount_minor
                OR (m.state = 'SUCCEEDED' AND m.settled_minor IS DISTINCT FROM b.amount_minor)",
        )
        .await;
    assert_eq!(differ, 0);
}

#[tokio::test]
async fn refunds_never_exceed_the_charge_however_many_ask_at_once() {
    const CALLERS: usize = 16;
    let p = Arc::new(Payments::start(&[]).await);
    let (ac, _) = p.card("tok_ok").await;
    for round in 0..10 {
        let charge = p.charge(&charge_of(&ac, "10.00")).await.unwrap();
        let barrier = Arc::new(Barrier::new(CALLERS));
        let calls = (0..CALLERS).map(|caller| {
            let (p, charge, barrier) = (p.clone(), charge.clone(), barrier.clone());
            tokio::spawn(async move {
                barrier.wait().await;
                let request = refund_of(&charge, &format!("r{round}-{caller}"), "3.00");
                p.refund(&request).await
            })
        });
        let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
        for call in futures::future::join_all(calls).await {
            let outcome = match call.unwrap() {
                Ok(refund) => refund.state().as_str_name().to_owned(),
                Err(status) => reason(&status),
            };
            *outcomes.entry(outcome).or_default() += 1;
        }
        let expected = [
            ("MOVEMENT_STATE_SUCCEEDED", 3),
            ("REFUND_EXCEEDS_CHARGE", 13),
        ];
        let expected = expected.map(|(outcome, count)| (outcome.to_owned(), count));
        assert_eq!(outcomes, BTreeMap::from(expected));
        assert_eq!(p.get(&charge).await.refunded_amount, usd("9.00"));
    }
    let over = "SELECT count(*) FROM (
        SELECT charge_key FROM payments.sandbox_book WHERE kind = 'REFUND' AND state = 'SUCCEEDED'
        GROUP BY charge_key HAVING sum(amount_minor) > 1000) over";
    assert_eq!(p.h.count(over).await, 0);
}

#[tokio::test]
async fn req_069_a_refused_refund_is_tried_again_and_gives_back_what_it_had_set_aside() {
    let p = Payments::start(&[]).await;
    let (ac, _) = p.card("tok_refund_fails_2").await;
    let charge = p.charge(&charge_of(&ac, "10.00")).await.unwrap();
    let mut request = refund_of(&charge, "closing", "10.00");
    request.due_date = "2026-03-13".to_owned();
    for attempt_number in 1..=3 {
        request.attempt_number = attempt_number;
        request.request_id = request_id();
        let refund = p.refund(&request).await.unwrap();
        let expected = if attempt_number < 3 {
            (
                MovementState::Declined,
                payments::refund::Progress::Retrying,
            )
        } else {
            (
                MovementState::Succeeded,
                payments::refund::Progress::Succeeded,
            )
        };
        assert_eq!((refund.state(), refund.progress()), expected);
        let left = if attempt_number < 3 { "0.00" } else { "10.00" };
        assert_eq!(p.get(&charge).await.refunded_amount, usd(left));
    }
    assert_eq!(p.h.count("SELECT count(*) FROM payments.sandbox_book WHERE kind = 'REFUND' AND state = 'SUCCEEDED'").await, 1);

    // By a bank transfer a person pays back; until then it waits, and is overdue after its day.
    let (ac, _) = p.card("tok_refund_expired").await;
    let charge = p.charge(&charge_of(&ac, "8.00")).await.unwrap();
    let declined = p
        .refund(&refund_of(&charge, "closing", "8.00"))
        .await
        .unwrap();
    assert_eq!(
        (declined.failure_reason.as_str(), declined.retryable),
        ("INSTRUMENT_EXPIRED", false)
    );
    let by_hand = payments::CreateRefundRequest {
        route: payments::refund::Route::ManualBankTransfer.into(),
        attempt_number: 2,
        due_date: "2026-03-13".to_owned(),
        ..refund_of(&charge, "closing", "8.00")
    };
    let waiting = p.refund(&by_hand).await.unwrap();
    assert_eq!(waiting.progress(), payments::refund::Progress::NeedsManual);
    p.h.advance("2026-03-14T00:00:00Z").await;
    let overdue = payments::ListRefundsRequest {
        overdue: true,
        ..payments::ListRefundsRequest::default()
    };
    let listed = p
        .billing
        .payments
        .clone()
        .list_refunds(overdue)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.refunds.len(), 1);
    assert!(listed.refunds[0].overdue);
    let resolve = payments::ResolveMovementRequest {
        account_id: ac,
        movement_id: waiting.refund_id,
        outcome: payments::resolve_movement_request::Outcome::Moved.into(),
        amount: usd("8.00"),
        provider_movement_id: "bank-1".to_owned(),
        settle_time: Some(timestamp(instant("2026-03-13T09:00:00Z"))),
        note: "seen on the statement".to_owned(),
        request_id: request_id(),
    };
    let mut operator = p.h.operator.payments.clone();
    operator.resolve_movement(resolve.clone()).await.unwrap();
    let once_more = payments::ResolveMovementRequest {
        request_id: request_id(),
        ..resolve
    };
    assert_eq!(
        refused(operator.resolve_movement(once_more).await),
        precondition("MOVEMENT_NOT_PARKED")
    );
}

#[tokio::test]
async fn one_intent_has_one_effect_and_one_answer_to_thirty_two_at_once() {
    const INTENTS: usize = 20;
    const CALLERS: usize = 32;
    let p = Arc::new(Payments::start(&[]).await);
    let (ac, _) = p.card("tok_ok").await;
    for _ in 0..INTENTS {
        let (request, barrier) = (charge_of(&ac, "4.00"), Arc::new(Barrier::new(CALLERS)));
        let calls = (0..CALLERS).map(|_| {
            let (p, request, barrier) = (p.clone(), request.clone(), barrier.clone());
            tokio::spawn(async move {
                barrier.wait().await;
                // A twin may be told to send the same again, and whoever calls a busy machine too.
                let again = [
                    Code::Aborted,
                    Code::Unavailable,
                    Code::ResourceExhausted,
                    Code::DeadlineExceeded,
                ];
                loop {
                    match p.charge(&request).await {
                        Err(status) if again.contains(&status.code()) => {}
                        other => return prost::Message::encode_to_vec(&other.unwrap()),
                    }
                }
            })
        });
        let answers = futures::future::join_all(calls).await;
        let answers: std::collections::BTreeSet<_> =
            answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers.len(), 1);
    }
    let count =
        p.h.count("SELECT count(*) FROM payments.sandbox_book WHERE state = 'SUCCEEDED'")
            .await;
    assert_eq!(count, i64::try_from(INTENTS).unwrap());
    let request = charge_of(&ac, "4.00");
    p.charge(&request).await.unwrap();
    let other = payments::CreateChargeRequest {
        amount: usd("5.00"),
        ..request
    };
    assert_eq!(
        refused(p.charge(&other).await),
        (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned())
    );
}

#[tokio::test]
async fn req_106_req_107_req_129_offline_money_is_settled_once_or_bounces() {
    let p = Payments::start(&[]).await;
    let ac = p.h.account_of("india", false).await;
    let wire = p.add(&ac, "WIRE", "", |_| {}).await.unwrap();
    let inr = |amount: &str| {
        Some(Money {
            currency_code: "INR".to_owned(),
            amount: amount.to_owned(),
        })
    };
    let request = |plan: &str, cycle: &str| payments::CreateChargeRequest {
        payment_method_id: wire.payment_method_id.clone(),
        amount: inr("120000.00"),
        purpose: Purpose::Subscription.into(),
        plan_code: plan.to_owned(),
        billing_cycle_code: cycle.to_owned(),
        ..charge_of(&ac, "1.00")
    };
    for (plan, cycle) in [
        ("enterprise", "MONTHLY"),
        ("growth", "ANNUAL"),
        ("starter", "ANNUAL"),
    ] {
        assert_eq!(
            refused(p.charge(&request(plan, cycle)).await),
            precondition("METHOD_NOT_AVAILABLE"),
            "{plan} {cycle}"
        );
    }
    let small = payments::CreateChargeRequest {
        amount: inr("4999.99"),
        ..request("enterprise", "ANNUAL")
    };
    assert_eq!(
        refused(p.charge(&small).await),
        (Code::InvalidArgument, "BELOW_METHOD_MINIMUM".to_owned())
    );
    let charge = p.charge(&request("enterprise", "ANNUAL")).await.unwrap();
    // Sunday 1 March; two business days later it is Tuesday.
    assert_eq!(
        (charge.state(), charge.expected_date.as_str()),
        (MovementState::Pending, "2026-03-03")
    );

    let settle = |charge: &payments::Charge, amount: &str| payments::SettleChargeRequest {
        account_id: ac.clone(),
        charge_id: charge.charge_id.clone(),
        outcome: payments::settle_charge_request::Outcome::Settled.into(),
        amount: inr(amount),
        reference: "UTR-1".to_owned(),
        settle_time: Some(timestamp(instant("2026-03-01T11:00:00Z"))),
        request_id: request_id(),
    };
    let mut operator = p.h.operator.payments.clone();
    assert_eq!(
        refused(operator.settle_charge(settle(&charge, "119999.00")).await),
        (Code::InvalidArgument, "AMOUNT_DIFFERS".to_owned())
    );
    let settled = operator
        .settle_charge(settle(&charge, "120000.00"))
        .await
        .unwrap();
    assert_eq!(
        settled.into_inner().charge.unwrap().state(),
        MovementState::Succeeded
    );
    assert_eq!(
        refused(operator.settle_charge(settle(&charge, "120000.00")).await),
        precondition("CHARGE_NOT_PENDING")
    );
    let other = p.charge(&request("enterprise", "ANNUAL")).await.unwrap();
    assert_eq!(
        refused(operator.settle_charge(settle(&other, "120000.00")).await),
        (Code::AlreadyExists, "REFERENCE_USED".to_owned())
    );
    let bounced = payments::SettleChargeRequest {
        outcome: payments::settle_charge_request::Outcome::Bounced.into(),
        ..settle(&other, "120000.00")
    };
    let bounced = operator
        .settle_charge(bounced)
        .await
        .unwrap()
        .into_inner()
        .charge
        .unwrap();
    assert_eq!(
        (bounced.state(), bounced.failure_reason.as_str()),
        (MovementState::Declined, "BOUNCED")
    );
    let card = p.add(&ac, "CARD", "tok_ok", |_| {}).await.unwrap();
    let by_card = payments::CreateChargeRequest {
        payment_method_id: card.payment_method_id,
        ..request("enterprise", "ANNUAL")
    };
    let by_card = p.charge(&by_card).await.unwrap();
    assert_eq!(
        refused(operator.settle_charge(settle(&by_card, "120000.00")).await),
        precondition("CHARGE_NOT_OFFLINE")
    );
}

#[tokio::test]
async fn slow_money_is_pending_until_its_day_and_another_amount_waits_for_a_person() {
    let p = Payments::start(&[]).await;
    let (ac, _) = p.card("tok_slow_ok").await;
    let slow = p.charge(&charge_of(&ac, "9.00")).await.unwrap();
    assert_eq!(slow.state(), MovementState::Pending);
    let (ac, _) = p.card("tok_slow_bounced").await;
    let bouncing = p.charge(&charge_of(&ac, "9.00")).await.unwrap();
    let (ac, _) = p.card("tok_3ds_ok").await;
    let confirmed = p.charge(&charge_of(&ac, "9.00")).await.unwrap();
    assert!(
        confirmed.action_url.starts_with("https://"),
        "{confirmed:?}"
    );
    p.h.advance("2026-03-01T12:02:00Z").await;
    p.until(&confirmed, MovementState::Succeeded).await;
    assert_eq!(p.get(&slow).await.state(), MovementState::Pending);
    p.h.advance("2026-03-03T12:00:00Z").await;
    p.until(&slow, MovementState::Succeeded).await;
    p.until(&bouncing, MovementState::Declined).await;

    let (ac, _) = p.card("tok_wrong_amount").await;
    let parked = p.charge(&charge_of(&ac, "9.00")).await.unwrap();
    assert_eq!(
        (
            parked.state(),
            parked.parked_reason.as_str(),
            parked.settled_amount.clone()
        ),
        (MovementState::Parked, "AMOUNT_DIFFERS", None)
    );
    assert_eq!(
        refused(p.refund(&refund_of(&parked, "k", "1.00")).await),
        precondition("CHARGE_NOT_SUCCEEDED")
    );
    let resolve = payments::ResolveMovementRequest {
        account_id: ac,
        movement_id: parked.charge_id.clone(),
        outcome: payments::resolve_movement_request::Outcome::Moved.into(),
        amount: usd("9.01"),
        provider_movement_id: "sb-looked-at".to_owned(),
        settle_time: Some(timestamp(instant("2026-03-03T12:00:00Z"))),
        note: "one cent more in the book".to_owned(),
        request_id: request_id(),
    };
    p.h.operator
        .payments
        .clone()
        .resolve_movement(resolve)
        .await
        .unwrap();
    let settled = p.get(&parked).await;
    assert_eq!(settled.settled_amount, usd("9.01"));
    // What an operator has settled is what the book should have.
    let compare = payments::ReconcileRequest {
        start_time: Some(timestamp(instant("2026-03-01T00:00:00Z"))),
        end_time: Some(timestamp(instant("2026-03-04T00:00:00Z"))),
        request_id: request_id(),
        ..payments::ReconcileRequest::default()
    };
    let compared = p.h.operator.payments.clone().reconcile(compare).await;
    assert_eq!(compared.unwrap().into_inner().difference_count, 0);
    p.refund(&refund_of(&settled, "all", "9.01")).await.unwrap();
}

#[tokio::test]
async fn news_that_was_numbered_first_and_is_visible_last_is_told_too() {
    let p = Payments::start(&[]).await;
    let (ac, _) = p.card("tok_ok").await;
    let one = p.charge(&charge_of(&ac, "1.00")).await.unwrap();
    let two = p.charge(&charge_of(&ac, "2.00")).await.unwrap();
    let watch = async |resume_token: String| {
        let request = payments::WatchMovementsRequest {
            resume_token,
            allow_bookmark: true,
        };
        let mut client = p.billing.payments.clone();
        client.watch_movements(request).await.unwrap().into_inner()
    };
    // The next news of a stream: whose, and its token; none for a bookmark.
    let next = async |stream: &mut tonic::Streaming<payments::WatchMovementsResponse>| {
        let news = tokio::time::timeout(Duration::from_secs(10), stream.message()).await;
        let news = news.expect("news").unwrap().unwrap();
        let charge = match news.movement {
            Some(payments::watch_movements_response::Movement::Charge(it)) => it.charge_id,
            _ => String::new(),
        };
        (charge, news.resume_token)
    };
    let mut stream = watch(String::new()).await;
    while !next(&mut stream).await.0.is_empty() {}

    let tell = |charge: &payments::Charge| {
        let id = charge.charge_id.trim_start_matches("CH").to_owned();
        format!(
            "INSERT INTO payments.outbox (root_id, movement_id)
             SELECT root_id, movement_id FROM payments.movements WHERE movement_id = '{id}'"
        )
    };
    // One begins to write first, another numbers its news first, and ends last.
    let (mut early, mut late) = (p.h.db.begin().await.unwrap(), p.h.db.begin().await.unwrap());
    let began = sqlx::query_scalar::<_, String>("SELECT pg_current_xact_id()::text");
    began.fetch_one(&mut *early).await.unwrap();
    let sql = sqlx::AssertSqlSafe(tell(&one));
    sqlx::raw_sql(sql).execute(&mut *late).await.unwrap();
    let sql = sqlx::AssertSqlSafe(tell(&two));
    sqlx::raw_sql(sql).execute(&mut *early).await.unwrap();
    early.commit().await.unwrap();
    // What is committed is told at once, whoever else is still writing.
    let (told, token) = next(&mut stream).await;
    assert_eq!(told, two.charge_id);
    let mut resumed = watch(token.clone()).await;
    assert_eq!(next(&mut resumed).await.0, "", "that was all");
    late.commit().await.unwrap();
    assert_eq!(next(&mut stream).await.0, one.charge_id);
    assert_eq!(next(&mut resumed).await.0, one.charge_id);
    assert_eq!(next(&mut watch(token).await).await.0, one.charge_id);
    // A token of before tokens had a history is taken, and what it has told is told once more.
    let newest = "SELECT max(position) FROM payments.outbox";
    let newest = p.h.count(newest).await;
    let mut old = watch((newest - 1).to_string()).await;
    let mut told = Vec::new();
    loop {
        let (charge, _) = next(&mut old).await;
        if charge.is_empty() {
            break;
        }
        told.push(charge);
    }
    assert!(told.contains(&one.charge_id) && told.contains(&two.charge_id));
}

#[tokio::test]
async fn changes_are_watched_in_order_and_books_are_compared() {
    // Unknown outcomes are not looked up meanwhile: the comparison finds them.
    let p = Payments::start(&[("LOOK_UP_SECONDS", "3600")]).await;
    let (ac, _) = p.card("tok_timeout_after").await;
    let unknown = p.charge(&charge_of(&ac, "6.00")).await.unwrap();
    // The first look-up comes at once and finds it, sometimes before the answer; a second one like it is made unknown by hand.
    p.until(&unknown, MovementState::Succeeded).await;
    let (other, _) = p.card("tok_ok").await;
    let charge = p.charge(&charge_of(&other, "2.00")).await.unwrap();
    let refund = p.refund(&refund_of(&charge, "r", "1.00")).await.unwrap();

    let mut watch = p
        .billing
        .payments
        .clone()
        .watch_movements(payments::WatchMovementsRequest::default())
        .await
        .unwrap()
        .into_inner();
    let mut seen = Vec::new();
    let mut tokens = Vec::new();
    while seen.last() != Some(&refund.refund_id) || seen.len() < 4 {
        let news = tokio::time::timeout(Duration::from_secs(10), watch.message()).await;
        let news = news.unwrap().unwrap().unwrap();
        seen.push(match news.movement.unwrap() {
            payments::watch_movements_response::Movement::Charge(it) => it.charge_id,
            payments::watch_movements_response::Movement::Refund(it) => it.refund_id,
            payments::watch_movements_response::Movement::Dispute(it) => it.dispute_id,
        });
        tokens.push(news.resume_token);
    }
    // Where a token stands in the order; what its reader had seen of the database is its own.
    let position = |token: &String| token.rsplit('/').next().unwrap().to_owned();
    let positions: Vec<_> = tokens.iter().map(position).collect();
    let at = |id: &String| seen.iter().position(|it| it == id).unwrap();
    assert!(at(&unknown.charge_id) < at(&charge.charge_id));
    assert!(at(&charge.charge_id) < at(&refund.refund_id));
    let resumed = payments::WatchMovementsRequest {
        resume_token: tokens[at(&charge.charge_id)].clone(),
        allow_bookmark: true,
    };
    let mut rest = p
        .billing
        .payments
        .clone()
        .watch_movements(resumed)
        .await
        .unwrap()
        .into_inner();
    let next = rest.message().await.unwrap().unwrap();
    let mut told = vec![position(&next.resume_token)];
    let bookmark = loop {
        let next = rest.message().await.unwrap().unwrap();
        if next.caught_up {
            break next;
        }
        told.push(position(&next.resume_token));
    };
    assert!(bookmark.movement.is_none() && bookmark.resume_token.is_empty());
    assert!(
        told.starts_with(&positions[at(&charge.charge_id) + 1..]),
        "a bookmark comes after all that was told"
    );

    let compare = |apply| payments::ReconcileRequest {
        start_time: Some(timestamp(instant("2026-03-01T00:00:00Z"))),
        end_time: Some(timestamp(instant("2026-03-02T00:00:00Z"))),
        apply,
        request_id: request_id(),
        ..payments::ReconcileRequest::default()
    };
    let mut operator = p.h.operator.payments.clone();
    let same = operator
        .reconcile(compare(false))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((same.difference_count, same.movement_count), (0, 3));
    // A row that a restored database has lost the outcome of, and one that it never had.
    sqlx::raw_sql("ALTER TABLE payments.movements DISABLE TRIGGER keep_movement;
         UPDATE payments.movements SET state = 'UNKNOWN', settled_minor = NULL, settled_at = NULL, look_at = 'infinity'
         WHERE kind = 'CHARGE' AND amount_minor = 600;
         ALTER TABLE payments.movements ENABLE TRIGGER keep_movement;
         INSERT INTO payments.sandbox_book VALUES (gen_random_uuid(), 'CHARGE', 'sb_x', 'tok_ok', NULL, 'USD', 1, 'SUCCEEDED', '', NULL, '', '2026-03-01')")
        .execute(&p.h.db)
        .await
        .unwrap();
    let told = operator
        .reconcile(compare(true))
        .await
        .unwrap()
        .into_inner();
    let kinds: Vec<_> = told
        .differences
        .iter()
        .map(|it| (it.kind().as_str_name(), it.mended))
        .collect();
    assert_eq!(kinds, [("KIND_STATE", true), ("KIND_MISSING_HERE", false)]);
    assert_eq!(p.get(&unknown).await.state(), MovementState::Succeeded);
}

#[tokio::test]
async fn the_service_role_cannot_undo_a_movement() {
    let p = Payments::start(&[]).await;
    let (ac, _) = p.card("tok_ok").await;
    let charge = p.charge(&charge_of(&ac, "10.00")).await.unwrap();
    p.refund(&refund_of(&charge, "r", "4.00")).await.unwrap();
    let url = p.h.suite.database.url("payments_service");
    let service = sqlx::PgPool::connect(&url).await.unwrap();
    let role: (bool, bool) =
        sqlx::query_as("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
            .fetch_one(&service)
            .await
            .unwrap();
    assert_eq!(role, (false, false));
    let hidden: i64 = sqlx::query_scalar("SELECT count(*) FROM payments.movements")
        .fetch_one(&service)
        .await
        .unwrap();
    assert_eq!(
        hidden, 0,
        "nobody sees a row without having entered a tenant"
    );
    for attempt in [
        "UPDATE payments.movements SET state = 'DECLINED'",
        "UPDATE payments.movements SET settled_minor = 1 WHERE kind = 'CHARGE'",
        "UPDATE payments.movements SET refunded_minor = 1001 WHERE kind = 'CHARGE'",
        "UPDATE payments.movements SET refunded_minor = -1 WHERE kind = 'CHARGE'",
        "UPDATE payments.movements SET amount_minor = 1",
        "DELETE FROM payments.movements",
        "TRUNCATE payments.movements",
        "DELETE FROM payments.outbox",
        "UPDATE payments.outbox SET movement_id = root_id",
        "DROP TABLE payments.movements",
        "ALTER TABLE payments.movements DISABLE ROW LEVEL SECURITY",
        "SELECT count(*) FROM billing.lots",
    ] {
        let mut tx = service.begin().await.unwrap();
        sqlx::query("SELECT set_config('app.tenant', 'all', true)")
            .execute(&mut *tx)
            .await
            .unwrap();
        let done = sqlx::query(attempt).execute(&mut *tx).await;
        assert!(done.is_err(), "{attempt}: {done:?}");
    }
}

#[tokio::test]
async fn what_was_written_stays_whatever_becomes_of_the_default_method() {
    let p = Payments::start(&[]).await;
    let (ac, first) = p.card("tok_ok").await;
    let request = charge_of(&ac, "5.00");
    let charge = p.charge(&request).await.unwrap();
    let second = p
        .add(&ac, "CARD", "tok_ok_rupay", |request| {
            request.default_method = true;
        })
        .await
        .unwrap();
    assert!(second.default_method);
    // The same attempt by another request id: the charge by the first card.
    let again = payments::CreateChargeRequest {
        request_id: request_id(),
        ..request
    };
    assert_eq!(p.charge(&again).await.unwrap(), charge);
    let default = payments::SetDefaultPaymentMethodRequest {
        account_id: ac.clone(),
        payment_method_id: first.clone(),
        request_id: request_id(),
    };
    let mut client = p.account.payments.clone();
    let changed = client
        .set_default_payment_method(default)
        .await
        .unwrap()
        .into_inner();
    assert!(changed.payment_method.unwrap().default_method);
    assert_eq!(
        p.charge(&charge_of(&ac, "1.00"))
            .await
            .unwrap()
            .payment_method_id,
        first
    );

    // Another account's invoice is no invoice of this one, and no sum is too large to be refused.
    let (other, _) = p.card("tok_ok").await;
    let foreign = payments::CreateChargeRequest {
        account_id: other,
        request_id: request_id(),
        ..again
    };
    assert_eq!(
        refused(p.charge(&foreign).await),
        (Code::InvalidArgument, "INVALID_FIELD".to_owned())
    );
    p.refund(&refund_of(&charge, "one", "1.00")).await.unwrap();
    assert_eq!(
        refused(
            p.refund(&refund_of(&charge, "all", "92233720368547758.07"))
                .await
        ),
        (Code::InvalidArgument, "INVALID_FIELD".to_owned())
    );
}
