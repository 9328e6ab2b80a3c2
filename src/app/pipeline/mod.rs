//! The path of a command, in the order of its stages.
//!
//! 1. **`admit`**: [`App::admit`](super::App::admit) takes a typed command with its envelope. It
//!    hashes the Idempotency-Key (`App::idempotent_request`) and reserves the command's share of
//!    the queue (`Queue::reserve`, limits in `admission`). A command that needs no preparation goes
//!    on to 3 on the caller's thread.
//! 2. **`prepare`**: `App::new_inputs` makes new ids and tokens; `App::prepare` checks and hashes
//!    passwords on threads of their own, after [`precheck`](crate::engine::precheck) found that the
//!    command would not be refused for another reason; `App::check_input` checks a large input
//!    against its schema.
//! 3. **`queue`**: `Queue::enqueue` puts the job into one bounded queue. The caller that enqueued
//!    it drains the queue if the executor is free (`ExecutorState::try_drain`), else its holder or
//!    the executor's thread does (`ExecutorState::drain`). After a long wait actors take turns
//!    (`lanes`).
//! 4. **`execute`**: `Executor::fire_some` fires due timers first (`timers`). Then
//!    `Executor::execute` looks up a stored answer (`Executor::key_state`), loads records and calls
//!    [`decide`](crate::engine::decide): events, or a refusal. The actor is resolved again there,
//!    so a command of a session that has ended meanwhile changes nothing.
//! 5. **`commit`**: `Executor::commit_decision` makes one batch of records, index entries, the log
//!    entry, timers, outbound calls and the stored answer, with everything that was read as
//!    preconditions. `Executor::stage` hands it to the store and notifies timers, calls and
//!    webhooks. Commands and timers share this path. The executor goes on with the next command,
//!    which sees the staged batch; readers see it when it is durable.
//! 6. **`respond`**: [`App::respond`](super::App::respond) returns the answer when the receipt
//!    resolves. A refusal by the engine waits too, for the last commit that was staged before it.
//!
//! Two kinds of commits are apart from this path. `upkeep` writes rows that nothing decides:
//! counts, the clock's marks, the sweep. And the *touch* of a session, which notes its activity at
//! most once in a twentieth of the idle time-out, is a command of its own
//! ([`App::authenticate`](super::App::authenticate)): it precedes a read as well as a command, and
//! a session must count as active even if its command is refused.

pub(super) mod admission;
mod admit;
pub(super) mod answers;
mod commit;
mod execute;
pub(super) mod executor;
mod idempotency;
pub(super) mod job;
mod lanes;
mod live_keys;
mod pending;
mod prepare;
pub(super) mod queue;
mod replay;
mod respond;
mod slice;
mod sweep;
mod timers;
mod upkeep;
pub(super) mod waiters;
pub(super) mod watchdog;

pub use pending::PendingCommand;
