//! `BillingService.CreateBillingRun`

use std::sync::Arc;

use chassis::{Call, Unit, wire};
use proto::billing::v1 as pb;
use values::RunId;

use super::convert;
use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::domain::run::may_start;
use crate::error::Error;
use crate::store::runs::{self, Progress, Run};
use crate::store::{accounts, closings, usage};

/// Shards of a run: enough that several replicas share it, few enough that each is worth a stream.
const SHARDS: i32 = 16;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CreateBillingRunRequest>,
    mut unit: Unit,
    catalogue: Arc<Catalogue>,
) -> Result<pb::CreateBillingRunResponse, Error> {
    let request = &call.message;
    let family_code = wire::code("family_code", &request.family_code)?;
    let period = wire::month("month", &request.month)?;
    let family = catalogue
        .families
        .get(family_code)
        .ok_or_else(|| Error::FamilyNotFound(family_code.to_owned()))?;
    if !family.in_arrears {
        return Err(Error::FamilyBilledInAdvance(family_code.to_owned()));
    }
    if !may_start(period, family.zone, call.now) {
        return Err(Error::PeriodNotEnded(request.month.clone()));
    }

    let profiles: Vec<String> = catalogue
        .profiles
        .iter()
        .filter(|(_, profile)| profile.families.iter().any(|code| code == family_code))
        .map(|(code, _)| code.clone())
        .collect();
    if !request.dry_run {
        // A month is settled by a closing or by its run.
        closings::hold_closings(&mut unit.tx).await?;
        // From here on no usage joins the month: what is being written is waited for, and so is
        // another who makes the same run.
        usage::close_month(&mut unit.tx, &profiles, period.start(), call.now).await?;
    }
    let settles = !request.dry_run && !family.run_approval_required;
    let run = Run {
        run_id: RunId::from_uuid(uuid::Uuid::now_v7()).uuid(),
        family_code: family_code.to_owned(),
        period_start: period.start(),
        period_end: period.end(),
        dry_run: request.dry_run,
        phase: if settles { "SETTLE" } else { "RATE" }.to_owned(),
        state: "RUNNING".to_owned(),
        shard_count: SHARDS,
        expected_count: accounts::count_roots(&mut unit.tx, &profiles).await?,
        currency: family.currency.code().to_owned(),
        catalogue_version: catalogue.version.clone(),
        chunk_size: ctx.work.chunk,
        cut_off_at: call.now,
        created_at: call.now,
        completed_at: None,
    };
    let shown = if runs::insert(&mut unit.tx, &run).await? {
        convert::shown(&run, Progress::default())?
    } else {
        let real = runs::real(&mut unit.tx, family_code, period.start())
            .await?
            .ok_or(Error::Stored("real run"))?;
        convert::run(&mut unit.tx, &real).await?
    };
    Ok(unit
        .commit(pb::CreateBillingRunResponse {
            billing_run: Some(shown),
        })
        .await?)
}
