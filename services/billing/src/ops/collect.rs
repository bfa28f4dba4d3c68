//! Collections: money requested from `payments` and posted on arrival (D6). A collection is stored before `payments`
//! is asked, and posted once by whichever caller learns the outcome first.

use std::collections::HashMap;
use std::sync::Arc;

use chassis::{PgConnection, field_error};
use chrono::{DateTime, Datelike as _, Days, NaiveDate, Utc};
use proto::payments::v1 as payments;
use proto::payments::v1::MovementState;
use proto::r#type::v1::Money as Sum;
use tonic::Status;
use tonic_types::StatusExt as _;
use uuid::Uuid;
use values::{AccountId, ChargeId, InvoiceId, MethodId, Money, MoneyError, anniversary};

use super::credit::{self, Credit, LotTerms};
use super::settle::series_of;
use super::{dun, recharge, renewal};
use crate::clients::{Catalogue, Profile};
use crate::ctx::Ctx;
use crate::domain::collection::{Event, LineKind, Purpose, State, after};
use crate::domain::invoice;
use crate::domain::lots::LotKind;
use crate::domain::tax::{self, TaxPolicy};
use crate::error::Error;
use crate::store::accounts::{Account, Billed};
use crate::store::collections::{self, Collection, Line, Outcome, Tax};
use crate::store::invoices::{self, Invoice};
use crate::store::ledger::{self, Entries, Entry, LedgerAccount};
use crate::store::{self, accounts, closings, dunnings, numbers};

/// Seconds during which the writer of a collection asks for its charge; after that, a job does.
pub const WAIT_SECONDS: i32 = 30;
/// Failure reason of a collection whose charge was declined first and captured later. Nothing more is charged for it.
const CHARGE_OVERTURNED: &str = "CHARGE_OVERTURNED";
/// Failure reason of a collection whose settled amount differs from the requested amount.
pub const SETTLED_AMOUNT_DIFFERS: &str = "SETTLED_AMOUNT_DIFFERS";

/// The taxes on the lines of an account, and the total to charge.
///
/// # Errors
/// An invalid `lines` field if the total is too large to be posted.
pub async fn taxed(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    account: &Account,
    lines: &[Line],
) -> Result<(Vec<Tax>, Money), Error> {
    let profile = profile(catalogue, account)?;
    let currency = profile.currency;
    // An amount that is too large to be posted must not be charged.
    let out_of_range = |_| field_error("lines", "a smaller total");
    let mut net = Money::from_minor(0, currency);
    for line in lines {
        net = net
            .plus(Money::from_minor(line.amount_minor, currency))
            .map_err(out_of_range)?;
    }
    let billed = accounts::billed(db, account.account_id)
        .await?
        .ok_or(Error::Stored("account"))?;
    let taxes = taxes(&catalogue.taxes, profile, &billed, net).map_err(out_of_range)?;
    let mut total = net;
    for tax in &taxes {
        total = total
            .plus(Money::from_minor(tax.amount_minor, currency))
            .map_err(out_of_range)?;
    }
    total.amount().map_err(out_of_range)?;
    Ok((taxes, total))
}

/// The taxes on `net`, by the account's country. Until that is known, the issuer's country applies, so that leaving
/// out an address never avoids tax (D33).
///
/// # Errors
/// `OutOfRange` if a tax amount overflows.
pub fn taxes(
    policies: &HashMap<String, TaxPolicy>,
    profile: &Profile,
    billed: &Billed,
    net: Money,
) -> Result<Vec<Tax>, MoneyError> {
    let country = match billed.country_code.as_str() {
        "" => &profile.sender.country,
        known => known,
    };
    let own = policies.get(country);
    let Some(policy) = own.or_else(|| policies.get("")) else {
        return Ok(Vec::new());
    };
    let same_state = billed.state_code == profile.sender.state_code;
    let found = tax::lines(policy, net, (same_state, billed.export_supply))?;
    let taxes = found.into_iter().map(|line| Tax {
        tax_code: line.code,
        rate_bps: line.rate_bps,
        amount_minor: line.money.minor(),
    });
    Ok(taxes.collect())
}

