//! Passwords: rules, hashing, back-off, answers that reveal nothing.

use serde_json::{Value, json};

use crate::client::{Answer, password_of};
use crate::server::{Options, Server, dev};

fn registration(username: &str, password: &str) -> Value {
    json!({"username": username, "password": password})
}

async fn try_login(server: &Server, username: &str, password: &str) -> Answer {
    server.nobody().post("/v1/sessions", registration(username, password)).await
}

/// 6.2.1, 6.2.9, 6.2.5: from 8 (with `--dev`) to 128 characters of any kind, counted as
/// characters.
#[tokio::test]
async fn passwords_of_any_characters_are_taken_within_their_length() {
    let server = dev();
    let nobody = server.nobody();
    let good = [
        "zq9x7w2k".to_owned(),
        "        spaces at both ends        ".to_owned(),
        "aaaaaaaabbbbbbbbcccccccc".to_owned(),
        "пароль, который длинный".to_owned(),
        "\u{1F511}".repeat(128),
        "nul \0 and \n and \u{1b} in it".to_owned(),
        "k".repeat(127) + "!",
    ];
    for (n, password) in good.iter().enumerate() {
        let name = format!("user{n}");
        nobody.post("/v1/users", registration(&name, password)).await.is(201);
        server.login(&name, password).await;
    }
    for bad in ["", "1234567", &"\u{1F511}".repeat(7), &"x".repeat(129), &"x".repeat(100_000)] {
        let answer = nobody.post("/v1/users", registration("mallory", bad)).await;
        answer.problem(422, "invalid-input").points_at("/password");
    }
}

/// 6.2.1: the default minimum is 12 characters, for the administrator's users as well.
#[tokio::test]
async fn a_deployment_wants_twelve_characters() {
    let server = Options::production().start();
    let admin = server.admin().await;
    let answer = admin.post("/v1/users", registration("bob", "zq9x7w2kfp1")).await;
    answer.problem(422, "invalid-input").points_at("/password");
    admin.post("/v1/users", registration("bob", "zq9x7w2kfp1v")).await.is(201);
}

/// 6.2.9: no truncation, also beyond the 72 bytes at which bcrypt stops.
#[tokio::test]
async fn passwords_that_differ_at_the_end_differ() {
    let server = dev();
    let start = "The same hundred characters, less the last one. ".repeat(2) + "xyz";
    let (one, other) = (format!("{start}1"), format!("{start}2"));
    assert_eq!(one.len(), 100);
    server.nobody().post("/v1/users", registration("alice", &one)).await.is(201);
    try_login(&server, "alice", &other).await.problem(401, "invalid-credentials");
    try_login(&server, "alice", &start).await.problem(401, "invalid-credentials");
    try_login(&server, "alice", &one.to_uppercase()).await.problem(401, "invalid-credentials");
    try_login(&server, "alice", &format!("{one} ")).await.problem(401, "invalid-credentials");
    server.login("alice", &one).await;
}

/// 6.2.4: common passwords are refused, in any case of their letters.
#[tokio::test]
async fn common_passwords_are_refused() {
    let server = dev();
    let common = [
        "password1",
        "Password1",
        "12345678",
        "123456789",
        "qwertyuiop",
        "iloveyou",
        "football",
        "baseball1",
    ];
    let mut refused = 0;
    for password in common {
        let answer = server.nobody().post("/v1/users", registration("mallory", password)).await;
        answer.problem(422, "invalid-input").points_at("/password");
        refused += 1;
    }
    assert_eq!(refused, common.len());
    // Also when a password is changed.
    let alice = server.user("alice").await;
    let body = json!({"current": password_of("alice"), "new": "1234567890"});
    alice.put("/v1/users/me/password", body).await.problem(422, "invalid-input").points_at("/new");
    assert!(alice.is_alive().await);
}

/// 6.2.3, 7.2.4, 7.4.3: a change needs the current password, gives this session a new token and
/// ends all others.
#[tokio::test]
async fn a_new_password_needs_the_current_one_and_ends_other_sessions() {
    let server = dev();
    let alice = server.user("alice").await;
    let other = server.again("alice").await;
    let path = "/v1/users/me/password";
    let new = "an entirely different one";
    alice.put(path, json!({"new": new})).await.is(422);
    let wrong = json!({"current": "not the current one", "new": new});
    alice.put(path, wrong).await.problem(401, "invalid-credentials");
    assert!(alice.is_alive().await && other.is_alive().await);

    let body = json!({"current": password_of("alice"), "new": new});
    let answer = alice.put(path, body).await.ok();
    assert_eq!(answer.header("cache-control"), "no-store");
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    alice.is_dead().await;
    other.is_dead().await;
    let alice = alice.with_token(&token);
    assert_eq!(alice.session().await.is(200).json()["user"], "alice");
    try_login(&server, "alice", &password_of("alice")).await.problem(401, "invalid-credentials");
    server.login("alice", new).await;
}

