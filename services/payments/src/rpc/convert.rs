//! Conversion between the wire and the domain.

use chassis::{FieldError, field_error, wire};
use chrono::{DateTime, NaiveDate, Utc};
use proto::payments::v1 as pb;
use uuid::Uuid;
use values::{AccountId, ChargeId, Currency, DisputeId, InvoiceId, MethodId, Money, RefundId};

use crate::domain::movement::{ParkedReason, Purpose, State};
use crate::domain::{dispute, webhook};
use crate::error::Error;
use crate::store::disputes::Dispute;
use crate::store::methods::Method;
use crate::store::movements::Movement;

pub fn method(it: &Method, now: DateTime<Utc>) -> pb::PaymentMethod {
    let state = if it.removed_at.is_some() {
        pb::payment_method::State::Removed
    } else if it.is_expired(now) {
        pb::payment_method::State::Expired
    } else {
        pb::payment_method::State::Active
    };
    pb::PaymentMethod {
        payment_method_id: MethodId::from_uuid(it.method_id).to_string(),
        account_id: AccountId::from_uuid(it.root_id).to_string(),
        method_code: it.method_code.clone(),
        provider_code: it.provider_code.clone(),
        network_code: it.network_code.clone(),
        bank_code: it.bank_code.clone(),
        app_code: it.app_code.clone(),
        country_code: it.country_code.clone(),
        last_four: it.last_four.clone(),
        expiry_month: it.expiry_month.clone(),
        recurring: it.recurring,
        default_method: it.is_default,
        state: state.into(),
        create_time: Some(wire::timestamp(it.created_at)),
        off_session_allowed: it.off_session_allowed,
    }
}

pub fn charge(it: &Movement) -> Result<pb::Charge, Error> {
    let money = money_of(it)?;
    Ok(pb::Charge {
        charge_id: ChargeId::from_uuid(it.movement_id).to_string(),
        account_id: AccountId::from_uuid(it.root_id).to_string(),
        invoice_id: InvoiceId::from_uuid(it.subject_id).to_string(),
        attempt_number: it.attempt_number,
        amount: money(Some(it.amount_minor)),
        settled_amount: money(it.settled_minor),
        refunded_amount: money(Some(it.refunded_minor)),
        purpose: purpose_of(it.purpose).into(),
        payment_method_id: MethodId::from_uuid(it.method_id).to_string(),
        method_code: it.method_code.clone(),
        provider_code: it.provider_code.clone(),
        provider_charge_id: it.provider_id.clone(),
        provider_key: it.provider_key.to_string(),
        unattended: it.unattended,
        state: state(it.state).into(),
        failure_reason: it.failure_reason.clone(),
        retryable: it.retryable,
        parked_reason: parked_reason(it),
        action_url: it.action_url.clone(),
        expected_date: it.due_on.map(|day| day.to_string()).unwrap_or_default(),
        reference: it.reference.clone(),
        create_time: Some(wire::timestamp(it.created_at)),
        update_time: Some(wire::timestamp(it.updated_at)),
        settle_time: it.settled_at.map(wire::timestamp),
        overturn_time: it.overturned_at.map(wire::timestamp),
    })
}

pub fn refund(it: &Movement, today: NaiveDate) -> Result<pb::Refund, Error> {
    use pb::refund::{Progress, Route};
    let money = money_of(it)?;
    let progress = match it.state {
        State::Created => Progress::Pending,
        State::Sending | State::Pending | State::Unknown => Progress::Processing,
        State::Succeeded => Progress::Succeeded,
        State::Declined | State::FailedNotSent => Progress::Retrying,
        State::Parked => Progress::NeedsManual,
    };
    let route = if it.provider_code.is_empty() {
        Route::ManualBankTransfer
    } else {
        Route::OriginalMethod
    };
    Ok(pb::Refund {
        refund_id: RefundId::from_uuid(it.movement_id).to_string(),
        account_id: AccountId::from_uuid(it.root_id).to_string(),
        charge_id: if it.subject_id.is_nil() {
            String::new()
        } else {
            ChargeId::from_uuid(it.subject_id).to_string()
        },
        refund_key: it.refund_key.clone(),
        attempt_number: it.attempt_number,
        amount: money(Some(it.amount_minor)),
        settled_amount: money(it.settled_minor),
        route: route.into(),
        provider_code: it.provider_code.clone(),
        provider_refund_id: it.provider_id.clone(),
        provider_key: it.provider_key.to_string(),
        state: state(it.state).into(),
        progress: progress.into(),
        failure_reason: it.failure_reason.clone(),
        retryable: it.retryable,
        parked_reason: parked_reason(it),
        due_date: it.due_on.map(|day| day.to_string()).unwrap_or_default(),
        overdue: !it.state.is_final() && it.due_on.is_some_and(|day| day < today),
        create_time: Some(wire::timestamp(it.created_at)),
        update_time: Some(wire::timestamp(it.updated_at)),
        settle_time: it.settled_at.map(wire::timestamp),
        overturn_time: it.overturned_at.map(wire::timestamp),
    })
}

