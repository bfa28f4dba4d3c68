//! Every statement, explained on a database in which everybody else has much: none of them reads a table that grows
//! with customers from end to end. Twenty thousand rows a table, a million with `PERDIEM_FULL`.
//!
//! The statements that are checked as the code is compiled come from `.sqlx`, the others from the tree. What may be
//! absent (`$1 IS NULL OR …`) is explained both ways; a page has ten rows. Functions are called, and the database tells
//! which tables they read from end to end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};

use crate::deletion::PLACES;
use crate::harness::database;

/// Statements that may read a growing table as a whole, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    (
        "account.payout_details.to_look_at",
        "few accounts have details; the rows made up here give each account some",
    ),
    (
        "account.roots.to_tell",
        "few standings are untold; of the rows made up here all are",
    ),
    (
        "billing.invoices.by_runs",
        "reads the invoices of a range of payers and a month; the rows made up here are of one month",
    ),
    (
        "billing.invoices.list_of",
        "an account is always given; without one it is not asked",
    ),
    (
        "billing.run_outcomes.list",
        "the outcomes of a run are an operator's; an index for them would be written by each run",
    ),
    (
        "billing.voided_numbers.void_unused",
        "asked once, when a run is cancelled",
    ),
    (
        "billing.accounts.count_roots",
        "counts the payers of a run, once a run and before its locks",
    ),
    (
        "billing.balances.count",
        "a reconciliation of everybody counts whom it compared",
    ),
    (
        "billing.balances.currencies",
        "a reconciliation reads the whole ledger",
    ),
    (
        "billing.ledger_entries.differences",
        "a reconciliation reads the whole ledger",
    ),
    (
        "billing.invoices.list",
        "a list of everybody's invoices is an operator's; an index for it would be written by each run",
    ),
    (
        "billing.run_outcomes.compare",
        "two runs are compared account by account",
    ),
    (
        "billing.run_outcomes.largest_differences",
        "two runs are compared account by account",
    ),
];

/// Tables that don't grow with customers: by catalogue, month, run, provider or process.
const SMALL: &[&str] = &[
    "plan.catalogues",
    "payments.catalogues",
    "payments.dispute_scans",
    "billing.invoice_series",
    "billing.ledger_accounts",
    "billing.overdue_periods",
    "billing.run_shards",
    "billing.runs",
    "billing.terms",
    "billing.usage_closings",
];

/// The same in each schema.
const SMALL_EVERYWHERE: &[&str] = &[
    "_sqlx_migrations",
    // Work that is done is no row: what stays is what fails.
    "job_claims",
    "page_keys",
    "test_clock",
    "watch_positions",
];

/// The statements that are not checked as the code is compiled: a new one is written down here. Those of `chassis` are
/// of each schema.
const PLAIN: &[&str] = &[
    "billing.balances.overdraw",
    "billing.lots.spend",
    "billing.outbox.balances_crossed",
    "billing.run_outcomes.compare",
    "billing.run_outcomes.largest_differences",
    "billing.usage_days.add",
    "billing.usage_events.insert_new",
    "billing.usage_months.add",
    "payments.movements.attempt",
    "payments.movements.get",
    "payments.movements.list",
    "payments.movements.lock",
    "payments.movements.sent_between",
    "plan.billable.stream",
    "{schema}.audit.anchored",
    "{schema}.audit.end_unit",
    "{schema}.audit.grown",
    "{schema}.audit.head",
    "{schema}.audit.list",
    "{schema}.audit.page",
    "{schema}.job_claims.claim",
    "{schema}.job_claims.done",
    "{schema}.job_claims.due_aside",
    "{schema}.job_claims.forget",
    "{schema}.job_claims.hold",
    "{schema}.job_claims.parked",
    "{schema}.job_claims.put_aside",
    "{schema}.job_claims.renew",
    "{schema}.job_claims.retry",
    "{schema}.outbox.newest",
    "{schema}.page_keys.get",
    "{schema}.requests.begin",
    "{schema}.requests.forget",
    "{schema}.requests.forget_about",
    "{schema}.requests.known",
    "{schema}.requests.refuse",
    "{schema}.test_clock.now",
    "{schema}.test_clock.set",
];

