//! Limits of accounts: when they begin, why, and how the account history records them (C-22, D13).

use chassis::{PgConnection, wire};
use chrono::{DateTime, TimeDelta, Utc};
use proto::plan::v1 as plan;
use uuid::Uuid;
use values::AccountId;

use super::history::{self, Told};
use super::notify::{self, News};
use crate::domain::account::{AccountType, LimitReason, Mode};
use crate::domain::notice::Kind;
use crate::error::Error;
use crate::store::{accounts, closings};

/// Records the limit of a root account that has begun by `now`, and notifies its owner. If `lapse_days` is positive,
/// also sets when the paid credit of a full account expires, that many days later.
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
    // The account stays dormant. Its mode is recorded when it returns to service.
    if account.dormant_at.is_some() {
        return Ok(accounts::set_limit_told(db, root).await?);
    }
    let told = Told {
        state: "MODE",
        name: "LIMITED",
        change: (Mode::Normal.as_str(), Mode::Limited.as_str()),
        actor: "service:account-lifecycle",
        reason: account.limit_reason.as_str(),
        resource: "",
    };
    history::tell(db, (root, root), &told, from).await?;
    let mut facts = vec![("reason", account.limit_reason.as_str().to_owned())];
    // The owner must be told before the credit expires (REQ-125).
    if let Some(lapse) = TimeDelta::try_days(lapse_days).filter(|_| 0 < lapse_days)
        && account.r#type == AccountType::Full
    {
        let at = from + lapse;
        accounts::set_lapse(db, root, at).await?;
        facts.push(("credit_expire_time", at.to_rfc3339()));
    }
    let news = News {
        kind: Kind::Limited,
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

/// Updates the limit of a root account from the end of its timeline: the limit begins when the subscription ends, and
/// is lifted if the subscription continues.
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
    // A closing account needs no limit.
    if closings::get(db, root).await?.is_some() {
        return Ok(());
    }
    let account = accounts::get(db, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    match (end, account.limited_at) {
        (Some(end), known) if known != Some(end) => {
            // A cancelled subscription runs to the end of the paid period; an unpaid one ends at once. The cancellation
            // of an unpaid period moves the recorded end to an earlier instant.
            let noted =
                account.limit_reason == LimitReason::Cancelled && known.is_some_and(|at| now < at);
            let reason = if now < end || noted {
                LimitReason::Cancelled
            } else {
                LimitReason::RenewalFailed
            };
            accounts::set_limit(db, root, Some((end, reason))).await?;
        }
        (None, Some(from)) if account.limit_reason != LimitReason::TrialExpired => {
            lifted(db, (root, from), "service:account-lifecycle", now).await?;
            accounts::set_limit(db, root, None).await?;
        }
        _ => {}
    }
    Ok(())
}

/// Corrects the limit reason of a root account: the subscription was ended by its owner.
pub async fn cancelled(db: &mut PgConnection, root: Uuid) -> Result<(), Error> {
    let account = accounts::get(db, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    if let Some(at) = account
        .limited_at
        .filter(|_| account.limit_reason == LimitReason::RenewalFailed)
    {
        accounts::set_limit(db, root, Some((at, LimitReason::Cancelled))).await?;
    }
    Ok(())
}

/// Records that a limit which began at `from` is lifted; nothing if it had not begun by `now`.
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
        change: (Mode::Limited.as_str(), Mode::Normal.as_str()),
        actor,
        reason: "",
        resource: "",
    };
    Ok(history::tell(db, (root, root), &told, now).await?)
}
