//! `AccountService.ListKycSubmissions`

use chassis::{Caller, Page, field_error, wire};
use proto::account::v1 as pb;
use values::AccountId;

use super::convert;
use super::list_accounts::{position, token};
use crate::ctx::Ctx;
use crate::domain::kyc::KycState;
use crate::error::Error;
use crate::store::{Tenant, kyc_submissions};

pub async fn handle(
    ctx: &Ctx,
    _: &Caller,
    request: pb::ListKycSubmissionsRequest,
) -> Result<pb::ListKycSubmissionsResponse, Error> {
    use pb::kyc_submission::State;
    let account: Option<AccountId> = wire::optional_id("account_id", &request.account_id)?;
    let state = match State::try_from(request.state) {
        Ok(State::Unspecified) => None,
        Ok(State::Pending) => Some(KycState::Pending),
        Ok(State::InReview) => Some(KycState::InReview),
        Ok(State::Approved) => Some(KycState::Approved),
        Ok(State::Rejected) => Some(KycState::Rejected),
        Ok(State::AdditionalInfoRequired) => Some(KycState::AdditionalInfoRequired),
        Ok(State::Withdrawn) => Some(KycState::Withdrawn),
        Ok(State::NotSubmitted) | Err(_) => {
            return Err(field_error("state", "the state of a submission").into());
        }
    };
    let page = Page::read(request.page_size, &request.page_token)?;
    let after = page.after(position)?;
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let filter = (account.map(AccountId::uuid), state);
    let found = kyc_submissions::list(&mut tx, filter, after, page.size + 1).await?;
    tx.commit().await?;
    let (found, last) = page.cut(found);
    let token = |it: kyc_submissions::Submission| token(it.submitted_at, it.kyc_id);
    Ok(pb::ListKycSubmissionsResponse {
        kyc_submissions: found.iter().map(convert::kyc_submission).collect(),
        next_page_token: last.map(token).unwrap_or_default(),
    })
}
