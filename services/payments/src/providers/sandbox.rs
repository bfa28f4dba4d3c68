//! The embedded provider: its tokens decide the outcome, and it keeps a book of its own.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::{ChargeOrder, Outcome, PaymentProvider};

/// A provider in memory. Tokens: `tok_ok…` succeeds, `tok_declined…` is declined, `tok_slow…` stays
/// pending, `tok_timeout_after…` charges and does not answer, `tok_timeout_before…` does neither.
/// Any other token is declined as unknown.
#[derive(Debug, Default)]
pub struct Sandbox {
    book: Mutex<HashMap<String, Outcome>>,
}

impl PaymentProvider for Sandbox {
    async fn charge(&self, order: &ChargeOrder) -> Outcome {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        // The same reference is the same charge, whatever it asks for now.
        if let Some(known) = book.get(&order.reference) {
            return known.clone();
        }
        let token = order.token.as_str();
        let provider_id = format!("sb_{}", order.reference);
        let succeeded = Outcome::Succeeded {
            provider_id: provider_id.clone(),
            amount: order.amount,
        };
        let declined = |reason: &str| Outcome::Declined {
            reason: reason.to_owned(),
        };
        let (booked, answer) = match token {
            _ if token.starts_with("tok_ok") => (Some(succeeded.clone()), succeeded),
            _ if token.starts_with("tok_declined") => {
                (Some(declined("card_declined")), declined("card_declined"))
            }
            _ if token.starts_with("tok_slow") => (
                Some(Outcome::Pending {
                    provider_id: provider_id.clone(),
                }),
                Outcome::Pending { provider_id },
            ),
            _ if token.starts_with("tok_timeout_after") => (Some(succeeded), Outcome::Unknown),
            _ if token.starts_with("tok_timeout_before") => (None, Outcome::Unknown),
            _ => (Some(declined("unknown_token")), declined("unknown_token")),
        };
        if let Some(booked) = booked {
            book.insert(order.reference.clone(), booked);
        }
        answer
    }

    async fn look_up(&self, reference: &str) -> Option<Outcome> {
        self.book
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(reference)
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use values::{Currency, Money};

    use super::*;
    use crate::providers::Token;

    fn order(reference: &str, token: &str) -> ChargeOrder {
        let amount = Money::from_minor(10_00, Currency::Usd);
        ChargeOrder {
            reference: reference.to_owned(),
            token: Token::parse(token).unwrap(),
            amount,
        }
    }

    #[tokio::test]
    async fn the_token_decides_and_one_reference_is_one_charge() {
        let sandbox = Sandbox::default();
        let first = sandbox.charge(&order("r1", "tok_ok")).await;
        assert!(matches!(first, Outcome::Succeeded { .. }));
        assert_eq!(sandbox.charge(&order("r1", "tok_declined")).await, first);
        assert!(matches!(
            sandbox.charge(&order("r2", "tok_declined")).await,
            Outcome::Declined { .. }
        ));
        assert!(matches!(
            sandbox.charge(&order("r3", "tok_slow")).await,
            Outcome::Pending { .. }
        ));
    }

    #[tokio::test]
    async fn a_timeout_is_unknown_until_it_is_looked_up() {
        let sandbox = Sandbox::default();
        assert_eq!(
            sandbox.charge(&order("after", "tok_timeout_after")).await,
            Outcome::Unknown
        );
        assert!(matches!(
            sandbox.look_up("after").await,
            Some(Outcome::Succeeded { .. })
        ));
        assert_eq!(
            sandbox.charge(&order("before", "tok_timeout_before")).await,
            Outcome::Unknown
        );
        assert_eq!(sandbox.look_up("before").await, None);
    }
}
