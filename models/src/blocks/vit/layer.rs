//! A layer of the pre-norm vision transformer.

use fovea_engine::{
    OpError, Recorder, Tensor,
    op::{Activation, Attention, Heads, Mask, Rope},
    weights::{Scope, TensorClass, WeightError},
};

use super::LayerNames;
use crate::blocks::{
    Norm, Sizes,
    mlp::Mlp,
    parts::{Linear, NormWeights, Qkv},
};

/// What the branches of a layer are multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scales {
    /// Nothing.
    One,
    /// A learned number for each feature (LayerScale; Touvron et al., "Going deeper with Image Transformers", 2021).
    Learned,
    /// The hyperbolic tangent of one learned number.
    Gate,
}

/// Sizes of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerConfig {
    /// Width of a patch's features.
    pub hidden: usize,
    /// Attention heads.
    pub heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Inner width of the feedforward.
    pub feedforward: usize,
    /// Its activation.
    pub activation: Activation,
    /// Whether the activation gates a second projection.
    pub gated: bool,
    /// Normalisation.
    pub norm: Norm,
    /// Added to variances and mean squares.
    pub eps: f32,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether the projection behind the attention has one.
    pub out_bias: bool,
    /// Whether the feedforward has biases.
    pub mlp_bias: bool,
    /// Added to mean squares where queries and keys are normalised (RMSNorm over all heads together).
    pub qk_norm: Option<f32>,
    /// What the branches are multiplied by.
    pub scales: Scales,
}

impl LayerConfig {
    /// CLIP's, which others differ from in little: LayerNorm, biases everywhere, quick GELU.
    pub fn clip(hidden: usize, heads: usize, feedforward: usize) -> Self {
        Self {
            hidden,
            heads,
            head_dim: hidden / heads.max(1),
            feedforward,
            activation: Activation::QuickGelu,
            gated: false,
            norm: Norm::Layer,
            eps: 1e-5,
            qkv_bias: true,
            out_bias: true,
            mlp_bias: true,
            qk_norm: None,
            scales: Scales::One,
        }
    }

    fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    fn inputs(&self) -> usize {
        if self.gated { 2 } else { 1 }
    }

    /// The weights of `count` layers.
    pub fn sizes(&self, count: usize) -> Sizes {
        let (class, hidden, width, inner) = (TensorClass::Vision, self.hidden, self.width(), self.feedforward);
        let some = |wanted: bool| if wanted { count } else { 0 };
        let scales = match self.scales {
            Scales::One => 0,
            Scales::Learned => hidden,
            Scales::Gate => 1,
        };
        self.norm
            .sizes(2 * count, hidden)
            .matrix(class, count, 3 * width, hidden)
            .vector(some(self.qkv_bias), 3 * width)
            .and(Norm::Rms.sizes(2 * some(self.qk_norm.is_some()), width))
            .matrix(class, count, hidden, width)
            .vector(some(self.out_bias), hidden)
            .matrix(class, count, self.inputs() * inner, hidden)
            .matrix(class, count, hidden, inner)
            .vector(some(self.mlp_bias), self.inputs() * inner + hidden)
            .vector(2 * count, scales)
    }
}

/// What the rows of a layer need besides its weights.
#[derive(Clone, Copy)]
pub(in crate::blocks) struct Surroundings<'a> {
    /// Which rows a row sees.
    pub mask: Mask<'a>,
    /// How queries and keys turn, and where each row is.
    pub rope: Option<(&'a Rope, &'a Tensor)>,
}

enum Projections {
    /// In one product.
    Joined(Linear),
    /// Queries and keys with a norm each, and values.
    Normed(Box<Normed>),
}

struct Normed {
    query: (Linear, NormWeights),
    key: (Linear, NormWeights),
    value: Linear,
}

/// A layer's weights.
pub(in crate::blocks) struct Layer {
    config: LayerConfig,
    attention_norm: NormWeights,
    qkv: Projections,
    out: Linear,
    mlp_norm: NormWeights,
    up: Linear,
    down: Linear,
    /// `[hidden]` each.
    scales: Option<[Tensor; 2]>,
}

