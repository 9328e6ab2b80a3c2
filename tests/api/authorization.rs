//! The authorization matrix: every route of the served document against everybody.
//!
//! The routes come from `/openapi.json`. A route without a row here fails the test, and so does a
//! row without a route: a person decides who may do what, once, in this table.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::client::{Answer, Call, Role, password_of};
use crate::server::{Server, dev};

/// Expected answer in a cell of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    /// Done.
    Yes,
    /// 401: the caller must authenticate first.
    Who,
    /// 403: this caller may not.
    No,
    /// 404: the caller does not even learn that it exists.
    Hidden,
}
use Cell::{Hidden, No, Who, Yes};

/// The actors, in the order of the columns: nobody; another user; the user whose things they are;
/// the administrator; a service with an API key and no roles.
const COLUMNS: [&str; 5] = ["nobody", "mallory", "owner", "admin", "service"];

type Row = (&'static str, &'static str, [Cell; 5]);

const OPEN: [Cell; 5] = [Yes; 5];
const ADMIN: [Cell; 5] = [Who, No, No, Yes, No];
/// Things of the caller, with a session of a user.
const OWN: [Cell; 5] = [Who, Yes, Yes, Yes, No];
const SERVICE: [Cell; 5] = [Who, No, No, No, Yes];

/// Keepers of the ledger.
const KEEPER: [Cell; 5] = [Who, No, No, Yes, Yes];
/// Every authenticated caller.
const KNOWN: [Cell; 5] = [Who, Yes, Yes, Yes, Yes];
/// A thing of the ledger that belongs to a user.
const OWNED: [Cell; 5] = [Who, Hidden, Yes, Yes, Yes];

