//! The timeline of an account in a family: dated segments that tile time without overlap.

use chrono::{DateTime, NaiveDate, Utc};
use thiserror::Error;
use values::{
    AccountId, ContractId, ContractOfferId, OrderId, Period, Zone, anniversary, elapsed_cycles,
};

use super::catalogue::Cycle;
use super::change::Effect;

/// A stretch of time, `[start_at, end_at)`, in which one plan is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// From when.
    pub start_at: DateTime<Utc>,
    /// Until when; `None` while open.
    pub end_at: Option<DateTime<Utc>>,
    /// The plan.
    pub plan_code: String,
    /// The catalogue version of its terms.
    pub catalogue_version: String,
    /// The root account that pays.
    pub payer: AccountId,
    /// The contract that governs it.
    pub contract: Option<ContractId>,
    /// The billing cycle and the day that it counts from.
    pub cycle: Option<(String, NaiveDate)>,
    /// The order that made it.
    pub order: Option<OrderId>,
    /// The offer whose terms it has; `None` for those of the catalogue.
    pub offer: Option<ContractOfferId>,
}

/// What to write so that a timeline takes a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Segments that start here or later go: the pending change that is replaced, or what began at
    /// this very instant.
    pub remove_from: DateTime<Utc>,
    /// The start of the segment that now ends at the instant of the change.
    pub shorten: Option<DateTime<Utc>>,
    /// The new segment, open.
    pub insert: Segment,
}

/// The change would rewrite the past (D15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a timeline only changes from now on")]
pub struct InThePast;

/// When a change of `effect` that is made `now` takes effect.
///
/// `NextCycle` and `NextRenewal` are the next boundary of the running cycle, counted from its
/// anchor in the family's zone; a segment without cycle has a boundary at once.
pub fn effective_at(
    effect: Effect,
    now: DateTime<Utc>,
    zone: Zone,
    running: Option<(Cycle, NaiveDate)>,
) -> DateTime<Utc> {
    match (effect, running) {
        (Effect::NextCycle | Effect::NextRenewal, Some((cycle, anchor))) => {
            boundary(cycle, anchor, zone.day(now)).map_or(now, |day| zone.start_of(day))
        }
        (
            Effect::Immediate
            | Effect::ImmediateOnPayment
            | Effect::NextCycle
            | Effect::NextRenewal,
            _,
        ) => now,
    }
}

/// The first day of the cycle after the one that `day` lies in.
pub fn boundary(cycle: Cycle, anchor: NaiveDate, day: NaiveDate) -> Option<NaiveDate> {
    let passed = elapsed_cycles(anchor, cycle.months, day);
    anniversary(anchor, cycle.months, passed + 1)
}

/// Of the running cycle that `day` lies in: the days from `day` on, and all.
pub fn days_left(cycle: Cycle, anchor: NaiveDate, day: NaiveDate) -> Option<(i64, i64)> {
    let passed = elapsed_cycles(anchor, cycle.months, day);
    let start = anniversary(anchor, cycle.months, passed)?;
    let end = anniversary(anchor, cycle.months, passed + 1)?;
    Some(((end - day).num_days(), (end - start).num_days()))
}

/// The segment that is pending at `now`: the first that has not begun.
pub fn pending(timeline: &[Segment], now: DateTime<Utc>) -> Option<&Segment> {
    timeline.iter().find(|segment| now < segment.start_at)
}

/// The edit that puts `next` in force from its start on, as far as `timeline` is known: what was
/// pending is replaced, what is in force ends there.
///
/// # Errors
/// `InThePast` when `next` starts before `now`.
pub fn changed(timeline: &[Segment], next: Segment, now: DateTime<Utc>) -> Result<Edit, InThePast> {
    if next.start_at < now {
        return Err(InThePast);
    }
    let before = timeline
        .iter()
        .rfind(|segment| segment.start_at < next.start_at);
    let shorten = before
        .filter(|segment| segment.end_at.is_none_or(|end| next.start_at < end))
        .map(|segment| segment.start_at);
    Ok(Edit {
        remove_from: next.start_at,
        shorten,
        insert: next,
    })
}

/// A fingerprint of a timeline and of what else is `bound` with it: another one after any change to either.
///
/// FNV-1a over starts, ends and plans: it tells timelines of one account apart, it does not have to
/// withstand an attacker.
pub fn etag(timeline: &[Segment], bound: &str) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut feed = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for segment in timeline {
        feed(&segment.start_at.timestamp_micros().to_be_bytes());
        feed(
            &segment
                .end_at
                .map_or(i64::MAX, |end| end.timestamp_micros())
                .to_be_bytes(),
        );
        feed(segment.plan_code.as_bytes());
        feed(segment.catalogue_version.as_bytes());
    }
    feed(bound.as_bytes());
    format!("{hash:016x}")
}

