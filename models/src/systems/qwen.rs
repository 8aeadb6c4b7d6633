//! What the configurations of the Qwen family have in common: the text decoder's keys, checks of the tower, composition.

use serde::Deserialize;

use super::{
    Blueprint,
    config::{OneOrMany, PREPARATION, divide, head, size, stop, wrong},
    keys,
    text::TextConfig,
};
use crate::{
    blocks::{ConnectorConfig, DecoderNames, PatchMergerConfig, QwenVitConfig, TowerConfig, VisionConfig},
    checkpoint::Files,
    error::LoadError,
    grounding::Grammar,
    image::{ImageConfig, QwenImageConfig},
    prompt::{ChatFormat, ImageSlot, PositionRule},
};

/// A `config.json` with a decoder, a vision tower of type `V`, and the ids that join them.
#[derive(Deserialize)]
pub(super) struct Config<V> {
    /// Older files have its keys at the top level.
    text_config: TextConfig,
    #[serde(rename = "vision_config")]
    pub(super) vision: V,
    image_token_id: u32,
    tie_word_embeddings: Option<bool>,
    eos_token_id: Option<OneOrMany>,
    /// What answers are written in, where it is not what the architecture's publisher trained.
    #[serde(rename = "fovea_grounding")]
    pub(super) grounding: Option<String>,
    /// The decoder's layer whose attention shows where the model looks, if its publisher knows.
    #[serde(rename = "fovea_heat_layer")]
    heat_layer: Option<usize>,
    #[serde(rename = "fovea_quotes", default)]
    quotes: bool,
    #[serde(rename = "fovea_relations", default)]
    relations: bool,
    #[serde(rename = "fovea_grounds_only", default)]
    grounds_only: bool,
}

/// The base of the tower's rotary frequencies.
pub(super) const TOWER_THETA: f64 = 10_000.0;

impl<V: serde::de::DeserializeOwned> Config<V> {
    pub(super) fn read(files: Files<'_>) -> Result<Self, LoadError> {
        keys::read_flat(files)
    }

    /// The system whose tower is `tower`, with a feedforward of `inner`, and whose merger ends with a width of `out`.
    ///
    /// # Errors
    /// [`LoadError`] that names the file and the field.
    pub(super) fn compose(
        self,
        name: &'static str,
        files: Files<'_>,
        (tower, inner, out): (QwenVitConfig, usize, usize),
        grammar: Grammar,
    ) -> Result<Blueprint, LoadError> {
        let text = self.text_config.read(name, DecoderNames::LLAMA, self.tie_word_embeddings)?;
        let decoder = text.decoder;
        let merger = PatchMergerConfig { width: tower.hidden, merge: tower.merge, norm: tower.norm, out };
        check_vision(&tower, &merger, inner, decoder.hidden)?;
        let image = QwenImageConfig::read(&files.preprocessor()?)?;
        check_image(&tower, &image)?;
        Ok(Blueprint {
            name,
            image: ImageConfig::Qwen(image),
            slot: ImageSlot::token(self.image_token_id),
            positions: PositionRule::Mrope,
            chat: ChatFormat::Template,
            tiktoken: None,
            stop: stop(files, [self.text_config.eos_token_id, self.eos_token_id])?,
            max_positions: text.max_positions,
            vision: VisionConfig {
                tower: TowerConfig::QwenVit(tower),
                tower_at: "visual",
                drop_class: false,
                connector: ConnectorConfig::PatchMerger(merger),
                connector_at: "visual.merger",
                newline: None,
                apart: false,
                cross: None,
            },
            decoder,
            grammar,
            heat_layer: self.heat_layer,
            quotes: self.quotes,
            relations: self.relations,
            grounds_only: self.grounds_only,
        })
    }
}

/// Refuses pictures that are cut in another way than the tower was trained with.
fn check_image(vision: &QwenVitConfig, image: &QwenImageConfig) -> Result<(), LoadError> {
    for (field, tower, name, preparation) in [
        ("vision_config.patch_size", vision.patch, "patch_size", image.patch_size),
        ("vision_config.temporal_patch_size", vision.temporal, "temporal_patch_size", image.temporal_patch_size),
        ("vision_config.spatial_merge_size", vision.merge, "merge_size", image.merge_size),
    ] {
        if tower != preparation as usize {
            let expected = format!("{preparation}, the {name} of {PREPARATION}");
            return Err(wrong(field, tower.to_string(), expected));
        }
    }
    Ok(())
}

/// Checks a tower's and its merger's sizes; the names are those that both Qwen configurations share.
fn check_vision(vision: &QwenVitConfig, merger: &PatchMergerConfig, inner: usize, out: usize) -> Result<(), LoadError> {
    size("vision_config.depth", vision.depth, 1024)?;
    size("vision_config.hidden_size", vision.hidden, 1 << 16)?;
    size("vision_config.num_heads", vision.heads, 1024)?;
    size("vision_config.intermediate_size", inner, 1 << 18)?;
    size("vision_config.patch_size", vision.patch, 256)?;
    size("vision_config.temporal_patch_size", vision.temporal, 16)?;
    size("vision_config.spatial_merge_size", vision.merge, 16)?;
    if let Some(side) = vision.window {
        size("vision_config.window_size", side, 4096)?;
    }
    if let Some(side) = vision.position_grid {
        size("vision_config.num_position_embeddings", side, 256)?;
    }
    let head_dim = divide("vision_config.hidden_size", vision.hidden, "vision_config.num_heads", vision.heads)?;
    head("vision_config.hidden_size / num_heads", head_dim)?;
    if head_dim % 4 != 0 {
        let expected = "a multiple of 4".to_owned();
        return Err(wrong("vision_config.hidden_size / num_heads", head_dim.to_string(), expected));
    }
    if merger.out != out {
        let expected = format!("the decoder's hidden_size, {out}");
        return Err(wrong("vision_config.out_hidden_size", merger.out.to_string(), expected));
    }
    Ok(())
}
