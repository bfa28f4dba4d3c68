//! Calls of `plan`, `billing` and `payments`: each with an id derived from the row that asks.

use std::collections::HashMap;

use chassis::retried;
use chassis::wire::{self, timestamp};
use chrono::{DateTime, Utc};
use proto::billing::v1 as billing;
use proto::payments::v1 as payments;
use proto::plan::v1 as plan;
use proto::r#type::v1::{Amount as WireAmount, Money};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;
use values::{AccountId, CollectionId, InvoiceId, MethodId, OrderId, RentalId, TicketId};

use crate::ctx::Ctx;
use crate::domain::account::Account;
use crate::domain::billing_details::BillingDetails;
use crate::domain::closing::Closing;
use crate::domain::order::Order;
use crate::error::Error;

/// What account-lifecycle needs of a profile.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The currency of its ledger.
    pub currency: String,
    /// Its roles, the owner's first.
    pub roles: Vec<String>,
    /// Which roles may do what.
    pub permissions: HashMap<String, Vec<String>>,
    /// How many subaccounts a root may have; `None` for no bound.
    pub max_subaccounts: Option<i64>,
    /// Whether it has plans that are paid in advance: a trial upgrades to one first (D5).
    pub upgrades: bool,
    /// The zone of its business days.
    pub time_zone: String,
    /// Days that are no business days.
    pub holidays: Vec<String>,
    /// Days that a trial lasts; `None` where it has no end.
    pub trial_days: Option<i64>,
    /// What needs an approved KYC.
    pub kyc_gates: Vec<String>,
    /// Self-checks before an upgrade.
    pub checklist: Vec<String>,
    /// What is asked to be known as a customer.
    pub kyc: Option<plan::KycTerms>,
    /// Its families.
    pub families: Vec<String>,
    /// How its accounts are closed; `None` where operators only do.
    pub close: Option<plan::ClosePolicy>,
    /// How its accounts become dormant; `None` where they do not.
    pub soft_close: Option<plan::SoftClosePolicy>,
    /// Whether an empty balance suspends an account (REQ-132).
    pub suspends_at_zero: bool,
    /// What a limited account may not do.
    pub limited_denies: Vec<String>,
    /// Countries to which messages need a registration.
    pub dlt_countries: Vec<String>,
    /// Numbers that a trial may call or text at most; `None` for no bound.
    pub max_whitelisted: Option<i64>,
    /// Days without a paid plan after which paid credit expires (C-21); 0 for never.
    pub lapse_days: i64,
    /// Days for which a limited account holds its numbers, and one with an empty balance; `None` for ever.
    pub hold_days: (Option<i32>, Option<i32>),
    /// Numbers of its own that a trial has at most; `None` where its plan says.
    pub trial_numbers: Option<i64>,
    /// The credit that a trial begins with.
    pub trial_credit: Option<WireAmount>,
}

/// Calls a method of a client, again while the service is away.
macro_rules! ask {
    ($client:expr, $method:ident, $request:expr) => {{
        let request = $request;
        let ask = || {
            let (mut client, request) = ($client.clone(), request.clone());
            async move { client.$method(request).await }
        };
        retried(ask).await.map(tonic::Response::into_inner)
    }};
}

