//! Deliveries of events to webhooks: the events of one transaction in order, those of several
//! transactions beside each other, each until it is accepted or given up.

mod queue;
mod request;
pub(in crate::app) mod subscriptions;
#[cfg(test)]
mod tests;
mod webhook_delivery;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};

use self::queue::QueueLimits;
use self::webhook_delivery::WebhookDelivery;
use super::worker;
use crate::app::App;
use crate::outbound::HttpClient;
use crate::types::WebhookId;

/// Delay before a failed delivery worker restarts.
const RESTART_DELAY: Duration = Duration::from_mins(5);

/// Memory limits of a delivery worker, and the delay before a failed worker restarts.
#[derive(Clone, Copy)]
struct WorkerLimits {
    queue: QueueLimits,
    restart_delay: Duration,
}

impl Default for WorkerLimits {
    fn default() -> Self {
        Self { queue: QueueLimits::default(), restart_delay: RESTART_DELAY }
    }
}

/// Delivers events to all webhooks until the server stops.
pub async fn deliver_webhooks(app: Arc<App>, client: HttpClient) {
    deliver_with(app, client, WorkerLimits::default()).await;
}

async fn deliver_with(app: Arc<App>, client: HttpClient, limits: WorkerLimits) {
    let mut tasks = JoinSet::new();
    // One worker for each webhook. A worker sees the changes of its own webhook itself, so that a
    // change of another one cuts no attempt and shortens no delay.
    let mut workers: HashMap<WebhookId, AbortHandle> = HashMap::new();
    let mut watch = app.webhook_watch();
    // Ends with the feed: nothing may hold the application when it is closed.
    while let Ok(webhooks) = app.webhooks_seen(&mut watch).await {
        workers.retain(|id, task| {
            let exists = webhooks.iter().any(|webhook| webhook.id == *id);
            if !exists {
                task.abort();
            }
            exists && !task.is_finished()
        });
        for webhook in webhooks.iter().filter(|webhook| !webhook.stopped) {
            workers.entry(webhook.id).or_insert_with(|| {
                tasks.spawn(work(Arc::clone(&app), client.clone(), limits, webhook.id))
            });
        }
        tokio::select! {
            () = watch.changed() => {}
            // A webhook that stopped may have been resumed before its worker ended.
            Some(_) = tasks.join_next() => {}
        }
    }
    tasks.shutdown().await;
}

/// Runs the worker of one webhook.
async fn work(app: Arc<App>, client: HttpClient, limits: WorkerLimits, id: WebhookId) {
    let run = || async {
        let delivery = WebhookDelivery::open(Arc::clone(&app), client.clone(), limits.queue, id)?;
        match delivery {
            Some(delivery) => worker::run(delivery).await,
            None => Ok(()),
        }
    };
    worker::supervise(&id.to_string(), limits.restart_delay, run).await;
}
