//! The model does what was recorded of the reference daemon (`spec/10` C).

use super::*;
use crate::Sid;
use alloc::vec;

const PORT: u16 = 512;

fn addr(number: u8, port: u16) -> Addr {
    Addr::new(Sid::new([number; 32]), Port::from(port))
}

const fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// A model that listens, and a peer of which only the packets exist.
struct Lab {
    model: Reference,
    now: Instant,
    events: Vec<Event>,
}

impl Lab {
    fn new() -> Self {
        let mut model = Reference::new();
        model.listen(PORT.into());
        Self { model, now: at(1000), events: Vec::new() }
    }

    fn receive(&mut self, packet: &[u8]) {
        self.model.handle_datagram(self.now, addr(2, 700), PORT.into(), packet);
    }

    /// What it sends up to `until`, with the time in milliseconds.
    fn sends(&mut self, until: u64) -> Vec<(u64, Vec<u8>)> {
        let mut sent = Vec::new();
        let mut buffer = Vec::new();
        loop {
            self.model.handle_timeout(self.now);
            self.events.extend(core::iter::from_fn(|| self.model.poll_event()));
            while self.model.poll_transmit(self.now, &mut buffer).is_some() {
                sent.push((self.now.as_micros() / 1000, buffer.clone()));
            }
            let next = self.model.poll_timeout().filter(|next| *next <= at(until) && *next > self.now);
            let Some(next) = next else { break };
            self.now = next;
        }
        self.now = at(until);
        sent
    }

    fn packets(&mut self, until: u64) -> Vec<Vec<u8>> {
        self.sends(until).into_iter().map(|(_, packet)| packet).collect()
    }

    /// Acknowledges what its first stream has sent.
    fn acknowledge(&mut self, ack: u8) {
        self.model.handle_datagram(self.now, addr(2, 700), Port::from(257), &[2, ack, 0]);
    }

    /// Sends until it is refused.
    fn fill(&mut self, stream: StreamId) -> usize {
        (0..100).take_while(|_| self.model.send(stream, Bytes::from_static(b"x"))).count()
    }

    fn events(&mut self) -> Vec<Event> {
        self.events.extend(core::iter::from_fn(|| self.model.poll_event()));
        core::mem::take(&mut self.events)
    }
}

const STREAM: StreamId = StreamId(0);

#[test]
fn a_line_an_answer_and_the_end() {
    let mut lab = Lab::new();
    lab.receive(b"\x04\xff\xff\x00\x00hi\n");
    assert_eq!(lab.model.recv(STREAM).as_deref(), Some(&b"hi\n"[..]));
    assert_eq!(lab.sends(1005), [(1001, b"\x02\x00\x00".to_vec())]);
    assert!(lab.model.send(STREAM, Bytes::from_static(b"reply\n")));
    assert_eq!(lab.packets(1010), [b"\x02\x00\x00\x00\x00reply\n"]);
    lab.receive(b"\x02\x00\x00");
    lab.receive(b"\x03\x00\x00\x01\x00bye\n");
    assert_eq!(lab.model.recv(STREAM).as_deref(), Some(&b"bye\n"[..]));
    assert_eq!(lab.packets(1020), [b"\x02\x01\x00"]);
    lab.model.finish(STREAM);
    assert_eq!(lab.packets(1030), [b"\x03\x01\x00\x01\x00"]);
    lab.events();
    lab.receive(b"\x02\x01\x00");
    assert_eq!(lab.events(), [Event::Closed { stream: STREAM, reason: CloseReason::Finished }]);
    lab.receive(b"\x03\x01\x00\x01\x00bye\n");
    assert_eq!(lab.packets(1040), [b"\x08"], "it does not linger");
}

#[test]
fn a_peer_that_is_not_there() {
    let mut lab = Lab::new();
    let stream = lab.model.connect(lab.now, addr(2, 700));
    let times: Vec<u64> = lab
        .sends(20_000)
        .into_iter()
        .map(|(time, packet)| {
            assert_eq!(packet, b"\x04\xff\xff");
            time
        })
        .collect();
    assert_eq!(times, [1010, 2510, 4010, 5510, 7010, 8510, 10_010]);
    assert_eq!(lab.events(), [Event::Closed { stream, reason: CloseReason::Unreachable }]);
}

