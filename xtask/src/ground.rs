//! `./x ground`: builds Fovea and grounds an instruction in a screenshot.
//!
//! Without arguments it grounds the sample that ships with the default model.

use std::path;

use crate::step::{Outcome, command};
use crate::workspace::{cargo, root, target_dir};

const SAMPLE: (&str, &str) = ("models/nano/samples/signin.png", "Click Sign in");

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let (image, instruction) = match arguments {
        [] => (root().join(SAMPLE.0), SAMPLE.1),
        // The program runs in the repository's root, whatever the folder that the path was typed in.
        [image, instruction] => (path::absolute(image).map_err(|error| error.to_string())?, instruction.as_str()),
        _ => return Err("usage: ./x ground [IMAGE INSTRUCTION]".to_owned()),
    };
    let picture = target_dir().join("ground.png");

    command(&mut cargo(&["build", "--release", "--package", "fovea"]))?;
    let mut fovea = cargo(&["run", "--release", "--quiet", "--package", "fovea", "--", "ground"]);
    command(fovea.arg(image).arg(instruction).arg("--out").arg(&picture))
}
