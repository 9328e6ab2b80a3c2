//! Catalogue of the event types that feeds, histories and webhooks deliver, with the fields of
//! their data.
//!
//! The table repeats what [`Event::kind`](crate::engine::Event::kind) and the log data say; a test
//! compares it with the code of both.

/// An event type.
#[derive(Clone, Copy, Debug)]
pub struct EventType {
    /// Its name.
    pub kind: &'static str,
    /// Description of the event, in one sentence.
    pub summary: &'static str,
    /// Fields of its data.
    pub data: &'static [DataField],
}

/// A field of an event's data.
#[derive(Clone, Copy, Debug)]
pub struct DataField {
    /// Its name.
    pub name: &'static str,
    /// The type of its value.
    pub of: FieldType,
    /// True if the value may be null.
    pub may_be_null: bool,
    /// True if the field may be absent.
    pub may_be_absent: bool,
}

/// The type of a value in an event's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// An id or a name.
    Id,
    /// A text.
    Text,
    /// A time (RFC 3339).
    Time,
    /// An amount, as a decimal text.
    Amount,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A list of texts.
    Texts,
    /// An object.
    Object,
    /// Any JSON.
    Any,
}

const fn field(name: &'static str, of: FieldType) -> DataField {
    DataField { name, of, may_be_null: false, may_be_absent: false }
}

const fn id(name: &'static str) -> DataField {
    field(name, FieldType::Id)
}

const fn text(name: &'static str) -> DataField {
    field(name, FieldType::Text)
}

const fn time(name: &'static str) -> DataField {
    field(name, FieldType::Time)
}

const fn amount(name: &'static str) -> DataField {
    field(name, FieldType::Amount)
}

const fn integer(name: &'static str) -> DataField {
    field(name, FieldType::Integer)
}

const fn boolean(name: &'static str) -> DataField {
    field(name, FieldType::Boolean)
}

const fn texts(name: &'static str) -> DataField {
    field(name, FieldType::Texts)
}

const fn object(name: &'static str) -> DataField {
    field(name, FieldType::Object)
}

const fn any(name: &'static str) -> DataField {
    field(name, FieldType::Any)
}

impl DataField {
    const fn or_null(self) -> Self {
        Self { may_be_null: true, ..self }
    }

    const fn or_absent(self) -> Self {
        Self { may_be_absent: true, ..self }
    }
}

const fn event(kind: &'static str, summary: &'static str, data: &'static [DataField]) -> EventType {
    EventType { kind, summary, data }
}

/// Key of the data of every event of a transaction, beside those in the table.
pub const TRANSACTION: DataField = id("transaction");

