//! What balances pay: from lots in the order of the profile, and what these do not cover is overdraft
//! (D8, REQ-037). Gathered for many accounts and written at once.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
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

/// What an account can pay with; its balance is locked.
#[derive(Debug, Default)]
pub struct Purse {
    /// Its lots.
    pub lots: Vec<Lot>,
    /// What it owes, in millionths.
    pub overdraft: i64,
}

/// Locks the balances of `roots` and gives what each can pay with.
///
/// Their lots are read as one range: those of a run lie side by side.
pub async fn purses(db: &mut PgConnection, roots: &[Uuid]) -> Result<HashMap<Uuid, Purse>, Error> {
    let mut purses: HashMap<Uuid, Purse> = HashMap::new();
    let (Some(low), Some(high)) = (roots.iter().min(), roots.iter().max()) else {
        return Ok(purses);
    };
    for (root, overdraft) in ledger::lock(db, roots).await? {
        purses.entry(root).or_default().overdraft = overdraft;
    }
    for (root, lot) in ledger::lots(db, (*low, *high)).await? {
        if let Some(purse) = purses.get_mut(&root) {
            purse.lots.push(lot);
        }
    }
    Ok(purses)
}

/// What is paid for.
#[derive(Debug, Clone, Copy)]
pub struct Bill<'a> {
    /// The root account that pays.
    pub root: Uuid,
    /// Its profile.
    pub profile: &'a str,
    /// How much, in millionths.
    pub micros: i64,
    /// The ledger account that it goes to.
    pub to: LedgerAccount,
    /// The word on its entries.
    pub word: &'static str,
    /// The invoice.
    pub invoice: Option<Uuid>,
}

/// What is gathered before it is written.
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
    /// Nothing spent yet, as of `at`.
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

    /// Nothing taken yet, as of `at`, of what does not come back.
    pub fn for_good(catalogue: &'a Catalogue, at: DateTime<Utc>) -> Self {
        Self {
            for_good: true,
            ..Self::new(catalogue, at)
        }
    }

    /// Pays a bill; `id` gives its entries theirs by their place.
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
        // Nobody has more lots than two bytes count, or else the last entries meet in one id and
        // the database refuses the account.
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

    /// Takes from lots what they paid and notes what is owed; the entries are written before.
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
/// then the lots that were spent last have it again. What none has room for, as one has expired meanwhile or was
/// never there, is paid credit.
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
    let mut left = micros - micros.min(overdraft);
    let mut spent = ledger::spent(db, root, now).await?;
    lots::sort(&mut spent, &profile.consume_order);
    let (mut ids, mut parts) = (Vec::new(), Vec::new());
    for lot in spent.iter().rev() {
        let part = left.min(lot.remaining_micros);
        if part == 0 {
            break;
        }
        left -= part;
        ids.push(lot.id);
        parts.push(-part);
        let entry = Entry {
            root_id: root,
            debit: LedgerAccount::Revenue,
            credit: LedgerAccount::Lot(lot.kind),
            amount_micros: part,
            lot_id: Some(lot.id),
            invoice_id: None,
            reason: "USAGE_CORRECTED",
        };
        entries.add(Uuid::now_v7(), &entry);
    }
    ledger::spend(db, &vec![root; ids.len()], &ids, &parts).await?;
    let rest = micros.min(overdraft) + left;
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

/// What rated usage has cost root accounts of a profile each, in millionths.
pub type Costs<'a> = BTreeMap<(Uuid, &'a str), i64>;

/// Debits what rated usage has cost, or gives back what corrections make it cost less (REQ-101).
pub async fn usage(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    costs: &Costs<'_>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let roots: Vec<Uuid> = costs.keys().map(|(root, _)| *root).collect();
    let mut purses = purses(db, &roots).await?;
    // What is used after a closing is recorded, and nobody pays for it (D14).
    let closed = closings::among(db, &roots).await?;
    let mut spending = Spending::new(catalogue, now);
    // Those of a currency go into the ledger together.
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
