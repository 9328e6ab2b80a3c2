//! `abide bench URL`: how fast a running server is, against what it does without work.
//!
//! It is a client like others: it makes users, accounts and workflows of its own (all begin with
//! `bench`), so point it at a server whose data you do not need.

mod client;
mod live;
mod load;

use std::io::{IsTerminal as _, Write as _};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{CliError, print};
use client::Client;
use load::{Payer, Ran, Work, run as run_load};

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";

/// Writes of 4 KiB that the raw disk is measured with.
const DISK_WRITES: u32 = 500;

/// Arguments of `abide bench`.
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// The server, as `http://127.0.0.1:8080`, started with --dev and the administrator's password in
    /// `ABIDE_ADMIN_PASSWORD`, which is read here too
    #[arg(value_name = "URL")]
    url: String,
    /// Connections, each a client of its own, separated by commas
    #[arg(long, value_name = "N,N", default_value = "1,64,256", value_delimiter = ',')]
    connections: Vec<usize>,
    /// Duration of each measurement
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    seconds: u64,
    /// Start so many transactions before anything is measured
    #[arg(long, value_name = "N", default_value_t = 0)]
    fill: u64,
    /// Only this work beside the no-op: a part of its name in the table
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Also measure 4 KiB and fdatasync in this directory, for the bar at one connection
    #[arg(long, value_name = "DIR")]
    disk: Option<PathBuf>,
    /// Measure what is live instead: how soon subscribers know, and what idle ones cost
    #[arg(long)]
    live: bool,
    /// With --live, the server's process on this machine: its memory is measured too
    #[arg(long, value_name = "PID", requires = "live")]
    pid: Option<u32>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// A row of the table.
struct Row {
    connections: usize,
    work: Work,
    ran: Ran,
    /// Against the no-op with as many connections.
    ratio: f64,
}

/// Measures.
///
/// # Errors
/// What the server refused, or what could not be reached.
pub(super) fn run(bench: &Bench) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("the runtime cannot be started: {error}")))?;
    if bench.live {
        runtime.block_on(measure_live(bench))
    } else {
        runtime.block_on(measure(bench))
    }
}

impl Bench {
    fn measures(&self, work: Work) -> bool {
        let named = |only: &String| work.name().contains(only.as_str());
        work == Work::Noop || self.only.as_ref().is_none_or(named)
    }
}

async fn measure_live(bench: &Bench) -> Result<(), CliError> {
    // Each subscriber is an open file here as well.
    super::serve::raise_descriptors();
    let address = address(&bench.url)?;
    let payers = prepare(address, &numbered(live::CLIENTS + live::IDLE_USERS)).await;
    let payers = payers.map_err(CliError::Failed)?;
    let bar = if bench.json || !std::io::stderr().is_terminal() {
        ProgressBar::hidden()
    } else {
        ProgressBar::new_spinner()
    };
    let length = Duration::from_secs(bench.seconds);
    let tell = |what: &str| bar.set_message(what.to_owned());
    let measured = live::measure(address, &payers, length, bench.pid, tell).await;
    bar.finish_and_clear();
    let measured = measured.map_err(CliError::Failed)?;
    print(&if bench.json { format!("{}\n", measured.document()) } else { measured.lines() })?;
    match measured.missed().as_slice() {
        [] => Ok(()),
        missed => Err(CliError::Failed(missed.join("; "))),
    }
}

