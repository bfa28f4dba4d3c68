//! Entitlements: typed features and their values in a plan.

/// A feature and the type of its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feature {
    /// An amount of money, or `CONTRACT`.
    Money,
    /// A count, `UNLIMITED` or `CONTRACT`.
    Quantity,
    /// One of these levels. Each includes the ones before it; the first means none.
    Level(Vec<String>),
    /// `NONE`, `ADDON` or `INCLUDED`.
    Access,
    /// A number of days, or `CONTRACT`.
    Days,
    /// Any subset of these, separated by commas.
    Set(Vec<String>),
    /// A percentage, `CONTRACT`, or empty.
    Percent,
    /// One of these classes, each with its figure.
    Class(Vec<(String, String)>),
}

/// The type of a feature's values, as a catalogue names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureKind {
    /// An amount of money.
    Money,
    /// A count.
    Quantity,
    /// One of several levels.
    Level,
    /// Whether the plan includes it.
    Access,
    /// A number of days.
    Days,
    /// A subset of several values.
    Set,
    /// A percentage.
    Percent,
    /// One of several classes.
    Class,
}

impl FeatureKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Money,
        Self::Quantity,
        Self::Level,
        Self::Access,
        Self::Days,
        Self::Set,
        Self::Percent,
        Self::Class,
    ];

    /// Name in the catalogue.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Money => "MONEY",
            Self::Quantity => "QUANTITY",
            Self::Level => "LEVEL",
            Self::Access => "ACCESS",
            Self::Days => "DURATION_DAYS",
            Self::Set => "SET",
            Self::Percent => "PERCENT",
            Self::Class => "CLASS",
        }
    }
}

/// Why a plan does not grant a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// The plan does not include it, or not at the requested level.
    NotInPlan,
    /// The plan offers it as an add-on.
    AddOnRequired,
    /// One more would exceed the quota.
    OverQuota,
}

impl Feature {
    /// The type of its values.
    pub const fn kind(&self) -> FeatureKind {
        match self {
            Self::Money => FeatureKind::Money,
            Self::Quantity => FeatureKind::Quantity,
            Self::Level(_) => FeatureKind::Level,
            Self::Access => FeatureKind::Access,
            Self::Days => FeatureKind::Days,
            Self::Set(_) => FeatureKind::Set,
            Self::Percent => FeatureKind::Percent,
            Self::Class(_) => FeatureKind::Class,
        }
    }

    /// Whether `value` is valid for this feature.
    pub fn admits(&self, value: &str) -> bool {
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let decimal = |text: &str| {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
            plain(whole) && plain(fraction)
        };
        match self {
            Self::Money => value == "CONTRACT" || decimal(value),
            Self::Quantity => value == "UNLIMITED" || value == "CONTRACT" || plain(value),
            Self::Level(order) => order.iter().any(|level| level == value),
            Self::Access => matches!(value, "NONE" | "ADDON" | "INCLUDED"),
            Self::Days => value == "CONTRACT" || plain(value),
            Self::Set(all) => {
                value.is_empty() || value.split(',').all(|one| all.iter().any(|it| it == one))
            }
            Self::Percent => value.is_empty() || value == "CONTRACT" || decimal(value),
            Self::Class(classes) => classes.iter().any(|(class, _)| class == value),
        }
    }

    /// The figure of a class. If `value` is not a class, it is itself the figure set by a contract.
    pub fn figure<'f>(&'f self, value: &'f str) -> Option<&'f str> {
        let Self::Class(classes) = self else {
            return None;
        };
        let known = classes.iter().find(|(class, _)| class == value);
        Some(known.map_or(value, |(_, figure)| figure))
    }

    /// Whether a contract may replace the plan's value `of_plan` with `value`.
    pub fn negotiable(&self, of_plan: &str, value: &str) -> bool {
        let figures = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        match self {
            Self::Class(_) => self.figure(of_plan) == Some("CONTRACT") && figures,
            Self::Money
            | Self::Quantity
            | Self::Level(_)
            | Self::Access
            | Self::Days
            | Self::Set(_)
            | Self::Percent => of_plan == "CONTRACT" && value != "CONTRACT" && self.admits(value),
        }
    }