impl Ctx {
    /// The profile `code` of the catalogue in force.
    pub async fn profile(&self, code: &str) -> Result<Option<Profile>, Status> {
        let answer = ask!(
            self.plan,
            get_catalogue,
            plan::GetCatalogueRequest::default()
        )?;
        let catalogue = answer.catalogue.unwrap_or_default();
        let in_advance = |code: &String| {
            let family = catalogue.families.iter().find(|it| it.family_code == *code);
            let mode = family.map(plan::Family::billing_mode);
            mode == Some(plan::family::BillingMode::Advance)
        };
        let found = catalogue
            .profiles
            .iter()
            .find(|profile| profile.profile_code == code)
            .cloned();
        let holidays = |issuer: &str| {
            let found = catalogue.issuers.iter().find(|it| it.issuer_code == issuer);
            found.map(|it| it.holiday_dates.clone()).unwrap_or_default()
        };
        Ok(found.map(|profile| Profile {
            upgrades: profile.family_codes.iter().any(in_advance),
            holidays: holidays(&profile.issuer_code),
            time_zone: profile.time_zone,
            trial_days: profile.trial.as_ref().map(|it| i64::from(it.duration_days)),
            max_whitelisted: profile.trial.as_ref().and_then(|it| {
                let most = i64::from(it.max_whitelisted_numbers);
                (0 < most).then_some(most)
            }),
            trial_numbers: profile.trial.as_ref().and_then(|it| {
                let most = i64::from(it.max_trial_numbers);
                (0 < most).then_some(most)
            }),
            trial_credit: profile.trial.and_then(|it| it.credit),
            hold_days: {
                let days = |days: i32| (0 < days).then_some(days);
                let limited = profile.limited.as_ref().map(|it| it.number_hold_days);
                let empty = profile.balance.as_ref();
                let empty = empty.map(|it| it.numbers_at_risk_after_days);
                (limited.and_then(days), empty.and_then(days))
            },
            limited_denies: profile.limited.unwrap_or_default().denied_codes,
            dlt_countries: profile.dlt_country_codes,
            kyc_gates: profile.kyc_gate_codes,
            checklist: profile.checklist_codes,
            kyc: catalogue.kyc.clone(),
            families: profile.family_codes,
            close: profile.close,
            soft_close: profile.soft_close,
            lapse_days: profile
                .balance
                .as_ref()
                .map_or(0, |it| i64::from(it.expire_when_not_paid_days)),
            suspends_at_zero: profile
                .balance
                .is_some_and(|balance| balance.at_zero_code == "SUSPEND"),
            currency: profile.currency_code,
            roles: profile.role_codes,
            permissions: profile
                .permissions
                .into_iter()
                .map(|it| (it.action_code, it.role_codes))
                .collect(),
            max_subaccounts: (0 < profile.max_subaccounts)
                .then_some(i64::from(profile.max_subaccounts)),
        }))
    }

    /// The profile of an account.
    pub async fn profile_of(&self, account: &Account) -> Result<Profile, Error> {
        let code = &account.profile_code;
        self.profile(code)
            .await?
            .ok_or_else(|| Error::ProfileNotFound(code.clone()))
    }

    /// Opens an account in the three other services (D1); safe to repeat.
    pub async fn open_elsewhere(&self, account: &Account) -> Result<(), Status> {
        let account_id = AccountId::from_uuid(account.account_id).to_string();
        let parent_account_id = account
            .parent_id
            .map(|id| AccountId::from_uuid(id).to_string())
            .unwrap_or_default();
        let profile_code = account.profile_code.clone();
        let create_time = Some(timestamp(account.created_at));
        let request_id = derived(account.account_id, "open");
        ask!(
            self.plan,
            open_account,
            plan::OpenAccountRequest {
                account_id: account_id.clone(),
                parent_account_id: parent_account_id.clone(),
                profile_code: profile_code.clone(),
                create_time,
                request_id: request_id.clone(),
            }
        )?;
        let mode = if account.invoiced {
            billing::BillingMode::Invoiced
        } else {
            billing::BillingMode::Prepaid
        };
        ask!(
            self.billing,
            open_account,
            billing::OpenAccountRequest {
                account_id: account_id.clone(),
                parent_account_id: parent_account_id.clone(),
                profile_code: profile_code.clone(),
                billing_mode: mode.into(),
                create_time,
                request_id: request_id.clone(),
            }
        )?;
        ask!(
            self.payments,
            open_account,
            payments::OpenAccountRequest {
                account_id,
                parent_account_id,
                profile_code,
                create_time,
                request_id,
            }
        )?;
        Ok(())
    }

    /// What a change would do.
    pub async fn preview_change(
        &self,
        request: plan::PreviewChangeRequest,
    ) -> Result<plan::Change, Status> {
        let answer = ask!(self.plan, preview_change, request)?;
        answer.change.ok_or_else(chassis::internal)
    }

