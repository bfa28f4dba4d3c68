//! `billing.recipients`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// Keeps whom the invoices of a root account go to from `since` on.
pub async fn set(
    db: &mut PgConnection,
    root: Uuid,
    recipient: &str,
    since: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.recipients.set
        INSERT INTO billing.recipients (root_id, since, recipient) VALUES ($1, $2, $3)
        ON CONFLICT (root_id, since) DO UPDATE SET recipient = $3",
        root,
        since,
        recipient
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whom the invoices of a root account went to at `at`; the first one known for what is older, "" where
/// none is.
pub async fn at(db: &mut PgConnection, root: Uuid, at: DateTime<Utc>) -> sqlx::Result<String> {
    let found = sqlx::query_scalar!(
        "-- billing.recipients.at
        SELECT recipient FROM billing.recipients WHERE root_id = $1
        ORDER BY since <= $2 DESC, CASE WHEN since <= $2 THEN since END DESC, since LIMIT 1",
        root,
        at
    )
    .fetch_optional(db)
    .await?;
    Ok(found.unwrap_or_default())
}

/// Takes away whom the invoices of a root account go and went to, in no order.
pub async fn take(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Vec<(DateTime<Utc>, String)>> {
    let rows = sqlx::query!(
        "-- billing.recipients.take
        DELETE FROM billing.recipients WHERE root_id = $1 RETURNING since, recipient",
        root
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|it| (it.since, it.recipient))
        .collect())
}
