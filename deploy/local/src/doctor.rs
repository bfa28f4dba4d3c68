//! `perdiem doctor`: checks an installation; what is wrong, and what to do.

use std::time::Duration;

use chassis::ServiceName;
use chrono::{DateTime, TimeDelta, Utc};
use proto::billing::v1::billing_run::State as RunState;
use proto::payments::v1 as payments;
use proto::payments::v1::MovementState;
use serde::Serialize;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::Failure;
use crate::connect::{Clients, Urls, channel, instant, refused};
use crate::show::{self, Output};
use crate::suite::SERVICES;
use crate::{clock, event, reconcile, run};

/// How long a service may take to say whether it is ready.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long any other check may take.
const LONGEST: Duration = Duration::from_mins(1);
/// How far apart clocks may be.
const APART: TimeDelta = TimeDelta::seconds(5);
/// How old an unknown outcome is when it needs a look; payments in progress are compared with nothing for as long.
const PROGRESS: TimeDelta = TimeDelta::hours(1);

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing is wrong.
    Ok,
    /// Something needs a person.
    Wrong,
    /// It was left out, as a service that it needs is not ready.
    Skipped,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked, such as `plan` or `billing runs`.
    pub subject: &'static str,
    /// How it ended.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do about it; empty unless something is wrong.
    pub action: String,
}

impl Check {
    fn right(subject: &'static str, found: impl Into<String>) -> Self {
        Self {
            subject,
            state: State::Ok,
            found: found.into(),
            action: String::new(),
        }
    }

    fn wrong(subject: &'static str, found: impl Into<String>, action: impl Into<String>) -> Self {
        Self {
            subject,
            state: State::Wrong,
            found: found.into(),
            action: action.into(),
        }
    }
}

/// How far the clock of a service's machine is ahead of this one's: somewhere between the two.
#[derive(Debug, Clone, Copy)]
struct Ahead {
    service: &'static str,
    least: TimeDelta,
    most: TimeDelta,
}

/// Checks the services, their clocks, what needs a person, and, unless it is to be `quick`, their books.
pub async fn examine(urls: &Urls, clients: &Clients, quick: bool) -> Vec<Check> {
    let (mut checks, mut ready, mut clocks) = (Vec::new(), Vec::new(), Vec::new());
    for (name, _, full_name) in SERVICES {
        let channel = name
            .parse::<ServiceName>()
            .map_err(Failure::from)
            .and_then(|service| channel(service, urls.of(name), clients.identity.as_ref()));
        let (check, ahead) = service(name, (urls.of(name), channel), full_name).await;
        if check.state == State::Ok {
            ready.push(name);
        }
        checks.push(check);
        clocks.extend(ahead);
    }
    if 1 < clocks.len() {
        checks.push(machines(&clocks));
    }
    checks.extend(standing(urls).await);
    let now = clock::current(urls).await;
    let missing = |needed: &[&'static str]| needed.iter().copied().find(|it| !ready.contains(it));
    let billing = missing(&["billing"]);
    let payments = missing(&["payments"]);
    checks.extend(asked("billing runs", billing, runs(clients)).await);
    checks.extend(asked("payment events", billing, events(clients)).await);
    checks.extend(asked("charges", payments, charges(clients, now)).await);
    checks.extend(asked("refunds", payments, refunds(clients, now)).await);
    if !quick {
        let books = books(clients, now);
        checks.extend(asked("books", billing.or(payments), books).await);
    }
    checks
}

/// What a check found, unless a service that it needs is `missing`.
async fn asked(
    subject: &'static str,
    missing: Option<&str>,
    check: impl Future<Output = Result<Vec<Check>, Failure>>,
) -> Vec<Check> {
    if let Some(missing) = missing {
        return vec![Check {
            state: State::Skipped,
            ..Check::right(subject, format!("not checked, as {missing} is not ready"))
        }];
    }
    let action = "make this call possible, then check again";
    match tokio::time::timeout(LONGEST, check).await {
        Ok(Ok(checks)) => checks,
        Ok(Err(error)) => vec![Check::wrong(subject, error.to_string(), action)],
        Err(_) => vec![Check::wrong(subject, "no answer in time", action)],
    }
}

/// Whether a service is ready, and how far its clock is ahead.
async fn service(
    name: &'static str,
    (url, channel): (&str, Result<Channel, Failure>),
    full_name: &str,
) -> (Check, Option<Ahead>) {
    let sent = clock::machine();
    let answer = tokio::time::timeout(PATIENCE, health(channel, full_name)).await;
    let received = clock::machine();
    let answer = answer.unwrap_or_else(|_| Err("no answer in time".into()));
    let (status, date) = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let action =
                format!("start {name}, or give its address; deploy/runbooks/service-absent.md");
            let found = format!("{name} does not answer at {url}: {error}");
            return (Check::wrong(name, found, action), None);
        }
    };
    let ahead = date.map(|date| Ahead {
        service: name,
        least: date - received,
        // The date is that of a whole second, and may be told a second later.
        most: date + TimeDelta::seconds(2) - sent,
    });
    if status == ServingStatus::Serving {
        return (Check::right(name, format!("{name} is ready")), ahead);
    }
    let found = format!("{name} at {url} is not ready");
    let action = "its log says why, database or schema; deploy/runbooks/not-ready.md";
    (Check::wrong(name, found, action), ahead)
}

