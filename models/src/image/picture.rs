//! RGB pictures from encoded files or from raw pixels.

use super::{
    ImageError, Size,
    resample::{self, Filter},
};

/// Pixels of 8-bit red, green, blue, row by row from the top left corner; at least one.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    size: Size,
    rgb: Vec<u8>,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({}x{})", self.size.width, self.size.height)
    }
}

impl Picture {
    /// Most pixels of a picture that is decoded or resampled: three times a 32-inch 8K screen.
    pub const PIXEL_LIMIT: u64 = 100_000_000;

    /// `rgb`: `[height, width, 3]`.
    ///
    /// # Errors
    /// [`ImageError::Empty`], [`ImageError::Length`].
    pub fn from_rgb(size: Size, rgb: Vec<u8>) -> Result<Self, ImageError> {
        check_length(size, 3, rgb.len())?;
        Ok(Self { size, rgb })
    }

    /// `rgba`: `[height, width, 4]`, colours not multiplied by alpha. Composited on white, as a person sees it on a page:
    /// each channel is `(c * a + 255 * (255 - a)) / 255`, rounded. (`convert("RGB")` of the reference's Pillow drops alpha
    /// instead, which shows what nobody sees: black on transparent becomes black on black.)
    ///
    /// # Errors
    /// [`ImageError::Empty`], [`ImageError::Length`].
    pub fn from_rgba(size: Size, rgba: &[u8]) -> Result<Self, ImageError> {
        check_length(size, 4, rgba.len())?;
        let (pixels, _) = rgba.as_chunks::<4>();
        let rgb =
            pixels.iter().flat_map(|&[r, g, b, alpha]| [r, g, b].map(|channel| on_white(channel, alpha))).collect();
        Ok(Self { size, rgb })
    }

    /// Width and height in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// `[height, width, 3]`.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The pixels without the size, `[height, width, 3]`.
    pub fn into_rgb(self) -> Vec<u8> {
        self.rgb
    }

    /// Resampled to `size` as Pillow's `resize(size, BICUBIC)`, bit by bit.
    ///
    /// # Errors
    /// [`ImageError::Empty`] for a size of zero, [`ImageError::TooLarge`] above [`Picture::PIXEL_LIMIT`].
    pub fn resized(&self, size: Size) -> Result<Self, ImageError> {
        self.resized_by(size, Filter::Bicubic)
    }

    /// Resampled to `size` as Pillow's `resize(size, filter)`, bit by bit.
    ///
    /// # Errors
    /// As [`Picture::resized`].
    pub fn resized_by(&self, size: Size, filter: Filter) -> Result<Self, ImageError> {
        let Size { width, height } = size;
        if size.pixels() == 0 {
            return Err(ImageError::Empty { width, height });
        }
        let limit = Self::PIXEL_LIMIT;
        if size.pixels() > limit {
            return Err(ImageError::TooLarge { width, height, limit });
        }
        let rgb = resample::resize(&self.rgb, self.size, size, filter);
        Ok(Self { size, rgb })
    }

    /// A picture of `size` that shows this one with its upper left corner at `left`, `top`, which may lie outside: what
    /// is beyond its edges is cut off, what it does not cover has the colour `fill`.
    ///
    /// # Errors
    /// As [`Picture::resized`].
    pub fn placed(&self, size: Size, left: i64, top: i64, fill: [u8; 3]) -> Result<Self, ImageError> {
        let Size { width, height } = size;
        if size.pixels() == 0 {
            return Err(ImageError::Empty { width, height });
        }
        let limit = Self::PIXEL_LIMIT;
        if size.pixels() > limit {
            return Err(ImageError::TooLarge { width, height, limit });
        }
        let (pixels, _) = self.rgb.as_chunks::<3>();
        let own = self.size.width as usize;
        let inside = |at: i64, side: u32| usize::try_from(at).ok().filter(|&at| at < side as usize);
        let mut rgb = Vec::with_capacity(3 * size.pixels() as usize);
        for row in 0..i64::from(height) {
            let line = inside(row - top, self.size.height).and_then(|y| pixels.get(y * own..(y + 1) * own));
            for column in 0..i64::from(width) {
                let pixel = line.zip(inside(column - left, self.size.width)).and_then(|(line, x)| line.get(x));
                rgb.extend(pixel.unwrap_or(&fill));
            }
        }
        Ok(Self { size, rgb })
    }
}