/// The profile of an account.
///
/// # Errors
/// `ProfileNotFound` if the catalogue does not have it.
pub fn profile<'c>(catalogue: &'c Catalogue, account: &Account) -> Result<&'c Profile, Error> {
    catalogue
        .profiles
        .get(&account.profile_code)
        .ok_or_else(|| Error::ProfileNotFound(account.profile_code.clone()))
}

/// The purpose and origin of a new collection.
#[derive(Debug, Clone, Copy)]
pub struct Of {
    /// What it is for.
    pub purpose: Purpose,
    /// The order it pays for, if any.
    pub order: Option<Uuid>,
    /// The open invoice it pays, if any. The invoice's total already includes taxes.
    pub invoice: Option<Uuid>,
    /// The payment method; `None` for the account's default method.
    pub method: Option<Uuid>,
    /// The intent of its first attempt; request ids to `payments` are derived from it.
    pub intent: Uuid,
    /// Its id. A renewal's id is derived from its cycle, so that each cycle is charged once.
    pub id: Uuid,
}

/// Stores a new collection with its lines and taxes. The caller holds the lock of the account's balance.
///
/// # Errors
/// `AccountClosed` if a closing is prepared or settled, unless the purpose is USAGE; an invalid `order_id` field if
/// another account has the order.
pub async fn begin(
    db: &mut PgConnection,
    (catalogue, account): (&Catalogue, &Account),
    of: &Of,
    lines: &[Line],
    now: DateTime<Utc>,
) -> Result<Collection, Error> {
    // Usage is already owed and has to be invoiced, even if the account is closing.
    if of.purpose != Purpose::Usage && closings::stands(db, account.root_id).await? {
        return Err(Error::AccountClosed(AccountId::from_uuid(account.root_id)));
    }
    let (taxes, total_minor) = if of.invoice.is_some() {
        (Vec::new(), lines.iter().map(|line| line.amount_minor).sum())
    } else {
        let (taxes, total) = taxed(db, catalogue, account, lines).await?;
        (taxes, total.minor())
    };
    let collection = Collection {
        root_id: account.root_id,
        collection_id: of.id,
        order_id: of.order,
        invoice_id: of.invoice,
        purpose: of.purpose,
        state: State::Created,
        currency: account.currency.clone(),
        total_minor,
        method_id: of.method,
        chosen_method_id: None,
        intent_id: of.intent,
        attempt_number: 1,
        charge_id: None,
        failure_reason: String::new(),
        action_url: String::new(),
        catalogue_version: catalogue.version.clone(),
        created_at: now,
    };
    collections::insert(db, &collection, (lines, &taxes), WAIT_SECONDS)
        .await
        .map_err(|error| {
            // The order id belongs to another account.
            if chassis::is_violation_of(&error, "collections_order_id_key") {
                return field_error("order_id", "an order of this account").into();
            }
            Error::from(error)
        })?;
    Ok(collection)
}

/// Asks `payments` for the charge of a stored collection and applies the answer. Safe to repeat.
///
/// # Errors
/// If `payments` refuses, the attempt ends as declined and the refusal is returned as the error.
pub async fn ask(ctx: &Ctx, id: Uuid) -> Result<(), Error> {
    let mut db = ctx.db.acquire().await?;
    let collection = collections::get(&mut db, id)
        .await?
        .ok_or(Error::Stored("collection"))?;
    if collection.state != State::Created {
        return Ok(());
    }
    let lines = collections::lines(&mut db, id).await?;
    drop(db);
    let request = charge_of(&collection, &lines)?;
    let catalogue = ctx.catalogue(&collection.catalogue_version).await?;
    // If the call fails without a refusal, it may still have arrived. The job repeats it with the same request id.
    let asked = ctx.create_charge(request).await;
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    let refusal = match asked {
        Ok(charge) => {
            keep(&mut tx, &catalogue, &charge, now).await?;
            Ok(())
        }
        Err(status) => {
            if chassis::is_refusal(&status) {
                decline(&mut tx, &catalogue, (&collection, &status), now).await?;
            }
            Err(Error::Peer(status))
        }
    };
    tx.commit().await?;
    ctx.wake.notify_waiters();
    refusal
}

