//! Calls of workflows to other services: what is due is read from the store, begun, sent, and its
//! result handed to the executor.
//!
//! Nothing here is needed after a crash: what is due and what was under way lies in the store. The
//! executor never waits for a call.

mod circuit_breaker;
mod destination;
mod dispatcher;
mod excerpt;
mod request;
mod sender;
mod settings;

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::dispatcher::{Dispatcher, due_call};
use self::sender::CallSender;
pub use self::settings::CallSettings;
use self::settings::SLEEP_MAX;
use super::worker;
use crate::app::App;
use crate::app::notifier::CallFigures;
use crate::engine::{Actor, Command, Outcome, Refusal};
use crate::outbound::HttpClient;
use crate::records::Key;
use crate::store::{KeyRange, Order, PAGE_ROWS_MAX, View};
use crate::types::{Time, TxId};

/// Delay before a command is tried again that found the queue full.
const BUSY_DELAY: Duration = Duration::from_millis(20);

/// Handle of the worker that makes calls.
pub struct CallWorker(JoinHandle<()>);

impl CallWorker {
    /// Makes no more calls. Attempts under way are aborted: their results are unknown.
    pub async fn stop(self) {
        self.0.abort();
        // The task was aborted, or has ended by itself.
        drop(self.0.await);
    }
}

/// Calls that are due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueCalls {
    /// The calls, earliest first.
    pub calls: Vec<(TxId, u32)>,
    /// Time of the next call.
    pub next: Option<Time>,
}

impl App {
    /// Starts the worker that makes the calls which are due.
    #[must_use]
    pub fn start_calls(self: &Arc<Self>, client: HttpClient, settings: CallSettings) -> CallWorker {
        let sender = Arc::new(CallSender { app: Arc::clone(self), client, settings });
        CallWorker(tokio::spawn(async move {
            let run = || async {
                sender.end_lost_calls().await?;
                worker::run(Dispatcher::new(Arc::clone(&sender))).await
            };
            worker::supervise("calls", SLEEP_MAX, run).await;
        }))
    }

    /// Returns the measurements of calls.
    #[must_use]
    pub fn call_figures(&self) -> CallFigures {
        self.notifier.figures()
    }

    /// Returns the calls that are due by now, and when the next one is. For scenarios of workflows,
    /// which make calls themselves.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]
    pub fn calls_due(&self) -> Result<DueCalls, Refusal> {
        let now = self.now();
        let mut due = DueCalls::default();
        let mut range = KeyRange::prefix(Key::CALLS_DUE);
        loop {
            let page = self.store.scan(View::Committed, &range, Order::Ascending, PAGE_ROWS_MAX);
            let page = self.guard(page.map_err(Into::into))?;
            for (at, call) in page.rows.iter().filter_map(|row| due_call(&row.key)) {
                if at > now || due.calls.len() >= PAGE_ROWS_MAX {
                    due.next = Some(at);
                    return Ok(due);
                }
                due.calls.push(call);
            }
            let Some(next) = page.next else { return Ok(due) };
            range.from = Bound::Excluded(next);
        }
    }

    /// Executes a command of the server itself, again as long as the server is busy.
    ///
    /// # Errors
    /// Every other refusal of the engine, and [`Refusal::Stopping`].
    pub async fn call_until_accepted(&self, command: Command) -> Result<Outcome, Refusal> {
        loop {
            let delay = match self.call(command.clone(), Actor::System).await {
                Err(Refusal::Busy { .. }) => BUSY_DELAY,
                Err(Refusal::NoRoom) => SLEEP_MAX,
                done => return done,
            };
            tokio::time::sleep_until(Instant::now() + delay).await;
        }
    }
}
