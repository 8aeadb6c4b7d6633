//! The `text_config` of systems in the layout of `transformers`: LLaMA and the decoders that differ from it in little.
//! Keys that a file leaves out have the defaults of its `model_type`.

use fovea_engine::op::Activation;
use serde::Deserialize;

use super::config::{activation, divide, epsilon, head, size, wrong};
use crate::{
    blocks::{DecoderConfig, DecoderNames, DecoderOptions, RopeScaling, RotaryConfig, WindowConfig},
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
    /// Gemma 2's `hidden_act`.
    hidden_activation: Option<String>,
    /// Absent and null differ: by default Mistral has a window.
    #[serde(default, deserialize_with = "some")]
    sliding_window: Option<Option<usize>>,
    #[serde(default)]
    use_sliding_window: bool,
    /// Qwen2's first layer with a window.
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    /// Gemma 2's.
    query_pre_attn_scalar: Option<f32>,
    #[serde(default, deserialize_with = "some")]
    attn_logit_softcapping: Option<Option<f32>>,
    #[serde(default, deserialize_with = "some")]
    final_logit_softcapping: Option<Option<f32>>,
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
fn some<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
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
    windowed: Windowed,
    qkv_bias: bool,
    tied: bool,
    activation: Activation,
    /// Gemma's norms and embeddings.
    gemma: bool,
    gemma2: Option<Gemma2>,
}

/// Which layers see their rows through the window.
#[derive(Clone, Copy)]
enum Windowed {
    None,
    All,
    /// From the index on that the file tells, by default this one, and if it says so.
    From(usize),
    /// The first, and every other from there on.
    Alternating,
}

/// What Gemma 2 adds to Gemma, besides norms.
#[derive(Clone, Copy)]
struct Gemma2 {
    /// One over the square of what scores are multiplied by.
    scalar: f32,
    score_cap: f32,
    logit_cap: f32,
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
    windowed: Windowed::None,
    qkv_bias: false,
    tied: false,
    activation: Activation::Silu,
    gemma: false,
    gemma2: None,
};

const GEMMA: Defaults = Defaults {
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
};

impl Defaults {
    fn of(model_type: &str) -> Result<Self, LoadError> {
        match model_type {
            "llama" => Ok(LLAMA),
            "mistral" => Ok(Self {
                feedforward: 14_336,
                kv_heads: Some(8),
                positions: 131_072,
                window: Some(4096),
                windowed: Windowed::All,
                ..LLAMA
            }),
            "qwen2" => Ok(Self {
                feedforward: 22_016,
                kv_heads: Some(32),
                vocabulary: 151_936,
                positions: 32_768,
                window: Some(4096),
                windowed: Windowed::From(28),
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
            "gemma" => Ok(GEMMA),
            "gemma2" => Ok(Self {
                feedforward: 9216,
                hidden: 2304,
                layers: 26,
                heads: 8,
                kv_heads: Some(4),
                window: Some(4096),
                windowed: Windowed::Alternating,
                gemma2: Some(Gemma2 { scalar: 256.0, score_cap: 50.0, logit_cap: 30.0 }),
                ..GEMMA
            }),
            other => {
                let expected = "llama, mistral, qwen2, gemma, gemma2 or mllama_text_model".to_owned();
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
        let (field, act) = match defaults.gemma2 {
            Some(_) => ("text_config.hidden_activation", &self.hidden_activation),
            None => ("text_config.hidden_act", &self.hidden_act),
        };
        let activation = activation(field, act.as_deref(), defaults.activation)?;
        let options = DecoderOptions {
            activation,
            norm_plus_one: defaults.gemma,
            embedding_scale: if defaults.gemma { (hidden as f32).sqrt() } else { 1.0 },
            ..DecoderOptions::default()
        };
        let decoder = DecoderConfig {
            names: if defaults.gemma2.is_some() { names.with_gemma2_norms() } else { names },
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
            window: self.window(&defaults, layers)?,
            options: match defaults.gemma2 {
                Some(usual) => self.bounded(usual, options)?,
                None => options,
            },
        };
        Ok(Text { decoder, max_positions: positions })
    }

    /// The layers with a window, of `layers`.
    fn window(&self, defaults: &Defaults, layers: usize) -> Result<Option<WindowConfig>, LoadError> {
        let used = match defaults.windowed {
            Windowed::None => false,
            Windowed::From(_) => self.use_sliding_window,
            Windowed::All | Windowed::Alternating => true,
        };
        let Some(rows) = self.sliding_window.unwrap_or(defaults.window).filter(|_| used) else { return Ok(None) };
        size("text_config.sliding_window", rows, 1 << 24)?;
        let layers: Vec<usize> = match (&self.layer_types, defaults.windowed) {
            (Some(types), _) => {
                let known = |it: &String| matches!(it.as_str(), "sliding_attention" | "full_attention");
                if types.len() != layers || !types.iter().all(known) {
                    let expected = format!("sliding_attention or full_attention for each of {layers} layers");
                    return Err(wrong("text_config.layer_types", format!("{types:?}"), expected));
                }
                (0..layers).filter(|&layer| types[layer] == "sliding_attention").collect()
            }
            (None, Windowed::From(first)) => (self.max_window_layers.unwrap_or(first)..layers).collect(),
            (None, Windowed::Alternating) => (0..layers).step_by(2).collect(),
            (None, Windowed::None | Windowed::All) => (0..layers).collect(),
        };
        Ok(Some(WindowConfig { rows, layers }))
    }

    /// The options with Gemma 2's scale and bounds, `usual` where the file tells none.
    fn bounded(&self, usual: Gemma2, options: DecoderOptions) -> Result<DecoderOptions, LoadError> {
        let positive = |field: &'static str, value: f32| match value.is_finite() && value > 0.0 {
            true => Ok(value),
            false => Err(wrong(field, value.to_string(), "a positive number".to_owned())),
        };
        let cap = |field, value: Option<Option<f32>>, usual| {
            value.unwrap_or(Some(usual)).map(|cap| positive(field, cap)).transpose()
        };
        let scalar = self.query_pre_attn_scalar.unwrap_or(usual.scalar);
        let scalar = positive("text_config.query_pre_attn_scalar", scalar)?;
        Ok(DecoderOptions {
            score_scale: Some(scalar.sqrt().recip()),
            score_cap: cap("text_config.attn_logit_softcapping", self.attn_logit_softcapping, usual.score_cap)?,
            logit_cap: cap("text_config.final_logit_softcapping", self.final_logit_softcapping, usual.logit_cap)?,
            ..options
        })
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
