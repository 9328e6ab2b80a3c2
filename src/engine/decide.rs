//! From a command to what happens: the ladder of refusals, then the events.

use std::sync::Arc;

use super::state::{ApiKey, Digest, Holder, Session, Timer, TimerOf, User};
use super::unit_of_work::{Changes, DecideError, DecisionContext, ReadSet, UnitOfWork};
use super::{
    Actor, Command, Counted, Counter, Event, IfMatch, Outcome, Preconditions, Refusal, Rules,
    UserRef,
};
use super::{
    keys, ledger, password, preconditions, sessions, stored, tasks, timers, transaction, users,
};
use crate::types::{
    KeyId, Revision, Role, SessionId, Span, Time, Token, TxId, UserId, WorkflowName,
};

/// Most firings of one commit, of the largest split factor: what is left stays due.
pub const FIRINGS_MAX: usize = 400;

/// Whether a password was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordCheck {
    /// Whose hash it was checked against; `None`: there was none, and a hash that nobody has was
    /// checked, for the same work.
    pub user: Option<UserId>,
    /// That user's [`User::credential`].
    pub credential: u64,
    /// Whether it matched.
    pub matched: bool,
}

/// What a command needs that only the world has: randomness, hashes, where it came from.
#[derive(Clone, Debug)]
pub struct CommandInputs {
    /// The answer to the password of the command, if it was checked.
    pub verdict: Option<PasswordCheck>,
    /// The hash of the command's new password, or of the proved one under stronger parameters.
    pub hashed: Option<Arc<str>>,
    /// A new session's id.
    pub session: SessionId,
    /// A new user's id.
    pub user: UserId,
    /// A new key's id.
    pub key: KeyId,
    /// For [`DecisionContext::seed`].
    pub seed: u128,
    /// A new token, of the kind that the command hands out ([`Command::hands_out`]).
    pub token: Option<Token>,
    /// Key of the counter of wrong passwords: the account's for a login, the session's otherwise.
    pub account: Digest,
    /// Network from which the command comes, where failures may count for it.
    pub origin: Option<Digest>,
    /// The hash of the command's [`StoredKey`](super::StoredKey).
    pub stored: Digest,
    /// The address.
    pub address: Option<Arc<str>>,
    /// The `User-Agent`.
    pub agent: Option<Arc<str>>,
    /// The command's input, if it was checked before its turn because that takes long.
    pub checked: Option<Arc<transaction::CheckedInput>>,
    /// On which conditions the command is done.
    pub preconditions: Option<Box<Preconditions>>,
}

impl CommandInputs {
    /// The new token. It is there for each command that hands one out.
    pub(super) fn token(&self) -> Result<&Token, Refusal> {
        self.token.as_ref().ok_or(Refusal::Stopping)
    }

    /// The counters of a login.
    pub(super) fn login_counters(&self) -> Vec<Counter> {
        let account = Counter { digest: self.account, counted: Counted::Logins };
        let from = |digest| Counter { digest, counted: Counted::LoginsFrom };
        std::iter::once(account).chain(self.origin.map(from)).collect()
    }

    /// The counter of a password that is proved in a session: of nothing else, so that whoever
    /// guesses elsewhere keeps nobody out of a session that is open.
    pub(super) fn session_counters(&self) -> Vec<Counter> {
        vec![Counter { digest: self.account, counted: Counted::InSession }]
    }
}

/// What became of a command: the changes to commit, and what to answer. A refusal can have
/// changes too: what the audit log keeps of it, and the count of failed logins.
#[derive(Debug)]
pub struct Decision {
    /// What to commit.
    pub changes: Changes,
    /// What to answer.
    pub result: Result<Outcome, Refusal>,
}

