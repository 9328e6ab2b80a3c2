//! Policy for the destinations of requests.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;

/// The rules of the configuration. Without any, no request is sent.
///
/// A rule is a host (`api.example.com`, `*.example.com`, `https://api.example.com:8443`,
/// `http://10.1.2.3:8080`) or a network (`10.1.0.0/16`, `192.0.2.7`). An allowed name may
/// have public addresses, and others only if a network among the rules holds them too. Addresses of
/// no host are never allowed: link-local (among them those where clouds keep their credentials),
/// unspecified, multicast.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressPolicy {
    hosts: Vec<HostRule>,
    networks: Vec<Network>,
}

/// Reason for which a request may not be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// It is no address of a server.
    #[error("`{0}` is no http or https address with a host")]
    NotAnAddress(String),
    /// No rule names its host.
    #[error("`{0}` is not among the targets that the configuration allows (egress)")]
    NotAllowed(String),
    /// The host's address is not allowed.
    #[error("`{host}` is at {address}, which the configuration does not allow (egress)")]
    Address {
        /// The host.
        host: String,
        /// The address.
        address: IpAddr,
    },
}

/// A server, as an address names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerAddress {
    /// True if TLS is used.
    pub is_tls: bool,
    /// Its name or address, in lower case, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        if self.host.contains(':') {
            return write!(f, "{scheme}://[{}]:{}", self.host, self.port);
        }
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl ServerAddress {
    /// Returns the server of an address.
    ///
    /// # Errors
    /// [`EgressError::NotAnAddress`]: no host, another scheme, or a name and password in it, which
    /// would be sent to the server after the `@`.
    pub fn of(uri: &Uri) -> Result<Self, EgressError> {
        let wrong = || EgressError::NotAnAddress(shown(uri));
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str().contains('@') {
            return Err(wrong());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if host.is_empty() {
            return Err(wrong());
        }
        let port = match authority.as_str().rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => port.parse().map_err(|_| wrong())?,
            _ if is_tls => 443,
            _ => 80,
        };
        Ok(Self { is_tls, host, port })
    }
}

/// The address without its path, which may be secret.
fn shown(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    format!("{}://{host}", uri.scheme_str().unwrap_or_default())
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct HostRule {
    is_tls: Option<bool>,
    /// True if the names below it are meant, and not itself.
    below: bool,
    host: String,
    port: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u8,
}

impl EgressPolicy {
    /// Parses rules separated by commas; `None`: one of them is no rule.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut egress = Self::default();
        for rule in text.split(',').map(str::trim).filter(|rule| !rule.is_empty()) {
            match Network::parse(rule) {
                Some(network) => egress.networks.push(network),
                None => egress.hosts.push(HostRule::parse(rule)?),
            }
        }
        Some(egress)
    }

    /// Adds this machine itself to the rules.
    #[must_use]
    pub fn and_loopback(mut self) -> Self {
        let localhost =
            HostRule { is_tls: None, below: false, host: "localhost".to_owned(), port: None };
        self.hosts.push(localhost);
        self.networks.push(Network { address: Ipv4Addr::LOCALHOST.into(), bits: 8 });
        self.networks.push(Network { address: Ipv6Addr::LOCALHOST.into(), bits: 128 });
        self
    }

    /// Refuses a server that no rule names.
    ///
    /// # Errors
    /// [`EgressError::NotAllowed`], [`EgressError::Address`].
    pub fn must_allow(&self, target: &ServerAddress) -> Result<(), EgressError> {
        if let Ok(address) = target.host.parse::<IpAddr>() {
            return self.must_allow_address(target, address, true);
        }
        if self.hosts.iter().any(|rule| rule.allows(target)) {
            return Ok(());
        }
        Err(EgressError::NotAllowed(target.to_string()))
    }

    /// Refuses an address that a server was found at. `literal`: the URL names the address itself,
    /// so a rule must hold it.
    ///
    /// # Errors
    /// [`EgressError::Address`]
    pub fn must_allow_address(
        &self,
        target: &ServerAddress,
        address: IpAddr,
        literal: bool,
    ) -> Result<(), EgressError> {
        let canonical = address.to_canonical();
        let named = self.networks.iter().any(|network| network.holds(canonical));
        let fine = match class(canonical) {
            AddressClass::Public => {
                named || !literal || self.hosts.iter().any(|rule| rule.allows(target))
            }
            // A name that leads there is not enough: the owner of the name chose the address.
            AddressClass::Inner => {
                named || literal && self.hosts.iter().any(|rule| rule.names(target))
            }
            AddressClass::Never => false,
        };
        let host = || target.host.clone();
        if fine { Ok(()) } else { Err(EgressError::Address { host: host(), address }) }
    }
}

