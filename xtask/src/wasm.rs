//! `./x wasm`: the crates that also run in a browser compile for `wasm32-unknown-unknown`.
//!
//! With the target installed (`rustup target add wasm32-unknown-unknown`) this is one `cargo check`. Where it
//! cannot be had, Debian's `rustc-web`, `cargo-web` and `rust-web-src` build the standard library first.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::step::{Outcome, command};
use crate::workspace::{cargo, root, target_dir};

pub(crate) const TARGET: &str = "wasm32-unknown-unknown";
const CRATES: &[&str] = &["fovea-shaders", "fovea-engine", "fovea-models", "fovea-web"];

pub(crate) fn run(_: &[String]) -> Outcome {
    let mut check = toolchain("check")?;
    check.arg("--release");
    for name in CRATES {
        check.args(["--package", name]);
    }
    command(check.arg("--target-dir").arg(folder()))
}

/// Its own build directory: the native build has another Cargo lock and, perhaps, another compiler.
pub(crate) fn folder() -> PathBuf {
    target_dir().join("wasm")
}

/// A command of Cargo for the target, by whichever toolchain can.
pub(crate) fn toolchain(task: &str) -> Result<Command, String> {
    let arguments = [task, "--target", TARGET];
    if target_is_installed() {
        return Ok(cargo(&arguments));
    }
    let (cargo, rustc) = (Path::new("/usr/bin/cargo"), Path::new("/usr/bin/rustc"));
    let source = Path::new("/usr/lib/rustlib/src/rust/library/Cargo.lock");
    if !(cargo.exists() && rustc.exists() && source.exists()) {
        return Err(format!("the target {TARGET} is missing; run: rustup target add {TARGET}"));
    }
    println!("the target {TARGET} is not installed; its standard library is built from Debian's source");
    let mut debian = Command::new(cargo);
    debian.current_dir(root()).args(arguments).arg("-Zbuild-std=std,panic_abort");
    debian.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
    debian.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    if let Some(linker) = linker() {
        debian.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    }
    Ok(debian)
}

/// LLVM's linker, which Debian's compiler does not bring: that of the Rust toolchain at hand, else Debian's own.
fn linker() -> Option<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).current_dir(root()).args(["--print", "sysroot"]).output().ok()?;
    let hosts = Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("lib/rustlib");
    let hosts = fs::read_dir(hosts).ok().into_iter().flatten().flatten();
    let bundled = hosts.map(|host| host.path().join("bin/rust-lld"));
    bundled.chain([PathBuf::from("/usr/bin/wasm-ld")]).find(|path| path.exists())
}

fn target_is_installed() -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .current_dir(root())
        .args(["--print", "target-libdir", "--target", TARGET])
        .stderr(Stdio::null())
        .output();
    let folder = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    folder.and_then(fs::read_dir).is_ok_and(|mut libraries| libraries.next().is_some())
}
