//! Executes billing runs: leases a shard and bills it chunk by chunk.
//!
//! Invariants: a chunk is one transaction whose first statement takes the shard under its lease, so a worker that
//! lost the lease writes nothing. The chunk is recorded in the transaction that writes it, so killing and repeating a
//! worker yields the same rows. Invoice numbers are reserved beforehand together with their payers: a repeated chunk
//! invoices exactly those payers under the same numbers, and payers who joined since are billed by a later chunk. An
//! account that can't be billed is parked and the rest continues: a chunk that the database refuses is written in
//! halves, each a chunk of its own, until the account at fault is isolated.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use chassis::PgConnection;
use uuid::Uuid;
use values::Period;

use crate::clients::{Catalogue, Family};
use crate::ctx::Ctx;
use crate::domain::parts::Parts;
use crate::domain::run::Phase;
use crate::error::Error;
use crate::ops::rate::{self, Rated, Ratings, Unrated};
use crate::ops::segments::{Pool, Pools, Selection};
use crate::ops::settle::{self, Header, Number};
use crate::store::numbers::BlockKey;
use crate::store::parked::Parked;
use crate::store::runs::Run;
use crate::store::shards::{Chunk, Leased};
use crate::store::{self, invoices, numbers, outcomes, parked, runs, shards};

/// Leases a shard and bills it to its end; returns how many it leased.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let leased = shards::lease(&mut ctx.db.acquire().await?, ctx.work.lease_seconds).await?;
    let Some(mut held) = leased else { return Ok(0) };
    let done = chassis::traced("work_runs", bill(ctx, &mut held)).await;
    if matches!(done, Ok(Left::Nothing)) {
        ctx.wake.notify_waiters(); // The run may now be complete.
    } else {
        // Another worker need not wait for the lease to expire.
        shards::release(&mut ctx.db.acquire().await?, &held).await?;
    }
    done.map(|_| 1)
}

/// What a worker has left of a shard.
enum Left {
    /// Nothing, or another worker has it.
    Nothing,
    /// Payers before the last billed one who joined after its numbers were reserved.
    Late,
}

/// Bills the rest of a shard while its lease is held.
async fn bill(ctx: &Ctx, held: &mut Leased) -> Result<Left, Error> {
    let run = runs::get(&mut ctx.db.acquire().await?, held.run_id)
        .await?
        .ok_or(Error::Stored("run of a shard"))?;
    let period = Period::new(run.period_start, run.period_end)
        .map_err(|_| Error::Stored("period of a run"))?;
    let catalogue = ctx.catalogue(&run.catalogue_version).await?;
    let family = catalogue
        .families
        .get(&run.family_code)
        .ok_or_else(|| Error::FamilyNotFound(run.family_code.clone()))?;
    let set_aside = set_aside(&mut ctx.db.acquire().await?, &run, held.shard).await?;
    let mut reader = Reader::open(ctx, (&run, period), (&catalogue, family), held).await?;
    let first = match set_aside {
        Some((last, numbers)) => reader.again(last, numbers).await?,
        None => reader.chunk().await?,
    };
    let Some(mut chunk) = first else {
        return Ok(Left::Nothing);
    };
    loop {
        let billing = Billing {
            ctx,
            run: &run,
            held: &mut *held,
            catalogue: &catalogue,
            period,
            currency: family.currency,
            chunk: &chunk,
            payers: 0,
            unrated: 0,
        };
        // The next chunk is read and rated while the database writes this one.
        let next = async {
            if chunk.last || chunk.late {
                return Ok(None);
            }
            reader.chunk().await
        };
        let (committed, next) = tokio::join!(billing.commit(), next);
        if !committed? {
            tracing::info!(
                run.id = %run.run_id,
                shard = held.shard,
                "a shard is leased by another worker, or its run is no longer running"
            );
            return Ok(Left::Nothing);
        }
        held.cursor_id = chunk.cursor.or(held.cursor_id);
        match next? {
            Some(next) => chunk = next,
            None if chunk.late => return Ok(Left::Late),
            None => return Ok(Left::Nothing),
        }
    }
}

