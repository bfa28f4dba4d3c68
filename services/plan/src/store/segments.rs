//! `plan.segments`: the timelines.

use chassis::PgConnection;
use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;
use values::{AccountId, ContractId, ContractOfferId, OrderId};

use super::outbox;
use crate::domain::timeline::{Edit, Segment};

/// The key of the advisory lock between those who change timelines and those who read all of them; `plan.hold_timelines`
/// has it too.
const TIMELINES: i64 = 0x7469_6d65;

/// Marks this transaction as changing timelines, until it ends. Must be called after the account locks are taken and
/// before the clock is read.
pub async fn hold(db: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!(
        "-- plan.segments.hold\nSELECT pg_advisory_xact_lock_shared($1)",
        TIMELINES
    )
    .fetch_one(db)
    .await?;
    Ok(())
}

/// Waits until every transaction that has begun to change timelines has ended. A later statement sees all changes dated
/// before this call.
pub async fn all_changed(db: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!(
        "-- plan.segments.all_changed\nSELECT pg_advisory_xact_lock($1)",
        TIMELINES
    )
    .fetch_one(db)
    .await?;
    Ok(())
}

struct Row {
    start_at: DateTime<Utc>,
    end_at: Option<DateTime<Utc>>,
    plan_code: String,
    catalogue_version: String,
    payer_id: Uuid,
    contract_id: Option<Uuid>,
    cycle_code: Option<String>,
    anchor_on: Option<NaiveDate>,
    order_id: Option<Uuid>,
    offer_id: Option<Uuid>,
}

impl From<Row> for Segment {
    fn from(row: Row) -> Self {
        Self {
            start_at: row.start_at,
            end_at: row.end_at,
            plan_code: row.plan_code,
            catalogue_version: row.catalogue_version,
            payer: AccountId::from_uuid(row.payer_id),
            contract: row.contract_id.map(ContractId::from_uuid),
            cycle: row.cycle_code.zip(row.anchor_on),
            order: row.order_id.map(OrderId::from_uuid),
            offer: row.offer_id.map(ContractOfferId::from_uuid),
        }
    }
}

/// The latest 1,000 segments of an account in a family, oldest first.
pub async fn list(
    db: &mut PgConnection,
    root: AccountId,
    family: &str,
) -> sqlx::Result<Vec<Segment>> {
    let rows = sqlx::query_as!(
        Row,
        "-- plan.segments.list
        SELECT start_at, end_at, plan_code, catalogue_version, payer_id, contract_id, cycle_code, anchor_on, order_id,
               offer_id
        FROM plan.segments WHERE root_id = $1 AND family_code = $2 ORDER BY start_at DESC LIMIT 1000",
        root.uuid(),
        family
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().rev().map(Segment::from).collect())
}

/// The root of `account` and the segment in force at `at`. The outer `None` means that there is no such account. Before
/// an account's creation and from its closing on, no segment is in force for it, whatever its root account has.
pub async fn in_force(
    db: &mut PgConnection,
    account: AccountId,
    family: &str,
    at: DateTime<Utc>,
) -> sqlx::Result<Option<(AccountId, Option<Segment>)>> {
    let row = sqlx::query!(
        r#"-- plan.segments.in_force
        SELECT a.root_id, s.start_at AS "start_at?", s.end_at, s.plan_code AS "plan_code?",
               s.catalogue_version AS "catalogue_version?", s.payer_id AS "payer_id?", s.contract_id, s.cycle_code,
               s.anchor_on, s.order_id, s.offer_id
        FROM plan.accounts a
        LEFT JOIN LATERAL (
            SELECT * FROM plan.segments s
            WHERE s.root_id = a.root_id AND s.family_code = $2 AND s.start_at <= $3
            ORDER BY s.start_at DESC LIMIT 1
        ) s ON (s.end_at IS NULL OR $3 < s.end_at)
            AND a.created_at <= $3 AND (a.closed_at IS NULL OR $3 < a.closed_at)
        WHERE a.account_id = $1"#,
        account.uuid(),
        family,
        at
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let segment = match (
        row.start_at,
        row.plan_code,
        row.catalogue_version,
        row.payer_id,
    ) {
        (Some(start_at), Some(plan_code), Some(catalogue_version), Some(payer_id)) => {
            Some(Segment::from(Row {
                start_at,
                end_at: row.end_at,
                plan_code,
                catalogue_version,
                payer_id,
                contract_id: row.contract_id,
                cycle_code: row.cycle_code,
                anchor_on: row.anchor_on,
                order_id: row.order_id,
                offer_id: row.offer_id,
            }))
        }
        _ => None,
    };
    Ok(Some((AccountId::from_uuid(row.root_id), segment)))
}

/// The families in which an account has a timeline.
pub async fn families(db: &mut PgConnection, root: AccountId) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        "-- plan.segments.families
        SELECT DISTINCT family_code FROM plan.segments WHERE root_id = $1 ORDER BY family_code",
        root.uuid()
    )
    .fetch_all(db)
    .await
}

