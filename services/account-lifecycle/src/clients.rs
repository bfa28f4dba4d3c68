//! Calls to `plan`, `billing` and `payments`, with request ids derived from the row that causes them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis::Clock;
use chassis::wire::{self, timestamp};
use chrono::{DateTime, NaiveDate, Utc};
use proto::billing::v1 as billing;
use proto::payments::v1 as payments;
use proto::plan::v1 as plan;
use proto::r#type::v1::{Amount as WireAmount, Money};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;
use values::{AccountId, CollectionId, InvoiceId, MethodId, OrderId, RentalId, TicketId, Zone};

use crate::ctx::Ctx;
use crate::domain::account::{Account, Stands};
use crate::domain::billing_details::BillingDetails;
use crate::domain::closing::Closing;
use crate::domain::notice::Reader;
use crate::domain::order::{Order, OrderRefused};
use crate::domain::purchase::{KeptNumber, Purchase, Refund};
use crate::error::Error;

/// For how long the catalogue that was in force is taken to be still.
const FRESH: Duration = Duration::from_secs(1);

/// What account-lifecycle needs of a profile.
#[derive(Debug, Clone)]
pub struct Profile {
    /// ISO 4217 code of the ledger's currency.
    pub currency: String,
    /// Role codes, the owner's first.
    pub roles: Vec<String>,
    /// Role codes by the action that they permit.
    pub permissions: HashMap<String, Vec<String>>,
    /// Maximum of subaccounts per root account; `None` for no limit.
    pub max_subaccounts: Option<i64>,
    /// Maximum of trial accounts per user.
    pub max_trial_accounts: i64,
    /// Maximum of resources per account.
    pub max_resources: i64,
    /// Whether it has plans that are paid in advance; a trial must upgrade to one first (D5).
    pub upgrades: bool,
    /// Whether the issuer taxes sales in its own country. Accounts must then give their tax country before they buy
    /// (D33).
    pub taxes: bool,
    /// Time zone of its business days.
    pub time_zone: String,
    /// Dates that are not business days.
    pub holidays: Vec<String>,
    /// Length of a trial in days; `None` if it does not end.
    pub trial_days: Option<i64>,
    /// Capabilities that require an approved KYC.
    pub kyc_gates: Vec<String>,
    /// Checklist codes to confirm before an upgrade.
    pub checklist: Vec<String>,
    /// KYC requirements.
    pub kyc: Option<plan::KycTerms>,
    /// Plan families.
    pub families: Vec<String>,
    /// Rules for closing; `None` if only operators close accounts.
    pub close: Option<plan::ClosePolicy>,
    /// Rules for soft closing; `None` if accounts can't become dormant.
    pub soft_close: Option<plan::SoftClosePolicy>,
    /// Whether an empty balance suspends the account (REQ-132).
    pub suspends_at_zero: bool,
    /// Capabilities that a limited account does not have.
    pub limited_denies: Vec<String>,
    /// Countries in which messages require a DLT registration.
    pub dlt_countries: Vec<String>,
    /// Maximum of whitelisted numbers of a trial; `None` for no limit.
    pub max_whitelisted: Option<i64>,
    /// Days without a paid plan after which paid credit expires (C-21); 0 for never.
    pub lapse_days: i64,
    /// Days for which a limited account, and one with an empty balance, keeps its numbers; `None` for ever.
    pub hold_days: (Option<i32>, Option<i32>),
    /// Maximum of numbers of a trial; `None` if its plan decides.
    pub trial_numbers: Option<i64>,
    /// Credit granted at the start of a trial.
    pub trial_credit: Option<WireAmount>,
}

/// Calls a client method, with retries while the service is unavailable.
macro_rules! ask {
    ($client:expr, $method:ident, $request:expr) => {{
        let request = $request;
        let ask = || {
            let (mut client, request) = ($client.clone(), request.clone());
            async move { client.$method(request).await }
        };
        chassis::retried(ask).await.map(tonic::Response::into_inner)
    }};
}
pub(crate) use ask;

