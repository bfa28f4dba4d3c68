//! Lists by page: how many, and from where.

use crate::{FieldError, field_error};

/// How many rows a page holds when the caller does not say.
const DEFAULT_SIZE: i64 = 50;
/// How many it may hold at most.
const MAX_SIZE: i32 = 500;

/// Where a page starts: an opaque text that the page before gave.
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
        if 200 < page_token.len() {
            return Err(field_error(
                "page_token",
                "the next_page_token of an earlier page",
            ));
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
            Some(text) => read(text)
                .map(Some)
                .ok_or_else(|| field_error("page_token", "the next_page_token of an earlier page")),
        }
    }
}
