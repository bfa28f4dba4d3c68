//! Measures what an operator has to see: how many movements have an unknown outcome and since when, how many wait for a
//! person, and how many refunds are overdue. Every replica tells the same; alerts take the maximum.

use chassis::PgConnection;
use opentelemetry::global;
use opentelemetry::metrics::Meter;

use crate::ctx::Ctx;
use crate::domain::movement::{Kind, State};
use crate::error::Error;
use crate::store::Tenant;
use crate::store::movements::{self, Filter, Movement};

/// The most movements of a kind that are looked at; more are counted as so many.
const LIMIT: i64 = 1_000;

/// Measures once; always returns 0, so that the job pauses.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let unknown = in_state(&mut tx, State::Unknown).await?;
    let parked = in_state(&mut tx, State::Parked).await?;
    let overdue = Filter {
        overdue_on: Some(now.date_naive()),
        ..Filter::of(Kind::Refund, LIMIT)
    };
    let overdue = movements::list(&mut tx, &overdue).await?;
    tx.commit().await?;
    let asked: Vec<i64> = unknown
        .iter()
        .map(|it| it.first_asked_for_seconds)
        .collect();
    let meter = global::meter("perdiem");
    tell(&meter, &asked, (parked.len(), overdue.len()));
    Ok(0)
}

/// Charges and refunds in a state.
async fn in_state(db: &mut PgConnection, state: State) -> sqlx::Result<Vec<Movement>> {
    let mut found = Vec::new();
    for kind in Kind::ALL {
        let filter = Filter {
            state: Some(state),
            ..Filter::of(kind, LIMIT)
        };
        found.extend(movements::list(db, &filter).await?);
    }
    Ok(found)
}

/// Tells the movements whose outcome is unknown, by the seconds since each was first asked for, and how many movements
/// are parked and refunds overdue.
fn tell(meter: &Meter, asked: &[i64], (parked, overdue): (usize, usize)) {
    let count = |length| u64::try_from(length).unwrap_or(u64::MAX);
    meter
        .u64_gauge("perdiem.payments.unknown")
        .with_description("Charges and refunds whose outcome is unknown.")
        .build()
        .record(count(asked.len()), &[]);
    meter
        .i64_gauge("perdiem.payments.unknown.age")
        .with_unit("s")
        .with_description(
            "Time since the provider was first asked for the oldest of them; 0 without one.",
        )
        .build()
        .record(asked.iter().copied().max().unwrap_or(0), &[]);
    meter
        .u64_gauge("perdiem.payments.parked")
        .with_description("Charges and refunds that a person has to resolve.")
        .build()
        .record(count(parked), &[]);
    meter
        .u64_gauge("perdiem.refunds.overdue")
        .with_description("Refunds that are past their due date and not decided.")
        .build()
        .record(count(overdue), &[]);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ScopeMetrics};
    use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};

    use super::*;

    /// What gauges `tell` sets, by name.
    fn told(tell: impl Fn(&Meter)) -> HashMap<String, i64> {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder()
            .with_periodic_exporter(exporter.clone())
            .build();
        tell(&provider.meter("perdiem"));
        provider.force_flush().unwrap();
        let mut found = HashMap::new();
        for metrics in exporter.get_finished_metrics().unwrap() {
            for metric in metrics.scope_metrics().flat_map(ScopeMetrics::metrics) {
                let value = if let AggregatedMetrics::U64(MetricData::Gauge(gauge)) = metric.data()
                {
                    i64::try_from(gauge.data_points().next().unwrap().value()).unwrap()
                } else if let AggregatedMetrics::I64(MetricData::Gauge(gauge)) = metric.data() {
                    gauge.data_points().next().unwrap().value()
                } else {
                    panic!("{}", metric.name())
                };
                found.insert(metric.name().to_owned(), value);
            }
        }
        found
    }

    #[test]
    fn the_age_is_that_of_the_oldest_unknown_movement() {
        let found = told(|meter| tell(meter, &[5, 7_200, 60], (4, 2)));
        assert_eq!(found["perdiem.payments.unknown"], 3);
        assert_eq!(found["perdiem.payments.unknown.age"], 7_200);
        assert_eq!(found["perdiem.payments.parked"], 4);
        assert_eq!(found["perdiem.refunds.overdue"], 2);
        // What was told before must not stand when all is well again.
        let found = told(|meter| tell(meter, &[], (0, 0)));
        assert!(
            found.len() == 4 && found.values().all(|it| *it == 0),
            "{found:?}"
        );
    }
}
