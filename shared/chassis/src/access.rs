//! Who may call which method, and for which accounts: one table for each service; what it does not allow is denied
//! (D36, D37).

use crate::{Caller, OperatorRole, ServiceName, Standing};

/// A kind of caller. Operators are listed by role; no entry means "any operator", so an operator without a role can
/// call nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// This service.
    Service(ServiceName),
    /// An operator who holds this role.
    Operator(OperatorRole),
    /// A person of an account; which account, the handler checks.
    Person,
}

/// Every identified caller: a person, each service, and an operator with any role.
pub const ANYONE: &[Who] = &[
    Who::Person,
    Who::Service(ServiceName::Plan),
    Who::Service(ServiceName::Billing),
    Who::Service(ServiceName::AccountLifecycle),
    Who::Service(ServiceName::Payments),
    Who::Service(ServiceName::Gateway),
    Who::Service(ServiceName::Usage),
    Who::Operator(OperatorRole::Catalogue),
    Who::Operator(OperatorRole::Sales),
    Who::Operator(OperatorRole::SupportAgent),
    Who::Operator(OperatorRole::Billing),
    Who::Operator(OperatorRole::Kyc),
    Who::Operator(OperatorRole::Risk),
    Who::Operator(OperatorRole::Auditor),
];

/// A row of the table: one method and those who may call it.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// The method's name, without its service.
    pub method: &'static str,
    /// Whether its request or response is a stream: then no deadline is set for it.
    pub streams: bool,
    /// Those who may call it.
    pub who: &'static [Who],
    /// Standings of the account in which the method is refused, if it changes something (D37).
    pub shut: &'static [Standing],
}

impl Access {
    /// A unary method and those who may call it.
    pub const fn unary(method: &'static str, who: &'static [Who]) -> Self {
        Self {
            method,
            streams: false,
            who,
            shut: Standing::ENDED,
        }
    }

    /// A streaming method and those who may call it.
    pub const fn stream(method: &'static str, who: &'static [Who]) -> Self {
        Self {
            method,
            streams: true,
            who,
            shut: Standing::ENDED,
        }
    }

    /// The same method, refused in exactly these standings. The default is to refuse it for closing, closed and
    /// erased accounts.
    #[must_use]
    pub const fn shut_in(self, shut: &'static [Standing]) -> Self {
        Self { shut, ..self }
    }

    /// The same method, allowed in every standing.
    #[must_use]
    pub const fn always(self) -> Self {
        self.shut_in(&[])
    }

    /// Whether `caller` may.
    pub fn allows(&self, caller: &Caller) -> bool {
        self.who.iter().any(|who| match (who, caller) {
            (Who::Service(name), Caller::Service { name: caller }) => name == caller,
            (Who::Operator(role), Caller::Operator { roles, .. }) => roles.contains(role),
            (Who::Person, Caller::Person { .. }) => true,
            (Who::Service(_) | Who::Operator(_) | Who::Person, _) => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use values::UserId;

    use super::*;

    const ACCESS: Access = Access::unary(
        "CreateContract",
        &[
            Who::Operator(OperatorRole::Sales),
            Who::Service(ServiceName::AccountLifecycle),
        ],
    );

    fn operator(roles: &[OperatorRole]) -> Caller {
        Caller::Operator {
            name: "o".to_owned(),
            roles: roles.iter().copied().collect(),
        }
    }

    fn person() -> Caller {
        Caller::Person {
            user: UserId::new(),
            authenticated_at: None,
        }
    }

    #[test]
    fn only_the_named_may() {
        for role in OperatorRole::ALL {
            let may = *role == OperatorRole::Sales;
            assert_eq!(ACCESS.allows(&operator(&[*role])), may, "{role}");
        }
        for name in ServiceName::ALL {
            let may = *name == ServiceName::AccountLifecycle;
            let service = Caller::Service { name: *name };
            assert_eq!(ACCESS.allows(&service), may, "{name}");
        }
        assert!(ACCESS.allows(&operator(OperatorRole::ALL)));
        assert!(!ACCESS.allows(&person()));
    }

    #[test]
    fn anyone_is_all_that_there_are() {
        let open = Access::stream("ServerReflectionInfo", ANYONE);
        assert!(open.allows(&person()));
        for role in OperatorRole::ALL {
            assert!(open.allows(&operator(&[*role])), "{role}");
        }
        for name in ServiceName::ALL {
            assert!(open.allows(&Caller::Service { name: *name }), "{name}");
        }
        assert!(!open.allows(&operator(&[])));
    }

    #[test]
    fn an_operator_without_a_role_may_call_nothing() {
        let without_role = |name: &str| Caller::Operator {
            name: name.to_owned(),
            roles: BTreeSet::new(),
        };
        let roles = OperatorRole::ALL.iter().copied();
        let mut who: Vec<Who> = roles.map(Who::Operator).collect();
        who.extend(ServiceName::ALL.iter().copied().map(Who::Service));
        who.push(Who::Person);
        let open = Access::unary("AnyMethod", who.leak());
        // An unknown name grants no access, whether it is a role's, a service's or a user's.
        for name in ["o", "SALES", "billing", "root"] {
            assert!(!open.allows(&without_role(name)), "{name}");
        }
        assert!(open.allows(&person()));
        assert!(!Access::unary("NoMethod", &[]).allows(&operator(OperatorRole::ALL)));
    }
}
