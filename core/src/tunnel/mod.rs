//! TCP connections over MSP streams.
//!
//! A [`Tunnel`] joins every stream to one *link*, a connection on the local side: TCP, or standard input
//! and output. It decides, its driver does:
//!
//! ```text
//! loop:
//!   until nothing moves any more:
//!     while poll_action:   Dial, ShutdownWrite, Close, StopAccepting; Finished ends the loop
//!     while poll_transmit: send it
//!     while poll_event:    log it
//!     for every link:      write output, then consume what was written
//!                          read up to read_budget, then local_data or local_eof
//!     for the listener:    if can_accept, accept and local_accepted
//!   sleep until a socket is ready or poll_timeout has come
//!   handle_incoming; local_opened, local_failed; handle_timeout
//! ```
//!
//! Standard input and output are a link like any other. A driver that joins them sets
//! [`TunnelConfig::once`]; when connecting, it calls [`Tunnel::local_accepted`] at the start, before there
//! is any input, because some services speak first; when listening, it takes the [`Action::Dial`].
//!
//! The directions of a link end each on its own, as in TCP. The end of the local input finishes the stream
//! after its last byte; when the peer has finished and everything was written, the driver is told to
//! [shut down writing](Action::ShutdownWrite); when both are done and acknowledged, to
//! [close](Action::Close). If anything breaks, the other end is told of an abort.

mod config;
mod event;
mod link;

pub use config::TunnelConfig;
pub use event::{Action, CloseKind, EndReason, LinkId, Outcome, TunnelEvent};

use crate::mdp::{DaemonEvent, Incoming, InterfaceId, Transmit, Uplink, UplinkEvent};
use crate::msp::{ConnectError, Event, ListenError, MAX_MESSAGE, Stats, Stream, StreamId, StreamStatus};
use crate::{Addr, Host, Instant, Port, Sid};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;
use link::{Link, Local};

/// Events kept for a driver that does not take them; the oldest are lost first.
const MAX_EVENTS: usize = 256;
/// A tunnel that was shut down stays for no longer than this, instead of [`Host::LINGER`].
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);
/// The limit on links is reported no more often.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// What [`Tunnel::share`] is at least, however many links there are.
const MIN_SHARE: usize = 8;

/// Which end opens the streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Listen(Port),
    Connect(Addr),
}

/// How far the tunnel is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The port to listen on is not bound yet.
    Starting,
    /// Links may begin.
    Running,
    /// The one link of [`TunnelConfig::once`] has begun.
    LastLink,
    /// No link is left. The last packets that peers wait for are on their way out, until this time at most.
    Ending(Outcome, Instant),
    Finished,
}

/// A listening or connecting tunnel with what carries it.
///
/// It keeps the contract of the crate: any order and number of calls is legal, and calls about a link that
/// is not known do nothing.
#[derive(Debug)]
pub struct Tunnel {
    host: Host,
    role: Role,
    config: TunnelConfig,
    send_memory: usize,
    phase: Phase,
    links: BTreeMap<LinkId, Box<Link>>,
    actions: VecDeque<Action>,
    events: VecDeque<TunnelEvent>,
    /// When it was last reported that the limit was reached.
    limit_reported: Option<Instant>,
    now: Instant,
}

impl Tunnel {
    /// A tunnel that dials for every stream that peers open to `port`.
    ///
    /// # Errors
    ///
    /// If the port cannot be listened on.
    pub fn listen(mut host: Host, port: Port, config: TunnelConfig) -> Result<Self, ListenError> {
        host.endpoint().listen(port)?;
        let node = host.uplink().node().map(|node| node.sid());
        let mut tunnel = Self::new(host, Role::Listen(port), config);
        tunnel.phase = Phase::Starting;
        if let Some(sid) = node {
            tunnel.start(sid, port);
        }
        Ok(tunnel)
    }

    /// A tunnel that opens a stream to `remote` for every [accepted](Self::local_accepted) link.
    ///
    /// # Errors
    ///
    /// If `remote` cannot be anybody's address.
    pub fn connect(host: Host, remote: Addr, config: TunnelConfig) -> Result<Self, ConnectError> {
        if remote.is_reserved() {
            return Err(ConnectError::InvalidAddress(remote));
        }
        Ok(Self::new(host, Role::Connect(remote), config))
    }

