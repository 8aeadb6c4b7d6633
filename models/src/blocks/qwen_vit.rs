//! The vision tower of Qwen2-VL and Qwen2.5-VL with its 2x2 patch merger.
//!
//! Patches of two frames, pre-norm blocks with 2-D rotary positions, full or windowed attention, then four patches are
//! concatenated and projected to the decoder's width. Sources: `modeling_qwen2_vl.py`, `modeling_qwen2_5_vl.py` of
//! transformers 4.57.1; the optional learned position grid is Qwen3-VL's (`fast_pos_embed_interpolate`).

use std::ops::Range;

use fovea_engine::{
    Gpu, OpError, Recorder, Tensor,
    op::{Activation, Attention, Epilogue, Heads, LayerNorm, Mask, Ranges, RmsNorm, Rope, RopeStyle},
    weights::{Scope, TensorClass, Weight, WeightError},
};

use crate::image::PatchGrid;

/// Longest side of a picture, in patches, that the rotary table covers.
const MAX_GRID_SIDE: usize = 4096;

/// Added to variances and mean squares; the reference fixes it.
const EPS: f32 = 1e-6;

/// Base of the rotary frequencies; the reference fixes it.
const THETA: f64 = 10_000.0;

/// Which normalisation the blocks use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// With mean and shift.
    Layer,
    /// Root mean square.
    Rms,
}

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
    /// Width of the decoder.
    pub out: usize,
}

impl QwenVitConfig {
    /// Width of a patch's pixels: `3 * temporal * patch * patch`.
    pub fn patch_width(&self) -> usize {
        3 * self.temporal * self.patch * self.patch
    }

    fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }

    fn merged_width(&self) -> usize {
        self.hidden * self.merge * self.merge
    }

    fn windowed(&self, block: usize) -> bool {
        self.window.is_some() && !self.full_blocks.contains(&block)
    }

    /// Parameters of the tower, and of the merger.
    pub fn parameters(&self) -> (u64, u64) {
        let norm = match self.norm {
            Norm::Layer => 2 * self.hidden,
            Norm::Rms => self.hidden,
        };
        let feedforward = match self.feedforward {
            Feedforward::QuickGelu { width } => 2 * self.hidden * width + width + self.hidden,
            Feedforward::SiluGate { width } => 3 * self.hidden * width + 2 * width + self.hidden,
        };
        let attention = 4 * self.hidden * self.hidden + 4 * self.hidden;
        let grid = self.position_grid.map_or(0, |side| side * side * self.hidden);
        let tower = self.patch_width() * self.hidden + grid + self.depth * (2 * norm + attention + feedforward);
        let merged = self.merged_width();
        let merger = norm + merged * merged + merged + merged * self.out + self.out;
        (tower as u64, merger as u64)
    }

    /// Floating-point operations for one picture, a multiply-add counted as two.
    pub fn flops(&self, grid: PatchGrid) -> u64 {
        let patches = grid.patches() as u64;
        let hidden = self.hidden as u64;
        let feedforward = match self.feedforward {
            Feedforward::QuickGelu { width } => 2 * hidden * width as u64,
            Feedforward::SiluGate { width } => 3 * hidden * width as u64,
        };
        let linear = self.patch_width() as u64 * hidden + self.depth as u64 * (4 * hidden * hidden + feedforward);
        let tokens = patches / (self.merge * self.merge) as u64;
        let merged = self.merged_width() as u64;
        let keys: u64 = (0..self.depth)
            .map(|block| match self.window {
                Some(side) if self.windowed(block) => patches.min((side * self.merge).pow(2) as u64),
                _ => patches,
            })
            .sum();
        2 * (patches * linear + tokens * merged * (merged + self.out as u64) + 2 * patches * keys * hidden)
    }
}

enum NormWeights {
    Layer { scale: Tensor, shift: Tensor },
    Rms { scale: Tensor },
}

impl NormWeights {
    async fn load(at: &Scope<'_>, kind: Norm, width: usize) -> Result<Self, WeightError> {
        let scale = at.tensor("weight", &[width]).await?;
        Ok(match kind {
            Norm::Layer => Self::Layer { scale, shift: at.tensor("bias", &[width]).await? },
            Norm::Rms => Self::Rms { scale },
        })
    }