const ROWS: &[Row] = &[
    ("GET", "/livez", OPEN),
    ("GET", "/readyz", OPEN),
    ("GET", "/openapi.json", OPEN),
    ("GET", "/docs", OPEN),
    ("GET", "/docs/workflows", OPEN),
    ("GET", "/docs/events", OPEN),
    ("GET", "/docs/reference", OPEN),
    ("GET", "/asyncapi.json", OPEN),
    ("GET", "/problems/{code}", OPEN),
    ("GET", "/v1/capabilities", OPEN),
    ("GET", "/set-password", OPEN),
    ("GET", "/assets/style.css", OPEN),
    ("GET", "/assets/set-password.js", OPEN),
    ("POST", "/v1/set-password", OPEN),
    // The last part of the address is the proof; this one is made up.
    ("POST", "/v1/callbacks/{token}", [Hidden; 5]),
    ("GET", "/metrics", ADMIN),
    ("GET", "/v1/admin/status", ADMIN),
    ("GET", "/v1/admin/chain", ADMIN),
    ("GET", "/v1/admin/chain/transactions/{id}", ADMIN),
    ("POST", "/v1/dev/clock", ADMIN),
    ("POST", "/v1/users", OPEN),
    ("GET", "/v1/users", ADMIN),
    ("GET", "/v1/users/me", OWN),
    ("GET", "/v1/users/me/data", OWN),
    ("PUT", "/v1/users/me/data", OWN),
    ("PATCH", "/v1/users/me/data", OWN),
    ("PUT", "/v1/users/me/password", OWN),
    ("GET", "/v1/users/{username}", ADMIN),
    ("PATCH", "/v1/users/{username}", ADMIN),
    ("DELETE", "/v1/users/{username}", ADMIN),
    // A link is as good as a password: a service needs a pattern that covers the user.
    ("POST", "/v1/users/{username}/password-reset", ADMIN),
    ("POST", "/v1/sessions", OPEN),
    ("GET", "/v1/sessions", OWN),
    ("DELETE", "/v1/sessions", OWN),
    ("DELETE", "/v1/sessions/{id}", [Who, Hidden, Yes, Yes, No]),
    ("GET", "/v1/sessions/{id}", [Who, Hidden, Yes, Yes, No]),
    ("GET", "/v1/sessions/current", OWN),
    ("GET", "/v1/sessions/current/facts", OWN),
    ("DELETE", "/v1/sessions/current", OWN),
    ("POST", "/v1/sessions/current/rotate", OWN),
    ("POST", "/v1/sessions/current/elevate", OWN),
    ("GET", "/v1/sessions/current/data", OWN),
    ("PUT", "/v1/sessions/current/data", OWN),
    ("PATCH", "/v1/sessions/current/data", OWN),
    // A service needs a pattern that covers the user.
    ("PATCH", "/v1/sessions/{id}/facts", [Who, No, No, No, Hidden]),
    ("GET", "/v1/sessions/by-key/{key}", SERVICE),
    ("PUT", "/v1/sessions/by-key/{key}", SERVICE),
    ("DELETE", "/v1/sessions/by-key/{key}", SERVICE),
    ("GET", "/v1/events", KNOWN),
    // A socket may authenticate later; a plain request gets the answer how to authenticate.
    ("GET", "/v1/socket", OPEN),
    ("GET", "/v1/transactions/{id}/history", [Who, Hidden, Yes, Yes, Hidden]),
    ("GET", "/v1/transactions/{id}/events", [Who, Hidden, Yes, Yes, Hidden]),
    ("POST", "/v1/introspect", SERVICE),
    // A service is no user, so a gateway does not let it through.
    ("GET", "/v1/auth/verify", [Who, Yes, Yes, Yes, Who]),
    ("PUT", "/v1/assets/{code}", KEEPER),
    ("GET", "/v1/assets", KNOWN),
    ("GET", "/v1/assets/{code}", KNOWN),
    ("GET", "/v1/ledger/check", KEEPER),
    ("POST", "/v1/accounts", KEEPER),
    // Each actor sees its own: for a user without accounts the list is empty.
    ("GET", "/v1/accounts", KNOWN),
    ("GET", "/v1/accounts/{id}", OWNED),
    ("PATCH", "/v1/accounts/{id}", KEEPER),
    ("POST", "/v1/accounts/{id}/close", KEEPER),
    ("GET", "/v1/accounts/{id}/entries", OWNED),
    ("POST", "/v1/transfers", KEEPER),
    ("GET", "/v1/transfers/{id}", OWNED),
    ("POST", "/v1/transfers/{id}/reverse", KEEPER),
    ("POST", "/v1/transfers/reverse", KEEPER),
    ("POST", "/v1/holds", KEEPER),
    ("GET", "/v1/holds/{id}", OWNED),
    ("POST", "/v1/holds/{id}/capture", KEEPER),
    ("POST", "/v1/holds/{id}/void", KEEPER),
    ("GET", "/schemas/workflow.json", OPEN),
    ("PUT", "/v1/workflows/{name}", ADMIN),
    ("POST", "/v1/workflows/check", ADMIN),
    ("GET", "/v1/workflows", KNOWN),
    ("GET", "/v1/workflows/{name}", KNOWN),
    ("GET", "/v1/workflows/{name}/versions/{n}", KNOWN),
    ("GET", "/v1/workflows/{name}/diagram", KNOWN),
    ("DELETE", "/v1/workflows/{name}", ADMIN),
    ("PUT", "/v1/values/{set}/{key}", KEEPER),
    ("PUT", "/v1/values/{set}", KEEPER),
    // A set that nobody has opened to everybody.
    ("GET", "/v1/values/{set}", KEEPER),
    ("GET", "/v1/values/{set}/{key}", KEEPER),
    ("DELETE", "/v1/values/{set}/{key}", KEEPER),
    ("POST", "/v1/workflows/{name}/transactions", [Who, Yes, Yes, Yes, No]),
    ("GET", "/v1/transactions", KNOWN),
    ("GET", "/v1/transactions/{id}", [Who, Hidden, Yes, Yes, Hidden]),
    ("POST", "/v1/transactions/{id}/steps/{step}", [Who, Hidden, Yes, No, Hidden]),
    ("POST", "/v1/transactions/{id}/steps/{step}/claim", [Who, Hidden, Yes, No, Hidden]),
    ("DELETE", "/v1/transactions/{id}/steps/{step}/claim", [Who, Hidden, Yes, Yes, Hidden]),
    ("POST", "/v1/transactions/{id}/challenges/{name}/resend", [Who, Hidden, Yes, No, Hidden]),
    ("POST", "/v1/inbox/claim", KNOWN),
    // Authenticated by its signature, for every sender; here there is no hook.
    ("POST", "/v1/hooks/{name}", [Hidden; 5]),
    ("POST", "/v1/transactions/{id}/cancel", [Who, Hidden, Yes, Yes, Hidden]),
    // The access rule is checked first; that the transaction is not stuck comes after.
    ("POST", "/v1/transactions/{id}/retry", ADMIN),
    ("POST", "/v1/transactions/{id}/skip", ADMIN),
    ("POST", "/v1/transactions/{id}/replace", ADMIN),
    ("POST", "/v1/transactions/{id}/pause", ADMIN),
    ("POST", "/v1/transactions/{id}/resume", ADMIN),
    ("POST", "/v1/transactions/{id}/migrate", ADMIN),
    ("POST", "/v1/transactions/bulk", ADMIN),
    ("GET", "/v1/transactions/bulk/{id}", ADMIN),
    ("POST", "/v1/webhooks", ADMIN),
    ("GET", "/v1/webhooks", ADMIN),
    ("GET", "/v1/webhooks/{id}", ADMIN),
    ("DELETE", "/v1/webhooks/{id}", ADMIN),
    ("POST", "/v1/webhooks/{id}/rotate", ADMIN),
    ("POST", "/v1/webhooks/{id}/resume", ADMIN),
    ("POST", "/v1/webhooks/{id}/dead-letters/replay", ADMIN),
    ("GET", "/v1/webhooks/{id}/dead-letters", ADMIN),
    // The access rule is checked first; that there is no such dead letter comes after.
    ("POST", "/v1/webhooks/{id}/dead-letters/{n}/replay", [Who, No, No, Hidden, No]),
    ("POST", "/v1/schedules", ADMIN),
    ("GET", "/v1/schedules", ADMIN),
    ("GET", "/v1/schedules/{id}", ADMIN),
    ("DELETE", "/v1/schedules/{id}", ADMIN),
    ("GET", "/v1/dev/challenges/{id}", ADMIN),
    ("POST", "/v1/api-keys", ADMIN),
    ("GET", "/v1/api-keys", ADMIN),
    ("DELETE", "/v1/api-keys/{id}", ADMIN),
];

