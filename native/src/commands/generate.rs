//! `fovea generate`: an answer to a prompt, printed as it is drawn.

use std::path::PathBuf;

use fovea_engine::{text::Tokenizer, weights::foreign};
use fovea_models::{BeamOptions, GenerateOptions, Hypothesis, RunError, Session, constraint::Constraint};

use crate::{
    common::Common,
    failure::{Failure, Outcome},
    input,
    json::{Generation, VERSION, Written},
    model::Quantisation,
    output::Output,
    picture,
    progress::Stages,
    prompt::{Images, Prompt, json},
    room::Room,
};

const EXAMPLES: &str = "\
Examples:
  fovea generate --model ./Qwen2-VL-2B-Instruct --image page.png \"What is this page about?\"
  fovea generate --model ./Qwen2-VL-2B-Instruct --messages conversation.json --image page.png --json
  fovea generate --model ./Qwen2-VL-2B-Instruct --beams 4 \"The capital of France is\"
  fovea generate --model ./Qwen2-VL-2B-Instruct --image page.png --regex \"yes|no\" \"Is there an error?\"";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// What to ask, after the pictures; `-` reads it from standard input.
    #[arg(required_unless_present = "messages", conflicts_with = "messages")]
    #[arg(allow_negative_numbers = true, value_parser = input::text())]
    prompt: Option<String>,
    /// A file of {"messages": [...]} or {"prompt": text}; `-` reads standard input.
    #[arg(long, value_name = "FILE", value_parser = input::path())]
    messages: Option<PathBuf>,
    #[command(flatten)]
    images: Images,
    /// Give the prompt to the model as it stands, without its chat template.
    #[arg(long)]
    raw: bool,
    /// Longest answer, in tokens.
    #[arg(long, value_name = "N", default_value_t = 256, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..), help_heading = "Answer")]
    max_tokens: u32,
    /// 0 takes the likeliest token always.
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true, help_heading = "Answer")]
    temperature: f32,
    /// Draw from this many of the likeliest tokens; 0: all.
    #[arg(long, value_name = "K", default_value_t = 0, allow_negative_numbers = true, help_heading = "Answer")]
    top_k: u32,
    /// Draw from the likeliest tokens with this total probability.
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true, help_heading = "Answer")]
    top_p: f32,
    /// Seed of the draw.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, help_heading = "Answer")]
    seed: u32,
    /// Follow this many answers side by side and print the likeliest, instead of drawing.
    #[arg(long, value_name = "N", conflicts_with_all = ["temperature", "top_k", "top_p", "seed"])]
    #[arg(allow_negative_numbers = true, help_heading = "Answer")]
    beams: Option<usize>,
    /// With --beams: rank answers by log-probability over length to this power.
    #[arg(long, value_name = "P", default_value_t = 1.0, requires = "beams", allow_negative_numbers = true)]
    #[arg(help_heading = "Answer")]
    length_penalty: f64,
    #[command(flatten)]
    form: Form,
}

/// What the answer has to look like.
#[derive(clap::Args)]
#[group(multiple = false)]
struct Form {
    /// The answer is JSON that this JSON schema describes, a file.
    #[arg(long, value_name = "FILE", value_parser = input::path(), help_heading = "Answer")]
    json_schema: Option<PathBuf>,
    /// The whole answer matches this regular expression, in the syntax of Rust's `regex`.
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true, value_parser = input::text(), help_heading = "Answer")]
    regex: Option<String>,
    /// The answer follows this grammar, a file in llguidance's dialect of Lark's EBNF, from the rule `start` on.
    #[arg(long, value_name = "FILE", value_parser = input::path(), help_heading = "Answer")]
    ebnf: Option<PathBuf>,
}

/// Longest file of a grammar or schema.
const LARGEST_GRAMMAR: u64 = 16 << 20;

impl Form {
    fn constraint(&self) -> Outcome<Option<Constraint>> {
        Ok(match self {
            Self { json_schema: Some(path), .. } => Some(Constraint::JsonSchema(json(path)?)),
            Self { regex: Some(regex), .. } => Some(Constraint::Regex(regex.clone())),
            Self { ebnf: Some(path), .. } => {
                let bytes = input::read_bounded(path, LARGEST_GRAMMAR).map_err(|error| Failure::file(path, error))?;
                let text = match foreign(&bytes) {
                    Some(what) => Err(what),
                    None => input::utf8(bytes),
                };
                Some(Constraint::Ebnf(text.map_err(|reason| Failure::file(path, reason))?))
            }
            _ => None,
        })
    }
}

