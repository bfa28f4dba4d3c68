//! Limits of accounts: from when, why, and what history tells of them (C-22, D13).

use chassis::wire;
use chrono::{DateTime, TimeDelta, Utc};
use proto::plan::v1 as plan;
use sqlx::PgConnection;
use uuid::Uuid;
use values::AccountId;

use super::history::{self, Told};
use super::notify::{self, News};
use crate::error::Error;
use crate::store::{accounts, closings};

/// Why a subscription's end limits an account: its owner cancelled it.
const CANCELLED: &str = "CANCELLED";
/// Why a subscription's end limits an account: its renewal could not be paid.
const RENEWAL_FAILED: &str = "RENEWAL_FAILED";

/// Tells of the limit of a root account that has begun by `now`; of its paid credit, which expires so many days
/// later, where it does.
pub async fn begun(
    db: &mut PgConnection,
    root: Uuid,
    lapse_days: i64,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    accounts::lock(db, root).await?;
    let account = accounts::get(db, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    let Some(from) = account.limited_at.filter(|from| *from <= now) else {
        return Ok(());
    };
    if accounts::is_limit_told(db, root).await? {
        return Ok(());
    }
    // Dormant, it stays so: what it is when it returns is told then.
    if account.dormant_at.is_some() {
        return Ok(accounts::set_limit_told(db, root).await?);
    }
    let told = Told {
        state: "MODE",
        name: "LIMITED",
        change: ("NORMAL", "LIMITED"),
        actor: "service:account-lifecycle",
        reason: &account.limit_reason,
        resource: "",
    };
    history::tell(db, (root, root), &told, from).await?;
    let mut facts = vec![("reason", account.limit_reason.clone())];
    // Told before it does (REQ-125).
    if let Some(lapse) = TimeDelta::try_days(lapse_days).filter(|_| 0 < lapse_days)
        && account.r#type == "FULL"
    {
        let at = from + lapse;
        accounts::set_lapse(db, root, at).await?;
        facts.push(("credit_expire_time", at.to_rfc3339()));
    }
    let news = News {
        kind: "LIMITED",
        event: format!(
            "limited {} {}",
            AccountId::from_uuid(root),
            from.timestamp_micros()
        ),
        facts,
        invoice: None,
    };
    notify::owner(db, &account, &news, from).await?;
    Ok(accounts::set_limit_told(db, root).await?)
}

/// Takes notice of how the timeline of a root account ends: with the end of a subscription it is limited,
/// and no more when that goes on.
pub async fn follow(
    db: &mut PgConnection,
    root: Uuid,
    segments: &[plan::Segment],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let Some(last) = segments
        .last()
        .filter(|it| !it.billing_cycle_code.is_empty())
    else {
        return Ok(());
    };
    let end = wire::optional_instant("end_time", last.end_time);
    let end = end.map_err(|_| Error::Stored("segment of plan"))?;
    accounts::lock(db, root).await?;
    // What a closing ends needs no limit.
    if closings::get(db, root).await?.is_some() {
        return Ok(());
    }
    let account = accounts::get(db, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    match (end, account.limited_at) {
        (Some(end), known) if known != Some(end) => {
            // Who cancels is served until the period ends; who does not pay ends at once.
            let reason = if now < end { CANCELLED } else { RENEWAL_FAILED };
            accounts::set_limit(db, root, Some((end, reason))).await?;
        }
        (None, Some(from)) if account.limit_reason != "TRIAL_EXPIRED" => {
            lifted(db, (root, from), "service:account-lifecycle", now).await?;
            accounts::set_limit(db, root, None).await?;
        }
        _ => {}
    }
    Ok(())
}

/// Tells that a limit that began at `from` is lifted, where it had begun.
pub async fn lifted(
    db: &mut PgConnection,
    (root, from): (Uuid, DateTime<Utc>),
    actor: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if now < from {
        return Ok(());
    }
    begun(db, root, 0, now).await?;
    let told = Told {
        state: "MODE",
        name: "RESTORED",
        change: ("LIMITED", "NORMAL"),
        actor,
        reason: "",
        resource: "",
    };
    Ok(history::tell(db, (root, root), &told, now).await?)
}
