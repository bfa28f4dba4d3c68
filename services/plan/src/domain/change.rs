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
    /// `CONTRACT` or `ACCOUNT`.
    pub governed_by: Option<String>,
    /// `CUSTOMER` or `OPERATOR`.
    pub actor: Option<String>,
    /// Plan in force.
    pub from_plan: Option<String>,
    /// Requested plan.
    pub to_plan: Option<String>,
    /// `UPGRADE` or `DOWNGRADE`.
    pub direction: Option<String>,
    /// Whether the account has accepted a contract offer for the plan.
    pub has_contract_offer: Option<bool>,
    /// Mode of the account.
    pub from_mode: Option<String>,
    /// `PLAN` or `CYCLE_SWITCH`.
    pub change: Option<String>,
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
    /// Mode of the account, such as `NORMAL`.
    pub from_mode: &'a str,
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
        let direction = match facts.direction {
            Direction::Upgrade => "UPGRADE",
            Direction::Downgrade => "DOWNGRADE",
            Direction::Lateral => "LATERAL",
        };
        is(
            &self.governed_by,
            if facts.in_contract {
                "CONTRACT"
            } else {
                "ACCOUNT"
            },
        ) && is(
            &self.actor,
            if facts.by_operator {
                "OPERATOR"
            } else {
                "CUSTOMER"
            },
        ) && is(&self.from_plan, facts.from_plan)
            && is(&self.to_plan, facts.to_plan)
            && is(&self.direction, direction)
            && is(&self.from_mode, facts.from_mode)
            && is(
                &self.change,
                if facts.cycle_only {
                    "CYCLE_SWITCH"
                } else {
                    "PLAN"
                },
            )
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
        from_mode: "NORMAL",
        cycle_only: false,
    };

    fn support_rules() -> Vec<Rule> {
        let customer = Some("CUSTOMER".to_owned());
        let contact = |when| Rule {
            when,
            outcome: None,
            prorated: false,
            reason: "CONTACT_SUPPORT".to_owned(),
        };
        vec![
            contact(Conditions {
                governed_by: Some("CONTRACT".to_owned()),
                actor: customer.clone(),
                ..Conditions::default()
            }),
            contact(Conditions {
                from_plan: Some("personalized".to_owned()),
                direction: Some("DOWNGRADE".to_owned()),
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
        let directions = [
            ("UPGRADE", Direction::Upgrade),
            ("DOWNGRADE", Direction::Downgrade),
            ("LATERAL", Direction::Lateral),
        ];
        for (code, own) in directions {
            let rules = [Rule {
                when: Conditions {
                    direction: Some(code.to_owned()),
                    ..Conditions::default()
                },
                outcome: Some(Effect::NextCycle),
                ..Rule::default()
            }];
            for (_, direction) in directions {
                let facts = Facts { direction, ..FACTS };
                assert_eq!(effect(&rules, &facts).is_ok(), direction == own, "{code}");
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
