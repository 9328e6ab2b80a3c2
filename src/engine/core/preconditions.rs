//! Preconditions of a change (RFC 9110, section 13): which thing a command is about, and whether
//! that is as its caller expects.
//!
//! They are checked here for every command, so none can forget them. A precondition is looked at only
//! where the command would have succeeded or been refused by the state of things: who may not know of
//! a thing is not told its revision.

use crate::engine::Refusal;
use crate::types::Revision;

/// The revisions of an `If-Match` header: one of them must be the current one. Empty: nothing
/// matches (a header of weak or foreign tags). A header of `*` is no condition here, since every
/// thing that it can be sent for exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfMatch(pub Vec<Revision>);

/// What a condition names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// `*`: whatever there is.
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

/// The conditions that come with a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preconditions {
    /// `If-Match`: the thing must be one of these.
    pub if_match: Option<Expected>,
    /// `If-None-Match`: the thing must be none of these; with [`Expected::Any`] it must not exist.
    pub if_none_match: Option<Expected>,
}

impl Preconditions {
    pub(super) fn hold(&self, current: Option<Revision>) -> bool {
        self.if_match.as_ref().is_none_or(|expected| expected.names(current))
            && !self.if_none_match.as_ref().is_some_and(|expected| expected.names(current))
    }
}

/// Refuses when the current revision is none of those that the caller has seen.
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
