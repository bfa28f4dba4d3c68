//! `payments.outbox`: movements that changed, in order (D21).

use sqlx::PgConnection;
use uuid::Uuid;

/// Notes that a movement changed.
pub async fn insert(db: &mut PgConnection, root: Uuid, movement: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.outbox.insert\nINSERT INTO payments.outbox (root_id, movement_id) VALUES ($1, $2)",
        root,
        movement
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` changes after `position`, in order: position, root and movement. None is given
/// whose transaction, or one before it, may still be invisible.
pub async fn list(
    db: &mut PgConnection,
    position: i64,
    limit: i64,
) -> sqlx::Result<Vec<(i64, Uuid, Uuid)>> {
    let rows = sqlx::query!(
        "-- payments.outbox.list
        SELECT position, root_id, movement_id FROM payments.outbox
        WHERE $1 < position AND written_by < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY position LIMIT $2",
        position,
        limit
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.position, row.root_id, row.movement_id))
        .collect())
}
