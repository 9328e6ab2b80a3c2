//! Preconditions of a change (RFC 9110, section 13): the expected revision of the thing that a
//! command changes.
//!
//! One place checks them for all commands, so that no command can forget them. The check takes
//! place only if the command succeeds or its refusal depends on stored state: an actor that may not
//! know of a thing does not learn its revision.

use crate::engine::Refusal;
use crate::types::Revision;

/// The revisions of an `If-Match` header: one of them must be the current one. An empty list
/// matches nothing (a header of weak or foreign tags). A header of `*` is no condition here, since
/// it can only be sent for things that exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfMatch(pub Vec<Revision>);

/// Revisions that a condition names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// `*`: any revision.
    Any,
    /// These revisions.
    OneOf(Vec<Revision>),
}

impl Expected {
    fn names(&self, current: Option<Revision>) -> bool {
        match self {
            Self::Any => current.is_some(),
            Self::OneOf(revisions) => current.is_some_and(|current| revisions.contains(&current)),
        }
    }
}

/// Conditions of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preconditions {
    /// `If-Match`: the current revision must be one of these.
    pub if_match: Option<Expected>,
    /// `If-None-Match`: the current revision must be none of these; with [`Expected::Any`] the
    /// thing must not exist.
    pub if_none_match: Option<Expected>,
}

impl Preconditions {
    pub(super) fn hold(&self, current: Option<Revision>) -> bool {
        self.if_match.as_ref().is_none_or(|expected| expected.names(current))
            && !self.if_none_match.as_ref().is_some_and(|expected| expected.names(current))
    }
}

/// Refuses if the current revision is none of those that the caller expects.
pub(in crate::engine) fn require_match(
    if_match: Option<&IfMatch>,
    current: Revision,
) -> Result<(), Refusal> {
    match if_match {
        Some(IfMatch(seen)) if !seen.contains(&current) => {
            Err(Refusal::RevisionMismatch { current })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_hold_as_rfc_9110_says() {
        let one = |revision| Some(Expected::OneOf(vec![Revision::new(revision)]));
        let now = Some(Revision::new(5));
        let holds = |if_match, if_none_match, current| {
            Preconditions { if_match, if_none_match }.hold(current)
        };
        let any = || Some(Expected::Any);
        assert!(holds(None, None, now) && holds(None, None, None));
        assert!(holds(any(), None, now) && !holds(any(), None, None));
        assert!(
            holds(one(5), None, now) && !holds(one(4), None, now) && !holds(one(5), None, None)
        );
        assert!(!holds(Some(Expected::OneOf(Vec::new())), None, now));
        assert!(!holds(None, any(), now) && holds(None, any(), None));
        assert!(!holds(None, one(5), now) && holds(None, one(4), now) && holds(None, one(5), None));
        assert!(!holds(one(5), one(5), now), "both must hold");
    }
}
