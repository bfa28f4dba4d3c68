//! `billing.usage_events`, `billing.usage_days`, `billing.usage_months` and `billing.usage_closings`

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chassis::PgConnection;
use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use super::copy::Rows;
use crate::domain::usage::{Changes, EventKey, SumOutOfRange, Values};

/// Class of the advisory locks on months of usage.
const MONTH_LOCKS: i32 = 7302;
/// Number of locks in that class for closings of accounts, each covering a share of the roots: few enough that a
/// batch of any roots can take them all. They are taken before the locks of months.
const CLOSINGS: u8 = 64;

/// The closing lock of a root account and its subaccounts.
fn closing_lock(root: Uuid) -> i32 {
    let last = root.as_bytes().last().copied().unwrap_or_default();
    -1 - i32::from(last % CLOSINGS)
}

/// An event to store.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its identity.
    pub key: EventKey,
    /// The source that measured it.
    pub source: Arc<str>,
    /// The source's own id.
    pub event_id: String,
    /// Its values.
    pub values: Values,
    /// The day of use.
    pub day: NaiveDate,
    /// The billing month.
    pub billing_month: NaiveDate,
}

/// An event as stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Root account.
    pub root_id: Uuid,
    /// Month of use.
    pub usage_month: NaiveDate,
    /// Key of source and event id.
    pub event_key: Uuid,
    /// Revision number, from 1.
    pub revision: i32,
    /// The source that measured it.
    pub source: String,
    /// The source's own id.
    pub event_id: String,
    /// The account.
    pub account_id: Uuid,
    /// The category.
    pub category: String,
    /// Time of use.
    pub used_at: DateTime<Utc>,
    /// Quantity in millionths.
    pub quantity_micros: i64,
    /// Price in millionths.
    pub price_micros: i64,
    /// Whether billing rated it.
    pub rated: bool,
    /// The billing month.
    pub billing_month: NaiveDate,
    /// Time of receipt.
    pub received_at: DateTime<Utc>,
    /// Time at which a correction replaced it.
    pub superseded_at: Option<DateTime<Utc>>,
    /// Whether it is kept without being billed.
    pub unbilled: bool,
}

/// Keeps months and the accounts of roots open until the end of the transaction: no run can close the months, and no
/// closing or erasure of the accounts can be recorded.
pub async fn hold_months(
    db: &mut PgConnection,
    months: &[NaiveDate],
    roots: &[Uuid],
) -> sqlx::Result<()> {
    let closings: BTreeSet<i32> = roots.iter().copied().map(closing_lock).collect();
    let closings: Vec<i32> = closings.into_iter().collect();
    sqlx::query!(
        "-- billing.usage_closings.hold
        SELECT pg_advisory_xact_lock_shared($1, k)
        FROM (SELECT c AS k FROM unnest($3::int[]) c
              UNION ALL SELECT m - date '2000-01-01' FROM unnest($2::date[]) m
              ORDER BY k) AS keys",
        MONTH_LOCKS,
        months,
        &closings
    )
    .fetch_all(db)
    .await?;
    Ok(())
}

/// Waits for usage of a root account being written and blocks more until the end of the transaction. Later usage then
/// sees the closing or erasure this transaction records. Hold it briefly, since a share of all roots waits, and take
/// it before all other locks.
pub async fn hold_off(db: &mut PgConnection, root: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.usage_closings.hold_off\nSELECT pg_advisory_xact_lock($1, $2::int)",
        MONTH_LOCKS,
        closing_lock(root)
    )
    .fetch_all(db)
    .await?;
    Ok(())
}

