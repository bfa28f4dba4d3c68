//! Scans the providers' books for disputes once an hour, so that a lost webhook does not hide one. It runs on system
//! time, even with a test clock.

use std::collections::BTreeSet;

use chrono::TimeDelta;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::take_dispute::{self, Taken};
use crate::store::{Tenant, dispute_scans, disputes};

/// How far back the first scan reaches: about as long as charges can be disputed.
const FIRST: TimeDelta = TimeDelta::days(120);
/// Overlap with the previous scan, as a provider's book may list new disputes late.
const OVERLAP: TimeDelta = TimeDelta::days(1);

/// Looks through the books that are due; gives how many. What can't be taken from one holds up no other.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let mut looked = 0;
    for provider in ctx.provider_codes() {
        let taken = dispute_scans::take(&mut ctx.db.acquire().await?, provider).await?;
        let Some((now, done_at)) = taken else {
            continue;
        };
        looked += 1;
        let since = done_at.map_or(now - FIRST, |done| done - OVERLAP);
        match through(ctx, provider, since).await {
            Ok(true) => {
                dispute_scans::set_done(&mut ctx.db.acquire().await?, provider, now).await?;
            }
            Ok(false) => {
                tracing::warn!(provider, "the book was not looked through for disputes");
            }
            Err(error) => {
                tracing::warn!(provider, error = %chassis::Chain(&error), "looking the book through for disputes failed");
            }
        }
    }
    Ok(looked)
}

/// Synchronizes the disputes opened `since` and all undecided ones. Returns whether all could be read.
async fn through(
    ctx: &Ctx,
    provider: &str,
    since: chrono::DateTime<chrono::Utc>,
) -> Result<bool, Error> {
    let Ok(opened) = ctx.provider(provider)?.disputes(since).await else {
        return Ok(false);
    };
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let undecided = disputes::undecided(&mut tx, provider).await?;
    tx.commit().await?;
    let mut whole = true;
    for id in opened.into_iter().chain(undecided).collect::<BTreeSet<_>>() {
        match take_dispute::take(ctx, provider, &id).await {
            Ok(taken) => whole &= taken != Taken::Unavailable,
            Err(error) => {
                // The others are taken all the same, and this one is looked for again.
                tracing::warn!(provider, dispute.provider_id = id, error = %chassis::Chain(&error), "a dispute was not taken");
                whole = false;
            }
        }
    }
    Ok(whole)
}
