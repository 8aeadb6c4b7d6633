//! `./x ground`: builds Fovea and grounds an instruction in a screenshot.
//!
//! Without arguments it takes the first picture of `models/nano/samples`, and its instruction from the
//! text file beside it with the same name.

use std::fs;
use std::path::PathBuf;

use crate::Outcome;
use crate::step::command;
use crate::workspace::{cargo, root, target_dir};

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let (image, instruction) = match arguments {
        [] => sample()?,
        [image, instruction] => (PathBuf::from(image), instruction.clone()),
        _ => return Err("usage: ./x ground [IMAGE INSTRUCTION]".to_owned()),
    };
    let picture = target_dir().join("ground.png");

    command(&mut cargo(&["build", "--release", "--package", "fovea"]))?;
    let mut fovea = cargo(&["run", "--release", "--quiet", "--package", "fovea", "--", "ground"]);
    command(fovea.arg(image).arg(instruction).arg("--output").arg(&picture))?;
    println!("the picture with the box: {}", picture.display());
    Ok(())
}

fn sample() -> Result<(PathBuf, String), String> {
    let folder = root().join("models/nano/samples");
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let image = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "png"))
        .min()
        .ok_or_else(|| format!("{}: holds no PNG picture", folder.display()))?;
    let text = image.with_extension("txt");
    let instruction = fs::read_to_string(&text).map_err(|error| format!("{}: {error}", text.display()))?;
    Ok((image, instruction.trim().to_owned()))
}
