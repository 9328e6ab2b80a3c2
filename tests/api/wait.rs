//! Waiting for a fact with the means of the server: an answer when there is a newer revision.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::Role;

/// Longest wait of a test, on a machine that builds something else meanwhile.
pub(crate) const PATIENCE: Duration = Duration::from_mins(4);

/// The transaction as soon as `fact` holds of it.
pub(crate) async fn until(role: &Role, id: &str, fact: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/v1/transactions/{id}");
    let deadline = Instant::now() + PATIENCE;
    let mut shown = role.get(&path).await.ok();
    loop {
        let value = shown.json();
        if fact(&value) {
            return value;
        }
        assert!(Instant::now() < deadline, "waited too long: {value}");
        let waiting = role.get(&path).header("prefer", "wait=10");
        let newer = waiting.header("if-none-match", shown.etag()).await;
        if newer.status != 304 {
            shown = newer.ok();
        }
    }
}
