//! What the deployed login roles may not do to the books, tried by hand: more than a thousand
//! statements, each refused by the database.

use sqlx::{AssertSqlSafe, Executor as _, PgPool};

use crate::harness::Harness;

/// The only columns that a service changes, by table; `*` for a table that is no book.
const CHANGED: &[(&str, &str)] = &[
    (
        "billing.audit_heads",
        "key sequence entry_hash anchored_sequence",
    ),
    (
        "payments.audit_heads",
        "key sequence entry_hash anchored_sequence",
    ),
    ("billing.requests", "*"),
    ("billing.test_clock", "*"),
    ("billing.accounts", "*"),
    ("billing.usage_events", "*"),
    ("billing.usage_days", "*"),
    ("billing.usage_months", "*"),
    ("billing.balances", "*"),
    ("billing.lots", "*"),
    ("billing.invoice_series", "*"),
    ("billing.runs", "*"),
    ("billing.run_shards", "*"),
    ("billing.parked_accounts", "*"),
    ("billing.watch_positions", "*"),
    ("billing.auto_recharges", "*"),
    ("billing.subscriptions", "*"),
    (
        "billing.closings",
        "state close_at settlement_minor refund_minor forfeited_micros due_on intent_id invoice_id catalogue_version \
         prepared_at settled_at",
    ),
    (
        "billing.invoices",
        "state from_balance_minor credited_minor charged_minor",
    ),
    (
        "billing.collections",
        "state method_id intent_id attempt_number charge_id failure_reason action_url updated_at try_at \
         overpaid_minor",
    ),
    (
        "billing.refunds",
        "state attempt_number refusals manual payments_refund_id updated_at try_at",
    ),
    ("payments.requests", "*"),
    ("payments.test_clock", "*"),
    ("payments.accounts", "country_code erased_at"),
    (
        "payments.methods",
        "is_default removed_at provider_code provider_token network_code bank_code app_code last_four expiry_month",
    ),
    (
        "payments.movements",
        "settled_minor refunded_minor provider_id state failure_reason retryable parked_reason action_url return_url \
         reference updated_at settled_at lease_token leased_until sent_at first_sent_at look_ups look_at overdue_told_at \
         overturned_at",
    ),
    ("payments.dispute_scans", "next_at done_at"),
    (
        "payments.disputes",
        "withheld_minor state evidence_due_at updated_at revision",
    ),
    ("billing.dunnings", "state retries next_at"),
    ("billing.usage_bills", "next_at look_at"),
    ("billing.rentals", "month_count next_at ended_at look_at"),
    ("billing.disputes", "withheld_minor taken_micros"),
    ("billing.recipients", "recipient"),
    // It stands for a provider's book, outside.
    ("payments.sandbox_book", "*"),
    (
        "payments.webhook_events",
        "state movement_id delivery_count attempt_count failure_reason processed_at try_at",
    ),
];

/// The only tables that a service deletes from.
const DELETED: &[&str] = &[
    "billing.requests",
    "billing.run_outcomes",
    "billing.parked_accounts",
    "billing.subscriptions",
    "billing.usage_bills",
    // What a deletion takes away, and what is kept for some years.
    "billing.usage_events",
    "billing.usage_days",
    "billing.recipients",
    "billing.retention_keys",
    "billing.sealed_recipients",
    "payments.requests",
    "payments.test_clock",
];

