//! Addresses in grants: what is written, and what it covers.
//!
//! ```text
//!  http: https://api.example.com   http://127.0.0.1:8080   http://metrics.corp in 10.0.0.0/8
//!  tcp:  127.0.0.1:6379            [::1]:53                db.corp:5432 in 10.1.2.3
//! ```
//!
//! A name covers the public addresses that it has at the time of each use, and no others: whoever answers for the
//! name could else point it at this machine, its network or its cloud's metadata. What else it may lead to stands
//! behind `in`. An address covers itself, and `localhost` the loopback addresses (RFC 6761).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// What is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct AddressError {
    /// `is not ...`
    pub what: &'static str,
    /// What to write instead.
    pub remedy: &'static str,
}

fn wrong<T>(what: &'static str, remedy: &'static str) -> Result<T, AddressError> {
    Err(AddressError { what, remedy })
}

/// Whom to speak with: a name, in lower case and without a dot at its end, or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A name.
    Name(String),
    /// An address; an IPv4 one is never written as an IPv6 one.
    Address(IpAddr),
}

impl Peer {
    /// Reads the host of a URI or of `HOST:PORT`; IPv6 with or without brackets.
    pub fn parse(text: &str) -> Option<Peer> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(text).parse::<IpAddr>() {
            return Some(Peer::Address(address.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let label = |label: &str| {
            let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            inner && !label.is_empty() && label.len() <= 63
        };
        let good = bare.is_none() && name.len() <= 253 && name.split('.').all(label);
        good.then(|| Peer::Name(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Name(name) => f.write_str(name),
            Peer::Address(IpAddr::V4(address)) => address.fmt(f),
            Peer::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Addresses with the same first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                u32::from(ours) & mask == u32::from(other) & mask
            }
            (IpAddr::V6(ours), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                u128::from(ours) & mask == u128::from(other) & mask
            }
            _ => false,
        }
    }

    fn whole(self) -> bool {
        self.bits == if self.address.is_ipv4() { 32 } else { 128 }
    }
}

impl FromStr for Network {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Network, AddressError> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(it, bits)| (it, Some(bits)));
        let Ok(address) = address.parse::<IpAddr>().map(|address| address.to_canonical()) else {
            return wrong("has no address or network behind `in`", "write it as 10.0.0.0/8 or 10.1.2.3");
        };
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |bits| bits.parse().ok().filter(|bits| *bits <= most));
        match bits {
            Some(bits) => Ok(Network { address, bits }),
            None => wrong("has no number of bits behind `/`", "write 0 to 32, or for IPv6 0 to 128"),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.whole() { self.address.fmt(f) } else { write!(f, "{}/{}", self.address, self.bits) }
    }
}

/// A peer, its port, and the networks that it may be found in beside the public one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Whom to speak with.
    pub peer: Peer,
    /// Where it listens.
    pub port: u16,
    /// Behind `in`.
    pub networks: Vec<Network>,
}

impl Endpoint {
    /// Whether the grant covers this address, which the peer has. Ports are not looked at.
    pub fn covers(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if self.networks.iter().any(|network| network.contains(address)) {
            return true;
        }
        match &self.peer {
            Peer::Address(granted) => *granted == address,
            Peer::Name(name) if name == "localhost" || name.ends_with(".localhost") => address.is_loopback(),
            Peer::Name(_) => is_public(address),
        }
    }
}

/// Parts the networks off.
fn with_networks(text: &str) -> Result<(&str, Vec<Network>), AddressError> {
    let Some((text, networks)) = text.split_once(" in ") else { return Ok((text.trim(), Vec::new())) };
    let networks = networks.split(',').map(|network| network.trim().parse());
    Ok((text.trim(), networks.collect::<Result<_, _>>()?))
}

const ENDPOINT: &str = "write HOST:PORT, as in 127.0.0.1:6379, [::1]:6379 or db.example.com:5432";

