//! The connector of most published systems: one or two projections.
//!
//! Squares of `merge * merge` patches become one token by joining their features (the *pixel shuffle* of InternVL and
//! Idefics3: those of the upper row from left to right, then those below); `x = norm(x)` where there is a norm;
//! `x = linear(x)`, or `x = linear_2(activate(linear_1(x)))`; times `scaling`. Sources, all of transformers 4.57.1:
//! `LlavaMultiModalProjector`, `InternVLMultiModalProjector`, `Idefics3Connector`, `PaliGemmaMultiModalProjector`,
//! `MllamaModel`.

use fovea_engine::{
    OpError, Recorder, Tensor,
    op::Activation,
    weights::{Scope, TensorClass, WeightError},
};

use super::{
    Norm, Sizes,
    parts::{Linear, NormWeights},
};
use crate::image::PatchGrid;

/// A norm before the projections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputNorm {
    /// Its name.
    pub name: &'static str,
    /// Added to the variance.
    pub eps: f32,
}

/// Sizes of the connector.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectorConfig {
    /// Width of the tower.
    pub width: usize,
    /// Side of the square of patches that becomes one token; 1: each patch is one.
    pub merge: usize,
    /// The norm (LayerNorm) before the projections.
    pub norm: Option<InputNorm>,
    /// Names of the projections; the first makes rows of the decoder's width already.
    pub projections: &'static [&'static str],
    /// Whether they have biases.
    pub bias: bool,
    /// Between two projections.
    pub activation: Activation,
    /// Width of the decoder.
    pub out: usize,
    /// What the result is multiplied by.
    pub scaling: f32,
}

impl ProjectorConfig {
    fn joined(&self) -> usize {
        self.width * self.merge * self.merge
    }

    /// Inputs of each projection.
    fn inputs(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let first = std::iter::once(self.joined());
        self.projections.iter().copied().zip(first.chain(std::iter::repeat(self.out)))
    }

    /// Its weights.
    pub fn sizes(&self) -> Sizes {
        let norm = Norm::Layer.sizes(usize::from(self.norm.is_some()), self.joined());
        self.inputs().fold(norm, |sizes, (_, inputs)| {
            sizes.matrix(TensorClass::Connector, 1, self.out, inputs).vector(usize::from(self.bias), self.out)
        })
    }
}

/// The connector's weights.
pub struct Projector {
    config: ProjectorConfig,
    norm: Option<NormWeights>,
    projections: Vec<Linear>,
}

impl Projector {
    /// Loads the connector by its names under `at`.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor.
    pub async fn load(at: &Scope<'_>, config: ProjectorConfig) -> Result<Self, WeightError> {
        let norm = match config.norm {
            Some(norm) => Some(NormWeights::load(&at.at(norm.name), Norm::Layer, config.joined(), norm.eps).await?),
            None => None,
        };
        let mut projections = Vec::new();
        for (name, inputs) in config.inputs() {
            let shape = [config.out, inputs];
            projections.push(Linear::shaped(at, &[name], &shape, config.bias, TensorClass::Connector).await?);
        }
        Ok(Self { norm, projections, config })
    }

    /// Records `[patches, width]` in raster order to `[tokens, out]` in raster order.
    ///
    /// # Errors
    /// [`OpError`] if the patches do not fit the grid.
    pub fn record(&self, rec: &mut Recorder, patches: &Tensor, grid: PatchGrid) -> Result<Tensor, OpError> {
        let mut x = self.merged(rec, patches, grid)?;
        if let Some(norm) = &self.norm {
            x = norm.record(rec, &x)?;
        }
        for (index, projection) in self.projections.iter().enumerate() {
            let last = index + 1 == self.projections.len();
            let activation = if last { Activation::None } else { self.config.activation };
            x = projection.record(rec, &x, activation, None)?;
        }
        if self.config.scaling == 1.0 { Ok(x) } else { rec.scale(&x, self.config.scaling) }
    }

    /// The features of each square side by side, `[tokens, joined]`.
    fn merged(&self, rec: &mut Recorder, patches: &Tensor, grid: PatchGrid) -> Result<Tensor, OpError> {
        let merge = self.config.merge;
        if merge == 1 {
            return Ok(patches.clone());
        }
        let tokens = grid.merged(merge as u32);
        let order: Vec<u32> = squares(tokens, merge as u32, grid.width).collect();
        let rows = rec.gpu().upload("patches by square", &[order.len()], &order)?;
        let x = rec.gather_rows(patches, (&rows).into(), order.len())?;
        x.reshape(&[tokens.patches(), self.config.joined()])
    }
}

/// The patches of each square of `merge * merge`, square after square, of a grid `width` patches wide.
fn squares(tokens: PatchGrid, merge: u32, width: u32) -> impl Iterator<Item = u32> {
    let inside = move |token: u32| {
        let (row, column) = (token / tokens.width * merge, token % tokens.width * merge);
        (0..merge * merge).map(move |i| (row + i / merge) * width + column + i % merge)
    };
    (0..tokens.height * tokens.width).flat_map(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_go_row_by_row() {
        let tokens = PatchGrid { time: 1, height: 2, width: 1 };
        assert_eq!(squares(tokens, 2, 3).collect::<Vec<_>>(), [0, 1, 3, 4, 6, 7, 9, 10]);
        let one = PatchGrid { time: 1, height: 1, width: 1 };
        assert_eq!(squares(one, 3, 4).collect::<Vec<_>>(), [0, 1, 2, 4, 5, 6, 8, 9, 10]);
    }
}
