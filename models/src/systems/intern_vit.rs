//! InternViT's `vision_config` in the layout of `transformers`.

use fovea_engine::op::Activation;
use serde::Deserialize;

use super::{
    config::{activation, kind, wrong},
    vit::TowerSizes,
};
use crate::{
    blocks::{LayerConfig, Norm, Scales, VitConfig, VitNames, VitPositions},
    error::LoadError,
};

/// A height and a width, or both in one.
#[derive(Deserialize, Clone, Copy)]
#[serde(untagged, expecting = "expected a side or a height and a width")]
enum Sides {
    One(usize),
    Two([usize; 2]),
}

impl From<Sides> for [usize; 2] {
    fn from(sides: Sides) -> Self {
        match sides {
            Sides::One(side) => [side; 2],
            Sides::Two(sides) => sides,
        }
    }
}

/// The tower's keys.
#[derive(Deserialize)]
#[serde(default)]
pub(super) struct InternVit {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    model_type: Option<String>,
    image_size: Sides,
    patch_size: Sides,
    attention_bias: bool,
    use_qk_norm: bool,
    use_mean_pooling: bool,
    use_absolute_position_embeddings: bool,
    norm_type: Option<String>,
    layer_norm_eps: f32,
    hidden_act: Option<String>,
}

/// What the reference adds to the mean squares of queries and keys, whatever `layer_norm_eps` is.
const QK_EPS: f32 = 1e-6;

impl Default for InternVit {
    /// Those of `InternVLVisionConfig`, which files may leave out.
    fn default() -> Self {
        Self {
            hidden_size: 1024,
            intermediate_size: 4096,
            num_hidden_layers: 24,
            num_attention_heads: 16,
            model_type: None,
            image_size: Sides::One(448),
            patch_size: Sides::One(14),
            attention_bias: false,
            use_qk_norm: false,
            use_mean_pooling: true,
            use_absolute_position_embeddings: true,
            norm_type: None,
            layer_norm_eps: 1e-6,
            hidden_act: None,
        }
    }
}

impl InternVit {
    /// The tower's sizes, checked.
    pub(super) fn read(&self) -> Result<VitConfig, LoadError> {
        kind("vision_config.model_type", self.model_type.as_deref(), &["internvl_vision"])?;
        let ([height, width], [patch, patch_width]) = (self.image_size.into(), self.patch_size.into());
        if height != width || patch != patch_width {
            let got = format!("{height} x {width} in {patch} x {patch_width}");
            return Err(wrong("vision_config.image_size", got, "a square in squares".to_owned()));
        }
        let sizes = TowerSizes {
            hidden: self.hidden_size,
            inner: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            head_dim: None,
            patch,
            image: height,
            eps: self.layer_norm_eps,
        };
        let (_, side) = sizes.check()?;
        let norm = match self.norm_type.as_deref() {
            None | Some("layer_norm") => Norm::Layer,
            Some("rms_norm") => Norm::Rms,
            Some(other) => {
                let expected = "layer_norm or rms_norm".to_owned();
                return Err(wrong("vision_config.norm_type", other.to_owned(), expected));
            }
        };
        let gelu = Activation::GeluErf;
        Ok(VitConfig {
            names: VitNames::INTERN,
            layer: LayerConfig {
                activation: activation("vision_config.hidden_act", self.hidden_act.as_deref(), gelu)?,
                norm,
                eps: self.layer_norm_eps,
                qkv_bias: self.attention_bias,
                qk_norm: self.use_qk_norm.then_some(QK_EPS),
                scales: Scales::Learned,
                ..LayerConfig::clip(self.hidden_size, self.num_attention_heads, self.intermediate_size)
            },
            depth: self.num_hidden_layers,
            stored: self.num_hidden_layers,
            patch,
            side,
            positions: match self.use_absolute_position_embeddings {
                true => VitPositions::Learned,
                false => VitPositions::None,
            },
            class_token: true,
            patch_bias: true,
            pre_norm: false,
            // A LayerNorm whatever the layers have.
            post_norm: (!self.use_mean_pooling).then_some(Norm::Layer),
            stored_norm: false,
        })
    }
}
