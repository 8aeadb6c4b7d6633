//! What a model answers, as typed actions with boxes in pixels of the original screenshot.
//!
//! One reader ([`read_answer`]) takes what models really print: thinking before the answer, JSON that is none, tool calls, tags,
//! running text, swapped corners, answers that break off, and words that nothing like it is there. What is on another scale
//! than the system's, or outside the picture, is refused: an error with the text. A point is a box without area. Operations in
//! CogAgent's protocols and places that are tokens (Kosmos-2, PaliGemma) have parsers of their own, and types for what they
//! write ([`Normalised1000`], [`UnitBox`], [`CellBox`]), so that none is taken for another.

mod action;
mod alike;
mod answer;
mod cogagent;
mod coordinates;
mod cursor;
mod grammar;
mod json;
mod kosmos2;
mod paligemma;
mod quotations;
mod reader;
mod relation;
mod steps;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use action::quoted;
pub use action::{Action, Direction, Key, Target};
pub(crate) use alike::APART;
pub use alike::{alike, in_reading_order};
pub use answer::read_answer;
pub use cogagent::{CogAgentAnswer, Sensitivity};
pub use coordinates::{Labelled, Normalised1000, PixelBox, PixelPoint, UnitBox};
pub use grammar::Grammar;
pub use kosmos2::{CellBox, parse_kosmos2_boxes};
pub use paligemma::{Detection, parse_detections};
pub(crate) use quotations::{dictated, is_apostrophe, quotations};
pub use relation::{Area, Ordinal, Place, Relation, Side};
pub use steps::{GroundedOperation, StepsAnswer, Verb};

/// How an answer can be malformed; always with the whole answer, of which the message shows the beginning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroundingError {
    /// Nothing in it looks like a box or a point.
    #[error("no box in the answer {}", excerpt(text))]
    NoBox {
        /// The answer.
        text: String,
    },
    /// Nothing in it looks like an operation.
    #[error("no grounded operation in the answer {}", excerpt(text))]
    NoOperation {
        /// The answer.
        text: String,
    },
    /// An operation of a name that the grammar does not have.
    #[error("unknown operation `{}` in the answer {}", short(name), excerpt(text))]
    UnknownOperation {
        /// The name.
        name: String,
        /// The answer.
        text: String,
    },
    /// An operation lacks an argument that it needs, or has it in another type.
    #[error("{operation} lacks `{argument}`, {expected}, in the answer {}", excerpt(text))]
    Argument {
        /// Name of the operation.
        operation: String,
        /// Name of the argument.
        argument: &'static str,
        /// What it must be.
        expected: &'static str,
        /// The answer.
        text: String,
    },
    /// A coordinate beyond the scale on which the model writes.
    #[error("{} on a scale of {scale} in the answer {}", short(value), excerpt(text))]
    OutOfRange {
        /// The coordinate as written.
        value: String,
        /// The largest that there is.
        scale: &'static str,
        /// The answer.
        text: String,
    },
    /// Fractions of the sides from a model that writes on another scale.
    #[error("fractions on a scale of {scale} in the answer {}", excerpt(text))]
    Fractions {
        /// What the model writes: `1000`, or `pixels`.
        scale: &'static str,
        /// The answer.
        text: String,
    },
    /// Some coordinates of a place are per cent, and some are not.
    #[error("per cent beside other coordinates in the answer {}", excerpt(text))]
    Mixed {
        /// The answer.
        text: String,
    },
    /// A coordinate in pixels that lies further outside the picture than a model misses an edge by.
    #[error(
        "{} is far outside the picture, which is {extent} pixels {side} as the model sees it, in the answer {}",
        short(value),
        excerpt(text)
    )]
    Outside {
        /// The coordinate as written.
        value: String,
        /// `wide` or `high`.
        side: &'static str,
        /// Width or height of the picture as the model sees it.
        extent: u32,
        /// The answer.
        text: String,
    },
    /// Neither two nor four coordinates.
    #[error("{} ({}) where a place has two or four, in the answer {}", counted(numbers.len()), short(&numbers.join(", ")), excerpt(text))]
    Count {
        /// The coordinates as written.
        numbers: Vec<String>,
        /// The answer.
        text: String,
    },
    /// Something else where coordinates should stand.
    #[error("no coordinates in {:?} in the answer {}", short(found), excerpt(text))]
    NoCoordinates {
        /// What stands there.
        found: String,
        /// The answer.
        text: String,
    },
    /// An operation that has no place.
    #[error("no place: `{}` acts nowhere on the screen, in the answer {}", short(operation), excerpt(text))]
    NoPlace {
        /// The operation's name.
        operation: String,
        /// The answer.
        text: String,
    },
    /// It ends before its coordinates do.
    #[error("the answer breaks off within its coordinates: {}", excerpt(text))]
    Cut {
        /// The answer.
        text: String,
    },
    /// It was cut off at the number of tokens that it may have, and what there is of it says nothing.
    #[error("the answer was cut off at the most tokens that it may have, allow more: {}", excerpt(text))]
    Unfinished {
        /// The answer.
        text: String,
    },
    /// A cell beyond the grid.
    #[error("cell {} is outside 0..=1023 in the answer {}", short(value), excerpt(text))]
    Cell {
        /// The number as written.
        value: String,
        /// The answer.
        text: String,
    },
    /// It breaks off or continues otherwise than its grammar.
    #[error("expected {expected} at character {at} of the answer {}", excerpt(text))]
    Malformed {
        /// What should stand there.
        expected: &'static str,
        /// Characters before that place.
        at: usize,
        /// The answer.
        text: String,
    },
}

