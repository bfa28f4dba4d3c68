//! Two who come at once: whatever comes first, only allowed outcomes are left. Eight trials a pair, two hundred with
//! `PERDIEM_FULL`.

use std::sync::Arc;
use std::time::Duration;

use perdiem::connect::{Clients, request_id};
use proto::account::v1 as account;
use proto::account::v1::account::Status as Standing;
use proto::account::v1::closing::Option as Way;
use proto::account::v1::create_order_request::Kind;
use proto::account::v1::current_plan::State as Plan;
use proto::account::v1::order::State;
use tokio::sync::Barrier;
use tonic::{Code, Status};

use crate::closing::{close, closing, consistent, dollars};
use crate::harness::Harness;
use crate::money::Shop;
use crate::subscriptions::{approved, bought, get, quote, renewals, trial, upgrade};

fn trials() -> usize {
    if std::env::var_os("PERDIEM_FULL").is_some() {
        200
    } else {
        8
    }
}

/// Lets two do what they do at the same moment; of three trials, one gives each of them a little lead.
async fn at_once<A: Send + 'static, B: Send + 'static>(
    trial: usize,
    one: impl Future<Output = A> + Send + 'static,
    other: impl Future<Output = B> + Send + 'static,
) -> (A, B) {
    let barrier = Arc::new(Barrier::new(2));
    let (here, there) = (barrier.clone(), barrier);
    let lead = |holds: bool| Duration::from_millis(if holds { 15 } else { 0 });
    let (late, later) = (lead(trial % 3 == 1), lead(trial % 3 == 2));
    let one = tokio::spawn(async move {
        here.wait().await;
        tokio::time::sleep(late).await;
        one.await
    });
    let other = tokio::spawn(async move {
        there.wait().await;
        tokio::time::sleep(later).await;
        other.await
    });
    (one.await.unwrap(), other.await.unwrap())
}

/// Whether an error says that the other was first, or is told to come again.
fn lost(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Aborted | Code::FailedPrecondition | Code::Unavailable
    )
}

async fn confirmed(h: &Harness, id: &str, kind: Kind) -> account::Order {
    let who = h.customer();
    let order = quote(&who, id, kind).await.unwrap();
    h.confirm(&who, &order).await.unwrap()
}

async fn commit(who: Clients, order: account::Order) -> Result<account::Order, Status> {
    let request = account::CommitOrderRequest {
        order_id: order.order_id,
        request_id: request_id(),
    };
    let answer = who.account.clone().commit_order(request).await?;
    Ok(answer.into_inner().order.unwrap())
}

fn credit(amount: &str) -> Kind {
    Kind::CreditPurchase(account::CreditPurchase {
        amount: dollars(amount),
        payment_method_id: String::new(),
    })
}

/// What was charged and what was given back, in minor units, as the provider's book has it.
async fn moved(h: &Harness, id: &str) -> (i64, i64) {
    let of = async |kind: &str| -> i64 {
        sqlx::query_scalar(
            "SELECT coalesce(sum(settled_minor), 0)::bigint FROM payments.movements
             WHERE root_id = $1::uuid AND kind = $2 AND state = 'SUCCEEDED'",
        )
        .bind(id.trim_start_matches("AC"))
        .bind(kind)
        .fetch_one(&h.db)
        .await
        .unwrap()
    };
    (of("CHARGE").await, of("REFUND").await)
}

/// Waits until nothing is under way, and gives how an account stands.
async fn settled(h: &Harness, id: &str) -> account::Account {
    let now = perdiem::clock::now(&h.urls).await.unwrap();
    perdiem::clock::advance(&h.urls, now).await.unwrap();
    get(h, id).await
}

#[tokio::test]
async fn two_closes_close_once_and_refund_once() {
    let shop = Shop::start().await;
    let h = &shop.h;
    for n in 0..trials() {
        let id = h.account().await;
        shop.card(&id, "tok_ok").await;
        bought(h, &h.customer(), &id, credit("80.00"))
            .await
            .unwrap();
        let closes = |id: String| {
            let who = h.customer();
            async move { close(&who, &id).await }
        };
        let (a, b) = at_once(n, closes(id.clone()), closes(id.clone())).await;
        assert!(a.is_ok() || b.is_ok(), "{a:?} {b:?}");
        for answer in [a, b] {
            match answer {
                Ok(it) => assert_eq!(it.closing.unwrap().refund_amount, dollars("80.00")),
                Err(status) => assert!(lost(&status), "{status}"),
            }
        }
        assert_eq!(settled(h, &id).await.status(), Standing::Closed);
        assert_eq!(moved(h, &id).await, (8_000, 8_000));
    }
    consistent(h).await;
}

