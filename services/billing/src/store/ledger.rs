//! `billing.balances`, `billing.lots` and `billing.ledger_entries`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::copy::Rows;
use crate::domain::lots::{Lot, LotKind};

/// A ledger account. Numbers are those of `billing.ledger_accounts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerAccount {
    /// A customer's credit of one kind.
    Lot(LotKind),
    /// Debt of a customer whose lots are used up.
    Overdraft,
    /// Receivables from open invoices.
    Receivable,
    /// Revenue.
    Revenue,
    /// Tax payable.
    Tax,
    /// Money in clearing with payment providers and banks.
    Clearing,
    /// Refunds requested and not yet paid out.
    Refunds,
    /// Forfeited credit.
    Forfeited,
    /// Fees withheld from refunds.
    Fees,
    /// Fractions of a minor unit that can't be paid out.
    Rounding,
    /// Credit granted without payment.
    Granted,
    /// Write-offs of uncollectible invoices.
    WrittenOff,
    /// Money withheld by providers because of disputes.
    Disputed,
}

impl LedgerAccount {
    /// The number in `billing.ledger_accounts`.
    pub const fn number(self) -> i16 {
        match self {
            Self::Lot(kind) => kind_number(kind),
            Self::Overdraft => 4,
            Self::Receivable => 5,
            Self::Revenue => 6,
            Self::Tax => 7,
            Self::Clearing => 8,
            Self::Refunds => 9,
            Self::Forfeited => 10,
            Self::Fees => 11,
            Self::Rounding => 12,
            Self::Granted => 13,
            Self::WrittenOff => 14,
            Self::Disputed => 15,
        }
    }
}

/// The number of the ledger account of a kind of lot.
pub const fn kind_number(kind: LotKind) -> i16 {
    match kind {
        LotKind::Trial => 1,
        LotKind::Promo => 2,
        LotKind::Paid => 3,
    }
}

fn kind(number: i16) -> sqlx::Result<LotKind> {
    match number {
        1 => Ok(LotKind::Trial),
        2 => Ok(LotKind::Promo),
        3 => Ok(LotKind::Paid),
        _ => Err(sqlx::Error::Decode(
            format!("billing.lots.kind holds {number}").into(),
        )),
    }
}

/// A transfer between two ledger accounts, to be posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The root account.
    pub root_id: Uuid,
    /// The ledger account to debit.
    pub debit: LedgerAccount,
    /// The ledger account to credit.
    pub credit: LedgerAccount,
    /// Amount in millionths, above zero.
    pub amount_micros: i64,
    /// The lot it changes, if any.
    pub lot_id: Option<Uuid>,
    /// The invoice it belongs to, if any.
    pub invoice_id: Option<Uuid>,
    /// Reason code.
    pub reason: &'static str,
}

/// A batch of entries to be written by COPY. The caller chooses each entry's id, so that a repeated chunk writes the
/// same ids.
pub struct Entries {
    rows: Rows,
    currency: String,
    posted_at: DateTime<Utc>,
}

impl Entries {
    /// An empty batch, to be posted at one instant in one currency.
    pub fn new(currency: &str, posted_at: DateTime<Utc>) -> Self {
        let columns = [
            "root_id",
            "posted_at",
            "entry_id",
            "debit",
            "credit",
            "amount_micros",
            "currency",
            "reason",
            "lot_id",
            "invoice_id",
        ];
        Self {
            rows: Rows::new("billing.ledger_entries", &columns),
            currency: currency.to_owned(),
            posted_at,
        }
    }

    /// Adds an entry under an id.
    pub fn add(&mut self, entry_id: Uuid, entry: &Entry) {
        let rows = &mut self.rows;
        rows.row();
        rows.uuid(entry.root_id);
        rows.timestamptz(self.posted_at);
        rows.uuid(entry_id);
        rows.smallint(entry.debit.number());
        rows.smallint(entry.credit.number());
        rows.bigint(entry.amount_micros);
        rows.text(&self.currency);
        rows.text(entry.reason);
        rows.optional_uuid(entry.lot_id);
        rows.optional_uuid(entry.invoice_id);
    }

    /// Writes the entries; returns how many.
    pub async fn copy(self, db: &mut PgConnection) -> sqlx::Result<u64> {
        self.rows.copy(db).await
    }
}

