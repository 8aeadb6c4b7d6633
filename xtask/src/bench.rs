//! `./x bench`: `fovea bench` in the release profile.

use crate::step::{Outcome, command};
use crate::workspace::cargo;

pub(crate) fn run(arguments: &[String]) -> Outcome {
    command(cargo(&["run", "--release", "--quiet", "--package", "fovea", "--", "bench"]).args(arguments))
}
