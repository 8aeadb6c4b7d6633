//! Decoder layers that attend to a picture instead of the text, as Llama 3.2 Vision has them between its own.
//!
//! `h = x + tanh(a) attention(q, k, v)` with `q = RMSNorm(query(x))` and `k = RMSNorm(key(features))` for each head, no
//! positions; the feedforward's branch is multiplied by `tanh(b)` and left out of rows that stand before all pictures. Those
//! rows see every feature, also those of tiles without a picture; rows from a picture on see its features and those of
//! the pictures right before it, up to the next picture. Keys and values are computed once. Source:
//! `MllamaCrossAttentionDecoderLayer` and `_prepare_cross_attention_mask` of `modeling_mllama.py`,
//! `get_cross_attention_token_mask` of `processing_mllama.py`, transformers 4.57.1; Alayrac et al., "Flamingo", 2022.

use std::ops::Range;

use fovea_engine::{
    DType, Gpu, GpuError, OpError, Recorder, Tensor,
    op::{Attention, DecodeAttention, Epilogue, Heads, Mask, Ranges, RmsNorm},
    weights::{Scope, TensorClass, Weight, WeightError},
};

use super::{CrossCache, Sizes, rows::iota};

/// Which layers attend to a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatedCrossConfig {
    /// Their indices.
    pub layers: Vec<usize>,
}

impl GatedCrossConfig {
    /// The weights of their attention and gates, for a decoder of width `hidden`.
    pub(super) fn sizes(&self, hidden: usize, heads: Heads) -> Sizes {
        let (class, count) = (TensorClass::Decoder, self.layers.len());
        let (queries, keys) = (heads.heads * heads.head_dim, heads.kv_heads * heads.head_dim);
        Sizes::default()
            .matrix(class, count, queries, hidden)
            .matrix(class, count, 2 * keys, hidden)
            .matrix(class, count, hidden, queries)
            .vector(2 * count, heads.head_dim + 1)
    }

    /// Multiply-adds of queries and outputs for a row of the decoder.
    pub(super) fn query_products(&self, hidden: usize, heads: Heads) -> u64 {
        2 * (self.layers.len() * hidden * heads.heads * heads.head_dim) as u64
    }

    /// Multiply-adds of keys and values for a row of the picture.
    pub(super) fn key_value_products(&self, hidden: usize, heads: Heads) -> u64 {
        2 * (self.layers.len() * hidden * heads.kv_heads * heads.head_dim) as u64
    }
}

/// The features that rows of a prompt attend to, from one of them on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrossRange {
    /// The row.
    pub from: usize,
    /// The features.
    pub seen: Range<usize>,
}

/// The cross-attention mask: which features of the pictures each row of a prompt attends to.
pub(super) struct CrossMask {
    ranges: Ranges,
    /// Of the rows that run: those before all pictures, and the others; `None` if there are none before it.
    before: Option<(Tensor, Option<Tensor>)>,
}

impl CrossMask {
    /// For `tokens` rows behind `past` others.
    pub(super) fn new(
        gpu: &Gpu,
        cache: &CrossCache,
        past: usize,
        tokens: usize,
        cross_ranges: &[CrossRange],
    ) -> Result<Self, GpuError> {
        let before = cross_ranges.first().map_or(0, |first| first.from).saturating_sub(past).min(tokens);
        let all = cache.tensors().next().map_or(0, |keys| keys.rows_and_width().0);
        let seen = |row: usize| {
            let last = cross_ranges.iter().rev().find(|range| range.from <= past + row);
            last.map_or(0..all as u32, |range| range.seen.start as u32..range.seen.end as u32)
        };
        let ranges: Vec<_> = (0..tokens).map(seen).collect();
        let rows = |first: usize, count: usize| iota(gpu, first, count);
        let behind = tokens - before;
        let before = match before {
            0 => None,
            _ if behind == 0 => Some((rows(0, before)?, None)),
            _ => Some((rows(0, before)?, Some(rows(before, behind)?))),
        };
        Ok(Self { ranges: Ranges::new(gpu, &ranges)?, before })
    }
}

/// What such a layer has besides norms, projections of queries and outputs, and feedforward.
pub(super) struct GatedCross {
    heads: Heads,
    /// Of the keys and values that are kept.
    dtype: DType,
    eps: f32,
    key: Weight,
    value: Weight,
    query_norm: Tensor,
    key_norm: Tensor,
    attention_gate: f32,
    mlp_gate: f32,
}

impl GatedCross {
    /// The name of the projection of queries.
    pub(super) const QUERY: &'static str = "cross_attn.q_proj";
    /// The name of the projection behind the attention.
    pub(super) const OUT: &'static str = "cross_attn.o_proj";

