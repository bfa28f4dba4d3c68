//! Calls at a rate, each at its own time whatever became of those before: what a service can serve, and what becomes of
//! more. A call's time counts from when it was due, not from when it was sent: a service that makes its callers wait
//! does not look the faster for it.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "for programs of developers: they print, and stop at what they did not expect"
)]

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// How long a call may take: more than the wait for its turn.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// How long an answer is waited for; a call that has none by then was lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most calls of one step, so that it stays bounded on any machine.
const CALLS_MOST: u32 = 200_000;
/// Calls a second to begin with.
const FIRST_RATE: u32 = 25;
/// Growing rates that are tried at most: the last is some thousand times the first.
const RATES: u32 = 12;
/// How much the rate grows, in percent.
const GROWTH: u32 = 200;
/// Of what is offered, the percentage that a service serves in time while it is not overloaded.
const SERVED_LEAST: u32 = 80;
/// Overload, in multiples of what can be served.
const OVERLOAD: u32 = 4;
/// Of what can be served, the percentage that is served under overload.
const GOODPUT_LEAST: u32 = 50;
/// How soon everything is served again.
const RECOVERY: Duration = Duration::from_secs(10);
/// How many faults of a step are shown.
const FAULTS: usize = 5;

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was served.
    Served,
    /// It was refused, with a time to come again.
    Refused,
    /// Its time was over, or it had no connection.
    Late,
    /// It was answered something else.
    Fault,
}

/// A call of a step.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// Which, from 0.
    pub number: u32,
    /// When it was answered, after it was due.
    pub after: Duration,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of the calls of a step.
#[derive(Debug)]
pub struct Step {
    /// Calls a second that were offered.
    pub rate: u32,
    /// Every call.
    pub answers: Vec<Answer>,
    /// Milliseconds from the first call to the last answer.
    millis: u32,
    /// The first faults.
    faults: Vec<String>,
}

impl Step {
    /// How many calls had an outcome.
    pub fn count(&self, outcome: Outcome) -> u32 {
        let answers = self.answers.iter();
        u32::try_from(answers.filter(|it| it.outcome == outcome).count()).unwrap()
    }

    /// Calls that were sent.
    fn offered(&self) -> u32 {
        u32::try_from(self.answers.len()).unwrap()
    }

    /// Calls served a second.
    pub fn goodput(&self) -> u32 {
        self.count(Outcome::Served).saturating_mul(1_000) / self.millis.max(1)
    }

    /// Whether what was offered was served in time.
    fn kept_up(&self) -> bool {
        self.offered() * SERVED_LEAST <= self.count(Outcome::Served) * 100
            && self.rate * SERVED_LEAST <= self.goodput() * 100
    }

    /// Says what became of the calls.
    fn print(&self, name: &str) {
        println!(
            "{name}, {} calls a second: {} served, {} refused, {} late; {} a second served",
            self.rate,
            self.count(Outcome::Served),
            self.count(Outcome::Refused),
            self.count(Outcome::Late),
            self.goodput()
        );
    }
}

/// What a status says became of its call.
fn outcome(answer: &Result<(), Status>) -> Outcome {
    let Err(status) = answer else {
        return Outcome::Served;
    };
    let shed = matches!(status.code(), Code::Unavailable | Code::ResourceExhausted)
        && status.get_details_error_info().is_some();
    let retry = status.get_details_retry_info();
    if shed && retry.is_some_and(|it| it.retry_delay.is_some()) {
        Outcome::Refused
    } else if !shed && matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) {
        // Who waits longer than a call may take gives up, before the service or with it.
        Outcome::Late
    } else {
        Outcome::Fault
    }
}

/// When a call of a step is due, after its beginning.
fn due(number: u32, rate: u32) -> Duration {
    Duration::from_micros(u64::from(number) * 1_000_000 / u64::from(rate))
}

