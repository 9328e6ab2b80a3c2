//! Table of the commands: one row holds all properties of a command except its fields.
//!
//! | column | meaning |
//! |---|---|
//! | pattern | the command, with the fields that the row uses |
//! | name | in the log, the metrics and the audit events |
//! | audited | whether the server's log names it, besides the records (ASVS 5.0, 16.3.1 and 16.3.2): attempts to log in, denials, and what is done to credentials, users and others' sessions |
//! | properties | those of [`Properties`] that it has |
//! | target | the thing whose revision `If-Match` and `If-None-Match` name |
//! | handler | the function that decides it |
//!
//! A command without a row does not compile.

use super::command::Command;
use super::event::Event;
use super::inputs::CommandInputs;
use super::outcome::Outcome;
use super::record::RecordKey;
use super::resolved_actor::ResolvedActor;
use super::target::Target;
use super::unit_of_work::{DecideError, UnitOfWork};
use crate::engine::{api_key, bulk, ledger, schedule, session, transaction, user, value, webhook};
use crate::types::{TokenKind, TxId};

/// The server's log names the command.
const AUDITED: bool = true;

/// The server's log does not name the command.
const UNAUDITED: bool = false;

/// Properties of a command.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "one for each property of the table")]
struct Properties {
    /// Name in the log, the metrics and the audit events.
    name: &'static str,
    /// True if the server's log names it.
    audited: bool,
    /// True if it checks or hashes a password.
    hashes: bool,
    /// True if a one-time code may be given with it, or if it may request a new one.
    codes: bool,
    /// True if it only frees data, and may therefore use the reserved disk space.
    reserved: bool,
    /// True if it usually processes many records.
    long: bool,
    /// Kind of the token in its answer.
    token: Option<TokenKind>,
}

impl Properties {
    const NONE: Self = Self {
        name: "",
        audited: false,
        hashes: false,
        codes: false,
        reserved: false,
        long: false,
        token: None,
    };
}

/// Generates the three matches over commands from the table.
macro_rules! commands {
    (($unit:ident, $actor:ident, $inputs:ident) $(
        $command:pat => $name:expr, $audited:expr, {$($property:ident: $has:expr),*}, $target:expr,
            $handler:expr;
    )*) => {
        #[allow(unused_variables, reason = "a row binds the fields for all columns")]
        const fn properties(command: &Command) -> Properties {
            match command {
                $($command => Properties {
                    name: $name,
                    audited: $audited,
                    $($property: $has,)*
                    ..Properties::NONE
                },)*
            }
        }

        #[allow(unused_variables, reason = "a row binds the fields for all columns")]
        fn target(command: &Command) -> Target<'_> {
            match command {
                $($command => $target,)*
            }
        }

        #[allow(unused_variables, reason = "a row binds the fields for all columns")]
        fn run(
            $unit: &mut UnitOfWork<'_>,
            $actor: &ResolvedActor,
            command: &Command,
            $inputs: &CommandInputs,
        ) -> Result<Outcome, DecideError> {
            match command {
                $($command => $handler,)*
            }
        }
    };
}

