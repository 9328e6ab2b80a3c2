//! Producers: tasks that commit and await, again and again, and their figures.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use abide::store::Write;
use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::runtime::Runtime;

use crate::machine;

/// Accounts that exist from the start.
pub(crate) const ACCOUNTS: u64 = 10_000;
/// Bytes of an account's record.
pub(crate) const ACCOUNT_BYTES: usize = 120;
/// Bytes of a transaction's record.
pub(crate) const TRANSACTION_BYTES: usize = 600;
/// Bytes of a value of the workload "distinct".
const DISTINCT_BYTES: usize = 300;
/// Commits in a row that write the same transaction's record.
const STEPS: u32 = 4;
/// Time before the measurement begins: threads and caches are warm then.
const WARM_UP: Duration = Duration::from_millis(300);

/// Subject of a measurement: something that makes writes durable.
pub(crate) trait Subject: Send + Sync + 'static {
    /// Resolves when the writes are on stable storage, all of them or none.
    fn commit(&self, writes: Vec<Write>) -> impl Future<Output = ()> + Send;
}

/// Contents of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// A transaction's record, written by four commits in a row, and two of 10 000 accounts.
    Real,
    /// Four new keys in order of time.
    Distinct,
}

impl Workload {
    pub(crate) const ALL: [Self; 2] = [Self::Real, Self::Distinct];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Distinct => "distinct",
        }
    }
}

/// Pseudo-random numbers that are the same in every run (xorshift64*).
#[derive(Clone, Debug)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        let mut numbers = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        numbers.next();
        numbers
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A value of about `bytes`: digits, as compressible as real records are.
    pub(crate) fn value(&mut self, bytes: usize) -> Bytes {
        let mut value = Vec::with_capacity(bytes + 16);
        while value.len() < bytes {
            let number = self.next();
            value.extend((0..16).map(|digit| b'0' + ((number >> (digit * 4)) & 7) as u8));
        }
        value.truncate(bytes);
        value.into()
    }
}

/// Keys in order of time, shared by all producers of a store.
#[derive(Debug)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    pub(crate) const fn starting_at(time: u64) -> Self {
        Self(AtomicU64::new(time))
    }

    /// A new key: later ones are larger.
    pub(crate) fn key(&self, kind: u8, numbers: &mut Numbers) -> Bytes {
        let time = self.0.fetch_add(1, Ordering::Relaxed);
        let mut key = Vec::with_capacity(17);
        key.push(kind);
        key.extend_from_slice(&time.to_be_bytes());
        key.extend_from_slice(&numbers.next().to_be_bytes());
        key.into()
    }
}

fn account(number: u64) -> Bytes {
    Bytes::from(format!("a/customer-{number:08}/main").into_bytes())
}

/// One producer's view of its workload.
struct Producer {
    workload: Workload,
    numbers: Numbers,
    clock: Arc<Clock>,
    transaction: Bytes,
    step: u32,
}

impl Producer {
    fn new(workload: Workload, seed: u64, clock: Arc<Clock>) -> Self {
        Self { workload, numbers: Numbers::new(seed), clock, transaction: Bytes::new(), step: 0 }
    }

    fn writes(&mut self) -> Vec<Write> {
        let numbers = &mut self.numbers;
        if self.workload == Workload::Distinct {
            let write = |_| {
                let key = self.clock.key(b'd', numbers);
                Write::put(key, numbers.value(DISTINCT_BYTES))
            };
            return (0..4).map(write).collect();
        }
        if self.step.is_multiple_of(STEPS) {
            self.transaction = self.clock.key(b't', numbers);
        }
        self.step += 1;
        let from = numbers.next() % ACCOUNTS;
        let to = (from + 1 + numbers.next() % (ACCOUNTS - 1)) % ACCOUNTS;
        vec![
            Write::put(self.transaction.clone(), numbers.value(TRANSACTION_BYTES)),
            Write::put(account(from), numbers.value(ACCOUNT_BYTES)),
            Write::put(account(to), numbers.value(ACCOUNT_BYTES)),
        ]
    }
}

/// Figures of a run.
pub(crate) struct Figures {
    pub(crate) commits: u64,
    pub(crate) elapsed: Duration,
    pub(crate) cpu: Duration,
    latency_us: Histogram<u64>,
}

