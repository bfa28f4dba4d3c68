//! Who may call which method of this service.

use chassis::{Access, Who};

const ACCOUNT: Who = Who::Service("account-lifecycle");
const BILLING: Who = Who::Service("billing");
const READERS: &[Who] = &[ACCOUNT, BILLING, Who::AnyOperator];

/// The table: a method without a row is refused.
pub const ACCESS: &[Access] = &[
    Access::unary("OpenAccount", &[ACCOUNT]),
    Access::unary("UpdateAccountFacts", &[ACCOUNT]),
    Access::unary("ImportCatalogue", &[Who::Operator("CATALOGUE")]),
    Access::unary("AddPaymentMethod", &[ACCOUNT]),
    Access::unary("ListPaymentMethods", READERS),
    Access::unary("RemovePaymentMethod", &[ACCOUNT]),
    Access::unary("SetDefaultPaymentMethod", &[ACCOUNT]),
    Access::unary("ListEligibleMethods", READERS),
    Access::unary("CreateCharge", &[BILLING]),
    Access::unary("GetCharge", READERS),
    Access::unary("ListCharges", READERS),
    Access::unary("SettleCharge", &[Who::Operator("BILLING")]),
    Access::unary("CreateRefund", &[BILLING]),
    Access::unary("GetRefund", READERS),
    Access::unary("ListRefunds", READERS),
    Access::unary("ResolveMovement", &[Who::Operator("BILLING")]),
    Access::unary("ListDisputes", READERS),
    Access::unary("ListWebhookEvents", READERS),
    Access::unary("ReplayWebhookEvent", &[Who::Operator("BILLING")]),
    Access::unary("Reconcile", &[Who::Operator("BILLING")]),
    Access::stream("WatchMovements", &[BILLING]),
    Access::unary("EraseAccount", &[ACCOUNT]),
    Access::unary("VerifyAudit", READERS),
];
