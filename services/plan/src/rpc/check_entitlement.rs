//! `PlanService.CheckEntitlement`
//!
//! Whether the plans in force, with booked add-ons, grant a feature, now or at another instant.

use chassis::{field_error, wire};
use proto::plan::v1 as pb;

use super::{convert, list_entitlements};
use crate::ctx::Ctx;
use crate::domain::entitlement::{Denial, Feature};
use crate::error::Error;
use crate::store::add_ons;

pub async fn handle(
    ctx: &Ctx,
    request: pb::CheckEntitlementRequest,
) -> Result<pb::CheckEntitlementResponse, Error> {
    let account = wire::id("account_id", &request.account_id)?;
    let feature = wire::code("feature_code", &request.feature_code)?;
    let level = wire::optional_code("level", &request.level)?.unwrap_or_default();
    if request.used_count < 0 {
        return Err(field_error("used_count", "0 or more").into());
    }
    let at = match wire::optional_instant("effective_time", request.effective_time)? {
        Some(at) => at,
        None => ctx.clock.now().await?,
    };
    let mut db = ctx.db.acquire().await?;
    let active = ctx.active_catalogue(&mut db).await?;
    let typed = active
        .features
        .get(feature)
        .ok_or_else(|| Error::FeatureNotFound(feature.to_owned()))?;
    let held = list_entitlements::held(ctx, &mut db, account, at).await?;
    let value = held
        .iter()
        .find_map(|plan| plan.entitlements().ok()?.get(feature).cloned())
        .unwrap_or_default();
    // An account without a plan belongs to the lowest class.
    let value = if let Feature::Class(classes) = typed
        && value.is_empty()
    {
        let lowest = classes.first().map(|(class, _)| class.clone());
        lowest.unwrap_or_default()
    } else {
        value
    };
    // A booked add-on counts as part of the plan (REQ-085).
    let booked = value == "ADDON" && {
        let root = held.first().map_or(account, |current| current.root);
        add_ons::any_at(&mut db, (root.uuid(), feature), at).await?
    };
    let counts = if booked { "INCLUDED" } else { &value };
    let (allowed, reason) = match typed.allows(counts, level, request.used_count) {
        Ok(()) => (true, ""),
        Err(Denial::NotInPlan) => (false, "NOT_IN_PLAN"),
        Err(Denial::AddOnRequired) => (false, "ADDON_REQUIRED"),
        Err(Denial::OverQuota) => (false, "OVER_QUOTA"),
    };
    Ok(pb::CheckEntitlementResponse {
        allowed,
        reason: reason.to_owned(),
        entitlement: Some(convert::entitlement(&active, feature, &value)),
    })
}
