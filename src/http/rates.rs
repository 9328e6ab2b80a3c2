//! Rate limits for addresses and actors (GCRA, by `governor`).
//!
//! The memory is bounded: a limiter has [`BUCKETS`] buckets, and a hash that is different in each
//! process assigns each client to one of them. Two clients that share a bucket share its limit,
//! which is rare and cannot be arranged from outside.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use http::HeaderName;
use http::header::HeaderMap;

use super::problem::{Code, Problem};

/// The header of the IETF draft `draft-ietf-httpapi-ratelimit-headers-10`: what is left.
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The header of the same draft: what is allowed.
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Buckets of one limiter, 40 bytes each when it was used: with a thousand clients at a time one in
/// 130 shares a bucket with another.
const BUCKETS: u64 = 1 << 17;

/// Number of requests within a window, which is also the largest burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests in a window.
    pub requests: NonZeroU32,
    /// The window.
    pub window: Duration,
}

impl Rate {
    /// `requests` in each `seconds`; zeros count as one.
    #[must_use]
    pub const fn new(requests: u32, seconds: u64) -> Self {
        let requests = match NonZeroU32::new(requests) {
            Some(requests) => requests,
            None => NonZeroU32::MIN,
        };
        let seconds = if seconds == 0 { 1 } else { seconds };
        Self { requests, window: Duration::from_secs(seconds) }
    }
}

/// The limits of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateSettings {
    /// For each address (IPv6: each /64, which is what one client is given).
    pub address: Rate,
    /// For each user, anonymous session or API key.
    pub actor: Rate,
    /// Logins, registrations and other calls that hash a password, for each address; and passwords
    /// that are proved in a session, for each user.
    pub login: Rate,
    /// Anonymous sessions, for each address.
    pub anonymous: Rate,
}

impl Default for RateSettings {
    /// One load generator beside the server reaches 60 000 requests a second; these are above it.
    /// A person needs one login, a household behind one address some; each costs 10 ms of a core.
    /// An anonymous session costs a commit and is kept until it ends: every visitor has one, and
    /// many visitors may share an address.
    fn default() -> Self {
        Self {
            address: Rate::new(1_000_000, 10),
            actor: Rate::new(1_000_000, 10),
            login: Rate::new(120, 60),
            anonymous: Rate::new(1200, 60),
        }
    }
}

/// The limiters of a server.
#[derive(Debug)]
pub struct Rates {
    address: Limiter,
    actor: Limiter,
    login: Limiter,
    password: Limiter,
    anonymous: Limiter,
}

impl Rates {
    /// Limiters with these limits.
    #[must_use]
    pub fn new(settings: RateSettings) -> Self {
        Self {
            address: Limiter::new("address", "requests from this address", settings.address),
            actor: Limiter::new(
                "actor",
                "requests by this actor (a user, an anonymous session or an API key)",
                settings.actor,
            ),
            login: Limiter::new(
                "login",
                "logins and other calls that hash a password, from this address",
                settings.login,
            ),
            password: Limiter::new(
                "password",
                "passwords proved in sessions of this user",
                settings.login,
            ),
            anonymous: Limiter::new(
                "anonymous",
                "anonymous sessions opened from this address",
                settings.anonymous,
            ),
        }
    }

    /// Counts a request of an address.
    pub fn address(&self, address: IpAddr) -> RateStatus {
        self.address.take(&prefix(address))
    }

    /// Counts a request of an actor, named by a key of its own.
    pub fn actor(&self, actor: &impl Hash) -> RateStatus {
        self.actor.take(actor)
    }

    /// Counts a call of an address that hashes a password.
    pub fn login(&self, address: IpAddr) -> RateStatus {
        self.login.take(&prefix(address))
    }

    /// Counts a password that an actor proves in its session.
    pub fn password(&self, actor: &impl Hash) -> RateStatus {
        self.password.take(actor)
    }

    /// Counts an anonymous session that an address opens.
    pub fn anonymous(&self, address: IpAddr) -> RateStatus {
        self.anonymous.take(&prefix(address))
    }
}

/// Returns the part of the address space that one client has.
fn prefix(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        // The upper half; disjoint from IPv4, whose 32 bits would be the unassigned 0::/32.
        IpAddr::V6(address) => u64::try_from(address.to_bits() >> 64).unwrap_or_default(),
    }
}

/// State of a client's rate limit after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateStatus {
    name: &'static str,
    /// Counted requests and their owner, in words.
    counted: &'static str,
    rate: Rate,
    /// Requests that are left at once.
    left: u32,
    /// When refused: how long to wait, in whole seconds.
    wait_s: Option<u32>,
}

