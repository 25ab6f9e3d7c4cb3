//! The two windows of a stream, each against a model.

mod receive;
mod report;
mod send;

use super::Input;
use receive::Receiver;
use report::Reporter;
use send::Sender;

/// A send buffer and a receive buffer, used in any way that a connection may use them, beside models that are
/// simple enough to be believed: both agree after every step. So do another send buffer, whose peer reports what has
/// arrived, or lies, and its model.
///
/// The buffers start shortly before their sequence numbers wrap. When one has ended, another begins.
///
/// # Panics
///
/// When they disagree.
pub fn stream_ops(input: &[u8]) {
    let mut input = Input(input);
    let (mut sender, mut receiver, mut reporter) = (Sender::new(0), Receiver::new(0, 16), Reporter::new());
    while let Some(operation) = input.u8() {
        // The upper bits choose what exactly is done.
        let choice = operation >> 4;
        let done = match operation & 0x0f {
            0..8 => receiver.step(operation & 0x07, choice, &mut input),
            // Of the sender's, that is an acknowledgment like the one before.
            13 => match input.u8() {
                Some(operation) => reporter.step(operation & 0x07, operation >> 4, &mut input),
                None => None,
            },
            _ => sender.step(operation & 0x07, choice, &mut input),
        };
        if done.is_none() {
            break;
        }
    }
}
