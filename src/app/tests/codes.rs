//! Guessing: passwords and one-time codes, over sessions, transactions, addresses and restarts.

use std::sync::Arc;

use serde_json::{Map, json};

use super::*;
use crate::engine::{Counted, StartAsk, open_codes, workflow};
use crate::types::TxId;

const PAY: &str = "abide: 1
workflow: pay
start: { by: [anyone, service] }
input: { type: object, required: [to], properties: { to: { type: string } } }
first: issue
steps:
  issue:
    do: [ { challenge: { id: otp, digits: 4, expires: 5m, attempts: 3, resend: 3, binds: { to: =data.to } } } ]
    next: confirm
  confirm:
    by: [owner]
    input: { type: object, required: [code], properties: { code: { type: string, writeOnly: true } } }
    guard: [ { challenge: otp, with: =input.code } ]
    next: { end: paid }
";

async fn house() -> TestApp {
    let house = TestApp::new().await;
    let definition = Arc::new(workflow::read(PAY).unwrap().definition);
    let source = Arc::from(PAY);
    house.run(&Actor::System, Command::Publish { source, definition }).await.unwrap();
    house
}

async fn start(house: &TestApp, actor: &Actor, to: &str) -> TxId {
    let input: Map<_, _> = json!({"to": to}).as_object().unwrap().clone();
    let ask = StartAsk { workflow: "pay".parse().unwrap(), input, reference: None };
    let started = house.run(actor, Command::Start(Box::new(ask))).await.unwrap();
    let Outcome::Transaction { view, .. } = started else { panic!("one was started") };
    view.tx.id
}

fn right(house: &TestApp, tx: TxId) -> String {
    let shown = house.app.transaction(&Actor::System, tx).unwrap().tx;
    open_codes(&house.app.rules().challenge_key, &shown, house.app.now()).remove(0).1
}

fn submit(tx: TxId, code: &str) -> Command {
    let input = json!({ "code": code });
    Command::Submit { tx, step: "confirm".into(), input, if_match: None }
}

/// Gives a code that is wrong, or the right one.
async fn give(house: &TestApp, actor: &Actor, tx: TxId, is_right: bool) -> Result<(), Refusal> {
    let right = right(house, tx);
    let other = if right == "0000" { "0001" } else { "0000" };
    let code = if is_right { right.as_str() } else { other };
    house.run(actor, submit(tx, code)).await.map(drop)
}

/// Returns the counted attempts, and the time to wait, in seconds.
fn waits(refused: Result<(), Refusal>) -> (Counted, u64) {
    match refused {
        Err(Refusal::TooManyAttempts { retry_after, counted }) => {
            (counted, retry_after.seconds_up())
        }
        other => panic!("nobody waits: {other:?}"),
    }
}

fn code_of(refused: Result<(), Refusal>) -> &'static str {
    refused.unwrap_err().code()
}

/// Wrong codes of a user count over all transactions, also over a restart; during a wait nothing is
/// checked, and a right code of another transaction forgets none of them.
#[tokio::test]
async fn codes_that_fail_count_for_the_user_over_all_transactions() {
    let house = house().await;
    let alice = house.actor(&house.join("alice").await.token).await.unwrap();
    let bob = house.actor(&house.join("bob").await.token).await.unwrap();
    let first = start(&house, &alice, "shop").await;
    for _ in 0..3 {
        assert_eq!(code_of(give(&house, &alice, first, false).await), "wrong-code");
    }
    let second = start(&house, &alice, "garage").await;
    for _ in 0..2 {
        assert_eq!(code_of(give(&house, &alice, second, false).await), "wrong-code");
    }
    let before = house.app.transaction(&alice, second).unwrap();
    for is_right in [false, true] {
        assert_eq!(waits(give(&house, &alice, second, is_right).await), (Counted::Codes, 1));
    }
    let resend = Command::Resend { tx: second, challenge: "otp".into() };
    waits(house.run(&alice, resend).await.map(drop));
    let third = start(&house, &alice, "bakery").await;
    waits(give(&house, &alice, third, true).await);
    assert_eq!(house.app.transaction(&alice, second).unwrap().tx, before.tx, "nothing was counted");
    // Others do not wait.
    let other = start(&house, &bob, "garage").await;
    assert_eq!(code_of(give(&house, &bob, other, false).await), "wrong-code");
    give(&house, &bob, other, true).await.unwrap();

    house.app.close().await;
    let house = TestApp::on(Arc::clone(&house.store), rules()).await;
    waits(give(&house, &alice, third, true).await);
    house.advance(Span::from_seconds(1)).await;
    assert_eq!(code_of(give(&house, &alice, third, false).await), "wrong-code");
    assert_eq!(waits(give(&house, &alice, third, true).await), (Counted::Codes, 2));
    house.advance(Span::from_seconds(2)).await;
    give(&house, &alice, third, true).await.unwrap();
    let next = start(&house, &alice, "shop").await;
    assert_eq!(code_of(give(&house, &alice, next, false).await), "wrong-code");
    assert_eq!(waits(give(&house, &alice, next, true).await), (Counted::Codes, 4));

    // Right codes in between, in transactions of one's own, give nobody more guesses; nor does an
    // API key of a service.
    let carol = house.actor(&house.join("carol").await.token).await.unwrap();
    let (_, shop) = house.key(&["*"]).await;
    for (who, counted, free) in [(&carol, Counted::Codes, 5), (&shop, Counted::CodesOfKey, 10)] {
        let mut failed = 0;
        let refused = loop {
            assert!(failed < 20, "nobody waits");
            let guessed = start(&house, who, &format!("payee {failed}")).await;
            let refused = give(&house, who, guessed, false).await;
            if !matches!(refused, Err(Refusal::WrongCode { .. })) {
                break refused;
            }
            failed += 1;
            if failed < free {
                let own = start(&house, who, &format!("own {failed}")).await;
                give(&house, who, own, true).await.unwrap();
            }
        };
        assert_eq!((waits(refused), failed), ((counted, 1), free));
    }
    house.app.close().await;
}

