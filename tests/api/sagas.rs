//! Calls to other services over real sockets: their results when a service refuses, fails, hangs,
//! loses its answers, and when both sides are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use abide::types::{Span, Time};

use crate::dice::Dice;
use crate::server::{Options, Server, dev, program};
use crate::wait::{PATIENCE, until};

/// The service that is called.
struct DemoProcess {
    child: Child,
    address: String,
    dir: TempDir,
    http: reqwest::Client,
}

impl DemoProcess {
    fn start(behaviour: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (child, address) = spawn(&dir, "127.0.0.1:0", &behaviour);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { child, address, dir, http }
    }

    /// SIGKILL, and a start on the same memory and port.
    fn crash_and_restart(&mut self, behaviour: &Value) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(&self.dir, &self.address, behaviour).0;
    }

    async fn behave(&self, behaviour: Value) {
        let url = format!("http://{}/behaviour", self.address);
        let answer = self.http.put(url).body(behaviour.to_string()).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 204);
    }

    /// Returns the effects that were done and undone, by path and in order.
    async fn effects(&self) -> BTreeMap<String, Vec<String>> {
        let url = format!("http://{}/effects", self.address);
        let effects: Value = self.http.get(url).send().await.unwrap().json().await.unwrap();
        let mut by_path: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for effect in effects.as_array().unwrap() {
            let text = |name: &str| effect[name].as_str().unwrap().to_owned();
            by_path.entry(text("path")).or_default().push(text("op"));
        }
        by_path
    }
}

