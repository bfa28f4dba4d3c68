//! `perdiem billing-run create|list|show|watch|approve|halt|resume|cancel|outcomes|compare|parked|release-parked`

use proto::billing::v1 as pb;
use proto::billing::v1::billing_run::State;

use crate::Failure;
use crate::connect::{Clients, refused, request_id};
use crate::show::{self, Output, Progress};

/// Makes a run, or finds the real one that is there.
pub async fn create(
    clients: &Clients,
    family: &str,
    month: &str,
    dry_run: bool,
) -> Result<pb::BillingRun, Failure> {
    let request = pb::CreateBillingRunRequest {
        family_code: family.to_owned(),
        month: month.to_owned(),
        dry_run,
        request_id: request_id(),
    };
    let answer = clients
        .billing
        .clone()
        .create_billing_run(request)
        .await
        .map_err(refused)?;
    answer
        .into_inner()
        .billing_run
        .ok_or_else(|| "billing gave no run".into())
}

/// A run as it stands.
pub async fn get(clients: &Clients, id: &str) -> Result<pb::BillingRun, Failure> {
    let request = pb::GetBillingRunRequest {
        billing_run_id: id.to_owned(),
    };
    let answer = clients
        .billing
        .clone()
        .get_billing_run(request)
        .await
        .map_err(refused)?;
    answer
        .into_inner()
        .billing_run
        .ok_or_else(|| "billing gave no run".into())
}

/// Follows a run to its end, with its progress.
pub async fn watch(clients: &Clients, id: &str, quiet: bool) -> Result<pb::BillingRun, Failure> {
    let request = pb::WatchBillingRunRequest {
        billing_run_id: id.to_owned(),
    };
    let mut news = clients
        .billing
        .clone()
        .watch_billing_run(request)
        .await
        .map_err(refused)?
        .into_inner();
    let mut progress: Option<Progress> = None;
    let mut last = None;
    while let Some(run) = news
        .message()
        .await
        .map_err(refused)?
        .and_then(|news| news.billing_run)
    {
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        if !quiet {
            let progress = progress.get_or_insert_with(|| {
                Progress::begin("accounts billed", count(run.expected_account_count))
            });
            progress.at(count(run.account_count));
        }
        last = Some(run);
    }
    if let Some(progress) = progress {
        progress.end();
    }
    last.ok_or_else(|| "the stream told nothing".into())
}

/// Ends a run that is not completed, for ever.
pub async fn cancel(clients: &Clients, id: &str, reason: &str) -> Result<pb::BillingRun, Failure> {
    let request = pb::CancelBillingRunRequest {
        billing_run_id: id.to_owned(),
        reason: reason.to_owned(),
        request_id: request_id(),
    };
    let answer = clients
        .billing
        .clone()
        .cancel_billing_run(request)
        .await
        .map_err(refused)?;
    answer
        .into_inner()
        .billing_run
        .ok_or_else(|| "billing gave no run".into())
}

/// Lets a run settle that waits for it.
pub async fn approve(clients: &Clients, id: &str) -> Result<pb::BillingRun, Failure> {
    let request = pb::ApproveBillingRunRequest {
        billing_run_id: id.to_owned(),
        request_id: request_id(),
    };
    let answer = clients
        .billing
        .clone()
        .approve_billing_run(request)
        .await
        .map_err(refused)?;
    answer
        .into_inner()
        .billing_run
        .ok_or_else(|| "billing gave no run".into())
}

/// Stops a run that is under way, until it is resumed.
pub async fn halt(clients: &Clients, id: &str) -> Result<pb::BillingRun, Failure> {
    let request = pb::HaltBillingRunRequest {
        billing_run_id: id.to_owned(),
        request_id: request_id(),
    };
    let answer = clients
        .billing
        .clone()
        .halt_billing_run(request)
        .await
        .map_err(refused)?;
    answer
        .into_inner()
        .billing_run
        .ok_or_else(|| "billing gave no run".into())
}

/// Goes on with a halted run where it stopped.
pub async fn resume(clients: &Clients, id: &str) -> Result<pb::BillingRun, Failure> {
    let request = pb::ResumeBillingRunRequest {
        billing_run_id: id.to_owned(),
        request_id: request_id(),
    };
    let answer = clients
        .billing
        .clone()
        .resume_billing_run(request)
        .await
        .map_err(refused)?;
    answer
        .into_inner()
        .billing_run
        .ok_or_else(|| "billing gave no run".into())
}

