//! InternVL 1.5 to 3 in the layout of `transformers` (`OpenGVLab/InternVL3-1B-hf` and its relatives).
//!
//! InternViT over tiles and over the whole picture, without its class token -> squares of patches side by side, LayerNorm,
//! MLP -> Qwen2 or LLaMA. Boxes in thousandths between marks.

use fovea_engine::op::Activation;
use serde::Deserialize;

use super::{
    Blueprint,
    config::{OneOrMany, activation, divide, stop, wrong},
    intern_vit::InternVit,
    keys,
    text::TextConfig,
    vit::check_views,
};
use crate::{
    blocks::{ConnectorConfig, DecoderNames, InputNorm, ProjectorConfig, TowerConfig, VisionConfig},
    checkpoint::Files,
    error::LoadError,
    grounding::Grammar,
    image::{ImageConfig, ViewsConfig},
    prompt::{ChatFormat, ImageSlot, PositionRule, SlotText},
};

#[derive(Deserialize)]
struct Config {
    text_config: TextConfig,
    vision_config: InternVit,
    image_token_id: u32,
    vision_feature_layer: Option<i64>,
    vision_feature_select_strategy: Option<String>,
    #[serde(default = "half")]
    downsample_ratio: f64,
    projector_hidden_act: Option<String>,
    tie_word_embeddings: Option<bool>,
    eos_token_id: Option<OneOrMany>,
}

fn half() -> f64 {
    0.5
}

pub(super) fn read(files: Files<'_>) -> Result<Blueprint, LoadError> {
    let config: Config = keys::read(files)?;
    let names = DecoderNames { at: "language_model", ..DecoderNames::LLAMA };
    let text = config.text_config.read("qwen2", names, config.tie_word_embeddings)?;
    let tower = config.vision_config.read()?;
    // The reference's defaults, and what every published file says.
    let (layer, rows) = (config.vision_feature_layer, config.vision_feature_select_strategy.as_deref());
    if let Some(layer) = layer.filter(|&layer| layer != -1) {
        return Err(wrong("vision_feature_layer", layer.to_string(), "-1".to_owned()));
    }
    if let Some(rows) = rows.filter(|&rows| rows != "default") {
        return Err(wrong("vision_feature_select_strategy", rows.to_owned(), "default".to_owned()));
    }
    let merge = (1.0 / config.downsample_ratio).round();
    if !((1.0..=16.0).contains(&merge) && merge * config.downsample_ratio == 1.0) {
        let expected = "one over a whole number".to_owned();
        return Err(wrong("downsample_ratio", config.downsample_ratio.to_string(), expected));
    }
    let merge = merge as usize;
    divide("vision_config.image_size / patch_size", tower.side, "1 / downsample_ratio", merge)?;
    let act = config.projector_hidden_act.as_deref();
    let image = ViewsConfig::grid(&files.preprocessor()?, tower.patch as u32)?;
    check_views(tower.side, &image)?;
    Ok(Blueprint {
        name: "internvl",
        image: ImageConfig::Views(image),
        vision: VisionConfig {
            connector: ConnectorConfig::Projector(ProjectorConfig {
                width: tower.layer.hidden,
                merge,
                norm: Some(InputNorm { name: "layer_norm", eps: 1e-5 }),
                projections: &["linear_1", "linear_2"],
                bias: true,
                activation: activation("projector_hidden_act", act, Activation::GeluErf)?,
                out: text.decoder.hidden,
                scaling: 1.0,
            }),
            connector_at: "multi_modal_projector",
            tower: TowerConfig::Vit(Box::new(tower)),
            tower_at: "vision_tower",
            drop_class: true,
            newline: None,
            apart: false,
            cross: None,
        },
        decoder: text.decoder,
        slot: ImageSlot { text: SlotText::Between("<img>", "</img>"), ..ImageSlot::token(config.image_token_id) },
        positions: PositionRule::Sequential { first: 0 },
        chat: ChatFormat::Template,
        tiktoken: None,
        stop: stop(files, [config.text_config.eos_token_id, config.eos_token_id])?,
        max_positions: text.max_positions,
        grammar: Grammar::InternBoxes,
        heat_layer: None,
        quotes: false,
        relations: false,
        grounds_only: false,
    })
}
