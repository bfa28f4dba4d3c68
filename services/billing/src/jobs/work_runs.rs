//! Works on billing runs: leases a shard and bills it chunk by chunk.
//!
//! Invariants: a chunk is one transaction, conditional on the lease; it is noted in the same
//! transaction that writes it, so that killed anywhere and done again the rows are the same; its
//! invoice numbers are set aside before and used again; an account that can't be billed is parked
//! and the rest goes on.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;
use values::Period;

use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::rate::{self, Rated, Ratings, Unrated};
use crate::ops::segments::{Pools, Selection};
use crate::ops::settle::{self, Header, Number};
use crate::store::numbers::BlockKey;
use crate::store::parked::Parked;
use crate::store::runs::Run;
use crate::store::shards::{Chunk, Leased};
use crate::store::{self, numbers, outcomes, parked, runs, shards};

/// Leases a shard and bills it to its end; gives how many it leased.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let leased = shards::lease(&mut *ctx.db.acquire().await?, ctx.work.lease_seconds).await?;
    let Some(mut held) = leased else { return Ok(0) };
    let done = bill(ctx, &mut held).await;
    if done.is_ok() {
        ctx.wake.notify_waiters(); // The run may be done.
    } else {
        // Whoever takes it next need not wait for the lease to run out.
        shards::release(&mut *ctx.db.acquire().await?, &held).await?;
    }
    done.map(|()| 1)
}

/// Bills the rest of a shard, for as long as it is held.
async fn bill(ctx: &Ctx, held: &mut Leased) -> Result<(), Error> {
    let run = runs::get(&mut *ctx.db.acquire().await?, held.run_id)
        .await?
        .ok_or(Error::Stored("run of a shard"))?;
    let period = Period::new(run.period_start, run.period_end)
        .map_err(|_| Error::Stored("period of a run"))?;
    let catalogue = ctx.catalogue(&run.catalogue_version).await?;
    let size = usize::try_from(run.chunk_size).map_err(|_| Error::Stored("chunk size"))?;
    let selection = Selection {
        family: &run.family_code,
        period,
        shard: (held.shard, run.shard_count),
        after: held.cursor_id,
        payer: None,
    };
    let mut pools = Pools::open(ctx, &selection).await?;
    let family = catalogue
        .families
        .get(&run.family_code)
        .ok_or_else(|| Error::FamilyNotFound(run.family_code.clone()))?;
    let mut rated_next = async || {
        let chunk = pools.next(ctx, size).await?;
        let terms = rate::Terms {
            family: &run.family_code,
            period,
            currency: family.currency,
            excluded: &family.excluded_categories,
            catalogue: &catalogue,
            book: &pools.book,
        };
        let ratings = rate::rate(&mut *ctx.db.acquire().await?, &chunk, &terms).await?;
        Ok::<_, Error>(RatedChunk {
            accounts: chunk.len(),
            cursor: chunk.last().map(|pool| pool.payer),
            last: chunk.len() < size,
            terms_ids: pools.book.ids.clone(),
            ratings,
        })
    };
    let mut chunk = rated_next().await?;
    loop {
        let billing = Billing {
            ctx,
            run: &run,
            held,
            catalogue: &catalogue,
            period,
            currency: family.currency,
            chunk: &chunk,
        };
        // While the database writes a chunk, the next one is read and rated.
        let next = async {
            if chunk.last {
                return Ok(None);
            }
            rated_next().await.map(Some)
        };
        let (committed, next) = tokio::join!(billing.commit(), next);
        if !committed? {
            tracing::info!(run.id = %run.run_id, shard = held.shard, "a shard is held by another, or its run has stopped");
            return Ok(());
        }
        held.next_chunk += 1;
        held.cursor_id = chunk.cursor.or(held.cursor_id);
        match next? {
            Some(next) => chunk = next,
            None => return Ok(()),
        }
    }
}

