//! How an account stands, and in which standings a method is open to it (D37).
//!
//! The owner of accounts (account-lifecycle) reports standings to each service, which stores them beside the root
//! account. A unit of work checks the standing in its own transaction, under a lock for which a closing waits: the
//! work either began before the closing, or it is refused.

use std::error::Error;
use std::fmt;

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use tonic::Code;
use uuid::Uuid;
use values::AccountId;

use crate::{FieldError, Owned, PgConnection, Refusal, field_error, wire};

/// A standing of an account. An account can have several at once, for several causes, and has none while it is active
/// without restrictions. An error names the first in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Its data are deleted.
    Erased,
    /// It is closed for ever.
    Closed,
    /// Its closing is in progress.
    Closing,
    /// It is suspended for fraud.
    Fraud,
    /// It is suspended for a breach of terms.
    Terms,
    /// It is suspended by its parent.
    Parent,
    /// It is suspended because its balance is used up.
    Balance,
    /// It is softly closed.
    Dormant,
    /// It has no paid plan any more.
    Limited,
    /// It is a trial account, without a purchase so far.
    Trial,
}

impl Standing {
    /// Every standing.
    pub const ALL: &'static [Self] = &[
        Self::Erased,
        Self::Closed,
        Self::Closing,
        Self::Fraud,
        Self::Terms,
        Self::Parent,
        Self::Balance,
        Self::Dormant,
        Self::Limited,
        Self::Trial,
    ];
    /// The standings of an account that is closing, closed or erased.
    pub const ENDED: &'static [Self] = &[Self::Erased, Self::Closed, Self::Closing];

    /// Its name in tables.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Erased => "ERASED",
            Self::Closed => "CLOSED",
            Self::Closing => "CLOSING",
            Self::Fraud => "FRAUD",
            Self::Terms => "TERMS",
            Self::Parent => "PARENT",
            Self::Balance => "BALANCE",
            Self::Dormant => "DORMANT",
            Self::Limited => "LIMITED",
            Self::Trial => "TRIAL",
        }
    }

    /// The error reason for it.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Erased | Self::Closed | Self::Closing => "ACCOUNT_CLOSED",
            Self::Fraud | Self::Terms | Self::Parent | Self::Balance => "ACCOUNT_SUSPENDED",
            Self::Dormant => "ACCOUNT_DORMANT",
            Self::Limited => "ACCOUNT_LIMITED",
            Self::Trial => "UPGRADE_FIRST",
        }
    }

    /// Its value in the API; a limit is reported by its time instead.
    pub const fn wire(self) -> proto::r#type::v1::Standing {
        use proto::r#type::v1::Standing as Wire;
        match self {
            Self::Erased => Wire::Erased,
            Self::Closed => Wire::Closed,
            Self::Closing => Wire::Closing,
            Self::Fraud => Wire::SuspendedForFraud,
            Self::Terms => Wire::SuspendedForTerms,
            Self::Parent => Wire::SuspendedByParent,
            Self::Balance => Wire::SuspendedForBalance,
            Self::Dormant => Wire::Dormant,
            Self::Limited => Wire::Unspecified,
            Self::Trial => Wire::Trial,
        }
    }

    /// The standing for a number in the API.
    fn of_wire(sent: i32) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|it| *it != Self::Limited && i32::from(it.wire()) == sent)
    }

    /// The standing for a text in the database.
    pub fn of_text(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.text() == text)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// The method is not allowed in the current standing of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("account {account} is {standing}: this is not open to it")]
pub struct NotOpen {
    /// The account.
    pub account: AccountId,
    /// The standing in which the method is refused.
    pub standing: Standing,
}

impl NotOpen {
    /// The error as the caller's program reads it.
    pub fn refusal(&self) -> Refusal {
        Refusal::new(Code::FailedPrecondition, self.standing.reason())
            .with("accountId", self.account)
            .with("standing", self.standing)
    }

