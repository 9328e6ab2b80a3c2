//! The log: one line an event, no secret, and never a reason to stop.

use std::fs::File;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Process, serve};
use crate::support::status;

/// Every line is one JSON object; each line of a request names it; the access line has the route
/// and never the path or the query.
#[test]
fn every_line_of_a_request_names_it() {
    let dir = TempDir::new().unwrap();
    let process = Process::start(serve(dir.path()).env("ABIDE_LOG", "info,abide=debug"));
    let token = "abs_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
    let headers = format!("Authorization: Bearer {token}\r\n");
    let text = process.get("/v1/sessions/current?secret=canary", &headers);
    let id = text.split_once("x-request-id: ").unwrap().1.split_once("\r\n").unwrap().0.to_owned();
    let (_, log) = process.stop();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_request: Vec<_> =
        lines.iter().filter(|line| line["span"]["id"] == id.as_str()).collect();
    let access = of_request.iter().find(|line| line["target"] == "abide::access").unwrap();
    assert_eq!(access["method"], "GET");
    assert_eq!(access["route"], "/v1/sessions/current");
    assert_eq!(access["status"], u64::from(status(&text)));
    assert!(access["ms"].is_number() && access["client"] == "127.0.0.1", "{access}");
    assert!(!log.contains("canary") && !log.contains(&token[4..]), "{log}");
}

/// ASVS 16.4.1: what a client sends never makes a second line.
#[test]
fn control_characters_never_make_a_second_line() {
    let dir = TempDir::new().unwrap();
    let mut command = serve(dir.path());
    let process = Process::start(
        command.arg("--dev").env("ABIDE_LOG", "trace").args(["--log-format", "human"]),
    );
    let nasty = "a%0d%0aFORGED%1b[31m%e2%80%a8";
    process.get(&format!("/v1/{nasty}?{nasty}"), &format!("User-Agent: {nasty}\u{2028}\u{85}\r\n"));
    let (_, log) = process.stop();
    assert!(!log.lines().any(|line| line.starts_with("FORGED")), "{log}");
    for line in log.lines() {
        assert!(line.starts_with("20"), "not the beginning of an event: {line:?}");
        assert!(!line.contains(|character: char| character.is_control()), "{line:?}");
        assert!(!line.contains('\u{2028}'), "{line:?}");
    }
}

/// A log on a full disk, or one that nobody reads, stops nothing.
#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let dir = TempDir::new().unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = serve(dir.path());
    let process = Process::start(command.env("ABIDE_LOG", "trace").stderr(full));
    for _ in 0..100 {
        assert_eq!(status(&process.get("/livez", "")), 200);
    }
    drop(process);
    // A pipe that is never read fills up after 64 KiB.
    let mut command = serve(dir.path());
    let process = Process::start(command.env("ABIDE_LOG", "trace").stderr(Stdio::piped()));
    for _ in 0..300 {
        assert_eq!(status(&process.get("/livez", "")), 200);
    }
}
