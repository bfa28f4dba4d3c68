//! What a person waits for costs so many statements and transactions, as the database itself counts them, and an idle
//! suite is quiet.
//!
//! The database logs each statement of the suite's with its virtual transaction. `BEGIN`, `COMMIT` and what is sent
//! with them count as statements, of every service that a call goes through. Each suite here has a cluster of its own:
//! readers of news look again whenever anything in their cluster has been written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use perdiem::suite::Database;
use perdiem::{catalogue, demo};
use proto::account::v1 as account;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::harness::{Alone, Harness, data};

/// What a method may cost.
struct Budget {
    method: &'static str,
    statements: usize,
    transactions: usize,
    /// What they are for.
    because: &'static str,
}

/// What each costs, no less and no more: whoever changes it says so here.
const BUDGETS: &[Budget] = &[
    Budget {
        method: "CreateAccount",
        statements: 40,
        transactions: 7,
        because: "one look whether it was answered; the account, its owner's role and two lines of history; one unit in \
                  each of three services, side by side, and a segment for each family of the profile; its end with the \
                  answer. More than 30 statements: BEGIN, claim, end and COMMIT of five units are 20 of them",
    },
    Budget {
        method: "CreateOrder",
        statements: 19,
        transactions: 11,
        because: "one look whether it was answered; the account with the caller's roles; the change in plan, read at one \
                  instant; the quote with its order. More than 15 and 3: the month is rated by the function that will \
                  charge it, which reads segments from plan and usage in billing",
    },
    Budget {
        method: "ConfirmOrder",
        statements: 8,
        transactions: 1,
        because: "BEGIN, claim, the order with account and roles, lock, how the account stands once it is locked, state, end, COMMIT",
    },
    Budget {
        method: "CommitOrder",
        statements: 26,
        transactions: 3,
        because: "ConfirmOrder's with a lock of the account; the change in plan, 11; its end with the answer, 6. More than 25: \
                  here and in plan, whoever waited for the account's lock looks again how the account stands",
    },
    Budget {
        method: "GetAccount",
        statements: 1,
        transactions: 1,
        because: "one row",
    },
    Budget {
        method: "GetOrder",
        statements: 1,
        transactions: 1,
        because: "one row",
    },
];

/// What each should cost at most, in statements and transactions.
const GOALS: &[(&str, usize, usize)] = &[
    ("CreateAccount", 30, 8),
    ("CreateOrder", 15, 3),
    ("ConfirmOrder", 8, 1),
    ("CommitOrder", 25, 4),
    ("GetAccount", 1, 1),
    ("GetOrder", 1, 1),
];

/// Transactions of a whole change: two confirmations, quote and commit by their budgets, then what plan's two readers
/// are told, each its place and its effect.
const CHANGE: usize = 42;

/// A suite by the machine's clock whose database tells of each statement.
struct Counted {
    h: Harness,
    /// The database's log.
    log: PathBuf,
    /// What a line of this suite's begins with.
    mark: String,
    /// Stops once the suite has.
    _alone: Alone,
}

impl Counted {
    async fn start(environment: &[(&str, &str)]) -> Self {
        let alone = Alone::start().await;
        let (log, mark) = logged(&alone.database).await;
        let place = (alone.database.clone(), alone.folder.path().to_owned());
        let h = Harness::on(place, environment, false).await;
        catalogue::import(&h.operator, &data("catalogue.yaml"), true)
            .await
            .unwrap();
        let mut counted = Self {
            h,
            log,
            mark,
            _alone: alone,
        };
        counted.h.own("owner").await;
        counted
    }

    /// How many statements and transactions there were since `from`, a place in the log.
    fn since(&self, from: usize) -> (usize, usize) {
        let log = std::fs::read(&self.log).unwrap();
        let text = String::from_utf8_lossy(&log[from..]);
        let (mut statements, mut transactions) = (0, BTreeSet::new());
        for line in text.lines() {
            let Some(rest) = line.strip_prefix(&self.mark) else {
                continue;
            };
            let (transaction, said) = rest.split_once(' ').unwrap();
            let sent = if let Some(simple) = said.strip_prefix("LOG:  statement: ") {
                // What the chassis sends as one message without parameters.
                simple.split(';').filter(|it| !it.trim().is_empty()).count()
            } else {
                usize::from(said.starts_with("LOG:  execute "))
            };
            if 0 < sent {
                statements += sent;
                transactions.insert(transaction.to_owned());
            }
        }
        (statements, transactions.len())
    }