/// What most rows of a table hold, where it is not made up by its type.
const USUAL: &[(&str, &str)] = &[
    ("account.accounts.limited_at", "NULL"),
    ("account.accounts.opened_at", "now()"),
    ("account.accounts.soft_close_by_operator", "NULL"),
    ("account.accounts.type", "'FULL'"),
    ("account.closings.state", "'DONE'"),
    ("account.kyc_submissions.state", "'APPROVED'"),
    ("account.notifications.state", "'SENT'"),
    ("account.orders.state", "'COMPLETED'"),
    ("billing.closings.state", "'SETTLED'"),
    ("billing.collections.action_url", "''"),
    ("billing.collections.purpose", "'ORDER'"),
    ("billing.collections.state", "'SUCCEEDED'"),
    ("billing.invoices.state", "2"),
    ("billing.lots.expires_at", "now() - i * interval '1 s'"),
    ("billing.lots.forfeited_at", "NULL"),
    ("billing.lots.kind", "3"),
    ("billing.outbox.kind", "'BALANCE_CROSSED'"),
    ("billing.refunds.state", "'SUCCEEDED'"),
    ("billing.subscriptions.state", "'ACTIVE'"),
    ("payments.disputes.state", "'WON'"),
    ("payments.movements.kind", "'CHARGE'"),
    ("payments.movements.state", "'SUCCEEDED'"),
    ("payments.sandbox_book.state", "'SUCCEEDED'"),
    ("payments.webhook_events.state", "'PROCESSED'"),
];

fn rows() -> u32 {
    if std::env::var_os("PERDIEM_FULL").is_some() {
        1_000_000
    } else {
        20_000
    }
}

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The name of a statement: its first line, without what makes it a comment.
fn name_of(sql: &str) -> &str {
    let first = sql.lines().next().unwrap_or_default();
    first.trim_start_matches("-- ").trim()
}

/// The statements that are checked, as sqlx keeps them.
fn checked() -> BTreeSet<String> {
    let kept = fs::read_dir(tree().join(".sqlx")).unwrap();
    kept.map(|file| {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let kept: Value = serde_json::from_str(&text).unwrap();
        kept["query"].as_str().unwrap().to_owned()
    })
    .collect()
}

/// The sources under a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

/// The string literal that a text begins with, and what follows it.
fn literal(text: &str) -> Option<(String, &str)> {
    if let Some(raw) = text.strip_prefix("r#\"") {
        let (inside, rest) = raw.split_once("\"#")?;
        return Some((inside.to_owned(), rest));
    }
    let inside = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = inside.find(|it: char| {
        let closes = it == '"' && !escaped;
        escaped = it == '\\' && !escaped;
        closes
    })?;
    let said = inside[..end].replace("\\n", "\n").replace("\\\"", "\"");
    Some((said, &inside[end + 1..]))
}

/// The literal after a comma.
fn next_literal(rest: &str) -> Option<String> {
    let rest = rest.trim_start().strip_prefix(',')?.trim_start();
    literal(rest).map(|(said, _)| said)
}

/// The statements that a source holds in literals.
fn statements_in(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("\"-- ") {
        let raw = text[..at].ends_with("r#");
        let begins = if raw { at - 2 } else { at };
        let Some((said, rest)) = literal(&text[begins..]) else {
            continue;
        };
        let joined = text[..begins].trim_end().ends_with("concat!(");
        match next_literal(rest) {
            Some(more) if joined => found.push(said + &more),
            // The head of a macro that names the statement.
            None if joined => {}
            _ => found.push(said),
        }
    }
    for (at, call) in text.match_indices("movements!(") {
        let inside = text[at + call.len()..].trim_start();
        if let Some((name, rest)) = literal(inside)
            && let Some(condition) = next_literal(rest)
        {
            found.push(format!(
                "-- payments.movements.{name}\nSELECT * FROM payments.movements {condition}"
            ));
        }
    }
    found
}