async fn routes(server: &Server) -> BTreeSet<(String, String)> {
    let spec = server.nobody().get("/openapi.json").await.ok().json();
    let mut routes = BTreeSet::new();
    for (path, item) in spec["paths"].as_object().unwrap() {
        for method in ["get", "put", "post", "delete", "options", "head", "patch", "trace"] {
            if item.get(method).is_some() {
                routes.insert((method.to_ascii_uppercase(), path.clone()));
            }
        }
    }
    routes
}

/// 8.2.1, API 5: a route that nobody has decided about fails here.
#[tokio::test]
async fn every_route_has_a_row_in_the_matrix() {
    let server = dev();
    let rows: BTreeSet<_> =
        ROWS.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(rows.len(), ROWS.len(), "a row is there twice");
    let routes = routes(&server).await;
    let undecided: Vec<_> = routes.difference(&rows).collect();
    let gone: Vec<_> = rows.difference(&routes).collect();
    assert!(undecided.is_empty(), "routes without a row: {undecided:?}");
    assert!(gone.is_empty(), "rows without a route: {gone:?}");
}

/// Things of one owner, made anew for every cell, since a cell may destroy them.
struct Things {
    owner: String,
    owners_session: Role,
    session_id: String,
    api_key_id: String,
    link: String,
    transaction: String,
    schedule: String,
    job: String,
    webhook: String,
}

