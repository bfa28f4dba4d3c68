//! One intent, one effect, one answer; and the codes of what never reaches a handler.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use perdiem::connect::{Clients, Urls, request_id};
use prost::Message as _;
use proto::account::v1 as account;
use proto::account::v1::account_service_client::AccountServiceClient;
use proto::billing::v1 as billing;
use proto::r#type::v1::Amount;
use tokio::sync::Barrier;
use tonic::{Code, Request};

use crate::harness::{Harness, PATIENCE, free_url, reason};
use crate::hostile::Raw;

fn ann(request_id: &str, name: &str) -> account::CreateUserRequest {
    account::CreateUserRequest {
        email: format!("{name}@example.com"),
        display_name: name.to_owned(),
        request_id: request_id.to_owned(),
    }
}

#[tokio::test]
async fn thirty_two_identical_calls_have_one_effect_and_equal_answers() {
    let h = Harness::start().await;
    let users = h.count("SELECT count(*) FROM account.users").await;
    for round in 0..10 {
        let request = ann(&request_id(), &format!("ann{round}"));
        let calls = (0..32).map(|_| {
            let (mut client, request) = (h.operator.account.clone(), request.clone());
            async move {
                client
                    .create_user(request)
                    .await
                    .map(|it| it.into_inner().encode_to_vec())
            }
        });
        let mut answers: Vec<_> = futures::future::join_all(calls)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        answers.dedup();
        assert_eq!(answers.len(), 1);
    }
    assert_eq!(
        h.count("SELECT count(*) FROM account.users").await,
        users + 10
    );
}

/// A grant to an account, under a request id.
fn grant(account_id: &str, request_id: &str, amount: &str) -> billing::GrantCreditRequest {
    billing::GrantCreditRequest {
        account_id: account_id.to_owned(),
        kind: billing::lot::Kind::Promo.into(),
        amount: Some(Amount {
            currency_code: "USD".to_owned(),
            amount: amount.to_owned(),
        }),
        reason: "test".to_owned(),
        request_id: request_id.to_owned(),
        ..billing::GrantCreditRequest::default()
    }
}