/// Opens the balance of a root account; does nothing if it exists.
pub async fn open(db: &mut PgConnection, root: Uuid, currency: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.balances.open
        INSERT INTO billing.balances (root_id, currency) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        root,
        currency
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Locks the balances of `roots` in order of id, so that transactions locking several never deadlock. Returns each
/// root with its overdraft in millionths.
pub async fn lock(db: &mut PgConnection, roots: &[Uuid]) -> sqlx::Result<Vec<(Uuid, i64)>> {
    let rows = sqlx::query!(
        "-- billing.balances.lock
        SELECT root_id, overdraft_micros FROM billing.balances WHERE root_id = ANY($1) ORDER BY root_id FOR UPDATE",
        roots
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.root_id, row.overdraft_micros))
        .collect())
}

/// The overdraft of a root account in millionths, and its currency.
pub async fn overdraft(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Option<(i64, String)>> {
    let row = sqlx::query!(
        "-- billing.balances.get\nSELECT overdraft_micros, currency FROM billing.balances WHERE root_id = $1",
        root
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.overdraft_micros, row.currency)))
}

/// The overdraft of a root account in millionths, and the part of it caused by disputes, which is not usage.
pub async fn owed(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Option<(i64, i64)>> {
    let row = sqlx::query!(
        "-- billing.balances.owed
        SELECT overdraft_micros, disputed_micros FROM billing.balances WHERE root_id = $1",
        root
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.overdraft_micros, row.disputed_micros)))
}

/// Sets the part of a root account's overdraft caused by disputes. The balance is locked.
pub async fn set_disputed(db: &mut PgConnection, root: Uuid, micros: i64) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.balances.set_disputed
        UPDATE billing.balances SET disputed_micros = least($2, overdraft_micros) WHERE root_id = $1",
        root,
        micros
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The balance of a root account at `now`, in millionths: its valid lots less its overdraft.
pub async fn balance(db: &mut PgConnection, root: Uuid, now: DateTime<Utc>) -> sqlx::Result<i64> {
    let own: Vec<Lot> = lots(db, (root, root))
        .await?
        .into_iter()
        .map(|(_, lot)| lot)
        .collect();
    let overdraft = overdraft(db, root).await?.map_or(0, |(micros, _)| micros);
    Ok(crate::domain::lots::balance(&own, overdraft, now))
}

/// Sets or, with `None`, removes the lapse expiry of a root account's paid credit. Other expiry times are left alone.
/// The balance is locked.
pub async fn set_lapse(
    db: &mut PgConnection,
    root: Uuid,
    expires_at: Option<DateTime<Utc>>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.lots.set_lapse
        UPDATE billing.lots SET expires_at = $2, lapses = $2 IS NOT NULL
        WHERE root_id = $1 AND kind = 3 AND forfeited_at IS NULL
          AND (0 < remaining_micros OR gone_micros < amount_micros)
          AND (lapses OR expires_at IS NULL) AND expires_at IS DISTINCT FROM $2",
        root,
        expires_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A lot as stored, with its root account.
struct LotRow {
    root_id: Uuid,
    lot_id: Uuid,
    kind: i16,
    priority: i16,
    remaining_micros: i64,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
}

fn lot_of(row: &LotRow) -> sqlx::Result<(Uuid, Lot)> {
    let lot = Lot {
        id: row.lot_id,
        kind: kind(row.kind)?,
        priority: row.priority,
        remaining_micros: row.remaining_micros,
        created_at: row.created_at,
        expires_at: row.expires_at,
    };
    Ok((row.root_id, lot))
}

/// The unspent lots of `roots`, in any distribution.
pub async fn lots_of(db: &mut PgConnection, roots: &[Uuid]) -> sqlx::Result<Vec<(Uuid, Lot)>> {
    let rows = sqlx::query_as!(
        LotRow,
        "-- billing.lots.list_of
        SELECT root_id, lot_id, kind, priority, remaining_micros, created_at, expires_at FROM billing.lots
        WHERE root_id = ANY($1) AND 0 < remaining_micros",
        roots
    )
    .fetch_all(db)
    .await?;
    rows.iter().map(lot_of).collect()
}

/// The unspent lots of root accounts from `low` to `high`, in order of root. All lots in between are read, so this
/// suits adjacent roots.
pub async fn lots(
    db: &mut PgConnection,
    (low, high): (Uuid, Uuid),
) -> sqlx::Result<Vec<(Uuid, Lot)>> {
    let rows = sqlx::query_as!(
        LotRow,
        "-- billing.lots.list
        SELECT root_id, lot_id, kind, priority, remaining_micros, created_at, expires_at FROM billing.lots
        WHERE root_id >= $1 AND root_id <= $2 AND 0 < remaining_micros ORDER BY root_id",
        low,
        high
    )
    .fetch_all(db)
    .await?;
    rows.iter().map(lot_of).collect()
}

/// The origin of a lot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    /// Original amount in millionths.
    pub amount_micros: i64,
    /// The collection that paid for it, if any.
    pub collection_id: Option<Uuid>,
}

