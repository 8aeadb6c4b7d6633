//! The `text_config` of systems in the layout of `transformers`: LLaMA and the decoders that differ from it in little.
//! Keys that a file leaves out have the defaults of its `model_type`.

use fovea_engine::op::Activation;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::config::{activation, divide, epsilon, head, only, size, wrong};
use crate::{
    blocks::{DecoderConfig, DecoderNames, DecoderOptions, RopeScaling, RotaryConfig, WindowConfig},
    error::LoadError,
};

/// A decoder's keys.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct TextConfig {
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
    rope_scaling: Map<String, Value>,
    /// Llama 3.2 Vision's.
    cross_attention_layers: Option<Vec<usize>>,
    max_position_embeddings: Option<usize>,
    hidden_act: Option<String>,
    /// Gemma 2's `hidden_act`.
    hidden_activation: Option<String>,
    attention_bias: bool,
    mlp_bias: bool,
    /// Absent and null differ: by default Mistral has a window.
    #[serde(deserialize_with = "some")]
    sliding_window: Option<Option<usize>>,
    use_sliding_window: bool,
    /// Qwen2's first layer with a window.
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    /// Gemma 2's.
    query_pre_attn_scalar: Option<f32>,
    #[serde(deserialize_with = "some")]
    attn_logit_softcapping: Option<Option<f32>>,
    #[serde(deserialize_with = "some")]
    final_logit_softcapping: Option<Option<f32>>,
    tie_word_embeddings: Option<bool>,
    pub(super) eos_token_id: Option<super::config::OneOrMany>,
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
    biases: Biases,
    tied: bool,
    activation: Activation,
    /// Positions have three axes.
    mrope: bool,
    /// Some layers attend to a picture instead of the text.
    cross: bool,
    /// Gemma's norms and embeddings.
    gemma: bool,
    gemma2: Option<Gemma2>,
}

