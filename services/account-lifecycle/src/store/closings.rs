//! `account.closings`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::closing::{CloseOption, State};

pub use crate::domain::closing::Closing;

chassis::stored_as_text!(State, "account.closings.state");
chassis::stored_as_text!(CloseOption, "account.closings.option");

/// The closing of an account.
pub async fn get(db: &mut PgConnection, account: Uuid) -> sqlx::Result<Option<Closing>> {
    sqlx::query_as!(
        Closing,
        "-- account.closings.get
        SELECT root_id, account_id, state, option, close_at, purge_at, actor, currency, settlement_minor, refund_minor,
               forfeited_micros, due_on, refund_ids, erased_at, wait_reason
        FROM account.closings WHERE account_id = $1",
        account
    )
    .fetch_optional(db)
    .await
}

/// Inserts a closing, unless the account has one.
pub async fn insert(db: &mut PgConnection, it: &Closing) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.closings.insert
        INSERT INTO account.closings (root_id, account_id, state, option, close_at, purge_at, actor, currency, lease_token,
                                      look_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, gen_random_uuid(), '-infinity') ON CONFLICT DO NOTHING",
        it.root_id,
        it.account_id,
        it.state.as_str(),
        it.option.as_str(),
        it.close_at,
        it.purge_at,
        it.actor,
        it.currency
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` closings before `before`, newest first; of one state or all. All tenants are entered.
pub async fn list(
    db: &mut PgConnection,
    state: Option<State>,
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<Closing>> {
    let (close_at, account) = before.unzip();
    sqlx::query_as!(
        Closing,
        "-- account.closings.list
        SELECT root_id, account_id, state, option, close_at, purge_at, actor, currency, settlement_minor, refund_minor,
               forfeited_micros, due_on, refund_ids, erased_at, wait_reason
        FROM account.closings
        WHERE ($1::text IS NULL OR state = $1)
          AND ($2::timestamptz IS NULL OR (close_at, account_id) < ($2, $3::uuid))
        ORDER BY close_at DESC, account_id DESC LIMIT $4",
        state.map(State::as_str),
        close_at,
        account,
        limit
    )
    .fetch_all(db)
    .await
}

/// Leases the closing of an account, or with `None` the longest overdue one, for `lease` seconds. Returns it with the
/// fencing token of the lease; `None` if none is due and free.
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
                  forfeited_micros, due_on, refund_ids, erased_at, wait_reason, lease_token",
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
            wait_reason: row.wait_reason,
        };
        (closing, row.lease_token)
    }))
}

/// Stores the progress of a closing and its amounts, and extends the lease by `lease` seconds. `false` if another
/// worker has taken over.
pub async fn set(
    db: &mut PgConnection,
    (it, token): (&Closing, Uuid),
    lease: i64,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- account.closings.set
        UPDATE account.closings
        SET state = $3, settlement_minor = $4, refund_minor = $5, forfeited_micros = $6, due_on = $7, refund_ids = $8,
            wait_reason = '', wait_count = 0,
            look_at = clock_timestamp()
                + make_interval(secs => CASE $3 WHEN 'DONE' THEN 0 ELSE $9::bigint END::double precision)
        WHERE account_id = $1 AND lease_token = $2",
        it.account_id,
        token,
        it.state.as_str(),
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

/// Schedules a retry of a closing and stores why it waits: 5 seconds, doubled each time, at most 10 minutes. Returns
/// the number of retries in a row; `None` if another worker has taken over.
pub async fn put_off(
    db: &mut PgConnection,
    (account, token): (Uuid, Uuid),
    reason: &str,
) -> sqlx::Result<Option<i32>> {
    sqlx::query_scalar!(
        "-- account.closings.put_off
        UPDATE account.closings
        SET look_at = clock_timestamp() + make_interval(secs => least(600, 5 * 2 ^ least(wait_count, 7))),
            wait_reason = $3, wait_count = wait_count + 1
        WHERE account_id = $1 AND lease_token = $2 RETURNING wait_count",
        account,
        token,
        reason
    )
    .fetch_optional(db)
    .await
}

/// Deletes an aborted closing.
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

/// Whether any closing is in progress.
pub async fn any_under_way(db: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- account.closings.any_under_way
        SELECT EXISTS (SELECT FROM account.closings WHERE state <> 'DONE') AS "any!""#
    )
    .fetch_one(db)
    .await
}

/// Up to `limit` closed accounts whose data is due for deletion by `now` and that no worker has claimed.
pub async fn to_erase(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "-- account.closings.to_erase
        SELECT account_id FROM account.closings
        WHERE state = 'DONE' AND erased_at IS NULL AND purge_at <= $1
          AND NOT EXISTS (SELECT FROM account.job_claims c WHERE c.job = 'erase_accounts' AND c.key = account_id::text
                            AND clock_timestamp() < c.held_until)
        ORDER BY purge_at LIMIT $2",
        now,
        limit
    )
    .fetch_all(db)
    .await
}

/// When the next deletion is due, up to `until`.
pub async fn next_erasure(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- account.closings.next_erasure
        SELECT min(purge_at) FROM account.closings
        WHERE state = 'DONE' AND erased_at IS NULL AND purge_at <= $1
          AND NOT EXISTS (SELECT FROM account.job_claims c WHERE c.job = 'erase_accounts' AND c.key = account_id::text
                            AND c.state IN ('FAILED', 'PARKED') AND clock_timestamp() < c.held_until)",
        until
    )
    .fetch_one(db)
    .await
}

/// The receipt of a deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The account that was closed.
    pub account_id: Uuid,
    /// When it was closed.
    pub close_at: DateTime<Utc>,
    /// When every service had deleted the data.
    pub erased_at: DateTime<Utc>,
    /// The accounts whose data was deleted.
    pub erased_ids: Vec<Uuid>,
    /// What each service deleted.
    pub parts: serde_json::Value,
}

/// Stores the receipt of a deletion. `false` if there already is one, which stays.
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

/// The receipt of the deletion that covered an account.
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