/// Closes a month for the accounts of `profiles`, after waiting for usage of the month being written.
pub async fn close_month(
    db: &mut PgConnection,
    profiles: &[String],
    month: NaiveDate,
    at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.usage_closings.lock\nSELECT pg_advisory_xact_lock($1, $2::date - date '2000-01-01')",
        MONTH_LOCKS,
        month
    )
    .fetch_all(&mut *db)
    .await?;
    sqlx::query!(
        "-- billing.usage_closings.insert
        INSERT INTO billing.usage_closings (profile_code, month, closed_at)
        SELECT p, $2, $3 FROM unnest($1::text[]) p ON CONFLICT DO NOTHING",
        profiles,
        month,
        at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The closed months from `from` on, by profile.
pub async fn closed_months(
    db: &mut PgConnection,
    profiles: &[String],
    from: NaiveDate,
) -> sqlx::Result<HashMap<String, Vec<NaiveDate>>> {
    let rows = sqlx::query!(
        "-- billing.usage_closings.list
        SELECT profile_code, month FROM billing.usage_closings WHERE profile_code = ANY($1) AND month >= $2",
        profiles,
        from
    )
    .fetch_all(db)
    .await?;
    let mut closed: HashMap<String, Vec<NaiveDate>> = HashMap::new();
    for row in rows {
        closed.entry(row.profile_code).or_default().push(row.month);
    }
    Ok(closed)
}

/// Stores events whose keys are all new by COPY, at a third of the cost of [`insert_new`]. If a key is not new,
/// `usage_events_pkey` is violated and nothing is stored.
pub async fn copy_new(
    db: &mut PgConnection,
    events: &[&Event],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let columns = [
        "root_id",
        "usage_month",
        "event_key",
        "revision",
        "source",
        "event_id",
        "account_id",
        "category",
        "used_at",
        "quantity_micros",
        "price_micros",
        "rated",
        "unbilled",
        "billing_month",
        "received_at",
    ];
    let mut rows = Rows::new("billing.usage_events", &columns);
    for event in events {
        rows.row();
        rows.uuid(event.key.root);
        rows.date(event.key.month);
        rows.uuid(event.key.key);
        rows.integer(1);
        rows.text(&event.source);
        rows.text(&event.event_id);
        rows.uuid(event.values.account);
        rows.text(&event.values.category);
        rows.timestamptz(event.values.used_at);
        rows.bigint(event.values.quantity_micros);
        rows.bigint(event.values.price_micros);
        rows.boolean(event.values.rated);
        rows.boolean(event.values.unbilled);
        rows.date(event.billing_month);
        rows.timestamptz(now);
    }
    rows.copy(db).await?;
    Ok(())
}

/// Stores the events whose keys are new, in order of key, and returns those keys.
///
/// Waits for another transaction that is storing one of the keys.
pub async fn insert_new(
    db: &mut PgConnection,
    events: &[&Event],
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<EventKey>> {
    let mut columns = Columns::default();
    for event in events {
        columns.push(event);
    }
    let rows: Vec<(Uuid, NaiveDate, Uuid)> = sqlx::query_as(
        "-- billing.usage_events.insert_new
        INSERT INTO billing.usage_events (root_id, usage_month, event_key, revision, source, event_id, account_id,
            category, used_at, quantity_micros, price_micros, billing_month, rated, unbilled, received_at)
        SELECT root, month, key, 1, source, id, account, category, used, quantity, price, billing, rated, unbilled, $1
        FROM unnest($2::uuid[], $3::date[], $4::uuid[], $5::text[], $6::text[], $7::uuid[], $8::text[], $9::timestamptz[],
                    $10::bigint[], $11::bigint[], $12::date[], $13::boolean[], $14::boolean[])
            AS e (root, month, key, source, id, account, category, used, quantity, price, billing, rated, unbilled)
        ON CONFLICT DO NOTHING
        RETURNING root_id, usage_month, event_key",
    )
    .bind(now)
    .bind(columns.roots)
    .bind(columns.months)
    .bind(columns.keys)
    .bind(columns.sources)
    .bind(columns.ids)
    .bind(columns.accounts)
    .bind(columns.categories)
    .bind(columns.used)
    .bind(columns.quantities)
    .bind(columns.prices)
    .bind(columns.billing)
    .bind(columns.rated)
    .bind(columns.unbilled)
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(root, month, key)| EventKey { root, month, key })
        .collect())
}

#[derive(Default)]
struct Columns<'a> {
    roots: Vec<Uuid>,
    months: Vec<NaiveDate>,
    keys: Vec<Uuid>,
    sources: Vec<&'a str>,
    ids: Vec<&'a str>,
    accounts: Vec<Uuid>,
    categories: Vec<&'a str>,
    used: Vec<DateTime<Utc>>,
    quantities: Vec<i64>,
    prices: Vec<i64>,
    billing: Vec<NaiveDate>,
    rated: Vec<bool>,
    unbilled: Vec<bool>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, event: &'a Event) {
        self.roots.push(event.key.root);
        self.months.push(event.key.month);
        self.keys.push(event.key.key);
        self.sources.push(&event.source);
        self.ids.push(&event.event_id);
        self.accounts.push(event.values.account);
        self.categories.push(&event.values.category);
        self.used.push(event.values.used_at);
        self.quantities.push(event.values.quantity_micros);
        self.prices.push(event.values.price_micros);
        self.billing.push(event.billing_month);
        self.rated.push(event.values.rated);
        self.unbilled.push(event.values.unbilled);
    }
}