/// Whether a status carries this error reason.
fn gives(status: &Status, reason: &str) -> bool {
    let info = status.get_details_error_info();
    info.is_some_and(|info| info.reason == reason)
}

/// Whether sales in the issuer's own country are taxed.
fn taxes(catalogue: &plan::Catalogue, issuer: &str) -> bool {
    let mut issuers = catalogue.issuers.iter();
    let issuer = issuers.find(|it| it.issuer_code == issuer);
    let policy = |country: &str| {
        let mut taxes = catalogue.taxes.iter();
        taxes.find(|it| it.country_code == country)
    };
    let own = issuer.and_then(|it| policy(&it.country_code));
    own.or_else(|| policy("")).is_some_and(|it| 0 < it.rate_bps)
}

/// Days for which the numbers of a limited account, and of one with an empty balance, are kept.
fn hold_days(profile: &plan::Profile) -> (Option<i32>, Option<i32>) {
    let days = |days: i32| (0 < days).then_some(days);
    let limited = profile.limited.as_ref().map(|it| it.number_hold_days);
    let empty = profile.balance.as_ref();
    let empty = empty.map(|it| it.numbers_at_risk_after_days);
    (limited.and_then(days), empty.and_then(days))
}

/// What account-lifecycle needs of the profile `code` of a catalogue.
fn profile(catalogue: &plan::Catalogue, code: &str) -> Option<Profile> {
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
    found.map(|profile| Profile {
        hold_days: hold_days(&profile),
        taxes: taxes(catalogue, &profile.issuer_code),
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
        max_trial_accounts: i64::from(profile.max_trial_accounts),
        max_resources: i64::from(profile.max_resources),
        max_subaccounts: (0 < profile.max_subaccounts)
            .then_some(i64::from(profile.max_subaccounts)),
    })
}

impl Ctx {
    /// The profile `code` of the active catalogue.
    pub async fn profile(&self, code: &str) -> Result<Option<Profile>, Status> {
        let catalogue = self.catalogue_in_force().await?;
        Ok(profile(&catalogue, code))
    }

    /// The profile of an account by the catalogue at hand, for those who hold a transaction and may not ask:
    /// they look at the catalogue in force before they begin.
    pub fn profile_at_hand(&self, account: &Account) -> Result<Profile, Error> {
        let catalogue = self.kept().map(|(_, catalogue)| catalogue);
        let catalogue = catalogue
            .ok_or_else(|| Status::unavailable("the catalogue in force is not known yet"))?;
        let code = &account.profile_code;
        profile(&catalogue, code).ok_or_else(|| Error::ProfileNotFound(code.clone()))
    }

    /// What the words of mails about an account depend on, by the catalogue that was in force when it was read last.
    pub async fn reader(&self, account: &Account) -> Result<Reader, Error> {
        self.look_at_catalogue().await;
        let profile = self.profile_at_hand(account)?;
        let zone = Zone::parse(&profile.time_zone).map_err(|_| Error::Stored("zone"))?;
        let catalogue = self.kept().map(|(_, catalogue)| catalogue);
        let plans = catalogue.iter().flat_map(|it| &it.plans);
        let plans = plans.map(|it| (it.plan_code.clone(), it.display_name.clone()));
        Ok(Reader {
            account_id: AccountId::from_uuid(account.account_id).to_string(),
            account_name: account.display_name.clone(),
            zone,
            plans: plans.collect(),
        })
    }

    /// Has the catalogue in force at hand for [`Ctx::profile_at_hand`]. Where `plan` is away the one known last stays: an
    /// intent that was answered is answered again, and whoever needs one that is not known says so.
    pub async fn look_at_catalogue(&self) {
        if let Err(status) = self.catalogue_in_force().await {
            tracing::debug!(%status, "the catalogue in force was not read");
        }
    }

