//! Effects of a document.

use std::sync::Arc;

use serde_json::Value;

use super::call::{RequestUse, request};
use super::kinds;
use super::reader::{DefinitionReader, DocumentNode, MappingFields, listed, shortened, source_of};
use super::step::{kind_of, list, target};
use super::words;
use crate::engine::expression::{Expr, Type, TypeScope};
use crate::engine::workflow::definition::{Effect, EffectKind, Template};
use crate::types::{AccountId, AssetCode, Decimal, Role, Span, StepName, Time, TxId, WorkflowName};

/// Most effects of a step, its reminders and what stands inside `each` included.
const EFFECTS_MAX: usize = 64;
/// Deepest nesting of `each`.
const EACH_DEPTH_MAX: usize = 3;
/// Most digits of a one-time code: what the engine makes of a hash.
const DIGITS: (u32, u32) = (4, 10);
/// Most wrong codes, and most new codes, of one challenge.
const TRIES_MAX: u32 = 20;
/// Digits of a one-time code where the document names no number.
const CHALLENGE_DIGITS: u32 = 6;
/// Lifetime of a one-time code where the document names none.
const CHALLENGE_EXPIRES: Span = Span::from_minutes(5);
/// Wrong codes that a challenge allows where the document names no number.
const CHALLENGE_ATTEMPTS: u32 = 3;
/// New codes that a challenge allows where the document names no number.
const CHALLENGE_RESENDS: u32 = 3;

/// Where effects stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    Step,
    Reminder,
}

/// Reads a list of effects.
pub(super) fn effects(
    reader: &mut DefinitionReader,
    spot: Option<&DocumentNode<'_>>,
    scope: &TypeScope,
    setting: Setting,
) -> Vec<Effect> {
    nested(reader, spot, scope, setting, 0)
}

fn nested(
    reader: &mut DefinitionReader,
    spot: Option<&DocumentNode<'_>>,
    scope: &TypeScope,
    setting: Setting,
    depth: usize,
) -> Vec<Effect> {
    let items = list(reader, spot, "a list of effects", EFFECTS_MAX);
    reader.effects += items.len();
    if let Some(spot) = spot
        && reader.effects > EFFECTS_MAX
    {
        let message = format!("a step has at most {EFFECTS_MAX} effects");
        reader.fault(&spot.pointer, "too-many-effects", message);
        return Vec::new();
    }
    items.iter().filter_map(|item| effect(reader, item, scope, setting, depth)).collect()
}

/// One effect at its place.
struct Place<'s, 't> {
    spot: &'s DocumentNode<'t>,
    fields: MappingFields<'t>,
    scope: &'s TypeScope,
    what: &'static str,
}

fn effect(
    reader: &mut DefinitionReader,
    spot: &DocumentNode<'_>,
    scope: &TypeScope,
    setting: Setting,
    depth: usize,
) -> Option<Effect> {
    let known: Vec<&str> =
        words::EFFECTS.iter().map(|(name, _)| *name).chain(words::BESIDE).collect();
    let later_before = reader.faults.len();
    let fields = reader.fields(spot, "an effect", &known, &[])?;
    let told = reader.faults.len() > later_before;
    let kinds: Vec<_> = words::EFFECTS
        .iter()
        .filter_map(|(name, keys)| fields.get(name).map(|spot| (*name, *keys, spot)))
        .collect();
    let when = fields.get("when").and_then(|spot| reader.condition(spot, scope));
    let [(name, keys, at)] = kinds.as_slice() else {
        if kinds.len() > 1 {
            let message = format!(
                "an effect does one thing, and this names {}; make them elements of the list",
                listed(&kinds.iter().map(|(name, ..)| *name).collect::<Vec<_>>())
            );
            reader.fault(&spot.pointer, "several-effects", message);
        } else if !told {
            let message = format!(
                "an effect names what it does: one of {}",
                listed(&words::EFFECTS.map(|(name, _)| name))
            );
            reader.fault(&spot.pointer, "no-effect", message);
        }
        return None;
    };
    if *name != "each" {
        for key in ["as", "do"] {
            if let Some(extra) = fields.get(key) {
                let message = format!("`{key}` stands beside `each` only");
                reader.fault(&extra.pointer, "misplaced-key", message);
            }
        }
    }
    let kind = match *name {
        "set" | "merge" => {
            let template = object(reader, at, scope, "the keys to set");
            if *name == "set" {
                reader.declare(&template);
                EffectKind::Set(template)
            } else {
                reader.declare_merged(&template);
                EffectKind::Merge(template)
            }
        }
        "each" => each(reader, at, &fields, scope, setting, depth)?,
        "send" => EffectKind::Send(request(reader, at, scope, RequestUse::Send)?),
        _ => {
            let what = name;
            let fields = reader.fields(at, &format!("`{what}`"), keys, &[])?;
            let place = Place { spot: at, fields, scope, what };
            simple(reader, &place)?
        }
    };
    Some(Effect { when, kind })
}

