//! Every error of payments, and its form on the wire.

use chassis::{Chain, FieldError, Refusal, Twin};
use thiserror::Error;
use tonic::{Code, Status};
use values::{AccountId, ChargeId, MethodId, RefundId, WebhookId};

use crate::document::Fault;

const DOMAIN: &str = "payments.perdiem";

/// Why a request or a job of this service failed.
#[derive(Debug, Error)]
pub enum Error {
    /// A field of the request is missing or malformed.
    #[error("{}: expected {}", .0.field, .0.expected)]
    Field(FieldError),
    /// The text contains a card number (R31).
    #[error("{0}: card numbers are not accepted; send a provider token")]
    CardNumber(String),
    /// The catalogue document is invalid.
    #[error("the catalogue document has {} faults", .0.len())]
    CatalogueInvalid(Vec<Fault>),
    /// The version is already imported with another document.
    #[error(
        "catalogue version {0} already exists with another document; import the change as a new version"
    )]
    CatalogueVersionExists(String),
    /// No such version; an empty name means that no catalogue has been imported.
    #[error("catalogue version {0:?} does not exist")]
    CatalogueVersionNotFound(String),
    /// No such profile.
    #[error("profile {0} does not exist")]
    ProfileNotFound(String),
    /// No such plan.
    #[error("plan {0} does not exist")]
    PlanNotFound(String),
    /// The provider is not configured.
    #[error("provider {0} is not configured")]
    ProviderNotFound(String),
    /// No such account.
    #[error("account {0} does not exist")]
    AccountNotFound(AccountId),
    /// The account is already open with different attributes.
    #[error("account {0} already exists with different attributes")]
    AccountExists(AccountId),
    /// Only root accounts pay.
    #[error("account {account} is a subaccount; use its root account {root}")]
    UseRootAccount {
        /// The subaccount.
        account: AccountId,
        /// The root account.
        root: AccountId,
    },
    /// The catalogue does not offer this method, network, bank or app.
    #[error("{field}: the catalogue does not offer {value:?}")]
    NotInCatalogue {
        /// Name of the field.
        field: &'static str,
        /// Value of the field.
        value: String,
    },
    /// The catalogue does not offer the method for this country, plan, cycle or purpose.
    #[error("method {0} is not available for this country, plan, cycle or purpose")]
    MethodNotAvailable(String),
    /// The method does not support off-session charges.
    #[error("method {0} does not support off-session charges")]
    MethodNotRecurring(String),
    /// A charge by this method is disputed, or its dispute was lost.
    #[error("payment method {0} has a disputed charge; it can only be charged on-session")]
    MethodContested(MethodId),
    /// The amount is below the minimum of the method.
    #[error("amount: method {method} requires at least {minimum}")]
    BelowMethodMinimum {
        /// The method code.
        method: String,
        /// The minimum.
        minimum: String,
    },
    /// No such payment method, or one of another account.
    #[error("payment method {0} does not exist")]
    PaymentMethodNotFound(MethodId),
    /// The request names no method and the account has no default.
    #[error("account {0} has no default payment method; name one or set a default")]
    NoPaymentMethod(AccountId),
    /// The method has expired or was removed.
    #[error("payment method {0} has expired or was removed")]
    PaymentMethodNotUsable(MethodId),
    /// A charge by the method has not reached a terminal state.
    #[error("a charge by payment method {0} is still undecided; try again later")]
    PaymentMethodInUse(MethodId),
    /// The token already belongs to a payment method with different attributes.
    #[error("the token already belongs to payment method {0} with different attributes")]
    PaymentMethodExists(MethodId),
    /// The provider refused the token.
    #[error("the provider refused the token: {0}")]
    ProviderTokenRefused(String),
    /// The provider can't be reached.
    #[error("provider {0} is unavailable; try again later")]
    ProviderUnavailable(String),
    /// The amount is in another currency than the account or the charge.
    #[error("amount: expected {0}")]
    CurrencyDiffers(String),
    /// No such charge, or one of another account.
    #[error("charge {0} does not exist")]
    ChargeNotFound(ChargeId),
    /// No such refund, or one of another account.
    #[error("refund {0} does not exist")]
    RefundNotFound(RefundId),
    /// This attempt exists with different values.
    #[error("this attempt already exists as charge {0} with different values")]
    ChargeExists(ChargeId),
    /// This attempt exists with different values.
    #[error("this attempt already exists as refund {0} with different values")]
    RefundExists(RefundId),
    /// The previous attempt was not definitely refused.
    #[error("attempt {0} is not DECLINED or FAILED_NOT_SENT; wait for its outcome")]
    AttemptNotDeclined(i32),
    /// The charge has not moved any money, at least not yet.
    #[error("charge {0} has not succeeded")]
    ChargeNotSucceeded(ChargeId),
    /// The refund exceeds the rest of the charge.
    #[error("the refund exceeds the refundable amount of charge {0}")]
    RefundExceedsCharge(ChargeId),
    /// The charge's method does not support refunds.
    #[error("method {0} does not support refunds; use the route MANUAL_BANK_TRANSFER")]
    MethodNotRefundable(String),
    /// The charge is settled by its provider, not by an operator.
    #[error("charge {0} is settled by its provider and can't be settled by an operator")]
    ChargeNotOffline(ChargeId),
    /// The charge is already decided.
    #[error("charge {0} is not pending")]
    ChargeNotPending(ChargeId),
    /// The settled amount differs from the charge's amount.
    #[error("amount: expected {0}, the charge's amount")]
    AmountDiffers(String),
    /// The reference already belongs to another movement.
    #[error("reference {0:?} already belongs to another movement")]
    ReferenceUsed(String),
    /// The movement does not wait for an operator.
    #[error("movement {0} is not parked; only parked movements can be resolved")]
    MovementNotParked(String),
    /// A stored row or value is missing or malformed. This service wrote it, so this is a bug.
    #[error("stored {0} is missing or malformed")]
    Stored(&'static str),
    /// A concurrent attempt of the same request won. Not transparent: callers search the error's sources for `Twin`.
    #[error("a concurrent attempt of the same request won")]
    Twin(#[from] Twin),
    /// The charge is disputed and its provider withholds the money.
    #[error("charge {0} is disputed and its provider withholds the money; wait for the outcome")]
    ChargeDisputed(ChargeId),
    /// No such webhook event.
    #[error("webhook event {0} does not exist")]
    WebhookEventNotFound(WebhookId),
    /// No such work is parked.
    #[error("no parked work {0} exists")]
    ParkedWorkNotFound(String),
    /// The method is closed to the account in its present state. Not transparent: callers search the error's sources
    /// for `NotOpen`.
    #[error("{0}")]
    NotOpen(#[from] chassis::NotOpen),
    /// The database failed, or returned a value that cannot be read.
    #[error("database")]
    Database(#[from] sqlx::Error),
}

impl From<FieldError> for Error {
    fn from(fault: FieldError) -> Self {
        Self::Field(fault)
    }
}

impl From<Error> for Status {
    /// The one mapping from errors to the wire. It has no catch-all arm, so that each new variant chooses its status.
    #[expect(clippy::too_many_lines, reason = "one exhaustive mapping")]
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
                "a value that the catalogue offers",
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
            Error::ParkedWorkNotFound(id) => not_found("PARKED_WORK_NOT_FOUND").with("workId", id),
            Error::NotOpen(not_open) => not_open.refusal(),
            Error::Database(_) => return chassis::database_status(&error),
        };
        refusal.into_status(DOMAIN, message)
    }
}