#[tokio::test]
async fn a_thousand_intents_by_thirty_two_at_once_over_two_replicas_have_one_effect_each() {
    let intents = if std::env::var_os("PERDIEM_FULL").is_some() {
        1_000
    } else {
        200
    };
    let mut h = Harness::start().await;
    let (listen, clock) = (free_url(), free_url());
    let address = |url: &str| url.trim_start_matches("http://").to_owned();
    let environment = [
        ("LISTEN", address(&listen)),
        ("TEST_CLOCK_LISTEN", address(&clock)),
    ];
    h.suite.spawn("billing", &environment).unwrap();
    let urls = Urls {
        billing_url: listen,
        ..h.urls.clone()
    };
    let token = h.suite.keys.any_operator().unwrap();
    let replicas = [h.operator.clone(), Clients::new(&urls, &token).unwrap()];
    let account = h.account().await;
    let mut second = replicas[1].billing.clone();
    let begun = Instant::now();
    while second
        .list_billing_runs(billing::ListBillingRunsRequest::default())
        .await
        .is_err()
    {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (mut answered, mut reused) = (0, 0);
    for number in 0..intents {
        let id = request_id();
        let barrier = Arc::new(Barrier::new(33));
        let mut calls = Vec::new();
        for caller in 0..33 {
            let (barrier, mut client) = (barrier.clone(), replicas[caller % 2].billing.clone());
            // One of the callers has another request under the same id.
            let amount = if caller == 32 { "2.00" } else { "1.00" };
            let request = grant(&account, &id, amount);
            calls.push(tokio::spawn(async move {
                barrier.wait().await;
                let answer = client.grant_credit(request).await;
                (caller, answer.map(|it| it.into_inner().encode_to_vec()))
            }));
        }
        let mut answers: Vec<Vec<u8>> = Vec::new();
        for call in calls {
            let (caller, answer) = call.await.unwrap();
            match answer {
                Ok(bytes) => {
                    answered += 1;
                    answers.push(bytes);
                }
                Err(status) => {
                    reused += 1;
                    assert_eq!(reason(&status), "REQUEST_ID_REUSED", "{number} {caller}");
                }
            }
        }
        // Whichever body was first, the other is refused.
        assert!(
            matches!(answers.len(), 1 | 32),
            "{number}: {} answers",
            answers.len()
        );
        answers.dedup();
        assert_eq!(answers.len(), 1, "{number}: byte for byte");
    }
    println!("{answered} equal answers, {reused} refused with another body");
    let lots = "SELECT count(*) FROM billing.lots";
    assert_eq!(h.count(lots).await, i64::from(intents));
    let entries = "SELECT count(*) FROM billing.ledger_entries";
    assert_eq!(h.count(entries).await, i64::from(intents));
}

#[tokio::test]
async fn an_id_belongs_to_one_request_and_a_refusal_is_an_outcome() {
    let h = Harness::start().await;
    let mut client = h.operator.account.clone();
    let id = request_id();
    client.create_user(ann(&id, "ann")).await.unwrap();
    let reused = client.create_user(ann(&id, "bob")).await.unwrap_err();
    assert_eq!(
        (reused.code(), reason(&reused).as_str()),
        (Code::InvalidArgument, "REQUEST_ID_REUSED")
    );

    let again = request_id();
    let refused = client.create_user(ann(&again, "ann")).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::AlreadyExists, "USER_EXISTS")
    );
    sqlx::query("DELETE FROM account.users WHERE email = 'ann@example.com'")
        .execute(&h.db)
        .await
        .unwrap();
    let replayed = client.create_user(ann(&again, "ann")).await.unwrap_err();
    assert_eq!(
        (replayed.code(), replayed.details()),
        (refused.code(), refused.details()),
        "also when it would succeed now"
    );
}

#[tokio::test]
async fn sagas_too_have_one_effect_for_one_intent() {
    let h = Harness::start().await;
    let owner = h.user("saga").await;
    let request = account::CreateAccountRequest {
        profile_code: "global".to_owned(),
        display_name: "Saga".to_owned(),
        owner_user_id: owner,
        request_id: request_id(),
        ..account::CreateAccountRequest::default()
    };
    let calls = (0..16).map(|_| {
        let (mut client, request) = (h.operator.account.clone(), request.clone());
        async move {
            client
                .create_account(request)
                .await
                .map(|it| it.into_inner().encode_to_vec())
        }
    });
    let mut answers: Vec<_> = futures::future::join_all(calls)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    answers.dedup();
    assert_eq!(answers.len(), 1);
    for table in [
        "SELECT count(*) FROM account.accounts",
        "SELECT count(*) FROM plan.accounts",
        "SELECT count(*) FROM billing.accounts",
        "SELECT count(*) FROM payments.accounts",
    ] {
        assert_eq!(h.count(table).await, 1, "{table}");
    }
}