fn each(
    reader: &mut DefinitionReader,
    at: &DocumentNode<'_>,
    fields: &MappingFields<'_>,
    scope: &TypeScope,
    setting: Setting,
    depth: usize,
) -> Option<EffectKind> {
    if depth >= EACH_DEPTH_MAX {
        let message = format!("`each` is nested at most {EACH_DEPTH_MAX} deep");
        reader.fault(&at.pointer, "too-deep", message);
        return None;
    }
    let list = reader.expression(at, scope, "a list");
    let name = reader.required(fields, "as", "`each`").cloned();
    let name = name.and_then(|spot| variable(reader, &spot, scope));
    let effects = reader.required(fields, "do", "`each`").cloned();
    let element = match list.as_ref().map(Expr::kind) {
        Some(Type::List(element)) => (**element).clone(),
        Some(other) => {
            reader.expect(&at.pointer, other, &[Type::List(Box::new(Type::Any))], "a list");
            Type::Any
        }
        None => Type::Any,
    };
    let mut inner = scope.clone();
    if let Some(name) = &name {
        inner.names.insert(name.clone(), element);
    }
    let effects = nested(reader, effects.as_ref(), &inner, setting, depth + 1);
    Some(EffectKind::Each { list: list?, name: name?, effects })
}

/// A name for the elements of a list.
fn variable(
    reader: &mut DefinitionReader,
    spot: &DocumentNode<'_>,
    scope: &TypeScope,
) -> Option<Arc<str>> {
    let text = reader.text(spot, "a name")?;
    let plain = text.len() <= 64
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let taken = kinds::TAKEN.contains(&text) || scope.names.contains_key(text);
    if plain && !taken {
        return Some(text.into());
    }
    let message = if taken {
        format!("`{text}` stands for something else already")
    } else {
        format!("`{}` is no name: 1 to 64 characters of a-z, 0-9 and _", shortened(text))
    };
    reader.fault(&spot.pointer, "invalid-name", message);
    None
}

