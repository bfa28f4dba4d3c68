//! Support plans: the requirements of the first source document, through the real services.

use proto::account::v1 as account;
use proto::plan::v1 as plan;
use tonic::{Code, Status};

use crate::harness::{Harness, data, event, instant, reason};
use perdiem::connect::{Clients, request_id, timestamp};

const APRIL: &str = "2026-04-01T00:00:00Z";
const MAY: &str = "2026-05-01T00:00:00Z";

fn lines(expected: &[(&str, i32, &str)]) -> Vec<(String, i32, String)> {
    expected
        .iter()
        .map(|(plan, days, amount)| ((*plan).to_owned(), *days, (*amount).to_owned()))
        .collect()
}

async fn current(h: &Harness, account_id: &str) -> account::CurrentPlan {
    let request = account::GetCurrentPlanRequest {
        account_id: account_id.to_owned(),
        family_code: "SUPPORT".to_owned(),
    };
    h.customer()
        .account
        .get_current_plan(request)
        .await
        .unwrap()
        .into_inner()
        .current_plan
        .unwrap()
}

async fn offers(h: &Harness, account_id: &str) -> Vec<account::PlanOffer> {
    let request = account::ListAvailablePlansRequest {
        account_id: account_id.to_owned(),
        family_code: "SUPPORT".to_owned(),
    };
    h.customer()
        .account
        .list_available_plans(request)
        .await
        .unwrap()
        .into_inner()
        .plans
}

async fn ticket(h: &Harness, account_id: &str) -> account::Ticket {
    let request = account::CreateTicketRequest {
        account_id: account_id.to_owned(),
        channel_code: "EMAIL".to_owned(),
        priority_code: "P1".to_owned(),
        subject: "It does not work".to_owned(),
        request_id: request_id(),
    };
    h.customer()
        .account
        .create_ticket(request)
        .await
        .unwrap()
        .into_inner()
        .ticket
        .unwrap()
}

#[tokio::test]
async fn req_001_req_002_a_new_account_has_the_free_plan_from_its_first_instant_and_one_plan_ever_after()
 {
    let h = Harness::start().await;
    let ac = h.account().await;
    h.change("2026-03-10T10:00:00Z", &ac, "production").await;
    h.change("2026-03-12T10:00:00Z", &ac, "business").await;
    for (at, expected) in [
        ("2026-03-01T12:00:00Z", "developer"),
        ("2026-03-10T09:59:59.999999Z", "developer"),
        ("2026-03-10T10:00:00Z", "production"),
        ("2026-03-12T10:00:00Z", "business"),
        ("2126-01-01T00:00:00Z", "business"),
    ] {
        assert_eq!(
            h.plan_at(&ac, at).await.unwrap().plan_code,
            expected,
            "{at}"
        );
    }
    let before = h.plan_at(&ac, "2026-03-01T11:59:59Z").await.unwrap_err();
    assert_eq!(
        (before.code(), reason(&before).as_str()),
        (Code::NotFound, "NO_PLAN_THEN")
    );
    let started = h
        .plan_at(&ac, "2026-03-01T12:00:00Z")
        .await
        .unwrap()
        .start_time
        .unwrap();
    assert_eq!(started, timestamp(instant("2026-03-01T12:00:00Z")));
}

#[tokio::test]
async fn req_003_req_007_req_008_usage_makes_the_charge_once_a_month_for_each_account() {
    let h = Harness::start().await;
    let free = h.account().await;
    h.used(&free, "2026-03-02T00:00:00Z", "1.00").await;
    let mut business = Vec::new();
    for _ in 0..4 {
        business.push(h.account().await);
    }
    h.advance(APRIL).await;
    for ac in &business {
        h.change(APRIL, ac, "business").await;
    }
    h.advance(MAY).await;
    h.used(&free, "2026-04-10T00:00:00Z", "100000.00").await;
    for (ac, usage) in business
        .iter()
        .zip(["40000.00", "25000.00", "10000.00", "0.00"])
    {
        h.used(ac, "2026-04-10T00:00:00Z", usage).await;
    }
    let run = h.bill("2026-04").await;
    assert_eq!(run.invoice_count, 4);
    assert!(
        h.invoices(&free).await.is_empty(),
        "the free plan costs nothing"
    );
    for (ac, total) in business
        .iter()
        .zip(["2400.00", "1500.00", "1500.00", "1500.00"])
    {
        assert_eq!(h.lines(ac).await, lines(&[("business", 30, total)]));
    }
    let again = h.bill("2026-04").await;
    assert_eq!(again, run, "a second run is the first");
    assert_eq!(h.count("SELECT count(*) FROM billing.invoices").await, 4);
    let plans = offers(&h, &free).await;
    assert!(
        plans
            .iter()
            .find(|plan| plan.plan_code == "developer")
            .unwrap()
            .channels
            .contains(&"EMAIL".to_owned())
    );
}