#[tokio::test]
async fn an_account_whose_making_was_cut_short_is_finished_by_the_job() {
    let mut h = Harness::start().await;
    let owner = h.user("cut").await;
    assert!(h.suite.kill("billing").await);
    let request = account::CreateAccountRequest {
        profile_code: "global".to_owned(),
        display_name: "Cut short".to_owned(),
        owner_user_id: owner,
        request_id: request_id(),
        ..account::CreateAccountRequest::default()
    };
    let refused = h
        .operator
        .account
        .clone()
        .create_account(request.clone())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    h.suite.spawn("billing", &[]).unwrap();
    h.suite.wait_for("billing").await.unwrap();
    let mut patience = 200;
    while h
        .count("SELECT count(*) FROM account.accounts WHERE opened_at IS NOT NULL")
        .await
        == 0
    {
        patience -= 1;
        assert!(0 < patience, "nobody finishes it");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(h.count("SELECT count(*) FROM billing.accounts").await, 1);
    let answered = h
        .operator
        .account
        .clone()
        .create_account(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answered.account.unwrap().display_name, "Cut short");
}

#[tokio::test]
async fn deadlines_and_timeouts_have_the_codes_that_the_protocol_gives_them() {
    let h = Harness::start().await;
    // A client without timers of its own, so that the answer is the server's.
    let plain = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let mut client =
        AccountServiceClient::with_origin(plain, h.urls.of("account").parse().unwrap());
    let token = format!("Bearer {}", h.suite.keys.any_operator().unwrap());
    for timeout in ["1n", "50u", "5m"] {
        let mut request = Request::new(account::ListUsersRequest::default());
        let headers = request.metadata_mut();
        headers.insert("grpc-timeout", timeout.parse().unwrap());
        headers.insert("authorization", token.parse().unwrap());
        let late = client.list_users(request).await.unwrap_err();
        assert_eq!(late.code(), Code::DeadlineExceeded, "{timeout}");
    }
    let mut request = Request::new(account::ListUsersRequest::default());
    request
        .metadata_mut()
        .insert("grpc-timeout", "soon".parse().unwrap());
    let odd = h
        .operator
        .account
        .clone()
        .list_users(request)
        .await
        .unwrap_err();
    assert_eq!(
        (odd.code(), reason(&odd).as_str()),
        (Code::InvalidArgument, "INVALID_TIMEOUT")
    );
    let raw = Raw::connect(h.urls.of("plan")).await;
    let unknown = raw
        .call("/perdiem.plan.v1.PlanService/Nothing", None, Vec::new())
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);
}

#[tokio::test]
async fn more_than_there_is_room_for_is_shed_at_once_with_a_time_to_come_back() {
    use tonic_types::StatusExt as _;
    let h = Harness::with(&[("MAX_IN_FLIGHT", "2")]).await;
    let calls = (0..64).map(|_| {
        let mut client = h.operator.account.clone();
        async move {
            client
                .list_users(account::ListUsersRequest::default())
                .await
        }
    });
    let answers = futures::future::join_all(calls).await;
    let shed: Vec<_> = answers.iter().filter_map(|it| it.as_ref().err()).collect();
    assert!(!shed.is_empty() && answers.iter().any(Result::is_ok));
    for status in shed {
        // One caller has no more than a share of the room.
        assert_eq!(
            (status.code(), reason(status).as_str()),
            (Code::ResourceExhausted, "TOO_MANY_CALLS_IN_FLIGHT")
        );
        assert!(status.get_details_retry_info().is_some());
    }
}

