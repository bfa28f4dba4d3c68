//! Whether a caller may act for an account, and transactions in its tenant.

use chassis::{Call, Caller, PgConnection, ServiceName, StandsIn, Unit};
use uuid::Uuid;
use values::{AccountId, UserId};

use crate::clients::Profile;
use crate::ctx::Ctx;
use crate::domain::permission::{Action, Denied, Roles, permitted};
use crate::error::Error;
use crate::store::accounts::{self, Account, Seen};
use crate::store::{Tenant, billing_details, members};

/// The account `id`, if `caller` may do `action` in its present state.
///
/// An operator may do whatever the access table permits; so may the gateway. A person needs a role in the account;
/// without any, the account does not exist for them. For any other caller no account exists.
pub async fn allowed(
    ctx: &Ctx,
    caller: &Caller,
    id: AccountId,
    action: Action,
) -> Result<Account, Error> {
    let (account, _) = entitled(ctx, caller, id, action).await?;
    usable(&account, action)?;
    Ok(account)
}

/// Checks that a person still has the permissions under which an earlier answer was given, before that answer is
/// replayed. The state of the accounts does not matter.
pub async fn still_entitled(ctx: &Ctx, caller: &Caller, asked: &[String]) -> Result<(), Error> {
    // Permissions of operators and services are in the token of each call and checked by the access table.
    let Caller::Person { .. } = caller else {
        return Ok(());
    };
    for it in asked {
        let read = it.split_once(' ').and_then(|(id, action)| {
            let id: AccountId = id.parse().ok()?;
            Some((id, Action::named(action)?))
        });
        let (id, action) = read.ok_or(Error::Stored("permission of a replayed answer"))?;
        entitled(ctx, caller, id, action).await?;
    }
    Ok(())
}

/// The account `id` and how it stands, if the roles of `caller` reach for `action`, however that is.
async fn entitled(
    ctx: &Ctx,
    caller: &Caller,
    id: AccountId,
    action: Action,
) -> Result<(Account, StandsIn), Error> {
    let mut db = ctx.db.acquire().await?;
    let found = accounts::seen(&mut db, id.uuid(), person(caller)).await?;
    drop(db);
    let (seen, stands) = found.ok_or(Error::AccountNotFound(id))?;
    let profile = if asks_profile(caller, &seen, action) {
        Some(ctx.profile_of(&seen.account).await?)
    } else {
        None
    };
    reaches(caller, &seen, action, profile.as_ref())?;
    Ok((seen.account, stands))
}

/// The person that a caller is, if it is one.
pub fn person(caller: &Caller) -> Option<Uuid> {
    match caller {
        Caller::Person { user, .. } => Some(user.uuid()),
        Caller::Operator { .. } | Caller::Service { .. } => None,
    }
}

/// Whether the profile decides if `caller` may do `action`: seeing and using ask only for some role, the rest is the
/// profile's, as data.
pub fn asks_profile(caller: &Caller, seen: &Seen, action: Action) -> bool {
    let any_role = matches!(action, Action::See | Action::Use);
    person(caller).is_some() && !any_role && !seen.roles.is_empty()
}

/// The account that was seen, if `caller` may do `action` for it as it stands; `profile` is its profile, where
/// [`asks_profile`] says so.
pub fn judged(
    caller: &Caller,
    seen: Seen,
    action: Action,
    profile: Option<&Profile>,
) -> Result<Account, Error> {
    reaches(caller, &seen, action, profile)?;
    usable(&seen.account, action)?;
    Ok(seen.account)
}

/// That the roles of `caller` in an account reach for `action`, however it stands.
fn reaches(
    caller: &Caller,
    seen: &Seen,
    action: Action,
    profile: Option<&Profile>,
) -> Result<(), Error> {
    let id = AccountId::from_uuid(seen.account.account_id);
    match caller {
        Caller::Person { .. } => {
            may(&seen.roles, action, profile).map_err(|denied| match denied {
                Denied::Stranger => Error::AccountNotFound(id),
                Denied::RoleNotAllowed => Error::RoleNotAllowed(id),
            })?;
            noted(id, action);
            Ok(())
        }
        Caller::Operator { .. }
        | Caller::Service {
            name: ServiceName::Gateway,
        } => Ok(()),
        Caller::Service { .. } => Err(Error::AccountNotFound(id)),
    }
}

/// Whether somebody with the roles `held` may do `action` under a profile.
fn may(held: &[String], action: Action, profile: Option<&Profile>) -> Result<(), Denied> {
    let named = |action: &str| {
        let named = profile.and_then(|it| it.permissions.get(action));
        named.map(Vec::as_slice).unwrap_or_default()
    };
    let roles = Roles {
        all: profile.map(|it| it.roles.as_slice()).unwrap_or_default(),
        change_plan: named("change_plan"),
        buy_credits: named("buy_credits"),
        close: named("close"),
        soft_close: named("soft_close"),
    };
    permitted(held, action, roles)
}

