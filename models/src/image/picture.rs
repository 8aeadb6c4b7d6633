//! RGB pictures from encoded files or from raw pixels.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

use super::{ImageError, bicubic};

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

impl Size {
    /// Width first, as screens are described.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Number of pixels.
    pub fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

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
    /// Largest picture that [`Picture::decode`] accepts: three times a 32-inch 8K screen.
    pub const PIXEL_LIMIT: u64 = 100_000_000;

    /// `rgb`: `[height, width, 3]`.
    ///
    /// # Errors
    /// [`ImageError::Empty`], [`ImageError::Length`].
    pub fn from_rgb(size: Size, rgb: Vec<u8>) -> Result<Self, ImageError> {
        check_length(size, 3, rgb.len())?;
        Ok(Self { size, rgb })
    }

    /// `rgba`: `[height, width, 4]`. Alpha is dropped, not blended, as `convert("RGB")` of the reference's Pillow does.
    ///
    /// # Errors
    /// [`ImageError::Empty`], [`ImageError::Length`].
    pub fn from_rgba(size: Size, rgba: &[u8]) -> Result<Self, ImageError> {
        check_length(size, 4, rgba.len())?;
        let (pixels, _) = rgba.as_chunks::<4>();
        let rgb = pixels.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect();
        Ok(Self { size, rgb })
    }

    /// From an encoded file (PNG, JPEG, WebP, BMP, GIF) of at most [`Picture::PIXEL_LIMIT`] pixels.
    ///
    /// # Errors
    /// As [`Picture::decode_within`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ImageError> {
        Self::decode_within(bytes, Self::PIXEL_LIMIT)
    }

    /// From an encoded file of at most `limit` pixels; the size is checked before memory is taken for them.
    ///
    /// Alpha is dropped, 16-bit channels keep their high byte, the EXIF orientation and colour profiles are ignored,
    /// and of an animation the first frame is taken, all as in the reference.
    ///
    /// # Errors
    /// [`ImageError::Decode`] if it is no picture or damaged, [`ImageError::TooLarge`], [`ImageError::Empty`].
    pub fn decode_within(bytes: &[u8], limit: u64) -> Result<Self, ImageError> {
        let decode = |error: image::ImageError| ImageError::Decode(error.to_string());
        let mut reader = ImageReader::new(Cursor::new(bytes))
            .with_guessed_format()
            .map_err(|error| ImageError::Decode(error.to_string()))?;
        // 8 bytes a pixel is the widest of the formats (16-bit RGBA); as much again for a decoder's own buffers.
        let mut limits = Limits::default();
        limits.max_alloc = Some(limit.saturating_mul(16).saturating_add(1 << 20));
        reader.limits(limits);

        let decoder = reader.into_decoder().map_err(decode)?;
        let (width, height) = decoder.dimensions();
        let size = Size { width, height };
        if size.pixels() == 0 {
            return Err(ImageError::Empty { width, height });
        }
        if size.pixels() > limit {
            return Err(ImageError::TooLarge { width, height, limit });
        }
        let rgb = match DynamicImage::from_decoder(decoder).map_err(decode)? {
            DynamicImage::ImageLuma16(it) => high_bytes(it.as_raw(), 1),
            DynamicImage::ImageLumaA16(it) => high_bytes(it.as_raw(), 2),
            DynamicImage::ImageRgb16(it) => high_bytes(it.as_raw(), 3),
            DynamicImage::ImageRgba16(it) => high_bytes(it.as_raw(), 4),
            eight_bit => eight_bit.into_rgb8().into_raw(),
        };
        Self::from_rgb(size, rgb)
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
        let Size { width, height } = size;
        if size.pixels() == 0 {
            return Err(ImageError::Empty { width, height });
        }
        let limit = Self::PIXEL_LIMIT;
        if size.pixels() > limit {
            return Err(ImageError::TooLarge { width, height, limit });
        }
        let rgb = bicubic::resize(&self.rgb, self.size, size);
        Ok(Self { size, rgb })
    }
}

