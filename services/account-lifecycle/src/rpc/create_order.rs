//! `AccountService.CreateOrder`
//!
//! Quotes a change of plan, and dispatches the other kinds of orders to their files. A quote moves no money; it holds
//! until it expires, unless the timeline or the catalogue changes before.

use chassis::{Call, Caller, field_error, wire};
use chrono::{DateTime, TimeDelta, Utc};
use proto::account::v1 as pb;
use proto::account::v1::create_order_request::Kind;
use proto::billing::v1 as billing;
use proto::plan::v1 as plan;
use uuid::Uuid;
use values::{AccountId, MethodId};

use super::{
    ask_refund, buy_add_on, buy_credits, buy_number, convert, pay_invoice, pay_renewal, upgrade,
};
use crate::clients::actor;
use crate::ctx::Ctx;
use crate::domain::account::AccountType;
use crate::domain::order::{Effect, State};
use crate::domain::permission::Action;
use crate::domain::purchase::{Line, LineKind, Loss, Purchase};
use crate::error::Error;
use crate::ops::{pay, permit, renew};
use crate::store::accounts::Account;
use crate::store::orders::{self, Order};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CreateOrderRequest>,
) -> Result<pb::CreateOrderResponse, Error> {
    let id: AccountId = wire::id("account_id", &call.message.account_id)?;
    let asked = match &call.message.kind {
        Some(Kind::PlanChange(asked)) => asked,
        Some(Kind::CreditPurchase(asked)) => {
            return buy_credits::handle(&ctx, &call, id, asked).await;
        }
        Some(Kind::Upgrade(asked)) => return upgrade::handle(&ctx, &call, id, asked).await,
        Some(Kind::NumberPurchase(asked)) => {
            return buy_number::handle(&ctx, &call, id, asked).await;
        }
        Some(Kind::AddOnPurchase(asked)) => {
            return buy_add_on::handle(&ctx, &call, id, asked).await;
        }
        Some(Kind::RefundOrder(asked)) => {
            return ask_refund::handle(&ctx, &call, id, asked).await;
        }
        Some(Kind::RenewalPayment(asked)) => {
            return pay_renewal::handle(&ctx, &call, id, asked).await;
        }
        Some(Kind::InvoicePayment(asked)) => {
            return pay_invoice::handle(&ctx, &call, id, asked).await;
        }
        None => return Err(field_error("kind", "one kind of order, such as plan_change").into()),
    };
    let family_code = wire::code("plan_change.family_code", &asked.family_code)?;
    let plan_code = wire::code("plan_change.plan_code", &asked.plan_code)?;
    let cycle = wire::optional_code("plan_change.billing_cycle_code", &asked.billing_cycle_code)?;
    let account = permit::acting(&ctx, &call, id, Action::ChangePlan).await?;
    let by_operator = matches!(call.caller, Caller::Operator { .. });
    let method: Option<MethodId> =
        wire::optional_id("plan_change.payment_method_id", &asked.payment_method_id)?;
    let mut change = ctx
        .preview_change(plan::PreviewChangeRequest {
            account_id: id.to_string(),
            family_code: family_code.to_owned(),
            plan_code: plan_code.to_owned(),
            billing_cycle_code: cycle.unwrap_or_default().to_owned(),
            actor: actor(by_operator).into(),
        })
        .await?;
    // The first paid plan, and the first one after a plan has ended, must be bought with an upgrade, also by operators
    // (D5).
    let charge = change.to_plan.as_ref().and_then(|it| it.charge.as_ref());
    let free = charge.is_some_and(|it| it.model() == plan::charge::Model::Free);
    let for_upgrade = change.effect() == plan::change::Effect::ImmediateOnPayment
        || (account.r#type == AccountType::Trial && !free);
    if for_upgrade {
        return Err(Error::UpgradeFirst(id));
    }
    let effective_at = instant(change.effective_time.as_ref()).unwrap_or(call.now);
    let lines = lines(&ctx, &account, (&change, free)).await?;
    let renewal = renew::warnings_of_change(&ctx, &account, &change, method).await?;
    let offer = change.to_plan.clone().map(|it| convert::offer(it, false));
    change.warnings.extend(renewal);
    let order = Order {
        method_id: method.map(MethodId::uuid),
        ..quoted(&call, &account, change, (effective_at, lines))
    };
    let plan = (&*order.to_plan_code, &*order.billing_cycle_code);
    pay::can_pay(&ctx, &account, method, plan, order.total()).await?;
    let mut unit = permit::step(&ctx, &call, &account).await?;
    orders::insert(&mut unit.tx, &order).await?;
    Ok(unit
        .commit(pb::CreateOrderResponse {
            order: Some(pb::Order {
                plan_offer: offer,
                ..convert::order(&order, call.now)
            }),
        })
        .await?)
}

/// The lines of a plan change. Fails if tax is levied and the account's tax country is unknown.
async fn lines(
    ctx: &Ctx,
    account: &Account,
    (change, free): (&plan::Change, bool),
) -> Result<Vec<Line>, Error> {
    let id = AccountId::from_uuid(account.account_id);
    if !free {
        permit::taxable(ctx, account).await?;
    }
    let to = change.to_plan.as_ref();
    match to.filter(|it| it.charge.is_some()) {
        Some(to) => estimate(ctx, id, &to.family_code, change).await,
        None => in_advance(ctx, id, change).await,
    }
}

/// The lines of a change to a plan that is paid in advance: the prorated difference at once, or the price at the next
/// renewal.
async fn in_advance(ctx: &Ctx, id: AccountId, change: &plan::Change) -> Result<Vec<Line>, Error> {
    let to = change.to_plan.as_ref().map(|it| it.plan_code.clone());
    let to = to.unwrap_or_default();
    let cycle = &change.billing_cycle_code;
    if let Some(due) = &change.prorated_difference {
        let line = billing::CollectionLine {
            kind: "SUBSCRIPTION".to_owned(),
            amount: Some(due.clone()),
            plan_code: to.clone(),
            billing_cycle_code: cycle.clone(),
            cycle_months: change.cycle_months,
            cycle_end_date: change.cycle_end_date.clone(),
            ..billing::CollectionLine::default()
        };
        let formula = &change.prorated_formula;
        let words = format!("{to}, {cycle}: rest of the cycle, {formula}");
        return buy_credits::priced(ctx, id, vec![(words, line)]).await;
    }
    let Some(price) = &change.cycle_price else {
        return Ok(Vec::new());
    };
    let (formula, from) = (&change.cycle_formula, &change.billing_date);
    let description = format!("{to}, {cycle}: per cycle from {from}, {formula}");
    if !price.amount.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
        let free = buy_credits::line(&description, LineKind::Subscription, Some(price))?;
        return Ok(estimated(vec![free]));
    }
    let line = billing::CollectionLine {
        kind: "SUBSCRIPTION".to_owned(),
        amount: Some(price.clone()),
        plan_code: to,
        billing_cycle_code: cycle.clone(),
        ..billing::CollectionLine::default()
    };
    // Tax is levied at the renewal, by the rules that hold then.
    let lines = buy_credits::priced(ctx, id, vec![(description, line)]).await?;
    Ok(estimated(lines))
}

