//! `billing.invoice_series` and `billing.number_blocks`

use sqlx::PgConnection;
use uuid::Uuid;

/// A series of invoice numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// Its id.
    pub series_id: i32,
    /// The issuer.
    pub issuer_code: String,
    /// The year in which the fiscal year starts.
    pub fiscal_year: i16,
}

/// The series of an issuer and a fiscal year, begun when it is new.
pub async fn series(db: &mut PgConnection, issuer: &str, fiscal_year: i16) -> sqlx::Result<i32> {
    sqlx::query!(
        "-- billing.invoice_series.insert
        INSERT INTO billing.invoice_series (issuer_code, fiscal_year) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        issuer,
        fiscal_year
    )
    .execute(&mut *db)
    .await?;
    sqlx::query_scalar!(
        "-- billing.invoice_series.find
        SELECT series_id FROM billing.invoice_series WHERE issuer_code = $1 AND fiscal_year = $2",
        issuer,
        fiscal_year
    )
    .fetch_one(db)
    .await
}

/// The series with these ids.
pub async fn get_all(db: &mut PgConnection, ids: &[i32]) -> sqlx::Result<Vec<Series>> {
    sqlx::query_as!(
        Series,
        "-- billing.invoice_series.get_all
        SELECT series_id, issuer_code, fiscal_year FROM billing.invoice_series WHERE series_id = ANY($1)",
        ids
    )
    .fetch_all(db)
    .await
}

/// Takes the next `count` numbers of a series and gives the first. Others wait until the end of
/// the transaction, which must be short.
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

/// Which chunk a block of numbers is set aside for.
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

/// The block set aside for a chunk: its first number and how many.
pub async fn block(db: &mut PgConnection, key: BlockKey) -> sqlx::Result<Option<(i64, i64)>> {
    let row = sqlx::query!(
        "-- billing.number_blocks.get
        SELECT first_number, number_count FROM billing.number_blocks
        WHERE run_id = $1 AND shard = $2 AND chunk = $3 AND series_id = $4",
        key.run_id,
        key.shard,
        key.chunk,
        key.series_id
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.first_number, row.number_count)))
}

/// Sets a block aside for a chunk.
pub async fn insert_block(
    db: &mut PgConnection,
    key: BlockKey,
    first: i64,
    count: i64,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.number_blocks.insert
        INSERT INTO billing.number_blocks (run_id, shard, chunk, series_id, first_number, number_count)
        VALUES ($1, $2, $3, $4, $5, $6)",
        key.run_id,
        key.shard,
        key.chunk,
        key.series_id,
        first,
        count
    )
    .execute(db)
    .await?;
    Ok(())
}
