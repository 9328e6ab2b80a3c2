//! Live events: how soon a subscriber receives what was acknowledged, and the cost of idle
//! subscribers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::interval;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::client::Client;
use super::load::{DIGITS, Payer, Work, run as run_load};

/// Steps a second at which the time to a subscriber is taken.
pub(super) const PACE: u32 = 1000;

/// Connections that take the steps, each with a subscriber of its own user.
pub(super) const CLIENTS: usize = 64;

/// Idle streams, and as many idle sockets.
pub(super) const IDLE: usize = 1000;

/// Users whom the idle ones belong to.
pub(super) const IDLE_USERS: usize = 50;

/// Bar: 99 of 100 events arrive within this time after the acknowledgement.
pub(super) const P99_MS_MAX: f64 = 20.0;

/// The bar: with all idle ones there, steps go on at this share of their rate.
pub(super) const RATIO_MIN: f64 = 0.8;

/// Time after which an event that was acknowledged and did not arrive counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(10);

/// Longest line of a stream.
const LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;

const JSON: &str = "application/json";

/// Delays until subscribers received an event.
pub(super) struct Told {
    /// Steps a second that were reached.
    pub(super) rate: f64,
    /// From the acknowledgement to the receipt, in microseconds.
    latency: Histogram<u64>,
}

impl Told {
    /// A quantile, in milliseconds.
    pub(super) fn quantile(&self, quantile: f64) -> f64 {
        Duration::from_micros(self.latency.value_at_quantile(quantile)).as_secs_f64() * 1000.0
    }
}

/// Results of a measurement.
pub(super) struct Live {
    /// Without idle subscribers.
    pub(super) quiet: Told,
    /// With them.
    pub(super) crowded: Told,
    /// Steps a second, closed loop, before, with and after the idle ones.
    pub(super) rates: [f64; 3],
    /// Resident memory for the streams and for the sockets, in bytes.
    pub(super) memory: Option<[u64; 2]>,
}

impl Live {
    /// The rate with idle ones against the mean of those without.
    pub(super) fn ratio(&self) -> f64 {
        let [before, with, after] = self.rates;
        with / f64::midpoint(before, after)
    }

    /// Returns the results that miss their bar.
    pub(super) fn missed(&self) -> Vec<String> {
        let p99 = self.quiet.quantile(0.99);
        let mut missed = Vec::new();
        if p99 > P99_MS_MAX {
            missed.push(format!("told after {p99:.1} ms (p99), the bar is {P99_MS_MAX} ms"));
        }
        if self.ratio() < RATIO_MIN {
            missed.push(format!("steps at {:.2}, the bar is {RATIO_MIN}", self.ratio()));
        }
        missed
    }

    /// As JSON.
    pub(super) fn document(&self) -> Value {
        let told = |told: &Told| {
            json!({
                "steps_per_s": told.rate,
                "p50_ms": told.quantile(0.5),
                "p99_ms": told.quantile(0.99),
                "max_ms": told.quantile(1.0),
            })
        };
        let [before, with, after] = self.rates;
        let memory = self.memory.map(
            |[streams, sockets]| json!({ "streams_bytes": streams, "sockets_bytes": sockets }),
        );
        json!({
            "told": told(&self.quiet),
            "told_with_idle": told(&self.crowded),
            "idle_each": IDLE,
            "steps_per_s": { "before": before, "with_idle": with, "after": after },
            "ratio": self.ratio(),
            "memory": memory,
            "missed": self.missed(),
        })
    }

    /// As lines for people.
    pub(super) fn lines(&self) -> String {
        let told = |name: &str, told: &Told| {
            format!(
                "{name:<34} p50 {:>7.2} ms, p99 {:>7.2} ms, most {:>7.2} ms at {:.0} steps/s\n",
                told.quantile(0.5),
                told.quantile(0.99),
                told.quantile(1.0),
                told.rate
            )
        };
        let [before, with, after] = self.rates;
        let idle = format!("told, {IDLE} idle of each kind");
        let rates = format!(
            "steps/s before, with, after idle ones: {before:.0}, {with:.0}, {after:.0}; ratio {:.2}\n",
            self.ratio()
        );
        let memory = self.memory.map(|[streams, sockets]| {
            let (streams, sockets) = (streams / 1024, sockets / 1024);
            format!("resident memory: {IDLE} streams {streams} KiB, {IDLE} sockets {sockets} KiB\n")
        });
        [
            told("told after the acknowledgement", &self.quiet),
            told(&idle, &self.crowded),
            rates,
            memory.unwrap_or_default(),
        ]
        .concat()
    }
}

