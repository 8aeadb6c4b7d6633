//! EVA2-CLIP-L with rotary positions, CogAgent-18B's tower for the second, sharper look.
//!
//! `x = [class; patches] + positions`; `x = x + proj(LN(attention(LN(x))))`, `x = x + w3(LN(silu(w1 x) * w2 x))`, the
//! inner norms being those of sub-LN. Queries and keys turn with the row of their patch in the first half of a head
//! and with its column in the second, in interleaved pairs, in coordinates that stretch the grid which the tower was
//! first trained on over this one; the class token does not turn. Keys have no bias. Behind the last layer that runs,
//! the class token is dropped and learned positions are added. Sources: `cross_visual.py` of
//! `THUDM/cogagent-chat-hf`; Sun et al., "EVA-CLIP", 2023; Fang et al., "EVA-02", 2023.

use fovea_engine::{
    Gpu, OpError, Recorder, Tensor,
    op::{Activation, Attention, Heads, Mask, Rope, RopeStyle},
    weights::{Scope, TensorClass, WeightError, WeightSource},
};

use super::{
    Norm, Sizes,
    mlp::Mlp,
    parts::{Linear, NormWeights},
    rows::{behind_first, embed},
    sizes::full_score_flops,
};
use crate::image::PatchGrid;

/// Added to variances; the reference fixes it.
const EPS: f32 = 1e-6;

/// Base of the rotary frequencies; the reference fixes it.
const THETA: f64 = 10_000.0;

/// Side of the grid, in patches, whose coordinates are stretched over the grid at hand.
const TRAINED_SIDE: f64 = 16.0;

/// Sizes of the tower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvaRopeConfig {
    /// Layers that run.
    pub depth: usize,
    /// Layers that are stored: the last ones do not run.
    pub stored: usize,
    /// Classes of a head that is stored and does not run.
    pub classes: usize,
    /// Width of a patch's features.
    pub hidden: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Inner width of the feedforward.
    pub feedforward: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Side of the picture in patches.
    pub side: usize,
}

impl EvaRopeConfig {
    fn patches(&self) -> usize {
        self.side * self.side
    }

    /// The weights that run.
    pub fn sizes(&self) -> Sizes {
        self.layers(self.depth)
            .matrix(TensorClass::Vision, 1, self.hidden, 3 * self.patch * self.patch)
            .vector(3 + 2 * self.patches(), self.hidden)
    }

    /// The weights that are published and do not run.
    pub fn unused(&self) -> Sizes {
        self.layers(self.stored.saturating_sub(self.depth))
            .and(Norm::Layer.sizes(1, self.hidden))
            .matrix(TensorClass::Vision, 1, self.classes, self.hidden)
            .vector(1, self.classes)
    }

    /// Takes what the tensors under `at` tell and no configuration does: how many layers there are, the width of a head
    /// and of the feedforward.
    pub fn fit(&mut self, weights: &dyn WeightSource, at: &str) {
        let shape = |name: &str| weights.info(&format!("{at}.vit.model.{name}")).map(|info| info.shape.clone());
        self.stored = (0..1024).take_while(|i| shape(&format!("blocks.{i}.norm1.weight")).is_some()).count();
        self.depth = self.stored.saturating_sub(1);
        if let Some([_, head_dim]) = shape("rope.freqs_cos").as_deref()
            && (4..=256).contains(head_dim)
            && head_dim.is_multiple_of(4)
        {
            self.head_dim = *head_dim;
        }
        if let Some([feedforward, _]) = shape("blocks.0.mlp.w1.weight").as_deref() {
            self.feedforward = *feedforward;
        }
        if let Some([classes, _]) = shape("head.weight").as_deref() {
            self.classes = *classes;
        }
    }

    fn layers(&self, count: usize) -> Sizes {
        let (class, hidden, inner) = (TensorClass::Vision, self.hidden, self.feedforward);
        Sizes::default()
            .and(Norm::Layer.sizes(3 * count, hidden))
            .matrix(class, 4 * count, hidden, hidden)
            .vector(count, 3 * hidden)
            .matrix(class, count, 2 * inner, hidden)
            .and(Norm::Layer.sizes(count, inner))
            .matrix(class, count, hidden, inner)
            .vector(count, 2 * inner + hidden)
    }

    /// Floating-point operations for one picture, a multiply-add counted as two.
    pub fn flops(&self, grid: PatchGrid) -> u64 {
        2 * (grid.patches() as u64 + 1) * self.sizes().products() + self.score_flops(grid)
    }

    /// Those of them that are scores of attention and sums by them.
    pub fn score_flops(&self, grid: PatchGrid) -> u64 {
        full_score_flops(self.depth, self.hidden, grid.patches() + 1)
    }
}

struct Layer {
    attention_norm: NormWeights,
    query: Linear,
    key: Linear,
    value: Linear,
    inner_norm: NormWeights,
    out: Linear,
    mlp_norm: NormWeights,
    gate_up: Linear,
    mlp_inner_norm: NormWeights,
    down: Linear,
}

impl Layer {
    fn mlp(&self) -> Mlp<'_> {
        let norm = Some(&self.mlp_inner_norm);
        Mlp { up: &self.gate_up, activation: Activation::Silu, gated: true, norm, down: &self.down }
    }
}

