//! `fovea ground`: where to carry out instructions on a screenshot.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fovea_models::{
    Blueprint, GenerateOptions, RunError, Session,
    grounding::{Action, GroundingError, PixelBox},
    image::{Picture, Size},
};

use crate::{
    common::Common,
    failure::{Failure, Kind, Outcome},
    input,
    json::{self, Grounding, VERSION},
    model::{Loaded, Quantisation},
    output::{self, BOLD, DIM, Output},
    picture::{self, Mark},
    progress::{Stages, Times},
    room::Room,
    standard_input::is_standard_input,
};

const EXAMPLES: &str = "\
Examples:
  fovea ground page.png \"Click Sign in\"
  fovea ground page.png \"Click Sign in\" --out marked.png --adapter llvmpipe
  fovea ground --json page.png \"Click Sign in\" \"Click Basket\" | jq .action.point
  grim - | fovea ground - \"Click Sign in\"
  fovea ground --json page.png - < instructions.txt

Exit code 7: what was asked for is not on the screen.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A screenshot: PNG, JPEG, WebP, BMP or GIF; `-` reads it from standard input.
    #[arg(value_parser = input::path())]
    image: PathBuf,
    /// What to do, such as "Click Sign in"; several are answered one after the other. `-` reads standard input, an
    /// instruction on each line, and answers each as it comes.
    #[arg(required = true, value_name = "INSTRUCTION", allow_negative_numbers = true, value_parser = input::text())]
    instructions: Vec<String>,
    /// Where to write the screenshot with the boxes [default: IMAGE with the ending .grounded.png; none with --json or
    /// from standard input].
    #[arg(long, alias = "output", value_name = "PICTURE", value_parser = input::output_path())]
    out: Option<PathBuf>,
    /// Print what the model wrote, too: its coordinates are on its own scale, and no pixels.
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    answer: AnswerArguments,
}

/// How an answer is written.
#[derive(clap::Args, Clone, Copy)]
#[command(next_help_heading = "Answer")]
pub(crate) struct AnswerArguments {
    /// Longest answer, in tokens.
    #[arg(long, value_name = "N", default_value_t = 128, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: u32,
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

/// What an answer comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reply {
    /// A place on the screen.
    Place(Mark),
    /// Something to do that has no place, such as a key.
    NoPlace,
    /// What is named is not on the screen.
    Absent,
    /// It cannot be read.
    Unreadable,
}

impl Answer {
    pub(crate) fn reply(&self) -> Reply {
        match &self.action {
            Err(_) => Reply::Unreadable,
            Ok(Action::Absent) => Reply::Absent,
            Ok(action) => match (action.target(), action.click_point()) {
                (Some(target), Some(click)) => Reply::Place(Mark { region: target.region, click }),
                _ => Reply::NoPlace,
            },
        }
    }
}

impl Arguments {
    fn check(&self) -> Outcome {
        let from_input = |text: &String| text == "-";
        if self.instructions.iter().any(|it| it.trim().is_empty()) {
            return Err(Failure::usage("the instruction is empty"));
        }
        if self.instructions.len() > 1 && self.instructions.iter().any(from_input) {
            return Err(Failure::usage("`-` reads all instructions from standard input: give no others"));
        }
        if is_standard_input(&self.image) && self.instructions.iter().any(from_input) {
            return Err(Failure::usage("standard input has either the screenshot or the instructions"));
        }
        match &self.out {
            Some(out) if input::same_file(out, &self.image) => {
                Err(Failure::usage(format_args!("--out {} would overwrite the screenshot", out.display())))
            }
            _ => Ok(()),
        }
    }

    /// Where the picture goes.
    fn out(&self, output: &Output) -> Option<PathBuf> {
        let beside = || (!output.is_json() && !is_standard_input(&self.image)).then(|| marked_name(&self.image));
        self.out.clone().or_else(beside)
    }

    /// Whether there may be several.
    fn several(&self) -> bool {
        self.instructions.len() > 1 || self.instructions.iter().any(|it| it == "-")
    }

    /// The instructions, those of standard input as they come.
    fn each(&self) -> Outcome<Box<dyn Iterator<Item = Outcome<String>> + '_>> {
        if self.instructions.iter().all(|it| it != "-") {
            return Ok(Box::new(self.instructions.iter().cloned().map(Ok)));
        }
        Ok(Box::new(input::lines()?))
    }
}

pub(crate) fn run(arguments: &Arguments, common: &Common, output: &mut Output) -> Outcome {
    arguments.check()?;
    let reading = Instant::now();
    let picture = picture::open(&arguments.image)?;
    let read = reading.elapsed();
    let room = Room::open(&common.model.find()?)?;
    let max_tokens = arguments.answer.max_tokens as usize;
    for instruction in arguments.instructions.iter().filter(|it| *it != "-") {
        room.instruction(instruction, &picture, max_tokens)?;
    }
    let loaded = common.model.load(&common.gpu, Quantisation::Q4)?;
    let mut session = Session::new(&loaded.system)?;
    let out = arguments.out(output);
    let (mut marks, mut worst): (Vec<Mark>, Option<Kind>) = (Vec::new(), None);
    for instruction in arguments.each()? {
        let instruction = instruction?;
        let asked = room
            .instruction(&instruction, &picture, max_tokens)
            .and_then(|()| answer(&mut session, &arguments.image, &picture, &instruction, arguments.answer));
        let mut answer = match asked {
            Ok(answer) => answer,
            // The next one may fit.
            Err(failure) if arguments.several() && failure.kind() == Some(Kind::Input) => {
                report_failure(&instruction, &failure, &loaded, output)?;
                worst = worse(worst, Kind::Input);
                continue;
            }
            Err(failure) => return Err(failure),
        };
        if worst.is_none() && marks.is_empty() {
            answer.times.prepare += read;
        }
        let reply = answer.reply();
        match output.is_json() {
            true => {
                let picture = out.as_deref().filter(|_| matches!(reply, Reply::Place(_)));
                output.json_line(&record(&instruction, &answer, &loaded, picture))?;
            }
            false => show(&instruction, &answer, &loaded, &picture, arguments, output)?,
        }
        match reply {
            Reply::Place(mark) => marks.push(mark),
            Reply::NoPlace => {}
            Reply::Absent => worst = worse(worst, Kind::NotFound),
            Reply::Unreadable => worst = worse(worst, Kind::Answer),
        }
    }
    output.flush()?;
    if let (Some(path), false) = (out, marks.is_empty()) {
        // The answer is what was asked for.
        match picture::write_marked(&path, &picture, &marks) {
            Ok(()) if output.is_json() => {}
            Ok(()) => output.line(format_args!("written: {}", path.display()))?,
            Err(failure) => output::warning(format_args!("no picture was written: {failure}")),
        }
    }
    worst.map_or(Ok(()), |kind| Err(Failure::Printed(kind)))
}

