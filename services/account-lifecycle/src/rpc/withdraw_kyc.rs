//! `AccountService.WithdrawKyc`

use chassis::{Call, Unit, wire};
use proto::account::v1 as pb;
use values::AccountId;

use super::convert;
use super::submit_kyc::{moved, tell_reviewed};
use crate::ctx::Ctx;
use crate::domain::kyc::{KycEvent, KycRefused};
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::kyc_submissions::{self, Submission};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::WithdrawKycRequest>,
) -> Result<pb::WithdrawKycResponse, Error> {
    let request = &call.message;
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let reason = wire::text("reason", &request.reason, 1_000)?.to_owned();
    let account = permit::acting(&ctx, &call, id, Action::Use).await?;
    let mut unit: Unit = permit::step(&ctx, &call, &account).await?;
    permit::lock(&mut unit, &account).await?;
    let known = kyc_submissions::last(&mut unit.tx, account.root_id)
        .await?
        .ok_or(KycRefused::NotApproved)?;
    let submission = Submission {
        state: known.state.moved(KycEvent::Withdrawn)?,
        reviewed_at: Some(call.now),
        reviewer: call.caller.to_string(),
        reason,
        ..known.clone()
    };
    kyc_submissions::set(&mut unit.tx, &submission).await?;
    let actor = call.caller.to_string();
    moved(
        &mut unit,
        &submission,
        (Some(known.state), KycEvent::Withdrawn, &actor),
        call.now,
    )
    .await?;
    let decision = call.derived_id("withdrawn");
    tell_reviewed(&mut unit, &submission, decision, call.now).await?;
    Ok(unit
        .commit(pb::WithdrawKycResponse {
            kyc_submission: Some(convert::kyc_submission(&submission)),
        })
        .await?)
}
