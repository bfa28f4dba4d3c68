//! `BillingService.CompareBillingRuns`

use chassis::wire;
use chrono::Months;
use proto::billing::v1 as pb;
use proto::billing::v1::compare_billing_runs_response::Difference;
use values::{Money, RunId};

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{self, outcomes, runs};

pub async fn handle(
    ctx: &Ctx,
    request: pb::CompareBillingRunsRequest,
) -> Result<pb::CompareBillingRunsResponse, Error> {
    let id: RunId = wire::id("billing_run_id", &request.billing_run_id)?;
    let other: Option<RunId> =
        wire::optional_id("other_billing_run_id", &request.other_billing_run_id)?;
    let mut db = ctx.db.acquire().await?;
    let run = runs::get(&mut db, id.uuid())
        .await?
        .ok_or(Error::RunNotFound(id))?;
    let other = if let Some(other) = other {
        Some(
            runs::get(&mut db, other.uuid())
                .await?
                .ok_or(Error::RunNotFound(other))?,
        )
    } else {
        let before = run
            .period_start
            .checked_sub_months(Months::new(1))
            .unwrap_or(run.period_start);
        runs::real(&mut db, &run.family_code, before).await?
    };
    let other_id = other
        .as_ref()
        .map_or(uuid::Uuid::nil(), |other| other.run_id);
    let found = outcomes::compare(&mut db, run.run_id, other_id).await?;
    let currency = store::currency(&run.currency)?;
    let money = |minor| Some(wire::pb_money(Money::from_minor(minor, currency)));
    let other = match &other {
        Some(other) => Some(convert::run(&mut db, other).await?),
        None => None,
    };
    Ok(pb::CompareBillingRunsResponse {
        billing_run: Some(convert::run(&mut db, &run).await?),
        other_billing_run: other,
        added_count: found.added,
        removed_count: found.removed,
        changed_count: found.changed,
        differences: found
            .largest
            .into_iter()
            .map(|(root, total, other)| Difference {
                account_id: convert::account_id(root),
                total: money(total),
                other_total: money(other),
            })
            .collect(),
    })
}
