//! What a decoder is made of: its sizes, its names, and what follows from them.

use fovea_engine::{
    op::{Activation, Heads, RopeStyle},
    weights::{CrossFormat, TensorClass},
};

use super::{absolute::AbsolutePositions, angles::Angles};
use crate::blocks::{CrossAttentionConfig, GatedCrossConfig, Norm, Sizes};

/// Rotary positions.
#[derive(Clone, Debug, PartialEq)]
pub struct RotaryConfig {
    /// Base of the frequencies.
    pub theta: f64,
    /// Pairs of a head that turn with each axis of a position: one number for plain RoPE, three for M-RoPE. Those of a
    /// head's elements that are in no pair do not turn.
    pub sections: Vec<usize>,
    /// Which elements are a pair.
    pub style: RopeStyle,
    /// How low frequencies are slowed down for long texts.
    pub scaling: Option<RopeScaling>,
    /// How angles are computed.
    pub angles: Angles,
    /// xPos: positions over which the amplitudes fall, 512 where published.
    pub decay: Option<f64>,
}

/// Llama 3.1's scaling: frequencies whose waves are longer than the first texts over `low` are divided by `factor`, those
/// with waves shorter than over `high` stay, and between them it goes over smoothly. Source: `_compute_llama3_parameters`
/// of `modeling_rope_utils.py`, transformers 4.57.1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeScaling {
    /// What low frequencies are divided by.
    pub factor: f64,
    /// Waves of a first text below which a frequency is low.
    pub low: f64,
    /// Waves of a first text above which it is high.
    pub high: f64,
    /// Length of the first texts.
    pub positions: f64,
}

impl RopeScaling {
    /// All frequencies divided by `factor`.
    pub const fn linear(factor: f64) -> Self {
        Self { factor, low: f64::INFINITY, high: f64::INFINITY, positions: 1.0 }
    }

    fn scaled(&self, frequency: f64) -> f64 {
        let waves = self.positions * frequency / std::f64::consts::TAU;
        if waves < self.low {
            frequency / self.factor
        } else if waves > self.high {
            frequency
        } else {
            let smooth = (waves - self.low) / (self.high - self.low);
            (1.0 - smooth) * frequency / self.factor + smooth * frequency
        }
    }
}

impl RotaryConfig {
    /// One axis over whole heads, in halves.
    pub fn plain(theta: f64, head_dim: usize) -> Self {
        let (sections, style) = (vec![head_dim / 2], RopeStyle::Halves);
        Self { theta, sections, style, scaling: None, angles: Angles::F32, decay: None }
    }

    /// Nothing turns.
    pub fn none() -> Self {
        Self { sections: Vec::new(), ..Self::plain(1.0, 0) }
    }

    /// The inverse frequency and the axis of each pair.
    pub(super) fn pairs(&self) -> Vec<(f64, u32)> {
        let axes = (0u32..).zip(&self.sections).flat_map(|(axis, &pairs)| vec![axis; pairs]);
        let turned = 2.0 * self.sections.iter().sum::<usize>() as f64;
        let frequency = |i: usize| self.theta.powf(-((2 * i) as f64) / turned);
        let scaled = |it: f64| self.scaling.map_or(it, |scaling| scaling.scaled(it));
        axes.enumerate().map(|(i, axis)| (scaled(frequency(i)), axis)).collect()
    }
}

/// What few decoders have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecoderOptions {
    /// Kind of all norms.
    pub norm: Norm,
    /// Positions that are added to the embeddings, if there are any.
    pub absolute: Option<AbsolutePositions>,
    /// Whether the projection of what attention yields has a bias.
    pub out_bias: bool,
    /// Whether the feedforward's projections have biases.
    pub mlp_bias: bool,
    /// Activation of the feedforward.
    pub activation: Activation,
    /// Whether what is activated is the gate of a second input, not the only one.
    pub gate: bool,
    /// Whether norms scale by one more than their weights (Gemma).
    pub norm_plus_one: bool,
    /// What embeddings and a picture's rows are multiplied by before the first layer (Gemma, Kosmos-2).
    pub embedding_scale: f32,
    /// Rows of the embedding behind those of the vocabulary: tokens that are read and never written.
    pub extra_embeddings: usize,
    /// Whether the rows of a prompt see all of it, those behind them too and whatever the window (a *prefix LM*).
    pub whole_prompt: bool,
    /// What scores of attention are multiplied by, unless it is one over the square root of a head's elements.
    pub score_scale: Option<f32>,
    /// What scores of attention are bounded by (Gemma 2).
    pub score_cap: Option<f32>,
    /// What logits are bounded by (Gemma 2).
    pub logit_cap: Option<f32>,
    /// Whether the head is the embedding if none is stored: a configuration that says both.
    pub tied_without_head: bool,
}

