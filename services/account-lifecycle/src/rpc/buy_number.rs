//! `AccountService.CreateOrder` for a number.

use chassis::{Call, field_error, wire};
use proto::account::v1 as pb;
use proto::account::v1::number_purchase::Purpose;
use values::AccountId;

use super::authorize::number;
use super::buy_credits::{line, quoted};
use super::convert;
use crate::ctx::Ctx;
use crate::domain::capability::Capability;
use crate::domain::order::Effect;
use crate::domain::permission::Action;
use crate::domain::purchase::{LineKind, Number, NumberKind, Purchase};
use crate::error::Error;
use crate::ops::authorize::{Asked, answer};
use crate::ops::permit;
use crate::store::orders::{self, Order};

/// Quotes a number: its monthly price, charged to the balance. A trial number is free (REQ-111) until its account has a
/// plan (REQ-170).
pub async fn handle(
    ctx: &Ctx,
    call: &Call<pb::CreateOrderRequest>,
    id: AccountId,
    asked: &pb::NumberPurchase,
) -> Result<pb::CreateOrderResponse, Error> {
    let (capability, kind) = match asked.purpose() {
        Purpose::Trial => (Capability::BuyTrialNumber, NumberKind::Trial),
        Purpose::Production => (Capability::BuyProductionNumber, NumberKind::Production),
        Purpose::Unspecified => {
            let expected = "PURPOSE_TRIAL or PURPOSE_PRODUCTION";
            return Err(field_error("number_purchase.purpose", expected).into());
        }
    };
    let code = wire::code("number_purchase.number_type_code", &asked.number_type_code)?;
    let country = asked.country_code.as_str();
    if country.len() != 2 || !country.bytes().all(|it| it.is_ascii_uppercase()) {
        let expected = "an ISO 3166-1 code";
        return Err(field_error("number_purchase.country_code", expected).into());
    }
    let wanted = match asked.number.as_str() {
        "" => String::new(),
        text => number("number_purchase.number", text)?.0,
    };
    let account = permit::acting(ctx, call, id, Action::BuyCredits).await?;
    let may = Asked {
        capability,
        target: None,
        at: None,
    };
    if let Some(denial) = answer(ctx, &account, &may, call.now).await?.denial {
        return Err(Error::Denied(id, denial));
    }
    let production = capability == Capability::BuyProductionNumber;
    if production {
        permit::taxable(ctx, &account).await?;
    }
    // The number of a trial is of a type that has a price, too, as it is rented once the trial has a plan. Where no
    // numbers are sold it stays free.
    let prices = ctx.number_rentals(&account.currency).await?;
    if prices.is_empty() && production {
        return Err(Error::NumbersNotOffered(id));
    }
    let price = prices.get(code);
    if price.is_none() && !prices.is_empty() {
        let mut known: Vec<_> = prices.keys().map(String::as_str).collect();
        known.sort_unstable();
        let expected = known.join(", ");
        return Err(field_error("number_purchase.number_type_code", expected).into());
    }
    let mut lines = Vec::new();
    if let Some(price) = price.filter(|_| production) {
        let words = format!("{code} number in {country}: monthly, from the balance");
        lines.push(line(&words, LineKind::Rental, Some(price))?);
    }
    let purchase = Purchase::BuyNumber(Number {
        code: code.to_owned(),
        country: country.to_owned(),
        kind,
        number: wanted,
    });
    let order = Order {
        effect: Effect::Immediate,
        effective_at: Some(call.now),
        ..quoted(call, &account, (purchase, "Buy number"), lines)
    };
    let mut unit = permit::step(ctx, call, &account).await?;
    orders::insert(&mut unit.tx, &order).await?;
    Ok(unit
        .commit(pb::CreateOrderResponse {
            order: Some(convert::order(&order, call.now)),
        })
        .await?)
}