/// The current revision of a key. The lock is on the first revision: a statement waiting for a lock on the last one
/// would not see a revision added meanwhile.
pub async fn lock_counting(db: &mut PgConnection, key: EventKey) -> sqlx::Result<Stored> {
    sqlx::query!(
        "-- billing.usage_events.lock_key
        SELECT revision FROM billing.usage_events
        WHERE root_id = $1 AND usage_month = $2 AND event_key = $3 AND revision = 1 FOR UPDATE",
        key.root,
        key.month,
        key.key
    )
    .fetch_one(&mut *db)
    .await?;
    sqlx::query_as!(
        Stored,
        "-- billing.usage_events.get_counting
        SELECT root_id, usage_month, event_key, revision, source, event_id, account_id, category, used_at,
               quantity_micros, price_micros, rated, billing_month, received_at, superseded_at, unbilled
        FROM billing.usage_events WHERE root_id = $1 AND usage_month = $2 AND event_key = $3
        ORDER BY revision DESC LIMIT 1",
        key.root,
        key.month,
        key.key
    )
    .fetch_one(db)
    .await
}

/// Replaces `old`, whose row is locked, with a correction.
pub async fn supersede(
    db: &mut PgConnection,
    old: &Stored,
    event: &Event,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.usage_events.supersede
        UPDATE billing.usage_events SET superseded_at = $5
        WHERE root_id = $1 AND usage_month = $2 AND event_key = $3 AND revision = $4",
        old.root_id,
        old.usage_month,
        old.event_key,
        old.revision,
        now
    )
    .execute(&mut *db)
    .await?;
    sqlx::query!(
        "-- billing.usage_events.correct
        INSERT INTO billing.usage_events (root_id, usage_month, event_key, revision, source, event_id, account_id,
            category, used_at, quantity_micros, price_micros, rated, billing_month, received_at, unbilled)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        old.root_id,
        old.usage_month,
        old.event_key,
        old.revision + 1,
        event.source.as_ref(),
        event.event_id,
        event.values.account,
        event.values.category,
        event.values.used_at,
        event.values.quantity_micros,
        event.values.price_micros,
        event.values.rated,
        event.billing_month,
        now,
        event.values.unbilled
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Updates the sums by day and by month in order of key, so that two batches never deadlock. The inner error says
/// that a sum overflowed; the transaction is then lost.
pub async fn add(
    db: &mut PgConnection,
    changes: &Changes,
) -> sqlx::Result<Result<(), SumOutOfRange>> {
    let (mut roots, mut months, mut days, mut categories) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut quantities, mut prices, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for (key, sum) in changes.by_day() {
        roots.push(key.root);
        months.push(key.billing_month);
        days.push(key.day);
        categories.push(key.category.as_str());
        quantities.push(sum.quantity_micros);
        prices.push(sum.price_micros);
        counts.push(sum.events);
    }
    let added = sqlx::query(
        "-- billing.usage_days.add
        INSERT INTO billing.usage_days AS d
            (root_id, billing_month, used_on, category, quantity_micros, price_micros, event_count)
        SELECT * FROM unnest($1::uuid[], $2::date[], $3::date[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[])
        ON CONFLICT (root_id, billing_month, used_on, category) DO UPDATE
        SET quantity_micros = d.quantity_micros + excluded.quantity_micros,
            price_micros = d.price_micros + excluded.price_micros,
            event_count = d.event_count + excluded.event_count",
    )
    .bind(roots)
    .bind(months)
    .bind(days)
    .bind(categories)
    .bind(quantities)
    .bind(prices)
    .bind(counts)
    .execute(&mut *db)
    .await;
    if in_range(added)?.is_err() {
        return Ok(Err(SumOutOfRange));
    }

    let Ok(by_month) = changes.by_month() else {
        return Ok(Err(SumOutOfRange));
    };
    let (mut months, mut roots, mut categories) = (Vec::new(), Vec::new(), Vec::new());
    let (mut quantities, mut prices, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for ((month, root, category), sum) in &by_month {
        months.push(*month);
        roots.push(*root);
        categories.push(*category);
        quantities.push(sum.quantity_micros);
        prices.push(sum.price_micros);
        counts.push(sum.events);
    }
    let added = sqlx::query(
        "-- billing.usage_months.add
        INSERT INTO billing.usage_months AS m (billing_month, root_id, category, quantity_micros, price_micros, event_count)
        SELECT * FROM unnest($1::date[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[])
        ON CONFLICT (billing_month, root_id, category) DO UPDATE
        SET quantity_micros = m.quantity_micros + excluded.quantity_micros,
            price_micros = m.price_micros + excluded.price_micros,
            event_count = m.event_count + excluded.event_count",
    )
    .bind(months)
    .bind(roots)
    .bind(categories)
    .bind(quantities)
    .bind(prices)
    .bind(counts)
    .execute(db)
    .await;
    in_range(added)
}

/// Translates a numeric overflow reported by the database.
fn in_range<T>(result: sqlx::Result<T>) -> sqlx::Result<Result<(), SumOutOfRange>> {
    match result {
        Ok(_) => Ok(Ok(())),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("22003") => {
            Ok(Err(SumOutOfRange))
        }
        Err(error) => Err(error),
    }
}

/// The cost of counted usage of a month for each root account from `low` to `high`, in millionths; `None` if a sum
/// exceeds 64 bits.
pub async fn month_sums(
    db: &mut PgConnection,
    month: NaiveDate,
    (low, high): (Uuid, Uuid),
    excluded: &[String],
) -> sqlx::Result<Vec<(Uuid, Option<i64>)>> {
    let rows = sqlx::query!(
        r#"-- billing.usage_months.sums
        SELECT root_id, CASE WHEN abs(sum(price_micros)) <= 9223372036854775807 THEN sum(price_micros)::bigint END AS micros
        FROM billing.usage_months
        WHERE billing_month = $1 AND root_id >= $2 AND root_id <= $3 AND category <> ALL($4)
        GROUP BY root_id"#,
        month,
        low,
        high,
        excluded
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.root_id, row.micros))
        .collect())
}

/// The cost of counted usage of a month for each of the given root accounts, in millionths; `None` if a sum exceeds
/// 64 bits.
pub async fn month_sums_of(
    db: &mut PgConnection,
    month: NaiveDate,
    roots: &[Uuid],
    excluded: &[String],
) -> sqlx::Result<Vec<(Uuid, Option<i64>)>> {
    let rows = sqlx::query!(
        r#"-- billing.usage_months.sums_of
        SELECT root_id, CASE WHEN abs(sum(price_micros)) <= 9223372036854775807 THEN sum(price_micros)::bigint END AS micros
        FROM billing.usage_months
        WHERE billing_month = $1 AND root_id = ANY($2) AND category <> ALL($3)
        GROUP BY root_id"#,
        month,
        roots,
        excluded
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.root_id, row.micros))
        .collect())
}

