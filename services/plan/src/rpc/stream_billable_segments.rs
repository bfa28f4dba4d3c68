//! `PlanService.StreamBillableSegments`
//!
//! Streams the segments that a billing run needs, in columnar pages ordered by payer. The run may be split into shards
//! and resumed after a payer.

use std::collections::HashMap;

use chassis::{PgConnection, database_status, field_error, wire};
use chrono::{DateTime, NaiveDate, Utc};
use futures::TryStreamExt as _;
use proto::plan::v1 as pb;
use proto::plan::v1::stream_billable_segments_response::PlanTerms;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;
use values::{AccountId, Period, Zone};

use super::Streamed;
use crate::ctx::Ctx;
use crate::domain::timeline::days_within;
use crate::error::Error;
use crate::store::billable::{self, Billable, Selection};
use crate::store::segments;

/// Rows per page. A payer's rows stay together, so that a page may be larger.
const PAGE_ROWS: usize = 4_000;
/// Pages buffered for the reader.
const PAGES_AHEAD: usize = 2;

pub async fn handle(
    ctx: &Ctx,
    request: pb::StreamBillableSegmentsRequest,
) -> Result<Streamed<pb::StreamBillableSegmentsResponse>, Error> {
    let family = wire::code("family_code", &request.family_code)?;
    let start = wire::date("period_start_date", &request.period_start_date)?;
    let end = wire::date("period_end_date", &request.period_end_date)?;
    let period = Period::new(start, end)
        .map_err(|_| field_error("period_end_date", "a day after period_start_date"))?;
    if !(1..=1024).contains(&request.shard_count) {
        return Err(field_error("shard_count", "1 to 1024").into());
    }
    if !(0..request.shard_count).contains(&request.shard) {
        return Err(field_error("shard", "0 to shard_count - 1").into());
    }
    let after: Option<AccountId> =
        wire::optional_id("after_account_id", &request.after_account_id)?;
    let payer: Option<AccountId> =
        wire::optional_id("payer_account_id", &request.payer_account_id)?;
    let closes_at = wire::optional_instant("close_time", request.close_time)?;
    if closes_at.is_some() && payer.is_none() {
        return Err(field_error("close_time", "unset without payer_account_id").into());
    }
    let closing = payer.map(AccountId::uuid).zip(closes_at);

    let mut db = ctx.db.acquire().await?;
    let now = ctx.clock.now_on(&mut db).await?;
    let catalogue = ctx.active_catalogue(&mut db).await?;
    let zone = catalogue
        .families
        .get(family)
        .ok_or_else(|| Error::FamilyNotFound(family.to_owned()))?
        .zone;
    let (low, high) = match payer {
        Some(payer) => (payer.uuid(), payer.uuid()),
        // A run bills what was in force: no change may come into its period any more. A forecast bills nothing.
        None if now < zone.start_of(may_begin(period, request.forecast)) => {
            return Err(Error::PeriodNotEnded(period.end()));
        }
        None => shard_bounds(request.shard, request.shard_count),
    };
    if payer.is_none() {
        segments::all_changed(&mut db).await?;
    }
    let selection = Selection {
        family: family.to_owned(),
        from: zone.start_of(period.start()),
        until: zone.start_of(period.end()),
        low: after.map_or(low, AccountId::uuid),
        after_low: after.is_some(),
        high,
    };

    let pager = Pager::new(period, zone, closing);
    Ok(paged(db, selection, pager))
}

/// The day from whose start on the segments of a period are given to whoever asks for those of all payers.
const fn may_begin(period: Period, forecast: bool) -> NaiveDate {
    if forecast {
        period.start()
    } else {
        period.end()
    }
}

/// The pages of a selection, read ahead of whoever takes them.
fn paged(
    mut db: PgConnection,
    selection: Selection,
    mut pager: Pager,
) -> Streamed<pb::StreamBillableSegmentsResponse> {
    let (pages, reader) = mpsc::channel(PAGES_AHEAD);
    #[expect(
        clippy::disallowed_methods,
        reason = "ends with the stream: its sends fail when the reader is gone"
    )]
    tokio::spawn(async move {
        let mut rows = billable::stream(&mut db, &selection);
        loop {
            let page = match rows.try_next().await {
                Ok(Some(row)) => match pager.take(row) {
                    None => continue,
                    Some(page) => Ok(page),
                },
                Ok(None) => {
                    if let Some(last) = pager.finish() {
                        let _ = pages.send(Ok(last)).await;
                    }
                    return;
                }
                Err(error) => Err(database_status(&error)),
            };
            let over = page.is_err();
            if pages.send(page).await.is_err() || over {
                return;
            }
        }
    });
    Box::pin(ReceiverStream::new(reader))
}

/// The lowest and highest id of a shard: an equal share of the id range, which balances the load because account ids
/// are random.
fn shard_bounds(shard: i32, count: i32) -> (Uuid, Uuid) {
    let bound = |index: i32| {
        let (index, count) = (
            u128::try_from(index).unwrap_or(0),
            u128::try_from(count).unwrap_or(1),
        );
        (u128::from(u64::MAX) + 1) * index / count
    };
    let low = bound(shard) << 64;
    // The next bound lies one past the shard, so its predecessor is the highest id.
    let high = (bound(shard + 1) - 1) << 64 | u128::from(u64::MAX);
    (Uuid::from_u128(low), Uuid::from_u128(high))
}