/// RGB of 16-bit pixels of 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA) channels.
fn high_bytes(samples: &[u16], channels: usize) -> Vec<u8> {
    let high = |sample: &u16| (sample >> 8) as u8;
    samples
        .chunks_exact(channels)
        .flat_map(|pixel| match pixel {
            [grey] | [grey, _] => [high(grey); 3],
            [r, g, b, ..] => [high(r), high(g), high(b)],
            [] => [0; 3],
        })
        .collect()
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
    use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
    use proptest::prelude::*;

    use super::*;
    use crate::image::testing::golden;

    fn png(size: Size, colour: ExtendedColorType, samples: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        PngEncoder::new(&mut file).write_image(samples, size.width, size.height, colour).unwrap();
        file
    }

    #[test]
    fn drops_alpha_without_blending() {
        let size = Size::new(2, 1);
        let rgba = [10, 20, 30, 0, 40, 50, 60, 128];
        let expected = [10, 20, 30, 40, 50, 60];
        assert_eq!(Picture::from_rgba(size, &rgba).unwrap().rgb(), expected);
        let file = png(size, ExtendedColorType::Rgba8, &rgba);
        assert_eq!(Picture::decode(&file).unwrap().rgb(), expected);
    }

    #[test]
    fn keeps_the_high_byte_of_16_bits() {
        let size = Size::new(2, 1);
        let samples: Vec<u8> = [0x12ffu16, 0xffff, 0x0080, 0x00ff, 0x8000, 0x7fff].map(u16::to_ne_bytes).concat();
        let file = png(size, ExtendedColorType::Rgb16, &samples);
        assert_eq!(Picture::decode(&file).unwrap().rgb(), [0x12, 0xff, 0, 0, 0x80, 0x7f]);
        let file = png(size, ExtendedColorType::La16, &[0x12ffu16, 9, 0xffff, 0].map(u16::to_ne_bytes).concat());
        assert_eq!(Picture::decode(&file).unwrap().rgb(), [0x12, 0x12, 0x12, 0xff, 0xff, 0xff]);
        let file = png(size, ExtendedColorType::L8, &[7, 9]);
        assert_eq!(Picture::decode(&file).unwrap().rgb(), [7, 7, 7, 9, 9, 9]);
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
    }

    #[test]
    fn refuses_what_is_no_picture() {
        for bytes in [&b""[..], b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\0\0\0\0WEBP", b"GIF89a"] {
            assert!(matches!(Picture::decode(bytes), Err(ImageError::Decode(_))), "{bytes:?}");
        }
        let mut cut = golden("qwen2_vl/cases/1/image.png");
        cut.truncate(cut.len() / 2);
        assert!(matches!(Picture::decode(&cut), Err(ImageError::Decode(_))));
    }

    #[test]
    fn refuses_bombs_before_taking_memory() {
        // A BMP header that promises 60000x60000 pixels, and nothing behind it.
        let mut bmp = b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
        bmp.extend(60_000u32.to_le_bytes());
        bmp.extend(60_000u32.to_le_bytes());
        bmp.extend([1, 0, 24, 0]);
        bmp.extend([0; 24]);
        let error = Picture::decode(&bmp).unwrap_err();
        assert!(matches!(error, ImageError::TooLarge { width: 60_000, .. }), "{error}");

        let file = png(Size::new(4, 3), ExtendedColorType::L8, &[0; 12]);
        assert!(Picture::decode_within(&file, 12).is_ok());
        let limit = 11;
        assert_eq!(
            Picture::decode_within(&file, limit).unwrap_err(),
            ImageError::TooLarge { width: 4, height: 3, limit }
        );
    }

    proptest! {
        /// A damaged file is an error or a picture, never a panic.
        #[test]
        fn damaged_files_do_not_panic(at in 0usize..1_000, byte in any::<u8>(), cut in any::<bool>()) {
            let mut bytes = golden("qwen2_vl/cases/0/image.png");
            let at = at % bytes.len();
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
            let _ = Picture::decode_within(&bytes, 1 << 20);
        }
    }
}
