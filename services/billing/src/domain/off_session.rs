//! Choice of the payment method for an off-session charge (D35).

use uuid::Uuid;

/// A usable payment method of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Its id.
    pub id: Uuid,
    /// Whether it supports off-session charges.
    pub recurring: bool,
    /// Whether it is the account's default method.
    pub is_default: bool,
    /// Whether its owner allows it as a fallback for off-session charges.
    pub allowed: bool,
}

/// The method to charge, among those that support off-session charges: the one that paid before, else the default
/// one, else another that its owner allowed. `None` if there is none.
///
/// The method that was `declined` last comes after all others, so that adding a new card is enough and the old one
/// need not be removed.
pub fn method(held: &[Held], paid_by: Option<Uuid>, declined: Option<Uuid>) -> Option<Uuid> {
    let is_payer = |it: &&Held| Some(it.id) == paid_by;
    let recurring = || held.iter().filter(|it| it.recurring);
    let ordered = || {
        let payer = recurring().filter(is_payer);
        let default = recurring().filter(|it| it.is_default);
        let allowed = recurring().filter(|it| it.allowed);
        payer.chain(default).chain(allowed).map(|it| it.id)
    };
    ordered()
        .find(|id| Some(*id) != declined)
        .or_else(|| ordered().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: Uuid = Uuid::from_u128(1);
    const UPI: Uuid = Uuid::from_u128(2);
    const OTHER: Uuid = Uuid::from_u128(3);

    fn held(id: Uuid, recurring: bool, is_default: bool, allowed: bool) -> Held {
        Held {
            id,
            recurring,
            is_default,
            allowed,
        }
    }

    #[test]
    fn the_payer_comes_before_the_default_and_the_default_before_what_is_allowed() {
        let card = held(CARD, true, false, false);
        let upi = held(UPI, false, true, true);
        let default = held(OTHER, true, true, false);
        let allowed = held(OTHER, true, false, true);
        assert_eq!(method(&[upi, card], Some(CARD), None), Some(CARD));
        assert_eq!(method(&[default, card], Some(CARD), None), Some(CARD));
        assert_eq!(method(&[default, card], None, None), Some(OTHER));
        assert_eq!(method(&[upi, allowed], Some(CARD), None), Some(OTHER));
        // A method that asks its owner each time is never charged off-session, nor is one that was not allowed.
        assert_eq!(method(&[upi, card], Some(UPI), None), None);
        assert_eq!(method(&[], Some(CARD), None), None);
    }

    #[test]
    fn what_was_declined_comes_last() {
        let card = held(CARD, true, false, false);
        let default = held(OTHER, true, true, false);
        assert_eq!(
            method(&[card, default], Some(CARD), Some(CARD)),
            Some(OTHER)
        );
        assert_eq!(
            method(&[card, default], Some(CARD), Some(OTHER)),
            Some(CARD)
        );
        assert_eq!(method(&[card], Some(CARD), Some(CARD)), Some(CARD));
    }
}