impl GroundingError {
    /// The whole answer.
    pub fn text(&self) -> &str {
        match self {
            Self::NoBox { text }
            | Self::NoOperation { text }
            | Self::UnknownOperation { text, .. }
            | Self::Argument { text, .. }
            | Self::OutOfRange { text, .. }
            | Self::Cell { text, .. }
            | Self::Fractions { text, .. }
            | Self::Mixed { text }
            | Self::Outside { text, .. }
            | Self::Count { text, .. }
            | Self::NoCoordinates { text, .. }
            | Self::NoPlace { text, .. }
            | Self::Cut { text }
            | Self::Unfinished { text }
            | Self::Malformed { text, .. } => text,
        }
    }

    /// Whether the answer is well-formed, and refused because its coordinates are about another picture or on another scale.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Outside { .. } | Self::OutOfRange { .. } | Self::Fractions { .. } | Self::Mixed { .. })
    }

    /// The same of an answer that is not `whole`: where it breaks off is then the reason.
    pub(crate) fn of_unfinished(self, whole: bool) -> Self {
        match self {
            error if whole || error.is_refusal() => error,
            error => Self::Unfinished { text: error.text().to_owned() },
        }
    }

    /// The same about `answer`, of which its text is a part.
    fn about(mut self, answer: &str) -> Self {
        match &mut self {
            Self::NoBox { text }
            | Self::NoOperation { text }
            | Self::UnknownOperation { text, .. }
            | Self::Argument { text, .. }
            | Self::OutOfRange { text, .. }
            | Self::Cell { text, .. }
            | Self::Fractions { text, .. }
            | Self::Mixed { text }
            | Self::Outside { text, .. }
            | Self::Count { text, .. }
            | Self::NoCoordinates { text, .. }
            | Self::NoPlace { text, .. }
            | Self::Cut { text }
            | Self::Unfinished { text }
            | Self::Malformed { text, .. } => answer.clone_into(text),
        }
        self
    }
}

/// How many numbers there are, in words where a person would.
fn counted(count: usize) -> String {
    match count {
        1 => "one number".to_owned(),
        3 => "three numbers".to_owned(),
        5 => "five numbers".to_owned(),
        count => format!("{count} numbers"),
    }
}

/// What the answer has in place of a name or a number, which may be any length.
fn short(text: &str) -> &str {
    text.char_indices().nth(40).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

fn excerpt(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{:?}...", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}
