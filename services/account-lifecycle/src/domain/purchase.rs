//! What an order is for, and its price lines.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;
use values::{CollectionId, Currency, InvoiceId, Money, ResourceId};

named! {
    /// Kind of an order.
    OrderKind {
        /// Another plan, for an account that has one.
        PlanChange = "PLAN_CHANGE",
        /// Credit.
        BuyCredits = "BUY_CREDITS",
        /// The first paid plan of a trial, or a new plan of a limited account.
        Upgrade = "UPGRADE",
        /// A phone number, charged to the balance.
        BuyNumber = "BUY_NUMBER",
        /// An add-on of the plan in force, charged to the balance.
        AddOn = "ADD_ON",
        /// A refund of unspent credit.
        RefundRequest = "REFUND_REQUEST",
        /// The payment of an unpaid billing cycle.
        PayRenewal = "PAY_RENEWAL",
        /// The payment of an open invoice.
        PayInvoice = "PAY_INVOICE",
    }
}

/// What an order is for, with the facts that only this kind of order has.
///
/// The tag is stored in `kind` and the content in `item` of `account.orders`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "item")]
pub enum Purchase {
    /// Another plan, for an account that has one.
    #[serde(rename = "PLAN_CHANGE")]
    PlanChange {
        /// Features that the account loses by it.
        #[serde(default)]
        losses: Vec<Loss>,
    },
    /// Credit.
    #[serde(rename = "BUY_CREDITS")]
    BuyCredits {},
    /// The first paid plan of a trial, or a new plan of a limited account.
    #[serde(rename = "UPGRADE")]
    Upgrade {
        /// Features that the account loses by it.
        #[serde(default)]
        losses: Vec<Loss>,
    },
    /// A phone number, charged to the balance.
    #[serde(rename = "BUY_NUMBER")]
    BuyNumber(Number),
    /// An add-on of the plan in force, charged to the balance.
    #[serde(rename = "ADD_ON")]
    AddOn {
        /// Code of the add-on.
        code: String,
    },
    /// A refund of unspent credit.
    #[serde(rename = "REFUND_REQUEST")]
    RefundRequest(Refund),
    /// The payment of an unpaid billing cycle.
    #[serde(rename = "PAY_RENEWAL")]
    PayRenewal {
        /// Collection in `billing` that is paid.
        #[serde(with = "text")]
        collection: CollectionId,
    },
    /// The payment of an open invoice.
    #[serde(rename = "PAY_INVOICE")]
    PayInvoice {
        /// Invoice in `billing` that is paid.
        #[serde(with = "text")]
        invoice: InvoiceId,
    },
    /// An order whose content was erased with the data of its account.
    #[serde(skip)]
    Erased(OrderKind),
}

/// A feature that the account loses by a change of plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Code of the feature.
    pub feature_code: String,
    /// Kind of its value, as the catalogue names it.
    pub kind: String,
    /// Its value in the plan in force.
    pub value: String,
}

/// A number to buy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Number {
    /// Type of the number in the price list.
    pub code: String,
    /// Country, ISO 3166 code.
    pub country: String,
    /// What it is used for.
    pub kind: NumberKind,
    /// The number wanted, E.164; empty for any.
    pub number: String,
}

/// What a number is used for. The names are the kinds of resources that it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NumberKind {
    /// The free number of a trial.
    #[serde(rename = "TRIAL_NUMBER")]
    Trial,
    /// A number that is paid for.
    #[serde(rename = "PHONE_NUMBER")]
    Production,
}

impl NumberKind {
    /// Code of the resource.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trial => "TRIAL_NUMBER",
            Self::Production => "PHONE_NUMBER",
        }
    }
}

/// A refund to request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// Amount asked for; empty for all that can be refunded.
    pub amount: String,
    /// Amount quoted, in the currency of the order's lines.
    pub quoted: String,
}

