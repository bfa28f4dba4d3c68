//! Roles and databases: for each service a role that owns its schema and one that only uses it.

use std::path::Path;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// The schemas, one a service; `<schema>_owner` migrates it and `<schema>_service` uses it.
pub const SERVICES: [&str; 4] = ["plan", "billing", "account", "payments"];

/// The URL of a database over a Unix socket.
pub fn url_of(folder: &Path, port: u16, role: &str, database: &str) -> String {
    let host: String = folder
        .display()
        .to_string()
        .replace('%', "%25")
        .replace('/', "%2F");
    format!("postgres://{role}@{host}:{port}/{database}")
}

/// Makes the roles and the database `name` when they are missing. `superuser_url` is a URL of any
/// other database, as superuser.
pub async fn provision(superuser_url: &str, name: &str) -> sqlx::Result<()> {
    let mut db = PgConnection::connect(superuser_url).await?;
    // Two that provision at once would meet in the catalogue of roles.
    db.execute("SELECT pg_advisory_lock(7300)").await?;
    for service in SERVICES {
        role(&mut db, &format!("{service}_owner")).await?;
        role(&mut db, &format!("{service}_service")).await?;
        time_outs(&mut db, &format!("{service}_service")).await?;
    }
    role(&mut db, "checker").await?;
    let there: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(name)
            .fetch_one(&mut db)
            .await?;
    if !there {
        db.execute(AssertSqlSafe(format!("CREATE DATABASE \"{name}\"")))
            .await?;
        db.execute(AssertSqlSafe(format!(
            "REVOKE ALL ON DATABASE \"{name}\" FROM PUBLIC"
        )))
        .await?;
        db.execute(AssertSqlSafe(format!(
            "GRANT CONNECT ON DATABASE \"{name}\" TO checker"
        )))
        .await?;
        for service in SERVICES {
            let grants = format!(
                "GRANT CONNECT, CREATE ON DATABASE \"{name}\" TO {service}_owner;
                 GRANT CONNECT ON DATABASE \"{name}\" TO {service}_service"
            );
            sqlx::raw_sql(AssertSqlSafe(grants))
                .execute(&mut db)
                .await?;
        }
    }
    db.close().await
}

/// The time-outs of R17 for the service roles. PostgreSQL lets every role change its own settings, so a service sets
/// them again on each connection that it opens.
async fn time_outs(db: &mut PgConnection, role: &str) -> sqlx::Result<()> {
    for (setting, time) in [
        ("statement_timeout", "30s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "5s"),
    ] {
        let sql = format!("ALTER ROLE {role} SET {setting} = '{time}'");
        db.execute(AssertSqlSafe(sql)).await?;
    }
    Ok(())
}

async fn role(db: &mut PgConnection, name: &str) -> sqlx::Result<()> {
    let sql = format!(
        "DO $$ BEGIN
             IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN
                 CREATE ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
                 ALTER ROLE {name} SET search_path = pg_catalog;
             END IF;
         END $$"
    );
    db.execute(AssertSqlSafe(sql)).await?;
    Ok(())
}