#[tokio::test]
async fn req_004_req_019_req_023_req_032_the_plans_are_listed_with_their_terms_and_one_is_current()
{
    let h = Harness::start().await;
    let ac = h.account().await;
    let request = plan::ListPlansRequest {
        family_code: "SUPPORT".to_owned(),
        version: String::new(),
    };
    let plans = h
        .operator
        .plan
        .clone()
        .list_plans(request)
        .await
        .unwrap()
        .into_inner()
        .plans;
    assert_eq!(
        plans
            .iter()
            .map(|plan| plan.plan_code.as_str())
            .collect::<Vec<_>>(),
        ["developer", "production", "business", "personalized"]
    );
    let business = &plans[2];
    assert_eq!(
        business.charge.as_ref().unwrap().model(),
        plan::charge::Model::PercentWithMinimum
    );
    assert_eq!(
        business
            .response_targets
            .iter()
            .map(|it| (it.priority_code.as_str(), it.minutes, it.always))
            .collect::<Vec<_>>(),
        [("P1", 60, true), ("P2", 120, false), ("P3", 180, false)]
    );
    assert!(business.self_serve_purchase && business.channels.contains(&"PHONE".to_owned()));

    let marked = |plans: &[account::PlanOffer]| {
        plans
            .iter()
            .filter(|plan| plan.current)
            .map(|plan| plan.plan_code.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(marked(&offers(&h, &ac).await), ["developer"]);
    h.change("2026-03-10T10:00:00Z", &ac, "business").await;
    assert_eq!(
        marked(&offers(&h, &ac).await),
        ["business"],
        "right after the commit"
    );
    h.change("2026-03-11T10:00:00Z", &ac, "developer").await;
    assert_eq!(marked(&offers(&h, &ac).await), ["developer"]);
    assert_eq!(offers(&h, &ac).await.len(), 4);
}

#[tokio::test]
async fn req_005_req_017_one_contract_governs_several_accounts_and_pools_their_usage() {
    let h = Harness::start().await;
    let (a, b, c, root) = (
        h.account().await,
        h.account().await,
        h.account().await,
        h.account().await,
    );
    let (sub_1, sub_2) = (h.subaccount(&root).await, h.subaccount(&root).await);
    h.advance(APRIL).await;
    let contract = h.contract("business", &[&a, &b, &c]).await;
    h.change(APRIL, &root, "business").await;
    for ac in [&a, &b, &c] {
        assert_eq!(
            h.plan_at(ac, "2026-04-02T00:00:00Z")
                .await
                .unwrap()
                .plan_code,
            "business"
        );
        assert_eq!(
            current(&h, ac).await.governed_by,
            format!("CONTRACT:{}", contract.contract_id)
        );
    }
    h.advance(MAY).await;
    for (ac, usage) in [
        (&a, "10000.00"),
        (&b, "15000.00"),
        (&c, "10000.00"),
        (&root, "20000.00"),
        (&sub_1, "15000.00"),
        (&sub_2, "5000.00"),
    ] {
        h.used(ac, "2026-04-10T00:00:00Z", usage).await;
    }
    h.bill("2026-04").await;
    assert_eq!(
        h.lines(&a).await,
        lines(&[("business", 30, "2100.00")]),
        "one minimum for the pool"
    );
    assert!(
        h.invoices(&b).await.is_empty() && h.invoices(&c).await.is_empty(),
        "the payer pays"
    );
    assert_eq!(
        h.lines(&root).await,
        lines(&[("business", 30, "2400.00")]),
        "subaccounts count"
    );
}

/// Adds an account to a contract.
async fn joins(h: &Harness, contract: &plan::Contract, account_id: &str) {
    let request = plan::AddContractMemberRequest {
        contract_id: contract.contract_id.clone(),
        account_id: account_id.to_owned(),
        request_id: request_id(),
    };
    let mut plan = h.operator.plan.clone();
    plan.add_contract_member(request).await.unwrap();
}

/// Records the same usage on each day of April.
async fn used_daily(h: &Harness, account_id: &str, price: &str) {
    let events = (1..=30)
        .map(|day| {
            let at = format!("2026-04-{day:02}T06:00:00Z");
            event(&request_id(), account_id, &at, price)
        })
        .collect();
    h.record(events).await.unwrap();
}

#[tokio::test]
async fn req_016_a_member_that_joins_in_mid_month_is_billed_for_each_day_once() {
    let h = Harness::start().await;
    let (payer, joiner) = (h.account().await, h.account().await);
    h.advance(APRIL).await;
    h.change(APRIL, &joiner, "production").await;
    let contract = h.contract("business", &[&payer]).await;
    h.advance("2026-04-10T15:00:00Z").await;
    joins(&h, &contract, &joiner).await;
    h.advance(MAY).await;
    h.used(&payer, "2026-04-20T00:00:00Z", "30000.00").await;
    h.used(&joiner, "2026-04-09T00:00:00Z", "7000.00").await;
    h.used(&joiner, "2026-04-10T00:00:00Z", "5000.00").await;
    h.bill("2026-04").await;
    assert_eq!(
        h.lines(&joiner).await,
        lines(&[("production", 9, "144.00")]),
        "480.00 x 9/30 on the whole month's usage"
    );
    assert_eq!(
        h.lines(&payer).await,
        lines(&[("business", 9, "540.00"), ("business", 21, "1764.00")]),
        "30,000.00 of pool usage for 9 days, then 42,000.00"
    );
    // Each line says what it was computed from (REQ-011).
    let invoice = h.invoices(&payer).await.remove(0);
    assert_eq!(
        invoice.lines[1].explanation,
        "6% of usage, at least 1500.00 on usage of 42000.00 = 2520.00; 2520.00 × 21/30 days = 1764.00"
    );
}

#[tokio::test]
async fn req_016_an_own_plan_that_becomes_a_contract_is_billed_as_one_month() {
    let h = Harness::start().await;
    let ac = h.account().await;
    h.change(APRIL, &ac, "business").await;
    h.advance("2026-04-16T10:00:00Z").await;
    let contract = h.contract("business", &[&ac]).await;
    h.advance(MAY).await;
    used_daily(&h, &ac, "4000.00").await;
    h.bill("2026-04").await;
    assert_eq!(
        h.lines(&ac).await,
        lines(&[("business", 15, "3600.00"), ("business", 15, "3600.00")])
    );
    let invoice = h.invoices(&ac).await.remove(0);
    assert_eq!(invoice.total.unwrap().amount, "7200.00");
    let contracts = invoice.lines.iter().map(|it| it.contract_id.as_str());
    let contracts: Vec<_> = contracts.collect();
    assert_eq!(contracts, ["", contract.contract_id.as_str()]);
}

#[tokio::test]
async fn req_017_each_payer_of_a_contract_pays_its_days_of_the_whole_pool() {
    let h = Harness::start().await;
    let (a, b) = (h.account().await, h.account().await);
    h.advance(APRIL).await;
    let contract = h.contract("business", &[&a, &b]).await;
    h.advance("2026-04-16T10:00:00Z").await;
    let request = plan::SetContractPayerRequest {
        contract_id: contract.contract_id,
        payer_account_id: b.clone(),
        request_id: request_id(),
    };
    let mut plan = h.operator.plan.clone();
    plan.set_contract_payer(request).await.unwrap();
    h.advance(MAY).await;
    used_daily(&h, &a, "3000.00").await;
    used_daily(&h, &b, "1000.00").await;
    h.bill("2026-04").await;
    for ac in [&a, &b] {
        assert_eq!(h.lines(ac).await, lines(&[("business", 15, "3600.00")]));
    }
}

#[tokio::test]
async fn req_017_a_contract_over_free_accounts_counts_their_whole_month() {
    let h = Harness::start().await;
    let (a, b) = (h.account().await, h.account().await);
    h.advance("2026-04-16T10:00:00Z").await;
    h.contract("business", &[&a, &b]).await;
    h.advance(MAY).await;
    for (ac, before, after) in [(&a, "30000.00", "10000.00"), (&b, "10000.00", "30000.00")] {
        h.used(ac, "2026-04-05T00:00:00Z", before).await;
        h.used(ac, "2026-04-25T00:00:00Z", after).await;
    }
    h.bill("2026-04").await;
    assert_eq!(
        h.lines(&a).await,
        lines(&[("developer", 15, "0.00"), ("business", 15, "2400.00")]),
        "4,800.00 x 15/30"
    );
    assert!(h.invoices(&b).await.is_empty());
}

#[tokio::test]
async fn req_017_a_member_that_leaves_is_in_the_pool_on_its_days() {
    let h = Harness::start().await;
    let (payer, leaver) = (h.account().await, h.account().await);
    h.advance(APRIL).await;
    let contract = h.contract("business", &[&payer, &leaver]).await;
    h.advance("2026-04-16T10:00:00Z").await;
    let request = plan::RemoveContractMemberRequest {
        contract_id: contract.contract_id,
        account_id: leaver.clone(),
        request_id: request_id(),
    };
    let mut plan = h.operator.plan.clone();
    plan.remove_contract_member(request).await.unwrap();
    h.advance(MAY).await;
    h.used(&payer, "2026-04-25T00:00:00Z", "30000.00").await;
    h.used(&leaver, "2026-04-25T00:00:00Z", "30000.00").await;
    h.bill("2026-04").await;
    assert_eq!(
        h.lines(&payer).await,
        lines(&[("business", 15, "1800.00"), ("business", 15, "900.00")]),
        "60,000.00 of pool usage for 15 days, then 30,000.00"
    );
    assert!(h.invoices(&leaver).await.is_empty());
}

#[tokio::test]
async fn req_006_only_sales_makes_contracts() {
    let h = Harness::start().await;
    let ac = h.account().await;
    let request = plan::CreateContractRequest {
        family_code: "SUPPORT".to_owned(),
        plan_code: "business".to_owned(),
        payer_account_id: ac.clone(),
        member_account_ids: Vec::new(),
        request_id: request_id(),
    };
    for clients in [
        h.customer(),
        h.operator_with("BILLING"),
        h.operator_with("SUPPORT_AGENT"),
    ] {
        let refused = clients
            .plan
            .clone()
            .create_contract(request.clone())
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    assert_eq!(h.count("SELECT count(*) FROM plan.contracts").await, 0);
    assert!(
        h.operator_with("SALES")
            .plan
            .clone()
            .create_contract(request)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn req_009_a_plan_may_be_changed_as_often_as_wanted() {
    let h = Harness::start().await;
    let ac = h.account().await;
    for (at, plan) in [
        ("2026-04-03T10:00:00Z", "production"),
        ("2026-04-10T10:00:00Z", "business"),
        ("2026-04-25T10:00:00Z", "developer"),
    ] {
        assert_eq!(
            h.change(at, &ac, plan).await.state(),
            account::order::State::Completed
        );
    }
    let request = plan::ListSegmentsRequest {
        account_id: ac,
        family_code: "SUPPORT".to_owned(),
    };
    let history = h
        .operator
        .plan
        .clone()
        .list_segments(request)
        .await
        .unwrap()
        .into_inner()
        .segments;
    assert_eq!(
        history
            .iter()
            .map(|it| it.plan_code.as_str())
            .collect::<Vec<_>>(),
        ["developer", "production", "business", "developer"]
    );
    for pair in history.windows(2) {
        assert_eq!(pair[0].end_time, pair[1].start_time, "segments tile time");
    }
}

#[tokio::test]
async fn req_010_req_011_req_015_an_upgrade_on_the_fifteenth_is_pro_rated_charged_on_the_first_and_explained()
 {
    let h = Harness::start().await;
    let ac = h.account().await;
    h.change(APRIL, &ac, "production").await;
    h.change("2026-04-15T10:00:00Z", &ac, "business").await;
    h.used(&ac, "2026-04-10T00:00:00Z", "40000.00").await;
    h.advance("2026-04-30T23:00:00Z").await;
    assert_eq!(
        h.balance(&ac).await,
        "0.000000",
        "nothing is taken before the month has ended"
    );
    let early = perdiem::run::create(&h.operator, "SUPPORT", "2026-04", false)
        .await
        .unwrap_err();
    assert!(early.to_string().contains("PERIOD_NOT_ENDED"), "{early}");
    h.advance(MAY).await;
    h.bill("2026-04").await;

    let invoice = &h.invoices(&ac).await[0];
    assert_eq!(
        h.lines(&ac).await,
        lines(&[("production", 14, "746.67"), ("business", 16, "1280.00")])
    );
    assert_eq!(invoice.total.as_ref().unwrap().amount, "2026.67");
    assert_eq!(h.balance(&ac).await, "-2026.670000");
    let line = &invoice.lines[1];
    assert_eq!(
        (line.active_days, line.days_in_month, line.rounding.as_str()),
        (16, 30, "HALF_UP")
    );
    assert_eq!(line.usage_base.as_ref().unwrap().amount, "40000.000000");
    assert_eq!(line.terms, "6% of usage, at least 1500.00");
    // Anyone can compute it again: minor units × 16 ÷ 30, half up.
    let total: i128 = line.total_numerator.parse().unwrap();
    let denominator: i128 = line.total_denominator.parse().unwrap();
    let minor = (2 * total * 16 + denominator * 30) / (2 * denominator * 30);
    assert_eq!(minor, 1280_00);
}

#[tokio::test]
async fn req_012_flat_plans_are_pro_rated_too_in_long_and_short_months() {
    let flat = std::fs::read_to_string(data("catalogue.yaml")).unwrap();
    let flat = flat
        .replace("available: false", "available: true")
        .replace(
            "self_serve: {purchase: false, cancel: false}",
            "self_serve: {purchase: true, cancel: true}",
        )
        .replace("catalogue_version: \"v1\"", "catalogue_version: \"flat\"");
    for (start, month, days, amount) in [
        ("2026-02-15T08:00:00Z", "2026-02", 14, "125.00"),
        ("2028-02-15T08:00:00Z", "2028-02", 15, "129.31"),
    ] {
        let mut h = Harness::with(&[]).await;
        h.set_clock("2026-02-01T00:00:00Z").await;
        let file = h.suite.settings.folder.join("flat.yaml");
        std::fs::write(&file, &flat).unwrap();
        perdiem::catalogue::import(&h.operator, &file, true)
            .await
            .unwrap();
        h.own("owner").await;
        let ac = h.account().await;
        h.change(start, &ac, "production_flat").await;
        h.advance(if days == 14 {
            "2026-03-01T00:00:00Z"
        } else {
            "2028-03-01T00:00:00Z"
        })
        .await;
        h.bill(month).await;
        let billed = h.lines(&ac).await;
        assert_eq!(
            billed.last().unwrap(),
            &("production_flat".to_owned(), days, amount.to_owned())
        );
    }
}

#[tokio::test]
async fn req_013_req_016_the_day_of_the_start_counts_in_full_and_days_tile_the_month() {
    let h = Harness::start().await;
    let (late, last) = (h.account().await, h.account().await);
    h.change("2026-04-15T23:59:00Z", &late, "business").await;
    h.change("2026-04-30T10:00:00Z", &last, "business").await;
    h.advance(MAY).await;
    h.used(&late, "2026-04-10T00:00:00Z", "40000.00").await;
    h.used(&last, "2026-04-10T00:00:00Z", "40000.00").await;
    h.bill("2026-04").await;
    assert_eq!(
        h.lines(&late).await,
        lines(&[("developer", 14, "0.00"), ("business", 16, "1280.00")])
    );
    assert_eq!(
        h.lines(&last).await,
        lines(&[("developer", 29, "0.00"), ("business", 1, "80.00")])
    );
}

#[tokio::test]
async fn req_014_req_018_req_024_req_025_req_033_a_change_holds_at_once_and_tickets_keep_the_plan_they_were_made_under()
 {
    let h = Harness::start().await;
    let ac = h.account().await;
    h.advance("2026-04-15T09:59:00Z").await;
    let before = ticket(&h, &ac).await;
    h.change("2026-04-15T10:00:00Z", &ac, "business").await;
    h.advance("2026-04-15T10:00:01Z").await;
    let during = ticket(&h, &ac).await;
    let plan = current(&h, &ac).await;
    assert_eq!(
        (
            plan.plan_code.as_str(),
            plan.next_billing_date.as_str(),
            plan.governed_by.as_str()
        ),
        ("business", "2026-05-01", "")
    );
    assert_eq!(
        plan.start_time.unwrap(),
        timestamp(instant("2026-04-15T10:00:00Z"))
    );
    h.change("2026-04-15T17:00:00Z", &ac, "developer").await;
    h.advance("2026-04-15T17:01:00Z").await;
    let after = ticket(&h, &ac).await;

    assert_eq!(
        (before.plan_code.as_str(), before.response_minutes),
        ("developer", 0)
    );
    assert_eq!(
        (
            during.plan_code.as_str(),
            during.response_minutes,
            during.response_always
        ),
        ("business", 60, true)
    );
    assert_eq!(
        (after.plan_code.as_str(), after.response_minutes),
        ("developer", 0)
    );
    let request = account::GetTicketRequest {
        ticket_id: before.ticket_id.clone(),
    };
    let kept = h
        .customer()
        .account
        .get_ticket(request)
        .await
        .unwrap()
        .into_inner()
        .ticket
        .unwrap();
    assert_eq!(
        kept.plan_code, "developer",
        "a later purchase changes no older ticket"
    );
}

#[tokio::test]
async fn a_plan_that_customers_may_not_buy_themselves_is_quoted_to_operators() {
    let h = Harness::start().await;
    let ac = h.account().await;
    let offered = ("available: false", "available: true");
    h.import_as("v2", &[offered]).await;
    let refused = h.quote(&h.customer(), &ac, "production_flat").await;
    assert_eq!(reason(&refused.unwrap_err()), "PLAN_NOT_OFFERED");
    let order = h.quote(&h.operator, &ac, "production_flat").await;
    assert_eq!(order.unwrap().to_plan_code, "production_flat");
    let purchase = (
        "self_serve: {purchase: false",
        "self_serve: {purchase: true",
    );
    h.import_as("v3", &[offered, purchase]).await;
    let order = h.quote(&h.customer(), &ac, "production_flat").await;
    assert_eq!(order.unwrap().to_plan_code, "production_flat");
}

#[tokio::test]
async fn req_020_req_021_any_available_plan_can_be_quoted_and_a_quote_changes_nothing() {
    let h = Harness::start().await;
    let ac = h.account().await;
    h.advance("2026-04-15T10:00:00Z").await;
    h.used(&ac, "2026-04-10T00:00:00Z", "40000.00").await;
    let customer = h.customer();
    for (target, code, why) in [
        ("nothing", Code::NotFound, "PLAN_NOT_FOUND"),
        ("production_flat", Code::FailedPrecondition, "PLAN_RETIRED"),
        ("developer", Code::AlreadyExists, "PLAN_IS_CURRENT"),
    ] {
        let refused = h.quote(&customer, &ac, target).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (code, why),
            "{target}"
        );
    }
    let order = h.quote(&customer, &ac, "business").await.unwrap();
    assert_eq!(
        (order.from_plan_code.as_str(), order.to_plan_code.as_str()),
        ("developer", "business")
    );
    assert_eq!(order.billing_date, "2026-05-01");
    assert_eq!(
        order.effective_time.unwrap(),
        timestamp(instant("2026-04-15T10:00:00Z"))
    );
    let estimate = order
        .lines
        .iter()
        .find(|line| {
            line.description
                .starts_with("Support plan Business, 15 to 30 April 2026")
        })
        .unwrap();
    assert_eq!(
        (
            estimate.amount.as_ref().unwrap().amount.as_str(),
            estimate.estimated
        ),
        ("1280.00", true)
    );
    assert_eq!(
        h.plan_at(&ac, "2026-04-15T10:00:00Z")
            .await
            .unwrap()
            .plan_code,
        "developer"
    );
    assert_eq!(
        h.count("SELECT count(*) FROM billing.ledger_entries").await,
        0
    );
}

#[tokio::test]
async fn req_022_req_031_two_confirmations_come_before_the_buy_action() {
    let h = Harness::start().await;
    let ac = h.account().await;
    let customer = h.customer();
    for (target, label) in [
        ("business", "Buy Support"),
        ("developer", "Buy Developer Support"),
    ] {
        let order = h.quote(&customer, &ac, target).await.unwrap();
        assert_eq!(
            (order.confirmations_required, order.action_label.as_str()),
            (2, label)
        );
        for given in 0..2 {
            let refused = h.commit(&customer, &order).await.unwrap_err();
            assert_eq!(
                (refused.code(), reason(&refused).as_str()),
                (Code::FailedPrecondition, "CONFIRMATION_MISSING"),
                "{given}"
            );
            h.confirm(&customer, &order).await.unwrap();
        }
        assert_eq!(
            h.commit(&customer, &order).await.unwrap().state(),
            account::order::State::Completed
        );
        assert_eq!(current(&h, &ac).await.plan_code, target);
        h.advance(if target == "business" {
            "2026-03-02T00:00:00Z"
        } else {
            "2026-03-03T00:00:00Z"
        })
        .await;
    }
}

#[tokio::test]
async fn req_026_req_030_downgrades_hold_at_once_and_the_free_plan_ends_the_charges() {
    let h = Harness::start().await;
    let (down, off) = (h.account().await, h.account().await);
    for ac in [&down, &off] {
        h.change(APRIL, ac, "business").await;
    }
    h.change("2026-04-20T10:00:00Z", &down, "production").await;
    h.change("2026-04-20T10:00:00Z", &off, "developer").await;
    h.advance(MAY).await;
    for ac in [&down, &off] {
        h.used(ac, "2026-04-10T00:00:00Z", "40000.00").await;
    }
    h.bill("2026-04").await;
    assert_eq!(
        h.lines(&down).await,
        lines(&[("business", 19, "1520.00"), ("production", 11, "586.67")])
    );
    assert_eq!(
        h.lines(&off).await,
        lines(&[("business", 19, "1520.00"), ("developer", 11, "0.00")])
    );
    h.advance("2026-06-01T00:00:00Z").await;
    h.bill("2026-05").await;
    assert_eq!(h.invoices(&off).await.len(), 1, "no charge in May");
    assert_eq!(h.invoices(&down).await.len(), 2);
}

#[tokio::test]
async fn req_027_req_028_personalized_and_contract_plans_are_left_with_support_only() {
    let h = Harness::start().await;
    let (personal, under_contract) = (h.account().await, h.account().await);
    h.change("2026-03-10T10:00:00Z", &personal, "personalized")
        .await;
    h.contract("business", &[&under_contract]).await;
    for ac in [&personal, &under_contract] {
        let refused = h.quote(&h.customer(), ac, "developer").await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::FailedPrecondition, "CONTACT_SUPPORT")
        );
    }
    assert_eq!(current(&h, &under_contract).await.plan_code, "business");
    let agent = h.operator_with("SUPPORT_AGENT");
    // What an agent quoted is the agent's to confirm and commit: the customer only sees it.
    let order = h.quote(&agent, &personal, "developer").await.unwrap();
    for refused in [
        h.confirm(&h.customer(), &order).await.unwrap_err(),
        h.commit(&h.customer(), &order).await.unwrap_err(),
    ] {
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::PermissionDenied, "ORDER_OF_OPERATOR")
        );
    }
    assert_eq!(current(&h, &personal).await.plan_code, "personalized");
    let order = perdiem::demo::change(&agent, &personal, "developer")
        .await
        .unwrap();
    assert_eq!(order.state(), account::order::State::Completed);
}

