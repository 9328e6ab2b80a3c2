//! Commands of users.

use super::account::{
    FIRST_ADMIN, admin_roles, is_taken, new_user, require_fit, require_free, user_or_not_found,
};
use super::password::{new_password_hash, require_good, require_proved};
use super::record::{Link, LinkMaker, User};
use crate::engine::attempt::require_not_wait;
use crate::engine::core::inputs::CommandInputs;
use crate::engine::core::preconditions::require_match;
use crate::engine::core::record::{Opens, RecordKey};
use crate::engine::core::resolved_actor::ResolvedActor;
use crate::engine::core::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::session::end_sessions_of;
use crate::engine::{
    Data, DataChange, EndReason, IfMatch, Outcome, Refusal, UserChange, UserEvent, UserView,
};
use crate::types::{Password, Role, Token, UserId, Username};

/// Maximum size of a user's attributes as compact JSON, in bytes. The user's own record holds them,
/// and every login reads it.
pub const ATTRIBUTES_BYTES_MAX: usize = 16 * 1024;

/// A user to be created.
pub(in crate::engine) struct NewUser<'a> {
    pub(in crate::engine) username: &'a Username,
    pub(in crate::engine) password: &'a Password,
    pub(in crate::engine) name: Option<&'a str>,
}

pub(in crate::engine) fn register(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    new: &NewUser<'_>,
    roles: Option<&[Role]>,
    inputs: &CommandInputs,
) -> Result<Outcome, DecideError> {
    let is_admin = resolved.actor.is_admin();
    if !is_admin && !unit.rules.registration_open {
        return Err(Refusal::NotAllowed("only an administrator creates users here").into());
    }
    if !is_admin && roles.is_some() {
        return Err(Refusal::NotAllowed("only an administrator gives roles").into());
    }
    require_fit(new.name, roles)?;
    require_free(resolved, new.username, "/username")?;
    require_good(unit.rules, "/password", Some(new.username), new.password)?;
    if is_taken(unit, new.username)? {
        return Err(Refusal::UsernameTaken.into());
    }
    let mut user = new_user(unit, new.username, inputs);
    user.name = new.name.map(Into::into);
    user.password = Some(new_password_hash(inputs)?);
    user.roles = roles.unwrap_or_default().into();
    let view = user.view(unit.context.revision);
    unit.emit(UserEvent::Created { user: Box::new(user) })?;
    Ok(Outcome::UserCreated(view))
}

pub(in crate::engine) fn change_password(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    new: &Password,
    inputs: &CommandInputs,
) -> Result<Outcome, DecideError> {
    let (session, user) = resolved.user()?;
    require_good(unit.rules, "/new", Some(&user.username), new)?;
    require_not_wait(unit, &inputs.session_counters())?;
    require_proved(user, inputs)?;
    let (id, names) = (session.id, user.names());
    set_password(unit, user, new_password_hash(inputs)?)?;
    end_sessions_of(unit, &names, Some(id), EndReason::PasswordChanged)?;
    crate::engine::session::elevate_session(unit, id, user, inputs)?;
    crate::engine::session::with_token(unit, id, user.roles.clone(), inputs, false)
}

fn set_password(
    unit: &mut UnitOfWork<'_>,
    user: &User,
    hash: std::sync::Arc<str>,
) -> Result<(), DecideError> {
    if let Some(link) = user.link {
        unit.emit(UserEvent::LinkEnded { hash: link })?;
    }
    unit.emit(UserEvent::PasswordSet { user: user.id, hash })
}

pub(in crate::engine) fn change_data(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    change: &DataChange,
    if_match: Option<&IfMatch>,
) -> Result<Outcome, DecideError> {
    let (_, user) = resolved.user()?;
    let id = user.id;
    let revision = unit.revision(&RecordKey::UserData(id))?.unwrap_or(user.created_revision);
    require_match(if_match, revision)?;
    let current = unit.user_data(id)?.cloned();
    let current = current.unwrap_or_else(|| crate::engine::core::json_change::EMPTY.into());
    let bytes_max = unit.rules.data_bytes_max;
    let json =
        crate::engine::core::json_change::change(&current, change, "the user data", bytes_max)?;
    if json == current {
        return Ok(Outcome::Data(Data { json, revision }));
    }
    unit.emit(UserEvent::DataWritten { user: id, json: json.clone() })?;
    Ok(Outcome::Data(Data { json, revision: unit.context.revision }))
}

