//! LLaVA-NeXT, also called LLaVA-1.6 (`llava-hf/llava-v1.6-mistral-7b-hf`, `llava-hf/llama3-llava-next-8b-hf` and their
//! relatives).
//!
//! LLaVA's tower and connector over the whole picture and over tiles of it, whose rows are laid out as one grid with a
//! learned row behind each line -> Vicuna, Mistral, Llama 3 or Qwen1.5.

use serde_json::Value;

use super::{
    Blueprint,
    config::{PREPARATION, wrong},
    keys, llava,
};
use crate::{
    checkpoint::Files,
    error::LoadError,
    grounding::Grammar,
    image::{ViewRule, ViewsConfig},
    prompt::SlotText,
};

/// Tiles that the rows are laid out for and those that a picture is cut into are given twice.
fn check_tiles(own: Option<&Value>, image: &ViewsConfig) -> Result<(), LoadError> {
    let (Some(own), ViewRule::Anyres { canvases, .. }) = (own, &image.rule) else { return Ok(()) };
    let mut cut: Vec<[u32; 2]> = canvases.iter().map(|it| [it.height, it.width]).collect();
    let laid: Option<Vec<[u32; 2]>> = serde_json::from_value(own.clone()).ok();
    let mut laid = laid.unwrap_or_default();
    cut.sort_unstable();
    laid.sort_unstable();
    match cut == laid {
        true => Ok(()),
        false => {
            let expected = format!("{cut:?}, the image_grid_pinpoints of {PREPARATION}");
            Err(wrong("image_grid_pinpoints", own.to_string(), expected))
        }
    }
}

pub(super) fn read(files: Files<'_>) -> Result<Blueprint, LoadError> {
    let config: llava::Config = keys::read(files)?;
    let tower = config.vision_config.clip(llava::CLIP, config.vision_feature_layer)?;
    let image = ViewsConfig::anyres(&files.preprocessor()?, tower.patch as u32)?;
    check_tiles(config.image_grid_pinpoints.as_ref(), &image)?;
    let variant = llava::Variant {
        name: "llava_next",
        tower_at: "vision_tower.vision_model",
        image,
        tower,
        newline: Some("image_newline"),
        slot: SlotText::Rows,
        grammar: Grammar::UnitBoxes,
    };
    config.compose(files, variant)
}
