//! What the fuzz targets share: each is a program for libFuzzer, and without it one that replays files.

use std::path::Path;
use std::process::ExitCode;

/// The main program of a target with this body.
#[macro_export]
macro_rules! target {
    ($body:path) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|input: &[u8]| $body(input));

        #[cfg(not(fuzzing))]
        fn main() -> std::process::ExitCode {
            msp_fuzz::replay($body)
        }
    };
}

/// Runs the files that are given as arguments through `body`, which panics at what is wrong.
pub fn replay(body: fn(&[u8])) -> ExitCode {
    let paths: Vec<_> = std::env::args_os().skip(1).collect();
    if paths.is_empty() {
        eprintln!("This replays inputs: name their files. To search for new ones, see fuzz/README.md.");
        return ExitCode::from(2);
    }
    for path in &paths {
        let path = Path::new(path);
        eprintln!("{}", path.display());
        match std::fs::read(path) {
            Ok(input) => body(&input),
            Err(error) => {
                eprintln!("cannot read it: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
