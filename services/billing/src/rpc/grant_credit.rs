//! `BillingService.GrantCredit`

use std::sync::Arc;

use chassis::{Call, FieldError, OperatorRole, Unit, field_error, wire};
use proto::billing::v1 as pb;
use values::AccountId;

use super::convert;
use super::get_balance::shown;
use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::domain::lots::{Lot, LotKind};
use crate::error::Error;
use crate::ops::credit::{self, Credit, LotTerms};
use crate::store::closings;
use crate::store::ledger::{self, Entries, Origin};

/// The highest priority; its negative is the lowest.
const PRIORITY_MAX: i16 = 100;

pub async fn handle(
    _: Ctx,
    call: Call<pb::GrantCreditRequest>,
    mut unit: Unit,
    catalogue: Arc<Catalogue>,
) -> Result<pb::GrantCreditResponse, Error> {
    let request = &call.message;
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let kind = match pb::lot::Kind::try_from(request.kind) {
        Ok(pb::lot::Kind::Trial) => LotKind::Trial,
        Ok(pb::lot::Kind::Promo) => LotKind::Promo,
        Ok(pb::lot::Kind::Paid) => LotKind::Paid,
        Ok(pb::lot::Kind::Unspecified) | Err(_) => {
            return Err(field_error("kind", "KIND_TRIAL, KIND_PROMO or KIND_PAID").into());
        }
    };
    let keeps_books = call.caller.is_operator_with(&[OperatorRole::Billing]);
    if !keeps_books && kind != LotKind::Trial {
        return Err(field_error("kind", "KIND_TRIAL from a service").into());
    }
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
    let priority = priority(request.priority)?;
    let reason = wire::text("reason", &request.reason, 200)?;

    let account = convert::root_account(&mut unit.tx, id).await?;
    if account.currency != amount.currency().code() {
        return Err(field_error(
            "amount.currency_code",
            format!("the currency of the account's ledger, {}", account.currency),
        )
        .into());
    }
    let notify_below = catalogue
        .profiles
        .get(&account.profile_code)
        .map_or(0, |profile| profile.notify_below_micros);
    let (db, root) = (&mut *unit.tx, account.root_id);
    ledger::lock(db, &[root]).await?;
    if closings::stands(db, root).await? {
        return Err(Error::AccountClosed(id));
    }
    let before = ledger::balance(db, root, call.now).await?;
    fits(before, amount.micros())?;
    let credit = Credit {
        root,
        kind,
        source: credit::grant_source(kind),
        micros: amount.micros(),
        terms: LotTerms {
            priority,
            expires_at,
        },
        word: ledger::GRANT,
        reason,
        collection: None,
        seed: call.derived_id("grant"),
    };
    let mut entries = Entries::new(&account.currency, call.now);
    let lot = credit::add(db, &credit, &mut entries, call.now).await?;
    entries.copy(db).await?;
    credit::balance_moved(db, (root, before), notify_below, call.now).await?;
    let origin = |lot: &Lot| Origin::given(lot.remaining_micros);
    let lot = lot.map(|lot| shown(&lot, origin(&lot), amount.currency()));
    Ok(unit.commit(pb::GrantCreditResponse { lot }).await?)
}

/// Checks that the balance stays within the limit after the grant.
fn fits(before: i64, added: i64) -> Result<(), FieldError> {
    if before.saturating_add(added) <= wire::MICROS_MAX {
        return Ok(());
    }
    let expected = "an amount that leaves a balance of at most 1000000000000";
    Err(field_error("amount.amount", expected))
}

fn priority(sent: i32) -> Result<i16, FieldError> {
    i16::try_from(sent)
        .ok()
        .filter(|it| (-PRIORITY_MAX..=PRIORITY_MAX).contains(it))
        .ok_or_else(|| field_error("priority", "-100 to 100"))
}
