//! Qwen2-VL (`Qwen/Qwen2-VL-2B-Instruct` and larger).
//!
//! A ViT with LayerNorm, quick GELU and full attention over patches of two frames, 2-D rotary positions -> 2x2 merger
//! -> Qwen2 decoder with M-RoPE. Boxes in thousandths between box tokens.

use serde::Deserialize;

use super::{Blueprint, Grammar, config};
use crate::{
    blocks::{ConnectorConfig, Feedforward, Norm, PatchMergerConfig, QwenVitConfig, TowerConfig, VisionConfig},
    checkpoint::{Files, LoadError},
    image::{ImageConfig, QwenImageConfig},
    prompt::{ChatFormat, ImageSlot, PositionRule},
};

#[derive(Deserialize)]
struct Vision {
    depth: usize,
    embed_dim: usize,
    mlp_ratio: f64,
    num_heads: usize,
    hidden_size: usize,
    #[serde(default = "super::qwen2_5_vl::patch_size")]
    patch_size: usize,
    #[serde(default = "super::qwen2_5_vl::two")]
    spatial_merge_size: usize,
    #[serde(default = "super::qwen2_5_vl::two")]
    temporal_patch_size: usize,
}

pub(super) fn read(files: Files<'_>) -> Result<Blueprint, LoadError> {
    let config = config::Config::<Vision>::read(files)?;
    let decoder = config.decoder()?;
    let vision = &config.vision;
    if !(vision.mlp_ratio > 0.0 && vision.mlp_ratio <= 64.0) {
        let expected = "between 0 and 64".to_owned();
        return Err(config::wrong("vision_config.mlp_ratio", vision.mlp_ratio.to_string(), expected));
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
    let merger =
        PatchMergerConfig { width: tower.hidden, merge: tower.merge, norm: Norm::Layer, out: vision.hidden_size };
    config::check_vision(&tower, &merger, inner, decoder.hidden)?;
    Ok(Blueprint {
        name: "qwen2_vl",
        image: ImageConfig::Qwen(QwenImageConfig::from_json(files.need("preprocessor_config.json")?)?),
        slot: ImageSlot::token(config.image_token),
        positions: PositionRule::Mrope,
        chat: ChatFormat::Template,
        tiktoken: None,
        stop: config.stop(files)?,
        max_positions: config.max_positions(),
        vision: VisionConfig {
            tower: TowerConfig::QwenVit(tower),
            tower_at: "visual",
            connector: ConnectorConfig::PatchMerger(merger),
            connector_at: "visual.merger",
            cross: None,
        },
        decoder,
        grammar: Grammar::Qwen2Boxes,
        heat_layer: config.heat_layer,
    })
}