#[tokio::test]
async fn req_029_support_plans_have_no_cancel_operation() {
    let h = Harness::start().await;
    let ac = h.account().await;
    h.change("2026-03-10T10:00:00Z", &ac, "business").await;
    let request = account::CancelSubscriptionRequest {
        account_id: ac.clone(),
        family_code: "SUPPORT".to_owned(),
        request_id: request_id(),
    };
    let refused = h
        .customer()
        .account
        .cancel_subscription(request)
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "SELECT_FREE_PLAN")
    );
    h.change("2026-03-11T10:00:00Z", &ac, "developer").await;
    assert_eq!(current(&h, &ac).await.plan_code, "developer");
}

#[tokio::test]
async fn req_034_a_commit_can_be_repeated_and_a_quote_does_not_live_for_ever() {
    let h = Harness::start().await;
    let ac = h.account().await;
    let customer = h.customer();
    h.advance("2026-03-01T12:10:00Z").await;
    let order = h.quote(&customer, &ac, "business").await.unwrap();
    h.confirm(&customer, &order).await.unwrap();
    h.confirm(&customer, &order).await.unwrap();
    let first = h.commit(&customer, &order).await.unwrap();
    assert_eq!(h.commit(&customer, &order).await.unwrap(), first);
    assert_eq!(h.count("SELECT count(*) FROM plan.segments").await, 2);

    let stale = h.quote(&customer, &ac, "developer").await.unwrap();
    h.advance("2026-03-01T12:40:00Z").await;
    let refused = h.confirm(&customer, &stale).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::Aborted, "REQUOTE"),
        "after its 30 minutes"
    );

    let quoted = h.quote(&customer, &ac, "developer").await.unwrap();
    h.confirm(&customer, &quoted).await.unwrap();
    h.confirm(&customer, &quoted).await.unwrap();
    h.import_as("v2", &[]).await;
    let refused = h.commit(&customer, &quoted).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::Aborted, "REQUOTE"),
        "after a new catalogue"
    );
    assert_eq!(current(&h, &ac).await.plan_code, "business");
}

