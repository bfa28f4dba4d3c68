//! The root account that a request concerns, and its catalogue entries.

use chassis::PgConnection;
use uuid::Uuid;
use values::AccountId;

use crate::domain::catalogue::{Catalogue, Method, Profile};
use crate::error::Error;
use crate::store::accounts::{self, Account};
use crate::store::{Tenant, enter};

/// The root account `id`. Enters its tenant.
pub async fn entered(db: &mut PgConnection, id: AccountId) -> Result<Account, Error> {
    let root = accounts::root_of(db, id.uuid())
        .await?
        .ok_or(Error::AccountNotFound(id))?;
    if root != id.uuid() {
        return Err(Error::UseRootAccount {
            account: id,
            root: AccountId::from_uuid(root),
        });
    }
    enter(db, Tenant::Root(root)).await?;
    accounts::get(db, root)
        .await?
        .ok_or(Error::AccountNotFound(id))
}

/// The root account asked about, whose tenant is entered; `None` for all accounts.
pub async fn entered_or_all(
    db: &mut PgConnection,
    id: Option<AccountId>,
) -> Result<Option<Uuid>, Error> {
    if let Some(id) = id {
        return Ok(Some(entered(db, id).await?.root_id));
    }
    enter(db, Tenant::All).await?;
    Ok(None)
}

/// The profile of an account; `ProfileNotFound` if the catalogue lacks it.
pub fn profile<'c>(catalogue: &'c Catalogue, account: &Account) -> Result<&'c Profile, Error> {
    catalogue
        .profile(&account.profile_code)
        .ok_or_else(|| Error::ProfileNotFound(account.profile_code.clone()))
}

/// The catalogue's method with this code.
pub fn method<'c>(
    catalogue: &'c Catalogue,
    field: &'static str,
    code: &str,
) -> Result<&'c Method, Error> {
    catalogue.method(code).ok_or_else(|| Error::NotInCatalogue {
        field,
        value: code.to_owned(),
    })
}
