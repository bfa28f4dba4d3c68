//! The port to whoever moves the money, behind one trait.

mod api;
mod razorpay;
mod sandbox;
mod stripe;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;
use thiserror::Error;
use uuid::Uuid;
use values::Money;

use crate::domain::movement::{Answer, AskedFor};
use crate::domain::token::Token;

pub use api::is_signed;
pub use razorpay::Razorpay;
pub use sandbox::Sandbox;
pub use stripe::Stripe;

/// The name of our reference in what a provider keeps for us.
pub const REFERENCE: &str = "perdiem_reference";

/// A charge to ask for.
#[derive(Debug, Clone)]
pub struct ChargeOrder {
    /// Our reference, derived from what is paid for: the same for every retry (R3).
    pub reference: Uuid,
    /// What to charge.
    pub token: Token,
    /// How much, above zero.
    pub money: Money,
    /// Whether the person is not there to confirm.
    pub unattended: bool,
    /// Where the person is sent after confirming; empty for the provider's default.
    pub return_url: String,
}

/// A refund to ask for.
#[derive(Debug, Clone)]
pub struct RefundOrder {
    /// Our reference of the refund.
    pub reference: Uuid,
    /// Our reference of the charge.
    pub charge_reference: Uuid,
    /// The provider's id of the charge.
    pub charge_id: String,
    /// How much, above zero.
    pub money: Money,
}

/// A movement to look up.
#[derive(Debug, Clone)]
pub struct Sought {
    /// Whether money comes or goes.
    pub kind: Kind,
    /// Our reference.
    pub reference: Uuid,
    /// The provider's id; empty while unknown.
    pub provider_id: String,
    /// The provider's id of the charge that a refund gives back; empty for a charge.
    pub charge_id: String,
    /// What was charged; `None` where it is forgotten, and for a refund.
    pub token: Option<Token>,
    /// How long ago the provider was asked for it.
    pub asked_for: AskedFor,
}

/// Whether money comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To us.
    Charge,
    /// Back to the payer.
    Refund,
}

impl Kind {
    /// Its name, as it is stored.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Charge => "CHARGE",
            Self::Refund => "REFUND",
        }
    }
}

/// What a provider tells of a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instrument {
    /// The card's network; empty when it has none, or does not tell.
    pub network: String,
    /// The country that issued it; empty when it does not tell.
    pub country: String,
    /// The last four digits; empty for none.
    pub last_four: String,
    /// The last month in which it is good, such as 2028-11; empty for none.
    pub expiry_month: String,
}

/// Why a token can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotAttached {
    /// The provider refuses the token.
    #[error("the provider refuses the token: {0}")]
    Refused(String),
    /// The provider does not answer.
    #[error("the provider is not available")]
    Unavailable,
}

/// The provider's book can't be read: nothing is concluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the provider is not available")]
pub struct Unavailable;

/// A movement in a provider's book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookEntry {
    /// Whether money came or went.
    pub kind: Kind,
    /// Our reference, as the book holds it.
    pub reference: Uuid,
    /// The provider's id.
    pub provider_id: String,
    /// How much.
    pub money: Money,
    /// What the book says of it.
    pub answer: Answer,
}

/// A charge that its payer contests, in a provider's book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contested {
    /// The provider's id of the dispute.
    pub provider_id: String,
    /// The provider's id of the charge.
    pub charge_id: String,
    /// How much is contested.
    pub money: Money,
    /// What the provider has taken back and not returned.
    pub withheld: Money,
    /// Why, in the provider's word.
    pub reason: String,
    /// INQUIRY, OPEN, WON, LOST or WITHDRAWN.
    pub state: &'static str,
    /// Until when evidence is taken.
    pub evidence_due_at: Option<DateTime<Utc>>,
    /// When it was opened.
    pub opened_at: DateTime<Utc>,
}

/// Whoever moves the money. None of these fails: what is not definite is [`Answer::Unknown`].
pub trait Provider: Send + Sync {
    /// How long two requests with one reference are taken for one (R4).
    fn window(&self) -> TimeDelta;

    /// What a token stands for; makes it usable for charges of `owner`, a root account, and of no other.
    fn attach<'a>(
        &'a self,
        token: &'a Token,
        owner: Uuid,
    ) -> BoxFuture<'a, Result<Instrument, NotAttached>>;

    /// Asks for a charge. Asked again with the same reference it never charges twice.
    fn charge<'a>(&'a self, order: &'a ChargeOrder) -> BoxFuture<'a, Answer>;

    /// Asks for a refund. Asked again with the same reference it never refunds twice.
    fn refund<'a>(&'a self, order: &'a RefundOrder) -> BoxFuture<'a, Answer>;

    /// What the book says of a movement; `None` when it has no such one.
    fn look_up<'a>(
        &'a self,
        sought: &'a Sought,
    ) -> BoxFuture<'a, Result<Option<Answer>, Unavailable>>;

    /// What the book says of a dispute by the provider's own id; `None` when it has no such one.
    fn dispute<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Contested>, Unavailable>>;

    /// The provider's ids of disputes opened since an instant; more may be told.
    fn disputes(&self, since: DateTime<Utc>) -> BoxFuture<'_, Result<Vec<String>, Unavailable>>;

    /// All that the book has of a stretch of time, oldest first.
    fn book(
        &self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> BoxFuture<'_, Result<Vec<BookEntry>, Unavailable>>;
}
