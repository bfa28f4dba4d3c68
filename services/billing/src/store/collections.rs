//! `billing.collections`, `billing.collection_lines` and `billing.collection_taxes`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// Money asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// The root account.
    pub root_id: Uuid,
    /// Its id, by which its charge and its invoice are known too.
    pub collection_id: Uuid,
    /// The order; `None` for a recharge or a renewal.
    pub order_id: Option<Uuid>,
    /// The open invoice that it pays; `None` where it makes one.
    pub invoice_id: Option<Uuid>,
    /// ORDER, RECHARGE, RENEWAL, INVOICE or USAGE.
    pub purpose: String,
    /// CREATED, PENDING, `AWAITING_SETTLEMENT`, UNKNOWN, PARKED, SUCCEEDED, DECLINED or INVOICED.
    pub state: String,
    /// The currency.
    pub currency: String,
    /// What is charged, tax included.
    pub total_minor: i64,
    /// The payment method asked for; `None` for the account's default one.
    pub method_id: Option<Uuid>,
    /// The intent that this attempt is of.
    pub intent_id: Uuid,
    /// Which attempt to charge.
    pub attempt_number: i32,
    /// The charge of that attempt.
    pub charge_id: Option<Uuid>,
    /// Why it was declined.
    pub failure_reason: String,
    /// Where the person confirms.
    pub action_url: String,
    /// The catalogue version that it was quoted from.
    pub catalogue_version: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

impl Collection {
    /// Whether somebody is there to confirm: who orders, or pays a renewal or an invoice by a method of their choice.
    pub fn is_attended(&self) -> bool {
        match self.purpose.as_str() {
            "ORDER" => true,
            "RENEWAL" => self.method_id.is_some(),
            "INVOICE" => self.order_id.is_some(),
            _ => false,
        }
    }

    /// Whether its money has arrived, or will not by this attempt.
    pub fn is_decided(&self) -> bool {
        matches!(self.state.as_str(), "SUCCEEDED" | "DECLINED" | "INVOICED")
    }
}

/// One thing that is paid for, net.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What, such as CREDITS.
    pub kind: String,
    /// The plan; empty for none.
    pub plan_code: String,
    /// The cycle; empty for none.
    pub cycle_code: String,
    /// Minor units.
    pub amount_minor: i64,
    /// How they were computed, in words; empty for nothing to say.
    pub formula: String,
}

/// One tax on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tax {
    /// Which, such as IGST.
    pub tax_code: String,
    /// Its rate in basis points.
    pub rate_bps: i64,
    /// Minor units.
    pub amount_minor: i64,
}

/// Adds a collection with its lines and taxes; a job asks for its charge after `wait_seconds`, where
/// nobody has asked before.
pub async fn insert(
    db: &mut PgConnection,
    collection: &Collection,
    (lines, taxes): (&[Line], &[Tax]),
    wait_seconds: i32,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.collections.insert
        INSERT INTO billing.collections (root_id, collection_id, order_id, state, currency, total_minor, method_id,
            intent_id, attempt_number, catalogue_version, created_at, updated_at, try_at, purpose, invoice_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, clock_timestamp() + make_interval(secs => $12::int),
                $13, $14)",
        collection.root_id,
        collection.collection_id,
        collection.order_id,
        collection.state,
        collection.currency,
        collection.total_minor,
        collection.method_id,
        collection.intent_id,
        collection.attempt_number,
        collection.catalogue_version,
        collection.created_at,
        wait_seconds,
        collection.purpose,
        collection.invoice_id
    )
    .execute(&mut *db)
    .await?;
    for (line, number) in lines.iter().zip(1_i16..) {
        sqlx::query!(
            "-- billing.collection_lines.insert
            INSERT INTO billing.collection_lines (collection_id, line_number, kind, plan_code, cycle_code, amount_minor,
                                                  formula)
            VALUES ($1, $2, $3, $4, $5, $6, $7)",
            collection.collection_id,
            number,
            line.kind,
            line.plan_code,
            line.cycle_code,
            line.amount_minor,
            line.formula
        )
        .execute(&mut *db)
        .await?;
    }
    for (tax, number) in taxes.iter().zip(1_i16..) {
        sqlx::query!(
            "-- billing.collection_taxes.insert
            INSERT INTO billing.collection_taxes (collection_id, line_number, tax_code, rate_bps, amount_minor)
            VALUES ($1, $2, $3, $4, $5)",
            collection.collection_id,
            number,
            tax.tax_code,
            tax.rate_bps,
            tax.amount_minor
        )
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

/// The collection `id`.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Collection>> {
    sqlx::query_as!(
        Collection,
        "-- billing.collections.get
        SELECT root_id, collection_id, order_id, invoice_id, purpose, state, currency, total_minor, method_id, intent_id,
               attempt_number, charge_id, failure_reason, action_url, catalogue_version, created_at
        FROM billing.collections WHERE collection_id = $1",
        id
    )
    .fetch_optional(db)
    .await
}

