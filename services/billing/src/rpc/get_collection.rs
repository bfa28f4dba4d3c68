//! `BillingService.GetCollection`

use chassis::wire;
use proto::billing::v1 as pb;
use values::CollectionId;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::collections;

pub async fn handle(
    ctx: &Ctx,
    request: pb::GetCollectionRequest,
) -> Result<pb::GetCollectionResponse, Error> {
    let id: CollectionId = wire::id("collection_id", &request.collection_id)?;
    let mut db = ctx.db.acquire().await?;
    let collection = collections::get(&mut db, id.uuid())
        .await?
        .ok_or(Error::CollectionNotFound(id))?;
    Ok(pb::GetCollectionResponse {
        collection: Some(convert::collection(&mut db, &collection).await?),
    })
}
