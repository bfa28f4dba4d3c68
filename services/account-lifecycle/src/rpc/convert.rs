//! Conversion between the wire and the store.

use chassis::wire::{pb_amount, pb_money, timestamp};
use chrono::{DateTime, Utc};
use proto::account::v1 as pb;
use proto::billing::v1 as billing;
use proto::plan::v1 as plan;
use proto::r#type::v1::Money;
use serde_json::Value;
use values::{
    AccountId, Currency, InvoiceId, KycId, MethodId, NotificationId, OrderId, RegistrationId,
    ResourceId, TicketId, UserId, WhitelistedId,
};

use crate::domain::account::{AccountType, Mode, Status, Suspension};
use crate::domain::closing::{self, CloseOption};
use crate::domain::kyc::KycState;
use crate::domain::notice::{self, Reader};
use crate::domain::notification;
use crate::domain::order::{Effect, OrderKind, State};
use crate::domain::purchase::{Line, LineKind, Loss};
use crate::domain::whitelist::{self, Listed};
use crate::error::Error;
use crate::store::accounts::Account;
use crate::store::closings::Closing;
use crate::store::dlt_registrations::Registration;
use crate::store::kyc_submissions::Submission;
use crate::store::members::Member;
use crate::store::notifications::Notification;
use crate::store::orders::Order;
use crate::store::resources::Resource;
use crate::store::tickets::Ticket;
use crate::store::transitions::Transition;
use crate::store::users::User;

pub fn account(from: &Account, now: DateTime<Utc>) -> pb::Account {
    let r#type = match from.r#type {
        AccountType::Trial => pb::account::Type::Trial,
        AccountType::Full => pb::account::Type::Full,
    };
    let mode = if from.invoiced {
        pb::account::BillingMode::Invoiced
    } else {
        pb::account::BillingMode::Prepaid
    };
    pb::Account {
        account_id: AccountId::from_uuid(from.account_id).to_string(),
        parent_account_id: from
            .parent_id
            .map(|id| AccountId::from_uuid(id).to_string())
            .unwrap_or_default(),
        profile_code: from.profile_code.clone(),
        display_name: from.display_name.clone(),
        owner_user_id: UserId::from_uuid(from.owner_id).to_string(),
        r#type: r#type.into(),
        status: match from.status() {
            Status::Active => pb::account::Status::Active,
            Status::Suspended => pb::account::Status::Suspended,
            Status::Closed => pb::account::Status::Closed,
        }
        .into(),
        suspension_reasons: if from.closed_at.is_some() {
            Vec::new()
        } else {
            from.suspensions
                .iter()
                .map(|it| suspension(*it).into())
                .collect()
        },
        mode: match from.mode(now) {
            Mode::Normal => pb::account::Mode::Normal,
            Mode::Dormant => pb::account::Mode::Dormant,
            Mode::Limited => pb::account::Mode::Limited,
        }
        .into(),
        billing_mode: mode.into(),
        create_time: Some(timestamp(from.created_at)),
        currency_code: from.currency.clone(),
        limit_reason: match from.mode(now) {
            Mode::Normal | Mode::Dormant => String::new(),
            Mode::Limited => from.limit_reason.as_str().to_owned(),
        },
        kyc_state: kyc_state(from.kyc_state).into(),
        trial_end_time: from.trial_end_at.map(timestamp),
        upgrade_time: from.upgraded_at.map(timestamp),
        live_time: from.live_at.map(timestamp),
        ..pb::Account::default()
    }
}

const fn suspension(reason: Suspension) -> pb::account::SuspensionReason {
    match reason {
        Suspension::Balance => pb::account::SuspensionReason::Balance,
        Suspension::Fraud => pb::account::SuspensionReason::Fraud,
        Suspension::Parent => pb::account::SuspensionReason::Parent,
        Suspension::Terms => pb::account::SuspensionReason::Terms,
    }
}

/// An account with its closing.
pub fn closed(
    from: &Account,
    closing: Option<&Closing>,
    now: DateTime<Utc>,
) -> Result<pb::Account, Error> {
    let closing = closing.filter(|_| from.closed_at.is_some());
    Ok(pb::Account {
        closing: closing.map(self::closing).transpose()?,
        ..account(from, now)
    })
}

