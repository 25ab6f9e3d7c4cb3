//! How well nodes relay, in virtual time: `cargo bench -p msp-core --bench mesh`.
//!
//! Everything comes from seeds, so the same code prints the same figures on any machine. Names of tables choose some of
//! them:
//!
//! ```text
//! cargo bench -p msp-core --bench mesh -- line cut
//! cargo bench -p msp-core --bench mesh -- idle --nodes 500   other sizes than those that are kept: takes minutes
//! cargo bench -p msp-core --bench mesh -- --check        compare with benches/mesh.txt
//! cargo bench -p msp-core --bench mesh -- --bless        write that file
//! ```

use msp_core::testing::trial::{self, MeshEffort};
use std::process::ExitCode;
use std::{env, fs};

/// The figures of this version.
const FIGURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/mesh.txt");

fn main() -> ExitCode {
    match run(env::args().skip(1).filter(|argument| argument != "--bench")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("mesh: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let (mut names, mut check, mut bless) = (Vec::new(), false, false);
    let mut effort = MeshEffort::full();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--nodes" => {
                let list = arguments.next().ok_or("--nodes needs numbers, such as 100,500")?;
                let numbers: Result<_, _> = list.split(',').map(str::parse).collect();
                effort.sizes = numbers.map_err(|error| format!("--nodes {list}: {error}"))?;
            }
            "--check" => check = true,
            "--bless" => bless = true,
            name if trial::is_mesh_name(name) => names.push(name.to_owned()),
            name => return Err(format!("nothing is called {name:?}")),
        }
    }
    let report = trial::mesh_report(&effort, &|name| names.iter().any(|it| it == name));
    if bless {
        return fs::write(FIGURES, report).map_err(|error| format!("{FIGURES}: {error}"));
    }
    print!("{report}");
    if !check {
        return Ok(());
    }
    match fs::read_to_string(FIGURES) {
        Ok(kept) if kept == report => Ok(()),
        Ok(_) => Err(format!("the figures differ from those in {FIGURES}; --bless writes them")),
        Err(error) => Err(format!("{FIGURES}: {error}")),
    }
}