/// 6.3.8: unknown, wrong and disabled are one answer: status, headers and body.
#[tokio::test]
async fn a_refused_login_does_not_tell_why() {
    let server = dev();
    server.user("alice").await;
    server.user("disabled").await;
    server.user("deleted").await;
    let admin = server.admin().await;
    admin.patch("/v1/users/disabled", json!({"disabled": true})).await.ok();
    admin.delete("/v1/users/deleted").await.is(204);
    let shape = |answer: Answer| {
        let answer = answer.problem(401, "invalid-credentials");
        let mut headers: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
        headers.sort();
        let mut body = answer.json();
        body["instance"] = json!("");
        (headers, answer.header("content-length"), body)
    };
    let wrong = shape(try_login(&server, "alice", "a wrong password").await);
    for name in ["unknown", "disabled", "deleted"] {
        for password in ["a wrong password".to_owned(), password_of(name)] {
            assert_eq!(shape(try_login(&server, name, &password).await), wrong, "{name}");
        }
    }
}

/// 6.3.8: and the same hash work is done, measured as the processor time that the server takes,
/// which other work of the machine cannot blur.
#[tokio::test]
async fn a_login_for_an_unknown_user_costs_the_same_work() {
    let server = dev();
    for n in 0..10 {
        server.user(&format!("known{n}")).await;
    }
    // In ticks of 10 ms; fields 14 and 15, counted after the program's name in parentheses.
    let ticks = || -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.process_id())).unwrap();
        let fields = stat.rsplit(')').next().unwrap().split_whitespace();
        fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    };
    let mut spent = Vec::new();
    for name in ["known", "nobody"] {
        let before = ticks();
        for n in 0..20 {
            try_login(&server, &format!("{name}{}", n % 10), "a wrong password").await.is(401);
        }
        spent.push(ticks() - before);
    }
    let (known, unknown) = (spent[0], spent[1]);
    assert!(known > 5, "20 hashes take time: {known}");
    assert!(unknown * 3 > known * 2 && known * 3 > unknown * 2, "{known} and {unknown} ticks");
}

/// 11.4.2: Argon2id with m=19456, t=2, p=1 or more, as PHC strings; found in the data directory,
/// because a hash must be somewhere, and the password is not.
#[tokio::test]
async fn stored_is_an_argon2id_hash_and_not_the_password() {
    let mut server = dev();
    server.user("alice").await;
    server.kill_9();
    assert!(server.files_with(password_of("alice").as_bytes()).is_empty());
    assert!(server.files_with(crate::server::ADMIN_PASSWORD.as_bytes()).is_empty());
    let hashes = server.files_with(b"$argon2id$v=19$m=");
    assert!(!hashes.is_empty(), "no PHC string found");
    for path in hashes {
        let bytes = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for hash in text.split("$argon2id$v=19$").skip(1) {
            let parameters = hash.split('$').next().unwrap();
            let mut values = parameters.split(',').map(|pair| pair.split_once('=').unwrap());
            let mut value = |name: &str| -> u32 {
                let (given, value) = values.next().unwrap();
                assert_eq!(given, name, "{parameters}");
                value.parse().unwrap()
            };
            assert!(value("m") >= 19456 && value("t") >= 2 && value("p") >= 1, "{parameters}");
        }
    }
}

async fn fail_until_backed_off(server: &Server, username: &str) -> u32 {
    for attempt in 1..=30 {
        let answer = try_login(server, username, "a wrong password").await;
        if answer.status == 429 {
            let answer = answer.problem(429, "too-many-attempts");
            let after: u64 = answer.header("retry-after").parse().unwrap();
            assert!(after >= 1);
            assert_eq!(answer.json()["retry_after_s"], json!(after));
            return attempt;
        }
        answer.problem(401, "invalid-credentials");
    }
    panic!("30 failed logins and no back-off");
}

/// Makes failures, and moves the clock by the wait after each, until that is more than a minute.
async fn fail_until_a_minute_has_to_pass(server: &Server, username: &str) {
    for _ in 0..40 {
        let answer = try_login(server, username, "a wrong password").await;
        if answer.status == 401 {
            continue;
        }
        let after: u64 =
            answer.problem(429, "too-many-attempts").header("retry-after").parse().unwrap();
        if after > 60 {
            return;
        }
        server.advance(&format!("{after}s")).await;
    }
    panic!("40 failed logins and the wait does not grow over a minute");
}

/// 6.3.1: repeated failures make an account wait, with the right password too, also after kill -9;
/// time ends it. 6.1.1: a living session is not touched.
#[tokio::test]
async fn failed_logins_make_the_account_wait_also_over_a_restart() {
    let mut server = dev();
    let alice = server.user("alice").await;
    let attempts = fail_until_backed_off(&server, "alice").await;
    assert!(attempts > 3, "a person may mistype: {attempts}");
    fail_until_a_minute_has_to_pass(&server, "alice").await;
    try_login(&server, "alice", &password_of("alice")).await.problem(429, "too-many-attempts");
    assert!(alice.is_alive().await, "6.1.1");
    server.crash_and_restart();
    try_login(&server, "alice", &password_of("alice")).await.problem(429, "too-many-attempts");
    assert!(alice.is_alive().await, "6.1.1");
    // The administrator's login, which moves the clock, is another account.
    server.advance("24h").await;
    server.again("alice").await;
}