impl Place<'_, '_> {
    fn needed(&self, reader: &mut DefinitionReader, key: &str) -> Option<DocumentNode<'_>> {
        reader.required(&self.fields, key, &format!("`{}`", self.what)).cloned()
    }

    fn template(&self, reader: &mut DefinitionReader, key: &str) -> Option<Template> {
        self.fields.get(key).map(|spot| reader.template(spot, self.scope))
    }

    /// A text, of which the literal ones are checked.
    fn textual<T: std::str::FromStr>(
        &self,
        reader: &mut DefinitionReader,
        key: &str,
        what: &str,
    ) -> Option<Template>
    where
        T::Err: std::fmt::Display,
    {
        let spot = self.needed(reader, key)?;
        checked(reader, &spot, self.scope, what, |reader, spot| {
            reader.word::<T>(spot, what).is_some()
        })
    }

    fn account(&self, reader: &mut DefinitionReader, key: &str) -> Option<Template> {
        self.textual::<AccountId>(reader, key, "an account")
    }

    fn amount(&self, reader: &mut DefinitionReader, key: &str) -> Option<Template> {
        let spot = self.fields.get(key)?;
        amount(reader, spot, self.scope)
    }

    fn group(&self, reader: &mut DefinitionReader, key: &str) -> Option<Arc<str>> {
        let spot = self.needed(reader, key)?;
        reader.code(&spot, "the name of a hold")
    }

    fn note(&self, reader: &mut DefinitionReader) -> Option<Template> {
        let spot = self.fields.get("note")?;
        let note = reader.template(spot, self.scope);
        let fits = [Type::Text, Type::AmountText, Type::Null];
        reader.expect(&spot.pointer, &kind_of(&note), &fits, "a text");
        Some(note)
    }

    /// What must make a text.
    fn text(&self, reader: &mut DefinitionReader, key: &str, what: &str) -> Option<Template> {
        let spot = self.fields.get(key)?;
        let made = reader.template(spot, self.scope);
        let fits = [Type::Text, Type::AmountText];
        reader.expect(&spot.pointer, &kind_of(&made), &fits, what);
        Some(made)
    }

    /// What must make an object, if it is there.
    fn object(&self, reader: &mut DefinitionReader, key: &str) -> Option<Template> {
        self.fields.get(key).map(|spot| object(reader, spot, self.scope, "the input"))
    }

    fn authority(&self, reader: &mut DefinitionReader) -> bool {
        let Some(spot) = self.fields.get("authority") else { return false };
        if spot.text() == Some("workflow") {
            return true;
        }
        reader.fault(&spot.pointer, "invalid-value", "this must be `workflow`");
        false
    }

    fn role(&self, reader: &mut DefinitionReader) -> Option<Role> {
        let spot = self.needed(reader, "role")?;
        if spot.text().is_some_and(|text| text.starts_with('=')) {
            let message = "a role is written out: what a workflow may hand out is known when it \
                           is published";
            reader.fault(&spot.pointer, "invalid-value", message);
            return None;
        }
        let role = reader.word::<Role>(&spot, "a role")?;
        if role.is_power() {
            let message = "roles that begin with `abide:` are never handed out by a workflow";
            reader.fault(&spot.pointer, "invalid-value", message);
            return None;
        }
        Some(role)
    }

    fn user(&self, reader: &mut DefinitionReader) -> Option<Template> {
        let spot = self.needed(reader, "user")?;
        checked(reader, &spot, self.scope, "the name of a user", |reader, spot| {
            reader.word::<crate::types::Username>(spot, "the name of a user").is_some()
        })
    }
}

fn simple(reader: &mut DefinitionReader, place: &Place<'_, '_>) -> Option<EffectKind> {
    Some(match place.what {
        "hold" => {
            let id = place.group(reader, "id");
            let key = place.template(reader, "key");
            let from = place.account(reader, "from");
            place.needed(reader, "amount");
            let amount = place.amount(reader, "amount");
            let expires =
                place.fields.get("expires").map(|spot| expires(reader, spot, place.scope));
            // Nobody submits anything when the time has come.
            let then = kinds::with_data(&reader.data);
            let on_expiry = place.fields.get("on_expiry").map(|spot| target(reader, spot, &then));
            if let (Some(spot), None) = (place.fields.get("on_expiry"), &expires) {
                let message = "`on_expiry` needs `expires`: this hold never expires";
                reader.fault(&spot.pointer, "missing-key", message);
            }
            let authority = place.authority(reader);
            EffectKind::Hold {
                id: id?,
                key,
                from: from?,
                amount: amount?,
                expires,
                on_expiry,
                authority,
            }
        }
        "capture" => {
            let hold = place.group(reader, "hold");
            let key = place.template(reader, "key");
            let to = place.account(reader, "to");
            let amount = place.amount(reader, "amount");
            let keep_rest = keep(reader, place);
            let note = place.note(reader);
            EffectKind::Capture { hold: hold?, key, to: to?, amount, keep_rest, note }
        }
        "void" => {
            let hold = place.group(reader, "hold");
            EffectKind::Void { hold: hold?, key: place.template(reader, "key") }
        }
        "transfer" => {
            let from = place.account(reader, "from");
            let to = place.account(reader, "to");
            place.needed(reader, "amount");
            let amount = place.amount(reader, "amount");
            let note = place.note(reader);
            let authority = place.authority(reader);
            EffectKind::Transfer { from: from?, to: to?, amount: amount?, note, authority }
        }
        "challenge" => challenge(reader, place)?,
        "session" => {
            let part = |reader: &mut DefinitionReader, key: &str| {
                place.fields.get(key).map(|spot| object(reader, spot, place.scope, "keys to set"))
            };
            let facts = part(reader, "facts");
            let data = part(reader, "data");
            if facts.is_none() && data.is_none() {
                let message = "`session` has `facts`, `data` or both";
                reader.fault(&place.spot.pointer, "missing-key", message);
            }
            EffectKind::Session { facts, data }
        }
        "emit" => {
            let kind = place.needed(reader, "type").and_then(|spot| event(reader, &spot));
            EffectKind::Emit { kind: kind?, data: place.template(reader, "data") }
        }
        "open" => {
            let account = place.account(reader, "account");
            let asset = place.textual::<AssetCode>(reader, "asset", "an asset");
            place.needed(reader, "owner");
            let owner = place.template(reader, "owner");
            let floor = place.fields.get("floor").and_then(|spot| floor(reader, spot, place.scope));
            EffectKind::Open { account: account?, asset: asset?, owner: owner?, floor }
        }
        "grant" => {
            let (user, role) = (place.user(reader), place.role(reader));
            EffectKind::Grant { user: user?, role: role? }
        }
        "start" => {
            let workflow = place.textual::<WorkflowName>(reader, "workflow", "a workflow");
            place.needed(reader, "reference");
            let reference = place.text(reader, "reference", "a reference");
            let input = place.object(reader, "input");
            let owner = place.template(reader, "owner");
            EffectKind::Start { workflow: workflow?, reference: reference?, input, owner }
        }
        "submit" => {
            let transaction = place.textual::<TxId>(reader, "transaction", "a transaction's id");
            let step = place.textual::<StepName>(reader, "step", "a step");
            let input = place.object(reader, "input");
            EffectKind::Submit { transaction: transaction?, step: step?, input }
        }
        _ => {
            let (user, role) = (place.user(reader), place.role(reader));
            EffectKind::Revoke { user: user?, role: role? }
        }
    })
}