/// All event types of the server, sorted by name. Types of applications (`emit`) have their own
/// names; their `data` is what the effect says, plus `transaction`.
#[rustfmt::skip]
pub const EVENT_TYPES: &[EventType] = &[
    event("abide.account.changed", "An account's floor, its readers, or whether it is frozen was changed.", &[id("account"), amount("floor").or_null().or_absent(), boolean("frozen").or_absent(), texts("read").or_absent()]),
    event("abide.account.closed", "An account was closed.", &[id("account")]),
    event("abide.account.opened", "An account was opened.", &[id("account"), id("asset"), id("owner").or_null(), amount("floor").or_null()]),
    event("abide.asset.put", "An asset was created or changed.", &[id("asset"), integer("scale"), text("name").or_null()]),
    event("abide.bulk.began", "A bulk operation began.", &[id("job"), any("action"), boolean("dry_run")]),
    event("abide.bulk.ended", "A bulk operation ended.", &[id("job"), integer("matched"), integer("done"), integer("failed"), integer("skipped")]),
    event("abide.call.accepted", "A service answered 202: it will post the result to the callback.", &[integer("call"), time("until")]),
    event("abide.call.began", "An attempt at a call began.", &[integer("call")]),
    event("abide.call.ended", "A call has its final result.", &[integer("call"), text("state"), text("last").or_null()]),
    event("abide.call.kept", "A call was answered, and what follows could not be done: the answer is kept.", &[integer("call")]),
    event("abide.call.made", "A call was committed and will be sent; `op` is `do`, `undo` or `send`.", &[integer("call"), id("step"), text("op")]),
    event("abide.call.retried", "An attempt failed; there will be another one.", &[integer("call"), time("due"), text("last")]),
    event("abide.challenge.failed", "A wrong or expired one-time code was given.", &[id("challenge")]),
    event("abide.challenge.issued", "A one-time code was issued.", &[id("challenge"), integer("round"), time("expires_at")]),
    event("abide.challenge.passed", "The right one-time code was given.", &[id("challenge")]),
    event("abide.challenge.withdrawn", "A one-time code was withdrawn.", &[id("challenge")]),
    event("abide.denied", "Somebody was refused what they may not do.", &[text("what"), text("code"), id("user").or_null()]),
    event("abide.hold.captured", "A held amount was captured; `abide.transfer.posted` follows.", &[id("hold"), id("account"), id("asset"), amount("amount"), id("transaction").or_null(), amount("captured"), amount("released")]),
    event("abide.hold.expired", "What was left of a hold was released when it expired.", &[id("hold"), id("account"), id("asset"), amount("amount"), id("transaction").or_null(), amount("released")]),
    event("abide.hold.placed", "An amount was held.", &[id("hold"), id("account"), id("asset"), amount("amount"), id("transaction").or_null()]),
    event("abide.hold.voided", "What was left of a hold was released.", &[id("hold"), id("account"), id("asset"), amount("amount"), id("transaction").or_null(), amount("released")]),
    event("abide.key.created", "An API key was created.", &[id("key"), text("name"), texts("roles"), texts("on_behalf")]),
    event("abide.key.revoked", "An API key was revoked; `keep_sessions` says whether sessions that it opened go on.", &[id("key"), text("name"), texts("roles"), texts("on_behalf"), boolean("keep_sessions")]),
    event("abide.link.ended", "A single-use link was used, replaced or expired.", &[]),
    event("abide.link.made", "A single-use link was made.", &[id("user").or_null(), time("expires_at")]),
    event("abide.login.failed", "A password was wrong.", &[id("user").or_null(), text("address").or_null()]),
    event("abide.login.failures_forgotten", "Failed logins of an account no longer count.", &[]),
    event("abide.schedule.created", "A schedule was created.", &[id("schedule"), id("workflow"), text("cron"), text("zone")]),
    event("abide.schedule.deleted", "A schedule was deleted.", &[id("schedule"), id("workflow"), text("cron"), text("zone")]),
    event("abide.schedule.fired", "A schedule came due: it started a transaction, or says why not.", &[id("schedule"), time("at"), id("transaction").or_null(), text("reason").or_null()]),
    event("abide.session.data_written", "A session's data was changed.", &[id("session")]),
    event("abide.session.elevated", "The password was confirmed again in a session.", &[id("session"), time("until")]),
    event("abide.session.ended", "A session ended.", &[id("session"), text("reason")]),
    event("abide.session.facts_written", "A session's facts were changed.", &[id("session")]),
    event("abide.session.opened", "A session was opened; `by` is `login`, `anonymous` or `on-behalf`.", &[id("session"), id("user").or_null(), text("by"), id("via").or_null(), text("address").or_null(), time("expires_at")]),
    event("abide.session.rescheduled", "A session's expiry timer was moved, since the session was used.", &[id("session"), time("due")]),
    event("abide.session.token_replaced", "A session has a new token.", &[id("session")]),
    event("abide.session.touched", "A session was used.", &[id("session")]),
    event("abide.session.upgraded", "An anonymous session became a user's.", &[id("session"), id("user"), time("expires_at")]),
    event("abide.step.call_undone", "A call that undoes a step succeeded.", &[id("step")]),
    event("abide.step.claimed", "A step was claimed.", &[id("by"), time("until")]),
    event("abide.step.closed", "An open step was closed without being taken.", &[id("step")]),
    event("abide.step.counted", "A submission counted towards a quorum.", &[id("step"), id("by"), any("input")]),
    event("abide.step.effects_undone", "Effects of a step were undone; `left` of them are not yet.", &[id("step"), integer("left")]),
    event("abide.step.failed", "A step's call failed.", &[id("step"), text("code")]),
    event("abide.step.opened", "A step is open.", &[id("step"), time("due").or_null()]),
    event("abide.step.released", "A claim was given up or expired.", &[]),
    event("abide.step.reminded", "A reminder of an open step ran.", &[id("step")]),
    event("abide.step.taken", "A step was taken.", &[id("step"), any("input").or_null()]),
    event("abide.step.timed_out", "A step ran out of time.", &[id("step")]),
    event("abide.step.undone", "A step was undone.", &[id("step")]),
    event("abide.stored.ended", "A session of another framework ended.", &[id("key")]),
    event("abide.stored.rescheduled", "The expiry timer of another framework's session was moved.", &[id("key")]),
    event("abide.stored.touched", "A session of another framework was used.", &[id("key")]),
    event("abide.stored.written", "A session of another framework was stored.", &[id("key"), id("user").or_null()]),
    event("abide.transaction.cancel_asked", "Somebody asked for the transaction's cancellation.", &[text("reason").or_null()]),
    event("abide.transaction.compensation_began", "Undoing began; status and outcome are those it leads to.", &[text("status"), text("outcome")]),
    event("abide.transaction.data_set", "Keys of the transaction's data were changed.", &[object("set"), texts("removed")]),
    event("abide.transaction.deadline_passed", "The deadline passed after the pivot: nothing else happens.", &[]),
    event("abide.transaction.ended", "The transaction ended.", &[text("status"), text("outcome")]),
    event("abide.transaction.forked", "Branches of `all` began.", &[]),
    event("abide.transaction.joined", "All branches of an `all` have ended.", &[]),
    event("abide.transaction.migrated", "An operator moved the transaction to another version of its workflow.", &[integer("version"), texts("open"), object("added")]),
    event("abide.transaction.owner_changed", "The transaction belongs to another owner.", &[id("owner").or_null()]),
    event("abide.transaction.paused", "An operator paused the transaction.", &[]),
    event("abide.transaction.person_known", "An anonymous session that had submitted a step of the transaction became a user's.", &[id("session"), id("user")]),
    event("abide.transaction.pivot_passed", "The pivot was passed: the transaction only goes forward.", &[]),
    event("abide.transaction.resumed", "An operator resumed the transaction.", &[]),
    event("abide.transaction.retried", "An operator let a stuck transaction try again, or skipped a step.", &[id("skipped").or_null(), text("reason").or_null()]),
    event("abide.transaction.started", "A transaction was started.", &[id("workflow"), integer("version"), id("owner").or_null(), text("reference").or_null(), object("data")]),
    event("abide.transaction.stuck", "The transaction cannot go on; an operator has to look at it.", &[id("step"), text("code"), text("message")]),
    event("abide.transfer.posted", "An amount was transferred.", &[id("transfer"), id("from"), id("to"), id("asset"), amount("amount"), text("note").or_null(), id("transaction").or_null(), id("hold").or_null(), id("reverses").or_null()]),
    event("abide.user.changed", "A user was changed.", &[id("user"), texts("roles").or_null(), boolean("disabled").or_null(), boolean("name_changed"), boolean("attributes_changed")]),
    event("abide.user.created", "A user was created.", &[id("user"), id("username"), texts("roles")]),
    event("abide.user.data_written", "A user's data was changed.", &[id("user")]),
    event("abide.user.deleted", "A user was deleted.", &[id("user"), id("username")]),
    event("abide.user.password_rehashed", "A user's password is stored with stronger parameters.", &[id("user")]),
    event("abide.user.password_set", "A user has a new password.", &[id("user")]),
    event("abide.user.sessions_voided", "All sessions of a user ended.", &[id("user")]),
    event("abide.value.deleted", "A reference value was deleted.", &[id("set"), id("key")]),
    event("abide.value.put", "A reference value was written.", &[id("set"), id("key")]),
    event("abide.value.set_changed", "It was said who else may read a set of reference values.", &[id("set"), boolean("read_anyone")]),
    event("abide.webhook.created", "A webhook was created.", &[id("webhook"), texts("types")]),
    event("abide.webhook.deleted", "A webhook was deleted.", &[id("webhook"), texts("types")]),
    event("abide.webhook.replayed", "Dead letters of a webhook are sent again.", &[id("webhook"), texts("types")]),
    event("abide.webhook.resumed", "A webhook that had stopped goes on.", &[id("webhook"), texts("types")]),
    event("abide.webhook.rotated", "A webhook has a new signing secret.", &[id("webhook"), texts("types")]),
    event("abide.workflow.published", "A version of a workflow was published.", &[id("workflow"), integer("version")]),
    event("abide.workflow.retired", "A workflow was retired: it takes no new starts.", &[id("workflow")]),
];

