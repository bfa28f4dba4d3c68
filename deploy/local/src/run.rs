//! `perdiem billing-run create|watch|show`

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

/// Prints a run.
pub fn print(run: &pb::BillingRun, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return show::json("perdiem.billing.v1.BillingRun", run);
    }
    let total = run.total.clone().unwrap_or_default();
    let state = match run.state() {
        State::Running => "running",
        State::Halted => "halted",
        State::AwaitingApproval => "waits for approval",
        State::Completed => "completed",
        State::Unspecified => "unknown",
    };
    let kind = if run.dry_run { "dry run" } else { "run" };
    show::line(format!(
        "{} {} {} {kind}, {state}",
        run.billing_run_id, run.family_code, run.month
    ));
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    show::table(
        &["", ""],
        &[
            row("accounts", run.account_count.to_string()),
            row("invoices", run.invoice_count.to_string()),
            row("lines", run.line_count.to_string()),
            row("parked", run.parked_count.to_string()),
            row(&format!("total {}", total.currency_code), total.amount),
            row(
                "shards done",
                format!("{}/{}", run.done_shard_count, run.shard_count),
            ),
        ],
    );
    Ok(())
}
