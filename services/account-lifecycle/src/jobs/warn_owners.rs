//! Warns owners before a trial or a plan ends, and before paid credit expires (REQ-125).

use chrono::{DateTime, Utc};
use uuid::Uuid;
use values::AccountId;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::notify::{self, News};
use crate::store::accounts::{self, Account};
use crate::store::{self, Tenant};

/// How many are looked at in one step.
const BATCH: i64 = 50;

/// Warns of what ends soon; gives of how many accounts.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::All).await?;
    let due = accounts::to_warn(&mut tx, now, BATCH).await?;
    tx.commit().await?;
    let mut warned = 0;
    for root in due {
        match warn(ctx, root, now).await {
            Ok(()) => warned += 1,
            // One that fails must not stop the others.
            Err(error) => {
                tracing::error!(account.id = %root, error = %chassis::Chain(&error), "a warning failed");
            }
        }
    }
    Ok(warned)
}

async fn warn(ctx: &Ctx, root: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
    // Who has no credit left loses none.
    let balance = ctx.balance(root, None).await?;
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(root)).await?;
    accounts::lock(&mut tx, root).await?;
    let account = accounts::get(&mut tx, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    let ends = accounts::take_warnings(&mut tx, root, now).await?;
    if let Some(at) = ends.limited_at {
        let (kind, fact) = if account.limit_reason == "TRIAL_EXPIRED" {
            ("TRIAL_ENDING", "trial_end_time")
        } else {
            ("PLAN_ENDING", "plan_end_time")
        };
        tell(&mut tx, &account, (kind, fact, at), now).await?;
    }
    if let Some(at) = ends.credit_lapse_at.filter(|_| 0 < balance) {
        let what = ("CREDIT_EXPIRING", "credit_expire_time", at);
        tell(&mut tx, &account, what, now).await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn tell(
    db: &mut sqlx::PgConnection,
    account: &Account,
    (kind, fact, at): (&'static str, &'static str, DateTime<Utc>),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let id = AccountId::from_uuid(account.root_id);
    let news = News {
        kind,
        event: format!("{kind} {id} {}", at.timestamp_micros()),
        facts: vec![(fact, at.to_rfc3339())],
        invoice: None,
    };
    notify::owner(db, account, &news, now).await
}