/// The collection that a charge was asked for by.
pub async fn of_charge(db: &mut PgConnection, charge: Uuid) -> sqlx::Result<Option<Collection>> {
    let id = sqlx::query_scalar!(
        "-- billing.collections.of_charge\nSELECT collection_id FROM billing.collections WHERE charge_id = $1",
        charge
    )
    .fetch_optional(&mut *db)
    .await?;
    match id {
        Some(id) => get(db, id).await,
        None => Ok(None),
    }
}

/// The collection `id`, locked.
pub async fn lock(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Collection>> {
    sqlx::query_as!(
        Collection,
        "-- billing.collections.lock
        SELECT root_id, collection_id, order_id, invoice_id, purpose, state, currency, total_minor, method_id, intent_id,
               attempt_number, charge_id, failure_reason, action_url, catalogue_version, created_at
        FROM billing.collections WHERE collection_id = $1 FOR UPDATE",
        id
    )
    .fetch_optional(db)
    .await
}

/// The collection of an order, locked.
pub async fn lock_of_order(db: &mut PgConnection, order: Uuid) -> sqlx::Result<Option<Collection>> {
    sqlx::query_as!(
        Collection,
        "-- billing.collections.lock_of_order
        SELECT root_id, collection_id, order_id, invoice_id, purpose, state, currency, total_minor, method_id, intent_id,
               attempt_number, charge_id, failure_reason, action_url, catalogue_version, created_at
        FROM billing.collections WHERE order_id = $1 FOR UPDATE",
        order
    )
    .fetch_optional(db)
    .await
}

/// The lines of a collection, in order.
pub async fn lines(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Vec<Line>> {
    sqlx::query_as!(
        Line,
        "-- billing.collection_lines.list
        SELECT kind, plan_code, cycle_code, amount_minor, formula FROM billing.collection_lines
        WHERE collection_id = $1 ORDER BY line_number",
        id
    )
    .fetch_all(db)
    .await
}

/// The taxes of a collection, in order.
pub async fn taxes(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Vec<Tax>> {
    sqlx::query_as!(
        Tax,
        "-- billing.collection_taxes.list
        SELECT tax_code, rate_bps, amount_minor FROM billing.collection_taxes
        WHERE collection_id = $1 ORDER BY line_number",
        id
    )
    .fetch_all(db)
    .await
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// The state.
    pub state: &'a str,
    /// The charge.
    pub charge_id: Option<Uuid>,
    /// Why it was declined.
    pub failure_reason: &'a str,
    /// Where the person confirms.
    pub action_url: &'a str,
}

/// Notes how much of a payment its invoice did not need.
pub async fn set_overpaid(db: &mut PgConnection, id: Uuid, minor: i64) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.collections.set_overpaid
        UPDATE billing.collections SET overpaid_minor = $2 WHERE collection_id = $1",
        id,
        minor
    )
    .execute(db)
    .await?;
    Ok(())
}

/// How much of a payment its invoice did not need.
pub async fn overpaid(db: &mut PgConnection, id: Uuid) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        "-- billing.collections.overpaid
        SELECT overpaid_minor FROM billing.collections WHERE collection_id = $1",
        id
    )
    .fetch_one(db)
    .await
}