fn parked_reason(it: &Movement) -> String {
    it.parked_reason.map_or("", ParkedReason::as_str).to_owned()
}

/// The amounts of a movement in their wire form.
fn money_of(
    it: &Movement,
) -> Result<impl Fn(Option<i64>) -> Option<proto::r#type::v1::Money>, Error> {
    let currency: Currency = it.currency.parse().map_err(|_| Error::Stored("currency"))?;
    Ok(move |minor: Option<i64>| {
        minor.map(|minor| wire::pb_money(Money::from_minor(minor, currency)))
    })
}

/// A state in its wire form.
pub const fn state(state: State) -> pb::MovementState {
    match state {
        State::Created => pb::MovementState::Created,
        State::Sending => pb::MovementState::Sending,
        State::Pending => pb::MovementState::Pending,
        State::Succeeded => pb::MovementState::Succeeded,
        State::Declined => pb::MovementState::Declined,
        State::Unknown => pb::MovementState::Unknown,
        State::FailedNotSent => pb::MovementState::FailedNotSent,
        State::Parked => pb::MovementState::Parked,
    }
}

/// The state to filter by; `None` for any.
pub fn state_filter(sent: i32) -> Result<Option<State>, FieldError> {
    let bad = || field_error("state", "a MOVEMENT_STATE or unset");
    Ok(
        match pb::MovementState::try_from(sent).map_err(|_| bad())? {
            pb::MovementState::Unspecified => None,
            pb::MovementState::Created => Some(State::Created),
            pb::MovementState::Sending => Some(State::Sending),
            pb::MovementState::Pending => Some(State::Pending),
            pb::MovementState::Succeeded => Some(State::Succeeded),
            pb::MovementState::Declined => Some(State::Declined),
            pb::MovementState::Unknown => Some(State::Unknown),
            pb::MovementState::FailedNotSent => Some(State::FailedNotSent),
            pb::MovementState::Parked => Some(State::Parked),
        },
    )
}

/// Parses a purpose.
pub fn purpose(sent: i32) -> Result<Purpose, FieldError> {
    match pb::Purpose::try_from(sent) {
        Ok(pb::Purpose::Subscription) => Ok(Purpose::Subscription),
        Ok(pb::Purpose::Credits) => Ok(Purpose::Credits),
        Ok(pb::Purpose::Invoice) => Ok(Purpose::Invoice),
        Ok(pb::Purpose::Unspecified) | Err(_) => Err(field_error(
            "purpose",
            "PURPOSE_SUBSCRIPTION, PURPOSE_CREDITS or PURPOSE_INVOICE",
        )),
    }
}

const fn purpose_of(purpose: Purpose) -> pb::Purpose {
    match purpose {
        Purpose::Subscription => pb::Purpose::Subscription,
        Purpose::Credits => pb::Purpose::Credits,
        Purpose::Invoice => pb::Purpose::Invoice,
    }
}

/// Parses an amount above zero.
pub fn sum(field: &str, sent: Option<&proto::r#type::v1::Money>) -> Result<Money, FieldError> {
    let money = wire::money(field, sent)?;
    if money.minor() <= 0 {
        return Err(field_error(
            format!("{field}.amount"),
            "an amount above zero",
        ));
    }
    Ok(money)
}

