//! `msp find`

use crate::args::{self, Options};
use crate::failure::{Failure, Status};
use crate::node::bind_client;
use msp_core::mdp::{FindConfig, FindEvent, Service, ServicePattern};
use msp_core::{Sid, msp};
use msp_sockets::{Cell, Column, Millis, escape, object};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::time::Duration;

pub(crate) fn run(command: args::Find, options: &Options) -> Result<(), Failure> {
    let pattern = command.pattern.unwrap_or_else(ServicePattern::any);
    let mut config = FindConfig::new(pattern);
    config.time = Duration::from_secs(command.time.into());
    let mut count = 0;
    let mut written = Ok(());
    let node = bind_client(options, None, msp::Config::default())?;
    let runtime = node.runtime.find(config, |event| {
        let FindEvent::Found { sid, service, round_trip } = event else { return ControlFlow::Continue(()) };
        count += 1;
        written = writeln!(io::stdout(), "{}", line(sid, &service, round_trip, command.json));
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    runtime.close()?;
    written?;
    if count == 0 {
        let message = "nobody answered; does `msp listen --service` run there, does UDP get through?";
        return Err(Failure::new(Status::ConnectionFailed, message));
    }
    Ok(())
}

const COLUMNS: &[Column] = &[("", "sid"), ("", "port"), ("", "name"), ("", "round_trip_ms")];

fn line(sid: Sid, service: &Service, round_trip: Duration, json: bool) -> String {
    let Service { name, port } = service;
    if json {
        let (port, name) = (Cell::Number(port.get().into()), Cell::text(name.as_str()));
        object(COLUMNS, &[Cell::text(sid), port, name, Cell::Time(round_trip)])
    } else {
        format!("{sid} {port} {} {} ms", escape(name.as_str()), Millis(round_trip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_peers_name_is_escaped() {
        let name = "a\"\\\u{202e}\u{1f600}".parse().expect("a name");
        let service = Service { name, port: 512.into() };
        let sid = Sid::new([0xab; 32]);
        let line = |json| line(sid, &service, Duration::from_micros(1500), json);
        assert_eq!(line(false), format!("{sid} 512 a\"\\\\u{{202e}}\u{1f600} 1.500 ms"));
        let json = r#""port":512,"name":"a\u0022\u005c\u202e\ud83d\ude00","round_trip_ms":1.500}"#;
        assert_eq!(line(true), format!("{{\"sid\":\"{sid}\",{json}"));
    }
}
