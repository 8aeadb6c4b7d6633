//! Text in and out: tokenizers and chat templates as published beside a checkpoint.
//!
//! Nothing here reads files or knows a model: callers hand over the bytes of `tokenizer.json`, `chat_template.json` and
//! so on, and get token ids or a prompt string.

mod charsmap;
mod published;
mod template;
mod tokenizer;
mod vocabulary;

pub use template::{ChatTemplate, Message, Part, Role, TemplateFiles};
pub use tokenizer::{TextStream, Tokenizer};
pub use vocabulary::TokenBytes;

/// What can be wrong with a text file of a checkpoint, or with text given to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A file is not what its name says.
    #[error("{file}: {reason}")]
    File {
        /// Name of the file, such as `tokenizer.json`.
        file: &'static str,
        /// What its parser said.
        reason: String,
    },
    /// A field of a JSON file is missing or has the wrong type.
    #[error("{file}: field `{field}` must be {expected}")]
    Field {
        /// Name of the file.
        file: &'static str,
        /// Name of the field.
        field: String,
        /// What the field must hold.
        expected: &'static str,
    },
    /// None of the files that may hold a chat template does.
    #[error(
        "no chat template: neither chat_template.jinja, chat_template.json nor `chat_template` in tokenizer_config.json"
    )]
    NoTemplate,
    /// The template cannot be rendered with these messages, or refuses them (`raise_exception`).
    #[error("the chat template failed: {0}")]
    Render(String),
    /// A token that the model needs is not in the vocabulary.
    #[error("tokenizer.json: no token `{0}`")]
    UnknownToken(String),
    /// The tokenizer cannot encode this text or decode these ids.
    #[error("the tokenizer failed: {0}")]
    Tokenizer(String),
}
