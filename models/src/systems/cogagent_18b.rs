//! CogAgent-18B (`THUDM/cogagent-chat-hf`, `THUDM/cogagent-vqa-hf`).
//!
//! CogVLM-17B at 224, whose adapter has positions of its own, and beside it EVA2-CLIP-L at 1120: every decoder layer
//! attends to its 6400 features in 1024 dimensions, between attention and feedforward.

use super::{
    Blueprint, cog, cogvlm_17b,
    config::{CONFIG, divide, head, size},
    keys,
};
use crate::{
    blocks::{CrossAttentionConfig, EvaRopeConfig},
    checkpoint::Files,
    error::LoadError,
    grounding::Grammar,
    image::ImageConfig,
    prompt::CogTemplate,
};

/// Layers of the sharp tower, which the published code fixes; the last does not run.
const LAYERS: usize = 24;
/// Elements of its heads.
const HEAD: usize = 64;
/// Width of its feedforward over its own.
const RATIO: f64 = 2.6667;
/// Classes of its head, which does not run.
const CLASSES: usize = 768;

pub(super) fn read(files: Files<'_>) -> Result<Blueprint, LoadError> {
    let config: cogvlm_17b::Config = keys::read(files)?;
    let variant = cogvlm_17b::Variant {
        name: "cogagent_18b",
        convolution: None,
        positions: Some(config.vision_config.patches()),
        expert_bias: false,
        theta: 10_000.0,
        template: CogTemplate::of_cogagent,
    };
    let mut blueprint = config.blueprint(files, &variant)?;

    let need = |key: &str, value: Option<usize>| {
        let reason = || format!("missing field `{key}`");
        value.ok_or_else(|| LoadError::File { file: CONFIG.to_owned(), reason: reason() })
    };
    let hidden = need("cross_hidden_size", config.cross_hidden_size)?;
    let width = need("cross_compute_hidden_size", config.cross_compute_hidden_size)?;
    let cross_image_size = need("cross_image_size", config.cross_image_size.map(|side| side as usize))? as u32;
    size("cross_hidden_size", hidden, 1 << 16)?;
    size("cross_compute_hidden_size", width, 1 << 16)?;
    let heads = config.num_attention_heads;
    head(
        "cross_compute_hidden_size / num_attention_heads",
        divide("cross_compute_hidden_size", width, "heads", heads)?,
    )?;
    let patch = config.vision_config.patch();
    let square = cog::square("cross_image_size", cross_image_size, patch)?;
    let tower = EvaRopeConfig {
        depth: LAYERS - 1,
        stored: LAYERS,
        classes: CLASSES,
        hidden,
        head_dim: HEAD,
        feedforward: (hidden as f64 * RATIO) as usize,
        patch: patch as usize,
        side: (cross_image_size / patch) as usize,
    };
    blueprint.vision.cross = Some((tower, "model.cross_vision"));
    blueprint.grammar = Grammar::CogAgentSteps;
    blueprint.decoder.cross = Some(CrossAttentionConfig { features: hidden, width, heads });
    if let ImageConfig::Squares(squares) = &mut blueprint.image {
        squares.push(square);
    }
    Ok(blueprint)
}
