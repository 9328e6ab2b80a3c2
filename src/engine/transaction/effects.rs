//! What each effect does, and what undoes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::eval_context::{Bindings, failed, parsing_steps};
use super::event::TxEvent;
use super::interpreter::{EFFECT_STEPS, Interpreter, amount_of};
use super::record::{Compensation, CompletedStep, Owner};
use crate::engine::core::unit_of_work::DecideError;
use crate::engine::expression::TemplateOutput;
use crate::engine::ledger::{self, HoldStatus};
use crate::engine::workflow::{Effect, EffectKind, StepTarget, Template};
use crate::engine::{Refusal, UserChange, UserEvent, UserRef};
use crate::types::{AccountId, HoldId, Role, TransferId, UserId, Username};

/// Most holds of one transaction that are open at the same time.
const HOLDS_MAX: usize = 100;

/// Most elements of an `each`.
const EACH_MAX: usize = 100;

/// Most one-time codes of one transaction.
const CHALLENGES_MAX: usize = 20;

/// Longest key of a hold in its group, in bytes.
const KEY_BYTES_MAX: usize = 128;

/// Bytes of text that count as one step where they are copied: the copies of one way stay far below
/// what a commit takes.
const BYTES_PER_STEP: usize = 16;

/// Largest data of an application event, in bytes of compact JSON.
const EMIT_BYTES_MAX: usize = 16 * 1024;

/// How many steps it takes to copy a value.
fn copy_steps(value: &Value) -> u32 {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
        Value::String(text) => steps_of(text.len()),
        Value::Array(list) => list.iter().map(copy_steps).fold(1, u32::saturating_add),
        Value::Object(object) => {
            let entries = object.iter();
            let entries = entries.map(|(key, value)| steps_of(key.len()) + copy_steps(value));
            entries.fold(1, u32::saturating_add)
        }
    }
}

/// How many steps it takes to copy so many bytes of text.
fn steps_of(bytes: usize) -> u32 {
    u32::try_from(bytes / BYTES_PER_STEP).unwrap_or(u32::MAX).saturating_add(1)
}

/// A hold to place, with its names.
struct Placing<'e> {
    id: &'e Arc<str>,
    key: Option<&'e Template>,
    from: &'e Template,
    amount: &'e Template,
    expires: Option<&'e Template>,
    on_expiry: Option<&'e StepTarget>,
    authority: bool,
}