/// Calls at a rate for a time, and says as `name` what became of the calls.
pub async fn step<F: Future<Output = Result<(), Status>>>(
    name: &str,
    rate: u32,
    time: Duration,
    call: impl Fn(u32) -> F,
) -> Step {
    let seconds = u32::try_from(time.as_secs()).unwrap().max(1);
    let offered = rate.saturating_mul(seconds).min(CALLS_MOST);
    let begun = Instant::now();
    let arrivals = stream::iter(0..offered).then(|number| async move {
        let wait = due(number, rate).saturating_sub(begun.elapsed());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        number
    });
    let calls = arrivals.map(|number| {
        let calling = tokio::time::timeout(PATIENCE, call(number));
        async move {
            let lost = |_| Err(Status::data_loss(format!("no answer for {PATIENCE:?}")));
            let answer = calling.await.unwrap_or_else(lost);
            let after = begun.elapsed().saturating_sub(due(number, rate));
            (number, after, answer)
        }
    });
    let all: Vec<_> = calls.buffer_unordered(usize::MAX).collect().await;
    let mut step = Step {
        rate,
        answers: Vec::with_capacity(all.len()),
        millis: u32::try_from(begun.elapsed().as_millis()).unwrap(),
        faults: Vec::new(),
    };
    for (number, after, answer) in all {
        let outcome = outcome(&answer);
        step.answers.push(Answer {
            number,
            after,
            outcome,
        });
        if let Err(status) = answer
            && outcome == Outcome::Fault
            && step.faults.len() < FAULTS
        {
            step.faults.push(format!("a call was answered {status:?}"));
        }
    }
    step.print(name);
    step
}

/// Doubles the rate until the calls can't be served; gives how many a second can be, every step, and the promises that
/// were broken.
pub async fn knee<F: Future<Output = Result<(), Status>>>(
    step_time: Duration,
    call: impl Fn(u32) -> F,
) -> (u32, Vec<Step>, Vec<String>) {
    let (mut steps, mut broken) = (Vec::new(), Vec::new());
    let (mut knee, mut rate, mut missed) = (0, FIRST_RATE, 0);
    for _ in 0..RATES {
        let mut step = step("growing", rate, step_time, &call).await;
        knee = knee.max(step.goodput());
        // Twice, so that a moment in which the machine was busy is not taken for the end.
        missed = if step.kept_up() { 0 } else { missed + 1 };
        broken.append(&mut step.faults);
        steps.push(step);
        if missed == 2 {
            break;
        }
        rate = rate * GROWTH / 100;
    }
    if knee == 0 {
        broken.push("nothing was served".to_owned());
    }
    (knee, steps, broken)
}

/// Calls four times as often as can be served, and then half as often until everything is served again; gives what
/// became of the overload, and the promises that were broken.
pub async fn overload<F: Future<Output = Result<(), Status>>>(
    knee: u32,
    time: Duration,
    call: impl Fn(u32) -> F,
) -> (Step, Vec<String>) {
    let mut over = step("overload", OVERLOAD * knee, time, &call).await;
    let mut broken = std::mem::take(&mut over.faults);
    if over.goodput() * 100 < knee * GOODPUT_LEAST {
        broken.push(format!(
            "under overload {} a second were served, before {knee}",
            over.goodput()
        ));
    }
    if over.count(Outcome::Refused) == 0 && over.count(Outcome::Served) < over.offered() {
        broken.push("nothing was refused under overload".to_owned());
    }
    broken.extend(recovered(knee, &call).await);
    (over, broken)
}

/// What is broken if, some seconds after the overload, not all of half of what can be served is served.
async fn recovered<F: Future<Output = Result<(), Status>>>(
    knee: u32,
    call: impl Fn(u32) -> F,
) -> Option<String> {
    let (begun, rate) = (Instant::now(), (knee / 2).max(1));
    loop {
        let step = step("after the overload", rate, Duration::from_secs(1), &call).await;
        let served = step.count(Outcome::Served);
        if served == step.offered() {
            println!(
                "everything was served {:?} after the overload",
                begun.elapsed()
            );
            return None;
        }
        if RECOVERY < begun.elapsed() {
            return Some(format!(
                "{RECOVERY:?} after the overload, {served} of {} calls were served",
                step.offered()
            ));
        }
    }
}
