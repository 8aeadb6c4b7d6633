//! `./x docs`: the API documentation, with warnings as errors.

use crate::step::{Outcome, command};
use crate::workspace::cargo;

pub(crate) fn run(_: &[String]) -> Outcome {
    command(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}
