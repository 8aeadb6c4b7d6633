//! Qwen2.5-VL (`Qwen/Qwen2.5-VL-3B-Instruct` and larger), and the project's own nano.
//!
//! A ViT with RMSNorm, SiLU gates and attention in windows but for a few blocks, 2-D rotary positions -> 2x2 merger ->
//! Qwen2.5 decoder with M-RoPE. Boxes as JSON in pixels of the resized picture; nano writes CogAgent's actions, and
//! adds a learned grid of positions as Qwen3-VL does.

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
    hidden_size: usize,
    intermediate_size: usize,
    num_heads: usize,
    out_hidden_size: usize,
    patch_size: usize,
    spatial_merge_size: usize,
    temporal_patch_size: usize,
    window_size: usize,
    fullatt_block_indexes: Vec<usize>,
    num_position_embeddings: Option<usize>,
    model_type: Option<String>,
    hidden_act: Option<String>,
    spatial_patch_size: Option<usize>,
    rope_theta: Option<f64>,
}

impl Default for Vision {
    /// Those of `Qwen2_5_VLVisionConfig`, which fine-tuned models' files leave out.
    fn default() -> Self {
        Self {
            depth: 32,
            hidden_size: 3584,
            intermediate_size: 3420,
            num_heads: 16,
            out_hidden_size: 3584,
            patch_size: 14,
            spatial_merge_size: 2,
            temporal_patch_size: 2,
            window_size: 112,
            fullatt_block_indexes: vec![7, 15, 23, 31],
            num_position_embeddings: None,
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
    kind("vision_config.model_type", vision.model_type.as_deref(), &["qwen2_5_vl", "qwen2_5_vl_vision"])?;
    only("vision_config.hidden_act", vision.hidden_act.as_deref(), "silu")?;
    only("vision_config.spatial_patch_size", vision.spatial_patch_size, vision.patch_size)?;
    only("vision_config.rope_theta", vision.rope_theta, qwen::TOWER_THETA)?;
    let token = vision.patch_size.saturating_mul(vision.spatial_merge_size).max(1);
    if vision.window_size < token {
        let expected = format!("at least {token}, the pixels of a token's side");
        return Err(wrong("vision_config.window_size", vision.window_size.to_string(), expected));
    }
    let grid = vision.num_position_embeddings.map(|count| (count, count.isqrt()));
    if let Some((count, side)) = grid
        && side * side != count
    {
        let expected = "a square number".to_owned();
        return Err(wrong("vision_config.num_position_embeddings", count.to_string(), expected));
    }
    let tower = QwenVitConfig {
        depth: vision.depth,
        hidden: vision.hidden_size,
        heads: vision.num_heads,
        feedforward: Feedforward::SiluGate { width: vision.intermediate_size },
        norm: Norm::Rms,
        patch: vision.patch_size,
        temporal: vision.temporal_patch_size,
        merge: vision.spatial_merge_size,
        window: Some(vision.window_size / token),
        full_blocks: vision.fullatt_block_indexes.clone(),
        position_grid: grid.map(|(_, side)| side),
    };
    let parts = (tower, vision.intermediate_size, vision.out_hidden_size);
    let grammar = match config.grounding.as_deref() {
        Some("cogagent") => Grammar::CogAgent,
        None => Grammar::Qwen2_5Json,
        Some(other) => return Err(wrong("fovea_grounding", other.to_owned(), "cogagent".to_owned())),
    };
    config.compose("qwen2_5_vl", files, parts, grammar)
}