impl Origin {
    /// The origin of granted credit.
    pub const fn given(amount_micros: i64) -> Self {
        Self {
            amount_micros,
            collection_id: None,
        }
    }
}

/// The origins of the unspent lots of a root account.
pub async fn lot_origins(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Vec<(Uuid, Origin)>> {
    let rows = sqlx::query!(
        "-- billing.lots.origins
        SELECT lot_id, amount_micros, collection_id FROM billing.lots WHERE root_id = $1 AND 0 < remaining_micros",
        root
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let origin = Origin {
                amount_micros: row.amount_micros,
                collection_id: row.collection_id,
            };
            (row.lot_id, origin)
        })
        .collect())
}

/// Reason on the entry of granted credit.
pub const GRANT: &str = "GRANT";

/// Whether a lot was granted, as the entry that created it says.
pub async fn is_granted(db: &mut PgConnection, root: Uuid, lot: &Lot) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- billing.lots.is_granted
        SELECT EXISTS (
            SELECT FROM billing.ledger_entries
            WHERE root_id = $1 AND posted_at = $2 AND lot_id = $3 AND credit = $4 AND reason = $5) AS "granted!""#,
        root,
        lot.created_at,
        lot.id,
        kind_number(lot.kind),
        GRANT
    )
    .fetch_one(db)
    .await
}

