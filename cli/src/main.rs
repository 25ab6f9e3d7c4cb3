//! The `msp` program: arguments in, exit status out. The work is done in `msp-mio` and `msp-core`.
#![forbid(unsafe_code)]

mod address;
mod args;
mod connect;
mod demo;
mod failure;
mod find;
mod help;
mod id;
mod identity;
mod keyring;
mod limits;
mod listen;
mod logger;
mod node;
mod ping;
mod prompt;
mod see;
mod servald;
mod serve;
mod trace;

use args::Command;
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            logger::say(&failure.message);
            ExitCode::from(failure.status as u8)
        }
    }
}

fn run() -> Result<(), Failure> {
    let Some(args) = args::parse()? else { return Ok(()) };
    logger::install(&args.options);
    match args.command {
        Command::Listen(command) => listen::run(command, &args.options),
        Command::Connect(command) => connect::run(command, &args.options),
        Command::Find(command) => find::run(command, &args.options),
        Command::Id(command) => id::run(&command, &args.options),
        Command::Node => serve::run(&args.options),
        Command::Ping(command) => ping::run(&command, &args.options),
        Command::Trace(command) => trace::run(&command, &args.options),
        Command::See(command) => see::run(&command, &args.options),
        Command::Demo(command) => demo::run(&command),
    }
}