pub const fn close_option(option: CloseOption) -> pb::closing::Option {
    match option {
        CloseOption::Close => pb::closing::Option::Close,
        CloseOption::DeleteAll => pb::closing::Option::DeleteAllDataAndSettings,
        CloseOption::KeepData => pb::closing::Option::KeepAccountData,
    }
}

pub fn closing(from: &Closing) -> Result<pb::Closing, Error> {
    let currency: Currency = from
        .currency
        .parse()
        .map_err(|_| Error::Stored("currency of a closing"))?;
    let money =
        |minor: i64| (0 < minor).then(|| pb_money(values::Money::from_minor(minor, currency)));
    let state = match from.state {
        closing::State::Preparing => pb::closing::State::Preparing,
        closing::State::Ending => pb::closing::State::Ending,
        closing::State::Closed => pb::closing::State::Settling,
        closing::State::Done => pb::closing::State::Done,
        closing::State::Aborting => pb::closing::State::Aborting,
    };
    let forfeited = from.forfeited_micros;
    Ok(pb::Closing {
        option: close_option(from.option).into(),
        close_time: Some(timestamp(from.close_at)),
        purge_time: Some(timestamp(from.purge_at)),
        refund_amount: money(from.refund_minor),
        refund_due_date: from.due_on.map(|day| day.to_string()).unwrap_or_default(),
        refund_ids: from.refund_ids.clone(),
        settlement_amount: money(from.settlement_minor),
        forfeited_amount: (0 < forfeited)
            .then(|| pb_amount(values::Amount::from_micros(forfeited, currency))),
        actor: from.actor.clone(),
        erase_time: from.erased_at.map(timestamp),
        wait_reason: from.wait_reason.clone(),
        account_id: AccountId::from_uuid(from.account_id).to_string(),
        state: state.into(),
    })
}

pub const fn kyc_state(state: KycState) -> pb::kyc_submission::State {
    use pb::kyc_submission::State;
    match state {
        KycState::NotSubmitted => State::NotSubmitted,
        KycState::Pending => State::Pending,
        KycState::InReview => State::InReview,
        KycState::Approved => State::Approved,
        KycState::Rejected => State::Rejected,
        KycState::AdditionalInfoRequired => State::AdditionalInfoRequired,
        KycState::Withdrawn => State::Withdrawn,
    }
}