#[tokio::test]
async fn a_quote_binds_the_day_on_which_it_takes_effect() {
    let h = Harness::start().await;
    let ac = h.account().await;
    let customer = h.customer();
    h.advance("2026-04-30T23:50:00Z").await;
    let order = h.quote(&customer, &ac, "business").await.unwrap();
    assert_eq!(order.billing_date, "2026-05-01");
    let estimates: Vec<_> = order.lines.iter().map(|it| it.amount.clone()).collect();
    assert!(
        estimates.iter().flatten().any(|it| it.amount == "50.00"),
        "1,500.00 for one of 30 days: {estimates:?}"
    );
    h.confirm(&customer, &order).await.unwrap();
    h.confirm(&customer, &order).await.unwrap();
    h.advance("2026-05-01T00:05:00Z").await;
    let refused = h.commit(&customer, &order).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::Aborted, "REQUOTE")
    );
    assert_eq!(current(&h, &ac).await.plan_code, "developer");
    let again = h.quote(&customer, &ac, "business").await.unwrap();
    assert_eq!(again.billing_date, "2026-06-01");
}

#[tokio::test]
async fn a_quote_is_of_the_month_that_the_family_s_zone_has() {
    let h = Harness::start().await;
    let zone = ("time_zone: UTC     ", "time_zone: Asia/Kolkata");
    h.import_as("kolkata", &[zone]).await;
    let ac = h.account().await;
    // In Kolkata it is May since half past six in the evening.
    h.advance("2026-04-30T20:00:00Z").await;
    let order = h.quote(&h.customer(), &ac, "business").await.unwrap();
    let amounts: Vec<_> = order
        .lines
        .iter()
        .filter(|line| line.description.starts_with("Support plan Business, "))
        .map(|line| line.amount.as_ref().unwrap().amount.as_str())
        .collect();
    assert_eq!(amounts, ["1500.00"], "the minimum of the whole of May");
    assert_eq!(order.billing_date, "2026-06-01");
}

