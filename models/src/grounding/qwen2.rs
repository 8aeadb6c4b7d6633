//! Qwen2-VL's boxes: `<|object_ref_start|>name<|object_ref_end|><|box_start|>(x0,y0),(x1,y1)<|box_end|>`, in
//! thousandths. A decoder that skips special tokens leaves `name(x0,y0),(x1,y1)`.

use super::{GroundingError, Labelled, Normalised1000, cursor::Cursor};

const REF_START: &str = "<|object_ref_start|>";
const REF_END: &str = "<|object_ref_end|>";
const BOX_START: &str = "<|box_start|>";
const BOX_END: &str = "<|box_end|>";

/// All boxes and points of an answer, in order, with or without special tokens; names only with them.
///
/// # Errors
/// [`GroundingError::NoBox`], [`GroundingError::OutOfRange`], [`GroundingError::Malformed`] for box tokens around
/// anything but corners.
pub fn parse_qwen2_boxes(text: &str) -> Result<Vec<Labelled<Normalised1000>>, GroundingError> {
    let mut cursor = Cursor::new(text);
    let mut boxes = Vec::new();
    let mut label = None;
    while !cursor.rest().is_empty() {
        if cursor.eat(REF_START) {
            let end = cursor.rest().find("<|").unwrap_or(cursor.rest().len());
            label = cursor.rest().get(..end).map(|it| it.trim().to_owned());
            cursor.skip(end);
            cursor.eat(REF_END);
        } else if cursor.eat(BOX_START) {
            let corners = corners(&mut cursor).ok_or_else(|| cursor.malformed("(x0,y0),(x1,y1)"))?;
            if !cursor.eat(BOX_END) && !cursor.rest().trim_start().is_empty() {
                return Err(cursor.malformed(BOX_END));
            }
            // Several boxes may follow one name.
            boxes.push(Labelled { region: cursor.region(&corners)?, label: label.clone() });
        } else if let Some(corners) = corners(&mut cursor) {
            boxes.push(Labelled { region: cursor.region(&corners)?, label: label.clone() });
        } else {
            cursor.next();
            // Every attempt skips space: what lies before the next one is skipped once.
            cursor.space();
        }
    }
    if boxes.is_empty() {
        return Err(GroundingError::NoBox { text: text.to_owned() });
    }
    Ok(boxes)
}

/// `(x,y)` or `(x,y),(x,y)`; takes nothing otherwise.
fn corners<'a>(cursor: &mut Cursor<'a>) -> Option<Vec<&'a str>> {
    let mut ahead = *cursor;
    let mut corners = point(&mut ahead)?;
    *cursor = ahead;
    ahead.eat(",");
    if let Some(second) = point(&mut ahead) {
        corners.extend(second);
        *cursor = ahead;
    }
    Some(corners)
}

fn point<'a>(cursor: &mut Cursor<'a>) -> Option<Vec<&'a str>> {
    let open = cursor.eat("(");
    let numbers = if open { cursor.numbers() } else { Vec::new() };
    (numbers.len() == 2 && cursor.eat(")")).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::image::Size;

    fn read(text: &str) -> Vec<([u16; 4], Option<String>)> {
        parse_qwen2_boxes(text).unwrap().into_iter().map(|it| (it.region.corners(), it.label)).collect()
    }

    #[test]
    fn reads_what_the_model_prints() {
        let named = "<|object_ref_start|>the save button<|object_ref_end|><|box_start|>(536,509),(588,602)<|box_end|>";
        assert_eq!(read(named), [([536, 509, 588, 602], Some("the save button".into()))]);
        assert_eq!(read("the save button(536,509),(588,602)"), [([536, 509, 588, 602], None)]);
        assert_eq!(read("<|box_start|>(588, 602), (536, 509)"), [([536, 509, 588, 602], None)]);
        assert_eq!(read("(500,400)"), [([500, 400, 500, 400], None)]);
        let two = "<|box_start|>(1,2),(3,4)<|box_end|><|box_start|>(5,6)<|box_end|><|im_end|>";
        assert_eq!(read(two), [([1, 2, 3, 4], None), ([5, 6, 5, 6], None)]);
        assert_eq!(read("f(x) and (1,2)(3,4)"), [([1, 2, 3, 4], None)]);
    }

    /// The middle of a 1920x1080 screen.
    #[test]
    fn a_known_target() {
        let centre =
            parse_qwen2_boxes("(250,250),(750,750)").unwrap()[0].region.to_pixels(Size::new(1920, 1080)).centre();
        assert_eq!((centre.x, centre.y), (960.0, 540.0));
    }

    #[test]
    fn errors_carry_the_text() {
        for text in ["", "I see no button.", "(1,2", "(1;2)", "(1,2,3)"] {
            assert_eq!(parse_qwen2_boxes(text), Err(GroundingError::NoBox { text: text.to_owned() }));
        }
        for text in ["<|box_start|>here<|box_end|>", "<|box_start|>(1,2),(3,4)x<|box_end|>"] {
            let error = parse_qwen2_boxes(text).unwrap_err();
            assert!(matches!(error, GroundingError::Malformed { .. }), "{error}");
            assert_eq!(error.text(), text);
        }
        assert!(matches!(parse_qwen2_boxes("(1,2),(3,1700)"), Err(GroundingError::OutOfRange { .. })));
    }

    proptest! {
        #[test]
        fn any_text_is_handled(text in "(<\\|box_start\\|>|<\\|object_ref_start\\|>|\\(|\\)|,|[0-9]{1,4}|\\PC){0,40}") {
            let _ = parse_qwen2_boxes(&text);
        }
    }
}