    fn record(&self, rec: &mut Recorder, x: &Tensor) -> Result<Tensor, OpError> {
        match self {
            Self::Layer { scale, shift } => rec.layer_norm(x, LayerNorm { scale, shift, eps: EPS }),
            Self::Rms { scale } => rec.rms_norm(x, RmsNorm { scale, eps: EPS }),
        }
    }
}

/// A projection with its bias.
struct Linear {
    weight: Weight,
    bias: Tensor,
}

impl Linear {
    async fn load(at: &Scope<'_>, out: usize, width: usize, class: TensorClass) -> Result<Self, WeightError> {
        Self::stacked(at, &[""], out, width, class).await
    }

    /// Projections of the same input as one, their outputs side by side.
    async fn stacked(
        at: &Scope<'_>,
        names: &[&str],
        out: usize,
        width: usize,
        class: TensorClass,
    ) -> Result<Self, WeightError> {
        let join = |name: &str, kind: &str| if name.is_empty() { kind.to_owned() } else { format!("{name}.{kind}") };
        let weights: Vec<_> = names.iter().map(|name| join(name, "weight")).collect();
        let biases: Vec<_> = names.iter().map(|name| join(name, "bias")).collect();
        let shape = [out, width];
        let weights: Vec<(&str, &[usize])> = weights.iter().map(|name| (name.as_str(), &shape[..])).collect();
        let biases: Vec<(&str, &[usize])> = biases.iter().map(|name| (name.as_str(), &shape[..1])).collect();
        Ok(Self { weight: at.stacked(&weights, class).await?, bias: at.joined(&biases).await? })
    }

    fn record(
        &self,
        rec: &mut Recorder,
        x: &Tensor,
        activation: Activation,
        residual: Option<&Tensor>,
    ) -> Result<Tensor, OpError> {
        rec.matmul(x, &self.weight, Epilogue { bias: Some(&self.bias), activation, residual })
    }
}

enum FeedforwardWeights {
    QuickGelu { up: Linear, down: Linear },
    SiluGate { gate_up: Linear, down: Linear },
}

struct Block {
    norm1: NormWeights,
    qkv: Linear,
    proj: Linear,
    norm2: NormWeights,
    feedforward: FeedforwardWeights,
}

/// The tower's and the merger's weights.
pub struct QwenVit {
    config: QwenVitConfig,
    patch_embed: Weight,
    position_table: Option<Tensor>,
    rope: Rope,
    blocks: Vec<Block>,
    merger_norm: NormWeights,
    merger_up: Linear,
    merger_down: Linear,
}

/// What [`QwenVit::record`] yields.
pub struct VisionOutput {
    /// Output of the last block, `[patches, hidden]`, in the order of the pixels.
    pub tower: Tensor,
    /// What enters the decoder, `[tokens, out]`.
    pub embeds: Tensor,
}