impl Drop for DemoProcess {
    fn drop(&mut self) {
        // It may have been killed before.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(dir: &TempDir, address: &str, behaviour: &Value) -> (Child, String) {
    let log = dir.path().join("participant.log");
    let log = log.to_str().unwrap();
    let behaviour = behaviour.to_string();
    let arguments = ["demo-service", "--listen", address, "--log", log, "--behaviour", &behaviour];
    let mut child = program(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit("http://").next().unwrap().to_owned();
    (child, address)
}

/// The example, for anybody, with the services at this address.
fn travel(address: &str) -> String {
    include_str!("../../data/workflows/travel.yaml")
        .replace("127.0.0.1:9000", address)
        .replace("start: { by: [role:customer] }\n", "")
}

async fn publish(server: &Server, name: &str, document: String) {
    let admin = server.admin().await;
    let call = admin.call("PUT", &format!("/v1/workflows/{name}"));
    call.body("application/yaml", document).await.ok();
}

const ENDED: [&str; 4] = ["completed", "cancelled", "failed", "expired"];

/// Service and server are killed again and again, at random, while sagas run and while they are
/// compensated: every one ends booked or compensated, and each operation was done at most once.
/// `ABIDE_SAGAS` is their number.
#[tokio::test]
async fn sagas_survive_kills_of_both_sides() {
    let count = std::env::var("ABIDE_SAGAS").ok().and_then(|count| count.parse().ok());
    let count: usize = count.unwrap_or(300);
    let bad = json!({
        "slow": 10, "slow_ms": 100, "refuse": 4, "error": 8, "hang": 1, "lose": 10,
    });
    let mild = json!({"lose": 5});
    let dice = Dice::new();
    let falls = |what: (&str, usize), sides: u64| dice.hash_one(what).is_multiple_of(sides);
    let mut server = dev();
    let mut service = DemoProcess::start(bad.clone());
    publish(&server, "travel", travel(&service.address)).await;
    let alice = server.user("alice").await;
    let admin = server.admin().await;
    let mut ids = Vec::new();
    for n in 0..count {
        let start = json!({"input": {"to": "Oslo", "nights": 2}, "reference": format!("r{n}")});
        let answer = alice.post("/v1/workflows/travel/transactions", start).await.ok();
        ids.push(answer.json()["id"].as_str().unwrap().to_owned());
        if falls(("server, starting", n), 20) {
            server.crash_and_restart();
        }
        if falls(("participant, starting", n), 20) {
            service.crash_and_restart(&bad);
        }
    }
    let mut found = BTreeMap::new();
    for (n, id) in ids.iter().enumerate() {
        // The rest continues, or is compensated, meanwhile.
        if falls(("server, ending", n), 25) {
            server.crash_and_restart();
        }
        if n == count / 2 {
            service.behave(mild.clone()).await;
        }
        if falls(("participant, ending", n), 25) {
            service.crash_and_restart(if n < count / 2 { &bad } else { &mild });
        }
        let stands = |shown: &Value| shown["status"].as_str().unwrap().to_owned();
        let over = |shown: &Value| {
            let status = stands(shown);
            status == "stuck" || ENDED.contains(&status.as_str())
        };
        let shown = until(&admin, id, over).await;
        assert_ne!(stands(&shown), "stuck", "{shown}\n{}", server.log());
        found.insert(id.clone(), stands(&shown));
    }
    let effects = service.effects().await;
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for (id, status) in found {
        *outcomes.entry(status.clone()).or_default() += 1;
        for kind in ["flights", "hotels", "cars"] {
            let done = effects.get(&format!("/{kind}/{id}")).cloned().unwrap_or_default();
            let done: Vec<_> = done.iter().map(String::as_str).collect();
            if status == "completed" {
                assert_eq!(done, ["do"], "{kind} of {id}, {status}");
            } else {
                let right = matches!(done.as_slice(), [] | ["do", "undo"] | ["never"]);
                assert!(right, "{kind} of {id}, {status}: {done:?}");
            }
        }
    }
    assert!(outcomes.len() > 1, "all ended alike: {outcomes:?}");
    assert!(outcomes.contains_key("completed"), "none was booked: {outcomes:?}");
}

/// An operator finds a stuck step, retries one, and skips another.
#[tokio::test]
async fn what_is_stuck_is_found_repaired_and_ended_over_http() {
    let server = dev();
    let service = DemoProcess::start(json!({}));
    let once = travel(&service.address)
        .replace("attempts: 8", "attempts: 1")
        .replace("attempts: 20", "attempts: 1")
        .replace("/hotels/", "/no hotels/");
    publish(&server, "travel", once).await;
    let alice = server.user("alice").await;
    let admin = server.admin().await;
    let start = || async {
        let input = json!({"input": {"to": "Oslo", "nights": 2}});
        let answer = alice.post("/v1/workflows/travel/transactions", input).await.ok();
        answer.json()["id"].as_str().unwrap().to_owned()
    };
    // The address of the hotel is none, so it gets no request; the flight is compensated.
    let first = start().await;
    until(&admin, &first, |shown| shown["status"] == "failed").await;
    let effects = service.effects().await;
    assert_eq!(effects[&format!("/flights/{first}")], ["do", "undo"]);

    let unkind = travel(&service.address)
        .replace("attempts: 8", "attempts: 1")
        .replace("attempts: 20", "attempts: 1")
        .replace(
            "DELETE, url: '=data.services + \"/flights/\"",
            "DELETE, url: '=\"http://10.0.0.1/\"",
        )
        .replace("/hotels/", "/no hotels/");
    publish(&server, "travel", unkind).await;
    let (second, third) = (start().await, start().await);
    for id in [&second, &third] {
        until(&admin, id, |shown| shown["status"] == "stuck").await;
    }
    let listed = admin.get("/v1/transactions?status=stuck").await.ok().json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2, "{listed}");
    let shown = admin.get(&format!("/v1/transactions/{second}")).await.ok().json();
    assert_eq!(shown["stuck"]["step"], "flight", "{shown}");
    assert_eq!(shown["stuck"]["code"], "call-not-allowed", "{shown}");
    // Tried again it is stuck again; left out, with a reason, it ends.
    admin.post_empty(&format!("/v1/transactions/{second}/retry")).await.ok();
    until(&admin, &second, |shown| shown["status"] == "stuck").await;
    for reason in [json!({}), json!({"reason": ""}), json!({"reason": null})] {
        let answer = admin.post(&format!("/v1/transactions/{second}/skip"), reason).await;
        answer.problem(422, "invalid-input");
    }
    for id in [&second, &third] {
        let reason = json!({"reason": "cancelled by telephone"});
        let ended = admin.post(&format!("/v1/transactions/{id}/skip"), reason).await.ok().json();
        assert_eq!(ended["status"], "failed", "{ended}");
        assert_eq!(ended["outcome"], "call-not-allowed", "{ended}");
    }
    let listed = admin.get("/v1/transactions?status=stuck").await.ok().json();
    assert_eq!(listed["items"], json!([]));
}

/// Receives every request and answers each with this.
async fn listening(answer: &'static str) -> (String, mpsc::Receiver<String>) {
    answering(move |_| answer.to_owned()).await
}

/// Receives every request and answers each with the result of this function.
async fn answering(
    answer: impl Fn(&str) -> String + Send + Sync + 'static,
) -> (String, mpsc::Receiver<String>) {
    let answer = Arc::new(answer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, heard) = mpsc::channel(100);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (tell, answer) = (tell.clone(), Arc::clone(&answer));
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                let whole = |bytes: &[u8]| {
                    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
                    let Some((top, body)) = text.split_once("\r\n\r\n") else { return false };
                    let length = top.split("content-length: ").nth(1);
                    let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
                    body.len() >= length.unwrap_or(0)
                };
                while !whole(&bytes) {
                    let mut more = [0; 4096];
                    match stream.read(&mut more).await {
                        Ok(count) if count > 0 => bytes.extend_from_slice(&more[..count]),
                        _ => return,
                    }
                }
                let request = String::from_utf8(bytes).unwrap();
                let answer = answer(&request);
                tell.send(request).await.unwrap();
                drop(stream.write_all(answer.as_bytes()).await);
            });
        }
    });
    (address, heard)
}