/// A sum as stored.
#[derive(Debug, Clone)]
pub struct StoredSum {
    /// The day of use or the first day of the month.
    pub on_date: NaiveDate,
    /// The category.
    pub category: String,
    /// Quantity in millionths.
    pub quantity_micros: i64,
    /// Price in millionths.
    pub price_micros: i64,
    /// Number of events.
    pub event_count: i64,
}

/// The sums of a root account by day of use, for a billing month.
pub async fn list_days(
    db: &mut PgConnection,
    root: Uuid,
    month: NaiveDate,
) -> sqlx::Result<Vec<StoredSum>> {
    sqlx::query_as!(
        StoredSum,
        "-- billing.usage_days.list
        SELECT used_on AS on_date, category, quantity_micros, price_micros, event_count
        FROM billing.usage_days WHERE root_id = $1 AND billing_month = $2 ORDER BY used_on, category",
        root,
        month
    )
    .fetch_all(db)
    .await
}

/// The sums of a root account for a billing month.
pub async fn list_months(
    db: &mut PgConnection,
    root: Uuid,
    month: NaiveDate,
) -> sqlx::Result<Vec<StoredSum>> {
    sqlx::query_as!(
        StoredSum,
        "-- billing.usage_months.list
        SELECT billing_month AS on_date, category, quantity_micros, price_micros, event_count
        FROM billing.usage_months WHERE root_id = $1 AND billing_month = $2 ORDER BY category",
        root,
        month
    )
    .fetch_all(db)
    .await
}