/// Codes for the same payee count together, for all actors; those for others do not.
#[tokio::test]
async fn codes_that_fail_count_for_what_they_are_bound_to() {
    let house = house().await;
    let mut failed = 0;
    let refused = loop {
        assert!(failed < 100, "nobody waits");
        let seat = house.join(&format!("mule{failed}")).await;
        let mule = house.actor(&seat.token).await.unwrap();
        let tx = start(&house, &mule, "victim").await;
        match give(&house, &mule, tx, false).await {
            Err(Refusal::WrongCode { .. }) => failed += 1,
            other => {
                let tx = start(&house, &mule, "somebody else").await;
                give(&house, &mule, tx, true).await.unwrap();
                break other;
            }
        }
    };
    assert_eq!((waits(refused), failed), ((Counted::CodesFor, 1), 10));
    house.app.close().await;
}

/// Anonymous sessions cost nothing, so their wrong codes count for their address too.
#[tokio::test]
async fn codes_of_anonymous_sessions_count_for_the_session_and_the_address() {
    let house = house().await;
    let client = |host: usize| ClientInfo {
        address: Some(format!("192.0.2.{host}").into()),
        ..ClientInfo::default()
    };
    let mut failed = 0;
    let mut guess = async |host: usize, payee: usize| {
        let open = Command::OpenAnonymous { profile: None };
        let seat = LoggedIn::of(house.run(&Actor::Nobody, open).await.unwrap());
        let visitor = house.actor(&seat.token).await.unwrap();
        loop {
            assert!(failed < 100, "nobody waits");
            let tx = start(&house, &visitor, &format!("payee {payee} {failed}")).await;
            let code = right(&house, tx);
            let wrong = if code == "0000" { "0001" } else { "0000" };
            let command = submit(tx, wrong);
            match house.app.call_from(command, visitor.clone(), &client(host)).await.map(drop) {
                Err(Refusal::WrongCode { .. }) => failed += 1,
                other => return (waits(other).0, failed),
            }
        }
    };
    assert_eq!(guess(1, 0).await, (Counted::Codes, 5));
    let mut last = (Counted::Codes, 5);
    for payee in 1..20 {
        last = guess(1, payee).await;
        if last.0 != Counted::Codes {
            break;
        }
    }
    assert_eq!(last, (Counted::CodesFrom, 50));
    assert_eq!(guess(2, 99).await, (Counted::Codes, 55));
    house.app.close().await;
}

/// The login of an anonymous session does not reset its failures.
#[tokio::test]
async fn codes_that_fail_move_to_the_user_that_an_anonymous_session_becomes() {
    let house = house().await;
    house.register("alice").await;
    let open = Command::OpenAnonymous { profile: None };
    let seat = LoggedIn::of(house.run(&Actor::Nobody, open).await.unwrap());
    let visitor = house.actor(&seat.token).await.unwrap();
    for payee in 0..4 {
        let tx = start(&house, &visitor, &format!("payee {payee}")).await;
        assert_eq!(code_of(give(&house, &visitor, tx, false).await), "wrong-code");
    }
    let seat = house.login_as(&visitor, "alice", PASSWORD).await.ok().unwrap();
    let alice = house.actor(&seat.token).await.unwrap();
    let tx = start(&house, &alice, "payee 9").await;
    assert_eq!(code_of(give(&house, &alice, tx, false).await), "wrong-code");
    assert_eq!(waits(give(&house, &alice, tx, true).await), (Counted::Codes, 1));
    house.app.close().await;
}

