//! Reads the billable segments of `plan` page by page and groups them by payer.

use std::collections::VecDeque;

use chassis::{normalised, wire};
use chrono::{DateTime, Utc};
use proto::plan::v1 as pb;
use tonic::{Code, Streaming};
use uuid::Uuid;
use values::{AccountId, Period};

use crate::ctx::Ctx;
use crate::domain::charge::{Charge, Terms};
use crate::domain::rating::Span;
use crate::error::Error;
use crate::store;

/// A payer with the timelines of the accounts it pays for, and of the accounts that share a contract with those.
#[derive(Debug, Clone)]
pub struct Pool {
    /// The payer.
    pub payer: Uuid,
    /// The timelines, by account and start.
    pub spans: Vec<Span>,
}

/// Plan terms that spans refer to by index.
#[derive(Debug, Default)]
pub struct Book {
    /// The terms.
    pub terms: Vec<Terms>,
    /// Their ids in `billing.terms`.
    pub ids: Vec<i32>,
    /// Indexes of terms missing from the catalogue, each with the plan and version asked for.
    pub missing: Vec<(usize, String)>,
}

/// Which segments to read.
#[derive(Debug, Clone)]
pub struct Selection<'a> {
    /// The family.
    pub family: &'a str,
    /// The period.
    pub period: Period,
    /// The shard, from 0, and the number of shards.
    pub shard: (i32, i32),
    /// Only payers after this one.
    pub after: Option<Uuid>,
    /// Only this payer.
    pub payer: Option<Uuid>,
    /// Read the timeline as if the payer were closed at this instant; only with `payer`.
    pub closes_at: Option<DateTime<Utc>>,
}

/// A stream of pools in order of payer.
pub struct Pools {
    pages: Streaming<pb::StreamBillableSegmentsResponse>,
    family: String,
    contracts: Vec<Uuid>,
    ready: VecDeque<Pool>,
    /// The terms seen so far.
    pub book: Book,
}

impl Pools {
    /// Opens the stream.
    pub async fn open(ctx: &Ctx, selection: &Selection<'_>) -> Result<Self, Error> {
        Self::read(ctx, selection, false).await
    }

    /// Opens the stream of a period that may still be running: of segments as they stand.
    pub async fn forecast(ctx: &Ctx, selection: &Selection<'_>) -> Result<Self, Error> {
        Self::read(ctx, selection, true).await
    }

    async fn read(ctx: &Ctx, selection: &Selection<'_>, forecast: bool) -> Result<Self, Error> {
        let id = |uuid: Option<Uuid>| {
            uuid.map(|uuid| AccountId::from_uuid(uuid).to_string())
                .unwrap_or_default()
        };
        let request = pb::StreamBillableSegmentsRequest {
            family_code: selection.family.to_owned(),
            period_start_date: selection.period.start().to_string(),
            period_end_date: selection.period.end().to_string(),
            shard: selection.shard.0,
            shard_count: selection.shard.1,
            after_account_id: id(selection.after),
            payer_account_id: id(selection.payer),
            close_time: selection.closes_at.map(wire::timestamp),
            forecast,
        };
        let open = || {
            let (mut plan, request) = (ctx.plan.clone(), request.clone());
            async move { plan.stream_billable_segments(request).await }
        };
        let opened = chassis::retried(open).await?;
        Ok(Self {
            pages: opened.into_inner(),
            family: selection.family.to_owned(),
            contracts: Vec::new(),
            ready: VecDeque::new(),
            book: Book::default(),
        })
    }

    /// The next pools, in order of payer: `most`, or fewer at the end of the stream.
    pub async fn next(&mut self, ctx: &Ctx, most: usize) -> Result<Vec<Pool>, Error> {
        while self.ready.len() < most {
            let Some(page) = self.pages.message().await.map_err(normalised)? else {
                break;
            };
            self.take(ctx, page).await?;
        }
        let count = most.min(self.ready.len());
        Ok(self.ready.drain(..count).collect())
    }

    /// The pools up to and including that of `last`, in order of payer.
    pub async fn through(&mut self, ctx: &Ctx, last: Uuid) -> Result<Vec<Pool>, Error> {
        while self.ready.back().is_none_or(|pool| pool.payer <= last) {
            let Some(page) = self.pages.message().await.map_err(normalised)? else {
                break;
            };
            self.take(ctx, page).await?;
        }
        let count = self.ready.partition_point(|pool| pool.payer <= last);
        Ok(self.ready.drain(..count).collect())
    }

