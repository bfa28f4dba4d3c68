//! `BillingService.ReleaseParkedAccount`

use std::sync::Arc;

use chassis::{Call, Unit, wire};
use proto::billing::v1 as pb;
use values::{AccountId, Currency, Period, RunId};

use super::convert;
use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::domain::numbers::invoice_id;
use crate::domain::run::{Needed, Phase, State};
use crate::error::Error;
use crate::ops::rate::{self, Ratings, Terms};
use crate::ops::segments::{Pools, Selection};
use crate::ops::settle::{self, Header, Number};
use crate::store::parked::Parked;
use crate::store::runs::Run;
use crate::store::{invoices, ledger, numbers, parked, runs};

/// What is read before the transaction, during which other services are never called.
#[derive(Clone)]
pub struct Ready {
    run: Run,
    account: AccountId,
    period: Period,
    currency: Currency,
    catalogue: Arc<Catalogue>,
    terms_ids: Arc<Vec<i32>>,
    ratings: Arc<Ratings>,
}

/// Rates the account again for the period of the run.
pub async fn prepare(ctx: &Ctx, request: &pb::ReleaseParkedAccountRequest) -> Result<Ready, Error> {
    let id: RunId = wire::id("billing_run_id", &request.billing_run_id)?;
    let account: AccountId = wire::id("account_id", &request.account_id)?;
    let run = runs::get(&mut ctx.db.acquire().await?, id.uuid())
        .await?
        .ok_or(Error::RunNotFound(id))?;
    let period = Period::new(run.period_start, run.period_end)
        .map_err(|_| Error::Stored("period of a run"))?;
    // Rating uses the policies of the run; settlement uses today's profile, which may contain the fix.
    let (of_run, catalogue) = (
        ctx.catalogue(&run.catalogue_version).await?,
        ctx.active_catalogue().await?,
    );
    let family = of_run
        .families
        .get(&run.family_code)
        .ok_or_else(|| Error::FamilyNotFound(run.family_code.clone()))?;
    let selection = Selection {
        family: &run.family_code,
        period,
        shard: (0, 1),
        after: None,
        payer: Some(account.uuid()),
        closes_at: None,
    };
    let mut pools = Pools::open(ctx, &selection).await?;
    let pool = pools.next(ctx, 1).await?;
    let terms = Terms {
        family: &run.family_code,
        period,
        currency: family.currency,
        excluded: &family.excluded_categories,
        catalogue: &catalogue,
        book: &pools.book,
    };
    let ratings = rate::rate(&mut ctx.db.acquire().await?, &pool, &terms).await?;
    Ok(Ready {
        account,
        period,
        currency: family.currency,
        terms_ids: Arc::new(pools.book.ids.clone()),
        ratings: Arc::new(ratings),
        catalogue,
        run,
    })
}

pub async fn handle(
    _: Ctx,
    call: Call<pb::ReleaseParkedAccountRequest>,
    mut unit: Unit,
    ready: Ready,
) -> Result<pb::ReleaseParkedAccountResponse, Error> {
    let Ready { run, account, .. } = &ready;
    let parked = releasable(&mut unit, &ready).await?;
    let mut invoice = None;
    let rated = ready.ratings.rated.first();
    let set_aside = parked.series_id.zip(parked.number);
    if let Some(rated) = rated.filter(|_| run.phase == Phase::Settle) {
        // Every script locks the balance before it takes a number; any other order could deadlock.
        ledger::lock(&mut unit.tx, &[rated.payer]).await?;
        // A number reserved by the run belongs to the fiscal year of the run's date.
        let (issued_at, number) = if let Some((series_id, number)) = set_aside {
            (run.cut_off_at, Number { series_id, number })
        } else {
            let series_id = settle::series_of(
                &mut unit.tx,
                &ready.catalogue,
                (&rated.profile, ""),
                call.now,
            )
            .await?;
            let number = numbers::take(&mut unit.tx, series_id, 1).await?;
            (call.now, Number { series_id, number })
        };
        let header = Header {
            run_id: Some(run.run_id),
            family: &run.family_code,
            period: ready.period,
            currency: ready.currency,
            issued_at,
            catalogue: &ready.catalogue,
            terms_ids: &ready.terms_ids,
        };
        settle::settle(&mut unit.tx, &header, &[(rated, number)])
            .await
            .map_err(|error| refused(error, *account))?;
        let id = invoice_id(number.series_id, number.number).uuid();
        let stored = invoices::get(&mut unit.tx, id)
            .await?
            .ok_or(Error::Stored("invoice"))?;
        invoice = Some(convert::whole_invoice(&mut unit.tx, &stored).await?);
    } else if let Some(number) = set_aside {
        // Nothing is to be invoiced. The reserved number is voided; dropping it would leave a gap in the series.
        let why = (run.run_id, "NOTHING_TO_INVOICE");
        numbers::void(&mut unit.tx, number, why, call.now).await?;
    }
    parked::release(&mut unit.tx, run.run_id, account.uuid(), call.now).await?;
    Ok(unit
        .commit(pb::ReleaseParkedAccountResponse { invoice })
        .await?)
}

/// Locks the parked account and checks that it can be released.
async fn releasable(unit: &mut Unit, ready: &Ready) -> Result<Parked, Error> {
    let Ready { run, account, .. } = ready;
    let id = RunId::from_uuid(run.run_id);
    // While the run is under way, its workers rate the account themselves and may or may not have reached it.
    let now = runs::lock(&mut unit.tx, run.run_id).await?;
    if now.is_none_or(|run| run.state != State::Completed) {
        return Err(Error::RunNotInState {
            run: id,
            state: Needed::Completed,
        });
    }
    let parked = parked::lock(&mut unit.tx, run.run_id, account.uuid())
        .await?
        .ok_or(Error::ParkedAccountNotFound {
            run: id,
            account: *account,
        })?;
    let still = |reason, detail| Error::StillParked {
        account: *account,
        reason,
        detail,
    };
    if let Some(unrated) = ready.ratings.unrated.first() {
        return Err(still(unrated.reason, unrated.detail.clone()));
    }
    Ok(parked)
}

/// Translates the violation that parked the account and still occurs.
fn refused(error: Error, account: AccountId) -> Error {
    if let Error::Database(cause) = &error
        && chassis::is_violation_of(cause, "invoices_one_a_period")
    {
        let detail = "invoices_one_a_period".to_owned();
        return Error::StillParked {
            account,
            reason: "REFUSED_BY_DATABASE",
            detail,
        };
    }
    error
}
