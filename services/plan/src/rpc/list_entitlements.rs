//! `PlanService.ListEntitlements`, and the plans in force for an account.

use chassis::{PgConnection, wire};
use chrono::{DateTime, Utc};
use proto::plan::v1 as pb;
use values::AccountId;

use super::convert;
use super::get_current_plan::{Current, standing};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::accounts;

/// The plans in force for an account at `at`, one for each family of its profile that has one.
pub async fn held(
    ctx: &Ctx,
    db: &mut PgConnection,
    account: AccountId,
    at: DateTime<Utc>,
) -> Result<Vec<Current>, Error> {
    let known = accounts::get(db, account)
        .await?
        .ok_or(Error::AccountNotFound(account))?;
    let catalogue = ctx.active_catalogue(db).await?;
    let profile = catalogue.profiles.get(&known.profile_code);
    let profile = profile.ok_or_else(|| Error::ProfileNotFound(known.profile_code.clone()))?;
    let mut held = Vec::new();
    for family in &profile.families {
        // A subscription that has ended grants nothing.
        held.extend(standing(ctx, db, account, family, at).await?.1);
    }
    Ok(held)
}

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListEntitlementsRequest,
) -> Result<pb::ListEntitlementsResponse, Error> {
    let account = wire::id("account_id", &request.account_id)?;
    let now = ctx.clock.now().await?;
    let mut db = ctx.db.acquire().await?;
    let mut entitlements = Vec::new();
    for current in held(ctx, &mut db, account, now).await? {
        entitlements.extend(convert::entitlements(
            &current.catalogue,
            &current.entitlements()?,
        ));
    }
    entitlements.sort_by(|a, b| a.feature_code.cmp(&b.feature_code));
    Ok(pb::ListEntitlementsResponse { entitlements })
}
