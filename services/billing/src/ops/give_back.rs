//! Refunds of paid credit to the payments that bought it (C-13, D9). The amount leaves the balance when the refund is
//! requested; `payments` is then asked until the money is paid back or the refund needs a person.

use chassis::PgConnection;
use chrono::{DateTime, TimeDelta, Utc};
use proto::payments::v1 as payments;
use proto::payments::v1::MovementState;
use tonic_types::StatusExt as _;
use uuid::Uuid;
use values::{AccountId, ChargeId, Currency, Money, RefundId, business_day};

use super::collect::{self, parsed, parsed_sum};
use super::credit::{self, Credit, LotTerms};
use crate::clients::{Catalogue, Profile, RefundPolicy};
use crate::ctx::Ctx;
use crate::domain::lots::LotKind;
use crate::domain::refund::{self, Event, Paid, Part, State};
use crate::error::Error;
use crate::store;
use crate::store::accounts::Account;
use crate::store::ledger::{self, Entries, Entry, LedgerAccount};
use crate::store::refunds::{self, Refund};
use crate::store::{closings, collections};

/// Attempts on the original payment method before the refund falls back to a bank transfer.
const ATTEMPTS_MAX: i32 = 4;
/// Delay between a refused attempt and the next one.
const AGAIN_AFTER: TimeDelta = TimeDelta::days(1);

/// A request to refund an account's paid credit.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The root account. The caller holds the lock of its balance.
    pub account: &'a Account,
    /// Intent of the request. Refund ids are derived from it.
    pub intent: Uuid,
    /// Upper limit in millionths; `None` refunds everything refundable.
    pub most: Option<i64>,
    /// Whether the profile's window does not count, as at a closing (C-13), and what no payment is known of goes too.
    pub any_time: bool,
    /// Start of the payout period. Credit counts as refundable if it could be spent at this instant.
    pub due_from: DateTime<Utc>,
}

/// The paid credit of an account that may go back by its profile's policy, newest first.
async fn refundable(
    db: &mut PgConnection,
    (profile, policy): (&Profile, &RefundPolicy),
    asked: &Asked<'_>,
    now: DateTime<Utc>,
) -> Result<Vec<Paid>, Error> {
    let window = TimeDelta::try_days(policy.window_days)
        .filter(|_| 0 < policy.window_days && !asked.any_time);
    let since = window.and_then(|window| now.checked_sub_signed(window));
    // What could be spent when it was asked for, however late that is done.
    let of = (asked.account.root_id, profile.currency.micros_per_minor());
    let at = (asked.any_time, asked.due_from);
    let lots = refunds::refundable_lots(db, of, at).await?;
    let paid = lots
        .into_iter()
        .filter(|lot| since.is_none_or(|since| since <= lot.created_at))
        .map(|lot| Paid {
            lot: lot.lot_id,
            charge: lot.charge_id,
            left_micros: lot.remaining_micros,
            tax_minor: lot.tax_minor,
            net_minor: lot.net_minor,
        });
    Ok(paid.collect())
}

/// Why nothing goes back of an account that [`take`] takes nothing of: it has no such credit, or less than is paid out.
pub async fn why_not(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    asked: &Asked<'_>,
    now: DateTime<Utc>,
) -> Result<Error, Error> {
    let account = AccountId::from_uuid(asked.account.root_id);
    let profile = collect::profile(catalogue, asked.account)?;
    let Some(policy) = &profile.refund else {
        return Ok(Error::RefundNotOffered(asked.account.profile_code.clone()));
    };
    let paid = refundable(db, (profile, policy), asked, now).await?;
    if paid.is_empty() {
        return Ok(Error::NothingToRefund(account));
    }
    let minimum = policy.minimum;
    let minimum = format!("{} {minimum}", minimum.currency().code());
    Ok(Error::BelowRefundMinimum { account, minimum })
}