#[tokio::test]
async fn a_close_and_a_change_of_plan_leave_one_end_of_the_timeline() {
    let shop = Shop::start().await;
    let h = &shop.h;
    for n in 0..trials() {
        let id = h.account().await;
        let order = h.quote(&h.customer(), &id, "business").await.unwrap();
        let order = h.confirm(&h.customer(), &order).await.unwrap();
        let order = h.confirm(&h.customer(), &order).await.unwrap();
        let (who, closed) = (h.customer(), id.clone());
        let (closed, changed) = at_once(
            n,
            async move { close(&who, &closed).await },
            commit(h.customer(), order),
        )
        .await;
        if let Err(status) = &closed {
            assert!(lost(status), "{status}");
        }
        if let Err(status) = &changed {
            assert!(lost(status), "{status}");
        }
        assert!(closed.is_ok() || changed.is_ok());
        let now = settled(h, &id).await;
        let timeline = proto::plan::v1::ListSegmentsRequest {
            account_id: id.clone(),
            family_code: "SUPPORT".to_owned(),
        };
        let timeline = h.operator.plan.clone().list_segments(timeline).await;
        let segments = timeline.unwrap().into_inner().segments;
        let open = segments.iter().filter(|it| it.end_time.is_none()).count();
        if closed.is_ok() {
            assert_eq!((now.status(), open), (Standing::Closed, 0));
        } else {
            assert_eq!((now.status(), open), (Standing::Active, 1));
            assert!(segments.iter().any(|it| it.plan_code == "business"));
        }
    }
    consistent(h).await;
}

#[tokio::test]
async fn an_order_that_many_commit_at_once_is_paid_once_and_nobody_waits_in_a_circle() {
    const AT_ONCE: usize = 32;
    let shop = Shop::start().await;
    let h = &shop.h;
    for _ in 0..10 {
        let id = h.account().await;
        shop.card(&id, "tok_ok").await;
        let order = confirmed(h, &id, credit("50.00")).await;
        let barrier = Arc::new(Barrier::new(AT_ONCE));
        let all: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let (all, who, order) = (barrier.clone(), h.customer(), order.clone());
                tokio::spawn(async move {
                    all.wait().await;
                    commit(who, order).await
                })
            })
            .collect();
        let mut committed = 0;
        for one in all {
            match one.await.unwrap() {
                Ok(_) => committed += 1,
                Err(status) => assert!(lost(&status), "{status}"),
            }
        }
        assert!(0 < committed);
        assert_eq!(settled(h, &id).await.status(), Standing::Active);
        assert_eq!(moved(h, &id).await, (5_000, 0));
        assert_eq!(h.balance(&id).await, "50.000000");
    }
    // What a connection has counted is told ten seconds after its last transaction, at the latest.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let deadlocks = h
        .count("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        .await;
    assert_eq!(deadlocks, 0);
    consistent(h).await;
}

#[tokio::test]
async fn a_close_and_a_charge_leave_no_money_behind() {
    let shop = Shop::start().await;
    let h = &shop.h;
    let mut outcomes = [0, 0];
    for n in 0..trials() {
        let id = h.account().await;
        shop.card(&id, "tok_ok").await;
        let order = confirmed(h, &id, credit("50.00")).await;
        let (who, closing) = (h.customer(), id.clone());
        let (closed, paid) = at_once(
            n,
            async move { close(&who, &closing).await },
            commit(h.customer(), order),
        )
        .await;
        if let Err(status) = &closed {
            assert!(lost(status), "{status}");
        }
        let now = settled(h, &id).await;
        let (charged, refunded) = moved(h, &id).await;
        if now.status() == Standing::Closed {
            outcomes[0] += 1;
            // What was charged has gone back; nothing of it is left.
            assert_eq!(charged, refunded, "{paid:?}");
            assert_eq!(h.balance(&id).await, "0.000000");
        } else {
            outcomes[1] += 1;
            assert_eq!((charged, refunded), (5_000, 0), "{paid:?}");
            assert_eq!(h.balance(&id).await, "50.000000");
        }
    }
    println!("closed {}, paid {}", outcomes[0], outcomes[1]);
    consistent(h).await;
}

#[tokio::test]
async fn two_commits_of_one_quote_charge_once() {
    let shop = Shop::start().await;
    let h = &shop.h;
    for n in 0..trials() {
        let id = h.account().await;
        shop.card(&id, "tok_ok").await;
        let order = confirmed(h, &id, credit("50.00")).await;
        let (a, b) = at_once(
            n,
            commit(h.customer(), order.clone()),
            commit(h.customer(), order.clone()),
        )
        .await;
        assert!(a.is_ok() || b.is_ok(), "{a:?} {b:?}");
        for answer in [a, b] {
            if let Err(status) = answer {
                assert!(lost(&status), "{status}");
            }
        }
        settled(h, &id).await;
        let request = account::GetOrderRequest {
            order_id: order.order_id,
        };
        let done = h.customer().account.get_order(request).await.unwrap();
        assert_eq!(done.into_inner().order.unwrap().state(), State::Completed);
        assert_eq!(moved(h, &id).await, (5_000, 0));
        assert_eq!(h.balance(&id).await, "50.000000");
        assert_eq!(h.invoices(&id).await.len(), 1);
    }
    consistent(h).await;
}

