//! `./x licences` and `./x audit`: what cargo-deny refuses, by `deny.toml`.

use std::process::Command;

use crate::step::{Outcome, command};
use crate::workspace::cargo;

/// Licences, banned crates and sources: what needs no network.
pub(crate) fn licences(_: &[String]) -> Outcome {
    command(checking(&mut cargo(&["deny"]), &["licenses", "bans", "sources"]))
}

/// Known vulnerabilities. The list of them comes from GitHub: without it there is no answer, which is an error.
pub(crate) fn audit(_: &[String]) -> Outcome {
    command(checking(&mut cargo(&["deny"]), &["advisories"])).map_err(|error| {
        format!(
            "{error}\nIf the list of advisories (github.com/rustsec/advisory-db) was not reached, nothing was checked."
        )
    })
}

fn checking<'a>(deny: &'a mut Command, what: &[&str]) -> &'a mut Command {
    deny.args(["--log-level", "warn", "check"]).args(what)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::workspace::{root, target_dir};

    /// What the workspace's settings say of a crate with one dependency, `name` under `licence`.
    fn said(name: &str, licence: &str) -> (bool, String) {
        let folder = target_dir().join("tmp/deny").join(format!("{name}-{licence}"));
        let package = |name: &str, licence: &str| {
            format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2024\"\nlicense = \"{licence}\"\n")
        };
        for inner in ["src", "used/src"] {
            fs::create_dir_all(folder.join(inner)).unwrap();
            fs::write(folder.join(inner).join("lib.rs"), "").unwrap();
        }
        let used = format!("[workspace]\n[dependencies]\n{name} = {{ path = \"used\" }}\n");
        fs::write(folder.join("Cargo.toml"), package("user", "MIT") + &used).unwrap();
        fs::write(folder.join("used/Cargo.toml"), package(name, licence)).unwrap();
        fs::copy(root().join("deny.toml"), folder.join("deny.toml")).unwrap();
        let mut deny = cargo(&["deny", "--offline"]);
        let output = checking(deny.current_dir(&folder), &["licenses", "bans", "sources"]).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    #[test]
    fn what_is_not_allowed_is_refused() {
        let (passes, told) = said("free", "MIT OR GPL-3.0-only");
        assert!(passes, "{told}");
        for (name, licence, expected) in [("bound", "GPL-3.0-only", "GPL-3.0"), ("openssl-sys", "MIT", "openssl-sys")] {
            let (passes, told) = said(name, licence);
            assert!(!passes && told.contains(expected), "{name}: {told}");
        }
    }
}