/// Measures with these users: [`CLIENTS`] who work, the others idle. `pid`: that of the server, for
/// its memory. `progress` gets the name of each measurement.
pub(super) async fn measure(
    address: SocketAddr,
    payers: &[Payer],
    length: Duration,
    pid: Option<u32>,
    progress: impl Fn(&str),
) -> Result<Live, String> {
    let (working, idle) = payers.split_at(CLIENTS.min(payers.len()));
    let steps = async || {
        let ran = run_load(address, Work::Steps, working, length, |_| {}).await?;
        ran.fault.clone().map_or(Ok(ran.rate()), Err)
    };
    progress("steps without subscribers");
    let before = steps().await?;
    progress("told at a pace");
    let quiet = told(address, working, length).await?;
    progress("opening idle streams and sockets");
    let resident = || pid.map(resident).transpose();
    let mut held = Vec::with_capacity(2 * IDLE);
    let at_first = resident()?;
    for number in 0..IDLE {
        let stream = Stream::open(address, &idle[number % idle.len()].token).await?;
        held.push(tokio::spawn(stream.drain()));
    }
    let with_streams = resident()?;
    for number in 0..IDLE {
        held.push(socket(address, &idle[number % idle.len()].token).await?);
    }
    let with_sockets = resident()?;
    progress("steps beside idle subscribers");
    let with = steps().await?;
    progress("told beside idle subscribers");
    let crowded = told(address, working, length).await?;
    if held.iter().any(JoinHandle::is_finished) {
        return Err("an idle subscriber was cut off".to_owned());
    }
    for task in held {
        task.abort();
        // Cancelled is what it shall be.
        drop(task.await);
    }
    progress("steps without subscribers, again");
    let after = steps().await?;
    let memory = match (at_first, with_streams, with_sockets) {
        (Some(first), Some(streams), Some(sockets)) => {
            Some([streams.saturating_sub(first), sockets.saturating_sub(streams)])
        }
        _ => None,
    };
    Ok(Live { quiet, crowded, rates: [before, with, after], memory })
}

/// The resident memory of a process on this machine, in bytes.
fn resident(pid: u32) -> Result<u64, String> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or(format!("{path}: there is no VmRSS"))
}

/// A stream of events.
struct Stream(BufReader<TcpStream>);

impl Stream {
    /// Opens the stream, and waits for its first position.
    async fn open(address: SocketAddr, token: &str) -> Result<Self, String> {
        let broken = |error: std::io::Error| format!("GET /v1/events: {error}");
        let mut stream = TcpStream::connect(address).await.map_err(broken)?;
        let request = format!(
            "GET /v1/events HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\
             authorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.map_err(broken)?;
        let mut stream = Self(BufReader::with_capacity(4096, stream));
        let mut line = String::new();
        stream.line(&mut line).await?;
        if !line.starts_with("HTTP/1.1 200") {
            return Err(format!("GET /v1/events: {line}"));
        }
        while !line.starts_with("id: ") {
            stream.line(&mut line).await?;
        }
        Ok(stream)
    }

    async fn line(&mut self, line: &mut String) -> Result<(), String> {
        line.clear();
        let read = (&mut self.0).take(LINE_BYTES_MAX).read_line(line).await;
        match read {
            Ok(1..) => Ok(()),
            Ok(0) => Err("GET /v1/events: the stream ended".to_owned()),
            Err(error) => Err(format!("GET /v1/events: {error}")),
        }
    }

    /// Reads on to its end.
    async fn drain(mut self) {
        let mut line = String::new();
        while self.line(&mut line).await.is_ok() {}
    }

    /// Tells when the first event of each commit comes.
    async fn watch(mut self, pairs: Arc<Pairs>) {
        let (mut line, mut id) = (String::new(), None);
        while self.line(&mut line).await.is_ok() {
            if let Some(text) = line.strip_prefix("id: ") {
                id = text.get(..16).and_then(|text| u64::from_str_radix(text, 16).ok());
            } else if line.starts_with("data: ")
                && let Some(revision) = id.take()
            {
                pairs.received(revision);
            }
        }
    }
}

/// An idle socket that is subscribed, kept by a task that answers pings.
async fn socket(address: SocketAddr, token: &str) -> Result<JoinHandle<()>, String> {
    let broken = |error: &dyn std::fmt::Display| format!("GET /v1/socket: {error}");
    let url = format!("ws://{address}/v1/socket");
    let mut request = url.into_client_request().map_err(|error| broken(&error))?;
    for (name, value) in
        [("sec-websocket-protocol", "abide.v1"), ("authorization", &format!("Bearer {token}"))]
    {
        let value = value.parse().map_err(|_| "a token that is no header".to_owned())?;
        request.headers_mut().insert(name, value);
    }
    let stream = TcpStream::connect(address).await.map_err(|error| broken(&error))?;
    let (mut socket, _) = client_async(request, stream).await.map_err(|error| broken(&error))?;
    let subscribe =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "events.subscribe", "params": {} });
    let sent = socket.send(Message::text(subscribe.to_string())).await;
    sent.map_err(|error| broken(&error))?;
    match socket.next().await {
        Some(Ok(Message::Text(text))) if text.contains("result") => {}
        other => return Err(broken(&format!("it answered {other:?}"))),
    }
    Ok(tokio::spawn(async move { while let Some(Ok(_)) = socket.next().await {} }))
}