    /// The invoice of a month as it would be with a change.
    pub async fn preview_invoice(
        &self,
        request: billing::PreviewInvoiceRequest,
    ) -> Result<billing::Invoice, Status> {
        let answer = ask!(self.billing, preview_invoice, request)?;
        answer.invoice.ok_or_else(chassis::internal)
    }

    /// Whether the change of an order would still be what was quoted.
    pub async fn holds(&self, order: &Order) -> Result<bool, Status> {
        let request = plan::PreviewChangeRequest {
            account_id: AccountId::from_uuid(order.account_id).to_string(),
            family_code: order.family_code.clone(),
            plan_code: order.to_plan_code.clone(),
            billing_cycle_code: order.billing_cycle_code.clone(),
            actor: actor(order.by_operator).into(),
        };
        let change = self.preview_change(request).await?;
        Ok(change.timeline_etag == order.timeline_etag
            && change.catalogue_version == order.catalogue_version)
    }

    /// Applies the change of an order, exactly as quoted; once it is paid, whatever has changed since. Safe
    /// to repeat.
    pub async fn apply_change(&self, order: &Order, paid: bool) -> Result<plan::Segment, Status> {
        let request = plan::ApplyChangeRequest {
            account_id: AccountId::from_uuid(order.account_id).to_string(),
            family_code: order.family_code.clone(),
            plan_code: order.to_plan_code.clone(),
            billing_cycle_code: order.billing_cycle_code.clone(),
            actor: actor(order.by_operator).into(),
            timeline_etag: order.timeline_etag.clone(),
            catalogue_version: order.catalogue_version.clone(),
            order_id: OrderId::from_uuid(order.order_id).to_string(),
            // Paid, it is put in force once whatever the request; a refusal must not be answered for ever.
            request_id: if paid {
                Uuid::now_v7().to_string()
            } else {
                derived(order.order_id, "apply")
            },
            paid,
            offer_id: order.offer_id.clone(),
        };
        let answer = ask!(self.plan, apply_change, request)?;
        answer.segment.ok_or_else(chassis::internal)
    }

    /// What lines would cost, tax included.
    pub async fn preview_collection(
        &self,
        request: billing::PreviewCollectionRequest,
    ) -> Result<billing::PreviewCollectionResponse, Status> {
        ask!(self.billing, preview_collection, request)
    }

    /// Asks for the payment of an order, exactly as quoted; safe to repeat.
    pub async fn collect(&self, order: &Order) -> Result<billing::Collection, Status> {
        let method = order
            .method_id
            .map(|id| MethodId::from_uuid(id).to_string());
        if order.kind == "PAY_RENEWAL" {
            let request = billing::CollectRenewalRequest {
                account_id: AccountId::from_uuid(order.root_id).to_string(),
                collection_id: order.item("collection").to_owned(),
                payment_method_id: method.unwrap_or_default(),
                amount: order.total(),
                request_id: derived(order.order_id, "collect"),
            };
            let answer = ask!(self.billing, collect_renewal, request)?;
            return answer.collection.ok_or_else(chassis::internal);
        }
        let request = billing::CollectOrderRequest {
            account_id: AccountId::from_uuid(order.root_id).to_string(),
            order_id: OrderId::from_uuid(order.order_id).to_string(),
            payment_method_id: method.unwrap_or_default(),
            lines: if order.kind == "PAY_INVOICE" {
                Vec::new()
            } else {
                order.payable()
            },
            amount: order.total(),
            invoice_id: order.item("invoice").to_owned(),
            request_id: derived(order.order_id, "collect"),
        };
        let answer = ask!(self.billing, collect_order, request)?;
        answer.collection.ok_or_else(chassis::internal)
    }

    /// How the payment of an order stands.
    pub async fn collection(&self, id: CollectionId) -> Result<billing::Collection, Status> {
        let request = billing::GetCollectionRequest {
            collection_id: id.to_string(),
        };
        let answer = ask!(self.billing, get_collection, request)?;
        answer.collection.ok_or_else(chassis::internal)
    }

