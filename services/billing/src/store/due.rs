//! What is due next, of all that jobs look for.

use chassis::PgConnection;
use chrono::{DateTime, Utc};

/// When a job has work next, up to `until` and at the earliest at `now`; `None` while there is none to come by then.
/// Each part is the condition of one job, which takes it up by itself; what somebody works on, and what is held back,
/// is looked at again when its claim runs out.
#[expect(clippy::too_many_lines, reason = "one statement")]
pub async fn next(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        r#"-- billing.due.next
        WITH here AS (
            -- What the database's clock dates (D20) is looked for up to its instant of the same time.
            SELECT statement_timestamp() + ($2::timestamptz - $1::timestamptz) AS until
        ), due AS MATERIALIZED (
            SELECT least(
                -- work_runs, post_events, look_at_movements, ask_payments; retry_timelines by its claims; and claims
                -- that run out
                $1 - statement_timestamp() + least(
                    (SELECT min(s.leased_until) FROM billing.run_shards s
                     JOIN billing.runs r ON r.run_id = s.run_id AND r.state = 'RUNNING' WHERE NOT s.done),
                    (SELECT min(try_at) FROM billing.unposted_events
                     WHERE posted_at IS NULL AND try_at <= (SELECT h.until FROM here h)),
                    (SELECT min(look_at) FROM billing.collections
                     WHERE state IN ('PENDING', 'AWAITING_SETTLEMENT', 'UNKNOWN', 'PARKED') AND charge_id IS NOT NULL
                       AND look_at <= (SELECT h.until FROM here h)),
                    (SELECT min(look_at) FROM billing.refunds
                     WHERE state IN ('PROCESSING', 'NEEDS_MANUAL') AND payments_refund_id IS NOT NULL
                       AND look_at <= (SELECT h.until FROM here h)),
                    (SELECT min(try_at) FROM billing.collections
                     WHERE state = 'CREATED' AND try_at <= (SELECT h.until FROM here h)),
                    (SELECT min(held_until) FROM billing.job_claims
                     WHERE statement_timestamp() < held_until OR input IS NOT NULL)),
                -- finish_runs
                (SELECT $1::timestamptz WHERE EXISTS (
                    SELECT FROM billing.runs r WHERE r.state = 'RUNNING'
                      AND NOT EXISTS (SELECT FROM billing.run_shards s WHERE s.run_id = r.run_id AND NOT s.done))),
                -- expire_lots: none before the cut-off of a run that has not ended
                (SELECT l.expires_at FROM billing.lots l
                 WHERE l.forfeited_at IS NULL
                   AND l.expires_at <= least($2, (SELECT min(r.cut_off_at) FROM billing.runs r
                                                  WHERE r.state NOT IN ('COMPLETED', 'CANCELLED') AND NOT r.dry_run))
                   AND NOT EXISTS (SELECT FROM billing.job_claims c
                                   WHERE c.job = 'expire_lots' AND c.key = l.root_id::text
                                     AND statement_timestamp() < c.held_until)
                 ORDER BY l.expires_at LIMIT 1),
                -- ask_payments
                (SELECT min(try_at) FROM billing.refunds WHERE state IN ('CREATED', 'RETRYING') AND try_at <= $2),
                -- recharge
                (SELECT look_at FROM billing.auto_recharges
                 WHERE enabled AND look_at <= $2
                   AND NOT EXISTS (SELECT FROM billing.job_claims c
                                   WHERE c.job = 'recharge' AND c.key = root_id::text
                                     AND statement_timestamp() < c.held_until)
                 ORDER BY look_at LIMIT 1),
                -- renew
                (SELECT due_at FROM billing.subscriptions
                 WHERE due_at <= $2
                   AND NOT EXISTS (SELECT FROM billing.job_claims c
                                   WHERE c.job = 'renew' AND c.key = root_id::text || ' ' || family_code
                                     AND statement_timestamp() < c.held_until)
                 ORDER BY due_at LIMIT 1),
                -- destroy_keys
                (SELECT min(destroy_at) FROM billing.retention_keys WHERE destroy_at <= $2),
                -- charge_rentals: one that could not be charged is put off
                (SELECT greatest(next_at, look_at + ($1 - statement_timestamp())) FROM billing.rentals
                 WHERE ended_at IS NULL AND next_at <= $2 AND look_at <= (SELECT h.until FROM here h)
                   AND NOT EXISTS (SELECT FROM billing.job_claims c
                                   WHERE c.job = 'charge_rentals' AND c.key = rental_id::text
                                     AND statement_timestamp() < c.held_until)
                 ORDER BY next_at LIMIT 1),
                -- dun
                (SELECT next_at FROM billing.dunnings
                 WHERE next_at <= $2
                   AND NOT EXISTS (SELECT FROM billing.job_claims c
                                   WHERE c.job = 'dun' AND c.key = invoice_id::text
                                     AND statement_timestamp() < c.held_until)
                 ORDER BY next_at LIMIT 1),
                -- invoice_usage
                (SELECT next_at FROM billing.usage_bills
                 WHERE next_at <= $2
                   AND NOT EXISTS (SELECT FROM billing.job_claims c
                                   WHERE c.job = 'invoice_usage' AND c.key = root_id::text
                                     AND statement_timestamp() < c.held_until)
                 ORDER BY next_at LIMIT 1)) AS at)
        SELECT CASE WHEN at <= $2 THEN greatest($1, at) END AS at FROM due"#,
        now,
        until
    )
    .fetch_one(db)
    .await
}
