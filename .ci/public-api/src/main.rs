//! Compares the public items of the libraries with the lists that are committed beside them.
//!
//! `.ci/run` does it with all else. After a change that is wanted, write the lists anew, and see in the change what
//! users will see: `cargo run --manifest-path .ci/public-api/Cargo.toml -- --bless`

use public_api::Builder;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

/// The compiler that describes the libraries, a stable one that does not change.
const COMPILER: &str = "+1.95.0";
/// Packages and their folders.
const LIBRARIES: [(&str, &str); 4] = [
    ("msp-core", "core"),
    ("msp-sockets", "sockets"),
    ("msp-mio", "runtime-mio"),
    ("msp-async-std", "runtime-async-std"),
];

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let bless = env::args().nth(1).is_some_and(|argument| argument == "--bless");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut status = ExitCode::SUCCESS;
    for (package, folder) in LIBRARIES {
        let list = list(&root, package)?;
        let file = root.join(folder).join("public-api.txt");
        if bless {
            fs::write(&file, list)?;
        } else if !is_same(&file, &list)? {
            eprintln!(
                "{package} has other public items than {folder}/public-api.txt says. If that is wanted, run\n    \
                 cargo run --manifest-path .ci/public-api/Cargo.toml -- --bless"
            );
            status = ExitCode::FAILURE;
        }
    }
    Ok(status)
}

/// Every public item of a package, one a line. Implementations that every type has are left out.
fn list(root: &Path, package: &str) -> Result<String, Box<dyn Error>> {
    let target = root.join("target/public-api/libraries");
    let status = Command::new("cargo")
        .args([COMPILER, "rustdoc", "--quiet", "--lib", "--package", package, "--target-dir"])
        .arg(&target)
        .args(["--", "-Z", "unstable-options", "--output-format", "json", "--cap-lints", "allow"])
        .current_dir(root)
        // The JSON is not stable, and with one compiler it need not be.
        .env("RUSTC_BOOTSTRAP", "1")
        // Cargo sets it for this program, and it would win over the choice above.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .status()?;
    if !status.success() {
        return Err(format!("rustdoc cannot describe {package}").into());
    }
    let json = target.join("doc").join(package.replace('-', "_")).with_extension("json");
    let api =
        Builder::from_rustdoc_json(json).omit_blanket_impls(true).omit_auto_trait_impls(true).build()?;
    let items = api.items().map(ToString::to_string).filter(|item| !is_derived(item));
    Ok(items.map(|item| item + "\n").collect())
}

/// Whether an item is implied by another one, "impl Clone for": that one is enough.
fn is_derived(item: &str) -> bool {
    const METHODS: [&str; 6] = [
        "::clone(&self)",
        "::cmp(&self, ",
        "::eq(&self, ",
        "::fmt(&self, ",
        "::hash<",
        "::partial_cmp(&self, ",
    ];
    item.starts_with("impl core::marker::StructuralPartialEq for ")
        || item.starts_with("pub fn ") && METHODS.iter().any(|method| item.contains(method))
}

/// Prints what differs.
fn is_same(file: &PathBuf, list: &str) -> Result<bool, Box<dyn Error>> {
    let new = file.with_extension("txt.new");
    fs::write(&new, list)?;
    let same = Command::new("diff").arg("-U0").arg(file).arg(&new).status()?.success();
    fs::remove_file(&new)?;
    Ok(same)
}
