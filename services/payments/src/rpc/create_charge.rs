//! `PaymentsService.CreateCharge`
//!
//! The charge is stored before the provider is asked, under a reference derived from invoice and attempt. A retry of
//! the same attempt returns the stored charge, so that nothing is charged twice.

use chassis::{Call, PgConnection, Unit, field_error, wire};
use proto::payments::v1 as pb;
use values::{AccountId, ChargeId, InvoiceId, MethodId, Money, business_day};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::catalogue::Situation;
use crate::domain::movement::{Kind, Purpose, State, provider_key};
use crate::error::Error;
use crate::ops::{ask, payer};
use crate::store::movements::{self, Attempt, Movement};
use crate::store::{Tenant, accounts, disputes, enter, methods, outbox};

/// Maximum length of a return URL.
const URL_MAX: usize = 2_000;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CreateChargeRequest>,
) -> Result<pb::CreateChargeResponse, Error> {
    let asked = read(&call.message)?;
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    let charge = written_down(&ctx, &mut unit.tx, &call, &asked).await?;
    unit.commit_step().await?;
    // From here on the charge exists: a retry or the job finishes it.
    if !charge.provider_code.is_empty() {
        ask::send(&ctx, charge.root_id, charge.movement_id).await?;
    }
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    enter(&mut unit.tx, Tenant::Root(charge.root_id)).await?;
    let charge = movements::get(&mut unit.tx, charge.root_id, charge.movement_id)
        .await?
        .ok_or(Error::Stored("charge"))?;
    Ok(unit
        .commit(pb::CreateChargeResponse {
            charge: Some(convert::charge(&charge)?),
        })
        .await?)
}

/// A charge as requested.
struct Asked<'r> {
    account: AccountId,
    money: Money,
    method: Option<MethodId>,
    purpose: Purpose,
    invoice: InvoiceId,
    attempt: i32,
    plan: &'r str,
    cycle: &'r str,
}

fn read(request: &pb::CreateChargeRequest) -> Result<Asked<'_>, Error> {
    let url = request.return_url.as_str();
    let reads = url.starts_with("https://") && url.bytes().all(|b| b.is_ascii_graphic());
    if !url.is_empty() && (URL_MAX < url.len() || !reads) {
        return Err(field_error("return_url", "an https URL of at most 2000 characters").into());
    }
    Ok(Asked {
        account: wire::id("account_id", &request.account_id)?,
        money: convert::sum("amount", request.amount.as_ref())?,
        method: wire::optional_id("payment_method_id", &request.payment_method_id)?,
        purpose: convert::purpose(request.purpose)?,
        invoice: wire::id("invoice_id", &request.invoice_id)?,
        attempt: convert::attempt(request.attempt_number)?,
        plan: wire::optional_code("plan_code", &request.plan_code)?.unwrap_or_default(),
        cycle: wire::optional_code("billing_cycle_code", &request.billing_cycle_code)?
            .unwrap_or_default(),
    })
}

