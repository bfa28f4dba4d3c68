//! Disputed charges, posted from the events of `payments`. The amount that a provider withholds leaves clearing and
//! returns if the dispute is won. If it is lost, the credit bought with the charge is clawed back. The owner is told once
//! that a dispute was opened, and once of each decision.

use std::collections::HashMap;

use chassis::{PgConnection, wire};
use chrono::{DateTime, Utc};
use proto::payments::v1 as payments;
use proto::payments::v1::dispute::State;
use uuid::Uuid;
use values::{ChargeId, DisputeId, Money, Ratio, Rounding};

use super::collect::{SETTLED_AMOUNT_DIFFERS, parsed, parsed_sum};
use super::credit::{self, Credit, LotTerms};
use super::spend::{self, Bill, Spending};
use super::{give_back, recharge};
use crate::clients::Catalogue;
use crate::domain::collection::{self, LineKind};
use crate::domain::dispute;
use crate::domain::lots::LotKind;
use crate::domain::refund;
use crate::error::Error;
use crate::store::collections::{self, Collection};
use crate::store::disputes::{self, Booked};
use crate::store::ledger::{self, Entries, Entry, LedgerAccount, Origin};
use crate::store::outbox::{self, Disputed};
use crate::store::{self, accounts, refunds};

/// Applies the state that `payments` reports for a dispute. Only the difference to what is already posted is posted.
pub async fn keep(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    said: &payments::Dispute,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let id: DisputeId = parsed(&said.dispute_id)?;
    let charge: ChargeId = parsed(&said.charge_id)?;
    let Some(collection) = collections::of_charge(db, charge.uuid()).await? else {
        return Ok(());
    };
    let root = collection.root_id;
    ledger::lock(db, &[root]).await?;
    let known = disputes::get(db, id.uuid()).await?.unwrap_or(Booked {
        root_id: root,
        dispute_id: id.uuid(),
        collection_id: collection.collection_id,
        withheld_minor: 0,
        taken_micros: 0,
        told_state: None,
    });
    let withheld = parsed_sum(said.withheld_amount.as_ref(), &collection.currency)?;
    let mut entries = Entries::new(&collection.currency, now);
    let more = withheld.minor() - known.withheld_minor;
    let more_micros = store::micros(more, &collection.currency)?;
    if let Some(entry) = held_back(root, more_micros) {
        entries.add(Uuid::now_v7(), &entry);
    }
    // A disputed card must not be charged automatically.
    let (lost, stops_recharge) = match said.state() {
        State::Lost => (true, true),
        State::Open => (false, true),
        State::Unspecified | State::Inquiry | State::Won | State::Withdrawn => (false, false),
    };
    let owed_micros = if lost {
        credit_of(db, &collection, withheld).await?
    } else {
        0
    };
    if stops_recharge {
        recharge::switch_off(db, root, "DISPUTED", now).await?;
    }
    let more = owed_micros - known.taken_micros;
    if more != 0 {
        taken(db, catalogue, (&collection, more), &mut entries, now).await?;
    }
    entries.copy(db).await?;
    let currency = collection.currency.as_str();
    let told_state = told(db, (&known, currency), (said, more), now).await?;
    let booked = Booked {
        withheld_minor: withheld.minor(),
        taken_micros: owed_micros,
        told_state,
        ..known
    };
    Ok(disputes::set(db, &booked).await?)
}

/// Publishes that a dispute was opened or decided, with the `more` millionths of credit that this took, unless it was
/// told before. Returns the state told last. An inquiry withholds nothing, so nobody is told of it.
async fn told(
    db: &mut PgConnection,
    (known, currency): (&Booked, &str),
    (said, more): (&payments::Dispute, i64),
    now: DateTime<Utc>,
) -> Result<Option<dispute::State>, Error> {
    let state = match said.state() {
        State::Open => dispute::State::Open,
        State::Won => dispute::State::Won,
        State::Lost => dispute::State::Lost,
        State::Inquiry | State::Withdrawn | State::Unspecified => return Ok(known.told_state),
    };
    if known.told_state == Some(state) {
        return Ok(known.told_state);
    }
    let due = wire::optional_instant("evidence_due_time", said.evidence_due_time);
    let due = due.map_err(|_| Error::Stored("instant of payments"))?;
    let news = Disputed {
        root: known.root_id,
        state,
        amount_minor: parsed_sum(said.amount.as_ref(), currency)?.minor(),
        evidence_due_at: due.filter(|_| state == dispute::State::Open),
        credit_micros: more.saturating_abs(),
    };
    outbox::disputed(db, &news, now).await?;
    Ok(Some(state))
}