    fn new(mut host: Host, role: Role, config: TunnelConfig) -> Self {
        Self {
            send_memory: host.endpoint().config().send_memory,
            host,
            role,
            config,
            phase: Phase::Running,
            links: BTreeMap::new(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
            limit_reported: None,
            now: Instant::ZERO,
        }
    }

    /// What is below, to add peers to a node and to look at it.
    pub const fn uplink(&mut self) -> &mut Uplink {
        self.host.uplink()
    }

    /// Takes what has come in, see [`Uplink::handle_incoming`].
    pub fn handle_incoming(&mut self, now: Instant, incoming: Incoming<'_>) {
        let now = self.advance(now);
        if self.phase != Phase::Finished {
            self.host.handle_incoming(now, incoming);
            self.settle(now);
        } else if incoming == Incoming::Unreachable {
            // There is nobody to hear the last words.
            self.host.uplink().handle_incoming(now, incoming);
        }
    }

    /// Takes a packet that came from `from` on `interface`: the usual thing to come in at a node.
    pub fn handle_packet(&mut self, now: Instant, interface: InterfaceId, from: SocketAddr, packet: &[u8]) {
        self.handle_incoming(now, Incoming::Packet { interface, from, bytes: packet });
    }

    /// Does what is due. Early or twice, it does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.advance(now);
        if self.phase != Phase::Finished {
            self.host.handle_timeout(now);
            self.settle(now);
        }
    }

    /// The next packet to send, `None` when there is none. Its bytes are in `buffer`, which is cleared
    /// first. What is returned counts as sent: not sending it is packet loss.
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Transmit> {
        let now = self.advance(now);
        if self.phase == Phase::Finished {
            let uplink = self.host.uplink();
            return if uplink.is_closed() { None } else { uplink.poll_transmit(now, buffer) };
        }
        let transmit = self.host.poll_transmit(now, buffer);
        self.settle(now);
        transmit
    }

    /// What the driver has to do, oldest first.
    pub fn poll_action(&mut self) -> Option<Action> {
        let Some(action) = self.actions.pop_front() else {
            let outcome = self.end_reached()?;
            self.phase = Phase::Finished;
            self.host.uplink().shutdown(self.now);
            return Some(Action::Finished(outcome));
        };
        if let Action::Close(link, _) = action {
            self.links.remove(&link);
        }
        Some(action)
    }

    /// What has happened, oldest first. A driver that does not care still takes and drops them.
    pub fn poll_event(&mut self) -> Option<TunnelEvent> {
        self.events.pop_front().or_else(|| self.host.poll_uplink_event().map(TunnelEvent::Uplink))
    }

