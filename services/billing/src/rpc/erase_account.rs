//! `BillingService.EraseAccount`

use chassis::{Call, PgConnection, Standing, Unit, wire};
use chrono::{DateTime, Months, Utc};
use proto::billing::v1 as pb;
use uuid::Uuid;
use values::{AccountId, RefundId};

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::seal;
use crate::personal::PLACES;
use crate::store::closings::{self, Closing};
use crate::store::retained::{self, Kept};
use crate::store::{accounts, ledger, recipients, refunds, usage};

/// Usage events deleted per transaction.
const BATCH: i64 = 10_000;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::EraseAccountRequest>,
) -> Result<pb::EraseAccountResponse, Error> {
    let id: AccountId = wire::id("account_id", &call.message.account_id)?;
    let mut db = ctx.db.acquire().await?;
    let account = accounts::get(&mut db, id.uuid())
        .await?
        .ok_or(Error::AccountNotFound(id))?;
    let root = account.root_id;
    let whole = root == account.account_id;
    let closing = closings::get(&mut db, root).await?;
    let settled = closing.filter(Closing::is_settled);
    if whole && settled.is_none() {
        return Err(Error::AccountNotClosed(id));
    }
    let only = (!whole).then_some(account.account_id);
    drop(db);
    // After this commit, usage of the account is refused, so none is left behind.
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    chassis::hold_account::<Ctx>(&mut unit.tx, root).await?;
    usage::hold_off(&mut unit.tx, root).await?;
    accounts::erase(&mut unit.tx, (root, only), call.now).await?;
    for ended in [Standing::Closed, Standing::Erased] {
        chassis::end_account::<Ctx>(&mut unit.tx, account.account_id, ended).await?;
    }
    unit.commit_step().await?;
    let mut db = ctx.db.acquire().await?;
    while 0 < usage::erase(&mut db, (root, only), BATCH).await? {}
    drop(db);
    chassis::forget_all_answers(&ctx).await?;
    let years = ctx.active_catalogue().await?.invoice_retention_years;

    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    let tx = &mut unit.tx;
    ledger::lock(tx, &[root]).await?;
    let mut erased = vec!["usage events".to_owned()];
    let mut kept = vec!["monthly sums of usage, from which invoices were computed".to_owned()];
    if let Some(closing) = settled.filter(|_| whole) {
        keep_recipients(tx, (root, closing.close_at), years).await?;
        erased.push("daily sums of usage".to_owned());
        erased.push("invoice recipients".to_owned());
        erased.push("the key of the audit's hashes".to_owned());
        erased.push("links to payment confirmation pages".to_owned());
        erased.push("notes by operators on credit, credit notes and invoices".to_owned());
        let books = "the ledger, invoices, credit notes and refunds, by account id, and bank references of payments";
        kept.push(books.to_owned());
        if let Some(key) = retained::key(tx, root).await? {
            let until = key.destroy_at.date_naive();
            kept.push(format!(
                "invoice recipients, sealed, for the legal retention period until {until}"
            ));
        }
        for refund in refunds::open_of(tx, root).await? {
            let refund = RefundId::from_uuid(refund);
            kept.push(format!("refund {refund}, under way"));
        }
    }
    chassis::erase_places::<Ctx>(tx, PLACES, (root, &[account.account_id])).await?;
    erased.push("answers to requests".to_owned());
    Ok(unit
        .commit(pb::EraseAccountResponse { erased, kept })
        .await?)
}

/// Seals the invoice recipients for the legal retention period.
async fn keep_recipients(
    tx: &mut PgConnection,
    (root, closed_at): (Uuid, DateTime<Utc>),
    years: i32,
) -> Result<(), Error> {
    let recipients = recipients::take(tx, root).await?;
    if recipients.is_empty() {
        return Ok(());
    }
    let months = u32::try_from(years).unwrap_or(0).saturating_mul(12);
    // A recipient that arrived after the erasure is sealed with the existing key.
    let known = retained::key(tx, root).await?;
    let kept = if let Some(known) = known {
        known
    } else {
        let key = seal::new_key().map_err(|_| Error::Stored("a key"))?;
        let kept = Kept {
            key: key.to_vec(),
            destroy_at: closed_at
                .checked_add_months(Months::new(months))
                .unwrap_or(closed_at),
        };
        retained::insert_key(tx, root, &kept).await?;
        kept
    };
    for (since, recipient) in recipients {
        let sealed = seal::sealed(&kept.key, (root, since), &recipient)
            .map_err(|_| Error::Stored("a sealed text"))?;
        retained::insert(tx, (root, since), &sealed).await?;
    }
    Ok(())
}
