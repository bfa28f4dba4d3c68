//! The schedule of billing runs (D30): the months of a family that are not billed yet, and when the run of each is
//! due.

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use values::Period;

use crate::clients::Catalogue;
use crate::domain::run;
use crate::error::Error;
use crate::store::{accounts, runs};

/// The most unbilled months of a family that are considered at once, oldest first.
const MONTHS: i64 = 24;

/// A month that is not billed yet.
#[derive(Debug)]
pub struct Unbilled {
    /// The month.
    pub period: Period,
    /// When its scheduled run is due.
    pub due_at: DateTime<Utc>,
    /// Whether its real run exists.
    pub made: bool,
    /// Whether its newest run was cancelled. A person decides what becomes of the month.
    pub cancelled: bool,
    /// Whether it has been reported as overdue.
    pub noted: bool,
}

/// The months of a family that have ended by `until` and are not billed, in order, from the month of its oldest
/// account.
pub async fn unbilled(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    family_code: &str,
    until: DateTime<Utc>,
) -> Result<Vec<Unbilled>, Error> {
    let family = catalogue
        .families
        .get(family_code)
        .ok_or_else(|| Error::FamilyNotFound(family_code.to_owned()))?;
    let profiles = catalogue.profiles_of(family_code);
    let Some(oldest) = accounts::oldest(db, &profiles).await? else {
        return Ok(Vec::new());
    };
    let month_of = |day| Period::month_of(day).map_err(|_| Error::Stored("month"));
    let from = month_of(family.zone.day(oldest))?.start();
    let to = month_of(family.zone.day(until))?.start();
    let mut months = Vec::new();
    for found in runs::unbilled(db, family_code, (from, to), MONTHS).await? {
        let period = month_of(found.month)?;
        months.push(Unbilled {
            period,
            due_at: run::due_at(period, family.zone, family.usage_grace),
            made: found.state.is_some(),
            cancelled: found.state == Some(run::State::Cancelled),
            noted: found.noted,
        });
    }
    Ok(months)
}

/// The month whose run is created next: months are billed in order. A month whose run was cancelled is left to a
/// person and holds up no other.
pub fn next(months: &[Unbilled]) -> Option<&Unbilled> {
    let first = months.iter().find(|it| !it.cancelled);
    first.filter(|it| !it.made)
}

/// The codes of the families billed by runs, sorted.
pub fn families(catalogue: &Catalogue) -> Vec<&str> {
    let families = catalogue.families.iter();
    let mut codes: Vec<&str> = families
        .filter(|(_, family)| family.in_arrears)
        .map(|(code, _)| code.as_str())
        .collect();
    codes.sort_unstable();
    codes
}
