//! Preparation of systems that look at views of a picture: the whole of it or tiles, each of a size that the system's
//! rule gives, all resampled and normalised alike.
//!
//! A rule tells a [`Layout`] from the picture's size alone: how often it is resampled, where it is put on a canvas, into
//! which tiles the canvas is cut, and whether one more view shows the whole.

mod layout;
mod read;

use super::{Filter, ImageError, Normalisation, Picture, Size};

/// How a picture becomes views.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewsConfig {
    /// Which views.
    pub rule: ViewRule,
    /// How pictures are resampled.
    pub filter: Filter,
    /// Mean and standard deviation.
    pub normalisation: Normalisation,
    /// Side of a patch, in pixels.
    pub patch: u32,
}

/// Which views of a picture a system looks at.
#[derive(Clone, Debug, PartialEq)]
pub enum ViewRule {
    /// The middle of the picture, or all of it (LLaVA). Source: `CLIPImageProcessor`, `LlavaImageProcessor`.
    Middle {
        /// The colour of bands that make the picture a square first, if any do.
        pad: Option<[u8; 3]>,
        /// Length that its shorter side is given.
        shortest: u32,
        /// What is cut out of its middle, with black bands where it does not reach.
        crop: Size,
    },
    /// All of it, pressed into this size (PaliGemma). Source: `SiglipImageProcessor`.
    Whole(Size),
    /// All of it, at its own size in whole patches (Pixtral). Source: `PixtralImageProcessor`.
    Native {
        /// The longest that a side may be.
        longest: u32,
    },
    /// The whole, then tiles of it on the canvas that fits it best, in the middle of black bands (LLaVA-NeXT's
    /// *anyres*). Source: `LlavaNextImageProcessor`.
    Anyres {
        /// The canvases: their sides are multiples of the tile's.
        canvases: Vec<Size>,
        /// Side of a tile.
        tile: u32,
    },
    /// Tiles of it, stretched over the grid whose aspect ratio is nearest, then the whole (InternVL). Source:
    /// `GotOcr2ImageProcessor`.
    Grid {
        /// A tile.
        tile: Size,
        /// Fewest tiles.
        least: u32,
        /// Most tiles.
        most: u32,
    },
    /// Tiles of it, enlarged until its longer side is `longest` and both are whole tiles, then the whole (Idefics3).
    /// Source: `Idefics3ImageProcessor`.
    Split {
        /// Length that its longer side is given.
        longest: u32,
        /// Side of a tile.
        tile: u32,
    },
    /// Tiles of the canvas that scales it best, in whose upper left corner it stands (Llama 3.2 Vision). Source:
    /// `MllamaImageProcessor`.
    Canvas {
        /// Side of a tile.
        tile: u32,
        /// Most tiles.
        most: u32,
    },
}

/// How views make up a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Tiles beside each other.
    pub columns: u32,
    /// Tiles below each other.
    pub rows: u32,
    /// The view that shows the whole picture besides the tiles.
    pub overview: Option<usize>,
    /// Size of the picture that was handed over.
    pub original: Size,
}

impl Tiling {
    /// One view of all there is.
    pub fn one(original: Size) -> Self {
        Self { columns: 1, rows: 1, overview: None, original }
    }

    /// Number of tiles.
    pub fn tiles(&self) -> usize {
        self.columns as usize * self.rows as usize
    }

    /// The view that shows the whole picture.
    pub fn whole(&self) -> usize {
        self.overview.unwrap_or(0)
    }
}

/// The views of a picture of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewPlan {
    /// The size of each.
    pub views: Vec<Size>,
    /// How they make up the picture.
    pub tiling: Tiling,
    /// Size of the picture that boxes in pixels are counted in.
    pub resized: Size,
}

/// The view that shows the whole picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Overview {
    /// Whether it stands before the tiles, not behind.
    first: bool,
    /// Whether it is made of the picture as it came, not as it is cut.
    of_original: bool,
    size: Size,
}