/// That an account stands so that `action` can be done for it.
fn usable(account: &Account, action: Action) -> Result<(), Error> {
    let id = AccountId::from_uuid(account.account_id);
    // Closed, it is closed for ever (REQ-042); who closes it again hears how it was closed.
    let shown_closed = matches!(action, Action::See | Action::SeeMoney | Action::Close);
    if account.closed_at.is_some() && !shown_closed {
        return Err(Error::AccountClosed(id));
    }
    let buys = matches!(action, Action::ChangePlan | Action::BuyCredits);
    if buys && account.dormant_at.is_some() {
        // It returns to service first (REQ-050).
        return Err(Error::AccountDormant(id));
    }
    Ok(())
}

/// Records a permission under which this answer is given; it is checked again before the answer is replayed.
fn noted(id: AccountId, action: Action) {
    chassis::asked(format!("{id} {}", action.name()));
}

/// Records that the answer shows an account created by this call, so that it is replayed only to callers who may see
/// it.
pub fn shown(account: &Account) {
    noted(AccountId::from_uuid(account.account_id), Action::See);
}

/// The account `id`, if the caller may do `action` and the method is open to the account in its present state (D37).
pub async fn acting<M>(
    ctx: &Ctx,
    call: &Call<M>,
    id: AccountId,
    action: Action,
) -> Result<Account, Error> {
    let (account, stands) = entitled(ctx, &call.caller, id, action).await?;
    usable(&account, action)?;
    // Anybody else was refused as the call came; to a person the account had to be there first.
    match call.caller {
        Caller::Person { .. } => call.open_to(id.uuid(), &stands)?,
        Caller::Operator { .. } | Caller::Service { .. } => {}
    }
    Ok(account)
}

/// The account `id`, if `caller` may see its root account's KYC and audit entries, for which a role in a subaccount
/// does not suffice.
pub async fn sees_root(ctx: &Ctx, caller: &Caller, id: AccountId) -> Result<Account, Error> {
    let account = allowed(ctx, caller, id, Action::See).await?;
    let root = AccountId::from_uuid(account.root_id);
    if root == id {
        return Ok(account);
    }
    match allowed(ctx, caller, root, Action::See).await {
        Ok(_) => Ok(account),
        Err(Error::AccountNotFound(_)) => Err(Error::RoleNotAllowed(id)),
        Err(error) => Err(error),
    }
}

/// Whether `caller` may see an object that was looked up by its id; `None` if there is no such object. Both cases run
/// the same query, so that response times do not reveal which ids exist.
pub async fn knows(
    db: &mut PgConnection,
    caller: &Caller,
    of: Option<(Uuid, Uuid)>,
) -> Result<bool, Error> {
    let Caller::Person { user, .. } = caller else {
        return Ok(of.is_some());
    };
    let (account, root) = of.unwrap_or_default();
    let held = members::roles(db, user.uuid(), account, root).await?;
    Ok(of.is_some() && !held.is_empty())
}

/// Checks that a priced order can be taxed: if the profile levies tax, the root's tax country must be known (D33).
pub async fn taxable(ctx: &Ctx, account: &Account) -> Result<(), Error> {
    if !ctx.profile_of(account).await?.taxes {
        return Ok(());
    }
    let mut tx = ctx.db.begin_as(Tenant::Root(account.root_id)).await?;
    let details = billing_details::get(&mut tx, account.root_id).await?;
    tx.commit().await?;
    if details.is_some_and(|it| it.is_taxable()) {
        return Ok(());
    }
    let root = AccountId::from_uuid(account.root_id);
    Err(Error::BillingDetailsRequired(root))
}

/// Locks the root account and checks the account's standings again: a closing that held the lock may have ended it
/// (D37).
pub async fn lock(unit: &mut Unit, account: &Account) -> Result<(), Error> {
    accounts::lock(&mut unit.tx, account.root_id).await?;
    unit.still_concerns(account.account_id).await
}

/// Begins a saga step in the tenant of an account.
pub async fn step<M>(ctx: &Ctx, call: &Call<M>, account: &Account) -> Result<Unit, Error> {
    // The request may name a thing of it, such as a number.
    let tenant = Tenant::Root(account.root_id);
    call.step_as(&ctx.db, tenant, account.account_id).await
}

/// Whose personal data a caller may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// One person's: their own.
    Own(UserId),
    /// Everyone's: an operator, whose roles the access table has checked.
    All,
}

/// Whose personal data `caller` may see; a service sees nobody's.
pub fn sight(caller: &Caller) -> Result<Sight, Error> {
    match caller {
        Caller::Person { user, .. } => Ok(Sight::Own(*user)),
        Caller::Operator { .. } => Ok(Sight::All),
        Caller::Service { .. } => Err(Error::OperatorsOnly("caller")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_person_sees_themselves_and_a_service_nobody() {
        let user = UserId::new();
        let person = Caller::Person {
            user,
            authenticated_at: None,
        };
        let operator = Caller::Operator {
            name: "ann".to_owned(),
            roles: BTreeSet::new(),
        };
        assert_eq!(sight(&person).unwrap(), Sight::Own(user));
        assert_eq!(sight(&operator).unwrap(), Sight::All);
        for name in ServiceName::ALL {
            assert!(sight(&Caller::Service { name: *name }).is_err(), "{name}");
        }
    }
}
