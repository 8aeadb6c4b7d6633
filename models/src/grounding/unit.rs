//! Boxes as LLaVA writes them in running text: `[x0, y0, x1, y1]`, fractions of the picture's width and height.

use super::{GroundingError, UnitBox, cursor::Cursor};

/// All boxes in a text, in order: `[0.12, 0.3, 0.5, 1.0]`, and points `[x, y]`.
///
/// # Errors
/// [`GroundingError::NoBox`], [`GroundingError::OutOfRange`] for a coordinate above 1.
pub fn parse_unit_boxes(text: &str) -> Result<Vec<UnitBox>, GroundingError> {
    let mut cursor = Cursor::new(text);
    let mut boxes = Vec::new();
    while let Some(start) = cursor.rest().find('[') {
        cursor.skip(start + 1);
        let mut ahead = cursor;
        let numbers = ahead.numbers();
        // Whole numbers in brackets are something else, such as a reference.
        let is_box = matches!(numbers.len(), 2 | 4) && numbers.iter().any(|it| it.contains('.'));
        if is_box && ahead.eat("]") {
            boxes.push(region(text, &numbers)?);
            cursor = ahead;
        }
    }
    if boxes.is_empty() {
        return Err(GroundingError::NoBox { text: text.to_owned() });
    }
    Ok(boxes)
}

fn region(text: &str, written: &[&str]) -> Result<UnitBox, GroundingError> {
    let beyond = |value: &str| GroundingError::OutOfRange { value: value.to_owned(), text: text.to_owned() };
    let fraction = |it: &str| it.parse::<f64>().ok().filter(|value| *value <= 1.0).ok_or_else(|| beyond(it));
    let values: Vec<f64> = written.iter().map(|it| fraction(it)).collect::<Result<_, _>>()?;
    let region = match values[..] {
        [x, y] => UnitBox::new(x, y, x, y),
        [x0, y0, x1, y1] => UnitBox::new(x0, y0, x1, y1),
        _ => None,
    };
    region.ok_or_else(|| GroundingError::NoBox { text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::image::Size;

    fn corners(text: &str) -> Vec<[f64; 4]> {
        parse_unit_boxes(text).unwrap().iter().map(UnitBox::corners).collect()
    }

    #[test]
    fn reads_what_models_print() {
        assert_eq!(corners("[0.25, 0.5, 0.75, 1.0]"), [[0.25, 0.5, 0.75, 1.0]]);
        assert_eq!(
            corners("The dog [0.75,1.0,0.25,0.5] and [0, 0.5]."),
            [[0.25, 0.5, 0.75, 1.0], [0.0, 0.5, 0.0, 0.5]]
        );
        assert_eq!(corners("see [1], [1, 2] and [0.5, 0.5, 1, 1]"), [[0.5, 0.5, 1.0, 1.0]]);
    }

    /// The middle of a 1920x1080 screen.
    #[test]
    fn a_known_target() {
        let region = parse_unit_boxes("[0.25, 0.25, 0.75, 0.75]").unwrap()[0];
        let centre = region.to_pixels(Size::new(1920, 1080)).centre();
        assert_eq!((centre.x, centre.y), (960.0, 540.0));
    }

    #[test]
    fn errors_carry_the_text() {
        for text in ["", "no box", "[0.1, 0.2, 0.3]", "[1, 2, 3, 4]", "[0.1, 0.2"] {
            assert_eq!(parse_unit_boxes(text), Err(GroundingError::NoBox { text: text.to_owned() }));
        }
        let error = parse_unit_boxes("[0.1, 0.2, 0.3, 1.5]").unwrap_err();
        assert!(matches!(&error, GroundingError::OutOfRange { value, .. } if value == "1.5"), "{error}");
        assert!(error.to_string().contains("1.5"));
    }

    proptest! {
        #[test]
        fn any_text_is_handled(text in "(\\[|\\]|;|,|[0-9]{1,4}|\\.|\\PC){0,40}") {
            let _ = parse_unit_boxes(&text);
        }
    }
}
