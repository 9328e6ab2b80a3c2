//! Calls as the application makes them, when the server itself fails.

use std::sync::Arc;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::engine::{CallState, Record, RecordKey, StartAsk, Tx, TxStatus, workflow};
use crate::outbound::{EgressPolicy, HttpClient};
use crate::records::read_record;
use crate::store::tripping::Tripping;
use crate::types::TxId;

/// Longest wait for something that must come.
const PATIENCE: Duration = Duration::from_mins(1);

async fn answer(mut stream: TcpStream, with: &str) {
    let mut asked = Vec::new();
    while !asked.windows(4).any(|four| four == b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut asked).await.unwrap(), 0);
    }
    let answer = format!("HTTP/1.1 {with}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
}

/// A service that answers everything with 200, and its requests.
async fn service() -> (u16, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, asked) = mpsc::channel(100);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            answer(stream, "200 OK").await;
            tell.send(()).await.unwrap();
        }
    });
    (port, asked)
}

fn asks(at: &str) -> String {
    format!(
        "abide: 1\nworkflow: asks\nfirst: ask\nsteps:\n  ask:\n    call: {{ url: \
         'http://{at}/', retry: {{ attempts: 3, first: 1ms, max: 1ms }} }}\n    next: {{ end: asked \
         }}\n"
    )
}

async fn publish(house: &TestApp, document: &str) {
    let definition = Arc::new(workflow::read(document).unwrap().definition);
    let source = Arc::from(document);
    house.run(&Actor::System, Command::Publish { source, definition }).await.unwrap();
}

async fn start(house: &TestApp, actor: &Actor, workflow: &str) -> TxId {
    let workflow = workflow.parse().unwrap();
    let ask = StartAsk { workflow, input: serde_json::Map::new(), reference: None };
    let started = house.run(actor, Command::Start(Box::new(ask))).await.unwrap();
    let Outcome::Transaction { view, .. } = started else { panic!("one was started") };
    view.tx.id
}

async fn ended(house: &TestApp, id: TxId) -> Arc<Tx> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let tx = house.app.transaction(&Actor::System, id).unwrap().tx;
        if tx.status.is_ended() {
            return tx;
        }
        assert!(tokio::time::Instant::now() < deadline, "it hangs: {:?}", tx.calls);
        tokio::task::yield_now().await;
    }
}

/// An attempt that panics has an unknown result: the call is tried again, and its slot is free for
/// another one, where there is only one.
#[tokio::test]
async fn an_attempt_that_panics_is_unknown_and_gives_its_place_back() {
    let house = TestApp::new().await;
    let alice = house.join("alice").await;
    let alice = house.actor(&alice.token).await.unwrap();
    let (port, _requests) = service().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let client = HttpClient::new(EgressPolicy::parse("api.test,127.0.0.0/8").unwrap()).unwrap();
    let client = client.with_names(move |_| {
        assert!(counted.fetch_add(1, Ordering::SeqCst) >= 2, "a fault in an attempt");
        vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]
    });
    let settings = CallSettings { per_destination_max: 1, ..CallSettings::default() };
    let calls = house.app.start_calls(client, settings);
    publish(&house, &asks(&format!("api.test:{port}"))).await;
    let (one, other) = (start(&house, &alice, "asks").await, start(&house, &alice, "asks").await);
    let ends = [ended(&house, one).await, ended(&house, other).await];
    assert_eq!(ends.each_ref().map(|tx| tx.status), [TxStatus::Completed; 2]);
    // Two panicked, and each was called once where the test could see it.
    let attempts: u32 = ends.iter().flat_map(|tx| &tx.calls).map(|call| call.attempts).sum();
    assert_eq!((attempts, asked.load(Ordering::SeqCst)), (4, 4));
    assert!(ends.iter().any(|tx| tx.calls[0].unknown), "nobody knows what came of it");
    assert_eq!((house.app.call_figures().lost, house.app.call_figures().succeeded), (2, 2));
    calls.stop().await;
    house.app.close().await;
}

