//! Messages of other services: whose they are, which transaction they are about, and that each
//! counts once.

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use super::application::App;
use super::signature::{SigningKey, is_hex, is_standard, is_timely};
use crate::engine::expression::{
    AccountSeen, EvalStop, Expr, ResolvedValue, Resolver, TemplateOutput, Type, TypeScope,
};
use crate::engine::{Record, RecordKey, Refusal, reference_fact};
use crate::types::{HookName, TxId, WorkflowName};

/// Longest id of a message, in bytes: it becomes an Idempotency-Key.
const ID_BYTES_MAX: usize = 255;

/// How messages of a hook are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Standard Webhooks 1.0: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    Standard,
    /// HMAC-SHA256 of the body in this header, as `sha256=HEX`.
    Sha256 {
        /// The header, in lower case.
        header: String,
    },
}

/// Where another service's messages come in.
#[derive(Clone)]
pub struct Hook {
    /// Its name, in the path and in `by: [hook:NAME]`.
    pub name: HookName,
    /// The name of its secret: no definition may name it.
    pub secret: String,
    /// How its messages are signed.
    pub scheme: Scheme,
    /// The keys that they may be signed with: more than one while keys change.
    pub keys: Vec<SigningKey>,
    /// The workflow whose reference [`Hook::transaction`] makes; `None`: it makes an id.
    pub workflow: Option<WorkflowName>,
    /// Which transaction a message is about.
    pub transaction: Expr,
    /// The message's id; `None`: the header `webhook-id`.
    pub id: Option<Expr>,
    /// The input of the step; `None`: the body.
    pub input: Option<Expr>,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Hook {
    /// What its expressions see.
    #[must_use]
    pub fn scope() -> TypeScope {
        let open = || Type::Object { keys: std::collections::BTreeMap::new(), open: true };
        let names = [("body", Type::Any), ("headers", open())];
        TypeScope { names: names.into_iter().map(|(name, of)| (Arc::from(name), of)).collect() }
    }
}

/// A message as it came.
#[derive(Clone, Copy, Debug)]
pub struct Message<'m> {
    /// The headers that were sent once, by their names in lower case.
    pub headers: &'m Value,
    /// The body, byte for byte.
    pub bytes: &'m [u8],
    /// The body as JSON.
    pub body: &'m Value,
}

/// A message that is of whom it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Its id, under which it counts once.
    pub id: String,
    /// The transaction.
    pub tx: TxId,
    /// What is sent to it.
    pub input: Value,
    /// Names the message in its transaction, for as long as that is kept. Its Idempotency-Key is kept
    /// for a day of the server's time, which may be ahead of the wall clock that signatures go by.
    pub name: Option<u128>,
}

impl Message<'_> {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

impl Resolver for Message<'_> {
    fn name(&self, name: &str) -> Option<ResolvedValue<'_>> {
        match name {
            "body" => Some(ResolvedValue::Json(self.body)),
            "headers" => Some(ResolvedValue::Json(self.headers)),
            _ => None,
        }
    }

    // A message is read before anything of the store is.
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

impl App {
    /// The hook with this name.
    ///
    /// # Errors
    /// [`Refusal::NotFound`]
    pub fn hook(&self, name: &str) -> Result<&Hook, Refusal> {
        let found = self.hooks.iter().find(|hook| hook.name.as_str() == name);
        found.ok_or(Refusal::NotFound("hook"))
    }

    /// Whether a message is signed as the hook wants it, and not too old.
    ///
    /// # Errors
    /// [`Refusal::InvalidSignature`]
    pub fn verify(&self, hook: &Hook, message: &Message<'_>) -> Result<(), Refusal> {
        let good = match &hook.scheme {
            Scheme::Standard => {
                let seconds = message.header("webhook-timestamp");
                if !is_timely(seconds, self.wall_now()) {
                    let what =
                        "`webhook-timestamp` is missing, or more than 300 s off the server's clock";
                    return Err(Refusal::InvalidSignature(what));
                }
                let (id, signature) =
                    (message.header("webhook-id"), message.header("webhook-signature"));
                if id.is_empty() || signature.is_empty() {
                    let what = "`webhook-id` or `webhook-signature` is missing";
                    return Err(Refusal::InvalidSignature(what));
                }
                hook.keys.iter().any(|key| is_standard(key, id, seconds, message.bytes, signature))
            }
            Scheme::Sha256 { header } => {
                let signature = message.header(header);
                if signature.is_empty() {
                    let what = "the header with the signature is missing";
                    return Err(Refusal::InvalidSignature(what));
                }
                hook.keys.iter().any(|key| is_hex(key, message.bytes, signature))
            }
        };
        if good { Ok(()) } else { Err(Refusal::InvalidSignature("it is of another key or body")) }
    }

    /// What a message that was verified is about.
    ///
    /// # Errors
    /// [`Refusal::ExpressionFailed`], [`Refusal::NotFound`], [`Refusal::Stopping`].
    pub fn delivery(&self, hook: &Hook, message: &Message<'_>) -> Result<Delivery, Refusal> {
        let id = match &hook.id {
            Some(expr) => text(expr, message)?,
            None => message.header("webhook-id").to_owned(),
        };
        if id.is_empty() || id.len() > ID_BYTES_MAX || !id.bytes().all(|b| b.is_ascii_graphic()) {
            let what = format!("the id of a message has 1 to {ID_BYTES_MAX} visible characters");
            return Err(Refusal::ExpressionFailed(what));
        }
        let none = || Refusal::NotFound("transaction");
        let named = text(&hook.transaction, message)?;
        let tx = match &hook.workflow {
            None => named.parse().map_err(|_| none())?,
            Some(workflow) => match self.record_key(&reference_fact(workflow, &named))? {
                Some((Record::Reference(reference), _)) => reference.tx,
                _ => return Err(none()),
            },
        };
        let input = match &hook.input {
            Some(expr) => made(expr, message)?.into_json(),
            None => message.body.clone(),
        };
        let name = blake3::hash(format!("{}/{id}", hook.name).as_bytes());
        let name = name.as_bytes().first_chunk().map(|first| u128::from_be_bytes(*first));
        Ok(Delivery { id, tx, input, name })
    }
}

fn made(expr: &Expr, message: &Message<'_>) -> Result<TemplateOutput, Refusal> {
    expr.eval(message).map_err(|stop| {
        Refusal::ExpressionFailed(match stop {
            EvalStop::Failed(what) => what,
            EvalStop::Need(_) => "a message sees nothing but itself".to_owned(),
        })
    })
}

fn text(expr: &Expr, message: &Message<'_>) -> Result<String, Refusal> {
    let made = made(expr, message)?;
    let number = || made.to_int().map(|number| number.to_string());
    let text = made.to_text().map(str::to_owned);
    text.or_else(|what| number().map_err(|_| what)).map_err(Refusal::ExpressionFailed)
}
