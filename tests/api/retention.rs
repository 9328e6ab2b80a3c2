//! A log that was cut: whoever asks for what is kept no more is told so, never skips it unknowingly.

use std::time::{Duration, Instant};

use abide::store::durable::{Durable, Options, RoomOptions};
use abide::store::{Batch, Store as _, StoreError, Write};
use abide::types::Revision;
use serde_json::json;

use crate::client::Role;
use crate::live::{Stream, accounts, publish, start, step};
use crate::server::{Server, dev};
use crate::socket::Socket;
use crate::wait::PATIENCE;

const KIB: u64 = 1024;

/// Writes what the server never reads until the journal no longer reaches back to `until`, with a
/// store that keeps little of it.
pub(crate) fn cut(server: &Server, until: Revision) {
    let options = Options {
        segment_bytes: 512 * KIB,
        apply_interval: Duration::from_millis(10),
        apply_after_bytes: 64 << 10,
        checkpoint_after_bytes: 128 * KIB,
        base_after_bytes: 256 * KIB,
        journal_retain_bytes: 0,
        room: RoomOptions { ordinary_bytes: 24 << 20, index_bytes: 24 << 20, ballast_bytes: 0 },
        ..Options::new(server.data_dir())
    };
    let store = Durable::open(options).unwrap();
    let deadline = Instant::now() + PATIENCE;
    // One key, so that what is kept is small; under a prefix that no record has.
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

/// Streams, sockets and pages say `resync` once and go on with what is kept; a history says that
/// it is not whole; what was and what would have to be proven is gone.
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

    // Whoever goes on behind it is not told again.
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
