//! `billing.collections`, `billing.collection_lines` and `billing.collection_taxes`

use chassis::PgConnection;
use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use crate::domain::collection::{LineKind, Purpose, State};

chassis::stored_as_text!(Purpose, "billing.collections.purpose");
chassis::stored_as_text!(State, "billing.collections.state");
chassis::stored_as_text!(LineKind, "billing.collection_lines.kind");

/// A collection: an amount requested from an account, or invoiced to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// The root account.
    pub root_id: Uuid,
    /// Its id. Its charge refers to it, and the invoice it issues has the same id.
    pub collection_id: Uuid,
    /// The order it pays for; `None` for a recharge or a renewal.
    pub order_id: Option<Uuid>,
    /// The open invoice it pays; `None` if it issues one.
    pub invoice_id: Option<Uuid>,
    /// What it is for.
    pub purpose: Purpose,
    /// The state of its current attempt.
    pub state: State,
    /// The currency.
    pub currency: String,
    /// Total in minor units, tax included.
    pub total_minor: i64,
    /// The requested payment method; `None` if none was requested.
    pub method_id: Option<Uuid>,
    /// The payment method chosen for an off-session charge; `None` for the account's default method.
    pub chosen_method_id: Option<Uuid>,
    /// The intent of the current attempt.
    pub intent_id: Uuid,
    /// Number of the current attempt, from 1.
    pub attempt_number: i32,
    /// The charge of the current attempt.
    pub charge_id: Option<Uuid>,
    /// Failure reason; empty unless declined.
    pub failure_reason: String,
    /// URL where the customer confirms the payment; empty if not needed.
    pub action_url: String,
    /// The catalogue version it was quoted from.
    pub catalogue_version: String,
    /// Creation time.
    pub created_at: DateTime<Utc>,
}

impl Collection {
    /// Whether the charge is on-session: the customer ordered it, or pays a renewal or an invoice with a method of
    /// their choice.
    pub fn is_attended(&self) -> bool {
        match self.purpose {
            Purpose::Order => true,
            Purpose::Renewal => self.method_id.is_some(),
            Purpose::Invoice => self.order_id.is_some(),
            Purpose::Recharge | Purpose::Usage => false,
        }
    }
}

/// One line of a collection, net of tax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it pays for.
    pub kind: LineKind,
    /// The plan; empty if none.
    pub plan_code: String,
    /// The billing cycle; empty if none.
    pub cycle_code: String,
    /// Minor units.
    pub amount_minor: i64,
    /// Explanation of the amount; may be empty.
    pub formula: String,
    /// The family whose time zone determines its days; empty for the profile's zone.
    pub family_code: String,
    /// Months in the paid cycle; 0 if none.
    pub cycle_months: i32,
    /// First day of its period; `None` until it is posted.
    pub start_on: Option<NaiveDate>,
    /// Day after its period; `None` until it is posted, or for a whole cycle.
    pub end_on: Option<NaiveDate>,
}

impl Line {
    /// A line of a kind for an amount in minor units, of no plan and without a period.
    pub const fn plain(kind: LineKind, amount_minor: i64) -> Self {
        Self {
            kind,
            plan_code: String::new(),
            cycle_code: String::new(),
            amount_minor,
            formula: String::new(),
            family_code: String::new(),
            cycle_months: 0,
            start_on: None,
            end_on: None,
        }
    }
}

/// One tax of a collection or an invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tax {
    /// Tax code, such as IGST.
    pub tax_code: String,
    /// Rate in basis points.
    pub rate_bps: i64,
    /// Minor units.
    pub amount_minor: i64,
}