#[tokio::test]
async fn req_035_a_day_with_several_changes_belongs_to_the_highest_plan() {
    let h = Harness::start().await;
    let ac = h.account().await;
    h.change("2026-04-15T09:00:00Z", &ac, "business").await;
    h.change("2026-04-15T17:00:00Z", &ac, "developer").await;
    h.advance(MAY).await;
    h.used(&ac, "2026-04-10T00:00:00Z", "40000.00").await;
    h.bill("2026-04").await;
    assert_eq!(
        h.lines(&ac).await,
        lines(&[
            ("developer", 14, "0.00"),
            ("business", 1, "80.00"),
            ("developer", 15, "0.00")
        ])
    );
}

#[tokio::test]
async fn req_036_a_subaccount_has_the_plan_of_its_root() {
    let h = Harness::start().await;
    let root = h.account().await;
    let sub = h.subaccount(&root).await;
    h.change("2026-03-10T10:00:00Z", &root, "business").await;
    assert_eq!(
        h.plan_at(&sub, "2026-03-11T00:00:00Z").await.unwrap(),
        h.plan_at(&root, "2026-03-11T00:00:00Z").await.unwrap()
    );
    let refused = h.quote(&h.customer(), &sub, "developer").await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "USE_ROOT_ACCOUNT")
    );
}

