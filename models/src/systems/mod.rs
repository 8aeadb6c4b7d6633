//! The systems: one small file for each, from its published configuration to a composition of blocks.

mod config;
mod qwen2_5_vl;
mod qwen2_vl;
mod size;

use serde::Deserialize;

use crate::{
    blocks::{DecoderConfig, QwenVitConfig},
    checkpoint::{Files, LoadError},
    image::{QwenImageConfig, Size},
};

/// What the model writes boxes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// Qwen2-VL: `<|box_start|>(x1,y1),(x2,y2)<|box_end|>`, thousandths of the picture.
    Qwen2Boxes,
    /// Qwen2.5-VL: JSON with `bbox_2d`, pixels of the resized picture.
    Qwen2_5Json,
    /// CogAgent's action lines, thousandths of the picture.
    CogAgent,
}

/// A system before its weights are loaded: the sizes of its blocks and how it reads and writes.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// The `model_type` that chose it.
    pub name: &'static str,
    /// Vision tower and merger.
    pub vision: QwenVitConfig,
    /// Decoder.
    pub decoder: DecoderConfig,
    /// Image preparation.
    pub image: QwenImageConfig,
    /// Id of the placeholder that a picture's tokens replace.
    pub image_token: u32,
    /// Ids that end an answer.
    pub stop: Vec<u32>,
    /// Longest sequence that it was made for.
    pub max_positions: usize,
    /// What it writes boxes in.
    pub grammar: Grammar,
    /// The layer of the decoder, from 0, whose attention shows where the model looks; `None`: all alike.
    pub heat_layer: Option<usize>,
}

/// A reader of one system's configuration.
type Read = fn(Files<'_>) -> Result<Blueprint, LoadError>;

const SYSTEMS: &[(&str, Read)] = &[("qwen2_vl", qwen2_vl::read), ("qwen2_5_vl", qwen2_5_vl::read)];

/// Names of all systems: their `model_type`.
pub fn names() -> impl Iterator<Item = &'static str> {
    SYSTEMS.iter().map(|(name, _)| *name)
}

#[derive(Deserialize)]
struct ModelType {
    model_type: String,
}

impl Blueprint {
    /// Reads a checkpoint's configuration; no weights are touched.
    ///
    /// # Errors
    /// [`LoadError`] that names the file and the field.
    pub fn read(files: Files<'_>) -> Result<Self, LoadError> {
        let ModelType { model_type } = files.json("config.json")?;
        let Some((_, read)) = SYSTEMS.iter().find(|(name, _)| *name == model_type) else {
            let known = names().collect::<Vec<_>>().join(", ");
            return Err(LoadError::Architecture { found: model_type, known });
        };
        read(files)
    }

    /// Tokens that a picture of `size` becomes.
    ///
    /// # Errors
    /// [`LoadError::Image`] if no size fits it.
    pub fn image_tokens(&self, size: Size) -> Result<usize, LoadError> {
        Ok(self.image.grid(size)?.merged(self.image.merge_size).patches())
    }

    /// Parameters by part, in the order vision tower, merger, decoder layers, embedding, head.
    pub fn parameters(&self) -> [(&'static str, u64); 5] {
        let (tower, merger) = self.vision.parameters();
        let (layers, embedding, head) = self.decoder.parameters();
        [("vision tower", tower), ("merger", merger), ("decoder", layers), ("embedding", embedding), ("head", head)]
    }

    /// Floating-point operations of encoding a picture of `size`, and of prefilling it with `text` further tokens.
    ///
    /// # Errors
    /// [`LoadError::Image`] if no size fits it.
    pub fn flops(&self, size: Size, text: usize) -> Result<(u64, u64), LoadError> {
        let grid = self.image.grid(size)?;
        let tokens = grid.merged(self.image.merge_size).patches() + text;
        Ok((self.vision.flops(grid), self.decoder.prefill_flops(tokens)))
    }
}
