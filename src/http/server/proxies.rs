//! Client address, scheme and host as trusted proxies report them.

use std::fmt;
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::super::headers::{Pair, lines, list, split};
use super::Scheme;
use super::head_guard::head::is_host;

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The proxies before this server. Only their `X-Forwarded-For`, `-Proto` and `-Host`, or without
/// these their `Forwarded` (RFC 7239), count; from anybody else these headers are only text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(Vec<Network>);

/// The client of a request, as the connection or trusted proxies name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ForwardedClient {
    pub(super) address: IpAddr,
    pub(super) scheme: Scheme,
    /// The host that the client requested, if a proxy names it.
    pub(super) host: Option<HeaderValue>,
}

/// Values that the proxies report: the one nearest to the client first, the nearest proxy's last.
#[derive(Debug, Default)]
struct Said {
    addresses: Vec<Vec<u8>>,
    schemes: Vec<Vec<u8>>,
    hosts: Vec<Vec<u8>>,
}

impl Said {
    fn read(headers: &HeaderMap) -> Self {
        let all = |name| list(headers, name).map(<[u8]>::to_vec).collect();
        let said = Self {
            addresses: all(&X_FORWARDED_FOR),
            schemes: all(&X_FORWARDED_PROTO),
            hosts: all(&X_FORWARDED_HOST),
        };
        let is_silent = [&X_FORWARDED_FOR, &X_FORWARDED_PROTO, &X_FORWARDED_HOST]
            .iter()
            .all(|name| lines(headers, name).next().is_none());
        // A proxy that writes one kind of header passes on a forged header of the other kind.
        if is_silent { Self::read_forwarded(headers) } else { said }
    }

    /// Reads `Forwarded`. A pair that is malformed is left out; an element without an address is
    /// a hop that nobody names.
    fn read_forwarded(headers: &HeaderMap) -> Self {
        let mut said = Self::default();
        for element in list(headers, &FORWARDED) {
            let pairs: Vec<_> =
                split(element, b';').filter_map(|pair| Pair::read(pair).ok()).collect();
            let value = |name: &str| {
                let pair = pairs.iter().find(|pair| pair.is(name));
                pair.map(|pair| pair.value().to_vec()).unwrap_or_default()
            };
            said.addresses.push(value("for"));
            said.schemes.push(value("proto"));
            said.hosts.push(value("host"));
        }
        said
    }

    /// Returns the value of the proxy that is `hops` before this server; of the farthest one, where
    /// fewer have given one.
    fn of(words: &[Vec<u8>], hops: usize) -> Option<&[u8]> {
        let at = words.len().saturating_sub(hops.max(1));
        words.get(at).map(Vec::as_slice)
    }
}

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

    /// Returns whether `address` is one of them.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(address))
    }

    /// Returns the client of a request that came from `peer` by `scheme`.
    ///
    /// The addresses are read from their end, which the nearest proxy wrote: the first one that is
    /// not a proxy's is the client's; anybody may have made up those before it. The scheme and the
    /// host are the values of the proxy that named the client.
    pub(super) fn client(
        &self,
        peer: IpAddr,
        scheme: Scheme,
        headers: &HeaderMap,
    ) -> ForwardedClient {
        let mut client = ForwardedClient { address: peer.to_canonical(), scheme, host: None };
        if self.0.is_empty() || !self.contain(client.address) {
            return client;
        }
        let said = Said::read(headers);
        let mut hops = 0;
        for hop in said.addresses.iter().rev() {
            let Some(address) = hop_address(hop) else { break };
            client.address = address;
            hops += 1;
            if !self.contain(address) {
                break;
            }
        }
        client.scheme = match Said::of(&said.schemes, hops) {
            Some(proto) if proto.eq_ignore_ascii_case(b"https") => Scheme::Https,
            Some(proto) if proto.eq_ignore_ascii_case(b"http") => Scheme::Http,
            _ => scheme,
        };
        let host = Said::of(&said.hosts, hops).filter(|host| is_host(host));
        client.host = host.and_then(|host| HeaderValue::from_bytes(host).ok());
        client
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
        let client = proxies.client(peer.parse().unwrap(), Scheme::Http, &headers(lines));
        (client.address.to_string(), client.scheme)
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
    fn the_proxy_that_names_the_client_names_its_scheme_and_host() {
        let proxies = Proxies::parse("10.0.0.0/8").unwrap();
        let client = |lines: &[(&'static str, &str)]| {
            let peer = "10.0.0.1".parse().unwrap();
            let client = proxies.client(peer, Scheme::Http, &headers(lines));
            let host = client.host.map(|host| host.to_str().unwrap().to_owned());
            (client.address.to_string(), client.scheme, host)
        };
        let shop = || Some("shop.example".to_owned());
        let (https, http) = (Scheme::Https, Scheme::Http);
        let x = |xff, proto, host| {
            [("x-forwarded-for", xff), ("x-forwarded-proto", proto), ("x-forwarded-host", host)]
        };
        let alone = x("203.0.113.9", "HTTPS", "shop.example");
        assert_eq!(client(&alone), ("203.0.113.9".into(), https, shop()));
        let two = x("203.0.113.9, 10.0.0.2", "https, http", "shop.example, inner");
        assert_eq!(client(&two), ("203.0.113.9".into(), https, shop()));
        let forged = x("6.6.6.6, 203.0.113.9", "https, http", "evil.example, shop.example");
        assert_eq!(client(&forged), ("203.0.113.9".into(), http, shop()));
        let odd = x("203.0.113.9", "gopher", "a b");
        assert_eq!(client(&odd), ("203.0.113.9".into(), http, None));
        let forwarded = "for=6.6.6.6;host=evil.example, For=\"[2001:db8::1]:4711\";Proto=https;\
                         host=\"shop.example\", for=10.0.0.2;proto=http";
        assert_eq!(client(&[("forwarded", forwarded)]), ("2001:db8::1".into(), https, shop()));
        let both = [("forwarded", forwarded), ("x-forwarded-for", "203.0.113.9")];
        assert_eq!(client(&both), ("203.0.113.9".into(), http, None));
        let hidden = [("forwarded", "for=_hidden;proto=https")];
        assert_eq!(client(&hidden), ("10.0.0.1".into(), https, None));
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
