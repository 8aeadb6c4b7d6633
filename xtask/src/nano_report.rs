//! `./x nano-report`: nano's answers to the shipped questions, as a table and as a page of pictures.

use crate::step::{Outcome, command};
use crate::workspace::{cargo, root, target_dir};

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let (nano, page) = (root().join("models/nano"), target_dir().join("nano-report/index.html"));
    command(&mut cargo(&["build", "--release", "--package", "fovea"]))?;
    let mut eval = cargo(&["run", "--release", "--quiet", "--package", "fovea", "--", "eval"]);
    eval.arg(nano.join("eval/annotations.json")).arg("--images").arg(nano.join("eval")).arg("--model").arg(&nano);
    command(eval.arg("--report").arg(&page).args(arguments))?;
    println!("{}", page.display());
    Ok(())
}