/// The statements of the tree that are of a schema, by name.
fn of_tree() -> BTreeMap<String, String> {
    let mut files = Vec::new();
    for service in ["plan", "billing", "account-lifecycle", "payments"] {
        sources(
            &tree().join("services").join(service).join("src"),
            &mut files,
        );
    }
    sources(&tree().join("shared/chassis/src"), &mut files);
    let mut found = BTreeMap::new();
    for file in files {
        for sql in statements_in(&fs::read_to_string(file).unwrap()) {
            let name = name_of(&sql).to_owned();
            let schema = name.split('.').next().unwrap_or_default();
            if schema == "{schema}" || cluster::SERVICES.contains(&schema) {
                found.insert(name, sql);
            }
        }
    }
    found
}

/// The statements of a schema.
fn statements(schema: &str) -> Vec<String> {
    let checked = checked();
    let roots = match schema {
        "account" | "payments" => format!("{schema}.roots"),
        _ => format!("{schema}.accounts"),
    };
    let plain = of_tree()
        .into_iter()
        .filter(|(name, _)| !checked.iter().any(|sql| name_of(sql) == name.as_str()));
    let plain: Vec<String> = plain
        .map(|(name, sql)| {
            if !name.starts_with("{schema}") {
                return sql;
            }
            sql.replace("{schema}", schema)
                .replace("{roots}", &roots)
                .replace("{lock}", "")
                .replace("{{", "{")
                .replace("}}", "}")
        })
        .collect();
    let own = format!("{schema}.");
    let places = PLACES.iter().filter(|(of, _)| *of == schema);
    let walk = places.flat_map(|(_, places)| chassis::erasures(schema, places));
    checked
        .into_iter()
        .chain(plain)
        .chain(walk)
        .filter(|sql| name_of(sql).starts_with(&own))
        .collect()
}

#[test]
fn each_statement_that_is_not_checked_is_written_down() {
    let checked = checked();
    let names: BTreeSet<&str> = checked.iter().map(|sql| name_of(sql)).collect();
    let tree = of_tree();
    let plain: BTreeSet<&str> = tree
        .keys()
        .map(String::as_str)
        .filter(|name| !names.contains(name))
        .collect();
    assert_eq!(plain, PLAIN.iter().copied().collect());
    for (name, _) in EXCEPTIONS {
        assert!(tree.contains_key(*name), "there is no {name} any more");
    }
}

/// A piece of a statement that begins with a parameter: its number, and where what follows it begins.
fn parameter(text: &str) -> Option<(usize, usize)> {
    let digits: String = text[1..].chars().take_while(char::is_ascii_digit).collect();
    let number = digits.parse().ok()?;
    Some((number, 1 + digits.len()))
}

/// A statement in which what may be absent is given, or is not; where a page ends at ten rows, and its parameters are
/// numbered anew.
fn told(sql: &str, given: bool) -> (String, usize) {
    let absent = if given { "false" } else { "true" };
    let mut said = String::new();
    let mut rest = sql;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        said.push_str(before);
        let Some((_, end)) = parameter(from) else {
            said.push('$');
            rest = &from[1..];
            continue;
        };
        let after = &from[end..];
        let cast = after.strip_prefix("::").map_or(0, |it| {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            2 + it.find(|c: char| !word(c)).unwrap_or(it.len())
        });
        let asks = [" IS NULL", " = ''"];
        let asks = asks.iter().find(|it| after[cast..].starts_with(**it));
        if let Some(asks) = asks {
            said.push_str(absent);
            rest = &after[cast + asks.len()..];
        } else if said.ends_with("LIMIT ") {
            said.push_str("10");
            rest = after;
        } else {
            said.push_str(&from[..end]);
            rest = after;
        }
    }
    said.push_str(rest);
    renumbered(&said)
}

/// A statement with its parameters numbered from 1 without gaps, and how many these are.
fn renumbered(sql: &str) -> (String, usize) {
    let numbers: BTreeSet<usize> = sql
        .match_indices('$')
        .filter_map(|(at, _)| parameter(&sql[at..]))
        .map(|(number, _)| number)
        .collect();
    let mut said = String::new();
    let mut rest = sql;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        said.push_str(before);
        said.push('$');
        rest = &from[1..];
        if let Some((number, end)) = parameter(from) {
            let place = numbers.iter().take_while(|it| **it < number).count() + 1;
            said.push_str(&place.to_string());
            rest = &from[end..];
        }
    }
    said.push_str(rest);
    (said, numbers.len())
}