    /// The catalogue in force, as it was within the last second. Where a test clock stands it is asked for each time.
    pub async fn catalogue_in_force(&self) -> Result<Arc<plan::Catalogue>, Status> {
        let standing = matches!(self.clock, Clock::Standing { .. });
        if let Some((at, kept)) = self.kept().filter(|_| !standing)
            && at.elapsed() < FRESH
        {
            return Ok(kept);
        }
        let asked_at = Instant::now();
        let answer = ask!(
            self.plan,
            get_catalogue,
            plan::GetCatalogueRequest::default()
        )?;
        let catalogue = Arc::new(answer.catalogue.unwrap_or_default());
        if let Ok(mut kept) = self.catalogue.write() {
            *kept = Some((asked_at, catalogue.clone()));
        }
        Ok(catalogue)
    }

    fn kept(&self) -> Option<(Instant, Arc<plan::Catalogue>)> {
        self.catalogue.read().ok().and_then(|kept| kept.clone())
    }

    /// The profile of an account.
    pub async fn profile_of(&self, account: &Account) -> Result<Profile, Error> {
        let code = &account.profile_code;
        self.profile(code)
            .await?
            .ok_or_else(|| Error::ProfileNotFound(code.clone()))
    }

    /// Opens an account in the three other services (D1); idempotent.
    pub async fn open_elsewhere(&self, account: &Account) -> Result<(), Status> {
        let account_id = AccountId::from_uuid(account.account_id).to_string();
        let parent_account_id = account
            .parent_id
            .map(|id| AccountId::from_uuid(id).to_string())
            .unwrap_or_default();
        let profile_code = account.profile_code.clone();
        let create_time = Some(timestamp(account.created_at));
        let request_id = derived(account.account_id, "open");
        let mode = if account.invoiced {
            billing::BillingMode::Invoiced
        } else {
            billing::BillingMode::Prepaid
        };
        let in_plan = plan::OpenAccountRequest {
            account_id: account_id.clone(),
            parent_account_id: parent_account_id.clone(),
            profile_code: profile_code.clone(),
            create_time,
            request_id: request_id.clone(),
        };
        let in_billing = billing::OpenAccountRequest {
            account_id: account_id.clone(),
            parent_account_id: parent_account_id.clone(),
            profile_code: profile_code.clone(),
            billing_mode: mode.into(),
            create_time,
            request_id: request_id.clone(),
        };
        let in_payments = payments::OpenAccountRequest {
            account_id,
            parent_account_id,
            profile_code,
            create_time,
            request_id,
        };
        // Side by side, as none asks another about it; each to its end, whatever becomes of the others.
        let (plan, billing, payments) = tokio::join!(
            async { ask!(self.plan, open_account, in_plan) },
            async { ask!(self.billing, open_account, in_billing) },
            async { ask!(self.payments, open_account, in_payments) },
        );
        plan?;
        billing?;
        payments?;
        Ok(())
    }

    /// The preview of a plan change.
    pub async fn preview_change(
        &self,
        request: plan::PreviewChangeRequest,
    ) -> Result<plan::Change, Status> {
        let answer = ask!(self.plan, preview_change, request)?;
        answer.change.ok_or_else(chassis::internal)
    }

    /// The preview of a month's invoice with a plan change.
    pub async fn preview_invoice(
        &self,
        request: billing::PreviewInvoiceRequest,
    ) -> Result<billing::Invoice, Status> {
        let answer = ask!(self.billing, preview_invoice, request)?;
        answer.invoice.ok_or_else(chassis::internal)
    }

    /// Whether the quote of a plan change still holds: neither the timeline nor the catalogue has changed.
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

    /// Applies the plan change of an order exactly as quoted or, once it is paid, even if the quote no longer holds.
    /// Idempotent.
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
            // A paid order is applied once whatever the request id; a new id keeps a refusal from being replayed on
            // every retry.
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

    /// The preview of a collection, tax included.
    pub async fn preview_collection(
        &self,
        request: billing::PreviewCollectionRequest,
    ) -> Result<billing::PreviewCollectionResponse, Status> {
        ask!(self.billing, preview_collection, request)
    }