/// All runs, newest first, and the months whose run is overdue; of a family, or of all where it is empty.
pub async fn list(clients: &Clients, family: &str) -> Result<pb::ListBillingRunsResponse, Failure> {
    let mut found = pb::ListBillingRunsResponse::default();
    loop {
        let request = pb::ListBillingRunsRequest {
            family_code: family.to_owned(),
            page_size: 500,
            page_token: std::mem::take(&mut found.next_page_token),
        };
        let page = clients
            .billing
            .clone()
            .list_billing_runs(request)
            .await
            .map_err(refused)?
            .into_inner();
        found.billing_runs.extend(page.billing_runs);
        found.overdue_periods = page.overdue_periods;
        found.next_page_token = page.next_page_token;
        if found.next_page_token.is_empty() {
            return Ok(found);
        }
    }
}

/// What a run invoiced or, for a dry run, would invoice, by account.
pub async fn outcomes(clients: &Clients, id: &str) -> Result<Vec<pb::RunOutcome>, Failure> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListRunOutcomesRequest {
            billing_run_id: id.to_owned(),
            page_size: 500,
            page_token,
        };
        let page = clients
            .billing
            .clone()
            .list_run_outcomes(request)
            .await
            .map_err(refused)?
            .into_inner();
        found.extend(page.outcomes);
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        page_token = page.next_page_token;
    }
}

/// The accounts that a run could not rate, by account.
pub async fn parked(
    clients: &Clients,
    id: &str,
    show_released: bool,
) -> Result<Vec<pb::ParkedAccount>, Failure> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListParkedAccountsRequest {
            billing_run_id: id.to_owned(),
            show_released,
            page_size: 500,
            page_token,
        };
        let page = clients
            .billing
            .clone()
            .list_parked_accounts(request)
            .await
            .map_err(refused)?
            .into_inner();
        found.extend(page.parked_accounts);
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        page_token = page.next_page_token;
    }
}

/// Rates and invoices a parked account; gives its invoice, if anything is owed.
pub async fn release_parked(
    clients: &Clients,
    id: &str,
    account_id: &str,
) -> Result<Option<pb::Invoice>, Failure> {
    let request = pb::ReleaseParkedAccountRequest {
        billing_run_id: id.to_owned(),
        account_id: account_id.to_owned(),
        request_id: request_id(),
    };
    let answer = clients
        .billing
        .clone()
        .release_parked_account(request)
        .await
        .map_err(refused)?;
    Ok(answer.into_inner().invoice)
}

/// Compares a run with another, or with that of the month before where `other` is empty.
pub async fn compare(
    clients: &Clients,
    id: &str,
    other: &str,
) -> Result<pb::CompareBillingRunsResponse, Failure> {
    let request = pb::CompareBillingRunsRequest {
        billing_run_id: id.to_owned(),
        other_billing_run_id: other.to_owned(),
    };
    let answer = clients
        .billing
        .clone()
        .compare_billing_runs(request)
        .await
        .map_err(refused)?;
    Ok(answer.into_inner())
}

/// The state of a run, in words.
fn state(run: &pb::BillingRun) -> &'static str {
    match run.state() {
        State::Running => "running",
        State::Halted => "halted",
        State::AwaitingApproval => "waits for approval",
        State::Completed => "completed",
        State::Cancelled => "cancelled",
        State::Unspecified => "unknown",
    }
}

/// Which run it is, and how it stands.
fn title(run: &pb::BillingRun) -> String {
    let kind = if run.dry_run { "dry run" } else { "run" };
    format!(
        "{} {} {} {kind}, {}",
        run.billing_run_id,
        run.family_code,
        run.month,
        state(run)
    )
}

