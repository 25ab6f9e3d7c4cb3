//! How a connection finds out whether the way carries large messages (`docs/msp-extensions.md` section 6).

use super::{Connection, OVERHEAD};
use crate::Instant;
use crate::msp::MAX_MESSAGE;
use crate::msp::carriage::LARGE_MESSAGE;
use crate::msp::paths::Path;
use alloc::vec::Vec;
use core::time::Duration;

/// Messages that wait to be sent on a stream that large ones would be of use to.
const MIN_UNSENT: usize = 4;
/// Between two probes. Several may be on a long way; the retransmission timeout, which grows with losses, can be longer
/// than a whole transfer.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

impl Connection {
    /// The longest message that may be queued. Where the way does not carry such, it goes in parts.
    pub(crate) const fn max_message(&self) -> usize {
        if self.form.has_large() { LARGE_MESSAGE } else { MAX_MESSAGE }
    }

    /// Whether a probe is to be sent before the next message.
    pub(super) fn wants_probe(&self, now: Instant, path: &Path) -> bool {
        self.form.has_large()
            && self.acknowledged
            && self.send.unsent() >= MIN_UNSENT
            && path.carriage.wants_probe(now)
    }

    /// Sends one. Its loss says nothing of congestion.
    pub(super) fn transmit_probe(&mut self, now: Instant, buffer: &mut Vec<u8>, path: &mut Path) {
        self.form.emit_probe(buffer);
        let sent = path.rate.on_sent(now, buffer.len() + OVERHEAD, true);
        path.rate.on_forgotten(sent.bytes());
        path.carriage.on_probe(now, PROBE_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msp::connection::{Config, Form, Port, Role};
    use crate::wire::extended::{Body, Offer, Repr, Settings, feature};
    use crate::{Addr, Rng, Sid};
    use bytes::Bytes;

    /// A listener whose peer takes large messages, and the way to it.
    fn end() -> (Connection, Path) {
        let (config, mut path, now) = (Config::default(), Path::new(), Instant::from_millis(1));
        let form = Form::of_listener(&config, Some(Offer { nonce: 7 }), &mut Rng::new([1; 32]));
        let peer = Addr::new(Sid::new([2; 32]), Port::from(700));
        let tag = form.tag().unwrap();
        let mut end = Connection::new(now, Role::Listener, form, Port::from(600), peer, &config, &path);
        let features = feature::LARGE | feature::SELECTIVE;
        let settings = Some(Settings { nonce: 7, features, max_message: 1387 });
        let mut payload = Vec::new();
        Repr { settings, ..Repr::new(tag, Body::Empty) }.emit(&mut payload);
        let mut payload = Bytes::from(payload);
        let packet = crate::msp::form::Packet::parse(&mut payload, Some(&end.form)).unwrap();
        end.handle_packet(now, &packet, payload, usize::MAX, &mut path);
        (end, path)
    }

    /// The way would seem to take only half of what it does, and less each round.
    #[test]
    fn both_parts_of_a_message_count_on_the_way() {
        let ((mut end, mut path), now) = (end(), Instant::from_millis(2));
        assert_eq!(end.max_message(), 1387);
        end.send.push(Bytes::from_static(&[1; 1387]));
        end.send.push(Bytes::from_static(&[2; 10]));
        let mut buffer = Vec::new();
        assert!(end.poll_transmit(now, &mut buffer, &mut path, false));
        assert!((700..800).contains(&buffer.len()), "{}", buffer.len());
        // The second part leaves at once, whatever is on the way.
        assert!(end.send.is_probing());
        let first = end.send.bytes_on_their_way();
        assert!((1387 + 2 * OVERHEAD as u64..1700).contains(&first), "{first}");
        buffer.clear();
        assert!(end.poll_transmit(now, &mut buffer, &mut path, false));
        assert!((700..800).contains(&buffer.len()), "{}", buffer.len());
        assert_eq!(end.send.bytes_on_their_way(), first);
    }
}
