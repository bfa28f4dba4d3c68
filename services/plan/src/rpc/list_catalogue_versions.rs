//! `PlanService.ListCatalogueVersions`

use chassis::Page;
use chrono::DateTime;
use proto::plan::v1 as pb;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::catalogues;

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListCatalogueVersionsRequest,
) -> Result<pb::ListCatalogueVersionsResponse, Error> {
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(|text| text.parse().ok().and_then(DateTime::from_timestamp_micros))?;
    let mut db = ctx.db.acquire().await?;
    let versions = catalogues::list(&mut db, before, page.size + 1).await?;
    let (versions, last) = page.cut(versions);
    Ok(pb::ListCatalogueVersionsResponse {
        next_page_token: last
            .map(|version| version.imported_at.timestamp_micros().to_string())
            .unwrap_or_default(),
        catalogues: versions.iter().map(convert::version).collect(),
    })
}
