//! `AccountService.GetDeletionReceipt`

use chassis::wire::{self, timestamp};
use chassis::{Caller, internal};
use chrono::{DateTime, Utc};
use proto::account::v1 as pb;
use serde_json::Value;
use tonic::Status;
use values::AccountId;

use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::{Tenant, closings};

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::GetDeletionReceiptRequest,
) -> Result<pb::GetDeletionReceiptResponse, Error> {
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let account = permit::allowed(ctx, caller, id, Action::See).await?;
    let mut tx = ctx.db.begin_as(Tenant::Root(account.root_id)).await?;
    let receipt = closings::receipt(&mut tx, account.account_id)
        .await?
        .ok_or(Error::DeletionReceiptNotFound(id))?;
    tx.commit().await?;
    let parts = receipt.parts.as_array().into_iter().flatten();
    Ok(pb::GetDeletionReceiptResponse {
        deletion_receipt: Some(pb::DeletionReceipt {
            account_id: AccountId::from_uuid(receipt.account_id).to_string(),
            erased_account_ids: receipt
                .erased_ids
                .into_iter()
                .map(|id| AccountId::from_uuid(id).to_string())
                .collect(),
            close_time: Some(timestamp(receipt.close_at)),
            erase_time: Some(timestamp(receipt.erased_at)),
            parts: parts.map(part).collect::<Result<_, _>>()?,
        }),
    })
}

fn part(from: &Value) -> Result<pb::deletion_receipt::Part, Status> {
    let text = |key: &str| from.get(key).and_then(Value::as_str);
    let lines = |key: &str| {
        let lines = from.get(key).and_then(Value::as_array);
        let lines = lines.into_iter().flatten().filter_map(Value::as_str);
        lines.map(str::to_owned).collect()
    };
    let at: Option<DateTime<Utc>> = text("at").and_then(|it| it.parse().ok());
    Ok(pb::deletion_receipt::Part {
        service: text("service").ok_or_else(internal)?.to_owned(),
        erased: lines("erased"),
        kept: lines("kept"),
        erase_time: Some(timestamp(at.ok_or_else(internal)?)),
    })
}
