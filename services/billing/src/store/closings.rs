//! `billing.closings` and `billing.closing_periods`

use chassis::PgConnection;
use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use crate::domain::closing::State;

chassis::stored_as_text!(State, "billing.closings.state");

/// Key of the advisory lock between creation of billing runs and closing of accounts.
const RUNS: i64 = 0x636c_6f73;

/// The closing of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// The root account.
    pub root_id: Uuid,
    /// Its state.
    pub state: State,
    /// The instant of closing.
    pub close_at: DateTime<Utc>,
    /// The currency.
    pub currency: String,
    /// Sum of the final invoices in minor units.
    pub settlement_minor: i64,
    /// Sum of the refunds in minor units, tax included.
    pub refund_minor: i64,
    /// Forfeited credit in millionths.
    pub forfeited_micros: i64,
    /// Day by which the refunds are paid out; `None` without a refund.
    pub due_on: Option<NaiveDate>,
    /// The intent of its refunds.
    pub intent_id: Uuid,
    /// The last invoice, if any.
    pub invoice_id: Option<Uuid>,
    /// The catalogue version it was settled by.
    pub catalogue_version: String,
    /// When it was prepared.
    pub prepared_at: DateTime<Utc>,
    /// When it was settled.
    pub settled_at: Option<DateTime<Utc>>,
}

impl Closing {
    /// Whether it is settled: the account is closed.
    pub fn is_settled(&self) -> bool {
        self.state == State::Settled
    }

    /// Whether it is prepared and not settled.
    pub fn is_prepared(&self) -> bool {
        self.state == State::Prepared
    }
}

/// The closing of a root account.
pub async fn get(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Option<Closing>> {
    sqlx::query_as!(
        Closing,
        "-- billing.closings.get
        SELECT root_id, state, close_at, currency, settlement_minor, refund_minor, forfeited_micros, due_on, intent_id,
               invoice_id, catalogue_version, prepared_at, settled_at
        FROM billing.closings WHERE root_id = $1",
        root
    )
    .fetch_optional(db)
    .await
}

/// Whether a root account is closing or closed. The caller holds the lock of its balance.
pub async fn stands(db: &mut PgConnection, root: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- billing.closings.stands
        SELECT EXISTS (SELECT FROM billing.closings WHERE root_id = $1 AND state <> 'ABORTED') AS "stands!""#,
        root
    )
    .fetch_one(db)
    .await
}

/// The roots among `roots` whose closing is settled.
pub async fn among(db: &mut PgConnection, roots: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "-- billing.closings.among
        SELECT root_id FROM billing.closings WHERE root_id = ANY($1) AND state = 'SETTLED'",
        roots
    )
    .fetch_all(db)
    .await
}

/// Inserts or replaces the closing of a root account.
pub async fn set(db: &mut PgConnection, it: &Closing) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.closings.set
        INSERT INTO billing.closings (root_id, state, close_at, currency, settlement_minor, refund_minor, forfeited_micros,
                                      due_on, intent_id, invoice_id, catalogue_version, prepared_at, settled_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        ON CONFLICT (root_id) DO UPDATE
        SET state = $2, close_at = $3, settlement_minor = $5, refund_minor = $6, forfeited_micros = $7, due_on = $8,
            intent_id = $9, invoice_id = $10, catalogue_version = $11, prepared_at = $12, settled_at = $13",
        it.root_id,
        it.state.as_str(),
        it.close_at,
        it.currency,
        it.settlement_minor,
        it.refund_minor,
        it.forfeited_micros,
        it.due_on,
        it.intent_id,
        it.invoice_id,
        it.catalogue_version,
        it.prepared_at,
        it.settled_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Records that a closing has settled a month.
pub async fn insert_period(
    db: &mut PgConnection,
    (family, period_start): (&str, NaiveDate),
    root: Uuid,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.closing_periods.insert
        INSERT INTO billing.closing_periods (family_code, period_start, root_id) VALUES ($1, $2, $3)",
        family,
        period_start,
        root
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The root accounts from `low` to `high` whose month a closing has settled.
pub async fn settled(
    db: &mut PgConnection,
    (family, period_start): (&str, NaiveDate),
    (low, high): (Uuid, Uuid),
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "-- billing.closing_periods.settled
        SELECT root_id FROM billing.closing_periods
        WHERE family_code = $1 AND period_start = $2 AND root_id BETWEEN $3 AND $4",
        family,
        period_start,
        low,
        high
    )
    .fetch_all(db)
    .await
}

/// Blocks the creation of billing runs until the end of the transaction, so that a month is settled either by a
/// closing or by its run.
pub async fn hold_runs(db: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.closings.hold_runs\nSELECT pg_advisory_xact_lock_shared($1)",
        RUNS
    )
    .fetch_one(db)
    .await?;
    Ok(())
}

/// Waits for closings in progress and blocks others until the end of the transaction.
pub async fn hold_closings(db: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.closings.hold_closings\nSELECT pg_advisory_xact_lock($1)",
        RUNS
    )
    .fetch_one(db)
    .await?;
    Ok(())
}
