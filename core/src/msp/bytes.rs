//! Streams as bytes, for those to whom messages mean nothing.

use super::event::SendError;
use super::stream::Stream;
use crate::Instant;
use bytes::Bytes;

impl Stream<'_> {
    /// Queues bytes, as long messages as can be made of these, until there is no more room. Returns how many it has
    /// taken: all, or after which there is to be an [`Event::Writable`](super::Event::Writable).
    ///
    /// # Errors
    ///
    /// See [`SendError`]; no byte was queued then.
    pub fn write(&mut self, now: Instant, data: &[u8]) -> Result<usize, SendError> {
        let mut taken = 0;
        for message in data.chunks(self.max_message()) {
            match self.send_bytes(now, Bytes::copy_from_slice(message)) {
                Ok(()) => taken += message.len(),
                Err(error) if taken == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(taken)
    }

    /// Consumes as many received bytes as there are and fit into `buffer`, and returns how many. A message is
    /// acknowledged with its last byte; until then it is among those of [`Stream::peek`].
    pub fn read(&mut self, now: Instant, buffer: &mut [u8]) -> usize {
        let mut count = 0;
        while count < buffer.len() {
            let message = self.slot.connection.receive.peek().next();
            let Some(message) = message else { break };
            let left = message.get(self.slot.read..).unwrap_or_default();
            let step = left.len().min(buffer.len() - count);
            let is_last = step == left.len();
            buffer[count..count + step].copy_from_slice(&left[..step]);
            count += step;
            if is_last {
                self.recv(now);
            } else {
                self.slot.read += step;
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msp::{CloseReason, Config, Endpoint, Event, StreamId};
    use crate::wire::msp::Repr;
    use crate::{Addr, Datagram, Port, Protection, Sid};
    use alloc::vec;
    use alloc::vec::Vec;

    const NOW: Instant = Instant::ZERO;

    fn deliver(endpoint: &mut Endpoint, packet: &[u8]) {
        let from = Addr::new(Sid::new([2; 32]), Port::from(700));
        let packet = Bytes::copy_from_slice(packet);
        let datagram = Datagram::new(from, Port::from(600), Protection::Encrypted, packet);
        endpoint.handle_datagram(NOW, datagram).unwrap();
    }

    /// An accepted stream with the messages "abc" and "de".
    fn accepted() -> (Endpoint, StreamId) {
        let mut endpoint = Endpoint::new(Config { send_window: 3, ..Config::default() }, [3; 32]);
        endpoint.listen(600.into()).unwrap();
        deliver(&mut endpoint, b"\x04\xff\xff\x00\x00abc");
        deliver(&mut endpoint, b"\x00\xff\xff\x01\x00de");
        let Some(Event::Accepted { stream, .. }) = endpoint.poll_event() else { panic!("none accepted") };
        (endpoint, stream)
    }

    #[test]
    fn bytes_are_read_across_messages_and_acknowledged_with_the_last_of_each() {
        let (mut endpoint, id) = accepted();
        let mut stream = endpoint.stream(id).unwrap();
        let mut buffer = [0; 4];
        assert_eq!(stream.read(NOW, &mut []), 0);
        assert_eq!(stream.read(NOW, &mut buffer[..2]), 2);
        assert_eq!(&buffer[..2], b"ab");
        assert_eq!(stream.slot.connection.receive.in_order(), 2, "the first message is not acknowledged");
        assert_eq!(stream.read(NOW, &mut buffer[..1]), 1);
        assert_eq!(buffer[0], b'c');
        assert_eq!(stream.slot.connection.receive.in_order(), 1);
        assert_eq!(stream.read(NOW, &mut buffer), 2);
        assert_eq!(&buffer[..2], b"de");
        assert_eq!((stream.read(NOW, &mut buffer), stream.recv(NOW)), (0, None));
    }

    #[test]
    fn a_message_that_was_read_in_part_is_received_without_that() {
        let (mut endpoint, id) = accepted();
        let mut stream = endpoint.stream(id).unwrap();
        assert_eq!(stream.read(NOW, &mut [0; 2]), 2);
        assert_eq!(stream.recv(NOW).unwrap(), "c");
        assert_eq!(stream.recv(NOW).unwrap(), "de");
    }

    #[test]
    fn bytes_are_written_as_long_messages_until_there_is_no_more_room() {
        let (mut endpoint, id) = accepted();
        let mut stream = endpoint.stream(id).unwrap();
        assert_eq!(stream.write(NOW, &[]), Ok(0));
        assert_eq!(stream.write(NOW, &[7; 1030]), Ok(1030));
        assert_eq!(stream.unacknowledged(), 2);
        assert_eq!(stream.write(NOW, &[7; 1030]), Ok(1024));
        assert_eq!(stream.write(NOW, &[7; 1030]), Err(SendError::WouldBlock));
        stream.finish(NOW);
        assert_eq!(stream.write(NOW, &[7; 10]), Err(SendError::Finished));
    }

    /// Messages that wait to be read put the end off, but must not leave a writer waiting.
    #[test]
    fn a_writer_is_told_of_a_failure_before_everything_is_read() {
        let (mut endpoint, id) = accepted();
        let mut stream = endpoint.stream(id).unwrap();
        assert_eq!(stream.write(NOW, &[7; 4000]), Ok(3072));
        assert_eq!(stream.write(NOW, &[7; 1]), Err(SendError::WouldBlock));
        while endpoint.poll_event().is_some() {}
        let mut stop = vec![];
        Repr::Stop.emit(&mut stop);
        deliver(&mut endpoint, &stop);
        let events: Vec<_> = core::iter::from_fn(|| endpoint.poll_event()).collect();
        assert_eq!(events, [Event::Writable { stream: id }]);
        let mut stream = endpoint.stream(id).unwrap();
        let closed = Err(SendError::Closed(CloseReason::PeerReset));
        assert_eq!(stream.write(NOW, &[7; 1]), closed);
        assert_eq!(stream.read(NOW, &mut [0; 9]), 5);
        assert_eq!(endpoint.poll_event(), Some(Event::Closed { stream: id, reason: CloseReason::PeerReset }));
    }
}
