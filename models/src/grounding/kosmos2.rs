//! Kosmos-2's boxes: two cells of a grid of 32 x 32 over the picture, each a token of its own.
//!
//! `<phrase>a snowman</phrase><object><patch_index_0044><patch_index_0863></object>`: the cells of the upper left and the
//! lower right corner, numbered row by row, several boxes with `</delimiter_of_multi_objects/>` between them. Source:
//! `processing_kosmos2.py` of transformers 4.57.1.

use super::{GroundingError, Labelled, PixelBox, cursor::Cursor};
use crate::image::Size;

/// Cells of a side.
const CELLS: u16 = 32;

/// A box by the cells of two opposite corners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CellBox {
    first: u16,
    last: u16,
}

impl CellBox {
    /// From the numbers of two cells; `None` if one is beyond the grid.
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (first.max(last) < CELLS * CELLS).then_some(Self { first, last })
    }

    /// The cells that hold a box's corners: what training data was written with.
    pub fn nearest(pixels: PixelBox, original: Size) -> Self {
        let cells = f64::from(CELLS);
        let cell = |at: f32, side: u32| f64::from(at) / f64::from(side.max(1)) * cells;
        let inside = |cell: f64| cell.clamp(0.0, cells - 1.0) as u16;
        let first = |at, side| inside(cell(at, side).floor());
        let last = |at, side| inside((cell(at, side) - 1.0).ceil());
        let Size { width, height } = original;
        Self {
            first: first(pixels.top(), height) * CELLS + first(pixels.left(), width),
            last: last(pixels.bottom(), height) * CELLS + last(pixels.right(), width),
        }
    }

    /// The cells of the upper left and the lower right corner.
    pub fn cells(&self) -> [u16; 2] {
        [self.first, self.last]
    }

    /// On a screenshot of `original` pixels: from edge to edge of the cells if they share a row or a column, else from
    /// centre to centre, as published.
    pub fn to_pixels(&self, original: Size) -> PixelBox {
        let [(x0, y0), (x1, y1)] = [self.first, self.last].map(|cell| (cell % CELLS, cell / CELLS));
        let (before, behind) = if x0 == x1 || y0 == y1 { (0.0, 1.0) } else { (0.5, 0.5) };
        let x = |cell: u16, add: f32| (f32::from(cell) + add) * original.width as f32 / f32::from(CELLS);
        let y = |cell: u16, add: f32| (f32::from(cell) + add) * original.height as f32 / f32::from(CELLS);
        PixelBox::new(x(x0, before), y(y0, before), x(x1, behind), y(y1, behind))
    }

    /// As the model writes it: two tokens.
    pub fn tokens(&self) -> String {
        self.cells().map(|cell| format!("<patch_index_{cell:04}>")).concat()
    }
}

/// All boxes in an answer, in order, each with the phrase that it belongs to.
///
/// # Errors
/// [`GroundingError::NoBox`], [`GroundingError::Cell`].
pub fn parse_kosmos2_boxes(text: &str) -> Result<Vec<Labelled<CellBox>>, GroundingError> {
    const OBJECT: &str = "<object>";
    let mut boxes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(OBJECT) {
        let label = phrase(&rest[..at]);
        let mut cursor = Cursor::new(text);
        cursor.skip(text.len() - rest.len() + at + OBJECT.len());
        let mut object = Vec::new();
        let closed = loop {
            let (Some(first), Some(last)) = (cell(&mut cursor)?, cell(&mut cursor)?) else { break false };
            object.extend(CellBox::new(first, last));
            if !cursor.eat("</delimiter_of_multi_objects/>") {
                break cursor.eat("</object>");
            }
        };
        // What is not closed, or not made of cells, is no object.
        if closed {
            boxes.extend(object.into_iter().map(|region| Labelled { region, label: label.clone() }));
        }
        rest = &rest[at + OBJECT.len()..];
    }
    if boxes.is_empty() {
        return Err(GroundingError::NoBox { text: text.to_owned() });
    }
    Ok(boxes)
}

/// The phrase that ends right here.
fn phrase(before: &str) -> Option<String> {
    let inner = before.trim_end().strip_suffix("</phrase>")?;
    let (_, phrase) = inner.rsplit_once("<phrase>")?;
    (!phrase.is_empty() && !phrase.contains('<')).then(|| phrase.trim().to_owned())
}