/// The numbers reserved last for a shard whose payers are neither invoiced nor parked yet, and the last payer they
/// were reserved with; `None` if no such number is left.
async fn set_aside(
    db: &mut PgConnection,
    run: &Run,
    shard: i32,
) -> Result<Option<(Uuid, HashMap<Uuid, Number>)>, Error> {
    if run.phase != Phase::Settle {
        return Ok(None);
    }
    let mut of: HashMap<Uuid, Number> = HashMap::new();
    for block in numbers::last_blocks(db, (run.run_id, shard)).await? {
        for (payer, number) in block.payers.into_iter().zip(block.first_number..) {
            let series_id = block.series_id;
            of.insert(payer, Number { series_id, number });
        }
    }
    let (Some(first), Some(last)) = (of.keys().min().copied(), of.keys().max().copied()) else {
        return Ok(None);
    };
    for payer in billed(db, run, (first, last)).await?.done {
        of.remove(&payer);
    }
    Ok((!of.is_empty()).then_some((last, of)))
}

/// Payers of a range that a run must not bill.
struct Billed {
    /// Payers done: invoiced by this run or by a cancelled one, or parked by this run.
    done: HashSet<Uuid>,
    /// Payers with an invoice of a run that is not in `billing.runs`.
    elsewhere: HashSet<Uuid>,
}

async fn billed(db: &mut PgConnection, run: &Run, range: (Uuid, Uuid)) -> Result<Billed, Error> {
    let month = (run.family_code.as_str(), run.period_start);
    let mut done: HashSet<Uuid> = parked::among(db, run.run_id, range)
        .await?
        .into_iter()
        .collect();
    let mut elsewhere = HashSet::new();
    for (payer, known) in invoices::by_runs(db, month, range).await? {
        if known {
            done.insert(payer);
        } else {
            elsewhere.insert(payer);
        }
    }
    Ok(Billed { done, elsewhere })
}

/// A chunk, read and rated.
struct RatedChunk {
    /// Its payers, in order.
    payers: Vec<Uuid>,
    /// The payer after whom the next chunk starts; `None` if it starts where this one did.
    cursor: Option<Uuid>,
    /// Whether it is the last of the shard.
    last: bool,
    /// Whether payers of its range joined after its numbers were reserved; the range is then read again.
    late: bool,
    /// Its numbers reserved by an earlier attempt; empty for a first attempt.
    numbers: HashMap<Uuid, Number>,
    /// Ids in `billing.terms`, by index into the terms of the rating.
    terms_ids: Vec<i32>,
    /// The outcome of rating, both lists in order of payer.
    ratings: Ratings,
}

/// Waits for what is read of a shard, and holds the shard meanwhile, however long that takes; `None` once another has
/// it.
async fn reading<T>(
    ctx: &Ctx,
    held: &Leased,
    read: impl Future<Output = Result<T, Error>>,
) -> Result<Option<T>, Error> {
    let seconds = ctx.work.lease_seconds;
    let lease = Duration::from_secs(u64::try_from(seconds).unwrap_or(1));
    let renew = || async move {
        let mut db = ctx.db.acquire().await?;
        Ok(shards::renew(&mut db, held, seconds).await?)
    };
    let read = while_held(lease / 3, renew, read).await?;
    if read.is_none() {
        tracing::info!(run.id = %held.run_id, shard = held.shard, "a shard was lost while a chunk of it was read");
    }
    Ok(read)
}

/// Gives what comes of `work`, by whose side a lease is renewed at each `interval`; `None` as soon as that is lost.
async fn while_held<T, R: Future<Output = Result<bool, Error>>>(
    interval: Duration,
    renew: impl Fn() -> R,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<Option<T>, Error> {
    let renewed = async {
        loop {
            tokio::time::sleep(interval).await;
            if !renew().await? {
                return Ok(None);
            }
        }
    };
    tokio::select! {
        done = work => done.map(Some),
        lost = renewed => lost,
    }
}

/// Reads and rates the chunks of a shard.
struct Reader<'a> {
    ctx: &'a Ctx,
    run: &'a Run,
    held: Leased,
    catalogue: &'a Catalogue,
    family: &'a Family,
    period: Period,
    pools: Pools,
}

