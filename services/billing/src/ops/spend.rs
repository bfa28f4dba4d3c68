//! Debits of balances. Lots are consumed in the order of the profile, and what they do not cover is overdraft (D8,
//! REQ-037). Debits of many accounts are gathered and written together.

use std::collections::{BTreeMap, HashMap};

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::credit;
use crate::clients::{Catalogue, Profile};
use crate::domain::lots::{self, Lot};
use crate::domain::threshold;
use crate::error::Error;
use crate::store::auto_recharges;
use crate::store::closings;
use crate::store::ledger::{self, Entries, Entry, LedgerAccount};
use crate::store::outbox::{self, Crossings};

/// The lots and the overdraft of one account, whose balance is locked.
#[derive(Debug, Default)]
pub struct Purse {
    /// Its lots.
    pub lots: Vec<Lot>,
    /// Overdraft in millionths, zero or more.
    pub overdraft: i64,
}

/// Locks the balances of `roots`, in any distribution, and returns the purse of each.
pub async fn purses(db: &mut PgConnection, roots: &[Uuid]) -> Result<HashMap<Uuid, Purse>, Error> {
    if roots.is_empty() {
        return Ok(HashMap::new());
    }
    let locked = ledger::lock(db, roots).await?;
    Ok(filled(locked, ledger::lots_of(db, roots).await?))
}

/// Locks the balances of the `roots` of one chunk of a run and returns the purse of each.
///
/// The lots are read as one range, which is faster than a lookup per account because the payers of a chunk are
/// adjacent by id. For scattered roots this would read every lot in between; use [`purses`] for those.
pub async fn purses_of_chunk(
    db: &mut PgConnection,
    roots: &[Uuid],
) -> Result<HashMap<Uuid, Purse>, Error> {
    let (Some(low), Some(high)) = (roots.iter().min(), roots.iter().max()) else {
        return Ok(HashMap::new());
    };
    let locked = ledger::lock(db, roots).await?;
    Ok(filled(locked, ledger::lots(db, (*low, *high)).await?))
}

/// Builds the purse of each locked root account.
fn filled(locked: Vec<(Uuid, i64)>, lots: Vec<(Uuid, Lot)>) -> HashMap<Uuid, Purse> {
    let mut purses: HashMap<Uuid, Purse> = HashMap::new();
    for (root, overdraft) in locked {
        purses.entry(root).or_default().overdraft = overdraft;
    }
    for (root, lot) in lots {
        if let Some(purse) = purses.get_mut(&root) {
            purse.lots.push(lot);
        }
    }
    purses
}

/// A debit of one account.
#[derive(Debug, Clone, Copy)]
pub struct Bill<'a> {
    /// The root account that pays.
    pub root: Uuid,
    /// Its profile.
    pub profile: &'a str,
    /// Amount in millionths, above zero.
    pub micros: i64,
    /// The ledger account to credit.
    pub to: LedgerAccount,
    /// Reason on its ledger entries.
    pub word: &'static str,
    /// The invoice it pays; `None` if there is none.
    pub invoice: Option<Uuid>,
}

/// Debits gathered in memory until [`Self::flush`] writes them.
pub struct Spending<'a> {
    catalogue: &'a Catalogue,
    at: DateTime<Utc>,
    for_good: bool,
    payers: Vec<Uuid>,
    spent_roots: Vec<Uuid>,
    spent_lots: Vec<Uuid>,
    spent_micros: Vec<i64>,
    overdrawn_roots: Vec<Uuid>,
    overdrawn_micros: Vec<i64>,
    crossings: Crossings,
}

impl<'a> Spending<'a> {
    /// An empty batch of debits at `at`.
    pub fn new(catalogue: &'a Catalogue, at: DateTime<Utc>) -> Self {
        Self {
            catalogue,
            at,
            for_good: false,
            payers: Vec::new(),
            spent_roots: Vec::new(),
            spent_lots: Vec::new(),
            spent_micros: Vec::new(),
            overdrawn_roots: Vec::new(),
            overdrawn_micros: Vec::new(),
            crossings: Crossings::default(),
        }
    }

    /// An empty batch of permanent debits at `at`: corrections of usage never restore what these take from lots.
    pub fn for_good(catalogue: &'a Catalogue, at: DateTime<Utc>) -> Self {
        Self {
            for_good: true,
            ..Self::new(catalogue, at)
        }
    }

    /// Pays a bill from a purse. `id` maps the position of each ledger entry to its id.
    pub fn pay(
        &mut self,
        bill: &Bill<'_>,
        purse: Purse,
        entries: &mut Entries,
        id: impl Fn(u16) -> Uuid,
    ) -> Result<(), Error> {
        let profile = self.catalogue.profiles.get(bill.profile);
        let profile = profile.ok_or_else(|| Error::ProfileNotFound(bill.profile.to_owned()))?;
        let Purse {
            lots: mut own,
            overdraft,
        } = purse;
        lots::sort(&mut own, &profile.consume_order);
        let before = lots::balance(&own, overdraft, self.at);
        let (payments, rest) = lots::consume(&own, bill.micros, self.at);
        let entry = |debit, lot_id, amount_micros| Entry {
            root_id: bill.root,
            debit,
            credit: bill.to,
            amount_micros,
            lot_id,
            invoice_id: bill.invoice,
            reason: bill.word,
        };
        // No account is expected to have more lots than a `u16` counts. Beyond that, two entries get the same id and
        // the database refuses the debit.
        let places = (0..=u16::MAX).chain(std::iter::repeat(u16::MAX));
        let paying = payments.len();
        self.payers.push(bill.root);
        for (payment, place) in payments.into_iter().zip(places) {
            self.spent_roots.push(bill.root);
            self.spent_lots.push(payment.lot);
            self.spent_micros.push(payment.micros);
            let lot = LedgerAccount::Lot(payment.kind);
            entries.add(id(place), &entry(lot, Some(payment.lot), payment.micros));
        }
        if 0 < rest {
            self.overdrawn_roots.push(bill.root);
            self.overdrawn_micros.push(rest);
            let place = u16::try_from(paying).unwrap_or(u16::MAX);
            entries.add(id(place), &entry(LedgerAccount::Overdraft, None, rest));
        }
        let after = before.saturating_sub(bill.micros);
        for crossing in threshold::crossed(before, after, profile.notify_below_micros) {
            self.crossings.add(bill.root, after, crossing);
        }
        Ok(())
    }

