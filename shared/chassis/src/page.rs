//! Lists by page: how many, and from where.
//!
//! A page token is a position in one list, sealed so that callers can neither read nor forge it. [`listed`] seals it
//! for the request without its page, so it is valid for the same list only, and a handler sees only positions that it
//! returned itself.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use proto::{Listed, Listing};
use ring::hmac;
use sha2::{Digest as _, Sha256};
use sqlx::AssertSqlSafe;
use tokio::sync::OnceCell;
use tonic::{Response, Status};

use crate::{FieldError, Owned, Refusal, database_status, field_error};

/// How many rows a page holds when the caller does not say.
const DEFAULT_SIZE: i64 = 50;
/// How many it may hold at most.
const MAX_SIZE: i32 = 500;
/// Maximum length of a position.
const MAX_POSITION: usize = 200;
/// Maximum length of a token.
const MAX_TOKEN: usize = 400;
/// Length of the token's authentication tag.
const TAG: usize = 32;

/// Where a page starts: the position that the page before returned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageToken(pub Option<String>);

/// One page of a list, as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// How many rows, 1 to 500.
    pub size: i64,
    /// Where it starts.
    pub token: PageToken,
}

impl Page {
    /// The page that `page_size` and `page_token` ask for.
    pub fn read(page_size: i32, page_token: &str) -> Result<Self, FieldError> {
        let size = match page_size {
            0 => DEFAULT_SIZE,
            1..=MAX_SIZE => i64::from(page_size),
            _ => return Err(field_error("page_size", "0 to 500")),
        };
        if MAX_POSITION < page_token.len() {
            return Err(bad_token());
        }
        let token = (!page_token.is_empty()).then(|| page_token.to_owned());
        Ok(Self {
            size,
            token: PageToken(token),
        })
    }

    /// Cuts rows read with a limit of `size + 1` to the page; gives the last row on it when there are
    /// more.
    pub fn cut<T: Clone>(&self, mut rows: Vec<T>) -> (Vec<T>, Option<T>) {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        if rows.len() <= size {
            return (rows, None);
        }
        rows.truncate(size);
        let last = rows.last().cloned();
        (rows, last)
    }

