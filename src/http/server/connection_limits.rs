//! Limits on the number of connections, in all and for each address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The part of an IPv6 address that names a network: one client is given at least a /64, and with
/// it 2^64 addresses to come from.
const NETWORK_V6: u128 = !0 << 64;

/// The limits of one listener.
#[derive(Debug)]
pub(super) struct ConnectionLimits {
    slots: Arc<Semaphore>,
    addresses: Arc<Addresses>,
    per_address: usize,
}

/// The right to be connected; ends when it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    _slot: OwnedSemaphorePermit,
    addresses: Arc<Addresses>,
    network: IpAddr,
}

/// Live connections by network.
#[derive(Debug, Default)]
struct Addresses(Mutex<HashMap<IpAddr, usize>>);

impl ConnectionLimits {
    pub(super) fn new(connections: usize, per_address: usize) -> Self {
        let slots = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        Self { slots, addresses: Arc::default(), per_address }
    }

    /// Waits until there are fewer connections than the cap in all.
    pub(super) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    /// Counts a connection from `address`; `None` when its network has as many as it may.
    pub(super) fn admit(
        &self,
        slot: OwnedSemaphorePermit,
        address: IpAddr,
    ) -> Option<ConnectionPermit> {
        let network = network(address);
        let mut counts = self.addresses.counts();
        let count = counts.entry(network).or_default();
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(ConnectionPermit { _slot: slot, addresses: Arc::clone(&self.addresses), network })
    }
}

impl Addresses {
    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // A count is whole between any two statements, so a poisoned lock still guards the truth.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.addresses.counts().entry(self.network) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// Returns the part of an address that one client is given.
pub(in super::super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & NETWORK_V6).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn admit(connection_limits: &ConnectionLimits, address: &str) -> Option<ConnectionPermit> {
        let slot = Arc::clone(&connection_limits.slots).try_acquire_owned().unwrap();
        connection_limits.admit(slot, address.parse().unwrap())
    }

    #[test]
    fn an_address_has_its_own_cap_and_gives_back_what_it_took() {
        let connection_limits = ConnectionLimits::new(10, 2);
        let first = admit(&connection_limits, "192.0.2.1");
        let second = admit(&connection_limits, "192.0.2.1");
        assert!(first.is_some() && second.is_some());
        assert!(admit(&connection_limits, "192.0.2.1").is_none(), "a third from the same address");
        let other = admit(&connection_limits, "192.0.2.2");
        assert!(other.is_some(), "another address has its own");
        drop(first);
        assert!(admit(&connection_limits, "192.0.2.1").is_some(), "a place came free");
        drop((second, other));
        assert!(
            connection_limits.addresses.counts().is_empty(),
            "an address without connections is forgotten"
        );
        assert_eq!(connection_limits.slots.available_permits(), 10);
    }

    #[test]
    fn one_ipv6_network_is_one_client_and_a_mapped_address_is_its_ipv4() {
        let connection_limits = ConnectionLimits::new(10, 1);
        let held = admit(&connection_limits, "2001:db8::1");
        assert!(held.is_some());
        assert!(admit(&connection_limits, "2001:db8::2:3:4:5").is_none(), "the same /64");
        assert!(admit(&connection_limits, "2001:db8:0:1::1").is_some(), "another /64");
        let mapped = admit(&connection_limits, "::ffff:192.0.2.1");
        assert!(mapped.is_some());
        assert!(admit(&connection_limits, "192.0.2.1").is_none(), "the same client");
    }
}