/// A service receives nothing before the call is durable: else a crash could leave an effect that
/// nobody would undo.
#[tokio::test]
async fn nothing_is_sent_before_it_is_durable_that_it_is() {
    let house = TestApp::new().await;
    let alice = house.join("alice").await;
    let alice = house.actor(&alice.token).await.unwrap();
    let (port, mut asked) = service().await;
    publish(&house, &asks(&format!("127.0.0.1:{port}"))).await;
    let id = start(&house, &alice, "asks").await;
    house.store.hold();
    let client = HttpClient::new(EgressPolicy::default().and_loopback()).unwrap();
    let calls = house.app.start_calls(client, CallSettings::default());
    let is_out = || match read_record(&*house.store, View::Staged, &RecordKey::Tx(id)).unwrap() {
        Some((record, _)) => match &*record {
            Record::Tx(tx) => matches!(tx.calls[0].state, CallState::InFlight(_)),
            _ => false,
        },
        None => false,
    };
    while !is_out() {
        tokio::task::yield_now().await;
    }
    let early = tokio::time::timeout(Duration::from_millis(300), asked.recv()).await;
    assert!(early.is_err(), "it was asked before that was durable");
    house.store.release();
    asked.recv().await.unwrap();
    assert_eq!(ended(&house, id).await.status, TxStatus::Completed);
    calls.stop().await;
    house.app.close().await;
}

/// A destination that fails several times gets one attempt after a while, and all calls only when
/// it has answered.
#[tokio::test]
async fn one_attempt_tries_whether_a_destination_answers_again() {
    let house = TestApp::new().await;
    let alice = house.join("alice").await;
    let alice = house.actor(&alice.token).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, mut held) = mpsc::channel(100);
    let holds = Arc::new(AtomicUsize::new(0));
    let well = Arc::clone(&holds);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if well.load(Ordering::SeqCst) == 1 {
                tell.send(stream).await.unwrap();
            } else {
                let word = if well.load(Ordering::SeqCst) == 0 { "500 No" } else { "200 OK" };
                tokio::spawn(answer(stream, word));
            }
        }
    });
    let patient = asks(&format!("127.0.0.1:{port}")).replace("attempts: 3", "attempts: 100");
    publish(&house, &patient).await;
    let mut ids = Vec::new();
    for _ in 0..8 {
        ids.push(start(&house, &alice, "asks").await);
    }
    let client = HttpClient::new(EgressPolicy::default().and_loopback()).unwrap();
    let calls = house.app.start_calls(client, CallSettings::default());
    let rests = || {
        let figures = house.app.call_figures();
        figures.breakers_open == 1 && figures.in_flight == 0
    };
    while !rests() {
        tokio::task::yield_now().await;
    }
    holds.store(1, Ordering::SeqCst);
    let first = tokio::time::timeout(PATIENCE, held.recv()).await;
    let first = first.expect("it is asked again").unwrap();
    let second = tokio::time::timeout(Duration::from_millis(300), held.recv()).await;
    assert!(second.is_err(), "two try at once whether it answers");
    holds.store(2, Ordering::SeqCst);
    answer(first, "200 OK").await;
    for id in ids {
        assert_eq!(ended(&house, id).await.status, TxStatus::Completed);
    }
    assert_eq!(house.app.call_figures().breakers_open, 0);
    calls.stop().await;
    house.app.close().await;
}

/// A panic in the worker of calls ends nothing: the due calls are in the store, and the worker
/// restarts.
#[tokio::test]
async fn calls_are_begun_anew_after_a_panic() {
    let store = Arc::new(Tripping::new(Key::CALLS_DUE, 2));
    let app = opened(store.clone(), rules(), None).await.app;
    let house = TestApp { app, store: Arc::new(Memory::new()) };
    let alice = house.join("alice").await;
    let alice = house.actor(&alice.token).await.unwrap();
    let (port, _requests) = service().await;
    let client = HttpClient::new(EgressPolicy::default().and_loopback()).unwrap();
    let calls = house.app.start_calls(client, CallSettings::default());
    publish(&house, &asks(&format!("127.0.0.1:{port}"))).await;
    let id = start(&house, &alice, "asks").await;
    assert_eq!(ended(&house, id).await.status, TxStatus::Completed);
    assert_eq!(store.left(), 0, "it panicked");
    calls.stop().await;
    house.app.close().await;
}

