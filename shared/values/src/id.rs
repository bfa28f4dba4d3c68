//! Identities: a UUID inside, a two-letter prefix and 32 hex digits outside.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use thiserror::Error;
use uuid::Uuid;

/// What an id is of; gives the prefix that customers see.
pub trait Kind {
    /// Two capitals, such as `AC` for accounts.
    const PREFIX: &'static str;
}

/// The one table of prefixes.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $id:ident $prefix:literal;)*) => {$(
        $(#[$doc])*
        pub enum $kind {}
        impl Kind for $kind {
            const PREFIX: &'static str = $prefix;
        }
        $(#[$doc])*
        pub type $id = Id<$kind>;
    )*};
}

kinds! {
    /// An account or subaccount.
    Account AccountId "AC";
    /// A person who logs in.
    User UserId "US";
    /// An order, from its quote on.
    Order OrderId "OR";
    /// A support ticket.
    Ticket TicketId "TK";
    /// What an account submitted to be known as a customer.
    Kyc KycId "KY";
    /// A contract over several accounts.
    Contract ContractId "CT";
    /// Terms offered for a plan that is had from sales.
    ContractOffer ContractOfferId "CO";
    /// A billing run.
    Run RunId "RU";
    /// An invoice.
    Invoice InvoiceId "IN";
    /// A lot of credit.
    Lot LotId "LT";
    /// A ledger entry.
    Entry EntryId "LE";
    /// Money asked for, for an order or to fill a balance.
    Collection CollectionId "CL";
    /// A credit note.
    CreditNote CreditNoteId "CN";
    /// A payment method.
    Method MethodId "PM";
    /// A charge.
    Charge ChargeId "CH";
    /// A refund.
    Refund RefundId "RF";
    /// Something that is rented by the month.
    Rental RentalId "RL";
    /// A charge that its payer contests.
    Dispute DisputeId "DP";
    /// Something that an account holds: a number, a flow, a key.
    Resource ResourceId "RS";
    /// A registration for messages to a country.
    Registration RegistrationId "DL";
    /// A number that a trial may call.
    Whitelisted WhitelistedId "WN";
    /// A mail to whoever owns an account.
    Notification NotificationId "NT";
    /// A message of a payment provider.
    Webhook WebhookId "WH";
}

/// The identity of a `K`; cannot be passed as another's.
pub struct Id<K> {
    uuid: Uuid,
    of: PhantomData<fn() -> K>,
}

/// A text that is not the id asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not {prefix} and 32 lower-case hex digits")]
pub struct BadId {
    /// The prefix that was expected.
    pub prefix: &'static str,
}

impl<K> Id<K> {
    /// The id with this UUID.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self {
            uuid,
            of: PhantomData,
        }
    }

    /// A new id, later than those made before it (UUID version 7).
    pub fn new() -> Self {
        Self::from_uuid(Uuid::now_v7())
    }

    /// A new id without order (UUID version 4): for what is sharded by its own id.
    pub fn random() -> Self {
        Self::from_uuid(Uuid::new_v4())
    }

    /// Its UUID: what the database keeps.
    pub const fn uuid(self) -> Uuid {
        self.uuid
    }
}

impl<K> Default for Id<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Kind> FromStr for Id<K> {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = BadId { prefix: K::PREFIX };
        let hex = text.strip_prefix(K::PREFIX).ok_or(bad)?;
        let lower = hex
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex.len() != 32 || !lower {
            return Err(bad);
        }
        Ok(Self::from_uuid(Uuid::try_parse(hex).map_err(|_| bad)?))
    }
}

impl<K: Kind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", K::PREFIX, self.uuid.simple())
    }
}

impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.uuid == other.uuid
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.uuid.cmp(&other.uuid)
    }
}
impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.uuid.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_only_its_own_form_reads() {
        let id: Id<Account> = Id::new();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(
            "ACffffffffffffffffffffffffffffffff"
                .parse::<Id<Account>>()
                .is_ok()
        );
        for bad in [
            "",
            "AC",
            "XXffffffffffffffffffffffffffffffff",
            "ACFFffffffffffffffffffffffffffffff",
            "ACfffffffffffffffffffffffffffffff",
            "ACffffffff-ffff-ffff-ffff-ffffffffffff",
        ] {
            assert!(bad.parse::<Id<Account>>().is_err(), "{bad}");
        }
    }
}