/// Adds a lot, with why, and the collection that paid for it.
pub async fn insert_lot(
    db: &mut PgConnection,
    root: Uuid,
    lot: &Lot,
    (reason, collection): (&str, Option<Uuid>),
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.lots.insert
        INSERT INTO billing.lots (root_id, lot_id, kind, priority, amount_micros, remaining_micros, created_at,
                                  expires_at, reason, collection_id, gone_micros)
        VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9, 0)",
        root,
        lot.id,
        kind_number(lot.kind),
        lot.priority,
        lot.remaining_micros,
        lot.created_at,
        lot.expires_at,
        reason,
        collection
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deducts payments from lots; returns how many rows changed. The balances are locked.
pub async fn spend(
    db: &mut PgConnection,
    roots: &[Uuid],
    lots: &[Uuid],
    micros: &[i64],
) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "-- billing.lots.spend
        UPDATE billing.lots l SET remaining_micros = l.remaining_micros - d.micros
        FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS d (root_id, lot_id, micros)
        WHERE l.root_id = d.root_id AND l.lot_id = d.lot_id",
    )
    .bind(roots)
    .bind(lots)
    .bind(micros)
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// Deducts amounts from lots permanently, as refunds and clawbacks do: a correction of usage never restores them. The
/// balances are locked.
pub async fn take_out(
    db: &mut PgConnection,
    roots: &[Uuid],
    lots: &[Uuid],
    micros: &[i64],
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.lots.take_out
        UPDATE billing.lots l
        SET remaining_micros = l.remaining_micros - d.micros, gone_micros = l.gone_micros + d.micros
        FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS d (root_id, lot_id, micros)
        WHERE l.root_id = d.root_id AND l.lot_id = d.lot_id",
        roots,
        lots,
        micros
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Records an amount returned to an expired lot and forfeited at once. The balance is locked, and the entry is
/// written.
pub async fn lapse(
    db: &mut PgConnection,
    (root, lot): (Uuid, Uuid),
    micros: i64,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.lots.lapse
        UPDATE billing.lots SET gone_micros = gone_micros + $3 WHERE root_id = $1 AND lot_id = $2",
        root,
        lot,
        micros
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Ends the lots of a kind `now`: the remaining amounts are forfeited, as at their expiry. The balance is locked, and
/// the entries are written.
pub async fn write_off(
    db: &mut PgConnection,
    root: Uuid,
    of: LotKind,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.lots.write_off
        UPDATE billing.lots
        SET remaining_micros = 0, gone_micros = gone_micros + remaining_micros, expires_at = least(expires_at, $3),
            forfeited_at = $3
        WHERE root_id = $1 AND kind = $2 AND forfeited_at IS NULL",
        root,
        kind_number(of),
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The lots of a root account that have paid something, with the spent amount in `remaining_micros`. They include
/// expired lots, to which nothing returns as credit.
pub async fn spent(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Vec<Lot>> {
    let rows = sqlx::query!(
        r#"-- billing.lots.spent
        SELECT lot_id, kind, priority, amount_micros - remaining_micros - gone_micros AS "spent_micros!", created_at,
               expires_at
        FROM billing.lots WHERE root_id = $1 AND remaining_micros + gone_micros < amount_micros"#,
        root
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Lot {
                id: row.lot_id,
                kind: kind(row.kind)?,
                priority: row.priority,
                remaining_micros: row.spent_micros,
                created_at: row.created_at,
                expires_at: row.expires_at,
            })
        })
        .collect()
}

/// Adds `micros` to overdrafts; negative amounts repay them. The balances are locked.
pub async fn overdraw(db: &mut PgConnection, roots: &[Uuid], micros: &[i64]) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "-- billing.balances.overdraw
        UPDATE billing.balances b
        SET overdraft_micros = b.overdraft_micros + d.micros,
            disputed_micros = least(b.disputed_micros, b.overdraft_micros + d.micros)
        FROM unnest($1::uuid[], $2::bigint[]) AS d (root_id, micros) WHERE b.root_id = d.root_id",
    )
    .bind(roots)
    .bind(micros)
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// An entry as stored.
#[derive(Debug, Clone)]
pub struct StoredEntry {
    /// Its id.
    pub entry_id: Uuid,
    /// When it was posted.
    pub posted_at: DateTime<Utc>,
    /// Name of the ledger account that is debited.
    pub debit: String,
    /// Name of the ledger account that is credited.
    pub credit: String,
    /// Amount in millionths.
    pub amount_micros: i64,
    /// The currency.
    pub currency: String,
    /// Reason code.
    pub reason: String,
    /// The lot.
    pub lot_id: Option<Uuid>,
    /// The invoice.
    pub invoice_id: Option<Uuid>,
}

/// Up to `limit` entries of a root account before `before`, newest first.
pub async fn list(
    db: &mut PgConnection,
    root: Uuid,
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<StoredEntry>> {
    let (posted_at, entry_id) = before.unzip();
    sqlx::query_as!(
        StoredEntry,
        "-- billing.ledger_entries.list
        SELECT e.entry_id, e.posted_at, d.name AS debit, c.name AS credit, e.amount_micros, e.currency, e.reason,
               e.lot_id, e.invoice_id
        FROM billing.ledger_entries e
        JOIN billing.ledger_accounts d ON d.ledger_account = e.debit
        JOIN billing.ledger_accounts c ON c.ledger_account = e.credit
        WHERE e.root_id = $1 AND ($2::timestamptz IS NULL OR (e.posted_at, e.entry_id) < ($2, $3::uuid))
        ORDER BY e.posted_at DESC, e.entry_id DESC LIMIT $4",
        root,
        posted_at,
        entry_id,
        limit
    )
    .fetch_all(db)
    .await
}

/// The balance of a root account before an instant according to the entries: lots less overdraft; `None` if the sum
/// exceeds 64 bits. Expired credit counts until it is forfeited.
pub async fn balance_before(
    db: &mut PgConnection,
    root: Uuid,
    at: DateTime<Utc>,
) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(
        r#"-- billing.ledger_entries.balance_before
        SELECT CASE WHEN abs(micros) <= 9223372036854775807 THEN micros::bigint END AS micros
        FROM (
            SELECT coalesce(sum(CASE WHEN credit <= 4 THEN amount_micros ELSE 0 END
                              - CASE WHEN debit <= 4 THEN amount_micros ELSE 0 END), 0) AS micros
            FROM billing.ledger_entries WHERE root_id = $1 AND posted_at < $2
        ) sums"#,
        root,
        at
    )
    .fetch_one(db)
    .await
}

/// Up to `limit` entries of a root account posted from `from` until before `until`, oldest first.
pub async fn list_between(
    db: &mut PgConnection,
    root: Uuid,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
    limit: i64,
) -> sqlx::Result<Vec<StoredEntry>> {
    sqlx::query_as!(
        StoredEntry,
        "-- billing.ledger_entries.list_between
        SELECT e.entry_id, e.posted_at, d.name AS debit, c.name AS credit, e.amount_micros, e.currency, e.reason,
               e.lot_id, e.invoice_id
        FROM billing.ledger_entries e
        JOIN billing.ledger_accounts d ON d.ledger_account = e.debit
        JOIN billing.ledger_accounts c ON c.ledger_account = e.credit
        WHERE e.root_id = $1 AND $2 <= e.posted_at AND e.posted_at < $3
        ORDER BY e.posted_at, e.entry_id LIMIT $4",
        root,
        from,
        until,
        limit
    )
    .fetch_all(db)
    .await
}

/// What of an invoice was paid by overdraft when it was issued, in millionths.
pub async fn overdrawn(
    db: &mut PgConnection,
    (root, invoice): (Uuid, Uuid),
    issued_at: DateTime<Utc>,
) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"-- billing.ledger_entries.overdrawn
        SELECT coalesce(sum(amount_micros), 0)::bigint AS "micros!" FROM billing.ledger_entries
        WHERE root_id = $1 AND posted_at = $3 AND invoice_id = $2 AND debit = 4"#,
        root,
        invoice,
        issued_at
    )
    .fetch_one(db)
    .await
}

