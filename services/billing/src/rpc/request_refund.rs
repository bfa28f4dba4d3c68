//! `BillingService.RequestRefund`

use std::sync::Arc;

use chassis::{Call, FieldError, PgConnection, Unit, field_error, wire};
use chrono::{DateTime, Utc};
use proto::billing::v1 as pb;
use uuid::Uuid;
use values::{AccountId, Amount, Currency, Money, RefundId};

use super::convert;
use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::give_back::{self, Asked};
use crate::ops::{collect, credit, recharge};
use crate::store::accounts::Account;
use crate::store::closings::{self, Closing};
use crate::store::refunds::{self, Refund};
use crate::store::{self, ledger};

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
    if request.validate_only {
        taken(&mut unit.tx, &catalogue, (&account, intent, most), call.now).await?;
        let would = refunds::of_intent(&mut unit.tx, intent).await?;
        let response = shown(&would, store::currency(&account.currency)?);
        // The transaction is rolled back; only the answer is stored.
        drop(unit);
        let unit: Unit = call.step::<Error>(&ctx.db).await?;
        return Ok(unit.commit(response).await?);
    }
    // A retry finds the refunds of the first attempt.
    if refunds::of_intent(&mut unit.tx, intent).await?.is_empty() {
        taken(&mut unit.tx, &catalogue, (&account, intent, most), call.now).await?;
        let written = refunds::of_intent(&mut unit.tx, intent).await?;
        let back = shown(&written, store::currency(&account.currency)?).amount;
        if request.quoted_amount.is_some() && request.quoted_amount != back {
            return Err(Error::Requote);
        }
    }
    unit.commit_step().await?;
    let mut db = ctx.db.acquire().await?;
    let written = refunds::of_intent(&mut db, intent).await?;
    drop(db);
    for refund in &written {
        // A refund that can't be requested now is requested by the job.
        if let Err(error) = give_back::ask(&ctx, refund.refund_id).await {
            tracing::warn!(
                refund.id = %refund.refund_id,
                error = %chassis::Chain(&error),
                "requesting a refund failed; a job requests it again"
            );
        }
    }
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    let written = refunds::of_intent(&mut unit.tx, intent).await?;
    let response = shown(&written, store::currency(&account.currency)?);
    Ok(unit.commit(response).await?)
}

/// The requested amount.
fn asked(request: &pb::RequestRefundRequest) -> Result<Amount, FieldError> {
    let money = wire::money("amount", request.amount.as_ref())?;
    if money.minor() <= 0 {
        return Err(field_error("amount.amount", "above zero"));
    }
    money
        .amount()
        .map_err(|_| field_error("amount.amount", "a smaller amount"))
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

/// Takes the refund from the balance and stores its parts.
async fn taken(
    db: &mut PgConnection,
    catalogue: &Arc<Catalogue>,
    (account, intent, most): (&Account, Uuid, Option<Amount>),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let id = AccountId::from_uuid(account.root_id);
    // Credit that returns to an account after its closing was settled can still be refunded.
    let closing = closings::get(db, account.root_id).await?;
    let closed = closing.as_ref().is_some_and(Closing::is_settled);
    if closing.is_some_and(|it| it.is_prepared()) {
        return Err(Error::AccountClosed(id));
    }
    let profile = collect::profile(catalogue, account)?;
    if profile.refund.is_none() {
        return Err(Error::RefundNotOffered(account.profile_code.clone()));
    }
    let before = ledger::balance(db, account.root_id, now).await?;
    let asked = Asked {
        account,
        intent,
        most: most.map(Amount::micros),
        any_time: closed,
        due_from: now,
    };
    if give_back::take(db, catalogue, &asked, now)
        .await?
        .is_empty()
    {
        // The closing has refunded everything (REQ-061).
        return Err(if closed {
            Error::AccountClosed(id)
        } else {
            give_back::why_not(db, catalogue, &asked, now).await?
        });
    }
    // A customer who takes money back does not want automatic charges.
    recharge::switch_off(db, account.root_id, "REFUNDED", now).await?;
    let low = profile.notify_below_micros;
    credit::balance_moved(db, (account.root_id, before), low, now).await
}