/// The tower's weights.
pub struct EvaRope {
    config: EvaRopeConfig,
    patch_embed: Linear,
    class_token: Tensor,
    positions: Tensor,
    rope: Rope,
    /// Row and column of each row of the sequence.
    coordinates: Tensor,
    layers: Vec<Layer>,
    out_positions: Tensor,
}

impl EvaRope {
    /// Loads the tower from `vit.model` and `pos_embed` under `at`.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor.
    pub async fn load(at: &Scope<'_>, config: EvaRopeConfig) -> Result<Self, WeightError> {
        let EvaRopeConfig { hidden, feedforward, patch, side, .. } = config;
        let (class, model, patches) = (TensorClass::Vision, at.at("vit.model"), config.patches());
        let mut layers = Vec::with_capacity(config.depth.min(1024));
        for index in 0..config.depth {
            let at = model.at(&format!("blocks.{index}"));
            let (attention, mlp) = (at.at("attn"), at.at("mlp"));
            let shape = [hidden, hidden];
            let norm = async |at: Scope<'_>, width| NormWeights::load(&at, Norm::Layer, width, EPS).await;
            layers.push(Layer {
                attention_norm: norm(at.at("norm1"), hidden).await?,
                query: Linear::named(&attention, "q_proj.weight", Some("q_bias"), shape, class).await?,
                key: Linear::named(&attention, "k_proj.weight", None, shape, class).await?,
                value: Linear::named(&attention, "v_proj.weight", Some("v_bias"), shape, class).await?,
                inner_norm: norm(attention.at("inner_attn_ln"), hidden).await?,
                out: Linear::load(&attention.at("proj"), hidden, hidden, class).await?,
                mlp_norm: norm(at.at("norm2"), hidden).await?,
                gate_up: Linear::stacked(&mlp, &["w1", "w2"], feedforward, hidden, class).await?,
                mlp_inner_norm: norm(mlp.at("ffn_ln"), feedforward).await?,
                down: Linear::load(&mlp.at("w3"), hidden, feedforward, class).await?,
            });
        }
        let shape = [hidden, 3, patch, patch];
        // The class token stands at the origin, where nothing turns.
        let places = (0..patches).flat_map(|patch| [(patch / side) as u32, (patch % side) as u32]);
        let coordinates: Vec<u32> = [0, 0].into_iter().chain(places).collect();
        Ok(Self {
            patch_embed: Linear::convolution(&model.at("patch_embed.proj"), &shape, class).await?,
            class_token: model.table("cls_token", 1, hidden).await?,
            positions: model.table("pos_embed", 1 + patches, hidden).await?,
            rope: rope(at.gpu(), config.head_dim, side)?,
            coordinates: at.gpu().upload("patch positions", &[coordinates.len()], &coordinates)?,
            layers,
            out_positions: at.tensor("pos_embed", &[patches, hidden]).await?,
            config,
        })
    }

    /// Records the tower for the patches of one picture, `[patches, 3 * patch * patch]` in raster order, to
    /// `[patches, hidden]`.
    ///
    /// # Errors
    /// [`OpError`] if there are not as many patches as positions.
    pub fn record(&self, rec: &mut Recorder, pixels: &Tensor) -> Result<Tensor, OpError> {
        let EvaRopeConfig { hidden, head_dim, .. } = self.config;
        let heads = hidden / head_dim;
        let mut x = embed(rec, pixels, &self.patch_embed, [&self.class_token, &self.positions])?;
        let kv_len = x.rows_and_width().0;
        let attention = Attention { heads: Heads::new(heads, heads, head_dim), kv_len, mask: Mask::Full };
        for layer in &self.layers {
            let normed = layer.attention_norm.record(rec, &x)?;
            let query = layer.query.record(rec, &normed, Activation::None, None)?;
            let key = layer.key.record(rec, &normed, Activation::None, None)?;
            let value = layer.value.record(rec, &normed, Activation::None, None)?;
            for turned in [&query, &key] {
                rec.rope(turned.into(), heads, head_dim, &self.rope, (&self.coordinates).into())?;
            }
            let attended = rec.attention((&query).into(), (&key).into(), (&value).into(), attention)?;
            let attended = layer.inner_norm.record(rec, &attended)?;
            x = layer.out.record(rec, &attended, Activation::None, Some(&x))?;
            let normed = layer.mlp_norm.record(rec, &x)?;
            x = layer.mlp().record(rec, &normed, Some(&x))?;
        }
        let features = behind_first(rec, &x)?;
        rec.add(&features, &self.out_positions)
    }
}

/// The first half of a head's pairs turns with the row, the second with the column.
fn rope(gpu: &Gpu, head_dim: usize, side: usize) -> Result<Rope, WeightError> {
    let stretch = TRAINED_SIDE / side as f64;
    let frequency = |i: usize| stretch * THETA.powf(-((2 * i) as f64) / (head_dim / 2) as f64);
    let pairs: Vec<(f64, u32)> = (0..2).flat_map(|axis| (0..head_dim / 4).map(move |i| (frequency(i), axis))).collect();
    Ok(Rope::new(gpu, side, &pairs, RopeStyle::Interleaved)?)
}