/// Takes what goes back from the balance, by the profile's policy, and writes down where it goes: nothing
/// where the profile gives nothing back, or less than its minimum is left.
pub async fn take(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    asked: &Asked<'_>,
    now: DateTime<Utc>,
) -> Result<Vec<Refund>, Error> {
    let Asked {
        account, intent, ..
    } = *asked;
    let profile = collect::profile(catalogue, account)?;
    let Some(policy) = &profile.refund else {
        return Ok(Vec::new());
    };
    let root = account.root_id;
    let paid = refundable(db, (profile, policy), asked, now).await?;
    let kept = (policy.fee_bps, policy.with_tax);
    let parts = refund::parts(&paid, asked.most, kept, policy.minimum);
    let due_on = business_day(
        profile.zone.day(asked.due_from),
        policy.due_business_days,
        &profile.holidays,
    );
    let mut entries = Entries::new(&account.currency, now);
    let mut written: Vec<Refund> = Vec::new();
    for (part, number) in parts.iter().zip(1..) {
        let refund_id = Uuid::new_v5(&intent, format!("part {number}").as_bytes());
        post(&mut entries, root, refund_id, (part, profile.currency));
        ledger::take_out(db, &[root], &[part.lot], &[part.taken_micros]).await?;
        let refund = Refund {
            root_id: root,
            refund_id,
            intent_id: intent,
            lot_id: Some(part.lot),
            charge_id: part.charge,
            currency: account.currency.clone(),
            amount_minor: part.refund.minor() + part.tax.minor(),
            tax_minor: part.tax.minor(),
            fee_minor: part.fee.minor(),
            state: State::Created,
            attempt_number: 1,
            refusals: 0,
            // Credit that no charge paid for has no payment to go back to, so a person sends a bank transfer.
            manual: part.charge.is_none(),
            payments_refund_id: None,
            due_on,
            created_at: now,
            updated_at: now,
        };
        gather(&mut written, refund);
    }
    for refund in &written {
        refunds::insert(db, refund).await?;
    }
    entries.copy(db).await?;
    Ok(written)
}

/// Adds a refund to those of its intent. All bank transfers of an intent are merged into one refund, whatever number
/// of lots it was taken from, so that a person handles one transfer.
fn gather(written: &mut Vec<Refund>, refund: Refund) {
    let transfer = written.iter_mut().find(|it| it.manual && refund.manual);
    let Some(transfer) = transfer else {
        written.push(refund);
        return;
    };
    transfer.lot_id = None;
    transfer.amount_minor = transfer.amount_minor.saturating_add(refund.amount_minor);
    transfer.tax_minor = transfer.tax_minor.saturating_add(refund.tax_minor);
    transfer.fee_minor = transfer.fee_minor.saturating_add(refund.fee_minor);
}

/// Adds the ledger entries of one part: the refund, the fee, the remainder below a minor unit, and the tax returned.
fn post(entries: &mut Entries, root: Uuid, refund_id: Uuid, (part, currency): (&Part, Currency)) {
    let per_minor = currency.micros_per_minor();
    let paid = LedgerAccount::Lot(LotKind::Paid);
    let refund = part.refund.minor().saturating_mul(per_minor);
    let fee = part.fee.minor().saturating_mul(per_minor);
    let rest = part.taken_micros - refund - fee;
    let tax = part.tax.minor().saturating_mul(per_minor);
    for (what, debit, credit, amount_micros) in [
        ("refund", paid, LedgerAccount::Refunds, refund),
        ("fee", paid, LedgerAccount::Fees, fee),
        ("rounding", paid, LedgerAccount::Rounding, rest),
        ("tax", LedgerAccount::Tax, LedgerAccount::Refunds, tax),
    ] {
        if amount_micros <= 0 {
            continue;
        }
        let entry = Entry {
            root_id: root,
            debit,
            credit,
            amount_micros,
            lot_id: (debit == paid).then_some(part.lot),
            invoice_id: None,
            reason: "REFUND",
        };
        entries.add(Uuid::new_v5(&refund_id, what.as_bytes()), &entry);
    }
}

