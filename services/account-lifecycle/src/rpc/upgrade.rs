//! `AccountService.CreateOrder` for an upgrade: the first paid plan of a trial, or a new plan of a limited account.

use chassis::{Call, Caller, field_error, wire};
use proto::account::v1 as pb;
use proto::billing::v1 as billing;
use proto::plan::v1 as plan;
use proto::r#type::v1::Money as WireMoney;
use values::{AccountId, MethodId, Money};

use super::create_order::{losses, quoted};
use super::{buy_credits, convert};
use crate::clients::{Profile, actor};
use crate::ctx::Ctx;
use crate::domain::kyc::KycState;
use crate::domain::order::OrderKind;
use crate::domain::permission::Action;
use crate::domain::purchase::{KeptNumber, Purchase};
use crate::error::Error;
use crate::ops::{pay, permit, purchase, renew};
use crate::store::accounts::Account;
use crate::store::orders::{self, Order};

/// The capability that the profile may gate behind KYC.
const GATE: &str = "UPGRADE";

/// Quotes an upgrade: the first cycle, the initial credit, and tax on separate lines (REQ-096).
#[expect(
    clippy::too_many_lines,
    reason = "fields, checks and quote in the order in which they run"
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
    let account = permit::acting(ctx, call, id, Action::ChangePlan).await?;
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
    if profile.kyc_gates.iter().any(|gate| gate == GATE) && account.kyc_state != KycState::Approved
    {
        return Err(Error::KycNotApproved(id));
    }
    permit::taxable(ctx, &account).await?;
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
    let described = lines((plan_code, cycle), (price, &change), credit);
    let mut lines = buy_credits::priced(ctx, id, described).await?;
    // The first month of what the account keeps from its trial is taken from the balance.
    let kept = purchase::kept_numbers(ctx, &account, &[], call.now).await?;
    lines.extend(kept.iter().map(KeptNumber::line));
    let exceeding = exceeding(&kept, credit);
    let renewal = renew::warnings(ctx, &account, family_code, method).await?;
    let purchase = Purchase::Upgrade {
        losses: losses(&change),
    };
    let order = Order {
        purchase,
        effective_at: None,
        method_id: method.map(MethodId::uuid),
        auto_recharge: asked.auto_recharge,
        ..quoted(call, &account, change, (call.now, lines))
    };
    let order = Order {
        warnings: [order.warnings.clone(), unchecked, renewal, exceeding].concat(),
        ..order
    };
    let plan = (plan_code, cycle);
    pay::can_pay(ctx, &account, method, plan, order.total()).await?;
    let mut unit = permit::step(ctx, call, &account).await?;
    orders::insert(&mut unit.tx, &order).await?;
    Ok(unit
        .commit(pb::CreateOrderResponse {
            order: Some(pb::Order {
                plan_offer: Some(convert::offer(to, false)),
                ..convert::order(&order, call.now)
            }),
        })
        .await?)
}

/// Whether the commit of an order asks for an approved KYC: of an upgrade of `account` that is not committed yet.
pub fn is_gated(ctx: &Ctx, order: &Order, account: &Account) -> Result<bool, Error> {
    if order.kind() != OrderKind::Upgrade || order.committed_at.is_some() {
        return Ok(false);
    }
    let gates = ctx.profile_at_hand(account)?.kyc_gates;
    Ok(gates.iter().any(|gate| gate == GATE))
}

/// The lines paid at once: the first cycle and the initial credit.
fn lines(
    (plan_code, cycle): (&str, &str),
    (price, change): (WireMoney, &plan::Change),
    credit: Option<Money>,
) -> Vec<(String, billing::CollectionLine)> {
    let subscription = billing::CollectionLine {
        kind: "SUBSCRIPTION".to_owned(),
        amount: Some(price),
        plan_code: plan_code.to_owned(),
        billing_cycle_code: cycle.to_owned(),
        cycle_months: change.cycle_months,
        cycle_end_date: change.cycle_end_date.clone(),
        ..billing::CollectionLine::default()
    };
    let formula = &change.cycle_formula;
    let mut lines = vec![(
        format!("{plan_code}, {cycle}: first cycle, {formula}"),
        subscription,
    )];
    let credit = credit.filter(|credit| 0 < credit.minor());
    lines.extend(credit.map(|credit| {
        let line = buy_credits::credits(Some(&wire::pb_money(credit)));
        ("credit".to_owned(), line)
    }));
    lines
}

/// Checks that the first credit purchase reaches the plan's minimum (REQ-100). A returning account has met it before.
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

/// The warning for numbers kept from the trial whose first month costs more than the credit that is bought: what the
/// balance does not cover is owed.
fn exceeding(kept: &[KeptNumber], credit: Option<Money>) -> Vec<String> {
    let prices = kept.iter().map(|it| it.price.minor());
    if credit.map_or(0, Money::minor) < prices.fold(0, i64::saturating_add) {
        vec!["RENTAL_EXCEEDS_CREDIT".to_owned()]
    } else {
        Vec::new()
    }
}

/// Warnings for the checklist items that are not confirmed (REQ-079).
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
