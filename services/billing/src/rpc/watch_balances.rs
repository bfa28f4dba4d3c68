//! `BillingService.WatchBalances`

use std::collections::HashMap;

use chassis::wire::{pb_amount, pb_money, timestamp};
use chassis::{Place, news};
use proto::billing::v1 as pb;
use uuid::Uuid;
use values::{Amount, Money};

use super::{Streamed, convert};
use crate::ctx::Ctx;
use crate::domain::account_event::Kind;
use crate::domain::dispute;
use crate::error::Error;
use crate::store::outbox::{self, Told};
use crate::store::{self, invoices, numbers};

/// The most changes read in one query.
const BATCH: i64 = 500;

pub fn handle(
    ctx: &Ctx,
    request: &pb::WatchBalancesRequest,
) -> Result<Streamed<pb::WatchBalancesResponse>, Error> {
    let place = Place::read(&request.resume_token)?;
    let bookmark = request.allow_bookmark.then(|| pb::WatchBalancesResponse {
        caught_up: true,
        ..pb::WatchBalancesResponse::default()
    });
    let reader = ctx.clone();
    let read = move |place| {
        let ctx = reader.clone();
        async move { changes(&ctx, &place).await }
    };
    Ok(Box::pin(news(
        (ctx.clone(), ctx.wake.clone()),
        (place, bookmark),
        read,
    )))
}

/// The account events after a place.
async fn changes(ctx: &Ctx, place: &Place) -> Result<Vec<(i64, pb::WatchBalancesResponse)>, Error> {
    let mut db = ctx.db.acquire().await?;
    let found = outbox::of_accounts(&mut db, place, BATCH).await?;
    // Invoices are shown as they are now: one paid meanwhile has nothing due.
    let mut shown = HashMap::new();
    for id in found.iter().filter_map(|it| it.invoice_id) {
        let invoice = invoices::get(&mut db, id).await?;
        let invoice = invoice.ok_or(Error::Stored("invoice"))?;
        let series = numbers::get_all(&mut db, &[invoice.series_id]).await?;
        shown.insert(id, convert::invoice(&invoice, &series)?);
    }
    let sent = |it| change(it, place, &shown).map(|sent| (sent.position, sent));
    found.into_iter().map(sent).collect()
}

/// An event as it is sent.
fn change(
    it: Told,
    place: &Place,
    invoices: &HashMap<Uuid, pb::Invoice>,
) -> Result<pb::WatchBalancesResponse, Error> {
    let currency = store::currency(&it.currency)?;
    let moved = Amount::from_micros(it.balance_micros, currency);
    let amount = pb_money(Money::from_minor(it.amount_minor, currency));
    let invoice = || {
        let invoice = it.invoice_id.and_then(|id| invoices.get(&id));
        invoice.ok_or(Error::Stored("invoice"))
    };
    let mut sent = pb::WatchBalancesResponse {
        account_id: convert::account_id(it.root_id),
        resume_token: place.token(it.position),
        position: it.position,
        ..pb::WatchBalancesResponse::default()
    };
    match it.kind {
        Kind::BalanceCrossed => {
            sent.balance = Some(pb_amount(moved));
            sent.threshold_code = it.threshold_code;
            sent.below = it.fell;
        }
        Kind::RenewalFailed => {
            sent.failed_renewal = Some(pb::FailedRenewal {
                failure_reason: it.reason,
                next_attempt_time: it.next_at.map(timestamp),
            });
        }
        Kind::OpenInvoice => {
            let invoice = invoice()?;
            sent.open_invoice = Some(pb::OpenInvoice {
                invoice_id: invoice.invoice_id.clone(),
                number: invoice.number.clone(),
                amount_due: invoice.amount_due.clone(),
                due_date: invoice.due_date.clone(),
                overdue: it.fell,
                failure_reason: it.reason,
            });
        }
        Kind::PaymentReceived => {
            let invoice = invoice()?;
            sent.received_payment = Some(pb::ReceivedPayment {
                invoice_id: invoice.invoice_id.clone(),
                number: invoice.number.clone(),
                amount: Some(amount),
                amount_due: invoice.amount_due.clone(),
            });
        }
        Kind::Dispute => {
            sent.disputed_charge = Some(pb::DisputedCharge {
                amount: Some(amount),
                state: dispute_state(it.dispute_state()?).into(),
                evidence_due_time: it.next_at.map(timestamp),
                credit_amount: (it.balance_micros != 0).then(|| pb_amount(moved)),
            });
        }
        Kind::AutoRechargeDisabled => sent.recharge_disable_reason = it.reason,
        Kind::AutoRechargePaused => sent.recharge_pause_end_time = it.next_at.map(timestamp),
    }
    Ok(sent)
}

/// The state of a dispute as it is sent.
const fn dispute_state(state: dispute::State) -> pb::disputed_charge::State {
    match state {
        dispute::State::Open => pb::disputed_charge::State::Open,
        dispute::State::Won => pb::disputed_charge::State::Won,
        dispute::State::Lost => pb::disputed_charge::State::Lost,
    }
}