commands! {
    (unit, actor, inputs)
    Command::Login { username, profile, .. } =>
        "login", AUDITED, {hashes: true, token: Some(TokenKind::Session)}, Target::Nothing,
        session::login(unit, actor, username, profile.as_ref(), inputs);
    Command::OpenAnonymous { profile } =>
        "open-anonymous", UNAUDITED, {token: Some(TokenKind::Session)}, Target::Nothing,
        session::open_anonymous(unit, profile.as_ref(), inputs);
    Command::OpenOnBehalf { username, create, profile } =>
        "open-on-behalf", AUDITED, {token: Some(TokenKind::Session)}, Target::Nothing,
        session::open_on_behalf(unit, actor, username, *create, profile.as_ref(), inputs);
    Command::Touch =>
        "touch", UNAUDITED, {}, Target::Nothing,
        session::touch(unit, actor);
    Command::Logout =>
        "logout", UNAUDITED, {reserved: true}, Target::CurrentSession,
        session::logout(unit, actor);
    Command::Rotate =>
        "rotate", UNAUDITED, {token: Some(TokenKind::Session)}, Target::CurrentSession,
        session::rotate(unit, actor, inputs);
    Command::Elevate { .. } =>
        "elevate", AUDITED, {hashes: true, token: Some(TokenKind::Session)}, Target::CurrentSession,
        session::elevate(unit, actor, inputs);
    Command::EndSession { session } =>
        "end-session", AUDITED, {reserved: true}, Target::Record(RecordKey::Session(*session)),
        session::end_one(unit, actor, *session);
    Command::EndSessions { username, except_current } =>
        "end-sessions", AUDITED, {reserved: true, long: true}, Target::Nothing,
        session::end_all(unit, actor, username.as_ref(), *except_current);
    Command::ChangeSessionData { change, if_match } =>
        "change-session-data", UNAUDITED, {}, Target::SessionData,
        session::change_data(unit, actor, change, if_match.as_ref());
    Command::ChangeFacts { session, patch } =>
        "change-facts", UNAUDITED, {}, Target::Record(RecordKey::Session(*session)),
        session::change_facts(unit, actor, *session, patch);
    Command::PutStored { data, idle, user, .. } =>
        "put-stored", UNAUDITED, {}, Target::ExternalSession,
        session::external::put(unit, actor, data, *idle, user.as_ref(), inputs);
    Command::TouchStored { .. } =>
        "touch-stored", UNAUDITED, {}, Target::ExternalSession,
        session::external::touch(unit, actor, inputs);
    Command::DeleteStored { .. } =>
        "delete-stored", UNAUDITED, {reserved: true}, Target::ExternalSession,
        session::external::delete(unit, actor, inputs);

    Command::Register { username, password, name, roles } =>
        "register", AUDITED, {hashes: true}, Target::Nothing,
        user::register(
            unit,
            actor,
            &user::NewUser { username, password, name: name.as_deref() },
            roles.as_deref(),
            inputs,
        );
    Command::ChangePassword { new, .. } =>
        "change-password", AUDITED,
        {hashes: true, long: true, token: Some(TokenKind::Session)}, Target::OwnUser,
        user::change_password(unit, actor, new, inputs);
    Command::ChangeUserData { change, if_match } =>
        "change-user-data", UNAUDITED, {}, Target::OwnUserData,
        user::change_data(unit, actor, change, if_match.as_ref());
    Command::ChangeUser { username, change, if_match } =>
        "change-user", AUDITED, {long: matches!(change.disabled, Some(true))}, Target::User(username),
        user::change(unit, actor, username, change, if_match.as_ref());
    Command::DeleteUser { username, if_match } =>
        "delete-user", AUDITED, {long: true}, Target::User(username),
        user::delete(unit, actor, username, if_match.as_ref());
    Command::MakeResetLink { username } =>
        "make-reset-link", AUDITED, {token: Some(TokenKind::Link)}, Target::User(username),
        user::make_reset_link(unit, actor, username, inputs);
    Command::MakeSetUpLink =>
        "make-set-up-link", AUDITED, {token: Some(TokenKind::Link)}, Target::Nothing,
        user::make_set_up_link(unit, actor, inputs);
    Command::UseLink { link, password } =>
        "use-link", AUDITED, {hashes: true, long: true}, Target::Nothing,
        user::use_link(unit, link, password, inputs);

    Command::CreateKey { name, roles, on_behalf } =>
        "create-key", AUDITED, {token: Some(TokenKind::Key)}, Target::Nothing,
        api_key::create(unit, actor, name, roles, on_behalf, inputs);
    Command::RevokeKey { key, keep_sessions } =>
        "revoke-key", AUDITED, {reserved: true, long: true}, Target::Record(RecordKey::Key(*key)),
        api_key::revoke(unit, actor, *key, *keep_sessions);

    Command::PutAsset { asset } =>
        "put-asset", UNAUDITED, {}, Target::Asset(&asset.code),
        ledger::commands::put_asset(unit, actor, asset);
    Command::OpenAccount { id, asset, owner, floor, read_anyone } =>
        "open-account", UNAUDITED, {}, Target::Nothing,
        ledger::commands::open_account(unit, actor, id, asset, owner.as_ref(), *floor, *read_anyone);
    Command::ChangeAccount { id, floor, frozen, read_anyone, if_match } =>
        "change-account", UNAUDITED, {}, Target::Record(RecordKey::Account(id.clone())),
        ledger::commands::change_account(
            unit,
            actor,
            id,
            &ledger::Change { floor: *floor, frozen: *frozen, read_anyone: *read_anyone },
            if_match.as_ref(),
        );
    Command::CloseAccount { id, if_match } =>
        "close-account", UNAUDITED, {}, Target::Record(RecordKey::Account(id.clone())),
        ledger::commands::close_account(unit, actor, id, if_match.as_ref());
    Command::PostTransfers { transfers } =>
        "post-transfers", UNAUDITED, {}, Target::Nothing,
        ledger::commands::post_transfers(unit, actor, transfers);
    Command::ReverseTransfer { id } =>
        "reverse-transfer", UNAUDITED, {}, Target::Record(RecordKey::Transfer(id.clone())),
        ledger::commands::reverse_transfer(unit, actor, id);
    Command::ReverseTransfers { ids } =>
        "reverse-transfers", UNAUDITED, {}, Target::Nothing,
        ledger::commands::reverse_transfers(unit, actor, ids);
    Command::PlaceHold { id, from, amount, expires } =>
        "place-hold", UNAUDITED, {}, Target::Nothing,
        ledger::commands::place_hold(unit, actor, id.as_ref(), from, *amount, *expires);
    Command::CaptureHold { id, to, amount, keep_rest, note } =>
        "capture-hold", UNAUDITED, {}, Target::Record(RecordKey::Hold(id.clone())),
        ledger::commands::capture_hold(unit, actor, id, to, *amount, *keep_rest, note.as_ref());
    Command::VoidHold { id } =>
        "void-hold", UNAUDITED, {reserved: true}, Target::Record(RecordKey::Hold(id.clone())),
        ledger::commands::void_hold(unit, actor, id);

    Command::Start(ask) =>
        "start-transaction", UNAUDITED, {}, Target::Nothing,
        transaction::start(unit, actor, ask, inputs.checked.as_deref());
    Command::Submit { tx, step, input, if_match } =>
        "submit-step", UNAUDITED, {codes: true}, Target::Record(RecordKey::Tx(*tx)),
        transaction::submit(
            unit,
            actor,
            *tx,
            step,
            input,
            if_match.as_ref(),
            inputs.checked.as_deref(),
        );
    Command::Deliver { tx, input, undated } =>
        "deliver-message", UNAUDITED, {codes: true}, Target::Nothing,
        transaction::deliver(unit, actor, *tx, input, *undated);
    Command::Claim { tx, step } =>
        "claim-step", UNAUDITED, {}, Target::Record(RecordKey::Tx(*tx)),
        transaction::claim(unit, actor, *tx, step);
    Command::ClaimQueued(ask) =>
        "claim-queued-steps", UNAUDITED, {long: true}, Target::Nothing,
        transaction::claim_queued(unit, actor, ask);
    Command::Release { tx, step } =>
        "release-step", UNAUDITED, {}, Target::Record(RecordKey::Tx(*tx)),
        transaction::release(unit, actor, *tx, step);
    Command::Resend { tx, challenge } =>
        "resend-code", UNAUDITED, {codes: true}, Target::Record(RecordKey::Tx(*tx)),
        transaction::resend(unit, actor, *tx, challenge);
    Command::Cancel { tx, reason, if_match } =>
        "cancel-transaction", UNAUDITED, {reserved: true}, Target::Record(RecordKey::Tx(*tx)),
        transaction::cancel(unit, actor, *tx, reason.as_deref(), if_match.as_ref());
    Command::Repair { tx, repair } =>
        "repair-transaction", AUDITED, {}, Target::Record(RecordKey::Tx(*tx)),
        transaction::repair(unit, actor, *tx, repair);
    Command::Pause { tx, pause } =>
        if *pause { "pause-transaction" } else { "resume-transaction" }, AUDITED, {},
        Target::Record(RecordKey::Tx(*tx)),
        transaction::pause(unit, actor, *tx, *pause);
    Command::Migrate { tx, ask } =>
        "migrate-transaction", AUDITED, {long: true}, Target::Record(RecordKey::Tx(*tx)),
        transaction::migrate(unit, actor, *tx, ask);
    Command::BeginCall { tx, number } =>
        "begin-call", UNAUDITED, {}, Target::Nothing,
        {
            actor.require_system("the server itself makes calls")?;
            transaction::begin_call(unit, *tx, *number)
        };
    Command::EndCall { tx, number, attempt, result } =>
        "end-call", UNAUDITED, {reserved: true}, Target::Nothing,
        {
            actor.require_system("the server itself makes calls")?;
            transaction::end_call(unit, *tx, *number, *attempt, result)
        };
    Command::CallBack { token, body } =>
        "call-back", UNAUDITED, {reserved: true}, Target::Nothing,
        transaction::call_back(unit, token, body);

    Command::Bulk(ask) =>
        "bulk-transactions", AUDITED, {long: true}, Target::Nothing,
        bulk::begin(unit, actor, ask);
    Command::CreateWebhook(ask) =>
        "create-webhook", AUDITED, {}, Target::Nothing,
        webhook::create(unit, actor, ask);
    Command::RotateWebhook { id } =>
        "rotate-webhook", AUDITED, {}, Target::Record(RecordKey::Webhook(*id)),
        webhook::rotate(unit, actor, *id);
    Command::DeleteWebhook { id } =>
        "delete-webhook", AUDITED, {}, Target::Record(RecordKey::Webhook(*id)),
        webhook::delete(unit, actor, *id);
    Command::ReplayDeadLetter { id, what } =>
        "replay-dead-letter", AUDITED, {}, Target::Record(RecordKey::Webhook(*id)),
        webhook::replay(unit, actor, *id, *what);
    Command::NoteWebhook(news) =>
        "note-webhook", AUDITED, {}, Target::Nothing,
        webhook::note(unit, actor, news);
    Command::CreateSchedule(ask) =>
        "create-schedule", AUDITED, {}, Target::Nothing,
        schedule::create(unit, actor, ask);
    Command::DeleteSchedule { id } =>
        "delete-schedule", AUDITED, {}, Target::Record(RecordKey::Schedule(*id)),
        schedule::delete(unit, actor, *id);

    Command::Publish { source, definition } =>
        "publish-workflow", AUDITED, {long: true},
        Target::Record(RecordKey::Workflow(definition.name.clone())),
        transaction::publish(unit, actor, source, definition);
    Command::Retire { name } =>
        "retire-workflow", AUDITED, {long: true}, Target::Record(RecordKey::Workflow(name.clone())),
        transaction::retire(unit, actor, name);
    Command::PutValue { id, value, if_match } =>
        "put-value", UNAUDITED, {}, Target::Record(RecordKey::Value(id.clone())),
        value::put(unit, actor, id, value, if_match.as_ref());
    Command::ChangeValueSet { set, read_anyone } =>
        "change-value-set", UNAUDITED, {}, Target::Nothing,
        value::change_set(unit, actor, set, *read_anyone);
    Command::DeleteValue { id } =>
        "delete-value", UNAUDITED, {}, Target::Record(RecordKey::Value(id.clone())),
        value::delete(unit, actor, id);
    Command::NoteDenial { what } =>
        "note-denial", AUDITED, {}, Target::Nothing,
        {
            unit.emit(Event::Denied { what: (*what).into(), code: "not-allowed", user: None })?;
            Ok(Outcome::Done)
        };
}

