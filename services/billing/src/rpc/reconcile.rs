//! `BillingService.Reconcile`

use chassis::{field_error, wire};
use chrono::{DateTime, TimeDelta, Utc};
use opentelemetry::global;
use proto::billing::v1 as pb;
use values::AccountId;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::{compare_charges, compare_refunds};
use crate::store::ledger;

/// The longest time range that is compared.
const LONGEST: TimeDelta = TimeDelta::days(31);

pub async fn handle(
    ctx: &Ctx,
    request: pb::ReconcileRequest,
) -> Result<pb::ReconcileResponse, Error> {
    let id: Option<AccountId> = wire::optional_id("account_id", &request.account_id)?;
    let between = between(&request)?;
    let mut db = ctx.db.acquire().await?;
    let root = match id {
        Some(id) => Some(convert::root_account(&mut db, id).await?.root_id),
        None => None,
    };
    let (mut differences, account_count) = ledger::differences(&mut db, root).await?;
    drop(db);
    if root.is_none() {
        // Comparing every account reads the whole ledger: it is told when it is asked for, and not measured by a job.
        let count = u64::try_from(differences.len()).unwrap_or(u64::MAX);
        global::meter("perdiem")
            .u64_gauge("perdiem.ledger.differences")
            .with_description("Differences between balances and entries that the last comparison of all accounts found.")
            .build()
            .record(count, &[]);
    }
    if let Some(between) = between {
        differences.extend(compare_charges::differences(ctx, root, between).await?);
        differences.extend(compare_refunds::differences(ctx, root, between).await?);
    }
    Ok(pb::ReconcileResponse {
        differences,
        account_count,
    })
}

/// A half-open time range.
type Span = (DateTime<Utc>, DateTime<Utc>);

/// The time range to compare; `None` if the request has none.
fn between(request: &pb::ReconcileRequest) -> Result<Option<Span>, Error> {
    let from = wire::optional_instant("start_time", request.start_time)?;
    let until = wire::optional_instant("end_time", request.end_time)?;
    match (from, until) {
        (None, None) => Ok(None),
        (Some(from), Some(until)) if from < until && until - from <= LONGEST => {
            Ok(Some((from, until)))
        }
        (Some(_), _) => {
            let expected = "after start_time and at most 31 days later";
            Err(field_error("end_time", expected).into())
        }
        (None, Some(_)) => Err(field_error("start_time", "an instant before end_time").into()),
    }
}
