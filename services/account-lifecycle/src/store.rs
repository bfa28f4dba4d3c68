//! The SQL of account-lifecycle: one file for each table, one function for each statement.
//!
//! Every function takes the caller's connection, so that the caller decides what is one
//! transaction. Names are schema-qualified; nothing depends on `search_path`.

pub mod accounts;
pub mod members;
pub mod orders;
pub mod roots;
pub mod tickets;
pub mod users;

use sqlx::PgConnection;
use uuid::Uuid;

/// Whose rows a transaction sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenant {
    /// Those of one root account.
    Root(Uuid),
    /// Those of every root account: operators and jobs.
    All,
}

/// Lets the transaction see the rows of `tenant`, until it ends.
pub async fn enter(db: &mut PgConnection, tenant: Tenant) -> sqlx::Result<()> {
    let name = match tenant {
        Tenant::Root(root) => root.to_string(),
        Tenant::All => "all".to_owned(),
    };
    sqlx::query!(
        "-- account.enter\nSELECT set_config('app.tenant', $1, true)",
        name
    )
    .fetch_one(db)
    .await?;
    Ok(())
}
