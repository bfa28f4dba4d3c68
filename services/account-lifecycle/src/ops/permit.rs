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
    // Closed, it is closed for ever (REQ-042); who closes it again hears how it was closed.
    let closed = account.closed_at.is_some() && !matches!(action, Action::See | Action::Close);
    let buys = matches!(action, Action::ChangePlan | Action::BuyCredits);
    let open = if closed {
        Err(Error::AccountClosed(id))
    } else if buys && account.dormant_at.is_some() {
        // It returns to service first (REQ-050).
        Err(Error::AccountDormant(id))
    } else {
        Ok(account.clone())
    };
    let Caller::Person { user, .. } = caller else {
        return open;
    };
    let held = match user.parse::<UserId>() {
        Ok(user) => members::roles(&mut tx, user.uuid(), account.account_id, root).await?,
        Err(_) => Vec::new(),
    };
    tx.commit().await?;
    // Seeing and using ask only for some role; the rest is the profile's, as data.
    let any_role = matches!(action, Action::See | Action::Use);
    let decided = if any_role || held.is_empty() {
        let none = Roles {
            all: &[],
            change_plan: &[],
            buy_credits: &[],
            close: &[],
            soft_close: &[],
        };
        permitted(&held, action, none)
    } else {
        let profile = ctx.profile_of(&account).await?;
        let roles = |action: &str| {
            let named = profile.permissions.get(action);
            named.cloned().unwrap_or_default()
        };
        let roles = Roles {
            all: &profile.roles,
            change_plan: &roles("change_plan"),
            buy_credits: &roles("buy_credits"),
            close: &roles("close"),
            soft_close: &roles("soft_close"),
        };
        permitted(&held, action, roles)
    };
    decided.map_err(|denied| match denied {
        Denied::Stranger => Error::AccountNotFound(id),
        Denied::RoleNotAllowed => Error::RoleNotAllowed(id),
    })?;
    open
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
