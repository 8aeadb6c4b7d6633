//! Pixtral 12B (`mistral-community/pixtral-12b`).
//!
//! A ViT with RMSNorm, gated feedforward and 2-D rotary positions over pictures of any shape -> MLP -> Mistral-Nemo. A
//! token behind each line of patches.

use super::{Blueprint, Grammar, keys, llava};
use crate::{
    checkpoint::{Files, LoadError},
    image::ViewsConfig,
    prompt::SlotText,
};

pub(super) fn read(files: Files<'_>) -> Result<Blueprint, LoadError> {
    let config: llava::Config = keys::read(files)?;
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
