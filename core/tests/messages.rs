//! What people read of an error: it names the port, the address or the limit in question.

use msp_core::msp::{CloseReason, ConnectError, DatagramError, Limit, ListenError, SendError};
use msp_core::tunnel::EndReason;
use msp_core::wire::DecodeError;
use msp_core::{Addr, ParsePortError, Port, SendDatagramError, Sid};
use std::fmt::Display;

const DIGITS: &str = "4701D08488451F545A409FB58AE3E58581CA40AC3F7F114698CD71DEAC73CA01";

#[test]
fn addresses_show_in_the_form_that_is_read() {
    let sid: Sid = DIGITS.parse().expect("an address");
    assert_eq!(Addr::new(sid, Port::from(512)).to_string(), format!("{DIGITS}:512"));
}

#[test]
fn errors_name_what_they_are_about() {
    let nobody = Addr::new(Sid::new([0; 32]), Port::from(7));
    let messages: [(&dyn Display, &str); 7] = [
        (&ParsePortError, "2147483647"),
        (&ListenError::InUse(Port::from(600)), "600"),
        (&ListenError::Reserved(Port::from(7)), "7"),
        (&ConnectError::InvalidAddress(nobody), &nobody.to_string()),
        (&SendError::TooLarge { max: 1024 }, "1024"),
        (&SendError::Closed(CloseReason::TimedOut), &CloseReason::TimedOut.to_string()),
        (&SendDatagramError::TooLarge { max: 1100 }, "1100"),
    ];
    for (message, detail) in messages {
        let message = message.to_string();
        assert!(!detail.is_empty() && message.contains(detail), "{message:?} lacks {detail:?}");
    }
}

#[test]
fn no_two_reasons_of_a_kind_read_the_same() {
    use CloseReason::{Finished, PeerReset, PeerRestarted, Refused, Reset, TimedOut, Unreachable};
    let closed = [Finished, Reset, PeerReset, Refused, TimedOut, Unreachable, PeerRestarted];
    let ended =
        closed.map(EndReason::from).into_iter().chain([EndReason::DialFailed, EndReason::LocalFailed]);
    let ignored = [
        DatagramError::NotEncrypted,
        DatagramError::Malformed,
        DatagramError::UnknownStream,
        DatagramError::Refused,
        DatagramError::TooSoon,
        DatagramError::Replayed,
    ];
    let limits =
        [Limit::Streams, Limit::StreamsPerPeer, Limit::HalfOpen, Limit::NewStreams, Limit::NewStreamsPerPeer];
    let kinds = [
        closed.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ended.map(|reason| reason.to_string()).collect(),
        ignored.iter().map(ToString::to_string).collect(),
        limits.iter().map(ToString::to_string).collect(),
        [DecodeError::Truncated, DecodeError::Invalid].map(|error| error.to_string()).to_vec(),
    ];
    for mut messages in kinds {
        let count = messages.len();
        messages.sort();
        messages.dedup();
        assert_eq!(messages.len(), count, "{messages:?}");
    }
}
