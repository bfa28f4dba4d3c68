//! Whose rows a transaction sees, where row-level security is forced (D25).

use uuid::Uuid;

use crate::PgConnection;

/// Whose rows a transaction sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenant {
    /// Those of one root account.
    Root(Uuid),
    /// Those of every root account: operators and jobs.
    All,
}

impl Tenant {
    /// The name of the setting's value.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Root(root) => root.to_string(),
            Self::All => "all".to_owned(),
        }
    }

    /// The statement that lets a transaction see these rows. A UUID's text needs no quoting.
    pub(crate) fn sql(self) -> String {
        self.noted();
        format!("SELECT set_config('app.tenant', '{}', true)", self.name())
    }
}

/// Lets the transaction see the rows of `tenant`, until it ends.
pub async fn enter(db: &mut PgConnection, tenant: Tenant) -> sqlx::Result<()> {
    tenant.noted();
    sqlx::query("-- chassis.enter\nSELECT set_config('app.tenant', $1, true)")
        .bind(tenant.name())
        .execute(db)
        .await?;
    Ok(())
}
