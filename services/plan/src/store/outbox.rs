//! `plan.outbox`: timelines that changed, in order (D21).

use sqlx::PgConnection;
use values::AccountId;

/// Notes that a timeline changed.
pub async fn insert(db: &mut PgConnection, root: AccountId, family: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "-- plan.outbox.insert\nINSERT INTO plan.outbox (root_id, family_code) VALUES ($1, $2)",
        root.uuid(),
        family
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` changes after `position`, in order: position, root and family. None is given whose
/// transaction, or one before it, may still be invisible.
pub async fn list(
    db: &mut PgConnection,
    position: i64,
    limit: i64,
) -> sqlx::Result<Vec<(i64, AccountId, String)>> {
    let rows = sqlx::query!(
        "-- plan.outbox.list
        SELECT position, root_id, family_code FROM plan.outbox
        WHERE $1 < position AND written_by < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY position LIMIT $2",
        position,
        limit
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            (
                row.position,
                AccountId::from_uuid(row.root_id),
                row.family_code,
            )
        })
        .collect())
}
