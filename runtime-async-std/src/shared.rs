//! What handles and the driver share: the host behind a lock, and who waits for what.
//!
//! The lock is held for one call of the core, or one turn of the driver, and never across an await. Wakers are called
//! after it is released.

use crate::error::{ConnectError, ListenError, SendError, StreamError};
use msp_core::msp::{self, CloseReason, Event, StreamId};
use msp_core::{Addr, Host, Instant, Port};
use msp_sockets::Clock;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The one lock.
#[derive(Debug)]
pub(crate) struct Shared(Mutex<State>);

/// How far the node is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    /// The peers are told, until this time at most.
    Closing(Instant),
    /// The daemon is told, in so many turns at most.
    LastWords(usize),
    Ended,
}

pub(crate) struct State {
    pub(crate) host: Host,
    clock: Clock,
    pub(crate) phase: Phase,
    streams: BTreeMap<StreamId, Waiting>,
    listeners: BTreeMap<Port, Backlog>,
    /// Streams of which somebody wants to know when the peer has acknowledged everything.
    undelivered: BTreeSet<StreamId>,
    /// The driver, while it sleeps.
    driver: Option<Waker>,
    /// Who waits for the end of the node.
    closer: Option<Waker>,
    /// To be called after the lock is released.
    wakes: Vec<Waker>,
}

/// A stream as its handles see it. Each direction is waited for by one task.
#[derive(Debug, Default)]
struct Waiting {
    reader: Option<Waker>,
    writer: Option<Waker>,
    connected: bool,
    /// The end of the peer's direction has come.
    peer_finished: bool,
    ended: Option<CloseReason>,
    /// No handle is left.
    orphan: bool,
}

#[derive(Debug)]
struct Backlog {
    streams: VecDeque<(StreamId, Addr)>,
    limit: usize,
    waker: Option<Waker>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (streams, listeners) = (self.streams.len(), self.listeners.len());
        let mut debug = f.debug_struct("State");
        debug.field("phase", &self.phase).field("streams", &streams).field("listeners", &listeners);
        debug.finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(host: Host, clock: Clock) -> Self {
        Self(Mutex::new(State {
            host,
            clock,
            phase: Phase::Running,
            streams: BTreeMap::new(),
            listeners: BTreeMap::new(),
            undelivered: BTreeSet::new(),
            driver: None,
            closer: None,
            wakes: Vec::new(),
        }))
    }

    /// Does something with the state at the time that is now, then wakes whom it concerns.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State, Instant) -> T) -> T {
        let mut state = self.lock();
        let now = state.clock.now();
        let result = act(&mut state, now);
        let wakes = std::mem::take(&mut state.wakes);
        drop(state);
        wakes.into_iter().for_each(Waker::wake);
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The core does not panic. If it does, this is no worse than going on in another task.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For handles.
impl State {
    pub(crate) fn listen(&mut self, port: Port, limit: usize) -> Result<(), ListenError> {
        if self.phase != Phase::Running {
            return Err(ListenError::NodeEnded);
        }
        self.host.endpoint().listen(port).map_err(ListenError::Refused)?;
        self.listeners.insert(port, Backlog { streams: VecDeque::new(), limit, waker: None });
        self.wake_driver();
        Ok(())
    }

    pub(crate) fn set_backlog(&mut self, port: Port, limit: usize) {
        if let Some(backlog) = self.listeners.get_mut(&port) {
            backlog.limit = limit;
        }
    }

    pub(crate) fn poll_accept(&mut self, cx: &Context<'_>, port: Port) -> Poll<Option<(StreamId, Addr)>> {
        let Some(backlog) = self.listeners.get_mut(&port) else { return Poll::Ready(None) };
        if let Some(stream) = backlog.streams.pop_front() {
            return Poll::Ready(Some(stream));
        }
        wait(&mut backlog.waker, cx);
        Poll::Pending
    }

    pub(crate) fn stop_listening(&mut self, now: Instant, port: Port) {
        let Some(backlog) = self.listeners.remove(&port) else { return };
        self.host.endpoint().stop_listening(port);
        for (stream, _) in backlog.streams {
            self.streams.remove(&stream);
            self.reset(now, stream);
        }
        self.wake_driver();
    }

    pub(crate) fn open(&mut self, now: Instant, remote: Addr) -> Result<StreamId, ConnectError> {
        if self.phase != Phase::Running {
            return Err(ConnectError::Failed { remote, source: StreamError::NodeEnded });
        }
        let id = self.host.endpoint().connect(now, remote).map_err(ConnectError::Impossible)?;
        self.streams.insert(id, Waiting::default());
        self.wake_driver();
        Ok(id)
    }

    pub(crate) fn poll_connected(&mut self, cx: &Context<'_>, id: StreamId) -> Poll<Result<(), StreamError>> {
        self.check(id)?;
        match self.streams.get_mut(&id) {
            Some(waiting) if !waiting.connected && waiting.ended.is_none() => {
                wait(&mut waiting.writer, cx);
                Poll::Pending
            }
            _ => Poll::Ready(Ok(())),
        }
    }

