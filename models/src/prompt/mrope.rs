//! M-RoPE positions of Qwen2-VL and Qwen2.5-VL: time, height, width.
//!
//! Text counts on all three axes alike. A picture's tokens take their place in its grid, counted from where it begins;
//! the text behind it goes on one after the largest position so far. Source: `get_rope_index` of transformers 4.57.1;
//! for still pictures Qwen2.5-VL's index of time is 0 as well.

use std::ops::Range;

use super::PromptError;
use crate::image::PatchGrid;

/// A position by axis for every token of a prompt, and where decoding goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MropePositions {
    /// `[3][tokens]`: time, height, width.
    pub axes: [Vec<u32>; 3],
    /// Position of the first generated token, on all axes; later ones count on.
    pub next: u32,
}

impl MropePositions {
    /// The reference's `rope_deltas`: the next position less the number of tokens so far, never above 0 unless a
    /// grid is larger than its tokens.
    pub fn rope_delta(&self) -> i64 {
        i64::from(self.next) - self.axes[0].len() as i64
    }
}

/// Positions of `length` tokens with pictures at `spans`, their grids counted in tokens (see [`PatchGrid::merged`]).
///
/// # Errors
/// [`PromptError::Slot`] if a span leaves the sequence, overlaps another or has another length than its grid,
/// [`PromptError::Images`] if there are not as many grids as spans.
pub fn mrope_positions(
    length: usize,
    spans: &[Range<usize>],
    grids: &[PatchGrid],
) -> Result<MropePositions, PromptError> {
    if spans.len() != grids.len() {
        return Err(PromptError::Images { token: 0, placeholders: spans.len(), images: grids.len() });
    }
    if length >= u32::MAX as usize {
        return Err(PromptError::TooLong { limit: u32::MAX as usize });
    }
    let mut axes = [(); 3].map(|()| Vec::with_capacity(length));
    let mut next = 0;
    let mut done = 0;
    for (index, (span, grid)) in spans.iter().zip(grids).enumerate() {
        let tokens = grid.patches();
        if span.start < done || span.end > length || span.len() != tokens || tokens == 0 {
            let Range { start, end } = *span;
            return Err(PromptError::Slot { index, start, end, length, tokens });
        }
        next = text(&mut axes, next, span.start - done);
        for time in 0..grid.time {
            for row in 0..grid.height {
                for column in 0..grid.width {
                    for (axis, place) in axes.iter_mut().zip([time, row, column]) {
                        axis.push(next + place);
                    }
                }
            }
        }
        next += grid.time.max(grid.height).max(grid.width);
        done = span.end;
    }
    let next = text(&mut axes, next, length - done);
    Ok(MropePositions { axes, next })
}