#[test]
fn what_may_be_absent_is_told_both_ways() {
    let sql = "SELECT 1 FROM t WHERE ($1::uuid IS NULL OR a = $1) AND ($2 = '' OR b = $2) AND c IS NULL LIMIT $3 + $4";
    let of = |given| told(sql, given);
    assert_eq!(
        of(true),
        (
            "SELECT 1 FROM t WHERE (false OR a = $1) AND (false OR b = $2) AND c IS NULL LIMIT 10 + $3"
                .to_owned(),
            3
        )
    );
    assert!(
        of(false)
            .0
            .contains("(true OR a = $1) AND (true OR b = $2)")
    );
}

/// A column as the database describes it: table, name, type, whether it is never null, whether it numbers itself.
type Column = (String, String, String, bool, bool);

/// What row `i` has in a column; `None` leaves it to the column's default.
fn made_up(schema: &str, (table, name, of, never_null, own): &Column) -> Option<String> {
    if *own || of == "xid8" {
        return None;
    }
    let usual = format!("{schema}.{table}.{name}");
    if let Some((_, value)) = USUAL.iter().find(|(column, _)| *column == usual) {
        return Some((*value).to_owned());
    }
    let words = [
        "kind",
        "state",
        "phase",
        "category",
        "currency",
        "purpose",
        "source",
        "method",
        "time_zone",
    ];
    let value = match of.as_str() {
        // An account is its own root, and its own payer.
        "uuid" if ["root_id", "account_id", "payer_id"].contains(&name.as_str()) => {
            "md5('root' || i)::uuid".to_owned()
        }
        "uuid" => format!("md5('{name}' || i)::uuid"),
        "text" if name.ends_with("_code") || words.contains(&name.as_str()) => {
            "'X' || i % 5".to_owned()
        }
        "text" => format!("'{name}' || i"),
        "boolean" => "false".to_owned(),
        "smallint" | "integer" => "1".to_owned(),
        "bigint" => "i".to_owned(),
        "timestamp with time zone" => "now() - i * interval '1 minute'".to_owned(),
        "date" => "current_date - i % 60".to_owned(),
        "bytea" => "'\\x00'::bytea".to_owned(),
        "json" | "jsonb" => format!("'{{}}'::{of}"),
        array if array.ends_with("[]") => format!("'{{}}'::{of}"),
        other => panic!("nothing is made up for {usual}, which is {other}"),
    };
    Some(if *never_null {
        value
    } else {
        format!("CASE WHEN i % 2 = 0 THEN {value} END")
    })
}

fn is_small(schema: &str, table: &str) -> bool {
    SMALL_EVERYWHERE.contains(&table) || SMALL.contains(&format!("{schema}.{table}").as_str())
}

/// Fills the growing tables of a schema. What rows are made up keep no rules: what only checks goes.
async fn fill(db: &mut PgConnection, schema: &str) {
    let checks: Vec<String> = sqlx::query_scalar(
        "SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', c.conrelid::regclass, c.conname)
         FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
         WHERE n.nspname = $1 AND c.contype = 'c' AND c.conrelid <> 0",
    )
    .bind(schema)
    .fetch_all(&mut *db)
    .await
    .unwrap();
    for check in checks {
        db.execute(AssertSqlSafe(check)).await.unwrap();
    }
    // No trigger looks at what is filled in.
    db.execute("SET session_replication_role = replica")
        .await
        .unwrap();
    let columns: Vec<Column> = sqlx::query_as(
        "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, NULL), a.attnotnull, a.attidentity <> ''
         FROM pg_class c
         JOIN pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE n.nspname = $1 AND c.relkind = 'r' AND 0 < a.attnum AND NOT a.attisdropped AND a.attgenerated = ''
         ORDER BY c.relname, a.attnum",
    )
    .bind(schema)
    .fetch_all(&mut *db)
    .await
    .unwrap();
    let same_table = |a: &Column, b: &Column| a.0 == b.0;
    for of_table in columns.chunk_by(same_table) {
        let table = &of_table[0].0;
        if is_small(schema, table) {
            continue;
        }
        let (names, values): (Vec<String>, Vec<String>) = of_table
            .iter()
            .filter_map(|column| Some((format!("\"{}\"", column.1), made_up(schema, column)?)))
            .unzip();
        let sql = format!(
            "INSERT INTO {schema}.{table} ({}) SELECT {} FROM generate_series(1, {}) i",
            names.join(", "),
            values.join(", "),
            rows()
        );
        if let Err(error) = db.execute(AssertSqlSafe(sql)).await {
            panic!("{schema}.{table}: {error}");
        }
    }
    db.execute("RESET session_replication_role").await.unwrap();
    db.execute("VACUUM ANALYZE").await.unwrap();
}

