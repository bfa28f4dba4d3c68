//! Timelines: the dated segments of an account in a family, which do not overlap.

use chrono::{DateTime, NaiveDate, Utc};
use thiserror::Error;
use values::{
    AccountId, ContractId, ContractOfferId, OrderId, Period, Zone, anniversary, elapsed_cycles,
};

use super::catalogue::Cycle;
use super::change::Effect;

/// A time range `[start_at, end_at)` in which one plan is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Start, inclusive.
    pub start_at: DateTime<Utc>,
    /// End, exclusive; `None` while open.
    pub end_at: Option<DateTime<Utc>>,
    /// Plan code.
    pub plan_code: String,
    /// Catalogue version of its terms.
    pub catalogue_version: String,
    /// Root account that pays.
    pub payer: AccountId,
    /// Contract that governs it; `None` without one.
    pub contract: Option<ContractId>,
    /// Billing cycle and its anchor date; `None` if it is not paid in advance.
    pub cycle: Option<(String, NaiveDate)>,
    /// Order that created it.
    pub order: Option<OrderId>,
    /// Contract offer with its terms; `None` for the catalogue's terms.
    pub offer: Option<ContractOfferId>,
}

/// The writes that a change makes to a timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Segments that start here or later are removed: the pending change that is replaced, or a segment that started at
    /// this very instant.
    pub remove_from: DateTime<Utc>,
    /// Start of the segment that now ends where the new one starts; `None` if none is shortened.
    pub shorten: Option<DateTime<Utc>>,
    /// The new, open segment.
    pub insert: Segment,
}

/// The change would alter the past of the timeline (D15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a timeline can only change from now on; preview the change again")]
pub struct InThePast;

/// The effective time of a change with `effect` made at `now`.
///
/// `NextCycle` and `NextRenewal` mean the end of the present month or cycle, at the start of the day in the family's
/// zone.
pub fn effective_at(
    effect: Effect,
    now: DateTime<Utc>,
    zone: Zone,
    running: Running,
) -> DateTime<Utc> {
    match effect {
        Effect::NextCycle | Effect::NextRenewal => {
            let end = running.end(zone.day(now));
            end.map_or(now, |day| zone.start_of(day))
        }
        Effect::Immediate | Effect::ImmediateOnPayment => now,
    }
}

/// The present billing period, at whose end a deferred change takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running {
    /// The calendar month, in a family billed in arrears.
    Month,
    /// A paid billing cycle with its anchor date.
    Cycle(Cycle, NaiveDate),
    /// No period, so a change is not deferred.
    Nothing,
}

impl Running {
    /// The first day after the period that contains `day`.
    pub fn end(self, day: NaiveDate) -> Option<NaiveDate> {
        match self {
            Self::Month => Period::month_of(day).ok().map(Period::end),
            Self::Cycle(cycle, anchor) => boundary(cycle, anchor, day),
            Self::Nothing => None,
        }
    }

    /// The effect of a change here: without a present period, a deferred change takes effect when it is paid.
    pub fn effect(self, ruled: Effect) -> Effect {
        match (self, ruled) {
            (Self::Nothing, Effect::NextCycle | Effect::NextRenewal) => Effect::ImmediateOnPayment,
            (Self::Month | Self::Cycle(..) | Self::Nothing, _) => ruled,
        }
    }
}

/// The first day of the cycle after the one that contains `day`.
pub fn boundary(cycle: Cycle, anchor: NaiveDate, day: NaiveDate) -> Option<NaiveDate> {
    let passed = elapsed_cycles(anchor, cycle.months, day);
    anniversary(anchor, cycle.months, passed + 1)
}

/// For the cycle that contains `day`: the days from `day` on, and all its days.
pub fn days_left(cycle: Cycle, anchor: NaiveDate, day: NaiveDate) -> Option<(i64, i64)> {
    let passed = elapsed_cycles(anchor, cycle.months, day);
    let start = anniversary(anchor, cycle.months, passed)?;
    let end = anniversary(anchor, cycle.months, passed + 1)?;
    Some(((end - day).num_days(), (end - start).num_days()))
}

