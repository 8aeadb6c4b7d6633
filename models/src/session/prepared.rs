//! What the decoder is given of a conversation.

use std::{ops::Range, sync::Arc};

use super::encoded::EncodedImage;
use crate::{blocks::CrossRange, prompt::Positions};

/// A prompt made ready: ids with image slots, positions, pictures.
#[derive(Clone)]
pub struct Prepared {
    /// Token ids, image slots expanded.
    pub ids: Vec<u32>,
    /// Position of each on each axis.
    pub positions: Positions,
    pub(super) images: Vec<Arc<EncodedImage>>,
    /// What stands in each row: an id, or a row of a picture.
    pub(super) rows: Vec<Row>,
    /// Whether the visual expert takes a row; empty if there is none.
    pub(super) visual: Vec<bool>,
    /// The cross-attention mask, for pictures that stand in rows of their own.
    pub(super) cross_ranges: Vec<CrossRange>,
    /// Whether it has a part of a picture only.
    pub part: bool,
}

impl Prepared {
    /// The features that rows after the last picture attend to.
    pub(super) fn attended(&self) -> Option<Range<usize>> {
        let one = || self.images.first().and_then(|image| image.cross.as_ref()).map(|cross| cross.seen());
        self.cross_ranges.last().map(|last| last.seen.clone()).or_else(one)
    }
}

/// What stands in a row of the decoder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    Token(u32),
    Image { hash: [u8; 32], row: usize },
}

impl Row {
    /// Which of the picture's own tokens it is, if it is one.
    pub(super) fn token_of(&self, image: &EncodedImage) -> Option<usize> {
        match self {
            Self::Image { hash, row } if *hash == image.hash => row.checked_sub(image.before),
            _ => None,
        }
        .filter(|&index| index < image.grid.patches())
    }
}
