//! Qwen2.5-VL (`Qwen/Qwen2.5-VL-3B-Instruct` and larger), and the project's own nano.
//!
//! A ViT with RMSNorm, SiLU gates and attention in windows but for a few blocks, 2-D rotary positions -> 2x2 merger ->
//! Qwen2.5 decoder with M-RoPE. Boxes as JSON in pixels of the resized picture; nano writes CogAgent's actions, and
//! adds a learned grid of positions as Qwen3-VL does.

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
    hidden_size: usize,
    intermediate_size: usize,
    num_heads: usize,
    out_hidden_size: usize,
    #[serde(default = "patch_size")]
    patch_size: usize,
    #[serde(default = "two")]
    spatial_merge_size: usize,
    #[serde(default = "two")]
    temporal_patch_size: usize,
    #[serde(default = "window_size")]
    window_size: usize,
    fullatt_block_indexes: Vec<usize>,
    num_position_embeddings: Option<usize>,
}

pub(super) fn patch_size() -> usize {
    14
}

pub(super) fn two() -> usize {
    2
}

fn window_size() -> usize {
    112
}

pub(super) fn read(files: Files<'_>) -> Result<Blueprint, LoadError> {
    let config = config::Config::<Vision>::read(files)?;
    let decoder = config.decoder()?;
    let vision = &config.vision;
    let token = vision.patch_size.saturating_mul(vision.spatial_merge_size).max(1);
    let grid = vision.num_position_embeddings.map(|count| (count, count.isqrt()));
    if let Some((count, side)) = grid
        && side * side != count
    {
        let expected = "a square number".to_owned();
        return Err(config::wrong("vision_config.num_position_embeddings", count.to_string(), expected));
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
    let merger =
        PatchMergerConfig { width: tower.hidden, merge: tower.merge, norm: Norm::Rms, out: vision.out_hidden_size };
    config::check_vision(&tower, &merger, vision.intermediate_size, decoder.hidden)?;
    Ok(Blueprint {
        name: "qwen2_5_vl",
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
        grammar: match config.grounding.as_deref() {
            Some("cogagent") => Grammar::CogAgent,
            _ => Grammar::Qwen2_5Json,
        },
        heat_layer: config.heat_layer,
    })
}
