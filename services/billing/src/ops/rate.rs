//! Pools, their usage and their accounts, rated: what a run, a preview and a release share.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;
use uuid::Uuid;
use values::{Currency, Money, Period};

use super::collect;
use super::segments::{Book, Pool};
use crate::clients::Catalogue;
use crate::domain::rating::{self, Line, Unratable, Used};
use crate::error::Error;
use crate::store;
use crate::store::accounts::{Billed, Payer};
use crate::store::collections::Tax;

/// A payer whose month costs something.
#[derive(Debug, Clone)]
pub struct Rated {
    /// The payer.
    pub payer: Uuid,
    /// Its profile.
    pub profile: String,
    /// Whether it pays by invoice.
    pub invoiced: bool,
    /// The lines.
    pub lines: Vec<Line>,
    /// The taxes on them, of a payer that pays by invoice.
    pub taxes: Vec<Tax>,
    /// Their sum with the taxes, above zero.
    pub total_minor: i64,
}

/// A payer that can't be rated.
#[derive(Debug, Clone)]
pub struct Unrated {
    /// The payer.
    pub payer: Uuid,
    /// Why.
    pub reason: &'static str,
    /// Details for an operator.
    pub detail: String,
}

/// What rating some pools came to. Payers whose month costs nothing are in neither list.
#[derive(Debug, Default)]
pub struct Ratings {
    /// Those to be invoiced, by payer.
    pub rated: Vec<Rated>,
    /// Those to be parked.
    pub unrated: Vec<Unrated>,
}

/// What all pools have in common.
#[derive(Debug, Clone)]
pub struct Terms<'a> {
    /// The family.
    pub family: &'a str,
    /// The period.
    pub period: Period,
    /// The currency of the family.
    pub currency: Currency,
    /// Usage left out of the percentage base.
    pub excluded: &'a [String],
    /// The policies of profiles, and the taxes.
    pub catalogue: &'a Catalogue,
    /// The plans' terms.
    pub book: &'a Book,
}

/// Rates pools, which are in order of payer.
pub async fn rate(
    db: &mut PgConnection,
    pools: &[Pool],
    terms: &Terms<'_>,
) -> Result<Ratings, Error> {
    let (Some(first), Some(last)) = (pools.first(), pools.last()) else {
        return Ok(Ratings::default());
    };
    if !pools.iter().any(|pool| may_cost(pool, terms.book)) {
        return Ok(Ratings::default());
    }
    let range = (first.payer, last.payer);
    let payers = store::accounts::payers(db, range).await?;
    let payers: HashMap<Uuid, Payer> = payers.into_iter().map(|it| (it.account_id, it)).collect();
    let usage = Usage::read(db, pools, range, terms).await?;
    // What a closing has settled is not billed again.
    let month = (terms.family, terms.period.start());
    let settled = store::closings::settled(db, month, range).await?;
    let settled: HashSet<Uuid> = settled.into_iter().collect();

    let mut ratings = Ratings::default();
    let billed = pools.iter().filter(|pool| !settled.contains(&pool.payer));
    for pool in billed.filter(|pool| may_cost(pool, terms.book)) {
        match one(pool, &payers, &usage, terms) {
            Ok(Some(rated)) => ratings.rated.push(rated),
            Ok(None) => {}
            Err((reason, detail)) => ratings.unrated.push(Unrated {
                payer: pool.payer,
                reason,
                detail,
            }),
        }
    }
    Ok(ratings)
}

/// Whether a pool has any plan that is not free, or one that is not known.
fn may_cost(pool: &Pool, book: &Book) -> bool {
    let free = |index: usize| {
        book.terms
            .get(index)
            .is_some_and(|terms| terms.charge.is_free())
    };
    let missing = |index: usize| book.missing.iter().any(|(missing, _)| *missing == index);
    pool.spans
        .iter()
        .any(|span| !free(span.terms) || missing(span.terms))
}