    /// The position in the token; `read` turns its text into a key.
    pub fn after<T>(&self, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, FieldError> {
        match &self.token.0 {
            None => Ok(None),
            Some(text) => read(text).map(Some).ok_or_else(bad_token),
        }
    }
}

/// The key that seals the page tokens of a service. It is stored in the service's schema, so that all processes share
/// it.
#[derive(Debug, Clone, Default)]
pub struct Pages {
    key: Arc<OnceCell<hmac::Key>>,
}

impl Pages {
    /// The key, read once by each process.
    async fn key<C: Owned>(&self, ctx: &C) -> sqlx::Result<&hmac::Key> {
        let read = async {
            let schema = C::SCHEMA;
            let mut db = ctx.db().acquire().await?;
            let bytes: Vec<u8> = sqlx::query_scalar(AssertSqlSafe(format!(
                "-- {schema}.page_keys.get
                SELECT key FROM {schema}.page_keys"
            )))
            .fetch_one(&mut db)
            .await?;
            Ok::<_, sqlx::Error>(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        };
        self.key.get_or_try_init(|| read).await
    }
}

/// Answers a request for a page: `handle` gets the request with the position from its token; the position in its
/// answer becomes the next token.
pub async fn listed<C, M, R, E, F>(
    ctx: &C,
    mut request: M,
    handle: impl FnOnce(M) -> F + Send,
) -> Result<Response<R>, Status>
where
    C: Owned,
    M: Listing,
    R: Listed,
    E: Into<Status>,
    F: Future<Output = Result<R, E>> + Send,
{
    let key = ctx.pages().key(ctx).await;
    let key = key.map_err(|error| database_status(&error))?;
    let list = list_of(&request);
    let token = request.page_token();
    *token = opened(key, &list, token).map_err(refused)?;
    let mut answer = handle(request).await.map_err(Into::<Status>::into)?;
    let next = answer.next_page_token();
    *next = sealed(key, &list, next);
    Ok(Response::new(answer))
}

/// What identifies a list: the method, and all fields of the request except the page's.
fn list_of<M: Listing>(request: &M) -> [u8; 32] {
    let mut filter = request.clone();
    filter.page_token().clear();
    *filter.page_size() = 0;
    Sha256::new()
        .chain_update(M::NAME)
        .chain_update([0_u8])
        .chain_update(filter.encode_to_vec())
        .finalize()
        .into()
}

/// The token for a position in a list; empty if there is no further page.
fn sealed(key: &hmac::Key, list: &[u8; 32], position: &str) -> String {
    if position.is_empty() {
        return String::new();
    }
    let tag = hmac::sign(key, &[list.as_slice(), position.as_bytes()].concat());
    BASE64_URL_SAFE_NO_PAD.encode([tag.as_ref(), position.as_bytes()].concat())
}

/// The position in a token of this list; empty if there is no token.
fn opened(key: &hmac::Key, list: &[u8; 32], token: &str) -> Result<String, FieldError> {
    if token.is_empty() {
        return Ok(String::new());
    }
    let read = || {
        let bytes = (token.len() <= MAX_TOKEN)
            .then(|| BASE64_URL_SAFE_NO_PAD.decode(token).ok())
            .flatten()?;
        let (tag, position) = bytes.split_at_checked(TAG)?;
        hmac::verify(key, &[list.as_slice(), position].concat(), tag).ok()?;
        String::from_utf8(position.to_vec()).ok()
    };
    read().ok_or_else(bad_token)
}

fn bad_token() -> FieldError {
    field_error(
        "page_token",
        "the next_page_token of an earlier page of the same list",
    )
}

fn refused(fault: FieldError) -> Status {
    let text = format!("{}: expected {}", fault.field, fault.expected);
    Refusal::invalid("INVALID_FIELD")
        .with("field", &fault.field)
        .with_fields(&[fault])
        .into_status("perdiem", text)
}

#[cfg(test)]
mod tests {
    use proto::payments::v1::{ListChargesRequest, ListRefundsRequest};

    use super::*;

    fn key(byte: u8) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32])
    }

    fn charges(account: &str, size: i32) -> [u8; 32] {
        list_of(&ListChargesRequest {
            account_id: account.to_owned(),
            page_size: size,
            page_token: format!("of {size}"),
            ..ListChargesRequest::default()
        })
    }

    #[test]
    fn a_token_opens_for_its_list_only() {
        let (key, other) = (key(1), key(2));
        let list = charges("ACa", 10);
        let token = sealed(&key, &list, "42.4242424242424242");
        assert!(!token.contains("4242"), "{token}");
        assert_eq!(
            opened(&key, &charges("ACa", 50), &token).as_deref(),
            Ok("42.4242424242424242"),
            "whatever the size of the page"
        );
        assert!(opened(&key, &charges("ACb", 10), &token).is_err());
        let refunds = list_of(&ListRefundsRequest {
            account_id: "ACa".to_owned(),
            ..ListRefundsRequest::default()
        });
        assert!(opened(&key, &refunds, &token).is_err());
        assert!(opened(&other, &list, &token).is_err());
        assert_eq!(sealed(&key, &list, ""), "");
        assert_eq!(opened(&key, &list, "").as_deref(), Ok(""));
    }

    #[test]
    fn what_was_not_sealed_does_not_open() {
        let (key, list) = (key(1), charges("ACa", 10));
        let token = sealed(&key, &list, "7");
        let raw = BASE64_URL_SAFE_NO_PAD.decode(&token).unwrap();
        for index in 0..raw.len() {
            let mut changed = raw.clone();
            changed[index] ^= 1;
            let changed = BASE64_URL_SAFE_NO_PAD.encode(changed);
            assert!(opened(&key, &list, &changed).is_err(), "{index}");
        }
        for bad in ["7", "!", "AAAA", &token[1..], &"A".repeat(401)] {
            assert!(opened(&key, &list, bad).is_err(), "{bad}");
        }
    }
}