impl Purchase {
    /// The purchase of an order, from its kind and content as stored.
    ///
    /// # Errors
    /// What is malformed in the content.
    pub fn read(kind: OrderKind, item: &Value) -> Result<Self, serde_json::Error> {
        let erased = item.as_object().is_some_and(serde_json::Map::is_empty);
        match serde_json::from_value(json!({"kind": kind.as_str(), "item": item})) {
            Err(_) if erased => Ok(Self::Erased(kind)),
            read => read,
        }
    }

    /// The content as stored.
    ///
    /// # Errors
    /// None that is known: every content is plain text.
    pub fn item(&self) -> Result<Value, serde_json::Error> {
        if matches!(self, Self::Erased(_)) {
            return Ok(json!({}));
        }
        let mut stored = serde_json::to_value(self)?;
        Ok(stored.get_mut("item").map(Value::take).unwrap_or_default())
    }

    /// The kind of the order.
    pub const fn kind(&self) -> OrderKind {
        match self {
            Self::PlanChange { .. } => OrderKind::PlanChange,
            Self::BuyCredits {} => OrderKind::BuyCredits,
            Self::Upgrade { .. } => OrderKind::Upgrade,
            Self::BuyNumber(_) => OrderKind::BuyNumber,
            Self::AddOn { .. } => OrderKind::AddOn,
            Self::RefundRequest(_) => OrderKind::RefundRequest,
            Self::PayRenewal { .. } => OrderKind::PayRenewal,
            Self::PayInvoice { .. } => OrderKind::PayInvoice,
            Self::Erased(kind) => *kind,
        }
    }

    /// Features that the account loses by it.
    pub fn losses(&self) -> &[Loss] {
        match self {
            Self::PlanChange { losses } | Self::Upgrade { losses } => losses,
            Self::BuyCredits {}
            | Self::BuyNumber(_)
            | Self::AddOn { .. }
            | Self::RefundRequest(_)
            | Self::PayRenewal { .. }
            | Self::PayInvoice { .. }
            | Self::Erased(_) => &[],
        }
    }
}

/// Ids are stored as the text that people know.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    /// Writes an id.
    ///
    /// # Errors
    /// What the writer refuses.
    pub fn serialize<T: Display, S: Serializer>(id: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    /// Reads an id.
    ///
    /// # Errors
    /// A text that is no id of the kind.
    pub fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// A price line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredLine", into = "StoredLine")]
pub struct Line {
    /// What is charged, for people.
    pub description: String,
    /// Amount; negative for what the customer receives.
    pub money: Money,
    /// What is charged.
    pub kind: LineKind,
    /// Whether the amount is an estimate, or not paid at the commit.
    pub estimated: bool,
    /// Months of the billing cycle; 0 for none.
    pub months: i32,
    /// Date on which the billing cycle ends; empty for none.
    pub until: String,
    /// The number kept from a trial that the line tells of; `None` for none.
    pub resource: Option<ResourceId>,
}

/// A number that an account keeps from its trial and rents once it has a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptNumber {
    /// Resource id.
    pub id: ResourceId,
    /// Type of the number in the price list.
    pub code: String,
    /// Monthly price.
    pub price: Money,
}

impl KeptNumber {
    /// The line of an upgrade's quote that tells of the number. Its first month is taken from the balance and is no part
    /// of what is paid at the commit.
    pub fn line(&self) -> Line {
        Line {
            description: format!(
                "{} number of the trial: monthly, from the balance",
                self.code
            ),
            money: self.price,
            kind: LineKind::Rental,
            estimated: true,
            months: 0,
            until: String::new(),
            resource: Some(self.id),
        }
    }
}

/// The monthly price of a kept number as the lines of an order say; `None` if they don't tell of it.
pub fn quoted_price(lines: &[Line], number: ResourceId) -> Option<Money> {
    let line = lines.iter().find(|it| it.resource == Some(number))?;
    Some(line.money)
}

