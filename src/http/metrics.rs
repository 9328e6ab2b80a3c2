//! Metrics of the server, in the text format of Prometheus (`OpenMetrics` 1.0).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::server::RoutePattern;
use crate::app::{CallFigures, EXECUTOR_BOUNDS_US, ExecutorFigures, ExecutorTimes};
use crate::store::durable::{SYNC_BOUNDS_US, Stats};
use crate::types::Span;

/// Upper bounds of the latency's buckets, in seconds: from an answer out of memory, over a commit,
/// to a password's hash and a client that waits.
const LATENCY_BOUNDS_S: [f64; 12] =
    [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.5, 2.0, 10.0];

/// Figures that are looked up at each scrape.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// The store's.
    pub store: Stats,
    /// Commands that wait for the executor.
    pub queue_depth: usize,
    /// Estimated bytes of the executor's decoded records.
    pub record_cache_bytes: u64,
    /// Memory of the commands that wait, in bytes.
    pub queue_bytes: usize,
    /// The executor's.
    pub executor: ExecutorFigures,
    /// Live sessions.
    pub sessions: u64,
    /// Idempotency-Keys that were forgotten before their time.
    pub keys_shed: u64,
    /// Transactions that wait for an operator.
    pub stuck: u64,
    /// Time by which the server's clock is ahead of the wall clock.
    pub clock_ahead: Span,
    /// Calls to other services.
    pub calls: CallFigures,
}

/// Measures requests, and writes all metrics.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    registry: Registry,
    requests: Family<Request, Counter>,
    latency: Family<Route, Histogram>,
    connections: Gauge,
}

/// All values of a label are from a list of the program, so that no client can make more of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: &'static str,
    route: &'static str,
    status: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

impl Metrics {
    /// Measures with these figures beside the requests.
    #[must_use]
    pub fn new(figures: impl Fn() -> Figures + Send + Sync + 'static) -> Self {
        let mut registry = Registry::with_prefix("abide");
        let requests = Family::default();
        let latency =
            Family::new_with_constructor((|| Histogram::new(LATENCY_BOUNDS_S)) as fn() -> _);
        let connections = Gauge::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register_with_unit(
            "http_request",
            "From the last byte of the head to the first of the answer",
            Unit::Seconds,
            latency.clone(),
        );
        registry.register("http_connections", "Open connections to the API", connections.clone());
        registry.register_collector(Box::new(LookedUp(Box::new(figures))));
        Self(Arc::new(Families { registry, requests, latency, connections }))
    }

    /// Counts a request that was answered.
    pub(super) fn answered(
        &self,
        method: &'static str,
        RoutePattern(route): RoutePattern,
        status: u16,
        took: Duration,
    ) {
        let request = Request { method, route, status: status.into() };
        self.0.requests.get_or_create(&request).inc();
        self.0.latency.get_or_create(&Route { route }).observe(took.as_secs_f64());
    }

    /// Counts a connection as open until the guard is dropped.
    pub(super) fn connected(&self) -> Connected {
        self.0.connections.inc();
        Connected(self.0.connections.clone())
    }

    /// Returns the text that Prometheus reads.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.0.registry) {
            tracing::error!(%error, "the metrics could not be written");
        }
        text
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Figures that are looked up at each scrape.
struct LookedUp(Box<dyn Fn() -> Figures + Send + Sync>);

impl fmt::Debug for LookedUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LookedUp")
    }
}

impl Collector for LookedUp {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Figures {
            store,
            queue_depth,
            queue_bytes,
            record_cache_bytes,
            executor,
            sessions,
            keys_shed,
            stuck,
            clock_ahead,
            calls,
        } = (self.0)();
        let counters = [
            ("store_commits", "Commits made durable", store.commits),
            ("store_groups", "Groups of commits: one write and one sync each", store.groups),
            ("store_group_bytes", "Bytes of these groups in the journal", store.group_bytes),
            ("store_applied_keys", "Keys merged into the index", store.applied_keys),
            ("store_checkpoints", "Syncs of the index", store.checkpoints),
            ("store_bases", "Bases written", store.snapshots),
            (
                "idempotency_keys_shed",
                "Idempotency-Keys forgotten before their time, since their actor had too many",
                keys_shed,
            ),
            ("calls_succeeded", "Attempts at calls answered with success", calls.succeeded),
            ("calls_refused", "Attempts at calls answered otherwise", calls.refused),
            ("calls_denied", "Attempts at calls answered with 401 or 403", calls.denied),
            ("calls_lost", "Attempts at calls without an answer", calls.lost),
            ("executor_stalls", "CommitInputs of the executor's work over 100 ms", executor.stalls),
        ];
        for (name, help, value) in counters {
            let none = None::<&prometheus_client::metrics::exemplar::Exemplar<NoLabelSet, u64>>;
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter(&value, none)?;
        }
        let gauges = [
            ("queue_depth", "Commands that wait for the executor", queue_depth as u64),
            ("record_cache_bytes", "Bytes of decoded records, estimated", record_cache_bytes),
            ("queue_bytes", "Bytes of the commands that wait", queue_bytes as u64),
            ("sessions", "Live sessions", sessions),
            ("transactions_stuck", "Transactions that wait for an operator", stuck),
            (
                "clock_ahead_ms",
                "How far the server's time is ahead of the wall clock, in milliseconds",
                clock_ahead.ms(),
            ),
            ("calls_in_flight", "Attempts at calls on their way", calls.in_flight),
            ("calls_waiting", "Calls that are due and wait for their turn", calls.waiting),
            ("calls_breakers_open", "Destinations that are left alone", calls.breakers_open),
            ("store_revision", "The last durable revision", store.durable.get()),
            ("store_staged_bytes", "Bytes on their way to the journal", store.staged_bytes),
            ("store_overlay_bytes", "Bytes that the index does not have yet", store.overlay_bytes),
            ("store_journal_bytes", "Bytes of the journal's segments", store.journal_bytes),
            ("store_base_bytes", "Bytes of the last base since the start", store.base_bytes),
            ("store_index_bytes", "Bytes of the index at its last sync", store.sled_bytes),
            ("store_free_bytes", "Bytes free on the disk", store.free_bytes),
            (
                "store_short_of_room",
                "1: writes are refused for want of room",
                u64::from(store.short_of_space),
            ),
        ];
        for (name, help, value) in gauges {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
        }
        encode_executor(&mut encoder, &executor)?;
        let bounds = SYNC_BOUNDS_US.iter().map(|us| seconds(*us)).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(store.syncs).collect();
        encoder
            .encode_descriptor(
                "store_sync",
                "Write and sync of a group",
                Some(&Unit::Seconds),
                MetricType::Histogram,
            )?
            .encode_histogram::<NoLabelSet>(seconds(store.sync_us), store.groups, &buckets, None)
    }
}

