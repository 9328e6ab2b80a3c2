//! A role, its requests, and their answers.

use std::fmt::Write as _;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::{Arc, RwLock};

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

/// The password of a user of `Server::user`.
pub(crate) fn password_of(username: &str) -> String {
    format!("the long password of {username}")
}

/// A client: with a bearer token, with a cookie, or without credentials.
#[derive(Clone)]
pub(crate) struct Role {
    http: reqwest::Client,
    base: Arc<RwLock<String>>,
    token: Option<String>,
}

impl Role {
    pub(crate) fn new(
        http: reqwest::Client,
        base: Arc<RwLock<String>>,
        token: Option<String>,
    ) -> Self {
        Self { http, base, token }
    }

    /// The token shown; for a role that has one.
    pub(crate) fn token(&self) -> &str {
        self.token.as_deref().unwrap()
    }

    /// The same client with another token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    pub(crate) fn call(&self, method: &str, path: &str) -> Call {
        let mut headers = Vec::new();
        if let Some(token) = &self.token {
            headers.push(("authorization".into(), format!("Bearer {token}").into_bytes()));
        }
        Call {
            http: self.http.clone(),
            base: Arc::clone(&self.base),
            method: method.into(),
            path: path.into(),
            headers,
            body: None,
        }
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        self.call("GET", path)
    }

    pub(crate) fn post(&self, path: &str, body: Value) -> Call {
        self.call("POST", path).json(&body)
    }

    /// A POST without a body.
    pub(crate) fn post_empty(&self, path: &str) -> Call {
        self.call("POST", path)
    }

    pub(crate) fn put(&self, path: &str, body: Value) -> Call {
        self.call("PUT", path).json(&body)
    }

    pub(crate) fn patch(&self, path: &str, body: Value) -> Call {
        self.call("PATCH", path).json(&body)
    }

    pub(crate) fn delete(&self, path: &str) -> Call {
        self.call("DELETE", path)
    }

    /// The session in which this role acts.
    pub(crate) fn session(&self) -> Call {
        self.get("/v1/sessions/current")
    }

    pub(crate) fn data(&self) -> Call {
        self.get("/v1/sessions/current/data")
    }

    pub(crate) fn put_data(&self, data: Value) -> Call {
        self.put("/v1/sessions/current/data", data)
    }

    /// A merge patch (RFC 7396) of the session's data.
    pub(crate) fn patch_data(&self, patch: Value) -> Call {
        self.call("PATCH", "/v1/sessions/current/data").merge_patch(&patch)
    }

    /// A JSON patch (RFC 6902) of the session's data.
    pub(crate) fn json_patch_data(&self, patch: Value) -> Call {
        self.call("PATCH", "/v1/sessions/current/data").json_patch(&patch)
    }

    pub(crate) fn logout(&self) -> Call {
        self.delete("/v1/sessions/current")
    }

    /// Returns whether the token still names a living session (or key).
    pub(crate) async fn is_alive(&self) -> bool {
        match self.session().await.status {
            200 => true,
            401 => false,
            other => panic!("a session check answered {other}"),
        }
    }

    /// Asserts that the token is dead, with the one answer for all dead tokens.
    pub(crate) async fn is_dead(&self) {
        self.session().await.problem(401, "unauthenticated");
    }
}

/// A request being made; await it.
#[derive(Clone)]
pub(crate) struct Call {
    http: reqwest::Client,
    base: Arc<RwLock<String>>,
    method: String,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Option<Vec<u8>>,
}

impl Call {
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), value.as_ref().into()));
        self
    }

    /// `Idempotency-Key`
    pub(crate) fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub(crate) fn if_match(self, etag: &str) -> Self {
        self.header("if-match", etag)
    }

    pub(crate) fn cookie(self, cookie: &str) -> Self {
        self.header("cookie", cookie)
    }

    pub(crate) fn body(mut self, content_type: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.headers.retain(|(name, _)| name != "content-type");
        self.body = Some(bytes.into());
        self.header("content-type", content_type)
    }

    pub(crate) fn body_without_type(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.headers.retain(|(name, _)| name != "content-type");
        self.body = Some(bytes.into());
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub(crate) fn merge_patch(self, body: &Value) -> Self {
        self.body("application/merge-patch+json", body.to_string())
    }

    pub(crate) fn json_patch(self, body: &Value) -> Self {
        self.body("application/json-patch+json", body.to_string())
    }

    async fn send(self) -> Result<Answer, reqwest::Error> {
        let mut what = format!("{} {}", self.method, self.path);
        if let Some(body) = &self.body {
            let shown = &body[..body.len().min(300)];
            write!(what, " {}", String::from_utf8_lossy(shown)).unwrap();
        }
        let url = format!("{}{}", self.base.read().unwrap(), self.path);
        let method = reqwest::Method::from_bytes(self.method.as_bytes()).unwrap();
        let mut request = self.http.request(method, url);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        if let Some(body) = self.body {
            request = request.body(body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = response.bytes().await?.to_vec();
        Ok(Answer { what, status, headers, body })
    }

    /// Returns the media type of the answer and reads nothing more: a stream has no end.
    pub(crate) async fn content_type(self) -> String {
        let url = format!("{}{}", self.base.read().unwrap(), self.path);
        let method = reqwest::Method::from_bytes(self.method.as_bytes()).unwrap();
        let request = self.http.request(method, url);
        let add = |request: reqwest::RequestBuilder, (name, value)| {
            request.header::<String, Vec<u8>>(name, value)
        };
        let response = self.headers.into_iter().fold(request, add).send().await.unwrap();
        response.headers()["content-type"].to_str().unwrap().to_owned()
    }

    /// Returns the answer, or nothing if the connection broke (the server was killed).
    pub(crate) async fn attempt(self) -> Option<Answer> {
        self.send().await.ok()
    }
}

impl IntoFuture for Call {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let answer = self.send().await.unwrap();
            answer.keeps_what_every_answer_promises();
            answer
        })
    }
}

