//! `PaymentsService.CreateRefund`
//!
//! The amount is reserved on the charge and the refund stored before the provider is asked. A transfer without a
//! provider is parked until an operator resolves it.

use chassis::{Call, PgConnection, Unit, field_error, wire};
use chrono::NaiveDate;
use proto::payments::v1 as pb;
use uuid::Uuid;
use values::{AccountId, ChargeId, Money, RefundId};

use super::convert;
use super::create_charge::before_is_refused;
use crate::ctx::Ctx;
use crate::domain::movement::{Kind, ParkedReason, Purpose, State, provider_key};
use crate::error::Error;
use crate::ops::{ask, look_up, payer};
use crate::store::disputes;
use crate::store::movements::{self, Movement};
use crate::store::{Tenant, enter, outbox};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CreateRefundRequest>,
) -> Result<pb::CreateRefundResponse, Error> {
    let asked = read(&call.message)?;
    known(&ctx, &asked).await?;
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    let refund = written_down(&ctx, &mut unit.tx, &call, &asked).await?;
    unit.commit_step().await?;
    // From here on the refund exists: a retry or the job finishes it.
    if !refund.provider_code.is_empty() {
        ask::send(&ctx, refund.root_id, refund.movement_id).await?;
    }
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    enter(&mut unit.tx, Tenant::Root(refund.root_id)).await?;
    let refund = movements::get(&mut unit.tx, refund.root_id, refund.movement_id)
        .await?
        .ok_or(Error::Stored("refund"))?;
    Ok(unit
        .commit(pb::CreateRefundResponse {
            refund: Some(convert::refund(&refund, call.now.date_naive())?),
        })
        .await?)
}

/// Looks up a charge with an unknown outcome before deciding anything about it (R6).
async fn known(ctx: &Ctx, asked: &Asked<'_>) -> Result<(), Error> {
    let mut tx = ctx.db.begin().await?;
    let root = payer::entered(&mut tx, asked.account).await?.root_id;
    let charge = match asked.charge {
        Some(charge) => movements::get(&mut tx, root, charge.uuid()).await?,
        None => None,
    };
    tx.commit().await?;
    match charge.filter(|it| it.state == State::Unknown) {
        Some(charge) => look_up::look_up(ctx, &charge, "").await.map(|_| ()),
        None => Ok(()),
    }
}

/// A refund as requested.
struct Asked<'r> {
    account: AccountId,
    /// The charge; `None` for credit that no charge funded.
    charge: Option<ChargeId>,
    money: Money,
    key: &'r str,
    attempt: i32,
    by_hand: bool,
    due_on: Option<NaiveDate>,
}

fn read(request: &pb::CreateRefundRequest) -> Result<Asked<'_>, Error> {
    use pb::refund::Route;
    let by_hand = match Route::try_from(request.route) {
        Ok(Route::Unspecified | Route::OriginalMethod) => false,
        Ok(Route::ManualBankTransfer) => true,
        Err(_) => return Err(field_error("route", "a ROUTE or unset").into()),
    };
    let charge: Option<ChargeId> = wire::optional_id("charge_id", &request.charge_id)?;
    if charge.is_none() && !by_hand {
        let expected = "a charge id, which only a bank transfer may omit";
        return Err(field_error("charge_id", expected).into());
    }
    Ok(Asked {
        account: wire::id("account_id", &request.account_id)?,
        charge,
        money: convert::sum("amount", request.amount.as_ref())?,
        key: wire::code("refund_key", &request.refund_key)?,
        attempt: convert::attempt(request.attempt_number)?,
        by_hand,
        due_on: match request.due_date.as_str() {
            "" => None,
            day => Some(wire::date("due_date", day)?),
        },
    })
}

/// The intent of a refund, from which its reference at the provider is derived.
fn intent(asked: &Asked<'_>) -> String {
    format!("{}/{}", Kind::Refund.as_str(), asked.key)
}

