//! The payment providers, behind one trait.

mod api;
mod razorpay;
mod sandbox;
mod stripe;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;
use thiserror::Error;
use uuid::Uuid;
use values::Money;

use crate::domain::dispute;
use crate::domain::movement::{Answer, AskedFor, Kind};
use crate::domain::token::Token;

pub use api::is_signed;
pub use razorpay::Razorpay;
pub use sandbox::Sandbox;
pub use stripe::Stripe;

/// Name of the metadata field that holds our reference at a provider.
pub const REFERENCE: &str = "perdiem_reference";

/// A request for a charge.
#[derive(Debug, Clone)]
pub struct ChargeOrder {
    /// Our reference, derived from what is paid for, so that every retry has the same (R3).
    pub reference: Uuid,
    /// Token of the payment method.
    pub token: Token,
    /// Amount, above zero.
    pub money: Money,
    /// Whether the charge is off-session.
    pub unattended: bool,
    /// Page that the customer returns to after confirming; empty for the provider's default.
    pub return_url: String,
}

/// A request for a refund.
#[derive(Debug, Clone)]
pub struct RefundOrder {
    /// Our reference of the refund.
    pub reference: Uuid,
    /// Our reference of the charge.
    pub charge_reference: Uuid,
    /// Provider's id of the charge.
    pub charge_id: String,
    /// Amount, above zero.
    pub money: Money,
}

/// The keys of a look-up.
#[derive(Debug, Clone)]
pub struct Sought {
    /// Charge or refund.
    pub kind: Kind,
    /// Our reference.
    pub reference: Uuid,
    /// Provider's id; empty until known.
    pub provider_id: String,
    /// Provider's id of the refunded charge; empty for a charge.
    pub charge_id: String,
    /// Token that was charged; `None` if it has been erased, and for a refund.
    pub token: Option<Token>,
    /// Time since the provider was asked for it.
    pub asked_for: AskedFor,
}

/// A provider's description of a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instrument {
    /// Card network; empty if it has none or the provider does not tell.
    pub network: String,
    /// Issuing country; empty if the provider does not tell.
    pub country: String,
    /// Last four digits; empty for none.
    pub last_four: String,
    /// Last valid month, such as `2028-11`; empty for none.
    pub expiry_month: String,
}

/// Why a token can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotAttached {
    /// The provider refused the token.
    #[error("the provider refused the token: {0}")]
    Refused(String),
    /// The provider can't be reached.
    #[error("the provider is unavailable")]
    Unavailable,
}

/// The provider's book can't be read, so nothing is concluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the provider is unavailable")]
pub struct Unavailable;

/// A movement in a provider's book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookEntry {
    /// Charge or refund.
    pub kind: Kind,
    /// Our reference, as the book has it.
    pub reference: Uuid,
    /// Provider's id.
    pub provider_id: String,
    /// Amount.
    pub money: Money,
    /// Outcome according to the book.
    pub answer: Answer,
}

/// A dispute in a provider's book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contested {
    /// Provider's id of the dispute.
    pub provider_id: String,
    /// Provider's id of the charge.
    pub charge_id: String,
    /// Disputed amount.
    pub money: Money,
    /// Amount that the provider withholds.
    pub withheld: Money,
    /// Dispute reason in the provider's terms.
    pub reason: String,
    /// State.
    pub state: dispute::State,
    /// Deadline for evidence.
    pub evidence_due_at: Option<DateTime<Utc>>,
    /// When it was opened.
    pub opened_at: DateTime<Utc>,
}

/// A payment provider. Charges and refunds never fail with an error: an indefinite outcome is [`Answer::Unknown`].
pub trait Provider: Send + Sync {
    /// How long the provider deduplicates requests with the same reference (R4).
    fn window(&self) -> TimeDelta;

    /// Describes a token and binds it to the root account `owner`, so that no other account can be charged with it.
    fn attach<'a>(
        &'a self,
        token: &'a Token,
        owner: Uuid,
    ) -> BoxFuture<'a, Result<Instrument, NotAttached>>;

    /// Requests a charge. A repeated request with the same reference never charges twice.
    fn charge<'a>(&'a self, order: &'a ChargeOrder) -> BoxFuture<'a, Answer>;

    /// Requests a refund. A repeated request with the same reference never refunds twice.
    fn refund<'a>(&'a self, order: &'a RefundOrder) -> BoxFuture<'a, Answer>;

    /// Looks up a movement in the book; `None` if the book does not contain it.
    fn look_up<'a>(
        &'a self,
        sought: &'a Sought,
    ) -> BoxFuture<'a, Result<Option<Answer>, Unavailable>>;

    /// Looks up a dispute by the provider's id; `None` if the book does not contain it.
    fn dispute<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Contested>, Unavailable>>;

    /// The provider's ids of disputes opened since an instant, possibly with older ones.
    fn disputes(&self, since: DateTime<Utc>) -> BoxFuture<'_, Result<Vec<String>, Unavailable>>;

    /// All entries of the book within a time range, oldest first.
    fn book(
        &self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> BoxFuture<'_, Result<Vec<BookEntry>, Unavailable>>;
}
