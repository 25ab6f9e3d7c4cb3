//! Network namespaces in a row, each joined to the next by a veth pair. Nothing of it touches the network
//! of the machine, and all of it goes with the value.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::{run, until};
use crate::scratch::{Directory, unique};

/// Namespaces 0 to n - 1. In namespace i the link to i + 1 is called `right` and has the address
/// 10.77.i.1, that to i - 1 is called `left` and has 10.77.(i-1).2.
#[derive(Debug)]
pub(crate) struct Lab {
    namespaces: Vec<String>,
}

impl Lab {
    /// The reason why there can be no lab here, if there is one.
    pub(crate) fn missing() -> Option<String> {
        let name = unique();
        match Command::new("ip").args(["netns", "add", &name]).output() {
            Ok(output) if output.status.success() => {
                let _ = Command::new("ip").args(["netns", "del", &name]).output();
                None
            }
            Ok(output) => Some(format!("no namespace: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Some(format!("no `ip` program: {error}")),
        }
    }

    pub(crate) fn chain(length: u8) -> Self {
        let mut lab = Self { namespaces: Vec::new() };
        for node in 0..length {
            let name = unique();
            ip(&format!("netns add {name}"));
            lab.namespaces.push(name);
            lab.configure(node, "link set lo up");
            if let Some(before) = node.checked_sub(1) {
                let (left, right) =
                    (&lab.namespaces[usize::from(before)], &lab.namespaces[usize::from(node)]);
                ip(&format!("link add right netns {left} type veth peer name left netns {right}"));
                lab.configure(before, &format!("addr add 10.77.{before}.1/24 brd + dev right"));
                lab.configure(node, &format!("addr add 10.77.{before}.2/24 brd + dev left"));
                lab.configure(before, "link set right up");
                lab.configure(node, "link set left up");
            }
        }
        lab
    }

    /// The address of `node` on its link to the node before.
    pub(crate) fn address_left(node: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, node - 1, 2)
    }

    fn configure(&self, node: u8, what: &str) {
        ip(&format!("-n {} {what}", self.namespaces[usize::from(node)]));
    }

    /// A command that will run in the namespace. Its process is the program itself: `ip` replaces itself.
    pub(crate) fn command(&self, node: u8, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespaces[usize::from(node)], program]);
        command
    }

    /// Drops `percent` (below 100) of what `node` receives on the Serval port; `false` where the kernel or
    /// `nft` cannot.
    pub(crate) fn lose(&self, node: u8, percent: u8) -> bool {
        self.drop_if(node, &format!("numgen random mod 100 < {percent}"))
    }

    /// Drops everything that `node` receives on the Serval port; `false` where the kernel or `nft` cannot.
    pub(crate) fn cut(&self, node: u8) -> bool {
        self.drop_if(node, "")
    }

    fn drop_if(&self, node: u8, condition: &str) -> bool {
        let rules = format!(
            "add table inet lab\n\
             add chain inet lab lose {{ type filter hook input priority 0 ; }}\n\
             add rule inet lab lose udp dport 4110 {condition} counter drop\n"
        );
        let directory = Directory::new();
        std::fs::write(directory.join("rules"), rules).unwrap();
        let status = self.command(node, "nft").arg("-f").arg(directory.join("rules")).status();
        status.is_ok_and(|status| status.success())
    }

    /// Drops nothing any more.
    pub(crate) fn heal(&self, node: u8) {
        run("nft", self.command(node, "nft").args(["flush", "ruleset"])).assert_status("nft", 0);
    }

    /// How many datagrams [`lose`](Self::lose) has dropped at `node`.
    pub(crate) fn lost(&self, node: u8) -> u64 {
        let listed = run("nft", self.command(node, "nft").args(["list", "ruleset"])).text();
        let after = listed.split("packets ").nth(1).unwrap_or_default();
        after.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    /// Runs `f` in the namespace: the sockets that it makes belong there for good.
    pub(crate) fn inside<T: Send>(&self, node: u8, f: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.namespaces[usize::from(node)])).unwrap();
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                f()
            });
            inside.join().unwrap()
        })
    }

    /// A TCP listener on loopback in the namespace.
    pub(crate) fn listen(&self, node: u8) -> TcpListener {
        self.inside(node, || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
    }

    /// A TCP connection to `port` on loopback in the namespace, as soon as something listens.
    #[track_caller]
    pub(crate) fn connect(&self, node: u8, port: u16) -> TcpStream {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        self.inside(node, || until(&format!("a listener on {to}"), || TcpStream::connect(to).ok()))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in &self.namespaces {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

#[track_caller]
fn ip(arguments: &str) {
    run("ip", Command::new("ip").args(arguments.split(' '))).assert_status(&format!("ip {arguments}"), 0);
}