/// Adds a collection with its lines and taxes. A job asks for its charge after `wait_seconds` unless someone has
/// before.
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
        collection.state.as_str(),
        collection.currency,
        collection.total_minor,
        collection.method_id,
        collection.intent_id,
        collection.attempt_number,
        collection.catalogue_version,
        collection.created_at,
        wait_seconds,
        collection.purpose.as_str(),
        collection.invoice_id
    )
    .execute(&mut *db)
    .await?;
    for (line, number) in lines.iter().zip(1_i16..) {
        sqlx::query!(
            "-- billing.collection_lines.insert
            INSERT INTO billing.collection_lines (collection_id, line_number, kind, plan_code, cycle_code, amount_minor,
                                                  formula, family_code, cycle_months, start_on, end_on)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            collection.collection_id,
            number,
            line.kind.as_str(),
            line.plan_code,
            line.cycle_code,
            line.amount_minor,
            line.formula,
            line.family_code,
            line.cycle_months,
            line.start_on,
            line.end_on
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
        SELECT root_id, collection_id, order_id, invoice_id, purpose, state, currency, total_minor, method_id,
               chosen_method_id, intent_id, attempt_number, charge_id, failure_reason, action_url, catalogue_version,
               created_at
        FROM billing.collections WHERE collection_id = $1",
        id
    )
    .fetch_optional(db)
    .await
}

/// The collection that requested a charge.
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

/// A charge that paid an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaidBy {
    /// The charge.
    pub charge_id: Uuid,
    /// Amount not returned by refunds or disputes, in minor units.
    pub left_minor: i64,
}

/// The charge that paid an invoice: the charge of the purchase it was issued for, or the last one that paid it while
/// open.
pub async fn charge_of_invoice(
    db: &mut PgConnection,
    (root, invoice): (Uuid, Uuid),
) -> sqlx::Result<Option<PaidBy>> {
    sqlx::query_as!(
        PaidBy,
        r#"-- billing.collections.charge_of_invoice
        SELECT c.charge_id AS "charge_id!",
               (c.total_minor
                - (SELECT coalesce(sum(r.amount_minor), 0)::bigint FROM billing.refunds r
                   WHERE r.root_id = c.root_id AND r.charge_id = c.charge_id AND r.state <> 'UNDONE')
                - (SELECT coalesce(sum(d.withheld_minor), 0)::bigint FROM billing.disputes d
                   WHERE d.root_id = c.root_id AND d.collection_id = c.collection_id)) AS "left_minor!"
        FROM billing.collections c
        WHERE c.root_id = $1 AND (c.collection_id = $2 OR c.invoice_id = $2) AND c.state = 'SUCCEEDED'
          AND c.charge_id IS NOT NULL
        ORDER BY c.created_at DESC LIMIT 1"#,
        root,
        invoice
    )
    .fetch_optional(db)
    .await
}

/// The collection `id`; locks the row.
pub async fn lock(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Collection>> {
    sqlx::query_as!(
        Collection,
        "-- billing.collections.lock
        SELECT root_id, collection_id, order_id, invoice_id, purpose, state, currency, total_minor, method_id,
               chosen_method_id, intent_id, attempt_number, charge_id, failure_reason, action_url, catalogue_version,
               created_at
        FROM billing.collections WHERE collection_id = $1 FOR UPDATE",
        id
    )
    .fetch_optional(db)
    .await
}

/// The collection of an order; locks the row.
pub async fn lock_of_order(db: &mut PgConnection, order: Uuid) -> sqlx::Result<Option<Collection>> {
    sqlx::query_as!(
        Collection,
        "-- billing.collections.lock_of_order
        SELECT root_id, collection_id, order_id, invoice_id, purpose, state, currency, total_minor, method_id,
               chosen_method_id, intent_id, attempt_number, charge_id, failure_reason, action_url, catalogue_version,
               created_at
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
        SELECT kind, plan_code, cycle_code, amount_minor, formula, family_code, cycle_months, start_on, end_on
        FROM billing.collection_lines WHERE collection_id = $1 ORDER BY line_number",
        id
    )
    .fetch_all(db)
    .await
}

/// Sets the period of a line, by its number from 1.
pub async fn set_days(
    db: &mut PgConnection,
    (id, number): (Uuid, i16),
    (start_on, end_on): (NaiveDate, NaiveDate),
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.collection_lines.set_days
        UPDATE billing.collection_lines SET start_on = $3, end_on = $4 WHERE collection_id = $1 AND line_number = $2",
        id,
        number,
        start_on,
        end_on
    )
    .execute(db)
    .await?;
    Ok(())
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

/// The outcome of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// The state.
    pub state: State,
    /// The charge.
    pub charge_id: Option<Uuid>,
    /// Failure reason; empty unless declined.
    pub failure_reason: &'a str,
    /// URL where the customer confirms the payment; empty if not needed.
    pub action_url: &'a str,
}

