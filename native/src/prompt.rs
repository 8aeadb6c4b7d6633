//! Prompts from the command line and from files.

use std::path::{Path, PathBuf};

use fovea_engine::text::{Message, Part};
use fovea_models::{EncodedImage, Prepared, RunError, Session, System, prompt::collapse_slots};
use serde::Deserialize;
use std::sync::Arc;

use crate::{
    directory::read_bounded,
    failure::{Failure, Kind, Outcome},
};

/// Largest prompt file that is read.
const LARGEST_FILE: u64 = 16 << 20;

/// What to ask.
pub(crate) enum Prompt {
    /// A conversation, for the chat template.
    Messages(Vec<Message>),
    /// Text as the model reads it.
    Text(String),
    /// Token ids.
    Ids(Vec<u32>),
}

/// `{"messages": [...]}` or `{"prompt": text}`.
#[derive(Deserialize)]
struct PromptFile {
    messages: Option<Vec<Message>>,
    prompt: Option<String>,
}

impl Prompt {
    /// One turn of the user's: the pictures, then the words.
    pub(crate) fn user(images: usize, text: &str) -> Outcome<Self> {
        if text.trim().is_empty() {
            return Err(Failure::usage("the prompt is empty"));
        }
        let mut parts = vec![Part::Image; images];
        parts.push(Part::text(text));
        Ok(Self::Messages(vec![Message::user(parts)]))
    }

    /// Reads a file of messages or of text.
    pub(crate) fn read(path: &Path) -> Outcome<Self> {
        let file: PromptFile = json(path)?;
        match file {
            PromptFile { messages: Some(messages), prompt: None } if !messages.is_empty() => {
                Ok(Self::Messages(messages))
            }
            PromptFile { messages: Some(_), prompt: None } => Err(Failure::file(path, "`messages` is empty")),
            PromptFile { messages: None, prompt: Some(text) } if !text.is_empty() => Ok(Self::Text(text)),
            PromptFile { messages: None, prompt: Some(_) } => Err(Failure::file(path, "`prompt` is empty")),
            _ => Err(Failure::file(path, "needs either `messages` or `prompt`")),
        }
    }

    /// Reads a file of token ids: `[1, 2, 3]` or `{"input_ids": [1, 2, 3]}`.
    pub(crate) fn read_ids(path: &Path) -> Outcome<Self> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Ids {
            Bare(Vec<u32>),
            Named { input_ids: Vec<u32> },
        }
        let (Ids::Bare(ids) | Ids::Named { input_ids: ids }) = json(path)?;
        Ok(Self::Ids(ids))
    }

    /// The text that the model reads, placeholders not expanded.
    pub(crate) fn ids(&self, system: &System) -> Outcome<Vec<u32>> {
        Ok(match self {
            Self::Messages(messages) => system.ids(messages)?,
            Self::Text(text) => system.tokenizer().encode(text)?,
            Self::Ids(ids) => ids.clone(),
        })
    }

    /// Ids, positions and pictures, ready to be read by the model.
    pub(crate) fn prepare(&self, session: &Session, images: &[Arc<EncodedImage>]) -> Outcome<Prepared> {
        let ids = self.ids(session.system())?;
        let ids = match self {
            Self::Ids(_) => {
                let rows: Vec<usize> = images.iter().map(|image| image.rows()).collect();
                collapse_slots(&ids, &session.system().blueprint().slot, &rows)
            }
            _ => ids,
        };
        session.prepare_ids(&ids, images).map_err(|error| match (self, error) {
            // Here it is the caller's file that is wrong, not the model's tokenizer.
            (Self::Ids(_), error @ RunError::Token { .. }) => Failure::new(Kind::Input, error),
            (_, error) => error.into(),
        })
    }
}

/// A JSON file as a type.
pub(crate) fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Outcome<T> {
    let bytes = read_bounded(path, LARGEST_FILE).map_err(|error| Failure::file(path, error))?;
    serde_json::from_slice(&bytes).map_err(|error| Failure::file(path, error))
}

/// Where prompts of `generate`, `score` and the like come from.
#[derive(clap::Args)]
pub(crate) struct Images {
    /// A picture; repeat it for several, in the order of the prompt.
    #[arg(long = "image", value_name = "FILE")]
    pub(crate) images: Vec<PathBuf>,
}
