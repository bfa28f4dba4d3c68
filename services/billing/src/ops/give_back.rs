//! Credit that goes back to the payments it came from (C-13, D9): taken from the balance at once,
//! asked of `payments` until it is paid back or a person has to.

use chrono::{DateTime, TimeDelta, Utc};
use proto::payments::v1 as payments;
use sqlx::PgConnection;
use tonic_types::StatusExt as _;
use uuid::Uuid;
use values::{AccountId, ChargeId, Currency, Money, RefundId, business_day};

use super::collect::{self, parsed, parsed_sum};
use super::credit::{self, Credit, LotTerms};
use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::domain::lots::LotKind;
use crate::domain::refund::{self, Paid, Part};
use crate::error::Error;
use crate::store;
use crate::store::accounts::Account;
use crate::store::collections;
use crate::store::ledger::{self, Entries, Entry, LedgerAccount};
use crate::store::refunds::{self, Refund};

/// Attempts at the original payment before a bank transfer is asked for.
const ATTEMPTS_MAX: i32 = 4;
/// How long after a refusal the next attempt is made.
const AGAIN_AFTER: TimeDelta = TimeDelta::days(1);

/// What is to go back of an account's paid credit.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The root account, whose balance is locked.
    pub account: &'a Account,
    /// The intent that the parts are of.
    pub intent: Uuid,
    /// At most so much, in millionths; `None` for all.
    pub most: Option<i64>,
    /// Whether the profile's window does not count, as at a closing (C-13).
    pub any_time: bool,
    /// From when the days are counted until it is paid out.
    pub due_from: DateTime<Utc>,
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
    let window = TimeDelta::try_days(policy.window_days)
        .filter(|_| 0 < policy.window_days && !asked.any_time);
    let since = window.and_then(|window| now.checked_sub_signed(window));
    let lots =
        refunds::refundable_lots(db, (root, profile.currency.micros_per_minor()), now).await?;
    let paid: Vec<Paid> = lots
        .into_iter()
        .filter(|lot| since.is_none_or(|since| since <= lot.created_at))
        .map(|lot| Paid {
            lot: lot.lot_id,
            charge: lot.charge_id,
            left_micros: lot.remaining_micros,
            tax_minor: lot.tax_minor,
            net_minor: lot.net_minor,
        })
        .collect();
    let kept = (policy.fee_bps, policy.with_tax);
    let parts = refund::parts(&paid, asked.most, kept, policy.minimum);
    let due_on = business_day(
        profile.zone.day(asked.due_from),
        policy.due_business_days,
        &profile.holidays,
    );
    let mut entries = Entries::new(&account.currency, now);
    let mut written = Vec::new();
    for (part, number) in parts.iter().zip(1..) {
        let refund_id = Uuid::new_v5(&intent, format!("part {number}").as_bytes());
        post(&mut entries, root, refund_id, (part, profile.currency));
        ledger::take_out(db, &[root], &[part.lot], &[part.taken_micros]).await?;
        let refund = Refund {
            root_id: root,
            refund_id,
            intent_id: intent,
            lot_id: part.lot,
            charge_id: part.charge,
            currency: account.currency.clone(),
            amount_minor: part.refund.minor() + part.tax.minor(),
            tax_minor: part.tax.minor(),
            fee_minor: part.fee.minor(),
            state: "CREATED".to_owned(),
            attempt_number: 1,
            refusals: 0,
            manual: false,
            payments_refund_id: None,
            due_on,
            created_at: now,
            updated_at: now,
        };
        refunds::insert(db, &refund).await?;
        written.push(refund);
    }
    entries.copy(db).await?;
    Ok(written)
}

/// The entries of a part: what goes back, the fee, what can't be paid out, and the tax on it.
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

