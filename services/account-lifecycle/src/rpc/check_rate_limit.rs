//! `AccountService.CheckRateLimit`
//!
//! Scales the requests per minute that the plan grants to the window asked about. The caller counts its requests
//! itself.

use chassis::{Caller, field_error, wire};
use proto::account::v1 as pb;
use values::AccountId;

use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;

/// The plan feature that grants requests per minute.
const FEATURE: &str = "api_rate_limit";
const MINUTE: i64 = 60;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::CheckRateLimitRequest,
) -> Result<pb::CheckRateLimitResponse, Error> {
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    if request.request_count < 0 {
        return Err(field_error("request_count", "0 or more").into());
    }
    let seconds = match request.window_seconds {
        0 => MINUTE,
        seconds @ 1..=3_600 => i64::from(seconds),
        _ => return Err(field_error("window_seconds", "1 to 3,600; 0 means 60").into()),
    };
    let account = permit::allowed(ctx, caller, id, Action::See).await?;
    if account.closed_at.is_some() {
        return Ok(pb::CheckRateLimitResponse::default());
    }
    let said = ctx.entitlement(id, (FEATURE, 0), None).await?;
    let limit = said.entitlement.unwrap_or_default();
    // A plan without a figure sets no limit.
    let Ok(a_minute) = limit.figure.parse::<i64>() else {
        return Ok(pb::CheckRateLimitResponse {
            allowed: true,
            limit_count: 0,
            rate_limit_code: limit.value,
        });
    };
    let limit_count = a_minute.saturating_mul(seconds) / MINUTE;
    Ok(pb::CheckRateLimitResponse {
        allowed: request.request_count <= limit_count,
        limit_count,
        rate_limit_code: limit.value,
    })
}
