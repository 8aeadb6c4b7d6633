//! The LLaMA-style decoder: RMSNorm, grouped-query attention with rotary positions and a KV cache, SiLU-gated
//! feedforward.
//!
//! Options: rotary positions of several axes, over part of a head, in halves or interleaved; fused or separate
//! projections; a second set of projections for the rows of pictures (a *visual expert*, Wang et al., "CogVLM", 2023);
//! cross attention to a picture between attention and feedforward. Sources: `modeling_qwen2_vl.py` of transformers
//! 4.57.1, `modeling_chatglm.py` of `THUDM/glm-4v-9b`, `modeling_cogvlm.py` of `THUDM/cogvlm2-llama3-chat-19B`,
//! `modeling_cogagent.py` of `THUDM/cogagent-chat-hf`.

use std::cell::RefCell;

use fovea_engine::{
    At, DType, Gpu, GpuError, OpError, Recorder, Tensor,
    op::{Activation, Attention, DecodeAttention, DecodeState, Epilogue, Heads, Mask, RmsNorm, Rope, RopeStyle, Slot},
    weights::{Scope, TensorClass, Weight, WeightError},
};

use super::{CrossAttentionConfig, CrossCache, Sizes, cross_attention::CrossAttention};

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
}

/// Names of a layer's projections, each without `.weight` and `.bias`. Several are stacked in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProjectionNames {
    /// Queries, keys and values: one tensor, or one each.
    pub qkv: &'static [&'static str],
    /// Behind the attention.
    pub out: &'static str,
    /// Gate and input of the feedforward: one tensor, or one each.
    pub gate_up: &'static [&'static str],
    /// Output of the feedforward.
    pub down: &'static str,
}

/// Names of a decoder's tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecoderNames {
    /// The embedding.
    pub embedding: &'static str,
    /// The prefix of the layers, before their number.
    pub layers: &'static str,
    /// A layer's norm before attention.
    pub input_norm: &'static str,
    /// A layer's norm before the feedforward.
    pub post_norm: &'static str,
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
        embedding: "model.embed_tokens.weight",
        layers: "model.layers",
        input_norm: "input_layernorm.weight",
        post_norm: "post_attention_layernorm.weight",
        projections: ProjectionNames {
            qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            out: "self_attn.o_proj",
            gate_up: &["mlp.gate_proj", "mlp.up_proj"],
            down: "mlp.down_proj",
        },
        norm: "model.norm.weight",
        head: "lm_head.weight",
    };
}

/// A second set of projections in every layer, for the rows of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpertConfig {
    /// Their names.
    pub names: ProjectionNames,
    /// Whether its queries, keys and values have biases.
    pub qkv_bias: bool,
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
    /// Added to the mean square by the norms.
    pub eps: f32,
    /// Rotary positions.
    pub rotary: RotaryConfig,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Projections for the rows of pictures.
    pub expert: Option<ExpertConfig>,
    /// Attention to a picture's features in every layer.
    pub cross: Option<CrossAttentionConfig>,
}

impl DecoderConfig {
    fn queries(&self) -> usize {
        self.heads * self.head_dim
    }

