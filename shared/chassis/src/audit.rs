//! The audit: who changed what, in a chain of entries for each root account (R32, D24).
//!
//! A unit of work adds its entry by its last statement, in its transaction: its caller, its request and, as the
//! database's triggers have summed them up, the rows that it changed before and after. Their hashes are keyed with
//! a key of the account: once that is forgotten, they tell of nothing, and the chain still verifies. The newest
//! entry of each chain goes to a signed file outside the database, so that a tail that was cut off is missed.

use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, SubsecRound as _, Utc};
use ring::hmac;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, FromRow};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use uuid::Uuid;

use crate::requests::Key;
use crate::subject::Subject;
use crate::{Owned, PgConnection, Secret, Tenant, Trip};

/// Entries that are verified, and chains that are anchored, at once.
const BATCH: i64 = 1_000;

/// One mutation, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct AuditEntry {
    /// The root account; nil for what is of none.
    pub root_id: Uuid,
    /// Its place in the chain, from 1.
    pub sequence: i64,
    /// Who called.
    pub actor: String,
    /// On whose behalf; empty for the actor's own.
    pub on_behalf_of: String,
    /// The method.
    pub method: String,
    /// The request's id.
    pub request_id: Uuid,
    /// Keyed hash of the request.
    pub request_hash: Vec<u8>,
    /// Keyed hash of the rows that it changed, before; empty for none.
    pub before_hash: Vec<u8>,
    /// The same after.
    pub after_hash: Vec<u8>,
    /// Hash of the entry before; empty for the first.
    pub previous_hash: Vec<u8>,
    /// Hash of this entry.
    pub entry_hash: Vec<u8>,
    /// When.
    pub created_at: DateTime<Utc>,
}

impl AuditEntry {
    /// The hash that it has by what it says: each part with its length before it.
    fn hashed(&self) -> Vec<u8> {
        let mut hasher = Sha256::new();
        for part in [
            self.root_id.as_bytes().as_slice(),
            &self.sequence.to_be_bytes(),
            self.actor.as_bytes(),
            self.on_behalf_of.as_bytes(),
            self.method.as_bytes(),
            self.request_id.as_bytes(),
            &self.request_hash,
            &self.before_hash,
            &self.after_hash,
            &self.previous_hash,
            &self.created_at.timestamp_micros().to_be_bytes(),
        ] {
            hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hasher.update(part);
        }
        hasher.finalize().to_vec()
    }
}

/// The answer of a unit of work, with what it is about.
pub(crate) struct Answer {
    /// As it is encoded.
    pub bytes: Vec<u8>,
    /// The user whom it is about; it is forgotten with them.
    pub user: Option<Uuid>,
    /// What the work was found to be about, for where no chain says so, and what its caller was let do.
    pub found: Subject,
}

