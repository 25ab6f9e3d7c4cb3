//! `msp ping`

use crate::args::{self, Options};
use crate::failure::{Failure, Status};
use crate::node::bind_client;
use msp_core::mdp::{PingConfig, PingEvent, PingSummary};
use msp_core::{Sid, msp};
use msp_sockets::{Cell, Column, Millis, object};
use std::io::{self, Write};

pub(crate) fn run(command: &args::Ping, options: &Options) -> Result<(), Failure> {
    let sid = command.far_end.sid;
    let node = bind_client(options, command.far_end.host.as_ref(), msp::Config::default())?;
    let mut config = PingConfig::default();
    config.count = Some(command.count);
    let mut written = Ok(());
    let summary = node.runtime.ping(sid, config, |event| {
        if let Some(line) = if command.json { echo_json(sid, event) } else { echo(sid, event) } {
            written = std::mem::replace(&mut written, Ok(())).and(writeln!(io::stdout(), "{line}"));
        }
    })?;
    written?;
    let report = if command.json { summary_json(sid, &summary) } else { report(&summary) };
    writeln!(io::stdout(), "{report}")?;
    if summary.received == 0 {
        let message = format!(
            "{sid} does not answer; is the address (SID) right, does a node run there, does UDP get through?"
        );
        return Err(Failure::new(Status::Unreachable, message));
    }
    Ok(())
}

fn echo(sid: Sid, event: PingEvent) -> Option<String> {
    match event {
        PingEvent::Reply { sequence, round_trip } => {
            Some(format!("{sid}: echo {sequence} in {} ms", Millis(round_trip)))
        }
        PingEvent::Lost { sequence } => Some(format!("{sid}: echo {sequence} is lost")),
        _ => None,
    }
}

fn echo_json(sid: Sid, event: PingEvent) -> Option<String> {
    const ECHO: &[Column] = &[("", "sid"), ("", "echo"), ("", "round_trip_ms")];
    let (sequence, round_trip) = match event {
        PingEvent::Reply { sequence, round_trip } => (sequence, Cell::Time(round_trip)),
        PingEvent::Lost { sequence } => (sequence, Cell::Unknown),
        _ => return None,
    };
    Some(object(ECHO, &[Cell::text(sid), Cell::Number(sequence.into()), round_trip]))
}

fn report(summary: &PingSummary) -> String {
    let PingSummary { sent, received, min, average, max, .. } = *summary;
    let lost = 100 * (sent - received.min(sent)) / sent.max(1);
    let counts = format!("{sent} sent, {received} answered, {lost} % lost");
    if received == 0 {
        return counts;
    }
    let [min, average, max] = [min, average, max].map(Millis);
    format!("{counts}\nround trip min/avg/max: {min}/{average}/{max} ms")
}

fn summary_json(sid: Sid, summary: &PingSummary) -> String {
    const SUMMARY: &[Column] =
        &[("", "sid"), ("", "sent"), ("", "answered"), ("", "min_ms"), ("", "average_ms"), ("", "max_ms")];
    let PingSummary { sent, received, min, average, max, .. } = *summary;
    let time = |time| if received == 0 { Cell::Unknown } else { Cell::Time(time) };
    let counts = [Cell::text(sid), Cell::Number(sent.into()), Cell::Number(received.into())];
    object(SUMMARY, &[&counts[..], &[time(min), time(average), time(max)]].concat())
}
