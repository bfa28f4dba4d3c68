//! Opens accounts in the other services, where `CreateAccount` was cut short.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::open_account;
use crate::store::{self, Tenant, accounts};

/// How many are looked at in one step.
const BATCH: i64 = 20;

/// Opens what waits; gives how many were opened.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::All).await?;
    let waiting = accounts::to_open(&mut tx, BATCH).await?;
    tx.commit().await?;
    let mut opened = 0;
    for account in &waiting {
        // One that another service refuses must not stop the others.
        match open_account::finish(ctx, account, now).await {
            Ok(()) => opened += 1,
            Err(error) => {
                tracing::warn!(account.id = %account.account_id, error = %chassis::Chain(&error), "opening an account elsewhere failed");
            }
        }
    }
    Ok(opened)
}
