//! What several blocks are made of: projections with biases, norms of either kind.

use fovea_engine::{
    OpError, Recorder, Tensor,
    op::{Activation, Epilogue, LayerNorm, RmsNorm},
    weights::{Scope, TensorClass, Weight, WeightError},
};

use super::Sizes;

/// Which normalisation a block uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// With mean and shift.
    Layer,
    /// Root mean square.
    Rms,
}

impl Norm {
    /// Numbers of `count` norms of `width`.
    pub(super) fn sizes(self, count: usize, width: usize) -> Sizes {
        match self {
            Self::Layer => Sizes::default().vector(2 * count, width),
            Self::Rms => Sizes::default().vector(count, width),
        }
    }
}

/// A norm's weights.
pub(super) enum NormWeights {
    Layer { scale: Tensor, shift: Tensor, eps: f32 },
    Rms { scale: Tensor, eps: f32 },
}

impl NormWeights {
    /// `weight`, and `bias` for one with a shift.
    pub(super) async fn load(at: &Scope<'_>, kind: Norm, width: usize, eps: f32) -> Result<Self, WeightError> {
        let scale = at.tensor("weight", &[width]).await?;
        Ok(match kind {
            Norm::Layer => Self::Layer { scale, shift: at.tensor("bias", &[width]).await?, eps },
            Norm::Rms => Self::Rms { scale, eps },
        })
    }

    pub(super) fn record(&self, rec: &mut Recorder, x: &Tensor) -> Result<Tensor, OpError> {
        match self {
            Self::Layer { scale, shift, eps } => rec.layer_norm(x, LayerNorm { scale, shift, eps: *eps }),
            Self::Rms { scale, eps } => rec.rms_norm(x, RmsNorm { scale, eps: *eps }),
        }
    }
}

/// A projection, with or without a bias.
pub(super) struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
}

impl Linear {
    /// `weight`, `[out, width]`, and `bias`, `[out]`.
    pub(super) async fn load(
        at: &Scope<'_>,
        out: usize,
        width: usize,
        class: TensorClass,
    ) -> Result<Self, WeightError> {
        Self::stacked(at, &[""], out, width, class).await
    }

    /// Projections of the same input as one, their outputs side by side: `weight` of each, of any shape whose first axis
    /// are its outputs, and `bias` if it is wanted.
    pub(super) async fn shaped(
        at: &Scope<'_>,
        names: &[&str],
        shape: &[usize],
        bias: bool,
        class: TensorClass,
    ) -> Result<Self, WeightError> {
        let join = |name: &str, kind: &str| if name.is_empty() { kind.to_owned() } else { format!("{name}.{kind}") };
        let weights: Vec<_> = names.iter().map(|name| join(name, "weight")).collect();
        let weights: Vec<(&str, &[usize])> = weights.iter().map(|name| (name.as_str(), shape)).collect();
        let biases: Vec<_> = names.iter().map(|name| join(name, "bias")).collect();
        let out = shape.get(..1).unwrap_or_default();
        let biases: Vec<(&str, &[usize])> = biases.iter().map(|name| (name.as_str(), out)).collect();
        let weight = at.stacked(&weights, class).await?;
        Ok(Self { weight, bias: if bias { Some(at.joined(&biases).await?) } else { None } })
    }

    /// `weight`, `[out, width]`, and `bias`, `[out]`, if there is one, by their names.
    pub(super) async fn named(
        at: &Scope<'_>,
        weight: &str,
        bias: Option<&str>,
        shape: [usize; 2],
        class: TensorClass,
    ) -> Result<Self, WeightError> {
        let weight = at.matrix(weight, &shape, class).await?;
        let bias = match bias {
            Some(name) => Some(at.tensor(name, &shape[..1]).await?),
            None => None,
        };
        Ok(Self { weight, bias })
    }

    /// `weight` alone.
    pub(super) async fn unbiased(
        at: &Scope<'_>,
        out: usize,
        width: usize,
        class: TensorClass,
    ) -> Result<Self, WeightError> {
        Self::named(at, "weight", None, [out, width], class).await
    }

    /// A convolution whose kernels do not overlap, as the projection of what each sees: `weight` of any shape whose
    /// first axis are its outputs, and `bias`.
    pub(super) async fn convolution(at: &Scope<'_>, shape: &[usize], class: TensorClass) -> Result<Self, WeightError> {
        Self::shaped(at, &[""], shape, true, class).await
    }

    /// Projections of the same input as one, their outputs side by side.
    pub(super) async fn stacked(
        at: &Scope<'_>,
        names: &[&str],
        out: usize,
        width: usize,
        class: TensorClass,
    ) -> Result<Self, WeightError> {
        Self::shaped(at, names, &[out, width], true, class).await
    }

    /// Projections of the same input as one, each by its name and number of outputs, with biases or without.
    pub(super) async fn fused(
        at: &Scope<'_>,
        pieces: &[(&str, usize)],
        width: usize,
        bias: bool,
        class: TensorClass,
    ) -> Result<Self, WeightError> {
        let named = |kind: &str| -> Vec<_> {
            pieces.iter().map(|(name, rows)| (format!("{name}.{kind}"), [*rows, width])).collect()
        };
        let (weights, biases) = (named("weight"), named("bias"));
        let weights: Vec<(&str, &[usize])> = weights.iter().map(|(name, shape)| (name.as_str(), &shape[..])).collect();
        let biases: Vec<(&str, &[usize])> = biases.iter().map(|(name, shape)| (name.as_str(), &shape[..1])).collect();
        let weight = at.stacked(&weights, class).await?;
        Ok(Self { weight, bias: if bias { Some(at.joined(&biases).await?) } else { None } })
    }

    /// `residual + activate(x w^T + bias)`.
    pub(super) fn record(
        &self,
        rec: &mut Recorder,
        x: &Tensor,
        activation: Activation,
        residual: Option<&Tensor>,
    ) -> Result<Tensor, OpError> {
        rec.matmul(x, &self.weight, Epilogue { bias: self.bias.as_ref(), activation, residual })
    }
}
