//! `plan.contracts` and `plan.contract_members`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;
use values::{AccountId, ContractId};

/// A contract, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    /// Contract id.
    pub contract_id: Uuid,
    /// Family code.
    pub family_code: String,
    /// Plan code.
    pub plan_code: String,
    /// Catalogue version of its terms.
    pub catalogue_version: String,
    /// Root account that pays.
    pub payer_id: Uuid,
    /// Creation time.
    pub created_at: DateTime<Utc>,
}

/// The membership of an account in a contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The root account.
    pub root_id: Uuid,
    /// Start, inclusive.
    pub joined_at: DateTime<Utc>,
    /// End, exclusive; `None` while it has no end.
    pub left_at: Option<DateTime<Utc>>,
}

impl Member {
    /// Whether it is a member at `now`; one whose end is in the future still is.
    pub fn is_in(&self, now: DateTime<Utc>) -> bool {
        self.left_at.is_none_or(|left| now < left)
    }
}

/// Inserts a contract.
pub async fn insert(db: &mut PgConnection, contract: &Contract) -> sqlx::Result<()> {
    sqlx::query!(
        "-- plan.contracts.insert
        INSERT INTO plan.contracts (contract_id, family_code, plan_code, catalogue_version, payer_id, created_at)
        VALUES ($1, $2, $3, $4, $5, $6)",
        contract.contract_id,
        contract.family_code,
        contract.plan_code,
        contract.catalogue_version,
        contract.payer_id,
        contract.created_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The contracts that an account is a member of and has not left.
pub async fn joined(db: &mut PgConnection, root: AccountId) -> sqlx::Result<Vec<Contract>> {
    sqlx::query_as!(
        Contract,
        "-- plan.contracts.joined
        SELECT c.contract_id, family_code, plan_code, catalogue_version, payer_id, created_at
        FROM plan.contracts c JOIN plan.contract_members m ON m.contract_id = c.contract_id
        WHERE m.root_id = $1 AND m.left_at IS NULL",
        root.uuid()
    )
    .fetch_all(db)
    .await
}

/// Locks and returns the contract `id`.
pub async fn lock(db: &mut PgConnection, id: ContractId) -> sqlx::Result<Option<Contract>> {
    sqlx::query_as!(
        Contract,
        "-- plan.contracts.lock
        SELECT contract_id, family_code, plan_code, catalogue_version, payer_id, created_at
        FROM plan.contracts WHERE contract_id = $1 FOR UPDATE",
        id.uuid()
    )
    .fetch_optional(db)
    .await
}

/// The contract `id`.
pub async fn get(db: &mut PgConnection, id: ContractId) -> sqlx::Result<Option<Contract>> {
    sqlx::query_as!(
        Contract,
        "-- plan.contracts.get
        SELECT contract_id, family_code, plan_code, catalogue_version, payer_id, created_at
        FROM plan.contracts WHERE contract_id = $1",
        id.uuid()
    )
    .fetch_optional(db)
    .await
}

/// Up to `limit` contracts before `before`, newest first; all, or those that `member` is or was in.
pub async fn list(
    db: &mut PgConnection,
    member: Option<AccountId>,
    before: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Contract>> {
    sqlx::query_as!(
        Contract,
        "-- plan.contracts.list
        SELECT contract_id, family_code, plan_code, catalogue_version, payer_id, created_at FROM plan.contracts
        WHERE ($1::uuid IS NULL
               OR contract_id = ANY(ARRAY(SELECT m.contract_id FROM plan.contract_members m WHERE m.root_id = $1)))
          AND ($2::uuid IS NULL OR contract_id < $2)
        ORDER BY contract_id DESC LIMIT $3",
        member.map(AccountId::uuid),
        before,
        limit
    )
    .fetch_all(db)
    .await
}

/// Sets the payer of a contract.
pub async fn set_payer(
    db: &mut PgConnection,
    id: ContractId,
    payer: AccountId,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- plan.contracts.set_payer\nUPDATE plan.contracts SET payer_id = $2 WHERE contract_id = $1",
        id.uuid(),
        payer.uuid()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The members of a contract, past ones included, in order of joining.
pub async fn members(db: &mut PgConnection, id: ContractId) -> sqlx::Result<Vec<Member>> {
    sqlx::query_as!(
        Member,
        "-- plan.contract_members.list
        SELECT root_id, joined_at, left_at FROM plan.contract_members WHERE contract_id = $1
        ORDER BY joined_at, root_id",
        id.uuid()
    )
    .fetch_all(db)
    .await
}

/// Adds a member from `now` on. If it left at the same instant, that is undone.
pub async fn join(
    db: &mut PgConnection,
    id: ContractId,
    root: AccountId,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- plan.contract_members.join
        INSERT INTO plan.contract_members (contract_id, root_id, joined_at) VALUES ($1, $2, $3)
        ON CONFLICT (contract_id, root_id, joined_at) DO UPDATE SET left_at = NULL",
        id.uuid(),
        root.uuid(),
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Ends a membership.
pub async fn leave(
    db: &mut PgConnection,
    id: ContractId,
    root: AccountId,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- plan.contract_members.leave
        UPDATE plan.contract_members SET left_at = greatest(joined_at, $3) WHERE contract_id = $1 AND root_id = $2 AND left_at IS NULL",
        id.uuid(),
        root.uuid(),
        now
    )
    .execute(db)
    .await?;
    Ok(())
}
