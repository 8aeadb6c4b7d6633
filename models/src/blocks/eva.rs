//! EVA2-CLIP-E, the tower of CogVLM, CogVLM2, GLM-4V and CogAgent.
//!
//! `x = [class; patches] + positions`, then in each layer `h = x + LN(attention(x))`, `y = h + LN(mlp(h))`: the norms
//! stand at the end of the residual branches, and there is none before the first layer or behind the last. Attention is
//! full, the activation GELU; the class token takes part and is dropped at the end. Sources: `visual.py` of
//! `THUDM/cogvlm2-llama3-chat-19B` and `THUDM/glm-4v-9b`; Sun et al., "EVA-CLIP", 2023.

use fovea_engine::{
    OpError, Recorder, Tensor,
    op::{Activation, Attention, Heads, Mask},
    weights::{Scope, TensorClass, WeightError},
};

use super::{
    Norm, Sizes,
    mlp::Mlp,
    parts::{Linear, NormWeights, Qkv},
    rows::{behind_first, embed},
    sizes::full_score_flops,
};
use crate::image::PatchGrid;

/// Sizes of the tower.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaConfig {
    /// Layers.
    pub depth: usize,
    /// Width of a patch's features.
    pub hidden: usize,
    /// Attention heads.
    pub heads: usize,
    /// Inner width of the feedforward.
    pub feedforward: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Learned positions: the class token's and one for each patch.
    pub positions: usize,
    /// Added to variances.
    pub eps: f32,
}

impl EvaConfig {
    /// Width of a patch's pixels.
    pub fn patch_width(&self) -> usize {
        3 * self.patch * self.patch
    }

    /// Its weights.
    pub fn sizes(&self) -> Sizes {
        let (class, depth, hidden) = (TensorClass::Vision, self.depth, self.hidden);
        Sizes::default()
            .matrix(class, 1, hidden, self.patch_width())
            .vector(2 + self.positions, hidden)
            .and(Norm::Layer.sizes(2 * depth, hidden))
            .matrix(class, depth, 3 * hidden, hidden)
            .matrix(class, depth, hidden, hidden)
            .vector(depth, 4 * hidden)
            .matrix(class, depth, self.feedforward, hidden)
            .matrix(class, depth, hidden, self.feedforward)
            .vector(depth, self.feedforward + hidden)
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
    qkv: Linear,
    out: Linear,
    attention_norm: NormWeights,
    up: Linear,
    down: Linear,
    mlp_norm: NormWeights,
}

impl Layer {
    fn mlp(&self) -> Mlp<'_> {
        Mlp { up: &self.up, activation: Activation::GeluErf, gated: false, norm: None, down: &self.down }
    }
}

/// The tower's weights.
pub struct Eva {
    config: EvaConfig,
    patch_embed: Linear,
    class_token: Tensor,
    positions: Tensor,
    layers: Vec<Layer>,
}

impl Eva {
    /// Loads the tower from `patch_embedding` and `transformer.layers` under `at`.
    ///
    /// # Errors
    /// [`WeightError`] that names the tensor.
    pub async fn load(at: &Scope<'_>, config: EvaConfig) -> Result<Self, WeightError> {
        let EvaConfig { hidden, feedforward, patch, eps, .. } = config;
        let class = TensorClass::Vision;
        let embedding = at.at("patch_embedding");
        let mut layers = Vec::with_capacity(config.depth.min(1024));
        for index in 0..config.depth {
            let at = at.at(&format!("transformer.layers.{index}"));
            let norm = |name| at.at(name);
            layers.push(Layer {
                qkv: Linear::load(&at.at("attention.query_key_value"), 3 * hidden, hidden, class).await?,
                out: Linear::load(&at.at("attention.dense"), hidden, hidden, class).await?,
                attention_norm: NormWeights::load(&norm("input_layernorm"), Norm::Layer, hidden, eps).await?,
                up: Linear::load(&at.at("mlp.fc1"), feedforward, hidden, class).await?,
                down: Linear::load(&at.at("mlp.fc2"), hidden, feedforward, class).await?,
                mlp_norm: NormWeights::load(&norm("post_attention_layernorm"), Norm::Layer, hidden, eps).await?,
            });
        }
        Ok(Self {
            patch_embed: Linear::convolution(&embedding.at("proj"), &[hidden, 3, patch, patch], class).await?,
            class_token: embedding.tensor("cls_embedding", &[1, hidden]).await?,
            positions: embedding.tensor("position_embedding.weight", &[config.positions, hidden]).await?,
            layers,
            config,
        })
    }

    /// Records the tower for the patches of one picture, `[patches, patch_width]` in raster order, to
    /// `[patches, hidden]`.
    ///
    /// # Errors
    /// [`OpError`] if there are not as many patches as positions.
    pub fn record(&self, rec: &mut Recorder, pixels: &Tensor) -> Result<Tensor, OpError> {
        let EvaConfig { hidden, heads, .. } = self.config;
        let head_dim = hidden / heads;
        let mut x = embed(rec, pixels, &self.patch_embed, [&self.class_token, &self.positions])?;
        let kv_len = x.rows_and_width().0;
        let attention = Attention { heads: Heads::new(heads, heads, head_dim), kv_len, mask: Mask::Full };
        for layer in &self.layers {
            let qkv = Qkv::record(rec, &layer.qkv, &x)?;
            let [q, k, v] = qkv.columns();
            let attended = rec.attention(q, k, v, attention)?;
            let attended = layer.out.record(rec, &attended, Activation::None, None)?;
            let normed = layer.attention_norm.record(rec, &attended)?;
            x = rec.add(&x, &normed)?;
            let inner = layer.mlp().record(rec, &x, None)?;
            let normed = layer.mlp_norm.record(rec, &inner)?;
            x = rec.add(&x, &normed)?;
        }
        behind_first(rec, &x)
    }
}
