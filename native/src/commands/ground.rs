//! `fovea ground`: where to carry out an instruction on a screenshot.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fovea_models::{
    Blueprint, GenerateOptions, RunError, Session,
    grounding::{Action, GroundingError, PixelBox},
    image::{Picture, Size},
};
use serde_json::json;

use crate::{
    Common,
    failure::{Failure, Outcome},
    model::Quantisation,
    output::{BOLD, DIM, Output},
    picture,
    progress::{Stages, Times},
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A screenshot: PNG, JPEG, WebP, BMP or GIF.
    image: PathBuf,
    /// What to do, such as "Click Sign in".
    instruction: String,
    /// Where to write the screenshot with the box [default: IMAGE with the ending .grounded.png].
    #[arg(long, alias = "output", value_name = "PICTURE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    answer: AnswerArguments,
}

/// How an answer is written.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct AnswerArguments {
    /// Longest answer, in tokens.
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub(crate) max_tokens: usize,
    /// Let the model write whatever it likes; without this it keeps to its grammar, so that every answer can be read.
    #[arg(long)]
    pub(crate) free: bool,
}

const STAGE_HEADINGS: [&str; 4] = ["stage", "time", "work", "rate"];

/// An instruction's answer, read or not.
pub(crate) struct Answer {
    pub(crate) text: String,
    /// In pixels of the screenshot.
    pub(crate) action: Result<Action<PixelBox>, GroundingError>,
    /// The part of the screenshot that was looked at again, which the text is about.
    pub(crate) looked_at: Option<PixelBox>,
    pub(crate) tokens: usize,
    /// Of which the grammar forced.
    pub(crate) forced: usize,
    pub(crate) prompt_tokens: usize,
    pub(crate) image_tokens: usize,
    /// Whether the prompt has a part of them only, and another was read before it.
    pub(crate) part: bool,
    pub(crate) resized: Size,
    pub(crate) times: Times,
}

pub(crate) fn run(arguments: &Arguments, common: &Common, output: &mut Output) -> Outcome {
    if arguments.instruction.trim().is_empty() {
        return Err(Failure::usage("the instruction is empty"));
    }
    let reading = Instant::now();
    let picture = picture::open(&arguments.image)?;
    let read = reading.elapsed();
    let loaded = common.model.load(&common.gpu, Quantisation::Q4)?;
    let mut session = Session::new(&loaded.system)?;
    let mut answer = answer(&mut session, &arguments.image, &picture, &arguments.instruction, arguments.answer)?;
    answer.times.prepare += read;
    let blueprint = loaded.system.blueprint();
    let stages = stage_rows(loaded.took, &answer, blueprint, picture.size());
    let action = match answer.action {
        Ok(action) => action,
        Err(error) => {
            if !output.is_json() {
                output.table(&STAGE_HEADINGS, &stages)?;
            }
            return Err(error.into());
        }
    };
    let written = match (action.target(), action.click_point()) {
        (Some(target), Some(click)) => {
            let path = arguments.out.clone().unwrap_or_else(|| marked_name(&arguments.image));
            picture::write_marked(&path, &picture, target.region, click)?;
            Some(path)
        }
        _ => None,
    };
    if output.is_json() {
        return output.value(&json!({
            "action": action.to_json(),
            "answer": answer.text,
            "looked_at": answer.looked_at.map(|part| part.to_json()),
            "picture": written,
            "model": loaded.directory,
            "quant": loaded.quant.name(),
            "adapter": loaded.system.gpu().name().to_string(),
            "image_tokens": answer.image_tokens,
            "prompt_tokens": answer.prompt_tokens,
            "answer_tokens": answer.tokens,
            "forced_tokens": answer.forced,
            "seconds": {
                "load": loaded.took.as_secs_f64(),
                "prepare": answer.times.prepare.as_secs_f64(),
                "encode": answer.times.encode.as_secs_f64(),
                "prefill": answer.times.prefill.as_secs_f64(),
                "decode": answer.times.decode.as_secs_f64(),
            },
        }));
    }
    output.line(format_args!("{BOLD}{}{BOLD:#}", describe(&action)))?;
    for line in answer.text.trim().lines() {
        output.line(format_args!("{DIM}  {line}{DIM:#}"))?;
    }
    output.line("")?;
    output.table(&STAGE_HEADINGS, &stages)?;
    let gpu = loaded.system.gpu().name();
    output.line(format_args!("{DIM}{} in {} on {gpu}{DIM:#}", loaded.directory.display(), loaded.quant.name()))?;
    match written {
        Some(path) => output.line(format_args!("written: {}", path.display())),
        None if action == Action::Absent => output.line("nothing to draw: the model sees nothing like that here"),
        None if action == Action::End => output.line("nothing to draw: the model takes the task as done"),
        None => output.line("nothing to draw: the action has no place on the screen"),
    }
}

