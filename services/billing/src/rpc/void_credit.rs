//! `BillingService.VoidCredit`

use std::sync::Arc;

use chassis::{Call, Unit, field_error, wire};
use proto::billing::v1 as pb;
use values::{AccountId, LotId};

use super::convert;
use super::get_balance::shown;
use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::domain::lots::voided;
use crate::error::Error;
use crate::ops::{collect, credit};
use crate::store::ledger::{self, Entries, Entry, LedgerAccount};
use crate::store::voided_credits::{self, VoidedCredit};
use crate::store::{self, closings};

pub async fn handle(
    _: Ctx,
    call: Call<pb::VoidCreditRequest>,
    mut unit: Unit,
    catalogue: Arc<Catalogue>,
) -> Result<pb::VoidCreditResponse, Error> {
    let request = &call.message;
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let lot_id: LotId = wire::id("lot_id", &request.lot_id)?;
    let asked = match &request.amount {
        Some(amount) => Some(wire::amount("amount", amount)?),
        None => None,
    };
    if asked.is_some_and(|it| it.micros() <= 0) {
        return Err(field_error("amount.amount", "above zero").into());
    }
    let reason = wire::text("reason", &request.reason, 200)?;
    let account = convert::root_account(&mut unit.tx, id).await?;
    let (db, root) = (&mut *unit.tx, account.root_id);
    let currency = store::currency(&account.currency)?;
    if asked.is_some_and(|it| it.currency() != currency) {
        let expected = format!("the currency of the account's ledger, {currency}");
        return Err(field_error("amount.currency_code", expected).into());
    }
    ledger::lock(db, &[root]).await?;
    if closings::stands(db, root).await? {
        return Err(Error::AccountClosed(id));
    }
    let own = ledger::lots(db, (root, root)).await?.into_iter();
    let lot = own.map(|(_, lot)| lot).find(|lot| lot.id == lot_id.uuid());
    let lot = lot.ok_or(Error::CreditNotFound(lot_id))?;
    let origins = ledger::lot_origins(db, root).await?;
    let origin = origins.into_iter().find(|(id, _)| *id == lot.id);
    let origin = origin.map(|(_, origin)| origin).unwrap_or_default();
    if origin.collection_id.is_some() {
        return Err(Error::CreditWasPaid(lot_id));
    }
    if !ledger::is_granted(db, root, &lot).await? {
        return Err(Error::CreditNotGranted(lot_id));
    }
    let micros = asked.map_or(lot.remaining_micros, values::Amount::micros);
    let left = voided(lot, micros).map_err(|_| Error::CreditExceeded(lot_id))?;
    let before = ledger::balance(db, root, call.now).await?;
    let void_id = call.derived_id("void");
    let entry = Entry {
        root_id: root,
        debit: LedgerAccount::Lot(lot.kind),
        // Reverses the entry of the grant.
        credit: credit::grant_source(lot.kind),
        amount_micros: micros,
        lot_id: Some(lot.id),
        invoice_id: None,
        reason: "VOIDED",
    };
    let mut entries = Entries::new(&account.currency, call.now);
    entries.add(void_id, &entry);
    entries.copy(db).await?;
    ledger::take_out(db, &[root], &[lot.id], &[micros]).await?;
    let void = VoidedCredit {
        void_id,
        root_id: root,
        lot_id: lot.id,
        amount_micros: micros,
        reason: reason.to_owned(),
        voided_by: call.caller.to_string(),
        voided_at: call.now,
    };
    voided_credits::insert(db, &void).await?;
    let low = collect::profile(&catalogue, &account)?.notify_below_micros;
    credit::balance_moved(db, (root, before), low, call.now).await?;
    let lot = Some(shown(&left, origin, currency));
    Ok(unit.commit(pb::VoidCreditResponse { lot }).await?)
}