/// Decides a command.
///
/// # Errors
/// The fact that must be loaded first; then decide again.
pub fn decide(
    facts: &ReadSet,
    rules: &Rules,
    context: DecisionContext,
    actor: &Actor,
    command: &Command,
    inputs: &CommandInputs,
) -> Result<Decision, super::RecordKey> {
    let mut unit = UnitOfWork::new(facts, rules, context);
    unit.origin = inputs.origin;
    let done = run(&mut unit, actor, command, inputs);
    let unmet = match &done {
        Err(DecideError::MissingRecord(fact)) => return Err(fact.clone()),
        Err(DecideError::Refused(refusal)) if !refusal.is_stored() => None,
        Ok(_) | Err(DecideError::Refused(_)) => {
            let unchanged = UnitOfWork::new(facts, rules, context);
            match preconditions::unmet(&unchanged, actor, command, inputs) {
                Ok(unmet) => unmet,
                Err(DecideError::MissingRecord(fact)) => return Err(fact),
                Err(DecideError::Refused(refusal)) => Some(refusal),
            }
        }
    };
    let refusal = match (done, unmet) {
        (_, Some(unmet)) => unmet,
        (Ok(outcome), None) => {
            return Ok(Decision { changes: unit.into_changes(), result: Ok(outcome) });
        }
        (Err(DecideError::MissingRecord(fact)), None) => return Err(fact),
        (Err(DecideError::Refused(refusal)), None) => {
            transaction::disclosed(&unit, actor, command, refusal)
        }
    };
    // What somebody else's time would give back is not refused before that time has come.
    let waits = refusal.may_pass_with_time().then_some(context.now);
    let overdue = unit.into_changes().overdue.max(waits);
    let mut unit = UnitOfWork::new(facts, rules, context);
    unit.origin = inputs.origin;
    match note_refusal(&mut unit, actor, command, inputs, &refusal) {
        Err(DecideError::MissingRecord(fact)) => Err(fact),
        Ok(()) | Err(DecideError::Refused(_)) => {
            let changes = unit.into_changes();
            let overdue = overdue.max(changes.overdue);
            Ok(Decision { changes: Changes { overdue, ..changes }, result: Err(refusal) })
        }
    }
}

/// Lets the timers fire that are due at this moment, in the order of their times; those that they
/// set anew too, as far as they are due by the `horizon`: up to there the caller knows all that
/// are due. At least one fires, and as many as the limit of the facts leaves time for.
///
/// # Errors
/// All facts that must be loaded first; then decide again.
pub fn decide_timers(
    facts: &ReadSet,
    rules: &Rules,
    context: DecisionContext,
    due: &[Timer],
    horizon: Time,
) -> Result<Changes, Vec<super::RecordKey>> {
    let mut unit = UnitOfWork::new(facts, rules, context);
    let mut needs = Vec::new();
    let mut due = due.iter();
    let mut next = due.next();
    for _ in 0..(FIRINGS_MAX / context.split_factor).max(1) {
        // One that undoes something would have nothing left to do it with.
        if unit.undo_left() == 0 {
            break;
        }
        // What a firing sets anew and is due too takes its place in the order.
        let set = unit.armed().next().filter(|timer| timer.due <= horizon).cloned();
        let timer = match (next, set) {
            (next, Some(set)) if next.is_none_or(|timer| set < *timer) => {
                // Each start of a schedule reads what only the one before leads to: many of them in
                // one decision would be decided again for each.
                if matches!(set.what, TimerOf::Schedule(_)) {
                    break;
                }
                set
            }
            (Some(timer), _) => {
                next = due.next();
                timer.clone()
            }
            (None, _) => break,
        };
        if let Err(DecideError::MissingRecord(fact)) = timers::fire(&mut unit, timer) {
            needs.push(fact);
        }
        if unit.is_slice_over() {
            break;
        }
    }
    if needs.is_empty() { Ok(unit.into_changes()) } else { Err(needs) }
}

