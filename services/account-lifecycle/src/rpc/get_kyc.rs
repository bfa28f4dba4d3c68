//! `AccountService.GetKyc`

use chassis::{Caller, wire};
use proto::account::v1 as pb;
use values::{AccountId, KycId};

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::permit;
use crate::store::{Tenant, kyc_submissions};

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::GetKycRequest,
) -> Result<pb::GetKycResponse, Error> {
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let kyc: Option<KycId> = wire::optional_id("kyc_id", &request.kyc_id)?;
    let account = permit::sees_root(ctx, caller, id).await?;
    let mut tx = ctx.db.begin_as(Tenant::Root(account.root_id)).await?;
    let found = match kyc {
        Some(kyc) => {
            let found = kyc_submissions::get(&mut tx, kyc.uuid()).await?;
            Some(found.ok_or(Error::KycNotFound(kyc))?)
        }
        None => kyc_submissions::last(&mut tx, account.root_id).await?,
    };
    tx.commit().await?;
    let none = || pb::KycSubmission {
        account_id: AccountId::from_uuid(account.root_id).to_string(),
        state: pb::kyc_submission::State::NotSubmitted.into(),
        ..pb::KycSubmission::default()
    };
    Ok(pb::GetKycResponse {
        kyc_submission: Some(found.as_ref().map_or_else(none, convert::kyc_submission)),
    })
}
