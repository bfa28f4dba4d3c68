//! Which callers may call which method.

use chassis::{Access, OperatorRole, ServiceName, Standing, Who};

const ACCOUNT: Who = Who::Service(ServiceName::AccountLifecycle);
const BILLING: Who = Who::Service(ServiceName::Billing);
const OPERATOR: Who = Who::Operator(OperatorRole::Billing);
const JOURNEYS: &[Who] = &[ACCOUNT, OPERATOR];
/// Callers that may read a customer's payment methods, charges and refunds.
const READERS: &[Who] = &[
    ACCOUNT,
    BILLING,
    Who::Operator(OperatorRole::Sales),
    Who::Operator(OperatorRole::SupportAgent),
    OPERATOR,
    Who::Operator(OperatorRole::Risk),
    Who::Operator(OperatorRole::Auditor),
];
/// Callers that may read webhook events, of all customers.
const BOOKS: &[Who] = &[
    ACCOUNT,
    BILLING,
    OPERATOR,
    Who::Operator(OperatorRole::Auditor),
];

/// Callers that may read work that failed for good, of all customers.
const HELPERS: &[Who] = &[
    Who::Operator(OperatorRole::SupportAgent),
    OPERATOR,
    Who::Operator(OperatorRole::Auditor),
];

/// A closing account is still open to these methods, since payments in progress must settle; billing starts no new
/// ones. Closed and erased accounts are not.
const OVER: &[Standing] = &[Standing::Erased, Standing::Closed];

/// The access table; a method without a row is refused. Unless a row says otherwise, a method that changes something is
/// closed to accounts that are closed or closing. `tests/data/standing.csv` gives the reason for each row.
pub const ACCESS: &[Access] = &[
    Access::unary("OpenAccount", &[ACCOUNT]),
    Access::unary("SetStanding", &[ACCOUNT]).always(),
    Access::unary("UpdateAccountFacts", &[ACCOUNT]).shut_in(OVER),
    Access::unary("ImportCatalogue", &[Who::Operator(OperatorRole::Catalogue)]).always(),
    Access::unary("AddPaymentMethod", JOURNEYS),
    Access::unary("ListPaymentMethods", READERS),
    Access::unary("RemovePaymentMethod", JOURNEYS),
    Access::unary("SetDefaultPaymentMethod", JOURNEYS),
    Access::unary("ListEligibleMethods", READERS),
    Access::unary("CreateCharge", &[BILLING]).shut_in(OVER),
    Access::unary("GetCharge", READERS),
    Access::unary("ListCharges", READERS),
    Access::unary("SettleCharge", &[OPERATOR]).always(),
    Access::unary("CancelCharge", &[BILLING]),
    Access::unary("CreateRefund", &[BILLING]).shut_in(OVER),
    Access::unary("GetRefund", READERS),
    Access::unary("ListRefunds", READERS),
    Access::unary("ResolveMovement", &[OPERATOR]).always(),
    Access::unary("ListDisputes", READERS),
    Access::unary("ListWebhookEvents", BOOKS),
    Access::unary("ReplayWebhookEvent", &[OPERATOR]).always(),
    Access::unary("Reconcile", &[OPERATOR]).always(),
    Access::stream("WatchMovements", &[BILLING]),
    Access::unary("EraseAccount", &[ACCOUNT]).always(),
    Access::unary("ListParkedWork", HELPERS),
    Access::unary("RetryParkedWork", &[OPERATOR]).always(),
    Access::unary("VerifyAudit", READERS),
];