pub fn kyc_submission(from: &Submission) -> pb::KycSubmission {
    let documents = from.documents.as_array().into_iter().flatten();
    let text = |it: &Value, key: &str| {
        let text = it.get(key).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    pb::KycSubmission {
        kyc_id: KycId::from_uuid(from.kyc_id).to_string(),
        account_id: AccountId::from_uuid(from.root_id).to_string(),
        state: kyc_state(from.state).into(),
        country_code: from.country_code.clone(),
        legal_name: from.legal_name.clone(),
        signatory_is_director: from.signatory_is_director,
        documents: documents
            .map(|it| pb::KycDocument {
                document_code: text(it, "code"),
                file_name: text(it, "file_name"),
                file_type_code: text(it, "file_type"),
                size_bytes: it.get("size_bytes").and_then(Value::as_i64).unwrap_or(0),
                digest: text(it, "digest"),
            })
            .collect(),
        submit_time: Some(timestamp(from.submitted_at)),
        review_due_date: if from.state.is_undecided() {
            from.review_due_on.to_string()
        } else {
            String::new()
        },
        review_time: from.reviewed_at.map(timestamp),
        reviewer: from.reviewer.clone(),
        reason: from.reason.clone(),
    }
}

pub fn transition(from: Transition) -> pb::Transition {
    pb::Transition {
        account_id: AccountId::from_uuid(from.account_id).to_string(),
        sequence: from.sequence,
        state_code: from.state_code,
        resource_id: from.resource_id,
        transition_code: from.transition_code,
        from_code: from.from_code,
        to_code: from.to_code,
        actor: from.actor,
        reason: from.reason,
        transition_time: Some(timestamp(from.at)),
    }
}

pub fn pending_change(from: plan::PendingChange) -> pb::PendingChange {
    pb::PendingChange {
        from_plan_code: from.from_plan_code,
        to_plan_code: from.to_plan_code,
        billing_cycle_code: from.billing_cycle_code,
        effective_time: from.effective_time,
    }
}

pub fn user(from: &User) -> pb::User {
    pb::User {
        user_id: UserId::from_uuid(from.user_id).to_string(),
        email: from.email.clone(),
        display_name: from.display_name.clone(),
        create_time: Some(timestamp(from.created_at)),
        delete_time: None,
    }
}

pub fn member(from: &Member) -> pb::Member {
    pb::Member {
        account_id: AccountId::from_uuid(from.account_id).to_string(),
        user_id: UserId::from_uuid(from.user_id).to_string(),
        role_code: from.role_code.clone(),
        grant_time: Some(timestamp(from.granted_at)),
    }
}

/// An order as it is at `now`: a quote that was not committed in time has expired.
pub fn order(from: &Order, now: DateTime<Utc>) -> pb::Order {
    let state = match from.standing().at(now) {
        State::Quoted => pb::order::State::Quoted,
        // A commit that has not requested the payment yet is shown as confirmed.
        State::Confirmed | State::Committing => pb::order::State::Confirmed,
        State::AwaitingPayment => pb::order::State::AwaitingPayment,
        State::AwaitingSettlement => pb::order::State::AwaitingSettlement,
        State::Completed => pb::order::State::Completed,
        State::Failed => pb::order::State::Failed,
        State::Expired => pb::order::State::Expired,
        State::Cancelled => pb::order::State::Cancelled,
    };
    let effect = match from.effect {
        Effect::Immediate => pb::order::Effect::Immediate,
        Effect::ImmediateOnPayment => pb::order::Effect::ImmediateOnPayment,
        Effect::NextCycle => pb::order::Effect::NextCycle,
        Effect::NextRenewal => pb::order::Effect::NextRenewal,
    };
    pb::Order {
        order_id: OrderId::from_uuid(from.order_id).to_string(),
        account_id: AccountId::from_uuid(from.account_id).to_string(),
        kind: order_kind(from.kind()).into(),
        state: state.into(),
        from_plan_code: from.from_plan_code.clone(),
        to_plan_code: from.to_plan_code.clone(),
        family_code: from.family_code.clone(),
        effect: effect.into(),
        effective_time: from.effective_at.map(timestamp),
        billing_date: from
            .billing_on
            .map(|day| day.to_string())
            .unwrap_or_default(),
        lines: from.lines.iter().map(line).collect(),
        warnings: from.warnings.clone(),
        confirmations_required: from.confirmations_required,
        confirmations_given: from.confirmations_given,
        action_label: from.action_label.clone(),
        catalogue_version: from.catalogue_version.clone(),
        create_time: Some(timestamp(from.created_at)),
        expire_time: Some(timestamp(from.expires_at)),
        complete_time: from.completed_at.map(timestamp),
        failure_reason: from.failure_reason.clone(),
        billing_cycle_code: from.billing_cycle_code.clone(),
        commit_time: from.committed_at.map(timestamp),
        actor: from.actor.clone(),
        total: from.total(),
        estimated_total: from.estimated_total(),
        losses: from.purchase.losses().iter().map(loss).collect(),
        payment_method_id: from
            .method_id
            .map(|id| MethodId::from_uuid(id).to_string())
            .unwrap_or_default(),
        invoice_id: from
            .invoice_id
            .map(|id| InvoiceId::from_uuid(id).to_string())
            .unwrap_or_default(),
        resource_id: from
            .resource_id
            .map(|id| ResourceId::from_uuid(id).to_string())
            .unwrap_or_default(),
        ..pb::Order::default()
    }
}

const fn order_kind(kind: OrderKind) -> pb::order::Kind {
    match kind {
        OrderKind::PlanChange => pb::order::Kind::PlanChange,
        OrderKind::BuyCredits => pb::order::Kind::BuyCredits,
        OrderKind::Upgrade => pb::order::Kind::Upgrade,
        OrderKind::BuyNumber => pb::order::Kind::BuyNumber,
        OrderKind::AddOn => pb::order::Kind::AddOn,
        OrderKind::RefundRequest => pb::order::Kind::RefundRequest,
        OrderKind::PayRenewal => pb::order::Kind::PayRenewal,
        OrderKind::PayInvoice => pb::order::Kind::PayInvoice,
    }
}

fn line(from: &Line) -> pb::order::Line {
    pb::order::Line {
        description: from.description.clone(),
        amount: Some(pb_money(from.money)),
        estimated: from.estimated,
        kind_code: from.kind.as_str().to_owned(),
    }
}

fn loss(from: &Loss) -> pb::Feature {
    pb::Feature {
        feature_code: from.feature_code.clone(),
        kind: from.kind.clone(),
        value: from.value.clone(),
    }
}

/// The sum of order lines; `None` without lines.
fn sum<'a>(lines: impl Iterator<Item = &'a Line>) -> Option<Money> {
    let mut total: Option<values::Money> = None;
    for line in lines {
        total = Some(match total {
            Some(sum) => sum.plus(line.money).ok()?,
            None => line.money,
        });
    }
    total.map(pb_money)
}