/// Asks `payments` to execute a stored refund and stores the answer. Safe to repeat.
pub async fn ask(ctx: &Ctx, id: Uuid) -> Result<(), Error> {
    let mut db = ctx.db.acquire().await?;
    let refund = refunds::get(&mut db, id)
        .await?
        .ok_or(Error::Stored("refund"))?;
    // `payments` refuses refunds of a closed account unless they are declared as part of its closing.
    let closing = closings::get(&mut db, refund.root_id).await?;
    let after_closing = closing.is_some_and(|it| it.is_prepared() || it.is_settled());
    drop(db);
    if !refund.state.is_waiting() {
        return Ok(());
    }
    let currency = store::currency(&refund.currency)?;
    let route = if refund.manual {
        payments::refund::Route::ManualBankTransfer
    } else {
        payments::refund::Route::OriginalMethod
    };
    // A refusal is stored under its request id and repeated for ever, so the number of refusals is part of the id:
    // otherwise the same attempt could never be made later.
    let attempt = format!("refund {} {}", refund.attempt_number, refund.refusals);
    let request = payments::CreateRefundRequest {
        account_id: AccountId::from_uuid(refund.root_id).to_string(),
        charge_id: refund
            .charge_id
            .map(|id| ChargeId::from_uuid(id).to_string())
            .unwrap_or_default(),
        amount: Some(chassis::wire::pb_money(Money::from_minor(
            refund.amount_minor,
            currency,
        ))),
        refund_key: id.simple().to_string(),
        attempt_number: refund.attempt_number,
        route: route.into(),
        due_date: refund.due_on.to_string(),
        request_id: Uuid::new_v5(&id, attempt.as_bytes()).to_string(),
        after_closing,
    };
    let asked = ctx.create_refund(request).await;
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    match asked {
        Ok(answer) => keep(&mut tx, &answer, now).await?,
        Err(status) if chassis::is_refusal(&status) => {
            let reason = status
                .get_details_error_info()
                .map(|info| info.reason)
                .unwrap_or_default();
            tracing::warn!(refund.id = %id, reason, "payments refused a refund");
            refused(&mut tx, &refund, &reason, now).await?;
        }
        // The request may have arrived, so the job repeats it unchanged, with the same request id.
        Err(status) => return Err(Error::Peer(status)),
    }
    tx.commit().await?;
    Ok(())
}

/// Handles a refund that `payments` refused. If the method doesn't support refunds, the refund becomes a bank
/// transfer; if the charge is disputed, it is retried later; any other reason leaves it to a person.
async fn refused(
    db: &mut PgConnection,
    asked: &Refund,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    // Every script locks the balance first; any other order could deadlock.
    ledger::lock(db, &[asked.root_id]).await?;
    let locked = refunds::lock(db, asked.refund_id)
        .await?
        .ok_or(Error::Stored("refund"))?;
    if &locked != asked {
        return Ok(());
    }
    let becomes = |event| refund::after(locked.state, event).ok_or(Error::Stored("refund refused"));
    if reason == "REFUND_EXCEEDS_CHARGE" {
        // The payer already has the money of the charge from a lost dispute.
        let state = becomes(Event::Cancelled)?;
        let mut entries = Entries::new(&asked.currency, now);
        undo(db, asked, &mut entries, now).await?;
        entries.copy(db).await?;
        let undone = Refund { state, ..locked };
        return Ok(refunds::set(db, &undone, now, None).await?);
    }
    let impossible = reason == "METHOD_NOT_REFUNDABLE" && !asked.manual;
    let (event, try_at) = match reason {
        _ if impossible => (Event::Refused, Some(now)),
        "CHARGE_DISPUTED" => (Event::Refused, Some(now + AGAIN_AFTER)),
        _ => (Event::RefusedForGood, None),
    };
    let next = Refund {
        state: becomes(event)?,
        refusals: asked.refusals + 1,
        manual: asked.manual || impossible,
        ..locked
    };
    Ok(refunds::set(db, &next, now, try_at).await?)
}

