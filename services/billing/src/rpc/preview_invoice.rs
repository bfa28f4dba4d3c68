//! `BillingService.PreviewInvoice`

use chassis::{FieldError, field_error, wire};
use chrono::{DateTime, Days, Utc};
use proto::billing::v1 as pb;
use values::{AccountId, Money, Period, Zone};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::rating::Span;
use crate::error::Error;
use crate::ops::rate::{self, Terms};
use crate::ops::segments::{Pools, Selection};
use crate::store::invoices::Line;

/// A hypothetical plan change.
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
    let version = wire::text(
        "change_catalogue_version",
        &request.change_catalogue_version,
        32,
    )?;
    let at = wire::instant("change_time", request.change_time)?;
    // One day of tolerance on either side, because the family's time zone decides.
    let near = period.start() - Days::new(1) <= at.date_naive() && at.date_naive() <= period.end();
    if !near {
        return Err(field_error("change_time", "an instant within the month"));
    }
    Ok(Some(Change { plan, version, at }))
}

/// The month as sent, or that of the change in the zone of the family, which alone says where a month begins (D18).
fn month(request: &pb::PreviewInvoiceRequest, zone: Zone) -> Result<Period, FieldError> {
    if !request.month.is_empty() || request.change_plan_code.is_empty() {
        return wire::month("month", &request.month);
    }
    let day = zone.day(wire::instant("change_time", request.change_time)?);
    Period::month_of(day).map_err(|_| field_error("change_time", "an instant that a calendar has"))
}

async fn catalogue_terms(
    ctx: &Ctx,
    family: &str,
    change: &Change<'_>,
) -> Result<crate::domain::charge::Terms, Error> {
    let catalogue = ctx.catalogue(change.version).await?;
    let key = (family.to_owned(), change.plan.to_owned());
    let terms = catalogue.terms.get(&key).cloned();
    Ok(terms.ok_or_else(|| {
        field_error(
            "change_plan_code",
            "a plan of that catalogue version with a monthly charge",
        )
    })?)
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
    let catalogue = ctx.active_catalogue().await?;
    let account = convert::root_account(&mut ctx.db.acquire().await?, id).await?;
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

    let period = month(&request, family.zone)?;
    let selection = Selection {
        family: family_code,
        period,
        shard: (0, 1),
        after: None,
        payer: Some(id.uuid()),
        closes_at: None,
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
            payer: id.uuid(),
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
    let ratings = rate::rate(&mut ctx.db.acquire().await?, &pool, &terms).await?;
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
        lines.push(convert::line(&stored, terms, (family_code, period.days()))?);
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
