//! One attempt at a call: begun by a command, sent, and ended by a command.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::JoinSet;

use super::circuit_breaker::Health;
use super::excerpt::excerpt;
use super::request;
use super::settings::{CallId, CallSettings};
use crate::app::App;
use crate::app::delivery::worker::catch_panic;
use crate::engine::{
    CallAttempt, CallResult, CallState, Command, IndexEntry, Outcome, Record, RecordKey, Refusal,
};
use crate::outbound::{HttpClient, HttpRequest, SendError};
use crate::records::{Key, read_record};
use crate::store::{KeyRange, Order, PAGE_ROWS_MAX, View};

/// Makes single attempts.
pub(super) struct CallSender {
    pub(super) app: Arc<App>,
    pub(super) client: HttpClient,
    pub(super) settings: CallSettings,
}

impl CallSender {
    /// Ends the attempts that were under way when the server ended: their results are unknown.
    pub(super) async fn end_lost_calls(&self) -> Result<(), Refusal> {
        let mut range = KeyRange::prefix(Key::CALLS_OUT);
        let mut count = 0;
        loop {
            let page =
                self.app.store.scan(View::Committed, &range, Order::Ascending, PAGE_ROWS_MAX);
            let page = self.app.guard(page.map_err(Into::into))?;
            let mut ends = JoinSet::new();
            for row in &page.rows {
                let Some(Key::IndexEntry(IndexEntry::CallOut(tx, number))) = Key::decode(&row.key)
                else {
                    continue;
                };
                let what = "the server ended before the answer";
                let Some(command) = self.lost((tx, number), what)? else { continue };
                count += 1;
                let app = Arc::clone(&self.app);
                ends.spawn(async move { app.call_until_accepted(command).await });
            }
            while let Some(ended) = ends.join_next().await {
                if let Ok(Err(Refusal::Stopping)) = ended {
                    return Err(Refusal::Stopping);
                }
            }
            let Some(next) = page.next else { break };
            range.from = Bound::Excluded(next);
        }
        if count > 0 {
            tracing::info!(count, "calls were under way when the server ended");
        }
        Ok(())
    }

    /// Returns the command that ends an attempt without an answer; `None` if none is under way.
    fn lost(&self, (tx, number): CallId, what: &str) -> Result<Option<Command>, Refusal> {
        let read = read_record(&*self.app.store, View::Committed, &RecordKey::Tx(tx));
        let read = self.app.guard(read)?.map(|(record, _)| record);
        let Some(Record::Tx(found)) = read.as_deref() else { return Ok(None) };
        let call = found.call(number).filter(|call| matches!(call.state, CallState::InFlight(_)));
        Ok(call.map(|call| {
            let result = Box::new(CallResult::Lost { what: what.to_owned() });
            Command::EndCall { tx, number, attempt: call.attempts, result }
        }))
    }

    /// Makes an attempt. If it panics, its result is unknown.
    pub(super) async fn attempt_or_lose(&self, call: CallId) -> Health {
        if let Some(health) = catch_panic(self.attempt(call)).await {
            return health;
        }
        self.app.notifier.counters.lost.fetch_add(1, Ordering::Relaxed);
        let (tx, number) = call;
        tracing::error!(%tx, number, "attempt at a call panicked; see the log above");
        let what = "the attempt ended in an error of the server";
        if let Ok(Some(command)) = self.lost(call, what) {
            self.end(call, command).await;
        }
        Health::Unknown
    }

    async fn end(&self, (tx, number): CallId, command: Command) {
        if let Err(error) = self.app.call_until_accepted(command).await {
            // The call stays marked as under way and counts as lost at the next start.
            tracing::error!(%tx, number, %error, "result of a call could not be recorded");
        }
    }

    async fn attempt(&self, (tx, number): CallId) -> Health {
        let begin = Command::BeginCall { tx, number };
        let attempt = match self.app.call_until_accepted(begin).await {
            Ok(Outcome::CallBegun(attempt)) => attempt,
            Ok(_) => return Health::Unknown,
            Err(error) => {
                tracing::warn!(%tx, number, %error, "call could not begin");
                return Health::Unknown;
            }
        };
        let trace = self.app.notifier.traces.of(attempt.tx);
        let key = &self.app.rules.challenge_key;
        let (result, health) = match request::build(&attempt, &self.settings, key, trace) {
            Err(what) => (CallResult::NotSent { what }, Health::Unknown),
            Ok(request) => self.exchange(&attempt, request).await,
        };
        let (attempt, result) = (attempt.attempt, Box::new(result));
        self.end((tx, number), Command::EndCall { tx, number, attempt, result }).await;
        health
    }

    /// Sends a request and waits for its answer.
    async fn exchange(&self, attempt: &CallAttempt, request: HttpRequest) -> (CallResult, Health) {
        let counters = &self.app.notifier.counters;
        match self.client.send(request).await {
            Ok(reply) => {
                let status = reply.status;
                let counter = if (200..300).contains(&status) {
                    &counters.succeeded
                } else {
                    &counters.refused
                };
                counter.fetch_add(1, Ordering::Relaxed);
                if matches!(status, 401 | 403) {
                    counters.denied.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(
                        tx = %attempt.tx, call = attempt.number, status,
                        "call refused: the service does not accept the server's credentials"
                    );
                }
                let is_unhealthy = status >= 500 || status == 429;
                let health = if is_unhealthy { Health::Unhealthy } else { Health::Healthy };
                let excerpt = self.excerpt(attempt, &reply.body);
                (request::answered(reply, self.app.wall_now(), excerpt), health)
            }
            Err(SendError::Egress(error)) => {
                let (tx, call) = (attempt.tx, attempt.number);
                tracing::error!(%tx, call, %error, "call not allowed by the egress policy");
                (CallResult::NotSent { what: error.to_string() }, Health::Unknown)
            }
            Err(failure) => {
                counters.lost.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(tx = %attempt.tx, call = attempt.number, %failure, "no answer");
                (CallResult::Lost { what: failure.to_string() }, Health::Unhealthy)
            }
        }
    }

    /// Returns the beginning of an answer without secrets of the server.
    fn excerpt(&self, attempt: &CallAttempt, body: &[u8]) -> Arc<str> {
        let secrets = self.settings.secrets.values().map(String::as_str);
        let callback = std::iter::once(attempt.callback.as_str());
        excerpt(body, secrets.chain(callback).chain(attempt.code.as_deref()))
    }
}