/// The pending segment at `now`: the first that has not started.
pub fn pending(timeline: &[Segment], now: DateTime<Utc>) -> Option<&Segment> {
    timeline.iter().find(|segment| now < segment.start_at)
}

/// The edit that puts `next` in force from its start. A pending change from there on is replaced; the segment in force
/// ends there.
///
/// # Errors
/// `InThePast` if `next` starts before `now`.
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

/// The segment of a timeline, oldest first, that is in force at `now`.
pub fn in_force(timeline: &[Segment], now: DateTime<Utc>) -> Option<&Segment> {
    timeline
        .iter()
        .rfind(|segment| segment.start_at <= now)
        .filter(|segment| segment.end_at.is_none_or(|end| now < end))
}

/// A fingerprint of a timeline and of what else is `bound` with it: another one after any change to either.
///
/// FNV-1a over starts, ends, plans and versions. It detects changes of one account's timeline and need not withstand an
/// attacker.
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

/// The days of `period` at which a segment starts and ends, as zero-based indexes in `[start, end)`, for a billing run.
///
/// The start is -1 if it lies before the period. If a segment ends within a day, that day still counts, unless another
/// segment starts on it: the closing day is charged (C-05). Days are those of `zone`.
pub fn days_within(
    start_at: DateTime<Utc>,
    end_at: Option<DateTime<Utc>>,
    period: Period,
    zone: Zone,
) -> (i64, i64) {
    let index = |day: NaiveDate| (day - period.start()).num_days();
    let start = index(zone.day_from(start_at)).max(-1);
    let end = end_at.map_or(i64::MAX, |end| {
        let day = zone.day_from(end);
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

        // A segment that has already ended keeps its end.
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
        let running = Running::Cycle(monthly, anchor);
        let next = |now| effective_at(Effect::NextCycle, at(now), zone, running);
        assert_eq!(next("2026-02-10T00:00:00Z"), at("2026-02-27T18:30:00Z"));
        assert_eq!(next("2026-02-28T00:00:00Z"), at("2026-03-30T18:30:00Z"));
    }

    #[test]
    fn a_next_cycle_in_arrears_starts_with_the_next_month_and_one_of_nothing_when_it_is_paid() {
        let zone = Zone::parse("America/New_York").unwrap();
        let next = |now| effective_at(Effect::NextCycle, at(now), zone, Running::Month);
        assert_eq!(next("2026-04-20T10:00:00Z"), at("2026-05-01T04:00:00Z"));
        assert_eq!(next("2026-05-01T03:59:59Z"), at("2026-05-01T04:00:00Z"));
        assert_eq!(next("2026-05-01T04:00:00Z"), at("2026-06-01T04:00:00Z"));
        for ruled in [Effect::NextCycle, Effect::NextRenewal] {
            assert_eq!(Running::Month.effect(ruled), ruled);
            assert_eq!(Running::Nothing.effect(ruled), Effect::ImmediateOnPayment);
        }
        assert_eq!(
            Running::Nothing.effect(Effect::Immediate),
            Effect::Immediate
        );
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
    fn a_period_that_starts_on_a_day_that_never_was_adds_up() {
        let apia = Zone::parse("Pacific/Apia").unwrap();
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let period = Period::new(day("2011-12-30"), day("2012-01-30")).unwrap();
        let (from, until) = (apia.start_of(period.start()), apia.start_of(period.end()));
        assert_eq!(days_within(from, Some(until), period, apia), (0, 31));
        let before = days_within(at("2011-12-01T10:00:00Z"), Some(from), period, apia);
        assert_eq!(before, (-1, 0));
        // Cut at the start of any day, the two parts add up to the whole.
        for day in 0..31 {
            let cut = apia.start_of(period.day(day).unwrap());
            let one = days_within(at("2011-12-01T10:00:00Z"), Some(cut), period, apia);
            let two = days_within(cut, None, period, apia);
            assert_eq!(one.1, two.0, "{day}");
        }
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
