//! The broadcast addresses and the interfaces of this machine.

use if_addrs::{IfAddr, Interface};
use msp_core::Instant;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::time::Duration;

/// How long a list of addresses is good for; interfaces come and go.
const REFRESH: Duration = Duration::from_secs(10);

/// Nodes of this project on a link hear what is sent to this group. It belongs to nobody else: the second digit says that
/// it is not assigned for good, the third that it ends at the link (RFC 4291 section 2.7).
const GROUP: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0, 0x4110);

/// Where a broadcast goes: one address per IPv4 network that this machine is on, or the group on each link with IPv6.
#[derive(Debug)]
pub(crate) struct Broadcast {
    port: u16,
    /// The socket is bound to this address: only its network is meant.
    only: Option<IpAddr>,
    is_ipv4: bool,
    addresses: Vec<SocketAddr>,
    refreshed: Option<Instant>,
}

impl Broadcast {
    /// The networks that a socket bound to `local` reaches, at UDP port `port`.
    pub(crate) const fn new(local: IpAddr, port: u16) -> Self {
        let only = if local.is_unspecified() { None } else { Some(local) };
        Self { port, only, is_ipv4: local.is_ipv4(), addresses: Vec::new(), refreshed: None }
    }

    /// A socket that is bound to one address does not hear what is sent to others, such as these.
    pub(crate) fn is_unheard(&self) -> bool {
        self.only.is_some()
    }

    /// The addresses, looked up again when the last list is old. Only called when there is something to
    /// broadcast, so an idle node looks up nothing.
    /// The socket joins groups that are new.
    pub(crate) fn addresses(&mut self, now: Instant, socket: &UdpSocket) -> &[SocketAddr] {
        if self.refreshed.is_none_or(|at| now.since(at) >= REFRESH) {
            self.refreshed = Some(now);
            match if_addrs::get_if_addrs() {
                Ok(interfaces) => {
                    self.addresses = self.select(&interfaces);
                    self.addresses.iter().for_each(|address| join(socket, *address));
                }
                Err(error) => log::warn!("cannot list the network interfaces: {error}"),
            }
        }
        &self.addresses
    }

    fn select(&self, interfaces: &[Interface]) -> Vec<SocketAddr> {
        let mut found = Vec::new();
        for interface in interfaces {
            let address = match &interface.addr {
                IfAddr::V4(v4) => v4.broadcast.map(|ip| SocketAddr::from((ip, self.port))),
                IfAddr::V6(_) => {
                    interface.index.map(|index| SocketAddrV6::new(GROUP, self.port, 0, index).into())
                }
            };
            if !interface.is_loopback()
                && interface.ip().is_ipv4() == self.is_ipv4
                && self.only.is_none_or(|ip| ip == interface.ip())
                && let Some(address) = address
                && let Err(place) = found.binary_search(&address)
            {
                found.insert(place, address);
            }
        }
        found
    }
}

/// Hears what is sent to this address if that is a group.
pub(crate) fn join(socket: &UdpSocket, address: SocketAddr) {
    if let SocketAddr::V6(v6) = address
        && v6.ip().is_multicast()
        && let Err(error) = socket.join_multicast_v6(v6.ip(), v6.scope_id())
    {
        // It may have joined already.
        log::trace!("{address}: {error}");
    }
}

/// What people call the interface with this address: its device, or the address if that is no one's.
pub(crate) fn name(interfaces: &[Interface], local: SocketAddr) -> String {
    let device = interfaces.iter().find(|interface| interface.ip() == local.ip());
    device.map_or_else(|| local.to_string(), |device| device.name.clone())
}

