//! What a model answers, as typed actions with boxes in pixels of the original screenshot.
//!
//! Each way of writing coordinates is a type of its own ([`Normalised1000`], [`UnitBox`], [`ResizedBox`], [`CellBox`],
//! [`PixelBox`]), so that none is taken for another. A point is a box without area. Parsers accept what models really
//! print (missing spaces, unpadded digits, single brackets, swapped corners, missing marks); what they cannot read is an
//! error with the text.

mod action;
mod alike;
mod ask;
mod boxes;
mod cogagent;
mod coordinates;
mod cursor;
mod intern;
mod json;
mod kosmos2;
mod paligemma;
mod quotations;
mod qwen2;
mod qwen2_5;
mod relation;
mod steps;
#[cfg(test)]
pub(crate) mod testing;
mod unit;

pub(crate) use action::quoted;
pub use action::{Action, Direction, Key, Target};
pub(crate) use alike::APART;
pub use alike::{alike, in_reading_order};
pub use ask::{question, read_answer};
pub use boxes::parse_boxes;
pub use cogagent::{CogAgentAnswer, Sensitivity};
pub use coordinates::{Labelled, Normalised1000, PixelBox, PixelPoint, ResizedBox, UnitBox};
pub use intern::parse_intern_boxes;
pub use kosmos2::{CellBox, parse_kosmos2_boxes};
pub use paligemma::{Detection, parse_detections};
pub(crate) use quotations::{dictated, is_apostrophe, quotations};
pub use qwen2::parse_qwen2_boxes;
pub use qwen2_5::parse_qwen2_5_boxes;
pub use relation::{Area, Ordinal, Place, Relation, Side};
pub use steps::{GroundedOperation, StepsAnswer, Verb};
pub use unit::parse_unit_boxes;

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
    /// A coordinate beyond the scale.
    #[error("coordinate {} is outside the scale in the answer {}", short(value), excerpt(text))]
    OutOfRange {
        /// The coordinate as written.
        value: String,
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
            | Self::Malformed { text, .. } => text,
        }
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
