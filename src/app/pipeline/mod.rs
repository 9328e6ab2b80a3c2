//! The path of a command, in the order of its stages.
//!
//! 1. **`admit`**: [`App::admit`](super::App::admit) takes a typed command with its envelope and
//!    hashes the Idempotency-Key (`App::idempotent_request`). For a command that needs no more,
//!    `App::new_inputs` makes new ids and tokens, and it goes on to 3 on the caller's thread.
//! 2. **`prepare`**: a command with a password or a large input is prepared when its answer is
//!    awaited (`App::respond_prepared`). The stored answer is looked up first, since it costs
//!    nothing. `App::check_input` checks a large input against its schema. `App::prepare` calls
//!    `App::new_inputs`, and checks and hashes passwords on threads of their own after
//!    [`precheck`](crate::engine::precheck) found that the command would not be refused for another
//!    reason.
//! 3. **`queue`**: `App::enqueue` reserves the command's share of the queue (`Queue::reserve`, limits
//!    in `admission`; a large input has reserved it in 1) and puts the job into it
//!    (`Queue::enqueue`). If the executor is free, the caller drains the queue
//!    (`Shared::drain_as_caller`), but leaves due timers and long commands to the executor's thread
//!    (`ExecutorState::drain`). After a long wait actors take turns (`lanes`).
//! 4. **`execute`**: `Executor::execute` executes one command. `Executor::run` looks up a stored
//!    answer (`Executor::key_state`) and calls [`decide`](crate::engine::decide), which loads the
//!    records that it reads: the result is events, or a refusal. The actor is resolved again there,
//!    so a command of a session that has ended meanwhile changes nothing. A command that read
//!    something overdue waits until its timer has fired. The executor's thread fires due timers
//!    between commands, and as long as they took leaves the time to commands
//!    (`Executor::fire_some`, in `timers`).
//! 5. **`commit`**: `Executor::commit_decision` makes one batch of records, index entries, the log
//!    entry, timers, outbound calls and the stored answer, with the records that were read from the
//!    store as preconditions (those of the record cache need none: only the executor commits).
//!    `Executor::stage` hands it to the store and notifies timers, calls and webhooks. Commands and
//!    timers share this path. A decision without an event or an answer to store makes no commit. The
//!    executor goes on with the next command, which sees the staged batch; readers see it when it is
//!    durable.
//! 6. **`respond`**: [`App::respond`](super::App::respond) returns the answer when the receipt
//!    resolves. A refusal by the engine waits too, for the last commit that was staged before it.
//!
//! Two kinds of commits are apart. `upkeep` writes rows that nothing decides: counts and the sweep.
//! And the *touch* of a session, which notes its activity at most once in a twentieth of the idle
//! time-out, is a command of its own from 2 on ([`App::authenticate`](super::App::authenticate)): it
//! precedes a read as well as a command, and a session must count as active even if its command is
//! refused.

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
