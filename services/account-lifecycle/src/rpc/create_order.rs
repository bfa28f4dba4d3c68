//! `AccountService.CreateOrder`

use chassis::{Call, Caller, field_error, wire};
use chrono::{DateTime, TimeDelta, Utc};
use proto::account::v1 as pb;
use proto::account::v1::create_order_request::Kind;
use proto::billing::v1 as billing;
use proto::plan::v1 as plan;
use serde_json::{Value, json};
use uuid::Uuid;
use values::AccountId;

use super::{buy_credits, convert};
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
        Some(
            Kind::Upgrade(_)
            | Kind::NumberPurchase(_)
            | Kind::AddOnPurchase(_)
            | Kind::RefundOrder(_),
        ) => {
            return Err(Error::NotYet("CreateOrder of this kind"));
        }
        None => return Err(field_error("kind", "one kind of order, such as plan_change").into()),
    };
    let family_code = wire::code("plan_change.family_code", &asked.family_code)?;
    let plan_code = wire::code("plan_change.plan_code", &asked.plan_code)?;
    let cycle = wire::optional_code("plan_change.billing_cycle_code", &asked.billing_cycle_code)?;
    let account = permit::allowed(&ctx, &call.caller, id, Action::ChangePlan).await?;
    let by_operator = matches!(call.caller, Caller::Operator { .. });
    let actor = if by_operator {
        plan::Actor::Operator
    } else {
        plan::Actor::Customer
    };
    let change = ctx
        .preview_change(plan::PreviewChangeRequest {
            account_id: id.to_string(),
            family_code: family_code.to_owned(),
            plan_code: plan_code.to_owned(),
            billing_cycle_code: cycle.unwrap_or_default().to_owned(),
            actor: actor.into(),
        })
        .await?;
    if change.effect() != plan::change::Effect::Immediate {
        return Err(Error::NotYet(
            "CreateOrder with a payment or a later effect",
        ));
    }
    let effective_at = instant(change.effective_time.as_ref()).unwrap_or(call.now);
    let lines = estimate(&ctx, id, family_code, &change).await?;
    let order = quoted(&call, &account, change, (by_operator, effective_at, lines));
    let mut unit = permit::step(&ctx, &call, &account).await?;
    orders::insert(&mut unit.tx, &order).await?;
    Ok(unit
        .commit(pb::CreateOrderResponse {
            order: Some(convert::order(&order)),
        })
        .await?)
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

fn quoted(
    call: &Call<pb::CreateOrderRequest>,
    account: &Account,
    change: plan::Change,
    (by_operator, effective_at, lines): (bool, DateTime<Utc>, Value),
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
    let ((from_plan_code, family_code), (to_plan_code, _)) =
        (code(change.from_plan), code(change.to_plan));
    Order {
        root_id: account.root_id,
        account_id: account.account_id,
        order_id: Uuid::now_v7(),
        kind: "PLAN_CHANGE".to_owned(),
        state: "QUOTED".to_owned(),
        by_operator,
        actor: call.caller.to_string(),
        family_code,
        from_plan_code,
        to_plan_code,
        billing_cycle_code: match &call.message.kind {
            Some(Kind::PlanChange(asked)) => asked.billing_cycle_code.clone(),
            _ => String::new(),
        },
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
    }
}

fn instant(from: Option<&prost_types::Timestamp>) -> Option<DateTime<Utc>> {
    from.and_then(|at| DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?))
}
