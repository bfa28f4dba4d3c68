//! `PlanService.OpenAccount`
//!
//! Stores an account and, for a root account, starts a timeline with the default plan in each family of its profile.

use chassis::{Call, Unit, wire};
use proto::plan::v1 as pb;

use crate::ctx::Ctx;
use crate::domain::timeline::Segment;
use crate::error::Error;
use crate::store::accounts::{self, Account};
use crate::store::segments;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::OpenAccountRequest>,
    mut unit: Unit,
) -> Result<pb::OpenAccountResponse, Error> {
    let request = &call.message;
    let id = wire::id("account_id", &request.account_id)?;
    let parent = wire::optional_id("parent_account_id", &request.parent_account_id)?;
    let profile_code = wire::code("profile_code", &request.profile_code)?.to_owned();
    let created_at = wire::instant("create_time", request.create_time)?;

    let root = match parent {
        None => id,
        Some(parent) => {
            let known = accounts::get(&mut unit.tx, parent)
                .await?
                .ok_or(Error::AccountNotFound(parent))?;
            if known.closed_at.is_some() {
                return Err(Error::AccountClosed(parent));
            }
            known.root
        }
    };
    let account = Account {
        root,
        profile_code,
        created_at,
        closed_at: None,
    };
    if !accounts::insert(&mut unit.tx, id, &account).await? {
        if accounts::get(&mut unit.tx, id).await?.as_ref() != Some(&account) {
            return Err(Error::AccountExists(id));
        }
        return Ok(unit.commit(pb::OpenAccountResponse {}).await?);
    }
    if parent.is_none() {
        // A concurrent billing run waits until the account's first segments are committed.
        segments::hold(&mut unit.tx).await?;
        let catalogue = ctx.active_catalogue(&mut unit.tx).await?;
        let profile = catalogue.profiles.get(&account.profile_code);
        let profile =
            profile.ok_or_else(|| Error::ProfileNotFound(account.profile_code.clone()))?;
        for family in profile
            .families
            .iter()
            .filter_map(|code| catalogue.families.get(code))
        {
            let first = Segment {
                start_at: created_at,
                end_at: None,
                plan_code: family.default_plan.clone(),
                catalogue_version: catalogue.version.clone(),
                payer: id,
                contract: None,
                cycle: None,
                order: None,
                offer: None,
            };
            segments::insert(&mut unit.tx, id, &family.code, &first).await?;
        }
    }
    Ok(unit.commit(pb::OpenAccountResponse {}).await?)
}
