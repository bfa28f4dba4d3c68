//! Money asked for, and booked when it has arrived (D6): written down before `payments` is asked, and
//! booked once, by whoever hears of it first.

use std::collections::HashMap;
use std::sync::Arc;

use chassis::field_error;
use chrono::{DateTime, Datelike as _, Days, Utc};
use proto::payments::v1 as payments;
use proto::r#type::v1::Money as Sum;
use sqlx::PgConnection;
use tonic::Status;
use tonic_types::StatusExt as _;
use uuid::Uuid;
use values::{AccountId, ChargeId, InvoiceId, MethodId, Money, MoneyError};

use super::credit::{self, Credit, LotTerms};
use super::settle::series_of;
use super::{dun, recharge, renewal};
use crate::clients::{Catalogue, Profile};
use crate::ctx::Ctx;
use crate::domain::lots::LotKind;
use crate::domain::tax::{self, TaxPolicy};
use crate::error::Error;
use crate::store::accounts::{Account, Billed};
use crate::store::collections::{self, Collection, Line, Outcome, Tax};
use crate::store::invoices::{self, Invoice, OPEN, PAID};
use crate::store::ledger::{self, Entries, Entry, LedgerAccount};
use crate::store::{self, accounts, auto_recharges, closings, dunnings, numbers};

/// Seconds that whoever has written a collection has to ask for its charge, before a job does.
pub const WAIT_SECONDS: i32 = 30;
/// Why a collection has failed whose charge was refused, and has moved after all: nothing more is charged for it.
const CHARGE_OVERTURNED: &str = "CHARGE_OVERTURNED";
/// Why a collection has failed whose money has arrived and is not what was asked for.
pub const SETTLED_AMOUNT_DIFFERS: &str = "SETTLED_AMOUNT_DIFFERS";

/// The taxes on lines of an account, and what is charged in all.
pub async fn taxed(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    account: &Account,
    lines: &[Line],
) -> Result<(Vec<Tax>, Money), Error> {
    let profile = profile(catalogue, account)?;
    let currency = profile.currency;
    // What can't be booked is not asked for.
    let out_of_range = |_| field_error("lines", "a smaller sum in all");
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

/// The taxes on `net`, by where an account of a profile is taxed.
///
/// # Errors
/// `OutOfRange`.
pub fn taxes(
    policies: &HashMap<String, TaxPolicy>,
    profile: &Profile,
    billed: &Billed,
    net: Money,
) -> Result<Vec<Tax>, MoneyError> {
    let own = policies.get(&billed.country_code);
    let Some(policy) = own.or_else(|| policies.get("")) else {
        return Ok(Vec::new());
    };
    let same_state = billed.state_code == profile.sender.state;
    let found = tax::lines(policy, net, (same_state, billed.export_supply))?;
    let taxes = found.into_iter().map(|line| Tax {
        tax_code: line.code,
        rate_bps: line.rate_bps,
        amount_minor: line.money.minor(),
    });
    Ok(taxes.collect())
}

/// The profile of an account.
pub fn profile<'c>(catalogue: &'c Catalogue, account: &Account) -> Result<&'c Profile, Error> {
    catalogue
        .profiles
        .get(&account.profile_code)
        .ok_or_else(|| Error::ProfileNotFound(account.profile_code.clone()))
}

/// What a collection is for.
#[derive(Debug, Clone, Copy)]
pub struct Of {
    /// ORDER, RECHARGE, RENEWAL, INVOICE or USAGE.
    pub purpose: &'static str,
    /// The order.
    pub order: Option<Uuid>,
    /// The open invoice that it pays, whose taxes are its own.
    pub invoice: Option<Uuid>,
    /// The payment method; `None` for the account's default one.
    pub method: Option<Uuid>,
    /// The intent that its first attempt is of.
    pub intent: Uuid,
    /// Its id: of a renewal that of its cycle, so that each is asked for once.
    pub id: Uuid,
}

