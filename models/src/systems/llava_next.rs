//! LLaVA-NeXT, also called LLaVA-1.6 (`llava-hf/llava-v1.6-mistral-7b-hf`, `llava-hf/llama3-llava-next-8b-hf` and their
//! relatives).
//!
//! LLaVA's tower and connector over the whole picture and over tiles of it, whose rows are laid out as one grid with a
//! learned row behind each line -> Vicuna, Mistral, Llama 3 or Qwen1.5.

use super::{Blueprint, Grammar, config::CONFIG, llava};
use crate::{
    checkpoint::{Files, LoadError},
    image::ViewsConfig,
    prompt::SlotText,
};

pub(super) fn read(files: Files<'_>) -> Result<Blueprint, LoadError> {
    let config: llava::Config = files.json(CONFIG)?;
    let tower = config.vision_config.clip(config.vision_feature_layer)?;
    let variant = llava::Variant {
        name: "llava_next",
        tower_at: "vision_tower.vision_model",
        image: ViewsConfig::anyres(&files.preprocessor()?, tower.patch as u32)?,
        tower,
        newline: Some("image_newline"),
        slot: SlotText::Rows,
        grammar: Grammar::UnitBoxes,
    };
    config.compose(files, variant)
}
