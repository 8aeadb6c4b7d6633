//! The words of a system: tokenizer and conversations.

use std::sync::Arc;

use fovea_engine::text::{ChatTemplate, Message, TemplateFiles, Tokenizer};

use crate::{
    checkpoint::{Files, LoadError, RunError},
    prompt::Chat,
    systems::Blueprint,
};

/// A system's tokenizer, and how it writes conversations.
pub struct Text {
    tokenizer: Arc<Tokenizer>,
    chat: Chat,
}

impl Text {
    /// From a checkpoint's files: `tokenizer.json`, or the `tokenizer.model` of systems that publish only that.
    ///
    /// # Errors
    /// [`LoadError::MissingFile`], [`LoadError::Text`].
    pub fn open(files: Files<'_>, blueprint: &Blueprint) -> Result<Self, LoadError> {
        let tokenizer = match (files.get("tokenizer.json"), files.get("tokenizer.model"), blueprint.tiktoken) {
            (Some(json), ..) => Tokenizer::from_tokenizer_json(json)?,
            (None, Some(model), Some(pattern)) => {
                Tokenizer::from_tiktoken(model, files.need("tokenizer_config.json")?, pattern)?
            }
            (None, Some(model), None) => Tokenizer::from_sentencepiece(model)?,
            (None, None, Some(_)) => return Err(LoadError::MissingFile { file: "tokenizer.model".to_owned() }),
            (None, None, None) => return Err(LoadError::MissingFile { file: "tokenizer.json".to_owned() }),
        };
        let template = || {
            ChatTemplate::from_files(TemplateFiles {
                jinja: files.get("chat_template.jinja"),
                json: files.get("chat_template.json"),
                tokenizer_config: files.get("tokenizer_config.json"),
            })
        };
        Ok(Self { tokenizer: Arc::new(tokenizer), chat: Chat::new(blueprint.chat.clone(), template)? })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// A conversation as the model was trained to read it, up to where its answer begins.
    ///
    /// # Errors
    /// [`RunError::Text`] if the checkpoint has no chat template, or the template refuses; [`RunError::Prompt`] if the
    /// system does not know such conversations.
    pub fn render(&self, messages: &[Message]) -> Result<String, RunError> {
        self.chat.render(messages)
    }

    /// The ids of [`Text::render`], slots of pictures not expanded.
    ///
    /// # Errors
    /// As [`Text::render`].
    pub fn ids(&self, messages: &[Message]) -> Result<Vec<u32>, RunError> {
        self.chat.ids(messages, &self.tokenizer)
    }
}
