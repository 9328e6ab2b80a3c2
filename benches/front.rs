//! The speed of the front door, measured on the real binary over keep-alive sockets:
//!
//! - a session check (authenticated GET of the current session) beside a route that does nothing,
//!   on the same server in the same run;
//! - what a login costs beside its Argon2;
//! - session checks while 200 logins come at once, beside those without.
//!
//! `cargo bench --bench front` prints the figures and ends with 1 when one misses its bar.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that cannot go on has failed, and says where"
)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use argon2::{Argon2, Params};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Connections that send requests at the same time.
const CONNECTIONS: usize = 64;
/// Length of one measurement; the two kinds take turns, so that other work of the machine falls on
/// both.
const ROUND: Duration = Duration::from_millis(1500);
/// Number of turns of each kind.
const ROUNDS: usize = 7;
/// Number of logins one after the other, and of hashes.
const LOGINS: usize = 60;
/// Number of simultaneous logins.
const LOGINS_AT_ONCE: usize = 200;

/// Bar: session checks a second, as a part of the requests a second that do nothing.
const CHECK_RATIO_MIN: f64 = 0.75;
/// Bar: milliseconds of a login beyond its Argon2, in the median.
const LOGIN_BESIDE_MS_MAX: f64 = 2.0;
/// Bar: session checks a second during logins, as a part of those without.
const DURING_RATIO_MIN: f64 = 0.5;

const PASSWORD: &str = "a password to measure with";

struct Server {
    child: Child,
    address: String,
    _data: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_abide"))
            .args(["serve", "--dev", "--listen", "127.0.0.1:0", "--data"])
            .arg(data.path().join("db"))
            .env("ABIDE_ADMIN_PASSWORD", PASSWORD)
            .env("ABIDE_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        let line = lines.find(|line| line.starts_with("abide listening on ")).unwrap();
        let address = line.rsplit("//").next().unwrap().to_owned();
        Self { child, address, _data: data }
    }

    async fn connect(&self) -> Connection {
        let socket = TcpStream::connect(&self.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Connection { socket, buffer: Vec::with_capacity(16 * 1024) }
    }

    fn get(&self, path: &str, token: Option<&str>) -> Vec<u8> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
        format!("{head}{}\r\n", token.unwrap_or_default()).into_bytes()
    }

    fn post(&self, path: &str, body: &str) -> Vec<u8> {
        let head = format!("POST {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        let about = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
        format!("{head}{about}\r\n\r\n{body}").into_bytes()
    }

    fn login(&self, username: &str) -> Vec<u8> {
        let body = format!(r#"{{"username":"{username}","password":"{PASSWORD}"}}"#);
        self.post("/v1/sessions", &body)
    }

    async fn session_of(&self, username: &str) -> String {
        let mut connection = self.connect().await;
        let body = format!(r#"{{"username":"{username}","password":"{PASSWORD}"}}"#);
        assert_eq!(connection.ask(&self.post("/v1/users", &body)).await, 201);
        assert_eq!(connection.ask(&self.login(username)).await, 201);
        let text = String::from_utf8_lossy(&connection.buffer).into_owned();
        let token = text.split("\"token\":\"").nth(1).unwrap();
        token.split('"').next().unwrap().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A keep-alive connection that reads an answer only up to its end.
struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Sends a request and reads its whole answer; the answer's status.
    async fn ask(&mut self, request: &[u8]) -> u16 {
        self.socket.write_all(request).await.unwrap();
        self.buffer.clear();
        loop {
            let read = self.socket.read_buf(&mut self.buffer).await.unwrap();
            assert_ne!(read, 0, "the server closed");
            if let Some(status) = complete(&self.buffer) {
                return status;
            }
        }
    }
}

/// The status, once all of an answer with a Content-Length is there.
fn complete(answer: &[u8]) -> Option<u16> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let length: usize = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
    })?;
    (answer.len() >= end + 4 + length).then(|| head[9..12].parse().unwrap())
}

struct Rate {
    per_second: f64,
    latency_us: Histogram<u64>,
}

/// Sends requests over all connections until the deadline.
async fn rate(connections: &mut Vec<Connection>, request: &[u8], until: Duration) -> Rate {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for mut connection in connections.drain(..) {
        let request = request.to_vec();
        tasks.spawn(async move {
            let mut latency_us = Histogram::<u64>::new(3).unwrap();
            while began.elapsed() < until {
                let sent = Instant::now();
                let status = connection.ask(&request).await;
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(&connection.buffer));
                let us = u64::try_from(sent.elapsed().as_micros()).unwrap();
                latency_us.record(us).unwrap();
            }
            (connection, latency_us)
        });
    }
    let mut latency_us = Histogram::<u64>::new(3).unwrap();
    while let Some(done) = tasks.join_next().await {
        let (connection, own) = done.unwrap();
        latency_us.add(own).unwrap();
        connections.push(connection);
    }
    Rate { per_second: per_second(latency_us.len(), began.elapsed()), latency_us }
}

