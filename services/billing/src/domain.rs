//! The rules of billing: pure functions of their arguments, with no wire, database or clock.
#![warn(clippy::missing_errors_doc)]

/// Declares an enum whose values are stored as words: `ALL` has every value, `as_str` the word of each. A value that is
/// added or renamed is written down here alone.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$says:meta])* $value:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$says])* $value,)+
        }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$value),+];

            /// The word that it is stored as.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }
        }
    };
}

pub mod account_event;
pub mod charge;
pub mod closing;
pub mod collection;
pub mod credit;
pub mod dispute;
pub mod dunning;
pub mod explanation;
pub mod invoice;
pub mod lots;
pub mod numbers;
pub mod off_session;
pub mod parts;
pub mod rating;
pub mod recharge;
pub mod refund;
pub mod rental;
pub mod run;
pub mod subscription;
pub mod tax;
pub mod threshold;
pub mod unit_price;
pub mod usage;
pub mod wording;
