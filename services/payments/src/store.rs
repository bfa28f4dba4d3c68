//! The SQL of payments: one file for each table, one function for each statement.
//!
//! Every function takes the caller's connection, so that the caller decides the transaction. A function that reads an
//! account's rows requires that the tenant has been entered.

pub mod accounts;
pub mod catalogues;
pub mod dispute_scans;
pub mod disputes;
pub mod methods;
pub mod movements;
pub mod outbox;
pub mod sandbox;
pub mod webhooks;

pub use chassis::{Tenant, enter};

use sqlx::Postgres;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgTypeInfo, PgValueRef};

/// A text column in which the empty text stands for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrNone<T>(Option<T>);

impl<T> From<OrNone<T>> for Option<T> {
    fn from(it: OrNone<T>) -> Self {
        it.0
    }
}

impl<T> sqlx::Type<Postgres> for OrNone<T> {
    fn type_info() -> PgTypeInfo {
        <&str as sqlx::Type<Postgres>>::type_info()
    }

    fn compatible(found: &PgTypeInfo) -> bool {
        <&str as sqlx::Type<Postgres>>::compatible(found)
    }
}

impl<'r, T: sqlx::Decode<'r, Postgres>> sqlx::Decode<'r, Postgres> for OrNone<T> {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let text = <&str as sqlx::Decode<'r, Postgres>>::decode(value.clone())?;
        if text.is_empty() {
            return Ok(Self(None));
        }
        Ok(Self(Some(T::decode(value)?)))
    }
}
