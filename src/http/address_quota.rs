//! Quotas by client address, for resources that are taken before the actor is known: no address can
//! take all of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::server::network;

/// A number of equal things, of which each address may hold a part.
#[derive(Debug)]
pub(super) struct AddressQuota {
    all_max: usize,
    each_max: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// Share of an address; returned when it is dropped.
#[derive(Debug)]
pub(super) struct QuotaShare {
    shares: Arc<AddressQuota>,
    network: IpAddr,
    count: usize,
}

impl AddressQuota {
    /// Returns a quota with these limits, in all and for one address (IPv6: for one /64).
    pub(super) fn new(all_max: usize, each_max: usize) -> Arc<Self> {
        Arc::new(Self { all_max, each_max, held: Mutex::default() })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Both counts change together.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a share of none, for an address that will take some.
    pub(super) fn of(self: &Arc<Self>, address: IpAddr) -> QuotaShare {
        QuotaShare { shares: Arc::clone(self), network: network(address), count: 0 }
    }
}

impl QuotaShare {
    /// Changes it to a share of `count`; returns `false` if there are not that many for this
    /// address.
    pub(super) fn grow_to(&mut self, count: usize) -> bool {
        let more = count.saturating_sub(self.count);
        if more == 0 {
            return true;
        }
        let AddressQuota { all_max, each_max, .. } = *self.shares;
        let mut held = self.shares.held();
        let own = held.by_network.get(&self.network).copied().unwrap_or_default();
        if held.all + more > all_max || own + more > each_max {
            return false;
        }
        held.all += more;
        held.by_network.insert(self.network, own + more);
        self.count = count;
        true
    }
}

impl Drop for QuotaShare {
    fn drop(&mut self) {
        if self.count == 0 {
            return;
        }
        let mut held = self.shares.held();
        held.all = held.all.saturating_sub(self.count);
        if let Entry::Occupied(mut entry) = held.by_network.entry(self.network) {
            *entry.get_mut() = entry.get().saturating_sub(self.count);
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panic")]

    use super::*;

    #[test]
    fn an_address_has_its_part_and_gives_it_back() {
        let shares = AddressQuota::new(10, 6);
        let of = |address: &str| shares.of(address.parse().unwrap());
        let (mut one, mut other) = (of("192.0.2.1"), of("192.0.2.2"));
        assert!(one.grow_to(4) && one.grow_to(6) && one.grow_to(2) && !one.grow_to(7));
        assert!(!of("::ffff:192.0.2.1").grow_to(1), "the same address");
        assert!(other.grow_to(4) && !other.grow_to(5), "no more in all");
        drop(one);
        assert!(other.grow_to(6) && of("192.0.2.1").grow_to(4));
        drop(other);
        assert!(shares.held().by_network.is_empty() && shares.held().all == 0);
    }
}
