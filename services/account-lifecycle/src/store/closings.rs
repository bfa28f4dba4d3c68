//! `account.closings`

use sqlx::PgConnection;
use uuid::Uuid;

pub use crate::domain::closing::Closing;

/// The closing of an account.
pub async fn get(db: &mut PgConnection, account: Uuid) -> sqlx::Result<Option<Closing>> {
    sqlx::query_as!(
        Closing,
        "-- account.closings.get
        SELECT root_id, account_id, state, option, close_at, purge_at, actor, currency, settlement_minor, refund_minor,
               forfeited_micros, due_on, refund_ids
        FROM account.closings WHERE account_id = $1",
        account
    )
    .fetch_optional(db)
    .await
}

/// Begins a closing; whoever closes the account carries it out, and a job where that was cut short.
pub async fn insert(db: &mut PgConnection, it: &Closing) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.closings.insert
        INSERT INTO account.closings (root_id, account_id, state, option, close_at, purge_at, actor, currency, look_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp() + interval '5 s') ON CONFLICT DO NOTHING",
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

/// Keeps how far a closing has come, and its figures.
pub async fn set(db: &mut PgConnection, it: &Closing) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.closings.set
        UPDATE account.closings
        SET state = $2, settlement_minor = $3, refund_minor = $4, forfeited_micros = $5, due_on = $6, refund_ids = $7
        WHERE account_id = $1",
        it.account_id,
        it.state,
        it.settlement_minor,
        it.refund_minor,
        it.forfeited_micros,
        it.due_on,
        &it.refund_ids
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets a closing by which nothing was closed.
pub async fn delete(db: &mut PgConnection, account: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.closings.delete
        DELETE FROM account.closings WHERE account_id = $1 AND state = 'PREPARING'",
        account
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` closings that were cut short; nobody else gets them for half a minute.
pub async fn take_to_finish(db: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<Closing>> {
    sqlx::query_as!(
        Closing,
        "-- account.closings.take_to_finish
        UPDATE account.closings SET look_at = clock_timestamp() + interval '30 s'
        WHERE account_id IN (
            SELECT account_id FROM account.closings WHERE state <> 'DONE' AND look_at <= clock_timestamp()
            ORDER BY look_at LIMIT $1 FOR UPDATE SKIP LOCKED)
        RETURNING root_id, account_id, state, option, close_at, purge_at, actor, currency, settlement_minor, refund_minor,
                  forfeited_micros, due_on, refund_ids",
        limit
    )
    .fetch_all(db)
    .await
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
