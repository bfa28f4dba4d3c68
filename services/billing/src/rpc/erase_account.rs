//! `BillingService.EraseAccount`

use chassis::{Call, Unit, wire};
use chrono::{DateTime, Months, Utc};
use proto::billing::v1 as pb;
use sqlx::PgConnection;
use uuid::Uuid;
use values::{AccountId, RefundId};

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::seal;
use crate::store::retained::{self, Kept};
use crate::store::{accounts, closings, collections, ledger, recipients, refunds, usage};

/// Records of usage that are deleted in one transaction.
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
    let settled = closing.filter(|it| it.state == "SETTLED");
    if whole && settled.is_none() {
        return Err(Error::AccountNotClosed(id));
    }
    let only = (!whole).then_some(account.account_id);
    while 0 < usage::erase(&mut db, (root, only), BATCH).await? {}
    drop(db);
    chassis::forget_all_answers(&ctx).await?;
    let years = ctx.active_catalogue().await?.invoice_retention_years;

    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    let tx = &mut unit.tx;
    ledger::lock(tx, &[root]).await?;
    let mut erased = vec!["usage, record by record".to_owned()];
    let mut kept = vec!["usage summed by month: what invoices were computed from".to_owned()];
    if let Some(closing) = settled.filter(|_| whole) {
        usage::erase_days(tx, root).await?;
        collections::erase(tx, root).await?;
        chassis::forget_audit_key::<Ctx>(tx, root).await?;
        keep_recipients(tx, (root, closing.close_at), years).await?;
        erased.push("usage summed by day".to_owned());
        erased.push("whom invoices go to".to_owned());
        erased.push("the key of the audit's hashes".to_owned());
        erased.push("pages of payments that waited for their payer".to_owned());
        let books = "the ledger, invoices, credit notes and refunds, by account id, with the reasons noted on them";
        kept.push(books.to_owned());
        if let Some(key) = retained::key(tx, root).await? {
            let until = key.destroy_at.date_naive();
            kept.push(format!(
                "whom its invoices went to, sealed, as the law asks: until {until}"
            ));
        }
        for refund in refunds::open_of(tx, root).await? {
            let refund = RefundId::from_uuid(refund);
            kept.push(format!("refund {refund}, under way"));
        }
    }
    erased.push("answers to requests".to_owned());
    Ok(unit
        .commit(pb::EraseAccountResponse { erased, kept })
        .await?)
}

/// Seals whom invoices went to for as long as the law asks.
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
    let kept = Kept {
        key: seal::new_key()
            .map_err(|_| Error::Stored("a key"))?
            .to_vec(),
        destroy_at: closed_at
            .checked_add_months(Months::new(months))
            .unwrap_or(closed_at),
    };
    retained::insert_key(tx, root, &kept).await?;
    for (since, recipient) in recipients {
        let sealed = seal::sealed(&kept.key, (root, since), &recipient)
            .map_err(|_| Error::Stored("a sealed text"))?;
        retained::insert(tx, (root, since), &sealed).await?;
    }
    Ok(())
}
