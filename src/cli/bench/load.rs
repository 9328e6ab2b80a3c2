//! Work of the clients of a run, and how long it takes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::client::{Client, HttpAnswer};

/// Digits of a latency that are kept.
pub(super) const DIGITS: u8 = 3;

const JSON: &str = "application/json";

/// Latency of each step.
const INPUT: &str = r#"{"value":"a value"}"#;

/// Steps that a client repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Asks for the route that does nothing.
    Noop,
    /// Asks for the current session.
    Check,
    /// Asks again for a step that was taken: all of a step but its decision and its commit.
    Again,
    /// Puts one number into the current session: the smallest durable change, with no workflow, no
    /// money and no kept answer. What a step can come to at most.
    Data,
    /// Takes a workflow of four client steps, each with a guard and a `set`.
    Steps,
    /// Takes whole transfers, each client from an account of its own.
    Transfers,
    /// Takes whole transfers, all clients from one account.
    OneAccount,
}

impl Work {
    /// Its name in the table.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Noop => "no-op",
            Self::Check => "session check",
            Self::Again => "a step asked again",
            Self::Data => "session data",
            Self::Steps => "four steps",
            Self::Transfers => "transfers",
            Self::OneAccount => "transfers, one account",
        }
    }

    /// Whether each request is a durable commit.
    pub(super) const fn is_durable(self) -> bool {
        !matches!(self, Self::Noop | Self::Check | Self::Again)
    }
}

/// A client: its token and the accounts that it sends money between.
#[derive(Clone, Debug)]
pub(super) struct Payer {
    pub(super) token: String,
    pub(super) from: String,
    pub(super) to: String,
}

/// Results of a run.
pub(super) struct Ran {
    pub(super) requests: u64,
    pub(super) seconds: f64,
    /// In microseconds.
    pub(super) latency: Histogram<u64>,
    /// The first answer that was not what it should be.
    pub(super) fault: Option<String>,
}

impl Ran {
    /// Requests a second.
    pub(super) fn rate(&self) -> f64 {
        // Counts are far below 2^52.
        #[expect(clippy::cast_precision_loss, reason = "a count of requests of one run")]
        let requests = self.requests as f64;
        requests / self.seconds
    }

    /// A quantile of the latency, in milliseconds.
    pub(super) fn quantile(&self, quantile: f64) -> f64 {
        let us = self.latency.value_at_quantile(quantile);
        Duration::from_micros(us).as_secs_f64() * 1000.0
    }
}

/// State that all clients of a run share.
struct Shared {
    stop: AtomicBool,
    count: AtomicU64,
}

/// Runs each payer on a connection of its own for this time. `progress` gets the number of requests
/// so far, now and then.
pub(super) async fn run(
    address: SocketAddr,
    work: Work,
    payers: &[Payer],
    length: Duration,
    progress: impl Fn(u64),
) -> Result<Ran, String> {
    let shared = Arc::new(Shared { stop: AtomicBool::new(false), count: AtomicU64::new(0) });
    let mut clients = Vec::with_capacity(payers.len());
    for payer in payers {
        clients.push((Client::connect(address, Some(&payer.token)).await?, payer.clone()));
    }
    let began = Instant::now();
    // Keys of this run and client: what an earlier run did is not to be replayed.
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| error.to_string())?;
    let run = u64::from_ne_bytes(random);
    let tasks: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(number, (client, payer))| {
            let name = format!("{run}-{number}");
            tokio::spawn(one(client, payer, work, name, Arc::clone(&shared)))
        })
        .collect();
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    while began.elapsed() < length {
        tick.tick().await;
        progress(shared.count.load(Ordering::Relaxed));
    }
    shared.stop.store(true, Ordering::Release);
    let mut latency = Histogram::new(DIGITS).map_err(|error| error.to_string())?;
    let mut fault = None;
    let mut requests = 0;
    for task in tasks {
        let (mine, broken) = task.await.map_err(|error| error.to_string())?;
        requests += mine.len();
        latency.add(mine).map_err(|error| error.to_string())?;
        fault = fault.or(broken);
    }
    Ok(Ran { requests, seconds: began.elapsed().as_secs_f64(), latency, fault })
}