impl FromStr for Endpoint {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Endpoint, AddressError> {
        let (text, networks) = with_networks(text)?;
        if text.contains("://") {
            return wrong("is a URL, and an address is needed", ENDPOINT);
        }
        let Some((host, port)) = text.rsplit_once(':') else { return wrong("has no port", ENDPOINT) };
        let Some(port) = port.parse().ok().filter(|port| *port > 0) else {
            return wrong("has no port of 1 to 65535", ENDPOINT);
        };
        if host.contains(':') && !host.starts_with('[') {
            return wrong("has an IPv6 address without brackets", "write it as [::1]:6379");
        }
        match Peer::parse(host) {
            Some(peer) => Ok(Endpoint { peer, port, networks }),
            None => wrong("has no host that could be found", ENDPOINT),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.peer, self.port)?;
        write_networks(f, &self.networks)
    }
}

fn write_networks(f: &mut fmt::Formatter<'_>, networks: &[Network]) -> fmt::Result {
    for (index, network) in networks.iter().enumerate() {
        write!(f, "{}{network}", if index == 0 { " in " } else { ", " })?;
    }
    Ok(())
}

/// Scheme, host and port of requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// `https`, else `http`.
    pub secure: bool,
    /// Where.
    pub endpoint: Endpoint,
}

const ORIGIN: &str = "write an origin, as in https://api.example.com or http://127.0.0.1:8080";

impl Origin {
    /// Whether these are scheme, host and port of the same origin.
    pub fn is_of(&self, other: &Origin) -> bool {
        self.secure == other.secure
            && self.endpoint.peer == other.endpoint.peer
            && self.endpoint.port == other.endpoint.port
    }

    /// The origin of a request's URI. `None`: it has none, or one that names a user.
    pub fn of(uri: &http::Uri) -> Option<Origin> {
        let secure = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        // `host:`, and a port that is none, parse as no port.
        let port = match authority.port() {
            Some(port) => Some(port.as_u16()).filter(|port| *port > 0)?,
            None if secure => 443,
            None => 80,
        };
        let peer = Peer::parse(authority.host())?;
        Some(Origin { secure, endpoint: Endpoint { peer, port, networks: Vec::new() } })
    }
}

impl FromStr for Origin {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Origin, AddressError> {
        let (text, networks) = with_networks(text)?;
        let Ok(uri) = text.parse::<http::Uri>() else { return wrong("is not an origin", ORIGIN) };
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return wrong("names a user", ORIGIN);
        }
        let Some(mut origin) = Origin::of(&uri) else {
            return wrong("is not an origin of http or https", ORIGIN);
        };
        if uri.path() != "/" && !uri.path().is_empty() || uri.query().is_some() {
            return wrong(
                "has a path, and a grant is for a whole origin",
                "remove what stands behind the host",
            );
        }
        origin.endpoint.networks = networks;
        Ok(origin)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.secure { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://{}", self.endpoint.peer)?;
        if self.endpoint.port != usual {
            write!(f, ":{}", self.endpoint.port)?;
        }
        write_networks(f, &self.endpoint.networks)
    }
}

/// Whether the address is one of the public internet's, by IANA's registries of special-purpose addresses (RFC 6890).
/// Those that carry an IPv4 address within are as public as that.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || a >= 224 // multicast, reserved, broadcast
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || (a == 100 && b & 0xc0 == 64) // shared by carriers
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && b & 0xfe == 18)) // benchmarks
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Translated (RFC 6052) and 6to4 (RFC 3056).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        // Protocol assignments with Teredo, and documentation.
        [0x2001, 0..0x200, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..0x1000, ..] => false,
        // Only 2000::/3 is given out.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// Whether a connection to `address` ends at a socket that listens at `listener` on this machine.
pub(crate) fn reaches(address: SocketAddr, listener: SocketAddr) -> bool {
    let (to, at) = (address.ip().to_canonical(), listener.ip().to_canonical());
    address.port() == listener.port() && (to == at || (at.is_unspecified() && is_local(to)))
}

