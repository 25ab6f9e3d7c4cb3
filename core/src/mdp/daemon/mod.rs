//! A client of a running daemon, in place of a [`Node`](super::Node) of one's own.

mod bindings;
mod config;
mod event;
mod instance;
mod pacer;
mod state;

pub use config::{DaemonConfig, DaemonStats};
pub use event::{BindError, DaemonEvent};
pub use instance::{Instance, InstanceError};

use super::keys::Quota;
use super::{Datagram, Repair, SendDatagramError, Service};
use crate::wire::client::{ANY, Message, Payload, Qos, Reply, ReplyKind, Request, Ttl};
use crate::wire::mdp::Protection;
use crate::{Addr, Instant, Port, Sid};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use bindings::{Answer, Bindings};
use bytes::Bytes;
use core::time::Duration;
use pacer::Pacer;
use state::{Contact, Outgoing, Phase};

/// Events that wait to be taken.
const MAX_EVENTS: usize = 256;
/// Answers to queries for our service that are given in a second.
const MAX_ANSWERS: u32 = 40;
/// A daemon that has left so many questions in a row unanswered, and said nothing else, is silent.
const SILENT_AFTER: u32 = 3;
/// In a request, every port of this client.
const EVERYTHING: Addr = Addr::new(ANY, Port::ANY);

/// A client of the daemon that runs on this machine (`spec/20`), without socket and clock.
///
/// The daemon does what a [`Node`](super::Node) does, under its own identity. Its clients take ports there and
/// exchange datagrams over a unix socket. The owner of this struct owns the socket:
///
/// - what [`Daemon::poll_transmit`] gives goes to the daemon's socket (see [`Instance`]); a full socket is
///   packet loss, but if nobody is there, [`Daemon::handle_unreachable`] is to be told. A connected socket would
///   stay with a daemon that has restarted: give the address each time;
/// - what comes from the daemon's address goes to [`Daemon::handle_packet`], soon, because the kernel keeps few
///   datagrams; what comes from others goes nowhere;
/// - [`Daemon::handle_timeout`] is called at the time that [`Daemon::poll_timeout`] asks for.
///
/// A daemon that is absent, or silent, or restarts, is no error: the ports are bound again when it answers, and
/// what was under way in between is lost. Nothing is sent that aborts the daemon.
///
/// ```
/// # use msp_core::{Addr, Instant, Port, Protection};
/// # use msp_core::mdp::{Daemon, DaemonConfig};
/// # use msp_core::testing::Servald;
/// # let mut servald = Servald::new(msp_core::Sid::new([7; 32]));
/// let (now, port) = (Instant::ZERO, Port::from(512));
/// let mut daemon = Daemon::new(DaemonConfig::default(), now);
/// daemon.bind(now, port)?;
/// let mut buffer = Vec::new();
/// while !daemon.is_bound(port) {
///     // With a socket: send the buffer to the daemon, and receive what it answers.
///     while daemon.poll_transmit(now, &mut buffer) {
///         servald.receive(0, &buffer);
///     }
///     while let Some(packet) = servald.poll(0) {
///         daemon.handle_packet(now, &packet);
///     }
/// }
/// let me = Addr::new(daemon.sid().ok_or("bound, so it is known")?, port);
/// daemon.send(now, port, me, Protection::Encrypted, b"hello")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Daemon {
    config: DaemonConfig,
    /// The latest time that was seen.
    pub(super) now: Instant,
    phase: Phase,
    contact: Contact,
    /// The daemon's identity, as it was told last.
    sid: Option<Sid>,
    bindings: Bindings,
    /// Nothing was said since the daemon was lost or this client began, so the daemon may still keep ports of
    /// earlier times.
    fresh: bool,
    /// Questions without an answer and datagrams that found nobody, since the daemon was last heard.
    failures: u32,
    /// Before this, an absent daemon is left alone.
    retry_at: Instant,
    pacer: Pacer,
    outbox: VecDeque<Outgoing>,
    /// The ports of [`Outgoing::Close`].
    closing: BTreeSet<Port>,
    datagrams: VecDeque<Datagram>,
    events: VecDeque<DaemonEvent>,
    /// What those who look for services are told.
    pub(super) service: Option<Service>,
    /// Answers that may be given, whoever asks.
    pub(super) answers: Quota,
    stats: DaemonStats,
}