/// The charge request of a collection.
fn charge_of(
    collection: &Collection,
    lines: &[Line],
) -> Result<payments::CreateChargeRequest, Error> {
    let currency = store::currency(&collection.currency)?;
    let subscription = lines
        .iter()
        .find(|line| line.kind == LineKind::Subscription);
    let purpose = if subscription.is_some() {
        payments::Purpose::Subscription
    } else {
        payments::Purpose::Credits
    };
    let code = |of: fn(&Line) -> &String| subscription.map(of).cloned().unwrap_or_default();
    let amount = Money::from_minor(collection.total_minor, currency);
    // A refusal is stored under its request id and repeated for ever, so the intent is part of the id: otherwise a
    // new intent could never make the same attempt.
    let attempt = format!(
        "charge {} {}",
        collection.attempt_number, collection.intent_id
    );
    let request_id = Uuid::new_v5(&collection.collection_id, attempt.as_bytes());
    Ok(payments::CreateChargeRequest {
        account_id: AccountId::from_uuid(collection.root_id).to_string(),
        amount: Some(chassis::wire::pb_money(amount)),
        payment_method_id: collection
            .method_id
            .or(collection.chosen_method_id)
            .map(|id| MethodId::from_uuid(id).to_string())
            .unwrap_or_default(),
        purpose: purpose.into(),
        invoice_id: InvoiceId::from_uuid(collection.collection_id).to_string(),
        attempt_number: collection.attempt_number,
        plan_code: code(|line| &line.plan_code),
        billing_cycle_code: code(|line| &line.cycle_code),
        unattended: !collection.is_attended(),
        return_url: String::new(),
        catalogue_version: collection.catalogue_version.clone(),
        request_id: request_id.to_string(),
    })
}

/// Whether a charge was refused because the account has no method that can be charged off-session.
pub fn asks_the_owner(reason: &str) -> bool {
    matches!(reason, "NO_PAYMENT_METHOD" | "METHOD_NOT_RECURRING")
}

/// Whether a refusal by `payments` is caused by the payer. All other refusals are our own faults.
fn is_of_the_payer(reason: &str) -> bool {
    matches!(
        reason,
        "NO_PAYMENT_METHOD"
            | "PAYMENT_METHOD_NOT_FOUND"
            | "PAYMENT_METHOD_NOT_USABLE"
            | "METHOD_NOT_AVAILABLE"
            | "METHOD_NOT_RECURRING"
            | "METHOD_CONTESTED"
            | "BELOW_METHOD_MINIMUM"
    )
}

/// Ends an attempt that `payments` refused. No charge exists.
async fn decline(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (asked, status): (&Collection, &Status),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let reason = status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default();
    // Every script locks the balance first; any other order could deadlock.
    ledger::lock(db, &[asked.root_id]).await?;
    let locked = collections::lock(db, asked.collection_id)
        .await?
        .ok_or(Error::Stored("collection"))?;
    if &locked != asked {
        return Ok(());
    }
    let Some(state) = after(locked.state, Event::Refused) else {
        return Ok(());
    };
    let outcome = Outcome {
        state,
        charge_id: None,
        failure_reason: &reason,
        action_url: "",
    };
    collections::set_outcome(db, asked.collection_id, &outcome, now).await?;
    let counts = is_of_the_payer(&reason);
    if !counts {
        tracing::error!(
            collection.id = %asked.collection_id,
            reason,
            "payments refused a charge for a reason that the payer did not cause; check the request"
        );
    }
    attempt_ended(db, catalogue, (asked, state, &reason, counts), now).await
}

