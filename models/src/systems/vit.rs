//! The `vision_config` of towers in the layout of `transformers`: CLIP, SigLIP, Idefics3's, Pixtral. Keys that a file
//! leaves out have the defaults of its configuration class.

use fovea_engine::op::Activation;
use serde::Deserialize;

use super::config::{PREPARATION, activation, divide, epsilon, head, kind, only, size, wrong};
use crate::{
    blocks::{LayerConfig, Norm, VitConfig, VitNames, VitPositions},
    error::LoadError,
    image::{ViewRule, ViewsConfig},
};

/// A tower's keys.
#[derive(Deserialize)]
pub(super) struct VitKeys {
    pub(super) model_type: Option<String>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    head_dim: Option<usize>,
    image_size: Option<usize>,
    patch_size: Option<usize>,
    layer_norm_eps: Option<f32>,
    hidden_act: Option<String>,
    rope_theta: Option<f64>,
    #[serde(default)]
    rope_scaling: RopeKind,
}

/// What may be said of a tower's positions besides `rope_theta`.
#[derive(Deserialize, Default)]
struct RopeKind {
    rope_type: Option<String>,
}

/// The defaults of a configuration class of transformers 4.57.1: width, inner width, layers, heads, picture, patch,
/// what is added to variances, activation.
struct Defaults([usize; 6], f32, Activation);

impl VitKeys {
    /// CLIP's tower, by these names of its type, up to the output that `layer` names: from 0, the rows before the first layer, to the last layer's;
    /// below 0, from the end. The norm behind the last layer is for the class token's row and left to who wants it.
    pub(super) fn clip(&self, types: &[&str], layer: i64) -> Result<VitConfig, LoadError> {
        self.is_one_of(types)?;
        let tower = self.read(&Defaults([768, 3072, 12, 12, 224, 32], 1e-5, Activation::QuickGelu))?;
        let depth = output(layer, tower.stored)?;
        Ok(VitConfig {
            depth,
            class_token: true,
            patch_bias: false,
            pre_norm: true,
            post_norm: None,
            stored_norm: true,
            ..tower
        })
    }

    /// SigLIP's tower.
    pub(super) fn siglip(&self) -> Result<VitConfig, LoadError> {
        self.is_one_of(&["siglip_vision_model"])?;
        self.read(&Defaults([768, 3072, 12, 12, 224, 16], 1e-6, Activation::GeluTanh))
    }

    /// Idefics3's: SigLIP's, with positions in buckets.
    pub(super) fn idefics3(&self) -> Result<VitConfig, LoadError> {
        self.is_one_of(&["idefics3", "idefics3_vision", "smolvlm", "smolvlm_vision"])?;
        let tower = self.read(&Defaults([1152, 3072, 12, 16, 224, 32], 1e-6, Activation::GeluTanh))?;
        Ok(VitConfig { positions: VitPositions::Bucketed, ..tower })
    }

    /// Pixtral's tower.
    pub(super) fn pixtral(&self) -> Result<VitConfig, LoadError> {
        self.is_one_of(&["pixtral"])?;
        let tower = self.read(&Defaults([1024, 4096, 24, 16, 1024, 16], 1e-5, Activation::GeluErf))?;
        let theta = self.rope_theta.unwrap_or(10_000.0);
        if !(theta.is_finite() && theta > 0.0) {
            return Err(wrong("vision_config.rope_theta", theta.to_string(), "a positive number".to_owned()));
        }
        divide("vision_config.head_dim", tower.layer.head_dim, "4, pairs of two axes", 4)?;
        let layer = LayerConfig {
            gated: true,
            norm: Norm::Rms,
            qkv_bias: false,
            out_bias: false,
            mlp_bias: false,
            ..tower.layer
        };
        let rope = self.rope_scaling.rope_type.as_deref();
        only("vision_config.rope_scaling.rope_type", rope, "default")?;
        let positions = VitPositions::Rotary { theta };
        Ok(VitConfig {
            names: VitNames::PIXTRAL,
            layer,
            positions,
            patch_bias: false,
            pre_norm: true,
            post_norm: None,
            ..tower
        })
    }

    fn is_one_of(&self, types: &[&str]) -> Result<(), LoadError> {
        if let Some(theta) = self.rope_theta.filter(|_| types != ["pixtral"]) {
            return Err(wrong("vision_config.rope_theta", theta.to_string(), "no such key for this tower".to_owned()));
        }
        kind("vision_config.model_type", self.model_type.as_deref(), types)
    }