/// Stores the refund of the attempt and reserves it on its charge, before the provider is asked.
#[expect(
    clippy::too_many_lines,
    reason = "the row and its checks in the order in which they run"
)]
async fn written_down(
    ctx: &Ctx,
    db: &mut PgConnection,
    call: &Call<pb::CreateRefundRequest>,
    asked: &Asked<'_>,
) -> Result<Movement, Error> {
    let account = payer::entered(db, asked.account).await?;
    let root = account.root_id;
    let Some(of) = asked.charge else {
        return by_transfer(db, root, call, asked).await;
    };
    let charge_id = of.uuid();
    let charge = movements::lock(db, root, charge_id)
        .await?
        .filter(|it| it.kind == Kind::Charge)
        .ok_or(Error::ChargeNotFound(of))?;
    let refund = Movement {
        movement_id: call.derived_id("refund"),
        kind: Kind::Refund,
        subject_id: charge_id,
        refund_key: asked.key.to_owned(),
        attempt_number: asked.attempt,
        currency: asked.money.currency().code().to_owned(),
        amount_minor: asked.money.minor(),
        settled_minor: None,
        refunded_minor: 0,
        provider_code: if asked.by_hand {
            String::new()
        } else {
            charge.provider_code.clone()
        },
        provider_key: provider_key(charge_id, &intent(asked), asked.attempt),
        provider_id: String::new(),
        unattended: true,
        return_url: String::new(),
        state: if asked.by_hand {
            State::Parked
        } else {
            State::Created
        },
        failure_reason: String::new(),
        retryable: false,
        parked_reason: asked.by_hand.then_some(ParkedReason::ManualBankTransfer),
        action_url: String::new(),
        due_on: asked.due_on,
        reference: String::new(),
        created_at: call.now,
        updated_at: call.now,
        settled_at: None,
        overturned_at: None,
        lease_token: None,
        look_ups: 0,
        asked_for_seconds: 0,
        first_asked_for_seconds: 0,
        ..charge.clone()
    };
    if let Some(known) = movements::attempt(db, refund.attempt()).await? {
        if known.asks_the_same(&refund) {
            return Ok(known);
        }
        return Err(Error::RefundExists(RefundId::from_uuid(known.movement_id)));
    }

    if refund.currency != charge.currency {
        return Err(Error::CurrencyDiffers(charge.currency));
    }
    if charge.state != State::Succeeded {
        return Err(Error::ChargeNotSucceeded(of));
    }
    if !asked.by_hand && charge.provider_code.is_empty() {
        return Err(Error::MethodNotRefundable(charge.method_code));
    }
    if disputes::is_open(db, charge_id).await? {
        return Err(Error::ChargeDisputed(of));
    }
    // Amounts lost in a dispute are with the payer already and are not refunded again.
    let left = charge.settled_minor.unwrap_or(0) - charge.refunded_minor;
    let lost = disputes::lost_minor(db, charge_id).await?;
    if 0 < lost && left - lost < asked.money.minor() {
        return Err(Error::RefundExceedsCharge(of));
    }
    if !asked.by_hand && !refund.provider_code.is_empty() {
        // Nothing is stored that this process can't send.
        ctx.asked(&refund)?;
    }
    before_is_refused(db, &refund).await?;
    if !movements::reserve(db, root, charge_id, refund.amount_minor).await? {
        return Err(Error::RefundExceedsCharge(of));
    }
    movements::insert(db, &refund, ctx.lease_seconds).await?;
    outbox::insert(db, root, refund.movement_id).await?;
    movements::attempt(db, refund.attempt())
        .await?
        .ok_or(Error::Stored("refund"))
}

/// Stores a refund of credit that no charge funded, to be paid out by manual bank transfer (D32).
async fn by_transfer(
    db: &mut PgConnection,
    root: Uuid,
    call: &Call<pb::CreateRefundRequest>,
    asked: &Asked<'_>,
) -> Result<Movement, Error> {
    let refund = Movement {
        root_id: root,
        movement_id: call.derived_id("refund"),
        kind: Kind::Refund,
        subject_id: Uuid::nil(),
        refund_key: asked.key.to_owned(),
        attempt_number: asked.attempt,
        currency: asked.money.currency().code().to_owned(),
        amount_minor: asked.money.minor(),
        settled_minor: None,
        refunded_minor: 0,
        purpose: Purpose::Credits,
        plan_code: String::new(),
        cycle_code: String::new(),
        method_id: Uuid::nil(),
        method_code: String::new(),
        provider_code: String::new(),
        provider_key: provider_key(root, &intent(asked), asked.attempt),
        provider_id: String::new(),
        unattended: true,
        return_url: String::new(),
        state: State::Parked,
        failure_reason: String::new(),
        retryable: false,
        parked_reason: Some(ParkedReason::ManualBankTransfer),
        action_url: String::new(),
        due_on: asked.due_on,
        reference: String::new(),
        created_at: call.now,
        updated_at: call.now,
        settled_at: None,
        overturned_at: None,
        lease_token: None,
        look_ups: 0,
        asked_for_seconds: 0,
        first_asked_for_seconds: 0,
    };
    if let Some(known) = movements::attempt(db, refund.attempt()).await? {
        if known.asks_the_same(&refund) {
            return Ok(known);
        }
        return Err(Error::RefundExists(RefundId::from_uuid(known.movement_id)));
    }
    before_is_refused(db, &refund).await?;
    movements::insert(db, &refund, 0).await?;
    outbox::insert(db, root, refund.movement_id).await?;
    movements::attempt(db, refund.attempt())
        .await?
        .ok_or(Error::Stored("refund"))
}