/// Writes down a new collection with its lines and taxes. The account's balance is locked.
pub async fn begin(
    db: &mut PgConnection,
    (catalogue, account): (&Catalogue, &Account),
    of: &Of,
    lines: &[Line],
    now: DateTime<Utc>,
) -> Result<Collection, Error> {
    // What is owed already stands on an invoice, whatever becomes of the account.
    if of.purpose != "USAGE" && closings::stands(db, account.root_id).await? {
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
        purpose: of.purpose.to_owned(),
        state: "CREATED".to_owned(),
        currency: account.currency.clone(),
        total_minor,
        method_id: of.method,
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
            // Another account's order has this id.
            if chassis::is_violation_of(&error, "collections_order_id_key") {
                return field_error("order_id", "an order of this account").into();
            }
            Error::from(error)
        })?;
    Ok(collection)
}

/// Asks `payments` for the charge of a collection that is written down, and keeps what it says; safe to
/// repeat. What `payments` refuses ends the attempt as declined, and is the error.
pub async fn ask(ctx: &Ctx, id: Uuid) -> Result<(), Error> {
    let mut db = ctx.db.acquire().await?;
    let collection = collections::get(&mut db, id)
        .await?
        .ok_or(Error::Stored("collection"))?;
    if collection.state != "CREATED" {
        return Ok(());
    }
    let lines = collections::lines(&mut db, id).await?;
    drop(db);
    let request = charge_of(&collection, &lines)?;
    let catalogue = ctx.catalogue(&collection.catalogue_version).await?;
    // Of a call that fails otherwise nobody knows whether it arrived: the job asks again, with the same
    // words.
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

/// The charge that a collection asks for.
fn charge_of(
    collection: &Collection,
    lines: &[Line],
) -> Result<payments::CreateChargeRequest, Error> {
    let currency = store::currency(&collection.currency)?;
    let subscription = lines.iter().find(|line| line.kind == "SUBSCRIPTION");
    let purpose = if subscription.is_some() {
        payments::Purpose::Subscription
    } else {
        payments::Purpose::Credits
    };
    let code = |of: fn(&Line) -> &String| subscription.map(of).cloned().unwrap_or_default();
    let amount = Money::from_minor(collection.total_minor, currency);
    // A refusal that is answered again for ever would bar the next intent from the same attempt.
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

/// Whether a refusal by `payments` is of the payer's making; all others are faults of ours.
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

/// Ends an attempt that `payments` refused: no charge was made.
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
    // The balance first, as everywhere: else two would wait for each other.
    ledger::lock(db, &[asked.root_id]).await?;
    let locked = collections::lock(db, asked.collection_id)
        .await?
        .ok_or(Error::Stored("collection"))?;
    if &locked != asked {
        return Ok(());
    }
    let outcome = Outcome {
        state: "DECLINED",
        charge_id: None,
        failure_reason: &reason,
        action_url: "",
    };
    collections::set_outcome(db, asked.collection_id, &outcome, now).await?;
    let counts = is_of_the_payer(&reason);
    if !counts {
        tracing::error!(collection.id = %asked.collection_id, reason, "payments takes no charge of it");
    }
    attempt_ended(db, catalogue, (asked, "DECLINED", &reason, counts), now).await
}

/// What follows from where an attempt has come to, by what the collection is for. A decline `counts` when
/// whoever pays is the reason.
async fn attempt_ended(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (collection, state, reason, counts): (&Collection, &str, &str, bool),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let root = collection.root_id;
    match (collection.purpose.as_str(), state) {
        ("RECHARGE", "DECLINED") if reason != SETTLED_AMOUNT_DIFFERS => {
            recharge::declined(db, root, (reason, counts), now).await
        }
        ("RECHARGE", "SUCCEEDED" | "DECLINED") => {
            Ok(auto_recharges::ended(db, root, (0, Some(now))).await?)
        }
        ("RENEWAL", "SUCCEEDED" | "INVOICED") => renewal::paid(db, collection).await,
        ("RENEWAL", "DECLINED") => {
            renewal::declined(db, catalogue, collection, (reason, counts), now).await
        }
        ("INVOICE", "DECLINED") => {
            dun::declined(db, catalogue, collection, (reason, counts), now).await
        }
        _ => Ok(()),
    }
}

/// The catalogue that a collection is bound to, of the charge that `payments` tells of; `None` for a
/// charge that no collection asked for.
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

/// Keeps what `payments` says of the charge of a collection; books it, once, when the money has arrived.
///
/// What is known already, older news and other attempts change nothing (REQ-130).
pub async fn keep(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    charge: &payments::Charge,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    use payments::MovementState as State;
    let id: InvoiceId = parsed(&charge.invoice_id)?;
    let charge_id: ChargeId = parsed(&charge.charge_id)?;
    let Some(collection) = collections::get(db, id.uuid()).await? else {
        return Ok(());
    };
    // The balance first, as everywhere: else two would wait for each other.
    ledger::lock(db, &[collection.root_id]).await?;
    let collection = collections::lock(db, id.uuid())
        .await?
        .ok_or(Error::Stored("collection"))?;
    let parked = collection.state == "PARKED" && !is_final(charge.state());
    if collection.state == "DECLINED"
        && collection.attempt_number == charge.attempt_number
        && charge.state() != State::Succeeded
    {
        let known = collection.failure_reason == CHARGE_OVERTURNED;
        return match (charge.overturn_time.is_some(), known) {
            (true, false) => moved_after_all(db, &collection, now).await,
            (false, true) => given_back(db, catalogue, (&collection, charge), now).await,
            (true, true) | (false, false) => Ok(()),
        };
    }
    if collection.is_decided() || parked || collection.attempt_number != charge.attempt_number {
        return Ok(());
    }
    let (state, reason) = match charge.state() {
        State::Succeeded => {
            let settled = parsed_sum(charge.settled_amount.as_ref(), &collection.currency)?.minor();
            if settled == collection.total_minor {
                book(db, catalogue, (&collection, true), now).await?;
                ("SUCCEEDED", "")
            } else {
                // Whatever has arrived is the customer's; what was to be paid by it is not.
                add_as_credit(db, catalogue, (&collection, settled), now).await?;
                ("DECLINED", SETTLED_AMOUNT_DIFFERS)
            }
        }
        State::Declined | State::FailedNotSent => ("DECLINED", charge.failure_reason.as_str()),
        State::Unknown => ("UNKNOWN", ""),
        State::Parked => ("PARKED", charge.parked_reason.as_str()),
        State::Pending if charge.action_url.is_empty() => ("AWAITING_SETTLEMENT", ""),
        State::Unspecified | State::Created | State::Sending | State::Pending => ("PENDING", ""),
    };
    let outcome = Outcome {
        state,
        charge_id: Some(charge_id.uuid()),
        failure_reason: reason,
        action_url: &charge.action_url,
    };
    collections::set_outcome(db, collection.collection_id, &outcome, now).await?;
    let counts = charge.state() == State::Declined;
    attempt_ended(db, catalogue, (&collection, state, reason, counts), now).await
}

/// Keeps that a charge which was refused has moved after all: nothing more is charged for the same by itself; a
/// person gives it back. The balance is locked.
async fn moved_after_all(
    db: &mut PgConnection,
    collection: &Collection,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    tracing::error!(collection.id = %collection.collection_id, "a charge that was refused has moved after all");
    set_failure(db, collection, CHARGE_OVERTURNED, now).await?;
    match collection.purpose.as_str() {
        "RENEWAL" => renewal::stop(db, collection).await,
        "INVOICE" => dun::stop(db, collection).await,
        "RECHARGE" => recharge::switch_off(db, collection.root_id, CHARGE_OVERTURNED, now).await,
        _ => Ok(()),
    }
}

/// Keeps that what had moved after all was given back: its tries go on, none of which this was.
async fn given_back(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (collection, charge): (&Collection, &payments::Charge),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let reason = charge.failure_reason.as_str();
    set_failure(db, collection, reason, now).await?;
    attempt_ended(db, catalogue, (collection, "DECLINED", reason, false), now).await
}

/// Notes why a collection that stays declined has failed.
async fn set_failure(
    db: &mut PgConnection,
    collection: &Collection,
    failure_reason: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let outcome = Outcome {
        state: "DECLINED",
        charge_id: collection.charge_id,
        failure_reason,
        action_url: "",
    };
    Ok(collections::set_outcome(db, collection.collection_id, &outcome, now).await?)
}

/// Books what an account that pays by invoice owes, a renewal or usage: an open invoice stands for it.
pub async fn invoice(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    collection: &Collection,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    book(db, catalogue, (collection, false), now).await?;
    let outcome = Outcome {
        state: "INVOICED",
        charge_id: None,
        failure_reason: "",
        action_url: "",
    };
    collections::set_outcome(db, collection.collection_id, &outcome, now).await?;
    attempt_ended(db, catalogue, (collection, "INVOICED", "", false), now).await
}

/// A sum that `payments` tells of, which must be in the currency `code`.
pub fn parsed_sum(sum: Option<&Sum>, code: &str) -> Result<Money, Error> {
    let currency = store::currency(code)?;
    sum.filter(|sum| sum.currency_code == code)
        .and_then(|sum| Money::parse(&sum.amount, currency).ok())
        .ok_or(Error::Stored("sum of money told"))
}

/// Whether a charge will not change any more.
fn is_final(state: payments::MovementState) -> bool {
    matches!(
        state,
        payments::MovementState::Succeeded
            | payments::MovementState::Declined
            | payments::MovementState::FailedNotSent
    )
}

/// Books a collection whose money has `arrived`, or that an open invoice stands for, and whose account's
/// balance is locked: its invoice, tax and revenue, and paid credit.
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
    if collection.invoice_id.is_some() {
        let low = profile.notify_below_micros;
        return dun::book(db, (&account, collection), low, now).await;
    }
    let before = ledger::balance(db, root, now).await?;
    let mut entries = Entries::new(&collection.currency, now);
    if profile.forfeits_trial {
        forfeit_trial(db, collection, &mut entries).await?;
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
        if line.kind == "CREDITS" {
            credit_bought(db, (collection, debit), (sum, seed), &mut entries, now).await?;
        } else if collection.purpose == "USAGE" {
            // It was earned as it was used, and is overdraft until it is on an invoice.
            ledger::overdraw(db, &[root], &[-sum]).await?;
            entries.add(seed, &entry(LedgerAccount::Overdraft, sum));
        } else {
            entries.add(seed, &entry(LedgerAccount::Revenue, sum));
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

/// Adds credit that a collection has paid for.
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

/// Forfeits what is left of trial credit (REQ-133).
async fn forfeit_trial(
    db: &mut PgConnection,
    collection: &Collection,
    entries: &mut Entries,
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
        // A lot is forfeited once, here or at its expiry: its id is its entry's.
        entries.add(lot.id, &entry);
    }
    Ok(ledger::write_off(db, root, LotKind::Trial).await?)
}

/// Takes what has arrived as paid credit, when it is not what was asked for.
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

/// Issues the invoice of a purchase: the last step, as others wait for the next number.
async fn issue(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (account, collection, arrived): (&Account, &Collection, bool),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let profile = profile(catalogue, account)?;
    let today = profile.zone.day(now);
    let due_on = (!arrived).then(|| dun::due_on(profile, now));
    let series_id = series_of(db, catalogue, (&account.profile_code, ""), now).await?;
    let invoice = Invoice {
        invoice_id: collection.collection_id,
        series_id,
        number: numbers::take(db, series_id, 1).await?,
        root_id: collection.root_id,
        family_code: String::new(),
        period_start: today,
        period_end: today + Days::new(1),
        run_id: None,
        currency: collection.currency.clone(),
        total_minor: collection.total_minor,
        from_balance_minor: 0,
        state: if arrived { PAID } else { OPEN },
        issued_at: now,
        charged_minor: if arrived { collection.total_minor } else { 0 },
        credited_minor: 0,
        due_on,
    };
    invoices::insert_purchase(db, &invoice).await?;
    let issued = due_on.map(|due_on| (invoice.invoice_id, invoice.root_id, due_on));
    Ok(dunnings::insert(db, issued.as_slice(), now).await?)
}

/// The first instant of the month of `now` in the zone of a profile.
pub fn month_start(profile: &Profile, now: DateTime<Utc>) -> DateTime<Utc> {
    let today = profile.zone.day(now);
    profile.zone.start_of(today.with_day(1).unwrap_or(today))
}

/// An id of another service, which wrote it.
pub fn parsed<K: values::Kind>(text: &str) -> Result<values::Id<K>, Error> {
    text.parse().map_err(|_| Error::Stored("id of payments"))
}
