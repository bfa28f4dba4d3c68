//! `BillingService.ListBillingRuns`

use chassis::{Page, wire};
use proto::billing::v1 as pb;
use values::RunId;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::runs;

/// The most overdue periods returned.
const OVERDUE_MAX: i64 = 100;

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListBillingRunsRequest,
) -> Result<pb::ListBillingRunsResponse, Error> {
    let family = wire::optional_code("family_code", &request.family_code)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(|text| text.parse::<RunId>().ok())?;
    let mut db = ctx.db.acquire().await?;
    let found = runs::list(&mut db, family, before.map(RunId::uuid), page.size + 1).await?;
    let (found, last) = page.cut(found);
    let mut billing_runs = Vec::new();
    for run in &found {
        billing_runs.push(convert::run(&mut db, run).await?);
    }
    let next_page_token = last
        .map(|run| RunId::from_uuid(run.run_id).to_string())
        .unwrap_or_default();
    let overdue = runs::overdue(&mut db, family, OVERDUE_MAX).await?;
    let overdue = overdue.into_iter().map(|it| pb::OverduePeriod {
        family_code: it.family_code,
        month: convert::month(it.month),
        due_time: Some(wire::timestamp(it.due_at)),
    });
    Ok(pb::ListBillingRunsResponse {
        billing_runs,
        next_page_token,
        overdue_periods: overdue.collect(),
    })
}