#[test]
fn five_messages_are_on_their_way_and_come_again_after_1500_ms() {
    let mut lab = Lab::new();
    let stream = lab.model.connect(lab.now, addr(2, 700));
    let taken = (0..9_u8).filter(|n| lab.model.send(stream, Bytes::from(vec![*n]))).count();
    assert_eq!(taken, 5);
    let first: Vec<Vec<u8>> = (0..5).map(|n| vec![4, 0xff, 0xff, n, 0, n]).collect();
    assert_eq!(lab.packets(2499), first);
    let again: Vec<(u64, Vec<u8>)> = first.into_iter().map(|packet| (2501, packet)).collect();
    assert_eq!(lab.sends(2502)[1..], again, "after a keep-alive");
    assert!(lab.events().is_empty());
    lab.acknowledge(0);
    assert_eq!(lab.events(), [Event::Connected { stream }]);
    lab.acknowledge(1);
    assert_eq!(lab.events(), [Event::Writable { stream }]);
    assert_eq!(lab.fill(stream), 2);
}

/// Observed: a second acknowledgment while the tunnel program fills the window that the first has opened.
#[test]
fn a_window_that_opens_while_it_is_filled_is_found_after_a_second() {
    let mut lab = Lab::new();
    let stream = lab.model.connect(lab.now, addr(2, 700));
    assert_eq!(lab.fill(stream), 5);
    lab.packets(1010);
    lab.acknowledge(1);
    assert_eq!(lab.events(), [Event::Connected { stream }, Event::Writable { stream }]);
    assert_eq!(lab.fill(stream), 2);
    lab.acknowledge(4);
    lab.packets(1015);
    lab.acknowledge(6);
    lab.packets(2009);
    assert_eq!(lab.events(), []);
    lab.packets(2010);
    assert_eq!(lab.events(), [Event::Writable { stream }]);

    assert_eq!(lab.fill(stream), 5);
    lab.packets(2011);
    lab.acknowledge(11);
    assert_eq!(lab.events(), [Event::Writable { stream }], "it had looked");
}

#[test]
fn unknown_packets_draw_a_stop_but_only_on_a_bound_port() {
    let mut lab = Lab::new();
    lab.receive(b"\x00\xff\xff\x00\x00x");
    assert_eq!(lab.packets(1001), [b"\x08"]);
    lab.receive(b"\x08");
    lab.model.handle_datagram(lab.now, addr(2, 700), Port::from(99), b"\x04\xff\xff");
    assert!(lab.packets(1002).is_empty() && lab.model.is_idle());
}

#[test]
fn what_is_out_of_order_draws_an_old_acknowledgment_and_a_duplicate_none() {
    let mut lab = Lab::new();
    lab.receive(b"\x04\xff\xff\x00\x00a");
    assert!(lab.model.recv(STREAM).is_some());
    lab.packets(1010);
    lab.receive(b"\x00\xff\xff\x02\x00c");
    assert_eq!(lab.packets(1020), [b"\x02\x00\x00"]);
    lab.receive(b"\x00\xff\xff\x01\x00b");
    assert!(lab.model.recv(STREAM).is_some() && lab.model.recv(STREAM).is_some());
    assert_eq!(lab.packets(1030), [b"\x02\x02\x00"]);
    lab.receive(b"\x00\xff\xff\x01\x00b");
    assert_eq!(lab.sends(3000), [(2521, b"\x02\x02\x00".to_vec())], "only the keep-alive");
}

#[test]
fn late_consumption_draws_no_acknowledgment() {
    let mut lab = Lab::new();
    lab.receive(b"\x04\xff\xff\x00\x00a");
    assert_eq!(lab.packets(1100), [b"\x02\xff\xff"]);
    assert!(lab.model.recv(STREAM).is_some());
    assert_eq!(lab.sends(2600), [(2501, b"\x02\x00\x00".to_vec())]);
}

#[test]
fn a_stop_leaves_what_has_arrived_in_order() {
    let mut lab = Lab::new();
    lab.receive(b"\x04\xff\xff\x00\x00a");
    lab.receive(b"\x04\xff\xff\x02\x00c");
    lab.receive(b"\x08");
    lab.events();
    assert_eq!(lab.model.recv(STREAM).as_deref(), Some(&b"a"[..]));
    assert_eq!(lab.model.recv(STREAM), None);
    assert_eq!(lab.events(), [Event::Closed { stream: STREAM, reason: CloseReason::PeerReset }]);
    assert!(lab.packets(5000).is_empty());
}

#[test]
fn a_reset_is_told_once() {
    let mut lab = Lab::new();
    lab.receive(b"\x04\xff\xff");
    assert_eq!(lab.packets(1005), [b"\x00\xff\xff"]);
    lab.model.reset(STREAM);
    assert_eq!(lab.packets(9000), [b"\x08"]);
    assert!(lab.model.is_idle());
}