/// What a price line charges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineKind {
    /// A plan.
    Subscription,
    /// Credit.
    Credits,
    /// An open invoice.
    Invoice,
    /// The monthly price of a number or an add-on, charged to the balance.
    Rental,
    /// Credit that is refunded.
    Refund,
    /// The fee of a refund.
    Fee,
    /// A tax, by its code in the catalogue.
    Tax(String),
}

impl LineKind {
    /// The kind with this name. Taxes have the codes of the catalogue: whatever is no other kind is a tax.
    pub fn named(name: &str) -> Self {
        match name {
            "SUBSCRIPTION" => Self::Subscription,
            "CREDITS" => Self::Credits,
            "INVOICE" => Self::Invoice,
            "RENTAL" => Self::Rental,
            "REFUND" => Self::Refund,
            "FEE" => Self::Fee,
            tax => Self::Tax(tax.to_owned()),
        }
    }

    /// Name as stored and shown.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Subscription => "SUBSCRIPTION",
            Self::Credits => "CREDITS",
            Self::Invoice => "INVOICE",
            Self::Rental => "RENTAL",
            Self::Refund => "REFUND",
            Self::Fee => "FEE",
            Self::Tax(code) => code,
        }
    }

    /// Whether a collection pays for the line. It adds the taxes itself.
    pub const fn is_collected(&self) -> bool {
        match self {
            Self::Subscription | Self::Credits | Self::Invoice => true,
            Self::Rental | Self::Refund | Self::Fee | Self::Tax(_) => false,
        }
    }
}

/// A price line as it is stored. What is missing in older lines has a default.
#[derive(Clone, Serialize, Deserialize)]
struct StoredLine {
    /// As of [`Line`].
    description: String,
    /// A plain decimal.
    amount: String,
    /// ISO 4217 code.
    currency: String,
    /// Name of the kind.
    #[serde(default = "subscription")]
    kind: String,
    /// As of [`Line`].
    #[serde(default = "yes")]
    estimated: bool,
    /// As of [`Line`].
    #[serde(default)]
    months: i32,
    /// As of [`Line`].
    #[serde(default)]
    until: String,
    /// The id as people know it; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    resource: String,
}

/// The kind of a line that has none.
fn subscription() -> String {
    LineKind::Subscription.as_str().to_owned()
}

/// Whether a line is estimated that does not say.
const fn yes() -> bool {
    true
}

/// A stored line that can't be read.
#[derive(Debug, Error)]
enum Unreadable {
    /// It has no amount.
    #[error("{amount:?} {currency:?} is no sum of money")]
    Money {
        /// As stored.
        amount: String,
        /// As stored.
        currency: String,
    },
    /// It tells of a resource whose id is malformed.
    #[error("{0:?} is no id of a resource")]
    Resource(String),
}

impl TryFrom<StoredLine> for Line {
    type Error = Unreadable;

    fn try_from(from: StoredLine) -> Result<Self, Unreadable> {
        let currency = from.currency.parse::<Currency>().ok();
        let money = currency.and_then(|it| Money::parse(&from.amount, it).ok());
        let Some(money) = money else {
            return Err(Unreadable::Money {
                amount: from.amount,
                currency: from.currency,
            });
        };
        let resource = match from.resource.as_str() {
            "" => None,
            text => match text.parse() {
                Ok(id) => Some(id),
                Err(_) => return Err(Unreadable::Resource(from.resource)),
            },
        };
        Ok(Self {
            description: from.description,
            money,
            kind: LineKind::named(&from.kind),
            estimated: from.estimated,
            months: from.months,
            until: from.until,
            resource,
        })
    }
}

