//! The inputs that fuzzing has found worth keeping, through the bodies of the fuzz targets.

use msp_core::testing::fuzz;
use std::fs;
use std::path::Path;

#[test]
fn the_committed_corpus_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    for target in fs::read_dir(folder.join("fuzz_targets")).unwrap() {
        let target = target.unwrap().path();
        let name = target.file_stem().and_then(|name| name.to_str()).unwrap();
        let body: fn(&[u8]) = match name {
            "clients" => fuzz::clients,
            "daemon_socket" => fuzz::daemon_socket,
            "daemon_streams" => fuzz::daemon_streams,
            "datagram" => fuzz::datagram,
            "differential" => fuzz::differential,
            "mesh" => fuzz::mesh,
            "node" => fuzz::node,
            "stream_ops" => fuzz::stream_ops,
            "pair" => fuzz::pair,
            "tunnel" => fuzz::tunnel,
            "wire" => fuzz::wire,
            _ => panic!("no body for {name}"),
        };
        let inputs =
            fs::read_dir(folder.join("corpus").join(name)).unwrap().map(|input| input.unwrap().path());
        let mut count = 0;
        for path in inputs.filter(|path| !is_of_the_fuzzer(path)) {
            println!("{}", path.display());
            body(&fs::read(&path).unwrap());
            count += 1;
        }
        assert!(count > 0, "no input for {name}");
    }
}

/// A fuzzer names what it adds by its SHA-1. Git ignores that, and a fuzzer that runs beside this replaces it.
fn is_of_the_fuzzer(path: &Path) -> bool {
    let name = path.file_name().map_or(&[][..], |name| name.as_encoded_bytes());
    name.len() == 40 && name.iter().all(u8::is_ascii_hexdigit)
}