#[tokio::test]
async fn req_037_the_charge_is_taken_from_the_balance_in_order_or_put_on_an_invoice() {
    use proto::billing::v1 as billing;
    let h = Harness::start().await;
    let (prepaid, invoiced) = (h.account().await, h.account_of("global", true).await);
    for (kind, amount) in [
        (billing::lot::Kind::Paid, "60.00"),
        (billing::lot::Kind::Promo, "30.00"),
        (billing::lot::Kind::Trial, "10.00"),
    ] {
        let request = billing::GrantCreditRequest {
            account_id: prepaid.clone(),
            kind: kind.into(),
            amount: Some(proto::r#type::v1::Amount {
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
    for ac in [&prepaid, &invoiced] {
        h.change("2026-04-15T10:00:00Z", ac, "business").await;
        h.used(ac, "2026-04-15T00:00:00Z", "40000.00").await;
    }
    h.advance(MAY).await;
    h.bill("2026-04").await;
    assert_eq!(h.balance(&prepaid).await, "-1180.000000");
    let request = billing::ListEntriesRequest {
        account_id: prepaid.clone(),
        ..billing::ListEntriesRequest::default()
    };
    let entries = h
        .operator
        .billing
        .clone()
        .list_entries(request)
        .await
        .unwrap()
        .into_inner()
        .entries;
    let mut spent: Vec<_> = entries
        .iter()
        .filter(|it| it.reason == "INVOICE")
        .map(|it| {
            (
                it.debit_account.as_str(),
                it.amount.as_ref().unwrap().amount.as_str(),
            )
        })
        .collect();
    spent.reverse();
    assert_eq!(
        spent,
        [
            ("TRIAL", "10.000000"),
            ("PROMO", "30.000000"),
            ("PAID", "60.000000"),
            ("OVERDRAFT", "1180.000000")
        ]
    );
    let paid = &h.invoices(&prepaid).await[0];
    assert_eq!(
        (
            paid.state(),
            paid.amount_due.as_ref().unwrap().amount.as_str()
        ),
        (billing::invoice::State::Paid, "0.00")
    );
    let open = &h.invoices(&invoiced).await[0];
    assert_eq!(
        (
            open.state(),
            open.amount_due.as_ref().unwrap().amount.as_str()
        ),
        (billing::invoice::State::Open, "1280.00")
    );
    let reconciled = h
        .operator
        .billing
        .clone()
        .reconcile(billing::ReconcileRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(reconciled.differences, Vec::<String>::new());
    assert_eq!(
        h.count("SELECT count(*) FROM billing.outbox WHERE kind = 'BALANCE_CROSSED' AND threshold_code = 'ZERO' AND fell")
            .await,
        1
    );
}

#[tokio::test]
async fn req_038_only_roles_with_billing_rights_change_a_plan_and_strangers_find_nothing() {
    let h = Harness::start().await;
    let ac = h.account().await;
    for role in ["DEVELOPER", "SUPPORT", "ADMINISTRATOR", "BILLING_MANAGER"] {
        let user = h.user(&role.to_lowercase()).await;
        let request = account::GrantRoleRequest {
            account_id: ac.clone(),
            user_id: user.clone(),
            role_code: role.to_owned(),
            request_id: request_id(),
        };
        h.customer().account.grant_role(request).await.unwrap();
        let quoted = h.quote(&h.person(&user), &ac, "business").await;
        match role {
            "DEVELOPER" | "SUPPORT" => {
                let refused = quoted.unwrap_err();
                assert_eq!(
                    (refused.code(), reason(&refused).as_str()),
                    (Code::PermissionDenied, "ROLE_NOT_ALLOWED"),
                    "{role}"
                );
                let order = h.quote(&h.customer(), &ac, "business").await.unwrap();
                assert_eq!(
                    h.commit(&h.person(&user), &order).await.unwrap_err().code(),
                    Code::PermissionDenied
                );
            }
            _ => assert!(quoted.is_ok(), "{role}"),
        }
    }
    let stranger = h.user("stranger").await;
    let refused = h
        .quote(&h.person(&stranger), &ac, "business")
        .await
        .unwrap_err();
    let nothing = h
        .quote(
            &h.person(&stranger),
            "AC00000000000000000000000000000001",
            "business",
        )
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused)),
        (nothing.code(), reason(&nothing))
    );
    assert_eq!(reason(&refused), "ACCOUNT_NOT_FOUND");
}

#[tokio::test]
async fn req_134_what_a_change_does_is_data_and_not_code() {
    let h = Harness::start().await;
    let (ac, indian) = (h.account().await, h.account_of("india", false).await);
    assert!(h.quote(&h.customer(), &ac, "personalized").await.is_ok());
    // SUPPORT: a rule that refuses what was free before.
    h.import_as("v2", &[("- {when: {}, effect: IMMEDIATE}", "- {when: {to_plan: personalized, actor: CUSTOMER}, effect: REJECT, reason: CONTACT_SALES}\n      - {when: {}, effect: IMMEDIATE}")]).await;
    let refused = h
        .quote(&h.customer(), &ac, "personalized")
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "CONTACT_SALES");
    // PLATFORM: an upgrade that waits for the next cycle, and with other data does not.
    let preview = async |to: &str| {
        let request = plan::PreviewChangeRequest {
            account_id: indian.clone(),
            family_code: "PLATFORM".to_owned(),
            plan_code: to.to_owned(),
            billing_cycle_code: String::new(),
            actor: plan::Actor::Customer.into(),
        };
        h.operator
            .plan
            .clone()
            .preview_change(request)
            .await
            .map(|it| it.into_inner().change.unwrap())
    };
    h.advance("2026-04-15T00:00:00Z").await;
    let starter = preview("starter").await.unwrap();
    assert_eq!(
        starter.effect(),
        plan::change::Effect::ImmediateOnPayment,
        "a trial has no cycle to wait for"
    );
    let request = plan::ApplyChangeRequest {
        account_id: indian.clone(),
        family_code: "PLATFORM".to_owned(),
        plan_code: "starter".to_owned(),
        actor: plan::Actor::Operator.into(),
        timeline_etag: starter.timeline_etag,
        catalogue_version: starter.catalogue_version,
        request_id: request_id(),
        ..plan::ApplyChangeRequest::default()
    };
    h.operator.plan.clone().apply_change(request).await.unwrap();
    h.advance("2026-04-20T06:00:00Z").await;
    let waits = preview("growth").await.unwrap();
    assert_eq!(waits.effect(), plan::change::Effect::NextCycle);
    assert_eq!(
        waits.effective_time.unwrap(),
        timestamp(instant("2026-05-14T18:30:00Z")),
        "15 May in India"
    );
    h.import_as(
        "v3",
        &[(
            "- {when: {direction: UPGRADE}, effect: NEXT_CYCLE}",
            "- {when: {direction: UPGRADE}, effect: IMMEDIATE, charge: PRORATED_DIFFERENCE}",
        )],
    )
    .await;
    let at_once = preview("growth").await.unwrap();
    assert_eq!(at_once.effect(), plan::change::Effect::Immediate);
    assert_eq!(
        at_once.effective_time.unwrap(),
        timestamp(instant("2026-04-20T06:00:00Z"))
    );
}

