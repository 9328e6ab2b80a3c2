//! `void`: releases a hold.

use std::sync::Arc;

use super::hold::{self, group_key, open_in_group};
use super::syntax::{self, EffectKey, EffectSyntax, ValueSyntax};
use super::{FlowChange, WorkflowEffect};
use crate::engine::core::unit_of_work::DecideError;
use crate::engine::transaction::eval_context::Bindings;
use crate::engine::transaction::interpreter::Interpreter;
use crate::engine::transaction::record::Compensation;
use crate::engine::workflow::Template;
use crate::engine::workflow::document::{DefinitionReader, EffectNode};

/// Releases a hold.
#[derive(Debug)]
pub struct VoidEffect {
    /// Group of holds.
    pub hold: Arc<str>,
    /// Key in the group; `None`: all of the group.
    pub key: Option<Template>,
}

impl WorkflowEffect for VoidEffect {
    const SYNTAX: EffectSyntax = EffectSyntax {
        name: "void",
        value: ValueSyntax::Keys(&[
            EffectKey::required("hold", syntax::code),
            EffectKey::optional("key", syntax::template),
        ]),
        description: "Releases what is left.",
        does: "releases what is left",
        undone_by: "-",
    };

    fn read(reader: &mut DefinitionReader, node: &EffectNode<'_, '_>) -> Option<Self> {
        let fields = node.fields(reader, &Self::SYNTAX)?;
        let hold = fields.code(reader, "hold", "the name of a hold");
        Some(Self { hold: hold?, key: fields.template(reader, "key") })
    }

    fn flow_change(&self) -> FlowChange<'_> {
        FlowChange::UsesHold { hold: &self.hold, closes: true }
    }

    fn execute(
        &self,
        interpreter: &mut Interpreter<'_, '_>,
        bindings: &Bindings,
        _: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        let key = group_key(interpreter, self.key.as_ref(), bindings)?;
        let ids = open_in_group(interpreter, &self.hold, key.as_deref())?;
        ids.iter().try_for_each(|id| hold::void(interpreter, id))
    }
}
