//! Rules of user accounts that several commands share.

use std::sync::Arc;

use super::record::{Holder, User};
use crate::engine::core::inputs::CommandInputs;
use crate::engine::core::resolved_actor::ResolvedActor;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::{InputError, Refusal, Rules};
use crate::types::{Role, Username};

/// The name of the first administrator.
pub const FIRST_ADMIN: &str = "admin";

/// Returns the user with this name.
pub(in crate::engine) fn user_or_not_found<'d>(
    unit: &'d UnitOfWork<'_>,
    name: &Username,
) -> Result<&'d User, DecideError> {
    unit.user_named(name)?.ok_or(DecideError::Refused(Refusal::NotFound("user")))
}

/// Returns whether a user has or had this name.
pub(in crate::engine) fn is_taken(
    unit: &UnitOfWork<'_>,
    name: &Username,
) -> Result<bool, DecideError> {
    Ok(matches!(unit.holder(name.clone())?, Some(Holder::User(_) | Holder::Gone)))
}

/// Returns the roles of the first administrator.
pub(in crate::engine) fn admin_roles() -> Arc<[Role]> {
    [Role::admin()].into()
}

/// Refuses a reserved name. The first administrator's name is reserved for the server and its
/// set-up link: otherwise somebody could take it before that link is used.
pub(in crate::engine) fn require_free(
    resolved: &ResolvedActor,
    username: &Username,
    pointer: &str,
) -> Result<(), Refusal> {
    let is_first = username.as_str() == FIRST_ADMIN && !resolved.actor.is_admin();
    if !username.is_reserved() && !is_first {
        return Ok(());
    }
    let message = "is reserved; choose another name";
    Err(Refusal::InvalidInput(vec![InputError::new(pointer, "reserved", message)]))
}

pub(in crate::engine) fn new_user(
    unit: &UnitOfWork<'_>,
    username: &Username,
    inputs: &CommandInputs,
) -> User {
    User {
        id: inputs.user,
        username: username.clone(),
        name: None,
        password: None,
        credential: 0,
        epoch: 0,
        roles: [].into(),
        attributes: crate::engine::core::json_change::EMPTY.into(),
        disabled: false,
        created_at: unit.context.now,
        created_revision: unit.context.revision,
        link: None,
    }
}

/// Refuses a name or a list of roles that exceeds its limit.
pub(in crate::engine) fn require_fit(
    name: Option<&str>,
    roles: Option<&[Role]>,
) -> Result<(), Refusal> {
    let mut errors = Vec::new();
    if name.is_some_and(|name| name.len() > Rules::NAME_BYTES_MAX) {
        let message = format!("must have at most {} bytes", Rules::NAME_BYTES_MAX);
        errors.push(InputError::new("/name", "too-long", message));
    }
    if roles.is_some_and(|roles| roles.len() > Rules::ROLES_MAX) {
        let message = format!("must have at most {} entries", Rules::ROLES_MAX);
        errors.push(InputError::new("/roles", "too-many", message));
    }
    if errors.is_empty() { Ok(()) } else { Err(Refusal::InvalidInput(errors)) }
}
