//! Accidents at will, for the tests of what comes after one. Only builds with
//! `debug_assertions` know this file: what runs in production cannot be asked for one.

use crate::engine::Command;

/// What goes wrong, and at which command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mishap {
    kind: Kind,
    command: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The executor panics when it comes to the command.
    Panic,
    /// The process dies when the command's commit is durable and nobody has been told.
    Die,
}

impl Mishap {
    /// Reads `panic:COMMAND` or `die:COMMAND`, with a name of [`Command::name`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, command) = text.split_once(':')?;
        let kind = match kind {
            "panic" => Kind::Panic,
            "die" => Kind::Die,
            _ => return None,
        };
        Some(Self { kind, command: command.to_owned() })
    }

    /// Where the executor takes a command.
    pub(super) fn at_turn(&self, command: &Command) {
        let is_due = self.kind == Kind::Panic && self.command == command.name();
        assert!(!is_due, "the mishap that was asked for");
    }

    /// Where a command's commit is durable, before its answer.
    pub(super) fn at_answer(&self, command: &str) {
        if self.kind == Kind::Die && self.command == command {
            std::process::abort();
        }
    }
}
