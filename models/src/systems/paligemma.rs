//! PaliGemma and PaliGemma 2 (`google/paligemma-3b-mix-448`, `google/paligemma2-3b-mix-448` and their relatives).
//!
//! SigLIP-So400m/14 -> one projection -> Gemma or Gemma 2, whose rows of the prompt see all of it. Boxes are tokens,
//! `<loc0000>` to `<loc1023>`, from top to bottom first.

use fovea_engine::op::Activation;
use serde::Deserialize;

use super::{
    Blueprint,
    config::{OneOrMany, stop, wrong},
    keys,
    text::TextConfig,
    vit::{VitKeys, check_views},
};
use crate::{
    blocks::{ConnectorConfig, DecoderNames, DecoderOptions, ProjectorConfig, TowerConfig, VisionConfig},
    checkpoint::Files,
    error::LoadError,
    grounding::Grammar,
    image::{ImageConfig, ViewsConfig},
    prompt::{ChatFormat, ImageSlot, PositionRule},
};

#[derive(Deserialize)]
struct Config {
    text_config: TextConfig,
    vision_config: VitKeys,
    image_token_id: u32,
    tie_word_embeddings: Option<bool>,
    projection_dim: Option<usize>,
    bos_token_id: u32,
    eos_token_id: Option<OneOrMany>,
}

pub(super) fn read(files: Files<'_>) -> Result<Blueprint, LoadError> {
    let config: Config = keys::read(files)?;
    let names = DecoderNames { at: "language_model", ..DecoderNames::LLAMA };
    let text = config.text_config.read("gemma", names, config.tie_word_embeddings)?;
    let tower = config.vision_config.siglip()?;
    let out = text.decoder.hidden;
    if let Some(width) = config.projection_dim.filter(|&width| width != out) {
        let expected = format!("the decoder's hidden_size, {out}");
        return Err(wrong("projection_dim", width.to_string(), expected));
    }
    let image = ViewsConfig::whole(&files.preprocessor()?, tower.patch as u32)?;
    check_views(tower.side, &image)?;
    let mut decoder = text.decoder;
    decoder.options = DecoderOptions { whole_prompt: true, ..decoder.options };
    Ok(Blueprint {
        name: "paligemma",
        image: ImageConfig::Views(image),
        vision: VisionConfig {
            connector: ConnectorConfig::Projector(ProjectorConfig {
                width: tower.layer.hidden,
                merge: 1,
                norm: None,
                projections: &["linear"],
                bias: true,
                activation: Activation::None,
                out,
                scaling: (out as f32).sqrt().recip(),
            }),
            connector_at: "multi_modal_projector",
            tower: TowerConfig::Vit(Box::new(tower)),
            tower_at: "vision_tower.vision_model",
            drop_class: false,
            newline: None,
            apart: false,
            cross: None,
        },
        decoder,
        slot: ImageSlot::token(config.image_token_id),
        positions: PositionRule::Sequential { first: 1 },
        chat: ChatFormat::Prefix { begin: config.bos_token_id, image: config.image_token_id },
        tiktoken: None,
        stop: stop(files, [config.eos_token_id, config.text_config.eos_token_id])?,
        max_positions: text.max_positions,
        grammar: Grammar::PaliGemma,
        heat_layer: None,
        quotes: false,
        relations: false,
        grounds_only: false,
    })
}