/// What is wrong with a plan, and what is not.
struct Reader<'a> {
    schema: &'a str,
    /// The indexes that hold some rows only: they are read as a whole where these are the ones that are asked for.
    partial: &'a BTreeSet<String>,
    wrong: Vec<String>,
}

impl Reader<'_> {
    /// Looks through a node and what is below it; `paged` says that it is read only until a page is full.
    fn look(&mut self, node: &Value, paged: bool) {
        let text = |key: &str| node[key].as_str().unwrap_or_default();
        let kind = text("Node Type");
        let grows = !text("Relation Name").is_empty()
            && text("Schema") == self.schema
            && !is_small(self.schema, text("Relation Name"));
        let (table, index) = (text("Relation Name"), text("Index Name"));
        if kind == "Seq Scan" && grows {
            self.wrong.push(format!("reads all of {table}"));
        }
        let by_index = ["Index Scan", "Index Only Scan", "Bitmap Index Scan"].contains(&kind);
        let whole = by_index && node["Index Cond"].is_null() && !self.partial.contains(index);
        // A bitmap names no table: its index does.
        if whole && (grows || kind == "Bitmap Index Scan") {
            if !paged {
                self.wrong.push(format!("reads all of {index}"));
            } else if text("Filter").contains("SubPlan") {
                self.wrong
                    .push(format!("looks in {index} for what others may have"));
            }
        }
        let gathers = ["Sort", "Aggregate", "Hash", "WindowAgg", "Materialize"].contains(&kind);
        let paged = (paged || kind == "Limit") && !gathers;
        for below in node["Plans"].as_array().into_iter().flatten() {
            self.look(below, paged);
        }
    }
}

/// The plan of a prepared statement, with these arguments.
async fn explained(db: &mut PgConnection, options: &str, arguments: &str) -> sqlx::Result<Value> {
    let sql = format!("EXPLAIN (FORMAT JSON, VERBOSE{options}) EXECUTE explained{arguments}");
    let row = db.fetch_one(AssertSqlSafe(sql)).await?;
    let plan: Value = row.get(0);
    Ok(plan[0]["Plan"].clone())
}

/// The plan of a statement whatever its parameters are.
async fn plan_of(db: &mut PgConnection, sql: &str, given: bool) -> sqlx::Result<Value> {
    let (sql, parameters) = told(sql, given);
    let arguments = if parameters == 0 {
        String::new()
    } else {
        format!("({})", vec!["NULL"; parameters].join(", "))
    };
    db.execute("DEALLOCATE ALL").await?;
    let prepared = format!("PREPARE explained AS {sql}");
    db.execute(AssertSqlSafe(prepared)).await?;
    explained(db, "", &arguments).await
}

/// A database with a filled schema, entered as its service for all tenants.
async fn filled(schema: &str) -> PgConnection {
    let (own, _) = database().await;
    let mut db = PgConnection::connect(&own.url("postgres")).await.unwrap();
    fill(&mut db, schema).await;
    let entered = format!("SET ROLE {schema}_service; SET app.tenant = 'all'");
    db.execute(AssertSqlSafe(entered)).await.unwrap();
    db
}

