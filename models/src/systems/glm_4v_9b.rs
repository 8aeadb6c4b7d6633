//! GLM-4V-9B (`THUDM/glm-4v-9b`).
//!
//! EVA2-CLIP-E at 1120 -> 2x2 convolution, GLU adapter with two learned rows, over 8 -> GLM-4 decoder: two heads of keys
//! and values, interleaved rotary positions over half of each head. All patches of a picture share one position.

use fovea_engine::op::RopeStyle;
use serde::Deserialize;

use super::{
    Blueprint, cog,
    config::{OneOrMany, divide, epsilon, head, size, stop, wrong},
    keys,
};
use crate::{
    blocks::{DecoderConfig, DecoderNames, DecoderOptions, GluAdapterConfig, ProjectionNames, RotaryConfig},
    checkpoint::Files,
    error::LoadError,
    grounding::Grammar,
    image::ImageConfig,
    prompt::{ChatFormat, ImageSlot, PositionRule},
};

/// How text is split before its bytes merge. Source: `tokenization_chatglm.py`.
const PATTERN: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

const NAMES: DecoderNames = DecoderNames {
    at: "",
    embedding: "transformer.embedding.word_embeddings.weight",
    layers: "transformer.encoder.layers",
    input_norm: "input_layernorm",
    post_norm: "post_attention_layernorm",
    sub_norms: None,
    end_norms: None,
    projections: ProjectionNames {
        qkv: &["self_attention.query_key_value"],
        out: "self_attention.dense",
        gate_up: &["mlp.dense_h_to_4h"],
        down: "mlp.dense_4h_to_h",
    },
    norm: "transformer.encoder.final_layernorm",
    head: "transformer.output_layer.weight",
};

#[derive(Deserialize)]
struct Config {
    vision_config: cog::Vision,
    num_layers: usize,
    hidden_size: usize,
    ffn_hidden_size: usize,
    num_attention_heads: usize,
    kv_channels: usize,
    multi_query_group_num: usize,
    padded_vocab_size: usize,
    layernorm_epsilon: f32,
    #[serde(default = "one")]
    rope_ratio: f64,
    #[serde(default)]
    add_qkv_bias: bool,
    #[serde(default)]
    tie_word_embeddings: bool,
    seq_length: usize,
    pad_token_id: u32,
    boi_token_id: u32,
    eoi_token_id: u32,
    eos_token_id: Option<OneOrMany>,
    /// Distinguishes GLM-4V from CogAgent's GLM.
    #[serde(rename = "original_rope")]
    _original_rope: Option<bool>,
}

fn one() -> f64 {
    1.0
}

pub(super) fn read(files: Files<'_>) -> Result<Blueprint, LoadError> {
    let config: Config = keys::read(files)?;
    size("num_layers", config.num_layers, 1024)?;
    size("hidden_size", config.hidden_size, 1 << 16)?;
    size("ffn_hidden_size", config.ffn_hidden_size, 1 << 18)?;
    size("num_attention_heads", config.num_attention_heads, 1024)?;
    size("multi_query_group_num", config.multi_query_group_num, 1024)?;
    size("padded_vocab_size", config.padded_vocab_size, 1 << 24)?;
    size("seq_length", config.seq_length, 1 << 24)?;
    epsilon("layernorm_epsilon", config.layernorm_epsilon)?;
    head("kv_channels", config.kv_channels)?;
    let groups = config.multi_query_group_num;
    divide("num_attention_heads", config.num_attention_heads, "multi_query_group_num", groups)?;
    let pairs = divide("kv_channels", config.kv_channels, "4", 4)?;
    if !(config.rope_ratio.is_finite() && config.rope_ratio > 0.0) {
        return Err(wrong("rope_ratio", config.rope_ratio.to_string(), "a positive number".to_owned()));
    }
    let adapter = GluAdapterConfig {
        width: config.vision_config.hidden_size,
        convolution: Some(config.hidden_size),
        positions: None,
        feedforward: config.ffn_hidden_size,
        out: config.hidden_size,
        scaling: config.vision_config.scaling_factor,
    };
    let (vision, square) = config.vision_config.read("transformer.vision", adapter)?;
    Ok(Blueprint {
        name: "glm_4v_9b",
        vision,
        decoder: DecoderConfig {
            names: NAMES,
            layers: config.num_layers,
            hidden: config.hidden_size,
            heads: config.num_attention_heads,
            kv_heads: groups,
            head_dim: config.kv_channels,
            feedforward: config.ffn_hidden_size,
            vocabulary: config.padded_vocab_size,
            eps: config.layernorm_epsilon,
            rotary: RotaryConfig {
                sections: vec![pairs],
                style: RopeStyle::Interleaved,
                ..RotaryConfig::plain(10_000.0 * config.rope_ratio, config.kv_channels)
            },
            qkv_bias: config.add_qkv_bias,
            tied: config.tie_word_embeddings,
            expert: None,
            cross: None,
            gated: None,
            window: None,
            options: DecoderOptions::default(),
        },
        image: ImageConfig::Squares(vec![square]),
        slot: ImageSlot::between(config.boi_token_id, config.pad_token_id, config.eoi_token_id),
        positions: PositionRule::Shared,
        chat: ChatFormat::Glm4,
        tiktoken: Some(PATTERN),
        stop: stop(files, [config.eos_token_id])?,
        max_positions: config.seq_length,
        grammar: Grammar::CogBoxes,
        heat_layer: None,
        quotes: false,
        relations: false,
        grounds_only: false,
    })
}
