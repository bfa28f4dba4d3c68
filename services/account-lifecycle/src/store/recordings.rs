//! The recordings among `account.resources`, and when their retention is checked next.

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::resources::Resource;

/// Schedules a retention check for the root account of a new resource, if that is a recording.
pub async fn made(db: &mut PgConnection, resource: &Resource) -> sqlx::Result<()> {
    if resource.kind_code != "RECORDING" {
        return Ok(());
    }
    sqlx::query!(
        "-- account.recordings.made
        UPDATE account.accounts SET recordings_look_at = least(recordings_look_at, $2) WHERE account_id = $1",
        resource.root_id,
        resource.created_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Sets when the recordings of a root account, which the caller has locked, are checked next; `None` for never.
pub async fn set_look(
    db: &mut PgConnection,
    root: Uuid,
    at: Option<DateTime<Utc>>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.recordings.set_look
        UPDATE account.accounts SET recordings_look_at = $2 WHERE account_id = $1",
        root,
        at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` root accounts whose recordings are due for a check by `now`.
pub async fn to_look_at(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "-- account.recordings.to_look_at
        SELECT account_id FROM account.accounts
        WHERE parent_id IS NULL AND closed_at IS NULL AND recordings_look_at <= $1
        ORDER BY recordings_look_at LIMIT $2",
        now,
        limit
    )
    .fetch_all(db)
    .await
}

/// When the next check is due, up to `until`.
pub async fn next_look(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- account.recordings.next_look
        SELECT min(recordings_look_at) FROM account.accounts
        WHERE parent_id IS NULL AND closed_at IS NULL AND recordings_look_at <= $1",
        until
    )
    .fetch_one(db)
    .await
}

/// Releases the recordings of a root account and its subaccounts that were made at or before `made_by`.
pub async fn expire(
    db: &mut PgConnection,
    root: Uuid,
    (made_by, now): (DateTime<Utc>, DateTime<Utc>),
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.recordings.expire
        UPDATE account.resources SET released_at = greatest(created_at, $3), document = ''
        WHERE root_id = $1 AND kind_code = 'RECORDING' AND released_at IS NULL AND created_at <= $2",
        root,
        made_by,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Creation time of the oldest recording held by a root account or its subaccounts.
pub async fn oldest(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- account.recordings.oldest
        SELECT min(created_at) FROM account.resources
        WHERE root_id = $1 AND kind_code = 'RECORDING' AND released_at IS NULL",
        root
    )
    .fetch_one(db)
    .await
}