/// Marks the lots of a root account that had expired by `as_of` as forfeited `now`, with nothing left. The balance is
/// locked, and the entries are written.
pub async fn forfeit(
    db: &mut PgConnection,
    root: Uuid,
    (as_of, now): (DateTime<Utc>, DateTime<Utc>),
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.lots.forfeit
        UPDATE billing.lots SET remaining_micros = 0, gone_micros = gone_micros + remaining_micros, forfeited_at = $3
        WHERE root_id = $1 AND expires_at <= $2 AND forfeited_at IS NULL",
        root,
        as_of,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Root accounts of the `limit` lots that expired first by `now` and are not forfeited, in order of id.
///
/// The number of lots is limited because very many expire together when a promotion ends.
pub async fn roots_with_expired(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        r#"-- billing.lots.roots_with_expired
        SELECT DISTINCT root_id AS "root_id!" FROM (
            SELECT root_id FROM billing.lots
            WHERE expires_at <= $1 AND forfeited_at IS NULL
              AND NOT EXISTS (SELECT FROM billing.job_claims c WHERE c.job = 'expire_lots' AND c.key = root_id::text
                                AND clock_timestamp() < c.held_until)
            ORDER BY expires_at LIMIT $2) expired
        ORDER BY 1"#,
        now,
        limit
    )
    .fetch_all(db)
    .await
}

/// The next expiry of credit up to `until`, including expired credit that is not forfeited yet.
pub async fn next_expiry(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- billing.lots.next_expiry
        SELECT min(expires_at) FROM billing.lots
        WHERE expires_at <= $1 AND forfeited_at IS NULL
          AND NOT EXISTS (SELECT FROM billing.job_claims c WHERE c.job = 'expire_lots' AND c.key = root_id::text
                            AND c.state IN ('FAILED', 'PARKED') AND clock_timestamp() < c.held_until)",
        until
    )
    .fetch_one(db)
    .await
}