/// What happens to a picture of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Layout {
    /// Sizes that it is given one after the other.
    resizes: Vec<Size>,
    /// Of what it is put on, and where its upper left corner is.
    canvas: Size,
    offset: (i64, i64),
    tile: Size,
    overview: Option<Overview>,
}

impl Layout {
    /// One view, resampled.
    fn whole(size: Size) -> Self {
        Self { resizes: vec![size], canvas: size, offset: (0, 0), tile: size, overview: None }
    }

    fn columns(&self) -> u32 {
        self.canvas.width / self.tile.width.max(1)
    }

    fn rows(&self) -> u32 {
        self.canvas.height / self.tile.height.max(1)
    }
}

impl ViewsConfig {
    /// The most patches of a view, across and down: those that every view has, but for [`ViewRule::Native`].
    pub fn most_patches(&self) -> [u32; 2] {
        let side = |pixels: u32| pixels / self.patch.max(1);
        match self.rule {
            ViewRule::Middle { crop: size, .. } | ViewRule::Whole(size) | ViewRule::Grid { tile: size, .. } => {
                [side(size.width), side(size.height)]
            }
            ViewRule::Anyres { tile, .. } | ViewRule::Canvas { tile, .. } | ViewRule::Split { tile, .. } => {
                [side(tile); 2]
            }
            ViewRule::Native { longest } => [longest.div_ceil(self.patch.max(1)); 2],
        }
    }

    /// The views of a picture of `size`, without touching pixels.
    ///
    /// # Errors
    /// [`ImageError::Empty`], and [`ImageError::TooLarge`] if the picture is so long that its resized copy would be.
    pub fn plan(&self, size: Size) -> Result<ViewPlan, ImageError> {
        let layout = self.layout(size)?;
        let (columns, rows) = (layout.columns(), layout.rows());
        let tiles = columns as usize * rows as usize;
        let mut views = vec![layout.tile; tiles];
        let overview = layout.overview.map(|overview| if overview.first { 0 } else { tiles });
        if let (Some(at), Some(overview)) = (overview, layout.overview) {
            views.insert(at, overview.size);
        }
        let tiling = Tiling { columns, rows, overview, original: size };
        Ok(ViewPlan { views, tiling, resized: layout.canvas })
    }

    /// The views themselves.
    ///
    /// # Errors
    /// As [`ViewsConfig::plan`].
    pub fn prepare(&self, picture: &Picture) -> Result<Vec<Picture>, ImageError> {
        let layout = self.layout(picture.size())?;
        let original = match self.rule {
            ViewRule::Middle { pad: Some(colour), .. } => squared(picture, colour)?,
            _ => picture.clone(),
        };
        let mut resized = original.clone();
        for &size in &layout.resizes {
            resized = resized.resized_by(size, self.filter)?;
        }
        let mut views = Vec::new();
        for row in 0..i64::from(layout.rows()) {
            for column in 0..i64::from(layout.columns()) {
                let left = layout.offset.0 - column * i64::from(layout.tile.width);
                let top = layout.offset.1 - row * i64::from(layout.tile.height);
                views.push(resized.placed(layout.tile, left, top, [0; 3])?);
            }
        }
        if let Some(overview) = layout.overview {
            let of = if overview.of_original { &original } else { &resized };
            let at = if overview.first { 0 } else { views.len() };
            views.insert(at, of.resized_by(overview.size, self.filter)?);
        }
        Ok(views)
    }
}

/// The picture in the middle of a square, with bands of this colour.
fn squared(picture: &Picture, colour: [u8; 3]) -> Result<Picture, ImageError> {
    let Size { width, height } = picture.size();
    let side = width.max(height);
    let half = |own: u32| i64::from((side - own) / 2);
    picture.placed(Size::new(side, side), half(width), half(height), colour)
}

#[cfg(test)]
mod tests;
