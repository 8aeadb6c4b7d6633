//! Image slots: each placeholder becomes as many as its picture has rows, or the ids that its system writes for it.

use std::ops::Range;

use fovea_engine::text::Tokenizer;

use super::{PromptError, SlotText};

/// What stands for a picture in a prompt's ids, and in its expansion: the same tokens, of which the placeholder is
/// repeated until there is one for each row of the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSlot {
    /// Tokens before the placeholder.
    pub before: Vec<u32>,
    /// The placeholder.
    pub token: u32,
    /// Tokens behind it.
    pub behind: Vec<u32>,
    /// Whether the rows of the tokens around the placeholder are the picture's too.
    pub edges: bool,
    /// The first of the ids that stand for a picture's rows, the others counting on; `None`: all are the placeholder.
    pub counted_from: Option<u32>,
    /// How a slot is written.
    pub text: SlotText,
}

/// What fills a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filling {
    /// As many rows of a picture.
    Rows(usize),
    /// These ids, of which each placeholder is a row of the picture.
    Written(Vec<u32>),
    /// What stands there already: the picture has no rows.
    Apart,
}

impl ImageSlot {
    /// A placeholder alone.
    pub fn token(token: u32) -> Self {
        Self { before: Vec::new(), token, behind: Vec::new(), edges: false, counted_from: None, text: SlotText::Rows }
    }

    /// A placeholder between two tokens whose rows are the picture's too.
    pub fn between(before: u32, token: u32, behind: u32) -> Self {
        Self { before: vec![before], behind: vec![behind], edges: true, ..Self::token(token) }
    }

    /// Tokens around the placeholder whose rows are the picture's.
    fn own(&self) -> (usize, usize) {
        if self.edges { (self.before.len(), self.behind.len()) } else { (0, 0) }
    }

    /// The ids of `count` rows of a picture.
    fn ids(&self, count: usize) -> impl Iterator<Item = u32> + use<> {
        let (first, step) = self.counted_from.map_or((self.token, 0), |first| (first, 1));
        (0..count as u32).map(move |row| first.wrapping_add(row * step))
    }

    /// Tokens of a slot that is not expanded.
    pub fn width(&self) -> usize {
        self.before.len() + 1 + self.behind.len()
    }

    /// What a picture is in a prompt that no template writes part by part: the slot's tokens, and those around it that the
    /// system's own template has.
    pub fn written(&self, tokenizer: &Tokenizer) -> String {
        let ids = self.before.iter().chain([&self.token]).chain(&self.behind);
        let text: String = ids.filter_map(|&id| tokenizer.token(id)).collect();
        let around = ["<|vision_start|>", "<|vision_end|>"];
        match (text.as_str(), around.map(|token| tokenizer.token_id(token).is_some())) {
            ("<|image_pad|>", [true, true]) => format!("{}{text}{}", around[0], around[1]),
            _ => text,
        }
    }

    /// Slots in `ids` that are not expanded.
    pub fn count(&self, ids: &[u32]) -> usize {
        (0..ids.len()).filter(|&place| self.is_at(ids, place)).count()
    }

    fn is_at(&self, ids: &[u32], place: usize) -> bool {
        let Some(start) = place.checked_sub(self.before.len()) else { return false };
        let stood = |ids: &[u32], wanted: &[u32], at: usize| ids.get(at..at + wanted.len()) == Some(wanted);
        stood(ids, &self.before, start) && ids[place] == self.token && stood(ids, &self.behind, place + 1)
    }
}

/// A prompt with room for its pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expanded {
    /// Token ids, placeholders repeated.
    pub ids: Vec<u32>,
    /// Where each picture's slot is, in order.
    pub spans: Vec<Range<usize>>,
    /// The places of each picture's rows within its slot.
    pub rows: Vec<Vec<usize>>,
}

/// Most tokens of a prompt: far beyond any model, far below what a `u32` position counts.
const LIMIT: usize = 1 << 24;

