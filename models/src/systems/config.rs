//! What configurations have in common: checks of sizes, stop tokens; and of Qwen's, the text decoder's keys.

use fovea_engine::op::RopeStyle;
use serde::Deserialize;

use crate::{
    blocks::{DecoderConfig, DecoderNames, PatchMergerConfig, QwenVitConfig, RotaryConfig},
    checkpoint::{Files, LoadError},
};

pub(super) const CONFIG: &str = "config.json";

/// The decoder's keys of `config.json`, at the top level or, in files written since transformers 4.52, under
/// `text_config`.
#[derive(Deserialize)]
pub(super) struct TextConfig {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    vocab_size: usize,
    rms_norm_eps: f32,
    #[serde(default = "theta")]
    rope_theta: f64,
    rope_scaling: RopeScaling,
    max_position_embeddings: usize,
    hidden_act: Option<String>,
    #[serde(default)]
    use_sliding_window: bool,
    #[serde(default)]
    tie_word_embeddings: bool,
}

fn theta() -> f64 {
    1_000_000.0
}

#[derive(Deserialize)]
struct RopeScaling {
    mrope_section: Vec<usize>,
}

/// A `config.json` with a decoder, a vision tower of type `V`, and the ids that join them.
pub(super) struct Config<V> {
    pub(super) text: TextConfig,
    pub(super) vision: V,
    pub(super) image_token: u32,
    /// What answers are written in, where it is not what the architecture's publisher trained.
    pub(super) grounding: Option<String>,
    /// The decoder's layer whose attention shows where the model looks, if its publisher knows.
    pub(super) heat_layer: Option<usize>,
    eos: Option<OneOrMany>,
}

/// Token ids, one of them without brackets.
#[derive(Deserialize, Clone)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl From<OneOrMany> for Vec<u32> {
    fn from(ids: OneOrMany) -> Self {
        match ids {
            OneOrMany::One(id) => vec![id],
            OneOrMany::Many(ids) => ids,
        }
    }
}

impl<V: serde::de::DeserializeOwned> Config<V> {
    pub(super) fn read(files: Files<'_>) -> Result<Self, LoadError> {
        let file = |error: serde_json::Error| LoadError::File { file: CONFIG.to_owned(), reason: error.to_string() };
        let mut json: serde_json::Map<String, serde_json::Value> = files.json(CONFIG)?;
        // What the nested object leaves out, such as the tied head, is at the top level.
        let mut text = json.clone();
        if let Some(serde_json::Value::Object(nested)) = json.remove("text_config") {
            text.extend(nested);
        }
        let take = |json: &mut serde_json::Map<String, serde_json::Value>, key: &str| json.remove(key);
        let vision = take(&mut json, "vision_config").ok_or_else(|| LoadError::File {
            file: CONFIG.to_owned(),
            reason: "missing field `vision_config`".to_owned(),
        })?;
        let image_token = take(&mut json, "image_token_id").ok_or_else(|| LoadError::File {
            file: CONFIG.to_owned(),
            reason: "missing field `image_token_id`".to_owned(),
        })?;
        let grounding = json.get("fovea_grounding").and_then(|value| value.as_str()).map(str::to_owned);
        let heat_layer = json.get("fovea_heat_layer").cloned().map(serde_json::from_value).transpose().map_err(file)?;
        let eos = text.get("eos_token_id").cloned().filter(|value| !value.is_null());
        Ok(Self {
            text: serde_json::from_value(text.into()).map_err(file)?,
            vision: serde_json::from_value(vision).map_err(|error| LoadError::File {
                file: CONFIG.to_owned(),
                reason: format!("vision_config: {error}"),
            })?,
            grounding,
            heat_layer,
            image_token: serde_json::from_value(image_token).map_err(file)?,
            eos: eos.map(serde_json::from_value).transpose().map_err(file)?,
        })
    }

    pub(super) fn stop(&self, files: Files<'_>) -> Result<Vec<u32>, LoadError> {
        stop(files, self.eos.clone())
    }

    pub(super) fn max_positions(&self) -> usize {
        self.text.max_position_embeddings
    }