    /// Writes the gathered debits to lots and overdrafts, publishes crossed thresholds and wakes auto-recharge. The
    /// caller has written the ledger entries before.
    pub async fn flush(self, db: &mut PgConnection) -> Result<(), Error> {
        if self.for_good {
            ledger::take_out(db, &self.spent_roots, &self.spent_lots, &self.spent_micros).await?;
        } else if !self.spent_roots.is_empty() {
            ledger::spend(db, &self.spent_roots, &self.spent_lots, &self.spent_micros).await?;
        }
        if !self.overdrawn_roots.is_empty() {
            ledger::overdraw(db, &self.overdrawn_roots, &self.overdrawn_micros).await?;
        }
        outbox::balances_crossed(db, &self.crossings, self.at).await?;
        if !self.payers.is_empty() {
            auto_recharges::touch(db, &self.payers, self.at).await?;
        }
        Ok(())
    }
}

/// Gives back what usage turns out not to have cost, as if it had been less from the start: what is owed is less,
/// then the lots that were spent last have it again, each as credit of its kind. What had been paid by a lot that has
/// expired since is forfeited, as it would have been at its expiry. What no lot had paid, as it was owed and settled
/// since, is paid credit; it can be spent, and goes back to no payment, as nobody knows one: what is left of it when its
/// account closes is sent by a bank transfer, by a person who finds out.
async fn give_back(
    db: &mut PgConnection,
    profile: &Profile,
    (root, micros): (Uuid, i64),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let before = ledger::balance(db, root, now).await?;
    let (overdraft, currency) = ledger::overdraft(db, root)
        .await?
        .ok_or(Error::Stored("balance"))?;
    let mut entries = Entries::new(&currency, now);
    let repaid = micros.min(overdraft);
    let mut spent = ledger::spent(db, root).await?;
    lots::sort(&mut spent, &profile.consume_order);
    let (back, left) = lots::given_back(&spent, micros - repaid, now);
    for it in &back {
        let to = if it.expired {
            LedgerAccount::Forfeited
        } else {
            LedgerAccount::Lot(it.kind)
        };
        let entry = Entry {
            root_id: root,
            debit: LedgerAccount::Revenue,
            credit: to,
            amount_micros: it.micros,
            lot_id: Some(it.lot),
            invoice_id: None,
            reason: "USAGE_CORRECTED",
        };
        entries.add(Uuid::now_v7(), &entry);
        if it.expired {
            ledger::lapse(db, (root, it.lot), it.micros).await?;
        } else {
            ledger::spend(db, &[root], &[it.lot], &[-it.micros]).await?;
        }
    }
    let rest = repaid + left;
    if 0 < rest {
        let back = credit::Credit {
            root,
            kind: lots::LotKind::Paid,
            source: LedgerAccount::Revenue,
            micros: rest,
            terms: credit::LotTerms::default(),
            word: "USAGE_CORRECTED",
            reason: "USAGE_CORRECTED",
            collection: None,
            seed: Uuid::now_v7(),
        };
        credit::add(db, &back, &mut entries, now).await?;
    }
    entries.copy(db).await?;
    credit::balance_moved(db, (root, before), profile.notify_below_micros, now).await
}

/// Change in cost of rated usage by root account and profile, in millionths; negative after corrections.
pub type Costs<'a> = BTreeMap<(Uuid, &'a str), i64>;

/// Debits the cost of rated usage, or credits what corrections take off it (REQ-101).
pub async fn usage(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    costs: &Costs<'_>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let roots: Vec<Uuid> = costs.keys().map(|(root, _)| *root).collect();
    let mut purses = purses(db, &roots).await?;
    // A settled closing is final: usage from before it that arrives later has no open period to join (D14).
    let closed = closings::among(db, &roots).await?;
    let mut spending = Spending::new(catalogue, now);
    // Entries of one currency are written to the ledger together.
    let mut debits: BTreeMap<&str, Entries> = BTreeMap::new();
    for ((root, profile), micros) in costs {
        if closed.contains(root) {
            continue;
        }
        let known = catalogue.profiles.get(*profile);
        let known = known.ok_or_else(|| Error::ProfileNotFound((*profile).to_owned()))?;
        let currency = known.currency.code();
        if 0 < *micros {
            let bill = Bill {
                root: *root,
                profile,
                micros: *micros,
                to: LedgerAccount::Revenue,
                word: "USAGE",
                invoice: None,
            };
            let purse = purses.remove(root).unwrap_or_default();
            let entries = debits
                .entry(currency)
                .or_insert_with(|| Entries::new(currency, now));
            spending.pay(&bill, purse, entries, |_| Uuid::now_v7())?;
        } else if *micros < 0 {
            let back = micros
                .checked_neg()
                .ok_or(crate::domain::usage::SumOutOfRange)?;
            give_back(db, known, (*root, back), now).await?;
        }
    }
    for entries in debits.into_values() {
        entries.copy(db).await?;
    }
    spending.flush(db).await
}
