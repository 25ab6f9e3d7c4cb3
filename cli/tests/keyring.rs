//! Identities from the keyring of a Serval daemon, see `core/tests/vectors/README.md`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Directory, Program};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

const A: &str = "f23a955f8fddd4ce21d4ead92e2e15f30acb888bcf5d0a8134290344d1af7914";
const SEED_A: &str = "a03f3459e4818126430c78012e247d7f6c22aee2824556c9d5027ec83e2e453f";
const B: &str = "d3170428cd386dc0a4a1440523538149537e5a76c75894c3ae64e3cad8d4fa44";

fn keyring(name: &str) -> String {
    format!("{}/../core/tests/vectors/keyrings/{name}.serval.keyring", env!("CARGO_MANIFEST_DIR"))
}

fn id(home: &Directory, arguments: &str) -> Program {
    Program::with_home(&format!("id {arguments}"), home.path())
}

fn import(home: &Directory, name: &str, more: &str) -> Program {
    id(home, &format!("--import-servald={} {more}", keyring(name)))
}

/// From the keyring with PINs; `input` are those.
fn unlock(home: &Directory, input: &str, more: &str) -> Program {
    let mut program = import(home, "pins", &format!("--pin {more}"));
    program.input(input.as_bytes(), true);
    program
}

#[track_caller]
fn assert_sid(program: Program, sid: &str) {
    assert_eq!(String::from_utf8(program.succeeded()).unwrap().trim_end().to_lowercase(), sid);
}

#[test]
fn the_identity_of_a_daemon_becomes_ours() {
    let home = Directory::new();
    assert_sid(import(&home, "A", ""), A);
    let file = home.path().join(".config/msp/identity");
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{SEED_A}\n"));
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert_sid(id(&home, ""), A);
    // It is there already.
    for more in ["", "--new"] {
        assert_sid(import(&home, "A", more), A);
    }
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing is left over");
}

#[test]
fn another_identity_is_not_overwritten() {
    let home = Directory::new();
    assert_sid(import(&home, "A", ""), A);
    let message = import(&home, "B", "").failed(6);
    assert!(message.to_lowercase().contains(A) && message.contains("--new"), "{message}");
    assert_sid(id(&home, ""), A);

    let ended = import(&home, "B", "--new").ended();
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("identity.old.1"), "{}", ended.stderr);
    assert_sid(id(&home, ""), B);
    let kept = home.join(".config/msp/identity.old.1");
    assert_sid(id(&home, &format!("--identity={kept}")), A);
}

#[test]
fn a_file_that_is_no_identity_is_not_overwritten() {
    let home = Directory::new();
    let path = home.join("key");
    fs::write(&path, "a text").unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let message = import(&home, "A", &format!("--identity={path}")).failed(6);
    assert!(message.contains("no identity"), "{message}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "a text");
}

#[test]
fn the_keyring_is_where_the_daemon_has_it() {
    let home = Directory::new();
    fs::copy(keyring("B"), home.join("serval.keyring")).unwrap();
    let script = format!(
        "SERVALINSTANCE_PATH={} exec {} id --import-servald",
        home.path().display(),
        env!("CARGO_BIN_EXE_msp")
    );
    assert_sid(Program::spawn(Command::new("sh").args(["-c", &script]), home.path()), B);
}

#[test]
fn files_that_are_no_keyring() {
    let home = Directory::new();
    let path = home.join("keyring");
    let refused = |reason: &str| {
        let message = id(&home, &format!("--import-servald={path}")).failed(6);
        assert!(message.contains(reason) && message.contains(&path), "{message}");
    };
    refused("No such file");
    fs::write(&path, "no keyring").unwrap();
    refused("4096");
    fs::write(&path, vec![0xff; 257 * 4096]).unwrap();
    refused("longer than");
    fs::write(&path, vec![0xff; 8192]).unwrap();
    refused("no identity opens");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused("not a regular file");
    assert!(!home.path().join(".config").exists(), "no identity was made instead");
}

#[test]
fn pins_open_a_keyring() {
    let home = Directory::new();
    let message = import(&home, "pins", "").failed(6);
    assert!(message.contains("--pin"), "{message}");
    for wrong in ["", "ring\n", "secret\nring\n", "ring\nsecret \n"] {
        let message = unlock(&home, wrong, "").failed(6);
        assert!(message.contains("PINs are wrong") && !message.contains("secret"), "{message}");
    }
    assert_sid(unlock(&home, "ring\nsecret", "--sid=D3"), B);
}

#[test]
fn one_of_several_is_chosen() {
    let home = Directory::new();
    let ended = unlock(&home, "ring\nsecret\n", "").ended();
    assert_eq!((ended.status, &*ended.stdout), (2, &b""[..]));
    let said = ended.stderr.to_lowercase();
    assert!(said.contains(A) && said.contains(B) && said.contains("--sid"), "{said}");
    let message = unlock(&home, "ring\nsecret\n", "--sid=0").failed(2);
    assert!(message.contains("begins with '0'"), "{message}");
    assert_sid(unlock(&home, "ring\nsecret\n", &format!("--sid={A}")), A);
    let message = unlock(&home, "ring\nsecret\n", &format!("--sid={A}0")).failed(2);
    assert!(message.contains("begins with"), "{message}");
}

#[test]
fn an_old_identity_is_explained() {
    let home = Directory::new();
    let message = unlock(&home, "ring\nold\n", "").failed(6);
    assert!(message.to_lowercase().contains(A) && message.contains("old kind"), "{message}");
}

#[test]
fn options_of_the_import_need_it() {
    let home = Directory::new();
    for alone in ["--pin", "--sid=00"] {
        let message = id(&home, alone).failed(2);
        assert!(message.contains("--import-servald"), "{message}");
    }
}