/// Asks `payments` for a refund that is written down, and keeps what it says; safe to repeat.
pub async fn ask(ctx: &Ctx, id: Uuid) -> Result<(), Error> {
    let mut db = ctx.db.acquire().await?;
    let refund = refunds::get(&mut db, id)
        .await?
        .ok_or(Error::Stored("refund"))?;
    drop(db);
    if refund.state != "CREATED" && refund.state != "RETRYING" {
        return Ok(());
    }
    let currency = store::currency(&refund.currency)?;
    let route = if refund.manual {
        payments::refund::Route::ManualBankTransfer
    } else {
        payments::refund::Route::OriginalMethod
    };
    // A refusal that is answered again for ever would bar the same attempt at another time.
    let attempt = format!("refund {} {}", refund.attempt_number, refund.refusals);
    let request = payments::CreateRefundRequest {
        account_id: AccountId::from_uuid(refund.root_id).to_string(),
        charge_id: ChargeId::from_uuid(refund.charge_id).to_string(),
        amount: Some(chassis::wire::pb_money(Money::from_minor(
            refund.amount_minor,
            currency,
        ))),
        refund_key: id.simple().to_string(),
        attempt_number: refund.attempt_number,
        route: route.into(),
        due_date: refund.due_on.to_string(),
        request_id: Uuid::new_v5(&id, attempt.as_bytes()).to_string(),
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
        // Nobody knows whether it arrived: the job asks again, with the same words.
        Err(status) => return Err(Error::Peer(status)),
    }
    tx.commit().await?;
    Ok(())
}

/// What `payments` does not take: it is asked for by a bank transfer where the method can't give back,
/// later where the charge is contested, and waits for a person otherwise.
async fn refused(
    db: &mut PgConnection,
    asked: &Refund,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    // The balance first, as everywhere: else two would wait for each other.
    ledger::lock(db, &[asked.root_id]).await?;
    let locked = refunds::lock(db, asked.refund_id)
        .await?
        .ok_or(Error::Stored("refund"))?;
    if &locked != asked {
        return Ok(());
    }
    if reason == "REFUND_EXCEEDS_CHARGE" {
        // Its payer has the charge's money already, by a dispute that was lost.
        let mut entries = Entries::new(&asked.currency, now);
        undo(db, asked, &mut entries, now).await?;
        entries.copy(db).await?;
        let undone = Refund {
            state: "UNDONE".to_owned(),
            ..locked
        };
        return Ok(refunds::set(db, &undone, now, None).await?);
    }
    let impossible = reason == "METHOD_NOT_REFUNDABLE" && !asked.manual;
    let (state, try_at) = match reason {
        _ if impossible => ("RETRYING", Some(now)),
        "CHARGE_DISPUTED" => ("RETRYING", Some(now + AGAIN_AFTER)),
        _ => ("NEEDS_MANUAL", None),
    };
    let next = Refund {
        state: state.to_owned(),
        refusals: asked.refusals + 1,
        manual: asked.manual || impossible,
        ..locked
    };
    Ok(refunds::set(db, &next, now, try_at).await?)
}

/// Keeps what `payments` says of a refund; books it, once, when the money has gone back. What is known
/// already and older attempts change nothing.
pub async fn keep(
    db: &mut PgConnection,
    said: &payments::Refund,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    use payments::MovementState as State;
    // Another key than a refund's id is another caller's.
    let Ok(id) = Uuid::try_parse(&said.refund_key) else {
        return Ok(());
    };
    let Some(known) = refunds::get(db, id).await? else {
        return Ok(());
    };
    // The balance first, as everywhere: else two would wait for each other.
    ledger::lock(db, &[known.root_id]).await?;
    let known = refunds::lock(db, id)
        .await?
        .ok_or(Error::Stored("refund"))?;
    let moved = matches!(
        said.state(),
        State::Succeeded | State::Declined | State::FailedNotSent
    );
    let older = known.state == "NEEDS_MANUAL" && !moved;
    if known.state == "SUCCEEDED"
        && known.attempt_number == said.attempt_number
        && said.overturn_time.is_some()
    {
        return came_back(db, &known, said, now).await;
    }
    if known.state == "UNDONE"
        && known.attempt_number == said.attempt_number
        && said.state() == State::Succeeded
    {
        // Its payer has it by a dispute as well: a person has to know.
        return Err(Error::Stored("refund that was undone"));
    }
    if known.state == "SUCCEEDED"
        || known.state == "UNDONE"
        || older
        || known.attempt_number != said.attempt_number
    {
        return Ok(());
    }
    let refund_id: RefundId = parsed(&said.refund_id)?;
    let mut next = Refund {
        payments_refund_id: Some(refund_id.uuid()),
        ..known.clone()
    };
    let mut try_at = None;
    match said.state() {
        State::Succeeded => {
            paid_back(db, &known, said, now).await?;
            "SUCCEEDED".clone_into(&mut next.state);
        }
        State::Declined | State::FailedNotSent => {
            // Contested, it is neither paid back nor transferred before that is decided.
            let contested = said.failure_reason == "CHARGE_DISPUTED";
            let again = contested || (said.retryable && next.attempt_number < ATTEMPTS_MAX);
            "RETRYING".clone_into(&mut next.state);
            next.attempt_number += 1;
            next.manual |= !again;
            try_at = Some(if again { now + AGAIN_AFTER } else { now });
        }
        State::Parked => "NEEDS_MANUAL".clone_into(&mut next.state),
        State::Unspecified | State::Created | State::Sending | State::Pending | State::Unknown => {
            "PROCESSING".clone_into(&mut next.state);
        }
    }
    Ok(refunds::set(db, &next, now, try_at).await?)
}

