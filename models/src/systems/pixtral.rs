//! Pixtral 12B (`mistral-community/pixtral-12b`).
//!
//! A ViT with RMSNorm, gated feedforward and 2-D rotary positions over pictures of any shape -> MLP -> Mistral-Nemo. A
//! token behind each line of patches.

use super::{Blueprint, config::only, keys, llava};
use crate::{checkpoint::Files, error::LoadError, grounding::Grammar, image::ViewsConfig, prompt::SlotText};

pub(super) fn read(files: Files<'_>) -> Result<Blueprint, LoadError> {
    let config: llava::Config = keys::read(files)?;
    // The published file says both. What else they could say is of towers with a class token.
    only("vision_feature_layer", Some(config.vision_feature_layer), -1)?;
    only("vision_feature_select_strategy", config.vision_feature_select_strategy.as_deref(), "full")?;
    let tower = config.vision_config.pixtral()?;
    let image = ViewsConfig::native(&files.preprocessor()?, tower.patch as u32)?;
    let variant = llava::Variant {
        name: "pixtral",
        tower_at: "vision_tower",
        image,
        tower,
        newline: None,
        slot: SlotText::Lines { line: "[IMG_BREAK]", last: "[IMG_END]" },
        grammar: Grammar::Words,
    };
    config.compose(files, variant)
}