    fn keys(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    fn head_sizes(&self) -> Heads {
        Heads::new(self.heads, self.kv_heads, self.head_dim)
    }

    /// A set of projections in every layer.
    fn projections(&self, qkv_bias: bool) -> Sizes {
        let (class, count, hidden) = (TensorClass::Decoder, self.layers, self.hidden);
        let qkv = self.queries() + 2 * self.keys();
        Sizes::default()
            .matrix(class, count, qkv, hidden)
            .vector(if qkv_bias { count } else { 0 }, qkv)
            .matrix(class, count, hidden, self.queries())
            .matrix(class, count, 2 * self.feedforward, hidden)
            .matrix(class, count, hidden, self.feedforward)
    }

    /// The weights of the layers and norms, without experts and cross attention.
    pub fn layer_sizes(&self) -> Sizes {
        self.projections(self.qkv_bias).vector(2 * self.layers + 1, self.hidden)
    }

    /// The weights of the visual experts.
    pub fn expert_sizes(&self) -> Option<Sizes> {
        self.expert.map(|expert| self.projections(expert.qkv_bias))
    }

    /// The weights of the cross attention.
    pub fn cross_sizes(&self) -> Option<Sizes> {
        self.cross.map(|cross| cross.sizes(self.layers, self.hidden))
    }

    /// The embedding.
    pub fn embedding_sizes(&self) -> Sizes {
        Sizes::default().matrix(TensorClass::Embedding, 1, self.vocabulary, self.hidden)
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
        2 * products + cross + self.score_flops(tokens, features)
    }

    /// Those of them that are scores of attention and sums by them.
    pub fn score_flops(&self, tokens: usize, features: usize) -> u64 {
        let own = (2 * self.layers * self.queries()) as u64 * tokens as u64 * (tokens as u64 + 1);
        own + self.cross.map_or(0, |cross| cross.attention_flops(self.layers, tokens, features))
    }

    /// Bytes of keys and values for one token, in f32.
    pub fn kv_bytes(&self) -> u64 {
        (2 * self.layers * self.keys() * 4) as u64
    }

    /// Bytes of the keys and values of `features` rows of a picture, in f32.
    pub fn cross_kv_bytes(&self, features: usize) -> u64 {
        self.cross.map_or(0, |cross| cross.key_value_bytes(self.layers, features))
    }
}

/// Keys and values of every layer: `[capacity, kv_heads * head_dim]` f32 each.
pub struct KvCache {
    layers: Vec<(Tensor, Tensor)>,
    capacity: usize,
}

impl KvCache {
    /// Room for `capacity` tokens.
    ///
    /// # Errors
    /// [`GpuError::BufferTooLarge`], [`GpuError::OutOfMemory`].
    pub fn new(gpu: &Gpu, config: &DecoderConfig, capacity: usize) -> Result<Self, GpuError> {
        let plane = || gpu.tensor("KV cache", &[capacity, config.keys()], DType::F32);
        let layers = (0..config.layers).map(|_| Ok((plane()?, plane()?))).collect::<Result<_, GpuError>>()?;
        Ok(Self { layers, capacity })
    }

    /// Bytes on the GPU.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|(keys, values)| keys.bytes() + values.bytes()).sum()
    }

    /// Tokens that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

struct Projections {
    qkv: Weight,
    qkv_bias: Option<Tensor>,
    out: Weight,
    gate_up: Weight,
    down: Weight,
}

impl Projections {
    async fn load(
        layer: &Scope<'_>,
        config: &DecoderConfig,
        names: &ProjectionNames,
        qkv_bias: bool,
    ) -> Result<Self, WeightError> {
        let (hidden, inner, class) = (config.hidden, config.feedforward, TensorClass::Decoder);
        let (queries, keys) = (config.queries(), config.keys());
        let qkv = pieces(names.qkv, &[queries, keys, keys]);
        let gate_up = pieces(names.gate_up, &[inner, inner]);
        Ok(Self {
            qkv: stack(layer, &qkv, hidden, class).await?,
            qkv_bias: if qkv_bias { Some(biases(layer, &qkv).await?) } else { None },
            out: stack(layer, &pieces(&[names.out], &[hidden]), queries, class).await?,
            gate_up: stack(layer, &gate_up, hidden, class).await?,
            down: stack(layer, &pieces(&[names.down], &[hidden]), inner, class).await?,
        })
    }
}

/// Tensors by name with their rows: as many as there are names, or all in one.
fn pieces(names: &[&'static str], rows: &[usize]) -> Vec<(&'static str, usize)> {
    match names {
        [name] => vec![(name, rows.iter().sum())],
        _ => names.iter().copied().zip(rows.iter().copied()).collect(),
    }
}

async fn stack(
    at: &Scope<'_>,
    pieces: &[(&str, usize)],
    width: usize,
    class: TensorClass,
) -> Result<Weight, WeightError> {
    let parts: Vec<_> = pieces.iter().map(|(name, rows)| (format!("{name}.weight"), [*rows, width])).collect();
    let parts: Vec<(&str, &[usize])> = parts.iter().map(|(name, shape)| (name.as_str(), &shape[..])).collect();
    at.stacked(&parts, class).await
}

async fn biases(at: &Scope<'_>, pieces: &[(&str, usize)]) -> Result<Tensor, WeightError> {
    let parts: Vec<_> = pieces.iter().map(|(name, rows)| (format!("{name}.bias"), [*rows])).collect();
    let parts: Vec<(&str, &[usize])> = parts.iter().map(|(name, shape)| (name.as_str(), &shape[..])).collect();
    at.joined(&parts).await
}

struct Layer {
    input_norm: Tensor,
    post_norm: Tensor,
    language: Projections,
    vision: Option<Projections>,
    cross: Option<CrossAttention>,
}

/// A decoder's weights.
pub struct Decoder {
    config: DecoderConfig,
    embedding: Weight,
    layers: Vec<Layer>,
    norm: Tensor,
    /// `None`: tied to the embedding.
    head: Option<Weight>,
}

/// Which rows of the prompt need logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Only the last: what generation needs.
    Last,
    /// All: what scoring and comparison need.
    All,
    /// Only the last, which is the only one; where it looks is kept.
    Watched,
}

/// What a prefill stands on.
pub struct Context<'a> {
    /// Keys and values of the rows before, and room for these.
    pub cache: &'a KvCache,
    /// Rotary positions.
    pub rope: &'a Rope,
    /// Rows before.
    pub past: usize,
    /// For each row, whether the visual expert takes it; empty: none.
    pub visual: &'a [bool],
    /// Keys and values of the picture that every layer attends to.
    pub cross: Option<&'a CrossCache>,
}