/// Applies the state that `payments` reports for a refund, and posts it once when the money has been paid back.
/// Repeated reports and reports of earlier attempts change nothing.
pub async fn keep(
    db: &mut PgConnection,
    said: &payments::Refund,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    // A refund key that is not a refund id belongs to another caller of `payments`.
    let Ok(id) = Uuid::try_parse(&said.refund_key) else {
        return Ok(());
    };
    let Some(known) = refunds::get(db, id).await? else {
        return Ok(());
    };
    // Every script locks the balance first; any other order could deadlock.
    ledger::lock(db, &[known.root_id]).await?;
    let known = refunds::lock(db, id)
        .await?
        .ok_or(Error::Stored("refund"))?;
    if known.attempt_number != said.attempt_number {
        return Ok(());
    }
    if known.state == State::Succeeded && said.overturn_time.is_some() {
        return came_back(db, &known, said, now).await;
    }
    let event = reported(said);
    if known.state == State::Undone && event == Event::PaidOut {
        // The payer got the money twice, from the refund and from the lost dispute: a person has to look.
        return Err(Error::Stored("refund that was undone"));
    }
    let Some(state) = refund::after(known.state, event) else {
        return Ok(());
    };
    let refund_id: RefundId = parsed(&said.refund_id)?;
    let mut next = Refund {
        state,
        payments_refund_id: Some(refund_id.uuid()),
        ..known.clone()
    };
    let mut try_at = None;
    if event == Event::PaidOut {
        paid_back(db, &known, said, now).await?;
    } else if event == Event::Failed {
        // While the charge is disputed, the amount is neither refunded nor transferred.
        let contested = said.failure_reason == "CHARGE_DISPUTED";
        let again = contested || (said.retryable && next.attempt_number < ATTEMPTS_MAX);
        next.attempt_number += 1;
        next.manual |= !again;
        try_at = Some(if again { now + AGAIN_AFTER } else { now });
    }
    if next == known {
        return Ok(());
    }
    Ok(refunds::set(db, &next, now, try_at).await?)
}

/// What the state that `payments` reports means for a refund.
fn reported(said: &payments::Refund) -> Event {
    match said.state() {
        MovementState::Succeeded => Event::PaidOut,
        MovementState::Declined | MovementState::FailedNotSent => Event::Failed,
        MovementState::Parked => Event::Parked,
        MovementState::Unspecified
        | MovementState::Created
        | MovementState::Sending
        | MovementState::Pending
        | MovementState::Unknown => Event::Submitted,
    }
}

/// Posts a refund that the provider had paid out and then returned, for instance because the card was closed. The
/// refund is sent by bank transfer instead. If only part of it was returned, that part becomes the customer's credit,
/// as the rest did when the refund was paid.
async fn came_back(
    db: &mut PgConnection,
    known: &Refund,
    said: &payments::Refund,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let settled = parsed_sum(said.settled_amount.as_ref(), &known.currency)?.minor();
    let micros = store::micros(settled, &known.currency)?;
    let id = |what: &str| {
        let of_attempt = format!("{what} {}", known.attempt_number);
        Uuid::new_v5(&known.refund_id, of_attempt.as_bytes())
    };
    let mut entries = Entries::new(&known.currency, now);
    let entry = Entry {
        root_id: known.root_id,
        debit: LedgerAccount::Clearing,
        credit: LedgerAccount::Refunds,
        amount_micros: micros,
        lot_id: known.lot_id,
        invoice_id: None,
        reason: "REFUND_CAME_BACK",
    };
    entries.add(id("came back"), &entry);
    let whole = settled == known.amount_minor;
    let event = if whole {
        Event::Returned
    } else {
        Event::ReturnedInPart
    };
    let state = refund::after(known.state, event).ok_or(Error::Stored("refund returned"))?;
    if !whole {
        // The tax is owed again and is not credited. Anything above the requested amount stays in clearing, since its
        // owner is unknown.
        let tax = store::micros(known.tax_minor, &known.currency)?;
        let credited = store::micros(settled.min(known.amount_minor), &known.currency)? - tax;
        if let Some(owed) = tax_owed_again(known, tax) {
            entries.add(id("tax owed again"), &owed);
        }
        if 0 < credited {
            let credit = credited_again(db, known, (RETURNED, credited), id("returned")).await?;
            credit::add(db, &credit, &mut entries, now).await?;
        }
    }
    entries.copy(db).await?;
    let next = Refund {
        state,
        attempt_number: known.attempt_number + 1,
        manual: true,
        ..known.clone()
    };
    Ok(refunds::set(db, &next, now, whole.then_some(now)).await?)
}

