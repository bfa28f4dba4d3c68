//! The rules of accounts and orders: pure functions without wire, database or clock.
#![warn(clippy::missing_errors_doc)]

use thiserror::Error;

/// A text that is not the name of any variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the name is unknown")]
pub struct UnknownName;

/// Declares an enum whose variants have names: the words under which they are stored and shown in the history. `ALL`,
/// `as_str` and `FromStr` follow from the one list, so that no variant can be left out of them.
macro_rules! named {
    ($(#[$about:meta])+ $name:ident { $($(#[$doc:meta])+ $variant:ident = $text:literal,)+ }) => {
        $(#[$about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])+ $variant,)+
        }

        impl $name {
            /// Every variant.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Name as stored.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::domain::UnknownName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut all = Self::ALL.iter().copied();
                all.find(|it| it.as_str() == text).ok_or($crate::domain::UnknownName)
            }
        }
    };
}

pub mod account;
pub mod billing_details;
pub mod capability;
pub mod closing;
pub mod email_change;
pub mod kyc;
pub mod notice;
pub mod notification;
pub mod order;
pub mod permission;
pub mod purchase;
pub mod recording;
pub mod whitelist;
