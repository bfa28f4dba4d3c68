//! Who may call which method of this service.

use chassis::{Access, OperatorRole, ServiceName, Standing, Who};

const ACCOUNT: Who = Who::Service(ServiceName::AccountLifecycle);
const OPERATOR: Who = Who::Operator(OperatorRole::Billing);
/// Who may read a customer's usage, debts and balance.
const READERS: &[Who] = &[
    ACCOUNT,
    Who::Operator(OperatorRole::Sales),
    Who::Operator(OperatorRole::SupportAgent),
    OPERATOR,
    Who::Operator(OperatorRole::Risk),
    Who::Operator(OperatorRole::Auditor),
];
/// Who may read billing runs, which cover all customers.
const BOOKS: &[Who] = &[ACCOUNT, OPERATOR, Who::Operator(OperatorRole::Auditor)];
/// Who may read work that failed for good, of all customers.
const HELPERS: &[Who] = &[
    Who::Operator(OperatorRole::SupportAgent),
    OPERATOR,
    Who::Operator(OperatorRole::Auditor),
];
const OPERATORS: &[Who] = &[OPERATOR];
const JOURNEYS: &[Who] = &[ACCOUNT, OPERATOR];
const SOURCES: &[Who] = &[Who::Service(ServiceName::Usage), OPERATOR];

/// Erased and closed accounts take no new attributes; a closing account does, because its last invoice goes to the
/// recipient it names.
const OVER: &[Standing] = &[Standing::Erased, Standing::Closed];
/// No money is paid out of a barred account (C-11). Credit that arrives after a closing is refunded; if there is
/// none, the handler reports that the account is closed.
const REFUNDING: &[Standing] = &[Standing::Closing, Standing::Fraud, Standing::Terms];
/// A dormant account has no recurring charge.
const RENTING: &[Standing] = &[
    Standing::Erased,
    Standing::Closed,
    Standing::Closing,
    Standing::Dormant,
];

/// The access table. A method without a row is refused. By default, a method that changes something is shut to
/// closing, closed and erased accounts; `tests/data/standing.csv` gives the reason of each row.
pub const ACCESS: &[Access] = &[
    Access::unary("OpenAccount", &[ACCOUNT]),
    Access::unary("SetStanding", &[ACCOUNT]).always(),
    Access::unary("UpdateAccountFacts", &[ACCOUNT]).shut_in(OVER),
    Access::unary("RecordUsage", SOURCES).always(),
    Access::stream("StreamUsage", SOURCES).always(),
    Access::unary("ListUsage", READERS),
    Access::unary("SummarizeUsage", READERS),
    Access::unary("GetBalance", READERS),
    Access::unary("ListEntries", READERS),
    Access::unary("GetStatement", READERS),
    Access::unary("GrantCredit", JOURNEYS),
    Access::unary("VoidCredit", OPERATORS),
    Access::unary("Reconcile", OPERATORS),
    Access::unary("ListUnpostedEvents", BOOKS),
    Access::unary("RetryUnpostedEvent", OPERATORS).always(),
    Access::unary("PreviewInvoice", READERS),
    Access::unary("GetInvoice", READERS),
    Access::unary("ListInvoices", READERS),
    Access::unary("RenderInvoice", READERS),
    Access::unary("VoidInvoice", OPERATORS).always(),
    Access::unary("MarkInvoiceUncollectible", OPERATORS).always(),
    Access::unary("CreateCreditNote", OPERATORS),
    Access::unary("RecordInvoicePayment", OPERATORS).always(),
    Access::unary("ListCreditNotes", READERS),
    Access::unary("CreateBillingRun", OPERATORS).always(),
    Access::unary("GetBillingRun", BOOKS),
    Access::unary("ListBillingRuns", BOOKS),
    Access::stream("WatchBillingRun", BOOKS),
    Access::unary("ApproveBillingRun", OPERATORS).always(),
    Access::unary("ResumeBillingRun", OPERATORS).always(),
    Access::unary("HaltBillingRun", OPERATORS).always(),
    Access::unary("CancelBillingRun", OPERATORS).always(),
    Access::unary("ListRunOutcomes", BOOKS),
    Access::unary("ListParkedAccounts", BOOKS),
    Access::unary("ReleaseParkedAccount", OPERATORS).always(),
    Access::unary("CompareBillingRuns", BOOKS),
    Access::unary("PreviewCollection", READERS),
    Access::unary("CollectOrder", &[ACCOUNT]),
    Access::unary("GetCollection", READERS),
    Access::unary("CancelCollection", &[ACCOUNT]),
    Access::unary("SetAutoRecharge", JOURNEYS),
    Access::unary("GetAutoRecharge", READERS),
    Access::unary("GetSubscription", READERS),
    Access::unary("RequestRefund", JOURNEYS).shut_in(REFUNDING),
    Access::unary("CountOpenRefunds", READERS),
    Access::unary("PrepareClosing", &[ACCOUNT]).always(),
    Access::unary("RecordClosing", &[ACCOUNT]).always(),
    Access::unary("SettleClosing", &[ACCOUNT]).always(),
    Access::unary("AbortClosing", &[ACCOUNT]).always(),
    Access::unary("CollectRenewal", &[ACCOUNT]),
    Access::unary("StartRental", &[ACCOUNT]).shut_in(RENTING),
    Access::unary("EndRental", JOURNEYS).always(),
    Access::unary("ListRentals", READERS),
    Access::stream("WatchBalances", &[ACCOUNT]),
    Access::unary("EraseAccount", &[ACCOUNT]).always(),
    Access::unary("ListParkedWork", HELPERS),
    Access::unary("RetryParkedWork", OPERATORS).always(),
    Access::unary("VerifyAudit", READERS),
];
