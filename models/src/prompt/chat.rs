//! Conversations as each system was trained to read them.

use fovea_engine::text::{ChatTemplate, Message, Part, Role, TextError, Tokenizer};

use super::PromptError;
use crate::checkpoint::RunError;

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

    /// The prompt for a question after earlier ones with their answers.
    pub fn prompt(self, history: &[(String, String)], question: &str) -> String {
        let turns = |turn: &dyn Fn(&str, &str) -> String| -> String {
            history.iter().map(|(question, answer)| turn(question, answer)).collect()
        };
        match self {
            Self::Base => question.to_owned(),
            Self::Chat => {
                turns(&|asked, told| format!("Question: {asked} Answer: {told}\n"))
                    + &format!("Question: {question} Answer:")
            }
            Self::Vqa => {
                turns(&|asked, told| format!("Question: {asked} Short answer: {told}\n"))
                    + &format!("Question: {question} Short answer:")
            }
            Self::Instruct => {
                turns(&|asked, told| format!(" [INST] {asked} [/INST] {told}"))
                    + &format!(" [INST] {question} [/INST] ")
            }
            Self::OldChat => {
                let earlier = turns(&|asked, told| format!("{asked} Answer: {told}\nQuestion: "));
                format!("<EOI>Question: {earlier}{question} Answer:")
            }
            Self::InstructVqa => format!("<EOI>Question: {question} Short answer:"),
        }
    }
}

/// A piece of a prompt.
enum Piece {
    /// A whole prompt, to which the tokenizer may add what every text begins with.
    Prompt(String),
    /// Text in which special tokens count.
    Marks(String),
    /// Words, whatever they look like.
    Words(String),
    /// A token that is not written.
    Id(u32),
}

/// Writes conversations.
#[derive(Debug)]
pub struct Chat {
    format: ChatFormat,
    /// For [`ChatFormat::Template`]; a base model has none.
    template: Option<ChatTemplate>,
}

impl Chat {
    /// In a format; `template` is read if the format is one.
    ///
    /// # Errors
    /// Those of `template`, but for [`TextError::NoTemplate`]: it is needed only by who hands over messages.
    pub fn new(
        format: ChatFormat,
        template: impl FnOnce() -> Result<ChatTemplate, TextError>,
    ) -> Result<Self, TextError> {
        let template = match format {
            ChatFormat::Template => match template() {
                Err(TextError::NoTemplate) => None,
                other => Some(other?),
            },
            _ => None,
        };
        Ok(Self { format, template })
    }

    /// A conversation as text, up to where the answer begins.
    ///
    /// # Errors
    /// [`RunError::Text`] if a template refuses it, [`RunError::Prompt`] if it has turns that the format does not know.
    pub fn render(&self, messages: &[Message]) -> Result<String, RunError> {
        let pieces = self.pieces(messages)?.into_iter();
        Ok(pieces
            .filter_map(|piece| match piece {
                Piece::Prompt(text) | Piece::Marks(text) | Piece::Words(text) => Some(text),
                Piece::Id(_) => None,
            })
            .collect())
    }

    /// A conversation as ids, up to where the answer begins, slots of pictures not expanded.
    ///
    /// # Errors
    /// As [`Chat::render`].
    pub fn ids(&self, messages: &[Message], tokenizer: &Tokenizer) -> Result<Vec<u32>, RunError> {
        let mut ids = Vec::new();
        for piece in self.pieces(messages)? {
            match piece {
                Piece::Prompt(text) => ids.extend(tokenizer.encode_prompt(&text)?),
                Piece::Marks(text) => ids.extend(tokenizer.encode(&text)?),
                Piece::Words(text) => ids.extend(tokenizer.encode_plain(&text)?),
                Piece::Id(id) => ids.push(id),
            }
        }
        Ok(ids)
    }