/// Explains every statement of a schema.
async fn holds(schema: &str) -> PgConnection {
    let mut db = filled(schema).await;
    let partial: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indpred IS NOT NULL",
    )
    .fetch_all(&mut db)
    .await
    .unwrap();
    let partial: BTreeSet<String> = partial.into_iter().collect();
    db.execute("SET plan_cache_mode = force_generic_plan")
        .await
        .unwrap();
    let mut wrong = Vec::new();
    let statements = statements(schema);
    assert!(20 < statements.len(), "{}", statements.len());
    for sql in &statements {
        let name = name_of(sql);
        if EXCEPTIONS.iter().any(|(except, _)| *except == name) {
            continue;
        }
        for given in [true, false] {
            let mut reader = Reader {
                schema,
                partial: &partial,
                wrong: Vec::new(),
            };
            match plan_of(&mut db, sql, given).await {
                Ok(plan) => reader.look(&plan, false),
                Err(error) => reader.wrong.push(format!("is not explained: {error}")),
            }
            let how = if given { "given" } else { "absent" };
            wrong.extend(
                reader
                    .wrong
                    .iter()
                    .map(|it| format!("{name} ({how}): {it}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    db.execute("SET plan_cache_mode = auto").await.unwrap();
    db
}

/// How many rows a plan that was carried out has read of tables.
fn rows_read(node: &Value) -> i64 {
    // Some releases write them with decimals.
    let number = |key: &str| -> i64 {
        let said = node[key].to_string();
        let whole = said.split('.').next().unwrap_or_default();
        whole.parse().unwrap_or_default()
    };
    let kind = node["Node Type"].as_str().unwrap_or_default();
    let own = if kind.ends_with("Scan") && node["Relation Name"].is_string() {
        let each = number("Actual Rows")
            + number("Rows Removed by Filter")
            + number("Rows Removed by Index Recheck");
        each * number("Actual Loops")
    } else {
        0
    };
    let below = node["Plans"].as_array().into_iter().flatten();
    own + below.map(rows_read).sum::<i64>()
}

/// Carries a statement out with these arguments and sees that it reads at most so many rows.
async fn reads(db: &mut PgConnection, name: &str, arguments: &str, most: i64) {
    let all = checked();
    let sql = all.iter().find(|sql| name_of(sql) == name).unwrap();
    db.execute("DEALLOCATE ALL").await.unwrap();
    let prepared = format!("PREPARE explained AS {sql}");
    db.execute(AssertSqlSafe(prepared)).await.unwrap();
    let plan = explained(db, ", ANALYZE", arguments).await.unwrap();
    let read = rows_read(&plan);
    assert!(read <= most, "{name} reads {read} rows: {plan:#}");
}

/// What is known of a request, and how a unit of work begins and ends, in each schema.
const UNIT: [&str; 3] = [
    "SELECT {schema}.known_request('person:x', '', 'M', md5('unit')::uuid, md5('root1')::uuid)",
    "SELECT {schema}.begin_unit('person:x', '', 'M', md5('unit')::uuid, sha256('x'), now(), 'all', md5('root1')::uuid,
                                md5('root1')::uuid)",
    "SELECT {schema}.end_unit('person:x', '', 'M', md5('unit')::uuid, sha256('x'), 'answer', NULL, NULL, '{}',
                              md5('root1')::uuid, NULL, '', now())",
];

/// Calls functions of a schema, whose statements nobody explains, and sees that they read growing tables by an index.
async fn called(db: &mut PgConnection, schema: &str, calls: &[&str]) {
    for call in UNIT.iter().chain(calls) {
        db.execute("BEGIN").await.unwrap();
        db.execute(AssertSqlSafe(call.replace("{schema}", schema)))
            .await
            .unwrap_or_else(|error| panic!("{call}: {error}"));
        let read: Vec<String> = sqlx::query_scalar(
            "SELECT relname::text FROM pg_stat_xact_user_tables WHERE schemaname = $1 AND 0 < seq_scan",
        )
        .bind(schema)
        .fetch_all(&mut *db)
        .await
        .unwrap();
        db.execute("ROLLBACK").await.unwrap();
        let whole: Vec<_> = read.iter().filter(|it| !is_small(schema, it)).collect();
        assert!(whole.is_empty(), "{call} reads all of {whole:?}");
    }
}

#[tokio::test]
async fn the_statements_of_plan_read_what_they_answer() {
    let mut db = holds("plan").await;
    called(
        &mut db,
        "plan",
        &["SELECT plan.hold_timelines(ARRAY[md5('root1'), md5('root2')]::uuid[])"],
    )
    .await;
    // A page in the midst of all that is unread.
    let page = "('1:1:', '1:9223372036854775807:', 1000, 10)";
    reads(&mut db, "plan.outbox.list", page, 30).await;
    let member = "(md5('root1')::uuid, NULL, 10)";
    reads(&mut db, "plan.contracts.list", member, 10).await;
}

#[tokio::test]
async fn the_statements_of_billing_read_what_they_answer() {
    let mut db = holds("billing").await;
    called(&mut db, "billing", &[]).await;
    let far_apart = "(ARRAY['00000000-0000-0000-0000-000000000000', md5('root1'), md5('root2'),
                            'ffffffff-ffff-ffff-ffff-ffffffffffff']::uuid[])";
    reads(&mut db, "billing.lots.list_of", far_apart, 20).await;
    reads(
        &mut db,
        "billing.lots.roots_with_expired",
        "(now(), 10)",
        30,
    )
    .await;
    let own = "(md5('root1')::uuid)";
    reads(&mut db, "billing.collections.any_undecided", own, 5).await;
    let page = "('1:1:', '1:9223372036854775807:', 1000, 10)";
    reads(&mut db, "billing.outbox.of_accounts", page, 50).await;
}

