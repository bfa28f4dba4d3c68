//! `billing.recipients`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The invoice recipient of a root account, and where it was taxed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recipient {
    /// Name, address and tax id, one line each.
    pub recipient: String,
    /// ISO 3166-1 code of its tax country; empty if unknown.
    pub country_code: String,
    /// Code of its state; empty if none.
    pub state_code: String,
    /// Whether sales to it are exports.
    pub export_supply: bool,
}

/// Sets the invoice recipient of a root account from `since` on, with where the account is taxed now.
pub async fn set(
    db: &mut PgConnection,
    root: Uuid,
    recipient: &str,
    since: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.recipients.set
        INSERT INTO billing.recipients (root_id, since, recipient, country_code, state_code, export_supply)
        SELECT a.account_id, $2::timestamptz, $3::text, a.country_code, a.state_code, a.export_supply
        FROM billing.accounts a WHERE a.account_id = $1
        ON CONFLICT (root_id, since) DO UPDATE
        SET recipient = excluded.recipient, country_code = excluded.country_code,
            state_code = excluded.state_code, export_supply = excluded.export_supply",
        root,
        since,
        recipient
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The invoice recipient of a root account at `at`; the first known one if `at` is earlier. Without a name if none is
/// known, and taxed as today if it is not known where it was taxed then.
pub async fn at(
    db: &mut PgConnection,
    root: Uuid,
    at: DateTime<Utc>,
) -> sqlx::Result<Option<Recipient>> {
    sqlx::query_as!(
        Recipient,
        r#"-- billing.recipients.at
        SELECT coalesce(r.recipient, '') AS "recipient!",
               CASE WHEN r.country_code IS NULL THEN a.country_code ELSE r.country_code END AS "country_code!",
               CASE WHEN r.country_code IS NULL THEN a.state_code ELSE r.state_code END AS "state_code!",
               CASE WHEN r.country_code IS NULL THEN a.export_supply ELSE r.export_supply END AS "export_supply!"
        FROM billing.accounts a
        LEFT JOIN LATERAL (
            SELECT recipient, country_code, state_code, export_supply FROM billing.recipients WHERE root_id = a.account_id
            ORDER BY since <= $2 DESC, CASE WHEN since <= $2 THEN since END DESC, since LIMIT 1) r ON true
        WHERE a.account_id = $1"#,
        root,
        at
    )
    .fetch_optional(db)
    .await
}

/// Whether a root account has an invoice recipient.
pub async fn known(db: &mut PgConnection, root: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- billing.recipients.known
        SELECT EXISTS (SELECT FROM billing.recipients WHERE root_id = $1) AS "known!""#,
        root
    )
    .fetch_one(db)
    .await
}

/// Deletes and returns all invoice recipients of a root account, in no order.
pub async fn take(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Vec<(DateTime<Utc>, String)>> {
    let rows = sqlx::query!(
        "-- billing.recipients.take
        DELETE FROM billing.recipients WHERE root_id = $1 RETURNING since, recipient",
        root
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|it| (it.since, it.recipient))
        .collect())
}