/// Applies the outcome of an attempt to what the collection is for. A decline counts against the retries only if the
/// payer caused it (`counts`).
async fn attempt_ended(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (collection, state, reason, counts): (&Collection, State, &str, bool),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let root = collection.root_id;
    match (collection.purpose, state) {
        (Purpose::Recharge, State::Declined) if reason != SETTLED_AMOUNT_DIFFERS => {
            recharge::declined(db, root, (reason, counts), now).await
        }
        // A settled amount that differs from the requested one also fills the balance.
        (Purpose::Recharge, State::Succeeded | State::Declined) => {
            recharge::succeeded(db, catalogue, root, now).await
        }
        (Purpose::Renewal, State::Succeeded | State::Invoiced) => {
            renewal::paid(db, collection.collection_id).await
        }
        (Purpose::Renewal, State::Declined) => {
            renewal::declined(db, catalogue, collection, (reason, counts), now).await
        }
        (Purpose::Invoice, State::Declined) => {
            dun::declined(db, catalogue, collection, (reason, counts), now).await
        }
        // An order belongs to its caller, who reads the collection; dunning posts the payment of an invoice; usage is
        // invoiced and nothing follows.
        (Purpose::Order | Purpose::Usage, State::Succeeded | State::Declined | State::Invoiced)
        | (Purpose::Invoice, State::Succeeded | State::Invoiced)
        | (Purpose::Recharge, State::Invoiced)
        | (
            _,
            State::Created
            | State::Pending
            | State::AwaitingSettlement
            | State::Unknown
            | State::Parked,
        ) => Ok(()),
    }
}

/// The catalogue version of the collection that a charge belongs to; `None` for a charge that no collection
/// requested.
pub async fn catalogue_of(
    ctx: &Ctx,
    charge: &payments::Charge,
) -> Result<Option<Arc<Catalogue>>, Error> {
    let id: InvoiceId = parsed(&charge.invoice_id)?;
    let mut db = ctx.db.acquire().await?;
    let found = collections::get(&mut db, id.uuid()).await?;
    drop(db);
    match found {
        Some(collection) => Ok(Some(ctx.catalogue(&collection.catalogue_version).await?)),
        None => Ok(None),
    }
}

/// Applies the state that `payments` reports for the charge of a collection, and posts it once when the money has
/// arrived.
///
/// Repeated reports, older reports and reports of other attempts change nothing (REQ-130).
pub async fn keep(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    charge: &payments::Charge,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let id: InvoiceId = parsed(&charge.invoice_id)?;
    let charge_id: ChargeId = parsed(&charge.charge_id)?;
    let Some(collection) = collections::get(db, id.uuid()).await? else {
        return Ok(());
    };
    // Every script locks the balance first; any other order could deadlock.
    ledger::lock(db, &[collection.root_id]).await?;
    let collection = collections::lock(db, id.uuid())
        .await?
        .ok_or(Error::Stored("collection"))?;
    if collection.state == State::Declined
        && collection.attempt_number == charge.attempt_number
        && charge.state() != MovementState::Succeeded
    {
        let known = collection.failure_reason == CHARGE_OVERTURNED;
        return match (charge.overturn_time.is_some(), known) {
            (true, false) => moved_after_all(db, &collection, now).await,
            (false, true) => given_back(db, catalogue, (&collection, charge), now).await,
            (true, true) | (false, false) => Ok(()),
        };
    }
    if collection.state == State::Declined
        && collection.attempt_number == charge.attempt_number
        && collection.charge_id != Some(charge_id.uuid())
    {
        let told = (&collection, charge, charge_id.uuid());
        return arrived_after_all(db, catalogue, told, now).await;
    }
    if collection.state.is_decided() || collection.attempt_number != charge.attempt_number {
        return Ok(());
    }
    let event = reported(&collection, charge)?;
    let Some(state) = after(collection.state, event) else {
        return Ok(());
    };
    let reason = match event {
        Event::Paid => {
            book(db, catalogue, (&collection, true), now).await?;
            ""
        }
        Event::PaidOtherwise => {
            // The whole settled amount is credited to the customer; what it was meant to pay stays unpaid.
            let settled = settled(&collection, charge)?;
            add_as_credit(db, catalogue, (&collection, settled), now).await?;
            SETTLED_AMOUNT_DIFFERS
        }
        Event::Refused => charge.failure_reason.as_str(),
        Event::Parked => charge.parked_reason.as_str(),
        Event::Submitted
        | Event::Accepted
        | Event::Unanswered
        | Event::Retried
        | Event::Invoiced => "",
    };
    let outcome = Outcome {
        state,
        charge_id: Some(charge_id.uuid()),
        failure_reason: reason,
        action_url: &charge.action_url,
    };
    collections::set_outcome(db, collection.collection_id, &outcome, now).await?;
    if let (State::Succeeded, Ok(method)) = (state, charge.payment_method_id.parse::<MethodId>()) {
        collections::set_paid_method(db, collection.collection_id, method.uuid()).await?;
    }
    let counts = charge.state() == MovementState::Declined;
    attempt_ended(db, catalogue, (&collection, state, reason, counts), now).await
}

