//! A log that was cut: a reader of events that are no longer kept gets `resync`, and never skips
//! them unknowingly.

use std::time::{Duration, Instant};

use abide::store::durable::{DiskSpaceOptions, Durable, Options};
use abide::store::{Batch, Store as _, StoreError, Write};
use abide::types::Revision;
use serde_json::json;

use crate::client::Role;
use crate::live::{Stream, accounts, publish, start, step};
use crate::server::{Server, dev};
use crate::socket::Socket;
use crate::wait::PATIENCE;

const KIB: u64 = 1024;

/// Writes rows that the server never reads until the journal no longer reaches back to `until`,
/// with a store that keeps little of it.
pub(crate) fn cut(server: &Server, until: Revision) {
    let options = Options {
        segment_bytes: 512 * KIB,
        apply_interval: Duration::from_millis(10),
        apply_after_bytes: 64 << 10,
        checkpoint_after_bytes: 128 * KIB,
        base_after_bytes: 256 * KIB,
        journal_retain_bytes: 0,
        disk_space: DiskSpaceOptions {
            ordinary_bytes: 24 << 20,
            index_bytes: 24 << 20,
            ballast_bytes: 0,
        },
        ..Options::new(server.data_dir())
    };
    let store = Durable::open(options).unwrap();
    let deadline = Instant::now() + PATIENCE;
    // One key, so that little is kept; under a prefix that no record has.
    while !matches!(store.read_log(until, 1), Err(StoreError::Gone { .. })) {
        assert!(Instant::now() < deadline, "the journal is not cut");
        let write = Write::put(&b"\xffnothing"[..], vec![7; 60_000]);
        let batch = Batch { writes: vec![write], ..Batch::default() };
        store.commit(batch).unwrap().wait().unwrap();
    }
    store.close().unwrap();
}

struct Cut {
    server: Server,
    admin: Role,
    alice: Role,
    id: String,
    /// An event of it that is kept no more.
    old: String,
    /// The last commit that is kept no more.
    at: u64,
}

async fn server_with_a_cut_log() -> Cut {
    let mut server = dev();
    let admin = server.admin().await;
    let alice = server.user("alice").await;
    publish(&admin).await;
    accounts(&admin).await;
    let pay = json!({"from": "world", "to": "alice:main", "amount": "10.00"});
    admin.post("/v1/transfers", pay.clone()).await.is(201);
    let id = start(&alice).await;
    let page = alice.get("/v1/events?limit=1").header("accept", "application/json").await.ok();
    let old = page.json()["items"][0]["id"].as_str().unwrap().to_owned();
    let shown = alice.get(&format!("/v1/transactions/{id}")).await.ok().json();
    let at = shown["revision"].as_u64().unwrap();
    assert!(server.terminate().success());
    cut(&server, Revision::new(at));
    server.start_again();
    alice.post(&step(&id, "ask"), json!({"note": "after"})).await.ok();
    admin.post("/v1/transfers", pay).await.is(201);
    Cut { server, admin, alice, id, old, at }
}

/// Streams, sockets and pages say `resync` once and continue with the events that are kept; a
/// history says that it is not complete; past states and proofs are gone.
#[tokio::test]
async fn what_the_log_keeps_no_more_is_told() {
    let Cut { server, admin, alice, id, old, at } = server_with_a_cut_log().await;

    let mut stream = Stream::open(&server, &alice, "/v1/events", Some(&old)).await;
    let resync = loop {
        let block = stream.block().await.unwrap();
        if block.data.is_some() {
            break block;
        }
    };
    assert_eq!(resync.event, "resync", "{resync:?}");
    assert!(resync.id > old);
    assert_eq!(stream.of("secret.noted").await["data"]["data"]["note"], "after");

    // A reader that continues behind it gets no second `resync`.
    let mut again = Stream::open(&server, &alice, "/v1/events", Some(&resync.id)).await;
    again.of("secret.noted").await;

    let mut own =
        Stream::open(&server, &alice, &format!("/v1/transactions/{id}/events"), None).await;
    let first = own.block().await.unwrap();
    assert_eq!(first.event, "resync", "{first:?}");
    own.of("secret.noted").await;

    let mut socket = Socket::open(&server, &alice).await;
    socket.ask("events.subscribe", json!({"after": old})).await;
    let note = socket.note().await;
    assert_eq!(note["method"], "resync", "{note}");
    while socket.event().await["type"] != "secret.noted" {}

    let path = format!("/v1/events?after={old}");
    let page = alice.get(&path).header("accept", "application/json").await.ok().json();
    assert_eq!(page["resync"], true, "{page}");
    assert!(page["items"].to_string().contains("secret.noted"), "{page}");
    let path = format!("/v1/events?after={}", resync.id);
    let page = alice.get(&path).header("accept", "application/json").await.ok().json();
    assert_eq!(page["resync"], false, "{page}");

    let history = alice.get(&format!("/v1/transactions/{id}/history")).await.ok().json();
    assert_eq!(history["complete"], false);
    assert_eq!(history["items"][0]["data"]["set"]["note"], "after", "{history}");
    for path in [format!("/v1/transactions/{id}"), "/v1/accounts/alice:main".to_owned()] {
        alice.get(&format!("{path}?as_of={at}")).await.problem(410, "gone");
    }
    admin.get(&format!("/v1/ledger/check?as_of={at}")).await.problem(410, "gone");
    let proof = format!("/v1/admin/chain/transactions/{id}");
    admin.get(&proof).await.problem(410, "gone");
    admin.get(&format!("{proof}?head={at}")).await.problem(410, "gone");
    admin.get("/v1/admin/chain").await.ok();
}