/// Parses an attempt number, 1 to 1,000.
pub fn attempt(sent: i32) -> Result<i32, FieldError> {
    if (1..=1000).contains(&sent) {
        return Ok(sent);
    }
    Err(field_error("attempt_number", "1 to 1000"))
}

/// Parses a catalogue version, at most 32 characters; empty for the latest import.
pub fn version(text: &str) -> Result<&str, FieldError> {
    if text.is_empty() {
        Ok(text)
    } else {
        wire::text("catalogue_version", text, 32)
    }
}

/// Parses a country code; empty for none.
pub fn country<'a>(field: &str, text: &'a str) -> Result<&'a str, FieldError> {
    if text.is_empty() || (text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase())) {
        return Ok(text);
    }
    Err(field_error(field, "two upper-case letters, ISO 3166-1"))
}

/// The position in a page token: creation time and id.
pub fn position(text: &str) -> Option<(DateTime<Utc>, Uuid)> {
    let (micros, id) = text.split_once('.')?;
    let at = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
    Some((at, Uuid::try_parse(id).ok()?))
}

/// The page token after a row.
pub fn token(created_at: DateTime<Utc>, id: Uuid) -> String {
    format!("{}.{}", created_at.timestamp_micros(), id.simple())
}

pub fn dispute(it: &Dispute) -> Result<pb::Dispute, Error> {
    let currency: Currency = it.currency.parse().map_err(|_| Error::Stored("currency"))?;
    let money = |minor| Some(wire::pb_money(Money::from_minor(minor, currency)));
    Ok(pb::Dispute {
        dispute_id: DisputeId::from_uuid(it.dispute_id).to_string(),
        account_id: AccountId::from_uuid(it.root_id).to_string(),
        charge_id: ChargeId::from_uuid(it.charge_id).to_string(),
        provider_code: it.provider_code.clone(),
        provider_dispute_id: it.provider_id.clone(),
        amount: money(it.amount_minor),
        withheld_amount: money(it.withheld_minor),
        fee_amount: None,
        dispute_reason: it.reason.clone(),
        state: dispute_state(it.state).into(),
        evidence_due_time: it.evidence_due_at.map(wire::timestamp),
        create_time: Some(wire::timestamp(it.created_at)),
        update_time: Some(wire::timestamp(it.updated_at)),
    })
}

const fn dispute_state(state: dispute::State) -> pb::dispute::State {
    use pb::dispute::State;
    match state {
        dispute::State::Inquiry => State::Inquiry,
        dispute::State::Open => State::Open,
        dispute::State::Won => State::Won,
        dispute::State::Lost => State::Lost,
        dispute::State::Withdrawn => State::Withdrawn,
    }
}

/// The state of disputes to filter by; `None` for any.
pub fn dispute_filter(sent: i32) -> Result<Option<dispute::State>, FieldError> {
    use pb::dispute::State;
    let bad = || field_error("state", "the state of a dispute");
    Ok(match State::try_from(sent).map_err(|_| bad())? {
        State::Unspecified => None,
        State::Inquiry => Some(dispute::State::Inquiry),
        State::Open => Some(dispute::State::Open),
        State::Won => Some(dispute::State::Won),
        State::Lost => Some(dispute::State::Lost),
        State::Withdrawn => Some(dispute::State::Withdrawn),
    })
}

/// The state of a webhook event in its wire form.
pub const fn webhook_state(state: webhook::State) -> pb::webhook_event::State {
    use pb::webhook_event::State;
    match state {
        webhook::State::Received => State::Received,
        webhook::State::Processed => State::Processed,
        webhook::State::Ignored => State::Ignored,
        webhook::State::Failed => State::Failed,
    }
}

/// The state of webhook events to filter by; `None` for any.
pub fn webhook_filter(sent: i32) -> Result<Option<webhook::State>, FieldError> {
    use pb::webhook_event::State;
    let bad = || field_error("state", "the state of an event");
    Ok(match State::try_from(sent).map_err(|_| bad())? {
        State::Unspecified => None,
        State::Received => Some(webhook::State::Received),
        State::Processed => Some(webhook::State::Processed),
        State::Ignored => Some(webhook::State::Ignored),
        State::Failed => Some(webhook::State::Failed),
    })
}
