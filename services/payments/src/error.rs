//! Everything that can go wrong in payments, and how the wire shows it.

use chassis::{FieldError, Refusal};
use thiserror::Error;
use tonic::{Code, Status};
use values::AccountId;

const DOMAIN: &str = "payments.perdiem";

/// Why a request of this service did not succeed.
#[derive(Debug, Error)]
pub enum Error {
    /// A field of the request does not read as what it must be.
    #[error("{}: expected {}", .0.field, .0.expected)]
    Field(FieldError),
    /// No such account.
    #[error("account {0} does not exist")]
    AccountNotFound(AccountId),
    /// The account is open with other facts.
    #[error("account {0} exists with other facts")]
    AccountExists(AccountId),
    /// A version names another document already.
    #[error("catalogue version {0} exists with another document")]
    CatalogueVersionExists(String),
    /// The database failed, or held what it must not.
    #[error("database")]
    Database(#[from] sqlx::Error),
}

impl From<FieldError> for Error {
    fn from(fault: FieldError) -> Self {
        Self::Field(fault)
    }
}

impl From<Error> for Status {
    /// The one table from errors to the wire. It has no catch-all: a new variant must choose.
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let refusal = match &error {
            Error::Field(fault) => Refusal::invalid("INVALID_FIELD")
                .with("field", &fault.field)
                .with_fields(std::slice::from_ref(fault)),
            Error::AccountNotFound(id) => {
                Refusal::new(Code::NotFound, "ACCOUNT_NOT_FOUND").with("accountId", id)
            }
            Error::AccountExists(id) => {
                Refusal::new(Code::AlreadyExists, "ACCOUNT_EXISTS").with("accountId", id)
            }
            Error::CatalogueVersionExists(version) => {
                Refusal::new(Code::AlreadyExists, "CATALOGUE_VERSION_EXISTS")
                    .with("version", version)
            }
            Error::Database(_) => return chassis::database_status(&error),
        };
        refusal.into_status(DOMAIN, message)
    }
}