impl<'a> Reader<'a> {
    async fn open(
        ctx: &'a Ctx,
        (run, period): (&'a Run, Period),
        (catalogue, family): (&'a Catalogue, &'a Family),
        held: &Leased,
    ) -> Result<Self, Error> {
        let selection = Selection {
            family: &run.family_code,
            period,
            shard: (held.shard, run.shard_count),
            after: held.cursor_id,
            payer: None,
            closes_at: None,
        };
        // A dry run may be of a month that is running.
        let pools = if run.dry_run {
            Pools::forecast(ctx, &selection).await?
        } else {
            Pools::open(ctx, &selection).await?
        };
        Ok(Self {
            ctx,
            run,
            held: held.clone(),
            catalogue,
            family,
            period,
            pools,
        })
    }

    /// The next chunk; `None` where the shard was lost while it was read.
    async fn chunk(&mut self) -> Result<Option<RatedChunk>, Error> {
        let (ctx, held) = (self.ctx, self.held.clone());
        reading(ctx, &held, self.read_chunk()).await
    }

    /// The chunk up to and with `last` that numbers were set aside for, with exactly their payers; `None` where the
    /// shard was lost while it was read.
    async fn again(
        &mut self,
        last: Uuid,
        numbers: HashMap<Uuid, Number>,
    ) -> Result<Option<RatedChunk>, Error> {
        let (ctx, held) = (self.ctx, self.held.clone());
        reading(ctx, &held, self.read_again(last, numbers)).await
    }

    async fn read_chunk(&mut self) -> Result<RatedChunk, Error> {
        let size = usize::try_from(self.run.chunk_size).map_err(|_| Error::Stored("chunk size"))?;
        let read = self.pools.next(self.ctx, size).await?;
        let (last, cursor) = (read.len() < size, read.last().map(|pool| pool.payer));
        let (payers, ratings) = self.rate(read).await?;
        Ok(RatedChunk {
            payers,
            cursor,
            last,
            late: false,
            numbers: HashMap::new(),
            terms_ids: self.pools.book.ids.clone(),
            ratings,
        })
    }

    async fn read_again(
        &mut self,
        last: Uuid,
        numbers: HashMap<Uuid, Number>,
    ) -> Result<RatedChunk, Error> {
        let read = self.pools.through(self.ctx, last).await?;
        let (mut payers, mut ratings) = self.rate(read).await?;
        let found = ratings.rated.len();
        ratings.rated.retain(|it| numbers.contains_key(&it.payer));
        let late = ratings.rated.len() < found;
        let rated = ratings.rated.iter().map(|it| it.payer);
        let unrated = ratings.unrated.iter().map(|it| it.payer);
        let known: HashSet<Uuid> = rated.chain(unrated).collect();
        // Leaving a payer out would leave a gap in the numbers.
        let missing = numbers.keys().filter(|payer| !known.contains(*payer));
        ratings.unrated.extend(missing.map(|payer| Unrated {
            payer: *payer,
            reason: "NOTHING_TO_INVOICE",
            detail: "its month costs nothing, but an invoice number is reserved for it".to_owned(),
        }));
        ratings.unrated.sort_unstable_by_key(|it| it.payer);
        if late {
            // Payers whose month costs nothing are counted when the range is read again.
            payers = known.into_iter().collect();
        }
        payers.extend(numbers.keys());
        payers.sort_unstable();
        payers.dedup();
        Ok(RatedChunk {
            payers,
            cursor: (!late).then_some(last),
            last: !late && self.pools.is_at_end(),
            late,
            numbers,
            terms_ids: self.pools.book.ids.clone(),
            ratings,
        })
    }

    /// Rates pools except those of payers billed already; returns the rated payers.
    async fn rate(&self, read: Vec<Pool>) -> Result<(Vec<Uuid>, Ratings), Error> {
        let mut pools = read;
        let mut db = self.ctx.db.acquire().await?;
        let mut elsewhere = HashSet::new();
        let ends = pools.first().zip(pools.last());
        let range = ends.map(|(first, last)| (first.payer, last.payer));
        if let Some(range) = range.filter(|_| !self.run.dry_run) {
            let billed = billed(&mut db, self.run, range).await?;
            pools.retain(|pool| !billed.done.contains(&pool.payer));
            elsewhere = billed.elsewhere;
        }
        let terms = rate::Terms {
            family: &self.run.family_code,
            period: self.period,
            currency: self.family.currency,
            excluded: &self.family.excluded_categories,
            catalogue: self.catalogue,
            book: &self.pools.book,
        };
        let mut ratings = rate::rate(&mut db, &pools, &terms).await?;
        // The database would refuse a second invoice, and the chunk with it.
        let twice = |it: &mut Rated| elsewhere.contains(&it.payer);
        let twice = ratings.rated.extract_if(.., twice).map(|it| Unrated {
            payer: it.payer,
            reason: "ALREADY_INVOICED",
            detail: "it has an invoice of the month from a run that billing has no record of"
                .to_owned(),
        });
        ratings.unrated.extend(twice);
        ratings.unrated.sort_unstable_by_key(|it| it.payer);
        Ok((pools.iter().map(|pool| pool.payer).collect(), ratings))
    }
}

/// A chunk being written.
struct Billing<'a> {
    ctx: &'a Ctx,
    run: &'a Run,
    held: &'a mut Leased,
    catalogue: &'a Catalogue,
    period: Period,
    currency: values::Currency,
    chunk: &'a RatedChunk,
    /// Number of payers of the chunk done so far.
    payers: usize,
    /// Number of those that could not be rated.
    unrated: usize,
}

