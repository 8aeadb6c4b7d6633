//! `fovea generate`: an answer to a prompt, printed as it is drawn.

use std::path::PathBuf;

use fovea_engine::text::Tokenizer;
use fovea_models::{BeamOptions, GenerateOptions, Hypothesis, Session};
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
    /// What to ask, behind the pictures.
    #[arg(required_unless_present = "messages", conflicts_with = "messages")]
    prompt: Option<String>,
    /// A file of {"messages": [...]} or {"prompt": text}.
    #[arg(long, value_name = "FILE")]
    messages: Option<PathBuf>,
    #[command(flatten)]
    images: Images,
    /// Give the prompt to the model as it stands, without its chat template.
    #[arg(long)]
    raw: bool,
    /// Longest answer, in tokens.
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_tokens: usize,
    /// 0 takes the likeliest token always.
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    temperature: f32,
    /// Draw from this many of the likeliest tokens; 0: all.
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: u32,
    /// Draw from the likeliest tokens with this total probability.
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f32,
    /// Seed of the draw.
    #[arg(long, default_value_t = 0)]
    seed: u32,
    /// Follow this many answers side by side and print the likeliest, instead of drawing.
    #[arg(long, value_name = "N", conflicts_with_all = ["temperature", "top_k", "top_p", "seed"])]
    beams: Option<usize>,
    /// With --beams: rank answers by log-probability over length to this power.
    #[arg(long, value_name = "P", default_value_t = 1.0, requires = "beams")]
    length_penalty: f64,
}

pub(crate) fn run(arguments: &Arguments, common: &Common, output: &mut Output) -> Outcome {
    let &Arguments { max_tokens, temperature, top_k, top_p, seed, raw, .. } = arguments;
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
    let prompt = match (&arguments.messages, &arguments.prompt) {
        (Some(path), _) => Prompt::read(path)?,
        (None, Some(text)) if raw && !text.is_empty() => Prompt::Text(text.clone()),
        (None, text) => Prompt::user(arguments.images.images.len(), text.as_deref().unwrap_or_default())?,
    };
    let pictures = arguments.images.images.iter().map(|path| picture::open(path)).collect::<Outcome<Vec<_>>>()?;
    let pictures = prompt.pictures(pictures)?;
    let loaded = common.model.load(&common.gpu, Quantisation::Q4)?;
    loaded.system.require_words()?;
    let mut session = Session::new(&loaded.system)?;

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
        let found = pollster::block_on(session.search(&prompt, None, &options, &hear))?;
        stages.finish();
        return show_beams(&found, tokenizer, output);
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
    let ids = pollster::block_on(session.generate(&prompt, &options, &hear, &mut show))?;
    shown?;
    let times = stages.finish();
    if output.is_json() {
        return output.value(&json!({
            "text": tokenizer.decode(&ids)?,
            "ids": ids,
            "prompt_tokens": prompt.ids.len(),
            "seconds": {
                "load": loaded.took.as_secs_f64(),
                "encode": (times.prepare + times.encode).as_secs_f64(),
                "prefill": times.prefill.as_secs_f64(),
                "decode": times.decode.as_secs_f64(),
            },
        }));
    }
    output.line(stream.finish()?)
}

/// The best answer, or all of them in JSON.
fn show_beams(found: &[Hypothesis], tokenizer: &Tokenizer, output: &mut Output) -> Outcome {
    if !output.is_json() {
        let best = found.first().map(|best| tokenizer.decode(&best.ids)).transpose()?;
        return output.line(best.unwrap_or_default());
    }
    let beams = found.iter().map(|found| {
        Ok(json!({
            "text": tokenizer.decode(&found.ids)?,
            "ids": found.ids,
            "log_probability": found.log_probability,
            "score": found.score,
            "whole": found.whole,
        }))
    });
    output.value(&json!(beams.collect::<Outcome<Vec<_>>>()?))
}
