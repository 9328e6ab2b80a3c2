//! Deliveries to other servers: calls of workflows and events for webhooks.
//!
//! One engine ([`worker`]) runs both. It makes attempts beside each other, hands their results
//! back, survives panics, and sleeps until something is due. What differs is an implementation of
//! [`Delivery`](worker::Delivery) for each kind:
//!
//! | | calls ([`call`]) | webhooks ([`webhook`]) |
//! |---|---|---|
//! | workers | one for all | one for each webhook |
//! | what is due | index entries of the store | the feed, and dead letters to replay |
//! | queue | one for each destination | one for each ordering key: the transaction |
//! | limits | attempts in all and at each destination, rate | attempts, half of them for retries |
//! | failing receiver | circuit breaker of the destination | back-off of the ordering key |
//! | durable state | the call's record: attempts and result | delivery checkpoint, attempts, dead letters |
//! | retries | decided by the engine, by the call's policy | 27 attempts over about a day |

mod backoff;
pub(super) mod call;
pub(super) mod webhook;
mod worker;