/// Returns whether events of this type belong to a transaction, so that their data has
/// [`TRANSACTION`].
#[must_use]
pub fn is_of_transaction(kind: &str) -> bool {
    ["abide.transaction.", "abide.step.", "abide.call.", "abide.challenge."]
        .iter()
        .any(|prefix| kind.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use std::collections::{BTreeMap, BTreeSet};

    use regex::Regex;

    use super::*;

    const SOURCES: [&str; 8] = [
        include_str!("event.rs"),
        include_str!("../api_key/event.rs"),
        include_str!("../attempt/event.rs"),
        include_str!("../ledger/event.rs"),
        include_str!("../session/event.rs"),
        include_str!("../transaction/event.rs"),
        include_str!("../user/event.rs"),
        include_str!("../value/event.rs"),
    ];
    const OF_TASKS: [&str; 3] = [
        include_str!("../bulk/commands.rs"),
        include_str!("../schedule/commands.rs"),
        include_str!("../webhook/commands.rs"),
    ];

    /// Returns the body of a function in a source text.
    fn body<'s>(source: &'s str, head: &str) -> &'s str {
        let begin = source.find(head).unwrap_or_else(|| panic!("{head} is gone"));
        let open = begin + source[begin..].find('{').unwrap();
        let mut depth = 0;
        for (at, byte) in source[open..].bytes().enumerate() {
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return &source[open + 1..open + at];
            }
        }
        panic!("{head} has no end");
    }

    /// Returns the arms of a `match`: the variants of each, and its expression.
    fn arms<'s>(body: &'s str, enumeration: &str) -> Vec<(Vec<&'s str>, &'s str)> {
        let head = Regex::new(&format!(r"(?:\n +(?:\| )?|\| |^ *){enumeration}::(\w+)")).unwrap();
        let mut found = Vec::new();
        let heads: Vec<_> = head.captures_iter(body).map(|head| head.get(1).unwrap()).collect();
        let mut variants = Vec::new();
        for (at, variant) in heads.iter().enumerate() {
            variants.push(variant.as_str());
            let until = heads.get(at + 1).map_or(body.len(), regex::Match::start);
            if let Some((_, made)) = body[variant.end()..until].split_once("=>") {
                found.push((std::mem::take(&mut variants), made));
            }
        }
        found
    }

    fn keys(made: &str) -> BTreeSet<String> {
        let key = Regex::new(r#""(\w+)":|put\("(\w+)"|\("(\w+)", \*"#).unwrap();
        let found = key.captures_iter(made);
        found.map(|key| key.iter().skip(1).flatten().next().unwrap().as_str().to_owned()).collect()
    }

    /// Returns the event types with their keys, as the code has them.
    fn of_code() -> BTreeMap<String, BTreeSet<String>> {
        let kind = Regex::new(r#""(abide\.[a-z_.]+)""#).unwrap();
        let variant = Regex::new(r"Self::(\w+)").unwrap();
        let mut found = BTreeMap::new();
        for source in SOURCES {
            // `is_published` lists the events that are not.
            let unpublished: BTreeSet<&str> = match source.split_once("!matches!(") {
                Some((_, rest)) => {
                    let listed = rest
                        .split(
                            "
    }
",
                        )
                        .next()
                        .unwrap_or_default();
                    variant
                        .captures_iter(listed)
                        .map(|found| found.get(1).unwrap().as_str())
                        .collect()
                }
                None => BTreeSet::new(),
            };
            let mut data: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
            for (variants, made) in arms(body(source, "fn log_data("), "Self") {
                let mut keys = keys(made);
                if made.contains("hold_data(") {
                    keys.extend(self::keys(body(source, "fn hold_data")));
                }
                for variant in variants {
                    data.entry(variant).or_default().extend(keys.iter().cloned());
                }
            }
            for (variants, made) in arms(body(source, "fn kind("), "Self") {
                let Some(kind) = kind.captures(made) else { continue };
                assert_eq!(variants.len(), 1, "{made}");
                if !unpublished.contains(variants[0]) {
                    let keys = data.get(variants[0]).unwrap_or_else(|| panic!("{}", variants[0]));
                    found.insert(kind[1].to_owned(), keys.clone());
                }
            }
        }
        found
    }

    #[test]
    fn the_catalogue_has_the_types_and_the_keys_that_the_code_has() {
        let mut of_code = of_code();
        assert!(of_code.len() > 70, "{of_code:#?}");
        let kind = Regex::new(r#""(abide\.(?:bulk|schedule|webhook)\.[a-z_]+)""#).unwrap();
        for source in OF_TASKS {
            for kind in kind.captures_iter(source).map(|kind| kind[1].to_owned()) {
                if kind == crate::engine::webhook::NOTED {
                    continue;
                }
                let listed = EVENT_TYPES.iter().find(|listed| listed.kind == kind);
                let listed = listed.unwrap_or_else(|| panic!("{kind} is not in the catalogue"));
                for field in listed.data {
                    assert!(
                        source.contains(&format!("\"{}\":", field.name)),
                        "{kind}: {}",
                        field.name
                    );
                }
                of_code
                    .insert(kind, listed.data.iter().map(|field| field.name.to_owned()).collect());
            }
        }
        let listed: BTreeMap<String, BTreeSet<String>> = EVENT_TYPES
            .iter()
            .map(|listed| {
                (
                    listed.kind.to_owned(),
                    listed.data.iter().map(|field| field.name.to_owned()).collect(),
                )
            })
            .collect();
        let missing: Vec<_> =
            of_code.iter().filter(|entry| !listed.iter().any(|of| of == *entry)).collect();
        let extra: Vec<_> =
            listed.iter().filter(|entry| !of_code.iter().any(|of| of == *entry)).collect();
        assert!(missing.is_empty() && extra.is_empty(), "code: {missing:?}\ncatalogue: {extra:?}");
        assert!(EVENT_TYPES.is_sorted_by_key(|listed| listed.kind), "by their names");
    }
}
