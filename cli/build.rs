//! Leaves out of the optimized program what only unwinding needs.
//!
//! A panic aborts it (`panic = "abort"` in the profile), so nothing unwinds its stack; the tables for that are a tenth
//! of the file all the same, because the compiled standard library brings them along. Linkers drop them when a script
//! says so.

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=unwind.ld");
    let is = |name: &str, value: &str| var(name).is_ok_and(|it| it == value);
    // Elsewhere, it has not been tried.
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        let folder = var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-Wl,--script={folder}/unwind.ld");
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
    }
}
