//! The design's boundaries, checked: arrows between the crates point down only, and what must run in a browser
//! tab uses no threads, files, clocks or blocking waits.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::workspace::{metadata, root};

/// A crate, its folder, and the crates of the workspace that it may use.
const ROOMS: &[(&str, &str, &[&str])] = &[
    ("fovea-shaders", "shaders", &[]),
    ("fovea-engine", "engine", &["fovea-shaders"]),
    ("fovea-models", "models", &["fovea-engine"]),
    ("fovea", "native", &["fovea-engine", "fovea-models"]),
    ("fovea-web", "web", &["fovea-engine", "fovea-models"]),
];

/// Folders of the crates that also run in a browser.
const IN_BROWSER: &[&str] = &["shaders", "engine", "models", "web"];

const NOT_IN_BROWSER: &[&str] = &[
    "std::thread",
    "std::fs",
    "std::net",
    "std::process",
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant::now",
    "pollster",
];

pub(crate) fn run(_: &[String]) -> Outcome {
    let mut faults = arrows()?;
    for room in IN_BROWSER {
        for file in rust_files(&root().join(room).join("src"))? {
            let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            let name = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
            faults.extend(browser_faults(&name, &text));
        }
    }
    if faults.is_empty() {
        println!("the arrows point down, and nothing blocks in {}", IN_BROWSER.join(", "));
        return Ok(());
    }
    for fault in &faults {
        println!("{fault}");
    }
    Err(format!("{} faults", faults.len()))
}

fn arrows() -> Result<Vec<String>, String> {
    let metadata = metadata()?;
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

/// Code before the file's unit tests that names something a browser tab has not.
fn browser_faults(file: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let tests_follow = lines.peek().is_some_and(|(_, next)| next.trim_start().starts_with("mod "));
        if line.trim() == "#[cfg(test)]" && tests_follow {
            break;
        }
        let code = line.split("//").next().unwrap_or_default();
        for word in NOT_IN_BROWSER.iter().filter(|word| code.contains(**word)) {
            faults.push(format!("{file}:{}: `{word}` does not work in a browser tab", number + 1));
        }
    }
    faults
}

/// All sources below `folder` but those of test modules in files of their own.
fn rust_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let fault = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        if path.file_stem().is_some_and(|stem| stem == "testing" || stem == "tests") {
            continue;
        }
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_clocks_are_found_outside_tests_and_comments() {
        let text =
            "use std::fs::File;\n// std::fs\nlet now = Instant::now();\n#[cfg(test)]\nmod tests {\nuse std::fs;\n}";
        let faults = browser_faults("a.rs", text);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].starts_with("a.rs:1:") && faults[1].starts_with("a.rs:3:"), "{faults:?}");
    }
}
