//! Serval MDP and MSP as state machines: encrypted datagrams and reliable streams over networks that lose
//! packets.
//!
//! TCP takes every lost packet for congestion, and crawls where a radio loses one in ten. The Serval mesh
//! protocols were made for such links. MDP carries encrypted datagrams between identities: an address *is* a
//! public key, a [`Sid`]. MSP makes of them reliable, ordered, two-way streams of messages. A tunnel carries
//! TCP connections over these.
//!
//! This crate holds every decision of these protocols, and nothing else. It opens no socket, reads no clock,
//! draws no random number, starts no thread, and needs no std, only an allocator. Whoever embeds it brings
//! packets, time and entropy, in an event loop of any kind. The crates `msp-mio` and `msp-async-std` are two
//! such loops, ready made.
//!
//! # Layers
//!
//! ```text
//!        TCP, standard input and output             your program
//!                     |                                  |
//!   tunnel         Tunnel                                |
//!        links <-> streams, half-close, limits           |
//!                     +----------------+-----------------+
//!                                      |  messages
//!             Host     the two below as one object
//!               |                      |
//!   msp         |     Endpoint ---- Stream, Stream, ...
//!               |        windows, recovery, congestion, pacing
//!               |                      |  datagrams between Addr { sid, port }
//!   mdp         |                    Node                        or Daemon
//!               |        identity, encryption, neighbours,           client of a daemon
//!               |        routes, per-hop retransmission              that does all this
//!               |                      |  packets on interfaces          |  datagrams
//!   wire        |     every byte format, parsed and emitted in one place
//!                                      |
//!                    UDP sockets, a clock, timers: the caller's      a unix socket
//! ```
//!
//! Where a daemon of the mesh, servald, runs already, its identity and its routes serve as well: a [`Daemon`]
//! sends and receives datagrams through it, and takes the place of a [`Node`] in a [`Host`]. The other side of that is
//! there as well: [`Clients`](mdp::Clients) serve a [`Node`] to any number of such programs.
//!
//! Every layer is a plain struct that can be used, and is tested, alone. To carry TCP connections, drive a
//! [`Tunnel`](tunnel::Tunnel); for streams in a program of your own, a [`Host`]; for datagrams, a [`Node`]; over
//! another secure datagram service, an [`Endpoint`](msp::Endpoint).
//!
//! # How to drive it
//!
//! All layers have the same verbs. What happens is told to them by `handle_*`, what is to be done is taken
//! from `poll_*`, and nothing calls back:
//!
//! ```text
//! loop:
//!   while poll_transmit(now, &mut buffer): send the buffer where it says
//!   while poll_event():                    act on it
//!   sleep until a packet comes in or poll_timeout() is there
//!   handle_packet(now, interface, from, bytes) for each packet, and handle_timeout(now)
//! ```
//!
//! An [`Uplink`] is a [`Node`] or a [`Daemon`], whichever is below. On a daemon, other things come in than packets:
//! `handle_incoming(now, incoming)` takes everything, see [`Incoming`].
//!
//! A [`Tunnel`](tunnel::Tunnel) has a local side, too: `poll_action` tells what to do there, `local_*` tells it
//! what happened there.
//!
//! After any call that may change something, a call of a [`Stream`](msp::Stream) included, the `while` loops
//! are due again, and `poll_timeout` may have changed.
//!
//! A few things are the loop's to know:
//!
//! - Time is `Instant::ZERO + start.elapsed()`, with a `start` of the monotonic clock of std, or the ticks of a timer.
//! - A UDP payload has at most 1472 bytes; receive into at least as many, and one more tells a longer one, which is
//!   none of ours.
//! - [`Destination::Broadcast`] goes to the broadcast address of the interface's network,
//!   at the UDP port of the mesh, 4110, from a socket that is allowed to.
//! - Messages are [`Bytes`], which a `Vec<u8>`, a `&'static str` and a `&'static [u8]` become with `into()`.
//!
//! # What every layer promises
//!
//! 1. **Time is an argument.** `now` should not go back; where it does, the last time seen counts.
//! 2. **Entropy is an argument** of `new`. The same seeds and the same calls give the same bytes.
//! 3. **Any order and number of calls is legal.** None blocks, panics, or makes memory grow without bound,
//!    whatever a peer or the local side does.
//! 4. **Timers neither oversleep nor spin.** While there is something to take, `poll_timeout` is due. After
//!    `handle_timeout(now)` and taking everything, it is `None` or later than `now`.
//! 5. **`handle_timeout` too early, or twice, does nothing.**
//! 6. **What `poll_transmit` has handed out counts as sent.** Dropping it is packet loss, which is normal.
//! 7. **Full is not an error.** It is [`WouldBlock`](msp::SendError::WouldBlock), or a budget of 0, and it
//!    reaches from a slow reader at one end back to the writer at the other.
//! 8. **What was acknowledged is delivered**, in order, once. What cannot be delivered is reported at both
//!    ends; nothing vanishes in silence.
//! 9. **An endpoint in steady state allocates nothing per packet**; a received message is a slice of the
//!    datagram that it came in.
//! 10. **Garbage changes counters**, and nothing else.
//!
//! # Who repairs losses
//!
//! Each hop does, and the ends of a stream do. They do not get in each other's way:
//!
//! - To a neighbour, segments of a stream go once, and the stream repairs their loss, as an acknowledgment from the far
//!   end tells as much as one of the hop would. What its sender does not repair itself, such as single datagrams, the hop
//!   does.
//! - On the way to others, each hop sends what it lost again, in little more than its own round trip: where one in ten
//!   packets is lost on each of eight hops, six in ten would be lost on the way, and each hop sends one in nine again.
//!   A lone datagram is copied three times within that round trip where packets get lost, as nothing else would show so
//!   soon that it was.
//! - A stream on such a way waits before it takes a segment for lost: until two round trips after the time at which it
//!   would elsewhere, and four times their variation, as a hop may have to send it twice or three times. What is late
//!   for that is no sign of a queue, unless round trips are longer by more than twice their variation. It sends no copies
//!   of small messages either, once a few have arrived: those are for ways that lose some.
//! - What a hop cannot deliver within a second, or not without the risk that it is delivered twice, is left to the
//!   stream, which sends it again in the end.
//!
//! # Pitfalls
//!
//! - **Seeds must be fresh**: 32 bytes from the operating system for each `new` and each start of the
//!   program. Nonces come from them; with a seed used twice, an eavesdropper can take encryption apart. Fixed
//!   seeds, as in the example, are for tests.
//! - **To receive is to acknowledge.** [`Stream::recv`](msp::Stream::recv) tells the peer that the message
//!   need not be kept any longer, and makes room for the next. Call it when the message is safe;
//!   [`Stream::peek`](msp::Stream::peek) until then.
//! - **Back-pressure is two calls.** To pass messages on, [`peek`](msp::Stream::peek), send, and only when that
//!   worked [`recv`](msp::Stream::recv). Who receives first has to keep what cannot be sent, without bound.
//! - **Events are hints, the handle has the truth.** After `Readable`, receive until there is `None`; after a
//!   refused `send`, `Writable` follows.
//! - **A host has two queues of events**, [`Host::poll_event`] and [`Host::poll_uplink_event`]. Take both, even to
//!   drop what comes: while an event waits, the next turn is due, and a loop that takes only one does not sleep.
//! - **Do not exit too early.** After the last stream has closed, [`Host::is_idle`] tells when the peers know
//!   that, too.
//! - **A datagram may be from anyone.** That holds for those that [`Node::poll_datagram`] gives with
//!   [`Protection::Clear`]. Streams accept encrypted ones only.
//!
//! # Example
//!
//! Two hosts on one network. Here it is a loop in memory, and time jumps from one event to the next; with
//! sockets and a clock, nothing else changes.
//!
//! ```
//! use msp_core::msp::{Config, Event};
//! use msp_core::{Addr, Host, Identity, Instant, InterfaceConfig, InterfaceId, Node, NodeConfig, Port};
//!
//! fn host(number: u8) -> Host {
//!     let identity = Identity::from_seed([number; 32]);
//!     let mut node = Node::new(NodeConfig::default(), identity, [number; 32], Instant::ZERO);
//!     node.add_interface(InterfaceConfig::broadcast());
//!     Host::new(node, Config::default(), [number + 100; 32])
//! }
//!
//! let mut hosts = [host(1), host(2)];
//! let mut now = Instant::ZERO;
//!
//! let port = Port::from(512);
//! hosts[1].endpoint().listen(port)?;
//! let remote = Addr::new(hosts[1].sid().ok_or("a node has an address")?, port);
//! let stream = hosts[0].endpoint().connect(now, remote)?;
//! if let Some(mut stream) = hosts[0].endpoint().stream(stream) {
//!     stream.send(now, "hello".into())?;
//!     stream.finish(now);
//! }
//!
//! let mut received = Vec::new();
//! let mut packet = Vec::new();
//! while received.is_empty() {
//!     for (side, other) in [(0, 1), (1, 0)] {
//!         hosts[side].handle_timeout(now);
//!         while let Some(_transmit) = hosts[side].poll_transmit(now, &mut packet) {
//!             let from = ([127, 0, 0, side as u8 + 1], 4110).into();
//!             hosts[other].handle_packet(now, InterfaceId(0), from, &packet);
//!         }
//!     }
//!     for host in &mut hosts {
//!         while host.poll_uplink_event().is_some() {}
//!     }
//!     while let Some(event) = hosts[1].poll_event() {
//!         if let Event::Readable { stream } = event {
//!             let mut stream = hosts[1].endpoint().stream(stream).ok_or("it has ended")?;
//!             while let Some(message) = stream.recv(now) {
//!                 received.extend_from_slice(&message);
//!             }
//!         }
//!     }
//!     now = hosts.iter().filter_map(Host::poll_timeout).min().ok_or("nothing will ever happen")?;
//! }
//! assert_eq!(received, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! There is more to copy beside this crate, each with a test that runs it:
//!
//! | example | shows |
//! | --- | --- |
//! | `core/examples/loopback.rs` | two endpoints in memory, without a node |
//! | `core/examples/poll_loop.rs` | a loop on nothing but std: a UDP socket and a clock |
//! | `core/no-std/` | a program without std, in a heap of fixed size, which tells how much it took |
//! | `runtime-mio/examples/echo.rs` | streams inside a loop on mio that has a socket and a timer of its own |
//! | `runtime-mio/examples/two_nodes.rs` | tunnels between two nodes |
//!
//! # Where the rules come from
//!
//! The wire is that of the reference daemon, serval-dna. Its formats and its behaviour are written down in a
//! specification in chapters; the documentation of the items cites them: `spec/40` is the one about
//! identities and cryptography. What is the wire's is kept to the byte, what it leaves open, such as windows,
//! retransmission and pacing, is done anew.
//!
//! # Features
//!
//! - `testing`: simulated networks, a model of the reference daemon's streams and the bodies of fuzz targets, for
//!   tests of this crate and of what is built on it. Needs std, and may change with any version.
//!
//! There is none for logging: [`Host::poll_event`], [`Host::poll_uplink_event`] and
//! [`Tunnel::poll_event`](tunnel::Tunnel::poll_event) tell everything that is worth a line. With `defmt`, that is
//! `Debug2Format(&event)`. No secret is in the text of any type.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "testing"))]
extern crate std;

mod addr;
mod host;
pub mod mdp;
pub mod msp;
mod path;
mod rng;
mod seq;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
pub mod tunnel;
pub mod wire;

/// A message or a payload, of the crate [`bytes`].
pub use bytes::Bytes;

pub use addr::{Addr, ParsePortError, ParseSidError, Port, Sid};
pub use host::Host;
pub use mdp::{
    Daemon, DaemonConfig, DaemonEvent, Datagram, Destination, Fingerprint, Identity, Incoming,
    InterfaceConfig, InterfaceId, NeighbourStatus, Node, NodeConfig, NodeEvent, NodeStats, RouteStatus,
    SendDatagramError, Transmit, Uplink, UplinkEvent,
};
pub use rng::Rng;
pub use seq::{Seq, Seq16};
pub use time::Instant;
pub use wire::mdp::Protection;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
