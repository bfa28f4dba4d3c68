//! Who may call which method of this service.

use chassis::{Access, Who};

const ACCOUNT: Who = Who::Service("account-lifecycle");
const OPERATOR: Who = Who::Operator("BILLING");
const READERS: &[Who] = &[ACCOUNT, Who::AnyOperator];
const OPERATORS: &[Who] = &[OPERATOR];
const JOURNEYS: &[Who] = &[ACCOUNT, OPERATOR];
const SOURCES: &[Who] = &[Who::Service("usage"), OPERATOR];

/// The table: a method without a row is refused.
pub const ACCESS: &[Access] = &[
    Access::unary("OpenAccount", &[ACCOUNT]),
    Access::unary("UpdateAccountFacts", &[ACCOUNT]),
    Access::unary("RecordUsage", SOURCES),
    Access::stream("StreamUsage", SOURCES),
    Access::unary("ListUsage", READERS),
    Access::unary("SummarizeUsage", READERS),
    Access::unary("GetBalance", READERS),
    Access::unary("ListEntries", READERS),
    Access::unary("GetStatement", READERS),
    Access::unary("GrantCredit", JOURNEYS),
    Access::unary("Reconcile", OPERATORS),
    Access::unary("PreviewInvoice", READERS),
    Access::unary("GetInvoice", READERS),
    Access::unary("ListInvoices", READERS),
    Access::unary("RenderInvoice", READERS),
    Access::unary("VoidInvoice", OPERATORS),
    Access::unary("MarkInvoiceUncollectible", OPERATORS),
    Access::unary("CreateCreditNote", OPERATORS),
    Access::unary("RecordInvoicePayment", OPERATORS),
    Access::unary("ListCreditNotes", READERS),
    Access::unary("CreateBillingRun", OPERATORS),
    Access::unary("GetBillingRun", READERS),
    Access::unary("ListBillingRuns", READERS),
    Access::stream("WatchBillingRun", READERS),
    Access::unary("ApproveBillingRun", OPERATORS),
    Access::unary("ResumeBillingRun", OPERATORS),
    Access::unary("HaltBillingRun", OPERATORS),
    Access::unary("ListRunOutcomes", READERS),
    Access::unary("ListParkedAccounts", READERS),
    Access::unary("ReleaseParkedAccount", OPERATORS),
    Access::unary("CompareBillingRuns", READERS),
    Access::unary("PreviewCollection", READERS),
    Access::unary("CollectOrder", &[ACCOUNT]),
    Access::unary("GetCollection", READERS),
    Access::unary("SetAutoRecharge", JOURNEYS),
    Access::unary("GetAutoRecharge", READERS),
    Access::unary("GetSubscription", READERS),
    Access::unary("RequestRefund", JOURNEYS),
    Access::unary("PrepareClosing", &[ACCOUNT]),
    Access::unary("SettleClosing", &[ACCOUNT]),
    Access::unary("AbortClosing", &[ACCOUNT]),
    Access::unary("CollectRenewal", &[ACCOUNT]),
    Access::unary("StartRental", &[ACCOUNT]),
    Access::unary("EndRental", JOURNEYS),
    Access::unary("ListRentals", READERS),
    Access::stream("WatchBalances", &[ACCOUNT]),
    Access::unary("EraseAccount", &[ACCOUNT]),
    Access::unary("VerifyAudit", READERS),
];
