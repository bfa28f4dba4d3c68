//! `BillingService.RequestRefund`

use std::sync::Arc;

use chassis::{Call, FieldError, Unit, field_error, wire};
use chrono::TimeDelta;
use proto::billing::v1 as pb;
use sqlx::PgConnection;
use uuid::Uuid;
use values::{AccountId, Amount, Currency, Money, RefundId, business_day};

use super::convert;
use crate::clients::{Catalogue, RefundPolicy};
use crate::ctx::Ctx;
use crate::domain::lots::LotKind;
use crate::domain::refund::{self, Paid, Part};
use crate::error::Error;
use crate::ops::{collect, credit, give_back};
use crate::store::accounts::Account;
use crate::store::auto_recharges;
use crate::store::ledger::{self, Entries, Entry, LedgerAccount};
use crate::store::refunds::{self, Refund};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::RequestRefundRequest>,
) -> Result<pb::RequestRefundResponse, Error> {
    let request = &call.message;
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let most = match request.amount {
        Some(_) => Some(asked(request)?),
        None => None,
    };
    let catalogue = ctx.active_catalogue().await?;
    let intent = call.derived_id("refund");
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    let account = convert::root_account(&mut unit.tx, id).await?;
    if let Some(amount) = most
        && amount.currency().code() != account.currency
    {
        let expected = format!("the currency of the account's ledger, {}", account.currency);
        return Err(field_error("amount.currency_code", expected).into());
    }
    ledger::lock(&mut unit.tx, &[account.root_id]).await?;
    // A retry finds what the first try took from the balance.
    if refunds::of_intent(&mut unit.tx, intent).await?.is_empty() {
        take(&mut unit.tx, &call, (&account, intent, most), &catalogue).await?;
    }
    unit.commit_step().await?;
    let mut db = ctx.db.acquire().await?;
    let written = refunds::of_intent(&mut db, intent).await?;
    drop(db);
    for refund in &written {
        // What can't be asked now, the job asks.
        if let Err(error) = give_back::ask(&ctx, refund.refund_id).await {
            tracing::warn!(refund.id = %refund.refund_id, error = %chassis::Chain(&error), "asking for a refund failed");
        }
    }
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    let written = refunds::of_intent(&mut unit.tx, intent).await?;
    let response = shown(&written, convert::currency(&account.currency)?);
    Ok(unit.commit(response).await?)
}

/// How much is asked for.
fn asked(request: &pb::RequestRefundRequest) -> Result<Amount, FieldError> {
    let money = wire::money("amount", request.amount.as_ref())?;
    if money.minor() <= 0 {
        return Err(field_error("amount.amount", "above zero"));
    }
    money
        .amount()
        .map_err(|_| field_error("amount.amount", "a smaller sum"))
}

fn shown(written: &[Refund], currency: Currency) -> pb::RequestRefundResponse {
    let sum = |minor: fn(&Refund) -> i64| {
        let minor = written.iter().map(minor).fold(0_i64, i64::saturating_add);
        Some(wire::pb_money(Money::from_minor(minor, currency)))
    };
    pb::RequestRefundResponse {
        amount: sum(|it| it.amount_minor),
        fee: sum(|it| it.fee_minor),
        refund_ids: written
            .iter()
            .filter_map(|it| it.payments_refund_id)
            .map(|id| RefundId::from_uuid(id).to_string())
            .collect(),
        due_date: written
            .first()
            .map(|it| it.due_on.to_string())
            .unwrap_or_default(),
    }
}

/// Takes what is refunded from the balance, and writes down where it goes.
async fn take(
    db: &mut PgConnection,
    call: &Call<pb::RequestRefundRequest>,
    (account, intent, most): (&Account, Uuid, Option<Amount>),
    catalogue: &Arc<Catalogue>,
) -> Result<(), Error> {
    let profile = collect::profile(catalogue, account)?;
    let policy = profile
        .refund
        .as_ref()
        .ok_or_else(|| Error::RefundNotOffered(account.profile_code.clone()))?;
    let root = account.root_id;
    let before = ledger::balance(db, root, call.now).await?;
    let paid = paid(db, root, policy, call).await?;
    let parts = refund::parts(
        &paid,
        most.map(Amount::micros),
        (policy.fee_bps, policy.with_tax),
        policy.minimum,
    );
    if parts.is_empty() {
        return Err(Error::NothingToRefund(AccountId::from_uuid(root)));
    }
    let due_on = business_day(
        profile.zone.day(call.now),
        policy.due_business_days,
        &profile.holidays,
    );
    let mut entries = Entries::new(&account.currency, call.now);
    for (part, number) in parts.iter().zip(1..) {
        let refund_id = Uuid::new_v5(&intent, format!("part {number}").as_bytes());
        post(&mut entries, root, refund_id, (part, profile.currency));
        ledger::spend(db, &[root], &[part.lot], &[part.taken_micros]).await?;
        let refund = Refund {
            root_id: root,
            refund_id,
            intent_id: intent,
            lot_id: part.lot,
            charge_id: part.charge,
            currency: account.currency.clone(),
            amount_minor: part.refund.minor() + part.tax.minor(),
            fee_minor: part.fee.minor(),
            state: "CREATED".to_owned(),
            attempt_number: 1,
            refusals: 0,
            manual: false,
            payments_refund_id: None,
            due_on,
            created_at: call.now,
            updated_at: call.now,
        };
        refunds::insert(db, &refund).await?;
    }
    entries.copy(db).await?;
    // Who takes money back does not want it charged again.
    auto_recharges::switch_off(db, root, "REFUNDED").await?;
    credit::balance_moved(db, (root, before), profile.notify_below_micros, call.now).await
}

/// The paid credit of an account that may go back, newest first.
async fn paid(
    db: &mut PgConnection,
    root: Uuid,
    policy: &RefundPolicy,
    call: &Call<pb::RequestRefundRequest>,
) -> Result<Vec<Paid>, Error> {
    let window = TimeDelta::try_days(policy.window_days).filter(|_| 0 < policy.window_days);
    let since = window.and_then(|window| call.now.checked_sub_signed(window));
    let lots = refunds::refundable_lots(db, root).await?;
    Ok(lots
        .into_iter()
        .filter(|lot| since.is_none_or(|since| since <= lot.created_at))
        .map(|lot| Paid {
            lot: lot.lot_id,
            charge: lot.charge_id,
            left_micros: lot.remaining_micros,
            tax_minor: lot.tax_minor,
            net_minor: lot.net_minor,
        })
        .collect())
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