/// Acknowledgements and receipts, by commit.
#[derive(Default)]
struct Pairs(Mutex<Open>);

#[derive(Default)]
struct Open {
    /// Acknowledged, and not received yet.
    acknowledged: HashMap<u64, Instant>,
    /// Received before the acknowledgement was.
    received: HashMap<u64, Instant>,
    /// In microseconds.
    times: Vec<u64>,
}

impl Pairs {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acknowledged(&self, revision: u64) {
        let now = Instant::now();
        let mut open = self.open();
        // Told before the one who asked was: no time at all.
        match open.received.remove(&revision) {
            Some(_) => open.times.push(0),
            None => drop(open.acknowledged.insert(revision, now)),
        }
    }

    fn received(&self, revision: u64) {
        let now = Instant::now();
        let mut open = self.open();
        match open.acknowledged.remove(&revision) {
            Some(then) => {
                let us = now.saturating_duration_since(then).as_micros();
                open.times.push(u64::try_from(us).unwrap_or(u64::MAX));
            }
            None => drop(open.received.insert(revision, now)),
        }
    }
}

/// Has steps taken at [`PACE`] and takes the time until subscribers know.
async fn told(address: SocketAddr, working: &[Payer], length: Duration) -> Result<Told, String> {
    let pairs = Arc::<Pairs>::default();
    let stop = Arc::<AtomicBool>::default();
    let mut subscribers = Vec::with_capacity(working.len());
    for payer in working {
        let stream = Stream::open(address, &payer.token).await?;
        subscribers.push(tokio::spawn(stream.watch(Arc::clone(&pairs))));
    }
    let clients = u32::try_from(working.len()).unwrap_or(u32::MAX);
    let every = Duration::from_secs(1) * clients / PACE;
    let began = Instant::now();
    let mut tasks = Vec::with_capacity(working.len());
    for payer in working {
        let client = Client::connect(address, Some(&payer.token)).await?;
        tasks.push(tokio::spawn(pace(client, every, Arc::clone(&pairs), Arc::clone(&stop))));
    }
    let mut tick = interval(Duration::from_millis(50));
    while began.elapsed() < length {
        tick.tick().await;
    }
    stop.store(true, Ordering::Release);
    let mut steps = 0_u32;
    for task in tasks {
        steps += task.await.map_err(|error| error.to_string())??;
    }
    let rate = f64::from(steps) / began.elapsed().as_secs_f64();
    let over = Instant::now();
    while !pairs.open().acknowledged.is_empty() && over.elapsed() < LOST_AFTER {
        tick.tick().await;
    }
    subscribers.iter().for_each(JoinHandle::abort);
    let open = pairs.open();
    if !open.acknowledged.is_empty() {
        return Err(format!("{} commits were told to nobody", open.acknowledged.len()));
    }
    let mut latency = Histogram::new(DIGITS).map_err(|error| error.to_string())?;
    for us in &open.times {
        latency.record(*us).map_err(|error| error.to_string())?;
    }
    Ok(Told { rate, latency })
}

/// Takes a step whenever it is time, in one transaction after the other.
async fn pace(
    mut client: Client,
    every: Duration,
    pairs: Arc<Pairs>,
    stop: Arc<AtomicBool>,
) -> Result<u32, String> {
    let mut tick = interval(every);
    let mut steps = 0;
    let mut id = String::new();
    for step in ["", "one", "two", "three", "four"].iter().cycle() {
        tick.tick().await;
        if stop.load(Ordering::Acquire) {
            break;
        }
        let (path, body) = if step.is_empty() {
            ("/v1/workflows/bench-steps/transactions".to_owned(), "{}")
        } else {
            (format!("/v1/transactions/{id}/steps/{step}"), r#"{"value":"a value"}"#)
        };
        let answer = client.must("POST", &path, Some((JSON, body))).await?;
        let number = answer.body.split_once("\"revision\":").map(|(_, rest)| rest);
        let number = number.and_then(|rest| rest.split([',', '}']).next()?.parse().ok());
        pairs.acknowledged(number.ok_or("an answer without a revision")?);
        steps += 1;
        if step.is_empty() {
            id = answer.text("id").ok_or("a start without an id")?;
        }
    }
    Ok(steps)
}
