//! A dispute as its provider's book has it, taken over.

use uuid::Uuid;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::providers::Contested;
use crate::store::disputes::Dispute;
use crate::store::{Tenant, disputes, enter, movements, outbox};

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is known here as the book has it: the charge.
    Known(Uuid),
    /// It is about no charge of ours.
    NotOurs,
    /// The book can't be read.
    Unavailable,
}

/// Reads a dispute from its provider's book and keeps it.
pub async fn take(ctx: &Ctx, provider: &str, id: &str) -> Result<Taken, Error> {
    let Ok(found) = ctx.provider(provider)?.dispute(id).await else {
        return Ok(Taken::Unavailable);
    };
    let Some(said) = found else {
        return Ok(Taken::NotOurs);
    };
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    enter(&mut tx, Tenant::All).await?;
    let ids = [said.charge_id.clone()];
    let charge = movements::of_provider(&mut tx, provider, None, &ids).await?;
    let Some(charge) = charge.filter(|it| it.kind == "CHARGE") else {
        return Ok(Taken::NotOurs);
    };
    let Contested {
        provider_id,
        money,
        withheld,
        reason,
        state,
        evidence_due_at,
        opened_at,
        ..
    } = said;
    let dispute = Dispute {
        root_id: charge.root_id,
        dispute_id: Uuid::now_v7(),
        charge_id: charge.movement_id,
        provider_code: provider.to_owned(),
        provider_id,
        currency: money.currency().code().to_owned(),
        amount_minor: money.minor(),
        withheld_minor: withheld.minor(),
        reason,
        state: state.to_owned(),
        evidence_due_at,
        created_at: opened_at,
        updated_at: now,
    };
    if let Some(id) = disputes::keep(&mut tx, &dispute).await? {
        outbox::insert(&mut tx, charge.root_id, id).await?;
    }
    tx.commit().await?;
    ctx.wake.notify_waiters();
    Ok(Taken::Known(charge.movement_id))
}