#[tokio::test]
async fn the_role_that_serves_may_not_touch_what_is_written_for_ever() {
    let h = Harness::start().await;
    let role = sqlx::PgPool::connect(&h.suite.database.url("billing_service"))
        .await
        .unwrap();
    let powers: (bool, bool) =
        sqlx::query_as("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
            .fetch_one(&role)
            .await
            .unwrap();
    assert_eq!(powers, (false, false));
    for sql in [
        "UPDATE billing.ledger_entries SET amount_micros = 1",
        "DELETE FROM billing.ledger_entries",
        "TRUNCATE billing.ledger_entries",
        "DELETE FROM billing.invoices",
        "UPDATE billing.invoices SET total_minor = 0",
        "UPDATE billing.invoice_lines SET amount_minor = 0",
        "INSERT INTO billing.ledger_entries VALUES (gen_random_uuid(), now(), gen_random_uuid(), 3, 3, 1, 'USD', 'X')",
        "INSERT INTO billing.ledger_entries VALUES (gen_random_uuid(), now(), gen_random_uuid(), 3, 6, 0, 'USD', 'X')",
        "SELECT count(*) FROM plan.segments",
        "SELECT count(*) FROM account.users",
        "DROP TABLE billing.invoices",
    ] {
        assert!(sqlx::query(sql).execute(&role).await.is_err(), "{sql}");
    }
    let ac = h.account().await;
    let tenant = sqlx::PgPool::connect(&h.suite.database.url("account_service"))
        .await
        .unwrap();
    let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM account.accounts")
        .fetch_one(&tenant)
        .await
        .unwrap();
    assert_eq!(seen, 0, "without a tenant no row of {ac} is seen");
}

#[tokio::test]
async fn an_answer_is_given_again_only_to_who_may_still_call() {
    let h = Harness::start().await;
    let id = h.account().await;
    let manager = h.user("manager").await;
    let who = h.person(&manager);
    let grant = |role: &str| account::GrantRoleRequest {
        account_id: id.clone(),
        user_id: manager.clone(),
        role_code: role.to_owned(),
        request_id: request_id(),
    };
    let revoke = |role: &str| account::RevokeRoleRequest {
        account_id: id.clone(),
        user_id: manager.clone(),
        role_code: role.to_owned(),
        request_id: request_id(),
    };
    let mut owner = h.customer().account;
    owner.grant_role(grant("BILLING_MANAGER")).await.unwrap();
    let ticket = account::CreateTicketRequest {
        account_id: id.clone(),
        channel_code: "EMAIL".to_owned(),
        priority_code: "P3".to_owned(),
        subject: "What nobody else reads".to_owned(),
        request_id: request_id(),
    };
    let order = account::CreateOrderRequest {
        account_id: id.clone(),
        kind: Some(account::create_order_request::Kind::PlanChange(
            account::PlanChange {
                family_code: "SUPPORT".to_owned(),
                plan_code: "business".to_owned(),
                ..account::PlanChange::default()
            },
        )),
        request_id: request_id(),
    };
    let mut asks = who.account.clone();
    let first = asks.create_ticket(ticket.clone()).await.unwrap();
    let first = first.into_inner();
    let quoted = asks.create_order(order.clone()).await.unwrap();
    let quoted = quoted.into_inner();

    // Another role may write tickets, and not change the plan.
    owner.grant_role(grant("DEVELOPER")).await.unwrap();
    owner.revoke_role(revoke("BILLING_MANAGER")).await.unwrap();
    let again = asks.create_ticket(ticket.clone()).await.unwrap();
    assert_eq!(again.into_inner(), first);
    let denied = asks.create_order(order.clone()).await.unwrap_err();
    assert_eq!(
        (denied.code(), reason(&denied).as_str()),
        (Code::PermissionDenied, "ROLE_NOT_ALLOWED")
    );
    // Without any, the account does not exist, and its answers don't either.
    owner.revoke_role(revoke("DEVELOPER")).await.unwrap();
    for denied in [
        asks.create_ticket(ticket.clone()).await.unwrap_err(),
        asks.create_order(order.clone()).await.unwrap_err(),
    ] {
        assert_eq!(
            (denied.code(), reason(&denied).as_str()),
            (Code::NotFound, "ACCOUNT_NOT_FOUND")
        );
    }
    // With the role, all is as it was: nothing was done twice, and nothing was forgotten. How the account stands
    // takes no answer away.
    owner.grant_role(grant("BILLING_MANAGER")).await.unwrap();
    h.operator
        .account
        .clone()
        .suspend_account(account::SuspendAccountRequest {
            account_id: id.clone(),
            suspension_reason: account::account::SuspensionReason::Fraud.into(),
            note: "a test".to_owned(),
            request_id: request_id(),
        })
        .await
        .unwrap();
    let again = asks.create_order(order).await.unwrap();
    assert_eq!(again.into_inner(), quoted);
    let again = asks.create_ticket(ticket).await.unwrap();
    assert_eq!(again.into_inner(), first);
    assert_eq!(h.count("SELECT count(*) FROM account.tickets").await, 1);
}