/// What a service says of itself, and the time of its machine.
async fn health(
    channel: Result<Channel, Failure>,
    full_name: &str,
) -> Result<(ServingStatus, Option<DateTime<Utc>>), Failure> {
    let request = HealthCheckRequest {
        service: full_name.to_owned(),
    };
    let answer = HealthClient::new(channel?).check(request).await;
    let answer = answer.map_err(refused)?;
    let date = answer.metadata().get("date");
    let date = date.and_then(|date| DateTime::parse_from_rfc2822(date.to_str().ok()?).ok());
    let date = date.map(|date| date.to_utc());
    Ok((answer.into_inner().status(), date))
}

/// Whether the clocks of the machines agree.
fn machines(clocks: &[Ahead]) -> Check {
    let subject = "clocks";
    let fast = clocks.iter().max_by_key(|it| it.least);
    let slow = clocks.iter().min_by_key(|it| it.most);
    if let (Some(fast), Some(slow)) = (fast, slow)
        && APART < fast.least - slow.most
    {
        let found = format!(
            "the clock of {} is {} s ahead of that of {}",
            fast.service,
            (fast.least - slow.most).num_seconds(),
            slow.service
        );
        return Check::wrong(subject, found, "synchronize the machines by NTP");
    }
    Check::right(subject, "the clocks of the machines agree")
}

/// Whether the standing clocks agree, where there are any.
async fn standing(urls: &Urls) -> Option<Check> {
    let times = clock::standing(urls).await?;
    let (first, last) = (times.iter().min()?, times.iter().max()?);
    let subject = "test clocks";
    Some(if APART < *last - *first {
        let found = format!("the test clocks differ: {first} and {last}");
        let action = "move them with `perdiem clock`, which moves them together";
        Check::wrong(subject, found, action)
    } else {
        Check::right(subject, format!("the test clocks say {last}"))
    })
}

/// Months and runs that need a person.
async fn runs(clients: &Clients) -> Result<Vec<Check>, Failure> {
    let subject = "billing runs";
    let listed = run::list(clients, "").await?;
    let mut checks = Vec::new();
    for it in &listed.overdue_periods {
        let found = format!("{} of {} is not billed", it.month, it.family_code);
        let action = "deploy/runbooks/overdue-billing-run.md";
        checks.push(Check::wrong(subject, found, action));
    }
    for it in listed.billing_runs.iter().filter(|it| !it.dry_run) {
        let id = &it.billing_run_id;
        let what = format!("the run of {} {}", it.family_code, it.month);
        match it.state() {
            RunState::AwaitingApproval => checks.push(Check::wrong(
                subject,
                format!("{what} waits for approval"),
                format!("perdiem run compare {id}; perdiem run approve {id}"),
            )),
            RunState::Halted => checks.push(Check::wrong(
                subject,
                format!("{what} is halted"),
                format!("perdiem run resume {id}"),
            )),
            RunState::Running
            | RunState::Completed
            | RunState::Cancelled
            | RunState::Unspecified => {}
        }
        if 0 < it.parked_count {
            checks.push(Check::wrong(
                subject,
                format!("{what} has parked {} accounts", it.parked_count),
                format!("perdiem run parked {id}; mend each, then perdiem run release-parked"),
            ));
        }
    }
    if checks.is_empty() {
        checks.push(Check::right(subject, "no run needs a person"));
    }
    Ok(checks)
}

