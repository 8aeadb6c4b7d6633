//! Why a checkpoint cannot be loaded, and why a loaded system cannot answer.

use fovea_engine::{GpuError, OpError, text::TextError, weights::WeightError};
use thiserror::Error;

use crate::{
    constraint::ConstraintError,
    image::ImageError,
    prompt::{ChatError, PromptError},
};

/// Why a checkpoint cannot be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A file that the system needs is not there.
    #[error("{file} is missing")]
    MissingFile {
        /// Its name.
        file: String,
    },
    /// A file does not have the form that it should have.
    #[error("{file}: {reason}")]
    File {
        /// Its name.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A field has a value that makes no sense.
    #[error("{file}: {field} is {got}, expected {expected}")]
    Field {
        /// Its file.
        file: &'static str,
        /// Its name.
        field: &'static str,
        /// Its value.
        got: String,
        /// What would make sense.
        expected: String,
    },
    /// No system here reads this architecture.
    #[error("config.json: model_type {found} is not supported; supported are {known}")]
    Architecture {
        /// What the file says, `architectures` if it has no `model_type`.
        found: String,
        /// What there is.
        known: String,
    },
    /// Tensors that nothing reads: the configuration and the weights are of different models.
    #[error(
        "{files}: {tensors} would not be used, so the answers would not be the model's: config.json describes no such \
         tensors"
    )]
    Unused {
        /// The first of them, and how many more there are.
        tensors: String,
        /// The files that hold the weights.
        files: String,
    },
    /// The weights.
    #[error(transparent)]
    Weight(#[from] WeightError),
    /// The tokenizer or the chat template.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The image preparation's configuration.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The GPU.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

/// Why a loaded system cannot answer.
#[derive(Debug, Error)]
pub enum RunError {
    /// The picture.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The tokenizer or the chat template.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Prompt and pictures do not fit together.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The prompt with its answer is longer than the cache.
    #[error("the prompt has {prompt} tokens and the answer up to {answer}, the KV cache holds {capacity}")]
    TooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens that were asked for.
        answer: usize,
        /// Tokens that fit.
        capacity: usize,
    },
    /// Pixels that were handed over do not fit the picture.
    #[error("pixel_values have {got} numbers, the pictures need {expected}")]
    Pixels {
        /// Numbers given.
        got: usize,
        /// Numbers needed.
        expected: usize,
    },
    /// A token id is beyond the vocabulary.
    #[error("token id {id} is beyond the vocabulary of {vocabulary}")]
    Token {
        /// The id.
        id: u32,
        /// Rows of the embedding.
        vocabulary: usize,
    },
    /// A picture was asked about that the prompt does not have.
    #[error("the prompt does not have this picture")]
    NotInPrompt,
    /// A question in words, for a model that only grounds instructions.
    #[error(
        "this model only grounds instructions (\"fovea_grounds_only\" in its config.json): it cannot answer in words. \
         Ground an instruction instead, or choose another model"
    )]
    GroundsOnly,
    /// The grammar.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// Recording failed.
    #[error(transparent)]
    Op(#[from] OpError),
    /// The GPU.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

impl From<ChatError> for RunError {
    fn from(error: ChatError) -> Self {
        match error {
            ChatError::Text(error) => Self::Text(error),
            ChatError::Prompt(error) => Self::Prompt(error),
        }
    }
}