#[expect(clippy::too_many_lines, reason = "one arm for each command")]
fn run(
    unit: &mut UnitOfWork<'_>,
    actor: &Actor,
    command: &Command,
    inputs: &CommandInputs,
) -> Result<Outcome, DecideError> {
    let resolved = ResolvedActor::of(unit, actor)?;
    match command {
        Command::Login { username, profile, .. } => {
            sessions::login(unit, &resolved, username, profile.as_ref(), inputs)
        }
        Command::OpenAnonymous { profile } => {
            sessions::open_anonymous(unit, profile.as_ref(), inputs)
        }
        Command::OpenOnBehalf { username, create, profile } => {
            sessions::open_on_behalf(unit, &resolved, username, *create, profile.as_ref(), inputs)
        }
        Command::Touch => sessions::touch(unit, &resolved),
        Command::Logout => sessions::logout(unit, &resolved),
        Command::Rotate => sessions::rotate(unit, &resolved, inputs),
        Command::Elevate { .. } => sessions::elevate(unit, &resolved, inputs),
        Command::EndSession { session } => sessions::end_one(unit, &resolved, *session),
        Command::EndSessions { username, except_current } => {
            sessions::end_all(unit, &resolved, username.as_ref(), *except_current)
        }
        Command::ChangeSessionData { change, if_match } => {
            sessions::change_data(unit, &resolved, change, if_match.as_ref())
        }
        Command::ChangeFacts { session, patch } => {
            sessions::change_facts(unit, &resolved, *session, patch)
        }
        Command::Register { username, password, name, roles } => {
            let asked = users::Asked { username, password, name: name.as_deref() };
            users::register(unit, &resolved, &asked, roles.as_deref(), inputs)
        }
        Command::ChangePassword { new, .. } => users::change_password(unit, &resolved, new, inputs),
        Command::ChangeUserData { change, if_match } => {
            users::change_data(unit, &resolved, change, if_match.as_ref())
        }
        Command::ChangeUser { username, change, if_match } => {
            users::change(unit, &resolved, username, change, if_match.as_ref())
        }
        Command::DeleteUser { username, if_match } => {
            users::delete(unit, &resolved, username, if_match.as_ref())
        }
        Command::MakeResetLink { username } => {
            users::make_reset_link(unit, &resolved, username, inputs)
        }
        Command::MakeSetUpLink => users::make_set_up_link(unit, &resolved, inputs),
        Command::UseLink { link, password } => users::use_link(unit, link, password, inputs),
        Command::CreateKey { name, roles, on_behalf } => {
            keys::create(unit, &resolved, name, roles, on_behalf, inputs)
        }
        Command::RevokeKey { key, keep_sessions } => {
            keys::revoke(unit, &resolved, *key, *keep_sessions)
        }
        Command::PutStored { data, idle, user, .. } => {
            stored::put(unit, &resolved, data, *idle, user.as_ref(), inputs)
        }
        Command::TouchStored { .. } => stored::touch(unit, &resolved, inputs),
        Command::DeleteStored { .. } => stored::delete(unit, &resolved, inputs),
        Command::PutAsset { .. }
        | Command::OpenAccount { .. }
        | Command::ChangeAccount { .. }
        | Command::CloseAccount { .. }
        | Command::PostTransfers { .. }
        | Command::ReverseTransfer { .. }
        | Command::ReverseTransfers { .. }
        | Command::PlaceHold { .. }
        | Command::CaptureHold { .. }
        | Command::VoidHold { .. } => ledger::commands::run(unit, &resolved, command),
        Command::Start(ask) => transaction::start(unit, &resolved, ask, inputs.checked.as_deref()),
        Command::Submit { tx, step, input, if_match } => {
            let checked = inputs.checked.as_deref();
            transaction::submit(unit, &resolved, *tx, step, input, if_match.as_ref(), checked)
        }
        Command::Deliver { tx, input, undated } => {
            transaction::deliver(unit, &resolved, *tx, input, *undated)
        }
        Command::Claim { tx, step } => transaction::claim(unit, &resolved, *tx, step),
        Command::ClaimQueued(ask) => transaction::claim_queued(unit, &resolved, ask),
        Command::Release { tx, step } => transaction::release(unit, &resolved, *tx, step),
        Command::Resend { tx, challenge } => transaction::resend(unit, &resolved, *tx, challenge),
        Command::Cancel { tx, reason, if_match } => {
            transaction::cancel(unit, &resolved, *tx, reason.as_deref(), if_match.as_ref())
        }
        Command::Repair { tx, repair } => transaction::repair(unit, &resolved, *tx, repair),
        Command::BeginCall { .. } | Command::EndCall { .. } if *actor != Actor::System => {
            Err(Refusal::NotAllowed("the server itself makes calls").into())
        }
        Command::BeginCall { tx, number } => transaction::begin_call(unit, *tx, *number),
        Command::EndCall { tx, number, attempt, result } => {
            transaction::end_call(unit, *tx, *number, *attempt, result)
        }
        Command::CallBack { token, body } => transaction::call_back(unit, token, body),
        Command::Pause { tx, pause } => transaction::pause(unit, &resolved, *tx, *pause),
        Command::Migrate { tx, ask } => transaction::migrate(unit, &resolved, *tx, ask),
        Command::Bulk(ask) => tasks::begin_bulk(unit, &resolved, ask),
        Command::CreateWebhook(ask) => tasks::create_webhook(unit, &resolved, ask),
        Command::RotateWebhook { id } => tasks::rotate_webhook(unit, &resolved, *id),
        Command::DeleteWebhook { id } => tasks::delete_webhook(unit, &resolved, *id),
        Command::ReplayDeadLetter { id, what } => {
            tasks::replay_webhook(unit, &resolved, *id, *what)
        }
        Command::NoteWebhook(news) => tasks::note_webhook(unit, &resolved, news),
        Command::CreateSchedule(ask) => tasks::create_schedule(unit, &resolved, ask),
        Command::DeleteSchedule { id } => tasks::delete_schedule(unit, &resolved, *id),
        Command::Publish { source, definition } => {
            transaction::publish(unit, &resolved, source, definition)
        }
        Command::Retire { name } => transaction::retire(unit, &resolved, name),
        Command::PutValue { id, value, if_match } => {
            transaction::put_value(unit, &resolved, id, value, if_match.as_ref())
        }
        Command::ChangeValueSet { set, read_anyone } => {
            transaction::change_value_set(unit, &resolved, set, *read_anyone)
        }
        Command::DeleteValue { id } => transaction::delete_value(unit, &resolved, id),
        Command::NoteDenial { what } => {
            let what = Arc::from(*what);
            unit.emit(Event::Denied { what, code: "not-allowed", user: None })?;
            Ok(Outcome::Done)
        }
    }
}

