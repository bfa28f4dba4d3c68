//! Which callers may call which method. What a person may do within an account is checked by the handlers.

use chassis::{Access, OperatorRole, ServiceName, Standing, Who};

const SALES: Who = Who::Operator(OperatorRole::Sales);
const SUPPORT: Who = Who::Operator(OperatorRole::SupportAgent);
const BILLING: Who = Who::Operator(OperatorRole::Billing);
const KYC: Who = Who::Operator(OperatorRole::Kyc);
const RISK: Who = Who::Operator(OperatorRole::Risk);
const AUDITOR: Who = Who::Operator(OperatorRole::Auditor);

/// Callers that may find an account and read its status: everyone who works with customers.
const SEERS: &[Who] = &[Who::Person, SALES, SUPPORT, BILLING, KYC, RISK, AUDITOR];
/// Callers that may read an account's plans, orders and members.
const READERS: &[Who] = &[Who::Person, SALES, SUPPORT, BILLING, RISK, AUDITOR];
/// Callers that may read names and addresses.
const PRIVATE: &[Who] = &[Who::Person, SALES, SUPPORT, BILLING, KYC, RISK];
/// Callers that may read what the customer stores and writes.
const CONTENT: &[Who] = &[Who::Person, SUPPORT, RISK];
/// Callers that may read the audit entries of an account.
const AUDIT: &[Who] = &[Who::Person, SUPPORT, RISK, AUDITOR];
/// Callers that may buy and change plans, also on behalf of a customer.
const DEALERS: &[Who] = &[Who::Person, SALES, SUPPORT];
/// Callers that may act for a customer in everything else that customers do themselves.
const HELPERS: &[Who] = &[Who::Person, SUPPORT];
const PAYERS: &[Who] = &[Who::Person, SALES, SUPPORT, BILLING];
const SUSPENDERS: &[Who] = &[Who::Person, SUPPORT, RISK];
const CLOSERS: &[Who] = &[Who::Person, SUPPORT, RISK, SALES];
const REVIEWERS: &[Who] = &[KYC];
/// Callers that may ask whether an account has a capability; support and risk use it to explain a refusal.
const GATEWAYS: &[Who] = &[Who::Service(ServiceName::Gateway), SUPPORT, RISK];

/// Callers whose own account it is; operators ask the service that owns the data.
const PEOPLE: &[Who] = &[Who::Person];

/// Purchases are closed to a suspended account even for operators: the suspension is lifted first. A dormant account
/// returns to service first.
const BUYING: &[Standing] = &[
    Standing::Erased,
    Standing::Closed,
    Standing::Closing,
    Standing::Fraud,
    Standing::Terms,
    Standing::Parent,
    Standing::Dormant,
];
/// Closed to a dormant account, which returns to service first.
const WAKING: &[Standing] = &[
    Standing::Erased,
    Standing::Closed,
    Standing::Closing,
    Standing::Dormant,
];
/// Closed to a suspended account.
const GROWING: &[Standing] = &[
    Standing::Erased,
    Standing::Closed,
    Standing::Closing,
    Standing::Fraud,
    Standing::Terms,
    Standing::Parent,
];

