//! Suspensions. An account can be suspended for several reasons and is active once none is left.

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::history::{self, Told};
use crate::domain::account::Suspension;
use crate::error::Error;
use crate::store::accounts;

/// Adds or removes a suspension reason; a root's reasons also suspend its subaccounts. Returns whether anything
/// changed; a closed account stays as it is.
pub async fn set(
    db: &mut PgConnection,
    id: Uuid,
    (reason, suspended): (Suspension, bool),
    (actor, note): (&str, &str),
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let Some(account) = accounts::get(db, id).await? else {
        return Ok(false);
    };
    accounts::lock(db, account.root_id).await?;
    let before = accounts::get(db, id)
        .await?
        .ok_or(Error::Stored("account"))?;
    if before.closed_at.is_some() {
        return Ok(false);
    }
    let changed = if suspended {
        accounts::suspend(db, id, reason).await?
    } else {
        accounts::reinstate(db, id, reason).await?
    };
    if !changed {
        return Ok(false);
    }
    let after = accounts::get(db, id)
        .await?
        .ok_or(Error::Stored("account"))?;
    let because = if note.is_empty() {
        reason.as_str().to_owned()
    } else {
        format!("{}: {note}", reason.as_str())
    };
    let told = Told {
        state: "STATUS",
        name: if suspended { "SUSPENDED" } else { "REINSTATED" },
        change: (before.status().as_str(), after.status().as_str()),
        actor,
        reason: &because,
        resource: "",
    };
    history::tell(db, (before.root_id, id), &told, now).await?;
    Ok(true)
}