#[tokio::test]
async fn an_upgrade_and_a_close_leave_a_customer_or_a_closed_trial() {
    let shop = Shop::start().await;
    let h = &shop.h;
    for n in 0..trials() {
        let id = trial(&shop, "tok_ok").await;
        approved(h, &id).await;
        let order = confirmed(
            h,
            &id,
            Kind::Upgrade(upgrade("starter", "MONTHLY", "1000.00")),
        )
        .await;
        let request = account::CloseAccountRequest {
            acknowledgement_codes: [
                "ACCOUNT_PERMANENTLY_CLOSED",
                "SERVICES_STOP",
                "DATA_DELETED_30_DAYS",
                "NO_REFUND",
            ]
            .map(str::to_owned)
            .to_vec(),
            ..closing(&id, Way::Close)
        };
        let who = h.customer();
        let (closed, upgraded) = at_once(
            n,
            async move { who.account.clone().close_account(request).await },
            commit(h.customer(), order),
        )
        .await;
        let now = settled(h, &id).await;
        let (charged, refunded) = moved(h, &id).await;
        if now.status() == Standing::Closed {
            // As a trial, before anything was paid.
            assert_eq!((charged, refunded), (0, 0), "{closed:?} {upgraded:?}");
            assert_eq!(now.r#type(), account::account::Type::Trial);
            assert_eq!(h.balance(&id).await, "0.000000");
        } else {
            assert_eq!(now.r#type(), account::account::Type::Full, "{upgraded:?}");
            assert_eq!((charged, refunded), (354_000, 0));
            assert_eq!(h.balance(&id).await, "1000.000000");
        }
    }
    consistent(h).await;
}

#[tokio::test]
async fn a_renewal_and_a_cancellation_leave_a_paid_cycle_or_an_ended_plan() {
    let shop = Shop::start().await;
    let h = &shop.h;
    h.advance("2026-04-15T04:00:00Z").await;
    let mut ids = Vec::new();
    for _ in 0..trials() {
        let id = trial(&shop, "tok_ok").await;
        approved(h, &id).await;
        let kind = Kind::Upgrade(upgrade("starter", "MONTHLY", "1000.00"));
        bought(h, &h.customer(), &id, kind).await.unwrap();
        ids.push(id);
    }
    // 15 May 00:00 in India: every cycle ends, while all are cancelled.
    h.advance("2026-05-14T18:29:59Z").await;
    let cancels = ids.iter().map(|id| {
        let who = h.customer();
        let request = account::CancelSubscriptionRequest {
            account_id: id.clone(),
            family_code: "PLATFORM".to_owned(),
            request_id: request_id(),
        };
        tokio::spawn(async move { who.account.clone().cancel_subscription(request).await })
    });
    let cancels: Vec<_> = cancels.collect();
    // In the midst of them the cycles end.
    while cancels.iter().filter(|one| one.is_finished()).count() < ids.len() / 4 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    h.set_clock("2026-05-14T18:30:00Z").await;
    let mut answers = Vec::new();
    for one in cancels {
        answers.push(one.await.unwrap());
    }
    let mut outcomes = [0, 0];
    for (id, answer) in ids.iter().zip(answers) {
        settled(h, id).await;
        let paid = renewals(&shop, id).await;
        let request = account::GetCurrentPlanRequest {
            account_id: id.clone(),
            family_code: "PLATFORM".to_owned(),
        };
        let now = h.customer().account.get_current_plan(request).await;
        let state = now.map(|it| it.into_inner().current_plan.unwrap().state());
        match (&answer, paid.len()) {
            // Before the end of the cycle: the plan is over, and nothing was charged.
            (Ok(_), 0) => {
                outcomes[0] += 1;
                assert!(matches!(state, Err(_) | Ok(Plan::Ended)), "{state:?}");
            }
            // After it: the cycle is paid, and the plan is over with it.
            (Ok(_), 1) => {
                outcomes[1] += 1;
                assert_eq!(state.unwrap(), Plan::CancelAtPeriodEnd);
            }
            (Err(status), 1) => {
                assert!(lost(status), "{status}");
                assert_eq!(state.unwrap(), Plan::Active);
            }
            other => panic!("{other:?} {state:?}"),
        }
    }
    println!("ended {}, renewed {}", outcomes[0], outcomes[1]);
    consistent(h).await;
}