/// A chunk as read and rated.
struct RatedChunk {
    /// Payers in it.
    accounts: usize,
    /// The last of them.
    cursor: Option<Uuid>,
    /// Whether the shard ends with it.
    last: bool,
    /// Ids in `billing.terms` by index of terms.
    terms_ids: Vec<i32>,
    /// What rating came to.
    ratings: Ratings,
}

/// A chunk about to be written.
struct Billing<'a> {
    ctx: &'a Ctx,
    run: &'a Run,
    held: &'a Leased,
    catalogue: &'a Catalogue,
    period: Period,
    currency: values::Currency,
    chunk: &'a RatedChunk,
}

impl Billing<'_> {
    /// Writes the chunk; `false` when the lease was lost.
    async fn commit(&self) -> Result<bool, Error> {
        let ratings = &self.chunk.ratings;
        let numbered = if self.run.phase == "SETTLE" {
            self.number(&ratings.rated).await?
        } else {
            Vec::new()
        };
        let mut tx = self.ctx.db.begin().await?;
        let written = async {
            if !self.fence(&mut tx, ratings.rated.iter()).await? {
                return Ok(false);
            }
            if self.run.phase == "SETTLE" {
                settle::settle(&mut tx, &self.header(), &numbered).await?;
            } else {
                outcomes::copy(
                    &mut tx,
                    self.run.run_id,
                    ratings.rated.iter().map(|it| (it.payer, it.total_minor)),
                )
                .await?;
            }
            self.park(&mut tx, &ratings.unrated).await?;
            Ok::<_, Error>(true)
        };
        match written.await {
            Ok(true) => {
                tx.commit().await?;
                Ok(true)
            }
            Ok(false) => Ok(false),
            Err(Error::Database(error)) if is_violation(&error) => {
                tx.rollback().await?;
                tracing::warn!(run.id = %self.run.run_id, %error, "a chunk met a violation: account by account");
                self.commit_one_by_one(&numbered).await
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the chunk account by account and parks those that the database refuses.
    async fn commit_one_by_one(&self, numbered: &[(&Rated, Number)]) -> Result<bool, Error> {
        let mut tx = self.ctx.db.begin().await?;
        let mut kept = Vec::new();
        for (rated, number) in numbered {
            store::savepoint(&mut tx).await?;
            match settle::settle(&mut tx, &self.header(), &[(*rated, *number)]).await {
                Ok(()) => kept.push(*rated),
                Err(Error::Database(error)) if is_violation(&error) => {
                    store::rollback_to_savepoint(&mut tx).await?;
                    let reason = store::violated(&error).unwrap_or("CONSTRAINT_VIOLATED");
                    let parked = Parked {
                        series_id: Some(number.series_id),
                        number: Some(number.number),
                        ..self.parked(rated.payer, "REFUSED_BY_DATABASE", reason)
                    };
                    parked::insert(&mut tx, self.run.run_id, &parked).await?;
                }
                Err(error) => return Err(error),
            }
        }
        self.park(&mut tx, &self.chunk.ratings.unrated).await?;
        if !self.fence(&mut tx, kept.into_iter()).await? {
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }

    /// The first fence: the shard moves on only for who holds it, and a chunk is noted once.
    async fn fence(
        &self,
        tx: &mut PgConnection,
        rated: impl Iterator<Item = &Rated>,
    ) -> Result<bool, Error> {
        let seconds = self.ctx.work.lease_seconds;
        if !shards::advance(tx, self.held, self.chunk.cursor, self.chunk.last, seconds).await? {
            return Ok(false);
        }
        let (mut invoices, mut lines, mut total) = (0_usize, 0_usize, 0_i64);
        for it in rated {
            invoices += 1;
            lines += it.lines.len();
            total = total.saturating_add(it.total_minor);
        }
        let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let chunk = Chunk {
            run_id: self.run.run_id,
            phase: self.run.phase.clone(),
            shard: self.held.shard,
            chunk: self.held.next_chunk,
            worker: self.ctx.work.worker.clone(),
            account_count: count(self.chunk.accounts),
            invoice_count: count(invoices),
            line_count: count(lines),
            total_minor: total,
            last_id: self.chunk.cursor.unwrap_or_default(),
        };
        shards::insert_chunk(tx, &chunk).await?;
        Ok(true)
    }

    /// Sets the invoice numbers of the chunk aside, or takes those set aside before, in a short
    /// transaction of its own (D11).
    async fn number<'r>(&self, rated: &'r [Rated]) -> Result<Vec<(&'r Rated, Number)>, Error> {
        let mut counts: HashMap<&str, i64> = HashMap::new();
        for it in rated {
            *counts.entry(it.profile.as_str()).or_default() += 1;
        }
        let mut tx = self.ctx.db.begin().await?;
        let mut next: HashMap<&str, Number> = HashMap::new();
        let mut profiles: Vec<(&str, i64)> = counts.into_iter().collect();
        profiles.sort_unstable();
        // Profiles of one issuer share a series and so a block.
        let mut blocks: HashMap<i32, i64> = HashMap::new();
        let mut series = Vec::new();
        for (profile, count) in profiles {
            let series_id =
                settle::series_of(&mut tx, self.catalogue, (profile, ""), self.run.cut_off_at)
                    .await?;
            *blocks.entry(series_id).or_default() += count;
            series.push((profile, series_id, count));
        }
        let mut firsts: HashMap<i32, i64> = HashMap::new();
        let mut blocks: Vec<(i32, i64)> = blocks.into_iter().collect();
        blocks.sort_unstable();
        for (series_id, found) in blocks {
            let key = BlockKey {
                run_id: self.run.run_id,
                shard: self.held.shard,
                chunk: self.held.next_chunk,
                series_id,
            };
            let first = match numbers::block(&mut tx, key).await? {
                Some((first, reserved)) if reserved == found => first,
                Some((_, reserved)) => {
                    return Err(Error::BlockMismatch {
                        shard: key.shard,
                        chunk: key.chunk,
                        found,
                        reserved,
                    });
                }
                None => {
                    let first = numbers::take(&mut tx, series_id, found).await?;
                    numbers::insert_block(&mut tx, key, first, found).await?;
                    first
                }
            };
            firsts.insert(series_id, first);
        }
        tx.commit().await?;
        for (profile, series_id, count) in series {
            let first = firsts.entry(series_id).or_default();
            next.insert(
                profile,
                Number {
                    series_id,
                    number: *first,
                },
            );
            *first += count;
        }
        let numbered = rated.iter().filter_map(|it| {
            let number = next.get_mut(it.profile.as_str())?;
            let own = *number;
            number.number += 1;
            Some((it, own))
        });
        Ok(numbered.collect())
    }

    async fn park(&self, tx: &mut PgConnection, unrated: &[Unrated]) -> Result<(), Error> {
        for it in unrated {
            parked::insert(
                tx,
                self.run.run_id,
                &self.parked(it.payer, it.reason, &it.detail),
            )
            .await?;
        }
        Ok(())
    }

    fn parked(&self, root_id: Uuid, reason: &str, detail: &str) -> Parked {
        Parked {
            root_id,
            reason: reason.to_owned(),
            detail: detail.to_owned(),
            parked_at: self.run.cut_off_at,
            released_at: None,
            series_id: None,
            number: None,
        }
    }

    fn header(&self) -> Header<'_> {
        Header {
            run_id: Some(self.run.run_id),
            family: &self.run.family_code,
            period: self.period,
            currency: self.currency,
            issued_at: self.run.cut_off_at,
            catalogue: self.catalogue,
            terms_ids: &self.chunk.terms_ids,
        }
    }
}

/// Whether the database refused rows: a constraint, a value out of range.
fn is_violation(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code.starts_with("23") || code.starts_with("22"))
}
