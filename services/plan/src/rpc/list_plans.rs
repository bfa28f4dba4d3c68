//! `PlanService.ListPlans`

use chassis::wire;
use proto::plan::v1 as pb;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListPlansRequest,
) -> Result<pb::ListPlansResponse, Error> {
    let family = wire::code("family_code", &request.family_code)?;
    if 32 < request.version.len() || request.version.contains('\0') {
        return Err(chassis::field_error("version", "at most 32 characters").into());
    }
    let mut db = ctx.db.acquire().await?;
    let catalogue = match request.version.as_str() {
        "" => ctx.active_catalogue(&mut db).await?,
        version => ctx.catalogue(&mut db, version).await?,
    };
    if !catalogue.families.contains_key(family) {
        return Err(Error::FamilyNotFound(family.to_owned()));
    }
    let offered = catalogue.plans_of(family).filter(|plan| plan.available);
    Ok(pb::ListPlansResponse {
        plans: offered
            .map(|plan| convert::plan(&catalogue, plan))
            .collect(),
    })
}