/// What [`Decoder::record_prefill`] yields.
pub struct Prefill {
    /// Output of the first layer, `[tokens, hidden]`.
    pub hidden_first: Tensor,
    /// Output of the last layer before the final norm, `[tokens, hidden]`.
    pub hidden_last: Tensor,
    /// `[1 or tokens, vocabulary]`.
    pub logits: Tensor,
    /// Where the last row looked in each layer, `[past + tokens]`, for [`Rows::Watched`].
    pub looks: Vec<Tensor>,
}

/// The rows of each expert, so that each runs once, over its own.
struct Routes {
    language: Tensor,
    vision: Tensor,
}

impl Routes {
    /// `None` if all rows are the language's.
    fn new(gpu: &Gpu, visual: &[bool]) -> Result<Option<Self>, GpuError> {
        let of = |wanted: bool| -> Vec<u32> {
            (0u32..).zip(visual).filter(|&(_, &is)| is == wanted).map(|(row, _)| row).collect()
        };
        let (language, vision) = (of(false), of(true));
        if vision.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            language: gpu.upload("rows of the language", &[language.len()], &language)?,
            vision: gpu.upload("rows of pictures", &[vision.len()], &vision)?,
        }))
    }
}

/// What the rows of a layer need besides its weights.
struct LayerContext<'a> {
    index: usize,
    positions: At<'a>,
    rope: &'a Rope,
    slot: Slot<'a>,
    routes: Option<&'a Routes>,
    cross: Option<&'a CrossCache>,
}

impl Decoder {
    /// Loads a decoder by its names in `root`.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor.
    pub async fn load(root: &Scope<'_>, config: DecoderConfig) -> Result<Self, WeightError> {
        let (hidden, names) = (config.hidden, &config.names);
        let table = [config.vocabulary, hidden];
        let embedding = root.matrix(names.embedding, &table, TensorClass::Embedding).await?;
        let mut layers = Vec::with_capacity(config.layers.min(1024));
        for index in 0..config.layers {
            let at = root.at(&format!("{}.{index}", names.layers));
            layers.push(Layer {
                input_norm: at.tensor(names.input_norm, &[hidden]).await?,
                post_norm: at.tensor(names.post_norm, &[hidden]).await?,
                language: Projections::load(&at, &config, &names.projections, config.qkv_bias).await?,
                vision: match &config.expert {
                    Some(expert) => Some(Projections::load(&at, &config, &expert.names, expert.qkv_bias).await?),
                    None => None,
                },
                cross: match config.cross {
                    Some(cross) => Some(CrossAttention::load(&at, cross, hidden).await?),
                    None => None,
                },
            });
        }
        let norm = root.tensor(names.norm, &[hidden]).await?;
        let head = if config.tied { None } else { Some(root.matrix(names.head, &table, TensorClass::Head).await?) };
        Ok(Self { config, embedding, layers, norm, head })
    }