/// A service that answers later: its address is the proof, good once; secrets go out in headers
/// and lie nowhere (16.2.5).
#[tokio::test]
async fn a_late_answer_comes_by_the_callback() {
    let (address, mut heard) =
        listening("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    let secret = "canary-9f8e7d6c5b4a";
    let server = Options::dev().env("ABIDE_SECRET_SCREENING", secret).start();
    let document = format!(
        "abide: 1\nworkflow: screening\nfirst: screen\nsteps:\n  screen:\n    call:\n      \
         url: 'http://{address}/screen'\n      headers: {{ authorization: '=\"Bearer \" + \
         secret(\"SCREENING\")' }}\n      body: {{ answer_to: =callback.url }}\n      \
         callback: 15m\n    do: [ {{ set: {{ risk: =response.body.risk }} }} ]\n    \
         next: {{ end: screened }}\n"
    );
    publish(&server, "screening", document).await;
    let alice = server.user("alice").await;
    let started = alice.post_empty("/v1/workflows/screening/transactions").await.ok().json();
    let id = started["id"].as_str().unwrap().to_owned();
    let url = format!("/v1/transactions/{id}");
    until(&alice, &id, |shown| shown["calls"][0]["status"] == "awaiting-callback").await;
    let request = heard.recv().await.unwrap();
    let lower = request.to_ascii_lowercase();
    assert!(lower.contains(&format!("authorization: bearer {secret}\r\n")), "{request}");
    assert!(lower.contains(&format!("idempotency-key: {id}/screen/1/do\r\n")), "{request}");
    assert!(lower.contains("abide-op: do\r\n"), "{request}");
    assert!(lower.contains("traceparent: 00-"), "{request}");
    let body: Value = serde_json::from_str(request.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let callback = body["answer_to"].as_str().unwrap();
    let path = callback.strip_prefix(&server.base()).unwrap().to_owned();
    let forged = format!("{}0", &path[..path.len() - 1]);
    let forged = if forged == path { format!("{}1", &path[..path.len() - 1]) } else { forged };
    server.nobody().post(&forged, json!({"risk": "low"})).await.problem(404, "not-found");
    server.nobody().post(&path, json!({"risk": "low"})).await.is(204);
    let ended = alice.get(&url).await.ok().json();
    assert_eq!(ended["status"], "completed", "{ended}");
    assert_eq!(ended["data"]["risk"], "low", "{ended}");
    // A service that has not received the answer calls again.
    server.nobody().post(&path, json!({"risk": "low"})).await.is(204);
    server.nobody().post(&path, json!({"risk": "high"})).await.problem(410, "callback-late");
    assert_eq!(server.files_with(secret.as_bytes()), Vec::<std::path::PathBuf>::new());
    let token = path.rsplit('.').next().unwrap();
    assert_eq!(server.files_with(token.as_bytes()), Vec::<std::path::PathBuf>::new());
    assert!(!server.log().contains(secret) && !ended.to_string().contains(secret));
}

/// W3C Trace Context: a call goes on with the trace of the request that caused it, and the log
/// names it; without one, and with one that is malformed, it has a trace of its own.
#[tokio::test]
async fn a_call_goes_on_with_the_trace_of_its_request() {
    let (address, mut heard) =
        listening("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    let server = Options::dev().env("ABIDE_LOG", "debug").start();
    let document = format!(
        "abide: 1\nworkflow: traced\nfirst: ask\nsteps:\n  ask:\n    by: [owner]\n    \
         next: call\n  call:\n    call: {{ url: 'http://{address}/' }}\n    next: {{ end: done }}\n"
    );
    publish(&server, "traced", document).await;
    let alice = server.user("alice").await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut seen = async |header: Option<String>| {
        let started = alice.post_empty("/v1/workflows/traced/transactions").await.ok().json();
        let id = started["id"].as_str().unwrap().to_owned();
        let submit = alice.post_empty(&format!("/v1/transactions/{id}/steps/ask"));
        let submit =
            header.into_iter().fold(submit, |call, value| call.header("traceparent", value));
        submit.header("tracestate", "vendor=1").header("tracestate", "other=2").await.ok();
        let request = heard.recv().await.unwrap().to_ascii_lowercase();
        until(&alice, &id, |shown| shown["status"] == "completed").await;
        request
    };
    let request = seen(Some(format!("00-{trace}-00f067aa0ba902b7-01"))).await;
    assert!(request.contains(&format!("traceparent: 00-{trace}-")), "{request}");
    assert!(request.contains("tracestate: vendor=1, other=2\r\n"), "{request}");
    assert!(!request.contains("00f067aa0ba902b7"), "its own span: {request}");
    for own in [None, Some(format!("00-{trace}-0000000000000000-01"))] {
        let request = seen(own).await;
        assert!(request.contains("traceparent: 00-") && !request.contains(trace), "{request}");
        assert!(!request.contains("tracestate"), "{request}");
    }
    assert!(server.log().contains(trace), "{}", server.log());
}

/// 16.2.5: a secret that goes out in a header is in no file, no log, no history and no answer, for
/// every result of the call.
#[tokio::test]
async fn a_calls_secret_is_in_nothing_that_is_kept_or_told() {
    let secret = "canary-1b2c3d4e5f60";
    let traced = Options::dev().env("ABIDE_LOG", "trace").env("ABIDE_SECRET_SHOP", secret);
    let mut server = traced.start();
    let busy = "HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let (address, mut heard) = listening(busy).await;
    let (silent, mut unheard) = listening("").await;
    let admin = server.admin().await;
    for url in [&address, &silent, "127.0.0.1:9"] {
        let document = format!(
            "abide: 1\nworkflow: shop\nfirst: ask\nsteps:\n  ask:\n    call:\n      url: \
             'http://{url}/'\n      headers: {{ authorization: '=\"Bearer \" + secret(\"SHOP\")' \
             }}\n      retry: {{ attempts: 2, first: 1ms, max: 1ms }}\n    next: {{ end: asked }}\n"
        );
        publish(&server, "shop", document).await;
        let started = admin.post_empty("/v1/workflows/shop/transactions").await.ok().json();
        let id = started["id"].as_str().unwrap();
        let ended = until(&admin, id, |shown| shown["status"] == "failed").await;
        let history = admin.get(&format!("/v1/transactions/{id}/history")).await.ok().json();
        for told in [&started, &ended, &history] {
            assert!(!told.to_string().contains(secret), "{url}: {told}");
        }
        assert_eq!(ended["calls"][0]["attempts"], 2, "{url}: {ended}");
    }
    // The secret was there, in each request.
    for requests in [&mut heard, &mut unheard] {
        for _ in 0..2 {
            let request = requests.recv().await.unwrap();
            assert!(request.contains(&format!("Bearer {secret}\r\n")), "{request}");
        }
    }
    server.terminate();
    assert_eq!(server.files_with(secret.as_bytes()), Vec::<std::path::PathBuf>::new());
    assert!(!server.log().contains(secret));
}

/// Calls that wait for their times survive kill -9 and are made in the order of these.
/// `ABIDE_WAITING` says how many.
#[tokio::test]
async fn waiting_calls_survive_a_kill_and_are_made_in_order() {
    let count = std::env::var("ABIDE_WAITING").ok().and_then(|count| count.parse().ok());
    let count: usize = count.unwrap_or(2000);
    let (address, mut heard) =
        listening("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    let mut server = Options::dev().arg("--calls-per-destination=1").start();
    let document = format!(
        "abide: 1\nworkflow: later\ninput: {{ type: object, required: [at, after], properties: {{ \
         at: {{ type: string }}, after: {{ type: string }} }} }}\nfirst: wait\nsteps:\n  wait:\n    \
         wait: {{ until: =data.at }}\n    next: call\n  call:\n    call: {{ url: '=\"http://{address}/\" + \
         data.after' }}\n    next: {{ end: called }}\n"
    );
    publish(&server, "later", document).await;
    let alice = server.user("alice").await;
    let session = alice.session().await.ok().json();
    let begin: Time = session["created_at"].as_str().unwrap().parse().unwrap();
    let clock = Instant::now();
    for n in 0..count {
        // In another order than their due times.
        let after = 3600 + (n * 7919) % count;
        let at = begin.plus(Span::from_seconds(after as u64)).to_string();
        let input = json!({"input": {"at": at, "after": format!("{after}s")}});
        alice.post("/v1/workflows/later/transactions", input).await.ok();
        if n == count / 2 {
            server.crash_and_restart();
        }
    }
    let (started, clock) = (clock.elapsed(), Instant::now());
    server.crash_and_restart();
    server.advance(&format!("{}s", 3600 + count)).await;
    let (fired, clock) = (clock.elapsed(), Instant::now());
    let mut requests = Vec::new();
    while requests.len() < count {
        let request = tokio::time::timeout(PATIENCE, heard.recv()).await;
        requests.push(request.expect("all are made").unwrap());
    }
    let made = clock.elapsed();
    eprintln!(
        "{count} started in {started:.1?}, their times passed in {fired:.1?}, called in {made:.1?}"
    );
    assert!(heard.try_recv().is_err(), "each once");
    let times: Vec<u64> = requests
        .iter()
        .map(|request| {
            let path = request.split(' ').nth(1).unwrap();
            path.trim_start_matches('/').trim_end_matches('s').parse().unwrap()
        })
        .collect();
    let late = times.windows(2).find(|pair| pair[0] > pair[1]);
    assert!(late.is_none(), "out of order: {late:?}");
}

/// Calls that a service wants later survive kill -9 too, and are made in the order in which they
/// are due, each once. `ABIDE_WAITING` says how many.
#[tokio::test]
async fn calls_that_rest_survive_a_kill_and_are_made_in_order() {
    let count = std::env::var("ABIDE_WAITING").ok().and_then(|count| count.parse().ok());
    let count: usize = count.unwrap_or(500);
    let seen: Mutex<BTreeSet<String>> = Mutex::default();
    let (address, mut heard) = answering(move |request| {
        let after = seconds_in(request);
        let status =
            if seen.lock().unwrap().insert(after.clone()) { "408 Later" } else { "200 OK" };
        format!(
            "HTTP/1.1 {status}\r\nretry-after: {after}\r\ncontent-length: 0\r\nconnection: \
             close\r\n\r\n"
        )
    })
    .await;
    let mut server = Options::dev().arg("--calls-per-destination=1").start();
    let document = format!(
        "abide: 1\nworkflow: rests\ninput: {{ type: object, properties: {{ after: {{ type: string \
         }} }} }}\nfirst: call\nsteps:\n  call:\n    call: {{ url: '=\"http://{address}/\" + \
         data.after', retry: {{ attempts: 2, first: 1ms, max: 1ms }} }}\n    next: {{ end: called \
         }}\n"
    );
    publish(&server, "rests", document).await;
    let alice = server.user("alice").await;
    let mut ids = Vec::new();
    for n in 0..count {
        // In another order than their due times.
        let after = (3600 + (n * 7919) % count).to_string();
        let input = json!({"input": {"after": after}});
        let started = alice.post("/v1/workflows/rests/transactions", input).await.ok().json();
        ids.push((started["id"].as_str().unwrap().to_owned(), after));
        heard.recv().await.unwrap();
    }
    let mut due: BTreeMap<String, Time> = BTreeMap::new();
    for (id, after) in ids {
        let rests = |shown: &Value| {
            let call = &shown["calls"][0];
            call["attempts"] == 1 && call["status"] == "due"
        };
        let shown = until(&alice, &id, rests).await;
        let shown = shown["calls"][0]["due_at"].as_str().unwrap().to_owned();
        due.insert(after, shown.parse().unwrap());
    }
    server.crash_and_restart();
    server.advance(&format!("{}s", 3600 + count)).await;
    let mut made = Vec::new();
    while made.len() < count {
        let request = tokio::time::timeout(PATIENCE, heard.recv()).await;
        made.push(due[&seconds_in(&request.expect("all are made").unwrap())]);
    }
    assert!(heard.try_recv().is_err(), "each once");
    let late = made.windows(2).find(|pair| pair[0] > pair[1]);
    assert!(late.is_none(), "out of order: {late:?}");
}

/// The number that is a request's path.
fn seconds_in(request: &str) -> String {
    request.split(' ').nth(1).unwrap().trim_start_matches('/').to_owned()
}

/// A service that sends `Retry-After` gets no call for that time, in seconds or until a date; then
/// it gets the same key again.
#[tokio::test]
async fn a_service_is_left_alone_for_as_long_as_it_asks() {
    let date = "Fri, 01 Jan 2100 00:00:00 GMT";
    let asctime = "Fri Jan  1 00:00:00 2100";
    for (after, most) in [("3600", "1h"), (date, "24h"), (asctime, "24h")] {
        let text = format!(
            "HTTP/1.1 503 Busy\r\nretry-after: {after}\r\ncontent-length: 0\r\nconnection: \
             close\r\n\r\n"
        );
        let (address, mut heard) = listening(text.leak()).await;
        let server = dev();
        let document = format!(
            "abide: 1\nworkflow: busy\nfirst: ask\nsteps:\n  ask:\n    call: {{ url: \
             'http://{address}/', retry: {{ attempts: 2, first: 1ms, max: 1ms }} }}\n    next: {{ \
             end: asked }}\n"
        );
        publish(&server, "busy", document).await;
        let alice = server.user("alice").await;
        let started = alice.post_empty("/v1/workflows/busy/transactions").await.ok().json();
        let id = started["id"].as_str().unwrap();
        let first = heard.recv().await.unwrap();
        let waits = |shown: &Value| shown["calls"][0]["status"] == "due";
        let shown = until(&alice, id, waits).await;
        let due: Time = shown["calls"][0]["due_at"].as_str().unwrap().parse().unwrap();
        let at: Time = shown["updated_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(due.since(at), most.parse::<Span>().unwrap(), "{shown}");
        server.advance(most).await;
        let alice = server.again("alice").await;
        until(&alice, id, |shown| shown["status"] == "failed").await;
        // A service that remembers this key acts once.
        let second = heard.recv().await.unwrap();
        let key = format!("idempotency-key: {id}/ask/1/do\r\n");
        for request in [first, second] {
            assert!(request.to_ascii_lowercase().contains(&key), "{request}");
        }
    }
}

/// A destination that fails several times gets no calls for a while, and then attempts until it
/// answers.
#[tokio::test]
async fn a_breaker_opens_and_closes() {
    let server = dev();
    let service = DemoProcess::start(json!({"error": 100}));
    let patient = travel(&service.address).replace("attempts: 8", "attempts: 100");
    let patient = patient.replace("first: 250ms", "first: 1ms").replace("max: 5s", "max: 1ms");
    publish(&server, "travel", patient).await;
    let alice = server.user("alice").await;
    let admin = server.admin().await;
    let input = json!({"input": {"to": "Oslo", "nights": 2}});
    let started = alice.post("/v1/workflows/travel/transactions", input).await.ok().json();
    let id = started["id"].as_str().unwrap();
    let open = async || {
        let metrics = admin.get("/metrics").await.ok().text();
        let line = metrics.lines().find(|line| line.starts_with("abide_calls_breakers_open "));
        line.unwrap().rsplit(' ').next().unwrap().parse::<u32>().unwrap()
    };
    until(&alice, id, |shown| shown["calls"][0]["attempts"].as_u64() >= Some(6)).await;
    assert_eq!(open().await, 1);
    service.behave(json!({})).await;
    until(&alice, id, |shown| shown["status"] == "completed").await;
    let deadline = Instant::now() + PATIENCE;
    while open().await > 0 {
        assert!(Instant::now() < deadline, "the breaker stays open");
    }
}

/// A thousand slow calls under way leave steps of others as fast as before: the best of some rates,
/// since other work of the machine makes each of them lower.
#[tokio::test]
async fn slow_calls_leave_other_steps_alone() {
    let service = DemoProcess::start(json!({"slow": 100, "slow_ms": 100_000}));
    let server = Options::dev().arg("--calls-per-destination=2000").start();
    let slow = travel(&service.address).replace("timeout: 2s", "timeout: 2m");
    publish(&server, "travel", slow).await;
    let steps =
        "abide: 1\nworkflow: steps\nfirst: a\nsteps:\n  a: { by: [owner], next: { end: b } }\n";
    publish(&server, "steps", steps.to_owned()).await;
    let alice = server.user("alice").await;
    let rate = || async {
        let begin = Instant::now();
        let count = 200;
        for _ in 0..count {
            let started = alice.post_empty("/v1/workflows/steps/transactions").await.ok().json();
            let id = started["id"].as_str().unwrap();
            alice.post(&format!("/v1/transactions/{id}/steps/a"), json!({})).await.ok();
        }
        f64::from(count) / begin.elapsed().as_secs_f64()
    };
    let mut before = 0.0_f64;
    for _ in 0..4 {
        before = before.max(rate().await);
    }
    let mut ids = Vec::new();
    for _ in 0..1000 {
        let input = json!({"input": {"to": "Oslo", "nights": 2}});
        let started = alice.post("/v1/workflows/travel/transactions", input).await.ok().json();
        ids.push(started["id"].as_str().unwrap().to_owned());
    }
    for id in &ids {
        until(&alice, id, |shown| shown["calls"][0]["status"] == "in-flight").await;
    }
    let mut beside = 0.0_f64;
    for _ in 0..12 {
        beside = beside.max(rate().await);
        if beside >= 0.8 * before {
            break;
        }
    }
    let shown = alice.get(&format!("/v1/transactions/{}", ids[0])).await.ok().json();
    assert_eq!(shown["calls"][0]["status"], "in-flight", "they are slow all the while");
    let ratio = beside / before;
    eprintln!("steps beside 1000 slow calls: {beside:.0}/s of {before:.0}/s, {ratio:.2}");
    assert!(ratio >= 0.8, "{beside:.0} beside {before:.0} a second: {ratio:.2}");
}

/// A call and its compensation are two requests to a service that remembers keys, like this one:
/// each has a key of its own.
#[tokio::test]
async fn undo_has_a_key_of_its_own_for_a_peer_that_enforces_keys() {
    let peer = dev();
    let bank = peer.admin().await;
    for account in [
        json!({"id": "world", "asset": "EUR", "floor": null}),
        json!({"id": "shop", "asset": "EUR"}),
    ] {
        bank.post("/v1/accounts", account).await.is(201);
    }
    let (_, key) = peer.api_key("shop", json!({})).await;
    let server = Options::dev().env("ABIDE_SECRET_PEER", &key).start();
    let base = peer.base();
    let document = format!(
        "abide: 1\nworkflow: paying\nfirst: pay\nsteps:\n  pay:\n    call:\n      url: \
         '{base}/v1/transfers'\n      headers: {{ authorization: '=\"Bearer \" + \
         secret(\"PEER\")' }}\n      body: {{ from: world, to: shop, amount: '12.50' }}\n    \
         compensate:\n      - call:\n          url: '=\"{base}/v1/transfers/\" + \
         response.body.id + \"/reverse\"'\n          headers: {{ authorization: '=\"Bearer \" + \
         secret(\"PEER\")' }}\n    next: confirm\n  confirm: {{ by: [owner], next: {{ end: paid \
         }} }}\n"
    );
    publish(&server, "paying", document).await;
    let alice = server.user("alice").await;
    let started = alice.post_empty("/v1/workflows/paying/transactions").await.ok().json();
    let id = started["id"].as_str().unwrap();
    until(&alice, id, |shown| shown["status"] == "waiting").await;
    assert_eq!(bank.get("/v1/accounts/shop").await.ok().json()["posted"], "12.50");
    alice.post_empty(&format!("/v1/transactions/{id}/cancel")).await.ok();
    let shown = until(&alice, id, |shown| shown["status"] != "compensating").await;
    assert_eq!(shown["status"], "cancelled", "{shown}");
    assert_eq!(bank.get("/v1/accounts/shop").await.ok().json()["posted"], "0.00");
    let calls = shown["calls"].as_array().unwrap();
    let keys: Vec<_> = calls.iter().map(|call| call["key"].clone()).collect();
    assert_eq!(keys, [json!(format!("{id}/pay/1/do")), json!(format!("{id}/pay/1/undo/1"))]);
}

/// A successful answer of any length is a success: the part that fits is kept and marked as
/// truncated, and no call is repeated.
#[tokio::test]
async fn success_with_a_large_body_is_success() {
    let (address, mut heard) = answering(|request| {
        let status = if request.starts_with("DELETE") { "200 OK" } else { "201 Created" };
        let body = format!("{{\"pad\": \"{}\"}}", "x".repeat(70_000));
        format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    })
    .await;
    let server = dev();
    let document = format!(
        "abide: 1\nworkflow: large\ndata: {{ cut: null, status: null, length: null }}\nfirst: \
         ask\nsteps:\n  ask:\n    call: {{ url: 'http://{address}/' }}\n    do: [ {{ set: {{ cut: \
         =response.truncated, status: =response.status, length: '=size(response.body)' }} }} ]\n    \
         compensate: [ {{ call: {{ method: DELETE, url: 'http://{address}/' }} }} ]\n    next: \
         wait\n  wait: {{ by: [owner], next: {{ end: done }} }}\n"
    );
    publish(&server, "large", document).await;
    let alice = server.user("alice").await;
    let started = alice.post_empty("/v1/workflows/large/transactions").await.ok().json();
    let id = started["id"].as_str().unwrap();
    let shown = until(&alice, id, |shown| shown["status"] == "waiting").await;
    assert_eq!(shown["data"], json!({"cut": true, "status": 201, "length": 64 * 1024}));
    alice.post_empty(&format!("/v1/transactions/{id}/cancel")).await.ok();
    let shown = until(&alice, id, |shown| shown["status"] != "compensating").await;
    assert_eq!(shown["status"], "cancelled", "{shown}");
    let (first, second) = (heard.recv().await.unwrap(), heard.recv().await.unwrap());
    assert!(first.starts_with("POST") && second.starts_with("DELETE"), "{first} {second}");
    assert!(heard.try_recv().is_err(), "nothing is asked again");
}
