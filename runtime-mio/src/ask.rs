//! The loop that asks other nodes something.

use crate::node::Node;
use crate::runtime::Runtime;
use msp_core::mdp::{
    Find, FindConfig, FindEvent, Identify, Ping, PingConfig, PingEvent, PingSummary, Trace, TracePath, Uplink,
};
use msp_core::{Instant, Sid};
use msp_sockets::{Error, LAST_TURNS, random};
use std::io;
use std::ops::ControlFlow;

/// What is done in each turn; whether there was another request to stop is the last argument.
type Step<'a> = dyn FnMut(&mut Uplink, Instant, bool) -> ControlFlow<(), Option<Instant>> + 'a;

impl Runtime {
    /// Asks `peer` for echoes and reports every event, until there is nothing more to wait for or it is
    /// stopped.
    ///
    /// # Errors
    ///
    /// If the system fails. A peer that does not answer is no error here, but shows in the summary.
    pub fn ping(
        mut self,
        peer: Sid,
        config: PingConfig,
        mut on_event: impl FnMut(PingEvent),
    ) -> Result<PingSummary, Error> {
        let mut ping = Ping::new(config, peer, random()?, self.node.now());
        let summary = self.drive(|uplink, now, stop| {
            if stop {
                ping.stop();
            }
            ping.update(now, uplink);
            while let Some(event) = ping.poll_event() {
                on_event(event);
                if let PingEvent::Done(summary) = event {
                    return ControlFlow::Break(summary);
                }
            }
            ControlFlow::Continue(ping.poll_timeout())
        })?;
        self.close()?;
        Ok(summary)
    }

    /// Traces the way to `peer`. If it is [stopped](Runtime::was_stopped), no way is known.
    ///
    /// # Errors
    ///
    /// If the system fails. A peer that is not reached is no error here, but shows in the result.
    pub fn trace(mut self, peer: Sid) -> Result<TracePath, Error> {
        let mut trace = Trace::new(peer, random()?, self.node.now());
        let path = self.drive(|uplink, now, stop| match trace.update(now, uplink) {
            None if !stop => ControlFlow::Continue(Some(trace.poll_timeout())),
            path => ControlFlow::Break(path.unwrap_or_default()),
        })?;
        self.close()?;
        Ok(path)
    }

    /// Looks for services and reports every event, until the search is over, `on_event` wants no more, or it is
    /// [stopped](Runtime::was_stopped). Gives itself back, such as to connect to what was found; otherwise
    /// [`Runtime::close`] it.
    ///
    /// # Errors
    ///
    /// If the system fails. That nobody answers is no error here.
    pub fn find(
        mut self,
        config: FindConfig,
        mut on_event: impl FnMut(FindEvent) -> ControlFlow<()>,
    ) -> Result<Self, Error> {
        let mut find = Find::new(config, random()?, self.node.now());
        self.drive(|uplink, now, stop| {
            if stop {
                find.stop();
            }
            find.update(now, uplink);
            while let Some(event) = find.poll_event() {
                if event == FindEvent::Done {
                    return ControlFlow::Break(());
                }
                if on_event(event).is_break() {
                    find.stop();
                    find.update(now, uplink);
                }
            }
            ControlFlow::Continue(find.poll_timeout())
        })?;
        Ok(self)
    }

    /// The address of the node, or of the daemon; `None` if that does not answer within two seconds.
    ///
    /// # Errors
    ///
    /// If the system fails.
    pub fn identify(mut self) -> Result<Option<Sid>, Error> {
        let identify = Identify::new(random()?, self.node.now());
        let sid = self.drive(|uplink, now, stop| match identify.update(now, uplink) {
            None if !stop => ControlFlow::Continue(Some(identify.deadline())),
            answer => ControlFlow::Break(answer.flatten()),
        })?;
        self.close()?;
        Ok(sid)
    }

    /// Gives back what a daemon keeps for it. To drop it instead leaves that to the next client.
    ///
    /// # Errors
    ///
    /// If the system fails.
    pub fn close(mut self) -> io::Result<()> {
        let mut turns = 0;
        let now = self.node.now();
        self.node.host.uplink().shutdown(now);
        self.drive(|uplink, _, _| {
            turns += 1;
            let done = uplink.is_closed() || turns > LAST_TURNS;
            if done { ControlFlow::Break(()) } else { ControlFlow::Continue(None) }
        })
    }

    /// Drives what is below until `step`, which is told of a request to stop, has a result. Otherwise it says when
    /// it is to be called again at the latest.
    fn drive<T>(
        &mut self,
        mut step: impl FnMut(&mut Uplink, Instant, bool) -> ControlFlow<T, Option<Instant>>,
    ) -> io::Result<T> {
        let mut result = None;
        self.drive_until(&mut |uplink, now, stop| match step(uplink, now, stop) {
            ControlFlow::Break(found) => {
                result = Some(found);
                ControlFlow::Break(())
            }
            ControlFlow::Continue(deadline) => ControlFlow::Continue(deadline),
        })?;
        result.ok_or_else(|| io::ErrorKind::Interrupted.into())
    }

    /// The same, once for all kinds of results.
    fn drive_until(&mut self, step: &mut Step<'_>) -> io::Result<()> {
        let Self { node: Node { host, socket, token, .. }, own } = self;
        let uplink = host.uplink();
        loop {
            let now = socket.now();
            let received = socket.receive(&mut |incoming| uplink.handle_incoming(now, incoming));
            uplink.handle_timeout(now);
            let deadline = match step(uplink, now, own.take_stop()) {
                ControlFlow::Break(()) => return Ok(()),
                ControlFlow::Continue(deadline) => deadline,
            };
            let sent = socket.transmit(now, &mut |buffer| uplink.poll_transmit(now, buffer));
            let deadline = deadline.into_iter().chain(uplink.poll_timeout()).min();
            own.wait(socket.timeout_after(now, received || sent, deadline))?;
            for event in own.events().filter(|event| event.token() == *token) {
                socket.ready(event.is_readable(), event.is_writable());
            }
        }
    }
}
