//! The past state of an account, reconstructed from its history.

use std::str::FromStr;

use chrono::{DateTime, Utc};

use crate::ctx::Ctx;
use crate::domain::UnknownName;
use crate::domain::account::{LimitReason, Mode};
use crate::domain::kyc::KycState;
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
    let (mut limited_at, mut limit_reason, mut dormant_at) = (None, LimitReason::NotLimited, None);
    if let Some(it) = mode {
        match recorded::<Mode>(&it.to_code)? {
            Mode::Limited => (limited_at, limit_reason) = (Some(it.at), recorded(&it.reason)?),
            Mode::Dormant => dormant_at = Some(it.at),
            Mode::Normal => {}
        }
    }
    // A reason counts once, whether it is the account's own or its root's.
    told.sort_by_key(|it| it.as_str());
    told.dedup();
    let suspensions = told;
    Ok(Account {
        r#type: match r#type {
            Some(it) => recorded(&it.to_code)?,
            None => account.r#type,
        },
        upgraded_at: past(account.upgraded_at),
        kyc_state: match kyc {
            Some(it) => recorded(&it.to_code)?,
            None => KycState::NotSubmitted,
        },
        limited_at,
        limit_reason,
        dormant_at,
        suspensions,
        closed_at: past(account.closed_at),
        live_at: past(account.live_at),
        ..account.clone()
    })
}

/// A value by its name in the account history.
fn recorded<T: FromStr<Err = UnknownName>>(name: &str) -> Result<T, Error> {
    name.parse().map_err(|_| Error::Stored("account history"))
}
