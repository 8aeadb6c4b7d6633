//! PaliGemma's detections: `<loc0123><loc0456><loc0789><loc1000> name ; ...`, top, left, bottom, right in 1024ths of the
//! sides; in answers to `segment`, sixteen codes `<seg012>` of a mask between the box and the name.

use super::{GroundingError, UnitBox, cursor::Cursor};

/// Steps of a coordinate.
const STEPS: u16 = 1024;

/// Codes of a mask.
const CODES: usize = 16;

/// Something found.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// Where it is.
    pub region: UnitBox,
    /// Its name, if the model gave one.
    pub label: Option<String>,
    /// The codes of its mask, 0 to 127 each; empty, or sixteen. What they stand for is the publisher's decoder's.
    pub mask: Vec<u8>,
}

/// All detections of an answer, in order.
///
/// # Errors
/// [`GroundingError::NoBox`], [`GroundingError::OutOfRange`] for a location above 1023, [`GroundingError::Malformed`] for
/// fewer than four locations or another number of codes than sixteen.
pub fn parse_detections(text: &str) -> Result<Vec<Detection>, GroundingError> {
    let mut cursor = Cursor::new(text);
    let mut found = Vec::new();
    while let Some(start) = cursor.rest().find("<loc") {
        cursor.skip(start);
        let places = codes(&mut cursor, "<loc", usize::from(STEPS))?;
        let &[top, left, bottom, right] = places.as_slice() else {
            return Err(cursor.malformed("four locations"));
        };
        let [top, left, bottom, right] = [top, left, bottom, right].map(|it| it as f64 / f64::from(STEPS));
        let region = UnitBox::new(left, top, right, bottom);
        let region = region.ok_or_else(|| cursor.malformed("four locations"))?;
        let mask: Vec<u8> = codes(&mut cursor, "<seg", 128)?.into_iter().map(|code| code as u8).collect();
        if !matches!(mask.len(), 0 | CODES) {
            return Err(cursor.malformed("sixteen codes of a mask"));
        }
        let end = cursor.rest().find([';', '<']).unwrap_or(cursor.rest().len());
        let name = cursor.rest().get(..end).unwrap_or_default().trim();
        found.push(Detection { region, label: (!name.is_empty()).then(|| name.to_owned()), mask });
        cursor.skip(end);
    }
    if found.is_empty() {
        return Err(GroundingError::NoBox { text: text.to_owned() });
    }
    Ok(found)
}

/// The numbers of tokens `mark0012>` that follow each other, at most as many as a box or a mask takes.
fn codes(cursor: &mut Cursor<'_>, mark: &str, limit: usize) -> Result<Vec<usize>, GroundingError> {
    let most = if mark == "<loc" { 4 } else { CODES };
    let mut codes = Vec::new();
    while codes.len() < most && cursor.eat(mark) {
        let written = cursor.word();
        let beyond = || GroundingError::OutOfRange {
            value: written.to_owned(),
            scale: if mark == "<loc" { "1023" } else { "127" },
            text: cursor.text().to_owned(),
        };
        codes.push(written.parse().ok().filter(|&code| code < limit).ok_or_else(beyond)?);
        if !cursor.eat(">") {
            return Err(cursor.malformed(">"));
        }
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{grounding::PixelBox, image::Size};

    /// A button at (320, 200)-(640, 240) on a screen of 1280x1024: top 200, left 256, bottom 240, right 512 of 1024.
    #[test]
    fn a_known_target_with_the_top_first() {
        let found = parse_detections("<loc0200><loc0256><loc0240><loc0512> save button").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].label.as_deref(), Some("save button"));
        let region = found[0].region.to_pixels(Size::new(1280, 1024));
        assert_eq!(region, PixelBox::new(320.0, 200.0, 640.0, 240.0));
    }

    #[test]
    fn reads_what_the_model_prints() {
        let codes: String = (0..16).map(|code| format!("<seg{code:03}>")).collect();
        let text =
            format!("<loc0000><loc0000><loc1023><loc0512>{codes} cat ; <loc0001><loc0002><loc0003><loc0004> dog");
        let found = parse_detections(&text).unwrap();
        assert_eq!(found[0].mask, (0..16).collect::<Vec<u8>>());
        let labels: Vec<_> = found.iter().filter_map(|it| it.label.as_deref()).collect();
        assert_eq!(labels, ["cat", "dog"]);
        assert_eq!(found[1].region.corners(), [2.0, 1.0, 4.0, 3.0].map(|it| it / 1024.0));
    }

    #[test]
    fn errors_carry_the_text() {
        for text in ["", "no cat", "loc0001"] {
            assert_eq!(parse_detections(text), Err(GroundingError::NoBox { text: text.to_owned() }));
        }
        for text in ["<loc0001><loc0002> cat", "<loc0001><loc0002><loc0003><loc0004><seg000> cat", "<loc0001"] {
            let error = parse_detections(text).unwrap_err();
            assert!(matches!(error, GroundingError::Malformed { .. }), "{error}");
            assert_eq!(error.text(), text);
        }
        let error = parse_detections("<loc0001><loc1024><loc0003><loc0004>").unwrap_err();
        assert!(matches!(&error, GroundingError::OutOfRange { value, .. } if value == "1024"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_handled(text in "(<loc[0-9]{4}>|<seg[0-9]{3}>|<loc|>|;|\\PC){0,40}") {
            let _ = parse_detections(&text);
        }
    }
}
