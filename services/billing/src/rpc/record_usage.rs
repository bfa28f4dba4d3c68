//! `BillingService.RecordUsage`

use chassis::detached;
use proto::billing::v1 as pb;
use tonic::Status;

use crate::ctx::Ctx;
use crate::ops::ingest::{self, Counts};

pub async fn handle(
    ctx: &Ctx,
    request: pb::RecordUsageRequest,
) -> Result<pb::RecordUsageResponse, Status> {
    let Counts {
        recorded,
        repeated,
        corrected,
        late,
    } = record(ctx, request.source, request.events).await?;
    Ok(pb::RecordUsageResponse {
        recorded_count: recorded,
        repeated_count: repeated,
        corrected_count: corrected,
        late_count: late,
    })
}

/// Records a batch in a task of its own: a caller that goes away stops nothing.
pub async fn record(
    ctx: &Ctx,
    source: String,
    events: Vec<pb::UsageEvent>,
) -> Result<Counts, Status> {
    let ctx = ctx.clone();
    detached(async move {
        let now = ctx
            .clock
            .now()
            .await
            .map_err(|error| chassis::database_status(&error))?;
        // Two batches with the same corrections may meet; what they write is the same both times.
        let mut tries = 0;
        loop {
            match ingest::record(&ctx, &source, &events, now).await {
                Err(error) if tries < 3 && chassis::retryable(&error) => tries += 1,
                done => return Ok(done?),
            }
        }
    })
    .await
}
