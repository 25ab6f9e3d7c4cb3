//! The broadcast addresses of this machine.

use if_addrs::IfAddr;
use msp_core::Instant;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// How long a list of addresses is good for; interfaces come and go.
const REFRESH: Duration = Duration::from_secs(10);

/// Where a broadcast goes: one address per IPv4 network that this machine is on.
#[derive(Debug)]
pub(crate) struct Broadcast {
    port: u16,
    /// The socket is bound to this address: only its network is meant.
    only: Option<Ipv4Addr>,
    addresses: Vec<SocketAddr>,
    refreshed: Option<Instant>,
}

impl Broadcast {
    /// The networks that a socket bound to `local` reaches, at UDP port `port`. IPv6 has no broadcast.
    pub(crate) fn new(local: IpAddr, port: u16) -> Option<Self> {
        let IpAddr::V4(local) = local else { return None };
        let only = (!local.is_unspecified()).then_some(local);
        Some(Self { port, only, addresses: Vec::new(), refreshed: None })
    }

    /// The addresses, looked up again when the last list is old. Only called when there is something to
    /// broadcast, so an idle node looks up nothing.
    pub(crate) fn addresses(&mut self, now: Instant) -> &[SocketAddr] {
        if self.refreshed.is_none_or(|at| now.since(at) >= REFRESH) {
            self.refreshed = Some(now);
            match if_addrs::get_if_addrs() {
                Ok(interfaces) => {
                    self.addresses = self.select(interfaces.into_iter().map(|interface| interface.addr));
                }
                Err(error) => log::warn!("cannot list the network interfaces: {error}"),
            }
        }
        &self.addresses
    }

    fn select(&self, interfaces: impl Iterator<Item = IfAddr>) -> Vec<SocketAddr> {
        let mut found = Vec::new();
        for address in interfaces {
            if let IfAddr::V4(v4) = address
                && !v4.ip.is_loopback()
                && self.only.is_none_or(|ip| ip == v4.ip)
                && let Some(ip) = v4.broadcast
                && let address = SocketAddr::from((ip, self.port))
                && let Err(place) = found.binary_search(&address)
            {
                found.insert(place, address);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use if_addrs::{Ifv4Addr, Ifv6Addr};
    use std::net::Ipv6Addr;

    fn v4(ip: [u8; 4], broadcast: Option<[u8; 4]>) -> IfAddr {
        IfAddr::V4(Ifv4Addr {
            ip: ip.into(),
            netmask: [255, 255, 255, 0].into(),
            prefixlen: 24,
            broadcast: broadcast.map(Into::into),
        })
    }

    fn interfaces() -> impl Iterator<Item = IfAddr> {
        let v6 = Ifv6Addr {
            ip: Ipv6Addr::LOCALHOST,
            netmask: Ipv6Addr::UNSPECIFIED,
            prefixlen: 0,
            broadcast: None,
        };
        [
            v4([127, 0, 0, 1], Some([127, 255, 255, 255])),
            v4([10, 0, 0, 2], Some([10, 0, 0, 255])),
            v4([10, 0, 0, 3], Some([10, 0, 0, 255])),
            v4([192, 168, 7, 1], Some([192, 168, 7, 255])),
            v4([10, 9, 9, 9], None),
            IfAddr::V6(v6),
        ]
        .into_iter()
    }

    #[test]
    fn each_network_once_and_never_loopback() {
        let any = Broadcast::new(Ipv4Addr::UNSPECIFIED.into(), 4110).unwrap();
        let expected: [SocketAddr; 2] = [([10, 0, 0, 255], 4110).into(), ([192, 168, 7, 255], 4110).into()];
        assert_eq!(any.select(interfaces()), expected);
    }

    #[test]
    fn a_bound_address_has_its_own_network_only() {
        let one = Broadcast::new(Ipv4Addr::new(10, 0, 0, 3).into(), 5000).unwrap();
        assert_eq!(one.select(interfaces()), [([10, 0, 0, 255], 5000).into()]);
        let loopback = Broadcast::new(Ipv4Addr::LOCALHOST.into(), 4110).unwrap();
        assert_eq!(loopback.select(interfaces()), []);
        assert!(Broadcast::new(Ipv6Addr::UNSPECIFIED.into(), 4110).is_none());
    }
}