    /// Whether this error is among the causes of `error`. Such an error is never stored as the outcome of a request
    /// id, because the account's standing may have changed when the request is retried.
    pub(crate) fn caused(error: &(dyn Error + 'static)) -> bool {
        crate::database::causes(error).any(<dyn Error>::is::<Self>)
    }
}

/// What is kept of how an account stands: all that it stands in, and from when it is limited.
pub type StandsIn = (Vec<String>, Option<DateTime<Utc>>);

/// Refuses where an account stands in one of the standings in which a method is not open; one that is not there stands
/// in nothing.
pub(crate) fn open(
    (account, shut): (Uuid, &[Standing]),
    stands: &StandsIn,
    now: DateTime<Utc>,
) -> Result<(), NotOpen> {
    let (standings, limited_at) = stands;
    let limited = limited_at.filter(|from| *from <= now);
    let stands = standings.iter().filter_map(|it| Standing::of_text(it));
    let stands = stands.chain(limited.map(|_| Standing::Limited));
    let first = stands.filter(|it| shut.contains(it)).min();
    first.map_or(Ok(()), |standing| {
        Err(NotOpen {
            account: AccountId::from_uuid(account),
            standing,
        })
    })
}

/// Refuses where an account stands in one of `shut`. Until the end of the transaction it does not end.
pub(crate) async fn hold(
    db: &mut PgConnection,
    table: &str,
    of: (Uuid, &[Standing]),
    now: DateTime<Utc>,
) -> sqlx::Result<Result<(), NotOpen>> {
    look(db, (table, "FOR KEY SHARE"), of, now).await
}

/// The same check without a lock, for callers that check again.
pub(crate) async fn seen(
    db: &mut PgConnection,
    table: &str,
    of: (Uuid, &[Standing]),
    now: DateTime<Utc>,
) -> sqlx::Result<Result<(), NotOpen>> {
    look(db, (table, ""), of, now).await
}

async fn look(
    db: &mut PgConnection,
    (table, lock): (&str, &str),
    (account, shut): (Uuid, &[Standing]),
    now: DateTime<Utc>,
) -> sqlx::Result<Result<(), NotOpen>> {
    if shut.is_empty() {
        return Ok(Ok(()));
    }
    let row: Option<StandsIn> = sqlx::query_as(AssertSqlSafe(format!(
        "-- {table}.standing
        SELECT standings, limited_at FROM {table} WHERE account_id = $1 {lock}"
    )))
    .bind(account)
    .fetch_optional(db)
    .await?;
    Ok(open((account, shut), &row.unwrap_or_default(), now))
}

/// The standing of an account, as its owner reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldStanding {
    standings: Vec<Standing>,
    limited_at: Option<DateTime<Utc>>,
    revision: i64,
}

impl ToldStanding {
    /// The highest revision; no account changes so often.
    const REVISION_MAX: i64 = 1_000_000_000;

    /// Parses the request's fields.
    pub fn read(
        standings: &[i32],
        limit_time: Option<prost_types::Timestamp>,
        revision: i64,
    ) -> Result<Self, FieldError> {
        if !(1..=Self::REVISION_MAX).contains(&revision) {
            return Err(field_error("revision", "1 to 1000000000"));
        }
        if Standing::ALL.len() < standings.len() {
            return Err(field_error("standings", "each standing once"));
        }
        let read = standings.iter().map(|sent| {
            let read = Standing::of_wire(*sent);
            read.ok_or_else(|| field_error("standings", "standings of an account"))
        });
        Ok(Self {
            standings: read.collect::<Result<_, _>>()?,
            limited_at: wire::optional_instant("limit_time", limit_time)?,
            revision,
        })
    }