async fn measure(bench: &Bench) -> Result<(), CliError> {
    let address = address(&bench.url)?;
    let most = bench.connections.iter().copied().max().unwrap_or(1);
    let disk_ms = bench.disk.as_ref().map(|dir| disk(dir)).transpose()?;
    let mut names = numbered(most);
    names.extend(alone(bench.connections.len()).map_err(CliError::Failed)?);
    let mut payers = prepare(address, &names).await.map_err(CliError::Failed)?;
    let lone = payers.split_off(most);
    fill(address, &payers, bench.fill).await.map_err(CliError::Failed)?;
    let mut rows: Vec<Row> = Vec::new();
    if !bench.json {
        print(&format!(
            "{:>5} {:<24} {:>10} {:>9} {:>9} {:>9}\n",
            "conns", "work", "requests/s", "p50 ms", "p99 ms", "of no-op"
        ))?;
    }
    for (connections, one) in bench.connections.iter().zip(&lone) {
        let mut ceiling = None;
        let works = [
            Work::Noop,
            Work::Check,
            Work::Again,
            Work::Data,
            Work::Steps,
            Work::Transfers,
            Work::OneAccount,
        ];
        for work in works.into_iter().filter(|work| bench.measures(*work)) {
            let mut payers = payers[..(*connections).min(payers.len())].to_vec();
            if work == Work::OneAccount {
                payers.fill(one.clone());
            }
            let length = Duration::from_secs(bench.seconds);
            let bar = bar(bench, work, *connections);
            let ran = run_load(address, work, &payers, length, |count| bar.set_position(count));
            let ran = ran.await.map_err(CliError::Failed)?;
            bar.finish_and_clear();
            if let Some(fault) = &ran.fault {
                return Err(CliError::Failed(fault.clone()));
            }
            let ceiling = *ceiling.get_or_insert(ran.rate());
            let ratio = ran.rate() / ceiling;
            let row = Row { connections: *connections, work, ran, ratio };
            if !bench.json {
                print(&line(&row))?;
            }
            rows.push(row);
        }
    }
    if bench.json {
        return print(&format!("{}\n", document(&rows, disk_ms)));
    }
    match disk_ms {
        Some(ms) => print(&format!("raw disk, 4 KiB and fdatasync: p50 {ms:.3} ms\n")),
        None => Ok(()),
    }
}

fn line(row: &Row) -> String {
    let Row { connections, work, ran, ratio } = row;
    let name = work.name();
    let (p50, p99) = (ran.quantile(0.5), ran.quantile(0.99));
    let rate = ran.rate();
    format!("{connections:>5} {name:<24} {rate:>10.0} {p50:>9.2} {p99:>9.2} {ratio:>9.2}\n")
}

fn document(rows: &[Row], disk_ms: Option<f64>) -> serde_json::Value {
    let row = |row: &Row| {
        json!({
            "connections": row.connections,
            "work": row.work.name(),
            "durable": row.work.is_durable(),
            "requests": row.ran.requests,
            "seconds": row.ran.seconds,
            "requests_per_s": row.ran.rate(),
            "p50_ms": row.ran.quantile(0.5),
            "p99_ms": row.ran.quantile(0.99),
            "of_no_op": row.ratio,
        })
    };
    json!({ "rows": rows.iter().map(row).collect::<Vec<_>>(), "disk_p50_ms": disk_ms })
}

fn bar(bench: &Bench, work: Work, connections: usize) -> ProgressBar {
    if bench.json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}: {pos} requests, {per_sec}") {
        bar.set_style(style);
    }
    bar.set_message(format!("{} at {connections}", work.name()));
    bar
}

fn address(url: &str) -> Result<SocketAddr, CliError> {
    let wrong = || CliError::Usage(format!("{url} is no address like http://127.0.0.1:8080"));
    let host = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    host.to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(wrong)
}

/// Makes what the clients need: workflows, a world of money, and for each client a user with a
/// session and an account.
async fn prepare(address: SocketAddr, names: &[String]) -> Result<Vec<Payer>, String> {
    let password = std::env::var("ABIDE_ADMIN_PASSWORD")
        .map_err(|_| "ABIDE_ADMIN_PASSWORD: the administrator's password is needed")?;
    let login = json!({ "username": "admin", "password": password }).to_string();
    let mut nobody = Client::connect(address, None).await?;
    let answer = nobody.must("POST", "/v1/sessions", Some((JSON, &login))).await?;
    let admin = answer.text("token").ok_or("a login without a token")?;
    let mut admin = Client::connect(address, Some(&admin)).await?;
    let transfer = include_str!("../../../data/workflows/transfer.yaml").replacen(
        "workflow: transfer",
        "workflow: bench-transfer",
        1,
    );
    for (name, document) in
        [("bench-steps", include_str!("steps.yaml")), ("bench-transfer", transfer.as_str())]
    {
        let path = format!("/v1/workflows/{name}");
        admin.must("PUT", &path, Some((YAML, document))).await?;
    }
    let key = json!({ "name": "bench", "on_behalf": ["bench-*"] }).to_string();
    let answer = admin.must("POST", "/v1/api-keys", Some((JSON, &key))).await?;
    let key = answer.text("key").ok_or("an API key without a secret")?;
    let mut service = Client::connect(address, Some(&key)).await?;
    open(&mut admin, "bank:fees", None, Some("0")).await?;
    open(&mut admin, "bench:world", None, None).await?;
    let mut payers = Vec::with_capacity(names.len());
    for name in names {
        payers.push(payer(&mut admin, &mut service, name).await?);
    }
    Ok(payers)
}

