//! Dunning of open invoices. The owner is notified when an invoice is issued; on its due date it is charged to the
//! account's payment method, and charged again on the reminder days of the profile (D13). The open invoice of a cycle
//! is not charged here: its subscription's retry days are its reminders. Every payment of an invoice is posted here,
//! once.

use chassis::PgConnection;
use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use uuid::Uuid;
use values::{AccountId, InvoiceId, Money};

use super::collect::{self, Of, SETTLED_AMOUNT_DIFFERS};
use super::credit::{self, Credit, LotTerms};
use super::{off_session, renewal};
use crate::clients::{Catalogue, Profile};
use crate::ctx::Ctx;
use crate::domain::collection::{LineKind, Purpose};
use crate::domain::dunning::{self, Event};
use crate::domain::invoice;
use crate::domain::lots::LotKind;
use crate::domain::subscription;
use crate::error::Error;
use crate::store::accounts::{self, Account};
use crate::store::closings::{self, Closing};
use crate::store::collections::{self, Collection, Line};
use crate::store::dunnings::{self, Dunning};
use crate::store::invoices::{self, Invoice};
use crate::store::ledger::{self, Entries, Entry, LedgerAccount};
use crate::store::{self, outbox, subscriptions};

/// Delay before an invoice that can't be processed now is looked at again.
const PUT_OFF: TimeDelta = TimeDelta::hours(1);

/// The due date of an invoice issued at `issued_at` to an account of a profile.
pub fn due_on(profile: &Profile, issued_at: DateTime<Utc>) -> NaiveDate {
    let day = profile.zone.day(issued_at);
    day.checked_add_days(Days::new(profile.net_days))
        .unwrap_or(day)
}

/// Processes an invoice whose next step is due. Safe to repeat.
pub async fn go_on(ctx: &Ctx, known: &Dunning, now: DateTime<Utc>) -> Result<(), Error> {
    let catalogue = ctx.active_catalogue().await?;
    let method = if known.state == dunning::State::Issued {
        None
    } else {
        off_session::for_invoice(ctx, known.root_id).await?
    };
    let mut tx = ctx.db.begin().await?;
    let asked = next(&mut tx, &catalogue, (known, method), now).await?;
    tx.commit().await?;
    ctx.wake.notify_waiters();
    if let Some(id) = asked {
        // A refusal has been applied to the collection already; a lost call is repeated by the `ask_payments` job.
        if let Err(error) = collect::ask(ctx, id).await {
            tracing::warn!(
                collection.id = %id,
                error = %chassis::Chain(&error),
                "requesting the charge of an invoice failed; a lost call is repeated"
            );
        }
    }
    Ok(())
}

/// Takes the next step of an invoice: notifies its owner, or stores a collection to charge. Returns the collection,
/// if any.
async fn next(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (known, method): (&Dunning, Option<Uuid>),
    now: DateTime<Utc>,
) -> Result<Option<Uuid>, Error> {
    let root = known.root_id;
    ledger::lock(db, &[root]).await?;
    if dunnings::lock(db, known.invoice_id).await?.as_ref() != Some(known) {
        return Ok(None);
    }
    let stored = invoices::get(db, known.invoice_id).await?;
    let invoice = stored.ok_or(Error::Stored("invoice"))?;
    let account = accounts::get(db, root).await?;
    let account = account.ok_or(Error::Stored("account"))?;
    let profile = collect::profile(catalogue, &account)?;
    let closing = closings::get(db, root).await?;
    let mut next = Dunning {
        next_at: None,
        ..known.clone()
    };
    let mut asked = None;
    if invoice.due_minor() == 0 || closing.as_ref().is_some_and(Closing::is_settled) {
        // The invoice is settled; or its account is closed, and collecting the debt is up to a person.
    } else if let Some(state) = dunning::after(known.state, Event::Notified) {
        outbox::open_invoice(db, (root, known.invoice_id), (false, ""), now).await?;
        next.state = state;
        let of_cycle = subscriptions::lock_of(db, known.invoice_id).await?;
        if of_cycle.is_none() {
            next.next_at = Some(profile.zone.start_of(known.due_on));
        }
    } else if closing.is_some_and(|it| it.is_prepared())
        || collections::paying(db, known.invoice_id).await?.is_some()
    {
        next.next_at = Some(now + PUT_OFF);
    } else {
        let charged = dunning::after(known.state, Event::Charged);
        next.state = charged.ok_or(Error::Stored("dunning"))?;
        let of = Of {
            purpose: Purpose::Invoice,
            order: None,
            invoice: Some(known.invoice_id),
            method: None,
            intent: Uuid::now_v7(),
            id: Uuid::now_v7(),
        };
        let line = line(&invoice);
        let begun = collect::begin(db, (catalogue, &account), &of, &[line], now).await?;
        collections::set_chosen_method(db, begun.collection_id, method).await?;
        asked = Some(begun.collection_id);
    }
    dunnings::set(db, &next).await?;
    Ok(asked)
}

