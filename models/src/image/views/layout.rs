//! From a picture's size to its layout, by each rule. The arithmetic is the references', in f64 where theirs is.

use super::{ImageError, Layout, Overview, Picture, Size, ViewRule, ViewsConfig};

/// Idefics3 enlarges no picture beyond this side.
const LONGEST_SPLIT: u32 = 4096;

impl ViewsConfig {
    pub(super) fn layout(&self, size: Size) -> Result<Layout, ImageError> {
        let Size { width, height } = size;
        let limit = Picture::PIXEL_LIMIT;
        if size.pixels() == 0 {
            return Err(ImageError::Empty { width, height });
        }
        let layout = match &self.rule {
            &ViewRule::Middle { pad, shortest, crop } => {
                let side = width.max(height);
                let resized = shortest_side(if pad.is_some() { Size::new(side, side) } else { size }, shortest)?;
                let offset = (middle(resized.width, crop.width), middle(resized.height, crop.height));
                Layout { resizes: vec![resized], canvas: crop, offset, tile: crop, overview: None }
            }
            &ViewRule::Whole(size) => Layout::whole(size),
            &ViewRule::Native { longest } => Layout::whole(native(size, longest, self.patch)),
            ViewRule::Anyres { canvases, tile } => {
                let canvas = best_canvas(size, canvases);
                let resized = within(size, canvas);
                let band = |canvas: u32, own: u32| i64::from(canvas.saturating_sub(own) / 2);
                let tile = Size::new(*tile, *tile);
                Layout {
                    resizes: vec![resized],
                    canvas,
                    offset: (band(canvas.width, resized.width), band(canvas.height, resized.height)),
                    tile,
                    overview: Some(Overview { first: true, of_original: true, size: tile }),
                }
            }
            &ViewRule::Grid { tile, least, most } => {
                let (columns, rows) = nearest_grid(size, tile, least, most);
                let overview = Overview { first: false, of_original: true, size: tile };
                let canvas = Size::new(tile.width * columns, tile.height * rows);
                Layout { tile, overview: (columns * rows > 1).then_some(overview), ..Layout::whole(canvas) }
            }
            &ViewRule::Split { longest, tile: side } => {
                let enlarged = longest_side(size, longest);
                let canvas = whole_tiles(enlarged, side);
                let tile = Size::new(side, side);
                let overview = Overview { first: false, of_original: false, size: tile };
                let split = canvas != tile;
                let resizes = vec![enlarged, canvas];
                Layout { resizes, tile, overview: split.then_some(overview), ..Layout::whole(canvas) }
            }
            &ViewRule::Canvas { tile, most } => {
                let canvas = scaling_canvas(size, tile, most);
                let resizes = vec![fitted(size, canvas, tile)];
                Layout { resizes, tile: Size::new(tile, tile), ..Layout::whole(canvas) }
            }
        };
        if layout.resizes.iter().chain([&layout.canvas]).any(|size| size.pixels() > limit) {
            return Err(ImageError::TooLarge { width, height, limit });
        }
        Ok(layout)
    }
}

/// The size whose shorter side is `shortest`, at the same aspect ratio, the longer one rounded down.
fn shortest_side(size: Size, shortest: u32) -> Result<Size, ImageError> {
    let Size { width, height } = size;
    let (short, long) = (width.min(height).max(1), width.max(height));
    let long = u64::from(shortest) * u64::from(long) / u64::from(short);
    let limit = Picture::PIXEL_LIMIT;
    let long = u32::try_from(long).map_err(|_| ImageError::TooLarge { width, height, limit })?;
    Ok(if width <= height { Size::new(shortest, long) } else { Size::new(long, shortest) })
}

/// Where a side begins of which the middle is shown. What is left over of an odd difference is cut off behind, and a
/// black band's before. Source: `center_crop` of `image_transforms.py`.
fn middle(own: u32, crop: u32) -> i64 {
    let difference = i64::from(own) - i64::from(crop);
    if difference >= 0 { -(difference / 2) } else { (1 - difference) / 2 }
}

/// The size in whole patches, none of its sides longer than `longest` before they are made whole.
fn native(size: Size, longest: u32, patch: u32) -> Size {
    let sides = [f64::from(size.width), f64::from(size.height)];
    let ratio = (sides[1] / f64::from(longest)).max(sides[0] / f64::from(longest));
    let [width, height] = sides.map(|side| {
        // A side that vanishes takes one patch all the same.
        let side = if ratio > 1.0 { (side / ratio).floor() } else { side };
        (side as u32).max(1).div_ceil(patch) * patch
    });
    Size::new(width, height)
}

/// The canvas on which most of the picture's pixels survive, of those the one that wastes least.
fn best_canvas(size: Size, canvases: &[Size]) -> Size {
    let (width, height) = (f64::from(size.width), f64::from(size.height));
    let mut best = canvases.first().copied().unwrap_or(size);
    let (mut most, mut least_waste) = (0, u64::MAX);
    for &canvas in canvases {
        let scale = (f64::from(canvas.width) / width).min(f64::from(canvas.height) / height);
        let kept = ((width * scale) as u64 * (height * scale) as u64).min(size.pixels());
        let waste = canvas.pixels().saturating_sub(kept);
        if kept > most || (kept == most && waste < least_waste) {
            (best, most, least_waste) = (canvas, kept, waste);
        }
    }
    best
}