/// The access table; a method without a row is refused. Unless a row says otherwise, a method that changes something is
/// closed to accounts that are closed or closing. `tests/data/standing.csv` gives the reason for each row.
pub const ACCESS: &[Access] = &[
    Access::unary("CreateAccount", DEALERS).always(),
    Access::unary("CreateSubaccount", DEALERS).shut_in(GROWING),
    Access::unary("GetAccount", SEERS),
    Access::unary("ListAccounts", SEERS),
    Access::unary("CreateUser", &[SUPPORT]).always(),
    Access::unary("GetUser", PRIVATE),
    Access::unary("ListUsers", &[SUPPORT]),
    Access::unary("DeleteUser", HELPERS).always(),
    Access::unary("GrantRole", HELPERS),
    Access::unary("RevokeRole", HELPERS),
    Access::unary("ListMembers", READERS),
    Access::unary("ListAvailablePlans", READERS),
    Access::unary("GetCurrentPlan", READERS),
    Access::unary("CreateOrder", DEALERS).shut_in(BUYING),
    Access::unary("ConfirmOrder", DEALERS).shut_in(BUYING),
    Access::unary("CommitOrder", DEALERS).shut_in(BUYING),
    Access::unary("GetOrder", READERS),
    Access::unary("ListOrders", READERS),
    Access::unary("CreateTicket", HELPERS),
    Access::unary("GetTicket", CONTENT),
    Access::unary("ListTickets", CONTENT),
    Access::unary("ListPendingChanges", READERS),
    Access::unary("WithdrawChange", DEALERS).shut_in(WAKING),
    Access::unary("CancelSubscription", DEALERS).shut_in(WAKING),
    Access::unary("UndoCancellation", DEALERS).shut_in(WAKING),
    Access::unary("SwitchBillingCycle", HELPERS).shut_in(WAKING),
    Access::unary("Authorize", GATEWAYS),
    Access::unary("CheckRateLimit", GATEWAYS),
    Access::unary("SubmitKyc", HELPERS).shut_in(WAKING),
    Access::unary("GetKyc", &[Who::Person, SUPPORT, KYC, RISK]),
    Access::unary("ListKycSubmissions", REVIEWERS),
    Access::unary("ReviewKyc", REVIEWERS),
    Access::unary("WithdrawKyc", REVIEWERS),
    Access::unary("CreateDltRegistration", HELPERS).shut_in(WAKING),
    Access::unary("ListDltRegistrations", CONTENT),
    Access::unary("RevokeDltRegistration", HELPERS).shut_in(WAKING),
    Access::unary("CreateWhitelistedNumber", HELPERS),
    Access::unary("SendWhitelistCode", HELPERS),
    Access::unary("VerifyWhitelistedNumber", HELPERS),
    Access::unary("ListWhitelistedNumbers", CONTENT),
    Access::unary("DeleteWhitelistedNumber", HELPERS),
    Access::unary("CreateResource", HELPERS),
    Access::unary("GetResource", CONTENT),
    Access::unary("ListResources", CONTENT),
    Access::unary("DeleteResource", HELPERS),
    Access::unary("GetCloseOptions", READERS),
    Access::unary("ListClosings", &[SALES, SUPPORT, BILLING, RISK, AUDITOR]),
    Access::unary("CloseAccount", CLOSERS).always(),
    Access::unary("ReturnToService", DEALERS),
    Access::unary("GetDeletionReceipt", READERS),
    Access::unary("SuspendAccount", SUSPENDERS),
    Access::unary("ReinstateAccount", SUSPENDERS),
    Access::unary("GoLive", DEALERS).shut_in(BUYING),
    Access::unary("UpdateBillingDetails", PAYERS).shut_in(WAKING),
    Access::unary("GetBillingDetails", PRIVATE),
    Access::unary("SetPayoutDetails", &[Who::Person]).always(),
    Access::unary("GetPayoutDetails", &[Who::Operator(OperatorRole::Billing)]),
    Access::unary("ListNotifications", CONTENT),
    Access::unary("ListAccountHistory", SEERS),
    Access::unary("ListAuditEntries", AUDIT),
    Access::unary("ListParkedWork", &[SUPPORT, BILLING, AUDITOR]),
    Access::unary("RetryParkedWork", &[SUPPORT, BILLING]).always(),
    Access::unary("VerifyAudit", AUDIT),
    Access::stream("WatchAccounts", &[Who::Service(ServiceName::Billing)]),
    // CustomerService. Each name is a method of one service only, since the gate looks it up without the service.
    Access::unary("GetBalance", PEOPLE),
    Access::unary("GetStatement", PEOPLE),
    Access::unary("ListInvoices", PEOPLE),
    Access::unary("GetInvoice", PEOPLE),
    Access::unary("RenderInvoice", PEOPLE),
    Access::unary("PreviewInvoice", PEOPLE),
    Access::unary("ListCreditNotes", PEOPLE),
    Access::unary("SummarizeUsage", PEOPLE),
    Access::unary("ListUsage", PEOPLE),
    Access::unary("ListPlanHistory", PEOPLE),
    Access::unary("GetSubscription", PEOPLE),
    Access::unary("ListEntitlements", PEOPLE),
    Access::unary("ListOffers", PEOPLE),
    Access::unary("AcceptOffer", PEOPLE).shut_in(BUYING),
    Access::unary("ListEligibleMethods", PEOPLE),
    Access::unary("AddPaymentMethod", PEOPLE),
    Access::unary("ListPaymentMethods", PEOPLE),
    Access::unary("RemovePaymentMethod", PEOPLE),
    Access::unary("SetDefaultPaymentMethod", PEOPLE),
    Access::unary("GetAutoRecharge", PEOPLE),
    Access::unary("SetAutoRecharge", PEOPLE),
    Access::unary("ListRefunds", PEOPLE),
    Access::unary("GetRefund", PEOPLE),
    Access::unary("CancelOrder", DEALERS).shut_in(WAKING),
    Access::unary("UpdateUser", HELPERS).always(),
    Access::unary("ConfirmEmail", HELPERS).always(),
];
