//! Who may open streams: what each peer has, and what it may still get.
//!
//! A SID costs nothing, so a peer is bounded alone, and all together. Where there is a choice, a peer with a
//! stream in use goes before one that nothing is known of.

use super::config::Config;
use super::event::Limit;
use crate::{Instant, Sid};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::time::Duration;

/// The streams of all peers, counted.
#[derive(Debug, Default)]
pub(super) struct Peers {
    peers: BTreeMap<Sid, Box<Peer>>,
    /// Streams of which the user does not know yet that they have ended.
    live: usize,
    /// Of these, accepted ones over which no message has gone.
    half_open: usize,
    rate: Rate,
}

#[derive(Debug, Default)]
struct Peer {
    live: usize,
    half_open: usize,
    /// What its streams keep of received messages, as [`Peers::received`] counts it.
    received: usize,
    rate: Rate,
}

impl Peer {
    /// It is worth more than a stranger: a message has gone over a stream that it still has.
    const fn is_known(&self) -> bool {
        self.live > self.half_open
    }

    fn is_gone(&self, now: Instant) -> bool {
        self.live == 0 && self.received == 0 && self.rate.is_idle(now)
    }
}

/// How often something may happen, as a token bucket that holds a second's worth.
#[derive(Debug, Default)]
struct Rate {
    /// When what has happened so far would all have happened at the steady rate.
    drained: Instant,
}

impl Rate {
    fn allows(&self, now: Instant, per_second: u32, burst: Duration) -> bool {
        let interval = interval(per_second);
        self.drained.max(now) + interval <= now + burst.max(interval)
    }

    fn count(&mut self, now: Instant, per_second: u32) {
        self.drained = self.drained.max(now) + interval(per_second);
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.drained <= now
    }
}

fn interval(per_second: u32) -> Duration {
    Duration::from_secs(1) / per_second.max(1)
}

impl Peers {
    /// Whether `peer` may open a stream here now. [`Limit::HalfOpen`] says that it may if it gets the place of
    /// another half-open one.
    pub(super) fn admit(&mut self, now: Instant, peer: &Sid, config: &Config) -> Result<(), Limit> {
        if self.peers.len() > 2 * config.max_streams {
            self.peers.retain(|_, peer| !peer.is_gone(now));
        }
        let stranger = Peer::default();
        let peer = self.peers.get(peer).map_or(&stranger, |peer| peer);
        // A part is for those who are known.
        let (streams, burst) = if peer.is_known() {
            (config.max_streams, Duration::from_secs(1))
        } else {
            (config.max_streams - config.max_streams / 8, Duration::from_millis(500))
        };
        if peer.live >= config.max_streams_per_peer {
            Err(Limit::StreamsPerPeer)
        } else if !peer.rate.allows(now, config.new_streams_per_peer, Duration::from_secs(1)) {
            Err(Limit::NewStreamsPerPeer)
        } else if !self.rate.allows(now, config.new_streams, burst) {
            Err(Limit::NewStreams)
        } else if self.live >= streams {
            Err(Limit::Streams)
        } else if self.half_open >= config.max_half_open {
            Err(Limit::HalfOpen)
        } else {
            Ok(())
        }
    }

    /// `peer` has opened a stream here, which is half-open from now on.
    pub(super) fn on_accepted(&mut self, now: Instant, sid: Sid, config: &Config) {
        self.rate.count(now, config.new_streams);
        self.half_open += 1;
        let peer = self.on_opened(sid);
        peer.half_open += 1;
        peer.rate.count(now, config.new_streams_per_peer);
    }

    /// A stream to `peer` was opened here.
    pub(super) fn on_connected(&mut self, sid: Sid) {
        self.on_opened(sid);
    }

    fn on_opened(&mut self, sid: Sid) -> &mut Peer {
        self.live += 1;
        let peer = self.peers.entry(sid).or_default();
        peer.live += 1;
        peer
    }

