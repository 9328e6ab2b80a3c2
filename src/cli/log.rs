//! The log: on standard error, one line an event, whatever a name holds.
//!
//! Lines are written by a thread of their own from a bounded queue, so that neither a full disk
//! nor a reader that stands still ever stops a request; lines that find no room are counted.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait to be written: some MB at most, and a burst of seconds.
const QUEUE_MAX: usize = 8192;

/// Maximum time that the end of the program waits for queued lines.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// Libraries whose `trace` lines are left out: they hold headers and bodies, and with them tokens.
const QUIET: [&str; 4] = ["h2=info", "hyper=info", "rustls=info", "warp=info"];

/// Filter and format of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A filter as `tracing-subscriber` understands it.
    pub filter: String,
    /// Format of a line.
    pub format: Format,
}

/// Format of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For eyes.
    Human,
    /// A JSON object, for collectors.
    Json,
}

/// Keeps the log going; what is queued is written when it is dropped.
#[derive(Debug)]
pub(super) struct Log(SyncSender<Message>);

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl LogConfig {
    /// Whether `filter` is one.
    pub(super) fn is_filter(filter: &str) -> bool {
        !filter.is_empty() && EnvFilter::try_new(filter).is_ok()
    }
}

/// Crates whose events the log may have, by their names in a filter.
const TARGETS: [&str; 10] = [
    "abide",
    "h2",
    "hyper",
    "hyper_util",
    "jsonschema",
    "rustls",
    "sled",
    "tokio",
    "tokio_rustls",
    "warp",
];

impl LogConfig {
    /// Parts of a filter that are neither a level nor name anything that logs: most likely a level
    /// that was misspelt.
    pub(super) fn unknown_targets(filter: &str) -> Vec<&str> {
        let parts = filter.split(',').map(str::trim).filter(|part| !part.is_empty());
        let targets = parts.filter_map(|part| {
            let target = part.split(['=', '[']).next().unwrap_or(part);
            let is_span_or_level = target.is_empty() || target.parse::<LevelFilter>().is_ok();
            (!is_span_or_level).then_some(target)
        });
        let known = |target: &&str| TARGETS.contains(&target.split("::").next().unwrap_or(target));
        targets.filter(|target| !known(target)).collect()
    }
}

impl Format {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "human" => Some(Self::Human),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// For eyes where there may be some.
    pub(super) fn for_stderr() -> Self {
        if io::stderr().is_terminal() { Self::Human } else { Self::Json }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Human => "human",
            Self::Json => "json",
        })
    }
}

/// Writes one line to standard error at once; for the time before the log and after it.
pub(super) fn line(text: &str) {
    let mut line = one_line(text);
    line.push(b'\n');
    // Nobody is left to be told that this failed.
    drop(io::stderr().lock().write_all(&line));
}

