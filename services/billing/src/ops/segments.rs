//! The billable segments of `plan`, read page by page and put together by payer.

use std::collections::VecDeque;

use chassis::normalised;
use proto::plan::v1 as pb;
use tonic::Streaming;
use uuid::Uuid;
use values::{AccountId, Period};

use crate::ctx::Ctx;
use crate::domain::charge::{Charge, Terms};
use crate::domain::rating::Span;
use crate::error::Error;
use crate::store;

/// A payer and the timelines of the accounts that it pays for.
#[derive(Debug, Clone)]
pub struct Pool {
    /// The payer.
    pub payer: Uuid,
    /// The timelines, by account and start.
    pub spans: Vec<Span>,
}

/// The terms that spans refer to by index.
#[derive(Debug, Default)]
pub struct Book {
    /// The terms.
    pub terms: Vec<Terms>,
    /// Their ids in `billing.terms`.
    pub ids: Vec<i32>,
    /// Indexes of terms that the catalogue does not have, each with what was asked for.
    pub missing: Vec<(usize, String)>,
}

/// Which segments to read.
#[derive(Debug, Clone)]
pub struct Selection<'a> {
    /// The family.
    pub family: &'a str,
    /// The period.
    pub period: Period,
    /// The shard and how many there are.
    pub shard: (i32, i32),
    /// Only payers after this one.
    pub after: Option<Uuid>,
    /// Only this payer.
    pub payer: Option<Uuid>,
}

/// A stream of pools.
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

    /// Up to `most` pools, in order of payer; fewer only at the end.
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
            let place = usize::try_from(*contract)
                .unwrap_or(usize::MAX)
                .checked_sub(1);
            let span = Span {
                root,
                terms: usize::try_from(*terms).unwrap_or(usize::MAX),
                contract: place.and_then(|place| self.contracts.get(place).copied()),
                paid_elsewhere: *paid_elsewhere,
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

    /// Notes the terms of a plan, from the catalogue version that it was bought under.
    async fn learn(
        &mut self,
        ctx: &Ctx,
        asked: &pb::stream_billable_segments_response::PlanTerms,
    ) -> Result<(), Error> {
        let catalogue = ctx.catalogue(&asked.catalogue_version).await?;
        let key = (self.family.clone(), asked.plan_code.clone());
        let terms = if let Some(terms) = catalogue.terms.get(&key) {
            terms.clone()
        } else {
            let what = format!("{} of version {}", asked.plan_code, asked.catalogue_version);
            self.book.missing.push((self.book.terms.len(), what));
            Terms {
                plan_code: asked.plan_code.clone(),
                catalogue_version: asked.catalogue_version.clone(),
                rank: 0,
                currency: values::Currency::Usd,
                charge: Charge::Free,
                rounding: values::Rounding::HalfUp,
            }
        };
        let id = store::terms::ensure(&mut *ctx.db.acquire().await?, &self.family, &terms).await?;
        self.book.terms.push(terms);
        self.book.ids.push(id);
        Ok(())
    }
}
