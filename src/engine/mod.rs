//! The rules, and nothing but the rules: no async, no IO, no clock, no randomness. What they need
//! of those comes in as an argument, so the same command on the same facts at the same moment
//! always gives the same events.

mod actor;
mod command;
mod outcome;
mod refusal;
mod rules;

pub use actor::{Actor, KeyActor, KeyRef, SessionActor, UserRef};
pub use command::{Command, DataChange, IfMatch, StoredKey, UserChange};
pub use outcome::{Data, KeyView, Outcome, SessionView, StoredView, UserView};
pub use refusal::{FieldError, Refusal};
pub use rules::{Profile, Rules};