    /// Tells billing and payments where an account is taxed, and whom its invoices go to; safe to repeat.
    pub async fn tell_billing_details(
        &self,
        details: &BillingDetails,
        invoiced: bool,
    ) -> Result<(), Status> {
        let account_id = AccountId::from_uuid(details.root_id).to_string();
        let request_id = derived(details.root_id, &format!("details {}", details.revision));
        let mode = if invoiced {
            billing::BillingMode::Invoiced
        } else {
            billing::BillingMode::Prepaid
        };
        let tax_id = match details.tax_id.as_str() {
            "" => String::new(),
            id => format!("Tax ID {id}"),
        };
        let block = [&details.recipient_name, &details.address, &tax_id];
        let block: Vec<&str> = block
            .iter()
            .map(|part| part.as_str())
            .filter(|part| !part.is_empty())
            .collect();
        ask!(
            self.billing,
            update_account_facts,
            billing::UpdateAccountFactsRequest {
                account_id: account_id.clone(),
                billing_mode: mode.into(),
                country_code: details.country_code.clone(),
                state_code: details.state_code.clone(),
                recipient: block.join("\n"),
                request_id: request_id.clone(),
                export_supply: Some(details.export_supply),
                details_revision: details.revision,
            }
        )?;
        if !details.country_code.is_empty() {
            ask!(
                self.payments,
                update_account_facts,
                payments::UpdateAccountFactsRequest {
                    account_id,
                    country_code: details.country_code.clone(),
                    request_id,
                }
            )?;
        }
        Ok(())
    }

    /// Whether the plan in force, now or at a past instant, allows any of a feature, or one more beside `used`.
    pub async fn entitlement(
        &self,
        account: AccountId,
        (feature, used): (&str, i64),
        at: Option<DateTime<Utc>>,
    ) -> Result<plan::CheckEntitlementResponse, Status> {
        let request = plan::CheckEntitlementRequest {
            account_id: account.to_string(),
            feature_code: feature.to_owned(),
            level: String::new(),
            used_count: used,
            effective_time: at.map(timestamp),
        };
        ask!(self.plan, check_entitlement, request)
    }

    /// What a root account can spend, or could at a past instant, less what it owed, in millionths.
    pub async fn balance(&self, root: Uuid, at: Option<DateTime<Utc>>) -> Result<i64, Error> {
        let request = billing::GetBalanceRequest {
            account_id: AccountId::from_uuid(root).to_string(),
            read_time: at.map(timestamp),
        };
        let balance = ask!(self.billing, get_balance, request)?.balance;
        let balance = balance.ok_or(Error::Stored("amount of billing"))?;
        let read = wire::amount("balance", &balance);
        Ok(read
            .map_err(|_| Error::Stored("amount of billing"))?
            .micros())
    }

    /// An invoice as a PDF.
    pub async fn rendered(&self, invoice: InvoiceId) -> Result<Vec<u8>, Status> {
        let request = billing::RenderInvoiceRequest {
            invoice_id: invoice.to_string(),
        };
        Ok(ask!(self.billing, render_invoice, request)?.pdf.to_vec())
    }

    /// An invoice.
    pub async fn invoice(&self, invoice: InvoiceId) -> Result<billing::Invoice, Status> {
        let request = billing::GetInvoiceRequest {
            invoice_id: invoice.to_string(),
        };
        let answer = ask!(self.billing, get_invoice, request)?;
        answer.invoice.ok_or_else(chassis::internal)
    }

