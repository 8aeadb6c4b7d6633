//! LLaVA and LLaVA-1.5 (`llava-hf/llava-1.5-7b-hf` and its relatives).
//!
//! CLIP ViT-L/14 without its last layer and its class token -> MLP -> Vicuna. Boxes as fractions of the sides.

use fovea_engine::op::Activation;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Blueprint,
    config::{OneOrMany, activation, stop, wrong},
    keys,
    text::TextConfig,
    vit::{VitKeys, check_views},
};
use crate::{
    blocks::{ConnectorConfig, DecoderNames, ProjectorConfig, TowerConfig, VisionConfig, VitConfig},
    checkpoint::Files,
    error::LoadError,
    grounding::Grammar,
    image::{ImageConfig, ViewsConfig},
    prompt::{ChatFormat, ImageSlot, PositionRule, SlotText},
};

/// The keys that LLaVA, LLaVA-NeXT and Pixtral share.
#[derive(Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    text_config: TextConfig,
    pub(super) vision_config: VitKeys,
    image_token_id: u32,
    #[serde(default = "last_but_one")]
    pub(super) vision_feature_layer: i64,
    pub(super) vision_feature_select_strategy: Option<String>,
    projector_hidden_act: Option<String>,
    multimodal_projector_bias: Option<bool>,
    tie_word_embeddings: Option<bool>,
    eos_token_id: Option<OneOrMany>,
    /// LLaVA-NeXT's, a copy of its image preparation's.
    pub(super) image_grid_pinpoints: Option<Value>,
}

/// Types of the towers that are CLIP's.
pub(super) const CLIP: &[&str] = &["clip_vision_model"];

fn last_but_one() -> i64 {
    -2
}

/// What differs between them.
pub(super) struct Variant {
    pub(super) name: &'static str,
    pub(super) tower: VitConfig,
    /// The prefix of its tensors.
    pub(super) tower_at: &'static str,
    pub(super) image: ViewsConfig,
    pub(super) newline: Option<&'static str>,
    pub(super) slot: SlotText,
    pub(super) grammar: Grammar,
}

impl Config {
    pub(super) fn compose(self, files: Files<'_>, variant: Variant) -> Result<Blueprint, LoadError> {
        check_views(variant.tower.side, &variant.image)?;
        let names = DecoderNames { at: "language_model", ..DecoderNames::LLAMA };
        let text = self.text_config.read("llama", names, self.tie_word_embeddings)?;
        let drop_class = match self.vision_feature_select_strategy.as_deref() {
            None | Some("default") => true,
            Some("full") => false,
            Some(other) => {
                let expected = "default or full".to_owned();
                return Err(wrong("vision_feature_select_strategy", other.to_owned(), expected));
            }
        };
        let activation = activation("projector_hidden_act", self.projector_hidden_act.as_deref(), Activation::GeluErf)?;
        Ok(Blueprint {
            name: variant.name,
            vision: VisionConfig {
                connector: ConnectorConfig::Projector(ProjectorConfig {
                    width: variant.tower.layer.hidden,
                    merge: 1,
                    norm: None,
                    projections: &["linear_1", "linear_2"],
                    bias: self.multimodal_projector_bias.unwrap_or(true),
                    activation,
                    out: text.decoder.hidden,
                    scaling: 1.0,
                }),
                connector_at: "multi_modal_projector",
                tower_at: variant.tower_at,
                drop_class: drop_class && variant.tower.class_token,
                tower: TowerConfig::Vit(Box::new(variant.tower)),
                newline: variant.newline,
                apart: false,
                cross: None,
            },
            decoder: text.decoder,
            image: ImageConfig::Views(variant.image),
            slot: ImageSlot { text: variant.slot, ..ImageSlot::token(self.image_token_id) },
            positions: PositionRule::Sequential { first: 0 },
            chat: ChatFormat::Template,
            tiktoken: None,
            stop: stop(files, [self.text_config.eos_token_id, self.eos_token_id])?,
            max_positions: text.max_positions,
            grammar: variant.grammar,
            heat_layer: None,
            quotes: false,
            relations: false,
            grounds_only: false,
        })
    }
}

pub(super) fn read(files: Files<'_>) -> Result<Blueprint, LoadError> {
    let config: Config = keys::read(files)?;
    let tower = config.vision_config.clip(CLIP, config.vision_feature_layer)?;
    let variant = Variant {
        name: "llava",
        tower_at: "vision_tower.vision_model",
        image: ViewsConfig::middle(&files.preprocessor()?, tower.patch as u32)?,
        tower,
        newline: None,
        slot: SlotText::Rows,
        grammar: Grammar::UnitBoxes,
    };
    config.compose(files, variant)
}
