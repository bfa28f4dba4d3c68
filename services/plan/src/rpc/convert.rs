//! Conversion between the wire and the domain.

use std::collections::BTreeMap;

use chassis::wire::{pb_amount, pb_money, timestamp};
use chrono::{DateTime, Utc};
use proto::plan::v1 as pb;
use values::{AccountId, ContractOfferId, Money, Rounding};

use super::get_current_plan::{Current, cycle_price};
use crate::domain::catalogue::{
    AutoRechargePolicy, Catalogue, Charge, Family, Issuer, KycTerms, Plan, Profile, Rates, Tax,
};
use crate::domain::catalogue_version::State;
use crate::domain::change::{Direction, Effect};
use crate::domain::timeline::Segment;
use crate::error::Error;
use crate::store;
use crate::store::add_ons::AddOn;
use crate::store::contract_offers::Offer;

pub fn version(stored: &store::catalogues::Stored) -> pb::Catalogue {
    let state = match stored.state {
        State::Imported => pb::catalogue::State::Imported,
        State::Active => pb::catalogue::State::Active,
        State::Retired => pb::catalogue::State::Retired,
    };
    pb::Catalogue {
        version: stored.version.clone(),
        digest: stored.digest.clone(),
        state: state.into(),
        effective_time: Some(timestamp(stored.effective_at)),
        import_time: Some(timestamp(stored.imported_at)),
        ..pb::Catalogue::default()
    }
}

pub fn catalogue(stored: &store::catalogues::Stored, catalogue: &Catalogue) -> pb::Catalogue {
    pb::Catalogue {
        families: catalogue.families.values().map(family).collect(),
        plans: catalogue
            .plans
            .iter()
            .map(|it| plan(catalogue, it))
            .collect(),
        profiles: catalogue.profiles.values().map(profile).collect(),
        issuers: catalogue.issuers.values().map(issuer).collect(),
        invoice_retention_years: catalogue.invoice_retention_years,
        document: stored.document.clone(),
        rates: catalogue.rates.as_ref().map(rates),
        taxes: catalogue.taxes.iter().map(tax).collect(),
        kyc: catalogue.kyc.as_ref().map(kyc),
        support_hours: catalogue.support_hours.as_ref().map(|it| pb::SupportHours {
            days_code: it.days.clone(),
            opening_time_of_day: it.opens.clone(),
            closing_time_of_day: it.closes.clone(),
            time_zone: it.zone.name().to_owned(),
        }),
        priorities: catalogue
            .priorities
            .iter()
            .map(|it| pb::Priority {
                priority_code: it.code.clone(),
                display_name: it.name.clone(),
                production_only: it.production_only,
            })
            .collect(),
        ..version(stored)
    }
}

fn family(family: &Family) -> pb::Family {
    let billing_mode = if family.in_arrears {
        pb::family::BillingMode::Arrears
    } else {
        pb::family::BillingMode::Advance
    };
    let rounding = match family.rounding {
        Rounding::HalfEven => pb::family::Rounding::HalfEven,
        Rounding::HalfUp | Rounding::Down => pb::family::Rounding::HalfUp,
    };
    let run_schedule = match (family.in_arrears, family.runs_automatically) {
        (false, _) => pb::family::RunSchedule::Unspecified,
        (true, true) => pb::family::RunSchedule::Automatic,
        (true, false) => pb::family::RunSchedule::Manual,
    };
    pb::Family {
        family_code: family.code.clone(),
        currency_code: family.currency.to_string(),
        time_zone: family.zone.name().to_owned(),
        billing_mode: billing_mode.into(),
        excluded_categories: family.excluded_categories.clone(),
        prorated_daily: family.prorated_daily,
        rounding: rounding.into(),
        usage_grace_hours: family.usage_grace_hours,
        run_approval_required: family.run_approval_required,
        default_plan_code: family.default_plan.clone(),
        confirmations_required: family.confirmations_required,
        quote_ttl_minutes: family.quote_ttl_minutes,
        renewal_retry_days: family.renewal_retry_days.clone(),
        run_schedule: run_schedule.into(),
    }
}

