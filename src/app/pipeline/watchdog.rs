//! Watchdog of the executor: its present work, how long it takes, and whether it still moves.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time of one piece of work after which it is logged and counted as a stall. No command should
/// take more than a fifth of this, so a stall is a fault or a slow machine.
const STALL: Duration = Duration::from_millis(100);

/// Time without progress, while something waits, after which the server is not ready and should get
/// no traffic.
const STUCK: Duration = Duration::from_secs(5);

/// Upper bounds of the buckets of the executor's times, in microseconds: from a decision on records
/// in memory to a stall.
pub const EXECUTOR_BOUNDS_US: [u64; 10] =
    [20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 20_000, 100_000];

/// Durations of one kind of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExecutorTimes {
    /// Number of items.
    pub count: u64,
    /// Sum of their durations, in microseconds.
    pub sum_us: u64,
    /// Number of items by duration: at most each of [`EXECUTOR_BOUNDS_US`] and more than the bound
    /// before; the last bucket: more than all bounds.
    pub buckets: [u64; EXECUTOR_BOUNDS_US.len() + 1],
}

/// Measurements of the executor.
#[derive(Clone, Debug, Default)]
pub struct ExecutorFigures {
    /// Number of items that took longer than 100 ms.
    pub stalls: u64,
    /// Times of each kind of work: the name of the command, or `timers`, `sweep`, `move-clock`.
    pub times: BTreeMap<&'static str, ExecutorTimes>,
}

/// A piece of the executor's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) struct WorkItem {
    /// Kind of work: the name of the command, or `timers`, `sweep`, `move-clock`.
    pub(in crate::app) kind: &'static str,
    /// Route of the request; empty for the server's own work.
    pub(in crate::app) route: &'static str,
}

/// Observes the executor.
#[derive(Debug)]
pub(in crate::app) struct Watchdog {
    origin: Instant,
    /// Time of the last progress (work began or ended, or arrived while nothing waited), in
    /// milliseconds since the origin.
    moved_ms: AtomicU64,
    stalls: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Present work.
    current: Option<WorkItem>,
    times: BTreeMap<&'static str, ExecutorTimes>,
}

impl Watchdog {
    pub(in crate::app) fn new() -> Self {
        Self {
            origin: Instant::now(),
            moved_ms: AtomicU64::new(0),
            stalls: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes progress: of the executor, or work that arrived while nothing waited.
    pub(in crate::app) fn note_move(&self, now: Instant) {
        let ms = now.saturating_duration_since(self.origin).as_millis();
        self.moved_ms.fetch_max(u64::try_from(ms).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Notes that work begins.
    pub(in crate::app) fn begin(&self, item: WorkItem, now: Instant) {
        self.state().current = Some(item);
        self.note_move(now);
    }

    /// Notes that the present work has ended and how long it took.
    pub(in crate::app) fn end(&self, item: WorkItem, request: &str, now: Instant, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        {
            let mut state = self.state();
            state.current = None;
            let times = state.times.entry(item.kind).or_default();
            times.count += 1;
            times.sum_us = times.sum_us.saturating_add(micros);
            let bucket = EXECUTOR_BOUNDS_US.partition_point(|bound| *bound < micros);
            times.buckets[bucket] += 1;
        }
        self.note_move(now);
        if took > STALL {
            self.stalls.fetch_add(1, Ordering::Relaxed);
            let WorkItem { kind, route } = item;
            let took_ms = micros / 1000;
            tracing::warn!(parent: None, kind, route, request, took_ms, "executor stalled");
        }
    }

    /// Returns why the executor does not move, if it has had something to do for too long.
    /// `waiting`: number of commands that wait.
    pub(in crate::app) fn stuck(&self, waiting: usize, now: Instant) -> Option<String> {
        let current = self.state().current;
        if current.is_none() && waiting == 0 {
            return None;
        }
        let moved = self.origin + Duration::from_millis(self.moved_ms.load(Ordering::Relaxed));
        let still = now.saturating_duration_since(moved);
        if still <= STUCK {
            return None;
        }
        let on = match current {
            Some(WorkItem { kind, route: "" }) => format!("on `{kind}`"),
            Some(WorkItem { kind, route }) => format!("on `{kind}` ({route})"),
            None => "on nothing".to_owned(),
        };
        let seconds = still.as_secs();
        Some(format!("the executor works {on} for {seconds} s, and {waiting} commands wait"))
    }

    pub(in crate::app) fn figures(&self) -> ExecutorFigures {
        let stalls = self.stalls.load(Ordering::Relaxed);
        ExecutorFigures { stalls, times: self.state().times.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: WorkItem = WorkItem { kind: "start", route: "/v1/transactions" };

    #[test]
    fn stall_is_counted_and_every_item_is_measured() {
        let watchdog = Watchdog::new();
        let now = Instant::now();
        for took_ms in [0, 3, 100, 101] {
            watchdog.begin(START, now);
            watchdog.end(START, "req_1", now, Duration::from_millis(took_ms));
        }
        let figures = watchdog.figures();
        assert_eq!(figures.stalls, 1);
        let times = figures.times["start"];
        assert_eq!((times.count, times.sum_us), (4, 204_000));
        assert_eq!(times.buckets, [1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1]);
    }

    #[test]
    fn executor_is_stuck_only_while_something_waits_and_nothing_moves() {
        let watchdog = Watchdog::new();
        let after = |ms| watchdog.origin + Duration::from_millis(ms);
        // Nobody wants anything, however long.
        assert_eq!(watchdog.stuck(0, after(60_000)), None);
        // Something came just now.
        watchdog.note_move(after(60_000));
        assert_eq!(watchdog.stuck(1, after(65_000)), None);
        let reason = watchdog.stuck(1, after(65_001));
        let expected = "the executor works on nothing for 5 s, and 1 commands wait";
        assert_eq!(reason.as_deref(), Some(expected));
        watchdog.begin(START, after(65_100));
        assert_eq!(watchdog.stuck(3, after(70_100)), None);
        let reason = watchdog.stuck(3, after(72_200));
        let expected =
            "the executor works on `start` (/v1/transactions) for 7 s, and 3 commands wait";
        assert_eq!(reason.as_deref(), Some(expected));
        watchdog.end(START, "", after(72_300), Duration::from_millis(7_200));
        assert_eq!(watchdog.stuck(0, after(99_000)), None);
    }
}