/// The largest size of the same aspect ratio within a canvas, rounded up.
fn within(size: Size, canvas: Size) -> Size {
    let scale_width = f64::from(canvas.width) / f64::from(size.width);
    let scale_height = f64::from(canvas.height) / f64::from(size.height);
    if scale_width < scale_height {
        let height = (f64::from(size.height) * scale_width).ceil() as u32;
        Size::new(canvas.width, height.min(canvas.height))
    } else {
        let width = (f64::from(size.width) * scale_height).ceil() as u32;
        Size::new(width.min(canvas.width), canvas.height)
    }
}

/// Columns and rows of the grid whose aspect ratio is nearest; of equal ones the larger, while the picture has more than
/// half its pixels.
fn nearest_grid(size: Size, tile: Size, least: u32, most: u32) -> (u32, u32) {
    let mut grids: Vec<(u32, u32)> = (1..=most)
        .flat_map(|columns| (1..=most / columns).map(move |rows| (columns, rows)))
        .filter(|(columns, rows)| columns * rows >= least)
        .collect();
    grids.sort_by_key(|(columns, rows)| columns * rows);
    let ratio = f64::from(size.width) / f64::from(size.height);
    let (mut best, mut nearest) = ((1, 1), f64::INFINITY);
    for (columns, rows) in grids {
        let distance = (ratio - f64::from(columns) / f64::from(rows)).abs();
        let half = 0.5 * tile.pixels() as f64 * f64::from(columns * rows);
        if distance < nearest || (distance == nearest && size.pixels() as f64 > half) {
            (best, nearest) = ((columns, rows), distance);
        }
    }
    best
}

/// The size whose longer side is `longest`; the other is rounded down, then up to an even number.
fn longest_side(size: Size, longest: u32) -> Size {
    let ratio = f64::from(size.width) / f64::from(size.height);
    let even = |side: f64| (side as u32).next_multiple_of(2).max(1);
    let longest_first = f64::from(longest);
    let enlarged = match size.width >= size.height {
        true => Size::new(longest, even(longest_first / ratio)),
        false => Size::new(even(longest_first * ratio), longest),
    };
    if longest <= LONGEST_SPLIT {
        return enlarged;
    }
    let ratio = f64::from(enlarged.width) / f64::from(enlarged.height);
    let most = f64::from(LONGEST_SPLIT);
    match enlarged.width >= enlarged.height {
        true => Size::new(LONGEST_SPLIT, ((most / ratio) as u32).max(1)),
        false => Size::new(((most * ratio) as u32).max(1), LONGEST_SPLIT),
    }
}

/// The size in whole tiles: the longer side rounded up, the shorter one by the ratio of before, then up.
fn whole_tiles(size: Size, tile: u32) -> Size {
    let ratio = f64::from(size.width) / f64::from(size.height);
    let up = |side: u32| side.max(1).div_ceil(tile) * tile;
    if size.width >= size.height {
        let width = up(size.width);
        Size::new(width, up((f64::from(width) / ratio) as u32))
    } else {
        let height = up(size.height);
        Size::new(up((f64::from(height) * ratio) as u32), height)
    }
}

/// The canvas that enlarges the picture least, or shrinks it least if none enlarges it; of equal ones the smallest.
fn scaling_canvas(size: Size, tile: u32, most: u32) -> Size {
    let canvases = (1..=most).flat_map(|rows| (1..=most / rows).map(move |columns| (rows, columns)));
    let scaled: Vec<(f64, Size)> = canvases
        .map(|(rows, columns)| {
            let canvas = Size::new(columns * tile, rows * tile);
            let by_height = f64::from(canvas.height) / f64::from(size.height);
            let by_width = f64::from(canvas.width) / f64::from(size.width);
            (by_height.min(by_width), canvas)
        })
        .collect();
    let scales = || scaled.iter().map(|&(scale, _)| scale);
    let enlarging = scales().filter(|&scale| scale >= 1.0).reduce(f64::min);
    let chosen = enlarging.or_else(|| scales().reduce(f64::max)).unwrap_or(1.0);
    let equal = scaled.iter().filter(|&&(scale, _)| scale == chosen).map(|&(_, canvas)| canvas);
    equal.min_by_key(|canvas| canvas.pixels()).unwrap_or(Size::new(tile, tile))
}

/// The picture's size on a canvas: no side shorter than a tile if the other allows it, none beyond the canvas.
fn fitted(size: Size, canvas: Size, tile: u32) -> Size {
    let target = |own: u32, canvas: u32| own.max(tile).min(canvas);
    let (width, height) = (target(size.width, canvas.width), target(size.height, canvas.height));
    let by_height = f64::from(height) / f64::from(size.height);
    let by_width = f64::from(width) / f64::from(size.width);
    let down = |side: f64| (side.floor() as u32).max(1);
    if by_width < by_height {
        Size::new(width, down(f64::from(size.height) * by_width).min(height))
    } else {
        Size::new(down(f64::from(size.width) * by_height).min(width), height)
    }
}