/// The amount due of an invoice as one line, taxes included.
fn line(invoice: &Invoice) -> Line {
    Line::plain(LineKind::Invoice, invoice.due_minor())
}

/// Checks that exactly `minor` is due of an invoice, and that no other payment of it is under way.
///
/// # Errors
/// `NothingDue`, `Requote` if another amount is due, `PaymentUnderWay`.
pub async fn still_due(db: &mut PgConnection, id: Uuid, minor: i64) -> Result<(), Error> {
    let invoice = invoices::get(db, id).await?;
    let invoice = invoice.ok_or(Error::Stored("invoice"))?;
    let payer = AccountId::from_uuid(invoice.root_id);
    if invoice.due_minor() == 0 {
        return Err(Error::NothingDue(payer));
    }
    // The invoice of a cycle that was given up becomes void as soon as the plan has ended.
    let cycle = subscriptions::lock_of(db, id).await?;
    if cycle.is_some_and(|it| it.state == subscription::State::Ending) {
        return Err(Error::NothingDue(payer));
    }
    if invoice.due_minor() != minor {
        return Err(Error::Requote);
    }
    match collections::paying(db, id).await? {
        Some(_) => Err(Error::PaymentUnderWay(payer)),
        None => Ok(()),
    }
}

/// Stores the collection that pays an open invoice by order: all that is due. The caller holds the lock of the
/// account's balance.
pub async fn ordered(
    db: &mut PgConnection,
    (catalogue, account): (&Catalogue, &Account),
    of: &Of,
    quoted: Option<Money>,
    now: DateTime<Utc>,
) -> Result<Collection, Error> {
    let id = of.invoice.ok_or(Error::Stored("invoice"))?;
    let invoice = invoices::get(db, id).await?;
    let invoice = invoice
        .filter(|it| it.root_id == account.root_id)
        .ok_or(Error::InvoiceNotFound(InvoiceId::from_uuid(id)))?;
    let quoted = quoted.map_or(invoice.due_minor(), Money::minor);
    still_due(db, id, quoted).await?;
    collect::begin(db, (catalogue, account), of, &[line(&invoice)], now).await
}

/// Posts a collection that paid an open invoice: the one it was made for, or the one of its cycle. What exceeds the
/// amount due becomes paid credit.
pub async fn book(
    db: &mut PgConnection,
    (account, collection): (&Account, &Collection),
    notify_below_micros: i64,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let id = collection.invoice_id.unwrap_or(collection.collection_id);
    let stored = invoices::get(db, id).await?;
    let invoice = stored.ok_or(Error::Stored("invoice"))?;
    let before = ledger::balance(db, account.root_id, now).await?;
    let mut entries = Entries::new(&collection.currency, now);
    let seed = collection.collection_id;
    let money = (collection.total_minor, seed);
    let rest = pay(db, &invoice, money, &mut entries, now).await?;
    if 0 < rest {
        collections::set_overpaid(db, seed, rest).await?;
        let credit = Credit {
            root: account.root_id,
            kind: LotKind::Paid,
            source: LedgerAccount::Clearing,
            micros: store::micros(rest, &invoice.currency)?,
            terms: LotTerms::default(),
            word: "OVERPAID",
            reason: "OVERPAID",
            collection: Some(collection.collection_id),
            seed,
        };
        credit::add(db, &credit, &mut entries, now).await?;
    }
    entries.copy(db).await?;
    credit::balance_moved(db, (account.root_id, before), notify_below_micros, now).await
}

