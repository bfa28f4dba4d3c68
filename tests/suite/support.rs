//! Support plans: the requirements of the first source document, through the real services.

use proto::account::v1 as account;
use proto::plan::v1 as plan;
use tonic::Code;

use crate::harness::{Harness, data, instant, reason};
use perdiem::connect::{request_id, timestamp};

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

#[tokio::test]
async fn a_member_that_joins_a_contract_in_mid_month_is_billed_for_each_day_once() {
    let h = Harness::start().await;
    let (payer, joiner) = (h.account().await, h.account().await);
    h.advance(APRIL).await;
    h.change(APRIL, &joiner, "production").await;
    let contract = h.contract("business", &[&payer]).await;
    h.advance("2026-04-10T15:00:00Z").await;
    let request = plan::AddContractMemberRequest {
        contract_id: contract.contract_id,
        account_id: joiner.clone(),
        request_id: request_id(),
    };
    h.operator
        .plan
        .clone()
        .add_contract_member(request)
        .await
        .unwrap();
    h.advance(MAY).await;
    h.used(&payer, "2026-04-02T00:00:00Z", "30000.00").await;
    h.used(&joiner, "2026-04-09T00:00:00Z", "10000.00").await;
    h.used(&joiner, "2026-04-10T00:00:00Z", "10000.00").await;
    h.bill("2026-04").await;
    assert_eq!(
        h.lines(&joiner).await,
        lines(&[("production", 9, "120.00")]),
        "400.00 x 9/30 on its own usage"
    );
    assert_eq!(
        h.lines(&payer).await,
        lines(&[("business", 30, "2400.00")]),
        "40,000.00 of pool usage"
    );
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
        .find(|line| line.description.starts_with("business"))
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
