//! Everything that can go wrong in account-lifecycle, and how the wire shows it.

use chassis::{Chain, FieldError, Refusal, Twin};
use thiserror::Error;
use tonic::{Code, Status};
use values::{
    AccountId, InvoiceId, KycId, OrderId, RegistrationId, ResourceId, TicketId, UserId,
    WhitelistedId,
};

use crate::domain::capability::Denial;
use crate::domain::closing::CloseRefused;
use crate::domain::kyc::KycRefused;
use crate::domain::order::OrderRefused;
use crate::domain::whitelist::CodeRefused;

const DOMAIN: &str = "account.perdiem";

/// Why a request or a job of this service did not succeed.
#[derive(Debug, Error)]
pub enum Error {
    /// Fields of the request do not read as what they must be.
    #[error("{}", said(.0))]
    Fields(Vec<FieldError>),
    /// No such account, or not one that this caller may know of.
    #[error("account {0} does not exist")]
    AccountNotFound(AccountId),
    /// The id is another account's.
    #[error("account {0} exists with other facts")]
    AccountExists(AccountId),
    /// No such user.
    #[error("user {0} does not exist")]
    UserNotFound(UserId),
    /// Support deletes users (REQ-055).
    #[error("users are deleted by support")]
    UserByOperator,
    /// An account of the user is open.
    #[error("user {0} owns an open account")]
    UserOwnsAccount(UserId),
    /// The address is a user's already.
    #[error("a user with this address exists")]
    UserExists,
    /// No such order, or not one that this caller may know of.
    #[error("order {0} does not exist")]
    OrderNotFound(OrderId),
    /// An operator quoted it, with powers that a person does not have.
    #[error("order {0} was quoted by an operator, who must confirm and commit it")]
    OrderOfOperator(OrderId),
    /// A trial buys a plan before it buys credit.
    #[error("account {0} is a trial: upgrade first")]
    UpgradeFirst(AccountId),
    /// The account has a paid plan: it changes that, and upgrades no more.
    #[error("account {0} has a paid plan: change it")]
    AlreadyUpgraded(AccountId),
    /// Its profile asks for an approved KYC first.
    #[error("the KYC of account {0} is not approved")]
    KycNotApproved(AccountId),
    /// Its profile asks for no KYC.
    #[error("no KYC is asked for of account {0}")]
    KycNotRequired(AccountId),
    /// No such submission, or not one that this caller may know of.
    #[error("KYC submission {0} does not exist")]
    KycNotFound(KycId),
    /// Documents are missing that the catalogue asks for.
    #[error("documents are missing: {}", .0.join(", "))]
    DocumentMissing(Vec<String>),
    /// The submission does not move.
    #[error(transparent)]
    Kyc(#[from] KycRefused),
    /// Less credit than the plan's first purchase must bring (REQ-100).
    #[error("the first credit is at least {0}")]
    BelowMinimum(String),
    /// The account is closed for ever.
    #[error("account {0} is closed")]
    AccountClosed(AccountId),
    /// The account is not closed by whoever asks, or not so.
    #[error(transparent)]
    Close(#[from] CloseRefused),
    /// Operators close accounts of its profile.
    #[error("account {0} is closed by support")]
    ContactSupport(AccountId),
    /// Closing asks for a fresh proof of who the person is (REQ-057).
    #[error("prove who you are again to close account {0}")]
    ReauthRequired(AccountId),
    /// The account pays for a contract that goes on (D16).
    #[error("account {0} pays for a contract: another payer must be named first")]
    ContractPayer(AccountId),
    /// Plans that the customer can't leave stand in the way.
    #[error("a soft close is not possible: {}", blocked(.0))]
    SoftCloseBlocked(Vec<(String, String)>),
    /// A dormant account neither buys nor changes.
    #[error("account {0} is dormant: return to service first")]
    AccountDormant(AccountId),
    /// Only a dormant account returns.
    #[error("account {0} is not dormant")]
    AccountNotDormant(AccountId),
    /// It is suspended for that reason already.
    #[error("account {0} is suspended for that reason")]
    AccountSuspended(AccountId),
    /// It is not suspended for that reason.
    #[error("account {0} is not suspended for that reason")]
    AccountNotSuspended(AccountId),
    /// The account may not do it now.
    #[error("account {0} may not: {1}")]
    Denied(AccountId, Denial),
    /// No such resource, or not one that this caller may know of.
    #[error("resource {0} does not exist")]
    ResourceNotFound(ResourceId),
    /// A resource of its kind with its sid is held.
    #[error("a resource of this kind and sid is recorded")]
    ResourceExists,
    /// No such registration, or not one that this caller may know of.
    #[error("DLT registration {0} does not exist")]
    DltRegistrationNotFound(RegistrationId),
    /// One for the country is in force.
    #[error("a DLT registration for {0} is in force")]
    DltRegistrationExists(String),
    /// No such number, or not one that this caller may know of.
    #[error("whitelisted number {0} does not exist")]
    WhitelistedNumberNotFound(WhitelistedId),
    /// It is on the list.
    #[error("the number is on the list")]
    WhitelistedNumberExists,
    /// The trial has as many numbers as it may.
    #[error("account {account} has {limit} whitelisted numbers, the most its trial allows")]
    WhitelistLimit {
        /// The account.
        account: AccountId,
        /// The most.
        limit: i64,
    },
    /// A code is neither sent nor taken.
    #[error(transparent)]
    Code(#[from] CodeRefused),
    /// Another order of this kind is being paid.
    #[error("account {0} has an order under way")]
    OrderUnderWay(AccountId),
    /// No such ticket, or not one that this caller may know of.
    #[error("ticket {0} does not exist")]
    TicketNotFound(TicketId),
    /// No cycle of the account is to be paid.
    #[error("nothing of account {0} is due")]
    NothingDue(AccountId),
    /// No such invoice, or another account's.
    #[error("invoice {0} does not exist")]
    InvoiceNotFound(InvoiceId),
    /// No kind of number has a price in the currency of the account.
    #[error("numbers are not sold to account {0}")]
    NumbersNotOffered(AccountId),
    /// The account's data have not been deleted.
    #[error("the data of account {0} have not been deleted")]
    DeletionReceiptNotFound(AccountId),
    /// No such profile.
    #[error("profile {0} does not exist")]
    ProfileNotFound(String),
    /// The profile has no such role.
    #[error("role {0} does not exist")]
    RoleNotFound(String),
    /// The person's roles do not reach.
    #[error("none of the caller's roles in account {0} may do this")]
    RoleNotAllowed(AccountId),
    /// Only an operator may ask for this.
    #[error("only operators may set {0}")]
    OperatorsOnly(&'static str),
    /// The role is not held.
    #[error("user {0} does not hold the role")]
    MemberNotFound(UserId),
    /// An account keeps an owner.
    #[error("account {0} would have no owner")]
    LastOwner(AccountId),
    /// Subaccounts have no subaccounts.
    #[error("account {account} is a subaccount: use its root account {root}")]
    UseRootAccount {
        /// The subaccount.
        account: AccountId,
        /// Its root.
        root: AccountId,
    },
    /// The root has as many subaccounts as its profile allows.
    #[error("account {account} has {limit} subaccounts, the most its profile allows")]
    TooManySubaccounts {
        /// The root.
        account: AccountId,
        /// The most.
        limit: i64,
    },
    /// The order does not move.
    #[error(transparent)]
    Order(#[from] OrderRefused),
    /// The plan does not open this channel.
    #[error("channel {0} is not in the plan")]
    ChannelNotInPlan(String),
    /// A stored value does not read; we wrote it, so this is a bug.
    #[error("stored {0} does not read")]
    Stored(&'static str),
    /// Another service refused or is away.
    #[error("calling another service: {}", .0.message())]
    Peer(#[from] Status),
    /// Another try of the same intent was first. Not transparent: it is looked for among causes.
    #[error("another try was first")]
    Twin(#[from] Twin),
    /// The database failed, or held what it must not.
    #[error("database")]
    Database(#[from] sqlx::Error),
}

impl From<FieldError> for Error {
    fn from(fault: FieldError) -> Self {
        Self::Fields(vec![fault])
    }
}

fn blocked(blockers: &[(String, String)]) -> String {
    let one = |(reason, what): &(String, String)| format!("{what}: {reason}");
    blockers.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn said(faults: &[FieldError]) -> String {
    faults
        .iter()
        .map(|fault| format!("{}: expected {}", fault.field, fault.expected))
        .collect::<Vec<_>>()
        .join("; ")
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
            Error::AccountNotFound(id) => not_found("ACCOUNT_NOT_FOUND").with("accountId", id),
            Error::AccountExists(id) => {
                Refusal::new(Code::AlreadyExists, "ACCOUNT_EXISTS").with("accountId", id)
            }
            Error::UserNotFound(id) => not_found("USER_NOT_FOUND").with("userId", id),
            Error::UserOwnsAccount(id) => wrong_state("USER_OWNS_ACCOUNT").with("userId", id),
            Error::UserExists => Refusal::new(Code::AlreadyExists, "USER_EXISTS"),
            Error::OrderNotFound(id) => not_found("ORDER_NOT_FOUND").with("orderId", id),
            Error::OrderOfOperator(id) => {
                Refusal::new(Code::PermissionDenied, "ORDER_OF_OPERATOR").with("orderId", id)
            }
            Error::UpgradeFirst(id) => wrong_state("UPGRADE_FIRST").with("accountId", id),
            Error::AlreadyUpgraded(id) => wrong_state("ALREADY_UPGRADED").with("accountId", id),
            Error::KycNotApproved(id) => wrong_state("KYC_NOT_APPROVED").with("accountId", id),
            Error::KycNotRequired(id) => wrong_state("KYC_NOT_REQUIRED").with("accountId", id),
            Error::KycNotFound(id) => not_found("KYC_NOT_FOUND").with("kycId", id),
            Error::DocumentMissing(codes) => Refusal::invalid("DOCUMENT_MISSING")
                .with("documentCodes", codes.join(","))
                .with_fields(&[chassis::field_error("documents", codes.join(", "))]),
            Error::Kyc(refused) => wrong_state(match refused {
                KycRefused::UnderReview => "KYC_UNDER_REVIEW",
                KycRefused::Approved => "KYC_APPROVED",
                KycRefused::NotPending => "KYC_NOT_PENDING",
                KycRefused::NotInReview => "KYC_NOT_IN_REVIEW",
                KycRefused::NotApproved => "KYC_NOT_APPROVED",
            }),
            Error::BelowMinimum(least) => {
                let expected = format!("at least {least}");
                Refusal::invalid("BELOW_MINIMUM")
                    .with("minimum", least)
                    .with_fields(&[chassis::field_error("upgrade.credit_amount", expected)])
            }
            Error::AccountClosed(id) => wrong_state("ACCOUNT_CLOSED").with("accountId", id),
            Error::Close(CloseRefused::ContactAccountManager) => {
                wrong_state("CONTACT_ACCOUNT_MANAGER")
            }
            Error::UserByOperator | Error::Close(CloseRefused::ContactSupport) => {
                wrong_state("CONTACT_SUPPORT")
            }
            Error::Close(CloseRefused::OptionRequired(options)) => {
                let expected = options.join(" or ");
                Refusal::invalid("OPTION_REQUIRED")
                    .with_fields(&[chassis::field_error("option", expected)])
            }
            Error::Close(CloseRefused::AcknowledgementMissing(codes)) => {
                Refusal::invalid("ACKNOWLEDGEMENT_MISSING")
                    .with("acknowledgementCodes", codes.join(","))
                    .with_fields(&[chassis::field_error(
                        "acknowledgement_codes",
                        codes.join(", "),
                    )])
            }
            Error::ContactSupport(id) => wrong_state("CONTACT_SUPPORT").with("accountId", id),
            Error::ReauthRequired(id) => {
                Refusal::new(Code::Unauthenticated, "REAUTH_REQUIRED").with("accountId", id)
            }
            Error::ContractPayer(id) => wrong_state("CONTRACT_PAYER").with("accountId", id),
            Error::SoftCloseBlocked(blockers) => {
                let plans: Vec<_> = blockers.iter().map(|(_, what)| what.as_str()).collect();
                wrong_state("SOFT_CLOSE_BLOCKED").with("blockers", plans.join(","))
            }
            Error::AccountDormant(id) => wrong_state("ACCOUNT_DORMANT").with("accountId", id),
            Error::AccountNotDormant(id) => {
                wrong_state("ACCOUNT_NOT_DORMANT").with("accountId", id)
            }
            Error::AccountSuspended(id) => wrong_state("ACCOUNT_SUSPENDED").with("accountId", id),
            Error::AccountNotSuspended(id) => {
                wrong_state("ACCOUNT_NOT_SUSPENDED").with("accountId", id)
            }
            Error::Denied(id, Denial::OverQuota) => {
                Refusal::new(Code::ResourceExhausted, "OVER_QUOTA").with("accountId", id)
            }
            Error::Denied(id, denial) => wrong_state(denial.name()).with("accountId", id),
            Error::ResourceNotFound(id) => not_found("RESOURCE_NOT_FOUND").with("resourceId", id),
            Error::ResourceExists => Refusal::new(Code::AlreadyExists, "RESOURCE_EXISTS"),
            Error::DltRegistrationNotFound(id) => {
                not_found("DLT_REGISTRATION_NOT_FOUND").with("dltRegistrationId", id)
            }
            Error::DltRegistrationExists(country) => {
                Refusal::new(Code::AlreadyExists, "DLT_REGISTRATION_EXISTS")
                    .with("countryCode", country)
            }
            Error::WhitelistedNumberNotFound(id) => {
                not_found("WHITELISTED_NUMBER_NOT_FOUND").with("whitelistedNumberId", id)
            }
            Error::WhitelistedNumberExists => {
                Refusal::new(Code::AlreadyExists, "WHITELISTED_NUMBER_EXISTS")
            }
            Error::WhitelistLimit { account, limit } => {
                Refusal::new(Code::ResourceExhausted, "WHITELIST_LIMIT")
                    .with("accountId", account)
                    .with("limit", limit)
            }
            Error::Code(CodeRefused::Limit) => Refusal::new(Code::ResourceExhausted, "CODE_LIMIT"),
            Error::Code(CodeRefused::Verified) => wrong_state("NUMBER_VERIFIED"),
            Error::Code(CodeRefused::Wrong) => wrong_state("CODE_WRONG"),
            Error::Code(CodeRefused::Expired) => wrong_state("CODE_EXPIRED"),
            Error::Code(CodeRefused::Blocked) => wrong_state("CODE_BLOCKED"),
            Error::OrderUnderWay(id) => wrong_state("ORDER_UNDER_WAY").with("accountId", id),
            Error::InvoiceNotFound(id) => not_found("INVOICE_NOT_FOUND").with("invoiceId", id),
            Error::NothingDue(id) => wrong_state("NOTHING_DUE").with("accountId", id),
            Error::NumbersNotOffered(id) => {
                wrong_state("NUMBERS_NOT_OFFERED").with("accountId", id)
            }
            Error::DeletionReceiptNotFound(id) => {
                not_found("DELETION_RECEIPT_NOT_FOUND").with("accountId", id)
            }
            Error::TicketNotFound(id) => not_found("TICKET_NOT_FOUND").with("ticketId", id),
            Error::ProfileNotFound(code) => {
                not_found("PROFILE_NOT_FOUND").with("profileCode", code)
            }
            Error::RoleNotFound(code) => not_found("ROLE_NOT_FOUND").with("roleCode", code),
            Error::RoleNotAllowed(id) => {
                Refusal::new(Code::PermissionDenied, "ROLE_NOT_ALLOWED").with("accountId", id)
            }
            Error::OperatorsOnly(what) => {
                Refusal::new(Code::PermissionDenied, "OPERATORS_ONLY").with("field", what)
            }
            Error::MemberNotFound(id) => not_found("MEMBER_NOT_FOUND").with("userId", id),
            Error::LastOwner(id) => wrong_state("LAST_OWNER").with("accountId", id),
            Error::UseRootAccount { account, root } => wrong_state("USE_ROOT_ACCOUNT")
                .with("accountId", account)
                .with("rootAccountId", root),
            Error::TooManySubaccounts { account, limit } => {
                Refusal::new(Code::ResourceExhausted, "TOO_MANY_SUBACCOUNTS")
                    .with("accountId", account)
                    .with("limit", limit)
            }
            Error::Order(OrderRefused::Requote) => Refusal::new(Code::Aborted, "REQUOTE"),
            Error::Order(OrderRefused::ConfirmationMissing { required, given }) => {
                wrong_state("CONFIRMATION_MISSING")
                    .with("required", required)
                    .with("given", given)
            }
            Error::Order(OrderRefused::NotQuoted) => wrong_state("ORDER_NOT_QUOTED"),
            Error::ChannelNotInPlan(channel) => {
                wrong_state("CHANNEL_NOT_IN_PLAN").with("channelCode", channel)
            }
            Error::Stored(_) => {
                tracing::error!(error = %Chain(&error), "request failed");
                return chassis::internal();
            }
            // Its refusals are ours; its faults and absences keep their codes.
            Error::Peer(status) => return status.clone(),
            Error::Twin(Twin) => Refusal::new(Code::Aborted, "CONFLICT"),
            Error::Database(_) => return chassis::database_status(&error),
        };
        refusal.into_status(DOMAIN, message)
    }
}