/// Pays an invoice from money that has arrived, up to the amount due, and notifies the owner; a cycle whose invoice is
/// paid is renewed. Returns the rest in minor units. The caller holds the lock of the account's balance.
pub async fn pay(
    db: &mut PgConnection,
    invoice: &Invoice,
    (minor, seed): (i64, Uuid),
    entries: &mut Entries,
    now: DateTime<Utc>,
) -> Result<i64, Error> {
    let due = invoice.due_minor();
    let paid = minor.min(due);
    if 0 < paid {
        let entry = Entry {
            root_id: invoice.root_id,
            debit: LedgerAccount::Clearing,
            credit: LedgerAccount::Receivable,
            amount_micros: store::micros(paid, &invoice.currency)?,
            lot_id: None,
            invoice_id: Some(invoice.invoice_id),
            reason: "PAYMENT",
        };
        entries.add(Uuid::new_v5(&seed, b"paid"), &entry);
        let event = if paid == due {
            invoice::Event::Settled
        } else {
            invoice::Event::Reduced
        };
        let state = invoice::after(invoice.state, event).ok_or(Error::Stored("invoice"))?;
        invoices::pay(db, invoice.invoice_id, paid, state).await?;
        let of = (invoice.root_id, invoice.invoice_id);
        outbox::payment_received(db, of, paid, now).await?;
        if state == invoice::State::Paid {
            renewal::paid(db, invoice.invoice_id).await?;
        }
    }
    Ok(minor - paid)
}

/// Records a failed payment of an invoice: the owner is notified, and the invoice is charged again on the next of the
/// profile's reminder days. An attempt by the owner changes nothing; one that never reached the provider does not
/// count.
pub async fn declined(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    collection: &Collection,
    (reason, counts): (&str, bool),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let id = collection.invoice_id.ok_or(Error::Stored("collection"))?;
    let Some(known) = dunnings::lock(db, id).await? else {
        return Ok(());
    };
    let differs = reason == SETTLED_AMOUNT_DIFFERS;
    if collection.is_attended() && !differs {
        return Ok(());
    }
    let stored = invoices::get(db, id).await?;
    let invoice = stored.ok_or(Error::Stored("invoice"))?;
    if invoice.due_minor() == 0 {
        // The invoice was settled meanwhile; no further charge is due.
        let ended = Dunning {
            next_at: None,
            ..known
        };
        return Ok(dunnings::set(db, &ended).await?);
    }
    let account = accounts::get(db, known.root_id).await?;
    let account = account.ok_or(Error::Stored("account"))?;
    let profile = collect::profile(catalogue, &account)?;
    let retries = usize::try_from(known.retries).unwrap_or(usize::MAX);
    let next_at = if differs {
        tracing::error!(
            invoice.id = %id,
            "an invoice was charged and another amount settled; it is credit now, settle the invoice by hand"
        );
        None
    } else if counts {
        // At most one attempt a day, even if the last one was decided late.
        let today = profile.zone.day(now);
        dunning::next_try(known.due_on, &profile.reminder_days, retries)
            .map(|day| profile.zone.start_of(day.max(today + Days::new(1))))
    } else {
        Some(now + PUT_OFF)
    };
    if counts {
        outbox::open_invoice(db, (known.root_id, id), (true, reason), now).await?;
    }
    let next = Dunning {
        retries: known.retries + i32::from(counts),
        next_at,
        ..known
    };
    Ok(dunnings::set(db, &next).await?)
}

/// Stops the retries of an invoice until a person has looked at it.
pub async fn stop(db: &mut PgConnection, collection: &Collection) -> Result<(), Error> {
    let id = collection.invoice_id.ok_or(Error::Stored("collection"))?;
    let Some(known) = dunnings::lock(db, id).await? else {
        return Ok(());
    };
    let next = Dunning {
        next_at: None,
        ..known
    };
    Ok(dunnings::set(db, &next).await?)
}