/// Ends a unit of work by its last statement: keeps the answer of its request, where it has one, and adds its entry to
/// a chain, that of `about`, else of the tenant that was entered, else of the account that the request names, else of
/// none. The database computes the hashes, as it holds their key and the entry before: `<schema>.end_unit`.
pub(crate) async fn end_unit(
    db: &mut PgConnection,
    key: &Key,
    answer: Option<Answer>,
    about: Option<Uuid>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let schema = key.schema;
    let by_service = key.caller.starts_with("service:");
    let behalf = Trip::current().filter(|_| by_service);
    let (bytes, user, found) = answer.map_or((None, None, Subject::default()), |it| {
        (Some(it.bytes), it.user, it.found)
    });
    sqlx::query(AssertSqlSafe(format!(
        "-- {schema}.audit.end_unit
        SELECT {schema}.end_unit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
    )))
    .bind(&key.caller)
    .bind(&key.account)
    .bind(key.method)
    .bind(key.request_id)
    .bind(key.hash.as_slice())
    .bind(bytes)
    .bind(user)
    .bind(found.root)
    .bind(found.asked)
    .bind(about)
    .bind(key.named())
    .bind(behalf.map(|it| it.on_behalf_of).unwrap_or_default())
    .bind(now.trunc_subsecs(6))
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` entries of a root account before `before`, newest first; of one method, or of all.
pub async fn audit_entries<C: Owned>(
    db: &mut PgConnection,
    (root, method): (Uuid, Option<&str>),
    (before, limit): (Option<i64>, i64),
) -> sqlx::Result<Vec<AuditEntry>> {
    let schema = C::SCHEMA;
    sqlx::query_as(AssertSqlSafe(format!(
        "-- {schema}.audit.list
        SELECT * FROM {schema}.audit_entries
        WHERE root_id = $1 AND ($2::text IS NULL OR method = $2) AND ($3::bigint IS NULL OR sequence < $3)
        ORDER BY sequence DESC LIMIT $4"
    )))
    .bind(root)
    .bind(method)
    .bind(before)
    .bind(limit)
    .fetch_all(db)
    .await
}

/// What a chain is found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// The first entry that does not fit or is missing; 0 for none.
    pub broken: i64,
    /// How many entries there are up to it.
    pub count: i64,
}

/// Verifies the chain of a root account: each entry by its hash and the one before, the last by the chain's head,
/// and those that were written to the file by what stands there.
pub async fn verify_audit<C: Owned>(ctx: &C, root: Uuid) -> Result<Verified, sqlx::Error> {
    let schema = C::SCHEMA;
    let anchors = ctx.anchors().of::<C>(root).await?;
    let mut tx = ctx.db().snapshot_as(Tenant::Root(root)).await?;
    let head: Option<(i64, Vec<u8>)> = sqlx::query_as(AssertSqlSafe(format!(
        "-- {schema}.audit.head\nSELECT sequence, entry_hash FROM {schema}.audit_heads WHERE root_id = $1"
    )))
    .bind(root)
    .fetch_optional(&mut *tx)
    .await?;
    let (mut count, mut previous) = (0, Vec::new());
    let broken = |broken, count| Ok(Verified { broken, count });
    loop {
        let page: Vec<AuditEntry> = sqlx::query_as(AssertSqlSafe(format!(
            "-- {schema}.audit.page
            SELECT * FROM {schema}.audit_entries WHERE root_id = $1 AND $2 < sequence ORDER BY sequence LIMIT $3"
        )))
        .bind(root)
        .bind(count)
        .bind(BATCH)
        .fetch_all(&mut *tx)
        .await?;
        if page.is_empty() {
            break;
        }
        for entry in page {
            let at = count + 1;
            let anchored = anchors.iter().filter(|it| it.sequence == at);
            let fits = entry.sequence == at
                && entry.previous_hash == previous
                && entry.entry_hash == entry.hashed()
                && anchored.clone().all(|it| it.hash == hex(&entry.entry_hash));
            if !fits {
                return broken(at, count);
            }
            count = at;
            previous = entry.entry_hash;
        }
    }
    let missed = anchors.iter().any(|it| count < it.sequence);
    if missed || head.unwrap_or_default() != (count, previous) {
        return broken(count + 1, count);
    }
    broken(0, count)
}

/// The file that the newest entries go to, and what its lines are signed with.
#[derive(Debug, Clone, Default)]
pub struct Anchors {
    file: Option<PathBuf>,
    key: Secret,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Anchor {
    service: String,
    root: String,
    sequence: i64,
    hash: String,
    time: DateTime<Utc>,
    signature: String,
}

impl Anchors {
    /// The file and the key of a configuration.
    pub fn new(file: Option<PathBuf>, key: Secret) -> Self {
        Self { file, key }
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.key.0.as_bytes())
    }

    /// The lines of a root account; one whose signature does not fit stands for an entry that never was.
    async fn of<C: Owned>(&self, root: Uuid) -> sqlx::Result<Vec<Anchor>> {
        let Some(file) = &self.file else {
            return Ok(Vec::new());
        };
        let opened = match tokio::fs::File::open(file).await {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let (key, root) = (self.key(), root.to_string());
        // The file holds the lines of all accounts; only those of this account are kept in memory.
        let mut lines = BufReader::new(opened).lines();
        let mut own: Vec<Anchor> = Vec::new();
        while let Some(line) = lines.next_line().await? {
            if line.contains(&root)
                && let Ok(anchor) = serde_json::from_str::<Anchor>(&line)
                && anchor.service == C::SCHEMA
                && anchor.root == root
            {
                own.push(anchor);
            }
        }
        let checked = own.into_iter().map(|it| {
            let signature = unhex(&it.signature);
            let whole = hmac::verify(&key, it.signed().as_bytes(), &signature).is_ok();
            let hash = if whole {
                it.hash.clone()
            } else {
                String::new()
            };
            Anchor { hash, ..it }
        });
        Ok(checked.collect())
    }

    async fn add(&self, file: &Path, lines: &[Anchor]) -> io::Result<()> {
        let mut text = String::new();
        for line in lines {
            text.push_str(&serde_json::to_string(line)?);
            text.push('\n');
        }
        let mut open = tokio::fs::OpenOptions::new();
        let mut file = open.create(true).append(true).open(file).await?;
        file.write_all(text.as_bytes()).await?;
        file.sync_data().await
    }
}

impl Anchor {
    fn signed(&self) -> String {
        let Self {
            service,
            root,
            sequence,
            hash,
            time,
            ..
        } = self;
        format!(
            "{service} {root} {sequence} {hash} {}",
            time.timestamp_micros()
        )
    }
}

/// Writes the newest entry of each chain that has grown to the file, as a step of a job; gives how many.
pub async fn anchor_audit<C: Owned>(ctx: &C) -> sqlx::Result<usize> {
    let (schema, anchors) = (C::SCHEMA, ctx.anchors());
    let Some(file) = &anchors.file else {
        return Ok(0);
    };
    let time = ctx.clock().now().await?;
    let mut tx = ctx.db().begin_as(Tenant::All).await?;
    let grown: Vec<(Uuid, i64, Vec<u8>)> = sqlx::query_as(AssertSqlSafe(format!(
        "-- {schema}.audit.grown
        SELECT root_id, sequence, entry_hash FROM {schema}.audit_heads WHERE anchored_sequence < sequence
        ORDER BY root_id LIMIT $1"
    )))
    .bind(BATCH)
    .fetch_all(&mut *tx)
    .await?;
    if grown.is_empty() {
        return Ok(0);
    }
    let key = anchors.key();
    let lines = grown.iter().map(|(root, sequence, hash)| {
        let line = Anchor {
            service: schema.to_owned(),
            root: root.to_string(),
            sequence: *sequence,
            hash: hex(hash),
            time,
            signature: String::new(),
        };
        let signature = hex(hmac::sign(&key, line.signed().as_bytes()).as_ref());
        Anchor { signature, ..line }
    });
    let lines: Vec<Anchor> = lines.collect();
    // The file is written before the database records it. After a crash in between, or when two processes do it, a
    // line is written twice, which is harmless. No chain head stays locked during the disk write.
    tx.commit().await?;
    anchors.add(file, &lines).await?;
    let (roots, sequences): (Vec<Uuid>, Vec<i64>) = grown
        .iter()
        .map(|(root, sequence, _)| (root, sequence))
        .unzip();
    let mut tx = ctx.db().begin_as(Tenant::All).await?;
    sqlx::query(AssertSqlSafe(format!(
        "-- {schema}.audit.anchored
        UPDATE {schema}.audit_heads SET anchored_sequence = greatest(anchored_sequence, it.sequence)
        FROM unnest($1::uuid[], $2::bigint[]) AS it (root_id, sequence) WHERE audit_heads.root_id = it.root_id"
    )))
    .bind(roots)
    .bind(sequences)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(lines.len())
}

/// Bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of hex digits; what is none is left out.
fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks_exact(2);
    pairs
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_an_entry_is_in_its_hash() {
        let entry = AuditEntry {
            root_id: Uuid::nil(),
            sequence: 1,
            actor: "person:a".to_owned(),
            on_behalf_of: "b".to_owned(),
            method: "M".to_owned(),
            request_id: Uuid::nil(),
            request_hash: vec![1],
            before_hash: Vec::new(),
            after_hash: vec![2],
            previous_hash: vec![3],
            entry_hash: Vec::new(),
            created_at: DateTime::<Utc>::UNIX_EPOCH,
        };
        let all = [
            entry.clone(),
            AuditEntry {
                root_id: Uuid::from_u128(1),
                ..entry.clone()
            },
            AuditEntry {
                sequence: 2,
                ..entry.clone()
            },
            // The border between two parts counts.
            AuditEntry {
                actor: "person:ab".to_owned(),
                on_behalf_of: String::new(),
                ..entry.clone()
            },
            AuditEntry {
                method: "N".to_owned(),
                ..entry.clone()
            },
            AuditEntry {
                request_id: Uuid::from_u128(1),
                ..entry.clone()
            },
            AuditEntry {
                request_hash: vec![2],
                ..entry.clone()
            },
            AuditEntry {
                before_hash: vec![2],
                after_hash: Vec::new(),
                ..entry.clone()
            },
            AuditEntry {
                previous_hash: Vec::new(),
                ..entry.clone()
            },
            AuditEntry {
                created_at: DateTime::from_timestamp_micros(1).unwrap(),
                ..entry
            },
        ];
        let hashes: std::collections::BTreeSet<_> = all.iter().map(AuditEntry::hashed).collect();
        assert_eq!(hashes.len(), all.len());
        assert_eq!(unhex(&hex(&[0, 171, 255])), [0, 171, 255]);
    }
}
