//! `send`: sends a request in the background.

use super::syntax::{EffectSyntax, ValueSyntax};
use super::{EffectReferences, WorkflowEffect};
use crate::engine::core::unit_of_work::DecideError;
use crate::engine::transaction::eval_context::Bindings;
use crate::engine::transaction::interpreter::Interpreter;
use crate::engine::transaction::record::Compensation;
use crate::engine::workflow::document::{DefinitionReader, EffectNode};
use crate::engine::workflow::document::{RequestUse, request};
use crate::engine::workflow::{RequestTemplate, send_schema};

/// Sends a request in the background.
#[derive(Debug)]
pub struct SendEffect {
    /// Request.
    pub request: RequestTemplate,
}

impl WorkflowEffect for SendEffect {
    const SYNTAX: EffectSyntax = EffectSyntax {
        name: "send",
        value: ValueSyntax::Other { form: "send: { url, body?, headers? }", schema: send_schema },
        description: "Tells another service, never waited for.",
        does: "sends a request in the background; the transaction does not wait for it. Tried for \
               about a day until the receiver answers 2xx; a receiver that answers 410 is not tried \
               again",
        undone_by: "-",
    };

    fn read(reader: &mut DefinitionReader, node: &EffectNode<'_, '_>) -> Option<Self> {
        let request = request(reader, node.value, node.scope, RequestUse::Send)?;
        Some(Self { request })
    }

    fn references<'e>(&'e self, found: &mut EffectReferences<'e>) {
        found.requests.push(&self.request);
    }

    fn execute(
        &self,
        interpreter: &mut Interpreter<'_, '_>,
        bindings: &Bindings,
        _: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        let request = interpreter.ask(&self.request, bindings)?;
        let step = interpreter.at.clone();
        interpreter.send(&step, None, request)
    }
}
