//! Positions of a prompt's rows, by each system's rule.

use std::ops::Range;

use super::{PromptError, mrope_positions};
use crate::image::PatchGrid;

/// Positions of every row of a prompt, and where decoding goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positions {
    /// `[axes][rows]`.
    pub axes: Vec<Vec<u32>>,
    /// Position of the first generated token, on all axes; later ones count on.
    pub next: u32,
}

impl Positions {
    /// One more than the largest position of the prompt and of an answer of `answer` tokens.
    pub fn end(&self, answer: usize) -> usize {
        let prompt = self.axes.iter().flatten().max().map_or(0, |&last| (last as usize).saturating_add(1));
        prompt.max((self.next as usize).saturating_add(answer))
    }
}

/// How rows are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PositionRule {
    /// On three axes: time, height, width (Qwen2-VL).
    Mrope,
    /// On one axis, one after the other.
    Sequential {
        /// The first row's.
        first: u32,
    },
    /// On one axis, all patches of a picture sharing the position behind its first row's; the last row counts on
    /// (CogVLM, GLM-4V).
    Shared,
}

impl PositionRule {
    /// Positions of `length` rows with pictures at `spans`, whose tokens form `grids`.
    ///
    /// # Errors
    /// [`PromptError::Slot`], [`PromptError::Images`], [`PromptError::TooLong`].
    pub fn positions(
        self,
        length: usize,
        spans: &[Range<usize>],
        grids: &[PatchGrid],
    ) -> Result<Positions, PromptError> {
        match self {
            Self::Mrope => {
                let positions = mrope_positions(length, spans, grids)?;
                Ok(Positions { axes: positions.axes.into(), next: positions.next })
            }
            Self::Sequential { first } => {
                let next = u32::try_from(length).ok().and_then(|length| first.checked_add(length));
                let next = next.ok_or(PromptError::TooLong { limit: u32::MAX as usize })?;
                Ok(Positions { axes: vec![(first..next).collect()], next })
            }
            Self::Shared => shared(length, spans),
        }
    }
}

/// A row whose neighbours on both sides belong to the same picture shares its position with them.
fn shared(length: usize, spans: &[Range<usize>]) -> Result<Positions, PromptError> {
    if length >= u32::MAX as usize {
        return Err(PromptError::TooLong { limit: u32::MAX as usize });
    }
    let mut positions: Vec<u32> = Vec::with_capacity(length);
    let mut next = 0;
    let mut done = 0;
    for (index, span) in spans.iter().enumerate() {
        let Range { start, end } = *span;
        if start < done || end > length || start >= end {
            return Err(PromptError::Slot { index, start, end, length, tokens: end.saturating_sub(start) });
        }
        done = end;
    }
    for row in 0..length {
        // The second row behind a picture's first, up to its last but one.
        let repeats = spans.iter().any(|span| span.start + 2 <= row && row + 1 < span.end);
        if !repeats && row > 0 {
            next += 1;
        }
        positions.push(next);
    }
    let next = if length == 0 { 0 } else { next + 1 };
    Ok(Positions { axes: vec![positions], next })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted() {
        let from = |rule: PositionRule| rule.positions(3, &one(1..2), &[]).unwrap();
        assert_eq!(from(PositionRule::Sequential { first: 0 }).axes, [[0, 1, 2]]);
        let later = from(PositionRule::Sequential { first: 2 });
        assert_eq!((later.axes, later.next), (vec![vec![2, 3, 4]], 5));
        assert!(matches!(
            PositionRule::Sequential { first: u32::MAX }.positions(3, &[], &[]),
            Err(PromptError::TooLong { .. })
        ));
    }

    fn one(span: Range<usize>) -> Vec<Range<usize>> {
        vec![span]
    }

    #[test]
    fn patches_share_a_position() {
        let positions = PositionRule::Shared.positions(8, &one(1..6), &[]).unwrap();
        assert_eq!(positions.axes, [[0, 1, 2, 2, 2, 3, 4, 5]]);
        assert_eq!(positions.next, 6);
        let text = PositionRule::Shared.positions(3, &[], &[]).unwrap();
        assert_eq!((text.axes, text.next), (vec![vec![0, 1, 2]], 3));
        assert_eq!(PositionRule::Shared.positions(0, &[], &[]).unwrap().next, 0);
        assert!(matches!(PositionRule::Shared.positions(4, &one(2..6), &[]), Err(PromptError::Slot { .. })));
    }
}
