//! `payments.sandbox_book`: the book of the sandbox provider.

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;
use values::{Currency, Money};

use crate::domain::movement::Kind;
use crate::domain::sandbox::State;

chassis::stored_as_text!(State, "payments.sandbox_book.state");

/// A request in the sandbox provider's book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// Our reference.
    pub provider_key: Uuid,
    /// Charge or refund.
    pub kind: Kind,
    /// The sandbox's own id.
    pub provider_id: String,
    /// Token that was charged.
    pub token: String,
    /// Reference of the refunded charge; `None` for a charge.
    pub charge_key: Option<Uuid>,
    /// ISO 4217 code.
    pub currency: String,
    /// Amount in minor units.
    pub amount_minor: i64,
    /// State.
    pub state: State,
    /// Reason why it is, or will be, declined.
    pub decline_reason: String,
    /// When a pending request is decided.
    pub decided_at: Option<DateTime<Utc>>,
    /// State that a pending request will get; `None` otherwise.
    pub decided_state: Option<State>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
}

/// A stored currency that the code does not know.
#[derive(Debug, thiserror::Error)]
#[error("payments.sandbox_book.currency holds {0:?}, which is no currency")]
struct UnknownCurrency(String);

impl Booked {
    /// The amount; an error if its currency is unknown.
    pub fn money(&self) -> sqlx::Result<Money> {
        let currency: Currency = self
            .currency
            .parse()
            .map_err(|_| sqlx::Error::Decode(Box::new(UnknownCurrency(self.currency.clone()))))?;
        Ok(Money::from_minor(self.amount_minor, currency))
    }
}

/// Inserts a request, unless its reference exists.
pub async fn insert(db: &mut PgConnection, booked: &Booked) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.sandbox_book.insert
        INSERT INTO payments.sandbox_book (provider_key, kind, provider_id, token, charge_key, currency, amount_minor,
                                           state, decline_reason, decided_at, decided_state, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING",
        booked.provider_key,
        booked.kind.as_str(),
        booked.provider_id,
        booked.token,
        booked.charge_key,
        booked.currency,
        booked.amount_minor,
        booked.state.as_str(),
        booked.decline_reason,
        booked.decided_at,
        booked.decided_state.map_or("", State::as_str),
        booked.created_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The request with this reference.
pub async fn get(db: &mut PgConnection, key: Uuid) -> sqlx::Result<Option<Booked>> {
    sqlx::query_as!(
        Booked,
        "-- payments.sandbox_book.get
        SELECT provider_key, kind, provider_id, token, charge_key, currency, amount_minor, state, decline_reason,
               decided_at, decided_state, created_at
        FROM payments.sandbox_book WHERE provider_key = $1",
        key
    )
    .fetch_optional(db)
    .await
}

/// Counts the charges of a token, or with `charge` the refunds of that charge.
pub async fn count(db: &mut PgConnection, token: &str, charge: Option<Uuid>) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"-- payments.sandbox_book.count
        SELECT count(*) AS "count!" FROM payments.sandbox_book WHERE token = $1 AND charge_key IS NOT DISTINCT FROM $2"#,
        token,
        charge
    )
    .fetch_one(db)
    .await
}

/// Delivers a lost request after all.
pub async fn arrive(db: &mut PgConnection, key: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.sandbox_book.arrive
        UPDATE payments.sandbox_book SET state = 'SUCCEEDED' WHERE provider_key = $1 AND state = 'LOST'",
        key
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Decides the pending requests due at `now`, all or one; returns their references.
pub async fn decide(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    key: Option<Uuid>,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "-- payments.sandbox_book.decide
        UPDATE payments.sandbox_book SET state = decided_state
        WHERE state = 'PENDING' AND decided_at <= $1 AND decided_state <> '' AND ($2::uuid IS NULL OR provider_key = $2)
        RETURNING provider_key",
        now,
        key
    )
    .fetch_all(db)
    .await
}

/// When the next pending request is decided, up to `until`.
pub async fn next_due(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- payments.sandbox_book.next_due
        SELECT min(decided_at) FROM payments.sandbox_book WHERE state = 'PENDING' AND decided_at <= $1",
        until
    )
    .fetch_one(db)
    .await
}

/// Requests from `from` until before `until`, oldest first, without lost ones.
pub async fn list(
    db: &mut PgConnection,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> sqlx::Result<Vec<Booked>> {
    sqlx::query_as!(
        Booked,
        "-- payments.sandbox_book.list
        SELECT provider_key, kind, provider_id, token, charge_key, currency, amount_minor, state, decline_reason,
               decided_at, decided_state, created_at
        FROM payments.sandbox_book WHERE $1 <= created_at AND created_at < $2 AND state <> 'LOST'
        ORDER BY created_at, provider_key",
        from,
        until
    )
    .fetch_all(db)
    .await
}