/// Rows that no book may hold: the table, its columns, and values with `{n}` for a number from 1 on.
const MALFORMED: &[(&str, &str)] = &[
    // A transfer from an account to itself, of nothing, of less, between accounts that do not exist.
    (
        "billing.ledger_entries",
        "gen_random_uuid(), now(), gen_random_uuid(), 3, 3, {n}, 'USD', 'X'",
    ),
    (
        "billing.ledger_entries",
        "gen_random_uuid(), now(), gen_random_uuid(), 3, 6, -{n}, 'USD', 'X'",
    ),
    (
        "billing.ledger_entries",
        "gen_random_uuid(), now(), gen_random_uuid(), 3, 6, {n} - {n}, 'USD', 'X'",
    ),
    (
        "billing.ledger_entries",
        "gen_random_uuid(), now(), gen_random_uuid(), 15 + {n}, 6, 1, 'USD', 'X'",
    ),
    (
        "billing.ledger_entries",
        "gen_random_uuid(), now(), gen_random_uuid(), 3, -{n}, 1, 'USD', 'X'",
    ),
    (
        "billing.ledger_entries",
        "gen_random_uuid(), now(), NULL, 3, 6, {n}, 'USD', 'X'",
    ),
    // Credit of nothing, with more left than it began with, of no kind.
    (
        "billing.lots (root_id, lot_id, kind, amount_micros, remaining_micros, created_at)",
        "gen_random_uuid(), gen_random_uuid(), 3, {n}, {n} + 1, now()",
    ),
    (
        "billing.lots (root_id, lot_id, kind, amount_micros, remaining_micros, created_at)",
        "gen_random_uuid(), gen_random_uuid(), 3, {n}, -1, now()",
    ),
    (
        "billing.lots (root_id, lot_id, kind, amount_micros, remaining_micros, created_at)",
        "gen_random_uuid(), gen_random_uuid(), 3 + {n}, 1, 1, now()",
    ),
    ("billing.balances", "gen_random_uuid(), 'USD', -{n}"),
    // Money received outside of nothing, or of less; a payment of no invoice, and one that makes an invoice.
    (
        "billing.invoice_payments",
        "gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 1 - {n}, 'W', '2026-01-01', 'x', now()",
    ),
    (
        "billing.collections (root_id, collection_id, purpose, state, currency, total_minor, intent_id, catalogue_version, created_at, updated_at)",
        "gen_random_uuid(), gen_random_uuid(), 'INVOICE', 'CREATED', 'USD', {n}, gen_random_uuid(), 'v1', now(), now()",
    ),
    (
        "billing.collections (root_id, collection_id, purpose, invoice_id, state, currency, total_minor, intent_id, catalogue_version, created_at, updated_at)",
        "gen_random_uuid(), gen_random_uuid(), 'RECHARGE', gen_random_uuid(), 'CREATED', 'USD', {n}, gen_random_uuid(), 'v1', now(), now()",
    ),
    // An invoice of less than nothing, paid beyond its total, credited beyond it, of no state, of no days.
    (
        "billing.invoices (invoice_id, series_id, number, root_id, family_code, period_start, period_end, currency, total_minor, from_balance_minor, state, issued_at)",
        "gen_random_uuid(), 1, {n}, gen_random_uuid(), '', '2026-01-01', '2026-01-02', 'USD', -{n}, 0, 1, now()",
    ),
    (
        "billing.invoices (invoice_id, series_id, number, root_id, family_code, period_start, period_end, currency, total_minor, from_balance_minor, state, issued_at)",
        "gen_random_uuid(), 1, {n}, gen_random_uuid(), '', '2026-01-01', '2026-01-02', 'USD', 1, 1 + {n}, 1, now()",
    ),
    (
        "billing.invoices (invoice_id, series_id, number, root_id, family_code, period_start, period_end, currency, total_minor, from_balance_minor, charged_minor, state, issued_at)",
        "gen_random_uuid(), 1, {n}, gen_random_uuid(), '', '2026-01-01', '2026-01-02', 'USD', {n}, {n}, 1, 1, now()",
    ),
    (
        "billing.invoices (invoice_id, series_id, number, root_id, family_code, period_start, period_end, currency, total_minor, from_balance_minor, credited_minor, state, issued_at)",
        "gen_random_uuid(), 1, {n}, gen_random_uuid(), '', '2026-01-01', '2026-01-02', 'USD', {n}, 0, {n} + 1, 1, now()",
    ),
    (
        "billing.invoices (invoice_id, series_id, number, root_id, family_code, period_start, period_end, currency, total_minor, from_balance_minor, state, issued_at)",
        "gen_random_uuid(), 1, {n}, gen_random_uuid(), '', '2026-01-01', '2026-01-02', 'USD', 1, 0, 4 + {n}, now()",
    ),
    (
        "billing.invoices (invoice_id, series_id, number, root_id, family_code, period_start, period_end, currency, total_minor, from_balance_minor, state, issued_at)",
        "gen_random_uuid(), 1, {n}, gen_random_uuid(), '', '2026-01-01', '2026-01-01', 'USD', 1, 0, 1, now()",
    ),
    (
        "billing.invoice_lines",
        "gen_random_uuid(), 1, 1, NULL, '2026-01-01', '2026-01-02', 0, -{n}",
    ),
    (
        "billing.collections (root_id, collection_id, state, currency, total_minor, intent_id, catalogue_version, created_at, updated_at)",
        "gen_random_uuid(), gen_random_uuid(), 'CREATED', 'USD', 1 - {n}, gen_random_uuid(), '', now(), now()",
    ),
    (
        "billing.collections (root_id, collection_id, state, currency, total_minor, intent_id, catalogue_version, created_at, updated_at)",
        "gen_random_uuid(), gen_random_uuid(), 'SUCCEEDED', 'USD', {n}, gen_random_uuid(), '', now(), now()",
    ),
    (
        "billing.collection_lines",
        "gen_random_uuid(), 1, 'CREDITS', '', '', -{n}",
    ),
    (
        "billing.collection_taxes",
        "gen_random_uuid(), 1, 'IGST', 1800, -{n}",
    ),
    (
        "billing.refunds (root_id, refund_id, intent_id, lot_id, charge_id, currency, amount_minor, fee_minor, state, due_on, created_at, updated_at)",
        "gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'USD', 1 - {n}, 0, 'CREATED', '2026-01-01', now(), now()",
    ),
    // Out of credit, and of no lot.
    (
        "billing.ledger_entries (root_id, posted_at, entry_id, debit, credit, amount_micros, currency, reason)",
        "gen_random_uuid(), now(), gen_random_uuid(), 3, 6, {n}, 'USD', 'INVOICE'",
    ),
    (
        "billing.credit_notes",
        "gen_random_uuid(), gen_random_uuid(), 1, {n}, gen_random_uuid(), 'USD', -{n}, '', '', now()",
    ),
    (
        "billing.runs (run_id, family_code, period_start, period_end, dry_run, phase, state, shard_count, expected_count, currency, cut_off_at, created_at)",
        "gen_random_uuid(), 'SUPPORT', '2026-01-01', '2026-02-01', false, 'SETTLE', 'ANY{n}', 1, 0, 'USD', now(), now()",
    ),
];