impl RateStatus {
    /// The refusal, if the limit was exceeded.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        let wait_s = self.wait_s?;
        let (requests, window_s) = (self.rate.requests, self.rate.window.as_secs());
        let detail =
            format!("more than {requests} {} in {window_s} s; wait {wait_s} s", self.counted);
        Some(Problem::new(Code::RateLimited, detail).retry_after(wait_s))
    }

    /// Adds the rate headers for the client.
    pub fn annotate(&self, headers: &mut HeaderMap) {
        let (name, window_s) = (self.name, self.rate.window.as_secs());
        let policy = format!("\"{name}\";q={};w={window_s}", self.rate.requests);
        let state = match self.wait_s {
            None => format!("\"{name}\";r={}", self.left),
            Some(wait_s) => format!("\"{name}\";r=0;t={wait_s}"),
        };
        for (name, text) in [(RATELIMIT_POLICY, policy), (RATELIMIT, state)] {
            if let Ok(value) = text.try_into() {
                headers.insert(name, value);
            }
        }
    }
}

type Buckets = RateLimiter<u64, HashMapStateStore<u64>, DefaultClock, StateInformationMiddleware>;

#[derive(Debug)]
struct Limiter {
    name: &'static str,
    counted: &'static str,
    rate: Rate,
    buckets: Buckets,
    clock: DefaultClock,
    hasher: RandomState,
}

impl Limiter {
    fn new(name: &'static str, counted: &'static str, rate: Rate) -> Self {
        let each = (rate.window / rate.requests.get()).max(Duration::from_nanos(1));
        // The period is not zero, so there is a quota.
        let quota = Quota::with_period(each).unwrap_or(Quota::per_second(NonZeroU32::MAX));
        let buckets = RateLimiter::hashmap(quota.allow_burst(rate.requests)).with_middleware();
        let (clock, hasher) = (DefaultClock::default(), RandomState::new());
        Self { name, counted, rate, buckets, clock, hasher }
    }

    fn take(&self, who: &impl Hash) -> RateStatus {
        let bucket = self.hasher.hash_one(who) % BUCKETS;
        let (left, wait_s) = match self.buckets.check_key(&bucket) {
            Ok(state) => (state.remaining_burst_capacity(), None),
            Err(until) => {
                let wait = until.wait_time_from(self.clock.now());
                let seconds = wait.as_secs().saturating_add(1);
                (0, Some(u32::try_from(seconds).unwrap_or(u32::MAX)))
            }
        };
        RateStatus { name: self.name, counted: self.counted, rate: self.rate, left, wait_s }
    }
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Limiter, Rate, RateSettings, Rates, prefix};

    #[test]
    fn a_burst_is_allowed_and_then_refused_with_a_time_to_wait() {
        let limiter = Limiter::new("address", "requests", Rate::new(3, 3600));
        for left in [2, 1, 0] {
            let rate_status = limiter.take(&"one");
            assert_eq!((rate_status.left, rate_status.problem().is_none()), (left, true));
        }
        let refused = limiter.take(&"one");
        let wait = refused.problem().and_then(|problem| problem.retry_after_s);
        assert!(wait.is_some_and(|seconds| (1..=1201).contains(&seconds)), "{wait:?}");
        assert!(limiter.take(&"other").problem().is_none());
        let mut headers = http::HeaderMap::new();
        refused.annotate(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"address\";q=3;w=3600");
    }

    #[test]
    fn rates_are_counted_apart_and_a_refusal_says_what_it_counts() {
        let once = Rate::new(1, 3600);
        let rates =
            Rates::new(RateSettings { address: once, actor: once, login: once, anonymous: once });
        let home = std::net::IpAddr::from([127, 0, 0, 1]);
        let takes: [(&dyn Fn() -> super::RateStatus, &str); 5] = [
            (&|| rates.address(home), "requests from this address"),
            (&|| rates.actor(&"alice"), "requests by this actor"),
            (&|| rates.login(home), "logins"),
            (&|| rates.password(&"alice"), "passwords"),
            (&|| rates.anonymous(home), "anonymous sessions opened from this address"),
        ];
        for (take, _) in &takes {
            assert!(take().problem().is_none());
        }
        for (take, counted) in takes {
            let detail = take().problem().map(|problem| problem.detail).unwrap_or_default();
            assert!(detail.contains(counted), "{detail}");
        }
    }

    #[test]
    fn the_number_of_buckets_is_bounded() {
        let limiter = Limiter::new("address", "requests", Rate::new(2, 3600));
        for who in 0..2 * BUCKETS {
            limiter.take(&who);
        }
        let used = limiter.buckets.len() as u64;
        assert!(used <= BUCKETS && used > BUCKETS / 2, "{used}");
    }

    #[test]
    fn ipv6_clients_are_counted_by_their_64_bit_prefix() {
        let of = |text: &str| text.parse().map(prefix);
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }

    #[test]
    fn the_defaults_are_strict_for_logins_only() {
        let rates = Rates::new(RateSettings::default());
        let home = std::net::IpAddr::from([127, 0, 0, 1]);
        let refused = |take: &dyn Fn() -> super::RateStatus| {
            (0..1000).filter(|_| take().problem().is_some()).count()
        };
        assert_eq!(refused(&|| rates.address(home)), 0);
        assert!(refused(&|| rates.login(home)) > 800);
        assert_eq!(refused(&|| rates.anonymous(home)), 0);
    }
}