    /// When to call [`Tunnel::handle_timeout`]; the last time seen while there is something to take from
    /// `poll_action`, `poll_event` or `poll_transmit`. It changes with every call that takes time or takes
    /// something out. Output of links does not count, because their local side may be blocked. Once the
    /// tunnel has finished, it is `None` or when the last words to a daemon are due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.actions.is_empty() || !self.events.is_empty() || self.end_reached().is_some() {
            return Some(self.now);
        }
        match self.phase {
            Phase::Finished => self.host.last_words_at(),
            Phase::Ending(_, until) => Some(self.host.poll_timeout().map_or(until, |host| host.min(until))),
            Phase::Starting | Phase::Running | Phase::LastLink => self.host.poll_timeout(),
        }
    }

    /// Whether [`Tunnel::local_accepted`] would take a link now. False for a listening tunnel.
    #[must_use]
    pub fn can_accept(&self) -> bool {
        matches!(self.role, Role::Connect(_)) && self.phase == Phase::Running && self.has_room()
    }

    /// A local connection was accepted: opens a stream for it. `None` if the tunnel takes none, now or any
    /// more; ask [`Tunnel::can_accept`] before accepting.
    pub fn local_accepted(&mut self, now: Instant) -> Option<LinkId> {
        let now = self.advance(now);
        let Role::Connect(remote) = self.role else { return None };
        if self.phase != Phase::Running {
            return None;
        }
        let opened = self.has_room().then(|| self.host.endpoint().connect(now, remote).ok()).flatten();
        let Some(stream) = opened else {
            self.report_limit(remote);
            return None;
        };
        let link = self.begin(stream, remote, Local::Open);
        if self.phase == Phase::LastLink {
            self.actions.push_back(Action::StopAccepting);
        }
        Some(link)
    }

    /// The local side of `link` is open, as [`Action::Dial`] asked.
    pub fn local_opened(&mut self, now: Instant, link: LinkId) {
        let now = self.advance(now);
        if let Some(state) = self.links.get_mut(&link).filter(|state| state.local == Local::Dialling) {
            state.local = Local::Open;
            self.check_inbound(link);
            self.settle(now);
        }
    }

    /// The local side of `link` could not be opened, or broke. The peer is told of a refusal or an abort,
    /// unless the local side had nothing left to do.
    pub fn local_failed(&mut self, now: Instant, link: LinkId) {
        let now = self.advance(now);
        let Some(state) = self.links.get(&link) else { return };
        let reason = match state.local {
            Local::Dialling => EndReason::DialFailed,
            Local::Open if !state.is_done_locally() => EndReason::LocalFailed,
            Local::Open | Local::Closing => return,
        };
        if let Some(mut stream) = self.host.endpoint().stream(link.0) {
            stream.reset(now);
        }
        self.end(link, reason);
        self.settle(now);
    }

    /// The local side of `link` sends no more. It may still receive.
    pub fn local_eof(&mut self, now: Instant, link: LinkId) {
        let now = self.advance(now);
        let share = self.share();
        if let Some((link, mut stream)) = self.open_link(link) {
            link.end_outbound(now, &mut stream, share);
        }
        self.settle(now);
    }

    /// Bytes that may be read from the local side of `link` now. 0 means: do not read, the peer or the
    /// network is slower. It may change with every call that takes time.
    #[must_use]
    pub fn read_budget(&mut self, link: LinkId) -> usize {
        let share = self.share();
        self.open_link(link).map_or(0, |(link, stream)| link.read_budget(&stream, share))
    }

    /// Takes bytes that were read from the local side of `link`, and returns how many: all of them, unless
    /// there are more than [`Tunnel::read_budget`]. The rest is the caller's to bring again.
    #[must_use]
    pub fn local_data(&mut self, now: Instant, link: LinkId, data: &[u8]) -> usize {
        let now = self.advance(now);
        let (taken, share) = (data.len().min(self.read_budget(link)), self.share());
        if let Some((link, mut stream)) = self.open_link(link) {
            link.push(now, &mut stream, share, &data[..taken]);
        }
        self.settle(now);
        taken
    }

    /// Bytes to be written to the local side of `link`, in order, borrowed from the messages received.
    pub fn output(&mut self, link: LinkId) -> impl Iterator<Item = &[u8]> {
        self.open_link(link).into_iter().flat_map(|(link, stream)| link.output(stream))
    }

    /// The first `count` bytes of the [output](Self::output) of `link` were written: makes room for more.
    pub fn consume(&mut self, now: Instant, link: LinkId, count: usize) {
        let now = self.advance(now);
        if let Some((state, mut stream)) = self.open_link(link) {
            state.consume(now, &mut stream, count);
            self.check_inbound(link);
            self.settle(now);
        }
    }

    /// Ends the tunnel: every stream is aborted and the peers are told so, then comes
    /// [`Action::Finished`]. While the tunnel is ending anyway, as when called twice, it comes at once.
    pub fn shutdown(&mut self, now: Instant) {
        let now = self.advance(now);
        match self.phase {
            Phase::Starting | Phase::Running | Phase::LastLink => {}
            Phase::Ending(outcome, _) => return self.phase = Phase::Ending(outcome, now),
            Phase::Finished => return,
        }
        self.phase = Phase::Ending(Outcome::Interrupted, now + SHUTDOWN_LIMIT);
        self.host.endpoint().reset_all(now);
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.end(link, EndReason::Shutdown);
        }
        self.settle(now);
    }

    /// The streams as they are by `now`, see [`Endpoint::statuses`](crate::msp::Endpoint::statuses).
    pub fn statuses(&mut self, now: Instant) -> impl Iterator<Item = StreamStatus> {
        self.host.endpoint().statuses(now)
    }

    /// Figures about the stream of `link`.
    pub fn stats(&mut self, link: LinkId) -> Option<Stats> {
        self.host.endpoint().stream(link.0).map(|stream| stream.stats())
    }

    fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    fn has_room(&self) -> bool {
        self.links.len() < self.config.max_links.max(1)
    }

    /// Messages that every link may keep unacknowledged.
    fn share(&self) -> usize {
        (self.send_memory / MAX_MESSAGE / self.links.len().max(1)).max(MIN_SHARE)
    }

    fn open_link(&mut self, link: LinkId) -> Option<(&mut Link, Stream<'_>)> {
        let state = self.links.get_mut(&link).filter(|state| state.local == Local::Open)?;
        Some((state, self.host.endpoint().stream(link.0)?))
    }

    /// How the tunnel has ended, once all is said to the peers but not to the driver.
    fn end_reached(&self) -> Option<Outcome> {
        let idle = || self.host.is_idle() && self.host.poll_timeout().is_none_or(|at| at > self.now);
        match self.phase {
            Phase::Ending(outcome, until) => (self.now >= until || idle()).then_some(outcome),
            Phase::Starting | Phase::Running | Phase::LastLink | Phase::Finished => None,
        }
    }

    /// Acts on what has changed about the streams.
    fn settle(&mut self, now: Instant) {
        let share = self.share();
        for (id, link) in self.links.iter_mut().filter(|(_, link)| link.is_waiting()) {
            if let Some(mut stream) = self.host.endpoint().stream(id.0) {
                link.flush(now, &mut stream, share);
            }
        }
        while let Some(event) = self.host.poll_uplink_event() {
            self.handle_uplink_event(now, event);
        }
        while let Some(event) = self.host.poll_event() {
            match event {
                Event::Accepted { stream, peer, .. } => self.accept(now, stream, peer),
                Event::PeerFinished { stream } => self.check_inbound(LinkId(stream)),
                Event::Closed { stream, reason } => self.end(LinkId(stream), reason.into()),
                Event::LimitReached { limit, peer } => self.report(TunnelEvent::PeerLimited { limit, peer }),
                Event::Connected { .. } | Event::Readable { .. } | Event::Writable { .. } => {}
            }
        }
    }

    fn handle_uplink_event(&mut self, now: Instant, event: UplinkEvent) {
        self.report(TunnelEvent::Uplink(event));
        let (UplinkEvent::Daemon(event), Role::Listen(own)) = (event, self.role) else { return };
        match event {
            DaemonEvent::Bound { port } if port == own => {
                if let Some(sid) = self.host.sid() {
                    self.start(sid, port);
                }
            }
            // Later, it is a matter of waiting until the port can be had again.
            DaemonEvent::Refused { port } if port == own && self.phase == Phase::Starting => {
                self.phase = Phase::Ending(Outcome::PortRefused, now);
            }
            _ => {}
        }
    }

    /// The port to listen on is bound, for the first time or again.
    fn start(&mut self, sid: Sid, port: Port) {
        if self.phase == Phase::Starting {
            self.phase = Phase::Running;
        }
        if self.phase == Phase::Running {
            self.report(TunnelEvent::Listening { sid, port });
        }
    }

    /// Begins a link for a stream that a peer has opened, or aborts the stream.
    fn accept(&mut self, now: Instant, stream: StreamId, peer: Addr) {
        let running = self.phase == Phase::Running;
        if running && self.has_room() {
            let link = self.begin(stream, peer, Local::Dialling);
            self.actions.push_back(Action::Dial(link));
            return;
        }
        if running {
            self.report_limit(peer);
        }
        if let Some(mut stream) = self.host.endpoint().stream(stream) {
            stream.reset(now);
        }
    }

    fn begin(&mut self, stream: StreamId, peer: Addr, local: Local) -> LinkId {
        let link = LinkId(stream);
        self.links.insert(link, Box::new(Link::new(peer, local)));
        self.report(TunnelEvent::Opened { link, peer });
        if self.config.once {
            self.phase = Phase::LastLink;
            if let Role::Listen(port) = self.role {
                self.host.endpoint().stop_listening(port);
                self.host.uplink().set_service(self.now, None);
            }
        }
        link
    }

    /// Has the local side of `link` closed, if it is not yet.
    fn end(&mut self, link: LinkId, reason: EndReason) {
        let state = self.links.get_mut(&link).filter(|state| state.local != Local::Closing);
        let Some(state) = state else { return };
        state.local = Local::Closing;
        let (peer, received, sent) = (state.peer, state.received, state.sent);
        self.actions.push_back(Action::Close(link, reason.close_kind()));
        self.report(TunnelEvent::Closed { link, peer, reason, received, sent });
        if self.phase == Phase::LastLink {
            self.phase = Phase::Ending(reason.outcome(), self.now + Host::LINGER);
        }
    }

    /// Has writing to the local side shut down, once the peer has finished and everything was written.
    fn check_inbound(&mut self, link: LinkId) {
        if self.open_link(link).is_some_and(|(link, stream)| link.end_inbound(&stream)) {
            self.actions.push_back(Action::ShutdownWrite(link));
        }
    }

    fn report_limit(&mut self, peer: Addr) {
        if self.limit_reported.is_none_or(|at| self.now >= at + REPORT_INTERVAL) {
            self.limit_reported = Some(self.now);
            self.report(TunnelEvent::LimitReached { peer });
        }
    }

    fn report(&mut self, event: TunnelEvent) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}
