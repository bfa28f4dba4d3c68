//! `account.orders`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::order::{Standing, State};

pub use crate::domain::order::Order;

impl Order {
    /// What decides what it may do next.
    pub fn standing(&self) -> sqlx::Result<Standing> {
        let state = match self.state.as_str() {
            "QUOTED" => State::Quoted,
            "CONFIRMED" => State::Confirmed,
            "COMMITTING" => State::Committing,
            "AWAITING_PAYMENT" => State::AwaitingPayment,
            "AWAITING_SETTLEMENT" => State::AwaitingSettlement,
            "COMPLETED" => State::Completed,
            "FAILED" => State::Failed,
            "EXPIRED" => State::Expired,
            _ => return Err(sqlx::Error::Decode("state of an order".into())),
        };
        Ok(Standing {
            state,
            required: self.confirmations_required,
            given: self.confirmations_given,
            expires_at: self.expires_at,
        })
    }
}

/// The name of a state in its column.
const fn name(state: State) -> &'static str {
    match state {
        State::Quoted => "QUOTED",
        State::Confirmed => "CONFIRMED",
        State::Committing => "COMMITTING",
        State::AwaitingPayment => "AWAITING_PAYMENT",
        State::AwaitingSettlement => "AWAITING_SETTLEMENT",
        State::Completed => "COMPLETED",
        State::Failed => "FAILED",
        State::Expired => "EXPIRED",
    }
}

/// Adds an order.
pub async fn insert(db: &mut PgConnection, order: &Order) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.orders.insert
        INSERT INTO account.orders (root_id, account_id, order_id, kind, state, by_operator, actor, family_code,
            from_plan_code, to_plan_code, billing_cycle_code, effect, effective_at, billing_on, timeline_etag,
            catalogue_version, action_label, warnings, lines, confirmations_required, confirmations_given, created_at,
            expires_at, method_id, auto_recharge, offer_id, item)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
                $24, $25, $26, $27)",
        order.root_id,
        order.account_id,
        order.order_id,
        order.kind,
        order.state,
        order.by_operator,
        order.actor,
        order.family_code,
        order.from_plan_code,
        order.to_plan_code,
        order.billing_cycle_code,
        order.effect,
        order.effective_at,
        order.billing_on,
        order.timeline_etag,
        order.catalogue_version,
        order.action_label,
        &order.warnings,
        order.lines,
        order.confirmations_required,
        order.confirmations_given,
        order.created_at,
        order.expires_at,
        order.method_id,
        order.auto_recharge,
        order.offer_id,
        order.item
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The order `id`.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Order>> {
    sqlx::query_as!(
        Order,
        "-- account.orders.get
        SELECT root_id, account_id, order_id, kind, state, by_operator, actor, family_code, from_plan_code, to_plan_code,
               billing_cycle_code, effect, effective_at, billing_on, timeline_etag, catalogue_version, action_label,
               warnings, lines, confirmations_required, confirmations_given, created_at, expires_at, committed_at,
               completed_at, failure_reason, method_id, collection_id, invoice_id, auto_recharge,
               offer_id, item, resource_id
        FROM account.orders WHERE order_id = $1",
        id
    )
    .fetch_optional(db)
    .await
}

