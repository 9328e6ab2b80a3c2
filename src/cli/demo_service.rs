//! `abide demo-service`: another service to call, with a memory of its own that survives a
//! kill, and with the bad habits of real ones.
//!
//! `POST /ANYTHING` does it, once for an `Idempotency-Key`: with another key it is done once more.
//! `DELETE /ANYTHING` undoes it. What was undone is never done afterwards: an undoing may overtake
//! what it undoes. `GET /effects`
//! lists all that was ever done and undone; `PUT /behaviour` sets how it misbehaves.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

use super::{CliError, print};

/// Most bytes of a request.
const REQUEST_BYTES_MAX: usize = 128 * 1024;

/// Most headers of a request.
const HEADERS_MAX: usize = 64;

/// Time that a hanging request is kept open.
const HANG: Duration = Duration::from_secs(30);

/// Arguments of `abide demo-service`.
#[derive(Debug, Args)]
pub(super) struct DemoServiceArgs {
    /// Address to serve on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// The file in which it remembers what it did
    #[arg(long, value_name = "FILE", default_value = "data/participant.log")]
    log: PathBuf,
    /// Faults of the service, as the JSON of `PUT /behaviour`
    #[arg(long, value_name = "JSON", default_value = "{}")]
    behaviour: String,
}

/// Frequency of faults, in percent of the requests.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Behaviour {
    /// Percentage of late answers.
    slow: u64,
    /// Delay of a slow answer, in milliseconds.
    slow_ms: u64,
    /// It refuses with 409; never an undoing.
    refuse: u64,
    /// It answers 500 and does nothing.
    error: u64,
    /// It does nothing and does not answer.
    hang: u64,
    /// It does what it is asked and the answer is lost.
    lose: u64,
}

/// Effect that was done or undone, or must never be done.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Effect {
    /// `do`, `undo` or `never`.
    op: String,
    /// Path of the request.
    path: String,
    /// The key that it was asked with.
    key: String,
}

impl Effect {
    fn done_with(&self) -> Option<String> {
        (self.op == "do").then(|| self.key.clone())
    }
}

/// State of the service.
struct Memory {
    file: File,
    effects: Vec<Effect>,
    /// By path: the key with which it was done last; none: it never will be again.
    now: BTreeMap<String, Option<String>>,
    behaviour: Behaviour,
    /// Counts what it was asked, to misbehave at random.
    asked: u64,
}

/// Serves until it is killed.
///
/// # Errors
/// What could not be opened or bound.
pub(super) fn run(service: &DemoServiceArgs) -> Result<(), CliError> {
    let failed =
        |what: &str, error: &dyn std::fmt::Display| CliError::Failed(format!("{what}: {error}"));
    let behaviour = serde_json::from_str(&service.behaviour)
        .map_err(|error| CliError::Usage(format!("--behaviour: {error}")))?;
    let memory = open(&service.log, behaviour)
        .map_err(|error| failed(&service.log.display().to_string(), &error))?;
    let memory = Arc::new(Mutex::new(memory));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| failed("the runtime cannot be started", &error))?;
    runtime.block_on(async {
        let listener = TcpListener::bind(service.listen).await;
        let listener = listener.map_err(|error| failed("cannot listen", &error))?;
        let address = listener.local_addr().map_err(|error| failed("cannot listen", &error))?;
        print(&format!("abide participant listening on http://{address}\n"))?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let memory = Arc::clone(&memory);
                    tokio::spawn(async move {
                        if let Err(error) = serve(stream, &memory).await {
                            tracing::debug!(%error, "a connection broke");
                        }
                    });
                }
                Err(error) => tracing::warn!(%error, "a connection was not accepted"),
            }
        }
    })
}

fn open(path: &PathBuf, behaviour: Behaviour) -> io::Result<Memory> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    // A line that a kill cut short was acknowledged to nobody.
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    file.set_len(u64::try_from(whole).unwrap_or(0))?;
    let effects: Vec<Effect> =
        text[..whole].lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let now = effects.iter().map(|effect| (effect.path.clone(), effect.done_with())).collect();
    // Another run misbehaves elsewhere.
    let asked = u64::from(std::process::id());
    Ok(Memory { file, effects, now, behaviour, asked })
}

impl Memory {
    fn note(&mut self, op: &str, path: &str, key: &str) -> io::Result<()> {
        let effect = Effect { op: op.to_owned(), path: path.to_owned(), key: key.to_owned() };
        let mut line = serde_json::to_string(&effect)?;
        line.push('\n');
        self.file.write_all(line.as_bytes())?;
        self.file.sync_data()?;
        self.now.insert(path.to_owned(), effect.done_with());
        self.effects.push(effect);
        Ok(())
    }

