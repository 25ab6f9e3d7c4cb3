//! What users write for addresses.

use crate::failure::{Failure, Status, describe};
use msp_core::Sid;
use msp_sockets::escape;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// A host by name or number, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// The addresses behind it, in the order of the system's preference.
    pub(crate) fn resolve(&self) -> Result<Vec<SocketAddr>, Failure> {
        let fail = |reason: &str| {
            Failure::new(Status::Unreachable, format_args!("cannot find the host '{}': {reason}", self.host))
        };
        let found: Vec<_> = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|error| {
                fail(describe(&error).trim_start_matches("failed to lookup address information: "))
            })?
            .collect();
        if found.is_empty() { Err(fail("it has no address")) } else { Ok(found) }
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("'{}' is not HOST:PORT", escape(text));
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if host.is_empty() || (bracketed.is_none() && host.contains([':', '[', ']'])) {
            return Err(bad());
        }
        let port = parse_port(port)?;
        Ok(Self { host: bracketed.unwrap_or(host).to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The TCP side of a tunnel: a port on this machine, or a host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Forward {
    Port(u16),
    HostPort(HostPort),
}

impl Forward {
    /// The addresses; a bare port is one of `host`.
    pub(crate) fn resolve(&self, host: IpAddr) -> Result<Vec<SocketAddr>, Failure> {
        match self {
            Self::Port(port) => Ok(vec![SocketAddr::new(host, *port)]),
            Self::HostPort(address) => address.resolve(),
        }
    }
}

impl FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(':') { text.parse().map(Self::HostPort) } else { parse_port(text).map(Self::Port) }
    }
}

/// The far end: its address on the mesh, and where it can be reached by UDP if broadcasts do not find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FarEnd {
    pub(crate) sid: Sid,
    pub(crate) host: Option<HostPort>,
}

impl FromStr for FarEnd {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (sid, host) = match text.split_once('@') {
            Some((sid, host)) => (sid, Some(host.parse()?)),
            None => (text, None),
        };
        Ok(Self { sid: sid.parse().map_err(|error: msp_core::ParseSidError| error.to_string())?, host })
    }
}

fn parse_port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("'{}' is not a port, a number from 0 to 65535", escape(text)))
}

/// The addresses of this machine at which a peer may find a UDP socket that is bound to `local`. The
/// loopback address is only among them if there is no other.
pub(crate) fn reachable_at(local: SocketAddr) -> Vec<SocketAddr> {
    if !local.ip().is_unspecified() {
        return vec![local];
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let usable = |ip: &IpAddr| ip.is_ipv4() == local.is_ipv4() && !ip.is_loopback() && !is_link_local(ip);
    let mut found = Vec::new();
    for ip in interfaces.iter().map(|interface| interface.ip()).filter(usable) {
        if let Err(place) = found.binary_search(&ip) {
            found.insert(place, ip);
        }
    }
    if found.is_empty() {
        found.push(if local.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    found.into_iter().map(|ip| SocketAddr::new(ip, local.port())).collect()
}

/// Whether an address means nothing without the name of an interface.
fn is_link_local(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_be_a_name_or_a_number() {
        for text in ["localhost:1", "127.0.0.1:80", "[::1]:65535"] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
        for text in ["", "80", ":80", "host:", "host:65536", "host:-1", "::1:80", "[::1:80", "a]:1"] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
        let loopback: SocketAddr = "[::1]:4110".parse().unwrap();
        assert_eq!("[::1]:4110".parse::<HostPort>().unwrap().resolve().unwrap(), [loopback]);
    }

    #[test]
    fn a_forward_may_be_a_port() {
        let local: SocketAddr = "127.0.0.1:22".parse().unwrap();
        assert_eq!("22".parse::<Forward>().unwrap().resolve(local.ip()).unwrap(), [local]);
        let other: SocketAddr = "127.0.0.2:22".parse().unwrap();
        assert_eq!("127.0.0.2:22".parse::<Forward>().unwrap().resolve(local.ip()).unwrap(), [other]);
        assert!("ssh".parse::<Forward>().is_err());
    }

    #[test]
    fn a_far_end_is_a_sid_and_maybe_a_host() {
        let sid = "4701D08488451F545A409FB58AE3E58581CA40AC3F7F114698CD71DEAC73CA01";
        let bare: FarEnd = sid.parse().unwrap();
        assert_eq!((bare.sid.to_string().as_str(), bare.host), (sid, None));
        let hosted: FarEnd = format!("{sid}@h:4110").parse().unwrap();
        assert_eq!(hosted.host, Some("h:4110".parse().unwrap()));
        assert!(format!("{sid}@").parse::<FarEnd>().is_err());
        assert!(format!("{sid}@h").parse::<FarEnd>().is_err());
        assert!("@h:1".parse::<FarEnd>().is_err());
    }
}