fn profile(profile: &Profile) -> pb::Profile {
    let permissions = profile
        .permissions
        .iter()
        .map(|(action, roles)| pb::profile::Permission {
            action_code: action.clone(),
            role_codes: roles.clone(),
        });
    pb::Profile {
        profile_code: profile.code.clone(),
        currency_code: profile.currency.to_string(),
        time_zone: profile.zone.name().to_owned(),
        family_codes: profile.families.clone(),
        role_codes: profile.roles.clone(),
        permissions: permissions.collect(),
        max_subaccounts: profile.max_subaccounts.unwrap_or(0),
        max_trial_accounts: profile.max_trial_accounts,
        max_resources: profile.max_resources,
        trial: profile.trial.as_ref().map(|it| pb::TrialPolicy {
            duration_days: it.duration_days,
            credit: Some(pb_amount(it.credit)),
            max_whitelisted_numbers: it.max_whitelisted,
            max_trial_numbers: it.max_numbers,
        }),
        kyc_gate_codes: profile.kyc_gates.clone(),
        dlt_country_codes: profile.dlt_countries.clone(),
        checklist_codes: profile.checklist.clone(),
        limited: profile.limited.as_ref().map(|it| pb::LimitedPolicy {
            denied_codes: it.denied.clone(),
            number_hold_days: it.number_hold_days,
            charges_rental: it.charges_rental,
        }),
        close: profile.close.as_ref().map(|it| pb::ClosePolicy {
            invoiced_by_operator: it.invoiced_by_operator,
            blocked_suspension_reason_codes: it.blocked_suspension_reasons.clone(),
            reauth_max_age_minutes: it.reauth_max_age_minutes,
            full_option_codes: it.full_options.clone(),
            trial_acknowledgement_codes: it.trial_acknowledgements.clone(),
            data_purge_days: it.data_purge_days,
        }),
        soft_close: profile.soft_close.as_ref().map(|it| pb::SoftClosePolicy {
            release_kind_codes: it.release_kinds.clone(),
            cancel_kind_codes: it.cancel_kinds.clone(),
        }),
        invoiced: Some(pb::InvoicedPolicy {
            net_days: profile.invoiced.net_days,
            reminder_days: profile.invoiced.reminder_days.clone(),
        }),
        consume_order: profile.consume_order.clone(),
        issuer_code: profile.issuer.clone(),
        balance: Some(pb::BalancePolicy {
            notify_below: Some(pb_amount(profile.balance.notify_below)),
            at_zero_code: profile.balance.at_zero.as_str().to_owned(),
            trial_on_upgrade_code: profile.balance.trial_on_upgrade.as_str().to_owned(),
            expire_when_not_paid_days: profile.balance.expire_when_not_paid_days,
            numbers_at_risk_after_days: profile.balance.numbers_at_risk_after_days,
        }),
        refund: profile.refund.as_ref().map(|it| pb::RefundPolicy {
            fee_bps: it.fee_bps,
            minimum: Some(pb_money(it.minimum)),
            due_business_days: it.due_business_days,
            window_days: it.window_days,
            tax_treatment_code: it.tax_treatment.as_str().to_owned(),
        }),
        auto_recharge: profile.auto_recharge.as_ref().map(auto_recharge),
    }
}

fn auto_recharge(it: &AutoRechargePolicy) -> pb::AutoRechargePolicy {
    pb::AutoRechargePolicy {
        mode_code: it.mode.as_str().to_owned(),
        default_threshold: Some(pb_amount(it.default_threshold)),
        min_threshold: Some(pb_amount(it.min_threshold)),
        default_amount: Some(pb_amount(it.default_amount)),
        max_per_month: it.max_per_month,
        invoiced: it.invoiced,
        no_recurring_card_countries: it.no_recurring_card_countries.clone(),
        default_maximum: Some(pb_amount(it.default_maximum)),
        pause_minutes: it.pause_minutes,
    }
}

fn kyc(kyc: &KycTerms) -> pb::KycTerms {
    let documents = |country: &str, codes: &[String]| pb::kyc_terms::Documents {
        country_code: country.to_owned(),
        document_codes: codes.to_vec(),
    };
    pb::KycTerms {
        review_business_days: kyc.review_business_days,
        documents: vec![
            documents("IN", &kyc.documents_in),
            documents("", &kyc.documents_elsewhere),
        ],
        file_type_codes: kyc.file_types.clone(),
        max_bytes: kyc.max_bytes,
    }
}

