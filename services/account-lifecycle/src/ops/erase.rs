//! Deletion of a closed account's data (REQ-047, D24). The other services erase their parts first; this service then
//! erases its own and stores a receipt of all. Every part is idempotent.

use chassis::{PgConnection, crash_point};
use serde_json::{Value, json};
use uuid::Uuid;

use super::history::{self, Told};
use super::tell_standing;
use crate::ctx::Ctx;
use crate::domain::account::Status;
use crate::error::Error;
use crate::personal::PLACES;
use crate::store::closings::Receipt;
use crate::store::{Tenant, accounts, closings, members, payout_details};

/// Actor of the deletion in the account history.
const ACTOR: &str = "service:account-lifecycle";

/// Deletes the data of an account whose retention has ended.
pub async fn all(ctx: &Ctx, account: Uuid) -> Result<(), Error> {
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let closing = closings::get(&mut tx, account).await?;
    tx.commit().await?;
    let Some(root) = closing
        .filter(|it| it.erased_at.is_none())
        .map(|it| it.root_id)
    else {
        return Ok(());
    };
    crash_point("erase.taken");
    let mut parts = Vec::new();
    let today = ctx.clock.now().await?.date_naive();
    for (service, lines) in ctx.erase_elsewhere(account, today).await? {
        let at = ctx.clock.now().await?;
        parts.push(json!({"service": service, "erased": lines.0, "kept": lines.1, "at": at}));
    }
    crash_point("erase.elsewhere");
    chassis::forget_all_answers(ctx).await?;
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin_as(Tenant::Root(root)).await?;
    accounts::lock(&mut tx, root).await?;
    let closing = closings::get(&mut tx, account)
        .await?
        .ok_or(Error::Stored("closing"))?;
    let (ids, (erased, kept)) = erased_here(&mut tx, (root, account)).await?;
    parts.push(json!({"service": "account-lifecycle", "erased": erased, "kept": kept, "at": now}));
    let receipt = Receipt {
        account_id: account,
        close_at: closing.close_at,
        erased_at: now,
        erased_ids: ids.clone(),
        parts: Value::Array(parts),
    };
    if closings::set_erased(&mut tx, &receipt).await? {
        for id in &ids {
            let told = Told {
                state: "STATUS",
                name: "ERASED",
                change: (Status::Closed.as_str(), Status::Closed.as_str()),
                actor: ACTOR,
                reason: "",
                resource: "",
            };
            history::tell(&mut tx, (root, *id), &told, now).await?;
        }
    }
    chassis::erase_places::<Ctx>(&mut tx, PLACES, (root, &ids)).await?;
    tx.commit().await?;
    crash_point("erase.done");
    tell_standing::soon(ctx, root).await;
    Ok(())
}

/// The accounts erased, with what was erased and what is kept.
type Erased = (Vec<Uuid>, (Vec<&'static str>, Vec<&'static str>));

/// Erases what the table of personal data does not cover, of an account and, for a root, of its subaccounts. Returns
/// the lines of the receipt.
async fn erased_here(
    tx: &mut PgConnection,
    (root, account): (Uuid, Uuid),
) -> Result<Erased, Error> {
    let ids = accounts::with_subaccounts(tx, account).await?;
    let mut erased = vec![
        "names",
        "numbers, flows, keys, settings and all other resources",
        "whitelisted numbers",
        "the numbers that it ordered",
        "the subjects of its tickets",
        "notifications, with addresses",
        "notes in its history",
        "stored responses to requests",
    ];
    let mut kept = vec![
        "the account's id, its states and its orders, with their dates",
        "the owner's login, which belongs to a person and not to the account",
    ];
    if root == account {
        let owner = accounts::get(tx, root)
            .await?
            .ok_or(Error::Stored("account"))?
            .owner_id;
        members::erase(tx, root, owner).await?;
        // A job erases the payout details after the last refund.
        if payout_details::get(tx, root).await?.is_some() {
            kept.push("payout details of refunds in progress, encrypted");
        }
        erased.extend([
            "billing details",
            "KYC submissions, with names and documents",
            "DLT registrations",
            "the roles of its members, except the owner",
            "the key of the audit's hashes",
        ]);
    }
    Ok((ids, (erased, kept)))
}
