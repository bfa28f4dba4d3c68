//! The numbers that a trial may call and text, once the code sent to each has come back (REQ-110).

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use uuid::Uuid;

/// How long a code can be given back.
pub const CODE_LASTS: TimeDelta = TimeDelta::minutes(10);
/// Codes that are sent to one number within a day.
const CODES_MAX: i32 = 5;
/// Wrong codes that are taken for one that was sent.
const WRONG_MAX: i32 = 5;

/// A number on the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its root account.
    pub root_id: Uuid,
    /// The account that added it.
    pub account_id: Uuid,
    /// Its id.
    pub number_id: Uuid,
    /// The number, E.164.
    pub number: String,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// SHA-256 of its id and the code sent last.
    pub code_digest: Vec<u8>,
    /// Until when that can be given back.
    pub code_expires_at: DateTime<Utc>,
    /// Since when codes are counted.
    pub codes_since: DateTime<Utc>,
    /// Codes sent since then.
    pub codes_sent: i32,
    /// Wrong codes given back for the last.
    pub codes_wrong: i32,
    /// When its code came back.
    pub verified_at: Option<DateTime<Utc>>,
}

/// Why a code is neither sent nor taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CodeRefused {
    /// It has come back before.
    #[error("the number is verified")]
    Verified,
    /// As many as may be were sent within a day.
    #[error("no more codes are sent to this number today")]
    Limit,
    /// It is another one.
    #[error("the code is wrong")]
    Wrong,
    /// It came back too late.
    #[error("the code has expired: ask for a new one")]
    Expired,
    /// Too many wrong ones came before.
    #[error("too many wrong codes: ask for a new one")]
    Blocked,
}

/// What is kept of a code.
pub fn digest(number_id: Uuid, code: &str) -> Vec<u8> {
    Sha256::new()
        .chain_update(number_id)
        .chain_update(code)
        .finalize()
        .to_vec()
}

impl Listed {
    /// Added to the list again, with a code: what was sent and guessed before still counts.
    ///
    /// # Errors
    /// When the number had its codes for today.
    pub fn after(&self, last: &Self, code: &str, now: DateTime<Utc>) -> Result<Self, CodeRefused> {
        let counted = Self {
            codes_since: last.codes_since,
            codes_sent: last.codes_sent,
            ..self.clone()
        };
        counted.sent(code, now)
    }

    /// With a new code; the one before is void.
    ///
    /// # Errors
    /// When it is verified, or had its codes for today.
    pub fn sent(&self, code: &str, now: DateTime<Utc>) -> Result<Self, CodeRefused> {
        if self.verified_at.is_some() {
            return Err(CodeRefused::Verified);
        }
        let today = now < self.codes_since + TimeDelta::days(1);
        if today && CODES_MAX <= self.codes_sent {
            return Err(CodeRefused::Limit);
        }
        Ok(Self {
            code_digest: digest(self.number_id, code),
            code_expires_at: now + CODE_LASTS,
            codes_since: if today { self.codes_since } else { now },
            codes_sent: if today { self.codes_sent + 1 } else { 1 },
            codes_wrong: 0,
            ..self.clone()
        })
    }

    /// With the code given back: verified, or one more wrong one counted, and why.
    pub fn given(&self, code: &str, now: DateTime<Utc>) -> (Self, Result<(), CodeRefused>) {
        let mut next = self.clone();
        let told = if self.verified_at.is_some() {
            Err(CodeRefused::Verified)
        } else if self.code_expires_at <= now {
            Err(CodeRefused::Expired)
        } else if WRONG_MAX <= self.codes_wrong {
            Err(CodeRefused::Blocked)
        } else if digest(self.number_id, code) == self.code_digest {
            next.verified_at = Some(now);
            Ok(())
        } else {
            next.codes_wrong += 1;
            Err(CodeRefused::Wrong)
        };
        (next, told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(code: &str) -> Listed {
        let id = Uuid::nil();
        let now = DateTime::UNIX_EPOCH;
        Listed {
            root_id: id,
            account_id: id,
            number_id: id,
            number: "+6598765432".to_owned(),
            created_at: now,
            code_digest: digest(id, code),
            code_expires_at: now + CODE_LASTS,
            codes_since: now,
            codes_sent: 1,
            codes_wrong: 0,
            verified_at: None,
        }
    }

    #[test]
    fn a_code_is_taken_once_in_time_and_not_guessed() {
        let now = DateTime::UNIX_EPOCH;
        let mut it = listed("123456");
        assert_eq!(
            it.given("123456", now + CODE_LASTS).1,
            Err(CodeRefused::Expired)
        );
        for _ in 0..WRONG_MAX {
            let (next, told) = it.given("000000", now);
            assert_eq!(told, Err(CodeRefused::Wrong));
            it = next;
        }
        assert_eq!(it.given("123456", now).1, Err(CodeRefused::Blocked));
        let again = it.sent("654321", now).unwrap();
        assert_eq!(again.given("123456", now).1, Err(CodeRefused::Wrong));
        let (verified, told) = again.given("654321", now);
        assert_eq!((told, verified.verified_at), (Ok(()), Some(now)));
        assert_eq!(verified.given("654321", now).1, Err(CodeRefused::Verified));
        assert_eq!(verified.sent("1", now), Err(CodeRefused::Verified));
    }

    #[test]
    fn a_number_that_is_added_again_has_the_codes_of_before() {
        let now = DateTime::UNIX_EPOCH;
        let mut last = listed("123456");
        for _ in 2..CODES_MAX {
            last = last.sent("654321", now).unwrap();
        }
        let again = listed("111111").after(&last, "111111", now).unwrap();
        assert_eq!(again.codes_sent, CODES_MAX);
        let more = listed("222222").after(&again, "222222", now);
        assert_eq!(more, Err(CodeRefused::Limit));
    }

    #[test]
    fn so_many_codes_are_sent_in_a_day() {
        let now = DateTime::UNIX_EPOCH;
        let mut it = listed("123456");
        for _ in 1..CODES_MAX {
            it = it.sent("654321", now).unwrap();
        }
        assert_eq!(it.sent("1", now), Err(CodeRefused::Limit));
        let tomorrow = now + TimeDelta::days(1);
        assert_eq!(it.sent("1", tomorrow).unwrap().codes_sent, 1);
    }
}