    /// A message has gone over a stream that was half-open.
    pub(super) fn on_used(&mut self, sid: &Sid) {
        self.half_open -= 1;
        if let Some(peer) = self.peers.get_mut(sid) {
            peer.half_open -= 1;
        }
    }

    /// A stream, not half-open, has ended.
    pub(super) fn on_closed(&mut self, now: Instant, sid: &Sid) {
        self.live -= 1;
        if let Some(peer) = self.peers.get_mut(sid) {
            peer.live -= 1;
            if peer.is_gone(now) {
                self.peers.remove(sid);
            }
        }
    }

    /// What a stream of this peer keeps of received messages went from `before` to `after` bytes.
    pub(super) fn on_received(&mut self, sid: &Sid, before: usize, after: usize) {
        if let Some(peer) = self.peers.get_mut(sid) {
            peer.received = peer.received + after - before;
        }
    }

    /// Whether it has a stream that is not half-open.
    pub(super) fn is_known(&self, sid: &Sid) -> bool {
        self.peers.get(sid).is_some_and(|peer| peer.is_known())
    }

    pub(super) fn half_open(&self, sid: &Sid) -> usize {
        self.peers.get(sid).map_or(0, |peer| peer.half_open)
    }

    /// Bytes of received messages that all streams of this peer keep.
    pub(super) fn received(&self, sid: &Sid) -> usize {
        self.peers.get(sid).map_or(0, |peer| peer.received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn sid(number: u8) -> Sid {
        Sid::new([number; 32])
    }

    const fn ms(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn config() -> Config {
        Config {
            max_streams: 16,
            max_streams_per_peer: 9,
            max_half_open: 12,
            new_streams: 20,
            new_streams_per_peer: 10,
            ..Config::default()
        }
    }

    /// As many as are admitted at that time.
    fn open(peers: &mut Peers, at: u64, peer: u8, config: &Config) -> (usize, Limit) {
        for count in 0..1000 {
            match peers.admit(ms(at), &sid(peer), config) {
                Ok(()) => peers.on_accepted(ms(at), sid(peer), config),
                Err(limit) => return (count, limit),
            }
        }
        panic!("no limit");
    }

    #[test]
    fn a_peer_has_so_many_streams() {
        let mut peers = Peers::default();
        assert_eq!(open(&mut peers, 0, 1, &config()), (9, Limit::StreamsPerPeer));
        for _ in 0..2 {
            peers.on_used(&sid(1));
            peers.on_closed(ms(2000), &sid(1));
        }
        assert_eq!(open(&mut peers, 2000, 1, &config()), (2, Limit::StreamsPerPeer));
        assert_eq!((peers.half_open(&sid(1)), peers.half_open, peers.live), (9, 9, 9));
    }

    #[test]
    fn a_peer_opens_a_seconds_worth_at_once_then_at_the_rate() {
        let config = Config { max_streams_per_peer: 99, max_streams: 99, max_half_open: 99, ..config() };
        let mut peers = Peers::default();
        assert_eq!(open(&mut peers, 5000, 1, &config), (10, Limit::NewStreamsPerPeer));
        assert_eq!(open(&mut peers, 5099, 1, &config), (0, Limit::NewStreamsPerPeer));
        assert_eq!(open(&mut peers, 5100, 1, &config), (1, Limit::NewStreamsPerPeer));
        assert_eq!(open(&mut peers, 5500, 1, &config), (4, Limit::NewStreamsPerPeer));
        assert_eq!(open(&mut peers, 9000, 1, &config), (10, Limit::NewStreamsPerPeer));
    }

    #[test]
    fn strangers_use_up_no_more_than_half_of_the_total_rate() {
        let mut config = Config { max_streams: 999, max_half_open: 999, ..config() };
        let mut peers = Peers::default();
        assert_eq!(open(&mut peers, 5000, 1, &config).0, 9);
        assert_eq!(open(&mut peers, 5000, 2, &config), (1, Limit::NewStreams));
        assert_eq!(open(&mut peers, 5049, 3, &config), (0, Limit::NewStreams));
        peers.on_used(&sid(2));
        config.max_streams_per_peer = 99;
        assert_eq!(open(&mut peers, 5049, 2, &config), (9, Limit::NewStreamsPerPeer));
        assert_eq!(open(&mut peers, 5050, 3, &config), (0, Limit::NewStreams));
        peers.on_used(&sid(1));
        assert_eq!(open(&mut peers, 5050, 1, &config), (1, Limit::NewStreamsPerPeer));
        config.new_streams_per_peer = 99;
        assert_eq!(open(&mut peers, 5050, 1, &config), (1, Limit::NewStreams));
    }

    #[test]
    fn the_last_eighth_of_the_streams_is_for_those_who_use_one() {
        let config = Config { max_half_open: 99, ..config() };
        let mut peers = Peers::default();
        assert_eq!(open(&mut peers, 0, 1, &config).0, 9);
        assert_eq!(open(&mut peers, 1000, 2, &config), (5, Limit::Streams));
        assert_eq!(open(&mut peers, 2000, 3, &config), (0, Limit::Streams));
        peers.on_used(&sid(2));
        assert_eq!(open(&mut peers, 2000, 2, &config), (2, Limit::Streams));
        assert_eq!(peers.live, 16);
    }

    #[test]
    fn half_open_streams_are_counted_apart() {
        let mut peers = Peers::default();
        assert_eq!(open(&mut peers, 0, 1, &config()).0, 9);
        assert_eq!(open(&mut peers, 1000, 2, &config()), (3, Limit::HalfOpen));
        peers.on_used(&sid(1));
        assert_eq!(open(&mut peers, 1000, 2, &config()), (1, Limit::HalfOpen));
    }

    #[test]
    fn the_slowest_rate_is_one_a_second() {
        let config = Config { new_streams: 1, new_streams_per_peer: 1, ..config() };
        let mut peers = Peers::default();
        assert_eq!(open(&mut peers, 5000, 1, &config), (1, Limit::NewStreamsPerPeer));
        assert_eq!(open(&mut peers, 5999, 2, &config), (0, Limit::NewStreams));
        assert_eq!(open(&mut peers, 6000, 2, &config), (1, Limit::NewStreamsPerPeer));
    }

    #[test]
    fn peers_without_streams_are_forgotten() {
        let config = Config { max_streams: 4, ..config() };
        let mut peers = Peers::default();
        peers.on_connected(sid(250));
        for peer in 0..100 {
            let now = ms(1000 * u64::from(peer));
            assert_eq!(peers.admit(now, &sid(peer), &config), Ok(()));
            peers.on_accepted(now, sid(peer), &config);
            peers.on_used(&sid(peer));
            peers.on_closed(now, &sid(peer)); // while its rate still counts
            assert!(peers.peers.len() <= 9, "{}", peers.peers.len());
        }
        assert!(peers.peers.contains_key(&sid(250)));
        peers.on_received(&sid(250), 0, 7);
        peers.on_closed(ms(500_000), &sid(250));
        assert_eq!(peers.received(&sid(250)), 7, "it still keeps memory");
        peers.on_accepted(ms(500_000), sid(251), &config);
        peers.on_used(&sid(251));
        peers.on_closed(ms(500_100), &sid(251));
        assert!(!peers.peers.contains_key(&sid(251)), "gone at once, as its rate counts no more");
    }

    #[test]
    fn those_that_are_gone_are_forgotten() {
        let config = Config { new_streams: 1000, ..config() };
        let mut peers = Peers::default();
        let mut pass = |at, n| {
            assert_eq!(peers.admit(ms(at), &sid(n), &config), Ok(()));
            peers.on_accepted(ms(at), sid(n), &config);
            peers.on_used(&sid(n));
            peers.on_closed(ms(at), &sid(n)); // how fast it opened streams matters for a while
            peers.peers.len()
        };
        assert_eq!((0..33).map(|n| pass(0, n)).last(), Some(33));
        assert_eq!(pass(1000, 40), 1);
        assert_eq!((41..73).map(|n| pass(1000 * u64::from(n), n)).last(), Some(33), "not for each of them");
    }
}