async fn try_login(house: &TestApp, who: &str, with: &str, from: &str) -> Result<(), Refusal> {
    let command = Command::Login { username: name(who), password: password(with), profile: None };
    let client = ClientInfo { address: Some(from.into()), ..ClientInfo::default() };
    house.app.call_from(command, Actor::Nobody, &client).await.map(drop)
}

/// Failed logins do not block the password of an open session (ASVS 6.1.1), nor do guesses in the
/// session block its user's logins.
#[tokio::test]
async fn wrong_logins_do_not_keep_a_live_session_from_its_password() {
    let house = TestApp::new().await;
    let seat = house.join("alice").await;
    let from = ClientInfo { address: Some("192.0.2.1".into()), ..ClientInfo::default() };
    for n in 0..60 {
        try_login(&house, "alice", "wrong password", "192.0.2.1").await.unwrap_err();
        try_login(&house, &format!("guess{n}"), "wrong password", "192.0.2.1").await.unwrap_err();
    }
    let refused = try_login(&house, "bob", PASSWORD, "192.0.2.1").await;
    assert_eq!(waits(refused).0, Counted::LoginsFrom);
    let refused = try_login(&house, "alice", PASSWORD, "192.0.2.2").await;
    assert_eq!(waits(refused).0, Counted::Logins);

    let actor = house.actor(&seat.token).await.unwrap();
    let elevate = |with: &str| Command::Elevate { password: password(with) };
    let done = house.app.call_from(elevate(PASSWORD), actor, &from).await;
    let actor = house.actor(&LoggedIn::of(done.unwrap()).token).await.unwrap();
    let change =
        Command::ChangePassword { current: password(PASSWORD), new: password("another horse") };
    let done = house.app.call_from(change, actor, &from).await;
    let seat = LoggedIn::of(done.unwrap());

    // Guesses in it count for it alone.
    let actor = house.actor(&seat.token).await.unwrap();
    for _ in 0..5 {
        let refused = house.run(&actor, elevate("wrong password")).await.unwrap_err();
        assert_eq!(refused, Refusal::InvalidCredentials);
    }
    let refused = house.run(&actor, elevate("another horse")).await.map(drop);
    assert_eq!(waits(refused), (Counted::InSession, 1));
    house.advance(Span::from_minutes(15)).await;
    try_login(&house, "alice", "another horse", "192.0.2.2").await.unwrap();
    house.app.close().await;
}

/// People who mistype now and then behind one address do not add up, neither over time nor if each
/// of them then succeeds.
#[tokio::test]
async fn failures_from_an_address_are_forgotten_by_time_and_by_success() {
    let house = TestApp::new().await;
    house.register("alice").await;
    for day in 0..61 {
        let refused = try_login(&house, &format!("typo{day}"), "wrong", "192.0.2.1").await;
        assert_eq!(code_of(refused), "invalid-credentials", "{day}");
        house.advance(Span::from_hours(12)).await;
    }
    try_login(&house, "alice", PASSWORD, "192.0.2.1").await.unwrap();
    for _ in 0..20 {
        for _ in 0..4 {
            try_login(&house, "alice", "wrong password", "192.0.2.1").await.unwrap_err();
        }
        try_login(&house, "alice", PASSWORD, "192.0.2.1").await.unwrap();
    }
    // The owner of an account cannot use it to forget the guesses at others.
    let mut guesses = 0;
    loop {
        let victim = format!("victim{guesses}");
        match try_login(&house, &victim, "wrong", "192.0.2.1").await {
            Err(Refusal::InvalidCredentials) => guesses += 1,
            refused => break assert_eq!(waits(refused).0, Counted::LoginsFrom),
        }
        // From the failure on that makes everybody wait.
        if let Err(refusal) = try_login(&house, "alice", PASSWORD, "192.0.2.1").await {
            break assert_eq!(refusal.code(), "too-many-attempts");
        }
        assert!(guesses < 100, "nobody waits");
    }
    assert!((45..=50).contains(&guesses), "{guesses}");
    house.app.close().await;
}
