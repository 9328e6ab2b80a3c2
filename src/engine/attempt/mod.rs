//! Failed attempts at secrets that can be guessed: their counters, and the delay before the next
//! attempt.

mod apply;
mod event;
mod record;
mod rules;

pub(super) use apply::apply;
pub use event::AttemptEvent;
pub use record::{Attempts, Counted, Counter};
pub(super) use rules::{has_failures, require_not_wait};
