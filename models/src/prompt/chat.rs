//! Conversations as each system was trained to read them.

use fovea_engine::text::{ChatTemplate, Conversation, Message, PromptText, Role, Script, TextError, Tokenizer};

use super::PromptError;

/// Why a conversation cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The tokenizer or the template.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The format does not know such conversations.
    #[error(transparent)]
    Prompt(#[from] PromptError),
}

/// How a system writes conversations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatFormat {
    /// By the template that is published with the checkpoint.
    Template,
    /// GLM-4's: `[gMASK]<sop>`, then for each turn `<|role|>`, a line break and the words, a picture before its turn's
    /// words; the words are never taken for special tokens. Source: `tokenization_chatglm.py` of `THUDM/glm-4v-9b`.
    Glm4,
    /// CogVLM's and CogAgent-18B's: the begin token, the picture, then plain text.
    Cog {
        /// The text.
        template: CogTemplate,
        /// The token that begins every prompt.
        begin: u32,
        /// The placeholder of a picture.
        image: u32,
    },
    /// PaliGemma's: the pictures, the begin token, the words of the last turn, a line break. Source:
    /// `processing_paligemma.py` of transformers 4.57.1.
    Prefix {
        /// The token behind the pictures.
        begin: u32,
        /// The placeholder of a picture.
        image: u32,
    },
    /// Kosmos-2's: the begin token, the picture between its tags, then one text, in which tags count. Source:
    /// `processing_kosmos2.py` of transformers 4.57.1.
    Kosmos2 {
        /// The token that begins every prompt.
        begin: u32,
        /// `<image>`, which is the placeholder too, and `</image>`.
        image: [u32; 2],
    },
}

/// How CogVLM and CogAgent-18B put a question. Source: `_history_to_prompt` of `modeling_cogvlm.py` and
/// `modeling_cogagent.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CogTemplate {
    /// The question as it is.
    Base,
    /// CogVLM: `Question: {question} Answer:`, earlier turns before it.
    Chat,
    /// CogVLM: `Question: {question} Short answer:`, earlier turns before it.
    Vqa,
    /// CogAgent: ` [INST] {question} [/INST] `, earlier turns before it.
    Instruct,
    /// CogAgent: `<EOI>Question: {question} Answer:`, earlier turns before it.
    OldChat,
    /// CogAgent: `<EOI>Question: {question} Short answer:`, one turn only.
    InstructVqa,
}

impl CogTemplate {
    /// CogVLM's and CogVLM2's, by the `template_version` of `config.json`.
    pub fn of_cogvlm(version: &str) -> Option<Self> {
        Some(match version {
            "base" => Self::Base,
            "chat" => Self::Chat,
            "vqa" => Self::Vqa,
            _ => return None,
        })
    }

    /// CogAgent-18B's, by the `template_version` of `config.json`.
    pub fn of_cogagent(version: &str) -> Option<Self> {
        Some(match version {
            "base" => Self::Base,
            "chat" => Self::Instruct,
            "chat_old" => Self::OldChat,
            "vqa" => Self::InstructVqa,
            _ => return None,
        })
    }

    /// The prompt for a question after earlier ones with their answers. It is read as plain text, in which no mark counts but
    /// those of questions and answers.
    pub fn prompt(self, history: &[(PromptText, PromptText)], question: &PromptText) -> PromptText {
        let mut prompt = PromptText::default();
        // What stands before a question, between it and its answer, and after that.
        let [before, between, after] = match self {
            Self::Base | Self::InstructVqa => ["", "", ""],
            Self::Chat => ["Question: ", " Answer: ", "\n"],
            Self::Vqa => ["Question: ", " Short answer: ", "\n"],
            Self::Instruct => [" [INST] ", " [/INST] ", ""],
            Self::OldChat => ["", " Answer: ", "\nQuestion: "],
        };
        let (start, [open, close]) = match self {
            Self::Base => ("", ["", ""]),
            Self::Chat => ("", ["Question: ", " Answer:"]),
            Self::Vqa => ("", ["Question: ", " Short answer:"]),
            Self::Instruct => ("", [" [INST] ", " [/INST] "]),
            Self::OldChat => ("<EOI>Question: ", ["", " Answer:"]),
            Self::InstructVqa => ("<EOI>Question: ", ["", " Short answer:"]),
        };
        prompt.push_words(start);
        if !matches!(self, Self::Base | Self::InstructVqa) {
            for (asked, answered) in history {
                prompt.push_words(before);
                prompt.push(asked);
                prompt.push_words(between);
                prompt.push(answered);
                prompt.push_words(after);
            }
        }
        prompt.push_words(open);
        prompt.push(question);
        prompt.push_words(close);
        prompt
    }
}

/// A piece of a prompt.
enum Piece {
    /// A whole prompt, to which the tokenizer may add what every text begins with.
    Prompt(PromptText),
    /// Text of which some is words.
    Text(PromptText),
    /// A token that is not written.
    Id(u32),
}

impl Piece {
    fn marks(text: &str) -> Self {
        Self::Text(PromptText::marks(text))
    }
}

