//! Preparation of any system's pictures: what its towers are shown.

use fovea_engine::op::Patchify;

use super::{ImageError, Normalisation, PatchGrid, Picture, QwenImageConfig, Size, Squash, Tiling, ViewsConfig};

/// How a system prepares its pictures.
#[derive(Clone, Debug, PartialEq)]
pub enum ImageConfig {
    /// Qwen's: native resolution in multiples of a merged patch.
    Qwen(QwenImageConfig),
    /// The Cog family's: the whole picture pressed into a square, into several for systems with several towers.
    Squares(Vec<Square>),
    /// Views by a rule: the whole picture, or tiles of it.
    Views(ViewsConfig),
}

/// A square that the whole picture is pressed into.
#[derive(Clone, Debug, PartialEq)]
pub struct Square {
    /// Its side, and normalisation.
    pub squash: Squash,
    /// Side of a patch, in pixels.
    pub patch: u32,
}

/// A resized picture and how it is cut into patches.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// What is shown.
    pub picture: Picture,
    /// How it is cut.
    pub cut: Patchify,
    /// Whether the reference's `pixel_values` are `[3, height, width]`, not patches.
    planar: bool,
}

/// A picture made ready for a system's towers.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedImage {
    /// What is shown, in the order of the towers; at least one.
    pub views: Vec<View>,
    /// How they make up the picture.
    pub tiling: Tiling,
    /// Size of the picture that boxes in pixels are counted in.
    pub resized: Size,
}

impl View {
    /// Its patches.
    pub fn grid(&self) -> PatchGrid {
        grid(self.picture.size(), self.cut.patch as u32)
    }

    /// Numbers of a patch.
    pub fn patch_width(&self) -> usize {
        3 * self.cut.temporal * self.cut.patch * self.cut.patch
    }

    /// Numbers of all patches.
    pub fn values(&self) -> usize {
        self.grid().patches() * self.patch_width()
    }

    /// The reference's `pixel_values` of this view as patches, `[patches, patch_width]`.
    pub fn patches_of(&self, values: &[f32]) -> Vec<f32> {
        match self.planar {
            true => self.places().map(|place| values.get(place).copied().unwrap_or_default()).collect(),
            false => values.to_vec(),
        }
    }

    /// Patches in the order of the reference's `pixel_values`.
    pub fn reference_of(&self, patches: Vec<f32>) -> Vec<f32> {
        if !self.planar {
            return patches;
        }
        let mut values = vec![0.0; patches.len()];
        for (place, value) in self.places().zip(patches) {
            if let Some(into) = values.get_mut(place) {
                *into = value;
            }
        }
        values
    }

    /// Where each number of the patches, in raster order, by channel, row, column, stands in `[3, height, width]`.
    fn places(&self) -> impl Iterator<Item = usize> {
        let (grid, patch, temporal) = (self.grid(), self.cut.patch, self.cut.temporal);
        let (width, height) = (grid.width as usize * patch, grid.height as usize * patch);
        (0..self.values()).map(move |i| {
            let (column, row) = (i % patch, i / patch % patch);
            let channel = i / (patch * patch * temporal) % 3;
            let token = i / (3 * patch * patch * temporal);
            let (y, x) = (token / grid.width as usize * patch + row, token % grid.width as usize * patch + column);
            (channel * height + y) * width + x
        })
    }
}

impl ImageConfig {
    /// The size that a picture of `size` is given, the first if there are several.
    ///
    /// # Errors
    /// [`ImageError`] if no size fits it.
    pub fn resized_size(&self, size: Size) -> Result<Size, ImageError> {
        match self {
            Self::Qwen(config) => config.resized_size(size),
            Self::Squares(squares) => {
                let side = squares.first().map_or(0, |square| square.squash.side());
                Ok(Size::new(side, side))
            }
            Self::Views(config) => Ok(config.plan(size)?.resized),
        }
    }

