//! `fovea inspect`: a model's sizes, from its configuration alone.

use std::{path::PathBuf, str::FromStr};

use fovea_models::{Blueprint, Files, LoadError, Text, image::Size, prompt::question};

use crate::{
    common::Common,
    directory::{self, SmallFiles},
    failure::{Failure, Outcome},
    input,
    json::{Inspection, Sized, VERSION},
    model::Quantisation,
    output::{BOLD, Output, bytes, thousands},
};

/// Tokens of a question where there is no tokenizer to count them.
const QUESTION_TOKENS: usize = 64;

const EXAMPLES: &str = "\
Examples:
  fovea inspect
  fovea inspect ./Qwen2-VL-2B-Instruct --image-size 1920x1080 --json";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Directory of a published model [default: as --model].
    #[arg(value_name = "MODEL", value_parser = input::path())]
    directory: Option<PathBuf>,
    /// A picture's size, such as 1280x800; repeat it for several.
    #[arg(long = "image-size", value_name = "WxH", allow_hyphen_values = true, value_parser = ImageSize::from_str)]
    image_sizes: Vec<ImageSize>,
}

#[derive(Clone, Copy)]
struct ImageSize(Size);

impl FromStr for ImageSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sides = text.split_once(['x', 'X']).and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
        match sides {
            Some((width, height)) if width > 0 && height > 0 => Ok(Self(Size::new(width, height))),
            _ => Err("expected WIDTHxHEIGHT, such as 1280x800".to_owned()),
        }
    }
}

pub(crate) fn run(arguments: &Arguments, common: &Common, output: &mut Output) -> Outcome {
    let asked = arguments.directory.as_deref().or(common.model.model.as_deref());
    let model = directory::find(asked)?;
    let load = |error| Failure::load(&model, error);
    let files = SmallFiles::read(&model)?;
    let blueprint = Blueprint::read(files.files()).map_err(load)?;
    let text = question_tokens(&blueprint, files.files()).map_err(load)?;

    let mut sizes: Vec<Size> = arguments.image_sizes.iter().map(|size| size.0).collect();
    if sizes.is_empty() {
        sizes =
            [(640, 480), (1280, 800), (1920, 1080), (2560, 1440), (3840, 2160)].map(|(w, h)| Size::new(w, h)).into();
    }
    let parts = blueprint.parameters();
    let total: u64 = parts.iter().map(|(_, count)| count).sum();
    let mut pictures = Vec::new();
    for &size in &sizes {
        let resized = blueprint.image.resized_size(size).map_err(|error| load(error.into()))?;
        let tokens = blueprint.image_tokens(size).map_err(load)?;
        let (encode, prefill) = blueprint.flops(size, text).map_err(load)?;
        pictures.push((size, resized, tokens, encode, prefill));
    }
    let kv = blueprint.decoder.kv_bytes();
    let quant = common.model.one_quant(Quantisation::Q4)?;
    let cross = quant.policy().cross;
    let cross_kv_of =
        |size: Size| blueprint.decoder.cross_kv_bytes(blueprint.cross_tokens(size).unwrap_or_default(), cross);
    let kv_of = |tokens: usize, size: Size| (tokens + text) as u64 * kv + cross_kv_of(size);
    let weights = Quantisation::ALL.map(|quant| (quant.name(), blueprint.weight_bytes(&quant.policy())));

    if output.is_json() {
        let images = pictures.iter().map(|&(size, resized, tokens, encode, prefill)| Sized {
            size: [size.width, size.height],
            resized: [resized.width, resized.height],
            image_tokens: tokens,
            prompt_tokens: tokens + text,
            encode_flops: encode,
            prefill_flops: prefill,
            score_flops: blueprint.score_flops(size, text).unwrap_or_default(),
            cross_tokens: blueprint.cross_tokens(size).unwrap_or_default(),
            cross_kv_bytes: cross_kv_of(size),
            kv_cache_bytes: kv_of(tokens, size),
        });
        return output.value(&Inspection {
            version: VERSION,
            model: model.to_string(),
            system: blueprint.name,
            parameters: parts.into_iter().collect(),
            total_parameters: total,
            weight_bytes: weights.into_iter().collect(),
            quant: quant.name(),
            kv_cache_bytes_per_token: kv,
            question_tokens: text,
            images: images.collect(),
        });
    }
    output.line(format_args!("{BOLD}{model}{BOLD:#} ({})", blueprint.name))?;
    output.line("")?;
    let mut rows: Vec<_> = parts.iter().map(|(name, count)| vec![(*name).to_owned(), thousands(*count)]).collect();
    rows.push(vec!["total".to_owned(), thousands(total)]);
    output.table(&["part", "parameters"], &rows)?;
    output.line("")?;
    let rows: Vec<_> = weights.iter().map(|(name, size)| vec![(*name).to_owned(), bytes(*size)]).collect();
    output.table(&["weights in", "on the GPU"], &rows)?;
    output.line("")?;
    let gflop = |flops: u64| format!("{:.2}", flops as f64 / 1e9);
    let rows: Vec<_> = pictures
        .iter()
        .map(|(size, resized, tokens, encode, prefill)| {
            vec![
                format!("{}x{}", size.width, size.height),
                format!("{}x{}", resized.width, resized.height),
                tokens.to_string(),
                gflop(*encode),
                gflop(*prefill),
                gflop(encode + prefill),
                gflop(blueprint.score_flops(*size, text).unwrap_or_default()),
                bytes(kv_of(*tokens, *size)),
            ]
        })
        .collect();
    output.table(
        &["picture", "resized", "tokens", "encode GFLOP", "prefill GFLOP", "sum", "of it scores", "KV cache"],
        &rows,
    )?;
    output.line(format_args!(
        "prefill and KV cache with a question of {text} tokens; keys and values in f32, {} a token",
        bytes(kv)
    ))?;
    match sizes.iter().map(|&size| cross_kv_of(size)).max() {
        None | Some(0) => Ok(()),
        Some(most) => output.line(format_args!(
            "of it up to {} for the picture that layers attend to, in {} with {} weights (--quant)",
            bytes(most),
            cross.name(),
            quant.name()
        )),
    }
}

/// Tokens of a short question beside the picture's.
fn question_tokens(blueprint: &Blueprint, files: Files<'_>) -> Result<usize, LoadError> {
    let text = match Text::open(files, blueprint) {
        Err(LoadError::MissingFile { .. }) => return Ok(QUESTION_TOKENS),
        other => other?,
    };
    let ids = text.ids(&question(blueprint.grammar, "click Sign in"));
    Ok(ids.map_or(QUESTION_TOKENS, |ids| ids.len().saturating_sub(blueprint.slot.width())))
}
