//! `abide tail URL`: what happens on a running server, line by line.

use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::{CliError, log};

/// Pause before connecting again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The server sends something at least every 15 seconds.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// Longest line of an answer; an event's data has its bound in the server.
const LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Arguments of `abide tail`.
#[derive(Debug, Args)]
pub(super) struct Tail {
    /// The server, as `http://127.0.0.1:8080`
    #[arg(value_name = "URL")]
    url: String,
    /// The token of a session or an API key: what it may see is shown
    #[arg(long, value_name = "TOKEN", env = "ABIDE_TOKEN", hide_env_values = true)]
    token: String,
    /// Begin after this event, not with the next one that happens
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// Only this transaction, from its start on
    #[arg(long, value_name = "ID")]
    transaction: Option<String>,
    /// End after so many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print each event as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Why a connection ended.
enum Ended {
    /// It broke, or the server stopped: connect again.
    Broken(String),
    /// There is no sense in connecting again.
    Over(Result<(), CliError>),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Follows until it is stopped.
///
/// # Errors
/// An address or a token that is none; nothing to connect to at the first try.
pub(super) fn run(tail: &Tail) -> Result<(), CliError> {
    let address = tail.url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    let address = address.filter(|address| !address.contains('/')).ok_or_else(|| {
        CliError::Usage("give the server as http://ADDRESS:PORT; for https use a client".to_owned())
    })?;
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let given = [Some(&tail.token), tail.after.as_ref(), tail.transaction.as_ref()];
    if !given.into_iter().flatten().all(|text| plain(text)) {
        return Err(CliError::Usage("a token and an id have visible ASCII only".to_owned()));
    }
    let mut follow = Follow { tail, last: tail.after.clone(), shown: 0 };
    let mut was_there = false;
    loop {
        match follow.once(address, &mut was_there) {
            Ended::Over(done) => return done,
            Ended::Broken(what) if !was_there => {
                return Err(CliError::Failed(format!("{address}: {what}")));
            }
            Ended::Broken(what) => {
                log::line(&format!("abide: {address}: {what}; connecting again"));
                std::thread::park_timeout(RETRY_AFTER);
            }
        }
    }
}

struct Follow<'a> {
    tail: &'a Tail,
    last: Option<String>,
    shown: u64,
}

impl Follow<'_> {
    /// One connection, to its end.
    fn once(&mut self, address: &str, was_there: &mut bool) -> Ended {
        match self.follow(address, was_there) {
            Ok(()) => Ended::Broken("the stream ended".to_owned()),
            Err(ended) => ended,
        }
    }

    fn follow(&mut self, address: &str, was_there: &mut bool) -> Result<(), Ended> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        let path = match &self.tail.transaction {
            Some(id) => format!("/v1/transactions/{id}/events"),
            None => "/v1/events".to_owned(),
        };
        let resume = self.last.as_ref().map(|id| format!("last-event-id: {id}\r\n"));
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\
             authorization: Bearer {}\r\n{}\r\n",
            self.tail.token,
            resume.unwrap_or_default()
        )?;
        let mut answer = BufReader::new(stream);
        let status = line(&mut answer)?;
        while !line(&mut answer)?.is_empty() {}
        let status = status.split(' ').nth(1).unwrap_or_default();
        if status != "200" {
            let what = match status {
                "401" => "the token is not valid (any more)".to_owned(),
                "404" => "there is no such transaction".to_owned(),
                other => format!("it answered {other}"),
            };
            return Err(Ended::Over(Err(CliError::Failed(format!("{address}: {what}")))));
        }
        *was_there = true;
        // Each piece of the body has its length before it (RFC 9112, section 7.1).
        let mut text = String::new();
        loop {
            let length = line(&mut answer)?;
            let length = usize::from_str_radix(&length, 16)
                .map_err(|_| Ended::Broken("it is badly framed".to_owned()))?;
            if length == 0 {
                return Ok(());
            }
            let mut piece = vec![0; length];
            answer.read_exact(&mut piece)?;
            line(&mut answer)?;
            text.push_str(&String::from_utf8_lossy(&piece));
            while let Some(end) = text.find("\n\n") {
                let block: String = text.drain(..end + 2).collect();
                self.block(&block)?;
            }
        }
    }

    fn block(&mut self, block: &str) -> Result<(), Ended> {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        if let Some(id) = field("id: ") {
            self.last = Some(id.to_owned());
        }
        if field("event: ") == Some("resync") {
            log::line("abide: events in between are kept no more");
            return Ok(());
        }
        let Some(data) = field("data: ") else { return Ok(()) };
        let text = if self.tail.json { data.to_owned() } else { shown(data) };
        let mut out = io::stdout().lock();
        if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
            // The reader has closed the output.
            return Err(Ended::Over(Ok(())));
        }
        self.shown += 1;
        if self.tail.count.is_some_and(|count| self.shown >= count) {
            return Err(Ended::Over(Ok(())));
        }
        Ok(())
    }
}

/// An event as a line for people.
fn shown(data: &str) -> String {
    let event: Value = serde_json::from_str(data).unwrap_or_default();
    let text = |name: &str| event[name].as_str().unwrap_or("-");
    let actor = event["actor"].as_str().unwrap_or_else(|| text("actorkind"));
    let (time, kind, subject) = (text("time"), text("type"), text("subject"));
    format!("{time}  {kind}  {actor}  {subject}  {}", event["data"])
}

fn line(from: &mut impl BufRead) -> Result<String, Ended> {
    let mut text = String::new();
    let read = from.by_ref().take(LINE_BYTES_MAX).read_line(&mut text)?;
    if read == 0 {
        return Err(Ended::Broken("the connection was closed".to_owned()));
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