impl Daemon {
    /// A client without ports.
    #[must_use]
    pub fn new(config: DaemonConfig, now: Instant) -> Self {
        let config = config.clamped();
        Self {
            now,
            phase: Phase::Running,
            contact: Contact::Unknown,
            sid: None,
            bindings: Bindings::default(),
            fresh: true,
            failures: 0,
            retry_at: now,
            pacer: Pacer::new(config.burst, config.burst_interval),
            outbox: VecDeque::new(),
            closing: BTreeSet::new(),
            datagrams: VecDeque::new(),
            events: VecDeque::new(),
            service: None,
            answers: Quota::new(Duration::from_secs(1), MAX_ANSWERS),
            stats: DaemonStats::default(),
            config,
        }
    }

    /// The primary identity of the daemon: the address that datagrams come from. It is known once a port was
    /// bound, and may change when the daemon restarts; both are told by [`DaemonEvent::Up`].
    #[must_use]
    pub const fn sid(&self) -> Option<Sid> {
        self.sid
    }

    /// Takes `port` at the daemon, and again whenever the daemon has lost it, until [`Daemon::release`].
    /// [`DaemonEvent::Bound`] tells when datagrams can pass. Taking a port twice changes nothing.
    ///
    /// # Errors
    ///
    /// See [`BindError`]; the port is not taken then.
    pub fn bind(&mut self, now: Instant, port: Port) -> Result<(), BindError> {
        self.advance(now);
        if self.phase != Phase::Running {
            return Err(BindError::Closed);
        }
        if port == Port::ANY {
            return Err(BindError::Reserved(port));
        }
        if self.bindings.contains(port) {
            return Ok(());
        }
        // Those that are about to be released count: both are limited then.
        if !self.closing.contains(&port) && self.ports() >= self.config.max_ports {
            return Err(BindError::TooMany);
        }
        if self.closing.remove(&port) {
            self.outbox.retain(|outgoing| !matches!(outgoing, Outgoing::Close(other) if *other == port));
        }
        self.bindings.insert(self.now, port);
        Ok(())
    }

    /// Gives `port` back, after what was sent from it.
    pub fn release(&mut self, now: Instant, port: Port) {
        self.advance(now);
        if self.bindings.remove(port) && !self.fresh {
            self.push_close(port);
        }
    }

    /// Whether the daemon has confirmed `port`, as far as is known.
    #[must_use]
    pub fn is_bound(&self, port: Port) -> bool {
        self.bindings.is_bound(port)
    }

    /// Whether [`Daemon::bind`] was called for `port` and [`Daemon::release`] was not, whether or not the daemon
    /// has confirmed it.
    #[must_use]
    pub fn wants(&self, port: Port) -> bool {
        self.bindings.contains(port)
    }

    /// Whether what is there carries large messages, as a node of this project does.
    pub(crate) const fn carries_large(&self) -> bool {
        self.config.is_node
    }

    /// How many streams can have ports at once.
    pub(crate) fn max_streams(&self) -> usize {
        self.config.max_streams()
    }

    /// Sends a datagram from `from` to `to`, which is an address or a port of [`Sid::BROADCAST`]. `Ok` means
    /// that it will be handed to the daemon, not that it arrives.
    ///
    /// # Errors
    ///
    /// See [`SendDatagramError`]; nothing was sent then.
    pub fn send(
        &mut self,
        now: Instant,
        from: Port,
        to: Addr,
        protection: Protection,
        payload: &[u8],
    ) -> Result<(), SendDatagramError> {
        self.send_with(now, from, to, protection, payload, Repair::Hop)
    }

    /// The same, with a sender that may repair losses itself.
    pub(super) fn send_with(
        &mut self,
        now: Instant,
        from: Port,
        to: Addr,
        protection: Protection,
        payload: &[u8],
        repair: Repair,
    ) -> Result<(), SendDatagramError> {
        self.advance(now);
        let repairs = self.config.is_node && repair == Repair::Sender;
        let max = if repairs { Payload::MAX_LONG_LEN } else { Payload::MAX_LEN };
        SendDatagramError::check(to, protection, payload, max)?;
        if !self.bindings.contains(from) {
            return Err(SendDatagramError::NotBound);
        }
        let sid = self.sid.filter(|_| self.has_room(from));
        let Some((sid, payload)) = sid.zip(Payload::long(payload)) else {
            return Err(SendDatagramError::WouldBlock);
        };
        let (local, qos, ttl) = (Addr::new(sid, from), Qos::Default, Ttl::DEFAULT);
        let message = Message { local, remote: to, protection, qos, ttl, repairs, payload };
        let request = Request::Send { message, bind: false };
        let mut datagram = Vec::with_capacity(request.buffer_len());
        request.emit(&mut datagram);
        self.outbox.push_back(Outgoing::Data(datagram));
        Ok(())
    }

