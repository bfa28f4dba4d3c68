//! The roles of the services at the database: what a service must not do is refused by the database, whatever its
//! program says.

use perdiem::suite::SERVICES;
use sqlx::{AssertSqlSafe, Executor as _, PgPool};

use crate::Victim;

/// What no role may do, whatever there is in the schema: to become another, to take more rights, to leave the database.
const NEVER: &[&str] = &[
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "ALTER ROLE {role} SUPERUSER",
    "ALTER ROLE {role} BYPASSRLS",
    "ALTER ROLE {role} CREATEROLE",
    "GRANT postgres TO {role}",
    "GRANT {schema}_owner TO {role}",
    "CREATE ROLE evil",
    "SET session_replication_role = replica",
    "CREATE SCHEMA evil",
    "CREATE TABLE public.evil ()",
    "CREATE TABLE {schema}.evil ()",
    "CREATE TEMP TABLE evil ()",
    "CREATE FUNCTION public.evil() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION {schema}.evil() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION {schema}.sum_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "ALTER SCHEMA {schema} OWNER TO {role}",
    "DROP SCHEMA {schema} CASCADE",
    "ALTER DATABASE {database} SET app.tenant = 'all'",
    "DROP FUNCTION {schema}.sum_change CASCADE",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/evil'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('.')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_reload_conf()",
    "SELECT rolpassword FROM pg_authid",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> current_user",
    "DO LANGUAGE plpgsql $$ BEGIN EXECUTE 'ALTER TABLE {schema}.audit_entries DISABLE TRIGGER ALL'; END $$",
];

/// What no role may do to a table, not even of its own schema.
const TO_OWN: &[&str] = &[
    "TRUNCATE {table}",
    "DROP TABLE {table}",
    "ALTER TABLE {table} ADD COLUMN evil integer",
    "ALTER TABLE {table} DISABLE TRIGGER ALL",
    "ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE {table} OWNER TO {role}",
    "CREATE POLICY evil ON {table} USING (true)",
    "CREATE TRIGGER evil BEFORE INSERT ON {table} EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE evil AS ON INSERT TO {table} DO INSTEAD NOTHING",
    "CREATE INDEX ON {table} ((1))",
];

/// What a role may do to no table of another schema.
const TO_OTHERS: &[&str] = &[
    "SELECT FROM {table} LIMIT 1",
    "INSERT INTO {table} DEFAULT VALUES",
    "DELETE FROM {table}",
    "TRUNCATE {table}",
];

/// Tables whose rows never change and are never deleted.
const FINAL: &[&str] = &[
    "plan.audit_entries",
    "billing.audit_entries",
    "account.audit_entries",
    "payments.audit_entries",
    "plan._sqlx_migrations",
    "billing._sqlx_migrations",
    "account._sqlx_migrations",
    "payments._sqlx_migrations",
    "billing.ledger_entries",
    "billing.ledger_accounts",
    "billing.invoice_lines",
];

/// Schemas whose tables are shown to a tenant at a time.
const OF_TENANTS: [&str; 2] = ["account", "payments"];
/// The fewest tables of them that hold rows of the tenants made here: else too little was tried.
const TABLES_LEAST: usize = 4;

/// A table or a view.
struct Table {
    schema: String,
    /// With its schema.
    name: String,
    /// Whether it is a table.
    stored: bool,
    /// Whether its rows are shown by tenant.
    by_row: bool,
    /// Whether a column says whose a row is.
    of_root: bool,
}

/// Tries as each role what it may not do; gives the promises that were broken.
pub async fn attack(victim: &Victim) -> Vec<String> {
    let (ann, bob) = (victim.account().await, victim.account().await);
    let tables = tables(&victim.db).await;
    let (mut broken, mut tried) = (Vec::new(), 0);
    for (_, schema, _) in SERVICES {
        let name = format!("{schema}_service");
        let role = connected(victim, &name).await;
        let statements = statements(victim, (schema, &name), &tables).await;
        tried += statements.len();
        for sql in statements {
            broken.extend(is_done(&role, &name, &sql).await);
        }
        if OF_TENANTS.contains(&schema) {
            let own: Vec<&Table> = tables
                .iter()
                .filter(|it| it.schema == schema && it.by_row)
                .collect();
            broken.extend(tenants(victim, &role, &own, [&ann, &bob]).await);
        }
    }
    // Who checks the books reads views, and nothing else.
    let checker = connected(victim, "checker").await;
    for table in tables.iter().filter(|it| it.stored) {
        for sql in TO_OTHERS {
            tried += 1;
            let sql = sql.replace("{table}", &table.name);
            broken.extend(is_done(&checker, "checker", &sql).await);
        }
    }
    println!(
        "{tried} statements as 5 roles, {} tables and views",
        tables.len()
    );
    broken
}

/// The tables and views of all schemas.
async fn tables(db: &PgPool) -> Vec<Table> {
    let rows: Vec<(String, String, bool, bool, bool)> = sqlx::query_as(
        "SELECT n.nspname::text, n.nspname || '.' || c.relname, c.relkind = 'r', c.relrowsecurity,
                EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'root_id')
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname ~ '^(plan|billing|account|payments)(_check)?$' AND c.relkind IN ('r', 'v') ORDER BY 2",
    )
    .fetch_all(db)
    .await
    .unwrap();
    let table = |(schema, name, stored, by_row, of_root)| Table {
        schema,
        name,
        stored,
        by_row,
        of_root,
    };
    rows.into_iter().map(table).collect()
}

/// Connections as a role.
async fn connected(victim: &Victim, role: &str) -> PgPool {
    let url = victim.suite.database.url(role);
    PgPool::connect(&url).await.unwrap()
}