/// A workflow with a step to claim and a code to send again.
fn matrix(n: usize) -> String {
    format!(
        "abide: 1\nworkflow: matrix{n}\nfirst: begin\nsteps:\n  begin:\n    do:\n      \
         - challenge: {{ id: otp, digits: 6, expires: 5m, attempts: 3, resend: 3, binds: {{}} }}\n    \
         next: ask\n  ask:\n    by: [owner]\n    claim: 1h\n    next: {{ end: done }}\n"
    )
}

async fn things(server: &Server, admin: &Role, n: usize) -> Things {
    let owner = format!("owner{n}");
    server.user(&owner).await;
    let owners_session = server.again(&owner).await;
    let session_id = owners_session.session().await.json()["id"].as_str().unwrap().to_owned();
    let account = format!("{owner}:main");
    let accounts = [
        json!({"id": account, "asset": "EUR", "owner": owner}),
        json!({"id": format!("{owner}:empty"), "asset": "EUR", "owner": owner}),
        json!({"id": format!("world{n}"), "asset": "EUR", "floor": null}),
    ];
    for body in accounts {
        admin.post("/v1/accounts", body).await.is(201);
    }
    let world = format!("world{n}");
    let funds = json!({"from": world, "to": account, "amount": 10});
    admin.post("/v1/transfers", funds).await.is(201);
    let transfer = json!({"id": account, "from": world, "to": account, "amount": 10});
    admin.post("/v1/transfers", transfer).await.is(201);
    let hold = json!({"id": account, "from": account, "amount": 1});
    admin.post("/v1/holds", hold).await.is(201);
    let path = format!("/v1/workflows/matrix{n}");
    admin.call("PUT", &path).body("application/yaml", matrix(n)).await.is(201);
    admin.put("/v1/values/prices/a-key", json!({"n": n})).await;
    let path = format!("{path}/transactions");
    let transaction = owners_session.post_empty(&path).await.is(201).json();
    let transaction = transaction["id"].as_str().unwrap().to_owned();
    let key = admin.post("/v1/api-keys", json!({"name": format!("k{n}")})).await.is(201).json();
    let api_key_id = key["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/users/{owner}/password-reset");
    let link = admin.post_empty(&path).await.ok().json()["link"].as_str().unwrap().to_owned();
    let schedule = json!({"workflow": format!("matrix{n}"), "cron": "0 0 1 1 *"});
    let schedule = admin.post("/v1/schedules", schedule).await.is(201).json();
    let schedule = schedule["id"].as_str().unwrap().to_owned();
    let job = json!({"filter": {"workflow": "nothing"}, "action": "pause", "dry_run": true});
    let job = admin.post("/v1/transactions/bulk", job).await.is(202).json();
    let job = job["id"].as_str().unwrap().to_owned();
    Things {
        owner,
        owners_session,
        session_id,
        api_key_id,
        link,
        transaction,
        schedule,
        job,
        webhook: String::new(),
    }
}

/// Creates a webhook; there are at most a hundred, so only cells that need one create it.
async fn webhook(admin: &Role) -> String {
    let webhook = json!({"url": "http://127.0.0.1:9/", "types": ["nothing"]});
    let webhook = admin.post("/v1/webhooks", webhook).await.is(201).json();
    webhook["id"].as_str().unwrap().to_owned()
}

