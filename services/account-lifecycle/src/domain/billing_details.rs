//! Whom and where invoices go to.

use uuid::Uuid;

/// Whom and where the invoices of a root account go to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BillingDetails {
    /// The root account.
    pub root_id: Uuid,
    /// Its name.
    pub recipient_name: String,
    /// Its postal address.
    pub address: String,
    /// Its tax country; empty where not known.
    pub country_code: String,
    /// Its state's code; empty where none.
    pub state_code: String,
    /// Its tax number.
    pub tax_id: String,
    /// Whether it buys as an export.
    pub export_supply: bool,
    /// Where invoices are mailed to.
    pub email: String,
    /// Counted on with each change.
    pub revision: i32,
}