    /// Requests the payment of an order exactly as quoted; idempotent.
    pub async fn collect(&self, order: &Order) -> Result<billing::Collection, Status> {
        let method = order
            .method_id
            .map(|id| MethodId::from_uuid(id).to_string());
        let (lines, invoice_id) = match &order.purchase {
            Purchase::PayRenewal { collection } => {
                let request = billing::CollectRenewalRequest {
                    account_id: AccountId::from_uuid(order.root_id).to_string(),
                    collection_id: collection.to_string(),
                    payment_method_id: method.unwrap_or_default(),
                    amount: order.total(),
                    request_id: derived(order.order_id, "collect"),
                };
                let answer = ask!(self.billing, collect_renewal, request)?;
                return answer.collection.ok_or_else(chassis::internal);
            }
            // The invoice has its lines already.
            Purchase::PayInvoice { invoice } => (Vec::new(), invoice.to_string()),
            Purchase::PlanChange { .. }
            | Purchase::BuyCredits {}
            | Purchase::Upgrade { .. }
            | Purchase::BuyNumber(_)
            | Purchase::AddOn { .. }
            | Purchase::RefundRequest(_)
            | Purchase::Erased(_) => (order.payable(), String::new()),
        };
        let request = billing::CollectOrderRequest {
            account_id: AccountId::from_uuid(order.root_id).to_string(),
            order_id: OrderId::from_uuid(order.order_id).to_string(),
            payment_method_id: method.unwrap_or_default(),
            lines,
            amount: order.total(),
            invoice_id,
            request_id: derived(order.order_id, "collect"),
        };
        let answer = ask!(self.billing, collect_order, request)?;
        answer.collection.ok_or_else(chassis::internal)
    }

    /// The usable payment methods of a root account, at most one page.
    pub async fn payment_methods(
        &self,
        root: AccountId,
    ) -> Result<Vec<payments::PaymentMethod>, Status> {
        let request = payments::ListPaymentMethodsRequest {
            account_id: root.to_string(),
            page_size: 500,
            ..payments::ListPaymentMethodsRequest::default()
        };
        let answer = ask!(self.payments, list_payment_methods, request)?;
        Ok(answer.payment_methods)
    }

    /// The payment methods of a root account, also those that can't be charged any more.
    pub async fn all_payment_methods(
        &self,
        root: AccountId,
    ) -> Result<Vec<payments::PaymentMethod>, Status> {
        let request = payments::ListPaymentMethodsRequest {
            account_id: root.to_string(),
            include_unusable: true,
            page_size: 500,
            ..payments::ListPaymentMethodsRequest::default()
        };
        let answer = ask!(self.payments, list_payment_methods, request)?;
        Ok(answer.payment_methods)
    }

    /// The methods with which something can be paid.
    pub async fn eligible_methods(
        &self,
        request: payments::ListEligibleMethodsRequest,
    ) -> Result<Vec<payments::EligibleMethod>, Status> {
        let answer = ask!(self.payments, list_eligible_methods, request)?;
        Ok(answer.eligible_methods)
    }

    /// The collection of an order, with the state of its payment.
    pub async fn collection(&self, id: CollectionId) -> Result<billing::Collection, Status> {
        let request = billing::GetCollectionRequest {
            collection_id: id.to_string(),
        };
        let answer = ask!(self.billing, get_collection, request)?;
        answer.collection.ok_or_else(chassis::internal)
    }

    /// Stops waiting for the payment of an order that is settled offline; idempotent.
    pub async fn cancel_collection(
        &self,
        root: Uuid,
        id: Uuid,
        request_id: Uuid,
    ) -> Result<(), Error> {
        let request = billing::CancelCollectionRequest {
            account_id: AccountId::from_uuid(root).to_string(),
            collection_id: CollectionId::from_uuid(id).to_string(),
            request_id: request_id.to_string(),
        };
        match ask!(self.billing, cancel_collection, request) {
            Ok(_) => Ok(()),
            // It is being decided or was, or it is of a renewal, which is not of one order.
            Err(status)
                if gives(&status, "PAYMENT_UNDER_WAY")
                    || gives(&status, "COLLECTION_NOT_FOUND") =>
            {
                Err(OrderRefused::UnderWay.into())
            }
            Err(status) => Err(status.into()),
        }
    }