fn one(
    pool: &Pool,
    payers: &HashMap<Uuid, Payer>,
    usage: &Usage,
    terms: &Terms<'_>,
) -> Result<Option<Rated>, (&'static str, String)> {
    let unknown = |span: &rating::Span| {
        terms
            .book
            .missing
            .iter()
            .find(|(missing, _)| *missing == span.terms)
    };
    if let Some((_, what)) = pool.spans.iter().find_map(unknown) {
        return Err(("CATALOGUE_MISSING", what.clone()));
    }
    let account = payers.get(&pool.payer).ok_or_else(|| {
        (
            "ACCOUNT_MISSING",
            "billing does not know the payer".to_owned(),
        )
    })?;
    let Some(profile) = terms.catalogue.profiles.get(&account.profile_code) else {
        return Err(("PROFILE_MISSING", account.profile_code.clone()));
    };
    if account.currency != terms.currency.code() {
        return Err((
            "CURRENCY_DIFFERS",
            format!(
                "a ledger in {}, prices in {}",
                account.currency, terms.currency
            ),
        ));
    }
    let used = usage
        .of(pool)
        .ok_or_else(|| ("AMOUNT_OUT_OF_RANGE", "its usage".to_owned()))?;
    let days = u32::try_from(terms.period.days()).unwrap_or(0);
    let out_of_range = || ("AMOUNT_OUT_OF_RANGE", "the sum of its lines".to_owned());
    let lines =
        rating::rate(&pool.spans, &used, &terms.book.terms, days).map_err(|error| match error {
            Unratable::OutOfRange => out_of_range(),
            Unratable::BadTimeline => ("TIMELINE_INVALID", error.to_string()),
        })?;
    let net = lines
        .iter()
        .try_fold(0_i64, |sum, line| sum.checked_add(line.minor))
        .ok_or_else(out_of_range)?;
    let taxes = if account.invoiced {
        let billed = Billed {
            country_code: account.country_code.clone(),
            state_code: account.state_code.clone(),
            export_supply: account.export_supply,
        };
        let net = Money::from_minor(net, terms.currency);
        collect::taxes(&terms.catalogue.taxes, profile, &billed, net).map_err(|_| out_of_range())?
    } else {
        // Of what the balance pays, tax was paid when the credit was bought.
        Vec::new()
    };
    let total = taxes
        .iter()
        .try_fold(net, |sum, tax| sum.checked_add(tax.amount_minor))
        .ok_or_else(out_of_range)?;
    // What is settled is kept in millionths as well.
    total
        .checked_mul(terms.currency.micros_per_minor())
        .ok_or_else(out_of_range)?;
    let rated = Rated {
        payer: pool.payer,
        profile: account.profile_code.clone(),
        invoiced: account.invoiced,
        lines,
        taxes,
        total_minor: total,
    };
    Ok((0 < total).then_some(rated))
}

/// The usage of the accounts of some pools.
struct Usage {
    /// By month, for accounts whose days all belong together; `None` for a sum out of range.
    months: HashMap<Uuid, Option<i64>>,
    /// By day, for accounts that changed payer or contract in the month.
    days: HashMap<Uuid, Vec<(i32, Option<i64>)>>,
}

impl Usage {
    async fn read(
        db: &mut PgConnection,
        pools: &[Pool],
        range: (Uuid, Uuid),
        terms: &Terms<'_>,
    ) -> Result<Self, Error> {
        let month = terms.period.start();
        // Payers lie side by side; the few other members are looked up.
        let mut months: HashMap<Uuid, Option<i64>> =
            store::usage::month_sums(db, month, range, terms.excluded)
                .await?
                .into_iter()
                .collect();
        let payers: HashSet<Uuid> = pools.iter().map(|pool| pool.payer).collect();
        let mut split = HashSet::new();
        let mut others = HashSet::new();
        for timeline in pools
            .iter()
            .flat_map(|pool| pool.spans.chunk_by(|a, b| a.root == b.root))
        {
            let Some(first) = timeline.first() else {
                continue;
            };
            if timeline.iter().any(|span| {
                span.contract != first.contract || span.paid_elsewhere != first.paid_elsewhere
            }) {
                split.insert(first.root);
            } else if !payers.contains(&first.root) {
                others.insert(first.root);
            }
        }
        for root in others {
            let sums = store::usage::month_sums(db, month, (root, root), terms.excluded).await?;
            months.extend(sums);
        }
        let split: Vec<Uuid> = split.into_iter().collect();
        let mut days: HashMap<Uuid, Vec<(i32, Option<i64>)>> = HashMap::new();
        if !split.is_empty() {
            for (root, day, micros) in
                store::usage::day_sums(db, month, &split, terms.excluded).await?
            {
                let day = i32::try_from((day - month).num_days()).unwrap_or(0);
                days.entry(root).or_default().push((day, micros));
            }
            for root in split {
                days.entry(root).or_default();
            }
        }
        Ok(Self { months, days })
    }

    /// The usage of a pool; `None` when one of its sums is out of range.
    fn of(&self, pool: &Pool) -> Option<Vec<Used>> {
        let mut used = Vec::new();
        for root in pool
            .spans
            .chunk_by(|a, b| a.root == b.root)
            .filter_map(|timeline| timeline.first())
            .map(|span| span.root)
        {
            if let Some(days) = self.days.get(&root) {
                for (day, micros) in days {
                    used.push(Used {
                        root,
                        day: *day,
                        micros: (*micros)?,
                    });
                }
            } else if let Some(micros) = self.months.get(&root) {
                used.push(Used {
                    root,
                    day: 0,
                    micros: (*micros)?,
                });
            }
        }
        Some(used)
    }
}
