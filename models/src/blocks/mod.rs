//! Blocks: what systems are composed of. A block reads its part of a configuration, names its tensors, and records
//! its ops; it knows no other block.

mod decoder;
mod qwen_vit;

pub use decoder::{Decoder, DecoderConfig, KvCache, Prefill, Rows};
pub use qwen_vit::{Feedforward, Norm, QwenVit, QwenVitConfig, VisionOutput};
