//! `AccountService.ReviewKyc`
//!
//! A reviewer takes up, approves or rejects a submission, or asks for more information. An approval also moves the
//! account's tax country to that of the KYC.

use chassis::PgConnection;
use chassis::{Call, Unit, field_error, wire};
use proto::account::v1 as pb;
use values::KycId;

use super::convert;
use super::submit_kyc::{moved, tell_reviewed};
use crate::ctx::Ctx;
use crate::domain::kyc::{KycEvent, KycState};
use crate::error::Error;
use crate::ops::tell_details;
use crate::store::billing_details::{self, BillingDetails};
use crate::store::kyc_submissions::{self, Submission};
use crate::store::{self, Tenant, accounts};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::ReviewKycRequest>,
) -> Result<pb::ReviewKycResponse, Error> {
    let request = &call.message;
    let id: KycId = wire::id("kyc_id", &request.kyc_id)?;
    let (event, reason) = asked(request)?;
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    store::enter(&mut unit.tx, Tenant::All).await?;
    let known = kyc_submissions::get(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::KycNotFound(id))?;
    unit.concerns::<Error>(known.root_id).await?;
    store::enter(&mut unit.tx, Tenant::Root(known.root_id)).await?;
    accounts::lock(&mut unit.tx, known.root_id).await?;
    let known = kyc_submissions::get(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::KycNotFound(id))?;
    let next = known.state.moved(event)?;
    let actor = call.caller.to_string();
    let submission = Submission {
        state: next,
        reviewer: actor.clone(),
        reviewed_at: if next.is_undecided() {
            known.reviewed_at
        } else {
            Some(call.now)
        },
        reason,
        ..known.clone()
    };
    kyc_submissions::set(&mut unit.tx, &submission).await?;
    let followed = if next == KycState::Approved {
        followed(&mut unit.tx, &submission).await?
    } else {
        None
    };
    moved(
        &mut unit,
        &submission,
        (Some(known.state), event, &actor),
        call.now,
    )
    .await?;
    if event != KycEvent::TakenUp {
        let decision = call.derived_id("reviewed");
        tell_reviewed(&mut unit, &submission, decision, call.now).await?;
    }
    let answer = unit
        .commit(pb::ReviewKycResponse {
            kyc_submission: Some(convert::kyc_submission(&submission)),
        })
        .await?;
    // Best effort: if it fails, the job sends the details.
    if let Some(details) = followed
        && let Err(error) = tell_details::finish(&ctx, details.root_id).await
    {
        tracing::warn!(account.id = %details.root_id, error = %chassis::Chain(&error), "billing details could not be sent; a job will retry");
    }
    Ok(answer)
}

/// What the reviewer does, and the reason given; empty where none belongs to it.
fn asked(request: &pb::ReviewKycRequest) -> Result<(KycEvent, String), Error> {
    use pb::review_kyc_request::Action;
    let (event, gives_reason) = match Action::try_from(request.action) {
        Ok(Action::TakeUp) => (KycEvent::TakenUp, false),
        Ok(Action::Approve) => (KycEvent::Approved, false),
        Ok(Action::Reject) => (KycEvent::Rejected, true),
        Ok(Action::AskInformation) => (KycEvent::InformationAsked, true),
        Ok(Action::Unspecified) | Err(_) => {
            return Err(field_error("action", "a reviewer's action").into());
        }
    };
    if gives_reason {
        let reason = wire::text("reason", &request.reason, 1_000)?;
        return Ok((event, reason.to_owned()));
    }
    if !request.reason.is_empty() {
        return Err(field_error("reason", "no value for this action").into());
    }
    Ok((event, String::new()))
}

/// Moves the tax country of the account's billing details to that of its approved KYC (D33). Returns the details if
/// they have changed.
async fn followed(
    db: &mut PgConnection,
    approved: &Submission,
) -> Result<Option<BillingDetails>, Error> {
    let known = billing_details::get(db, approved.root_id).await?;
    match known.and_then(|it| it.following(&approved.country_code)) {
        Some(details) => Ok(Some(billing_details::set(db, &details).await?)),
        None => Ok(None),
    }
}
