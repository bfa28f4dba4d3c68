//! Role-based permissions within an account. Roles and what they permit come from the profile.

use thiserror::Error;

/// An action that requires a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Read the account: any role.
    See,
    /// See its money, such as balance and invoices: a role that may change the plan, buy credit or close the account.
    SeeMoney,
    /// Use the account while it is open: any role.
    Use,
    /// Close the account (REQ-041).
    Close,
    /// Make the account dormant, and return it to service.
    SoftClose,
    /// Change the plan (REQ-038).
    ChangePlan,
    /// Buy credit.
    BuyCredits,
    /// Manage payment methods and auto-recharge, also while the account is dormant: a role that may buy credit.
    ManageMethods,
    /// Manage subaccounts and members: the profile's first role, the owner's.
    Manage,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 9] = [
        Self::See,
        Self::SeeMoney,
        Self::Use,
        Self::Close,
        Self::SoftClose,
        Self::ChangePlan,
        Self::BuyCredits,
        Self::ManageMethods,
        Self::Manage,
    ];

    /// Name as stored.
    pub const fn name(self) -> &'static str {
        match self {
            Self::See => "SEE",
            Self::SeeMoney => "SEE_MONEY",
            Self::Use => "USE",
            Self::Close => "CLOSE",
            Self::SoftClose => "SOFT_CLOSE",
            Self::ChangePlan => "CHANGE_PLAN",
            Self::BuyCredits => "BUY_CREDITS",
            Self::ManageMethods => "MANAGE_METHODS",
            Self::Manage => "MANAGE",
        }
    }

    /// The action with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

/// A profile's roles and what they permit.
#[derive(Debug, Clone, Copy)]
pub struct Roles<'a> {
    /// Every role, the owner's first.
    pub all: &'a [String],
    /// Roles that may change the plan.
    pub change_plan: &'a [String],
    /// Roles that may buy credit.
    pub buy_credits: &'a [String],
    /// Roles that may close the account.
    pub close: &'a [String],
    /// Roles that may make the account dormant.
    pub soft_close: &'a [String],
}

/// Why a person may not do something in an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Denied {
    /// The person has no role in the account, so for them it does not exist.
    #[error("the person has no role in the account")]
    Stranger,
    /// None of the person's roles permits the action.
    #[error("none of the person's roles permits this")]
    RoleNotAllowed,
}

/// Whether the roles `held` permit `action`.
///
/// # Errors
/// `Stranger` without any role; `RoleNotAllowed` if none of the roles permits the action.
pub fn permitted(held: &[String], action: Action, roles: Roles<'_>) -> Result<(), Denied> {
    if held.is_empty() {
        return Err(Denied::Stranger);
    }
    let may = |role: &String| match action {
        Action::See | Action::Use => true,
        Action::SeeMoney => {
            let mut rights = [roles.change_plan, roles.buy_credits, roles.close].into_iter();
            rights.any(|of| of.contains(role))
        }
        Action::Close => roles.close.contains(role),
        Action::SoftClose => roles.soft_close.contains(role),
        Action::ChangePlan => roles.change_plan.contains(role),
        Action::BuyCredits | Action::ManageMethods => roles.buy_credits.contains(role),
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
    fn an_action_is_known_by_its_name() {
        for action in Action::ALL {
            assert_eq!(Action::named(action.name()), Some(action));
        }
        assert_eq!(Action::named("see"), None);
    }

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
            for action in [Action::ChangePlan, Action::SeeMoney, Action::ManageMethods] {
                assert_eq!(check(&[role], action), Ok(()));
            }
        }
        for role in ["DEVELOPER", "SUPPORT"] {
            for action in [Action::ChangePlan, Action::SeeMoney, Action::ManageMethods] {
                assert_eq!(check(&[role], action), Err(Denied::RoleNotAllowed));
            }
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