/// The amount that `payments` reports as settled for the charge of a collection, in minor units.
fn settled(collection: &Collection, charge: &payments::Charge) -> Result<i64, Error> {
    Ok(parsed_sum(charge.settled_amount.as_ref(), &collection.currency)?.minor())
}

/// What the state of a charge means for its collection.
fn reported(collection: &Collection, charge: &payments::Charge) -> Result<Event, Error> {
    Ok(match charge.state() {
        MovementState::Succeeded if settled(collection, charge)? == collection.total_minor => {
            Event::Paid
        }
        MovementState::Succeeded => Event::PaidOtherwise,
        MovementState::Declined | MovementState::FailedNotSent => Event::Refused,
        MovementState::Unknown => Event::Unanswered,
        MovementState::Parked => Event::Parked,
        MovementState::Pending if charge.action_url.is_empty() => Event::Accepted,
        MovementState::Unspecified
        | MovementState::Created
        | MovementState::Sending
        | MovementState::Pending => Event::Submitted,
    })
}

/// Keeps what has arrived by a charge that `payments` had said it does not take: what was to be paid by it was given
/// up, so that all of it is credit. The balance is locked.
async fn arrived_after_all(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (collection, charge, charge_id): (&Collection, &payments::Charge, Uuid),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let id = collection.collection_id;
    if collection.failure_reason == SETTLED_AMOUNT_DIFFERS {
        // An attempt is one charge. Which of two it was, a person finds out.
        tracing::error!(collection.id = %id, charge.id = %charge_id, "money has arrived by a second charge of one attempt: none of it is booked");
        return Ok(());
    }
    let settled = settled(collection, charge)?;
    tracing::error!(collection.id = %id, charge.id = %charge_id, reason = collection.failure_reason, "money has arrived by a charge that was refused: it is credit");
    add_as_credit(db, catalogue, (collection, settled), now).await?;
    let outcome = Outcome {
        state: State::Declined,
        charge_id: Some(charge_id),
        failure_reason: SETTLED_AMOUNT_DIFFERS,
        action_url: "",
    };
    collections::set_outcome(db, id, &outcome, now).await?;
    let ended = (collection, State::Declined, SETTLED_AMOUNT_DIFFERS, false);
    attempt_ended(db, catalogue, ended, now).await
}

