//! Who may call what: a table a service, default deny.

use crate::Caller;

/// A kind of caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The service of this name.
    Service(&'static str),
    /// An operator who holds this role.
    Operator(&'static str),
    /// Any operator.
    AnyOperator,
    /// A person of an account; which account, the handler checks.
    Person,
}

/// A row of the table: one method and those who may call it.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    /// The method's name, without its service.
    pub method: &'static str,
    /// Whether its request or response is a stream: then no deadline is set for it.
    pub streams: bool,
    /// Those who may call it.
    pub who: &'static [Who],
}

impl Access {
    /// A unary method and those who may call it.
    pub const fn unary(method: &'static str, who: &'static [Who]) -> Self {
        Self {
            method,
            streams: false,
            who,
        }
    }

    /// A streaming method and those who may call it.
    pub const fn stream(method: &'static str, who: &'static [Who]) -> Self {
        Self {
            method,
            streams: true,
            who,
        }
    }

    /// Whether `caller` may.
    pub fn allows(&self, caller: &Caller) -> bool {
        self.who.iter().any(|who| match (who, caller) {
            (Who::Service(name), Caller::Service { name: caller }) => name == caller,
            (Who::Operator(role), Caller::Operator { roles, .. }) => {
                roles.iter().any(|it| it == role)
            }
            (Who::AnyOperator, Caller::Operator { .. }) | (Who::Person, Caller::Person { .. }) => {
                true
            }
            (Who::Service(_) | Who::Operator(_) | Who::AnyOperator | Who::Person, _) => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_may() {
        let access = Access::unary(
            "CreateContract",
            &[Who::Operator("SALES"), Who::Service("account")],
        );
        let operator = |role: &str| Caller::Operator {
            name: "o".to_owned(),
            roles: vec![role.to_owned()],
        };
        let service = |name: &str| Caller::Service {
            name: name.to_owned(),
        };

        assert!(access.allows(&operator("SALES")));
        assert!(!access.allows(&operator("SUPPORT_AGENT")));
        assert!(access.allows(&service("account")));
        assert!(!access.allows(&service("billing")));
        assert!(!access.allows(&Caller::Person {
            user: "US1".to_owned(),
            authenticated_at: None
        }));
    }
}
