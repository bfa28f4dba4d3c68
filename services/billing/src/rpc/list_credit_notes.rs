//! `BillingService.ListCreditNotes`

use chassis::Page;
use chassis::wire::{self, pb_money, timestamp};
use proto::billing::v1 as pb;
use values::{AccountId, CreditNoteId, InvoiceId, Money};

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store;
use crate::store::credit_notes::{self, CreditNote};
use crate::store::numbers::{self, Series};

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListCreditNotesRequest,
) -> Result<pb::ListCreditNotesResponse, Error> {
    let account: Option<AccountId> = wire::optional_id("account_id", &request.account_id)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(convert::position)?;
    let mut db = ctx.db.acquire().await?;
    let root = match account {
        Some(id) => Some(convert::root_account(&mut db, id).await?.root_id),
        None => None,
    };
    let found = credit_notes::list(&mut db, root, before, page.size + 1).await?;
    let (found, last) = page.cut(found);
    let series: Vec<i32> = found.iter().map(|note| note.series_id).collect();
    let series = numbers::get_all(&mut db, &series).await?;
    let token = |it: CreditNote| {
        let (at, id) = (it.issued_at.timestamp_micros(), it.credit_note_id.simple());
        format!("{at}.{id}")
    };
    Ok(pb::ListCreditNotesResponse {
        next_page_token: last.map(token).unwrap_or_default(),
        credit_notes: found
            .iter()
            .map(|note| shown(note, &series))
            .collect::<Result<_, _>>()?,
    })
}

/// Converts a credit note.
pub fn shown(from: &CreditNote, series: &[Series]) -> Result<pb::CreditNote, Error> {
    let own = series
        .iter()
        .find(|series| series.series_id == from.series_id)
        .ok_or(Error::Stored("series"))?;
    let currency = store::currency(&from.currency)?;
    Ok(pb::CreditNote {
        credit_note_id: CreditNoteId::from_uuid(from.credit_note_id).to_string(),
        number: own.shown(from.number),
        invoice_id: InvoiceId::from_uuid(from.invoice_id).to_string(),
        amount: Some(pb_money(Money::from_minor(from.amount_minor, currency))),
        reason: from.reason.clone(),
        issue_time: Some(timestamp(from.issued_at)),
        ..pb::CreditNote::default()
    })
}