/// Claws back `more` millionths of credit, or restores credit if `more` is negative. The change in overdraft is
/// recorded as disputed: it is debt from a dispute and not usage to be invoiced.
async fn taken(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (collection, more): (&Collection, i64),
    entries: &mut Entries,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let root = collection.root_id;
    let unknown = || Error::Stored("balance");
    let (before, disputed) = ledger::owed(db, root).await?.ok_or_else(unknown)?;
    if 0 < more {
        take_back(db, catalogue, (collection, more), entries, now).await?;
    } else {
        let back = Credit {
            root,
            kind: LotKind::Paid,
            source: LedgerAccount::Disputed,
            micros: -more,
            terms: LotTerms::default(),
            word: "DISPUTE_WON",
            reason: "DISPUTE_WON",
            collection: Some(collection.collection_id),
            seed: Uuid::now_v7(),
        };
        credit::add(db, &back, entries, now).await?;
    }
    let (after, _) = ledger::owed(db, root).await?.ok_or_else(unknown)?;
    let disputed = disputed.saturating_add(after - before).max(0);
    Ok(ledger::set_disputed(db, root, disputed).await?)
}

/// The entry for `more` millionths that a provider withholds, or releases if `more` is negative; `None` for zero.
fn held_back(root: Uuid, more: i64) -> Option<Entry> {
    let (debit, credit) = if 0 < more {
        (LedgerAccount::Disputed, LedgerAccount::Clearing)
    } else {
        (LedgerAccount::Clearing, LedgerAccount::Disputed)
    };
    (more != 0).then_some(Entry {
        root_id: root,
        debit,
        credit,
        amount_micros: more.saturating_abs(),
        lot_id: None,
        invoice_id: None,
        reason: "DISPUTE",
    })
}

/// Claws back credit after a lost dispute. Refunds of the same charge that have not been sent are cancelled first,
/// since the payer gets the money through the dispute. Then the unspent credit bought with the charge is taken, then
/// other lots in their usual order.
async fn take_back(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (collection, micros): (&Collection, i64),
    entries: &mut Entries,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let root = collection.root_id;
    let account = accounts::get(db, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    let charge = collection.charge_id.ok_or(Error::Stored("charge"))?;
    for mut refund in refunds::lock_waiting(db, charge).await? {
        give_back::undo(db, &refund, entries, now).await?;
        let cancelled = refund::after(refund.state, refund::Event::Cancelled);
        refund.state = cancelled.ok_or(Error::Stored("refund to be cancelled"))?;
        refunds::set(db, &refund, now, None).await?;
    }
    let bill = Bill {
        root,
        profile: &account.profile_code,
        micros,
        to: LedgerAccount::Disputed,
        word: "DISPUTE_LOST",
        invoice: Some(collection.collection_id),
    };
    let purse = spend::purses(db, &[root]).await?.remove(&root);
    let mut spending = Spending::for_good(catalogue, now);
    let mut purse = purse.unwrap_or_default();
    // Credit bought with this charge is taken first, so that other credit stays refundable to its original payments.
    let origins: HashMap<Uuid, Origin> = ledger::lot_origins(db, root).await?.into_iter().collect();
    for lot in &mut purse.lots {
        let origin = origins.get(&lot.id).and_then(|it| it.collection_id);
        if origin == Some(collection.collection_id) {
            lot.priority = i16::MIN;
        }
    }
    spending.pay(&bill, purse, entries, |_| Uuid::now_v7())?;
    spending.flush(db).await
}

/// The share of credit in the amount withheld from a collection, in millionths, rounded down. It is the whole amount
/// if everything that arrived became credit. The remainder, revenue and its tax, is our loss.
async fn credit_of(
    db: &mut PgConnection,
    collection: &Collection,
    withheld: Money,
) -> Result<i64, Error> {
    let id = collection.collection_id;
    let credits = collections::lines(db, id)
        .await?
        .iter()
        .filter(|line| line.kind == LineKind::Credits)
        .fold(collections::overpaid(db, id).await?, |sum, line| {
            sum.saturating_add(line.amount_minor)
        });
    let share = match collection.state {
        collection::State::Succeeded => Ratio::new(
            i128::from(credits),
            i128::from(collection.total_minor.max(1)),
        ),
        collection::State::Declined if collection.failure_reason == SETTLED_AMOUNT_DIFFERS => {
            Ratio::whole(1)
        }
        // No money of this collection was ever posted: a person has to look.
        collection::State::Declined
        | collection::State::Created
        | collection::State::Pending
        | collection::State::AwaitingSettlement
        | collection::State::Unknown
        | collection::State::Parked
        | collection::State::Invoiced => return Err(Error::Stored("collection of a dispute")),
    };
    let credit = withheld
        .scaled(share, Rounding::Down)
        .and_then(Money::amount);
    Ok(credit
        .map_err(|_| Error::Stored("withheld amount"))?
        .micros())
}