    /// Sizes.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Rotary positions for up to `capacity` tokens.
    ///
    /// # Errors
    /// [`GpuError`].
    pub fn rope(&self, gpu: &Gpu, capacity: usize) -> Result<Rope, GpuError> {
        let RotaryConfig { theta, sections, style } = &self.config.rotary;
        let axes = sections.iter().enumerate().flat_map(|(axis, &pairs)| vec![axis as u32; pairs]);
        let turned = 2.0 * sections.iter().sum::<usize>() as f64;
        let pairs: Vec<_> = axes.enumerate().map(|(i, axis)| (theta.powf(-((2 * i) as f64) / turned), axis)).collect();
        Rope::new(gpu, capacity, &pairs, *style)
    }

    /// Records the embedding of tokens.
    ///
    /// # Errors
    /// [`OpError`].
    pub fn record_embedding(&self, rec: &mut Recorder, ids: At<'_>, count: usize) -> Result<Tensor, OpError> {
        rec.embed(&self.embedding, ids, count)
    }

    /// Records the keys and values of a picture's features for every layer that attends to them.
    ///
    /// # Errors
    /// [`OpError`].
    pub fn record_cross(&self, rec: &mut Recorder, features: &Tensor) -> Result<CrossCache, OpError> {
        let mut layers = Vec::new();
        for cross in self.layers.iter().filter_map(|layer| layer.cross.as_ref()) {
            layers.push(cross.record_keys(rec, features)?);
        }
        CrossCache::new(rec, layers)
    }

    /// Records the layers for the rows `x`, `[tokens, hidden]`, that follow those of the context.
    ///
    /// # Errors
    /// [`OpError`], also if the cache is too small.
    pub fn record_prefill(
        &self,
        rec: &mut Recorder,
        x: Tensor,
        positions: &Tensor,
        context: &Context<'_>,
        rows: Rows,
    ) -> Result<Prefill, OpError> {
        let &Context { cache, rope, past, visual, cross } = context;
        let tokens = x.rows_and_width().0;
        let heads = self.config.head_sizes();
        let looks = RefCell::new(Vec::new());
        let attend = |rec: &mut Recorder, qkv: &Tensor, keys: &Tensor, values: &Tensor| {
            let query = qkv.columns(0, self.config.queries());
            if rows == Rows::Watched {
                looks.borrow_mut().push(rec.attention_weights(query, keys, heads, past + tokens)?);
            }
            let attention = Attention { heads, kv_len: past + tokens, mask: Mask::Causal { past } };
            rec.attention(query, keys.into(), values.into(), attention)
        };
        let routes = if self.config.expert.is_some() { Routes::new(rec.gpu(), visual)? } else { None };
        let mut hidden_first = x.clone();
        let mut x = x;
        for (index, (layer, cache)) in self.layers.iter().zip(&cache.layers).enumerate() {
            let (positions, slot, routes) = (positions.into(), Slot::Fixed(past), routes.as_ref());
            let context = LayerContext { index, positions, rope, slot, routes, cross };
            x = self.record_layer(rec, layer, &x, cache, &context, attend)?;
            if index == 0 {
                hidden_first = x.clone();
            }
        }
        let hidden_last = x.clone();
        if rows == Rows::Last {
            let last = rec.gpu().upload("last row", &[1], &[tokens as u32 - 1])?;
            x = rec.gather_rows(&x, (&last).into(), 1)?;
        }
        let logits = self.record_head(rec, &x)?;
        Ok(Prefill { hidden_first, hidden_last, logits, looks: looks.into_inner() })
    }