/// What the log keeps of a refusal: each failed proof of a password, each denial.
fn note_refusal(
    unit: &mut UnitOfWork<'_>,
    actor: &Actor,
    command: &Command,
    inputs: &CommandInputs,
    refusal: &Refusal,
) -> Result<(), DecideError> {
    let meant = match command {
        Command::Login { username, .. } => unit.user_named(username)?.map(User::names),
        Command::Elevate { .. } | Command::ChangePassword { .. } => actor.user().cloned(),
        _ => None,
    };
    match refusal {
        Refusal::WrongCode { challenge, .. } | Refusal::CodeExpired { challenge, .. } => {
            let (tx, step) = match command {
                Command::Submit { tx, step, .. } => (*tx, Some(&**step)),
                Command::Deliver { tx, .. } => (*tx, None),
                _ => return Ok(()),
            };
            let is_wrong = matches!(refusal, Refusal::WrongCode { .. });
            let resolved = ResolvedActor::of(unit, actor)?;
            transaction::note_wrong_code(unit, &resolved, tx, step, challenge, is_wrong)
        }
        Refusal::InvalidCredentials => unit.emit(Event::LoginFailed {
            user: meant,
            counters: match command {
                Command::Login { .. } => inputs.login_counters(),
                _ => inputs.session_counters(),
            },
            address: inputs.address.clone(),
        }),
        Refusal::NotAllowed(_) | Refusal::ElevationNeeded | Refusal::TooManyAttempts { .. } => unit
            .emit(Event::Denied {
                what: command.name().into(),
                code: refusal.code(),
                user: meant.map(|user| user.username),
            }),
        _ => Ok(()),
    }
}

