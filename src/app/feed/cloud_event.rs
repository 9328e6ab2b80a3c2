//! Events as `CloudEvents` 1.0 (JSON format), as streams, sockets, pages and webhooks send them.

use serde::Serialize;

use super::commit::FeedEvent;
use crate::types::{Time, TxId};

/// Attributes of a `CloudEvent`: everything but its data.
#[derive(Serialize)]
struct Attributes<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    time: Time,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a str>,
    actorkind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    actorvia: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<TxId>,
}

impl FeedEvent {
    /// Returns the event as the JSON text of a `CloudEvent`.
    #[must_use]
    pub fn to_cloud_event(&self) -> String {
        let source = match self.transaction {
            Some(tx) => format!("/v1/transactions/{tx}"),
            None => "/v1".to_owned(),
        };
        let attributes = Attributes {
            specversion: "1.0",
            id: self.id.to_string(),
            source,
            kind: &self.kind,
            subject: self.subject.as_deref(),
            time: self.at,
            datacontenttype: "application/json",
            actor: self.actor.name.as_deref(),
            actorkind: &self.actor.kind,
            actorvia: self.actor.via.as_deref(),
            transaction: self.transaction,
        };
        // Serialization of texts and times cannot fail.
        let mut text = serde_json::to_string(&attributes).unwrap_or_default();
        text.pop();
        text.push_str(",\"data\":");
        text.push_str(&self.data);
        text.push('}');
        text
    }
}
