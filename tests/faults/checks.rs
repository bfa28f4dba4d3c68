//! What must hold, whatever went wrong: of the ledger, of the provider's own book, and of what users were told.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use perdiem::reconcile::{self, Scope};
use perdiem::suite::SERVICES;
use proto::billing::v1 as billing;
use sqlx::PgPool;
use uuid::Uuid;

use crate::World;
use crate::journeys::Book;

/// How often it is looked during the campaign whether the ledger agrees with itself.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long after the campaign everything may take to end, on a machine that is busy.
const SETTLED_WITHIN: Duration = Duration::from_mins(2);
/// How the time goes on meanwhile, and how often at most: refunds are tried again after hours.
const STEPS: (TimeDelta, u32) = (TimeDelta::hours(6), 40);
/// How many panics of a service are shown.
const PANICS: usize = 3;

/// What has not ended.
const UNDER_WAY: [(&str, &str); 5] = [
    (
        "movements",
        "SELECT count(*) FROM payments.movements
         WHERE state NOT IN ('SUCCEEDED', 'DECLINED', 'FAILED_NOT_SENT')",
    ),
    (
        "collections",
        "SELECT count(*) FROM billing.collections WHERE state NOT IN ('SUCCEEDED', 'DECLINED', 'INVOICED')",
    ),
    (
        "refunds",
        "SELECT count(*) FROM billing.refunds WHERE state NOT IN ('SUCCEEDED', 'UNDONE')",
    ),
    (
        "orders",
        "SELECT count(*) FROM account.orders WHERE state IN ('COMMITTING', 'AWAITING_PAYMENT', 'AWAITING_SETTLEMENT')",
    ),
    (
        "billing runs",
        "SELECT count(*) FROM billing.runs WHERE state NOT IN ('COMPLETED', 'CANCELLED')",
    ),
];

/// What there may be none of.
const WRONG: [(&str, &str); 7] = [
    (
        "currencies whose ledger does not sum to zero",
        "SELECT count(*) FROM (SELECT currency FROM billing_check.ledger_entry
         GROUP BY currency HAVING sum(amount_micros) <> 0) it",
    ),
    (
        "charges and refunds that are not once, with their amount, in the provider's book",
        "SELECT count(*) FROM payments.sandbox_book b FULL JOIN
             (SELECT * FROM payments.movements WHERE state = 'SUCCEEDED') m USING (provider_key)
         WHERE (m.movement_id IS NOT NULL AND b.state IS DISTINCT FROM 'SUCCEEDED')
            OR (b.state = 'SUCCEEDED' AND m.movement_id IS NULL)
            OR (b.state = 'SUCCEEDED' AND b.amount_minor <> m.settled_minor)",
    ),
    (
        "accounts of which the ledger says other sums than the provider's book",
        "SELECT count(*) FROM (
             SELECT root_id, sum(CASE WHEN debit = 8 THEN amount_micros ELSE -amount_micros END) AS micros
             FROM billing.ledger_entries WHERE 8 IN (debit, credit) AND reason <> 'GRANT' GROUP BY root_id) l
         FULL JOIN (
             SELECT root_id, sum(CASE WHEN b.kind = 'CHARGE' THEN b.amount_minor ELSE -b.amount_minor END) * 10000 AS micros
             FROM payments.sandbox_book b JOIN payments.movements m USING (provider_key)
             WHERE b.state = 'SUCCEEDED' GROUP BY root_id) p USING (root_id)
         WHERE coalesce(l.micros, 0) <> coalesce(p.micros, 0)",
    ),
    (
        "orders of credit that are completed and not charged once, or not completed and not given back",
        "SELECT count(*) FROM (
             SELECT o.state, c.total_minor, count(b.provider_key) AS charges, sum(b.amount_minor) AS taken,
                    coalesce(sum(m.settled_minor - m.refunded_minor), 0) AS kept
             FROM account.orders o
             LEFT JOIN billing.collections c USING (order_id)
             LEFT JOIN payments.movements m ON m.subject_id = c.collection_id AND m.kind = 'CHARGE'
             LEFT JOIN payments.sandbox_book b ON b.provider_key = m.provider_key AND b.state = 'SUCCEEDED'
             WHERE o.kind = 'BUY_CREDITS' GROUP BY o.order_id, o.state, c.total_minor) it
         WHERE (state = 'COMPLETED' AND (charges <> 1 OR taken IS DISTINCT FROM total_minor::numeric))
            OR (state <> 'COMPLETED' AND kept <> 0)",
    ),
    (
        "purchases whose credit was booked twice",
        "SELECT count(*) FROM (SELECT collection_id FROM billing.lots WHERE collection_id IS NOT NULL AND kind = 3
         GROUP BY collection_id HAVING 1 < count(*)) it",
    ),
    (
        "series of invoices whose numbers have a gap or a double",
        "SELECT count(*) FROM (SELECT series_id FROM billing.invoices GROUP BY series_id
         HAVING max(number) <> count(*) OR count(*) <> count(DISTINCT number)) it",
    ),
    (
        "transactions that are still open",
        "SELECT count(*) FROM pg_stat_activity
         WHERE state LIKE 'idle in transaction%' AND xact_start < now() - interval '5 seconds'",
    ),
];