/// Starts the log for the whole process.
///
/// # Errors
/// The filter is none, the thread cannot be started, or there is a log already.
pub(super) fn start(config: &LogConfig) -> Result<Log, String> {
    let mut filter = EnvFilter::try_new(&config.filter).map_err(|error| error.to_string())?;
    for quiet in QUIET {
        filter = filter.add_directive(quiet.parse().map_err(|error| format!("{error}"))?);
    }
    let (sender, receiver) = sync_channel(QUEUE_MAX);
    let lost = Arc::new(AtomicU64::new(0));
    let lines = Lines {
        queue: sender.clone(),
        lost: Arc::clone(&lost),
        colour: config.format == Format::Human && io::stderr().is_terminal(),
    };
    std::thread::Builder::new()
        .name("log".into())
        .spawn(move || write_lines(&receiver, &lost))
        .map_err(|error| format!("the log's thread cannot be started: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(lines)
        .with_ansi(false)
        .log_internal_errors(false);
    let started = match config.format {
        Format::Human => builder.try_init(),
        Format::Json => builder.json().flatten_event(true).with_span_list(false).try_init(),
    };
    started.map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(Log(sender))
}

impl Drop for Log {
    fn drop(&mut self) {
        let (done, written) = sync_channel(1);
        if self.0.send(Message::Flush(done)).is_ok() {
            // The reader of the log has stopped; the end of the program does not wait for it.
            if written.recv_timeout(FLUSH_TIME).is_err() {}
        }
    }
}

/// A panic is one line like any other.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let place = panic.location().map(ToString::to_string);
    tracing::error!(
        thread = thread.name().unwrap_or("unnamed"),
        place = place.as_deref().unwrap_or("unknown"),
        message = panic.payload_as_str().unwrap_or("panic without a message"),
    );
}

fn write_lines(queue: &Receiver<Message>, lost: &AtomicU64) {
    while let Ok(message) = queue.recv() {
        let mut stderr = io::stderr().lock();
        match message {
            // A line that cannot be written is lost: the server goes on.
            Message::Line(line) => drop(stderr.write_all(&line)),
            Message::Flush(done) => drop(done.send(())),
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            drop(writeln!(
                stderr,
                "{{\"level\":\"WARN\",\"message\":\"{lost} log lines were lost\"}}"
            ));
        }
    }
}

/// Takes each event as a whole and queues it as one line.
#[derive(Clone, Debug)]
struct Lines {
    queue: SyncSender<Message>,
    lost: Arc<AtomicU64>,
    colour: bool,
}

/// Where one event is written to.
struct EventWriter<'a> {
    lines: &'a Lines,
    level: Level,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = EventWriter<'a>;

    fn make_writer(&'a self) -> EventWriter<'a> {
        EventWriter { lines: self, level: Level::INFO }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> EventWriter<'a> {
        EventWriter { lines: self, level: *event.level() }
    }
}

impl io::Write for EventWriter<'_> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let mut line = one_line(text.trim_end_matches('\n'));
        if self.lines.colour {
            line = coloured(line, self.level);
        }
        line.push(b'\n');
        match self.lines.queue.try_send(Message::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lines.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `text` without anything that a terminal or a collector would take for the end of a line, for a
/// command, or for another direction of writing.
fn one_line(text: &str) -> Vec<u8> {
    if !text.contains(unfit) {
        return text.as_bytes().to_vec();
    }
    let mut line = Vec::with_capacity(text.len() + 16);
    for character in text.chars() {
        if unfit(character) {
            // As JSON escapes it, so that a JSON line stays JSON.
            line.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes());
        } else {
            line.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    line
}

fn unfit(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// The line with its level in colour.
fn coloured(line: Vec<u8>, level: Level) -> Vec<u8> {
    let name = level.as_str();
    let colour = match level {
        Level::ERROR => "31",
        Level::WARN => "33",
        Level::INFO => "32",
        _ => "2",
    };
    match line.windows(name.len()).position(|window| window == name.as_bytes()) {
        Some(at) => {
            let (before, rest) = line.split_at(at);
            let (_, after) = rest.split_at(name.len());
            [before, b"\x1b[", colour.as_bytes(), b"m", name.as_bytes(), b"\x1b[0m", after].concat()
        }
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_name_holds_it_stays_one_line() {
        let nasty = "a\r\nb\x1b[31mc\u{2028}d\u{85}e\u{202E}f\u{0}";
        let line = String::from_utf8_lossy(&one_line(nasty)).into_owned();
        assert_eq!(line, r"a\u000d\u000ab\u001b[31mc\u2028d\u0085e\u202ef\u0000");
        let json = format!("{{\"name\":\"{}\"}}", line.replace("\\u0000", ""));
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "still JSON: {json}");
        assert_eq!(one_line("plain Ünïcode ✓"), "plain Ünïcode ✓".as_bytes());
    }

    #[test]
    fn only_the_level_is_coloured() {
        let line = coloured(b"2026-11-24T10:00:00Z  WARN a WARN b".to_vec(), Level::WARN);
        assert_eq!(line, b"2026-11-24T10:00:00Z  \x1b[33mWARN\x1b[0m a WARN b");
    }
}