/// Differences between stored amounts (lots, overdrafts, open invoices, refunds) and the sums of the entries, at most
/// 100, and the number of root accounts compared.
pub async fn differences(
    db: &mut PgConnection,
    root: Option<Uuid>,
) -> sqlx::Result<(Vec<String>, i64)> {
    let used = sqlx::query_scalar!(
        "-- billing.balances.currencies\nSELECT DISTINCT currency FROM billing.balances"
    )
    .fetch_all(&mut *db)
    .await?;
    let (mut currencies, mut micros) = (Vec::new(), Vec::new());
    for code in used {
        micros.push(super::micros(1, &code)?);
        currencies.push(code);
    }
    let differences = sqlx::query_scalar!(
        r#"-- billing.ledger_entries.differences
        WITH moved AS (
            SELECT root_id, credit AS ledger_account, lot_id, amount_micros AS micros FROM billing.ledger_entries
            WHERE $1::uuid IS NULL OR root_id = $1
            UNION ALL
            SELECT root_id, debit, lot_id, -amount_micros FROM billing.ledger_entries
            WHERE $1::uuid IS NULL OR root_id = $1
        ), by_lot AS (
            SELECT root_id, lot_id, sum(micros) AS micros FROM moved
            WHERE ledger_account IN (1, 2, 3) GROUP BY root_id, lot_id
        ), by_account AS (
            SELECT root_id, sum(-micros) FILTER (WHERE ledger_account = 4) AS overdraft,
                   sum(-micros) FILTER (WHERE ledger_account = 5) AS receivable,
                   sum(micros) FILTER (WHERE ledger_account = 9) AS going_back
            FROM moved GROUP BY root_id
        ), going_back AS (
            SELECT root_id, sum(amount_minor * u.micros) AS micros
            FROM billing.refunds r JOIN unnest($2::text[], $3::bigint[]) AS u (currency, micros) USING (currency)
            WHERE state NOT IN ('SUCCEEDED', 'UNDONE') AND ($1::uuid IS NULL OR root_id = $1) GROUP BY root_id
        ), due AS (
            SELECT root_id, sum((total_minor - from_balance_minor - charged_minor - credited_minor) * u.micros) AS micros
            FROM billing.invoices i JOIN unnest($2::text[], $3::bigint[]) AS u (currency, micros) USING (currency)
            WHERE state = 1 AND ($1::uuid IS NULL OR root_id = $1) GROUP BY root_id
        )
        SELECT format('lot %s of %s: %s left, entries say %s', lot_id, root_id, coalesce(l.remaining_micros, 0),
                      coalesce(e.micros, 0)) AS "difference!"
        FROM (SELECT root_id, lot_id, remaining_micros FROM billing.lots WHERE $1::uuid IS NULL OR root_id = $1) l
        FULL JOIN by_lot e USING (root_id, lot_id)
        WHERE coalesce(l.remaining_micros, 0) <> coalesce(e.micros, 0)
        UNION ALL
        SELECT format('overdraft of %s: %s, entries say %s', root_id, coalesce(b.overdraft_micros, 0), coalesce(e.overdraft, 0))
        FROM (SELECT root_id, overdraft_micros FROM billing.balances WHERE $1::uuid IS NULL OR root_id = $1) b
        FULL JOIN by_account e USING (root_id)
        WHERE coalesce(b.overdraft_micros, 0) <> coalesce(e.overdraft, 0)
        UNION ALL
        SELECT format('open invoices of %s: %s is due, entries say %s', root_id, coalesce(d.micros, 0), coalesce(e.receivable, 0))
        FROM by_account e FULL JOIN due d USING (root_id)
        WHERE coalesce(e.receivable, 0) <> coalesce(d.micros, 0)
        UNION ALL
        SELECT format('refunds of %s: %s is on its way back, entries say %s', root_id, coalesce(g.micros, 0), coalesce(e.going_back, 0))
        FROM by_account e FULL JOIN going_back g USING (root_id)
        WHERE coalesce(e.going_back, 0) <> coalesce(g.micros, 0)
        LIMIT 100"#,
        root,
        &currencies,
        &micros
    )
    .fetch_all(&mut *db)
    .await?;
    let count = sqlx::query_scalar!(
        r#"-- billing.balances.count
        SELECT count(*) AS "count!" FROM billing.balances WHERE $1::uuid IS NULL OR root_id = $1"#,
        root
    )
    .fetch_one(db)
    .await?;
    Ok((differences, count))
}
