//! Every error of plan, and its form on the wire.

use chassis::{Chain, FieldError, Refusal};
use chrono::{DateTime, NaiveDate, Utc};
use thiserror::Error;
use tonic::{Code, Status};
use values::{AccountId, ContractId, ContractOfferId};

use crate::document::Fault;
use crate::domain::change::Rejected;
use crate::domain::timeline::InThePast;

const DOMAIN: &str = "plan.perdiem";

/// Why a request of this service failed.
#[derive(Debug, Error)]
pub enum Error {
    /// Fields of the request are missing or malformed.
    #[error("{}", said(.0))]
    Fields(Vec<FieldError>),
    /// The catalogue document is invalid.
    #[error("the catalogue document has {} faults, the first at {}: {}", .0.len(), first(.0).path, first(.0).expected)]
    CatalogueInvalid(Vec<Fault>),
    /// The version is already imported with another document.
    #[error(
        "catalogue version {0} already exists with another document; import the change as a new version"
    )]
    CatalogueVersionExists(String),
    /// No such version.
    #[error("catalogue version {0} does not exist")]
    CatalogueVersionNotFound(String),
    /// The document of a version says that it is in force from a later instant on.
    #[error("catalogue version {version} is effective from {effective_at}")]
    CatalogueNotEffective {
        /// The version.
        version: String,
        /// From when on.
        effective_at: DateTime<Utc>,
    },
    /// No catalogue is in force.
    #[error("no catalogue is active: import one and activate it")]
    NoActiveCatalogue,
    /// The version was imported with another digest.
    #[error("catalogue version {0} has another digest; read the version and compare it")]
    DigestDiffers(String),
    /// None of the account's plans includes the support channel.
    #[error("channel {0} is not included in the plan")]
    ChannelNotInPlan(String),
    /// No such profile.
    #[error("profile {0} does not exist")]
    ProfileNotFound(String),
    /// No such family.
    #[error("family {0} does not exist")]
    FamilyNotFound(String),
    /// No such feature.
    #[error("feature {0} does not exist")]
    FeatureNotFound(String),
    /// No such account.
    #[error("account {0} does not exist")]
    AccountNotFound(AccountId),
    /// The account is already open with different attributes.
    #[error("account {0} already exists with different attributes")]
    AccountExists(AccountId),
    /// The account's profile does not include the family.
    #[error("family {family} is not offered to account {account}")]
    FamilyNotOffered {
        /// The account.
        account: AccountId,
        /// The family.
        family: String,
    },
    /// No plan was in force at the instant.
    #[error("account {0} has no plan in force at this time")]
    NoPlanThen(AccountId),
    /// The period has not ended yet by our clock.
    #[error("the period ends on {0} and can't be billed before")]
    PeriodNotEnded(NaiveDate),
    /// A subaccount has no plan of its own (REQ-036).
    #[error("account {account} is a subaccount; use its root account {root}")]
    UseRootAccount {
        /// The subaccount.
        account: AccountId,
        /// The root account.
        root: AccountId,
    },
    /// No such plan.
    #[error("plan {0} does not exist")]
    PlanNotFound(String),
    /// The plan is already in force.
    #[error("plan {0} is already the current plan")]
    PlanIsCurrent(String),
    /// The plan is no longer sold.
    #[error("plan {0} is retired; choose another plan")]
    PlanRetired(String),
    /// The plan is not sold to customers.
    #[error("plan {0} is not offered")]
    PlanNotOffered(String),
    /// The family's change rules refuse the change; with the sales or support contact.
    #[error("{0}")]
    Rejected(Rejected, String),
    /// The family has no such billing cycle.
    #[error("billing cycle {0} does not exist")]
    CycleNotFound(String),
    /// The timeline or the catalogue has changed since the quote.
    #[error("the quote is no longer valid; preview the change again")]
    Requote,
    /// The timeline already has a later change.
    #[error(transparent)]
    InThePast(#[from] InThePast),
    /// In this family, a subscription is cancelled by choosing its free plan (REQ-029).
    #[error("a plan of family {0} is cancelled by changing to its free plan")]
    SelectFreePlan(String),
    /// A trial can't buy paid support (D5).
    #[error("account {0} is a trial; upgrade it first")]
    UpgradeFirst(AccountId),
    /// The account is permanently closed.
    #[error("account {0} is closed")]
    AccountClosed(AccountId),
    /// The catalogue has no such add-on, or the account has not booked it.
    #[error("add-on {0} does not exist")]
    AddOnNotFound(String),
    /// The plan in force does not offer the add-on.
    #[error("the plan in force does not offer add-on {0}")]
    AddOnNotOffered(String),
    /// The plan in force includes the feature.
    #[error("the plan in force already includes {0}")]
    AddOnIncluded(String),
    /// The add-on is already booked.
    #[error("add-on {0} is already booked")]
    AddOnExists(String),
    /// The account is still open, so nothing of it is erased.
    #[error("account {0} is not closed; only the data of closed accounts is erased")]
    AccountNotClosed(AccountId),
    /// The subscription has been cancelled. The cancellation must be undone before the plan can change.
    #[error("the subscription of account {0} is cancelled; undo the cancellation first")]
    Cancelled(AccountId),
    /// The change takes effect only once it is paid.
    #[error("account {0} must pay for this change first; place an order")]
    PaymentRequired(AccountId),
    /// Whoever says that a change has been paid for has not collected the payment.
    #[error("only account-lifecycle says that a change has been paid for; leave paid out")]
    PaidNotAllowed,
    /// A change is pending, and the family does not replace pending changes.
    #[error("account {0} has a pending change; withdraw it first")]
    PendingChangeExists(AccountId),
    /// There is no pending change.
    #[error("account {0} has no pending change")]
    NoPendingChange(AccountId),
    /// The family does not allow pending changes to be withdrawn.
    #[error("the pending change of account {0} can't be withdrawn")]
    ChangeNotWithdrawable(AccountId),
    /// The plan has no billing cycle at whose end it could be cancelled.
    #[error("account {0} has no subscription to cancel")]
    NothingToCancel(AccountId),
    /// The subscription is not cancelled.
    #[error("the subscription of account {0} is not cancelled")]
    NotCancelled(AccountId),
    /// No such offer, or one of another account.
    #[error("contract offer {0} does not exist")]
    ContractOfferNotFound(ContractOfferId),
    /// The offer has expired without being accepted.
    #[error("contract offer {0} has expired; ask sales for a new one")]
    OfferExpired(ContractOfferId),
    /// No such contract.
    #[error("contract {0} does not exist")]
    ContractNotFound(ContractId),
    /// The account is already in a contract of the family.
    #[error(
        "account {0} is already in a contract of this family; remove it from that contract first"
    )]
    AlreadyInContract(AccountId),
    /// The account is not a member of the contract.
    #[error("account {0} is not a member of the contract")]
    NotAMember(AccountId),
    /// The account is the payer of the contract.
    #[error("account {0} pays for the contract; name another payer first")]
    ContractPayer(AccountId),
    /// A stored catalogue fails the checks that it passed when it was stored, so this is a bug.
    #[error("stored catalogue {0} cannot be parsed")]
    StoredCatalogue(String),
    /// A stored segment names a plan that its catalogue version lacks.
    #[error("stored plan {0} is not in its catalogue")]
    StoredPlan(String),
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
        Self::Fields(vec![fault])
    }
}

