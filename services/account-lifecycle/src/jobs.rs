//! The work that the clock starts: sagas whose RPC was cut short.

pub mod finish_orders;
pub mod open_accounts;

use crate::ctx::Ctx;
use crate::store::{self, Tenant, accounts, orders};

/// Whether a saga is under way.
pub async fn any_due(ctx: &Ctx) -> sqlx::Result<bool> {
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::All).await?;
    let any = !accounts::to_open(&mut tx, 1).await?.is_empty()
        || !orders::to_finish(&mut tx, 1).await?.is_empty();
    tx.commit().await?;
    Ok(any)
}