/// Whether `peer` is on the network of the interface with this address.
pub(crate) fn is_near(interfaces: &[Interface], local: SocketAddr, peer: SocketAddr) -> bool {
    let device = interfaces.iter().find(|interface| interface.ip() == local.ip());
    match (device.map(|device| &device.addr), peer) {
        (Some(IfAddr::V4(v4)), SocketAddr::V4(peer)) => *peer.ip() & v4.netmask == v4.ip & v4.netmask,
        (Some(IfAddr::V6(v6)), SocketAddr::V6(peer)) if peer.ip().is_unicast_link_local() => {
            v6.ip.is_unicast_link_local() && device.and_then(|device| device.index) == Some(peer.scope_id())
        }
        (Some(IfAddr::V6(v6)), SocketAddr::V6(peer)) => *peer.ip() & v6.netmask == v6.ip & v6.netmask,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use if_addrs::{IfOperStatus, Ifv4Addr, Ifv6Addr};
    use std::net::Ipv4Addr;

    fn interface(name: &str, index: u32, addr: IfAddr) -> Interface {
        let oper_status = IfOperStatus::Up;
        Interface { name: name.into(), addr, index: Some(index), oper_status, is_p2p: false }
    }

    fn v4(ip: [u8; 4], broadcast: Option<[u8; 4]>) -> IfAddr {
        IfAddr::V4(Ifv4Addr {
            ip: ip.into(),
            netmask: [255, 255, 255, 0].into(),
            prefixlen: 24,
            broadcast: broadcast.map(Into::into),
        })
    }

    fn v6(ip: &str) -> IfAddr {
        let netmask = "ffff:ffff:ffff:ffff::".parse().unwrap();
        IfAddr::V6(Ifv6Addr { ip: ip.parse().unwrap(), netmask, prefixlen: 64, broadcast: None })
    }

    fn interfaces() -> Vec<Interface> {
        vec![
            interface("lo", 1, v4([127, 0, 0, 1], Some([127, 255, 255, 255]))),
            interface("lo", 1, v6("::1")),
            interface("eth0", 2, v4([10, 0, 0, 2], Some([10, 0, 0, 255]))),
            interface("eth0", 2, v4([10, 0, 0, 3], Some([10, 0, 0, 255]))),
            interface("wlan0", 3, v4([192, 168, 7, 1], Some([192, 168, 7, 255]))),
            interface("wlan0", 3, v6("fe80::1")),
            interface("wlan0", 3, v6("2001:db8::1")),
            interface("wlan1", 4, v6("fe80::1:1")),
            interface("tun0", 5, v4([10, 9, 9, 9], None)),
        ]
    }

    fn selected(local: &str, port: u16) -> Vec<String> {
        let broadcast = Broadcast::new(local.parse().unwrap(), port);
        broadcast.select(&interfaces()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_network_once_and_never_loopback() {
        assert_eq!(selected("0.0.0.0", 4110), ["10.0.0.255:4110", "192.168.7.255:4110"]);
        assert_eq!(selected("::", 4110), ["[ff12::4110%3]:4110", "[ff12::4110%4]:4110"]);
    }

    #[test]
    fn a_bound_address_has_its_own_network_only() {
        assert_eq!(selected("10.0.0.3", 5000), ["10.0.0.255:5000"]);
        assert_eq!(selected("2001:db8::1", 5000), ["[ff12::4110%3]:5000"]);
        assert_eq!(selected("fe80::1:1", 5000), ["[ff12::4110%4]:5000"]);
        for local in ["127.0.0.1", "::1", "10.9.9.9", "10.0.0.4"] {
            assert_eq!(selected(local, 4110), Vec::<String>::new(), "{local}");
        }
        assert!(Broadcast::new(Ipv4Addr::new(10, 0, 0, 3).into(), 1).is_unheard());
        assert!(!Broadcast::new(Ipv4Addr::UNSPECIFIED.into(), 1).is_unheard());
    }

    #[test]
    fn interfaces_are_called_as_their_devices_and_reach_what_is_on_their_networks() {
        let (all, at) = (interfaces(), |text: &str| text.parse::<SocketAddr>().unwrap());
        for (local, expected) in [
            ("10.0.0.3:1", "eth0"),
            ("[fe80::1:1]:1", "wlan1"),
            ("0.0.0.0:4110", "0.0.0.0:4110"),
            ("[2001:db8::7]:1", "[2001:db8::7]:1"),
        ] {
            assert_eq!(name(&all, at(local)), expected);
        }
        for (local, peer, expected) in [
            ("10.0.0.3:1", "10.0.0.99:1", true),
            ("10.0.0.3:1", "10.0.1.99:1", false),
            ("0.0.0.0:1", "10.0.0.99:1", false),
            ("10.0.0.3:1", "[2001:db8::9]:1", false),
            ("[2001:db8::1]:1", "[2001:db8::9]:1", true),
            ("[2001:db8::1]:1", "[2001:db9::9]:1", false),
            ("[fe80::1:1]:1", "[fe80::9%4]:1", true),
            ("[fe80::1:1]:1", "[fe80::9%3]:1", false),
        ] {
            assert_eq!(is_near(&all, at(local), at(peer)), expected, "{local} {peer}");
        }
    }
}