#[tokio::test]
async fn the_statements_of_account_lifecycle_read_what_they_answer() {
    let mut db = holds("account").await;
    let calls = [
        "SELECT account.seen(md5('root1')::uuid, md5('user_id1')::uuid)",
        "SELECT account.order_seen(md5('order_id1')::uuid, md5('user_id1')::uuid)",
        "SELECT account.hold_open(md5('root1')::uuid)",
        "SELECT account.trials_of(md5('owner_id1')::uuid, md5('root1')::uuid)",
        "SELECT account.user_seen(md5('user_id1')::uuid, 'NONE')",
        "SELECT account.user_seen(md5('user_id1')::uuid, 'HOLD')",
        "SELECT account.user_seen(md5('user_id1')::uuid, 'LOCK')",
        "SELECT account.next_work(now(), now() + interval '1 s', true, 3, 7)",
    ];
    called(&mut db, "account", &calls).await;
    let member = "(NULL, NULL, md5('user_id1')::uuid, NULL, NULL, 10, NULL)";
    reads(&mut db, "account.accounts.list", member, 20).await;
    // Every second account has a parent.
    let parent = "(md5('parent_id2')::uuid, NULL, NULL, NULL, NULL, 10, NULL)";
    reads(&mut db, "account.accounts.list", parent, 20).await;
    let owner = "(NULL, NULL, NULL, NULL, NULL, 10, md5('owner_id1')::uuid)";
    reads(&mut db, "account.accounts.list", owner, 20).await;
    // Many more names begin alike than a page holds.
    let name = "('Display_Name1', NULL, NULL, NULL, NULL, NULL, 10)";
    reads(&mut db, "account.accounts.by_name", name, 25).await;
    // Every order is completed.
    let failed = "('{FAILED}', NULL, 10, NULL, NULL)";
    reads(&mut db, "account.orders.list_all", failed, 5).await;
    let completed = "('{COMPLETED}', NULL, 10, NULL, NULL)";
    reads(&mut db, "account.orders.list_all", completed, 25).await;
    // As is every closing.
    let waiting = "('PREPARING', NULL, NULL, 10)";
    reads(&mut db, "account.closings.list", waiting, 5).await;
}

#[tokio::test]
async fn the_statements_of_payments_read_what_they_answer() {
    let mut db = holds("payments").await;
    let call = "SELECT payments.next_work(now(), now() + interval '1 s', '{X1}')";
    called(&mut db, "payments", &[call]).await;
    let told = "('X1', NULL, ARRAY['provider_id1'])";
    reads(&mut db, "payments.movements.of_provider", told, 10).await;
    let page = "('1:1:', '1:9223372036854775807:', 1000, 10)";
    reads(&mut db, "payments.outbox.list", page, 30).await;
}