/// A segment as the closing of its account leaves it: one that starts at the closing or later is dropped; one in force
/// ends there.
fn ended(row: Billable, closing: Option<(Uuid, DateTime<Utc>)>) -> Option<Billable> {
    let Some((_, at)) = closing.filter(|(root, _)| *root == row.root_id) else {
        return Some(row);
    };
    let end_at = row.end_at.map_or(at, |end| end.min(at));
    (row.start_at < at).then_some(Billable {
        end_at: Some(end_at),
        ..row
    })
}

/// Collects rows into pages.
struct Pager {
    period: Period,
    zone: Zone,
    /// A root account to be treated as closed, and its closing time.
    closing: Option<(Uuid, DateTime<Utc>)>,
    page: Columns,
    payer: Option<Uuid>,
    plans: HashMap<(String, String), u32>,
    contracts: HashMap<Uuid, u32>,
}

#[derive(Default)]
struct Columns {
    payer_ids: Vec<u8>,
    root_ids: Vec<u8>,
    contract_ids: Vec<u8>,
    other_payer_ids: Vec<u8>,
    rest: pb::StreamBillableSegmentsResponse,
}

impl Pager {
    fn new(period: Period, zone: Zone, closing: Option<(Uuid, DateTime<Utc>)>) -> Self {
        Self {
            period,
            zone,
            closing,
            page: Columns::default(),
            payer: None,
            plans: HashMap::new(),
            contracts: HashMap::new(),
        }
    }

    /// Adds a row. Returns the previous page if it is full and the row starts a new payer.
    fn take(&mut self, row: Billable) -> Option<pb::StreamBillableSegmentsResponse> {
        let row = ended(row, self.closing)?;
        let full =
            PAGE_ROWS <= self.page.rest.plan_indexes.len() && self.payer != Some(row.payer_id);
        let done = if full { self.finish() } else { None };
        self.payer = Some(row.payer_id);
        self.add(row);
        done
    }

    fn add(&mut self, row: Billable) {
        let (start, end) = days_within(row.start_at, row.end_at, self.period, self.zone);
        let page = &mut self.page;
        page.payer_ids.extend_from_slice(row.payer_id.as_bytes());
        page.root_ids.extend_from_slice(row.root_id.as_bytes());
        let next = u32::try_from(self.plans.len()).unwrap_or(u32::MAX);
        let terms = (row.plan_code, row.catalogue_version);
        let plan = *self
            .plans
            .entry(terms)
            .or_insert_with_key(|(plan, version)| {
                page.rest.plans.push(PlanTerms {
                    plan_code: plan.clone(),
                    catalogue_version: version.clone(),
                });
                next
            });
        let next = u32::try_from(self.contracts.len()).unwrap_or(u32::MAX - 1) + 1;
        let contract = row.contract_id.map_or(0, |id| {
            *self.contracts.entry(id).or_insert_with(|| {
                page.contract_ids.extend_from_slice(id.as_bytes());
                next
            })
        });
        page.rest.plan_indexes.push(plan);
        page.rest.contract_indexes.push(contract);
        let elsewhere = row.paid_by != row.payer_id;
        page.rest.paid_elsewhere.push(elsewhere);
        if elsewhere {
            let payer = row.paid_by.as_bytes();
            page.other_payer_ids.extend_from_slice(payer);
        }
        page.rest
            .start_days
            .push(i32::try_from(start).unwrap_or(i32::MAX));
        page.rest
            .end_days
            .push(i32::try_from(end).unwrap_or(i32::MAX));
    }

    /// The page collected so far; `None` if it is empty.
    fn finish(&mut self) -> Option<pb::StreamBillableSegmentsResponse> {
        let Columns {
            payer_ids,
            root_ids,
            contract_ids,
            other_payer_ids,
            rest,
        } = std::mem::take(&mut self.page);
        let empty = rest.plan_indexes.is_empty();
        let page = pb::StreamBillableSegmentsResponse {
            payer_ids: payer_ids.into(),
            root_ids: root_ids.into(),
            contract_ids: contract_ids.into(),
            other_payer_ids: other_payer_ids.into(),
            ..rest
        };
        (!empty).then_some(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_at_the_instant_of_a_closing_was_in_force_for_no_time() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let row = |root: u128, start, end: Option<i64>| Billable {
            payer_id: Uuid::from_u128(1),
            paid_by: Uuid::from_u128(1),
            root_id: Uuid::from_u128(root),
            contract_id: None,
            plan_code: "business".to_owned(),
            catalogue_version: "v1".to_owned(),
            start_at: at(start),
            end_at: end.map(at),
        };
        let closing = Some((Uuid::from_u128(1), at(100)));
        let end = |row| ended(row, closing).map(|it| it.end_at);
        assert_eq!(end(row(1, 50, None)), Some(Some(at(100))));
        assert_eq!(end(row(1, 50, Some(90))), Some(Some(at(90))));
        assert_eq!(end(row(1, 100, None)), None);
        assert_eq!(end(row(2, 100, None)), Some(None), "another account");
    }

    #[test]
    fn shards_tile_the_range_of_ids() {
        for count in [1, 3, 16, 1024] {
            let mut next = Uuid::nil().as_u128();
            for shard in 0..count {
                let (low, high) = shard_bounds(shard, count);
                assert_eq!(low.as_u128(), next, "{shard} of {count}");
                next = high.as_u128().wrapping_add(1);
            }
            assert_eq!(next, 0, "the last shard ends at the highest id");
        }
    }
}
