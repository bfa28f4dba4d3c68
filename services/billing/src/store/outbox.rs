//! `billing.outbox`: news for other services (D21).

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// Tells that balances fell to zero or below.
pub async fn balances_ran_dry(
    db: &mut PgConnection,
    roots: &[Uuid],
    balances_micros: &[i64],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "-- billing.outbox.balances_ran_dry
        INSERT INTO billing.outbox (root_id, kind, balance_micros, created_at)
        SELECT root_id, 'BALANCE_RAN_DRY', micros, $3 FROM unnest($1::uuid[], $2::bigint[]) AS d (root_id, micros)",
    )
    .bind(roots)
    .bind(balances_micros)
    .bind(now)
    .execute(db)
    .await?;
    Ok(())
}

/// Tells that a run has ended.
pub async fn run_completed(
    db: &mut PgConnection,
    run: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.outbox.run_completed
        INSERT INTO billing.outbox (kind, run_id, created_at) VALUES ('RUN_COMPLETED', $1, $2)",
        run,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}
