//! The errors of billing and how each is returned on the wire.

use std::time::Duration;

use chassis::{Chain, FieldError, Refusal, Twin};
use thiserror::Error;
use tonic::{Code, Status};
use values::{AccountId, CollectionId, InvoiceId, LotId, RentalId, RunId};

use crate::domain::run::Needed;
use crate::domain::usage::SumOutOfRange;

const DOMAIN: &str = "billing.perdiem";
/// When to ask again while a run or a payment is under way.
const UNDER_WAY: Duration = Duration::from_secs(5);

/// Why a request or a job of this service failed.
#[derive(Debug, Error)]
pub enum Error {
    /// Fields of the request are malformed or out of range.
    #[error("{}", said(.0))]
    Fields(Vec<FieldError>),
    /// No such account.
    #[error("account {0} does not exist")]
    AccountNotFound(AccountId),
    /// The account exists with different attributes.
    #[error("account {0} already exists with different attributes")]
    AccountExists(AccountId),
    /// The ledger belongs to the root account, and the request names a subaccount.
    #[error("account {account} is a subaccount; use its root account {root}")]
    UseRootAccount {
        /// The subaccount.
        account: AccountId,
        /// Its root.
        root: AccountId,
    },
    /// The statement would hold more entries than the limit.
    #[error(
        "the statement of account {0} has more than 5000 entries; read them by pages with ListEntries"
    )]
    StatementTooLong(AccountId),
    /// No such profile.
    #[error("profile {0} does not exist")]
    ProfileNotFound(String),
    /// No such family.
    #[error("family {0} does not exist")]
    FamilyNotFound(String),
    /// The account's profile does not offer the family.
    #[error("family {family} is not offered to account {account}")]
    FamilyNotOffered {
        /// The account.
        account: AccountId,
        /// The family.
        family: String,
    },
    /// The family's plans are billed in advance by renewals and not by billing runs (D14).
    #[error("family {0} is billed in advance by renewals and has no billing runs")]
    FamilyBilledInAdvance(String),
    /// The period has not ended.
    #[error("month {0} has not ended; try again after its end")]
    PeriodNotEnded(String),
    /// The currency of an event differs from the account's.
    #[error(
        "event {event}: account {account} has a ledger in {currency}; send its price in {currency}"
    )]
    CurrencyDiffers {
        /// Index of the event.
        event: usize,
        /// The account.
        account: AccountId,
        /// The currency of its ledger.
        currency: &'static str,
    },
    /// No such invoice.
    #[error("invoice {0} does not exist")]
    InvoiceNotFound(InvoiceId),
    /// The invoice is paid, void or written off.
    #[error("invoice {0} is not open: it is paid, void or written off")]
    InvoiceNotOpen(InvoiceId),
    /// Part of the invoice is paid, so only a credit note can reverse it.
    #[error("invoice {0} is partly paid and can't be voided; create a credit note instead")]
    InvoicePaidInPart(InvoiceId),
    /// The credit note exceeds the invoiced revenue and tax not yet credited.
    #[error("only {left} of invoice {invoice} is left to credit")]
    CreditExceedsInvoice {
        /// The invoice.
        invoice: InvoiceId,
        /// What is left.
        left: String,
    },
    /// The refund to a charge exceeds what has not been refunded of it.
    #[error("only {left} of the charge that paid invoice {invoice} is left to refund")]
    CreditExceedsCharge {
        /// The invoice.
        invoice: InvoiceId,
        /// What is left.
        left: String,
    },
    /// The account has no renewing plan in the family.
    #[error("account {0} has no subscription in the family")]
    SubscriptionNotFound(AccountId),
    /// The account is closing or closed.
    #[error("account {0} is closing or closed")]
    AccountClosed(AccountId),
    /// No renewal of the account is due, or the invoice is settled.
    #[error("account {0} has nothing to pay")]
    NothingDue(AccountId),
    /// No such rental of the account.
    #[error("rental {0} does not exist")]
    RentalNotFound(RentalId),
    /// The balance of the account does not cover the amount.
    #[error("the balance of account {0} does not cover the amount; add credit first")]
    InsufficientCredit(AccountId),
    /// The account is not closed, so its data can't be erased.
    #[error("account {0} is not closed; close it before erasing its data")]
    AccountNotClosed(AccountId),
    /// A charge of the account is undecided and may still succeed.
    #[error("a payment of account {0} is under way; try again when it is decided")]
    PaymentUnderWay(AccountId),
    /// A billing run that covers a month of the account has not ended.
    #[error(
        "the billing run of family {family} for the month from {period_start} has not ended; try again after it"
    )]
    RunUnderWay {
        /// The family.
        family: String,
        /// The first day of its month.
        period_start: chrono::NaiveDate,
    },
    /// No closing is prepared, or a late call refers to an aborted or earlier one.
    #[error("account {0} has no prepared closing of this time; prepare a new one")]
    NotClosing(AccountId),
    /// No such collection.
    #[error("collection {0} does not exist")]
    CollectionNotFound(CollectionId),
    /// The order has a collection with different values.
    #[error("collection {0} of this order already exists with different values")]
    CollectionExists(CollectionId),
    /// A payment is recorded under the reference with different values.
    #[error("a payment with reference {0} is already recorded with different values")]
    PaymentExists(String),
    /// The amount differs from the quote.
    #[error("the amount differs from the quote; request a new quote")]
    Requote,
    /// The account has no payment method for off-session charges, which auto-recharge needs.
    #[error("account {0} has no such payment method that supports off-session charges")]
    NoRecurringMethod(AccountId),
    /// The account pays by invoice and has no balance to recharge.
    #[error("account {0} pays by invoice and has no balance to recharge")]
    InvoicedAccount(AccountId),
    /// The profile has no auto-recharge.
    #[error("auto-recharge is not offered to accounts of profile {0}")]
    AutoRechargeNotOffered(String),
    /// The account has no such lot, or the lot is used up.
    #[error("credit {0} does not exist or is used up")]
    CreditNotFound(LotId),
    /// The credit was paid for; a refund returns it.
    #[error("credit {0} was paid for and can't be voided; refund it instead")]
    CreditWasPaid(LotId),
    /// The credit comes from a correction, a credit note or a returned refund, and was not granted.
    #[error("credit {0} was not granted and can't be voided")]
    CreditNotGranted(LotId),
    /// The amount to void exceeds what is left of the credit.
    #[error("credit {0} has less left than the amount; void at most what is left")]
    CreditExceeded(LotId),
    /// No charge paid the invoice, so there is none to refund to.
    #[error("invoice {0} was not paid by a charge and can't be refunded to one")]
    InvoiceNotCharged(InvoiceId),
    /// No paid credit is left.
    #[error(
        "account {0} has no paid credit that can be refunded; granted credit is never refunded"
    )]
    NothingToRefund(AccountId),
    /// Less would be paid out than the profile refunds.
    #[error(
        "less than {minimum}, the least that is refunded, would be paid out to account {account}"
    )]
    BelowRefundMinimum {
        /// The account.
        account: AccountId,
        /// The least that is paid out.
        minimum: String,
    },
    /// The profile has no refunds.
    #[error("refunds are not offered to accounts of profile {0}")]
    RefundNotOffered(String),
    /// Another attempt of the same intent was first. Not transparent: it is looked for among the causes of an error.
    #[error("another attempt of the same intent was first; try again")]
    Twin(#[from] Twin),
    /// No such run.
    #[error("billing run {0} does not exist")]
    RunNotFound(RunId),
    /// The run is not in the required state.
    #[error("billing run {run} is not {}", .state.as_str())]
    RunNotInState {
        /// The run.
        run: RunId,
        /// What it has to be.
        state: Needed,
    },
    /// The account is not parked in the run.
    #[error("account {account} is not parked in billing run {run}")]
    ParkedAccountNotFound {
        /// The run.
        run: RunId,
        /// The account.
        account: AccountId,
    },
    /// The reason why the account is parked still holds.
    #[error(
        "account {account} still can't be rated: {reason}, {detail}; fix the cause and try again"
    )]
    StillParked {
        /// The account.
        account: AccountId,
        /// Why: a reason code or an error.
        reason: &'static str,
        /// Details.
        detail: String,
    },
    /// No such work is parked.
    #[error("no parked work {0} exists")]
    ParkedWorkNotFound(String),
    /// No such event is quarantined.
    #[error("no unposted event of {0} exists")]
    UnpostedEventNotFound(String),
    /// The reason why an event can't be posted still holds.
    #[error("the event of {subject} still can't be posted: {detail}; fix the cause and try again")]
    StillUnposted {
        /// The charge, refund or dispute that it reports.
        subject: String,
        /// Why: a reason code or an error.
        detail: String,
    },
    /// A sum overflows 64 bits.
    #[error(transparent)]
    SumOutOfRange(#[from] SumOutOfRange),
    /// A stored value is missing or invalid. Only our services write these, so this is a bug.
    #[error("stored {0} is missing or invalid")]
    Stored(&'static str),
    /// A call of another service was refused or failed.
    #[error("calling another service: {}", .0.message())]
    Peer(#[from] Status),
    /// The method is not open to the account in its standing. Not transparent: it is looked for among the causes of
    /// an error.
    #[error("{0}")]
    NotOpen(#[from] chassis::NotOpen),
    /// The database failed or returned a value that violates its rules.
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

impl From<Error> for Status {
    /// The one table from errors to the wire. It has no catch-all: a new variant must choose.
    #[expect(clippy::too_many_lines, reason = "one table, a row each")]
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let not_found = |reason| Refusal::new(Code::NotFound, reason);
        let wrong_state = |reason| Refusal::new(Code::FailedPrecondition, reason);
        // The same request may be answered otherwise once it is over.
        let passes = |reason| Refusal::new(Code::Aborted, reason).retry_after(UNDER_WAY);
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
            Error::UseRootAccount { account, root } => wrong_state("USE_ROOT_ACCOUNT")
                .with("accountId", account)
                .with("rootAccountId", root),
            Error::StatementTooLong(id) => wrong_state("STATEMENT_TOO_LONG").with("accountId", id),
            Error::ProfileNotFound(code) => {
                not_found("PROFILE_NOT_FOUND").with("profileCode", code)
            }
            Error::FamilyNotFound(code) => not_found("FAMILY_NOT_FOUND").with("familyCode", code),
            Error::FamilyNotOffered { account, family } => wrong_state("FAMILY_NOT_OFFERED")
                .with("accountId", account)
                .with("familyCode", family),
            Error::FamilyBilledInAdvance(code) => {
                wrong_state("FAMILY_BILLED_IN_ADVANCE").with("familyCode", code)
            }
            Error::PeriodNotEnded(month) => wrong_state("PERIOD_NOT_ENDED").with("month", month),
            Error::CurrencyDiffers {
                event,
                account,
                currency,
            } => wrong_state("CURRENCY_DIFFERS")
                .with("event", event)
                .with("accountId", account)
                .with("currencyCode", currency),
            Error::InvoiceNotFound(id) => not_found("INVOICE_NOT_FOUND").with("invoiceId", id),
            Error::InvoiceNotOpen(id) => wrong_state("INVOICE_NOT_OPEN").with("invoiceId", id),
            Error::InvoicePaidInPart(id) => {
                wrong_state("INVOICE_PAID_IN_PART").with("invoiceId", id)
            }
            Error::CreditExceedsInvoice { invoice, left } => wrong_state("CREDIT_EXCEEDS_INVOICE")
                .with("invoiceId", invoice)
                .with("left", left),
            Error::CreditExceedsCharge { invoice, left } => wrong_state("CREDIT_EXCEEDS_CHARGE")
                .with("invoiceId", invoice)
                .with("left", left)
                .with("field", "amount"),
            Error::AccountClosed(id) => wrong_state("ACCOUNT_CLOSED").with("accountId", id),
            Error::NothingDue(id) => wrong_state("NOTHING_DUE").with("accountId", id),
            Error::RentalNotFound(id) => not_found("RENTAL_NOT_FOUND").with("rentalId", id),
            Error::InsufficientCredit(id) => {
                wrong_state("INSUFFICIENT_CREDIT").with("accountId", id)
            }
            Error::AccountNotClosed(id) => wrong_state("ACCOUNT_NOT_CLOSED").with("accountId", id),
            Error::PaymentUnderWay(id) => passes("PAYMENT_UNDER_WAY").with("accountId", id),
            Error::RunUnderWay { family, .. } => passes("RUN_UNDER_WAY").with("familyCode", family),
            Error::NotClosing(id) => wrong_state("NOT_CLOSING").with("accountId", id),
            Error::SubscriptionNotFound(id) => {
                not_found("SUBSCRIPTION_NOT_FOUND").with("accountId", id)
            }
            Error::CollectionNotFound(id) => {
                not_found("COLLECTION_NOT_FOUND").with("collectionId", id)
            }
            Error::CollectionExists(id) => {
                Refusal::new(Code::AlreadyExists, "COLLECTION_EXISTS").with("collectionId", id)
            }
            Error::PaymentExists(reference) => {
                Refusal::new(Code::AlreadyExists, "PAYMENT_EXISTS").with("reference", reference)
            }
            Error::Requote => Refusal::new(Code::Aborted, "REQUOTE"),
            Error::NoRecurringMethod(id) => {
                wrong_state("NO_RECURRING_METHOD").with("accountId", id)
            }
            Error::InvoicedAccount(id) => wrong_state("INVOICED_ACCOUNT").with("accountId", id),
            Error::AutoRechargeNotOffered(code) => {
                wrong_state("AUTO_RECHARGE_NOT_OFFERED").with("profileCode", code)
            }
            Error::CreditNotFound(id) => not_found("CREDIT_NOT_FOUND").with("lotId", id),
            Error::CreditWasPaid(id) => wrong_state("CREDIT_WAS_PAID").with("lotId", id),
            Error::CreditNotGranted(id) => wrong_state("CREDIT_NOT_GRANTED").with("lotId", id),
            Error::CreditExceeded(id) => wrong_state("CREDIT_EXCEEDED").with("lotId", id),
            Error::InvoiceNotCharged(id) => {
                wrong_state("INVOICE_NOT_CHARGED").with("invoiceId", id)
            }
            Error::NothingToRefund(id) => wrong_state("NOTHING_TO_REFUND").with("accountId", id),
            Error::BelowRefundMinimum { account, minimum } => wrong_state("NOTHING_TO_REFUND")
                .with("accountId", account)
                .with("minimum", minimum),
            Error::RefundNotOffered(code) => {
                wrong_state("REFUND_NOT_OFFERED").with("profileCode", code)
            }
            Error::RunNotFound(id) => not_found("BILLING_RUN_NOT_FOUND").with("billingRunId", id),
            Error::RunNotInState { run, state } => {
                wrong_state(not_in(*state)).with("billingRunId", run)
            }
            Error::ParkedAccountNotFound { run, account } => not_found("PARKED_ACCOUNT_NOT_FOUND")
                .with("billingRunId", run)
                .with("accountId", account),
            Error::StillParked {
                account,
                reason,
                detail,
            } => wrong_state("STILL_PARKED")
                .with("accountId", account)
                .with("cause", reason)
                .with("detail", detail),
            Error::ParkedWorkNotFound(id) => not_found("PARKED_WORK_NOT_FOUND").with("workId", id),
            Error::UnpostedEventNotFound(subject) => {
                not_found("UNPOSTED_EVENT_NOT_FOUND").with("subjectId", subject)
            }
            Error::StillUnposted { subject, detail } => wrong_state("STILL_UNPOSTED")
                .with("subjectId", subject)
                .with("detail", detail),
            Error::SumOutOfRange(SumOutOfRange) => Refusal::invalid("AMOUNT_OUT_OF_RANGE")
                .with_fields(&[chassis::field_error(
                    "events",
                    "amounts whose sums fit 64 bits of millionths",
                )]),
            Error::Stored(_) => {
                tracing::error!(error = %Chain(&error), "request failed");
                return chassis::internal();
            }
            // Refusals of a peer are passed on; its faults and absences keep their codes.
            Error::Peer(status) => return status.clone(),
            Error::Twin(Twin) => Refusal::new(Code::Aborted, "CONFLICT"),
            Error::NotOpen(not_open) => not_open.refusal(),
            Error::Database(_) => return chassis::database_status(&error),
        };
        refusal.into_status(DOMAIN, message)
    }
}

/// The error reason for a run that is not what it has to be.
const fn not_in(state: Needed) -> &'static str {
    match state {
        Needed::Waiting => "BILLING_RUN_NOT_WAITING",
        Needed::Halted => "BILLING_RUN_NOT_HALTED",
        Needed::Completed => "BILLING_RUN_NOT_COMPLETED",
        Needed::UnderWay => "BILLING_RUN_NOT_UNDER_WAY",
        Needed::Running => "BILLING_RUN_NOT_RUNNING",
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_is_under_way_passes_and_is_asked_for_again() {
        let family = "SUPPORT".to_owned();
        let period_start = chrono::NaiveDate::default();
        for (error, reason) in [
            (
                Error::PaymentUnderWay(AccountId::from_uuid(Uuid::nil())),
                "PAYMENT_UNDER_WAY",
            ),
            (
                Error::RunUnderWay {
                    family,
                    period_start,
                },
                "RUN_UNDER_WAY",
            ),
        ] {
            let status = Status::from(error);
            assert_eq!(status.code(), Code::Aborted, "no final answer");
            assert_eq!(status.get_details_error_info().unwrap().reason, reason);
            let retry = status.get_details_retry_info().unwrap();
            assert_eq!(retry.retry_delay, Some(UNDER_WAY));
        }
    }
}