/// Events of money that the ledger lacks.
async fn events(clients: &Clients) -> Result<Vec<Check>, Failure> {
    let subject = "payment events";
    let count = event::list(clients, "", false).await?.len();
    Ok(vec![if count == 0 {
        Check::right(subject, "the ledger has every payment event")
    } else {
        let found = format!("the ledger lacks {count} payment events");
        let action = "perdiem event list; deploy/runbooks/unposted-events.md";
        Check::wrong(subject, found, action)
    }])
}

/// Charges that need a person.
async fn charges(clients: &Clients, now: DateTime<Utc>) -> Result<Vec<Check>, Failure> {
    let of = async |state: MovementState, overturned: bool| {
        let mut client = clients.payments.clone();
        let mut request = payments::ListChargesRequest {
            state: state.into(),
            overturned,
            page_size: 500,
            ..payments::ListChargesRequest::default()
        };
        let mut found = Vec::new();
        loop {
            let answer = client.list_charges(request.clone()).await;
            let page = answer.map_err(refused)?.into_inner();
            let page_of = page.charges.into_iter();
            found.extend(page_of.map(|it| (it.charge_id, instant(it.update_time))));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return Ok::<_, Failure>(found);
            }
        }
    };
    let mut unknown = of(MovementState::Unknown, false).await?;
    unknown.retain(|(_, since)| since.is_none_or(|since| since + PROGRESS < now));
    let parked = of(MovementState::Parked, false).await?;
    let overturned = of(MovementState::Unspecified, true).await?;
    Ok(told(
        "charges",
        [
            (unknown, "of unknown outcome for an hour", UNKNOWN),
            (parked, "parked", PARKED),
            (
                overturned,
                "contradicted by their provider",
                "give the money back at the provider, then ResolveMovement",
            ),
        ],
    ))
}

/// Refunds that need a person.
async fn refunds(clients: &Clients, now: DateTime<Utc>) -> Result<Vec<Check>, Failure> {
    let of = async |state: MovementState, overdue: bool| {
        let mut client = clients.payments.clone();
        let mut request = payments::ListRefundsRequest {
            state: state.into(),
            overdue,
            page_size: 500,
            ..payments::ListRefundsRequest::default()
        };
        let mut found = Vec::new();
        loop {
            let answer = client.list_refunds(request.clone()).await;
            let page = answer.map_err(refused)?.into_inner();
            let page_of = page.refunds.into_iter();
            found.extend(page_of.map(|it| (it.refund_id, instant(it.update_time))));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return Ok::<_, Failure>(found);
            }
        }
    };
    let mut unknown = of(MovementState::Unknown, false).await?;
    unknown.retain(|(_, since)| since.is_none_or(|since| since + PROGRESS < now));
    let parked = of(MovementState::Parked, false).await?;
    let overdue = of(MovementState::Unspecified, true).await?;
    Ok(told(
        "refunds",
        [
            (unknown, "of unknown outcome for an hour", UNKNOWN),
            (parked, "parked", PARKED),
            (overdue, "overdue", "deploy/runbooks/overdue-refunds.md"),
        ],
    ))
}

/// What to do about movements of unknown outcome.
const UNKNOWN: &str = "deploy/runbooks/unknown-payments.md";
/// What to do about parked movements.
const PARKED: &str = "find out where the money is; deploy/runbooks/parked-payments.md";

/// Movements, each by its ID and since when it is as it is.
type Movements = Vec<(String, Option<DateTime<Utc>>)>;

/// A check for each kind of movements that there are, with what they are and what to do.
fn told(subject: &'static str, kinds: [(Movements, &'static str, &'static str); 3]) -> Vec<Check> {
    let mut checks = Vec::new();
    for (movements, what, action) in kinds {
        if let Some((newest, _)) = movements.first() {
            let found = format!("{} {subject} {what}, newest {newest}", movements.len());
            checks.push(Check::wrong(subject, found, action));
        }
    }
    if checks.is_empty() {
        checks.push(Check::right(subject, format!("no {subject} need a person")));
    }
    checks
}

