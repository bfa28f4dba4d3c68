//! Synchronization of disputes from the provider's book.

use uuid::Uuid;

use crate::ctx::Ctx;
use crate::domain::dispute::after;
use crate::domain::movement::Kind;
use crate::error::Error;
use crate::providers::Contested;
use crate::store::disputes::Dispute;
use crate::store::{Tenant, disputes, movements, outbox};

/// The outcome of a synchronization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The dispute is up to date.
    Known {
        /// Its charge.
        charge: Uuid,
        /// Whether this changed it.
        changed: bool,
    },
    /// The dispute concerns no charge of ours.
    NotOurs,
    /// The provider's book can't be read.
    Unavailable,
}

/// Retries after concurrent reads of the same dispute.
const TRIES: u32 = 5;

/// Reads a dispute from its provider and stores it. Of concurrent reads, the last one that began wins.
pub async fn take(ctx: &Ctx, provider: &str, id: &str) -> Result<Taken, Error> {
    for _ in 0..TRIES {
        let mut tx = ctx.db.begin_as(Tenant::All).await?;
        let seen = disputes::revision(&mut tx, provider, id).await?;
        tx.commit().await?;
        let Ok(found) = ctx.provider(provider)?.dispute(id).await else {
            return Ok(Taken::Unavailable);
        };
        let Some(said) = found else {
            return Ok(Taken::NotOurs);
        };
        if let Some(taken) = keep(ctx, provider, said, seen).await? {
            ctx.wake.notify_waiters();
            return Ok(taken);
        }
    }
    Ok(Taken::Unavailable)
}

/// Stores a dispute as read when its stored revision was `seen`; `None` if it has changed since.
async fn keep(
    ctx: &Ctx,
    provider: &str,
    said: Contested,
    seen: i32,
) -> Result<Option<Taken>, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let ids = [said.charge_id.clone()];
    let charge = movements::of_provider(&mut tx, provider, None, &ids).await?;
    let Some(charge) = charge.filter(|it| it.kind == Kind::Charge) else {
        return Ok(Some(Taken::NotOurs));
    };
    let known = disputes::lock(&mut tx, provider, &said.provider_id).await?;
    if known.as_ref().is_some_and(|it| it.revision != seen) {
        return Ok(None);
    }
    // A dispute that is read for the first time has the state of the book.
    let state = match &known {
        Some(known) => after(known.state, said.state).unwrap_or(known.state),
        None => said.state,
    };
    if state != said.state {
        tracing::error!(
            dispute.provider_id = said.provider_id,
            state = state.as_str(),
            said = said.state.as_str(),
            "the provider's book contradicts the state of a dispute"
        );
    }
    let dispute = Dispute {
        root_id: charge.root_id,
        dispute_id: Uuid::now_v7(),
        charge_id: charge.movement_id,
        provider_code: provider.to_owned(),
        provider_id: said.provider_id,
        currency: said.money.currency().code().to_owned(),
        amount_minor: said.money.minor(),
        withheld_minor: said.withheld.minor(),
        reason: said.reason,
        state,
        evidence_due_at: said.evidence_due_at,
        created_at: said.opened_at,
        updated_at: now,
    };
    let changed = known.as_ref().is_none_or(|it| !it.is_same(&dispute));
    if changed {
        let id = if known.is_some() {
            Some(disputes::change(&mut tx, &dispute).await?)
        } else {
            disputes::insert(&mut tx, &dispute).await?
        };
        let Some(id) = id else {
            return Ok(None);
        };
        outbox::insert(&mut tx, charge.root_id, id).await?;
    }
    tx.commit().await?;
    Ok(Some(Taken::Known {
        charge: charge.movement_id,
        changed,
    }))
}
