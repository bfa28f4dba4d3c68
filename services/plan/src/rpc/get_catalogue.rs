//! `PlanService.GetCatalogue`

use proto::plan::v1 as pb;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::catalogues;

pub async fn handle(
    ctx: &Ctx,
    request: pb::GetCatalogueRequest,
) -> Result<pb::GetCatalogueResponse, Error> {
    if 32 < request.version.len() || request.version.contains('\0') {
        return Err(chassis::field_error("version", "at most 32 characters").into());
    }
    let mut db = ctx.db.acquire().await?;
    let version = match request.version.as_str() {
        "" => catalogues::active(&mut db)
            .await?
            .ok_or(Error::NoActiveCatalogue)?,
        version => version.to_owned(),
    };
    let stored = catalogues::get(&mut db, &version).await?;
    let stored = stored.ok_or_else(|| Error::CatalogueVersionNotFound(version.clone()))?;
    let catalogue = ctx.catalogue(&mut db, &version).await?;
    Ok(pb::GetCatalogueResponse {
        catalogue: Some(convert::catalogue(&stored, &catalogue)),
    })
}