    pub(crate) fn poll_send<T>(
        &mut self,
        cx: &Context<'_>,
        id: StreamId,
        send: impl FnOnce(&mut msp::Stream<'_>) -> Result<T, msp::SendError>,
    ) -> Poll<Result<T, SendError>> {
        self.check(id).map_err(SendError::Ended)?;
        let Some(mut stream) = self.host.endpoint().stream(id) else {
            // If the end is not known yet, it is about to be reported.
            let ended = self.ended(id).is_some();
            let finished = Err(SendError::Refused(msp::SendError::Finished));
            return if ended { Poll::Ready(finished) } else { self.wait_to_write(cx, id) };
        };
        match send(&mut stream) {
            Ok(sent) => {
                self.wake_driver();
                Poll::Ready(Ok(sent))
            }
            Err(msp::SendError::WouldBlock) => self.wait_to_write(cx, id),
            Err(msp::SendError::Closed(reason)) => {
                Poll::Ready(Err(SendError::Ended(StreamError::Closed(reason))))
            }
            Err(error) => Poll::Ready(Err(SendError::Refused(error))),
        }
    }

    /// What `recv` has, or `None` after the end of the peer's direction.
    pub(crate) fn poll_recv<T>(
        &mut self,
        cx: &Context<'_>,
        id: StreamId,
        recv: impl FnOnce(&mut msp::Stream<'_>) -> Option<T>,
    ) -> Poll<Result<Option<T>, StreamError>> {
        if let Some(mut stream) = self.host.endpoint().stream(id) {
            if let Some(received) = recv(&mut stream) {
                self.wake_driver();
                return Poll::Ready(Ok(Some(received)));
            }
            if stream.recv_finished() {
                return Poll::Ready(Ok(None));
            }
        }
        if self.ended(id).is_some() {
            // All that came in order was handed out before.
            let whole = self.streams.get(&id).is_some_and(|it| it.peer_finished);
            return Poll::Ready(if whole { Ok(None) } else { self.check(id).map(|()| None) });
        }
        self.check(id)?;
        if let Some(waiting) = self.streams.get_mut(&id) {
            wait(&mut waiting.reader, cx);
        }
        Poll::Pending
    }

    pub(crate) fn finish(&mut self, now: Instant, id: StreamId) -> Result<(), StreamError> {
        self.check(id)?;
        if let Some(mut stream) = self.host.endpoint().stream(id) {
            stream.finish(now);
        }
        self.wake_driver();
        Ok(())
    }

    pub(crate) fn poll_delivered(&mut self, cx: &Context<'_>, id: StreamId) -> Poll<Result<(), StreamError>> {
        self.check(id)?;
        let all = self.host.endpoint().stream(id).is_some_and(|stream| stream.unacknowledged() == 0);
        if all || self.ended(id).is_some() {
            return Poll::Ready(Ok(()));
        }
        self.undelivered.insert(id);
        if let Some(waiting) = self.streams.get_mut(&id) {
            wait(&mut waiting.writer, cx);
        }
        Poll::Pending
    }

    /// The last handle is gone.
    pub(crate) fn release(&mut self, now: Instant, id: StreamId, was_closed: bool) {
        let Some(waiting) = self.streams.get_mut(&id) else { return };
        if waiting.ended.is_some() || self.phase == Phase::Ended {
            self.streams.remove(&id);
        } else if was_closed {
            waiting.orphan = true;
            self.undelivered.insert(id);
            self.check_undelivered(now);
        } else {
            log::info!("stream {} was dropped before its end: the peer is told of an abort", id.get());
            self.streams.remove(&id);
            self.reset(now, id);
        }
        self.wake_driver();
    }

    /// Has the peers told that it ends, for no longer than the core thinks it worth.
    pub(crate) fn close(&mut self, now: Instant) {
        if self.phase != Phase::Running {
            return;
        }
        self.phase = Phase::Closing(now + Host::LINGER);
        let ports: Vec<_> = self.listeners.keys().copied().collect();
        for port in ports {
            self.wakes.extend(self.listeners.get_mut(&port).and_then(|backlog| backlog.waker.take()));
            self.stop_listening(now, port);
        }
        let open: Vec<_> = self.streams.iter().filter(|(_, it)| !it.orphan).map(|(id, _)| *id).collect();
        open.into_iter().for_each(|id| self.reset(now, id));
        self.wake_driver();
    }

    pub(crate) fn poll_ended(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.phase == Phase::Ended {
            return Poll::Ready(());
        }
        wait(&mut self.closer, cx);
        Poll::Pending
    }

    /// Nothing more comes or goes.
    pub(crate) fn end(&mut self) {
        self.phase = Phase::Ended;
        self.wake_driver();
        self.wakes.extend(self.closer.take());
        for waiting in self.streams.values_mut() {
            self.wakes.extend(waiting.reader.take().into_iter().chain(waiting.writer.take()));
        }
        for (_, backlog) in std::mem::take(&mut self.listeners) {
            self.wakes.extend(backlog.waker);
        }
    }

    fn ended(&self, id: StreamId) -> Option<CloseReason> {
        self.streams.get(&id)?.ended
    }

    /// An error if the stream has ended and not as it should.
    fn check(&self, id: StreamId) -> Result<(), StreamError> {
        match self.ended(id) {
            Some(CloseReason::Finished) => Ok(()),
            Some(reason) => Err(StreamError::Closed(reason)),
            None if self.phase == Phase::Ended => Err(StreamError::NodeEnded),
            None => Ok(()),
        }
    }

    fn wait_to_write<T>(&mut self, cx: &Context<'_>, id: StreamId) -> Poll<T> {
        if let Some(waiting) = self.streams.get_mut(&id) {
            wait(&mut waiting.writer, cx);
        }
        Poll::Pending
    }

    fn reset(&mut self, now: Instant, id: StreamId) {
        if let Some(mut stream) = self.host.endpoint().stream(id) {
            stream.reset(now);
        }
    }

    pub(crate) fn wake_driver(&mut self) {
        self.wakes.extend(self.driver.take());
    }
}

/// For the driver.
impl State {
    pub(crate) fn sleep(&mut self, cx: &Context<'_>) {
        wait(&mut self.driver, cx);
    }

    /// Passes on what has happened.
    pub(crate) fn dispatch(&mut self, now: Instant) {
        while let Some(event) = self.host.poll_uplink_event() {
            msp_sockets::log_uplink(&event);
        }
        while let Some(event) = self.host.poll_event() {
            match event {
                Event::Accepted { stream, peer, port } => self.accept(now, stream, peer, port),
                Event::Connected { stream } => {
                    if let Some(waiting) = self.streams.get_mut(&stream) {
                        waiting.connected = true;
                        self.wakes.extend(waiting.writer.take());
                    }
                }
                Event::Readable { stream } => {
                    self.wakes.extend(self.streams.get_mut(&stream).and_then(|it| it.reader.take()));
                }
                Event::PeerFinished { stream } => {
                    if let Some(waiting) = self.streams.get_mut(&stream) {
                        waiting.peer_finished = true;
                        self.wakes.extend(waiting.reader.take());
                    }
                }
                Event::Writable { stream } => {
                    self.wakes.extend(self.streams.get_mut(&stream).and_then(|it| it.writer.take()));
                }
                Event::Closed { stream, reason } => self.closed(stream, reason),
                Event::LimitReached { limit, peer } => log::warn!("{limit}: {peer} was held off"),
                _ => {}
            }
        }
        self.check_undelivered(now);
    }

    /// A stream for its listener, unless too many wait already.
    fn accept(&mut self, now: Instant, stream: StreamId, peer: Addr, port: Port) {
        match self.listeners.get_mut(&port) {
            Some(backlog) if backlog.streams.len() < backlog.limit => {
                backlog.streams.push_back((stream, peer));
                self.wakes.extend(backlog.waker.take());
                self.streams.insert(stream, Waiting { connected: true, ..Waiting::default() });
            }
            other => {
                if other.is_some() {
                    log::warn!("port {port}: {peer} was refused, too many streams wait to be accepted");
                }
                self.reset(now, stream);
            }
        }
    }

    fn closed(&mut self, stream: StreamId, reason: CloseReason) {
        let Some(waiting) = self.streams.get_mut(&stream) else { return };
        waiting.ended = Some(reason);
        self.wakes.extend(waiting.reader.take().into_iter().chain(waiting.writer.take()));
        if waiting.orphan {
            if reason != CloseReason::Finished {
                log::warn!("stream {}, which nobody has any more, has ended: {reason}", stream.get());
            }
            self.streams.remove(&stream);
        }
        for backlog in self.listeners.values_mut() {
            let before = backlog.streams.len();
            backlog.streams.retain(|(waiting, _)| *waiting != stream);
            if backlog.streams.len() < before {
                self.streams.remove(&stream);
            }
        }
    }

    /// Looks for streams of which the peer has acknowledged everything: tells who waits for that, and ends those that
    /// were kept for nothing else.
    fn check_undelivered(&mut self, now: Instant) {
        let Self { host, undelivered, streams, wakes, .. } = self;
        undelivered.retain(|id| {
            let Some(waiting) = streams.get_mut(id) else { return false };
            let Some(mut stream) = host.endpoint().stream(*id) else { return false };
            if stream.unacknowledged() > 0 {
                return true;
            }
            wakes.extend(waiting.writer.take());
            if waiting.orphan && !stream.recv_finished() {
                stream.reset(now);
            }
            false
        });
    }
}

/// Has the task woken by the next `wake` of `waker`.
fn wait(waker: &mut Option<Waker>, cx: &Context<'_>) {
    if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *waker = Some(cx.waker().clone());
    }
}
