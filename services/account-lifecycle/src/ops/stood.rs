//! The past state of an account, reconstructed from its history.

use chrono::{DateTime, Utc};

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::accounts::Account;
use crate::store::{Tenant, transitions};

/// The account as it was at an instant.
pub async fn then(ctx: &Ctx, account: &Account, at: DateTime<Utc>) -> Result<Account, Error> {
    let mut tx = ctx.db.begin_as(Tenant::Root(account.root_id)).await?;
    let root = account.root_id;
    let r#type = transitions::last_before(&mut tx, root, "TYPE", at).await?;
    let mode = transitions::last_before(&mut tx, root, "MODE", at).await?;
    let mut told = transitions::suspensions(&mut tx, account.account_id, at).await?;
    if root != account.account_id {
        told.extend(transitions::suspensions(&mut tx, root, at).await?);
    }
    let kyc = transitions::last_before(&mut tx, root, "KYC", at).await?;
    tx.commit().await?;
    let past = |it: Option<DateTime<Utc>>| it.filter(|it| *it <= at);
    let (limited_at, limit_reason, dormant_at) = match mode {
        Some(it) if it.to_code == "LIMITED" => (Some(it.at), it.reason, None),
        Some(it) if it.to_code == "DORMANT" => (None, String::new(), Some(it.at)),
        Some(_) | None => (None, String::new(), None),
    };
    // A reason counts once, whether it is the account's own or its root's.
    told.sort();
    told.dedup();
    let suspensions = told;
    Ok(Account {
        r#type: r#type.map_or_else(|| account.r#type.clone(), |it| it.to_code),
        upgraded_at: past(account.upgraded_at),
        kyc_state: kyc.map_or_else(|| "NOT_SUBMITTED".to_owned(), |it| it.to_code),
        limited_at,
        limit_reason,
        dormant_at,
        suspensions,
        closed_at: past(account.closed_at),
        live_at: past(account.live_at),
        ..account.clone()
    })
}
