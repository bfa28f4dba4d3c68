//! Creates a billing run, for an operator or for the schedule.

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;
use values::Period;

use crate::clients::Catalogue;
use crate::domain::run::{Phase, State};
use crate::error::Error;
use crate::store::runs::{self, Run};
use crate::store::{accounts, closings, usage};

/// Shards of a run: enough for several replicas to share it, few enough that each is worth its own stream.
const SHARDS: i32 = 16;

/// How many payers the run of a family is to bill. It reads every account: whoever makes the run counts before
/// [`hold`], for whose locks all usage and all closings wait.
pub async fn count(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    family_code: &str,
) -> Result<i64, Error> {
    Ok(accounts::count_roots(db, &catalogue.profiles_of(family_code)).await?)
}

/// Holds off, until the end of the transaction, whoever closes accounts of `profiles` or makes the same run, and closes
/// the period for usage.
pub async fn hold(
    db: &mut PgConnection,
    profiles: &[String],
    period: Period,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    // A month is settled either by a closing or by its run.
    closings::hold_closings(db).await?;
    // Waits for usage being written; from here on no usage joins the month.
    Ok(usage::close_month(db, profiles, period.start(), now).await?)
}

/// The run of a family and a period that has ended, with chunks of so many payers, for so many as were counted; `None`
/// where its real run is there already.
pub async fn make(
    db: &mut PgConnection,
    (catalogue, chunk_size): (&Catalogue, i32),
    (family_code, period, dry_run): (&str, Period, bool),
    expected_count: i64,
    now: DateTime<Utc>,
) -> Result<Option<Run>, Error> {
    let family = catalogue
        .families
        .get(family_code)
        .ok_or_else(|| Error::FamilyNotFound(family_code.to_owned()))?;
    let profiles = catalogue.profiles_of(family_code);
    if !dry_run {
        hold(db, &profiles, period, now).await?;
    }
    let settles = !dry_run && !family.run_approval_required;
    let run = Run {
        run_id: Uuid::now_v7(),
        family_code: family_code.to_owned(),
        period_start: period.start(),
        period_end: period.end(),
        dry_run,
        phase: if settles { Phase::Settle } else { Phase::Rate },
        state: State::Running,
        shard_count: SHARDS,
        expected_count,
        currency: family.currency.code().to_owned(),
        catalogue_version: catalogue.version.clone(),
        chunk_size,
        cut_off_at: now,
        created_at: now,
        completed_at: None,
        cancel_reason: String::new(),
    };
    Ok(runs::insert(db, &run).await?.then_some(run))
}