/// Writes conversations.
#[derive(Debug)]
pub struct Chat {
    format: ChatFormat,
    /// For [`ChatFormat::Template`]; a base model has none.
    template: Option<ChatTemplate>,
    script: Script,
}

impl Chat {
    /// In a format; `template` is read if the format is one, and writes by `script`.
    ///
    /// # Errors
    /// Those of `template`, but for [`TextError::NoTemplate`]: it is needed only by who hands over messages.
    pub fn new(
        format: ChatFormat,
        script: Script,
        template: impl FnOnce() -> Result<ChatTemplate, TextError>,
    ) -> Result<Self, TextError> {
        let template = match format {
            ChatFormat::Template => match template() {
                Err(TextError::NoTemplate) => None,
                other => Some(other?),
            },
            _ => None,
        };
        Ok(Self { format, template, script })
    }

    /// A conversation as text, up to where the answer begins.
    ///
    /// # Errors
    /// [`ChatError::Text`] if a template refuses it, [`ChatError::Prompt`] if it has turns that the format does not know.
    pub fn render<'a>(&self, conversation: impl Into<Conversation<'a>>) -> Result<String, ChatError> {
        let pieces = self.pieces(&conversation.into())?;
        let text = pieces.iter().filter_map(|piece| match piece {
            Piece::Prompt(text) | Piece::Text(text) => Some(text.as_str()),
            Piece::Id(_) => None,
        });
        Ok(text.collect())
    }

    /// A conversation as ids, up to where the answer begins, slots of pictures not expanded. What its messages say is
    /// words: it places no picture and ends no turn.
    ///
    /// # Errors
    /// As [`Chat::render`].
    pub fn ids<'a>(
        &self,
        conversation: impl Into<Conversation<'a>>,
        tokenizer: &Tokenizer,
    ) -> Result<Vec<u32>, ChatError> {
        let mut ids = Vec::new();
        for piece in self.pieces(&conversation.into())? {
            match piece {
                Piece::Prompt(text) => ids.extend(tokenizer.encode_prompt(&text)?),
                Piece::Text(text) => ids.extend(tokenizer.encode_text(&text)?),
                Piece::Id(id) => ids.push(id),
            }
        }
        Ok(ids)
    }

    fn pieces(&self, conversation: &Conversation<'_>) -> Result<Vec<Piece>, ChatError> {
        let messages = conversation.messages;
        if self.format != ChatFormat::Template {
            without_tools(conversation)?;
        }
        match self.format {
            ChatFormat::Prefix { begin, image } => {
                let mut question = one_turn(messages)?;
                question.push_words("\n");
                let images: usize = messages.iter().map(Message::images).sum();
                let pictures = (0..images).map(|_| Piece::Id(image));
                Ok(pictures.chain([Piece::Id(begin), Piece::Text(question)]).collect())
            }
            ChatFormat::Template => {
                let template = self.template.as_ref().ok_or(TextError::NoTemplate)?;
                Ok(vec![Piece::Prompt(template.render(*conversation, &self.script, true)?)])
            }
            ChatFormat::Glm4 => Ok(glm4(messages)),
            ChatFormat::Cog { template, begin, image } => {
                let images = at_most_one_image(messages)?;
                let (history, question) = turns(messages)?;
                let slot = (0..images).map(|_| Piece::Id(image));
                let text = Piece::Text(template.prompt(&history, &question));
                Ok([Piece::Id(begin)].into_iter().chain(slot).chain([text]).collect())
            }
            ChatFormat::Kosmos2 { begin, image: [open, close] } => {
                let images = at_most_one_image(messages)?;
                let text = one_turn(messages)?;
                let slot = (0..images).flat_map(|_| [open, open, close]);
                let ids = [begin].into_iter().chain(slot).map(Piece::Id);
                Ok(ids.chain([Piece::Text(text.trimmed())]).collect())
            }
        }
    }
}

/// Refuses what only templates write.
fn without_tools(conversation: &Conversation<'_>) -> Result<(), TextError> {
    let refuse = |field: String| {
        let reason = "is not something that this system was trained to read".to_owned();
        Err(TextError::Message { field, reason })
    };
    if !conversation.tools.is_empty() {
        return refuse("tools".to_owned());
    }
    for (index, message) in conversation.messages.iter().enumerate() {
        if message.role == Role::Tool {
            return refuse(format!("messages[{index}].role \"tool\""));
        }
        if let Some(name) = message.extra.keys().next() {
            return refuse(format!("messages[{index}].{name}"));
        }
    }
    Ok(())
}

/// How many pictures there are, for systems that take one.
fn at_most_one_image(messages: &[Message]) -> Result<usize, PromptError> {
    match messages.iter().map(Message::images).sum() {
        images @ 0..=1 => Ok(images),
        images => Err(PromptError::OneImage { images }),
    }
}

