//! Closing an account (D23): billing computes what follows and lets the balance stand still; one transaction
//! closes the whole tree; from then on it only goes forward.

use chrono::{DateTime, Utc};
use proto::r#type::v1::{Amount as WireAmount, Money as WireMoney};
use sqlx::PgConnection;
use values::{AccountId, Amount, Currency, Money};

use super::history::{self, Told};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::closings::{self, Closing};
use crate::store::{self, Tenant, accounts, orders};

/// Does what is left of a closing; safe to repeat.
pub async fn finish(ctx: &Ctx, closing: &Closing, now: DateTime<Utc>) -> Result<(), Error> {
    let mut closing = closing.clone();
    if closing.state == "PREPARING" {
        closing = close(ctx, closing, now).await?;
    }
    if closing.state != "CLOSED" {
        return Ok(());
    }
    ctx.close_plans(&closing).await?;
    if closing.is_of_root() {
        let settled = ctx.settle_closing(&closing).await?;
        closing.settlement_minor = minor(settled.settlement.as_ref())?;
        closing.refund_minor = minor(settled.refund.as_ref())?;
        closing.forfeited_micros = micros(settled.forfeited.as_ref())?;
        closing.due_on = settled.refund_due_date.parse().ok();
        closing.refund_ids = settled.refund_ids;
    }
    "DONE".clone_into(&mut closing.state);
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(closing.root_id)).await?;
    closings::set(&mut tx, &closing).await?;
    tx.commit().await?;
    Ok(())
}

/// Closes the tree in one transaction, with what billing has computed; gives it up where an order is being
/// paid.
async fn close(ctx: &Ctx, mut closing: Closing, now: DateTime<Utc>) -> Result<Closing, Error> {
    if closing.is_of_root() {
        let prepared = ctx.prepare_closing(closing.root_id, closing.close_at, None);
        let prepared = match prepared.await {
            Ok(prepared) => prepared,
            Err(status) => {
                give_up(ctx, &closing).await?;
                return Err(status.into());
            }
        };
        closing.settlement_minor = minor(prepared.settlement.as_ref())?;
        closing.refund_minor = minor(prepared.refund.as_ref())?;
        closing.forfeited_micros = micros(prepared.forfeited.as_ref())?;
        closing.due_on = prepared.refund_due_date.parse().ok();
    }
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(closing.root_id)).await?;
    accounts::lock(&mut tx, closing.root_id).await?;
    if closing.is_of_root() && orders::any_under_way(&mut tx, closing.root_id).await? {
        drop(tx);
        ctx.abort_closing(&closing).await?;
        give_up(ctx, &closing).await?;
        let id = AccountId::from_uuid(closing.account_id);
        return Err(Error::OrderUnderWay(id));
    }
    "CLOSED".clone_into(&mut closing.state);
    closings::set(&mut tx, &closing).await?;
    told(&mut tx, &closing, now).await?;
    tx.commit().await?;
    Ok(closing)
}

/// Forgets a closing by which nothing was closed.
async fn give_up(ctx: &Ctx, closing: &Closing) -> Result<(), Error> {
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(closing.root_id)).await?;
    closings::delete(&mut tx, closing.account_id).await?;
    tx.commit().await?;
    Ok(())
}

/// Closes every open account of the tree, and tells so of each.
async fn told(db: &mut PgConnection, closing: &Closing, _: DateTime<Utc>) -> Result<(), Error> {
    let closed = accounts::close(db, closing.account_id, closing.close_at).await?;
    for (account, suspended) in closed {
        let told = Told {
            state: "STATUS",
            name: "CLOSED",
            change: (if suspended { "SUSPENDED" } else { "ACTIVE" }, "CLOSED"),
            actor: &closing.actor,
            reason: &closing.option,
            resource: "",
        };
        history::tell(db, (closing.root_id, account), &told, closing.close_at).await?;
    }
    Ok(())
}

fn minor(money: Option<&WireMoney>) -> Result<i64, Error> {
    let bad = || Error::Stored("money of billing");
    let money = money.ok_or_else(bad)?;
    let currency: Currency = money.currency_code.parse().map_err(|_| bad())?;
    Ok(Money::parse(&money.amount, currency)
        .map_err(|_| bad())?
        .minor())
}

fn micros(amount: Option<&WireAmount>) -> Result<i64, Error> {
    let bad = || Error::Stored("amount of billing");
    let amount = amount.ok_or_else(bad)?;
    let currency: Currency = amount.currency_code.parse().map_err(|_| bad())?;
    Ok(Amount::parse(&amount.amount, currency)
        .map_err(|_| bad())?
        .micros())
}
