//! TCP connections over MSP streams.
//!
//! The surface of `Tunnel`, which joins these types to a `Host`:
//!
//! ```text
//! listen(host, port, config) -> Result<Tunnel, ListenError>
//! connect(host, remote, config) -> Tunnel
//!
//! handle_packet(now, interface, from, packet)      as Host
//! handle_timeout(now)                              as Host
//! poll_transmit(now, &mut buffer) -> Option<Transmit>
//! poll_timeout() -> Option<Instant>                due now while an action, event or transmit is ready
//! poll_action() -> Option<Action>
//! poll_event() -> Option<TunnelEvent>              must be drained too
//!
//! can_accept() -> bool                             connect role: whether local_accepted would take one
//! local_accepted(now) -> Option<LinkId>            connect role: a TCP connection was accepted, or
//!                                                  standard input and output are to be joined (at the start)
//! local_opened(now, link)                          answers Action::Dial
//! local_failed(now, link)                          answers Action::Dial, or any error of the local side
//! local_eof(now, link)                             end of file on reading
//! read_budget(link) -> usize                       0: do not read now
//! local_data(now, link, &[u8]) -> usize            bytes taken: all, up to read_budget
//! output(link) -> impl Iterator<Item = &[u8]>      for writev (takes &mut self)
//! consume(now, link, n)                            n bytes of the output were written
//! shutdown(now)                                    abort every stream, then Finished; twice: at once
//! ```
//!
//! Every link ends with exactly one `Action::Close`, after `local_failed` too; the driver keeps its socket
//! until then. All calls with an unknown link do nothing.

mod config;
mod event;

pub use config::TunnelConfig;
pub use event::{Action, CloseKind, EndReason, LinkId, Outcome, TunnelEvent};
