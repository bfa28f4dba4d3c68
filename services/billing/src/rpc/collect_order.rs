//! `BillingService.CollectOrder`

use std::sync::Arc;

use chassis::{Call, FieldError, PgConnection, Unit, field_error, wire};
use chrono::{DateTime, Utc};
use proto::billing::v1 as pb;
use uuid::Uuid;
use values::{AccountId, CollectionId, InvoiceId, MethodId, Money, OrderId};

use super::convert;
use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::domain::collection::{Event, LineKind, Purpose, State, after};
use crate::error::Error;
use crate::ops::collect::{self, WAIT_SECONDS};
use crate::ops::dun;
use crate::store::collections::{self, Collection, Line};
use crate::store::{self, closings, ledger};

/// The most lines of an order.
const LINES_MAX: usize = 20;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CollectOrderRequest>,
) -> Result<pb::CollectOrderResponse, Error> {
    let asked = read(&call.message)?;
    let catalogue = ctx.active_catalogue().await?;
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    let collection = written_down(&mut unit.tx, &call, &asked, &catalogue).await?;
    unit.commit_step().await?;
    // The collection is stored; if this call is interrupted, a retry or the job completes it.
    if collection.state == State::Created {
        collect::ask(&ctx, collection.collection_id).await?;
    }
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    let collection = collections::get(&mut unit.tx, collection.collection_id)
        .await?
        .ok_or(Error::Stored("collection"))?;
    let shown = convert::collection(&mut unit.tx, &collection).await?;
    Ok(unit
        .commit(pb::CollectOrderResponse {
            collection: Some(shown),
        })
        .await?)
}

/// The parsed request.
struct Asked {
    account: AccountId,
    order: OrderId,
    method: Option<MethodId>,
    /// The open invoice to pay, instead of lines.
    invoice: Option<InvoiceId>,
    lines: Vec<Line>,
    amount: Option<Money>,
}

fn read(request: &pb::CollectOrderRequest) -> Result<Asked, Error> {
    let invoice: Option<InvoiceId> = wire::optional_id("invoice_id", &request.invoice_id)?;
    Ok(Asked {
        invoice,
        account: wire::id("account_id", &request.account_id)?,
        order: wire::id("order_id", &request.order_id)?,
        method: wire::optional_id("payment_method_id", &request.payment_method_id)?,
        lines: match invoice {
            Some(_) if !request.lines.is_empty() => {
                return Err(field_error("lines", "no lines if invoice_id is set").into());
            }
            Some(_) => Vec::new(),
            None => lines(&request.lines)?,
        },
        amount: match request.amount {
            Some(_) => Some(wire::money("amount", request.amount.as_ref())?),
            None => None,
        },
    })
}

/// Parses the lines of an order.
///
/// # Errors
/// A field error with the index of the line.
pub fn lines(sent: &[pb::CollectionLine]) -> Result<Vec<Line>, FieldError> {
    if sent.is_empty() || LINES_MAX < sent.len() {
        return Err(field_error("lines", "1 to 20 lines"));
    }
    sent.iter()
        .enumerate()
        .map(|(index, line)| {
            let path = |field: &str| format!("lines[{index}].{field}");
            let code = |field: &str, text: &str| -> Result<String, FieldError> {
                let read = wire::optional_code(&path(field), text)?;
                Ok(read.unwrap_or_default().to_owned())
            };
            let amount = wire::money(&path("amount"), line.amount.as_ref())?;
            if amount.minor() <= 0 {
                return Err(field_error(path("amount.amount"), "above zero"));
            }
            if amount.amount().is_err() {
                return Err(field_error(path("amount.amount"), "a smaller amount"));
            }
            let kind = LineKind::sold(wire::code(&path("kind"), &line.kind)?);
            let expected = "CREDITS or SUBSCRIPTION: other credit is granted with GrantCredit";
            Ok(Line {
                kind: kind.ok_or_else(|| field_error(path("kind"), expected))?,
                plan_code: code("plan_code", &line.plan_code)?,
                cycle_code: code("billing_cycle_code", &line.billing_cycle_code)?,
                amount_minor: amount.minor(),
                formula: match line.formula.as_str() {
                    "" => String::new(),
                    text => wire::text(&path("formula"), text, 200)?.to_owned(),
                },
                family_code: code("family_code", &line.family_code)?,
                cycle_months: Some(line.cycle_months)
                    .filter(|months| (0..=120).contains(months))
                    .ok_or_else(|| field_error(path("cycle_months"), "0 to 120"))?,
                start_on: None,
                end_on: match line.cycle_end_date.as_str() {
                    "" => None,
                    text => Some(wire::date(&path("cycle_end_date"), text)?),
                },
            })
        })
        .collect()
}

