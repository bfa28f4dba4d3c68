//! Opening an account in the other services (D1).

use chrono::{DateTime, Utc};

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::accounts::{self, Account};
use crate::store::{self, Tenant};

/// Opens a stored account in the other services and notes it; safe to repeat.
pub async fn finish(ctx: &Ctx, account: &Account, now: DateTime<Utc>) -> Result<(), Error> {
    ctx.open_elsewhere(account).await?;
    let of_trial = account.parent_id.is_none() && account.r#type == "TRIAL";
    if of_trial
        && account.trial_end_at.is_none_or(|end| now < end)
        && let Some(credit) = ctx.profile_of(account).await?.trial_credit
    {
        ctx.grant_trial_credit(account, credit).await?;
    }
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(account.root_id)).await?;
    accounts::set_opened(&mut tx, account.account_id, now).await?;
    tx.commit().await?;
    Ok(())
}
