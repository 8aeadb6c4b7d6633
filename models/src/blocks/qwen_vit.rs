//! The vision tower of Qwen2-VL and Qwen2.5-VL.
//!
//! Patches of two frames, pre-norm blocks with 2-D rotary positions, full or windowed attention. Sources:
//! `modeling_qwen2_vl.py`, `modeling_qwen2_5_vl.py` of transformers 4.57.1; the optional learned position grid is
//! Qwen3-VL's (`fast_pos_embed_interpolate`).

use std::ops::Range;

use fovea_engine::{
    Gpu, OpError, Recorder, Tensor,
    op::{Activation, Epilogue, Mask, Ranges, Rope, RopeStyle},
    weights::{Scope, TensorClass, Weight, WeightError},
};

use super::{
    LayerConfig, LayerNames, Norm, Sizes,
    vit::{Layer, Surroundings},
};
use crate::image::PatchGrid;

/// Longest side of a picture, in patches, that the rotary table covers.
const MAX_GRID_SIDE: usize = 4096;

/// Added to variances and mean squares; the reference fixes it.
const EPS: f32 = 1e-6;

/// Base of the rotary frequencies; the reference fixes it.
const THETA: f64 = 10_000.0;

/// The second half of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedforward {
    /// `fc2(quick_gelu(fc1 x))`.
    QuickGelu {
        /// Inner width.
        width: usize,
    },
    /// `down(silu(gate x) * up x)`, with biases.
    SiluGate {
        /// Inner width.
        width: usize,
    },
}

/// Sizes of the tower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QwenVitConfig {
    /// Number of blocks.
    pub depth: usize,
    /// Width of a patch's features.
    pub hidden: usize,
    /// Attention heads.
    pub heads: usize,
    /// Second half of a block.
    pub feedforward: Feedforward,
    /// Normalisation.
    pub norm: Norm,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Frames of a patch.
    pub temporal: usize,
    /// Side of the square of patches that becomes one token.
    pub merge: usize,
    /// Side of an attention window in tokens, for the blocks that are not in `full_blocks`; `None`: all attend fully.
    pub window: Option<usize>,
    /// Blocks that attend to the whole picture although there are windows.
    pub full_blocks: Vec<usize>,
    /// Side of the learned grid of positions, if there is one.
    pub position_grid: Option<usize>,
}

impl QwenVitConfig {
    /// Width of a patch's pixels: `3 * temporal * patch * patch`.
    pub fn patch_width(&self) -> usize {
        3 * self.temporal * self.patch * self.patch
    }

    fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }

    fn windowed(&self, block: usize) -> bool {
        self.window.is_some() && !self.full_blocks.contains(&block)
    }

    /// Its weights.
    pub fn sizes(&self) -> Sizes {
        let hidden = self.hidden;
        Sizes::default()
            .matrix(TensorClass::Vision, 1, hidden, self.patch_width())
            .vector(1, self.position_grid.map_or(0, |side| side * side * hidden))
            .and(self.layer().sizes(self.depth))
    }

    fn layer(&self) -> LayerConfig {
        let (feedforward, activation, gated) = match self.feedforward {
            Feedforward::QuickGelu { width } => (width, Activation::QuickGelu, false),
            Feedforward::SiluGate { width } => (width, Activation::Silu, true),
        };
        LayerConfig {
            activation,
            gated,
            norm: self.norm,
            eps: EPS,
            ..LayerConfig::clip(self.hidden, self.heads, feedforward)
        }
    }

    /// Floating-point operations for one picture, a multiply-add counted as two.
    pub fn flops(&self, grid: PatchGrid) -> u64 {
        2 * grid.patches() as u64 * self.sizes().products() + self.score_flops(grid)
    }

    /// Those of them that are scores of attention and sums by them.
    pub fn score_flops(&self, grid: PatchGrid) -> u64 {
        let patches = grid.patches() as u64;
        let keys: u64 = (0..self.depth)
            .map(|block| match self.window {
                Some(side) if self.windowed(block) => patches.min((side * self.merge).pow(2) as u64),
                _ => patches,
            })
            .sum();
        4 * patches * keys * self.hidden as u64
    }
}

/// The tower's weights.
pub struct QwenVit {
    config: QwenVitConfig,
    patch_embed: Weight,
    position_table: Option<Tensor>,
    rope: Rope,
    blocks: Vec<Layer>,
}

impl QwenVit {
    /// Loads the tower from the names under `visual`.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor.
    pub async fn load(visual: &Scope<'_>, config: QwenVitConfig) -> Result<Self, WeightError> {
        let QwenVitConfig { hidden, patch, temporal, .. } = config;
        let vision = TensorClass::Vision;
        let patch_shape = [hidden, 3, temporal, patch, patch];
        let patch_embed = visual.matrix("patch_embed.proj.weight", &patch_shape, vision).await?;
        let position_table = match config.position_grid {
            Some(side) => Some(visual.tensor("pos_embed.weight", &[side * side, hidden]).await?),
            None => None,
        };
        let names = match config.feedforward {
            Feedforward::QuickGelu { .. } => LayerNames::QWEN2,
            Feedforward::SiluGate { .. } => LayerNames::QWEN2_5,
        };
        let mut blocks = Vec::with_capacity(config.depth.min(1024));
        for index in 0..config.depth {
            blocks.push(Layer::load(&visual.at(&format!("blocks.{index}")), names, &config.layer()).await?);
        }
        let rope = rope(visual.gpu(), config.head_dim())?;
        Ok(Self { patch_embed, position_table, rope, blocks, config })
    }