    /// The patches of each view of a picture of `size`, without touching pixels.
    ///
    /// # Errors
    /// [`ImageError`] if no size fits it.
    pub fn grids(&self, size: Size) -> Result<Vec<PatchGrid>, ImageError> {
        match self {
            Self::Qwen(config) => Ok(vec![config.grid(size)?]),
            Self::Squares(squares) => Ok(squares.iter().map(Square::grid).collect()),
            Self::Views(config) => Ok(config.plan(size)?.views.into_iter().map(|it| grid(it, config.patch)).collect()),
        }
    }

    /// How the views of a picture of `size` make it up.
    ///
    /// # Errors
    /// [`ImageError`] if no size fits it.
    pub fn tiling(&self, size: Size) -> Result<Tiling, ImageError> {
        match self {
            Self::Qwen(_) | Self::Squares(_) => Ok(Tiling::one(size)),
            Self::Views(config) => Ok(config.plan(size)?.tiling),
        }
    }

    /// How the parts of a second look are prepared, and their size in pixels of the picture; `None` if there is none.
    pub fn closer(&self) -> Option<(Self, Size)> {
        let Self::Qwen(config) = self else { return None };
        let (config, size) = config.closer()?;
        Some((Self::Qwen(config), size))
    }

    /// Resizes a picture for every tower.
    ///
    /// # Errors
    /// [`ImageError`] if no size fits it.
    pub fn prepare(&self, picture: &Picture) -> Result<PreparedImage, ImageError> {
        let resized = self.resized_size(picture.size())?;
        let views = match self {
            Self::Qwen(config) => {
                vec![View { picture: config.resize(picture)?, cut: config.cut(resized), planar: false }]
            }
            Self::Squares(squares) => {
                let view = |square: &Square| {
                    Ok(View { picture: square.squash.prepare(picture)?, cut: square.cut(), planar: true })
                };
                squares.iter().map(view).collect::<Result<_, ImageError>>()?
            }
            Self::Views(config) => {
                let view = |picture: Picture| View { cut: cut(picture.size(), config), picture, planar: true };
                config.prepare(picture)?.into_iter().map(view).collect()
            }
        };
        Ok(PreparedImage { views, tiling: self.tiling(picture.size())?, resized })
    }
}

fn grid(size: Size, patch: u32) -> PatchGrid {
    let patch = patch.max(1);
    PatchGrid { time: 1, height: size.height / patch, width: size.width / patch }
}

/// How a view of `size` is cut.
fn cut(size: Size, config: &ViewsConfig) -> Patchify {
    let (width, height, patch) = (size.width as usize, size.height as usize, config.patch as usize);
    let Normalisation { scale, mean, std } = config.normalisation;
    Patchify { width, height, patch, temporal: 1, merge: 1, scale, mean, std }
}

impl Square {
    fn grid(&self) -> PatchGrid {
        grid(Size::new(self.squash.side(), self.squash.side()), self.patch)
    }

    fn cut(&self) -> Patchify {
        let side = self.squash.side() as usize;
        let Normalisation { scale, mean, std } = self.squash.normalisation();
        Patchify { width: side, height: side, patch: self.patch as usize, temporal: 1, merge: 1, scale, mean, std }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_become_patches_and_back() {
        let square = Square { squash: Squash::to(4), patch: 2 };
        let picture = Picture::from_rgb(Size::new(4, 4), vec![0; 48]).unwrap();
        let prepared = ImageConfig::Squares(vec![square]).prepare(&picture).unwrap();
        let view = &prepared.views[0];
        let planes: Vec<f32> = (0..48u8).map(f32::from).collect();
        let patches = view.patches_of(&planes);
        assert_eq!(patches[..12], [0.0, 1.0, 4.0, 5.0, 16.0, 17.0, 20.0, 21.0, 32.0, 33.0, 36.0, 37.0]);
        assert_eq!(patches[12..14], [2.0, 3.0]);
        assert_eq!(view.reference_of(patches), planes);
        assert_eq!((view.grid().patches(), view.patch_width(), view.values()), (4, 12, 48));
    }
}