/// Checks that the lines are in the currency of the account's ledger.
pub fn of_ledger(lines: &[pb::CollectionLine], currency: &str) -> Result<(), FieldError> {
    let foreign = lines.iter().position(|line| {
        let code = line.amount.as_ref().map(|it| it.currency_code.as_str());
        code != Some(currency)
    });
    match foreign {
        Some(index) => Err(field_error(
            format!("lines[{index}].amount.currency_code"),
            format!("the currency of the account's ledger, {currency}"),
        )),
        None => Ok(()),
    }
}

/// Checks that the bought credit leaves a balance within the limit.
async fn fits(
    db: &mut PgConnection,
    (root, now): (Uuid, DateTime<Utc>),
    lines: &[Line],
) -> Result<(), Error> {
    let Some(index) = lines
        .iter()
        .rposition(|line| line.kind == LineKind::Credits)
    else {
        return Ok(());
    };
    let (_, currency) = ledger::overdraft(db, root)
        .await?
        .ok_or(Error::Stored("balance"))?;
    let per_minor = i128::from(store::currency(&currency)?.micros_per_minor());
    let bought = lines.iter().filter(|line| line.kind == LineKind::Credits);
    let bought: i128 = bought
        .map(|line| per_minor * i128::from(line.amount_minor))
        .sum();
    let balance = i128::from(ledger::balance(db, root, now).await?);
    if i128::from(wire::MICROS_MAX) < balance + bought {
        let field = format!("lines[{index}].amount.amount");
        let expected = "an amount that leaves a balance of at most 1000000000000";
        return Err(field_error(field, expected).into());
    }
    Ok(())
}

/// The priced parts of lines, for comparing a repeated order. Explanations are left out because their wording may
/// change between versions.
fn priced(lines: &[Line]) -> Vec<(LineKind, &str, &str, i64)> {
    let priced = lines.iter().map(|it| {
        let (plan, cycle) = (it.plan_code.as_str(), it.cycle_code.as_str());
        (it.kind, plan, cycle, it.amount_minor)
    });
    priced.collect()
}

/// Stores the collection of the order before `payments` is asked (R1), or finds the existing one and starts another
/// attempt if it was declined.
async fn written_down(
    db: &mut PgConnection,
    call: &Call<pb::CollectOrderRequest>,
    asked: &Asked,
    catalogue: &Arc<Catalogue>,
) -> Result<Collection, Error> {
    let account = convert::root_account(db, asked.account).await?;
    of_ledger(&call.message.lines, &account.currency)?;
    if asked
        .amount
        .is_some_and(|it| it.currency().code() != account.currency)
    {
        let expected = format!("the currency of the account's ledger, {}", account.currency);
        return Err(field_error("amount.currency_code", expected).into());
    }
    // Concurrent calls for one order are serialised by this lock.
    ledger::lock(db, &[account.root_id]).await?;
    let method = asked.method.map(MethodId::uuid);
    let intent = call.derived_id("collect");
    if let Some(known) = collections::lock_of_order(db, asked.order.uuid()).await? {
        let id = known.collection_id;
        let exists = || Error::CollectionExists(CollectionId::from_uuid(id));
        let paid = known.invoice_id.map(InvoiceId::from_uuid);
        let lines = collections::lines(db, id).await?;
        let same = known.root_id == account.root_id
            && paid == asked.invoice
            && (paid.is_some() || priced(&lines) == priced(&asked.lines));
        if !same || (!known.state.is_decided() && known.method_id != method) {
            return Err(exists());
        }
        // An order whose money has arrived, in whatever amount, is not charged again.
        let arrived = known.failure_reason == collect::SETTLED_AMOUNT_DIFFERS;
        let retried = after(known.state, Event::Retried);
        if retried.is_none() || known.intent_id == intent || arrived {
            return Ok(known);
        }
        if closings::stands(db, known.root_id).await? {
            return Err(Error::AccountClosed(asked.account));
        }
        if let Some(invoice) = known.invoice_id {
            dun::still_due(db, invoice, known.total_minor).await?;
        }
        collections::try_again(db, id, (method, intent), (WAIT_SECONDS, call.now)).await?;
        return collections::get(db, id).await?.ok_or_else(exists);
    }
    let of = collect::Of {
        purpose: if asked.invoice.is_some() {
            Purpose::Invoice
        } else {
            Purpose::Order
        },
        order: Some(asked.order.uuid()),
        invoice: asked.invoice.map(InvoiceId::uuid),
        method,
        intent,
        id: Uuid::now_v7(),
    };
    fits(db, (account.root_id, call.now), &asked.lines).await?;
    if asked.invoice.is_some() {
        return dun::ordered(db, (catalogue, &account), &of, asked.amount, call.now).await;
    }
    if let Some(quoted) = asked.amount {
        let (_, total) = collect::taxed(db, catalogue, &account, &asked.lines).await?;
        if total != quoted {
            return Err(Error::Requote);
        }
    }
    collect::begin(db, (catalogue, &account), &of, &asked.lines, call.now).await
}