#[tokio::test]
async fn req_135_a_running_subscription_keeps_the_price_it_was_bought_at() {
    let h = Harness::start().await;
    let (old, new) = (h.account().await, h.account().await);
    h.change(APRIL, &old, "business").await;
    h.import_as("v2", &[("minimum: \"1500.00\"", "minimum: \"2000.00\"")])
        .await;
    h.change(APRIL, &new, "business").await;
    h.advance(MAY).await;
    h.bill("2026-04").await;
    assert_eq!(h.lines(&old).await, lines(&[("business", 30, "1500.00")]));
    assert_eq!(h.lines(&new).await, lines(&[("business", 30, "2000.00")]));
    let version =
        |invoices: Vec<proto::billing::v1::Invoice>| invoices[0].lines[0].catalogue_version.clone();
    assert_eq!(
        (
            version(h.invoices(&old).await),
            version(h.invoices(&new).await)
        ),
        ("v1".to_owned(), "v2".to_owned())
    );
}

#[tokio::test]
async fn req_134_a_support_plan_that_changes_at_the_next_cycle_changes_with_the_month() {
    let h = Harness::start().await;
    let rules = (
        "- {when: {}, effect: IMMEDIATE}",
        "- {when: {direction: DOWNGRADE}, effect: NEXT_CYCLE}\n      - {when: {}, effect: IMMEDIATE}",
    );
    h.import_as("v2", &[rules]).await;
    h.advance(APRIL).await;
    let ac = h.account().await;
    h.change(APRIL, &ac, "business").await;
    h.advance("2026-04-05T00:00:00Z").await;
    h.used(&ac, "2026-04-05T00:00:00Z", "25000.00").await;
    h.change("2026-04-21T10:00:00Z", &ac, "production").await;
    assert_eq!(current(&h, &ac).await.plan_code, "business");
    for (at, expected) in [
        ("2026-04-30T23:59:59.999999Z", "business"),
        (MAY, "production"),
    ] {
        assert_eq!(h.plan_at(&ac, at).await.unwrap().plan_code, expected);
    }
    h.advance(MAY).await;
    h.bill("2026-04").await;
    assert_eq!(h.lines(&ac).await, lines(&[("business", 30, "1500.00")]));
    h.used(&ac, "2026-05-01T00:00:00Z", "25000.00").await;
    h.advance("2026-06-01T00:00:00Z").await;
    h.bill("2026-05").await;
    assert_eq!(h.lines(&ac).await, lines(&[("production", 31, "1000.00")]));
}

