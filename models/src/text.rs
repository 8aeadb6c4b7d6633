//! The words of a system: tokenizer and conversations.

use std::sync::{Arc, PoisonError, RwLock};

use fovea_engine::text::{
    Beside, ChatTemplate, Conversation, LocalTime, Message, Part, Script, TemplateFiles, TextError, Tokenizer,
};

use crate::{
    checkpoint::Files,
    error::{LoadError, RunError},
    prompt::{Chat, ChatFormat, ImageSlot},
    systems::Blueprint,
};

/// A system's tokenizer, and how it writes conversations.
pub struct Text {
    tokenizer: Arc<Tokenizer>,
    chat: Chat,
    /// What the chat template is to write for each picture, where there is one.
    slot: Option<ImageSlot>,
    time: RwLock<Option<LocalTime>>,
}

impl Text {
    /// From a checkpoint's files: `tokenizer.json`, or what it is made of: `vocab.json` with `merges.txt`, or a
    /// `tokenizer.model`.
    ///
    /// # Errors
    /// [`LoadError::MissingFile`], [`LoadError::Text`].
    pub fn open(files: Files<'_>, blueprint: &Blueprint) -> Result<Self, LoadError> {
        let tokenizer = read_tokenizer(files, blueprint)?;
        let (last, rows) = (tokenizer.last_id() as usize, blueprint.decoder.embedding_rows());
        if last >= rows {
            let token = tokenizer.token(tokenizer.last_id()).unwrap_or_default();
            let reason = format!(
                "token {token:?} has id {last}, but the model's embedding has {rows} rows: it is another model's tokenizer"
            );
            return Err(TextError::File { file: tokenizer.file(), reason }.into());
        }
        let template = || {
            ChatTemplate::from_files(TemplateFiles {
                jinja: files.get("chat_template.jinja"),
                tool_use: files.get("additional_chat_templates/tool_use.jinja"),
                json: files.get("chat_template.json"),
                tokenizer_config: files.get("tokenizer_config.json"),
                special_tokens: files.get("special_tokens_map.json"),
            })
        };
        let script = Script { edges: tokenizer.edges().collect(), picture: Some(blueprint.slot.written(&tokenizer)) };
        let chat = Chat::new(blueprint.chat.clone(), script, template)?;
        let slot = (blueprint.chat == ChatFormat::Template).then(|| blueprint.slot.clone());
        Ok(Self { tokenizer: Arc::new(tokenizer), chat, slot, time: RwLock::default() })
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
    pub fn render<'a>(&self, conversation: impl Into<Conversation<'a>>) -> Result<String, RunError> {
        Ok(self.chat.render(self.now(conversation.into()))?)
    }

    /// The ids of [`Text::render`], slots of pictures not expanded.
    ///
    /// # Errors
    /// As [`Text::render`]; [`RunError::Text`] that names `config.json` if its `image_token_id` is not what the template writes
    /// for a picture.
    pub fn ids<'a>(&self, conversation: impl Into<Conversation<'a>>) -> Result<Vec<u32>, RunError> {
        let conversation = self.now(conversation.into());
        let ids = self.chat.ids(conversation, &self.tokenizer)?;
        let Some(slot) = &self.slot else { return Ok(ids) };
        let images = conversation.messages.iter().map(Message::images).sum();
        let written = slot.count(&ids);
        if written < images || written > images && self.writes_without_picture(slot, conversation) {
            let name = self.tokenizer.token(slot.token).unwrap_or_default();
            let reason = format!(
                "image_token_id is {} ({name:?}), which is not the token that the chat template writes for a picture: there are \
                 {written} of it for {images}",
                slot.token
            );
            return Err(TextError::File { file: "config.json", reason }.into());
        }
        Ok(ids)
    }

    /// Whether the template writes a picture's slot where nobody has one.
    fn writes_without_picture(&self, slot: &ImageSlot, conversation: Conversation<'_>) -> bool {
        let of_words = |message: &Message| Message { content: vec![Part::text("a")], ..message.clone() };
        let messages: Vec<Message> = conversation.messages.iter().map(of_words).collect();
        let ids = self.chat.ids(Conversation { messages: &messages, ..conversation }, &self.tokenizer);
        ids.is_ok_and(|ids| slot.count(&ids) > 0)
    }

    /// Sets the time that chat templates write where they ask for it (`strftime_now`), for conversations that name none:
    /// the caller's, as nothing here reads a clock. Without it such a template fails, and says so.
    pub fn set_time(&self, time: LocalTime) {
        *self.time.write().unwrap_or_else(PoisonError::into_inner) = Some(time);
    }

    fn now<'a>(&self, conversation: Conversation<'a>) -> Conversation<'a> {
        let now = conversation.now.or(*self.time.read().unwrap_or_else(PoisonError::into_inner));
        Conversation { now, ..conversation }
    }
}

fn read_tokenizer(files: Files<'_>, blueprint: &Blueprint) -> Result<Tokenizer, LoadError> {
    let (json, model) = (files.get("tokenizer.json"), files.get("tokenizer.model"));
    let parts = files.get("vocab.json").zip(files.get("merges.txt"));
    let beside = Beside {
        config: files.get("tokenizer_config.json"),
        added: files.get("added_tokens.json"),
        special: files.get("special_tokens_map.json"),
        // SmolVLM's vocabulary, whose class is GPT-2's.
        digits: blueprint.name == "idefics3",
    };
    Ok(match (json, blueprint.tiktoken, parts, model) {
        (Some(json), ..) => Tokenizer::from_tokenizer_json(json)?.with_added(beside)?,
        (None, Some(pattern), _, Some(model)) => {
            Tokenizer::from_tiktoken(model, files.need("tokenizer_config.json")?, pattern)?
        }
        (None, Some(_), _, None) => return Err(missing("tokenizer.model")),
        (None, None, Some((vocabulary, merges)), _) => Tokenizer::from_vocabulary(vocabulary, merges, beside)?,
        // Whose reference reads the model itself: a text that begins with a space gets another.
        (None, None, None, Some(model)) if matches!(blueprint.chat, ChatFormat::Cog { .. }) => {
            Tokenizer::from_sentencepiece(model, Beside::default())?
        }
        (None, None, None, Some(model)) => Tokenizer::from_sentencepiece(model, beside)?,
        (None, None, None, None) => {
            return Err(missing("tokenizer.json (or vocab.json with merges.txt, or tokenizer.model)"));
        }
    })
}

fn missing(file: &str) -> LoadError {
    LoadError::MissingFile { file: file.to_owned() }
}
