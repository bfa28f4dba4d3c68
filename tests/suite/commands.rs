//! The operator's commands against a suite: what they show and do, and what `perdiem doctor` finds.

use std::time::{Duration, Instant};

use perdiem::connect::{Clients, Urls, clocks, timestamp};
use perdiem::doctor::{Check, State};
use perdiem::show::{Output, WIDTH};
use perdiem::{account, audit, doctor, reconcile, run};
use proto::account::v1::CreditPurchase;
use proto::account::v1::create_order_request::Kind;
use proto::billing::v1 as billing;
use proto::billing::v1::billing_run::State as RunState;
use proto::clock::v1::SetClockRequest;
use uuid::Uuid;

use crate::closing::dollars;
use crate::harness::{BY_HAND, Harness, free_url, instant};
use crate::money::Shop;
use crate::runs::APPROVED;
use crate::subscriptions::bought;

/// A run once it is completed.
async fn completed(h: &Harness, id: &str) -> billing::BillingRun {
    let begun = Instant::now();
    loop {
        let run = run::get(&h.operator, id).await.unwrap();
        if run.state() == RunState::Completed {
            return run;
        }
        let waited = begun.elapsed();
        assert!(waited < Duration::from_mins(2), "still {:?}", run.state());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Does something to an account in the database.
async fn tamper(h: &Harness, account_id: &str, sql: &'static str) {
    let root: Uuid = account_id[2..].parse().unwrap();
    sqlx::query(sql).bind(root).execute(&h.db).await.unwrap();
}

/// Everything of the last days.
fn lately() -> reconcile::Scope {
    let to = instant("2026-05-02T00:00:00Z");
    reconcile::Scope {
        account_id: String::new(),
        provider_code: String::new(),
        from: to - reconcile::LONGEST,
        to,
    }
}

#[tokio::test]
async fn a_month_is_approved_compared_and_its_parked_account_released_by_commands() {
    let h = Harness::start().await;
    h.import_as("v2", &[BY_HAND, APPROVED]).await;
    let (good, bad) = (h.account().await, h.account().await);
    for id in [&good, &bad] {
        h.change("2026-04-01T00:00:00Z", id, "business").await;
    }
    h.advance("2026-05-01T00:00:00Z").await;
    for id in [&good, &bad] {
        h.used(id, "2026-04-20T00:00:00Z", "40000.00").await;
    }
    // Its usage is more than an amount can be.
    tamper(
        &h,
        &bad,
        "UPDATE billing.usage_months SET price_micros = 9223372036854775807 WHERE root_id = $1",
    )
    .await;
    tamper(
        &h,
        &bad,
        "INSERT INTO billing.usage_months VALUES ('2026-04-01', $1, 'calls', 0, 9223372036854775807, 1)",
    )
    .await;
    let who = &h.operator;
    let made = run::create(who, "SUPPORT", "2026-04", false).await.unwrap();
    let id = made.billing_run_id;
    let waiting = run::watch(who, &id, true).await.unwrap();
    assert_eq!(waiting.state(), RunState::AwaitingApproval);
    for (refused, reason) in [
        (run::halt(who, &id).await, "BILLING_RUN_NOT_RUNNING"),
        (run::resume(who, &id).await, "BILLING_RUN_NOT_HALTED"),
    ] {
        let told = refused.unwrap_err().to_string();
        assert!(told.contains(reason), "{told}");
        assert!(told.contains(&h.urls.billing_url), "{told}");
    }
    run::approve(who, &id).await.unwrap();
    let done = completed(&h, &id).await;
    assert_eq!((done.invoice_count, done.parked_count), (1, 1));
    let listed = run::list(who, "SUPPORT").await.unwrap();
    assert!(listed.billing_runs.contains(&done));

    let outcomes = run::outcomes(who, &id).await.unwrap();
    let billed: Vec<&str> = outcomes.iter().map(|it| it.account_id.as_str()).collect();
    assert_eq!(billed, [good.as_str()]);
    assert!(outcomes[0].invoice_id.starts_with("IN"));
    let parked = run::parked(who, &id, false).await.unwrap();
    let told: Vec<_> = parked
        .iter()
        .map(|it| (it.account_id.as_str(), it.reason.as_str()))
        .collect();
    assert_eq!(told, [(bad.as_str(), "AMOUNT_OUT_OF_RANGE")]);
    let still = run::release_parked(who, &id, &bad).await.unwrap_err();
    assert!(still.to_string().contains("STILL_PARKED"), "{still}");
    tamper(
        &h,
        &bad,
        "UPDATE billing.usage_months SET price_micros = 0 WHERE root_id = $1",
    )
    .await;
    let invoice = run::release_parked(who, &id, &bad).await.unwrap();
    assert_eq!(invoice.unwrap().account_id, bad);
    assert!(run::parked(who, &id, false).await.unwrap().is_empty());
    let released = run::parked(who, &id, true).await.unwrap();
    assert!(released[0].release_time.is_some());

    let dry = run::create(who, "SUPPORT", "2026-04", true).await.unwrap();
    let dry = completed(&h, &dry.billing_run_id).await;
    let both = run::compare(who, &id, &dry.billing_run_id).await.unwrap();
    assert_eq!(both.other_billing_run, Some(dry));
    run::print_compared(&both, Output::Json).unwrap();
    let alone = run::compare(who, &id, "").await.unwrap();
    assert_eq!(alone.other_billing_run, None, "March has no run");
}

#[tokio::test]
async fn accounts_books_and_audit_trails_are_looked_at_by_commands() {
    let h = Harness::start().await;
    let (first, second) = (h.account().await, h.account().await);
    let who = &h.operator;
    let listed = account::list(who, ("global", ""), 100).await.unwrap();
    let mut listed: Vec<String> = listed.into_iter().map(|it| it.account_id).collect();
    listed.sort();
    let mut both = [first.clone(), second];
    both.sort();
    assert_eq!(listed, both);
    let newest = account::list(who, ("", ""), 1).await.unwrap();
    assert_eq!(newest.len(), 1);
    let below = account::list(who, ("", first.as_str()), 100).await.unwrap();
    assert!(below.is_empty());
    let got = account::get(who, &first).await.unwrap();
    assert_eq!(got.profile_code, "global");
    account::print(&got, Output::Json).unwrap();
    let nobody = format!("AC{}", "0123456789abcdef".repeat(2));
    let told = account::get(who, &nobody).await.unwrap_err().to_string();
    assert!(told.contains("ACCOUNT_NOT_FOUND"), "{told}");
    assert!(told.contains(&h.urls.account_url), "{told}");

    h.change("2026-05-01T00:00:00Z", &first, "business").await;
    let found = reconcile::compare(who, &lately()).await.unwrap();
    reconcile::verdict(&found).unwrap();
    reconcile::print(&found, Output::Json).unwrap();
    tamper(
        &h,
        &first,
        "UPDATE billing.balances SET overdraft_micros = overdraft_micros + 1000000 WHERE root_id = $1",
    )
    .await;
    let found = reconcile::compare(who, &lately()).await.unwrap();
    assert!(reconcile::verdict(&found).is_err());
    assert!(!found.ledger.differences.is_empty());
    let checks = doctor::examine(&h.urls, who, false).await;
    let books = checks.iter().find(|it| it.subject == "books").unwrap();
    assert_eq!(books.state, State::Wrong, "{books:?}");

    let trails = audit::verify(who, &first).await.unwrap();
    audit::verdict(&trails).unwrap();
    audit::print(&trails, Output::Json).unwrap();
    let services: Vec<&str> = trails.iter().map(|it| it.service).collect();
    assert_eq!(
        services,
        ["plan", "payments", "billing", "account-lifecycle"]
    );
    tamper(
        &h,
        &first,
        "UPDATE plan.audit_entries SET method = 'GrantCredit2' WHERE root_id = $1 AND sequence = 1",
    )
    .await;
    let trails = audit::verify(who, &first).await.unwrap();
    let told = audit::verdict(&trails).unwrap_err().to_string();
    assert_eq!(told, "the audit trail is broken in plan");
    assert_eq!(trails[0].broken_sequence, 1);
}

/// What the doctor finds wrong that says so, once it does.
async fn wrong(h: &Harness, words: &str) -> Check {
    let begun = Instant::now();
    loop {
        let checks = doctor::examine(&h.urls, &h.operator, true).await;
        let fits = |text: &String| text.chars().count() <= WIDTH;
        assert!(doctor::text(&checks).iter().all(fits), "{checks:#?}");
        let mut wrong = checks.iter().filter(|it| it.state == State::Wrong);
        if let Some(found) = wrong.find(|it| it.found.contains(words)) {
            assert!(!found.action.is_empty());
            assert!(doctor::verdict(&checks).is_err());
            return found.clone();
        }
        let waited = begun.elapsed();
        assert!(waited < Duration::from_mins(1), "{words}: {checks:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn the_doctor_finds_nothing_in_a_sound_suite_and_then_each_thing_that_is_wrong() {
    let mut shop = Shop::start().await;
    let h = &shop.h;
    h.import_as("v2", &[APPROVED]).await;
    let id = h.account().await;
    let checks = doctor::examine(&h.urls, &h.operator, false).await;
    let sound = checks.iter().all(|it| it.state == State::Ok);
    assert!(sound, "{checks:#?}");
    assert_eq!(checks.len(), 11, "{checks:#?}");
    doctor::verdict(&checks).unwrap();
    doctor::print(&checks, Output::Json).unwrap();

    h.advance("2026-04-03T00:00:00Z").await;
    let waits = wrong(h, "waits for approval").await;
    assert!(waits.action.contains("perdiem run approve RU"), "{waits:?}");
    wrong(h, "2026-03 of SUPPORT is not billed").await;

    // The provider takes another amount than was asked for: whether the order fails or waits is not looked at here.
    shop.card(&id, "tok_wrong_amount").await;
    let purchase = CreditPurchase {
        amount: dollars("80.00"),
        payment_method_id: String::new(),
    };
    let _ = bought(h, &h.customer(), &id, Kind::CreditPurchase(purchase)).await;
    let parked = wrong(h, "1 charges parked, newest CH").await;
    assert_eq!(parked.subject, "charges");

    // The first is that of payments.
    let ahead = SetClockRequest {
        current_time: Some(timestamp(instant("2026-04-04T00:00:00Z"))),
    };
    let mut clocks = clocks(&h.urls).await.unwrap();
    clocks[0].set_clock(ahead).await.unwrap();
    wrong(h, "the test clocks differ").await;

    assert!(shop.h.suite.kill("billing").await);
    let h = &shop.h;
    let away = format!("billing does not answer at {}", h.urls.billing_url);
    let away = wrong(h, &away).await;
    assert_eq!(away.subject, "billing");
    let checks = doctor::examine(&h.urls, &h.operator, false).await;
    for subject in ["billing runs", "payment events", "books"] {
        let check = checks.iter().find(|it| it.subject == subject).unwrap();
        assert_eq!(check.state, State::Skipped, "{check:?}");
    }
    let plan = checks.iter().find(|it| it.subject == "plan").unwrap();
    assert_eq!(plan.state, State::Ok, "{plan:?}");
}

#[tokio::test]
async fn where_nobody_listens_a_failure_names_the_address_that_was_called() {
    let urls = Urls {
        plan_url: free_url(),
        billing_url: free_url(),
        account_url: free_url(),
        payments_url: free_url(),
        clock_urls: Vec::new(),
    };
    let clients = Clients::new(&urls, "a-token").unwrap();
    let told = run::list(&clients, "").await.unwrap_err().to_string();
    assert!(told.contains(&urls.billing_url), "{told}");
    let told = account::list(&clients, ("", ""), 1).await.unwrap_err();
    assert!(told.to_string().contains(&urls.account_url), "{told}");
    let told = audit::verify(&clients, "AC1").await.unwrap_err();
    assert!(told.to_string().contains(&urls.plan_url), "{told}");
    let checks = doctor::examine(&urls, &clients, false).await;
    let wrong = checks.iter().filter(|it| it.state == State::Wrong);
    let wrong: Vec<&str> = wrong.map(|it| it.subject).collect();
    assert_eq!(wrong, ["plan", "payments", "billing", "account-lifecycle"]);
    assert!(
        checks
            .iter()
            .filter(|it| it.state != State::Wrong)
            .all(|it| it.state == State::Skipped),
        "{checks:#?}"
    );
    assert!(doctor::verdict(&checks).is_err());
}