#[tokio::test]
async fn req_036_a_subaccount_has_no_plan_before_it_is_there_nor_after_it_is_closed() {
    let h = Harness::start().await;
    let root = h.account().await;
    h.advance("2026-03-10T10:00:00Z").await;
    let sub = h.subaccount(&root).await;
    h.advance("2026-03-20T10:00:00Z").await;
    crate::closing::close(&h.customer(), &sub).await.unwrap();
    h.advance("2026-03-25T10:00:00Z").await;
    for (at, there) in [
        ("2026-03-10T09:59:59Z", false),
        ("2026-03-11T00:00:00Z", true),
        ("2026-03-20T09:59:59Z", true),
        ("2026-03-21T00:00:00Z", false),
    ] {
        match h.plan_at(&sub, at).await {
            Ok(found) => assert!(there && found.plan_code == "developer", "{at}"),
            Err(refused) => {
                let refused = (refused.code(), reason(&refused));
                assert!(!there, "{at}");
                assert_eq!(refused, (Code::NotFound, "NO_PLAN_THEN".to_owned()));
            }
        }
        assert!(h.plan_at(&root, at).await.is_ok());
    }
    let request = plan::GetEffectivePlanRequest {
        account_id: root,
        family_code: "PLATFORM".to_owned(),
        effective_time: None,
    };
    let refused = h.operator.plan.clone().get_effective_plan(request).await;
    let refused = refused.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "FAMILY_NOT_OFFERED")
    );
}

#[tokio::test]
async fn a_month_that_had_a_paid_plan_is_charged_next_whatever_is_in_force_now() {
    let h = Harness::start().await;
    let ac = h.account().await;
    assert_eq!(current(&h, &ac).await.next_billing_date, "");
    h.change("2026-03-15T10:00:00Z", &ac, "business").await;
    h.change("2026-03-20T10:00:00Z", &ac, "developer").await;
    assert_eq!(current(&h, &ac).await.next_billing_date, "2026-04-01");
    h.advance(APRIL).await;
    assert_eq!(current(&h, &ac).await.next_billing_date, "");
}

#[tokio::test]
async fn who_changes_its_plan_or_joins_another_contract_has_left_the_one_before() {
    let h = Harness::start().await;
    let [a, b, c] = [h.account().await, h.account().await, h.account().await];
    let one = h.contract("business", &[&a, &b]).await;
    h.advance("2026-03-10T10:00:00Z").await;
    let agent = h.operator_with("SUPPORT_AGENT");
    let refused = h.quote(&agent, &a, "developer").await.unwrap_err();
    assert_eq!(reason(&refused), "CONTRACT_PAYER");
    // A member's contract is ended by the method for it, which is Support's too, and not by a change of plan (D36).
    let refused = h.quote(&agent, &b, "developer").await.unwrap_err();
    assert_eq!(reason(&refused), "REMOVE_CONTRACT_MEMBER");
    removed(&agent, &one, &b).await.unwrap();
    let members = async |contract: &plan::Contract| -> Vec<(String, bool)> {
        let request = plan::GetContractRequest {
            contract_id: contract.contract_id.clone(),
        };
        let found = h.operator.plan.clone().get_contract(request).await;
        let found = found.unwrap().into_inner().contract.unwrap();
        let all = found.members.into_iter();
        all.map(|it| (it.account_id, it.leave_time.is_none()))
            .collect()
    };
    assert!(members(&one).await.contains(&(b.clone(), false)));
    h.advance("2026-03-12T10:00:00Z").await;
    let two = h.contract("personalized", &[&c]).await;
    joins(&h, &two, &b).await;
    assert!(members(&two).await.contains(&(b.clone(), true)));
    assert!(members(&one).await.contains(&(b.clone(), false)));
    let refused = removed(&h.operator, &one, &b).await;
    assert_eq!(reason(&refused.unwrap_err()), "NOT_A_MEMBER");
    assert_eq!(current(&h, &b).await.plan_code, "personalized");
}

async fn removed(who: &Clients, contract: &plan::Contract, id: &str) -> Result<(), Status> {
    let request = plan::RemoveContractMemberRequest {
        contract_id: contract.contract_id.clone(),
        account_id: id.to_owned(),
        request_id: request_id(),
    };
    let mut client = who.plan.clone();
    client.remove_contract_member(request).await.map(|_| ())
}

#[tokio::test]
async fn support_ends_a_contract_for_one_member_by_its_own_method() {
    let h = Harness::start().await;
    let [payer, member] = [h.account().await, h.account().await];
    let contract = h.contract("business", &[&payer, &member]).await;
    h.advance("2026-03-10T10:00:00Z").await;
    let agent = h.operator_with("SUPPORT_AGENT");
    for to in ["developer", "production"] {
        let refused = h.quote(&agent, &member, to).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::FailedPrecondition, "REMOVE_CONTRACT_MEMBER")
        );
    }
    assert_eq!(current(&h, &member).await.plan_code, "business");
    // Others have no say in contracts, and who pays for others stays.
    let books = h.operator_with("BILLING");
    let refused = removed(&books, &contract, &member).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = removed(&agent, &contract, &payer).await.unwrap_err();
    assert_eq!(reason(&refused), "CONTRACT_PAYER");
    removed(&agent, &contract, &member).await.unwrap();
    let plan = current(&h, &member).await;
    assert_eq!(
        (plan.plan_code.as_str(), plan.governed_by.as_str()),
        ("developer", "")
    );
    assert_eq!(current(&h, &payer).await.plan_code, "business");
    // The last to leave ends the contract.
    removed(&agent, &contract, &payer).await.unwrap();
    assert_eq!(current(&h, &payer).await.plan_code, "developer");
    let order = perdiem::demo::change(&agent, &member, "production").await;
    assert_eq!(order.unwrap().state(), account::order::State::Completed);
}
