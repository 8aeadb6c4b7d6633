//! `fovea score`: how likely given continuations of a prompt are. Pictures and prompt are read once for all of them.

use std::path::PathBuf;

use fovea_models::Session;

use crate::{
    common::Common,
    failure::{Failure, Outcome},
    input,
    json::{Score, Scores, VERSION},
    model::Quantisation,
    output::Output,
    picture,
    progress::Stages,
    prompt::{Images, Prompt},
    room::Room,
};

const EXAMPLES: &str = "\
Examples:
  fovea score --model ./Qwen2-VL-2B-Instruct --image page.png \"Is this a shop? Answer yes or no.\" yes no
  fovea score --model ./Qwen2-VL-2B-Instruct --raw \"3 - 4 =\" \" -1\" \" 1\"";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// What is asked, after the pictures; with --messages, the first continuation. `-` reads it from standard input.
    #[arg(value_name = "PROMPT", allow_negative_numbers = true, value_parser = input::text())]
    prompt: String,
    /// Answers to compare.
    #[arg(value_name = "CONTINUATION", allow_negative_numbers = true, value_parser = input::text())]
    continuations: Vec<String>,
    /// A file of {"messages": [...]} or {"prompt": text} instead of PROMPT; `-` reads standard input.
    #[arg(long, value_name = "FILE", value_parser = input::path())]
    messages: Option<PathBuf>,
    #[command(flatten)]
    images: Images,
    /// Give the prompt to the model as it stands, without its chat template.
    #[arg(long)]
    raw: bool,
}

pub(crate) fn run(arguments: &Arguments, common: &Common, output: &mut Output) -> Outcome {
    let mut continuations: Vec<&str> = arguments.continuations.iter().map(String::as_str).collect();
    let prompt = match &arguments.messages {
        Some(path) => {
            continuations.insert(0, &arguments.prompt);
            Prompt::read(path)?
        }
        None => {
            let text = input::text_or_standard_input(&arguments.prompt)?;
            match arguments.raw && !text.is_empty() {
                true => Prompt::Text(text),
                false => Prompt::user(arguments.images.images.len(), &text)?,
            }
        }
    };
    if continuations.is_empty() || continuations.contains(&"") {
        return Err(Failure::usage("score needs continuations that are not empty"));
    }
    let pictures = arguments.images.images.iter().map(|path| picture::open(path)).collect::<Outcome<Vec<_>>>()?;
    let pictures = prompt.pictures(pictures)?;
    let room = Room::open(&common.model.find()?)?;
    for continuation in &continuations {
        room.prompt(&prompt, &pictures, room.tokens(continuation)?)?;
    }
    let loaded = common.model.load(&common.gpu, Quantisation::Q4)?;
    let mut session = Session::new(&loaded.system)?;

    let stages = Stages::new();
    let hear = |stage| stages.hear(stage);
    let mut images = Vec::new();
    for picture in &pictures {
        images.push(pollster::block_on(session.encode(picture, &hear))?);
    }
    let tokenizer = loaded.system.tokenizer();
    let prompt = prompt.prepare(&session, &images)?;
    let mut scores = Vec::new();
    for continuation in &continuations {
        let ids = tokenizer.encode(continuation)?;
        let each = pollster::block_on(session.score(&prompt, &ids))?;
        scores.push((continuation, ids, each));
    }
    stages.finish();
    if output.is_json() {
        let continuations = scores.into_iter().map(|(&continuation, ids, each)| Score {
            continuation,
            log_probability: each.iter().sum(),
            ids,
            token_log_probabilities: each,
        });
        let continuations = continuations.collect();
        return output.value(&Scores { version: VERSION, prompt_tokens: prompt.ids.len(), continuations });
    }
    let rows: Vec<_> = scores
        .iter()
        .map(|(continuation, ids, each)| {
            let total: f64 = each.iter().sum();
            let mean = total / each.len().max(1) as f64;
            vec![format!("{continuation:?}"), format!("{total:.4}"), ids.len().to_string(), format!("{mean:.4}")]
        })
        .collect();
    output.table(&["continuation", "log probability", "tokens", "per token"], &rows)
}