    /// Records the tower for one picture's `pixels`, `[patches, patch_width]` in the processor's order, which its
    /// output, `[patches, hidden]`, keeps.
    ///
    /// # Errors
    /// [`OpError`] if the pixels do not fit the grid.
    pub fn record(&self, rec: &mut Recorder, pixels: &Tensor, grid: PatchGrid) -> Result<Tensor, OpError> {
        let config = &self.config;
        let gpu = rec.gpu().clone();
        let order = Order::new(config, grid);
        let positions = gpu.upload("patch positions", &[order.positions.len()], &order.positions)?;

        let mut x = rec.matmul(pixels, &self.patch_embed, Epilogue::default())?;
        if let (Some(table), Some(side)) = (&self.position_table, config.position_grid) {
            rec.interpolate_positions(&x, table, grid.height as usize, grid.width as usize, side, config.merge)?;
        }
        let windows = match order.windows {
            Some(windows) => {
                let patches = gpu.upload("window order", &[windows.patches.len()], &windows.patches)?;
                x = rec.gather_rows(&x, (&patches).into(), windows.patches.len())?;
                let ranges = Ranges::new(&gpu, &windows.ranges)?;
                Some((ranges, windows.original_patches))
            }
            None => None,
        };
        for (index, block) in self.blocks.iter().enumerate() {
            let mask = match &windows {
                Some((ranges, _)) if config.windowed(index) => Mask::Ranges(ranges),
                _ => Mask::Full,
            };
            x = block.record(rec, &x, Surroundings { mask, rope: Some((&self.rope, &positions)) })?;
        }

        let Some((_, patches)) = windows else { return Ok(x) };
        let order = gpu.upload("original order", &[patches.len()], &patches)?;
        rec.gather_rows(&x, (&order).into(), patches.len())
    }
}

/// The first half of a head's pairs turns with the row, the second with the column.
fn rope(gpu: &Gpu, head_dim: usize) -> Result<Rope, WeightError> {
    let quarter = head_dim / 4;
    let frequency = |i: usize| THETA.powf(-((2 * i) as f64) / (head_dim / 2) as f64);
    let pairs: Vec<(f64, u32)> = (0..2).flat_map(|axis| (0..quarter).map(move |i| (frequency(i), axis))).collect();
    Ok(Rope::new(gpu, MAX_GRID_SIDE, &pairs, RopeStyle::Halves)?)
}

/// Where each patch goes.
struct Order {
    /// Row and column of each patch, in the order of attention.
    positions: Vec<u32>,
    windows: Option<Windows>,
}

struct Windows {
    /// The patch that goes to each place.
    patches: Vec<u32>,
    /// The places of the window of each place.
    ranges: Vec<Range<u32>>,
    /// The place where each patch went.
    original_patches: Vec<u32>,
}

impl Order {
    fn new(config: &QwenVitConfig, grid: PatchGrid) -> Self {
        let (rows, columns, merge) =
            (grid.height as usize / config.merge, grid.width as usize / config.merge, config.merge);
        let unit = merge * merge;
        let position = |token: usize, inside: usize| {
            let (row, column) = (token / columns.max(1), token % columns.max(1));
            [(row * merge + inside / merge) as u32, (column * merge + inside % merge) as u32]
        };
        let Some(side) = config.window else {
            let positions = (0..rows * columns * unit).flat_map(|patch| position(patch / unit, patch % unit)).collect();
            return Self { positions, windows: None };
        };
        let mut order = Self {
            positions: Vec::new(),
            windows: Some(Windows {
                patches: Vec::new(),
                ranges: Vec::new(),
                original_patches: vec![0; rows * columns * unit],
            }),
        };
        let Some(windows) = &mut order.windows else { return order };
        for window_row in (0..rows).step_by(side) {
            for window_column in (0..columns).step_by(side) {
                let first = windows.patches.len();
                for row in window_row..(window_row + side).min(rows) {
                    for column in window_column..(window_column + side).min(columns) {
                        let token = row * columns + column;
                        for inside in 0..unit {
                            let patch = token * unit + inside;
                            windows.original_patches[patch] = windows.patches.len() as u32;
                            windows.patches.push(patch as u32);
                            order.positions.extend(position(token, inside));
                        }
                    }
                }
                let end = windows.patches.len();
                windows.ranges.extend((first..end).map(|_| first as u32..end as u32));
            }
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(window: Option<usize>) -> QwenVitConfig {
        QwenVitConfig {
            depth: 1,
            hidden: 8,
            heads: 1,
            feedforward: Feedforward::QuickGelu { width: 8 },
            norm: Norm::Layer,
            patch: 14,
            temporal: 2,
            merge: 2,
            window,
            full_blocks: Vec::new(),
            position_grid: None,
        }
    }

    #[test]
    fn windows_are_a_permutation_that_can_be_undone() {
        let grid = PatchGrid { time: 1, height: 10, width: 14 };
        let order = Order::new(&config(Some(4)), grid).windows.expect("windows");
        for (patch, &place) in order.original_patches.iter().enumerate() {
            assert_eq!(order.patches[place as usize] as usize, patch);
        }
        // 5 x 7 tokens in windows of 4 x 4: 16, 12, 4 and 3 tokens of four patches each.
        let lengths: Vec<u32> = {
            let mut ranges = order.ranges.clone();
            ranges.dedup();
            ranges.iter().map(|range| range.end - range.start).collect()
        };
        assert_eq!(lengths, [64, 48, 16, 12]);
    }

    #[test]
    fn positions_follow_merge_blocks() {
        let order = Order::new(&config(None), PatchGrid { time: 1, height: 2, width: 4 });
        assert_eq!(order.positions, [0, 0, 0, 1, 1, 0, 1, 1, 0, 2, 0, 3, 1, 2, 1, 3]);
    }
}
