//! Issues the monthly invoice for usage and rentals of accounts that pay by invoice.

use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::bill_usage;
use crate::store::usage_bills;

/// Invoices accounts whose month has ended; returns how many it looked at.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let due = async |limit| {
        let mut db = ctx.db.acquire().await?;
        Ok::<_, Error>(usage_bills::due(&mut db, now, limit).await?)
    };
    let catalogue = OnceCell::new();
    let one = async |root: &Uuid| {
        let catalogue = catalogue.get_or_try_init(|| ctx.active_catalogue()).await?;
        bill_usage::go_on(ctx, catalogue, *root, now).await
    };
    let looked_at = super::queue(ctx, "invoice_usage")
        .work(ctx, due, one)
        .await?;
    if 0 < looked_at {
        ctx.wake.notify_waiters();
    }
    Ok(looked_at)
}
