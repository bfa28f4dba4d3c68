//! `payments.outbox`: changed movements and disputes, in order (D21).

use chassis::{PgConnection, Place};
use uuid::Uuid;

/// Records that a movement or a dispute has changed.
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

/// Up to `limit` changes between the two snapshots of a resume token, in order: position, root account and movement.
///
/// A new window starts at the lowest position written by a transaction that the first snapshot does not see. The index
/// on `written_by` finds it without scanning rows that were delivered before. Later pages continue after the last
/// position, so that the cost of a page does not grow with the backlog.
pub async fn list(
    db: &mut PgConnection,
    place: &Place,
    limit: i64,
) -> sqlx::Result<Vec<(i64, Uuid, Uuid)>> {
    let rows = sqlx::query!(
        "-- payments.outbox.list
        SELECT position, root_id, movement_id FROM payments.outbox
        WHERE NOT pg_visible_in_snapshot(written_by, $1::text::pg_snapshot)
          AND pg_visible_in_snapshot(written_by, $2::text::pg_snapshot)
          AND position > CASE WHEN 0 < $3::bigint THEN $3::bigint ELSE (
                SELECT coalesce(min(u.position + 0) - 1, 9223372036854775807) FROM payments.outbox u
                WHERE u.written_by >= pg_snapshot_xmin($1::text::pg_snapshot)
                  AND NOT pg_visible_in_snapshot(u.written_by, $1::text::pg_snapshot)) END
        ORDER BY position LIMIT $4",
        place.told,
        place.telling,
        place.position,
        limit
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.position, row.root_id, row.movement_id))
        .collect())
}
