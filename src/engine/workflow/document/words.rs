//! Keys of the language, for the reader and the schema for editors.

/// Keys of a document.
pub(crate) const TOP: [&str; 15] = [
    "abide",
    "workflow",
    "title",
    "description",
    "start",
    "readers",
    "restricted",
    "cancel",
    "deadline",
    "unique",
    "session_end",
    "input",
    "data",
    "first",
    "steps",
];

/// Keys of a step.
pub(crate) const STEP: [&str; 19] = [
    "title",
    "description",
    "by",
    "call",
    "wait",
    "input",
    "guard",
    "do",
    "next",
    "timeout",
    "remind",
    "pivot",
    "quorum",
    "claim",
    "max_submissions",
    "refused",
    "exhausted",
    "compensate",
    "failed",
];

/// Old keys of documents that an earlier build accepted, with their new names. No old key is one of
/// the language any more; [`super::read_v1`] translates them in stored documents.
pub(crate) const RENAMED: [(&str, &str); 4] =
    [("see", "readers"), ("show", "restricted"), ("one", "unique"), ("times", "max_submissions")];

/// Keys of a guard.
pub(crate) const GUARD: [&str; 5] = ["that", "code", "message", "challenge", "with"];

/// Keys of a target that is a mapping.
pub(crate) const TARGET: [&str; 5] = ["any", "all", "next", "end", "cancel"];

/// Keys of one of several targets.
pub(crate) const CHOICE: [&str; 2] = ["when", "next"];

/// Keys of `timeout`.
pub(crate) const TIMEOUT: [&str; 2] = ["after", "next"];

/// Keys of a reminder.
pub(crate) const REMIND: [&str; 2] = ["after", "do"];

/// Keys of `wait`.
pub(crate) const WAIT: [&str; 2] = ["for", "until"];

/// Keys of `call`.
pub(crate) const CALL: [&str; 8] =
    ["method", "url", "headers", "body", "timeout", "retry", "refused", "callback"];

/// Keys of `call` in `compensate`.
pub(crate) const UNDO_CALL: [&str; 7] =
    ["method", "url", "headers", "body", "timeout", "retry", "refused"];

/// Keys of `send`.
pub(crate) const SEND: [&str; 3] = ["url", "body", "headers"];

/// Keys of `retry`.
pub(crate) const RETRY: [&str; 4] = ["attempts", "first", "factor", "max"];

/// Keys of an entry of `compensate`.
pub(crate) const UNDO: [&str; 1] = ["call"];

/// Keys of `start` and `cancel`.
pub(crate) const WHO: [&str; 1] = ["by"];

/// Keys beside the name of an effect.
pub(crate) const BESIDE: [&str; 3] = ["when", "as", "do"];
