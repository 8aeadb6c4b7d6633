//! `fovea score`: how likely given continuations of a prompt are. Pictures and prompt are read once for all of them.

use std::path::PathBuf;

use fovea_models::Session;
use serde_json::json;

use crate::{
    Common,
    failure::{Failure, Outcome},
    model::Quantisation,
    output::Output,
    picture,
    progress::Stages,
    prompt::{Images, Prompt},
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What is asked, behind the pictures; with --messages, the first continuation.
    #[arg(value_name = "PROMPT")]
    prompt: String,
    /// Answers to compare.
    #[arg(value_name = "CONTINUATION")]
    continuations: Vec<String>,
    /// A file of {"messages": [...]} or {"prompt": text} instead of PROMPT.
    #[arg(long, value_name = "FILE")]
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
        None if arguments.raw && !arguments.prompt.is_empty() => Prompt::Text(arguments.prompt.clone()),
        None => Prompt::user(arguments.images.images.len(), &arguments.prompt)?,
    };
    if continuations.is_empty() || continuations.contains(&"") {
        return Err(Failure::usage("score needs continuations that are not empty"));
    }
    let pictures = arguments.images.images.iter().map(|path| picture::open(path)).collect::<Outcome<Vec<_>>>()?;
    let pictures = prompt.pictures(pictures)?;
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
        let scores: Vec<_> = scores
            .iter()
            .map(|(continuation, ids, each)| {
                json!({
                    "continuation": continuation,
                    "log_probability": each.iter().sum::<f64>(),
                    "ids": ids,
                    "token_log_probabilities": each,
                })
            })
            .collect();
        return output.value(&json!(scores));
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
