//! Qwen2-VL (`Qwen/Qwen2-VL-2B-Instruct` and larger).
//!
//! A ViT with LayerNorm, quick GELU and full attention over patches of two frames, 2-D rotary positions -> 2x2 merger
//! -> Qwen2 decoder with M-RoPE. Boxes in thousandths between box tokens.

use serde::Deserialize;

use super::{
    Blueprint,
    config::{kind, only, wrong},
    qwen,
};
use crate::{
    blocks::{Feedforward, Norm, QwenVitConfig},
    checkpoint::Files,
    error::LoadError,
    grounding::Grammar,
};

#[derive(Deserialize)]
#[serde(default)]
struct Vision {
    depth: usize,
    embed_dim: usize,
    mlp_ratio: f64,
    num_heads: usize,
    hidden_size: usize,
    patch_size: usize,
    spatial_merge_size: usize,
    temporal_patch_size: usize,
    model_type: Option<String>,
    hidden_act: Option<String>,
    spatial_patch_size: Option<usize>,
    rope_theta: Option<f64>,
}

impl Default for Vision {
    /// Those of `Qwen2VLVisionConfig`, which fine-tuned models' files leave out.
    fn default() -> Self {
        Self {
            depth: 32,
            embed_dim: 1280,
            mlp_ratio: 4.0,
            num_heads: 16,
            hidden_size: 3584,
            patch_size: 14,
            spatial_merge_size: 2,
            temporal_patch_size: 2,
            model_type: None,
            hidden_act: None,
            spatial_patch_size: None,
            rope_theta: None,
        }
    }
}

pub(super) fn read(files: Files<'_>) -> Result<Blueprint, LoadError> {
    let config = qwen::Config::<Vision>::read(files)?;
    let vision = &config.vision;
    kind("vision_config.model_type", vision.model_type.as_deref(), &["qwen2_vl", "qwen2_vl_vision"])?;
    only("vision_config.hidden_act", vision.hidden_act.as_deref(), "quick_gelu")?;
    only("vision_config.spatial_patch_size", vision.spatial_patch_size, vision.patch_size)?;
    only("vision_config.rope_theta", vision.rope_theta, qwen::TOWER_THETA)?;
    only("fovea_grounding", config.grounding.as_deref(), "")?;
    if !(vision.mlp_ratio > 0.0 && vision.mlp_ratio <= 64.0) {
        let expected = "between 0 and 64".to_owned();
        return Err(wrong("vision_config.mlp_ratio", vision.mlp_ratio.to_string(), expected));
    }
    let inner = (vision.embed_dim as f64 * vision.mlp_ratio) as usize;
    let tower = QwenVitConfig {
        depth: vision.depth,
        hidden: vision.embed_dim,
        heads: vision.num_heads,
        feedforward: Feedforward::QuickGelu { width: inner },
        norm: Norm::Layer,
        patch: vision.patch_size,
        temporal: vision.temporal_patch_size,
        merge: vision.spatial_merge_size,
        window: None,
        full_blocks: Vec::new(),
        position_grid: None,
    };
    let parts = (tower, inner, vision.hidden_size);
    config.compose("qwen2_vl", files, parts, Grammar::Qwen2Boxes)
}