/// 6.3.1, 6.3.8: an unknown account waits as a known one does, from the same attempt on.
#[tokio::test]
async fn an_unknown_account_waits_like_a_known_one() {
    let one = dev();
    one.user("alice").await;
    let other = dev();
    other.user("alice").await;
    let known = fail_until_backed_off(&one, "alice").await;
    let unknown = fail_until_backed_off(&other, "nobody").await;
    assert_eq!(known, unknown);
}

/// 6.3.1: guesses spread over many accounts from one address are slowed down as well.
#[tokio::test]
async fn failures_over_many_accounts_make_the_address_wait() {
    let server = dev();
    let mut waited = false;
    for n in 0..300 {
        let answer = try_login(&server, &format!("guess{n}"), "a wrong password").await;
        if answer.status == 429 {
            waited = true;
            break;
        }
        answer.problem(401, "invalid-credentials");
    }
    assert!(waited, "300 accounts tried from one address");
}

/// 6.3.1: guessing by elevation or by a change of password is counted like guessing by login.
#[tokio::test]
async fn guessing_in_a_stolen_session_is_slowed_down_too() {
    let server = dev();
    let alice = server.user("alice").await;
    let guess = json!({"password": "a wrong password"});
    let mut waited = false;
    for _ in 0..30 {
        let answer = alice.post("/v1/sessions/current/elevate", guess.clone()).await;
        if answer.status == 429 {
            waited = true;
            break;
        }
        answer.problem(401, "invalid-credentials");
    }
    assert!(waited);
    let change = json!({"current": "a wrong password", "new": "a new long password"});
    alice.put("/v1/users/me/password", change).await.problem(429, "too-many-attempts");
    assert!(alice.is_alive().await, "6.1.1");
}

/// A success forgets the failures before it.
#[tokio::test]
async fn a_login_that_succeeds_clears_the_count() {
    let server = dev();
    server.user("alice").await;
    for _ in 0..6 {
        for _ in 0..2 {
            try_login(&server, "alice", "a wrong password")
                .await
                .problem(401, "invalid-credentials");
        }
        server.again("alice").await;
    }
}

/// 11.4.2: hashing runs on a bounded pool: hundreds of logins at once leave memory bounded and
/// others served; each is done or refused with 429 or 503.
#[tokio::test]
async fn five_hundred_parallel_logins_leave_memory_bounded_and_others_served() {
    let server = dev();
    let alice = server.user("alice").await;
    let resident_kib = || -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", server.process_id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let before = resident_kib();
    let logins: Vec<_> = (0..500)
        .map(|n| {
            let body = registration(&format!("nobody{n}"), "a wrong password");
            tokio::spawn(server.nobody().post("/v1/sessions", body).into_future())
        })
        .collect();
    let mut checks = 0;
    while !logins.iter().all(tokio::task::JoinHandle::is_finished) && checks < 200 {
        alice.session().await.ok();
        checks += 1;
    }
    for login in logins {
        let answer = login.await.unwrap();
        assert!([401, 429, 503].contains(&answer.status), "{answer}");
        if answer.status != 401 {
            assert!(!answer.header("retry-after").is_empty(), "{answer}");
        }
    }
    let grown = resident_kib().saturating_sub(before);
    // 500 hashes at once would be 9.5 GiB.
    assert!(grown < 400 * 1024, "{grown} KiB more");
    assert!(alice.is_alive().await);
}

/// 6.3.2: there is no default account; the first start prints a single-use set-up link.
#[tokio::test]
async fn without_a_password_the_first_start_prints_a_set_up_link() {
    let mut server = Options::production().without_admin().start();
    for password in ["admin", "password", "abide", ""] {
        let answer = try_login(&server, "admin", password).await;
        assert!([401, 422].contains(&answer.status), "{answer}");
    }
    let line = server.next_line();
    let (address, secret) = line.rsplit_once('#').unwrap();
    assert!(address.ends_with(&format!("{}/set-password", server.base())), "{line}");
    let choose = |password: &str| {
        let body = json!({"link": secret, "password": password});
        server.nobody().post("/v1/set-password", body)
    };
    choose("short").await.is(422);
    choose("chosen by the administrator").await.is(204);
    choose("chosen by somebody later").await.problem(410, "link-not-valid");
    let admin = server.login("admin", "chosen by the administrator").await;
    admin.get("/v1/users").await.is(200);
    assert!(!server.log().contains(secret), "the link is in the log");
    assert!(server.files_with(secret.as_bytes()).is_empty());
    drop(admin);
    server.terminate();
}