/// Keeps that a charge which was refused has moved after all: nothing more is charged for the same by itself; a
/// person gives it back. The balance is locked.
async fn moved_after_all(
    db: &mut PgConnection,
    collection: &Collection,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    tracing::error!(
        collection.id = %collection.collection_id,
        "a declined charge was captured after all; automatic charges stop until it is refunded"
    );
    set_failure(db, collection, CHARGE_OVERTURNED, now).await?;
    match collection.purpose {
        Purpose::Renewal => renewal::stop(db, collection).await,
        Purpose::Invoice => dun::stop(db, collection).await,
        Purpose::Recharge => {
            recharge::switch_off(db, collection.root_id, CHARGE_OVERTURNED, now).await
        }
        // Nothing is charged for an order by itself, and for usage never.
        Purpose::Order | Purpose::Usage => Ok(()),
    }
}

/// Handles the refund of a late capture: the retries go on, and the late capture does not count as one.
async fn given_back(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (collection, charge): (&Collection, &payments::Charge),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let reason = charge.failure_reason.as_str();
    set_failure(db, collection, reason, now).await?;
    let ended = (collection, State::Declined, reason, false);
    attempt_ended(db, catalogue, ended, now).await
}

/// Replaces the failure reason of a collection that stays declined.
async fn set_failure(
    db: &mut PgConnection,
    collection: &Collection,
    failure_reason: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let outcome = Outcome {
        state: State::Declined,
        charge_id: collection.charge_id,
        failure_reason,
        action_url: "",
    };
    Ok(collections::set_outcome(db, collection.collection_id, &outcome, now).await?)
}

/// Posts a renewal or usage of an account that pays by invoice, and issues an open invoice for it.
pub async fn invoice(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    collection: &Collection,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let invoiced = after(collection.state, Event::Invoiced);
    let state = invoiced.ok_or(Error::Stored("collection to be invoiced"))?;
    book(db, catalogue, (collection, false), now).await?;
    let outcome = Outcome {
        state,
        charge_id: None,
        failure_reason: "",
        action_url: "",
    };
    collections::set_outcome(db, collection.collection_id, &outcome, now).await?;
    attempt_ended(db, catalogue, (collection, state, "", false), now).await
}

/// Issues the open invoice of a cycle that can't be charged off-session, unless it has one (D13). The caller holds the
/// lock of the account's balance.
pub async fn leave_open(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    collection: &Collection,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    match invoices::get(db, collection.collection_id).await? {
        Some(_) => Ok(()),
        None => book(db, catalogue, (collection, false), now).await,
    }
}

/// Whether a collection pays for a cycle that has an invoice already: an attempt before left it open, perhaps without a
/// charge, which is not counted as an attempt.
async fn has_invoice(db: &mut PgConnection, collection: &Collection) -> Result<bool, Error> {
    if collection.purpose != Purpose::Renewal {
        return Ok(false);
    }
    Ok(invoices::get(db, collection.collection_id).await?.is_some())
}

/// An amount reported by `payments`. It must be in currency `code`.
pub fn parsed_sum(sum: Option<&Sum>, code: &str) -> Result<Money, Error> {
    let currency = store::currency(code)?;
    sum.filter(|sum| sum.currency_code == code)
        .and_then(|sum| Money::parse(&sum.amount, currency).ok())
        .ok_or(Error::Stored("sum of money told"))
}

