//! Measures what an operator has to see: payment events that wait to be posted, and months whose run is overdue. Every
//! replica tells the same; alerts take the maximum.

use opentelemetry::global;
use opentelemetry::metrics::Meter;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{runs, unposted_events};

/// The most that are counted.
const LIMIT: i64 = 1_000;

/// Measures once; always returns 0, so that the job pauses.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let mut db = ctx.db.acquire().await?;
    let unposted = unposted_events::list(&mut db, (None, false), None, LIMIT).await?;
    let overdue = runs::overdue(&mut db, None, LIMIT).await?;
    drop(db);
    tell(&global::meter("perdiem"), unposted.len(), overdue.len());
    Ok(0)
}

fn tell(meter: &Meter, unposted: usize, overdue: usize) {
    let count = |length| u64::try_from(length).unwrap_or(u64::MAX);
    meter
        .u64_gauge("perdiem.events.unposted")
        .with_description("Payment events that could not be posted and wait for a retry.")
        .build()
        .record(count(unposted), &[]);
    meter
        .u64_gauge("perdiem.periods.overdue")
        .with_description("Months that are not billed a day after their run was due.")
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
    fn what_waits_is_counted_and_zero_is_told_too() {
        let found = told(|meter| tell(meter, 3, 1));
        assert_eq!(found["perdiem.events.unposted"], 3);
        assert_eq!(found["perdiem.periods.overdue"], 1);
        let found = told(|meter| tell(meter, 0, 0));
        assert!(
            found.len() == 2 && found.values().all(|it| *it == 0),
            "{found:?}"
        );
    }
}
