//! `AccountService.GoLive`
//!
//! Marks the account as live, once it has upgraded and its KYC permits it.

use chassis::{Call, Unit, wire};
use proto::account::v1 as pb;
use values::AccountId;

use super::convert;
use crate::ctx::Ctx;
use crate::domain::capability::{Capability, Denial};
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::authorize::{Asked, answer};
use crate::ops::history::{self, Told};
use crate::ops::permit;
use crate::store::accounts;

pub async fn handle(ctx: Ctx, call: Call<pb::GoLiveRequest>) -> Result<pb::GoLiveResponse, Error> {
    let id: AccountId = wire::id("account_id", &call.message.account_id)?;
    let account = permit::acting(&ctx, &call, id, Action::ChangePlan).await?;
    if account.root_id != account.account_id {
        return Err(Error::UseRootAccount {
            account: id,
            root: AccountId::from_uuid(account.root_id),
        });
    }
    let asked = Asked {
        capability: Capability::GoLive,
        target: None,
        at: None,
    };
    match answer(&ctx, &account, &asked, call.now).await?.denial {
        // An account that is live stays live, so a repeated call succeeds.
        _ if account.live_at.is_some() => {}
        Some(Denial::TrialLimit) => return Err(Error::UpgradeFirst(id)),
        Some(Denial::KycNotApproved) => return Err(Error::KycNotApproved(id)),
        Some(denial) => return Err(Error::Denied(id, denial)),
        None => {}
    }
    let mut unit: Unit = permit::step(&ctx, &call, &account).await?;
    permit::lock(&mut unit, &account).await?;
    let before = accounts::get(&mut unit.tx, account.account_id)
        .await?
        .ok_or(Error::Stored("account"))?;
    if before.live_at.is_none() {
        let actor = call.caller.to_string();
        let told = Told {
            state: "LIVE",
            name: "WENT_LIVE",
            change: ("", "LIVE"),
            actor: &actor,
            reason: "",
            resource: "",
        };
        let of = (account.root_id, account.account_id);
        history::tell(&mut unit.tx, of, &told, call.now).await?;
        accounts::set_live(&mut unit.tx, account.root_id, call.now).await?;
    }
    let live = accounts::get(&mut unit.tx, account.account_id)
        .await?
        .ok_or(Error::Stored("account"))?;
    Ok(unit
        .commit(pb::GoLiveResponse {
            account: Some(convert::account(&live, call.now)),
        })
        .await?)
}
