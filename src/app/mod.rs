//! The shell around the rules: it owns the clock, the randomness, the threads and the store.
//!
//! The way of one request that changes something:
//!
//! 1. The HTTP layer turns the token into an actor ([`App::authenticate`]: a cache that no
//!    acknowledged end of a session outlives) and the bytes into a
//!    [`Command`](crate::engine::Command), and calls [`App::execute`].
//! 2. What only the world has is gathered before the queue (`prepare`): new ids and tokens, and
//!    for a password its hash, on a few threads of their own. First the command is tried on what
//!    is durable, so that only those make the server hash who might be let through.
//! 3. The command enters one bounded queue before the executor, which alone commits. Whoever put it
//!    there works the queue off if nobody else does, so mostly it is decided at once where it came;
//!    what may take long or must wait is left to the executor's own thread (`queue`).
//! 4. In its turn: what time is it? Everything that is due by now fires first, in the order of
//!    its due time. Then: was its Idempotency-Key answered before? Then that answer is the answer.
//! 5. Load, [`decide`](crate::engine::decide), load what it asks for, decide again: events, or a
//!    refusal. The actor is looked up anew here, so a command of a session that has ended
//!    meanwhile changes nothing.
//! 6. [`plan`](crate::records::plan): records, timers, the entry of the log, and the answer as the
//!    HTTP layer will send it, rendered now, in one batch whose preconditions are everything that
//!    was read. The caches forget what it changes.
//! 7. The batch is staged, and the executor goes on with the next command, which sees it.
//! 8. The receipt resolves when the batch is on the disk; then the caller is answered. A refusal
//!    and a kept answer wait too, for the last commit that they rest on. Who waits alone looks for
//!    his answer himself for a moment (`waiters`).
//!
//! A read ([`App::user`] and the like) sees what is durable and nothing else.

mod api;
mod application;
mod authentication;
mod clock;
mod clock_watch;
mod delivery;
mod due;
mod feed;
mod hooks;
mod ledger;
mod memory;
mod notifier;
mod operations;
mod passwords;
mod pipeline;
mod random;
mod read_budget;
mod read_pool;
mod reads;
mod secret;
pub mod signature;
mod stuck;
mod token_cache;
mod traces;
mod transactions;
mod tx_list;
mod warnings;
mod work_queue;

#[cfg(test)]
mod tests;

pub use api::{
    Answer, AuthContext, ClientInfo, CommandAnswer, Envelope, Fingerprint, Idempotency, ListPage,
    OpenError, PageRequest, Render, RunningApp, Settings, StopSignal,
};
pub use application::App;
pub use authentication::FeedEnd;
pub use delivery::call::{CallSettings, CallWorker, DueCalls};
pub use delivery::subscriptions::WebhookWatch;
pub use delivery::webhook::deliver_webhooks;
pub use feed::{
    ChainHead, EventActor, EventId, EventPage, FeedEvent, FeedItem, FeedScope, FeedSubscriber,
    HistoryPage, ProofReader, SubscriberLimit,
};
pub use hooks::{Delivery, Hook, Message, Scheme};
pub use ledger::{EntryMark, LedgerCheck};
pub use memory::MemoryBudget;
pub use notifier::CallFigures;
pub use passwords::Cost;
pub use pipeline::PendingCommand;
pub use pipeline::watchdog::{EXECUTOR_BOUNDS_US, ExecutorFigures, ExecutorTimes};
pub use read_budget::PAGE_BYTES_MAX;
pub use read_pool::{ReadPool, ReadRejection};
pub use secret::Secret;
pub use tx_list::TxFilter;
pub use warnings::DefinitionWarning;

/// Stack of each thread that reads, decides or renders, in bytes. Documents nested as deeply as they may
/// be (64 levels) take up to some 60 KB a level to read in an unoptimized build; memory is taken only
/// as far as a stack is used.
pub const STACK_BYTES: usize = 8 * 1024 * 1024;
