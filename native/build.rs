//! What `--version` prints: the version, and the commit where it is known.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=FOVEA_COMMIT");
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let given = env::var("FOVEA_COMMIT").ok();
    let commit = given.or_else(|| packaged(&folder)).or_else(|| checked_out(&folder));
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    // Anything but a hash could break the line that Cargo reads.
    match commit.filter(|commit| !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        Some(commit) => println!("cargo::rustc-env=FOVEA_VERSION={version} ({commit:.12})"),
        None => println!("cargo::rustc-env=FOVEA_VERSION={version}"),
    }
}

/// The commit that `cargo package` has noted: `{"git": {"sha1": "..."}}`.
fn packaged(folder: &Path) -> Option<String> {
    let note = fs::read_to_string(folder.join(".cargo_vcs_info.json")).ok()?;
    let (_, after) = note.split_once("\"sha1\"")?;
    after.split('"').nth(1).map(str::to_owned)
}

/// The commit of this repository's work tree. A repository that merely contains an unpacked copy is another one.
fn checked_out(folder: &Path) -> Option<String> {
    let root = fs::canonicalize(git(folder, &["rev-parse", "--show-toplevel"])?).ok()?;
    if root.join("native") != fs::canonicalize(folder).ok()? {
        return None;
    }
    // The log grows with every commit, checkout and rebase; without one, the branch's own file changes.
    let branch = git(folder, &["symbolic-ref", "--quiet", "HEAD"]);
    let watched = ["HEAD", "logs/HEAD", "packed-refs"].into_iter().chain(branch.as_deref());
    for name in watched {
        let path = git(folder, &["rev-parse", "--git-path", name]).map(|path| folder.join(path));
        // Cargo takes a watched file that does not exist for one that has changed.
        if let Some(path) = path.filter(|path| path.exists()) {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    git(folder, &["rev-parse", "HEAD"])
}

fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    // Inside a hook these name the repository that the hook is of.
    git.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("GIT_INDEX_FILE");
    let output = git.arg("-C").arg(folder).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
