//! Limits of calls.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::types::TxId;

/// Maximum number of calls that wait in memory; further ones wait in the store.
const WAITING_MAX: usize = 50_000;

/// Longest sleep of the worker, and the delay before a failed one restarts.
pub(super) const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Transaction of a call, and its number there.
pub(super) type CallId = (TxId, u32);

/// Limits of calls, and what they carry.
#[derive(Clone)]
pub struct CallSettings {
    /// Address at which others reach this server; addresses of callbacks begin with it.
    pub public_url: String,
    /// Secrets by name.
    pub secrets: BTreeMap<String, String>,
    /// Maximum number of attempts under way.
    pub in_flight_max: usize,
    /// Maximum number of attempts under way at one destination.
    pub per_destination_max: usize,
    /// Maximum number of attempts per second at one destination; `None`: no limit.
    pub per_second: Option<u32>,
    /// Approximate maximum number of calls that wait in memory.
    pub waiting_max: usize,
}

impl Default for CallSettings {
    fn default() -> Self {
        Self {
            public_url: "http://127.0.0.1:8080".to_owned(),
            secrets: BTreeMap::new(),
            in_flight_max: 2048,
            per_destination_max: 256,
            per_second: None,
            waiting_max: WAITING_MAX,
        }
    }
}

impl fmt::Debug for CallSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallSettings")
            .field("public_url", &self.public_url)
            .field("secrets", &self.secrets.keys())
            .finish_non_exhaustive()
    }
}
