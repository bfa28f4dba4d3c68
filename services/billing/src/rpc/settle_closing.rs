//! `BillingService.SettleClosing`

use chassis::{Call, Unit, wire};
use proto::billing::v1 as pb;
use values::{AccountId, Amount, InvoiceId, Money, RefundId};

use super::convert;
use super::prepare_closing::due;
use crate::ctx::Ctx;
use crate::domain::closing::{Event, after};
use crate::error::Error;
use crate::ops::{closing, give_back};
use crate::store::accounts::Account;
use crate::store::closings::{self, Closing};
use crate::store::{self, ledger, refunds, rentals};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::SettleClosingRequest>,
) -> Result<pb::SettleClosingResponse, Error> {
    let id: AccountId = wire::id("account_id", &call.message.account_id)?;
    let account = convert::root_account(&mut ctx.db.acquire().await?, id).await?;
    let closing = settled(&ctx, &call, &account).await?;
    let mut db = ctx.db.acquire().await?;
    let written = refunds::of_intent(&mut db, closing.intent_id).await?;
    drop(db);
    for refund in &written {
        // A failure is returned, so that the caller repeats the call until all refunds are known.
        give_back::ask(&ctx, refund.refund_id).await?;
    }
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    let written = refunds::of_intent(&mut unit.tx, closing.intent_id).await?;
    let ids = written.iter().filter_map(|it| it.payments_refund_id);
    let currency = store::currency(&closing.currency)?;
    let money = |minor| Some(wire::pb_money(Money::from_minor(minor, currency)));
    let forfeited = Amount::from_micros(closing.forfeited_micros, currency);
    Ok(unit
        .commit(pb::SettleClosingResponse {
            invoice_id: closing
                .invoice_id
                .map(|id| InvoiceId::from_uuid(id).to_string())
                .unwrap_or_default(),
            refund_ids: ids.map(|id| RefundId::from_uuid(id).to_string()).collect(),
            settlement: money(closing.settlement_minor),
            refund: money(closing.refund_minor),
            refund_due_date: due(&closing),
            forfeited: Some(wire::pb_amount(forfeited)),
        })
        .await?)
}

/// Settles the closing unless it is settled already, and returns it.
async fn settled(
    ctx: &Ctx,
    call: &Call<pb::SettleClosingRequest>,
    account: &Account,
) -> Result<Closing, Error> {
    let id = AccountId::from_uuid(account.root_id);
    let known = closings::get(&mut ctx.db.acquire().await?, account.root_id).await?;
    let known = known.ok_or(Error::NotClosing(id))?;
    if known.is_settled() {
        return Ok(known);
    }
    after(known.state, Event::Settled).ok_or(Error::NotClosing(id))?;
    let catalogue = ctx.active_catalogue().await?;
    let months = closing::months(ctx, &catalogue, account, known.close_at).await?;
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    // Taken before the balance: whoever creates a run waits for transactions that may wait for a balance.
    closings::hold_runs(&mut unit.tx).await?;
    ledger::lock(&mut unit.tx, &[account.root_id]).await?;
    let known = closings::get(&mut unit.tx, account.root_id)
        .await?
        .ok_or(Error::NotClosing(id))?;
    if known.is_settled() {
        return Ok(known);
    }
    let state = after(known.state, Event::Settled).ok_or(Error::NotClosing(id))?;
    let of = (account, &months[..]);
    let intent = (known.intent_id, known.close_at);
    let figures = closing::settle(&mut unit.tx, &catalogue, of, intent, call.now).await?;
    let done = Closing {
        state,
        settlement_minor: figures.settlement_minor,
        refund_minor: figures.refund_minor,
        forfeited_micros: figures.forfeited_micros,
        due_on: figures.due_on,
        invoice_id: figures.invoice_id,
        catalogue_version: catalogue.version.clone(),
        settled_at: Some(call.now),
        ..known
    };
    closings::set(&mut unit.tx, &done).await?;
    rentals::end(&mut unit.tx, (account.root_id, None), done.close_at).await?;
    unit.commit_step().await?;
    Ok(done)
}
