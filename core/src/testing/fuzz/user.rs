//! The user of a host under test, as the input has it.

use crate::msp::{Event, StreamId};
use crate::{Host, Instant};
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

/// The streams of a host that have not ended.
#[derive(Default)]
pub(super) struct User(pub(super) Vec<StreamId>);

impl User {
    /// The stream that an operation is done to.
    pub(super) fn chosen(&self, choice: u8) -> Option<StreamId> {
        self.0.len().checked_sub(1).map(|last| self.0[last.min(choice.into())])
    }

    /// Does something to a stream; `None` if there is none.
    pub(super) fn act(host: &mut Host, now: Instant, stream: Option<StreamId>, operation: u8) -> Option<()> {
        let mut stream = host.endpoint().stream(stream?)?;
        match operation {
            12 => _ = stream.send(now, Bytes::from_static(&[7; 1000])),
            13 => _ = stream.recv(now),
            14 => stream.finish(now),
            _ => stream.reset(now),
        }
        Some(())
    }

    /// Lets time pass. Before the time that the host has asked for, there is nothing to do.
    pub(super) fn pass(host: &mut Host, now: &mut Instant, time: Duration) {
        let due = host.poll_timeout();
        *now += time;
        host.handle_timeout(*now);
        if due.is_none_or(|due| *now < due) {
            assert_eq!(host.poll_transmit(*now, &mut Vec::new()), None, "should be due: {due:?}");
            assert_eq!(host.poll_event(), None, "should be due: {due:?}");
        }
    }

    /// Takes all events. No more than `most` may come, of which `taken` were other things.
    pub(super) fn take_events(&mut self, host: &mut Host, mut taken: usize, most: usize) {
        while let Some(event) = host.poll_event() {
            match event {
                Event::Accepted { stream, .. } => self.0.push(stream),
                Event::Closed { stream, .. } => {
                    let place = self.0.iter().position(|other| *other == stream);
                    assert!(place.map(|place| self.0.swap_remove(place)).is_some(), "ended twice");
                }
                _ => {}
            }
            taken += 1;
            assert!(taken < most);
        }
        while host.poll_uplink_event().is_some() {}
    }

    /// Consumes everything that was received.
    pub(super) fn read_all(&self, host: &mut Host, now: Instant) {
        for id in &self.0 {
            while host.endpoint().stream(*id).is_some_and(|mut stream| stream.recv(now).is_some()) {}
        }
    }
}
