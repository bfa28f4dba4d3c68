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
    (
        "billing.unposted_events",
        "reason set_aside_at attempt_count try_at posted_at",
    ),
    ("billing.auto_recharges", "*"),
    ("billing.job_claims", "*"),
    ("account.job_claims", "*"),
    ("plan.job_claims", "*"),
    ("payments.job_claims", "*"),
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
         overpaid_minor look_at chosen_method_id paid_method_id",
    ),
    (
        "billing.refunds",
        "state attempt_number refusals manual payments_refund_id updated_at try_at look_at",
    ),
    ("account.payout_details", "*"),
    // What operators wrote, which is erased with the account.
    ("billing.credit_notes", "reason"),
    ("billing.invoices_ended", "reason"),
    ("billing.voided_credits", "reason"),
    ("billing.collection_lines", "start_on end_on"),
    ("payments.requests", "*"),
    ("payments.test_clock", "*"),
    ("payments.accounts", "country_code erased_at"),
    // How an account stands, as its owner tells (D37).
    ("payments.roots", "standings standing_revision limited_at"),
    (
        "payments.methods",
        "is_default removed_at provider_code provider_token network_code bank_code app_code last_four expiry_month \
         off_session_allowed kept_for_refund",
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
    ("billing.disputes", "withheld_minor taken_micros told_state"),
    (
        "billing.recipients",
        "recipient country_code state_code export_supply",
    ),
    // It stands for a provider's book, outside.
    ("payments.sandbox_book", "*"),
    (
        "payments.webhook_events",
        "state movement_id delivery_count attempt_count failure_reason processed_at try_at",
    ),
];

