//! `./x lint`: rustfmt, crate boundaries, licences, clippy, what works in no browser tab.

use crate::step::{Outcome, Steps, command};
use crate::workspace::cargo;
use crate::{deny, rooms};

pub(crate) fn run(_: &[String]) -> Outcome {
    let mut steps = Steps::new();
    add(&mut steps);
    steps.finish()
}

/// The lint steps, cheapest first.
pub(crate) fn add(steps: &mut Steps) {
    steps.run("format", || command(&mut cargo(&["fmt", "--all", "--check"])));
    steps.run("rooms", || rooms::run(&[]));
    steps.run("licences", || deny::licences(&[]));
    steps.run("clippy", || {
        command(&mut cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))
    });
    steps.run("browser", || rooms::in_browser(&[]));
}
