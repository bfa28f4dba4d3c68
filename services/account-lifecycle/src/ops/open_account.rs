//! Opening an account in the other services (D1).

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::tell_standing;
use crate::ctx::Ctx;
use crate::domain::account::AccountType;
use crate::error::Error;
use crate::store::Tenant;
use crate::store::accounts::{self, Account};
use crate::store::roots::Stands;

/// Opens a stored account in the other services and records it; idempotent.
pub async fn finish(ctx: &Ctx, account: &Account, now: DateTime<Utc>) -> Result<(), Error> {
    let told = elsewhere(ctx, account, now).await?;
    let mut tx = ctx.db.begin_as(Tenant::Root(account.root_id)).await?;
    note(&mut tx, account.account_id, told, now).await?;
    tx.commit().await?;
    Ok(())
}

/// Opens a stored account in the other services and tells them how it stands; safe to repeat. Gives what they know then
/// of that, for [`note`].
pub async fn elsewhere(
    ctx: &Ctx,
    account: &Account,
    now: DateTime<Utc>,
) -> Result<Option<Stands>, Error> {
    ctx.open_elsewhere(account).await?;
    let of_trial = account.parent_id.is_none() && account.r#type == AccountType::Trial;
    if of_trial
        && account.trial_end_at.is_none_or(|end| now < end)
        && let Some(credit) = ctx.profile_of(account).await?.trial_credit
    {
        ctx.grant_trial_credit(account, credit).await?;
    }
    // Before it is opened: nobody buys for a trial what a trial may not.
    tell_standing::told(ctx, account.account_id).await
}

/// Notes that the other services have opened an account, and what they know of how it stands.
pub async fn note(
    db: &mut PgConnection,
    account: Uuid,
    told: Option<Stands>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if let Some(standing) = told {
        tell_standing::note(db, &standing).await?;
    }
    Ok(accounts::set_opened(db, account, now).await?)
}
