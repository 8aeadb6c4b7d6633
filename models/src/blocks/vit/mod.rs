//! The pre-norm vision transformer that most published towers are.
//!
//! `x = patches + positions`, with a class token in front of them or not; in each layer `h = x + a attention(norm(x))`,
//! `y = h + b mlp(norm(h))`; norms before the first layer and behind the last where there are any. Options: LayerNorm or
//! RMSNorm, the activation, a gated feedforward, biases, scales of the branches, norms of queries and keys, learned or
//! rotary positions. Sources, all of transformers 4.57.1: `modeling_clip.py`, `modeling_siglip.py`,
//! `modeling_idefics3.py`, `modeling_internvl.py`, `modeling_pixtral.py`; the layer also serves `modeling_mllama.py`.

mod layer;
mod names;

use fovea_engine::{
    Gpu, OpError, Recorder, Tensor,
    op::{Activation, Mask, Rope, RopeStyle},
    weights::{Scope, TensorClass, WeightError},
};

pub(super) use layer::{Layer, Surroundings};
pub use layer::{LayerConfig, Scales};
pub use names::{LayerNames, VitNames};

use super::{
    Norm, Sizes,
    parts::{Linear, NormWeights},
    rows::join,
    sizes::full_score_flops,
};
use crate::image::PatchGrid;

/// Where a patch is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum VitPositions {
    /// Nowhere: patches are told apart by nothing else.
    None,
    /// A learned row for each patch of a square, and for the class token.
    Learned,
    /// As `Learned`, spread over the grid: patch `i` of the `n` of a side has the row or column `floor(i * side / n)` of
    /// the table. Source: `Idefics3VisionEmbeddings` as the published models were trained, restored in transformers
    /// after 4.57.1: versions from 4.55.0 on put the patches of a full side at 0, 0, 1, 2, ...
    Bucketed,
    /// Queries and keys turn: the even frequencies of a head with the row, the odd ones with the column.
    Rotary {
        /// Base of the frequencies.
        theta: f64,
    },
}

/// Sizes of the tower.
#[derive(Clone, Debug, PartialEq)]
pub struct VitConfig {
    /// Names of its tensors.
    pub names: VitNames,
    /// What the layers have in common.
    pub layer: LayerConfig,
    /// Layers that run.
    pub depth: usize,
    /// Layers that are stored: the last ones need not run.
    pub stored: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Most patches of a side; of each side, where positions are learned.
    pub side: usize,
    /// Where a patch is.
    pub positions: VitPositions,
    /// Whether a learned row stands before the patches.
    pub class_token: bool,
    /// Whether the projection of patches has a bias.
    pub patch_bias: bool,
    /// Whether there is a norm before the first layer.
    pub pre_norm: bool,
    /// The norm behind the last layer, if there is one.
    pub post_norm: Option<Norm>,
    /// Whether such a norm is published and does not run.
    pub stored_norm: bool,
}

impl VitConfig {
    /// Rows of a grid of patches.
    pub fn rows(&self, grid: PatchGrid) -> usize {
        usize::from(self.class_token) + grid.patches()
    }

    /// Width of a patch's pixels.
    pub fn patch_width(&self) -> usize {
        3 * self.patch * self.patch
    }

    fn positions(&self) -> usize {
        match self.positions {
            VitPositions::Learned | VitPositions::Bucketed => self.side * self.side + usize::from(self.class_token),
            VitPositions::Rotary { .. } | VitPositions::None => 0,
        }
    }

    /// The weights that run.
    pub fn sizes(&self) -> Sizes {
        let hidden = self.layer.hidden;
        let post_norm = self.post_norm.map(|norm| norm.sizes(1, hidden)).unwrap_or_default();
        Sizes::default()
            .matrix(TensorClass::Vision, 1, hidden, self.patch_width())
            .vector(usize::from(self.patch_bias) + usize::from(self.class_token) + self.positions(), hidden)
            .and(self.layer.norm.sizes(usize::from(self.pre_norm), hidden))
            .and(post_norm)
            .and(self.layer.sizes(self.depth))
    }

    /// What is published and does not run.
    pub fn unused(&self) -> Sizes {
        let norm = self.layer.norm.sizes(usize::from(self.stored_norm), self.layer.hidden);
        self.layer.sizes(self.stored.saturating_sub(self.depth)).and(norm)
    }

    /// Floating-point operations for one view, a multiply-add counted as two.
    pub fn flops(&self, grid: PatchGrid) -> u64 {
        2 * self.rows(grid) as u64 * self.sizes().products() + self.score_flops(grid)
    }

    /// Those of them that are scores of attention and sums by them.
    pub fn score_flops(&self, grid: PatchGrid) -> u64 {
        full_score_flops(self.depth, self.layer.hidden, self.rows(grid))
    }
}

/// The tower's weights.
pub struct Vit {
    config: VitConfig,
    patch_embed: Linear,
    class_token: Option<Tensor>,
    positions: Option<Tensor>,
    rope: Option<Rope>,
    pre_norm: Option<NormWeights>,
    layers: Vec<Layer>,
    post_norm: Option<NormWeights>,
}