/// Whether the address is one of this machine's: only such can be bound.
fn is_local(address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified() || std::net::UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_written_is_shown_again() {
        for text in [
            "https://api.example.com",
            "http://127.0.0.1:8080",
            "http://[::1]",
            "http://metrics.corp:9090 in 10.0.0.0/8, fd00::/8, 192.168.1.2",
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().to_string(), text);
        }
        assert_eq!(
            "HTTPS://API.Example.com.:443/".parse::<Origin>().unwrap().to_string(),
            "https://api.example.com"
        );
        for text in ["127.0.0.1:6379", "[::1]:53", "db.corp:5432 in 10.1.2.3"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_origin_or_no_address_is_refused() {
        for text in [
            "",
            "example.com",
            "ftp://example.com",
            "http://",
            "http://a/b",
            "http://a?b",
            "http://u@a",
            "http://a b",
            "http://a:0",
            "http://a:99999",
            "https://a in",
            "http://a in b",
            "http://a in 10.0.0.0/33",
            "http://-é",
            "http://a..b",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
        for text in ["", "a", "a:", "a:0", "a:65536", "::1:53", "http://a:80", "a b:1", "[::1:53", "a:1 in x"]
        {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn special_addresses_are_not_public() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.168.0.1",
            "198.18.0.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "fec0::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2002:a00:1::",
            "2001::1",
            "2001:db8::1",
            "100::1",
            "4000::1",
        ] {
            assert!(!is_public(ip(text)), "{text}");
        }
        for text in
            ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101"]
        {
            assert!(is_public(ip(text)), "{text}");
        }
    }

    #[test]
    fn a_name_covers_public_addresses_and_those_behind_in() {
        let plain: Origin = "http://api.example.com".parse().unwrap();
        assert!(plain.endpoint.covers(ip("93.184.216.34")));
        for private in ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "::ffff:169.254.169.254"] {
            assert!(!plain.endpoint.covers(ip(private)), "{private}");
        }
        let inside: Endpoint = "db.corp:5432 in 10.1.0.0/16, fd00::/8".parse().unwrap();
        assert!(
            inside.covers(ip("10.1.9.9")) && inside.covers(ip("fd12::1")) && inside.covers(ip("1.1.1.1"))
        );
        assert!(inside.covers(ip("::ffff:10.1.9.9")), "the same address");
        assert!(!inside.covers(ip("10.2.0.1")) && !inside.covers(ip("127.0.0.1")));
    }

    #[test]
    fn an_address_covers_itself_and_localhost_the_loopback() {
        let one: Endpoint = "127.0.0.1:80".parse().unwrap();
        assert!(one.covers(ip("127.0.0.1")) && !one.covers(ip("127.0.0.2")) && !one.covers(ip("1.1.1.1")));
        let localhost: Endpoint = "localhost:80".parse().unwrap();
        assert!(localhost.covers(ip("127.0.0.1")) && localhost.covers(ip("::1")));
        assert!(!localhost.covers(ip("10.0.0.1")) && !localhost.covers(ip("1.1.1.1")));
    }

    #[test]
    fn origins_differ_in_scheme_host_and_port() {
        let granted: Origin = "http://a.example:8080".parse().unwrap();
        let of = |uri: &str| Origin::of(&uri.parse().unwrap());
        assert!(granted.is_of(&of("http://A.example:8080/x?y").unwrap()));
        for other in ["https://a.example:8080/", "http://a.example/", "http://b.example:8080/"] {
            assert!(!granted.is_of(&of(other).unwrap()), "{other}");
        }
        assert_eq!(of("http://a.example:8080@b.example/"), None, "a user that looks like a host");
    }

    #[test]
    fn a_listener_is_reached_by_its_address_or_where_it_listens_everywhere() {
        let reach = |to: &str, at: &str| reaches(to.parse().unwrap(), at.parse().unwrap());
        assert!(reach("127.0.0.1:80", "127.0.0.1:80") && reach("127.0.0.1:80", "0.0.0.0:80"));
        assert!(reach("127.0.0.1:80", "[::]:80") && reach("[::ffff:127.0.0.1]:80", "127.0.0.1:80"));
        assert!(!reach("127.0.0.1:81", "127.0.0.1:80") && !reach("1.1.1.1:80", "0.0.0.0:80"));
    }
}