/// Appends `count` positions from `next` on every axis and returns the one behind them.
fn text(axes: &mut [Vec<u32>; 3], next: u32, count: usize) -> u32 {
    let end = next + count as u32;
    for axis in axes {
        axis.extend(next..end);
    }
    end
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "lists of slots, some of one slot")]
mod tests {
    use fovea_engine::testing::golden::{self, json};
    use fovea_engine::text::{ChatTemplate, Message, Script, TemplateFiles, Tokenizer};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        image::{Picture, Preprocessor, QwenImageConfig, Size},
        prompt::{Filling, ImageSlot, expand_slots},
    };

    /// From messages and pictures to ids and positions, for every case of both models.
    #[test]
    fn prompts_equal_the_reference() {
        for model in ["qwen2_vl", "qwen2_5_vl"] {
            let tokenizer = Tokenizer::from_tokenizer_json(&golden::bytes(&format!("{model}/tokenizer.json"))).unwrap();
            let template = ChatTemplate::from_files(TemplateFiles {
                json: Some(&golden::bytes(&format!("{model}/chat_template.json"))),
                tokenizer_config: Some(&golden::bytes(&format!("{model}/tokenizer_config.json"))),
                ..TemplateFiles::default()
            })
            .unwrap();
            let image = {
                let json = golden::bytes(&format!("{model}/preprocessor_config.json"));
                QwenImageConfig::read(&Preprocessor::from_json(&json).unwrap()).unwrap()
            };
            let placeholder = tokenizer.required_id("<|image_pad|>").unwrap();

            for case in 0..3 {
                let folder = format!("{model}/cases/{case}");
                let expected = json(&format!("{folder}/expected.json"));
                let request = json(&format!("{folder}/prompt.json"));
                let messages: Vec<Message> = serde_json::from_value(request["messages"].clone()).unwrap();
                let prompt = template.render(&messages, &Script::default(), true).unwrap();
                assert_eq!(prompt.as_str(), expected["prompt"], "{folder}");

                let grids: Vec<PatchGrid> = expected["images"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|it| {
                        let file = format!("{folder}/{}", it["file"].as_str().unwrap());
                        let size = Picture::decode(&golden::bytes(&file)).unwrap().size();
                        image.grid(size).unwrap().merged(image.merge_size)
                    })
                    .collect();
                let counts: Vec<Filling> = grids.iter().map(|grid| Filling::Rows(grid.patches())).collect();
                let ids = tokenizer.encode(prompt.as_str()).unwrap();
                let expanded = expand_slots(&ids, &ImageSlot::token(placeholder), &counts).unwrap();
                assert_eq!(serde_json::json!(expanded.ids), expected["input_ids"], "{folder}");
                let spans: Vec<[usize; 2]> = expanded.spans.iter().map(|span| [span.start, span.len()]).collect();
                assert_eq!(serde_json::json!(spans), expected["image_spans"], "{folder}");

                let positions = mrope_positions(expanded.ids.len(), &expanded.spans, &grids).unwrap();
                assert_eq!(serde_json::json!(positions.axes), expected["position_ids"], "{folder}");
                let generated = expected["generated_position_ids"].as_array().unwrap();
                let counted: Vec<u32> = (positions.next..).take(generated.len()).collect();
                assert_eq!(serde_json::json!(counted), expected["generated_position_ids"], "{folder}");
            }
        }
    }

    #[test]
    fn text_counts_and_pictures_spread() {
        let grid = PatchGrid { time: 1, height: 4, width: 6 }.merged(2);
        let positions = mrope_positions(10, &[2..8], &[grid]).unwrap();
        assert_eq!(positions.axes[0], [0, 1, 2, 2, 2, 2, 2, 2, 5, 6]);
        assert_eq!(positions.axes[1], [0, 1, 2, 2, 2, 3, 3, 3, 5, 6]);
        assert_eq!(positions.axes[2], [0, 1, 2, 3, 4, 2, 3, 4, 5, 6]);
        assert_eq!((positions.next, positions.rope_delta()), (7, -3));
        assert_eq!(mrope_positions(0, &[], &[]).unwrap().next, 0);
    }

    #[test]
    fn refuses_slots_that_do_not_fit() {
        let grid = PatchGrid { time: 1, height: 2, width: 2 };
        for spans in [vec![0..3], vec![7..11], vec![4..8, 7..11], vec![usize::MAX - 4..usize::MAX]] {
            let grids = vec![grid; spans.len()];
            let error = mrope_positions(10, &spans, &grids).unwrap_err();
            assert!(matches!(error, PromptError::Slot { .. }), "{error}");
        }
        let empty = PatchGrid { time: 1, height: 0, width: 2 };
        assert!(mrope_positions(4, &[1..1], &[empty]).is_err());
        assert!(matches!(mrope_positions(4, &[], &[grid]), Err(PromptError::Images { .. })));
    }

    proptest! {
        /// The next position is one behind the largest, and no grid is larger than its tokens allow.
        #[test]
        fn next_follows_the_largest(before in 0usize..9, width in 28u32..600, height in 28u32..600, after in 0usize..9) {
            let config = QwenImageConfig::default();
            let grid = config.grid(Size::new(width, height)).unwrap().merged(2);
            let span = before..before + grid.patches();
            let positions = mrope_positions(span.end + after, &[span], &[grid]).unwrap();
            let largest = positions.axes.iter().flatten().max().copied().unwrap();
            prop_assert_eq!(positions.next, largest + 1);
            prop_assert!(positions.rope_delta() <= 0);
            prop_assert!(positions.axes.iter().all(|axis| axis.len() == positions.axes[0].len()));
        }
    }
}