impl Layer {
    pub(in crate::blocks) async fn load(
        at: &Scope<'_>,
        names: LayerNames,
        config: &LayerConfig,
    ) -> Result<Self, WeightError> {
        let &LayerConfig { hidden, feedforward, norm, eps, qkv_bias, out_bias, mlp_bias, .. } = config;
        let (class, width) = (TensorClass::Vision, config.width());
        let linear =
            async |names: &[&str], shape: [usize; 2], bias: bool| Linear::shaped(at, names, &shape, bias, class).await;
        let qkv = if let (Some(eps), &[query, key, value]) = (config.qk_norm, names.qkv) {
            let [query_norm, key_norm] = names.qk_norm;
            let normed = async |name: &str, norm: &str| {
                let norm = NormWeights::load(&at.at(norm), Norm::Rms, width, eps).await?;
                Ok::<_, WeightError>((linear(&[name], [width, hidden], qkv_bias).await?, norm))
            };
            Projections::Normed(Box::new(Normed {
                query: normed(query, query_norm).await?,
                key: normed(key, key_norm).await?,
                value: linear(&[value], [width, hidden], qkv_bias).await?,
            }))
        } else {
            let each = 3 * width / names.qkv.len().max(1);
            Projections::Joined(linear(names.qkv, [each, hidden], qkv_bias).await?)
        };
        let [attention_scale, mlp_scale] = names.scales;
        Ok(Self {
            attention_norm: NormWeights::load(&at.at(names.attention_norm), norm, hidden, eps).await?,
            qkv,
            out: linear(&[names.out], [hidden, width], out_bias).await?,
            mlp_norm: NormWeights::load(&at.at(names.mlp_norm), norm, hidden, eps).await?,
            up: linear(names.up, [feedforward, hidden], mlp_bias).await?,
            down: linear(&[names.down], [hidden, feedforward], mlp_bias).await?,
            scales: match config.scales {
                Scales::One => None,
                Scales::Learned => {
                    Some([at.tensor(attention_scale, &[hidden]).await?, at.tensor(mlp_scale, &[hidden]).await?])
                }
                Scales::Gate => Some([gate(at, attention_scale, hidden).await?, gate(at, mlp_scale, hidden).await?]),
            },
            config: *config,
        })
    }

    /// The rows `x`, `[rows, hidden]`, behind the layer.
    pub(in crate::blocks) fn record(
        &self,
        rec: &mut Recorder,
        x: &Tensor,
        around: Surroundings<'_>,
    ) -> Result<Tensor, OpError> {
        let normed = self.attention_norm.record(rec, x)?;
        let attended = self.attend(rec, &normed, around)?;
        let out = |rec: &mut Recorder, x: Option<&Tensor>| self.out.record(rec, &attended, Activation::None, x);
        let x = self.branch(rec, x, 0, out)?;
        let normed = self.mlp_norm.record(rec, &x)?;
        let LayerConfig { activation, gated, .. } = self.config;
        let mlp = Mlp { up: &self.up, activation, gated, norm: None, down: &self.down };
        self.branch(rec, &x, 1, |rec, residual| mlp.record(rec, &normed, residual))
    }

    fn attend(&self, rec: &mut Recorder, x: &Tensor, around: Surroundings<'_>) -> Result<Tensor, OpError> {
        let LayerConfig { heads, head_dim, .. } = self.config;
        let attention =
            Attention { heads: Heads::new(heads, heads, head_dim), kv_len: x.rows_and_width().0, mask: around.mask };
        match &self.qkv {
            Projections::Joined(qkv) => {
                let qkv = Qkv::record(rec, qkv, x)?;
                if let Some((rope, places)) = around.rope {
                    for turned in qkv.turned() {
                        rec.rope(turned, turned.width / head_dim, head_dim, rope, places.into())?;
                    }
                }
                let [q, k, v] = qkv.columns();
                rec.attention(q, k, v, attention)
            }
            Projections::Normed(projections) => {
                let Normed { query, key, value } = &**projections;
                let mut normed = |(linear, norm): &(Linear, NormWeights)| {
                    let turned = linear.record(rec, x, Activation::None, None)?;
                    let turned = norm.record(rec, &turned)?;
                    if let Some((rope, places)) = around.rope {
                        rec.rope((&turned).into(), heads, head_dim, rope, places.into())?;
                    }
                    Ok::<Tensor, OpError>(turned)
                };
                let (q, k) = (normed(query)?, normed(key)?);
                let v = value.record(rec, x, Activation::None, None)?;
                rec.attention((&q).into(), (&k).into(), (&v).into(), attention)
            }
        }
    }

    /// `x + scale * inner`, where `inner` records itself with a residual or without.
    fn branch(
        &self,
        rec: &mut Recorder,
        x: &Tensor,
        which: usize,
        inner: impl FnOnce(&mut Recorder, Option<&Tensor>) -> Result<Tensor, OpError>,
    ) -> Result<Tensor, OpError> {
        match &self.scales {
            None => inner(rec, Some(x)),
            Some(scales) => {
                let branch = inner(rec, None)?;
                let branch = rec.multiply(&branch, &scales[which])?;
                rec.add(x, &branch)
            }
        }
    }
}

/// The hyperbolic tangent of the one number `name`, as often as there are features.
async fn gate(at: &Scope<'_>, name: &str, hidden: usize) -> Result<Tensor, WeightError> {
    let gate = at.numbers(name, &[1]).await?.first().map_or(0.0, |gate| gate.tanh());
    Ok(at.gpu().upload(name, &[hidden], &vec![gate; hidden])?)
}
