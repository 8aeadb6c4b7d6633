//! CogAgent-9B (`zai-org/cogagent-9b-20241220`).
//!
//! GLM-4V-9B trained to act on screens; its rotary positions turn the halves of the turned part of a head
//! (`original_rope: false`). It writes CogAgent's action lines.

use fovea_engine::op::RopeStyle;

use super::{Blueprint, glm_4v_9b};
use crate::{checkpoint::Files, error::LoadError, grounding::Grammar};

pub(super) fn read(files: Files<'_>) -> Result<Blueprint, LoadError> {
    let mut blueprint = glm_4v_9b::read(files)?;
    blueprint.name = "cogagent_9b";
    blueprint.decoder.rotary.style = RopeStyle::Halves;
    blueprint.grammar = Grammar::CogAgent;
    Ok(blueprint)
}