impl Order {
    /// Sum of the lines that are not estimated, tax included; `None` without such lines.
    pub fn total(&self) -> Option<Money> {
        sum(self.lines.iter().filter(|it| !it.estimated))
    }

    /// Sum of all lines of a plan change of which some are estimated, tax included; `None` for other orders.
    fn estimated_total(&self) -> Option<Money> {
        let estimated = self.lines.iter().any(|it| it.estimated);
        if estimated && self.kind() == OrderKind::PlanChange {
            sum(self.lines.iter())
        } else {
            None
        }
    }

    /// The lines as text for people: description and amount.
    pub fn in_words(&self) -> Vec<String> {
        let words = |it: &Line| {
            let currency = it.money.currency().code();
            format!("{}, {currency} {}", it.description, it.money)
        };
        self.lines.iter().map(words).collect()
    }

    /// The lines to be paid, without tax and without estimates.
    pub fn payable(&self) -> Vec<billing::CollectionLine> {
        let lines = self.lines.iter();
        let lines = lines.filter(|it| !it.estimated && it.kind.is_collected());
        lines.map(|it| self.collected(it)).collect()
    }

    /// A line as `billing` collects it.
    fn collected(&self, line: &Line) -> billing::CollectionLine {
        let plain = billing::CollectionLine {
            amount: Some(pb_money(line.money)),
            formula: line.description.clone(),
            kind: line.kind.as_str().to_owned(),
            ..billing::CollectionLine::default()
        };
        if line.kind != LineKind::Subscription {
            return plain;
        }
        billing::CollectionLine {
            plan_code: self.to_plan_code.clone(),
            billing_cycle_code: self.billing_cycle_code.clone(),
            family_code: self.family_code.clone(),
            cycle_months: line.months,
            cycle_end_date: line.until.clone(),
            ..plain
        }
    }
}

pub fn ticket(from: &Ticket) -> pb::Ticket {
    pb::Ticket {
        ticket_id: TicketId::from_uuid(from.ticket_id).to_string(),
        account_id: AccountId::from_uuid(from.account_id).to_string(),
        channel_code: from.channel_code.clone(),
        priority_code: from.priority_code.clone(),
        subject: from.subject.clone(),
        plan_code: from.plan_code.clone(),
        platform_plan_code: from.platform_plan_code.clone(),
        response_minutes: from.response_minutes,
        response_always: from.response_always,
        create_time: Some(timestamp(from.created_at)),
        support_priority_code: from.support_priority_code.clone(),
    }
}

pub fn offer(plan: plan::Plan, current: bool) -> pb::PlanOffer {
    let features = plan.entitlements.into_iter().map(|it| pb::Feature {
        feature_code: it.feature_code,
        value: it.value,
        kind: it.kind,
    });
    pb::PlanOffer {
        charge: plan.charge.as_ref().map(charge).unwrap_or_default(),
        features: features.collect(),
        plan_code: plan.plan_code,
        display_name: plan.display_name,
        rank: plan.rank,
        channels: plan.channels,
        current,
        action_label: plan.action_label,
        minimum_initial_credit: plan.minimum_initial_credit,
        contact: plan.contact,
        monthly_minimum: plan.monthly_minimum,
        cycles: plan
            .cycles
            .into_iter()
            .map(|it| pb::plan_offer::Cycle {
                billing_cycle_code: it.billing_cycle_code,
                months: it.months,
                discount_bps: it.discount_bps,
                price: it.price,
            })
            .collect(),
    }
}

