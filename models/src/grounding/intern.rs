//! InternVL's boxes: `<ref>name</ref><box>[[x0, y0, x1, y1], [..]]</box>`, in thousandths. A decoder that skips marks
//! leaves `name[[x0, y0, x1, y1]]`.

use super::{GroundingError, Labelled, Normalised1000, cursor::Cursor};

const REF: &str = "<ref>";
const REF_END: &str = "</ref>";
const BOX: &str = "<box>";
const BOX_END: &str = "</box>";

/// All boxes and points of an answer, in order, with or without marks; names only with them.
///
/// # Errors
/// [`GroundingError::NoBox`], [`GroundingError::OutOfRange`], [`GroundingError::Malformed`] for marks around anything but
/// boxes.
pub fn parse_intern_boxes(text: &str) -> Result<Vec<Labelled<Normalised1000>>, GroundingError> {
    let mut cursor = Cursor::new(text);
    let mut boxes = Vec::new();
    let mut label: Option<String> = None;
    while !cursor.rest().is_empty() {
        if cursor.eat(REF) {
            let end = cursor.rest().find('<').unwrap_or(cursor.rest().len());
            label = cursor.rest().get(..end).map(|it| it.trim().to_owned());
            cursor.skip(end);
            cursor.eat(REF_END);
            continue;
        }
        let marked = cursor.eat(BOX);
        match list(&mut cursor) {
            // Several boxes may follow one name.
            Some(regions) => {
                for corners in regions {
                    boxes.push(Labelled { region: cursor.region(&corners)?, label: label.clone() });
                }
                if marked && !cursor.eat(BOX_END) && !cursor.rest().trim_start().is_empty() {
                    return Err(cursor.malformed(BOX_END));
                }
            }
            None if marked => return Err(cursor.malformed("[[x0, y0, x1, y1]]")),
            None => {
                cursor.next();
                // Every attempt skips space: what lies before the next one is skipped once.
                cursor.space();
            }
        }
    }
    if boxes.is_empty() {
        return Err(GroundingError::NoBox { text: text.to_owned() });
    }
    Ok(boxes)
}

/// `[[..], [..]]` or `[..]`, each of two or four numbers; takes nothing otherwise.
fn list<'a>(cursor: &mut Cursor<'a>) -> Option<Vec<Vec<&'a str>>> {
    let mut ahead = *cursor;
    if !ahead.eat("[") {
        return None;
    }
    let nested = ahead.eat("[");
    let mut regions = Vec::new();
    loop {
        let numbers = ahead.numbers();
        if !matches!(numbers.len(), 2 | 4) || !ahead.eat("]") {
            return None;
        }
        regions.push(numbers);
        let more = nested && ahead.eat(",") && ahead.eat("[");
        if !more {
            break;
        }
    }
    if nested {
        // Some answers leave it out.
        ahead.eat("]");
    }
    *cursor = ahead;
    Some(regions)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::image::Size;

    fn read(text: &str) -> Vec<([u16; 4], Option<String>)> {
        parse_intern_boxes(text).unwrap().into_iter().map(|it| (it.region.corners(), it.label)).collect()
    }

    #[test]
    fn reads_what_the_model_prints() {
        let named = "<ref>the save button</ref><box>[[536, 509, 588, 602]]</box>";
        assert_eq!(read(named), [([536, 509, 588, 602], Some("the save button".into()))]);
        assert_eq!(read("the save button[[536, 509, 588, 602]]"), [([536, 509, 588, 602], None)]);
        let two = "<ref>a</ref><box>[[1,2,3,4], [5,6,7,8]]</box> and <ref>b</ref><box>[9, 9]</box><|im_end|>";
        let (a, b) = (Some("a".to_owned()), Some("b".to_owned()));
        assert_eq!(read(two), [([1, 2, 3, 4], a.clone()), ([5, 6, 7, 8], a), ([9, 9, 9, 9], b)]);
        assert_eq!(read("see [1], then [588, 602, 536, 509]"), [([536, 509, 588, 602], None)]);
    }

    /// The middle of a 1920x1080 screen.
    #[test]
    fn a_known_target() {
        let region = parse_intern_boxes("<box>[[250, 250, 750, 750]]</box>").unwrap()[0].region;
        let centre = region.to_pixels(Size::new(1920, 1080)).centre();
        assert_eq!((centre.x, centre.y), (960.0, 540.0));
    }

    #[test]
    fn errors_carry_the_text() {
        for text in ["", "I see no button.", "[[1, 2, 3]]", "[[1; 2]]"] {
            assert_eq!(parse_intern_boxes(text), Err(GroundingError::NoBox { text: text.to_owned() }));
        }
        for text in ["<box>here</box>", "<box>[[1,2,3,4]]x</box>"] {
            let error = parse_intern_boxes(text).unwrap_err();
            assert!(matches!(error, GroundingError::Malformed { .. }), "{error}");
            assert_eq!(error.text(), text);
        }
        assert!(matches!(parse_intern_boxes("[[1,2,3,1700]]"), Err(GroundingError::OutOfRange { .. })));
    }

    proptest! {
        #[test]
        fn any_text_is_handled(text in "(<box>|</box>|<ref>|</ref>|\\[|\\]|,|[0-9]{1,4}|\\PC){0,40}") {
            let _ = parse_intern_boxes(&text);
        }
    }
}