/// The order `id`, locked.
pub async fn lock(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Order>> {
    sqlx::query_as!(
        Order,
        "-- account.orders.lock
        SELECT root_id, account_id, order_id, kind, state, by_operator, actor, family_code, from_plan_code, to_plan_code,
               billing_cycle_code, effect, effective_at, billing_on, timeline_etag, catalogue_version, action_label,
               warnings, lines, confirmations_required, confirmations_given, created_at, expires_at, committed_at,
               completed_at, failure_reason, method_id, collection_id, invoice_id, auto_recharge,
               offer_id, item, resource_id
        FROM account.orders WHERE order_id = $1 FOR UPDATE",
        id
    )
    .fetch_optional(db)
    .await
}

/// Keeps how an order stands; `now` is kept as the time of its commit. Whoever commits it carries it out, and a
/// job only where that was cut short.
pub async fn set_standing(
    db: &mut PgConnection,
    id: Uuid,
    standing: Standing,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let committed = (standing.state == State::Committing).then_some(now);
    sqlx::query!(
        "-- account.orders.set_standing
        UPDATE account.orders
        SET state = $2, confirmations_given = $3, committed_at = coalesce(committed_at, $4),
            look_at = clock_timestamp() + interval '2 s'
        WHERE order_id = $1",
        id,
        name(standing.state),
        standing.given,
        committed
    )
    .execute(db)
    .await?;
    Ok(())
}

/// How a committed order ends.
#[derive(Debug, Clone, Default)]
pub struct End {
    /// When it took effect.
    pub effective_at: Option<DateTime<Utc>>,
    /// Why it failed.
    pub reason: String,
    /// Its collection.
    pub collection_id: Option<Uuid>,
    /// Its invoice.
    pub invoice_id: Option<Uuid>,
    /// The number that was bought.
    pub resource_id: Option<Uuid>,
}

/// Ends a committed order; one that has ended stays as it is. Tells whether it did.
pub async fn end(
    db: &mut PgConnection,
    id: Uuid,
    state: State,
    end: &End,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let completed = (state == State::Completed).then_some(now);
    let done = sqlx::query!(
        "-- account.orders.end
        UPDATE account.orders
        SET state = $2, effective_at = coalesce($3, effective_at), failure_reason = $4, completed_at = $5,
            collection_id = coalesce($6, collection_id), invoice_id = $7, resource_id = $8
        WHERE order_id = $1 AND state IN ('COMMITTING', 'AWAITING_PAYMENT', 'AWAITING_SETTLEMENT')",
        id,
        name(state),
        end.effective_at,
        end.reason,
        completed,
        end.collection_id,
        end.invoice_id,
        end.resource_id
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Up to `limit` orders of an account before `before`, newest first.
pub async fn list(
    db: &mut PgConnection,
    account: Uuid,
    before: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Order>> {
    sqlx::query_as!(
        Order,
        "-- account.orders.list
        SELECT root_id, account_id, order_id, kind, state, by_operator, actor, family_code, from_plan_code, to_plan_code,
               billing_cycle_code, effect, effective_at, billing_on, timeline_etag, catalogue_version, action_label,
               warnings, lines, confirmations_required, confirmations_given, created_at, expires_at, committed_at,
               completed_at, failure_reason, method_id, collection_id, invoice_id, auto_recharge,
               offer_id, item, resource_id
        FROM account.orders WHERE account_id = $1 AND ($2::uuid IS NULL OR order_id < $2)
        ORDER BY order_id DESC LIMIT $3",
        account,
        before,
        limit
    )
    .fetch_all(db)
    .await
}

/// Up to `limit` orders that were committed and not ended, and are to be looked at now. Each is looked
/// at less often the longer it waits, up to once a minute; `often` looks at it again at once.
pub async fn take_to_finish(
    db: &mut PgConnection,
    limit: i64,
    often: bool,
) -> sqlx::Result<Vec<Order>> {
    sqlx::query_as!(
        Order,
        "-- account.orders.take_to_finish
        UPDATE account.orders
        SET looks = looks + 1,
            look_at = clock_timestamp() + CASE WHEN $2 THEN interval '0' ELSE interval '500 ms' * (2 ^ least(looks, 7)) END
        WHERE order_id IN (
            SELECT order_id FROM account.orders
            WHERE state IN ('COMMITTING', 'AWAITING_PAYMENT', 'AWAITING_SETTLEMENT') AND look_at <= clock_timestamp()
            ORDER BY look_at LIMIT $1 FOR UPDATE SKIP LOCKED)
        RETURNING root_id, account_id, order_id, kind, state, by_operator, actor, family_code, from_plan_code,
                  to_plan_code, billing_cycle_code, effect, effective_at, billing_on, timeline_etag, catalogue_version,
                  action_label, warnings, lines, confirmations_required, confirmations_given, created_at, expires_at,
                  committed_at, completed_at, failure_reason, method_id, collection_id, invoice_id, auto_recharge, offer_id,
                  item, resource_id",
        limit,
        often
    )
    .fetch_all(db)
    .await
}

/// Up to `limit` orders that were committed and not ended.
pub async fn unfinished(db: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<Order>> {
    sqlx::query_as!(
        Order,
        "-- account.orders.unfinished
        SELECT root_id, account_id, order_id, kind, state, by_operator, actor, family_code, from_plan_code, to_plan_code,
               billing_cycle_code, effect, effective_at, billing_on, timeline_etag, catalogue_version, action_label,
               warnings, lines, confirmations_required, confirmations_given, created_at, expires_at, committed_at,
               completed_at, failure_reason, method_id, collection_id, invoice_id, auto_recharge,
               offer_id, item, resource_id
        FROM account.orders
        WHERE state IN ('COMMITTING', 'AWAITING_PAYMENT', 'AWAITING_SETTLEMENT') ORDER BY look_at LIMIT $1",
        limit
    )
    .fetch_all(db)
    .await
}

/// Notes that the payment of a committed order is asked for; `false` when that was noted before, or it has
/// ended.
pub async fn set_asked(db: &mut PgConnection, id: Uuid) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- account.orders.set_asked
        UPDATE account.orders SET state = 'AWAITING_PAYMENT' WHERE order_id = $1 AND state = 'COMMITTING'",
        id
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether an order of a root account is committed and not ended.
pub async fn any_under_way(db: &mut PgConnection, root: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- account.orders.any_under_way
        SELECT EXISTS (SELECT FROM account.orders
                       WHERE root_id = $1 AND state IN ('COMMITTING', 'AWAITING_PAYMENT', 'AWAITING_SETTLEMENT')) AS "any!""#,
        root
    )
    .fetch_one(db)
    .await
}

/// Notes how the payment of a committed order stands; one that has ended stays as it is.
pub async fn set_payment(
    db: &mut PgConnection,
    id: Uuid,
    state: State,
    collection: Uuid,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.orders.set_payment
        UPDATE account.orders
        SET state = $2, collection_id = $3, look_at = CASE WHEN state = $2 THEN look_at ELSE clock_timestamp() END
        WHERE order_id = $1 AND state IN ('COMMITTING', 'AWAITING_PAYMENT', 'AWAITING_SETTLEMENT')",
        id,
        name(state),
        collection
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Erases what accounts bought but for its kind: a number is theirs.
pub async fn erase(db: &mut PgConnection, accounts: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.orders.erase
        UPDATE account.orders SET item = '{}' WHERE account_id = ANY($1) AND item <> '{}'",
        accounts
    )
    .execute(db)
    .await?;
    Ok(())
}