/// Makes room in `ids` for pictures: the `n`-th slot is filled with `fillings[n]`.
///
/// On ids this equals what the reference does on text, as special tokens never merge with their neighbours.
///
/// # Errors
/// [`PromptError::Empty`], [`PromptError::Images`], [`PromptError::EmptyImage`], [`PromptError::TooLong`].
pub fn expand_slots(ids: &[u32], slot: &ImageSlot, fillings: &[Filling]) -> Result<Expanded, PromptError> {
    if ids.is_empty() {
        return Err(PromptError::Empty);
    }
    let slots: Vec<usize> = (0..ids.len()).filter(|&place| slot.is_at(ids, place)).collect();
    if slots.len() != fillings.len() {
        return Err(PromptError::Images { token: slot.token, placeholders: slots.len(), images: fillings.len() });
    }
    let (before, behind) = slot.own();
    let edges = before + behind;
    let empty = |filling: &Filling| match filling {
        Filling::Rows(rows) => *rows <= edges,
        Filling::Written(ids) => !ids.contains(&slot.token),
        Filling::Apart => false,
    };
    if let Some(index) = fillings.iter().position(empty) {
        return Err(PromptError::EmptyImage { index });
    }
    let length = fillings.iter().fold(ids.len(), |sum, filling| match filling {
        Filling::Rows(rows) => sum.saturating_add(*rows),
        Filling::Written(ids) => sum.saturating_add(ids.len()),
        Filling::Apart => sum,
    });
    if length > LIMIT {
        return Err(PromptError::TooLong { limit: LIMIT });
    }
    let mut expanded = Expanded { ids: Vec::with_capacity(length), spans: Vec::new(), rows: Vec::new() };
    let mut done = 0;
    for (&place, filling) in slots.iter().zip(fillings) {
        expanded.ids.extend(&ids[done..place]);
        let start = expanded.ids.len() - before;
        let (span, rows) = match filling {
            Filling::Rows(rows) => {
                expanded.ids.extend(slot.ids(rows - edges));
                (start..start + rows, (start..start + rows).collect())
            }
            Filling::Written(written) => {
                let first = expanded.ids.len();
                let own = (first..).zip(written).filter(|&(_, &id)| id == slot.token).map(|(place, _)| place);
                let rows = own.collect();
                expanded.ids.extend(written);
                (first..expanded.ids.len(), rows)
            }
            Filling::Apart => {
                expanded.ids.push(slot.token);
                (start..start + 1, Vec::new())
            }
        };
        expanded.spans.push(span);
        expanded.rows.push(rows);
        done = place + 1;
    }
    expanded.ids.extend(&ids[done..]);
    Ok(expanded)
}