impl Interpreter<'_, '_> {
    /// Does the effects, in order; each sees those before it.
    pub(super) fn effects(
        &mut self,
        effects: &[Effect],
        frame: &Bindings,
        undo: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        for effect in effects {
            self.spend(EFFECT_STEPS)?;
            if let Some(when) = &effect.when
                && !self.look(frame, |scene| scene.holds(when))?
            {
                continue;
            }
            self.effect(&effect.kind, frame, undo)?;
        }
        Ok(())
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each effect")]
    fn effect(
        &mut self,
        kind: &EffectKind,
        frame: &Bindings,
        undo: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        match kind {
            EffectKind::Set(template) => {
                let set = self.object(template, frame, "set")?;
                self.set(set, Vec::new())
            }
            EffectKind::Merge(template) => self.merge(template, frame),
            EffectKind::Hold { id, key, from, amount, expires, on_expiry, authority } => {
                let placing = Placing {
                    id,
                    key: key.as_ref(),
                    from,
                    amount,
                    expires: expires.as_ref(),
                    on_expiry: on_expiry.as_ref(),
                    authority: *authority,
                };
                self.hold(&placing, frame, undo)
            }
            EffectKind::Capture { hold, key, to, amount, keep_rest, note } => {
                let amount = match amount {
                    Some(amount) => Some(amount_of(&self.made(amount, frame)?)?),
                    None => None,
                };
                let capture = ledger::Capture {
                    to: self.account(to, frame)?,
                    amount,
                    keep_rest: *keep_rest,
                    note: self.note(note.as_ref(), frame)?,
                    transfer: TransferId::made(0),
                };
                let key = self.key(key.as_ref(), frame)?;
                self.capture(hold, key.as_deref(), &capture, undo)
            }
            EffectKind::Void { hold, key } => {
                let key = self.key(key.as_ref(), frame)?;
                for id in self.held(hold, key.as_deref())? {
                    self.void(&id)?;
                }
                Ok(())
            }
            EffectKind::Transfer { from, to, amount, note, authority } => {
                let from = self.account(from, frame)?;
                self.require_mine(&from, *authority)?;
                let post = ledger::Post {
                    id: self.unit.mint_transfer(),
                    from,
                    to: self.account(to, frame)?,
                    amount: amount_of(&self.made(amount, frame)?)?,
                    note: self.note(note.as_ref(), frame)?,
                    tx: Some(self.id),
                };
                let transfer = ledger::post(self.unit, &post)?;
                undo.push(Compensation::Reverse(transfer.id));
                Ok(())
            }
            EffectKind::Challenge { id, digits, expires, attempts, resend, binds, send } => {
                let binds = self.made(binds, frame)?.into_json().to_string();
                if self.tx()?.challenge(id).is_none()
                    && self.tx()?.challenges.len() >= CHALLENGES_MAX
                {
                    return Err(Refusal::LimitReached {
                        what: "one-time codes of a transaction",
                        max: CHALLENGES_MAX,
                    }
                    .into());
                }
                let terms = super::challenge::Terms {
                    digits: *digits,
                    life: *expires,
                    attempts: *attempts,
                    resends: *resend,
                };
                let send = match send {
                    Some(request) => {
                        let frame = Bindings { code: Some(id.clone()), ..frame.clone() };
                        Some((self.at.clone(), self.ask(request, &frame)?))
                    }
                    None => None,
                };
                super::challenge::issue(self, id, &terms, binds.into(), send)?;
                undo.push(Compensation::Withdraw(id.clone()));
                Ok(())
            }
            EffectKind::Session { facts, data } => {
                self.session(facts.as_ref(), data.as_ref(), frame)
            }
            EffectKind::Emit { kind, data } => {
                let data = match data {
                    Some(data) => self.made(data, frame)?.into_json(),
                    None => Value::Object(Map::new()),
                };
                let bytes = data.to_string().len();
                if bytes > EMIT_BYTES_MAX {
                    let what = "the data of an event";
                    return Err(Refusal::TooLarge { what, bytes_max: EMIT_BYTES_MAX }.into());
                }
                self.spend(steps_of(bytes))?;
                self.emit(TxEvent::Emitted { kind: kind.clone(), data: data.into() })
            }
            EffectKind::Send(request) => {
                let ask = self.ask(request, frame)?;
                let step = self.at.clone();
                self.send(&step, None, ask)
            }
            EffectKind::Open { account, asset, owner, floor } => {
                self.open_account([account, asset, owner], floor.as_ref(), frame, undo)
            }
            EffectKind::Grant { user, role } => self.role(user, role, true, frame, undo),
            EffectKind::Revoke { user, role } => self.role(user, role, false, frame, undo),
            EffectKind::Start { workflow, reference, input, owner } => {
                let ask = super::links::Start {
                    workflow,
                    reference,
                    input: input.as_ref(),
                    owner: owner.as_ref(),
                };
                self.start_other(&ask, frame, undo)
            }
            EffectKind::Submit { transaction, step, input } => {
                self.submit_other(transaction, step, input.as_ref(), frame)
            }
            EffectKind::Each { list, name, effects } => {
                let made = self.look(frame, |scene| scene.eval(list))?;
                let Value::Array(lines) = made.into_json() else {
                    return Err(failed(format!("`{}` is no list", list.source())));
                };
                if lines.len() > EACH_MAX {
                    let what = "elements of an `each`";
                    return Err(Refusal::LimitReached { what, max: EACH_MAX }.into());
                }
                let mut inner = frame.clone();
                for line in lines {
                    inner.lines.push((name.clone(), line.into()));
                    self.effects(effects, &inner, undo)?;
                    inner.lines.pop();
                }
                Ok(())
            }
        }
    }

    pub(super) fn made(
        &self,
        template: &Template,
        frame: &Bindings,
    ) -> Result<TemplateOutput, DecideError> {
        self.look(frame, |scene| scene.make(template))
    }

    pub(super) fn text(
        &self,
        template: &Template,
        frame: &Bindings,
        what: &str,
    ) -> Result<String, DecideError> {
        let made = self.made(template, frame)?;
        made.to_text().map(str::to_owned).map_err(|error| failed(format!("{what}: {error}")))
    }

    pub(super) fn object(
        &self,
        template: &Template,
        frame: &Bindings,
        what: &str,
    ) -> Result<Map<String, Value>, DecideError> {
        match self.made(template, frame)?.into_json() {
            Value::Object(object) => Ok(object),
            _ => Err(failed(format!("what `{what}` writes must be an object"))),
        }
    }

    /// An account by a name that a template makes; no account has a name that cannot be one.
    fn account(&self, template: &Template, frame: &Bindings) -> Result<AccountId, DecideError> {
        let text = self.text(template, frame, "the name of an account")?;
        text.parse().map_err(|_| Refusal::NoSuchAccount(text.chars().take(64).collect()).into())
    }

    fn note(
        &self,
        note: Option<&Template>,
        frame: &Bindings,
    ) -> Result<Option<Arc<str>>, DecideError> {
        let Some(note) = note else { return Ok(None) };
        let made = self.made(note, frame)?;
        let text = made.to_text().ok().filter(|text| !text.is_empty());
        Ok(text.map(|text| {
            let mut end = text.len().min(ledger::NOTE_BYTES_MAX);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text[..end].into()
        }))
    }

    fn key(
        &self,
        key: Option<&Template>,
        frame: &Bindings,
    ) -> Result<Option<Arc<str>>, DecideError> {
        let Some(key) = key else { return Ok(None) };
        let made = self.made(key, frame)?;
        let text = made.to_text().map(str::to_owned);
        let text = text.or_else(|_| made.to_int().map(|number| number.to_string()));
        match text {
            Ok(text) if text.len() <= KEY_BYTES_MAX => Ok(Some(text.into())),
            _ => Err(failed(format!(
                "the key of a hold must be a text of at most {KEY_BYTES_MAX} bytes, or a number"
            ))),
        }
    }

    fn set(&mut self, set: Map<String, Value>, removed: Vec<String>) -> Result<(), DecideError> {
        if set.is_empty() && removed.is_empty() {
            return Ok(());
        }
        self.emit(TxEvent::DataSet { set: Arc::new(set), removed })
    }

    fn merge(&mut self, template: &Template, frame: &Bindings) -> Result<(), DecideError> {
        let patch = self.object(template, frame, "merge")?;
        let data = &*self.tx()?.data;
        // Only what the patch names is copied, and counted: there may be many merges.
        let (mut set, mut removed) = (Map::new(), Vec::new());
        for (key, patch) in patch {
            if patch.is_null() {
                removed.push(key);
                continue;
            }
            let mut value = data.get(&key).cloned().unwrap_or(Value::Null);
            self.spend(copy_steps(&value))?;
            json_patch::merge(&mut value, &patch);
            set.insert(key, value);
        }
        self.set(set, removed)
    }

    /// Refuses to take money from somebody else's account, unless the definition claims to.
    fn require_mine(&self, account: &AccountId, authority: bool) -> Result<(), DecideError> {
        if authority {
            return Ok(());
        }
        let owner = match &self.tx()?.owner {
            Owner::User(user) => Some(user.clone()),
            Owner::Anonymous(_) | Owner::Key(_) => None,
        };
        ledger::require_belong_to(self.unit, account, owner.as_ref())
    }

    fn hold(
        &mut self,
        placing: &Placing<'_>,
        frame: &Bindings,
        undo: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        let key = self.key(placing.key, frame)?;
        if !self.held(placing.id, key.as_deref())?.is_empty() {
            let id = placing.id;
            return Err(failed(format!("the hold `{id}` is open already; give each one a key")));
        }
        super::bounds::require_take_hold(self.tx()?)?;
        let open = |held: &&super::record::TxHold| held.hold.status == HoldStatus::Held;
        if self.tx()?.holds.iter().filter(open).count() >= HOLDS_MAX {
            let what = "open holds of a transaction";
            return Err(Refusal::LimitReached { what, max: HOLDS_MAX }.into());
        }
        let from = self.account(placing.from, frame)?;
        self.require_mine(&from, placing.authority)?;
        let expires_at = match placing.expires {
            Some(expires) => Some(self.when(expires, frame)?),
            None => None,
        };
        let place = ledger::Place {
            id: self.unit.mint_hold(),
            tx: Some(self.id),
            from,
            amount: amount_of(&self.made(placing.amount, frame)?)?,
            expires_at,
        };
        let hold = ledger::place(self.unit, &place)?;
        let name = placing.id.clone();
        debug_assert!(placing.on_expiry.is_none() || expires_at.is_some(), "checked at publish");
        let step = self.at.clone();
        self.emit(TxEvent::HoldNamed { hold: hold.id.clone(), name, key, step })?;
        undo.push(Compensation::Void(hold.id));
        Ok(())
    }

    /// The holds of a group that still reserve something.
    fn held(&self, name: &str, key: Option<&str>) -> Result<Vec<HoldId>, DecideError> {
        let group = self.tx()?.group(name, key);
        let open = group.filter(|held| held.hold.status == HoldStatus::Held);
        Ok(open.map(|held| held.hold.id.clone()).collect())
    }

    fn capture(
        &mut self,
        name: &str,
        key: Option<&str>,
        capture: &ledger::Capture,
        undo: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        let ids = self.held(name, key)?;
        let Some(first) = ids.first() else {
            return Err(Refusal::NoSuchHold(name.into()).into());
        };
        if capture.amount.is_some() && ids.len() > 1 {
            let count = ids.len();
            return Err(failed(format!(
                "`{name}` has {count} holds: an amount needs the key of one of them"
            )));
        }
        // What is posted of a hold is left to say only once for each of the group.
        let ids = if capture.amount.is_some() { vec![first.clone()] } else { ids };
        for id in ids {
            let Some(hold) = super::apply::find_hold(self.unit, self.id, &id)? else { continue };
            let transfer = self.unit.mint_transfer();
            let capture = ledger::Capture { transfer, ..capture.clone() };
            let transfer = ledger::capture(self.unit, &hold, &capture)?;
            undo.push(Compensation::Reverse(transfer.id));
        }
        Ok(())
    }

    fn void(&mut self, id: &HoldId) -> Result<(), DecideError> {
        if let Some(hold) = super::apply::find_hold(self.unit, self.id, id)?
            && hold.status == HoldStatus::Held
        {
            ledger::void(self.unit, &hold)?;
        }
        Ok(())
    }

    /// Releases all that is still held.
    pub(super) fn release_holds(&mut self) -> Result<(), DecideError> {
        let holds = &self.tx()?.holds;
        let open = holds.iter().filter(|held| held.hold.status == HoldStatus::Held);
        let ids: Vec<_> = open.map(|held| held.hold.id.clone()).collect();
        ids.iter().try_for_each(|id| self.void(id))
    }

    fn session(
        &mut self,
        facts: Option<&Template>,
        data: Option<&Template>,
        frame: &Bindings,
    ) -> Result<(), DecideError> {
        let facts = facts.map(|facts| self.object(facts, frame, "session")).transpose()?;
        let data = data.map(|data| self.object(data, frame, "session")).transpose()?;
        let Some(id) = self.tx()?.session else { return Ok(()) };
        let now = self.unit.context.now;
        if self.unit.session(id)?.is_none_or(|session| !session.is_alive(now)) {
            return Ok(());
        }
        if let Some(facts) = facts {
            crate::engine::session::merge_facts(self.unit, id, &facts)?;
        }
        if let Some(data) = data {
            // All that is there is read and written for it.
            let bytes = self.unit.session_data(id)?.map_or(0, |data| data.len());
            self.spend(parsing_steps(bytes))?;
            crate::engine::session::merge_data(self.unit, id, &data)?;
        }
        Ok(())
    }

    fn open_account(
        &mut self,
        [account, asset, owner]: [&Template; 3],
        floor: Option<&Template>,
        frame: &Bindings,
        undo: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        let owner = match self.made(owner, frame)?.into_json() {
            Value::Null => None,
            Value::String(name) => Some(self.user(&name)?),
            _ => return Err(failed("the owner of an account must be a user's name".to_owned())),
        };
        let floor = match floor {
            None => Some(crate::types::Decimal::ZERO),
            Some(floor) => match self.made(floor, frame)? {
                TemplateOutput::Json(Value::Null) => None,
                made => Some(amount_of(&made)?),
            },
        };
        let asset = self.text(asset, frame, "an asset")?;
        let open = ledger::Open {
            id: self.account(account, frame)?,
            asset: asset.parse().map_err(|_| DecideError::Refused(Refusal::NotFound("asset")))?,
            owner,
            floor,
            read_anyone: false,
        };
        let account = ledger::open_account(self.unit, &open)?;
        undo.push(Compensation::Close(account.id));
        Ok(())
    }

    pub(super) fn user(&self, name: &str) -> Result<UserRef, DecideError> {
        let unknown = || DecideError::Refused(Refusal::NotFound("user"));
        let name: Username = name.parse().map_err(|_| unknown())?;
        self.unit.user_named(&name)?.map(crate::engine::User::names).ok_or_else(unknown)
    }

    fn role(
        &mut self,
        user: &Template,
        role: &Role,
        give: bool,
        frame: &Bindings,
        undo: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        let name = self.text(user, frame, "a user's name")?;
        let user = self.user(&name)?.id;
        // Checked at publish too; nothing hands out a power, whatever a record says.
        if role.is_power() {
            return Err(Refusal::NotAllowed("no workflow gives or takes an abide role").into());
        }
        let has = self.unit.user(user)?.is_some_and(|user| user.roles.contains(role));
        let mut changes = self.unit.role_changes(user)?.cloned().unwrap_or_default();
        // Those of one commit are fewer than can be counted in the lower bits.
        let from = self.unit.context.revision.get() << 16;
        if let Some(number) = changes.add(role, has, give, from) {
            self.unit.emit(UserEvent::RoleChangesNoted { user, changes: Box::new(changes) })?;
            undo.push(Compensation::Role(user, role.clone(), number));
        }
        self.change_role(user, role, give)
    }

    /// Takes back a change of a role, of which older records have no number. What others did to the
    /// role since stands; a user who is gone has no roles.
    fn undo_role(
        &mut self,
        user: UserId,
        role: &Role,
        change: Result<u64, bool>,
    ) -> Result<(), DecideError> {
        let Some(record) = self.unit.user(user)? else { return Ok(()) };
        let has = record.roles.contains(role);
        let before = self.unit.role_changes(user)?;
        let mut changes = before.cloned().unwrap_or_default();
        let is_new = before.is_none();
        let after = match change {
            Ok(number) => changes.undo(role, number, has),
            Err(gave) => changes.undo_unnumbered(role, gave, has),
        };
        if !is_new {
            self.unit.emit(UserEvent::RoleChangesNoted { user, changes: Box::new(changes) })?;
        }
        self.change_role(user, role, after)
    }

    /// Notes that what steps did to roles will never be undone.
    pub(super) fn keep_roles(&mut self, done: &[Arc<CompletedStep>]) -> Result<(), DecideError> {
        let mut last = BTreeMap::new();
        for undo in done.iter().flat_map(|done| &done.undo) {
            if let Compensation::Role(user, role, number) = undo {
                let known = last.entry((*user, role)).or_insert(*number);
                *known = (*known).max(*number);
            }
        }
        for ((user, role), number) in last {
            let Some(mut changes) = self.unit.role_changes(user)?.cloned() else { continue };
            changes.keep(role, number);
            self.unit.emit(UserEvent::RoleChangesNoted { user, changes: Box::new(changes) })?;
        }
        Ok(())
    }

    /// Gives or takes a role.
    fn change_role(&mut self, user: UserId, role: &Role, give: bool) -> Result<(), DecideError> {
        if role.is_power() {
            return Err(Refusal::NotAllowed("no workflow gives or takes an abide role").into());
        }
        let Some(record) = self.unit.user(user)? else {
            return Err(Refusal::NotFound("user").into());
        };
        if record.roles.contains(role) == give {
            return Ok(());
        }
        let mut roles = record.roles.to_vec();
        if give {
            if roles.len() >= crate::engine::Rules::ROLES_MAX {
                let max = crate::engine::Rules::ROLES_MAX;
                return Err(Refusal::LimitReached { what: "roles of a user", max }.into());
            }
            roles.push(role.clone());
        } else {
            roles.retain(|other| other != role);
        }
        let change = UserChange { roles: Some(roles), ..UserChange::default() };
        self.unit.emit(UserEvent::Changed { user, change: Box::new(change) })
    }

    /// Undoes one effect.
    pub(super) fn undo(&mut self, undo: &Compensation) -> Result<(), DecideError> {
        match undo {
            Compensation::Void(id) => self.void(id),
            Compensation::Reverse(id) => {
                // Somebody may have corrected it meanwhile: twice would be once too often. Where the
                // correction was taken back, what stands is what took it back.
                let Some(transfer) = ledger::standing(self.unit, id)? else { return Ok(()) };
                let opposite = self.unit.mint_transfer();
                ledger::reverse(self.unit, &transfer, opposite).map(|_| ())
            }
            Compensation::Withdraw(id) => super::challenge::withdraw(self, id),
            Compensation::Close(id) => ledger::close_account(self.unit, id),
            Compensation::Role(user, role, number) => self.undo_role(*user, role, Ok(*number)),
            Compensation::Revoke(user, role) => self.undo_role(*user, role, Err(true)),
            Compensation::Grant(user, role) => self.undo_role(*user, role, Err(false)),
            Compensation::Cancel(id) => self.cancel_other(*id),
        }
    }

    /// Reads what undoing these effects reads, before any of them is undone: a record that must be
    /// loaded first has the decision begin again, and nothing is done twice then.
    pub(super) fn foresee(&self, undo: &[Compensation]) -> Result<(), DecideError> {
        for undo in undo {
            match undo {
                Compensation::Reverse(id) => {
                    if let Some(transfer) = ledger::standing(self.unit, id)? {
                        self.unit.account(transfer.from)?;
                        self.unit.account(transfer.to)?;
                    }
                }
                Compensation::Close(id) => drop(self.unit.account(id.clone())?),
                Compensation::Role(user, ..)
                | Compensation::Revoke(user, _)
                | Compensation::Grant(user, _) => {
                    self.unit.user(*user)?;
                    self.unit.role_changes(*user)?;
                }
                Compensation::Cancel(id) => drop(self.unit.tx(*id)?),
                Compensation::Void(_) | Compensation::Withdraw(_) => {}
            }
        }
        Ok(())
    }
}
