//! Attention of every row of a decoder layer to a picture's features, in CogAgent-18B's few dimensions.
//!
//! `x = x + dense(softmax(q k^T / sqrt(d)) v)` with `q = query(RMSNorm(x))`, `[k | v] = key_value(features)`: no
//! positions, no mask, no biases. Keys and values depend on the picture alone and are computed once for it. Source:
//! `CrossAttention` of `modeling_cogagent.py`; Hong et al., "CogAgent", 2023.

use std::ops::Range;

use fovea_engine::{
    DType, OpError, Recorder, Tensor,
    op::{Attention, DecodeAttention, Epilogue, Heads, Mask, RmsNorm},
    weights::{CrossFormat, Scope, TensorClass, Weight, WeightError},
};

use super::Sizes;

/// Sizes of the cross attention of every layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossAttentionConfig {
    /// Width of the picture's features.
    pub features: usize,
    /// Width of queries, keys and values.
    pub width: usize,
    /// Heads.
    pub heads: usize,
}

impl CrossAttentionConfig {
    fn heads(&self) -> Heads {
        Heads::new(self.heads, self.heads, self.width / self.heads)
    }

    /// Its weights in one layer of a decoder of width `hidden`; norm included.
    pub(super) fn sizes(&self, layers: usize, hidden: usize) -> Sizes {
        self.key_value_sizes(layers)
            .matrix(TensorClass::Decoder, layers, self.width, hidden)
            .matrix(TensorClass::Decoder, layers, hidden, self.width)
            .vector(layers, hidden)
    }

    fn key_value_sizes(&self, layers: usize) -> Sizes {
        Sizes::default().matrix(TensorClass::Decoder, layers, 2 * self.width, self.features)
    }

    /// Floating-point operations of the keys and values of `features` rows, in all layers.
    pub(super) fn key_value_flops(&self, layers: usize, features: usize) -> u64 {
        2 * features as u64 * self.key_value_sizes(layers).products()
    }

    /// Floating-point operations of scores and sums for `rows` of the decoder, in all layers.
    pub(super) fn attention_flops(&self, layers: usize, rows: usize, features: usize) -> u64 {
        4 * (layers * self.width) as u64 * rows as u64 * features as u64
    }

    /// Bytes of the keys and values of `features` rows, in all layers.
    pub(super) fn key_value_bytes(&self, layers: usize, features: usize, format: CrossFormat) -> u64 {
        let each = format.dtype(self.heads().head_dim).bytes();
        (2 * each * layers * self.width) as u64 * features as u64
    }
}

/// A picture's keys and values for every layer that attends to it, `[features, width]` f32 or f16 each.
pub struct CrossCache {
    /// By the layers' indices, in order.
    layers: Vec<(usize, (Tensor, Tensor))>,
    /// Which of them rows behind the last picture see.
    pub(super) seen: Range<usize>,
    /// Their end on the GPU, `[1]` u32.
    pub(super) seen_count: Tensor,
}

impl CrossCache {
    /// Of the keys and values of each layer by its index, of which rows behind the last picture see `seen`.
    ///
    /// # Errors
    /// [`OpError::Gpu`].
    pub fn new(rec: &Recorder, layers: Vec<(usize, (Tensor, Tensor))>, seen: Range<usize>) -> Result<Self, OpError> {
        let seen_count = rec.gpu().upload("features attended to", &[1], &[seen.end as u32])?;
        Ok(Self { layers, seen, seen_count })
    }

    /// Keys and values of a layer as they are kept, in this type.
    pub(super) fn kept(
        rec: &mut Recorder,
        (keys, values): (Tensor, Tensor),
        dtype: DType,
    ) -> Result<(Tensor, Tensor), OpError> {
        if dtype == DType::F16 { Ok((rec.to_f16(&keys)?, rec.to_f16(&values)?)) } else { Ok((keys, values)) }
    }

    /// Which of them rows behind the last picture see.
    pub(crate) fn seen(&self) -> Range<usize> {
        self.seen.clone()
    }

