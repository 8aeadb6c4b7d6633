//! The `text_config` of systems in the layout of `transformers`: LLaMA and the decoders that differ from it in little.
//! Keys that a file leaves out have the defaults of its `model_type`.

use fovea_engine::op::Activation;
use serde::Deserialize;

use super::config::{activation, divide, epsilon, head, size, wrong};
use crate::{
    blocks::{DecoderConfig, DecoderNames, DecoderOptions, RotaryConfig},
    checkpoint::LoadError,
};

/// A decoder's keys.
#[derive(Deserialize)]
pub(super) struct TextConfig {
    #[serde(default)]
    model_type: String,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: Option<usize>,
    rms_norm_eps: Option<f32>,
    rope_theta: Option<f64>,
    max_position_embeddings: Option<usize>,
    hidden_act: Option<String>,
    /// Absent and null differ: by default Mistral has a window.
    #[serde(default, deserialize_with = "some")]
    sliding_window: Option<Option<usize>>,
    #[serde(default)]
    use_sliding_window: bool,
    tie_word_embeddings: Option<bool>,
    pub(super) eos_token_id: Option<super::config::OneOrMany>,
}

/// A value that is there, be it null.
fn some<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<usize>>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// The defaults of a `model_type`, of the configuration classes of transformers 4.57.1.
struct Defaults {
    hidden: usize,
    feedforward: usize,
    layers: usize,
    heads: usize,
    kv_heads: Option<usize>,
    head_dim: Option<usize>,
    vocabulary: usize,
    positions: usize,
    window: Option<usize>,
    qkv_bias: bool,
    tied: bool,
    activation: Activation,
    /// Gemma's norms and embeddings.
    gemma: bool,
}

const LLAMA: Defaults = Defaults {
    hidden: 4096,
    feedforward: 11_008,
    layers: 32,
    heads: 32,
    kv_heads: None,
    head_dim: None,
    vocabulary: 32_000,
    positions: 2048,
    window: None,
    qkv_bias: false,
    tied: false,
    activation: Activation::Silu,
    gemma: false,
};

impl Defaults {
    fn of(model_type: &str) -> Result<Self, LoadError> {
        match model_type {
            "llama" => Ok(LLAMA),
            "mistral" => {
                Ok(Self { feedforward: 14_336, kv_heads: Some(8), positions: 131_072, window: Some(4096), ..LLAMA })
            }
            "qwen2" => Ok(Self {
                feedforward: 22_016,
                kv_heads: Some(32),
                vocabulary: 151_936,
                positions: 32_768,
                qkv_bias: true,
                ..LLAMA
            }),
            "gemma" => Ok(Self {
                feedforward: 24_576,
                vocabulary: 256_000,
                positions: 8192,
                hidden: 3072,
                layers: 28,
                heads: 16,
                head_dim: Some(256),
                tied: true,
                activation: Activation::GeluTanh,
                gemma: true,
                ..LLAMA
            }),
            other => {
                let expected = "llama, mistral, qwen2 or gemma".to_owned();
                Err(wrong("text_config.model_type", other.to_owned(), expected))
            }
        }
    }
}

/// A decoder, and the longest sequence that it reads as it was trained to.
pub(super) struct Text {
    pub(super) decoder: DecoderConfig,
    pub(super) max_positions: usize,
}

impl TextConfig {
    /// The decoder's sizes, checked; `tied` is what the whole configuration says of the head.
    pub(super) fn read(&self, names: DecoderNames, tied: Option<bool>) -> Result<Text, LoadError> {
        let defaults = Defaults::of(&self.model_type)?;
        let hidden = self.hidden_size.unwrap_or(defaults.hidden);
        let heads = self.num_attention_heads.unwrap_or(defaults.heads);
        let kv_heads = self.num_key_value_heads.or(defaults.kv_heads).unwrap_or(heads);
        let feedforward = self.intermediate_size.unwrap_or(defaults.feedforward);
        let layers = self.num_hidden_layers.unwrap_or(defaults.layers);
        let vocabulary = self.vocab_size.unwrap_or(defaults.vocabulary);
        let positions = self.max_position_embeddings.unwrap_or(defaults.positions);
        let eps = self.rms_norm_eps.unwrap_or(1e-6);
        let theta = self.rope_theta.unwrap_or(10_000.0);
        size("text_config.hidden_size", hidden, 1 << 16)?;
        size("text_config.intermediate_size", feedforward, 1 << 18)?;
        size("text_config.num_hidden_layers", layers, 1024)?;
        size("text_config.num_attention_heads", heads, 1024)?;
        size("text_config.num_key_value_heads", kv_heads, 1024)?;
        size("text_config.vocab_size", vocabulary, 1 << 24)?;
        size("text_config.max_position_embeddings", positions, 1 << 24)?;
        divide("text_config.num_attention_heads", heads, "num_key_value_heads", kv_heads)?;
        let head_dim = match self.head_dim.or(defaults.head_dim) {
            Some(head_dim) => head_dim,
            None => divide("text_config.hidden_size", hidden, "num_attention_heads", heads)?,
        };
        size("text_config.head_dim", head_dim, 256)?;
        head("text_config.head_dim", head_dim)?;
        epsilon("text_config.rms_norm_eps", eps)?;
        if !(theta.is_finite() && theta > 0.0) {
            return Err(wrong("text_config.rope_theta", theta.to_string(), "a positive number".to_owned()));
        }
        let activation = activation("text_config.hidden_act", self.hidden_act.as_deref(), defaults.activation)?;
        // Within its window, attention is what it is without one.
        let window = match self.model_type.as_str() {
            "qwen2" if !self.use_sliding_window => None,
            _ => self.sliding_window.unwrap_or(defaults.window),
        };
        let decoder = DecoderConfig {
            names,
            layers,
            hidden,
            heads,
            kv_heads,
            head_dim,
            feedforward,
            vocabulary,
            eps,
            rotary: RotaryConfig::plain(theta, head_dim),
            qkv_bias: defaults.qkv_bias,
            tied: tied.or(self.tie_word_embeddings).unwrap_or(defaults.tied),
            expert: None,
            cross: None,
            gated: None,
            options: DecoderOptions {
                activation,
                norm_plus_one: defaults.gemma,
                embedding_scale: if defaults.gemma { (hidden as f32).sqrt() } else { 1.0 },
                ..DecoderOptions::default()
            },
        };
        Ok(Text { decoder, max_positions: positions.min(window.unwrap_or(usize::MAX)).max(1) })
    }
}
