//! The loop of a node that serves other programs on this machine.

use crate::event_loop::{EventLoop, FIRST};
use crate::node::Node;
use crate::runtime::Runtime;
use crate::socket::{readiness, register};
use mio::Token;
use msp_core::mdp::Uplink;
use msp_sockets::{Carried, ClientsSocket, Part, RunDirectory, StatusSocket, Watch, answer, log_uplink};
use std::io::{self, ErrorKind};

/// The socket for clients, after that of the node.
const CLIENTS: Token = Token(FIRST.0 + 1);
/// Where the node is asked about itself, and then those who ask.
const QUESTIONS: usize = FIRST.0 + 2;

/// A node that serves other programs, ready to [run](Server::run).
#[derive(Debug)]
#[must_use = "nothing happens until it runs"]
pub struct Server {
    node: Node,
    own: EventLoop,
    clients: ClientsSocket,
    status: Option<StatusSocket>,
}

impl Runtime {
    /// Serves the node to the programs of this user, at a socket in this directory. They need no node of their own then,
    /// see [`Runtime::attach_to_node`].
    ///
    /// # Errors
    ///
    /// [`AddrInUse`](ErrorKind::AddrInUse) if another node does so there, [`Unsupported`](ErrorKind::Unsupported) if this
    /// is itself a client; otherwise if the system cannot make the socket.
    pub fn serve(self, directory: &RunDirectory) -> io::Result<Server> {
        let Self { mut node, own } = self;
        let now = node.now();
        let Uplink::Node(mdp) = node.host.uplink() else { return Err(ErrorKind::Unsupported.into()) };
        let clients = ClientsSocket::bind(directory, mdp.sid(), now)?;
        register(own.registry(), CLIENTS, &clients.handle())?;
        Ok(Server { node, own, clients, status: None })
    }
}

impl Server {
    /// Answers at `status` what it is asked about itself, as `msp peers` does.
    pub fn answer_at(mut self, status: StatusSocket) -> Self {
        self.status = Some(status);
        self
    }

    /// Relays and serves until it is [stopped](crate::Stopper).
    ///
    /// # Errors
    ///
    /// If the system fails in what everything depends on.
    pub fn run(mut self) -> io::Result<()> {
        while !self.own.take_stop() {
            let told = self.tell()?;
            let Self { node: Node { host, socket, .. }, own, clients, .. } = &mut self;
            let uplink = host.uplink();
            let now = socket.now();
            let received = socket.receive(&mut |incoming| uplink.handle_incoming(now, incoming));
            uplink.handle_timeout(now);
            let served = uplink.node().is_some_and(|node| clients.turn(now, node));
            let sent = socket.transmit(now, &mut |buffer| uplink.poll_transmit(now, buffer));
            while let Some(event) = uplink.poll_event() {
                log_uplink(&event);
            }
            let clients_at = uplink.node().and_then(|node| clients.deadline(node));
            let deadline = uplink.poll_timeout().into_iter().chain(clients_at).min();
            own.wait(socket.timeout_after(now, told || received || served || sent, deadline))?;
            let Self { node, own, clients, status } = &mut self;
            for event in own.events() {
                if event.token() == CLIENTS {
                    clients.ready();
                } else if !node.handle_event(event)
                    && let (Some(status), Some(part)) = (&mut *status, part_of(event.token()))
                {
                    status.ready(part, readiness(event));
                }
            }
        }
        Ok(())
    }

    /// Answers those who ask. True if anybody does.
    fn tell(&mut self) -> io::Result<bool> {
        let Self { node: Node { host, socket, .. }, own, clients, status } = self;
        let Some(status) = status else { return Ok(false) };
        let told = status.turn(&mut |about, question| {
            answer(
                about,
                question,
                host.uplink(),
                &socket.local_addrs(),
                Carried::Clients(clients.statuses()),
            )
        });
        while let Some(watch) = status.poll_watch() {
            // What has ended was closed, which takes it out of the poll.
            let Watch::Begin(part, handle) = watch else { continue };
            match register(own.registry(), token_of(part), &handle) {
                Err(error) if part == Part::Questions => return Err(error),
                Err(_) => status.unwatched(part),
                Ok(()) => {}
            }
        }
        Ok(told)
    }
}

fn token_of(part: Part) -> Token {
    Token(if let Part::Asker(place) = part { QUESTIONS + 1 + usize::from(place) } else { QUESTIONS })
}

fn part_of(token: Token) -> Option<Part> {
    let place = token.0.checked_sub(QUESTIONS)?;
    Some(place.checked_sub(1).map_or(Part::Questions, |place| Part::Asker(place as u8)))
}