/// An answer of the server.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    what: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The checks that hold for every answer of every call, so every test makes them.
    fn keeps_what_every_answer_promises(&self) {
        let request_id = self.header("x-request-id");
        assert!(!request_id.is_empty(), "no X-Request-Id: {self}");
        assert_ne!(self.status, 500, "{self}");
        for banner in ["server", "x-powered-by", "via"] {
            let value = self.header(banner);
            assert!(!value.contains(char::is_numeric), "a version banner: {self}");
        }
        assert_eq!(self.header("x-content-type-options"), "nosniff", "{self}");
        if self.status >= 400 {
            assert_eq!(self.header("content-type"), "application/problem+json", "{self}");
            if self.body.is_empty() {
                assert!(self.what.starts_with("HEAD "), "an error without a document: {self}");
                return;
            }
            let problem = self.json();
            let code = problem["code"].as_str().unwrap_or_else(|| panic!("no code: {self}"));
            assert_eq!(problem["status"], json!(self.status), "{self}");
            // A workflow's own codes share one page.
            if problem["type"] != "/problems/refused-by-guard" {
                assert_eq!(problem["type"], json!(format!("/problems/{code}")), "{self}");
            }
            // A replayed refusal is the first one, byte for byte, and so names the first request.
            if self.header("idempotency-replayed").is_empty() {
                assert_eq!(problem["instance"], json!(request_id), "{self}");
            }
            for member in ["title", "detail"] {
                assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{self}");
            }
            let text = self.text();
            for leak in ["panicked", "src/", ".rs:", "/root/", "/home/", "/tmp/", "RUST_BACKTRACE"]
            {
                assert!(!text.contains(leak), "16.5.1: {leak} in {self}");
            }
        }
    }

    /// Asserts a success.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert!((200..300).contains(&self.status), "not a success: {self}");
        self
    }

    /// Asserts the status.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// Asserts a problem document of this status and code.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{self}");
        self
    }

    /// Asserts that one of the problem's `errors` points at a member.
    #[track_caller]
    pub(crate) fn points_at(self, pointer: &str) -> Self {
        let errors = self.json()["errors"].clone();
        let found = errors.as_array().is_some_and(|errors| {
            errors.iter().any(|error| {
                error["pointer"] == pointer
                    && error["code"].is_string()
                    && error["message"].is_string()
            })
        });
        assert!(found, "nothing points at {pointer}: {self}");
        self
    }

    /// The code of a problem document, else nothing.
    pub(crate) fn code(&self) -> String {
        serde_json::from_slice::<Value>(&self.body)
            .ok()
            .and_then(|body| Some(body["code"].as_str()?.to_owned()))
            .unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's text, empty when absent.
    pub(crate) fn header(&self, name: &str) -> String {
        let value = self.headers.get(name).map(|value| value.as_bytes().to_vec());
        String::from_utf8_lossy(&value.unwrap_or_default()).into_owned()
    }

    /// The ETag, which must be a strong one.
    #[track_caller]
    pub(crate) fn etag(&self) -> String {
        let etag = self.header("etag");
        assert!(etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"'), "ETag: {self}");
        etag
    }

    /// The `Set-Cookie` lines.
    pub(crate) fn set_cookies(&self) -> Vec<String> {
        let lines = self.headers.get_all("set-cookie");
        lines.iter().map(|line| line.to_str().unwrap().to_owned()).collect()
    }

    /// Status, the headers that belong to the answer itself, and the body: what a replay repeats.
    pub(crate) fn first_answer(&self) -> (u16, Vec<(String, String)>, Vec<u8>) {
        let kept = ["content-type", "location", "etag"];
        let headers = kept.iter().map(|name| ((*name).to_owned(), self.header(name))).collect();
        (self.status, headers, self.body.clone())
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = self.text();
        let body: String = body.chars().take(1200).collect();
        write!(f, "{}\n-> {} {:?}\n{body}", self.what, self.status, self.headers)
    }
}