    /// Sends an account's tax country and invoice recipient to billing and payments; idempotent.
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

    /// Sends the standings of an account to the other services; idempotent.
    pub async fn tell_standing(&self, it: &Stands) -> Result<(), Status> {
        let account_id = AccountId::from_uuid(it.account_id).to_string();
        // Idempotent by the revision; a new request id keeps a refusal from being replayed on every retry.
        let request_id = Uuid::now_v7().to_string();
        let mut standings = Vec::with_capacity(it.standings.len());
        for text in &it.standings {
            let known = chassis::Standing::of_text(text).ok_or_else(|| {
                tracing::error!(text, "account.roots.standings holds what is no standing");
                chassis::internal()
            })?;
            standings.push(i32::from(known.wire()));
        }
        let limit_time = it.limited_at.map(timestamp);
        let revision = it.standing_revision;
        let in_plan = plan::SetStandingRequest {
            account_id: account_id.clone(),
            standings: standings.clone(),
            limit_time,
            revision,
            request_id: request_id.clone(),
        };
        let in_billing = billing::SetStandingRequest {
            account_id: account_id.clone(),
            standings: standings.clone(),
            limit_time,
            revision,
            request_id: request_id.clone(),
        };
        let in_payments = payments::SetStandingRequest {
            account_id,
            standings,
            limit_time,
            revision,
            request_id,
        };
        let (plan, billing, payments) = tokio::join!(
            async { ask!(self.plan, set_standing, in_plan) },
            async { ask!(self.billing, set_standing, in_billing) },
            async { ask!(self.payments, set_standing, in_payments) },
        );
        plan?;
        billing?;
        payments?;
        Ok(())
    }

    /// Whether the plan in force, now or at a past instant, grants a feature, or one more beside `used`.
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

    /// The spendable balance of a root account less its debt, now or at a past instant, in millionths of the currency
    /// unit.
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

    /// An invoice rendered as a PDF.
    pub async fn rendered(&self, invoice: InvoiceId) -> Result<Vec<u8>, Status> {
        let request = billing::RenderInvoiceRequest {
            invoice_id: invoice.to_string(),
            ..billing::RenderInvoiceRequest::default()
        };
        Ok(ask!(self.billing, render_invoice, request)?.pdf.to_vec())
    }

    /// An invoice; `InvoiceNotFound` for an unknown one.
    pub async fn invoice(&self, invoice: InvoiceId) -> Result<billing::Invoice, Error> {
        let request = billing::GetInvoiceRequest {
            invoice_id: invoice.to_string(),
        };
        match ask!(self.billing, get_invoice, request) {
            Ok(answer) => Ok(answer.invoice.ok_or_else(chassis::internal)?),
            // Mapped to our own error, so that it equals the refusal for another account's invoice.
            Err(status) if gives(&status, "INVOICE_NOT_FOUND") => {
                Err(Error::InvoiceNotFound(invoice))
            }
            Err(status) => Err(status.into()),
        }
    }

    /// Grants a root account its trial credit; idempotent.
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
            // An earlier attempt granted it, with the amount of an earlier catalogue.
            Err(status) if reason(&status) == "REQUEST_ID_REUSED" => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Stamps a ticket with the plan in force; idempotent.
    pub async fn stamp_ticket(
        &self,
        account: AccountId,
        ticket: Uuid,
        (channel, priority): (&str, &str),
    ) -> Result<plan::TicketStamp, Error> {
        let request = plan::StampTicketRequest {
            account_id: account.to_string(),
            ticket_id: TicketId::from_uuid(ticket).to_string(),
            priority_code: priority.to_owned(),
            channel_code: channel.to_owned(),
            request_id: derived(ticket, "stamp"),
        };
        match ask!(self.plan, stamp_ticket, request) {
            Ok(answer) => Ok(answer.ticket_stamp.ok_or_else(chassis::internal)?),
            Err(status) if gives(&status, "CHANNEL_NOT_IN_PLAN") => {
                Err(Error::ChannelNotInPlan(channel.to_owned()))
            }
            Err(status) => Err(status.into()),
        }
    }

