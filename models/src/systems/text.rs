//! The `text_config` of systems in the layout of `transformers`: LLaMA and the decoders that differ from it in little.
//! Keys that a file leaves out have the defaults of its `model_type`.

use fovea_engine::op::Activation;
use serde::Deserialize;

use super::config::{activation, divide, epsilon, head, size, wrong};
use crate::{
    blocks::{DecoderConfig, DecoderNames, DecoderOptions, RopeScaling, RotaryConfig},
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
    rope_scaling: Option<Scaling>,
    /// Llama 3.2 Vision's.
    cross_attention_layers: Option<Vec<usize>>,
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

/// How rotary positions go beyond the lengths of the first training.
#[derive(Deserialize)]
struct Scaling {
    rope_type: Option<String>,
    /// The same in older files; some have both.
    #[serde(rename = "type")]
    old_type: Option<String>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
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
    theta: f64,
    eps: f32,
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
    theta: 10_000.0,
    eps: 1e-6,
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
            "mllama_text_model" => Ok(Self {
                feedforward: 14_336,
                layers: 40,
                kv_heads: Some(8),
                vocabulary: 128_256,
                positions: 131_072,
                theta: 500_000.0,
                eps: 1e-5,
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
                let expected = "llama, mistral, qwen2, gemma or mllama_text_model".to_owned();
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
        let eps = self.rms_norm_eps.unwrap_or(defaults.eps);
        let theta = self.rope_theta.unwrap_or(defaults.theta);
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
            rotary: RotaryConfig { scaling: self.scaling()?, ..RotaryConfig::plain(theta, head_dim) },
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

    /// How low frequencies are slowed down.
    fn scaling(&self) -> Result<Option<RopeScaling>, LoadError> {
        let Some(scaling) = &self.rope_scaling else { return Ok(None) };
        let need = |field: &'static str, value: Option<f64>| match value.filter(|it| it.is_finite() && *it > 0.0) {
            Some(value) => Ok(value),
            None => Err(wrong(field, format!("{value:?}"), "a positive number".to_owned())),
        };
        match scaling.rope_type.as_deref().or(scaling.old_type.as_deref()) {
            // Dynamic scaling changes nothing up to the longest sequence that is read here.
            None | Some("default" | "dynamic") => Ok(None),
            Some("llama3") => {
                let low = need("text_config.rope_scaling.low_freq_factor", scaling.low_freq_factor)?;
                let high = need("text_config.rope_scaling.high_freq_factor", scaling.high_freq_factor)?;
                if low >= high {
                    let expected = format!("above low_freq_factor, {low}");
                    return Err(wrong("text_config.rope_scaling.high_freq_factor", high.to_string(), expected));
                }
                let positions = scaling.original_max_position_embeddings;
                Ok(Some(RopeScaling {
                    factor: need("text_config.rope_scaling.factor", scaling.factor)?,
                    low,
                    high,
                    positions: need("text_config.rope_scaling.original_max_position_embeddings", positions)?,
                }))
            }
            Some(other) => {
                let expected = "default, dynamic or llama3".to_owned();
                Err(wrong("text_config.rope_scaling.rope_type", other.to_owned(), expected))
            }
        }
    }

    /// The layers that attend to a picture instead of the text, of `layers`; by default every fifth from the fourth on.
    pub(super) fn cross_layers(&self, layers: usize) -> Result<Vec<usize>, LoadError> {
        let cross = self.cross_attention_layers.clone().unwrap_or_else(|| (3..layers).step_by(5).collect());
        match cross.is_sorted_by(|a, b| a < b) && cross.last().is_none_or(|&last| last < layers) {
            true => Ok(cross),
            false => {
                let expected = format!("rising, below {layers}");
                Err(wrong("text_config.cross_attention_layers", format!("{cross:?}"), expected))
            }
        }
    }
}
