//! Deleting what a closed account has (REQ-047, D24): the other services erase their parts, then this one its own,
//! and keeps a receipt of all. Each part may be done again and is then the same.

use chassis::crash_point;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::history::{self, Told};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::closings::Receipt;
use crate::store::{
    self, Tenant, accounts, billing_details, closings, dlt_registrations, kyc_submissions, members,
    notifications, orders, resources, tickets, transitions, whitelisted_numbers,
};

/// Who tells of it in the history.
const ACTOR: &str = "service:account-lifecycle";

/// Deletes the data of one account whose time has come; gives whether there was one.
pub async fn next(ctx: &Ctx) -> Result<bool, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::All).await?;
    let due = closings::take_to_erase(&mut tx, now, ctx.lease_seconds).await?;
    tx.commit().await?;
    let Some((root, account)) = due else {
        return Ok(false);
    };
    crash_point("erase.taken");
    let mut parts = Vec::new();
    for (service, lines) in ctx.erase_elsewhere(account).await? {
        let at = ctx.clock.now().await?;
        parts.push(json!({"service": service, "erased": lines.0, "kept": lines.1, "at": at}));
    }
    crash_point("erase.elsewhere");
    chassis::forget_all_answers(ctx).await?;
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(root)).await?;
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
        for id in ids {
            let told = Told {
                state: "STATUS",
                name: "ERASED",
                change: ("CLOSED", "CLOSED"),
                actor: ACTOR,
                reason: "",
                resource: "",
            };
            history::tell(&mut tx, (root, id), &told, now).await?;
        }
    }
    tx.commit().await?;
    crash_point("erase.done");
    Ok(true)
}

/// The accounts, and what is erased of them and what is kept.
type Erased = (Vec<Uuid>, (Vec<&'static str>, Vec<&'static str>));

/// Erases what this service has of an account, and with a root of its subaccounts.
async fn erased_here(
    tx: &mut PgConnection,
    (root, account): (Uuid, Uuid),
) -> Result<Erased, Error> {
    let ids = accounts::with_subaccounts(tx, account).await?;
    accounts::erase(tx, &ids).await?;
    resources::erase(tx, root, &ids).await?;
    whitelisted_numbers::erase(tx, root, &ids).await?;
    orders::erase(tx, &ids).await?;
    tickets::erase(tx, &ids).await?;
    notifications::erase(tx, &ids).await?;
    transitions::erase(tx, &ids).await?;
    let mut erased = vec![
        "names",
        "numbers, flows, keys, settings and all else that it held",
        "numbers that a trial was allowed to call",
        "which numbers it ordered",
        "what its tickets were about",
        "its mail, with addresses",
        "notes in its history",
        "answers to requests",
    ];
    let kept = vec![
        "that it existed, its states and orders with their dates, by account id",
        "its owner's login, which is of a person and not of an account",
    ];
    if root == account {
        let owner = accounts::get(tx, root)
            .await?
            .ok_or(Error::Stored("account"))?
            .owner_id;
        chassis::forget_audit_key::<Ctx>(tx, root).await?;
        billing_details::erase(tx, root).await?;
        kyc_submissions::erase(tx, root).await?;
        dlt_registrations::erase(tx, root).await?;
        members::erase(tx, root, owner).await?;
        erased.extend([
            "billing details",
            "who was known as a customer, by which documents",
            "registrations for messages",
            "who had a role in it, but for its owner",
            "the key of the audit's hashes",
        ]);
    }
    Ok((ids, (erased, kept)))
}