    /// The statements since `from`, each by its name or its first words, most frequent first.
    fn most(&self, from: usize) -> Vec<(usize, String)> {
        let log = std::fs::read(&self.log).unwrap();
        let text = String::from_utf8_lossy(&log[from..]);
        let mut counts = BTreeMap::new();
        for line in text.lines() {
            let said = line.strip_prefix(&self.mark);
            let Some((_, said)) = said.and_then(|it| it.split_once(' ')) else {
                continue;
            };
            let simple = said.strip_prefix("LOG:  statement: ");
            let prepared = said.strip_prefix("LOG:  execute ");
            let prepared = prepared.and_then(|it| it.split_once(": "));
            if let Some(sql) = simple.or(prepared.map(|(_, sql)| sql)) {
                let name: String = sql.chars().take(60).collect();
                *counts.entry(name).or_insert(0) += 1;
            }
        }
        let mut most: Vec<_> = counts.into_iter().map(|(name, n)| (n, name)).collect();
        most.sort_unstable_by(|a, b| b.cmp(a));
        most
    }

    fn end(&self) -> usize {
        usize::try_from(std::fs::metadata(&self.log).unwrap().len()).unwrap()
    }

    /// What `call` costs, with what is rolled back after it.
    async fn cost<T>(&self, call: impl Future<Output = T>) -> ((usize, usize), T) {
        let from = self.end();
        let answer = call.await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        (self.since(from), answer)
    }
}

/// Has the database tell of each statement from the next session on: gives its log, and what a line of it begins with.
async fn logged(database: &Database) -> (PathBuf, String) {
    let mut server = PgConnection::connect(&database.url("postgres"))
        .await
        .unwrap();
    for sql in [
        "ALTER SYSTEM SET log_line_prefix = 'db=%d %v '".to_owned(),
        "SELECT pg_reload_conf()".to_owned(),
        format!("ALTER DATABASE {} SET log_statement = 'all'", database.name),
    ] {
        server.execute(AssertSqlSafe(sql)).await.unwrap();
    }
    let log = database.socket_folder.join("log");
    (log, format!("db={} ", database.name))
}

