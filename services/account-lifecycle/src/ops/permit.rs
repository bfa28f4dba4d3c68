//! Whether a caller may act for an account, and acting in its tenant.

use chassis::{Call, Caller, Unit};
use uuid::Uuid;
use values::{AccountId, UserId};

use crate::ctx::Ctx;
use crate::domain::permission::{Action, Denied, Roles, permitted};
use crate::error::Error;
use crate::store::accounts::{self, Account};
use crate::store::{self, Tenant, members, roots};

/// The account `id`, if `caller` may do `action` for it.
///
/// An operator may whatever the access table lets through. A person needs a role: without any, the
/// account does not exist.
pub async fn allowed(
    ctx: &Ctx,
    caller: &Caller,
    id: AccountId,
    action: Action,
) -> Result<Account, Error> {
    let mut tx = ctx.db.begin().await?;
    let root = roots::of(&mut tx, id)
        .await?
        .ok_or(Error::AccountNotFound(id))?;
    store::enter(&mut tx, Tenant::Root(root)).await?;
    let account = accounts::get(&mut tx, id.uuid())
        .await?
        .ok_or(Error::AccountNotFound(id))?;
    let Caller::Person { user, .. } = caller else {
        return Ok(account);
    };
    let held = match user.parse::<UserId>() {
        Ok(user) => members::roles(&mut tx, user.uuid(), account.account_id, root).await?,
        Err(_) => Vec::new(),
    };
    tx.commit().await?;
    // Seeing asks only for some role; the rest is the profile's, as data.
    let decided = match action {
        Action::See => permitted(
            &held,
            action,
            Roles {
                all: &[],
                change_plan: &[],
                buy_credits: &[],
            },
        ),
        Action::ChangePlan | Action::BuyCredits | Action::Manage if held.is_empty() => {
            Err(Denied::Stranger)
        }
        Action::ChangePlan | Action::BuyCredits | Action::Manage => {
            let profile = ctx.profile_of(&account).await?;
            let roles = |action: &str| {
                let named = profile.permissions.get(action);
                named.cloned().unwrap_or_default()
            };
            let (change_plan, buy_credits) = (roles("change_plan"), roles("buy_credits"));
            permitted(
                &held,
                action,
                Roles {
                    all: &profile.roles,
                    change_plan: &change_plan,
                    buy_credits: &buy_credits,
                },
            )
        }
    };
    decided.map_err(|denied| match denied {
        Denied::Stranger => Error::AccountNotFound(id),
        Denied::RoleNotAllowed => Error::RoleNotAllowed(id),
    })?;
    Ok(account)
}

/// Begins a step of a saga in the tenant of an account.
pub async fn step<M>(ctx: &Ctx, call: &Call<M>, account: &Account) -> Result<Unit, Error> {
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    store::enter(&mut unit.tx, Tenant::Root(account.root_id)).await?;
    Ok(unit)
}

/// The user behind a caller.
pub fn person(caller: &Caller) -> Option<Uuid> {
    match caller {
        Caller::Person { user, .. } => user.parse::<UserId>().ok().map(UserId::uuid),
        Caller::Operator { .. } | Caller::Service { .. } => None,
    }
}