async fn one(
    mut client: Client,
    payer: Payer,
    work: Work,
    name: String,
    shared: Arc<Shared>,
) -> (Histogram<u64>, Option<String>) {
    let mut clock = Clock { shared, latency: None };
    let mut round = 0_u64;
    let mut fault = None;
    let taken = match work {
        Work::Again => taken(&mut client, &name).await,
        _ => Ok(String::new()),
    };
    let taken = match taken {
        Ok(taken) => taken,
        Err(broken) => return (empty(), Some(broken)),
    };
    while !clock.shared.stop.load(Ordering::Acquire) {
        round += 1;
        let key = format!("{name}-{round}");
        let done = match work {
            Work::Noop => clock.timed(&mut client, "GET", "/livez", None, None).await.map(drop),
            Work::Check => {
                let path = "/v1/sessions/current";
                clock.timed(&mut client, "GET", path, None, None).await.map(drop)
            }
            Work::Again => {
                let body = Some(INPUT);
                clock.timed(&mut client, "POST", &taken, body, Some("one")).await.map(drop)
            }
            Work::Data => {
                let (path, body) = ("/v1/sessions/current/data", format!(r#"{{"page":{round}}}"#));
                clock.timed(&mut client, "PUT", path, Some(&body), None).await.map(drop)
            }
            Work::Steps => steps(&mut clock, &mut client, &key).await,
            Work::Transfers | Work::OneAccount => {
                transfer(&mut clock, &mut client, &payer, &key).await
            }
        };
        if let Err(broken) = done {
            fault = Some(broken);
            break;
        }
    }
    (clock.into_latency(), fault)
}

struct Clock {
    shared: Arc<Shared>,
    latency: Option<Histogram<u64>>,
}

impl Clock {
    /// A request whose time counts.
    async fn timed<'c>(
        &mut self,
        client: &'c mut Client,
        method: &str,
        path: &str,
        body: Option<&str>,
        key: Option<&str>,
    ) -> Result<HttpAnswer<'c>, String> {
        let began = Instant::now();
        let body = body.map(|body| (JSON, body));
        let answer = client.call(method, path, body, key).await?;
        let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        if !(200..300).contains(&answer.status) {
            return Err(format!("{method} {path}: {} {}", answer.status, answer.body));
        }
        if self.latency.is_none() {
            self.latency = Histogram::new(DIGITS).ok();
        }
        if let Some(latency) = &mut self.latency {
            // A histogram of three digits grows to hold any time that a run can take.
            latency.record(us).map_err(|error| error.to_string())?;
        }
        self.shared.count.fetch_add(1, Ordering::Relaxed);
        Ok(answer)
    }

    fn into_latency(self) -> Histogram<u64> {
        self.latency.unwrap_or_else(|| Histogram::new_from(&empty()))
    }
}

fn empty() -> Histogram<u64> {
    // Three digits are within what a histogram can have.
    Histogram::new(DIGITS).unwrap_or_else(|_| unreachable!("three digits are allowed"))
}

/// Takes the first step of a workflow and says its path. What comes of a second request with the
/// key "one" is its kept answer.
async fn taken(client: &mut Client, key: &str) -> Result<String, String> {
    let start = "/v1/workflows/bench-steps/transactions";
    let started = client.must_keyed("POST", start, Some((JSON, "{}")), Some(key)).await?;
    let id = started.text("id").ok_or("a start without an id")?;
    let path = format!("/v1/transactions/{id}/steps/one");
    client.must_keyed("POST", &path, Some((JSON, INPUT)), Some("one")).await?;
    Ok(path)
}

/// A workflow of four client steps.
async fn steps(clock: &mut Clock, client: &mut Client, key: &str) -> Result<(), String> {
    let start = "/v1/workflows/bench-steps/transactions";
    let started = clock.timed(client, "POST", start, Some("{}"), Some(key)).await?;
    let id = started.text("id").ok_or("a start without an id")?;
    for step in ["one", "two", "three", "four"] {
        let path = format!("/v1/transactions/{id}/steps/{step}");
        clock.timed(client, "POST", &path, Some(INPUT), Some(step)).await?;
    }
    Ok(())
}

/// A whole transfer: start, details, code.
async fn transfer(
    clock: &mut Clock,
    client: &mut Client,
    payer: &Payer,
    key: &str,
) -> Result<(), String> {
    let start = "/v1/workflows/bench-transfer/transactions";
    let started = clock.timed(client, "POST", start, Some("{}"), Some(key)).await?;
    let id = started.text("id").ok_or("a start without an id")?;
    let details = format!(r#"{{"from":"{}","to":"{}","amount":"2.00"}}"#, payer.from, payer.to);
    let path = format!("/v1/transactions/{id}/steps/details");
    let asked = clock.timed(client, "POST", &path, Some(&details), Some("details")).await?;
    let code =
        asked.text("code").ok_or("no code in the answer: is the server started with --dev?")?;
    let path = format!("/v1/transactions/{id}/steps/confirm");
    let code = format!(r#"{{"code":"{code}"}}"#);
    clock.timed(client, "POST", &path, Some(&code), Some("confirm")).await.map(drop)
}