impl Command {
    /// Decides the command.
    pub(super) fn run(
        &self,
        unit: &mut UnitOfWork<'_>,
        actor: &ResolvedActor,
        inputs: &CommandInputs,
    ) -> Result<Outcome, DecideError> {
        run(unit, actor, self, inputs)
    }

    /// Returns the thing whose revision the conditions of the request name.
    pub(super) fn target(&self) -> Target<'_> {
        target(self)
    }

    /// Returns the name in the log, the metrics and the audit events.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        properties(self).name
    }

    /// Returns whether the server's log names the command, besides the records.
    #[must_use]
    pub const fn is_audited(&self) -> bool {
        properties(self).audited
    }

    /// Returns whether the command checks or hashes a password.
    #[must_use]
    pub const fn hashes(&self) -> bool {
        properties(self).hashes
    }

    /// Returns whether a one-time code may be given with the command, or whether it may request
    /// one.
    #[must_use]
    pub const fn is_about_codes(&self) -> bool {
        properties(self).codes
    }

    /// Returns the transaction that the command changes.
    #[must_use]
    pub fn transaction(&self) -> Option<TxId> {
        if let Target::Record(RecordKey::Tx(id)) = target(self) { Some(id) } else { None }
    }

    /// Returns the kind of the token in the command's answer.
    #[must_use]
    pub const fn hands_out(&self) -> Option<TokenKind> {
        properties(self).token
    }

    /// Returns whether the command only frees data, and may therefore use the reserved disk space.
    #[must_use]
    pub const fn is_reserved(&self) -> bool {
        properties(self).reserved
    }

    /// Returns whether the command usually processes many records.
    #[must_use]
    pub const fn is_long(&self) -> bool {
        properties(self).long
    }

    /// Returns whether the command's answer contains a secret. The server never stores such an
    /// answer, so these commands refuse an `Idempotency-Key`.
    #[must_use]
    pub const fn answers_with_secret(&self) -> bool {
        self.hands_out().is_some()
    }
}
