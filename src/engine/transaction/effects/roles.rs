//! Changes of a user's roles, shared by `grant` and `revoke`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::syntax::{self, EffectKey, EffectSyntax};
use crate::engine::core::unit_of_work::DecideError;
use crate::engine::transaction::eval_context::Bindings;
use crate::engine::transaction::interpreter::Interpreter;
use crate::engine::transaction::record::{Compensation, CompletedStep};
use crate::engine::workflow::Template;
use crate::engine::workflow::document::{DefinitionReader, EffectNode};
use crate::engine::{Refusal, Rules, UserChange, UserEvent};
use crate::types::{Role, UserId, Username};

/// Keys of both effects.
pub(super) const ROLE_KEYS: &[EffectKey] =
    &[EffectKey::required("user", syntax::template), EffectKey::required("role", syntax::role)];

/// Reads the keys of both effects.
pub(super) fn read_user_and_role(
    reader: &mut DefinitionReader,
    node: &EffectNode<'_, '_>,
    syntax: &EffectSyntax,
) -> Option<(Template, Role)> {
    let fields = node.fields(reader, syntax)?;
    let user = fields.checked_text::<Username>(reader, "user", "the name of a user");
    let role = fields.role(reader, "role");
    Some((user?, role?))
}

/// Gives or takes a role; returns the compensation.
pub(super) fn change(
    interpreter: &mut Interpreter<'_, '_>,
    user: &Template,
    role: &Role,
    give: bool,
    bindings: &Bindings,
) -> Result<Option<Compensation>, DecideError> {
    let name = interpreter.text(user, bindings, "a user's name")?;
    let user = interpreter.user(&name)?.id;
    // Checked at publish too; this check also covers stored definitions.
    if role.is_power() {
        return Err(Refusal::NotAllowed("no workflow gives or takes an abide role").into());
    }
    let unit = &mut *interpreter.unit;
    let has = unit.user(user)?.is_some_and(|user| user.roles.contains(role));
    let mut changes = unit.role_changes(user)?.cloned().unwrap_or_default();
    // The changes of one commit number fewer than 2^16.
    let from = unit.context.revision.get() << 16;
    let number = changes.add(role, has, give, from);
    if number.is_some() {
        unit.emit(UserEvent::RoleChangesNoted { user, changes: Box::new(changes) })?;
    }
    write_role(interpreter, user, role, give)?;
    Ok(number.map(|number| Compensation::Role(user, role.clone(), number)))
}

/// Undoes a change of a role; changes in older records have no number. Later changes by others are
/// kept; a deleted user has no roles.
pub(super) fn undo_change(
    interpreter: &mut Interpreter<'_, '_>,
    user: UserId,
    role: &Role,
    change: Result<u64, bool>,
) -> Result<(), DecideError> {
    let unit = &mut *interpreter.unit;
    let Some(record) = unit.user(user)? else { return Ok(()) };
    let has = record.roles.contains(role);
    let before = unit.role_changes(user)?;
    let mut changes = before.cloned().unwrap_or_default();
    let is_new = before.is_none();
    let after = match change {
        Ok(number) => changes.undo(role, number, has),
        Err(gave) => changes.undo_unnumbered(role, gave, has),
    };
    if !is_new {
        unit.emit(UserEvent::RoleChangesNoted { user, changes: Box::new(changes) })?;
    }
    write_role(interpreter, user, role, after)
}

fn write_role(
    interpreter: &mut Interpreter<'_, '_>,
    user: UserId,
    role: &Role,
    give: bool,
) -> Result<(), DecideError> {
    if role.is_power() {
        return Err(Refusal::NotAllowed("no workflow gives or takes an abide role").into());
    }
    let Some(record) = interpreter.unit.user(user)? else {
        return Err(Refusal::NotFound("user").into());
    };
    if record.roles.contains(role) == give {
        return Ok(());
    }
    let mut roles = record.roles.to_vec();
    if give {
        if roles.len() >= Rules::ROLES_MAX {
            let what = "roles of a user";
            return Err(Refusal::LimitReached { what, max: Rules::ROLES_MAX }.into());
        }
        roles.push(role.clone());
    } else {
        roles.retain(|other| other != role);
    }
    let change = UserChange { roles: Some(roles), ..UserChange::default() };
    interpreter.unit.emit(UserEvent::Changed { user, change: Box::new(change) })
}

impl Interpreter<'_, '_> {
    /// Records that the role changes of these steps will never be undone.
    pub(in crate::engine::transaction) fn keep_roles(
        &mut self,
        done: &[Arc<CompletedStep>],
    ) -> Result<(), DecideError> {
        let mut last = BTreeMap::new();
        for undo in done.iter().flat_map(|done| &done.undo) {
            if let Compensation::Role(user, role, number) = undo {
                let known = last.entry((*user, role)).or_insert(*number);
                *known = (*known).max(*number);
            }
        }
        for ((user, role), number) in last {
            let Some(mut changes) = self.unit.role_changes(user)?.cloned() else { continue };
            changes.keep(role, number);
            self.unit.emit(UserEvent::RoleChangesNoted { user, changes: Box::new(changes) })?;
        }
        Ok(())
    }
}
