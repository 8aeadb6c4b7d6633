//! What the configurations of the Cog family have in common: tower, adapter, image preparation.

use serde::Deserialize;

use super::config::{divide, epsilon, head, only, size, wrong};
use crate::{
    blocks::{ConnectorConfig, EvaConfig, GluAdapterConfig, TowerConfig, VisionConfig},
    error::LoadError,
    image::{Square, Squash},
};

/// `vision_config` of `config.json`.
#[derive(Deserialize)]
pub(super) struct Vision {
    num_hidden_layers: usize,
    pub(super) hidden_size: usize,
    patch_size: u32,
    num_heads: usize,
    intermediate_size: usize,
    layer_norm_eps: f32,
    num_positions: usize,
    image_size: u32,
    #[serde(default = "one")]
    pub(super) scaling_factor: f32,
    hidden_act: Option<String>,
}

fn one() -> f32 {
    1.0
}

/// A picture's side, checked to be whole patches of `patch`; at most what the largest published one has, twice.
pub(super) fn square(field: &'static str, side: u32, patch: u32) -> Result<Square, LoadError> {
    size(field, side as usize, 4096)?;
    if !side.is_multiple_of(patch) {
        return Err(wrong(field, side.to_string(), format!("a multiple of patch_size, {patch}")));
    }
    Ok(Square { squash: Squash::to(side), patch })
}

impl Vision {
    /// Tower and adapter whose tensors are under `at`, and the square that is looked at.
    pub(super) fn read(
        &self,
        at: &'static str,
        adapter: GluAdapterConfig,
    ) -> Result<(VisionConfig, Square), LoadError> {
        size("vision_config.num_hidden_layers", self.num_hidden_layers, 1024)?;
        size("vision_config.hidden_size", self.hidden_size, 1 << 16)?;
        size("vision_config.num_heads", self.num_heads, 1024)?;
        size("vision_config.intermediate_size", self.intermediate_size, 1 << 18)?;
        size("vision_config.patch_size", self.patch_size as usize, 256)?;
        epsilon("vision_config.layer_norm_eps", self.layer_norm_eps)?;
        only("vision_config.hidden_act", self.hidden_act.as_deref(), "gelu")?;
        head(
            "vision_config.hidden_size / num_heads",
            divide("vision_config.hidden_size", self.hidden_size, "num_heads", self.num_heads)?,
        )?;
        let square = square("vision_config.image_size", self.image_size, self.patch_size)?;
        let side = (self.image_size / self.patch_size) as usize;
        if self.num_positions != side * side + 1 {
            let expected = format!("{}, one for each patch and one more", side * side + 1);
            return Err(wrong("vision_config.num_positions", self.num_positions.to_string(), expected));
        }
        if !side.is_multiple_of(adapter.merge() as usize) {
            let expected = "an even number of patches".to_owned();
            return Err(wrong("vision_config.image_size", self.image_size.to_string(), expected));
        }
        if !(self.scaling_factor.is_finite() && self.scaling_factor > 0.0) {
            let expected = "a positive number".to_owned();
            return Err(wrong("vision_config.scaling_factor", self.scaling_factor.to_string(), expected));
        }
        let tower = EvaConfig {
            depth: self.num_hidden_layers,
            hidden: self.hidden_size,
            heads: self.num_heads,
            feedforward: self.intermediate_size,
            patch: self.patch_size as usize,
            positions: self.num_positions,
            eps: self.layer_norm_eps,
        };
        let vision = VisionConfig {
            tower: TowerConfig::Eva(tower),
            tower_at: at,
            drop_class: false,
            connector: ConnectorConfig::GluAdapter(adapter),
            connector_at: at,
            newline: None,
            apart: false,
            cross: None,
        };
        Ok((vision, square))
    }

    /// Patches of the picture.
    pub(super) fn patches(&self) -> usize {
        self.num_positions.saturating_sub(1)
    }

    /// Side of a patch.
    pub(super) fn patch(&self) -> u32 {
        self.patch_size
    }
}