    /// Records one step of decoding: feeds the token of `state`, yields its logits, `[1, vocabulary]`.
    ///
    /// # Errors
    /// [`OpError`].
    pub fn record_step(
        &self,
        rec: &mut Recorder,
        state: &DecodeState,
        cache: &KvCache,
        rope: &Rope,
        cross: Option<&CrossCache>,
    ) -> Result<Tensor, OpError> {
        let attend = |rec: &mut Recorder, qkv: &Tensor, keys: &Tensor, values: &Tensor| {
            let heads = self.config.head_sizes();
            let attention = DecodeAttention { heads, length: state.length_at(), extra: 1 };
            rec.attention_decode(qkv.columns(0, self.config.queries()), keys, values, attention)
        };
        let mut x = self.record_embedding(rec, state.token_at(), 1)?;
        for (index, (layer, cache)) in self.layers.iter().zip(&cache.layers).enumerate() {
            let (positions, slot) = (state.position_at(), Slot::From(state.length_at()));
            let context = LayerContext { index, positions, rope, slot, routes: None, cross };
            x = self.record_layer(rec, layer, &x, cache, &context, attend)?;
        }
        self.record_head(rec, &x)
    }

    fn record_layer(
        &self,
        rec: &mut Recorder,
        layer: &Layer,
        x: &Tensor,
        (keys, values): &(Tensor, Tensor),
        context: &LayerContext<'_>,
        attend: impl Fn(&mut Recorder, &Tensor, &Tensor, &Tensor) -> Result<Tensor, OpError>,
    ) -> Result<Tensor, OpError> {
        let DecoderConfig { heads, kv_heads, head_dim, eps, .. } = self.config;
        let &LayerContext { index, positions, rope, slot, routes, cross } = context;
        let normed = rec.rms_norm(x, RmsNorm { scale: &layer.input_norm, eps })?;
        let qkv = routed(rec, layer, routes, &normed, None, |rec, by, x, _| {
            rec.matmul(x, &by.qkv, Epilogue { bias: by.qkv_bias.as_ref(), ..Epilogue::default() })
        })?;
        rec.rope_kv(&qkv, heads, kv_heads, head_dim, rope, positions, keys, values, slot)?;
        let attended = attend(rec, &qkv, keys, values)?;
        let mut x = routed(rec, layer, routes, &attended, Some(x), |rec, by, x, residual| {
            rec.matmul(x, &by.out, Epilogue { residual, ..Epilogue::default() })
        })?;
        if let (Some(layer), Some(cache)) = (&layer.cross, cross) {
            x = layer.record(rec, &x, eps, cache, index)?;
        }
        let normed = rec.rms_norm(&x, RmsNorm { scale: &layer.post_norm, eps })?;
        routed(rec, layer, routes, &normed, Some(&x), |rec, by, x, residual| {
            let inner = rec.matmul(x, &by.gate_up, Epilogue::default())?;
            let gated = rec.gate(&inner, Activation::Silu)?;
            rec.matmul(&gated, &by.down, Epilogue { residual, ..Epilogue::default() })
        })
    }

    fn record_head(&self, rec: &mut Recorder, x: &Tensor) -> Result<Tensor, OpError> {
        let normed = rec.rms_norm(x, RmsNorm { scale: &self.norm, eps: self.config.eps })?;
        rec.matmul(&normed, self.head.as_ref().unwrap_or(&self.embedding), Epilogue::default())
    }
}

/// What `work` makes of the rows of `x` and their residual, each row with the projections of its own expert.
fn routed(
    rec: &mut Recorder,
    layer: &Layer,
    routes: Option<&Routes>,
    x: &Tensor,
    residual: Option<&Tensor>,
    work: impl Fn(&mut Recorder, &Projections, &Tensor, Option<&Tensor>) -> Result<Tensor, OpError>,
) -> Result<Tensor, OpError> {
    let (Some(routes), Some(vision)) = (routes, &layer.vision) else {
        return work(rec, &layer.language, x, residual);
    };
    let mut part = |projections: &Projections, rows: &Tensor| {
        let own = rec.gather_rows(x, rows.into(), rows.len())?;
        let residual = match residual {
            Some(residual) => Some(rec.gather_rows(residual, rows.into(), rows.len())?),
            None => None,
        };
        work(rec, projections, &own, residual.as_ref())
    };
    let (seen, said) = (part(vision, &routes.vision)?, part(&layer.language, &routes.language)?);
    rec.assemble_rows(&[(&seen, &routes.vision), (&said, &routes.language)])
}