/// Looks, until the campaign ends, whether the ledger agrees with itself; gives how often it was told.
pub async fn meanwhile(world: &World) -> u32 {
    let mut told = 0;
    let operator = world.operator();
    while !world.is_over() {
        tokio::time::sleep(LOOK_EVERY).await;
        let mut client = operator.billing.clone();
        let asked = client.reconcile(billing::ReconcileRequest::default());
        if let Ok(Ok(answer)) = tokio::time::timeout(LOOK_EVERY, asked).await {
            told += 1;
            for difference in answer.into_inner().differences {
                world.broke(format!("during the campaign: {difference}"));
            }
        }
    }
    told
}

/// Waits until nothing is under way any more, while the time goes on; says how long it took.
pub async fn settled(world: &World) {
    let begun = Instant::now();
    let (step, steps) = STEPS;
    let mut taken = 0;
    loop {
        if let Err(failure) = perdiem::clock::advance(&world.urls, world.now()).await {
            return world.broke(format!("after the campaign: {failure}"));
        }
        let mut left = Vec::new();
        for (what, sql) in UNDER_WAY {
            let count = count(&world.db, sql).await;
            if count != 0 {
                left.push(format!("{count} {what}"));
            }
        }
        if left.is_empty() {
            println!(
                "everything had ended {:?} after the campaign",
                begun.elapsed()
            );
            return;
        }
        if SETTLED_WITHIN < begun.elapsed() {
            let left = left.join(", ");
            return world.broke(format!(
                "{SETTLED_WITHIN:?} after the campaign there were under way: {left}"
            ));
        }
        if taken < steps {
            taken += 1;
            world.stand_at(world.now() + step);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Looks for what is wrong in the end.
pub async fn afterwards(world: &World, book: &Book) {
    for (what, sql) in WRONG {
        let count = count(&world.db, sql).await;
        if count != 0 {
            world.broke(format!("{count} {what}"));
        }
    }
    reconciled(world).await;
    for (what, told) in &book.orders {
        let sql =
            "SELECT order_id FROM account.orders WHERE order_id = ANY($1) AND state = 'COMPLETED'";
        kept(world, (*what, sql), told).await;
    }
    let sql = "SELECT lot_id FROM billing.lots WHERE lot_id = ANY($1)";
    kept(world, ("grant", sql), &book.grants).await;
    let sql = "SELECT account_id FROM account.accounts WHERE account_id = ANY($1)";
    kept(world, ("account", sql), &book.accounts).await;
    let sql = "SELECT account_id FROM account.accounts WHERE account_id = ANY($1) AND closed_at IS NOT NULL";
    kept(world, ("closing", sql), &book.closed).await;
    changed(world, book).await;
    used(world, book).await;
    for (name, ..) in SERVICES {
        let log = world.folder.join(format!("{name}.log"));
        let log = std::fs::read_to_string(log).unwrap_or_default();
        for line in log
            .lines()
            .filter(|it| it.contains("panicked"))
            .take(PANICS)
        {
            world.broke(format!("{name}: {line}"));
        }
    }
}

/// Has both services compare their books with each other and with the provider's, from before the campaign on.
async fn reconciled(world: &World) {
    let operator = world.operator();
    let mut from = crate::at(crate::PREPARED) - TimeDelta::days(1);
    while from < world.now() {
        let to = from + reconcile::LONGEST;
        let scope = Scope {
            account_id: String::new(),
            provider_code: String::new(),
            from,
            to,
        };
        match reconcile::compare(&operator, &scope).await {
            Ok(found) => {
                let mut differences = found.ledger.differences;
                let provider = found.provider.differences.iter();
                differences.extend(provider.map(|it| format!("{it:?}")));
                for difference in differences {
                    world.broke(difference);
                }
            }
            Err(failure) => world.broke(format!("books could not be compared: {failure}")),
        }
        from = to;
    }
}

/// Whether everything that users were told of is there, by a statement that gives the ids that are.
async fn kept(world: &World, (what, sql): (&str, &'static str), told: &[String]) {
    let told: BTreeSet<Uuid> = told.iter().map(|id| uuid(id)).collect();
    let ids: Vec<Uuid> = told.iter().copied().collect();
    let found: Vec<Uuid> = sqlx::query_scalar(sql)
        .bind(&ids)
        .fetch_all(&world.db)
        .await
        .unwrap();
    let found: BTreeSet<Uuid> = found.into_iter().collect();
    for lost in told.difference(&found) {
        world.broke(format!("{what} {lost} was acknowledged and is lost"));
    }
}

/// Whether each change of plan that users were told of is in the timeline of its account, if it had no other.
async fn changed(world: &World, book: &Book) {
    let Some(told) = book.orders.get("plan") else {
        return;
    };
    let ids: Vec<Uuid> = told.iter().map(|id| uuid(id)).collect();
    // Of changes at one instant, of which the clocks have few, only the last is left.
    let missing = "SELECT count(*) FROM account.orders o JOIN account.accounts a USING (account_id)
        WHERE o.order_id = ANY($1) AND a.closed_at IS NULL
          AND NOT EXISTS (SELECT FROM account.orders other WHERE other.root_id = o.root_id
              AND other.kind = 'PLAN_CHANGE' AND other.state = 'COMPLETED' AND other.order_id <> o.order_id)
          AND NOT EXISTS (SELECT FROM plan.segments s
              WHERE s.root_id = o.root_id AND s.plan_code = o.to_plan_code)";
    let missing: i64 = sqlx::query_scalar(missing)
        .bind(&ids)
        .fetch_one(&world.db)
        .await
        .unwrap();
    if missing != 0 {
        world.broke(format!("{missing} changes of plan are in no timeline"));
    }
}

/// Whether each usage event that was taken is there once.
async fn used(world: &World, book: &Book) {
    let sql =
        "SELECT event_id FROM billing.usage_events WHERE source = $1 AND superseded_at IS NULL";
    let found: Vec<String> = sqlx::query_scalar(sql)
        .bind(crate::SOURCE)
        .fetch_all(&world.db)
        .await
        .unwrap();
    let stored: BTreeSet<&String> = found.iter().collect();
    if stored.len() != found.len() {
        let doubles = found.len() - stored.len();
        world.broke(format!("{doubles} usage events are there twice"));
    }
    let lost = book.events.iter().filter(|it| !stored.contains(it)).count();
    if lost != 0 {
        world.broke(format!(
            "{lost} usage events were acknowledged and are lost"
        ));
    }
}

/// One number of the database.
pub async fn count(db: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(db).await.unwrap()
}

/// What an id is outside its two letters.
fn uuid(id: &str) -> Uuid {
    id.get(2..).unwrap_or_default().parse().unwrap()
}
