//! The design's boundaries, checked: arrows between the crates point down only, by what cargo says of their dependencies; and
//! what must run in a browser tab uses no threads, files, clocks or blocking waits, by clippy's `disallowed-types` and
//! `disallowed-methods`.

use std::process::Command;

use crate::step::{Outcome, command};
use crate::workspace::{cargo, metadata};

/// A crate, its folder, and the crates of the workspace that it may use.
const ROOMS: &[(&str, &str, &[&str])] = &[
    ("fovea-shaders", "shaders", &[]),
    ("fovea-engine", "engine", &["fovea-shaders"]),
    ("fovea-models", "models", &["fovea-engine"]),
    ("fovea", "native", &["fovea-engine", "fovea-models"]),
    ("fovea-web", "web", &["fovea-engine", "fovea-models"]),
];

pub(crate) fn run(_: &[String]) -> Outcome {
    let faults = arrows()?;
    if faults.is_empty() {
        println!("the arrows point down");
        return Ok(());
    }
    for fault in &faults {
        println!("{fault}");
    }
    Err(format!("{} faults", faults.len()))
}

/// Refuses what does not work in a browser tab, in the crates whose `clippy.toml` lists it. Their tests run elsewhere, so that
/// these are not looked at. All crates are named, as the dependencies then have the features with which clippy has seen them.
pub(crate) fn in_browser(_: &[String]) -> Outcome {
    command(refusing(&mut cargo(&["clippy", "--quiet", "--workspace", "--lib", "--bins"])))
}

fn refusing(clippy: &mut Command) -> &mut Command {
    clippy.args(["--", "-D", "clippy::disallowed_types", "-D", "clippy::disallowed_methods"])
}

fn arrows() -> Result<Vec<String>, String> {
    upward(&metadata()?)
}

fn upward(metadata: &serde_json::Value) -> Result<Vec<String>, String> {
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let mut faults = Vec::new();
    for (name, _, allowed) in ROOMS {
        let Some(package) = packages.iter().find(|package| package["name"] == *name) else { continue };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let Some(used) = dependency["name"].as_str() else { continue };
            let is_room = ROOMS.iter().any(|(room, _, _)| *room == used);
            if is_room && dependency["kind"].is_null() && !allowed.contains(&used) {
                faults.push(format!("{name} must not depend on {used}"));
            }
            if *name == "fovea-shaders" && used == "wgpu" {
                faults.push("fovea-shaders must not know wgpu".to_owned());
            }
        }
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::workspace::{root, target_dir};

    /// A crate with this source under the settings of `room`, and what the lint says of it.
    fn said(room: &str, name: &str, source: &str) -> (bool, String) {
        let folder = target_dir().join("tmp/rooms").join(format!("{room}-{name}"));
        fs::create_dir_all(folder.join("src")).unwrap();
        let write = |file: &str, text: &str| fs::write(folder.join(file), text).unwrap();
        write("Cargo.toml", "[package]\nname = \"proof\"\nedition = \"2024\"\n[workspace]\n");
        write("clippy.toml", &fs::read_to_string(settings(room)).unwrap());
        write("src/lib.rs", source);
        let mut clippy = cargo(&["clippy", "--quiet", "--offline", "--target-dir", "target"]);
        let output = refusing(clippy.current_dir(&folder)).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn settings(room: &str) -> PathBuf {
        root().join(room).join("clippy.toml")
    }

    #[test]
    fn what_works_in_no_tab_is_refused_however_it_is_imported() {
        let source = "use std::{fs::File, thread, time as clock};\nuse std::process::*;\n\
            pub fn a(_: File) { thread::spawn(|| ()); }\npub fn b() { let _ = clock::Instant::now(); }\n\
            pub fn c() { Command::new(\"a\"); }\npub fn d() { let _ = std::fs::read(\"a\"); }\n\
            pub fn e(a: &std::path::Path) -> bool { a.exists() }\n";
        let (passes, told) = said("engine", "bad", source);
        assert!(!passes);
        for name in [
            "std::fs::File",
            "std::thread::spawn",
            "std::time::Instant",
            "std::process::Command",
            "std::fs::read",
            "std::path::Path::exists",
        ] {
            assert!(told.contains(&format!("`{name}`")), "{name}: {told}");
        }
        let (passes, told) = said("engine", "good", "pub fn a() -> Option<std::time::Duration> { None }\n");
        assert!(passes, "{told}");
    }

    #[test]
    fn every_crate_that_runs_in_a_browser_has_the_same_settings() {
        let [first, rest @ ..] =
            ["shaders", "engine", "models", "web"].map(|room| fs::read_to_string(settings(room)).unwrap());
        assert!(rest.iter().all(|other| *other == first));
        // Clippy reads these instead of the workspace's.
        let workspace = fs::read_to_string(root().join("clippy.toml")).unwrap();
        for setting in workspace.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            assert!(first.contains(setting), "{setting}");
        }
    }

    #[test]
    fn an_upward_dependency_is_a_fault() {
        let package = |name: &str, used: &str, kind: serde_json::Value| serde_json::json!({ "packages": [{ "name": name, "dependencies": [{ "name": used, "kind": kind }] }] });
        let normal = serde_json::Value::Null;
        assert_eq!(upward(&package("fovea-engine", "fovea-models", normal.clone())).unwrap().len(), 1);
        assert_eq!(upward(&package("fovea-shaders", "wgpu", normal.clone())).unwrap().len(), 1);
        assert!(upward(&package("fovea-models", "fovea-engine", normal)).unwrap().is_empty());
        assert!(upward(&package("fovea-engine", "fovea-models", "dev".into())).unwrap().is_empty());
    }
}
