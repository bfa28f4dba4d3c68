//! Who may do what for an account: roles and actions are the profile's, as data.

use thiserror::Error;

/// An action that a role may or may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// See the account: any role.
    See,
    /// Use it, while it is open: any role.
    Use,
    /// Close it (REQ-041).
    Close,
    /// Make it dormant, and bring it back.
    SoftClose,
    /// Change its plan (REQ-038).
    ChangePlan,
    /// Buy credit for it.
    BuyCredits,
    /// Manage its subaccounts and members: the profile's first role.
    Manage,
}

/// A profile's roles and permissions.
#[derive(Debug, Clone, Copy)]
pub struct Roles<'a> {
    /// Every role, the owner's first.
    pub all: &'a [String],
    /// The roles that may change the plan.
    pub change_plan: &'a [String],
    /// The roles that may buy credit.
    pub buy_credits: &'a [String],
    /// The roles that may close it.
    pub close: &'a [String],
    /// The roles that may make it dormant.
    pub soft_close: &'a [String],
}

/// The person's roles do not reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Denied {
    /// No role at all: for this person the account does not exist.
    #[error("no role in the account")]
    Stranger,
    /// Roles, but none that may.
    #[error("none of the person's roles may do this")]
    RoleNotAllowed,
}

/// Whether somebody with the roles `held` may do `action`.
///
/// # Errors
/// `Stranger` without any role; `RoleNotAllowed` when none of them may.
pub fn permitted(held: &[String], action: Action, roles: Roles<'_>) -> Result<(), Denied> {
    if held.is_empty() {
        return Err(Denied::Stranger);
    }
    let may = |role: &String| match action {
        Action::See | Action::Use => true,
        Action::Close => roles.close.contains(role),
        Action::SoftClose => roles.soft_close.contains(role),
        Action::ChangePlan => roles.change_plan.contains(role),
        Action::BuyCredits => roles.buy_credits.contains(role),
        Action::Manage => roles.all.first() == Some(role),
    };
    if held.iter().any(may) {
        Ok(())
    } else {
        Err(Denied::RoleNotAllowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn req_038_roles_with_billing_rights_change_plans_and_strangers_see_nothing() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let all = names(&[
            "OWNER",
            "ADMINISTRATOR",
            "DEVELOPER",
            "BILLING_MANAGER",
            "SUPPORT",
        ]);
        let change_plan = names(&["OWNER", "ADMINISTRATOR", "BILLING_MANAGER"]);
        let roles = Roles {
            all: &all,
            change_plan: &change_plan,
            buy_credits: &change_plan,
            close: &all[..1],
            soft_close: &all[..1],
        };
        let check = |held: &[&str], action| permitted(&names(held), action, roles);
        for role in ["OWNER", "ADMINISTRATOR", "BILLING_MANAGER"] {
            assert_eq!(check(&[role], Action::ChangePlan), Ok(()));
        }
        for role in ["DEVELOPER", "SUPPORT"] {
            assert_eq!(
                check(&[role], Action::ChangePlan),
                Err(Denied::RoleNotAllowed)
            );
            assert_eq!(check(&[role], Action::See), Ok(()));
        }
        assert_eq!(check(&["SUPPORT", "OWNER"], Action::Manage), Ok(()));
        assert_eq!(
            check(&["ADMINISTRATOR"], Action::Manage),
            Err(Denied::RoleNotAllowed)
        );
        assert_eq!(check(&["OWNER"], Action::Close), Ok(()));
        for role in ["ADMINISTRATOR", "DEVELOPER", "BILLING_MANAGER", "SUPPORT"] {
            assert_eq!(check(&[role], Action::Close), Err(Denied::RoleNotAllowed));
            assert_eq!(
                check(&[role], Action::SoftClose),
                Err(Denied::RoleNotAllowed)
            );
        }
        assert_eq!(check(&[], Action::See), Err(Denied::Stranger));
    }
}