impl From<Line> for StoredLine {
    fn from(from: Line) -> Self {
        Self {
            description: from.description,
            amount: from.money.to_string(),
            currency: from.money.currency().code().to_owned(),
            kind: from.kind.as_str().to_owned(),
            estimated: from.estimated,
            months: from.months,
            until: from.until,
            resource: from.resource.map(|id| id.to_string()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_purchase_is_read_as_it_was_stored() {
        let collection = CollectionId::from_uuid(uuid::Uuid::from_u128(1));
        let invoice = InvoiceId::from_uuid(uuid::Uuid::from_u128(2));
        let cases = [
            (
                OrderKind::PlanChange,
                json!({"losses": [{"feature_code": "sms_api", "kind": "BOOLEAN", "value": "true"}]}),
            ),
            (OrderKind::BuyCredits, json!({})),
            (OrderKind::Upgrade, json!({"losses": []})),
            (
                OrderKind::BuyNumber,
                json!({"code": "local", "country": "IN", "kind": "TRIAL_NUMBER", "number": ""}),
            ),
            (OrderKind::AddOn, json!({"code": "whatsapp"})),
            (
                OrderKind::RefundRequest,
                json!({"amount": "", "quoted": "12.00"}),
            ),
            (
                OrderKind::PayRenewal,
                json!({"collection": collection.to_string()}),
            ),
            (
                OrderKind::PayInvoice,
                json!({"invoice": invoice.to_string()}),
            ),
        ];
        let kinds: Vec<_> = cases.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, OrderKind::ALL);
        for (kind, item) in cases {
            let read = Purchase::read(kind, &item).unwrap();
            assert_eq!(read.kind(), kind);
            assert_eq!(read.item().unwrap(), item, "{kind:?}");
            let erased = Purchase::read(kind, &json!({})).unwrap();
            assert_eq!(erased.kind(), kind);
        }
        let malformed = json!({"collection": "x"});
        for kind in [OrderKind::AddOn, OrderKind::PayRenewal] {
            assert!(Purchase::read(kind, &malformed).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn a_line_is_read_as_it_was_stored() {
        let stored = json!({"description": "growth, monthly", "amount": "1500.00", "currency": "INR",
                            "kind": "SUBSCRIPTION", "estimated": false, "months": 1, "until": "2026-06-14"});
        let line: Line = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(line.money, Money::from_minor(1500_00, Currency::Inr));
        assert_eq!(serde_json::to_value(&line).unwrap(), stored);
        let tax = json!({"description": "CGST 9.00%", "amount": "135.00", "currency": "INR", "kind": "CGST",
                         "estimated": false});
        let tax: Line = serde_json::from_value(tax).unwrap();
        assert_eq!(tax.kind, LineKind::Tax("CGST".to_owned()));
        let unknown = json!({"description": "", "amount": "1.00", "currency": "XYZ", "kind": "FEE",
                             "estimated": false});
        let unknown: Result<Line, _> = serde_json::from_value(unknown);
        let error = unknown.unwrap_err().to_string();
        assert_eq!(error, "\"1.00\" \"XYZ\" is no sum of money");
    }

    #[test]
    fn the_line_of_a_kept_number_is_found_again() {
        let id = ResourceId::from_uuid(uuid::Uuid::from_u128(3));
        let kept = KeptNumber {
            id,
            code: "landline".to_owned(),
            price: Money::from_minor(500_00, Currency::Inr),
        };
        // A line that was stored before lines told of resources has none.
        let older =
            json!({"description": "starter, monthly", "amount": "1000.00", "currency": "INR"});
        let older: Line = serde_json::from_value(older).unwrap();
        assert_eq!(older.resource, None);
        let stored = serde_json::to_value([older, kept.line()]).unwrap();
        let lines: Vec<Line> = serde_json::from_value(stored).unwrap();
        assert_eq!(quoted_price(&lines, id), Some(kept.price));
        let other = ResourceId::from_uuid(uuid::Uuid::from_u128(4));
        assert_eq!(quoted_price(&lines, other), None);
        let malformed =
            json!({"description": "", "amount": "1.00", "currency": "INR", "resource": "x"});
        let malformed: Result<Line, _> = serde_json::from_value(malformed);
        let error = malformed.unwrap_err().to_string();
        assert_eq!(error, "\"x\" is no id of a resource");
    }
}
