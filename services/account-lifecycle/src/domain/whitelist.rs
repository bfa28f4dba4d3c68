//! The numbers that a trial may call and text, each verified by a code sent to it (REQ-110).

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use uuid::Uuid;

/// How long a verification code is valid.
pub const CODE_LASTS: TimeDelta = TimeDelta::minutes(10);
/// Codes sent to one number within 24 hours.
const CODES_MAX: i32 = 5;
/// Wrong attempts accepted per code.
const WRONG_MAX: i32 = 5;

/// A whitelisted number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Root account.
    pub root_id: Uuid,
    /// The account that added it.
    pub account_id: Uuid,
    /// Whitelist entry id.
    pub number_id: Uuid,
    /// Phone number, E.164.
    pub number: String,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// SHA-256 of `number_id` and the code sent last.
    pub code_digest: Vec<u8>,
    /// Expiry of that code.
    pub code_expires_at: DateTime<Utc>,
    /// Start of the 24 hours in which codes are counted.
    pub codes_since: DateTime<Utc>,
    /// Codes sent since `codes_since`.
    pub codes_sent: i32,
    /// Wrong attempts for the code sent last.
    pub codes_wrong: i32,
    /// When the number was verified; `None` before.
    pub verified_at: Option<DateTime<Utc>>,
}

/// State of a whitelisted number. It is not stored, but follows from `verified_at`; a number that is removed has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waits for the code that was sent to it.
    Pending,
    /// Verified by a code.
    Verified,
}

/// What happens to a whitelisted number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A new code is sent to it.
    CodeSent,
    /// A code is given that does not match.
    WrongCodeGiven,
    /// The right code is given in time.
    RightCodeGiven,
}

/// The state of a number after an event; `None` if the event can't happen in this state.
pub const fn after(state: State, event: Event) -> Option<State> {
    match (state, event) {
        (State::Pending, Event::CodeSent | Event::WrongCodeGiven) => Some(State::Pending),
        (State::Pending, Event::RightCodeGiven) => Some(State::Verified),
        (State::Verified, Event::CodeSent | Event::WrongCodeGiven | Event::RightCodeGiven) => None,
    }
}

/// Why a code is not sent or not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CodeRefused {
    /// The number is already verified.
    #[error("the number is already verified")]
    Verified,
    /// The daily limit of codes is reached.
    #[error("too many codes were sent in the last 24 hours; try again later")]
    Limit,
    /// The code does not match.
    #[error("the code is wrong")]
    Wrong,
    /// The code has expired.
    #[error("the code has expired; request a new one")]
    Expired,
    /// Too many wrong attempts for this code.
    #[error("too many wrong attempts; request a new code")]
    Blocked,
}

/// The digest under which a code is stored.
pub fn digest(number_id: Uuid, code: &str) -> Vec<u8> {
    Sha256::new()
        .chain_update(number_id)
        .chain_update(code)
        .finalize()
        .to_vec()
}

impl Listed {
    /// The state.
    pub const fn state(&self) -> State {
        match self.verified_at {
            Some(_) => State::Verified,
            None => State::Pending,
        }
    }

    /// The entry added to the whitelist again, with a code. Codes sent before still count.
    ///
    /// # Errors
    /// `Limit` if the number has had its codes for the day.
    pub fn added_again(
        &self,
        last: &Self,
        code: &str,
        now: DateTime<Utc>,
    ) -> Result<Self, CodeRefused> {
        let counted = Self {
            codes_since: last.codes_since,
            codes_sent: last.codes_sent,
            ..self.clone()
        };
        counted.sent(code, now)
    }

    /// The entry with a new code, which replaces the previous one.
    ///
    /// # Errors
    /// `Verified`, or `Limit` if the number has had its codes for the day.
    pub fn sent(&self, code: &str, now: DateTime<Utc>) -> Result<Self, CodeRefused> {
        after(self.state(), Event::CodeSent).ok_or(CodeRefused::Verified)?;
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

    /// The entry after a code is given, and the outcome: it is verified, or one more wrong attempt is counted.
    pub fn given(&self, code: &str, now: DateTime<Utc>) -> (Self, Result<(), CodeRefused>) {
        let event = if digest(self.number_id, code) == self.code_digest {
            Event::RightCodeGiven
        } else {
            Event::WrongCodeGiven
        };
        let mut next = self.clone();
        let outcome = match after(self.state(), event) {
            None => Err(CodeRefused::Verified),
            Some(_) if self.code_expires_at <= now => Err(CodeRefused::Expired),
            Some(_) if WRONG_MAX <= self.codes_wrong => Err(CodeRefused::Blocked),
            Some(State::Verified) => {
                next.verified_at = Some(now);
                Ok(())
            }
            Some(State::Pending) => {
                next.codes_wrong += 1;
                Err(CodeRefused::Wrong)
            }
        };
        (next, outcome)
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
    fn what_each_event_makes_of_each_state() {
        let events = [
            Event::CodeSent,
            Event::WrongCodeGiven,
            Event::RightCodeGiven,
        ];
        let (pending, verified) = (Some(State::Pending), Some(State::Verified));
        for (state, expected) in [
            (State::Pending, [pending, pending, verified]),
            (State::Verified, [None; 3]),
        ] {
            assert_eq!(
                events.map(|event| after(state, event)),
                expected,
                "{state:?}"
            );
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
        let again = listed("111111").added_again(&last, "111111", now).unwrap();
        assert_eq!(again.codes_sent, CODES_MAX);
        let more = listed("222222").added_again(&again, "222222", now);
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