impl HostRule {
    fn parse(rule: &str) -> Option<Self> {
        let (scheme, rest) = match rule.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest.trim_end_matches('/')),
            None => (None, rule),
        };
        let is_tls = match scheme {
            None => None,
            Some("https") => Some(true),
            Some("http") => Some(false),
            Some(_) => return None,
        };
        let (rest, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
            _ => (rest, is_tls.map(|is_tls| if is_tls { 443 } else { 80 })),
        };
        let (below, host) = match rest.strip_prefix("*.") {
            Some(host) => (true, host),
            None => (false, rest),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
        let good = !host.is_empty() && host.bytes().all(plain) && !host.starts_with('.');
        good.then_some(Self { is_tls, below, host, port })
    }

    /// Returns whether it names this very server, and not one among others.
    fn names(&self, target: &ServerAddress) -> bool {
        !self.below && self.allows(target)
    }

    fn allows(&self, target: &ServerAddress) -> bool {
        let host = if self.below {
            let before = target.host.strip_suffix(&self.host);
            before.is_some_and(|before| before.len() > 1 && before.ends_with('.'))
        } else {
            target.host == self.host
        };
        host && self.is_tls.is_none_or(|is_tls| is_tls == target.is_tls)
            && self.port.is_none_or(|port| port == target.port)
    }
}

impl fmt::Display for EgressPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.hosts.iter().map(ToString::to_string);
        let networks = self.networks.iter().map(|net| format!("{}/{}", net.address, net.bits));
        f.write_str(&hosts.chain(networks).collect::<Vec<_>>().join(","))
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.is_tls {
            Some(true) => "https://",
            Some(false) => "http://",
            None => "",
        })?;
        f.write_str(if self.below { "*." } else { "" })?;
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let address = address.parse::<IpAddr>().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { address, bits })
    }

    fn holds(&self, address: IpAddr) -> bool {
        let (own, other, width) = match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (u128::from(own.to_bits()), u128::from(other.to_bits()), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits(), other.to_bits(), 128),
            _ => return false,
        };
        let rest = width - u32::from(self.bits);
        let cut = |bits: u128| bits.checked_shr(rest).unwrap_or(0);
        cut(own) == cut(other)
    }
}

/// Class of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AddressClass {
    /// A public address of the Internet.
    Public,
    /// An address of this machine or of a private network.
    Inner,
    /// No server that a request could mean.
    Never,
}

/// By the IANA special-purpose address registries (RFC 6890 and those after it).
fn class(address: IpAddr) -> AddressClass {
    match address {
        IpAddr::V4(address) => class_v4(address),
        IpAddr::V6(address) => class_v6(address),
    }
}

fn class_v4(address: Ipv4Addr) -> AddressClass {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        // "This network", link-local (where clouds keep credentials), multicast, reserved.
        (0 | 224..=255, ..) | (169, 254, _) => AddressClass::Never,
        (10 | 127, ..)
        | (100, 64..=127, _)
        | (172, 16..=31, _)
        | (192, 0, 0 | 2)
        | (192, 88, 99)
        | (192, 168, _)
        | (198, 18..=19, _)
        | (198, 51, 100)
        | (203, 0, 113) => AddressClass::Inner,
        _ => AddressClass::Public,
    }
}

fn class_v6(address: Ipv6Addr) -> AddressClass {
    if address.is_loopback() {
        return AddressClass::Inner;
    }
    let segments = address.segments();
    let tail = Ipv4Addr::from_bits(u32::from(segments[6]) << 16 | u32::from(segments[7]));
    match segments {
        // IPv4 in IPv6 in its several forms: the IPv4 address counts.
        [0, 0, 0, 0, 0, 0xffff | 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => match class_v4(tail) {
            AddressClass::Never => AddressClass::Never,
            _ => AddressClass::Inner,
        },
        [0x2002, high, low, ..] => {
            match class_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))) {
                AddressClass::Never => AddressClass::Never,
                _ => AddressClass::Inner,
            }
        }
        [first, ..] if first & 0xffc0 == 0xfe80 || first & 0xff00 == 0xff00 => AddressClass::Never,
        // The cloud's metadata service over IPv6.
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => AddressClass::Never,
        [first, ..] if first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0 => AddressClass::Inner,
        // Only 2000::/3 is given out to hosts; Teredo, documentation and the like are not.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => AddressClass::Inner,
        [0x3fff, second, ..] if second < 0x1000 => AddressClass::Inner,
        [first, ..] if first & 0xe000 == 0x2000 => AddressClass::Public,
        _ => AddressClass::Inner,
    }
}
