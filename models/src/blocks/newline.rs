//! How LLaVA-NeXT lays out a picture's rows: those of the whole, then those of the tiles as one grid without its black
//! bands, a learned row behind each line.
//!
//! Source: `pack_image_features` and `unpad_image` of `modeling_llava_next.py`, transformers 4.57.1.

use std::ops::Range;

use crate::image::{PatchGrid, Tiling};

/// The order of rows, `tile` being the tokens of each view, the whole first: an index into all views' rows, or `None` for
/// the learned row.
pub(super) fn lines(tile: PatchGrid, tiling: &Tiling) -> Vec<Option<usize>> {
    let each = tile.patches();
    let (width, height) = (tile.width as usize, tile.height as usize);
    let (rows, columns) = shown(tile, tiling);
    let mut order: Vec<Option<usize>> = (0..each).map(Some).collect();
    for row in rows {
        order.extend(columns.clone().map(|column| {
            let view = 1 + row / height * tiling.columns as usize + column / width;
            Some(view * each + row % height * width + column % width)
        }));
        order.push(None);
    }
    order
}

/// Lines and columns of the tiles' grid that show the picture and no bands.
fn shown(tile: PatchGrid, tiling: &Tiling) -> (Range<usize>, Range<usize>) {
    let (width, height) = (tile.width * tiling.columns, tile.height * tiling.rows);
    let (own_width, own_height) = (f64::from(tiling.original.width), f64::from(tiling.original.height));
    // Rounded to seven places before it is cut off, as the reference does.
    let scaled = |own: f64, scale: f64| ((own * scale * 1e7).round_ties_even() / 1e7) as u32;
    let all = |side: u32| 0..side as usize;
    let inner = |side: u32, own: u32| {
        let band = side.saturating_sub(own) / 2;
        band as usize..(side - band) as usize
    };
    if own_width / own_height > f64::from(width) / f64::from(height) {
        (inner(height, scaled(own_height, f64::from(width) / own_width)), all(width))
    } else {
        (all(height), inner(width, scaled(own_width, f64::from(height) / own_height)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Size;

    #[test]
    fn bands_are_left_out() {
        let tile = PatchGrid { time: 1, height: 2, width: 2 };
        let wide = Tiling { columns: 2, rows: 2, overview: Some(0), original: Size::new(40, 20) };
        let expected = [0, 1, 2, 3].map(Some).into_iter().chain([6, 7, 10, 11].map(Some)).chain([None]);
        let second = [12, 13, 16, 17].map(Some).into_iter().chain([None]);
        assert_eq!(lines(tile, &wide), expected.chain(second).collect::<Vec<_>>());
        let tall = Tiling { original: Size::new(10, 40), ..wide };
        assert_eq!(shown(tile, &tall), (0..4, 1..3));
        // One pixel wide: nothing is left of it but what rounding keeps.
        assert_eq!(shown(tile, &Tiling { original: Size::new(1, 4000), ..wide }), (0..4, 2..2));
    }
}
