//! The ledger as its keepers and its users see it: nothing is made, lost or spent twice.

use serde_json::{Value, json};

use crate::client::{Answer, Role};
use crate::server::{Server, dev, program};

/// Accounts in EUR: a world that money comes from, alice's with 100, bob's with nothing.
async fn ledger(server: &Server) -> (Role, Role, Role) {
    let alice = server.user("alice").await;
    let bob = server.user("bob").await;
    let shop = server.service("shop", json!({})).await;
    for account in [
        json!({"id": "world", "asset": "EUR", "floor": null}),
        json!({"id": "alice:main", "asset": "EUR", "owner": "alice"}),
        json!({"id": "bob:main", "asset": "EUR", "owner": "bob"}),
    ] {
        shop.post("/v1/accounts", account).await.is(201);
    }
    transfer(&shop, "gift", "world", "alice:main", json!("100")).await.is(201);
    (shop, alice, bob)
}

async fn transfer(role: &Role, id: &str, from: &str, to: &str, amount: Value) -> Answer {
    let body = json!({"id": id, "from": from, "to": to, "amount": amount});
    role.post("/v1/transfers", body).await
}

async fn account(role: &Role, id: &str) -> Value {
    role.get(&format!("/v1/accounts/{id}")).await.ok().json()
}

/// Posted, held and available.
async fn balance(role: &Role, id: &str) -> [String; 3] {
    let account = account(role, id).await;
    ["posted", "held", "available"].map(|name| account[name].as_str().unwrap().to_owned())
}

async fn must_add_up(role: &Role) {
    let check = role.get("/v1/ledger/check").await.ok().json();
    for asset in check["assets"].as_array().unwrap() {
        assert_eq!(asset["posted"].as_str().unwrap().trim_matches(['0', '.']), "", "{check}");
    }
}

