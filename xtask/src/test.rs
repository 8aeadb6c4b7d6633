//! `./x test`: everything that must pass before a change lands.
//!
//! With arguments, only the matching unit and integration tests run: `./x test matmul`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::step::{Outcome, Steps, command, shown};
use crate::vulkan::with_test_adapters;
use crate::workspace::{cargo, root, target_dir};
use crate::{lint, web};

pub(crate) fn run(filter: &[String]) -> Outcome {
    if !filter.is_empty() {
        return nextest("default", filter);
    }
    let mut counts = Counts::default();
    let mut steps = Steps::new();
    lint::add(&mut steps);
    let _ = fs::remove_file(junit());
    steps.run("tests", || nextest("all", &[]));
    counts.add_nextest();
    steps.run("doc tests", || doc_tests(&mut counts));
    // What `./x wasm` checks is built here.
    steps.run("web", || web::build(false));
    steps.run("bridge", || libtest(web::bridge_tests()?, &mut counts));
    steps.run("package", || node_tests("test", &mut counts));
    steps.run("browser", || node_tests("../../tests/browser", &mut counts));
    steps.run("bundles", || {
        // Bundlers are many megabytes: only this needs them.
        web::install(&root().join("tests/bundles"))?;
        node_tests("../../tests/bundles", &mut counts)
    });
    let outcome = steps.finish();
    println!("\n{} passed, {} failed", counts.passed, counts.failed);
    outcome
}

fn nextest(profile: &str, filter: &[String]) -> Outcome {
    let mut nextest = cargo(&["nextest", "run", "--workspace", "--profile", profile, "--no-tests", "pass"]);
    command(with_test_adapters(nextest.args(filter))?)
}

/// nextest runs no doc tests.
fn doc_tests(counts: &mut Counts) -> Outcome {
    let mut test = cargo(&["test", "--workspace", "--doc"]);
    with_test_adapters(&mut test)?;
    libtest(test, counts)
}

/// Tests that report as Rust's own harness does.
fn libtest(mut test: Command, counts: &mut Counts) -> Outcome {
    println!("$ {}", shown(&test));
    let output = test.stderr(Stdio::inherit()).output().map_err(|error| format!("cargo did not start: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    counts.add_libtest(&text);
    if output.status.success() { Ok(()) } else { Err(format!("cargo test ended with {}", output.status)) }
}

/// Tests of Node's own runner, one file after the other: a browser fills the machine.
fn node_tests(folder: &str, counts: &mut Counts) -> Outcome {
    let package = web::package();
    let is_test = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".test.js") || name.ends_with(".test.mjs")
    };
    let files = fs::read_dir(package.join(folder)).map_err(|error| format!("{folder}: {error}"))?;
    let mut files: Vec<PathBuf> = files.flatten().map(|entry| entry.path()).filter(is_test).collect();
    files.sort();
    let mut test = web::node(&package, "--test");
    test.args(["--test-concurrency=1", "--test-reporter=tap"]).args(files);
    // The tests that came before have built it.
    test.env("FOVEA_NATIVE", target_dir().join("debug/fovea"));
    println!("$ {}", shown(&test));
    let output = test.stderr(Stdio::inherit()).output().map_err(|error| format!("node did not start: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    counts.add_tap(&text);
    if output.status.success() { Ok(()) } else { Err(format!("node --test ended with {}", output.status)) }
}

/// nextest's store, which does not move with the build directory.
fn junit() -> PathBuf {
    root().join("target/nextest/all/junit.xml")
}

/// Tests of all kinds.
#[derive(Default, Debug, PartialEq)]
struct Counts {
    passed: usize,
    failed: usize,
}

impl Counts {
    fn add_nextest(&mut self) {
        let report = fs::read_to_string(junit()).unwrap_or_default();
        self.add_junit(&report);
    }

    /// Reads the totals of a JUnit report's first element.
    fn add_junit(&mut self, report: &str) {
        let Some(element) = report.split_once("<testsuites ").and_then(|(_, rest)| rest.split('>').next()) else {
            return;
        };
        let number = |name: &str| -> usize {
            let value = element.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split('"').next());
            value.and_then(|value| value.parse().ok()).unwrap_or(0)
        };
        let failed = number(" failures") + number(" errors");
        self.failed += failed;
        self.passed += number(" tests").saturating_sub(failed);
    }

    /// Reads the totals at the end of Node's report: `# pass 3`, `# fail 0`.
    fn add_tap(&mut self, output: &str) {
        let total = |name: &str| -> usize {
            let line = output.lines().rev().find_map(|line| line.strip_prefix("# ")?.strip_prefix(name));
            line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
        };
        self.passed += total("pass ");
        self.failed += total("fail ") + total("cancelled ");
    }

    /// Reads lines such as `test result: ok. 3 passed; 0 failed; ...`.
    fn add_libtest(&mut self, output: &str) {
        for line in output.lines().filter(|line| line.starts_with("test result:")) {
            let before = |word: &str| -> usize {
                let words: Vec<&str> = line.split([' ', ';', '.']).filter(|part| !part.is_empty()).collect();
                let at = words.iter().position(|part| *part == word);
                at.and_then(|at| words[at.checked_sub(1)?].parse().ok()).unwrap_or(0)
            };
            self.passed += before("passed");
            self.failed += before("failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up() {
        let mut counts = Counts::default();
        counts.add_junit(r#"<?xml?><testsuites name="nextest-run" tests="7" failures="2" errors="1" time="1">"#);
        counts.add_libtest("running 2 tests\ntest result: FAILED. 5 passed; 1 failed; 0 ignored; finished in 0.00s");
        counts.add_tap("ok 1 - a\n# tests 7\n# pass 4\n# fail 2\n# cancelled 1\n");
        assert_eq!(counts, Counts { passed: 13, failed: 7 });
    }

    #[test]
    fn no_report_counts_nothing() {
        let mut counts = Counts::default();
        counts.add_junit("");
        counts.add_libtest("error: could not compile");
        assert_eq!(counts, Counts::default());
    }
}