    /// Whether [`Daemon::send`] from `from` has room. If not, there is after [`DaemonEvent::Bound`] or
    /// [`Daemon::poll_transmit`].
    #[must_use]
    pub fn has_room(&self, from: Port) -> bool {
        self.is_bound(from) && self.outbox.len() - self.closing.len() < self.config.send_queue
    }

    /// Takes a datagram that came from the daemon.
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        self.advance(now);
        if self.phase != Phase::Running {
            return;
        }
        let Ok(Reply { local, remote, kind, .. }) = Reply::parse(packet) else {
            self.stats.malformed += 1;
            return;
        };
        self.failures = 0;
        match kind {
            ReplyKind::Bound => self.handle_bound(local),
            ReplyKind::Refused => self.handle_refused(local.port, remote),
            ReplyKind::Data { protection, payload } => self.handle_data(local, remote, protection, payload),
            // No command was given.
            ReplyKind::Done => self.stats.unexpected += 1,
        }
    }

    /// Tells that nobody was there to take what [`Daemon::poll_transmit`] gave: the socket says "connection
    /// refused" or "no such file". Several times for one burst count once.
    pub fn handle_unreachable(&mut self, now: Instant) {
        self.advance(now);
        if self.phase != Phase::Running {
            // It has forgotten everything by itself.
            self.phase = Phase::Closed;
        } else if self.retry_at <= self.now {
            self.retry_at = self.now + self.config.retry(self.failures);
            self.failures = self.failures.saturating_add(1);
            self.lose(DaemonEvent::Absent);
        }
    }

    /// Tells that time has passed. Early or repeated calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// The next datagram for the daemon: true if there is one in `buffer`, which is cleared first. What is
    /// handed out counts as sent: not sending it is packet loss.
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> bool {
        buffer.clear();
        self.advance(now);
        if self.transmit_at().is_none_or(|at| at > self.now) {
            return false;
        }
        self.pacer.pass(self.now);
        if self.fresh {
            self.fresh = false;
            Request::Close { local: EVERYTHING }.emit(buffer);
            return true;
        }
        if let Some(port) = self.bindings.ask(self.now, self.now + self.config.retry(self.failures)) {
            self.stats.binds += 1;
            Request::Bind { local: Addr::new(ANY, port) }.emit(buffer);
            return true;
        }
        match self.outbox.pop_front() {
            Some(Outgoing::Data(datagram)) => {
                self.stats.datagrams_sent += 1;
                buffer.extend_from_slice(&datagram);
            }
            Some(Outgoing::Close(port)) => {
                self.closing.remove(&port);
                Request::Close { local: Addr::new(ANY, port) }.emit(buffer);
            }
            None => {
                self.phase = Phase::Closed;
                Request::Close { local: EVERYTHING }.emit(buffer);
            }
        }
        true
    }

    /// The next received datagram.
    pub fn poll_datagram(&mut self) -> Option<Datagram> {
        self.datagrams.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<DaemonEvent> {
        self.events.pop_front()
    }

    /// When to call [`Daemon::handle_timeout`] and then the other `poll_` methods; `None` if there is nothing
    /// to wait for but packets.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !(self.datagrams.is_empty() && self.events.is_empty()) {
            return Some(self.now);
        }
        [self.transmit_at(), self.bindings.answer_due()].into_iter().flatten().min()
    }

    /// Sends what waits, gives all ports back, and then nothing more; see [`Daemon::is_closed`].
    pub fn shutdown(&mut self, now: Instant) {
        self.advance(now);
        if self.phase == Phase::Running {
            self.phase = if self.fresh { Phase::Closed } else { Phase::Closing };
            self.bindings.clear();
            self.closing.clear();
            self.outbox.retain(|outgoing| matches!(outgoing, Outgoing::Data(_)));
        }
    }

    /// Whether the last datagram has left after [`Daemon::shutdown`].
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// What was counted.
    #[must_use]
    pub const fn stats(&self) -> &DaemonStats {
        &self.stats
    }

    /// What waits to be sent, for tests of its bound.
    #[cfg(feature = "testing")]
    pub(crate) fn waiting(&self) -> usize {
        self.outbox.len()
    }

    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        if self.bindings.answer_due().is_some_and(|due| due <= self.now) {
            self.bindings.give_up();
            self.failures = self.failures.saturating_add(1);
            if self.failures >= SILENT_AFTER && self.contact != Contact::Lost {
                self.lose(DaemonEvent::Silent);
            }
        }
    }

    /// When the next datagram leaves if nothing happens until then.
    fn transmit_at(&self) -> Option<Instant> {
        let ready = match self.phase {
            Phase::Closed => return None,
            Phase::Closing => true,
            Phase::Running => !self.outbox.is_empty(),
        };
        let at = if ready { self.now } else { self.bindings.next_question_at()? };
        Some(at.max(self.now).max(self.retry_at).max(self.pacer.ready_at()))
    }

    /// The daemon has forgotten this client, or will be made to.
    fn lose(&mut self, event: DaemonEvent) {
        self.stats.losses += 1;
        self.bindings.forget(self.now);
        self.fresh = true;
        self.stats.datagrams_expired += (self.outbox.len() - self.closing.len()) as u64;
        self.outbox.clear();
        self.closing.clear();
        if self.contact != Contact::Lost {
            self.contact = Contact::Lost;
            self.push_event(event);
        }
    }

    fn handle_bound(&mut self, local: Addr) {
        if local.sid.is_reserved() {
            self.stats.malformed += 1;
            return;
        }
        let answer = self.bindings.confirm(local.port, self.now + self.config.rebind_interval);
        if answer == Answer::Unasked {
            self.stats.unexpected += 1;
            return;
        }
        if self.contact != Contact::Up || self.sid != Some(local.sid) {
            self.contact = Contact::Up;
            self.sid = Some(local.sid);
            self.push_event(DaemonEvent::Up { sid: local.sid });
        }
        if answer == Answer::Bound {
            self.push_event(DaemonEvent::Bound { port: local.port });
        }
    }

    fn handle_refused(&mut self, port: Port, remote: Addr) {
        if remote.sid != ANY {
            self.stats.refused += 1;
            self.bindings.doubt(self.now, port);
            return;
        }
        match self.bindings.refuse(self.now, port, |refusals| self.config.retry(refusals)) {
            Answer::Refused => self.push_event(DaemonEvent::Refused { port }),
            // The release of a port that the daemon has forgotten.
            Answer::Unasked => self.stats.unexpected += 1,
            Answer::Known | Answer::Bound => {}
        }
    }

    fn handle_data(&mut self, local: Addr, remote: Addr, protection: Protection, payload: &[u8]) {
        if payload.is_empty() || remote.sid.is_reserved() {
            self.stats.malformed += 1;
            return;
        }
        let broadcast = local.sid == Sid::BROADCAST;
        let is_ours = broadcast || Some(local.sid) == self.sid;
        if !is_ours || !self.bindings.contains(local.port) {
            self.stats.unexpected += 1;
            if is_ours && local.port != Port::ANY && !self.fresh {
                // The daemon has missed that it was released.
                self.push_close(local.port);
            }
            return;
        }
        self.bindings.heard(local.port, self.now + self.config.rebind_interval);
        self.stats.datagrams_received += 1;
        if local.port == Port::DISCOVERY && self.service.is_some() {
            self.handle_query(remote, protection, payload);
        } else if self.datagrams.len() < self.config.receive_queue {
            let payload = Bytes::copy_from_slice(payload);
            let datagram = Datagram::new(remote, local.port, protection, payload);
            self.datagrams.push_back(Datagram { broadcast, ..datagram });
        } else {
            self.stats.datagrams_dropped += 1;
        }
    }

    /// Ports that are wanted or about to be released.
    fn ports(&self) -> usize {
        self.bindings.len() + self.closing.len()
    }

    fn push_close(&mut self, port: Port) {
        if self.ports() < self.config.max_ports && self.closing.insert(port) {
            self.outbox.push_back(Outgoing::Close(port));
        }
    }

    fn push_event(&mut self, event: DaemonEvent) {
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        }
    }
}