impl Vit {
    /// Loads the tower by its names under `at`.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor.
    pub async fn load(at: &Scope<'_>, config: VitConfig) -> Result<Self, WeightError> {
        let VitConfig { names, patch, .. } = config;
        let LayerConfig { hidden, norm, eps, head_dim, .. } = config.layer;
        let outer = async |norm: Option<Norm>, name: &str| match norm {
            Some(norm) => Ok::<_, WeightError>(Some(NormWeights::load(&at.at(name), norm, hidden, eps).await?)),
            None => Ok(None),
        };
        let mut layers = Vec::with_capacity(config.depth.min(1024));
        for index in 0..config.depth {
            layers.push(Layer::load(&at.at(&format!("{}.{index}", names.layers)), names.layer, &config.layer).await?);
        }
        let shape = [hidden, 3, patch, patch];
        let class = TensorClass::Vision;
        Ok(Self {
            patch_embed: Linear::shaped(at, &[names.patch], &shape, config.patch_bias, class).await?,
            class_token: match config.class_token {
                true => Some(at.table(names.class, 1, hidden).await?),
                false => None,
            },
            positions: match config.positions() {
                0 => None,
                rows => Some(at.table(names.positions, rows, hidden).await?),
            },
            rope: match config.positions {
                VitPositions::Rotary { theta } => Some(rope(at.gpu(), theta, head_dim, config.side)?),
                _ => None,
            },
            pre_norm: outer(config.pre_norm.then_some(norm), names.pre_norm).await?,
            layers,
            post_norm: outer(config.post_norm, names.post_norm).await?,
            config,
        })
    }

    /// Records the tower for the patches of one view, `[patches, patch_width]` in raster order, to
    /// `[rows, hidden]`: the class token's row first if there is one, then those of the patches.
    ///
    /// # Errors
    /// [`OpError`] if patches do not fit the grid or the positions.
    pub fn record(&self, rec: &mut Recorder, pixels: &Tensor, grid: PatchGrid) -> Result<Tensor, OpError> {
        let mut x = self.patch_embed.record(rec, pixels, Activation::None, None)?;
        if let Some(class) = &self.class_token {
            x = join(rec, &[class, &x])?;
        }
        if let Some(positions) = &self.positions {
            let bucketed = self.config.positions == VitPositions::Bucketed;
            let positions = if bucketed { buckets(rec, positions, self.config.side, grid)? } else { positions.clone() };
            rec.add_into(&x, &positions)?;
        }
        let places: Vec<u32> = (0..grid.height).flat_map(|row| (0..grid.width).flat_map(move |it| [row, it])).collect();
        let rope = match &self.rope {
            Some(rope) => Some((rope, rec.gpu().upload("patch positions", &[places.len()], &places)?)),
            None => None,
        };
        if let Some(norm) = &self.pre_norm {
            x = norm.record(rec, &x)?;
        }
        let around = Surroundings { mask: Mask::Full, rope: rope.as_ref().map(|(rope, places)| (*rope, places)) };
        for layer in &self.layers {
            x = layer.record(rec, &x, around)?;
        }
        match &self.post_norm {
            Some(norm) => norm.record(rec, &x),
            None => Ok(x),
        }
    }
}

/// The first half of a head's pairs turns with the row, the second with the column. Source: `PixtralRotaryEmbedding`.
fn rope(gpu: &Gpu, theta: f64, head_dim: usize, side: usize) -> Result<Rope, WeightError> {
    let frequency = |i: usize| theta.powf(-((2 * i) as f64) / head_dim as f64);
    let pair = |axis: usize| (0..head_dim / 4).map(move |i| (frequency(2 * i + axis), axis as u32));
    let pairs: Vec<(f64, u32)> = (0..2).flat_map(pair).collect();
    Ok(Rope::new(gpu, side, &pairs, RopeStyle::Halves)?)
}

/// Rows of a square table of positions for each patch of a grid.
fn buckets(rec: &mut Recorder, table: &Tensor, side: usize, grid: PatchGrid) -> Result<Tensor, OpError> {
    let rows = bucket_rows(side, grid);
    let rows = rec.gpu().upload("position buckets", &[rows.len()], &rows)?;
    rec.gather_rows(table, (&rows).into(), rows.len())
}

fn bucket_rows(side: usize, grid: PatchGrid) -> Vec<u32> {
    let (height, width) = (grid.height as usize, grid.width as usize);
    let row = |i: usize| i * side / height * side;
    let column = |j: usize| j * side / width;
    (0..height * width).map(|patch| (row(patch / width) + column(patch % width)) as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(side: usize, height: u32, width: u32) -> Vec<u32> {
        bucket_rows(side, PatchGrid { time: 1, height, width })
    }

    /// Worked out from `floor(i * side / n)`: a full grid has the table as it is, a smaller one is spread over it.
    #[test]
    fn grids_are_spread_over_the_table() {
        assert_eq!(rows(4, 4, 4), (0..16).collect::<Vec<u32>>());
        assert_eq!(rows(4, 1, 3), [0, 1, 2]);
        assert_eq!(rows(4, 2, 2), [0, 2, 8, 10]);
        assert_eq!(rows(6, 4, 1), [0, 6, 18, 24]);
    }
}