fn rates(rates: &Rates) -> pb::Rates {
    pb::Rates {
        currency_code: rates.sms_per_part.currency().to_string(),
        voice_pulse_seconds: rates.voice_pulse_seconds,
        voice_per_pulse: Some(pb_amount(rates.voice_per_pulse)),
        sms_per_part: Some(pb_amount(rates.sms_per_part)),
        number_rentals: rates
            .number_rentals
            .iter()
            .map(|(kind, price)| pb::rates::NumberRental {
                number_type_code: kind.clone(),
                monthly_price: Some(pb_money(*price)),
            })
            .collect(),
    }
}

fn tax(tax: &Tax) -> pb::Tax {
    pb::Tax {
        country_code: tax.country.clone(),
        rate_bps: tax.rate_bps,
        same_state_codes: tax.same_state.clone(),
        other_state_codes: tax.other_state.clone(),
        export_bps: tax.export_bps,
        display_name: tax.name.clone(),
        line_codes: tax
            .line_codes
            .iter()
            .map(|(kind, code)| pb::tax::LineCode {
                kind_code: kind.clone(),
                hsn_sac_code: code.clone(),
            })
            .collect(),
        states: tax
            .states
            .iter()
            .map(|(code, name)| pb::tax::State {
                state_code: code.clone(),
                display_name: name.clone(),
            })
            .collect(),
    }
}

fn issuer(issuer: &Issuer) -> pb::Issuer {
    pb::Issuer {
        issuer_code: issuer.code.clone(),
        display_name: issuer.name.clone(),
        address: issuer.address.clone(),
        tax_id: issuer.tax_id.clone(),
        country_code: issuer.country.clone(),
        state_code: issuer.state_code.clone(),
        fiscal_year_start_month: issuer.fiscal_year_start_month,
        holiday_dates: issuer.holidays.iter().map(ToString::to_string).collect(),
        number_prefix: issuer.number_prefix.clone(),
        tax_id_label: issuer.tax_id_label.clone(),
        invoice_title: issuer.invoice_title.clone(),
        reverse_charge_note: issuer.reverse_charge_note.clone(),
        export_statement: issuer.export_statement.clone(),
        signature_note: issuer.signature_note.clone(),
    }
}

pub fn plan(catalogue: &Catalogue, plan: &Plan) -> pb::Plan {
    let responses = plan.responses.iter().map(|response| pb::ResponseTarget {
        priority_code: response.priority.clone(),
        minutes: response.minutes,
        always: response.always,
    });
    pb::Plan {
        family_code: plan.family.clone(),
        plan_code: plan.code.clone(),
        catalogue_version: catalogue.version.clone(),
        display_name: display_name(&plan.code),
        rank: plan.rank,
        charge: plan.charge.as_ref().map(charge),
        channels: plan.channels.clone(),
        response_targets: responses.collect(),
        self_serve_purchase: plan.self_serve_purchase,
        self_serve_cancel: plan.self_serve_cancel,
        action_label: plan.action_label.clone(),
        available: plan.available,
        entitlements: entitlements(catalogue, &plan.entitlements),
        quote_only: plan.quote_only,
        contact: plan.contact.clone(),
        minimum_initial_credit: plan.minimum_initial_credit.map(pb_money),
        cycles: cycles(catalogue, plan),
        monthly_minimum: plan
            .monthly_minimum
            .filter(|minimum| 0 < minimum.minor())
            .map(pb_money),
        contract_terms_months: plan.contract_terms_months.clone(),
        technical_account_manager: plan.account_manager,
    }
}

