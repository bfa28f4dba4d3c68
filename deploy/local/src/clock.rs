//! `perdiem clock show|set|advance`: one time for the whole suite.

use std::time::Duration;

use chrono::{DateTime, Utc};
use proto::clock::v1 as pb;

use crate::Failure;
use crate::connect::{Urls, clocks, instant, refused, timestamp};

/// How long the suite may take to finish what is due.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long standing clocks may take to tell their time.
const SOON: Duration = Duration::from_secs(10);

/// The standing time of the suite; an error when its services disagree.
pub async fn now(urls: &Urls) -> Result<DateTime<Utc>, Failure> {
    let mut seen = Vec::new();
    for mut clock in clocks(urls).await? {
        let answer = clock
            .get_clock(pb::GetClockRequest {})
            .await
            .map_err(refused)?
            .into_inner();
        seen.push(instant(answer.current_time).ok_or("a clock gave no time")?);
    }
    // Before it is set, each clock is the machine's.
    seen.iter().min().copied().ok_or_else(|| "no clock".into())
}

/// The time of this machine.
#[expect(
    clippy::disallowed_methods,
    reason = "what a command measures by, as the services measure by theirs"
)]
pub fn machine() -> DateTime<Utc> {
    Utc::now()
}

/// The standing time of each service; none where a service has no standing clock.
pub async fn standing(urls: &Urls) -> Option<Vec<DateTime<Utc>>> {
    let asked = async {
        let mut seen = Vec::new();
        for mut clock in clocks(urls).await.ok()? {
            let answer = clock.get_clock(pb::GetClockRequest {}).await.ok()?;
            seen.push(instant(answer.into_inner().current_time)?);
        }
        Some(seen)
    };
    tokio::time::timeout(SOON, asked).await.ok().flatten()
}

/// The time by which the suite works: the standing one, or else the machine's.
pub async fn current(urls: &Urls) -> DateTime<Utc> {
    let standing = standing(urls).await.unwrap_or_default();
    standing.into_iter().min().unwrap_or_else(machine)
}

/// Moves every clock to `to` at once, without stopping at what is due on the way.
pub async fn set(urls: &Urls, to: DateTime<Utc>) -> Result<(), Failure> {
    for mut clock in clocks(urls).await? {
        clock
            .set_clock(pb::SetClockRequest {
                current_time: Some(timestamp(to)),
            })
            .await
            .map_err(refused)?;
    }
    Ok(())
}

/// Moves every clock to `to`, stopping at each instant at which work is due until it is done (D19); what is
/// under way now is done before the first move.
pub async fn advance(urls: &Urls, to: DateTime<Utc>) -> Result<(), Failure> {
    done(urls).await?;
    loop {
        let mut next = to;
        for mut clock in clocks(urls).await? {
            let request = pb::GetNextDueRequest {
                until_time: Some(timestamp(to)),
            };
            let answer = clock
                .get_next_due(request)
                .await
                .map_err(refused)?
                .into_inner();
            next = next.min(instant(answer.due_time).unwrap_or(to));
        }
        set(urls, next).await?;
        done(urls).await?;
        if next == to {
            return Ok(());
        }
    }
}

/// Waits, with patience, until there is nothing to do.
async fn done(urls: &Urls) -> Result<(), Failure> {
    tokio::time::timeout(PATIENCE, idle(urls))
        .await
        .map_err(|_| "the suite does not become idle")?
}

/// Waits until every service says twice in a row that it has nothing to do: the first may have been given
/// work by the last after it was asked.
async fn idle(urls: &Urls) -> Result<(), Failure> {
    let mut clocks = clocks(urls).await?;
    let mut quiet = 0;
    while quiet < 2 {
        quiet += 1;
        for clock in &mut clocks {
            let request = pb::GetClockRequest {};
            let answer = clock.get_clock(request).await.map_err(refused)?;
            if !answer.into_inner().idle {
                quiet = 0;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    Ok(())
}

/// The instant that `text` means: RFC 3339, or a distance from `now` such as 30d, 12h or 15m.
pub fn target(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Failure> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let bad = || format!("{text}: an RFC 3339 instant, or a distance such as 30d, 12h or 15m");
    let (count, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(bad)?;
    let count: i64 = count.parse().map_err(|_| bad())?;
    let distance = match unit {
        "d" => chrono::TimeDelta::try_days(count),
        "h" => chrono::TimeDelta::try_hours(count),
        "m" => chrono::TimeDelta::try_minutes(count),
        _ => None,
    };
    let distance = distance.filter(|_| 0 < count).ok_or_else(bad)?;
    Ok(now.checked_add_signed(distance).ok_or_else(bad)?)
}