/// A charge as text: "6% of usage, at least 1500.00 USD a month".
fn charge(from: &plan::Charge) -> String {
    let money = |money: &Option<Money>| {
        money
            .as_ref()
            .map(|it| format!("{} {}", it.amount, it.currency_code))
            .unwrap_or_default()
    };
    match from.model() {
        plan::charge::Model::Unspecified => String::new(),
        plan::charge::Model::Free => "free".to_owned(),
        plan::charge::Model::Flat => format!("{} a month", money(&from.amount)),
        plan::charge::Model::PercentWithMinimum => {
            let tiers: Vec<String> = from
                .tiers
                .iter()
                .map(|tier| {
                    let (whole, rest) = (tier.rate_bps / 100, tier.rate_bps % 100);
                    let rate = if rest == 0 {
                        format!("{whole}%")
                    } else {
                        format!("{whole}.{rest:02}%")
                    };
                    match &tier.up_to {
                        Some(bound) => format!("{rate} up to {}", bound.amount),
                        None => format!("{rate} of usage"),
                    }
                })
                .collect();
            let most = from
                .maximum
                .as_ref()
                .map(|it| format!(", at most {} {}", it.amount, it.currency_code))
                .unwrap_or_default();
            format!(
                "{}, at least {}{most} a month",
                tiers.join(", then "),
                money(&from.minimum)
            )
        }
    }
}

/// A resource; a number is shown with its release time.
pub fn resource(from: &Resource, numbers_release_at: Option<DateTime<Utc>>) -> pb::Resource {
    let number = matches!(from.kind_code.as_str(), "PHONE_NUMBER" | "TRIAL_NUMBER");
    pb::Resource {
        resource_id: ResourceId::from_uuid(from.resource_id).to_string(),
        account_id: AccountId::from_uuid(from.account_id).to_string(),
        kind_code: from.kind_code.clone(),
        sid: from.sid.clone(),
        display_name: from.display_name.clone(),
        document: from.document.clone(),
        digest: hex(&from.digest),
        create_time: Some(timestamp(from.created_at)),
        release_time: numbers_release_at.filter(|_| number).map(timestamp),
    }
}

pub fn dlt_registration(from: &Registration) -> pb::DltRegistration {
    pb::DltRegistration {
        dlt_registration_id: RegistrationId::from_uuid(from.registration_id).to_string(),
        account_id: AccountId::from_uuid(from.root_id).to_string(),
        country_code: from.country_code.clone(),
        entity_id: from.entity_id.clone(),
        headers: from.headers.clone(),
        create_time: Some(timestamp(from.created_at)),
        revoke_time: from.revoked_at.map(timestamp),
    }
}

pub fn whitelisted_number(from: &Listed) -> pb::WhitelistedNumber {
    use pb::whitelisted_number::State;
    let state = from.state();
    pb::WhitelistedNumber {
        whitelisted_number_id: WhitelistedId::from_uuid(from.number_id).to_string(),
        account_id: AccountId::from_uuid(from.account_id).to_string(),
        number: from.number.clone(),
        state: match state {
            whitelist::State::Pending => State::Pending,
            whitelist::State::Verified => State::Verified,
        }
        .into(),
        create_time: Some(timestamp(from.created_at)),
        verify_time: from.verified_at.map(timestamp),
        code_expire_time: (state == whitelist::State::Pending)
            .then(|| timestamp(from.code_expires_at)),
    }
}

pub fn notification(from: &Notification, reader: &Reader) -> Result<pb::Notification, Error> {
    use pb::notification::State;
    let facts = from.facts();
    let erased = from.email.is_empty() && facts.is_empty();
    let subject = if erased {
        String::new()
    } else {
        notice::subject(from.kind_code, reader, &facts)
            .map_err(|_| Error::Stored("facts of a notification"))?
    };
    Ok(pb::Notification {
        notification_id: NotificationId::from_uuid(from.notification_id).to_string(),
        account_id: AccountId::from_uuid(from.account_id).to_string(),
        kind_code: from.kind_code.as_str().to_owned(),
        email: from.email.clone(),
        subject,
        facts: facts
            .into_iter()
            .map(|(name, value)| pb::notification::Fact {
                name: name.to_owned(),
                value: value.to_owned(),
            })
            .collect(),
        state: match from.state {
            notification::State::Pending => State::Pending,
            notification::State::Sent => State::Sent,
            notification::State::Failed => State::Failed,
        }
        .into(),
        attempt_count: from.attempt_count,
        create_time: Some(timestamp(from.created_at)),
        send_time: from.sent_at.map(timestamp),
    })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