/// The only tables that a service deletes from.
const DELETED: &[&str] = &[
    "account.job_claims",
    "billing.job_claims",
    "payments.job_claims",
    "plan.job_claims",
    "billing.requests",
    "billing.run_outcomes",
    "billing.parked_accounts",
    "billing.subscriptions",
    "billing.usage_bills",
    "billing.overdue_periods",
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
    // Voided numbers that are none, or end before they begin.
    (
        "billing.voided_numbers",
        "1, 1 - {n}, 1, gen_random_uuid(), 'x', now()",
    ),
    (
        "billing.voided_numbers",
        "1, {n} + 1, {n}, gen_random_uuid(), 'x', now()",
    ),
    // Numbers that are not their payers'.
    (
        "billing.number_blocks",
        "gen_random_uuid(), 0, 0, 1, 1, {n}, '{}'",
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

/// What each service may not do to what it may otherwise change: the schema, the statement, and the code it is refused
/// with. `{ac}` is a root account.
const FINAL: &[(&str, &str, &str)] = &[
    // A catalogue's version never changes.
    ("plan", "UPDATE plan.catalogues SET document = ''", "42501"),
    (
        "plan",
        "UPDATE plan.catalogues SET digest = repeat('0', 64)",
        "42501",
    ),
    ("plan", "UPDATE plan.catalogues SET version = 'v0'", "42501"),
    ("plan", "UPDATE plan.contracts SET plan_code = ''", "42501"),
    (
        "plan",
        "UPDATE plan.contract_members SET joined_at = now()",
        "42501",
    ),
    (
        "payments",
        "UPDATE payments.catalogues SET document = ''",
        "42501",
    ),
    // What is closed or erased stays so.
    (
        "plan",
        "UPDATE plan.accounts SET closed_at = NULL WHERE account_id = '{ac}'",
        "23514",
    ),
    (
        "billing",
        "UPDATE billing.accounts SET closed_at = NULL WHERE account_id = '{ac}'",
        "23514",
    ),
    (
        "billing",
        "UPDATE billing.accounts SET erased_at = NULL WHERE account_id = '{ac}'",
        "23514",
    ),
    (
        "payments",
        "UPDATE payments.accounts SET erased_at = NULL WHERE account_id = '{ac}'",
        "23514",
    ),
    (
        "account",
        "UPDATE account.accounts SET closed_at = NULL WHERE account_id = '{ac}'",
        "23514",
    ),
    (
        "account",
        "UPDATE account.accounts SET closed_at = now() WHERE account_id = '{ac}'",
        "23514",
    ),
    // What is set aside for refunds is not given out twice.
    (
        "payments",
        "SET CONSTRAINTS ALL IMMEDIATE; UPDATE payments.movements SET refunded_minor = 0 WHERE kind = 'CHARGE'",
        "23514",
    ),
    // What the tokens of lists are sealed with is nobody's to choose.
    (
        "plan",
        "UPDATE plan.page_keys SET key = sha256('')",
        "42501",
    ),
    (
        "billing",
        "UPDATE billing.page_keys SET key = sha256('')",
        "42501",
    ),
    (
        "account",
        "UPDATE account.page_keys SET key = sha256('')",
        "42501",
    ),
    (
        "payments",
        "UPDATE payments.page_keys SET key = sha256('')",
        "42501",
    ),
];

/// What no service may do to the end of a chain of its audit, in each schema.
const HEADS: &[&str] = &[
    "UPDATE {schema}.audit_heads SET sequence = sequence - 1",
    "UPDATE {schema}.audit_heads SET sequence = sequence + 2",
    "UPDATE {schema}.audit_heads SET entry_hash = sha256('')",
    "UPDATE {schema}.audit_heads SET anchored_sequence = sequence + 1",
    "UPDATE {schema}.audit_heads SET key = sha256('')",
    "INSERT INTO {schema}.audit_heads (root_id, sequence) VALUES (gen_random_uuid(), 7)",
];

#[tokio::test]
async fn what_is_final_stays_as_it_is_whatever_a_service_says() {
    let h = Harness::start().await;
    let ac = h.account().await;
    let ac = uuid::Uuid::try_parse(&ac[2..]).unwrap().to_string();
    for sql in [
        "UPDATE plan.accounts SET closed_at = now()",
        "UPDATE billing.accounts SET closed_at = now(), erased_at = now()",
        "UPDATE payments.accounts SET erased_at = now()",
        "UPDATE account.accounts SET closed_at = now() - interval '1 day'",
    ] {
        h.db.execute(sql).await.unwrap();
    }
    let moved = format!(
        "WITH charge AS (
            INSERT INTO payments.movements (root_id, movement_id, kind, subject_id, refund_key, attempt_number, currency,
                amount_minor, settled_minor, refunded_minor, purpose, plan_code, cycle_code, method_id, method_code,
                provider_code, provider_key, unattended, return_url, state, created_at, updated_at, settled_at)
            VALUES ('{ac}', gen_random_uuid(), 'CHARGE', gen_random_uuid(), '', 1, 'USD', 1000, 1000, 400, 'CREDITS', '', '',
                gen_random_uuid(), 'CARD', '', gen_random_uuid(), false, '', 'SUCCEEDED', now(), now(), now())
            RETURNING root_id, movement_id)
         INSERT INTO payments.movements (root_id, movement_id, kind, subject_id, refund_key, attempt_number, currency,
                amount_minor, settled_minor, refunded_minor, purpose, plan_code, cycle_code, method_id, method_code,
                provider_code, provider_key, unattended, return_url, state, created_at, updated_at, settled_at)
         SELECT root_id, gen_random_uuid(), 'REFUND', movement_id, 'r', 1, 'USD', 400, 400, 0, 'CREDITS', '', '',
                gen_random_uuid(), 'CARD', '', gen_random_uuid(), false, '', 'SUCCEEDED', now(), now(), now() FROM charge"
    );
    h.db.execute(AssertSqlSafe(moved)).await.unwrap();
    for schema in ["plan", "billing", "payments", "account"] {
        let url = h.suite.database.url(&format!("{schema}_service"));
        let role = PgPool::connect(&url).await.unwrap();
        for sql in HEADS {
            is_refused(&role, &sql.replace("{schema}", schema), &["23514"]).await;
        }
        for (_, sql, code) in FINAL.iter().filter(|(of, ..)| *of == schema) {
            is_refused(&role, &sql.replace("{ac}", &ac), &[*code]).await;
        }
        // R17: also for who connects as the service without being it.
        for (setting, time) in [
            ("statement_timeout", "30s"),
            ("lock_timeout", "5s"),
            ("idle_in_transaction_session_timeout", "5s"),
        ] {
            let shown: String = sqlx::query_scalar("SELECT current_setting($1)")
                .bind(setting)
                .fetch_one(&role)
                .await
                .unwrap();
            assert_eq!(shown, time, "{schema} {setting}");
        }
    }
    // News of a tenant and messages of providers are not seen before a tenant was entered.
    let url = h.suite.database.url("account_service");
    let role = PgPool::connect(&url).await.unwrap();
    let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM account.outbox")
        .fetch_one(&role)
        .await
        .unwrap();
    assert_eq!(seen, 0);
    assert!(0 < h.count("SELECT count(*) FROM account.outbox").await);
    let url = h.suite.database.url("checker");
    let checker = PgPool::connect(&url).await.unwrap();
    for view in [
        "plan_check.account",
        "account_check.account",
        "account_check.transition",
    ] {
        let sql = format!("SELECT count(*) FROM {view}");
        let seen: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(&checker)
            .await
            .unwrap();
        assert!(0 < seen, "{view}");
    }
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
