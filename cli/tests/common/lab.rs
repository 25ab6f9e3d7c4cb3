//! Network namespaces in a row, each joined to the next by a relay that can lose packets. Nothing of it touches
//! the network of the machine, and all of it goes with the value.

#![allow(dead_code, reason = "each test target uses a part of it")]

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::air::{Air, Shore};
use crate::common::seed;
use crate::process::{run, until};
use crate::scratch::unique;

/// Namespaces 0 to n - 1. In namespace i the link to i + 1 is called `right` and has the address
/// 10.77.i.1, that to i - 1 is called `left` and has 10.78.i.1. All links end in one more namespace, where the
/// relays between them have the addresses 10.77.i.2 and 10.78.i.2. Link i is that between i and i + 1.
#[derive(Debug)]
pub(crate) struct Lab {
    namespaces: Vec<Namespace>,
    air: Vec<Air>,
    _sky: Namespace,
}

impl Lab {
    /// The reason why there can be no lab here, if there is one.
    pub(crate) fn missing() -> Option<String> {
        let name = unique();
        match Command::new("ip").args(["netns", "add", &name]).output() {
            Ok(output) if output.status.success() => {
                drop(Namespace(name));
                None
            }
            Ok(output) => Some(format!("no namespace: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Some(format!("no `ip` program: {error}")),
        }
    }

    pub(crate) fn chain(length: u8) -> Self {
        Self::new(length, length - 1)
    }

    /// The last is joined to the first.
    pub(crate) fn ring(length: u8) -> Self {
        Self::new(length, length)
    }

    /// Two that are on one link, `right` at the first with the address fe80::1, and `left` at the second with fe80::2.
    pub(crate) fn pair() -> Self {
        let namespaces = vec![Namespace::new(), Namespace::new()];
        let [one, other] = [&namespaces[0], &namespaces[1]];
        ip(&format!("link add right netns {} type veth peer name left netns {}", one.0, other.0));
        for (namespace, link, host) in [(one, "right", 1), (other, "left", 2)] {
            namespace.configure(&format!("link set {link} addrgenmode none"));
            namespace.configure(&format!("link set {link} up"));
            namespace.configure(&format!("addr add fe80::{host}/64 dev {link} nodad"));
        }
        Self { namespaces, air: Vec::new(), _sky: Namespace::new() }
    }

    /// The number that the system gives a link.
    pub(crate) fn index(&self, node: u8, link: &str) -> u32 {
        let mut command = self.command(node, "cat");
        let output = run("cat", command.arg(format!("/sys/class/net/{link}/ifindex")));
        output.text().trim().parse().unwrap()
    }

    fn new(length: u8, links: u8) -> Self {
        let seed = seed();
        let (namespaces, sky): (Vec<_>, _) =
            ((0..length).map(|_| Namespace::new()).collect(), Namespace::new());
        let join = |node: u8, link: &str, network: u8| {
            let (name, other) = (&namespaces[usize::from(node)], format!("{link}{node}"));
            ip(&format!("link add {link} netns {} type veth peer name {other} netns {}", name.0, sky.0));
            name.configure(&format!("addr add 10.{network}.{node}.1/24 brd + dev {link}"));
            name.configure(&format!("link set {link} up"));
            sky.configure(&format!("addr add 10.{network}.{node}.2/24 brd + dev {other}"));
            sky.configure(&format!("link set {other} up"));
            let [node, air, broadcast] = [1, 2, 255].map(|host| Ipv4Addr::new(10, network, node, host));
            Shore { node, air, broadcast }
        };
        let air = (0..links).map(|node| {
            let shores = [join(node, "right", 77), join((node + 1) % length, "left", 78)];
            sky.inside(|| Air::between(shores, seed.wrapping_add(node.into())))
        });
        let air = air.collect();
        Self { namespaces, air, _sky: sky }
    }

    /// The address at which the node before `node` reaches it.
    pub(crate) fn address_left(node: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, node - 1, 2)
    }

    /// A command that will run in the namespace. Its process is the program itself: `ip` replaces itself.
    pub(crate) fn command(&self, node: u8, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespaces[usize::from(node)].0, program]);
        command
    }

    /// Loses `percent` of all packets between nodes from now on: 0 for none, 100 for all.
    pub(crate) fn lose(&self, percent: u8) {
        self.air.iter().for_each(|air| air.lose(percent));
    }

    /// Delays every packet from one node to the next from now on.
    pub(crate) fn delay(&self, delay: Duration) {
        self.air.iter().for_each(|air| air.delay(delay));
    }

    /// Carries so many bytes in a second over each link from now on, each way.
    pub(crate) fn limit(&self, rate: u64) {
        self.air.iter().for_each(|air| air.limit(rate));
    }

    /// What is between a node and the next one.
    pub(crate) fn link(&self, node: u8) -> &Air {
        &self.air[usize::from(node)]
    }

    /// How many packets were sent so far.
    pub(crate) fn heard(&self) -> u64 {
        self.air.iter().map(Air::heard).sum()
    }

    /// How many packets were lost so far.
    pub(crate) fn lost(&self) -> u64 {
        self.air.iter().map(Air::lost).sum()
    }

    /// A TCP listener on loopback in the namespace.
    pub(crate) fn listen(&self, node: u8) -> TcpListener {
        self.inside(node, || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
    }

    /// A TCP port in the namespace that nothing uses, nor will by itself: the namespace is the test's own.
    pub(crate) fn free_port(&self, node: u8) -> u16 {
        self.listen(node).local_addr().unwrap().port()
    }

    /// A TCP connection to `port` on loopback in the namespace, as soon as something listens.
    #[track_caller]
    pub(crate) fn connect(&self, node: u8, port: u16) -> TcpStream {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        self.inside(node, || until(&format!("a listener on {to}"), || TcpStream::connect(to).ok()))
    }

    /// Runs `f` in the namespace: the sockets that it makes belong there for good.
    pub(crate) fn inside<T: Send>(&self, node: u8, f: impl FnOnce() -> T + Send) -> T {
        self.namespaces[usize::from(node)].inside(f)
    }
}

/// A network namespace by its name, until this is dropped.
#[derive(Debug)]
struct Namespace(String);

impl Namespace {
    fn new() -> Self {
        let name = unique();
        ip(&format!("netns add {name}"));
        let namespace = Self(name);
        namespace.configure("link set lo up");
        namespace
    }

    fn configure(&self, what: &str) {
        ip(&format!("-n {} {what}", self.0));
    }

    fn inside<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.0)).unwrap();
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                f()
            });
            inside.join().unwrap()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

#[track_caller]
fn ip(arguments: &str) {
    run("ip", Command::new("ip").args(arguments.split(' '))).assert_status(&format!("ip {arguments}"), 0);
}