/// Up to `limit` events of a root account in a month of use, newest first, including superseded ones; optionally of
/// one account or one category only.
pub async fn list(
    db: &mut PgConnection,
    (root, month): (Uuid, NaiveDate),
    account: Option<Uuid>,
    category: Option<&str>,
    (after, limit): (Option<(DateTime<Utc>, Uuid, i32)>, i64),
) -> sqlx::Result<Vec<Stored>> {
    let (used_at, key, revision) =
        after.map_or((None, None, None), |(a, b, c)| (Some(a), Some(b), Some(c)));
    sqlx::query_as!(
        Stored,
        "-- billing.usage_events.list
        SELECT root_id, usage_month, event_key, revision, source, event_id, account_id, category, used_at,
               quantity_micros, price_micros, rated, billing_month, received_at, superseded_at, unbilled
        FROM billing.usage_events
        WHERE root_id = $1 AND usage_month = $2 AND ($3::uuid IS NULL OR account_id = $3)
          AND ($4::text IS NULL OR category = $4)
          AND ($5::timestamptz IS NULL OR (used_at, event_key, revision) < ($5, $6::uuid, $7::int))
        ORDER BY used_at DESC, event_key DESC, revision DESC LIMIT $8",
        root,
        month,
        account,
        category,
        used_at,
        key,
        revision,
        limit
    )
    .fetch_all(db)
    .await
}

/// The unbilled usage of a root account in a month of use, by category and, if `daily`, by day of use. Sums beyond 64
/// bits are shown as the limit.
pub async fn list_unbilled(
    db: &mut PgConnection,
    (root, month): (Uuid, NaiveDate),
    daily: bool,
) -> sqlx::Result<Vec<StoredSum>> {
    sqlx::query_as!(
        StoredSum,
        r#"-- billing.usage_events.list_unbilled
        SELECT CASE WHEN $3::boolean THEN (e.used_at AT TIME ZONE a.time_zone)::date ELSE e.usage_month END AS "on_date!",
               e.category AS "category!",
               greatest(least(sum(e.quantity_micros), 9223372036854775807), -9223372036854775807)::bigint
                   AS "quantity_micros!",
               greatest(least(sum(e.price_micros), 9223372036854775807), -9223372036854775807)::bigint AS "price_micros!",
               count(*) AS "event_count!"
        FROM billing.usage_events e JOIN billing.accounts a ON a.account_id = e.root_id
        WHERE e.root_id = $1 AND e.usage_month = $2 AND e.unbilled AND e.superseded_at IS NULL
        GROUP BY 1, 2 ORDER BY 1, 2"#,
        root,
        month,
        daily
    )
    .fetch_all(db)
    .await
}

/// Up to `limit` billed events of a root account from `month` on that lie at or after their account's closing, in
/// order of key. They arrived before the closing was recorded.
pub async fn list_to_unbill(
    db: &mut PgConnection,
    (root, month): (Uuid, NaiveDate),
    limit: i64,
) -> sqlx::Result<Vec<Stored>> {
    sqlx::query_as!(
        Stored,
        "-- billing.usage_events.list_to_unbill
        SELECT e.root_id, e.usage_month, e.event_key, e.revision, e.source, e.event_id, e.account_id, e.category,
               e.used_at, e.quantity_micros, e.price_micros, e.rated, e.billing_month, e.received_at, e.superseded_at,
               e.unbilled
        FROM billing.usage_events e JOIN billing.accounts a ON a.account_id = e.account_id
        WHERE e.root_id = $1 AND a.root_id = $1 AND e.usage_month >= $2 AND a.closed_at <= e.used_at
          AND e.superseded_at IS NULL AND NOT e.unbilled
        ORDER BY e.usage_month, e.event_key LIMIT $3",
        root,
        month,
        limit
    )
    .fetch_all(db)
    .await
}

/// Deletes up to `limit` usage events of a root account, or of one of its accounts only; returns how many.
pub async fn erase(
    db: &mut PgConnection,
    (root, only): (Uuid, Option<Uuid>),
    limit: i64,
) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "-- billing.usage.erase
        DELETE FROM billing.usage_events WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM billing.usage_events
            WHERE root_id = $1 AND ($2::uuid IS NULL OR account_id = $2) LIMIT $3))",
        root,
        only,
        limit
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}
