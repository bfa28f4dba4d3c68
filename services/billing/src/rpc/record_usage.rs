//! `BillingService.RecordUsage`

use chassis::detached;
use proto::billing::v1 as pb;
use tonic::Status;
use uuid::Uuid;

use super::convert;
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
        unbilled,
        unbilled_accounts,
        erased,
    } = record(ctx, request.source, request.events).await?;
    Ok(pb::RecordUsageResponse {
        recorded_count: recorded,
        repeated_count: repeated,
        corrected_count: corrected,
        late_count: late,
        unbilled_count: unbilled,
        unbilled_account_ids: unbilled_accounts
            .into_iter()
            .map(convert::account_id)
            .collect(),
        rejections: erased.into_iter().map(rejection).collect(),
    })
}

/// Converts an event refused because its account is erased.
pub fn rejection((event_id, account): (String, Uuid)) -> pb::UsageRejection {
    pb::UsageRejection {
        event_id,
        account_id: convert::account_id(account),
        reason: pb::usage_rejection::Reason::AccountErased.into(),
    }
}

/// Records a batch in its own task, so that a disconnecting caller does not interrupt it.
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
        // Two batches with the same corrections may conflict. Repeating one is safe, since it writes the same values.
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
