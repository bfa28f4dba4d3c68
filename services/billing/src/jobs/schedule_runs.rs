//! Creates the billing run of each month of a family billed in arrears, once the month and its grace time are over
//! (D30). Missed months are run in order, each after the previous one has completed or its run was cancelled, which
//! leaves it to a person. Whichever replica comes first creates the run.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use values::Period;

use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::domain::run::OVERDUE;
use crate::error::Error;
use crate::ops::make_run;
use crate::ops::schedule::{self, Unbilled};
use crate::store::runs::{self, Overdue};

/// Creates the runs that are due, at most one per family, and reports overdue months; returns how many runs it
/// created.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let Some(catalogue) = in_force(ctx).await? else {
        return Ok(0);
    };
    let mut made = 0;
    for code in schedule::families(&catalogue) {
        match looked_at(ctx, &catalogue, code, now).await {
            Ok(true) => made += 1,
            Ok(false) => {}
            // A failure of one family must not hold up the others.
            Err(error) => {
                tracing::error!(
                    family.code = code,
                    error = %chassis::Chain(&error),
                    "the billing run of a family can't be scheduled; it is tried again"
                );
            }
        }
    }
    if 0 < made {
        ctx.wake.notify_waiters();
    }
    Ok(made)
}

/// The catalogue in force; `None` before the first one is activated.
async fn in_force(ctx: &Ctx) -> Result<Option<Arc<Catalogue>>, Error> {
    match ctx.active_catalogue().await {
        Ok(catalogue) => Ok(Some(catalogue)),
        Err(status) if chassis::is_refusal(&status) => Ok(None),
        Err(status) => Err(status.into()),
    }
}

/// Creates the due run of a family and reports its overdue months; returns whether it created one.
async fn looked_at(
    ctx: &Ctx,
    catalogue: &Catalogue,
    code: &str,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let family = catalogue
        .families
        .get(code)
        .ok_or_else(|| Error::FamilyNotFound(code.to_owned()))?;
    let mut tx = ctx.db.begin().await?;
    let months = schedule::unbilled(&mut tx, catalogue, code, now).await?;
    let late = |it: &&Unbilled| !it.noted && it.due_at + OVERDUE <= now;
    for month in months.iter().filter(late) {
        let overdue = Overdue {
            family_code: code.to_owned(),
            month: month.period.start(),
            due_at: month.due_at,
        };
        if runs::note_overdue(&mut tx, &overdue).await? {
            tracing::error!(
                family.code = code,
                month = %overdue.month,
                run.made = month.made,
                "a month is still unbilled a day after its run was due; create, resume or approve its run"
            );
        }
    }
    tx.commit().await?;
    match schedule::next(&months) {
        Some(next) if family.runs_automatically && next.due_at <= now => {
            let made = made(ctx, catalogue, (code, next.period), now);
            chassis::traced("schedule_runs", made).await
        }
        Some(_) | None => Ok(false),
    }
}

/// Creates the run of a month that was found due; returns whether it still had to be created.
async fn made(
    ctx: &Ctx,
    catalogue: &Catalogue,
    (code, period): (&str, Period),
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let mut tx = ctx.db.begin().await?;
    let payers = make_run::count(&mut tx, catalogue, code).await?;
    make_run::hold(&mut tx, &catalogue.profiles_of(code), period, now).await?;
    // Read again under the locks: another replica may have created the run, or a person cancelled it.
    let months = schedule::unbilled(&mut tx, catalogue, code, now).await?;
    if schedule::next(&months).map(|it| it.period) != Some(period) {
        return Ok(false);
    }
    let terms = (catalogue, ctx.work.chunk);
    let run = make_run::make(&mut tx, terms, (code, period, false), payers, now).await?;
    if let Some(run) = &run {
        tracing::info!(
            run.id = %run.run_id,
            family.code = code,
            month = %run.period_start,
            "a billing run is created by its schedule"
        );
    }
    tx.commit().await?;
    Ok(run.is_some())
}

/// The next time a run is due or a month becomes overdue, up to `until`; `None` also before the first catalogue is
/// activated.
pub async fn next_due(ctx: &Ctx, until: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Error> {
    let Some(catalogue) = in_force(ctx).await? else {
        return Ok(None);
    };
    let mut db = ctx.db.acquire().await?;
    let mut due = Vec::new();
    for code in schedule::families(&catalogue) {
        let months = schedule::unbilled(&mut db, &catalogue, code, until).await?;
        let automatic = catalogue
            .families
            .get(code)
            .is_some_and(|family| family.runs_automatically);
        // Later months wait for this one to complete.
        let first = schedule::next(&months).filter(|_| automatic);
        due.extend(first.map(|it| it.due_at));
        let told = months.iter().filter(|it| !it.noted);
        due.extend(told.map(|it| it.due_at + OVERDUE));
    }
    Ok(due.into_iter().filter(|at| *at <= until).min())
}