/// Everything in a directory, in a new place.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The newest event that a role may see.
async fn newest(role: &Role) -> String {
    let page = role.get("/v1/events?limit=200").header("accept", "application/json").await.ok();
    page.json()["items"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned()
}

/// Reads the events after an id in every way. Returns whether all say `resync`.
async fn is_lost(server: &Server, role: &Role, tx: &str, id: &str) -> bool {
    let path = format!("/v1/events?after={id}");
    let page = role.get(&path).header("accept", "application/json").await.ok().json();
    let lost = page["resync"] == true;
    if lost {
        // And once only.
        let path = format!("/v1/events?after={}", page["next_after"].as_str().unwrap());
        let page = role.get(&path).header("accept", "application/json").await.ok().json();
        assert_eq!(page["resync"], false, "{page}");
    }
    let mut stream = Stream::open(server, role, "/v1/events", Some(id)).await;
    let mut socket = Socket::open(server, role).await;
    socket.ask("events.subscribe", json!({"after": id})).await;
    let path = format!("/v1/transactions/{tx}/events?after={id}");
    let own = role.get(&path).header("accept", "application/json").await.ok().json();
    assert_eq!(own["resync"], lost, "{own}");
    start(role).await;
    // Without `resync`, the first that comes is an event.
    let first = loop {
        let block = stream.block().await.unwrap();
        if block.data.is_some() {
            break block;
        }
    };
    assert_eq!(first.event == "resync", lost, "{first:?}");
    let note = socket.note().await;
    assert_eq!(note["method"] == "resync", lost, "{note}");
    lost
}

/// The server distinguishes an id of another store, of the future, or of this store before a copy
/// of it was restored, from one of this log; after it nothing is passed over in silence.
#[tokio::test]
async fn event_id_that_this_log_never_gave_out_is_answered_with_resync() {
    let (mut server, other) = (dev(), dev());
    let (mut alices, mut ids) = (Vec::new(), Vec::new());
    for server in [&server, &other] {
        let admin = server.admin().await;
        publish(&admin).await;
        let alice = server.user("alice").await;
        ids.push(start(&alice).await);
        alices.push(alice);
    }
    let (alice, id) = (&alices[0], &ids[0]);
    let known = newest(alice).await;
    assert!(!is_lost(&server, alice, id, &known).await);
    let foreign = newest(&alices[1]).await;
    assert!(is_lost(&server, alice, id, &foreign).await, "another store's");
    let future = format!("{:016x}{}", 1_u64 << 40, &known[16..]);
    assert!(is_lost(&server, alice, id, &future).await, "of the future");
    assert!(is_lost(&server, alice, id, &known[..20]).await, "without the log's mark");

    assert!(server.terminate().success());
    let (data, backup) = (server.data_dir(), server.data_dir().with_extension("backup"));
    copy(&data, &backup);
    server.start_again();
    let alice = server.again("alice").await;
    start(&alice).await;
    let before = newest(&alice).await;
    assert!(server.terminate().success());
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&backup, &data).unwrap();
    server.start_again();
    let alice = server.again("alice").await;
    for _ in 0..5 {
        start(&alice).await;
    }
    assert!(newest(&alice).await > before, "the restored log is past it");
    assert!(is_lost(&server, &alice, id, &before).await, "from before the copy was put back");
    assert!(!is_lost(&server, &alice, id, &known).await, "from before the copy was made");
}
