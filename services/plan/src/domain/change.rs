//! Plan changes: the evaluation of a family's change rules.

use thiserror::Error;

/// When a change takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// At the commit of the order.
    Immediate,
    /// When its payment has settled.
    ImmediateOnPayment,
    /// At the start of the next cycle.
    NextCycle,
    /// At the next renewal, the end of the present cycle.
    NextRenewal,
}

/// The direction of a change by rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To a higher rank.
    Upgrade,
    /// To a lower rank.
    Downgrade,
    /// Between plans of the same rank.
    Lateral,
}

impl Direction {
    /// Every direction.
    pub const ALL: [Self; 3] = [Self::Upgrade, Self::Downgrade, Self::Lateral];

    /// Name in the catalogue.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upgrade => "UPGRADE",
            Self::Downgrade => "DOWNGRADE",
            Self::Lateral => "LATERAL",
        }
    }
}

/// What governs the plan in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Governor {
    /// A contract.
    Contract,
    /// The account itself.
    Account,
}

impl Governor {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Contract, Self::Account];

    /// Name in the catalogue.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Contract => "CONTRACT",
            Self::Account => "ACCOUNT",
        }
    }
}

/// Who requests a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// The customer.
    Customer,
    /// An operator.
    Operator,
}

impl Actor {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Customer, Self::Operator];

    /// Name in the catalogue.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "CUSTOMER",
            Self::Operator => "OPERATOR",
        }
    }
}

/// Mode of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It has a plan.
    Normal,
    /// It is soft-closed.
    Dormant,
    /// It has lost its plan.
    Limited,
}

impl Mode {
    /// Every value.
    pub const ALL: [Self; 3] = [Self::Normal, Self::Dormant, Self::Limited];

    /// Name in the catalogue.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "NORMAL",
            Self::Dormant => "DORMANT",
            Self::Limited => "LIMITED",
        }
    }
}

/// What changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// The plan.
    Plan,
    /// Only the billing cycle.
    CycleSwitch,
}

impl ChangeKind {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Plan, Self::CycleSwitch];

    /// Name in the catalogue.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "PLAN",
            Self::CycleSwitch => "CYCLE_SWITCH",
        }
    }
}

/// A row of a family's table of change rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// Conditions; `None` matches anything.
    pub when: Conditions,
    /// Effect of the change; `None` if the rule rejects it.
    pub outcome: Option<Effect>,
    /// Whether the prorated price difference is paid at once for the rest of the present cycle.
    pub prorated: bool,
    /// Reason of a rejection; empty otherwise.
    pub reason: String,
}

/// The conditions of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// What governs the plan in force.
    pub governed_by: Option<Governor>,
    /// Who requests the change.
    pub actor: Option<Actor>,
    /// Plan in force.
    pub from_plan: Option<String>,
    /// Requested plan.
    pub to_plan: Option<String>,
    /// Direction of the change.
    pub direction: Option<Direction>,
    /// Whether the account has accepted a contract offer for the plan.
    pub has_contract_offer: Option<bool>,
    /// Mode of the account.
    pub from_mode: Option<Mode>,
    /// What changes.
    pub change: Option<ChangeKind>,
}

/// The facts about a change.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the facts that a rule can match"
)]
pub struct Facts<'a> {
    /// Whether a contract governs the plan in force.
    pub in_contract: bool,
    /// Whether an operator requests the change; otherwise the customer.
    pub by_operator: bool,
    /// Plan in force.
    pub from_plan: &'a str,
    /// Requested plan.
    pub to_plan: &'a str,
    /// Direction of the change.
    pub direction: Direction,
    /// Whether the account has accepted a contract offer for the plan.
    pub has_contract_offer: bool,
    /// Mode of the account.
    pub from_mode: Mode,
    /// Whether only the billing cycle changes.
    pub cycle_only: bool,
}

/// The family's rules reject the change.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the change is not available to this caller: {reason}")]
pub struct Rejected {
    /// The rule's reason, such as `CONTACT_SUPPORT`.
    pub reason: String,
}

/// The direction of a change between two ranks.
pub const fn direction(from_rank: i32, to_rank: i32) -> Direction {
    if from_rank < to_rank {
        Direction::Upgrade
    } else if to_rank < from_rank {
        Direction::Downgrade
    } else {
        Direction::Lateral
    }
}