    /// Whether a plan with `value` grants `level` of the feature (any level if empty) or, for a quantity, one more
    /// beside `used`.
    ///
    /// # Errors
    /// The denial that applies.
    pub fn allows(&self, value: &str, level: &str, used: i64) -> Result<(), Denial> {
        let in_plan = |yes: bool| if yes { Ok(()) } else { Err(Denial::NotInPlan) };
        match self {
            Self::Quantity => match value {
                "UNLIMITED" | "CONTRACT" => Ok(()),
                count if used < count.parse().unwrap_or(0) => Ok(()),
                _ => Err(Denial::OverQuota),
            },
            Self::Level(order) => {
                let place = |name: &str| order.iter().position(|it| it == name);
                let least = if level.is_empty() {
                    Some(1)
                } else {
                    place(level)
                };
                in_plan(
                    least
                        .zip(place(value))
                        .is_some_and(|(least, has)| least <= has),
                )
            }
            Self::Access => match value {
                "INCLUDED" => Ok(()),
                "ADDON" => Err(Denial::AddOnRequired),
                _ => Err(Denial::NotInPlan),
            },
            Self::Set(_) => in_plan(
                value
                    .split(',')
                    .any(|one| !one.is_empty() && (level.is_empty() || one == level)),
            ),
            Self::Class(_) => in_plan(level.is_empty() || level == value),
            Self::Money | Self::Days | Self::Percent => in_plan(!value.is_empty()),
        }
    }

    /// Whether `to` grants less than `from`.
    pub fn is_loss(&self, from: &str, to: &str) -> bool {
        let number = |text: &str| match text {
            "UNLIMITED" | "CONTRACT" => i64::MAX,
            other => other.parse().unwrap_or(0),
        };
        match self {
            Self::Money => false,
            Self::Quantity | Self::Days => number(to) < number(from),
            Self::Level(order) => {
                let place = |name: &str| order.iter().position(|it| it == name);
                place(to) < place(from)
            }
            Self::Access => from == "INCLUDED" && to != "INCLUDED",
            Self::Set(_) => from
                .split(',')
                .any(|one| !to.split(',').any(|it| it == one)),
            Self::Percent => {
                !from.is_empty()
                    && (to.is_empty()
                        || number(&to.replace('.', "")) < number(&from.replace('.', "")))
            }
            Self::Class(classes) => {
                let figure = |class: &str| {
                    classes
                        .iter()
                        .find(|(name, _)| name == class)
                        .map(|(_, f)| number(f))
                };
                figure(to) < figure(from)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels() -> Feature {
        Feature::Level(
            ["NONE", "BASIC", "ADVANCED", "FULL_SUITE"]
                .map(str::to_owned)
                .to_vec(),
        )
    }

    #[test]
    fn a_level_includes_those_below_it() {
        assert_eq!(levels().allows("ADVANCED", "BASIC", 0), Ok(()));
        assert_eq!(
            levels().allows("BASIC", "ADVANCED", 0),
            Err(Denial::NotInPlan)
        );
        assert_eq!(levels().allows("NONE", "", 0), Err(Denial::NotInPlan));
        assert_eq!(
            levels().allows("BASIC", "UNHEARD", 0),
            Err(Denial::NotInPlan)
        );
    }

    #[test]
    fn a_quantity_allows_one_more_up_to_its_count() {
        assert_eq!(Feature::Quantity.allows("5", "", 4), Ok(()));
        assert_eq!(Feature::Quantity.allows("5", "", 5), Err(Denial::OverQuota));
        assert_eq!(Feature::Quantity.allows("UNLIMITED", "", i64::MAX), Ok(()));
    }

    #[test]
    fn an_add_on_is_told_from_what_a_plan_never_has() {
        assert_eq!(
            Feature::Access.allows("ADDON", "", 0),
            Err(Denial::AddOnRequired)
        );
        assert_eq!(
            Feature::Access.allows("NONE", "", 0),
            Err(Denial::NotInPlan)
        );
        assert_eq!(Feature::Access.allows("INCLUDED", "", 0), Ok(()));
    }

    #[test]
    fn less_is_a_loss_and_more_is_not() {
        assert!(
            Feature::Quantity.is_loss("20", "5") && !Feature::Quantity.is_loss("5", "UNLIMITED")
        );
        assert!(levels().is_loss("ADVANCED", "BASIC") && !levels().is_loss("BASIC", "BASIC"));
        let channels = Feature::Set(["EMAIL", "CHAT", "PHONE"].map(str::to_owned).to_vec());
        assert!(
            channels.is_loss("EMAIL,CHAT", "EMAIL") && !channels.is_loss("EMAIL", "EMAIL,CHAT")
        );
    }
}
