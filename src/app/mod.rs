//! The shell around the engine: it owns the clock, the randomness, the threads and the store.
//!
//! - [`application`](App): what the application consists of, its start and its end;
//! - `pipeline`: the path of a command, stage by stage;
//! - `authentication`, `reads`, `transactions`, `tx_list`, `ledger`, `operations`, `work_queue`:
//!   queries, as of what is durable;
//! - `feed`: events as they happen;
//! - `delivery`: calls and webhooks;
//! - `notifier`, `due`, `clock`, `passwords`, `read_pool` and the others: the parts that these use.

mod api;
mod application;
mod authentication;
mod clock;
mod clock_watch;
mod delivery;
mod due;
mod feed;
mod hook_messages;
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
mod readers_cache;
mod reads;
mod search_cursors;
mod secret;
pub mod signature;
mod stuck;
mod token_cache;
mod token_caches;
mod traces;
mod transactions;
mod tx_list;
mod warnings;
mod work_queue;

#[cfg(test)]
mod tests;

pub use api::{
    Answer, AppSettings, AuthContext, ClientInfo, CommandAnswer, Envelope, Fingerprint,
    Idempotency, ListPage, OpenError, PageRequest, Render,
};
pub use application::{App, RunningApp, StopSignal};
pub use authentication::FeedEnd;
pub use delivery::call::{CallSettings, CallWorker, DueCalls};
pub use delivery::webhook::deliver_webhooks;
pub use delivery::webhook::subscriptions::WebhookWatch;
pub use feed::{
    ChainHead, EventActor, EventId, EventPage, FeedEvent, FeedItem, FeedScope, FeedSubscriber,
    HistoryPage, ProofReader, SubscriberLimit,
};
pub use hooks::{Hook, HookMessage, SignatureScheme, VerifiedMessage};
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

/// Stack of each thread that reads, decides or renders, in bytes. Documents of the maximum nesting
/// (64 levels) take up to some 60 KB a level to read in an unoptimized build; only the used part of
/// a stack takes memory.
pub const STACK_BYTES: usize = 8 * 1024 * 1024;