/// How often each malformed row is tried, with other numbers.
const TIMES: u32 = 24;

#[tokio::test]
async fn a_thousand_attempts_on_the_books_are_refused_by_the_database() {
    let h = Harness::start().await;
    let mut refused = 0;
    for schema in ["billing", "payments"] {
        let url = h.suite.database.url(&format!("{schema}_service"));
        let role = PgPool::connect(&url).await.unwrap();
        let powers: (bool, bool, bool) = sqlx::query_as(
            "SELECT rolsuper, rolbypassrls, EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                                                    WHERE n.nspname = $1 AND c.relowner = r.oid)
             FROM pg_roles r WHERE rolname = current_user",
        )
        .bind(schema)
        .fetch_one(&role)
        .await
        .unwrap();
        assert_eq!(powers, (false, false, false), "no superuser, no owner");
        for (table, columns) in tables(&h, schema).await {
            for column in columns {
                if !changes(&table, &column) {
                    let sql = format!("UPDATE {table} SET {column} = {column}");
                    refused += is_refused(&role, &sql, DENIED).await;
                }
            }
            if !DELETED.contains(&table.as_str()) {
                refused += is_refused(&role, &format!("DELETE FROM {table}"), DENIED).await;
            }
            for sql in [
                format!("TRUNCATE {table}"),
                format!("DROP TABLE {table}"),
                format!("ALTER TABLE {table} ADD COLUMN more integer"),
                format!("ALTER TABLE {table} DISABLE TRIGGER ALL"),
                format!("ALTER TABLE {table} OWNER TO {schema}_service"),
                format!("CREATE POLICY mine ON {table} USING (true)"),
                format!("CREATE INDEX ON {table} ((1))"),
            ] {
                refused += is_refused(&role, &sql, DENIED).await;
            }
        }
    }
    let url = h.suite.database.url("billing_service");
    let role = PgPool::connect(&url).await.unwrap();
    for (table, values) in MALFORMED {
        for number in 1..=TIMES {
            let values = values.replace("{n}", &number.to_string());
            let sql = format!("INSERT INTO {table} VALUES ({values})");
            refused += is_refused(&role, &sql, &["23"]).await;
        }
    }
    println!("{refused} statements refused");
    assert!(1_000 <= refused, "{refused}");
}

/// Whether a service may change a column.
fn changes(table: &str, column: &str) -> bool {
    CHANGED.iter().any(|(name, columns)| {
        *name == table && (*columns == "*" || columns.split_whitespace().any(|it| it == column))
    })
}

/// The tables of a schema with their columns.
async fn tables(h: &Harness, schema: &str) -> Vec<(String, Vec<String>)> {
    sqlx::query_as(
        "SELECT table_schema || '.' || table_name, array_agg(column_name::text)
         FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
         WHERE table_schema = $1 AND table_type = 'BASE TABLE' GROUP BY 1 ORDER BY 1",
    )
    .bind(schema)
    .fetch_all(&h.db)
    .await
    .unwrap()
}

/// What says that a role may not: a column that the database numbers by itself is refused before it is asked who.
const DENIED: &[&str] = &["42501", "428C9"];

/// Tries a statement, and undoes it where it was not refused by a code that begins with one of these.
async fn is_refused(role: &PgPool, sql: &str, codes: &[&str]) -> i32 {
    let mut tx = role.begin().await.unwrap();
    let _ = tx
        .execute("SELECT set_config('app.tenant', 'all', true)")
        .await;
    let done = tx.execute(AssertSqlSafe(sql.to_owned())).await;
    let error = done.expect_err(sql);
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    let code = code.unwrap_or_default().into_owned();
    assert!(
        codes.iter().any(|it| code.starts_with(it)),
        "{sql}: {error}"
    );
    1
}
