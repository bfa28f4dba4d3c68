//! `BillingService.PrepareClosing`

use chassis::{Call, Unit, wire};
use chrono::{DateTime, Utc};
use proto::billing::v1 as pb;
use values::{AccountId, Amount, Money};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::closing::State;
use crate::error::Error;
use crate::ops::closing;
use crate::store::closings::{self, Closing};
use crate::store::{self, collections, ledger};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::PrepareClosingRequest>,
) -> Result<pb::PrepareClosingResponse, Error> {
    let id: AccountId = wire::id("account_id", &call.message.account_id)?;
    let close_at = wire::instant("close_time", call.message.close_time)?;
    let catalogue = ctx.active_catalogue().await?;
    let account = convert::root_account(&mut ctx.db.acquire().await?, id).await?;
    // A closing already prepared or settled is returned even if a run has started or usage can't be rated since.
    let known = closings::get(&mut ctx.db.acquire().await?, account.root_id).await?;
    let stood = known.is_some_and(|it| stands(&it, close_at));
    let months = if stood {
        Vec::new()
    } else {
        closing::months(&ctx, &catalogue, &account, close_at).await?
    };
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    // Taken before the balance: whoever creates a run waits for transactions that may wait for a balance.
    closings::hold_runs(&mut unit.tx).await?;
    ledger::lock(&mut unit.tx, &[account.root_id]).await?;
    let known = closings::get(&mut unit.tx, account.root_id).await?;
    // A late call must not restart a closing that was aborted or prepared again since.
    if let Some(known) = &known {
        let aborted = known.state == State::Aborted && close_at == known.close_at;
        if close_at < known.close_at || aborted {
            return Err(Error::NotClosing(id));
        }
    }
    let standing = known.filter(|it| stands(it, close_at));
    let prepared = if let Some(known) = standing {
        known
    } else if stood {
        // The closing was aborted since it was read.
        return Err(Error::NotClosing(id));
    } else {
        if collections::any_undecided(&mut unit.tx, account.root_id).await? {
            return Err(Error::PaymentUnderWay(id));
        }
        let intent = call.derived_id("closing");
        // Executed and rolled back, so that the figures shown are those that will be settled.
        unit.tx.savepoint().await?;
        let of = (&account, &months[..]);
        let figures =
            closing::settle(&mut unit.tx, &catalogue, of, (intent, close_at), call.now).await?;
        unit.tx.rollback_to_savepoint().await?;
        let prepared = Closing {
            root_id: account.root_id,
            state: State::Prepared,
            close_at,
            currency: account.currency.clone(),
            settlement_minor: figures.settlement_minor,
            refund_minor: figures.refund_minor,
            forfeited_micros: figures.forfeited_micros,
            due_on: figures.due_on,
            intent_id: intent,
            invoice_id: None,
            catalogue_version: catalogue.version.clone(),
            prepared_at: call.now,
            settled_at: None,
        };
        if !call.message.dry_run {
            closings::set(&mut unit.tx, &prepared).await?;
        }
        prepared
    };
    let currency = store::currency(&prepared.currency)?;
    let money = |minor| Some(wire::pb_money(Money::from_minor(minor, currency)));
    let forfeited = Amount::from_micros(prepared.forfeited_micros, currency);
    Ok(unit
        .commit(pb::PrepareClosingResponse {
            settlement: money(prepared.settlement_minor),
            refund: money(prepared.refund_minor),
            refund_due_date: due(&prepared),
            forfeited: Some(wire::pb_amount(forfeited)),
        })
        .await?)
}

/// Whether a closing is settled, or prepared for `close_at`.
fn stands(it: &Closing, close_at: DateTime<Utc>) -> bool {
    it.is_settled() || it.is_prepared() && it.close_at == close_at
}

/// The day by which the refunds are paid out; empty without a refund.
pub fn due(closing: &Closing) -> String {
    closing
        .due_on
        .map(|day| day.to_string())
        .unwrap_or_default()
}