    /// Loads `cross_attn` and the gates under a layer.
    pub(super) async fn load(layer: &Scope<'_>, hidden: usize, heads: Heads, eps: f32) -> Result<Self, WeightError> {
        let (at, class) = (layer.at("cross_attn"), TensorClass::Decoder);
        let keys = [heads.kv_heads * heads.head_dim, hidden];
        let gate = async |name: &str| {
            Ok::<_, WeightError>(layer.numbers(name, &[1]).await?.first().map_or(0.0, |gate| gate.tanh()))
        };
        Ok(Self {
            key: at.matrix("k_proj.weight", &keys, class).await?,
            value: at.matrix("v_proj.weight", &keys, class).await?,
            query_norm: at.tensor("q_norm.weight", &[heads.head_dim]).await?,
            key_norm: at.tensor("k_norm.weight", &[heads.head_dim]).await?,
            attention_gate: gate("cross_attn_attn_gate").await?,
            mlp_gate: gate("cross_attn_mlp_gate").await?,
            dtype: layer.policy().cross.dtype(heads.head_dim),
            heads,
            eps,
        })
    }

    /// RMSNorm of each head.
    fn normed(&self, rec: &mut Recorder, x: &Tensor, scale: &Tensor) -> Result<Tensor, OpError> {
        let (rows, width) = x.rows_and_width();
        let head_dim = self.heads.head_dim;
        let heads = x.reshape(&[rows.saturating_mul(width) / head_dim.max(1), head_dim])?;
        let normed = rec.rms_norm(&heads, RmsNorm { scale, eps: self.eps })?;
        normed.reshape(&[rows, width])
    }

    /// Keys and values of a picture's features.
    pub(super) fn record_keys(&self, rec: &mut Recorder, features: &Tensor) -> Result<(Tensor, Tensor), OpError> {
        let keys = rec.matmul(features, &self.key, Epilogue::default())?;
        let keys = self.normed(rec, &keys, &self.key_norm)?;
        let values = rec.matmul(features, &self.value, Epilogue::default())?;
        CrossCache::kept(rec, (keys, values), self.dtype)
    }

    /// What the queries of layer `index` see; without `cross_mask`, one query behind the picture.
    pub(super) fn attend(
        &self,
        rec: &mut Recorder,
        query: &Tensor,
        cache: &CrossCache,
        index: usize,
        cross_mask: Option<&CrossMask>,
    ) -> Result<Tensor, OpError> {
        let query = self.normed(rec, query, &self.query_norm)?;
        let (keys, values) = cache.of(index)?;
        match cross_mask {
            Some(cross_mask) => {
                let mask = Mask::Ranges(&cross_mask.ranges);
                let attention = Attention { heads: self.heads, kv_len: keys.rows_and_width().0, mask };
                rec.attention((&query).into(), keys.into(), values.into(), attention)
            }
            None => {
                let length = (&cache.seen_count).into();
                let window = Some(cache.seen.len());
                let attention = DecodeAttention { heads: self.heads, length, extra: 0, window };
                rec.attention_decode((&query).into(), keys, values, attention)
            }
        }
    }

    /// `x + tanh(a) attended`.
    pub(super) fn add_attended(&self, rec: &mut Recorder, x: &Tensor, attended: &Tensor) -> Result<Tensor, OpError> {
        let gated = rec.scale(attended, self.attention_gate)?;
        rec.add(x, &gated)
    }

    /// `x + tanh(b) inner(x)` for the rows from the picture on, and `x` for those before it.
    pub(super) fn add_inner(
        &self,
        rec: &mut Recorder,
        x: &Tensor,
        cross_mask: Option<&CrossMask>,
        inner: impl Fn(&mut Recorder, &Tensor) -> Result<Tensor, OpError>,
    ) -> Result<Tensor, OpError> {
        let add = |rec: &mut Recorder, x: &Tensor| {
            let inner = inner(rec, x)?;
            let gated = rec.scale(&inner, self.mlp_gate)?;
            rec.add(x, &gated)
        };
        match cross_mask.and_then(|cross_mask| cross_mask.before.as_ref()) {
            None => add(rec, x),
            Some((_, None)) => Ok(x.clone()),
            Some((before, Some(behind))) => {
                let rows = rec.gather_rows(x, behind.into(), behind.len())?;
                let rows = add(rec, &rows)?;
                let others = rec.gather_rows(x, before.into(), before.len())?;
                rec.assemble_rows(&[(&others, before), (&rows, behind)])
            }
        }
    }
}