/// Which projections have biases.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Biases {
    /// None, whatever the file says.
    None,
    /// Those of queries, keys and values, whatever the file says.
    Qkv,
    /// All of attention, if the file says so.
    Attention,
    /// The same, and those of the feedforward.
    Both,
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
    biases: Biases::Both,
    tied: false,
    activation: Activation::Silu,
    mrope: false,
    cross: false,
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
    biases: Biases::Attention,
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
                biases: Biases::None,
                ..LLAMA
            }),
            "qwen2" => Ok(Self {
                feedforward: 22_016,
                kv_heads: Some(32),
                vocabulary: 151_936,
                positions: 32_768,
                window: Some(4096),
                windowed: Windowed::From(28),
                biases: Biases::Qkv,
                ..LLAMA
            }),
            "qwen2_vl" | "qwen2_vl_text" | "qwen2_5_vl" | "qwen2_5_vl_text" => Ok(Self {
                hidden: 8192,
                feedforward: 29_568,
                layers: 80,
                heads: 64,
                kv_heads: Some(8),
                vocabulary: 152_064,
                positions: 32_768,
                theta: 1_000_000.0,
                eps: 1e-5,
                biases: Biases::Qkv,
                mrope: true,
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
                biases: Biases::None,
                cross: true,
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
                let expected =
                    "llama, mistral, qwen2, qwen2_vl_text, qwen2_5_vl_text, gemma, gemma2 or mllama_text_model"
                        .to_owned();
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
    /// The decoder's sizes, checked; `usual` is its `model_type` if the file names none, `tied` what the whole
    /// configuration says of the head.
    pub(super) fn read(&self, usual: &str, names: DecoderNames, tied: Option<bool>) -> Result<Text, LoadError> {
        let defaults = Defaults::of(if self.model_type.is_empty() { usual } else { &self.model_type })?;
        self.check_foreign(&defaults)?;
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
        let keyed = matches!(defaults.biases, Biases::Attention | Biases::Both) && self.attention_bias;
        let (rotary, mut options) = (self.rotary(&defaults, theta, head_dim)?, DecoderOptions::default());
        options.out_bias = keyed;
        options.mlp_bias = self.mlp_bias;
        // Files that say both have been seen with either kind of weights.
        let disputed = tied.zip(self.tie_word_embeddings).is_some_and(|(outer, inner)| outer != inner);
        options.tied_without_head = disputed;
        let options = DecoderOptions {
            activation,
            norm_plus_one: defaults.gemma,
            embedding_scale: if defaults.gemma { (hidden as f32).sqrt() } else { 1.0 },
            ..options
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
            rotary,
            qkv_bias: defaults.biases == Biases::Qkv || keyed,
            tied: !disputed && tied.or(self.tie_word_embeddings).unwrap_or(defaults.tied),
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

    /// Refuses keys of other decoders: what they say would not be done.
    fn check_foreign(&self, defaults: &Defaults) -> Result<(), LoadError> {
        let absent = |field: &'static str, got: Option<String>| match got {
            Some(got) => Err(wrong(field, got, format!("no such key for {}", self.model_type))),
            None => Ok(()),
        };
        if defaults.gemma2.is_none() {
            let number = |value: Option<Option<f32>>| value.flatten().map(|it| it.to_string());
            absent("text_config.query_pre_attn_scalar", self.query_pre_attn_scalar.map(|it| it.to_string()))?;
            absent("text_config.attn_logit_softcapping", number(self.attn_logit_softcapping))?;
            absent("text_config.final_logit_softcapping", number(self.final_logit_softcapping))?;
        }
        let own = if defaults.gemma2.is_some() { &self.hidden_act } else { &self.hidden_activation };
        if let Some(other) = own.as_deref() {
            // Gemma's two names of one thing: the one that does not count may not say otherwise.
            let field =
                if defaults.gemma2.is_some() { "text_config.hidden_act" } else { "text_config.hidden_activation" };
            let counts = if defaults.gemma2.is_some() { &self.hidden_activation } else { &self.hidden_act };
            let counts = activation(field, counts.as_deref(), defaults.activation)?;
            // Gemma's first files say "gelu" and mean its approximation.
            let said = activation(field, Some(other), defaults.activation)?;
            if said != counts && !(defaults.gemma && other == "gelu") {
                return Err(wrong(field, other.to_owned(), format!("{counts:?}, as the decoder has it")));
            }
        }
        if !defaults.cross {
            absent(
                "text_config.cross_attention_layers",
                self.cross_attention_layers.as_ref().map(|it| format!("{it:?}")),
            )?;
        }
        if defaults.biases == Biases::None {
            only("text_config.attention_bias", Some(self.attention_bias), false)?;
        }
        if defaults.biases != Biases::Both {
            only("text_config.mlp_bias", Some(self.mlp_bias), false)?;
        }
        if matches!(defaults.windowed, Windowed::None) {
            only("text_config.use_sliding_window", Some(self.use_sliding_window), false)?;
            if !defaults.mrope {
                absent("text_config.sliding_window", self.sliding_window.flatten().map(|it| it.to_string()))?;
            }
        }
        Ok(())
    }

    /// The layers with a window, of `layers`.
    fn window(&self, defaults: &Defaults, layers: usize) -> Result<Option<WindowConfig>, LoadError> {
        if let Some(types) = &self.layer_types {
            let known = |it: &String| matches!(it.as_str(), "sliding_attention" | "full_attention");
            if types.len() != layers || !types.iter().all(known) {
                let expected = format!("sliding_attention or full_attention for each of {layers} layers");
                return Err(wrong("text_config.layer_types", format!("{types:?}"), expected));
            }
        }
        let near = |types: &Vec<String>| -> Vec<usize> {
            (0..layers).filter(|&layer| types[layer] == "sliding_attention").collect()
        };
        let used = match defaults.windowed {
            Windowed::None => false,
            Windowed::From(_) => self.use_sliding_window,
            Windowed::All | Windowed::Alternating => true,
        };
        let Some(rows) = self.sliding_window.unwrap_or(defaults.window).filter(|_| used) else {
            return match self.layer_types.as_ref().filter(|types| !near(types).is_empty()) {
                Some(types) => {
                    let expected = "full_attention everywhere, as no sliding_window is used".to_owned();
                    Err(wrong("text_config.layer_types", format!("{types:?}"), expected))
                }
                None => Ok(None),
            };
        };
        size("text_config.sliding_window", rows, 1 << 24)?;
        let layers: Vec<usize> = match (&self.layer_types, defaults.windowed) {
            (Some(types), _) => near(types),
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

    /// What turns, and how low frequencies are slowed down.
    fn rotary(&self, defaults: &Defaults, theta: f64, head_dim: usize) -> Result<RotaryConfig, LoadError> {
        let scaling = &self.rope_scaling;
        let kind = scaling.get("rope_type").or_else(|| scaling.get("type"));
        let kind = kind.map(|it| it.as_str().map_or_else(|| it.to_string(), str::to_owned));
        let number = |key: &str| scaling.get(key).and_then(Value::as_f64).filter(|it| it.is_finite() && *it > 0.0);
        let need = |field: &'static str, key: &str| {
            let got = || scaling.get(key).map_or_else(|| "absent".to_owned(), Value::to_string);
            number(key).ok_or_else(|| wrong(field, got(), "a positive number".to_owned()))
        };
        let (read, slowed): (&[&str], _) = match kind.as_deref() {
            None | Some("default") => (&[], None),
            // Dynamic scaling changes nothing up to the longest sequence that is read here.
            Some("dynamic") => (&["factor", "original_max_position_embeddings"], None),
            Some("linear") => {
                let factor = need("text_config.rope_scaling.factor", "factor")?;
                (&["factor", "original_max_position_embeddings"], Some(RopeScaling::linear(factor)))
            }
            Some("llama3") => {
                let low = need("text_config.rope_scaling.low_freq_factor", "low_freq_factor")?;
                let high = need("text_config.rope_scaling.high_freq_factor", "high_freq_factor")?;
                if low >= high {
                    let expected = format!("above low_freq_factor, {low}");
                    return Err(wrong("text_config.rope_scaling.high_freq_factor", high.to_string(), expected));
                }
                const POSITIONS: &str = "original_max_position_embeddings";
                let positions = need("text_config.rope_scaling.original_max_position_embeddings", POSITIONS)?;
                let factor = need("text_config.rope_scaling.factor", "factor")?;
                let slowed = RopeScaling { factor, low, high, positions };
                (&["factor", "low_freq_factor", "high_freq_factor", POSITIONS], Some(slowed))
            }
            Some(other) => {
                let expected = "default, dynamic, linear or llama3".to_owned();
                return Err(wrong("text_config.rope_scaling.rope_type", other.to_owned(), expected));
            }
        };
        let sections = match defaults.mrope {
            true => vec!["mrope_section"],
            false => vec![],
        };
        let known = |key: &str| ["rope_type", "type"].contains(&key) || read.contains(&key) || sections.contains(&key);
        let empty = |value: &Value| *value == Value::Bool(false) || value.is_null();
        if let Some((key, value)) = scaling.iter().find(|(key, value)| !known(key) && !empty(value)) {
            let kind = kind.as_deref().unwrap_or("default");
            let expected = format!("no such key for the type {kind}");
            return Err(wrong("text_config.rope_scaling", format!("{key} = {value}"), expected));
        }
        let plain = RotaryConfig { scaling: slowed, ..RotaryConfig::plain(theta, head_dim) };
        if !defaults.mrope {
            return Ok(plain);
        }
        let found = scaling.get("mrope_section");
        let sections: Option<Vec<usize>> = found.and_then(|it| serde_json::from_value(it.clone()).ok());
        let fits = |it: &Vec<usize>| {
            it.len() == 3 && it.iter().try_fold(0usize, |sum, &n| sum.checked_add(n)) == Some(head_dim / 2)
        };
        match sections.filter(fits) {
            Some(sections) => Ok(RotaryConfig { sections, ..plain }),
            None => {
                let got = found.map_or_else(|| "absent".to_owned(), Value::to_string);
                let expected = format!("three numbers whose sum is {}", head_dim / 2);
                Err(wrong("text_config.rope_scaling.mrope_section", got, expected))
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
