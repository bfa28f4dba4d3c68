//! Every error of account-lifecycle, and its form on the wire.

use std::time::Duration;

use chassis::{Chain, FieldError, Refusal, Twin};
use thiserror::Error;
use tonic::{Code, Status};
use values::{
    AccountId, InvoiceId, KycId, MethodId, OrderId, RegistrationId, ResourceId, TicketId, UserId,
    WhitelistedId,
};

use crate::domain::billing_details::CountryRefused;
use crate::domain::capability::Denial;
use crate::domain::closing::{self, CloseRefused};
use crate::domain::kyc::KycRefused;
use crate::domain::order::OrderRefused;
use crate::domain::whitelist::CodeRefused;

const DOMAIN: &str = "account.perdiem";

/// Why a request or a job of this service failed.
#[derive(Debug, Error)]
pub enum Error {
    /// Fields of the request are missing or malformed.
    #[error("{}", said(.0))]
    Fields(Vec<FieldError>),
    /// No such account, or one that the caller may not see.
    #[error("account {0} does not exist")]
    AccountNotFound(AccountId),
    /// The id already belongs to an account with different attributes.
    #[error("account {0} already exists with different attributes")]
    AccountExists(AccountId),
    /// No such user.
    #[error("user {0} does not exist")]
    UserNotFound(UserId),
    /// Only operators delete users (REQ-055).
    #[error("only support can delete users; contact support")]
    UserByOperator,
    /// The user still owns an open account.
    #[error("user {0} owns an open account; close it first")]
    UserOwnsAccount(UserId),
    /// The email address already belongs to a user.
    #[error("a user with this email address already exists")]
    UserExists,
    /// No such order, or one that the caller may not see.
    #[error("order {0} does not exist")]
    OrderNotFound(OrderId),
    /// An operator quoted the order, with powers that the customer does not have.
    #[error("order {0} was quoted by an operator; only an operator can confirm and commit it")]
    OrderOfOperator(OrderId),
    /// The account has no paid plan: a trial, or a plan that has ended. It must upgrade before it can change plans.
    #[error("account {0} has no paid plan; place an upgrade order first")]
    UpgradeFirst(AccountId),
    /// The account already has a paid plan, which is changed rather than upgraded to.
    #[error("account {0} already has a paid plan; change the plan instead")]
    AlreadyUpgraded(AccountId),
    /// The profile requires an approved KYC first.
    #[error("the KYC of account {0} is not approved; submit it or wait for the review")]
    KycNotApproved(AccountId),
    /// The profile does not require a KYC.
    #[error("account {0} does not require a KYC")]
    KycNotRequired(AccountId),
    /// No such submission, or one that the caller may not see.
    #[error("KYC submission {0} does not exist")]
    KycNotFound(KycId),
    /// Documents that the catalogue requires are missing.
    #[error("required documents are missing: {}", .0.join(", "))]
    DocumentMissing(Vec<String>),
    /// The KYC submission is in the wrong state.
    #[error(transparent)]
    Kyc(#[from] KycRefused),
    /// The profile levies tax, but the account's tax country is not known (D33).
    #[error("account {0} has no billing details; set them with UpdateBillingDetails first")]
    BillingDetailsRequired(AccountId),
    /// The tax country is refused.
    #[error(transparent)]
    Country(#[from] CountryRefused),
    /// The credit bought is less than the minimum of the first purchase of this plan (REQ-100).
    #[error("the first credit purchase must be at least {0}")]
    BelowMinimum(String),
    /// The account is permanently closed.
    #[error("account {0} is closed")]
    AccountClosed(AccountId),
    /// The closing is refused: wrong caller, option or acknowledgements.
    #[error(transparent)]
    Close(#[from] CloseRefused),
    /// Only operators close accounts of this profile.
    #[error("only support can close account {0}; contact support")]
    ContactSupport(AccountId),
    /// Closing requires recent re-authentication (REQ-057).
    #[error("closing account {0} requires recent authentication; authenticate again")]
    ReauthRequired(AccountId),
    /// A new e-mail address requires recent re-authentication.
    #[error("changing the address of user {0} requires recent authentication; authenticate again")]
    UserReauthRequired(UserId),
    /// The account is the payer of a contract that is still in force (D16).
    #[error("account {0} pays for a contract; name another payer first")]
    ContractPayer(AccountId),
    /// The account has plans that the customer cannot leave.
    #[error("the account cannot be made dormant: {}", blocked(.0))]
    SoftCloseBlocked(Vec<(String, String)>),
    /// A dormant account can neither buy nor change plans.
    #[error("account {0} is dormant; return it to service first")]
    AccountDormant(AccountId),
    /// Only a dormant account can return to service.
    #[error("account {0} is not dormant")]
    AccountNotDormant(AccountId),
    /// The account is already suspended for this reason.
    #[error("account {0} is already suspended for this reason")]
    AccountSuspended(AccountId),
    /// The account is not suspended for this reason.
    #[error("account {0} is not suspended for this reason")]
    AccountNotSuspended(AccountId),
    /// The account does not have this capability at the moment.
    #[error("account {0} is not permitted to do this: {1}")]
    Denied(AccountId, Denial),
    /// No such resource, or one that the caller may not see.
    #[error("resource {0} does not exist")]
    ResourceNotFound(ResourceId),
    /// The account already holds a resource of this kind and sid.
    #[error("a resource of this kind and sid is already recorded")]
    ResourceExists,
    /// No such registration, or one that the caller may not see.
    #[error("DLT registration {0} does not exist")]
    DltRegistrationNotFound(RegistrationId),
    /// A registration for the country is already in force.
    #[error("a DLT registration for {0} is already in force; revoke it first")]
    DltRegistrationExists(String),
    /// No such number, or one that the caller may not see.
    #[error("whitelisted number {0} does not exist")]
    WhitelistedNumberNotFound(WhitelistedId),
    /// The number is already on the account's whitelist.
    #[error("the number is already whitelisted")]
    WhitelistedNumberExists,
    /// The trial has reached its limit of whitelisted numbers.
    #[error("account {account} has {limit} whitelisted numbers, the maximum for its trial")]
    WhitelistLimit {
        /// The account.
        account: AccountId,
        /// The limit.
        limit: i64,
    },
    /// The verification code is not sent, or not accepted.
    #[error(transparent)]
    Code(#[from] CodeRefused),
    /// Another order of this kind is still in progress.
    #[error("account {0} has an order in progress; try again once it has ended")]
    OrderUnderWay(AccountId),
    /// No such ticket, or one that the caller may not see.
    #[error("ticket {0} does not exist")]
    TicketNotFound(TicketId),
    /// No such work is parked.
    #[error("no parked work {0} exists")]
    ParkedWorkNotFound(String),
    /// No billing cycle of the account is unpaid.
    #[error("account {0} has no unpaid renewal")]
    NothingDue(AccountId),
    /// The owner has not given any payout details, or they were erased after the last refund ended.
    #[error("account {0} has no payout details")]
    PayoutDetailsNotFound(AccountId),
    /// No such payment method, or one of another account.
    #[error("payment method {0} does not exist")]
    PaymentMethodNotFound(MethodId),
    /// The payment method is expired or removed.
    #[error("payment method {0} is expired or removed")]
    PaymentMethodNotUsable(MethodId),
    /// What is bought can't be paid with the method.
    #[error("this can't be paid with {0}")]
    MethodNotAvailable(String),
    /// The total is less than the minimum of the method.
    #[error("{method} pays {minimum} or more")]
    BelowMethodMinimum {
        /// The method.
        method: String,
        /// Its minimum, with the currency.
        minimum: String,
    },
    /// No such invoice, or one of another account.
    #[error("invoice {0} does not exist")]
    InvoiceNotFound(InvoiceId),
    /// The price list has no number in the account's currency.
    #[error("numbers are not sold in the currency of account {0}")]
    NumbersNotOffered(AccountId),
    /// The account's data has not been deleted yet.
    #[error("the data of account {0} has not been deleted")]
    DeletionReceiptNotFound(AccountId),
    /// No such profile.
    #[error("profile {0} does not exist")]
    ProfileNotFound(String),
    /// The profile has no such role.
    #[error("role {0} does not exist")]
    RoleNotFound(String),
    /// None of the person's roles permits the action.
    #[error("none of the caller's roles in account {0} permits this")]
    RoleNotAllowed(AccountId),
    /// Only operators may set this field.
    #[error("only operators may set {0}")]
    OperatorsOnly(&'static str),
    /// The user does not hold the role.
    #[error("user {0} does not hold the role")]
    MemberNotFound(UserId),
    /// The last owner cannot be removed.
    #[error("account {0} must keep at least one owner; grant the role to another user first")]
    LastOwner(AccountId),
    /// Subaccounts cannot have subaccounts.
    #[error("account {account} is a subaccount; use its root account {root}")]
    UseRootAccount {
        /// The subaccount.
        account: AccountId,
        /// The root account.
        root: AccountId,
    },
    /// The root account has reached its profile's limit of subaccounts.
    #[error("account {account} has {limit} subaccounts, the maximum of its profile")]
    TooManySubaccounts {
        /// The root account.
        account: AccountId,
        /// The limit.
        limit: i64,
    },
    /// The user has reached the limit of trial accounts.
    #[error("user {user} has opened {limit} trial accounts, the maximum for one user")]
    TooManyTrials {
        /// The person.
        user: UserId,
        /// The limit.
        limit: i64,
    },
    /// The account has reached the limit of resources.
    #[error("account {account} holds {limit} resources, the maximum for one account")]
    TooManyResources {
        /// The account.
        account: AccountId,
        /// The limit.
        limit: i64,
    },
    /// The order is in the wrong state.
    #[error(transparent)]
    Order(#[from] OrderRefused),
    /// The plan does not include this support channel.
    #[error("channel {0} is not included in the plan")]
    ChannelNotInPlan(String),
    /// A stored row, or a value of another service, is missing or malformed. This is a bug.
    #[error("{0} is missing or malformed")]
    Stored(&'static str),
    /// Another service refused the call or is unavailable.
    #[error("calling another service: {}", .0.message())]
    Peer(#[from] Status),
    /// A concurrent attempt of the same request won. Not transparent: callers search the error's sources for `Twin`.
    #[error("a concurrent attempt of the same request won")]
    Twin(#[from] Twin),
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
            Error::BillingDetailsRequired(id) => {
                wrong_state("BILLING_DETAILS_REQUIRED").with("accountId", id)
            }
            Error::Country(CountryRefused::FollowsKyc(country)) => {
                wrong_state("COUNTRY_FOLLOWS_KYC").with("countryCode", country)
            }
            Error::Country(CountryRefused::ReasonMissing(_)) => {
                let expected = "a reason why the country differs from that of the approved KYC";
                Refusal::invalid("INVALID_FIELD")
                    .with("field", "country_reason")
                    .with_fields(&[chassis::field_error("country_reason", expected)])
            }
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
                let expected = closing::names(options).join(" or ");
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
            Error::UserReauthRequired(id) => {
                Refusal::new(Code::Unauthenticated, "REAUTH_REQUIRED").with("userId", id)
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
            // Retryable: the order in progress may end at any moment.
            Error::OrderUnderWay(id) => Refusal::new(Code::Aborted, "ORDER_UNDER_WAY")
                .with("accountId", id)
                .retry_after(Duration::from_secs(1)),
            Error::PaymentMethodNotFound(id) => {
                not_found("PAYMENT_METHOD_NOT_FOUND").with("paymentMethodId", id)
            }
            Error::PaymentMethodNotUsable(id) => {
                wrong_state("PAYMENT_METHOD_NOT_USABLE").with("paymentMethodId", id)
            }
            Error::MethodNotAvailable(code) => {
                wrong_state("METHOD_NOT_AVAILABLE").with("methodCode", code)
            }
            Error::BelowMethodMinimum { method, minimum } => {
                Refusal::invalid("BELOW_METHOD_MINIMUM")
                    .with("methodCode", method)
                    .with_fields(&[chassis::field_error(
                        "payment_method_id",
                        format!("a method that pays less than {minimum}"),
                    )])
            }
            Error::InvoiceNotFound(id) => not_found("INVOICE_NOT_FOUND").with("invoiceId", id),
            Error::PayoutDetailsNotFound(id) => {
                not_found("PAYOUT_DETAILS_NOT_FOUND").with("accountId", id)
            }
            Error::NothingDue(id) => wrong_state("NOTHING_DUE").with("accountId", id),
            Error::NumbersNotOffered(id) => {
                wrong_state("NUMBERS_NOT_OFFERED").with("accountId", id)
            }
            Error::DeletionReceiptNotFound(id) => {
                not_found("DELETION_RECEIPT_NOT_FOUND").with("accountId", id)
            }
            Error::TicketNotFound(id) => not_found("TICKET_NOT_FOUND").with("ticketId", id),
            Error::ParkedWorkNotFound(id) => not_found("PARKED_WORK_NOT_FOUND").with("workId", id),
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
            Error::TooManyTrials { user, limit } => {
                Refusal::new(Code::ResourceExhausted, "TOO_MANY_TRIAL_ACCOUNTS")
                    .with("userId", user)
                    .with("limit", limit)
            }
            Error::TooManyResources { account, limit } => {
                Refusal::new(Code::ResourceExhausted, "TOO_MANY_RESOURCES")
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
            Error::Order(OrderRefused::NotOpen) => wrong_state("ORDER_NOT_OPEN"),
            // It passes, as for another order of the account.
            Error::Order(OrderRefused::UnderWay) => {
                Refusal::new(Code::Aborted, "ORDER_UNDER_WAY").retry_after(Duration::from_secs(1))
            }
            Error::ChannelNotInPlan(channel) => {
                wrong_state("CHANNEL_NOT_IN_PLAN").with("channelCode", channel)
            }
            Error::Stored(_) => {
                tracing::error!(error = %Chain(&error), "request failed");
                return chassis::internal();
            }
            // Refusals of another service are passed on as ours; its faults and outages keep their status codes.
            Error::Peer(status) => return status.clone(),
            Error::Twin(Twin) => Refusal::new(Code::Aborted, "CONFLICT"),
            Error::NotOpen(not_open) => not_open.refusal(),
            Error::Database(_) => return chassis::database_status(&error),
        };
        refusal.into_status(DOMAIN, message)
    }
}
