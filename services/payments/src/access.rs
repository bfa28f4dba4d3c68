//! Who may call which method of this service.

use chassis::{Access, Who};

const ACCOUNT: Who = Who::Service("account-lifecycle");
const BILLING: Who = Who::Service("billing");
const OPERATOR: Who = Who::Operator("BILLING");
const JOURNEYS: &[Who] = &[ACCOUNT, OPERATOR];
const READERS: &[Who] = &[ACCOUNT, BILLING, Who::AnyOperator];

/// The table: a method without a row is refused.
pub const ACCESS: &[Access] = &[
    Access::unary("OpenAccount", &[ACCOUNT]),
    Access::unary("UpdateAccountFacts", &[ACCOUNT]),
    Access::unary("ImportCatalogue", &[Who::Operator("CATALOGUE")]),
    Access::unary("AddPaymentMethod", JOURNEYS),
    Access::unary("ListPaymentMethods", READERS),
    Access::unary("RemovePaymentMethod", JOURNEYS),
    Access::unary("SetDefaultPaymentMethod", JOURNEYS),
    Access::unary("ListEligibleMethods", READERS),
    Access::unary("CreateCharge", &[BILLING]),
    Access::unary("GetCharge", READERS),
    Access::unary("ListCharges", READERS),
    Access::unary("SettleCharge", &[OPERATOR]),
    Access::unary("CreateRefund", &[BILLING]),
    Access::unary("GetRefund", READERS),
    Access::unary("ListRefunds", READERS),
    Access::unary("ResolveMovement", &[OPERATOR]),
    Access::unary("ListDisputes", READERS),
    Access::unary("ListWebhookEvents", READERS),
    Access::unary("ReplayWebhookEvent", &[OPERATOR]),
    Access::unary("Reconcile", &[OPERATOR]),
    Access::stream("WatchMovements", &[BILLING]),
    Access::unary("EraseAccount", &[ACCOUNT]),
    Access::unary("VerifyAudit", READERS),
];