    /// The plans that an account can choose from.
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

    /// The plan in force in a family.
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

    /// The complete timeline of an account in a family.
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

    /// The subscription of an account in a family; `None` without a plan that is paid in advance.
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

    /// Turns auto-recharge on with the profile's defaults; idempotent.
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

    /// Plan changes that have not taken effect yet.
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

    /// Withdraws the pending change; idempotent.
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

    /// Undoes a cancellation; idempotent.
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

    /// Switches the billing cycle at the next renewal; idempotent.
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

    /// The contract that an account is a member and the payer of, if there is one.
    pub async fn pays_for(&self, account: AccountId) -> Result<Option<String>, Status> {
        let request = plan::ListContractsRequest {
            account_id: account.to_string(),
            page_size: 500,
            page_token: String::new(),
        };
        let answer = ask!(self.plan, list_contracts, request)?;
        let payer = account.to_string();
        let paid = answer.contracts.into_iter().find(|it| {
            let of = |member: &plan::contract::Member| member.account_id == payer;
            let open = it
                .members
                .iter()
                .any(|it| of(it) && it.leave_time.is_none());
            it.payer_account_id == payer && open
        });
        Ok(paid.map(|it| it.contract_id))
    }

    /// Ends the timelines of an account; idempotent.
    pub async fn close_plans(&self, closing: &Closing) -> Result<(), Status> {
        let request = plan::CloseAccountRequest {
            account_id: AccountId::from_uuid(closing.account_id).to_string(),
            close_time: Some(timestamp(closing.close_at)),
            // Idempotent by itself; a new request id keeps a refusal from being replayed on every retry.
            request_id: Uuid::now_v7().to_string(),
        };
        ask!(self.plan, close_account, request).map(|_| ())
    }

