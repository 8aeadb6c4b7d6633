//! Llama 3.2 Vision (`meta-llama/Llama-3.2-11B-Vision-Instruct` and its relatives).
//!
//! A ViT over the tiles of a picture at once, with the features of several layers -> one projection -> Llama 3.1, in which
//! every fifth layer attends to the picture instead of the text.

use fovea_engine::op::Activation;
use serde::Deserialize;

use super::{
    Blueprint,
    config::{OneOrMany, PREPARATION, activation, kind, size, stop, wrong},
    keys,
    text::TextConfig,
    vit::{TowerSizes, check_views},
};
use crate::{
    blocks::{
        ConnectorConfig, DecoderNames, GatedCrossConfig, LayerConfig, ProjectorConfig, TiledVitConfig, TowerConfig,
        VisionConfig,
    },
    checkpoint::Files,
    error::LoadError,
    grounding::Grammar,
    image::{ImageConfig, ViewRule, ViewsConfig},
    prompt::{ChatFormat, ImageSlot, PositionRule, SlotText},
};

/// Rows of the embedding behind the vocabulary's: the picture's token and room for more.
const EXTRA_EMBEDDINGS: usize = 8;

#[derive(Deserialize)]
struct Config {
    text_config: TextConfig,
    vision_config: Vision,
    image_token_id: u32,
    tie_word_embeddings: Option<bool>,
    eos_token_id: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(default)]
struct Vision {
    model_type: Option<String>,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_global_layers: usize,
    attention_heads: usize,
    image_size: usize,
    patch_size: usize,
    max_num_tiles: usize,
    intermediate_layers_indices: Vec<usize>,
    supported_aspect_ratios: Vec<[u32; 2]>,
    norm_eps: f32,
    hidden_act: Option<String>,
    vision_output_dim: usize,
}

impl Default for Vision {
    /// Those of `MllamaVisionConfig`, which files may leave out.
    fn default() -> Self {
        Self {
            model_type: None,
            hidden_size: 1280,
            intermediate_size: 5120,
            num_hidden_layers: 32,
            num_global_layers: 8,
            attention_heads: 16,
            image_size: 448,
            patch_size: 14,
            max_num_tiles: 4,
            intermediate_layers_indices: vec![3, 7, 15, 23, 30],
            supported_aspect_ratios: vec![[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]],
            norm_eps: 1e-5,
            hidden_act: None,
            vision_output_dim: 7680,
        }
    }
}

impl Vision {
    fn read(&self) -> Result<TiledVitConfig, LoadError> {
        kind("vision_config.model_type", self.model_type.as_deref(), &["mllama_vision_model"])?;
        let sizes = TowerSizes {
            hidden: self.hidden_size,
            inner: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads: self.attention_heads,
            head_dim: None,
            patch: self.patch_size,
            image: self.image_size,
            eps: self.norm_eps,
        };
        let (_, side) = sizes.check()?;
        size("vision_config.num_global_layers", self.num_global_layers, 1024)?;
        size("vision_config.max_num_tiles", self.max_num_tiles, 64)?;
        size("vision_config.supported_aspect_ratios", self.supported_aspect_ratios.len(), 256)?;
        // The preparation numbers them itself, and the learned rows have its numbers.
        let all = canvases(self.max_num_tiles as u32);
        if self.supported_aspect_ratios != all {
            let (got, tiles) = (format!("{:?}", self.supported_aspect_ratios), self.max_num_tiles);
            let expected = match all.len() {
                0..=16 => format!("{all:?}, as vision_config.max_num_tiles is {tiles}"),
                count => format!("the {count} that vision_config.max_num_tiles of {tiles} allows"),
            };
            return Err(wrong("vision_config.supported_aspect_ratios", got, expected));
        }
        let kept = &self.intermediate_layers_indices;
        if !kept.is_sorted_by(|a, b| a < b) || kept.last().is_some_and(|&last| last >= self.num_hidden_layers) {
            let expected = format!("rising, below {}", self.num_hidden_layers);
            return Err(wrong("vision_config.intermediate_layers_indices", format!("{kept:?}"), expected));
        }
        let act = activation("vision_config.hidden_act", self.hidden_act.as_deref(), Activation::GeluErf)?;
        let tower = TiledVitConfig {
            layer: LayerConfig {
                activation: act,
                eps: self.norm_eps,
                qkv_bias: false,
                out_bias: false,
                ..LayerConfig::clip(self.hidden_size, self.attention_heads, self.intermediate_size)
            },
            depth: self.num_hidden_layers,
            global: self.num_global_layers,
            intermediate: kept.clone(),
            patch: self.patch_size,
            side,
            tiles: self.max_num_tiles,
            canvases: self.supported_aspect_ratios.clone(),
        };
        if self.vision_output_dim != tower.width() {
            let (got, expected) = (self.vision_output_dim.to_string(), tower.width().to_string());
            return Err(wrong("vision_config.vision_output_dim", got, expected));
        }
        Ok(tower)
    }
}

/// Columns and rows of at most so many tiles, in the preparation's order. Source: `get_all_supported_aspect_ratios`.
fn canvases(tiles: u32) -> Vec<[u32; 2]> {
    (1..=tiles).flat_map(|one| (1..=tiles / one).map(move |other| [one, other])).collect()
}

pub(super) fn read(files: Files<'_>) -> Result<Blueprint, LoadError> {
    let config: Config = keys::read(files)?;
    let names = DecoderNames { at: "language_model", ..DecoderNames::LLAMA };
    let text = config.text_config.read("mllama_text_model", names, config.tie_word_embeddings)?;
    let tower = config.vision_config.read()?;
    let image = ViewsConfig::canvas(&files.preprocessor()?, tower.patch as u32)?;
    check_views(tower.side, &image)?;
    if let ViewRule::Canvas { most, .. } = image.rule
        && most as usize != tower.tiles
    {
        let expected = format!("{most}, the max_image_tiles of {PREPARATION}");
        return Err(wrong("vision_config.max_num_tiles", tower.tiles.to_string(), expected));
    }
    let mut decoder = text.decoder;
    decoder.options.extra_embeddings = EXTRA_EMBEDDINGS;
    decoder.gated = Some(GatedCrossConfig { layers: config.text_config.cross_layers(decoder.layers)? });
    Ok(Blueprint {
        name: "mllama",
        image: ImageConfig::Views(image),
        vision: VisionConfig {
            connector: ConnectorConfig::Projector(ProjectorConfig {
                width: tower.width(),
                merge: 1,
                norm: None,
                projections: &[""],
                bias: true,
                activation: Activation::None,
                out: decoder.hidden,
                scaling: 1.0,
            }),
            connector_at: "multi_modal_projector",
            tower: TowerConfig::Tiled(Box::new(tower)),
            tower_at: "vision_model",
            drop_class: false,
            newline: None,
            apart: true,
            cross: None,
        },
        decoder,
        slot: ImageSlot { text: SlotText::Apart, ..ImageSlot::token(config.image_token_id) },
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