/// Inserts a segment. The database refuses one that overlaps another (`segments_do_not_overlap`).
pub async fn insert(
    db: &mut PgConnection,
    root: AccountId,
    family: &str,
    segment: &Segment,
) -> sqlx::Result<()> {
    let (cycle, anchor) = segment.cycle.clone().unzip();
    sqlx::query!(
        "-- plan.segments.insert
        INSERT INTO plan.segments (root_id, family_code, start_at, end_at, plan_code, catalogue_version, payer_id,
                                   contract_id, cycle_code, anchor_on, order_id, offer_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        root.uuid(),
        family,
        segment.start_at,
        segment.end_at,
        segment.plan_code,
        segment.catalogue_version,
        segment.payer.uuid(),
        segment.contract.map(ContractId::uuid),
        cycle,
        anchor,
        segment.order.map(OrderId::uuid),
        segment.offer.map(ContractOfferId::uuid)
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Writes an edit of a timeline and records it in the outbox. The caller has locked the account.
pub async fn edit(
    db: &mut PgConnection,
    root: AccountId,
    family: &str,
    edit: &Edit,
) -> sqlx::Result<()> {
    make_room(db, (root, family), edit).await?;
    let segment = &edit.insert;
    let (cycle, anchor) = segment.cycle.clone().unzip();
    sqlx::query!(
        "-- plan.segments.edit
        WITH told AS (INSERT INTO plan.outbox (root_id, family_code) VALUES ($1, $2))
        INSERT INTO plan.segments (root_id, family_code, start_at, end_at, plan_code, catalogue_version, payer_id,
                                   contract_id, cycle_code, anchor_on, order_id, offer_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        root.uuid(),
        family,
        segment.start_at,
        segment.end_at,
        segment.plan_code,
        segment.catalogue_version,
        segment.payer.uuid(),
        segment.contract.map(ContractId::uuid),
        cycle,
        anchor,
        segment.order.map(OrderId::uuid),
        segment.offer.map(ContractOfferId::uuid)
    )
    .execute(&mut *db)
    .await?;
    govern(db, (root, family), segment.contract, segment.start_at).await
}

/// Takes away what an edit takes away, and ends what it shortens: what is left of the two never overlaps.
async fn make_room(
    db: &mut PgConnection,
    (root, family): (AccountId, &str),
    edit: &Edit,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- plan.segments.make_room
        WITH removed AS (DELETE FROM plan.segments WHERE root_id = $1 AND family_code = $2 AND start_at >= $3)
        UPDATE plan.segments SET end_at = $5
        WHERE root_id = $1 AND family_code = $2 AND start_at = $4 AND start_at < $3",
        root.uuid(),
        family,
        edit.remove_from,
        edit.shorten,
        edit.insert.start_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Keeps contract memberships consistent with the timeline: from `at` on, an account is a member of the contract that
/// governs its timeline, and of no other contract of the family.
async fn govern(
    db: &mut PgConnection,
    (root, family): (AccountId, &str),
    contract: Option<ContractId>,
    at: DateTime<Utc>,
) -> sqlx::Result<()> {
    let contract = contract.map(ContractId::uuid);
    sqlx::query!(
        "-- plan.contract_members.govern
        WITH others AS (
            UPDATE plan.contract_members m SET left_at = greatest(m.joined_at, $4)
            FROM plan.contracts c
            WHERE c.contract_id = m.contract_id AND c.family_code = $2 AND m.root_id = $1
              AND m.contract_id IS DISTINCT FROM $3::uuid AND (m.left_at IS NULL OR $4 < m.left_at))
        UPDATE plan.contract_members SET left_at = NULL
        WHERE root_id = $1 AND contract_id = $3::uuid AND joined_at <= $4 AND $4 < left_at",
        root.uuid(),
        family,
        contract,
        at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Ends a timeline at `end_at` and removes segments that start there or later. Records it in the outbox. The caller has
/// locked the account.
pub async fn end(
    db: &mut PgConnection,
    (root, family): (AccountId, &str),
    end_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    remove(db, root, family, end_at).await?;
    sqlx::query!(
        "-- plan.segments.end
        UPDATE plan.segments SET end_at = $3
        WHERE root_id = $1 AND family_code = $2 AND start_at < $3 AND (end_at IS NULL OR $3 < end_at)",
        root.uuid(),
        family,
        end_at
    )
    .execute(&mut *db)
    .await?;
    govern(db, (root, family), None, end_at).await?;
    outbox::insert(db, root, family).await
}

/// Removes the end of a segment and everything after it. Records it in the outbox. The caller has locked the account.
pub async fn reopen(
    db: &mut PgConnection,
    (root, family): (AccountId, &str),
    segment: &Segment,
) -> sqlx::Result<()> {
    if let Some(end_at) = segment.end_at {
        remove(db, root, family, end_at).await?;
        set_end(db, (root, family), segment.start_at, None).await?;
        govern(db, (root, family), segment.contract, segment.start_at).await?;
    }
    outbox::insert(db, root, family).await
}

async fn remove(
    db: &mut PgConnection,
    root: AccountId,
    family: &str,
    from: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- plan.segments.remove
        DELETE FROM plan.segments WHERE root_id = $1 AND family_code = $2 AND start_at >= $3",
        root.uuid(),
        family,
        from
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn set_end(
    db: &mut PgConnection,
    (root, family): (AccountId, &str),
    start_at: DateTime<Utc>,
    end_at: Option<DateTime<Utc>>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- plan.segments.set_end
        UPDATE plan.segments SET end_at = $4 WHERE root_id = $1 AND family_code = $2 AND start_at = $3",
        root.uuid(),
        family,
        start_at,
        end_at
    )
    .execute(db)
    .await?;
    Ok(())
}