    /// Computes what a closing would settle and refund; unless `dry_run`, also freezes the balance. Idempotent.
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
            // Idempotent by the instant; a new request id keeps a refusal from being replayed on every retry.
            request_id: Uuid::now_v7().to_string(),
        };
        ask!(self.billing, prepare_closing, request)
    }

    /// Tells billing the closing time of an account, and of a root's subaccounts; idempotent.
    pub async fn record_closing(&self, closing: &Closing) -> Result<(), Status> {
        let request = billing::RecordClosingRequest {
            account_id: AccountId::from_uuid(closing.account_id).to_string(),
            close_time: Some(timestamp(closing.close_at)),
            // The first closing time stays; a new request id keeps a refusal from being replayed on every retry.
            request_id: Uuid::now_v7().to_string(),
        };
        ask!(self.billing, record_closing, request).map(|_| ())
    }

    /// Settles and refunds a prepared closing; idempotent.
    pub async fn settle_closing(
        &self,
        closing: &Closing,
    ) -> Result<billing::SettleClosingResponse, Status> {
        let request = billing::SettleClosingRequest {
            account_id: AccountId::from_uuid(closing.root_id).to_string(),
            // Idempotent by itself; a new request id keeps a refusal from being replayed on every retry.
            request_id: Uuid::now_v7().to_string(),
        };
        ask!(self.billing, settle_closing, request)
    }

    /// Counts the refunds of a root account that have not ended.
    pub async fn open_refunds(&self, root: Uuid) -> Result<i32, Status> {
        let request = billing::CountOpenRefundsRequest {
            account_id: AccountId::from_uuid(root).to_string(),
        };
        Ok(ask!(self.billing, count_open_refunds, request)?.open_count)
    }

    /// The ids of the refunds of a root account's closing: for each, that of its latest attempt.
    pub async fn closing_refunds(&self, root: Uuid) -> Result<Vec<String>, Status> {
        let request = billing::CountOpenRefundsRequest {
            account_id: AccountId::from_uuid(root).to_string(),
        };
        Ok(ask!(self.billing, count_open_refunds, request)?.closing_refund_ids)
    }

    /// Unfreezes the balance of an aborted closing; idempotent.
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
    /// each erased and what it keeps. Safe to repeat: two of one day are one request.
    pub async fn erase_elsewhere(
        &self,
        account: Uuid,
        today: NaiveDate,
    ) -> Result<Vec<(&'static str, (Vec<String>, Vec<String>))>, Status> {
        let account_id = AccountId::from_uuid(account).to_string();
        let request_id = erasure(account, today);
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

    /// Monthly prices of numbers by type; empty if they are not priced in `currency`.
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

    /// The preview of an add-on; changes nothing.
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

    /// Adds the add-on of an order; idempotent.
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

    /// Removes the add-on that an order has added; idempotent.
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

    /// Starts the rental of what an order buys; idempotent.
    pub async fn start_rental(&self, order: &Order, rental: billing::Rental) -> Result<(), Status> {
        let request = billing::StartRentalRequest {
            account_id: AccountId::from_uuid(order.root_id).to_string(),
            rental: Some(rental),
            request_id: derived(order.order_id, "rental"),
            allow_overdraft: false,
        };
        ask!(self.billing, start_rental, request).map(|_| ())
    }

    /// Starts the rental of a number that an account keeps from its trial, whether or not the balance covers the first
    /// month; idempotent, as the rental takes the id of the number.
    pub async fn start_kept_rental(&self, order: &Order, kept: &KeptNumber) -> Result<(), Status> {
        let request = billing::StartRentalRequest {
            account_id: AccountId::from_uuid(order.root_id).to_string(),
            rental: Some(billing::Rental {
                rental_id: RentalId::from_uuid(kept.id.uuid()).to_string(),
                kind: billing::rental::Kind::Number.into(),
                code: kept.code.clone(),
                monthly_price: Some(WireAmount {
                    currency_code: kept.price.currency().code().to_owned(),
                    amount: kept.price.to_string(),
                }),
                ..billing::Rental::default()
            }),
            // The price of a repetition differs if another catalogue has come into force; the rental that began stays.
            // A later upgrade asks anew for what was refused to this one.
            request_id: derived(
                order.order_id,
                &format!("rental of {} for {}", kept.id, kept.price),
            ),
            allow_overdraft: true,
        };
        ask!(self.billing, start_rental, request).map(|_| ())
    }

    /// Ends the rental of a resource; idempotent.
    pub async fn end_rental(&self, root: Uuid, resource: Uuid) -> Result<(), Status> {
        let request = billing::EndRentalRequest {
            account_id: AccountId::from_uuid(root).to_string(),
            rental_id: RentalId::from_uuid(resource).to_string(),
            request_id: derived(resource, "end rental"),
        };
        ask!(self.billing, end_rental, request).map(|_| ())
    }

    /// The codes of an account's active add-ons.
    pub async fn booked_add_ons(&self, account: AccountId) -> Result<Vec<String>, Status> {
        let request = plan::ListAddOnsRequest {
            account_id: account.to_string(),
        };
        let answer = ask!(self.plan, list_add_ons, request)?;
        let booked = answer
            .add_ons
            .into_iter()
            .filter(|it| it.end_time.is_none());
        Ok(booked.map(|it| it.add_on_code).collect())
    }

    /// Ends an add-on; succeeds if it has already ended.
    pub async fn end_add_on(
        &self,
        account: AccountId,
        code: &str,
        request_id: Uuid,
    ) -> Result<(), Status> {
        let request = plan::RemoveAddOnRequest {
            account_id: account.to_string(),
            add_on_code: code.to_owned(),
            request_id: request_id.to_string(),
        };
        match ask!(self.plan, remove_add_on, request) {
            Err(status) if reason(&status) == "ADD_ON_NOT_FOUND" => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// The active rentals of an account, of every kind.
    pub async fn running_rentals(&self, account: AccountId) -> Result<Vec<RentalId>, Status> {
        let mut running = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = billing::ListRentalsRequest {
                account_id: account.to_string(),
                page_size: 500,
                page_token,
            };
            let answer = ask!(self.billing, list_rentals, request)?;
            for rental in answer.rentals.iter().filter(|it| it.end_time.is_none()) {
                let id: RentalId = rental.rental_id.parse().map_err(|_| chassis::internal())?;
                running.push(id);
            }
            page_token = answer.next_page_token;
            if page_token.is_empty() {
                return Ok(running);
            }
        }
    }

    /// The preview of a refund; changes nothing.
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

    /// Refunds credit as quoted by an order; refused if the amount has changed since. Idempotent.
    pub async fn refund(&self, order: &Order, refund: &Refund) -> Result<(), Error> {
        let account = AccountId::from_uuid(order.root_id);
        let line = order.lines.first();
        let line = line.ok_or(Error::Stored("lines of an order"))?;
        let money = |amount: &str| Money {
            currency_code: line.money.currency().code().to_owned(),
            amount: amount.to_owned(),
        };
        let amount = (!refund.amount.is_empty()).then(|| money(&refund.amount));
        let request = billing::RequestRefundRequest {
            account_id: account.to_string(),
            amount,
            request_id: derived(order.order_id, "refund"),
            validate_only: false,
            quoted_amount: Some(money(&refund.quoted)),
        };
        ask!(self.billing, request_refund, request)?;
        Ok(())
    }

    /// Puts a plan in force at once, as previewed; idempotent.
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

    /// Turns auto-recharge off; idempotent.
    pub async fn recharge_off(&self, account: AccountId, request_id: Uuid) -> Result<(), Status> {
        let request = billing::SetAutoRechargeRequest {
            account_id: account.to_string(),
            auto_recharge: Some(billing::AutoRecharge::default()),
            request_id: request_id.to_string(),
        };
        ask!(self.billing, set_auto_recharge, request).map(|_| ())
    }

    /// Cancels a subscription; idempotent.
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

/// The actor of a plan change.
pub const fn actor(by_operator: bool) -> plan::Actor {
    if by_operator {
        plan::Actor::Operator
    } else {
        plan::Actor::Customer
    }
}

/// The request id of a step that a row causes, the same on every retry.
fn derived(row: Uuid, step: &str) -> String {
    Uuid::new_v5(&row, step.as_bytes()).to_string()
}

/// The request id of erasing an account: that of a day, so that whoever begins it again waits for who is at it, and no
/// refusal is answered for longer.
fn erasure(account: Uuid, today: NaiveDate) -> String {
    derived(account, &format!("erase {today}"))
}

/// Whether billing can't do it yet, as a run or a payment is under way: that passes, and whoever began something for it
/// gives that up until it is asked again.
pub fn passes(status: &Status) -> bool {
    let under_way = ["RUN_UNDER_WAY", "PAYMENT_UNDER_WAY"];
    status.code() == Code::Aborted && under_way.contains(&reason(status).as_str())
}

/// The reason of a refusal; empty for none.
fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map(|info| info.reason).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use chassis::Refusal;

    use super::*;

    #[test]
    fn a_run_or_a_payment_under_way_passes_and_a_refusal_does_not() {
        let said = |code, reason| Refusal::new(code, reason).into_status("billing", String::new());
        assert!(passes(&said(Code::Aborted, "RUN_UNDER_WAY")));
        assert!(passes(&said(Code::Aborted, "PAYMENT_UNDER_WAY")));
        assert!(!passes(&said(Code::Aborted, "CONFLICT")));
        assert!(!passes(&said(Code::FailedPrecondition, "STILL_PARKED")));
    }

    #[test]
    fn erasing_an_account_twice_on_a_day_is_one_request() {
        let day = |number| NaiveDate::from_ymd_opt(2026, 3, number).unwrap();
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(erasure(one, day(1)), erasure(one, day(1)));
        assert_ne!(erasure(one, day(1)), erasure(other, day(1)));
        assert_ne!(erasure(one, day(1)), erasure(one, day(2)), "a refusal");
    }
}