/// The other way: ids whose slots are expanded already, with one placeholder for each picture again. Ids that are not of
/// pictures of so many rows stay.
pub fn collapse_slots(ids: &[u32], slot: &ImageSlot, rows: &[usize]) -> Vec<u32> {
    let (before, behind) = slot.own();
    let mut collapsed = Vec::with_capacity(ids.len());
    let mut rest = ids;
    for &rows in rows {
        let run: Vec<u32> = slot.ids(rows.saturating_sub(before + behind)).collect();
        let wanted = [&slot.before[..], &run, &slot.behind].concat();
        let places = 0..=rest.len().saturating_sub(wanted.len());
        let mut found = places.filter(|_| !run.is_empty()).filter(|&at| rest[at..].starts_with(&wanted));
        let Some(at) = found.next() else { return ids.to_vec() };
        let start = at + slot.before.len();
        collapsed.extend(&rest[..start]);
        collapsed.push(slot.token);
        rest = &rest[start + run.len()..];
    }
    collapsed.extend(rest);
    collapsed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(counts: &[usize]) -> Vec<Filling> {
        counts.iter().copied().map(Filling::Rows).collect()
    }

    #[test]
    fn repeats_each_placeholder() {
        let expanded = expand_slots(&[7, 9, 8, 9], &ImageSlot::token(9), &rows(&[3, 1])).unwrap();
        assert_eq!(expanded.ids, [7, 9, 9, 9, 8, 9]);
        assert_eq!(expanded.spans, [1..4, 5..6]);
        assert_eq!(expanded.rows, [vec![1, 2, 3], vec![5]]);
        let none = Expanded { ids: vec![7], spans: vec![], rows: vec![] };
        assert_eq!(expand_slots(&[7], &ImageSlot::token(9), &[]).unwrap(), none);
    }

    #[test]
    fn written_slots_have_rows_where_the_placeholder_stands() {
        let fillings = [Filling::Written(vec![5, 9, 6, 9]), Filling::Apart];
        let expanded = expand_slots(&[7, 9, 8, 9], &ImageSlot::token(9), &fillings).unwrap();
        assert_eq!(expanded.ids, [7, 5, 9, 6, 9, 8, 9]);
        assert_eq!((expanded.spans, expanded.rows), (vec![1..5, 6..7], vec![vec![2, 4], vec![]]));
        let empty = expand_slots(&[9], &ImageSlot::token(9), &[Filling::Written(vec![5])]);
        assert_eq!(empty, Err(PromptError::EmptyImage { index: 0 }));
    }

    #[test]
    fn tokens_around_the_placeholder_are_rows_of_the_picture() {
        let slot = ImageSlot::between(5, 9, 6);
        let expanded = expand_slots(&[7, 9, 5, 9, 6, 8], &slot, &rows(&[5])).unwrap();
        assert_eq!(expanded.ids, [7, 9, 5, 9, 9, 9, 6, 8]);
        assert_eq!((expanded.spans.len(), expanded.spans[0].clone()), (1, 2..7));
        assert_eq!(expand_slots(&[5, 9, 6], &slot, &rows(&[2])), Err(PromptError::EmptyImage { index: 0 }));
        assert!(matches!(expand_slots(&[9, 6], &slot, &rows(&[4])), Err(PromptError::Images { .. })));
    }

    /// Kosmos-2's: the tags around the rows are text, and the rows count.
    #[test]
    fn rows_may_have_ids_that_count() {
        let slot = ImageSlot { before: vec![5], behind: vec![6], counted_from: Some(20), ..ImageSlot::token(5) };
        let expanded = expand_slots(&[7, 5, 5, 6, 5, 20], &slot, &rows(&[3])).unwrap();
        assert_eq!(expanded.ids, [7, 5, 20, 21, 22, 6, 5, 20]);
        assert_eq!((expanded.spans.len(), expanded.spans[0].clone()), (1, 2..5));
        assert_eq!(collapse_slots(&expanded.ids, &slot, &[3]), [7, 5, 5, 6, 5, 20]);
        assert_eq!(collapse_slots(&[7, 5, 5, 6], &slot, &[3]), [7, 5, 5, 6]);
    }

    #[test]
    fn names_what_disagrees() {
        let slot = ImageSlot::token(9);
        assert_eq!(expand_slots(&[], &slot, &[]), Err(PromptError::Empty));
        assert_eq!(
            expand_slots(&[9, 9, 1], &slot, &rows(&[4])).unwrap_err().to_string(),
            "the prompt has 2 image placeholders (token 9) for 1 pictures"
        );
        assert_eq!(expand_slots(&[9, 9], &slot, &rows(&[4, 0])), Err(PromptError::EmptyImage { index: 1 }));
        let limit = LIMIT;
        assert_eq!(expand_slots(&[9, 9], &slot, &rows(&[usize::MAX, 1])), Err(PromptError::TooLong { limit }));
    }

    proptest! {
        /// Without the slots the prompt is as it was, and the slots hold placeholders only.
        #[test]
        fn touches_only_slots(ids in prop::collection::vec(0u32..4, 1..40), count in 1usize..9) {
            let images = ids.iter().filter(|&&id| id == 0).count();
            let expanded = expand_slots(&ids, &ImageSlot::token(0), &rows(&vec![count; images])).unwrap();
            let text = |ids: &[u32]| ids.iter().copied().filter(|&id| id != 0).collect::<Vec<_>>();
            prop_assert_eq!(text(&expanded.ids), text(&ids));
            prop_assert_eq!(collapse_slots(&expanded.ids, &ImageSlot::token(0), &vec![count; images]), ids);
            for span in expanded.spans {
                prop_assert_eq!(&expanded.ids[span], &vec![0; count][..]);
            }
        }
    }
}
