//! `BillingService.StreamUsage`

use std::collections::BTreeSet;

use proto::billing::v1 as pb;
use tonic::{Status, Streaming};

use super::convert;
use super::record_usage::{record, rejection};
use crate::ctx::Ctx;

/// The most unbilled accounts, and the most rejected events, listed in the answer. The counts include all.
const NAMED_MAX: usize = 10_000;

pub async fn handle(
    ctx: &Ctx,
    mut batches: Streaming<pb::StreamUsageRequest>,
) -> Result<pb::StreamUsageResponse, Status> {
    let mut answer = pb::StreamUsageResponse::default();
    let mut unbilled = BTreeSet::new();
    while let Some(batch) = batches.message().await? {
        let counts = record(ctx, batch.source, batch.events).await?;
        answer.recorded_count += counts.recorded;
        answer.repeated_count += counts.repeated;
        answer.corrected_count += counts.corrected;
        answer.late_count += counts.late;
        answer.unbilled_count += counts.unbilled;
        for account in counts.unbilled_accounts {
            if unbilled.len() < NAMED_MAX {
                unbilled.insert(account);
            }
        }
        for erased in counts.erased {
            answer.rejected_count += 1;
            if answer.rejections.len() < NAMED_MAX {
                answer.rejections.push(rejection(erased));
            }
        }
    }
    answer.unbilled_account_ids = unbilled.into_iter().map(convert::account_id).collect();
    Ok(answer)
}
