//! 16.4.2 The chain over all commits, and proofs of one transaction's history, checked offline.

use std::io::Write as _;
use std::process::Stdio;

use abide::store::chain::commitment;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::client::Role;
use crate::live::{publish, start, step};
use crate::server::{Server, dev, program};

async fn head(admin: &Role) -> Value {
    admin.get("/v1/admin/chain").await.ok().json()
}

fn noted(head: &Value) -> String {
    format!("{}:{}", head["revision"], head["link"].as_str().unwrap())
}

async fn proof(admin: &Role, id: &str, head: &Value) -> Vec<Value> {
    let path = format!("/v1/admin/chain/transactions/{id}?head={}", head["revision"]);
    let text = admin.get(&path).await.ok().text();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns the exit code of `verify` for a proof, and its output.
fn verify(proof: &[Value], head: &str) -> (Option<i32>, String) {
    let mut verify = program(["verify", "--proof", "-", "--head", head]);
    let pipes = verify.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for line in proof {
        // The verifier may have ended before it has read all.
        writeln!(input, "{line}").ok();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

struct Told {
    server: Server,
    admin: Role,
    id: String,
    /// Recorded when the transaction had ended, before further commits.
    head: Value,
    proof: Vec<Value>,
}

async fn told() -> Told {
    let mut server = dev();
    let admin = server.admin().await;
    let (alice, olga) = (server.user("alice").await, server.user("olga").await);
    publish(&admin).await;
    let officer = json!({"roles": ["officer"]});
    admin.call("PATCH", "/v1/users/olga").json(&officer).await.ok();
    let id = start(&alice).await;
    start(&olga).await;
    alice.post(&step(&id, "ask"), json!({"note": "hello"})).await.ok();
    for n in 0..3 {
        alice.put_data(json!({"n": n})).await.ok();
    }
    olga.post_empty(&step(&id, "look")).await.ok();
    olga.put_data(json!({"n": 1})).await.ok();
    let head = head(&admin).await;
    start(&alice).await;
    server.crash_and_restart();
    let proof = proof(&admin, &id, &head).await;
    Told { server, admin, id, head, proof }
}

/// Returns the positions of the lines that are commits of the transaction.
fn commits(proof: &[Value]) -> Vec<usize> {
    (0..proof.len()).filter(|line| proof[*line].get("commit").is_some()).collect()
}

/// The same with a commit shown as if it were another's; with all links made to fit.
fn hide(proof: &[Value], line: usize) -> Vec<Value> {
    let commit = &proof[line]["commit"];
    let bytes = |name: &str| BASE64.decode(commit[name].as_str().unwrap()).unwrap();
    let salt: [u8; 16] = bytes("salt").try_into().unwrap();
    let mut other = commit["at_ms"].as_u64().unwrap().to_le_bytes().to_vec();
    other.extend_from_slice(&commitment(&salt, &bytes("body")));
    let others = json!({
        "revision": commit["revision"], "commits": BASE64.encode(other), "link": commit["link"],
    });
    let mut proof = proof.to_vec();
    proof[line] = json!({"others": others});
    proof
}

/// A history is proven against a head that was recorded at the time, also after kill -9, and holds
/// nothing of other commits but hashes.
#[tokio::test]
async fn a_proof_leads_to_the_head_that_was_noted() {
    let Told { server, admin, id, head, proof } = told().await;
    let (code, said) = verify(&proof, &noted(&head));
    assert_eq!(code, Some(0), "{said}");
    for words in ["abide.transaction.started", "user alice secret.noted", "user olga", "in order"] {
        assert!(said.contains(words), "{words} is missing: {said}");
    }
    assert_eq!(commits(&proof).len(), 3);
    assert!(proof.iter().any(|line| line.get("others").is_some()));
    // The head that the API reports agrees with the files on the disk.
    let now = self::head(&admin).await;
    assert!(now["revision"].as_u64() > head["revision"].as_u64());
    assert!(now["time"].as_str().unwrap().ends_with('Z'));
    let mut server = server;
    assert!(server.terminate().success());
    let output = program(["verify"]).arg(server.data_dir()).output().unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    server.start_again();
    let text = admin.get(&format!("/v1/admin/chain/transactions/{id}")).await.ok().text();
    let latest: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let latest = &latest["proof"]["head"];
    let line =
        format!("revision {}, chain {}", latest["revision"], latest["link"].as_str().unwrap());
    // The start may have committed something since.
    assert!(report.contains(&line) || latest["revision"].as_u64() > now["revision"].as_u64());
}

/// Every edit of a proof is refused, and the first location that does not fit is named.
#[tokio::test]
async fn what_does_not_fit_is_refused_where_it_is() {
    let Told { server: _server, head, proof, .. } = told().await;
    let head = noted(&head);
    let own = commits(&proof);
    let refused = |proof: &[Value], head: &str, words: &str| {
        let (code, said) = verify(proof, head);
        assert_eq!(code, Some(1), "{words}: {said}");
        assert!(said.contains(words), "{words} is missing: {said}");
    };

    // An entry with other words in it.
    let mut edited = proof.clone();
    let body = BASE64.decode(edited[own[1]]["commit"]["body"].as_str().unwrap()).unwrap();
    let at = body.windows(5).position(|bytes| bytes == b"hello").unwrap();
    let mut other = body.clone();
    other[at] = b'j';
    edited[own[1]]["commit"]["body"] = json!(BASE64.encode(&other));
    let place = format!("line {}: revision {}", own[1] + 1, edited[own[1]]["commit"]["revision"]);
    refused(&edited, &head, &place);

    // At another time, by a made-up link, and with the link made to fit.
    let mut later = proof.clone();
    let at_ms = later[own[2]]["commit"]["at_ms"].as_u64().unwrap();
    later[own[2]]["commit"]["at_ms"] = json!(at_ms + 1);
    refused(&later, &head, &format!("line {}", own[2] + 1));
    let (_, said) = verify(&later, &head);
    let fits = said.split("comes to ").nth(1).unwrap()[..64].to_owned();
    later[own[2]]["commit"]["link"] = json!(fits);
    refused(&later, &head, &format!("line {}", own[2] + 2));

    // One left out, one hidden among the others', and the same for the first.
    let mut without = proof.clone();
    without.remove(own[1]);
    refused(&without, &head, "comes where it is due");
    refused(&hide(&proof, own[1]), &head, "a commit of the transaction was left out");
    refused(&hide(&proof, own[0]), &head, "a commit of the transaction was left out");

    // It ends early, or continues.
    refused(&proof[..proof.len() - 1], &head, "the head that was noted is");
    let mut longer = proof.clone();
    longer.push(proof[own[2]].clone());
    refused(&longer, &head, "line");

    // Another head: of another history, and of another revision; also when the proof agrees.
    let (revision, link) = head.split_once(':').unwrap();
    let turned: String = link.chars().rev().collect();
    refused(&proof, &format!("{revision}:{turned}"), "the head that was noted says");
    let mut agreeing = proof.clone();
    agreeing[0]["proof"]["head"]["link"] = json!(turned);
    refused(&agreeing, &format!("{revision}:{turned}"), "is not what was there");
    let before = revision.parse::<u64>().unwrap() - 1;
    refused(&proof, &format!("{before}:{link}"), &format!("?head={before}"));
    let mut agreeing = proof.clone();
    agreeing[0]["proof"]["head"]["revision"] = json!(before);
    refused(&agreeing, &format!("{before}:{link}"), "line");

    // A proof of another transaction; no proof at all.
    let mut other = proof.clone();
    other[0]["proof"]["transaction"] = json!("tx_00000000000000000000000001");
    refused(&other, &head, "does not concern the transaction");
    refused(&[], &head, "empty");
    refused(&[json!({"hello": "world"})], &head, "line 1");
    assert_eq!(verify(&proof, "nonsense").0, Some(2));
}

/// A proof that is impossible is refused with the reason.
#[tokio::test]
async fn a_head_that_was_not_yet_and_a_transaction_that_is_none_are_told() {
    let Told { server: _server, admin, id, head, proof } = told().await;
    let path = format!("/v1/admin/chain/transactions/{id}");
    admin.get(&format!("{path}?head=99999999")).await.problem(410, "gone");
    let first = proof[0]["proof"]["after"]["revision"].as_u64().unwrap();
    admin.get(&format!("{path}?head={first}")).await.problem(404, "not-found");
    for wrong in ["0", "x", "-1", "99999999999999999999999"] {
        admin.get(&format!("{path}?head={wrong}")).await.problem(400, "invalid-parameter");
    }
    let none = "/v1/admin/chain/transactions/tx_00000000000000000000000001";
    admin.get(none).await.problem(404, "not-found");
    assert!(head["revision"].as_u64() > Some(first));
}
