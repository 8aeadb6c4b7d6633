//! The LLaMA-style decoder: RMSNorm, grouped-query attention with rotary positions and a KV cache, SiLU-gated
//! feedforward. Source: `modeling_qwen2_vl.py` of transformers 4.57.1 (Qwen2's decoder with M-RoPE).

use std::cell::RefCell;

use fovea_engine::{
    At, DType, Gpu, GpuError, OpError, Recorder, Tensor,
    op::{Activation, Attention, DecodeAttention, DecodeState, Epilogue, Heads, Mask, RmsNorm, Rope, RopeStyle, Slot},
    weights::{Scope, TensorClass, Weight, WeightError},
};

/// Sizes of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
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
    /// Base of the rotary frequencies.
    pub theta: f64,
    /// Pairs of a head that turn with each axis of a position: one number for plain RoPE, three for M-RoPE.
    pub rope_sections: Vec<usize>,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether the head is the embedding.
    pub tied: bool,
}

impl DecoderConfig {
    fn queries(&self) -> usize {
        self.heads * self.head_dim
    }

    fn keys(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    fn head_sizes(&self) -> Heads {
        let scale = (self.head_dim as f32).sqrt().recip();
        Heads { heads: self.heads, kv_heads: self.kv_heads, head_dim: self.head_dim, scale }
    }

    /// Parameters of the layers and norms, of the embedding, and of the head (0 if tied).
    pub fn parameters(&self) -> (u64, u64, u64) {
        let qkv = self.queries() + 2 * self.keys();
        let attention = self.hidden * (qkv + self.queries()) + if self.qkv_bias { qkv } else { 0 };
        let layer = attention + 3 * self.hidden * self.feedforward + 2 * self.hidden;
        let embedding = (self.vocabulary * self.hidden) as u64;
        ((self.layers * layer + self.hidden) as u64, embedding, if self.tied { 0 } else { embedding })
    }

    /// Floating-point operations of a prefill of `tokens`, logits of the last row only.
    pub fn prefill_flops(&self, tokens: usize) -> u64 {
        let (tokens, queries) = (tokens as u64, self.queries() as u64);
        let linear = self.hidden * (2 * self.queries() + 2 * self.keys() + 3 * self.feedforward);
        let layer = tokens * linear as u64 + tokens * (tokens + 1) / 2 * 2 * queries;
        2 * (self.layers as u64 * layer + (self.vocabulary * self.hidden) as u64)
    }

    /// Bytes of keys and values for one token, in f32.
    pub fn kv_bytes(&self) -> u64 {
        (2 * self.layers * self.keys() * 4) as u64
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

struct Layer {
    input_norm: Tensor,
    qkv: Weight,
    qkv_bias: Option<Tensor>,
    out: Weight,
    post_norm: Tensor,
    gate_up: Weight,
    down: Weight,
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

impl Decoder {
    /// Loads a decoder whose layers are under `model`, whose head is at `lm_head.weight` of `root`.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor.
    pub async fn load(root: &Scope<'_>, config: DecoderConfig) -> Result<Self, WeightError> {
        let model = root.at("model");
        let (hidden, class) = (config.hidden, TensorClass::Decoder);
        let (queries, keys, inner) = (config.queries(), config.keys(), config.feedforward);
        let table = [config.vocabulary, hidden];
        let embedding = model.matrix("embed_tokens.weight", &table, TensorClass::Embedding).await?;
        let mut layers = Vec::with_capacity(config.layers.min(1024));
        for index in 0..config.layers {
            let at = model.at(&format!("layers.{index}"));
            let (attention, mlp) = (at.at("self_attn"), at.at("mlp"));
            let (query, key) = ([queries, hidden], [keys, hidden]);
            let qkv: [(&str, &[usize]); 3] =
                [("q_proj.weight", &query), ("k_proj.weight", &key), ("v_proj.weight", &key)];
            let biases: [(&str, &[usize]); 3] =
                [("q_proj.bias", &query[..1]), ("k_proj.bias", &key[..1]), ("v_proj.bias", &key[..1])];
            let up = [inner, hidden];
            layers.push(Layer {
                input_norm: at.tensor("input_layernorm.weight", &[hidden]).await?,
                qkv: attention.stacked(&qkv, class).await?,
                qkv_bias: if config.qkv_bias { Some(attention.joined(&biases).await?) } else { None },
                out: attention.matrix("o_proj.weight", &[hidden, queries], class).await?,
                post_norm: at.tensor("post_attention_layernorm.weight", &[hidden]).await?,
                gate_up: mlp.stacked(&[("gate_proj.weight", &up), ("up_proj.weight", &up)], class).await?,
                down: mlp.matrix("down_proj.weight", &[hidden, inner], class).await?,
            });
        }
        let norm = model.tensor("norm.weight", &[hidden]).await?;
        let head =
            if config.tied { None } else { Some(root.matrix("lm_head.weight", &table, TensorClass::Head).await?) };
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
        let axes = self.config.rope_sections.iter().enumerate().flat_map(|(axis, &pairs)| vec![axis as u32; pairs]);
        let dim = self.config.head_dim as f64;
        let pairs: Vec<_> =
            axes.enumerate().map(|(i, axis)| (self.config.theta.powf(-((2 * i) as f64) / dim), axis)).collect();
        Rope::new(gpu, capacity, &pairs, RopeStyle::Halves)
    }

    /// Records the embedding of tokens.
    ///
    /// # Errors
    /// [`OpError`].
    pub fn record_embedding(&self, rec: &mut Recorder, ids: At<'_>, count: usize) -> Result<Tensor, OpError> {
        rec.embed(&self.embedding, ids, count)
    }

    /// Records the layers for the rows `x`, `[tokens, hidden]`, that follow `past` rows in the cache.
    ///
    /// # Errors
    /// [`OpError`], also if the cache is too small.
    pub fn record_prefill(
        &self,
        rec: &mut Recorder,
        x: Tensor,
        positions: &Tensor,
        cache: &KvCache,
        rope: &Rope,
        past: usize,
        rows: Rows,
    ) -> Result<Prefill, OpError> {
        let tokens = x.rows_and_width().0;
        let attend = |rec: &mut Recorder, qkv: &Tensor, keys: &Tensor, values: &Tensor| {
            let attention =
                Attention { heads: self.config.head_sizes(), kv_len: past + tokens, mask: Mask::Causal { past } };
            rec.attention(qkv.columns(0, self.config.queries()), keys.into(), values.into(), attention)
        };
        let looks = RefCell::new(Vec::new());
        let attend = |rec: &mut Recorder, qkv: &Tensor, keys: &Tensor, values: &Tensor| {
            if rows == Rows::Watched {
                let query = qkv.columns(0, self.config.queries());
                let look = rec.attention_weights(query, keys, self.config.head_sizes(), past + tokens)?;
                looks.borrow_mut().push(look);
            }
            attend(rec, qkv, keys, values)
        };
        let mut hidden_first = x.clone();
        let mut x = x;
        for (index, (layer, cache)) in self.layers.iter().zip(&cache.layers).enumerate() {
            x = self.record_layer(rec, layer, &x, (positions.into(), rope), cache, Slot::Fixed(past), attend)?;
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
    ) -> Result<Tensor, OpError> {
        let attend = |rec: &mut Recorder, qkv: &Tensor, keys: &Tensor, values: &Tensor| {
            let heads = self.config.head_sizes();
            let attention = DecodeAttention { heads, length: state.length_at(), extra: 1 };
            rec.attention_decode(qkv.columns(0, self.config.queries()), keys, values, attention)
        };
        let mut x = self.record_embedding(rec, state.token_at(), 1)?;
        for (layer, cache) in self.layers.iter().zip(&cache.layers) {
            let slot = Slot::From(state.length_at());
            x = self.record_layer(rec, layer, &x, (state.position_at(), rope), cache, slot, attend)?;
        }
        self.record_head(rec, &x)
    }

    fn record_layer(
        &self,
        rec: &mut Recorder,
        layer: &Layer,
        x: &Tensor,
        (positions, rope): (At<'_>, &Rope),
        (keys, values): &(Tensor, Tensor),
        slot: Slot<'_>,
        attend: impl Fn(&mut Recorder, &Tensor, &Tensor, &Tensor) -> Result<Tensor, OpError>,
    ) -> Result<Tensor, OpError> {
        let DecoderConfig { heads, kv_heads, head_dim, eps, .. } = self.config;
        let normed = rec.rms_norm(x, RmsNorm { scale: &layer.input_norm, eps })?;
        let bias = layer.qkv_bias.as_ref();
        let qkv = rec.matmul(&normed, &layer.qkv, Epilogue { bias, ..Epilogue::default() })?;
        rec.rope_kv(&qkv, heads, kv_heads, head_dim, rope, positions, keys, values, slot)?;
        let attended = attend(rec, &qkv, keys, values)?;
        let x = rec.matmul(&attended, &layer.out, Epilogue { residual: Some(x), ..Epilogue::default() })?;
        let normed = rec.rms_norm(&x, RmsNorm { scale: &layer.post_norm, eps })?;
        let inner = rec.matmul(&normed, &layer.gate_up, Epilogue::default())?;
        let gated = rec.gate(&inner, Activation::Silu)?;
        rec.matmul(&gated, &layer.down, Epilogue { residual: Some(&x), ..Epilogue::default() })
    }

    fn record_head(&self, rec: &mut Recorder, x: &Tensor) -> Result<Tensor, OpError> {
        let normed = rec.rms_norm(x, RmsNorm { scale: &self.norm, eps: self.config.eps })?;
        rec.matmul(&normed, self.head.as_ref().unwrap_or(&self.embedding), Epilogue::default())
    }
}