/// A cell's number, if one comes next.
fn cell(cursor: &mut Cursor<'_>) -> Result<Option<u16>, GroundingError> {
    let mut ahead = *cursor;
    if !ahead.eat("<patch_index_") {
        return Ok(None);
    }
    let digits = ahead.word();
    if digits.is_empty() || !digits.bytes().all(|it| it.is_ascii_digit()) || !ahead.eat(">") {
        return Ok(None);
    }
    match digits.parse().ok().filter(|&cell: &u16| cell < CELLS * CELLS) {
        Some(cell) => {
            *cursor = ahead;
            Ok(Some(cell))
        }
        None => Err(GroundingError::Cell { value: digits.to_owned(), text: cursor.text().to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SQUARE: Size = Size::new(3200, 3200);

    fn cells(text: &str) -> Vec<([u16; 2], Option<String>)> {
        let boxes = parse_kosmos2_boxes(text).unwrap();
        boxes.into_iter().map(|it| (it.region.cells(), it.label)).collect()
    }

    /// The example of the published processor, with the coordinates that it gives.
    #[test]
    fn reads_the_published_example() {
        let text = "<grounding> An image of<phrase> a snowman</phrase><object><patch_index_0044><patch_index_0863></object> \
            warming himself by<phrase> a fire</phrase><object><patch_index_0005><patch_index_0911></object>.";
        let label = |words: &str| Some(words.to_owned());
        assert_eq!(cells(text), [([44, 863], label("a snowman")), ([5, 911], label("a fire"))]);
        let at = |first, last| {
            let it = CellBox::new(first, last).unwrap().to_pixels(Size::new(1, 1));
            [it.left(), it.top(), it.right(), it.bottom()]
        };
        assert_eq!(at(44, 863), [0.390_625, 0.046_875, 0.984_375, 0.828_125]);
        assert_eq!(at(5, 911), [0.171_875, 0.015_625, 0.484_375, 0.890_625]);
        // One cell, one row: to the edges.
        assert_eq!(at(0, 0), [0.0, 0.0, 0.031_25, 0.031_25]);
        assert_eq!(at(0, 31), [0.0, 0.0, 1.0, 0.031_25]);
    }

    #[test]
    fn reads_several_boxes_and_boxes_without_a_phrase() {
        let two = "<phrase>two</phrase> <object> <patch_index_0001> <patch_index_0002> </delimiter_of_multi_objects/> \
            <patch_index_0003><patch_index_0004></object>";
        let label = || Some("two".to_owned());
        assert_eq!(cells(two), [([1, 2], label()), ([3, 4], label())]);
        assert_eq!(cells("<object><patch_index_0007><patch_index_0009></object>"), [([7, 9], None)]);
        let broken = "<object><patch_index_0007></object><object><patch_index_0001><patch_index_0002></object>";
        assert_eq!(cells(broken), [([1, 2], None)]);
    }

    #[test]
    fn errors_carry_the_text() {
        for text in
            ["", "no box", "<object></object>", "<object><patch_index_0007><patch_index_0009>", "<object><patch_"]
        {
            assert_eq!(parse_kosmos2_boxes(text), Err(GroundingError::NoBox { text: text.to_owned() }));
        }
        let error = parse_kosmos2_boxes("<object><patch_index_0007><patch_index_1024></object>").unwrap_err();
        assert!(matches!(&error, GroundingError::Cell { value, .. } if value == "1024"), "{error}");
    }

    proptest! {
        /// What a box is written as is read again, and is the box of the cells it covers.
        #[test]
        fn written_boxes_come_back(corners in prop::array::uniform4(0u16..CELLS)) {
            let [a, b, c, d] = corners;
            let written = CellBox::new(b.min(d) * CELLS + a.min(c), b.max(d) * CELLS + a.max(c)).unwrap();
            let text = format!("<object>{}</object>", written.tokens());
            prop_assert_eq!(parse_kosmos2_boxes(&text).unwrap()[0].region, written);
            prop_assert_eq!(CellBox::nearest(written.to_pixels(SQUARE), SQUARE), written);
        }

        #[test]
        fn any_text_is_handled(text in "(<object>|</object>|<phrase>|</phrase>|<patch_index_|[0-9]{1,6}|>|</delimiter_of_multi_objects/>|\\PC){0,40}") {
            let _ = parse_kosmos2_boxes(&text);
        }
    }
}