/// Prints a run.
pub fn print(run: &pb::BillingRun, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return show::json("perdiem.billing.v1.BillingRun", run);
    }
    let total = run.total.clone().unwrap_or_default();
    show::line(title(run));
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        row("accounts", run.account_count.to_string()),
        row("invoices", run.invoice_count.to_string()),
        row("lines", run.line_count.to_string()),
        row("parked", run.parked_count.to_string()),
        row(&format!("total {}", total.currency_code), total.amount),
        row(
            "shards done",
            format!("{}/{}", run.done_shard_count, run.shard_count),
        ),
    ];
    if !run.cancel_reason.is_empty() {
        rows.push(row("cancelled as", run.cancel_reason.clone()));
    }
    for voided in &run.voided_numbers {
        let range = format!("{} to {}", voided.first_number, voided.last_number);
        rows.push(row("voided", range));
    }
    show::table(&["", ""], &rows);
    Ok(())
}

/// Prints runs and overdue months.
pub fn print_list(found: &pb::ListBillingRunsResponse, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return show::json("perdiem.billing.v1.ListBillingRunsResponse", found);
    }
    show::lines(&list_text(found));
    Ok(())
}

fn list_text(found: &pb::ListBillingRunsResponse) -> Vec<String> {
    let row = |run: &pb::BillingRun| {
        let kind = if run.dry_run { "dry, " } else { "" };
        vec![
            run.billing_run_id.clone(),
            run.family_code.clone(),
            run.month.clone(),
            format!("{kind}{}", state(run)),
            run.parked_count.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = found.billing_runs.iter().map(row).collect();
    let mut texts = show::tabled(&["run", "family", "month", "state", "parked"], &rows);
    for overdue in &found.overdue_periods {
        texts.push(format!(
            "  overdue: {} {}",
            overdue.family_code, overdue.month
        ));
    }
    texts
}

/// Prints what a run invoiced.
pub fn print_outcomes(outcomes: &[pb::RunOutcome], output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return show::json_list("perdiem.billing.v1.RunOutcome", outcomes);
    }
    show::lines(&outcomes_text(outcomes));
    Ok(())
}

fn outcomes_text(outcomes: &[pb::RunOutcome]) -> Vec<String> {
    let mut rows = Vec::new();
    for it in outcomes {
        let total = it.total.clone().unwrap_or_default();
        rows.push(vec![
            it.account_id.clone(),
            total.amount,
            total.currency_code,
        ]);
        // Beside the account there is no room for it.
        if !it.invoice_id.is_empty() {
            rows.push(vec![
                format!("  {}", it.invoice_id),
                String::new(),
                String::new(),
            ]);
        }
    }
    show::tabled(&["account and invoice", "total", ""], &rows)
}

/// Prints parked accounts.
pub fn print_parked(parked: &[pb::ParkedAccount], output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return show::json_list("perdiem.billing.v1.ParkedAccount", parked);
    }
    show::lines(&parked_text(parked));
    Ok(())
}

