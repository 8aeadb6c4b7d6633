//! Idefics3 and SmolVLM (`HuggingFaceM4/Idefics3-8B-Llama3`, `HuggingFaceTB/SmolVLM-Instruct` and their relatives).
//!
//! SigLIP over tiles and over the whole picture, tokens between them -> squares of patches side by side, one projection
//! -> Llama 3 or SmolLM.

use fovea_engine::op::Activation;
use serde::Deserialize;

use super::{
    Blueprint,
    config::{OneOrMany, divide, size, stop},
    keys,
    text::TextConfig,
    vit::{VitKeys, check_views},
};
use crate::{
    blocks::{ConnectorConfig, DecoderNames, ProjectorConfig, TowerConfig, VisionConfig},
    checkpoint::Files,
    error::LoadError,
    grounding::Grammar,
    image::{ImageConfig, ViewsConfig},
    prompt::{ChatFormat, ImageSlot, PositionRule, SlotText},
};

const NAMES: DecoderNames = DecoderNames {
    embedding: "model.text_model.embed_tokens.weight",
    layers: "model.text_model.layers",
    norm: "model.text_model.norm",
    ..DecoderNames::LLAMA
};

#[derive(Deserialize)]
struct Config {
    text_config: TextConfig,
    vision_config: VitKeys,
    image_token_id: u32,
    #[serde(default = "two")]
    scale_factor: usize,
    tie_word_embeddings: Option<bool>,
    eos_token_id: Option<OneOrMany>,
}

fn two() -> usize {
    2
}

pub(super) fn read(files: Files<'_>) -> Result<Blueprint, LoadError> {
    let config: Config = keys::read(files)?;
    let text = config.text_config.read("llama", NAMES, config.tie_word_embeddings)?;
    let tower = config.vision_config.idefics3()?;
    size("scale_factor", config.scale_factor, 16)?;
    divide("vision_config.image_size / patch_size", tower.side, "scale_factor", config.scale_factor)?;
    let image = ViewsConfig::split(&files.preprocessor()?, tower.patch as u32)?;
    check_views(tower.side, &image)?;
    Ok(Blueprint {
        name: "idefics3",
        image: ImageConfig::Views(image),
        vision: VisionConfig {
            connector: ConnectorConfig::Projector(ProjectorConfig {
                width: tower.layer.hidden,
                merge: config.scale_factor,
                norm: None,
                projections: &["modality_projection.proj"],
                bias: false,
                activation: Activation::None,
                out: text.decoder.hidden,
                scaling: 1.0,
            }),
            connector_at: "model.connector",
            tower: TowerConfig::Vit(Box::new(tower)),
            tower_at: "model.vision_model",
            drop_class: false,
            newline: None,
            apart: false,
            cross: None,
        },
        decoder: text.decoder,
        slot: ImageSlot { text: SlotText::Tiles, ..ImageSlot::token(config.image_token_id) },
        positions: PositionRule::Sequential { first: 0 },
        chat: ChatFormat::Template,
        tiktoken: None,
        stop: stop(files, [config.text_config.eos_token_id, config.eos_token_id])?,
        max_positions: text.max_positions,
        grammar: Grammar::Words,
        heat_layer: None,
        quotes: false,
        relations: false,
        grounds_only: false,
    })
}
