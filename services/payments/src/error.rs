//! Everything that can go wrong in payments, and how the wire shows it.

use chassis::{Chain, FieldError, Refusal, Twin};
use thiserror::Error;
use tonic::{Code, Status};
use values::{AccountId, ChargeId, MethodId, RefundId, WebhookId};

use crate::document::Fault;

const DOMAIN: &str = "payments.perdiem";

/// Why a request or a job of this service did not succeed.
#[derive(Debug, Error)]
pub enum Error {
    /// A field of the request does not read as what it must be.
    #[error("{}: expected {}", .0.field, .0.expected)]
    Field(FieldError),
    /// A text holds a card number (R31).
    #[error("{0}: card numbers are not taken, only tokens of a provider")]
    CardNumber(String),
    /// A catalogue document fails its checks.
    #[error("the catalogue fails {} checks", .0.len())]
    CatalogueInvalid(Vec<Fault>),
    /// A version names another document already.
    #[error("catalogue version {0} exists with another document")]
    CatalogueVersionExists(String),
    /// No such version; empty when none was imported yet.
    #[error("catalogue version {0:?} does not exist")]
    CatalogueVersionNotFound(String),
    /// No such profile.
    #[error("profile {0} does not exist")]
    ProfileNotFound(String),
    /// No such plan.
    #[error("plan {0} does not exist")]
    PlanNotFound(String),
    /// No such provider is configured.
    #[error("provider {0} does not exist")]
    ProviderNotFound(String),
    /// No such account.
    #[error("account {0} does not exist")]
    AccountNotFound(AccountId),
    /// The account is open with other facts.
    #[error("account {0} exists with other facts")]
    AccountExists(AccountId),
    /// Root accounts pay.
    #[error("account {account} is a subaccount: use its root account {root}")]
    UseRootAccount {
        /// The subaccount.
        account: AccountId,
        /// Its root.
        root: AccountId,
    },
    /// The catalogue has no such method, network, bank or app.
    #[error("{field}: the catalogue does not offer {value:?}")]
    NotInCatalogue {
        /// The field.
        field: &'static str,
        /// What it named.
        value: String,
    },
    /// A condition of the method does not hold for this account, plan, cycle or purpose.
    #[error("method {0} is not available for this country, plan, cycle and purpose")]
    MethodNotAvailable(String),
    /// The method needs the person.
    #[error("method {0} can't be charged without the person")]
    MethodNotRecurring(String),
    /// A charge by this method is contested, or was lost.
    #[error("method {0} is contested by its owner: it is charged only when they ask for it")]
    MethodContested(MethodId),
    /// The sum is below the least that the method takes.
    #[error("amount: method {method} takes at least {minimum}")]
    BelowMethodMinimum {
        /// The method.
        method: String,
        /// The least.
        minimum: String,
    },
    /// No such payment method, or another account's.
    #[error("payment method {0} does not exist")]
    PaymentMethodNotFound(MethodId),
    /// None is named and none is the default.
    #[error("account {0} has no default payment method")]
    NoPaymentMethod(AccountId),
    /// It has expired or was removed.
    #[error("payment method {0} has expired or was removed")]
    PaymentMethodNotUsable(MethodId),
    /// A charge by it has no final state.
    #[error("a charge by payment method {0} is not decided yet")]
    PaymentMethodInUse(MethodId),
    /// The token is stored with other facts.
    #[error("the token is payment method {0} with other facts")]
    PaymentMethodExists(MethodId),
    /// The provider refuses the token.
    #[error("the provider refuses the token: {0}")]
    ProviderTokenRefused(String),
    /// The provider does not answer.
    #[error("provider {0} is not available")]
    ProviderUnavailable(String),
    /// The sum is in another currency than the account or the charge.
    #[error("amount: expected {0}")]
    CurrencyDiffers(String),
    /// No such charge, or another account's.
    #[error("charge {0} does not exist")]
    ChargeNotFound(ChargeId),
    /// No such refund, or another account's.
    #[error("refund {0} does not exist")]
    RefundNotFound(RefundId),
    /// The attempt exists with other values.
    #[error("the attempt is charge {0} with other values")]
    ChargeExists(ChargeId),
    /// The attempt exists with other values.
    #[error("the attempt is refund {0} with other values")]
    RefundExists(RefundId),
    /// The attempt before is not refused.
    #[error("attempt {0} is not DECLINED or FAILED_NOT_SENT")]
    AttemptNotDeclined(i32),
    /// The charge has moved nothing (yet).
    #[error("charge {0} has not succeeded")]
    ChargeNotSucceeded(ChargeId),
    /// More than is left of the charge.
    #[error("the refund exceeds what is left of charge {0}")]
    RefundExceedsCharge(ChargeId),
    /// Money can't go back by the charge's method.
    #[error("money can't go back by {0}: route it as MANUAL_BANK_TRANSFER")]
    MethodNotRefundable(String),
    /// A provider settles it, not an operator.
    #[error("charge {0} is settled by its provider")]
    ChargeNotOffline(ChargeId),
    /// It is decided already.
    #[error("charge {0} is not pending")]
    ChargeNotPending(ChargeId),
    /// What arrived is not the charge's amount.
    #[error("amount: expected {0}, the charge's amount")]
    AmountDiffers(String),
    /// The reference has settled another movement.
    #[error("reference {0:?} has settled another movement")]
    ReferenceUsed(String),
    /// It waits for nobody.
    #[error("movement {0} is not parked")]
    MovementNotParked(String),
    /// A stored value does not read; we wrote it, so this is a bug.
    #[error("stored {0} does not read")]
    Stored(&'static str),
    /// Another try of the same intent was first. Not transparent: it is looked for among causes.
    #[error("another try was first")]
    Twin(#[from] Twin),
    /// The provider holds the money back.
    #[error("charge {0} is contested: its provider holds the money back")]
    ChargeDisputed(ChargeId),
    /// No such message of a provider.
    #[error("webhook event {0} does not exist")]
    WebhookEventNotFound(WebhookId),
    /// The database failed, or held what it must not.
    #[error("database")]
    Database(#[from] sqlx::Error),
}

impl From<FieldError> for Error {
    fn from(fault: FieldError) -> Self {
        Self::Field(fault)
    }
}

impl From<Error> for Status {
    /// The one table from errors to the wire. It has no catch-all: a new variant must choose.
    #[expect(clippy::too_many_lines, reason = "the one table")]
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let not_found = |reason| Refusal::new(Code::NotFound, reason);
        let wrong_state = |reason| Refusal::new(Code::FailedPrecondition, reason);
        let exists = |reason| Refusal::new(Code::AlreadyExists, reason);
        let bad = |reason, field: &str, expected: &str| {
            Refusal::invalid(reason)
                .with("field", field)
                .with_fields(&[chassis::field_error(field, expected)])
        };
        let refusal = match &error {
            Error::Field(fault) => bad("INVALID_FIELD", &fault.field, &fault.expected),
            Error::CardNumber(field) => bad("CARD_NUMBER_REFUSED", field, "no card number"),
            Error::CatalogueInvalid(faults) => {
                let fault = |fault: &Fault| {
                    chassis::field_error(format!("document.{}", fault.path), &fault.expected)
                };
                Refusal::invalid("CATALOGUE_INVALID")
                    .with_fields(&faults.iter().map(fault).collect::<Vec<_>>())
            }
            Error::CatalogueVersionExists(version) => {
                exists("CATALOGUE_VERSION_EXISTS").with("version", version)
            }
            Error::CatalogueVersionNotFound(version) => {
                not_found("CATALOGUE_VERSION_NOT_FOUND").with("version", version)
            }
            Error::ProfileNotFound(code) => {
                not_found("PROFILE_NOT_FOUND").with("profileCode", code)
            }
            Error::PlanNotFound(code) => not_found("PLAN_NOT_FOUND").with("planCode", code),
            Error::ProviderNotFound(code) => {
                not_found("PROVIDER_NOT_FOUND").with("providerCode", code)
            }
            Error::AccountNotFound(id) => not_found("ACCOUNT_NOT_FOUND").with("accountId", id),
            Error::AccountExists(id) => exists("ACCOUNT_EXISTS").with("accountId", id),
            Error::UseRootAccount { account, root } => wrong_state("USE_ROOT_ACCOUNT")
                .with("accountId", account)
                .with("rootAccountId", root),
            Error::NotInCatalogue { field, value } => bad(
                "METHOD_NOT_AVAILABLE",
                field,
                "one that the catalogue offers",
            )
            .with("value", value),
            Error::MethodNotAvailable(code) => {
                wrong_state("METHOD_NOT_AVAILABLE").with("methodCode", code)
            }
            Error::MethodNotRecurring(code) => {
                wrong_state("METHOD_NOT_RECURRING").with("methodCode", code)
            }
            Error::MethodContested(id) => {
                wrong_state("METHOD_CONTESTED").with("paymentMethodId", id)
            }
            Error::BelowMethodMinimum { method, minimum } => bad(
                "BELOW_METHOD_MINIMUM",
                "amount.amount",
                &format!("at least {minimum}"),
            )
            .with("methodCode", method),
            Error::PaymentMethodNotFound(id) => {
                not_found("PAYMENT_METHOD_NOT_FOUND").with("paymentMethodId", id)
            }
            Error::NoPaymentMethod(id) => wrong_state("NO_PAYMENT_METHOD").with("accountId", id),
            Error::PaymentMethodNotUsable(id) => {
                wrong_state("PAYMENT_METHOD_NOT_USABLE").with("paymentMethodId", id)
            }
            Error::PaymentMethodInUse(id) => {
                wrong_state("PAYMENT_METHOD_IN_USE").with("paymentMethodId", id)
            }
            Error::PaymentMethodExists(id) => {
                exists("PAYMENT_METHOD_EXISTS").with("paymentMethodId", id)
            }
            Error::ProviderTokenRefused(reason) => {
                wrong_state("PROVIDER_TOKEN_REFUSED").with("providerReason", reason)
            }
            Error::ProviderUnavailable(code) => {
                Refusal::new(Code::Unavailable, "PROVIDER_UNAVAILABLE")
                    .with("providerCode", code)
                    .retry_after(std::time::Duration::from_secs(5))
            }
            Error::CurrencyDiffers(currency) => {
                wrong_state("CURRENCY_DIFFERS").with("currencyCode", currency)
            }
            Error::ChargeNotFound(id) => not_found("CHARGE_NOT_FOUND").with("chargeId", id),
            Error::RefundNotFound(id) => not_found("REFUND_NOT_FOUND").with("refundId", id),
            Error::ChargeExists(id) => exists("CHARGE_EXISTS").with("chargeId", id),
            Error::RefundExists(id) => exists("REFUND_EXISTS").with("refundId", id),
            Error::AttemptNotDeclined(attempt) => {
                wrong_state("ATTEMPT_NOT_DECLINED").with("attemptNumber", attempt)
            }
            Error::ChargeNotSucceeded(id) => {
                wrong_state("CHARGE_NOT_SUCCEEDED").with("chargeId", id)
            }
            Error::RefundExceedsCharge(id) => {
                wrong_state("REFUND_EXCEEDS_CHARGE").with("chargeId", id)
            }
            Error::MethodNotRefundable(code) => {
                wrong_state("METHOD_NOT_REFUNDABLE").with("methodCode", code)
            }
            Error::ChargeNotOffline(id) => wrong_state("CHARGE_NOT_OFFLINE").with("chargeId", id),
            Error::ChargeNotPending(id) => wrong_state("CHARGE_NOT_PENDING").with("chargeId", id),
            Error::AmountDiffers(amount) => bad("AMOUNT_DIFFERS", "amount", amount),
            Error::ReferenceUsed(reference) => {
                exists("REFERENCE_USED").with("reference", reference)
            }
            Error::MovementNotParked(id) => {
                wrong_state("MOVEMENT_NOT_PARKED").with("movementId", id)
            }
            Error::Twin(Twin) => Refusal::new(Code::Aborted, "CONFLICT"),
            Error::Stored(_) => {
                tracing::error!(error = %Chain(&error), "request failed");
                return chassis::internal();
            }
            Error::ChargeDisputed(id) => wrong_state("CHARGE_DISPUTED").with("chargeId", id),
            Error::WebhookEventNotFound(id) => {
                not_found("WEBHOOK_EVENT_NOT_FOUND").with("webhookEventId", id)
            }
            Error::Database(_) => return chassis::database_status(&error),
        };
        refusal.into_status(DOMAIN, message)
    }
}
