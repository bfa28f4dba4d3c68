//! `AccountService.CreateOrder`

use chassis::{Call, Caller, field_error, wire};
use chrono::{DateTime, TimeDelta, Utc};
use proto::account::v1 as pb;
use proto::account::v1::create_order_request::Kind;
use proto::billing::v1 as billing;
use proto::plan::v1 as plan;
use serde_json::{Value, json};
use uuid::Uuid;
use values::{AccountId, MethodId};

use super::{
    ask_refund, buy_add_on, buy_credits, buy_number, convert, pay_invoice, pay_renewal, upgrade,
};
use crate::clients::actor;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
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
    let account = permit::allowed(&ctx, &call.caller, id, Action::ChangePlan).await?;
    let by_operator = matches!(call.caller, Caller::Operator { .. });
    let method: Option<MethodId> =
        wire::optional_id("plan_change.payment_method_id", &asked.payment_method_id)?;
    let change = ctx
        .preview_change(plan::PreviewChangeRequest {
            account_id: id.to_string(),
            family_code: family_code.to_owned(),
            plan_code: plan_code.to_owned(),
            billing_cycle_code: cycle.unwrap_or_default().to_owned(),
            actor: actor(by_operator).into(),
        })
        .await?;
    // The first paid plan, and one after the last has ended, is bought by an upgrade (D5).
    let charge = change.to_plan.as_ref().and_then(|it| it.charge.as_ref());
    let free = charge.is_some_and(|it| it.model() == plan::charge::Model::Free);
    let for_upgrade = change.effect() == plan::change::Effect::ImmediateOnPayment
        || (account.r#type == "TRIAL" && !by_operator && !free);
    if for_upgrade {
        return Err(Error::UpgradeFirst(id));
    }
    let effective_at = instant(change.effective_time.as_ref()).unwrap_or(call.now);
    let lines = if charge.is_some() {
        estimate(&ctx, id, family_code, &change).await?
    } else {
        in_advance(&ctx, id, &change).await?
    };
    let offer = change.to_plan.clone().map(|it| convert::offer(it, false));
    let order = Order {
        method_id: method.map(MethodId::uuid),
        ..quoted(&call, &account, change, (effective_at, lines))
    };
    let mut unit = permit::step(&ctx, &call, &account).await?;
    orders::insert(&mut unit.tx, &order).await?;
    Ok(unit
        .commit(pb::CreateOrderResponse {
            order: Some(pb::Order {
                plan_offer: offer,
                ..convert::order(&order)
            }),
        })
        .await?)
}

/// What a change of a plan costs that is paid in advance: the difference at once, or its price at the next
/// renewal.
async fn in_advance(ctx: &Ctx, id: AccountId, change: &plan::Change) -> Result<Value, Error> {
    let to = change.to_plan.as_ref().map(|it| it.plan_code.clone());
    let to = to.unwrap_or_default();
    let cycle = &change.billing_cycle_code;
    if let Some(due) = &change.prorated_difference {
        let line = billing::CollectionLine {
            kind: "SUBSCRIPTION".to_owned(),
            amount: Some(due.clone()),
            plan_code: to.clone(),
            billing_cycle_code: cycle.clone(),
            ..billing::CollectionLine::default()
        };
        let formula = &change.prorated_formula;
        let words = format!("{to}, {cycle}: the rest of the cycle, {formula}");
        return buy_credits::priced(ctx, id, vec![(words, line)]).await;
    }
    let lines = change.cycle_price.iter().map(|price| {
        let (formula, from) = (&change.cycle_formula, &change.billing_date);
        let description = format!("{to}, {cycle}: each cycle from {from}, {formula}");
        json!({"description": description, "amount": price.amount, "currency": price.currency_code,
               "kind": "SUBSCRIPTION", "estimated": true})
    });
    Ok(lines.collect())
}

/// The running month as it would be charged with the change: by the function that will charge it.
async fn estimate(
    ctx: &Ctx,
    id: AccountId,
    family: &str,
    change: &plan::Change,
) -> Result<Value, Error> {
    let at = instant(change.effective_time.as_ref()).ok_or(Error::Stored("effective time"))?;
    let preview = billing::PreviewInvoiceRequest {
        account_id: id.to_string(),
        family_code: family.to_owned(),
        month: at.format("%Y-%m").to_string(),
        change_plan_code: change
            .to_plan
            .as_ref()
            .map(|plan| plan.plan_code.clone())
            .unwrap_or_default(),
        change_catalogue_version: change.catalogue_version.clone(),
        change_time: change.effective_time,
    };
    let invoice = ctx.preview_invoice(preview).await?;
    let lines = invoice.lines.iter().map(|line| {
        let amount = line.amount.clone().unwrap_or_default();
        let description = format!("{}: {}", line.plan_code, line.explanation);
        json!({"description": description, "amount": amount.amount, "currency": amount.currency_code,
               "kind": "SUBSCRIPTION", "estimated": true})
    });
    Ok(lines.collect())
}

/// The order that a change is quoted by.
pub fn quoted(
    call: &Call<pb::CreateOrderRequest>,
    account: &Account,
    change: plan::Change,
    (effective_at, lines): (DateTime<Utc>, Value),
) -> Order {
    let effect = match change.effect() {
        plan::change::Effect::ImmediateOnPayment => "IMMEDIATE_ON_PAYMENT",
        plan::change::Effect::NextCycle => "NEXT_CYCLE",
        plan::change::Effect::NextRenewal => "NEXT_RENEWAL",
        plan::change::Effect::Immediate | plan::change::Effect::Unspecified => "IMMEDIATE",
    };
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
        kind: "PLAN_CHANGE".to_owned(),
        state: "QUOTED".to_owned(),
        by_operator: matches!(call.caller, Caller::Operator { .. }),
        actor: call.caller.to_string(),
        family_code,
        from_plan_code,
        to_plan_code,
        billing_cycle_code: change.billing_cycle_code,
        effect: effect.to_owned(),
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
        item: json!({}),
        resource_id: None,
    }
}

/// An instant of another service.
pub fn instant(from: Option<&prost_types::Timestamp>) -> Option<DateTime<Utc>> {
    from.and_then(|at| DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?))
}
