//! `account.orders`

use chassis::{PgConnection, Tenant};
use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::accounts::{self, Account, Seen};
use super::variant;
use crate::domain::order::{Effect, OrderKind, Standing, State};
use crate::domain::purchase::Purchase;

pub use crate::domain::order::Order;

chassis::stored_as_text!(State, "account.orders.state");
chassis::stored_as_text!(OrderKind, "account.orders.kind");
chassis::stored_as_text!(Effect, "account.orders.effect");

/// A row of the table.
struct Row {
    root_id: Uuid,
    account_id: Uuid,
    order_id: Uuid,
    kind: OrderKind,
    state: State,
    by_operator: bool,
    actor: String,
    family_code: String,
    from_plan_code: String,
    to_plan_code: String,
    billing_cycle_code: String,
    effect: Effect,
    effective_at: Option<DateTime<Utc>>,
    billing_on: Option<NaiveDate>,
    timeline_etag: String,
    catalogue_version: String,
    action_label: String,
    warnings: Vec<String>,
    lines: Value,
    confirmations_required: i32,
    confirmations_given: i32,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    committed_at: Option<DateTime<Utc>>,
    completed_at: Option<DateTime<Utc>>,
    failure_reason: String,
    method_id: Option<Uuid>,
    collection_id: Option<Uuid>,
    invoice_id: Option<Uuid>,
    auto_recharge: bool,
    offer_id: String,
    item: Value,
    resource_id: Option<Uuid>,
}

impl TryFrom<Row> for Order {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        Ok(Self {
            purchase: Purchase::read(row.kind, &row.item)
                .map_err(|error| malformed("account.orders.item", error))?,
            lines: serde_json::from_value(row.lines)
                .map_err(|error| malformed("account.orders.lines", error))?,
            root_id: row.root_id,
            account_id: row.account_id,
            order_id: row.order_id,
            state: row.state,
            by_operator: row.by_operator,
            actor: row.actor,
            family_code: row.family_code,
            from_plan_code: row.from_plan_code,
            to_plan_code: row.to_plan_code,
            billing_cycle_code: row.billing_cycle_code,
            effect: row.effect,
            effective_at: row.effective_at,
            billing_on: row.billing_on,
            timeline_etag: row.timeline_etag,
            catalogue_version: row.catalogue_version,
            action_label: row.action_label,
            warnings: row.warnings,
            confirmations_required: row.confirmations_required,
            confirmations_given: row.confirmations_given,
            created_at: row.created_at,
            expires_at: row.expires_at,
            committed_at: row.committed_at,
            completed_at: row.completed_at,
            failure_reason: row.failure_reason,
            method_id: row.method_id,
            collection_id: row.collection_id,
            invoice_id: row.invoice_id,
            auto_recharge: row.auto_recharge,
            offer_id: row.offer_id,
            resource_id: row.resource_id,
        })
    }
}

/// A column whose JSON is not what the code writes.
pub(super) fn malformed(column: &str, error: serde_json::Error) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: Box::new(error),
    }
}

