//! `./x web`: the WebAssembly module, the npm package around it, and the demo page, built and served.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sizes;
use crate::step::{Outcome, command};
use crate::wasm;
use crate::workspace::{cargo, root, target_dir};

/// Cargo's profile for what browsers download.
const PROFILE: &str = "web";

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let (mut release, mut serve) = (false, true);
    for argument in arguments {
        match argument.as_str() {
            "--release" => release = true,
            "--no-serve" => serve = false,
            other => return Err(format!("there is no argument {other:?}")),
        }
    }
    build(release)?;
    if !serve {
        return Ok(());
    }
    println!("\nthe demo page: http://localhost:8080 (Ctrl-C ends)");
    let site = target_dir().join("web/site");
    let mut serve = node(&package(), "node_modules/sirv-cli/bin.js");
    command(serve.arg(site).args(["--port", "8080", "--quiet"]))
}

/// The package's folder, with the `node_modules` of its development.
pub(crate) fn package() -> PathBuf {
    root().join("web/js")
}

/// Node with a script, in a folder.
pub(crate) fn node(folder: &Path, script: &str) -> Command {
    let mut node = Command::new("node");
    node.current_dir(folder).arg(script);
    node
}

/// Builds module, package and page; for a release also makes the module smaller, which takes minutes.
pub(crate) fn build(release: bool) -> Outcome {
    install(&package())?;
    let module = compile()?;
    let made = package().join("dist/wasm");
    command(Command::new(bundle()?).arg(module).arg(&made))?;
    if release {
        optimise(&made.join("fovea_web_bg.wasm"))?;
    }
    sizes::print(&made)?;
    let mut pack = node(&package(), "scripts/build.js");
    command(if release { pack.arg("--release") } else { &mut pack })?;
    command(&mut node(root(), "web/demo/build.mjs"))
}

/// The tests of the crate, in Node.
pub(crate) fn bridge_tests() -> Result<Command, String> {
    let mut test = wasm::toolchain("test")?;
    test.args(["--profile", PROFILE, "--package", "fovea-web", "--lib", "--target-dir"]).arg(wasm::folder());
    test.env("FOVEA_WEB_BUNDLE", bundle()?);
    // Cargo splits the runner at blanks and starts it in the crate's folder.
    test.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", "node js/scripts/bridge-tests.cjs");
    Ok(test)
}

/// The program that makes JavaScript of the module. Built with the whole workspace's features, as the tests are, so that
/// its dependencies are not built twice.
fn bundle() -> Result<PathBuf, String> {
    command(&mut cargo(&["build", "--quiet", "--workspace", "--bin", "fovea-web-bundle"]))?;
    Ok(target_dir().join("debug/fovea-web-bundle"))
}

/// The npm packages of a folder's lock file, if they are not there yet.
pub(crate) fn install(folder: &Path) -> Outcome {
    let time = |path: PathBuf| fs::metadata(path).and_then(|it| it.modified()).ok();
    let (lock, installed) = (folder.join("package-lock.json"), folder.join("node_modules/.package-lock.json"));
    if time(installed) >= time(lock) {
        return Ok(());
    }
    command(Command::new("npm").current_dir(folder).args(["ci", "--no-audit", "--no-fund"]))
}

fn compile() -> Result<PathBuf, String> {
    let mut build = wasm::toolchain("build")?;
    build.args(["--profile", PROFILE, "--package", "fovea-web", "--target-dir"]).arg(wasm::folder());
    command(&mut build)?;
    Ok(wasm::folder().join(wasm::TARGET).join(PROFILE).join("fovea_web.wasm"))
}

/// Binaryen's passes: a tenth smaller, and a little faster.
fn optimise(module: &Path) -> Outcome {
    let features = ["--enable-bulk-memory", "--enable-nontrapping-float-to-int", "--enable-sign-ext"];
    let more = ["--enable-mutable-globals", "--enable-reference-types", "--enable-multivalue"];
    let small = module.with_extension("opt");
    let mut optimise = node(&package(), "node_modules/binaryen/bin/wasm-opt");
    command(optimise.arg("-O3").args(features).args(more).arg(module).arg("-o").arg(&small))?;
    fs::rename(&small, module).map_err(|error| format!("{}: {error}", module.display()))
}
