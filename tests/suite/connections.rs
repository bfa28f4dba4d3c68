//! The one way to the database: whatever becomes of who borrows a connection, the next has a clean one (D39).

use std::time::Duration;

use chassis::{Database, Tenant};
use futures::future::{join, join_all};

use crate::harness::{Alone, database};

/// A database of its own with a table, and the suite's way to it.
async fn opened(connections: u32) -> Database {
    opened_in(&database().await.0, connections).await
}

async fn opened_in(database: &perdiem::suite::Database, connections: u32) -> Database {
    let db = chassis::connect(&database.url("postgres"), "test", connections).unwrap();
    run(&db, "CREATE TABLE public.kept (id bigint PRIMARY KEY)")
        .await
        .unwrap();
    db
}

/// Runs a statement that is a transaction of its own.
async fn run(db: &Database, sql: &'static str) -> sqlx::Result<()> {
    sqlx::query(sql).execute(&mut db.acquire().await?).await?;
    Ok(())
}

async fn count(db: &Database, sql: &'static str) -> i64 {
    let mut db = db.acquire().await.unwrap();
    sqlx::query_scalar(sql).fetch_one(&mut db).await.unwrap()
}

/// Whether a statement by itself runs in no transaction of before: none of one instant, with rows, of a tenant or of a
/// batch.
const CLEAN: &str = "SELECT current_setting('transaction_isolation') = 'read committed'
    AND pg_current_xact_id_if_assigned() IS NULL AND coalesce(current_setting('app.tenant', true), '') = ''
    AND current_setting('plan_cache_mode') = 'auto'";

/// What is cancelled: a read of one instant, a row that is not committed, a statement by itself, an empty transaction
/// of a tenant or of a batch.
async fn work(db: &Database, number: i64) -> sqlx::Result<()> {
    match number % 5 {
        0 => {
            let mut tx = db.snapshot().await?;
            let read = sqlx::query("SELECT count(*) FROM public.kept, pg_sleep(0.0002)");
            read.execute(&mut *tx).await?;
        }
        1 => {
            let mut tx = db.begin().await?;
            let insert = sqlx::query("INSERT INTO public.kept VALUES (-$1)").bind(number);
            insert.execute(&mut *tx).await?;
            sqlx::query("SELECT pg_sleep(0.0002)")
                .execute(&mut *tx)
                .await?;
        }
        2 => run(db, "SELECT pg_sleep(0.0002)").await?,
        3 => db.begin_as(Tenant::All).await?.commit().await?,
        _ => db.begin_batch().await?.commit().await?,
    }
    Ok(())
}

#[tokio::test]
async fn what_is_dropped_half_way_is_nobody_elses() {
    const CANCELLED: i64 = 1_000;
    const WRITTEN: i64 = 300;
    // Thousands of connections that are given up while they are made would leave no room for those of other tests.
    let alone = Alone::start().await;
    let db = &opened_in(&alone.database, 4).await;
    let cancelling = join_all((0..6_i64).map(async |lane| {
        let mut random = u64::try_from(lane).unwrap();
        for n in 0..CANCELLED {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let patience = Duration::from_micros((random >> 40) % 900);
            let work = work(db, lane * CANCELLED + n + 1);
            let _ = tokio::time::timeout(patience, work).await;
        }
    }));
    let writing = join_all((0..2_i64).map(async |lane| {
        for n in 0..WRITTEN {
            let id = lane * WRITTEN + n;
            let mut alone = db.acquire().await.unwrap();
            let clean: bool = sqlx::query_scalar(CLEAN)
                .fetch_one(&mut alone)
                .await
                .unwrap();
            assert!(
                clean,
                "a statement by itself ran in a transaction of before"
            );
            let insert = sqlx::query("INSERT INTO public.kept VALUES ($1)").bind(id);
            insert.execute(&mut alone).await.unwrap();
        }
    }));
    join(cancelling, writing).await;
    assert_eq!(
        count(db, "SELECT count(*) FROM public.kept WHERE 0 <= id").await,
        2 * WRITTEN
    );
    assert_eq!(
        count(db, "SELECT count(*) FROM public.kept WHERE id < 0").await,
        0
    );
    // What was abandoned last is rolled back in the background.
    let open = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    for _ in 0..100 {
        if count(db, open).await == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("transactions are left open");
}

#[tokio::test]
async fn the_session_that_was_used_last_is_lent_first() {
    const PROCESS: &str = "SELECT pg_backend_pid()::bigint";
    let db = &opened(3).await;
    let others = [db.acquire().await.unwrap(), db.acquire().await.unwrap()];
    let mut last = db.acquire().await.unwrap();
    let process: i64 = sqlx::query_scalar(PROCESS)
        .fetch_one(&mut last)
        .await
        .unwrap();
    drop(others);
    drop(last);
    for _ in 0..10 {
        assert_eq!(count(db, PROCESS).await, process);
    }
}

#[tokio::test]
async fn r17_each_session_has_time_limits_whatever_its_role_has() {
    let (database, _) = database().await;
    // Unlike a service's, this role has none of its own.
    let db = chassis::connect(&database.url("postgres"), "test", 1).unwrap();
    let mut session = db.acquire().await.unwrap();
    for (setting, time) in [
        ("statement_timeout", "30s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "5s"),
    ] {
        let shown: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(setting)
            .fetch_one(&mut session)
            .await
            .unwrap();
        assert_eq!(shown, time, "{setting}");
    }
}

#[tokio::test]
async fn what_failed_is_not_committed_unless_its_part_was_undone() {
    let db = &opened(2).await;
    let insert = |id: i64| sqlx::query("INSERT INTO public.kept VALUES ($1)").bind(id);

    let mut tx = db.begin().await.unwrap();
    insert(1).execute(&mut *tx).await.unwrap();
    insert(1).execute(&mut *tx).await.unwrap_err();
    // PostgreSQL would answer this COMMIT with ROLLBACK, and no error.
    assert!(tx.commit().await.is_err());
    assert_eq!(count(db, "SELECT count(*) FROM public.kept").await, 0);

    let mut tx = db.begin().await.unwrap();
    insert(1).execute(&mut *tx).await.unwrap();
    tx.savepoint().await.unwrap();
    insert(1).execute(&mut *tx).await.unwrap_err();
    tx.rollback_to_savepoint().await.unwrap();
    insert(2).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count(db, "SELECT count(*) FROM public.kept").await, 2);
}