/// The least of what several tries cost: in between the catalogue in force is asked for, and statements are prepared.
#[derive(Default)]
struct Least(Vec<(&'static str, (usize, usize))>);

impl Least {
    fn note(&mut self, method: &'static str, cost: (usize, usize)) {
        match self.0.iter_mut().find(|(known, _)| *known == method) {
            Some((_, least)) => *least = (least.0.min(cost.0), least.1.min(cost.1)),
            None => self.0.push((method, cost)),
        }
    }
}

#[tokio::test]
async fn each_method_costs_what_its_budget_says() {
    // Without jobs there is nothing but what the calls do.
    let counted = Counted::start(&[("JOBS", "false")]).await;
    let h = &counted.h;
    let customer = h.customer();
    let mut least = Least::default();
    for plan in ["business", "developer", "business", "developer", "business"] {
        let (cost, id) = counted.cost(h.account()).await;
        least.note("CreateAccount", cost);
        let (cost, order) = counted.cost(h.quote(&customer, &id, plan)).await;
        let Ok(order) = order else {
            // It is in force already.
            continue;
        };
        least.note("CreateOrder", cost);
        for _ in 0..order.confirmations_required {
            let (cost, confirmed) = counted.cost(h.confirm(&customer, &order)).await;
            confirmed.unwrap();
            least.note("ConfirmOrder", cost);
        }
        let (cost, done) = counted.cost(h.commit(&customer, &order)).await;
        assert_eq!(done.unwrap().state(), account::order::State::Completed);
        least.note("CommitOrder", cost);
        let mut client = customer.account.clone();
        let request = account::GetAccountRequest {
            account_id: id,
            ..account::GetAccountRequest::default()
        };
        let (cost, got) = counted.cost(client.get_account(request)).await;
        got.unwrap();
        least.note("GetAccount", cost);
        let request = account::GetOrderRequest {
            order_id: order.order_id,
        };
        let (cost, got) = counted.cost(client.get_order(request)).await;
        got.unwrap();
        least.note("GetOrder", cost);
    }
    for (method, cost) in &least.0 {
        println!("{method}: {} statements, {} transactions", cost.0, cost.1);
    }
    let budgets: Vec<_> = BUDGETS
        .iter()
        .map(|it| (it.method, (it.statements, it.transactions)))
        .collect();
    assert_eq!(least.0, budgets, "a budget is what the method costs");
}

#[test]
fn a_budget_over_its_goal_says_why() {
    for (method, statements, transactions) in GOALS {
        let budget = BUDGETS.iter().find(|it| it.method == *method).unwrap();
        let over = *statements < budget.statements || *transactions < budget.transactions;
        assert_eq!(over, budget.because.contains("More than"), "{method}");
    }
}

#[tokio::test]
async fn a_change_of_plan_with_what_follows_it_is_few_transactions() {
    let counted = Counted::start(&[]).await;
    let h = &counted.h;
    let id = h.account().await;
    let changed = |plan: &'static str| demo::change(&h.operator, &id, plan);
    // The least of several changes. What the suite does anyway in this time is taken off.
    let mut follows = usize::MAX;
    for plan in ["business", "developer", "business", "developer"] {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (_, idle) = counted
            .cost(tokio::time::sleep(Duration::from_secs(2)))
            .await
            .0;
        let change = async {
            changed(plan).await.unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
        };
        let ((_, all), ()) = counted.cost(change).await;
        println!("a change and what follows it: {all} transactions, of which {idle} anyway");
        follows = follows.min(all.saturating_sub(idle));
    }
    assert!(follows <= CHANGE, "{follows} transactions");
}

#[tokio::test]
async fn an_idle_suite_makes_about_ten_transactions_a_second() {
    let counted = Counted::start(&[]).await;
    counted.h.account().await;
    // What the account's opening leads to ends first. A minute has in it what each job looks for by itself.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let from = counted.end();
    tokio::time::sleep(Duration::from_mins(1)).await;
    let (statements, transactions) = counted.since(from);
    println!("idle: {statements} statements, {transactions} transactions in a minute");
    // Ten a second between the looks that each job takes by itself, which are 100 in the minute at most.
    assert!(
        transactions <= 700,
        "{transactions} transactions in a minute: {:#?}",
        counted.most(from)
    );
}

#[test]
fn the_one_look_names_every_job_that_it_wakes() {
    const SCHEMA: &str = "migrations/0001_init.sql";
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    for (service, look, begins) in [
        ("account-lifecycle", SCHEMA, "FUNCTION account.next_work("),
        ("billing", "src/store/due.rs", ""),
        ("payments", SCHEMA, "FUNCTION payments.next_work("),
    ] {
        let read = |file: &str| {
            let path = root.join("services").join(service).join(file);
            std::fs::read_to_string(path).unwrap()
        };
        let (jobs, look) = (read("src/jobs.rs"), read(look));
        // Of a migration only the function counts, up to its end.
        let look = look.split_once(begins).unwrap().1;
        let look = look.split("END $$;").next().unwrap();
        let mut named = 0;
        for job in jobs.split("often.repeat(\"").skip(1) {
            let job = job.split('"').next().unwrap();
            // A comment of the statement says which part is whose.
            let told = look.lines().any(|line| {
                let comment = line.trim().strip_prefix("-- ");
                comment.is_some_and(|it| it.split([',', ';', ':', ' ']).any(|word| word == job))
            });
            assert!(told, "{service}: nothing looks for the work of {job}");
            named += 1;
        }
        assert!(
            5 <= named + usize::from(service == "payments"),
            "{service}: {named} jobs"
        );
    }
}

#[tokio::test]
async fn an_idle_suite_finds_work_within_a_second() {
    let counted = Counted::start(&[]).await;
    let h = &counted.h;
    h.account().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    // As another process would have left it: nothing here has committed it.
    sqlx::query("UPDATE account.accounts SET opened_at = NULL")
        .execute(&h.db)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let open = "SELECT count(*) FROM account.accounts WHERE opened_at IS NULL";
    assert_eq!(h.count(open).await, 0, "the account is opened again");
}
