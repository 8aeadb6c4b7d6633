//! Pictures from encoded files. A browser has decoders of its own: the feature `decode` leaves these out.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

use super::{ImageError, Picture, Size};

impl Picture {
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

#[cfg(test)]
mod tests {
    use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
    use proptest::prelude::*;

    use super::*;
    use fovea_engine::testing::golden;

    fn png(size: Size, colour: ExtendedColorType, samples: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        PngEncoder::new(&mut file).write_image(samples, size.width, size.height, colour).unwrap();
        file
    }

    #[test]
    fn drops_alpha_without_blending() {
        let file = png(Size::new(2, 1), ExtendedColorType::Rgba8, &[10, 20, 30, 0, 40, 50, 60, 128]);
        assert_eq!(Picture::decode(&file).unwrap().rgb(), [10, 20, 30, 40, 50, 60]);
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
    fn refuses_what_is_no_picture() {
        for bytes in [&b""[..], b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\0\0\0\0WEBP", b"GIF89a"] {
            assert!(matches!(Picture::decode(bytes), Err(ImageError::Decode(_))), "{bytes:?}");
        }
        let mut cut = golden::bytes("qwen2_vl/cases/1/image.png");
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
            let mut bytes = golden::bytes("qwen2_vl/cases/0/image.png");
            let at = at % bytes.len();
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
            let _ = Picture::decode_within(&bytes, 1 << 20);
        }
    }
}
