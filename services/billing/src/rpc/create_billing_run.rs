//! `BillingService.CreateBillingRun`

use std::sync::Arc;

use chassis::{Call, Unit, wire};
use proto::billing::v1 as pb;

use super::convert;
use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::domain::run::{may_forecast, may_start};
use crate::error::Error;
use crate::ops::make_run;
use crate::store::runs::{self, Progress};

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
    let may = if request.dry_run {
        may_forecast
    } else {
        may_start
    };
    if !may(period, family.zone, call.now) {
        return Err(Error::PeriodNotEnded(request.month.clone()));
    }
    let terms = (&*catalogue, ctx.work.chunk);
    let of = (family_code, period, request.dry_run);
    let payers = make_run::count(&mut unit.tx, &catalogue, family_code).await?;
    let made = make_run::make(&mut unit.tx, terms, of, payers, call.now).await?;
    let shown = if let Some(run) = made {
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