/// When the change takes effect, and whether the prorated price difference is paid at once, according to the first rule
/// that matches all of `facts` (C-01).
///
/// # Errors
/// `Rejected` with the rule's reason, or with `NOT_OFFERED` if no rule matches.
pub fn effect(rules: &[Rule], facts: &Facts<'_>) -> Result<(Effect, bool), Rejected> {
    let rule = rules.iter().find(|rule| rule.when.matches(facts));
    let Some(rule) = rule else {
        return Err(Rejected {
            reason: "NOT_OFFERED".to_owned(),
        });
    };
    let effect = rule.outcome.ok_or_else(|| Rejected {
        reason: rule.reason.clone(),
    })?;
    Ok((effect, rule.prorated))
}

impl Conditions {
    fn matches(&self, facts: &Facts<'_>) -> bool {
        let is =
            |asked: &Option<String>, fact: &str| asked.as_deref().is_none_or(|asked| asked == fact);
        let governed_by = if facts.in_contract {
            Governor::Contract
        } else {
            Governor::Account
        };
        let actor = if facts.by_operator {
            Actor::Operator
        } else {
            Actor::Customer
        };
        let change = if facts.cycle_only {
            ChangeKind::CycleSwitch
        } else {
            ChangeKind::Plan
        };
        self.governed_by.is_none_or(|asked| asked == governed_by)
            && self.actor.is_none_or(|asked| asked == actor)
            && is(&self.from_plan, facts.from_plan)
            && is(&self.to_plan, facts.to_plan)
            && self.direction.is_none_or(|asked| asked == facts.direction)
            && self.from_mode.is_none_or(|asked| asked == facts.from_mode)
            && self.change.is_none_or(|asked| asked == change)
            && self
                .has_contract_offer
                .is_none_or(|asked| asked == facts.has_contract_offer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts<'static> = Facts {
        in_contract: false,
        by_operator: false,
        from_plan: "business",
        to_plan: "developer",
        direction: Direction::Downgrade,
        has_contract_offer: false,
        from_mode: Mode::Normal,
        cycle_only: false,
    };

    fn support_rules() -> Vec<Rule> {
        let customer = Some(Actor::Customer);
        let contact = |when| Rule {
            when,
            outcome: None,
            prorated: false,
            reason: "CONTACT_SUPPORT".to_owned(),
        };
        vec![
            contact(Conditions {
                governed_by: Some(Governor::Contract),
                actor: customer,
                ..Conditions::default()
            }),
            contact(Conditions {
                from_plan: Some("personalized".to_owned()),
                direction: Some(Direction::Downgrade),
                actor: customer,
                ..Conditions::default()
            }),
            Rule {
                outcome: Some(Effect::Immediate),
                ..Rule::default()
            },
        ]
    }

    #[track_caller]
    fn check(facts: &Facts<'_>, expected: Result<Effect, &str>) {
        let got = effect(&support_rules(), facts).map_err(|rejected| rejected.reason);
        let expected = expected.map(|effect| (effect, false));
        assert_eq!(got, expected.map_err(str::to_owned), "{facts:?}");
    }

    #[test]
    fn a_rule_of_a_direction_is_for_changes_of_that_direction_alone() {
        for own in Direction::ALL {
            let rules = [Rule {
                when: Conditions {
                    direction: Some(own),
                    ..Conditions::default()
                },
                outcome: Some(Effect::NextCycle),
                ..Rule::default()
            }];
            for direction in Direction::ALL {
                let facts = Facts { direction, ..FACTS };
                assert_eq!(effect(&rules, &facts).is_ok(), direction == own, "{own:?}");
            }
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        check(&FACTS, Ok(Effect::Immediate));
        check(
            &Facts {
                in_contract: true,
                ..FACTS
            },
            Err("CONTACT_SUPPORT"),
        );
        check(
            &Facts {
                in_contract: true,
                by_operator: true,
                ..FACTS
            },
            Ok(Effect::Immediate),
        );
        check(
            &Facts {
                from_plan: "personalized",
                ..FACTS
            },
            Err("CONTACT_SUPPORT"),
        );
        check(
            &Facts {
                from_plan: "personalized",
                by_operator: true,
                ..FACTS
            },
            Ok(Effect::Immediate),
        );
        check(
            &Facts {
                from_plan: "personalized",
                direction: Direction::Lateral,
                ..FACTS
            },
            Ok(Effect::Immediate),
        );
        assert_eq!(
            effect(&[], &FACTS),
            Err(Rejected {
                reason: "NOT_OFFERED".to_owned()
            })
        );
    }
}
