//! Verification of the messages of inbound webhooks, and what they are about.

use super::application::App;
use super::hooks::{Hook, HookMessage, SignatureScheme, VerifiedMessage};
use super::signature::{is_hex, is_standard, is_timely};
use crate::engine::expression::{EvalStop, Expr, TemplateOutput};
use crate::engine::{Record, Refusal, reference_fact};

/// Maximum length of a message's id, in bytes. The id becomes an Idempotency-Key.
const ID_BYTES_MAX: usize = 255;

impl App {
    /// Returns the hook with this name.
    ///
    /// # Errors
    /// [`Refusal::NotFound`]
    pub fn hook(&self, name: &str) -> Result<&Hook, Refusal> {
        let found = self.hooks.iter().find(|hook| hook.name.as_str() == name);
        found.ok_or(Refusal::NotFound("hook"))
    }

    /// Checks the signature and the age of a message.
    ///
    /// # Errors
    /// [`Refusal::InvalidSignature`]
    pub fn verify(&self, hook: &Hook, message: &HookMessage<'_>) -> Result<(), Refusal> {
        let good = match &hook.scheme {
            SignatureScheme::Standard => {
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
            SignatureScheme::Sha256 { header } => {
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

    /// Returns the transaction, the id and the input of a verified message.
    ///
    /// # Errors
    /// [`Refusal::ExpressionFailed`], [`Refusal::NotFound`], [`Refusal::Stopping`].
    pub fn delivery(
        &self,
        hook: &Hook,
        message: &HookMessage<'_>,
    ) -> Result<VerifiedMessage, Refusal> {
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
            Some(workflow) => match self.read_record(&reference_fact(workflow, &named))? {
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
        Ok(VerifiedMessage { id, tx, input, name })
    }
}

fn made(expr: &Expr, message: &HookMessage<'_>) -> Result<TemplateOutput, Refusal> {
    expr.eval(message).map_err(|stop| {
        Refusal::ExpressionFailed(match stop {
            EvalStop::Failed(what) => what,
            EvalStop::Need(_) => "a message sees nothing but itself".to_owned(),
        })
    })
}

fn text(expr: &Expr, message: &HookMessage<'_>) -> Result<String, Refusal> {
    let made = made(expr, message)?;
    let number = || made.to_int().map(|number| number.to_string());
    let text = made.to_text().map(str::to_owned);
    text.or_else(|what| number().map_err(|_| what)).map_err(Refusal::ExpressionFailed)
}