#[allow(clippy::cast_precision_loss, reason = "a count of requests in seconds is far below 2^53")]
fn per_second(count: u64, within: Duration) -> f64 {
    count as f64 / within.as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

struct Report {
    missed: bool,
}

impl Report {
    fn bar(&mut self, what: &str, value: f64, unit: &str, bar: f64, at_least: bool) {
        let right = if at_least { value >= bar } else { value <= bar };
        let (sign, verdict) =
            (if at_least { ">=" } else { "<=" }, if right { "ok" } else { "MISSED" });
        self.missed |= !right;
        println!("{what:<52} {value:>8.2}{unit}  (bar {sign} {bar}{unit}) {verdict}");
    }
}

async fn checks_beside_nothing(server: &Server, token: &str, report: &mut Report) -> f64 {
    let nothing = server.get("/livez", None);
    let check = server.get("/v1/sessions/current", Some(token));
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(server.connect().await);
    }
    for request in [&nothing, &check] {
        rate(&mut connections, request, ROUND / 3).await;
    }
    let (mut ratios, mut checks) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let nothing = rate(&mut connections, &nothing, ROUND).await;
        let check = rate(&mut connections, &check, ROUND).await;
        ratios.push(check.per_second / nothing.per_second);
        checks.push(check.per_second);
        println!(
            "  nothing {:>8.0}/s   session check {:>8.0}/s   p50 {} us  p99 {} us",
            nothing.per_second,
            check.per_second,
            check.latency_us.value_at_quantile(0.5),
            check.latency_us.value_at_quantile(0.99),
        );
    }
    report.bar(
        "session check / request that does nothing",
        median(ratios),
        "",
        CHECK_RATIO_MIN,
        true,
    );
    median(checks)
}

async fn logins_beside_argon2(server: &Server, report: &mut Report) {
    // The parameters of OWASP's recommendation, which the server uses.
    let params = Params::new(19456, 2, 1, None).unwrap();
    let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let mut connection = server.connect().await;
    let login = server.login("bob");
    let (mut hashes, mut logins) = (Vec::new(), Vec::new());
    for _ in 0..LOGINS {
        let began = Instant::now();
        let mut out = [0; 32];
        argon2.hash_password_into(PASSWORD.as_bytes(), b"sixteen bytes of", &mut out).unwrap();
        std::hint::black_box(out);
        hashes.push(began.elapsed().as_secs_f64() * 1e3);
        let began = Instant::now();
        assert_eq!(connection.ask(&login).await, 201);
        logins.push(began.elapsed().as_secs_f64() * 1e3);
    }
    // The quickest show the cost where nothing else wants the cores.
    let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
    let (least_hash, least_login) = (least(&hashes), least(&logins));
    let (hash, login) = (median(hashes), median(logins));
    println!("  Argon2 {hash:.2} ms   login {login:.2} ms (medians of {LOGINS})");
    println!("  Argon2 {least_hash:.2} ms   login {least_login:.2} ms (the quickest)");
    report.bar("a login beside its Argon2", login - hash, " ms", LOGIN_BESIDE_MS_MAX, false);
}

async fn checks_during_logins(server: &Server, token: &str, report: &mut Report) {
    let check = server.get("/v1/sessions/current", Some(token));
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(server.connect().await);
    }
    let mut ratios = Vec::new();
    for _ in 0..3 {
        let without = rate(&mut connections, &check, ROUND).await;
        let mut logins = JoinSet::new();
        for _ in 0..LOGINS_AT_ONCE {
            let (mut connection, login) = (server.connect().await, server.login("bob"));
            logins.spawn(async move { connection.ask(&login).await });
        }
        let began = Instant::now();
        let (mut asked, mut answered, mut within) = (0, 0, Duration::ZERO);
        // In slices, until the last login has its answer.
        while !logins.is_empty() {
            let slice = rate(&mut connections, &check, ROUND / 15).await;
            asked += slice.latency_us.len();
            within = began.elapsed();
            while let Some(login) = logins.try_join_next() {
                let status = login.unwrap();
                assert!([201, 429, 503].contains(&status), "a login answered {status}");
                answered += usize::from(status == 201);
            }
        }
        let during = per_second(asked, within);
        ratios.push(during / without.per_second);
        println!(
            "  without {:>8.0}/s   during {during:>8.0}/s   {answered} of {LOGINS_AT_ONCE} logins \
             served within {:.1} s, the others told to wait",
            without.per_second,
            within.as_secs_f64(),
        );
    }
    report.bar(
        "session checks during 200 logins / without",
        median(ratios),
        "",
        DURING_RATIO_MIN,
        true,
    );
}

fn main() -> ExitCode {
    // `cargo test` runs it too, without `--bench`: nothing to measure then.
    if !std::env::args().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut report = Report { missed: false };
    runtime.block_on(async {
        let server = Server::start();
        let token = server.session_of("alice").await;
        server.session_of("bob").await;
        println!("{CONNECTIONS} connections, one client thread");
        checks_beside_nothing(&server, &token, &mut report).await;
        logins_beside_argon2(&server, &mut report).await;
        checks_during_logins(&server, &token, &mut report).await;
    });
    if report.missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