/// Lines that are not paid at the commit.
fn estimated(lines: Vec<Line>) -> Vec<Line> {
    let estimated = |line| Line {
        estimated: true,
        ..line
    };
    lines.into_iter().map(estimated).collect()
}

/// The estimated lines of the present month with the change, computed by the same function that later bills it.
async fn estimate(
    ctx: &Ctx,
    id: AccountId,
    family: &str,
    change: &plan::Change,
) -> Result<Vec<Line>, Error> {
    let preview = billing::PreviewInvoiceRequest {
        account_id: id.to_string(),
        family_code: family.to_owned(),
        // That of the change, as the zone of the family has it.
        month: String::new(),
        change_plan_code: change
            .to_plan
            .as_ref()
            .map(|plan| plan.plan_code.clone())
            .unwrap_or_default(),
        change_catalogue_version: change.catalogue_version.clone(),
        change_time: change.effective_time,
    };
    let invoice = ctx.preview_invoice(preview).await?;
    let lines = invoice.lines.iter().map(|it| {
        let description = format!("{}: {}", it.description, it.explanation);
        buy_credits::line(&description, LineKind::Subscription, it.amount.as_ref())
    });
    let taxes = invoice.taxes.iter().map(buy_credits::tax_line);
    let lines: Result<_, Error> = lines.chain(taxes).collect();
    Ok(estimated(lines?))
}

/// The features that the account loses by a change of plan.
pub fn losses(change: &plan::Change) -> Vec<Loss> {
    let losses = change.losses.iter().map(|it| Loss {
        feature_code: it.feature_code.clone(),
        kind: it.kind.clone(),
        value: it.value.clone(),
    });
    losses.collect()
}

/// The order for a quoted plan change.
pub fn quoted(
    call: &Call<pb::CreateOrderRequest>,
    account: &Account,
    change: plan::Change,
    (effective_at, lines): (DateTime<Utc>, Vec<Line>),
) -> Order {
    let effect = match change.effect() {
        plan::change::Effect::ImmediateOnPayment => Effect::ImmediateOnPayment,
        plan::change::Effect::NextCycle => Effect::NextCycle,
        plan::change::Effect::NextRenewal => Effect::NextRenewal,
        plan::change::Effect::Immediate | plan::change::Effect::Unspecified => Effect::Immediate,
    };
    let losses = losses(&change);
    let code = |plan: Option<plan::Plan>| {
        plan.map(|plan| (plan.plan_code, plan.family_code))
            .unwrap_or_default()
    };
    let ((from_plan_code, _), (to_plan_code, family_code)) =
        (code(change.from_plan), code(change.to_plan));
    Order {
        root_id: account.root_id,
        account_id: account.account_id,
        order_id: Uuid::now_v7(),
        purchase: Purchase::PlanChange { losses },
        state: State::Quoted,
        by_operator: matches!(call.caller, Caller::Operator { .. }),
        actor: call.caller.to_string(),
        family_code,
        from_plan_code,
        to_plan_code,
        billing_cycle_code: change.billing_cycle_code,
        effect,
        effective_at: Some(effective_at),
        billing_on: change.billing_date.parse().ok(),
        timeline_etag: change.timeline_etag,
        catalogue_version: change.catalogue_version,
        action_label: change.action_label,
        warnings: change.warnings,
        lines,
        confirmations_required: change.confirmations_required,
        confirmations_given: 0,
        created_at: call.now,
        expires_at: call.now + TimeDelta::minutes(i64::from(change.quote_ttl_minutes.max(1))),
        committed_at: None,
        completed_at: None,
        failure_reason: String::new(),
        method_id: None,
        collection_id: None,
        invoice_id: None,
        auto_recharge: false,
        offer_id: change.offer_id,
        resource_id: None,
    }
}

/// A timestamp received from another service.
pub fn instant(from: Option<&prost_types::Timestamp>) -> Option<DateTime<Utc>> {
    from.and_then(|at| DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?))
}