/// Keeps what became of the attempt of a collection that is locked.
pub async fn set_outcome(
    db: &mut PgConnection,
    id: Uuid,
    outcome: &Outcome<'_>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.collections.set_outcome
        UPDATE billing.collections
        SET state = $2, charge_id = $3, failure_reason = $4, action_url = $5, updated_at = $6
        WHERE collection_id = $1",
        id,
        outcome.state,
        outcome.charge_id,
        outcome.failure_reason,
        outcome.action_url,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Begins the next attempt of a collection that was declined and is locked; a charge that was made
/// counts as one.
pub async fn try_again(
    db: &mut PgConnection,
    id: Uuid,
    (method, intent): (Option<Uuid>, Uuid),
    (wait_seconds, now): (i32, DateTime<Utc>),
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.collections.try_again
        UPDATE billing.collections
        SET state = 'CREATED', method_id = $2, intent_id = $5, failure_reason = '', action_url = '', updated_at = $3,
            attempt_number = attempt_number + CASE WHEN charge_id IS NULL THEN 0 ELSE 1 END, charge_id = NULL,
            try_at = clock_timestamp() + make_interval(secs => $4::int)
        WHERE collection_id = $1",
        id,
        method,
        now,
        wait_seconds,
        intent
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` collections whose charge is to be asked for now; nobody else gets them for
/// `wait_seconds`.
pub async fn take_to_ask(
    db: &mut PgConnection,
    limit: i64,
    wait_seconds: i32,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "-- billing.collections.take_to_ask
        UPDATE billing.collections SET try_at = clock_timestamp() + make_interval(secs => $2::int)
        WHERE collection_id IN (
            SELECT collection_id FROM billing.collections WHERE state = 'CREATED' AND try_at <= clock_timestamp()
            ORDER BY try_at LIMIT $1 FOR UPDATE SKIP LOCKED)
        RETURNING collection_id",
        limit,
        wait_seconds
    )
    .fetch_all(db)
    .await
}

/// Whether the charge of some collection is to be asked for.
pub async fn any_to_ask(db: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- billing.collections.any_to_ask
        SELECT EXISTS (SELECT FROM billing.collections WHERE state = 'CREATED') AS "any!""#
    )
    .fetch_one(db)
    .await
}

/// Whether the outcome of a collection of a root account is not known yet.
pub async fn any_undecided(db: &mut PgConnection, root: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- billing.collections.any_undecided
        SELECT EXISTS (SELECT FROM billing.collections
                       WHERE root_id = $1 AND state NOT IN ('SUCCEEDED', 'DECLINED', 'INVOICED')) AS "any!""#,
        root
    )
    .fetch_one(db)
    .await
}

/// What pays an invoice and is not decided yet.
pub async fn paying(db: &mut PgConnection, invoice: Uuid) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "-- billing.collections.paying
        SELECT collection_id FROM billing.collections
        WHERE invoice_id = $1 AND state NOT IN ('SUCCEEDED', 'DECLINED')",
        invoice
    )
    .fetch_optional(db)
    .await
}

/// The recharges of an account: how many were made since `since` and not declined, and when the last
/// one of all was made.
pub async fn recharges(
    db: &mut PgConnection,
    root: Uuid,
    since: DateTime<Utc>,
) -> sqlx::Result<(i64, Option<DateTime<Utc>>)> {
    let row = sqlx::query!(
        r#"-- billing.collections.recharges
        SELECT count(*) FILTER (WHERE $2 <= created_at AND state <> 'DECLINED') AS "made!", max(created_at) AS last
        FROM billing.collections WHERE root_id = $1 AND purpose = 'RECHARGE'"#,
        root,
        since
    )
    .fetch_one(db)
    .await?;
    Ok((row.made, row.last))
}

/// The recharge under way of an account.
pub async fn recharge_under_way(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "-- billing.collections.recharge_under_way
        SELECT collection_id FROM billing.collections
        WHERE root_id = $1 AND purpose = 'RECHARGE' AND state NOT IN ('SUCCEEDED', 'DECLINED')",
        root
    )
    .fetch_optional(db)
    .await
}

/// Forgets the pages at which the payer of a root account was to allow payments.
pub async fn erase(db: &mut PgConnection, root: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.collections.erase
        UPDATE billing.collections SET action_url = '' WHERE root_id = $1 AND action_url <> ''",
        root
    )
    .execute(db)
    .await?;
    Ok(())
}
