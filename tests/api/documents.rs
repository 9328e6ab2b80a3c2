//! The documents for people: every complete example in them is taken out and run.

use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::client::Role;
use crate::server::{Options, dev, program};
use crate::wait::until;

const GUIDE: &str = include_str!("../../data/docs/guide.md");
const LANGUAGE: &str = include_str!("../../data/workflows/LANGUAGE.md");

/// A fenced block of a document.
struct Block {
    /// `sh`, `json`, `yaml` or `toml`.
    kind: String,
    /// The file that it is, by the comment before it.
    file: Option<String>,
    text: String,
}

fn blocks(document: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut file = None;
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("<!-- file: ") {
            file = Some(name.trim_end_matches(" -->").to_owned());
        } else if let Some(kind) = line.strip_prefix("```") {
            let text: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            let text = text.join("\n") + "\n";
            found.push(Block { kind: kind.to_owned(), file: file.take(), text });
        }
    }
    found
}

fn file(document: &str, name: &str) -> String {
    let found = blocks(document).into_iter().find(|block| block.file.as_deref() == Some(name));
    found.unwrap_or_else(|| panic!("there is no {name}")).text
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs the shell blocks of a document in one shell, in an empty directory with its files. Returns
/// the output of each.
fn run(document: &str, blocks: &[Block]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let (address, bin) = (format!("127.0.0.1:{}", free_port()), dir.path().join("bin"));
    let here = |text: &str| text.replace("127.0.0.1:8080", &address);
    std::fs::create_dir(&bin).unwrap();
    symlink(env!("CARGO_BIN_EXE_abide"), bin.join("abide")).unwrap();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    for block in blocks {
        if let Some(name) = &block.file {
            std::fs::write(dir.path().join(name), here(&block.text)).unwrap();
        }
    }
    let mut script = String::from("set -e -o pipefail\n");
    let shells: Vec<_> = blocks.iter().filter(|block| block.kind == "sh").collect();
    for (at, block) in shells.iter().enumerate() {
        writeln!(script, "{{\n{}\n}} > out.{at}", here(&block.text)).unwrap();
    }
    script.push_str("kill $(jobs -p); wait\n");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    // In a group of its own with an end: a script that hangs leaves no server behind.
    let mut bash = Command::new("timeout");
    bash.args(["--kill-after=5", "50", "bash", "-c", &script]).current_dir(dir.path());
    let output = bash.env("PATH", path).env("ABIDE_LISTEN", &address).output().unwrap();
    let said = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
    let printed: Vec<_> = (0..shells.len()).map(|at| said(&format!("out.{at}"))).collect();
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        document.lines().next().unwrap_or_default(),
        printed.join("\n---\n"),
        String::from_utf8_lossy(&output.stderr)
    );
    printed
}

/// Returns whether `found` has all of `expected`: `"..."` is anything, objects may have more.
fn has(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (_, Value::String(any)) if any == "..." => !found.is_null(),
        (Value::Object(found), Value::Object(expected)) => {
            expected.iter().all(|(key, value)| found.get(key).is_some_and(|own| has(own, value)))
        }
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len()
                && found.iter().zip(expected).all(|(own, value)| has(own, value))
        }
        _ => found == expected,
    }
}

/// Runs a document, and compares what its shell blocks print last with the JSON below them.
fn holds(document: &str, answers_min: usize) {
    let blocks = blocks(document);
    let mut printed = run(document, &blocks).into_iter();
    let (mut last, mut compared) = (String::new(), 0);
    for block in &blocks {
        match block.kind.as_str() {
            "sh" => last = printed.next().unwrap(),
            "json" => {
                let expected: Value = serde_json::from_str(&block.text).unwrap();
                let begin = last.rfind("\n{").map_or(0, |at| at + 1);
                // Answers end without a newline, so the last one may follow another one.
                let values = serde_json::Deserializer::from_str(&last[begin..]).into_iter();
                let found: Option<Value> = values.map_while(Result::ok).last();
                let found = found.unwrap_or_else(|| panic!("no JSON in {last:?}"));
                assert!(has(&found, &expected), "expected {expected}\nfound {found}");
                compared += 1;
            }
            _ => {}
        }
    }
    assert!(compared >= answers_min, "{compared} answers were compared");
}

#[test]
fn the_examples_of_the_guide_do_what_it_says() {
    holds(GUIDE, 10);
}

#[test]
fn the_hook_of_the_language_page_does_what_it_says() {
    holds(LANGUAGE, 1);
}

/// Definitions are valid without a warning, and their scenarios hold.
#[test]
fn the_definitions_and_scenarios_of_the_language_page_pass() {
    let dir = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for block in blocks(LANGUAGE) {
        let is_definition = block.text.starts_with("abide: 1\n");
        assert!(!is_definition || block.file.is_some(), "a definition that is no file");
        let Some(name) = block.file else { continue };
        std::fs::write(dir.path().join(&name), &block.text).unwrap();
        names.extend(is_definition.then_some(name));
    }
    assert!(names.len() >= 3, "{names:?}");
    for name in names {
        let path = dir.path().join(&name);
        let check = program(["workflow", "check"]).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&check.stderr);
        assert!(check.status.success() && !said.contains("warning"), "{name}: {said}");
        let scenarios = path.with_extension("scenarios.yaml");
        if scenarios.exists() {
            must_pass(&scenarios);
        }
    }
}