/// Sets the overpaid part of an invoice payment, in minor units.
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

/// The overpaid part of an invoice payment, in minor units.
pub async fn overpaid(db: &mut PgConnection, id: Uuid) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        "-- billing.collections.overpaid
        SELECT overpaid_minor FROM billing.collections WHERE collection_id = $1",
        id
    )
    .fetch_one(db)
    .await
}

/// Stores the outcome of an attempt. The collection is locked.
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
        outcome.state.as_str(),
        outcome.charge_id,
        outcome.failure_reason,
        outcome.action_url,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Starts the next attempt of a declined collection, which is locked. The attempt number rises only if the last
/// attempt made a charge.
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
            try_at = clock_timestamp() + make_interval(secs => $4::int),
            look_at = clock_timestamp() + interval '10 minutes'
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

/// Sets the payment method of the current off-session attempt.
pub async fn set_chosen_method(
    db: &mut PgConnection,
    id: Uuid,
    method: Option<Uuid>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.collections.set_chosen_method
        UPDATE billing.collections SET chosen_method_id = $2 WHERE collection_id = $1",
        id,
        method
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Sets the payment method that paid a collection.
pub async fn set_paid_method(db: &mut PgConnection, id: Uuid, method: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.collections.set_paid_method
        UPDATE billing.collections SET paid_method_id = $2 WHERE collection_id = $1",
        id,
        method
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The payment method that paid for the newest cycle of a root account's subscription in a family. An older cycle whose
/// payment arrives later does not bring its method back. Lines written before families were recorded count for every
/// family.
pub async fn paid_by(
    db: &mut PgConnection,
    (root, family): (Uuid, &str),
) -> sqlx::Result<Option<Uuid>> {
    let found = sqlx::query_scalar!(
        "-- billing.collections.paid_by
        SELECT coalesce(c.paid_method_id, c.method_id) FROM billing.collections c
        JOIN billing.collection_lines l ON l.collection_id = c.collection_id
        WHERE c.root_id = $1 AND c.state = 'SUCCEEDED' AND coalesce(c.paid_method_id, c.method_id) IS NOT NULL
          AND l.kind = 'SUBSCRIPTION' AND l.family_code IN ($2, '')
        ORDER BY l.start_on DESC NULLS LAST, c.updated_at DESC, c.collection_id DESC LIMIT 1",
        root,
        family
    )
    .fetch_optional(db)
    .await?;
    Ok(found.flatten())
}

/// Up to `limit` collections whose charge is due to be requested. Each is reserved for `wait_seconds`.
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

/// Up to `limit` undecided charges without an event for ten minutes, and then every hour: root account and charge id.
/// Each is reserved for an hour.
pub async fn take_to_look_at(db: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<(Uuid, Uuid)>> {
    let rows = sqlx::query!(
        r#"-- billing.collections.take_to_look_at
        UPDATE billing.collections SET look_at = clock_timestamp() + interval '1 hour'
        WHERE collection_id IN (
            SELECT collection_id FROM billing.collections
            WHERE state IN ('PENDING', 'AWAITING_SETTLEMENT', 'UNKNOWN', 'PARKED') AND charge_id IS NOT NULL
              AND look_at <= clock_timestamp()
            ORDER BY look_at LIMIT $1 FOR UPDATE SKIP LOCKED)
        RETURNING root_id, charge_id AS "charge_id!""#,
        limit
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.root_id, row.charge_id))
        .collect())
}

/// The part of a collection that is compared with its charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// Its id.
    pub collection_id: Uuid,
    /// The root account.
    pub root_id: Uuid,
    /// The state of its current attempt.
    pub state: State,
    /// Failure reason; empty unless declined.
    pub failure_reason: String,
    /// Number of the current attempt, from 1.
    pub attempt_number: i32,
    /// The charge of the current attempt.
    pub charge_id: Option<Uuid>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
}

