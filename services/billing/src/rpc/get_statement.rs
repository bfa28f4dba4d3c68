//! `BillingService.GetStatement`

use chassis::wire;
use proto::billing::v1 as pb;
use values::{Amount, Zone};

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store;
use crate::store::ledger;

/// The most entries of a statement. Longer ones are read by pages with `ListEntries`.
const ENTRIES_MAX: i64 = 5_000;

pub async fn handle(
    ctx: &Ctx,
    request: pb::GetStatementRequest,
) -> Result<pb::GetStatementResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let month = wire::month("month", &request.month)?;
    // One snapshot, so that the balances and the entries between them agree.
    let mut tx = ctx.db.snapshot().await?;
    let account = convert::root_account(&mut tx, id).await?;
    let zone = Zone::parse(&account.time_zone).map_err(|_| Error::Stored("time zone"))?;
    let currency = store::currency(&account.currency)?;
    let (from, until) = (zone.start_of(month.start()), zone.start_of(month.end()));
    let opening = ledger::balance_before(&mut tx, account.root_id, from).await?;
    let closing = ledger::balance_before(&mut tx, account.root_id, until).await?;
    let entries =
        ledger::list_between(&mut tx, account.root_id, (from, until), ENTRIES_MAX + 1).await?;
    tx.commit().await?;
    if usize::try_from(ENTRIES_MAX).is_ok_and(|most| most < entries.len()) {
        return Err(Error::StatementTooLong(id));
    }
    let amount = |micros: Option<i64>| {
        let micros = micros.ok_or(Error::Stored("sum of entries"))?;
        Ok::<_, Error>(Some(wire::pb_amount(Amount::from_micros(micros, currency))))
    };
    Ok(pb::GetStatementResponse {
        opening_balance: amount(opening)?,
        closing_balance: amount(closing)?,
        entries: entries
            .iter()
            .map(convert::entry)
            .collect::<Result<_, _>>()?,
    })
}