/// The actor as it is at this moment, not as it was when its token was looked up.
pub(super) struct ResolvedActor {
    /// With its roles of now.
    pub(super) actor: Actor,
    /// Its session, alive.
    pub(super) session: Option<Session>,
    /// Its user, not disabled.
    pub(super) user: Option<User>,
    /// Its API key, not revoked.
    pub(super) key: Option<ApiKey>,
}

impl ResolvedActor {
    /// Looks the actor up again.
    fn of(unit: &UnitOfWork<'_>, actor: &Actor) -> Result<Self, DecideError> {
        let nobody =
            |actor: &Actor| Self { actor: actor.clone(), session: None, user: None, key: None };
        match actor {
            Actor::Nobody | Actor::Hook(_) | Actor::Workflow(..) | Actor::System => {
                Ok(nobody(actor))
            }
            Actor::Key(known) => {
                let key = unit.key(known.key.id)?.ok_or(Refusal::Unauthenticated)?;
                Ok(Self { actor: key.actor(), key: Some(key.clone()), ..nobody(actor) })
            }
            Actor::Session(known) => {
                let session = unit.session(known.session)?.ok_or(Refusal::Unauthenticated)?;
                if !session.is_alive(unit.context.now) || session.token != known.token {
                    return Err(Refusal::Unauthenticated.into());
                }
                if let Some(via) = &session.via
                    && !unit.keeps_sessions(via.id)?
                {
                    return Err(Refusal::Unauthenticated.into());
                }
                let user = match &session.user {
                    None => None,
                    Some(user) => Some(unit.user(user.id)?.ok_or(Refusal::Unauthenticated)?),
                };
                if user.is_some_and(|user| user.disabled) {
                    return Err(Refusal::Unauthenticated.into());
                }
                let roles = user.map_or_else(|| [].into(), |user| user.roles.clone());
                Ok(Self {
                    actor: session.actor(roles),
                    session: Some(session.clone()),
                    user: user.cloned(),
                    key: None,
                })
            }
        }
    }

    /// The server itself.
    pub(super) const fn of_system() -> Self {
        Self { actor: Actor::System, session: None, user: None, key: None }
    }

    /// A transaction that acts by an effect.
    pub(super) const fn of_workflow(name: WorkflowName, tx: TxId) -> Self {
        Self { actor: Actor::Workflow(name, tx), session: None, user: None, key: None }
    }

    /// Its session.
    pub(super) fn session(&self) -> Result<&Session, Refusal> {
        self.session.as_ref().ok_or(Refusal::NotAllowed("this needs a session"))
    }

    /// Its session and user.
    pub(super) fn user(&self) -> Result<(&Session, &User), Refusal> {
        match (&self.session, &self.user) {
            (Some(session), Some(user)) => Ok((session, user)),
            _ => Err(Refusal::NotAllowed("this needs the session of a user")),
        }
    }

    /// Its API key.
    pub(super) fn key(&self) -> Result<&ApiKey, Refusal> {
        self.key.as_ref().ok_or(Refusal::NotAllowed("this needs an API key"))
    }

    /// Refuses whoever is neither an administrator nor a service.
    pub(super) fn require_admin_or_service(&self) -> Result<(), Refusal> {
        if self.key.is_some() || self.actor.is_admin() {
            Ok(())
        } else {
            Err(Refusal::NotAllowed("this needs the role abide:admin or an API key"))
        }
    }

