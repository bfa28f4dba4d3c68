//! `billing.invoice_series`, `billing.number_blocks` and `billing.voided_numbers`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain;

/// A series of invoice numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// Its id.
    pub series_id: i32,
    /// The issuer.
    pub issuer_code: String,
    /// The year in which the fiscal year starts.
    pub fiscal_year: i16,
    /// What its numbers start with; empty for the issuer's code.
    pub number_prefix: String,
}

impl Series {
    /// A number of the series as it is printed.
    pub fn shown(&self, number: i64) -> String {
        let names = (self.issuer_code.as_str(), self.number_prefix.as_str());
        domain::numbers::shown(names, i32::from(self.fiscal_year), number)
    }
}

/// The series of an issuer, a prefix and a fiscal year; creates it if it is new. A printed number names its prefix and
/// not its issuer, so that a prefix has one series a year, whichever code its issuer has by then.
///
/// Reads before inserting, because an insert that conflicts still consumes a number of the identity column. Series
/// ids are limited to the four bytes reserved for them in invoice ids.
pub async fn series(
    db: &mut PgConnection,
    (issuer, prefix): (&str, &str),
    fiscal_year: i16,
) -> sqlx::Result<i32> {
    if let Some(known) = find_series(db, (issuer, prefix), fiscal_year).await? {
        return Ok(known);
    }
    sqlx::query!(
        "-- billing.invoice_series.insert
        INSERT INTO billing.invoice_series (issuer_code, fiscal_year, number_prefix) VALUES ($1, $2, $3)
        ON CONFLICT DO NOTHING",
        issuer,
        fiscal_year,
        prefix
    )
    .execute(&mut *db)
    .await?;
    find_series(db, (issuer, prefix), fiscal_year)
        .await?
        .ok_or(sqlx::Error::RowNotFound)
}

async fn find_series(
    db: &mut PgConnection,
    (issuer, prefix): (&str, &str),
    fiscal_year: i16,
) -> sqlx::Result<Option<i32>> {
    sqlx::query_scalar!(
        "-- billing.invoice_series.find
        SELECT series_id FROM billing.invoice_series
        WHERE fiscal_year = $2 AND number_prefix = $3 AND (issuer_code = $1 OR number_prefix <> '')",
        issuer,
        fiscal_year,
        prefix
    )
    .fetch_optional(db)
    .await
}

/// The series with these ids.
pub async fn get_all(db: &mut PgConnection, ids: &[i32]) -> sqlx::Result<Vec<Series>> {
    sqlx::query_as!(
        Series,
        "-- billing.invoice_series.get_all
        SELECT series_id, issuer_code, fiscal_year, number_prefix
        FROM billing.invoice_series WHERE series_id = ANY($1)",
        ids
    )
    .fetch_all(db)
    .await
}

/// Every series.
pub async fn all(db: &mut PgConnection) -> sqlx::Result<Vec<Series>> {
    sqlx::query_as!(
        Series,
        "-- billing.invoice_series.all
        SELECT series_id, issuer_code, fiscal_year, number_prefix FROM billing.invoice_series ORDER BY series_id"
    )
    .fetch_all(db)
    .await
}

/// Takes the next `count` numbers of a series and returns the first. Other takers wait until the end of the
/// transaction, which must be short.
pub async fn take(db: &mut PgConnection, series_id: i32, count: i64) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"-- billing.invoice_series.take
        UPDATE billing.invoice_series SET next_number = next_number + $2 WHERE series_id = $1
        RETURNING next_number - $2 AS "first!""#,
        series_id,
        count
    )
    .fetch_one(db)
    .await
}

/// The chunk and series that a block of numbers is reserved for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockKey {
    /// The run.
    pub run_id: Uuid,
    /// The shard.
    pub shard: i32,
    /// The chunk.
    pub chunk: i32,
    /// The series.
    pub series_id: i32,
}

/// Numbers reserved for the invoices of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The series.
    pub series_id: i32,
    /// The number of the first payer; the others follow in order.
    pub first_number: i64,
    /// The payers, in order of number.
    pub payers: Vec<Uuid>,
}

