//! Who may call which method of this service.

use chassis::{Access, Who};

const ACCOUNT: Who = Who::Service("account-lifecycle");
const BILLING: Who = Who::Service("billing");
const READERS: &[Who] = &[ACCOUNT, BILLING, Who::AnyOperator];
const CUSTOMERS_WAY: &[Who] = &[
    ACCOUNT,
    Who::Operator("SUPPORT_AGENT"),
    Who::Operator("SALES"),
];
const CATALOGUE: &[Who] = &[Who::Operator("CATALOGUE")];
const SALES: &[Who] = &[Who::Operator("SALES")];

/// The table: a method without a row is refused.
pub const ACCESS: &[Access] = &[
    Access::unary("ImportCatalogue", CATALOGUE),
    Access::unary("ActivateCatalogue", CATALOGUE),
    Access::unary("GetCatalogue", READERS),
    Access::unary("ListCatalogueVersions", READERS),
    Access::unary("OpenAccount", &[ACCOUNT]),
    Access::unary("CloseAccount", &[ACCOUNT]),
    Access::unary("ListPlans", READERS),
    Access::unary("ListAvailablePlans", READERS),
    Access::unary("GetCurrentPlan", READERS),
    Access::unary("GetEffectivePlan", READERS),
    Access::unary("ListSegments", READERS),
    Access::unary("PreviewChange", CUSTOMERS_WAY),
    Access::unary("ApplyChange", CUSTOMERS_WAY),
    Access::unary("ListPendingChanges", READERS),
    Access::unary("WithdrawChange", CUSTOMERS_WAY),
    Access::unary("CancelSubscription", CUSTOMERS_WAY),
    Access::unary("UndoCancellation", CUSTOMERS_WAY),
    Access::unary(
        "SwitchBillingCycle",
        &[ACCOUNT, Who::Operator("SUPPORT_AGENT")],
    ),
    Access::unary("EndSubscription", &[BILLING]),
    Access::unary("AddAddOn", CUSTOMERS_WAY),
    Access::unary("RemoveAddOn", CUSTOMERS_WAY),
    Access::unary("ListAddOns", READERS),
    Access::unary("CreateContract", SALES),
    Access::unary("AddContractMember", SALES),
    Access::unary("RemoveContractMember", SALES),
    Access::unary("SetContractPayer", SALES),
    Access::unary("CreateContractOffer", SALES),
    Access::unary("AcceptContractOffer", &[ACCOUNT]),
    Access::unary("GetContract", READERS),
    Access::unary("ListContracts", READERS),
    Access::unary("CheckEntitlement", READERS),
    Access::unary("ListEntitlements", READERS),
    Access::unary("StampTicket", &[ACCOUNT]),
    Access::stream("StreamBillableSegments", &[BILLING]),
    Access::stream("WatchTimelines", &[ACCOUNT, BILLING]),
    Access::unary("EraseAccount", &[ACCOUNT]),
    Access::unary("VerifyAudit", READERS),
];
