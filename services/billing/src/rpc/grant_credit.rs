//! `BillingService.GrantCredit`

use chassis::{Call, Unit, field_error, wire};
use proto::billing::v1 as pb;
use values::AccountId;

use super::convert;
use super::get_balance::shown;
use crate::ctx::Ctx;
use crate::domain::lots::{Lot, LotKind};
use crate::error::Error;
use crate::store::ledger::{self, Entries, Entry, LedgerAccount};

#[expect(
    clippy::too_many_lines,
    reason = "fields, then one transaction, read top to bottom"
)]
pub async fn handle(
    _: Ctx,
    call: Call<pb::GrantCreditRequest>,
    mut unit: Unit,
) -> Result<pb::GrantCreditResponse, Error> {
    let request = &call.message;
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let (kind, source) = match pb::lot::Kind::try_from(request.kind) {
        Ok(pb::lot::Kind::Trial) => (LotKind::Trial, LedgerAccount::Granted),
        Ok(pb::lot::Kind::Promo) => (LotKind::Promo, LedgerAccount::Granted),
        Ok(pb::lot::Kind::Paid) => (LotKind::Paid, LedgerAccount::Clearing),
        Ok(pb::lot::Kind::Unspecified) | Err(_) => {
            return Err(field_error("kind", "KIND_TRIAL, KIND_PROMO or KIND_PAID").into());
        }
    };
    let amount = request
        .amount
        .as_ref()
        .ok_or_else(|| field_error("amount", "an amount"))?;
    let amount = wire::amount("amount", amount)?;
    if amount.micros() <= 0 {
        return Err(field_error("amount.amount", "above zero").into());
    }
    let expires_at = wire::optional_instant("expire_time", request.expire_time)?;
    if expires_at.is_some_and(|expiry| expiry <= call.now) {
        return Err(field_error("expire_time", "later than now").into());
    }
    let reason = wire::text("reason", &request.reason, 200)?;

    let account = convert::root_account(&mut unit.tx, id).await?;
    if account.currency != amount.currency().code() {
        return Err(field_error(
            "amount.currency_code",
            format!("the currency of the account's ledger, {}", account.currency),
        )
        .into());
    }
    let root = account.root_id;
    let overdraft = ledger::lock(&mut unit.tx, &[root])
        .await?
        .first()
        .map_or(0, |(_, overdraft)| *overdraft);
    // What is owed is paid first (D8).
    let repaid = overdraft.min(amount.micros());
    let entry = |debit, credit, micros, lot_id| Entry {
        root_id: root,
        debit,
        credit,
        amount_micros: micros,
        lot_id,
        invoice_id: None,
        reason: "GRANT",
    };
    let mut entries = Entries::new(&account.currency, call.now);
    if 0 < repaid {
        ledger::overdraw(&mut unit.tx, &[root], &[-repaid]).await?;
        entries.add(
            call.derived_id("repaid"),
            &entry(source, LedgerAccount::Overdraft, repaid, None),
        );
    }
    let rest = amount.micros() - repaid;
    let mut lot = None;
    if 0 < rest {
        let new = Lot {
            id: call.derived_id("lot"),
            kind,
            priority: 0,
            remaining_micros: rest,
            created_at: call.now,
            expires_at,
        };
        ledger::insert_lot(&mut unit.tx, root, &new, reason).await?;
        entries.add(
            call.derived_id("granted"),
            &entry(source, LedgerAccount::Lot(kind), rest, Some(new.id)),
        );
        lot = Some(shown(&new, rest, amount.currency()));
    }
    entries.copy(&mut unit.tx).await?;
    Ok(unit.commit(pb::GrantCreditResponse { lot }).await?)
}