fn glm4(messages: &[Message]) -> Vec<Piece> {
    let mut pieces = vec![Piece::marks("[gMASK]<sop>")];
    for message in messages {
        pieces.push(Piece::marks(&format!("<|{}|>", message.role.name())));
        pieces.push(Piece::Text(PromptText::words("\n")));
        let image = || Piece::marks("<|begin_of_image|><|endoftext|><|end_of_image|>");
        pieces.extend((0..message.images()).map(|_| image()));
        pieces.push(Piece::Text(message.words()));
    }
    pieces.push(Piece::marks("<|assistant|>"));
    pieces
}

/// Questions with their answers, and the last question.
fn turns(messages: &[Message]) -> Result<(Vec<(PromptText, PromptText)>, PromptText), PromptError> {
    let (pairs, rest) = messages.as_chunks::<2>();
    let history = pairs.iter().map(|[asked, told]| match (asked.role, told.role) {
        (Role::User, Role::Assistant) => Ok((asked.words(), told.words())),
        _ => Err(PromptError::Turns),
    });
    match rest {
        [question] if question.role == Role::User => Ok((history.collect::<Result<_, _>>()?, question.words())),
        _ => Err(PromptError::Turns),
    }
}

/// The question of systems that read one.
fn one_turn(messages: &[Message]) -> Result<PromptText, PromptError> {
    let (history, question) = turns(messages)?;
    match history.len() {
        0 => Ok(question),
        earlier => Err(PromptError::OneTurn { turns: earlier + 1 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use fovea_engine::text::Part;

    fn chat(format: ChatFormat) -> Chat {
        Chat::new(format, Script::default(), || Err(TextError::NoTemplate)).unwrap()
    }

    fn cog() -> Chat {
        chat(ChatFormat::Cog { template: CogTemplate::Chat, begin: 1, image: 0 })
    }

    #[test]
    fn earlier_turns_stand_before_the_question() {
        let history = [(PromptText::words("a"), PromptText::answer("b"))];
        let prompts = [
            (CogTemplate::Base, "c"),
            (CogTemplate::Chat, "Question: a Answer: b\nQuestion: c Answer:"),
            (CogTemplate::Vqa, "Question: a Short answer: b\nQuestion: c Short answer:"),
            (CogTemplate::Instruct, " [INST] a [/INST] b [INST] c [/INST] "),
            (CogTemplate::OldChat, "<EOI>Question: a Answer: b\nQuestion: c Answer:"),
            (CogTemplate::InstructVqa, "<EOI>Question: c Short answer:"),
        ];
        for (template, expected) in prompts {
            assert_eq!(template.prompt(&history, &PromptText::words("c")), PromptText::words(expected));
        }
        assert_eq!(CogTemplate::of_cogvlm("chat_old"), None);
        assert_eq!(CogTemplate::of_cogagent("chat_old"), Some(CogTemplate::OldChat));
    }

    #[test]
    fn turns_that_the_format_does_not_know_are_refused() {
        let user = |text: &str| Message::user(vec![Part::text(text)]);
        assert_eq!(
            cog().render(&[user("a"), Message::assistant("b"), user("c")]).unwrap(),
            "Question: a Answer: b\nQuestion: c Answer:"
        );
        for messages in [vec![], vec![user("a"), user("b")], vec![user("a"), user("b"), user("c")]] {
            let error = cog().render(messages.as_slice()).unwrap_err().to_string();
            assert_eq!(error, "the conversation must be turns of user and assistant, the last one the user's");
        }
        let two = Message::user(vec![Part::Image, Part::Image, Part::text("a")]);
        assert_eq!(
            cog().render(&[two]).unwrap_err().to_string(),
            "the system takes one picture, the conversation has 2"
        );
    }

    #[test]
    fn kosmos_reads_one_text() {
        let kosmos = chat(ChatFormat::Kosmos2 { begin: 0, image: [8, 9] });
        let asked = Message::user(vec![Part::Image, Part::text(" <grounding>An image of ")]);
        assert_eq!(kosmos.render(std::slice::from_ref(&asked)).unwrap(), "<grounding>An image of");
        let error = kosmos.render(&[asked.clone(), Message::assistant("b"), asked]).unwrap_err().to_string();
        assert_eq!(error, "the system takes one picture, the conversation has 2");
        let user = |text: &str| Message::user(vec![Part::text(text)]);
        let error = kosmos.render(&[user("a"), Message::assistant("b"), user("c")]).unwrap_err().to_string();
        assert_eq!(error, "the system answers one question, the conversation has 2");
    }

    #[test]
    fn a_missing_template_is_told_when_it_is_needed() {
        let error = chat(ChatFormat::Template).render(&[]).unwrap_err();
        assert!(matches!(error, ChatError::Text(TextError::NoTemplate)));
    }

    #[test]
    fn glm_writes_roles_and_pictures() {
        let asked = Message::user(vec![Part::text("a"), Part::Image]);
        let expected = "[gMASK]<sop><|user|>\n<|begin_of_image|><|endoftext|><|end_of_image|>a<|assistant|>";
        assert_eq!(chat(ChatFormat::Glm4).render(&[asked]).unwrap(), expected);
    }
}