/// Inserts an order.
pub async fn insert(db: &mut PgConnection, order: &Order) -> sqlx::Result<()> {
    let unwritable = |error: serde_json::Error| sqlx::Error::Encode(Box::new(error));
    let lines = serde_json::to_value(&order.lines).map_err(unwritable)?;
    let item = order.purchase.item().map_err(unwritable)?;
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
        order.kind().as_str(),
        order.state.as_str(),
        order.by_operator,
        order.actor,
        order.family_code,
        order.from_plan_code,
        order.to_plan_code,
        order.billing_cycle_code,
        order.effect.as_str(),
        order.effective_at,
        order.billing_on,
        order.timeline_etag,
        order.catalogue_version,
        order.action_label,
        &order.warnings,
        lines,
        order.confirmations_required,
        order.confirmations_given,
        order.created_at,
        order.expires_at,
        order.method_id,
        order.auto_recharge,
        order.offer_id,
        item
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The order `id`.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Order>> {
    let found = sqlx::query_as!(
        Row,
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
    .await?;
    found.map(Order::try_from).transpose()
}

/// The order `id`, its account and the roles of `person` in it, in one round trip: its tenant is entered by it, until
/// the transaction ends. To a person without a role in the account, it is not there.
#[expect(clippy::too_many_lines, reason = "one statement and its columns")]
pub async fn seen(
    db: &mut PgConnection,
    id: Uuid,
    person: Option<Uuid>,
) -> sqlx::Result<Option<(Order, Seen)>> {
    let row = sqlx::query!(
        r#"-- account.orders.seen
        SELECT (s.ordered).root_id AS "root_id!", (s.ordered).account_id AS "account_id!",
               (s.ordered).order_id AS "order_id!", (s.ordered).kind AS "kind!", (s.ordered).state AS "state!",
               (s.ordered).by_operator AS "by_operator!", (s.ordered).actor AS "actor!",
               (s.ordered).family_code AS "family_code!", (s.ordered).from_plan_code AS "from_plan_code!",
               (s.ordered).to_plan_code AS "to_plan_code!", (s.ordered).billing_cycle_code AS "billing_cycle_code!",
               (s.ordered).effect AS "effect!", (s.ordered).effective_at AS "effective_at",
               (s.ordered).billing_on AS "billing_on", (s.ordered).timeline_etag AS "timeline_etag!",
               (s.ordered).catalogue_version AS "catalogue_version!", (s.ordered).action_label AS "action_label!",
               (s.ordered).warnings AS "warnings!", (s.ordered).lines AS "lines!",
               (s.ordered).confirmations_required AS "confirmations_required!",
               (s.ordered).confirmations_given AS "confirmations_given!", (s.ordered).created_at AS "created_at!",
               (s.ordered).expires_at AS "expires_at!", (s.ordered).committed_at AS "committed_at",
               (s.ordered).completed_at AS "completed_at", (s.ordered).failure_reason AS "failure_reason!",
               (s.ordered).method_id AS "method_id", (s.ordered).collection_id AS "collection_id",
               (s.ordered).invoice_id AS "invoice_id", (s.ordered).auto_recharge AS "auto_recharge!",
               (s.ordered).offer_id AS "offer_id!", (s.ordered).item AS "item!",
               (s.ordered).resource_id AS "resource_id", (s.it).root_id AS "of_root_id!",
               (s.it).account_id AS "of_account_id!", (s.it).parent_id AS "of_parent_id",
               (s.it).profile_code AS "of_profile_code!", (s.it).display_name AS "of_display_name!",
               (s.it).owner_id AS "of_owner_id!", (s.it).type AS "of_type!", (s.it).invoiced AS "of_invoiced!",
               (s.it).currency AS "of_currency!", (s.it).created_at AS "of_created_at!",
               (s.it).opened_at AS "of_opened_at", (s.it).trial_end_at AS "of_trial_end_at",
               (s.it).upgraded_at AS "of_upgraded_at", (s.it).limited_at AS "of_limited_at",
               (s.it).limit_reason AS "of_limit_reason!", (s.it).kyc_state AS "of_kyc_state!",
               (s.it).dormant_at AS "of_dormant_at", (s.it).closed_at AS "of_closed_at",
               (s.it).live_at AS "of_live_at", s.suspended_for AS "of_suspensions!", s.held_roles AS "roles!"
        FROM account.order_seen($1, $2) s"#,
        id,
        person
    )
    .fetch_optional(db)
    .await?;
    let seen = row.map(|row| {
        let order = Order::try_from(Row {
            root_id: row.root_id,
            account_id: row.account_id,
            order_id: row.order_id,
            kind: variant(
                OrderKind::ALL,
                OrderKind::as_str,
                &row.kind,
                "account.orders.kind",
            )?,
            state: variant(
                State::ALL,
                State::as_str,
                &row.state,
                "account.orders.state",
            )?,
            by_operator: row.by_operator,
            actor: row.actor,
            family_code: row.family_code,
            from_plan_code: row.from_plan_code,
            to_plan_code: row.to_plan_code,
            billing_cycle_code: row.billing_cycle_code,
            effect: variant(
                Effect::ALL,
                Effect::as_str,
                &row.effect,
                "account.orders.effect",
            )?,
            effective_at: row.effective_at,
            billing_on: row.billing_on,
            timeline_etag: row.timeline_etag,
            catalogue_version: row.catalogue_version,
            action_label: row.action_label,
            warnings: row.warnings,
            lines: row.lines,
            confirmations_required: row.confirmations_required,
            confirmations_given: row.confirmations_given,
            created_at: row.created_at,
            expires_at: row.expires_at,
            committed_at: row.committed_at,
            completed_at: row.completed_at,
            failure_reason: row.failure_reason,
            method_id: row.method_id,
            collection_id: row.collection_id,
            invoice_id: row.invoice_id,
            auto_recharge: row.auto_recharge,
            offer_id: row.offer_id,
            item: row.item,
            resource_id: row.resource_id,
        })?;
        let account = Account {
            root_id: row.of_root_id,
            account_id: row.of_account_id,
            parent_id: row.of_parent_id,
            profile_code: row.of_profile_code,
            display_name: row.of_display_name,
            owner_id: row.of_owner_id,
            r#type: accounts::account_type(&row.of_type)?,
            invoiced: row.of_invoiced,
            currency: row.of_currency,
            created_at: row.of_created_at,
            opened_at: row.of_opened_at,
            trial_end_at: row.of_trial_end_at,
            upgraded_at: row.of_upgraded_at,
            limited_at: row.of_limited_at,
            limit_reason: accounts::limit_reason(&row.of_limit_reason)?,
            kyc_state: accounts::kyc_state(&row.of_kyc_state)?,
            dormant_at: row.of_dormant_at,
            closed_at: row.of_closed_at,
            live_at: row.of_live_at,
            suspensions: accounts::suspensions(&row.of_suspensions)?,
        };
        Tenant::Root(order.root_id).noted();
        let roles = row.roles;
        Ok::<_, sqlx::Error>((order, Seen { account, roles }))
    });
    seen.transpose()
}

/// The order `id`, locked.
pub async fn lock(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Order>> {
    let found = sqlx::query_as!(
        Row,
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
    .await?;
    found.map(Order::try_from).transpose()
}

/// Keeps how an order stands, and gives it as it is then; `now` is kept as the time of its commit. Whoever commits it
/// carries it out, and a job only where that was cut short.
pub async fn set_standing(
    db: &mut PgConnection,
    id: Uuid,
    standing: Standing,
    now: DateTime<Utc>,
) -> sqlx::Result<Order> {
    let committed = (standing.state == State::Committing).then_some(now);
    let found = sqlx::query_as!(
        Row,
        "-- account.orders.set_standing
        UPDATE account.orders
        SET state = $2, confirmations_given = $3, committed_at = coalesce(committed_at, $4),
            look_at = clock_timestamp() + interval '2 s'
        WHERE order_id = $1
        RETURNING root_id, account_id, order_id, kind, state, by_operator, actor, family_code, from_plan_code,
                  to_plan_code, billing_cycle_code, effect, effective_at, billing_on, timeline_etag, catalogue_version,
                  action_label, warnings, lines, confirmations_required, confirmations_given, created_at, expires_at,
                  committed_at, completed_at, failure_reason, method_id, collection_id, invoice_id, auto_recharge, offer_id,
                  item, resource_id",
        id,
        standing.state.as_str(),
        standing.given,
        committed
    )
    .fetch_one(db)
    .await?;
    found.try_into()
}

/// The outcome of a committed order.
#[derive(Debug, Clone, Default)]
pub struct End {
    /// When it took effect.
    pub effective_at: Option<DateTime<Utc>>,
    /// Why it failed; empty otherwise.
    pub reason: String,
    /// Collection in `billing`.
    pub collection_id: Option<Uuid>,
    /// Invoice in `billing`.
    pub invoice_id: Option<Uuid>,
    /// The number that was bought.
    pub resource_id: Option<Uuid>,
}

/// Ends a committed order and gives it; one that has ended stays as it is.
pub async fn end(
    db: &mut PgConnection,
    id: Uuid,
    state: State,
    end: &End,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<Order>> {
    let completed = (state == State::Completed).then_some(now);
    let found = sqlx::query_as!(
        Row,
        "-- account.orders.end
        UPDATE account.orders
        SET state = $2, effective_at = coalesce($3, effective_at), failure_reason = $4, completed_at = $5,
            collection_id = coalesce($6, collection_id), invoice_id = $7, resource_id = $8
        WHERE order_id = $1 AND state IN ('COMMITTING', 'AWAITING_PAYMENT', 'AWAITING_SETTLEMENT')
        RETURNING root_id, account_id, order_id, kind, state, by_operator, actor, family_code, from_plan_code,
                  to_plan_code, billing_cycle_code, effect, effective_at, billing_on, timeline_etag, catalogue_version,
                  action_label, warnings, lines, confirmations_required, confirmations_given, created_at, expires_at,
                  committed_at, completed_at, failure_reason, method_id, collection_id, invoice_id, auto_recharge, offer_id,
                  item, resource_id",
        id,
        state.as_str(),
        end.effective_at,
        end.reason,
        completed,
        end.collection_id,
        end.invoice_id,
        end.resource_id
    )
    .fetch_optional(db)
    .await?;
    found.map(Order::try_from).transpose()
}

/// Which orders to list by how they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standings {
    /// The states.
    pub states: Vec<State>,
    /// Of those that are not committed, the ones whose quote holds still, or with `false` those whose quote does not;
    /// `None` for both.
    pub holds: Option<bool>,
    /// When.
    pub now: DateTime<Utc>,
}

impl Standings {
    /// The orders that are in `state` at `now`, or with `None` all.
    pub fn of(state: Option<State>, now: DateTime<Utc>) -> Self {
        let (states, holds) = match state {
            None => (State::ALL.to_vec(), None),
            Some(State::Quoted) => (vec![State::Quoted], Some(true)),
            // A commit that has not asked for the payment yet is shown as confirmed.
            Some(State::Confirmed | State::Committing) => {
                (vec![State::Confirmed, State::Committing], Some(true))
            }
            Some(State::Expired) => (
                vec![State::Quoted, State::Confirmed, State::Expired],
                Some(false),
            ),
            Some(
                ended @ (State::AwaitingPayment
                | State::AwaitingSettlement
                | State::Completed
                | State::Failed
                | State::Cancelled),
            ) => (vec![ended], None),
        };
        Self { states, holds, now }
    }

    /// The states, as stored.
    fn stored(&self) -> Vec<String> {
        let states = self.states.iter();
        states.map(|it| it.as_str().to_owned()).collect()
    }
}

/// Up to `limit` orders of an account before `before` that stand so, newest first.
pub async fn list(
    db: &mut PgConnection,
    (account, asked): (Uuid, &Standings),
    before: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Order>> {
    let found = sqlx::query_as!(
        Row,
        "-- account.orders.list
        SELECT root_id, account_id, order_id, kind, state, by_operator, actor, family_code, from_plan_code, to_plan_code,
               billing_cycle_code, effect, effective_at, billing_on, timeline_etag, catalogue_version, action_label,
               warnings, lines, confirmations_required, confirmations_given, created_at, expires_at, committed_at,
               completed_at, failure_reason, method_id, collection_id, invoice_id, auto_recharge,
               offer_id, item, resource_id
        FROM account.orders
        WHERE account_id = $1 AND ($2::uuid IS NULL OR order_id < $2) AND state = ANY($4::text[])
          AND ($5::boolean IS NULL OR state NOT IN ('QUOTED', 'CONFIRMED') OR ($6 < expires_at) = $5)
        ORDER BY order_id DESC LIMIT $3",
        account,
        before,
        limit,
        &asked.stored(),
        asked.holds,
        asked.now
    )
    .fetch_all(db)
    .await?;
    found.into_iter().map(Order::try_from).collect()
}

/// Up to `limit` orders of all accounts before `before` that stand so, newest first. All tenants are entered.
pub async fn list_all(
    db: &mut PgConnection,
    asked: &Standings,
    before: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Order>> {
    // Those of each state are read in the order of its index, so that none is read that isn't answered.
    let found = sqlx::query_as!(
        Row,
        "-- account.orders.list_all
        SELECT o.root_id, o.account_id, o.order_id, o.kind, o.state, o.by_operator, o.actor, o.family_code,
               o.from_plan_code, o.to_plan_code, o.billing_cycle_code, o.effect, o.effective_at, o.billing_on,
               o.timeline_etag, o.catalogue_version, o.action_label, o.warnings, o.lines, o.confirmations_required,
               o.confirmations_given, o.created_at, o.expires_at, o.committed_at, o.completed_at, o.failure_reason,
               o.method_id, o.collection_id, o.invoice_id, o.auto_recharge, o.offer_id, o.item, o.resource_id
        FROM unnest($1::text[]) AS s (state)
        CROSS JOIN LATERAL (
            SELECT * FROM account.orders
            WHERE state = s.state AND ($2::uuid IS NULL OR order_id < $2)
              AND ($4::boolean IS NULL OR state NOT IN ('QUOTED', 'CONFIRMED') OR ($5 < expires_at) = $4)
            ORDER BY order_id DESC LIMIT $3) o
        ORDER BY o.order_id DESC LIMIT $3",
        &asked.stored(),
        before,
        limit,
        asked.holds,
        asked.now
    )
    .fetch_all(db)
    .await?;
    found.into_iter().map(Order::try_from).collect()
}

/// Leases up to `limit` committed orders that have not ended and are due. The interval doubles with each attempt, from
/// 500 ms to 64 s; with `often` the order is due again at once.
pub async fn take_to_finish(
    db: &mut PgConnection,
    limit: i64,
    often: bool,
) -> sqlx::Result<Vec<Order>> {
    let found = sqlx::query_as!(
        Row,
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
    .await?;
    found.into_iter().map(Order::try_from).collect()
}

/// Up to `limit` committed orders that have not ended, whether due or not.
pub async fn unfinished(db: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<Order>> {
    let found = sqlx::query_as!(
        Row,
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
    .await?;
    found.into_iter().map(Order::try_from).collect()
}

/// Records that the payment of a committed order is being requested. `false` if it was recorded before, or the order
/// has ended.
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

/// The committed orders of a root account that have not ended: id, state, and whether an operator quoted it.
pub async fn under_way(
    db: &mut PgConnection,
    root: Uuid,
) -> sqlx::Result<Vec<(Uuid, State, bool)>> {
    let rows = sqlx::query!(
        "-- account.orders.under_way
        SELECT order_id, state, by_operator FROM account.orders
        WHERE root_id = $1 AND state IN ('COMMITTING', 'AWAITING_PAYMENT', 'AWAITING_SETTLEMENT')
        ORDER BY order_id",
        root
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.order_id, row.state, row.by_operator))
        .collect())
}

/// Whether a root account has a committed order that has not ended.
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

/// Records the state of a committed order's payment, unless the order has ended.
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
        state.as_str(),
        collection
    )
    .execute(db)
    .await?;
    Ok(())
}