fn parked_text(parked: &[pb::ParkedAccount]) -> Vec<String> {
    let row = |it: &pb::ParkedAccount| {
        let released = it.release_time.is_some();
        let state = if released { "released" } else { "parked" };
        vec![
            it.account_id.clone(),
            state.to_owned(),
            it.reason.clone(),
            it.detail.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = parked.iter().map(row).collect();
    show::tabled(&["account", "state", "reason", "detail"], &rows)
}

/// Prints how two runs differ.
pub fn print_compared(
    found: &pb::CompareBillingRunsResponse,
    output: Output,
) -> Result<(), Failure> {
    if output == Output::Json {
        return show::json("perdiem.billing.v1.CompareBillingRunsResponse", found);
    }
    show::lines(&compared_text(found));
    Ok(())
}

fn compared_text(found: &pb::CompareBillingRunsResponse) -> Vec<String> {
    let run = found.billing_run.clone().unwrap_or_default();
    let Some(other) = &found.other_billing_run else {
        let alone = "there is no run of the month before to compare it with";
        return [vec![title(&run)], show::labelled("  ", alone)].concat();
    };
    let mut texts = vec![
        title(&run),
        format!("compared with {}", other.billing_run_id),
        format!("  {} {}, {}", other.family_code, other.month, state(other)),
    ];
    let money = |run: &pb::BillingRun| run.total.clone().unwrap_or_default().amount;
    let row = |name: &str, one: String, two: String| vec![name.to_owned(), one, two];
    let count = |name: &str, one: i64, two: i64| row(name, one.to_string(), two.to_string());
    texts.extend(show::tabled(
        &["", "this run", "the other"],
        &[
            count("accounts", run.account_count, other.account_count),
            count("invoices", run.invoice_count, other.invoice_count),
            count("parked", run.parked_count, other.parked_count),
            row("total", money(&run), money(other)),
        ],
    ));
    texts.push(format!(
        "  {} added, {} removed, {} changed",
        found.added_count, found.removed_count, found.changed_count
    ));
    if found.differences.is_empty() {
        return texts;
    }
    let rows: Vec<Vec<String>> = found
        .differences
        .iter()
        .map(|it| {
            let total = it.total.clone().unwrap_or_default();
            let other = it.other_total.clone().unwrap_or_default();
            vec![it.account_id.clone(), total.amount, other.amount]
        })
        .collect();
    let heads = ["largest differences", "this run", "the other"];
    texts.extend(show::tabled(&heads, &rows));
    texts
}

#[cfg(test)]
mod tests {
    use proto::r#type::v1::Money;

    use super::*;

    fn id(kind: &str) -> String {
        format!("{kind}{}", "0123456789abcdef".repeat(2))
    }

    fn money(amount: &str) -> Money {
        Money {
            currency_code: "INR".to_owned(),
            amount: amount.to_owned(),
        }
    }

    fn run(state: State) -> pb::BillingRun {
        pb::BillingRun {
            billing_run_id: id("RU"),
            family_code: "SUPPORT".to_owned(),
            month: "2026-04".to_owned(),
            state: state.into(),
            account_count: 1_000_000,
            invoice_count: 1_000_000,
            parked_count: 1_000,
            total: Some(money("123456789012.00")),
            ..pb::BillingRun::default()
        }
    }

    /// That each line fits, and the words that it must tell.
    fn assert_told(texts: &[String], words: &[&str]) {
        let fits = |text: &String| text.chars().count() <= show::WIDTH;
        assert!(texts.iter().all(fits), "{texts:#?}");
        for word in words {
            assert!(
                texts.iter().any(|it| it.contains(word)),
                "{word}: {texts:#?}"
            );
        }
    }

    #[test]
    fn runs_are_listed_with_their_overdue_months() {
        let dry = pb::BillingRun {
            dry_run: true,
            ..run(State::AwaitingApproval)
        };
        let found = pb::ListBillingRunsResponse {
            billing_runs: vec![dry, run(State::Completed)],
            overdue_periods: vec![pb::OverduePeriod {
                family_code: "SUPPORT".to_owned(),
                month: "2026-03".to_owned(),
                due_time: None,
            }],
            ..pb::ListBillingRunsResponse::default()
        };
        let told = [id("RU"), "overdue: SUPPORT 2026-03".to_owned()];
        assert_told(&list_text(&found), &[&told[0], "completed", &told[1]]);
    }

    #[test]
    fn outcomes_and_parked_accounts_fit_with_their_ids() {
        let outcome = pb::RunOutcome {
            account_id: id("AC"),
            total: Some(money("123456789012.00")),
            invoice_id: id("IN"),
        };
        let texts = outcomes_text(&[outcome]);
        assert_told(&texts, &[&id("AC"), &id("IN"), "123456789012.00"]);
        let parked = pb::ParkedAccount {
            account_id: id("AC"),
            reason: "AMOUNT_OUT_OF_RANGE".to_owned(),
            detail: format!("what {} has used is more than an amount can be", id("AC")),
            ..pb::ParkedAccount::default()
        };
        let texts = parked_text(&[parked]);
        assert_told(&texts, &[&id("AC"), "AMOUNT_OUT_OF_RANGE", "parked"]);
    }

    #[test]
    fn runs_are_compared_side_by_side() {
        let alone = pb::CompareBillingRunsResponse {
            billing_run: Some(run(State::Completed)),
            ..pb::CompareBillingRunsResponse::default()
        };
        assert_told(&compared_text(&alone), &["there is no run"]);
        let found = pb::CompareBillingRunsResponse {
            other_billing_run: Some(run(State::Cancelled)),
            changed_count: 1,
            differences: vec![pb::compare_billing_runs_response::Difference {
                account_id: id("AC"),
                total: Some(money("123456789012.00")),
                other_total: Some(money("1.00")),
            }],
            ..alone
        };
        let told = ["0 added, 0 removed, 1 changed", "123456789012.00", "1.00"];
        assert_told(&compared_text(&found), &told);
    }
}
