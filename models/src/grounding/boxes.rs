//! Boxes as the Cog models write them in running text: `[[x0,y0,x1,y1]]`, several in one pair of brackets with `;`.

use super::{GroundingError, Normalised1000, cursor::Cursor};

/// All boxes in a text, in order: `[[010,020,300,400]]`, `[[1,2,3,4;5,6,7,8]]`, with single brackets or spaces as well,
/// and points `[[x,y]]`.
///
/// # Errors
/// [`GroundingError::NoBox`], [`GroundingError::OutOfRange`].
pub fn parse_boxes(text: &str) -> Result<Vec<Normalised1000>, GroundingError> {
    let mut cursor = Cursor::new(text);
    let mut boxes = Vec::new();
    while let Some(start) = cursor.rest().find('[') {
        cursor.skip(start);
        let mut ahead = cursor;
        match group(&mut ahead) {
            Some(group) => {
                for numbers in group {
                    boxes.push(ahead.region(&numbers)?);
                }
                cursor = ahead;
            }
            None => cursor.skip(1),
        }
    }
    if boxes.is_empty() {
        return Err(GroundingError::NoBox { text: text.to_owned() });
    }
    Ok(boxes)
}

/// One pair of brackets, if it holds nothing but coordinates.
fn group<'a>(cursor: &mut Cursor<'a>) -> Option<Vec<Vec<&'a str>>> {
    cursor.eat("[");
    cursor.eat("[");
    let mut group = Vec::new();
    loop {
        let numbers = cursor.numbers();
        if !matches!(numbers.len(), 2 | 4) {
            return None;
        }
        group.push(numbers);
        if !cursor.eat(";") {
            break;
        }
    }
    if !cursor.eat("]") {
        return None;
    }
    cursor.eat("]");
    Some(group)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn corners(text: &str) -> Vec<[u16; 4]> {
        parse_boxes(text).unwrap().iter().map(Normalised1000::corners).collect()
    }

    #[test]
    fn reads_what_models_print() {
        assert_eq!(corners("The button [[010,020,300,400]] is"), [[10, 20, 300, 400]]);
        assert_eq!(corners("[[1,2,3,4;5, 6, 7, 8]]"), [[1, 2, 3, 4], [5, 6, 7, 8]]);
        assert_eq!(corners("[ [9, 8, 1, 2 ] ] and [1,2,3,4]"), [[1, 2, 9, 8], [1, 2, 3, 4]]);
        assert_eq!(corners("tap [[500,300]]"), [[500, 300, 500, 300]]);
        assert_eq!(corners("see [1] and [[1,2,3]], then [[1,2,3,4]]"), [[1, 2, 3, 4]]);
    }

    #[test]
    fn errors_carry_the_text() {
        for text in ["", "no box", "[[1,2,3]]", "[[a,b,c,d]]", "[[1,2,3,4"] {
            assert_eq!(parse_boxes(text), Err(GroundingError::NoBox { text: text.to_owned() }));
        }
        let error = parse_boxes("[[1,2,3,1001]]").unwrap_err();
        assert!(matches!(&error, GroundingError::OutOfRange { value, .. } if value == "1001"));
        assert_eq!(error.text(), "[[1,2,3,1001]]");
    }

    proptest! {
        #[test]
        fn printed_boxes_come_back(c in prop::collection::vec(prop::array::uniform4(0u16..=1000), 1..5)) {
            let boxes: Vec<_> = c.iter().map(|c| Normalised1000::new(c[0], c[1], c[2], c[3]).unwrap()).collect();
            let inner: Vec<_> = boxes
                .iter()
                .map(|it| it.corners().map(|c| format!("{c:03}")).join(","))
                .collect();
            prop_assert_eq!(parse_boxes(&format!("[[{}]]", inner.join(";"))), Ok(boxes));
        }

        #[test]
        fn any_text_is_handled(text in "(\\[|\\]|;|,|[0-9]{1,4}|\\PC){0,40}") {
            let _ = parse_boxes(&text);
        }
    }
}
