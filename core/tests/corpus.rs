//! The inputs that fuzzing has found worth keeping, through the bodies of the fuzz targets.

use msp_core::testing::fuzz;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

#[test]
fn the_committed_corpus_passes() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for target in fs::read_dir(corpus).unwrap() {
        let target = target.unwrap();
        let body: fn(&[u8]) = match target.file_name().to_str() {
            Some("datagram") => fuzz::datagram,
            Some("node") => fuzz::node,
            Some("tunnel") => fuzz::tunnel,
            Some("wire") => fuzz::wire,
            other => panic!("no body for {other:?}"),
        };
        for input in fs::read_dir(target.path()).unwrap() {
            let path = input.unwrap().path();
            println!("{}", path.display());
            match fs::read(&path) {
                Ok(input) => body(&input),
                // A fuzzer that runs beside this replaces its own finds.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}