pub(crate) fn run(arguments: &Arguments, common: &Common, output: &mut Output) -> Outcome {
    let &Arguments { temperature, top_k, top_p, seed, raw, .. } = arguments;
    let max_tokens = arguments.max_tokens as usize;
    if !(temperature >= 0.0 && temperature.is_finite()) {
        return Err(Failure::usage(format_args!("--temperature is {temperature}, it must be 0 or more")));
    }
    if !(1..=64).contains(&arguments.beams.unwrap_or(1)) {
        return Err(Failure::usage("--beams must be between 1 and 64"));
    }
    if !arguments.length_penalty.is_finite() {
        return Err(Failure::usage("--length-penalty must be a number"));
    }
    if !(top_p > 0.0 && top_p <= 1.0) {
        return Err(Failure::usage(format_args!("--top-p is {top_p}, it must be above 0 and at most 1")));
    }
    let constraint = arguments.form.constraint()?;
    let prompt = match (&arguments.messages, &arguments.prompt) {
        (Some(path), _) => Prompt::read(path)?,
        (None, text) => {
            let text = input::text_or_standard_input(text.as_deref().unwrap_or_default())?;
            match raw && !text.is_empty() {
                true => Prompt::Text(text),
                false => Prompt::user(arguments.images.images.len(), &text)?,
            }
        }
    };
    let pictures = arguments.images.images.iter().map(|path| picture::open(path)).collect::<Outcome<Vec<_>>>()?;
    let pictures = prompt.pictures(pictures)?;
    let room = Room::open(&common.model.find()?)?;
    room.words()?;
    room.prompt(&prompt, &pictures, max_tokens)?;
    room.constraint(constraint.as_ref())?;
    let loaded = common.model.load(&common.gpu, Quantisation::Q4)?;
    let mut session = Session::new(&loaded.system)?;
    let mut matcher = constraint.map(|it| loaded.system.constrain(&it).map_err(RunError::from)).transpose()?;

    let stages = Stages::new();
    let hear = |stage| stages.hear(stage);
    let mut images = Vec::new();
    for picture in &pictures {
        images.push(pollster::block_on(session.encode(picture, &hear))?);
    }
    let prompt = prompt.prepare(&session, &images)?;
    let tokenizer = loaded.system.tokenizer();
    if let Some(width) = arguments.beams {
        let options = BeamOptions { width, max_tokens, length_penalty: arguments.length_penalty };
        let found = pollster::block_on(session.search(&prompt, matcher.as_ref(), &options, &hear))?;
        let times = stages.finish();
        if !output.is_json() {
            let best = found.first().map(|best| tokenizer.decode(&best.ids)).transpose()?;
            return output.line(best.unwrap_or_default());
        }
        let answers = found.iter().map(|found| written(found, tokenizer)).collect::<Outcome<Vec<_>>>()?;
        let seconds = times.to_json(loaded.took);
        return output.value(&Generation { version: VERSION, prompt_tokens: prompt.ids.len(), answers, seconds });
    }
    let mut stream = tokenizer.stream();
    // A closed pipe or a broken tokenizer ends the answer.
    let mut shown: Outcome = Ok(());
    let silent = output.is_json();
    let mut show = |id| {
        let text = stream.push(id).map_err(Failure::from);
        shown = text.and_then(|text| if silent { Ok(()) } else { stages.suspend(|| output.part(&text)) });
        shown.is_ok()
    };
    let options = GenerateOptions { max_tokens, temperature, top_k, top_p, seed, ignore_stop: false };
    let (ids, whole) = match &mut matcher {
        None => {
            let ids = pollster::block_on(session.generate(&prompt, &options, &hear, &mut show))?;
            let whole = ids.len() < max_tokens;
            (ids, whole)
        }
        Some(matcher) => {
            let answer = pollster::block_on(session.generate_within(&prompt, matcher, &options, &hear, &mut show))?;
            (answer.ids, answer.whole)
        }
    };
    shown?;
    let times = stages.finish();
    if output.is_json() {
        let text = tokenizer.decode(&ids)?;
        let answers = vec![Written { text, ids, whole, log_probability: None, score: None }];
        let seconds = times.to_json(loaded.took);
        return output.value(&Generation { version: VERSION, prompt_tokens: prompt.ids.len(), answers, seconds });
    }
    output.line(stream.finish()?)
}

/// What a search has found.
fn written(found: &Hypothesis, tokenizer: &Tokenizer) -> Outcome<Written> {
    Ok(Written {
        text: tokenizer.decode(&found.ids)?,
        ids: found.ids.clone(),
        whole: found.whole,
        log_probability: Some(found.log_probability),
        score: Some(found.score),
    })
}
