//! `account.closings`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

pub use crate::domain::closing::Closing;

/// The closing of an account.
pub async fn get(db: &mut PgConnection, account: Uuid) -> sqlx::Result<Option<Closing>> {
    sqlx::query_as!(
        Closing,
        "-- account.closings.get
        SELECT root_id, account_id, state, option, close_at, purge_at, actor, currency, settlement_minor, refund_minor,
               forfeited_micros, due_on, refund_ids, erased_at
        FROM account.closings WHERE account_id = $1",
        account
    )
    .fetch_optional(db)
    .await
}

/// Begins a closing, unless one is there.
pub async fn insert(db: &mut PgConnection, it: &Closing) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.closings.insert
        INSERT INTO account.closings (root_id, account_id, state, option, close_at, purge_at, actor, currency, lease_token,
                                      look_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, gen_random_uuid(), '-infinity') ON CONFLICT DO NOTHING",
        it.root_id,
        it.account_id,
        it.state,
        it.option,
        it.close_at,
        it.purge_at,
        it.actor,
        it.currency
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Takes the closing of an account, or one of any that was cut short, for `lease` seconds; gives it with the
/// token of whoever carries it out now.
pub async fn take(
    db: &mut PgConnection,
    account: Option<Uuid>,
    lease: i64,
) -> sqlx::Result<Option<(Closing, Uuid)>> {
    let row = sqlx::query!(
        "-- account.closings.take
        UPDATE account.closings
        SET lease_token = gen_random_uuid(),
            look_at = clock_timestamp() + make_interval(secs => $2::bigint::double precision)
        WHERE account_id = (
            SELECT account_id FROM account.closings
            WHERE ($1::uuid IS NULL OR account_id = $1) AND state <> 'DONE' AND look_at <= clock_timestamp()
            ORDER BY look_at LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING root_id, account_id, state, option, close_at, purge_at, actor, currency, settlement_minor, refund_minor,
                  forfeited_micros, due_on, refund_ids, erased_at, lease_token",
        account,
        lease
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| {
        let closing = Closing {
            root_id: row.root_id,
            account_id: row.account_id,
            state: row.state,
            option: row.option,
            close_at: row.close_at,
            purge_at: row.purge_at,
            actor: row.actor,
            currency: row.currency,
            settlement_minor: row.settlement_minor,
            refund_minor: row.refund_minor,
            forfeited_micros: row.forfeited_micros,
            due_on: row.due_on,
            refund_ids: row.refund_ids,
            erased_at: row.erased_at,
        };
        (closing, row.lease_token)
    }))
}

/// Keeps how far a closing has come, and its figures, and holds it for `lease` seconds more; `false` when another
/// carries it out by now.
pub async fn set(
    db: &mut PgConnection,
    (it, token): (&Closing, Uuid),
    lease: i64,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- account.closings.set
        UPDATE account.closings
        SET state = $3, settlement_minor = $4, refund_minor = $5, forfeited_micros = $6, due_on = $7, refund_ids = $8,
            look_at = clock_timestamp()
                + make_interval(secs => CASE $3 WHEN 'DONE' THEN 0 ELSE $9::bigint END::double precision)
        WHERE account_id = $1 AND lease_token = $2",
        it.account_id,
        token,
        it.state,
        it.settlement_minor,
        it.refund_minor,
        it.forfeited_micros,
        it.due_on,
        &it.refund_ids,
        lease
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Lets a closing be tried again in `pause` seconds.
pub async fn put_off(
    db: &mut PgConnection,
    (account, token): (Uuid, Uuid),
    pause: i64,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.closings.put_off
        UPDATE account.closings SET look_at = clock_timestamp() + make_interval(secs => $3::bigint::double precision)
        WHERE account_id = $1 AND lease_token = $2",
        account,
        token,
        pause
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets a closing that was given up.
pub async fn delete(db: &mut PgConnection, (account, token): (Uuid, Uuid)) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.closings.delete
        DELETE FROM account.closings WHERE account_id = $1 AND lease_token = $2 AND state = 'ABORTING'",
        account,
        token
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whether some closing is under way.
pub async fn any_under_way(db: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- account.closings.any_under_way
        SELECT EXISTS (SELECT FROM account.closings WHERE state <> 'DONE') AS "any!""#
    )
    .fetch_one(db)
    .await
}

/// Takes a closing whose data are to be deleted, for `lease` seconds.
pub async fn take_to_erase(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    lease: i64,
) -> sqlx::Result<Option<(Uuid, Uuid)>> {
    let row = sqlx::query!(
        "-- account.closings.take_to_erase
        UPDATE account.closings
        SET look_at = clock_timestamp() + make_interval(secs => $2::bigint::double precision)
        WHERE account_id = (
            SELECT account_id FROM account.closings
            WHERE state = 'DONE' AND erased_at IS NULL AND purge_at <= $1 AND look_at <= clock_timestamp()
            ORDER BY purge_at LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING root_id, account_id",
        now,
        lease
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.root_id, row.account_id)))
}

/// When the next data are deleted, up to `until`.
pub async fn next_erasure(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- account.closings.next_erasure
        SELECT min(purge_at) FROM account.closings WHERE state = 'DONE' AND erased_at IS NULL AND purge_at <= $1",
        until
    )
    .fetch_one(db)
    .await
}

/// What was deleted of an account, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The account that was closed.
    pub account_id: Uuid,
    /// When it was closed.
    pub close_at: DateTime<Utc>,
    /// When all services had erased it.
    pub erased_at: DateTime<Utc>,
    /// The accounts that were erased.
    pub erased_ids: Vec<Uuid>,
    /// What each service did.
    pub parts: serde_json::Value,
}

/// Keeps the receipt of a deletion; the first one stays.
pub async fn set_erased(db: &mut PgConnection, it: &Receipt) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- account.closings.set_erased
        UPDATE account.closings SET erased_at = $2, erased_ids = $3, receipt = $4
        WHERE account_id = $1 AND erased_at IS NULL",
        it.account_id,
        it.erased_at,
        &it.erased_ids,
        it.parts
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The receipt of the deletion by which an account was erased.
pub async fn receipt(db: &mut PgConnection, account: Uuid) -> sqlx::Result<Option<Receipt>> {
    sqlx::query_as!(
        Receipt,
        r#"-- account.closings.receipt
        SELECT account_id, close_at, erased_at AS "erased_at!", erased_ids, receipt AS parts
        FROM account.closings WHERE $1 = ANY(erased_ids) AND erased_at IS NOT NULL
          AND root_id = (SELECT root_id FROM account.roots WHERE account_id = $1)
        ORDER BY erased_at LIMIT 1"#,
        account
    )
    .fetch_optional(db)
    .await
}
