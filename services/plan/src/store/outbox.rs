//! `plan.outbox`: timelines that changed, in order (D21).

use chassis::Place;
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

/// Up to `limit` changes of a place, in order: position, root and family.
///
/// By the index of who wrote them: what is not told yet is at its end, wherever the positions are.
pub async fn list(
    db: &mut PgConnection,
    place: &Place,
    limit: i64,
) -> sqlx::Result<Vec<(i64, AccountId, String)>> {
    let rows = sqlx::query!(
        "-- plan.outbox.list
        SELECT position, root_id, family_code FROM plan.outbox
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
        .map(|row| {
            (
                row.position,
                AccountId::from_uuid(row.root_id),
                row.family_code,
            )
        })
        .collect())
}