/// The days of `period` that a segment begins on and ends before, counted from its first: what a
/// billing run reads.
///
/// The begin is -1 when it lies before the period. A segment that ends within a day still holds
/// that day, if no other begins on it: the closing day counts (C-05). Both are days in `zone`.
pub fn days_within(
    start_at: DateTime<Utc>,
    end_at: Option<DateTime<Utc>>,
    period: Period,
    zone: Zone,
) -> (i64, i64) {
    let index = |day: NaiveDate| (day - period.start()).num_days();
    let start = index(zone.day(start_at)).max(-1);
    let end = end_at.map_or(i64::MAX, |end| {
        let day = zone.day(end);
        if zone.start_of(day) == end {
            index(day)
        } else {
            index(day) + 1
        }
    });
    (start, end.min(period.days()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn segment(start: &str, end: Option<&str>, plan: &str) -> Segment {
        Segment {
            start_at: at(start),
            end_at: end.map(at),
            plan_code: plan.to_owned(),
            catalogue_version: "v1".to_owned(),
            payer: AccountId::new(),
            contract: None,
            cycle: None,
            order: None,
            offer: None,
        }
    }

    #[test]
    fn a_change_ends_what_is_in_force_and_replaces_what_is_pending() {
        let now = at("2026-04-20T00:00:00Z");
        let timeline = [
            segment(
                "2026-04-01T00:00:00Z",
                Some("2026-05-15T00:00:00Z"),
                "starter",
            ),
            segment("2026-05-15T00:00:00Z", None, "growth"),
        ];
        let next = segment("2026-05-15T00:00:00Z", None, "enterprise");
        let edit = changed(&timeline, next.clone(), now).unwrap();
        assert_eq!((edit.remove_from, edit.shorten), (next.start_at, None));

        let at_once = segment("2026-04-20T00:00:00Z", None, "enterprise");
        let edit = changed(&timeline, at_once, now).unwrap();
        assert_eq!(
            (edit.remove_from, edit.shorten),
            (now, Some(at("2026-04-01T00:00:00Z")))
        );

        // What has ended stays as it ended.
        let ended = [segment(
            "2026-04-01T00:00:00Z",
            Some("2026-04-15T00:00:00Z"),
            "starter",
        )];
        let edit = changed(&ended, segment("2026-04-20T00:00:00Z", None, "growth"), now).unwrap();
        assert_eq!(edit.shorten, None);
        let past = segment("2026-04-19T00:00:00Z", None, "enterprise");
        assert_eq!(changed(&timeline, past, now), Err(InThePast));
    }

    #[test]
    fn a_next_cycle_starts_on_the_anchor_day_in_the_zone_of_the_family() {
        let zone = Zone::parse("Asia/Kolkata").unwrap();
        let monthly = Cycle {
            months: 1,
            discount_bps: 0,
        };
        let anchor = "2026-01-31".parse().unwrap();
        let next = |now| effective_at(Effect::NextCycle, at(now), zone, Some((monthly, anchor)));
        assert_eq!(next("2026-02-10T00:00:00Z"), at("2026-02-27T18:30:00Z"));
        assert_eq!(next("2026-02-28T00:00:00Z"), at("2026-03-30T18:30:00Z"));
    }

    #[track_caller]
    fn check_days(start: &str, end: Option<&str>, expected: (i64, i64)) {
        let april = Period::parse_month("2026-04").unwrap();
        assert_eq!(
            days_within(at(start), end.map(at), april, Zone::parse("UTC").unwrap()),
            expected
        );
    }

    #[test]
    fn the_first_day_and_the_closing_day_count() {
        check_days("2026-04-15T23:59:00Z", None, (14, 30));
        check_days("2026-03-15T00:00:00Z", None, (-1, 30));
        check_days(
            "2026-04-01T00:00:00Z",
            Some("2026-04-20T10:00:00Z"),
            (0, 20),
        );
        check_days(
            "2026-04-01T00:00:00Z",
            Some("2026-04-20T00:00:00Z"),
            (0, 19),
        );
        check_days(
            "2026-04-01T00:00:00Z",
            Some("2026-06-20T00:00:00Z"),
            (0, 30),
        );
    }
}