fn on_white(channel: u8, alpha: u8) -> u8 {
    let (channel, alpha) = (u32::from(channel), u32::from(alpha));
    ((channel * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

fn check_length(size: Size, channels: u32, actual: usize) -> Result<(), ImageError> {
    let Size { width, height } = size;
    if size.pixels() == 0 {
        return Err(ImageError::Empty { width, height });
    }
    let expected = size.pixels().saturating_mul(u64::from(channels));
    let actual = actual as u64;
    if expected != actual {
        return Err(ImageError::Length { width, height, channels, expected, actual });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transparent_parts_are_white() {
        let rgba = [10, 20, 30, 0, 10, 20, 30, 255, 0, 255, 100, 128, 0, 0, 0, 1];
        let expected = [255, 255, 255, 10, 20, 30, 127, 255, 177, 254, 254, 254];
        assert_eq!(Picture::from_rgba(Size::new(4, 1), &rgba).unwrap().rgb(), expected);
    }

    #[test]
    fn alpha_is_rounded_to_the_nearest() {
        for (channel, alpha) in (0..=255).flat_map(|channel| (0..=255).map(move |alpha| (channel, alpha))) {
            let share = f64::from(alpha) / 255.0;
            let exact = f64::from(channel) * share + 255.0 * (1.0 - share);
            assert!((f64::from(on_white(channel, alpha)) - exact).abs() <= 0.5 + 1e-9, "{channel} {alpha}");
        }
    }

    #[test]
    fn refuses_sizes_and_lengths_that_disagree() {
        let error = Picture::from_rgb(Size::new(2, 2), vec![0; 11]).unwrap_err();
        assert_eq!(error.to_string(), "2x2 pixels of 3 bytes need 12 bytes, not 11");
        assert!(matches!(Picture::from_rgba(Size::new(0, 9), &[]), Err(ImageError::Empty { .. })));
        let huge = Picture::from_rgb(Size::new(u32::MAX, u32::MAX), vec![]);
        assert!(matches!(huge, Err(ImageError::Length { .. })));
        let dot = Picture::from_rgb(Size::new(1, 1), vec![1, 2, 3]).unwrap();
        assert!(matches!(dot.resized(Size::new(0, 1)), Err(ImageError::Empty { .. })));
        assert!(matches!(dot.resized(Size::new(1 << 20, 1 << 20)), Err(ImageError::TooLarge { .. })));
        assert_eq!(dot.resized(Size::new(3, 2)).unwrap().rgb(), [1, 2, 3].repeat(6));
        assert!(matches!(dot.placed(Size::new(0, 1), 0, 0, [0; 3]), Err(ImageError::Empty { .. })));
        assert!(matches!(dot.placed(Size::new(1 << 20, 1 << 20), 0, 0, [0; 3]), Err(ImageError::TooLarge { .. })));
    }

    #[test]
    fn cuts_off_and_fills_up() {
        let picture = Picture::from_rgb(Size::new(2, 1), vec![1, 2, 3, 4, 5, 6]).unwrap();
        let placed = picture.placed(Size::new(2, 2), 1, 1, [9; 3]).unwrap();
        assert_eq!(placed.rgb(), [9, 9, 9, 9, 9, 9, 9, 9, 9, 1, 2, 3]);
        assert_eq!(picture.placed(Size::new(1, 1), -1, 0, [9; 3]).unwrap().rgb(), [4, 5, 6]);
    }
}
