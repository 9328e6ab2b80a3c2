//! Inbound webhooks: the signature of a message, its transaction, and its id, under which it counts
//! once.

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use super::signature::SigningKey;
use crate::engine::RecordKey;
use crate::engine::expression::{AccountSeen, Expr, ResolvedValue, Resolver, Type, TypeScope};
use crate::types::{HookName, TxId, WorkflowName};

/// Signature scheme of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignatureScheme {
    /// Standard Webhooks 1.0: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    Standard,
    /// HMAC-SHA256 of the body in this header, as `sha256=HEX`.
    Sha256 {
        /// The header, in lower case.
        header: String,
    },
}

/// An inbound webhook.
#[derive(Clone)]
pub struct Hook {
    /// Name of the hook, in the path and in `by: [hook:NAME]`.
    pub name: HookName,
    /// Name of its secret, which no definition may use.
    pub secret: String,
    /// Signature scheme of its messages.
    pub scheme: SignatureScheme,
    /// Keys that the signatures may use: more than one while keys change.
    pub keys: Vec<SigningKey>,
    /// Workflow whose reference [`Hook::transaction`] yields; `None`: it yields an id.
    pub workflow: Option<WorkflowName>,
    /// Expression for the transaction of a message.
    pub transaction: Expr,
    /// Expression for the message's id; `None`: the header `webhook-id`.
    pub id: Option<Expr>,
    /// Expression for the input of the step; `None`: the body.
    pub input: Option<Expr>,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Hook {
    /// Returns the names that its expressions can use.
    #[must_use]
    pub fn scope() -> TypeScope {
        let open = || Type::Object { keys: std::collections::BTreeMap::new(), open: true };
        let names = [("body", Type::Any), ("headers", open())];
        TypeScope { names: names.into_iter().map(|(name, of)| (Arc::from(name), of)).collect() }
    }
}

/// A received message.
#[derive(Clone, Copy, Debug)]
pub struct HookMessage<'m> {
    /// Headers that occur once, by their names in lower case.
    pub headers: &'m Value,
    /// The body, byte for byte.
    pub bytes: &'m [u8],
    /// The body as JSON.
    pub body: &'m Value,
}

/// A message with a valid signature.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedMessage {
    /// Id of the message, under which it counts once.
    pub id: String,
    /// The transaction.
    pub tx: TxId,
    /// Input of the step.
    pub input: Value,
    /// Name of the message in its transaction, for as long as the transaction is kept. The
    /// Idempotency-Key lives for a day of the server's time, which may be ahead of the wall clock
    /// of signatures.
    pub name: Option<u128>,
}

impl HookMessage<'_> {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

impl Resolver for HookMessage<'_> {
    fn name(&self, name: &str) -> Option<ResolvedValue<'_>> {
        match name {
            "body" => Some(ResolvedValue::Json(self.body)),
            "headers" => Some(ResolvedValue::Json(self.headers)),
            _ => None,
        }
    }

    // A message is evaluated without any record of the store.
    fn account(&self, _: &str) -> Result<AccountSeen, RecordKey> {
        Ok(AccountSeen::none())
    }

    fn hold(&self, _: &str) -> Result<Value, RecordKey> {
        Ok(json!({ "exists": false, "amount": "0", "status": null, "account": null }))
    }

    fn value(&self, _: &str, _: &str) -> Result<Option<ResolvedValue<'_>>, RecordKey> {
        Ok(None)
    }

    fn scale(&self, _: &str) -> Result<Option<u8>, RecordKey> {
        Ok(None)
    }
}
