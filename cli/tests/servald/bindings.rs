//! Which MDP ports of a daemon somebody has, asked as any client of its socket can (`spec/20` section 5).

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use msp_core::mdp::Instance;
use msp_core::wire::client::{ANY, Reply, ReplyKind, Request};
use msp_core::{Addr, Port};

use crate::daemon::Daemon;
use crate::lab::Lab;
use crate::process::LIMIT;
use crate::scratch::unique;

/// Those of `ports` that a client of the daemon at `node` has.
#[track_caller]
pub(crate) fn taken(lab: &Lab, node: u8, daemon: &Daemon<'_>, ports: &[u32]) -> Vec<u32> {
    let path = daemon.instance().to_str().unwrap();
    let instance = Instance::new(path.as_bytes()).unwrap();
    let (to, own) = (instance.daemon_file(), format!("{path}/mdp.client.{}.socket", unique()));
    let [to, own] = [to, own.into_bytes()]
        .map(|file| SocketAddr::from_abstract_name(Instance::abstract_name(&file)).unwrap());
    let socket = lab.inside(node, || UnixDatagram::bind_addr(&own).unwrap());
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let send = |request: Request<'_>| {
        let mut datagram = Vec::new();
        request.emit(&mut datagram);
        socket.send_to_addr(&datagram, &to).unwrap();
    };
    let is_taken = |&port: &u32| {
        let local = Addr::new(ANY, Port::new(port).unwrap());
        send(Request::Bind { local });
        let mut answer = [0; 2048];
        let (port, bound) = loop {
            let count = socket.recv(&mut answer).unwrap();
            let reply = Reply::parse(&answer[..count]).unwrap();
            // What comes late for a connection that had the port before is for us while we have it.
            if !matches!(reply.kind, ReplyKind::Data { .. }) {
                break (reply.local.port, reply.kind == ReplyKind::Bound);
            }
        };
        assert_eq!(port, local.port);
        if bound {
            send(Request::Close { local });
        }
        !bound
    };
    ports.iter().copied().filter(is_taken).collect()
}
