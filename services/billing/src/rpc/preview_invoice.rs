//! `BillingService.PreviewInvoice`

use chassis::{FieldError, field_error, wire};
use chrono::{DateTime, Days, Utc};
use proto::billing::v1 as pb;
use values::{AccountId, Money, Period};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::rating::Span;
use crate::error::Error;
use crate::ops::rate::{self, Terms};
use crate::ops::segments::{Pools, Selection};
use crate::store::invoices::Line;

/// A change to be taken as made.
struct Change<'a> {
    plan: &'a str,
    version: &'a str,
    at: DateTime<Utc>,
}

fn change(
    request: &pb::PreviewInvoiceRequest,
    period: Period,
) -> Result<Option<Change<'_>>, FieldError> {
    let Some(plan) = wire::optional_code("change_plan_code", &request.change_plan_code)? else {
        return Ok(None);
    };
    let version = request.change_catalogue_version.as_str();
    if version.is_empty() || 32 < version.len() {
        return Err(field_error(
            "change_catalogue_version",
            "the catalogue version of the change",
        ));
    }
    let at = wire::instant("change_time", request.change_time)?;
    // A day to either side: the zone of the family decides.
    let near = period.start() - Days::new(1) <= at.date_naive() && at.date_naive() <= period.end();
    if !near {
        return Err(field_error("change_time", "an instant within the month"));
    }
    Ok(Some(Change { plan, version, at }))
}

async fn catalogue_terms(
    ctx: &Ctx,
    family: &str,
    change: &Change<'_>,
) -> Result<crate::domain::charge::Terms, Error> {
    let catalogue = ctx.catalogue(change.version).await?;
    let key = (family.to_owned(), change.plan.to_owned());
    let terms = catalogue.terms.get(&key).cloned();
    Ok(terms
        .ok_or_else(|| field_error("change_plan_code", "a plan of the version with a charge"))?)
}

#[expect(
    clippy::too_many_lines,
    reason = "read, rate, show, read top to bottom"
)]
pub async fn handle(
    ctx: &Ctx,
    request: pb::PreviewInvoiceRequest,
) -> Result<pb::PreviewInvoiceResponse, Error> {
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let family_code = wire::code("family_code", &request.family_code)?;
    let period = wire::month("month", &request.month)?;
    let catalogue = ctx.active_catalogue().await?;
    let account = convert::root_account(&mut *ctx.db.acquire().await?, id).await?;
    let family = catalogue
        .families
        .get(family_code)
        .ok_or_else(|| Error::FamilyNotFound(family_code.to_owned()))?;
    let profile = catalogue.profiles.get(&account.profile_code);
    if !profile.is_some_and(|profile| profile.families.iter().any(|code| code == family_code)) {
        return Err(Error::FamilyNotOffered {
            account: id,
            family: family_code.to_owned(),
        });
    }
    if !family.in_arrears {
        return Err(Error::FamilyBilledInAdvance(family_code.to_owned()));
    }

    let selection = Selection {
        family: family_code,
        period,
        shard: (0, 1),
        after: None,
        payer: Some(id.uuid()),
    };
    let mut pools = Pools::open(ctx, &selection).await?;
    let mut pool = pools.next(ctx, 1).await?;
    if let Some(change) = change(&request, period)? {
        let terms = catalogue_terms(ctx, family_code, &change).await?;
        let day = (family.zone.day(change.at) - period.start()).num_days();
        let start_day = i32::try_from(day)
            .map_err(|_| field_error("change_time", "an instant within the month"))?;
        let span = Span {
            root: id.uuid(),
            terms: pools.book.terms.len(),
            contract: None,
            paid_elsewhere: false,
            start_day,
            end_day: i32::MAX,
        };
        pools.book.terms.push(terms);
        pools.book.ids.push(0);
        if let Some(pool) = pool.first_mut() {
            let place = pool
                .spans
                .iter()
                .rposition(|it| it.root == span.root)
                .map_or(0, |place| place + 1);
            pool.spans.insert(place, span);
        }
    }
    let terms = Terms {
        family: family_code,
        period,
        currency: family.currency,
        excluded: &family.excluded_categories,
        catalogue: &catalogue,
        book: &pools.book,
    };
    let ratings = rate::rate(&mut *ctx.db.acquire().await?, &pool, &terms).await?;
    if let Some(unrated) = ratings.unrated.first() {
        return Err(Error::StillParked {
            account: id,
            reason: unrated.reason,
            detail: unrated.detail.clone(),
        });
    }
    let money = |minor| Some(wire::pb_money(Money::from_minor(minor, family.currency)));
    let rated = ratings.rated.first();
    let total = rated.map_or(0, |rated| rated.total_minor);
    let mut lines = Vec::new();
    for (line, line_number) in rated.map_or(&[][..], |rated| &rated.lines).iter().zip(1..) {
        let terms = pools
            .book
            .terms
            .get(line.terms)
            .ok_or(Error::Stored("terms"))?;
        let start_on = period.start() + Days::new(u64::from(line.first_day));
        let stored = Line {
            line_number,
            terms_id: 0,
            contract_id: line.contract,
            start_on,
            end_on: start_on + Days::new(u64::from(line.days)),
            base_micros: line.base_micros,
            amount_minor: line.minor,
        };
        lines.push(convert::line(&stored, terms, period.days())?);
    }
    Ok(pb::PreviewInvoiceResponse {
        invoice: Some(pb::Invoice {
            account_id: id.to_string(),
            family_code: family_code.to_owned(),
            period_start_date: period.start().to_string(),
            period_end_date: period.end().to_string(),
            total: money(total),
            amount_due: money(total),
            paid_from_balance: money(0),
            lines,
            taxes: rated
                .map_or(&[][..], |rated| &rated.taxes)
                .iter()
                .map(|tax| convert::tax_line(tax, family.currency))
                .collect(),
            ..pb::Invoice::default()
        }),
    })
}