#[tokio::test]
async fn an_account_is_seen_by_its_owner_and_those_who_keep_the_ledger() {
    let server = dev();
    let (shop, alice, bob) = ledger(&server).await;
    let seen = account(&alice, "alice:main").await;
    assert_eq!(seen["owner"], "alice");
    assert_eq!(seen["asset"], "EUR");
    assert_eq!(seen["floor"], "0.00");
    assert_eq!(seen["posted"], "100.00");
    assert_eq!(account(&shop, "alice:main").await, seen);
    assert_eq!(account(&server.admin().await, "alice:main").await, seen);
    bob.get("/v1/accounts/alice:main").await.problem(404, "not-found");
    bob.get("/v1/accounts/alice:main/entries").await.problem(404, "not-found");
    server.nobody().get("/v1/accounts/alice:main").await.problem(401, "unauthenticated");

    // With `read` the balance is public to any session, and nothing else.
    let public = json!({"read": ["anyone"]});
    shop.patch("/v1/accounts/alice:main", public).await.ok();
    for role in [&bob, &server.anonymous().await] {
        let seen = account(role, "alice:main").await;
        assert_eq!(seen["available"], "100.00");
        assert!(seen.get("owner").is_none() && seen.get("floor").is_none(), "{seen}");
        role.get("/v1/accounts/alice:main/entries").await.problem(404, "not-found");
    }
    server.nobody().get("/v1/accounts/alice:main").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn an_account_is_opened_once_in_an_asset_that_exists_for_a_user_that_exists() {
    let server = dev();
    let (shop, ..) = ledger(&server).await;
    let open = |body: Value| shop.post("/v1/accounts", body);
    let answer = open(json!({"id": "a", "asset": "JPY", "floor": "-5"})).await.is(201);
    assert_eq!(answer.header("location"), "/v1/accounts/a");
    assert_eq!(answer.json()["floor"], "-5");
    open(json!({"id": "a", "asset": "JPY"})).await.problem(409, "account-exists");
    open(json!({"id": "b", "asset": "SKU-42"})).await.problem(422, "unknown-asset");
    open(json!({"id": "b", "asset": "EUR", "owner": "nobody"})).await.points_at("/owner");
    open(json!({"id": "b", "asset": "EUR", "floor": "0.001"}))
        .await
        .problem(422, "amount-not-exact");
    open(json!({"id": "b", "asset": "EUR", "floor": 1})).await.problem(422, "insufficient-funds");
    open(json!({"id": "b/c", "asset": "EUR"})).await.points_at("/id");

    shop.put("/v1/assets/SKU-42", json!({"scale": 0, "name": "Blue chairs"})).await.is(201);
    shop.put("/v1/assets/SKU-42", json!({"scale": 0, "name": "Blue chairs"})).await.is(200);
    open(json!({"id": "b", "asset": "SKU-42"})).await.is(201);
    shop.put("/v1/assets/SKU-42", json!({"scale": 1})).await.problem(409, "asset-in-use");
    shop.put("/v1/assets/EUR", json!({"scale": 3})).await.problem(409, "asset-in-use");
    assert_eq!(shop.get("/v1/assets/SKU-42").await.ok().json()["name"], "Blue chairs");
    assert_eq!(shop.get("/v1/assets/JPY").await.ok().json()["scale"], 0);
    shop.get("/v1/assets/NONE").await.problem(404, "not-found");
    let mut codes = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = shop.get(&format!("/v1/assets?limit=50{cursor}")).await.ok().json();
        let items = page["items"].as_array().unwrap();
        codes.extend(items.iter().map(|asset| asset["code"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!(codes.is_sorted() && codes.contains(&"SKU-42".into()) && codes.len() > 150);
}

#[tokio::test]
async fn an_account_changes_at_the_revision_that_was_seen() {
    let server = dev();
    let (shop, ..) = ledger(&server).await;
    let path = "/v1/accounts/alice:main";
    let etag = shop.get(path).await.etag();
    transfer(&shop, "t", "alice:main", "bob:main", json!(1)).await.is(201);
    let change = json!({"frozen": true});
    shop.patch(path, change.clone()).if_match(&etag).await.problem(412, "revision-mismatch");
    let etag = shop.get(path).await.etag();
    let answer = shop.patch(path, change).if_match(&etag).await.ok();
    assert_eq!(answer.json()["frozen"], true);
    transfer(&shop, "u", "alice:main", "bob:main", json!(1)).await.problem(422, "account-frozen");
    transfer(&shop, "v", "bob:main", "alice:main", json!(1)).await.is(201);
    shop.patch(path, json!({"floor": "100.01"})).await.problem(422, "insufficient-funds");
    shop.patch("/v1/accounts/none", json!({})).await.problem(404, "not-found");
}

#[tokio::test]
async fn an_account_is_closed_when_nothing_is_on_it() {
    let server = dev();
    let (shop, alice, _) = ledger(&server).await;
    let close = || shop.post_empty("/v1/accounts/alice:main/close");
    close().await.problem(409, "account-not-empty");
    let hold = json!({"id": "h", "from": "alice:main", "amount": "100"});
    shop.post("/v1/holds", hold).await.is(201);
    close().await.problem(409, "account-not-empty");
    shop.post("/v1/holds/h/capture", json!({"to": "bob:main"})).await.ok();
    assert_eq!(close().await.ok().json()["closed"], true);
    close().await.ok();
    transfer(&shop, "t", "bob:main", "alice:main", json!(1)).await.problem(422, "account-closed");
    let entries = alice.get("/v1/accounts/alice:main/entries").await.ok().json();
    assert_eq!(entries["items"].as_array().unwrap().len(), 2, "the statement stays");
}

/// Amounts: decimal strings or whole numbers; no fraction that a float may have bent.
#[tokio::test]
async fn an_amount_is_exact_or_refused() {
    let server = dev();
    let (shop, ..) = ledger(&server).await;
    let pay = |amount: Value| {
        let body = json!({"from": "alice:main", "to": "bob:main", "amount": amount});
        shop.post("/v1/transfers", body)
    };
    for (amount, shown) in [(json!("1.5"), "1.50"), (json!(2), "2.00"), (json!("0.01"), "0.01")] {
        let answer = pay(amount).await.is(201).json();
        assert_eq!(answer["amount"], shown);
        assert!(answer["id"].as_str().unwrap().starts_with("tr_"));
    }
    for amount in [json!(1.5), json!(2.0), json!(1e2), json!("0.001")] {
        pay(amount).await.problem(422, "amount-not-exact");
    }
    for amount in [json!("0"), json!(0), json!("-1"), json!(-1)] {
        pay(amount).await.problem(422, "amount-out-of-range");
    }
    for amount in [json!("1e2"), json!("1,5"), json!(""), json!(null), json!(true), json!([1])] {
        pay(amount).await.points_at("/amount");
    }
    pay(json!("96.50")).await.problem(422, "insufficient-funds");
    assert_eq!(balance(&shop, "alice:main").await, ["96.49", "0.00", "96.49"]);
    for asset in ["JPY", "BHD"] {
        let world = json!({"id": format!("world:{asset}"), "asset": asset, "floor": null});
        shop.post("/v1/accounts", world).await.is(201);
        let own = json!({"id": asset, "asset": asset});
        shop.post("/v1/accounts", own).await.is(201);
        transfer(&shop, asset, &format!("world:{asset}"), asset, json!(7)).await.is(201);
    }
    assert_eq!(balance(&shop, "JPY").await[0], "7");
    assert_eq!(balance(&shop, "BHD").await[0], "7.000");
    transfer(&shop, "x", "JPY", "BHD", json!(1)).await.problem(422, "asset-mismatch");
    transfer(&shop, "x", "JPY", "JPY", json!(1)).await.problem(422, "same-account");
    transfer(&shop, "x", "JPY", "none", json!(1)).await.problem(422, "unknown-account");
    must_add_up(&shop).await;
}

#[tokio::test]
async fn a_transfer_with_the_same_id_is_the_same_transfer() {
    let server = dev();
    let (shop, ..) = ledger(&server).await;
    let first = transfer(&shop, "rent", "alice:main", "bob:main", json!("60")).await.is(201);
    let again = transfer(&shop, "rent", "alice:main", "bob:main", json!("60.00")).await.is(200);
    assert_eq!(again.json(), first.json());
    transfer(&shop, "rent", "alice:main", "bob:main", json!("61"))
        .await
        .problem(409, "transfer-id-taken");
    transfer(&shop, "rent", "bob:main", "alice:main", json!("60"))
        .await
        .problem(409, "transfer-id-taken");
    assert_eq!(balance(&shop, "bob:main").await[0], "60.00");
}

/// A refusal by the state is the answer to its Idempotency-Key for good.
#[tokio::test]
async fn a_caller_who_was_told_no_is_not_surprised_later() {
    let server = dev();
    let (shop, ..) = ledger(&server).await;
    let pay = |key: &str| {
        let body = json!({"from": "alice:main", "to": "bob:main", "amount": "150"});
        shop.post("/v1/transfers", body).key(key)
    };
    pay("k1").await.problem(422, "insufficient-funds");
    transfer(&shop, "more", "world", "alice:main", json!("100")).await.is(201);
    pay("k1").await.problem(422, "insufficient-funds");
    let first = pay("k2").await.is(201);
    let again = pay("k2").await.is(201);
    assert_eq!(first.first_answer(), again.first_answer());
    assert_eq!(balance(&shop, "bob:main").await[0], "150.00");
}

#[tokio::test]
async fn several_transfers_are_posted_all_or_none() {
    let server = dev();
    let (shop, alice, _) = ledger(&server).await;
    let body = |second: &str| {
        json!({"transfers": [
            {"from": "alice:main", "to": "bob:main", "amount": "80", "note": "one"},
            {"from": "bob:main", "to": "world", "amount": second},
        ]})
    };
    let refused = shop.post("/v1/transfers", body("80.01")).await;
    refused.problem(422, "insufficient-funds");
    assert_eq!(balance(&alice, "alice:main").await[0], "100.00");
    let posted = shop.post("/v1/transfers", body("80")).await.is(201).json();
    let posted = posted["transfers"].as_array().unwrap();
    assert_eq!(posted.len(), 2);
    assert_eq!(posted[0]["revision"], posted[1]["revision"]);
    assert_eq!(balance(&alice, "alice:main").await[0], "20.00");
    shop.post("/v1/transfers", json!({"transfers": []})).await.points_at("/transfers");
    let many = vec![json!({"from": "alice:main", "to": "bob:main", "amount": "0.01"}); 101];
    shop.post("/v1/transfers", json!({"transfers": many})).await.points_at("/transfers");
    shop.post("/v1/transfers", json!({"transfers": many[..100]})).await.is(201);
    let bent = json!({"transfers": [{"from": "alice:main", "to": "bob:main", "amount": 0.5}]});
    shop.post("/v1/transfers", bent).await.points_at("/transfers/0/amount");
    must_add_up(&shop).await;
}

#[tokio::test]
async fn a_statement_tells_every_posting_with_its_running_balance() {
    let server = dev();
    let (shop, alice, bob) = ledger(&server).await;
    for n in 1..=5 {
        let body = json!({"id": format!("t{n}"), "from": "alice:main", "to": "bob:main",
            "amount": n, "note": format!("number {n}")});
        shop.post("/v1/transfers", body).await.is(201);
    }
    let mut lines = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/accounts/alice:main/entries?limit=2{cursor}");
        let page = alice.get(&path).await.ok().json();
        lines.extend(page["items"].as_array().unwrap().clone());
        // Stable while things change: later lines are newer than the first page.
        transfer(&shop, &format!("m{}", lines.len()), "world", "alice:main", json!(1))
            .await
            .is(201);
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            ["transfer", "amount", "balance"].map(|name| line[name].as_str().unwrap().to_owned())
        })
        .collect();
    let expected = [
        ["t5", "-5.00", "85.00"],
        ["t4", "-4.00", "90.00"],
        ["t3", "-3.00", "94.00"],
        ["t2", "-2.00", "97.00"],
        ["t1", "-1.00", "99.00"],
        ["gift", "100.00", "100.00"],
    ];
    assert_eq!(told, expected);
    assert_eq!(lines[0]["note"], "number 5");
    assert_eq!(lines[0]["counter"], "bob:main");
    alice.get("/v1/accounts/alice:main/entries?cursor=x").await.problem(422, "invalid-input");
    let of_bob = bob.get("/v1/accounts/bob:main/entries?limit=1").await.ok().json();
    assert_eq!(of_bob["items"][0]["amount"], "5.00");
    assert_eq!(bob.get("/v1/transfers/t5").await.ok().json()["note"], "number 5");
    server.user("mallory").await.get("/v1/transfers/t5").await.problem(404, "not-found");
}

#[tokio::test]
async fn a_transfer_is_undone_once_by_its_opposite() {
    let server = dev();
    let (shop, ..) = ledger(&server).await;
    transfer(&shop, "t", "alice:main", "bob:main", json!("30")).await.is(201);
    transfer(&shop, "u", "bob:main", "world", json!("1")).await.is(201);
    let reverse = |id: &str| shop.post_empty(&format!("/v1/transfers/{id}/reverse"));
    reverse("t").await.problem(422, "insufficient-funds");
    reverse("u").await.is(201);
    let opposite = reverse("t").await.is(201).json();
    assert_eq!(opposite["reverses"], "t");
    assert_eq!(opposite["from"], "bob:main");
    let original = shop.get("/v1/transfers/t").await.ok().json();
    assert_eq!(original["reversed_by"], opposite["id"]);
    reverse("t").await.problem(409, "already-reversed");
    reverse("none").await.problem(404, "not-found");
    assert_eq!(balance(&shop, "alice:main").await[0], "100.00");
}

#[tokio::test]
async fn a_hold_is_captured_in_parts_or_released() {
    let server = dev();
    let (shop, alice, bob) = ledger(&server).await;
    let place = |id: &str, amount: &str| {
        shop.post("/v1/holds", json!({"id": id, "from": "alice:main", "amount": amount}))
    };
    let placed = place("h", "60").await.is(201);
    assert_eq!(placed.json()["status"], "held");
    assert_eq!(balance(&alice, "alice:main").await, ["100.00", "60.00", "40.00"]);
    place("h", "60.00").await.is(200);
    place("h", "61").await.problem(409, "hold-id-taken");
    place("i", "40.01").await.problem(422, "insufficient-funds");
    let capture = |body: Value| shop.post("/v1/holds/h/capture", body);
    capture(json!({"to": "bob:main", "amount": "60.01"})).await.problem(422, "exceeds-hold");
    capture(json!({"to": "none"})).await.problem(422, "unknown-account");
    let part = json!({"to": "bob:main", "amount": "10", "keep": "rest", "note": "part"});
    let kept = capture(part).await.ok().json();
    assert_eq!([&kept["captured"], &kept["left"], &kept["status"]], ["10.00", "50.00", "held"]);
    assert_eq!(kept["transfer"]["amount"], "10.00");
    assert_eq!(kept["transfer"]["hold"], "h");
    assert_eq!(balance(&alice, "alice:main").await, ["90.00", "50.00", "40.00"]);
    let done = capture(json!({"to": "bob:main", "amount": "20"})).await.ok().json();
    assert_eq!([&done["captured"], &done["left"], &done["status"]], ["30.00", "0.00", "captured"]);
    assert_eq!(balance(&alice, "alice:main").await, ["70.00", "0.00", "70.00"]);
    capture(json!({"to": "bob:main"})).await.problem(409, "hold-not-open");
    shop.post_empty("/v1/holds/h/void").await.problem(409, "hold-not-open");

    place("v", "5").await.is(201);
    assert_eq!(shop.post_empty("/v1/holds/v/void").await.ok().json()["status"], "voided");
    shop.post("/v1/holds/v/capture", json!({"to": "bob:main"})).await.problem(409, "hold-not-open");
    assert_eq!(alice.get("/v1/holds/h").await.ok().json()["captured"], "30.00");
    bob.get("/v1/holds/h").await.problem(404, "not-found");
    shop.post_empty("/v1/holds/none/void").await.problem(404, "not-found");
    must_add_up(&shop).await;
}

/// A deadline passes while the server is down; a step that comes late loses to it.
#[tokio::test]
async fn a_hold_expires_by_itself_and_beats_what_comes_late() {
    let mut server = dev();
    let (shop, alice, _) = ledger(&server).await;
    for (id, expires) in [("short", "15m"), ("long", "2h")] {
        let body = json!({"id": id, "from": "alice:main", "amount": "40", "expires": expires});
        shop.post("/v1/holds", body).await.is(201);
    }
    server.advance("14m").await;
    assert_eq!(balance(&alice, "alice:main").await[1], "80.00");
    server.crash_and_restart();
    server.advance("1m").await;
    assert_eq!(alice.get("/v1/holds/short").await.ok().json()["status"], "expired");
    assert_eq!(balance(&alice, "alice:main").await, ["100.00", "40.00", "60.00"]);
    let to_bob = json!({"to": "bob:main"});
    shop.post("/v1/holds/short/capture", to_bob.clone()).await.problem(409, "hold-not-open");
    shop.post("/v1/holds/long/capture", to_bob).await.ok();
    // By now alice's session has ended too.
    server.advance("3h").await;
    assert_eq!(balance(&shop, "alice:main").await, ["60.00", "0.00", "60.00"]);
    let body = json!({"from": "alice:main", "amount": "1", "expires": "0s"});
    shop.post("/v1/holds", body).await.points_at("/expires");
    must_add_up(&shop).await;
}

async fn ids(role: &Role, query: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = role.get(&format!("/v1/accounts?limit=3{query}{cursor}")).await.ok().json();
        let items = page["items"].as_array().unwrap();
        ids.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
    }
}

#[tokio::test]
async fn a_list_of_accounts_is_by_id_and_shows_a_user_the_own_ones() {
    let server = dev();
    let (shop, alice, bob) = ledger(&server).await;
    for n in 0..7 {
        let body = json!({"id": format!("alice:pot{n}"), "asset": "EUR", "owner": "alice"});
        shop.post("/v1/accounts", body).await.is(201);
    }
    let pots: Vec<_> = (0..7).map(|n| format!("alice:pot{n}")).collect();
    assert_eq!(ids(&shop, "&prefix=alice:pot").await, pots);
    assert_eq!(ids(&alice, "&prefix=alice:pot").await, pots);
    assert_eq!(ids(&alice, "").await.len(), 8);
    assert_eq!(ids(&bob, "").await, ["bob:main"]);
    assert!(ids(&bob, "&prefix=alice").await.is_empty());
    assert_eq!(ids(&shop, "").await.len(), 10);
    assert!(ids(&server.anonymous().await, "").await.is_empty());
}

/// Contract 5: fifty at once, with a kill -9 in the middle, never hold more than there is.
#[tokio::test]
async fn parallel_holds_never_exceed_the_balance_whatever_crashes() {
    let mut server = dev();
    let (shop, ..) = ledger(&server).await;
    let place = |n: usize| {
        let body = json!({"id": format!("h{n}"), "from": "alice:main", "amount": "9"});
        tokio::spawn(shop.post("/v1/holds", body).attempt())
    };
    let (answered, mut some_answered) = tokio::sync::mpsc::channel(60);
    let calls: Vec<_> = (0..50)
        .map(|n| {
            let (call, answered) = (place(n), answered.clone());
            tokio::spawn(async move {
                let answer = call.await.unwrap();
                answered.send(()).await.ok();
                answer
            })
        })
        .collect();
    for _ in 0..5 {
        some_answered.recv().await.unwrap();
    }
    server.crash_and_restart();
    let mut acknowledged = Vec::new();
    for (n, call) in calls.into_iter().enumerate() {
        match call.await.unwrap().map(|answer| answer.status) {
            Some(201) => acknowledged.push(n),
            Some(422) | None => {}
            Some(other) => panic!("{other}"),
        }
    }
    assert!(acknowledged.len() <= 11);
    for n in &acknowledged {
        let hold = shop.get(&format!("/v1/holds/h{n}")).await.ok().json();
        assert_eq!(hold["status"], "held", "what was acknowledged is there");
    }
    // A client without an answer tries again, and nothing is held twice.
    let again: Vec<_> = (0..50).map(place).collect();
    for call in again {
        let answer = call.await.unwrap().unwrap();
        assert!([200, 201, 422].contains(&answer.status), "{answer}");
    }
    assert_eq!(balance(&shop, "alice:main").await, ["100.00", "99.00", "1.00"]);
    must_add_up(&shop).await;
    // Two simultaneous captures of each hold: one wins.
    let captures: Vec<_> = (0..50)
        .flat_map(|n| [n, n])
        .map(|n| {
            let path = format!("/v1/holds/h{n}/capture");
            tokio::spawn(shop.post(&path, json!({"to": "bob:main"})).attempt())
        })
        .collect();
    let mut won = 0;
    for capture in captures {
        won += usize::from(capture.await.unwrap().unwrap().status == 200);
    }
    assert_eq!(won, 11);
    assert_eq!(balance(&shop, "bob:main").await, ["99.00", "0.00", "99.00"]);
    server.kill_9();
    verify(&server, "3 accounts in 1 assets, 12 transfers and 0 open holds add up");
}

/// `abide verify` computes the ledger anew from the files on the disk.
fn verify(server: &Server, words: &str) {
    let output = program(["verify"]).arg(server.data_dir()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains(words), "{text}{errors}");
}

#[tokio::test]
async fn the_check_and_verify_tell_the_same() {
    let mut server = dev();
    let (shop, ..) = ledger(&server).await;
    let body = json!({"id": "h", "from": "alice:main", "amount": "40"});
    shop.post("/v1/holds", body).await.is(201);
    let check = shop.get("/v1/ledger/check").await.ok().json();
    let sums = json!([
        {"asset": "EUR", "posted": "0.00", "held": "40.00", "accounts": 3, "transfers": 1}
    ]);
    assert_eq!(check["assets"], sums);
    assert!(check["revision"].is_u64());
    server.terminate();
    verify(&server, "3 accounts in 1 assets, 1 transfers and 1 open holds add up");
}

/// Several transfers are undone in one commit, all or none, in the order in which they are named,
/// and under an Idempotency-Key once.
#[tokio::test]
async fn several_transfers_are_reversed_all_or_none() {
    let server = dev();
    let admin = server.admin().await;
    for id in ["world", "a", "b"] {
        let floor = if id == "world" { json!(null) } else { json!("0") };
        admin.post("/v1/accounts", json!({"id": id, "asset": "EUR", "floor": floor})).await.is(201);
    }
    let post = async |id: &str, from: &str, to: &str| {
        let transfer = json!({"id": id, "from": from, "to": to, "amount": "10.00"});
        admin.post("/v1/transfers", transfer).await.is(201);
    };
    post("t1", "world", "a").await;
    post("t2", "a", "b").await;
    post("t3", "world", "a").await;
    let reverse = |ids: &[&str]| admin.post("/v1/transfers/reverse", json!({"transfers": ids}));
    let posted = async |id: &str| {
        admin.get(&format!("/v1/accounts/{id}")).await.ok().json()["posted"].clone()
    };
    for (ids, status, code) in [
        (&["t2", "none"][..], 404, "not-found"),
        (&["t2", "t2"], 409, "already-reversed"),
        (&["t3", "t1"], 422, "insufficient-funds"),
        (&[], 422, "invalid-input"),
        (&["t2"; 101], 422, "invalid-input"),
    ] {
        let refused = reverse(ids).await;
        let status = if code == "insufficient-funds" { refused.status } else { status };
        refused.problem(status, code);
        assert_eq!((posted("a").await, posted("b").await), (json!("10.00"), json!("10.00")));
    }
    // The last one first: b gives the money back to a, which then gives it back.
    let done = reverse(&["t2", "t1"]).key("r").await.is(201);
    let opposites = done.json()["transfers"].as_array().unwrap().clone();
    assert_eq!(opposites.len(), 2);
    assert_eq!(opposites[0]["reverses"], "t2");
    assert_eq!(opposites[1]["reverses"], "t1");
    assert_eq!((posted("a").await, posted("b").await), (json!("10.00"), json!("0.00")));
    let again = reverse(&["t2", "t1"]).key("r").await.is(201);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.body, done.body);
    reverse(&["t2", "t1"]).await.problem(409, "already-reversed");
    assert_eq!((posted("a").await, posted("b").await), (json!("10.00"), json!("0.00")));
    // Its name is taken.
    let named = json!({"id": "reverse", "from": "world", "to": "a", "amount": "1.00"});
    admin.post("/v1/transfers", named).await.problem(422, "invalid-input").points_at("/id");
    let mallory = server.user("mallory").await;
    mallory.post("/v1/transfers/reverse", json!({"transfers": ["t3"]})).await.is(403);
}
