//! Qwen's patch merger: the patches of a square become one token.
//!
//! Each patch is normalised, the `merge * merge` patches of a square, which follow each other, are joined, and two
//! projections with a GELU between them lead to the decoder's width. Source: `PatchMerger` of `modeling_qwen2_vl.py`,
//! transformers 4.57.1.

use fovea_engine::{
    OpError, Recorder, Tensor,
    op::Activation,
    weights::{Scope, TensorClass, WeightError},
};

use super::{
    Norm, Sizes,
    mlp::Mlp,
    parts::{Linear, NormWeights},
};

/// Added to variances and mean squares; the reference fixes it.
const EPS: f32 = 1e-6;

/// Sizes of the merger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchMergerConfig {
    /// Width of the tower.
    pub width: usize,
    /// Side of the square of patches that becomes one token.
    pub merge: usize,
    /// Normalisation.
    pub norm: Norm,
    /// Width of the decoder.
    pub out: usize,
}

impl PatchMergerConfig {
    fn joined(&self) -> usize {
        self.width * self.merge * self.merge
    }

    /// Its weights.
    pub fn sizes(&self) -> Sizes {
        let (class, joined) = (TensorClass::Connector, self.joined());
        self.norm
            .sizes(1, self.width)
            .matrix(class, 1, joined, joined)
            .matrix(class, 1, self.out, joined)
            .vector(1, joined + self.out)
    }
}

/// The merger's weights.
pub struct PatchMerger {
    config: PatchMergerConfig,
    norm: NormWeights,
    up: Linear,
    down: Linear,
}

impl PatchMerger {
    /// Loads the merger from `ln_q` and `mlp` under `at`.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor.
    pub async fn load(at: &Scope<'_>, config: PatchMergerConfig) -> Result<Self, WeightError> {
        let (joined, class) = (config.joined(), TensorClass::Connector);
        Ok(Self {
            norm: NormWeights::load(&at.at("ln_q"), config.norm, config.width, EPS).await?,
            up: Linear::load(&at.at("mlp.0"), joined, joined, class).await?,
            down: Linear::load(&at.at("mlp.2"), config.out, joined, class).await?,
            config,
        })
    }

    /// Records `[patches, width]` to `[tokens, out]`.
    ///
    /// # Errors
    /// [`OpError`].
    pub fn record(&self, rec: &mut Recorder, patches: &Tensor) -> Result<Tensor, OpError> {
        let normed = self.norm.record(rec, patches)?;
        let tokens = patches.rows_and_width().0 / (self.config.merge * self.config.merge);
        let joined = normed.reshape(&[tokens, self.config.joined()])?;
        Mlp { up: &self.up, activation: Activation::GeluErf, gated: false, norm: None, down: &self.down }
            .record(rec, &joined, None)
    }
}
