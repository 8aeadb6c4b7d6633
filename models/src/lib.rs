//! Vision-language systems for grounding instructions in page screenshots.
//!
//! A [`Checkpoint`] holds a published model's files; [`System::load`] puts its weights on a GPU as its configuration
//! says; a [`Session`] encodes pictures, reads prompts and answers; [`grounding`] turns answers into typed actions
//! with boxes in pixels of the original screenshot.

pub mod blocks;
mod checkpoint;
pub mod constraint;
mod error;
pub mod grounding;
pub mod image;
mod names;
pub mod prompt;
mod session;
mod stops;
mod system;
pub mod systems;
mod tensor_check;
mod text;
mod warm;

pub use checkpoint::{Checkpoint, Files, SMALL_FILES, WEIGHTS, json_text, parse_json};
pub use error::{LoadError, RunError};
pub use grounding::Grammar;
pub use session::{
    Answer, Asked, BeamOptions, Closer, EncodedImage, GenerateOptions, Hypothesis, OnStage, PrefillStages, Prepared,
    Session, Stage, VisionStages,
};
pub use system::System;
pub use systems::Blueprint;
pub use text::Text;
pub use warm::warm;