impl Default for DecoderOptions {
    fn default() -> Self {
        Self {
            norm: Norm::Rms,
            absolute: None,
            out_bias: false,
            mlp_bias: false,
            activation: Activation::Silu,
            gate: true,
            norm_plus_one: false,
            embedding_scale: 1.0,
            extra_embeddings: 0,
            whole_prompt: false,
            score_scale: None,
            score_cap: None,
            logit_cap: None,
            tied_without_head: false,
        }
    }
}

/// Names of a layer's projections, each without `.weight` and `.bias`. Several are stacked in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProjectionNames {
    /// Queries, keys and values: one tensor, or one each.
    pub qkv: &'static [&'static str],
    /// Behind the attention.
    pub out: &'static str,
    /// Gate and input of the feedforward: one tensor, or one each; the input alone for one without a gate.
    pub gate_up: &'static [&'static str],
    /// Output of the feedforward.
    pub down: &'static str,
}

/// Names of norms of a layer's branches, each without `.weight` and `.bias`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BranchNormNames {
    /// In the attention's.
    pub attention: &'static str,
    /// In the feedforward's.
    pub feedforward: &'static str,
}

/// Names of a decoder's tensors, those of norms without `.weight` and `.bias`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecoderNames {
    /// The prefix of all of them.
    pub at: &'static str,
    /// The embedding.
    pub embedding: &'static str,
    /// The prefix of the layers, before their number.
    pub layers: &'static str,
    /// A layer's norm before attention.
    pub input_norm: &'static str,
    /// A layer's norm before the feedforward.
    pub post_norm: &'static str,
    /// Norms before the last projection of a layer's branches, if it has them.
    pub sub_norms: Option<BranchNormNames>,
    /// Norms behind the last projection of a layer's branches, if it has them.
    pub end_norms: Option<BranchNormNames>,
    /// A layer's projections.
    pub projections: ProjectionNames,
    /// The norm behind the layers.
    pub norm: &'static str,
    /// The head, unless it is the embedding.
    pub head: &'static str,
}

impl DecoderNames {
    /// LLaMA's, which most published decoders share.
    pub const LLAMA: Self = Self {
        at: "",
        embedding: "model.embed_tokens.weight",
        layers: "model.layers",
        input_norm: "input_layernorm",
        post_norm: "post_attention_layernorm",
        sub_norms: None,
        end_norms: None,
        projections: ProjectionNames {
            qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            out: "self_attn.o_proj",
            gate_up: &["mlp.gate_proj", "mlp.up_proj"],
            down: "mlp.down_proj",
        },
        norm: "model.norm",
        head: "lm_head.weight",
    };

    /// The same with Gemma 2's norms: before each branch, and behind it.
    #[must_use]
    pub const fn with_gemma2_norms(self) -> Self {
        let (attention, feedforward) = ("post_attention_layernorm", "post_feedforward_layernorm");
        let end_norms = Some(BranchNormNames { attention, feedforward });
        Self { post_norm: "pre_feedforward_layernorm", end_norms, ..self }
    }
}

/// A second set of projections in every layer, for the rows of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpertConfig {
    /// Their names.
    pub names: ProjectionNames,
    /// Whether its queries, keys and values have biases.
    pub qkv_bias: bool,
}

/// Layers whose rows see only the last ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowConfig {
    /// How many rows a row sees, itself among them.
    pub rows: usize,
    /// Indices of these layers.
    pub layers: Vec<usize>,
}

