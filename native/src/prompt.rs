//! Prompts from the command line and from files.

use std::path::{Path, PathBuf};

use fovea_engine::text::{Conversation, LocalTime, Message, Part, says_nothing};
use fovea_models::{
    EncodedImage, Prepared, RunError, Session, System, image::Picture, parse_json, prompt::collapse_slots,
};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

use crate::{
    failure::{Failure, Kind, Outcome},
    input::{self, read_bounded},
};

/// Largest prompt file that is read.
const LARGEST_FILE: u64 = 16 << 20;

/// What to ask.
pub(crate) enum Prompt {
    /// A conversation, for the chat template.
    Messages(Messages),
    /// Text as the model reads it.
    Text(String),
    /// Token ids.
    Ids(Vec<u32>),
}

/// A conversation, and the tools that its model may call.
pub(crate) struct Messages {
    messages: Vec<Message>,
    tools: Vec<Value>,
}

impl<'a> From<&'a Messages> for Conversation<'a> {
    fn from(all: &'a Messages) -> Self {
        Self { messages: &all.messages, tools: &all.tools, now: None }
    }
}

impl Prompt {
    /// One turn of the user's: the pictures, then the words.
    pub(crate) fn user(images: usize, text: &str) -> Outcome<Self> {
        if text.trim().is_empty() {
            return Err(Failure::usage("the prompt is empty"));
        }
        let mut parts = vec![Part::Image; images];
        parts.push(Part::text(text));
        Ok(Self::Messages(Messages { messages: vec![Message::user(parts)], tools: Vec::new() }))
    }

    /// Reads a file of messages, a list or `{"messages": [...]}`, perhaps with `tools`; or of text, `{"prompt": text}`.
    pub(crate) fn read(path: &Path) -> Outcome<Self> {
        let wrong = |reason: &dyn std::fmt::Display| Failure::file(path, reason);
        let messages = |value: &Value, tools: Vec<Value>| {
            let messages = Message::read_all("messages", value).map_err(|error| wrong(&error))?;
            Ok(Self::Messages(Messages { messages, tools }))
        };
        let file: Value = json(path)?;
        let Some(fields) = file.as_object() else { return messages(&file, Vec::new()) };
        // Fixtures say more about their requests than what is asked.
        let known = ["messages", "tools", "prompt", "template_version", "agent"];
        let other = fields.iter().find(|(key, value)| !known.contains(&key.as_str()) && !says_nothing(value));
        if let Some((other, _)) = other {
            return Err(wrong(&format_args!("{other} is not known: messages with tools, or prompt, are")));
        }
        match (fields.get("messages"), fields.get("prompt"), fields.get("tools")) {
            (Some(value), None, tools) => {
                let tools = match tools {
                    None | Some(Value::Null) => Vec::new(),
                    Some(Value::Array(tools)) => tools.clone(),
                    Some(_) => return Err(wrong(&"tools must be a list")),
                };
                messages(value, tools)
            }
            (None, Some(Value::String(text)), None) if !text.is_empty() => Ok(Self::Text(text.clone())),
            (None, Some(_), None) => Err(wrong(&"prompt must be a text that is not empty")),
            _ => Err(wrong(&"needs either messages, perhaps with tools, or prompt")),
        }
    }

    /// The pictures of the prompt, in order: those whose files are in the messages, and for the others those `given` on the
    /// command line.
    pub(crate) fn pictures(&self, given: Vec<Picture>) -> Outcome<Vec<Picture>> {
        let Self::Messages(Messages { messages, .. }) = self else { return Ok(given) };
        let (count, mut given) = (given.len(), given.into_iter());
        let (mut pictures, mut apart) = (Vec::new(), 0);
        for (index, message) in messages.iter().enumerate() {
            for (part, it) in message.content.iter().enumerate() {
                match it {
                    Part::Text { .. } => {}
                    Part::Image => {
                        apart += 1;
                        pictures.extend(given.next());
                    }
                    Part::Inline(bytes) => pictures.push(Picture::decode(bytes).map_err(|error| {
                        Failure::new(Kind::Input, format_args!("messages[{index}].content[{part}]: {error}"))
                    })?),
                }
            }
        }
        match apart == count {
            true => Ok(pictures),
            false => Err(Failure::new(
                Kind::Input,
                format_args!("the messages have {apart} pictures without a data: URL, --image gives {count}"),
            )),
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

/// The time here, which some chat templates write.
pub(crate) fn now() -> Option<LocalTime> {
    let now = jiff::ZonedDateTime::now();
    LocalTime::new(now.year(), [now.month(), now.day()], [now.hour(), now.minute(), now.second()])
}

/// A JSON file as a type.
pub(crate) fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Outcome<T> {
    let bytes = read_bounded(path, LARGEST_FILE).map_err(|error| Failure::file(path, error))?;
    parse_json(&bytes).map_err(|reason| Failure::file(path, reason))
}

/// Where prompts of `generate`, `score` and the like come from.
#[derive(clap::Args)]
pub(crate) struct Images {
    /// A picture; repeat it for several, in the order of the prompt. `-` reads standard input.
    #[arg(long = "image", value_name = "FILE", value_parser = input::path())]
    pub(crate) images: Vec<PathBuf>,
}
