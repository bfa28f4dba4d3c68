//! `plan.outbox`: changed timelines, in order (D21).

use chassis::{PgConnection, Place};
use values::AccountId;

/// Records that a timeline has changed.
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

/// Up to `limit` changes between the two snapshots of a resume token, in order: position, root account and family.
///
/// A new window starts at the lowest position written by a transaction that the first snapshot does not see. The index
/// on `written_by` finds it without scanning rows that were delivered before. Later pages continue after the last
/// position, so that the cost of a page does not grow with the backlog.
pub async fn list(
    db: &mut PgConnection,
    place: &Place,
    limit: i64,
) -> sqlx::Result<Vec<(i64, AccountId, String)>> {
    let rows = sqlx::query!(
        "-- plan.outbox.list
        SELECT position, root_id, family_code FROM plan.outbox
        WHERE NOT pg_visible_in_snapshot(written_by, $1::text::pg_snapshot)
          AND pg_visible_in_snapshot(written_by, $2::text::pg_snapshot)
          AND position > CASE WHEN 0 < $3::bigint THEN $3::bigint ELSE (
                SELECT coalesce(min(u.position + 0) - 1, 9223372036854775807) FROM plan.outbox u
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
        .map(|row| {
            (
                row.position,
                AccountId::from_uuid(row.root_id),
                row.family_code,
            )
        })
        .collect())
}