/// Outcome of writing a part of a chunk.
enum Written {
    /// It is committed.
    Done,
    /// Another worker has the shard, or the run is no longer running.
    Lost,
    /// The database refused some of its rows.
    Refused(sqlx::Error),
}

/// A part of a chunk, with counts up to its last payer.
struct Part<'a> {
    /// The payer after whom the next part starts; `None` if it starts where the chunk did.
    cursor: Option<Uuid>,
    /// Whether it is the last of the shard.
    last: bool,
    /// Number of payers of the chunk up to its end.
    payers: usize,
    /// Number of those that can't be rated.
    unrated: usize,
    /// Payers to invoice.
    rated: &'a [Rated],
    /// A payer who could be rated and whose rows the database refused.
    refused: Option<Parked>,
}

impl<'a> Billing<'a> {
    /// Writes the chunk; `false` if the lease was lost.
    async fn commit(mut self) -> Result<bool, Error> {
        let rated = &self.chunk.ratings.rated;
        let Some(numbers) = self.number().await? else {
            return Ok(false);
        };
        let mut parts = Parts::whole(rated.len());
        while let Some(place) = parts.take() {
            let part = self.part(&place, parts.is_empty());
            let error = match self.write(&part, &numbers).await? {
                Written::Done => continue,
                Written::Lost => return Ok(false),
                Written::Refused(error) => error,
            };
            tracing::warn!(
                run.id = %self.run.run_id,
                accounts = place.len(),
                %error,
                "the database refused a chunk; it is halved until the account at fault can be parked"
            );
            if parts.halve(&place) {
                let seconds = self.ctx.work.lease_seconds;
                shards::renew(&mut self.ctx.db.acquire().await?, self.held, seconds).await?;
                continue;
            }
            let Some(refused) = part.rated.first() else {
                return Err(error.into());
            };
            let detail = store::violated(&error).unwrap_or("CONSTRAINT_VIOLATED");
            let number = numbers.get(&refused.payer);
            let parked = self.parked((refused.payer, number), "REFUSED_BY_DATABASE", detail);
            let alone = Part {
                rated: &[],
                refused: Some(parked),
                ..part
            };
            match self.write(&alone, &numbers).await? {
                Written::Done => {}
                Written::Lost => return Ok(false),
                Written::Refused(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// The part of the chunk for a range of payers to invoice. The last part includes all remaining payers.
    fn part(&self, place: &Range<usize>, is_last: bool) -> Part<'a> {
        let chunk = self.chunk;
        let rated = chunk.ratings.rated.get(place.clone()).unwrap_or_default();
        let unrated = &chunk.ratings.unrated;
        match rated.last() {
            Some(end) if !is_last => Part {
                cursor: chunk.cursor.map(|_| end.payer),
                last: false,
                payers: chunk.payers.partition_point(|it| *it <= end.payer),
                unrated: unrated.partition_point(|it| it.payer <= end.payer),
                rated,
                refused: None,
            },
            _ => Part {
                cursor: chunk.cursor,
                last: chunk.last,
                payers: chunk.payers.len(),
                unrated: unrated.len(),
                rated,
                refused: None,
            },
        }
    }

    /// Writes a part in its own transaction.
    async fn write(
        &mut self,
        part: &Part<'_>,
        numbers: &HashMap<Uuid, Number>,
    ) -> Result<Written, Error> {
        let mut tx = self.ctx.db.begin_batch().await?;
        if !self.fence(&mut tx, part).await? {
            return Ok(Written::Lost);
        }
        match self.put(&mut tx, part, numbers).await {
            Ok(()) => {}
            Err(Error::Database(error)) if is_violation(&error) => {
                tx.rollback().await?;
                return Ok(Written::Refused(error));
            }
            Err(error) => return Err(error),
        }
        // Writing may have used up much of the lease.
        shards::renew(&mut tx, self.held, self.ctx.work.lease_seconds).await?;
        tx.commit().await?;
        self.held.next_chunk += 1;
        (self.payers, self.unrated) = (part.payers, part.unrated);
        Ok(Written::Done)
    }

    /// Advances the shard if the lease is still held, and records the chunk, which its key allows once. `false` if
    /// the lease was lost.
    async fn fence(&self, tx: &mut PgConnection, part: &Part<'_>) -> Result<bool, Error> {
        let seconds = self.ctx.work.lease_seconds;
        if !shards::advance(tx, self.held, part.cursor, part.last, seconds).await? {
            return Ok(false);
        }
        let (mut lines, mut total) = (0_usize, 0_i64);
        for it in part.rated {
            lines += it.lines.len();
            total = total.saturating_add(it.total_minor);
        }
        let last_id = part.payers.checked_sub(1);
        let last_id = last_id.and_then(|place| self.chunk.payers.get(place).copied());
        let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let chunk = Chunk {
            run_id: self.run.run_id,
            phase: self.run.phase,
            shard: self.held.shard,
            chunk: self.held.next_chunk,
            worker: self.ctx.work.worker.clone(),
            account_count: count(part.payers.saturating_sub(self.payers)),
            invoice_count: count(part.rated.len()),
            line_count: count(lines),
            total_minor: total,
            last_id: part.cursor.or(last_id).unwrap_or_default(),
        };
        shards::insert_chunk(tx, &chunk).await?;
        Ok(true)
    }

    /// Writes the rows of a part: outcomes or invoices, and parked accounts.
    async fn put(
        &self,
        tx: &mut PgConnection,
        part: &Part<'_>,
        numbers: &HashMap<Uuid, Number>,
    ) -> Result<(), Error> {
        if self.run.phase == Phase::Settle {
            let numbered = part.rated.iter().map(|it| {
                let number = numbers.get(&it.payer).copied();
                number
                    .map(|number| (it, number))
                    .ok_or(Error::Stored("number of an invoice"))
            });
            let numbered: Vec<(&Rated, Number)> = numbered.collect::<Result<_, _>>()?;
            settle::settle(tx, &self.header(), &numbered).await?;
        } else {
            let found = part.rated.iter().map(|it| (it.payer, it.total_minor));
            outcomes::copy(tx, self.run.run_id, found).await?;
        }
        let unrated = &self.chunk.ratings.unrated;
        let unrated = unrated
            .get(self.unrated..part.unrated)
            .unwrap_or_default()
            .iter();
        let parked = unrated.map(|it| {
            let number = numbers.get(&it.payer);
            self.parked((it.payer, number), it.reason, &it.detail)
        });
        let parked: Vec<Parked> = parked.chain(part.refused.clone()).collect();
        parked::insert_all(tx, self.run.run_id, &parked).await?;
        Ok(())
    }

    /// The invoice numbers of the chunk: those reserved before, or new ones reserved in a short transaction of their
    /// own (D11). `None` if the lease was lost.
    async fn number(&self) -> Result<Option<HashMap<Uuid, Number>>, Error> {
        let rated = &self.chunk.ratings.rated;
        if self.run.phase != Phase::Settle || rated.is_empty() || !self.chunk.numbers.is_empty() {
            return Ok(Some(self.chunk.numbers.clone()));
        }
        let mut tx = self.ctx.db.begin().await?;
        if !shards::hold(&mut tx, self.held, self.ctx.work.lease_seconds).await? {
            return Ok(None);
        }
        // Profiles of one issuer share a series and therefore a block.
        let mut of_profile: BTreeMap<&str, Vec<Uuid>> = BTreeMap::new();
        for it in rated {
            of_profile.entry(&it.profile).or_default().push(it.payer);
        }
        let mut of_series: BTreeMap<i32, Vec<Uuid>> = BTreeMap::new();
        for (profile, payers) in of_profile {
            let at = self.run.cut_off_at;
            let series_id = settle::series_of(&mut tx, self.catalogue, (profile, ""), at).await?;
            of_series.entry(series_id).or_default().extend(payers);
        }
        let mut numbers = HashMap::new();
        for (series_id, payers) in of_series {
            let key = BlockKey {
                run_id: self.run.run_id,
                shard: self.held.shard,
                chunk: self.held.next_chunk,
                series_id,
            };
            let count = i64::try_from(payers.len()).map_err(|_| Error::Stored("chunk size"))?;
            let first = numbers::take(&mut tx, series_id, count).await?;
            numbers::insert_block(&mut tx, key, first, &payers).await?;
            let own = payers.into_iter().zip(first..);
            numbers.extend(own.map(|(payer, number)| (payer, Number { series_id, number })));
        }
        tx.commit().await?;
        Ok(Some(numbers))
    }

    fn parked(
        &self,
        (root_id, number): (Uuid, Option<&Number>),
        reason: &str,
        detail: &str,
    ) -> Parked {
        Parked {
            root_id,
            reason: reason.to_owned(),
            detail: detail.to_owned(),
            parked_at: self.run.cut_off_at,
            released_at: None,
            series_id: number.map(|it| it.series_id),
            number: number.map(|it| it.number),
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

/// Whether the database refused rows because of a constraint or a value out of range.
fn is_violation(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code.starts_with("23") || code.starts_with("22"))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(5);

    #[tokio::test]
    async fn a_lease_is_renewed_for_as_long_as_a_chunk_is_read() {
        let renewed = Cell::new(0);
        let renew = || async {
            renewed.set(renewed.get() + 1);
            Ok(true)
        };
        let slow = async {
            while renewed.get() < 3 {
                tokio::time::sleep(MOMENT).await;
            }
            Ok("read")
        };
        let read = while_held(MOMENT, renew, slow).await.unwrap();
        assert_eq!(read, Some("read"));
        assert!(3 <= renewed.get());
    }

    #[tokio::test]
    async fn reading_stops_when_its_lease_is_lost() {
        let lost = || async { Ok(false) };
        let never = std::future::pending::<Result<(), Error>>();
        assert_eq!(while_held(MOMENT, lost, never).await.unwrap(), None);
        let failed = || async { Err(Error::Stored("lease")) };
        let never = std::future::pending::<Result<(), Error>>();
        assert!(while_held(MOMENT, failed, never).await.is_err());
    }
}