/// Books money that had gone back and came back to us, as its card was closed meanwhile: it is sent by a bank
/// transfer. Where it was not all that was asked for, what came back is the customer's credit again, as the
/// rest is already.
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
        lot_id: Some(known.lot_id),
        invoice_id: None,
        reason: "REFUND_CAME_BACK",
    };
    entries.add(id("came back"), &entry);
    let whole = settled == known.amount_minor;
    if !whole {
        // Less the tax, which is owed again; more than was asked for stays as nobody knows whose it is.
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
        state: if whole { "RETRYING" } else { "UNDONE" }.to_owned(),
        attempt_number: known.attempt_number + 1,
        manual: true,
        ..known.clone()
    };
    Ok(refunds::set(db, &next, now, whole.then_some(now)).await?)
}

/// The entry for the share of tax in a refund that did not go back; `None` where there is none.
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

/// What of a refund is its customer's credit again, in millionths: of the same payment, it can go back another time.
async fn credited_again(
    db: &mut PgConnection,
    refund: &Refund,
    (word, micros): (&'static str, i64),
    seed: Uuid,
) -> Result<Credit<'static>, Error> {
    let paid = collections::of_charge(db, refund.charge_id).await?;
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

/// Why a part of a refund is credit again that its provider did not give back.
const RETURNED: &str = "REFUND_RETURNED";

/// Books money that has gone back. Of less than was asked for the rest is the customer's credit again;
/// more is told, as nobody knows whose it is: `Reconcile` tells it until somebody does.
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
        tracing::error!(refund.id = %known.refund_id, "more has gone back than was asked for");
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
        lot_id: Some(known.lot_id),
        invoice_id: None,
        reason: "REFUNDED",
    };
    // An attempt is paid back once.
    let id = format!("paid back {}", known.attempt_number);
    entries.add(Uuid::new_v5(&known.refund_id, id.as_bytes()), &entry);
    entries.copy(db).await?;
    Ok(())
}

/// Gives back to the balance what a refund had taken that is not paid out: the charge is lost to its payer.
/// The fee stays kept, and a share of tax is owed again.
pub async fn undo(
    db: &mut PgConnection,
    refund: &Refund,
    entries: &mut Entries,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if let Some(owed) = tax_owed_again(refund, store::micros(refund.tax_minor, &refund.currency)?) {
        entries.add(Uuid::new_v5(&refund.refund_id, b"tax owed again"), &owed);
    }
    let micros = store::micros(refund.amount_minor - refund.tax_minor, &refund.currency)?;
    let seed = Uuid::new_v5(&refund.refund_id, b"undone");
    let credit = credited_again(db, refund, ("REFUND_UNDONE", micros), seed).await?;
    credit::add(db, &credit, entries, now).await?;
    Ok(())
}