impl Figures {
    pub(crate) fn new(latencies_us: &[u32], elapsed: Duration, cpu: Duration) -> Self {
        let mut latency_us = Histogram::new(3).expect("three digits");
        for us in latencies_us {
            latency_us.record(u64::from(*us).max(1)).expect("a histogram that grows");
        }
        Self { commits: latencies_us.len() as u64, elapsed, cpu, latency_us }
    }

    pub(crate) fn rate(&self) -> f64 {
        self.commits as f64 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn cores(&self) -> f64 {
        self.cpu.as_secs_f64() / self.elapsed.as_secs_f64()
    }

    /// A percentile of the latency, in microseconds.
    pub(crate) fn latency_us(&self, percentile: f64) -> u64 {
        self.latency_us.value_at_percentile(percentile)
    }
}

/// Gives every account its first record.
pub(crate) fn open_accounts<S: Subject>(runtime: &Runtime, subject: &S) {
    let mut numbers = Numbers::new(u64::MAX);
    let writes: Vec<_> =
        (0..ACCOUNTS).map(|n| Write::put(account(n), numbers.value(ACCOUNT_BYTES))).collect();
    runtime.block_on(async {
        for some in writes.chunks(500) {
            subject.commit(some.to_vec()).await;
        }
    });
}

/// Stores `records` transaction records, many a commit, 16 commits at a time.
pub(crate) fn fill<S: Subject>(
    runtime: &Runtime,
    subject: &Arc<S>,
    clock: &Arc<Clock>,
    records: u64,
    told: impl Fn(u64) + Send + Sync + 'static,
) {
    const A_COMMIT: u64 = 50;
    let left = Arc::new(AtomicU64::new(records.div_ceil(A_COMMIT)));
    let told = Arc::new(told);
    let fillers = (0..16).map(|seed| {
        let (subject, clock, left, told) =
            (subject.clone(), clock.clone(), left.clone(), told.clone());
        runtime.spawn(async move {
            let mut numbers = Numbers::new(seed);
            let one = |left: u64| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one).is_ok() {
                let write = |_| {
                    let key = clock.key(b't', &mut numbers);
                    Write::put(key, numbers.value(TRANSACTION_BYTES))
                };
                let writes = (0..A_COMMIT).map(write).collect();
                subject.commit(writes).await;
                told(A_COMMIT);
            }
        })
    });
    let fillers: Vec<_> = fillers.collect();
    for filler in fillers {
        runtime.block_on(filler).expect("no filler panics");
    }
}

/// Runs `producers` tasks for this long after warming up. Calls `counted` at each commit's end.
pub(crate) fn run<S: Subject>(
    runtime: &Runtime,
    subject: &Arc<S>,
    clock: &Arc<Clock>,
    workload: Workload,
    producers: usize,
    length: Duration,
    counted: impl Fn(Duration) + Send + Sync + 'static,
) -> Figures {
    let counted = Arc::new(counted);
    let from = Instant::now() + WARM_UP;
    let until = from + length;
    let tasks = (0..producers).map(|seed| {
        let mut producer = Producer::new(workload, seed as u64, clock.clone());
        let (subject, counted) = (subject.clone(), counted.clone());
        runtime.spawn(async move {
            let mut latencies_us = Vec::new();
            let mut begun = Instant::now();
            while begun < until {
                subject.commit(producer.writes()).await;
                let ended = Instant::now();
                if ended >= from && ended < until {
                    let us = ended.duration_since(begun).as_micros();
                    latencies_us.push(u32::try_from(us).unwrap_or(u32::MAX));
                    counted(ended.duration_since(from));
                }
                begun = ended;
            }
            latencies_us
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let cpu = runtime.block_on(async {
        tokio::time::timeout_at(from.into(), std::future::pending::<()>()).await.ok();
        let cpu = machine::cpu();
        tokio::time::timeout_at(until.into(), std::future::pending::<()>()).await.ok();
        machine::cpu().saturating_sub(cpu)
    });
    let mut latencies_us = Vec::new();
    for task in tasks {
        latencies_us.extend(runtime.block_on(task).expect("no producer panics"));
    }
    Figures::new(&latencies_us, length, cpu)
}
