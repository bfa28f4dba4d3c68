//! `BillingService.GetBalance`

use std::collections::HashMap;

use chassis::{field_error, wire};
use chrono::TimeDelta;
use proto::billing::v1 as pb;
use uuid::Uuid;
use values::{Amount, Currency, InvoiceId, LotId};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::lots::{self, Lot, LotKind};
use crate::error::Error;
use crate::store;
use crate::store::ledger::{self, Origin};

/// The resolution of stored instants.
const STEP: TimeDelta = TimeDelta::microseconds(1);

pub async fn handle(
    ctx: &Ctx,
    request: pb::GetBalanceRequest,
) -> Result<pb::GetBalanceResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let now = ctx.clock.now().await?;
    let at = wire::optional_instant("read_time", request.read_time)?;
    if at.is_some_and(|at| now < at) {
        return Err(field_error("read_time", "an instant that is not in the future").into());
    }
    let catalogue = ctx.active_catalogue().await?;
    let mut db = ctx.db.snapshot().await?;
    // One snapshot, so that overdraft and lots agree.
    let account = convert::root_account(&mut db, id).await?;
    let root = account.root_id;
    let (overdraft, currency) = ledger::overdraft(&mut db, root)
        .await?
        .ok_or(Error::Stored("balance"))?;
    let currency = store::currency(&currency)?;
    let mut own: Vec<Lot> = ledger::lots(&mut db, (root, root))
        .await?
        .into_iter()
        .map(|(_, lot)| lot)
        .collect();
    if let Some(at) = at.filter(|at| *at < now) {
        let before = at + STEP;
        let micros = ledger::balance_before(&mut db, root, before).await?;
        let micros = micros.ok_or(Error::Stored("balance"))?;
        return Ok(pb::GetBalanceResponse {
            balance: Some(wire::pb_amount(Amount::from_micros(micros, currency))),
            ..pb::GetBalanceResponse::default()
        });
    }
    let origins: HashMap<Uuid, Origin> = ledger::lot_origins(&mut db, root)
        .await?
        .into_iter()
        .collect();
    if let Some(profile) = catalogue.profiles.get(&account.profile_code) {
        lots::sort(&mut own, &profile.consume_order);
    }
    let balance = lots::balance(&own, overdraft, now);
    let amount = |micros| Some(wire::pb_amount(Amount::from_micros(micros, currency)));
    Ok(pb::GetBalanceResponse {
        balance: amount(balance),
        overdraft: amount(overdraft),
        lots: own
            .iter()
            .map(|lot| {
                let origin = origins.get(&lot.id).copied().unwrap_or_default();
                shown(lot, origin, currency)
            })
            .collect(),
    })
}

/// Converts a lot.
pub fn shown(lot: &Lot, origin: Origin, currency: Currency) -> pb::Lot {
    let kind = match lot.kind {
        LotKind::Trial => pb::lot::Kind::Trial,
        LotKind::Promo => pb::lot::Kind::Promo,
        LotKind::Paid => pb::lot::Kind::Paid,
    };
    let amount = |micros| Some(wire::pb_amount(Amount::from_micros(micros, currency)));
    pb::Lot {
        lot_id: LotId::from_uuid(lot.id).to_string(),
        kind: kind.into(),
        amount: amount(origin.amount_micros),
        remaining: amount(lot.remaining_micros),
        create_time: Some(wire::timestamp(lot.created_at)),
        expire_time: lot.expires_at.map(wire::timestamp),
        priority: lot.priority.into(),
        invoice_id: origin
            .collection_id
            .map(|id| InvoiceId::from_uuid(id).to_string())
            .unwrap_or_default(),
    }
}
