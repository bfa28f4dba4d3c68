//! `AccountService.CreateOrder` for the first paid plan of a trial, or one for a limited account.

use chassis::{Call, Caller, field_error, wire};
use proto::account::v1 as pb;
use proto::billing::v1 as billing;
use proto::plan::v1 as plan;
use proto::r#type::v1::Money as WireMoney;
use values::{AccountId, MethodId, Money};

use super::create_order::quoted;
use super::{buy_credits, convert};
use crate::clients::{Profile, actor};
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::accounts::{self, Account};
use crate::store::orders::{self, Order};
use crate::store::{self, Tenant};

/// The gate of the profile's KYC.
const GATE: &str = "UPGRADE";

/// Quotes an upgrade: the first cycle, the credit to begin with, and tax on lines of its own (REQ-096).
#[expect(
    clippy::too_many_lines,
    reason = "fields, checks, quote, read top to bottom"
)]
pub async fn handle(
    ctx: &Ctx,
    call: &Call<pb::CreateOrderRequest>,
    id: AccountId,
    asked: &pb::Upgrade,
) -> Result<pb::CreateOrderResponse, Error> {
    let family_code = wire::code("upgrade.family_code", &asked.family_code)?;
    let plan_code = wire::code("upgrade.plan_code", &asked.plan_code)?;
    let cycle = wire::code("upgrade.billing_cycle_code", &asked.billing_cycle_code)?;
    let method: Option<MethodId> =
        wire::optional_id("upgrade.payment_method_id", &asked.payment_method_id)?;
    let credit = match &asked.credit_amount {
        Some(_) => Some(wire::money(
            "upgrade.credit_amount",
            asked.credit_amount.as_ref(),
        )?),
        None => None,
    };
    if credit.is_some_and(|credit| credit.minor() < 0) {
        return Err(field_error("upgrade.credit_amount.amount", "0 or more").into());
    }
    let account = permit::allowed(ctx, &call.caller, id, Action::ChangePlan).await?;
    if account.root_id != account.account_id {
        return Err(Error::UseRootAccount {
            account: id,
            root: AccountId::from_uuid(account.root_id),
        });
    }
    if credit.is_some_and(|it| it.currency().code() != account.currency) {
        let expected = format!("the currency of the account's ledger, {}", account.currency);
        return Err(field_error("upgrade.credit_amount.currency_code", expected).into());
    }
    let profile = ctx.profile_of(&account).await?;
    let unchecked = unchecked(&profile, &asked.checklist_codes)?;
    if profile.kyc_gates.iter().any(|gate| gate == GATE) && account.kyc_state != "APPROVED" {
        return Err(Error::KycNotApproved(id));
    }
    let by_operator = matches!(call.caller, Caller::Operator { .. });
    let change = ctx
        .preview_change(plan::PreviewChangeRequest {
            account_id: id.to_string(),
            family_code: family_code.to_owned(),
            plan_code: plan_code.to_owned(),
            billing_cycle_code: cycle.to_owned(),
            actor: actor(by_operator).into(),
        })
        .await?;
    if change.effect() != plan::change::Effect::ImmediateOnPayment {
        return Err(Error::AlreadyUpgraded(id));
    }
    let to = change.to_plan.clone().ok_or(Error::Stored("plan"))?;
    enough(&account, &to, credit)?;
    let price = change.cycle_price.clone().ok_or(Error::Stored("price"))?;
    let described = lines((plan_code, cycle), (price, &change.cycle_formula), credit);
    let lines = buy_credits::priced(ctx, id, described).await?;
    let order = Order {
        kind: "UPGRADE".to_owned(),
        effective_at: None,
        method_id: method.map(MethodId::uuid),
        auto_recharge: asked.auto_recharge,
        ..quoted(call, &account, change, (call.now, lines))
    };
    let order = Order {
        warnings: [order.warnings.clone(), unchecked].concat(),
        ..order
    };
    let mut unit = permit::step(ctx, call, &account).await?;
    orders::insert(&mut unit.tx, &order).await?;
    Ok(unit
        .commit(pb::CreateOrderResponse {
            order: Some(pb::Order {
                plan_offer: Some(convert::offer(to, false)),
                ..convert::order(&order)
            }),
        })
        .await?)
}

/// Whether the commit of an order asks for an approved KYC: of an upgrade that is not committed yet.
pub async fn is_gated(ctx: &Ctx, order: &Order) -> Result<bool, Error> {
    if order.kind != "UPGRADE" || order.committed_at.is_some() {
        return Ok(false);
    }
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(order.root_id)).await?;
    let account = accounts::get(&mut tx, order.root_id).await?;
    tx.commit().await?;
    let account = account.ok_or(Error::Stored("account"))?;
    let gates = ctx.profile_of(&account).await?.kyc_gates;
    Ok(gates.iter().any(|gate| gate == GATE))
}

/// What is paid at once.
fn lines(
    (plan_code, cycle): (&str, &str),
    (price, formula): (WireMoney, &str),
    credit: Option<Money>,
) -> Vec<(String, billing::CollectionLine)> {
    let subscription = billing::CollectionLine {
        kind: "SUBSCRIPTION".to_owned(),
        amount: Some(price),
        plan_code: plan_code.to_owned(),
        billing_cycle_code: cycle.to_owned(),
        ..billing::CollectionLine::default()
    };
    let mut lines = vec![(
        format!("{plan_code}, {cycle}: the first cycle, {formula}"),
        subscription,
    )];
    let credit = credit.filter(|credit| 0 < credit.minor());
    lines.extend(credit.map(|credit| {
        let line = buy_credits::credits(Some(&wire::pb_money(credit)));
        ("credit".to_owned(), line)
    }));
    lines
}

/// That the first credit reaches the plan's minimum (REQ-100); who comes back has bought before.
fn enough(account: &Account, plan: &plan::Plan, credit: Option<Money>) -> Result<(), Error> {
    let Some(minimum) = plan
        .minimum_initial_credit
        .as_ref()
        .filter(|_| account.upgraded_at.is_none())
    else {
        return Ok(());
    };
    let currency = minimum.currency_code.parse();
    let least = currency
        .ok()
        .and_then(|currency| Money::parse(&minimum.amount, currency).ok())
        .ok_or(Error::Stored("minimum of a plan"))?;
    if credit.is_some_and(|credit| least.minor() <= credit.minor()) {
        return Ok(());
    }
    Err(Error::BelowMinimum(format!("{least} {}", least.currency())))
}

/// The self-checks that are not done, as warnings (REQ-079).
fn unchecked(profile: &Profile, done: &[String]) -> Result<Vec<String>, Error> {
    if 20 < done.len() {
        return Err(field_error("upgrade.checklist_codes", "at most 20").into());
    }
    for (n, code) in done.iter().enumerate() {
        wire::code(&format!("upgrade.checklist_codes[{n}]"), code)?;
    }
    let open = profile.checklist.iter().filter(|code| !done.contains(code));
    Ok(open.map(|code| format!("{code}_UNCHECKED")).collect())
}