/// Stores the charge of the attempt, before the provider is asked (R1).
#[expect(
    clippy::too_many_lines,
    reason = "the row and its checks in the order in which they run"
)]
async fn written_down(
    ctx: &Ctx,
    db: &mut PgConnection,
    call: &Call<pb::CreateChargeRequest>,
    asked: &Asked<'_>,
) -> Result<Movement, Error> {
    let request = &call.message;
    let account = payer::entered(db, asked.account).await?;
    let root = account.root_id;
    // Payment methods can't change until the charge is stored.
    accounts::lock(db, root).await?;
    let attempt = Attempt {
        root,
        kind: Kind::Charge,
        subject: asked.invoice.uuid(),
        refund_key: "",
        number: asked.attempt,
    };
    // A stored charge is returned whatever has happened to its method or the catalogue since.
    if let Some(known) = movements::attempt(db, attempt).await? {
        return the_same(known, asked, request.unattended);
    }
    let method = match asked.method {
        Some(id) => methods::get(db, root, id.uuid())
            .await?
            .ok_or(Error::PaymentMethodNotFound(id))?,
        None => methods::default_of(db, root)
            .await?
            .ok_or(Error::NoPaymentMethod(asked.account))?,
    };
    let catalogue = ctx
        .catalogue(db, convert::version(&request.catalogue_version)?)
        .await?;
    let profile = payer::profile(&catalogue, &account)?;
    let offered = payer::method(&catalogue, "payment_method_id", &method.method_code)?;
    let due_on = offered.offline.then(|| {
        business_day(
            profile.zone.day(call.now),
            offered.business_days,
            &profile.holidays,
        )
    });
    let charge = Movement {
        root_id: root,
        movement_id: call.derived_id("charge"),
        kind: Kind::Charge,
        subject_id: asked.invoice.uuid(),
        refund_key: String::new(),
        attempt_number: asked.attempt,
        currency: asked.money.currency().code().to_owned(),
        amount_minor: asked.money.minor(),
        settled_minor: None,
        refunded_minor: 0,
        purpose: asked.purpose,
        plan_code: asked.plan.to_owned(),
        cycle_code: asked.cycle.to_owned(),
        method_id: method.method_id,
        method_code: method.method_code.clone(),
        provider_code: method.provider_code.clone(),
        provider_key: provider_key(asked.invoice.uuid(), Kind::Charge.as_str(), asked.attempt),
        provider_id: String::new(),
        unattended: request.unattended,
        return_url: request.return_url.clone(),
        state: if offered.offline {
            State::Pending
        } else {
            State::Created
        },
        failure_reason: String::new(),
        retryable: false,
        parked_reason: None,
        action_url: String::new(),
        due_on,
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
    if asked.money.currency() != profile.currency {
        return Err(Error::CurrencyDiffers(profile.currency.to_string()));
    }
    // A renewal may be for a plan that is no longer sold.
    let sold = !request.unattended && !asked.plan.is_empty();
    if sold && !catalogue.plans.iter().any(|it| it == asked.plan) {
        return Err(Error::PlanNotFound(asked.plan.to_owned()));
    }
    if method.removed_at.is_some() || method.is_expired(call.now) {
        let id = MethodId::from_uuid(method.method_id);
        return Err(Error::PaymentMethodNotUsable(id));
    }
    let situation = Situation {
        plan: asked.plan,
        cycle: asked.cycle,
        country: &account.country_code,
        purpose: asked.purpose,
    };
    if !offered.is_open_to(situation) {
        return Err(Error::MethodNotAvailable(method.method_code));
    }
    if request.unattended && !method.recurring {
        return Err(Error::MethodNotRecurring(method.method_code));
    }
    if request.unattended && disputes::method_contested(db, root, method.method_id).await? {
        let id = MethodId::from_uuid(method.method_id);
        return Err(Error::MethodContested(id));
    }
    if let Some(minimum) = offered.minimum
        && !offered.reaches_minimum(asked.money)
    {
        return Err(Error::BelowMethodMinimum {
            method: method.method_code,
            minimum: minimum.to_string(),
        });
    }
    if offered.offline != method.provider_code.is_empty() {
        // The method was added under another catalogue version, and nobody could settle the charge.
        return Err(Error::MethodNotAvailable(method.method_code));
    }
    if !offered.offline {
        // Nothing is stored that this process can't send.
        ctx.asked(&charge)?;
    }
    before_is_refused(db, &charge).await?;
    movements::insert(db, &charge, ctx.lease_seconds)
        .await
        .map_err(|error| {
            if chassis::is_violation_of(&error, "movements_one_key") {
                return field_error("invoice_id", "an invoice of this account").into();
            }
            Error::from(error)
        })?;
    outbox::insert(db, root, charge.movement_id).await?;
    movements::attempt(db, attempt)
        .await?
        .ok_or(Error::Stored("charge"))
}

/// The stored charge of an attempt, provided that the request has the same values.
fn the_same(known: Movement, asked: &Asked<'_>, unattended: bool) -> Result<Movement, Error> {
    let same = known.currency == asked.money.currency().code()
        && known.amount_minor == asked.money.minor()
        && known.purpose == asked.purpose
        && known.plan_code == asked.plan
        && known.cycle_code == asked.cycle
        && known.unattended == unattended
        && asked.method.is_none_or(|id| id.uuid() == known.method_id);
    if same {
        return Ok(known);
    }
    Err(Error::ChargeExists(ChargeId::from_uuid(known.movement_id)))
}

/// Allows a new attempt only after a definite refusal of the previous one (R3).
pub async fn before_is_refused(db: &mut PgConnection, new: &Movement) -> Result<(), Error> {
    if new.attempt_number == 1 {
        return Ok(());
    }
    let before = Attempt {
        number: new.attempt_number - 1,
        ..new.attempt()
    };
    let before = movements::attempt(db, before).await?;
    if before.is_some_and(|it| it.moved_nothing()) {
        return Ok(());
    }
    Err(Error::AttemptNotDeclined(new.attempt_number - 1))
}