/// Sizes of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    /// Names of its tensors.
    pub names: DecoderNames,
    /// Number of layers.
    pub layers: usize,
    /// Width of a token's features.
    pub hidden: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Inner width of the feedforward.
    pub feedforward: usize,
    /// Rows of the embedding and of the head.
    pub vocabulary: usize,
    /// Added to the mean square, or to the variance, by the norms.
    pub eps: f32,
    /// Positions that turn queries and keys.
    pub rotary: RotaryConfig,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Projections for the rows of pictures.
    pub expert: Option<ExpertConfig>,
    /// Attention to a picture's features in every layer.
    pub cross: Option<CrossAttentionConfig>,
    /// Layers that attend to a picture's features instead of the text.
    pub gated: Option<GatedCrossConfig>,
    /// Layers whose rows see only the last ones.
    pub window: Option<WindowConfig>,
    /// What few decoders have.
    pub options: DecoderOptions,
}

impl DecoderConfig {
    pub(in crate::blocks) fn queries(&self) -> usize {
        self.heads * self.head_dim
    }

    pub(in crate::blocks) fn keys(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    pub(in crate::blocks) fn head_sizes(&self) -> Heads {
        let usual = Heads::new(self.heads, self.kv_heads, self.head_dim);
        Heads { scale: self.options.score_scale.unwrap_or(usual.scale), cap: self.options.score_cap, ..usual }
    }

    /// Rows that a row of layer `index` sees at most.
    pub(super) fn window(&self, index: usize) -> Option<usize> {
        self.window.as_ref().filter(|window| window.layers.contains(&index)).map(|window| window.rows)
    }

    /// Layers that attend to the text.
    fn own_layers(&self) -> usize {
        self.layers.saturating_sub(self.gated_layers())
    }

    fn gated_layers(&self) -> usize {
        self.gated.as_ref().map_or(0, |gated| gated.layers.len())
    }

    /// Whether layer `index` attends to a picture instead of the text.
    pub(super) fn is_gated(&self, index: usize) -> bool {
        self.gated.as_ref().is_some_and(|gated| gated.layers.contains(&index))
    }

    /// Rows of the embedding.
    pub fn embedding_rows(&self) -> usize {
        self.vocabulary + self.options.extra_embeddings
    }

    /// A feedforward in `count` layers.
    fn feedforward_sizes(&self, count: usize) -> Sizes {
        let class = TensorClass::Decoder;
        let inner = self.inner().iter().sum();
        let sizes = Sizes::default().matrix(class, count, inner, self.hidden);
        let sizes = sizes.matrix(class, count, self.hidden, self.feedforward);
        if self.options.mlp_bias { sizes.vector(count, self.hidden + inner) } else { sizes }
    }

    /// Outputs of the feedforward's first projection.
    pub(super) fn inner(&self) -> Vec<usize> {
        vec![self.feedforward; if self.options.gate { 2 } else { 1 }]
    }

    /// A set of projections in every layer that attends to the text.
    fn projections(&self, qkv_bias: bool) -> Sizes {
        let (class, count, hidden) = (TensorClass::Decoder, self.own_layers(), self.hidden);
        let qkv = self.queries() + 2 * self.keys();
        Sizes::default()
            .matrix(class, count, qkv, hidden)
            .vector(if qkv_bias { count } else { 0 }, qkv)
            .matrix(class, count, hidden, self.queries())
            .vector(if self.options.out_bias { count } else { 0 }, hidden)
            .and(self.feedforward_sizes(count))
    }

    /// The weights of the layers and norms, without experts and cross attention.
    pub fn layer_sizes(&self) -> Sizes {
        let (norm, layers) = (self.options.norm, self.own_layers());
        let sizes = self.projections(self.qkv_bias).and(norm.sizes(2 * layers + 1, self.hidden));
        let sizes = match self.names.sub_norms {
            Some(_) => sizes.and(norm.sizes(layers, self.queries())).and(norm.sizes(layers, self.feedforward)),
            None => sizes,
        };
        if self.names.end_norms.is_some() { sizes.and(norm.sizes(2 * layers, self.hidden)) } else { sizes }
    }

    /// The weights of the visual experts.
    pub fn expert_sizes(&self) -> Option<Sizes> {
        self.expert.map(|expert| self.projections(expert.qkv_bias))
    }

    /// The weights of the cross attention.
    pub fn cross_sizes(&self) -> Option<Sizes> {
        let gated = self.gated.as_ref().map(|gated| {
            let count = gated.layers.len();
            let whole = self.feedforward_sizes(count).vector(2 * count, self.hidden);
            whole.and(gated.sizes(self.hidden, self.head_sizes()))
        });
        self.cross.map(|cross| cross.sizes(self.layers, self.hidden)).or(gated)
    }

    /// The embedding.
    pub fn embedding_sizes(&self) -> Sizes {
        Sizes::default().matrix(TensorClass::Embedding, 1, self.embedding_rows(), self.hidden)
    }

    /// The head; nothing if it is the embedding.
    pub fn output_sizes(&self) -> Sizes {
        Sizes::default().matrix(TensorClass::Head, usize::from(!self.tied), self.vocabulary, self.hidden)
    }

    /// Floating-point operations of a prefill of `tokens`, logits of the last row only, with keys and values of
    /// `features` rows of a picture.
    pub fn prefill_flops(&self, tokens: usize, features: usize) -> u64 {
        let rows = tokens as u64;
        let products = rows * self.projections(false).products() + (self.vocabulary * self.hidden) as u64;
        let cross = self.cross.map_or(0, |cross| {
            4 * rows * (self.layers * cross.width * self.hidden) as u64 + cross.key_value_flops(self.layers, features)
        });
        let gated = self.gated.as_ref().filter(|_| features > 0).map_or(0, |gated| {
            let heads = self.head_sizes();
            let row = self.feedforward_sizes(gated.layers.len()).products() + gated.query_products(self.hidden, heads);
            2 * (rows * row + features as u64 * gated.key_value_products(self.hidden, heads))
        });
        2 * products + cross + gated + self.score_flops(tokens, features)
    }

    /// Those of them that are scores of attention and sums by them.
    pub fn score_flops(&self, tokens: usize, features: usize) -> u64 {
        let pairs = |window: usize| (tokens as u64 * 2 + 1).saturating_sub(window as u64) * window as u64 / 2;
        let windowed = self.window.as_ref().filter(|_| !self.options.whole_prompt);
        let (near, reach) = windowed.map_or((0, 0), |it| (it.layers.len().min(self.own_layers()), it.rows.min(tokens)));
        let all = (self.own_layers() - near) as u64 * pairs(tokens) + near as u64 * pairs(reach);
        let own = 4 * self.queries() as u64 * all;
        let gated = 4 * (self.gated_layers() * self.queries()) as u64 * tokens as u64 * features as u64;
        own + gated + self.cross.map_or(0, |cross| cross.attention_flops(self.layers, tokens, features))
    }

    /// Bytes of keys and values for one token, in f32.
    pub fn kv_bytes(&self) -> u64 {
        (2 * self.own_layers() * self.keys() * 4) as u64
    }

    /// Bytes of the keys and values of `features` rows of a picture.
    pub fn cross_kv_bytes(&self, features: usize, format: CrossFormat) -> u64 {
        let each = format.dtype(self.head_dim).bytes();
        let gated = (2 * each * self.gated_layers() * self.keys()) as u64 * features as u64;
        gated + self.cross.map_or(0, |cross| cross.key_value_bytes(self.layers, features, format))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `transformers` 4.57.1 for Llama 3.2's configuration: factor 8, 1, 4, 8192 positions, theta 500000, heads of 128.
    #[test]
    fn low_frequencies_are_slowed_down() {
        let scaling = Some(RopeScaling { factor: 8.0, low: 1.0, high: 4.0, positions: 8192.0 });
        let pairs = RotaryConfig { scaling, ..RotaryConfig::plain(500_000.0, 128) }.pairs();
        let plain = RotaryConfig::plain(500_000.0, 128).pairs();
        assert_eq!(pairs[..28], plain[..28]);
        for i in 36..64 {
            assert_eq!(pairs[i].0, plain[i].0 / 8.0);
        }
        assert!((30..34).all(|i| pairs[i].0 < plain[i].0 && pairs[i].0 > plain[i].0 / 8.0));
    }

    #[test]
    fn linear_scaling_divides_all_frequencies() {
        let plain = RotaryConfig::plain(10_000.0, 64);
        let scaled = RotaryConfig { scaling: Some(RopeScaling::linear(4.0)), ..plain.clone() };
        assert!(scaled.pairs().iter().zip(plain.pairs()).all(|(scaled, plain)| scaled.0 == plain.0 / 4.0));
    }
}