pub(in crate::engine) fn change(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    username: &Username,
    change: &UserChange,
    if_match: Option<&IfMatch>,
) -> Result<Outcome, DecideError> {
    resolved.require_admin()?;
    let user = user_or_not_found(unit, username)?.clone();
    let revision = unit.revision(&RecordKey::User(user.id))?.unwrap_or_default();
    require_match(if_match, revision)?;
    require_fit(change.name.as_ref().and_then(Option::as_deref), change.roles.as_deref())?;
    let mut change = change.clone();
    if let Some(patch) = &change.attributes {
        let merged = crate::engine::core::json_change::merge(&user.attributes, patch);
        if crate::engine::core::json_change::text(&merged).len() > ATTRIBUTES_BYTES_MAX {
            let (what, bytes_max) = ("the attributes", ATTRIBUTES_BYTES_MAX);
            return Err(Refusal::TooLarge { what, bytes_max }.into());
        }
        change.attributes = Some(merged);
    }
    let disables = change.disabled == Some(true) && !user.disabled;
    let demotes = change.roles.as_ref().is_some_and(|roles| !roles.contains(&Role::admin()));
    if disables || demotes {
        require_not_last(unit, &user)?;
    }
    if let Some(roles) = &change.roles {
        forget_role_changes(unit, &user, roles)?;
    }
    let gains_power = change.roles.as_ref().is_some_and(|roles| roles.iter().any(Role::is_power));
    unit.emit(UserEvent::Changed { user: user.id, change: Box::new(change) })?;
    if let (true, Some(hash)) = (gains_power, user.link)
        && let Some(Opens::Link(link)) = unit.opens(hash)?
        && !link.maker.reaches_power()
    {
        // The maker of the link may no longer make one for this user, so it loses the old one too.
        unit.emit(UserEvent::LinkEnded { hash })?;
    }
    if disables {
        end_sessions_of(unit, &user.names(), None, EndReason::UserDisabled)?;
    }
    Ok(Outcome::UserChanged(view(unit, user.id)?))
}

/// Forgets the changes that transactions made to roles that an administrator now gives or takes:
/// undoing such a transaction must not revert the later decision.
fn forget_role_changes(
    unit: &mut UnitOfWork<'_>,
    user: &User,
    roles: &[Role],
) -> Result<(), DecideError> {
    let Some(mut changes) = unit.role_changes(user.id)?.cloned() else { return Ok(()) };
    let given = roles.iter().filter(|role| !user.roles.contains(role));
    let taken = user.roles.iter().filter(|role| !roles.contains(role));
    let forgotten = given.chain(taken).filter(|role| changes.forget(role)).count();
    if forgotten > 0 {
        let changes = Box::new(changes);
        unit.emit(UserEvent::RoleChangesNoted { user: user.id, changes })?;
    }
    Ok(())
}

pub(in crate::engine) fn delete(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    username: &Username,
    if_match: Option<&IfMatch>,
) -> Result<Outcome, DecideError> {
    resolved.require_admin()?;
    let user = user_or_not_found(unit, username)?.clone();
    let revision = unit.revision(&RecordKey::User(user.id))?.unwrap_or_default();
    require_match(if_match, revision)?;
    require_not_last(unit, &user)?;
    end_sessions_of(unit, &user.names(), None, EndReason::UserDeleted)?;
    if let Some(hash) = user.link {
        unit.emit(UserEvent::LinkEnded { hash })?;
    }
    unit.emit(UserEvent::Deleted { user: user.names() })?;
    Ok(Outcome::Done)
}

/// Refuses to remove the only administrator: nobody could ever create another one.
fn require_not_last(unit: &UnitOfWork<'_>, user: &User) -> Result<(), DecideError> {
    if user.is_administrator() && unit.administrator_count()? <= 1 {
        return Err(Refusal::LastAdministrator.into());
    }
    Ok(())
}

