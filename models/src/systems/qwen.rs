//! What the configurations of the Qwen family have in common: the text decoder's keys, checks of the tower, composition.

use serde::Deserialize;

use super::{
    Blueprint, Grammar,
    config::{CONFIG, OneOrMany, divide, epsilon, head, size, stop, wrong},
};
use crate::{
    blocks::{
        ConnectorConfig, DecoderConfig, DecoderNames, DecoderOptions, PatchMergerConfig, QwenVitConfig, RotaryConfig,
        TowerConfig, VisionConfig,
    },
    checkpoint::{Files, LoadError},
    image::{ImageConfig, QwenImageConfig},
    prompt::{ChatFormat, ImageSlot, PositionRule},
};

/// The decoder's keys of `config.json`, at the top level or, in files written since transformers 4.52, under
/// `text_config`.
#[derive(Deserialize)]
struct TextConfig {
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
    text: TextConfig,
    pub(super) vision: V,
    image_token: u32,
    /// What answers are written in, where it is not what the architecture's publisher trained.
    pub(super) grounding: Option<String>,
    /// The decoder's layer whose attention shows where the model looks, if its publisher knows.
    heat_layer: Option<usize>,
    quotes: bool,
    relations: bool,
    grounds_only: bool,
    eos: Option<OneOrMany>,
}

/// The default side of a patch.
pub(super) fn patch_size() -> usize {
    14
}

/// The default of frames of a patch, and of patches along a side of a token.
pub(super) fn two() -> usize {
    2
}

/// A field of this project's own.
fn own<T: serde::de::DeserializeOwned>(
    json: &serde_json::Map<String, serde_json::Value>,
    key: &str,
) -> Result<Option<T>, LoadError> {
    json.get(key)
        .cloned()
        .map(serde_json::from_value)
        .transpose()
        .map_err(|error| LoadError::File { file: CONFIG.to_owned(), reason: format!("{key}: {error}") })
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
        let grounding = own(&json, "fovea_grounding")?;
        let heat_layer = own(&json, "fovea_heat_layer")?;
        let quotes = own(&json, "fovea_quotes")?.unwrap_or_default();
        let relations = own(&json, "fovea_relations")?.unwrap_or_default();
        let grounds_only = own(&json, "fovea_grounds_only")?.unwrap_or_default();
        let eos = text.get("eos_token_id").cloned().filter(|value| !value.is_null());
        Ok(Self {
            text: serde_json::from_value(text.into()).map_err(file)?,
            vision: serde_json::from_value(vision).map_err(|error| LoadError::File {
                file: CONFIG.to_owned(),
                reason: format!("vision_config: {error}"),
            })?,
            grounding,
            heat_layer,
            quotes,
            relations,
            grounds_only,
            image_token: serde_json::from_value(image_token).map_err(file)?,
            eos: eos.map(serde_json::from_value).transpose().map_err(file)?,
        })
    }

    /// The system whose tower is `tower`, with a feedforward of `inner`, and whose merger ends with a width of `out`.
    ///
    /// # Errors
    /// [`LoadError`] that names the file and the field.
    pub(super) fn compose(
        self,
        name: &'static str,
        files: Files<'_>,
        (tower, inner, out): (QwenVitConfig, usize, usize),
        grammar: Grammar,
    ) -> Result<Blueprint, LoadError> {
        let decoder = self.decoder()?;
        let merger = PatchMergerConfig { width: tower.hidden, merge: tower.merge, norm: tower.norm, out };
        check_vision(&tower, &merger, inner, decoder.hidden)?;
        Ok(Blueprint {
            name,
            image: ImageConfig::Qwen(QwenImageConfig::read(&files.preprocessor()?)?),
            slot: ImageSlot::token(self.image_token),
            positions: PositionRule::Mrope,
            chat: ChatFormat::Template,
            tiktoken: None,
            stop: stop(files, self.eos)?,
            max_positions: self.text.max_position_embeddings,
            vision: VisionConfig {
                tower: TowerConfig::QwenVit(tower),
                tower_at: "visual",
                drop_class: false,
                connector: ConnectorConfig::PatchMerger(merger),
                connector_at: "visual.merger",
                newline: None,
                apart: false,
                cross: None,
            },
            decoder,
            grammar,
            heat_layer: self.heat_layer,
            quotes: self.quotes,
            relations: self.relations,
            grounds_only: self.grounds_only,
        })
    }

    /// The decoder's sizes, checked.
    fn decoder(&self) -> Result<DecoderConfig, LoadError> {
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
            rotary: RotaryConfig { sections: sections.clone(), ..RotaryConfig::plain(text.rope_theta, head_dim) },
            qkv_bias: true,
            tied: text.tie_word_embeddings,
            names: DecoderNames::LLAMA,
            expert: None,
            cross: None,
            gated: None,
            window: None,
            options: DecoderOptions::default(),
        })
    }
}

/// Checks a tower's and its merger's sizes; the names are those that both Qwen configurations share.
fn check_vision(vision: &QwenVitConfig, merger: &PatchMergerConfig, inner: usize, out: usize) -> Result<(), LoadError> {
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
