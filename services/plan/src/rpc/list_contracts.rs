//! `PlanService.ListContracts`

use chassis::{Page, wire};
use proto::plan::v1 as pb;
use values::ContractId;

use super::create_contract::shown;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::contracts;

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListContractsRequest,
) -> Result<pb::ListContractsResponse, Error> {
    let member = wire::optional_id("account_id", &request.account_id)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(|text| text.parse::<ContractId>().ok())?;
    let mut db = ctx.db.acquire().await?;
    let found =
        contracts::list(&mut db, member, before.map(ContractId::uuid), page.size + 1).await?;
    let (found, last) = page.cut(found);
    let next_page_token = last
        .map(|it| ContractId::from_uuid(it.contract_id).to_string())
        .unwrap_or_default();
    let mut contracts = Vec::new();
    for contract in &found {
        contracts.push(shown(&mut db, contract).await?);
    }
    Ok(pb::ListContractsResponse {
        contracts,
        next_page_token,
    })
}
