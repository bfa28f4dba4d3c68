//! The change of a user's e-mail address, which takes effect once a code that was mailed to the new one comes back.

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::whitelist::CodeRefused;

/// How long a code is valid.
pub const CODE_LASTS: TimeDelta = TimeDelta::hours(24);
/// Codes mailed for one user within 24 hours, whatever the addresses.
const CODES_MAX: i32 = 5;
/// Wrong attempts accepted per code.
const WRONG_MAX: i32 = 5;

/// A change of address that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailChange {
    /// The user.
    pub user_id: Uuid,
    /// The new address.
    pub email: String,
    /// SHA-256 of `user_id` and the code sent last.
    pub code_digest: Vec<u8>,
    /// Expiry of that code.
    pub code_expires_at: DateTime<Utc>,
    /// Start of the 24 hours in which codes are counted.
    pub codes_since: DateTime<Utc>,
    /// Codes sent since `codes_since`.
    pub codes_sent: i32,
    /// Wrong attempts for the code sent last.
    pub codes_wrong: i32,
    /// When the address was confirmed; `None` before.
    pub confirmed_at: Option<DateTime<Utc>>,
}

/// The digest under which a code is stored.
fn digest(user_id: Uuid, code: &str) -> Vec<u8> {
    Sha256::new()
        .chain_update(user_id)
        .chain_update(code)
        .finalize()
        .to_vec()
}

impl EmailChange {
    /// A change to `email` with a code, which replaces the change and the code before. Codes sent before still count.
    ///
    /// # Errors
    /// `Limit` if the user has had their codes for the day.
    pub fn asked(
        last: Option<&Self>,
        (user_id, email): (Uuid, &str),
        code: &str,
        now: DateTime<Utc>,
    ) -> Result<Self, CodeRefused> {
        let counted = last.filter(|it| now < it.codes_since + TimeDelta::days(1));
        let (codes_since, sent) = counted.map_or((now, 0), |it| (it.codes_since, it.codes_sent));
        if CODES_MAX <= sent {
            return Err(CodeRefused::Limit);
        }
        Ok(Self {
            user_id,
            email: email.to_owned(),
            code_digest: digest(user_id, code),
            code_expires_at: now + CODE_LASTS,
            codes_since,
            codes_sent: sent + 1,
            codes_wrong: 0,
            confirmed_at: None,
        })
    }

    /// The change after a code is given, and the outcome: it is confirmed, or one more wrong attempt is counted. A code
    /// that was used is as good as expired.
    pub fn given(&self, code: &str, now: DateTime<Utc>) -> (Self, Result<(), CodeRefused>) {
        let mut next = self.clone();
        let told = if self.confirmed_at.is_some() || self.code_expires_at <= now {
            Err(CodeRefused::Expired)
        } else if WRONG_MAX <= self.codes_wrong {
            Err(CodeRefused::Blocked)
        } else if digest(self.user_id, code) == self.code_digest {
            next.confirmed_at = Some(now);
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

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    /// A change asked for after `last`.
    ///
    /// # Errors
    /// As of `EmailChange::asked`.
    fn asked(last: Option<&EmailChange>, code: &str) -> Result<EmailChange, CodeRefused> {
        EmailChange::asked(last, (Uuid::nil(), "new@example.com"), code, NOW)
    }

    #[test]
    fn a_code_confirms_once_within_a_day_and_is_not_guessed() {
        let mut it = asked(None, "good").unwrap();
        assert!(!it.code_digest.windows(4).any(|part| part == b"good"));
        let late = it.given("good", NOW + CODE_LASTS);
        assert_eq!(late, (it.clone(), Err(CodeRefused::Expired)));
        let (confirmed, told) = it.given("good", NOW + CODE_LASTS - TimeDelta::seconds(1));
        assert_eq!(told, Ok(()));
        assert!(confirmed.confirmed_at.is_some());
        let again = confirmed.given("good", NOW);
        assert_eq!(again, (confirmed, Err(CodeRefused::Expired)));
        for _ in 0..WRONG_MAX {
            let (next, told) = it.given("bad", NOW);
            assert_eq!(told, Err(CodeRefused::Wrong));
            it = next;
        }
        assert_eq!(it.given("good", NOW).1, Err(CodeRefused::Blocked));
    }

    #[test]
    fn a_newer_request_replaces_the_code_and_counts_on() {
        let mut it = asked(None, "1").unwrap();
        for code in ["2", "3", "4", "5"] {
            let before = it.clone();
            it = asked(Some(&before), code).unwrap();
            assert_eq!(it.given("1", NOW).1, Err(CodeRefused::Wrong));
            assert_eq!(it.given(code, NOW).1, Ok(()));
        }
        assert_eq!(asked(Some(&it), "6"), Err(CodeRefused::Limit));
        // A change that is confirmed does not count anew.
        let (confirmed, _) = it.given("5", NOW);
        assert_eq!(asked(Some(&confirmed), "6"), Err(CodeRefused::Limit));
        let of = (Uuid::nil(), "new@example.com");
        let tomorrow = EmailChange::asked(Some(&it), of, "6", NOW + TimeDelta::days(1));
        assert_eq!(tomorrow.unwrap().codes_sent, 1);
    }
}
