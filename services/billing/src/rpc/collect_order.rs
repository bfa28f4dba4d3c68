//! `BillingService.CollectOrder`

use std::sync::Arc;

use chassis::{Call, FieldError, Unit, field_error, wire};
use proto::billing::v1 as pb;
use sqlx::PgConnection;
use values::{AccountId, CollectionId, InvoiceId, MethodId, Money, OrderId};

use super::convert;
use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::collect::{self, WAIT_SECONDS};
use crate::ops::dun;
use crate::store::collections::{self, Collection, Line};
use crate::store::{closings, ledger};

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
    // From here on it exists: a retry, or the job, does what is left.
    if collection.state == "CREATED" {
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

/// What is asked for.
struct Asked {
    account: AccountId,
    order: OrderId,
    method: Option<MethodId>,
    /// The open invoice that is paid, in place of lines.
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
                return Err(field_error("lines", "none where an invoice is paid").into());
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

/// The lines of an order.
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
                return Err(field_error(path("amount.amount"), "a smaller sum"));
            }
            Ok(Line {
                kind: wire::code(&path("kind"), &line.kind)?.to_owned(),
                plan_code: code("plan_code", &line.plan_code)?,
                cycle_code: code("billing_cycle_code", &line.billing_cycle_code)?,
                amount_minor: amount.minor(),
                formula: match line.formula.as_str() {
                    "" => String::new(),
                    text => wire::text(&path("formula"), text, 200)?.to_owned(),
                },
            })
        })
        .collect()
}

/// That the lines are in the currency of the account's ledger.
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

/// What is priced of lines: their words may change with a version of ours.
fn priced(lines: &[Line]) -> Vec<(&str, &str, &str, i64)> {
    let priced = lines.iter().map(|it| {
        let codes = (
            it.kind.as_str(),
            it.plan_code.as_str(),
            it.cycle_code.as_str(),
        );
        (codes.0, codes.1, codes.2, it.amount_minor)
    });
    priced.collect()
}

/// The collection of the order, written down before anybody is asked (R1).
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
    // Two who collect one order come one after the other.
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
        if !same || (!known.is_decided() && known.method_id != method) {
            return Err(exists());
        }
        // Money that has arrived, of whatever sum, is not asked for again.
        let arrived = known.failure_reason == collect::SETTLED_AMOUNT_DIFFERS;
        if known.state != "DECLINED" || known.intent_id == intent || arrived {
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
            "INVOICE"
        } else {
            "ORDER"
        },
        order: Some(asked.order.uuid()),
        invoice: asked.invoice.map(InvoiceId::uuid),
        method,
        intent,
        id: uuid::Uuid::now_v7(),
    };
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