fn request(
    role: &Role,
    username: &str,
    method: &str,
    path: &str,
    n: usize,
    things: &Things,
) -> Call {
    let password = password_of(username);
    let password = if username == "admin" { crate::server::ADMIN_PASSWORD } else { &password };
    let account = format!("{}:main", things.owner);
    let empty = format!("{}:empty", things.owner);
    let id = match path {
        "/v1/accounts/{id}/close" => &empty,
        path if path.contains("/webhooks/") => &things.webhook,
        path if path.contains("/schedules/") => &things.schedule,
        path if path.contains("/bulk/") => &things.job,
        path if path.contains("/transactions/{id}") || path.contains("challenges") => {
            &things.transaction
        }
        path if path.contains("api-keys") => &things.api_key_id,
        path if path.contains("sessions") => &things.session_id,
        _ => &account,
    };
    let code = if path.contains("assets") { "SKU-1" } else { "not-found" };
    let filled = path
        .replace("{code}", code)
        .replace("{username}", &things.owner)
        .replace("{id}", id)
        .replace("{key}", "a-key")
        .replace("{token}", "tx_00000000000000000000000000.0.00")
        .replace("{set}", "prices")
        .replace("{step}", "ask")
        .replace("{n}", "1")
        .replace("challenges/{name}", "challenges/otp")
        .replace("{name}", &format!("matrix{n}"));
    let filled = if (method, path) == ("DELETE", "/v1/sessions") {
        format!("{filled}?except=current")
    } else {
        filled
    };
    let call = role.call(method, &filled);
    let json = |body: Value| call.clone().json(&body);
    match (method, path) {
        ("GET", path) if path.ends_with("/events") => call.header("accept", "application/json"),
        ("PUT", "/v1/workflows/{name}") | ("POST", "/v1/workflows/check") => {
            call.body("application/yaml", matrix(n))
        }
        ("POST", "/v1/transactions/{id}/skip") => json(json!({"reason": "by hand"})),
        ("POST", "/v1/transactions/{id}/replace") => json(json!({"data": {}})),
        ("POST", "/v1/transactions/{id}/migrate" | "/v1/hooks/{name}") => json(json!({})),
        ("POST", "/v1/transactions/bulk") => {
            json(json!({"filter": {"workflow": "nothing"}, "action": "retry"}))
        }
        ("POST", "/v1/webhooks") => {
            json(json!({"url": "http://127.0.0.1:9/", "types": ["nothing"]}))
        }
        ("POST", "/v1/schedules") => {
            json(json!({"workflow": format!("matrix{n}"), "cron": "0 0 1 1 *"}))
        }
        ("POST", "/v1/inbox/claim") => {
            json(json!({"workflow": format!("matrix{n}"), "step": "ask", "limit": 1}))
        }
        ("POST", "/v1/users") => {
            json(json!({"username": format!("new{n}"), "password": password_of("new")}))
        }
        ("PATCH", "/v1/users/{username}") => json(json!({"roles": ["clerk"]})),
        ("PUT", "/v1/users/me/password") => {
            json(json!({"current": password, "new": format!("{password} and more")}))
        }
        ("POST", "/v1/sessions") => {
            json(json!({"username": things.owner, "password": password_of(&things.owner)}))
        }
        ("POST", "/v1/set-password") => {
            let secret = things.link.split_once('#').unwrap().1;
            json(json!({"link": secret, "password": "chosen by whoever has it"}))
        }
        ("POST", "/v1/sessions/current/elevate") => json(json!({"password": password})),
        ("PUT", "/v1/sessions/by-key/{key}") => json(json!({"data": {}, "idle": "1h"})),
        ("POST", "/v1/introspect") => call.body(
            "application/x-www-form-urlencoded",
            format!("token={}", things.owners_session.token()),
        ),
        ("POST", "/v1/api-keys") => json(json!({"name": format!("new{n}")})),
        ("PUT", "/v1/assets/{code}") => json(json!({"scale": 0})),
        ("POST", "/v1/accounts") => json(json!({"id": format!("new{n}"), "asset": "EUR"})),
        ("PATCH", "/v1/accounts/{id}") => json(json!({"frozen": true})),
        ("POST", "/v1/transfers") => {
            json(json!({"from": format!("world{n}"), "to": account, "amount": "0.01"}))
        }
        ("POST", "/v1/holds") => json(json!({"from": account, "amount": "0.01"})),
        ("POST", "/v1/transfers/reverse") => json(json!({"transfers": [account]})),
        ("PUT", "/v1/values/{set}") => json(json!({"read": []})),
        ("POST", "/v1/holds/{id}/capture") => json(json!({"to": empty})),
        ("POST", "/v1/dev/clock") => json(json!({"advance": "1ms"})),
        ("PATCH", _) => call.merge_patch(&json!({"n": n})),
        ("PUT", _) => json(json!({"n": n})),
        _ => call,
    }
}

