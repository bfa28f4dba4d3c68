//! Starts the next month of rentals and charges it to the balance.

use tokio::sync::OnceCell;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::rent;
use crate::store::rentals::{self, Rental};

/// Starts the months that are due; returns how many it found.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let due = async |limit| {
        let mut db = ctx.db.acquire().await?;
        Ok::<_, Error>(rentals::due(&mut db, now, limit).await?)
    };
    let catalogue = OnceCell::new();
    let one = async |rental: &Rental| {
        let catalogue = catalogue.get_or_try_init(|| ctx.active_catalogue()).await?;
        rent::go_on(ctx, catalogue, rental, now).await
    };
    super::queue(ctx, "charge_rentals")
        .work(ctx, due, one)
        .await
}