    /// Does or undoes; the status and the body.
    fn act(&mut self, method: &str, path: &str, key: &str) -> io::Result<(u16, String)> {
        let body = json!({ "booking": path, "key": key }).to_string();
        match (method, self.now.get(path)) {
            ("DELETE", Some(Some(_))) => self.note("undo", path, key).map(|()| (200, body)),
            ("DELETE", Some(None)) => Ok((404, body)),
            ("DELETE", None) => self.note("never", path, key).map(|()| (404, body)),
            (_, Some(Some(before))) if before == key => Ok((200, body)),
            (_, Some(None)) => Ok((409, body)),
            (_, Some(Some(_)) | None) => self.note("do", path, key).map(|()| (201, body)),
        }
    }

    /// Chooses the fault of a request: a number from 0 to 99 falls into one of the ranges.
    fn mood(&mut self) -> Mood {
        self.asked = self.asked.wrapping_add(1);
        let mut die = self.asked.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        die ^= die >> 31;
        let mut die = die.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33;
        die %= 100;
        let Behaviour { slow, refuse, error, hang, lose, .. } = self.behaviour;
        for (share, mood) in [
            (slow, Mood::Slow),
            (refuse, Mood::Refuses),
            (error, Mood::Errs),
            (hang, Mood::Hangs),
            (lose, Mood::Loses),
        ] {
            if die < share {
                return mood;
            }
            die -= share;
        }
        Mood::Fine
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Fine,
    Slow,
    Refuses,
    Errs,
    Hangs,
    Loses,
}

struct Asked {
    method: String,
    path: String,
    key: String,
    body: Vec<u8>,
}

async fn serve(mut stream: TcpStream, memory: &Mutex<Memory>) -> io::Result<()> {
    let Some(asked) = read(&mut stream).await? else { return Ok(()) };
    let locked = || memory.lock().unwrap_or_else(PoisonError::into_inner);
    match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/effects") => {
            let text = json!(locked().effects).to_string();
            return answer(&mut stream, 200, &text).await;
        }
        ("PUT", "/behaviour") => {
            let status = match serde_json::from_slice(&asked.body) {
                Ok(behaviour) => {
                    locked().behaviour = behaviour;
                    204
                }
                Err(_) => 422,
            };
            return answer(&mut stream, status, "").await;
        }
        ("POST" | "PUT" | "DELETE", _) if !asked.key.is_empty() => {}
        _ => return answer(&mut stream, 400, "{}").await,
    }
    let (mood, slow_ms) = {
        let mut memory = locked();
        (memory.mood(), memory.behaviour.slow_ms)
    };
    match mood {
        Mood::Hangs => {
            sleep_until(Instant::now() + HANG).await;
            return Ok(());
        }
        Mood::Errs => return answer(&mut stream, 500, "{}").await,
        Mood::Refuses if asked.method != "DELETE" => {
            // What was done already cannot be refused any more.
            if !matches!(locked().now.get(&asked.path), Some(Some(_))) {
                return answer(&mut stream, 409, "{}").await;
            }
        }
        Mood::Slow => sleep_until(Instant::now() + Duration::from_millis(slow_ms)).await,
        Mood::Fine | Mood::Loses | Mood::Refuses => {}
    }
    let (status, text) = locked().act(&asked.method, &asked.path, &asked.key)?;
    if mood == Mood::Loses {
        return Ok(());
    }
    answer(&mut stream, status, &text).await
}

/// Reads one request; `None`: it is none.
async fn read(stream: &mut TcpStream) -> io::Result<Option<Asked>> {
    let mut bytes = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Request::new(&mut headers);
        match head.parse(&bytes) {
            Ok(httparse::Status::Complete(length)) => {
                let header = |name: &str| {
                    let found =
                        head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
                    found.and_then(|header| std::str::from_utf8(header.value).ok())
                };
                let body = header("content-length").and_then(|text| text.parse().ok());
                let body: usize = body.unwrap_or(0);
                if bytes.len() >= length + body {
                    return Ok(Some(Asked {
                        method: head.method.unwrap_or_default().to_owned(),
                        path: head.path.unwrap_or_default().to_owned(),
                        key: header("idempotency-key").unwrap_or_default().to_owned(),
                        body: bytes[length..length + body].to_vec(),
                    }));
                }
            }
            Ok(httparse::Status::Partial) => {}
            Err(_) => return Ok(None),
        }
        let mut more = [0; 4096];
        let count = stream.read(&mut more).await?;
        if count == 0 || bytes.len() > REQUEST_BYTES_MAX {
            return Ok(None);
        }
        bytes.extend_from_slice(&more[..count]);
    }
}

async fn answer(stream: &mut TcpStream, status: u16, body: &str) -> io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}