    /// The decoder's sizes, checked.
    pub(super) fn decoder(&self) -> Result<DecoderConfig, LoadError> {
        let text = &self.text;
        let kv_heads = text.num_key_value_heads.unwrap_or(text.num_attention_heads);
        size("hidden_size", text.hidden_size, 1 << 16)?;
        size("intermediate_size", text.intermediate_size, 1 << 18)?;
        size("num_hidden_layers", text.num_hidden_layers, 1024)?;
        size("num_attention_heads", text.num_attention_heads, 1024)?;
        size("num_key_value_heads", kv_heads, 1024)?;
        size("vocab_size", text.vocab_size, 1 << 24)?;
        let head_dim = divide("hidden_size", text.hidden_size, "num_attention_heads", text.num_attention_heads)?;
        divide("num_attention_heads", text.num_attention_heads, "num_key_value_heads", kv_heads)?;
        head("hidden_size / num_attention_heads", head_dim)?;
        let sections = &text.rope_scaling.mrope_section;
        if sections.len() != 3 || sections.iter().try_fold(0usize, |sum, &n| sum.checked_add(n)) != Some(head_dim / 2) {
            let expected = format!("three numbers whose sum is {}", head_dim / 2);
            return Err(wrong("rope_scaling.mrope_section", format!("{sections:?}"), expected));
        }
        if text.hidden_act.as_deref().is_some_and(|act| act != "silu") {
            return Err(wrong("hidden_act", text.hidden_act.clone().unwrap_or_default(), "silu".to_owned()));
        }
        if text.use_sliding_window {
            return Err(wrong("use_sliding_window", "true".to_owned(), "false".to_owned()));
        }
        epsilon("rms_norm_eps", text.rms_norm_eps)?;
        if !(text.rope_theta.is_finite() && text.rope_theta > 0.0) {
            return Err(wrong("rope_theta", text.rope_theta.to_string(), "a positive number".to_owned()));
        }
        Ok(DecoderConfig {
            layers: text.num_hidden_layers,
            hidden: text.hidden_size,
            heads: text.num_attention_heads,
            kv_heads,
            head_dim,
            feedforward: text.intermediate_size,
            vocabulary: text.vocab_size,
            eps: text.rms_norm_eps,
            rotary: RotaryConfig { theta: text.rope_theta, sections: sections.clone(), style: RopeStyle::Halves },
            qkv_bias: true,
            tied: text.tie_word_embeddings,
            names: DecoderNames::LLAMA,
            expert: None,
            cross: None,
        })
    }
}

/// Ids that end an answer: those of `generation_config.json`, else `own` of `config.json`.
pub(super) fn stop(files: Files<'_>, own: Option<OneOrMany>) -> Result<Vec<u32>, LoadError> {
    #[derive(Deserialize)]
    struct Generation {
        eos_token_id: Option<OneOrMany>,
    }
    let generation = match files.get("generation_config.json") {
        Some(_) => files.json::<Generation>("generation_config.json")?.eos_token_id,
        None => None,
    };
    Ok(generation.or(own).map(Vec::from).unwrap_or_default())
}

/// Checks a tower's and its merger's sizes; the names are those that both Qwen configurations share.
pub(super) fn check_vision(
    vision: &QwenVitConfig,
    merger: &PatchMergerConfig,
    inner: usize,
    out: usize,
) -> Result<(), LoadError> {
    size("vision_config.depth", vision.depth, 1024)?;
    size("vision_config.hidden_size", vision.hidden, 1 << 16)?;
    size("vision_config.num_heads", vision.heads, 1024)?;
    size("vision_config.intermediate_size", inner, 1 << 18)?;
    size("vision_config.patch_size", vision.patch, 256)?;
    size("vision_config.temporal_patch_size", vision.temporal, 16)?;
    size("vision_config.spatial_merge_size", vision.merge, 16)?;
    if let Some(side) = vision.window {
        size("vision_config.window_size", side, 4096)?;
    }
    if let Some(side) = vision.position_grid {
        size("vision_config.num_position_embeddings", side, 256)?;
    }
    let head_dim = divide("vision_config.hidden_size", vision.hidden, "vision_config.num_heads", vision.heads)?;
    head("vision_config.hidden_size / num_heads", head_dim)?;
    if head_dim % 4 != 0 {
        let expected = "a multiple of 4".to_owned();
        return Err(wrong("vision_config.hidden_size / num_heads", head_dim.to_string(), expected));
    }
    if merger.out != out {
        let expected = format!("the decoder's hidden_size, {out}");
        return Err(wrong("vision_config.out_hidden_size", merger.out.to_string(), expected));
    }
    Ok(())
}

pub(super) fn head(field: &'static str, head_dim: usize) -> Result<(), LoadError> {
    if head_dim <= 256 && head_dim.is_multiple_of(2) {
        return Ok(());
    }
    Err(wrong(field, head_dim.to_string(), "an even head dimension of at most 256".to_owned()))
}

pub(super) fn epsilon(field: &'static str, eps: f32) -> Result<(), LoadError> {
    if eps.is_finite() && (0.0..1.0).contains(&eps) {
        return Ok(());
    }
    Err(wrong(field, eps.to_string(), "between 0 and 1".to_owned()))
}

pub(super) fn wrong(field: &'static str, got: String, expected: String) -> LoadError {
    LoadError::Field { file: CONFIG, field, got, expected }
}

pub(super) fn size(field: &'static str, got: usize, most: usize) -> Result<(), LoadError> {
    match got {
        1.. if got <= most => Ok(()),
        _ => Err(wrong(field, got.to_string(), format!("between 1 and {most}"))),
    }
}

pub(super) fn divide(field: &'static str, number: usize, by: &'static str, divisor: usize) -> Result<usize, LoadError> {
    if divisor > 0 && number.is_multiple_of(divisor) {
        return Ok(number / divisor);
    }
    Err(wrong(field, number.to_string(), format!("a multiple of {by}, {divisor}")))
}