/// Whether ledger, payments and provider agree, without what may be in progress.
async fn books(clients: &Clients, now: DateTime<Utc>) -> Result<Vec<Check>, Failure> {
    let to = now - PROGRESS;
    let scope = reconcile::Scope {
        account_id: String::new(),
        provider_code: String::new(),
        from: to - reconcile::LONGEST,
        to,
    };
    let found = reconcile::compare(clients, &scope).await?;
    Ok(vec![match reconcile::verdict(&found) {
        Ok(()) => Check::right("books", "ledger, payments and provider agree"),
        Err(error) => Check::wrong(
            "books",
            error.to_string(),
            "perdiem reconcile; deploy/runbooks/ledger-differences.md",
        ),
    }])
}

/// Prints what was found.
pub fn print(checks: &[Check], output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        let healthy = verdict(checks).is_ok();
        let both = serde_json::json!({"healthy": healthy, "checks": checks});
        show::line(serde_json::to_string_pretty(&both)?);
    } else {
        show::lines(&text(checks));
    }
    Ok(())
}

/// A line for each check, longer ones wrapped.
pub fn text(checks: &[Check]) -> Vec<String> {
    let line = |it: &Check| {
        let label = match it.state {
            State::Ok => "ok       ",
            State::Wrong => "wrong    ",
            State::Skipped => "skipped  ",
        };
        let text = if it.action.is_empty() {
            it.found.clone()
        } else {
            format!("{}. To do: {}", it.found, it.action)
        };
        show::labelled(label, &text)
    };
    checks.iter().flat_map(line).collect()
}

/// An error where something is wrong.
pub fn verdict(checks: &[Check]) -> Result<(), Failure> {
    let wrong = checks.iter().filter(|it| it.state == State::Wrong).count();
    if wrong == 0 {
        Ok(())
    } else {
        Err(format!("{wrong} of {} checks found something wrong", checks.len()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ahead(service: &'static str, least: i64, most: i64) -> Ahead {
        Ahead {
            service,
            least: TimeDelta::seconds(least),
            most: TimeDelta::seconds(most),
        }
    }

    #[test]
    fn clocks_differ_where_no_slow_answer_explains_it() {
        // An answer that took a minute leaves it open what its clock said.
        let slow = [ahead("plan", -1, 2), ahead("billing", -60, 2)];
        assert_eq!(machines(&slow).state, State::Ok);
        let differ = [ahead("plan", -1, 2), ahead("billing", 59, 62)];
        let told = machines(&differ);
        assert_eq!(told.state, State::Wrong);
        assert_eq!(
            told.found,
            "the clock of billing is 57 s ahead of that of plan"
        );
    }

    #[test]
    fn a_check_is_a_line_that_fits_and_one_that_is_wrong_a_failure() {
        let right = Check::right("plan", "plan is ready");
        assert_eq!(
            text(std::slice::from_ref(&right)),
            ["ok       plan is ready"]
        );
        assert!(verdict(std::slice::from_ref(&right)).is_ok());
        let run = format!("RU{}", "0".repeat(32));
        let wrong = Check::wrong(
            "billing runs",
            "it is halted",
            format!("perdiem run resume {run}"),
        );
        let checks = [right, wrong];
        let texts = text(&checks);
        assert!(
            texts.iter().all(|it| it.chars().count() <= show::WIDTH),
            "{texts:#?}"
        );
        assert!(texts.iter().any(|it| it.contains(&run)), "{texts:#?}");
        let told = verdict(&checks).unwrap_err().to_string();
        assert_eq!(told, "1 of 2 checks found something wrong");
    }

    #[test]
    fn movements_that_need_a_person_are_counted() {
        let charge = ("CH0".to_owned(), None);
        let parked = vec![charge.clone(), charge];
        let kinds = [
            (Vec::new(), "unknown", ""),
            (parked, "parked", PARKED),
            (Vec::new(), "", ""),
        ];
        let checks = told("charges", kinds);
        assert_eq!(checks.len(), 1);
        assert_eq!(checks[0].found, "2 charges parked, newest CH0");
        let none = [(); 3].map(|()| (Vec::new(), "parked", PARKED));
        assert_eq!(told("charges", none)[0].state, State::Ok);
    }
}