/// What the role of a schema may not do.
async fn statements(
    victim: &Victim,
    (schema, role): (&str, &str),
    tables: &[Table],
) -> Vec<String> {
    let mut all: Vec<String> = NEVER.iter().map(|sql| (*sql).to_owned()).collect();
    for (_, other, _) in SERVICES {
        all.push(format!("SET ROLE {other}_owner"));
        all.push(format!("SET SESSION AUTHORIZATION {other}_owner"));
        if other != schema {
            all.push(format!("SET ROLE {other}_service"));
        }
    }
    for table in tables {
        let of = if table.schema == schema {
            TO_OWN
        } else {
            TO_OTHERS
        };
        all.extend(of.iter().map(|sql| sql.replace("{table}", &table.name)));
    }
    for name in FINAL {
        if !name.starts_with(&format!("{schema}.")) {
            continue;
        }
        all.push(format!("DELETE FROM {name}"));
        let columns: Vec<String> = sqlx::query_scalar(
            "SELECT attname::text FROM pg_attribute
             WHERE attrelid = $1::regclass AND 0 < attnum AND NOT attisdropped",
        )
        .bind(*name)
        .fetch_all(&victim.db)
        .await
        .unwrap();
        let updates = columns
            .iter()
            .map(|column| format!("UPDATE {name} SET {column} = {column}"));
        all.extend(updates);
    }
    all.push(format!(
        "INSERT INTO {schema}._sqlx_migrations VALUES (99999, '', now(), true, '', 0)"
    ));
    for sql in &mut all {
        *sql = sql
            .replace("{schema}", schema)
            .replace("{role}", role)
            .replace("{database}", &victim.suite.database.name);
    }
    all
}

/// Tries a statement, and undoes it; says what was done unless it was refused for want of a right.
async fn is_done(role: &PgPool, name: &str, sql: &str) -> Option<String> {
    let mut tx = role.begin().await.unwrap();
    tx.execute("SELECT set_config('app.tenant', 'all', true)")
        .await
        .unwrap();
    let told = match tx.execute(AssertSqlSafe(sql.to_owned())).await {
        Ok(_) => "it was done".to_owned(),
        Err(error) => {
            let code = error
                .as_database_error()
                .and_then(sqlx::error::DatabaseError::code);
            // A column that the database writes by itself is refused before it is asked who.
            if matches!(code.as_deref(), Some("42501" | "428C9")) {
                return None;
            }
            error.to_string()
        }
    };
    Some(format!("{name}: {sql}: {told}"))
}

/// What a role sees and changes of two tenants in tables that show one at a time.
async fn tenants(
    victim: &Victim,
    role: &PgPool,
    tables: &[&Table],
    [ann, bob]: [&String; 2],
) -> Vec<String> {
    let uuid = |id: &str| uuid::Uuid::try_parse(&id[2..]).unwrap().to_string();
    let (ann, bob) = (uuid(ann), uuid(bob));
    let (mut broken, mut held) = (Vec::new(), 0);
    for table in tables {
        let name = &table.name;
        let all = format!("SELECT count(*) FROM {name}");
        if count(role, "", &all).await != 0 {
            broken.push(format!("{name} shows rows without a tenant"));
        }
        // A setting that is nobody's opens nothing.
        for tenant in [
            "ALL",
            "all ",
            "*",
            "%",
            // That of zeros has the entries of no account.
            "01234567-89ab-4def-8123-456789abcdef",
        ] {
            if count(role, tenant, &all).await != 0 {
                broken.push(format!("{name} shows rows to the tenant {tenant:?}"));
            }
        }
        if !table.of_root {
            continue;
        }
        let anns = format!("SELECT count(*) FROM {name} WHERE root_id = '{ann}'");
        let others = format!("SELECT count(*) FROM {name} WHERE root_id <> '{bob}'");
        let there = count(&victim.db, "", &anns).await;
        held += usize::from(there != 0);
        // What is said below of others says something only if a tenant sees its own.
        if there != 0 && count(role, &ann, &anns).await == 0 {
            broken.push(format!("{name} does not show a tenant its own rows"));
        }
        for sql in [&anns, &others] {
            if count(role, &bob, sql).await != 0 {
                broken.push(format!("{name} shows a tenant the rows of another: {sql}"));
            }
        }
        for sql in [
            format!("UPDATE {name} SET root_id = root_id WHERE root_id = '{ann}'"),
            format!("DELETE FROM {name} WHERE root_id = '{ann}'"),
        ] {
            if changed(role, &bob, &sql).await != 0 {
                broken.push(format!("as another tenant: {sql}"));
            }
        }
    }
    println!(
        "{} tables show a tenant at a time, {held} of them had rows",
        tables.len()
    );
    if tables.len() < TABLES_LEAST || held == 0 {
        broken.push("too little was found to attack".to_owned());
    }
    broken
}

/// What a statement counts as a tenant; nothing is entered for an empty one.
async fn count(role: &PgPool, tenant: &str, sql: &str) -> i64 {
    let mut tx = role.begin().await.unwrap();
    if !tenant.is_empty() {
        sqlx::query("SELECT set_config('app.tenant', $1, true)")
            .bind(tenant)
            .execute(&mut *tx)
            .await
            .unwrap();
    }
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
        .fetch_one(&mut *tx)
        .await
        .unwrap()
}

/// How many rows a statement changes as a tenant, before it is undone; none if it is refused.
async fn changed(role: &PgPool, tenant: &str, sql: &str) -> u64 {
    let mut tx = role.begin().await.unwrap();
    sqlx::query("SELECT set_config('app.tenant', $1, true)")
        .bind(tenant)
        .execute(&mut *tx)
        .await
        .unwrap();
    let done = tx.execute(AssertSqlSafe(sql.to_owned())).await;
    done.map_or(0, |it| it.rows_affected())
}