    /// Whether no pools follow those that [`Self::through`] returned.
    pub fn is_at_end(&self) -> bool {
        self.ready.is_empty()
    }

    async fn take(
        &mut self,
        ctx: &Ctx,
        page: pb::StreamBillableSegmentsResponse,
    ) -> Result<(), Error> {
        for terms in &page.plans {
            self.learn(ctx, terms).await?;
        }
        self.contracts.extend(
            page.contract_ids
                .chunks_exact(16)
                .filter_map(|bytes| Uuid::from_slice(bytes).ok()),
        );
        let payers = page.payer_ids.chunks_exact(16);
        let roots = page.root_ids.chunks_exact(16);
        let whole = [
            roots.len(),
            page.plan_indexes.len(),
            page.start_days.len(),
            page.end_days.len(),
            page.contract_indexes.len(),
            page.paid_elsewhere.len(),
        ];
        if whole.iter().any(|length| *length != payers.len()) {
            return Err(Error::Stored("page of segments"));
        }
        let mut other_payers = page.other_payer_ids.chunks_exact(16);
        let ids = payers.zip(roots);
        let days = page.start_days.iter().zip(&page.end_days);
        let rest = page
            .plan_indexes
            .iter()
            .zip(&page.contract_indexes)
            .zip(&page.paid_elsewhere);
        for (((payer, root), (start_day, end_day)), ((terms, contract), paid_elsewhere)) in
            ids.zip(days).zip(rest)
        {
            let (Ok(payer), Ok(root)) = (Uuid::from_slice(payer), Uuid::from_slice(root)) else {
                continue;
            };
            let paid_by = if *paid_elsewhere {
                let other = other_payers.next().map(Uuid::from_slice);
                let other = other.and_then(Result::ok);
                other.ok_or(Error::Stored("page of segments"))?
            } else {
                payer
            };
            let place = usize::try_from(*contract)
                .unwrap_or(usize::MAX)
                .checked_sub(1);
            let span = Span {
                root,
                terms: usize::try_from(*terms).unwrap_or(usize::MAX),
                contract: place.and_then(|place| self.contracts.get(place).copied()),
                payer: paid_by,
                start_day: *start_day,
                end_day: *end_day,
            };
            match self.ready.back_mut() {
                Some(pool) if pool.payer == payer => pool.spans.push(span),
                _ => self.ready.push_back(Pool {
                    payer,
                    spans: vec![span],
                }),
            }
        }
        Ok(())
    }

    /// Looks up the terms of a plan in the catalogue version it was bought under, and adds them to the book.
    async fn learn(
        &mut self,
        ctx: &Ctx,
        asked: &pb::stream_billable_segments_response::PlanTerms,
    ) -> Result<(), Error> {
        let key = (self.family.clone(), asked.plan_code.clone());
        let known = match ctx.catalogue(&asked.catalogue_version).await {
            Ok(catalogue) => catalogue.terms.get(&key).cloned(),
            // A version that `plan` does not have will not come by asking again: whoever has it waits for a person, and
            // not all others with it.
            Err(status) if status.code() == Code::NotFound && chassis::is_refusal(&status) => None,
            Err(status) => return Err(status.into()),
        };
        let (terms, id) = if let Some(terms) = known {
            let mut db = ctx.db.acquire().await?;
            let id = store::terms::ensure(&mut db, &self.family, &terms).await?;
            (terms, id)
        } else {
            let what = format!("{} of version {}", asked.plan_code, asked.catalogue_version);
            self.book.missing.push((self.book.terms.len(), what));
            let unknown = Terms {
                plan_code: asked.plan_code.clone(),
                catalogue_version: asked.catalogue_version.clone(),
                rank: 0,
                currency: values::Currency::Usd,
                charge: Charge::Free,
                rounding: values::Rounding::HalfUp,
            };
            // No line is computed from them, and what is kept of a version is what it says.
            (unknown, 0)
        };
        self.book.terms.push(terms);
        self.book.ids.push(id);
        Ok(())
    }
}