/// Asks for a place and times every stage.
pub(crate) fn answer(
    session: &mut Session,
    path: &Path,
    picture: &Picture,
    instruction: &str,
    AnswerArguments { max_tokens, free }: AnswerArguments,
) -> Outcome<Answer> {
    let stages = Stages::new();
    let options = GenerateOptions { max_tokens, ..GenerateOptions::default() };
    let hear = |stage| stages.hear(stage);
    let image = pollster::block_on(session.encode(picture, &hear)).map_err(|error| match error {
        RunError::Image(error) => Failure::picture(path, &error),
        other => other.into(),
    })?;
    let asked = pollster::block_on(session.ask(instruction, &image, &hear))?;
    let prompt = &asked.prompt;
    let (ids, forced) = if free {
        (pollster::block_on(session.generate(prompt, &options, &hear, &mut |_| true))?, 0)
    } else {
        let mut matcher =
            session.system().constrain(&session.system().grounding(&asked.instruction)).map_err(RunError::from)?;
        let on_token = &mut |_| true;
        let answer = pollster::block_on(session.generate_within(prompt, &mut matcher, &options, &hear, on_token))?;
        (answer.ids, answer.forced)
    };
    let text = session.system().decode_answer(&ids)?;
    Ok(Answer {
        action: asked.read(session.system().blueprint().grammar, &text, &image),
        looked_at: asked.closer.as_ref().map(|closer| closer.part()),
        text,
        tokens: ids.len(),
        forced,
        prompt_tokens: prompt.ids.len(),
        image_tokens: image.rows(),
        part: asked.prompt.part,
        resized: image.resized,
        times: stages.finish(),
    })
}

/// `shot.png` becomes `shot.grounded.png`, beside it.
fn marked_name(image: &Path) -> PathBuf {
    let mut name = image.file_stem().unwrap_or_default().to_owned();
    name.push(".grounded.png");
    image.with_file_name(name)
}

fn stage_rows(load: Duration, answer: &Answer, blueprint: &Blueprint, size: Size) -> Vec<Vec<String>> {
    let times = answer.times;
    let row = |name: &str, time: Duration, work: String, rate: String| {
        vec![name.to_owned(), format!("{:.0} ms", time.as_secs_f64() * 1e3), work, rate]
    };
    let text_tokens = answer.prompt_tokens.saturating_sub(answer.image_tokens);
    let (encode, prefill) = blueprint.flops(size, text_tokens).unwrap_or_default();
    let gflops = |flops: u64, time: Duration| {
        let seconds = time.as_secs_f64().max(1e-9);
        format!("{:.1} GFLOP, {:.1} GFLOP/s", flops as f64 / 1e9, flops as f64 / 1e9 / seconds)
    };
    let resized = answer.resized;
    let pixels = format!("{}x{} to {}x{}", size.width, size.height, resized.width, resized.height);
    let written = match answer.forced {
        0 => format!("{} tokens", answer.tokens),
        forced => format!("{} tokens, {forced} of them forced", answer.tokens),
    };
    let rate = answer.tokens as f64 / times.decode.as_secs_f64().max(1e-9);
    vec![
        row("load", load, String::new(), String::new()),
        row("prepare", times.prepare, pixels, String::new()),
        row("encode", times.encode, format!("{} image tokens", answer.image_tokens), gflops(encode, times.encode)),
        match answer.part {
            false => row(
                "prefill",
                times.prefill,
                format!("{} tokens", answer.prompt_tokens),
                gflops(prefill, times.prefill),
            ),
            // What the other prompt cost is in the time, and not in the work.
            true => row("prefill", times.prefill, format!("{} tokens at last", answer.prompt_tokens), String::new()),
        },
        row("decode", times.decode, written, format!("{rate:.1} tokens/s")),
    ]
}

/// The action in one line.
pub(crate) fn describe(action: &Action<PixelBox>) -> String {
    let name = action.kind().to_uppercase();
    let place = match (action.target(), action.click_point()) {
        (Some(target), Some(click)) => {
            let region = target.region;
            let corners = [region.left(), region.top(), region.right(), region.bottom()].map(|it| format!("{it:.0}"));
            format!(" at ({:.0}, {:.0}), box [{}]", click.x, click.y, corners.join(", "))
        }
        _ => String::new(),
    };
    let detail = match action {
        Action::Type { text, .. } => format!(", text {text:?}"),
        Action::Scroll { direction, steps, .. } => format!(", {steps} steps {direction:?}").to_lowercase(),
        Action::KeyPress { key } => format!(" {key}"),
        Action::Launch { app, url } => format!(" {}", url.as_deref().or(app.as_deref()).unwrap_or_default()),
        Action::Gesture(keys) => format!(" {keys:?}"),
        _ => String::new(),
    };
    format!("{name}{place}{detail}")
}

#[cfg(test)]
mod tests {
    use fovea_models::grounding::Target;

    use super::*;

    #[test]
    fn one_line_says_it_all() {
        let target = Target::at(PixelBox::new(10.0, 20.0, 30.0, 60.0));
        assert_eq!(describe(&Action::Click(target.clone())), "CLICK at (20, 40), box [10, 20, 30, 60]");
        let typed = Action::Type { target, text: "anna".to_owned() };
        assert_eq!(describe(&typed), "TYPE at (20, 40), box [10, 20, 30, 60], text \"anna\"");
        assert_eq!(describe(&Action::End), "END");
    }

    #[test]
    fn the_picture_lies_beside_the_screenshot() {
        assert_eq!(marked_name(Path::new("a/b.c.jpg")), Path::new("a/b.c.grounded.png"));
    }
}
