//! Which callers may call which method.

use chassis::{Access, OperatorRole, ServiceName, Standing, Who};

const ACCOUNT: Who = Who::Service(ServiceName::AccountLifecycle);
const BILLING: Who = Who::Service(ServiceName::Billing);
/// Callers that may read a customer's plans, past and present.
const READERS: &[Who] = &[
    ACCOUNT,
    BILLING,
    Who::Operator(OperatorRole::Sales),
    Who::Operator(OperatorRole::SupportAgent),
    Who::Operator(OperatorRole::Billing),
    Who::Operator(OperatorRole::Risk),
    Who::Operator(OperatorRole::Auditor),
];
/// Callers that may read the catalogue: every role, since it contains no customer data.
const CATALOGUE_READERS: &[Who] = &[
    ACCOUNT,
    BILLING,
    Who::Operator(OperatorRole::Catalogue),
    Who::Operator(OperatorRole::Sales),
    Who::Operator(OperatorRole::SupportAgent),
    Who::Operator(OperatorRole::Billing),
    Who::Operator(OperatorRole::Kyc),
    Who::Operator(OperatorRole::Risk),
    Who::Operator(OperatorRole::Auditor),
];
/// Callers that may change a customer's plans.
const CUSTOMERS_WAY: &[Who] = &[
    ACCOUNT,
    Who::Operator(OperatorRole::SupportAgent),
    Who::Operator(OperatorRole::Sales),
];
const CATALOGUE: &[Who] = &[Who::Operator(OperatorRole::Catalogue)];
const SALES: &[Who] = &[Who::Operator(OperatorRole::Sales)];

/// Barred accounts and dormant ones buy nothing.
pub const BUYING: &[Standing] = &[
    Standing::Erased,
    Standing::Closed,
    Standing::Closing,
    Standing::Fraud,
    Standing::Terms,
    Standing::Parent,
    Standing::Dormant,
];
/// A trial can't join a contract either, since that is paid support (D5).
const JOINING: &[Standing] = &[
    Standing::Erased,
    Standing::Closed,
    Standing::Closing,
    Standing::Fraud,
    Standing::Terms,
    Standing::Parent,
    Standing::Dormant,
    Standing::Trial,
];

/// The access table; a method without a row is refused. Unless a row says otherwise, a method that changes something is
/// closed to accounts that are closed or closing. `tests/data/standing.csv` gives the reason for each row.
pub const ACCESS: &[Access] = &[
    Access::unary("ImportCatalogue", CATALOGUE).always(),
    Access::unary("ActivateCatalogue", CATALOGUE).always(),
    Access::unary("GetCatalogue", CATALOGUE_READERS),
    Access::unary("ListCatalogueVersions", CATALOGUE_READERS),
    Access::unary("OpenAccount", &[ACCOUNT]),
    Access::unary("SetStanding", &[ACCOUNT]).always(),
    Access::unary("CloseAccount", &[ACCOUNT]).always(),
    Access::unary("ListPlans", CATALOGUE_READERS),
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
        &[ACCOUNT, Who::Operator(OperatorRole::SupportAgent)],
    ),
    Access::unary("EndSubscription", &[BILLING]).always(),
    Access::unary("AddAddOn", CUSTOMERS_WAY).shut_in(BUYING),
    Access::unary("RemoveAddOn", CUSTOMERS_WAY),
    Access::unary("ListAddOns", READERS),
    Access::unary("CreateContract", SALES).shut_in(JOINING),
    Access::unary("AddContractMember", SALES).shut_in(JOINING),
    Access::unary(
        "RemoveContractMember",
        &[
            Who::Operator(OperatorRole::Sales),
            Who::Operator(OperatorRole::SupportAgent),
        ],
    ),
    Access::unary("SetContractPayer", SALES).shut_in(JOINING),
    Access::unary("CreateContractOffer", SALES),
    Access::unary("ListContractOffers", READERS),
    Access::unary("AcceptContractOffer", &[ACCOUNT]).shut_in(BUYING),
    Access::unary("GetContract", READERS),
    Access::unary("ListContracts", READERS),
    Access::unary("CheckEntitlement", READERS),
    Access::unary("ListEntitlements", READERS),
    Access::unary("StampTicket", &[ACCOUNT]),
    Access::stream("StreamBillableSegments", &[BILLING]),
    Access::stream("WatchTimelines", &[ACCOUNT, BILLING]),
    Access::unary("EraseAccount", &[ACCOUNT]).always(),
    Access::unary("VerifyAudit", READERS),
];
