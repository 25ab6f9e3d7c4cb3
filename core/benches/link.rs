//! How fast the protocol is over bad links, in virtual time: `cargo bench -p msp-core --bench link`.
//!
//! Everything comes from seeds, so the same code prints the same figures on any machine. Names of tables and cases
//! choose some of them:
//!
//! ```text
//! cargo bench -p msp-core --bench link -- bulk S3 --seeds 1,2,3
//! cargo bench -p msp-core --bench link -- --trace S4     one transfer, 100 ms a line
//! cargo bench -p msp-core --bench link -- --check        compare with benches/link.txt
//! cargo bench -p msp-core --bench link -- --bless        write that file
//! ```

use msp_core::testing::trial::{self, BLACKOUT, Effort, STEADY, STEPS};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs};

/// The figures of this version.
const FIGURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/link.txt");

fn main() -> ExitCode {
    match run(env::args().skip(1).filter(|argument| argument != "--bench")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("link: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let (mut names, mut seeds, mut check, mut bless, mut trace) =
        (Vec::new(), vec![1, 2, 3, 4, 5], false, false, false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seeds" => {
                let list = arguments.next().ok_or("--seeds needs numbers, such as 1,2,3")?;
                let numbers: Result<_, _> = list.split(',').map(str::parse).collect();
                seeds = numbers.map_err(|error| format!("--seeds {list}: {error}"))?;
            }
            "--check" => check = true,
            "--bless" => bless = true,
            "--trace" => trace = true,
            name if trial::is_name(name) => names.push(name.to_owned()),
            name => return Err(format!("nothing is called {name:?}")),
        }
    }
    if trace {
        let cases = STEADY.into_iter().chain([STEPS, BLACKOUT]);
        for case in cases.filter(|case| names.iter().any(|name| name == case.name)) {
            print!("{}", trial::trace(case, seeds[0], Duration::from_millis(100), 10 * case.seconds as u32));
        }
        return Ok(());
    }
    let report = trial::report(&Effort::full(seeds), &|name| names.iter().any(|it| it == name));
    if bless {
        return fs::write(FIGURES, report).map_err(|error| format!("{FIGURES}: {error}"));
    }
    print!("{report}");
    let kept = if check {
        fs::read_to_string(FIGURES).map_err(|error| format!("{FIGURES}: {error}"))?
    } else {
        report.clone()
    };
    if kept == report {
        Ok(())
    } else {
        Err(format!("the figures differ from those in {FIGURES}; --bless writes them"))
    }
}