pub(in crate::engine) fn make_reset_link(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    username: &Username,
    inputs: &CommandInputs,
) -> Result<Outcome, DecideError> {
    // A link is as good as a password: a service gets one only for users for whom it may act.
    if !resolved.actor.is_admin() {
        resolved.key()?.require_cover(username)?;
    }
    let user = user_or_not_found(unit, username)?.clone();
    if !resolved.actor.is_admin() {
        resolved.key()?.require_reach(&user)?;
    }
    if let Some(hash) = user.link {
        unit.emit(UserEvent::LinkEnded { hash })?;
    }
    let expires_at = unit.context.now.plus(unit.rules.link_life);
    let maker = match &resolved.key {
        Some(key) => LinkMaker::Key { id: key.id, is_admin: resolved.actor.is_admin() },
        None => LinkMaker::Administrator,
    };
    let link = Link { user: Some(user.id), expires_at, maker };
    unit.emit(UserEvent::LinkMade { hash: inputs.token()?.hash(), link })?;
    Ok(Outcome::LinkMade { link: inputs.token()?.clone(), expires_at })
}

pub(in crate::engine) fn make_set_up_link(
    unit: &mut UnitOfWork<'_>,
    resolved: &ResolvedActor,
    inputs: &CommandInputs,
) -> Result<Outcome, DecideError> {
    resolved.require_system("only the server itself makes it")?;
    let expires_at = unit.context.now.plus(unit.rules.link_life);
    let link = Link { user: None, expires_at, maker: LinkMaker::Administrator };
    unit.emit(UserEvent::LinkMade { hash: inputs.token()?.hash(), link })?;
    Ok(Outcome::LinkMade { link: inputs.token()?.clone(), expires_at })
}

pub(in crate::engine) fn use_link(
    unit: &mut UnitOfWork<'_>,
    token: &Token,
    password: &Password,
    inputs: &CommandInputs,
) -> Result<Outcome, DecideError> {
    let hash = token.hash();
    let link = match unit.opens(hash)? {
        Some(Opens::Link(link)) if unit.context.now < link.expires_at => *link,
        _ => return Err(Refusal::LinkNotValid.into()),
    };
    let Some(user) = link.user else { return set_up(unit, token, password, inputs) };
    let user = unit.user(user)?.filter(|user| !user.disabled);
    let user = user.ok_or(Refusal::LinkNotValid)?.clone();
    if user.has_power() && !link.maker.reaches_power() {
        return Err(Refusal::LinkNotValid.into());
    }
    if let LinkMaker::Key { id, .. } = link.maker
        && unit.key(id)?.is_none()
    {
        return Err(Refusal::LinkNotValid.into());
    }
    require_good(unit.rules, "/password", Some(&user.username), password)?;
    set_password(unit, &user, new_password_hash(inputs)?)?;
    end_sessions_of(unit, &user.names(), None, EndReason::PasswordChanged)?;
    Ok(Outcome::UserChanged(view(unit, user.id)?))
}

/// The first administrator chooses a password.
fn set_up(
    unit: &mut UnitOfWork<'_>,
    token: &Token,
    password: &Password,
    inputs: &CommandInputs,
) -> Result<Outcome, DecideError> {
    let username: Username = FIRST_ADMIN.parse().map_err(|_| Refusal::LinkNotValid)?;
    require_good(unit.rules, "/password", Some(&username), password)?;
    if is_taken(unit, &username)? {
        return Err(Refusal::LinkNotValid.into());
    }
    let mut user = new_user(unit, &username, inputs);
    user.password = Some(new_password_hash(inputs)?);
    user.roles = admin_roles();
    let view = user.view(unit.context.revision);
    unit.emit(UserEvent::LinkEnded { hash: token.hash() })?;
    unit.emit(UserEvent::Created { user: Box::new(user) })?;
    Ok(Outcome::UserCreated(view))
}

fn view(unit: &UnitOfWork<'_>, id: UserId) -> Result<UserView, DecideError> {
    let user = unit.user(id)?.ok_or(Refusal::NotFound("user"))?;
    Ok(user.view(unit.context.revision))
}
