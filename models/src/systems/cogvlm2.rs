//! CogVLM2-19B (`THUDM/cogvlm2-llama3-chat-19B` and its relatives).
//!
//! EVA2-CLIP-E at 1344 -> 2x2 convolution, GLU adapter with two learned rows -> LLaMA-3-8B with a visual expert, whose
//! queries, keys and values have biases, in every layer. Positions as CogVLM-17B's.

use super::{Blueprint, cogvlm_17b, keys};
use crate::{checkpoint::Files, error::LoadError, prompt::CogTemplate};

pub(super) fn read(files: Files<'_>) -> Result<Blueprint, LoadError> {
    let config: cogvlm_17b::Config = keys::read(files)?;
    config.without_cross()?;
    let variant = cogvlm_17b::Variant {
        name: "cogvlm2",
        convolution: Some(config.vision_config.hidden_size),
        positions: None,
        expert_bias: true,
        theta: 500_000.0,
        template: CogTemplate::of_cogvlm,
    };
    config.blueprint(files, &variant)
}