/// The blocks reserved last for a shard, whose chunk may not be done yet.
pub async fn last_blocks(
    db: &mut PgConnection,
    (run, shard): (Uuid, i32),
) -> sqlx::Result<Vec<Block>> {
    sqlx::query_as!(
        Block,
        "-- billing.number_blocks.last
        SELECT series_id, first_number, payers FROM billing.number_blocks
        WHERE run_id = $1 AND shard = $2
          AND chunk = (SELECT max(chunk) FROM billing.number_blocks WHERE run_id = $1 AND shard = $2)
        ORDER BY series_id",
        run,
        shard
    )
    .fetch_all(db)
    .await
}

/// Reserves a block for a chunk: one number per payer, starting with `first`.
pub async fn insert_block(
    db: &mut PgConnection,
    key: BlockKey,
    first: i64,
    payers: &[Uuid],
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.number_blocks.insert
        INSERT INTO billing.number_blocks (run_id, shard, chunk, series_id, first_number, number_count, payers)
        VALUES ($1, $2, $3, $4, $5, cardinality($6::uuid[]), $6)",
        key.run_id,
        key.shard,
        key.chunk,
        key.series_id,
        first,
        payers
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A range of voided numbers, which no invoice has or will have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voided {
    /// The series.
    pub series_id: i32,
    /// The first number.
    pub first_number: i64,
    /// The last number.
    pub last_number: i64,
}

/// Voids a number reserved for an account of a run.
pub async fn void(
    db: &mut PgConnection,
    (series_id, number): (i32, i64),
    (run, reason): (Uuid, &str),
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.voided_numbers.insert
        INSERT INTO billing.voided_numbers (series_id, first_number, last_number, run_id, reason, voided_at)
        VALUES ($1, $2, $2, $3, $4, $5)",
        series_id,
        number,
        run,
        reason,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Voids the reserved numbers of a run that no invoice has: those of unfinished chunks and of parked accounts.
/// Adjacent numbers share a row.
///
/// The chunks of a shard are written in order, so only its last blocks can have unused numbers.
pub async fn void_unused(
    db: &mut PgConnection,
    (run, reason): (Uuid, &str),
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.voided_numbers.void_unused
        WITH unused AS (
            SELECT b.series_id, b.first_number + p.place - 1 AS number
            FROM billing.runs r
            JOIN billing.number_blocks b ON b.run_id = r.run_id
             AND b.chunk = (SELECT max(l.chunk) FROM billing.number_blocks l WHERE l.run_id = b.run_id AND l.shard = b.shard)
            CROSS JOIN LATERAL unnest(b.payers) WITH ORDINALITY AS p (root_id, place)
            WHERE r.run_id = $1 AND NOT EXISTS (
                SELECT FROM billing.invoices i
                WHERE i.period_start = r.period_start AND i.family_code = r.family_code AND i.root_id = p.root_id
                  AND i.run_id = r.run_id AND i.run_id IS NOT NULL)
            UNION
            SELECT series_id, number FROM billing.parked_accounts
            WHERE run_id = $1 AND released_at IS NULL AND number IS NOT NULL
        )
        INSERT INTO billing.voided_numbers (series_id, first_number, last_number, run_id, reason, voided_at)
        SELECT series_id, min(number), max(number), $1, $2::text, $3::timestamptz
        FROM (SELECT series_id, number, number - row_number() OVER (PARTITION BY series_id ORDER BY number) AS island
              FROM unused) u
        GROUP BY series_id, island",
        run,
        reason,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The numbers voided for a run, in order.
pub async fn voided(db: &mut PgConnection, run: Uuid) -> sqlx::Result<Vec<Voided>> {
    sqlx::query_as!(
        Voided,
        "-- billing.voided_numbers.list
        SELECT series_id, first_number, last_number FROM billing.voided_numbers
        WHERE run_id = $1 ORDER BY series_id, first_number",
        run
    )
    .fetch_all(db)
    .await
}