    /// Stores a reported standing unless a newer one is stored; `false` if the account does not exist. Closed and
    /// erased are final, and apply to the subaccounts of a root account as well. Waits for units of work that hold
    /// the account.
    ///
    /// The caller must not have locked anything of the account before.
    pub async fn keep<C: Owned>(&self, db: &mut PgConnection, account: Uuid) -> sqlx::Result<bool> {
        hold_account::<C>(db, account).await?;
        let texts: Vec<&str> = self.standings.iter().map(|it| it.text()).collect();
        let table = C::ROOTS;
        sqlx::query(AssertSqlSafe(format!(
            "-- {table}.set_standing
            UPDATE {table} it
            SET standings = ARRAY(SELECT DISTINCT s FROM unnest($2::text[] || it.standings) s
                                  WHERE s = ANY ($2::text[]) OR s IN ('CLOSED', 'ERASED') ORDER BY s),
                limited_at = $3, standing_revision = $4
            WHERE account_id = $1 AND standing_revision < $4"
        )))
        .bind(account)
        .bind(&texts)
        .bind(self.limited_at)
        .bind(self.revision)
        .execute(&mut *db)
        .await?;
        for ended in [Standing::Closed, Standing::Erased] {
            if self.standings.contains(&ended) {
                end_account::<C>(db, account, ended).await?;
            }
        }
        let there: Option<(Uuid,)> = sqlx::query_as(AssertSqlSafe(format!(
            "-- {table}.is_there\nSELECT account_id FROM {table} WHERE account_id = $1"
        )))
        .bind(account)
        .fetch_optional(db)
        .await?;
        Ok(there.is_some())
    }
}

/// Waits for units of work that hold an account, and blocks new ones until the transaction ends.
///
/// The caller must not have locked anything of the account before, since a holder may be waiting for that lock.
pub async fn hold_account<C: Owned>(db: &mut PgConnection, account: Uuid) -> sqlx::Result<()> {
    let table = C::ROOTS;
    sqlx::query(AssertSqlSafe(format!(
        "-- {table}.hold_account\nSELECT account_id FROM {table} WHERE account_id = $1 FOR UPDATE"
    )))
    .bind(account)
    .execute(db)
    .await?;
    Ok(())
}

/// Records that an account, and the subaccounts of a root account, are closed or erased.
pub async fn end_account<C: Owned>(
    db: &mut PgConnection,
    account: Uuid,
    ended: Standing,
) -> sqlx::Result<()> {
    let table = C::ROOTS;
    sqlx::query(AssertSqlSafe(format!(
        "-- {table}.end_account
        UPDATE {table} it SET standings = ARRAY(SELECT DISTINCT s FROM unnest(it.standings || $2::text) s ORDER BY s)
        WHERE (account_id = $1 OR root_id = $1 AND root_id <> account_id) AND NOT $2::text = ANY (it.standings)"
    )))
    .bind(account)
    .bind(ended.text())
    .execute(db)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_standing_has_its_name_and_all_but_the_dated_one_their_number() {
        for standing in Standing::ALL {
            assert_eq!(Standing::of_text(standing.text()), Some(*standing));
            let read = Standing::of_wire(i32::from(standing.wire()));
            assert_eq!(read, (*standing != Standing::Limited).then_some(*standing));
        }
        assert_eq!(Standing::of_text("ACTIVE"), None);
        assert!(Standing::ALL.is_sorted());
    }

    #[test]
    fn what_is_told_reads_or_names_its_field() {
        let trial = [i32::from(Standing::Trial.wire())];
        let told = ToldStanding::read(&trial, None, 1).unwrap();
        assert_eq!(told.standings, [Standing::Trial]);
        let field = |standings: &[i32], revision| {
            let read = ToldStanding::read(standings, None, revision);
            read.unwrap_err().field
        };
        assert_eq!(field(&trial, 0), "revision");
        assert_eq!(field(&trial, i64::MAX), "revision");
        assert_eq!(field(&[0], 1), "standings");
        assert_eq!(field(&[999], 1), "standings");
        assert_eq!(field(&[trial[0]; 11], 1), "standings");
    }

    #[test]
    fn a_refusal_is_found_among_the_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Outer(#[from] NotOpen);
        let not_open = NotOpen {
            account: AccountId::new(),
            standing: Standing::Closing,
        };
        assert!(NotOpen::caused(&Outer(not_open)));
        assert!(!NotOpen::caused(&sqlx::Error::RowNotFound));
        assert_eq!(not_open.refusal().reason, "ACCOUNT_CLOSED");
    }
}