/// The collections among `ids`.
pub async fn compared(db: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<Vec<Compared>> {
    sqlx::query_as!(
        Compared,
        "-- billing.collections.compared
        SELECT collection_id, root_id, state, failure_reason, attempt_number, charge_id, created_at
        FROM billing.collections WHERE collection_id = ANY($1)",
        ids
    )
    .fetch_all(db)
    .await
}

/// Up to `limit` collections with a charge, created from `from` until before `until`, of one root account or of all,
/// after `after`, oldest first.
pub async fn charged_between(
    db: &mut PgConnection,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
    (root, after): (Option<Uuid>, Option<(DateTime<Utc>, Uuid)>),
    limit: i64,
) -> sqlx::Result<Vec<Compared>> {
    let (created_at, id) = after.unzip();
    sqlx::query_as!(
        Compared,
        "-- billing.collections.charged_between
        SELECT collection_id, root_id, state, failure_reason, attempt_number, charge_id, created_at
        FROM billing.collections
        WHERE $1 <= created_at AND created_at < $2 AND charge_id IS NOT NULL AND ($3::uuid IS NULL OR root_id = $3)
          AND ($4::timestamptz IS NULL OR (created_at, collection_id) > ($4, $5::uuid))
        ORDER BY created_at, collection_id LIMIT $6",
        from,
        until,
        root,
        created_at,
        id,
        limit
    )
    .fetch_all(db)
    .await
}

/// Whether any charge is still to be requested.
pub async fn any_to_ask(db: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- billing.collections.any_to_ask
        SELECT EXISTS (SELECT FROM billing.collections WHERE state = 'CREATED') AS "any!""#
    )
    .fetch_one(db)
    .await
}

/// Whether any collection of a root account is undecided.
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

/// The undecided collection that pays an invoice, if any: one for the invoice, or that of the cycle which it bills.
pub async fn paying(db: &mut PgConnection, invoice: Uuid) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        r#"-- billing.collections.paying
        SELECT collection_id AS "collection_id!" FROM billing.collections
        WHERE invoice_id = $1 AND state NOT IN ('SUCCEEDED', 'DECLINED')
        UNION ALL
        SELECT collection_id FROM billing.collections
        WHERE collection_id = $1 AND state NOT IN ('SUCCEEDED', 'DECLINED', 'INVOICED')
        LIMIT 1"#,
        invoice
    )
    .fetch_optional(db)
    .await
}

/// The number of recharges of an account since `since` that were not declined, and the time of the last recharge of
/// any outcome.
pub async fn recharges(
    db: &mut PgConnection,
    root: Uuid,
    since: DateTime<Utc>,
) -> sqlx::Result<(i64, Option<DateTime<Utc>>)> {
    let row = sqlx::query!(
        r#"-- billing.collections.recharges
        SELECT count(*) FILTER (WHERE $2 <= created_at
                                  AND (state <> 'DECLINED' OR failure_reason = 'SETTLED_AMOUNT_DIFFERS')) AS "made!", max(created_at) AS last
        FROM billing.collections WHERE root_id = $1 AND purpose = 'RECHARGE'"#,
        root,
        since
    )
    .fetch_one(db)
    .await?;
    Ok((row.made, row.last))
}

/// The number of recharges of an account that succeeded after `since` and were started after the owner last changed
/// the setting.
pub async fn recharges_succeeded(
    db: &mut PgConnection,
    root: Uuid,
    since: DateTime<Utc>,
) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"-- billing.collections.recharges_succeeded
        SELECT count(*) AS "count!"
        FROM billing.collections c JOIN billing.auto_recharges r ON r.root_id = c.root_id
        WHERE c.root_id = $1 AND c.purpose = 'RECHARGE' AND $2 < c.updated_at
          AND (c.state = 'SUCCEEDED' OR c.failure_reason = 'SETTLED_AMOUNT_DIFFERS')
          AND r.set_at <= c.created_at"#,
        root,
        since
    )
    .fetch_one(db)
    .await
}

/// The undecided recharge of an account, if any.
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