    /// Refuses whoever is no administrator.
    pub(super) fn require_admin(&self) -> Result<(), Refusal> {
        if self.actor.is_admin() {
            Ok(())
        } else {
            Err(Refusal::NotAllowed("this needs the role abide:admin"))
        }
    }
}

impl ApiKey {
    /// Refuses when this key may not act for a user: not one of its patterns, or one of Abide's
    /// powers, which nobody reaches on behalf.
    pub(super) fn require_reach(&self, user: &User) -> Result<(), Refusal> {
        if user.has_power() {
            return Err(Refusal::NotAllowed("a user with an abide role is never acted for"));
        }
        self.require_cover(&user.username)
    }

    /// Refuses when no pattern covers the name.
    pub(super) fn require_cover(&self, name: &crate::types::Username) -> Result<(), Refusal> {
        if self.on_behalf.iter().any(|pattern| pattern.matches(name)) {
            Ok(())
        } else {
            Err(Refusal::NotAllowed("the API key may not act for this user"))
        }
    }
}

/// Refuses when the current revision is none of those that the caller has seen.
pub(super) fn require_match(if_match: Option<&IfMatch>, current: Revision) -> Result<(), Refusal> {
    match if_match {
        Some(IfMatch(seen)) if !seen.contains(&current) => {
            Err(Refusal::RevisionMismatch { current })
        }
        _ => Ok(()),
    }
}

/// Refuses when the password of the command was not proved to be this user's present one.
pub(super) fn require_proved(user: &User, inputs: &CommandInputs) -> Result<(), Refusal> {
    let proved = inputs.verdict.is_some_and(|verdict| {
        verdict.matched && verdict.user == Some(user.id) && verdict.credential == user.credential
    });
    if proved { Ok(()) } else { Err(Refusal::InvalidCredentials) }
}

/// The hash that was made of the command's new password. It is missing only when the command
/// would have been refused before its turn, so nothing was hashed, and now would not be.
pub(super) fn hashed(inputs: &CommandInputs) -> Result<Arc<str>, Refusal> {
    inputs.hashed.clone().ok_or(Refusal::Busy { retry_after: Span::from_seconds(1) })
}

/// Refuses a new password that breaks the rules.
pub(super) fn require_good(
    rules: &Rules,
    pointer: &str,
    username: Option<&crate::types::Username>,
    password: &crate::types::Password,
) -> Result<(), Refusal> {
    let errors = password::faults(rules, pointer, username, password);
    if errors.is_empty() { Ok(()) } else { Err(Refusal::InvalidInput(errors)) }
}

/// The user with a name.
pub(super) fn user_or_not_found<'d>(
    unit: &'d UnitOfWork<'_>,
    name: &crate::types::Username,
) -> Result<&'d User, DecideError> {
    unit.user_named(name)?.ok_or(DecideError::Refused(Refusal::NotFound("user")))
}

/// Whether a name was ever given out.
pub(super) fn is_taken(
    unit: &UnitOfWork<'_>,
    name: &crate::types::Username,
) -> Result<bool, DecideError> {
    Ok(matches!(unit.holder(name.clone())?, Some(Holder::User(_) | Holder::Gone)))
}

/// What the first administrator may do.
pub(super) fn admin_roles() -> Arc<[Role]> {
    [Role::admin()].into()
}

/// Ends all sessions of a user but one, those of other frameworks too; says how many.
pub(super) fn end_sessions_of(
    unit: &mut UnitOfWork<'_>,
    user: &UserRef,
    except: Option<SessionId>,
    reason: super::EndReason,
) -> Result<u32, DecideError> {
    let list = unit.user_sessions(user.id)?.cloned().unwrap_or_default();
    let mut count = 0;
    for session in list.into_iter().filter(|session| Some(*session) != except) {
        unit.emit(Event::SessionEnded { session, reason })?;
        count += 1;
    }
    unit.emit(Event::SessionsVoided { user: user.id })?;
    Ok(count)
}
