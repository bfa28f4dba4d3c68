//! Everything that can go wrong in billing, and how the wire shows it.

use chassis::{Chain, FieldError, Refusal, Twin};
use thiserror::Error;
use tonic::{Code, Status};
use values::{AccountId, CollectionId, InvoiceId, RentalId, RunId};

use crate::domain::usage::SumOutOfRange;

const DOMAIN: &str = "billing.perdiem";

/// Why a request or a job of this service did not succeed.
#[derive(Debug, Error)]
pub enum Error {
    /// Fields of the request do not read as what they must be.
    #[error("{}", said(.0))]
    Fields(Vec<FieldError>),
    /// No such account.
    #[error("account {0} does not exist")]
    AccountNotFound(AccountId),
    /// The account is open with other facts.
    #[error("account {0} exists with other facts")]
    AccountExists(AccountId),
    /// The ledger belongs to the root account.
    #[error("account {account} is a subaccount: use its root account {root}")]
    UseRootAccount {
        /// The subaccount.
        account: AccountId,
        /// Its root.
        root: AccountId,
    },
    /// More entries than a statement holds.
    #[error("the statement of account {0} has more than 5000 entries: list them page by page")]
    StatementTooLong(AccountId),
    /// No such profile.
    #[error("profile {0} does not exist")]
    ProfileNotFound(String),
    /// No such family.
    #[error("family {0} does not exist")]
    FamilyNotFound(String),
    /// The account's profile does not have the family.
    #[error("family {family} is not offered to account {account}")]
    FamilyNotOffered {
        /// The account.
        account: AccountId,
        /// The family.
        family: String,
    },
    /// The family's plans are renewed, not run (D14).
    #[error("family {0} is billed in advance: its renewals are not runs")]
    FamilyBilledInAdvance(String),
    /// The period has not ended.
    #[error("month {0} has not ended")]
    PeriodNotEnded(String),
    /// The event's currency is not the account's.
    #[error("event {event}: account {account} has a ledger in {currency}")]
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
    /// It is paid, undone or written off.
    #[error("invoice {0} is not open")]
    InvoiceNotOpen(InvoiceId),
    /// A part of it is paid: a credit note undoes it.
    #[error("invoice {0} is paid in part")]
    InvoicePaidInPart(InvoiceId),
    /// More is to be credited than was earned and not credited yet.
    #[error("{left} is left to credit of invoice {invoice}")]
    CreditExceedsInvoice {
        /// The invoice.
        invoice: InvoiceId,
        /// What is left.
        left: String,
    },
    /// Nothing of the account is renewed in the family.
    #[error("account {0} has no subscription in the family")]
    SubscriptionNotFound(AccountId),
    /// The account is closing or closed.
    #[error("account {0} is closed")]
    AccountClosed(AccountId),
    /// No renewal of the account is to be paid, or nothing is left to pay of the invoice.
    #[error("nothing of account {0} is due")]
    NothingDue(AccountId),
    /// No such rental, or another account's.
    #[error("rental {0} does not exist")]
    RentalNotFound(RentalId),
    /// What the account has left does not cover it.
    #[error("the balance of account {0} does not cover it")]
    InsufficientCredit(AccountId),
    /// The account is open: nothing of it is erased.
    #[error("account {0} is not closed")]
    AccountNotClosed(AccountId),
    /// What is charged now may succeed, and would come too late.
    #[error("a payment of account {0} is under way")]
    PaymentUnderWay(AccountId),
    /// A month of the account is billed by a run that has not ended.
    #[error("the run of {family} for {period_start} has not ended")]
    RunUnderWay {
        /// The family.
        family: String,
        /// The first day of its month.
        period_start: chrono::NaiveDate,
    },
    /// No closing is prepared.
    #[error("no closing of account {0} is prepared")]
    NotClosing(AccountId),
    /// No such collection.
    #[error("collection {0} does not exist")]
    CollectionNotFound(CollectionId),
    /// The order is being collected with other values.
    #[error("collection {0} of this order exists with other values")]
    CollectionExists(CollectionId),
    /// The reference was recorded with other values.
    #[error("a payment with the reference {0} is recorded with other values")]
    PaymentExists(String),
    /// It would cost another sum than was quoted.
    #[error("the quote does not hold any more: quote again")]
    Requote,
    /// No method of the account can be charged without the person, as auto-recharge must.
    #[error("account {0} has no such payment method that can be charged without the person")]
    NoRecurringMethod(AccountId),
    /// An account that pays by invoice has no balance to fill.
    #[error("account {0} pays by invoice")]
    InvoicedAccount(AccountId),
    /// The profile has no auto-recharge.
    #[error("auto-recharge is not offered to accounts of profile {0}")]
    AutoRechargeNotOffered(String),
    /// No paid credit is left, or less than the profile refunds.
    #[error("account {0} has no paid credit that can be refunded")]
    NothingToRefund(AccountId),
    /// The profile has no refunds.
    #[error("refunds are not offered to accounts of profile {0}")]
    RefundNotOffered(String),
    /// Another try of the same intent was first. Not transparent: it is looked for among causes.
    #[error("another try was first")]
    Twin(#[from] Twin),
    /// No such run.
    #[error("billing run {0} does not exist")]
    RunNotFound(RunId),
    /// The run is not in the state that the operation needs.
    #[error("billing run {run} is not {state}")]
    RunNotInState {
        /// The run.
        run: RunId,
        /// What it would have to be: waiting, halted, completed, running.
        state: &'static str,
    },
    /// The account is not parked in the run.
    #[error("account {account} is not parked in billing run {run}")]
    ParkedAccountNotFound {
        /// The run.
        run: RunId,
        /// The account.
        account: AccountId,
    },
    /// What parked the account is not mended.
    #[error("account {account} still can't be rated: {reason}, {detail}")]
    StillParked {
        /// The account.
        account: AccountId,
        /// Why.
        reason: &'static str,
        /// Details.
        detail: String,
    },
    /// A chunk that is done again found another number of invoices; its inputs are frozen, so this
    /// is a bug.
    #[error("chunk {chunk} of shard {shard}: {found} invoices, {reserved} numbers set aside")]
    BlockMismatch {
        /// The shard.
        shard: i32,
        /// The chunk.
        chunk: i32,
        /// Invoices found.
        found: i64,
        /// Numbers set aside.
        reserved: i64,
    },
    /// A sum left its range.
    #[error(transparent)]
    SumOutOfRange(#[from] SumOutOfRange),
    /// A stored value does not read; we wrote it, so this is a bug.
    #[error("stored {0} does not read")]
    Stored(&'static str),
    /// Another service refused or is away.
    #[error("calling another service: {}", .0.message())]
    Peer(#[from] Status),
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

impl From<Error> for Status {
    /// The one table from errors to the wire. It has no catch-all: a new variant must choose.
    #[expect(clippy::too_many_lines, reason = "one table, a row each")]
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
            Error::AccountClosed(id) => wrong_state("ACCOUNT_CLOSED").with("accountId", id),
            Error::NothingDue(id) => wrong_state("NOTHING_DUE").with("accountId", id),
            Error::RentalNotFound(id) => not_found("RENTAL_NOT_FOUND").with("rentalId", id),
            Error::InsufficientCredit(id) => {
                wrong_state("INSUFFICIENT_CREDIT").with("accountId", id)
            }
            Error::AccountNotClosed(id) => wrong_state("ACCOUNT_NOT_CLOSED").with("accountId", id),
            Error::PaymentUnderWay(id) => wrong_state("PAYMENT_UNDER_WAY").with("accountId", id),
            Error::RunUnderWay { family, .. } => {
                wrong_state("RUN_UNDER_WAY").with("familyCode", family)
            }
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
            Error::NothingToRefund(id) => wrong_state("NOTHING_TO_REFUND").with("accountId", id),
            Error::RefundNotOffered(code) => {
                wrong_state("REFUND_NOT_OFFERED").with("profileCode", code)
            }
            Error::RunNotFound(id) => not_found("BILLING_RUN_NOT_FOUND").with("billingRunId", id),
            Error::RunNotInState { run, state } => {
                wrong_state(not_in(state)).with("billingRunId", run)
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
            Error::SumOutOfRange(SumOutOfRange) => Refusal::invalid("AMOUNT_OUT_OF_RANGE")
                .with_fields(&[chassis::field_error(
                    "events",
                    "amounts whose sums fit 64 bits of millionths",
                )]),
            Error::BlockMismatch { .. } | Error::Stored(_) => {
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

/// The reason for a run that is not in `state`.
fn not_in(state: &str) -> &'static str {
    match state {
        "waiting" => "BILLING_RUN_NOT_WAITING",
        "halted" => "BILLING_RUN_NOT_HALTED",
        "completed" => "BILLING_RUN_NOT_COMPLETED",
        _ => "BILLING_RUN_NOT_RUNNING",
    }
}
