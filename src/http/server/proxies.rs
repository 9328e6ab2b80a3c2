//! Whose word about the client is taken.

use std::fmt;
use std::net::IpAddr;

use http::{HeaderMap, HeaderName};

use super::Scheme;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The proxies before this server. Only what they say in `X-Forwarded-For` and
/// `X-Forwarded-Proto` counts; from anybody else these headers are only text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(Vec<Network>);

/// Addresses that share their first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Proxies {
    /// Networks separated by commas: `10.0.0.0/8, 2001:db8::/32, 192.0.2.7`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(Network::parse).collect::<Option<_>>().map(Self)
    }

    /// Whether `address` is one of them.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(address))
    }

    /// The client's address and scheme, of a request that came from `peer` by `scheme`.
    ///
    /// `X-Forwarded-For` is read from its end, which is what the nearest proxy wrote: the first
    /// address that is not a proxy's is the client's; what stands before it, anybody may have
    /// made up.
    pub(super) fn client(
        &self,
        peer: IpAddr,
        scheme: Scheme,
        headers: &HeaderMap,
    ) -> (IpAddr, Scheme) {
        let mut client = peer.to_canonical();
        if self.0.is_empty() || !self.contain(client) {
            return (client, scheme);
        }
        let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
        let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        for hop in hops {
            let Some(address) = hop_address(hop) else { break };
            client = address;
            if !self.contain(client) {
                break;
            }
        }
        let scheme = match headers.get_all(X_FORWARDED_PROTO).iter().next_back() {
            Some(proto) if proto.as_bytes().eq_ignore_ascii_case(b"https") => Scheme::Https,
            Some(proto) if proto.as_bytes().eq_ignore_ascii_case(b"http") => Scheme::Http,
            _ => scheme,
        };
        (client, scheme)
    }
}

/// An entry of `X-Forwarded-For`: an address, which some proxies write with a port.
fn hop_address(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    let bare = hop.parse::<IpAddr>().ok();
    let with_port = || hop.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    bare.or_else(with_port).or_else(in_brackets).map(|address: IpAddr| address.to_canonical())
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address.parse().ok()?, Some(prefix.parse().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let bits = bits(address);
        let prefix = prefix.unwrap_or(bits);
        (prefix <= bits).then_some(Self { address, prefix })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let width = u32::from(bits(self.address) - self.prefix);
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                (ours.to_bits() ^ theirs.to_bits()).checked_shr(width).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                (ours.to_bits() ^ theirs.to_bits()).checked_shr(width).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl fmt::Display for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, network) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}/{}", network.address, network.prefix)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn client(proxies: &str, peer: &str, lines: &[(&'static str, &str)]) -> (String, Scheme) {
        let proxies = Proxies::parse(proxies).unwrap();
        let (client, scheme) = proxies.client(peer.parse().unwrap(), Scheme::Http, &headers(lines));
        (client.to_string(), scheme)
    }

    #[test]
    fn nobody_but_a_proxy_is_believed() {
        let says = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https")];
        let peer = "192.0.2.1";
        assert_eq!(client("", peer, &says), (peer.into(), Scheme::Http));
        assert_eq!(client("10.0.0.0/8", peer, &says), (peer.into(), Scheme::Http));
        assert_eq!(client("192.0.2.0/24", peer, &says), ("203.0.113.9".into(), Scheme::Https));
        assert_eq!(client("192.0.2.0/24", "::ffff:192.0.2.1", &says).0, "203.0.113.9");
    }

    #[test]
    fn what_a_client_writes_before_the_proxies_words_does_not_count() {
        let proxies = "10.0.0.0/8";
        let forged = [("x-forwarded-for", "1.1.1.1, 203.0.113.9, 10.0.0.2")];
        assert_eq!(client(proxies, "10.0.0.1", &forged).0, "203.0.113.9");
        let lines = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.9:4711")];
        assert_eq!(client(proxies, "10.0.0.1", &lines).0, "203.0.113.9");
        let broken = [("x-forwarded-for", "1.1.1.1, unknown, 10.0.0.2")];
        assert_eq!(client(proxies, "10.0.0.1", &broken).0, "10.0.0.2");
        let v6 = [("x-forwarded-for", "[2001:db8::1]:443")];
        assert_eq!(client(proxies, "10.0.0.1", &v6).0, "2001:db8::1");
        assert_eq!(client(proxies, "10.0.0.1", &[]).0, "10.0.0.1");
    }

    #[test]
    fn networks_are_read_as_they_are_written() {
        for good in ["", "10.0.0.0/8", "::1", "2001:db8::/32, 10.0.0.1", "0.0.0.0/0", "::/0"] {
            assert!(Proxies::parse(good).is_some(), "{good}");
        }
        for bad in ["10.0.0.0/33", "::/129", "proxy", "10.0.0.0/", "10.0.0/8", "1.2.3.4/-1"] {
            assert!(Proxies::parse(bad).is_none(), "{bad}");
        }
        let all = Proxies::parse("0.0.0.0/0").unwrap();
        assert!(all.contain("255.0.0.1".parse().unwrap()));
        assert!(!all.contain("::1".parse().unwrap()));
        assert_eq!(Proxies::parse("10.0.0.0/8,::1").unwrap().to_string(), "10.0.0.0/8,::1/128");
    }
}