    fn pieces(&self, messages: &[Message]) -> Result<Vec<Piece>, RunError> {
        match self.format {
            ChatFormat::Prefix { begin, image } => {
                let (_, question) = turns(messages)?;
                let images: usize = messages.iter().map(Message::images).sum();
                let pictures = (0..images).map(|_| Piece::Id(image));
                Ok(pictures.chain([Piece::Id(begin), Piece::Words(question + "\n")]).collect())
            }
            ChatFormat::Template => {
                let template = self.template.as_ref().ok_or(TextError::NoTemplate)?;
                Ok(vec![Piece::Prompt(template.render(messages, true)?)])
            }
            ChatFormat::Glm4 => Ok(glm4(messages)),
            ChatFormat::Cog { template, begin, image } => {
                let images = at_most_one_image(messages)?;
                let (history, question) = turns(messages)?;
                let slot = (0..images).map(|_| Piece::Id(image));
                let words = Piece::Words(template.prompt(&history, &question));
                Ok([Piece::Id(begin)].into_iter().chain(slot).chain([words]).collect())
            }
            ChatFormat::Kosmos2 { begin, image: [open, close] } => {
                let images = at_most_one_image(messages)?;
                let (history, text) = turns(messages)?;
                if !history.is_empty() {
                    return Err(PromptError::OneTurn { turns: history.len() + 1 }.into());
                }
                let slot = (0..images).flat_map(|_| [open, open, close]);
                let ids = [begin].into_iter().chain(slot).map(Piece::Id);
                Ok(ids.chain([Piece::Marks(text.trim().to_owned())]).collect())
            }
        }
    }
}

/// How many pictures there are, for systems that take one.
fn at_most_one_image(messages: &[Message]) -> Result<usize, PromptError> {
    match messages.iter().map(Message::images).sum() {
        images @ 0..=1 => Ok(images),
        images => Err(PromptError::OneImage { images }),
    }
}

/// The words of a turn.
fn words(message: &Message) -> String {
    let texts = message.content.iter().filter_map(|part| match part {
        Part::Text { text } => Some(text.as_str()),
        Part::Image => None,
    });
    texts.collect()
}

fn glm4(messages: &[Message]) -> Vec<Piece> {
    let mut pieces = vec![Piece::Marks("[gMASK]<sop>".to_owned())];
    for message in messages {
        let role = match message.role {
            Role::System => "<|system|>",
            Role::User => "<|user|>",
            Role::Assistant => "<|assistant|>",
        };
        pieces.push(Piece::Marks(role.to_owned()));
        pieces.push(Piece::Words("\n".to_owned()));
        let image = || Piece::Marks("<|begin_of_image|><|endoftext|><|end_of_image|>".to_owned());
        pieces.extend((0..message.images()).map(|_| image()));
        pieces.push(Piece::Words(words(message)));
    }
    pieces.push(Piece::Marks("<|assistant|>".to_owned()));
    pieces
}

/// Questions with their answers, and the last question.
fn turns(messages: &[Message]) -> Result<(Vec<(String, String)>, String), PromptError> {
    let (pairs, rest) = messages.as_chunks::<2>();
    let history = pairs.iter().map(|[asked, told]| match (asked.role, told.role) {
        (Role::User, Role::Assistant) => Ok((words(asked), words(told))),
        _ => Err(PromptError::Turns),
    });
    match rest {
        [question] if question.role == Role::User => Ok((history.collect::<Result<_, _>>()?, words(question))),
        _ => Err(PromptError::Turns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(format: ChatFormat) -> Chat {
        Chat::new(format, || Err(TextError::NoTemplate)).unwrap()
    }

    fn cog() -> Chat {
        chat(ChatFormat::Cog { template: CogTemplate::Chat, begin: 1, image: 0 })
    }

    #[test]
    fn earlier_turns_stand_before_the_question() {
        let history = [("a".to_owned(), "b".to_owned())];
        let prompts = [
            (CogTemplate::Base, "c"),
            (CogTemplate::Chat, "Question: a Answer: b\nQuestion: c Answer:"),
            (CogTemplate::Vqa, "Question: a Short answer: b\nQuestion: c Short answer:"),
            (CogTemplate::Instruct, " [INST] a [/INST] b [INST] c [/INST] "),
            (CogTemplate::OldChat, "<EOI>Question: a Answer: b\nQuestion: c Answer:"),
            (CogTemplate::InstructVqa, "<EOI>Question: c Short answer:"),
        ];
        for (template, expected) in prompts {
            assert_eq!(template.prompt(&history, "c"), expected);
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
            let error = cog().render(&messages).unwrap_err().to_string();
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
        assert!(matches!(error, RunError::Text(TextError::NoTemplate)));
    }

    #[test]
    fn glm_writes_roles_and_pictures() {
        let asked = Message::user(vec![Part::text("a"), Part::Image]);
        let expected = "[gMASK]<sop><|user|>\n<|begin_of_image|><|endoftext|><|end_of_image|>a<|assistant|>";
        assert_eq!(chat(ChatFormat::Glm4).render(&[asked]).unwrap(), expected);
    }
}
