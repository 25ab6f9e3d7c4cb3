//! A model of the daemon behind the local socket.

use crate::wire::client::{ANY, HEADER_LEN, Payload, Reply, ReplyKind};
use crate::wire::mdp::Protection;
use crate::{Addr, Port, Sid};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// What the kernel keeps for a socket (`spec/20` section 1).
const QUEUE: usize = 10;

/// A daemon as its clients see it (`spec/20` sections 4 to 8): it binds ports, answers, refuses, passes
/// datagrams between its clients, and knows no other node. It panics where the reference daemon aborts.
///
/// Clients are known by a number, as by the name of their socket. A queue that is full loses datagrams.
#[derive(Debug)]
pub struct Servald {
    sid: Sid,
    running: bool,
    bindings: BTreeMap<Port, usize>,
    inboxes: BTreeMap<usize, VecDeque<Vec<u8>>>,
    /// Datagrams that found a full queue.
    pub dropped: usize,
}

impl Servald {
    /// A running daemon with this primary identity.
    #[must_use]
    pub fn new(sid: Sid) -> Self {
        Self { sid, running: true, bindings: BTreeMap::new(), inboxes: BTreeMap::new(), dropped: 0 }
    }

    /// Ends it. Every port is forgotten; what waits at its clients still waits.
    pub fn stop(&mut self) {
        self.running = false;
        self.bindings.clear();
    }

    /// Starts it, with the identity that it had, or with another.
    pub fn start(&mut self, sid: Sid) {
        self.sid = sid;
        self.running = true;
    }

    /// Its primary identity.
    #[must_use]
    pub const fn sid(&self) -> Sid {
        self.sid
    }

    /// The client that has a port.
    #[must_use]
    pub fn owner(&self, port: Port) -> Option<usize> {
        self.bindings.get(&port).copied()
    }

    /// How many ports are bound.
    #[must_use]
    pub fn bound(&self) -> usize {
        self.bindings.len()
    }

    /// Takes a datagram of a client. False if nobody is there to take it.
    ///
    /// # Panics
    ///
    /// If the datagram aborts the daemon.
    pub fn receive(&mut self, client: usize, datagram: &[u8]) -> bool {
        assert_harmless(datagram);
        if self.running {
            self.process(client, datagram);
        }
        self.running
    }

    /// The next datagram for a client.
    pub fn poll(&mut self, client: usize) -> Option<Vec<u8>> {
        self.inboxes.get_mut(&client)?.pop_front()
    }

    /// Gives a client any datagram, as if it were from the daemon.
    pub fn push(&mut self, client: usize, datagram: Vec<u8>) {
        let inbox = self.inboxes.entry(client).or_default();
        if inbox.len() < QUEUE {
            inbox.push_back(datagram);
        } else {
            self.dropped += 1;
        }
    }

    /// The order of things is that of `spec/20` section 4.
    fn process(&mut self, client: usize, datagram: &[u8]) {
        let Some(mut request) = Raw::read(datagram) else { return };
        let (bind, close) = (request.flags & 0x04 != 0, request.flags & 0x08 != 0);
        if close && request.local.port == Port::ANY {
            return self.bindings.retain(|_, owner| *owner != client);
        }
        if request.local.sid == ANY {
            request.local.sid = self.sid;
        }
        let port = request.local.port;
        let is_free = self.owner(port).map_or(bind, |owner| owner == client);
        if request.local.sid != self.sid || !is_free {
            return self.answer(client, request, ReplyKind::Refused);
        }
        if bind {
            self.bindings.insert(port, client);
            self.answer(client, request, ReplyKind::Bound);
        }
        // The only command here is number 0, which does nothing.
        if request.remote.sid != ANY && !self.send(request) {
            self.answer(client, request, ReplyKind::Refused);
        }
        if close {
            self.bindings.remove(&port);
        }
    }

    fn answer(&mut self, client: usize, request: Raw<'_>, kind: ReplyKind<'_>) {
        let Raw { local, remote, qos, ttl, .. } = request;
        let mut answer = Vec::new();
        Reply { local, remote, kind, qos, ttl }.emit(&mut answer);
        self.push(client, answer);
    }

    /// Delivers to its clients. False if that is against the rules.
    fn send(&mut self, request: Raw<'_>) -> bool {
        let Raw { local, remote, flags, qos, ttl, payload } = request;
        let protection = match flags & 0x03 {
            0 => Protection::Encrypted,
            1 => Protection::Signed,
            _ => Protection::Clear,
        };
        let broadcast = remote.sid == Sid::BROADCAST;
        if let Some(owner) = self.owner(remote.port).filter(|_| broadcast || remote.sid == self.sid) {
            let mut delivered = Vec::new();
            let kind = ReplyKind::Data { protection, payload };
            Reply { local: remote, remote: local, kind, qos, ttl }.emit(&mut delivered);
            self.push(owner, delivered);
        }
        !broadcast || protection != Protection::Encrypted
    }
}

/// A datagram for a daemon, taken apart by hand, so that a mistake of the codec does not hide itself.
#[derive(Clone, Copy)]
struct Raw<'a> {
    local: Addr,
    remote: Addr,
    flags: u8,
    qos: u8,
    ttl: u8,
    payload: &'a [u8],
}

impl<'a> Raw<'a> {
    fn read(datagram: &'a [u8]) -> Option<Self> {
        let addr = |from: usize| {
            let sid = Sid::new(datagram.get(from..from + 32)?.try_into().ok()?);
            let port = u32::from_ne_bytes(datagram.get(from + 32..from + 36)?.try_into().ok()?);
            Some(Addr::new(sid, Port::new(port)?))
        };
        let payload = datagram.get(HEADER_LEN..)?;
        Some(Self {
            local: addr(0)?,
            remote: addr(36)?,
            flags: datagram[72],
            qos: datagram[73],
            ttl: datagram[74],
            payload,
        })
    }
}

/// Panics if the datagram makes the reference daemon abort, this one or that of the receiver, or if a daemon
/// refuses it whatever else holds (`spec/20` sections 5 and 8).
///
/// # Panics
///
/// That is what it is for.
pub fn assert_harmless(datagram: &[u8]) {
    let Some(Raw { local, remote, flags, qos, ttl, payload }) = Raw::read(datagram) else {
        unreachable!("no header, or a port of 32 bits: {datagram:02x?}");
    };
    let (bind, close) = (flags & 0x04 != 0, flags & 0x08 != 0);
    assert!(qos < 5, "QoS {qos} aborts the daemon");
    assert!(ttl <= 31, "TTL {ttl} is refused");
    assert!(flags & 0x03 != 0x02, "what is encrypted but not signed is refused");
    assert!(flags & !0x0f == 0, "flags {flags:02x} mean nothing to a daemon");
    assert!(!(bind && close), "to bind and close at once aborts the daemon");
    assert!(payload.len() <= Payload::MAX_LEN, "{} bytes abort the daemon", payload.len());
    assert!(remote.sid == ANY || !payload.is_empty(), "no data abort the receiver's daemon");
    let broadcast = remote.sid == Sid::BROADCAST;
    assert!(!broadcast || flags & 0x01 != 0, "an encrypted broadcast is refused");
    assert!(local.sid == ANY || !local.sid.is_reserved(), "nobody sends from {}", local.sid);
}
