//! Outcomes of a run by account: `billing.run_outcomes` while nothing is settled, then the invoices

use chassis::PgConnection;
use uuid::Uuid;

use super::copy::Rows;

/// The outcome of a run for an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The payer.
    pub root_id: Uuid,
    /// Total in minor units.
    pub total_minor: i64,
    /// Its invoice; `None` before settlement.
    pub invoice_id: Option<Uuid>,
}

/// Stores the outcomes of a phase that settles nothing.
pub async fn copy(
    db: &mut PgConnection,
    run: Uuid,
    outcomes: impl Iterator<Item = (Uuid, i64)>,
) -> sqlx::Result<()> {
    let mut rows = Rows::new(
        "billing.run_outcomes",
        &["run_id", "root_id", "total_minor"],
    );
    for (root, total) in outcomes {
        rows.row();
        rows.uuid(run);
        rows.uuid(root);
        rows.bigint(total);
    }
    rows.copy(db).await?;
    Ok(())
}

/// Up to `limit` outcomes of a run after `after`, by account.
pub async fn list(
    db: &mut PgConnection,
    run: Uuid,
    after: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Outcome>> {
    sqlx::query_as!(
        Outcome,
        r#"-- billing.run_outcomes.list
        SELECT root_id AS "root_id!", total_minor AS "total_minor!", invoice_id FROM (
            SELECT o.root_id, o.total_minor, NULL::uuid AS invoice_id
            FROM billing.run_outcomes o JOIN billing.runs r ON r.run_id = o.run_id AND r.phase = 'RATE'
            WHERE o.run_id = $1
            UNION ALL
            SELECT i.root_id, i.total_minor, i.invoice_id
            FROM billing.runs r
            JOIN billing.invoices i ON i.period_start = r.period_start AND i.family_code = r.family_code AND i.run_id = r.run_id
            WHERE r.run_id = $1 AND r.phase = 'SETTLE'
        ) o
        WHERE $2::uuid IS NULL OR root_id > $2 ORDER BY root_id LIMIT $3"#,
        run,
        after,
        limit
    )
    .fetch_all(db)
    .await
}

/// The comparison of two runs.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    /// Number of accounts that only the first run invoices.
    pub added: i64,
    /// Number of accounts that only the second run invoices.
    pub removed: i64,
    /// Number of accounts whose totals differ.
    pub changed: i64,
    /// The largest differences: account, total in the first, total in the second.
    pub largest: Vec<(Uuid, i64, i64)>,
}

/// Compares two runs, account by account.
pub async fn compare(db: &mut PgConnection, run: Uuid, other: Uuid) -> sqlx::Result<Comparison> {
    let counts: (i64, i64, i64) = sqlx::query_as(concat!(
        "-- billing.run_outcomes.compare\n",
        "WITH a AS (SELECT root_id, total_minor FROM billing.run_outcomes WHERE run_id = $1
                    UNION SELECT i.root_id, i.total_minor FROM billing.runs r JOIN billing.invoices i
                        ON i.period_start = r.period_start AND i.family_code = r.family_code AND i.run_id = r.run_id WHERE r.run_id = $1),
              b AS (SELECT root_id, total_minor FROM billing.run_outcomes WHERE run_id = $2
                    UNION SELECT i.root_id, i.total_minor FROM billing.runs r JOIN billing.invoices i
                        ON i.period_start = r.period_start AND i.family_code = r.family_code AND i.run_id = r.run_id WHERE r.run_id = $2)
         SELECT count(*) FILTER (WHERE b.root_id IS NULL), count(*) FILTER (WHERE a.root_id IS NULL),
                count(*) FILTER (WHERE a.total_minor <> b.total_minor)
         FROM a FULL JOIN b USING (root_id)"
    ))
    .bind(run)
    .bind(other)
    .fetch_one(&mut *db)
    .await?;
    let largest: Vec<(Uuid, i64, i64)> = sqlx::query_as(concat!(
        "-- billing.run_outcomes.largest_differences\n",
        "WITH a AS (SELECT root_id, total_minor FROM billing.run_outcomes WHERE run_id = $1
                    UNION SELECT i.root_id, i.total_minor FROM billing.runs r JOIN billing.invoices i
                        ON i.period_start = r.period_start AND i.family_code = r.family_code AND i.run_id = r.run_id WHERE r.run_id = $1),
              b AS (SELECT root_id, total_minor FROM billing.run_outcomes WHERE run_id = $2
                    UNION SELECT i.root_id, i.total_minor FROM billing.runs r JOIN billing.invoices i
                        ON i.period_start = r.period_start AND i.family_code = r.family_code AND i.run_id = r.run_id WHERE r.run_id = $2)
         SELECT root_id, coalesce(a.total_minor, 0), coalesce(b.total_minor, 0)
         FROM a FULL JOIN b USING (root_id) WHERE a.total_minor IS DISTINCT FROM b.total_minor
         ORDER BY abs(coalesce(a.total_minor, 0) - coalesce(b.total_minor, 0)) DESC, root_id LIMIT 20"
    ))
    .bind(run)
    .bind(other)
    .fetch_all(db)
    .await?;
    let (added, removed, changed) = counts;
    Ok(Comparison {
        added,
        removed,
        changed,
        largest,
    })
}
