//! Look-ups of names. The system's own look-up blocks a thread for an unbounded time and cannot be
//! cancelled. So simultaneous look-ups of one name share one thread, and few names are looked up at
//! once. A name whose servers do not answer keeps one thread, and neither those of other names nor
//! those that the rest of the program needs.

use std::collections::HashMap;
use std::io::{Error, Result};
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Most names that are looked up at once: a part of the threads that may block (512).
const NAMES_MAX: usize = 128;

/// Result of a look-up; `None`: it is still running.
type Found = Option<std::result::Result<Vec<IpAddr>, String>>;

/// Look-ups under way, by name.
type Running = HashMap<String, watch::Receiver<Found>>;

/// Looks names up.
#[derive(Clone)]
pub(super) struct DnsResolver {
    running: Arc<Mutex<Running>>,
    permits: Arc<Semaphore>,
}

impl Default for DnsResolver {
    fn default() -> Self {
        Self::of(NAMES_MAX)
    }
}

impl DnsResolver {
    fn of(most: usize) -> Self {
        Self { running: Arc::default(), permits: Arc::new(Semaphore::new(most)) }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        // No step in between leaves the map inconsistent.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the addresses of a name.
    ///
    /// # Errors
    /// The error of the look-up.
    pub(super) async fn find(
        &self,
        name: &str,
        resolve: impl FnOnce(&str) -> Result<Vec<IpAddr>> + Send + 'static,
    ) -> Result<Vec<IpAddr>> {
        let running = self.running().get(name).cloned();
        let mut found = if let Some(running) = running {
            running
        } else {
            let permit = Arc::clone(&self.permits).acquire_owned().await;
            self.begin(name, permit.map_err(Error::other)?, resolve)
        };
        // It ends without a result only when it panics.
        let found = found.wait_for(Option::is_some).await.map_err(Error::other)?;
        let found = found.as_ref().map_or_else(|| Ok(Vec::new()), Clone::clone);
        found.map_err(Error::other)
    }

    /// Begins a look-up, unless another caller did meanwhile. It continues when no caller waits any
    /// more, and keeps its permit until its end.
    fn begin(
        &self,
        name: &str,
        permit: OwnedSemaphorePermit,
        resolve: impl FnOnce(&str) -> Result<Vec<IpAddr>> + Send + 'static,
    ) -> watch::Receiver<Found> {
        let mut running = self.running();
        if let Some(running) = running.get(name) {
            return running.clone();
        }
        let (tell, found) = watch::channel(None);
        running.insert(name.to_owned(), found.clone());
        let over = LookUpGuard { resolver: self.clone(), name: name.to_owned(), _permit: permit };
        drop(tokio::task::spawn_blocking(move || {
            let found = resolve(&over.name).map_err(|error| error.to_string());
            drop(over);
            tell.send_replace(Some(found));
        }));
        found
    }
}

/// A look-up under way, until this is dropped, in whatever way the look-up ends.
struct LookUpGuard {
    resolver: DnsResolver,
    name: String,
    _permit: OwnedSemaphorePermit,
}

impl Drop for LookUpGuard {
    fn drop(&mut self) {
        self.resolver.running().remove(&self.name);
    }
}

/// Asks the operating system.
///
/// # Errors
/// The error of the system.
pub(super) fn resolve(name: &str) -> Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// However many callers wait for a name whose look-up hangs: it keeps one thread, and another
    /// name is found meanwhile. All of them get its result.
    #[tokio::test]
    async fn a_look_up_that_hangs_holds_up_no_other_one() {
        let resolver = DnsResolver::of(2);
        let (end, ends) = mpsc::sync_channel::<()>(1);
        let ends = Arc::new(Mutex::new(ends));
        let begun = Arc::new(AtomicUsize::new(0));
        let mut asked = JoinSet::new();
        for _ in 0..50 {
            let (resolver, ends, begun) = (resolver.clone(), Arc::clone(&ends), Arc::clone(&begun));
            asked.spawn(async move {
                let hangs = move |_: &str| {
                    begun.fetch_add(1, Ordering::SeqCst);
                    assert!(ends.lock().unwrap().recv().is_err(), "it was let go on");
                    Ok(vec![HERE])
                };
                resolver.find("dead.test", hangs).await
            });
        }
        while begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let well = resolver.find("well.test", |_| Ok(vec![HERE]));
        let well = tokio::time::timeout(Duration::from_secs(10), well).await;
        assert_eq!(well.unwrap().unwrap(), [HERE]);
        drop(end);
        while let Some(found) = asked.join_next().await {
            assert_eq!(found.unwrap().unwrap(), [HERE]);
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        assert!(resolver.running().is_empty());
        assert!(resolver.find("no.test", |_| Err(Error::other("none"))).await.is_err());
    }
}
