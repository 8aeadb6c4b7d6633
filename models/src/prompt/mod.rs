//! From a rendered prompt to what the decoder is given: image slots and positions, and the prompts of systems that
//! publish them as text.

mod chat;
mod cogagent;
mod expand;
mod mrope;
mod positions;
pub mod questions;
mod slot;

pub use chat::{Chat, ChatError, ChatFormat, CogTemplate};
pub use cogagent::{AnswerFormat, CogAgentQuery, Platform, Step, UnknownKey};
pub use expand::{Expanded, Filling, ImageSlot, collapse_slots, expand_slots};
pub use mrope::{MropePositions, mrope_positions};
pub use positions::{PositionRule, Positions};
pub use questions::question;
pub use slot::SlotText;

/// How a prompt and its pictures can disagree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PromptError {
    /// The prompt has no tokens.
    #[error("the prompt is empty")]
    Empty,
    /// The prompt has another number of image placeholders than there are pictures.
    #[error("the prompt has {placeholders} image placeholders (token {token}) for {images} pictures")]
    Images {
        /// Id of the placeholder.
        token: u32,
        /// Placeholders in the prompt.
        placeholders: usize,
        /// Pictures given.
        images: usize,
    },
    /// The conversation does not alternate.
    #[error("the conversation must be turns of user and assistant, the last one the user's")]
    Turns,
    /// The system knows no earlier turns, and there are some.
    #[error("the system answers one question, the conversation has {turns}")]
    OneTurn {
        /// Questions of the conversation.
        turns: usize,
    },
    /// The system takes one picture, and there are others.
    #[error("the system takes one picture, the conversation has {images}")]
    OneImage {
        /// Pictures of the conversation.
        images: usize,
    },
    /// The system cannot do without a picture.
    #[error("the system needs a picture, the prompt has none")]
    NoImage,
    /// A picture has no tokens.
    #[error("picture {index} has no tokens")]
    EmptyImage {
        /// Position among the pictures, from 0.
        index: usize,
    },
    /// The prompt with its image slots is longer than positions can count.
    #[error("the prompt is longer than {limit} tokens")]
    TooLong {
        /// Most tokens.
        limit: usize,
    },
    /// A slot lies outside the sequence, overlaps the one before, or has another length than its grid.
    #[error("image slot {index} does not fit: tokens {start}..{end} of {length}, for a grid of {tokens}")]
    Slot {
        /// Position among the pictures, from 0.
        index: usize,
        /// First token.
        start: usize,
        /// Behind the last token.
        end: usize,
        /// Tokens of the sequence.
        length: usize,
        /// Tokens of the grid.
        tokens: usize,
    },
}