fn said(faults: &[FieldError]) -> String {
    faults
        .iter()
        .map(|fault| format!("{}: expected {}", fault.field, fault.expected))
        .collect::<Vec<_>>()
        .join("; ")
}

fn first(faults: &[Fault]) -> Fault {
    faults.first().cloned().unwrap_or(Fault {
        path: String::new(),
        line: None,
        expected: String::new(),
    })
}

impl From<Error> for Status {
    /// The one mapping from errors to the wire. It has no catch-all arm, so that each new variant chooses its status.
    #[expect(clippy::too_many_lines, reason = "one exhaustive mapping")]
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let not_found = |reason| Refusal::new(Code::NotFound, reason);
        let wrong_state = |reason| Refusal::new(Code::FailedPrecondition, reason);
        let refusal = match &error {
            Error::Fields(faults) => {
                let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
                Refusal::invalid("INVALID_FIELD")
                    .with("field", fields.join(","))
                    .with_fields(faults)
            }
            Error::CatalogueInvalid(faults) => {
                let fault = |fault: &Fault| {
                    let expected = match fault.line {
                        Some(line) => format!("line {line}: {}", fault.expected),
                        None => fault.expected.clone(),
                    };
                    chassis::field_error(format!("document.{}", fault.path), expected)
                };
                Refusal::invalid("CATALOGUE_INVALID")
                    .with_fields(&faults.iter().map(fault).collect::<Vec<_>>())
            }
            Error::CatalogueVersionExists(version) => {
                Refusal::new(Code::AlreadyExists, "CATALOGUE_VERSION_EXISTS")
                    .with("version", version)
            }
            Error::CatalogueVersionNotFound(version) => {
                not_found("CATALOGUE_VERSION_NOT_FOUND").with("version", version)
            }
            Error::CatalogueNotEffective {
                version,
                effective_at,
            } => wrong_state("CATALOGUE_NOT_EFFECTIVE")
                .with("version", version)
                .with("effectiveTime", effective_at.to_rfc3339()),
            Error::NoActiveCatalogue => wrong_state("NO_ACTIVE_CATALOGUE"),
            Error::DigestDiffers(version) => {
                Refusal::new(Code::Aborted, "CONFLICT").with("version", version)
            }
            Error::ProfileNotFound(code) => {
                not_found("PROFILE_NOT_FOUND").with("profileCode", code)
            }
            Error::FamilyNotFound(code) => not_found("FAMILY_NOT_FOUND").with("familyCode", code),
            Error::FeatureNotFound(code) => {
                not_found("FEATURE_NOT_FOUND").with("featureCode", code)
            }
            Error::AccountNotFound(id) => not_found("ACCOUNT_NOT_FOUND").with("accountId", id),
            Error::AccountExists(id) => {
                Refusal::new(Code::AlreadyExists, "ACCOUNT_EXISTS").with("accountId", id)
            }
            Error::FamilyNotOffered { account, family } => wrong_state("FAMILY_NOT_OFFERED")
                .with("accountId", account)
                .with("familyCode", family),
            Error::NoPlanThen(id) => not_found("NO_PLAN_THEN").with("accountId", id),
            Error::PeriodNotEnded(end) => wrong_state("PERIOD_NOT_ENDED").with("endDate", end),
            Error::UseRootAccount { account, root } => wrong_state("USE_ROOT_ACCOUNT")
                .with("accountId", account)
                .with("rootAccountId", root),
            Error::PlanNotFound(code) => not_found("PLAN_NOT_FOUND").with("planCode", code),
            Error::PlanIsCurrent(code) => {
                Refusal::new(Code::AlreadyExists, "PLAN_IS_CURRENT").with("planCode", code)
            }
            Error::PlanRetired(code) => wrong_state("PLAN_RETIRED").with("planCode", code),
            Error::PlanNotOffered(code) => wrong_state("PLAN_NOT_OFFERED").with("planCode", code),
            Error::Rejected(rejected, contact) if contact.is_empty() => {
                wrong_state(reason(&rejected.reason))
            }
            Error::Rejected(rejected, contact) => {
                wrong_state(reason(&rejected.reason)).with("contact", contact)
            }
            Error::CycleNotFound(code) => {
                not_found("BILLING_CYCLE_NOT_FOUND").with("billingCycleCode", code)
            }
            Error::Requote => Refusal::new(Code::Aborted, "REQUOTE"),
            Error::InThePast(InThePast) => Refusal::new(Code::Aborted, "CONFLICT"),
            Error::SelectFreePlan(family) => {
                wrong_state("SELECT_FREE_PLAN").with("familyCode", family)
            }
            Error::UpgradeFirst(id) => wrong_state("UPGRADE_FIRST").with("accountId", id),
            Error::AccountClosed(id) => wrong_state("ACCOUNT_CLOSED").with("accountId", id),
            Error::AddOnNotFound(code) => not_found("ADD_ON_NOT_FOUND").with("addOnCode", code),
            Error::AddOnNotOffered(code) => {
                wrong_state("ADD_ON_NOT_OFFERED").with("addOnCode", code)
            }
            Error::AddOnIncluded(code) => wrong_state("ADD_ON_INCLUDED").with("addOnCode", code),
            Error::AddOnExists(code) => {
                Refusal::new(Code::AlreadyExists, "ADD_ON_EXISTS").with("addOnCode", code)
            }
            Error::AccountNotClosed(id) => wrong_state("ACCOUNT_NOT_CLOSED").with("accountId", id),
            Error::Cancelled(id) => wrong_state("SUBSCRIPTION_CANCELLED").with("accountId", id),
            Error::PaymentRequired(id) => wrong_state("PAYMENT_REQUIRED").with("accountId", id),
            Error::PaidNotAllowed => {
                Refusal::new(Code::PermissionDenied, "CALLER_NOT_ALLOWED").with("field", "paid")
            }
            Error::PendingChangeExists(id) => {
                wrong_state("PENDING_CHANGE_EXISTS").with("accountId", id)
            }
            Error::NoPendingChange(id) => wrong_state("NO_PENDING_CHANGE").with("accountId", id),
            Error::ChangeNotWithdrawable(id) => {
                wrong_state("CHANGE_NOT_WITHDRAWABLE").with("accountId", id)
            }
            Error::NothingToCancel(id) => wrong_state("NOTHING_TO_CANCEL").with("accountId", id),
            Error::NotCancelled(id) => wrong_state("NOT_CANCELLED").with("accountId", id),
            Error::ContractOfferNotFound(id) => {
                not_found("CONTRACT_OFFER_NOT_FOUND").with("offerId", id)
            }
            Error::OfferExpired(id) => wrong_state("OFFER_EXPIRED").with("offerId", id),
            Error::ContractNotFound(id) => not_found("CONTRACT_NOT_FOUND").with("contractId", id),
            Error::AlreadyInContract(id) => {
                wrong_state("ALREADY_IN_CONTRACT").with("accountId", id)
            }
            Error::NotAMember(id) => wrong_state("NOT_A_MEMBER").with("accountId", id),
            Error::ContractPayer(id) => wrong_state("CONTRACT_PAYER").with("accountId", id),
            Error::ChannelNotInPlan(channel) => {
                wrong_state("CHANNEL_NOT_IN_PLAN").with("channelCode", channel)
            }
            Error::StoredCatalogue(_) | Error::StoredPlan(_) => {
                tracing::error!(error = %Chain(&error), "request failed");
                return chassis::internal();
            }
            Error::NotOpen(not_open) => not_open.refusal(),
            Error::Database(_) => return chassis::database_status(&error),
        };
        refusal.into_status(DOMAIN, message)
    }
}

/// The error reason for the reason of a change rule; `CHANGE_REJECTED` for an unknown one.
fn reason(given: &str) -> &'static str {
    const KNOWN: [&str; 5] = [
        "CONTACT_SUPPORT",
        "REMOVE_CONTRACT_MEMBER",
        "CONTACT_SALES",
        "NOT_OFFERED",
        "CONTACT_ACCOUNT_MANAGER",
    ];
    KNOWN
        .into_iter()
        .find(|known| *known == given)
        .unwrap_or("CHANGE_REJECTED")
}
