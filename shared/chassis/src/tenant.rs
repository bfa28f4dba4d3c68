//! Whose rows a transaction sees, where row-level security is forced (D25).

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
    sqlx::query("-- chassis.enter\nSELECT set_config('app.tenant', $1, true)")
        .bind(name)
        .execute(db)
        .await?;
    Ok(())
}
