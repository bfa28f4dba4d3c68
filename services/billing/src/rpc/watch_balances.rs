//! `BillingService.WatchBalances`

use std::collections::HashMap;

use chassis::wire::{pb_amount, timestamp};
use chassis::{Place, news};
use proto::billing::v1 as pb;
use values::Amount;

use super::{Streamed, convert};
use crate::ctx::Ctx;
use crate::domain::account_event::Kind;
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
    let mut open = HashMap::new();
    for id in found.iter().filter_map(|it| it.invoice_id) {
        let invoice = invoices::get(&mut db, id).await?;
        let invoice = invoice.ok_or(Error::Stored("invoice"))?;
        let series = numbers::get_all(&mut db, &[invoice.series_id]).await?;
        open.insert(id, convert::invoice(&invoice, &series)?);
    }
    found
        .into_iter()
        .map(|it| {
            let position = it.position;
            let invoice = it.invoice_id.and_then(|id| open.get(&id));
            let change = pb::WatchBalancesResponse {
                resume_token: place.token(position),
                position,
                ..change(it, invoice)?
            };
            Ok((position, change))
        })
        .collect()
}

/// Converts an event without its position. `invoice` is the open invoice that it is about, if any.
fn change(it: Told, invoice: Option<&pb::Invoice>) -> Result<pb::WatchBalancesResponse, Error> {
    let change = pb::WatchBalancesResponse {
        account_id: convert::account_id(it.root_id),
        ..pb::WatchBalancesResponse::default()
    };
    Ok(match it.kind {
        Kind::BalanceCrossed => {
            let balance = Amount::from_micros(it.balance_micros, store::currency(&it.currency)?);
            pb::WatchBalancesResponse {
                balance: Some(pb_amount(balance)),
                threshold_code: it.threshold_code,
                below: it.fell,
                ..change
            }
        }
        Kind::RenewalFailed => pb::WatchBalancesResponse {
            failed_renewal: Some(pb::FailedRenewal {
                failure_reason: it.reason,
                next_attempt_time: it.next_at.map(timestamp),
            }),
            ..change
        },
        Kind::OpenInvoice => {
            let invoice = invoice.ok_or(Error::Stored("event of an open invoice"))?;
            pb::WatchBalancesResponse {
                open_invoice: Some(pb::OpenInvoice {
                    invoice_id: invoice.invoice_id.clone(),
                    number: invoice.number.clone(),
                    amount_due: invoice.amount_due.clone(),
                    due_date: invoice.due_date.clone(),
                    overdue: it.fell,
                    failure_reason: it.reason,
                }),
                ..change
            }
        }
        Kind::AutoRechargeDisabled => pb::WatchBalancesResponse {
            recharge_disable_reason: it.reason,
            ..change
        },
        Kind::AutoRechargePaused => pb::WatchBalancesResponse {
            recharge_pause_end_time: it.next_at.map(timestamp),
            ..change
        },
    })
}
