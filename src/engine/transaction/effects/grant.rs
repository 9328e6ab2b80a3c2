//! `grant`: gives a user a role.

use super::roles::{ROLE_KEYS, change, read_user_and_role};
use super::syntax::{EffectSyntax, ValueSyntax};
use super::{EffectReferences, WorkflowEffect};
use crate::engine::core::unit_of_work::DecideError;
use crate::engine::transaction::eval_context::Bindings;
use crate::engine::transaction::interpreter::Interpreter;
use crate::engine::transaction::record::Compensation;
use crate::engine::workflow::Template;
use crate::engine::workflow::document::{DefinitionReader, EffectNode};
use crate::types::Role;

/// Gives a user a role.
#[derive(Debug)]
pub struct GrantEffect {
    /// Name of the user.
    pub user: Template,
    /// Role.
    pub role: Role,
}

impl WorkflowEffect for GrantEffect {
    const SYNTAX: EffectSyntax = EffectSyntax {
        name: "grant",
        value: ValueSyntax::Keys(ROLE_KEYS),
        description: "Gives a user a role.",
        does: "gives a role that the publisher has; never `abide:*`",
        undone_by: "the opposite",
    };

    fn read(reader: &mut DefinitionReader, node: &EffectNode<'_, '_>) -> Option<Self> {
        let (user, role) = read_user_and_role(reader, node, &Self::SYNTAX)?;
        Some(Self { user, role })
    }

    fn references<'e>(&'e self, found: &mut EffectReferences<'e>) {
        found.roles.push(&self.role);
    }

    fn execute(
        &self,
        interpreter: &mut Interpreter<'_, '_>,
        bindings: &Bindings,
        compensations: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        let change = change(interpreter, &self.user, &self.role, true, bindings)?;
        compensations.extend(change);
        Ok(())
    }
}
