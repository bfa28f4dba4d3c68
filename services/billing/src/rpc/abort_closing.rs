//! `BillingService.AbortClosing`

use chassis::{Call, Unit, wire};
use proto::billing::v1 as pb;
use uuid::Uuid;
use values::AccountId;

use super::convert;
use crate::ctx::Ctx;
use crate::domain::closing::{Event, State, after};
use crate::error::Error;
use crate::store::closings::{self, Closing};
use crate::store::{auto_recharges, ledger};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::AbortClosingRequest>,
) -> Result<pb::AbortClosingResponse, Error> {
    let id: AccountId = wire::id("account_id", &call.message.account_id)?;
    let close_at = wire::instant("close_time", call.message.close_time)?;
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    let account = convert::root_account(&mut unit.tx, id).await?;
    ledger::lock(&mut unit.tx, &[account.root_id]).await?;
    match closings::get(&mut unit.tx, account.root_id).await? {
        Some(known) if after(known.state, Event::Aborted).is_none() => {
            return Err(Error::AccountClosed(id));
        }
        // A late call must not abort a closing prepared later.
        Some(known) if close_at < known.close_at => {}
        Some(_) | None => {
            let aborted = Closing {
                root_id: account.root_id,
                state: State::Aborted,
                close_at,
                currency: account.currency,
                settlement_minor: 0,
                refund_minor: 0,
                forfeited_micros: 0,
                due_on: None,
                intent_id: Uuid::now_v7(),
                invoice_id: None,
                catalogue_version: String::new(),
                prepared_at: call.now,
                settled_at: None,
            };
            closings::set(&mut unit.tx, &aborted).await?;
            // Auto-recharge was suspended while the closing was prepared; the balance is checked again.
            auto_recharges::touch(&mut unit.tx, &[account.root_id], call.now).await?;
        }
    }
    Ok(unit.commit(pb::AbortClosingResponse {}).await?)
}
