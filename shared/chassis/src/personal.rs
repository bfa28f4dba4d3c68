//! Where a service stores personal data, and how each place is erased when an account is deleted (REQ-047, D38).
//!
//! Each service lists every column of type text, JSON or bytes, and the erasure follows that list. A test compares
//! the list with the database and fails for a column that is missing; no other statement erases a listed column.

use sqlx::AssertSqlSafe;
use uuid::Uuid;
use values::AccountId;

use crate::{Owned, PgConnection};

/// Columns of a table, and how they are erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Personal {
    /// The table, without its schema.
    pub table: &'static str,
    /// The columns.
    pub columns: &'static [&'static str],
    /// How they are erased.
    pub fate: Fate,
}

impl Personal {
    /// Columns of a table and how they are erased.
    pub const fn new(table: &'static str, columns: &'static [&'static str], fate: Fate) -> Self {
        Self {
            table,
            columns,
            fate,
        }
    }
}

/// How a place is erased when an account is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The rows are deleted.
    Deleted(Of),
    /// The columns are overwritten by this list of assignments.
    Emptied(Of, &'static str),
    /// Erased by a rule of the service's own, or later by a job; says which, and how long the data are kept at most.
    ByRule(&'static str),
    /// May hold personal data and is kept; says which requirement demands it.
    Kept(&'static str),
    /// Holds no personal data; says why.
    Impersonal(&'static str),
}

/// Which rows of a table belong to a deleted account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The rows of each deleted account, by `account_id`.
    Account,
    /// The rows of the root account, if the root account is deleted.
    Root,
    /// Stored answers: for a root account all that concern it, for a subaccount those that name it. Answers to the
    /// deletions themselves hold no personal data and are kept, so that a retry of a deletion stays idempotent.
    Answer,
}

/// Places that every service has.
pub const COMMON: &[Personal] = &[
    Personal::new(
        "requests",
        &[
            "caller",
            "account",
            "method",
            "request_hash",
            "response",
            "status_message",
            "status_details",
            "asked",
        ],
        Fate::Deleted(Of::Answer),
    ),
    // As in every unit of work, the head of the audit chain is locked last.
    Personal::new(
        "audit_heads",
        &["key"],
        Fate::Emptied(Of::Root, "key = NULL"),
    ),
    Personal::new(
        "audit_heads",
        &["entry_hash"],
        Fate::Impersonal("a hash of an entry"),
    ),
    Personal::new(
        "audit_entries",
        &[
            "request_hash",
            "before_hash",
            "after_hash",
            "previous_hash",
            "entry_hash",
        ],
        Fate::Impersonal("hashes; those of requests and rows are keyed, and the key is erased"),
    ),
    Personal::new(
        "audit_entries",
        &["actor", "on_behalf_of", "method"],
        Fate::Kept("R32: who did what, by ids of people and names of operators"),
    ),
    Personal::new(
        "job_claims",
        &["job", "key", "input", "state"],
        Fate::Impersonal("a job's name, ids of what it works on, a place in a stream, and a state"),
    ),
    Personal::new(
        "job_claims",
        &["reason"],
        Fate::ByRule(
            "forgotten when the work is done, else by a job a week after it was due the last time, or three months \
             after it failed where it is tried on request only",
        ),
    ),
    Personal::new(
        "page_keys",
        &["key"],
        Fate::Impersonal("seals the tokens of lists, whosever they are"),
    ),
    Personal::new(
        "_sqlx_migrations",
        &["description", "checksum"],
        Fate::Impersonal("describes the schema only"),
    ),
];

/// Erases the listed places of `accounts`: a root account with its subaccounts, or one subaccount of `root`. It must
/// be the last step of an erasure, because it locks the head of the audit chain.
pub async fn erase_places<C: Owned>(
    db: &mut PgConnection,
    places: &[Personal],
    (root, accounts): (Uuid, &[Uuid]),
) -> sqlx::Result<()> {
    let whole = accounts.contains(&root);
    for place in places.iter().chain(COMMON) {
        let Some(sql) = statement(C::SCHEMA, place, whole) else {
            continue;
        };
        let query = sqlx::query(AssertSqlSafe(sql)).bind(root);
        let named = |id: &Uuid| AccountId::from_uuid(*id).to_string();
        let query = match place.fate.of() {
            Some(Of::Account) => query.bind(accounts),
            Some(Of::Answer) if !whole => {
                query.bind(accounts.iter().map(named).collect::<Vec<String>>())
            }
            Some(Of::Answer | Of::Root) | None => query,
        };
        query.execute(&mut *db).await?;
    }
    Ok(())
}

/// The statements that erase a service's places: for a root account, and for a subaccount.
pub fn erasures(schema: &str, places: &[Personal]) -> Vec<String> {
    let places = places.iter().chain(COMMON);
    places
        .flat_map(|place| [true, false].map(|whole| statement(schema, place, whole)))
        .flatten()
        .collect()
}

impl Fate {
    /// Which rows are erased; `None` if the place is not erased here.
    const fn of(self) -> Option<Of> {
        match self {
            Self::Deleted(of) | Self::Emptied(of, _) => Some(of),
            Self::ByRule(_) | Self::Kept(_) | Self::Impersonal(_) => None,
        }
    }
}

/// The statement that erases a place: `$1` is the root account, `$2` the ids of accounts if the condition needs them.
fn statement(schema: &str, place: &Personal, whole: bool) -> Option<String> {
    let table = format!("{schema}.{}", place.table);
    let rows = match (place.fate.of()?, whole) {
        (Of::Account, _) => "root_id = $1 AND account_id = ANY($2)",
        (Of::Root, true) => "root_id = $1",
        (Of::Root, false) => return None,
        (Of::Answer, true) => "root_id = $1 AND method <> 'EraseAccount'",
        (Of::Answer, false) => "root_id = $1 AND account = ANY($2) AND method <> 'EraseAccount'",
    };
    let named = format!("-- {table}.erase\n");
    match place.fate {
        Fate::Deleted(_) => Some(format!("{named}DELETE FROM {table} WHERE {rows}")),
        Fate::Emptied(_, to) => Some(format!("{named}UPDATE {table} SET {to} WHERE {rows}")),
        Fate::ByRule(_) | Fate::Kept(_) | Fate::Impersonal(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subaccount_takes_its_own_rows_with_it_and_nothing_of_its_root() {
        let of = |fate| Personal::new("things", &["name"], fate);
        let said = |fate, whole| statement("s", &of(fate), whole);
        let empty = |of| Fate::Emptied(of, "name = ''");
        let update = "-- s.things.erase\nUPDATE s.things SET name = '' WHERE root_id = $1";
        let own = format!("{update} AND account_id = ANY($2)");
        assert_eq!(said(empty(Of::Account), true).unwrap(), own);
        assert_eq!(said(empty(Of::Account), false).unwrap(), own);
        assert_eq!(said(empty(Of::Root), true).unwrap(), update);
        assert_eq!(said(empty(Of::Root), false), None);
        let delete = "-- s.things.erase\nDELETE FROM s.things WHERE root_id = $1 AND account = ANY($2) \
                      AND method <> 'EraseAccount'";
        assert_eq!(said(Fate::Deleted(Of::Answer), false).unwrap(), delete);
        for fate in [Fate::ByRule(""), Fate::Kept(""), Fate::Impersonal("")] {
            assert_eq!(said(fate, true), None);
        }
    }
}
