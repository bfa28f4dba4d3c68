//! The words that every service speaks: money, amounts, exact fractions, ids, days and periods.
//!
//! Invariants: nothing here does I/O or reads a clock; no float; every operation that can leave
//! its range says so in its type.
#![warn(clippy::missing_errors_doc)]

mod card;
mod currency;
mod decimal;
mod figures;
mod id;
mod money;
mod period;
mod ratio;
mod zone;

pub use card::holds_card_number;
pub use currency::{Currency, UnknownCurrency};
pub use figures::shown;
pub use id::{
    Account, AccountId, BadId, Charge, ChargeId, Collection, CollectionId, Contract, ContractId,
    ContractOfferId, CreditNote, CreditNoteId, Dispute, DisputeId, Entry, EntryId, Id, Invoice,
    InvoiceId, Kind, KycId, Lot, LotId, Method, MethodId, Notification, NotificationId, Order,
    OrderId, Refund, RefundId, Registration, RegistrationId, Rental, RentalId, Resource,
    ResourceId, Run, RunId, Ticket, TicketId, User, UserId, Webhook, WebhookId, Whitelisted,
    WhitelistedId,
};
pub use money::{Amount, Money, MoneyError};
pub use period::{BadPeriod, Period, anniversary, business_day, elapsed_cycles};
pub use ratio::{Ratio, Rounding};
pub use zone::{UnknownZone, Zone};
