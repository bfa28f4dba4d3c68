//! Warns owners before a trial or a plan ends, and before paid credit expires (REQ-125).

use chrono::{DateTime, Utc};
use uuid::Uuid;
use values::AccountId;

use crate::ctx::Ctx;
use crate::domain::account::LimitReason;
use crate::domain::notice::Kind;
use crate::error::Error;
use crate::ops::notify::{self, News};
use crate::store::Tenant;
use crate::store::accounts::{self, Account};

/// Runs one round; returns how many accounts it processed.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let due = async |limit| {
        let mut tx = ctx.db.begin_as(Tenant::All).await?;
        let due = accounts::to_warn(&mut tx, now, limit).await?;
        tx.commit().await?;
        Ok::<_, Error>(due)
    };
    let one = async |root: &Uuid| warn(ctx, *root, now).await;
    super::queue(ctx, "warn_owners").work(ctx, due, one).await
}

async fn warn(ctx: &Ctx, root: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
    // The warning of expiring credit is sent only if there is credit left.
    let balance = ctx.balance(root, None).await?;
    let mut tx = ctx.db.begin_as(Tenant::Root(root)).await?;
    accounts::lock(&mut tx, root).await?;
    let account = accounts::get(&mut tx, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    let ends = accounts::take_warnings(&mut tx, root, now).await?;
    if let Some(at) = ends.limited_at {
        let (kind, fact) = match account.limit_reason {
            LimitReason::TrialExpired => (Kind::TrialEnding, "trial_end_time"),
            LimitReason::NotLimited | LimitReason::Cancelled | LimitReason::RenewalFailed => {
                (Kind::PlanEnding, "plan_end_time")
            }
        };
        tell(&mut tx, &account, (kind, fact, at), now).await?;
    }
    if let Some(at) = ends.credit_lapse_at.filter(|_| 0 < balance) {
        let what = (Kind::CreditExpiring, "credit_expire_time", at);
        tell(&mut tx, &account, what, now).await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn tell(
    db: &mut chassis::PgConnection,
    account: &Account,
    (kind, fact, at): (Kind, &'static str, DateTime<Utc>),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let id = AccountId::from_uuid(account.root_id);
    let news = News {
        kind,
        event: format!("{} {id} {}", kind.as_str(), at.timestamp_micros()),
        facts: vec![(fact, at.to_rfc3339())],
        invoice: None,
    };
    notify::owner(db, account, &news, now).await
}