/// However many calls wait for a destination that does not answer: those for another one are sent,
/// and none of the first is left out when it answers again.
#[tokio::test]
async fn what_waits_for_one_destination_takes_no_place_of_others() {
    let house = TestApp::new().await;
    let alice = house.join("alice").await;
    let alice = house.actor(&alice.token).await.unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, _requests) = service().await;
    let settings = CallSettings { per_destination_max: 1, waiting_max: 4, ..Default::default() };
    let client = HttpClient::new(EgressPolicy::default().and_loopback()).unwrap();
    publish(&house, &asks(&silent.local_addr().unwrap().to_string())).await;
    let mut held_up = Vec::new();
    for _ in 0..20 {
        held_up.push(start(&house, &alice, "asks").await);
    }
    publish(&house, &asks(&format!("127.0.0.1:{port}"))).await;
    let other = start(&house, &alice, "asks").await;
    let calls = house.app.start_calls(client, settings);
    assert_eq!(ended(&house, other).await.status, TxStatus::Completed);
    tokio::spawn(async move {
        while let Ok((stream, _)) = silent.accept().await {
            answer(stream, "200 OK").await;
        }
    });
    for id in held_up {
        assert_eq!(ended(&house, id).await.status, TxStatus::Completed);
    }
    calls.stop().await;
    house.app.close().await;
}

/// If slots are scarce, destinations take turns: one with many calls, however quick its answers,
/// does not keep the others waiting.
#[tokio::test]
async fn destinations_take_turns() {
    let house = TestApp::new().await;
    let alice = house.join("alice").await;
    let alice = house.actor(&alice.token).await.unwrap();
    let (tell, mut asked) = mpsc::channel(100);
    let mut places = Vec::new();
    for _ in 0..2 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap().to_string();
        places.push(place.clone());
        let tell = tell.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tell.send(place.clone()).await.unwrap();
                answer(stream, "200 OK").await;
            }
        });
    }
    // The busy one is the first in the order of names, too.
    places.sort();
    for (place, calls) in places.iter().zip([5, 1]) {
        publish(&house, &asks(place)).await;
        for _ in 0..calls {
            start(&house, &alice, "asks").await;
        }
    }
    let settings = CallSettings { in_flight_max: 1, ..CallSettings::default() };
    let client = HttpClient::new(EgressPolicy::default().and_loopback()).unwrap();
    let calls = house.app.start_calls(client, settings);
    assert_eq!(asked.recv().await.as_ref(), Some(&places[0]));
    assert_eq!(asked.recv().await.as_ref(), Some(&places[1]), "its turn");
    calls.stop().await;
    house.app.close().await;
}

/// The rate of a destination is kept also if each call is over before the next one is there.
#[tokio::test]
async fn a_rate_is_kept_while_nothing_waits() {
    let house = TestApp::new().await;
    let alice = house.join("alice").await;
    let alice = house.actor(&alice.token).await.unwrap();
    let (port, mut asked) = service().await;
    publish(&house, &asks(&format!("127.0.0.1:{port}"))).await;
    let settings = CallSettings { per_second: Some(4), ..CallSettings::default() };
    let client = HttpClient::new(EgressPolicy::default().and_loopback()).unwrap();
    let calls = house.app.start_calls(client, settings);
    let mut times = Vec::new();
    for _ in 0..3 {
        let id = start(&house, &alice, "asks").await;
        asked.recv().await.unwrap();
        times.push(tokio::time::Instant::now());
        assert_eq!(ended(&house, id).await.status, TxStatus::Completed);
        while house.app.call_figures().in_flight > 0 {
            tokio::task::yield_now().await;
        }
    }
    // Half a second if each call is as late after its turn as the others.
    let took = times[2] - times[0];
    assert!(took > Duration::from_millis(300), "three within {took:?}");
    calls.stop().await;
    house.app.close().await;
}

/// The calls that wait in the store for one destination are read once, however small the parts are
/// in which they are taken.
#[tokio::test]
async fn what_waits_in_the_store_is_read_once() {
    const COUNT: usize = 300;
    let store = Arc::new(Tripping::new(b"", 0));
    let app = opened(store.clone(), rules(), None).await.app;
    let house = TestApp { app, store: Arc::new(Memory::new()) };
    let alice = house.join("alice").await;
    let alice = house.actor(&alice.token).await.unwrap();
    let (port, mut asked) = service().await;
    publish(&house, &asks(&format!("127.0.0.1:{port}"))).await;
    for _ in 0..COUNT {
        start(&house, &alice, "asks").await;
    }
    let before = store.gets();
    let client = HttpClient::new(EgressPolicy::default().and_loopback()).unwrap();
    let settings = CallSettings { waiting_max: 20, ..CallSettings::default() };
    let calls = house.app.start_calls(client, settings);
    for _ in 0..COUNT {
        tokio::time::timeout(PATIENCE, asked.recv()).await.expect("all are asked").unwrap();
    }
    let gets = store.gets() - before;
    assert!(gets < 10 * COUNT, "{gets} for {COUNT}");
    calls.stop().await;
    house.app.close().await;
}