    /// Grants a root account the credit that its trial begins with; safe to repeat.
    pub async fn grant_trial_credit(
        &self,
        account: &Account,
        credit: WireAmount,
    ) -> Result<(), Status> {
        let request = billing::GrantCreditRequest {
            priority: 0,
            account_id: AccountId::from_uuid(account.account_id).to_string(),
            kind: billing::lot::Kind::Trial.into(),
            amount: Some(credit),
            expire_time: account.trial_end_at.map(timestamp),
            reason: "trial".to_owned(),
            request_id: derived(account.account_id, "trial credit"),
        };
        match ask!(self.billing, grant_credit, request) {
            // Granted by a try before, with the figure of then.
            Err(status) if reason(&status) == "REQUEST_ID_REUSED" => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Stamps a ticket with the plan in force; safe to repeat.
    pub async fn stamp_ticket(
        &self,
        account: AccountId,
        ticket: Uuid,
        priority: &str,
    ) -> Result<plan::TicketStamp, Status> {
        let request = plan::StampTicketRequest {
            account_id: account.to_string(),
            ticket_id: TicketId::from_uuid(ticket).to_string(),
            priority_code: priority.to_owned(),
            request_id: derived(ticket, "stamp"),
        };
        let answer = ask!(self.plan, stamp_ticket, request)?;
        answer.ticket_stamp.ok_or_else(chassis::internal)
    }

    /// The plans that an account may choose.
    pub async fn available_plans(
        &self,
        account: AccountId,
        family: &str,
    ) -> Result<plan::ListAvailablePlansResponse, Status> {
        let request = plan::ListAvailablePlansRequest {
            account_id: account.to_string(),
            family_code: family.to_owned(),
        };
        ask!(self.plan, list_available_plans, request)
    }

    /// The plan in force.
    pub async fn current_plan(
        &self,
        account: AccountId,
        family: &str,
    ) -> Result<plan::GetCurrentPlanResponse, Status> {
        let request = plan::GetCurrentPlanRequest {
            account_id: account.to_string(),
            family_code: family.to_owned(),
        };
        ask!(self.plan, get_current_plan, request)
    }

    /// The whole timeline of an account in a family.
    pub async fn segments(
        &self,
        account: AccountId,
        family: &str,
    ) -> Result<Vec<plan::Segment>, Status> {
        let request = plan::ListSegmentsRequest {
            account_id: account.to_string(),
            family_code: family.to_owned(),
        };
        let answer = ask!(self.plan, list_segments, request)?;
        Ok(answer.segments)
    }

    /// How the payment of a plan stands that is paid in advance; `None` where nothing is.
    pub async fn subscription(
        &self,
        account: AccountId,
        family: &str,
    ) -> Result<Option<billing::Subscription>, Status> {
        let request = billing::GetSubscriptionRequest {
            account_id: account.to_string(),
            family_code: family.to_owned(),
        };
        match ask!(self.billing, get_subscription, request) {
            Ok(answer) => Ok(answer.subscription),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Switches auto-recharge on, with the profile's figures; safe to repeat.
    pub async fn recharge_by(&self, order: &Order) -> Result<(), Status> {
        let request = billing::SetAutoRechargeRequest {
            account_id: AccountId::from_uuid(order.root_id).to_string(),
            auto_recharge: Some(billing::AutoRecharge {
                enabled: true,
                payment_method_id: order
                    .method_id
                    .map(|id| MethodId::from_uuid(id).to_string())
                    .unwrap_or_default(),
                ..billing::AutoRecharge::default()
            }),
            request_id: derived(order.order_id, "recharge"),
        };
        ask!(self.billing, set_auto_recharge, request).map(|_| ())
    }

    /// Changes that have not taken effect yet.
    pub async fn pending_changes(
        &self,
        account: AccountId,
        family: &str,
    ) -> Result<Vec<plan::PendingChange>, Status> {
        let request = plan::ListPendingChangesRequest {
            account_id: account.to_string(),
            family_code: family.to_owned(),
        };
        let answer = ask!(self.plan, list_pending_changes, request)?;
        Ok(answer.pending_changes)
    }

    /// Withdraws the pending change; safe to repeat.
    pub async fn withdraw_change(
        &self,
        account: AccountId,
        family: &str,
        request_id: Uuid,
    ) -> Result<(), Status> {
        let request = plan::WithdrawChangeRequest {
            account_id: account.to_string(),
            family_code: family.to_owned(),
            request_id: request_id.to_string(),
        };
        ask!(self.plan, withdraw_change, request).map(|_| ())
    }

    /// Takes back a cancellation; safe to repeat.
    pub async fn undo_cancellation(
        &self,
        account: AccountId,
        family: &str,
        request_id: Uuid,
    ) -> Result<(), Status> {
        let request = plan::UndoCancellationRequest {
            account_id: account.to_string(),
            family_code: family.to_owned(),
            request_id: request_id.to_string(),
        };
        ask!(self.plan, undo_cancellation, request).map(|_| ())
    }

    /// Switches the billing cycle from the next renewal; safe to repeat.
    pub async fn switch_billing_cycle(
        &self,
        account: AccountId,
        (family, cycle): (&str, &str),
        request_id: Uuid,
    ) -> Result<plan::PendingChange, Status> {
        let request = plan::SwitchBillingCycleRequest {
            account_id: account.to_string(),
            family_code: family.to_owned(),
            billing_cycle_code: cycle.to_owned(),
            request_id: request_id.to_string(),
        };
        let answer = ask!(self.plan, switch_billing_cycle, request)?;
        answer.pending_change.ok_or_else(chassis::internal)
    }

    /// The contracts that an account is in and pays for.
    pub async fn pays_for(&self, account: AccountId) -> Result<bool, Status> {
        let request = plan::ListContractsRequest {
            account_id: account.to_string(),
            page_size: 500,
            page_token: String::new(),
        };
        let answer = ask!(self.plan, list_contracts, request)?;
        let payer = account.to_string();
        Ok(answer.contracts.iter().any(|it| {
            let of = |member: &plan::contract::Member| member.account_id == payer;
            let open = it
                .members
                .iter()
                .any(|it| of(it) && it.leave_time.is_none());
            it.payer_account_id == payer && open
        }))
    }

    /// Ends the timelines of an account; safe to repeat.
    pub async fn close_plans(&self, closing: &Closing) -> Result<(), Status> {
        let request = plan::CloseAccountRequest {
            account_id: AccountId::from_uuid(closing.account_id).to_string(),
            close_time: Some(timestamp(closing.close_at)),
            // Closed once whatever the request; a refusal must not be answered for ever.
            request_id: Uuid::now_v7().to_string(),
        };
        ask!(self.plan, close_account, request).map(|_| ())
    }

    /// What closing would settle and refund; unless `dry_run` the balance stands still from here on. Safe to
    /// repeat.
    pub async fn prepare_closing(
        &self,
        root: Uuid,
        close_at: DateTime<Utc>,
        dry_run: bool,
    ) -> Result<billing::PrepareClosingResponse, Status> {
        let request = billing::PrepareClosingRequest {
            account_id: AccountId::from_uuid(root).to_string(),
            close_time: Some(timestamp(close_at)),
            dry_run,
            // The instant makes it safe to repeat; a refusal must not be answered for ever.
            request_id: Uuid::now_v7().to_string(),
        };
        ask!(self.billing, prepare_closing, request)
    }

    /// Settles and refunds what was prepared; safe to repeat.
    pub async fn settle_closing(
        &self,
        closing: &Closing,
    ) -> Result<billing::SettleClosingResponse, Status> {
        let request = billing::SettleClosingRequest {
            account_id: AccountId::from_uuid(closing.root_id).to_string(),
            // Settled once whatever the request; a refusal must not be answered for ever.
            request_id: Uuid::now_v7().to_string(),
        };
        ask!(self.billing, settle_closing, request)
    }

    /// Gives a balance free that was frozen; safe to repeat.
    pub async fn abort_closing(&self, closing: &Closing) -> Result<(), Status> {
        let step = format!("abort {}", closing.close_at.timestamp_micros());
        let request = billing::AbortClosingRequest {
            account_id: AccountId::from_uuid(closing.root_id).to_string(),
            close_time: Some(timestamp(closing.close_at)),
            request_id: derived(closing.root_id, &step),
        };
        ask!(self.billing, abort_closing, request).map(|_| ())
    }

    /// Has the other services erase their parts of a closed account, and with a root of its subaccounts; gives what
    /// each erased and what it keeps. Safe to repeat.
    pub async fn erase_elsewhere(
        &self,
        account: Uuid,
    ) -> Result<Vec<(&'static str, (Vec<String>, Vec<String>))>, Status> {
        let account_id = AccountId::from_uuid(account).to_string();
        // Erased once whatever the request; a refusal must not be answered for ever.
        let request_id = Uuid::now_v7().to_string();
        let of_plan = ask!(
            self.plan,
            erase_account,
            plan::EraseAccountRequest {
                account_id: account_id.clone(),
                request_id: request_id.clone(),
            }
        )?;
        let of_billing = ask!(
            self.billing,
            erase_account,
            billing::EraseAccountRequest {
                account_id: account_id.clone(),
                request_id: request_id.clone(),
            }
        )?;
        let of_payments = ask!(
            self.payments,
            erase_account,
            payments::EraseAccountRequest {
                account_id,
                request_id,
            }
        )?;
        Ok(vec![
            ("plan", (of_plan.erased, of_plan.kept)),
            ("billing", (of_billing.erased, of_billing.kept)),
            ("payments", (of_payments.erased, of_payments.kept)),
        ])
    }

    /// What numbers cost a month by their kind; none where they are not priced in `currency`.
    pub async fn number_rentals(&self, currency: &str) -> Result<HashMap<String, Money>, Status> {
        let answer = ask!(
            self.plan,
            get_catalogue,
            plan::GetCatalogueRequest::default()
        )?;
        let rates = answer.catalogue.unwrap_or_default().rates;
        let rates = rates.filter(|it| it.currency_code == currency);
        let all = rates.into_iter().flat_map(|it| it.number_rentals);
        let priced = all.filter_map(|it| Some((it.number_type_code, it.monthly_price?)));
        Ok(priced.collect())
    }

    /// What an add-on would be; changes nothing.
    pub async fn add_on_would_be(
        &self,
        account: AccountId,
        code: &str,
    ) -> Result<plan::AddOn, Status> {
        let request = plan::AddAddOnRequest {
            account_id: account.to_string(),
            add_on_code: code.to_owned(),
            request_id: Uuid::now_v7().to_string(),
            validate_only: true,
        };
        let answer = ask!(self.plan, add_add_on, request)?;
        answer.add_on.ok_or_else(chassis::internal)
    }

    /// Books an add-on for an order; safe to repeat.
    pub async fn add_add_on(
        &self,
        account: AccountId,
        code: &str,
        order: Uuid,
    ) -> Result<(), Status> {
        let request = plan::AddAddOnRequest {
            account_id: account.to_string(),
            add_on_code: code.to_owned(),
            request_id: derived(order, "add-on"),
            validate_only: false,
        };
        ask!(self.plan, add_add_on, request).map(|_| ())
    }

    /// Takes back an add-on that an order has booked; safe to repeat.
    pub async fn remove_add_on(
        &self,
        account: AccountId,
        code: &str,
        order: Uuid,
    ) -> Result<(), Status> {
        let request = plan::RemoveAddOnRequest {
            account_id: account.to_string(),
            add_on_code: code.to_owned(),
            request_id: derived(order, "no add-on"),
        };
        ask!(self.plan, remove_add_on, request).map(|_| ())
    }

    /// Begins to rent what an order buys; safe to repeat.
    pub async fn start_rental(&self, order: &Order, rental: billing::Rental) -> Result<(), Status> {
        let request = billing::StartRentalRequest {
            account_id: AccountId::from_uuid(order.root_id).to_string(),
            rental: Some(rental),
            request_id: derived(order.order_id, "rental"),
        };
        ask!(self.billing, start_rental, request).map(|_| ())
    }

    /// Ends the rental of a resource; safe to repeat.
    pub async fn end_rental(&self, root: Uuid, resource: Uuid) -> Result<(), Status> {
        let request = billing::EndRentalRequest {
            account_id: AccountId::from_uuid(root).to_string(),
            rental_id: RentalId::from_uuid(resource).to_string(),
            request_id: derived(resource, "end rental"),
        };
        ask!(self.billing, end_rental, request).map(|_| ())
    }

    /// What a refund would be; changes nothing.
    pub async fn refund_would_be(
        &self,
        account: AccountId,
        amount: Option<Money>,
    ) -> Result<billing::RequestRefundResponse, Status> {
        let request = billing::RequestRefundRequest {
            account_id: account.to_string(),
            amount,
            request_id: Uuid::now_v7().to_string(),
            validate_only: true,
            quoted_amount: None,
        };
        ask!(self.billing, request_refund, request)
    }

    /// Gives credit back as an order quoted it, or says that it would be another sum by now; safe to repeat.
    pub async fn refund(&self, order: &Order) -> Result<(), Status> {
        let account = AccountId::from_uuid(order.root_id);
        let asked = order.item("amount");
        let currency = order.lines.get(0).and_then(|it| it.get("currency"));
        let currency = currency.and_then(serde_json::Value::as_str);
        let money = |amount: &str| Money {
            currency_code: currency.unwrap_or_default().to_owned(),
            amount: amount.to_owned(),
        };
        let amount = (!asked.is_empty()).then(|| money(asked));
        let request = billing::RequestRefundRequest {
            account_id: account.to_string(),
            amount,
            request_id: derived(order.order_id, "refund"),
            validate_only: false,
            quoted_amount: Some(money(order.item("quoted"))),
        };
        ask!(self.billing, request_refund, request).map(|_| ())
    }

    /// Puts a plan in force at once, as previewed; safe to repeat.
    pub async fn put_plan(
        &self,
        account: AccountId,
        change: &plan::Change,
        (by_operator, request_id): (bool, Uuid),
    ) -> Result<(), Status> {
        let to = change.to_plan.clone().unwrap_or_default();
        let request = plan::ApplyChangeRequest {
            account_id: account.to_string(),
            family_code: to.family_code,
            plan_code: to.plan_code,
            billing_cycle_code: String::new(),
            actor: actor(by_operator).into(),
            timeline_etag: change.timeline_etag.clone(),
            catalogue_version: change.catalogue_version.clone(),
            order_id: String::new(),
            request_id: request_id.to_string(),
            paid: false,
            offer_id: String::new(),
        };
        ask!(self.plan, apply_change, request).map(|_| ())
    }

    /// Switches auto-recharge off; safe to repeat.
    pub async fn recharge_off(&self, account: AccountId, request_id: Uuid) -> Result<(), Status> {
        let request = billing::SetAutoRechargeRequest {
            account_id: account.to_string(),
            auto_recharge: Some(billing::AutoRecharge::default()),
            request_id: request_id.to_string(),
        };
        ask!(self.billing, set_auto_recharge, request).map(|_| ())
    }

    /// Cancels a subscription; safe to repeat.
    pub async fn cancel_subscription(
        &self,
        account: AccountId,
        family: &str,
        request_id: Uuid,
    ) -> Result<plan::CancelSubscriptionResponse, Status> {
        let request = plan::CancelSubscriptionRequest {
            account_id: account.to_string(),
            family_code: family.to_owned(),
            request_id: request_id.to_string(),
        };
        ask!(self.plan, cancel_subscription, request)
    }
}

/// Who asks `plan` for a change.
pub const fn actor(by_operator: bool) -> plan::Actor {
    if by_operator {
        plan::Actor::Operator
    } else {
        plan::Actor::Customer
    }
}

/// The request id of a step that a row asks for.
fn derived(row: Uuid, step: &str) -> String {
    Uuid::new_v5(&row, step.as_bytes()).to_string()
}

/// The reason of a refusal; empty for none.
fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map(|info| info.reason).unwrap_or_default()
}
