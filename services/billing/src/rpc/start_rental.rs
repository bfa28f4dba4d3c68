//! `BillingService.StartRental`

use std::sync::Arc;

use chassis::{Call, Unit, field_error, wire};
use proto::billing::v1 as pb;
use values::{AccountId, RentalId};

use super::convert;
use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::domain::rental::{Kind, month_start};
use crate::error::Error;
use crate::ops::{collect, rent};
use crate::store::rentals::{self, Rental};
use crate::store::{closings, ledger};

pub async fn handle(
    _: Ctx,
    call: Call<pb::StartRentalRequest>,
    mut unit: Unit,
    catalogue: Arc<Catalogue>,
) -> Result<pb::StartRentalResponse, Error> {
    let id: AccountId = wire::id("account_id", &call.message.account_id)?;
    let sent = call.message.rental.clone();
    let sent = sent.ok_or_else(|| field_error("rental", "a rental"))?;
    let rental: RentalId = wire::id("rental.rental_id", &sent.rental_id)?;
    let kind = match sent.kind() {
        pb::rental::Kind::Number => Kind::Number,
        pb::rental::Kind::AddOn => Kind::AddOn,
        pb::rental::Kind::Unspecified => {
            return Err(field_error("rental.kind", "KIND_NUMBER or KIND_ADD_ON").into());
        }
    };
    let code = wire::code("rental.code", &sent.code)?;
    let price = sent
        .monthly_price
        .as_ref()
        .ok_or_else(|| field_error("rental.monthly_price", "an amount"))?;
    let price = wire::amount("rental.monthly_price", price)?;
    if price.micros() <= 0 {
        return Err(field_error("rental.monthly_price.amount", "above zero").into());
    }
    let account = convert::root_account(&mut unit.tx, id).await?;
    if account.currency != price.currency().code() {
        let expected = format!("the currency of the account's ledger, {}", account.currency);
        return Err(field_error("rental.monthly_price.currency_code", expected).into());
    }
    let root = account.root_id;
    ledger::lock(&mut unit.tx, &[root]).await?;
    let known = match rentals::lock(&mut unit.tx, rental.uuid()).await? {
        Some(known) if known.root_id == root => known,
        Some(_) => return Err(Error::RentalNotFound(rental)),
        None => {
            if closings::stands(&mut unit.tx, root).await? {
                return Err(Error::AccountClosed(id));
            }
            let balance = ledger::balance(&mut unit.tx, root, call.now).await?;
            let covered = account.invoiced || price.micros() <= balance;
            if !covered && !call.message.allow_overdraft {
                return Err(Error::InsufficientCredit(id));
            }
            let zone = collect::profile(&catalogue, &account)?.zone;
            let begun = Rental {
                root_id: root,
                rental_id: rental.uuid(),
                kind,
                code: code.to_owned(),
                currency: account.currency.clone(),
                monthly_micros: price.micros(),
                start_at: call.now,
                month_count: 1,
                next_at: month_start(zone, call.now, 1).ok_or(Error::Stored("instant"))?,
                ended_at: None,
            };
            // Another account has taken the id meanwhile.
            if !rentals::insert(&mut unit.tx, &begun).await? {
                return Err(Error::RentalNotFound(rental));
            }
            rent::pay(&mut unit.tx, &catalogue, (&account, &begun, 0), call.now).await?;
            begun
        }
    };
    Ok(unit
        .commit(pb::StartRentalResponse {
            rental: Some(convert::rental(&known)?),
        })
        .await?)
}
