//! `msp peers`, `msp routes` and `msp status`: what the programs that run here know.

use crate::args::{self, Options};
use crate::failure::{Failure, Status};
use crate::servald;
use msp_mio::{About, Driver, RunDirectory, Server, StatusSocket};
use msp_sockets::{Format, Question, Topic, ask};
use rustix::termios::isatty;
use std::io::{self, Write};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// The cursor goes to the first line, and what is below vanishes.
const CLEAR: &str = "\x1b[H\x1b[J";

pub(crate) fn run(command: &args::See, options: &Options) -> Result<(), Failure> {
    let format = if command.json { Format::Json } else { Format::Table };
    let question = Question { topic: command.topic, format };
    let Some(seconds) = command.watch else {
        let seen = look(question, options)?;
        io::stdout().write_all(seen.text.as_bytes())?;
        return seen.status();
    };
    let redraws = isatty(io::stdout()) && !command.json;
    loop {
        let seen = look(question, options)?;
        let text = match &seen.status() {
            Err(failure) if seen.text.is_empty() && redraws => format!("{}\n", failure.message),
            _ => seen.text,
        };
        let clear = if redraws { CLEAR } else { "" };
        let mut stdout = io::stdout();
        stdout.write_all(format!("{clear}{text}").as_bytes())?;
        stdout.flush()?;
        thread::sleep(Duration::from_secs(seconds.into()));
    }
}

/// Has `driver`, which does what `command` says, answer those questions. A program that cannot be asked runs all the same.
pub(crate) fn answer(
    driver: Driver,
    command: String,
    daemon: Option<PathBuf>,
    options: &Options,
) -> Result<Driver, Failure> {
    let about = About { command, daemon };
    let directory = RunDirectory::create(options.run.as_deref());
    match directory.and_then(|directory| StatusSocket::open(&directory, about)) {
        Ok(status) => Ok(driver.answer_at(status)?),
        Err(error) => {
            log::info!("`msp status` cannot see this program: {error}");
            Ok(driver)
        }
    }
}

/// The same for a node that serves others.
pub(crate) fn answer_node(server: Server, directory: &RunDirectory) -> Server {
    match StatusSocket::open(directory, About { command: "node".to_owned(), daemon: None }) {
        Ok(status) => server.answer_at(status),
        Err(error) => {
            log::info!("`msp peers` cannot see this node: {error}");
            server
        }
    }
}

/// What all have told together.
struct Seen {
    /// How many programs have.
    programs: usize,
    things: usize,
    text: String,
}

impl Seen {
    fn status(&self) -> Result<(), Failure> {
        match self {
            Self { programs: 0, .. } => {
                let message = "no msp runs here, or it has another run directory: see --run";
                Err(Failure::new(Status::Unreachable, message))
            }
            Self { things: 0, .. } => Err(Failure::new(Status::ConnectionFailed, "there is nothing to show")),
            _ => Ok(()),
        }
    }
}

fn look(question: Question, options: &Options) -> Result<Seen, Failure> {
    let directory = RunDirectory::find(options.run.as_deref());
    let directory = directory.map_err(|error| Failure::new(Status::Unreachable, error))?;
    let answers = directory.map_or(Ok(Vec::new()), |directory| ask(&directory, question))?;
    let mut programs = answers.len();
    let mut told: Vec<(usize, String)> =
        answers.iter().map(|answer| (answer.count, answer.text.clone())).collect();
    if question.topic != Topic::Status {
        let named = options.servald.as_ref().map(servald::place);
        let mut asked: Vec<PathBuf> = Vec::new();
        for directory in answers.into_iter().filter_map(|answer| answer.daemon).chain(named) {
            if asked.contains(&directory) {
                continue;
            }
            if let Some(answer) = servald::ask(&directory, question) {
                told.push(answer);
                programs += 1;
            }
            asked.push(directory);
        }
    }
    let things = told.iter().map(|(count, _)| count).sum();
    let texts = told.into_iter().map(|(_, text)| text).filter(|text| !text.is_empty());
    let between = if question.format == Format::Table { "\n" } else { "" };
    Ok(Seen { programs, things, text: texts.collect::<Vec<_>>().join(between) })
}
