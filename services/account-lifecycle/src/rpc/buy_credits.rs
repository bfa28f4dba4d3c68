//! `AccountService.CreateOrder` for credit.

use chassis::{Call, Caller, field_error, wire};
use chrono::TimeDelta;
use proto::account::v1 as pb;
use proto::billing::v1 as billing;
use proto::r#type::v1::Money;
use uuid::Uuid;
use values::{AccountId, MethodId};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::account::AccountType;
use crate::domain::order::{Effect, State};
use crate::domain::permission::Action;
use crate::domain::purchase::{Line, LineKind, Purchase};
use crate::error::Error;
use crate::ops::{pay, permit};
use crate::store::accounts::Account;
use crate::store::orders::{self, Order};

/// How long a quote for credit is valid; the same as for plans in the shipped catalogue.
const QUOTE_TTL: TimeDelta = TimeDelta::minutes(30);

/// Quotes credit: the amount charged, with tax on separate lines.
pub async fn handle(
    ctx: &Ctx,
    call: &Call<pb::CreateOrderRequest>,
    id: AccountId,
    asked: &pb::CreditPurchase,
) -> Result<pb::CreateOrderResponse, Error> {
    let amount = wire::money("credit_purchase.amount", asked.amount.as_ref())?;
    if amount.minor() <= 0 {
        return Err(field_error("credit_purchase.amount.amount", "an amount above zero").into());
    }
    let method: Option<MethodId> = wire::optional_id(
        "credit_purchase.payment_method_id",
        &asked.payment_method_id,
    )?;
    let account = permit::acting(ctx, call, id, Action::BuyCredits).await?;
    if account.root_id != account.account_id {
        return Err(Error::UseRootAccount {
            account: id,
            root: AccountId::from_uuid(account.root_id),
        });
    }
    if account.currency != amount.currency().code() {
        let expected = format!("the currency of the account's ledger, {}", account.currency);
        return Err(field_error("credit_purchase.amount.currency_code", expected).into());
    }
    if account.r#type == AccountType::Trial && ctx.profile_of(&account).await?.upgrades {
        return Err(Error::UpgradeFirst(id));
    }
    permit::taxable(ctx, &account).await?;
    let lines = priced(
        ctx,
        id,
        vec![("credit".to_owned(), credits(asked.amount.as_ref()))],
    )
    .await?;
    let order = Order {
        method_id: method.map(MethodId::uuid),
        ..quoted(
            call,
            &account,
            (Purchase::BuyCredits {}, "Buy credits"),
            lines,
        )
    };
    pay::can_pay(ctx, &account, method, ("", ""), order.total()).await?;
    let mut unit = permit::step(ctx, call, &account).await?;
    orders::insert(&mut unit.tx, &order).await?;
    Ok(unit
        .commit(pb::CreateOrderResponse {
            order: Some(convert::order(&order, call.now)),
        })
        .await?)
}

/// The collection line of a credit purchase.
pub fn credits(amount: Option<&Money>) -> billing::CollectionLine {
    billing::CollectionLine {
        kind: "CREDITS".to_owned(),
        amount: amount.cloned(),
        ..billing::CollectionLine::default()
    }
}

/// Order lines to be paid, each with a description, followed by the tax on them as separate lines.
pub async fn priced(
    ctx: &Ctx,
    id: AccountId,
    described: Vec<(String, billing::CollectionLine)>,
) -> Result<Vec<Line>, Error> {
    let priced = ctx
        .preview_collection(billing::PreviewCollectionRequest {
            account_id: id.to_string(),
            lines: described.iter().map(|(_, line)| line.clone()).collect(),
        })
        .await?;
    let mut lines = Vec::with_capacity(described.len() + priced.taxes.len());
    for (words, it) in described {
        lines.push(Line {
            months: it.cycle_months,
            until: it.cycle_end_date,
            ..line(&words, LineKind::named(&it.kind), it.amount.as_ref())?
        });
    }
    for tax in &priced.taxes {
        lines.push(tax_line(tax)?);
    }
    Ok(lines)
}

/// A quoted order that is not for a plan.
pub fn quoted(
    call: &Call<pb::CreateOrderRequest>,
    account: &Account,
    (purchase, label): (Purchase, &str),
    lines: Vec<Line>,
) -> Order {
    Order {
        root_id: account.root_id,
        account_id: account.account_id,
        order_id: Uuid::now_v7(),
        purchase,
        state: State::Quoted,
        by_operator: matches!(call.caller, Caller::Operator { .. }),
        actor: call.caller.to_string(),
        family_code: String::new(),
        from_plan_code: String::new(),
        to_plan_code: String::new(),
        billing_cycle_code: String::new(),
        effect: Effect::ImmediateOnPayment,
        effective_at: None,
        billing_on: None,
        timeline_etag: String::new(),
        catalogue_version: String::new(),
        action_label: label.to_owned(),
        warnings: Vec::new(),
        lines,
        confirmations_required: 1,
        confirmations_given: 0,
        created_at: call.now,
        expires_at: call.now + QUOTE_TTL,
        committed_at: None,
        completed_at: None,
        failure_reason: String::new(),
        method_id: None,
        collection_id: None,
        invoice_id: None,
        auto_recharge: false,
        offer_id: String::new(),
        resource_id: None,
    }
}

/// The order line of a tax.
pub fn tax_line(tax: &billing::TaxLine) -> Result<Line, Error> {
    let (whole, rest) = (tax.rate_bps / 100, tax.rate_bps % 100);
    let description = format!("{} {whole}.{rest:02}%", tax.tax_code);
    let kind = LineKind::Tax(tax.tax_code.clone());
    line(&description, kind, tax.amount.as_ref())
}

/// One order line.
pub fn line(description: &str, kind: LineKind, amount: Option<&Money>) -> Result<Line, Error> {
    let money = wire::money("amount", amount);
    Ok(Line {
        description: description.to_owned(),
        money: money.map_err(|_| Error::Stored("amount of an order line"))?,
        kind,
        estimated: false,
        months: 0,
        until: String::new(),
        resource: None,
    })
}