impl QwenVit {
    /// Loads the tower and the merger from the names under `visual`.
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
        let mut blocks = Vec::with_capacity(config.depth.min(1024));
        for index in 0..config.depth {
            let at = visual.at(&format!("blocks.{index}"));
            let mlp = at.at("mlp");
            let feedforward = match config.feedforward {
                Feedforward::QuickGelu { width } => FeedforwardWeights::QuickGelu {
                    up: Linear::load(&mlp.at("fc1"), width, hidden, vision).await?,
                    down: Linear::load(&mlp.at("fc2"), hidden, width, vision).await?,
                },
                Feedforward::SiluGate { width } => FeedforwardWeights::SiluGate {
                    gate_up: Linear::stacked(&mlp, &["gate_proj", "up_proj"], width, hidden, vision).await?,
                    down: Linear::load(&mlp.at("down_proj"), hidden, width, vision).await?,
                },
            };
            blocks.push(Block {
                norm1: NormWeights::load(&at.at("norm1"), config.norm, hidden).await?,
                qkv: Linear::load(&at.at("attn.qkv"), 3 * hidden, hidden, vision).await?,
                proj: Linear::load(&at.at("attn.proj"), hidden, hidden, vision).await?,
                norm2: NormWeights::load(&at.at("norm2"), config.norm, hidden).await?,
                feedforward,
            });
        }
        let merger = visual.at("merger");
        let (merged, connector) = (config.merged_width(), TensorClass::Connector);
        Ok(Self {
            patch_embed,
            position_table,
            rope: rope(visual.gpu(), config.head_dim())?,
            blocks,
            merger_norm: NormWeights::load(&merger.at("ln_q"), config.norm, hidden).await?,
            merger_up: Linear::load(&merger.at("mlp.0"), merged, merged, connector).await?,
            merger_down: Linear::load(&merger.at("mlp.2"), config.out, merged, connector).await?,
            config,
        })
    }

    /// Sizes.
    pub fn config(&self) -> &QwenVitConfig {
        &self.config
    }

    /// Records tower and merger for one picture's `pixels`, `[patches, patch_width]` in the processor's order.
    ///
    /// # Errors
    /// [`OpError`] if the pixels do not fit the grid.
    pub fn record(&self, rec: &mut Recorder, pixels: &Tensor, grid: PatchGrid) -> Result<VisionOutput, OpError> {
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
                Some((ranges, windows.original_patches, windows.original_tokens))
            }
            None => None,
        };
        for (index, block) in self.blocks.iter().enumerate() {
            let mask = match &windows {
                Some((ranges, ..)) if config.windowed(index) => Mask::Ranges(ranges),
                _ => Mask::Full,
            };
            x = self.record_block(rec, block, &x, &positions, mask)?;
        }

        let normed = self.merger_norm.record(rec, &x)?;
        let tokens = grid.patches() / (config.merge * config.merge);
        let merged = normed.reshape(&[tokens, config.merged_width()]).unwrap_or(normed);
        let up = self.merger_up.record(rec, &merged, Activation::GeluErf, None)?;
        let embeds = self.merger_down.record(rec, &up, Activation::None, None)?;
        let Some((_, patches, tokens)) = windows else { return Ok(VisionOutput { tower: x, embeds }) };
        let patch_order = gpu.upload("original order", &[patches.len()], &patches)?;
        let token_order = gpu.upload("original order", &[tokens.len()], &tokens)?;
        Ok(VisionOutput {
            tower: rec.gather_rows(&x, (&patch_order).into(), patches.len())?,
            embeds: rec.gather_rows(&embeds, (&token_order).into(), tokens.len())?,
        })
    }

    fn record_block(
        &self,
        rec: &mut Recorder,
        block: &Block,
        x: &Tensor,
        positions: &Tensor,
        mask: Mask<'_>,
    ) -> Result<Tensor, OpError> {
        let QwenVitConfig { hidden, heads, .. } = self.config;
        let head_dim = self.config.head_dim();
        let normed = block.norm1.record(rec, x)?;
        let qkv = block.qkv.record(rec, &normed, Activation::None, None)?;
        rec.rope(qkv.columns(0, 2 * hidden), 2 * heads, head_dim, &self.rope, positions.into())?;
        let attention = Attention {
            heads: Heads { heads, kv_heads: heads, head_dim, scale: (head_dim as f32).sqrt().recip() },
            kv_len: x.rows_and_width().0,
            mask,
        };
        let (q, k, v) = (qkv.columns(0, hidden), qkv.columns(hidden, hidden), qkv.columns(2 * hidden, hidden));
        let attended = rec.attention(q, k, v, attention)?;
        let x = block.proj.record(rec, &attended, Activation::None, Some(x))?;

        let normed = block.norm2.record(rec, &x)?;
        match &block.feedforward {
            FeedforwardWeights::QuickGelu { up, down } => {
                let inner = up.record(rec, &normed, Activation::QuickGelu, None)?;
                down.record(rec, &inner, Activation::None, Some(&x))
            }
            FeedforwardWeights::SiluGate { gate_up, down } => {
                let inner = gate_up.record(rec, &normed, Activation::None, None)?;
                let gated = rec.gate(&inner, Activation::Silu)?;
                down.record(rec, &gated, Activation::None, Some(&x))
            }
        }
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
    /// The place where each token went.
    original_tokens: Vec<u32>,
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
                original_tokens: vec![0; rows * columns],
            }),
        };
        let Some(windows) = &mut order.windows else { return order };
        for window_row in (0..rows).step_by(side) {
            for window_column in (0..columns).step_by(side) {
                let first = windows.patches.len();
                for row in window_row..(window_row + side).min(rows) {
                    for column in window_column..(window_column + side).min(columns) {
                        let token = row * columns + column;
                        windows.original_tokens[token] = (windows.patches.len() / unit) as u32;
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
            out: 8,
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
