//! What may be done to API keys.

use super::decide::{Acting, Evidence};
use super::draft::{Draft, Stop};
use super::state::ApiKey;
use super::{Event, FieldError, Outcome, Refusal, Rules};
use crate::types::{KeyId, Role, UserPattern};

pub(super) fn create(
    draft: &mut Draft<'_>,
    acting: &Acting,
    name: &str,
    roles: &[Role],
    on_behalf: &[UserPattern],
    evidence: &Evidence,
) -> Result<Outcome, Stop> {
    acting.must_be_admin()?;
    super::users::must_fit(Some(name), Some(roles))?;
    if on_behalf.len() > Rules::ROLES_MAX {
        let message = format!("must have at most {} entries", Rules::ROLES_MAX);
        let error = FieldError::new("/on_behalf", "too-many", message);
        return Err(Refusal::InvalidInput(vec![error]).into());
    }
    if draft.key_count()? >= Rules::KEYS_MAX as u64 {
        return Err(Refusal::LimitReached { what: "API keys", max: Rules::KEYS_MAX }.into());
    }
    let key = ApiKey {
        id: evidence.key,
        token: evidence.token()?.hash(),
        name: name.into(),
        roles: roles.into(),
        on_behalf: on_behalf.into(),
        created_at: draft.moment.now,
    };
    let view = key.view(draft.moment.revision);
    draft.emit(Event::KeyCreated { key: Box::new(key) })?;
    Ok(Outcome::KeyCreated { key: view, token: evidence.token()?.clone() })
}

pub(super) fn revoke(draft: &mut Draft<'_>, acting: &Acting, id: KeyId) -> Result<Outcome, Stop> {
    acting.must_be_admin()?;
    let key = draft.key(id)?.ok_or(Refusal::NotFound("API key"))?.clone();
    draft.emit(Event::KeyRevoked { key: Box::new(key) })?;
    Ok(Outcome::Done)
}
