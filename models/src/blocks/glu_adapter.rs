//! The adapter of CogVLM, CogVLM2, GLM-4V and CogAgent, from patches to the decoder's width.
//!
//! `x = x + positions` where it has positions of its own; a 2x2 convolution of stride 2 where it has one;
//! `x = gelu(LN(linear(x)))`, `x = down(silu(gate x) * up x)`; a learned row before and one behind; everything over
//! `scaling`. Source: `GLU` and `EVA2CLIPModel` in `visual.py` of `THUDM/cogvlm2-llama3-chat-19B`, `THUDM/glm-4v-9b` and
//! `THUDM/cogagent-chat-hf`.

use fovea_engine::{
    OpError, Recorder, Tensor,
    op::{Activation, MergeOrder},
    weights::{Scope, TensorClass, WeightError},
};

use super::{
    Norm, Sizes,
    mlp::Mlp,
    parts::{Linear, NormWeights},
    rows::join,
};
use crate::image::PatchGrid;

/// Added to the variance; the reference's default.
const EPS: f32 = 1e-5;

/// Sizes of the adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct GluAdapterConfig {
    /// Width of the tower.
    pub width: usize,
    /// Outputs of the convolution that makes one token of 2x2 patches, if there is one.
    pub convolution: Option<usize>,
    /// Learned positions of its own, one for each patch, if it has any.
    pub positions: Option<usize>,
    /// Inner width of the gated unit.
    pub feedforward: usize,
    /// Width of the decoder.
    pub out: usize,
    /// What its output is divided by.
    pub scaling: f32,
}

impl GluAdapterConfig {
    /// Patches of a side of the square that becomes one token.
    pub fn merge(&self) -> u32 {
        if self.convolution.is_some() { 2 } else { 1 }
    }

    /// Its weights.
    pub fn sizes(&self) -> Sizes {
        let class = TensorClass::Connector;
        let sizes = match self.convolution {
            Some(out) => Sizes::default().matrix(class, 1, out, 4 * self.width).vector(1, out),
            None => Sizes::default(),
        };
        sizes
            .vector(self.positions.unwrap_or_default(), self.width)
            .matrix(class, 1, self.out, self.convolution.unwrap_or(self.width))
            .and(Norm::Layer.sizes(1, self.out))
            .matrix(class, 1, 2 * self.feedforward, self.out)
            .matrix(class, 1, self.out, self.feedforward)
            .vector(2, self.out)
    }
}

/// The adapter's weights.
pub struct GluAdapter {
    config: GluAdapterConfig,
    positions: Option<Tensor>,
    convolution: Option<Linear>,
    linear: Linear,
    norm: NormWeights,
    gate_up: Linear,
    down: Linear,
    begin: Tensor,
    end: Tensor,
}

impl GluAdapter {
    /// Loads the adapter from `pos_embed`, `conv`, `linear_proj`, `boi` and `eoi` under `at`.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor.
    pub async fn load(at: &Scope<'_>, config: GluAdapterConfig) -> Result<Self, WeightError> {
        let GluAdapterConfig { width, feedforward, out, .. } = config;
        let class = TensorClass::Connector;
        let unit = at.at("linear_proj");
        let up = [("gate_proj", feedforward), ("dense_h_to_4h", feedforward)];
        Ok(Self {
            positions: match config.positions {
                Some(count) => Some(at.tensor("pos_embed", &[count, width]).await?),
                None => None,
            },
            convolution: match config.convolution {
                Some(out) => Some(Linear::convolution(&at.at("conv"), &[out, width, 2, 2], class).await?),
                None => None,
            },
            linear: Linear::unbiased(&unit.at("linear_proj"), out, config.convolution.unwrap_or(width), class).await?,
            norm: NormWeights::load(&unit.at("norm1"), Norm::Layer, out, EPS).await?,
            gate_up: Linear::fused(&unit, &up, out, false, class).await?,
            down: Linear::unbiased(&unit.at("dense_4h_to_h"), out, feedforward, class).await?,
            begin: at.table("boi", 1, out).await?,
            end: at.table("eoi", 1, out).await?,
            config,
        })
    }

    /// Records `[patches, width]` in raster order to `[tokens, out]`: the learned row, the tokens in raster order, the
    /// other learned row.
    ///
    /// # Errors
    /// [`OpError`] if the patches do not fit the grid or the positions.
    pub fn record(&self, rec: &mut Recorder, patches: &Tensor, grid: PatchGrid) -> Result<Tensor, OpError> {
        let mut x = patches.clone();
        if let Some(positions) = &self.positions {
            x = rec.add(&x, positions)?;
        }
        if let Some(convolution) = &self.convolution {
            let (rows, columns) = (grid.height as usize, grid.width as usize);
            let squares = rec.merge_2x2(&x, rows, columns, MergeOrder::ByChannel)?;
            x = convolution.record(rec, &squares, Activation::None, None)?;
        }
        let x = self.linear.record(rec, &x, Activation::None, None)?;
        let normed = self.norm.record(rec, &x)?;
        let x = rec.activation(&normed, Activation::GeluErf)?;
        let unit = Mlp { up: &self.gate_up, activation: Activation::Silu, gated: true, norm: None, down: &self.down };
        let x = unit.record(rec, &x, None)?;
        let rows = join(rec, &[&self.begin, &x, &self.end])?;
        if self.config.scaling == 1.0 { Ok(rows) } else { rec.scale(&rows, self.config.scaling.recip()) }
    }
}
