//! `msp trace`

use crate::args::{self, Options};
use crate::failure::{Failure, Status};
use crate::node::bind_client;
use msp_core::{Sid, msp};
use msp_sockets::{Cell, Column, Format, Table};
use std::io::{self, Write};

const COLUMNS: &[Column] =
    &[("HOP", "hop"), ("WAY", "way"), ("SID", "sid"), ("ROUND TRIP", "round_trip_ms"), ("", "target")];

pub(crate) fn run(command: &args::Trace, options: &Options) -> Result<(), Failure> {
    let target = command.far_end.sid;
    let node = bind_client(options, command.far_end.host.as_ref(), msp::Config::default())?;
    let path = node.runtime.trace(target)?;
    let mut table = Table::new(COLUMNS);
    let mut push = |hop: usize, way: &str, sid: &Sid| {
        let round_trip = path.round_trip.filter(|_| *sid == target);
        let round_trip = Cell::maybe(round_trip, Cell::Time);
        table.push(vec![
            Cell::Number(hop as u64),
            Cell::text(way),
            Cell::text(sid),
            round_trip,
            Cell::text(target),
        ]);
    };
    for (hop, sid) in (1..).zip(&path.there) {
        push(hop, "there", sid);
    }
    for (hop, sid) in (path.there.len() + 1..).zip(&path.back) {
        push(hop, "back", sid);
    }
    let format = if command.json { Format::Json } else { Format::Table };
    io::stdout().write_all(table.render(format).as_bytes())?;
    if path.reached {
        return Ok(());
    }
    let message = match path.there.last() {
        Some(last) => format!("{target}: no way leads on from {last}"),
        None => format!(
            "{target}: no way leads there; is the address (SID) right, does a node run there, does UDP get through?"
        ),
    };
    Err(Failure::new(Status::Unreachable, message))
}