/// The times of the executor by the kind of its work: the name of a command, or `timers`.
fn encode_executor(encoder: &mut DescriptorEncoder<'_>, executor: &ExecutorFigures) -> fmt::Result {
    let mut family = encoder.encode_descriptor(
        "executor",
        "Work of the executor, which does one thing at a time",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    for (kind, ExecutorTimes { count, sum_us, buckets }) in &executor.times {
        let bounds = EXECUTOR_BOUNDS_US.iter().map(|us| seconds(*us)).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(*buckets).collect();
        family.encode_family(&Kind { kind })?.encode_histogram::<NoLabelSet>(
            seconds(*sum_us),
            *count,
            &buckets,
            None,
        )?;
    }
    Ok(())
}

fn seconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_written() {
        let store = Stats { commits: 7, sync_us: 1_500_000, syncs: [1; 13], ..Stats::default() };
        let mut buckets = [0; EXECUTOR_BOUNDS_US.len() + 1];
        (buckets[2], buckets[10]) = (3, 1);
        let times = ExecutorTimes { count: 4, sum_us: 250_000, buckets };
        let executor = ExecutorFigures { stalls: 1, times: [("start", times)].into() };
        let metrics = Metrics::new(move || Figures {
            store: store.clone(),
            queue_depth: 3,
            record_cache_bytes: 17,
            queue_bytes: 4096,
            executor: executor.clone(),
            sessions: 11,
            keys_shed: 6,
            stuck: 5,
            clock_ahead: Span::from_seconds(3),
            calls: CallFigures { denied: 2, ..CallFigures::default() },
        });
        let route = RoutePattern("/v1/sessions/{id}");
        metrics.answered("GET", route, 200, Duration::from_millis(3));
        metrics.answered("GET", route, 200, Duration::from_millis(5));
        let connection = metrics.connected();
        let text = metrics.text();
        for line in [
            r#"abide_http_requests_total{method="GET",route="/v1/sessions/{id}",status="200"} 2"#,
            r#"abide_http_request_seconds_bucket{le="0.004",route="/v1/sessions/{id}"} 1"#,
            r#"abide_http_request_seconds_bucket{le="+Inf",route="/v1/sessions/{id}"} 2"#,
            "abide_http_connections 1",
            "abide_store_commits_total 7",
            "abide_queue_depth 3",
            "abide_record_cache_bytes 17",
            "abide_queue_bytes 4096",
            "abide_executor_stalls_total 1",
            r#"abide_executor_seconds_sum{kind="start"} 0.25"#,
            r#"abide_executor_seconds_count{kind="start"} 4"#,
            r#"abide_executor_seconds_bucket{le="0.0001",kind="start"} 3"#,
            "abide_sessions 11",
            "abide_idempotency_keys_shed_total 6",
            "abide_transactions_stuck 5",
            "abide_clock_ahead_ms 3000",
            "abide_calls_denied_total 2",
            "abide_store_sync_seconds_sum 1.5",
            r#"abide_store_sync_seconds_bucket{le="0.0001"} 2"#,
            r#"abide_store_sync_seconds_bucket{le="+Inf"} 13"#,
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        // The last bucket of every histogram is without a bound, and holds what was counted.
        let last = text.lines().filter(|line| line.contains("le=\"+Inf\"")).count();
        let histograms = text.lines().filter(|line| line.contains("_seconds_count")).count();
        assert_eq!((last, text.contains("e308")), (histograms, false), "{text}");
        drop(connection);
        assert!(metrics.text().contains("abide_http_connections 0"));
    }
}
