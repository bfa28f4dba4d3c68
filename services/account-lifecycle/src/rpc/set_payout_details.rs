//! `AccountService.SetPayoutDetails`
//!
//! Stores, encrypted, the bank account to which refunds are transferred if they cannot go back to the original payment.

use chassis::{Call, Unit, wire};
use proto::account::v1 as pb;
use values::AccountId;

use super::close_account::policy;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::{permit, seal};
use crate::store::accounts;
use crate::store::payout_details::{self, PayoutDetails};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::SetPayoutDetailsRequest>,
) -> Result<pb::SetPayoutDetailsResponse, Error> {
    let request = &call.message;
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let holder = wire::text("holder_name", &request.holder_name, 200)?;
    let number = wire::text("account_number", &request.account_number, 64)?;
    let bank = wire::text("bank_code", &request.bank_code, 64)?;
    // Permitted to anyone who may close the account, before and after the closing.
    let account = permit::acting(&ctx, &call, id, Action::Close).await?;
    if account.root_id != account.account_id {
        return Err(Error::UseRootAccount {
            account: id,
            root: AccountId::from_uuid(account.root_id),
        });
    }
    let profile = ctx.profile_of(&account).await?;
    let minutes = policy(&profile, id)?.reauth_max_age_minutes;
    if !call.caller.is_proved_within(i64::from(minutes)) {
        return Err(Error::ReauthRequired(id));
    }
    // Details of a closed account are stored only while a refund needs them.
    if account.closed_at.is_some() && ctx.open_refunds(account.root_id).await? == 0 {
        return Err(Error::NothingDue(id));
    }
    let text = [holder, number, bank].join("\n");
    let (key, sealed) =
        seal::sealed(account.root_id, &text).map_err(|_| Error::Stored("encrypted text"))?;
    let mut unit: Unit = permit::step(&ctx, &call, &account).await?;
    accounts::lock(&mut unit.tx, account.root_id).await?;
    let details = PayoutDetails {
        root_id: account.root_id,
        sealed,
        key,
        given_at: call.now,
    };
    payout_details::set(&mut unit.tx, &details).await?;
    Ok(unit
        .commit(pb::SetPayoutDetailsResponse {
            give_time: Some(wire::timestamp(call.now)),
        })
        .await?)
}
