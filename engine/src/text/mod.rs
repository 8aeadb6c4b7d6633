//! Text in and out: tokenizers and chat templates as published beside a checkpoint.
//!
//! Nothing here reads files or knows a model: callers hand over the bytes of `tokenizer.json`, `chat_template.json` and
//! so on, and get token ids or a prompt string.

mod beside;
mod bounded;
mod charsmap;
mod marks;
mod message;
mod published;
mod steps;
mod template;
mod tokenizer;
mod vocabulary;
mod words;

use crate::weights::foreign;

pub use beside::Beside;
pub use message::{Conversation, EXTRA, LocalTime, Message, Part, Role, says_nothing};
pub use template::{ChatTemplate, Script, TemplateFiles};
pub use tokenizer::{TextStream, Tokenizer};
pub use vocabulary::TokenBytes;
pub use words::{PromptText, is_answer_mark};

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
    /// A field of a conversation holds what it cannot, or what this model's template does not write.
    #[error("{field} {reason}")]
    Message {
        /// Where it stands, such as `messages[1].content[0].type`.
        field: String,
        /// What it holds, and what is allowed.
        reason: String,
    },
    /// The template cannot be rendered with these messages, or refuses them (`raise_exception`).
    #[error("{file}: the chat template failed: {reason}")]
    Render {
        /// The file that the template came from.
        file: &'static str,
        /// What it said.
        reason: String,
    },
    /// A token that the model needs is not in the vocabulary.
    #[error("tokenizer.json: no token `{0}`")]
    UnknownToken(String),
    /// The tokenizer cannot encode this text or decode these ids.
    #[error("the tokenizer failed: {0}")]
    Tokenizer(String),
}

type Object = serde_json::Map<String, serde_json::Value>;

/// Names what stands in a file instead of what should, where that is known.
///
/// # Errors
/// [`TextError::File`].
fn recognise(file: &'static str, bytes: &[u8]) -> Result<(), TextError> {
    let reason = match foreign(bytes.get(..512).unwrap_or(bytes)) {
        Some(what) => what,
        None if bytes.is_empty() => "the file is empty",
        None => return Ok(()),
    };
    Err(TextError::File { file, reason: reason.to_owned() })
}

/// A JSON file that holds an object.
fn object(file: &'static str, bytes: &[u8]) -> Result<Object, TextError> {
    recognise(file, bytes)?;
    serde_json::from_slice(bytes).map_err(|error| TextError::File { file, reason: error.to_string() })
}