fn must_pass(scenarios: &Path) {
    let test = program(["workflow", "test"]).arg(scenarios).output().unwrap();
    let (out, error) =
        (String::from_utf8_lossy(&test.stdout), String::from_utf8_lossy(&test.stderr));
    assert!(test.status.success(), "{}: {out}{error}", scenarios.display());
}

/// A request as the carrier of the example gets it.
async fn request(listener: &TcpListener) -> (TcpStream, String, Value) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if let Ok(body) = serde_json::from_str(body) {
            return (stream, head.to_ascii_lowercase(), body);
        }
    }
}

async fn answer(mut stream: TcpStream, status: &str) {
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
}

async fn started(alice: &Role) -> String {
    let input = json!({"input": {"to": "Bob"}});
    let started = alice.post("/v1/workflows/parcel/transactions", input).await.is(201).json();
    started["id"].as_str().unwrap().to_owned()
}

/// The call of the language page against a service: the secret arrives, the callback counts, and a
/// refusal goes where `failed` says.
#[tokio::test]
async fn the_call_of_the_language_page_works_with_a_service() {
    let carrier = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = carrier.local_addr().unwrap().to_string();
    let here = |name: &str| file(LANGUAGE, name).replace("127.0.0.1:9000", &address);
    let server = Options::dev().config(&here("abide.toml")).start();
    let (admin, alice) = (server.admin().await, server.user("alice").await);
    let publish = admin.call("PUT", "/v1/workflows/parcel");
    let published = publish.body("application/yaml", here("parcel.yaml")).await.is(201).json();
    let warnings = published["warnings"].as_array().unwrap();
    assert!(warnings.iter().all(|warning| warning["code"] == "unknown-role"), "{published}");

    let id = started(&alice).await;
    let (stream, head, body) = request(&carrier).await;
    assert!(head.contains("authorization: bearer a token of the carrier"), "{head}");
    assert!(head.starts_with(&format!("put /parcels/{id} ")), "{head}");
    assert_eq!(body["to"], "Bob");
    answer(stream, "202 Accepted").await;
    until(&alice, &id, |shown| shown["calls"][0]["status"] == "awaiting-callback").await;
    let callback = body["answer_to"].as_str().unwrap();
    let path = &callback[callback.find("/v1/callbacks/").unwrap()..];
    server.nobody().post(path, json!({"label": "P-18"})).await.ok();
    let shown = until(&alice, &id, |shown| shown["status"] == "waiting").await;
    assert_eq!(shown["data"]["label"], "P-18");

    let id = started(&alice).await;
    let (stream, ..) = request(&carrier).await;
    answer(stream, "409 Conflict").await;
    let shown = until(&alice, &id, |shown| shown["status"] == "waiting").await;
    assert_eq!(shown["open_steps"][0]["step"], "by-hand", "{shown}");
}

/// The pages load nothing from elsewhere, under a policy that would not let them.
#[tokio::test]
async fn the_pages_are_served_under_a_strict_policy() {
    let server = dev();
    for path in ["/docs", "/docs/workflows", "/docs/events", "/docs/reference"] {
        let page = server.nobody().get(path).await.is(200);
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert!(page.header("content-type").starts_with("text/html"), "{page}");
        assert!(page.text().contains("<main id=\"main\">"), "{path}");
    }
}

/// Events are of the types that `/asyncapi.json` describes.
#[tokio::test]
async fn events_are_of_the_types_that_the_catalogue_describes() {
    let server = dev();
    let (admin, alice) = (server.admin().await, server.user("alice").await);
    admin.post("/v1/accounts", json!({"id": "world", "asset": "EUR", "floor": null})).await.ok();
    admin.post("/v1/accounts", json!({"id": "a", "asset": "EUR", "owner": "alice"})).await.ok();
    admin.post("/v1/transfers", json!({"from": "world", "to": "a", "amount": "9.00"})).await.ok();
    admin.post("/v1/holds", json!({"from": "a", "amount": "1.00"})).await.ok();
    admin.patch("/v1/users/alice", json!({"roles": ["employee", "manager"]})).await.ok();
    let publish = admin.call("PUT", "/v1/workflows/leave");
    publish.body("application/yaml", file(LANGUAGE, "leave.yaml")).await.is(201);
    let input = json!({"input": {"day": "2030-05-02"}});
    let leave = alice.post("/v1/workflows/leave/transactions", input).await.is(201).json();
    let id = leave["id"].as_str().unwrap();
    alice.post_empty(&format!("/v1/transactions/{id}/cancel")).await.ok();
    alice.put_data(json!({"a": 1})).await.ok();
    alice.logout().await.ok();

    let document = server.nobody().get("/asyncapi.json").await.ok().json();
    let schema = json!({
        "$ref": "#/components/schemas/Event", "components": document["components"],
    });
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    let page = admin.call("GET", "/v1/events?limit=200").header("accept", "application/json");
    let page = page.await.ok().json();
    let items = page["items"].as_array().unwrap();
    assert!(items.len() > 10, "{page}");
    for event in items {
        let wrong: Vec<_> = schema.iter_errors(event).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{event}: {wrong:?}");
    }
}