/// The first failure counts, a thing that is not there only if nothing fails.
fn worse(worst: Option<Kind>, kind: Kind) -> Option<Kind> {
    match worst {
        None | Some(Kind::NotFound) => Some(kind),
        earlier => earlier,
    }
}

fn record<'a>(instruction: &'a str, answer: &Answer, loaded: &Loaded, out: Option<&Path>) -> Grounding<'a> {
    let action = answer.action.as_ref();
    Grounding {
        version: VERSION,
        instruction,
        found: action.ok().map(Action::is_found),
        action: action.ok().map(Action::to_json),
        error: action.err().map(ToString::to_string),
        answer: Some(answer.text.clone()),
        looked_at: answer.looked_at.map(Into::into),
        picture: out.map(json::path),
        model: loaded.model.to_string(),
        quant: loaded.quant.name(),
        adapter: loaded.system.gpu().name().to_string(),
        image_tokens: answer.image_tokens,
        prompt_tokens: answer.prompt_tokens,
        answer_tokens: answer.tokens,
        forced_tokens: answer.forced,
        seconds: answer.times.to_json(loaded.took),
    }
}

/// An instruction that could not be asked.
fn report_failure(instruction: &str, failure: &Failure, loaded: &Loaded, output: &mut Output) -> Outcome {
    if !output.is_json() {
        output::error(format_args!("{instruction:?}: {failure}"));
        return Ok(());
    }
    output.json_line(&Grounding {
        version: VERSION,
        instruction,
        found: None,
        action: None,
        error: Some(failure.to_string()),
        answer: None,
        looked_at: None,
        picture: None,
        model: loaded.model.to_string(),
        quant: loaded.quant.name(),
        adapter: loaded.system.gpu().name().to_string(),
        image_tokens: 0,
        prompt_tokens: 0,
        answer_tokens: 0,
        forced_tokens: 0,
        seconds: Times::default().to_json(loaded.took),
    })
}

fn show(
    instruction: &str,
    answer: &Answer,
    loaded: &Loaded,
    picture: &Picture,
    arguments: &Arguments,
    output: &mut Output,
) -> Outcome {
    let name = match arguments.several() {
        true => format!("{instruction}: "),
        false => String::new(),
    };
    match (&answer.action, answer.reply()) {
        (Err(error), _) => output::error(format_args!("{name}{}", Failure::from(error.clone()))),
        (Ok(_), Reply::Absent) => output.line(format_args!("{name}{BOLD}NOT FOUND{BOLD:#} on this screen"))?,
        (Ok(action), _) => output.line(format_args!("{name}{BOLD}{}{BOLD:#}", describe(action)))?,
    }
    if arguments.verbose {
        for line in answer.text.trim().lines() {
            output.line(format_args!("{DIM}  the model wrote: {line}{DIM:#}"))?;
        }
    }
    if !arguments.several() {
        output.line("")?;
        let stages = stage_rows(loaded.took, answer, loaded.system.blueprint(), picture.size());
        output.table(&STAGE_HEADINGS, &stages)?;
        let gpu = loaded.system.gpu().name();
        output.line(format_args!("{DIM}{} in {} on {gpu}{DIM:#}", loaded.model, loaded.quant.name()))?;
    }
    output.flush()
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
    let options = GenerateOptions { max_tokens: max_tokens as usize, ..GenerateOptions::default() };
    let hear = |stage| stages.hear(stage);
    let image = pollster::block_on(session.encode(picture, &hear)).map_err(|error| match error {
        RunError::Image(error) => Failure::picture(path, &error),
        other => other.into(),
    })?;
    let asked = pollster::block_on(session.ask(instruction, &image, &hear))?;
    let prompt = &asked.prompt;
    let (ids, forced, whole) = if free {
        let ids = pollster::block_on(session.generate(prompt, &options, &hear, &mut |_| true))?;
        let whole = ids.len() < options.max_tokens;
        (ids, 0, whole)
    } else {
        let mut matcher =
            session.system().constrain(&session.system().grounding(&asked.instruction)).map_err(RunError::from)?;
        let on_token = &mut |_| true;
        let answer = pollster::block_on(session.generate_within(prompt, &mut matcher, &options, &hear, on_token))?;
        (answer.ids, answer.forced, answer.whole)
    };
    let text = session.system().decode_answer(&ids)?;
    Ok(Answer {
        action: asked.read(session.system().blueprint().grammar, &text, whole, &image),
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