/// The names of so many payers, the same in each run.
fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

/// Names that no run had before: one user may have so many live Idempotency-Keys a day and no more,
/// and who pays for all clients needs most of them in one row.
fn alone(count: usize) -> Result<Vec<String>, String> {
    let mut run = [0; 8];
    getrandom::fill(&mut run).map_err(|error| error.to_string())?;
    let run = u64::from_le_bytes(run);
    Ok((0..count).map(|number| format!("one-{run:016x}-{number}")).collect())
}

/// A customer with money on an account of his own, and an account to pay to.
async fn payer(admin: &mut Client, service: &mut Client, name: &str) -> Result<Payer, String> {
    let user = format!("bench-{name}");
    let session = json!({ "user": user, "on_behalf": true, "create": true }).to_string();
    let answer = service.must("POST", "/v1/sessions", Some((JSON, &session))).await?;
    let token = answer.text("token").ok_or("a session without a token")?;
    let roles = json!({ "roles": ["customer"] }).to_string();
    let path = format!("/v1/users/{user}");
    admin.must("PATCH", &path, Some((JSON, &roles))).await?;
    let (from, to) = (format!("bench:{name}"), format!("bench:{name}:to"));
    open(admin, &from, Some(&user), Some("0")).await?;
    open(admin, &to, None, Some("0")).await?;
    let money = json!({ "from": "bench:world", "to": from, "amount": "100000000.00" });
    admin.must("POST", "/v1/transfers", Some((JSON, &money.to_string()))).await?;
    Ok(Payer { token, from, to })
}

/// Opens an account, if it is not there from an earlier run.
async fn open(
    admin: &mut Client,
    id: &str,
    owner: Option<&str>,
    floor: Option<&str>,
) -> Result<(), String> {
    let account = json!({ "id": id, "asset": "EUR", "owner": owner, "floor": floor }).to_string();
    let answer = admin.call("POST", "/v1/accounts", Some((JSON, &account)), None).await?;
    match answer.status {
        201 | 409 => Ok(()),
        status => Err(format!("POST /v1/accounts: {status} {}", answer.body)),
    }
}

/// Starts transactions that nobody goes on with.
async fn fill(address: SocketAddr, payers: &[Payer], count: u64) -> Result<(), String> {
    let clients = payers.len().clamp(1, 64);
    let mut tasks = Vec::new();
    for (number, payer) in payers.iter().take(clients).enumerate() {
        let mut client = Client::connect(address, Some(&payer.token)).await?;
        let extra = u64::from((number as u64) < count % clients as u64);
        let mine = count / clients as u64 + extra;
        tasks.push(tokio::spawn(async move {
            for _ in 0..mine {
                let start = "/v1/workflows/bench-steps/transactions";
                client.must("POST", start, Some((JSON, "{}"))).await?;
            }
            Ok::<_, String>(())
        }));
    }
    for task in tasks {
        task.await.map_err(|error| error.to_string())??;
    }
    Ok(())
}

/// The median time of writing 4 KiB and syncing them, over a file that is there already.
fn disk(dir: &std::path::Path) -> Result<f64, CliError> {
    let path = dir.join("abide-bench.tmp");
    let measured = || -> std::io::Result<f64> {
        let mut file = std::fs::File::create(&path)?;
        file.write_all(&vec![0; 4096 * DISK_WRITES as usize])?;
        file.sync_all()?;
        let mut times = Vec::new();
        for number in 0..DISK_WRITES {
            use std::os::unix::fs::FileExt as _;
            let began = Instant::now();
            file.write_all_at(&[7; 4096], u64::from(number) * 4096)?;
            file.sync_data()?;
            times.push(began.elapsed());
        }
        times.sort_unstable();
        Ok(times[times.len() / 2].as_secs_f64() * 1000.0)
    };
    let measured = measured();
    let removed = std::fs::remove_file(&path);
    measured
        .and_then(|ms| removed.map(|()| ms))
        .map_err(|error| CliError::Failed(format!("{}: {error}", path.display())))
}
