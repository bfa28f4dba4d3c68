//! `BillingService.StreamUsage`

use proto::billing::v1 as pb;
use tonic::{Status, Streaming};

use super::record_usage::record;
use crate::ctx::Ctx;

pub async fn handle(
    ctx: &Ctx,
    mut batches: Streaming<pb::StreamUsageRequest>,
) -> Result<pb::StreamUsageResponse, Status> {
    let mut answer = pb::StreamUsageResponse::default();
    while let Some(batch) = batches.message().await? {
        let counts = record(ctx, batch.source, batch.events).await?;
        answer.recorded_count += counts.recorded;
        answer.repeated_count += counts.repeated;
        answer.corrected_count += counts.corrected;
        answer.late_count += counts.late;
    }
    Ok(answer)
}
