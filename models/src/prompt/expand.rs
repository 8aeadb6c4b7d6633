//! Image slots: each placeholder becomes as many as its picture has tokens.

use std::ops::Range;

use super::PromptError;

/// A prompt with room for its pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expanded {
    /// Token ids, placeholders repeated.
    pub ids: Vec<u32>,
    /// Where each picture's tokens are, in order.
    pub spans: Vec<Range<usize>>,
}

/// Most tokens of a prompt: far beyond any model, far below what a `u32` position counts.
const LIMIT: usize = 1 << 24;

/// Repeats the `n`-th `placeholder` of `ids` `tokens[n]` times.
///
/// On ids this equals what the reference does on text, as special tokens never merge with their neighbours.
///
/// # Errors
/// [`PromptError::Empty`], [`PromptError::Images`], [`PromptError::EmptyImage`], [`PromptError::TooLong`].
pub fn expand_placeholders(ids: &[u32], placeholder: u32, tokens: &[usize]) -> Result<Expanded, PromptError> {
    if ids.is_empty() {
        return Err(PromptError::Empty);
    }
    let placeholders = ids.iter().filter(|&&id| id == placeholder).count();
    if placeholders != tokens.len() {
        return Err(PromptError::Images { token: placeholder, placeholders, images: tokens.len() });
    }
    if let Some(index) = tokens.iter().position(|&it| it == 0) {
        return Err(PromptError::EmptyImage { index });
    }
    let length = tokens.iter().fold(ids.len() - placeholders, |sum, &it| sum.saturating_add(it));
    if length > LIMIT {
        return Err(PromptError::TooLong { limit: LIMIT });
    }
    let mut expanded = Expanded { ids: Vec::with_capacity(length), spans: Vec::with_capacity(tokens.len()) };
    let mut tokens = tokens.iter();
    for &id in ids {
        let start = expanded.ids.len();
        if id != placeholder {
            expanded.ids.push(id);
        } else if let Some(&count) = tokens.next() {
            expanded.ids.resize(start + count, placeholder);
            expanded.spans.push(start..start + count);
        }
    }
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn repeats_each_placeholder() {
        let expanded = expand_placeholders(&[7, 9, 8, 9], 9, &[3, 1]).unwrap();
        assert_eq!(expanded.ids, [7, 9, 9, 9, 8, 9]);
        assert_eq!(expanded.spans, [1..4, 5..6]);
        assert_eq!(expand_placeholders(&[7], 9, &[]).unwrap(), Expanded { ids: vec![7], spans: vec![] });
    }

    #[test]
    fn names_what_disagrees() {
        assert_eq!(expand_placeholders(&[], 9, &[]), Err(PromptError::Empty));
        assert_eq!(
            expand_placeholders(&[9, 9, 1], 9, &[4]).unwrap_err().to_string(),
            "the prompt has 2 image placeholders (token 9) for 1 pictures"
        );
        assert_eq!(expand_placeholders(&[9, 9], 9, &[4, 0]), Err(PromptError::EmptyImage { index: 1 }));
        let limit = LIMIT;
        assert_eq!(expand_placeholders(&[9, 9], 9, &[usize::MAX, 1]), Err(PromptError::TooLong { limit }));
    }

    proptest! {
        /// Without the slots the prompt is as it was, and the slots hold placeholders only.
        #[test]
        fn touches_only_slots(ids in prop::collection::vec(0u32..4, 1..40), count in 1usize..9) {
            let images = ids.iter().filter(|&&id| id == 0).count();
            let expanded = expand_placeholders(&ids, 0, &vec![count; images]).unwrap();
            let text = |ids: &[u32]| ids.iter().copied().filter(|&id| id != 0).collect::<Vec<_>>();
            prop_assert_eq!(text(&expanded.ids), text(&ids));
            for span in expanded.spans {
                prop_assert_eq!(&expanded.ids[span], &vec![0; count][..]);
            }
        }
    }
}
