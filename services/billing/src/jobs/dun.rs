//! Goes on with open invoices: tells of those that were issued, and asks for those that are due.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::dun;
use crate::store::dunnings;

/// Goes on with one invoice; gives how many it looked at.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut db = ctx.db.acquire().await?;
    let Some(known) = dunnings::next(&mut db, now).await? else {
        return Ok(0);
    };
    drop(db);
    match dun::go_on(ctx, &known, now).await {
        Ok(()) => {}
        // Another service is away: nothing else could be gone on with either.
        Err(Error::Peer(status)) if chassis::is_away(&status) => return Err(Error::Peer(status)),
        Err(error) => {
            tracing::error!(invoice.id = %known.invoice_id, error = %chassis::Chain(&error), "an open invoice is put off");
            dun::put_off(ctx, &known, now).await?;
        }
    }
    Ok(1)
}