/// The entry that makes the tax of a refund payable again because the refund was not paid out; `None` if there is no
/// tax.
fn tax_owed_again(refund: &Refund, micros: i64) -> Option<Entry> {
    (0 < micros).then_some(Entry {
        root_id: refund.root_id,
        debit: LedgerAccount::Refunds,
        credit: LedgerAccount::Tax,
        amount_micros: micros,
        lot_id: None,
        invoice_id: None,
        reason: "REFUND_UNDONE",
    })
}

/// The part of a refund that becomes the customer's credit again, in millionths. It keeps its link to the original
/// payment, so it can be refunded again.
async fn credited_again(
    db: &mut PgConnection,
    refund: &Refund,
    (word, micros): (&'static str, i64),
    seed: Uuid,
) -> Result<Credit<'static>, Error> {
    let paid = match refund.charge_id {
        Some(charge) => collections::of_charge(db, charge).await?,
        None => None,
    };
    Ok(Credit {
        root: refund.root_id,
        kind: LotKind::Paid,
        source: LedgerAccount::Refunds,
        micros,
        terms: LotTerms::default(),
        word,
        reason: word,
        collection: paid.map(|it| it.collection_id),
        seed,
    })
}

/// Reason on credit restored because the provider paid back less than requested.
const RETURNED: &str = "REFUND_RETURNED";

/// Posts a refund that has been paid out. If less than requested was paid, the difference becomes the customer's
/// credit again. If more was paid, the excess has no known owner: it is logged as an error and `Reconcile` reports it
/// until someone settles it.
async fn paid_back(
    db: &mut PgConnection,
    known: &Refund,
    said: &payments::Refund,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let settled = parsed_sum(said.settled_amount.as_ref(), &known.currency)?.minor();
    let mut entries = Entries::new(&known.currency, now);
    let rest = known.amount_minor.saturating_sub(settled);
    if rest < 0 {
        tracing::error!(
            refund.id = %known.refund_id,
            "a refund paid out more than was requested; reconcile it with the provider"
        );
    }
    if 0 < rest {
        let rest = store::micros(rest, &known.currency)?;
        let credit = credited_again(db, known, (RETURNED, rest), known.refund_id).await?;
        credit::add(db, &credit, &mut entries, now).await?;
    }
    let entry = Entry {
        root_id: known.root_id,
        debit: LedgerAccount::Refunds,
        credit: LedgerAccount::Clearing,
        amount_micros: store::micros(settled, &known.currency)?,
        lot_id: known.lot_id,
        invoice_id: None,
        reason: "REFUNDED",
    };
    // An attempt is posted once: the entry id is derived from its number.
    let id = format!("paid back {}", known.attempt_number);
    entries.add(Uuid::new_v5(&known.refund_id, id.as_bytes()), &entry);
    entries.copy(db).await?;
    Ok(())
}

/// Cancels a refund that has not been paid out because the payer won a dispute of the charge: the refund's net amount
/// returns to the balance. The fee stays kept, and the tax is owed again.
pub async fn undo(
    db: &mut PgConnection,
    refund: &Refund,
    entries: &mut Entries,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if refund.lot_id.is_none() && refund.charge_id.is_some() {
        // This refund belongs to a credit note, for which no lot was taken. The payer gets the money through the
        // dispute, so no credit is due; the tax that the credit note returned stays returned.
        let entry = Entry {
            root_id: refund.root_id,
            debit: LedgerAccount::Refunds,
            credit: LedgerAccount::Disputed,
            amount_micros: store::micros(refund.amount_minor, &refund.currency)?,
            lot_id: None,
            invoice_id: None,
            reason: "REFUND_UNDONE",
        };
        entries.add(Uuid::new_v5(&refund.refund_id, b"undone"), &entry);
        return Ok(());
    }
    if let Some(owed) = tax_owed_again(refund, store::micros(refund.tax_minor, &refund.currency)?) {
        entries.add(Uuid::new_v5(&refund.refund_id, b"tax owed again"), &owed);
    }
    let micros = store::micros(refund.amount_minor - refund.tax_minor, &refund.currency)?;
    let seed = Uuid::new_v5(&refund.refund_id, b"undone");
    let credit = credited_again(db, refund, ("REFUND_UNDONE", micros), seed).await?;
    credit::add(db, &credit, entries, now).await?;
    Ok(())
}
