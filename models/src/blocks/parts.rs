//! What several blocks are made of: projections with biases, norms of either kind.

use std::ops::Range;

use fovea_engine::{
    Columns, OpError, Recorder, Tensor,
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
        rec.matmul(x, &self.weight, Epilogue { bias: self.bias.as_ref().map(Columns::from), activation, residual })
    }

    /// `residual + x w^T + bias` into `y`.
    pub(super) fn record_into(
        &self,
        rec: &mut Recorder,
        x: &Tensor,
        residual: Option<&Tensor>,
        y: &Tensor,
    ) -> Result<(), OpError> {
        let bias = self.bias.as_ref().map(Columns::from);
        rec.matmul_into(x, &self.weight, Epilogue { bias, activation: Activation::None, residual }, y)
    }

    /// These of its outputs.
    fn record_some(&self, rec: &mut Recorder, x: &Tensor, outputs: Range<usize>) -> Result<Tensor, OpError> {
        let bias = self.bias.as_ref().map(|bias| bias.columns(outputs.start, outputs.len()));
        rec.matmul(x, &self.weight.slice(outputs), Epilogue { bias, ..Epilogue::default() })
    }

    /// Number of outputs.
    pub(super) fn outputs(&self) -> usize {
        self.weight.rows
    }
}

/// Queries, keys and values of the same rows, each as wide.
pub(super) enum Qkv {
    /// Side by side.
    Joined(Tensor),
    /// In a tensor each, where they would be too large together.
    Apart([Tensor; 3]),
}

impl Qkv {
    /// Records them by one projection, whose outputs are queries | keys | values.
    pub(super) fn record(rec: &mut Recorder, projection: &Linear, x: &Tensor) -> Result<Self, OpError> {
        let all = projection.outputs();
        let bytes = (x.rows_and_width().0 as u64).saturating_mul(4 * all as u64);
        if bytes <= rec.caps().max_activation {
            return Ok(Self::Joined(projection.record(rec, x, Activation::None, None)?));
        }
        let mut part = |index: usize| projection.record_some(rec, x, index * (all / 3)..(index + 1) * (all / 3));
        Ok(Self::Apart([part(0)?, part(1)?, part(2)?]))
    }

    /// Queries, keys and values.
    pub(super) fn columns(&self) -> [Columns<'_>; 3] {
        match self {
            Self::Joined(all) => {
                let width = all.rows_and_width().1 / 3;
                [0, 1, 2].map(|part| all.columns(part * width, width))
            }
            Self::Apart(each) => each.each_ref().map(Columns::from),
        }
    }

    /// What positions turn: queries and keys, together where they are.
    pub(super) fn turned(&self) -> Vec<Columns<'_>> {
        match self {
            Self::Joined(all) => vec![all.columns(0, all.rows_and_width().1 / 3 * 2)],
            Self::Apart([queries, keys, _]) => vec![queries.into(), keys.into()],
        }
    }
}