    /// Keys and values of the layer of this index.
    ///
    /// # Errors
    /// [`OpError::Value`] if they were not computed for this layer.
    pub(super) fn of(&self, layer: usize) -> Result<&(Tensor, Tensor), OpError> {
        let place = self.layers.binary_search_by_key(&layer, |(index, _)| *index).ok();
        place.and_then(|place| self.layers.get(place)).map(|(_, tensors)| tensors).ok_or_else(|| OpError::Value {
            op: "cross attention",
            what: "layer",
            got: layer.to_string(),
            expected: "a layer with keys and values of the picture".to_owned(),
        })
    }

    /// The keys and values, every layer's keys first.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.layers.iter().flat_map(|(_, (keys, values))| [keys, values])
    }

    /// The same with `of` each tensor, such as where it lives beyond a program.
    ///
    /// # Errors
    /// That of `of`.
    pub fn map<E>(&self, of: impl Fn(&Tensor) -> Result<Tensor, E>) -> Result<Self, E> {
        let layers = self.layers.iter().map(|(index, (keys, values))| Ok((*index, (of(keys)?, of(values)?))));
        let layers = layers.collect::<Result<_, E>>()?;
        Ok(Self { layers, seen: self.seen.clone(), seen_count: self.seen_count.clone() })
    }
}

/// The cross attention's weights of one layer.
pub(super) struct CrossAttention {
    config: CrossAttentionConfig,
    /// Of the keys and values that are kept.
    dtype: DType,
    norm: Tensor,
    query: Weight,
    key: Weight,
    value: Weight,
    out: Weight,
}

impl CrossAttention {
    /// Loads `cross_attn` and `post_cross_attention_layernorm` under a layer.
    pub(super) async fn load(
        layer: &Scope<'_>,
        config: CrossAttentionConfig,
        hidden: usize,
    ) -> Result<Self, WeightError> {
        let (at, class) = (layer.at("cross_attn"), TensorClass::Decoder);
        let CrossAttentionConfig { features, width, .. } = config;
        let both = [2 * width, features];
        Ok(Self {
            norm: layer.tensor("post_cross_attention_layernorm.weight", &[hidden]).await?,
            query: at.matrix("query.weight", &[width, hidden], class).await?,
            key: at.matrix_rows("key_value.weight", &both, 0..width, class).await?,
            value: at.matrix_rows("key_value.weight", &both, width..2 * width, class).await?,
            out: at.matrix("dense.weight", &[hidden, width], class).await?,
            dtype: layer.policy().cross.dtype(config.heads().head_dim),
            config,
        })
    }

    /// Keys and values of a picture's features.
    pub(super) fn record_keys(&self, rec: &mut Recorder, features: &Tensor) -> Result<(Tensor, Tensor), OpError> {
        let keys = rec.matmul(features, &self.key, Epilogue::default())?;
        let values = rec.matmul(features, &self.value, Epilogue::default())?;
        CrossCache::kept(rec, (keys, values), self.dtype)
    }

    /// The rows `x` after they have looked; `layer` is this layer's index.
    pub(super) fn record(
        &self,
        rec: &mut Recorder,
        x: &Tensor,
        eps: f32,
        cache: &CrossCache,
        layer: usize,
    ) -> Result<Tensor, OpError> {
        let (keys, values) = cache.of(layer)?;
        let normed = rec.rms_norm(x, RmsNorm { scale: &self.norm, eps })?;
        let query = rec.matmul(&normed, &self.query, Epilogue::default())?;
        let heads = self.config.heads();
        let attended = if x.rows_and_width().0 == 1 {
            let attention = DecodeAttention { heads, length: (&cache.seen_count).into(), extra: 0, window: None };
            rec.attention_decode((&query).into(), keys, values, attention)?
        } else {
            let attention = Attention { heads, kv_len: keys.rows_and_width().0, mask: Mask::Full };
            rec.attention((&query).into(), keys.into(), values.into(), attention)?
        };
        rec.matmul(&attended, &self.out, Epilogue { residual: Some(x), ..Epilogue::default() })
    }
}