/// The billing cycles by which a plan can be paid, shortest first.
fn cycles(catalogue: &Catalogue, plan: &Plan) -> Vec<pb::Cycle> {
    let by_contract = plan.quote_only && plan.monthly_minimum.is_none();
    let priced = plan.monthly_minimum.is_some_and(|it| 0 < it.minor());
    let Some(family) = catalogue
        .families
        .get(&plan.family)
        .filter(|_| priced || by_contract)
    else {
        return Vec::new();
    };
    let mut cycles: Vec<_> = family.cycles.iter().collect();
    cycles.sort_by_key(|(_, cycle)| cycle.months);
    cycles
        .into_iter()
        .map(|(code, cycle)| pb::Cycle {
            billing_cycle_code: code.clone(),
            months: i32::try_from(cycle.months).unwrap_or(i32::MAX),
            discount_bps: i32::try_from(cycle.discount_bps).unwrap_or(i32::MAX),
            price: cycle_price(plan, None, *cycle)
                .ok()
                .flatten()
                .map(|(price, _)| pb_money(price)),
        })
        .collect()
}

/// A code as a display name: "Production flat" for `production_flat`.
fn display_name(code: &str) -> String {
    let spaced = code.replace('_', " ");
    let mut letters = spaced.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn charge(charge: &Charge) -> pb::Charge {
    match charge {
        Charge::Free => pb::Charge {
            model: pb::charge::Model::Free.into(),
            ..pb::Charge::default()
        },
        Charge::Flat(amount) => pb::Charge {
            model: pb::charge::Model::Flat.into(),
            amount: Some(pb_money(*amount)),
            ..pb::Charge::default()
        },
        Charge::Percent {
            tiers,
            minimum,
            maximum,
        } => pb::Charge {
            model: pb::charge::Model::PercentWithMinimum.into(),
            tiers: tiers
                .iter()
                .map(|tier| pb::charge::Tier {
                    up_to: tier.up_to.map(pb_amount),
                    rate_bps: tier.rate_bps,
                })
                .collect(),
            minimum: Some(pb_money(*minimum)),
            maximum: maximum.map(pb_money),
            amount: None,
        },
    }
}

pub fn entitlements(catalogue: &Catalogue, all: &BTreeMap<String, String>) -> Vec<pb::Entitlement> {
    all.iter()
        .map(|(code, value)| entitlement(catalogue, code, value))
        .collect()
}

pub fn entitlement(catalogue: &Catalogue, code: &str, value: &str) -> pb::Entitlement {
    let kind = catalogue
        .features
        .get(code)
        .map_or("", |feature| feature.kind().as_str());
    pb::Entitlement {
        feature_code: code.to_owned(),
        value: value.to_owned(),
        kind: kind.to_owned(),
        figure: catalogue
            .features
            .get(code)
            .and_then(|feature| feature.figure(value))
            .unwrap_or_default()
            .to_owned(),
    }
}

pub fn segment(current: &Current) -> Result<pb::Segment, Error> {
    let it = &current.segment;
    let (cycle, anchor) = it.cycle.clone().unzip();
    let months = current.cycle().map_or(0, |(cycle, _)| cycle.months);
    let (price, formula) = current.cycle_price_in_words()?.unzip();
    Ok(pb::Segment {
        account_id: current.root.to_string(),
        family_code: current.family.clone(),
        plan_code: it.plan_code.clone(),
        catalogue_version: it.catalogue_version.clone(),
        start_time: Some(timestamp(it.start_at)),
        end_time: it.end_at.map(timestamp),
        contract_id: it.contract.map(|id| id.to_string()).unwrap_or_default(),
        payer_account_id: it.payer.to_string(),
        billing_cycle_code: cycle.unwrap_or_default(),
        order_id: it.order.map(|id| id.to_string()).unwrap_or_default(),
        anchor_date: anchor.map(|day| day.to_string()).unwrap_or_default(),
        cycle_price: price.map(pb_money),
        cycle_formula: formula.unwrap_or_default(),
        cycle_months: i32::try_from(months).unwrap_or(i32::MAX),
    })
}

/// A segment of a family without billing cycles, whose terms need not be looked up.
pub fn plain_segment(root: AccountId, family: &str, segment: &Segment) -> pb::Segment {
    pb::Segment {
        account_id: root.to_string(),
        family_code: family.to_owned(),
        plan_code: segment.plan_code.clone(),
        catalogue_version: segment.catalogue_version.clone(),
        start_time: Some(timestamp(segment.start_at)),
        end_time: segment.end_at.map(timestamp),
        contract_id: segment
            .contract
            .map(|id| id.to_string())
            .unwrap_or_default(),
        payer_account_id: segment.payer.to_string(),
        order_id: segment.order.map(|id| id.to_string()).unwrap_or_default(),
        ..pb::Segment::default()
    }
}

/// A pending segment, as a change from the one before it.
pub fn pending(before: Option<&Segment>, segment: &Segment) -> pb::PendingChange {
    let cycle = |segment: &Segment| segment.cycle.clone().map(|(code, _)| code);
    let changed = before.and_then(cycle) != cycle(segment);
    pb::PendingChange {
        from_plan_code: before.map(|it| it.plan_code.clone()).unwrap_or_default(),
        to_plan_code: segment.plan_code.clone(),
        billing_cycle_code: cycle(segment).filter(|_| changed).unwrap_or_default(),
        effective_time: Some(timestamp(segment.start_at)),
    }
}

pub fn offer(
    offer: &Offer,
    catalogue: &Catalogue,
    now: DateTime<Utc>,
) -> Result<pb::ContractOffer, Error> {
    let state = match offer.accepted_at {
        Some(_) => pb::contract_offer::State::Accepted,
        None if offer.expires_at <= now => pb::contract_offer::State::Expired,
        None => pb::contract_offer::State::Open,
    };
    let currency = offer.currency.parse();
    let currency = currency.map_err(|_| Error::StoredPlan(offer.plan_code.clone()))?;
    let entitlements = offer.entitlements.0.iter();
    Ok(pb::ContractOffer {
        offer_id: ContractOfferId::from_uuid(offer.offer_id).to_string(),
        account_id: AccountId::from_uuid(offer.root_id).to_string(),
        plan_code: offer.plan_code.clone(),
        monthly_minimum: Some(pb_money(Money::from_minor(offer.minimum_minor, currency))),
        term_months: offer.term_months,
        entitlements: entitlements
            .map(|(code, value)| entitlement(catalogue, code, value))
            .collect(),
        expire_time: Some(timestamp(offer.expires_at)),
        state: state.into(),
    })
}

pub fn contract(
    contract: &store::contracts::Contract,
    members: &[store::contracts::Member],
) -> pb::Contract {
    pb::Contract {
        contract_id: values::ContractId::from_uuid(contract.contract_id).to_string(),
        family_code: contract.family_code.clone(),
        plan_code: contract.plan_code.clone(),
        catalogue_version: contract.catalogue_version.clone(),
        payer_account_id: AccountId::from_uuid(contract.payer_id).to_string(),
        create_time: Some(timestamp(contract.created_at)),
        members: members
            .iter()
            .map(|member| pb::contract::Member {
                account_id: AccountId::from_uuid(member.root_id).to_string(),
                join_time: Some(timestamp(member.joined_at)),
                leave_time: member.left_at.map(timestamp),
            })
            .collect(),
    }
}

pub fn effect(effect: Effect) -> pb::change::Effect {
    match effect {
        Effect::Immediate => pb::change::Effect::Immediate,
        Effect::ImmediateOnPayment => pb::change::Effect::ImmediateOnPayment,
        Effect::NextCycle => pb::change::Effect::NextCycle,
        Effect::NextRenewal => pb::change::Effect::NextRenewal,
    }
}

pub fn direction(direction: Direction) -> pb::change::Direction {
    match direction {
        Direction::Upgrade => pb::change::Direction::Upgrade,
        Direction::Downgrade => pb::change::Direction::Downgrade,
        Direction::Lateral => pb::change::Direction::Lateral,
    }
}

pub fn add_on(from: &AddOn) -> Result<pb::AddOn, Error> {
    let currency = from.currency.parse();
    let currency = currency.map_err(|_| Error::StoredPlan(from.add_on_code.clone()))?;
    Ok(pb::AddOn {
        add_on_code: from.add_on_code.clone(),
        monthly_price: Some(pb_money(Money::from_minor(from.monthly_minor, currency))),
        start_time: Some(timestamp(from.start_at)),
        end_time: from.end_at.map(timestamp),
    })
}
