//! `msp ping`

use crate::args::{self, Options};
use crate::failure::{Failure, Status};
use crate::node::bind_client;
use msp_core::mdp::{PingConfig, PingEvent, PingSummary};
use msp_core::msp;
use msp_sockets::Millis;
use std::io::{self, Write};

pub(crate) fn run(command: &args::Ping, options: &Options) -> Result<(), Failure> {
    let sid = command.far_end.sid;
    let node = bind_client(options, command.far_end.host.as_ref(), msp::Config::default())?;
    let mut config = PingConfig::default();
    config.count = Some(command.count);
    let mut written = Ok(());
    let summary = node.runtime.ping(sid, config, |event| {
        let line = match event {
            PingEvent::Reply { sequence, round_trip } => {
                writeln!(io::stdout(), "{sid}: echo {sequence} in {} ms", Millis(round_trip))
            }
            PingEvent::Lost { sequence } => writeln!(io::stdout(), "{sid}: echo {sequence} is lost"),
            _ => Ok(()),
        };
        written = std::mem::replace(&mut written, Ok(())).and(line);
    })?;
    written?;
    report(&summary)?;
    if summary.received == 0 {
        let message = format!(
            "{sid} does not answer; is the address (SID) right, does a node run there, does UDP get through?"
        );
        return Err(Failure::new(Status::Unreachable, message));
    }
    Ok(())
}

fn report(summary: &PingSummary) -> io::Result<()> {
    let PingSummary { sent, received, min, average, max, .. } = *summary;
    let lost = 100 * (sent - received.min(sent)) / sent.max(1);
    writeln!(io::stdout(), "{sent} sent, {received} answered, {lost} % lost")?;
    if received == 0 {
        return Ok(());
    }
    let [min, average, max] = [min, average, max].map(Millis);
    writeln!(io::stdout(), "round trip min/avg/max: {min}/{average}/{max} ms")
}