fn cell_of(answer: &Answer) -> Cell {
    match answer.status {
        200..=299 => Yes,
        401 => Who,
        403 => No,
        404 => Hidden,
        409 if answer.json()["code"] == "not-stuck" => Yes,
        400 if answer.json()["detail"].to_string().contains("WebSocket") => Yes,
        other => panic!("{other} is no answer to who may: {answer}"),
    }
}

/// 8.2.1, 8.2.2, API 1, API 5: every route against nobody, another user, the owner, an
/// administrator and a service.
#[tokio::test]
async fn everybody_may_exactly_what_the_matrix_says() {
    let server = dev();
    let service_key = server.api_key("service", json!({})).await.1;
    let known = routes(&server).await;
    let mut wrong = Vec::new();
    let mut n = 0;
    for (method, path, cells) in ROWS {
        if !known.contains(&((*method).to_owned(), (*path).to_owned())) {
            continue;
        }
        for (column, expected) in COLUMNS.into_iter().zip(cells) {
            n += 1;
            let admin = server.admin().await;
            let mut things = things(&server, &admin, n).await;
            if path.contains("/webhooks/") {
                things.webhook = webhook(&admin).await;
            }
            let (role, username) = match column {
                "nobody" => (server.nobody(), column.to_owned()),
                "owner" => (server.again(&things.owner).await, things.owner.clone()),
                "admin" => (server.admin().await, column.to_owned()),
                "service" => (server.bearer(&service_key), column.to_owned()),
                other => {
                    let name = format!("{other}{n}");
                    (server.user(&name).await, name)
                }
            };
            let changes_the_admins_password = column == "admin" && path.ends_with("/password");
            if changes_the_admins_password {
                continue;
            }
            if (*method, *path) == ("GET", "/v1/sessions/by-key/{key}") && column == "service" {
                role.put("/v1/sessions/by-key/a-key", json!({"data": {}, "idle": "1h"})).await.ok();
            }
            let answer = request(&role, &username, method, path, n, &things).await;
            if cell_of(&answer) != *expected {
                wrong.push(format!("{column}: {method} {path}: {expected:?} expected, {answer}"));
            }
            if *expected != Yes && *method != "GET" {
                // And nothing has changed: the owner's things are untouched.
                assert!(things.owners_session.is_alive().await, "{column} {method} {path}");
            }
        }
    }
    assert!(wrong.is_empty(), "{} cells differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// API 1: a thing that the actor may not see answers exactly as an unknown id does.
#[tokio::test]
async fn a_foreign_id_answers_exactly_as_an_unknown_one() {
    let server = dev();
    let admin = server.admin().await;
    let things = things(&server, &admin, 0).await;
    let mallory = server.user("mallory").await;
    let service = server.gateway().await;
    let unknown_session = "ses_01jd0000000000000000000000";
    let unknown_key = "key_01jd0000000000000000000000";
    let pairs = [
        ("DELETE", "/v1/sessions/", things.session_id.as_str(), unknown_session),
        ("GET", "/v1/users/", things.owner.as_str(), "nobody-of-this-name"),
        ("DELETE", "/v1/users/", things.owner.as_str(), "nobody-of-this-name"),
        ("DELETE", "/v1/api-keys/", things.api_key_id.as_str(), unknown_key),
        ("GET", "/v1/sessions?user=", things.owner.as_str(), "nobody-of-this-name"),
    ];
    for (method, path, existing, unknown) in pairs {
        for role in [&server.nobody(), &mallory, &service] {
            let shape = |answer: Answer, id: &str| {
                let mut problem = answer.json();
                problem["instance"] = json!("");
                let names: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
                (answer.status, names, problem.to_string().replace(id, "ID"))
            };
            let of_existing =
                shape(role.call(method, &format!("{path}{existing}")).await, existing);
            let of_unknown = shape(role.call(method, &format!("{path}{unknown}")).await, unknown);
            assert_eq!(of_existing, of_unknown, "{method} {path}");
        }
    }
    assert!(things.owners_session.is_alive().await);
}

/// 8.2.1: a path without a route is refused like a missing thing, for every caller.
#[tokio::test]
async fn what_is_not_listed_is_refused() {
    let server = dev();
    let admin = server.admin().await;
    for path in [
        "/v1",
        "/v1/",
        "/v1/admin",
        "/v1/users/me/roles",
        "/v1/debug",
        "/admin",
        "/v1/sessions/current/token",
    ] {
        for role in [&server.nobody(), &admin] {
            role.get(path).await.problem(404, "not-found");
        }
    }
}

/// An auditor reads what an administrator reads and changes nothing.
#[tokio::test]
async fn an_auditor_reads_and_changes_nothing() {
    let server = dev();
    let auditor = server.user("auditor").await;
    server.user("alice").await;
    let admin = server.admin().await;
    admin.patch("/v1/users/auditor", json!({"roles": ["abide:auditor"]})).await.ok();
    auditor.get("/metrics").await.ok();
    auditor.patch("/v1/users/alice", json!({"roles": []})).await.problem(403, "not-allowed");
    auditor.delete("/v1/users/alice").await.problem(403, "not-allowed");
    auditor.post("/v1/api-keys", json!({"name": "x"})).await.problem(403, "not-allowed");
    auditor.post("/v1/dev/clock", json!({"advance": "1s"})).await.problem(403, "not-allowed");
}

/// Changes of things without a revision: they make something new, or are about several things.
const WITHOUT_REVISION: [(&str, &str); 20] = [
    ("POST", "/v1/set-password"),
    ("POST", "/v1/callbacks/{token}"),
    ("POST", "/v1/dev/clock"),
    ("POST", "/v1/users"),
    ("POST", "/v1/sessions"),
    ("DELETE", "/v1/sessions"),
    ("POST", "/v1/introspect"),
    ("POST", "/v1/accounts"),
    ("POST", "/v1/transfers"),
    ("POST", "/v1/holds"),
    ("POST", "/v1/workflows/check"),
    ("POST", "/v1/workflows/{name}/transactions"),
    ("POST", "/v1/inbox/claim"),
    ("POST", "/v1/hooks/{name}"),
    ("POST", "/v1/transactions/bulk"),
    ("POST", "/v1/webhooks"),
    ("POST", "/v1/schedules"),
    ("POST", "/v1/api-keys"),
    ("POST", "/v1/transfers/reverse"),
    ("PUT", "/v1/values/{set}"),
];

/// RFC 9110, 13.1.1: every changing route with a stale `If-Match` answers 412 and changes nothing;
/// one that changes something without a revision refuses the header.
#[tokio::test]
async fn every_change_counts_its_conditions() {
    let server = dev();
    let gateway = server.gateway().await;
    let mut wrong = Vec::new();
    for (n, (method, path, cells)) in (1000..).zip(ROWS) {
        if *method == "GET" {
            continue;
        }
        let admin = server.admin().await;
        let mut things = things(&server, &admin, n).await;
        if path.contains("/webhooks/") {
            things.webhook = webhook(&admin).await;
        }
        let owner = things.owner.clone();
        let (role, username) = match cells {
            [_, _, Yes, ..] => (server.again(&owner).await, owner),
            [_, _, _, Yes, _] => (admin, "admin".to_owned()),
            _ => (gateway.clone(), "gateway".to_owned()),
        };
        let admin = server.admin().await;
        let head =
            async || admin.get("/v1/admin/chain").await.ok().json()["revision"].as_u64().unwrap();
        let before = head().await;
        let call = request(&role, &username, method, path, n, &things);
        let answer = call.if_match("\"0\"").await;
        let expected = if WITHOUT_REVISION.contains(&(*method, *path)) {
            (400, "condition-not-supported")
        } else if path.contains("dead-letters/{n}") {
            // There is none: the caller gets that answer first.
            (403, "not-allowed")
        } else {
            (412, "revision-mismatch")
        };
        let found = (answer.status, answer.code());
        if found != (expected.0, expected.1.to_owned()) {
            wrong.push(format!("{method} {path}: {answer}"));
        }
        // A denial is an event of its own.
        if answer.status != 403 && head().await != before {
            wrong.push(format!("{method} {path}: something was changed"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
