//! Everything that can go wrong in plan, and how the wire shows it.

use chassis::{Chain, FieldError, Refusal};
use chrono::NaiveDate;
use thiserror::Error;
use tonic::{Code, Status};
use values::{AccountId, ContractId, ContractOfferId};

use crate::document::Fault;
use crate::domain::change::Rejected;
use crate::domain::timeline::InThePast;

const DOMAIN: &str = "plan.perdiem";

/// Why a request of this service did not succeed.
#[derive(Debug, Error)]
pub enum Error {
    /// Fields of the request do not read as what they must be.
    #[error("{}", said(.0))]
    Fields(Vec<FieldError>),
    /// A catalogue document fails its checks.
    #[error("the catalogue fails {} checks, first {}: {}", .0.len(), first(.0).path, first(.0).expected)]
    CatalogueInvalid(Vec<Fault>),
    /// A version names another document already.
    #[error("catalogue version {0} exists with another document")]
    CatalogueVersionExists(String),
    /// No such version.
    #[error("catalogue version {0} does not exist")]
    CatalogueVersionNotFound(String),
    /// No catalogue is in force.
    #[error("no catalogue is active: import one and activate it")]
    NoActiveCatalogue,
    /// The digest is another version's.
    #[error("catalogue version {0} has another digest")]
    DigestDiffers(String),
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
    /// The account is open with other facts.
    #[error("account {0} exists with other facts")]
    AccountExists(AccountId),
    /// The account's profile does not have the family.
    #[error("family {family} is not offered to account {account}")]
    FamilyNotOffered {
        /// The account.
        account: AccountId,
        /// The family.
        family: String,
    },
    /// No plan was in force then.
    #[error("account {0} had no plan at that instant")]
    NoPlanThen(AccountId),
    /// By our clock the period is still running.
    #[error("the period runs until {0}")]
    PeriodNotEnded(NaiveDate),
    /// A subaccount has no plan of its own (REQ-036).
    #[error("account {account} is a subaccount: use its root account {root}")]
    UseRootAccount {
        /// The subaccount.
        account: AccountId,
        /// Its root.
        root: AccountId,
    },
    /// No such plan.
    #[error("plan {0} does not exist")]
    PlanNotFound(String),
    /// The plan is in force already.
    #[error("plan {0} is the current one")]
    PlanIsCurrent(String),
    /// The plan is not sold any more.
    #[error("plan {0} is retired")]
    PlanRetired(String),
    /// The plan is not sold to customers.
    #[error("plan {0} is not offered")]
    PlanNotOffered(String),
    /// The family's rules refuse the change; where to turn to.
    #[error("{0}")]
    Rejected(Rejected, String),
    /// The family has no such billing cycle.
    #[error("billing cycle {0} does not exist")]
    CycleNotFound(String),
    /// The timeline or the catalogue has changed since the preview.
    #[error("what was quoted does not hold any more: quote again")]
    Requote,
    /// The timeline has a later change.
    #[error(transparent)]
    InThePast(#[from] InThePast),
    /// Cancelling is choosing the free plan (REQ-029).
    #[error("there is no cancelling in {0}: choose its free plan")]
    SelectFreePlan(String),
    /// The account is closed for ever.
    #[error("account {0} is closed")]
    AccountClosed(AccountId),
    /// No add-on of that code is known, or booked.
    #[error("add-on {0} does not exist")]
    AddOnNotFound(String),
    /// The plan in force does not sell it.
    #[error("the plan in force does not sell add-on {0}")]
    AddOnNotOffered(String),
    /// The plan in force has it.
    #[error("the plan in force includes {0}")]
    AddOnIncluded(String),
    /// It is booked.
    #[error("add-on {0} is booked")]
    AddOnExists(String),
    /// The account is open: nothing of it is erased.
    #[error("account {0} is not closed")]
    AccountNotClosed(AccountId),
    /// The subscription ends: that is taken back before it changes.
    #[error("the subscription of account {0} is cancelled: undo that first")]
    Cancelled(AccountId),
    /// The change takes effect when it is paid.
    #[error("account {0} pays for the change first")]
    PaymentRequired(AccountId),
    /// A change is pending, and the family's are not replaced.
    #[error("account {0} has a pending change: withdraw it first")]
    PendingChangeExists(AccountId),
    /// Nothing is pending.
    #[error("account {0} has no pending change")]
    NoPendingChange(AccountId),
    /// The family's pending changes are not withdrawn.
    #[error("the pending change of account {0} can't be withdrawn")]
    ChangeNotWithdrawable(AccountId),
    /// The plan has no period that it could end with.
    #[error("account {0} has no subscription to cancel")]
    NothingToCancel(AccountId),
    /// The subscription does not end.
    #[error("the subscription of account {0} is not cancelled")]
    NotCancelled(AccountId),
    /// No such offer, or not this account's.
    #[error("contract offer {0} does not exist")]
    ContractOfferNotFound(ContractOfferId),
    /// The offer was not accepted in time.
    #[error("contract offer {0} has expired")]
    OfferExpired(ContractOfferId),
    /// No such contract.
    #[error("contract {0} does not exist")]
    ContractNotFound(ContractId),
    /// The account is in a contract of the family.
    #[error("account {0} is in a contract already")]
    AlreadyInContract(AccountId),
    /// The account is not in the contract.
    #[error("account {0} is not in the contract")]
    NotAMember(AccountId),
    /// The account pays for the contract.
    #[error("account {0} pays for the contract: name another payer first")]
    ContractPayer(AccountId),
    /// A stored catalogue does not pass its checks; it did when it was stored, so this is a bug.
    #[error("stored catalogue {0} does not read")]
    StoredCatalogue(String),
    /// A stored segment names a plan that its version does not have.
    #[error("stored plan {0} is not in its catalogue")]
    StoredPlan(String),
    /// The database failed, or held what it must not.
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
        expected: String::new(),
    })
}

impl From<Error> for Status {
    /// The one table from errors to the wire. It has no catch-all: a new variant must choose.
    #[expect(clippy::too_many_lines, reason = "the one table")]
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
                    chassis::field_error(format!("document.{}", fault.path), &fault.expected)
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
            Error::StoredCatalogue(_) | Error::StoredPlan(_) => {
                tracing::error!(error = %Chain(&error), "request failed");
                return chassis::internal();
            }
            Error::Database(_) => return chassis::database_status(&error),
        };
        refusal.into_status(DOMAIN, message)
    }
}

/// The reasons that a catalogue's rules may give, as the API spells them.
fn reason(given: &str) -> &'static str {
    const KNOWN: [&str; 4] = [
        "CONTACT_SUPPORT",
        "CONTACT_SALES",
        "NOT_OFFERED",
        "CONTACT_ACCOUNT_MANAGER",
    ];
    KNOWN
        .into_iter()
        .find(|known| *known == given)
        .unwrap_or("CHANGE_REJECTED")
}
