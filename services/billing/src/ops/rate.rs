//! Rates pools with their usage and accounts; shared by runs, previews and releases of parked accounts.

use std::collections::{HashMap, HashSet};

use chassis::PgConnection;
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

/// How many pools are rated before others get their turn: a run writes a chunk by the side of rating the next, and its
/// transaction may not idle for long (R17).
const AT_ONCE: usize = 100;

/// A payer whose month costs something.
#[derive(Debug, Clone)]
pub struct Rated {
    /// The payer.
    pub payer: Uuid,
    /// Its profile.
    pub profile: String,
    /// Whether the payer pays by invoice.
    pub invoiced: bool,
    /// The lines.
    pub lines: Vec<Line>,
    /// Their taxes; empty unless the payer pays by invoice.
    pub taxes: Vec<Tax>,
    /// Total in minor units, taxes included; above zero.
    pub total_minor: i64,
}

/// A payer that can't be rated.
#[derive(Debug, Clone)]
pub struct Unrated {
    /// The payer.
    pub payer: Uuid,
    /// Reason code.
    pub reason: &'static str,
    /// Details for an operator.
    pub detail: String,
}

/// Outcome of rating pools. Payers whose month costs nothing are in neither list.
#[derive(Debug, Default)]
pub struct Ratings {
    /// Payers to invoice, in order of payer.
    pub rated: Vec<Rated>,
    /// Payers to park.
    pub unrated: Vec<Unrated>,
}

/// Inputs shared by all pools.
#[derive(Debug, Clone)]
pub struct Terms<'a> {
    /// The family.
    pub family: &'a str,
    /// The period.
    pub period: Period,
    /// The currency of the family.
    pub currency: Currency,
    /// Usage categories left out of the percentage base.
    pub excluded: &'a [String],
    /// The catalogue, for profiles and taxes.
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
    // Payers whose month a closing has settled are skipped.
    let month = (terms.family, terms.period.start());
    let settled = store::closings::settled(db, month, range).await?;
    let settled: HashSet<Uuid> = settled.into_iter().collect();

    let mut ratings = Ratings::default();
    let billed = pools.iter().filter(|pool| !settled.contains(&pool.payer));
    let billed: Vec<&Pool> = billed.filter(|pool| may_cost(pool, terms.book)).collect();
    for part in billed.chunks(AT_ONCE) {
        for pool in part {
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
        tokio::task::yield_now().await;
    }
    Ok(ratings)
}

/// Whether a pool has a plan that is not free or not in the catalogue.
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
            "the payer has no account in billing".to_owned(),
        )
    })?;
    let Some(profile) = terms.catalogue.profiles.get(&account.profile_code) else {
        return Err(("PROFILE_MISSING", account.profile_code.clone()));
    };
    if account.currency != terms.currency.code() {
        return Err((
            "CURRENCY_DIFFERS",
            format!(
                "the ledger is in {}, the prices are in {}",
                account.currency, terms.currency
            ),
        ));
    }
    let used = usage
        .of(pool)
        .ok_or_else(|| ("AMOUNT_OUT_OF_RANGE", "the usage of the month".to_owned()))?;
    let days = u32::try_from(terms.period.days()).unwrap_or(0);
    let out_of_range = || ("AMOUNT_OUT_OF_RANGE", "the total of the invoice".to_owned());
    let lines = rating::rate(pool.payer, &pool.spans, &used, &terms.book.terms, days);
    let lines = lines.map_err(|error| match error {
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
        // Tax on what the balance pays was charged when the credit was bought.
        Vec::new()
    };
    let total = taxes
        .iter()
        .try_fold(net, |sum, tax| sum.checked_add(tax.amount_minor))
        .ok_or_else(out_of_range)?;
    // Settlement also stores the total in millionths.
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

/// The month's usage in millionths by root account; `None` for a sum out of range.
struct Usage(HashMap<Uuid, Option<i64>>);

impl Usage {
    async fn read(
        db: &mut PgConnection,
        pools: &[Pool],
        range: (Uuid, Uuid),
        terms: &Terms<'_>,
    ) -> Result<Self, Error> {
        let (month, excluded) = (terms.period.start(), terms.excluded);
        // Payers are read as one range of ids; the few other members are looked up one by one.
        let sums = store::usage::month_sums(db, month, range, excluded).await?;
        let mut sums: HashMap<Uuid, Option<i64>> = sums.into_iter().collect();
        let payers: HashSet<Uuid> = pools.iter().map(|pool| pool.payer).collect();
        let roots = pools.iter().flat_map(|pool| &pool.spans);
        let others: HashSet<Uuid> = roots
            .map(|span| span.root)
            .filter(|root| !payers.contains(root))
            .collect();
        if !others.is_empty() {
            let others: Vec<Uuid> = others.into_iter().collect();
            sums.extend(store::usage::month_sums_of(db, month, &others, excluded).await?);
        }
        Ok(Self(sums))
    }

    /// The usage of a pool; `None` if one of its sums is out of range.
    fn of(&self, pool: &Pool) -> Option<Vec<Used>> {
        let mut used = Vec::new();
        for timeline in pool.spans.chunk_by(|a, b| a.root == b.root) {
            let root = timeline.first().map(|span| span.root)?;
            if let Some(micros) = self.0.get(&root) {
                let micros = (*micros)?;
                used.push(Used { root, micros });
            }
        }
        Some(used)
    }
}