fn challenge(reader: &mut DefinitionReader, place: &Place<'_, '_>) -> Option<EffectKind> {
    let id = place.needed(reader, "id").and_then(|spot| reader.code(&spot, "a challenge's name"));
    let mut whole = |key: &str, least, most, default| match place.fields.get(key) {
        Some(spot) => reader.whole(spot, least, most),
        None => Some(default),
    };
    let digits = whole("digits", DIGITS.0, DIGITS.1, CHALLENGE_DIGITS)
        .and_then(|digits| u8::try_from(digits).ok());
    let attempts = whole("attempts", 1, TRIES_MAX, CHALLENGE_ATTEMPTS);
    let resend = whole("resend", 0, TRIES_MAX, CHALLENGE_RESENDS);
    let expires = match place.fields.get("expires") {
        Some(spot) => reader.span(spot),
        None => Some(CHALLENGE_EXPIRES),
    };
    let binds = match place.fields.get("binds") {
        Some(spot) => object(reader, spot, place.scope, "what the code is bound to"),
        None => Template::Literal(Value::Object(serde_json::Map::new())),
    };
    let send = place.fields.get("send").and_then(|spot| {
        let mut scope = place.scope.clone();
        scope.names.insert("code".into(), Type::Text);
        request(reader, spot, &scope, RequestUse::Send)
    });
    Some(EffectKind::Challenge {
        id: id?,
        digits: digits?,
        expires: expires?,
        attempts: attempts?,
        resend: resend?,
        binds,
        send,
    })
}

fn keep(reader: &mut DefinitionReader, place: &Place<'_, '_>) -> bool {
    let Some(spot) = place.fields.get("keep") else { return false };
    if spot.text() != Some("rest") {
        reader.fault(&spot.pointer, "invalid-value", "this must be `rest`");
        return false;
    }
    if place.fields.get("amount").is_none() {
        let message = "`keep: rest` needs `amount`: without it all is captured";
        reader.fault(&spot.pointer, "missing-key", message);
    }
    true
}

/// The type of an application's event.
fn event(reader: &mut DefinitionReader, spot: &DocumentNode<'_>) -> Option<Arc<str>> {
    let text = reader.text(spot, "the type of an event")?;
    let good = (1..=128).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    let message = if text.starts_with("abide.") {
        "types that begin with `abide.` are the server's own".to_owned()
    } else if good {
        return Some(text.into());
    } else {
        format!(
            "`{}` is no type of an event: 1 to 128 characters of A-Z, a-z, 0-9 and . _ -, the \
             first one a letter",
            shortened(text)
        )
    };
    reader.fault(&spot.pointer, "invalid-name", message);
    None
}