/// Posts a collection whose money has `arrived`, or for which an open invoice is issued: revenue, tax and paid
/// credit, then the invoice. The caller holds the lock of the account's balance.
async fn book(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (collection, arrived): (&Collection, bool),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let root = collection.root_id;
    let account = accounts::get(db, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    let profile = profile(catalogue, &account)?;
    if collection.invoice_id.is_some() || arrived && has_invoice(db, collection).await? {
        let low = profile.notify_below_micros;
        return dun::book(db, (&account, collection), low, now).await;
    }
    let before = ledger::balance(db, root, now).await?;
    let mut entries = Entries::new(&collection.currency, now);
    // The first purchase forfeits the trial's credit (REQ-133), and not a cycle that nobody could charge.
    if profile.forfeits_trial && (arrived || account.invoiced) {
        forfeit_trial(db, collection, &mut entries, now).await?;
    }
    let micros = |minor| store::micros(minor, &collection.currency);
    let (debit, reason) = if arrived {
        (LedgerAccount::Clearing, "PURCHASE")
    } else {
        (LedgerAccount::Receivable, "INVOICE")
    };
    let entry = |credit, amount_micros| Entry {
        root_id: root,
        debit,
        credit,
        amount_micros,
        lot_id: None,
        invoice_id: Some(collection.collection_id),
        reason,
    };
    let id = |what: String| Uuid::new_v5(&collection.collection_id, what.as_bytes());
    for (line, number) in collections::lines(db, collection.collection_id)
        .await?
        .iter()
        .zip(1..)
    {
        let seed = id(format!("line {number}"));
        let sum = micros(line.amount_minor)?;
        match line.kind {
            LineKind::Credits => {
                credit_bought(db, (collection, debit), (sum, seed), &mut entries, now).await?;
            }
            LineKind::Usage => {
                // Revenue was recognised when the usage was debited; until it is invoiced, it is overdraft.
                ledger::overdraw(db, &[root], &[-sum]).await?;
                entries.add(seed, &entry(LedgerAccount::Overdraft, sum));
            }
            LineKind::Subscription => entries.add(seed, &entry(LedgerAccount::Revenue, sum)),
            // The payment of an open invoice is posted by dunning; its revenue is posted with the invoice.
            LineKind::Invoice => return Err(Error::Stored("line of a collection")),
        }
    }
    for (tax, number) in collections::taxes(db, collection.collection_id)
        .await?
        .iter()
        .zip(1..)
    {
        let owed = entry(LedgerAccount::Tax, micros(tax.amount_minor)?);
        entries.add(id(format!("tax {number}")), &owed);
    }
    entries.copy(db).await?;
    credit::balance_moved(db, (root, before), profile.notify_below_micros, now).await?;
    issue(db, catalogue, (&account, collection, arrived), now).await
}

/// Adds the credit bought with a collection.
async fn credit_bought(
    db: &mut PgConnection,
    (collection, source): (&Collection, LedgerAccount),
    (micros, seed): (i64, Uuid),
    entries: &mut Entries,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let credit = Credit {
        root: collection.root_id,
        kind: LotKind::Paid,
        source,
        micros,
        terms: LotTerms::default(),
        word: "PURCHASE",
        reason: "PURCHASE",
        collection: Some(collection.collection_id),
        seed,
    };
    credit::add(db, &credit, entries, now).await?;
    Ok(())
}

/// Forfeits the remaining trial credit (REQ-133).
async fn forfeit_trial(
    db: &mut PgConnection,
    collection: &Collection,
    entries: &mut Entries,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let root = collection.root_id;
    for (_, lot) in ledger::lots(db, (root, root)).await? {
        if lot.kind != LotKind::Trial {
            continue;
        }
        let entry = Entry {
            root_id: root,
            debit: LedgerAccount::Lot(LotKind::Trial),
            credit: LedgerAccount::Forfeited,
            amount_micros: lot.remaining_micros,
            lot_id: Some(lot.id),
            invoice_id: None,
            reason: "UPGRADED",
        };
        // A lot is forfeited once, here or at its expiry: the entry has the id of the lot.
        entries.add(lot.id, &entry);
    }
    Ok(ledger::write_off(db, root, LotKind::Trial, now).await?)
}

/// Adds the whole settled amount as paid credit because it differs from the requested amount.
async fn add_as_credit(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (collection, settled): (&Collection, i64),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let root = collection.root_id;
    let account = accounts::get(db, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    let profile = profile(catalogue, &account)?;
    let before = ledger::balance(db, root, now).await?;
    let credit = Credit {
        root,
        kind: LotKind::Paid,
        source: LedgerAccount::Clearing,
        micros: store::micros(settled, &collection.currency)?,
        terms: LotTerms::default(),
        word: SETTLED_AMOUNT_DIFFERS,
        reason: SETTLED_AMOUNT_DIFFERS,
        collection: Some(collection.collection_id),
        seed: collection.collection_id,
    };
    let mut entries = Entries::new(&collection.currency, now);
    credit::add(db, &credit, &mut entries, now).await?;
    entries.copy(db).await?;
    credit::balance_moved(db, (root, before), profile.notify_below_micros, now).await
}

/// The period of a line: the paid cycle of a plan, and the single day `today` for anything else.
fn days_of(
    catalogue: &Catalogue,
    line: &Line,
    today: NaiveDate,
    now: DateTime<Utc>,
) -> (NaiveDate, NaiveDate) {
    let family = catalogue.families.get(&line.family_code);
    let start = line
        .start_on
        .unwrap_or_else(|| family.map_or(today, |family| family.zone.day(now)));
    let months = u32::try_from(line.cycle_months).unwrap_or(0);
    let whole = anniversary(start, months, 1).filter(|end| start < *end);
    let end = line.end_on.filter(|end| start < *end).or(whole);
    (start, end.unwrap_or(start + Days::new(1)))
}

/// Stores the period of each line of a purchase. Returns the period of the first line that is not credit, or the day
/// `today` if all lines are credit.
async fn noted_days(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (id, today): (Uuid, NaiveDate),
    now: DateTime<Utc>,
) -> Result<(NaiveDate, NaiveDate), Error> {
    let mut period = None;
    for (line, number) in collections::lines(db, id).await?.iter().zip(1_i16..) {
        let days = days_of(catalogue, line, today, now);
        collections::set_days(db, (id, number), days).await?;
        if line.kind != LineKind::Credits {
            period.get_or_insert(days);
        }
    }
    Ok(period.unwrap_or((today, today + Days::new(1))))
}

/// Issues the invoice of a purchase. This is the last step of the transaction, because taking a number makes other
/// invoices wait.
async fn issue(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (account, collection, arrived): (&Account, &Collection, bool),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let profile = profile(catalogue, account)?;
    let today = profile.zone.day(now);
    let of = (collection.collection_id, today);
    let (period_start, period_end) = noted_days(db, catalogue, of, now).await?;
    // The cycle of an account that does not pay by invoice is due at its start.
    let at_once = collection.purpose == Purpose::Renewal && !account.invoiced;
    let due_on = (!arrived).then(|| {
        if at_once {
            today
        } else {
            dun::due_on(profile, now)
        }
    });
    let series_id = series_of(db, catalogue, (&account.profile_code, ""), now).await?;
    let invoice = Invoice {
        invoice_id: collection.collection_id,
        series_id,
        number: numbers::take(db, series_id, 1).await?,
        root_id: collection.root_id,
        family_code: String::new(),
        period_start,
        period_end,
        run_id: None,
        currency: collection.currency.clone(),
        total_minor: collection.total_minor,
        from_balance_minor: 0,
        state: if arrived {
            invoice::State::Paid
        } else {
            invoice::State::Open
        },
        issued_at: now,
        charged_minor: if arrived { collection.total_minor } else { 0 },
        credited_minor: 0,
        due_on,
    };
    invoices::insert_purchase(db, &invoice).await?;
    let issued = due_on.map(|due_on| (invoice.invoice_id, invoice.root_id, due_on));
    Ok(dunnings::insert(db, issued.as_slice(), now).await?)
}

/// The start of the month that contains `now`, in the time zone of a profile.
pub fn month_start(profile: &Profile, now: DateTime<Utc>) -> DateTime<Utc> {
    let today = profile.zone.day(now);
    profile.zone.start_of(today.with_day(1).unwrap_or(today))
}

/// Parses an id written by another service.
///
/// # Errors
/// `Stored` if it is malformed, which is a bug.
pub fn parsed<K: values::Kind>(text: &str) -> Result<values::Id<K>, Error> {
    text.parse().map_err(|_| Error::Stored("id of payments"))
}
