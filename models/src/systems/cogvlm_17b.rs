//! CogVLM-17B (`THUDM/cogvlm-chat-hf` and its relatives).
//!
//! EVA2-CLIP-E at 490 or 224 -> GLU adapter with two learned rows -> Vicuna-7B with a visual expert in every layer. All
//! patches of a picture share one position; the row behind them is the language's.

use serde::Deserialize;

use super::{
    Blueprint, cog,
    config::{OneOrMany, divide, epsilon, head, only, size, stop, wrong},
    keys,
};
use crate::{
    blocks::{
        Angles, DecoderConfig, DecoderNames, DecoderOptions, ExpertConfig, GluAdapterConfig, ProjectionNames,
        RotaryConfig,
    },
    checkpoint::Files,
    error::LoadError,
    grounding::Grammar,
    image::ImageConfig,
    prompt::{ChatFormat, CogTemplate, ImageSlot, PositionRule},
};

const NAMES: DecoderNames = DecoderNames {
    projections: ProjectionNames {
        qkv: &["self_attn.language_expert_query_key_value"],
        out: "self_attn.language_expert_dense",
        gate_up: &["mlp.language_mlp.gate_proj", "mlp.language_mlp.up_proj"],
        down: "mlp.language_mlp.down_proj",
    },
    ..DecoderNames::LLAMA
};

const EXPERT: ProjectionNames = ProjectionNames {
    qkv: &["self_attn.vision_expert_query_key_value"],
    out: "self_attn.vision_expert_dense",
    gate_up: &["mlp.vision_mlp.gate_proj", "mlp.vision_mlp.up_proj"],
    down: "mlp.vision_mlp.down_proj",
};

/// The keys that CogVLM, CogVLM2 and CogAgent-18B share.
#[derive(Deserialize)]
pub(super) struct Config {
    pub(super) vision_config: cog::Vision,
    num_hidden_layers: usize,
    pub(super) hidden_size: usize,
    intermediate_size: usize,
    pub(super) num_attention_heads: usize,
    /// CogVLM2's heads of keys and values.
    num_multi_query_heads: Option<usize>,
    vocab_size: usize,
    rms_norm_eps: f32,
    max_position_embeddings: usize,
    #[serde(default)]
    tie_word_embeddings: bool,
    template_version: Option<String>,
    /// Not published: `bf16` computes rotary angles as the published bf16 weights were trained with.
    #[serde(default)]
    fovea_rotary_angles: RotaryAngles,
    bos_token_id: u32,
    pad_token_id: u32,
    eos_token_id: Option<OneOrMany>,
    hidden_act: Option<String>,
    /// CogAgent's second tower.
    pub(super) cross_hidden_size: Option<usize>,
    pub(super) cross_compute_hidden_size: Option<usize>,
    pub(super) cross_image_size: Option<u32>,
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "lowercase")]
enum RotaryAngles {
    #[default]
    F32,
    Bf16,
}

/// What differs between them.
pub(super) struct Variant {
    pub(super) name: &'static str,
    /// Outputs of the adapter's convolution.
    pub(super) convolution: Option<usize>,
    /// Positions of the adapter's own.
    pub(super) positions: Option<usize>,
    /// Whether the visual expert's queries, keys and values have biases.
    pub(super) expert_bias: bool,
    /// Base of the rotary frequencies.
    pub(super) theta: f64,
    /// Its templates by name.
    pub(super) template: fn(&str) -> Option<CogTemplate>,
}

impl Config {
    /// Refuses the second tower for a system that has none.
    pub(super) fn without_cross(&self) -> Result<(), LoadError> {
        let sides = [
            ("cross_hidden_size", self.cross_hidden_size),
            ("cross_compute_hidden_size", self.cross_compute_hidden_size),
            ("cross_image_size", self.cross_image_size.map(|side| side as usize)),
        ];
        match sides.into_iter().find_map(|(field, size)| Some((field, size?))) {
            Some((field, size)) => {
                Err(wrong(field, size.to_string(), "no such key without CogAgent's tower".to_owned()))
            }
            None => Ok(()),
        }
    }

    pub(super) fn blueprint(&self, files: Files<'_>, variant: &Variant) -> Result<Blueprint, LoadError> {
        let kv_heads = self.num_multi_query_heads.unwrap_or(self.num_attention_heads);
        size("num_hidden_layers", self.num_hidden_layers, 1024)?;
        size("hidden_size", self.hidden_size, 1 << 16)?;
        size("intermediate_size", self.intermediate_size, 1 << 18)?;
        size("num_attention_heads", self.num_attention_heads, 1024)?;
        size("num_multi_query_heads", kv_heads, 1024)?;
        size("vocab_size", self.vocab_size, 1 << 24)?;
        size("max_position_embeddings", self.max_position_embeddings, 1 << 24)?;
        epsilon("rms_norm_eps", self.rms_norm_eps)?;
        only("hidden_act", self.hidden_act.as_deref(), "silu")?;
        divide("num_attention_heads", self.num_attention_heads, "num_multi_query_heads", kv_heads)?;
        let head_dim = divide("hidden_size", self.hidden_size, "num_attention_heads", self.num_attention_heads)?;
        head("hidden_size / num_attention_heads", head_dim)?;
        let version = self.template_version.as_deref().unwrap_or("chat");
        let Some(template) = (variant.template)(version) else {
            return Err(wrong("template_version", version.to_owned(), "a template of this model".to_owned()));
        };
        let adapter = GluAdapterConfig {
            width: self.vision_config.hidden_size,
            convolution: variant.convolution,
            positions: variant.positions,
            feedforward: self.intermediate_size,
            out: self.hidden_size,
            scaling: 1.0,
        };
        let (vision, square) = self.vision_config.read("model.vision", adapter)?;
        Ok(Blueprint {
            name: variant.name,
            vision,
            decoder: DecoderConfig {
                names: NAMES,
                layers: self.num_hidden_layers,
                hidden: self.hidden_size,
                heads: self.num_attention_heads,
                kv_heads,
                head_dim,
                feedforward: self.intermediate_size,
                vocabulary: self.vocab_size,
                eps: self.rms_norm_eps,
                rotary: RotaryConfig {
                    angles: match self.fovea_rotary_angles {
                        RotaryAngles::F32 => Angles::F32,
                        RotaryAngles::Bf16 => Angles::Bf16,
                    },
                    ..RotaryConfig::plain(variant.theta, head_dim)
                },
                qkv_bias: false,
                tied: self.tie_word_embeddings,
                expert: Some(ExpertConfig { names: EXPERT, qkv_bias: variant.expert_bias }),
                cross: None,
                gated: None,
                window: None,
                options: DecoderOptions::default(),
            },
            image: ImageConfig::Squares(vec![square]),
            slot: ImageSlot::token(self.pad_token_id),
            positions: PositionRule::Shared,
            chat: ChatFormat::Cog { template, begin: self.bos_token_id, image: self.pad_token_id },
            tiktoken: None,
            stop: stop(files, [self.eos_token_id.clone()])?,
            max_positions: self.max_position_embeddings,
            grammar: Grammar::CogBoxes,
            heat_layer: None,
            quotes: false,
            relations: false,
            grounds_only: false,
        })
    }
}

pub(super) fn read(files: Files<'_>) -> Result<Blueprint, LoadError> {
    let config: Config = keys::read(files)?;
    config.without_cross()?;
    let variant = Variant {
        name: "cogvlm_17b",
        convolution: None,
        positions: None,
        expert_bias: false,
        theta: 10_000.0,
        template: CogTemplate::of_cogvlm,
    };
    config.blueprint(files, &variant)
}