/// A text: an expression that may make one, or a literal that is checked.
fn checked(
    reader: &mut DefinitionReader,
    spot: &DocumentNode<'_>,
    scope: &TypeScope,
    what: &str,
    check: impl FnOnce(&mut DefinitionReader, &DocumentNode<'_>) -> bool,
) -> Option<Template> {
    if spot.text().is_some_and(|text| source_of(text).is_some()) {
        let made = reader.template(spot, scope);
        let fits = [Type::Text, Type::AmountText];
        reader.expect(&spot.pointer, &kind_of(&made), &fits, what);
        return Some(made);
    }
    check(reader, spot).then(|| Template::Literal(spot.tree.json()))
}

/// An amount: `"12.50"`, `12`, or an expression that makes one.
fn amount(
    reader: &mut DefinitionReader,
    spot: &DocumentNode<'_>,
    scope: &TypeScope,
) -> Option<Template> {
    let made = reader.template(spot, scope);
    match &made {
        Template::Expr(expr) => {
            let fits = [Type::Amount, Type::AmountText, Type::Text, Type::Int];
            reader.expect(&spot.pointer, expr.kind(), &fits, "an amount");
        }
        Template::Literal(Value::String(text)) if text.parse::<Decimal>().is_ok() => {}
        Template::Literal(Value::Number(number)) if !number.is_f64() => {}
        Template::Literal(Value::Number(_)) => {
            let message = "an amount with a fraction is a text, `\"12.50\"`: a number is not exact";
            reader.fault(&spot.pointer, "amount-not-exact", message);
            return None;
        }
        _ => {
            reader.wrong_type(spot, "an amount like `\"12.50\"`");
            return None;
        }
    }
    Some(made)
}

/// The floor of an account: an amount, or null for none at all.
fn floor(
    reader: &mut DefinitionReader,
    spot: &DocumentNode<'_>,
    scope: &TypeScope,
) -> Option<Template> {
    if matches!(spot.tree.json(), Value::Null) {
        return Some(Template::Literal(Value::Null));
    }
    amount(reader, spot, scope)
}

/// When a hold is released: a length of time, a time, or what makes one.
fn expires(reader: &mut DefinitionReader, spot: &DocumentNode<'_>, scope: &TypeScope) -> Template {
    let made = reader.template(spot, scope);
    match &made {
        Template::Expr(expr) => {
            let fits = [Type::Text, Type::Time, Type::Duration];
            reader.expect(&spot.pointer, expr.kind(), &fits, "a time or a length of time");
        }
        Template::Literal(Value::String(text))
            if text.parse::<Time>().is_ok()
                || text.parse::<Span>().is_ok_and(|span| span != Span::ZERO) => {}
        _ => {
            let message = "this must be a length of time like `15m`, or a time";
            reader.fault(&spot.pointer, "invalid-value", message);
        }
    }
    made
}

/// What must make an object: a mapping, or an expression.
fn object(
    reader: &mut DefinitionReader,
    spot: &DocumentNode<'_>,
    scope: &TypeScope,
    what: &str,
) -> Template {
    let is_expression = spot.text().is_some_and(|text| source_of(text).is_some());
    if !spot.is_map() && !is_expression {
        reader.wrong_type(spot, &format!("{what}: a mapping, or an expression that makes one"));
        return Template::Literal(Value::Object(serde_json::Map::new()));
    }
    let made = reader.template(spot, scope);
    if let Template::Expr(expr) = &made {
        reader.expect(&spot.pointer, expr.kind(), &[kinds::open()], "an object");
    }
    made
}

impl DefinitionReader {
    /// Notes what a merge makes of the data: of what lies deeper nothing is known afterwards.
    fn declare_merged(&mut self, template: &Template) {
        match kinds::of_template(template) {
            Type::Object { keys, open } => {
                self.opened |= open && matches!(template, Template::Expr(_));
                self.made.extend(keys.into_iter().map(|(key, kind)| match kind {
                    Type::Object { .. } => (key, Type::Any),
                    kind => (key, kind),
                }));
            }
            _ => self.opened = true,
        }
    }
}
