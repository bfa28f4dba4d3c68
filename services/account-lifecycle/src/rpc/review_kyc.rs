//! `AccountService.ReviewKyc`

use chassis::{Call, Unit, field_error, wire};
use proto::account::v1 as pb;
use values::KycId;

use super::convert;
use super::submit_kyc::{moved, state};
use crate::ctx::Ctx;
use crate::domain::kyc::Review;
use crate::error::Error;
use crate::store::kyc_submissions::{self, Submission};
use crate::store::{self, Tenant, accounts};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::ReviewKycRequest>,
) -> Result<pb::ReviewKycResponse, Error> {
    use pb::review_kyc_request::Action;
    let request = &call.message;
    let id: KycId = wire::id("kyc_id", &request.kyc_id)?;
    let (review, name) = match Action::try_from(request.action) {
        Ok(Action::TakeUp) => (Review::TakeUp, "TAKEN_UP"),
        Ok(Action::Approve) => (Review::Approve, "APPROVED"),
        Ok(Action::Reject) => (Review::Reject, "REJECTED"),
        Ok(Action::AskInformation) => (Review::AskInformation, "INFORMATION_ASKED"),
        Ok(Action::Unspecified) | Err(_) => {
            return Err(field_error("action", "an action of a reviewer").into());
        }
    };
    let reason = match review {
        Review::Reject | Review::AskInformation => {
            wire::text("reason", &request.reason, 1_000)?.to_owned()
        }
        Review::TakeUp | Review::Approve if request.reason.is_empty() => String::new(),
        Review::TakeUp | Review::Approve => {
            return Err(field_error("reason", "empty for this action").into());
        }
    };
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    store::enter(&mut unit.tx, Tenant::All).await?;
    let known = kyc_submissions::get(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::KycNotFound(id))?;
    store::enter(&mut unit.tx, Tenant::Root(known.root_id)).await?;
    accounts::lock(&mut unit.tx, known.root_id).await?;
    let known = kyc_submissions::get(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::KycNotFound(id))?;
    let next = state(&known)?.reviewed(review)?;
    let actor = call.caller.to_string();
    let submission = Submission {
        state: next.name().to_owned(),
        reviewer: actor.clone(),
        reviewed_at: match review {
            Review::TakeUp => known.reviewed_at,
            Review::Approve | Review::Reject | Review::AskInformation => Some(call.now),
        },
        reason,
        ..known.clone()
    };
    kyc_submissions::set(&mut unit.tx, &submission).await?;
    moved(
        &mut unit,
        &submission,
        (&known.state, name, &actor),
        call.now,
    )
    .await?;
    Ok(unit
        .commit(pb::ReviewKycResponse {
            kyc_submission: Some(convert::kyc_submission(&submission)),
        })
        .await?)
}
