//! Looks for disputes in the books of providers, once an hour: a webhook that never came hides none. Their times are
//! those of the world, whatever a test clock says.

use std::collections::BTreeSet;

use chrono::TimeDelta;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::take_dispute::{self, Taken};
use crate::store::{Tenant, dispute_scans, disputes, enter};

/// How far back a book is looked through the first time: about as long as charges can be contested.
const FIRST: TimeDelta = TimeDelta::days(120);
/// How far a stretch reaches into the one before, whose end the book may have shown late.
const OVERLAP: TimeDelta = TimeDelta::days(1);

/// Looks through the books that are due; gives how many.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let mut looked = 0;
    for provider in ctx.provider_codes() {
        let taken = dispute_scans::take(&mut *ctx.db.acquire().await?, provider).await?;
        let Some((now, done_at)) = taken else {
            continue;
        };
        looked += 1;
        let since = done_at.map_or(now - FIRST, |done| done - OVERLAP);
        if through(ctx, provider, since).await? {
            dispute_scans::set_done(&mut *ctx.db.acquire().await?, provider, now).await?;
        } else {
            tracing::warn!(provider, "the book was not looked through for disputes");
        }
    }
    Ok(looked)
}

/// Takes over what a book has of disputes opened `since`, and of those that are not decided; whether all of it.
async fn through(
    ctx: &Ctx,
    provider: &str,
    since: chrono::DateTime<chrono::Utc>,
) -> Result<bool, Error> {
    let Ok(opened) = ctx.provider(provider)?.disputes(since).await else {
        return Ok(false);
    };
    let mut tx = ctx.db.begin().await?;
    enter(&mut tx, Tenant::All).await?;
    let undecided = disputes::undecided(&mut tx, provider).await?;
    tx.commit().await?;
    let mut whole = true;
    for id in opened.into_iter().chain(undecided).collect::<BTreeSet<_>>() {
        let taken = take_dispute::take(ctx, provider, &id).await?;
        whole &= taken != Taken::Unavailable;
    }
    Ok(whole)
}