    /// SigLIP's layout with other defaults.
    fn read(&self, defaults: &Defaults) -> Result<VitConfig, LoadError> {
        let &Defaults([hidden, inner, layers, heads, image, patch], eps, act) = defaults;
        let hidden = self.hidden_size.unwrap_or(hidden);
        let inner = self.intermediate_size.unwrap_or(inner);
        let layers = self.num_hidden_layers.unwrap_or(layers);
        let heads = self.num_attention_heads.unwrap_or(heads);
        let patch = self.patch_size.unwrap_or(patch);
        let image = self.image_size.unwrap_or(image);
        let eps = self.layer_norm_eps.unwrap_or(eps);
        let sizes = TowerSizes { hidden, inner, layers, heads, head_dim: self.head_dim, patch, image, eps };
        let (head_dim, side) = sizes.check()?;
        Ok(VitConfig {
            names: VitNames::CLIP,
            layer: LayerConfig {
                head_dim,
                eps,
                activation: activation("vision_config.hidden_act", self.hidden_act.as_deref(), act)?,
                ..LayerConfig::clip(hidden, heads, inner)
            },
            depth: layers,
            stored: layers,
            patch,
            side,
            positions: VitPositions::Learned,
            class_token: false,
            patch_bias: true,
            pre_norm: false,
            post_norm: Some(Norm::Layer),
            stored_norm: false,
        })
    }
}

/// Refuses views that the tower has no positions for, or positions of another grid: two files say how large they are.
pub(super) fn check_views(side: usize, views: &ViewsConfig) -> Result<(), LoadError> {
    let patches = views.most_patches();
    let native = matches!(views.rule, ViewRule::Native { .. });
    if patches.iter().all(|&it| it as usize == side || native && it as usize <= side) {
        return Ok(());
    }
    let [across, down] = patches;
    let got = format!("{side} patches a side");
    let keys = match views.rule {
        ViewRule::Split { .. } => "max_image_size",
        ViewRule::Middle { .. } | ViewRule::Anyres { .. } => "size or crop_size",
        _ => "size or max_image_size",
    };
    let expected = format!("{across} across and {down} down, by {keys} of {PREPARATION}");
    Err(wrong("vision_config.image_size", got, expected))
}

/// What the configurations of towers say in different words.
pub(super) struct TowerSizes {
    pub(super) hidden: usize,
    pub(super) inner: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    /// Unless it is `hidden` over `heads`.
    pub(super) head_dim: Option<usize>,
    pub(super) patch: usize,
    pub(super) image: usize,
    pub(super) eps: f32,
}

impl TowerSizes {
    /// Elements of a head, and whole patches of a side.
    pub(super) fn check(&self) -> Result<(usize, usize), LoadError> {
        size("vision_config.hidden_size", self.hidden, 1 << 16)?;
        size("vision_config.intermediate_size", self.inner, 1 << 18)?;
        size("vision_config.num_hidden_layers", self.layers, 1024)?;
        size("vision_config.num_attention_heads", self.heads, 1024)?;
        size("vision_config.patch_size", self.patch, 256)?;
        size("vision_config.image_size", self.image, 1 << 14)?;
        epsilon("vision_config.layer_norm_eps", self.eps)?;
        let head_dim = match self.head_dim {
            Some(head_dim) => head_dim,
            None => divide("vision_config.hidden_size", self.hidden, "num_attention_heads", self.heads)?,
        };
        size("vision_config.head_dim", head_dim, 256)?;
        head("vision_config.head_dim", head_dim)?;
        let side = self.image / self.patch;
        size("vision_config.image_size / patch_size", side, 1024)?;
        Ok((head_dim, side))
    }
}

/// The layers that run for the output `index` of `hidden_states`, counted from the end if it is below 0.
fn output(index: i64, layers: usize) -> Result<usize, LoadError> {
    let depth = if index < 0 { index.saturating_add(layers as i64 + 1) } else { index };
    let depth = usize::try_from(depth).ok().filter(|&depth| depth <= layers);
    depth.ok_or_else(|| wrong("vision_feature_layer", index.to_string(), format!("one of {layers} layers")))
}
