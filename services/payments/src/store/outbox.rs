//! `payments.outbox`: movements that changed, in order (D21).

use chassis::Place;
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

/// Up to `limit` changes of a place, in order: position, root and movement.
///
/// By the index of who wrote them: what is not told yet is at its end, wherever the positions are.
pub async fn list(
    db: &mut PgConnection,
    place: &Place,
    limit: i64,
) -> sqlx::Result<Vec<(i64, Uuid, Uuid)>> {
    let rows = sqlx::query!(
        "-- payments.outbox.list
        SELECT position, root_id, movement_id FROM payments.outbox
        WHERE written_by >= pg_snapshot_xmin($1::text::pg_snapshot)
          AND NOT pg_visible_in_snapshot(written_by, $1::text::pg_snapshot)
          AND pg_visible_in_snapshot(written_by, $2::text::pg_snapshot) AND $3 < position
        ORDER BY position + 0 LIMIT $4",
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
